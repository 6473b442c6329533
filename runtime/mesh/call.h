/* SPDX-License-Identifier: MIT */
/*
 * Calls between reactors: a function is run on another reactor, and its answer comes back here.
 *
 * Words. The *asker* makes a call; the *target* runs its function, which *answers* at once, by
 * returning, or later, by a *token*. A call is *in flight* from a plx_mesh_call that returned 0
 * until its completion is entered. A *credit* is the right to one call in flight of an ordered pair
 * of reactors.
 *
 * Each call ends exactly once, with its completion, on the asker, inside a turn. An event says how:
 *
 *   PLX_CALL_RAN     the function was run; `result` and `answer` are its own
 *   PLX_CALL_LATE    not run: `not_after_ns` had passed when the target looked; -ETIMEDOUT
 *   PLX_CALL_UNRUN   not run: the target was stopping or has ended; -ESHUTDOWN
 *   PLX_CALL_LOST    the target was given up by a stop or an abandon, or the asker was abandoned:
 *                    whether it ran, runs or will run is not known, and what its body points to
 *                    must never be reused; -EOWNERDEAD
 *
 * Why an answer never fails, and two full rings do not wait for each other. The answers to A's
 * calls to B travel in the ring from B to A, with B's posts and B's own calls. That ring has S
 * slots; B finds slots free by an index that A publishes, and up to `lag` slots that A has consumed
 * may not be published yet. A has at most C calls to B in flight (its credits, which A counts
 * alone). Of the answers in the ring that A has not consumed, all but one belong to calls in
 * flight: the one is that whose completion A is in. B takes a slot for anything but an answer only
 * when more than K = C + lag + 1 are free.
 *
 * Suppose that B finds no slot for an answer: S cells lie
 * behind the published index. If all of them are answers, at least S - lag of them are not
 * consumed: more than C + 1, as S is more than K: a contradiction. Else let k be the last that is
 * none. When it was written more than K slots were free, and the published index has not gone back
 * since, so that at least K answers follow it. Of these, consumed ones precede the others and are
 * at most lag: C + 1 are not consumed. All but one belong to calls in flight, and so does the one
 * to be sent: C + 1 calls in flight, a contradiction.
 *
 * So an answer is written at once, by whoever
 * has one; nobody waits for room to give one. What remains to be refused is a new request, which is
 * its asker's to try again: -EAGAIN.
 *
 * The end. From the first phase of a stop on, new calls are refused. In the second, calls that a
 * reactor finds waiting are answered unrun, it waits for the answers it awaits and for those it
 * owes, and serves its peers' calls and answers until all have come so far. A function that answers
 * later must answer by then: its ops are cancelled and its tasks too. Who still owes an answer at
 * the stop's deadline is named and given up, and its askers' calls are lost to them. A reactor that
 * is abandoned alone answers what has reached it, and who asked later gets PLX_CALL_UNRUN.
 *
 * Threads: each function for the thread that polls the reactor it is given.
 */
#ifndef POLLUX_CALL_H
#define POLLUX_CALL_H

#include "alloc/base.h"

PLX_EXTERN_C_BEGIN

struct plx_reactor;
struct plx_call;

/* Bytes that a call carries there, and an answer back. More goes by a pointer: both wait. */
#define PLX_CALL_BYTES 24

/* A function returns this when it answers later. */
#define PLX_CALL_LATER INT32_MIN

/* How a call ended: see above. */
enum plx_call_how { PLX_CALL_RAN, PLX_CALL_LATE, PLX_CALL_UNRUN, PLX_CALL_LOST };

struct plx_call_event {
    int32_t result; /* what the function answered, or the negative errno of `how` */
    uint32_t how;   /* enum plx_call_how */
    /* PLX_CALL_BYTES bytes aligned to 8, zeroed where the function wrote none; until return. */
    const void *answer;
};

/* The right, and the duty, to answer one call. Copied at will; used once. */
struct plx_call_token {
    struct plx_call *call;
    uint32_t to; /* who asked */
};

/*
 * Runs on the target inside a turn. `body` is PLX_CALL_BYTES bytes aligned to 8, of which the asker
 * wrote the first; `answer` as many, zeroed, for the function to write; both borrowed until return.
 * Returns the result, or PLX_CALL_LATER: then plx_call_reply with a copy of `token`, before this
 * returns or later, is what answers, and what was written to `answer` is dropped.
 */
typedef int32_t (*plx_call_fn)(struct plx_reactor *here, const struct plx_call_token *token,
                               const void *body, void *answer);

/* The completion, on the asker inside a turn. The call is the caller's again: it may be made anew.
 */
typedef void (*plx_call_done_fn)(struct plx_call *call, const struct plx_call_event *event,
                                 void *ctx);

/* Zeroed is one that is not in flight. Stays in place, untouched, while it is. */
struct plx_call {
    /* The caller's: when the target need not begin any more, in ns of plx_reactor_now_ns(); 0: it
     * always may. */
    uint64_t not_after_ns;
    /* The runtime's. */
    plx_call_done_fn done;
    void *ctx;
    struct plx_call *next;
    struct plx_call *prev;
    uint32_t to;
    bool in_flight;
};

/*
 * Runs `fn` on reactor `to` with a copy of `body`, and `done` here with what it answers.
 * Shapes: `bytes` <= PLX_CALL_BYTES; `body` may be NULL when it is 0. `to` may be the asker itself:
 * function and completion run in later turns. Calls and posts of one pair arrive in the order sent;
 * answers that are given at once come back in that order.
 * Ownership: `call` is borrowed until `done` is entered; what the body points to should last as
 * long. Affinity: the asker. Cost: hot; a message there and one back; wait-free; no allocation, no
 * system call; with `not_after_ns` the target reads its clock.
 * Errors, after which nothing will happen: -EAGAIN no room, no credit (a quarter of
 * POLLUX_MESH_SLOTS), or the target has not started: try again in a later turn (counted); -EINVAL
 * `to` or `bytes`; -ESHUTDOWN the asker is stopping, or the target has ended.
 */
PLX_API PLX_MUST_CHECK int plx_mesh_call(struct plx_reactor *from, struct plx_call *call,
                                         uint32_t to, plx_call_fn fn, const void *body,
                                         size_t bytes, plx_call_done_fn done, void *ctx);

/*
 * Answers a call whose function returned PLX_CALL_LATER: exactly once, on the reactor that ran it.
 * Shapes: `bytes` <= PLX_CALL_BYTES; `result` is not PLX_CALL_LATER. Cost: hot; a copy and one
 * store that the asker sees; wait-free. Never fails, also while stopping; an asker that was given
 * up misses nothing.
 */
PLX_API void plx_call_reply(struct plx_reactor *here, const struct plx_call_token *token,
                            int32_t result, const void *answer, size_t bytes);

PLX_EXTERN_C_END

#endif
