/* SPDX-License-Identifier: MIT */
/*
 * The faults of the simulated world, and who decides on them: a generator that a seed sets going.
 *
 * Words. Each seed has a *temper*: calm (nothing ever goes wrong), harmless (things are late,
 * short, refused for the moment: all must come to a good end) or rough (anything may break). Of the
 * faults that its temper allows, a seed has about half, each with a probability of its own, so that
 * some seeds are full of one fault and others of many.
 */
#ifndef POLLUX_TEST_SIM_FAULTS_H
#define POLLUX_TEST_SIM_FAULTS_H

#include "runtime/io/sim_internal.h"

/* A generator of numbers: the same seed, the same numbers. */
struct sim_random {
    uint64_t state;
};

uint64_t sim_random_next(struct sim_random *random);
/* Below `bound` > 0. */
uint64_t sim_random_below(struct sim_random *random, uint64_t bound);
/* True once in `of` times. */
bool sim_random_once(struct sim_random *random, uint32_t of);
/* From 1 to `max`, small ones as likely as large ones. */
uint64_t sim_random_size(struct sim_random *random, uint64_t max);

enum sim_temper { SIM_CALM, SIM_HARMLESS, SIM_ROUGH };

/* What the driver does by itself: X(name, harmful, what it is). */
#define SIM_FAULTS(X)                                                                              \
    X(CLOCK_JUMP, false, "the clock jumps forward")                                                \
    X(CLOCK_STILL, false, "the clock stands still")                                                \
    X(CORE_SLOW, false, "a reactor is not polled for long")                                        \
    X(MESH_FULL, false, "a ring of the mesh is full")                                              \
    X(POOL_DRY, false, "a pool is emptied by others")                                              \
    X(PEER_PAUSES, false, "a consumer reads nothing for a while")                                  \
    X(PEER_ENDS, true, "a peer ends early")                                                        \
    X(PEER_ABORTS, true, "a peer aborts")                                                          \
    X(STOP_EARLY, true, "the runtime stops with I/O in flight")                                    \
    X(CRASH, true, "power is lost with files not synchronised")

enum sim_fault {
#define X(name, harmful, text) SIM_FAULT_##name,
    SIM_FAULTS(X)
#undef X
        SIM_FAULT_COUNT
};

struct sim_faults {
    struct sim_random random; /* of the world's choices */
    enum sim_temper temper;
    uint32_t choice_rates[PLX__SIM_CHOICE_COUNT]; /* of a million */
    uint32_t fault_rates[SIM_FAULT_COUNT];
};

void sim_faults_init(struct sim_faults *faults, uint64_t seed);
/* plx__sim_hooks.choose; `ctx` is a struct sim_faults. */
uint64_t sim_faults_choose(void *ctx, enum plx__sim_choice choice, uint64_t bound);
/* Whether the driver's fault happens now, counted. */
bool sim_fault_strikes(struct sim_faults *faults, enum sim_fault fault);
/* The driver saw one of these happen. */
void sim_fault_count(enum sim_fault fault);

/* How often all have fired in this process: a table to standard output; returns how many never
 * have. */
uint32_t sim_faults_print(void);
uint32_t sim_faults_kinds(void);
void sim_faults_forget(void);

#endif
