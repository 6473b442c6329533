/* SPDX-License-Identifier: MIT */
/*
 * Operations in straight lines: a task submits one and goes on when it has ended.
 *
 * Each wrapper is its preparing function (runtime/io/op*.h, which says what the result is) and
 * plx_await. The op lies on the task's stack meanwhile, and buffers may lie there too: what they
 * point to is borrowed until the wrapper returns. What a close answers, nobody need look at.
 *
 * Threads: the one that polls the reactor, in tasks.
 */
#ifndef POLLUX_AWAIT_H
#define POLLUX_AWAIT_H

#include "runtime/io/op_file.h"
#include "runtime/io/op_socket.h"
#include "runtime/sched/task.h"

PLX_EXTERN_C_BEGIN

/*
 * Submits `op`, prepared with any function and context, to the running task's reactor, waits for
 * its terminal event and returns its result: >= 0, or a negative errno. Where the ring is full it
 * yields and tries again.
 * Shapes: not for multishot ops, which give more than one result. Of a zero-copy send the result is
 * that of the sending, given when the memory is the caller's again.
 * Cancelling the task cancels the op: its result tells what it came to. A close is neither refused
 * nor cancelled, so that a cancelled task can clean up without a shield.
 * Cost: hot; of the op, and two switches. Errors, beside the op's own: -ECANCELED the wait was
 * refused and nothing submitted, or the op was cancelled; -EDEADLK outside of a task; -EINVAL a
 * multishot op; what plx_op_submit says but -EAGAIN.
 */
PLX_API PLX_MUST_CHECK int64_t plx_await(struct plx_op *op);

/* The same, and -ETIMEDOUT when `at_ns` of the reactor's clock passed and the op was cancelled for
 * that: it may have come to a result all the same, which is then returned. */
PLX_API PLX_MUST_CHECK int64_t plx_await_until(struct plx_op *op, uint64_t at_ns);

/*
 * The same as plx_await, and copies the event with the result to *out: for plx_op_read_group, whose
 * event lends a buffer. On a negative result that no event told, *out holds that result alone.
 */
PLX_API PLX_MUST_CHECK int64_t plx_await_event(struct plx_op *op, struct plx_event *out);

static inline int64_t plx_await_nop(void)
{
    struct plx_op op;
    plx_op_nop(&op, (plx_op_fn)0, (void *)0);
    return plx_await(&op);
}

PLX_MUST_CHECK static inline int64_t plx_await_poll(int fd, uint32_t bits)
{
    struct plx_op op;
    plx_op_poll(&op, fd, bits, (plx_op_fn)0, (void *)0);
    return plx_await(&op);
}

static inline int64_t plx_await_close(int fd)
{
    struct plx_op op;
    plx_op_close(&op, fd, (plx_op_fn)0, (void *)0);
    return plx_await(&op);
}

/* --- files ------------------------------------------------------------------------------------ */

PLX_MUST_CHECK static inline int64_t plx_await_read(int fd, void *buf, uint32_t len,
                                                    uint64_t offset)
{
    struct plx_op op;
    plx_op_read(&op, fd, buf, len, offset, (plx_op_fn)0, (void *)0);
    return plx_await(&op);
}

PLX_MUST_CHECK static inline int64_t plx_await_write(int fd, const void *data, uint32_t len,
                                                     uint64_t offset)
{
    struct plx_op op;
    plx_op_write(&op, fd, data, len, offset, (plx_op_fn)0, (void *)0);
    return plx_await(&op);
}

PLX_MUST_CHECK static inline int64_t plx_await_read_fixed(int fd, void *buf, uint32_t len,
                                                          uint64_t offset)
{
    struct plx_op op;
    plx_op_read_fixed(&op, fd, buf, len, offset, (plx_op_fn)0, (void *)0);
    return plx_await(&op);
}

PLX_MUST_CHECK static inline int64_t plx_await_write_fixed(int fd, const void *data, uint32_t len,
                                                           uint64_t offset)
{
    struct plx_op op;
    plx_op_write_fixed(&op, fd, data, len, offset, (plx_op_fn)0, (void *)0);
    return plx_await(&op);
}

PLX_MUST_CHECK static inline int64_t plx_await_readv(int fd, const struct iovec *iov,
                                                     uint32_t count, uint64_t offset)
{
    struct plx_op op;
    plx_op_readv(&op, fd, iov, count, offset, (plx_op_fn)0, (void *)0);
    return plx_await(&op);
}

PLX_MUST_CHECK static inline int64_t plx_await_writev(int fd, const struct iovec *iov,
                                                      uint32_t count, uint64_t offset)
{
    struct plx_op op;
    plx_op_writev(&op, fd, iov, count, offset, (plx_op_fn)0, (void *)0);
    return plx_await(&op);
}

/* `out` tells which buffer was lent. */
PLX_MUST_CHECK static inline int64_t plx_await_read_group(int fd, uint16_t group, uint32_t len,
                                                          uint64_t offset, struct plx_event *out)
{
    struct plx_op op;
    plx_op_read_group(&op, fd, group, len, offset, (plx_op_fn)0, (void *)0);
    return plx_await_event(&op, out);
}

PLX_MUST_CHECK static inline int64_t plx_await_fsync(int fd, uint32_t arg)
{
    struct plx_op op;
    plx_op_fsync(&op, fd, arg, (plx_op_fn)0, (void *)0);
    return plx_await(&op);
}

PLX_MUST_CHECK static inline int64_t plx_await_fallocate(int fd, uint32_t mode, uint64_t offset,
                                                         uint64_t bytes)
{
    struct plx_op op;
    plx_op_fallocate(&op, fd, mode, offset, bytes, (plx_op_fn)0, (void *)0);
    return plx_await(&op);
}

/* A task that is cancelled here may get the descriptor all the same, and then closes it. */
PLX_MUST_CHECK static inline int64_t plx_await_openat(int dir, const char *path, uint32_t flags,
                                                      uint32_t mode)
{
    struct plx_op op;
    plx_op_openat(&op, dir, path, flags, mode, (plx_op_fn)0, (void *)0);
    return plx_await(&op);
}

PLX_MUST_CHECK static inline int64_t plx_await_statx(int dir, const char *path, uint32_t flags,
                                                     uint32_t mask, struct statx *out)
{
    struct plx_op op;
    plx_op_statx(&op, dir, path, flags, mask, out, (plx_op_fn)0, (void *)0);
    return plx_await(&op);
}

/* --- sockets ---------------------------------------------------------------------------------- */

PLX_MUST_CHECK static inline int64_t plx_await_recv(int fd, void *buf, uint32_t len, uint32_t arg)
{
    struct plx_op op;
    plx_op_recv(&op, fd, buf, len, arg, (plx_op_fn)0, (void *)0);
    return plx_await(&op);
}

/* A single one: see plx_await_send_all for all of it. */
PLX_MUST_CHECK static inline int64_t plx_await_send(int fd, const void *data, uint32_t len,
                                                    uint32_t arg, uint16_t flags)
{
    struct plx_op op;
    plx_op_send(&op, fd, data, len, arg, flags, (plx_op_fn)0, (void *)0);
    return plx_await(&op);
}

/*
 * Sends until all of `len` is taken. Returns `len`, or the error of the send that failed: how much
 * of it had gone out before is then unknown to the peer too, and the stream of no more use.
 */
PLX_MUST_CHECK static inline int64_t plx_await_send_all(int fd, const void *data, uint32_t len,
                                                        uint32_t arg, uint16_t flags)
{
    uint32_t sent = 0;
    while (sent < len) {
        int64_t rc = plx_await_send(fd, (const char *)data + sent, len - sent, arg, flags);
        if (rc < 0)
            return rc;
        sent += (uint32_t)rc;
    }
    return len;
}

PLX_MUST_CHECK static inline int64_t plx_await_send_zc(int fd, const void *data, uint32_t len,
                                                       uint32_t arg)
{
    struct plx_op op;
    plx_op_send_zc(&op, fd, data, len, arg, (plx_op_fn)0, (void *)0);
    return plx_await(&op);
}

PLX_MUST_CHECK static inline int64_t plx_await_recvmsg(int fd, struct msghdr *msg, uint32_t arg)
{
    struct plx_op op;
    plx_op_recvmsg(&op, fd, msg, arg, (plx_op_fn)0, (void *)0);
    return plx_await(&op);
}

PLX_MUST_CHECK static inline int64_t plx_await_sendmsg(int fd, struct msghdr *msg, uint32_t arg,
                                                       uint16_t flags)
{
    struct plx_op op;
    plx_op_sendmsg(&op, fd, msg, arg, flags, (plx_op_fn)0, (void *)0);
    return plx_await(&op);
}

/* Result: a descriptor, the caller's, also of a task that is cancelled here. */
PLX_MUST_CHECK static inline int64_t plx_await_accept(int fd, uint32_t arg)
{
    struct plx_op op;
    plx_op_accept(&op, fd, arg, 0, (plx_op_fn)0, (void *)0);
    return plx_await(&op);
}

PLX_MUST_CHECK static inline int64_t plx_await_connect(int fd, const struct sockaddr *addr,
                                                       uint16_t addr_bytes)
{
    struct plx_op op;
    plx_op_connect(&op, fd, addr, addr_bytes, (plx_op_fn)0, (void *)0);
    return plx_await(&op);
}

PLX_MUST_CHECK static inline int64_t plx_await_shutdown(int fd, int how)
{
    struct plx_op op;
    plx_op_shutdown(&op, fd, how, (plx_op_fn)0, (void *)0);
    return plx_await(&op);
}

PLX_EXTERN_C_END

#endif
