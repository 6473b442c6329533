/* SPDX-License-Identifier: MIT */
/*
 * pollux bench around its measurements: what is set up and what is not, when a signal ends it,
 * which cores it takes, and what a host refuses.
 */
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "test/deny.h"
#include "test/tools/run_pollux.h"

static struct plx_run run;
static char folder[] = "/tmp/pollux-bench-frame-XXXXXX";

static const char *in_folder(const char *name)
{
    static char path[96];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static void write_text(const char *name, const char *text, mode_t mode)
{
    FILE *file = fopen(in_folder(name), "we");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    assert_int_equal(chmod(in_folder(name), mode), 0);
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    static const char *const names[] = {"fio", "ran", "isolated", "part.json"};
    plx_run_kill(&run);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        unlink(in_folder(names[i]));
    return rmdir(folder);
}

/* The first CPU on which this process may run, and how many there are. */
static int count_cpus(int *first)
{
    cpu_set_t set;
    assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
    *first = 0;
    while (!CPU_ISSET((unsigned)*first, &set))
        ++*first;
    return CPU_COUNT(&set);
}

static void need_two(void)
{
    int first;
    if (count_cpus(&first) >= 2)
        return;
    print_message("skipped: two spinning threads need two CPUs\n");
    skip();
}

static json_t *parse_output(void)
{
    json_t *root = json_loads(run.out, 0, NULL);
    if (root == NULL)
        fail_msg("no JSON: %s\n%s", run.out, run.err);
    return root;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    assert_non_null(text);
    return text;
}

/* How often `what` occurs. */
static size_t count_of(const char *text, const char *what)
{
    size_t count = 0;
    for (; (text = strstr(text, what)) != NULL; text += strlen(what))
        count++;
    return count;
}

/* Rows of a case. */
static size_t rows_of(const json_t *root, const char *name)
{
    size_t count = 0;
    size_t index;
    json_t *row;
    json_array_foreach(json_object_get(root, "results"), index, row) count +=
        strcmp(text_of(row, "case"), name) == 0;
    return count;
}

/* --- what is set up -------------------------------------------------------------------------- */

static void repeated_batches_keep_the_names_of_their_cases(void **state)
{
    (void)state;
    static const char *const names[] = {"publish_b1", "publish_b8", "publish_b64",
                                        "nop_b1",     "nop_b8",     "nop_b64"};
    plx_run_line(&run, "pollux bench uring --quick --rounds 1 --repeat 3 --only 'publish_b*' "
                       "--only 'nop_b*' --json -");
    json_t *root = parse_output();
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        assert_int_equal(rows_of(root, names[i]), 4);
    assert_int_equal(json_array_size(json_object_get(root, "results")), 24);
    json_decref(root);
}

static void pattern_without_a_case_is_told_of_before_measuring(void **state)
{
    (void)state;
    plx_run_line(&run, "pollux bench timer task --only clock --only nothing");
    plx_run_expect(&run, 2, NULL, "--only: no case matches 'nothing' (--list names them)");
    assert_string_equal(run.out, "");
}

/* Runtimes of this size cannot be had, and each that is tried is told of. */
#define NO_RUNTIMES "POLLUX_ARENA_SIZE=1T "

static void list_opens_and_starts_nothing(void **state)
{
    (void)state;
    char line[256];
    char script[160];
    snprintf(script, sizeof(script), "#!/bin/sh\n: > %s/ran\n", folder);
    write_text("fio", script, 0700);
    snprintf(line, sizeof(line), "PATH=%s TMPDIR=%s " NO_RUNTIMES "pollux bench --list", folder,
             folder);
    plx_run_line(&run, line);
    plx_run_expect(&run, 0, "paced_1000_64B", NULL);
    assert_string_equal(run.err, "");
    assert_int_not_equal(access(in_folder("ran"), F_OK), 0);
}

static void set_ups_of_cases_that_are_not_wanted_are_left_out(void **state)
{
    (void)state;
    char line[320];
    snprintf(line, sizeof(line),
             "PATH=%s TMPDIR=%s " NO_RUNTIMES "pollux bench mesh uring tcp timer task file --quick "
             "--rounds 1 --only histogram_record --only switch",
             folder, folder);
    plx_run_line(&run, line);
    plx_run_expect(&run, 0, "uring histogram_record", NULL);
    assert_null(strstr(run.err, "POLLUX_ARENA_SIZE"));
    assert_int_not_equal(access(in_folder("ran"), F_OK), 0);
}

/* --- a signal -------------------------------------------------------------------------------- */

/* Sends SIGINT once `text` was printed; *root is what was written. */
static void stop_at(const char *const *words, const char *text, json_t **root)
{
    plx_run_begin(&run, words, NULL);
    assert_true(plx_run_await(&run, text));
    plx_run_signal(&run, SIGINT);
    plx_run_end(&run);
    plx_run_expect(&run, 128 + SIGINT, NULL, "the results are a part");
    *root = json_load_file(in_folder("part.json"), 0, NULL);
    assert_non_null(*root);
    assert_true(json_is_false(json_object_get(*root, "complete")));
}

static void signal_in_mem_ends_the_set_ups(void **state)
{
    (void)state;
    json_t *root;
    char path[96];
    snprintf(path, sizeof(path), "%s", in_folder("part.json"));
    const char *const words[] = {"pollux", "bench",  "mem", "--quick", "--rounds",
                                 "100000", "--time", "20",  "--size",  "2M",
                                 "--json", path,     NULL};
    stop_at(words, " pages on each node", &root);
    /* Neither buffers of other pages, nor cases that did not begin. */
    assert_int_equal(count_of(run.out, " pages on each node"), 1);
    assert_int_equal(rows_of(root, "loaded"), 0);
    assert_int_equal(rows_of(root, "copy_2M"), 0);
    json_decref(root);
}

static void signal_in_c2c_and_jitter_leaves_the_cases_that_did_not_begin(void **state)
{
    (void)state;
    json_t *root;
    char path[96];
    snprintf(path, sizeof(path), "%s", in_folder("part.json"));
    const char *words[] = {"pollux", "bench",  "c2c", "jitter", "--quick", "--rounds",
                           "100000", "--time", "20",  "--json", path,      NULL};
    stop_at(words, "measured on cpu", &root);
    assert_int_equal(rows_of(root, "rtt_cas"), 0);
    assert_int_equal(rows_of(root, "gaps"), 0);
    json_decref(root);
    words[2] = "jitter";
    stop_at(words, "measured on cpu", &root);
    assert_int_equal(rows_of(root, "turn"), 0);
    json_decref(root);
}

/* --- cores ----------------------------------------------------------------------------------- */

static void siblings_of_one_core_are_measured_where_they_are_named(void **state)
{
    (void)state;
    int first;
    need_two();
    count_cpus(&first);
    if (first != 0) {
        print_message("skipped: the two threads of the core are CPUs 0 and 1\n");
        skip();
    }
    /* This machine, taken for one core with two threads. */
    plx_run_line(&run, "'HWLOC_SYNTHETIC=core:1 pu:2' HWLOC_THISSYSTEM=1 pollux bench tcp mesh "
                       "uring --pairs 0:1 --quick --rounds 1 --only rtt_64B --only rate_1 "
                       "--only rtt_post_8B --only nop_sqpoll --json -");
    assert_null(strstr(run.err, "but 1 fit"));
    json_t *root = parse_output();
    size_t index;
    json_t *note;
    json_array_foreach(json_object_get(root, "null_rows"), index, note)
    {
        if (strncmp(text_of(note, "subject"), "pollux", 6) == 0)
            assert_null(strstr(text_of(note, "reason"), "POLLUX_"));
    }
    assert_true(rows_of(root, "rtt_64B") >= 6);
    json_decref(root);
}

static void notes_of_the_plan_are_told_and_kept(void **state)
{
    (void)state;
    static const char note[] = "some allowed CPUs are isolated: reactors use only those";
    int first;
    char number[16];
    char command[512];
    count_cpus(&first);
    snprintf(number, sizeof(number), "%d\n", first);
    write_text("isolated", number, 0600);
    snprintf(command, sizeof(command),
             "mount --bind %s/isolated /sys/devices/system/cpu/isolated && POLLUX_PIN=no "
             "POLLUX_IDLE=spin %s bench task --quick --rounds 1 --only switch --json -",
             folder, plx_run_binary());
    const char *const words[] = {"unshare", "-rm", "sh", "-c", command, NULL};
    plx_run_begin(&run, words, NULL);
    plx_run_end(&run);
    if (strstr(run.err, "measured on cpu") == NULL) {
        print_message("skipped: nothing can be mounted: %s", run.err);
        skip();
    }
    plx_run_expect(&run, 0, NULL, note);
    json_t *root = parse_output();
    const json_t *notes = json_object_get(json_object_get(root, "plan"), "notes");
    /* What a plan has to say of reactors' policies is not of the benchmark. */
    assert_int_equal(json_array_size(notes), 1);
    assert_non_null(strstr(json_string_value(json_array_get(notes, 0)), note));
    json_decref(root);
}

static void settings_of_the_command_line_are_told_apart_from_the_environments(void **state)
{
    (void)state;
    int first;
    char line[160];
    count_cpus(&first);
    snprintf(line, sizeof(line),
             "POLLUX_SMT=no POLLUX_RING_ENTRIES=512 pollux bench task --quick --rounds 1 --only "
             "switch --cpus %d --json -",
             first);
    plx_run_line(&run, line);
    json_t *root = parse_output();
    const json_t *settings = json_object_get(root, "settings");
    assert_string_equal(text_of(json_object_get(settings, "cpus"), "source"), "application");
    assert_string_equal(text_of(json_object_get(settings, "smt"), "source"), "environment");
    assert_string_equal(text_of(json_object_get(settings, "nodes"), "source"), "default");
    json_decref(root);
}

/* --- a host that refuses --------------------------------------------------------------------- */

/* In a child, which makes no assertions: 0, or 1 and what is not as it should be. */
static int measure_without_rings(int error)
{
    (void)error;
    char line[320];
    snprintf(line, sizeof(line),
             "TMPDIR=%s pollux bench tcp uring mesh file --quick --rounds 1 --only rtt_64B --only "
             "rate_1 --only nop_defer --only uring/wake --only rtt_post_8B --only randread_4K_1 "
             "--size 1M --json -",
             getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/var/tmp");
    plx_run_line(&run, line);
    json_t *root = json_loads(run.out, 0, NULL);
    size_t refused = 0;
    size_t noise = 0;
    size_t index;
    json_t *note;
    json_array_foreach(json_object_get(root, "null_rows"), index, note)
    {
        const char *subject = json_string_value(json_object_get(note, "subject"));
        const char *reason = json_string_value(json_object_get(note, "reason"));
        noise += strstr(reason, "discarded") != NULL;
        refused += strcmp(subject, "pollux") == 0 && strstr(reason, "io_uring") != NULL;
    }
    json_decref(root);
    /* Two of tcp, two of uring, one of file unless there is no place for it. */
    bool right = refused >= 4 && (run.status == 0 || (run.status == 1 && noise != 0)) &&
                 strstr(run.err, "bench: tcp: ") == NULL;
    if (!right)
        print_error("status %d, %zu refused\n%s\n%s\n", run.status, refused, run.out, run.err);
    return right ? 0 : 1;
}

static void rings_that_are_refused_are_a_property_of_the_host(void **state)
{
    (void)state;
    need_two();
    assert_int_equal(deny_in_child(SYS_io_uring_setup, EPERM, measure_without_rings), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(repeated_batches_keep_the_names_of_their_cases),
        cmocka_unit_test(pattern_without_a_case_is_told_of_before_measuring),
        cmocka_unit_test(list_opens_and_starts_nothing),
        cmocka_unit_test(set_ups_of_cases_that_are_not_wanted_are_left_out),
        cmocka_unit_test(signal_in_mem_ends_the_set_ups),
        cmocka_unit_test(signal_in_c2c_and_jitter_leaves_the_cases_that_did_not_begin),
        cmocka_unit_test(siblings_of_one_core_are_measured_where_they_are_named),
        cmocka_unit_test(notes_of_the_plan_are_told_and_kept),
        cmocka_unit_test(settings_of_the_command_line_are_told_apart_from_the_environments),
        cmocka_unit_test(rings_that_are_refused_are_a_property_of_the_host),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
