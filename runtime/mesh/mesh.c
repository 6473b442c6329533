/* SPDX-License-Identifier: MIT */
#include "runtime/mesh/mesh.h"

#include <errno.h>
#include <string.h>

#include "runtime/reactor_internal.h"

int plx__mesh_open(struct plx_reactor *r, uint32_t slots)
{
    size_t pointers = r->count * sizeof(struct plx_cells *);
    r->in = plx_arena_carve(r->arena, pointers, PLX_CACHE_LINE);
    r->out = plx_arena_carve(r->arena, pointers, PLX_CACHE_LINE);
    if (r->in == NULL || r->out == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < r->count; i++) {
        void *memory = plx_arena_carve(r->arena, plx_cells_bytes(slots), PLX_CACHE_LINE);
        if (memory == NULL)
            return -ENOMEM;
        int rc = plx_cells_init(memory, slots, &r->in[i]);
        if (rc != 0)
            return rc;
    }
    r->out[r->index] = r->in[r->index];
    return 0;
}

static uint32_t take_from(struct plx_reactor *r, struct plx_cells *ring)
{
    uint32_t taken = 0;
    const struct plx__post *post = plx_cells_peek(ring);
    while (post != NULL && taken < PLX__TURN_POSTS_MAX) {
        post->fn(r, post->body);
        plx_cells_consume(ring);
        taken++;
        post = plx_cells_peek(ring);
    }
    return taken;
}

uint32_t plx__mesh_in(struct plx_reactor *r)
{
    uint32_t taken = 0;
    for (uint32_t i = 0; i < r->count; i++) {
        if (i == r->index)
            continue;
        if (PLX_UNLIKELY(plx_cells_peek(r->in[i]) != NULL))
            taken += take_from(r, r->in[i]);
    }
    if (PLX_UNLIKELY(r->self_posts != 0)) {
        /* What it posts to itself meanwhile waits for the next turn. */
        uint32_t waiting = r->self_posts;
        for (; waiting != 0; waiting--) {
            const struct plx__post *post = plx_cells_peek(r->in[r->index]);
            post->fn(r, post->body);
            plx_cells_consume(r->in[r->index]);
            r->self_posts--;
            taken++;
        }
    }
    if (taken != 0)
        plx__bump(&r->counters.posts_in, taken);
    return taken;
}

bool plx__mesh_pending(const struct plx_reactor *r)
{
    for (uint32_t i = 0; i < r->count; i++) {
        if (plx_cells_peek(r->in[i]) != NULL)
            return true;
    }
    return false;
}

void plx__mesh_lose(struct plx_reactor *r)
{
    for (uint32_t i = 0; i < r->count; i++) {
        while (plx_cells_peek(r->in[i]) != NULL) {
            plx_cells_consume(r->in[i]);
            plx__bump(&r->counters.posts_lost, 1);
        }
    }
    r->self_posts = 0;
}

/* The first post to a peer, or one to a peer that has not started. */
static PLX_COLD int find_ring(struct plx_reactor *from, uint32_t to)
{
    int why = 0;
    struct plx_cells **rings = plx__runtime_rings(from->runtime, to, &why);
    if (rings == NULL)
        return why;
    from->out[to] = rings[from->index];
    return 0;
}

static PLX_COLD int refuse(struct plx_reactor *from, uint32_t to)
{
    int why = 0;
    if (plx__runtime_rings(from->runtime, to, &why) == NULL)
        return why;
    plx__bump(&from->counters.posts_refused, 1);
    return -EAGAIN;
}

int plx_mesh_post(struct plx_reactor *from, uint32_t to, plx_post_fn fn, const void *body,
                  size_t bytes)
{
    if (PLX_UNLIKELY(to >= from->count || bytes > PLX_POST_BYTES))
        return -EINVAL;
    if (PLX_UNLIKELY(from->followed >= PLX__STOP_DRAINING))
        return -ESHUTDOWN;
    if (PLX_UNLIKELY(from->out[to] == NULL)) {
        int rc = find_ring(from, to);
        if (rc != 0) {
            plx__bump(&from->counters.posts_refused, rc == -EAGAIN);
            return rc;
        }
    }

    struct plx__post *post = plx_cells_reserve(from->out[to]);
    if (PLX_UNLIKELY(post == NULL))
        return refuse(from, to);
    post->fn = fn;
    if (bytes != 0)
        memcpy(post->body, body, bytes);
    plx_cells_commit(from->out[to]);
    from->self_posts += to == from->index;
    plx__bump(&from->counters.posts_out, 1);
    return 0;
}
