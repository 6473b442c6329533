/* SPDX-License-Identifier: MIT */
/* The rings of a reactor, posts, and the taking of whatever has arrived. */
#include "runtime/mesh/mesh.h"

#include <errno.h>
#include <string.h>

#include "runtime/mesh/mesh_internal.h"

/* --- set-up ----------------------------------------------------------------------------------- */

static int open_rings(struct plx__mesh *mesh, struct plx_arena *arena, uint32_t slots)
{
    for (uint32_t i = 0; i < mesh->count; i++) {
        void *memory = plx_arena_carve(arena, plx_cells_bytes(slots), PLX_CACHE_LINE);
        if (memory == NULL)
            return -ENOMEM;
        /* Relaxed: the reactor is not published yet. */
        plx_store_relaxed(&mesh->in[i], plx__mesh_ring(memory, slots));
    }
    return 0;
}

int plx__mesh_open(struct plx__mesh *mesh, struct plx_arena *arena, uint32_t slots)
{
    size_t lines = (mesh->producers + PLX__NEWS_LINE - 1) / PLX__NEWS_LINE;
    mesh->in = plx_arena_carve(arena, mesh->producers * sizeof(*mesh->in), PLX_CACHE_LINE);
    mesh->peers = plx_arena_carve(arena, mesh->producers * sizeof(*mesh->peers), PLX_CACHE_LINE);
    mesh->seen = plx_arena_carve(arena, lines * sizeof(*mesh->seen), PLX_CACHE_LINE);
    mesh->news = plx_arena_carve(arena, lines * sizeof(*mesh->news), 2 * PLX_CACHE_LINE);
    if (mesh->in == NULL || mesh->peers == NULL || mesh->seen == NULL || mesh->news == NULL)
        return -ENOMEM;
    int rc = open_rings(mesh, arena, slots);
    if (rc != 0)
        return rc;

    struct plx_cells *own = plx_load_relaxed(&mesh->in[mesh->index]);
    mesh->peers[mesh->index].road.ring = own;
    mesh->credits = plx__mesh_credits(slots);
    mesh->kept = plx__mesh_kept(own);
    mesh->announced = mesh->count - 1 > PLX__PEERS_DIRECT;
    mesh->rotates = slots > PLX__NEWS_EXACT;
    mesh->rotor = mesh->producers;
    mesh->ended_known = plx__end_learn(mesh->ended);
    mesh->ended_served = mesh->ended_known;
    return 0;
}

/* --- taking ----------------------------------------------------------------------------------- */

uint32_t plx__mesh_take_from(struct plx__mesh *mesh, struct plx_reactor *here, uint32_t producer,
                             uint32_t max)
{
    struct plx_cells *ring = plx__entry_ring(&mesh->in[producer]);
    if (ring == NULL)
        return 0;
    uint32_t taken = 0;
    mesh->taking = producer;
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

static uint32_t take_producer(struct plx__mesh *mesh, struct plx_reactor *here, uint32_t producer)
{
    uint32_t taken = plx__mesh_take_from(mesh, here, producer, PLX__TURN_POSTS_MAX);
    const struct plx_cells *ring = plx_load_relaxed(&mesh->in[producer]);
    if (ring != NULL)
        plx__news_see(mesh->seen, producer, ring);
    return taken;
}

/* From those whose generation says that there is something. */
static uint32_t take_announced(struct plx__mesh *mesh, struct plx_reactor *here)
{
    uint32_t taken = 0;
    const uint32_t words = PLX__NEWS_LINE / sizeof(PLX__NEWS_WORD);
    for (uint32_t first = 0; first < mesh->producers; first += PLX__NEWS_LINE) {
        uint32_t line = first / PLX__NEWS_LINE;
        for (uint32_t w = 0; w < words; w++) {
            uint64_t differ = plx__news_differ(&mesh->news[line], &mesh->seen[line], w);
            while (PLX_UNLIKELY(differ != 0)) {
                uint32_t byte = (uint32_t)__builtin_ctzll(differ) / 8;
                differ &= ~((uint64_t)0xff << byte * 8);
                taken += take_producer(mesh, here, first + w * 8 + byte);
            }
        }
    }
    return taken;
}

/* One ring a turn, whatever its byte says: see point 2 of news_internal.h. */
static uint32_t take_in_rotation(struct plx__mesh *mesh, struct plx_reactor *here)
{
    uint32_t producer = mesh->rotor++;
    if (producer >= mesh->producers) {
        /* Where reactors' rings are looked at anyway, they write no news. */
        mesh->rotor = mesh->announced ? 0 : mesh->count;
        return 0;
    }
    return producer == mesh->index ? 0 : take_producer(mesh, here, producer);
}

/* What it posts to itself meanwhile waits for the next turn. */
static uint32_t take_own(struct plx__mesh *mesh, struct plx_reactor *here)
{
    uint32_t waiting = mesh->self_posts;
    waiting = waiting < PLX__TURN_POSTS_MAX ? waiting : PLX__TURN_POSTS_MAX;
    uint32_t own = plx__mesh_take_from(mesh, here, mesh->index, waiting);
    mesh->self_posts -= own;
    return own;
}

uint32_t plx__mesh_take(struct plx__mesh *mesh, struct plx_reactor *here)
{
    uint32_t taken = 0;
    if (PLX_UNLIKELY(plx__end_is_news(mesh->ended, mesh->ended_served)))
        taken += plx__mesh_serve_ended(mesh, here);
    if (!mesh->announced) {
        for (uint32_t i = 0; i < mesh->count; i++) {
            /* Relaxed: peers' rings were made before this reactor was. */
            struct plx_cells *ring = plx_load_relaxed(&mesh->in[i]);
            if (i != mesh->index && PLX_UNLIKELY(plx_cells_peek(ring) != NULL))
                taken += plx__mesh_take_from(mesh, here, i, PLX__TURN_POSTS_MAX);
        }
    }
    /* Relaxed: a port's first message may be found a turn later. */
    if (mesh->announced || plx_load_relaxed(&mesh->ports) != 0) {
        taken += take_announced(mesh, here);
        if (PLX_UNLIKELY(mesh->rotates))
            taken += take_in_rotation(mesh, here);
    }
    if (PLX_UNLIKELY(mesh->self_posts != 0))
        taken += take_own(mesh, here);
    if (taken != 0)
        plx__bump(&mesh->posts_in, taken);
    return taken;
}

bool plx__mesh_pending(const struct plx__mesh *mesh)
{
    for (uint32_t i = 0; i < mesh->producers; i++) {
        struct plx_cells *ring = plx__entry_ring(&mesh->in[i]);
        if (ring != NULL && plx_cells_peek(ring) != NULL)
            return true;
    }
    return false;
}

void plx__mesh_finish(struct plx__mesh *mesh, struct plx_reactor *here, plx_post_fn keep)
{
    mesh->refuses_calls = true;
    mesh->closed = true;
    for (uint32_t i = 0; i < mesh->producers; i++) {
        struct plx_cells *ring = plx__entry_ring(&mesh->in[i]);
        if (ring == NULL)
            continue;
        mesh->taking = i;
        /* No more than a ring's worth: a peer that goes on sending is not waited for. */
        uint32_t left = plx_cells_slots(ring);
        const struct plx__post *post;
        for (; left != 0 && (post = plx_cells_peek(ring)) != NULL; left--) {
            bool kept = post->fn == keep || post->fn == plx__mesh_run_request ||
                        post->fn == plx__mesh_take_reply;
            if (kept)
                post->fn(here, post->body);
            plx_cells_consume(ring);
            plx__bump(kept ? &mesh->posts_in : &mesh->posts_lost, 1);
        }
    }
    mesh->self_posts = 0;
}

/* --- sending ---------------------------------------------------------------------------------- */

/* Peers have ended: their rings are nobody's. Those that have not are found again when needed. */
static PLX_COLD void forget_roads(struct plx__mesh *mesh)
{
    /* With a road goes whom to rouse at its end, for what was sent this turn. */
    if (mesh->rouses)
        plx__mesh_rouse(mesh);
    mesh->ended_known = plx__end_learn(mesh->ended);
    for (uint32_t i = 0; i < mesh->count; i++) {
        if (i != mesh->index)
            mesh->peers[i].road = (struct plx__road){0};
    }
}

int plx__mesh_road(struct plx__mesh *mesh, uint32_t to)
{
    if (PLX_UNLIKELY(plx__end_is_news(mesh->ended, mesh->ended_known)))
        forget_roads(mesh);
    if (PLX_LIKELY(mesh->peers[to].road.ring != NULL))
        return 0;
    return mesh->find(&mesh->peers[to].road, to, mesh->index, mesh->ctx);
}

void plx__mesh_publish(struct plx__mesh *mesh, uint32_t to)
{
    const struct plx__road *road = &mesh->peers[to].road;
    plx_cells_commit(road->ring);
    if (road->news != NULL)
        plx__news_tell(road->news, road->ring);
    if (PLX_UNLIKELY(road->wake != NULL)) {
        mesh->rouse[to / 64] |= (uint64_t)1 << to % 64;
        mesh->rouses = true;
    }
    mesh->self_posts += to == mesh->index;
    plx__bump(&mesh->posts_out, 1);
}

void plx__mesh_rouse(struct plx__mesh *mesh)
{
    mesh->rouses = false;
    plx__wake_bring();
    for (uint32_t word = 0; word < PLX__MESH_REACTORS_MAX / 64; word++) {
        while (mesh->rouse[word] != 0) {
            uint32_t to = word * 64 + (uint32_t)__builtin_ctzll(mesh->rouse[word]);
            mesh->rouse[word] &= mesh->rouse[word] - 1;
            struct plx__wake *wake = mesh->peers[to].road.wake;
            /* One that has ended since has no road, and sleeps no more. */
            if (wake != NULL)
                plx__wake_rouse(wake);
        }
    }
}

static void write_post(struct plx__mesh *mesh, uint32_t to, struct plx__post *post, plx_post_fn fn,
                       const void *body, size_t bytes)
{
    post->fn = fn;
    if (bytes != 0)
        memcpy(post->body, body, bytes);
    plx__mesh_publish(mesh, to);
}

/* `find` tells those given up from those ended; who posts need not. */
static int plain(int rc)
{
    return rc == -EOWNERDEAD ? -ESHUTDOWN : rc;
}

int plx__mesh_send(struct plx__mesh *mesh, uint32_t to, plx_post_fn fn, const void *body,
                   size_t bytes)
{
    int rc = plx__mesh_road(mesh, to);
    if (PLX_UNLIKELY(rc != 0))
        return plain(rc);
    struct plx__post *post = plx__cells_reserve_above(mesh->peers[to].road.ring, mesh->kept);
    if (PLX_UNLIKELY(post == NULL))
        return -EAGAIN;
    write_post(mesh, to, post, fn, body, bytes);
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

/* Room for a post on each road that does not lead to one that has ended. 0 or -EAGAIN. */
static int look_for_room(struct plx__mesh *mesh)
{
    for (uint32_t i = 0; i < mesh->count; i++) {
        if (i == mesh->index)
            continue;
        int rc = plx__mesh_road(mesh, i);
        if (rc == -EAGAIN)
            return rc;
        if (rc == 0 && plx__cells_reserve_above(mesh->peers[i].road.ring, mesh->kept) == NULL)
            return -EAGAIN;
    }
    return 0;
}

int plx__mesh_broadcast(struct plx__mesh *mesh, plx_post_fn fn, const void *body, size_t bytes)
{
    if (PLX_UNLIKELY(bytes > PLX_POST_BYTES))
        return -EINVAL;
    if (PLX_UNLIKELY(mesh->closed))
        return -ESHUTDOWN;
    if (look_for_room(mesh) != 0) {
        plx__bump(&mesh->posts_refused, 1);
        return -EAGAIN;
    }
    int sent = 0;
    for (uint32_t i = 0; i < mesh->count; i++) {
        struct plx_cells *ring = mesh->peers[i].road.ring;
        if (i == mesh->index || ring == NULL)
            continue;
        struct plx__post *post = plx__cells_reserve_above(ring, mesh->kept);
        /* Room does not go away: this thread alone fills the ring. */
        PLX_ASSERT(post != NULL);
        write_post(mesh, i, post, fn, body, bytes);
        sent++;
    }
    return sent;
}
