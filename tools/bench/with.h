/* SPDX-License-Identifier: MIT */
/*
 * Programs of somebody else's that take part as peers. Once in each round each is run as
 *
 *   COMMAND BENCH CASE UNIT MILLISECONDS CPU_A CPU_B
 *
 * on these two CPUs (CPU_B is "-" where the case uses one), and prints a row for each subject that
 * it measured meanwhile: a JSON object, of which "subject" and "p50" are needed. It ends with 0, or
 * with 77 if it does not know the case. What else it may do is an error, told once, after which it
 * is not asked again. No two in a case may call a subject the same, nor as one of ours is called.
 */
#ifndef POLLUX_TOOLS_BENCH_WITH_H
#define POLLUX_TOOLS_BENCH_WITH_H

#include "tools/bench/frame.h"
#include "tools/bench/track.h"

/* Returns -1 to go on, or the exit status: the error was told. `commands` stay where they are. */
int plx_bench_with_init(struct plx_bench *bench,
                        const struct plx_cli_texts *commands) PLX_MUST_CHECK;
/* Tells, when all is measured, which took no part. */
void plx_bench_with_end(struct plx_bench *bench);
void plx_bench_with_fini(struct plx_bench *bench);

/* Begins a round of so many subjects: draws between which of them each program has its turn. */
void plx_bench_with_begin(struct plx_bench *bench, const struct plx_bench_case *what,
                          struct plx_bench_track *const *tracks, uint32_t count);
/*
 * Runs the programs, if there are any, whose turn is before the i-th subject, that know the case;
 * on the cores of the subjects, if these are the same for all.
 */
void plx_bench_with_turn(struct plx_bench *bench, uint32_t us, uint32_t i);
/* Keeps what they printed in this round, the n-th from 0, or, if it is spoiled, does not. */
void plx_bench_with_keep(struct plx_bench *bench, uint32_t n, bool spoiled);
/*
 * Adds their rows of a case, or sets them anew, when the rounds of these tracks were measured in
 * this pass. Returns 0, or -ENOMEM.
 */
int plx_bench_with_rows(struct plx_bench *bench, const struct plx_bench_case *what,
                        const struct plx_bench_track *tracks, uint32_t count,
                        uint32_t group) PLX_MUST_CHECK;

#endif
