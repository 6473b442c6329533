/* SPDX-License-Identifier: MIT */
#include "runtime/mesh/cells.h"

#include <errno.h>
#include <string.h>

static bool slots_valid(uint32_t slots)
{
    return plx_is_pow2(slots) && slots >= PLX_CELLS_SLOTS_MIN && slots <= PLX_CELLS_SLOTS_MAX;
}

size_t plx_cells_bytes(uint32_t slots)
{
    if (!slots_valid(slots))
        return 0;
    return sizeof(struct plx_cells) + (size_t)slots * sizeof(struct plx__cell);
}

struct plx_cells *plx__cells_setup(void *memory, uint32_t slots, uint32_t batch, uint64_t first)
{
    PLX_ASSERT(plx_is_pow2(slots) && plx_is_pow2(batch) && batch <= slots);

    struct plx_cells *q = memory;
    memset(q, 0, sizeof(*q) + (size_t)slots * sizeof(struct plx__cell));
    q->slots = slots;
    q->batch = batch;
    q->tail_mask = slots - 1;
    q->head_mask = slots - 1;
    q->batch_mask = batch - 1;
    q->limit = first + slots;
    q->head = first;
    q->head_published = first;

    /* Relaxed: whoever uses the queue is ordered after this function by the caller. */
    plx_store_relaxed(&q->tail, first);
    plx_store_relaxed(&q->published, first);
    for (uint32_t i = 0; i < slots; i++) {
        uint64_t index = first + i;
        /* What the cell one lap before would have left: awaited by nobody. */
        plx_store_relaxed(&plx__cells_slot(q, index & q->tail_mask)->sequence, index + 1 - slots);
    }
    return q;
}

int plx_cells_init(void *memory, uint32_t slots, struct plx_cells **out)
{
    *out = NULL;
    if (memory == NULL || (uintptr_t)memory % PLX_CACHE_LINE != 0 || !slots_valid(slots))
        return -EINVAL;

    uint32_t quarter = slots / 4;
    uint32_t batch = quarter < PLX_CELLS_BATCH_MAX ? quarter : PLX_CELLS_BATCH_MAX;
    *out = plx__cells_setup(memory, slots, batch, 0);
    return 0;
}
