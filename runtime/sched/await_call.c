/* SPDX-License-Identifier: MIT */
#include "runtime/sched/await_call.h"

#include <errno.h>
#include <string.h>

#include "runtime/sched/sync.h"
#include "runtime/sched/task_internal.h"

struct waited {
    struct plx_call call;
    struct plx_promise promise;
    void *answer;
};

static void take_answer(struct plx_call *call, const struct plx_call_event *event, void *ctx)
{
    struct waited *waited = ctx;
    (void)call;
    if (waited->answer != NULL)
        memcpy(waited->answer, event->answer, PLX_CALL_BYTES);
    plx_promise_keep(&waited->promise, event->result);
}

int plx_await_call(uint32_t to, plx_call_fn fn, const void *body, size_t bytes, void *answer)
{
    struct waited waited = {.answer = answer};
    int rc = plx_task_may_wait();
    if (rc != 0)
        return rc;
    struct plx_reactor *reactor = plx__task_running->tasks->reactor;
    do
        rc = plx_mesh_call(reactor, &waited.call, to, fn, body, bytes, take_answer, &waited);
    while (rc == -EAGAIN && (rc = plx_task_yield()) == 0);
    return rc == 0 ? (int)plx_promise_await(&waited.promise, NULL, NULL) : rc;
}
