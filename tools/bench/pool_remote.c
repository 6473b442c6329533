/* SPDX-License-Identifier: MIT */
/*
 * Blocks taken on one core and given back on the other: one way, as many as go through a ring of
 * cells in which all subjects hand them over. `raw` hands over blocks that are always the same,
 * which nobody takes or gives: what the handing over costs.
 *
 * A heap's block is freed by the peer thread, a shared pool's is released there. A pool's block is
 * released there to the peer thread's own pool, which sends it home through a second ring; the
 * bench thread takes in what came once in each block of operations, as a reactor does once in each
 * turn.
 */
#include <errno.h>

#include "tools/bench/pool.h"

/* Operations in a sample. */
#define BLOCK 64u
#define BYTES 4096u
/* Looks between two looks at the clock. */
#define LOOKS 4096u
/* Of the subject `raw`: more than can be on their way. */
#define RAW_BLOCKS 1024u

/* Each thread writes its own part. */
struct hands {
    struct plx_cells *there; /* near the peer thread, which consumes */
    struct plx_bench_pools *pools;
    struct plx_bench_heap heap;
    unsigned char *raw;
    uint64_t sent PLX_ALIGNED(2 * PLX_CACHE_LINE);
    uint64_t taken PLX_ALIGNED(2 * PLX_CACHE_LINE);
};

typedef void *(*take_fn)(struct hands *hands, struct plx_bench_slice *slice);
typedef void (*give_fn)(struct hands *hands, void *block);
typedef void (*turn_fn)(struct hands *hands);

/* --- how each subject takes and gives -------------------------------------------------------- */

/* On the bench thread: takes in what came home. */
static inline void pool_turn(struct hands *hands)
{
    void *const *cell;
    while ((cell = plx_cells_peek(hands->pools->back)) != NULL) {
        plx_pool_release_home(&hands->pools->own, *cell);
        plx_cells_consume(hands->pools->back);
    }
}

static inline void *pool_take(struct hands *hands, struct plx_bench_slice *slice)
{
    void *block;
    for (uint32_t looks = 0; (block = plx_pool_acquire(&hands->pools->own, BYTES)) == NULL;) {
        plx_cpu_relax();
        pool_turn(hands);
        if (++looks % LOOKS == 0 && plx_bench_in_vain(slice))
            return NULL;
    }
    return block;
}

static inline void pool_give(struct hands *hands, void *block)
{
    plx_pool_release(&hands->pools->away, block);
}

/* On the peer thread, which has its own turns. */
static inline void pool_peer_turn(struct hands *hands)
{
    (void)plx_pool_flush(&hands->pools->away);
}

static inline void *shared_take(struct hands *hands, struct plx_bench_slice *slice)
{
    (void)slice;
    return plx_shared_pool_acquire(&hands->pools->shared, BYTES);
}

static inline void shared_give(struct hands *hands, void *block)
{
    plx_shared_pool_release(&hands->pools->shared, block);
}

static inline void *heap_take(struct hands *hands, struct plx_bench_slice *slice)
{
    (void)slice;
    return hands->heap.take(BYTES);
}

static inline void heap_give(struct hands *hands, void *block)
{
    hands->heap.give(block);
}

static inline void *raw_take(struct hands *hands, struct plx_bench_slice *slice)
{
    (void)slice;
    return hands->raw + hands->sent % RAW_BLOCKS * BYTES;
}

static inline void raw_give(struct hands *hands, void *block)
{
    (void)hands;
    (void)block;
}

static inline void no_turn(struct hands *hands)
{
    (void)hands;
}

/* --- there ----------------------------------------------------------------------------------- */

static inline __attribute__((always_inline)) int
hand_over(struct plx_bench_slice *slice, struct hands *hands, take_fn take, struct plx_diag *diag)
{
    uint64_t *block = take(hands, slice);
    if (block == NULL)
        return plx_diag_set(diag, -ENOMEM, "block", "none is left, and none comes back");
    *block = hands->sent++;
    void **cell;
    for (uint32_t looks = 0; (cell = plx_cells_reserve(hands->there)) == NULL;) {
        plx_cpu_relax();
        if (++looks % LOOKS == 0 && plx_bench_in_vain(slice))
            return plx_diag_set(diag, -ETIMEDOUT, "cells", "it stays full");
    }
    *cell = block;
    plx_cells_commit(hands->there);
    return 0;
}

static inline __attribute__((always_inline)) int run(struct plx_bench_slice *slice,
                                                     struct hands *hands, take_fn take,
                                                     turn_fn turn, struct plx_diag *diag)
{
    uint64_t before = plx_ticks();
    while (before < slice->end_ticks) {
        for (uint32_t i = 0; i < BLOCK; i++) {
            int rc = hand_over(slice, hands, take, diag);
            if (rc != 0)
                return rc;
        }
        turn(hands);
        uint64_t now = plx_ticks();
        plx_bench_sample(slice, now - before);
        before = now;
    }
    return 0;
}

static inline __attribute__((always_inline)) int peer(struct plx_bench_slice *slice,
                                                      struct hands *hands, give_fn give,
                                                      turn_fn turn, struct plx_diag *diag)
{
    uint64_t wrong = 0;
    for (;;) {
        bool last = plx_bench_stopped(slice);
        uint64_t before = hands->taken;
        void *const *cell;
        while ((cell = plx_cells_peek(hands->there)) != NULL) {
            uint64_t *block = *cell;
            wrong |= *block ^ hands->taken++;
            plx_cells_consume(hands->there);
            give(hands, block);
        }
        turn(hands);
        if (wrong != 0)
            return plx_diag_set(diag, -EPROTO, "block", "one came that was not sent so");
        if (last)
            return 0;
        if (hands->taken == before)
            plx_cpu_relax();
    }
}

static int pool_run(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    return run(slice, ctx, pool_take, pool_turn, diag);
}

static int pool_peer(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    return peer(slice, ctx, pool_give, pool_peer_turn, diag);
}

static int shared_run(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    return run(slice, ctx, shared_take, no_turn, diag);
}

static int shared_peer(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    return peer(slice, ctx, shared_give, no_turn, diag);
}

static int heap_run(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    return run(slice, ctx, heap_take, no_turn, diag);
}

static int heap_peer(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    return peer(slice, ctx, heap_give, no_turn, diag);
}

static int raw_run(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    return run(slice, ctx, raw_take, no_turn, diag);
}

static int raw_peer(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    return peer(slice, ctx, raw_give, no_turn, diag);
}

/* --- the case -------------------------------------------------------------------------------- */

static int flush_away(void *ctx)
{
    struct plx_bench_pools *pools = ctx;
    (void)plx_pool_flush(&pools->away);
    return 0;
}

/* Everything home after the last slice: a flush sends no more than the ring holds. */
static void bring_home(struct plx_bench *bench, struct hands *hands)
{
    struct plx_pool_stats stats;
    do {
        plx_bench_on_peer(bench, flush_away, hands->pools);
        pool_turn(hands);
        plx_pool_read_stats(&hands->pools->away, &stats);
    } while (stats.away_waiting != 0);
}

/* A subject without its functions; its context is zeroed. */
static struct plx_bench_subject make_subject(struct plx_bench *bench, const char *name)
{
    struct plx_bench_subject subject = {.name = name, .mem_node = -1};
    if (!plx_bench_has_two(bench))
        return subject;
    subject.missing = "no memory";
    struct hands *hands = plx_bench_memory(bench, sizeof(*hands), plx_bench_cpu_a(bench), NULL);
    void *ring = plx_bench_memory(bench, plx_cells_bytes(PLX_BENCH_HANDS), plx_bench_cpu_b(bench),
                                  &subject.mem_node);
    subject.ctx = hands;
    if (hands != NULL && ring != NULL && plx_cells_init(ring, PLX_BENCH_HANDS, &hands->there) == 0)
        subject.missing = NULL;
    return subject;
}

static bool is_made(const struct plx_bench_subject *subject)
{
    return subject->ctx != NULL && subject->missing == NULL;
}

static struct plx_bench_subject pool_subject(struct plx_bench *bench, struct plx_bench_pools *pools,
                                             bool shared)
{
    struct plx_bench_subject subject = make_subject(bench, shared ? "pollux/shared" : "pollux");
    subject.run = shared ? shared_run : pool_run;
    subject.peer = shared ? shared_peer : pool_peer;
    if (pools == NULL)
        subject.missing = "no memory";
    else if (is_made(&subject))
        ((struct hands *)subject.ctx)->pools = pools;
    return subject;
}

static struct plx_bench_subject heap_subject(struct plx_bench *bench,
                                             const struct plx_bench_heap *heap)
{
    struct plx_bench_subject subject = make_subject(bench, heap->name);
    subject.run = heap_run;
    subject.peer = heap_peer;
    subject.mem_node = -1; /* of its blocks, nobody says */
    if (is_made(&subject))
        ((struct hands *)subject.ctx)->heap = *heap;
    return subject;
}

static struct plx_bench_subject raw_subject(struct plx_bench *bench)
{
    struct plx_bench_subject subject = make_subject(bench, "raw");
    subject.run = raw_run;
    subject.peer = raw_peer;
    if (!is_made(&subject))
        return subject;
    struct hands *hands = subject.ctx;
    hands->raw = plx_bench_memory(bench, (size_t)RAW_BLOCKS * BYTES, plx_bench_cpu_a(bench), NULL);
    if (hands->raw == NULL)
        subject.missing = "no memory";
    return subject;
}

const struct plx_bench_case plx_bench_pool_remote_case = {
    .bench = "pool",
    .name = "remote_4K",
    .what = "4 KiB taken, written to, handed to the other core and given back there",
    .block = BLOCK,
    .two_cores = true,
};

int plx_bench_pool_remote(struct plx_bench *bench, struct plx_bench_pools *pools,
                          const struct plx_bench_heap *heaps, uint32_t heap_count)
{
    const struct plx_bench_case *what = &plx_bench_pool_remote_case;
    struct plx_bench_subject subjects[3 + PLX_BENCH_HEAPS_MAX];
    uint32_t count = 0;
    if (!plx_bench_is_wanted(bench, what->bench, what->name))
        return plx_bench_measure(bench, what, NULL, 0);
    subjects[count++] = pool_subject(bench, pools, false);
    subjects[count++] = pool_subject(bench, pools, true);
    for (uint32_t i = 0; i < heap_count; i++)
        subjects[count++] = heap_subject(bench, &heaps[i]);
    subjects[count++] = raw_subject(bench);
    int rc = plx_bench_measure(bench, what, subjects, count);
    if (is_made(&subjects[0]))
        bring_home(bench, subjects[0].ctx);
    return rc;
}
