/* SPDX-License-Identifier: MIT */
#include "runtime/mesh/mesh.h"

#include <errno.h>
#include <string.h>

#include "runtime/mesh/mesh_internal.h"

int plx__mesh_open(struct plx__mesh *mesh, struct plx_arena *arena, uint32_t slots)
{
    size_t pointers = mesh->count * sizeof(struct plx_cells *);
    mesh->in = plx_arena_carve(arena, pointers, PLX_CACHE_LINE);
    mesh->out = plx_arena_carve(arena, pointers, PLX_CACHE_LINE);
    if (mesh->in == NULL || mesh->out == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < mesh->count; i++) {
        void *memory = plx_arena_carve(arena, plx_cells_bytes(slots), PLX_CACHE_LINE);
        if (memory == NULL)
            return -ENOMEM;
        int rc = plx_cells_init(memory, slots, &mesh->in[i]);
        if (rc != 0)
            return rc;
    }
    mesh->out[mesh->index] = mesh->in[mesh->index];
    return 0;
}

static uint32_t take_from(struct plx_cells *ring, uint32_t max, struct plx_reactor *here)
{
    uint32_t taken = 0;
    while (taken < max) {
        const struct plx__post *post = plx_cells_peek(ring);
        if (post == NULL)
            break;
        post->fn(here, post->body);
        plx_cells_consume(ring);
        taken++;
    }
    return taken;
}

uint32_t plx__mesh_take(struct plx__mesh *mesh, struct plx_reactor *here)
{
    uint32_t taken = 0;
    for (uint32_t i = 0; i < mesh->count; i++) {
        if (i == mesh->index)
            continue;
        if (PLX_UNLIKELY(plx_cells_peek(mesh->in[i]) != NULL))
            taken += take_from(mesh->in[i], PLX__TURN_POSTS_MAX, here);
    }
    if (PLX_UNLIKELY(mesh->self_posts != 0)) {
        /* What it posts to itself meanwhile waits for the next turn. */
        uint32_t waiting = mesh->self_posts;
        waiting = waiting < PLX__TURN_POSTS_MAX ? waiting : PLX__TURN_POSTS_MAX;
        uint32_t own = take_from(mesh->in[mesh->index], waiting, here);
        mesh->self_posts -= own;
        taken += own;
    }
    if (taken != 0)
        plx__bump(&mesh->posts_in, taken);
    return taken;
}

bool plx__mesh_pending(const struct plx__mesh *mesh)
{
    for (uint32_t i = 0; i < mesh->count; i++) {
        if (plx_cells_peek(mesh->in[i]) != NULL)
            return true;
    }
    return false;
}

void plx__mesh_finish(struct plx__mesh *mesh, struct plx_reactor *here, plx_post_fn keep)
{
    for (uint32_t i = 0; i < mesh->count; i++) {
        /* No more than a ring's worth: a peer that goes on sending is not waited for. */
        uint32_t left = plx_cells_slots(mesh->in[i]);
        const struct plx__post *post;
        for (; left != 0 && (post = plx_cells_peek(mesh->in[i])) != NULL; left--) {
            bool kept = post->fn == keep;
            if (kept)
                keep(here, post->body);
            plx_cells_consume(mesh->in[i]);
            plx__bump(kept ? &mesh->posts_in : &mesh->posts_lost, 1);
        }
    }
    mesh->self_posts = 0;
}

/* The first post to a peer, or one to a peer that has not started. */
static PLX_COLD int find_ring(struct plx__mesh *mesh, uint32_t to)
{
    int why = 0;
    struct plx_cells **rings = mesh->find(to, &why, mesh->ctx);
    if (rings != NULL) {
        mesh->out[to] = rings[mesh->index];
        return 0;
    }
    return why;
}

/* A full ring: of a peer that is slow, or of one that has ended and reads no more. */
static PLX_COLD int refuse(const struct plx__mesh *mesh, uint32_t to)
{
    int why = 0;
    return mesh->find(to, &why, mesh->ctx) == NULL ? why : -EAGAIN;
}

int plx__mesh_send(struct plx__mesh *mesh, uint32_t to, plx_post_fn fn, const void *body,
                   size_t bytes)
{
    if (PLX_UNLIKELY(mesh->out[to] == NULL)) {
        int rc = find_ring(mesh, to);
        if (rc != 0)
            return rc;
    }

    struct plx__post *post = plx_cells_reserve(mesh->out[to]);
    if (PLX_UNLIKELY(post == NULL))
        return refuse(mesh, to);
    post->fn = fn;
    if (bytes != 0)
        memcpy(post->body, body, bytes);
    plx_cells_commit(mesh->out[to]);
    mesh->self_posts += to == mesh->index;
    plx__bump(&mesh->posts_out, 1);
    return 0;
}

int plx__mesh_post(struct plx__mesh *mesh, uint32_t to, plx_post_fn fn, const void *body,
                   size_t bytes)
{
    if (PLX_UNLIKELY(to >= mesh->count || bytes > PLX_POST_BYTES))
        return -EINVAL;
    if (PLX_UNLIKELY(mesh->closed))
        return -ESHUTDOWN;
    int rc = plx__mesh_send(mesh, to, fn, body, bytes);
    if (PLX_UNLIKELY(rc == -EAGAIN))
        plx__bump(&mesh->posts_refused, 1);
    return rc;
}
