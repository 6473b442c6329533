/* SPDX-License-Identifier: MIT */
/*
 * The epoll backend: for hosts where io_uring is refused.
 *
 * An op is tried at once with the plain non-blocking call. What would block waits in a *line* of
 * its descriptor: one of readers, one of writers, each served in order, and one of poll ops, each
 * for itself. The descriptor is registered once, edge-triggered, when its first op has to wait: the
 * registration reports what is ready at that moment, so nothing that came in between is lost. An
 * edge marks the line *ready* and puts the descriptor on the list of ready ones; a line stays ready
 * until an attempt says that it would block, which may be turns later, as each turn is bounded.
 *
 * What epoll refuses to watch is a regular file, a directory or a disk: its transfers, and the
 * calls that may block on anything (fsync, fallocate, openat, statx), go to the workers.
 *
 * Calls go by libc's symbols, so that a preloaded network stack can take them over.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/io/epoll_internal.h"

/* Events of one multishot op in one turn, so that a flood leaves room for the others. */
#define SHOTS_MAX 16u
/* What epoll says of the workers' descriptor, which is no op's. */
#define NO_DESCRIPTOR (-1)
/* Where collect writes. */
struct batch {
    struct plx__completion *out;
    uint32_t count;
    uint32_t max;
};

static inline struct plx__epoll *of(struct plx__io *io)
{
    return PLX_CONTAINER(io, struct plx__epoll, io);
}

/* --- lines and the ready list ----------------------------------------------------------------- */

static inline enum plx__line line_of(const struct plx_op *op)
{
    switch (op->code) {
    case PLX_OP_WRITE:
    case PLX_OP_WRITEV:
    case PLX_OP_SEND:
    case PLX_OP_SENDMSG:
    case PLX_OP_CONNECT:
        return PLX__LINE_WRITE;
    case PLX_OP_POLL:
        return PLX__LINE_POLL;
    default:
        return PLX__LINE_READ;
    }
}

static void enqueue(struct plx__epoll *epoll, struct plx__descriptor *d, struct plx_op *op)
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
static void dequeue_after(struct plx__epoll *epoll, struct plx__descriptor *d,
                          struct plx_op *before)
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
static void mark_ready(struct plx__epoll *epoll, int32_t fd, uint32_t ready)
{
    struct plx__descriptor *d = &epoll->descriptors[fd];
    for (unsigned line = 0; line < PLX__LINE_COUNT; line++) {
        if (d->last[line] == NULL)
            ready &= ~PLX__FD_READY(line);
    }
    d->marks |= ready;
    if (ready == 0 || (d->marks & PLX__FD_LISTED) != 0)
        return;

    d->marks |= PLX__FD_LISTED;
    d->next_ready = -1;
    if (epoll->ready_count++ > 0)
        epoll->descriptors[epoll->ready_last].next_ready = fd;
    else
        epoll->ready_first = fd;
    epoll->ready_last = fd;
}

static int32_t pop_ready(struct plx__epoll *epoll)
{
    int32_t fd = epoll->ready_first;
    struct plx__descriptor *d = &epoll->descriptors[fd];
    epoll->ready_first = d->next_ready;
    epoll->ready_count--;
    d->marks &= ~PLX__FD_LISTED;
    return fd;
}

static int watch(struct plx__epoll *epoll, int32_t fd)
{
    struct epoll_event event = {
        .events = EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP | EPOLLET,
        .data.fd = fd,
    };
    if (epoll_ctl(epoll->fd, EPOLL_CTL_ADD, fd, &event) != 0)
        return -errno;
    epoll->descriptors[fd].marks |= PLX__FD_WATCHED;
    if (fd > epoll->watched_max)
        epoll->watched_max = fd;
    return 0;
}

/* --- submitting and cancelling ---------------------------------------------------------------- */

/*
 * Closed at the start of the next collect: only then can nobody be given the number before the
 * event that says so is delivered. A file is closed by a worker, since its file system may have
 * something to write first. Nothing names the descriptor any more, and nothing will until it is
 * closed, so what is known of it goes.
 */
static int submit_close(struct plx__epoll *epoll, struct plx_op *op)
{
    struct plx__descriptor *d = &epoll->descriptors[op->fd];
    if ((d->marks & PLX__FD_FILE) != 0) {
        int rc = plx__workers_submit(epoll->workers, op);
        if (rc == 0)
            d->marks &= PLX__FD_LISTED;
        return rc;
    }
    op->link = NULL;
    if (epoll->closes_first != NULL)
        epoll->closes_last->link = op;
    else
        epoll->closes_first = op;
    epoll->closes_last = op;
    plx__op_set_state(op, PLX_OP_SUBMITTED);
    return 0;
}

/* What takes buffers or may give several events is left to collect, which has a place for them. */
static inline bool is_deferred(const struct plx_op *op)
{
    return op->code == PLX_OP_RECV_GROUP || op->code == PLX_OP_RECVMSG_GROUP ||
           op->code == PLX_OP_READ_GROUP || (op->flags & PLX_MULTISHOT) != 0;
}

/* What reads or writes whatever the descriptor is, a file too. */
static inline bool is_transfer(const struct plx_op *op)
{
    return op->code >= PLX_OP_READ && op->code <= PLX_OP_READ_GROUP;
}

PLX_STATIC_ASSERT(PLX_OP_READ_GROUP - PLX_OP_READ == 4, "the transfers stand side by side");

/* Whether the op is one for a worker; of a transfer that is known once its descriptor is. */
static inline bool is_for_worker(const struct plx__epoll *epoll, const struct plx_op *op)
{
    switch (op->code) {
    case PLX_OP_FSYNC:
    case PLX_OP_FALLOCATE:
    case PLX_OP_OPENAT:
    case PLX_OP_STATX:
        return true;
    default:
        return is_transfer(op) && (epoll->descriptors[op->fd].marks & PLX__FD_FILE) != 0;
    }
}

/* Tries an op that nobody is ahead of. Returns whether it has ended. */
static inline bool ends_at_once(struct plx__epoll *epoll, const struct plx__descriptor *d,
                                struct plx_op *op)
{
    enum plx__line line = line_of(op);
    if (is_deferred(op) || (d->last[line] != NULL && line != PLX__LINE_POLL))
        return false;
    /* A receive would take the error that the connect is to report. */
    if (line == PLX__LINE_READ && (d->marks & PLX__FD_CONNECTING) != 0)
        return false;
    struct plx_event event = {0};
    int32_t result = plx__attempts[op->code](epoll, op, &event);
    if (result == PLX__WOULD_WAIT)
        return false;
    plx__io_end(&epoll->io, op, result);
    return true;
}

/* What ends here or at a worker, without waiting for its descriptor. */
static int submit_plain(struct plx__epoll *epoll, struct plx_op *op)
{
    switch (op->code) {
    case PLX_OP_NOP:
        plx__io_end(&epoll->io, op, 0);
        return 0;
    case PLX_OP_SHUTDOWN:
        plx__io_end(&epoll->io, op, shutdown(op->fd, (int)op->arg) == 0 ? 0 : -errno);
        return 0;
    case PLX_OP_CLOSE:
        return submit_close(epoll, op);
    default:
        PLX_ASSERT_HOT(is_for_worker(epoll, op));
        return plx__workers_submit(epoll->workers, op);
    }
}

static int epoll_submit(struct plx__io *io, struct plx_op *op)
{
    struct plx__epoll *epoll = of(io);
    if (op->code == PLX_OP_READ_GROUP && !plx__read_fits(&io->groups[op->index], op))
        return -EINVAL;
    if (plx__attempts[op->code] == NULL || is_for_worker(epoll, op))
        return submit_plain(epoll, op);

    if (op->code == PLX_OP_RECVMSG_GROUP && !plx__message_fits(&io->groups[op->index], op))
        return -EINVAL;
    struct plx__descriptor *d = &epoll->descriptors[op->fd];
    int rc = 0;
    /* A file is told apart by epoll's refusal, so it must be asked before the attempt. */
    if (is_transfer(op) && (d->marks & PLX__FD_WATCHED) == 0) {
        rc = watch(epoll, op->fd);
        if (rc == -EPERM) {
            d->marks |= PLX__FD_FILE;
            return submit_plain(epoll, op);
        }
    }
    if (rc == 0 && ends_at_once(epoll, d, op))
        return 0;
    if (rc == 0 && (d->marks & PLX__FD_WATCHED) == 0)
        rc = watch(epoll, op->fd);
    if (rc != 0) {
        plx__io_end(io, op, rc);
        return 0;
    }
    enqueue(epoll, d, op);
    if (is_deferred(op))
        mark_ready(epoll, op->fd, PLX__FD_READY(line_of(op)));
    return 0;
}

static void withdraw(struct plx__epoll *epoll, struct plx_op *before)
{
    struct plx_op *op = before->link;
    struct plx__descriptor *d = &epoll->descriptors[op->fd];
    enum plx__line line = line_of(op);
    bool first = d->last[line] == before;
    dequeue_after(epoll, d, before);
    if (first && op->code == PLX_OP_CONNECT)
        d->marks &= ~PLX__FD_CONNECTING;
    /* Those behind it have never been tried: what stopped the first need not stop them. */
    if (first)
        mark_ready(epoll, op->fd, PLX__FD_READY(line));
    plx__io_end(&epoll->io, op, -ECANCELED);
}

/* The op is with the workers or in a line: another has ended or is a close, and not cancelled. */
static void epoll_cancel(struct plx__io *io, struct plx_op *op)
{
    struct plx__epoll *epoll = of(io);
    if (is_for_worker(epoll, op)) {
        plx__workers_cancel(epoll->workers, op);
        return;
    }
    struct plx_op *before = epoll->descriptors[op->fd].last[line_of(op)];
    PLX_ASSERT_HOT(before != NULL);
    while (before->link != op)
        before = before->link;
    withdraw(epoll, before);
}

static void epoll_cancel_all(struct plx__io *io)
{
    struct plx__epoll *epoll = of(io);
    plx__workers_cancel_all(epoll->workers);
    for (int32_t fd = 0; epoll->waiting > 0 && fd <= epoll->watched_max; fd++) {
        struct plx__descriptor *d = &epoll->descriptors[fd];
        for (unsigned line = 0; line < PLX__LINE_COUNT; line++) {
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
static void run_closes(struct plx__epoll *epoll, struct batch *batch)
{
    while (epoll->closes_first != NULL && batch->count < batch->max) {
        struct plx_op *op = epoll->closes_first;
        struct plx__descriptor *d = &epoll->descriptors[op->fd];
        epoll->closes_first = op->link;
        /* Asked for, since a duplicate of the descriptor would keep the registration alive. */
        if ((d->marks & PLX__FD_WATCHED) != 0)
            (void)epoll_ctl(epoll->fd, EPOLL_CTL_DEL, op->fd, NULL);
        d->marks &= PLX__FD_LISTED;
        struct plx_event event = {.result = close(op->fd) == 0 ? 0 : -errno};
        emit(batch, op, &event);
    }
}

/* Whether an op that stays armed goes on after this event. */
static bool goes_on(const struct plx_op *op, int32_t result)
{
    if ((op->flags & PLX_MULTISHOT) == 0 || result < 0)
        return false;
    switch (op->code) {
    case PLX_OP_ACCEPT:
        return true;
    case PLX_OP_RECVMSG_GROUP: /* ends with an empty message or a stream's end, as io_uring's */
        return (size_t)result > plx__message_rooms(op->mem.msg);
    default:
        return result > 0;
    }
}

/*
 * Tries the first op of a line. Returns whether the next one may be tried. The line stays ready
 * unless an attempt would block.
 */
static bool serve_first(struct plx__epoll *epoll, struct plx__descriptor *d, enum plx__line line,
                        struct batch *batch)
{
    struct plx_op *op = d->last[line]->link;
    for (uint32_t shots = 0; shots < SHOTS_MAX && batch->count < batch->max; shots++) {
        struct plx_event event = {0};
        event.result = plx__attempts[op->code](epoll, op, &event);
        if (event.result == PLX__WOULD_WAIT) {
            d->marks &= ~PLX__FD_READY(line);
            return false;
        }
        if (!goes_on(op, event.result)) {
            dequeue_after(epoll, d, d->last[line]);
            emit(batch, op, &event);
            return true;
        }
        event.flags |= PLX_EV_MORE;
        emit(batch, op, &event);
    }
    return false;
}

static void serve_line(struct plx__epoll *epoll, struct plx__descriptor *d, enum plx__line line,
                       struct batch *batch)
{
    while (d->last[line] != NULL && batch->count < batch->max) {
        if (!serve_first(epoll, d, line, batch))
            return;
    }
    if (d->last[line] == NULL)
        d->marks &= ~PLX__FD_READY(line);
}

/* Each poll op asks for bits of its own, so each is looked after, wherever it stands. */
static void serve_polls(struct plx__epoll *epoll, struct plx__descriptor *d, struct batch *batch)
{
    struct plx_op *last = d->last[PLX__LINE_POLL];
    struct plx_op *before = last;
    while (d->last[PLX__LINE_POLL] != NULL) {
        if (batch->count == batch->max)
            return;
        struct plx_op *op = before->link;
        bool was_last = op == last;
        struct plx_event event = {0};
        event.result = plx__attempts[PLX_OP_POLL](epoll, op, &event);
        if (event.result == PLX__WOULD_WAIT) {
            before = op;
        } else {
            dequeue_after(epoll, d, before);
            emit(batch, op, &event);
        }
        if (was_last)
            break;
    }
    d->marks &= ~PLX__FD_READY(PLX__LINE_POLL);
}

/* Serves every ready descriptor once; those that are not done with go to the list's end. */
static void serve_ready(struct plx__epoll *epoll, struct batch *batch)
{
    for (uint32_t left = epoll->ready_count; left > 0 && batch->count < batch->max; left--) {
        int32_t fd = pop_ready(epoll);
        struct plx__descriptor *d = &epoll->descriptors[fd];
        if ((d->marks & (PLX__FD_CONNECTING | PLX__FD_READY(PLX__LINE_WRITE))) ==
            (PLX__FD_CONNECTING | PLX__FD_READY(PLX__LINE_WRITE)))
            serve_line(epoll, d, PLX__LINE_WRITE, batch);
        if ((d->marks & PLX__FD_READY(PLX__LINE_POLL)) != 0)
            serve_polls(epoll, d, batch);
        if ((d->marks & PLX__FD_READY(PLX__LINE_READ)) != 0)
            serve_line(epoll, d, PLX__LINE_READ, batch);
        if ((d->marks & PLX__FD_READY(PLX__LINE_WRITE)) != 0)
            serve_line(epoll, d, PLX__LINE_WRITE, batch);
        uint32_t again = d->marks & PLX__FD_READY_ANY;
        d->marks &= ~PLX__FD_READY_ANY;
        mark_ready(epoll, fd, again);
    }
}

static void note_edges(struct plx__epoll *epoll, int count)
{
    for (int i = 0; i < count; i++) {
        uint32_t bits = epoll->events[i].events;
        uint32_t ready = PLX__FD_READY(PLX__LINE_POLL);
        if ((bits & ~(uint32_t)EPOLLOUT) != 0)
            ready |= PLX__FD_READY(PLX__LINE_READ);
        if ((bits & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0)
            ready |= PLX__FD_READY(PLX__LINE_WRITE);
        if (epoll->events[i].data.fd != NO_DESCRIPTOR)
            mark_ready(epoll, epoll->events[i].data.fd, ready);
        else
            epoll->woken = true;
    }
}

static void take_edges(struct plx__epoll *epoll)
{
    epoll->io.kernel_entries++;
    note_edges(epoll, epoll_wait(epoll->fd, epoll->events, PLX__BATCH_MAX, 0));
}

static uint32_t epoll_collect(struct plx__io *io, struct plx__completion *out, uint32_t max)
{
    struct plx__epoll *epoll = of(io);
    struct batch batch = {.out = out, .max = max};
    /* Before the workers are looked at: an edge that comes later may tell of what this look missed.
     */
    epoll->woken = false;
    run_closes(epoll, &batch);
    batch.count += plx__workers_collect(epoll->workers, out + batch.count, max - batch.count);

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

/*
 * An edge is told once. Those that turns without waiting ops have left in the kernel are taken
 * here; of a worker or a bringer there may be one that no turn has acted upon.
 */
static bool epoll_prepare_wait(struct plx__io *io)
{
    struct plx__epoll *epoll = of(io);
    take_edges(epoll);
    return !epoll->woken && io->ended_first == NULL && epoll->closes_first == NULL &&
           epoll->ready_count == 0;
}

/* `left` NULL: without end. What epoll_wait answers. */
static int wait_for_edges(struct plx__epoll *epoll, const struct timespec *left)
{
    epoll->io.kernel_entries++;
    if (!epoll->waits_by_poll)
        return epoll_pwait2(epoll->fd, epoll->events, PLX__BATCH_MAX, left, NULL);
    struct pollfd edges = {.fd = epoll->fd, .events = POLLIN};
    if (ppoll(&edges, 1, left, NULL) <= 0)
        return 0;
    epoll->io.kernel_entries++;
    return epoll_wait(epoll->fd, epoll->events, PLX__BATCH_MAX, 0);
}

static void epoll_wait_until(struct plx__io *io, uint64_t until_ns)
{
    struct plx__epoll *epoll = of(io);
    if (!epoll_prepare_wait(io))
        return;
    uint64_t now = until_ns != UINT64_MAX ? io->ops->clock_ns(io) : 0;
    if (until_ns <= now)
        return;
    struct timespec left = {.tv_sec = (time_t)((until_ns - now) / 1000000000u),
                            .tv_nsec = (long)((until_ns - now) % 1000000000u)};
    note_edges(epoll, wait_for_edges(epoll, until_ns != UINT64_MAX ? &left : NULL));
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
    struct plx__epoll *epoll = of(io);
    plx__workers_close(epoll->workers);
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
    .wait = epoll_wait_until,
    .prepare_wait = epoll_prepare_wait,
    .group_open = epoll_group_open,
    .group_release = epoll_group_release,
    .recv_now = plx__kernel_recv_now,
    .send_now = plx__kernel_send_now,
    .clock_ns = plx__kernel_clock_ns,
    .close = epoll_close,
};

/* Edges of an eventfd are for a wait that sleeps; a turn looks at what they tell of anyway. */
PLX_COLD static int watch_eventfd(struct plx__epoll *epoll, int fd, struct plx_diag *diag)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.fd = NO_DESCRIPTOR};
    if (epoll_ctl(epoll->fd, EPOLL_CTL_ADD, fd, &event) == 0)
        return 0;
    int error = errno;
    return plx_diag_set(diag, -error, "epoll", "watching what wakes: %s", strerror(error));
}

/*
 * Some containers' filters do not know epoll_pwait2, whose waits end to the ns, and refuse it. A
 * sleep that comes back at once would be a spin, so that it is tried before the first one.
 */
PLX_COLD static void choose_wait(struct plx__epoll *epoll, bool sleeps)
{
    const struct timespec none = {0};
    if (epoll_pwait2(epoll->fd, epoll->events, 1, &none, NULL) >= 0)
        return;
    epoll->waits_by_poll = true;
    if (sleeps)
        plx__io_note(&epoll->io, "epoll_pwait2 refused (%s): sleeping by ppoll", strerror(errno));
}

PLX_COLD int plx__epoll_open(const struct plx__io_config *config, struct plx__io **out,
                             struct plx_diag *diag)
{
    *out = NULL;
    struct plx__epoll *epoll = calloc(1, sizeof(*epoll));
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
    choose_wait(epoll, config->wake != NULL);
    rc = plx__workers_open(&epoll->io, config, &epoll->workers, diag);
    if (rc != 0)
        goto close_fd;
    rc = watch_eventfd(epoll, plx__workers_fd(epoll->workers), diag);
    if (rc == 0 && config->wake != NULL)
        rc = watch_eventfd(epoll, config->wake->fd, diag);
    if (rc != 0)
        goto close_workers;
    epoll->io.mode = "epoll";
    epoll->io.wait_fd = epoll->fd;
    *out = &epoll->io;
    return 0;

close_workers:
    plx__workers_close(epoll->workers);
close_fd:
    (void)close(epoll->fd);
free_descriptors:
    free(epoll->descriptors);
fini_io:
    plx__io_fini(&epoll->io);
free_epoll:
    free(epoll);
    return rc;
}
