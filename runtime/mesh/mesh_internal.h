/* SPDX-License-Identifier: MIT */
/*
 * One reactor's part of the mesh: the rings that lead to it, those to its peers that it has used,
 * and the calls in flight.
 *
 * Words. A *message* is what a cell carries: a post, a call's request, or its answer. A *producer*
 * is a reactor (by its index) or a port (the number of reactors, and its own index): who sends
 * messages here, and whom answers go to.
 *
 * Threads: the owner, unless a line says otherwise. Counters may be read by any thread.
 */
#ifndef POLLUX_MESH_INTERNAL_H
#define POLLUX_MESH_INTERNAL_H

#include "alloc/arena.h"
#include "runtime/mesh/call.h"
#include "runtime/io/wake_internal.h"
#include "runtime/mesh/cells.h"
#include "runtime/mesh/end_internal.h"
#include "runtime/mesh/entry_internal.h"
#include "runtime/mesh/mesh.h"
#include "runtime/mesh/news_internal.h"

/* Messages taken from one producer in one turn at the most. */
#define PLX__TURN_POSTS_MAX 64u

/* Peers up to which a turn looks at the head of each one's ring; above, at the news lines. */
#define PLX__PEERS_DIRECT 8u

/* A message in a cell. */
struct plx__post {
    plx_post_fn fn;
    uint64_t body[PLX_POST_BYTES / 8];
};
PLX_STATIC_ASSERT(sizeof(struct plx__post) == PLX_CELL_BYTES, "a message fills a cell");

/* The bodies of a call's two messages. */
struct plx__request {
    struct plx_call *call;
    plx_call_fn fn;
    uint64_t not_after_ns;
    uint64_t body[PLX_CALL_BYTES / 8];
};
PLX_STATIC_ASSERT(sizeof(struct plx__request) == PLX_POST_BYTES, "a request fills a message");

struct plx__reply {
    struct plx_call *call;
    int32_t result;
    uint32_t how;
    uint64_t answer[PLX_CALL_BYTES / 8];
};
PLX_STATIC_ASSERT(sizeof(struct plx__reply) <= PLX_POST_BYTES, "an answer fits a message");

/* A counter with one writer: a load and a store, no locked instruction. Relaxed: it orders nothing.
 */
static inline void plx__bump(PLX_ATOMIC(uint64_t) * counter, uint64_t by)
{
    plx_store_relaxed(counter, plx_load_relaxed(counter) + by);
}

/* --- the shape of a ring ---------------------------------------------------------------------- */

/* Calls of an ordered pair that may be in flight. */
static inline uint32_t plx__mesh_credits(uint32_t slots)
{
    return slots / 4;
}

/* A ring of the mesh: it publishes more often than cells do by themselves, as its lag is kept. */
static inline struct plx_cells *plx__mesh_ring(void *memory, uint32_t slots)
{
    uint32_t batch = slots / 8 < PLX_CELLS_BATCH_MAX ? slots / 8 : PLX_CELLS_BATCH_MAX;
    return plx__cells_setup(memory, slots, batch, 0);
}

/* Slots that only answers may use: K of runtime/mesh/call.h. */
static inline uint32_t plx__mesh_kept(const struct plx_cells *ring)
{
    return plx__mesh_credits(plx_cells_slots(ring)) + plx_cells_lag(ring) + 1;
}

/* --- calls in flight -------------------------------------------------------------------------- */

/* Oldest first. */
struct plx__calls {
    struct plx_call *first;
    struct plx_call *last;
};

static inline void plx__calls_add(struct plx__calls *calls, struct plx_call *call)
{
    call->in_flight = true;
    call->next = NULL;
    call->prev = calls->last;
    if (calls->last != NULL)
        calls->last->next = call;
    else
        calls->first = call;
    calls->last = call;
}

static inline void plx__calls_remove(struct plx__calls *calls, struct plx_call *call)
{
    PLX_ASSERT(call->in_flight);
    call->in_flight = false;
    if (call->next != NULL)
        call->next->prev = call->prev;
    else
        calls->last = call->prev;
    if (call->prev != NULL)
        call->prev->next = call->next;
    else
        calls->first = call->next;
}

/* Takes the first call to `to` out and enters its completion; false: there is none. */
bool plx__calls_end_one(struct plx__calls *calls, uint32_t to, enum plx_call_how how);

/* Writes a request into the cell `post`, and the call into the list. */
void plx__calls_begin(struct plx__calls *calls, struct plx_call *call, uint32_t to,
                      struct plx__post *post, plx_call_fn fn, const void *body, size_t bytes,
                      plx_call_done_fn done, void *ctx);

/* --- the mesh --------------------------------------------------------------------------------- */

/* Where messages for one reactor or port go. */
struct plx__road {
    struct plx_cells *ring;
    PLX_ATOMIC(uint8_t) * news; /* our byte in its news lines; NULL: it looks at the ring */
    struct plx__wake *wake;     /* of a reactor that may sleep; else NULL */
};

/*
 * Fills `road` from producer `from` to `to`. 0, -EAGAIN `to` has not started, or why it takes
 * nothing any more: -ESHUTDOWN it has ended, -EOWNERDEAD it was given up.
 */
typedef int (*plx__mesh_find_fn)(struct plx__road *road, uint32_t to, uint32_t from, void *ctx);

/* By producer. */
struct plx__mesh_peer {
    struct plx__road road; /* `ring` is NULL until first needed, and once the peer has ended */
    uint32_t calls;        /* in flight to it */
    uint32_t owed;         /* of its calls: taken here and not yet answered */
    bool lost;             /* it was given up: its answers are for calls that have ended */
};

/* As many as a plan has (runtime/place/plan.h). */
#define PLX__MESH_REACTORS_MAX 256u

struct plx__mesh {
    /* Read-mostly. */
    PLX_ATOMIC(struct plx_cells *) * in; /* by producer; ports' are set by their threads */
    struct plx__mesh_peer *peers;        /* by producer */
    struct plx__news *news;              /* lines; written by producers */
    struct plx__seen *seen;
    plx__mesh_find_fn find;
    void *ctx;
    const PLX_ATOMIC(uint32_t) * ended; /* counts reactors that have ended or were given up */
    uint32_t count;                     /* reactors */
    uint32_t producers;                 /* reactors and ports */
    uint32_t index;                     /* this one */
    uint32_t credits;
    uint32_t kept;              /* slots of each ring that only answers may use */
    bool announced;             /* peers write news, too many to look at each one's ring */
    bool rotates;               /* the rings are so large that news may hide some */
    PLX_ATOMIC(uint32_t) ports; /* any port has a ring into here; set by its thread */
    /* The owner's. */
    uint32_t ended_known;  /* of `ended`, when roads were last looked through */
    uint32_t ended_served; /* of `ended`, when calls were last looked through */
    uint32_t taking;       /* the producer whose messages are being called */
    uint32_t rotor;
    uint32_t self_posts; /* in the ring from itself */
    uint32_t in_flight;  /* calls */
    uint32_t owed;       /* answers */
    bool refuses_calls;  /* admits none: the first phase of the end */
    bool closed;         /* sends no posts either, and runs no calls */
    bool given_up;       /* a stop did not wait for this reactor: it runs no calls */
    bool rouses;         /* something was written to one that may sleep: a bit for each */
    uint64_t rouse[PLX__MESH_REACTORS_MAX / 64];
    struct plx__calls calls;
    PLX_ATOMIC(uint64_t) posts_in;
    PLX_ATOMIC(uint64_t) posts_out;
    PLX_ATOMIC(uint64_t) posts_refused;
    PLX_ATOMIC(uint64_t) posts_lost;
    PLX_ATOMIC(uint64_t) calls_in;
    PLX_ATOMIC(uint64_t) calls_out;
    PLX_ATOMIC(uint64_t) calls_refused;
    PLX_ATOMIC(uint64_t) calls_unrun;
};

/*
 * Makes the rings into this reactor from all reactors, in its arena. Fields `find`, `ctx`, `ended`,
 * `count`, `producers`, `index` are set before. 0 or -ENOMEM.
 */
int plx__mesh_open(struct plx__mesh *mesh, struct plx_arena *arena, uint32_t slots);

/* What the functions of runtime/mesh/mesh.h and call.h do. */
int plx__mesh_post(struct plx__mesh *mesh, uint32_t to, plx_post_fn fn, const void *body,
                   size_t bytes);
int plx__mesh_broadcast(struct plx__mesh *mesh, plx_post_fn fn, const void *body, size_t bytes);
int plx__mesh_call(struct plx__mesh *mesh, struct plx_call *call, uint32_t to, plx_call_fn fn,
                   const void *body, size_t bytes, plx_call_done_fn done, void *ctx);

/*
 * plx__mesh_call and plx__mesh_post for what the library has to see through: also while the reactor
 * ends, and what is refused is not counted, as it is tried each turn.
 */
int plx__mesh_request(struct plx__mesh *mesh, struct plx_call *call, uint32_t to, plx_call_fn fn,
                      const void *body, size_t bytes, plx_call_done_fn done, void *ctx);
int plx__mesh_send(struct plx__mesh *mesh, uint32_t to, plx_post_fn fn, const void *body,
                   size_t bytes);

/*
 * The road to `to`, looked up when it is first needed; what has ended since is noticed. 0, or
 * `find`'s error.
 */
int plx__mesh_road(struct plx__mesh *mesh, uint32_t to);

/*
 * Hands the reserved cell of the road to `to` over. All that is sent passes here. If `to` may sleep
 * it is roused by plx__mesh_rouse, so that a turn in which much is sent pays for one fence.
 */
void plx__mesh_publish(struct plx__mesh *mesh, uint32_t to);

/* Rouses those that something was written to; called at the turn's end if `rouses`. */
void plx__mesh_rouse(struct plx__mesh *mesh);

/* Calls messages that have arrived, with `here`; returns how many. */
uint32_t plx__mesh_take(struct plx__mesh *mesh, struct plx_reactor *here);

/* Up to `max` messages of one producer. */
uint32_t plx__mesh_take_from(struct plx__mesh *mesh, struct plx_reactor *here, uint32_t producer,
                             uint32_t max);

/* Whether messages are waiting here. Looks at every ring. */
bool plx__mesh_pending(const struct plx__mesh *mesh);

/*
 * The last look at the rings: calls the posts of `keep` with `here`, answers calls unrun, drops the
 * others, counted as lost.
 */
void plx__mesh_finish(struct plx__mesh *mesh, struct plx_reactor *here, plx_post_fn keep);

/* In call.c: the functions of a call's two messages, plx_post_fn. */
void plx__mesh_run_request(struct plx_reactor *here, const void *body);
void plx__mesh_take_reply(struct plx_reactor *here, const void *body);

/* In call.c: peers have ended since the last look: calls to them end. In a turn. */
uint32_t plx__mesh_serve_ended(struct plx__mesh *mesh, struct plx_reactor *here);

/* Ends all calls in flight as lost: the reactor is given up, by itself. */
void plx__mesh_lose_calls(struct plx__mesh *mesh);

/* Supplied by the runtime: the mesh of a reactor, and its clock. */
struct plx__mesh *plx__reactor_mesh(struct plx_reactor *reactor);
uint64_t plx__reactor_clock_ns(struct plx_reactor *reactor);

#endif
