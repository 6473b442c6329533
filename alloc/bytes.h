/* SPDX-License-Identifier: MIT */
/*
 * Counted bytes: an immutable slice of a pool's block that several holders share on one core.
 *
 * Words. To *freeze* a block is to make some of its bytes immutable and counted: the block goes
 * back to its pool with the last slice of it. A *home* is a pool's books for that, one per pool.
 * Small slices are *packed*: copied one behind the other into a common block, so that a message of
 * a few bytes does not *pin* (keep from its pool) a block by itself. A slice is *sole* when nothing
 * else holds its block.
 *
 * The way of a received block: acquire from the pool -> the kernel fills it -> freeze -> slices ->
 * the last release. Nothing is copied on it. What outlives the turn it came in is passed through
 * plx_bytes_keep, which packs it if it is small:
 *
 *     uint8_t *block = plx_pool_acquire(home.pool, PLX_POOL_BLOCK_MIN);
 *     ssize_t got = recv(fd, block, PLX_POOL_BLOCK_MIN, 0);
 *     struct plx_bytes all = plx_bytes_freeze(&home, block, block, got > 0 ? (size_t)got : 0);
 *     struct plx_bytes order;
 *     if (plx_bytes_slice(&all, 8, 40, &order) == 0) {
 *         if (plx_bytes_keep(&home, &order) != 0)
 *             pinning++; // the pool is dry: the order is good all the same
 *         remember(order); // and plx_bytes_release(&home, &order) some time later
 *     }
 *     plx_bytes_release(&home, &all);
 *
 * What packing bounds: n kept slices of fewer than PLX_BYTES_PACK_MAX bytes pin at most n + 1
 * blocks in whatever order they are released, and no more than one block for each 3.5 KiB of them,
 * and two, when that is the order in which they were kept.
 *
 * Threads: counts are not synchronised. A slice and its home belong to one thread; a sole slice may
 * be handed to another thread (by something that orders, a post say), which then may share and
 * release it there: its block finds home through the releasing thread's pool.
 */
#ifndef POLLUX_BYTES_H
#define POLLUX_BYTES_H

#include <errno.h>

#include "alloc/arena.h"
#include "alloc/base.h"
#include "alloc/pool.h"

PLX_EXTERN_C_BEGIN

/* What is kept of fewer bytes than this is packed rather than pins its block. */
#define PLX_BYTES_PACK_MAX 512u

/* A pool's books of counted blocks. Zeroed is one that is not made. Fields are private. */
struct plx_bytes_home {
    /* Read by every thread with a slice; written by init. */
    struct plx_pool *pool;
    /*
     * By page of the pool's blocks: for the first page of a counted one PLX__BYTES_HOLDER for each
     * holder, and PLX__BYTES_PACKED where small slices are packed; else 0. An entry belongs to the
     * thread that holds the block.
     */
    uint32_t *counts;
    uint8_t reserved[PLX_CACHE_LINE]; /* other threads' reads do not meet the owner's writes */
    /* The owner's. */
    uint8_t *pack; /* the block that is being packed, of which the home is a holder; or NULL */
    uint32_t pack_bytes;
    uint32_t pack_used;
    uint64_t packed; /* slices copied because they were small, so far */
};

/* Private: the units of an entry of `counts`. */
#define PLX__BYTES_PACKED 1u
#define PLX__BYTES_HOLDER 2u

/* A slice, by value. Zeroed is the empty slice, which needs no release. To be read, not written. */
struct plx_bytes {
    const uint8_t *ptr;
    size_t len;                  /* 0: ptr and home are NULL */
    struct plx_bytes_home *home; /* NULL: memory that needs no counting */
};

/* --- homes ------------------------------------------------------------------------------------ */

/*
 * What plx_bytes_home_init carves for a pool with so many bytes of blocks
 * (plx_pool_needs.block_bytes): a thousandth of it. Any thread. Cost: set-up.
 */
PLX_API PLX_COLD uint64_t plx_bytes_home_measure(uint64_t block_bytes);

/*
 * Makes the books for `pool`, which has blocks, carved from `arena`. One home for a pool.
 * Ownership: `home` is overwritten and stays where it is, with `pool`, until the last slice has
 * gone. The memory is the arena's. `diag` NULL allowed. Affinity: the pool's owner, who becomes the
 * home's. Cost: set-up. Errors: -ENOMEM the arena has not so much left; *home is zeroed then.
 */
PLX_API PLX_COLD PLX_MUST_CHECK int plx_bytes_home_init(struct plx_bytes_home *home,
                                                        struct plx_pool *pool,
                                                        struct plx_arena *arena,
                                                        struct plx_diag *diag);

/*
 * Gives up the block that is being packed. Slices may live on and be released, and while they do
 * the home stays; nothing new is made with it. Cost: set-up.
 */
PLX_API PLX_COLD void plx_bytes_home_fini(struct plx_bytes_home *home);

/* For tests: what is wrong inside, or NULL. Looks at every page. */
PLX_COLD const char *plx__bytes_home_check(const struct plx_bytes_home *home);

/* --- making ----------------------------------------------------------------------------------- */

/*
 * Makes `len` bytes from `data` on, within `block`, immutable and counted.
 * Shapes: `block` as acquired from the home's pool, and not frozen yet; `data` and `len` lie within
 * it. All this is asserted in every build: a read longer than its block ends here.
 * Ownership: the block is the slice's from here on; with len 0 it goes back to the pool at once and
 * the slice is empty. Cost: hot, a few stores.
 */
PLX_API PLX_MUST_CHECK struct plx_bytes plx_bytes_freeze(struct plx_bytes_home *home, void *block,
                                                         const void *data, size_t len);

/*
 * A counted copy. Fewer bytes than PLX_BYTES_PACK_MAX are packed; more get a block of their own.
 * `data` may be NULL when `len` is 0, and the slice is empty then. Ownership: *out is overwritten,
 * and the caller's to release. Cost: hot, a copy. Errors: -EMSGSIZE no block of the pool is so
 * large; -ENOMEM the pool is dry; *out is empty then.
 */
PLX_API PLX_MUST_CHECK int plx_bytes_copy(struct plx_bytes_home *home, const void *data, size_t len,
                                          struct plx_bytes *out);

/* Memory that outlives all its slices, static text say, as a slice that needs no counting. */
static inline struct plx_bytes plx_bytes_static(const void *data, size_t len)
{
    struct plx_bytes bytes;
    bytes.ptr = len != 0 ? (const uint8_t *)data : NULL;
    bytes.len = len;
    bytes.home = NULL;
    return bytes;
}

/* --- sharing ---------------------------------------------------------------------------------- */

/* Private: the block of a slice that is counted, and its entry in the books. */
static inline void *plx__bytes_block(const struct plx_bytes *bytes, uint32_t **count)
{
    const struct plx_pool *pool = bytes->home->pool;
    void *block = plx_pool_block_of(pool, bytes->ptr, NULL);
    PLX_ASSERT_HOT(block != NULL);
    *count = &bytes->home->counts[((uintptr_t)block - (uintptr_t)pool->base) / PLX_PAGE];
    PLX_ASSERT(**count >= PLX__BYTES_HOLDER);
    return block;
}

/* Another holder of the same bytes. Cost: hot, no copy. */
static inline PLX_MUST_CHECK struct plx_bytes plx_bytes_clone(const struct plx_bytes *bytes)
{
    if (bytes->home != NULL) {
        uint32_t *count;
        (void)plx__bytes_block(bytes, &count);
        *count += PLX__BYTES_HOLDER;
    }
    return *bytes;
}

/*
 * A holder of `len` bytes from `offset` on; `bytes` stays as it is. Shapes: `out` is another slice.
 * Ownership: *out is overwritten, and the caller's to release. Cost: hot, no copy. Errors: -ERANGE
 * out of bounds; *out is empty then.
 */
static inline PLX_MUST_CHECK int plx_bytes_slice(const struct plx_bytes *bytes, size_t offset,
                                                 size_t len, struct plx_bytes *out)
{
    PLX_ASSERT_HOT(out != bytes);
    bool fits = offset <= bytes->len && len <= bytes->len - offset;
    if (PLX_UNLIKELY(!fits || len == 0)) {
        out->ptr = NULL;
        out->len = 0;
        out->home = NULL;
        return fits ? 0 : -ERANGE;
    }
    *out = plx_bytes_clone(bytes);
    out->ptr += offset;
    out->len = len;
    return 0;
}

/*
 * Ends one holding and leaves the empty slice. The block of the last one goes back to its pool,
 * from another core the way that the pool of `here`, the calling thread's home, knows. Cost: hot.
 */
static inline void plx_bytes_release(struct plx_bytes_home *here, struct plx_bytes *bytes)
{
    if (bytes->home != NULL) {
        uint32_t *count;
        void *block = plx__bytes_block(bytes, &count);
        *count -= PLX__BYTES_HOLDER;
        if (*count < PLX__BYTES_HOLDER) {
            *count = 0;
            plx_pool_release(here->pool, block);
        }
    }
    bytes->ptr = NULL;
    bytes->len = 0;
    bytes->home = NULL;
}

/* Whether nothing else holds the block, so that the slice may go to another core. */
static inline bool plx_bytes_is_sole(const struct plx_bytes *bytes)
{
    uint32_t *count;

    if (bytes->home == NULL)
        return true;
    (void)plx__bytes_block(bytes, &count);
    return *count < 2 * PLX__BYTES_HOLDER;
}

/*
 * Makes the slice sole: nothing to do, or a copy into a block of its own, packed never. `home` is
 * the calling thread's. Cost: hot, maybe a copy. Errors: -EMSGSIZE, -ENOMEM as plx_bytes_copy; the
 * slice is as it was.
 */
PLX_API PLX_MUST_CHECK int plx_bytes_make_sole(struct plx_bytes_home *home,
                                               struct plx_bytes *bytes);

/*
 * Makes the slice fit to be kept for long: if it is smaller than PLX_BYTES_PACK_MAX, and not packed
 * in `home`, the calling thread's, it is packed there and its own block let go. Else nothing is to
 * be done. Cost: hot, maybe a copy. Errors: -ENOMEM the pool is dry; the slice is as it was, good
 * but pinning its block.
 */
PLX_API PLX_MUST_CHECK int plx_bytes_keep(struct plx_bytes_home *home, struct plx_bytes *bytes);

PLX_EXTERN_C_END

#endif
