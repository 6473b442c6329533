/* SPDX-License-Identifier: MIT */
/*
 * Workers: the threads that do a reactor's file operations where the kernel offers no other way
 * not to block, which is on the epoll backend.
 *
 * Words. A worker has one op at a time, handed over in a box (box_internal.h); it is *busy* from
 * the post until the reactor has collected the result. Ops that no worker is free for *queue* at
 * the reactor, in the order of their submission, linked by the ops themselves; there are at most
 * POLLUX_RING_ENTRIES of them. An op has *begun* when its worker has taken it: it runs to its end
 * then, whatever happens; until then a cancel takes it back.
 *
 * Two ops begin in the order of their submission and are under way together: nothing is promised
 * about the order of their effects, also not on one file.
 *
 * The threads are made when the backend opens, since a turn is no place to make threads in: a host
 * that never touches a file pays for some that sleep. A worker looks for its next job for a moment
 * and then sleeps in the kernel; waking it is a system call of the reactor. All signals are blocked
 * in it. It runs on CPUs that carry no reactor, as far as there are any.
 *
 * The end. A worker that is busy when the workers are closed cannot be waited for: a file system
 * may never answer. It is left to itself, and touches only the workers' own memory, which goes with
 * the last thread, and what its op named: a buffer, a path, a result structure. The reactor is then
 * one that has not drained; its arena is never used again.
 *
 * Threads: all functions here are for the one that polls the reactor.
 */
#ifndef POLLUX_WORKERS_INTERNAL_H
#define POLLUX_WORKERS_INTERNAL_H

#include "runtime/io/io_internal.h"

#define PLX__WORKERS_MAX 64u

struct plx__workers;

/*
 * Makes `config->settings->file_workers` threads that work for `io`. Errors, with `diag` telling
 * and nothing left behind: -ENOMEM; what pthread_create(3) said, naming POLLUX_FILE_WORKERS.
 */
int plx__workers_open(struct plx__io *io, const struct plx__io_config *config,
                      struct plx__workers **out, struct plx_diag *diag) PLX_MUST_CHECK;

/*
 * Takes an op on a file; its code is one that plx__workers_do knows. Its state becomes SUBMITTED.
 * 0, or -EAGAIN when POLLUX_RING_ENTRIES of them queue. Cost: hot; a system call when a worker is
 * free and has to be woken.
 */
int plx__workers_submit(struct plx__workers *workers, struct plx_op *op) PLX_MUST_CHECK;

/*
 * Ends the op with -ECANCELED unless it has begun. Cost: looks through the workers and those that
 * queue.
 */
void plx__workers_cancel(struct plx__workers *workers, struct plx_op *op);

/* The same for all that have not begun. */
void plx__workers_cancel_all(struct plx__workers *workers);

/*
 * Writes up to `max` completions to `out`, and hands over what queued for the workers that have
 * become free. Returns how many. Cost: hot; a load per busy worker, none when nothing is under way.
 */
uint32_t plx__workers_collect(struct plx__workers *workers, struct plx__completion *out,
                              uint32_t max);

/*
 * Becomes readable anew (an edge) whenever a worker has finished, for a reactor that sleeps: never
 * read, since edges need no reading.
 */
int plx__workers_fd(const struct plx__workers *workers);

/* Ends the threads; those that are busy are left to themselves. */
void plx__workers_close(struct plx__workers *workers);

/*
 * One op by plain calls that may block: its result or negative errno. Any thread. Of READ_GROUP the
 * buffer is in `mem`.
 */
int32_t plx__workers_do(const struct plx_op *op);

#endif
