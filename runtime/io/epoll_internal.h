/* SPDX-License-Identifier: MIT */
/*
 * What the files of the epoll backend share: epoll.c has the lines of waiting ops and the list of
 * ready descriptors, epoll_try.c the attempts, workers.c the threads that work on files.
 *
 * Words. An *attempt* is one plain call that does not block. An op that would have to wait stands
 * in a *line* of its descriptor, until an edge makes the line *ready* for another attempt.
 *
 * Threads: the one that polls the reactor.
 */
#ifndef POLLUX_EPOLL_INTERNAL_H
#define POLLUX_EPOLL_INTERNAL_H

#include <sys/epoll.h>

#include "runtime/io/io_internal.h"
#include "runtime/io/workers_internal.h"

/* An attempt's result: nothing was done, the op has to wait. Not an errno, nor a count. */
#define PLX__WOULD_WAIT INT32_MIN

enum plx__line { PLX__LINE_READ, PLX__LINE_WRITE, PLX__LINE_POLL, PLX__LINE_COUNT };

/* Marks of a descriptor. The first are one for each line: it is worth another attempt. */
#define PLX__FD_READY(line) (1u << (line))
#define PLX__FD_READY_ANY   ((1u << PLX__LINE_COUNT) - 1)
#define PLX__FD_LISTED      (1u << 3) /* on the list of ready descriptors */
#define PLX__FD_WATCHED     (1u << 4) /* registered with epoll */
#define PLX__FD_NONBLOCK    (1u << 5) /* we have made it non-blocking */
#define PLX__FD_CONNECTING  (1u << 6) /* the first writer is a connect under way */
#define PLX__FD_NO_NOWAIT   (1u << 7) /* its file knows no RWF_NOWAIT */
#define PLX__FD_FILE        (1u << 8) /* epoll cannot watch it: its transfers go to workers */

/* What we know of one descriptor. All zero: nothing. */
struct plx__descriptor {
    struct plx_op *last[PLX__LINE_COUNT]; /* rings by link: the last one's link is the first */
    int32_t next_ready;
    uint32_t marks;
};

PLX_STATIC_ASSERT(sizeof(struct plx__descriptor) == 32, "two descriptors to a cache line");

struct plx__epoll {
    struct plx__io io;
    struct plx__descriptor *descriptors; /* io.fd_limit of them */
    struct plx__workers *workers;
    int fd;
    bool waits_by_poll; /* epoll_pwait2 is refused here */
    bool woken;         /* since the last turn an edge came that no descriptor of ours has */
    uint32_t waiting;   /* ops in all lines */
    int32_t ready_first;
    int32_t ready_last;
    uint32_t ready_count;
    int32_t watched_max; /* the highest descriptor that was ever registered */
    struct plx_op *closes_first;
    struct plx_op *closes_last;
    struct epoll_event events[PLX__BATCH_MAX];
};

/*
 * One attempt: its result, or PLX__WOULD_WAIT. `event` is all zero on entry; only an attempt that
 * takes a buffer from a group changes it.
 */
typedef int32_t (*plx__attempt_fn)(struct plx__epoll *epoll, const struct plx_op *op,
                                   struct plx_event *event);

/* In epoll_try.c. By code; NULL for what is never attempted here. */
extern const plx__attempt_fn plx__attempts[PLX_OP_CODE_COUNT];

#endif
