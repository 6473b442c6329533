/* SPDX-License-Identifier: MIT */
/*
 * pollux bench ring, uring and tcp: which rows there are, and that all subjects carried what they
 * were given (they check it themselves, and a difference is exit 1).
 */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "test/tools/run_pollux.h"

static struct plx_run run;

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    assert_non_null(text);
    return text;
}

static const json_t *find_row(const json_t *root, const char *name, const char *subject)
{
    size_t index;
    json_t *row;
    json_array_foreach(json_object_get(root, "results"), index, row)
    {
        if (strcmp(text_of(row, "case"), name) == 0 &&
            strcmp(text_of(row, "subject"), subject) == 0)
            return row;
    }
    return NULL;
}

/* Rows may lack figures where the machine was too noisy or has one core; nothing else may be wrong.
 */
static json_t *run_json(const char *line)
{
    json_error_t error;
    size_t index;
    json_t *note;
    bool noisy = false;
    plx_run_line(&run, line);
    json_t *root = json_loads(run.out, JSON_REJECT_DUPLICATES, &error);
    if (root == NULL)
        print_error("line %d: %s\n%s\n%s", error.line, error.text, run.out, run.err);
    assert_non_null(root);
    json_array_foreach(json_object_get(root, "null_rows"), index, note)
    {
        const char *reason = text_of(note, "reason");
        if (strstr(reason, "failed") != NULL)
            print_error("%s: %s\n", text_of(note, "case"), reason);
        assert_null(strstr(reason, "failed"));
        noisy = noisy || strstr(reason, "discarded") != NULL;
    }
    plx_run_expect(&run, noisy, NULL, NULL);
    return root;
}

static bool has_two_cpus(void)
{
    cpu_set_t set;
    assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
    if (CPU_COUNT(&set) >= 2)
        return true;
    print_message("skipped: this needs two CPUs\n");
    return false;
}

/* --- ring ------------------------------------------------------------------------------------ */

static const char *const queues[] = {"ck", "wfcqueue", "boost", "rwqueue", "rte_ring"};

/* A queue was measured, or standard error says why it was not. */
static void check_queues(const json_t *root, const char *name)
{
    for (size_t i = 0; i < sizeof(queues) / sizeof(queues[0]); i++) {
        char left_out[64];
        snprintf(left_out, sizeof(left_out), "peer %s is left out", queues[i]);
        assert_int_equal(find_row(root, name, queues[i]) == NULL,
                         strstr(run.err, left_out) != NULL);
    }
}

static void ring_quick_has_the_promised_cases_and_all_queues(void **state)
{
    (void)state;
    static const char *const cases[] = {"rtt_8B", "items_8B_1024", "items_8B_1024_b32",
                                        "items_48B_1024"};
    json_t *root = run_json("pollux bench ring --quick --rounds 1 --json -");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_non_null(find_row(root, cases[i], "pollux/cells"));
        assert_non_null(find_row(root, cases[i], "pollux/packed"));
        check_queues(root, cases[i]);
    }
    assert_non_null(find_row(root, "rtt_8B", "raw"));
    assert_non_null(strstr(run.err, "pollux/packed / ck"));
    json_decref(root);
}

/* The sizes, batches and capacities at the edges of the grid, each with all that can carry it. */
static void ring_grid_carries_every_size_in_every_batch(void **state)
{
    (void)state;
    static const char *const cases[] = {"rtt_64B_64",       "rtt_16B",
                                        "items_8B_64_b32",  "items_16B_64_b8",
                                        "items_48B_64_b32", "items_64B_65536_b32",
                                        "items_64B_64"};
    char line[512] = "pollux bench ring --rounds 1 --json -";
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        size_t length = strlen(line);
        snprintf(line + length, sizeof(line) - length, " --only %s", cases[i]);
    }
    json_t *root = run_json(line);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_non_null(find_row(root, cases[i], "pollux/packed"));
        /* A cell has room for 56 bytes. */
        bool fits = strstr(cases[i], "64B") == NULL;
        assert_int_equal(find_row(root, cases[i], "pollux/cells") != NULL, fits);
        check_queues(root, cases[i]);
    }
    assert_null(find_row(root, "items_8B_1024", "pollux/packed"));
    json_decref(root);
}

static void ring_memory_is_on_a_node_or_nobody_knows(void **state)
{
    (void)state;
    if (!has_two_cpus())
        skip();
    json_t *root = run_json("pollux bench ring --quick --rounds 1 --only items_8B_1024 --json -");
    const json_t *ours = find_row(root, "items_8B_1024", "pollux/packed");
    assert_true(json_is_integer(json_object_get(ours, "mem_node")));
    /* These allocate by themselves. */
    static const char *const own[] = {"boost", "rwqueue"};
    for (size_t i = 0; i < 2; i++) {
        const json_t *row = find_row(root, "items_8B_1024", own[i]);
        assert_true(row == NULL || json_is_null(json_object_get(row, "mem_node")));
    }
    json_decref(root);
}

/* --- uring ----------------------------------------------------------------------------------- */

static void uring_batches_compare_an_sq_thread_with_calls(void **state)
{
    (void)state;
    static const char *const cases[] = {"publish_b1", "publish_b8", "publish_b64",
                                        "nop_b1",     "nop_b8",     "nop_b64"};
    static const char *const subjects[] = {"pollux/sqpoll", "pollux/defer", "liburing/sqpoll",
                                           "liburing/defer"};
    json_t *root = run_json("pollux bench uring --quick --rounds 1 --only *_b[168]* --json -");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (size_t j = 0; j < sizeof(subjects) / sizeof(subjects[0]); j++)
            assert_non_null(find_row(root, cases[i], subjects[j]));
    }
    assert_null(find_row(root, "publish_1", "pollux"));
    json_decref(root);
}

static void uring_without_quick_has_every_batch(void **state)
{
    (void)state;
    plx_run_line(&run, "pollux bench uring --list");
    plx_run_expect(&run, 0, "publish_b1 ", NULL);
    for (unsigned batch = 1; batch <= 64; batch *= 2) {
        char name[24];
        snprintf(name, sizeof(name), " publish_b%u ", batch);
        plx_run_expect(&run, 0, name, NULL);
        snprintf(name, sizeof(name), " nop_b%u ", batch);
        plx_run_expect(&run, 0, name, NULL);
    }
}

static void uring_wake_has_a_row_for_each_way_to_sleep(void **state)
{
    (void)state;
    static const char *const subjects[] = {"pollux", "liburing", "epoll", "raw"};
    json_t *root = run_json("pollux bench uring --quick --rounds 2 --only wake --json -");
    for (size_t i = 0; i < sizeof(subjects) / sizeof(subjects[0]); i++)
        assert_non_null(find_row(root, "wake", subjects[i]));
    json_decref(root);
}

/* --- tcp ------------------------------------------------------------------------------------- */

/* A slice of 80 ms has room for 79 messages that are due each ms; there may be three of them. */
static void tcp_paced_sends_when_it_is_due(void **state)
{
    (void)state;
    static const char *const subjects[] = {"pollux", "pollux/ring", "epoll", "raw"};
    if (!has_two_cpus())
        skip();
    json_t *root = run_json("pollux bench tcp --quick --rounds 1 --only paced_1000_64B --json -");
    for (size_t i = 0; i < sizeof(subjects) / sizeof(subjects[0]); i++) {
        const json_t *row = find_row(root, "paced_1000_64B", subjects[i]);
        assert_non_null(row);
        const json_t *samples = json_object_get(row, "n");
        if (!json_is_null(samples))
            assert_in_range(json_integer_value(samples), 1, 3 * 79);
    }
    assert_null(find_row(root, "rtt_64B", "pollux"));
    json_decref(root);
}

static void one_core_leaves_rows_without_figures_and_is_no_failure(void **state)
{
    (void)state;
    char line[192];
    cpu_set_t set;
    int first = 0;
    assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
    while (!CPU_ISSET((unsigned)first, &set))
        first++;
    snprintf(line, sizeof(line),
             "POLLUX_CPUS=%d pollux bench ring uring tcp --quick --rounds 1 --only rtt_* "
             "--only wake --only nop_b8 --only paced_* --json -",
             first);
    plx_run_line(&run, line);
    plx_run_expect(&run, 0, NULL, NULL);
    json_t *root = json_loads(run.out, 0, NULL);
    static const struct {
        const char *name;
        const char *subject;
    } rows[] = {{"rtt_8B", "pollux/packed"},
                {"wake", "pollux"},
                {"nop_b8", "pollux/defer"},
                {"paced_1000_64B", "raw"}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const json_t *row = find_row(root, rows[i].name, rows[i].subject);
        assert_non_null(row);
        assert_true(json_is_null(json_object_get(row, "p50")));
    }
    json_decref(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ring_quick_has_the_promised_cases_and_all_queues),
        cmocka_unit_test(ring_grid_carries_every_size_in_every_batch),
        cmocka_unit_test(ring_memory_is_on_a_node_or_nobody_knows),
        cmocka_unit_test(uring_batches_compare_an_sq_thread_with_calls),
        cmocka_unit_test(uring_without_quick_has_every_batch),
        cmocka_unit_test(uring_wake_has_a_row_for_each_way_to_sleep),
        cmocka_unit_test(tcp_paced_sends_when_it_is_due),
        cmocka_unit_test(one_core_leaves_rows_without_figures_and_is_no_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
