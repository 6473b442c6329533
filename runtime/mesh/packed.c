/* SPDX-License-Identifier: MIT */
#include "runtime/mesh/packed.h"

#include <errno.h>
#include <string.h>

static bool shape_valid(uint32_t capacity, uint32_t element_bytes)
{
    return plx_is_pow2(capacity) && capacity >= PLX_PACKED_CAPACITY_MIN &&
           capacity <= PLX_PACKED_CAPACITY_MAX && element_bytes % PLX_PACKED_ELEMENT_MIN == 0 &&
           element_bytes >= PLX_PACKED_ELEMENT_MIN && element_bytes <= PLX_PACKED_ELEMENT_MAX;
}

size_t plx_packed_bytes(uint32_t capacity, uint32_t element_bytes)
{
    if (!shape_valid(capacity, element_bytes))
        return 0;
    return sizeof(struct plx_packed) + (size_t)capacity * element_bytes;
}

struct plx_packed *plx__packed_setup(void *memory, uint32_t capacity, uint32_t element_bytes,
                                     uint64_t batch, uint64_t first)
{
    PLX_ASSERT(plx_is_pow2(capacity) && batch != 0 && batch <= capacity);

    struct plx_packed *q = memory;
    memset(q, 0, sizeof(*q) + (size_t)capacity * element_bytes);
    q->capacity = capacity;
    q->element_bytes = element_bytes;
    q->tail = first;
    q->limit = first + capacity;
    q->tail_mask = capacity - 1;
    q->tail_bytes = element_bytes;
    uint32_t ahead = PLX_PACKED_AHEAD / element_bytes;
    q->tail_ahead = ahead < capacity / 2 ? ahead : capacity / 2;
    q->head = first;
    q->end = first;
    q->head_mask = capacity - 1;
    q->head_bytes = element_bytes;
    q->head_published = first;
    q->batch = batch;

    /* Relaxed: whoever uses the queue is ordered after this function by the caller. */
    plx_store_relaxed(&q->committed, first);
    plx_store_relaxed(&q->consumed, first);
    return q;
}

int plx_packed_init(void *memory, uint32_t capacity, uint32_t element_bytes,
                    struct plx_packed **out)
{
    *out = NULL;
    if (memory == NULL || (uintptr_t)memory % PLX_CACHE_LINE != 0 ||
        !shape_valid(capacity, element_bytes))
        return -EINVAL;

    uint32_t quarter = capacity / 4;
    uint32_t batch = quarter < PLX_PACKED_BATCH_MAX ? quarter : PLX_PACKED_BATCH_MAX;
    *out = plx__packed_setup(memory, capacity, element_bytes, batch, 0);
    return 0;
}
