/* SPDX-License-Identifier: MIT */
/* The reactor's clock; how it works is told in clock_internal.h. */
#include "runtime/io/clock_internal.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

/* A mark is taken anew up to so many times until it is narrow. */
#define MARK_TRIES 5
/* Of what a mark says of an interval, one part in so many may be its uncertainty ... */
#define MARK_PARTS 1024u
/* ... and this at the most. */
#define MARK_GAP_NS 10000u
/* A rate that differs from the one before by one part in so many is doubted. */
#define DOUBT_PARTS 1024u

#define CLOCKSOURCE "/sys/devices/system/clocksource/clocksource0/current_clocksource"

__extension__ typedef unsigned __int128 wide;

/* --- whether the counter will do -------------------------------------------------------------- */

#if defined(__x86_64__)
#define KERNELS_NAME "tsc"

/* CPUID 0x80000007, EDX bit 8: the same rate in all states of power (Intel SDM 3B, 18.17.1). */
static bool rate_is_constant(void)
{
    unsigned eax;
    unsigned ebx;
    unsigned ecx;
    unsigned edx = 0;
    return __get_cpuid(0x80000007, &eax, &ebx, &ecx, &edx) != 0 && (edx >> 8 & 1) != 0;
}
#else
#define KERNELS_NAME "arch_sys_counter"

/* The generic timer's counter has one rate for all cores and states of power. */
static bool rate_is_constant(void)
{
    return true;
}
#endif

/* The kernel watches its clock and leaves a counter that does not keep the time. */
static bool kernel_uses_it(void)
{
    char name[64] = "";
    int fd = open(CLOCKSOURCE, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t got = read(fd, name, sizeof(name) - 1);
    close(fd);
    return got == (ssize_t)sizeof(KERNELS_NAME) && strcmp(name, KERNELS_NAME "\n") == 0;
}

void plx__clock_init(struct plx__clock *clock, bool denied)
{
    memset(clock, 0, sizeof(*clock));
    if (denied)
        clock->why = "the counter is denied";
    else if (!rate_is_constant())
        clock->why = "the counter's rate is not constant";
    else if (!kernel_uses_it())
        clock->why = "the kernel's own clock is not " KERNELS_NAME;
    clock->uses_ticks = clock->why == NULL;
}

/* --- marks ------------------------------------------------------------------------------------ */

/* The narrowest of a few, as this thread may be interrupted in between. The first warms up. */
static struct plx__clock_mark read_mark(void)
{
    struct plx__clock_mark best = {.gap_ticks = UINT64_MAX};
    for (int i = 0; i < MARK_TRIES; i++) {
        uint64_t before = plx_ticks();
        uint64_t ns = plx__monotonic_ns();
        uint64_t gap = plx_ticks() - before;
        if (gap < best.gap_ticks)
            best = (struct plx__clock_mark){before + gap / 2, ns, gap};
    }
    return best;
}

static uint64_t rate_between(const struct plx__clock_mark *from, const struct plx__clock_mark *to)
{
    return (uint64_t)(((wide)(to->ns - from->ns) << 32) / (to->ticks - from->ticks));
}

static bool is_narrow(const struct plx__clock_mark *mark, uint64_t rate, uint64_t interval_ns)
{
    uint64_t most_ns = interval_ns / MARK_PARTS;
    if (most_ns > MARK_GAP_NS)
        most_ns = MARK_GAP_NS;
    return (wide)mark->gap_ticks * rate >> 32 <= most_ns;
}

/*
 * Learns the rate since the last mark. One that is far from what it was is believed when the next
 * says the same: the counter may have run on, or begun anew, in a suspended machine.
 */
static void learn_rate(struct plx__clock *clock, const struct plx__clock_mark *mark)
{
    uint64_t interval_ns = clock->interval_ns;
    clock->interval_ns = PLX__CLOCK_FIRST_NS;
    if (mark->ticks <= clock->mark.ticks) {
        clock->mark = *mark;
        return;
    }
    /* Too soon to tell: the counter runs much faster than it did. */
    if (mark->ns - clock->mark.ns < PLX__CLOCK_FIRST_NS / 2)
        return;
    uint64_t rate = rate_between(&clock->mark, mark);
    uint64_t old = clock->true_rate;
    uint64_t off = rate > old ? rate - old : old - rate;
    bool is_far = rate == 0 || (old != 0 && off > old / DOUBT_PARTS);
    if (rate != 0 && (!is_far || clock->doubts))
        clock->true_rate = rate;
    if (old != 0 && !is_far)
        clock->interval_ns = interval_ns < PLX__CLOCK_USUAL_NS ? interval_ns * 2 : interval_ns;
    clock->doubts = is_far && !clock->doubts;
    clock->mark = *mark;
}

/* --- anchors ---------------------------------------------------------------------------------- */

static void anchor(struct plx__clock *clock, const struct plx__clock_mark *mark)
{
    uint64_t rate = clock->true_rate;
    clock->anchor_ticks = mark->ticks;
    clock->anchor_ns = mark->ns;
    if (clock->last_ns > mark->ns) {
        /* Ahead: slower, but not below half, so that it still moves. */
        uint64_t ahead_ns = clock->last_ns - mark->ns;
        clock->anchor_ns = clock->last_ns;
        if (ahead_ns > clock->interval_ns / 2)
            ahead_ns = clock->interval_ns / 2;
        rate -= (uint64_t)((wide)rate * ahead_ns / clock->interval_ns);
    }
    clock->rate = rate;
    clock->limit_ticks = (clock->interval_ns << 32) / clock->true_rate;
}

/* The first rate, when enough time has passed since the first mark. */
static void learn_first_rate(struct plx__clock *clock, const struct plx__clock_mark *mark)
{
    const uint64_t window_ns = PLX__CLOCK_FIRST_NS / 2;
    if (clock->mark.ns == 0 || mark->ticks <= clock->mark.ticks) {
        clock->mark = *mark;
        return;
    }
    if (mark->ns - clock->mark.ns < window_ns)
        return;
    uint64_t rate = rate_between(&clock->mark, mark);
    if (!is_narrow(&clock->mark, rate, window_ns))
        clock->mark = *mark;
    else if (is_narrow(mark, rate, window_ns))
        learn_rate(clock, mark);
    if (clock->true_rate != 0)
        anchor(clock, mark);
}

uint64_t plx__clock_take_mark(struct plx__clock *clock, const struct plx__clock_mark *mark)
{
    if (clock->true_rate == 0) {
        learn_first_rate(clock, mark);
    } else if (is_narrow(mark, clock->true_rate, clock->interval_ns)) {
        learn_rate(clock, mark);
        anchor(clock, mark);
    }
    if (clock->last_ns < mark->ns)
        clock->last_ns = mark->ns;
    return clock->last_ns;
}

uint64_t plx__clock_look(struct plx__clock *clock)
{
    if (!clock->uses_ticks) {
        clock->last_ns = plx__monotonic_ns();
        return clock->last_ns;
    }
    struct plx__clock_mark mark = read_mark();
    return plx__clock_take_mark(clock, &mark);
}
