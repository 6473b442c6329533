/* SPDX-License-Identifier: MIT */
/*
 * The rounds of a program that takes part by --with, beside those of our subjects, and the names of
 * files. What the frame has besides is made up here.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "tools/bench/hgrm.h"
#include "tools/bench/with.h"

static int failures;

void plx_bench_failed(struct plx_bench *bench, const char *bench_name, const struct plx_diag *diag)
{
    (void)bench;
    print_message("%s: %s\n", bench_name, diag->text);
    failures++;
}

uint64_t plx_bench_monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

const char *plx_bench_unit_text(const struct plx_bench_row *row)
{
    return row->unit == PLX_BENCH_NS ? "ns" : "1/s";
}

/* --- rounds ---------------------------------------------------------------------------------- */

static const struct plx_bench_case made = {.bench = "made", .name = "case", .what = "it"};
static const struct plx_bench_subject ours = {.name = "pollux", .mem_node = -1};

/* The n-th round of this pass. */
static void round_of(struct plx_bench *bench, uint32_t n, bool spoiled)
{
    struct plx_bench_track track = {.subject = &ours, .cpu_a = 0, .cpu_b = 0};
    struct plx_bench_track *tracks[] = {&track};
    plx_bench_with_begin(bench, &made, tracks, 1);
    plx_bench_with_turn(bench, 1000, 0);
    plx_bench_with_keep(bench, n, spoiled);
}

/* A program that says 1, 2, 3 and so on, counting in a file. */
static void begin(struct plx_bench *bench, struct plx_cli_texts *commands, char *path)
{
    static char command[160];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    snprintf(command, sizeof(command),
             "echo >>%s; printf '{\"subject\":\"mine\",\"p50\":%%d}' $(wc -l <%s); true", path,
             path);
    commands->texts[0] = command;
    commands->count = 1;
    memset(bench, 0, sizeof(*bench));
    assert_int_equal(plx_machine_create(&bench->machine, NULL), 0);
    failures = 0;
    assert_int_equal(plx_bench_with_init(bench, commands), -1);
}

static void finish(struct plx_bench *bench, const char *path)
{
    plx_bench_with_fini(bench);
    plx_bench_rows_fini(bench);
    plx_machine_destroy(bench->machine);
    unlink(path);
}

static void assert_rounds(const struct plx_bench_row *row, const double *expected, uint32_t count)
{
    assert_int_equal(row->paired_count, count);
    for (uint32_t i = 0; i < count; i++) {
        bool same =
            isnan(expected[i]) ? isnan(row->paired[i]) : fabs(row->paired[i] - expected[i]) < 1e-9;
        if (!same)
            fail_msg("round %u: %g is not %g", i, row->paired[i], expected[i]);
    }
}

static void rounds_of_a_program_stand_beside_ours(void **state)
{
    (void)state;
    char path[] = "/tmp/pollux-paired-XXXXXX";
    struct plx_cli_texts commands;
    struct plx_bench bench;
    double speeds[8] = {0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.75, 0.75};
    double lines[] = {99};
    /* The first one could not run. */
    struct plx_bench_track tracks[2] = {
        {.subject = &ours, .round_count = 4},
        {.subject = &ours, .round_count = 4, .speeds = {speeds, 8, 8}, .lines = {lines, 1, 1}}};
    begin(&bench, &commands, path);
    round_of(&bench, 0, false);
    round_of(&bench, 1, true);
    round_of(&bench, 2, false);
    /* The fourth round was without it. */
    assert_int_equal(plx_bench_with_rows(&bench, &made, tracks, 2, 3), 0);
    assert_int_equal(bench.row_count, 1);
    const double first[] = {1, NAN, 3, NAN, 4, 5};
    assert_rounds(bench.rows, first, 4);
    assert_int_equal(bench.rows->group, 3);
    assert_int_equal(bench.rows->slices, 3);
    assert_int_equal(bench.rows->discarded, 1);
    /* What is known of the machine is so of its row, too. */
    assert_true(bench.rows->core_ns > 0.4 && bench.rows->line_ns > 98 && bench.rows->drifted);
    assert_false(bench.rows->unsure);
    /* Another pass goes on behind. */
    bench.pass = 1;
    round_of(&bench, 0, false);
    round_of(&bench, 1, false);
    tracks[0].round_count = tracks[1].round_count = 2;
    assert_int_equal(plx_bench_with_rows(&bench, &made, tracks, 2, 3), 0);
    assert_int_equal(bench.row_count, 1);
    assert_rounds(bench.rows, first, 6);
    /* Ours took ten times as long in each: so does the ratio say, whatever the medians are. */
    const double mine[] = {10, 20, 30, 40, 40, 50};
    struct plx_bench_ratio ratio;
    assert_true(plx_bench_ratio_of(mine, bench.rows->paired, 6, &ratio));
    assert_true(fabs(ratio.mid - 10) < 1e-9);
    assert_int_equal(ratio.rounds, 4);
    assert_int_equal(failures, 0);
    finish(&bench, path);
}

/* The program says 1 to 6, then 6 and more. */
static void program_is_held_to_the_precision_that_was_asked_for(void **state)
{
    (void)state;
    char path[] = "/tmp/pollux-paired-XXXXXX";
    struct plx_cli_texts commands;
    struct plx_bench bench;
    struct plx_bench_track track = {.subject = &ours};
    begin(&bench, &commands, path);
    /* Of so few rounds nobody knows. */
    bench.precision = 10;
    for (uint32_t i = 0; i < 5; i++)
        round_of(&bench, i, false);
    track.round_count = 5;
    assert_int_equal(plx_bench_with_rows(&bench, &made, &track, 1, 0), 0);
    assert_true(isnan(bench.rows->ci_low) && bench.rows->unsure);
    bench.pass = 1;
    round_of(&bench, 0, false);
    track.round_count = 1;
    assert_int_equal(plx_bench_with_rows(&bench, &made, &track, 1, 0), 0);
    assert_false(bench.rows->unsure);
    bench.precision = 0.1;
    bench.pass = 2;
    assert_int_equal(plx_bench_with_rows(&bench, &made, &track, 1, 0), 0);
    assert_true(bench.rows->unsure);
    finish(&bench, path);
}

/* --- names of files -------------------------------------------------------------------------- */

static void assert_file(const char *folder, const char *name, bool there)
{
    char path[160];
    struct stat facts;
    snprintf(path, sizeof(path), "%s/%s.hgrm", folder, name);
    if ((stat(path, &facts) == 0) != there)
        fail_msg("%s", path);
    unlink(path);
}

static void names_that_are_alike_get_a_number(void **state)
{
    (void)state;
    static const char *const subjects[] = {"a/b", "a-b", "c", "a:b", "none"};
    char folder[] = "/tmp/pollux-paired-XXXXXX";
    struct plx_bench_point point = {.value = 7, .part = 1, .count = 1};
    struct plx_bench_row rows[5];
    struct plx_bench bench;
    struct plx_diag diag;
    memset(rows, 0, sizeof(rows));
    memset(&bench, 0, sizeof(bench));
    for (size_t i = 0; i < 5; i++) {
        rows[i].bench = "made";
        rows[i].case_name = "x";
        rows[i].subject = subjects[i];
        rows[i].cpu_a = rows[i].cpu_b = rows[i].mem_node = -1;
        rows[i].has = true;
        rows[i].points = &point;
        /* The last has no distribution, as those of --with. */
        rows[i].point_count = i != 4;
    }
    bench.rows = rows;
    bench.row_count = 5;
    assert_non_null(mkdtemp(folder));
    assert_int_equal(plx_bench_write_hgrm(&bench, folder, &diag), 0);
    assert_file(folder, "made-x-a-b", true);
    assert_file(folder, "made-x-a-b~2", true);
    assert_file(folder, "made-x-a-b~3", true);
    assert_file(folder, "made-x-c", true);
    assert_file(folder, "made-x-none", false);
    assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rounds_of_a_program_stand_beside_ours),
        cmocka_unit_test(program_is_held_to_the_precision_that_was_asked_for),
        cmocka_unit_test(names_that_are_alike_get_a_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
