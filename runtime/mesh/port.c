/* SPDX-License-Identifier: MIT */
#include "runtime/mesh/port.h"

#include <errno.h>
#include <string.h>

#include "runtime/mesh/port_internal.h"

/*
 * Slots left free in the ring to a reactor. It carries no answers, but the generation bytes hide
 * nothing only while fewer than PLX__NEWS_EXACT cells are unconsumed.
 */
#define KEPT 1u

/* --- sending ---------------------------------------------------------------------------------- */

static PLX_COLD void forget_roads(struct plx_port *port)
{
    port->ended_known = plx__end_learn(port->ended);
    for (uint32_t i = 0; i < port->count; i++)
        port->peers[i].road = (struct plx__road){0};
}

/* The cell for the next message to `to`, or NULL and why. */
static struct plx__post *reserve(struct plx_port *port, uint32_t to, int *rc)
{
    /* Relaxed: a stop is noticed a message later at worst. */
    *rc = -ESHUTDOWN;
    if (PLX_UNLIKELY(plx_load_relaxed(port->phase) != 0))
        return NULL;
    if (PLX_UNLIKELY(plx__end_is_news(port->ended, port->ended_known)))
        forget_roads(port);
    struct plx__port_peer *peer = &port->peers[to];
    if (PLX_UNLIKELY(peer->road.ring == NULL)) {
        *rc = port->connect(port, to);
        if (*rc == -EOWNERDEAD)
            *rc = -ESHUTDOWN;
        if (*rc != 0)
            return NULL;
    }
    struct plx__post *post = plx__cells_reserve_above(peer->road.ring, KEPT);
    *rc = post != NULL ? 0 : -EAGAIN;
    return post;
}

static void publish(struct plx_port *port, uint32_t to)
{
    const struct plx__road *road = &port->peers[to].road;
    plx_cells_commit(road->ring);
    plx__news_tell(road->news, road->ring);
    if (road->wake != NULL) {
        plx__wake_bring();
        plx__wake_rouse(road->wake);
    }
}

int plx_port_post(struct plx_port *port, uint32_t to, plx_post_fn fn, const void *body,
                  size_t bytes)
{
    if (PLX_UNLIKELY(to >= port->count || bytes > PLX_POST_BYTES))
        return -EINVAL;
    int rc;
    struct plx__post *post = reserve(port, to, &rc);
    if (PLX_UNLIKELY(post == NULL))
        return rc;
    post->fn = fn;
    if (bytes != 0)
        memcpy(post->body, body, bytes);
    publish(port, to);
    return 0;
}

int plx_port_call(struct plx_port *port, struct plx_call *call, uint32_t to, plx_call_fn fn,
                  const void *body, size_t bytes, plx_call_done_fn done, void *ctx)
{
    if (PLX_UNLIKELY(to >= port->count || bytes > PLX_CALL_BYTES))
        return -EINVAL;
    if (PLX_UNLIKELY(port->peers[to].calls == port->credits))
        return -EAGAIN;
    int rc;
    struct plx__post *post = reserve(port, to, &rc);
    if (PLX_UNLIKELY(post == NULL))
        return rc;
    plx__calls_begin(&port->calls, call, to, post, fn, body, bytes, done, ctx);
    port->peers[to].calls++;
    port->in_flight++;
    publish(port, to);
    return 0;
}

/* --- answers ---------------------------------------------------------------------------------- */

static uint32_t take_answers(struct plx_port *port, uint32_t from, uint32_t max)
{
    struct plx__port_peer *peer = &port->peers[from];
    uint32_t taken = 0;
    const struct plx__post *post;
    while (taken < max && (post = plx_cells_peek(peer->answer)) != NULL) {
        const struct plx__reply *reply = (const void *)post->body;
        struct plx_call *call = reply->call;
        plx__calls_remove(&port->calls, call);
        peer->calls--;
        port->in_flight--;
        const struct plx_call_event event = {
            .result = reply->result, .how = reply->how, .answer = reply->answer};
        call->done(call, &event, call->ctx);
        plx_cells_consume(peer->answer);
        taken++;
    }
    return taken;
}

static uint32_t end_calls(struct plx_port *port, uint32_t to, enum plx_call_how how)
{
    uint32_t ended = port->peers[to].calls;
    port->peers[to].calls = 0;
    port->in_flight -= ended;
    for (uint32_t i = 0; i < ended; i++) {
        bool found = plx__calls_end_one(&port->calls, to, how);
        PLX_ASSERT(found);
    }
    return ended;
}

/* Reactors have ended: calls to them that were not answered end. */
static PLX_COLD uint32_t serve_ended(struct plx_port *port)
{
    uint32_t work = 0;
    port->ended_served = plx__end_learn(port->ended);
    for (uint32_t i = 0; i < port->count; i++) {
        if (port->peers[i].calls == 0)
            continue;
        int rc = port->connect(port, i);
        if (rc == 0 || rc == -EAGAIN)
            continue;
        work += take_answers(port, i, UINT32_MAX);
        work += end_calls(port, i, rc == -EOWNERDEAD ? PLX_CALL_LOST : PLX_CALL_UNRUN);
    }
    return work;
}

void plx__port_lose_calls(struct plx_port *port)
{
    for (uint32_t i = 0; i < port->count; i++)
        (void)end_calls(port, i, PLX_CALL_LOST);
}

int plx_port_poll(struct plx_port *port)
{
    if (PLX_UNLIKELY(port->in_poll))
        return -EDEADLK;
    if (port->in_flight == 0)
        return 0;
    uint32_t work = 0;
    port->in_poll = true;
    if (PLX_UNLIKELY(plx__end_is_news(port->ended, port->ended_served)))
        work = serve_ended(port);
    for (uint32_t i = 0; i < port->count; i++) {
        if (port->peers[i].calls != 0)
            work += take_answers(port, i, PLX__TURN_POSTS_MAX);
    }
    port->in_poll = false;
    return (int)work;
}

uint32_t plx_port_in_flight(const struct plx_port *port)
{
    return port->in_flight;
}
