/* SPDX-License-Identifier: MIT */
/*
 * Stacks of tasks: made in chunks, each a mapping of its own on the reactor's node.
 *
 *   header and objects | closed page | stack | closed page | stack | … | closed page
 *
 * Words. An *object* is what the owner keeps of each stack: it lies in the chunk's first pages, out
 * of reach of an overflow. The *depth* of a stack is how far from its end it was ever written to.
 *
 * Pages are small ones: a stack takes memory as deep as it was used. They are inherited by fork(2),
 * unlike the arena: a task that forks goes on in the child, and what the kernel has pinned for an
 * operation is copied there, never moved (Linux 5.12).
 *
 * Threads: the owner.
 */
#ifndef POLLUX_STACKS_INTERNAL_H
#define POLLUX_STACKS_INTERNAL_H

#include "alloc/want.h"
#include "alloc/base.h"

/* Stacks made at once; the last chunk may have fewer. */
#define PLX__CHUNK_STACKS 32u
/* Taken at once of each stack, so that no ordinary task faults a page in. */
#define PLX__STACK_READY_BYTES ((size_t)2 * PLX_PAGE)
/* Stacks begin at one of so many offsets: their first lines would else meet in one set of cache. */
#define PLX__STACK_COLOURS      16u
#define PLX__STACK_COLOUR_BYTES 256u

struct plx__stack_chunk {
    struct plx__stack_chunk *next;
    unsigned char *first; /* the lowest stack's first byte; its closed page lies below */
    size_t mapping_bytes;
    size_t stack_bytes;
    uint32_t count;
    uint32_t before; /* stacks of earlier chunks */
    unsigned char objects[] PLX_ALIGNED(PLX_CACHE_LINE);
};

struct plx__stacks {
    /* Set before the first use. */
    size_t stack_bytes;  /* a multiple of a page */
    size_t object_bytes; /* a multiple of a cache line */
    uint32_t max;
    int node;
    enum plx_want bind;
    /* Kept here. */
    uint32_t count;
    struct plx__stack_chunk *chunks; /* the newest first */
};

/*
 * Makes some more, objects zeroed. Errors: -EAGAIN there are `max`; -ENOMEM, or what mbind said
 * where binding is required.
 */
int plx__stacks_grow(struct plx__stacks *stacks, struct plx__stack_chunk **out) PLX_MUST_CHECK;

/* Gives all back. */
void plx__stacks_fini(struct plx__stacks *stacks);

static inline void *plx__stack_object(const struct plx__stacks *stacks,
                                      struct plx__stack_chunk *chunk, uint32_t index)
{
    return chunk->objects + index * stacks->object_bytes;
}

/* The first byte of stack `index` of a chunk. */
static inline unsigned char *plx__stack_base(const struct plx__stack_chunk *chunk, uint32_t index)
{
    return chunk->first + index * (chunk->stack_bytes + PLX_PAGE);
}

/* Where a task begins on it: its end, less the colour. */
static inline void *plx__stack_top(const struct plx__stack_chunk *chunk, uint32_t index)
{
    return plx__stack_base(chunk, index) + chunk->stack_bytes -
           (size_t)(index % PLX__STACK_COLOURS) * PLX__STACK_COLOUR_BYTES;
}

/*
 * Whose closed page `address` lies in: the index in the chunk of the stack above it, or -1.
 * Async-signal-safe.
 */
int plx__stack_overflowed(const struct plx__stack_chunk *chunk, const void *address);

/*
 * How deep the stack ever was, in bytes, to the word: fresh pages are zero, so it ends at the
 * lowest word that is not. Cost: a system call, and a look at what was never used of one page.
 */
size_t plx__stack_depth(const struct plx__stack_chunk *chunk, uint32_t index);

/*
 * Makes the last `bytes` before `end` present. 0 also where the kernel cannot (before 5.14): pages
 * then come one by one, from the node all the same. Shared with the stacks of threads.
 */
int plx__stack_ready(unsigned char *end, size_t bytes);

/* Whether an error of mbind is one that the arena's own trial decides on (refused altogether). */
bool plx__bind_is_refused(int rc);

#endif
