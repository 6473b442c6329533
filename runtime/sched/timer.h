/* SPDX-License-Identifier: MIT */
/*
 * Timers: a function called once in the first turn at or after a point in time.
 *
 * A timer lies in the caller's memory and is armed on one reactor. Times are ns of the reactor's
 * clock (plx_reactor_now_ns, CLOCK_MONOTONIC). Timers due in one turn fire in order of their times,
 * those of equal time in order of arming.
 *
 * Threads: the one that polls the reactor.
 */
#ifndef POLLUX_TIMER_H
#define POLLUX_TIMER_H

#include "alloc/base.h"

PLX_EXTERN_C_BEGIN

struct plx_reactor;
struct plx_timer;

/* Called inside a turn; the timer is disarmed then and may be armed again. */
typedef void (*plx_timer_fn)(struct plx_timer *timer, void *ctx);

/* Zeroed is a disarmed timer. The fields are the runtime's. */
struct plx_timer {
    struct plx_timer *next;
    struct plx_timer *prev;
    uint64_t at_ns;
    plx_timer_fn fn;
    void *ctx;
    bool armed;
};

/*
 * Arms `timer` (disarmed, or it is moved) to fire at `at_ns`; a time in the past fires in the next
 * turn. Ownership: `timer` stays in place until it fired or is disarmed. Cost: hot; no allocation;
 * grows with the number of timers due later.
 */
PLX_API void plx_timer_arm(struct plx_reactor *reactor, struct plx_timer *timer, uint64_t at_ns,
                           plx_timer_fn fn, void *ctx);

/* Disarms it; it will not fire. Nothing happens to one that is not armed. O(1). */
PLX_API void plx_timer_disarm(struct plx_reactor *reactor, struct plx_timer *timer);

static inline bool plx_timer_is_armed(const struct plx_timer *timer)
{
    return timer->armed;
}

PLX_EXTERN_C_END

#endif
