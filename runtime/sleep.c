/* SPDX-License-Identifier: MIT */
/* Turns without work: a pause, a yield, or a sleep from which everything wakes. */
#include "runtime/sleep_internal.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

#include "runtime/reactor_internal.h"
#include "runtime/runtime.h"

int plx__sleep_open(struct plx_reactor *r, uint32_t watches)
{
    size_t bytes = watches * sizeof(struct plx__watch);
    r->sleep.watches = plx_arena_carve(r->arena, bytes, PLX_CACHE_LINE);
    if (r->sleep.watches == NULL)
        return -ENOMEM;
    memset(r->sleep.watches, 0, bytes);
    r->sleep.watch_count = watches;
    return 0;
}

/* --- watches ---------------------------------------------------------------------------------- */

int plx_poller_watch(struct plx_reactor *r, struct plx_poller *poller, int fd, uint32_t bits)
{
    PLX_ASSERT(poller->armed && !poller->watched);
    if (r->wake.fd < 0)
        return 0;
    for (uint32_t i = 0; i < r->sleep.watch_count; i++) {
        struct plx__watch *watch = &r->sleep.watches[i];
        if (watch->poller != NULL || watch->in_flight)
            continue;
        watch->poller = poller;
        watch->fd = fd;
        watch->bits = bits;
        poller->watched = true;
        r->sleep.unwatched--;
        return 0;
    }
    return -ENOSPC;
}

static void end_of_watch(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    struct plx__watch *watch = ctx;
    (void)op;
    (void)event;
    watch->in_flight = false;
}

/* Polls for what the pollers look at. Whether all could be asked for. */
static bool arm_watches(struct plx_reactor *r)
{
    for (uint32_t i = 0; i < r->sleep.watch_count; i++) {
        struct plx__watch *watch = &r->sleep.watches[i];
        if (watch->poller == NULL || watch->in_flight)
            continue;
        plx_op_poll(&watch->op, watch->fd, watch->bits, end_of_watch, watch);
        if (plx__io_submit(r->io, &watch->op) != 0)
            return false;
        watch->in_flight = true;
    }
    return true;
}

void plx__watch_end(struct plx_reactor *r, struct plx_poller *poller)
{
    for (uint32_t i = 0; i < r->sleep.watch_count; i++) {
        struct plx__watch *watch = &r->sleep.watches[i];
        if (watch->poller != poller)
            continue;
        watch->poller = NULL;
        /* A close of the descriptor waits for it. */
        if (watch->in_flight)
            plx__io_cancel(r->io, &watch->op);
    }
    poller->watched = false;
}

/* --- sleeping --------------------------------------------------------------------------------- */

/* What is tried again each turn, or found only by looking, and wakes nobody. */
static bool must_turn(const struct plx_reactor *r)
{
    return r->sleep.unwatched != 0 || r->followed != PLX__STOP_NONE || r->deferred_first != NULL ||
           r->io->closes_ready != 0 || r->late_cancels != NULL || r->tasks.ready_count != 0 ||
           r->pool.ready_count != 0 || plx_load_relaxed(&r->pool.away_waiting) != 0;
}

/* Whether something has come that no turn has seen. After the announcement. */
static bool has_news(const struct plx_reactor *r)
{
    return plx__mesh_pending(&r->mesh) || plx_load_relaxed(r->phase) != r->followed ||
           plx_load_relaxed(r->mesh.ended) != r->mesh.ended_served;
}

/*
 * A wish to end, told to the loop once: whoever owns an adopted reactor may look for it between
 * turns, and goes on sleeping if he does nothing about it. After the announcement.
 */
static bool stop_is_news(struct plx_reactor *r)
{
    bool stopping = plx_runtime_is_stopping(r->runtime);
    bool news = stopping && !r->sleep.stop_told;
    r->sleep.stop_told = stopping;
    return news;
}

/* Announces that this reactor sleeps, if it may. */
static bool fall_asleep(struct plx_reactor *r)
{
    if (must_turn(r) || !arm_watches(r))
        return false;
    /* What was posted between turns is not left to the next one, which may be far. */
    if (r->mesh.rouses)
        plx__mesh_rouse(&r->mesh);
    plx__wake_announce(&r->wake);
    if (!has_news(r) && !stop_is_news(r))
        return true;
    plx__wake_withdraw(&r->wake);
    return false;
}

static void sleep_until_woken(struct plx_reactor *r)
{
    if (!fall_asleep(r)) {
        sched_yield();
        return;
    }
    r->io->ops->wait(r->io, plx__timers_next(&r->timers));
    plx__wake_withdraw(&r->wake);
    /* The time slept is no part of the turn that follows. */
    uint64_t now = plx_ticks();
    plx__bump(&r->counters.idle_ticks, now - r->turn_ticks);
    plx__bump(&r->counters.sleeps, 1);
    r->turn_ticks = now;
    r->sleep.busy_ticks = now;
}

void plx_reactor_idle(struct plx_reactor *r)
{
    switch (r->sleep.idle) {
    case PLX_IDLE_YIELD:
        sched_yield();
        break;
    case PLX_IDLE_ADAPTIVE:
        if (r->turn_ticks - r->sleep.busy_ticks < r->sleep.spin_ticks)
            plx_cpu_relax();
        else
            sleep_until_woken(r);
        break;
    case PLX_IDLE_BLOCK:
        sleep_until_woken(r);
        break;
    default:
        plx_cpu_relax();
        break;
    }
}

/* --- in somebody else's loop ------------------------------------------------------------------ */

int plx_reactor_fd(const struct plx_reactor *r)
{
    return r->wake.fd >= 0 ? r->io->wait_fd : -EOPNOTSUPP;
}

int64_t plx_reactor_prepare_wait(struct plx_reactor *r)
{
    if (r->wake.fd < 0)
        return -EOPNOTSUPP;
    if (!fall_asleep(r))
        return 0;
    uint64_t next = plx__timers_next(&r->timers);
    uint64_t now = plx_reactor_now_ns(r);
    if (!r->io->ops->prepare_wait(r->io) || next <= now) {
        plx__wake_withdraw(&r->wake);
        return 0;
    }
    return next - now < INT64_MAX ? (int64_t)(next - now) : INT64_MAX;
}
