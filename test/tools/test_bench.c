/* SPDX-License-Identifier: MIT */
/* pollux bench: what it writes is held to its contract; no figure is, but for being one. */
#include <dlfcn.h>
#include <gnu/libc-version.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "test/tools/run_pollux.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED
#endif
#endif

static struct plx_run run;

static const char *const keys[] = {"bench",    "case",   "subject", "unit",  "better", "n",
                                   "min",      "p50",    "p90",     "p99",   "p999",   "p9999",
                                   "max",      "mean",   "cpu_a",   "cpu_b", "node_a", "node_b",
                                   "mem_node", "ci_low", "ci_high", "rounds"};

#define KEY_COUNT   (sizeof(keys) / sizeof(keys[0]))
#define PLACE_COUNT 19 /* of them, up to the last of the places */

static uint32_t allowed_cpus(int *first)
{
    cpu_set_t set;
    assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
    *first = 0;
    while (!CPU_ISSET((unsigned)*first, &set))
        ++*first;
    return (uint32_t)CPU_COUNT(&set);
}

/* --- JSON ------------------------------------------------------------------------------------ */

static json_t *parse_output(void)
{
    json_error_t error;
    json_t *root = json_loads(run.out, JSON_REJECT_DUPLICATES, &error);
    if (root == NULL)
        print_error("line %d: %s\n%s\n%s", error.line, error.text, run.out, run.err);
    assert_non_null(root);
    return root;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    assert_non_null(text);
    return text;
}

static double number_of(const json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

static void check_figures(const json_t *row)
{
    static const char *const rising[] = {"min", "p50", "p90", "p99", "p999", "p9999"};
    assert_true(json_is_integer(json_object_get(row, "n")));
    assert_true(number_of(row, "n") >= 1);
    assert_true(number_of(row, "min") >= 0);
    for (size_t i = 1; i < sizeof(rising) / sizeof(rising[0]); i++)
        assert_true(number_of(row, rising[i]) >= number_of(row, rising[i - 1]));
    assert_true(number_of(row, "max") >= number_of(row, "p50") * 0.998);
    assert_true(number_of(row, "mean") >= number_of(row, "min") * 0.999);
}

static void check_no_figures(const json_t *row)
{
    for (size_t i = 5; i < 14; i++)
        assert_true(json_is_null(json_object_get(row, keys[i])));
}

static void check_row(const json_t *row)
{
    for (size_t i = 0; i < KEY_COUNT; i++)
        assert_non_null(json_object_get(row, keys[i]));
    const char *unit = text_of(row, "unit");
    bool rate = strcmp(unit, "1/s") == 0 || strcmp(unit, "GB/s") == 0;
    assert_true(rate || strcmp(unit, "ns") == 0);
    assert_string_equal(text_of(row, "better"), rate ? "higher" : "lower");
    assert_true(text_of(row, "subject")[0] != '\0');
    for (size_t i = 14; i < PLACE_COUNT; i++) {
        json_t *value = json_object_get(row, keys[i]);
        assert_true(json_is_null(value) || json_integer_value(value) >= 0);
    }
    assert_int_equal(json_array_size(json_object_get(row, "round_p50")), number_of(row, "rounds"));
    assert_int_equal(json_is_null(json_object_get(row, "ci_low")), number_of(row, "rounds") < 6);
    if (json_is_null(json_object_get(row, "p50")))
        check_no_figures(row);
    else
        check_figures(row);
}

static void check_top(const json_t *root)
{
    assert_int_equal(json_integer_value(json_object_get(root, "schema")), 1);
    assert_true(json_is_string(json_object_get(json_object_get(root, "host"), "kernel")));
    assert_true(json_is_object(json_object_get(json_object_get(root, "settings"), "arena_size")));
    assert_true(json_is_integer(json_object_get(json_object_get(root, "plan"), "cpu_a")));
    assert_true(json_is_integer(json_object_get(json_object_get(root, "discarded"), "steal")));
    assert_true(json_is_integer(json_object_get(json_object_get(root, "discarded"), "one_core")));
    assert_true(json_is_integer(json_object_get(json_object_get(root, "discarded"), "busy")));
}

/* Rows without figures that some noise of this machine explains: they make the status 1. */
static size_t count_failed(const json_t *root)
{
    size_t failed = 0;
    size_t index;
    json_t *note;
    json_array_foreach(json_object_get(root, "null_rows"), index, note) failed +=
        strstr(text_of(note, "reason"), "discarded") != NULL;
    return failed;
}

static const json_t *find_row(const json_t *root, const char *bench, const char *name,
                              const char *subject)
{
    size_t index;
    json_t *row;
    json_array_foreach(json_object_get(root, "results"), index, row)
    {
        if (strcmp(text_of(row, "bench"), bench) == 0 && strcmp(text_of(row, "case"), name) == 0 &&
            strcmp(text_of(row, "subject"), subject) == 0)
            return row;
    }
    return NULL;
}

static void check_rows(const json_t *root)
{
    size_t index;
    json_t *row;
    json_array_foreach(json_object_get(root, "results"), index, row) check_row(row);
}

static json_t *run_json(const char *line)
{
    plx_run_line(&run, line);
    json_t *root = parse_output();
    plx_run_expect(&run, count_failed(root) != 0, NULL, "measured on cpu");
    check_top(root);
    check_rows(root);
    return root;
}

static void json_of_queues_and_mesh_keeps_the_contract(void **state)
{
    (void)state;
    json_t *root = run_json("pollux bench c2c ring mesh --quick --rounds 1 --json -");
    assert_non_null(find_row(root, "c2c", "rtt_line", "raw"));
    assert_non_null(find_row(root, "ring", "rtt_8B", "pollux/cells"));
    assert_non_null(find_row(root, "ring", "rtt_8B", "raw"));
    assert_non_null(find_row(root, "ring", "items_48B_1024", "pollux/cells"));
    assert_non_null(find_row(root, "mesh", "rtt_post_8B", "pollux"));
    assert_non_null(find_row(root, "mesh", "rtt_call_8B", "pollux"));
    assert_non_null(find_row(root, "mesh", "wake_block", "pollux"));
    assert_non_null(find_row(root, "mesh", "items_post_turn_32", "pollux"));
    assert_non_null(find_row(root, "mesh", "idle_turn_64", "pollux/ports"));
    json_decref(root);
}

static void json_of_rings_tcp_and_timers_keeps_the_contract(void **state)
{
    (void)state;
    json_t *root = run_json("pollux bench uring tcp task timer --quick --rounds 1 --json -");
    assert_non_null(find_row(root, "uring", "publish_1", "pollux"));
    assert_non_null(find_row(root, "uring", "idle_turn", "liburing"));
    assert_non_null(find_row(root, "uring", "nop_defer", "liburing"));
    assert_non_null(find_row(root, "tcp", "rtt_64B", "pollux"));
    assert_non_null(find_row(root, "tcp", "rtt_64B", "raw"));
    assert_non_null(find_row(root, "tcp", "rate_300", "epoll"));
    assert_non_null(find_row(root, "task", "switch", "ucontext"));
    assert_non_null(find_row(root, "task", "spawn_exit", "pollux"));
    assert_non_null(find_row(root, "task", "yield", "pollux"));
    assert_non_null(find_row(root, "task", "spawn_join", "pollux"));
    assert_non_null(find_row(root, "task", "should_yield", "raw"));
    assert_non_null(find_row(root, "timer", "arm_disarm_1M", "pollux"));
    assert_non_null(find_row(root, "timer", "expire_64", "raw"));
    assert_non_null(find_row(root, "timer", "clock", "raw"));
    json_decref(root);
}

/* --- pool and mem ---------------------------------------------------------------------------- */

static void check_pool(const json_t *root)
{
    static const char *const cases[] = {"one_4K", "one_64K", "held64_4K", "held64_64K",
                                        "remote_4K"};
    static const char *const peers[] = {"mimalloc", "jemalloc"};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_non_null(find_row(root, "pool", cases[i], "pollux"));
        assert_non_null(find_row(root, "pool", cases[i], "pollux/shared"));
        assert_non_null(find_row(root, "pool", cases[i], "malloc"));
        for (size_t j = 0; j < sizeof(peers) / sizeof(peers[0]); j++) {
            char left_out[64];
            snprintf(left_out, sizeof(left_out), "peer %s is left out", peers[j]);
            assert_int_equal(find_row(root, "pool", cases[i], peers[j]) == NULL,
                             strstr(run.err, left_out) != NULL);
        }
    }
    assert_non_null(find_row(root, "pool", "remote_4K", "raw"));
    assert_non_null(find_row(root, "pool", "bytes_freeze", "pollux"));
    assert_non_null(find_row(root, "pool", "bytes_copy_64B", "pollux"));
    assert_non_null(find_row(root, "pool", "segbuf_take_span", "pollux"));
    /* The table of budgets. */
    assert_non_null(strstr(run.err, "pool one_4K "));
    assert_non_null(strstr(run.err, "pollux / malloc "));
}

/* Whether rows lack figures for a reason other than noise. */
static bool lacks_figures(const json_t *root, const char *name)
{
    size_t index;
    json_t *note;
    json_array_foreach(json_object_get(root, "null_rows"), index, note)
    {
        if (strcmp(text_of(note, "case"), name) == 0 &&
            strstr(text_of(note, "reason"), "discarded") == NULL)
            return true;
    }
    return false;
}

/* A row for each node with memory in each case, on a core that is named. */
static void check_mem(const json_t *root)
{
    static const char *const cases[] = {"chase_2M", "read_2M", "write_2M", "copy_2M",
                                        "chase_4K", "read_4K", "write_4K", "copy_4K"};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        size_t index;
        size_t rows = 0;
        json_t *row;
        json_array_foreach(json_object_get(root, "results"), index, row)
        {
            if (strcmp(text_of(row, "case"), cases[i]) != 0)
                continue;
            rows++;
            bool small = strstr(cases[i], "4K") != NULL;
            const char *subject = text_of(row, "subject");
            assert_true(small ? strcmp(subject, "raw/4K") == 0
                              : strcmp(subject, "raw/2M") == 0 || strcmp(subject, "raw/thp") == 0);
            assert_string_equal(text_of(row, "unit"),
                                strncmp(cases[i], "chase", 5) == 0 ? "ns" : "GB/s");
            assert_true(json_is_integer(json_object_get(row, "cpu_a")));
            assert_true(json_is_null(json_object_get(row, "cpu_b")));
            assert_true(json_is_integer(json_object_get(row, "node_a")));
            /* Where nothing was measured, it may be that the memory was not there. */
            assert_true(json_is_integer(json_object_get(row, "mem_node")) ||
                        json_is_null(json_object_get(row, "p50")));
        }
        assert_true(rows >= 1);
    }
}

static void json_of_pool_and_mem_keeps_the_contract(void **state)
{
    (void)state;
    plx_run_line(&run, "pollux bench pool mem --quick --rounds 1 --json -");
    json_t *root = parse_output();
    plx_run_expect(&run, count_failed(root) != 0, NULL, "measured on cpu");
    check_top(root);
    check_rows(root);
    check_pool(root);
    check_mem(root);
    /* Whether there are pages of 2 MiB is the host's business. */
    assert_false(lacks_figures(root, "chase_4K"));
    assert_false(lacks_figures(root, "copy_4K"));
    json_decref(root);
}

/* Puts `file` into the folder: an empty one, or a link to the C library. */
static void put_library(const char *folder, const char *file, bool empty)
{
    char path[128];
    Dl_info info;
    snprintf(path, sizeof(path), "%s/%s", folder, file);
    if (empty) {
        FILE *stream = fopen(path, "we");
        assert_non_null(stream);
        fclose(stream);
        return;
    }
    void *address;
    const char *(*version)(void) = gnu_get_libc_version;
    memcpy(&address, &version, sizeof(address));
    assert_int_not_equal(dladdr(address, &info), 0);
    assert_int_equal(symlink(info.dli_fname, path), 0);
}

static void check_left_out(bool empty, const char *why)
{
    static const char *const files[] = {"libmimalloc.so.2", "libjemalloc.so.2"};
    char folder[] = "/tmp/pollux-bench-XXXXXX";
    char line[160];
    char path[128];
    assert_non_null(mkdtemp(folder));
    for (size_t i = 0; i < 2; i++)
        put_library(folder, files[i], empty);
    snprintf(line, sizeof(line), "LD_LIBRARY_PATH=%s pollux bench pool --quick --rounds 1 --json -",
             folder);
    plx_run_line(&run, line);
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof(path), "%s/%s", folder, files[i]);
        unlink(path);
    }
    rmdir(folder);
    json_t *root = parse_output();
    plx_run_expect(&run, count_failed(root) != 0, NULL, "peer mimalloc is left out: ");
    plx_run_expect(&run, count_failed(root) != 0, NULL, "peer jemalloc is left out: ");
    plx_run_expect(&run, count_failed(root) != 0, NULL, why);
    check_pool(root);
    json_decref(root);
}

static void allocator_that_cannot_be_loaded_is_named_and_left_out(void **state)
{
    (void)state;
    check_left_out(true, "(package libmimalloc2.0)");
    check_left_out(false, "libmimalloc.so.2 lacks mi_malloc and mi_free");
}

static void memory_that_cannot_be_had_leaves_rows_null_with_the_reason(void **state)
{
    (void)state;
#ifdef SANITIZED
    print_message("skipped: a sanitizer needs more addresses than the limit leaves\n");
    skip();
#endif
    const char *const words[] = {
        "sh", "-c", "ulimit -v 100000 && exec \"$0\" bench mem --quick --rounds 1 --json -",
        plx_run_binary(), NULL};
    plx_run_begin(&run, words, NULL);
    plx_run_end(&run);
    plx_run_expect(&run, 0, NULL, "no memory on node");
    json_t *root = parse_output();
    check_rows(root);
    check_mem(root);
    assert_int_equal(json_array_size(json_object_get(root, "null_rows")),
                     json_array_size(json_object_get(root, "results")));
    size_t index;
    json_t *row;
    json_array_foreach(json_object_get(root, "results"), index, row)
        assert_true(json_is_null(json_object_get(row, "mem_node")));
    json_decref(root);
}

/* --- what a run says of itself --------------------------------------------------------------- */

static void peer_that_is_not_installed_is_named_and_left_out(void **state)
{
    (void)state;
    plx_run_line(&run, "pollux bench ring --quick --rounds 1 --json -");
    json_t *root = parse_output();
    bool measured = find_row(root, "ring", "rtt_8B", "ck") != NULL;
    assert_int_equal(strstr(run.err, "peer ck is left out") == NULL, measured);
    json_decref(root);
}

static void row_names_the_cores_that_were_chosen(void **state)
{
    (void)state;
    int first;
    char line[128];
    allowed_cpus(&first);
    snprintf(line, sizeof(line), "POLLUX_CPUS=%d pollux bench uring --quick --rounds 1 --json -",
             first);
    plx_run_line(&run, line);
    json_t *root = parse_output();
    const json_t *row = find_row(root, "uring", "cancel", "pollux");
    assert_non_null(row);
    assert_int_equal(json_integer_value(json_object_get(row, "cpu_a")), first);
    assert_true(json_is_null(json_object_get(row, "cpu_b")));
    json_decref(root);
}

static void two_core_cases_on_one_core_are_null_and_no_failure(void **state)
{
    (void)state;
    int first;
    char line[128];
    allowed_cpus(&first);
    snprintf(line, sizeof(line),
             "POLLUX_CPUS=%d pollux bench c2c ring mesh --quick --rounds 1 --json -", first);
    plx_run_line(&run, line);
    plx_run_expect(&run, 0, NULL, "two spinning threads need two cores");
    json_t *root = parse_output();
    check_rows(root);
    assert_true(json_is_null(json_object_get(find_row(root, "c2c", "rtt_line", "raw"), "p50")));
    assert_true(
        json_is_null(json_object_get(find_row(root, "mesh", "rtt_post_8B", "pollux"), "p50")));
    /* Turns without work need no second core: three cases of three subjects. */
    assert_false(
        json_is_null(json_object_get(find_row(root, "mesh", "idle_turn_64", "pollux"), "p50")));
    assert_int_equal(json_array_size(json_object_get(root, "null_rows")) + 9,
                     json_array_size(json_object_get(root, "results")));
    json_decref(root);
}

static void pool_on_one_core_lacks_only_the_remote_figures(void **state)
{
    (void)state;
    int first;
    char line[128];
    allowed_cpus(&first);
    snprintf(line, sizeof(line), "POLLUX_CPUS=%d pollux bench pool --quick --rounds 1 --json -",
             first);
    plx_run_line(&run, line);
    json_t *root = parse_output();
    plx_run_expect(&run, count_failed(root) != 0, NULL, "two spinning threads need two cores");
    check_rows(root);
    assert_true(lacks_figures(root, "remote_4K"));
    assert_false(lacks_figures(root, "one_4K"));
    assert_false(lacks_figures(root, "held64_64K"));
    json_decref(root);
}

static void check_failure(const char *line, const char *bench, const char *name)
{
    plx_run_line(&run, line);
    plx_run_expect(&run, 1, NULL, "POLLUX_ARENA_SIZE");
    json_t *root = parse_output();
    const json_t *row = find_row(root, bench, name, "pollux");
    assert_non_null(row);
    assert_true(json_is_null(json_object_get(row, "p50")));
    json_decref(root);
}

static void measurement_that_fails_ends_with_1_and_says_what_failed(void **state)
{
    (void)state;
    int first;
    check_failure("POLLUX_ARENA_SIZE=1T pollux bench uring --quick --rounds 1 --json -", "uring",
                  "cancel");
    if (allowed_cpus(&first) < 2) {
        print_message("skipped: reactors of the mesh need two CPUs\n");
        skip();
    }
    check_failure("POLLUX_ARENA_SIZE=1T pollux bench mesh --quick --rounds 1 --json -", "mesh",
                  "rtt_post_8B");
}

/* --- CSV and files --------------------------------------------------------------------------- */

static void csv_has_a_heading_and_all_columns_in_every_row(void **state)
{
    (void)state;
    plx_run_line(&run, "pollux bench c2c --quick --rounds 1 --csv -");
    const char *line = run.out;
    size_t lines = 0;
    for (; *line != '\0'; line = strchr(line, '\n') + 1, lines++) {
        size_t commas = 0;
        for (const char *at = line; *at != '\n'; at++)
            commas += *at == ',';
        assert_int_equal(commas, KEY_COUNT - 1);
    }
    assert_true(lines >= 2);
    assert_int_equal(strncmp(run.out, "bench,case,subject,unit,better,n,min,p50,", 40), 0);
    assert_non_null(strstr(run.out, "\nc2c,rtt_line,raw,ns,lower,"));
}

static void tables_and_a_file_are_written_side_by_side(void **state)
{
    (void)state;
    char path[] = "/tmp/pollux-bench-XXXXXX";
    char line[128];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    snprintf(line, sizeof(line), "pollux bench c2c --quick --rounds 1 --json %s", path);
    plx_run_line(&run, line);
    json_t *root = json_load_file(path, 0, NULL);
    close(fd);
    unlink(path);
    assert_non_null(root);
    plx_run_expect(&run, count_failed(root) != 0, "c2c rtt_line", NULL);
    assert_non_null(strstr(run.out, "discarded:"));
    json_decref(root);
}

static void file_that_cannot_be_written_ends_with_1(void **state)
{
    (void)state;
    plx_run_line(&run, "pollux bench c2c --quick --json /nonexistent/results.json");
    plx_run_expect(&run, 1, NULL, "/nonexistent/results.json");
    assert_string_equal(run.out, "");
    plx_run_line(&run, "pollux bench c2c --quick --rounds 1 --csv /dev/full");
    plx_run_expect(&run, 1, NULL, "/dev/full: it could not be written");
}

/* --- usage ----------------------------------------------------------------------------------- */

static void usage_errors_end_with_2_and_say_what_there_is(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        const char *err;
    } lines[] = {
        {"pollux bench", "name what to measure: c2c ring"},
        {"pollux bench nothing", "there is no benchmark 'nothing'; there are: c2c ring"},
        {"pollux bench ring nothing", "there is no benchmark 'nothing'"},
        {"pollux bench ring --quik", "did you mean --quick?"},
        {"pollux bench ring --rounds 0", "--rounds"},
        {"pollux bench ring --json - --csv -", "cannot both be standard output"},
        {"POLLUX_ARENA_SIZE=little pollux bench ring", "POLLUX_ARENA_SIZE"},
        {"POLLUX_CPUS=1023 pollux bench ring", "1023"},
        {"'HWLOC_SYNTHETIC=numa:2 core:4 pu:2' pollux bench ring", "not this one"},
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        plx_run_line(&run, lines[i].line);
        plx_run_expect(&run, 2, NULL, lines[i].err);
        assert_string_equal(run.out, "");
    }
}

static void help_names_every_benchmark(void **state)
{
    (void)state;
    plx_run_line(&run, "pollux bench --help");
    plx_run_expect(&run, 0, "examples\n", NULL);
    static const char *const names[] = {"  c2c ",   "  ring ", "  mesh ",  "  uring ",
                                        "  tcp ",   "  pool ", "  mem ",   "  task ",
                                        "  timer ", "  file ", "  jitter "};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        assert_non_null(strstr(run.out, names[i]));
    assert_string_equal(run.err, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_of_pool_and_mem_keeps_the_contract),
        cmocka_unit_test(allocator_that_cannot_be_loaded_is_named_and_left_out),
        cmocka_unit_test(memory_that_cannot_be_had_leaves_rows_null_with_the_reason),
        cmocka_unit_test(json_of_queues_and_mesh_keeps_the_contract),
        cmocka_unit_test(json_of_rings_tcp_and_timers_keeps_the_contract),
        cmocka_unit_test(peer_that_is_not_installed_is_named_and_left_out),
        cmocka_unit_test(row_names_the_cores_that_were_chosen),
        cmocka_unit_test(two_core_cases_on_one_core_are_null_and_no_failure),
        cmocka_unit_test(pool_on_one_core_lacks_only_the_remote_figures),
        cmocka_unit_test(measurement_that_fails_ends_with_1_and_says_what_failed),
        cmocka_unit_test(csv_has_a_heading_and_all_columns_in_every_row),
        cmocka_unit_test(tables_and_a_file_are_written_side_by_side),
        cmocka_unit_test(file_that_cannot_be_written_ends_with_1),
        cmocka_unit_test(usage_errors_end_with_2_and_say_what_there_is),
        cmocka_unit_test(help_names_every_benchmark),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
