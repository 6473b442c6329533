/* SPDX-License-Identifier: MIT */
/*
 * The switch: from one stack to another within a thread. Tasks (task.h) are built on it; use it by
 * itself only where those are too much.
 *
 * Words. A *context* is a stack that waits, named by where its pointer stood: there lie the
 * registers that a called function must leave as they were.
 *
 * What is kept: the registers that the psABI makes the callee's, the x87 control word and MXCSR on
 * x86-64, FPCR on aarch64 (rounding and traps are the callee's too). What is not: signal masks,
 * errno, thread-local variables, which are the thread's.
 *
 * Debuggers and unwinders walk from any function on a prepared stack to its entry and stop there.
 * Shadow stacks are not kept: neither file is marked as fit for them, so that a linker drops the
 * mark from the program and the kernel leaves them off. Entry points are marked for branch tracking
 * (endbr64, bti).
 *
 * Threads: any, each with contexts of its own: one is continued on the thread that left it.
 */
#ifndef POLLUX_SWITCH_H
#define POLLUX_SWITCH_H

#include "alloc/base.h"

PLX_EXTERN_C_BEGIN

/* Bytes at the top of a stack that plx_switch_prepare takes. */
#define PLX_SWITCH_FRAME_BYTES 256

/* Called on its own stack with the value of the switch that began it. Must not return. */
typedef void (*plx_switch_fn)(void *value);

/*
 * Makes a context on a fresh stack that ends (has its highest address) at `top`: the first switch
 * to it calls `fn`. Shapes: `top` aligned to 16, with PLX_SWITCH_FRAME_BYTES below it and what `fn`
 * needs. Ownership: the stack is borrowed until nobody will switch to it any more. Control words
 * are those of now. Cost: a dozen stores.
 */
PLX_API void *plx_switch_prepare(void *top, plx_switch_fn fn);

/*
 * Leaves the running stack for the context `to`, which is used up, and stores the context of what
 * was left in *from before that goes on. Returns, when somebody switches to *from, the value that
 * they gave. Cost: about what a call of a function and its return cost; no system call.
 * Source: System V ABI for AMD64, 3.2.1; AAPCS64, 6.1.
 */
PLX_API void *plx_switch(void **from, void *to, void *value);

PLX_EXTERN_C_END

#endif
