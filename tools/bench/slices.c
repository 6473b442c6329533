/* SPDX-License-Identifier: MIT */
/* Measuring a case: rounds of slices in shuffled order, what is discarded, and the rows. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools/bench/frame.h"
#include "tools/cli.h"

#define QUICK_ROUNDS   16u
#define QUICK_SLICE_US 12000u
#define FULL_ROUNDS    64u
#define FULL_SLICE_US  25000u
#define WARM_US        1000u
#define GUARD_US       1000u
/* After the end of a slice, how long an answer may still be on its way. */
#define PATIENCE_US 5000000u
/* Below this round trip of a line, two CPUs are not two cores. */
#define LINE_MIN_NS 60.0
/* Time taken by the hypervisor that spoils a round: this part of it. */
#define STEAL_PART 100u
/* Time taken from a thread by others that spoils its slice: this part of it. */
#define BUSY_PART 50u
/* Rounds are added while a subject has less than half of them kept, up to this factor. */
#define ROUNDS_FACTOR 3u

/* A subject under measurement. */
struct track {
    const struct plx_bench_subject *subject;
    struct plx_histogram *kept;
    struct plx_histogram *spare; /* of slices in which others ran, for when there are no better */
    struct plx_histogram *round; /* of this round, until that is known to be good */
    struct plx_histogram *cpu;   /* of kept slices: ticks of processor time an operation */
    struct plx_bench_rounds kept_rounds; /* the median of each slice in `kept` */
    struct plx_bench_rounds spare_rounds;
    struct plx_bench_rounds cpu_rounds;
    uint64_t round_cpu; /* of this round */
    int cpu_a;
    int cpu_b;
    uint32_t slices;
    uint32_t discarded;
    uint32_t good;     /* slices that were kept */
    uint32_t in_round; /* slices that `round` holds: 0 or 1 */
    bool busy;         /* others ran on its cores in that slice */
    int rc;
    struct plx_diag diag;
};

/* What the peer thread is handed. */
struct peer_job {
    plx_bench_fn fn;
    struct plx_bench_slice *slice;
    void *ctx;
    struct plx_diag diag;
    bool busy;
};

/* What a thread has had of its core, and since when. */
struct share {
    uint64_t wall_ns;
    uint64_t own_ns;
};

static uint64_t ticks_of_us(const struct plx_bench *bench, uint32_t us)
{
    return (uint64_t)(us * 1e3 / plx_bench_ns_per_tick(bench));
}

static struct plx_histogram *new_histogram(void)
{
    struct plx_histogram *out = NULL;
    void *memory =
        aligned_alloc(PLX_CACHE_LINE, plx_round_up(plx_histogram_bytes(), PLX_CACHE_LINE));
    if (memory != NULL && plx_histogram_init(memory, &out) != 0)
        free(memory);
    return out;
}

static void shuffle(struct plx_bench *bench, struct track **order, uint32_t count)
{
    for (uint32_t i = count; i > 1; i--) {
        uint32_t j = (uint32_t)(plx_bench_random(&bench->random) % i);
        struct track *other = order[j];
        order[j] = order[i - 1];
        order[i - 1] = other;
    }
}

/* --- one slice ------------------------------------------------------------------------------- */

static struct share share_now(void)
{
    struct timespec own;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &own);
    return (struct share){
        .wall_ns = plx_bench_monotonic_ns(),
        .own_ns = (uint64_t)own.tv_sec * 1000000000u + (uint64_t)own.tv_nsec,
    };
}

/* Whether this thread, which never sleeps while it measures, was kept waiting since `from`. */
static bool others_ran(const struct share *from)
{
    struct share now = share_now();
    uint64_t wall_ns = now.wall_ns - from->wall_ns;
    uint64_t own_ns = now.own_ns - from->own_ns;
    return own_ns < wall_ns && (wall_ns - own_ns) * BUSY_PART > wall_ns;
}

static int peer_run(void *ctx)
{
    struct peer_job *job = ctx;
    struct share from = share_now();
    int rc = job->fn(job->slice, job->ctx, &job->diag);
    job->busy = others_ran(&from);
    if (rc != 0)
        plx_store_relaxed(&job->slice->peer_failed, true);
    return rc;
}

/*
 * Lets a subject work for `us`, on one thread or both. *busy says whether others ran there; NULL:
 * nobody asks.
 */
static int work(struct plx_bench *bench, const struct plx_bench_subject *subject, uint32_t us,
                struct plx_bench_slice *slice, bool *busy, struct plx_diag *diag)
{
    struct peer_job job = {.fn = subject->peer, .slice = slice, .ctx = subject->ctx};
    slice->bench = bench;
    slice->done = 0;
    slice->elapsed_ticks = 0;
    slice->cpu_ns = 0;
    plx_store_relaxed(&slice->stop, false);
    plx_store_relaxed(&slice->peer_failed, false);
    if (subject->peer != NULL)
        plx_bench_pair_begin(bench, peer_run, &job);
    slice->end_ticks = plx_ticks() + ticks_of_us(bench, us);
    slice->limit_ticks = slice->end_ticks + ticks_of_us(bench, PATIENCE_US);
    struct share from = share_now();
    int rc = subject->run(slice, subject->ctx, diag);
    if (busy != NULL)
        *busy = others_ran(&from);
    /* Release: pairs with the acquire of plx_bench_stopped. */
    plx_store_release(&slice->stop, true);
    if (subject->peer == NULL)
        return rc;
    int peer_rc = plx_bench_pair_end(bench);
    if (busy != NULL)
        *busy = *busy || job.busy;
    /* What the peer met is the cause, and that run waited in vain the consequence. */
    if (peer_rc != 0) {
        *diag = job.diag;
        return peer_rc;
    }
    return rc;
}

static void record_rate(struct plx_bench *bench, struct plx_bench_slice *slice)
{
    double ns = (double)slice->elapsed_ticks * plx_bench_ns_per_tick(bench);
    if (ns > 0)
        plx_histogram_record(slice->samples, (uint64_t)((double)slice->done * 1e9 / ns + 0.5));
}

static int run_slice(struct plx_bench *bench, const struct plx_bench_case *what,
                     struct track *track, uint32_t us)
{
    const struct plx_bench_subject *subject = track->subject;
    struct plx_bench_slice slice = {.bench = bench, .samples = track->round};
    int rc = 0;
    if (subject->open != NULL)
        rc = subject->open(&slice, subject->ctx, &track->diag);
    if (rc != 0)
        return rc;
    if (!what->sleeps)
        rc = work(bench, subject, WARM_US, &slice, NULL, &track->diag);
    plx_histogram_reset(track->round);
    bool *busy = what->sleeps ? NULL : &track->busy;
    if (rc == 0)
        rc = work(bench, subject, us, &slice, busy, &track->diag);
    if (subject->close != NULL)
        subject->close(subject->ctx);
    if (rc == 0 && what->unit != PLX_BENCH_NS)
        record_rate(bench, &slice);
    if (rc == 0 && what->cpu_name != NULL && slice.done != 0)
        track->round_cpu =
            (uint64_t)((double)slice.cpu_ns / (double)slice.done / plx_bench_ns_per_tick(bench));
    return rc;
}

/* --- what is discarded ----------------------------------------------------------------------- */

/* Whether the two cores are two just now. */
static bool guard_holds(struct plx_bench *bench)
{
    static const struct plx_bench_subject line = {
        .name = "guard", .run = plx_bench_guard_run, .peer = plx_bench_guard_peer};
    struct plx_bench_subject subject = line;
    struct plx_diag diag;
    struct plx_bench_slice slice = {.samples = bench->guard_samples};
    subject.ctx = bench->guard_line;
    plx_histogram_reset(bench->guard_samples);
    if (work(bench, &subject, GUARD_US, &slice, NULL, &diag) != 0)
        return true;
    uint64_t p50 = plx_histogram_percentile(bench->guard_samples, 50);
    return (double)p50 / PLX_BENCH_TRIPS * plx_bench_ns_per_tick(bench) >= LINE_MIN_NS;
}

static void guarded_slice(struct plx_bench *bench, const struct plx_bench_case *what,
                          struct track *track, uint32_t us)
{
    bool guarded = bench->guarded && what->two_cores;
    track->rc = plx_bench_pair_place(bench, track->cpu_a, track->cpu_b, &track->diag);
    bool holds = track->rc != 0 || !guarded || guard_holds(bench);
    if (track->rc == 0)
        track->rc = run_slice(bench, what, track, us);
    if (track->rc == 0 && guarded)
        holds = guard_holds(bench) && holds;
    if (track->rc != 0) {
        char name[80];
        snprintf(name, sizeof(name), "%s %s, %s", what->bench, what->name, track->subject->name);
        plx_bench_failed(bench, name, &track->diag);
        plx_histogram_reset(track->round);
        return;
    }
    track->slices++;
    bench->slices++;
    track->in_round = holds;
    if (!holds) {
        track->discarded++;
        bench->discarded_close++;
        plx_histogram_reset(track->round);
    }
}

/* The cores that a case uses, and the time taken from them. */
static uint64_t stolen(const struct plx_bench *bench, const struct plx_bench_case *what,
                       struct track *const *tracks, uint32_t count)
{
    (void)bench;
    uint64_t sum = 0;
    /* Subjects on cores of their own: all that any of them uses, counted as often. */
    for (uint32_t i = 0; i < count; i++) {
        bool again = i != 0 && tracks[i]->cpu_a == tracks[i - 1]->cpu_a &&
                     tracks[i]->cpu_b == tracks[i - 1]->cpu_b;
        if (again)
            continue;
        sum += plx_bench_steal(tracks[i]->cpu_a);
        if (what->two_cores)
            sum += plx_bench_steal(tracks[i]->cpu_b);
    }
    return sum;
}

/* Merges the round's samples, and keeps their median. */
static void keep_samples(struct track *track, struct plx_histogram *into,
                         struct plx_bench_rounds *rounds)
{
    plx_histogram_merge(into, track->round);
    if (plx_histogram_count(track->round) == 0)
        return;
    if (plx_bench_rounds_add(rounds, (double)plx_histogram_percentile(track->round, 50)) != 0)
        track->rc = plx_diag_set(&track->diag, -ENOMEM, "rounds", "out of memory");
}

static void keep_round(struct plx_bench *bench, struct track *tracks, uint32_t count, bool spoiled)
{
    for (uint32_t i = 0; i < count; i++) {
        struct track *track = &tracks[i];
        if (track->in_round == 0)
            continue;
        if (spoiled) {
            track->discarded++;
            bench->discarded_steal++;
        } else if (track->busy) {
            track->discarded++;
            bench->discarded_busy++;
            keep_samples(track, track->spare, &track->spare_rounds);
        } else {
            track->good++;
            keep_samples(track, track->kept, &track->kept_rounds);
            if (track->round_cpu != 0 && track->rc == 0) {
                plx_histogram_record(track->cpu, track->round_cpu);
                track->rc = plx_bench_rounds_add(&track->cpu_rounds, (double)track->round_cpu);
            }
        }
        plx_histogram_reset(track->round);
        track->in_round = 0;
        track->round_cpu = 0;
    }
}

static void run_round(struct plx_bench *bench, const struct plx_bench_case *what,
                      struct track *tracks, struct track **order, uint32_t count)
{
    uint32_t us =
        what->slice_us != 0 ? what->slice_us : (bench->quick ? QUICK_SLICE_US : FULL_SLICE_US);
    uint64_t steal = stolen(bench, what, order, count);
    uint64_t start_ns = plx_bench_monotonic_ns();
    struct track *shuffled[256];
    memcpy(shuffled, order, count * sizeof(*order));
    shuffle(bench, shuffled, count);
    for (uint32_t i = 0; i < count; i++) {
        if (shuffled[i]->rc == 0 && shuffled[i]->subject->missing == NULL)
            guarded_slice(bench, what, shuffled[i], us);
    }
    /* USER_HZ is 100 everywhere that Pollux runs: 10 ms a tick. */
    uint64_t stolen_ns = (stolen(bench, what, order, count) - steal) * 10000000u;
    bool spoiled = stolen_ns * STEAL_PART > plx_bench_monotonic_ns() - start_ns;
    keep_round(bench, tracks, count, spoiled);
}

/* --- rows ------------------------------------------------------------------------------------ */

static int node_of(const struct plx_bench *bench, int cpu)
{
    const struct plx_machine_cpu *found =
        cpu >= 0 ? plx_machine_cpu(bench->machine, (uint32_t)cpu) : NULL;
    return found != NULL ? (int)found->node : -1;
}

static int fill_figures(const struct plx_bench *bench, struct plx_bench_row *row,
                        const struct plx_histogram *kept, const struct plx_bench_rounds *rounds)
{
    double scale = plx_bench_ns_per_tick(bench) / (double)row->block;
    if (row->unit != PLX_BENCH_NS)
        scale = row->unit == PLX_BENCH_BANDWIDTH ? 1e-9 : 1.0;
    row->has = true;
    row->n = plx_histogram_count(kept);
    row->min = scale * (double)plx_histogram_min(kept);
    row->max = scale * (double)plx_histogram_max(kept);
    row->mean = scale * plx_histogram_mean(kept);
    row->p50 = scale * (double)plx_histogram_percentile(kept, 50);
    row->p90 = scale * (double)plx_histogram_percentile(kept, 90);
    row->p99 = scale * (double)plx_histogram_percentile(kept, 99);
    row->p999 = scale * (double)plx_histogram_percentile(kept, 99.9);
    row->p9999 = scale * (double)plx_histogram_percentile(kept, 99.99);
    return plx_bench_row_spread(row, kept, rounds, scale);
}

static int add_row(struct plx_bench *bench, const struct plx_bench_case *what,
                   const struct track *track)
{
    struct plx_bench_row *row = plx_bench_row_add(bench);
    if (row == NULL)
        return -ENOMEM;
    const struct plx_bench_subject *subject = track->subject;
    row->bench = what->bench;
    row->case_name = what->name;
    row->what = what->what;
    row->subject = subject->name;
    row->unit = what->unit;
    row->block = what->block != 0 ? what->block : 1;
    row->cpu_a = track->cpu_a;
    row->cpu_b = what->two_cores ? track->cpu_b : -1;
    row->node_a = node_of(bench, row->cpu_a);
    row->node_b = node_of(bench, row->cpu_b);
    row->mem_node = subject->mem_node;
    row->slices = track->slices;
    row->discarded = track->discarded;
    if (what->two_cores && !plx_bench_has_two(bench)) {
        snprintf(row->why, sizeof(row->why), "%s", bench->one_core);
    } else if (subject->missing != NULL) {
        snprintf(row->why, sizeof(row->why), "%s", subject->missing);
    } else if (track->rc != 0) {
        snprintf(row->why, sizeof(row->why), "failed: %.180s", track->diag.text);
    } else if (plx_histogram_count(track->kept) != 0) {
        return fill_figures(bench, row, track->kept, &track->kept_rounds);
    } else if (plx_histogram_count(track->spare) != 0) {
        bench->rows_busy++;
        return fill_figures(bench, row, track->spare, &track->spare_rounds);
    } else {
        /* Told on the console with the numbers, at the end. */
        snprintf(row->why, sizeof(row->why), "all %u slices were discarded", track->slices);
        bench->failed = true;
    }
    return 0;
}

static int add_rows(struct plx_bench *bench, const struct plx_bench_case *what,
                    const struct track *tracks, uint32_t count)
{
    uint32_t first = bench->row_count;
    for (uint32_t i = 0; i < count; i++) {
        if (add_row(bench, what, &tracks[i]) != 0)
            return -ENOMEM;
    }
    plx_cli_progress_clear();
    plx_bench_print_case(bench, first);
    return 0;
}

/* The second case that the slices gave. */
static int add_cpu_rows(struct plx_bench *bench, const struct plx_bench_case *what,
                        struct track *tracks, uint32_t count)
{
    struct plx_bench_case cpu = *what;
    cpu.name = what->cpu_name;
    cpu.what = what->cpu_what;
    cpu.unit = PLX_BENCH_NS;
    cpu.block = 1;
    for (uint32_t i = 0; i < count; i++) {
        struct plx_histogram *kept = tracks[i].kept;
        tracks[i].kept = tracks[i].cpu;
        tracks[i].cpu = kept;
        struct plx_bench_rounds rounds = tracks[i].kept_rounds;
        tracks[i].kept_rounds = tracks[i].cpu_rounds;
        tracks[i].cpu_rounds = rounds;
    }
    return add_rows(bench, &cpu, tracks, count);
}

/* --- a case ---------------------------------------------------------------------------------- */

/* Whether every subject that can run has so many slices kept. */
static bool all_have(const struct track *tracks, uint32_t count, uint32_t good)
{
    for (uint32_t i = 0; i < count; i++) {
        if (tracks[i].rc == 0 && tracks[i].subject->missing == NULL && tracks[i].good < good)
            return false;
    }
    return true;
}

static int measure(struct plx_bench *bench, const struct plx_bench_case *what, struct track *tracks,
                   struct track **order, uint32_t count)
{
    if (what->two_cores && !plx_bench_has_two(bench))
        return 0;
    for (uint32_t i = 0; i < count; i++) {
        tracks[i].kept = new_histogram();
        tracks[i].spare = new_histogram();
        tracks[i].round = new_histogram();
        tracks[i].cpu = new_histogram();
        if (tracks[i].kept == NULL || tracks[i].spare == NULL || tracks[i].round == NULL ||
            tracks[i].cpu == NULL)
            return -ENOMEM;
    }
    uint32_t rounds =
        what->rounds != 0 ? what->rounds : (bench->quick ? QUICK_ROUNDS : FULL_ROUNDS);
    if (bench->rounds != 0)
        rounds = bench->rounds;
    for (uint32_t round = 0; round < rounds * ROUNDS_FACTOR; round++) {
        if (round >= rounds && all_have(tracks, count, rounds / 2))
            break;
        plx_cli_progress("%s %s: round %u of %u", what->bench, what->name, round + 1,
                         round < rounds ? rounds : rounds * ROUNDS_FACTOR);
        run_round(bench, what, tracks, order, count);
    }
    struct plx_diag diag;
    return plx_bench_pair_place(bench, bench->cpu_a, bench->cpu_b, &diag);
}

int plx_bench_measure(struct plx_bench *bench, const struct plx_bench_case *what,
                      const struct plx_bench_subject *subjects, uint32_t subject_count)
{
    struct track *order[256];
    PLX_ASSERT(subject_count <= sizeof(order) / sizeof(*order));
    struct track *tracks = calloc(subject_count, sizeof(*tracks));
    if (tracks == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < subject_count; i++) {
        bool own = subjects[i].cpu_a != subjects[i].cpu_b;
        tracks[i].subject = &subjects[i];
        tracks[i].cpu_a = own ? subjects[i].cpu_a : bench->cpu_a;
        tracks[i].cpu_b = own ? subjects[i].cpu_b : bench->cpu_b;
        order[i] = &tracks[i];
    }
    int rc = measure(bench, what, tracks, order, subject_count);
    if (rc == 0)
        rc = add_rows(bench, what, tracks, subject_count);
    if (rc == 0 && what->cpu_name != NULL)
        rc = add_cpu_rows(bench, what, tracks, subject_count);
    for (uint32_t i = 0; i < subject_count; i++) {
        free(tracks[i].kept);
        free(tracks[i].spare);
        free(tracks[i].round);
        free(tracks[i].cpu);
        plx_bench_rounds_fini(&tracks[i].kept_rounds);
        plx_bench_rounds_fini(&tracks[i].spare_rounds);
        plx_bench_rounds_fini(&tracks[i].cpu_rounds);
    }
    free(tracks);
    return rc;
}
