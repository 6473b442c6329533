/* SPDX-License-Identifier: MIT */
/* Distributions as HdrHistogram's text files, which its plotter and others read. */
#ifndef POLLUX_TOOLS_BENCH_HGRM_H
#define POLLUX_TOOLS_BENCH_HGRM_H

#include "tools/bench/frame.h"

/*
 * A file for each row with samples of our own in `folder`, BENCH-CASE-SUBJECT-CPUS.hgrm, with a
 * dash for what does not belong into names; where that makes names alike, ~2, ~3 … at the end of
 * the later ones. Errors: of open and write, told; -ENOMEM.
 */
int plx_bench_write_hgrm(const struct plx_bench *bench, const char *folder,
                         struct plx_diag *diag) PLX_MUST_CHECK;

#endif
