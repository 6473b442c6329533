/* SPDX-License-Identifier: MIT */
/*
 * A pool: blocks of nine sizes, 4 KiB to 1 MiB, that one thread takes and gives back without a
 * system call, a lock or a search. A reactor's buffers come from its pool.
 *
 * Words. A *block* is what is acquired and released. A *class* is one of the sizes; it has a
 * *quota*, the number of its blocks, fixed at init: blocks are neither split nor joined, so the
 * bound is hard and what one class uses up no other class feels. A class is *dry* when all of its
 * blocks are out. A *waiter* is a callback in line for the next block of a dry class. The *home* of
 * a block is the pool that it was acquired from; releasing it to another pool is a *free away*,
 * which travels home through functions that the runtime supplies, and arrives there as a *remote
 * free*.
 *
 * Blocks. A block of n bytes is aligned to n, and so is its distance from the arena's base: it lies
 * in one piece of PLX_POOL_CHUNK_BYTES counted from there, which is how the arena is registered
 * with the kernel. Blocks are reused last in, first out, the one most likely still in the cache.
 * The pool keeps its books elsewhere and never writes to a free block; only one that waits to go
 * home holds a list in its first 16 bytes.
 *
 * What a wrong release does. One byte is kept for each 4 KiB page of blocks. A release loads it,
 * and so knows in every build, for about a nanosecond, a block that is free already, an address
 * inside a block, and memory that is no pool's. Such a caller believes to own what may be
 * another's: one order's bytes would go out as another's. So plx_pool_release says which pool,
 * address and class and aborts, like every programmer's error here; a program that would rather
 * answer for it calls plx_pool_try_release, which refuses and changes nothing. A block released
 * twice with a new owner's acquire in between cannot be told from the owner's release; the owner's
 * own is then caught.
 *
 * Threads: the pool's owner alone, for everything that does not say otherwise.
 */
#ifndef POLLUX_POOL_H
#define POLLUX_POOL_H

#include "alloc/arena.h"
#include "alloc/base.h"

/* Number of classes. Class c has blocks of PLX_POOL_BLOCK_MIN << c bytes. */
#define PLX_POOL_CLASSES 9
/* Bytes of the smallest and of the largest block. */
#define PLX_POOL_BLOCK_MIN ((size_t)4096)
#define PLX_POOL_BLOCK_MAX ((size_t)1 << 20)
/* No block crosses a multiple of this many bytes, counted from the arena's base. */
#define PLX_POOL_CHUNK_BYTES ((uint64_t)1 << 30)
/* Bound of plx_pool_opts.homes. */
#define PLX_POOL_HOMES_MAX 65536u
/* Blocks that one plx_pool_serve hands out, and one plx_pool_flush sends, at most. */
#define PLX_POOL_TURN_MAX 64u

/* Blocks of each class. */
struct plx_pool_quota {
    uint32_t blocks[PLX_POOL_CLASSES];
};

struct plx_pool_opts {
    /*
     * How many pools a free away may go to, numbered from 0; up to PLX_POOL_HOMES_MAX. 0: none, and
     * any block of another pool is a foreign one. Default: 0.
     */
    uint32_t homes;
    /*
     * When a class is dry, acquire from the next larger one that isn't. Default: false, for then
     * the large blocks are still there when a large one is needed.
     */
    bool fall_up;
    /* Write to every page of the blocks at init: for arenas without prefault. Default: false. */
    bool prewarm;
};

/* What a pool takes from its arena. */
struct plx_pool_needs {
    uint64_t bytes;       /* in all; carved at once */
    uint64_t block_bytes; /* of these, the blocks */
    uint64_t table_bytes; /* and the pool's own tables, after them */
    uint64_t align;       /* of the first block; up to this much may be lost before it */
};

struct plx_pool_class_stats {
    uint32_t block_bytes;
    uint32_t capacity; /* blocks */
    uint32_t in_use;   /* acquired, or kept for a waiter whose callback is due */
    uint32_t peak;     /* the largest in_use so far */
    uint64_t acquires; /* that got a block of this class */
    uint64_t misses;   /* that asked for this class when it was dry, whether they fell up or not */
    uint64_t remote_frees;
};

struct plx_pool_stats {
    struct plx_pool_class_stats classes[PLX_POOL_CLASSES];
    uint64_t unfit;         /* acquires of more bytes than any block of this pool has */
    uint64_t frees_away;    /* blocks of other pools that were released to this one */
    uint64_t away_deferred; /* of these, how many could not be sent at once */
    uint32_t away_waiting;  /* of these, how many wait now */
};

struct plx_pool_waiter;

/*
 * Hands `block` to the waiter, which is disarmed and may be armed again. The block is the callee's,
 * as if acquired. Runs inside plx_pool_serve and nowhere else.
 */
typedef void (*plx_pool_waiter_fn)(struct plx_pool_waiter *waiter, void *block, void *ctx);

/* Zeroed is a disarmed waiter. The fields are the pool's. */
struct plx_pool_waiter {
    struct plx_pool_waiter *next;
    struct plx_pool_waiter *prev;
    plx_pool_waiter_fn fn;
    void *ctx;
    void *block;    /* when one is kept for it */
    uint32_t index; /* of its class */
    uint32_t state;
};

/* The way home for blocks of other pools: filled by the runtime. */
struct plx_pool_remote {
    /* The number (below plx_pool_opts.homes) of the pool that has `block`; negative: no pool. */
    int (*home_of)(void *ctx, const void *block);
    /*
     * Sends `block` to that pool, whose owner then calls plx_pool_release_home. 0: it is on its
     * way. Negative: not now (-EAGAIN, the mesh ring is full); the pool keeps it and tries again.
     */
    int (*send)(void *ctx, uint32_t home, void *block);
    void *ctx;
};

/* --- what follows down to plx_pool is private ------------------------------------------------- */

/* The byte of a page: its state in the high half, the class of its block in the low half. */
#define PLX__POOL_FREE     0x00u
#define PLX__POOL_HELD     0x10u /* by whoever acquired it */
#define PLX__POOL_KEPT     0x20u /* for a waiter whose callback is due */
#define PLX__POOL_INTERIOR 0x30u /* not the first page of its block; for ever */
#define PLX__POOL_STATE    0xf0u
#define PLX__POOL_CLASS    0x0fu

struct plx__pool_queue {
    struct plx_pool_waiter *first;
    struct plx_pool_waiter *last;
};

/*
 * Written by the owner. The atomic fields are also read by any thread, for statistics; they are
 * relaxed throughout, as nothing is read on the strength of them.
 */
struct plx__pool_class {
    PLX_ATOMIC(uint32_t) free_count; /* blocks on the stack */
    PLX_ATOMIC(uint32_t) free_min;   /* the least `free_count` so far */
    PLX_ATOMIC(uint64_t) acquires;
    uint32_t *stack; /* first pages of the free blocks, the next to be acquired last */
    struct plx__pool_queue waiters; /* none unless `free_count` is 0 */
    PLX_ATOMIC(uint64_t) misses;
    PLX_ATOMIC(uint64_t) remote_frees;
    uint32_t capacity;
    uint32_t reserved;
} PLX_ALIGNED(PLX_CACHE_LINE);

PLX_STATIC_ASSERT(sizeof(struct plx__pool_class) == PLX_CACHE_LINE, "a class is a cache line");

struct plx__pool_away; /* the blocks that wait to go to one home */

/* In the caller's memory, where it stays from init to fini. */
struct plx_pool {
    /* Read-mostly, by the owner; written by init. */
    unsigned char *base; /* the first block */
    uint64_t pages;      /* of PLX_PAGE bytes, all blocks together */
    unsigned char *map;  /* a byte for each page */
    const unsigned char *arena_base;
    uint8_t class_of[PLX_POOL_CLASSES + 1]; /* the smallest with a quota; past the end: none */
    bool fall_up;
    bool serving;

    /* Written and read by the owner each turn. */
    PLX_ATOMIC(uint32_t) away_waiting;
    uint32_t ready_count;
    struct plx__pool_queue ready; /* waiters with a block, in the order of their callbacks */

    /* The last class has no block: sizes too large lead there. */
    struct plx__pool_class classes[PLX_POOL_CLASSES + 1];

    /* Cold. */
    struct plx_pool_remote remote;
    struct plx__pool_away *away; /* of each home */
    uint32_t homes;
    uint32_t away_cursor; /* the home that the next flush begins with */
    PLX_ATOMIC(uint64_t) frees_away;
    PLX_ATOMIC(uint64_t) away_deferred;
};

PLX_EXTERN_C_BEGIN

/* --- set-up ----------------------------------------------------------------------------------- */

/*
 * Divides `bytes` into a quota, its tables included: three eighths for blocks of 4 KiB, three
 * sixteenths for 64 KiB (the sizes that receives use) and for 16 KiB (send queues), a sixteenth for
 * 8 and for 32 KiB, half of that for each larger class. What is too little for one block of a class
 * goes to the next smaller one, so that small budgets have no large blocks and less than one 4 KiB
 * page is left over.
 * Any thread. Cost: set-up. Errors: -EINVAL: not enough for one block of 4 KiB, or more than
 * PLX_ARENA_BYTES_MAX; the quota is all zero then.
 */
PLX_API PLX_COLD PLX_MUST_CHECK int plx_pool_quota_split(struct plx_pool_quota *quota,
                                                         uint64_t bytes);

/* Fills `opts` with the defaults named beside its fields. */
PLX_API PLX_COLD void plx_pool_opts_init(struct plx_pool_opts *opts);

/*
 * What plx_pool_init would carve for this quota; `opts` NULL: the defaults. All zero when it would
 * refuse the quota or the options. Any thread. Cost: set-up.
 */
PLX_API PLX_COLD struct plx_pool_needs plx_pool_measure(const struct plx_pool_quota *quota,
                                                        const struct plx_pool_opts *opts);

/*
 * Makes a pool of the blocks that `quota` says, all free, carved from `arena`.
 * Shapes: at least one block in all, less than PLX_ARENA_BYTES_MAX bytes of them. `opts` NULL: the
 * defaults. `diag` NULL allowed.
 * Ownership: `pool` is the caller's and is overwritten; it stays where it is until the last use.
 * `quota` and `opts` are read before the return. The memory is the arena's; it ends with it.
 * Affinity: the arena's owner, who becomes the pool's.
 * Cost: set-up; writes the tables, and the blocks only with prewarm.
 * Errors, after which nothing was carved and `pool` is empty:
 *   -EINVAL  no block at all, too many, or `homes` out of range
 *   -ENOMEM  the arena has not so much left; `diag` says what is needed and what is left
 */
PLX_API PLX_COLD PLX_MUST_CHECK int plx_pool_init(struct plx_pool *pool, struct plx_arena *arena,
                                                  const struct plx_pool_quota *quota,
                                                  const struct plx_pool_opts *opts,
                                                  struct plx_diag *diag);

/*
 * Leaves `pool` empty: acquires fail, every block is foreign. Nothing goes back to the arena.
 * Waiters are forgotten without a call: disarm them before. Returns how many blocks were still in
 * use, kept for waiters, or waiting to go home: 0 after an orderly end. Cost: set-up.
 */
PLX_API PLX_COLD uint64_t plx_pool_fini(struct plx_pool *pool);

/*
 * Says how blocks of other pools go home; NULL: there is no way, they are foreign (as after init).
 * Shapes: not while blocks wait to go home. Ownership: `remote` is copied, its context borrowed.
 * Cost: set-up.
 */
PLX_API PLX_COLD void plx_pool_set_remote(struct plx_pool *pool,
                                          const struct plx_pool_remote *remote);

/* --- each turn -------------------------------------------------------------------------------- */

PLX_API uint32_t plx__pool_serve(struct plx_pool *pool);
PLX_API uint32_t plx__pool_flush(struct plx_pool *pool);

/*
 * Calls the waiters for whom a block has been kept since the last time, first come first served,
 * PLX_POOL_TURN_MAX at most. The callbacks may do anything with the pool and its waiters; a serve
 * in a callback does nothing. Returns the number of calls. Cost: hot; a load when there are none.
 */
static inline uint32_t plx_pool_serve(struct plx_pool *pool)
{
    return PLX_LIKELY(pool->ready.first == NULL) ? 0 : plx__pool_serve(pool);
}

/*
 * Tries again to send blocks home that could not be sent before: for each home until it refuses,
 * PLX_POOL_TURN_MAX in all. Returns how many went. Cost: hot; a load when none waits, otherwise a
 * look at each home.
 */
static inline uint32_t plx_pool_flush(struct plx_pool *pool)
{
    /* Relaxed: the owner alone stores it. */
    return PLX_LIKELY(plx_load_relaxed(&pool->away_waiting) == 0) ? 0 : plx__pool_flush(pool);
}

/* --- waiters ---------------------------------------------------------------------------------- */

/*
 * Puts `waiter` in line for a block of at least `bytes`. The next block of its class that is
 * released is kept for the first in line: nobody else can have it, and the callback is made by the
 * next plx_pool_serve. If the class is not dry, a block is kept at once. A waiter waits for its own
 * class, whether the pool falls up or not.
 * Ownership: `waiter` stays in place until its callback or its disarming; it must be disarmed now.
 * Cost: hot, O(1).
 * Errors: -EINVAL: no block of this pool is so large; `waiter` is not armed.
 */
PLX_API PLX_MUST_CHECK int plx_pool_waiter_arm(struct plx_pool *pool,
                                               struct plx_pool_waiter *waiter, size_t bytes,
                                               plx_pool_waiter_fn fn, void *ctx);

/*
 * Takes `waiter` out of line; its callback will not be made. A block already kept for it goes to
 * the next in line or back into the pool. Returns false, and does nothing, if it was not armed.
 * Cost: hot, O(1).
 */
PLX_API bool plx_pool_waiter_disarm(struct plx_pool *pool, struct plx_pool_waiter *waiter);

static inline bool plx_pool_waiter_is_armed(const struct plx_pool_waiter *waiter)
{
    return waiter->state != 0;
}

/* --- inspection ------------------------------------------------------------------------------- */

/*
 * The counts as they are now. Any thread; each number is true by itself, together they may be of
 * slightly different moments. Cost: reads the owner's lines.
 */
PLX_API void plx_pool_read_stats(const struct plx_pool *pool, struct plx_pool_stats *out);

/* Describes the pool in text, a line for each class with a quota. Any thread. Cost: set-up. */
PLX_API PLX_COLD void plx_pool_explain(const struct plx_pool *pool, plx_text_fn sink, void *ctx);

/* For tests: what is wrong inside, or NULL. Looks at every page. */
PLX_COLD const char *plx__pool_check(const struct plx_pool *pool);

/* Bytes of the blocks of a class, below PLX_POOL_CLASSES. Any thread. */
static inline size_t plx_pool_class_bytes(uint32_t index)
{
    return PLX_POOL_BLOCK_MIN << index;
}

/*
 * The class whose blocks are the smallest that hold `bytes`, 1 or more; PLX_POOL_CLASSES if none
 * is so large. Any thread.
 */
static inline uint32_t plx_pool_class_index(size_t bytes)
{
    /* How often 4096 must be doubled; for 1 to 4096 the bit set below makes it 0 times. */
    uint32_t index = 63u - (uint32_t)__builtin_clzll((unsigned long long)(bytes - 1) >> 11 | 1);
    return index < PLX_POOL_CLASSES ? index : PLX_POOL_CLASSES;
}

/*
 * Whether the pool has blocks of `bytes`, 1 or more, at all: if not, an acquire of so many never
 * succeeds; if so, it may still find them all out. Any thread.
 */
static inline bool plx_pool_fits(const struct plx_pool *pool, size_t bytes)
{
    return pool->class_of[plx_pool_class_index(bytes)] != PLX_POOL_CLASSES;
}

/* Whether `address` lies in one of the pool's blocks. Any thread. */
static inline bool plx_pool_has(const struct plx_pool *pool, const void *address)
{
    return ((uintptr_t)address - (uintptr_t)pool->base) / PLX_PAGE < pool->pages;
}

/*
 * The block that `address` lies in, by its first byte, or NULL if it is none of this pool's; and
 * the bytes of that block (0) if `bytes` isn't NULL. Whoever holds the block, on any thread; the
 * owner for any address. Cost: hot.
 */
static inline void *plx_pool_block_of(const struct plx_pool *pool, const void *address,
                                      size_t *bytes)
{
    uint64_t page = ((uintptr_t)address - (uintptr_t)pool->base) / PLX_PAGE;
    bool found = page < pool->pages;
    size_t block_bytes = found ? plx_pool_class_bytes(pool->map[page] & PLX__POOL_CLASS) : 0;
    if (bytes != NULL)
        *bytes = block_bytes;
    if (!found)
        return NULL;
    return (void *)((uintptr_t)address & ~(uintptr_t)(block_bytes - 1));
}

/*
 * The number of the arena's chunk of PLX_POOL_CHUNK_BYTES that `block`, of this pool, lies in: its
 * index as a fixed buffer where chunk by chunk is registered. Any thread. Cost: hot.
 */
static inline uint32_t plx_pool_chunk_of(const struct plx_pool *pool, const void *block)
{
    return (uint32_t)(((uintptr_t)block - (uintptr_t)pool->arena_base) / PLX_POOL_CHUNK_BYTES);
}

/*
 * How many blocks acquires of `bytes`, 1 or more, would find now without falling up. Any thread,
 * for the owner it stays true until it acquires or arms a waiter. Cost: hot.
 */
static inline uint32_t plx_pool_available(const struct plx_pool *pool, size_t bytes)
{
    /* Relaxed: for others than the owner it is a number of a moment ago. */
    return plx_load_relaxed(&pool->classes[pool->class_of[plx_pool_class_index(bytes)]].free_count);
}

/* --- acquire and release, hot ----------------------------------------------------------------- */

PLX_API void *plx__pool_acquire_dry(struct plx_pool *pool, uint32_t index);
PLX_API int plx__pool_release_slow(struct plx_pool *pool, void *block);
PLX_API void plx__pool_release_or_fault(struct plx_pool *pool, void *block);

/* Takes the block on top of the class's stack, of `free_count` blocks, one at least. */
static inline void *plx__pool_take(struct plx_pool *pool, uint32_t index, uint32_t free_count)
{
    struct plx__pool_class *c = &pool->classes[index];
    uint32_t page = c->stack[free_count - 1];
    PLX_ASSERT_HOT(pool->map[page] == (PLX__POOL_FREE | index));
    pool->map[page] = (unsigned char)(PLX__POOL_HELD | index);
    plx_store_relaxed(&c->free_count, free_count - 1);
    if (free_count - 1 < plx_load_relaxed(&c->free_min))
        plx_store_relaxed(&c->free_min, free_count - 1);
    plx_store_relaxed(&c->acquires, plx_load_relaxed(&c->acquires) + 1);
    return pool->base + (uint64_t)page * PLX_PAGE;
}

/*
 * A block of at least `bytes` from the smallest class with a quota that fits, or NULL: the class is
 * dry, an ordinary result (plx_pool_waiter_arm), or nothing so large is here. Its bytes are what
 * was last written there.
 * Shapes: bytes ≥ 1. Ownership: the caller's until it is released, to any pool that knows the way.
 * Cost: hot, O(1); never blocks, never enters the kernel.
 */
PLX_MUST_CHECK static inline void *plx_pool_acquire(struct plx_pool *pool, size_t bytes)
{
    PLX_ASSERT_HOT(bytes > 0);
    uint32_t index = pool->class_of[plx_pool_class_index(bytes)];
    uint32_t free_count = plx_load_relaxed(&pool->classes[index].free_count);
    if (PLX_UNLIKELY(free_count == 0))
        return plx__pool_acquire_dry(pool, index);
    return plx__pool_take(pool, index, free_count);
}

/* Puts a block of this pool, held and wanted by no waiter, back on its stack; else does nothing. */
static inline bool plx__pool_put(struct plx_pool *pool, void *block)
{
    /* Rotated, so that bits of the page's inside make it too large: one comparison for both. */
    uint64_t offset = (uintptr_t)block - (uintptr_t)pool->base;
    uint64_t page = offset >> 12 | offset << 52;
    if (PLX_UNLIKELY(page >= pool->pages))
        return false;
    uint32_t state = pool->map[page];
    if (PLX_UNLIKELY((state & PLX__POOL_STATE) != PLX__POOL_HELD))
        return false;
    uint32_t index = state & PLX__POOL_CLASS;
    struct plx__pool_class *c = &pool->classes[index];
    if (PLX_UNLIKELY(c->waiters.first != NULL))
        return false;

    uint32_t free_count = plx_load_relaxed(&c->free_count);
    PLX_ASSERT_HOT(free_count < c->capacity);
    pool->map[page] = (unsigned char)(PLX__POOL_FREE | index);
    c->stack[free_count] = (uint32_t)page;
    plx_store_relaxed(&c->free_count, free_count + 1);
    return true;
}

/*
 * Gives a block back, by its first byte. One of this pool goes to the first waiter of its class or
 * back on top of its stack. One of another pool goes home: at once if it can be sent, else with a
 * later plx_pool_flush; nothing is lost. The bytes of this pool's blocks are not touched.
 * Ownership: the block is no longer the caller's.
 * Cost: hot, O(1); for another pool's block the cost of plx_pool_remote's functions.
 * Errors: none are returned. A block that is not in use, an address that is not a block's, and a
 * block that no pool has, are the programmer's errors: it says which and aborts. What is wrong with
 * a block of another pool may only be seen there (plx_pool_release_home).
 */
static inline void plx_pool_release(struct plx_pool *pool, void *block)
{
    if (PLX_UNLIKELY(!plx__pool_put(pool, block)))
        plx__pool_release_or_fault(pool, block);
}

/*
 * plx_pool_release for a program that answers for such errors itself. When one is returned, nothing
 * has changed:
 *   -EALREADY  the block is free, or kept for a waiter, or waits to go home
 *   -EINVAL    the address is not that of a block: inside one, NULL, or no pool's
 */
PLX_MUST_CHECK static inline int plx_pool_try_release(struct plx_pool *pool, void *block)
{
    return PLX_LIKELY(plx__pool_put(pool, block)) ? 0 : plx__pool_release_slow(pool, block);
}

/*
 * Takes in a block that was released to another pool and sent here, and counts a remote free. As
 * plx_pool_release of a block of this pool; any other aborts. Cost: hot.
 */
PLX_API void plx_pool_release_home(struct plx_pool *pool, void *block);

PLX_EXTERN_C_END

#endif
