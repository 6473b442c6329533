/* SPDX-License-Identifier: MIT */
/* Timers armed, disarmed and fired, and the clock read: a reactor beside a heap and libuv. */
#include "tools/bench/timer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ABANDON_NS  2000000000u
#define CLOCK_BLOCK 1024u

struct ours {
    struct plx_bench_timers timers;
    struct plx_runtime *runtime;
    struct plx_reactor *reactor;
    struct plx_timer held[PLX_BENCH_HELD] PLX_ALIGNED(PLX_CACHE_LINE);
    struct plx_timer others[];
};

/* --- ours ------------------------------------------------------------------------------------- */

static void on_time(struct plx_timer *timer, void *ctx)
{
    (void)timer;
    ((struct plx_bench_timers *)ctx)->fired++;
}

static inline uint64_t ours_now_ns(struct plx_bench_timers *timers)
{
    return plx_reactor_now_ns(((struct ours *)timers)->reactor);
}

static inline void ours_arm(struct plx_bench_timers *timers, uint32_t i, uint64_t at_ns)
{
    struct ours *ours = (struct ours *)timers;
    plx_timer_arm(ours->reactor, &ours->held[i], at_ns, on_time, ours);
}

static inline void ours_disarm(struct plx_bench_timers *timers, uint32_t i)
{
    struct ours *ours = (struct ours *)timers;
    plx_timer_disarm(ours->reactor, &ours->held[i]);
}

static inline void ours_turn(struct plx_bench_timers *timers)
{
    (void)plx_reactor_poll(((struct ours *)timers)->reactor);
}

static int ours_arm_slice(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    (void)diag;
    return plx_bench_arm_slice(slice, ctx, ours_now_ns, ours_arm, ours_disarm);
}

static int ours_expire_slice(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    return plx_bench_expire_slice(slice, ctx, ours_now_ns, ours_arm, ours_turn, diag);
}

static int open_reactor(struct plx_bench *bench, struct ours *ours, struct plx_diag *diag)
{
    char cpu[16];
    snprintf(cpu, sizeof(cpu), "%d", plx_bench_cpu_a(bench));
    const char *const settings[] = {"sqpoll", "off", "reactors", "1", "cpus",
                                    cpu,      "smt", "yes",      NULL};
    int rc = plx_bench_runtime(bench, settings, NULL, &ours->runtime, diag);
    if (rc != 0)
        return rc;
    rc = plx_reactor_adopt(ours->runtime, 0, &ours->reactor, diag);
    if (rc != 0)
        plx_runtime_destroy(ours->runtime);
    return rc;
}

static void ours_close(struct plx_bench_timers *timers)
{
    struct ours *ours = (struct ours *)timers;
    (void)!plx_reactor_abandon(ours->reactor, ABANDON_NS);
    plx_runtime_destroy(ours->runtime);
    free(ours);
}

static int ours_open(const struct plx_bench_timers_ops *ops, struct plx_bench *bench,
                     uint32_t others, uint64_t random, struct plx_bench_timers **out,
                     struct plx_diag *diag)
{
    size_t bytes = plx_round_up(sizeof(struct ours) + others * sizeof(struct plx_timer), PLX_PAGE);
    struct ours *ours = aligned_alloc(PLX_CACHE_LINE, bytes);
    if (ours == NULL)
        return plx_diag_set(diag, -ENOMEM, "timers", "no memory for %u timers", others);
    memset(ours, 0, bytes);
    int rc = open_reactor(bench, ours, diag);
    if (rc != 0) {
        free(ours);
        return rc;
    }
    plx_bench_timers_draw(&ours->timers, ops, random);
    uint64_t now_ns = plx_reactor_now_ns(ours->reactor);
    for (uint32_t i = 0; i < others; i++)
        plx_timer_arm(ours->reactor, &ours->others[i], now_ns + plx_bench_delay_ns(&random),
                      on_time, ours);
    *out = &ours->timers;
    return 0;
}

const struct plx_bench_timers_ops plx_bench_timers_pollux = {
    .subject = "pollux",
    .open = ours_open,
    .close = ours_close,
    .arm = ours_arm_slice,
    .expire = ours_expire_slice,
};

/* --- the clock -------------------------------------------------------------------------------- */

static int run_clock(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    uint64_t before = plx_ticks();
    uint64_t last_ns = 0;
    bool falls = false;
    while (before < slice->end_ticks) {
        for (uint32_t i = 0; i < CLOCK_BLOCK; i++) {
            uint64_t now_ns = ours_now_ns(ctx);
            falls |= now_ns < last_ns;
            last_ns = now_ns;
        }
        uint64_t now = plx_ticks();
        plx_bench_sample(slice, now - before);
        before = now;
    }
    return falls ? plx_diag_set(diag, -EPROTO, "clock", "a reactor's clock went back") : 0;
}

static int run_clock_gettime(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    (void)ctx;
    uint64_t before = plx_ticks();
    uint64_t last_ns = 0;
    bool falls = false;
    while (before < slice->end_ticks) {
        for (uint32_t i = 0; i < CLOCK_BLOCK; i++) {
            struct timespec time;
            clock_gettime(CLOCK_MONOTONIC, &time);
            uint64_t now_ns = (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
            falls |= now_ns < last_ns;
            last_ns = now_ns;
        }
        uint64_t now = plx_ticks();
        plx_bench_sample(slice, now - before);
        before = now;
    }
    return falls ? plx_diag_set(diag, -EPROTO, "clock", "CLOCK_MONOTONIC went back") : 0;
}

static int measure_clock(struct plx_bench *bench)
{
    static const struct plx_bench_case what = {
        .bench = "timer",
        .name = "clock",
        .what = "the time in ns, read",
        .block = CLOCK_BLOCK,
    };
    struct plx_diag diag;
    struct plx_bench_timers *ours = NULL;
    if (!plx_bench_is_wanted(bench, what.bench, what.name))
        return plx_bench_measure(bench, &what, NULL, 0);
    int rc = ours_open(&plx_bench_timers_pollux, bench, 0, plx_bench_seed(bench), &ours, &diag);
    if (rc != 0)
        plx_bench_failed(bench, "timer", &diag);
    const struct plx_bench_subject subjects[] = {
        {.name = "pollux",
         .run = run_clock,
         .ctx = ours,
         .missing = rc != 0 ? diag.text : NULL,
         .mem_node = -1},
        {.name = "raw", .run = run_clock_gettime, .mem_node = -1},
    };
    rc = plx_bench_measure(bench, &what, subjects, 2);
    if (ours != NULL)
        ours_close(ours);
    return rc;
}

/* --- cases ------------------------------------------------------------------------------------ */

static const struct plx_bench_timers_ops *const kinds[] = {
    &plx_bench_timers_pollux,
    &plx_bench_timers_raw,
#ifdef PLX_BENCH_LIBUV
    &plx_bench_timers_libuv,
#endif
};

#define KIND_COUNT (sizeof(kinds) / sizeof(kinds[0]))

static int measure(struct plx_bench *bench, const struct plx_bench_case *what, uint32_t others,
                   bool expires)
{
    struct plx_bench_timers *timers[KIND_COUNT] = {NULL};
    struct plx_bench_subject subjects[KIND_COUNT];
    struct plx_diag diags[KIND_COUNT];
    if (!plx_bench_is_wanted(bench, what->bench, what->name))
        return plx_bench_measure(bench, what, NULL, 0);
    for (size_t i = 0; i < KIND_COUNT; i++) {
        int rc =
            kinds[i]->open(kinds[i], bench, others, plx_bench_seed(bench), &timers[i], &diags[i]);
        if (rc != 0)
            plx_bench_failed(bench, "timer", &diags[i]);
        subjects[i] = (struct plx_bench_subject){
            .name = kinds[i]->subject,
            .run = expires ? kinds[i]->expire : kinds[i]->arm,
            .ctx = timers[i],
            .missing = rc != 0 ? diags[i].text : NULL,
            .mem_node = -1,
        };
    }
    int rc = plx_bench_measure(bench, what, subjects, (uint32_t)KIND_COUNT);
    for (size_t i = 0; i < KIND_COUNT; i++) {
        if (timers[i] != NULL)
            kinds[i]->close(timers[i]);
    }
    return rc;
}

int plx_bench_timer(struct plx_bench *bench)
{
    static const struct {
        const char *name;
        const char *what;
        uint32_t others;
        bool expires;
    } cases[] = {
        {"arm_disarm_0", "a timer armed, then disarmed; no others, 64 at a time", 0, false},
        {"arm_disarm_1K", "the same beside 1000 others armed", 1000, false},
        {"arm_disarm_1M", "the same beside a million", 1000000, false},
        {"expire_64", "a timer fired, 64 due in a turn that is part of the time", 0, true},
        {"expire_64_1K", "the same beside 1000 others armed for later", 1000, true},
    };
    int rc = 0;
#ifndef PLX_BENCH_LIBUV
    plx_bench_missing_peer(bench, "libuv", "libuv1-dev");
#endif
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]) && rc == 0; i++) {
        const struct plx_bench_case what = {
            .bench = "timer",
            .name = cases[i].name,
            .what = cases[i].what,
            .block = cases[i].expires ? PLX_BENCH_HELD : PLX_BENCH_HELD * PLX_BENCH_GOES,
            .fenced = true,
        };
        rc = measure(bench, &what, cases[i].others, cases[i].expires);
    }
    return rc == 0 ? measure_clock(bench) : rc;
}
