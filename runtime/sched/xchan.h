/* SPDX-License-Identifier: MIT */
/*
 * Channels between two reactors: bounded, over the mesh, closable from both ends.
 *
 * Words. The *sending end* belongs to one reactor, the *receiving end* to another (or the same);
 * any number of tasks of each may use it. A *credit* is the right to one item on its way or in the
 * receiver's queue: senders have as many as there are slots, take one for each item, and get them
 * back, half of them at a time, as items are received. An end is *over* when the runtime will not
 * look at it any more.
 *
 * How the ends learn of each other. Each opens by a call to the other (runtime/mesh/call.h) that is
 * answered when that one closes, or its reactor stops, ends, or is given up: so every way to be
 * gone is told, once, and behind all items that were sent before. An end that closes before the
 * other has opened says so by a post. For its life a channel takes one credit of calls in each
 * direction.
 *
 * Items arrive in the order sent by each task. What is in the queue when the sender closes is still
 * received; what is there when the receiver closes is dropped. When the reactor of an end stops, it
 * is closed.
 *
 * The memory is the caller's and seen by both threads: it may go when both ends, having been
 * opened, are over, or when both reactors have ended.
 *
 * Threads: functions that say `send` for the thread of the sending reactor, those that say `recv`
 * for that of the receiving one; those that wait for tasks, as in runtime/sched/sync.h.
 */
#ifndef POLLUX_XCHAN_H
#define POLLUX_XCHAN_H

#include "runtime/mesh/call.h"
#include "runtime/mesh/mesh.h"
#include "runtime/sched/sync.h"
#include "runtime/sched/timer.h"

PLX_EXTERN_C_BEGIN

/* The largest item: what a post has beside the channel's address. */
#define PLX_XCHAN_ITEM_BYTES (PLX_POST_BYTES - 8)

struct plx_xchan;

/* What both ends have. */
struct plx_xchan_end {
    struct plx_xchan *chan;
    struct plx_reactor *reactor; /* NULL until something comes here */
    struct plx_xchan_end *next;  /* of its reactor's ends that are not closed */
    struct plx_xchan_end *prev;
    struct plx_wait_queue waiting;
    struct plx_call life;        /* to the other end: answered when that one is gone */
    struct plx_call_token token; /* of the other's, to be answered when this is */
    struct plx_timer again;      /* what there was no room for is sent in the next turn */
    bool has_token;
    bool open;
    bool closed;
    bool alone; /* the other end is gone */
};

struct plx_xchan {
    /* Unchanged from init on. */
    uint32_t from; /* index of the sending reactor */
    uint32_t to;
    uint32_t slots;
    uint32_t item_bytes;
    unsigned char *memory;
    /* The sending thread's. */
    struct plx_xchan_end send PLX_ALIGNED(PLX_CACHE_LINE);
    uint32_t credits;
    /* The receiving thread's. */
    struct plx_xchan_end recv PLX_ALIGNED(PLX_CACHE_LINE);
    uint32_t head;
    uint32_t count;
    uint32_t owed; /* credits to be given back */
};

/*
 * Makes a channel from reactor `from` to reactor `to`. Shapes: `memory` of slots * item_bytes
 * bytes, best on the receiver's node. Any thread, before either end is opened; what it wrote must
 * have reached both threads by then. Errors: -EINVAL `slots` is 0 or above 2^30; `item_bytes` is 0
 * or above PLX_XCHAN_ITEM_BYTES.
 */
PLX_API PLX_MUST_CHECK int plx_xchan_init(struct plx_xchan *chan, uint32_t from, uint32_t to,
                                          void *memory, uint32_t slots, uint32_t item_bytes);

/*
 * Opens an end, on its reactor, once. Errors, after which it may be tried again: those of
 * plx_mesh_call: -EAGAIN the other reactor has not started, or no credit; -ESHUTDOWN it has ended,
 * or this one is stopping.
 */
PLX_API PLX_MUST_CHECK int plx_xchan_open_send(struct plx_xchan *chan, struct plx_reactor *here);
PLX_API PLX_MUST_CHECK int plx_xchan_open_recv(struct plx_xchan *chan, struct plx_reactor *here);

/*
 * Sends a copy of `item`, waiting for a credit. Cost: hot; a post. 0: it will arrive unless the
 * receiver closes; -EPIPE one of the ends is gone; -ENOTCONN not opened; -ECANCELED; -EDEADLK.
 */
PLX_API PLX_MUST_CHECK int plx_xchan_send(struct plx_xchan *chan, const void *item);
/* The same with a deadline, as in sync.h: -ETIMEDOUT. */
PLX_API PLX_MUST_CHECK int plx_xchan_send_until(struct plx_xchan *chan, const void *item,
                                                uint64_t at_ns);

/* The same without waiting: -EAGAIN no credit, or the ring between the two is full. */
PLX_API PLX_MUST_CHECK int plx_xchan_try_send(struct plx_xchan *chan, const void *item);

/* Receives the oldest item, waiting for one. 0; -EPIPE the sending end is gone and all was
 * received, or this one is closed; -ENOTCONN not opened; -ECANCELED; -EDEADLK. */
PLX_API PLX_MUST_CHECK int plx_xchan_recv(struct plx_xchan *chan, void *item);
/* The same with a deadline: -ETIMEDOUT. */
PLX_API PLX_MUST_CHECK int plx_xchan_recv_until(struct plx_xchan *chan, void *item, uint64_t at_ns);

/* The same without waiting: -EAGAIN there is none. */
PLX_API PLX_MUST_CHECK int plx_xchan_try_recv(struct plx_xchan *chan, void *item);

/* Close an end, opened or not; twice is harmless. Who waits here is woken with -EPIPE. */
PLX_API void plx_xchan_close_send(struct plx_xchan *chan);
PLX_API void plx_xchan_close_recv(struct plx_xchan *chan);

/*
 * Whether an end is closed and over: its own, on its thread. An opened end is over when the other
 * has closed too, so close both before waiting for it.
 */
PLX_API bool plx_xchan_send_is_over(const struct plx_xchan *chan);
PLX_API bool plx_xchan_recv_is_over(const struct plx_xchan *chan);

PLX_EXTERN_C_END

#endif
