/* SPDX-License-Identifier: MIT */
/* Ops on other reactors, in straight lines. */
#include <errno.h>

#include "runtime/reactor.h"
#include "runtime/remote.h"
#include "runtime/sched/sync.h"

struct waited {
    struct plx_reactor *reactor;
    struct plx_remote *remote;
    struct plx_promise promise;
};

static void keep(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    struct waited *waited = ctx;
    (void)op;
    plx_promise_keep(&waited->promise, event->result);
}

static void ask_to_end(void *ctx)
{
    struct waited *waited = ctx;
    plx_op_cancel_on(waited->reactor, waited->remote);
}

int64_t plx_await_on(struct plx_remote *remote, uint32_t to, struct plx_op *op)
{
    struct waited waited = {.reactor = plx_reactor_self(), .remote = remote};
    int rc = plx_task_may_wait();
    if (rc != 0)
        return rc;
    op->fn = keep;
    op->ctx = &waited;
    do
        rc = plx_op_submit_on(waited.reactor, remote, to, op);
    while (rc == -EAGAIN && (rc = plx_task_yield()) == 0);
    return rc == 0 ? plx_promise_await(&waited.promise, ask_to_end, &waited) : rc;
}
