/* SPDX-License-Identifier: MIT */
/*
 * An owning buffer for direct I/O: aligned to PLX_PAGE, its capacity a multiple of PLX_PAGE, never
 * growing. From a pool, whose block it gives back, or from the system.
 *
 * Words. *Length* bytes are filled, of *capacity* that may be. *Frames* are equal parts of a large
 * buffer, each a view: the arena pattern, one owner and many borrowers.
 *
 * Threads: one at a time; one from a pool, the pool's.
 */
#ifndef POLLUX_BUF_H
#define POLLUX_BUF_H

#include <errno.h>

#include "alloc/base.h"
#include "alloc/view.h"

PLX_EXTERN_C_BEGIN

struct plx_pool;

/* Zeroed is an empty buffer that owns nothing; all functions accept it. To be read, not written. */
struct plx_buf {
    uint8_t *ptr;          /* aligned; NULL when empty */
    size_t len;            /* filled; at most cap */
    size_t cap;            /* a multiple of PLX_PAGE */
    struct plx_pool *pool; /* whose block it is; NULL: the system's */
};

/* --- lifecycle -------------------------------------------------------------------------------- */

/*
 * A buffer of `cap` bytes or more, nothing filled, its content undefined.
 * Shapes: 1 ≤ cap, rounded up to PLX_PAGE; from a pool, to all of the block that it got. Ownership:
 * *buf is overwritten; the memory is the caller's until plx_buf_fini. `pool` NULL: from the system,
 * and forked children don't have it. Cost: from a pool, hot and without a system call; else several
 * of them. Errors: -EINVAL cap is 0; -EMSGSIZE no block of this pool is so large; -ENOMEM the pool
 * is dry or the system out of memory; others as mprotect(2) and madvise(2); *buf is empty then.
 */
PLX_API PLX_MUST_CHECK int plx_buf_with_cap(struct plx_buf *buf, size_t cap, struct plx_pool *pool);

/*
 * A buffer of `len` filled bytes; they are zero, and so is all behind them up to the capacity. As
 * plx_buf_with_cap; the system's pages are zero without being touched, a pool's block is cleared.
 */
PLX_API PLX_MUST_CHECK int plx_buf_zeroed(struct plx_buf *buf, size_t len, struct plx_pool *pool);

/* PLX_PAGE bytes of zeros, filled. As plx_buf_zeroed. */
PLX_API PLX_MUST_CHECK int plx_buf_page(struct plx_buf *buf, struct plx_pool *pool);

/* Gives the memory back and leaves the buffer empty. Views of it end here. */
PLX_API void plx_buf_fini(struct plx_buf *buf);

/*
 * A copy with the same content, length and capacity, from the same source. Ownership: *out is
 * overwritten, and the caller's to end. Errors: -ENOMEM and others, as plx_buf_with_cap; *out is
 * empty then.
 */
PLX_API PLX_MUST_CHECK int plx_buf_clone(const struct plx_buf *buf, struct plx_buf *out);

/* What a buffer is made of, for passing through interfaces that know pointers only. */
struct plx_buf_parts {
    uint8_t *ptr;
    size_t len;
    size_t cap;
    struct plx_pool *pool;
};

/* Takes the buffer apart and leaves it empty: the parts own the memory now. */
static inline struct plx_buf_parts plx_buf_into_parts(struct plx_buf *buf)
{
    struct plx_buf_parts parts;
    parts.ptr = buf->ptr;
    parts.len = buf->len;
    parts.cap = buf->cap;
    parts.pool = buf->pool;
    buf->ptr = NULL;
    buf->len = 0;
    buf->cap = 0;
    buf->pool = NULL;
    return parts;
}

/*
 * The buffer that parts of plx_buf_into_parts make up again; the length may have changed meanwhile.
 * Ownership: *buf is overwritten and owns the memory. Errors: -EINVAL what cannot be a buffer: a
 * NULL or misaligned pointer, a capacity of 0 or no multiple of PLX_PAGE, a length above it; with a
 * pool also a pointer that begins none of its blocks, or a capacity above the block's. *buf is
 * empty then and the parts still own the memory.
 */
PLX_API PLX_MUST_CHECK int plx_buf_from_parts(struct plx_buf *buf,
                                              const struct plx_buf_parts *parts);

/* --- content ---------------------------------------------------------------------------------- */

/*
 * Appends a copy of `len` bytes; never grows. `data` may be NULL when `len` is 0. Errors:
 * -EOVERFLOW there is no room, nothing was copied, and `diag` (NULL allowed) tells need and
 * capacity.
 */
PLX_API PLX_MUST_CHECK int plx_buf_extend(struct plx_buf *buf, const void *data, size_t len,
                                          struct plx_diag *diag);

/* Forgets all but the first `len` bytes. Never grows: with a larger `len` nothing is changed. */
static inline void plx_buf_truncate(struct plx_buf *buf, size_t len)
{
    if (len < buf->len)
        buf->len = len;
}

static inline void plx_buf_clear(struct plx_buf *buf)
{
    buf->len = 0;
}

/*
 * Says that `len` bytes are filled, by the kernel say. Errors: -EOVERFLOW above the capacity;
 * nothing is changed.
 */
static inline PLX_MUST_CHECK int plx_buf_set_len(struct plx_buf *buf, size_t len)
{
    if (len > buf->cap)
        return -EOVERFLOW;
    buf->len = len;
    return 0;
}

/* --- views ------------------------------------------------------------------------------------ */

/* All of it: length as filled. Borrowed until the buffer is changed or ended. */
static inline struct plx_view plx_buf_view(const struct plx_buf *buf)
{
    struct plx_view view;
    view.ptr = buf->ptr;
    view.len = buf->len;
    view.cap = buf->cap;
    return view;
}

/* What is filled as a write source: capacity = length. */
static inline struct plx_view plx_buf_view_data(const struct plx_buf *buf)
{
    struct plx_view view;
    view.ptr = buf->ptr;
    view.len = buf->len;
    view.cap = buf->len;
    return view;
}

/*
 * How many frames of `frame_bytes` the capacity holds. 0 where `frame_bytes` is 0 or no multiple of
 * PLX_PAGE. A rest at the end that is shorter than a frame belongs to none.
 */
static inline size_t plx_buf_frames(const struct plx_buf *buf, size_t frame_bytes)
{
    if (frame_bytes == 0 || frame_bytes % PLX_PAGE != 0)
        return 0;
    return buf->cap / frame_bytes;
}

/*
 * Frame `index` as a read target. Errors: -EINVAL a frame size that plx_buf_frames answers with 0,
 * -ERANGE there is no such frame.
 */
PLX_API PLX_MUST_CHECK int plx_buf_frame(const struct plx_buf *buf, size_t frame_bytes,
                                         size_t index, struct plx_view *out);

PLX_EXTERN_C_END

#endif
