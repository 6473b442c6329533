/* SPDX-License-Identifier: MIT */
/*
 * Regular files on a reactor: opened, read, written and closed by ops, with direct I/O where it can
 * be had and its rules checked before the kernel sees them.
 *
 * Words. A file is *direct* when its transfers bypass the kernel's cache (O_DIRECT): memory
 * addresses must then be multiples of the file's *memory alignment*, offsets and lengths of its
 * *offset alignment*; both are 1 for a file that is not direct. An *I/O* is one request on a file,
 * in the caller's memory. An I/O for *all* goes on after a short transfer until everything was
 * transferred.
 *
 * What no op does: a file is shortened by PLX_FILE_TRUNCATE when it is opened, or by ftruncate(2)
 * on plx_file_fd, which may block; plx_file_allocate makes it longer.
 *
 * Threads: the one that polls the reactor, for everything here.
 */
#ifndef POLLUX_FILE_H
#define POLLUX_FILE_H

#include "alloc/base.h"
#include "alloc/buf.h"
#include "alloc/view.h"
#include "alloc/want.h"
#include "runtime/io/op_file.h"
#include "runtime/sched/timer.h"

PLX_EXTERN_C_BEGIN

struct plx_file;
struct plx_file_io;

/* plx_file_opts.access */
#define PLX_FILE_READ      (1u << 0)
#define PLX_FILE_WRITE     (1u << 1)
#define PLX_FILE_CREATE    (1u << 2) /* if it is not there */
#define PLX_FILE_EXCLUSIVE (1u << 3) /* with CREATE: only if it is not there */
#define PLX_FILE_TRUNCATE  (1u << 4) /* to nothing; takes WRITE */

/* Bytes that one op of an I/O for all transfers at the most. */
#define PLX_FILE_STEP_MAX ((uint32_t)1 << 30)

struct plx_file_opts {
    uint32_t access;         /* PLX_FILE_ bits. Default: PLX_FILE_READ */
    uint32_t mode;           /* permissions of a new file, before the umask. Default: 0644 */
    enum plx_want direct;    /* bypass the kernel's cache. Default: PLX_WANT_NO */
    enum plx_want registers; /* by plx_fd_register. Default: PLX_WANT_NO */
    int dir;                 /* what a relative path begins at. Default: AT_FDCWD */
};

/* Opening or closing has ended, with 0 or a negative errno. */
typedef void (*plx_file_fn)(struct plx_file *file, int result, void *ctx);

/*
 * An I/O has ended: bytes (0 for what transfers none), or a negative errno; `io->done` says in both
 * cases how many bytes were transferred. `io` is the caller's again.
 */
typedef void (*plx_file_io_fn)(struct plx_file_io *io, int64_t result, void *ctx);

/* In the caller's memory, where it stays until closed. Zeroed is one that is not open. Private but
 * for what the functions below tell. */
struct plx_file {
    struct plx_reactor *reactor;
    uint64_t size; /* as last seen */
    int32_t fd;    /* plus 1, so that zeroed is not open */
    uint32_t memory_align;
    uint32_t offset_align;
    uint32_t ios; /* I/Os that have not ended */
    bool is_direct;
    bool is_registered;
    bool is_closing; /* takes no more of them */
    /* Opening and closing; cold. */
    uint8_t stage;
    uint8_t direct_story; /* why direct I/O is as it is */
    uint8_t interrupts;   /* in a row */
    bool tried_direct;
    bool is_cancelled;
    bool is_busy; /* opening, closing, or asking for the size */
    int32_t direct_code;
    int32_t registered_code;
    int32_t spare_fd; /* plus 1: a second descriptor of it while it is opened anew */
    int32_t result;
    struct plx_file_opts opts;
    const char *path;
    plx_file_fn fn;
    void *ctx;
    struct plx_op op;
    struct plx_timer timer;
    uint64_t file_id[3]; /* device and inode */
    uint64_t stat[32];   /* struct statx */
};

/* In the caller's memory, where it stays from a call that returned 0 until its callback is entered.
 * Needs no initialising; private but for `done`. */
struct plx_file_io {
    struct plx_op op;
    struct plx_file *file;
    plx_file_io_fn fn;
    void *ctx;
    uint64_t done; /* bytes transferred so far */
    uint64_t left; /* of an I/O for all */
    uint8_t *at;
    uint64_t offset;
    struct plx_buf *buf; /* whose length is to be set */
    struct plx_timer timer;
    uint16_t fruitless; /* attempts in a row that transferred nothing */
    bool is_cancelled;
};

/* --- lifecycle -------------------------------------------------------------------------------- */

/* Fills `opts` with the defaults named beside its fields. */
PLX_API void plx_file_opts_init(struct plx_file_opts *opts);

/*
 * Opens the regular file at `path`; `fn` is called in a later turn.
 * Direct I/O: the file system is asked for its alignments (STATX_DIOALIGN); where it does not say,
 * both are PLX_PAGE. With PLX_WANT_TRY a refusal is recorded (plx_file_explain) and the file opened
 * without; with PLX_WANT_REQUIRE it is -EOPNOTSUPP, and a file that was asked to be made may have
 * been made. Whether direct I/O works is found before the file is truncated.
 * Ownership: `file` is overwritten, and stays in place until plx_file_close has ended or opening
 * has failed; `path` is borrowed until `fn`; `opts` (NULL: the defaults) is copied.
 * Cost: set-up, three ops or a few more; no allocation.
 * Errors: -EINVAL access bits that make no sense; others as plx_op_submit. In `fn`, nothing is
 * left open then: of openat(2) and statx(2), -EINTR only after a hundred in a row; -EISDIR a
 * directory; -EINVAL another thing that is no regular file, which is not opened; -EOPNOTSUPP direct
 * I/O is required and not had; what plx_fd_register met, if required; -ECANCELED.
 */
PLX_API PLX_MUST_CHECK int plx_file_open(struct plx_file *file, struct plx_reactor *reactor,
                                         const char *path, const struct plx_file_opts *opts,
                                         plx_file_fn fn, void *ctx);

/* Asks that opening end soon: with -ECANCELED, unless it was done. A file made stays. */
PLX_API void plx_file_cancel(struct plx_file *file);

/*
 * Closes the file once its I/Os have ended, those for all too, whose functions are called before;
 * new ones are refused with -EBADF from here on. What was written is durable only by plx_file_sync.
 * Ownership: `file` is the caller's again in `fn`. Errors: -EBADF not open; -EBUSY opening,
 * closing, or plx_file_look is under way; others as plx_op_submit. In `fn`: of close(2), and it is
 * closed all the same; -ESHUTDOWN its reactor had stopped when the last I/O ended, and it is open
 * still.
 */
PLX_API PLX_MUST_CHECK int plx_file_close(struct plx_file *file, plx_file_fn fn, void *ctx);

/*
 * Asks for the file's size anew, for plx_file_size. Errors: -EBADF not open; -EBUSY as
 * plx_file_close; others as plx_op_submit. In `fn`: of statx(2), as plx_file_open.
 */
PLX_API PLX_MUST_CHECK int plx_file_look(struct plx_file *file, plx_file_fn fn, void *ctx);

/* --- transfers -------------------------------------------------------------------------------- */

/*
 * Reads up to `len` bytes at `offset` by one op.
 * Shapes: of a direct file all three obey its alignments. The result is 0 at the end of the file
 * and may be less than `len` anywhere. Ownership: `io` and `buf` until `fn` is entered. Cost: hot;
 * as plx_op_read, whose buffers in the arena go as fixed ones. Errors: -EINVAL misaligned, see
 * plx_file_check; others as plx_op_submit; `fn` is not called then. In `fn`: of pread(2).
 */
PLX_API PLX_MUST_CHECK int plx_file_read(struct plx_file *file, struct plx_file_io *io, void *buf,
                                         uint32_t len, uint64_t offset, plx_file_io_fn fn,
                                         void *ctx);

/* Writes up to `len` bytes; as plx_file_read. In `fn`: of pwrite(2). */
PLX_API PLX_MUST_CHECK int plx_file_write(struct plx_file *file, struct plx_file_io *io,
                                          const void *data, uint32_t len, uint64_t offset,
                                          plx_file_io_fn fn, void *ctx);

/* The same with a buffer that must be a fixed one: plx_op_read_fixed. Errors: -EFAULT it is not. */
PLX_API PLX_MUST_CHECK int plx_file_read_fixed(struct plx_file *file, struct plx_file_io *io,
                                               void *buf, uint32_t len, uint64_t offset,
                                               plx_file_io_fn fn, void *ctx);
PLX_API PLX_MUST_CHECK int plx_file_write_fixed(struct plx_file *file, struct plx_file_io *io,
                                                const void *data, uint32_t len, uint64_t offset,
                                                plx_file_io_fn fn, void *ctx);

/*
 * The same with `count` parts, up to PLX_IOV_MAX; of a direct file each obeys the alignments.
 * Ownership: `iov` too until `fn` is entered.
 */
PLX_API PLX_MUST_CHECK int plx_file_readv(struct plx_file *file, struct plx_file_io *io,
                                          const struct iovec *iov, uint32_t count, uint64_t offset,
                                          plx_file_io_fn fn, void *ctx);
PLX_API PLX_MUST_CHECK int plx_file_writev(struct plx_file *file, struct plx_file_io *io,
                                           const struct iovec *iov, uint32_t count, uint64_t offset,
                                           plx_file_io_fn fn, void *ctx);

/*
 * Reads `len` bytes, by as many ops as it takes, or as many as there are before the end of the
 * file; nothing is transferred twice. Of a direct file, a result that is no multiple of the offset
 * alignment is the end of the file. Shapes, ownership and errors as plx_file_read; in `fn` also
 * -EINTR and -EAGAIN, when a hundred attempts in a row met them. After an error `io->done` bytes
 * are there. Cost: hot; an op for each PLX_FILE_STEP_MAX and each short transfer.
 */
PLX_API PLX_MUST_CHECK int plx_file_read_all(struct plx_file *file, struct plx_file_io *io,
                                             void *buf, uint64_t len, uint64_t offset,
                                             plx_file_io_fn fn, void *ctx);

/*
 * Writes `len` bytes, by as many ops as it takes. As plx_file_read_all, but the result is `len` or
 * an error; -EIO also when an op writes nothing without saying why. A direct file's short write
 * that ends within a unit of the alignment is continued from that unit's beginning, with the same
 * bytes.
 */
PLX_API PLX_MUST_CHECK int plx_file_write_all(struct plx_file *file, struct plx_file_io *io,
                                              const void *data, uint64_t len, uint64_t offset,
                                              plx_file_io_fn fn, void *ctx);

/* Fills `buf` up to its capacity, as plx_file_read_all, and sets its length to what came. */
PLX_API PLX_MUST_CHECK int plx_file_read_buf(struct plx_file *file, struct plx_file_io *io,
                                             struct plx_buf *buf, uint64_t offset,
                                             plx_file_io_fn fn, void *ctx);

/* Writes what of `buf` is filled, as plx_file_write_all. */
static inline PLX_MUST_CHECK int plx_file_write_buf(struct plx_file *file, struct plx_file_io *io,
                                                    const struct plx_buf *buf, uint64_t offset,
                                                    plx_file_io_fn fn, void *ctx)
{
    return plx_file_write_all(file, io, buf->ptr, buf->len, offset, fn, ctx);
}

/* Reads as many bytes as the view's capacity is, as plx_file_read_all. */
static inline PLX_MUST_CHECK int plx_file_read_view(struct plx_file *file, struct plx_file_io *io,
                                                    struct plx_view view, uint64_t offset,
                                                    plx_file_io_fn fn, void *ctx)
{
    return plx_file_read_all(file, io, view.ptr, view.cap, offset, fn, ctx);
}

/* Writes what of the view is filled, as plx_file_write_all. */
static inline PLX_MUST_CHECK int plx_file_write_view(struct plx_file *file, struct plx_file_io *io,
                                                     struct plx_view view, uint64_t offset,
                                                     plx_file_io_fn fn, void *ctx)
{
    return plx_file_write_all(file, io, view.ptr, view.len, offset, fn, ctx);
}

/*
 * Makes durable what was written before, that is by I/Os that have ended. `what`: 0, or
 * PLX_FSYNC_DATA without what is not needed to find the data. Errors as plx_op_submit; in `fn`: of
 * fsync(2), after which nothing is known of what was written since the last that went well; -EINTR
 * only after a hundred in a row.
 */
PLX_API PLX_MUST_CHECK int plx_file_sync(struct plx_file *file, struct plx_file_io *io,
                                         uint32_t what, plx_file_io_fn fn, void *ctx);

/*
 * Reserves space for `bytes` from `offset`; the file becomes as long, unless `mode` has
 * FALLOC_FL_KEEP_SIZE. Errors as plx_op_submit; in `fn`: of fallocate(2), -EINTR only after a
 * hundred in a row.
 */
PLX_API PLX_MUST_CHECK int plx_file_allocate(struct plx_file *file, struct plx_file_io *io,
                                             uint32_t mode, uint64_t offset, uint64_t bytes,
                                             plx_file_io_fn fn, void *ctx);

/*
 * Asks that an I/O in flight end soon. It then ends with -ECANCELED, or as if nothing was asked;
 * one for all may have transferred a part. Never fails.
 */
PLX_API void plx_file_io_cancel(struct plx_file_io *io);

/* --- inspection ------------------------------------------------------------------------------- */

/*
 * Whether a transfer obeys the file's alignments: 0, or -EINVAL with `diag` (NULL allowed) naming
 * what does not. The transfers above make the same check.
 */
PLX_API PLX_MUST_CHECK int plx_file_check(const struct plx_file *file, const void *buf,
                                          uint64_t len, uint64_t offset, struct plx_diag *diag);

static inline bool plx_file_is_open(const struct plx_file *file)
{
    return file->fd != 0;
}

/* The descriptor, -1 while none is open. The file's: not to be closed. */
static inline int plx_file_fd(const struct plx_file *file)
{
    return file->fd - 1;
}

static inline bool plx_file_is_direct(const struct plx_file *file)
{
    return file->is_direct;
}

static inline bool plx_file_is_registered(const struct plx_file *file)
{
    return file->is_registered;
}

/* Of the file's bytes, when it was opened or plx_file_look last ended. */
static inline uint64_t plx_file_size(const struct plx_file *file)
{
    return file->size;
}

/* What addresses are multiples of; 1 unless direct. */
static inline uint32_t plx_file_memory_align(const struct plx_file *file)
{
    return file->memory_align;
}

/* What offsets and lengths are multiples of; 1 unless direct. */
static inline uint32_t plx_file_offset_align(const struct plx_file *file)
{
    return file->offset_align;
}

/*
 * Tells `sink` in lines how the file is open, and what was wanted and not had, with the reason. For
 * files that are open and for those that could not be opened. Cost: set-up.
 */
PLX_API PLX_COLD void plx_file_explain(const struct plx_file *file, plx_text_fn sink, void *ctx);

PLX_EXTERN_C_END

#endif
