/* SPDX-License-Identifier: MIT */
/*
 * A program of somebody else's that takes part as a peer. Once in each round it is run as
 *
 *   COMMAND BENCH CASE UNIT MILLISECONDS CPU_A CPU_B
 *
 * on these two CPUs (CPU_B is "-" where the case uses one), and prints a row for each subject that
 * it measured meanwhile: a JSON object, of which "subject" and "p50" are needed. It ends with 0, or
 * with 77 if it does not know the case. What else it may do is an error, told once, after which it
 * is not asked again.
 */
#ifndef POLLUX_TOOLS_BENCH_WITH_H
#define POLLUX_TOOLS_BENCH_WITH_H

#include "tools/bench/frame.h"
#include "tools/bench/track.h"

/* Returns -1 to go on, or the exit status: the error was told. */
int plx_bench_with_init(struct plx_bench *bench, const char *command) PLX_MUST_CHECK;
/* Tells, when all is measured, if it took no part. */
void plx_bench_with_end(struct plx_bench *bench);
void plx_bench_with_fini(struct plx_bench *bench);

/* Whether the subjects of a case are measured on the same cores. */
bool plx_bench_with_fits(struct plx_bench_track *const *tracks, uint32_t count);
/* Runs it once, if there is one and it knows the case; on the cores of `like`. */
void plx_bench_with_round(struct plx_bench *bench, const struct plx_bench_case *what, uint32_t us,
                          const struct plx_bench_track *like);
/* Keeps what it printed in this round, or, if the round is spoiled, does not. */
void plx_bench_with_keep(struct plx_bench *bench, bool spoiled);
/* Adds its rows of a case, or sets them anew. Returns 0, or -ENOMEM. */
int plx_bench_with_rows(struct plx_bench *bench, const struct plx_bench_case *what,
                        uint32_t group) PLX_MUST_CHECK;

#endif
