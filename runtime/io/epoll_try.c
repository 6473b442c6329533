/* SPDX-License-Identifier: MIT */
/* The attempts of the epoll backend: plain calls by libc's symbols that do not block. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "runtime/io/epoll_internal.h"

static inline int32_t outcome(ssize_t rc)
{
    if (rc >= 0)
        return (int32_t)rc;
    return errno == EAGAIN ? PLX__WOULD_WAIT : -errno;
}

/* What of `bits`, errors and hangups shows now; 0 nothing; or negative errno. */
static int32_t shown(int fd, uint32_t bits)
{
    struct pollfd look = {.fd = fd, .events = (short)bits};
    if (poll(&look, 1, 0) < 0)
        return -errno;
    return (look.revents & POLLNVAL) != 0 ? -EBADF : look.revents;
}

static int make_nonblocking(struct plx__descriptor *d, int fd)
{
    if ((d->marks & PLX__FD_NONBLOCK) != 0)
        return 0;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || ((flags & O_NONBLOCK) == 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0))
        return -errno;
    d->marks |= PLX__FD_NONBLOCK;
    return 0;
}

/* --- reading and writing ---------------------------------------------------------------------- */

/* The memory that a transfer is about; `own` is room for that of an op without a vector. */
struct parts {
    struct iovec own;
    const struct iovec *first;
    int count;
};

static void find_parts(const struct plx_op *op, struct parts *parts)
{
    bool vectored = op->code == PLX_OP_READV || op->code == PLX_OP_WRITEV;
    parts->own = (struct iovec){.iov_base = op->mem.buf, .iov_len = op->len};
    parts->first = vectored ? op->mem.iov : &parts->own;
    parts->count = vectored ? (int)op->len : 1;
}

static inline bool is_write(const struct plx_op *op)
{
    return op->code == PLX_OP_WRITE || op->code == PLX_OP_WRITEV;
}

static ssize_t transfer_at(const struct plx_op *op, const struct parts *parts, off_t offset,
                           int flags)
{
    if (is_write(op))
        return pwritev2(op->fd, parts->first, parts->count, offset, flags);
    return preadv2(op->fd, parts->first, parts->count, offset, flags);
}

/* An offset means nothing to a pipe, and is no error, as with io_uring. */
static ssize_t transfer(const struct plx_op *op, const struct parts *parts, int flags)
{
    ssize_t rc = transfer_at(op, parts, (off_t)op->aux.offset, flags);
    if (rc < 0 && errno == ESPIPE)
        rc = transfer_at(op, parts, -1, flags);
    return rc;
}

/* No more than a pipe that shows POLLOUT takes without blocking: of a longer vector the first part
 * that is not empty. */
static void cut_to_pipe(struct parts *parts)
{
    size_t sum = 0;
    int at = 0;
    while (at < parts->count && sum <= PIPE_BUF)
        sum += parts->first[at++].iov_len;
    if (sum <= PIPE_BUF)
        return;
    for (at = 0; parts->first[at].iov_len == 0;)
        at++;
    parts->own = parts->first[at];
    if (parts->own.iov_len > PIPE_BUF)
        parts->own.iov_len = PIPE_BUF;
    parts->first = &parts->own;
    parts->count = 1;
}

/*
 * The descriptor blocks, and is left so: its open file may be shared with other processes. Where
 * RWF_NOWAIT is not known (named pipes; all pipes before Linux 6.4; writes to an eventfd) we look
 * first.
 */
static int32_t transfer_parts(struct plx__epoll *epoll, const struct plx_op *op,
                              struct parts *parts)
{
    struct plx__descriptor *d = &epoll->descriptors[op->fd];
    if ((d->marks & PLX__FD_NO_NOWAIT) == 0) {
        ssize_t rc = transfer(op, parts, RWF_NOWAIT);
        if (rc >= 0 || errno != EOPNOTSUPP)
            return outcome(rc);
        d->marks |= PLX__FD_NO_NOWAIT;
    }

    /* The kernel would say so before it waits. */
    if ((uint32_t)parts->count > PLX_IOV_MAX)
        return -EINVAL;
    int32_t bits = shown(op->fd, is_write(op) ? POLLOUT : POLLIN);
    if (bits <= 0)
        return bits == 0 ? PLX__WOULD_WAIT : bits;
    if (is_write(op))
        cut_to_pipe(parts);
    return outcome(transfer(op, parts, 0));
}

static int32_t try_transfer(struct plx__epoll *epoll, const struct plx_op *op,
                            struct plx_event *event)
{
    (void)event;
    struct parts parts;
    find_parts(op, &parts);
    return transfer_parts(epoll, op, &parts);
}

/* --- buffers of groups ------------------------------------------------------------------------ */

/* The buffer that the next receive gets; the group is not empty. */
static void *next_buffer(const struct plx__group *group)
{
    return group->blocks[group->free_ids[group->free_count - 1]];
}

/* It was filled: it goes with the event. */
static void lend_next(struct plx__group *group, struct plx_event *event)
{
    uint16_t id = group->free_ids[--group->free_count];
    event->data = plx__group_lend(group, id);
    event->buffer_id = id;
    event->flags = PLX_EV_BUFFER;
}

static struct plx__group *group_of(struct plx__epoll *epoll, const struct plx_op *op)
{
    struct plx__group *group = &epoll->io.groups[op->index];
    PLX_ASSERT_HOT(op->index < PLX_GROUPS_MAX && group->count != 0);
    return group;
}

static int32_t try_read_group(struct plx__epoll *epoll, const struct plx_op *op,
                              struct plx_event *event)
{
    struct plx__group *group = group_of(epoll, op);
    if (PLX_UNLIKELY(group->free_count == 0)) {
        int32_t bits = shown(op->fd, POLLIN);
        return bits == 0 ? PLX__WOULD_WAIT : bits < 0 ? bits : -ENOBUFS;
    }
    struct parts parts = {.first = &parts.own, .count = 1};
    parts.own.iov_base = next_buffer(group);
    parts.own.iov_len = op->len;
    int32_t result = transfer_parts(epoll, op, &parts);
    if (result > 0)
        lend_next(group, event);
    return result;
}

static int32_t try_recv(struct plx__epoll *epoll, const struct plx_op *op, struct plx_event *event)
{
    (void)epoll;
    (void)event;
    return outcome(recv(op->fd, op->mem.buf, op->len, (int)op->arg | MSG_DONTWAIT));
}

static int32_t try_send(struct plx__epoll *epoll, const struct plx_op *op, struct plx_event *event)
{
    (void)epoll;
    (void)event;
    int flags = (int)op->arg | MSG_DONTWAIT | MSG_NOSIGNAL;
    return outcome(send(op->fd, op->mem.data, op->len, flags));
}

/* No buffer is free: that ends the op only when there is something to put into one. */
static int32_t try_without_buffer(const struct plx_op *op)
{
    char byte;
    int32_t result = outcome(recv(op->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT));
    bool apart = op->code == PLX_OP_RECVMSG_GROUP;
    return result > 0 || (result == 0 && apart) ? -ENOBUFS : result;
}

static int32_t try_recv_group(struct plx__epoll *epoll, const struct plx_op *op,
                              struct plx_event *event)
{
    struct plx__group *group = group_of(epoll, op);
    if (PLX_UNLIKELY(group->free_count == 0))
        return try_without_buffer(op);
    int flags = (int)op->arg | MSG_DONTWAIT;
    int32_t result = outcome(recv(op->fd, next_buffer(group), group->bytes, flags));
    if (result > 0)
        lend_next(group, event);
    return result;
}

/* --- messages --------------------------------------------------------------------------------- */

static int32_t try_recvmsg(struct plx__epoll *epoll, const struct plx_op *op,
                           struct plx_event *event)
{
    (void)epoll;
    (void)event;
    return outcome(recvmsg(op->fd, op->mem.msg, (int)op->arg | MSG_DONTWAIT));
}

static int32_t try_sendmsg(struct plx__epoll *epoll, const struct plx_op *op,
                           struct plx_event *event)
{
    (void)epoll;
    (void)event;
    return outcome(sendmsg(op->fd, op->mem.msg, (int)op->arg | MSG_DONTWAIT | MSG_NOSIGNAL));
}

/* The layout is io_uring's, whose multishot receive this stands for. */
static int32_t try_recvmsg_group(struct plx__epoll *epoll, const struct plx_op *op,
                                 struct plx_event *event)
{
    struct plx__group *group = group_of(epoll, op);
    const struct msghdr *asked = op->mem.msg;
    size_t rooms = plx__message_rooms(op->mem.msg);
    if (PLX_UNLIKELY(group->free_count == 0))
        return try_without_buffer(op);

    char *buf = next_buffer(group);
    char *addr = buf + sizeof(struct plx_datagram_head);
    struct iovec rest = {.iov_base = buf + rooms, .iov_len = group->bytes - rooms};
    struct msghdr msg = {
        .msg_name = asked->msg_namelen != 0 ? addr : NULL,
        .msg_namelen = asked->msg_namelen,
        .msg_iov = &rest,
        .msg_iovlen = 1,
        .msg_control = asked->msg_controllen != 0 ? addr + asked->msg_namelen : NULL,
        .msg_controllen = asked->msg_controllen,
    };
    int flags = (int)op->arg | MSG_DONTWAIT;
    ssize_t got = recvmsg(op->fd, &msg, flags);
    if (got < 0)
        return outcome(got);
    struct plx_datagram_head head = {
        .addr_bytes = msg.msg_namelen,
        .control_bytes = (uint32_t)msg.msg_controllen,
        .bytes = (uint32_t)got,
        .flags = (uint32_t)msg.msg_flags,
    };
    memcpy(buf, &head, sizeof(head));
    lend_next(group, event);
    size_t there = (size_t)got < rest.iov_len ? (size_t)got : rest.iov_len;
    return (int32_t)(rooms + there);
}

/* --- connections ------------------------------------------------------------------------------ */

static int32_t try_accept(struct plx__epoll *epoll, const struct plx_op *op,
                          struct plx_event *event)
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
static int32_t try_connect(struct plx__epoll *epoll, const struct plx_op *op,
                           struct plx_event *event)
{
    (void)event;
    struct plx__descriptor *d = &epoll->descriptors[op->fd];
    int rc = make_nonblocking(d, op->fd);
    if (rc != 0)
        return rc;
    bool again = (d->marks & PLX__FD_CONNECTING) != 0;
    int error = connect(op->fd, op->mem.addr, op->index) == 0 ? 0 : errno;
    if (error == EINPROGRESS || (again && error == EALREADY)) {
        d->marks |= PLX__FD_CONNECTING;
        return PLX__WOULD_WAIT;
    }
    d->marks &= ~PLX__FD_CONNECTING;
    /* EAGAIN is a UNIX socket's full backlog: an end, since no edge tells when there is room. */
    return again && error == EISCONN ? 0 : -error;
}

static int32_t try_poll(struct plx__epoll *epoll, const struct plx_op *op, struct plx_event *event)
{
    (void)epoll;
    (void)event;
    int32_t bits = shown(op->fd, op->arg);
    return bits == 0 ? PLX__WOULD_WAIT : bits;
}

const plx__attempt_fn plx__attempts[PLX_OP_CODE_COUNT] = {
    [PLX_OP_READ] = try_transfer,
    [PLX_OP_WRITE] = try_transfer,
    [PLX_OP_READV] = try_transfer,
    [PLX_OP_WRITEV] = try_transfer,
    [PLX_OP_READ_GROUP] = try_read_group,
    [PLX_OP_RECV] = try_recv,
    [PLX_OP_RECV_GROUP] = try_recv_group,
    [PLX_OP_RECVMSG] = try_recvmsg,
    [PLX_OP_RECVMSG_GROUP] = try_recvmsg_group,
    [PLX_OP_SEND] = try_send,
    [PLX_OP_SENDMSG] = try_sendmsg,
    [PLX_OP_ACCEPT] = try_accept,
    [PLX_OP_CONNECT] = try_connect,
    [PLX_OP_POLL] = try_poll,
};
