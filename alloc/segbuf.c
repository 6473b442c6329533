/* SPDX-License-Identifier: MIT */
#include "alloc/segbuf.h"

#include <string.h>

#include "alloc/bytes_internal.h"

/*
 * In a queue of so many segments (or half of all) small bytes go to a block of the queue's own,
 * instead of to the home's common one: there they are released in the order in which they came, and
 * lie one behind the other, however many queues share the home. Below it, a block for each of
 * thousands of queues with a few bytes in them would be the greater waste.
 */
enum { OWN_BLOCK_FROM = 8 };

static inline struct plx_bytes *segment_at(const struct plx_segbuf *buf, uint32_t index)
{
    return &buf->segments[(buf->head + index) & (buf->capacity - 1)];
}

int plx_segbuf_init(struct plx_segbuf *buf, struct plx_bytes_home *home, struct plx_bytes *segments,
                    uint32_t count)
{
    memset(buf, 0, sizeof(*buf));
    if (home == NULL || segments == NULL || !plx_is_pow2(count))
        return -EINVAL;
    if (count < PLX_SEGBUF_SEGMENTS_MIN || count > PLX_SEGBUF_SEGMENTS_MAX)
        return -EINVAL;
    buf->home = home;
    buf->segments = segments;
    buf->capacity = count;
    return 0;
}

/* The first segment leaves the queue; its holding is the caller's. */
static void pop_front(struct plx_segbuf *buf)
{
    buf->len -= segment_at(buf, 0)->len;
    buf->head++;
    if (--buf->count == 0)
        buf->behind = 0;
}

void plx_segbuf_clear(struct plx_segbuf *buf)
{
    while (buf->count != 0) {
        struct plx_bytes front = *segment_at(buf, 0);
        pop_front(buf);
        plx_bytes_release(buf->home, &front);
    }
}

void plx_segbuf_fini(struct plx_segbuf *buf)
{
    plx_segbuf_clear(buf);
    memset(buf, 0, sizeof(*buf));
}

const char *plx__segbuf_check(const struct plx_segbuf *buf)
{
    size_t len = 0;

    if (buf->count > buf->capacity)
        return "more segments than there is room for";
    for (uint32_t i = 0; i < buf->count; i++) {
        if (segment_at(buf, i)->len == 0)
            return "a segment is empty";
        len += segment_at(buf, i)->len;
    }
    if (len != buf->len)
        return "the length is not that of the segments";
    if (buf->behind == 0)
        return NULL;
    if (buf->count == 0)
        return "there is something behind a segment that is not there";
    const struct plx_bytes *last = segment_at(buf, buf->count - 1);
    size_t block_bytes = 0;
    const uint8_t *block = plx_pool_block_of(buf->home->pool, last->ptr, &block_bytes);
    if (block == NULL || last->ptr + last->len + buf->behind != block + block_bytes)
        return "what is behind the last segment does not end with its block";
    return NULL;
}

/* --- filling ---------------------------------------------------------------------------------- */

/* Whether `bytes` lies right behind `last`, in the same block: one holding can stand for both. */
static bool continues(const struct plx_bytes *last, const struct plx_bytes *bytes)
{
    if (last->home == NULL || last->home != bytes->home || last->ptr + last->len != bytes->ptr)
        return false;
    const struct plx_pool *pool = last->home->pool;
    return plx_pool_block_of(pool, last->ptr, NULL) == plx_pool_block_of(pool, bytes->ptr, NULL);
}

/* Appends a slice as it is. */
static int link_slice(struct plx_segbuf *buf, struct plx_bytes *bytes)
{
    struct plx_bytes *last = buf->count != 0 ? segment_at(buf, buf->count - 1) : NULL;
    buf->len += bytes->len;
    if (last != NULL && continues(last, bytes)) {
        last->len += bytes->len;
        plx_bytes_release(buf->home, bytes);
        return 0;
    }
    if (buf->count == buf->capacity) {
        buf->len -= bytes->len;
        return -ENOBUFS;
    }
    *segment_at(buf, buf->count++) = *bytes;
    buf->behind = 0;
    memset(bytes, 0, sizeof(*bytes));
    return 0;
}

/* Drops bytes from the end: what an append that failed half-way had added. */
static void cut_to(struct plx_segbuf *buf, size_t len)
{
    while (buf->len > len) {
        struct plx_bytes *last = segment_at(buf, buf->count - 1);
        size_t surplus = buf->len - len;
        if (surplus < last->len) {
            last->len -= surplus;
            buf->len -= surplus;
            return;
        }
        buf->len -= last->len;
        plx_bytes_release(buf->home, last);
        buf->count--;
    }
}

/* Writes what there is room for behind the last segment; returns how much. */
static size_t fill_behind(struct plx_segbuf *buf, const uint8_t *data, size_t len)
{
    size_t part = len < buf->behind ? len : buf->behind;
    if (part == 0)
        return 0;
    struct plx_bytes *last = segment_at(buf, buf->count - 1);
    memcpy(plx__bytes_fill(last, last->len), data, part);
    last->len += part;
    buf->len += part;
    buf->behind -= (uint32_t)part;
    return part;
}

/* Between slices that pin blocks anyway a block of its own for a few bytes would double them. */
static bool wants_own_block(const struct plx_segbuf *buf)
{
    uint32_t half = buf->capacity / 2;
    return buf->last_small && buf->count >= (half < OWN_BLOCK_FROM ? half : OWN_BLOCK_FROM);
}

/* Appends a copy of the first bytes of `data` as a slice of its own; returns of how many. */
static int64_t append_slice(struct plx_segbuf *buf, const uint8_t *data, size_t len)
{
    struct plx_bytes part;
    size_t behind = 0;
    if (buf->capacity == 0)
        return -ENOBUFS;
    int rc = len < PLX_BYTES_PACK_MAX && !wants_own_block(buf)
                 ? plx__bytes_room(buf->home, len, &part)
                 : plx__bytes_room_block(buf->home, len, &part, &behind);
    if (rc != 0)
        return rc;
    size_t part_len = part.len;
    memcpy(plx__bytes_fill(&part, 0), data, part_len);
    rc = link_slice(buf, &part);
    if (rc != 0) {
        plx_bytes_release(buf->home, &part);
        return rc;
    }
    buf->behind = (uint32_t)behind;
    return (int64_t)part_len;
}

int plx_segbuf_extend_copy(struct plx_segbuf *buf, const void *data, size_t len)
{
    size_t len_before = buf->len;
    uint32_t behind_before = buf->behind;
    const uint8_t *from = data;

    size_t done = fill_behind(buf, from, len);
    while (done < len) {
        int64_t part = append_slice(buf, from + done, len - done);
        if (PLX_UNLIKELY(part < 0)) {
            cut_to(buf, len_before);
            buf->behind = behind_before;
            return (int)part;
        }
        done += (size_t)part;
    }
    buf->last_small |= len != 0;
    return 0;
}

int plx_segbuf_extend(struct plx_segbuf *buf, struct plx_bytes *bytes)
{
    if (bytes->len == 0)
        return 0;
    const struct plx_bytes *last = buf->count != 0 ? segment_at(buf, buf->count - 1) : NULL;
    if (last != NULL && continues(last, bytes))
        return link_slice(buf, bytes);
    bool small = bytes->len < PLX_BYTES_PACK_MAX && bytes->home != NULL;
    bool copied =
        small && (buf->behind != 0 || wants_own_block(buf) || plx__bytes_pins(buf->home, bytes));
    /* A dry pool is no reason to refuse what is here already. */
    if (copied && plx_segbuf_extend_copy(buf, bytes->ptr, bytes->len) == 0) {
        plx_bytes_release(buf->home, bytes);
        return 0;
    }
    int rc = link_slice(buf, bytes);
    if (rc == 0)
        buf->last_small = small;
    return rc;
}

/* --- looking ---------------------------------------------------------------------------------- */

const uint8_t *plx_segbuf_front(const struct plx_segbuf *buf, size_t *len)
{
    *len = buf->count != 0 ? segment_at(buf, 0)->len : 0;
    return buf->count != 0 ? segment_at(buf, 0)->ptr : NULL;
}

/* The segment that holds byte `*offset` of the queue; `*offset` becomes the place within it. */
static uint32_t locate(const struct plx_segbuf *buf, size_t *offset)
{
    uint32_t index = 0;
    while (index < buf->count && *offset >= segment_at(buf, index)->len)
        *offset -= segment_at(buf, index++)->len;
    return index;
}

static bool holds(const struct plx_segbuf *buf, size_t offset, size_t len)
{
    return offset <= buf->len && len <= buf->len - offset;
}

/* `len` bytes, which are there, from `offset` within segment `index` on. */
static void copy_from(const struct plx_segbuf *buf, uint32_t index, size_t offset, uint8_t *to,
                      size_t len)
{
    while (len != 0) {
        const struct plx_bytes *segment = segment_at(buf, index++);
        size_t part = segment->len - offset;
        if (part > len)
            part = len;
        memcpy(to, segment->ptr + offset, part);
        to += part;
        len -= part;
        offset = 0;
    }
}

const uint8_t *plx_segbuf_peek(const struct plx_segbuf *buf, size_t offset, size_t len,
                               void *scratch)
{
    if (len == 0 || !holds(buf, offset, len))
        return NULL;
    uint32_t index = locate(buf, &offset);
    const struct plx_bytes *segment = segment_at(buf, index);
    if (PLX_LIKELY(len <= segment->len - offset))
        return segment->ptr + offset;
    copy_from(buf, index, offset, scratch, len);
    return scratch;
}

int plx_segbuf_copy_out(const struct plx_segbuf *buf, size_t offset, void *to, size_t len)
{
    if (!holds(buf, offset, len))
        return -EAGAIN;
    uint32_t index = locate(buf, &offset);
    copy_from(buf, index, offset, to, len);
    return 0;
}

/* Whether the pattern's bytes stand at `offset` within segment `index` and on. */
static bool stands_at(const struct plx_segbuf *buf, uint32_t index, size_t offset,
                      const uint8_t *pattern, size_t len)
{
    while (len != 0) {
        const struct plx_bytes *segment = segment_at(buf, index++);
        size_t part = segment->len - offset;
        if (part > len)
            part = len;
        if (memcmp(segment->ptr + offset, pattern, part) != 0)
            return false;
        pattern += part;
        len -= part;
        offset = 0;
    }
    return true;
}

int64_t plx_segbuf_find(const struct plx_segbuf *buf, size_t from, const void *pattern,
                        size_t pattern_len)
{
    if (pattern_len == 0 || pattern_len > PLX_SEGBUF_PATTERN_MAX)
        return -EINVAL;
    if (!holds(buf, from, pattern_len))
        return -ENOENT;

    const uint8_t *wanted = pattern;
    size_t offset = from;
    uint32_t index = locate(buf, &offset);
    size_t base = from - offset; /* where segment `index` begins in the queue */
    size_t last_start = buf->len - pattern_len;
    for (; index < buf->count; index++) {
        const struct plx_bytes *segment = segment_at(buf, index);
        while (offset < segment->len && base + offset <= last_start) {
            const uint8_t *hit = memchr(segment->ptr + offset, wanted[0], segment->len - offset);
            if (hit == NULL)
                break;
            offset = (size_t)(hit - segment->ptr);
            if (base + offset > last_start)
                return -ENOENT;
            if (stands_at(buf, index, offset, wanted, pattern_len))
                return (int64_t)(base + offset);
            offset++;
        }
        base += segment->len;
        offset = 0;
    }
    return -ENOENT;
}

uint32_t plx_segbuf_iovec(const struct plx_segbuf *buf, struct iovec *out, uint32_t max)
{
    uint32_t count = buf->count < max ? buf->count : max;
    for (uint32_t i = 0; i < count; i++) {
        const struct plx_bytes *segment = segment_at(buf, i);
        /* writev(2) does not write to what it is given; its type cannot say so. */
        out[i].iov_base = (void *)(uintptr_t)segment->ptr;
        out[i].iov_len = segment->len;
    }
    return count;
}

/* --- taking ----------------------------------------------------------------------------------- */

/* Drops the first `len` bytes, which are there. */
static void drop(struct plx_segbuf *buf, size_t len)
{
    while (len != 0) {
        struct plx_bytes *front = segment_at(buf, 0);
        if (len < front->len) {
            front->ptr += len;
            front->len -= len;
            buf->len -= len;
            return;
        }
        struct plx_bytes gone = *front;
        len -= gone.len;
        pop_front(buf);
        plx_bytes_release(buf->home, &gone);
    }
}

int plx_segbuf_skip(struct plx_segbuf *buf, size_t len)
{
    if (len > buf->len)
        return -EAGAIN;
    drop(buf, len);
    return 0;
}

/* Bytes that span segments, in one piece: packed, or in a block of their own. */
static int take_copy(const struct plx_segbuf *buf, uint32_t index, size_t offset, size_t len,
                     struct plx_bytes *out)
{
    int rc = plx__bytes_room(buf->home, len, out);
    if (rc == 0)
        copy_from(buf, index, offset, plx__bytes_fill(out, 0), len);
    return rc;
}

int plx_segbuf_take_after(struct plx_segbuf *buf, size_t skip, size_t len, struct plx_bytes *out)
{
    memset(out, 0, sizeof(*out));
    if (!holds(buf, skip, len))
        return -EAGAIN;
    if (len != 0) {
        size_t offset = skip;
        uint32_t index = locate(buf, &offset);
        const struct plx_bytes *segment = segment_at(buf, index);
        int rc = len <= segment->len - offset ? plx_bytes_slice(segment, offset, len, out)
                                              : take_copy(buf, index, offset, len, out);
        if (rc != 0)
            return rc;
    }
    drop(buf, skip + len);
    return 0;
}

int plx_segbuf_take(struct plx_segbuf *buf, size_t len, struct plx_bytes *out)
{
    return plx_segbuf_take_after(buf, 0, len, out);
}
