/* SPDX-License-Identifier: MIT */
/* Rows of one subject that differ by where they ran, as a matrix. */
#include "tools/bench/heat.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench/document.h"

static struct plx_bench_axes axes_of(const json_t *row)
{
    if (json_is_number(json_object_get(row, "cpu_b")))
        return (struct plx_bench_axes){"cpu_a", "cpu_b", true};
    return (struct plx_bench_axes){"node_a", "mem_node", false};
}

static int position(const double *values, size_t count, double value)
{
    for (size_t i = 0; i < count; i++) {
        if (values[i] >= value && values[i] <= value)
            return (int)i;
    }
    return -1;
}

static void insert(double *values, size_t *count, double value)
{
    if (!isfinite(value) || position(values, *count, value) >= 0)
        return;
    size_t at = *count;
    for (; at > 0 && values[at - 1] > value; at--)
        values[at] = values[at - 1];
    values[at] = value;
    ++*count;
}

void plx_bench_heat_fini(struct plx_bench_heat *heat)
{
    free(heat->rows);
    free(heat->columns);
    free(heat->cells);
}

static void find_axes(struct plx_bench_heat *heat, const json_t *results, size_t first, size_t last)
{
    for (size_t i = first; i <= last; i++) {
        const json_t *row = json_array_get(results, i);
        double a = plx_bench_number(row, heat->axes.row);
        double b = plx_bench_number(row, heat->axes.column);
        insert(heat->rows, &heat->row_count, a);
        insert(heat->columns, &heat->column_count, b);
        if (heat->axes.mirrored) {
            insert(heat->rows, &heat->row_count, b);
            insert(heat->columns, &heat->column_count, a);
        }
    }
}

/* --- cells ----------------------------------------------------------------------------------- */

/* What is in a cell so far. */
enum taken { EMPTY, OWN, OF_OTHER_SIDE };

static size_t cell_at(const struct plx_bench_heat *heat, double row, double column)
{
    int i = position(heat->rows, heat->row_count, row);
    int j = position(heat->columns, heat->column_count, column);
    return i >= 0 && j >= 0 ? (size_t)i * heat->column_count + (size_t)j : SIZE_MAX;
}

static bool is_same(double a, double b)
{
    return a >= b && a <= b; /* NAN is nothing's equal */
}

/*
 * Where a row of a pair belongs: memory near the first core to (a, b), near the second to (b, a).
 * Memory that is of neither's node, as one of the two has none, or is not known, is of the first
 * row's side and then the other's, as they are measured in this order.
 */
static void put_pair(struct plx_bench_heat *heat, const json_t *row, double value, char *taken)
{
    double a = plx_bench_number(row, heat->axes.row);
    double b = plx_bench_number(row, heat->axes.column);
    double memory = plx_bench_number(row, "mem_node");
    bool near_a = is_same(memory, plx_bench_number(row, "node_a"));
    bool near_b = is_same(memory, plx_bench_number(row, "node_b"));
    size_t there = cell_at(heat, a, b);
    size_t back = cell_at(heat, b, a);
    if (there == SIZE_MAX || back == SIZE_MAX)
        return;
    bool other = near_a ? false : near_b || taken[there] != EMPTY;
    heat->cells[other ? back : there] = value;
    taken[other ? back : there] = other ? OF_OTHER_SIDE : OWN;
}

/* What one row says of a pair is said in both its cells. */
static void mirror(struct plx_bench_heat *heat, const char *taken)
{
    size_t count = heat->row_count;
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < i; j++) {
            size_t one = i * count + j;
            size_t other = j * count + i;
            if (taken[one] != EMPTY && taken[other] != EMPTY)
                heat->sided = heat->sided || taken[one] != taken[other];
            else if (taken[one] != EMPTY)
                heat->cells[other] = heat->cells[one];
            else
                heat->cells[one] = heat->cells[other];
        }
    }
}

static void fill(struct plx_bench_heat *heat, const json_t *results, size_t first, size_t last,
                 const char *subject, char *taken)
{
    for (size_t i = first; i <= last; i++) {
        const json_t *row = json_array_get(results, i);
        double value = plx_bench_number(row, "p50");
        if (strcmp(plx_bench_text(row, "subject"), subject) != 0)
            continue;
        if (!(value > 0))
            value = NAN;
        size_t at = cell_at(heat, plx_bench_number(row, heat->axes.row),
                            plx_bench_number(row, heat->axes.column));
        if (heat->axes.mirrored)
            put_pair(heat, row, value, taken);
        else if (at != SIZE_MAX)
            heat->cells[at] = value;
    }
    if (heat->axes.mirrored)
        mirror(heat, taken);
    /* Of the cells: a row of a --with program may belong in none. */
    for (size_t i = 0; i < heat->row_count * heat->column_count; i++) {
        heat->least = fmin(heat->least, heat->cells[i]);
        heat->most = fmax(heat->most, heat->cells[i]);
    }
}

bool plx_bench_heat_suits(const char *bench, const char *case_name)
{
    if (strcmp(bench, "mem") == 0)
        return strncmp(case_name, "loaded", 6) != 0;
    return strcmp(bench, "c2c") == 0;
}

bool plx_bench_heat_init(struct plx_bench_heat *heat, const json_t *results, size_t first,
                         size_t last, const char *subject)
{
    size_t most = 2 * (last - first + 1);
    memset(heat, 0, sizeof(*heat));
    heat->axes = axes_of(json_array_get(results, first));
    heat->rows = calloc(most, sizeof(*heat->rows));
    heat->columns = calloc(most, sizeof(*heat->columns));
    if (heat->rows == NULL || heat->columns == NULL)
        return false;
    find_axes(heat, results, first, last);
    size_t cells = heat->row_count * heat->column_count;
    if (cells == 0)
        return false;
    char *taken = calloc(cells, sizeof(*taken));
    heat->cells = calloc(cells, sizeof(*heat->cells));
    if (heat->cells != NULL && taken != NULL) {
        for (size_t i = 0; i < cells; i++)
            heat->cells[i] = NAN;
        heat->least = INFINITY;
        fill(heat, results, first, last, subject, taken);
    }
    free(taken);
    return heat->most > 0;
}

double plx_bench_heat_part(const struct plx_bench_heat *heat, double value)
{
    double span = log(heat->most / heat->least);
    return span > 0 ? log(value / heat->least) / span : 0;
}
