/* SPDX-License-Identifier: MIT */
/*
 * Timers: a function called in the first turn at or after a point in time, once or every so often.
 *
 * Words. A timer lies in the caller's memory and is *armed* on one reactor. Times are ns of the
 * reactor's clock (plx_reactor_now_ns). A *period* of a periodic timer is *missed* when its time
 * had passed before the call for an earlier one was made.
 *
 * When. Never before its time on that clock, to the nanosecond. Timers due in one turn are called
 * in order of their times, those of equal time in order of arming. A turn calls at most 64; what is
 * due beyond that follows in the next turns, in the same order. A timer armed for a time in the
 * past is called in the next turn, and before those that were due later. One exception to the order
 * across turns: a timer armed for a time before that of one called already, while others armed for
 * the past still wait for their turn, counts among these as of the time called last.
 *
 * How. A wheel of wheels down to single nanoseconds: a timer that is far away lies in a coarse slot
 * and moves to finer ones as its time comes near. A turn moves a bounded number, and slots of many
 * timers are moved ahead of their time, so that a million of them make no turn long.
 *
 * Threads: the one that polls the reactor.
 */
#ifndef POLLUX_TIMER_H
#define POLLUX_TIMER_H

#include "alloc/base.h"

PLX_EXTERN_C_BEGIN

struct plx_reactor;
struct plx_timer;

/*
 * Called inside a turn; a timer armed once is disarmed then, a periodic one is armed for its next
 * period. Either may be armed or disarmed there, and a timer that is disarmed may be freed.
 */
typedef void (*plx_timer_fn)(struct plx_timer *timer, void *ctx);

/* Zeroed is a disarmed timer. The fields are the runtime's. */
struct plx_timer {
    struct plx_timer *next;
    struct plx_timer *prev;
    uint64_t at_ns;
    uint64_t period_ns; /* 0: once */
    plx_timer_fn fn;
    void *ctx;
    uint32_t missed;
    uint16_t place; /* which list it is on */
    bool armed;
    bool past; /* its time had passed when it was armed */
};

/*
 * Arms `timer` (disarmed, or it is moved) to be called once at `at_ns`. Ownership: `timer` stays in
 * place until it was called or is disarmed. Cost: hot, O(1); no allocation, no look at the clock.
 */
PLX_API void plx_timer_arm(struct plx_reactor *reactor, struct plx_timer *timer, uint64_t at_ns,
                           plx_timer_fn fn, void *ctx);

/*
 * The same for a call at `first_ns` and every `period_ns` (not 0) from there, until it is disarmed.
 * The times do not shift when a call is late, and missed periods are left out rather than made up
 * for: at most one call a turn; plx_timer_missed tells how many that call stands for, and
 * `timer_periods_missed` of plx_reactor_stats counts them.
 */
PLX_API void plx_timer_arm_every(struct plx_reactor *reactor, struct plx_timer *timer,
                                 uint64_t first_ns, uint64_t period_ns, plx_timer_fn fn, void *ctx);

/*
 * Disarms it: it will not be called, though it be due in this turn. Nothing happens to one that is
 * not armed. Cost: hot, O(1).
 */
PLX_API void plx_timer_disarm(struct plx_reactor *reactor, struct plx_timer *timer);

static inline bool plx_timer_is_armed(const struct plx_timer *timer)
{
    return timer->armed;
}

/*
 * Of a periodic timer, in its function: the periods left out because this call came too late for
 * them. Those beyond UINT32_MAX are not counted.
 */
static inline uint32_t plx_timer_missed(const struct plx_timer *timer)
{
    return timer->missed;
}

PLX_EXTERN_C_END

#endif
