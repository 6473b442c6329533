/* SPDX-License-Identifier: MIT */
/* The loop: one turn, and what hangs on it. */
#include "runtime/reactor.h"

#include <errno.h>

#include "runtime/reactor_internal.h"

/* The reactor whose turn this thread is in. */
static _Thread_local struct plx_reactor *current __attribute__((tls_model("initial-exec")));

/* --- one turn --------------------------------------------------------------------------------- */

static uint32_t run_pollers(struct plx_reactor *r)
{
    uint32_t work = 0;
    struct plx_poller *poller = r->poller_first;
    while (poller != NULL) {
        /* A poller may disarm any, the next one too: plx_poller_disarm then moves this on. */
        r->poller_next = poller->next;
        work += poller->fn(poller, poller->ctx);
        poller = r->poller_next;
    }
    return work;
}

/*
 * When to look at the clock again: a little before `ns` from now have passed, as the counter's rate
 * is not known better than that.
 */
static uint64_t ticks_before(const struct plx_reactor *r, uint64_t ns)
{
    double ticks = (double)(ns - ns / 128) * r->ticks_per_ns;
    return ticks < 1e18 ? (uint64_t)ticks : (uint64_t)1e18;
}

static uint32_t run_timers(struct plx_reactor *r, uint64_t ticks)
{
    struct plx__timers *timers = &r->timers;
    uint64_t now = plx_reactor_now_ns(r);
    uint32_t fired = 0;
    if (now >= plx__timers_next(timers)) {
        fired = plx__timers_run(timers, now);
        plx_store_relaxed(&r->counters.timers_fired, timers->fired);
        plx_store_relaxed(&r->counters.timers_late, timers->late);
        plx_store_relaxed(&r->counters.timer_periods_missed, timers->missed);
    }
    /* Only then the counter says when a time has come that the clock will tell. */
    bool ticks_tell = r->io->clock.uses_ticks && !r->io->own_clock;
    uint64_t next = plx__timers_next(timers);
    if (next == UINT64_MAX)
        r->look_ticks = UINT64_MAX;
    else if (next <= now || !ticks_tell)
        r->look_ticks = 0;
    else
        r->look_ticks = ticks + ticks_before(r, next - now);
    return fired;
}

/* A compare in a turn before the next timer's time, or without any. */
static inline uint32_t fire_timers(struct plx_reactor *r)
{
    if (r->look_ticks == UINT64_MAX)
        return 0;
    /* Where time passes between turns, the end of the last one says nothing of now. */
    uint64_t ticks = r->gaps ? plx_ticks() : r->turn_ticks;
    return ticks < r->look_ticks ? 0 : run_timers(r, ticks);
}

static uint32_t run_deferred(struct plx_reactor *r)
{
    struct plx__deferred *deferred = r->deferred_first;
    r->deferred_first = NULL;
    r->deferred_last = NULL;
    uint32_t work = 0;
    while (deferred != NULL) {
        struct plx__deferred *next = deferred->next;
        deferred->queued = false;
        deferred->fn(deferred, deferred->ctx);
        deferred = next;
        work++;
    }
    return work;
}

/* The backend's own numbers are plain; here they become readable for other threads. */
static void publish_io(struct plx_reactor *r)
{
    const struct plx__io *io = r->io;
    plx_store_relaxed(&r->counters.ops_submitted, io->submitted);
    plx_store_relaxed(&r->counters.ops_completed, io->completed);
    plx_store_relaxed(&r->counters.ops_refused, io->full);
    plx_store_relaxed(&r->counters.kernel_entries, io->kernel_entries);
}

static void account(struct plx_reactor *r, uint32_t work)
{
    uint64_t now = plx_ticks();
    uint64_t took = now - r->turn_ticks;
    struct plx__counters *counters = &r->counters;
    r->turn_ticks = now;
    plx__bump(&counters->turns, 1);
    if (work == 0) {
        plx__bump(&counters->idle_ticks, took);
        return;
    }
    r->sleep.busy_ticks = now;
    plx__bump(&counters->busy_ticks, took);
    if (took > plx_load_relaxed(&counters->longest_ticks))
        plx_store_relaxed(&counters->longest_ticks, took);
    if (PLX_UNLIKELY(took > r->stall_ticks)) {
        plx__bump(&counters->stalled_turns, 1);
        plx__bump(&counters->stalled_ticks, took);
    }
    publish_io(r);
}

int plx_reactor_poll(struct plx_reactor *r)
{
    if (PLX_UNLIKELY(plx_load_relaxed(&r->in_turn) != 0))
        return -EDEADLK;
    plx_store_relaxed(&r->in_turn, 1);
    struct plx_reactor *outer = current;
    current = r;

    uint32_t work = plx__mesh_take(&r->mesh, r);
    work += plx__io_poll(r->io);
    if (r->poller_first != NULL)
        work += run_pollers(r);
    work += fire_timers(r);
    if (r->tasks.ready_count != 0)
        work += plx__tasks_run(&r->tasks);
    /* Relaxed: the runtime's orders arrive a turn late at worst. */
    if (PLX_UNLIKELY(plx_load_relaxed(r->phase) != r->followed ||
                     r->followed == PLX__STOP_DRAINING))
        plx__runtime_follow(r);
    work += plx_pool_serve(&r->pool);
    if (r->deferred_first != NULL)
        work += run_deferred(r);
    work += plx_pool_flush(&r->pool);
    if (PLX_UNLIKELY(r->late_cancels != NULL))
        plx__remote_flush(r);
    if (PLX_UNLIKELY(r->mesh.rouses))
        plx__mesh_rouse(&r->mesh);
    work += r->io->ops->flush(r->io);

    current = outer;
    plx_store_relaxed(&r->in_turn, 0);
    account(r, work);
    return (int)work;
}

void plx_reactor_flush(struct plx_reactor *r)
{
    if (r->mesh.rouses)
        plx__mesh_rouse(&r->mesh);
    (void)r->io->ops->flush(r->io);
}

struct plx_reactor *plx_reactor_self(void)
{
    return current;
}

/* --- ops and posts: handed to what the reactor holds ------------------------------------------ */

int plx_op_submit(struct plx_reactor *r, struct plx_op *op)
{
    return plx__io_submit(r->io, op);
}

void plx_op_cancel(struct plx_reactor *r, struct plx_op *op)
{
    plx__io_cancel(r->io, op);
}

int plx_fd_register(struct plx_reactor *r, int fd)
{
    return plx__io_fd_register(r->io, fd);
}

int plx_fd_unregister(struct plx_reactor *r, int fd)
{
    return plx__io_fd_unregister(r->io, fd);
}

int plx_mesh_post(struct plx_reactor *from, uint32_t to, plx_post_fn fn, const void *body,
                  size_t bytes)
{
    return plx__mesh_post(&from->mesh, to, fn, body, bytes);
}

int plx_mesh_broadcast(struct plx_reactor *from, plx_post_fn fn, const void *body, size_t bytes)
{
    return plx__mesh_broadcast(&from->mesh, fn, body, bytes);
}

int plx_mesh_call(struct plx_reactor *from, struct plx_call *call, uint32_t to, plx_call_fn fn,
                  const void *body, size_t bytes, plx_call_done_fn done, void *ctx)
{
    return plx__mesh_call(&from->mesh, call, to, fn, body, bytes, done, ctx);
}

struct plx__mesh *plx__reactor_mesh(struct plx_reactor *r)
{
    return &r->mesh;
}

uint64_t plx__reactor_clock_ns(struct plx_reactor *r)
{
    return plx_reactor_now_ns(r);
}

int plx_group_create(struct plx_reactor *r, uint32_t count, uint32_t bytes, uint16_t *out)
{
    return plx__io_group_create(r->io, count, bytes, out);
}

void plx_group_release(struct plx_reactor *r, uint16_t group, uint16_t buffer_id)
{
    plx__io_group_release(r->io, group, buffer_id);
}

void *plx_group_take(struct plx_reactor *r, uint16_t group, uint16_t buffer_id)
{
    return plx__io_group_take(r->io, group, buffer_id);
}

uint32_t plx_group_left(const struct plx_reactor *r, uint16_t index)
{
    PLX_ASSERT(index < PLX_GROUPS_MAX);
    const struct plx__group *group = &r->io->groups[index];
    return group->count - group->lent - group->missing;
}

int64_t plx_recv_now(struct plx_reactor *r, int fd, void *buf, size_t len)
{
    return r->io->ops->recv_now(r->io, fd, buf, len);
}

int64_t plx_send_now(struct plx_reactor *r, int fd, const void *data, size_t len)
{
    return r->io->ops->send_now(r->io, fd, data, len);
}

/* --- pollers, timers, deferred calls, stoppers ------------------------------------------------ */

void plx_poller_arm(struct plx_reactor *r, struct plx_poller *poller, plx_poller_fn fn, void *ctx)
{
    PLX_ASSERT(!poller->armed);
    poller->fn = fn;
    poller->ctx = ctx;
    poller->armed = true;
    poller->prev = NULL;
    poller->next = r->poller_first;
    if (poller->next != NULL)
        poller->next->prev = poller;
    r->poller_first = poller;
    r->sleep.unwatched++;
}

void plx_poller_disarm(struct plx_reactor *r, struct plx_poller *poller)
{
    if (!poller->armed)
        return;
    if (r->poller_next == poller)
        r->poller_next = poller->next;
    if (poller->next != NULL)
        poller->next->prev = poller->prev;
    if (poller->prev != NULL)
        poller->prev->next = poller->next;
    else
        r->poller_first = poller->next;
    poller->armed = false;
    if (poller->watched)
        plx__watch_end(r, poller);
    else
        r->sleep.unwatched--;
}

/* The next turn looks, if it is the first one now. */
static inline void arm_timer(struct plx_reactor *r, struct plx_timer *timer, uint64_t at_ns,
                             uint64_t period_ns, plx_timer_fn fn, void *ctx)
{
    timer->fn = fn;
    timer->ctx = ctx;
    if (plx__timers_arm(&r->timers, timer, at_ns, period_ns))
        r->look_ticks = 0;
}

void plx_timer_arm(struct plx_reactor *r, struct plx_timer *timer, uint64_t at_ns, plx_timer_fn fn,
                   void *ctx)
{
    arm_timer(r, timer, at_ns, 0, fn, ctx);
}

void plx_timer_arm_every(struct plx_reactor *r, struct plx_timer *timer, uint64_t first_ns,
                         uint64_t period_ns, plx_timer_fn fn, void *ctx)
{
    PLX_ASSERT(period_ns != 0);
    arm_timer(r, timer, first_ns, period_ns, fn, ctx);
}

void plx_timer_disarm(struct plx_reactor *r, struct plx_timer *timer)
{
    plx__timers_disarm(&r->timers, timer);
}

void plx__reactor_defer(struct plx_reactor *r, struct plx__deferred *deferred, plx__deferred_fn fn,
                        void *ctx)
{
    if (deferred->queued)
        return;
    deferred->next = NULL;
    deferred->fn = fn;
    deferred->ctx = ctx;
    deferred->queued = true;
    if (r->deferred_last != NULL)
        r->deferred_last->next = deferred;
    else
        r->deferred_first = deferred;
    r->deferred_last = deferred;
}

void plx__stopper_add(struct plx_reactor *r, struct plx__stopper *stopper, plx__stopper_fn fn,
                      void *ctx)
{
    stopper->fn = fn;
    stopper->ctx = ctx;
    stopper->next = r->stopper_first;
    r->stopper_first = stopper;
}

void plx__reactor_tell_stoppers(struct plx_reactor *r, enum plx__stop_phase phase)
{
    for (struct plx__stopper *s = r->stopper_first; s != NULL; s = s->next)
        s->fn(s, phase, s->ctx);
}

/* --- inspection ------------------------------------------------------------------------------- */

uint64_t plx_reactor_now_ns(struct plx_reactor *r)
{
    return plx__io_now_ns(r->io);
}

uint32_t plx_reactor_index(const struct plx_reactor *r)
{
    return r->mesh.index;
}

int plx_reactor_cpu(const struct plx_reactor *r)
{
    return r->cpu;
}

int plx_reactor_node(const struct plx_reactor *r)
{
    return r->node;
}

uint32_t plx_reactor_caps(const struct plx_reactor *r)
{
    return r->io->caps;
}

struct plx_runtime *plx_reactor_runtime(const struct plx_reactor *r)
{
    return r->runtime;
}

const char *plx_reactor_mode(const struct plx_reactor *r)
{
    return r->io->mode;
}

struct plx_arena *plx_reactor_arena(struct plx_reactor *r)
{
    return r->arena;
}

struct plx_pool *plx_reactor_pool(struct plx_reactor *r)
{
    return &r->pool;
}

struct plx_bytes_home *plx_reactor_bytes(struct plx_reactor *r)
{
    return &r->bytes;
}

struct plx__tasks *plx__reactor_tasks(struct plx_reactor *r)
{
    return &r->tasks;
}

struct plx__io *plx__reactor_io(struct plx_reactor *r)
{
    return r->io;
}

void **plx__reactor_net(struct plx_reactor *r)
{
    return &r->net;
}

int plx__reactor_hot_take(struct plx_reactor *r)
{
    if (r->hot_count >= r->hot_max) {
        plx__bump(&r->counters.hot_refused, 1);
        return -ENOSPC;
    }
    r->hot_count++;
    return 0;
}

void plx__reactor_hot_give(struct plx_reactor *r)
{
    PLX_ASSERT(r->hot_count > 0);
    r->hot_count--;
}

void plx_reactor_read_stats(const struct plx_reactor *r, struct plx_reactor_stats *out)
{
    const struct plx__counters *c = &r->counters;
    double ns_per_tick = 1.0 / r->ticks_per_ns;
    *out = (struct plx_reactor_stats){
        .turns = plx_load_relaxed(&c->turns),
        .busy_ns = (uint64_t)((double)plx_load_relaxed(&c->busy_ticks) * ns_per_tick),
        .idle_ns = (uint64_t)((double)plx_load_relaxed(&c->idle_ticks) * ns_per_tick),
        .longest_turn_ns = (uint64_t)((double)plx_load_relaxed(&c->longest_ticks) * ns_per_tick),
        .stalled_turns = plx_load_relaxed(&c->stalled_turns),
        .stalled_ns = (uint64_t)((double)plx_load_relaxed(&c->stalled_ticks) * ns_per_tick),
        .stall_reports = plx__runtime_stall_reports(r),
        .ops_submitted = plx_load_relaxed(&c->ops_submitted),
        .ops_completed = plx_load_relaxed(&c->ops_completed),
        .ops_refused = plx_load_relaxed(&c->ops_refused),
        .kernel_entries = plx_load_relaxed(&c->kernel_entries),
        .posts_in = plx_load_relaxed(&r->mesh.posts_in),
        .posts_out = plx_load_relaxed(&r->mesh.posts_out),
        .posts_refused = plx_load_relaxed(&r->mesh.posts_refused),
        .posts_lost = plx_load_relaxed(&r->mesh.posts_lost),
        .calls_in = plx_load_relaxed(&r->mesh.calls_in),
        .calls_out = plx_load_relaxed(&r->mesh.calls_out),
        .calls_refused = plx_load_relaxed(&r->mesh.calls_refused),
        .calls_unrun = plx_load_relaxed(&r->mesh.calls_unrun),
        .sleeps = plx_load_relaxed(&c->sleeps),
        .timers_fired = plx_load_relaxed(&c->timers_fired),
        .timers_late = plx_load_relaxed(&c->timers_late),
        .timer_periods_missed = plx_load_relaxed(&c->timer_periods_missed),
        .downgrades = r->downgrades,
        .hot_refused = plx_load_relaxed(&c->hot_refused),
    };
}
