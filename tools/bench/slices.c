/* SPDX-License-Identifier: MIT */
/* Measuring a case: rounds of slices in shuffled order, what is discarded, and the rows. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools/bench/timing.h"
#include "tools/bench/track.h"
#include "tools/bench/with.h"
#include "tools/cli.h"

#define QUICK_ROUNDS   16u
#define QUICK_SLICE_US 12000u
#define FULL_ROUNDS    64u
#define FULL_SLICE_US  25000u
#define GUARD_US       1000u
/* After the end of a slice, how long an answer may still be on its way. */
#define PATIENCE_US 5000000u
/* Time taken by the hypervisor that spoils a round: this part of it. */
#define STEAL_PART 100u
/* Time taken from a thread by others that spoils its slice: this part of it. */
#define BUSY_PART 50u
/* Rounds are added while a subject has less than half of them kept, up to this factor. */
#define ROUNDS_FACTOR 3u
/* Subjects of a case. */
#define TRACKS_MAX 256u
/* With a precision asked for: what a case may take, unless told. */
#define QUICK_CASE_NS UINT64_C(5000000000)
#define FULL_CASE_NS  UINT64_C(60000000000)
/* A wait that is told of beforehand. */
#define LONG_NS UINT64_C(60000000000)
/* What placing the threads and opening a subject takes in a slice, about. */
#define BETWEEN_US 200u

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

static void shuffle(struct plx_bench *bench, struct plx_bench_track **order, uint32_t count)
{
    for (uint32_t i = count; i > 1; i--) {
        uint32_t j = (uint32_t)(plx_bench_random(&bench->random) % i);
        struct plx_bench_track *other = order[j];
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

/* Whole numbers for the histogram: a second's operations or kilobytes, or thousandths of a
 * millionth. */
static uint64_t rate_of(const struct plx_bench *bench, const struct plx_bench_slice *slice,
                        enum plx_bench_unit unit)
{
    if (slice->elapsed_ticks == 0)
        return 0;
    double each_tick = (double)slice->done / (double)slice->elapsed_ticks;
    double scale = unit == PLX_BENCH_PPM ? 1e9 : 1e9 / plx_bench_ns_per_tick(bench);
    if (unit == PLX_BENCH_BANDWIDTH)
        scale /= PLX_BENCH_BANDWIDTH_BYTES;
    return (uint64_t)(each_tick * scale + 0.5);
}

static void take_also(const struct plx_bench *bench, const struct plx_bench_case *what,
                      struct plx_bench_track *track, const struct plx_bench_slice *slice)
{
    track->has_also = what->also_unit != PLX_BENCH_NS || slice->done != 0;
    if (what->also_unit != PLX_BENCH_NS)
        track->round_also = rate_of(bench, slice, what->also_unit);
    else if (slice->done != 0)
        track->round_also =
            (uint64_t)((double)slice->cpu_ns / (double)slice->done / plx_bench_ns_per_tick(bench));
}

static int run_slice(struct plx_bench *bench, const struct plx_bench_case *what,
                     struct plx_bench_track *track, uint32_t us)
{
    const struct plx_bench_subject *subject = track->subject;
    struct plx_bench_slice slice = {.bench = bench, .samples = track->round};
    int rc = 0;
    if (subject->open != NULL)
        rc = subject->open(&slice, subject->ctx, &track->diag);
    if (rc != 0)
        return rc;
    if (!what->sleeps) {
        rc = work(bench, subject, PLX_BENCH_WARM_US, &slice, NULL, &track->diag);
        bench->warm_slices++;
    }
    plx_histogram_reset(track->round);
    bool *busy = what->sleeps ? NULL : &track->busy;
    if (rc == 0)
        rc = work(bench, subject, us, &slice, busy, &track->diag);
    if (subject->close != NULL)
        subject->close(subject->ctx);
    if (rc == 0 && what->unit != PLX_BENCH_NS)
        plx_histogram_record(track->round, rate_of(bench, &slice, what->unit));
    if (rc == 0 && what->also_name != NULL)
        take_also(bench, what, track, &slice);
    return rc;
}

/* --- what is discarded ----------------------------------------------------------------------- */

/* Whether the two cores are two just now. */
static bool guard_holds(struct plx_bench *bench, struct plx_bench_track *track)
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
    /* Kept from the core all the while: that is another fault, and found otherwise. */
    if (plx_histogram_count(bench->guard_samples) == 0)
        return true;
    uint64_t p50 = plx_histogram_percentile(bench->guard_samples, 50);
    double line_ns = (double)p50 / PLX_BENCH_TRIPS * plx_bench_ns_per_tick(bench);
    bool holds = line_ns >= (double)bench->guard_ns;
    /* Without memory there is one less to say how far apart the cores were. */
    if (holds)
        (void)!plx_bench_rounds_add(&track->lines, line_ns);
    else
        track->close_ns = line_ns;
    return holds;
}

/* Threads of one core by what the machine says: their line is as fast as it looks. */
static bool are_siblings(const struct plx_bench *bench, const struct plx_bench_track *track)
{
    const struct plx_machine_cpu *a = plx_machine_cpu(bench->machine, (uint32_t)track->cpu_a);
    const struct plx_machine_cpu *b = plx_machine_cpu(bench->machine, (uint32_t)track->cpu_b);
    return a != NULL && b != NULL && a->core == b->core;
}

/* How fast the core is, just after it has worked. Without memory there is one less to say so. */
static void note_speed(struct plx_bench *bench, struct plx_bench_track *track)
{
    double core_ns = plx_bench_core_ns(bench);
    (void)!plx_bench_rounds_add(&bench->speeds, core_ns);
    (void)!plx_bench_rounds_add(&track->speeds, core_ns);
}

static void guarded_slice(struct plx_bench *bench, const struct plx_bench_case *what,
                          struct plx_bench_track *track, uint32_t us)
{
    bool guarded =
        bench->guarded && bench->guard_ns != 0 && what->two_cores && !are_siblings(bench, track);
    track->rc = plx_bench_pair_place(bench, track->cpu_a, track->cpu_b, &track->diag);
    bool holds = track->rc != 0 || !guarded || guard_holds(bench, track);
    if (track->rc == 0)
        track->rc = run_slice(bench, what, track, us);
    if (track->rc == 0)
        note_speed(bench, track);
    if (track->rc == 0 && guarded)
        holds = guard_holds(bench, track) && holds;
    if (track->rc != 0 && plx_bench_stopping()) {
        /* The signal that stops us may have ended what the slice waited for. */
        track->rc = 0;
        plx_histogram_reset(track->round);
        return;
    }
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
        track->close++;
        bench->discarded_close++;
        plx_histogram_reset(track->round);
    }
}

/* The cores that a case uses, each once, and the time taken from them. */
static uint64_t stolen(const struct plx_bench *bench, const struct plx_bench_case *what,
                       struct plx_bench_track *const *tracks, uint32_t count)
{
    struct plx_cpu_set cpus = {{0}};
    if (!plx_bench_steal_is_told(bench))
        return 0;
    for (uint32_t i = 0; i < count; i++) {
        plx_cpu_set_add(&cpus, (unsigned)tracks[i]->cpu_a);
        if (what->two_cores && tracks[i]->cpu_b >= 0)
            plx_cpu_set_add(&cpus, (unsigned)tracks[i]->cpu_b);
    }
    return plx_bench_steal(&cpus);
}

/* The entry of this round among the medians; NULL: no memory. */
static struct plx_bench_medians *next_medians(struct plx_bench_track *track)
{
    if (track->round_count == track->round_room) {
        uint32_t room = track->round_room != 0 ? 2 * track->round_room : 64;
        struct plx_bench_medians *medians = realloc(track->medians, room * sizeof(*medians));
        if (medians == NULL)
            return NULL;
        track->medians = medians;
        track->round_room = room;
    }
    struct plx_bench_medians *next = &track->medians[track->round_count++];
    *next = (struct plx_bench_medians){.kept = 0};
    return next;
}

static int keep_slice(struct plx_bench *bench, struct plx_bench_track *track, bool spoiled)
{
    struct plx_bench_medians *medians = next_medians(track);
    if (medians == NULL)
        return -ENOMEM;
    if (track->in_round == 0)
        return 0;
    uint64_t p50 = plx_histogram_percentile(track->round, 50);
    if (spoiled) {
        track->discarded++;
        bench->discarded_steal++;
    } else if (track->busy) {
        track->discarded++;
        bench->discarded_busy++;
        medians->spare = p50;
        medians->has_also = track->has_also;
        plx_histogram_merge(track->spare, track->round);
    } else {
        track->good++;
        medians->kept = p50;
        plx_histogram_merge(track->kept, track->round);
        medians->good = true;
        medians->has_also = track->has_also;
    }
    medians->also = track->round_also;
    plx_histogram_reset(track->round);
    track->in_round = 0;
    track->has_also = false;
    return 0;
}

static int keep_round(struct plx_bench *bench, struct plx_bench_track *tracks, uint32_t count,
                      bool spoiled)
{
    int rc = 0;
    for (uint32_t i = 0; i < count && rc == 0; i++)
        rc = keep_slice(bench, &tracks[i], spoiled);
    return rc;
}

static uint32_t slice_us_of(const struct plx_bench *bench, const struct plx_bench_case *what)
{
    if (what->slice_us != 0)
        return what->slice_us;
    return bench->quick ? QUICK_SLICE_US : FULL_SLICE_US;
}

static int run_round(struct plx_bench *bench, const struct plx_bench_case *what,
                     struct plx_bench_track *tracks, struct plx_bench_track **order, uint32_t count)
{
    uint32_t us = slice_us_of(bench, what);
    uint64_t steal = stolen(bench, what, order, count);
    uint64_t start_ns = plx_bench_monotonic_ns();
    struct plx_bench_track *shuffled[TRACKS_MAX];
    memcpy(shuffled, order, count * sizeof(*order));
    shuffle(bench, shuffled, count);
    plx_bench_with_begin(bench, what, order, count);
    for (uint32_t i = 0; i < count && !plx_bench_stopping(); i++) {
        plx_bench_with_turn(bench, us, i);
        if (shuffled[i]->rc == 0 && shuffled[i]->subject->missing == NULL)
            guarded_slice(bench, what, shuffled[i], us);
    }
    /* USER_HZ is 100 everywhere that Pollux runs: 10 ms a tick. */
    uint64_t stolen_ns = (stolen(bench, what, order, count) - steal) * 10000000u;
    bool spoiled = stolen_ns * STEAL_PART > plx_bench_monotonic_ns() - start_ns;
    plx_bench_with_keep(bench, tracks[0].round_count, spoiled && !what->noise);
    return keep_round(bench, tracks, count, spoiled && !what->noise);
}

/* --- a case ---------------------------------------------------------------------------------- */

/* Whether every subject that can run has so many slices kept. */
static bool all_have(const struct plx_bench_track *tracks, uint32_t count, uint32_t good)
{
    for (uint32_t i = 0; i < count; i++) {
        if (tracks[i].rc == 0 && tracks[i].subject->missing == NULL && tracks[i].good < good)
            return false;
    }
    return true;
}

static bool is_unsure(const struct plx_bench *bench, const struct plx_bench_track *track, bool also)
{
    double part;
    return !plx_bench_track_part(track, also, &part) || !(part <= bench->precision);
}

/* Whether every median that is wanted is as certain as was asked for. */
static bool all_sure(const struct plx_bench *bench, struct plx_bench_track *tracks, uint32_t count,
                     const struct plx_bench_round_facts *facts)
{
    bool sure = true;
    for (uint32_t i = 0; i < count; i++) {
        struct plx_bench_track *track = &tracks[i];
        if (track->rc != 0 || track->subject->missing != NULL)
            continue;
        sure = sure && !(facts->first && is_unsure(bench, track, false)) &&
               !(facts->also && is_unsure(bench, track, true));
    }
    return sure;
}

/* The rounds that a case has without more being asked for. */
static uint32_t usual_rounds(const struct plx_bench *bench, const struct plx_bench_case *what)
{
    if (bench->rounds != 0)
        return bench->rounds;
    return what->rounds != 0 ? what->rounds : (bench->quick ? QUICK_ROUNDS : FULL_ROUNDS);
}

/* What a case may take, all of its batches together; 0: what it takes. */
static uint64_t limit_of(const struct plx_bench *bench)
{
    if (bench->case_ns != 0 || !(bench->precision > 0))
        return bench->case_ns;
    return bench->quick ? QUICK_CASE_NS : FULL_CASE_NS;
}

static uint32_t parts_of(const struct plx_bench_case *what)
{
    return what->parts != 0 ? what->parts : 1;
}

/* Whether a batch ends before its round number `round`. */
static bool is_enough(const struct plx_bench *bench, const struct plx_bench_case *what,
                      struct plx_bench_track *tracks, uint32_t count,
                      const struct plx_bench_round_facts *facts, uint32_t round)
{
    uint32_t rounds = usual_rounds(bench, what);
    bool precise = bench->precision > 0;
    bool sure = !precise || all_sure(bench, tracks, count, facts);
    if (round != 0 && facts->end_ns != 0 && plx_bench_monotonic_ns() >= facts->end_ns)
        return true;
    if (precise)
        return round >= PLX_BENCH_INTERVAL_MIN && round >= bench->rounds && sure;
    return round >= rounds * ROUNDS_FACTOR ||
           (round >= rounds && (what->noise || all_have(tracks, count, rounds / 2)));
}

static bool has_work(const struct plx_bench_track *tracks, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (tracks[i].rc == 0 && tracks[i].subject->missing == NULL)
            return true;
    }
    return false;
}

static void show_progress(const struct plx_bench *bench, const struct plx_bench_case *what,
                          uint32_t round)
{
    char text[PLX_BENCH_TIMING_BYTES];
    uint32_t rounds = usual_rounds(bench, what);
    const struct plx_bench_timing timing = {
        .part = what->part,
        .parts = parts_of(what),
        .round = round,
        .rounds = rounds,
        .rounds_most = rounds * ROUNDS_FACTOR,
        .precise = bench->precision > 0,
        .took_ns = plx_bench_monotonic_ns() - bench->case_start_ns,
        .limit_ns = limit_of(bench),
    };
    plx_cli_progress("%s %s: %s", what->bench, what->name, plx_bench_timing_text(&timing, text));
}

uint64_t plx_bench_estimate_ns(const struct plx_bench *bench, const struct plx_bench_case *what,
                               uint32_t subjects)
{
    uint64_t limit_ns = limit_of(bench);
    uint64_t us = slice_us_of(bench, what) + BETWEEN_US;
    if (!what->sleeps)
        us += PLX_BENCH_WARM_US;
    if (what->two_cores && bench->guarded && bench->guard_ns != 0)
        us += 2 * GUARD_US;
    uint64_t ns = us * 1000u * subjects * usual_rounds(bench, what);
    /* Asked for a precision, nobody knows when it is there. */
    return limit_ns != 0 && (limit_ns < ns || bench->precision > 0) ? limit_ns : ns;
}

void plx_bench_foretell(const struct plx_bench *bench, const char *name, uint64_t ns)
{
    char text[PLX_BENCH_TIMING_BYTES];
    if (ns <= LONG_NS)
        return;
    fprintf(bench->tables, "%s: about %s\n", name, plx_bench_wait_text(ns, text));
    fflush(bench->tables);
}

static int run_rounds(struct plx_bench *bench, const struct plx_bench_case *what,
                      struct plx_bench_track *tracks, struct plx_bench_track **order,
                      uint32_t count, const struct plx_bench_round_facts *facts)
{
    int rc = 0;
    for (uint32_t round = 0; rc == 0 && !plx_bench_stopping() && has_work(tracks, count) &&
                             !is_enough(bench, what, tracks, count, facts, round);
         round++) {
        show_progress(bench, what, round);
        rc = run_round(bench, what, tracks, order, count);
    }
    return rc;
}

static int measure(struct plx_bench *bench, const struct plx_bench_case *what,
                   struct plx_bench_track *tracks, struct plx_bench_track **order, uint32_t count,
                   const struct plx_bench_round_facts *facts)
{
    if (what->two_cores && !plx_bench_has_two(bench))
        return 0;
    for (uint32_t i = 0; i < count; i++) {
        tracks[i].kept = new_histogram();
        tracks[i].spare = new_histogram();
        tracks[i].round = new_histogram();
        tracks[i].also = new_histogram();
        if (tracks[i].kept == NULL || tracks[i].spare == NULL || tracks[i].round == NULL ||
            tracks[i].also == NULL)
            return -ENOMEM;
    }
    int rc = run_rounds(bench, what, tracks, order, count, facts);
    /* For the next set-up. If it fails, so does the next slice on that core, which tells why. */
    struct plx_diag diag;
    (void)!plx_bench_pair_place(bench, bench->cpu_a, bench->cpu_b, &diag);
    return rc;
}

static void free_track(struct plx_bench_track *track)
{
    free(track->kept);
    free(track->spare);
    free(track->round);
    free(track->also);
    free(track->medians);
    plx_bench_rounds_fini(&track->speeds);
    plx_bench_rounds_fini(&track->lines);
}

/* Whether it is meant by --only. */
static bool is_chosen(struct plx_bench *bench, const char *bench_name, const char *case_name)
{
    bool chosen = bench->only->count == 0;
    for (uint32_t i = 0; i < bench->only->count; i++) {
        if (!plx_bench_matches(bench->only->texts[i], bench_name, case_name))
            continue;
        bench->only_used |= 1u << i;
        chosen = true;
    }
    return chosen;
}

bool plx_bench_is_wanted(struct plx_bench *bench, const char *bench_name, const char *case_name)
{
    return !bench->listing && !plx_bench_stopping() && is_chosen(bench, bench_name, case_name);
}

bool plx_bench_is_one_wanted(struct plx_bench *bench, const struct plx_bench_case *cases,
                             size_t count)
{
    bool wanted = false;
    for (size_t i = 0; i < count && !wanted; i++)
        wanted = plx_bench_is_wanted(bench, cases[i].bench, cases[i].name) ||
                 (cases[i].also_name != NULL &&
                  plx_bench_is_wanted(bench, cases[i].bench, cases[i].also_name));
    return wanted;
}

static void list(struct plx_bench *bench, const char *bench_name, const char *name,
                 const char *what)
{
    if (is_chosen(bench, bench_name, name) && !bench->silent &&
        (bench->listed == NULL || strcmp(bench->listed, name) != 0))
        fprintf(bench->tables, "%-6s  %-22s  %s\n", bench_name, name, what);
    bench->listed = name;
}

/* Sees to it that a case of several batches takes no longer than one. */
static void start(struct plx_bench *bench, const struct plx_bench_case *what, uint32_t subjects,
                  struct plx_bench_round_facts *facts)
{
    uint64_t now_ns = plx_bench_monotonic_ns();
    uint64_t limit_ns = limit_of(bench);
    char name[64];
    if (what->part == 0) {
        bench->case_start_ns = now_ns;
        snprintf(name, sizeof(name), "%s %s", what->bench, what->name);
        if (!what->two_cores || plx_bench_has_two(bench))
            plx_bench_foretell(bench, name,
                               plx_bench_estimate_ns(bench, what, parts_of(what) * subjects));
    }
    if (limit_ns != 0)
        facts->end_ns = now_ns + plx_bench_share_ns(limit_ns, now_ns - bench->case_start_ns,
                                                    what->part, parts_of(what));
}

int plx_bench_measure(struct plx_bench *bench, const struct plx_bench_case *what,
                      const struct plx_bench_subject *subjects, uint32_t subject_count)
{
    struct plx_bench_track *order[TRACKS_MAX];
    bool also = what->also_name != NULL && plx_bench_is_wanted(bench, what->bench, what->also_name);
    bool first = plx_bench_is_wanted(bench, what->bench, what->name);
    if (bench->listing) {
        list(bench, what->bench, what->name, what->what);
        if (what->also_name != NULL)
            list(bench, what->bench, what->also_name, what->also_what);
    }
    if (!also && !first)
        return 0;
    PLX_ASSERT(subject_count <= TRACKS_MAX);
    struct plx_bench_track *tracks = calloc(subject_count, sizeof(*tracks));
    if (tracks == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < subject_count; i++) {
        bool own = subjects[i].cpu_a != subjects[i].cpu_b;
        tracks[i].subject = &subjects[i];
        tracks[i].cpu_a = own ? subjects[i].cpu_a : bench->cpu_a;
        tracks[i].cpu_b = own ? subjects[i].cpu_b : bench->cpu_b;
        order[i] = &tracks[i];
    }
    struct plx_bench_round_facts facts = {.group = bench->groups++, .first = first, .also = also};
    start(bench, what, subject_count, &facts);
    int rc = measure(bench, what, tracks, order, subject_count, &facts);
    if (rc == 0 && first)
        rc = plx_bench_add_rows(bench, what, tracks, subject_count, &facts);
    if (rc == 0 && also)
        rc = plx_bench_add_also_rows(bench, what, tracks, subject_count, &facts);
    for (uint32_t i = 0; i < subject_count; i++)
        free_track(&tracks[i]);
    free(tracks);
    return rc;
}
