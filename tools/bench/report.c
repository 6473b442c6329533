/* SPDX-License-Identifier: MIT */
/* Rows as tables for a person, as JSON and CSV for a program. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench/frame.h"
#include "tools/cli.h"

#define SCHEMA 1

static const char *unit_text(const struct plx_bench_row *row)
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

static const char *better_text(const struct plx_bench_row *row)
{
    return plx_bench_higher_is_better(row) ? "higher" : "lower";
}

/* --- tables ---------------------------------------------------------------------------------- */

static void add_figure(struct plx_cli_table *table, double value)
{
    if (value < 9.995)
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

static void add_ratio(struct plx_cli_table *table, const struct plx_bench_row *ours,
                      const struct plx_bench_row *row)
{
    struct plx_bench_ratio ratio;
    if (!plx_bench_row_ratio(ours, row, &ratio))
        ratio.mid = ours->p50 / row->p50;
    plx_cli_table_add(table, "%.3f", ratio.mid);
}

static void add_table_row(struct plx_cli_table *table, const struct plx_bench_row *row,
                          const struct plx_bench_row *ours)
{
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
    if (ours == NULL || ours == row)
        plx_cli_table_add(table, "%s", "");
    else
        add_ratio(table, ours, row);
    if (ours == row)
        add_budget(table, plx_bench_find_budget(row, NULL), row);
    else
        add_budget(table, ours != NULL ? plx_bench_find_budget(ours, row) : NULL, row);
}

static void print_title(const struct plx_bench *bench, const struct plx_bench_row *row, bool places)
{
    plx_cli_print(bench->tables, PLX_CLI_BOLD, "%s %s", row->bench, row->case_name);
    fprintf(bench->tables, ": %s, %s", row->what, unit_text(row));
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
    const struct plx_bench_row *ours = primary(rows, count);
    struct plx_cli_table table;
    plx_cli_table_init(&table, "lrrrrrrrrrl", bench->tables);
    for (size_t i = 0; i < sizeof(headings) / sizeof(headings[0]); i++)
        plx_cli_table_add(&table, "%s", headings[i]);
    for (uint32_t i = 0; i < count; i++)
        add_table_row(&table, &rows[i], ours);
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

void plx_bench_print_case(const struct plx_bench *bench, uint32_t first, uint32_t count)
{
    const struct plx_bench_row *rows = &bench->rows[first];
    if (count == 0)
        return;
    bool places = strcmp(rows->bench, "c2c") == 0 || strcmp(rows->bench, "mem") == 0 ||
                  strcmp(rows->bench, "jitter") == 0;
    print_title(bench, rows, places);
    if (places)
        print_places(bench, rows, count);
    else
        print_rows(bench, rows, count);
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

/* --- JSON ------------------------------------------------------------------------------------ */

static json_t *real_or_null(const struct plx_bench_row *row, double value)
{
    return row->has && isfinite(value) ? json_real(value) : json_null();
}

static json_t *number_or_null(int value)
{
    return value >= 0 ? json_integer(value) : json_null();
}

static json_t *row_json(const struct plx_bench_row *row)
{
    json_t *object =
        json_pack("{s:s,s:s,s:s,s:s,s:s}", "bench", row->bench, "case", row->case_name, "subject",
                  row->subject, "unit", unit_text(row), "better", better_text(row));
    if (object == NULL)
        return NULL;
    json_object_set_new(object, "n", row->has ? json_integer((json_int_t)row->n) : json_null());
    const struct {
        const char *key;
        double value;
    } figures[] = {
        {"min", row->min},   {"p50", row->p50},     {"p90", row->p90}, {"p99", row->p99},
        {"p999", row->p999}, {"p9999", row->p9999}, {"max", row->max}, {"mean", row->mean},
    };
    for (size_t i = 0; i < sizeof(figures) / sizeof(figures[0]); i++)
        json_object_set_new(object, figures[i].key, real_or_null(row, figures[i].value));
    json_object_set_new(object, "cpu_a", number_or_null(row->cpu_a));
    json_object_set_new(object, "cpu_b", number_or_null(row->cpu_b));
    json_object_set_new(object, "node_a", number_or_null(row->node_a));
    json_object_set_new(object, "node_b", number_or_null(row->node_b));
    json_object_set_new(object, "mem_node", number_or_null(row->mem_node));
    json_object_set_new(object, "ci_low", real_or_null(row, row->ci_low));
    json_object_set_new(object, "ci_high", real_or_null(row, row->ci_high));
    json_object_set_new(object, "rounds", json_integer(row->rounds.count));
    json_t *rounds = json_array();
    for (uint32_t i = 0; i < row->rounds.count; i++)
        json_array_append_new(rounds, json_real(row->rounds.p50[i]));
    json_object_set_new(object, "round_p50", rounds);
    return object;
}

/* Collects the lines of a text. */
struct text {
    char *at;
    size_t bytes;
    FILE *stream;
};

static void add_line(const char *line, void *ctx)
{
    struct text *text = ctx;
    fprintf(text->stream, "%s\n", line);
}

static json_t *settings_json(const struct plx_bench *bench)
{
    struct text text = {0};
    text.stream = open_memstream(&text.at, &text.bytes);
    if (text.stream == NULL)
        return NULL;
    plx_settings_explain_json(&bench->settings, add_line, &text);
    fclose(text.stream);
    json_t *settings = json_loads(text.at, 0, NULL);
    free(text.at);
    return settings;
}

static json_t *plan_json(const struct plx_bench *bench)
{
    json_t *plan = json_object();
    json_t *cpus = json_array();
    for (uint32_t i = 0; i < bench->plan->reactor_count; i++) {
        const struct plx_plan_reactor *reactor = &bench->plan->reactors[i];
        json_array_append_new(cpus, json_pack("{s:I,s:I,s:I,s:s}", "cpu", (json_int_t)reactor->cpu,
                                              "node", (json_int_t)reactor->node, "mem_node",
                                              (json_int_t)reactor->mem_node, "reason",
                                              reactor->cpu_reason));
    }
    json_object_set_new(plan, "cpu_a", number_or_null(bench->cpu_a));
    json_object_set_new(plan, "cpu_b", number_or_null(bench->cpu_b));
    json_object_set_new(plan, "one_core",
                        bench->one_core != NULL ? json_string(bench->one_core) : json_null());
    json_object_set_new(plan, "cpus", cpus);
    return plan;
}

/* Why rows are null: the contract's rows have no place for it. */
static json_t *notes_json(const struct plx_bench *bench)
{
    json_t *notes = json_array();
    for (uint32_t i = 0; i < bench->row_count; i++) {
        const struct plx_bench_row *row = &bench->rows[i];
        if (!row->has)
            json_array_append_new(notes, json_pack("{s:s,s:s,s:s,s:s}", "bench", row->bench, "case",
                                                   row->case_name, "subject", row->subject,
                                                   "reason", row->why));
    }
    return notes;
}

int plx_bench_write_json(const struct plx_bench *bench, FILE *stream)
{
    json_t *results = json_array();
    for (uint32_t i = 0; i < bench->row_count; i++)
        json_array_append_new(results, row_json(&bench->rows[i]));
    json_t *root = json_object();
    json_object_set_new(root, "schema", json_integer(SCHEMA));
    json_object_set_new(root, "host", plx_bench_host_json(bench));
    json_object_set_new(root, "settings", settings_json(bench));
    json_object_set_new(root, "plan", plan_json(bench));
    json_object_set_new(root, "quick", json_boolean(bench->quick));
    json_object_set_new(root, "seed", json_integer((json_int_t)bench->seed));
    json_object_set_new(root, "slices", json_integer((json_int_t)bench->slices));
    json_object_set_new(root, "discarded",
                        json_pack("{s:I,s:I,s:I}", "one_core", (json_int_t)bench->discarded_close,
                                  "steal", (json_int_t)bench->discarded_steal, "busy",
                                  (json_int_t)bench->discarded_busy));
    json_object_set_new(root, "rows_busy", json_integer((json_int_t)bench->rows_busy));
    json_object_set_new(root, "null_rows", notes_json(bench));
    json_t *jitter = plx_bench_jitter_json(bench);
    if (jitter != NULL)
        json_object_set_new(root, "jitter", jitter);
    json_object_set_new(root, "results", results);
    int rc = json_dumpf(root, stream, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
    fputc('\n', stream);
    json_decref(root);
    return rc == 0 && fflush(stream) == 0 && ferror(stream) == 0 ? 0 : -EIO;
}

/* --- CSV ------------------------------------------------------------------------------------- */

static void csv_core(FILE *stream, int value)
{
    if (value >= 0)
        fprintf(stream, ",%d", value);
    else
        fputc(',', stream);
}

static void csv_real(FILE *stream, const struct plx_bench_row *row, double value)
{
    if (row->has && isfinite(value))
        fprintf(stream, ",%.6g", value);
    else
        fputc(',', stream);
}

int plx_bench_write_csv(const struct plx_bench *bench, FILE *stream)
{
    fputs("bench,case,subject,unit,better,n,min,p50,p90,p99,p999,p9999,max,mean,cpu_a,cpu_b,"
          "node_a,node_b,mem_node,ci_low,ci_high,rounds\n",
          stream);
    for (uint32_t i = 0; i < bench->row_count; i++) {
        const struct plx_bench_row *row = &bench->rows[i];
        fprintf(stream, "%s,%s,%s,%s,%s", row->bench, row->case_name, row->subject, unit_text(row),
                better_text(row));
        const double figures[] = {row->min,  row->p50,   row->p90, row->p99,
                                  row->p999, row->p9999, row->max, row->mean};
        if (row->has)
            fprintf(stream, ",%llu", (unsigned long long)row->n);
        else
            fputc(',', stream);
        for (size_t j = 0; j < sizeof(figures) / sizeof(figures[0]); j++)
            csv_real(stream, row, figures[j]);
        csv_core(stream, row->cpu_a);
        csv_core(stream, row->cpu_b);
        csv_core(stream, row->node_a);
        csv_core(stream, row->node_b);
        csv_core(stream, row->mem_node);
        csv_real(stream, row, row->ci_low);
        csv_real(stream, row, row->ci_high);
        fprintf(stream, ",%u\n", row->rounds.count);
    }
    return fflush(stream) == 0 && ferror(stream) == 0 ? 0 : -EIO;
}
