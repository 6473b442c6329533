/* SPDX-License-Identifier: MIT */
/*
 * A shared pool: blocks of the classes of alloc/pool.h for threads that are no reactors. Any thread
 * acquires and any thread releases, without a lock. A reactor has a pool of its own, which costs a
 * fraction of this one.
 *
 * Words: those of alloc/pool.h. The *stack* of a class holds its free blocks; its *top* is one
 * word: the *tag*, which each acquire of the class increases, above the number of the first free
 * page, counted from 1 (0: the stack is empty). The *link* of a page that starts a free block is
 * the number of the page below it. Links and states lie in tables of their own: the pool never
 * writes to a block.
 *
 * Threads: init and fini by one thread, ordered before and after all others' use. Everything else
 * by any thread at any time.
 *
 * Why it is right:
 *
 * 1. A block has one owner at a time. The top is changed by compare-and-exchange alone, from a
 *    value that was loaded and judged whole. A pop (acquire) loads the top, then the link of the
 *    page that it names, and makes the link the top, with the tag one higher. A push (release)
 *    stores the link of its page, which is still its owner's, and makes the page the top. As no
 *    page is pushed twice without a pop in between, and each pop raises the tag, no value of the
 *    top recurs: a top that is equal to the loaded one is the loaded one, and the link still that
 *    of its push. A page taken and put back with another link, unseen, is the ABA error.
 * 2. The link that a pop loads is the one stored before the push of that page, and the block's
 *    bytes are its last owner's. Push exchanges with release order [R1], pop loads the top with
 *    acquire order [A1]. As each change of the top is a read-modify-write, all of them after a
 *    push belong to that push's release sequence: the acquire load synchronises with every push
 *    before it. The exchange of the pop needs no order of its own: it changes nothing unless the
 *    top is the value that was acquired.
 * 3. A double release is caught. One byte for each page says whether its block is in use. Who
 *    acquired a block sets it; a release exchanges it for "free" and goes on only if it was "in
 *    use". Of two releases that race, one finds "free". Relaxed order is enough: exchanges of one
 *    byte have one order, and by 2. the next owner's setting comes after the last one's exchange.
 *    As in alloc/pool.h, a second release that comes after a new owner's acquire looks like his.
 * 4. Nobody waits for anybody. A failed exchange means that another thread's succeeded (or, on
 *    machines with load-linked stores, that the line was lost for a moment). Whoever is stopped
 *    within acquire or release holds up no other thread, and holds back one block at most.
 *
 * The tag has 36 bits: it repeats after 6.9e10 acquires of the class. To be deceived, a thread
 * would have to be stopped between the two steps of a pop for all of them (11 minutes, were each
 * to take 10 ns) and go on at just one of them, the same block being on top.
 */
#ifndef POLLUX_SHARED_POOL_H
#define POLLUX_SHARED_POOL_H

#include "alloc/pool.h"

/* The top of a stack: a page's number, from 1, in these bits, and the tag above. */
#define PLX__SHARED_PAGE (((uint64_t)1 << 28) - 1)
#define PLX__SHARED_TAG  ((uint64_t)1 << 28)

/*
 * Bytes between what different threads write: two lines, as the prefetcher of adjacent lines
 * fetches pairs.
 */
#define PLX__SHARED_SPACING 128

struct plx_shared_pool_class_stats {
    uint32_t block_bytes;
    uint32_t capacity; /* blocks */
    uint32_t in_use;   /* never more than capacity */
    uint32_t peak;     /* the largest in_use so far */
    uint64_t acquires; /* that got a block of this class */
    uint64_t misses;   /* that found the class dry */
};

struct plx_shared_pool_stats {
    struct plx_shared_pool_class_stats classes[PLX_POOL_CLASSES];
    uint64_t unfit; /* acquires of more bytes than any block of this pool has */
};

/* All of it written by any thread, in one line, as whoever changes the top changes the rest too. */
struct plx__shared_class {
    PLX_ATOMIC(uint64_t) top;
    PLX_ATOMIC(uint32_t) in_use;
    PLX_ATOMIC(uint32_t) peak;
    PLX_ATOMIC(uint64_t) acquires;
    PLX_ATOMIC(uint64_t) misses;
    unsigned char gap[PLX__SHARED_SPACING - 32];
} PLX_ALIGNED(PLX_CACHE_LINE);

PLX_STATIC_ASSERT(PLX_ARENA_BYTES_MAX / PLX_PAGE - 1 <= PLX__SHARED_PAGE,
                  "every page has a number");
PLX_STATIC_ASSERT(sizeof(struct plx__shared_class) == PLX__SHARED_SPACING, "a class, two lines");

/* In the caller's memory, where it stays from init to fini. The fields are private. */
struct plx_shared_pool {
    /* Read-mostly, by any thread; written by init. */
    unsigned char *base;          /* the first block */
    uint64_t pages;               /* of PLX_PAGE bytes, all blocks together */
    PLX_ATOMIC(uint8_t) * map;    /* of each page: PLX__POOL_FREE, _HELD or _INTERIOR, and class */
    PLX_ATOMIC(uint32_t) * links; /* of each page */
    const unsigned char *arena_base;
    uint32_t capacity[PLX_POOL_CLASSES];
    uint8_t class_of[PLX_POOL_CLASSES + 1]; /* the smallest with a quota; past the end: none */
    unsigned char gap[PLX__SHARED_SPACING - 86];
    /* The last class has no block: sizes too large lead there. */
    struct plx__shared_class classes[PLX_POOL_CLASSES + 1];
};

PLX_STATIC_ASSERT(offsetof(struct plx_shared_pool, classes) == PLX__SHARED_SPACING,
                  "what is read lies apart from what is written");

PLX_EXTERN_C_BEGIN

/* --- set-up ----------------------------------------------------------------------------------- */

/*
 * What plx_shared_pool_init would carve for this quota. All zero when it would refuse it. Any
 * thread. Cost: set-up.
 */
PLX_API PLX_COLD struct plx_pool_needs plx_shared_pool_measure(const struct plx_pool_quota *quota);

/*
 * Makes a pool of the blocks that `quota` says (plx_pool_quota_split leaves too little for these
 * tables: measure), all free, carved from `arena`.
 * Shapes: at least one block in all, less than PLX_ARENA_BYTES_MAX bytes of them. `diag` NULL
 * allowed.
 * Ownership: `pool` is the caller's and is overwritten. `quota` is read before the return. The
 * memory is the arena's; it ends with it.
 * Affinity: the arena's owner. Cost: set-up; writes the tables, not the blocks.
 * Errors, after which nothing was carved and `pool` is empty:
 *   -EINVAL  no block at all, or too many
 *   -ENOMEM  the arena has not so much left; `diag` says what is needed and what is left
 */
PLX_API PLX_COLD PLX_MUST_CHECK int plx_shared_pool_init(struct plx_shared_pool *pool,
                                                         struct plx_arena *arena,
                                                         const struct plx_pool_quota *quota,
                                                         struct plx_diag *diag);

/*
 * Leaves `pool` empty: acquires fail, every block is foreign. Nothing goes back to the arena.
 * Returns how many blocks were still in use: 0 after an orderly end. Cost: set-up.
 */
PLX_API PLX_COLD uint64_t plx_shared_pool_fini(struct plx_shared_pool *pool);

/* --- inspection ------------------------------------------------------------------------------- */

/*
 * The counts as they are now: each is true by itself, together they may be of slightly different
 * moments. Any thread. Cost: takes the lines that acquire and release need.
 */
PLX_API void plx_shared_pool_read_stats(const struct plx_shared_pool *pool,
                                        struct plx_shared_pool_stats *out);

/* For tests, while nobody uses the pool: what is wrong inside, or NULL. Looks at every page. */
PLX_COLD const char *plx__shared_pool_check(const struct plx_shared_pool *pool);

/* Whether `address` lies in one of the pool's blocks. Any thread. */
static inline bool plx_shared_pool_has(const struct plx_shared_pool *pool, const void *address)
{
    return ((uintptr_t)address - (uintptr_t)pool->base) / PLX_PAGE < pool->pages;
}

/*
 * The block that `address` lies in, by its first byte, or NULL if it is none of this pool's; and
 * the bytes of that block (0) if `bytes` isn't NULL. Any thread. Cost: hot.
 */
static inline void *plx_shared_pool_block_of(const struct plx_shared_pool *pool,
                                             const void *address, size_t *bytes)
{
    uint64_t page = ((uintptr_t)address - (uintptr_t)pool->base) / PLX_PAGE;
    bool found = page < pool->pages;
    /* Relaxed: the class of a page never changes. */
    size_t block_bytes =
        found ? plx_pool_class_bytes((uint32_t)plx_load_relaxed(&pool->map[page]) & PLX__POOL_CLASS)
              : 0;
    if (bytes != NULL)
        *bytes = block_bytes;
    if (!found)
        return NULL;
    return (void *)((uintptr_t)address & ~(uintptr_t)(block_bytes - 1));
}

/* As plx_pool_chunk_of. Any thread. */
static inline uint32_t plx_shared_pool_chunk_of(const struct plx_shared_pool *pool,
                                                const void *block)
{
    return (uint32_t)(((uintptr_t)block - (uintptr_t)pool->arena_base) / PLX_POOL_CHUNK_BYTES);
}

/* --- acquire and release, hot ----------------------------------------------------------------- */

PLX_API PLX_COLD int plx__shared_pool_wrong(const struct plx_shared_pool *pool, const void *block);
PLX_API PLX_COLD __attribute__((noreturn)) void
plx__shared_pool_fault(const struct plx_shared_pool *pool, const void *block, int code);

/*
 * Takes the first page off a stack: its number from 1, or 0 if the stack is empty. `tag_step` is
 * PLX__SHARED_TAG; a test gives another to see what becomes of it.
 */
static inline uint64_t plx__shared_pop(PLX_ATOMIC(uint64_t) * top, PLX_ATOMIC(uint32_t) * links,
                                       uint64_t tag_step)
{
    uint64_t seen;
    uint64_t below;
    do {
        /* Acquire [A1], pairs with release [R1] of plx__shared_push(): link and bytes are there. */
        seen = plx_load_acquire(top);
        if ((seen & PLX__SHARED_PAGE) == 0)
            return 0;
        /* Relaxed: [A1] shows it, and if it was changed since, so was the top. */
        below = plx_load_relaxed(&links[(seen & PLX__SHARED_PAGE) - 1]);
        /* Relaxed: succeeds only on the value that was acquired. */
    } while (!plx_cas_relaxed(top, &seen, ((seen & ~PLX__SHARED_PAGE) + tag_step) | below));
    return seen & PLX__SHARED_PAGE;
}

/* Puts the page of this number, from 1, on a stack. */
static inline void plx__shared_push(PLX_ATOMIC(uint64_t) * top, PLX_ATOMIC(uint32_t) * links,
                                    uint64_t number)
{
    uint64_t seen;
    do {
        seen = plx_load_relaxed(top); /* relaxed: nothing is read on the strength of it */
        /* Relaxed: the exchange shows it to whoever reads it in earnest. */
        plx_store_relaxed(&links[number - 1], (uint32_t)(seen & PLX__SHARED_PAGE));
        /* Release [R1], pairs with acquire [A1] of plx__shared_pop(). */
    } while (!plx_cas_release(top, &seen, (seen & ~PLX__SHARED_PAGE) | number));
}

/*
 * A block of at least `bytes` from the smallest class with a quota that fits, or NULL: the class is
 * dry, an ordinary result, or nothing so large is here. Its bytes are what was last written there.
 * Shapes: bytes ≥ 1. Ownership: the caller's, who may hand it to another thread, until released.
 * Affinity: any thread. Cost: hot, lock-free; never blocks, never enters the kernel.
 */
PLX_MUST_CHECK static inline void *plx_shared_pool_acquire(struct plx_shared_pool *pool,
                                                           size_t bytes)
{
    PLX_ASSERT_HOT(bytes > 0);
    uint32_t index = pool->class_of[plx_pool_class_index(bytes)];
    struct plx__shared_class *c = &pool->classes[index];
    uint64_t number = plx__shared_pop(&c->top, pool->links, PLX__SHARED_TAG);
    /* All counts are relaxed: nothing is read on the strength of them. */
    if (PLX_UNLIKELY(number == 0)) {
        (void)plx_fetch_add_relaxed(&c->misses, 1);
        return NULL;
    }
    /* Relaxed: the last owner's exchange came before the push that [A1] has seen. */
    plx_store_relaxed(&pool->map[number - 1], (uint8_t)(PLX__POOL_HELD | index));
    (void)plx_fetch_add_relaxed(&c->acquires, 1);
    uint32_t in_use = plx_fetch_add_relaxed(&c->in_use, 1) + 1;
    uint32_t peak = plx_load_relaxed(&c->peak);
    while (PLX_UNLIKELY(in_use > peak) && !plx_cas_relaxed(&c->peak, &peak, in_use))
        continue;
    return pool->base + (number - 1) * PLX_PAGE;
}

/*
 * Gives a block back, by its first byte, for a program that answers for wrong ones itself. When an
 * error is returned, all of them the programmer's, nothing has changed:
 *   -EALREADY  the block is free
 *   -EINVAL    the address is not that of a block: inside one, NULL, or not of this pool
 * Affinity: any thread. Cost: hot, lock-free.
 */
PLX_MUST_CHECK static inline int plx_shared_pool_try_release(struct plx_shared_pool *pool,
                                                             void *block)
{
    /* Rotated, so that bits of the page's inside make it too large: one comparison for both. */
    uint64_t offset = (uintptr_t)block - (uintptr_t)pool->base;
    uint64_t page = offset >> 12 | offset << 52;
    if (PLX_UNLIKELY(page >= pool->pages))
        return plx__shared_pool_wrong(pool, block);
    /* Relaxed, and the exchange too: a byte's changes have one order (see 3. above). */
    uint8_t state = plx_load_relaxed(&pool->map[page]);
    if (PLX_UNLIKELY((state & PLX__POOL_STATE) != PLX__POOL_HELD))
        return plx__shared_pool_wrong(pool, block);
    uint32_t index = state & PLX__POOL_CLASS;
    state = plx_exchange_relaxed(&pool->map[page], (uint8_t)(PLX__POOL_FREE | index));
    if (PLX_UNLIKELY((state & PLX__POOL_STATE) != PLX__POOL_HELD))
        return plx__shared_pool_wrong(pool, block);

    struct plx__shared_class *c = &pool->classes[index];
    /* Before the push, so that in_use never exceeds the capacity. */
    (void)plx_fetch_add_relaxed(&c->in_use, UINT32_MAX);
    plx__shared_push(&c->top, pool->links, page + 1);
    return 0;
}

/* plx_shared_pool_try_release for a program that makes no such errors: one aborts, saying which. */
static inline void plx_shared_pool_release(struct plx_shared_pool *pool, void *block)
{
    int code = plx_shared_pool_try_release(pool, block);
    if (PLX_UNLIKELY(code != 0))
        plx__shared_pool_fault(pool, block, code);
}

PLX_EXTERN_C_END

#endif
