/* SPDX-License-Identifier: MIT */
/* Matrices of cores and nodes, as text, in colours, and on the page. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "test/tools/bench_rows.h"
#include "tools/bench/heat.h"
#include "tools/bench/html_heat.h"

#define CORES 6

/* Every pair of cores: near ones at 50 ns, those of the other half at 200. */
static json_t *pairs(void)
{
    json_t *document = plx_rows_document();
    for (int a = 0; a < CORES; a++) {
        for (int b = a + 1; b < CORES; b++) {
            bool near = a / 3 == b / 3;
            plx_rows_place(plx_rows_add(document, "rtt", "raw", near ? 50 : 200, 6, "lower", 1), a,
                           b);
        }
    }
    return document;
}

/* Two nodes, each with memory. */
static json_t *nodes(void)
{
    json_t *document = plx_rows_document();
    for (int a = 0; a < 2; a++) {
        for (int b = 0; b < 2; b++) {
            json_t *row =
                plx_rows_add(document, "chase", "raw/2M", a == b ? 90 : 140, 6, "lower", 1);
            json_object_set_new(row, "node_a", json_integer(a));
            json_object_set_new(row, "mem_node", json_integer(b));
        }
    }
    return document;
}

static bool make(struct plx_bench_heat *heat, const json_t *document, const char *subject)
{
    const json_t *results = json_object_get(document, "results");
    return plx_bench_heat_init(heat, results, 0, json_array_size(results) - 1, subject);
}

static char *print(const struct plx_bench_heat *heat, enum plx_bench_depth depth)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *stream = open_memstream(&text, &bytes);
    assert_non_null(stream);
    plx_bench_matrix_print(heat, depth, stream);
    fclose(stream);
    return text;
}

static void pairs_of_cores_are_mirrored(void **state)
{
    (void)state;
    json_t *document = pairs();
    struct plx_bench_heat heat;
    assert_true(make(&heat, document, "raw"));
    assert_int_equal(heat.row_count, CORES);
    assert_int_equal(heat.column_count, CORES);
    for (size_t i = 0; i < CORES; i++) {
        assert_true(isnan(heat.cells[i * CORES + i]));
        for (size_t j = 0; j < CORES; j++) {
            double cell = heat.cells[i * CORES + j];
            assert_true(i == j || (cell > 49 && cell < 201));
            assert_true(i == j || !(cell < heat.cells[j * CORES + i]));
        }
    }
    assert_true(plx_bench_heat_part(&heat, 50) < 0.001);
    assert_true(fabs(plx_bench_heat_part(&heat, 100) - 0.5) < 0.001);
    assert_true(plx_bench_heat_part(&heat, 200) > 0.999);
    plx_bench_heat_fini(&heat);
    json_decref(document);
}

static void text_has_a_line_for_each_core(void **state)
{
    (void)state;
    json_t *document = pairs();
    struct plx_bench_heat heat;
    assert_true(make(&heat, document, "raw"));
    char *text = print(&heat, PLX_BENCH_NO_COLOURS);
    assert_string_equal(text, "   cpu    0     1     2     3     4     5 \n"
                              "     0    -  50.0  50.0   200   200   200 \n"
                              "     1 50.0     -  50.0   200   200   200 \n"
                              "     2 50.0  50.0     -   200   200   200 \n"
                              "     3  200   200   200     -  50.0  50.0 \n"
                              "     4  200   200   200  50.0     -  50.0 \n"
                              "     5  200   200   200  50.0  50.0     - \n");
    free(text);
    plx_bench_heat_fini(&heat);
    json_decref(document);
}

static void colours_are_as_many_as_the_terminal_has(void **state)
{
    (void)state;
    json_t *document = nodes();
    struct plx_bench_heat heat;
    assert_true(make(&heat, document, "raw/2M"));
    char *text = print(&heat, PLX_BENCH_256_COLOURS);
    assert_non_null(strstr(text, "\033[48;5;17m"));
    assert_non_null(strstr(text, "\033[48;5;220m"));
    assert_null(strstr(text, "\033[48;2;"));
    free(text);
    text = print(&heat, PLX_BENCH_ALL_COLOURS);
    assert_non_null(strstr(text, "\033[48;2;30;50;110m"));
    assert_non_null(strstr(text, "\033[48;2;252;200;40m"));
    free(text);
    plx_bench_heat_fini(&heat);
    json_decref(document);
}

static void matrix_that_is_small_or_too_wide_does_not_fit(void **state)
{
    (void)state;
    struct plx_bench_heat heat;
    json_t *document = pairs();
    assert_true(make(&heat, document, "raw"));
    assert_true(plx_bench_matrix_fits(&heat, 0));
    assert_true(plx_bench_matrix_fits(&heat, 80));
    assert_false(plx_bench_matrix_fits(&heat, 40));
    plx_bench_heat_fini(&heat);
    json_decref(document);
    document = plx_rows_document();
    plx_rows_place(plx_rows_add(document, "rtt", "raw", 50, 6, "lower", 1), 0, 1);
    assert_true(make(&heat, document, "raw"));
    assert_false(plx_bench_matrix_fits(&heat, 0));
    plx_bench_heat_fini(&heat);
    assert_false(make(&heat, document, "another"));
    plx_bench_heat_fini(&heat);
    json_decref(document);
}

static void page_has_a_cell_for_each_figure(void **state)
{
    (void)state;
    json_t *document = nodes();
    char *text = NULL;
    size_t bytes = 0;
    FILE *stream = open_memstream(&text, &bytes);
    assert_non_null(stream);
    const json_t *results = json_object_get(document, "results");
    assert_true(plx_bench_html_heat(results, 0, 3, "raw/2M", stream));
    assert_false(plx_bench_html_heat(results, 0, 3, "another", stream));
    fclose(stream);
    assert_non_null(strstr(text, "style=\"--v:0.00\" title=\"0, 0: 90\">90.0</td>"));
    assert_non_null(strstr(text, "style=\"--v:1.00\" title=\"1, 0: 140\">140</td>"));
    free(text);
    json_decref(document);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pairs_of_cores_are_mirrored),
        cmocka_unit_test(text_has_a_line_for_each_core),
        cmocka_unit_test(colours_are_as_many_as_the_terminal_has),
        cmocka_unit_test(matrix_that_is_small_or_too_wide_does_not_fit),
        cmocka_unit_test(page_has_a_cell_for_each_figure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
