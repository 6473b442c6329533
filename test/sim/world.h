/* SPDX-License-Identifier: MIT */
/*
 * One seed's run: a runtime in a simulated world, workloads in it, and what must hold at the end.
 *
 * Words. A *run* is one seed from its beginning to its end. A *workload* does something by the
 * public interface and knows what must come of it. The *driver* polls the reactors, one at a time,
 * in an order of its own, and moves the clock. The first thing that is wrong ends the run.
 */
#ifndef POLLUX_TEST_SIM_WORLD_H
#define POLLUX_TEST_SIM_WORLD_H

#include <stdio.h>

#include "runtime/runtime.h"
#include "test/sim/faults.h"

#define SIM_REACTORS_MAX 4u
#define SIM_SECOND_NS    1000000000u
#define SIM_HOG_MAX      256u

struct sim_run;

struct sim_workload {
    const char *name;
    /* Makes its state in run->states[]; NULL: it has failed the run. */
    void *(*begin)(struct sim_run *run);
    /* Between turns. */
    void (*step)(struct sim_run *run, void *state);
    bool (*is_done)(const void *state);
    /* All reactors have drained: what must hold? */
    void (*check)(struct sim_run *run, void *state);
    /* Reactors and runtime are gone; power was lost if run->crashed. Frees the state. */
    void (*end)(struct sim_run *run, void *state);
};

#define SIM_WORKLOADS 4
extern const struct sim_workload sim_echo;
extern const struct sim_workload sim_copy;
extern const struct sim_workload sim_mesh;
extern const struct sim_workload sim_ops;

struct sim_run {
    uint64_t seed;
    struct sim_random random; /* of driver and workloads */
    struct sim_faults faults;
    struct plx__sim_world *world;
    struct plx_runtime *runtime;
    struct plx_reactor *reactors[SIM_REACTORS_MAX];
    uint32_t count;
    const struct sim_workload *workloads[SIM_WORKLOADS];
    void *states[SIM_WORKLOADS];
    uint32_t workload_count;
    bool stopping; /* no more work: what is in flight is cancelled */
    bool stopped_early;
    bool crashed;
    uint64_t slow_until_ns[SIM_REACTORS_MAX];
    uint64_t still_until; /* a step */
    uint64_t idle;        /* turns in a row without work */
    uint64_t step;
    void *hog[SIM_HOG_MAX]; /* blocks that the driver took from a pool */
    uint32_t hog_count;
    uint32_t hog_home;
    uint64_t hog_until;
    FILE *trace; /* NULL: none */
    uint64_t hash;
    uint64_t events;
    bool failed;
    char why[256];
};

/* A run's parts, for runs of another shape than sim_run_seed's. */

/* An empty world, with the seed's faults. NULL: no memory. */
struct sim_run *sim_run_begin(uint64_t seed, FILE *trace);
/* A runtime and its reactors in it; may fail the run. */
void sim_runtime_open(struct sim_run *run, uint32_t reactors);
/* One turn of one reactor, and time. */
void sim_step(struct sim_run *run);
/* Stops all reactors, phase by phase, checks them, and takes the runtime down. */
void sim_runtime_stop(struct sim_run *run);
/* The process dies: everything of the runtime is gone at once, and every descriptor; with `power`
 * lost, what was not synchronised too. */
void sim_runtime_kill(struct sim_run *run, bool power);
/* The world ends. Returns whether the run was well; `why` and `hash` as of sim_run_seed. */
bool sim_run_end(struct sim_run *run, uint64_t *hash, char *why, size_t why_bytes);

/* Runs one seed. `hash` (NULL allowed) gets that of all that happened. Returns whether it is well;
 * otherwise `why`, of `why_bytes`, says what is wrong. */
bool sim_run_seed(uint64_t seed, FILE *trace, uint64_t *hash, char *why, size_t why_bytes);

/* Runs one seed of a journal that is killed and opened again; as sim_run_seed. */
bool sim_journal_seed(uint64_t seed, FILE *trace, uint64_t *hash, char *why, size_t why_bytes);

/* Runs one seed of tasks that wait in every way; as sim_run_seed. */
bool sim_tasks_seed(uint64_t seed, FILE *trace, uint64_t *hash, char *why, size_t why_bytes);

/* The run is wrong; the first time counts. */
void sim_fail(struct sim_run *run, const char *format, ...) PLX_PRINTF(2, 3);

static inline uint64_t sim_now_ns(const struct sim_run *run)
{
    return plx__sim_world_now_ns(run->world);
}

/* Whether nothing may end but well: no harm was allowed, and the run was not cut short. */
static inline bool sim_must_succeed(const struct sim_run *run)
{
    return run->faults.temper != SIM_ROUGH && !run->stopped_early;
}

/* The byte at `place` of the stream of number `key`. */
static inline uint8_t sim_pattern(uint32_t key, uint64_t place)
{
    uint64_t x = (place + 1) * 0x9e3779b97f4a7c15u ^ (uint64_t)(key + 1) * 0xd1342543de82ef95u;
    return (uint8_t)(x >> 40 ^ x >> 17);
}

#endif
