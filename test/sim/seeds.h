/* SPDX-License-Identifier: MIT */
/*
 * Seeds in a row, seeds that once failed, seeds run twice: for the programs of the simulator.
 *
 * POLLUX_SIM_SEED=N runs one seed and prints its trace; POLLUX_SIM_SEEDS=N runs N of them;
 * POLLUX_SIM_FIRST=N begins with that one.
 */
#ifndef POLLUX_TEST_SIM_SEEDS_H
#define POLLUX_TEST_SIM_SEEDS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef bool (*sim_seed_fn)(uint64_t seed, FILE *trace, uint64_t *hash, char *why,
                            size_t why_bytes);

/* A seed that once failed, and what it showed. */
struct sim_kept {
    uint64_t seed;
    const char *showed;
};

/* How many seeds a run has: of a plain build, of one with a sanitizer, of a soak. */
struct sim_counts {
    uint64_t plain;
    uint64_t sanitized;
    uint64_t soak;
};

/* For main, before all: the seeds' kind; says so when an assertion ends one. With POLLUX_SIM_SEED
 * runs that, and gives the process' exit code; otherwise -1. */
int sim_seeds_init(sim_seed_fn run, const char *program);

/* Each fails the case that calls it, with the seed. */
void sim_seeds_run_kept(const struct sim_kept *kept, size_t count);
void sim_seeds_run_twice(uint32_t count);
void sim_seeds_run_row(const struct sim_counts *counts);
uint64_t sim_seeds_wanted(const struct sim_counts *counts);

#endif
