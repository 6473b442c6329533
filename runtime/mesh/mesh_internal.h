/* SPDX-License-Identifier: MIT */
/*
 * One reactor's part of the mesh: the rings that lead to it, and those to its peers that it has
 * used.
 *
 * Threads: the owner, unless a line says otherwise. Counters may be read by any thread.
 */
#ifndef POLLUX_MESH_INTERNAL_H
#define POLLUX_MESH_INTERNAL_H

#include "alloc/arena.h"
#include "runtime/mesh/cells.h"
#include "runtime/mesh/mesh.h"

/* Cells taken from one peer in one turn at the most. */
#define PLX__TURN_POSTS_MAX 64u

/* A post in a cell. */
struct plx__post {
    plx_post_fn fn;
    uint64_t body[PLX_POST_BYTES / 8];
};
PLX_STATIC_ASSERT(sizeof(struct plx__post) == PLX_CELL_BYTES, "a post fills a cell");

/* A counter with one writer: a load and a store, no locked instruction. Relaxed: it orders nothing.
 */
static inline void plx__bump(PLX_ATOMIC(uint64_t) * counter, uint64_t by)
{
    plx_store_relaxed(counter, plx_load_relaxed(counter) + by);
}

/*
 * The rings into reactor `to`, one per sender, or NULL and why: -EAGAIN it has not started,
 * -ESHUTDOWN it has ended.
 */
typedef struct plx_cells **(*plx__mesh_find_fn)(uint32_t to, int *why, void *ctx);

struct plx__mesh {
    struct plx_cells **in;  /* by sender */
    struct plx_cells **out; /* by receiver; NULL until first needed */
    plx__mesh_find_fn find;
    void *ctx;
    uint32_t count;      /* reactors */
    uint32_t index;      /* this one */
    uint32_t self_posts; /* in the ring from itself */
    bool closed;         /* sends no more */
    PLX_ATOMIC(uint64_t) posts_in;
    PLX_ATOMIC(uint64_t) posts_out;
    PLX_ATOMIC(uint64_t) posts_refused;
    PLX_ATOMIC(uint64_t) posts_lost;
};

/*
 * Makes the rings into this reactor from all reactors, in its arena. Fields `find`, `ctx`, `count`,
 * `index` are set before. 0, -ENOMEM, or -EINVAL for a number of slots that cells refuse.
 */
int plx__mesh_open(struct plx__mesh *mesh, struct plx_arena *arena, uint32_t slots);

/* plx_mesh_post. */
int plx__mesh_post(struct plx__mesh *mesh, uint32_t to, plx_post_fn fn, const void *body,
                   size_t bytes);

/*
 * plx_mesh_post for what the library has to bring home: also when `closed`, and what is refused is
 * not counted, as it is tried each turn.
 */
int plx__mesh_send(struct plx__mesh *mesh, uint32_t to, plx_post_fn fn, const void *body,
                   size_t bytes);

/* Calls posts that have arrived, with `here`; returns how many. */
uint32_t plx__mesh_take(struct plx__mesh *mesh, struct plx_reactor *here);

/* Whether posts are waiting here. */
bool plx__mesh_pending(const struct plx__mesh *mesh);

/*
 * The last look at the rings: calls the posts of `keep` with `here`, drops the others, counted as
 * lost.
 */
void plx__mesh_finish(struct plx__mesh *mesh, struct plx_reactor *here, plx_post_fn keep);

#endif
