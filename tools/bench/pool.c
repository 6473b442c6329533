/* SPDX-License-Identifier: MIT */
/*
 * Buffers taken and given back: pools, beside the heap's allocators.
 *
 * Every subject writes a word into each block it takes. Where blocks are held or change hands, the
 * word is compared when they are given back: what was handed to two owners shows. Sizes are known
 * at run time only. The pool's functions are inline, as in an application; an allocator's are
 * called by a pointer, as through a library's table.
 */
#include "tools/bench/pool.h"

#include <errno.h>
#include <stdlib.h>

#include "tools/bench/frame.h"

/* Operations in a sample: blocks taken and given back. */
#define BLOCK 256u
#define HELD  64u

/* Blocks of the pools. */
#define BLOCKS_4K  2048u
#define BLOCKS_64K 128u
#define CLASS_4K   0u
#define CLASS_64K  4u

struct local {
    struct plx_bench_pools *pools; /* of a pool; or else */
    struct plx_bench_heap heap;
    size_t bytes;
    const uint8_t *order; /* in which held blocks are given back */
};

typedef void *(*take_fn)(struct local *local, size_t bytes);
typedef void (*give_fn)(struct local *local, void *block);

/* --- how each subject takes and gives -------------------------------------------------------- */

static inline void *pool_take(struct local *local, size_t bytes)
{
    return plx_pool_acquire(&local->pools->own, bytes);
}

static inline void pool_give(struct local *local, void *block)
{
    plx_pool_release(&local->pools->own, block);
}

static inline void *shared_take(struct local *local, size_t bytes)
{
    return plx_shared_pool_acquire(&local->pools->shared, bytes);
}

static inline void shared_give(struct local *local, void *block)
{
    plx_shared_pool_release(&local->pools->shared, block);
}

static inline void *heap_take(struct local *local, size_t bytes)
{
    return local->heap.take(bytes);
}

static inline void heap_give(struct local *local, void *block)
{
    local->heap.give(block);
}

/* --- one at a time, and many held ------------------------------------------------------------ */

static inline __attribute__((always_inline)) int one_loop(struct plx_bench_slice *slice,
                                                          struct local *local, take_fn take,
                                                          give_fn give, struct plx_diag *diag)
{
    uint64_t before = plx_ticks();
    while (before < slice->end_ticks) {
        size_t bytes = local->bytes;
        for (uint32_t i = 0; i < BLOCK; i++) {
            volatile uint64_t *block = take(local, bytes);
            if (block == NULL)
                return plx_diag_set(diag, -ENOMEM, "block", "none is left");
            *block = i;
            give(local, (void *)(uintptr_t)block);
        }
        uint64_t now = plx_ticks();
        plx_bench_sample(slice, now - before);
        before = now;
    }
    return 0;
}

static inline __attribute__((always_inline)) int held_loop(struct plx_bench_slice *slice,
                                                           struct local *local, take_fn take,
                                                           give_fn give, struct plx_diag *diag)
{
    uint64_t *held[HELD];
    uint64_t before = plx_ticks();
    while (before < slice->end_ticks) {
        uint64_t wrong = 0;
        for (uint32_t i = 0; i < BLOCK / HELD; i++) {
            for (uint32_t j = 0; j < HELD; j++) {
                held[j] = take(local, local->bytes);
                if (held[j] == NULL)
                    return plx_diag_set(diag, -ENOMEM, "block", "none is left");
                *held[j] = j;
            }
            for (uint32_t j = 0; j < HELD; j++) {
                uint32_t which = local->order[j];
                wrong |= *held[which] ^ which;
                give(local, held[which]);
            }
        }
        uint64_t now = plx_ticks();
        plx_bench_sample(slice, now - before);
        before = now;
        if (wrong != 0)
            return plx_diag_set(diag, -EPROTO, "block", "one was handed to two owners");
    }
    return 0;
}

static int pool_one_run(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    return one_loop(slice, ctx, pool_take, pool_give, diag);
}

static int pool_held_run(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    return held_loop(slice, ctx, pool_take, pool_give, diag);
}

static int shared_one_run(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    return one_loop(slice, ctx, shared_take, shared_give, diag);
}

static int shared_held_run(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    return held_loop(slice, ctx, shared_take, shared_give, diag);
}

static int heap_one_run(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    return one_loop(slice, ctx, heap_take, heap_give, diag);
}

static int heap_held_run(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    return held_loop(slice, ctx, heap_take, heap_give, diag);
}

/* --- pools ----------------------------------------------------------------------------------- */

static int remote_home_of(void *ctx, const void *block)
{
    const struct plx_bench_pools *pools = ctx;
    return plx_pool_has(&pools->own, block) ? 0 : -EINVAL;
}

static int remote_send(void *ctx, uint32_t home, void *block)
{
    (void)home;
    struct plx_bench_pools *pools = ctx;
    void **cell = plx_cells_reserve(pools->back);
    if (cell == NULL)
        return -EAGAIN;
    *cell = block;
    plx_cells_commit(pools->back);
    return 0;
}

/* The pool of the bench thread, a shared one as large, and one of the peer thread that sends blocks
 * home. */
static int make_pools(struct plx_bench_pools *pools, struct plx_arena *arena, struct plx_diag *diag)
{
    struct plx_pool_quota quota = {{0}};
    struct plx_pool_opts opts;
    plx_pool_opts_init(&opts);
    quota.blocks[CLASS_4K] = BLOCKS_4K;
    quota.blocks[CLASS_64K] = BLOCKS_64K;
    int rc = plx_pool_init(&pools->own, arena, &quota, &opts, diag);
    if (rc == 0)
        rc = plx_shared_pool_init(&pools->shared, arena, &quota, diag);
    if (rc != 0)
        return rc;
    quota.blocks[CLASS_4K] = 1;
    quota.blocks[CLASS_64K] = 0;
    opts.homes = 1;
    rc = plx_pool_init(&pools->away, arena, &quota, &opts, diag);
    if (rc != 0)
        return rc;
    const struct plx_pool_remote remote = {remote_home_of, remote_send, pools};
    plx_pool_set_remote(&pools->away, &remote);
    void *memory = plx_arena_carve(arena, plx_cells_bytes(PLX_BENCH_HANDS), PLX_CACHE_LINE);
    if (memory == NULL)
        return plx_diag_set(diag, -ENOMEM, "arena", "no room for the ring back home");
    return plx_cells_init(memory, PLX_BENCH_HANDS, &pools->back);
}

static struct plx_bench_pools *new_pools(struct plx_bench *bench)
{
    struct plx_diag diag = {0};
    const size_t bytes = (BLOCKS_4K * 4096u + BLOCKS_64K * 65536u) * 3;
    int mem_node;
    struct plx_arena *arena = plx_bench_arena(bench, bytes, plx_bench_cpu_a(bench), &mem_node);
    if (arena == NULL)
        return NULL;
    struct plx_bench_pools *pools =
        plx_arena_carve(arena, sizeof(*pools), _Alignof(struct plx_bench_pools));
    if (pools == NULL)
        return NULL;
    pools->mem_node = mem_node;
    if (make_pools(pools, arena, &diag) == 0)
        return pools;
    plx_bench_failed(bench, "pool", &diag);
    return NULL;
}

/* That nothing was lost: all is back home, or the measurement failed. */
static void end_pools(struct plx_bench *bench, struct plx_bench_pools *pools)
{
    struct plx_diag diag;
    uint64_t lost = plx_pool_fini(&pools->away) + plx_pool_fini(&pools->own) +
                    plx_shared_pool_fini(&pools->shared);
    if (lost == 0)
        return;
    plx_diag_set(&diag, -EPROTO, "blocks", "%llu of them did not come home",
                 (unsigned long long)lost);
    plx_bench_failed(bench, "pool", &diag);
}

/* --- the benchmark --------------------------------------------------------------------------- */

/* All subjects of a case that uses one thread. */
struct set {
    struct plx_bench_pools *pools;
    struct plx_bench_heap heaps[PLX_BENCH_HEAPS_MAX];
    uint32_t heap_count;
    uint8_t order[HELD];
};

static int measure_local(struct plx_bench *bench, const struct set *set,
                         const struct plx_bench_case *what, size_t bytes, bool held)
{
    struct local locals[2 + PLX_BENCH_HEAPS_MAX];
    struct plx_bench_subject subjects[2 + PLX_BENCH_HEAPS_MAX];
    uint32_t count = 0;
    struct local local = {.pools = set->pools, .bytes = bytes, .order = set->order};
    for (uint32_t i = 0; i < 2; i++) {
        static const plx_bench_fn runs[2][2] = {{pool_one_run, pool_held_run},
                                                {shared_one_run, shared_held_run}};
        locals[count] = local;
        subjects[count++] = (struct plx_bench_subject){
            .name = i == 0 ? "pollux" : "pollux/shared",
            .run = runs[i][held],
            .missing = set->pools == NULL ? "no memory" : NULL,
            .mem_node = set->pools != NULL ? set->pools->mem_node : -1,
        };
    }
    for (uint32_t i = 0; i < set->heap_count; i++) {
        local.heap = set->heaps[i];
        locals[count] = local;
        subjects[count++] = (struct plx_bench_subject){
            .name = set->heaps[i].name,
            .run = held ? heap_held_run : heap_one_run,
            .mem_node = -1,
        };
    }
    for (uint32_t i = 0; i < count; i++)
        subjects[i].ctx = &locals[i];
    return plx_bench_measure(bench, what, subjects, count);
}

#define LOCAL(called, told)                                                                        \
    {                                                                                              \
        .bench = "pool", .name = (called), .what = (told), .block = BLOCK,                         \
        .slice_us = PLX_BENCH_POOL_SLICE_US,                                                       \
    }

static const struct plx_bench_case cases[] = {
    LOCAL("one_4K", "4 KiB taken, written to, given back"),
    LOCAL("one_64K", "64 KiB taken, written to, given back"),
    LOCAL("held64_4K", "the same of 4 KiB, 64 of them taken, then given back in another order"),
    LOCAL("held64_64K", "the same of 64 KiB, 64 of them taken, then given back in another order"),
};
#define CASE_COUNT (sizeof(cases) / sizeof(cases[0]))

static int measure_all_local(struct plx_bench *bench, const struct set *set)
{
    int rc = 0;
    for (size_t i = 0; i < CASE_COUNT && rc == 0; i++)
        rc = measure_local(bench, set, &cases[i], i % 2 == 0 ? 4096 : 65536, i >= 2);
    return rc;
}

bool plx_bench_pool_has(const struct plx_cli_texts *only)
{
    bool has = only->count == 0;
    for (uint32_t i = 0; i < only->count && !has; i++) {
        const char *pattern = only->texts[i];
        const struct plx_bench_case *remote = &plx_bench_pool_remote_case;
        has = plx_bench_matches(pattern, remote->bench, remote->name);
        for (size_t j = 0; j < CASE_COUNT && !has; j++)
            has = plx_bench_matches(pattern, cases[j].bench, cases[j].name);
    }
    return has;
}

/* The same order for all subjects, drawn by the seed. */
static void draw_order(const struct plx_bench *bench, uint8_t *order)
{
    uint64_t random = plx_bench_seed(bench);
    for (uint32_t i = 0; i < HELD; i++)
        order[i] = (uint8_t)i;
    for (uint32_t i = HELD; i > 1; i--) {
        uint32_t j = (uint32_t)(plx_bench_random(&random) % i);
        uint8_t other = order[j];
        order[j] = order[i - 1];
        order[i - 1] = other;
    }
}

int plx_bench_pool(struct plx_bench *bench)
{
    struct set set = {.pools = NULL};
    if (plx_bench_is_one_wanted(bench, cases, CASE_COUNT) ||
        plx_bench_is_one_wanted(bench, &plx_bench_pool_remote_case, 1)) {
        set.pools = new_pools(bench);
        set.heap_count = plx_bench_heaps(bench, set.heaps);
    }
    draw_order(bench, set.order);
    int rc = measure_all_local(bench, &set);
    if (rc == 0)
        rc = plx_bench_pool_remote(bench, set.pools, set.heaps, set.heap_count);
    if (set.pools != NULL)
        end_pools(bench, set.pools);
    return rc;
}
