/* SPDX-License-Identifier: MIT */
/*
 * What the timer benchmark does with each kind of timers: ours, a plain heap, libuv's.
 */
#ifndef POLLUX_TOOLS_BENCH_TIMER_H
#define POLLUX_TOOLS_BENCH_TIMER_H

#include <errno.h>

#include "tools/bench/bench.h"

/* Timers that are armed, then disarmed or fired, in one go: as many as a turn fires at the most. */
#define PLX_BENCH_HELD 64u
/* Goes in a sample of arming and disarming. */
#define PLX_BENCH_GOES 8u
/* Delays drawn: so many that no processor learns them by heart. */
#define PLX_BENCH_DELAYS 8192u
/* Timers that fire are armed within the next so many ns. */
#define PLX_BENCH_SOON_NS 20000u

/* What a kind embeds first. */
struct plx_bench_timers {
    const struct plx_bench_timers_ops *ops;
    uint64_t random;
    uint64_t fired; /* counted by the timers' functions */
    uint64_t delays_ns[PLX_BENCH_DELAYS];
};

struct plx_bench_timers_ops {
    const char *subject;
    /*
     * Makes PLX_BENCH_HELD timers, and arms `others` more, which will not be due while it measures.
     * On the bench thread. `random` is where what is drawn begins.
     */
    int (*open)(const struct plx_bench_timers_ops *ops, struct plx_bench *bench, uint32_t others,
                uint64_t random, struct plx_bench_timers **out, struct plx_diag *diag);
    void (*close)(struct plx_bench_timers *timers);
    plx_bench_fn arm;    /* its slices; their context is what open made */
    plx_bench_fn expire; /* the same */
};

extern const struct plx_bench_timers_ops plx_bench_timers_pollux;
extern const struct plx_bench_timers_ops plx_bench_timers_raw;
extern const struct plx_bench_timers_ops plx_bench_timers_libuv; /* only if PLX_BENCH_LIBUV */

/* A delay as of timers that guard against what rarely happens: 100 to 160 s. */
static inline uint64_t plx_bench_delay_ns(uint64_t *random)
{
    return 100000000000u + plx_bench_random(random) % 60000000000u;
}

/* For open: what all have. */
static inline void plx_bench_timers_draw(struct plx_bench_timers *timers,
                                         const struct plx_bench_timers_ops *ops, uint64_t random)
{
    timers->ops = ops;
    timers->random = random;
    for (uint32_t i = 0; i < PLX_BENCH_DELAYS; i++)
        timers->delays_ns[i] = plx_bench_delay_ns(&timers->random);
}

/* As many delays as one sample takes, from anywhere among those drawn. */
static inline const uint64_t *plx_bench_some_delays(struct plx_bench_timers *timers)
{
    return timers->delays_ns +
           plx_bench_random(&timers->random) % (PLX_BENCH_DELAYS - PLX_BENCH_HELD * PLX_BENCH_GOES);
}

/* --- slices, with each kind's functions in line ----------------------------------------------- */

typedef uint64_t (*plx_bench_now_fn)(struct plx_bench_timers *timers);
typedef void (*plx_bench_arm_fn)(struct plx_bench_timers *timers, uint32_t i, uint64_t at_ns);
typedef void (*plx_bench_disarm_fn)(struct plx_bench_timers *timers, uint32_t i);
/* One turn of whatever fires them. */
typedef void (*plx_bench_turn_fn)(struct plx_bench_timers *timers);

static inline __attribute__((always_inline)) int
plx_bench_arm_slice(struct plx_bench_slice *slice, struct plx_bench_timers *timers,
                    plx_bench_now_fn now_ns, plx_bench_arm_fn arm, plx_bench_disarm_fn disarm)
{
    do {
        uint64_t now = now_ns(timers);
        const uint64_t *delays = plx_bench_some_delays(timers);
        uint64_t before = plx_bench_fenced_ticks();
        for (uint32_t go = 0; go < PLX_BENCH_GOES; go++, delays += PLX_BENCH_HELD) {
            for (uint32_t i = 0; i < PLX_BENCH_HELD; i++)
                arm(timers, i, now + delays[i]);
            for (uint32_t i = 0; i < PLX_BENCH_HELD; i++)
                disarm(timers, i);
        }
        plx_bench_sample(slice, plx_bench_fenced_ticks() - before);
    } while (plx_ticks() < slice->end_ticks);
    return 0;
}

static inline __attribute__((always_inline)) int
plx_bench_expire_slice(struct plx_bench_slice *slice, struct plx_bench_timers *timers,
                       plx_bench_now_fn now_ns, plx_bench_arm_fn arm, plx_bench_turn_fn turn,
                       struct plx_diag *diag)
{
    do {
        const uint64_t *delays = plx_bench_some_delays(timers);
        uint64_t from_ns = now_ns(timers);
        for (uint32_t i = 0; i < PLX_BENCH_HELD; i++)
            arm(timers, i, from_ns + delays[i] % PLX_BENCH_SOON_NS);
        while (now_ns(timers) < from_ns + PLX_BENCH_SOON_NS)
            continue;
        timers->fired = 0;
        uint64_t before = plx_bench_fenced_ticks();
        do
            turn(timers);
        while (timers->fired < PLX_BENCH_HELD && !plx_bench_in_vain(slice));
        plx_bench_sample(slice, plx_bench_fenced_ticks() - before);
        if (timers->fired != PLX_BENCH_HELD)
            return plx_diag_set(diag, -EPROTO, timers->ops->subject,
                                "%u timers were armed, and %llu fired", PLX_BENCH_HELD,
                                (unsigned long long)timers->fired);
    } while (plx_ticks() < slice->end_ticks);
    return 0;
}

#endif
