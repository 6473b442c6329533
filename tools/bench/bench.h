/* SPDX-License-Identifier: MIT */
/*
 * What the benchmarks share: subjects measured in turn in short slices, on two pinned threads, and
 * the rows that result.
 *
 * Words. A *case* is one thing measured; its *subjects* are we and our peers, each doing that thing
 * in its own way. A *slice* is a short time in which one subject runs; a *round* is one slice of
 * each subject, in an order drawn anew. A *sample* is the time of one *block* of operations. The
 * *guard* is a bare cache line sent to and fro between the two cores before and after each slice
 * of a case that uses both: where it is faster than two cores can be, the slice is discarded, as
 * are all slices of a round in which the hypervisor took time away.
 *
 * Threads. The *bench thread*, pinned to cpu_a, calls everything here. The *peer thread*, pinned to
 * cpu_b, calls what it is handed and sleeps in between. Both run one subject at a time.
 */
#ifndef POLLUX_TOOLS_BENCH_H
#define POLLUX_TOOLS_BENCH_H

#include "alloc/arena.h"
#include "alloc/base.h"
#include "runtime/place/machine.h"
#include "runtime/runtime.h"
#include "runtime/stats/histogram.h"

struct plx_bench;

/* --- a slice, as its subject sees it --------------------------------------------------------- */

struct plx_bench_slice {
    /* Read by both threads. */
    struct plx_bench *bench;
    struct plx_histogram *samples; /* the bench thread's; by plx_bench_sample */
    uint64_t end_ticks;            /* run begins nothing new from then on */
    uint64_t limit_ticks;          /* what has not come by then will not come */
    /* Rates only, written by run: what was done in which time. */
    uint64_t done;
    uint64_t elapsed_ticks;
    uint64_t cpu_ns; /* of all that, where the case asks for it: processor time */
    /* Set when run has returned (or failed): peer ends when it has nothing left to do. */
    PLX_ATOMIC(bool) stop PLX_ALIGNED(2 * PLX_CACHE_LINE);
    /* Set when peer has failed: run need not wait any longer. */
    PLX_ATOMIC(bool) peer_failed PLX_ALIGNED(2 * PLX_CACHE_LINE);
};

/* Records the time of one block, in ticks. */
static inline void plx_bench_sample(struct plx_bench_slice *slice, uint64_t ticks)
{
    plx_histogram_record(slice->samples, ticks);
}

/*
 * The counter, read when all before it is done and nothing after it has begun: for blocks so short
 * that what the core does ahead of time would be left out, an exchange with another core above all.
 */
static inline uint64_t plx_bench_fenced_ticks(void)
{
#if defined(__x86_64__)
    __builtin_ia32_lfence();
    uint64_t ticks = plx_ticks();
    __builtin_ia32_lfence();
    return ticks;
#else
    __asm__ __volatile__("isb" ::: "memory");
    uint64_t ticks = plx_ticks();
    __asm__ __volatile__("isb" ::: "memory");
    return ticks;
#endif
}

/* The next of a sequence of random numbers that begins with any *state. SplitMix64. */
static inline uint64_t plx_bench_random(uint64_t *state)
{
    /* A counter, mixed. */
    *state += 0x9e3779b97f4a7c15u;
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* For peer: whether run has ended. What run did before is seen. */
static inline bool plx_bench_stopped(struct plx_bench_slice *slice)
{
    return plx_load_acquire(&slice->stop);
}

/* For loops of run that wait for something: whether that is in vain. Costs a look at the clock. */
static inline bool plx_bench_in_vain(struct plx_bench_slice *slice)
{
    /* Relaxed: nothing is read on the strength of it. */
    return plx_load_relaxed(&slice->peer_failed) || plx_ticks() > slice->limit_ticks;
}

/* --- subjects and cases ---------------------------------------------------------------------- */

/*
 * What a subject does in a slice. Called twice in each: briefly, to warm up, then measured. Returns
 * 0, or a negative errno with `diag` filled (plx_diag_set): a measurement that failed, also when
 * what arrived is not what was sent.
 */
typedef int (*plx_bench_fn)(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag);

/* All texts are static here and in the case. */
struct plx_bench_subject {
    const char *name;         /* "pollux", "pollux/MODE", or the peer's */
    plx_bench_fn run;         /* on the bench thread, until slice->end_ticks */
    plx_bench_fn peer;        /* on the peer thread at the same time; NULL: it sleeps */
    plx_bench_fn open;        /* before each slice, on the bench thread; NULL: nothing to do */
    void (*close)(void *ctx); /* after it; NULL: nothing to do */
    void *ctx;                /* for all four */
    const char *missing;      /* not NULL: why it cannot be measured here; its row is null */
    int mem_node; /* where the memory that both cores share was seen to lie; -1: no such */
    /* The cores, where they are not those of the benchmark; both 0: they are. */
    int cpu_a;
    int cpu_b;
    const char *relation; /* of these two; NULL: not told */
};

/* Lower is better of the first, by plx_bench_sample; higher of rates, with a sample a slice. */
enum plx_bench_unit {
    PLX_BENCH_NS,        /* an operation */
    PLX_BENCH_RATE,      /* operations a second, by `done` and `elapsed_ticks` */
    PLX_BENCH_BANDWIDTH, /* GB (10^9 bytes) a second, `done` being bytes */
    PLX_BENCH_PPM        /* millionths, lower is better: `done` of `elapsed_ticks` */
};

struct plx_bench_case {
    const char *bench; /* "ring" */
    const char *name;  /* "rtt_8B" */
    const char *what;  /* one line for a person: what an operation is */
    enum plx_bench_unit unit;
    uint32_t block;    /* operations in a sample */
    uint32_t readings; /* of the counter in the time of a sample; 0: one */
    bool two_cores;    /* cpu_b is used, by the peer thread or an SQ thread */
    uint32_t rounds;   /* 0: the usual number */
    uint32_t slice_us; /* 0: the usual length */
    /*
     * Subjects wait for a device or another process: time off the core is their own, and a slice is
     * not warmed up, as a whole process may run in it.
     */
    bool sleeps;
    bool fenced; /* samples are of plx_bench_fenced_ticks: the longer reading is taken off them */
    bool noise;  /* disturbances are what is measured: nothing is discarded */
    /*
     * A case of more subjects than can take turns is measured in so many batches, `part` being this
     * one's number from 0: they share its time, and it is printed with the last. 0: there is one.
     */
    uint32_t parts;
    uint32_t part;
    /*
     * Another case, made of the same slices, one value a slice: in ns the processor time of an
     * operation, else what was done in which time.
     */
    const char *also_name; /* NULL: none */
    const char *also_what;
    enum plx_bench_unit also_unit;
};

/*
 * Measures a case and keeps a row for each subject. Failures are told and remembered for the exit
 * status. With `two_cores` where there is only one, the rows are null, and neither open nor run is
 * called. What is not wanted has no rows, and its subjects are not looked at. Returns 0, or
 * -ENOMEM.
 */
int plx_bench_measure(struct plx_bench *bench, const struct plx_bench_case *what,
                      const struct plx_bench_subject *subjects,
                      uint32_t subject_count) PLX_MUST_CHECK;

/*
 * Whether a case is to be measured: it is meant by --only, cases are not only listed, and no signal
 * asked to stop. Asked before a set-up; plx_bench_measure is called anyway, with what there is, as
 * it is what lists a case.
 */
bool plx_bench_is_wanted(struct plx_bench *bench, const char *bench_name, const char *case_name);
/* Whether one of these cases is, or the second figure of one. */
bool plx_bench_is_one_wanted(struct plx_bench *bench, const struct plx_bench_case *cases,
                             size_t count);

/* Tells of a failure outside of a slice (a set-up), and remembers it for the exit status. */
void plx_bench_failed(struct plx_bench *bench, const char *bench_name, const struct plx_diag *diag);

/* Whether it is the answer of a host that refuses io_uring, or has none: no failure of ours. */
bool plx_bench_is_refusal(int rc);

/*
 * Says on standard error, once, that a peer is not measured because the library was not installed
 * when this program was built; `package` is Debian's.
 */
void plx_bench_missing_peer(struct plx_bench *bench, const char *peer, const char *package);

/* The same for another reason, which is told: "peer NAME is left out: WHY". `peer` is static. */
void plx_bench_leave_out(struct plx_bench *bench, const char *peer, const char *why);

/* --- what there is to measure with ----------------------------------------------------------- */

/* Whether two spinning threads have a core each: two usable cores, and no quota below two. */
bool plx_bench_has_two(const struct plx_bench *bench);
int plx_bench_cpu_a(const struct plx_bench *bench);
int plx_bench_cpu_b(const struct plx_bench *bench); /* -1: there is only one */
const struct plx_machine *plx_bench_machine(const struct plx_bench *bench);
bool plx_bench_is_quick(const struct plx_bench *bench);
/* Of the order of slices, and of whatever else is drawn. */
uint64_t plx_bench_seed(const struct plx_bench *bench);
/* Of a reactor's ring, as the environment says. */
uint32_t plx_bench_ring_entries(const struct plx_bench *bench);

/*
 * Calls `fn` on the peer thread and sleeps until it has returned: for what must be made or ended on
 * the thread that uses it. Returns what it returned. Only with plx_bench_has_two.
 */
int plx_bench_on_peer(struct plx_bench *bench, int (*fn)(void *ctx), void *ctx);

/*
 * Zeroed memory on the node of `cpu`, aligned to 128, until the benchmark (c2c, ring …) ends; NULL:
 * none, and that was told and remembered. *mem_node (NULL allowed) is where it was seen to lie, -1
 * if that could not be seen.
 */
void *plx_bench_memory(struct plx_bench *bench, size_t bytes, int cpu, int *mem_node);

/* An arena of at least `bytes`, in which to carve, on the same terms. */
struct plx_arena *plx_bench_arena(struct plx_bench *bench, size_t bytes, int cpu, int *mem_node);

/*
 * Creates a runtime with the environment's settings, except for those that say what is measured
 * (CPUs, reactors, backend, SQPOLL, pinning, idle) and those that `settings` gives, names and
 * values in turn up to a NULL. `machine` NULL: this one. Arenas are small unless one of the two
 * says otherwise. Errors: of plx_runtime_create.
 */
int plx_bench_runtime(const struct plx_bench *bench, const char *const *settings,
                      const struct plx_machine *machine, struct plx_runtime **out,
                      struct plx_diag *diag) PLX_MUST_CHECK;

/*
 * Round trips in a sample of what takes some hundred ns: some processors' counters move in steps of
 * 10 ns, which would show in the ratios of single ones.
 */
#define PLX_BENCH_TRIPS 8u

/*
 * The bare cache line: one word that two cores write in turn. A round trip is two transfers.
 */
struct plx_bench_line {
    PLX_ATOMIC(uint64_t) word PLX_ALIGNED(2 * PLX_CACHE_LINE);
};

/* Its round trips, in blocks of PLX_BENCH_TRIPS; `ctx` is the line, zeroed at first. */
int plx_bench_line_run(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag);
int plx_bench_line_peer(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag);

/* --- the benchmarks -------------------------------------------------------------------------- */

/* Each measures its cases. Returns 0, or -ENOMEM. */
int plx_bench_c2c(struct plx_bench *bench);
int plx_bench_ring(struct plx_bench *bench);
int plx_bench_mesh(struct plx_bench *bench);
int plx_bench_mesh_idle(struct plx_bench *bench); /* called by it, like the next */
int plx_bench_mesh_wake(struct plx_bench *bench);
int plx_bench_uring(struct plx_bench *bench);
int plx_bench_tcp(struct plx_bench *bench);
int plx_bench_tcp_rate(struct plx_bench *bench);
int plx_bench_mem(struct plx_bench *bench);
int plx_bench_task(struct plx_bench *bench);
int plx_bench_timer(struct plx_bench *bench);
int plx_bench_pool(struct plx_bench *bench);
int plx_bench_bytes(struct plx_bench *bench);
int plx_bench_file(struct plx_bench *bench);
int plx_bench_jitter(struct plx_bench *bench);

#endif
