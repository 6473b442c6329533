/* SPDX-License-Identifier: MIT */
/* A run of a program that nobody vouches for: within bounds of time and output. */
#ifndef POLLUX_TOOLS_BENCH_WITH_RUN_H
#define POLLUX_TOOLS_BENCH_WITH_RUN_H

#include "alloc/base.h"

#define PLX_WITH_BYTES      65536u
#define PLX_WITH_PATIENCE_S 10u
/* Its exit status where it does not know the case. */
#define PLX_WITH_UNKNOWN 77

/*
 * Runs a command of the shell's with arguments, on two CPUs (cpu_b -1: one), and keeps what it
 * prints, ended by a zero. It gets the `ms` that it is told, and PLX_WITH_PATIENCE_S, before it is
 * killed with all that it started. Returns its exit status, 0 or PLX_WITH_UNKNOWN; a negative errno
 * for all else, and `diag` says what.
 */
int plx_bench_with_run(const char *command, const char *const *arguments, unsigned ms, int cpu_a,
                       int cpu_b, char out[PLX_WITH_BYTES], struct plx_diag *diag) PLX_MUST_CHECK;

#endif
