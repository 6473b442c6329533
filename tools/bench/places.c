/* SPDX-License-Identifier: MIT */
/* Rows that differ by where they ran: matrices with what cannot be seen in them, or lines. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench/document.h"
#include "tools/bench/heat.h"
#include "tools/bench/tables.h"

/* Of pairs in more parts than this there are so many lines that a summary has to do. */
#define PARTS_MAX 4u
/* Reasons told below a matrix, more than marks can be, and places named for each. */
#define REASONS_MAX 16u
#define PLACES_MAX  8u

/* --- lines ----------------------------------------------------------------------------------- */

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

static void print_lines(const struct plx_bench_row *rows, uint32_t count, FILE *stream)
{
    bool one = rows->cpu_b < 0;
    size_t marks = plx_bench_marks_width(rows, count);
    static const char *const headings[] = {"p99", "min", "max", "samples", ""};
    struct plx_cli_table table;
    plx_cli_table_init(&table, "llllrrrrrrl", stream);
    plx_cli_table_add(&table, one ? "cpu" : "cpus");
    plx_cli_table_add(&table, one ? "node" : "nodes");
    plx_cli_table_add(&table, "memory");
    plx_cli_table_add(&table, "subject");
    plx_cli_table_add(&table, "p50");
    plx_bench_add_spread_heading(&table, marks);
    for (size_t i = 0; i < sizeof(headings) / sizeof(headings[0]); i++)
        plx_cli_table_add(&table, "%s", headings[i]);
    for (uint32_t i = 0; i < count; i++) {
        const struct plx_bench_row *row = &rows[i];
        add_place(&table, row);
        plx_bench_add_figure(&table, row->has ? row->p50 : (double)NAN);
        plx_bench_add_spread(&table, row, marks);
        plx_bench_add_figure(&table, row->has ? row->p99 : (double)NAN);
        plx_bench_add_figure(&table, row->has ? row->min : (double)NAN);
        plx_bench_add_figure(&table, row->has ? row->max : (double)NAN);
        if (row->has)
            plx_cli_table_add(&table, "%llu", (unsigned long long)row->n);
        else
            plx_cli_table_add(&table, "-");
        plx_cli_table_add(&table, "%s", row->why);
    }
    plx_bench_end_table(&table, stream);
}

/* --- what a matrix cannot show --------------------------------------------------------------- */

/* Why a row is listed below its matrix; NULL: it is not. */
typedef const char *(*reason_fn)(const struct plx_bench_row *row);

static const char *why_none(const struct plx_bench_row *row)
{
    return row->has ? NULL : row->why;
}

static const char *why_doubted(const struct plx_bench_row *row)
{
    return row->has && plx_bench_marks(row)[0] != '\0' ? plx_bench_marks(row) : NULL;
}

struct listing {
    const struct plx_bench_row *rows;
    uint32_t count;
    const char *subject;
    bool several; /* nodes of memory, so that they are named */
    FILE *stream;
    unsigned width;
};

static void put_place(FILE *stream, const struct plx_bench_row *row, bool several)
{
    if (row->cpu_b >= 0)
        fprintf(stream, "%d - %d", row->cpu_a, row->cpu_b);
    else
        fprintf(stream, "cpu %d", row->cpu_a);
    if (several && row->mem_node >= 0)
        fprintf(stream, " (memory on node %d)", row->mem_node);
}

static bool is_of(const struct listing *listing, uint32_t i, reason_fn reason_of,
                  const char *reason)
{
    const struct plx_bench_row *row = &listing->rows[i];
    const char *its = strcmp(row->subject, listing->subject) == 0 ? reason_of(row) : NULL;
    return its != NULL && (reason == NULL || strcmp(its, reason) == 0);
}

/* The places of all rows with this reason, as one line that is wrapped. */
static void print_reason(const struct listing *listing, reason_fn reason_of, const char *reason,
                         const char *before, const char *after)
{
    char *text = NULL;
    size_t bytes = 0;
    uint32_t named = 0;
    FILE *into = open_memstream(&text, &bytes);
    if (into == NULL)
        return;
    fputs(before, into);
    for (uint32_t i = 0; i < listing->count; i++) {
        if (!is_of(listing, i, reason_of, reason))
            continue;
        if (named < PLACES_MAX) {
            fputs(named != 0 ? ", " : "", into);
            put_place(into, &listing->rows[i], listing->several);
        }
        named++;
    }
    if (named > PLACES_MAX)
        fprintf(into, " and %u more", named - PLACES_MAX);
    fputs(after, into);
    fclose(into);
    struct plx_cli_table line;
    plx_cli_table_init(&line, "l", listing->stream);
    line.width = listing->width;
    plx_cli_table_add(&line, "%s", text);
    plx_bench_end_table(&line, listing->stream);
    free(text);
}

static void print_reasons(const struct listing *listing, reason_fn reason_of, bool none)
{
    const char *reasons[REASONS_MAX];
    uint32_t count = 0;
    uint32_t others = 0;
    for (uint32_t i = 0; i < listing->count; i++) {
        if (!is_of(listing, i, reason_of, NULL))
            continue;
        const char *reason = reason_of(&listing->rows[i]);
        uint32_t at = 0;
        while (at < count && strcmp(reasons[at], reason) != 0)
            at++;
        if (at == REASONS_MAX)
            others++;
        else if (at == count)
            reasons[count++] = reason;
    }
    for (uint32_t i = 0; i < count; i++) {
        char before[32] = "without figures: ";
        char after[sizeof(listing->rows->why) + 4] = "";
        if (none)
            snprintf(after, sizeof(after), ": %s", reasons[i]);
        else
            snprintf(before, sizeof(before), "marked %s: ", reasons[i]);
        print_reason(listing, reason_of, reasons[i], before, after);
    }
    if (others != 0) /* reasons: no marks are left over */
        fprintf(listing->stream, "  without figures: %u more, for other reasons\n", others);
}

/* --- a summary of pairs ---------------------------------------------------------------------- */

/* Pairs that are alike: related in the same way, of the same nodes, with memory on one node. */
struct group {
    const struct plx_bench_row *like;
    const struct plx_bench_row *least;
    const struct plx_bench_row *most;
    struct plx_bench_rounds values;
};

static int rank_of(const struct plx_bench_row *row)
{
    static const char *const relations[] = {"smt", "l3", "node", "cross"};
    int rank = 0;
    while (rank < 4 && (row->relation == NULL || strcmp(row->relation, relations[rank]) != 0))
        rank++;
    return rank;
}

static int compare_rows(const struct plx_bench_row *a, const struct plx_bench_row *b)
{
    const int keys[][2] = {{rank_of(a), rank_of(b)},
                           {a->node_a, b->node_a},
                           {a->node_b, b->node_b},
                           {a->mem_node, b->mem_node}};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        if (keys[i][0] != keys[i][1])
            return keys[i][0] < keys[i][1] ? -1 : 1;
    }
    return 0;
}

static int compare_groups(const void *a, const void *b)
{
    return compare_rows(((const struct group *)a)->like, ((const struct group *)b)->like);
}

/* Takes a row into its group; a new one if there is none. False: no memory. */
static bool group_row(struct group **groups, uint32_t *count, const struct plx_bench_row *row)
{
    uint32_t at = 0;
    while (at < *count && compare_rows((*groups)[at].like, row) != 0)
        at++;
    if (at == *count) {
        struct group *more = realloc(*groups, (*count + 1) * sizeof(*more));
        if (more == NULL)
            return false;
        *groups = more;
        more[(*count)++] = (struct group){.like = row, .least = row, .most = row};
    }
    struct group *group = &(*groups)[at];
    if (row->p50 < group->least->p50)
        group->least = row;
    if (row->p50 > group->most->p50)
        group->most = row;
    return plx_bench_rounds_add(&group->values, row->p50) == 0;
}

static void add_group(struct plx_cli_table *table, const struct group *group)
{
    const struct plx_bench_row *like = group->like;
    plx_cli_table_add(table, "%s", like->relation != NULL ? like->relation : "");
    plx_cli_table_add(table, "%d - %d", like->node_a, like->node_b);
    plx_cli_table_add(table, like->mem_node >= 0 ? "node %d" : "unknown", like->mem_node);
    plx_cli_table_add(table, "%u", group->values.count);
    plx_bench_add_figure(table, group->least->p50);
    plx_bench_add_figure(table, plx_bench_median(group->values.p50, group->values.count));
    plx_bench_add_figure(table, group->most->p50);
    plx_cli_table_add(table, "%d - %d", group->least->cpu_a, group->least->cpu_b);
    plx_cli_table_add(table, "%d - %d", group->most->cpu_a, group->most->cpu_b);
}

static void print_summary(const struct listing *listing)
{
    static const char *const headings[] = {"relation", "nodes", "memory",  "pairs",  "least",
                                           "median",   "most",  "that is", "that is"};
    struct group *groups = NULL;
    uint32_t count = 0;
    bool fits = true;
    for (uint32_t i = 0; i < listing->count && fits; i++) {
        const struct plx_bench_row *row = &listing->rows[i];
        if (row->has && strcmp(row->subject, listing->subject) == 0)
            fits = group_row(&groups, &count, row);
    }
    if (count != 0)
        qsort(groups, count, sizeof(*groups), compare_groups);
    struct plx_cli_table table;
    plx_cli_table_init(&table, "lllrrrrll", listing->stream);
    for (size_t i = 0; i < sizeof(headings) / sizeof(headings[0]); i++)
        plx_cli_table_add(&table, "%s", headings[i]);
    for (uint32_t i = 0; i < count && fits; i++)
        add_group(&table, &groups[i]);
    table.failed = table.failed || !fits;
    plx_bench_end_table(&table, listing->stream);
    for (uint32_t i = 0; i < count; i++)
        plx_bench_rounds_fini(&groups[i].values);
    free(groups);
}

/* --- matrices -------------------------------------------------------------------------------- */

/* How the matrix is to be read, and how sure it is. */
static void print_caption(const struct listing *listing, const struct plx_bench_heat *heat)
{
    double spread = NAN;
    for (uint32_t i = 0; i < listing->count; i++) {
        if (strcmp(listing->rows[i].subject, listing->subject) == 0)
            spread = fmax(spread, plx_bench_spread(&listing->rows[i]));
    }
    fprintf(listing->stream, "  %s, p50", listing->subject);
    if (isfinite(spread))
        fprintf(listing->stream, ", +-%.1f %% at most", 100 * spread);
    if (heat->sided)
        fputs("; the memory is near the CPU of the row", listing->stream);
    fputc('\n', listing->stream);
}

static void print_matrix(const struct listing *listing, const struct plx_bench_heat *heat)
{
    size_t parts = plx_bench_matrix_parts(heat, listing->width);
    print_caption(listing, heat);
    if (parts <= PARTS_MAX || !heat->axes.mirrored)
        plx_bench_matrix_print(heat, plx_bench_depth_of(listing->stream), listing->width,
                               listing->stream);
    else
        fprintf(listing->stream,
                "  a matrix of %zu columns is too wide here; a wider terminal, a file and --html "
                "have it\n",
                heat->column_count);
    if (parts > 1 && heat->axes.mirrored) {
        fputc('\n', listing->stream);
        print_summary(listing);
    }
}

/* What matrices are made of, which is little of each row: there may be very many. */
static json_t *make_results(const struct plx_bench_row *rows, uint32_t count)
{
    json_t *results = json_array();
    for (uint32_t i = 0; i < count; i++)
        json_array_append_new(results, plx_bench_place_json(&rows[i]));
    return results;
}

static void print_subject(struct listing *listing, const json_t *results)
{
    struct plx_bench_heat heat;
    if (plx_bench_heat_init(&heat, results, 0, listing->count - 1, listing->subject))
        print_matrix(listing, &heat);
    else
        fprintf(listing->stream, "  %s\n", listing->subject);
    plx_bench_heat_fini(&heat);
    print_reasons(listing, why_doubted, false);
    print_reasons(listing, why_none, true);
    fputc('\n', listing->stream);
}

/* False: there are too few places for a matrix. */
static bool print_matrices(struct listing *listing)
{
    const struct plx_bench_row *rows = listing->rows;
    json_t *results = make_results(rows, listing->count);
    struct plx_bench_heat heat;
    (void)plx_bench_heat_init(&heat, results, 0, listing->count - 1, rows->subject);
    bool suits = plx_bench_matrix_suits(&heat);
    plx_bench_heat_fini(&heat);
    for (uint32_t i = 0; i < listing->count; i++)
        listing->several = listing->several || rows[i].mem_node != rows->mem_node;
    for (uint32_t i = 0; i < listing->count && suits; i++) {
        uint32_t known = 0;
        while (strcmp(rows[known].subject, rows[i].subject) != 0)
            known++;
        if (known != i)
            continue;
        listing->subject = rows[i].subject;
        print_subject(listing, results);
    }
    json_decref(results);
    return suits;
}

void plx_bench_print_places(const struct plx_bench_row *rows, uint32_t count, FILE *stream,
                            unsigned width)
{
    struct listing listing = {.rows = rows, .count = count, .stream = stream, .width = width};
    if (plx_bench_heat_suits(rows->bench, rows->case_name) && print_matrices(&listing))
        return;
    print_lines(rows, count, stream);
    fputc('\n', stream);
}
