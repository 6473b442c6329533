/* SPDX-License-Identifier: MIT */
/* Rows: made of what was measured, and of that of earlier passes over the same case. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench/timing.h"
#include "tools/bench/track.h"
#include "tools/bench/with.h"
#include "tools/cli.h"

/* --- the row --------------------------------------------------------------------------------- */

/* The row that an earlier pass made of the same thing; a new one if there is none. */
static struct plx_bench_row *find_or_add(struct plx_bench *bench, const struct plx_bench_row *like)
{
    for (uint32_t i = 0; bench->pass != 0 && i < bench->row_count; i++) {
        struct plx_bench_row *row = &bench->rows[i];
        if (row->group == like->group && row->cpu_a == like->cpu_a && row->cpu_b == like->cpu_b &&
            row->mem_node == like->mem_node && strcmp(row->bench, like->bench) == 0 &&
            strcmp(row->case_name, like->case_name) == 0 &&
            strcmp(row->subject, like->subject) == 0)
            return row;
    }
    struct plx_bench_row *row = plx_bench_row_add(bench);
    if (row != NULL) {
        *row = *like;
        row->ci_low = NAN;
        row->ci_high = NAN;
    }
    return row;
}

/* --- samples --------------------------------------------------------------------------------- */

static struct plx_bench_packed *pack(const struct plx_histogram *from)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < PLX_HISTOGRAM_BUCKETS; i++)
        count += from->buckets[i] != 0;
    struct plx_bench_packed *packed =
        malloc(sizeof(*packed) + (size_t)count * sizeof(packed->buckets[0]));
    if (packed == NULL)
        return NULL;
    *packed = (struct plx_bench_packed){.count = from->count,
                                        .min = from->min,
                                        .max = from->max,
                                        .sum_low = from->sum_low,
                                        .sum_high = from->sum_high,
                                        .clamped = from->clamped,
                                        .bucket_count = count};
    for (uint32_t i = 0, next = 0; i < PLX_HISTOGRAM_BUCKETS; i++) {
        if (from->buckets[i] == 0)
            continue;
        packed->buckets[next].bucket = i;
        packed->buckets[next++].values = from->buckets[i];
    }
    return packed;
}

/* Adds them to a histogram. */
static void unpack(const struct plx_bench_packed *packed, struct plx_histogram *into)
{
    if (packed == NULL)
        return;
    for (uint32_t i = 0; i < packed->bucket_count; i++)
        into->buckets[packed->buckets[i].bucket] += packed->buckets[i].values;
    into->count += packed->count;
    into->clamped += packed->clamped;
    into->min = packed->min < into->min ? packed->min : into->min;
    into->max = packed->max > into->max ? packed->max : into->max;
    into->sum_low += packed->sum_low;
    into->sum_high += packed->sum_high + (into->sum_low < packed->sum_low);
}

/* --- rounds ---------------------------------------------------------------------------------- */

/* The figure of a round; false: it has none. `spare`: of slices in which others ran. */
static bool round_value(const struct plx_bench_medians *medians, bool spare, bool also,
                        uint64_t *value)
{
    *value = also ? medians->also : (spare ? medians->spare : medians->kept);
    return also ? medians->has_also && medians->good == !spare : *value != 0;
}

bool plx_bench_track_part(const struct plx_bench_track *track, bool also, double *part)
{
    struct plx_bench_rounds rounds = {.p50 = NULL};
    bool known = true;
    for (uint32_t i = 0; i < track->round_count && known; i++) {
        uint64_t value;
        if (round_value(&track->medians[i], track->good == 0, also, &value))
            known = plx_bench_rounds_add(&rounds, (double)value) == 0;
    }
    known = known && plx_bench_rounds_part(&rounds, part);
    plx_bench_rounds_fini(&rounds);
    return known;
}

bool plx_bench_row_ratio(const struct plx_bench_row *a, const struct plx_bench_row *b,
                         struct plx_bench_ratio *out)
{
    return a->group == b->group && a->paired_count == b->paired_count &&
           strcmp(a->bench, b->bench) == 0 && strcmp(a->case_name, b->case_name) == 0 &&
           plx_bench_ratio_of(a->paired, b->paired, a->paired_count, out);
}

static double figure_of(const struct plx_bench_row *row, double value)
{
    double figure = value * row->scale - row->overhead_ns;
    return figure > 0 ? figure : 0;
}

/* Adds this pass's medians; NAN where there is none of a kept slice. */
static int add_rounds(struct plx_bench_row *row, const struct plx_bench_track *track, bool spare,
                      bool also)
{
    uint32_t count = row->paired_count + track->round_count;
    double *paired = realloc(row->paired, (count != 0 ? count : 1) * sizeof(*paired));
    if (paired == NULL)
        return -ENOMEM;
    row->paired = paired;
    for (uint32_t i = 0; i < track->round_count; i++) {
        uint64_t value;
        bool there = round_value(&track->medians[i], spare, also, &value);
        paired[row->paired_count++] = there ? figure_of(row, (double)value) : (double)NAN;
    }
    return 0;
}

/* --- figures --------------------------------------------------------------------------------- */

static void fill_figures(struct plx_bench_row *row, const struct plx_histogram *kept)
{
    row->has = true;
    row->n = plx_histogram_count(kept);
    row->min = figure_of(row, (double)plx_histogram_min(kept));
    row->max = figure_of(row, (double)plx_histogram_max(kept));
    row->mean = figure_of(row, plx_histogram_mean(kept));
    row->p50 = figure_of(row, (double)plx_histogram_percentile(kept, 50));
    row->p90 = figure_of(row, (double)plx_histogram_percentile(kept, 90));
    row->p99 = figure_of(row, (double)plx_histogram_percentile(kept, 99));
    row->p999 = figure_of(row, (double)plx_histogram_percentile(kept, 99.9));
    row->p9999 = figure_of(row, (double)plx_histogram_percentile(kept, 99.99));
}

/* Puts the samples of this pass with those of earlier ones, and figures of all into the row. */
static int merge(const struct plx_bench *bench, struct plx_bench_row *row,
                 struct plx_histogram *samples, const struct plx_bench_track *track, bool spare,
                 bool also)
{
    int rc = add_rounds(row, track, spare, also);
    if (rc != 0)
        return rc;
    unpack(row->samples, samples);
    struct plx_bench_packed *packed = pack(samples);
    if (packed == NULL)
        return -ENOMEM;
    free(row->samples);
    row->samples = packed;
    row->busy = spare;
    fill_figures(row, samples);
    struct plx_bench_rounds rounds = {.p50 = NULL};
    for (uint32_t i = 0; i < row->paired_count && rc == 0; i++) {
        if (!isnan(row->paired[i]))
            rc = plx_bench_rounds_add(&rounds, (row->paired[i] + row->overhead_ns) / row->scale);
    }
    if (rc == 0)
        rc = plx_bench_row_spread(row, samples, &rounds, row->scale);
    row->unsure = plx_bench_is_unsure(bench, &rounds);
    plx_bench_rounds_fini(&rounds);
    return rc;
}

/* Drops what earlier passes left, which were without figures, or had others on the core. */
static void forget(struct plx_bench_row *row)
{
    for (uint32_t i = 0; i < row->paired_count; i++)
        row->paired[i] = NAN;
    free(row->samples);
    row->samples = NULL;
    row->speeds.count = 0;
    row->lines.count = 0;
    row->core_drift = 0;
    row->busy = false;
}

/* --- a row ----------------------------------------------------------------------------------- */

static struct plx_bench_row describe(const struct plx_bench *bench,
                                     const struct plx_bench_case *what,
                                     const struct plx_bench_track *track,
                                     const struct plx_bench_round_facts *facts, bool also)
{
    const struct plx_bench_subject *subject = track->subject;
    struct plx_bench_row row = {
        .bench = what->bench,
        .case_name = what->name,
        .what = what->what,
        .subject = subject->name,
        .unit = what->unit,
        .block = what->block != 0 ? what->block : 1,
        .cpu_a = track->cpu_a,
        .cpu_b = what->two_cores ? track->cpu_b : -1,
        .mem_node = subject->mem_node,
        .relation = subject->relation,
        .group = facts->group,
    };
    row.node_a = plx_bench_node_of(bench, row.cpu_a);
    row.node_b = plx_bench_node_of(bench, row.cpu_b);
    row.scale = plx_bench_ns_per_tick(bench) / (double)row.block;
    if (row.unit != PLX_BENCH_NS)
        row.scale = row.unit == PLX_BENCH_BANDWIDTH ? PLX_BENCH_BANDWIDTH_BYTES * 1e-9 : 1.0;
    if (row.unit == PLX_BENCH_PPM)
        row.scale = 1e-3;
    /* Second figures are not timed by the counter. */
    row.overhead_ns = also ? 0 : plx_bench_overhead_ns(what, bench->clock_ns, bench->fenced_ns);
    return row;
}

/* Why there are no figures; false: there are. */
static bool lacks(struct plx_bench *bench, const struct plx_bench_case *what,
                  const struct plx_bench_track *track, struct plx_bench_row *row)
{
    if (what->two_cores && !plx_bench_has_two(bench))
        snprintf(row->why, sizeof(row->why), "%s", bench->one_core);
    else if (track->subject->missing != NULL)
        snprintf(row->why, sizeof(row->why), "%s", track->subject->missing);
    else if (track->rc != 0)
        snprintf(row->why, sizeof(row->why), "failed: %.180s", track->diag.text);
    return row->why[0] != '\0';
}

/* The second figures of slices as a histogram, which is the track's. */
static struct plx_histogram *gather_also(const struct plx_bench_track *track, bool spare)
{
    plx_histogram_reset(track->also);
    for (uint32_t i = 0; i < track->round_count; i++) {
        uint64_t value;
        if (round_value(&track->medians[i], spare, true, &value))
            plx_histogram_record(track->also, value);
    }
    return track->also;
}

static int add_row(struct plx_bench *bench, const struct plx_bench_case *what,
                   const struct plx_bench_track *track, const struct plx_bench_round_facts *facts,
                   bool also)
{
    struct plx_bench_row like = describe(bench, what, track, facts, also);
    bool lacking = lacks(bench, what, track, &like);
    struct plx_bench_row *row = find_or_add(bench, &like);
    if (row == NULL)
        return -ENOMEM;
    row->slices += track->slices;
    row->discarded += track->discarded;
    /* Slices with others on the core only for a row that has nothing else. */
    bool spare = track->good == 0 && (!row->has || row->busy);
    struct plx_histogram *samples = spare ? track->spare : track->kept;
    if (also && !lacking)
        samples = gather_also(track, spare);
    bool merges = !lacking && plx_histogram_count(samples) != 0;
    if (!row->has || (merges && row->busy && !spare))
        forget(row);
    /* Of a pass that the figures are not made of nothing is told. */
    if ((!row->has || merges) && plx_bench_row_seen(row, &track->speeds, &track->lines) != 0)
        return -ENOMEM;
    if (lacking)
        return track->medians != NULL ? add_rounds(row, track, false, also) : 0;
    row->why[0] = '\0';
    if (merges)
        return merge(bench, row, samples, track, spare, also);
    if (!row->has && plx_bench_stopping())
        snprintf(row->why, sizeof(row->why), "stopped before it was measured");
    else if (!row->has && what->noise)
        snprintf(row->why, sizeof(row->why), "none in %u slices", row->slices);
    else if (!row->has && track->close == track->slices)
        snprintf(row->why, sizeof(row->why),
                 "all %u slices were discarded: a line went there and back in %.0f ns, so the two "
                 "CPUs are one core (if they are two: --guard)",
                 row->slices, track->close_ns);
    else if (!row->has)
        snprintf(row->why, sizeof(row->why), "all %u slices were discarded", row->slices);
    row->quiet = what->noise;
    return add_rounds(row, track, false, also);
}

static bool same_case(const struct plx_bench_row *a, const struct plx_bench_row *b)
{
    return strcmp(a->bench, b->bench) == 0 && strcmp(a->case_name, b->case_name) == 0;
}

static void turn_round(struct plx_bench_row *rows, uint32_t count)
{
    for (uint32_t i = 0; i < count / 2; i++) {
        struct plx_bench_row other = rows[i];
        rows[i] = rows[count - 1 - i];
        rows[count - 1 - i] = other;
    }
}

/*
 * Moves the rows from `first` on, which a batch has added, behind those of earlier batches: rows of
 * its second figure may lie in between.
 */
static void gather(struct plx_bench *bench, uint32_t first)
{
    if (first == 0 || first >= bench->row_count)
        return;
    const struct plx_bench_row *added = &bench->rows[first];
    uint32_t place = first;
    while (place > 0 && !same_case(&bench->rows[place - 1], added))
        place--;
    if (place == 0 || place == first)
        return;
    uint32_t between = first - place;
    uint32_t count = bench->row_count - first;
    /* By turning both round, and then each by itself. */
    turn_round(&bench->rows[place], between + count);
    turn_round(&bench->rows[place], count);
    turn_round(&bench->rows[place + count], between);
}

/* Prints all rows of the case that the row is of. */
static void print_case_of(struct plx_bench *bench, uint32_t row)
{
    uint32_t first = row;
    uint32_t end = row + 1;
    while (first > 0 && same_case(&bench->rows[first - 1], &bench->rows[row]))
        first--;
    while (end < bench->row_count && same_case(&bench->rows[end], &bench->rows[row]))
        end++;
    plx_bench_print_case(bench, first, end - first);
    for (uint32_t i = first; i < end; i++)
        bench->rows[i].printed = true;
}

/* Where the first row of a case is; there is one. */
static uint32_t find_case(const struct plx_bench *bench, const struct plx_bench_case *what)
{
    const struct plx_bench_row like = {.bench = what->bench, .case_name = what->name};
    uint32_t i = 0;
    while (i + 1 < bench->row_count && !same_case(&bench->rows[i], &like))
        i++;
    return i;
}

static int add_rows(struct plx_bench *bench, const struct plx_bench_case *what,
                    const struct plx_bench_track *tracks, uint32_t count,
                    const struct plx_bench_round_facts *facts, bool also)
{
    uint32_t first = bench->row_count;
    for (uint32_t i = 0; i < count; i++) {
        if (add_row(bench, what, &tracks[i], facts, also) != 0)
            return -ENOMEM;
    }
    int rc = also ? 0 : plx_bench_with_rows(bench, what, tracks, count, facts->group);
    if (rc != 0)
        return rc;
    gather(bench, first);
    plx_cli_progress_clear();
    /* Those of several passes when they are over; those of a batch that is stopped are the last. */
    bool last = what->part + 1 >= what->parts || plx_bench_stopping();
    if (bench->passes <= 1 && last)
        print_case_of(bench, find_case(bench, what));
    return 0;
}

int plx_bench_add_rows(struct plx_bench *bench, const struct plx_bench_case *what,
                       const struct plx_bench_track *tracks, uint32_t count,
                       const struct plx_bench_round_facts *facts)
{
    return add_rows(bench, what, tracks, count, facts, false);
}

int plx_bench_add_also_rows(struct plx_bench *bench, const struct plx_bench_case *what,
                            struct plx_bench_track *tracks, uint32_t count,
                            const struct plx_bench_round_facts *facts)
{
    struct plx_bench_case second = *what;
    second.name = what->also_name;
    second.what = what->also_what;
    second.unit = what->also_unit;
    second.block = 0;
    return add_rows(bench, &second, tracks, count, facts, true);
}

void plx_bench_rows_end(struct plx_bench *bench)
{
    for (uint32_t i = 0; i < bench->row_count; i++) {
        const struct plx_bench_row *row = &bench->rows[i];
        bench->rows_busy += row->busy;
        bench->rows_drifted += row->has && row->drifted;
        bench->rows_unsure += row->has && row->unsure;
        bench->failed = bench->failed ||
                        (!row->has && row->slices != 0 && !row->quiet && !plx_bench_stopping());
        /* Of several passes, or of a case that was stopped between its batches. */
        if (!row->printed)
            print_case_of(bench, i);
    }
}
