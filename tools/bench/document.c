/* SPDX-License-Identifier: MIT */
/*
 * The document of a run: all that was measured, where, how and with what, as one JSON object. Files
 * of every other form are made of it, so that they can be made of a file, too.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools/bench/document.h"
#include "tools/cli.h"

static const char *better_text(const struct plx_bench_row *row)
{
    return plx_bench_higher_is_better(row) ? "higher" : "lower";
}

/* A figure, of six digits: more say nothing, and would be most of the file. */
static json_t *figure_json(double value)
{
    char text[32];
    if (!isfinite(value))
        return json_null();
    snprintf(text, sizeof(text), "%.6g", value);
    return json_real(strtod(text, NULL));
}

static json_t *real_or_null(const struct plx_bench_row *row, double value)
{
    return row->has ? figure_json(value) : json_null();
}

static json_t *number_or_null(int value)
{
    return value >= 0 ? json_integer(value) : json_null();
}

/* The steps of a distribution, at most two for each halving of what lies beyond. */
static json_t *percentiles_json(const struct plx_bench_row *row)
{
    json_t *steps = json_array();
    for (uint32_t i = 0; i < row->point_count; i++) {
        const struct plx_bench_point *point = &row->points[i];
        if (i % 5 == 0 || i % 5 == 3 || point->part >= 1)
            json_array_append_new(steps,
                                  json_pack("[f,o]", 100 * point->part, figure_json(point->value)));
    }
    return steps;
}

static void add_places(json_t *object, const struct plx_bench_row *row)
{
    json_object_set_new(object, "cpu_a", number_or_null(row->cpu_a));
    json_object_set_new(object, "cpu_b", number_or_null(row->cpu_b));
    json_object_set_new(object, "node_a", number_or_null(row->node_a));
    json_object_set_new(object, "node_b", number_or_null(row->node_b));
    json_object_set_new(object, "mem_node", number_or_null(row->mem_node));
}

json_t *plx_bench_place_json(const struct plx_bench_row *row)
{
    json_t *object =
        json_pack("{s:s,s:o}", "subject", row->subject, "p50", real_or_null(row, row->p50));
    if (object != NULL)
        add_places(object, row);
    return object;
}

/* What may be wrong with a row, and what was seen of the machine meanwhile. */
static void add_doubts(json_t *object, const struct plx_bench_row *row)
{
    json_object_set_new(object, "busy", json_boolean(row->busy));
    json_object_set_new(object, "drifted", json_boolean(row->drifted));
    json_object_set_new(object, "unsure", json_boolean(row->unsure));
    json_object_set_new(object, "core_ns",
                        row->core_ns > 0 ? figure_json(row->core_ns) : json_null());
    json_object_set_new(object, "line_ns",
                        row->line_ns > 0 ? figure_json(row->line_ns) : json_null());
    json_object_set_new(object, "core_drift",
                        row->core_ns > 0 ? figure_json(row->core_drift) : json_null());
    json_object_set_new(object, "overhead_ns", figure_json(row->overhead_ns));
}

json_t *plx_bench_row_json(const struct plx_bench_row *row)
{
    json_t *object =
        json_pack("{s:s,s:s,s:s,s:s,s:s}", "bench", row->bench, "case", row->case_name, "subject",
                  row->subject, "unit", plx_bench_unit_text(row), "better", better_text(row));
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
    add_places(object, row);
    json_object_set_new(object, "ci_low", real_or_null(row, row->ci_low));
    json_object_set_new(object, "ci_high", real_or_null(row, row->ci_high));
    json_object_set_new(object, "rounds", json_integer(row->rounds.count));
    json_t *rounds = json_array();
    for (uint32_t i = 0; i < row->rounds.count; i++)
        json_array_append_new(rounds, figure_json(row->rounds.p50[i]));
    json_object_set_new(object, "round_p50", rounds);
    /* Of pairs of cores there may be a hundred thousand, and nobody draws their curves. */
    if (row->relation == NULL)
        json_object_set_new(object, "percentiles", percentiles_json(row));
    add_doubts(object, row);
    if (row->relation != NULL)
        json_object_set_new(object, "relation", json_string(row->relation));
    return object;
}

/* --- ratios ---------------------------------------------------------------------------------- */

static bool is_ours(const struct plx_bench_row *row)
{
    return strncmp(row->subject, "pollux", 6) == 0;
}

/* Whether two rows were measured in the same rounds, on the same cores. */
static bool is_beside(const struct plx_bench_row *a, const struct plx_bench_row *b)
{
    return a->group == b->group && strcmp(a->bench, b->bench) == 0 &&
           strcmp(a->case_name, b->case_name) == 0;
}

bool plx_bench_ratio_at(const struct plx_bench_row *rows, uint32_t count, uint32_t at,
                        struct plx_bench_ratio *out)
{
    const struct plx_bench_row *row = &rows[at];
    uint32_t first = at;
    /* Those of the same rounds follow each other: a case of all pairs has very many rows. */
    while (first != 0 && is_beside(&rows[first - 1], row))
        first--;
    for (uint32_t i = first; i < count && is_beside(&rows[i], row); i++) {
        const struct plx_bench_row *ours = &rows[i];
        if (is_ours(ours) && ours->cpu_a == row->cpu_a && ours->cpu_b == row->cpu_b)
            return strcmp(ours->subject, row->subject) != 0 && ours->has && row->has &&
                   plx_bench_row_ratio(ours, row, out);
    }
    return false;
}

static json_t *ratio_json(const struct plx_bench *bench, uint32_t at)
{
    struct plx_bench_ratio ratio;
    if (!plx_bench_ratio_at(bench->rows, bench->row_count, at, &ratio))
        return json_null();
    return json_pack("{s:o,s:o,s:o,s:I}", "low", figure_json(ratio.low), "mid",
                     figure_json(ratio.mid), "high", figure_json(ratio.high), "rounds",
                     (json_int_t)ratio.rounds);
}

/* --- the run --------------------------------------------------------------------------------- */

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
    json_t *notes = json_array();
    for (uint32_t i = 0; i < bench->plan->note_count; i++)
        json_array_append_new(notes, json_string(bench->plan->notes[i]));
    json_object_set_new(plan, "notes", notes);
    return plan;
}

/* Why rows are null: the contract's rows have no place for it. */
static json_t *notes_json(const struct plx_bench *bench)
{
    json_t *notes = json_array();
    for (uint32_t i = 0; i < bench->row_count; i++) {
        const struct plx_bench_row *row = &bench->rows[i];
        if (row->has)
            continue;
        json_t *note = json_pack("{s:s,s:s,s:s,s:s}", "bench", row->bench, "case", row->case_name,
                                 "subject", row->subject, "reason", row->why);
        if (note != NULL)
            add_places(note, row);
        json_array_append_new(notes, note);
    }
    return notes;
}

/* What the operations of each case are, and how many are in a sample. */
static json_t *cases_json(const struct plx_bench *bench)
{
    json_t *cases = json_array();
    for (uint32_t i = 0; i < bench->row_count; i++) {
        const struct plx_bench_row *row = &bench->rows[i];
        if (i != 0 && strcmp(row->bench, row[-1].bench) == 0 &&
            strcmp(row->case_name, row[-1].case_name) == 0)
            continue;
        json_array_append_new(cases, json_pack("{s:s,s:s,s:s,s:I}", "bench", row->bench, "case",
                                               row->case_name, "what", row->what, "block",
                                               (json_int_t)row->block));
    }
    return cases;
}

static json_t *time_json(time_t when)
{
    struct tm parts;
    char text[32];
    gmtime_r(&when, &parts);
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts);
    return json_string(text);
}

static void add_end(json_t *root, const struct plx_bench *bench)
{
    json_object_set_new(root, "slices", json_integer((json_int_t)bench->slices));
    json_object_set_new(root, "discarded",
                        json_pack("{s:I,s:I,s:I}", "one_core", (json_int_t)bench->discarded_close,
                                  "steal", (json_int_t)bench->discarded_steal, "busy",
                                  (json_int_t)bench->discarded_busy));
    json_object_set_new(root, "rows_busy", json_integer((json_int_t)bench->rows_busy));
    json_object_set_new(root, "rows_drifted", json_integer((json_int_t)bench->rows_drifted));
    json_object_set_new(root, "rows_unsure", json_integer((json_int_t)bench->rows_unsure));
    json_object_set_new(root, "null_rows", notes_json(bench));
    json_t *jitter = plx_bench_jitter_json(bench);
    if (jitter != NULL)
        json_object_set_new(root, "jitter", jitter);
    json_object_set_new(root, "budgets", plx_bench_budgets_json(bench));
    json_object_set_new(root, "cases", cases_json(bench));
}

static bool is_complete(const struct plx_bench *bench)
{
    return plx_bench_stop_number() == 0 && !bench->incomplete;
}

json_t *plx_bench_document(const struct plx_bench *bench)
{
    char version[32];
    json_t *results = json_array();
    for (uint32_t i = 0; i < bench->row_count; i++) {
        json_t *row = plx_bench_row_json(&bench->rows[i]);
        json_object_set_new(row, "ratio", ratio_json(bench, i));
        json_array_append_new(results, row);
    }
    snprintf(version, sizeof(version), "%d.%d.%d", PLX_VERSION_MAJOR, PLX_VERSION_MINOR,
             PLX_VERSION_PATCH);
    json_t *root = json_object();
    json_object_set_new(root, "schema", json_integer(PLX_BENCH_SCHEMA));
    json_object_set_new(root, "pollux", json_string(version));
    json_object_set(root, "command", bench->command);
    json_object_set_new(root, "start", time_json(bench->start_time));
    json_object_set_new(root, "end", time_json(time(NULL)));
    json_object_set_new(root, "complete", json_boolean(is_complete(bench)));
    json_object_set_new(root, "host", plx_bench_host_json(bench));
    json_object_set_new(root, "settings", settings_json(bench));
    json_object_set_new(root, "plan", plan_json(bench));
    json_object_set_new(root, "quick", json_boolean(bench->quick));
    json_object_set_new(root, "seed", json_integer((json_int_t)bench->seed));
    add_end(root, bench);
    json_object_set_new(root, "results", results);
    return root;
}

/* An array with a line for each of its elements, so that a row is found by grep. */
static int write_array(const json_t *array, FILE *stream, size_t flags)
{
    size_t index;
    const json_t *element;
    int rc = 0;
    fputc('[', stream);
    json_array_foreach(array, index, element)
    {
        fputs(index != 0 ? ",\n  " : "\n  ", stream);
        rc = rc != 0 ? rc : json_dumpf(element, stream, flags);
    }
    fputs(index != 0 ? "\n ]" : "]", stream);
    return rc;
}

int plx_bench_write_json(const json_t *document, FILE *stream)
{
    /* So many for percentages alone, which come close to 100: figures have six digits at most. */
    const size_t flags = JSON_ENCODE_ANY | JSON_REAL_PRECISION(12);
    const char *key;
    json_t *value;
    const char *before = "{\n";
    int rc = 0;
    json_object_foreach((json_t *)(uintptr_t)document, key, value)
    {
        fprintf(stream, "%s \"%s\": ", before, key);
        bool rows = json_is_object(json_array_get(value, 0));
        int one = rows ? write_array(value, stream, flags) : json_dumpf(value, stream, flags);
        rc = rc != 0 ? rc : one;
        before = ",\n";
    }
    fputs("\n}\n", stream);
    return rc == 0 && fflush(stream) == 0 && ferror(stream) == 0 ? 0 : -EIO;
}

/* --- CSV ------------------------------------------------------------------------------------- */

/* Frozen: new ones go to the end. */
static const char *const columns[] = {"bench",    "case",   "subject", "unit",  "better", "n",
                                      "min",      "p50",    "p90",     "p99",   "p999",   "p9999",
                                      "max",      "mean",   "cpu_a",   "cpu_b", "node_a", "node_b",
                                      "mem_node", "ci_low", "ci_high", "rounds"};

#define COLUMN_COUNT (sizeof(columns) / sizeof(columns[0]))

/* Quoted where a comma or a quote would be taken for the format's. */
static void put_text(FILE *stream, const char *text)
{
    if (strpbrk(text, ",\"\r\n") == NULL) {
        fputs(text, stream);
        return;
    }
    fputc('"', stream);
    for (; *text != '\0'; text++) {
        if (*text == '"')
            fputc('"', stream);
        fputc(*text, stream);
    }
    fputc('"', stream);
}

int plx_bench_write_csv(const json_t *document, FILE *stream)
{
    size_t index;
    json_t *row;
    for (size_t i = 0; i < COLUMN_COUNT; i++)
        fprintf(stream, "%s%s", i != 0 ? "," : "", columns[i]);
    fputc('\n', stream);
    json_array_foreach(json_object_get(document, "results"), index, row)
    {
        for (size_t i = 0; i < COLUMN_COUNT; i++) {
            const json_t *value = json_object_get(row, columns[i]);
            if (i != 0)
                fputc(',', stream);
            if (json_is_string(value))
                put_text(stream, json_string_value(value));
            else if (json_is_integer(value))
                fprintf(stream, "%lld", (long long)json_integer_value(value));
            else if (json_is_real(value))
                fprintf(stream, "%.6g", json_real_value(value));
        }
        fputc('\n', stream);
    }
    return fflush(stream) == 0 && ferror(stream) == 0 ? 0 : -EIO;
}
