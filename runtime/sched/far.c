/* SPDX-License-Identifier: MIT */
#include "runtime/sched/far.h"

#include <errno.h>

#include "runtime/mesh/mesh_internal.h"
#include "runtime/sched/task_internal.h"

/* --- there ------------------------------------------------------------------------------------ */

static void end_there(struct plx_task *task)
{
    struct plx_far_task *far = task->far;
    const struct plx_call_token token = far->token;
    int64_t result = task->result;
    far->there = NULL;
    plx_call_reply(task->tasks->reactor, &token, 0, &result, sizeof(result));
}

static int32_t start_there(struct plx_reactor *here, const struct plx_call_token *token,
                           const void *body, void *answer)
{
    struct plx_far_task *far = *(struct plx_far_task *const *)body;
    (void)answer;
    struct plx_task_opts opts = far->opts;
    opts.detached = true;
    struct plx_task *task;
    int rc = plx__task_spawn(plx__reactor_tasks(here), &opts, far->fn, far->ctx, &task);
    far->there = rc == 0 ? task : NULL;
    if (rc != 0)
        return rc;
    far->token = *token;
    task->on_end = end_there;
    task->far = far;
    return PLX_CALL_LATER;
}

static int32_t cancel_there(struct plx_reactor *here, const struct plx_call_token *token,
                            const void *body, void *answer)
{
    struct plx_far_task *far = *(struct plx_far_task *const *)body;
    (void)here;
    (void)token;
    (void)answer;
    if (far->there != NULL)
        plx_task_cancel(far->there);
    return 0;
}

/* --- here ------------------------------------------------------------------------------------- */

/* When both have come back: until then the other side may look at it. */
static void deliver(struct plx_far_task *far)
{
    if (!far->ended || far->cancel.in_flight)
        return;
    far->running = false;
    if (far->joiner != NULL)
        plx__task_wake(far->joiner, 0);
}

static void end_here(struct plx_call *call, const struct plx_call_event *event, void *ctx)
{
    struct plx_far_task *far = ctx;
    (void)call;
    far->error = event->result;
    far->result = *(const int64_t *)event->answer;
    far->ended = true;
    plx_timer_disarm(far->from, &far->again);
    deliver(far);
}

static void cancel_answered(struct plx_call *call, const struct plx_call_event *event, void *ctx)
{
    (void)call;
    (void)event;
    deliver(ctx);
}

static void send_cancel(struct plx_timer *timer, void *ctx)
{
    struct plx_far_task *far = ctx;
    (void)timer;
    int rc = plx__mesh_request(plx__reactor_mesh(far->from), &far->cancel, far->call.to,
                               cancel_there, &far, sizeof(far), cancel_answered, far);
    /* A time in the past: the next turn. */
    if (rc == -EAGAIN)
        plx_timer_arm(far->from, &far->again, 0, send_cancel, far);
}

int plx_far_spawn(struct plx_reactor *from, struct plx_far_task *far, uint32_t to,
                  const struct plx_task_opts *opts, plx_task_fn fn, void *ctx)
{
    PLX_ASSERT(!far->running);
    if (opts != NULL)
        far->opts = *opts;
    else
        plx_task_opts_init(&far->opts);
    PLX_ASSERT(!far->opts.detached);
    far->fn = fn;
    far->ctx = ctx;
    far->from = from;
    far->joiner = NULL;
    far->ended = false;
    far->cancelled = false;
    far->call.not_after_ns = 0;
    far->cancel.not_after_ns = 0;
    int rc = plx_mesh_call(from, &far->call, to, start_there, &far, sizeof(far), end_here, far);
    far->running = rc == 0;
    return rc;
}

void plx_far_cancel(struct plx_far_task *far)
{
    if (!far->running || far->ended || far->cancelled)
        return;
    far->cancelled = true;
    send_cancel(&far->again, far);
}

static void cancel_join(void *ctx)
{
    plx_far_cancel(ctx);
}

int plx_far_join(struct plx_far_task *far, int64_t *result)
{
    struct plx_task *self = plx__task_running;
    if (far->running && self == NULL)
        return -EDEADLK;
    if (far->running) {
        if (far->joiner != NULL)
            return -EBUSY;
        PLX_ASSERT(self->tasks->reactor == far->from);
        if (plx__task_is_refused(self))
            plx_far_cancel(far);
        far->joiner = self;
        (void)plx__task_wait(self, cancel_join, far);
        far->joiner = NULL;
    }
    if (far->error == 0 && result != NULL)
        *result = far->result;
    return far->error;
}

void plx__far_cancel_all(struct plx__tasks *tasks)
{
    /* Requests to cancel join the list behind those that are looked at. */
    struct plx__mesh *mesh = plx__reactor_mesh(tasks->reactor);
    for (struct plx_call *call = mesh->calls.first; call != NULL; call = call->next) {
        if (call->done == end_here)
            plx_far_cancel(call->ctx);
    }
}
