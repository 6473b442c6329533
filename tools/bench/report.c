/* SPDX-License-Identifier: MIT */
/* Rows as tables for a person. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench/document.h"
#include "tools/bench/heat.h"
#include "tools/cli.h"

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

/* --- tables ---------------------------------------------------------------------------------- */

static void add_figure(struct plx_cli_table *table, double value)
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
                          uint32_t count, uint32_t at)
{
    const struct plx_bench_row *row = &rows[at];
    const struct plx_bench_row *ours = primary(rows, count);
    plx_cli_table_add(table, "%s", row->subject);
    if (!row->has) {
        for (int i = 0; i < 8; i++)
            plx_cli_table_add(table, "-");
        plx_cli_table_add(table, "%s", "");
        plx_cli_table_add(table, "%s", row->why);
        return;
    }
    add_figure(table, row->p50);
    add_figure(table, row->p90);
    add_figure(table, row->p99);
    add_figure(table, row->p999);
    add_figure(table, row->max);
    add_figure(table, row->min);
    add_figure(table, row->mean);
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
    static const char *const headings[] = {"subject", "p50",       "p90",   "p99",
                                           "p99.9",   "max",       "min",   "mean",
                                           "samples", "pollux/it", "budget"};
    struct plx_cli_table table;
    plx_cli_table_init(&table, "lrrrrrrrrrl", bench->tables);
    for (size_t i = 0; i < sizeof(headings) / sizeof(headings[0]); i++)
        plx_cli_table_add(&table, "%s", headings[i]);
    for (uint32_t i = 0; i < count; i++)
        add_table_row(&table, rows, count, i);
    if (plx_cli_table_print(&table, bench->tables, 2) < 0)
        plx_cli_error("pollux bench", "out of memory");
    plx_cli_table_fini(&table);
    fputc('\n', bench->tables);
}

/* Cores and nodes in one case: a line each, as a matrix of many would not fit. */
static void add_place(struct plx_cli_table *table, const struct plx_bench_row *row)
{
    if (row->cpu_b >= 0) {
        plx_cli_table_add(table, "%d - %d", row->cpu_a, row->cpu_b);
        plx_cli_table_add(table, "%d - %d", row->node_a, row->node_b);
    } else {
        plx_cli_table_add(table, "%d", row->cpu_a);
        plx_cli_table_add(table, "%d", row->node_a);
    }
    if (strcmp(row->bench, "jitter") == 0)
        plx_cli_table_add(table, "-"); /* there is none to speak of */
    else
        plx_cli_table_add(table, row->mem_node >= 0 ? "node %d" : "unknown", row->mem_node);
    plx_cli_table_add(table, "%s", row->subject);
}

static void print_places(const struct plx_bench *bench, const struct plx_bench_row *rows,
                         uint32_t count)
{
    bool one = rows->cpu_b < 0;
    const char *const headings[] = {one ? "cpu" : "cpus",
                                    one ? "node" : "nodes",
                                    "memory",
                                    "subject",
                                    "p50",
                                    "p99",
                                    "min",
                                    "max",
                                    "samples",
                                    ""};
    struct plx_cli_table table;
    plx_cli_table_init(&table, "llllrrrrrl", bench->tables);
    for (size_t i = 0; i < sizeof(headings) / sizeof(headings[0]); i++)
        plx_cli_table_add(&table, "%s", headings[i]);
    for (uint32_t i = 0; i < count; i++) {
        const struct plx_bench_row *row = &rows[i];
        add_place(&table, row);
        if (row->has) {
            add_figure(&table, row->p50);
            add_figure(&table, row->p99);
            add_figure(&table, row->min);
            add_figure(&table, row->max);
            plx_cli_table_add(&table, "%llu", (unsigned long long)row->n);
        } else {
            for (int j = 0; j < 5; j++)
                plx_cli_table_add(&table, "-");
        }
        plx_cli_table_add(&table, "%s", row->why);
    }
    if (plx_cli_table_print(&table, bench->tables, 2) < 0)
        plx_cli_error("pollux bench", "out of memory");
    plx_cli_table_fini(&table);
    fputc('\n', bench->tables);
}

/* The rows of a case as matrices, one for each subject. False: lines say more, or they are too
 * wide.
 */
static bool print_matrices(const struct plx_bench *bench, const struct plx_bench_row *rows,
                           uint32_t count)
{
    struct plx_cli_table table;
    plx_cli_table_init(&table, "l", bench->tables);
    unsigned width = table.width;
    plx_cli_table_fini(&table);
    json_t *results = json_array();
    for (uint32_t i = 0; i < count; i++)
        json_array_append_new(results, plx_bench_row_json(&rows[i]));
    bool printed = true;
    for (uint32_t i = 0; i < count && printed; i++) {
        struct plx_bench_heat heat;
        bool known = false;
        for (uint32_t j = 0; j < i; j++)
            known = known || strcmp(rows[i].subject, rows[j].subject) == 0;
        if (known)
            continue;
        printed = plx_bench_heat_init(&heat, results, 0, count - 1, rows[i].subject) &&
                  plx_bench_matrix_suits(&heat);
        if (printed) {
            fprintf(bench->tables, "  %s, p50%s\n", rows[i].subject,
                    heat.sided ? "; the memory is near the CPU of the row" : "");
            plx_bench_matrix_print(&heat, plx_bench_depth_of(bench->tables), width, bench->tables);
            fputc('\n', bench->tables);
        }
        plx_bench_heat_fini(&heat);
    }
    json_decref(results);
    return printed;
}

void plx_bench_print_case(const struct plx_bench *bench, uint32_t first, uint32_t count)
{
    const struct plx_bench_row *rows = &bench->rows[first];
    if (count == 0)
        return;
    bool places = strcmp(rows->bench, "c2c") == 0 || strcmp(rows->bench, "mem") == 0 ||
                  strcmp(rows->bench, "jitter") == 0;
    print_title(bench, rows, places);
    bool suits = plx_bench_heat_suits(rows->bench, rows->case_name);
    if (places && !(suits && print_matrices(bench, rows, count)))
        print_places(bench, rows, count);
    else if (!places)
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
                "%u rows are of slices in which other programs ran, as there were no better: "
                "measure again when the machine is quiet\n",
                bench->rows_busy);
}
