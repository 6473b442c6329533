/* SPDX-License-Identifier: MIT */
/*
 * Ops on sockets, and the plain non-blocking calls beside them.
 *
 * Threads: the one that polls the reactor.
 */
#ifndef POLLUX_OP_SOCKET_H
#define POLLUX_OP_SOCKET_H

#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "runtime/io/op.h"

PLX_EXTERN_C_BEGIN

/* --- streams ---------------------------------------------------------------------------------- */

/*
 * Receives up to `len` bytes from a socket into `buf`. `arg` takes MSG_ bits.
 * Result 0: the peer has ended its side. Ownership: `buf` is the kernel's until the terminal event.
 * Cancel: may still deliver data that had arrived. Errors in the event: of recv(2).
 */
static inline void plx_op_recv(struct plx_op *op, int fd, void *buf, uint32_t len, uint32_t arg,
                               plx_op_fn fn, void *ctx)
{
    plx__op_prepare(op, PLX_OP_RECV, fd, fn, ctx);
    op->mem.buf = buf;
    op->len = len;
    op->arg = arg;
}

/*
 * Receives into a buffer that the backend takes from `group` when data is there, again and again
 * (PLX_MULTISHOT is set; the op may end at any event, so re-arm when PLX_EV_MORE is missing). Each
 * event with result > 0 carries PLX_EV_BUFFER: give the buffer back by plx_group_release. Result
 * 0: the peer has ended its side. -ENOBUFS: the group is empty; the data waits in the socket;
 * submit again after a buffer came home (plx_group_left). Cancel: events that had come are still
 * delivered, with their buffers. Source: io_uring_prep_recv_multishot(3).
 */
static inline void plx_op_recv_group(struct plx_op *op, int fd, uint16_t group, plx_op_fn fn,
                                     void *ctx)
{
    plx__op_prepare(op, PLX_OP_RECV_GROUP, fd, fn, ctx);
    op->index = group;
    op->flags = PLX_MULTISHOT;
}

/*
 * Sends up to `len` bytes on a socket. `arg` takes MSG_ bits; MSG_NOSIGNAL is always added.
 * `flags`: PLX_QUEUED or PLX_INLINE. Shapes: a result below `len` is possible. At most one send of
 * a stream may be in flight: two may be reordered by the kernel. Ownership: `data` is borrowed
 * until the terminal event. Cancel: with -ECANCELED nothing was sent. Errors in the event: of
 * send(2).
 */
static inline void plx_op_send(struct plx_op *op, int fd, const void *data, uint32_t len,
                               uint32_t arg, uint16_t flags, plx_op_fn fn, void *ctx)
{
    plx__op_prepare(op, PLX_OP_SEND, fd, fn, ctx);
    op->mem.data = data;
    op->len = len;
    op->arg = arg;
    op->flags = flags;
}

/*
 * Accepts connections from a listening socket; `arg` takes SOCK_CLOEXEC and SOCK_NONBLOCK, `flags`
 * takes PLX_MULTISHOT (may end at any event). Result: a descriptor, the caller's. After a cancel,
 * connections that had been accepted are still delivered: take or close them. Errors in the event:
 * of accept(2); with -EMFILE, -ENFILE, -ENOBUFS, -ENOMEM the connection waits in the queue: submit
 * again later.
 */
static inline void plx_op_accept(struct plx_op *op, int fd, uint32_t arg, uint16_t flags,
                                 plx_op_fn fn, void *ctx)
{
    plx__op_prepare(op, PLX_OP_ACCEPT, fd, fn, ctx);
    op->arg = arg;
    op->flags = flags;
}

/*
 * Connects a socket to `addr` of `addr_bytes` bytes. Result 0. Ownership: `addr` is borrowed until
 * the terminal event. Cancel: after -ECANCELED the socket is of no more use but to be closed.
 * Errors in the event: of connect(2). Source: io_uring_prep_connect(3).
 */
static inline void plx_op_connect(struct plx_op *op, int fd, const struct sockaddr *addr,
                                  uint16_t addr_bytes, plx_op_fn fn, void *ctx)
{
    plx__op_prepare(op, PLX_OP_CONNECT, fd, fn, ctx);
    op->mem.addr = addr;
    op->index = addr_bytes;
}

/*
 * Ends one or both directions of a connection: `how` is SHUT_RD, SHUT_WR or SHUT_RDWR. What was
 * sent before still goes out. Cancel: changes nothing. Errors in the event: of shutdown(2).
 * Source: io_uring_prep_shutdown(3).
 */
static inline void plx_op_shutdown(struct plx_op *op, int fd, int how, plx_op_fn fn, void *ctx)
{
    plx__op_prepare(op, PLX_OP_SHUTDOWN, fd, fn, ctx);
    op->arg = (uint32_t)how;
}

/*
 * As plx_op_send, the kernel sending from the caller's memory without a copy where it and the
 * device can (PLX_CAP_SEND_ZC). Shapes: two events when the kernel keeps the memory, the result
 * with PLX_EV_MORE and then a terminal one with result 0 and PLX_EV_RELEASED; or a single terminal
 * one with both, when it has copied or failed. Ownership: `data` is the kernel's until the terminal
 * event, which may take as long as the peer takes to acknowledge. Cancel: ends the sending, not the
 * keeping. Cost: worth it from about 4 KiB on a real device; on loopback the kernel copies anyway.
 * Not with PLX_INLINE. Source: io_uring_prep_send_zc(3).
 */
static inline void plx_op_send_zc(struct plx_op *op, int fd, const void *data, uint32_t len,
                                  uint32_t arg, plx_op_fn fn, void *ctx)
{
    plx_op_send(op, fd, data, len, arg, PLX_ZERO_COPY, fn, ctx);
}

/* --- messages: datagrams, vectors, ancillary data -----------------------------------------------
 */

/*
 * Receives a message as recvmsg(2): the address, the ancillary data and the flags of what came are
 * written to `msg`, the bytes to its vector; the result is their number. `arg` takes MSG_ bits.
 * Ownership: `msg` and all that it names are the kernel's until the terminal event. Cancel: as
 * plx_op_recv. Errors in the event: of recvmsg(2). Source: io_uring_prep_recvmsg(3).
 */
static inline void plx_op_recvmsg(struct plx_op *op, int fd, struct msghdr *msg, uint32_t arg,
                                  plx_op_fn fn, void *ctx)
{
    plx__op_prepare(op, PLX_OP_RECVMSG, fd, fn, ctx);
    op->mem.msg = msg;
    op->arg = arg;
}

/*
 * Sends a message as sendmsg(2). `arg` takes MSG_ bits; MSG_NOSIGNAL is always added. `flags`:
 * PLX_QUEUED, or PLX_ZERO_COPY with the events of plx_op_send_zc (PLX_CAP_SENDMSG_ZC). Shapes: on a
 * stream a result below the sum of the parts is possible. Ownership: `msg` and all that it names
 * are borrowed until the terminal event. Cancel: with -ECANCELED nothing was sent. Errors in the
 * event: of sendmsg(2). Source: io_uring_prep_sendmsg(3).
 */
static inline void plx_op_sendmsg(struct plx_op *op, int fd, struct msghdr *msg, uint32_t arg,
                                  uint16_t flags, plx_op_fn fn, void *ctx)
{
    plx__op_prepare(op, PLX_OP_SENDMSG, fd, fn, ctx);
    op->mem.msg = msg;
    op->arg = arg;
    op->flags = flags;
}

/*
 * Receives messages again and again, each into a buffer that the backend takes from `group`
 * (PLX_MULTISHOT is set; it may end at any event). Of `msg` only msg_namelen and msg_controllen are
 * read, the room that each buffer keeps for the address and for ancillary data; it has no vector
 * (msg_iovlen is 0). An event with result > 0 carries PLX_EV_BUFFER, also that of an empty message;
 * plx_datagram_read takes it apart. What does not fit is cut, as MSG_TRUNC and MSG_CTRUNC tell.
 * -ENOBUFS: as plx_op_recv_group. Shapes: for sockets that keep messages apart; `arg` is
 * MSG_TRUNC, with which TCP would drop what it counts. Ownership: `msg` is borrowed until the
 * terminal event. Cancel: as plx_op_recv_group. Errors at submit: -EINVAL a vector, room for an
 * address beyond sizeof(struct sockaddr_storage), or rooms that leave no byte of a buffer.
 * Source: io_uring_prep_recvmsg_multishot(3).
 */
static inline void plx_op_recvmsg_group(struct plx_op *op, int fd, struct msghdr *msg,
                                        uint16_t group, plx_op_fn fn, void *ctx)
{
    plx__op_prepare(op, PLX_OP_RECVMSG_GROUP, fd, fn, ctx);
    op->mem.msg = msg;
    op->arg = MSG_TRUNC;
    op->index = group;
    op->flags = PLX_MULTISHOT;
}

/* The first bytes of a buffer of plx_op_recvmsg_group; then the room for the address, that for
 * ancillary data, and the bytes. The layout is the kernel's (struct io_uring_recvmsg_out). */
struct plx_datagram_head {
    uint32_t addr_bytes; /* as the sender's address has; cut to the room */
    uint32_t control_bytes;
    uint32_t bytes; /* of the message before it was cut */
    uint32_t flags; /* MSG_ */
};

/* One message in its buffer: pointers into it, valid while it is lent. */
struct plx_datagram {
    const struct sockaddr *addr; /* NULL: none */
    const void *control;
    const void *data;
    uint32_t addr_bytes;
    uint32_t control_bytes;
    uint32_t bytes; /* there; of one that was cut less than it had */
    uint32_t flags; /* MSG_TRUNC, MSG_CTRUNC */
};

/*
 * Takes an event of plx_op_recvmsg_group apart. `msg` is the op's. Returns 0, or -EINVAL when the
 * event carries no buffer or too few bytes for the rooms. Cost: hot.
 */
static inline int plx_datagram_read(const struct plx_event *event, const struct msghdr *msg,
                                    struct plx_datagram *out)
{
    const char *at = (const char *)event->data;
    size_t rooms = sizeof(struct plx_datagram_head) + msg->msg_namelen + msg->msg_controllen;
    if ((event->flags & PLX_EV_BUFFER) == 0 || (size_t)event->result < rooms)
        return -22; /* EINVAL */
    const struct plx_datagram_head *head = (const struct plx_datagram_head *)event->data;
    at += sizeof(*head);
    uint32_t there = (uint32_t)((size_t)event->result - rooms);
    out->addr_bytes = head->addr_bytes < msg->msg_namelen ? head->addr_bytes : msg->msg_namelen;
    out->addr =
        out->addr_bytes != 0 ? (const struct sockaddr *)(const void *)at : (struct sockaddr *)0;
    at += msg->msg_namelen;
    out->control_bytes = head->control_bytes < msg->msg_controllen ? head->control_bytes
                                                                   : (uint32_t)msg->msg_controllen;
    out->control = at;
    out->data = at + msg->msg_controllen;
    out->bytes = head->bytes < there ? head->bytes : there;
    out->flags = head->flags;
    return 0;
}

/* A message op with what it points to: up to PLX_OP_MSG_PARTS parts and an address. */
#define PLX_OP_MSG_PARTS 4u

struct plx_op_msg {
    struct plx_op op;
    struct msghdr msg;
    struct iovec parts[PLX_OP_MSG_PARTS];
    struct sockaddr_storage addr;
};

/* Empty: no parts, no address. Then plx_op_msg_add and plx_op_sendmsg or _recvmsg with &m->msg. */
static inline void plx_op_msg_init(struct plx_op_msg *m)
{
    memset(&m->msg, 0, sizeof(m->msg));
    m->msg.msg_iov = m->parts;
}

/* One more part of `len` bytes; not more than PLX_OP_MSG_PARTS. */
static inline void plx_op_msg_add(struct plx_op_msg *m, const void *data, size_t len)
{
    PLX_ASSERT(m->msg.msg_iovlen < PLX_OP_MSG_PARTS);
    struct iovec *part = &m->parts[m->msg.msg_iovlen++];
    part->iov_base = (void *)(uintptr_t)data;
    part->iov_len = len;
}

/* To send: the receiver's address, copied. To receive: NULL and 0, room for the sender's. */
static inline void plx_op_msg_addr(struct plx_op_msg *m, const struct sockaddr *addr,
                                   socklen_t bytes)
{
    PLX_ASSERT(bytes <= sizeof(m->addr));
    if (addr != NULL)
        memcpy(&m->addr, addr, bytes);
    m->msg.msg_name = &m->addr;
    m->msg.msg_namelen = addr != NULL ? bytes : (socklen_t)sizeof(m->addr);
}

/* --- now: one plain non-blocking call on this core -------------------------------------------- */

/*
 * recv(2) with MSG_DONTWAIT. Returns bytes, 0 at the peer's end, -EAGAIN nothing there, or another
 * negative errno. Cost: one system call, about 250 ns when nothing is there. Only while no receive
 * op of the socket is in flight.
 */
PLX_API PLX_MUST_CHECK int64_t plx_recv_now(struct plx_reactor *reactor, int fd, void *buf,
                                            size_t len);

/*
 * send(2) with MSG_DONTWAIT | MSG_NOSIGNAL. Returns bytes taken (maybe fewer), -EAGAIN, or another
 * negative errno. Cost: one system call. Only while no send op of the socket is in flight: it
 * would overtake it.
 */
PLX_API PLX_MUST_CHECK int64_t plx_send_now(struct plx_reactor *reactor, int fd, const void *data,
                                            size_t len);

PLX_EXTERN_C_END

#endif
