/* SPDX-License-Identifier: MIT */
/* Rows that differ by where they ran, as a matrix in colours. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench/document.h"
#include "tools/bench/heat.h"
#include "tools/bench/html_heat.h"

/* With more columns figures are small and without decimals; with still more they are only shown
 * when pointed at.
 */
#define FULL_COLUMNS  16u
#define SHOWN_COLUMNS 72u

/* Whether a cell has a figure: a row may have one that belongs in none. */
static bool has_cells(const struct plx_bench_heat *heat)
{
    bool has = false;
    for (size_t i = 0; i < heat->row_count * heat->column_count; i++)
        has = has || isfinite(heat->cells[i]);
    return has;
}

static void put_figure(FILE *page, double value)
{
    fprintf(page, value < 9.995 ? "%.2f" : value < 99.95 ? "%.1f" : "%.0f", value);
}

static void put_rows(const struct plx_bench_heat *heat, FILE *page)
{
    for (size_t i = 0; i < heat->row_count; i++) {
        fprintf(page, "<tr><th scope=\"row\">%.0f</th>", heat->rows[i]);
        for (size_t j = 0; j < heat->column_count; j++) {
            double value = heat->cells[i * heat->column_count + j];
            if (!isfinite(value)) {
                fputs("<td class=\"none\">&#183;</td>", page);
                continue;
            }
            fprintf(page, "<td style=\"--v:%.2f\" title=\"%.0f, %.0f: %.4g\">",
                    plx_bench_heat_part(heat, value), heat->rows[i], heat->columns[j], value);
            if (heat->column_count <= FULL_COLUMNS)
                put_figure(page, value);
            else if (heat->column_count <= SHOWN_COLUMNS)
                fprintf(page, value < 1e4 ? "%.0f" : "%.1e", value);
            fputs("</td>", page);
        }
        fputs("</tr>\n", page);
    }
}

bool plx_bench_html_heat(const json_t *results, size_t first, size_t last, const char *subject,
                         FILE *page)
{
    struct plx_bench_heat heat;
    bool has = plx_bench_heat_init(&heat, results, first, last, subject);
    if (!has || !has_cells(&heat) || !plx_bench_matrix_suits(&heat)) {
        plx_bench_heat_fini(&heat);
        return false;
    }
    const char *unit = plx_bench_text(json_array_get(results, first), "unit");
    fprintf(page, "<div class=\"scroll\"><table class=\"heat%s\"><tr><th>%s</th>",
            heat.column_count > FULL_COLUMNS ? " many" : "",
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
    if (heat.sided)
        fputs("<p>Of two CPUs on two nodes, the line is in memory near the one that names the row."
              "</p>\n",
              page);
    plx_bench_heat_fini(&heat);
    return true;
}
