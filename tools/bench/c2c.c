/* SPDX-License-Identifier: MIT */
/*
 * How far cores are from each other, for each pair: a cache line that both write in turn, by plain
 * stores and by compare-and-swap, and a queue of cells, there and back and one way.
 *
 * The memory of a pair is made for it anew, so that no pair profits from, or suffers under, where
 * the pages of another came to lie in a cache. It lies on the node of the first core and, as a row
 * of its own, on that of the second where that is another.
 */
#include <errno.h>
#include <stdlib.h>

#include "tools/bench/frame.h"
#include "tools/bench/queues.h"

/* Pairs measured together, in interleaved slices: each takes memory and histograms, perhaps twice.
 */
#define BATCH_PAIRS 16u
/* With more cores than this a quick run takes one pair of each kind. */
#define QUICK_CORES 16u
/* Of all rounds of all pairs together, of one case. */
#define QUICK_TOTAL_US 750000u
#define FULL_TOTAL_US  7500000u
#define SLICE_US_MIN   1000u
#define SLICE_US_MAX   10000u
#define ROUNDS         8u
/* Looks between two looks at the clock. */
#define LOOKS 4096u
#define SLOTS 1024u

/* --- compare-and-swap ------------------------------------------------------------------------ */

static bool swap(struct plx_bench_line *line, uint64_t from, uint64_t to)
{
    /* Acquire, as of a lock that is taken; nothing else is handed over with the word. */
    return plx_cas_acquire(&line->word, &from, to);
}

static int cas_run(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    struct plx_bench_line *line = ctx;
    /* Relaxed: the peer has come to rest, and what it was asked for is done. */
    uint64_t value = plx_load_relaxed(&line->word);
    uint64_t before = plx_ticks();
    while (before < slice->end_ticks) {
        for (uint32_t i = 0; i < PLX_BENCH_TRIPS; i++, value += 2) {
            for (uint32_t looks = 0; !swap(line, value, value + 1);) {
                plx_cpu_relax();
                if (++looks % LOOKS == 0 && plx_bench_in_vain(slice))
                    return plx_diag_set(diag, -ETIMEDOUT, "line", "the other core is silent");
            }
        }
        uint64_t now = plx_ticks();
        plx_bench_sample(slice, now - before);
        before = now;
    }
    /* The last one is still to be answered, before the next slice counts on it. */
    for (uint32_t looks = 0; plx_load_acquire(&line->word) != value;) {
        plx_cpu_relax();
        if (++looks % LOOKS == 0 && plx_bench_in_vain(slice))
            return plx_diag_set(diag, -ETIMEDOUT, "line", "the other core is silent");
    }
    return 0;
}

static int cas_peer(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    (void)diag;
    struct plx_bench_line *line = ctx;
    /* Relaxed: nothing is read on the strength of it; the swap orders. */
    uint64_t value = plx_load_relaxed(&line->word) | 1;
    for (;;) {
        if (swap(line, value, value + 1))
            value += 2;
        else if (plx_bench_stopped(slice))
            return 0;
        else
            plx_cpu_relax();
    }
}

/* --- cases ----------------------------------------------------------------------------------- */

static struct plx_bench_subject make_line(struct plx_arena *arena)
{
    struct plx_bench_subject subject = {
        .name = "raw", .run = plx_bench_line_run, .peer = plx_bench_line_peer};
    subject.ctx = plx_arena_carve(arena, sizeof(struct plx_bench_line), 2 * PLX_CACHE_LINE);
    subject.missing = subject.ctx == NULL ? "no memory" : NULL;
    return subject;
}

static struct plx_bench_subject make_cas(struct plx_arena *arena)
{
    struct plx_bench_subject subject = make_line(arena);
    subject.run = cas_run;
    subject.peer = cas_peer;
    return subject;
}

static struct plx_bench_subject make_rtt(struct plx_arena *arena)
{
    return plx_bench_cells_rtt_in(arena, SLOTS);
}

static struct plx_bench_subject make_items(struct plx_arena *arena)
{
    return plx_bench_cells_items_in(arena, SLOTS);
}

static const struct kind {
    struct plx_bench_case what;
    const char *subject;
    struct plx_bench_subject (*make)(struct plx_arena *arena);
} kinds[] = {
    {{.name = "rtt_line",
      .what = "a cache line to the other core and back",
      .block = PLX_BENCH_TRIPS},
     "raw",
     make_line},
    {{.name = "rtt_cas", .what = "the same by compare-and-swap of each", .block = PLX_BENCH_TRIPS},
     "raw",
     make_cas},
    {{.name = "rtt_cells",
      .what = "8 bytes to the other core and back, by two queues of cells",
      .block = PLX_BENCH_TRIPS},
     "pollux/cells",
     make_rtt},
    {{.name = "items_cells",
      .what = "48 bytes to the other core, one way, one by one through a queue of cells",
      .block = PLX_BENCH_ITEMS},
     "pollux/cells",
     make_items},
};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

/* --- pairs ----------------------------------------------------------------------------------- */

static const char *relation_of(const struct plx_bench *bench, const struct plx_bench_cores *pair)
{
    const struct plx_machine_cpu *a = plx_machine_cpu(bench->machine, (uint32_t)pair->a);
    const struct plx_machine_cpu *b = plx_machine_cpu(bench->machine, (uint32_t)pair->b);
    if (a->core == b->core)
        return "smt";
    if (a->node != b->node)
        return "cross";
    return a->cluster == b->cluster ? "l3" : "node";
}

static uint32_t node_of(const struct plx_bench *bench, int cpu)
{
    return plx_machine_cpu(bench->machine, (uint32_t)cpu)->node;
}

/* Whether an earlier pair is of the same kind, between the same nodes. */
static bool is_known(const struct plx_bench *bench, const struct plx_bench_cores *pairs,
                     uint32_t count, const struct plx_bench_cores *pair)
{
    for (uint32_t i = 0; i < count; i++) {
        /* Relations are one text each. */
        if (relation_of(bench, &pairs[i]) == relation_of(bench, pair) &&
            node_of(bench, pairs[i].a) == node_of(bench, pair->a) &&
            node_of(bench, pairs[i].b) == node_of(bench, pair->b))
            return true;
    }
    return false;
}

static uint32_t find_pairs(const struct plx_bench *bench, struct plx_bench_cores *pairs)
{
    const struct plx_plan *plan = bench->plan;
    bool sampled = bench->quick && plan->reactor_count > QUICK_CORES;
    uint32_t count = 0;
    for (uint32_t i = 0; i < plan->reactor_count; i++) {
        for (uint32_t j = i + 1; j < plan->reactor_count; j++) {
            struct plx_bench_cores pair = {(int)plan->reactors[i].cpu, (int)plan->reactors[j].cpu};
            if (!sampled || !is_known(bench, pairs, count, &pair))
                pairs[count++] = pair;
        }
    }
    return count;
}

/* --- measuring ------------------------------------------------------------------------------- */

static struct plx_bench_subject make_subject(struct plx_bench *bench, const struct kind *kind,
                                             const struct plx_bench_cores *pair, int node)
{
    struct plx_bench_subject subject = {.name = kind->subject, .missing = "no memory"};
    int mem_node = -1;
    size_t bytes = plx_bench_cells_arena_bytes(SLOTS);
    struct plx_arena *arena = plx_bench_arena_on(bench, bytes, node, &mem_node);
    if (arena != NULL)
        subject = kind->make(arena);
    subject.mem_node = mem_node;
    subject.cpu_a = pair->a;
    subject.cpu_b = pair->b;
    subject.relation = relation_of(bench, pair);
    return subject;
}

static int measure_batch(struct plx_bench *bench, const struct kind *kind,
                         const struct plx_bench_case *what, const struct plx_bench_cores *pairs,
                         uint32_t count)
{
    struct plx_bench_subject subjects[2 * BATCH_PAIRS];
    uint32_t next = 0;
    for (uint32_t i = 0; i < count; i++) {
        int nodes[2] = {plx_bench_node_near(bench->machine, pairs[i].a),
                        plx_bench_node_near(bench->machine, pairs[i].b)};
        subjects[next++] = make_subject(bench, kind, &pairs[i], nodes[0]);
        if (nodes[1] != nodes[0])
            subjects[next++] = make_subject(bench, kind, &pairs[i], nodes[1]);
    }
    int rc = plx_bench_measure(bench, what, subjects, next);
    plx_bench_memory_fini(bench);
    return rc;
}

/* The case for so many pairs; 0: only to be named. */
static struct plx_bench_case case_of(const struct plx_bench *bench, const struct kind *kind,
                                     uint32_t count)
{
    struct plx_bench_case what = kind->what;
    what.bench = "c2c";
    what.two_cores = true;
    what.rounds = ROUNDS;
    if (count == 0)
        return what;
    what.slice_us = (bench->quick ? QUICK_TOTAL_US : FULL_TOTAL_US) / ROUNDS / count;
    if (what.slice_us < SLICE_US_MIN)
        what.slice_us = SLICE_US_MIN;
    if (what.slice_us > SLICE_US_MAX)
        what.slice_us = SLICE_US_MAX;
    what.parts = (count + BATCH_PAIRS - 1) / BATCH_PAIRS;
    return what;
}

/* Pairs grow with the square of the cores. */
static void foretell(struct plx_bench *bench, const struct plx_bench_cores *pairs, uint32_t count)
{
    char name[64];
    uint32_t subjects = 0;
    uint64_t ns = 0;
    for (uint32_t i = 0; i < count; i++)
        subjects += plx_bench_node_near(bench->machine, pairs[i].a) !=
                            plx_bench_node_near(bench->machine, pairs[i].b)
                        ? 2
                        : 1;
    for (size_t i = 0; i < KINDS; i++) {
        const struct plx_bench_case what = case_of(bench, &kinds[i], count);
        if (plx_bench_is_wanted(bench, what.bench, what.name))
            ns += plx_bench_estimate_ns(bench, &what, subjects);
    }
    snprintf(name, sizeof(name), "c2c, %u pairs of cores", count);
    plx_bench_foretell(bench, name, ns);
}

static int measure_kind(struct plx_bench *bench, const struct kind *kind,
                        const struct plx_bench_cores *pairs, uint32_t count)
{
    struct plx_bench_case what = case_of(bench, kind, count);
    /* Without pairs, or to be named only: one row, or line, says so. */
    if (count == 0 || bench->listing) {
        const struct plx_bench_subject subject = {.name = kind->subject, .mem_node = -1};
        return plx_bench_measure(bench, &what, &subject, 1);
    }
    if (!plx_bench_is_wanted(bench, what.bench, what.name))
        return 0;
    int rc = 0;
    for (uint32_t i = 0; i < count && rc == 0 && !plx_bench_stopping(); i += BATCH_PAIRS) {
        uint32_t some = count - i < BATCH_PAIRS ? count - i : BATCH_PAIRS;
        rc = measure_batch(bench, kind, &what, pairs + i, some);
        what.part++;
    }
    return rc;
}

int plx_bench_c2c(struct plx_bench *bench)
{
    size_t cores = bench->plan->reactor_count;
    struct plx_bench_cores *found = calloc(cores * cores / 2 + 1, sizeof(*found));
    if (found == NULL)
        return -ENOMEM;
    const struct plx_bench_cores *pairs = found;
    uint32_t count = 0;
    if (plx_bench_has_two(bench) && bench->pair_count != 0) {
        pairs = bench->pairs;
        count = bench->pair_count;
    } else if (plx_bench_has_two(bench)) {
        count = find_pairs(bench, found);
    }
    if (count != 0 && !bench->listing)
        foretell(bench, pairs, count);
    int rc = 0;
    for (size_t i = 0; i < KINDS && rc == 0; i++)
        rc = measure_kind(bench, &kinds[i], pairs, count);
    free(found);
    return rc;
}
