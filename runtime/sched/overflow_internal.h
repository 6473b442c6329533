/* SPDX-License-Identifier: MIT */
/*
 * A task's stack overflow by its name: a handler for SIGSEGV that writes one line to standard error
 * when the address lies in the closed page below a task's stack, and leaves everything to what the
 * signal would have done without it.
 *
 * Words. An *alternate stack* is one that handlers run on: the overflowed one has no room.
 *
 * Threads: as each line says.
 */
#ifndef POLLUX_OVERFLOW_INTERNAL_H
#define POLLUX_OVERFLOW_INTERNAL_H

#include "alloc/base.h"

/* A thread's, if it is ours. Zeroed is none. */
struct plx__altstack {
    void *memory;
    size_t bytes;
};

/*
 * Installs the handler for the process, once for however many callers: the disposition found goes
 * on behind it. Any thread. Cost: set-up. Errors: of sigaction(2).
 */
int plx__overflow_arm(void) PLX_MUST_CHECK;
/* The last one that had armed it puts back what was found, unless another handler came since. */
void plx__overflow_disarm(void);

/*
 * Gives the calling thread an alternate stack unless it has one. Errors: of mmap(2),
 * sigaltstack(2).
 */
int plx__altstack_init(struct plx__altstack *altstack) PLX_MUST_CHECK;
/* On the same thread. */
void plx__altstack_fini(struct plx__altstack *altstack);

#endif
