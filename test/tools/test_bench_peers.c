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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ring_quick_has_the_promised_cases_and_all_queues),
        cmocka_unit_test(ring_grid_carries_every_size_in_every_batch),
        cmocka_unit_test(ring_memory_is_on_a_node_or_nobody_knows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
