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
#include "tools/bench/tables.h"

#define CORES 48
#define ROWS  (CORES * CORES)

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

/* A row of a pair of cores, `half` of them on node 0, with its memory on `mem_node`. */
static struct plx_bench_row *add_pair(int a, int b, int half, int mem_node, double p50)
{
    struct plx_bench_row *row = add("raw", p50);
    row->bench = "c2c";
    row->cpu_a = a;
    row->cpu_b = b;
    row->node_a = a >= half;
    row->node_b = b >= half;
    row->mem_node = mem_node;
    row->relation = row->node_a != row->node_b ? "cross" : "l3";
    return row;
}

/* All pairs of so many cores on two nodes; between the two with memory on either. */
static void add_pairs(int cores)
{
    for (int a = 0; a < cores; a++) {
        for (int b = a + 1; b < cores; b++) {
            int near = a >= cores / 2;
            double p50 = near == (b >= cores / 2) ? 50 : 200;
            add_pair(a, b, cores / 2, near, p50);
            if (p50 > 100)
                add_pair(a, b, cores / 2, 1, 300);
        }
    }
}

static void take_figures(struct plx_bench_row *row, const char *why)
{
    row->has = false;
    snprintf(row->why, sizeof(row->why), "%s", why);
}

/* What is printed of all rows; to be freed. */
static char *print_case(void)
{
    static struct plx_bench bench;
    char *text = NULL;
    size_t bytes = 0;
    bench.tables = open_memstream(&text, &bytes);
    assert_non_null(bench.tables);
    bench.rows = rows;
    bench.row_count = row_count;
    plx_bench_print_case(&bench, 0, row_count);
    fclose(bench.tables);
    return text;
}

/* The same of rows that differ by place, so wide. */
static char *print_places(unsigned width)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *stream = open_memstream(&text, &bytes);
    assert_non_null(stream);
    plx_bench_print_places(rows, row_count, stream, width);
    fclose(stream);
    return text;
}

/* Asserts that all of it is in the text, one after the other. */
static void expect(const char *text, const char *const *parts)
{
    const char *at = text;
    for (; *parts != NULL; parts++) {
        at = strstr(at, *parts);
        if (at == NULL)
            fail_msg("not in its place: %s\n%s", *parts, text);
        at += strlen(*parts);
    }
}

/* Asserts that no line of it is wider. */
static void expect_width(const char *text, size_t width)
{
    for (; *text != '\0'; text += strcspn(text, "\n") + 1) {
        if (strcspn(text, "\n") > width)
            fail_msg("wider than %zu: %s", width, text);
    }
}

/* --- tables ---------------------------------------------------------------------------------- */

static void table_says_how_sure_each_median_is(void **state)
{
    (void)state;
    struct plx_bench_row *row = add("pollux", 200);
    row->ci_low = 198;
    row->ci_high = 201;
    row = add("raw", 1000);
    row->ci_low = 900;
    row->ci_high = 1200;
    row = add("wild", 1000);
    row->ci_low = 1000;
    row->ci_high = 90000;
    add("short", 1000);
    char *text = print_case();
    static const char *const parts[] = {
        "\n  subject   p50   +-%   p90 ", "\n  pollux    200   0.8   220 ",
        "\n  raw      1000    15  1100 ", "\n  wild     1000  >999  1100 ",
        "\n  short    1000     -  1100 ", NULL};
    expect(text, parts);
    free(text);
}

static void doubtful_rows_are_marked(void **state)
{
    (void)state;
    add("pollux", 200);
    char *text = print_case();
    assert_non_null(strstr(text, "\n  pollux   200    -  220 "));
    free(text);
    add("busy", 200)->busy = true;
    add("moved", 200)->drifted = true;
    struct plx_bench_row *row = add("worst", 200);
    row->busy = row->drifted = row->unsure = true;
    row = add("none", 200);
    row->busy = true;
    take_figures(row, "it is missing");
    text = print_case();
    static const char *const parts[] = {"\n  subject  p50  +-%      p90 ",
                                        "\n  pollux   200    -      220 ",
                                        "\n  busy     200    - b    220 ",
                                        "\n  moved    200    - d    220 ",
                                        "\n  worst    200    - bdu  220 ",
                                        "\n  none       -    -        - ",
                                        "it is missing\n",
                                        NULL};
    expect(text, parts);
    free(text);
}

static void tables_stay_within_100_columns(void **state)
{
    (void)state;
    static double figures[] = {239000, 239000};
    static const char *const subjects[] = {"pollux", "pollux/spin", "epoll", "libuv"};
    for (size_t i = 0; i < 4; i++) {
        struct plx_bench_row *row = add(subjects[i], 239000);
        row->bench = "tcp";
        row->case_name = "rate_50";
        row->unit = PLX_BENCH_RATE;
        row->ci_low = 200000;
        row->ci_high = 300000;
        row->paired = figures;
        row->paired_count = 2;
        row->busy = row->drifted = row->unsure = true;
    }
    char *text = print_case();
    assert_non_null(strstr(text, ">= 1.00\n"));
    expect_width(text, 100);
    free(text);
}

/* The verdicts on the rows; to be freed. */
static char *print_verdict(void)
{
    static struct plx_bench bench;
    char *text = NULL;
    size_t bytes = 0;
    bench.tables = open_memstream(&text, &bytes);
    assert_non_null(bench.tables);
    bench.rows = rows;
    bench.row_count = row_count;
    plx_bench_print_verdict(&bench);
    fclose(bench.tables);
    return text;
}

static void verdict_says_when_it_is_of_doubtful_rows(void **state)
{
    (void)state;
    static double figures[] = {80, 81};
    static const char *const subjects[] = {"pollux/cells", "ck"};
    for (size_t i = 0; i < 2; i++) {
        struct plx_bench_row *row = add(subjects[i], 80);
        row->bench = "ring";
        row->case_name = "rtt_8B";
        row->paired = figures;
        row->paired_count = 2;
    }
    char *text = print_verdict();
    assert_non_null(strstr(text, "1.000 (80 / 80 ns)  met\n"));
    free(text);
    rows[1].drifted = true;
    text = print_verdict();
    assert_non_null(strstr(text, "1.000 (80 / 80 ns)  met, in doubt\n"));
    free(text);
    rows[1].group = 1;
    text = print_verdict();
    assert_non_null(strstr(text, "not measured: there is no round in which both ran\n"));
    free(text);
}

static void document_says_when_a_budget_is_of_doubtful_rows_or_not_measured(void **state)
{
    (void)state;
    static struct plx_bench bench;
    struct plx_bench_row *row = add("pollux", 700);
    row->bench = "uring";
    row->case_name = "poll_128";
    bench.rows = rows;
    bench.row_count = row_count;
    for (int i = 0; i < 3; i++) {
        row->busy = i == 1;
        if (i == 2)
            take_figures(row, "it failed");
        json_t *verdicts = plx_bench_budgets_json(&bench);
        assert_int_equal(json_array_size(verdicts), 1);
        const json_t *verdict = json_array_get(verdicts, 0);
        assert_int_equal(json_is_true(json_object_get(verdict, "doubtful")), i == 1);
        assert_int_equal(json_is_null(json_object_get(verdict, "reason")), i != 2);
        assert_string_equal(plx_bench_text(verdict, "reason"), i == 2 ? "it failed" : "");
        json_decref(verdicts);
    }
}

/* --- places ---------------------------------------------------------------------------------- */

static void matrix_names_reasons_and_doubts_below(void **state)
{
    (void)state;
    add_pairs(4);
    take_figures(&rows[0], "all 8 slices were discarded");
    take_figures(&rows[2], "all 8 slices were discarded");
    take_figures(&rows[5], "failed: the other core is silent");
    rows[1].busy = true;
    rows[1].ci_low = 190;
    rows[1].ci_high = 214;
    char *text = print_places(0);
    assert_string_equal(text,
                        "  raw, p50, +-6.0 % at most; the memory is near the CPU of the row\n"
                        "   cpu    0     1     2     3 \n"
                        "     0    -     -   200   200 \n"
                        "     1    -     -     -   200 \n"
                        "     2    -   300     -  50.0 \n"
                        "     3  300   300  50.0     - \n"
                        "  marked b: 0 - 2 (memory on node 0)\n"
                        "  without figures: 0 - 1 (memory on node 0), 0 - 2 (memory on node 1): "
                        "all 8 slices were discarded\n"
                        "  without figures: 1 - 2 (memory on node 0): failed: the other core is "
                        "silent\n"
                        "\n");
    free(text);
}

static void subject_without_any_figures_has_its_reasons_alone(void **state)
{
    (void)state;
    add_pairs(8);
    for (uint32_t i = 0; i < row_count; i++) {
        rows[i].mem_node = 0;
        take_figures(&rows[i], "no memory");
    }
    char *text = print_places(80);
    assert_string_equal(text, "  raw\n"
                              "  without figures: 0 - 1, 0 - 2, 0 - 3, 0 - 4, 0 - 4, 0 - 5, 0 - 5, "
                              "0 - 6 and 36\n"
                              "  more: no memory\n"
                              "\n");
    free(text);
}

static void reasons_beyond_what_is_told_are_counted(void **state)
{
    (void)state;
    char why[32];
    add_pairs(8);
    for (uint32_t i = 0; i < 20; i++) {
        snprintf(why, sizeof(why), "reason %u", i);
        take_figures(&rows[i], why);
    }
    char *text = print_places(80);
    assert_non_null(strstr(text, ": reason 15\n  without figures: 4 more, for other reasons\n"));
    free(text);
}

static void each_subject_has_a_matrix_of_its_own(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct plx_bench_row *row = add(i == 3 ? "raw/4K" : "raw/2M", 100 + i);
        row->bench = "mem";
        row->cpu_b = -1;
        row->node_a = i / 2;
        row->mem_node = i % 2;
    }
    char *text = print_places(0);
    assert_string_equal(text, "  raw/2M, p50\n"
                              "  node   0    1 \n"
                              "     0 100  101 \n"
                              "     1 102    - \n"
                              "\n"
                              "  raw/4K, p50\n"
                              "  node   0    1 \n"
                              "     0   -    - \n"
                              "     1   -  103 \n"
                              "\n");
    free(text);
    /* Latency under load is a curve. */
    for (int i = 0; i < 4; i++)
        rows[i].case_name = "loaded";
    text = print_places(0);
    assert_non_null(strstr(text, "\n  0    1     node 1  raw/4K   103    -  124 "));
    free(text);
}

static void wide_matrix_is_printed_in_parts_with_a_summary(void **state)
{
    (void)state;
    add_pairs(32);
    char *text = print_places(100);
    expect_width(text, 100);
    static const char *const parts[] = {
        "   cpu    0     1     2 ",
        "\n\n   cpu   ",
        "\n    31 ",
        "\n\n  relation  nodes  memory  pairs  least  median  most  that is  that is\n",
        "  l3        0 - 0  node 0    120   50.0    50.0  50.0  0 - 1    0 - 1\n",
        "  l3        1 - 1  node 1    120   50.0    50.0  50.0  16 - 17  16 - 17\n",
        "  cross     0 - 1  node 0    256    200     200   200  0 - 16   0 - 16\n",
        "  cross     0 - 1  node 1    256    300     300   300  0 - 16   0 - 16\n",
        NULL};
    expect(text, parts);
    free(text);
    /* A file has no width. */
    text = print_places(0);
    assert_null(strstr(text, "relation"));
    assert_non_null(strstr(text, "    31 \n     0 "));
    free(text);
}

static void matrix_of_very_many_cores_is_a_summary(void **state)
{
    (void)state;
    add_pairs(CORES);
    rows[5].p50 = 20;
    rows[7].p50 = 90;
    char *text = print_places(60);
    static const char *const parts[] = {
        "  raw, p50; the memory is near the CPU of the row\n  a matrix of 48 columns is too wide",
        "\n  l3        0 - 0  node 0    276   20.0    50.0  90.0  0 - 6    0 - 8\n", NULL};
    expect(text, parts);
    assert_null(strstr(text, "   cpu    0"));
    free(text);
}

static void few_places_are_lines(void **state)
{
    (void)state;
    struct plx_bench_row *row = add_pair(0, 1, 2, 0, 50);
    row->ci_low = 49;
    row->ci_high = 51;
    char *text = print_places(0);
    static const char *const parts[] = {
        "  cpus   nodes  memory  subject   p50  +-%   p99   min  max  samples",
        "\n  0 - 1  0 - 0  node 0  raw      50.0  2.0  60.0  45.0  100     1000", NULL};
    expect(text, parts);
    free(text);
}

static void jitter_has_a_line_for_each_core(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct plx_bench_row *row = add("raw", 50 + i);
        row->bench = "jitter";
        row->cpu_a = i;
        row->cpu_b = -1;
        row->mem_node = -1;
    }
    take_figures(&rows[1], "none in 8 slices");
    char *text = print_case();
    static const char *const parts[] = {"\n  cpu  node  memory  subject   p50  +-% ",
                                        "\n  0    0     -       raw      50.0    - ",
                                        "\n  1    0     -       raw         -    - ",
                                        "  none in 8 slices",
                                        "\n  2    0     -       raw      52.0    - ",
                                        "\n  3    0     -       raw      53.0    - ",
                                        NULL};
    expect(text, parts);
    free(text);
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
        cmocka_unit_test_setup(table_says_how_sure_each_median_is, empty),
        cmocka_unit_test_setup(doubtful_rows_are_marked, empty),
        cmocka_unit_test_setup(tables_stay_within_100_columns, empty),
        cmocka_unit_test_setup(verdict_says_when_it_is_of_doubtful_rows, empty),
        cmocka_unit_test_setup(document_says_when_a_budget_is_of_doubtful_rows_or_not_measured,
                               empty),
        cmocka_unit_test_setup(matrix_names_reasons_and_doubts_below, empty),
        cmocka_unit_test_setup(reasons_beyond_what_is_told_are_counted, empty),
        cmocka_unit_test_setup(subject_without_any_figures_has_its_reasons_alone, empty),
        cmocka_unit_test_setup(each_subject_has_a_matrix_of_its_own, empty),
        cmocka_unit_test_setup(wide_matrix_is_printed_in_parts_with_a_summary, empty),
        cmocka_unit_test_setup(matrix_of_very_many_cores_is_a_summary, empty),
        cmocka_unit_test_setup(few_places_are_lines, empty),
        cmocka_unit_test_setup(jitter_has_a_line_for_each_core, empty),
        cmocka_unit_test_setup(ratio_is_to_ours_of_the_same_rounds_and_cores, empty),
        cmocka_unit_test_setup(same_subject_on_other_cores_has_no_ratio, empty),
        cmocka_unit_test_setup(row_says_what_is_doubtful_about_it, empty),
        cmocka_unit_test_setup(percentage_close_to_all_is_written_as_such, empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
