/* SPDX-License-Identifier: MIT */
/*
 * The wheel: all timers of one reactor, and nothing but them; times are told by the caller.
 *
 * Words. A *level* is a ring of 64 slots; a *slot* of level k is 32^k ns long, so that one of level
 * k+1 covers 32 of level k. The *base* is a time that no timer of the wheel precedes; the *cursor*
 * of a level is the slot that the base lies in. A ring holds the slots from its cursor to 63 ahead:
 * always all that the slot after the cursor of the level above covers. *Opening* a slot is moving
 * its timers down; it is *heavy* when it has too many to do that in one turn.
 *
 * Placing. A timer goes to the level where it is 1 to 31 slots ahead of the base, the lowest for
 * less than 32 ns. A slot is opened when the base reaches it, a heavy one while the base is in the
 * slot before; what is armed for it from then on goes further down at once.
 *
 * Order. Of two timers of equal time the older is never on a lower level, and on the same one it is
 * before the younger in the list: the base only grows, so that the level for a given time only
 * falls; what is armed goes to the end of a list; what moves down is taken from the end of its list
 * and put at the begin of another, and passes no list of its time that has timers. So timers leave
 * the lowest level, where a slot is one time, in order of arming, and none is ever sorted.
 *
 * The past. Times before the base have a wheel of their own, whose base begins at 0 whenever it is
 * empty; all of its timers precede those of the other.
 *
 * Threads: the one that polls the reactor.
 */
#ifndef POLLUX_TIMERS_INTERNAL_H
#define POLLUX_TIMERS_INTERNAL_H

#include "runtime/sched/timer.h"

/* In one turn at the most: timers fired, timers moved to reach those, timers moved ahead. */
#define PLX__TURN_TIMERS_MAX 64u
#define PLX__TURN_MOVES_MAX  256u
#define PLX__TURN_AHEAD_MAX  64u

#define PLX__WHEEL_BITS   5u
#define PLX__WHEEL_LEVELS 13u /* 65 bits: every time there is */
#define PLX__WHEEL_SLOTS  64u

struct plx__timer_slot {
    struct plx_timer *first; /* a circle: the last is before the first */
    uint32_t count;
};

struct plx__wheel {
    uint64_t base_ns;
    uint32_t levels;                    /* a bit for each level that has timers */
    uint64_t filled[PLX__WHEEL_LEVELS]; /* a bit for each slot that has */
    uint64_t opened[PLX__WHEEL_LEVELS]; /* slots before this one take no more timers */
    struct plx__timer_slot slots[PLX__WHEEL_LEVELS][PLX__WHEEL_SLOTS];
};

struct plx__timers {
    uint64_t next_ns;      /* nothing need be done before; UINT64_MAX: never */
    uint64_t late_ns;      /* a timer fired so long after its time is late */
    struct plx_timer *due; /* while timers fire: those left of this turn, a circle */
    uint64_t fired;
    uint64_t late;
    uint64_t missed; /* periods of periodic timers */
    struct plx__wheel ahead;
    struct plx__wheel past;
};

/* `timers` zeroed; `now_ns` is where it begins. */
void plx__timers_init(struct plx__timers *timers, uint64_t now_ns, uint64_t late_ns);

/*
 * As plx_timer_arm and plx_timer_arm_every (`period_ns` not 0) say; `fn` and `ctx` are the caller's
 * to set. Returns whether plx__timers_next has become less.
 */
bool plx__timers_arm(struct plx__timers *timers, struct plx_timer *timer, uint64_t at_ns,
                     uint64_t period_ns);
void plx__timers_disarm(struct plx__timers *timers, struct plx_timer *timer);

/* Fires what is due at `now_ns`, within a turn's bounds. Returns how many. Callbacks run in here.
 */
uint32_t plx__timers_run(struct plx__timers *timers, uint64_t now_ns);

/*
 * A time before which no timer is due and no slot need be opened, so that nothing is lost by not
 * running until then: often before the first timer's time, as it may lie in a coarse slot. Up to
 * now: run again at once. UINT64_MAX: none is armed. Falls only by arming, grows by running.
 */
static inline uint64_t plx__timers_next(const struct plx__timers *timers)
{
    return timers->next_ns;
}

/* For tests: aborts if a list, a mark or a count is not as it should be. Returns the number armed
 * in the wheels. */
uint64_t plx__timers_check(const struct plx__timers *timers);

#endif
