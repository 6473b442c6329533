/* SPDX-License-Identifier: MIT */
/* Which interrupts a CPU has had, from the text of /proc/interrupts. Pure. */
#ifndef POLLUX_TOOLS_BENCH_INTERRUPTS_H
#define POLLUX_TOOLS_BENCH_INTERRUPTS_H

#include <stddef.h>
#include <stdint.h>

#define PLX_BENCH_INTERRUPTS_MAX 512u

/* One source: its label (LOC, RES …), or the last word of its line where that is a number. */
struct plx_bench_interrupt {
    char name[24];
    uint64_t count;
};

struct plx_bench_interrupts {
    uint32_t count;
    struct plx_bench_interrupt at[PLX_BENCH_INTERRUPTS_MAX];
};

/*
 * Reads the column of `cpu`. Lines that count for no CPU by itself (ERR, MIS) are left out, as is
 * what goes beyond the limit. A CPU without a column leaves nothing.
 */
void plx_bench_interrupts_read(const char *text, int cpu, struct plx_bench_interrupts *out);

/*
 * Writes what came between two of them as "LOC +1, virtio0-rx +2", in the order of the file, cut
 * off where `text` ends. Returns the length; 0: nothing came.
 */
size_t plx_bench_interrupts_diff(const struct plx_bench_interrupts *before,
                                 const struct plx_bench_interrupts *after, char *text,
                                 size_t bytes);

#endif
