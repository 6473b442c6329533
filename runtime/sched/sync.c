/* SPDX-License-Identifier: MIT */
#include "runtime/sched/sync.h"

#include <errno.h>
#include <string.h>

#include "runtime/sched/wait_internal.h"

/* --- queues ----------------------------------------------------------------------------------- */

static void take_out(struct plx__waiter *waiter)
{
    struct plx_wait_queue *queue = waiter->queue;
    if (waiter->prev != NULL)
        waiter->prev->next = waiter->next;
    else
        queue->first = waiter->next;
    if (waiter->next != NULL)
        waiter->next->prev = waiter->prev;
    else
        queue->last = waiter->prev;
    waiter->queue = NULL;
}

static void leave(struct plx__waiter *waiter, int result)
{
    take_out(waiter);
    plx__task_wake(waiter->task, result);
    if (waiter->left != NULL)
        waiter->left(waiter->ctx);
}

static void be_cancelled(void *ctx)
{
    leave(ctx, -ECANCELED);
}

static void be_late(struct plx_timer *timer, void *ctx)
{
    struct plx__waiter *waiter = ctx;
    (void)timer;
    /* Unless it was woken before, and has yet to run. */
    if (waiter->queue != NULL)
        leave(waiter, -ETIMEDOUT);
}

int plx__wait_in(struct plx_wait_queue *queue, struct plx__waiter *waiter, uint64_t at_ns)
{
    struct plx_reactor *reactor = waiter->task->tasks->reactor;
    waiter->queue = queue;
    waiter->next = NULL;
    waiter->prev = queue->last;
    if (queue->last != NULL)
        queue->last->next = waiter;
    else
        queue->first = waiter;
    queue->last = waiter;
    if (at_ns != UINT64_MAX)
        plx_timer_arm(reactor, &waiter->timer, at_ns, be_late, waiter);
    int result = (int)plx__task_wait(waiter->task, be_cancelled, waiter);
    if (at_ns != UINT64_MAX)
        plx_timer_disarm(reactor, &waiter->timer);
    return result;
}

void plx__wait_wake_first(struct plx_wait_queue *queue, int result)
{
    struct plx__waiter *waiter = queue->first;
    take_out(waiter);
    plx__task_wake(waiter->task, result);
}

void plx__wait_wake_all(struct plx_wait_queue *queue, int result)
{
    while (queue->first != NULL)
        plx__wait_wake_first(queue, result);
}

/* --- semaphores ------------------------------------------------------------------------------- */

void plx_sem_init(struct plx_sem *sem, uint64_t units)
{
    memset(sem, 0, sizeof(*sem));
    sem->units = units;
}

/* In order of coming: a small wish does not pass a large one that waits. */
static void serve(void *ctx)
{
    struct plx_sem *sem = ctx;
    while (sem->waiting.first != NULL && sem->waiting.first->units <= sem->units) {
        sem->units -= sem->waiting.first->units;
        plx__wait_wake_first(&sem->waiting, 0);
    }
}

int plx_sem_try_acquire(struct plx_sem *sem, uint64_t units)
{
    if (sem->waiting.first != NULL || sem->units < units)
        return -EAGAIN;
    sem->units -= units;
    return 0;
}

int plx_sem_acquire_until(struct plx_sem *sem, uint64_t units, uint64_t at_ns)
{
    int why = 0;
    struct plx_task *task = plx__task_enter(&why);
    if (why == -ECANCELED)
        return why;
    if (plx_sem_try_acquire(sem, units) == 0)
        return 0;
    if (task == NULL)
        return why;
    struct plx__waiter waiter = {.task = task, .units = units, .left = serve, .ctx = sem};
    return plx__wait_in(&sem->waiting, &waiter, at_ns);
}

int plx_sem_acquire(struct plx_sem *sem, uint64_t units)
{
    return plx_sem_acquire_until(sem, units, UINT64_MAX);
}

void plx_sem_release(struct plx_sem *sem, uint64_t units)
{
    sem->units += units;
    serve(sem);
}

/* --- gates ------------------------------------------------------------------------------------ */

void plx_gate_init(struct plx_gate *gate)
{
    memset(gate, 0, sizeof(*gate));
}

int plx_gate_enter(struct plx_gate *gate)
{
    if (gate->closed)
        return -ESHUTDOWN;
    gate->inside++;
    return 0;
}

void plx_gate_leave(struct plx_gate *gate)
{
    PLX_ASSERT(gate->inside > 0);
    gate->inside--;
    if (gate->inside == 0 && gate->closed)
        plx__wait_wake_all(&gate->waiting, 0);
}

void plx_gate_shut(struct plx_gate *gate)
{
    gate->closed = true;
}

int plx_gate_close_until(struct plx_gate *gate, uint64_t at_ns)
{
    int why = 0;
    gate->closed = true;
    if (gate->inside == 0)
        return 0;
    struct plx__waiter waiter = {.task = plx__task_enter(&why)};
    if (waiter.task == NULL)
        return why;
    return gate->inside == 0 ? 0 : plx__wait_in(&gate->waiting, &waiter, at_ns);
}

int plx_gate_close(struct plx_gate *gate)
{
    return plx_gate_close_until(gate, UINT64_MAX);
}

/* --- promises --------------------------------------------------------------------------------- */

void plx_promise_init(struct plx_promise *promise)
{
    memset(promise, 0, sizeof(*promise));
}

void plx_promise_keep(struct plx_promise *promise, int64_t result)
{
    PLX_ASSERT(!promise->kept);
    promise->kept = true;
    promise->result = result;
    if (promise->task != NULL)
        plx__task_wake(promise->task, 0);
}

int64_t plx_promise_await(struct plx_promise *promise, plx_promise_cancel_fn cancel, void *ctx)
{
    struct plx_task *task = plx__task_running;
    if (!promise->kept && task == NULL)
        return -EDEADLK;
    if (!promise->kept && cancel != NULL && plx__task_is_refused(task)) {
        cancel(ctx);
        cancel = NULL;
    }
    /* It may have been kept in there. */
    if (!promise->kept) {
        promise->task = task;
        (void)plx__task_wait(task, cancel, ctx);
        promise->task = NULL;
    }
    return promise->result;
}

/* --- channels --------------------------------------------------------------------------------- */

int plx_chan_init(struct plx_chan *chan, void *memory, uint32_t slots, uint32_t item_bytes)
{
    if (slots == 0 || item_bytes == 0)
        return -EINVAL;
    memset(chan, 0, sizeof(*chan));
    chan->memory = memory;
    chan->slots = slots;
    chan->item_bytes = item_bytes;
    return 0;
}

static void *slot(const struct plx_chan *chan, uint32_t index)
{
    uint64_t at = (uint64_t)chan->head + index;
    return chan->memory + (size_t)(at % chan->slots) * chan->item_bytes;
}

int plx_chan_try_send(struct plx_chan *chan, const void *item)
{
    if (chan->closed_send || chan->closed_recv)
        return -EPIPE;
    if (chan->receivers.first != NULL) {
        /* Who waits has found it empty. */
        memcpy(chan->receivers.first->item, item, chan->item_bytes);
        plx__wait_wake_first(&chan->receivers, 0);
        return 0;
    }
    if (chan->count == chan->slots)
        return -EAGAIN;
    memcpy(slot(chan, chan->count), item, chan->item_bytes);
    chan->count++;
    return 0;
}

int plx_chan_try_recv(struct plx_chan *chan, void *item)
{
    if (chan->closed_recv)
        return -EPIPE;
    if (chan->count == 0)
        return chan->closed_send ? -EPIPE : -EAGAIN;
    memcpy(item, slot(chan, 0), chan->item_bytes);
    chan->head = (chan->head + 1) % chan->slots;
    chan->count--;
    if (chan->senders.first != NULL) {
        /* The slot is for who has waited longest. */
        memcpy(slot(chan, chan->count), chan->senders.first->item, chan->item_bytes);
        chan->count++;
        plx__wait_wake_first(&chan->senders, 0);
    }
    return 0;
}

int plx_chan_send_until(struct plx_chan *chan, const void *item, uint64_t at_ns)
{
    int why = 0;
    struct plx_task *task = plx__task_enter(&why);
    if (why == -ECANCELED)
        return why;
    int rc = plx_chan_try_send(chan, item);
    if (rc != -EAGAIN)
        return rc;
    if (task == NULL)
        return why;
    struct plx__waiter waiter = {.task = task, .item = (void *)(uintptr_t)item};
    return plx__wait_in(&chan->senders, &waiter, at_ns);
}

int plx_chan_send(struct plx_chan *chan, const void *item)
{
    return plx_chan_send_until(chan, item, UINT64_MAX);
}

int plx_chan_recv_until(struct plx_chan *chan, void *item, uint64_t at_ns)
{
    int why = 0;
    struct plx_task *task = plx__task_enter(&why);
    if (why == -ECANCELED)
        return why;
    int rc = plx_chan_try_recv(chan, item);
    if (rc != -EAGAIN)
        return rc;
    if (task == NULL)
        return why;
    struct plx__waiter waiter = {.task = task, .item = item};
    return plx__wait_in(&chan->receivers, &waiter, at_ns);
}

int plx_chan_recv(struct plx_chan *chan, void *item)
{
    return plx_chan_recv_until(chan, item, UINT64_MAX);
}

void plx_chan_close_send(struct plx_chan *chan)
{
    chan->closed_send = true;
    plx__wait_wake_all(&chan->senders, -EPIPE);
    /* Receivers wait only at an empty one. */
    plx__wait_wake_all(&chan->receivers, -EPIPE);
}

void plx_chan_close_recv(struct plx_chan *chan)
{
    chan->closed_recv = true;
    chan->count = 0;
    plx__wait_wake_all(&chan->senders, -EPIPE);
    plx__wait_wake_all(&chan->receivers, -EPIPE);
}
