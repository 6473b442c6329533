/* SPDX-License-Identifier: MIT */
/*
 * The clock of one reactor: CLOCK_MONOTONIC in ns, told from the cycle counter.
 *
 * How. A *mark* is a reading of both clocks at one moment. From two of them the counter's rate
 * follows, and times are told from the last one, the *anchor*, on. The clock anchors itself anew
 * when it is read so long after the anchor that the rate may have changed: after 4 ms at first, up
 * to 128 ms. Until there is a rate, and where the counter is not to be relied on, it asks the
 * kernel.
 *
 * How well. What it tells never falls. It is off CLOCK_MONOTONIC by the uncertainty of a mark (tens
 * of ns), and what the kernel changed of its own clock's rate since the anchor, over that time: 500
 * ppm, the most that adjtimex(2) does, are 64 us over 128 ms; what NTP does in practice is below
 * 100 ns. When it is found to be behind, it goes on from the right time; when it is ahead, it runs
 * slower until the next anchor, by when it is right again.
 *
 * Threads: the reactor's, but for plx__monotonic_ns. Nothing is shared.
 */
#ifndef POLLUX_CLOCK_INTERNAL_H
#define POLLUX_CLOCK_INTERNAL_H

#include <time.h>

#include "alloc/base.h"

/* What the kernel says, for threads that are no reactors. */
static inline uint64_t plx__monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Between two anchors, from the first to the usual; the first rate takes half the first. */
#define PLX__CLOCK_FIRST_NS 4000000u
#define PLX__CLOCK_USUAL_NS 128000000u

struct plx__clock_mark {
    uint64_t ticks;
    uint64_t ns;
    uint64_t gap_ticks; /* it was taken in so many: the most it can be off */
};

struct plx__clock {
    uint64_t anchor_ticks;
    uint64_t anchor_ns;
    uint64_t rate;        /* ns a tick, times 2^32, until the next anchor */
    uint64_t limit_ticks; /* so long after the anchor it is time for another one; 0: always */
    uint64_t last_ns;     /* told last */
    uint64_t interval_ns;
    uint64_t true_rate; /* as measured; 0: not yet */
    struct plx__clock_mark mark;
    bool uses_ticks;
    bool doubts;     /* the last rate measured was far from the one before */
    const char *why; /* the counter is not used; static */
};

/*
 * Begins. The counter is used if the processor says that its rate never changes, and the kernel
 * uses it for its own clock; not if `denied`, as a test does.
 */
void plx__clock_init(struct plx__clock *clock, bool denied);

/* The way of plx__clock_ns that is not hot. */
uint64_t plx__clock_look(struct plx__clock *clock);

/* Anchors the clock by `mark` if that is good enough, and tells the time of it. For tests too. */
uint64_t plx__clock_take_mark(struct plx__clock *clock, const struct plx__clock_mark *mark);

/* The time at `ticks`, which is not so far from the anchor that there has to be another one. */
static inline uint64_t plx__clock_at(struct plx__clock *clock, uint64_t ticks)
{
    uint64_t ns = clock->anchor_ns + ((ticks - clock->anchor_ticks) * clock->rate >> 32);
    /* Counters of two cores may be a few ticks apart, and a thread may move. */
    if (ns < clock->last_ns)
        ns = clock->last_ns;
    clock->last_ns = ns;
    return ns;
}

/* Now. Some 10 ns. */
static inline uint64_t plx__clock_ns(struct plx__clock *clock)
{
    uint64_t ticks = plx_ticks();
    if (PLX_UNLIKELY(ticks - clock->anchor_ticks >= clock->limit_ticks))
        return plx__clock_look(clock);
    return plx__clock_at(clock, ticks);
}

#endif
