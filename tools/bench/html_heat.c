/* SPDX-License-Identifier: MIT */
/* Rows that differ by where they ran, as a matrix in colours. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench/document.h"
#include "tools/bench/heat.h"
#include "tools/bench/html_heat.h"

/* With more columns figures are small, and have fewer digits. */
#define FULL_COLUMNS 16u
/* With still more they are shown when pointed at, and one number stands for so many rows. */
#define SHOWN_COLUMNS 72u
#define NAMED_EACH    16u

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

static void put_cell(const struct plx_bench_heat *heat, size_t i, size_t j, FILE *page)
{
    double value = heat->cells[i * heat->column_count + j];
    if (!isfinite(value)) {
        fputs("<td class=\"none\">&#183;</td>", page);
        return;
    }
    fprintf(page, "<td style=\"--v:%.2f\" title=\"%.0f, %.0f: %.4g\">",
            plx_bench_heat_part(heat, value), heat->rows[i], heat->columns[j], value);
    if (heat->column_count <= FULL_COLUMNS)
        put_figure(page, value);
    else if (heat->column_count <= SHOWN_COLUMNS)
        fprintf(page, value < 9.95 ? "%.1f" : value < 1e4 ? "%.0f" : "%.1e", value);
    fputs("</td>", page);
}

/* The heading of row or column number `at`, which may be that of some more. */
static void put_number(const double *numbers, size_t count, size_t at, bool row, bool each,
                       FILE *page)
{
    size_t left = count - at;
    size_t span = each ? 1 : left < NAMED_EACH ? left : NAMED_EACH;
    if (each || at % NAMED_EACH == 0)
        fprintf(page, "<th scope=\"%s\" %sspan=\"%zu\">%.0f</th>", row ? "row" : "col",
                row ? "row" : "col", span, numbers[at]);
}

static void put_table(const struct plx_bench_heat *heat, FILE *page)
{
    bool each = heat->column_count <= SHOWN_COLUMNS;
    const char *kind = heat->column_count <= FULL_COLUMNS ? "" : each ? " many" : " many dots";
    fprintf(page, "<div class=\"scroll\"><table class=\"heat%s\"><tr><th>%s</th>", kind,
            heat->axes.mirrored ? "cpu" : "node \\ memory");
    for (size_t j = 0; j < heat->column_count; j++)
        put_number(heat->columns, heat->column_count, j, false, each, page);
    fputs("</tr>\n", page);
    for (size_t i = 0; i < heat->row_count; i++) {
        fputs("<tr>", page);
        put_number(heat->rows, heat->row_count, i, true, each, page);
        for (size_t j = 0; j < heat->column_count; j++)
            put_cell(heat, i, j, page);
        fputs("</tr>\n", page);
    }
    fputs("</table></div>\n", page);
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
    put_table(&heat, page);
    fputs("<div class=\"scale\">", page);
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
