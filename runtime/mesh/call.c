/* SPDX-License-Identifier: MIT */
#include "runtime/mesh/call.h"

#include <errno.h>
#include <string.h>

#include "runtime/mesh/mesh_internal.h"

/* --- calls in flight: of reactors and of ports ------------------------------------------------ */

static int32_t result_of(enum plx_call_how how)
{
    switch (how) {
    case PLX_CALL_LATE:
        return -ETIMEDOUT;
    case PLX_CALL_UNRUN:
        return -ESHUTDOWN;
    case PLX_CALL_LOST:
        return -EOWNERDEAD;
    case PLX_CALL_RAN:
        break;
    }
    return 0;
}

bool plx__calls_end_one(struct plx__calls *calls, uint32_t to, enum plx_call_how how)
{
    static const uint64_t nothing[PLX_CALL_BYTES / 8];
    struct plx_call *call = calls->first;
    while (call != NULL && call->to != to)
        call = call->next;
    if (call == NULL)
        return false;
    plx__calls_remove(calls, call);
    const struct plx_call_event event = {.result = result_of(how), .how = how, .answer = nothing};
    call->done(call, &event, call->ctx);
    return true;
}

void plx__calls_begin(struct plx__calls *calls, struct plx_call *call, uint32_t to,
                      struct plx__post *post, plx_call_fn fn, const void *body, size_t bytes,
                      plx_call_done_fn done, void *ctx)
{
    PLX_ASSERT(!call->in_flight);
    call->done = done;
    call->ctx = ctx;
    call->to = to;
    plx__calls_add(calls, call);

    struct plx__request *request = (struct plx__request *)(void *)post->body;
    post->fn = plx__mesh_run_request;
    request->call = call;
    request->fn = fn;
    request->not_after_ns = call->not_after_ns;
    if (bytes != 0)
        memcpy(request->body, body, bytes);
}

/* --- the asker -------------------------------------------------------------------------------- */

int plx__mesh_request(struct plx__mesh *mesh, struct plx_call *call, uint32_t to, plx_call_fn fn,
                      const void *body, size_t bytes, plx_call_done_fn done, void *ctx)
{
    int rc = plx__mesh_road(mesh, to);
    if (PLX_UNLIKELY(rc != 0))
        return rc == -EOWNERDEAD ? -ESHUTDOWN : rc;
    struct plx__mesh_peer *peer = &mesh->peers[to];
    if (PLX_UNLIKELY(peer->calls == mesh->credits))
        return -EAGAIN;
    struct plx__post *post = plx__cells_reserve_above(peer->road.ring, mesh->kept);
    if (PLX_UNLIKELY(post == NULL))
        return -EAGAIN;
    plx__calls_begin(&mesh->calls, call, to, post, fn, body, bytes, done, ctx);
    peer->calls++;
    mesh->in_flight++;
    plx__mesh_publish(mesh, to);
    plx__bump(&mesh->calls_out, 1);
    return 0;
}

int plx__mesh_call(struct plx__mesh *mesh, struct plx_call *call, uint32_t to, plx_call_fn fn,
                   const void *body, size_t bytes, plx_call_done_fn done, void *ctx)
{
    if (PLX_UNLIKELY(to >= mesh->count || bytes > PLX_CALL_BYTES))
        return -EINVAL;
    if (PLX_UNLIKELY(mesh->refuses_calls))
        return -ESHUTDOWN;
    int rc = plx__mesh_request(mesh, call, to, fn, body, bytes, done, ctx);
    if (PLX_UNLIKELY(rc == -EAGAIN))
        plx__bump(&mesh->calls_refused, 1);
    return rc;
}

void plx__mesh_take_reply(struct plx_reactor *here, const void *body)
{
    struct plx__mesh *mesh = plx__reactor_mesh(here);
    struct plx__mesh_peer *peer = &mesh->peers[mesh->taking];
    /* Of one that was given up: the call has ended, and its memory may be another one's. */
    if (PLX_UNLIKELY(peer->lost))
        return;
    const struct plx__reply *reply = body;
    struct plx_call *call = reply->call;
    plx__calls_remove(&mesh->calls, call);
    peer->calls--;
    mesh->in_flight--;
    const struct plx_call_event event = {
        .result = reply->result, .how = reply->how, .answer = reply->answer};
    call->done(call, &event, call->ctx);
}

static uint32_t end_calls(struct plx__mesh *mesh, uint32_t to, enum plx_call_how how)
{
    struct plx__mesh_peer *peer = &mesh->peers[to];
    uint32_t ended = peer->calls;
    /* Counts first: a completion may look at them, and cannot make new calls to this peer. */
    peer->calls = 0;
    mesh->in_flight -= ended;
    for (uint32_t i = 0; i < ended; i++) {
        bool found = plx__calls_end_one(&mesh->calls, to, how);
        PLX_ASSERT(found);
    }
    return ended;
}

uint32_t plx__mesh_serve_ended(struct plx__mesh *mesh, struct plx_reactor *here)
{
    uint32_t work = 0;
    mesh->ended_served = plx__end_learn(mesh->ended);
    struct plx__road road;
    mesh->given_up = mesh->find(&road, mesh->index, mesh->index, mesh->ctx) == -EOWNERDEAD;
    for (uint32_t i = 0; i < mesh->count; i++) {
        if (i == mesh->index || mesh->peers[i].calls == 0)
            continue;
        int rc = mesh->find(&road, i, mesh->index, mesh->ctx);
        if (rc == 0 || rc == -EAGAIN)
            continue;
        /* Its last answers are here, since it wrote them before it ended. */
        uint32_t all = plx_cells_slots(plx_load_relaxed(&mesh->in[i]));
        work += plx__mesh_take_from(mesh, here, i, all);
        bool lost = rc == -EOWNERDEAD;
        mesh->peers[i].lost = lost;
        work += end_calls(mesh, i, lost ? PLX_CALL_LOST : PLX_CALL_UNRUN);
    }
    return work;
}

void plx__mesh_lose_calls(struct plx__mesh *mesh)
{
    mesh->refuses_calls = true;
    for (uint32_t i = 0; i < mesh->count; i++) {
        mesh->peers[i].lost = true;
        (void)end_calls(mesh, i, PLX_CALL_LOST);
    }
}

/* --- the target ------------------------------------------------------------------------------- */

/* Never fails: runtime/mesh/call.h says why there is room. */
static void send_reply(struct plx__mesh *mesh, uint32_t to, const struct plx__reply *reply)
{
    /* An asker that was given up, or a port whose thread is gone: nobody waits. */
    if (PLX_UNLIKELY(plx__mesh_road(mesh, to) != 0))
        return;
    struct plx__post *post = plx_cells_reserve(mesh->peers[to].road.ring);
    PLX_ASSERT(post != NULL);
    post->fn = plx__mesh_take_reply;
    memcpy(post->body, reply, sizeof(*reply));
    plx__mesh_publish(mesh, to);
}

/* Why a call is not run; PLX_CALL_RAN: it is. */
static inline enum plx_call_how judge(const struct plx__mesh *mesh, struct plx_reactor *here,
                                      const struct plx__request *request)
{
    if (PLX_UNLIKELY(mesh->closed))
        return PLX_CALL_UNRUN;
    if (PLX_UNLIKELY(request->not_after_ns != 0) &&
        plx__reactor_clock_ns(here) > request->not_after_ns)
        return PLX_CALL_LATE;
    return PLX_CALL_RAN;
}

void plx__mesh_run_request(struct plx_reactor *here, const void *body)
{
    struct plx__mesh *mesh = plx__reactor_mesh(here);
    const struct plx__request *request = body;
    uint32_t from = mesh->taking;
    if (PLX_UNLIKELY(mesh->given_up))
        return; /* the asker has been told that it is lost */
    struct plx__reply reply = {.call = request->call};
    reply.how = judge(mesh, here, request);
    if (PLX_LIKELY(reply.how == PLX_CALL_RAN)) {
        const struct plx_call_token token = {.call = request->call, .to = from};
        mesh->peers[from].owed++;
        mesh->owed++;
        plx__bump(&mesh->calls_in, 1);
        reply.result = request->fn(here, &token, request->body, reply.answer);
        if (reply.result == PLX_CALL_LATER)
            return;
        mesh->peers[from].owed--;
        mesh->owed--;
    } else {
        reply.result = result_of((enum plx_call_how)reply.how);
        plx__bump(&mesh->calls_unrun, 1);
    }
    send_reply(mesh, from, &reply);
}

void plx_call_reply(struct plx_reactor *here, const struct plx_call_token *token, int32_t result,
                    const void *answer, size_t bytes)
{
    struct plx__mesh *mesh = plx__reactor_mesh(here);
    PLX_ASSERT(bytes <= PLX_CALL_BYTES && result != PLX_CALL_LATER);
    /* More answers than questions: one was given twice, or on a reactor that was not asked. */
    PLX_ASSERT(token->to < mesh->producers && mesh->peers[token->to].owed != 0);
    mesh->peers[token->to].owed--;
    mesh->owed--;
    struct plx__reply reply = {.call = token->call, .result = result, .how = PLX_CALL_RAN};
    if (bytes != 0)
        memcpy(reply.answer, answer, bytes);
    send_reply(mesh, token->to, &reply);
}
