/* SPDX-License-Identifier: MIT */
/*
 * The benchmark of tasks: what is measured of stacks and switches, whoever's they are.
 *
 * Words. A *strand* is a stack with a function on it, that can be entered and comes back. A
 * *lasting* one comes back again and again, a *brief* one once.
 */
#ifndef POLLUX_TOOLS_BENCH_TASK_H
#define POLLUX_TOOLS_BENCH_TASK_H

#include <errno.h>

#include "tools/bench/bench.h"

/* Strands that are begun together, or take turns. */
#define PLX_BENCH_STRANDS 64u
/* Each one's stack. */
#define PLX_BENCH_STRAND_BYTES 65536u
/* Switches of one strand in a sample: half of them there, half back. */
#define PLX_BENCH_SWITCHES 1024u
/* In how many goes all strands are begun, or take their turns, in a sample. */
#define PLX_BENCH_GOES_ROUND 4u

struct plx_bench_strands {
    unsigned char *stacks; /* PLX_BENCH_STRANDS of them */
    uint64_t entries;      /* counted by the strands */
};

/* The three slices of a kind; their context is a struct plx_bench_strands. */
struct plx_bench_strands_ops {
    const char *subject;
    plx_bench_fn switches; /* one lasting strand: a switch */
    plx_bench_fn begins;   /* brief ones, made anew each time: one made, entered and come back */
    plx_bench_fn turns;    /* lasting ones in turn: one entered and come back */
};

extern const struct plx_bench_strands_ops plx_bench_strands_pollux;
extern const struct plx_bench_strands_ops plx_bench_strands_fcontext; /* if ..._BOOST_CONTEXT */
extern const struct plx_bench_strands_ops plx_bench_strands_ucontext;

/* The end of stack `i`. */
static inline unsigned char *plx_bench_strand_top(const struct plx_bench_strands *strands,
                                                  uint32_t i)
{
    return strands->stacks + ((size_t)i + 1) * PLX_BENCH_STRAND_BYTES;
}

/* --- slices, with each kind's functions in line ----------------------------------------------- */

typedef void (*plx_bench_strand_fn)(struct plx_bench_strands *strands, uint32_t i);

static inline int plx_bench_strands_check(const struct plx_bench_strands *strands,
                                          uint64_t expected, struct plx_diag *diag)
{
    if (strands->entries == expected)
        return 0;
    return plx_diag_set(diag, -EPROTO, "strands", "%llu were entered instead of %llu",
                        (unsigned long long)strands->entries, (unsigned long long)expected);
}

static inline __attribute__((always_inline)) int
plx_bench_switch_slice(struct plx_bench_slice *slice, struct plx_bench_strands *strands,
                       plx_bench_strand_fn begin_lasting, plx_bench_strand_fn enter,
                       struct plx_diag *diag)
{
    uint64_t samples = 0;
    strands->entries = 0;
    begin_lasting(strands, 0);
    uint64_t before = plx_ticks();
    while (before < slice->end_ticks) {
        for (uint32_t i = 0; i < PLX_BENCH_SWITCHES / 2; i++)
            enter(strands, 0);
        uint64_t now = plx_ticks();
        plx_bench_sample(slice, now - before);
        before = now;
        samples++;
    }
    return plx_bench_strands_check(strands, samples * PLX_BENCH_SWITCHES / 2, diag);
}

static inline __attribute__((always_inline)) int
plx_bench_begin_slice(struct plx_bench_slice *slice, struct plx_bench_strands *strands,
                      plx_bench_strand_fn begin_brief, plx_bench_strand_fn enter,
                      struct plx_diag *diag)
{
    uint64_t samples = 0;
    strands->entries = 0;
    uint64_t before = plx_ticks();
    while (before < slice->end_ticks) {
        for (uint32_t go = 0; go < PLX_BENCH_GOES_ROUND; go++) {
            for (uint32_t i = 0; i < PLX_BENCH_STRANDS; i++)
                begin_brief(strands, i);
            for (uint32_t i = 0; i < PLX_BENCH_STRANDS; i++)
                enter(strands, i);
        }
        uint64_t now = plx_ticks();
        plx_bench_sample(slice, now - before);
        before = now;
        samples++;
    }
    return plx_bench_strands_check(strands, samples * PLX_BENCH_GOES_ROUND * PLX_BENCH_STRANDS,
                                   diag);
}

static inline __attribute__((always_inline)) int
plx_bench_turn_slice(struct plx_bench_slice *slice, struct plx_bench_strands *strands,
                     plx_bench_strand_fn begin_lasting, plx_bench_strand_fn enter,
                     struct plx_diag *diag)
{
    uint64_t samples = 0;
    strands->entries = 0;
    for (uint32_t i = 0; i < PLX_BENCH_STRANDS; i++)
        begin_lasting(strands, i);
    uint64_t before = plx_ticks();
    while (before < slice->end_ticks) {
        for (uint32_t go = 0; go < PLX_BENCH_GOES_ROUND; go++) {
            for (uint32_t i = 0; i < PLX_BENCH_STRANDS; i++)
                enter(strands, i);
        }
        uint64_t now = plx_ticks();
        plx_bench_sample(slice, now - before);
        before = now;
        samples++;
    }
    return plx_bench_strands_check(strands, samples * PLX_BENCH_GOES_ROUND * PLX_BENCH_STRANDS,
                                   diag);
}

#endif
