/* SPDX-License-Identifier: MIT */
/*
 * What tasks of one reactor wait for each other with: semaphores, gates, channels and promises.
 * Between reactors there are channels of another kind (runtime/sched/xchan.h).
 *
 * Words. A *semaphore* has *units* that are acquired and released. A *gate* lets work in until it
 * is closed, and tells when all has left. A *channel* is a bounded queue of items of one size; each
 * end can be closed. A *promise* is a result that somebody will give: what makes anything that has
 * a callback a wait. Who waits is served in the order of coming, and nobody passes those who wait.
 *
 * All objects are the caller's memory, and stay in place while somebody waits for them. They need
 * no end of their own.
 *
 * Cancelling: a wait that is cancelled has taken nothing and given nothing, and answers -ECANCELED.
 * Functions named _until have a deadline, `at_ns` of the reactor's clock (UINT64_MAX: none): a wait
 * that it ends has taken and given nothing either, and answers -ETIMEDOUT. What needs no wait is
 * done whatever the time.
 *
 * Threads: the one that polls the reactor. Functions that wait are for tasks (-EDEADLK elsewhere,
 * where they would have to wait); all others may be called in callbacks and between turns too.
 */
#ifndef POLLUX_SYNC_H
#define POLLUX_SYNC_H

#include "alloc/base.h"

PLX_EXTERN_C_BEGIN

struct plx__waiter;
struct plx_task;

/* Tasks that wait, the first to be served first. The fields are the runtime's. */
struct plx_wait_queue {
    struct plx__waiter *first;
    struct plx__waiter *last;
};

/* --- semaphores ------------------------------------------------------------------------------- */

struct plx_sem {
    struct plx_wait_queue waiting;
    uint64_t units;
};

PLX_API void plx_sem_init(struct plx_sem *sem, uint64_t units);

/*
 * Takes `units` as soon as so many are there and all who came before have theirs. 0, -ECANCELED or
 * -EDEADLK. Cost: hot; a wait only if it has to.
 */
PLX_API PLX_MUST_CHECK int plx_sem_acquire(struct plx_sem *sem, uint64_t units);
PLX_API PLX_MUST_CHECK int plx_sem_acquire_until(struct plx_sem *sem, uint64_t units,
                                                 uint64_t at_ns);

/* The same without waiting: -EAGAIN. */
PLX_API PLX_MUST_CHECK int plx_sem_try_acquire(struct plx_sem *sem, uint64_t units);

/* Gives `units`, which need not have been taken before. Wakes whoever has enough now. */
PLX_API void plx_sem_release(struct plx_sem *sem, uint64_t units);

/* --- gates ------------------------------------------------------------------------------------ */

struct plx_gate {
    struct plx_wait_queue waiting;
    uint32_t inside;
    bool closed;
};

PLX_API void plx_gate_init(struct plx_gate *gate);

/* Work begins. Errors: -ESHUTDOWN the gate is closed, and nothing was counted. */
PLX_API PLX_MUST_CHECK int plx_gate_enter(struct plx_gate *gate);

/* Work that had entered is done. */
PLX_API void plx_gate_leave(struct plx_gate *gate);

/* Lets nothing in any more, without waiting. */
PLX_API void plx_gate_shut(struct plx_gate *gate);

/*
 * Shuts the gate and waits until all that had entered has left. 0; -ECANCELED, -ETIMEDOUT or
 * -EDEADLK: it is shut, and some are still inside. Any number of tasks may wait.
 */
PLX_API PLX_MUST_CHECK int plx_gate_close(struct plx_gate *gate);
PLX_API PLX_MUST_CHECK int plx_gate_close_until(struct plx_gate *gate, uint64_t at_ns);

/* --- channels --------------------------------------------------------------------------------- */

struct plx_chan {
    struct plx_wait_queue senders;
    struct plx_wait_queue receivers;
    unsigned char *memory;
    uint32_t slots;
    uint32_t item_bytes;
    uint32_t head; /* the oldest item */
    uint32_t count;
    bool closed_send;
    bool closed_recv;
};

/*
 * Makes a channel of `slots` items of `item_bytes` in `memory` of slots * item_bytes bytes, which
 * is borrowed for its life. Errors: -EINVAL one of the two is 0.
 */
PLX_API PLX_MUST_CHECK int plx_chan_init(struct plx_chan *chan, void *memory, uint32_t slots,
                                         uint32_t item_bytes);

/*
 * Copies an item in, waiting while the channel is full. Any number of senders and receivers.
 * 0; -EPIPE one of its ends is closed; -ECANCELED; -EDEADLK.
 */
PLX_API PLX_MUST_CHECK int plx_chan_send(struct plx_chan *chan, const void *item);
PLX_API PLX_MUST_CHECK int plx_chan_send_until(struct plx_chan *chan, const void *item,
                                               uint64_t at_ns);

/* Copies the oldest item out, waiting while there is none. 0; -EPIPE it is empty and its sending
 * end closed, or its receiving end is; -ECANCELED; -EDEADLK. */
PLX_API PLX_MUST_CHECK int plx_chan_recv(struct plx_chan *chan, void *item);
PLX_API PLX_MUST_CHECK int plx_chan_recv_until(struct plx_chan *chan, void *item, uint64_t at_ns);

/* The same without waiting: -EAGAIN full, or empty. */
PLX_API PLX_MUST_CHECK int plx_chan_try_send(struct plx_chan *chan, const void *item);
PLX_API PLX_MUST_CHECK int plx_chan_try_recv(struct plx_chan *chan, void *item);

/* No more will be sent: who waits to send is refused, and receivers get what is in it, then -EPIPE.
 */
PLX_API void plx_chan_close_send(struct plx_chan *chan);

/* Nobody receives any more: what is in it is dropped, and all who wait or come are refused. */
PLX_API void plx_chan_close_recv(struct plx_chan *chan);

static inline uint32_t plx_chan_count(const struct plx_chan *chan)
{
    return chan->count;
}

/* --- promises --------------------------------------------------------------------------------- */

/* Asks that what was begun end soon; the promise is kept all the same. */
typedef void (*plx_promise_cancel_fn)(void *ctx);

struct plx_promise {
    struct plx_task *task;
    int64_t result;
    bool kept;
};

PLX_API void plx_promise_init(struct plx_promise *promise);

/* Gives the result, once. From a callback, say. */
PLX_API void plx_promise_keep(struct plx_promise *promise, int64_t result);

/*
 * Waits until the promise is kept, and returns its result; -EDEADLK outside of a task. Never
 * refused, as what gives the result was begun: ask plx_task_may_wait before that. When the task is
 * cancelled, or was before, and not shielded, `cancel` is called, once; the wait goes on until the
 * promise is kept, so that what keeps it may lie on the task's stack. `cancel` NULL: nothing can
 * cut it short.
 */
PLX_API int64_t plx_promise_await(struct plx_promise *promise, plx_promise_cancel_fn cancel,
                                  void *ctx);

PLX_EXTERN_C_END

#endif
