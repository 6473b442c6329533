/* SPDX-License-Identifier: MIT */
#include "runtime/remote.h"

#include <errno.h>
#include <string.h>

#include "runtime/reactor_internal.h"

/* What an answer carries beside the result. */
struct ending {
    uint64_t flags; /* PLX_EV_ */
};
PLX_STATIC_ASSERT(sizeof(struct ending) <= PLX_CALL_BYTES, "it fits an answer");

/* --- on the target ---------------------------------------------------------------------------- */

/* The op's callback while it is away. */
static void end_there(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    struct plx_remote *remote = ctx;
    (void)op;
    if ((event->flags & PLX_EV_MORE) != 0) {
        remote->first_result = event->result;
        remote->has_first = true;
        return;
    }
    const struct ending ending = {.flags = event->flags};
    int32_t result = remote->has_first ? remote->first_result : event->result;
    const struct plx_call_token token = remote->token;
    plx_call_reply(remote->there, &token, result, &ending, sizeof(ending));
}

static int32_t start_there(struct plx_reactor *here, const struct plx_call_token *token,
                           const void *body, void *answer)
{
    struct plx_remote *remote = *(struct plx_remote *const *)body;
    (void)answer;
    remote->there = here;
    remote->token = *token;
    remote->has_first = false;
    int rc = plx_op_submit(here, remote->op);
    return rc == 0 ? PLX_CALL_LATER : rc;
}

static int32_t cancel_there(struct plx_reactor *here, const struct plx_call_token *token,
                            const void *body, void *answer)
{
    struct plx_remote *remote = *(struct plx_remote *const *)body;
    (void)token;
    (void)answer;
    /* One that was refused, or has ended meanwhile, is left alone. */
    plx_op_cancel(here, remote->op);
    return 0;
}

/* --- on the asker ----------------------------------------------------------------------------- */

static void stop_waiting(struct plx_remote *remote)
{
    struct plx_remote **at = &remote->from->late_cancels;
    while (*at != remote)
        at = &(*at)->next;
    *at = remote->next;
    remote->waiting = false;
}

/* When both have come back: until then the target may look at the op. */
static void deliver(struct plx_remote *remote)
{
    if (!remote->ended || remote->cancel.in_flight)
        return;
    struct plx_op *op = remote->op;
    plx_op_fn fn = remote->fn;
    /* Of a target that was given up the op may still be in use: it is not written to. */
    if (!remote->lost) {
        op->fn = remote->fn;
        op->ctx = remote->ctx;
        plx__op_set_state(op, PLX_OP_DONE);
    }
    const struct plx_event event = remote->event;
    fn(op, &event, remote->ctx);
}

static void end_here(struct plx_call *call, const struct plx_call_event *event, void *ctx)
{
    struct plx_remote *remote = ctx;
    (void)call;
    const struct ending *ending = event->answer;
    remote->event = (struct plx_event){.result = event->result, .flags = (uint16_t)ending->flags};
    remote->ended = true;
    remote->lost = event->how == PLX_CALL_LOST;
    if (remote->waiting)
        stop_waiting(remote);
    deliver(remote);
}

static void cancel_answered(struct plx_call *call, const struct plx_call_event *event, void *ctx)
{
    (void)call;
    (void)event;
    deliver(ctx);
}

int plx_op_submit_on(struct plx_reactor *from, struct plx_remote *remote, uint32_t to,
                     struct plx_op *op)
{
    if (PLX_UNLIKELY((op->flags & PLX_MULTISHOT) != 0 || op->code == PLX_OP_READ_GROUP))
        return -EINVAL;
    PLX_ASSERT(!remote->call.in_flight && !remote->cancel.in_flight);
    remote->op = op;
    remote->fn = op->fn;
    remote->ctx = op->ctx;
    remote->from = from;
    remote->cancelling = false;
    remote->ended = false;
    remote->lost = false;
    /* Before the target can see it. */
    op->fn = end_there;
    op->ctx = remote;
    int rc = plx__mesh_call(&from->mesh, &remote->call, to, start_there, &remote, sizeof(remote),
                            end_here, remote);
    if (PLX_UNLIKELY(rc != 0)) {
        op->fn = remote->fn;
        op->ctx = remote->ctx;
    }
    return rc;
}

/* Whether the request is on its way, or there is nobody to send it to. */
static bool send_cancel(struct plx_remote *remote)
{
    /* It has no deadline of its own, and goes out while the asker ends, too. */
    remote->cancel.not_after_ns = 0;
    int rc = plx__mesh_request(&remote->from->mesh, &remote->cancel, remote->call.to, cancel_there,
                               &remote, sizeof(remote), cancel_answered, remote);
    return rc != -EAGAIN;
}

void plx_op_cancel_on(struct plx_reactor *from, struct plx_remote *remote)
{
    if (!remote->call.in_flight || remote->cancelling)
        return;
    remote->cancelling = true;
    if (send_cancel(remote))
        return;
    remote->waiting = true;
    remote->next = from->late_cancels;
    from->late_cancels = remote;
}

void plx__remote_flush(struct plx_reactor *r)
{
    while (r->late_cancels != NULL) {
        struct plx_remote *remote = r->late_cancels;
        if (!send_cancel(remote))
            return;
        r->late_cancels = remote->next;
        remote->waiting = false;
    }
}

void plx__remote_cancel_all(struct plx_reactor *r)
{
    /* Requests to cancel join the list behind those that are looked at. */
    for (struct plx_call *call = r->mesh.calls.first; call != NULL; call = call->next) {
        if (call->done == end_here)
            plx_op_cancel_on(r, call->ctx);
    }
}
