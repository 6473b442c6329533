/* SPDX-License-Identifier: MIT */
/* Which interrupts a CPU has had, and what was taken from it, from texts of /proc. Pure. */
#ifndef POLLUX_TOOLS_BENCH_INTERRUPTS_H
#define POLLUX_TOOLS_BENCH_INTERRUPTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "runtime/settings/cpu_set.h"

/* Lines; a machine of hundreds of CPUs and devices with a queue for each has thousands. */
#define PLX_BENCH_INTERRUPTS_MAX 65536u

/* One source: its label (LOC, RES …), or the last word of its line where that is a number. */
struct plx_bench_interrupt {
    char name[24];
    uint64_t count;
};

/* All 0 at first. */
struct plx_bench_interrupts {
    uint32_t count;
    uint32_t room;
    bool cut; /* some are missing: the text went on, or there was no memory */
    struct plx_bench_interrupt *at;
};

/*
 * Reads the column of `cpu`, in place of what was there. Lines that count for no CPU by itself
 * (ERR, MIS) are left out, as is one that does not end: the text may have been cut off there. A CPU
 * without a column leaves nothing.
 */
void plx_bench_interrupts_read(const char *text, int cpu, struct plx_bench_interrupts *out);
void plx_bench_interrupts_fini(struct plx_bench_interrupts *interrupts);

/*
 * Writes what came between two of them as "LOC +1, virtio0-rx +2", in the order of the file, cut
 * off where `text` ends. Returns the length; 0: nothing came.
 */
size_t plx_bench_interrupts_diff(const struct plx_bench_interrupts *before,
                                 const struct plx_bench_interrupts *after, char *text,
                                 size_t bytes);

/* What is to be said of a gap in which nothing was counted: whether that can be known. */
const char *plx_bench_interrupts_none(const struct plx_bench_interrupts *before,
                                      const struct plx_bench_interrupts *after);

/*
 * The sum of what the hypervisor took from these CPUs, by the text of /proc/stat, which is read as
 * far as is needed; NULL: from all of them. 0 where that is not told.
 */
uint64_t plx_bench_steal_read(FILE *text, const struct plx_cpu_set *cpus);

#endif
