/* SPDX-License-Identifier: MIT */
/*
 * What sanitizers have to be told of a switch between stacks. Without one all of it is nothing.
 *
 * Threads: the one that switches.
 */
#ifndef POLLUX_FIBER_INTERNAL_H
#define POLLUX_FIBER_INTERNAL_H

#include "alloc/base.h"

#if defined(__SANITIZE_ADDRESS__)
#define PLX__FIBER_ADDRESS 1
#elif defined(__SANITIZE_THREAD__)
#define PLX__FIBER_THREAD 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PLX__FIBER_ADDRESS 1
#elif __has_feature(thread_sanitizer)
#define PLX__FIBER_THREAD 1
#endif
#endif

#if defined(PLX__FIBER_ADDRESS)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define PLX__NO_SANITIZE __attribute__((no_sanitize("address")))
#elif defined(PLX__FIBER_THREAD)
#include <sanitizer/tsan_interface.h>
#define PLX__NO_SANITIZE __attribute__((no_sanitize("thread")))
#else
#define PLX__NO_SANITIZE
#endif

/* A stack, as a sanitizer knows it. */
struct plx__fiber {
#if defined(PLX__FIBER_ADDRESS)
    void *fake; /* its frames that were moved away to find their use after return */
    const void *bottom;
    size_t bytes;
#elif defined(PLX__FIBER_THREAD)
    void *handle;
#else
    char nothing;
#endif
};

/* A stack that nobody has run on yet. */
static inline void plx__fiber_init(struct plx__fiber *fiber, void *bottom, size_t bytes)
{
#if defined(PLX__FIBER_ADDRESS)
    fiber->fake = NULL;
    fiber->bottom = bottom;
    fiber->bytes = bytes;
#elif defined(PLX__FIBER_THREAD)
    fiber->handle = __tsan_create_fiber(0);
    (void)bottom, (void)bytes;
#else
    (void)fiber, (void)bottom, (void)bytes;
#endif
}

static inline void plx__fiber_fini(struct plx__fiber *fiber)
{
#if defined(PLX__FIBER_THREAD)
    __tsan_destroy_fiber(fiber->handle);
#else
    (void)fiber;
#endif
}

/* `fiber` is to name the stack that runs now. */
static inline void plx__fiber_here(struct plx__fiber *fiber)
{
#if defined(PLX__FIBER_THREAD)
    fiber->handle = __tsan_get_current_fiber();
#else
    (void)fiber;
#endif
}

/* On the stack `from`, before the switch to `to`. */
static inline void plx__fiber_leave(struct plx__fiber *from, struct plx__fiber *to)
{
#if defined(PLX__FIBER_ADDRESS)
    __sanitizer_start_switch_fiber(&from->fake, to->bottom, to->bytes);
#elif defined(PLX__FIBER_THREAD)
    (void)from;
    __tsan_switch_to_fiber(to->handle, 0);
#else
    (void)from, (void)to;
#endif
}

/* On the stack `here`, behind the switch from `from`, whose place is learnt if it is unknown. */
static inline void plx__fiber_arrive(struct plx__fiber *here, struct plx__fiber *from)
{
#if defined(PLX__FIBER_ADDRESS)
    __sanitizer_finish_switch_fiber(here->fake, &from->bottom, &from->bytes);
#else
    (void)here, (void)from;
#endif
}

/* Its memory is about to become somebody else's. */
static inline void plx__fiber_forget_stack(void *bottom, size_t bytes)
{
#if defined(PLX__FIBER_ADDRESS)
    ASAN_UNPOISON_MEMORY_REGION(bottom, bytes);
#else
    (void)bottom, (void)bytes;
#endif
}

#endif
