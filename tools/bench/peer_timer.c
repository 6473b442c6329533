/* SPDX-License-Identifier: MIT */
/* Timers of others: a binary heap of pointers, each timer knowing its place; and libuv's. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifdef PLX_BENCH_LIBUV
#include <uv.h>
#endif

#include "tools/bench/timer.h"

/* --- the heap --------------------------------------------------------------------------------- */

struct raw_timer {
    uint64_t at_ns;
    uint32_t place; /* in the heap */
    void (*fn)(struct raw_timer *timer, void *ctx);
    void *ctx;
};

struct raw {
    struct plx_bench_timers timers;
    struct raw_timer **heap; /* at i: not later than those at 2i+1 and 2i+2 */
    uint32_t count;
    struct raw_timer held[PLX_BENCH_HELD];
    struct raw_timer others[];
};

static inline void raw_place(struct raw *raw, uint32_t place, struct raw_timer *timer)
{
    raw->heap[place] = timer;
    timer->place = place;
}

static inline void raw_up(struct raw *raw, uint32_t place, struct raw_timer *timer)
{
    while (place != 0 && raw->heap[(place - 1) / 2]->at_ns > timer->at_ns) {
        raw_place(raw, place, raw->heap[(place - 1) / 2]);
        place = (place - 1) / 2;
    }
    raw_place(raw, place, timer);
}

static inline void raw_down(struct raw *raw, uint32_t place, struct raw_timer *timer)
{
    for (uint32_t child = 2 * place + 1; child < raw->count; child = 2 * place + 1) {
        if (child + 1 < raw->count && raw->heap[child + 1]->at_ns < raw->heap[child]->at_ns)
            child++;
        if (raw->heap[child]->at_ns >= timer->at_ns)
            break;
        raw_place(raw, place, raw->heap[child]);
        place = child;
    }
    raw_place(raw, place, timer);
}

static inline void raw_remove(struct raw *raw, struct raw_timer *timer)
{
    uint32_t place = timer->place;
    struct raw_timer *last = raw->heap[--raw->count];
    if (last == timer)
        return;
    if (place != 0 && raw->heap[(place - 1) / 2]->at_ns > last->at_ns)
        raw_up(raw, place, last);
    else
        raw_down(raw, place, last);
}

static void raw_on_time(struct raw_timer *timer, void *ctx)
{
    (void)timer;
    ((struct raw *)ctx)->timers.fired++;
}

static inline void raw_start(struct raw *raw, struct raw_timer *timer, uint64_t at_ns)
{
    timer->at_ns = at_ns;
    timer->fn = raw_on_time;
    timer->ctx = raw;
    raw_up(raw, raw->count++, timer);
}

static inline uint64_t raw_now_ns(struct plx_bench_timers *timers)
{
    (void)timers;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline void raw_arm(struct plx_bench_timers *timers, uint32_t i, uint64_t at_ns)
{
    struct raw *raw = (struct raw *)timers;
    raw_start(raw, &raw->held[i], at_ns);
}

static inline void raw_disarm(struct plx_bench_timers *timers, uint32_t i)
{
    struct raw *raw = (struct raw *)timers;
    raw_remove(raw, &raw->held[i]);
}

static inline void raw_turn(struct plx_bench_timers *timers)
{
    struct raw *raw = (struct raw *)timers;
    uint64_t now_ns = raw_now_ns(timers);
    while (raw->count != 0 && raw->heap[0]->at_ns <= now_ns) {
        struct raw_timer *timer = raw->heap[0];
        raw_remove(raw, timer);
        timer->fn(timer, timer->ctx);
    }
}

static int raw_arm_slice(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    (void)diag;
    return plx_bench_arm_slice(slice, ctx, raw_now_ns, raw_arm, raw_disarm);
}

static int raw_expire_slice(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    return plx_bench_expire_slice(slice, ctx, raw_now_ns, raw_arm, raw_turn, diag);
}

static void raw_close(struct plx_bench_timers *timers)
{
    struct raw *raw = (struct raw *)timers;
    free(raw->heap);
    free(raw);
}

static int raw_open(const struct plx_bench_timers_ops *ops, struct plx_bench *bench,
                    uint32_t others, uint64_t random, struct plx_bench_timers **out,
                    struct plx_diag *diag)
{
    (void)bench;
    struct raw *raw = calloc(1, sizeof(*raw) + others * sizeof(struct raw_timer));
    struct raw_timer **heap = malloc((others + PLX_BENCH_HELD) * sizeof(struct raw_timer *));
    if (raw == NULL || heap == NULL) {
        free(raw);
        free(heap);
        return plx_diag_set(diag, -ENOMEM, "timers", "no memory for %u timers", others);
    }
    raw->heap = heap;
    plx_bench_timers_draw(&raw->timers, ops, random);
    uint64_t now_ns = raw_now_ns(&raw->timers);
    for (uint32_t i = 0; i < others; i++)
        raw_start(raw, &raw->others[i], now_ns + plx_bench_delay_ns(&random));
    *out = &raw->timers;
    return 0;
}

const struct plx_bench_timers_ops plx_bench_timers_raw = {
    .subject = "raw",
    .open = raw_open,
    .close = raw_close,
    .arm = raw_arm_slice,
    .expire = raw_expire_slice,
};

/* --- libuv ------------------------------------------------------------------------------------ */

#ifdef PLX_BENCH_LIBUV

struct libuv {
    struct plx_bench_timers timers;
    uv_loop_t loop;
    uint32_t others;
    uv_timer_t all[]; /* the held ones, then the others */
};

static void libuv_on_time(uv_timer_t *timer)
{
    ((struct libuv *)timer->data)->timers.fired++;
}

/* Its times count from the loop's idea of now, which is that of the turn before, in ms. */
static inline uint64_t libuv_now_ns(struct plx_bench_timers *timers)
{
    return uv_now(&((struct libuv *)timers)->loop) * 1000000;
}

static inline void libuv_start(struct libuv *libuv, uv_timer_t *timer, uint64_t at_ns)
{
    uint64_t now_ms = uv_now(&libuv->loop);
    uint64_t at_ms = at_ns / 1000000;
    (void)uv_timer_start(timer, libuv_on_time, at_ms > now_ms ? at_ms - now_ms : 0, 0);
}

static inline void libuv_arm(struct plx_bench_timers *timers, uint32_t i, uint64_t at_ns)
{
    struct libuv *libuv = (struct libuv *)timers;
    libuv_start(libuv, &libuv->all[i], at_ns);
}

static inline void libuv_disarm(struct plx_bench_timers *timers, uint32_t i)
{
    (void)uv_timer_stop(&((struct libuv *)timers)->all[i]);
}

static int libuv_arm_slice(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    (void)diag;
    return plx_bench_arm_slice(slice, ctx, libuv_now_ns, libuv_arm, libuv_disarm);
}

/* All are due at once, as its clock has ms; so there is nothing to wait for either. */
static int libuv_expire_slice(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    struct libuv *libuv = ctx;
    do {
        for (uint32_t i = 0; i < PLX_BENCH_HELD; i++)
            (void)uv_timer_start(&libuv->all[i], libuv_on_time, 0, 0);
        libuv->timers.fired = 0;
        uint64_t before = plx_bench_fenced_ticks();
        do
            (void)uv_run(&libuv->loop, UV_RUN_NOWAIT);
        while (libuv->timers.fired < PLX_BENCH_HELD && !plx_bench_in_vain(slice));
        plx_bench_sample(slice, plx_bench_fenced_ticks() - before);
        if (libuv->timers.fired != PLX_BENCH_HELD)
            return plx_diag_set(diag, -EPROTO, "libuv", "timers were armed and did not fire");
    } while (plx_ticks() < slice->end_ticks);
    return 0;
}

static void libuv_close(struct plx_bench_timers *timers)
{
    struct libuv *libuv = (struct libuv *)timers;
    for (uint32_t i = 0; i < PLX_BENCH_HELD + libuv->others; i++)
        uv_close((uv_handle_t *)&libuv->all[i], NULL);
    while (uv_run(&libuv->loop, UV_RUN_NOWAIT) != 0)
        continue;
    (void)uv_loop_close(&libuv->loop);
    free(libuv);
}

static int libuv_open(const struct plx_bench_timers_ops *ops, struct plx_bench *bench,
                      uint32_t others, uint64_t random, struct plx_bench_timers **out,
                      struct plx_diag *diag)
{
    (void)bench;
    uint32_t count = PLX_BENCH_HELD + others;
    struct libuv *libuv = calloc(1, sizeof(*libuv) + count * sizeof(uv_timer_t));
    if (libuv == NULL)
        return plx_diag_set(diag, -ENOMEM, "timers", "no memory for %u timers", others);
    int rc = uv_loop_init(&libuv->loop);
    if (rc != 0) {
        free(libuv);
        return plx_diag_set(diag, rc, "libuv", "uv_loop_init: %s", uv_strerror(rc));
    }
    libuv->others = others;
    plx_bench_timers_draw(&libuv->timers, ops, random);
    uint64_t now_ns = libuv_now_ns(&libuv->timers);
    for (uint32_t i = 0; i < count; i++) {
        (void)uv_timer_init(&libuv->loop, &libuv->all[i]);
        libuv->all[i].data = libuv;
        if (i >= PLX_BENCH_HELD)
            libuv_start(libuv, &libuv->all[i], now_ns + plx_bench_delay_ns(&random));
    }
    *out = &libuv->timers;
    return 0;
}

const struct plx_bench_timers_ops plx_bench_timers_libuv = {
    .subject = "libuv",
    .open = libuv_open,
    .close = libuv_close,
    .arm = libuv_arm_slice,
    .expire = libuv_expire_slice,
};

#endif
