/* SPDX-License-Identifier: MIT */
/* Rows as tables for a person. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench/document.h"
#include "tools/bench/tables.h"

const char *plx_bench_unit_text(const struct plx_bench_row *row)
{
    static const char *const texts[] = {[PLX_BENCH_NS] = "ns",
                                        [PLX_BENCH_RATE] = "1/s",
                                        [PLX_BENCH_BANDWIDTH] = "GB/s",
                                        [PLX_BENCH_PPM] = "ppm"};
    return texts[row->unit];
}

bool plx_bench_higher_is_better(const struct plx_bench_row *row)
{
    return row->unit == PLX_BENCH_RATE || row->unit == PLX_BENCH_BANDWIDTH;
}

/* --- cells ----------------------------------------------------------------------------------- */

void plx_bench_add_figure(struct plx_cli_table *table, double value)
{
    if (!isfinite(value))
        plx_cli_table_add(table, "-");
    else if (value < 9.995)
        plx_cli_table_add(table, "%.2f", value);
    else if (value < 99.95)
        plx_cli_table_add(table, "%.1f", value);
    else
        plx_cli_table_add(table, "%.0f", value);
}

const char *plx_bench_marks(const struct plx_bench_row *row)
{
    static const char *const marks[] = {"", "b", "d", "bd", "u", "bu", "du", "bdu"};
    return row->has ? marks[row->busy + 2 * row->drifted + 4 * row->unsure] : "";
}

size_t plx_bench_marks_width(const struct plx_bench_row *rows, uint32_t count)
{
    size_t widest = 0;
    for (uint32_t i = 0; i < count; i++) {
        size_t width = strlen(plx_bench_marks(&rows[i]));
        widest = width > widest ? width : widest;
    }
    return widest;
}

double plx_bench_spread(const struct plx_bench_row *row)
{
    double spread = (row->ci_high - row->ci_low) / 2 / row->p50;
    return row->has && isfinite(spread) ? spread : (double)NAN;
}

/* With room for marks only in tables in which there are some, as most have none. */
static void add_marked(struct plx_cli_table *table, const char *text, const char *marks,
                       size_t width)
{
    if (width == 0)
        plx_cli_table_add(table, "%s", text);
    else
        plx_cli_table_add(table, "%s %-*s", text, (int)width, marks);
}

void plx_bench_add_spread(struct plx_cli_table *table, const struct plx_bench_row *row,
                          size_t marks)
{
    char text[32] = "-";
    double percent = 100 * plx_bench_spread(row);
    if (percent > 999)
        snprintf(text, sizeof(text), ">999");
    else if (isfinite(percent))
        snprintf(text, sizeof(text), percent < 9.95 ? "%.1f" : "%.0f", percent);
    add_marked(table, text, plx_bench_marks(row), marks);
}

void plx_bench_add_spread_heading(struct plx_cli_table *table, size_t marks)
{
    add_marked(table, "+-%", "", marks);
}

void plx_bench_end_table(struct plx_cli_table *table, FILE *stream)
{
    if (plx_cli_table_print(table, stream, 2) < 0)
        plx_cli_error("pollux bench", "out of memory");
    plx_cli_table_fini(table);
}

/* --- tables ---------------------------------------------------------------------------------- */

/* Ours, to which the others of a case are compared: the first; NULL if none has figures. */
static const struct plx_bench_row *primary(const struct plx_bench_row *rows, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (strncmp(rows[i].subject, "pollux", 6) == 0)
            return rows[i].has ? &rows[i] : NULL;
    }
    return NULL;
}

static void add_budget(struct plx_cli_table *table, const struct plx_bench_budget *budget,
                       const struct plx_bench_row *row)
{
    const char *sign = row->unit != PLX_BENCH_NS ? ">=" : "<=";
    if (budget == NULL)
        plx_cli_table_add(table, "%s", "");
    else if (budget->peer == NULL)
        plx_cli_table_add(table, "%s %.0f ns", sign, budget->limit);
    else
        plx_cli_table_add(table, "%s %.2f", sign, budget->limit);
}

static void add_ratio(struct plx_cli_table *table, const struct plx_bench_row *rows, uint32_t count,
                      uint32_t at)
{
    struct plx_bench_ratio ratio;
    if (plx_bench_ratio_at(rows, count, at, &ratio))
        plx_cli_table_add(table, "%.3f", ratio.mid);
    else
        plx_cli_table_add(table, "%s", "");
}

static void add_table_row(struct plx_cli_table *table, const struct plx_bench_row *rows,
                          uint32_t count, uint32_t at, size_t marks)
{
    const struct plx_bench_row *row = &rows[at];
    const struct plx_bench_row *ours = primary(rows, count);
    plx_cli_table_add(table, "%s", row->subject);
    if (!row->has) {
        plx_cli_table_add(table, "-");
        plx_bench_add_spread(table, row, marks);
        for (int i = 0; i < 6; i++)
            plx_cli_table_add(table, "-");
        plx_cli_table_add(table, "%s", "");
        plx_cli_table_add(table, "%s", row->why);
        return;
    }
    plx_bench_add_figure(table, row->p50);
    plx_bench_add_spread(table, row, marks);
    plx_bench_add_figure(table, row->p90);
    plx_bench_add_figure(table, row->p99);
    plx_bench_add_figure(table, row->p999);
    plx_bench_add_figure(table, row->max);
    plx_bench_add_figure(table, row->min);
    plx_cli_table_add(table, "%llu", (unsigned long long)row->n);
    add_ratio(table, rows, count, at);
    if (ours == row)
        add_budget(table, plx_bench_find_budget(row, NULL), row);
    else
        add_budget(table, ours != NULL ? plx_bench_find_budget(ours, row) : NULL, row);
}

static void print_title(const struct plx_bench *bench, const struct plx_bench_row *row, bool places)
{
    plx_cli_print(bench->tables, PLX_CLI_BOLD, "%s %s", row->bench, row->case_name);
    fprintf(bench->tables, ": %s, %s", row->what, plx_bench_unit_text(row));
    if (row->block > 1)
        fprintf(bench->tables, " each, in blocks of %u", row->block);
    if (!places && row->cpu_b >= 0)
        fprintf(bench->tables, "; cpu %d and cpu %d", row->cpu_a, row->cpu_b);
    else if (!places)
        fprintf(bench->tables, "; cpu %d", row->cpu_a);
    fputc('\n', bench->tables);
}

static void print_rows(const struct plx_bench *bench, const struct plx_bench_row *rows,
                       uint32_t count)
{
    static const char *const headings[] = {"p90", "p99",     "p99.9",     "max",
                                           "min", "samples", "pollux/it", "budget"};
    size_t marks = plx_bench_marks_width(rows, count);
    struct plx_cli_table table;
    plx_cli_table_init(&table, "lrrrrrrrrrl", bench->tables);
    plx_cli_table_add(&table, "subject");
    plx_cli_table_add(&table, "p50");
    plx_bench_add_spread_heading(&table, marks);
    for (size_t i = 0; i < sizeof(headings) / sizeof(headings[0]); i++)
        plx_cli_table_add(&table, "%s", headings[i]);
    for (uint32_t i = 0; i < count; i++)
        add_table_row(&table, rows, count, i, marks);
    plx_bench_end_table(&table, bench->tables);
    fputc('\n', bench->tables);
}

/* The width of lines that are printed there; 0: endless. */
static unsigned width_of(FILE *stream)
{
    struct plx_cli_table table;
    plx_cli_table_init(&table, "l", stream);
    unsigned width = table.width;
    plx_cli_table_fini(&table);
    return width;
}

void plx_bench_print_case(const struct plx_bench *bench, uint32_t first, uint32_t count)
{
    const struct plx_bench_row *rows = &bench->rows[first];
    if (count == 0)
        return;
    bool places = strcmp(rows->bench, "c2c") == 0 || strcmp(rows->bench, "mem") == 0 ||
                  strcmp(rows->bench, "jitter") == 0;
    print_title(bench, rows, places);
    if (places)
        plx_bench_print_places(rows, count, bench->tables, width_of(bench->tables));
    else
        print_rows(bench, rows, count);
    /* Whoever reads through a pipe is not to wait for the end. */
    fflush(bench->tables);
}

void plx_bench_print_end(const struct plx_bench *bench)
{
    plx_bench_print_verdict(bench);
    plx_bench_speed_print(bench);
    fprintf(bench->tables,
            "%llu slices; discarded: %llu because the two CPUs shared a core, %llu because the "
            "hypervisor took time, %llu because other programs did\n",
            (unsigned long long)bench->slices, (unsigned long long)bench->discarded_close,
            (unsigned long long)bench->discarded_steal, (unsigned long long)bench->discarded_busy);
    if (bench->rows_busy != 0)
        fprintf(bench->tables,
                "%u rows, marked b, are of slices in which other programs ran, as there were no "
                "better: measure again when the machine is quiet\n",
                bench->rows_busy);
}
