/* SPDX-License-Identifier: MIT */
#include "alloc/buf.h"

#include <string.h>

#include "alloc/buf_internal.h"
#include "alloc/pool.h"

static void leave_empty(struct plx_buf *buf)
{
    memset(buf, 0, sizeof(*buf));
}

static int from_pool(struct plx_buf *buf, size_t cap, struct plx_pool *pool)
{
    if (!plx_pool_fits(pool, cap))
        return -EMSGSIZE;
    void *block = plx_pool_acquire(pool, cap);
    if (block == NULL)
        return -ENOMEM;
    buf->ptr = block;
    (void)plx_pool_block_of(pool, block, &buf->cap);
    buf->pool = pool;
    return 0;
}

/* Whole pages of a mapping of their own: aligned by nature, and zero without being touched. */
int plx__buf_map(struct plx_buf *buf, size_t cap, const struct plx__pages_calls *calls)
{
    void *pages = NULL;
    size_t bytes = plx_round_up(cap, PLX_PAGE);

    leave_empty(buf);
    if (bytes < cap)
        return -ENOMEM;
    int rc = calls->map(bytes, PLX_PAGE, &pages);
    if (rc != 0)
        return rc;
    rc = calls->open(pages, bytes);
    if (rc != 0)
        goto unmap;
    /* A child would otherwise share pages that the kernel is reading into, and get copies. */
    rc = calls->advise(pages, bytes, MADV_DONTFORK);
    if (rc != 0)
        goto unmap;
    buf->ptr = pages;
    buf->cap = bytes;
    return 0;

unmap:
    (void)calls->unmap(pages, bytes);
    return rc;
}

int plx_buf_with_cap(struct plx_buf *buf, size_t cap, struct plx_pool *pool)
{
    leave_empty(buf);
    if (cap == 0)
        return -EINVAL;
    return pool != NULL ? from_pool(buf, cap, pool) : plx__buf_map(buf, cap, &plx__pages_linux);
}

int plx_buf_zeroed(struct plx_buf *buf, size_t len, struct plx_pool *pool)
{
    int rc = plx_buf_with_cap(buf, len, pool);
    if (rc != 0)
        return rc;
    /* To the end: direct I/O writes whole pages, and the last owner's bytes must not go along. */
    if (pool != NULL)
        memset(buf->ptr, 0, buf->cap);
    buf->len = len;
    return 0;
}

int plx_buf_page(struct plx_buf *buf, struct plx_pool *pool)
{
    return plx_buf_zeroed(buf, PLX_PAGE, pool);
}

void plx_buf_fini(struct plx_buf *buf)
{
    if (buf->pool != NULL)
        plx_pool_release(buf->pool, buf->ptr);
    else if (buf->ptr != NULL)
        (void)plx__pages_linux.unmap(buf->ptr, buf->cap);
    leave_empty(buf);
}

int plx_buf_clone(const struct plx_buf *buf, struct plx_buf *out)
{
    leave_empty(out);
    if (buf->ptr == NULL)
        return 0;
    int rc = plx_buf_with_cap(out, buf->cap, buf->pool);
    if (rc != 0)
        return rc;
    memcpy(out->ptr, buf->ptr, buf->len);
    out->len = buf->len;
    /* A pool that falls up may have given more. */
    out->cap = buf->cap;
    return 0;
}

int plx_buf_from_parts(struct plx_buf *buf, const struct plx_buf_parts *parts)
{
    leave_empty(buf);
    if (parts->ptr == NULL || !plx_is_aligned(parts->ptr))
        return -EINVAL;
    if (parts->cap == 0 || parts->cap % PLX_PAGE != 0 || parts->len > parts->cap)
        return -EINVAL;
    size_t block_bytes = parts->cap;
    if (parts->pool != NULL &&
        plx_pool_block_of(parts->pool, parts->ptr, &block_bytes) != parts->ptr)
        return -EINVAL;
    if (parts->cap > block_bytes)
        return -EINVAL;
    buf->ptr = parts->ptr;
    buf->len = parts->len;
    buf->cap = parts->cap;
    buf->pool = parts->pool;
    return 0;
}

int plx_buf_extend(struct plx_buf *buf, const void *data, size_t len, struct plx_diag *diag)
{
    if (len > buf->cap - buf->len)
        return plx_diag_set(diag, -EOVERFLOW, "buffer",
                            "%zu bytes are needed behind the %zu filled, the capacity is %zu", len,
                            buf->len, buf->cap);
    if (len != 0)
        memcpy(buf->ptr + buf->len, data, len);
    buf->len += len;
    return 0;
}

int plx_buf_frame(const struct plx_buf *buf, size_t frame_bytes, size_t index, struct plx_view *out)
{
    memset(out, 0, sizeof(*out));
    if (frame_bytes == 0 || frame_bytes % PLX_PAGE != 0)
        return -EINVAL;
    if (index >= plx_buf_frames(buf, frame_bytes))
        return -ERANGE;
    *out = plx_view_slice_unchecked(plx_buf_view(buf), index * frame_bytes, frame_bytes);
    return 0;
}
