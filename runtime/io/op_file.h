/* SPDX-License-Identifier: MIT */
/*
 * Ops on files, and on pipes and other descriptors that are read and written.
 *
 * On the uring backend the kernel does them; on epoll, which cannot wait for a file, threads of a
 * bounded pool do (POLLUX_FILE_WORKERS), so that the reactor never blocks. An op that these have
 * begun runs to its end: its cancel then changes nothing.
 *
 * Offsets and lengths for files opened with O_DIRECT are multiples of what plx_file tells.
 *
 * Threads: the one that polls the reactor.
 */
#ifndef POLLUX_OP_FILE_H
#define POLLUX_OP_FILE_H

#include "runtime/io/op.h"

PLX_EXTERN_C_BEGIN

struct statx;

/* The offset that means the file's own position; for pipes and other things without one. */
#define PLX_OFFSET_CURRENT UINT64_MAX

/* plx_op_fsync: fdatasync(2), the data and what is needed to find it. */
#define PLX_FSYNC_DATA 1u

/*
 * Reads up to `len` bytes at `offset`, or at the descriptor's position with PLX_OFFSET_CURRENT.
 * Shapes: result is 0 at the end of the file, less than `len` near it. Ownership: `buf` is the
 * kernel's until the terminal event. Cancel: -ECANCELED only if it had not begun, as for a pipe
 * without data; nothing was read then. Cost: where the arena is registered (PLX_CAP_FIXED_BUFFERS),
 * a buffer in it that lies in one PLX_POOL_CHUNK_BYTES, as each block of the pool does, goes as a
 * fixed one by itself: no pinning and no walk of page tables, which O_DIRECT gains from; that the
 * kernel copies to its own cache without O_DIRECT stays so. Errors in the event: of pread(2).
 * Source: io_uring_prep_read(3), io_uring_prep_read_fixed(3), io_uring_register_buffers(3).
 */
static inline void plx_op_read(struct plx_op *op, int fd, void *buf, uint32_t len, uint64_t offset,
                               plx_op_fn fn, void *ctx)
{
    plx__op_prepare(op, PLX_OP_READ, fd, fn, ctx);
    op->mem.buf = buf;
    op->len = len;
    op->aux.offset = offset;
}

/*
 * Writes up to `len` bytes; as plx_op_read. Shapes: a result below `len` is possible. Ownership:
 * `data` is borrowed until the terminal event. Cancel: with -ECANCELED nothing was written.
 * Errors in the event: of pwrite(2); -EPIPE nobody reads from the pipe: its SIGPIPE is blocked on
 * the threads that the runtime makes, while one that adopted its reactor must have blocked or
 * ignored it, or it ends the process. Source: io_uring_prep_write(3), pipe(7).
 */
static inline void plx_op_write(struct plx_op *op, int fd, const void *data, uint32_t len,
                                uint64_t offset, plx_op_fn fn, void *ctx)
{
    plx__op_prepare(op, PLX_OP_WRITE, fd, fn, ctx);
    op->mem.data = data;
    op->len = len;
    op->aux.offset = offset;
}

/*
 * As plx_op_read and plx_op_write with a buffer that must be in the reactor's arena and in one
 * PLX_POOL_CHUNK_BYTES of it, on every backend: the submit refuses another with -EFAULT. With
 * PLX_CAP_FIXED_BUFFERS it goes as a fixed one; without, as any other, which the capability tells.
 * Ownership: the buffer is the kernel's until the terminal event, to write into or to read from; a
 * block of the pool is not released before. Cancel: -ECANCELED only if the transfer had not begun:
 * then nothing was read or written; one that had gives its result.
 */
static inline void plx_op_read_fixed(struct plx_op *op, int fd, void *buf, uint32_t len,
                                     uint64_t offset, plx_op_fn fn, void *ctx)
{
    plx_op_read(op, fd, buf, len, offset, fn, ctx);
    op->flags = PLX_FIXED;
}

static inline void plx_op_write_fixed(struct plx_op *op, int fd, const void *data, uint32_t len,
                                      uint64_t offset, plx_op_fn fn, void *ctx)
{
    plx_op_write(op, fd, data, len, offset, fn, ctx);
    op->flags = PLX_FIXED;
}

/*
 * Reads into, or writes from, `count` (up to PLX_IOV_MAX) parts, in their order; else as
 * plx_op_read and plx_op_write. Ownership: `iov` itself, and each part that it names, are borrowed
 * until the terminal event: not changed, and by a read's parts not looked at either. Cancel:
 * -ECANCELED only if it had not begun: then no part was read into or written from; one that had
 * gives the bytes of all parts together. Cost: copies the vector in the kernel; no fixed buffers.
 * Errors in the event: of preadv(2), -EINVAL too many parts. Source: io_uring_prep_readv(3).
 */
#define PLX_IOV_MAX 1024u

static inline void plx_op_readv(struct plx_op *op, int fd, const struct iovec *iov, uint32_t count,
                                uint64_t offset, plx_op_fn fn, void *ctx)
{
    plx__op_prepare(op, PLX_OP_READV, fd, fn, ctx);
    op->mem.iov = iov;
    op->len = count;
    op->aux.offset = offset;
}

static inline void plx_op_writev(struct plx_op *op, int fd, const struct iovec *iov, uint32_t count,
                                 uint64_t offset, plx_op_fn fn, void *ctx)
{
    plx__op_prepare(op, PLX_OP_WRITEV, fd, fn, ctx);
    op->mem.iov = iov;
    op->len = count;
    op->aux.offset = offset;
}

/*
 * Reads up to `len` bytes (1 to a buffer of the group) at `offset` into a buffer that the backend
 * takes from `group`. An event with result > 0 carries PLX_EV_BUFFER; give the buffer back by
 * plx_group_release. Result 0 is the end of the file, and lends none. -ENOBUFS: the group is empty.
 * Cancel: as plx_op_read. Cost: saves a buffer per waiting read, and nothing on a file: there a
 * fixed buffer of the caller's choice is faster. Errors at submit: -EINVAL `len` is 0 or more than
 * a buffer.
 */
static inline void plx_op_read_group(struct plx_op *op, int fd, uint16_t group, uint32_t len,
                                     uint64_t offset, plx_op_fn fn, void *ctx)
{
    plx__op_prepare(op, PLX_OP_READ_GROUP, fd, fn, ctx);
    op->index = group;
    op->len = len;
    op->aux.offset = offset;
}

/*
 * Brings what was written to `fd` before to the device. `arg`: 0 or PLX_FSYNC_DATA. Only writes
 * whose terminal event has come count as before. Cancel: -ECANCELED only if it had not begun.
 * Errors in the event: of fsync(2); after -EIO what is on the device is unknown, and a second fsync
 * would not say so again. Source: io_uring_prep_fsync(3).
 */
static inline void plx_op_fsync(struct plx_op *op, int fd, uint32_t arg, plx_op_fn fn, void *ctx)
{
    plx__op_prepare(op, PLX_OP_FSYNC, fd, fn, ctx);
    op->arg = arg;
}

/*
 * Reserves space on the device for `bytes` from `offset`. `mode`: 0 or FALLOC_FL_ bits. Cancel:
 * -ECANCELED only if it had not begun. Errors in the event: of fallocate(2), -ENOSPC among them,
 * and -EOPNOTSUPP a file system that cannot. Source: io_uring_prep_fallocate(3).
 */
static inline void plx_op_fallocate(struct plx_op *op, int fd, uint32_t mode, uint64_t offset,
                                    uint64_t bytes, plx_op_fn fn, void *ctx)
{
    plx__op_prepare(op, PLX_OP_FALLOCATE, fd, fn, ctx);
    op->arg = mode;
    op->aux.offset = offset;
    op->mem.bytes = bytes;
}

/*
 * Opens `path`, relative to the directory `dir` or, with AT_FDCWD, to where the process is. `flags`
 * takes O_ bits; O_CLOEXEC is always added. Result: a descriptor, the caller's. Ownership: `path`
 * is borrowed until the terminal event. Cancel: it may have been opened all the same: the result
 * says so, close it then. Shapes: whether the open of a named pipe waits for its other side is the
 * backend's; epoll's does, and keeps a worker. Errors in the event: of openat(2). Source:
 * io_uring_prep_openat(3).
 */
static inline void plx_op_openat(struct plx_op *op, int dir, const char *path, uint32_t flags,
                                 uint32_t mode, plx_op_fn fn, void *ctx)
{
    plx__op_prepare(op, PLX_OP_OPENAT, dir, fn, ctx);
    op->mem.path = path;
    op->arg = flags;
    op->len = mode;
}

/*
 * Asks for what `mask` (STATX_ bits) names of `path`, as plx_op_openat, or with `flags`
 * AT_EMPTY_PATH and the empty path of `dir` itself. Result 0 with `out` filled. Ownership: `path`
 * and `out` are the backend's until the terminal event. Cancel: -ECANCELED only if it had not
 * begun. Errors in the event: of statx(2). Source: io_uring_prep_statx(3).
 */
static inline void plx_op_statx(struct plx_op *op, int dir, const char *path, uint32_t flags,
                                uint32_t mask, struct statx *out, plx_op_fn fn, void *ctx)
{
    plx__op_prepare(op, PLX_OP_STATX, dir, fn, ctx);
    op->mem.path = path;
    op->aux.ptr = out;
    op->arg = flags;
    op->len = mask;
}

PLX_EXTERN_C_END

#endif
