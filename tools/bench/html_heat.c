/* SPDX-License-Identifier: MIT */
/* Rows that differ by where they ran, as a matrix in colours. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench/document.h"
#include "tools/bench/html_heat.h"

/* With more columns a cell shows its figure only when pointed at. */
#define SHOWN_COLUMNS 24u

/* What the two axes are of: cores, or a core's node and the memory's. */
struct axes {
    const char *row;
    const char *column;
    const char *what;
    bool mirrored; /* a pair of cores has no order */
};

static struct axes axes_of(const json_t *row)
{
    if (json_is_number(json_object_get(row, "cpu_b")))
        return (struct axes){"cpu_a", "cpu_b", "cpu", true};
    return (struct axes){"node_a", "mem_node", "node", false};
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

/* The matrix under construction. */
struct heat {
    struct axes axes;
    double *rows;
    double *columns;
    size_t row_count;
    size_t column_count;
    double *cells; /* NAN: none */
    double least;
    double most;
};

static void fini(struct heat *heat)
{
    free(heat->rows);
    free(heat->columns);
    free(heat->cells);
}

static void find_axes(struct heat *heat, const json_t *results, size_t first, size_t last)
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

static void put_cell(struct heat *heat, double row, double column, double value)
{
    int i = position(heat->rows, heat->row_count, row);
    int j = position(heat->columns, heat->column_count, column);
    if (i >= 0 && j >= 0)
        heat->cells[(size_t)i * heat->column_count + (size_t)j] = value;
}

static bool init(struct heat *heat, const json_t *results, size_t first, size_t last,
                 const char *subject)
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

static void put_figure(FILE *page, double value)
{
    fprintf(page, value < 9.995 ? "%.2f" : value < 99.95 ? "%.1f" : "%.0f", value);
}

static void put_rows(const struct heat *heat, FILE *page)
{
    double span = log(heat->most / heat->least);
    for (size_t i = 0; i < heat->row_count; i++) {
        fprintf(page, "<tr><th scope=\"row\">%.0f</th>", heat->rows[i]);
        for (size_t j = 0; j < heat->column_count; j++) {
            double value = heat->cells[i * heat->column_count + j];
            if (!isfinite(value)) {
                fputs("<td class=\"none\">&#183;</td>", page);
                continue;
            }
            fprintf(page, "<td style=\"--v:%.2f\" title=\"%.0f, %.0f: %.4g\">",
                    span > 0 ? log(value / heat->least) / span : 0, heat->rows[i], heat->columns[j],
                    value);
            if (heat->column_count <= SHOWN_COLUMNS)
                put_figure(page, value);
            fputs("</td>", page);
        }
        fputs("</tr>\n", page);
    }
}

bool plx_bench_html_heat(const json_t *results, size_t first, size_t last, const char *subject,
                         FILE *page)
{
    struct heat heat;
    if (!init(&heat, results, first, last, subject)) {
        fini(&heat);
        return false;
    }
    const char *unit = plx_bench_text(json_array_get(results, first), "unit");
    fprintf(page, "<div class=\"scroll\"><table class=\"heat%s\"><tr><th>%s</th>",
            heat.column_count > SHOWN_COLUMNS ? " many" : "",
            heat.axes.mirrored ? "cpu" : "node \\ memory");
    for (size_t j = 0; j < heat.column_count; j++)
        fprintf(page, "<th scope=\"col\">%.0f</th>", heat.columns[j]);
    fputs("</tr>\n", page);
    put_rows(&heat, page);
    fputs("</table></div>\n<div class=\"scale\">", page);
    if (heat.most > heat.least) {
        put_figure(page, heat.least);
        fputs(" <i></i> ", page);
    }
    put_figure(page, heat.most);
    fprintf(page, " %s</div>\n", unit);
    fini(&heat);
    return true;
}
