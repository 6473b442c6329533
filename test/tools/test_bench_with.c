/* SPDX-License-Identifier: MIT */
/* pollux bench --with: programs that take part, and such that misbehave. */
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "test/tools/run_pollux.h"

static struct plx_run run;
static char out_path[64];

static int make_file(void **state)
{
    (void)state;
    snprintf(out_path, sizeof(out_path), "/tmp/pollux-with-XXXXXX");
    int fd = mkstemp(out_path);
    if (fd < 0)
        return -1;
    close(fd);
    return 0;
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(out_path);
}

static void begin(const char *command, const char *rounds)
{
    const char *const words[] = {"pollux", "bench",  "uring",     "--quick",  "--only",
                                 "cancel", "--only", "publish_1", "--rounds", rounds,
                                 "--json", out_path, "--with",    command,    NULL};
    plx_run_begin(&run, words, NULL);
}

/* Runs it and reads the results. */
static json_t *measure(const char *command, const char *rounds)
{
    begin(command, rounds);
    plx_run_end(&run);
    json_t *root = json_load_file(out_path, 0, NULL);
    if (root == NULL)
        fail_msg("%s%s", run.out, run.err);
    return root;
}

static const json_t *find_row(const json_t *root, const char *name, const char *subject)
{
    size_t index;
    const json_t *row;
    json_array_foreach(json_object_get(root, "results"), index, row)
    {
        if (strcmp(json_string_value(json_object_get(row, "case")), name) == 0 &&
            strcmp(json_string_value(json_object_get(row, "subject")), subject) == 0)
            return row;
    }
    return NULL;
}

static double number_of(const json_t *row, const char *key)
{
    assert_non_null(row);
    return json_number_value(json_object_get(row, key));
}

/* --- programs that do as they should --------------------------------------------------------- */

static void rows_of_a_program_are_merged(void **state)
{
    (void)state;
    json_t *root = measure("test \"$2\" = cancel || exit 77; echo '{\"subject\": \"mine\", \"n\": "
                           "100, \"min\": 10, \"p50\": 20, \"p99\": 30, \"max\": 40}'; true",
                           "8");
    const json_t *row = find_row(root, "cancel", "mine");
    assert_true(number_of(row, "p50") >= 20 && number_of(row, "p50") <= 20);
    assert_true(number_of(row, "p99") >= 30 && number_of(row, "p99") <= 30);
    assert_true(json_is_null(json_object_get(row, "p90")));
    assert_true(json_is_null(json_object_get(row, "mean")));
    assert_true(number_of(row, "rounds") >= 1);
    assert_true(number_of(row, "n") >= 100 * number_of(row, "rounds"));
    assert_true(number_of(row, "n") <= 100 * number_of(row, "rounds"));
    assert_string_equal(json_string_value(json_object_get(row, "unit")), "ns");
    assert_int_equal(
        json_integer_value(json_object_get(row, "cpu_a")),
        json_integer_value(json_object_get(find_row(root, "cancel", "pollux"), "cpu_a")));
    assert_null(find_row(root, "publish_1", "mine"));
    assert_non_null(strstr(run.out, "  mine "));
    json_decref(root);
}

static void program_is_told_what_and_where(void **state)
{
    (void)state;
    json_t *root = measure("t() { test $# = 6 && test \"$1\" = uring && test \"$3\" = ns && test "
                           "\"$4\" -ge 1 && test \"$5\" -ge 0 || exit 3; echo "
                           "\"{\\\"subject\\\": \\\"cpus:$2\\\", \\\"p50\\\": 5}\"; }; t",
                           "2");
    assert_non_null(find_row(root, "cancel", "cpus:cancel"));
    json_decref(root);
}

static void program_may_print_several_subjects(void **state)
{
    (void)state;
    json_t *root = measure("printf '{\"subject\":\"a\",\"p50\":1}\\n\\n"
                           "{\"subject\":\"b\",\"p50\":2} {\"subject\":\"c\",\"p50\":3}'; true",
                           "2");
    assert_non_null(find_row(root, "cancel", "a"));
    assert_non_null(find_row(root, "cancel", "b"));
    assert_non_null(find_row(root, "publish_1", "c"));
    json_decref(root);
}

/* Runs it with two programs and reads the results. */
static json_t *measure_two(const char *first, const char *second)
{
    const char *const words[] = {"pollux", "bench",    "uring",  "--quick", "--only",
                                 "cancel", "--rounds", "3",      "--json",  out_path,
                                 "--with", first,      "--with", second,    NULL};
    plx_run_begin(&run, words, NULL);
    plx_run_end(&run);
    json_t *root = json_load_file(out_path, 0, NULL);
    if (root == NULL)
        fail_msg("%s%s", run.out, run.err);
    return root;
}

static void several_programs_take_part(void **state)
{
    (void)state;
    json_t *root = measure_two("echo '{\"subject\":\"mine\",\"p50\":7}'; true",
                               "echo '{\"subject\":\"yours\",\"p50\":9}'; true");
    plx_run_expect(&run, run.status, "  mine ", NULL);
    assert_non_null(find_row(root, "cancel", "mine"));
    assert_non_null(find_row(root, "cancel", "yours"));
    json_decref(root);
    /* One that fails does not take the other along. */
    root = measure_two("false", "echo '{\"subject\":\"yours\",\"p50\":9}'; true");
    plx_run_expect(&run, 1, NULL, "ended with status 1");
    assert_non_null(find_row(root, "cancel", "yours"));
    json_decref(root);
    root = measure_two("echo '{\"subject\":\"mine\",\"p50\":7}'; true", "exit 77; true");
    plx_run_expect(&run, 1, NULL, "'exit 77; true' took part in no case");
    json_decref(root);
    const char *const empty[] = {"pollux", "bench", "uring", "--with", "true", "--with", " ", NULL};
    plx_run_begin(&run, empty, NULL);
    plx_run_end(&run);
    plx_run_expect(&run, 2, NULL, "--with: the command is empty");
}

static size_t count_rows(const json_t *root, const char *name, const char *subject)
{
    size_t index;
    const json_t *row;
    size_t count = 0;
    json_array_foreach(json_object_get(root, "results"), index, row)
    {
        bool same = strcmp(json_string_value(json_object_get(row, "case")), name) == 0 &&
                    strcmp(json_string_value(json_object_get(row, "subject")), subject) == 0;
        count += same;
    }
    return count;
}

static void subject_of_another_is_refused(void **state)
{
    (void)state;
    json_t *root = measure("test \"$2\" = publish_1 || exit 77; "
                           "echo '{\"subject\":\"liburing\",\"p50\":7}'; true",
                           "2");
    plx_run_expect(&run, 1, NULL, "in uring publish_1 there is another subject 'liburing'");
    assert_int_equal(count_rows(root, "publish_1", "liburing"), 1);
    json_decref(root);
    root = measure_two("echo '{\"subject\":\"mine\",\"p50\":7}'; true",
                       "echo '{\"subject\":\"mine\",\"p50\":9}'; true");
    plx_run_expect(&run, 1, NULL, "in uring cancel there is another subject 'mine'");
    assert_int_equal(count_rows(root, "cancel", "mine"), 1);
    json_decref(root);
}

static void example_of_the_manual_takes_part(void **state)
{
    (void)state;
    const char *const probe[] = {"python3", "--version", NULL};
    plx_run_begin(&run, probe, NULL);
    plx_run_end(&run);
    if (run.status != 0) {
        print_message("skipped: python3 is not installed\n");
        skip();
    }
    json_t *root = measure("test/tools/peer_spin.py", "3");
    assert_true(number_of(find_row(root, "cancel", "spin"), "p50") > 0);
    json_decref(root);
    /* From the manual: the lines of the example are what stands there. */
    FILE *page = fopen("man/pollux-bench.1", "re");
    char path[] = "/tmp/pollux-with-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    FILE *program = fdopen(fd, "w");
    assert_non_null(page);
    assert_non_null(program);
    char line[512];
    bool inside = false;
    size_t lines = 0;
    while (fgets(line, sizeof(line), page) != NULL) {
        if (inside && strncmp(line, ".Ed", 3) == 0)
            inside = false;
        inside = inside || strncmp(line, "#!/usr/bin/env python3", 22) == 0;
        if (!inside)
            continue;
        /* \e is a backslash there. */
        char *escape = strstr(line, "\\e");
        if (escape != NULL)
            memmove(escape + 1, escape + 2, strlen(escape + 2) + 1);
        fputs(line, program);
        lines++;
    }
    fclose(page);
    fclose(program);
    assert_true(lines >= 5 && lines <= 15);
    char command[64];
    snprintf(command, sizeof(command), "python3 %s", path);
    root = measure(command, "3");
    unlink(path);
    assert_string_equal(run.err, "");
    assert_true(number_of(find_row(root, "cancel", "dict"), "p50") > 0);
    json_decref(root);
}

/* --- programs that do not -------------------------------------------------------------------- */

static void program_that_misbehaves_is_told_of_once_and_left(void **state)
{
    (void)state;
    static const struct {
        const char *command;
        const char *err;
    } cases[] = {
        {"true", "printed no row"},
        {"false", "ended with status 1"},
        {"exit 77; true", "took part in no case"},
        {"/nonexistent/program", "ended with status 127"},
        {"kill -SEGV $$; true", "was ended by signal 11"},
        {"echo garbage; true", "is no JSON"},
        {"echo '{\"subject\": \"a\", \"p50\": '; true", "is no JSON"},
        {"yes", "more than 64 KiB"},
        {"head -c 100 /dev/zero; true", "printed: "},
        {"echo '[1]'; true", "it needs \"subject\""},
        {"echo '{\"p50\": 1}'; true", "it needs \"subject\""},
        {"echo '{\"subject\": \"pollux\", \"p50\": 1}'; true", "does not begin with pollux"},
        {"echo '{\"subject\": \"a,b\", \"p50\": 1}'; true", "letters, digits"},
        {"echo '{\"subject\": \"a\"}'; true", "it needs \"p50\""},
        {"echo '{\"subject\": \"a\", \"p50\": 0}'; true", "it needs \"p50\""},
        {"echo '{\"subject\": \"a\", \"p50\": -1}'; true", "no number from 0"},
        {"echo '{\"subject\": \"a\", \"p50\": 1, \"n\": \"x\"}'; true", "no number from 0"},
        {"echo '{\"subject\": \"a\", \"p50\": 1, \"unit\": \"ms\"}'; true", "not the one"},
        {"echo '{\"subject\": \"a\", \"p50\": 1, \"case\": \"other\"}'; true", "not the one"},
        {"echo '{\"subject\":\"a\",\"p50\":1}{\"subject\":\"a\",\"p50\":1}'; true",
         "two are of one subject"},
        {"for i in 1 2 3 4 5 6 7 8 9; do echo \"{\\\"subject\\\":\\\"a$i\\\",\\\"p50\\\":1}\"; "
         "done; "
         "true",
         "more than 8 subjects"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        json_t *root = measure(cases[i].command, "2");
        plx_run_expect(&run, 1, NULL, cases[i].err);
        const char *first = strstr(run.err, "--with");
        assert_non_null(first);
        assert_null(strstr(first + 1, "pollux bench: "));
        /* What we measured ourselves is there. */
        assert_true(number_of(find_row(root, "cancel", "pollux"), "p50") > 0);
        json_decref(root);
    }
}

static void program_that_does_not_end_is_killed_with_all_it_started(void **state)
{
    (void)state;
    json_t *root = measure("sleep 1000 & echo $! >&2; sleep 1000", "1");
    plx_run_expect(&run, 1, NULL, "did not end within 10 s more than it had");
    json_decref(root);
    int pid = atoi(run.err);
    assert_true(pid > 1);
    /* Killed, and waited for by whoever inherits it. */
    int fd = pidfd_open(pid, 0);
    struct pollfd ends = {.fd = fd, .events = POLLIN};
    assert_true(fd < 0 || poll(&ends, 1, 10000) == 1);
    if (fd >= 0)
        close(fd);
}

static void signal_ends_a_program_that_takes_part(void **state)
{
    (void)state;
    char command[128];
    char path[80];
    snprintf(path, sizeof(path), "%s.fifo", out_path);
    assert_int_equal(mkfifo(path, 0600), 0);
    struct pollfd begun = {.fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC), .events = POLLIN};
    assert_true(begun.fd >= 0);
    snprintf(command, sizeof(command), "echo begun >%s; sleep 1000; true", path);
    begin(command, "1");
    int ready = poll(&begun, 1, 20000);
    close(begun.fd);
    unlink(path);
    assert_int_equal(ready, 1);
    plx_run_signal(&run, SIGINT);
    plx_run_end(&run);
    plx_run_expect(&run, 128 + SIGINT, NULL, "the results are a part");
}

static void empty_command_is_a_usage_error(void **state)
{
    (void)state;
    begin("  ", "1");
    plx_run_end(&run);
    plx_run_expect(&run, 2, NULL, "--with: the command is empty");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_of_a_program_are_merged),
        cmocka_unit_test(program_is_told_what_and_where),
        cmocka_unit_test(program_may_print_several_subjects),
        cmocka_unit_test(several_programs_take_part),
        cmocka_unit_test(subject_of_another_is_refused),
        cmocka_unit_test(example_of_the_manual_takes_part),
        cmocka_unit_test(program_that_misbehaves_is_told_of_once_and_left),
        cmocka_unit_test(program_that_does_not_end_is_killed_with_all_it_started),
        cmocka_unit_test(signal_ends_a_program_that_takes_part),
        cmocka_unit_test(empty_command_is_a_usage_error),
    };
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
