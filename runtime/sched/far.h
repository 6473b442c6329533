/* SPDX-License-Identifier: MIT */
/*
 * Tasks on other reactors: spawned from here, run there, joined here. A *far task* is a call
 * (runtime/mesh/call.h) that is answered when the task ends.
 *
 * Threads: the one that polls the reactor that spawns.
 */
#ifndef POLLUX_FAR_H
#define POLLUX_FAR_H

#include "runtime/mesh/call.h"
#include "runtime/sched/task.h"
#include "runtime/sched/timer.h"

PLX_EXTERN_C_BEGIN

/* Zeroed is one that was never spawned. The fields are the runtime's. */
struct plx_far_task {
    struct plx_call call;
    struct plx_call cancel;
    /* Written before the other reactor can see it. */
    plx_task_fn fn;
    void *ctx;
    struct plx_task_opts opts;
    /* Of who spawned it. */
    struct plx_reactor *from;
    struct plx_task *joiner;
    struct plx_timer again; /* a cancel for which there was no room */
    int64_t result;
    int32_t error;
    bool running;
    bool ended;
    bool cancelled;
    /* Of the reactor that runs it. */
    struct plx_task *there;
    struct plx_call_token token;
};

/*
 * Spawns fn(ctx) as a task on reactor `to`. `opts` (NULL: defaults) is as of plx_task_spawn, the
 * group being one of `to`; `detached` must not be set. What it meets there, no stack for instance,
 * is told by the join.
 * Ownership: `far` stays in place, untouched, until a join has answered anything but -EAGAIN;
 * `ctx` belongs to the task meanwhile, which is what hands it over between the two threads.
 * Affinity: owner of `from`; in tasks, callbacks and between turns. Cost: a message there and one
 * back. As long as the task has not ended it holds one of the credits of this pair of reactors,
 * which are a quarter of POLLUX_MESH_SLOTS.
 * Errors: of plx_mesh_call: -EAGAIN no credit or room, or `to` has not started; -EINVAL `to`;
 * -ESHUTDOWN.
 */
PLX_API PLX_MUST_CHECK int plx_far_spawn(struct plx_reactor *from, struct plx_far_task *far,
                                         uint32_t to, const struct plx_task_opts *opts,
                                         plx_task_fn fn, void *ctx);

/*
 * Waits until it has ended and gives its result (NULL: not wanted). For tasks of the reactor that
 * spawned it. A joiner that is cancelled, also before, cancels the far task and waits on: only when
 * that has ended is `far` the caller's again.
 * Errors: what plx_task_spawn said there: -EAGAIN, -ENOMEM, -ESHUTDOWN; -ESHUTDOWN too when that
 * reactor had stopped; -EOWNERDEAD it was given up and may still run the task, so that the memory
 * of both must never be reused; -EDEADLK outside of a task; -EBUSY another one waits.
 */
PLX_API PLX_MUST_CHECK int plx_far_join(struct plx_far_task *far, int64_t *result);

/* Whether it has not ended. Where it has, plx_far_join answers without waiting, anywhere. */
static inline bool plx_far_is_running(const struct plx_far_task *far)
{
    return far->running;
}

/* Cancels it, as plx_task_cancel does. Never fails: without room it is tried again in later turns.
 */
PLX_API void plx_far_cancel(struct plx_far_task *far);

PLX_EXTERN_C_END

#endif
