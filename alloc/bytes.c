/* SPDX-License-Identifier: MIT */
#include "alloc/bytes.h"

#include <string.h>

#include "alloc/bytes_internal.h"

/* --- homes ------------------------------------------------------------------------------------ */

uint64_t plx_bytes_home_measure(uint64_t block_bytes)
{
    return plx_round_up(block_bytes / PLX_PAGE * sizeof(uint32_t), PLX_CACHE_LINE);
}

int plx_bytes_home_init(struct plx_bytes_home *home, struct plx_pool *pool, struct plx_arena *arena,
                        struct plx_diag *diag)
{
    memset(home, 0, sizeof(*home));
    PLX_ASSERT(pool->pages != 0);
    size_t bytes = (size_t)plx_bytes_home_measure(pool->pages * PLX_PAGE);
    /* Carved memory is zero: no block is counted. */
    uint32_t *counts = plx_arena_carve(arena, bytes, PLX_CACHE_LINE);
    if (counts == NULL)
        return plx_diag_set(diag, -ENOMEM, "arena",
                            "the books of counted bytes need %zu bytes, the arena has %zu left",
                            bytes, plx_arena_left(arena));
    home->pool = pool;
    home->counts = counts;
    return 0;
}

static uint32_t *count_of(const struct plx_bytes_home *home, const void *block)
{
    return &home->counts[((uintptr_t)block - (uintptr_t)home->pool->base) / PLX_PAGE];
}

/* The home stops holding the block that it packs; the slices in it hold it on. */
static void end_pack(struct plx_bytes_home *home)
{
    if (home->pack == NULL)
        return;
    uint32_t *count = count_of(home, home->pack);
    *count -= PLX__BYTES_HOLDER;
    if (*count < PLX__BYTES_HOLDER) {
        *count = 0;
        plx_pool_release(home->pool, home->pack);
    }
    home->pack = NULL;
}

void plx_bytes_home_fini(struct plx_bytes_home *home)
{
    end_pack(home);
}

const char *plx__bytes_home_check(const struct plx_bytes_home *home)
{
    const struct plx_pool *pool = home->pool;

    for (uint64_t page = 0; page < pool->pages; page++) {
        uint32_t count = home->counts[page];
        if (count == 0)
            continue;
        if ((pool->map[page] & PLX__POOL_STATE) != PLX__POOL_HELD)
            return "a block is counted and is not held";
        if (count < PLX__BYTES_HOLDER)
            return "a block is counted and has no holder";
    }
    if (home->pack == NULL)
        return NULL;
    uint32_t count = *count_of(home, home->pack);
    if (count < PLX__BYTES_HOLDER || (count & PLX__BYTES_PACKED) == 0)
        return "the home does not hold the block that it packs";
    if (home->pack_used > home->pack_bytes)
        return "more was packed than the block holds";
    return NULL;
}

/* --- making ----------------------------------------------------------------------------------- */

/* The first holder of a block that was in nobody's books: `len` bytes of it from `data` on. */
static struct plx_bytes first_holder(struct plx_bytes_home *home, const void *block,
                                     const void *data, size_t len)
{
    struct plx_bytes bytes = {.ptr = data, .len = len, .home = home};
    uint32_t *count = count_of(home, block);

    PLX_ASSERT(*count == 0);
    *count = PLX__BYTES_HOLDER;
    return bytes;
}

struct plx_bytes plx_bytes_freeze(struct plx_bytes_home *home, void *block, const void *data,
                                  size_t len)
{
    size_t block_bytes = 0;
    const void *start = plx_pool_block_of(home->pool, block, &block_bytes);
    PLX_ASSERT(block != NULL && start == block);
    /* Wraps, and is too large, for what lies before the block. */
    size_t offset = (uintptr_t)data - (uintptr_t)block;
    PLX_ASSERT(offset <= block_bytes && len <= block_bytes - offset);

    if (len != 0)
        return first_holder(home, block, data, len);
    const struct plx_bytes none = {0};
    PLX_ASSERT(*count_of(home, block) == 0);
    plx_pool_release(home->pool, block);
    return none;
}

/*
 * Has a block with room for `len` packed bytes. A fresh one is got before the old one is given up,
 * so that the rest of the old one still serves smaller slices when the pool is dry.
 */
static int provide_pack(struct plx_bytes_home *home, size_t len)
{
    if (home->pack != NULL) {
        /* Nobody but the home holds it: all that was packed there has gone, so begin it anew. */
        if (*count_of(home, home->pack) < 2 * PLX__BYTES_HOLDER)
            home->pack_used = 0;
        if (home->pack_bytes - home->pack_used >= len)
            return 0;
    }
    uint8_t *block = plx_pool_acquire(home->pool, PLX_POOL_BLOCK_MIN);
    if (block == NULL)
        return -ENOMEM;
    end_pack(home);
    uint32_t *count = count_of(home, block);
    PLX_ASSERT(*count == 0);
    *count = PLX__BYTES_HOLDER | PLX__BYTES_PACKED;
    size_t block_bytes = 0;
    (void)plx_pool_block_of(home->pool, block, &block_bytes);
    home->pack = block;
    home->pack_bytes = (uint32_t)block_bytes;
    home->pack_used = 0;
    return 0;
}

static int pack_room(struct plx_bytes_home *home, size_t len, struct plx_bytes *out)
{
    int rc = provide_pack(home, len);
    if (rc != 0)
        return rc;
    *count_of(home, home->pack) += PLX__BYTES_HOLDER;
    out->ptr = home->pack + home->pack_used;
    out->len = len;
    out->home = home;
    /* Without gaps, so that what is packed in a row can be one segment of a queue. */
    home->pack_used += (uint32_t)len;
    home->packed++;
    return 0;
}

static int own_room(struct plx_bytes_home *home, size_t len, struct plx_bytes *out)
{
    if (!plx_pool_fits(home->pool, len))
        return -EMSGSIZE;
    void *block = plx_pool_acquire(home->pool, len);
    if (block == NULL)
        return -ENOMEM;
    *out = first_holder(home, block, block, len);
    return 0;
}

int plx__bytes_room(struct plx_bytes_home *home, size_t len, struct plx_bytes *out)
{
    memset(out, 0, sizeof(*out));
    return len < PLX_BYTES_PACK_MAX ? pack_room(home, len, out) : own_room(home, len, out);
}

int plx__bytes_room_block(struct plx_bytes_home *home, size_t len, struct plx_bytes *out,
                          size_t *behind)
{
    size_t block_bytes = 0;

    memset(out, 0, sizeof(*out));
    void *block = plx_pool_acquire(home->pool, PLX_POOL_BLOCK_MIN);
    if (block == NULL)
        return -ENOMEM;
    (void)plx_pool_block_of(home->pool, block, &block_bytes);
    if (len > block_bytes)
        len = block_bytes;
    *out = first_holder(home, block, block, len);
    *behind = block_bytes - len;
    return 0;
}

int plx_bytes_copy(struct plx_bytes_home *home, const void *data, size_t len, struct plx_bytes *out)
{
    memset(out, 0, sizeof(*out));
    if (len == 0)
        return 0;
    int rc = plx__bytes_room(home, len, out);
    if (rc == 0)
        memcpy(plx__bytes_fill(out, 0), data, len);
    return rc;
}

/* --- sharing ---------------------------------------------------------------------------------- */

/* Puts a copy in the slice's place: `make` says where it lies. */
static int move(struct plx_bytes_home *home, struct plx_bytes *bytes,
                int (*make)(struct plx_bytes_home *, size_t, struct plx_bytes *))
{
    struct plx_bytes own = {0};
    int rc = make(home, bytes->len, &own);
    if (rc != 0)
        return rc;
    memcpy(plx__bytes_fill(&own, 0), bytes->ptr, bytes->len);
    plx_bytes_release(home, bytes);
    *bytes = own;
    return 0;
}

int plx_bytes_make_sole(struct plx_bytes_home *home, struct plx_bytes *bytes)
{
    return plx_bytes_is_sole(bytes) ? 0 : move(home, bytes, own_room);
}

int plx_bytes_keep(struct plx_bytes_home *home, struct plx_bytes *bytes)
{
    return plx__bytes_pins(home, bytes) ? move(home, bytes, pack_room) : 0;
}
