/* SPDX-License-Identifier: MIT */
/* Transfers on files: the check of alignments, one op each, and the going on of those for all. */
#include "runtime/file/file_internal.h"

#include <errno.h>
#include <sys/uio.h>

static inline bool takes_ios(const struct plx_file *file)
{
    return plx_file_is_open(file) && !file->is_closing;
}

/* --- alignments ------------------------------------------------------------------------------- */

static inline bool is_aligned(const struct plx_file *file, const void *buf, uint64_t len,
                              uint64_t offset)
{
    uint64_t memory_mask = file->memory_align - 1u;
    uint64_t offset_mask = file->offset_align - 1u;
    return (((uintptr_t)buf & memory_mask) | ((len | offset) & offset_mask)) == 0;
}

int plx_file_check(const struct plx_file *file, const void *buf, uint64_t len, uint64_t offset,
                   struct plx_diag *diag)
{
    if (!takes_ios(file))
        return plx_diag_set(diag, -EBADF, "file", "the file is not open, or is being closed");
    if (is_aligned(file, buf, len, offset))
        return 0;
    uint32_t unit = file->offset_align;
    if (offset % unit != 0)
        return plx_diag_set(diag, -EINVAL, "offset",
                            "offset %llu is no multiple of %u, as direct I/O on this file asks",
                            (unsigned long long)offset, unit);
    if (len % unit != 0)
        return plx_diag_set(diag, -EINVAL, "length",
                            "length %llu is no multiple of %u, as direct I/O on this file asks",
                            (unsigned long long)len, unit);
    return plx_diag_set(diag, -EINVAL, "memory",
                        "address %p is no multiple of %u, as direct I/O on this file asks", buf,
                        file->memory_align);
}

static bool are_aligned(const struct plx_file *file, const struct iovec *iov, uint32_t count,
                        uint64_t offset)
{
    if (!file->is_direct)
        return true;
    for (uint32_t i = 0; i < count; i++) {
        if (!is_aligned(file, iov[i].iov_base, iov[i].iov_len, offset))
            return false;
    }
    return true;
}

/* --- one op ----------------------------------------------------------------------------------- */

/*
 * The I/O is over. It counts no more when its function is entered, so that a close from there need
 * not wait for it; a close that waits goes out behind that function, which comes first.
 */
static inline void end_io(struct plx_file_io *io, int64_t result)
{
    struct plx_file *file = io->file;
    bool lets_close = --file->ios == 0 && file->is_closing;
    io->fn(io, result, io->ctx);
    if (PLX_UNLIKELY(lets_close))
        plx__file_close_now(file);
}

static void one_ended(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    (void)op;
    struct plx_file_io *io = ctx;
    io->done = event->result > 0 ? (uint64_t)event->result : 0;
    end_io(io, event->result);
}

static int submit_one(struct plx_file *file, struct plx_file_io *io, plx_file_io_fn fn, void *ctx)
{
    io->file = file;
    io->fn = fn;
    io->ctx = ctx;
    io->done = 0;
    io->is_cancelled = false;
    int rc = plx_op_submit(file->reactor, &io->op);
    file->ios += rc == 0;
    return rc;
}

/* Asked by a file that is not open, whose reactor is not known. */
static inline int check(const struct plx_file *file, const void *buf, uint64_t len, uint64_t offset)
{
    if (PLX_UNLIKELY(!takes_ios(file)))
        return -EBADF;
    return PLX_LIKELY(is_aligned(file, buf, len, offset)) ? 0 : -EINVAL;
}

int plx_file_read(struct plx_file *file, struct plx_file_io *io, void *buf, uint32_t len,
                  uint64_t offset, plx_file_io_fn fn, void *ctx)
{
    int rc = check(file, buf, len, offset);
    if (rc != 0)
        return rc;
    plx_op_read(&io->op, plx_file_fd(file), buf, len, offset, one_ended, io);
    return submit_one(file, io, fn, ctx);
}

int plx_file_write(struct plx_file *file, struct plx_file_io *io, const void *data, uint32_t len,
                   uint64_t offset, plx_file_io_fn fn, void *ctx)
{
    int rc = check(file, data, len, offset);
    if (rc != 0)
        return rc;
    plx_op_write(&io->op, plx_file_fd(file), data, len, offset, one_ended, io);
    return submit_one(file, io, fn, ctx);
}

int plx_file_read_fixed(struct plx_file *file, struct plx_file_io *io, void *buf, uint32_t len,
                        uint64_t offset, plx_file_io_fn fn, void *ctx)
{
    int rc = check(file, buf, len, offset);
    if (rc != 0)
        return rc;
    plx_op_read_fixed(&io->op, plx_file_fd(file), buf, len, offset, one_ended, io);
    return submit_one(file, io, fn, ctx);
}

int plx_file_write_fixed(struct plx_file *file, struct plx_file_io *io, const void *data,
                         uint32_t len, uint64_t offset, plx_file_io_fn fn, void *ctx)
{
    int rc = check(file, data, len, offset);
    if (rc != 0)
        return rc;
    plx_op_write_fixed(&io->op, plx_file_fd(file), data, len, offset, one_ended, io);
    return submit_one(file, io, fn, ctx);
}

static int check_parts(const struct plx_file *file, const struct iovec *iov, uint32_t count,
                       uint64_t offset)
{
    if (!takes_ios(file))
        return -EBADF;
    return count <= PLX_IOV_MAX && are_aligned(file, iov, count, offset) ? 0 : -EINVAL;
}

int plx_file_readv(struct plx_file *file, struct plx_file_io *io, const struct iovec *iov,
                   uint32_t count, uint64_t offset, plx_file_io_fn fn, void *ctx)
{
    int rc = check_parts(file, iov, count, offset);
    if (rc != 0)
        return rc;
    plx_op_readv(&io->op, plx_file_fd(file), iov, count, offset, one_ended, io);
    return submit_one(file, io, fn, ctx);
}

int plx_file_writev(struct plx_file *file, struct plx_file_io *io, const struct iovec *iov,
                    uint32_t count, uint64_t offset, plx_file_io_fn fn, void *ctx)
{
    int rc = check_parts(file, iov, count, offset);
    if (rc != 0)
        return rc;
    plx_op_writev(&io->op, plx_file_fd(file), iov, count, offset, one_ended, io);
    return submit_one(file, io, fn, ctx);
}

/* --- those that transfer nothing -------------------------------------------------------------- */

static void submit_whole(struct plx_file_io *io);

static void submit_whole_later(struct plx_timer *timer, void *ctx)
{
    (void)timer;
    struct plx_file_io *io = ctx;
    if (io->is_cancelled)
        end_io(io, -ECANCELED);
    else
        submit_whole(io);
}

static void submit_whole(struct plx_file_io *io)
{
    int rc = plx_op_submit(io->file->reactor, &io->op);
    if (rc == -EAGAIN)
        plx_timer_arm(io->file->reactor, &io->timer, 0, submit_whole_later, io);
    else if (rc != 0)
        end_io(io, rc);
}

static void whole_ended(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    (void)op;
    struct plx_file_io *io = ctx;
    if (event->result != -EINTR)
        end_io(io, event->result);
    else if (io->is_cancelled)
        end_io(io, -ECANCELED);
    else if (++io->fruitless == PLX__FILE_ATTEMPTS_MAX)
        end_io(io, -EINTR);
    else
        submit_whole(io);
}

static int start_whole(struct plx_file *file, struct plx_file_io *io, plx_file_io_fn fn, void *ctx)
{
    io->timer = (struct plx_timer){0};
    io->fruitless = 0;
    return submit_one(file, io, fn, ctx);
}

int plx_file_sync(struct plx_file *file, struct plx_file_io *io, uint32_t what, plx_file_io_fn fn,
                  void *ctx)
{
    if (!takes_ios(file))
        return -EBADF;
    plx_op_fsync(&io->op, plx_file_fd(file), what, whole_ended, io);
    return start_whole(file, io, fn, ctx);
}

int plx_file_allocate(struct plx_file *file, struct plx_file_io *io, uint32_t mode, uint64_t offset,
                      uint64_t bytes, plx_file_io_fn fn, void *ctx)
{
    if (!takes_ios(file))
        return -EBADF;
    plx_op_fallocate(&io->op, plx_file_fd(file), mode, offset, bytes, whole_ended, io);
    return start_whole(file, io, fn, ctx);
}

/* --- all of it -------------------------------------------------------------------------------- */

static void step_ended(struct plx_op *op, const struct plx_event *event, void *ctx);

static void finish_all(struct plx_file_io *io, int64_t error)
{
    if (io->buf != NULL) {
        int rc = plx_buf_set_len(io->buf, io->done);
        PLX_ASSERT(rc == 0);
    }
    end_io(io, error != 0 ? error : (int64_t)io->done);
}

static int submit_step(struct plx_file_io *io)
{
    uint32_t len = io->left < PLX_FILE_STEP_MAX ? (uint32_t)io->left : PLX_FILE_STEP_MAX;
    int fd = plx_file_fd(io->file);
    if (io->op.code == PLX_OP_READ)
        plx_op_read(&io->op, fd, io->at, len, io->offset, step_ended, io);
    else
        plx_op_write(&io->op, fd, io->at, len, io->offset, step_ended, io);
    return plx_op_submit(io->file->reactor, &io->op);
}

static void go_on(struct plx_file_io *io);

static void go_on_later(struct plx_timer *timer, void *ctx)
{
    (void)timer;
    struct plx_file_io *io = ctx;
    if (io->is_cancelled)
        finish_all(io, -ECANCELED);
    else
        go_on(io);
}

static void go_on(struct plx_file_io *io)
{
    int rc = submit_step(io);
    /* The ring is full: there is room in a later turn. */
    if (rc == -EAGAIN)
        plx_timer_arm(io->file->reactor, &io->timer, 0, go_on_later, io);
    else if (rc != 0)
        finish_all(io, rc);
}

/* Takes what was transferred into account. Of a direct file only whole units count as long as there
 * is more to come: the next op has to begin at one. */
static bool take_step(struct plx_file_io *io, uint64_t bytes)
{
    PLX_ASSERT(bytes <= io->left);
    bool ends_inside = (bytes & (io->file->offset_align - 1u)) != 0 && bytes != io->left;
    bool reads = io->op.code == PLX_OP_READ;
    if (ends_inside && !reads)
        bytes &= ~(uint64_t)(io->file->offset_align - 1u);
    io->done += bytes;
    io->at += bytes;
    io->offset += bytes;
    io->left -= bytes;
    if (bytes != 0)
        io->fruitless = 0;
    /* A read that ends there has met the end of the file. */
    return io->left == 0 || (ends_inside && reads);
}

static void step_ended(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    struct plx_file_io *io = ctx;
    int32_t result = event->result;
    if (result < 0) {
        bool is_passing = result == -EINTR || result == -EAGAIN;
        if (!is_passing || io->is_cancelled || ++io->fruitless == PLX__FILE_ATTEMPTS_MAX) {
            finish_all(io, is_passing && io->is_cancelled ? -ECANCELED : result);
            return;
        }
        go_on(io);
        return;
    }
    io->fruitless++;
    if (take_step(io, (uint64_t)result) || (result == 0 && op->code == PLX_OP_READ))
        finish_all(io, 0);
    else if (result == 0 || io->fruitless == PLX__FILE_ATTEMPTS_MAX)
        finish_all(io, -EIO);
    else if (io->is_cancelled)
        finish_all(io, -ECANCELED);
    else
        go_on(io);
}

static int start_all(struct plx_file *file, struct plx_file_io *io, void *buf, uint64_t len,
                     uint64_t offset, plx_file_io_fn fn, void *ctx)
{
    io->file = file;
    io->fn = fn;
    io->ctx = ctx;
    io->done = 0;
    io->left = len;
    io->at = buf;
    io->offset = offset;
    io->timer = (struct plx_timer){0};
    io->fruitless = 0;
    io->is_cancelled = false;
    int rc = submit_step(io);
    file->ios += rc == 0;
    return rc;
}

int plx_file_read_all(struct plx_file *file, struct plx_file_io *io, void *buf, uint64_t len,
                      uint64_t offset, plx_file_io_fn fn, void *ctx)
{
    int rc = check(file, buf, len, offset);
    if (rc != 0)
        return rc;
    io->buf = NULL;
    io->op.code = PLX_OP_READ;
    return start_all(file, io, buf, len, offset, fn, ctx);
}

int plx_file_write_all(struct plx_file *file, struct plx_file_io *io, const void *data,
                       uint64_t len, uint64_t offset, plx_file_io_fn fn, void *ctx)
{
    int rc = check(file, data, len, offset);
    if (rc != 0)
        return rc;
    io->buf = NULL;
    io->op.code = PLX_OP_WRITE;
    /* An op for writing only reads it. */
    return start_all(file, io, (void *)(uintptr_t)data, len, offset, fn, ctx);
}

int plx_file_read_buf(struct plx_file *file, struct plx_file_io *io, struct plx_buf *buf,
                      uint64_t offset, plx_file_io_fn fn, void *ctx)
{
    int rc = check(file, buf->ptr, buf->cap, offset);
    if (rc != 0)
        return rc;
    io->buf = buf;
    io->op.code = PLX_OP_READ;
    return start_all(file, io, buf->ptr, buf->cap, offset, fn, ctx);
}

void plx_file_io_cancel(struct plx_file_io *io)
{
    io->is_cancelled = true;
    plx_op_cancel(io->file->reactor, &io->op);
}
