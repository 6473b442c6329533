/* SPDX-License-Identifier: MIT */
#include "runtime/sched/stacks_internal.h"

#include <errno.h>
#include <string.h>

#include "alloc/pages_internal.h"
#include "runtime/sched/fiber_internal.h"

/* Pages that one look at their presence covers. */
#define LOOK_PAGES 256u

int plx__stack_ready(unsigned char *end, size_t bytes)
{
    int rc = plx__pages_linux.advise(end - bytes, bytes, MADV_POPULATE_WRITE);
    return rc == -EINVAL ? 0 : rc;
}

bool plx__bind_is_refused(int rc)
{
    return rc == -ENOSYS || rc == -EPERM;
}

/* Opens what is to be used of a fresh mapping; all else stays closed. */
static int open_parts(const struct plx__stacks *stacks, unsigned char *mapping, size_t head,
                      uint32_t count)
{
    const struct plx__pages_calls *calls = &plx__pages_linux;
    int rc = calls->open(mapping, head);
    unsigned char *stack = mapping + head + PLX_PAGE;
    for (uint32_t i = 0; i < count && rc == 0; i++) {
        rc = calls->open(stack, stacks->stack_bytes);
        if (rc == 0)
            rc = plx__stack_ready(stack + stacks->stack_bytes, PLX__STACK_READY_BYTES);
        stack += stacks->stack_bytes + PLX_PAGE;
    }
    /* EACCES, EFAULT: no page was to be had on the node. */
    return rc == 0 ? 0 : -ENOMEM;
}

int plx__stacks_grow(struct plx__stacks *stacks, struct plx__stack_chunk **out)
{
    const struct plx__pages_calls *calls = &plx__pages_linux;
    *out = NULL;
    uint32_t count = stacks->max - stacks->count;
    if (count == 0)
        return -EAGAIN;
    if (count > PLX__CHUNK_STACKS)
        count = PLX__CHUNK_STACKS;
    size_t head = sizeof(struct plx__stack_chunk) + count * stacks->object_bytes;
    head = plx_round_up(head, PLX_PAGE);
    size_t bytes = head + PLX_PAGE + count * (stacks->stack_bytes + PLX_PAGE);

    void *mapping = NULL;
    int rc = calls->map(bytes, PLX_PAGE, &mapping);
    if (rc != 0)
        return rc;
    /* Pages of 2 MiB would be taken whole, for a few KiB of use. Refused where there are none. */
    (void)calls->advise(mapping, bytes, MADV_NOHUGEPAGE);
    if (stacks->bind != PLX_WANT_NO)
        rc = calls->bind(mapping, bytes, stacks->node);
    if (rc != 0 && (stacks->bind != PLX_WANT_REQUIRE || plx__bind_is_refused(rc)))
        rc = 0;
    if (rc == 0)
        rc = open_parts(stacks, mapping, head, count);
    if (rc != 0) {
        (void)calls->unmap(mapping, bytes);
        return rc;
    }

    struct plx__stack_chunk *chunk = mapping;
    chunk->first = (unsigned char *)mapping + head + PLX_PAGE;
    chunk->mapping_bytes = bytes;
    chunk->stack_bytes = stacks->stack_bytes;
    chunk->count = count;
    chunk->before = stacks->count;
    chunk->next = stacks->chunks;
    stacks->chunks = chunk;
    stacks->count += count;
    *out = chunk;
    return 0;
}

void plx__stacks_fini(struct plx__stacks *stacks)
{
    struct plx__stack_chunk *chunk = stacks->chunks;
    while (chunk != NULL) {
        struct plx__stack_chunk *next = chunk->next;
        for (uint32_t i = 0; i < chunk->count; i++)
            plx__fiber_forget_stack(plx__stack_base(chunk, i), chunk->stack_bytes);
        (void)plx__pages_linux.unmap(chunk, chunk->mapping_bytes);
        chunk = next;
    }
    stacks->chunks = NULL;
    stacks->count = 0;
}

int plx__stack_overflowed(const struct plx__stack_chunk *chunk, const void *address)
{
    uintptr_t lowest = (uintptr_t)chunk->first - PLX_PAGE;
    uintptr_t at = (uintptr_t)address;
    if (at < lowest)
        return -1;
    size_t step = chunk->stack_bytes + PLX_PAGE;
    size_t index = (at - lowest) / step;
    if (index >= chunk->count || (at - lowest) % step >= PLX_PAGE)
        return -1;
    return (int)index;
}

/* The first byte of `page` that belongs to a word that is not zero, or NULL. */
PLX__NO_SANITIZE static const unsigned char *find_written(const unsigned char *page)
{
    for (size_t i = 0; i < PLX_PAGE; i += sizeof(uint64_t)) {
        if (*(const uint64_t *)(const void *)(page + i) != 0)
            return page + i;
    }
    return NULL;
}

size_t plx__stack_depth(const struct plx__stack_chunk *chunk, uint32_t index)
{
    unsigned char *base = plx__stack_base(chunk, index);
    unsigned char *end = base + chunk->stack_bytes;
    unsigned char present[LOOK_PAGES];
    for (unsigned char *from = base; from < end; from += sizeof(present) * PLX_PAGE) {
        size_t pages = (size_t)(end - from) / PLX_PAGE;
        if (pages > LOOK_PAGES)
            pages = LOOK_PAGES;
        if (mincore(from, pages * PLX_PAGE, present) != 0)
            return 0;
        for (size_t i = 0; i < pages; i++) {
            const unsigned char *written =
                (present[i] & 1) != 0 ? find_written(from + i * PLX_PAGE) : NULL;
            if (written != NULL)
                return (size_t)(end - written);
        }
    }
    return 0;
}
