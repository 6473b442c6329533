/* SPDX-License-Identifier: MIT */
/* What pollux bench makes of slices, and says of the time they take; the slices are made up. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tools/bench/mem.h"
#include "tools/bench/timing.h"
#include "tools/bench/track.h"

#define SECOND UINT64_C(1000000000)
#define ROUNDS 8u

static struct plx_bench *bench;
static struct plx_machine machine;
static char *printed;
static size_t printed_bytes;

static int open_bench(void **state)
{
    (void)state;
    bench = aligned_alloc(2 * PLX_CACHE_LINE, plx_round_up(sizeof(*bench), 2 * PLX_CACHE_LINE));
    assert_non_null(bench);
    memset(bench, 0, sizeof(*bench));
    bench->machine = &machine;
    bench->passes = 1;
    bench->cpu_b = 1;
    bench->start_ticks = plx_ticks();
    bench->start_ns = plx_bench_monotonic_ns();
    bench->tables = open_memstream(&printed, &printed_bytes);
    assert_non_null(bench->tables);
    return 0;
}

static int close_bench(void **state)
{
    (void)state;
    plx_bench_rows_fini(bench);
    fclose(bench->tables);
    free(printed);
    free(bench);
    return 0;
}

/* --- slices ---------------------------------------------------------------------------------- */

static struct plx_histogram *histogram_of(uint64_t value, uint32_t count)
{
    struct plx_histogram *out;
    void *memory =
        aligned_alloc(PLX_CACHE_LINE, plx_round_up(plx_histogram_bytes(), PLX_CACHE_LINE));
    assert_non_null(memory);
    assert_int_equal(plx_histogram_init(memory, &out), 0);
    for (uint32_t i = 0; i < count; i++)
        plx_histogram_record(out, value);
    return out;
}

/* A subject of ROUNDS slices on that CPU, all of one value, and of another second figure. */
static struct plx_bench_track track_of(const struct plx_bench_subject *subject, int cpu,
                                       uint64_t value, uint64_t also)
{
    struct plx_bench_track track = {.subject = subject,
                                    .cpu_a = cpu,
                                    .cpu_b = -1,
                                    .kept = histogram_of(value, value != 0 ? ROUNDS : 0),
                                    .spare = histogram_of(0, 0),
                                    .also = histogram_of(0, 0),
                                    .medians = calloc(ROUNDS, sizeof(*track.medians)),
                                    .round_count = ROUNDS,
                                    .slices = ROUNDS,
                                    .good = ROUNDS};
    assert_non_null(track.medians);
    for (uint32_t i = 0; i < ROUNDS; i++)
        track.medians[i] =
            (struct plx_bench_medians){.kept = value, .also = also, .has_also = true, .good = true};
    return track;
}

static void free_track(struct plx_bench_track *track)
{
    free(track->kept);
    free(track->spare);
    free(track->also);
    free(track->medians);
    plx_bench_rounds_fini(&track->speeds);
    plx_bench_rounds_fini(&track->lines);
}

static const struct plx_bench_subject raw = {.name = "raw", .mem_node = -1};

/* A batch of a case with two figures, on a CPU of its own. */
static void add_batch(struct plx_bench_case *what, int cpu)
{
    struct plx_bench_round_facts facts = {.group = bench->groups++};
    struct plx_bench_track track = track_of(&raw, cpu, 5000000, 3000);
    assert_int_equal(plx_bench_add_rows(bench, what, &track, 1, &facts), 0);
    assert_int_equal(plx_bench_add_also_rows(bench, what, &track, 1, &facts), 0);
    free_track(&track);
    what->part++;
}

static uint32_t count_of(const char *text)
{
    uint32_t count = 0;
    fflush(bench->tables);
    for (const char *at = printed; (at = strstr(at, text)) != NULL; at++)
        count++;
    return count;
}

/* --- rows ------------------------------------------------------------------------------------ */

static struct plx_bench_case two_figures(void)
{
    return (struct plx_bench_case){.bench = "made",
                                   .name = "first",
                                   .what = "one",
                                   .unit = PLX_BENCH_BANDWIDTH,
                                   .also_name = "second",
                                   .also_what = "the other",
                                   .also_unit = PLX_BENCH_PPM,
                                   .parts = 3};
}

static void rows_of_a_case_in_batches_stay_together(void **state)
{
    (void)state;
    static const char *const names[] = {"first", "first", "first", "second", "second", "second"};
    struct plx_bench_case what = two_figures();
    for (int cpu = 0; cpu < 3; cpu++) {
        assert_int_equal(count_of("made first"), 0);
        add_batch(&what, cpu);
    }
    assert_int_equal(bench->row_count, 6);
    for (uint32_t i = 0; i < 6; i++) {
        assert_string_equal(bench->rows[i].case_name, names[i]);
        assert_int_equal(bench->rows[i].cpu_a, (int)(i % 3));
    }
    plx_bench_rows_end(bench);
    assert_int_equal(count_of("made first"), 1);
    assert_int_equal(count_of("made second"), 1);
}

static void case_that_stopped_between_batches_is_printed_in_the_end(void **state)
{
    (void)state;
    struct plx_bench_case what = two_figures();
    add_batch(&what, 0);
    add_batch(&what, 1);
    assert_int_equal(count_of("made first"), 0);
    plx_bench_rows_end(bench);
    assert_int_equal(count_of("made first"), 1);
    assert_int_equal(count_of("made second"), 1);
}

/* 5,000,000 of what a bandwidth is recorded in, and 2^39 of it. */
static void bandwidth_of_a_large_machine_has_a_bucket(void **state)
{
    (void)state;
    struct plx_bench_case what = two_figures();
    struct plx_bench_round_facts facts = {.group = 0};
    struct plx_bench_track track = track_of(&raw, 0, UINT64_C(1) << 39, 0);
    add_batch(&what, 1);
    assert_int_equal(plx_bench_add_rows(bench, &what, &track, 1, &facts), 0);
    free_track(&track);
    assert_true(fabs(bench->rows[0].p50 - 5) < 0.01);
    assert_true(bench->rows[1].p50 > 500e3 && bench->rows[1].p50 < 600e3);
    assert_int_equal(bench->rows[1].samples->clamped, 0);
}

static void speed_of_a_core_is_in_its_own_rows(void **state)
{
    (void)state;
    struct plx_bench_case what = {.bench = "made", .name = "speed", .what = "one", .block = 64};
    struct plx_bench_round_facts facts = {.group = 0};
    struct plx_bench_track tracks[] = {track_of(&raw, 0, 1000, 0), track_of(&raw, 1, 1000, 0),
                                       track_of(&raw, 2, 1000, 0)};
    for (uint32_t i = 0; i < ROUNDS; i++) {
        assert_int_equal(plx_bench_rounds_add(&tracks[0].speeds, 0.25), 0);
        assert_int_equal(plx_bench_rounds_add(&tracks[1].speeds, i < ROUNDS / 2 ? 0.5 : 0.75), 0);
        assert_int_equal(plx_bench_rounds_add(&tracks[1].lines, 90), 0);
    }
    assert_int_equal(plx_bench_add_rows(bench, &what, tracks, 3, &facts), 0);
    const struct plx_bench_row *rows = bench->rows;
    assert_true(fabs(rows[0].core_ns - 0.25) < 1e-9 && !rows[0].drifted);
    assert_true(rows[1].core_ns >= 0.5 && rows[1].drifted);
    assert_true(fabs(rows[1].line_ns - 90) < 1e-9 && rows[0].line_ns <= 0);
    assert_true(rows[2].core_ns <= 0 && !rows[2].drifted);
    for (uint32_t i = 0; i < 3; i++)
        free_track(&tracks[i]);
}

/* --- passes ---------------------------------------------------------------------------------- */

/* A pass over one case; the core takes so long for an addition meanwhile. */
static void add_pass(struct plx_bench_track *track, double core_ns)
{
    static const struct plx_bench_case what = {.bench = "made", .name = "passes", .what = "one"};
    struct plx_bench_round_facts facts = {.group = 0};
    for (uint32_t i = 0; i < ROUNDS; i++)
        assert_int_equal(plx_bench_rounds_add(&track->speeds, core_ns), 0);
    bench->passes = 4;
    assert_int_equal(plx_bench_add_rows(bench, &what, track, 1, &facts), 0);
    bench->pass++;
    free_track(track);
}

/* Slices in all of which others ran. */
static struct plx_bench_track busy_track(uint64_t value)
{
    struct plx_bench_track track = track_of(&raw, 0, 0, 0);
    free(track.spare);
    track.spare = histogram_of(value, ROUNDS);
    track.good = 0;
    track.discarded = ROUNDS;
    for (uint32_t i = 0; i < ROUNDS; i++)
        track.medians[i] = (struct plx_bench_medians){.spare = value};
    return track;
}

static void good_pass_replaces_one_in_which_others_ran(void **state)
{
    (void)state;
    struct plx_bench_track busy = busy_track(500000);
    add_pass(&busy, 0.5);
    const struct plx_bench_row *row = bench->rows;
    assert_true(row->has && row->busy && row->n == ROUNDS);
    /* Another one like it goes with it. */
    busy = busy_track(500000);
    add_pass(&busy, 0.5);
    assert_true(row->busy && row->n == 2 * ROUNDS);
    double before = row->p50;
    struct plx_bench_track good = track_of(&raw, 0, 1000, 0);
    add_pass(&good, 0.25);
    assert_int_equal(bench->row_count, 1);
    assert_true(!row->busy && !row->drifted && row->n == ROUNDS && row->rounds.count == ROUNDS);
    assert_true(row->max < before / 100 && fabs(row->core_ns - 0.25) < 1e-9);
    assert_int_equal(row->paired_count, 3 * ROUNDS);
    for (uint32_t i = 0; i < 3 * ROUNDS; i++)
        assert_int_equal(isnan(row->paired[i]), i < 2 * ROUNDS);
    /* What comes later and is worse is left out, and what was seen in it. */
    busy = busy_track(500000);
    add_pass(&busy, 0.5);
    assert_true(!row->busy && !row->drifted && row->n == ROUNDS);
    assert_int_equal(row->slices, 4 * ROUNDS);
    assert_int_equal(row->discarded, 3 * ROUNDS);
}

static void doubts_are_those_of_all_passes(void **state)
{
    (void)state;
    bench->precision = 0.02;
    struct plx_bench_track wide = track_of(&raw, 0, 1000, 0);
    for (uint32_t i = 0; i < ROUNDS; i += 2)
        wide.medians[i].kept = 2000;
    add_pass(&wide, 0.25);
    const struct plx_bench_row *row = bench->rows;
    assert_true(row->unsure && !row->drifted);
    /* This one by itself would be sure, and the core's speed steady. */
    struct plx_bench_track steady = track_of(&raw, 0, 1000, 0);
    add_pass(&steady, 0.75);
    assert_true(row->unsure && row->drifted);
    assert_true(fabs(row->core_ns - 0.5) < 1e-9);
    /* With enough of them it is. */
    for (uint32_t i = 0; i < 2; i++) {
        steady = track_of(&raw, 0, 1000, 0);
        add_pass(&steady, 0.75);
    }
    assert_false(row->unsure);
}

static void row_of_cpus_that_are_one_core_says_how_to_go_on(void **state)
{
    (void)state;
    struct plx_bench_case what = {.bench = "made", .name = "near", .what = "one"};
    struct plx_bench_round_facts facts = {.group = 0};
    struct plx_bench_track track = track_of(&raw, 0, 0, 0);
    track.good = 0;
    track.close = ROUNDS;
    track.close_ns = 38;
    track.discarded = ROUNDS;
    assert_int_equal(plx_bench_add_rows(bench, &what, &track, 1, &facts), 0);
    assert_non_null(strstr(bench->rows[0].why, "in 38 ns"));
    assert_non_null(strstr(bench->rows[0].why, "--guard"));
    free_track(&track);
}

static void certainty_of_the_second_figure_is_its_own(void **state)
{
    (void)state;
    double part;
    struct plx_bench_track track = track_of(&raw, 0, 1000, 7000);
    /* The first one doubles every other round, the second one never changes. */
    for (uint32_t i = 0; i < ROUNDS; i += 2)
        track.medians[i].kept = 2000;
    assert_true(plx_bench_track_part(&track, false, &part));
    assert_true(part > 0.3);
    assert_true(plx_bench_track_part(&track, true, &part));
    assert_true(part < 0.001);
    /* Nothing in any round is certain, too. */
    for (uint32_t i = 0; i < ROUNDS; i++)
        track.medians[i].also = 0;
    assert_true(plx_bench_track_part(&track, true, &part));
    assert_true(part < 0.001);
    free_track(&track);
}

/* --- loaded ---------------------------------------------------------------------------------- */

#define CPUS 160u

/* Node 0 has two threads of each core, CPU n and CPU n + 70; node 1 has one core. */
static struct plx_machine_cpu many[CPUS];
static struct plx_plan_reactor reactors[CPUS];

static void make_many(struct plx_machine *made, struct plx_plan *plan, uint32_t count)
{
    memset(made, 0, sizeof(*made));
    memset(plan, 0, sizeof(*plan));
    for (uint32_t i = 0; i <= count; i++) {
        many[i] = (struct plx_machine_cpu){
            .cpu = i, .core = i % (count / 2), .node = i == count, .allowed = true};
        if (i == count)
            many[i].core = count;
        reactors[i] = (struct plx_plan_reactor){.cpu = i, .node = many[i].node};
    }
    made->cpus = many;
    made->cpu_count = count + 1;
    plan->reactors = reactors;
    plan->reactor_count = count + 1;
}

static void readers_are_all_of_the_node_but_the_sibling(void **state)
{
    (void)state;
    struct plx_machine made;
    struct plx_plan plan;
    int cpus[CPUS];
    make_many(&made, &plan, 140);
    assert_int_equal(plx_bench_readers(&made, &plan, 0, 0, cpus), 138);
    for (uint32_t i = 0; i < 138; i++)
        assert_true(cpus[i] != 0 && cpus[i] != 70 && cpus[i] != 140);
    /* The only core of its node: one of another. */
    assert_int_equal(plx_bench_readers(&made, &plan, 140, 1, cpus), 1);
    assert_int_equal(cpus[0], 0);
}

static void readers_are_as_many_as_the_quota_leaves(void **state)
{
    (void)state;
    struct plx_machine made;
    struct plx_plan plan;
    int cpus[CPUS];
    make_many(&made, &plan, 140);
    made.quota_mcpus = 4500;
    assert_int_equal(plx_bench_readers(&made, &plan, 0, 0, cpus), 3);
    /* Two threads of one core: nobody can read. */
    make_many(&made, &plan, 2);
    plan.reactor_count = 2;
    assert_int_equal(plx_bench_readers(&made, &plan, 0, 0, cpus), 0);
}

/* --- times ----------------------------------------------------------------------------------- */

static void readings_are_taken_off_as_often_as_they_were_made(void **state)
{
    (void)state;
    struct plx_bench_case what = {.block = 1};
    assert_true(fabs(plx_bench_overhead_ns(&what, 8, 16) - 8) < 1e-9);
    what.fenced = true;
    assert_true(fabs(plx_bench_overhead_ns(&what, 8, 16) - 16) < 1e-9);
    what.block = 32;
    assert_true(fabs(plx_bench_overhead_ns(&what, 8, 16) - 0.5) < 1e-9);
    what.readings = 32;
    assert_true(fabs(plx_bench_overhead_ns(&what, 8, 16) - 16) < 1e-9);
    what.sleeps = true;
    assert_true(plx_bench_overhead_ns(&what, 8, 16) <= 0);
    what.sleeps = false;
    what.unit = PLX_BENCH_RATE;
    assert_true(plx_bench_overhead_ns(&what, 8, 16) <= 0);
}

static void time_of_a_case_is_shared_among_its_batches(void **state)
{
    (void)state;
    assert_int_equal(plx_bench_share_ns(60 * SECOND, 0, 0, 1), 60 * SECOND);
    assert_int_equal(plx_bench_share_ns(60 * SECOND, 0, 0, 120), SECOND / 2);
    /* What earlier ones left or overdrew is the later ones'. */
    assert_int_equal(plx_bench_share_ns(60 * SECOND, 20 * SECOND, 2, 4), 20 * SECOND);
    assert_int_equal(plx_bench_share_ns(60 * SECOND, 50 * SECOND, 3, 4), 10 * SECOND);
    assert_int_equal(plx_bench_share_ns(60 * SECOND, 61 * SECOND, 1, 4), 0);
}

static void progress_tells_batch_round_and_the_time_of_the_whole_case(void **state)
{
    (void)state;
    char text[PLX_BENCH_TIMING_BYTES];
    struct plx_bench_timing timing = {.parts = 1, .rounds = 16, .rounds_most = 48, .took_ns = 1};
    assert_string_equal(plx_bench_timing_text(&timing, text), "round 1 of 16");
    timing.round = 4;
    timing.took_ns = 10 * SECOND;
    assert_string_equal(plx_bench_timing_text(&timing, text), "round 5 of 16, 30 s left");
    timing.parts = 126;
    timing.part = 62;
    timing.round = 8;
    assert_string_equal(plx_bench_timing_text(&timing, text),
                        "batch 63 of 126, round 9 of 16, 11 s left");
    timing.limit_ns = 12 * SECOND;
    assert_string_equal(plx_bench_timing_text(&timing, text),
                        "batch 63 of 126, round 9 of 16, 2 s left");
}

static void progress_tells_of_rounds_that_are_added(void **state)
{
    (void)state;
    char text[PLX_BENCH_TIMING_BYTES];
    struct plx_bench_timing timing = {
        .parts = 2, .round = 20, .rounds = 16, .rounds_most = 48, .took_ns = 240 * SECOND};
    assert_string_equal(plx_bench_timing_text(&timing, text),
                        "batch 1 of 2, round 21 of at most 48, 4 min left");
    timing.parts = 1;
    assert_string_equal(plx_bench_timing_text(&timing, text), "round 21 of at most 48");
    timing.precise = true;
    timing.round = 69;
    timing.limit_ns = 300 * SECOND;
    assert_string_equal(plx_bench_timing_text(&timing, text), "round 70, at most 60 s left");
}

static void wait_is_told_in_the_unit_of_a_person(void **state)
{
    (void)state;
    char text[PLX_BENCH_TIMING_BYTES];
    assert_string_equal(plx_bench_wait_text(1, text), "1 s");
    assert_string_equal(plx_bench_wait_text(119 * SECOND, text), "119 s");
    assert_string_equal(plx_bench_wait_text(250 * SECOND, text), "5 min");
    assert_string_equal(plx_bench_wait_text(9000 * SECOND, text), "2.5 h");
}

static void long_case_is_foretold_and_a_short_one_is_not(void **state)
{
    (void)state;
    struct plx_bench_case what = {.slice_us = 8800, .rounds = 10};
    /* With the warm-up, and what is between slices, 10 ms. */
    assert_int_equal(plx_bench_estimate_ns(bench, &what, 600), 60 * SECOND);
    plx_bench_foretell(bench, "made", plx_bench_estimate_ns(bench, &what, 600));
    fflush(bench->tables);
    assert_string_equal(printed, "");
    plx_bench_foretell(bench, "made", plx_bench_estimate_ns(bench, &what, 6000));
    assert_string_equal(printed, "made: about 10 min\n");
    bench->case_ns = 5 * SECOND;
    assert_int_equal(plx_bench_estimate_ns(bench, &what, 6000), 5 * SECOND);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, open_bench, close_bench)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(rows_of_a_case_in_batches_stay_together),
        CASE(case_that_stopped_between_batches_is_printed_in_the_end),
        CASE(bandwidth_of_a_large_machine_has_a_bucket),
        CASE(speed_of_a_core_is_in_its_own_rows),
        CASE(good_pass_replaces_one_in_which_others_ran),
        CASE(doubts_are_those_of_all_passes),
        CASE(row_of_cpus_that_are_one_core_says_how_to_go_on),
        CASE(certainty_of_the_second_figure_is_its_own),
        CASE(readers_are_all_of_the_node_but_the_sibling),
        CASE(readers_are_as_many_as_the_quota_leaves),
        CASE(readings_are_taken_off_as_often_as_they_were_made),
        CASE(time_of_a_case_is_shared_among_its_batches),
        CASE(progress_tells_batch_round_and_the_time_of_the_whole_case),
        CASE(progress_tells_of_rounds_that_are_added),
        CASE(wait_is_told_in_the_unit_of_a_person),
        CASE(long_case_is_foretold_and_a_short_one_is_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
