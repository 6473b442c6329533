/* SPDX-License-Identifier: MIT */
/*
 * A segmented buffer: a queue of bytes for decoders, made of counted slices as they came in.
 *
 * Words. A *segment* is one slice of the queue. The *front* is the first one. To *take* is to leave
 * with a counted slice: without a copy where the bytes lie in one segment, with one copy where they
 * span several. To *skip* is to drop bytes unseen.
 *
 *     struct plx_bytes came = plx_bytes_freeze(&home, block, block, got);
 *     int rc = plx_segbuf_extend(&queue, &came);         // no copy, unless it is small
 *     struct plx_bytes order;
 *     while (plx_segbuf_take(&queue, ORDER_BYTES, &order) == 0) {
 *         decode(order.ptr, order.len);
 *         plx_bytes_release(&home, &order);
 *     }
 *     // and if rc != 0: no room, so plx_bytes_release(&home, &came) and close, or extend later
 *
 * Bounds. The number of segments is fixed at init. What is smaller than PLX_BYTES_PACK_MAX is
 * copied, one behind the other, so that it neither pins a block by itself nor, where a consumer is
 * slow, uses a segment up each time: first with the small slices of everybody into the home's
 * common block, and where eight segments wait already, or half of all, into a block of the queue's
 * own. A queue of small appends so pins at most a block for each 4 KiB in it, and ten.
 *
 * Threads: the owner of the home.
 */
#ifndef POLLUX_SEGBUF_H
#define POLLUX_SEGBUF_H

#include <errno.h>
#include <sys/uio.h>

#include "alloc/base.h"
#include "alloc/bytes.h"

PLX_EXTERN_C_BEGIN

/* Bounds of the number of segments. */
#define PLX_SEGBUF_SEGMENTS_MIN 2u
#define PLX_SEGBUF_SEGMENTS_MAX 65536u
/* The longest pattern that plx_segbuf_find looks for. */
#define PLX_SEGBUF_PATTERN_MAX 64u

/* Zeroed is an empty queue without room for a segment. Fields are private; plx_segbuf_len reads. */
struct plx_segbuf {
    struct plx_bytes_home *home;
    struct plx_bytes *segments; /* a ring of `capacity`, 0 or a power of two */
    uint32_t capacity;
    uint32_t head;   /* of the first segment; counts on, its low bits are the place in the ring */
    uint32_t count;  /* of the segments in use */
    uint32_t behind; /* bytes behind the last segment that are nobody else's, to be written */
    size_t len;      /* bytes of all segments */
    bool last_small; /* what was appended last was small, or copied */
};

/* --- lifecycle -------------------------------------------------------------------------------- */

/*
 * An empty queue. Shapes: `count` a power of two within the bounds above. Ownership: `segments`,
 * room for `count`, and `home` are borrowed until fini. Cost: set-up. Errors: -EINVAL NULL, or
 * another count; the queue is zeroed then.
 */
PLX_API PLX_MUST_CHECK int plx_segbuf_init(struct plx_segbuf *buf, struct plx_bytes_home *home,
                                           struct plx_bytes *segments, uint32_t count);

/* Releases all that is in it and leaves it zeroed. */
PLX_API void plx_segbuf_fini(struct plx_segbuf *buf);

/* Releases all that is in it. */
PLX_API void plx_segbuf_clear(struct plx_segbuf *buf);

/* --- filling ---------------------------------------------------------------------------------- */

/*
 * Appends a slice. One that begins where the last segment ends, in the same block, joins it.
 * Ownership: it is the queue's and *bytes is empty, unless there is an error. Cost: hot; no copy
 * from PLX_BYTES_PACK_MAX bytes on; fewer are copied, and what they lay in is let go, unless the
 * pool is dry. Errors: -ENOBUFS all segments are in use; nothing was taken.
 */
PLX_API PLX_MUST_CHECK int plx_segbuf_extend(struct plx_segbuf *buf, struct plx_bytes *bytes);

/*
 * Appends a copy, all or nothing; `data` may be larger than a block, and NULL when `len` is 0.
 * Cost: hot, a copy. Errors: -ENOBUFS too few segments are left, -ENOMEM the pool is dry; nothing
 * was appended.
 */
PLX_API PLX_MUST_CHECK int plx_segbuf_extend_copy(struct plx_segbuf *buf, const void *data,
                                                  size_t len);

/* --- looking ---------------------------------------------------------------------------------- */

/* Bytes in the queue. */
static inline size_t plx_segbuf_len(const struct plx_segbuf *buf)
{
    return buf->len;
}

/* The bytes of the first segment, borrowed until the queue changes; NULL and 0 when it is empty. */
PLX_API const uint8_t *plx_segbuf_front(const struct plx_segbuf *buf, size_t *len);

/*
 * `len` ≥ 1 bytes from `offset` on, in one piece: where they lie, if that is in one segment, else
 * copied to `scratch` (room for `len`). Borrowed until the queue changes. NULL: so many are not
 * there. Cost: hot; passes over the segments before `offset`.
 */
PLX_API const uint8_t *plx_segbuf_peek(const struct plx_segbuf *buf, size_t offset, size_t len,
                                       void *scratch);

/*
 * Copies `len` bytes from `offset` on. Cost: as plx_segbuf_peek. Errors: -EAGAIN so many are not
 * there; nothing was copied.
 */
PLX_API PLX_MUST_CHECK int plx_segbuf_copy_out(const struct plx_segbuf *buf, size_t offset,
                                               void *to, size_t len);

/*
 * Where `pattern`, 1 to PLX_SEGBUF_PATTERN_MAX bytes, first begins at or after `from`, across
 * segments too. Cost: a look at each byte from there on, so remember how far the last search came:
 * when more has come, all but the last pattern_len - 1 bytes need not be searched again. Errors:
 * -ENOENT it is not there (yet), -EINVAL the pattern's length.
 */
PLX_API PLX_MUST_CHECK int64_t plx_segbuf_find(const struct plx_segbuf *buf, size_t from,
                                               const void *pattern, size_t pattern_len);

/*
 * The first `max` segments as iovecs, for writing them on; returns how many. Borrowed until the
 * queue changes: what was written is dropped by plx_segbuf_skip.
 */
PLX_API uint32_t plx_segbuf_iovec(const struct plx_segbuf *buf, struct iovec *out, uint32_t max);

/* For tests: what is wrong inside, or NULL. Looks at every segment. */
PLX_COLD const char *plx__segbuf_check(const struct plx_segbuf *buf);

/* --- taking ----------------------------------------------------------------------------------- */

/*
 * Leaves with the first `len` bytes. What is kept for long should pass through plx_bytes_keep.
 * Ownership: *out is overwritten, and the caller's to release. Cost: hot; one copy where they span
 * segments. Errors: -EAGAIN so many are not there; -EMSGSIZE they span segments and no block of the
 * pool is so large; -ENOMEM they do and the pool is dry. Nothing has changed then, *out is empty.
 */
PLX_API PLX_MUST_CHECK int plx_segbuf_take(struct plx_segbuf *buf, size_t len,
                                           struct plx_bytes *out);

/* Skips `skip` bytes and takes the next `len`: all or nothing, errors as plx_segbuf_take. */
PLX_API PLX_MUST_CHECK int plx_segbuf_take_after(struct plx_segbuf *buf, size_t skip, size_t len,
                                                 struct plx_bytes *out);

/* Drops the first `len` bytes. Errors: -EAGAIN so many are not there; nothing was dropped. */
PLX_API PLX_MUST_CHECK int plx_segbuf_skip(struct plx_segbuf *buf, size_t len);

PLX_EXTERN_C_END

#endif
