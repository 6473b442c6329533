/* SPDX-License-Identifier: MIT */
/*
 * The epoll backend: for hosts where io_uring is refused. Sockets, pipes, eventfds and the like;
 * regular files, which epoll cannot watch, are refused.
 *
 * An op is tried at once with the plain non-blocking call. What would block waits in a *line* of
 * its descriptor: one of readers, one of writers, each served in order, and one of poll ops, each
 * for itself. The descriptor is registered once, edge-triggered, when its first op has to wait: the
 * registration reports what is ready at that moment, so nothing that came in between is lost. An
 * edge marks the line *ready* and puts the descriptor on the list of ready ones; a line stays ready
 * until an attempt says that it would block, which may be turns later, as each turn is bounded.
 *
 * Calls go by libc's symbols, so that a preloaded network stack can take them over.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <unistd.h>

#include "runtime/io/io_internal.h"

/* Events of one multishot op in one turn, so that a flood leaves room for the others. */
#define SHOTS_MAX 16u
/* An attempt's result: nothing was done, the op has to wait. Not an errno, nor a count. */
#define WOULD_WAIT INT32_MIN

enum line { LINE_READ, LINE_WRITE, LINE_POLL, LINE_COUNT };

/* Marks of a descriptor. The first are one for each line: it is worth another attempt. */
#define MARK_READY(line) (1u << (line))
#define MARK_READY_ANY   ((1u << LINE_COUNT) - 1)
#define MARK_LISTED      (1u << 3) /* on the list of ready descriptors */
#define MARK_WATCHED     (1u << 4) /* registered with epoll */
#define MARK_NONBLOCK    (1u << 5) /* we have made it non-blocking */
#define MARK_CONNECTING  (1u << 6) /* the first writer is a connect under way */
#define MARK_NO_NOWAIT   (1u << 7) /* its file knows no RWF_NOWAIT */

/* What we know of one descriptor. All zero: nothing. */
struct descriptor {
    struct plx_op *last[LINE_COUNT]; /* rings by link: the last one's link is the first */
    int32_t next_ready;
    uint32_t marks;
};

PLX_STATIC_ASSERT(sizeof(struct descriptor) == 32, "two descriptors to a cache line");

struct epoll {
    struct plx__io io;
    struct descriptor *descriptors; /* io.fd_limit of them */
    int fd;
    uint32_t waiting; /* ops in all lines */
    int32_t ready_first;
    int32_t ready_last;
    uint32_t ready_count;
    int32_t watched_max; /* the highest descriptor that was ever registered */
    struct plx_op *closes_first;
    struct plx_op *closes_last;
    struct epoll_event events[PLX__BATCH_MAX];
};

/* Where collect writes. */
struct batch {
    struct plx__completion *out;
    uint32_t count;
    uint32_t max;
};

static inline struct epoll *of(struct plx__io *io)
{
    return PLX_CONTAINER(io, struct epoll, io);
}

/* --- lines and the ready list ----------------------------------------------------------------- */

static inline enum line line_of(const struct plx_op *op)
{
    switch (op->code) {
    case PLX_OP_WRITE:
    case PLX_OP_SEND:
    case PLX_OP_CONNECT:
        return LINE_WRITE;
    case PLX_OP_POLL:
        return LINE_POLL;
    default:
        return LINE_READ;
    }
}

static void enqueue(struct epoll *epoll, struct descriptor *d, struct plx_op *op)
{
    struct plx_op **last = &d->last[line_of(op)];
    if (*last != NULL) {
        op->link = (*last)->link;
        (*last)->link = op;
    } else {
        op->link = op;
    }
    *last = op;
    plx__op_set_state(op, PLX_OP_SUBMITTED);
    epoll->waiting++;
}

/* Takes out the op after `before`; the line is not empty. */
static void dequeue_after(struct epoll *epoll, struct descriptor *d, struct plx_op *before)
{
    struct plx_op *op = before->link;
    struct plx_op **last = &d->last[line_of(op)];
    before->link = op->link;
    if (*last == op)
        *last = op == before ? NULL : before;
    op->link = NULL;
    epoll->waiting--;
}

/* Those of the lines in `ready` where somebody waits are to be tried. */
static void mark_ready(struct epoll *epoll, int32_t fd, uint32_t ready)
{
    struct descriptor *d = &epoll->descriptors[fd];
    for (unsigned line = 0; line < LINE_COUNT; line++) {
        if (d->last[line] == NULL)
            ready &= ~MARK_READY(line);
    }
    d->marks |= ready;
    if (ready == 0 || (d->marks & MARK_LISTED) != 0)
        return;

    d->marks |= MARK_LISTED;
    d->next_ready = -1;
    if (epoll->ready_count++ > 0)
        epoll->descriptors[epoll->ready_last].next_ready = fd;
    else
        epoll->ready_first = fd;
    epoll->ready_last = fd;
}

static int32_t pop_ready(struct epoll *epoll)
{
    int32_t fd = epoll->ready_first;
    struct descriptor *d = &epoll->descriptors[fd];
    epoll->ready_first = d->next_ready;
    epoll->ready_count--;
    d->marks &= ~MARK_LISTED;
    return fd;
}

static int watch(struct epoll *epoll, int32_t fd)
{
    struct epoll_event event = {
        .events = EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP | EPOLLET,
        .data.fd = fd,
    };
    if (epoll_ctl(epoll->fd, EPOLL_CTL_ADD, fd, &event) != 0)
        return -errno;
    epoll->descriptors[fd].marks |= MARK_WATCHED;
    if (fd > epoll->watched_max)
        epoll->watched_max = fd;
    return 0;
}

/* --- attempts: one plain call, its result, or WOULD_WAIT -------------------------------------- */

static inline int32_t outcome(ssize_t rc)
{
    if (rc >= 0)
        return (int32_t)rc;
    return errno == EAGAIN ? WOULD_WAIT : -errno;
}

/* What of `bits`, errors and hangups shows now; 0 nothing; or negative errno. */
static int32_t shown(int fd, uint32_t bits)
{
    struct pollfd look = {.fd = fd, .events = (short)bits};
    if (poll(&look, 1, 0) < 0)
        return -errno;
    return (look.revents & POLLNVAL) != 0 ? -EBADF : look.revents;
}

static int make_nonblocking(struct descriptor *d, int fd)
{
    if ((d->marks & MARK_NONBLOCK) != 0)
        return 0;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || ((flags & O_NONBLOCK) == 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0))
        return -errno;
    d->marks |= MARK_NONBLOCK;
    return 0;
}

static ssize_t transfer_at(const struct plx_op *op, size_t len, off_t offset, int flags)
{
    struct iovec part = {.iov_base = op->mem.buf, .iov_len = len};
    if (op->code == PLX_OP_READ)
        return preadv2(op->fd, &part, 1, offset, flags);
    return pwritev2(op->fd, &part, 1, offset, flags);
}

/* An offset means nothing to a pipe, and is no error, as with io_uring. */
static ssize_t transfer(const struct plx_op *op, size_t len, int flags)
{
    ssize_t rc = transfer_at(op, len, (off_t)op->aux.offset, flags);
    if (rc < 0 && errno == ESPIPE)
        rc = transfer_at(op, len, -1, flags);
    return rc;
}

/*
 * The descriptor blocks, and is left so: its open file may be shared with other processes. Where
 * RWF_NOWAIT is not known (named pipes; all pipes before Linux 6.4; writes to an eventfd) we look
 * first, and write no more than a pipe that shows POLLOUT takes without blocking.
 */
static int32_t try_transfer(struct epoll *epoll, const struct plx_op *op, struct plx_event *event)
{
    (void)event;
    struct descriptor *d = &epoll->descriptors[op->fd];
    if ((d->marks & MARK_NO_NOWAIT) == 0) {
        ssize_t rc = transfer(op, op->len, RWF_NOWAIT);
        if (rc >= 0 || errno != EOPNOTSUPP)
            return outcome(rc);
        d->marks |= MARK_NO_NOWAIT;
    }

    bool reads = op->code == PLX_OP_READ;
    int32_t bits = shown(op->fd, reads ? POLLIN : POLLOUT);
    if (bits <= 0)
        return bits == 0 ? WOULD_WAIT : bits;
    return outcome(transfer(op, reads || op->len < PIPE_BUF ? op->len : PIPE_BUF, 0));
}

static int32_t try_recv(struct epoll *epoll, const struct plx_op *op, struct plx_event *event)
{
    (void)epoll;
    (void)event;
    return outcome(recv(op->fd, op->mem.buf, op->len, (int)op->arg | MSG_DONTWAIT));
}

/* No buffer is free: that ends the op only when there is something to put into one. */
static int32_t try_without_buffer(const struct plx_op *op)
{
    char byte;
    int32_t result = outcome(recv(op->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT));
    return result > 0 ? -ENOBUFS : result;
}

static int32_t try_recv_group(struct epoll *epoll, const struct plx_op *op, struct plx_event *event)
{
    struct plx__group *group = &epoll->io.groups[op->index];
    PLX_ASSERT_HOT(op->index < PLX_GROUPS_MAX && group->count != 0);
    if (PLX_UNLIKELY(group->free_count == 0))
        return try_without_buffer(op);

    uint16_t id = group->free_ids[group->free_count - 1];
    void *buf = group->blocks[id];
    int32_t result = outcome(recv(op->fd, buf, group->bytes, (int)op->arg | MSG_DONTWAIT));
    if (result > 0) {
        group->free_count--;
        event->data = plx__group_lend(group, id);
        event->buffer_id = id;
        event->flags = PLX_EV_BUFFER;
    }
    return result;
}

static int32_t try_send(struct epoll *epoll, const struct plx_op *op, struct plx_event *event)
{
    (void)epoll;
    (void)event;
    int flags = (int)op->arg | MSG_DONTWAIT | MSG_NOSIGNAL;
    return outcome(send(op->fd, op->mem.data, op->len, flags));
}

static int32_t try_accept(struct epoll *epoll, const struct plx_op *op, struct plx_event *event)
{
    (void)event;
    int rc = make_nonblocking(&epoll->descriptors[op->fd], op->fd);
    if (rc != 0)
        return rc;
    return outcome(accept4(op->fd, NULL, NULL, (int)op->arg));
}

/*
 * A connect under way is looked after by the same call: it tells success from failure even when a
 * receive has taken the socket's error, and leaves the socket as a blocking connect would.
 */
static int32_t try_connect(struct epoll *epoll, const struct plx_op *op, struct plx_event *event)
{
    (void)event;
    struct descriptor *d = &epoll->descriptors[op->fd];
    int rc = make_nonblocking(d, op->fd);
    if (rc != 0)
        return rc;
    bool again = (d->marks & MARK_CONNECTING) != 0;
    int error = connect(op->fd, op->mem.addr, op->index) == 0 ? 0 : errno;
    if (error == EINPROGRESS || (again && error == EALREADY)) {
        d->marks |= MARK_CONNECTING;
        return WOULD_WAIT;
    }
    d->marks &= ~MARK_CONNECTING;
    /* EAGAIN is a UNIX socket's full backlog: an end, since no edge tells when there is room. */
    return again && error == EISCONN ? 0 : -error;
}

static int32_t try_poll(struct epoll *epoll, const struct plx_op *op, struct plx_event *event)
{
    (void)epoll;
    (void)event;
    int32_t bits = shown(op->fd, op->arg);
    return bits == 0 ? WOULD_WAIT : bits;
}

/* `event` is all zero on entry; only a receive from a group changes it. */
typedef int32_t (*attempt_fn)(struct epoll *epoll, const struct plx_op *op,
                              struct plx_event *event);

static const attempt_fn attempts[PLX_OP_CODE_COUNT] = {
    [PLX_OP_READ] = try_transfer,
    [PLX_OP_WRITE] = try_transfer,
    [PLX_OP_RECV] = try_recv,
    [PLX_OP_SEND] = try_send,
    [PLX_OP_RECV_GROUP] = try_recv_group,
    [PLX_OP_ACCEPT] = try_accept,
    [PLX_OP_CONNECT] = try_connect,
    [PLX_OP_POLL] = try_poll,
};

/* --- submitting and cancelling ---------------------------------------------------------------- */

/* Closed at the start of the next collect: only then can nobody be given the number before the
 * event that says so is delivered. */
static void submit_close(struct epoll *epoll, struct plx_op *op)
{
    op->link = NULL;
    if (epoll->closes_first != NULL)
        epoll->closes_last->link = op;
    else
        epoll->closes_first = op;
    epoll->closes_last = op;
    plx__op_set_state(op, PLX_OP_SUBMITTED);
}

/* What may give several events is left to collect, which has a place for them. */
static inline bool is_deferred(const struct plx_op *op)
{
    return op->code == PLX_OP_RECV_GROUP || (op->flags & PLX_MULTISHOT) != 0;
}

/* Tries an op that nobody is ahead of. Returns whether it has ended. */
static inline bool ends_at_once(struct epoll *epoll, const struct descriptor *d, struct plx_op *op)
{
    enum line line = line_of(op);
    if (is_deferred(op) || (d->last[line] != NULL && line != LINE_POLL))
        return false;
    /* A receive would take the error that the connect is to report. */
    if (line == LINE_READ && (d->marks & MARK_CONNECTING) != 0)
        return false;
    struct plx_event event = {0};
    int32_t result = attempts[op->code](epoll, op, &event);
    if (result == WOULD_WAIT)
        return false;
    plx__io_end(&epoll->io, op, result);
    return true;
}

static int epoll_submit(struct plx__io *io, struct plx_op *op)
{
    struct epoll *epoll = of(io);
    if (op->code == PLX_OP_NOP) {
        plx__io_end(io, op, 0);
        return 0;
    }
    if (op->code != PLX_OP_CLOSE && attempts[op->code] == NULL)
        return -EOPNOTSUPP;
    if (op->code == PLX_OP_CLOSE) {
        submit_close(epoll, op);
        return 0;
    }

    struct descriptor *d = &epoll->descriptors[op->fd];
    bool transfers = op->code == PLX_OP_READ || op->code == PLX_OP_WRITE;
    int rc = 0;
    /* A file is told apart by epoll's refusal, so it must be asked before the attempt. */
    if (transfers && (d->marks & MARK_WATCHED) == 0) {
        rc = watch(epoll, op->fd);
        if (rc == -EPERM)
            return -EOPNOTSUPP;
    }
    if (rc == 0 && ends_at_once(epoll, d, op))
        return 0;
    if (rc == 0 && (d->marks & MARK_WATCHED) == 0)
        rc = watch(epoll, op->fd);
    if (rc != 0) {
        plx__io_end(io, op, rc);
        return 0;
    }
    enqueue(epoll, d, op);
    if (is_deferred(op))
        mark_ready(epoll, op->fd, MARK_READY(line_of(op)));
    return 0;
}

static void withdraw(struct epoll *epoll, struct plx_op *before)
{
    struct plx_op *op = before->link;
    struct descriptor *d = &epoll->descriptors[op->fd];
    enum line line = line_of(op);
    bool first = d->last[line] == before;
    dequeue_after(epoll, d, before);
    if (first && op->code == PLX_OP_CONNECT)
        d->marks &= ~MARK_CONNECTING;
    /* Those behind it have never been tried: what stopped the first need not stop them. */
    if (first)
        mark_ready(epoll, op->fd, MARK_READY(line));
    plx__io_end(&epoll->io, op, -ECANCELED);
}

/* The op is in a line: one that is not has ended or is a close, and is not cancelled. */
static void epoll_cancel(struct plx__io *io, struct plx_op *op)
{
    struct epoll *epoll = of(io);
    struct plx_op *before = epoll->descriptors[op->fd].last[line_of(op)];
    PLX_ASSERT_HOT(before != NULL);
    while (before->link != op)
        before = before->link;
    withdraw(epoll, before);
}

static void epoll_cancel_all(struct plx__io *io)
{
    struct epoll *epoll = of(io);
    for (int32_t fd = 0; epoll->waiting > 0 && fd <= epoll->watched_max; fd++) {
        struct descriptor *d = &epoll->descriptors[fd];
        for (unsigned line = 0; line < LINE_COUNT; line++) {
            while (d->last[line] != NULL)
                withdraw(epoll, d->last[line]);
        }
    }
}

/* --- collecting ------------------------------------------------------------------------------- */

static inline void emit(struct batch *batch, struct plx_op *op, const struct plx_event *event)
{
    if ((event->flags & PLX_EV_MORE) == 0)
        plx__op_set_state(op, PLX_OP_ENDING);
    batch->out[batch->count++] = (struct plx__completion){.op = op, .event = *event};
}

/* Nothing names these descriptors any more, so what is known of them goes with them. */
static void run_closes(struct epoll *epoll, struct batch *batch)
{
    while (epoll->closes_first != NULL && batch->count < batch->max) {
        struct plx_op *op = epoll->closes_first;
        struct descriptor *d = &epoll->descriptors[op->fd];
        epoll->closes_first = op->link;
        /* Asked for, since a duplicate of the descriptor would keep the registration alive. */
        if ((d->marks & MARK_WATCHED) != 0)
            (void)epoll_ctl(epoll->fd, EPOLL_CTL_DEL, op->fd, NULL);
        d->marks &= MARK_LISTED;
        struct plx_event event = {.result = close(op->fd) == 0 ? 0 : -errno};
        emit(batch, op, &event);
    }
}

/*
 * Tries the first op of a line. Returns whether the next one may be tried. The line stays ready
 * unless an attempt would block.
 */
static bool serve_first(struct epoll *epoll, struct descriptor *d, enum line line,
                        struct batch *batch)
{
    struct plx_op *op = d->last[line]->link;
    bool accepts = op->code == PLX_OP_ACCEPT;
    bool many = (accepts || op->code == PLX_OP_RECV_GROUP) && (op->flags & PLX_MULTISHOT) != 0;
    for (uint32_t shots = 0; shots < SHOTS_MAX && batch->count < batch->max; shots++) {
        struct plx_event event = {0};
        event.result = attempts[op->code](epoll, op, &event);
        if (event.result == WOULD_WAIT) {
            d->marks &= ~MARK_READY(line);
            return false;
        }
        if (!many || event.result < 0 || (event.result == 0 && !accepts)) {
            dequeue_after(epoll, d, d->last[line]);
            emit(batch, op, &event);
            return true;
        }
        event.flags |= PLX_EV_MORE;
        emit(batch, op, &event);
    }
    return false;
}

static void serve_line(struct epoll *epoll, struct descriptor *d, enum line line,
                       struct batch *batch)
{
    while (d->last[line] != NULL && batch->count < batch->max) {
        if (!serve_first(epoll, d, line, batch))
            return;
    }
    if (d->last[line] == NULL)
        d->marks &= ~MARK_READY(line);
}

/* Each poll op asks for bits of its own, so each is looked after, wherever it stands. */
static void serve_polls(struct epoll *epoll, struct descriptor *d, struct batch *batch)
{
    struct plx_op *last = d->last[LINE_POLL];
    struct plx_op *before = last;
    while (d->last[LINE_POLL] != NULL) {
        if (batch->count == batch->max)
            return;
        struct plx_op *op = before->link;
        bool was_last = op == last;
        struct plx_event event = {0};
        event.result = try_poll(epoll, op, &event);
        if (event.result == WOULD_WAIT) {
            before = op;
        } else {
            dequeue_after(epoll, d, before);
            emit(batch, op, &event);
        }
        if (was_last)
            break;
    }
    d->marks &= ~MARK_READY(LINE_POLL);
}

/* Serves every ready descriptor once; those that are not done with go to the list's end. */
static void serve_ready(struct epoll *epoll, struct batch *batch)
{
    for (uint32_t left = epoll->ready_count; left > 0 && batch->count < batch->max; left--) {
        int32_t fd = pop_ready(epoll);
        struct descriptor *d = &epoll->descriptors[fd];
        if ((d->marks & (MARK_CONNECTING | MARK_READY(LINE_WRITE))) ==
            (MARK_CONNECTING | MARK_READY(LINE_WRITE)))
            serve_line(epoll, d, LINE_WRITE, batch);
        if ((d->marks & MARK_READY(LINE_POLL)) != 0)
            serve_polls(epoll, d, batch);
        if ((d->marks & MARK_READY(LINE_READ)) != 0)
            serve_line(epoll, d, LINE_READ, batch);
        if ((d->marks & MARK_READY(LINE_WRITE)) != 0)
            serve_line(epoll, d, LINE_WRITE, batch);
        uint32_t again = d->marks & MARK_READY_ANY;
        d->marks &= ~MARK_READY_ANY;
        mark_ready(epoll, fd, again);
    }
}

static void take_edges(struct epoll *epoll)
{
    epoll->io.kernel_entries++;
    int count = epoll_wait(epoll->fd, epoll->events, PLX__BATCH_MAX, 0);
    for (int i = 0; i < count; i++) {
        uint32_t bits = epoll->events[i].events;
        uint32_t ready = MARK_READY(LINE_POLL);
        if ((bits & ~(uint32_t)EPOLLOUT) != 0)
            ready |= MARK_READY(LINE_READ);
        if ((bits & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0)
            ready |= MARK_READY(LINE_WRITE);
        mark_ready(epoll, epoll->events[i].data.fd, ready);
    }
}

static uint32_t epoll_collect(struct plx__io *io, struct plx__completion *out, uint32_t max)
{
    struct epoll *epoll = of(io);
    struct batch batch = {.out = out, .max = max};
    run_closes(epoll, &batch);

    /* Ops that end at once must not starve those that wait, so these keep a quarter. */
    uint32_t room = max - batch.count;
    uint32_t share = epoll->waiting > 0 ? room - room / 4 : room;
    batch.count += plx__io_collect_ended(io, out + batch.count, share);

    /* Without waiting ops edges may stay in the kernel: an op is tried before it waits. */
    if (epoll->waiting > 0) {
        take_edges(epoll);
        serve_ready(epoll, &batch);
    }
    return batch.count;
}

/* Nothing is kept back from the kernel, so there is nothing to show it. */
static uint32_t epoll_flush(struct plx__io *io)
{
    (void)io;
    return 0;
}

/* --- groups ----------------------------------------------------------------------------------- */

static int epoll_group_open(struct plx__io *io, uint16_t index)
{
    struct plx__group *group = &io->groups[index];
    for (uint32_t i = 0; i < group->count; i++)
        group->free_ids[i] = (uint16_t)(group->count - 1 - i);
    group->free_count = group->count;
    return 0;
}

static void epoll_group_release(struct plx__io *io, uint16_t index, uint16_t buffer_id)
{
    struct plx__group *group = &io->groups[index];
    group->free_ids[group->free_count++] = buffer_id;
}

/* --- lifecycle -------------------------------------------------------------------------------- */

PLX_COLD static void epoll_close(struct plx__io *io)
{
    struct epoll *epoll = of(io);
    (void)close(epoll->fd);
    free(epoll->descriptors);
    plx__io_fini(io);
    free(epoll);
}

static const struct plx__io_ops epoll_ops = {
    .name = "epoll",
    .submit = epoll_submit,
    .cancel = epoll_cancel,
    .collect = epoll_collect,
    .flush = epoll_flush,
    .cancel_all = epoll_cancel_all,
    .group_open = epoll_group_open,
    .group_release = epoll_group_release,
    .recv_now = plx__kernel_recv_now,
    .send_now = plx__kernel_send_now,
    .clock_ns = plx__kernel_clock_ns,
    .close = epoll_close,
};

PLX_COLD int plx__epoll_open(const struct plx__io_config *config, struct plx__io **out,
                             struct plx_diag *diag)
{
    *out = NULL;
    struct epoll *epoll = calloc(1, sizeof(*epoll));
    if (epoll == NULL)
        return plx_diag_set(diag, -ENOMEM, "epoll", "no memory for the epoll backend");
    int rc = plx__io_init(&epoll->io, &epoll_ops, config, diag);
    if (rc != 0)
        goto free_epoll;

    /* A table for all descriptors that can exist: its pages are taken as descriptors are used. */
    epoll->descriptors = calloc(epoll->io.fd_limit, sizeof(*epoll->descriptors));
    if (epoll->descriptors == NULL) {
        rc = plx_diag_set(diag, -ENOMEM, "epoll", "no memory for a table of %u descriptors",
                          epoll->io.fd_limit);
        goto fini_io;
    }
    epoll->fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll->fd < 0) {
        int error = errno;
        rc = plx_diag_set(diag, -error, "epoll", "epoll_create1 failed with errno %d%s", error,
                          error == EMFILE ? ": the limit of open descriptors is reached" : "");
        goto free_descriptors;
    }
    epoll->io.mode = "epoll";
    *out = &epoll->io;
    return 0;

free_descriptors:
    free(epoll->descriptors);
fini_io:
    plx__io_fini(&epoll->io);
free_epoll:
    free(epoll);
    return rc;
}
