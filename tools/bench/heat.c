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

static void put_cell(struct plx_bench_heat *heat, double row, double column, double value)
{
    int i = position(heat->rows, heat->row_count, row);
    int j = position(heat->columns, heat->column_count, column);
    if (i >= 0 && j >= 0)
        heat->cells[(size_t)i * heat->column_count + (size_t)j] = value;
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
    heat->cells = calloc(cells != 0 ? cells : 1, sizeof(*heat->cells));
    if (heat->cells == NULL || cells == 0)
        return false;
    for (size_t i = 0; i < cells; i++)
        heat->cells[i] = NAN;
    heat->least = INFINITY;
    heat->most = 0;
    for (size_t i = first; i <= last; i++) {
        const json_t *row = json_array_get(results, i);
        double value = plx_bench_number(row, "p50");
        double a = plx_bench_number(row, heat->axes.row);
        double b = plx_bench_number(row, heat->axes.column);
        if (!(value > 0) || strcmp(plx_bench_text(row, "subject"), subject) != 0)
            continue;
        put_cell(heat, a, b, value);
        if (heat->axes.mirrored)
            put_cell(heat, b, a, value);
        heat->least = fmin(heat->least, value);
        heat->most = fmax(heat->most, value);
    }
    return heat->most > 0;
}

double plx_bench_heat_part(const struct plx_bench_heat *heat, double value)
{
    double span = log(heat->most / heat->least);
    return span > 0 ? log(value / heat->least) / span : 0;
}
