/* SPDX-License-Identifier: MIT */
#include "test/alloc/segbuf_model.h"

#include <stdlib.h>
#include <string.h>

#include "alloc/segbuf.h"

#define SEGMENTS_MAX 32u
#define HELD_MAX 24u
/* The largest block of the pool. */
#define BLOCK_MAX 16384u
/* More than all blocks, and as many static slices as there are segments. */
#define BYTES_MAX ((size_t)256 << 10)

/* A slice outside of the queue, and what it should read as. */
struct held {
    struct plx_bytes slice;
    uint8_t *copy;
};

struct model {
    struct mem *mem;
    const uint8_t *input;
    size_t left;
    struct plx_segbuf queue;
    struct plx_bytes segments[SEGMENTS_MAX];
    size_t len; /* of what the queue should hold, in `bytes` */
    uint8_t *bytes;
    struct held held[HELD_MAX];
    uint32_t held_count;
    uint64_t random;
};

static uint8_t scratch[BYTES_MAX];
static uint8_t content[BYTES_MAX];

/* --- input ------------------------------------------------------------------------------------ */

static uint32_t next_byte(struct model *m)
{
    if (m->left == 0)
        return 0;
    m->left--;
    return *m->input++;
}

/* A length: of any size up to `max`, or short, or near a block's. */
static size_t next_len(struct model *m, size_t max)
{
    uint32_t how = next_byte(m);
    size_t len = next_byte(m);

    if (how % 4 == 1)
        len = len * 256 + next_byte(m);
    else if (how % 4 == 2)
        len += PLX_BYTES_PACK_MAX - 128;
    else if (how % 4 == 3)
        len += PLX_POOL_BLOCK_MIN - 128;
    return len <= max ? len : len % (max + 1);
}

static void next_content(struct model *m, uint8_t *to, size_t len)
{
    m->random ^= next_byte(m);
    mem_fill_random(&m->random, to, len);
}

/* --- what is beside the queue ----------------------------------------------------------------- */

static void appended(struct model *m, const uint8_t *data, size_t len)
{
    memcpy(m->bytes + m->len, data, len);
    m->len += len;
}

static void dropped(struct model *m, size_t len)
{
    m->len -= len;
    memmove(m->bytes, m->bytes + len, m->len);
}

static const char *let_go(struct model *m, uint32_t index)
{
    struct held *held = &m->held[index];
    const char *wrong = NULL;

    if (held->slice.len != 0 && memcmp(held->slice.ptr, held->copy, held->slice.len) != 0)
        wrong = "a slice changed while it was held";
    plx_bytes_release(&m->mem->home, &held->slice);
    free(held->copy);
    *held = m->held[--m->held_count];
    return wrong;
}

/* Holds a slice that reads as `copy`. */
static const char *hold(struct model *m, struct plx_bytes slice, const uint8_t *copy)
{
    const char *wrong = m->held_count == HELD_MAX ? let_go(m, 0) : NULL;
    struct held *held = &m->held[m->held_count++];

    held->slice = slice;
    held->copy = malloc(slice.len + 1);
    if (held->copy == NULL)
        return "out of memory";
    memcpy(held->copy, copy, slice.len);
    return wrong;
}

static struct held *next_held(struct model *m)
{
    uint32_t index = next_byte(m);
    return m->held_count == 0 ? NULL : &m->held[index % m->held_count];
}

/* --- filling ---------------------------------------------------------------------------------- */

static const char *op_extend_copy(struct model *m)
{
    size_t len = next_len(m, 3 * BLOCK_MAX);
    size_t blocks = len / PLX_POOL_BLOCK_MIN + 2; /* as many as it could need, and segments */
    if (m->len + len > BYTES_MAX)
        return NULL;
    next_content(m, scratch, len);
    uint32_t room = m->queue.capacity - m->queue.count;
    int rc = plx_segbuf_extend_copy(&m->queue, scratch, len);
    if (rc == 0)
        appended(m, scratch, len);
    if (rc == -ENOMEM)
        return mem_left(m->mem, 1) >= blocks ? "a copy failed though there were blocks" : NULL;
    if (rc == -ENOBUFS)
        return room >= blocks ? "a copy failed though there were segments" : NULL;
    return rc != 0 ? "extend_copy failed" : NULL;
}

/* Extends by a slice that reads as `copy`, and looks at how it may fail. */
static const char *extend(struct model *m, struct plx_bytes slice, const uint8_t *copy)
{
    const struct plx_bytes before = slice;
    size_t len = slice.len;
    bool full = m->queue.count == m->queue.capacity;

    int rc = m->len + len <= BYTES_MAX ? plx_segbuf_extend(&m->queue, &slice) : -ENOBUFS;
    if (rc == 0) {
        appended(m, copy, len);
        return slice.ptr != NULL || slice.len != 0 || slice.home != NULL ? "a slice is left" : NULL;
    }
    bool same = slice.ptr == before.ptr && slice.len == len && slice.home == before.home;
    plx_bytes_release(&m->mem->home, &slice);
    if (m->len + len > BYTES_MAX)
        return NULL;
    if (rc != -ENOBUFS || !full)
        return "extend failed though there were segments";
    return same ? NULL : "extend failed and took the slice";
}

static const char *op_extend_frozen(struct model *m)
{
    size_t block_bytes = PLX_POOL_BLOCK_MIN << next_byte(m) % 3;
    uint8_t *block = plx_pool_acquire(&m->mem->pool, block_bytes);
    if (block == NULL)
        return NULL;
    next_content(m, block, block_bytes);
    size_t offset = next_len(m, block_bytes);
    size_t len = next_len(m, block_bytes - offset);
    return extend(m, plx_bytes_freeze(&m->mem->home, block, block + offset, len), block + offset);
}

static const char *op_extend_held(struct model *m)
{
    struct held *held = next_held(m);
    struct plx_bytes part;
    if (held == NULL)
        return NULL;
    size_t offset = next_len(m, held->slice.len);
    size_t len = next_len(m, held->slice.len - offset);
    if (plx_bytes_slice(&held->slice, offset, len, &part) != 0)
        return "a slice within bounds failed";
    return extend(m, part, held->copy + offset);
}

static const char *op_extend_static(struct model *m)
{
    static uint8_t text[2000];
    if (text[0] == 0)
        memset(text, 'b', sizeof(text));
    size_t offset = next_len(m, sizeof(text));
    size_t len = next_len(m, sizeof(text) - offset);
    return extend(m, plx_bytes_static(text + offset, len), text + offset);
}

/* --- looking ---------------------------------------------------------------------------------- */

static const char *op_front(struct model *m)
{
    size_t len = 1;
    const uint8_t *front = plx_segbuf_front(&m->queue, &len);
    if (m->len == 0)
        return front != NULL || len != 0 ? "an empty queue has a front" : NULL;
    if (front == NULL || len == 0 || len > m->len || memcmp(front, m->bytes, len) != 0)
        return "front is wrong";
    return NULL;
}

static const char *op_peek(struct model *m)
{
    size_t offset = next_len(m, m->len + 1);
    size_t len = next_len(m, m->len + 1);
    bool there = offset <= m->len && len <= m->len - offset && len > 0;
    size_t front_len = 0;
    const uint8_t *front = plx_segbuf_front(&m->queue, &front_len);
    const uint8_t *seen = plx_segbuf_peek(&m->queue, offset, len, scratch);

    if (!there)
        return seen != NULL ? "peek saw what is not there" : NULL;
    if (seen == NULL || memcmp(seen, m->bytes + offset, len) != 0)
        return "peek is wrong";
    if (offset < front_len && len <= front_len - offset && seen != front + offset)
        return "peek copied what is in one piece";
    return NULL;
}

static const char *op_copy_out(struct model *m)
{
    size_t offset = next_len(m, m->len + 1);
    size_t len = next_len(m, m->len + 1);
    int rc = plx_segbuf_copy_out(&m->queue, offset, scratch, len);

    if (offset > m->len || len > m->len - offset)
        return rc != -EAGAIN ? "copy_out copied what is not there" : NULL;
    return rc != 0 || memcmp(scratch, m->bytes + offset, len) != 0 ? "copy_out is wrong" : NULL;
}

static const char *op_find(struct model *m)
{
    uint8_t pattern[PLX_SEGBUF_PATTERN_MAX + 1];
    size_t from = next_len(m, m->len + 1);
    size_t len = next_byte(m) % (sizeof(pattern) + 1);
    size_t at = next_len(m, m->len);

    /* A piece of what is there, which is found, or any of few letters. */
    if (next_byte(m) % 2 == 0 && m->len - at >= len)
        memcpy(pattern, m->bytes + at, len);
    else
        next_content(m, pattern, len);
    int64_t found = plx_segbuf_find(&m->queue, from, pattern, len);
    if (len == 0 || len > PLX_SEGBUF_PATTERN_MAX)
        return found != -EINVAL ? "find took a pattern of no length" : NULL;
    const uint8_t *wanted =
        from <= m->len ? memmem(m->bytes + from, m->len - from, pattern, len) : NULL;
    int64_t expected = wanted != NULL ? wanted - m->bytes : -ENOENT;
    return found != expected ? "find is wrong" : NULL;
}

static const char *op_iovec(struct model *m)
{
    struct iovec parts[SEGMENTS_MAX];
    uint32_t max = next_byte(m) % (SEGMENTS_MAX + 1);
    uint32_t count = plx_segbuf_iovec(&m->queue, parts, max);
    size_t seen = 0;

    if (count != (m->queue.count < max ? m->queue.count : max))
        return "iovec has another count";
    for (uint32_t i = 0; i < count; i++) {
        if (memcmp(parts[i].iov_base, m->bytes + seen, parts[i].iov_len) != 0)
            return "iovec is wrong";
        seen += parts[i].iov_len;
    }
    return NULL;
}

/* --- taking ----------------------------------------------------------------------------------- */

static const char *take(struct model *m, size_t skip, size_t len, bool after)
{
    struct plx_bytes out = plx_bytes_static("x", 1);
    size_t front_len = 0;
    const uint8_t *front = plx_segbuf_front(&m->queue, &front_len);
    bool there = skip <= m->len && len <= m->len - skip;
    bool in_front = there && skip < front_len && len <= front_len - skip;
    uint32_t left = len != 0 && len <= BLOCK_MAX ? mem_left(m->mem, len) : 0;

    int rc = after ? plx_segbuf_take_after(&m->queue, skip, len, &out)
                   : plx_segbuf_take(&m->queue, len, &out);
    if (rc != 0 && (out.ptr != NULL || out.len != 0 || out.home != NULL))
        return "a failed take left a slice";
    if (!there)
        return rc != -EAGAIN ? "what is not there was taken" : NULL;
    if (rc == -ENOMEM)
        return in_front || left != 0 ? "take failed without need" : NULL;
    if (rc == -EMSGSIZE)
        return in_front || len <= BLOCK_MAX ? "take failed though a block is so large" : NULL;
    if (rc != 0 || out.len != len || (len != 0 && memcmp(out.ptr, m->bytes + skip, len) != 0))
        return "take is wrong";
    if (in_front && len != 0 && out.ptr != front + skip)
        return "take copied what is in one piece";
    const char *wrong = len != 0 ? hold(m, out, m->bytes + skip) : NULL;
    dropped(m, skip + len);
    return wrong;
}

static const char *op_take(struct model *m)
{
    return take(m, 0, next_len(m, m->len + 1), false);
}

static const char *op_take_after(struct model *m)
{
    size_t skip = next_len(m, m->len + 1);
    return take(m, skip, next_len(m, m->len + 1), true);
}

static const char *op_skip(struct model *m)
{
    size_t len = next_len(m, m->len + 1);
    int rc = plx_segbuf_skip(&m->queue, len);

    if (len > m->len)
        return rc != -EAGAIN ? "what is not there was skipped" : NULL;
    dropped(m, len);
    return rc != 0 ? "skip failed" : NULL;
}

static const char *op_clear(struct model *m)
{
    /* Seldom, so that queues grow. */
    if (next_byte(m) % 8 != 0)
        return NULL;
    plx_segbuf_clear(&m->queue);
    dropped(m, m->len);
    return NULL;
}

/* --- slices and the pool ---------------------------------------------------------------------- */

static const char *op_let_go(struct model *m)
{
    struct held *held = next_held(m);
    return held == NULL ? NULL : let_go(m, (uint32_t)(held - m->held));
}

static const char *op_keep(struct model *m)
{
    struct held *held = next_held(m);
    if (held == NULL)
        return NULL;
    int rc = plx_bytes_keep(&m->mem->home, &held->slice);
    return rc != 0 && (rc != -ENOMEM || mem_left(m->mem, 1) != 0) ? "keep failed" : NULL;
}

static const char *op_make_sole(struct model *m)
{
    struct held *held = next_held(m);
    if (held == NULL || held->slice.len == 0)
        return NULL;
    int rc = plx_bytes_make_sole(&m->mem->home, &held->slice);
    if (rc == 0)
        return plx_bytes_is_sole(&held->slice) ? NULL : "what was made sole is not";
    /* Joined segments never leave their block, so no slice is too large for one. */
    return rc != -ENOMEM || mem_left(m->mem, held->slice.len) != 0 ? "make_sole failed" : NULL;
}

static const char *op_drain(struct model *m)
{
    uint32_t how = next_byte(m);
    mem_drain(m->mem, PLX_POOL_BLOCK_MIN << how % 3, how / 4 % 4);
    return NULL;
}

static const char *op_refill(struct model *m)
{
    if (next_byte(m) % 2 == 0)
        mem_refill(m->mem);
    else
        mem_refill_one(m->mem);
    return NULL;
}

/* --- running ---------------------------------------------------------------------------------- */

/* Those that stand here twice come twice as often. */
static const char *(*const operations[])(struct model *) = {
    op_extend_copy, op_extend_copy, op_extend_frozen, op_extend_held, op_extend_static,
    op_front,       op_peek,        op_copy_out,      op_find,        op_iovec,
    op_take,        op_take,        op_take_after,    op_skip,        op_clear,
    op_let_go,      op_let_go,      op_keep,          op_make_sole,   op_drain,
    op_refill,      op_refill,
};

static const char *check(const struct model *m)
{
    struct plx_bytes all[SEGMENTS_MAX + HELD_MAX];
    size_t count = 0;
    size_t seen = 0;
    const char *wrong = plx__segbuf_check(&m->queue);

    if (wrong != NULL)
        return wrong;
    if (plx_segbuf_len(&m->queue) != m->len)
        return "the length is wrong";
    for (uint32_t i = 0; i < m->queue.count; i++) {
        struct plx_bytes part = m->segments[(m->queue.head + i) & (m->queue.capacity - 1)];
        if (memcmp(part.ptr, m->bytes + seen, part.len) != 0)
            return "the content is wrong";
        seen += part.len;
        all[count++] = part;
    }
    for (uint32_t i = 0; i < m->held_count; i++) {
        const struct held *held = &m->held[i];
        if (memcmp(held->slice.ptr, held->copy, held->slice.len) != 0)
            return "a slice changed while it was held";
        all[count++] = held->slice;
    }
    return mem_check_holders(m->mem, all, count);
}

int segbuf_model_open(struct mem *m)
{
    const struct plx_pool_quota quota = {.blocks = {20, 3, 2}};
    return mem_open(m, &quota, NULL);
}

const char *segbuf_model_run(struct mem *mem, const uint8_t *input, size_t len)
{
    struct model m = {.mem = mem, .input = input, .left = len, .bytes = content};
    const char *wrong = NULL;

    uint32_t segments = 2u << next_byte(&m) % 5;
    if (plx_segbuf_init(&m.queue, &mem->home, m.segments, segments) != 0)
        wrong = "no queue could be made";
    while (wrong == NULL && m.left > 0) {
        wrong = operations[next_byte(&m) % (sizeof(operations) / sizeof(*operations))](&m);
        if (wrong == NULL)
            wrong = check(&m);
    }
    plx_segbuf_fini(&m.queue);
    while (m.held_count > 0) {
        const char *changed = let_go(&m, m.held_count - 1);
        wrong = wrong != NULL ? wrong : changed;
    }
    mem_refill(mem);
    plx_bytes_home_fini(&mem->home);
    if (wrong == NULL && mem_in_use(mem) != 0)
        wrong = "blocks did not come home";
    return wrong != NULL ? wrong : plx__pool_check(&mem->pool);
}
