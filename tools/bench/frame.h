/* SPDX-License-Identifier: MIT */
/*
 * The inside of the benchmark's frame: what its own files share and the benchmarks do not see.
 */
#ifndef POLLUX_TOOLS_BENCH_FRAME_H
#define POLLUX_TOOLS_BENCH_FRAME_H

#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <time.h>

#include "alloc/arena.h"
#include "tools/bench/bench.h"
#include "tools/bench/interval.h"
#include "tools/bench/select.h"
#include "tools/cli.h"

#define PLX_BENCH_ARENAS_MAX 64
#define PLX_BENCH_PEERS_MAX  16

/* --- rows ------------------------------------------------------------------------------------ */

/* What a histogram holds, without the buckets that are empty. */
struct plx_bench_packed {
    uint64_t count, min, max, sum_low, sum_high, clamped;
    uint32_t bucket_count;
    struct {
        uint32_t bucket;
        uint64_t values;
    } buckets[];
};

/* A point of a distribution: so many samples, that part of all, are at most `value`. */
struct plx_bench_point {
    double value;
    double part; /* 0 to 1 */
    uint64_t count;
};

#define PLX_BENCH_POINTS_MAX 256u

/*
 * A row of the results. Numbers that do not apply are -1 (cores, nodes); figures go with `has`, and
 * one of them that is not known is NAN. The frame owns `rounds` and `points`.
 */
struct plx_bench_row {
    const char *bench;
    const char *case_name;
    const char *subject;
    const char *what;
    enum plx_bench_unit unit;
    uint32_t block;
    bool has;
    uint64_t n;
    double min, p50, p90, p99, p999, p9999, max, mean;
    int cpu_a, cpu_b, node_a, node_b, mem_node;
    uint32_t slices;    /* that were run */
    uint32_t discarded; /* of them */
    /* The medians of the slices that the figures are made of, and the interval of their median. */
    struct plx_bench_rounds rounds;
    double ci_low, ci_high;
    /* The distribution of all samples in steps that become finer towards its end; may be empty. */
    struct plx_bench_point *points;
    uint32_t point_count;
    double deviation;
    /*
     * The median of every round, NAN where its slice was discarded: rows of one case and group were
     * measured in the same rounds. The frame owns it.
     */
    double *paired;
    uint32_t paired_count;
    uint32_t group;
    struct plx_bench_packed *samples; /* as they were recorded; the frame's; NULL: none */
    struct plx_bench_rounds speeds;   /* how long cpu_a took for an addition; the frame's */
    struct plx_bench_rounds lines;    /* the guard's round trips, in ns; the frame's */
    double scale;                     /* of what was recorded: what it is in `unit` */
    double overhead_ns;               /* of the clock's reading, taken off each sample */
    const char *relation;             /* of two cores: "smt", "l3", "node", "cross"; else NULL */
    double core_ns;    /* the median of `speeds`; 0: not measured */
    double line_ns;    /* the median of `lines`; 0: not measured */
    double core_drift; /* how far its speed moved meanwhile, as a part of it */
    bool drifted;      /* further than figures can be trusted */
    bool unsure;       /* the precision that was asked for was not reached in time */
    bool quiet;        /* no figures is a result: nothing disturbed */
    bool printed;
    bool busy;         /* made of slices in which other programs ran, for lack of better ones */
    char why[200];     /* no figures: the reason */
};

/* A long time in which the loop of `jitter` did not run. */
struct plx_bench_gap {
    uint64_t ticks;
    uint64_t at_ns; /* since the benchmark began */
    int cpu;
    const char *subject;
    char what[160]; /* what the core's counters say of it */
};

/* What a figure is held to: p50 of `subject`, or its ratio to that of `peer`, is at most `limit`.
 */
struct plx_bench_budget {
    const char *bench;
    const char *case_name;
    const char *subject;
    const char *peer; /* NULL: the figure itself, in ns */
    double limit;     /* of a rate the ratio is at least this */
};

/* --- the two threads ------------------------------------------------------------------------- */

/* A job of the peer thread, and how it is handed over. */
struct plx_bench_pair {
    pthread_t thread;
    bool made;
    bool has_thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int (*job)(void *ctx); /* NULL: none */
    void *job_ctx;
    int job_rc;
    bool job_done;
    bool ends;
    PLX_ATOMIC(bool) entered PLX_ALIGNED(2 * PLX_CACHE_LINE); /* the job has begun */
};

struct plx_bench {
    struct plx_machine *machine;
    struct plx_plan *plan;        /* whose reactors' cores are measured on */
    struct plx_settings settings; /* of the environment */
    bool quick;
    const char *dir;     /* where files are measured; NULL: nobody said */
    uint64_t file_bytes; /* how large a file; 0: nobody said */
    uint32_t rounds;     /* 0: as each case says */
    uint64_t seed;
    uint64_t random;
    int cpu_a;
    int cpu_b;                           /* -1: none */
    bool listing;                        /* cases are named and nothing is measured */
    bool silent;                         /* nor printed: patterns are looked at, no more */
    const char *listed;                  /* the last case that was */
    const struct plx_cli_texts *only;    /* patterns of the cases that are measured; empty: all */
    uint32_t only_used;                  /* a bit for each that matched one */
    const struct plx_bench_cores *pairs; /* that c2c measures, by --pairs */
    uint32_t pair_count;
    uint64_t threshold_ns;      /* of gaps that count */
    struct plx_bench_gap *gaps; /* the longest first */
    uint32_t gap_count;
    uint32_t gap_room;
    bool has_jitter;
    bool nodes_required;  /* memory elsewhere than asked for is a failure */
    const char *one_core; /* not NULL: why two threads may not spin */
    bool guarded;         /* there is a hypervisor, which may put two CPUs on one core */
    uint64_t guard_ns;    /* the line's round trip below which they are on one; 0: nobody looks */
    FILE *tables;
    struct plx_bench_pair pair;
    struct plx_bench_line *guard_line;
    struct plx_histogram *guard_samples;
    struct plx_bench_with *with;         /* programs that take part, by --with; NULL: none */
    json_t *command;                     /* the words of the command line */
    time_t start_time;
    uint64_t start_ticks;
    uint64_t start_ns;

    struct plx_bench_row *rows;
    uint32_t row_count;
    uint32_t row_room;
    bool incomplete;  /* the run ended before its end, for an error that was told */
    uint32_t groups;  /* of rows, so far in this pass */
    uint32_t passes;  /* over everything; rows hold the samples of all */
    uint32_t pass;    /* the one that goes on, from 0 */
    double precision; /* of a median that ends a case: half its interval; 0: not asked */
    uint64_t case_ns; /* that a case may take; 0: what it takes */
    uint64_t case_start_ns;
    double clock_ns;  /* what reading the counter costs */
    double fenced_ns; /* the same between fences */
    struct plx_bench_rounds speeds; /* of the cores, slice by slice: ns of an addition */
    uint64_t warm_slices;  /* slices that were warmed up before they counted */
    uint32_t rows_drifted; /* rows in which the core's speed moved */
    uint32_t rows_unsure;  /* rows whose median is less certain than was asked for */
    uint64_t slices;
    uint64_t discarded_close; /* the line was faster than two cores can be */
    uint64_t discarded_steal;
    uint64_t discarded_busy; /* other programs ran on the cores */
    uint32_t rows_busy;      /* rows that have no other slices than such */
    bool failed;

    struct plx_arena arenas[PLX_BENCH_ARENAS_MAX];
    uint32_t arena_count;
    const char *missing_peers[PLX_BENCH_PEERS_MAX];
    uint32_t missing_peer_count;
};

/* How long a subject works at the beginning of a slice before it counts. */
#define PLX_BENCH_WARM_US 1000u

/* Bytes in the unit in which bandwidths are recorded: a histogram goes to 2^40, memory beyond. */
#define PLX_BENCH_BANDWIDTH_BYTES 1000.0

/* A core's speed that moves by more than this part within a case leaves its rows in doubt. */
#define PLX_BENCH_DRIFT 0.05

/*
 * How long a case of so many subjects, in all of its batches, takes if no rounds are added; and
 * tells of that beforehand where it is more than a minute, `name` being what takes so long.
 */
uint64_t plx_bench_estimate_ns(const struct plx_bench *bench, const struct plx_bench_case *what,
                               uint32_t subjects);
void plx_bench_foretell(const struct plx_bench *bench, const char *name, uint64_t ns);

/* speed.c: how long a reading of the counter takes; fills clock_ns and fenced_ns. */
void plx_bench_time_clock(struct plx_bench *bench);
/* The time of additions that wait for each other, on this core now: it moves with the frequency. */
double plx_bench_core_ns(const struct plx_bench *bench);
/* Prints what was seen of the two. */
void plx_bench_speed_print(const struct plx_bench *bench);

/* pair.c: makes the peer thread if there are two cores; pins the bench thread. */
int plx_bench_pair_init(struct plx_bench *bench, struct plx_diag *diag) PLX_MUST_CHECK;
void plx_bench_pair_fini(struct plx_bench *bench);
/* Pins both threads, `cpu_b` -1 meaning the bench thread alone. */
int plx_bench_pair_place(struct plx_bench *bench, int cpu_a, int cpu_b,
                         struct plx_diag *diag) PLX_MUST_CHECK;
/* Hands the peer thread a job and returns when it has begun; then waits for its end. */
void plx_bench_pair_begin(struct plx_bench *bench, int (*job)(void *ctx), void *ctx);
int plx_bench_pair_end(struct plx_bench *bench);
/* The round trips of a line looked at without a pause, by which two CPUs are known to be two cores.
 */
int plx_bench_guard_run(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag);
int plx_bench_guard_peer(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag);
uint64_t plx_bench_monotonic_ns(void);
double plx_bench_ns_per_tick(const struct plx_bench *bench);
/* The node nearest to `cpu` that has memory for us; PLX_NODE_ANY: none. */
int plx_bench_node_near(const struct plx_machine *machine, int cpu);
/* plx_bench_arena on a node by its number. */
struct plx_arena *plx_bench_arena_on(struct plx_bench *bench, size_t bytes, int node,
                                     int *mem_node);
/* Ends what plx_bench_memory gave. */
void plx_bench_memory_fini(struct plx_bench *bench);

/* rows.c. Frees what rows own. */
void plx_bench_rows_fini(struct plx_bench *bench);
/*
 * Fills the distribution of a row from its samples, and the interval from its round medians, which
 * are copied; both in ticks or whatever `scale` makes the row's unit of, before its overhead is
 * taken off. What the row held of both before is dropped. Returns 0, or -ENOMEM.
 */
int plx_bench_row_spread(struct plx_bench_row *row, const struct plx_histogram *samples,
                         const struct plx_bench_rounds *rounds, double scale) PLX_MUST_CHECK;
struct plx_bench_row *plx_bench_row_add(struct plx_bench *bench);
/*
 * Adds what was seen of the core and the line in a pass that the row's figures are made of, and
 * sets what follows from all passes. Returns 0, or -ENOMEM.
 */
int plx_bench_row_seen(struct plx_bench_row *row, const struct plx_bench_rounds *speeds,
                       const struct plx_bench_rounds *lines) PLX_MUST_CHECK;
/*
 * Half of the interval of the median of these, as a part of it. False: there are too few, or memory
 * ran out.
 */
bool plx_bench_rounds_part(const struct plx_bench_rounds *rounds, double *part);
/* Whether their median is less certain than was asked for; an unknown interval is. */
bool plx_bench_is_unsure(const struct plx_bench *bench, const struct plx_bench_rounds *rounds);
/* The node of a CPU; -1: there is none. */
int plx_bench_node_of(const struct plx_bench *bench, int cpu);

/*
 * figures.c. The median, over rounds in which both ran, of the ratio of a's median to b's: steadier
 * than the ratio of the medians of all rounds where the machine changes between two speeds. The
 * interval is NAN to NAN of too few rounds. False: they were not measured in the same rounds, or
 * there are no such rounds, and *out is not set.
 */
bool plx_bench_row_ratio(const struct plx_bench_row *a, const struct plx_bench_row *b,
                         struct plx_bench_ratio *out);
/* When all is measured: counts what is to be told of rows, and prints them if that was left. */
void plx_bench_rows_end(struct plx_bench *bench);

/* report.c. Prints the rows of a case. */
void plx_bench_print_case(const struct plx_bench *bench, uint32_t first, uint32_t count);
void plx_bench_print_end(const struct plx_bench *bench);
bool plx_bench_higher_is_better(const struct plx_bench_row *row);
const char *plx_bench_unit_text(const struct plx_bench_row *row);

/* stop.c: from now on a signal asks to stop. What is measured is then kept. */
void plx_bench_stop_init(void);
/* Whether there was one: what is measured ends with the round. */
bool plx_bench_stopping(void);
int plx_bench_stop_number(void); /* the signal; 0: none */
/* What a second signal calls, in the handler, before it ends the process; NULL: nothing. */
void plx_bench_stop_last(void (*last)(void));
/* The process that a signal ends, too, or, as -pid, the group that it leads; 0: none. */
void plx_bench_stop_child(int pid);
/*
 * The same of one that helps to write what was measured: a first signal, also one that came before,
 * leaves it alone, and a second one ends it. It is taken back by plx_bench_stop_child(0).
 */
void plx_bench_stop_writer(int pid);

/* jitter.c: its threshold and longest gaps, a new reference; NULL: it was not measured. */
json_t *plx_bench_jitter_json(const struct plx_bench *bench);

/* budgets.c */
extern const struct plx_bench_budget plx_bench_budgets[];
extern const uint32_t plx_bench_budget_count;
/* The budget of `subject` against `peer` (NULL: its own figure); NULL: there is none. */
const struct plx_bench_budget *plx_bench_find_budget(const struct plx_bench_row *subject,
                                                     const struct plx_bench_row *peer);
void plx_bench_print_verdict(const struct plx_bench *bench);
/* The budgets of rows there are, with what was measured; a new reference. */
json_t *plx_bench_budgets_json(const struct plx_bench *bench);

/* host.c. A new reference; NULL when memory ran out. */
json_t *plx_bench_host_json(const struct plx_bench *bench);
void plx_bench_host_print(const struct plx_bench *bench);
/* The hypervisor's name for itself; "" where there is none. `text` takes 13 bytes. */
const char *plx_bench_hypervisor(char *text);
/* Time that the hypervisor took from these CPUs since boot, in clock ticks of 10 ms or as
 * configured; from all of them for NULL. 0 where that is not told. */
uint64_t plx_bench_steal(const struct plx_cpu_set *cpus);
/* Whether it can be anything but 0. */
bool plx_bench_steal_is_told(const struct plx_bench *bench);

#endif
