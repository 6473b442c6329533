/* SPDX-License-Identifier: MIT */
/* What pollux bench says of rows, as text and as JSON; the rows are made up. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tools/bench/document.h"

#define ROWS 64

static struct plx_bench_row rows[ROWS];
static struct plx_bench_point points[2];
static uint32_t row_count;

/* A row of case "made/rtt" on CPUs 0 and 1, with figures around `p50`. */
static struct plx_bench_row *add(const char *subject, double p50)
{
    struct plx_bench_row *row = &rows[row_count++];
    assert_true(row_count <= ROWS);
    *row = (struct plx_bench_row){.bench = "made",
                                  .case_name = "rtt",
                                  .subject = subject,
                                  .what = "there and back",
                                  .block = 1,
                                  .has = true,
                                  .n = 1000,
                                  .min = 0.9 * p50,
                                  .p50 = p50,
                                  .p90 = 1.1 * p50,
                                  .p99 = 1.2 * p50,
                                  .p999 = 1.3 * p50,
                                  .p9999 = 1.4 * p50,
                                  .max = 2 * p50,
                                  .mean = p50,
                                  .cpu_b = 1,
                                  .ci_low = NAN,
                                  .ci_high = NAN};
    return row;
}

static int empty(void **state)
{
    (void)state;
    row_count = 0;
    return 0;
}

/* --- JSON ------------------------------------------------------------------------------------ */

static void ratio_is_to_ours_of_the_same_rounds_and_cores(void **state)
{
    (void)state;
    static double two[] = {2, 2, NAN};
    static double four[] = {4, 5, 6};
    struct plx_bench_ratio ratio;
    add("pollux/cells", 2)->paired = two;
    add("raw", 4)->paired = four;
    add("pollux/packed", 4)->paired = four;
    add("elsewhere", 4)->paired = four;
    add("later", 4)->paired = four;
    add("none", 4)->paired = four;
    for (uint32_t i = 0; i < row_count; i++)
        rows[i].paired_count = 3;
    rows[3].cpu_b = 2;
    rows[4].group = 1;
    rows[5].has = false;
    assert_false(plx_bench_ratio_at(rows, row_count, 0, &ratio));
    assert_true(plx_bench_ratio_at(rows, row_count, 1, &ratio));
    assert_true(fabs(ratio.mid - 0.45) < 1e-9);
    assert_int_equal(ratio.rounds, 2);
    assert_true(plx_bench_ratio_at(rows, row_count, 2, &ratio));
    assert_false(plx_bench_ratio_at(rows, row_count, 3, &ratio));
    assert_false(plx_bench_ratio_at(rows, row_count, 4, &ratio));
    assert_false(plx_bench_ratio_at(rows, row_count, 5, &ratio));
    rows[0].has = false;
    assert_false(plx_bench_ratio_at(rows, row_count, 1, &ratio));
}

static void same_subject_on_other_cores_has_no_ratio(void **state)
{
    (void)state;
    static double one[] = {1, 1};
    struct plx_bench_ratio ratio;
    for (int i = 0; i < 2; i++) {
        struct plx_bench_row *row = add("pollux/cells", 1);
        row->mem_node = i;
        row->paired = one;
        row->paired_count = 2;
    }
    assert_false(plx_bench_ratio_at(rows, row_count, 0, &ratio));
    assert_false(plx_bench_ratio_at(rows, row_count, 1, &ratio));
}

static void row_says_what_is_doubtful_about_it(void **state)
{
    (void)state;
    struct plx_bench_row *row = add("raw", 4);
    static const char *const keys[] = {"busy", "drifted", "unsure"};
    bool *const marks[] = {&row->busy, &row->drifted, &row->unsure};
    for (size_t i = 0; i < 3; i++) {
        json_t *object = plx_bench_row_json(row);
        assert_true(json_is_false(json_object_get(object, keys[i])));
        json_decref(object);
        *marks[i] = true;
        object = plx_bench_row_json(row);
        assert_true(json_is_true(json_object_get(object, keys[i])));
        json_decref(object);
    }
}

static void percentage_close_to_all_is_written_as_such(void **state)
{
    (void)state;
    struct plx_bench_row *row = add("raw", 4);
    points[0] = (struct plx_bench_point){1.0 / 3, 0.99999998, 99999998};
    points[1] = (struct plx_bench_point){8, 1, 100000000};
    row->points = points;
    row->point_count = 2;
    char *text = NULL;
    size_t bytes = 0;
    FILE *stream = open_memstream(&text, &bytes);
    json_t *document = json_pack("{s:[o]}", "results", plx_bench_row_json(row));
    assert_non_null(document);
    assert_int_equal(plx_bench_write_json(document, stream), 0);
    fclose(stream);
    assert_non_null(strstr(text, "[99.999998, 0.333333]"));
    assert_non_null(strstr(text, "[100.0, 8.0]"));
    free(text);
    json_decref(document);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(ratio_is_to_ours_of_the_same_rounds_and_cores, empty),
        cmocka_unit_test_setup(same_subject_on_other_cores_has_no_ratio, empty),
        cmocka_unit_test_setup(row_says_what_is_doubtful_about_it, empty),
        cmocka_unit_test_setup(percentage_close_to_all_is_written_as_such, empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
