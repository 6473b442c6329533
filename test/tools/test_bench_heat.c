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

static char *print_in(const struct plx_bench_heat *heat, enum plx_bench_depth depth, unsigned width)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *stream = open_memstream(&text, &bytes);
    assert_non_null(stream);
    plx_bench_matrix_print(heat, depth, width, stream);
    fclose(stream);
    return text;
}

static char *print(const struct plx_bench_heat *heat, enum plx_bench_depth depth)
{
    return print_in(heat, depth, 0);
}

/* A row of a pair; nodes below 0 are not known. */
static json_t *add_pair(json_t *document, int a, int b, int node_a, int node_b, int mem_node,
                        double p50)
{
    json_t *row = plx_rows_add(document, "rtt", "raw", p50, 6, "lower", 1);
    plx_rows_place(row, a, b);
    json_object_set_new(row, "node_a", json_integer(node_a));
    json_object_set_new(row, "node_b", json_integer(node_b));
    json_object_set_new(row, "mem_node", mem_node < 0 ? json_null() : json_integer(mem_node));
    if (!(p50 > 0))
        json_object_set_new(row, "p50", json_null());
    return row;
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

static void colours_are_explained_below_by_the_least_and_the_most(void **state)
{
    (void)state;
    json_t *document = nodes();
    struct plx_bench_heat heat;
    assert_true(make(&heat, document, "raw/2M"));
    char *text = print(&heat, PLX_BENCH_ALL_COLOURS);
    assert_non_null(strstr(text, "\n       90.0 \033[48;2;30;50;110m\033[38;5;255m  \033[0m"));
    assert_non_null(strstr(text, "\033[48;2;252;200;40m\033[38;5;16m  \033[0m 140\n"));
    free(text);
    text = print(&heat, PLX_BENCH_NO_COLOURS);
    assert_string_equal(text, "  node    0     1 \n"
                              "     0 90.0   140 \n"
                              "     1  140  90.0 \n");
    free(text);
    plx_bench_heat_fini(&heat);
    json_decref(document);
}

static void pairs_across_nodes_have_a_cell_for_memory_on_each(void **state)
{
    (void)state;
    json_t *document = plx_rows_document();
    struct plx_bench_heat heat;
    add_pair(document, 0, 1, 0, 0, 0, 50);
    add_pair(document, 0, 2, 0, 1, 0, 200);
    add_pair(document, 0, 2, 0, 1, 1, 300);
    add_pair(document, 1, 2, 0, 1, 0, -1); /* discarded */
    add_pair(document, 1, 2, 0, 1, 1, 400);
    assert_true(make(&heat, document, "raw"));
    assert_true(heat.sided);
    char *text = print(&heat, PLX_BENCH_NO_COLOURS);
    assert_string_equal(text, "   cpu    0     1     2 \n"
                              "     0    -  50.0   200 \n"
                              "     1 50.0     -     - \n"
                              "     2  300   400     - \n");
    free(text);
    plx_bench_heat_fini(&heat);
    json_decref(document);
}

static void pairs_with_memory_on_neither_node_keep_their_order(void **state)
{
    (void)state;
    json_t *document = plx_rows_document();
    struct plx_bench_heat heat;
    /* Node 1 has no memory, and that of node 2 is the nearest. */
    add_pair(document, 0, 1, 0, 1, 0, 100);
    add_pair(document, 0, 1, 0, 1, 2, 200);
    add_pair(document, 1, 2, 1, 2, 2, 50);
    add_pair(document, 2, 3, 1, 2, -1, 60);
    add_pair(document, 2, 3, 1, 2, -1, 70);
    assert_true(make(&heat, document, "raw"));
    assert_true(heat.sided);
    char *text = print(&heat, PLX_BENCH_NO_COLOURS);
    assert_string_equal(text, "   cpu    0     1     2     3 \n"
                              "     0    -   100     -     - \n"
                              "     1  200     -  50.0     - \n"
                              "     2    -  50.0     -  60.0 \n"
                              "     3    -     -  70.0     - \n");
    free(text);
    plx_bench_heat_fini(&heat);
    json_decref(document);
}

static void pairs_on_one_node_have_one_figure_for_both_cells(void **state)
{
    (void)state;
    json_t *document = pairs();
    struct plx_bench_heat heat;
    assert_true(make(&heat, document, "raw"));
    assert_false(heat.sided);
    plx_bench_heat_fini(&heat);
    json_decref(document);
}

static void matrix_that_is_too_wide_is_in_parts(void **state)
{
    (void)state;
    struct plx_bench_heat heat;
    json_t *document = plx_rows_document();
    for (int a = 0; a < 3; a++) {
        for (int b = a + 1; b < 4; b++)
            add_pair(document, 1000 * a, 1000 * b + 9000 * (b == 3), 0, 0, 0, 10 * (a + b));
    }
    assert_true(make(&heat, document, "raw"));
    assert_int_equal(plx_bench_matrix_parts(&heat, 0), 1);
    assert_int_equal(plx_bench_matrix_parts(&heat, 35), 1);
    assert_int_equal(plx_bench_matrix_parts(&heat, 34), 2);
    assert_int_equal(plx_bench_matrix_parts(&heat, 14), 4);
    assert_int_equal(plx_bench_matrix_parts(&heat, 1), 4);
    char *text = print_in(&heat, PLX_BENCH_NO_COLOURS, 25);
    /* Numbers of CPUs are as wide as the widest of them. */
    assert_string_equal(text, "    cpu     0   1000 \n"
                              "      0     -   10.0 \n"
                              "   1000  10.0      - \n"
                              "   2000  20.0   30.0 \n"
                              "  12000  30.0   40.0 \n"
                              "\n"
                              "    cpu  2000  12000 \n"
                              "      0  20.0   30.0 \n"
                              "   1000  30.0   40.0 \n"
                              "   2000     -   50.0 \n"
                              "  12000  50.0      - \n");
    free(text);
    plx_bench_heat_fini(&heat);
    json_decref(document);
}

static void matrix_that_is_small_does_not_suit(void **state)
{
    (void)state;
    struct plx_bench_heat heat;
    json_t *document = pairs();
    assert_true(make(&heat, document, "raw"));
    assert_true(plx_bench_matrix_suits(&heat));
    plx_bench_heat_fini(&heat);
    /* Axes are of all subjects. */
    assert_false(make(&heat, document, "another"));
    assert_true(plx_bench_matrix_suits(&heat));
    plx_bench_heat_fini(&heat);
    json_decref(document);
    document = plx_rows_document();
    plx_rows_place(plx_rows_add(document, "rtt", "raw", 50, 6, "lower", 1), 0, 1);
    assert_true(make(&heat, document, "raw"));
    assert_false(plx_bench_matrix_suits(&heat));
    plx_bench_heat_fini(&heat);
    json_decref(document);
}

static void load_makes_no_matrix(void **state)
{
    (void)state;
    assert_true(plx_bench_heat_suits("c2c", "rtt_line"));
    assert_true(plx_bench_heat_suits("mem", "chase_4K"));
    assert_false(plx_bench_heat_suits("mem", "loaded"));
    assert_false(plx_bench_heat_suits("mem", "loaded_read"));
    assert_false(plx_bench_heat_suits("ring", "rtt_8B"));
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

static void heat_subject_without_a_place_has_no_matrix(void **state)
{
    (void)state;
    json_t *document = nodes();
    json_t *row = plx_rows_add(document, "chase", "with", 70, 6, "lower", 1);
    json_object_set_new(row, "node_a", json_integer(0));
    json_object_set_new(row, "mem_node", json_null());
    struct plx_bench_heat heat;
    assert_false(make(&heat, document, "with"));
    plx_bench_heat_fini(&heat);
    assert_true(make(&heat, document, "raw/2M"));
    assert_true(heat.least > 89 && heat.least < 91);
    plx_bench_heat_fini(&heat);
    json_decref(document);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pairs_of_cores_are_mirrored),
        cmocka_unit_test(text_has_a_line_for_each_core),
        cmocka_unit_test(colours_are_as_many_as_the_terminal_has),
        cmocka_unit_test(colours_are_explained_below_by_the_least_and_the_most),
        cmocka_unit_test(pairs_across_nodes_have_a_cell_for_memory_on_each),
        cmocka_unit_test(pairs_with_memory_on_neither_node_keep_their_order),
        cmocka_unit_test(pairs_on_one_node_have_one_figure_for_both_cells),
        cmocka_unit_test(matrix_that_is_too_wide_is_in_parts),
        cmocka_unit_test(matrix_that_is_small_does_not_suit),
        cmocka_unit_test(load_makes_no_matrix),
        cmocka_unit_test(page_has_a_cell_for_each_figure),
        cmocka_unit_test(heat_subject_without_a_place_has_no_matrix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
