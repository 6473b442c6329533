/* SPDX-License-Identifier: MIT */
/*
 * Making ports and giving them up. The rings of a port are kept until the runtime is destroyed, as
 * reactors look at them: the next port at its place goes on with them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runtime/io/clock_internal.h"
#include "runtime/mesh/port_internal.h"
#include "runtime/runtime_internal.h"

/* A place among POLLUX_PORTS. Guarded by the runtime's lock, but for `port` while it is used. */
struct plx__port_place {
    struct plx_port port;
    bool used;
    bool retired; /* calls of it were lost: answers to them may come yet */
    uint32_t arena_count;
    struct plx_arena *arenas; /* one for each node with reactors, one for the answers */
};

static int connect_to(struct plx_port *port, uint32_t to)
{
    struct plx__slot *slot = &port->runtime->slots[to];
    uint32_t life = plx__life_of(&slot->life);
    if (life == PLX__SLOT_LEAKED)
        return -EOWNERDEAD;
    if (life == PLX__SLOT_ENDED)
        return -ESHUTDOWN;
    if (life != PLX__SLOT_RUNNING)
        return -EAGAIN;
    struct plx__mesh *mesh = &plx_load_acquire(&slot->reactor)->mesh;
    struct plx__port_peer *peer = &port->peers[to];
    uint32_t producer = port->count + port->index;
    peer->road.ring = peer->request;
    peer->road.news = plx__news_byte(mesh->news, producer);
    peer->road.wake = plx__runtime_wake_of(slot);
    plx__entry_publish(&mesh->in[producer], peer->request);
    plx_store_relaxed(&mesh->ports, 1); /* relaxed: a hint that there is something to look at */
    return 0;
}

/* --- memory ----------------------------------------------------------------------------------- */

static int map_rings(const struct plx_runtime *rt, struct plx_arena *arena, size_t bytes, int node,
                     struct plx_diag *diag)
{
    struct plx_arena_opts opts;
    plx_arena_opts_init(&opts);
    opts.page_1g = PLX_WANT_NO;
    opts.page_2m = PLX_WANT_NO;
    opts.thp = PLX_WANT_NO;
    opts.lock = rt->settings.mlock;
    opts.prefault = rt->settings.prefault;
    opts.bind = node == PLX_NODE_ANY ? PLX_WANT_NO : rt->settings.pin;
    return plx_arena_init(arena, bytes, node, &opts, diag);
}

static struct plx_cells *make_ring(struct plx_arena *arena, uint32_t slots)
{
    void *memory = plx_arena_carve(arena, plx_cells_bytes(slots), PLX_CACHE_LINE);
    PLX_ASSERT(memory != NULL);
    return plx__mesh_ring(memory, slots);
}

/* The rings to all reactors on one node, each on it. */
static int make_requests(struct plx_runtime *rt, struct plx__port_place *place, uint32_t node,
                         struct plx_diag *diag)
{
    size_t bytes = 0;
    const struct plx_plan_reactor *reactors = rt->plan->reactors;
    for (uint32_t i = 0; i < rt->count; i++) {
        if (reactors[i].mem_node == node)
            bytes += plx_cells_bytes(rt->settings.mesh_slots);
    }
    struct plx_arena *arena = &place->arenas[place->arena_count];
    int rc = map_rings(rt, arena, bytes, (int)node, diag);
    if (rc != 0)
        return rc;
    place->arena_count++;
    for (uint32_t i = 0; i < rt->count; i++) {
        if (reactors[i].mem_node == node)
            place->port.peers[i].request = make_ring(arena, rt->settings.mesh_slots);
    }
    return 0;
}

/* The rings back, where the thread that makes the port touches them first. */
static int make_answers(struct plx_runtime *rt, struct plx__port_place *place,
                        struct plx_diag *diag)
{
    uint32_t slots = plx__port_answer_slots(rt->settings.mesh_slots);
    struct plx_arena *arena = &place->arenas[place->arena_count];
    int rc = map_rings(rt, arena, rt->count * plx_cells_bytes(slots), PLX_NODE_ANY, diag);
    if (rc != 0)
        return rc;
    place->arena_count++;
    for (uint32_t i = 0; i < rt->count; i++) {
        struct plx_cells *ring = make_ring(arena, slots);
        /* One answer may be in it whose call has ended: its completion is running. */
        PLX_ASSERT(slots > place->port.credits + plx_cells_lag(ring));
        place->port.peers[i].answer = ring;
    }
    return 0;
}

static void free_place(struct plx__port_place *place)
{
    if (place == NULL)
        return;
    for (uint32_t i = 0; i < place->arena_count; i++)
        plx_arena_fini(&place->arenas[i]);
    free(place->arenas);
    free(place->port.peers);
    free(place);
}

static int make_place(struct plx_runtime *rt, uint32_t index, struct plx__port_place **out,
                      struct plx_diag *diag)
{
    struct plx__port_place *place = calloc(1, sizeof(*place));
    int rc = -ENOMEM;
    if (place == NULL)
        return plx_diag_set(diag, rc, "port", "no memory for port %u", index);
    struct plx_port *port = &place->port;
    port->peers = calloc(rt->count, sizeof(*port->peers));
    place->arenas = calloc(rt->count + 1, sizeof(*place->arenas));
    if (port->peers == NULL || place->arenas == NULL) {
        plx_diag_set(diag, rc, "port", "no memory for port %u", index);
        goto free_all;
    }
    port->connect = connect_to;
    port->runtime = rt;
    port->ended = &rt->ended;
    port->phase = &rt->phase;
    port->count = rt->count;
    port->index = index;
    port->credits = plx__mesh_credits(rt->settings.mesh_slots);
    for (uint32_t i = 0; i < rt->count; i++) {
        if (port->peers[i].request != NULL)
            continue;
        rc = make_requests(rt, place, rt->plan->reactors[i].mem_node, diag);
        if (rc != 0)
            goto free_all;
    }
    rc = make_answers(rt, place, diag);
    if (rc != 0)
        goto free_all;
    *out = place;
    return 0;

free_all:
    free_place(place);
    return rc;
}

/* --- the places ------------------------------------------------------------------------------- */

/* A place that no port has, made if need be. Under the lock. */
static int take_place(struct plx_runtime *rt, struct plx_port **out, struct plx_diag *diag)
{
    for (uint32_t i = 0; i < rt->settings.ports; i++) {
        struct plx__port_place *place = rt->ports[i];
        if (place != NULL && (place->used || place->retired))
            continue;
        int rc = place == NULL ? make_place(rt, i, &place, diag) : 0;
        if (rc != 0)
            return rc;
        rt->ports[i] = place;
        place->used = true;
        *out = &place->port;
        return 0;
    }
    return plx_diag_set(diag, -ENOSPC, "POLLUX_PORTS", "there are %u ports already: POLLUX_PORTS",
                        rt->settings.ports);
}

int plx_port_create(struct plx_runtime *rt, struct plx_port **out, struct plx_diag *diag)
{
    *out = NULL;
    /* Relaxed: nothing is read on the strength of it. */
    if (plx_load_relaxed(&rt->phase) != PLX__STOP_NONE)
        return plx_diag_set(diag, -ESHUTDOWN, "runtime", "it is stopping, or was stopped");
    pthread_mutex_lock(&rt->lock);
    int rc = take_place(rt, out, diag);
    pthread_mutex_unlock(&rt->lock);
    return rc;
}

int plx_port_destroy(struct plx_port *port, uint64_t within_ns)
{
    if (port == NULL)
        return 0;
    struct plx_runtime *rt = port->runtime;
    PLX_ASSERT(!port->in_poll);
    uint64_t began = plx__monotonic_ns();
    (void)plx_port_poll(port);
    while (port->in_flight != 0 && plx__monotonic_ns() - began < within_ns) {
        struct timespec some = {.tv_nsec = 20000};
        if (plx_port_poll(port) == 0)
            nanosleep(&some, NULL);
    }
    bool lost = port->in_flight != 0;
    if (lost)
        plx__port_lose_calls(port);

    pthread_mutex_lock(&rt->lock);
    rt->ports[port->index]->used = false;
    rt->ports[port->index]->retired = lost;
    pthread_mutex_unlock(&rt->lock);
    return lost ? -ETIMEDOUT : 0;
}

/* --- for the runtime -------------------------------------------------------------------------- */

int plx__ports_init(struct plx_runtime *rt)
{
    /* One more than none, so that NULL means that there is no memory. */
    rt->ports = calloc(rt->settings.ports + 1, sizeof(*rt->ports));
    return rt->ports != NULL ? 0 : -ENOMEM;
}

void plx__ports_fini(struct plx_runtime *rt)
{
    for (uint32_t i = 0; i < rt->settings.ports; i++) {
        /* Its thread would go on writing to rings that are gone. */
        PLX_ASSERT(rt->ports[i] == NULL || !rt->ports[i]->used);
        free_place(rt->ports[i]);
    }
    free(rt->ports);
}

struct plx_cells *plx__ports_answer(const struct plx_runtime *rt, uint32_t port, uint32_t from)
{
    return rt->ports[port]->port.peers[from].answer;
}
