/* SPDX-License-Identifier: MIT */
#include "alloc/pool_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define NONE PLX_POOL_CLASSES

enum waiter_state { WAITER_IDLE = 0, WAITER_IN_LINE, WAITER_READY };

/* The blocks that wait to go to one home, the longest waiting first. */
struct plx__pool_away {
    struct away_link *first;
    struct away_link *last;
};

/* The first bytes of a block that waits to go home. */
struct away_link {
    struct away_link *next;
    uint64_t mark; /* away_mark() */
};

/* --- sizes ------------------------------------------------------------------------------------ */

/* Bytes of the parts of the tables, each rounded up to whole lines. */
static uint64_t map_bytes(uint64_t pages)
{
    return plx_round_up(pages, PLX_CACHE_LINE);
}

static uint64_t stack_bytes(uint64_t blocks)
{
    return plx_round_up(blocks * sizeof(uint32_t), PLX_CACHE_LINE);
}

static uint64_t away_bytes(uint64_t homes)
{
    return plx_round_up(homes * sizeof(struct plx__pool_away), PLX_CACHE_LINE);
}

void plx_pool_opts_init(struct plx_pool_opts *opts)
{
    memset(opts, 0, sizeof(*opts));
}

struct plx_pool_needs plx__pool_measure_blocks(const struct plx_pool_quota *quota)
{
    const struct plx_pool_needs nothing = {0};
    struct plx_pool_needs needs = {0};

    for (uint32_t c = 0; c < PLX_POOL_CLASSES; c++) {
        needs.block_bytes += quota->blocks[c] * (uint64_t)plx_pool_class_bytes(c);
        if (quota->blocks[c] > 0)
            needs.align = plx_pool_class_bytes(c);
    }
    return needs.block_bytes < PLX_ARENA_BYTES_MAX ? needs : nothing;
}

struct plx_pool_needs plx_pool_measure(const struct plx_pool_quota *quota,
                                       const struct plx_pool_opts *opts)
{
    const struct plx_pool_needs nothing = {0};
    struct plx_pool_needs needs = plx__pool_measure_blocks(quota);
    uint64_t homes = opts != NULL ? opts->homes : 0;

    if (needs.block_bytes == 0 || homes > PLX_POOL_HOMES_MAX)
        return nothing;
    needs.table_bytes = map_bytes(needs.block_bytes / PLX_PAGE) + away_bytes(homes);
    for (uint32_t c = 0; c < PLX_POOL_CLASSES; c++)
        needs.table_bytes += stack_bytes(quota->blocks[c]);
    needs.bytes = needs.block_bytes + needs.table_bytes;
    return needs;
}

int plx_pool_quota_split(struct plx_pool_quota *quota, uint64_t bytes)
{
    static const unsigned char shares[PLX_POOL_CLASSES] = {12, 2, 6, 2, 6, 1, 1, 1, 1};
    const uint64_t shares_all = 32;

    memset(quota, 0, sizeof(*quota));
    if (bytes > PLX_ARENA_BYTES_MAX)
        return -EINVAL;

    /* A page costs at most its byte and a word on a stack; each table may be rounded up. */
    const uint64_t rounding = (uint64_t)(PLX_POOL_CLASSES + 1) * PLX_CACHE_LINE;
    const uint64_t page_cost = PLX_PAGE + 1 + sizeof(uint32_t);
    uint64_t for_blocks = bytes > rounding ? (bytes - rounding) / page_cost * PLX_PAGE : 0;

    uint64_t left = for_blocks;
    uint64_t carried = 0;
    for (uint32_t c = PLX_POOL_CLASSES; c-- > 1;) {
        uint64_t share = for_blocks / shares_all * shares[c];
        quota->blocks[c] = (uint32_t)((carried + share) / plx_pool_class_bytes(c));
        carried = (carried + share) % plx_pool_class_bytes(c);
        left -= quota->blocks[c] * plx_pool_class_bytes(c);
    }
    quota->blocks[0] = (uint32_t)(left / PLX_PAGE);

    /* Larger blocks need fewer words than were reckoned with. */
    uint64_t used = plx_pool_measure(quota, NULL).bytes;
    if (used < bytes && bytes - used > rounding)
        quota->blocks[0] += (uint32_t)((bytes - used - rounding) / page_cost);
    do
        quota->blocks[0]++;
    while (plx_pool_measure(quota, NULL).bytes <= bytes);
    quota->blocks[0]--;
    return quota->blocks[0] > 0 ? 0 : -EINVAL;
}

/* --- init and fini ---------------------------------------------------------------------------- */

int plx__pool_refuse_quota(const struct plx_pool_quota *quota, struct plx_diag *diag)
{
    uint64_t block_bytes = 0;

    for (uint32_t c = 0; c < PLX_POOL_CLASSES; c++)
        block_bytes += quota->blocks[c] * (uint64_t)plx_pool_class_bytes(c);
    if (block_bytes == 0)
        return plx_diag_set(diag, -EINVAL, "quota", "a pool needs a block of some class");
    return plx_diag_set(diag, -EINVAL, "quota", "%llu bytes of blocks, not less than %llu",
                        (unsigned long long)block_bytes, (unsigned long long)PLX_ARENA_BYTES_MAX);
}

void *plx__pool_carve(struct plx_arena *arena, const struct plx_pool_needs *needs,
                      struct plx_diag *diag)
{
    /* So that addresses aligned to their size are so from the arena's base too. */
    PLX_ASSERT(((uintptr_t)arena->base & (PLX_POOL_BLOCK_MAX - 1)) == 0);
    void *memory = plx_arena_carve(arena, needs->bytes, needs->align);
    if (memory == NULL)
        plx_diag_set(diag, -ENOMEM, "arena",
                     "the pool needs %llu bytes aligned to %llu, the arena has %zu left",
                     (unsigned long long)needs->bytes, (unsigned long long)needs->align,
                     plx_arena_left(arena));
    return memory;
}

void plx__pool_fill_class_of(uint8_t class_of[PLX_POOL_CLASSES + 1],
                             const struct plx_pool_quota *quota)
{
    class_of[PLX_POOL_CLASSES] = NONE;
    for (uint32_t c = PLX_POOL_CLASSES; c-- > 0;)
        class_of[c] = (uint8_t)(quota->blocks[c] > 0 ? c : class_of[c + 1]);
}

/* Lays the class out from page `page` on, all blocks free, the first one on top of the stack. */
static uint64_t init_class(struct plx_pool *pool, uint32_t index, uint32_t blocks, uint64_t page)
{
    struct plx__pool_class *c = &pool->classes[index];
    uint64_t step = plx_pool_class_bytes(index) / PLX_PAGE;

    c->capacity = blocks;
    plx_store_relaxed(&c->free_count, blocks);
    plx_store_relaxed(&c->free_min, blocks);
    memset(pool->map + page, (int)(PLX__POOL_INTERIOR | index), blocks * step);
    for (uint32_t i = blocks; i-- > 0; page += step) {
        pool->map[page] = (unsigned char)(PLX__POOL_FREE | index);
        c->stack[i] = (uint32_t)page;
    }
    return page;
}

int plx_pool_init(struct plx_pool *pool, struct plx_arena *arena,
                  const struct plx_pool_quota *quota, const struct plx_pool_opts *opts,
                  struct plx_diag *diag)
{
    struct plx_pool_opts defaults;

    plx_pool_opts_init(&defaults);
    if (opts == NULL)
        opts = &defaults;
    memset(pool, 0, sizeof(*pool));
    memset(pool->class_of, NONE, sizeof(pool->class_of));

    if (opts->homes > PLX_POOL_HOMES_MAX)
        return plx_diag_set(diag, -EINVAL, "homes", "%u homes, at most %u are possible",
                            opts->homes, PLX_POOL_HOMES_MAX);
    struct plx_pool_needs needs = plx_pool_measure(quota, opts);
    if (needs.bytes == 0)
        return plx__pool_refuse_quota(quota, diag);
    unsigned char *memory = plx__pool_carve(arena, &needs, diag);
    if (memory == NULL)
        return -ENOMEM;

    pool->base = memory;
    pool->pages = needs.block_bytes / PLX_PAGE;
    pool->arena_base = arena->base;
    pool->fall_up = opts->fall_up;
    pool->homes = opts->homes;

    unsigned char *tables = memory + needs.block_bytes;
    pool->map = tables;
    tables += map_bytes(pool->pages);
    for (uint32_t c = 0; c < PLX_POOL_CLASSES; c++) {
        pool->classes[c].stack = (uint32_t *)(void *)tables;
        tables += stack_bytes(quota->blocks[c]);
    }
    pool->away = (struct plx__pool_away *)(void *)tables;

    /* The largest first: what follows a multiple of its size is aligned without a gap. */
    uint64_t page = 0;
    for (uint32_t c = PLX_POOL_CLASSES; c-- > 0;)
        page = init_class(pool, c, quota->blocks[c], page);
    plx__pool_fill_class_of(pool->class_of, quota);
    for (page = 0; opts->prewarm && page < pool->pages; page++)
        pool->base[page * PLX_PAGE] = 0;
    return 0;
}

uint64_t plx_pool_fini(struct plx_pool *pool)
{
    uint64_t out = plx_load_relaxed(&pool->away_waiting);

    for (uint32_t c = 0; c < PLX_POOL_CLASSES; c++)
        out += pool->classes[c].capacity - plx_load_relaxed(&pool->classes[c].free_count);
    memset(pool, 0, sizeof(*pool));
    memset(pool->class_of, NONE, sizeof(pool->class_of));
    return out;
}

void plx_pool_set_remote(struct plx_pool *pool, const struct plx_pool_remote *remote)
{
    const struct plx_pool_remote none = {0};

    PLX_ASSERT(plx_load_relaxed(&pool->away_waiting) == 0);
    pool->remote = remote != NULL ? *remote : none;
}

/* --- waiters ---------------------------------------------------------------------------------- */

static void append(struct plx__pool_queue *queue, struct plx_pool_waiter *waiter)
{
    waiter->next = NULL;
    waiter->prev = queue->last;
    if (queue->last != NULL)
        queue->last->next = waiter;
    else
        queue->first = waiter;
    queue->last = waiter;
}

static void unlink_waiter(struct plx__pool_queue *queue, struct plx_pool_waiter *waiter)
{
    if (waiter->prev != NULL)
        waiter->prev->next = waiter->next;
    else
        queue->first = waiter->next;
    if (waiter->next != NULL)
        waiter->next->prev = waiter->prev;
    else
        queue->last = waiter->prev;
}

static unsigned char *page_byte(const struct plx_pool *pool, const void *block)
{
    return &pool->map[((uintptr_t)block - (uintptr_t)pool->base) / PLX_PAGE];
}

static void make_ready(struct plx_pool *pool, struct plx_pool_waiter *waiter, void *block)
{
    *page_byte(pool, block) = (unsigned char)(PLX__POOL_KEPT | waiter->index);
    waiter->block = block;
    waiter->state = WAITER_READY;
    append(&pool->ready, waiter);
    pool->ready_count++;
}

/* Keeps `block`, which is in nobody's hands now, for the first waiter of its class. */
static void keep(struct plx_pool *pool, uint32_t index, void *block)
{
    struct plx__pool_class *c = &pool->classes[index];
    struct plx_pool_waiter *waiter = c->waiters.first;

    unlink_waiter(&c->waiters, waiter);
    make_ready(pool, waiter, block);
    plx_store_relaxed(&c->acquires, plx_load_relaxed(&c->acquires) + 1);
}

int plx_pool_waiter_arm(struct plx_pool *pool, struct plx_pool_waiter *waiter, size_t bytes,
                        plx_pool_waiter_fn fn, void *ctx)
{
    PLX_ASSERT(waiter->state == WAITER_IDLE);
    PLX_ASSERT(bytes > 0);
    uint32_t index = pool->class_of[plx_pool_class_index(bytes)];
    if (index == NONE)
        return -EINVAL;

    waiter->fn = fn;
    waiter->ctx = ctx;
    waiter->index = index;
    uint32_t free_count = plx_load_relaxed(&pool->classes[index].free_count);
    if (free_count > 0) {
        make_ready(pool, waiter, plx__pool_take(pool, index, free_count));
        return 0;
    }
    waiter->state = WAITER_IN_LINE;
    append(&pool->classes[index].waiters, waiter);
    return 0;
}

bool plx_pool_waiter_disarm(struct plx_pool *pool, struct plx_pool_waiter *waiter)
{
    if (waiter->state == WAITER_IDLE)
        return false;
    if (waiter->state == WAITER_IN_LINE) {
        unlink_waiter(&pool->classes[waiter->index].waiters, waiter);
        waiter->state = WAITER_IDLE;
        return true;
    }
    unlink_waiter(&pool->ready, waiter);
    pool->ready_count--;
    waiter->state = WAITER_IDLE;
    *page_byte(pool, waiter->block) = (unsigned char)(PLX__POOL_HELD | waiter->index);
    plx_pool_release(pool, waiter->block);
    return true;
}

uint32_t plx__pool_serve(struct plx_pool *pool)
{
    if (pool->serving)
        return 0;
    pool->serving = true;
    /* Those that become ready in a callback wait for the next turn, so that this one ends. */
    uint32_t due = pool->ready_count < PLX_POOL_TURN_MAX ? pool->ready_count : PLX_POOL_TURN_MAX;
    uint32_t served = 0;
    struct plx_pool_waiter *waiter;
    while (served < due && (waiter = pool->ready.first) != NULL) {
        unlink_waiter(&pool->ready, waiter);
        pool->ready_count--;
        waiter->state = WAITER_IDLE;
        *page_byte(pool, waiter->block) = (unsigned char)(PLX__POOL_HELD | waiter->index);
        served++;
        waiter->fn(waiter, waiter->block, waiter->ctx);
    }
    pool->serving = false;
    return served;
}

/* --- the rare cases of acquire and release ---------------------------------------------------- */

void *plx__pool_acquire_dry(struct plx_pool *pool, uint32_t index)
{
    struct plx__pool_class *c = &pool->classes[index];

    plx_store_relaxed(&c->misses, plx_load_relaxed(&c->misses) + 1);
    while (pool->fall_up && ++index < PLX_POOL_CLASSES) {
        uint32_t free_count = plx_load_relaxed(&pool->classes[index].free_count);
        if (free_count > 0)
            return plx__pool_take(pool, index, free_count);
    }
    return NULL;
}

static uint64_t away_mark(const struct plx_pool *pool, const void *block)
{
    return UINT64_C(0x706f6c6c75782121) ^ (uintptr_t)pool ^ ((uint64_t)(uintptr_t)block << 13);
}

/*
 * Whether the block is on the list. Only a block that bears the mark is looked for, which another
 * one has by a wild chance.
 */
static bool waits_to_go(const struct plx_pool *pool, const struct plx__pool_away *away,
                        const struct away_link *block)
{
    if (block->mark != away_mark(pool, block))
        return false;
    for (const struct away_link *link = away->first; link != NULL; link = link->next) {
        if (link == block)
            return true;
    }
    return false;
}

static int release_away(struct plx_pool *pool, void *block)
{
    if (pool->remote.home_of == NULL || block == NULL || (uintptr_t)block % PLX_PAGE != 0)
        return -EINVAL;
    int home = pool->remote.home_of(pool->remote.ctx, block);
    if (home < 0)
        return -EINVAL;
    PLX_ASSERT((uint32_t)home < pool->homes);

    struct plx__pool_away *away = &pool->away[home];
    /* Not past those that wait: the ring that refused them would refuse this one too. */
    if (away->first != NULL || pool->remote.send(pool->remote.ctx, (uint32_t)home, block) < 0) {
        struct away_link *link = block;
        if (waits_to_go(pool, away, link))
            return -EALREADY;
        link->next = NULL;
        link->mark = away_mark(pool, link);
        if (away->first != NULL)
            away->last->next = link;
        else
            away->first = link;
        away->last = link;
        plx_store_relaxed(&pool->away_waiting, plx_load_relaxed(&pool->away_waiting) + 1);
        plx_store_relaxed(&pool->away_deferred, plx_load_relaxed(&pool->away_deferred) + 1);
    }
    plx_store_relaxed(&pool->frees_away, plx_load_relaxed(&pool->frees_away) + 1);
    return 0;
}

/* What plx__pool_put leaves. */
int plx__pool_release_slow(struct plx_pool *pool, void *block)
{
    if (!plx_pool_has(pool, block))
        return release_away(pool, block);
    uint32_t state = *page_byte(pool, block) & PLX__POOL_STATE;
    if ((uintptr_t)block % PLX_PAGE != 0 || state == PLX__POOL_INTERIOR)
        return -EINVAL;
    if (state != PLX__POOL_HELD)
        return -EALREADY;
    keep(pool, *page_byte(pool, block) & PLX__POOL_CLASS, block);
    return 0;
}

void plx__pool_say_fault(const void *pool, const void *address, const void *block, size_t bytes,
                         const char *otherwise)
{
    char text[160];

    if (block == NULL)
        snprintf(text, sizeof(text), "pool %p: %p is released, and it is %s", pool, address,
                 otherwise);
    else if (block != address)
        snprintf(text, sizeof(text), "pool %p: %p is released, inside the block %p of %zu bytes",
                 pool, address, block, bytes);
    else
        snprintf(text, sizeof(text), "pool %p: the block %p of %zu bytes is released, not in use",
                 pool, address, bytes);
    plx__assert_fail(text, __FILE__, __LINE__);
}

PLX_COLD __attribute__((noreturn)) static void fault(const struct plx_pool *pool,
                                                     const void *address, int code)
{
    size_t bytes;
    const void *block = plx_pool_block_of(pool, address, &bytes);

    plx__pool_say_fault(pool, address, block, bytes,
                        code == -EALREADY ? "on its way home already" : "no block of any pool");
}

void plx__pool_release_or_fault(struct plx_pool *pool, void *block)
{
    int code = plx__pool_release_slow(pool, block);

    if (code != 0)
        fault(pool, block, code);
}

void plx_pool_release_home(struct plx_pool *pool, void *block)
{
    /* Also keeps a block that was misled from being sent on from pool to pool. */
    if (!plx_pool_has(pool, block))
        fault(pool, block, -EINVAL);
    uint32_t index = *page_byte(pool, block) & PLX__POOL_CLASS;
    plx_pool_release(pool, block);
    struct plx__pool_class *c = &pool->classes[index];
    plx_store_relaxed(&c->remote_frees, plx_load_relaxed(&c->remote_frees) + 1);
}

uint32_t plx__pool_flush(struct plx_pool *pool)
{
    uint32_t sent = 0;

    for (uint32_t looks = 0; looks < pool->homes && sent < PLX_POOL_TURN_MAX; looks++) {
        uint32_t home = pool->away_cursor;
        struct plx__pool_away *away = &pool->away[home];
        struct away_link *link = away->first;
        while (link != NULL && sent < PLX_POOL_TURN_MAX) {
            /* Once sent the block is its home's, so it has to be ready before. */
            struct away_link *next = link->next;
            link->mark = 0;
            if (pool->remote.send(pool->remote.ctx, home, link) < 0) {
                link->mark = away_mark(pool, link);
                break;
            }
            link = next;
            sent++;
        }
        away->first = link;
        pool->away_cursor = home + 1 < pool->homes ? home + 1 : 0;
    }
    plx_store_relaxed(&pool->away_waiting, plx_load_relaxed(&pool->away_waiting) - sent);
    return sent;
}

/* --- inspection ------------------------------------------------------------------------------- */

void plx_pool_read_stats(const struct plx_pool *pool, struct plx_pool_stats *out)
{
    for (uint32_t i = 0; i < PLX_POOL_CLASSES; i++) {
        const struct plx__pool_class *c = &pool->classes[i];
        out->classes[i] = (struct plx_pool_class_stats){
            .block_bytes = (uint32_t)plx_pool_class_bytes(i),
            .capacity = c->capacity,
            .in_use = c->capacity - plx_load_relaxed(&c->free_count),
            .peak = c->capacity - plx_load_relaxed(&c->free_min),
            .acquires = plx_load_relaxed(&c->acquires),
            .misses = plx_load_relaxed(&c->misses),
            .remote_frees = plx_load_relaxed(&c->remote_frees),
        };
    }
    out->unfit = plx_load_relaxed(&pool->classes[NONE].misses);
    out->frees_away = plx_load_relaxed(&pool->frees_away);
    out->away_deferred = plx_load_relaxed(&pool->away_deferred);
    out->away_waiting = plx_load_relaxed(&pool->away_waiting);
}

void plx_pool_explain(const struct plx_pool *pool, plx_text_fn sink, void *ctx)
{
    struct plx_pool_stats stats;

    plx_pool_read_stats(pool, &stats);
    plx_text_line(sink, ctx, "pool: %llu KiB of blocks; %llu blocks of others freed, %u wait",
                  (unsigned long long)(pool->pages * PLX_PAGE / 1024),
                  (unsigned long long)stats.frees_away, stats.away_waiting);
    for (uint32_t i = 0; i < PLX_POOL_CLASSES; i++) {
        const struct plx_pool_class_stats *c = &stats.classes[i];
        if (c->capacity == 0)
            continue;
        plx_text_line(sink, ctx,
                      "pool: %u KiB: %u blocks, %u in use, at most %u; %llu acquires, %llu misses, "
                      "%llu remote frees",
                      c->block_bytes / 1024, c->capacity, c->in_use, c->peak,
                      (unsigned long long)c->acquires, (unsigned long long)c->misses,
                      (unsigned long long)c->remote_frees);
    }
}

static const char *check_map(const struct plx_pool *pool)
{
    uint64_t count[PLX_POOL_CLASSES] = {0};
    uint64_t free_seen[PLX_POOL_CLASSES] = {0};
    uint64_t free_sum[PLX_POOL_CLASSES] = {0};
    uint64_t kept = 0;

    for (uint64_t page = 0; page < pool->pages;) {
        uint32_t index = pool->map[page] & PLX__POOL_CLASS;
        uint32_t state = pool->map[page] & PLX__POOL_STATE;
        if (index >= PLX_POOL_CLASSES || state >= PLX__POOL_INTERIOR)
            return "a page that starts a block does not say so";
        count[index]++;
        kept += state == PLX__POOL_KEPT;
        free_seen[index] += state == PLX__POOL_FREE;
        free_sum[index] += state == PLX__POOL_FREE ? page : 0;
        uint64_t end = page + plx_pool_class_bytes(index) / PLX_PAGE;
        while (++page < end) {
            if (page >= pool->pages || pool->map[page] != (PLX__POOL_INTERIOR | index))
                return "a page inside a block does not say so";
        }
    }
    if (kept != pool->ready_count)
        return "blocks are kept for nobody";
    for (uint32_t i = 0; i < PLX_POOL_CLASSES; i++) {
        const struct plx__pool_class *c = &pool->classes[i];
        uint32_t free_count = plx_load_relaxed(&c->free_count);
        if (count[i] != c->capacity || free_seen[i] != free_count)
            return "the count of blocks is wrong";
        for (uint32_t n = 0; n < free_count; n++) {
            if (c->stack[n] >= pool->pages || pool->map[c->stack[n]] != (PLX__POOL_FREE | i))
                return "a block on a stack is not free";
            free_sum[i] -= c->stack[n];
        }
        if (free_sum[i] != 0)
            return "a block is on a stack twice";
    }
    return NULL;
}

/* Whether the queue is sound, all its waiters are in `state`; their number. */
static bool check_queue(const struct plx__pool_queue *queue, uint32_t state, uint32_t *count)
{
    const struct plx_pool_waiter *last = NULL;

    for (const struct plx_pool_waiter *w = queue->first; w != NULL; w = w->next) {
        if (w->state != state || w->prev != last)
            return false;
        last = w;
        ++*count;
    }
    return queue->last == last;
}

const char *plx__pool_check(const struct plx_pool *pool)
{
    uint32_t count = 0;
    uint32_t waiting = 0;

    if (!check_queue(&pool->ready, WAITER_READY, &count) || count != pool->ready_count)
        return "the queue of ready waiters is broken";
    for (const struct plx_pool_waiter *w = pool->ready.first; w != NULL; w = w->next) {
        if (*page_byte(pool, w->block) != (PLX__POOL_KEPT | w->index))
            return "a ready waiter's block is not kept";
    }
    for (uint32_t i = 0; i <= PLX_POOL_CLASSES; i++) {
        const struct plx__pool_class *c = &pool->classes[i];
        count = 0;
        if (!check_queue(&c->waiters, WAITER_IN_LINE, &count))
            return "a queue of waiters is broken";
        if (count > 0 && plx_load_relaxed(&c->free_count) > 0)
            return "a waiter waits though a block is free";
    }
    for (uint32_t home = 0; home < pool->homes; home++) {
        for (const struct away_link *link = pool->away[home].first; link; link = link->next)
            waiting++;
    }
    if (waiting != plx_load_relaxed(&pool->away_waiting))
        return "the count of blocks that wait to go home is wrong";
    return check_map(pool);
}
