/* SPDX-License-Identifier: MIT */
/* How far cores are from each other: the round trip of one cache line, for each pair. */
#include <errno.h>
#include <stdlib.h>

#include "tools/bench/frame.h"

/* Pairs measured together, in interleaved slices: each takes memory and two histograms. */
#define BATCH_PAIRS 16u
/* With more cores than this a quick run takes one pair of each kind. */
#define QUICK_CORES 16u
/* Of all rounds of all pairs together. */
#define QUICK_TOTAL_US 3000000u
#define FULL_TOTAL_US  30000000u
#define SLICE_US_MIN   1000u
#define SLICE_US_MAX   10000u
#define ROUNDS         8u

struct pair {
    const struct plx_plan_reactor *a;
    const struct plx_plan_reactor *b;
};

/* What a pair shares: 0 an L3 cache, 1 a node, 2 neither. */
static int kind_of(const struct plx_bench *bench, const struct pair *pair)
{
    const struct plx_machine_cpu *a = plx_machine_cpu(bench->machine, pair->a->cpu);
    const struct plx_machine_cpu *b = plx_machine_cpu(bench->machine, pair->b->cpu);
    if (a->node != b->node)
        return 2;
    return a->cluster != b->cluster;
}

/* Whether an earlier pair is of the same kind, between the same nodes. */
static bool is_known(const struct plx_bench *bench, const struct pair *pairs, uint32_t count,
                     const struct pair *pair)
{
    for (uint32_t i = 0; i < count; i++) {
        if (pairs[i].a->node == pair->a->node && pairs[i].b->node == pair->b->node &&
            kind_of(bench, &pairs[i]) == kind_of(bench, pair))
            return true;
    }
    return false;
}

static uint32_t find_pairs(const struct plx_bench *bench, struct pair *pairs)
{
    const struct plx_plan *plan = bench->plan;
    bool sampled = bench->quick && plan->reactor_count > QUICK_CORES;
    uint32_t count = 0;
    for (uint32_t i = 0; i < plan->reactor_count; i++) {
        for (uint32_t j = i + 1; j < plan->reactor_count; j++) {
            struct pair pair = {&plan->reactors[i], &plan->reactors[j]};
            if (!sampled || !is_known(bench, pairs, count, &pair))
                pairs[count++] = pair;
        }
    }
    return count;
}

static int measure_batch(struct plx_bench *bench, struct plx_bench_case *what,
                         const struct pair *pairs, uint32_t count)
{
    struct plx_bench_subject subjects[BATCH_PAIRS];
    for (uint32_t i = 0; i < count; i++) {
        subjects[i] = (struct plx_bench_subject){
            .name = "raw",
            .run = plx_bench_line_run,
            .peer = plx_bench_line_peer,
            .cpu_a = (int)pairs[i].a->cpu,
            .cpu_b = (int)pairs[i].b->cpu,
        };
        /* On the first one's node, and said so: which node holds a line changes its figure. */
        subjects[i].ctx = plx_bench_memory(bench, sizeof(struct plx_bench_line), subjects[i].cpu_a,
                                           &subjects[i].mem_node);
        if (subjects[i].ctx == NULL)
            subjects[i].missing = "no memory";
    }
    int rc = plx_bench_measure(bench, what, subjects, count);
    plx_bench_memory_fini(bench);
    return rc;
}

static int one_core_row(struct plx_bench *bench, const struct plx_bench_case *what)
{
    const struct plx_bench_subject subject = {.name = "raw", .mem_node = -1};
    return plx_bench_measure(bench, what, &subject, 1);
}

int plx_bench_c2c(struct plx_bench *bench)
{
    struct plx_bench_case what = {
        .bench = "c2c",
        .name = "rtt_line",
        .what = "a cache line to the other core and back",
        .block = PLX_BENCH_TRIPS,
        .two_cores = true,
        .rounds = ROUNDS,
    };
    if (!plx_bench_has_two(bench))
        return one_core_row(bench, &what);
    uint32_t cores = bench->plan->reactor_count;
    struct pair *pairs = calloc((size_t)cores * cores / 2, sizeof(*pairs));
    if (pairs == NULL)
        return -ENOMEM;
    uint32_t count = find_pairs(bench, pairs);
    uint32_t total_us = bench->quick ? QUICK_TOTAL_US : FULL_TOTAL_US;
    what.slice_us = total_us / ROUNDS / count;
    if (what.slice_us < SLICE_US_MIN)
        what.slice_us = SLICE_US_MIN;
    if (what.slice_us > SLICE_US_MAX)
        what.slice_us = SLICE_US_MAX;
    int rc = 0;
    for (uint32_t i = 0; i < count && rc == 0; i += BATCH_PAIRS) {
        uint32_t some = count - i < BATCH_PAIRS ? count - i : BATCH_PAIRS;
        rc = measure_batch(bench, &what, pairs + i, some);
    }
    free(pairs);
    return rc;
}
