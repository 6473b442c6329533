/* SPDX-License-Identifier: MIT */
#include "runtime/sched/await.h"

#include <errno.h>

#include "runtime/sched/task_internal.h"
#include "runtime/sched/timer.h"

/* An op that a task waits for, and its deadline. */
struct waited {
    struct plx_op *op;
    struct plx_task *task;
    struct plx_event event;
    struct plx_timer timer;
    bool told; /* of a zero-copy send the first event has the result */
    bool cut_off;
};

static void on_event(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    struct waited *waited = ctx;
    (void)op;
    if (!waited->told)
        waited->event = *event;
    waited->told = true;
    if ((event->flags & PLX_EV_MORE) == 0)
        plx__task_wake(waited->task, waited->event.result);
}

static void ask_to_end(void *ctx)
{
    struct waited *waited = ctx;
    plx_op_cancel(waited->task->tasks->reactor, waited->op);
}

static void cut_off(struct plx_timer *timer, void *ctx)
{
    struct waited *waited = ctx;
    (void)timer;
    /* Not one that its task's cancelling has ended before. */
    enum plx_op_state state = plx_op_state(waited->op);
    waited->cut_off = state == PLX_OP_QUEUED || state == PLX_OP_SUBMITTED;
    ask_to_end(waited);
}

/* The running task, if it may wait for `op`. */
static struct plx_task *enter(const struct plx_op *op, int *why)
{
    if (PLX_UNLIKELY((op->flags & PLX_MULTISHOT) != 0)) {
        *why = -EINVAL;
        return NULL;
    }
    if (PLX_LIKELY(op->code != PLX_OP_CLOSE))
        return plx__task_enter(why);
    *why = -EDEADLK;
    return plx__task_running;
}

static int submit(struct waited *waited)
{
    struct plx_op *op = waited->op;
    op->fn = on_event;
    op->ctx = waited;
    int rc = plx_op_submit(waited->task->tasks->reactor, op);
    while (PLX_UNLIKELY(rc == -EAGAIN)) {
        /* The ring is shown to the kernel behind the tasks of this turn. */
        rc = plx_task_yield();
        if (rc == 0 || op->code == PLX_OP_CLOSE)
            rc = plx_op_submit(waited->task->tasks->reactor, op);
    }
    return rc;
}

static int64_t wait_for(struct waited *waited, uint64_t at_ns)
{
    int why = 0;
    waited->task = enter(waited->op, &why);
    if (PLX_UNLIKELY(waited->task == NULL))
        return why;
    int rc = submit(waited);
    if (PLX_UNLIKELY(rc != 0))
        return rc;
    struct plx_reactor *reactor = waited->task->tasks->reactor;
    if (at_ns != UINT64_MAX)
        plx_timer_arm(reactor, &waited->timer, at_ns, cut_off, waited);
    plx__task_cancel_fn cancel = waited->op->code != PLX_OP_CLOSE ? ask_to_end : NULL;
    int64_t result = plx__task_wait(waited->task, cancel, waited);
    if (at_ns != UINT64_MAX)
        plx_timer_disarm(reactor, &waited->timer);
    return result == -ECANCELED && waited->cut_off ? -ETIMEDOUT : result;
}

int64_t plx_await(struct plx_op *op)
{
    struct waited waited = {.op = op};
    return wait_for(&waited, UINT64_MAX);
}

int64_t plx_await_until(struct plx_op *op, uint64_t at_ns)
{
    struct waited waited = {.op = op};
    return wait_for(&waited, at_ns);
}

int64_t plx_await_event(struct plx_op *op, struct plx_event *out)
{
    struct waited waited = {.op = op};
    int64_t result = wait_for(&waited, UINT64_MAX);
    if (!waited.told)
        waited.event.result = (int32_t)result;
    *out = waited.event;
    return result;
}
