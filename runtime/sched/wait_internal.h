/* SPDX-License-Identifier: MIT */
/*
 * Queues of waiting tasks: what semaphores, gates and channels are made of.
 *
 * Words. A *waiter* is a task's place in a queue, on its stack while it waits.
 *
 * Threads: the owner.
 */
#ifndef POLLUX_WAIT_INTERNAL_H
#define POLLUX_WAIT_INTERNAL_H

#include "runtime/sched/sync.h"
#include "runtime/sched/task_internal.h"
#include "runtime/sched/timer.h"

struct plx__waiter {
    struct plx__waiter *next;
    struct plx__waiter *prev;
    struct plx_task *task;
    struct plx_wait_queue *queue; /* NULL: it was taken out */
    /* The object's: how much it waits for, or what it sends or where to. */
    uint64_t units;
    void *item;
    /* Called when it was taken out without being served; NULL: nothing follows of it. */
    void (*left)(void *ctx);
    void *ctx;
    struct plx_timer timer;
};

/*
 * At the end of `queue`, until it is woken or cancelled: its result; or until `at_ns` of the
 * reactor's clock: -ETIMEDOUT. UINT64_MAX: without a deadline.
 */
int plx__wait_in(struct plx_wait_queue *queue, struct plx__waiter *waiter, uint64_t at_ns);

/* Takes the first one out and wakes it with `result`. There is one. */
void plx__wait_wake_first(struct plx_wait_queue *queue, int result);

/* All of them. */
void plx__wait_wake_all(struct plx_wait_queue *queue, int result);

#endif
