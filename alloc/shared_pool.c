/* SPDX-License-Identifier: MIT */
#include "alloc/shared_pool.h"

#include "alloc/pool_internal.h"

#include <errno.h>
#include <string.h>

#define NONE PLX_POOL_CLASSES
/* From count_stack: a block on the stack is not free. */
#define NOT_FREE UINT64_MAX

/* --- init and fini ---------------------------------------------------------------------------- */

static uint64_t map_bytes(uint64_t pages)
{
    return plx_round_up(pages, PLX_CACHE_LINE);
}

struct plx_pool_needs plx_shared_pool_measure(const struct plx_pool_quota *quota)
{
    const struct plx_pool_needs nothing = {0};
    struct plx_pool_needs needs = plx__pool_measure_blocks(quota);
    uint64_t pages = needs.block_bytes / PLX_PAGE;

    if (pages == 0)
        return nothing;
    needs.table_bytes = map_bytes(pages) + plx_round_up(pages * sizeof(uint32_t), PLX_CACHE_LINE);
    needs.bytes = needs.block_bytes + needs.table_bytes;
    return needs;
}

/* Before anybody else knows of the pool: relaxed, whatever tells them of it shows all this. */
static uint64_t init_class(struct plx_shared_pool *pool, uint32_t index, uint32_t blocks,
                           uint64_t page)
{
    uint64_t step = plx_pool_class_bytes(index) / PLX_PAGE;
    uint64_t end = page + blocks * step;

    pool->capacity[index] = blocks;
    plx_store_relaxed(&pool->classes[index].top, blocks > 0 ? page + 1 : 0);
    for (; page < end; page++) {
        uint32_t state = page % step == 0 ? PLX__POOL_FREE : PLX__POOL_INTERIOR;
        plx_store_relaxed(&pool->map[page], (uint8_t)(state | index));
        /* The lowest address on top, each block above the next. */
        if (state == PLX__POOL_FREE)
            plx_store_relaxed(&pool->links[page],
                              (uint32_t)(page + step < end ? page + step + 1 : 0));
    }
    return end;
}

int plx_shared_pool_init(struct plx_shared_pool *pool, struct plx_arena *arena,
                         const struct plx_pool_quota *quota, struct plx_diag *diag)
{
    memset(pool, 0, sizeof(*pool));
    memset(pool->class_of, NONE, sizeof(pool->class_of));

    struct plx_pool_needs needs = plx_shared_pool_measure(quota);
    if (needs.bytes == 0)
        return plx__pool_refuse_quota(quota, diag);
    unsigned char *memory = plx__pool_carve(arena, &needs, diag);
    if (memory == NULL)
        return -ENOMEM;

    pool->base = memory;
    pool->pages = needs.block_bytes / PLX_PAGE;
    pool->arena_base = arena->base;
    pool->map = (void *)(memory + needs.block_bytes);
    pool->links = (void *)(memory + needs.block_bytes + map_bytes(pool->pages));

    /*
     * The largest first: what follows a multiple of its size is aligned without a gap. So is the
     * number of each block's first page, in pages.
     */
    uint64_t page = 0;
    for (uint32_t c = PLX_POOL_CLASSES; c-- > 0;)
        page = init_class(pool, c, quota->blocks[c], page);
    plx__pool_fill_class_of(pool->class_of, quota);
    return 0;
}

uint64_t plx_shared_pool_fini(struct plx_shared_pool *pool)
{
    uint64_t out = 0;

    for (uint32_t c = 0; c < PLX_POOL_CLASSES; c++)
        out += plx_load_relaxed(&pool->classes[c].in_use); /* relaxed: the only thread left */
    memset(pool, 0, sizeof(*pool));
    memset(pool->class_of, NONE, sizeof(pool->class_of));
    return out;
}

/* --- wrong releases --------------------------------------------------------------------------- */

int plx__shared_pool_wrong(const struct plx_shared_pool *pool, const void *block)
{
    return plx_shared_pool_block_of(pool, block, NULL) == block && block != NULL ? -EALREADY
                                                                                 : -EINVAL;
}

void plx__shared_pool_fault(const struct plx_shared_pool *pool, const void *block, int code)
{
    size_t bytes;
    const void *start = plx_shared_pool_block_of(pool, block, &bytes);

    (void)code; /* the address says it all */
    plx__pool_say_fault(pool, block, start, bytes, "no block of this pool");
}

/* --- inspection ------------------------------------------------------------------------------- */

void plx_shared_pool_read_stats(const struct plx_shared_pool *pool,
                                struct plx_shared_pool_stats *out)
{
    /* Relaxed: numbers for people. */
    for (uint32_t i = 0; i < PLX_POOL_CLASSES; i++) {
        const struct plx__shared_class *c = &pool->classes[i];
        out->classes[i] = (struct plx_shared_pool_class_stats){
            .block_bytes = (uint32_t)plx_pool_class_bytes(i),
            .capacity = pool->capacity[i],
            .in_use = plx_load_relaxed(&c->in_use),
            .peak = plx_load_relaxed(&c->peak),
            .acquires = plx_load_relaxed(&c->acquires),
            .misses = plx_load_relaxed(&c->misses),
        };
    }
    out->unfit = plx_load_relaxed(&pool->classes[NONE].misses);
}

/* The blocks on a stack, or more than `most` if it has no end, or NOT_FREE. */
static uint64_t count_stack(const struct plx_shared_pool *pool, uint32_t index, uint64_t most)
{
    uint64_t count = 0;
    uint64_t number = plx_load_relaxed(&pool->classes[index].top) & PLX__SHARED_PAGE;

    for (; number != 0 && count <= most; count++) {
        if (number > pool->pages ||
            plx_load_relaxed(&pool->map[number - 1]) != (PLX__POOL_FREE | index))
            return NOT_FREE;
        number = plx_load_relaxed(&pool->links[number - 1]);
    }
    return count;
}

const char *plx__shared_pool_check(const struct plx_shared_pool *pool)
{
    uint64_t held[PLX_POOL_CLASSES] = {0};
    uint64_t count[PLX_POOL_CLASSES] = {0};

    for (uint64_t page = 0; page < pool->pages;) {
        uint32_t state = plx_load_relaxed(&pool->map[page]);
        uint32_t index = state & PLX__POOL_CLASS;
        state &= PLX__POOL_STATE;
        if (index >= PLX_POOL_CLASSES || (state != PLX__POOL_FREE && state != PLX__POOL_HELD))
            return "a page that starts a block does not say so";
        count[index]++;
        held[index] += state == PLX__POOL_HELD;
        uint64_t end = page + plx_pool_class_bytes(index) / PLX_PAGE;
        while (++page < end) {
            if (page >= pool->pages ||
                plx_load_relaxed(&pool->map[page]) != (PLX__POOL_INTERIOR | index))
                return "a page inside a block does not say so";
        }
    }
    for (uint32_t i = 0; i < PLX_POOL_CLASSES; i++) {
        uint32_t capacity = pool->capacity[i];
        if (count[i] != capacity || held[i] != plx_load_relaxed(&pool->classes[i].in_use))
            return "the count of blocks is wrong";
        /* A stack of free blocks only, none twice since it has an end: these are all. */
        if (count_stack(pool, i, capacity) != capacity - held[i])
            return "a stack is broken";
    }
    return NULL;
}
