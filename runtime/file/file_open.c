/* SPDX-License-Identifier: MIT */
/*
 * Opening and closing files: a chain of ops, each next one chosen where the last has ended.
 *
 * The path is looked at first, so that what is no regular file is not opened: opening a pipe waits
 * for its other end. O_DIRECT is tried with the open itself, which the kernel refuses before it
 * truncates; but it may have made the file by then, so that a second exclusive attempt would find
 * it there. A file to be made exclusively is therefore opened without, and then once more with.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "runtime/file/file_internal.h"

/* linux/stat.h has these from 6.1 on, glibc's structure not yet. */
#ifndef STATX_DIOALIGN
#define STATX_DIOALIGN 0x00002000u
#endif
#define STATX_DIO_MEMORY_AT 0x98
#define STATX_DIO_OFFSET_AT 0x9c

PLX_STATIC_ASSERT(sizeof(struct statx) == sizeof(((struct plx_file *)0)->stat),
                  "a file has room for what statx tells");

#define LOOK_MASK (STATX_TYPE | STATX_MODE | STATX_INO | STATX_SIZE | STATX_DIOALIGN)

enum stage {
    STAGE_NONE,
    STAGE_PATH,    /* what is there */
    STAGE_OPEN,    /* for good, or the first time */
    STAGE_SEE,     /* what was opened */
    STAGE_AGAIN,   /* the file just made, with O_DIRECT */
    STAGE_COMPARE, /* whether it is the same */
    STAGE_SPARE,   /* closing the one that is not kept */
    STAGE_ABORT,   /* closing after a failure */
    STAGE_LOOK,
    STAGE_CLOSE
};

enum direct_story {
    STORY_NOT_ASKED,
    STORY_HAD,
    STORY_ALIGN_UNKNOWN, /* had; the file system does not say its alignments */
    STORY_REFUSED,       /* by open, with direct_code */
    STORY_NOT_HERE,      /* statx says that this file cannot */
    STORY_OTHER_FILE     /* the path led elsewhere the second time */
};

static void advance(struct plx_file *file, int32_t result);

static void submit_soon(struct plx_file *file);

/* Whether an op that was interrupted is tried again. A close never is: it has let go of the number
 * all the same. */
static bool is_tried_again(struct plx_file *file)
{
    enum stage stage = (enum stage)file->stage;
    bool may_be = (stage >= STAGE_PATH && stage <= STAGE_COMPARE) || stage == STAGE_LOOK;
    return may_be && !file->is_cancelled && ++file->interrupts < PLX__FILE_ATTEMPTS_MAX;
}

static void ended(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    (void)op;
    struct plx_file *file = ctx;
    if (event->result == -EINTR && is_tried_again(file)) {
        submit_soon(file);
        return;
    }
    file->interrupts = 0;
    advance(file, event->result);
}

static void submit_again(struct plx_timer *timer, void *ctx);
static void finish(struct plx_file *file, int32_t result);

static int submit(struct plx_file *file)
{
    return plx_op_submit(file->reactor, &file->op);
}

/* In the middle of a chain a full ring only means later. */
static void submit_soon(struct plx_file *file)
{
    int rc = submit(file);
    if (rc == -EAGAIN)
        plx_timer_arm(file->reactor, &file->timer, 0, submit_again, file);
    else if (rc != 0 && file->stage == STAGE_CLOSE)
        finish(file, rc); /* nothing was closed */
    else if (rc != 0)
        advance(file, rc);
}

void plx__file_close_now(struct plx_file *file)
{
    submit_soon(file);
}

static void submit_again(struct plx_timer *timer, void *ctx)
{
    (void)timer;
    struct plx_file *file = ctx;
    bool may_stop = file->stage != STAGE_SPARE && file->stage != STAGE_ABORT;
    if (file->is_cancelled && may_stop)
        advance(file, -ECANCELED);
    else
        submit_soon(file);
}

static void finish(struct plx_file *file, int32_t result)
{
    file->is_busy = false;
    file->is_closing = false;
    file->stage = STAGE_NONE;
    file->result = result;
    file->fn(file, result, file->ctx);
}

/* --- opening ---------------------------------------------------------------------------------- */

static void prepare_close(struct plx_file *file, enum stage stage, int fd)
{
    file->stage = (uint8_t)stage;
    plx_op_close(&file->op, fd, ended, file);
}

static void fail(struct plx_file *file, int32_t result)
{
    if (file->result == 0)
        file->result = result;
    file->is_direct = false;
    int32_t *open = file->spare_fd != 0 ? &file->spare_fd : &file->fd;
    if (*open == 0) {
        finish(file, file->result);
        return;
    }
    prepare_close(file, STAGE_ABORT, *open - 1);
    *open = 0;
    submit_soon(file);
}

static uint32_t open_flags(const struct plx_file *file, bool direct, bool first)
{
    uint32_t access = file->opts.access;
    uint32_t flags = (access & PLX_FILE_WRITE) == 0  ? O_RDONLY
                     : (access & PLX_FILE_READ) == 0 ? O_WRONLY
                                                     : O_RDWR;
    flags |= O_CLOEXEC | O_NOCTTY | (direct ? O_DIRECT : 0);
    if (!first)
        return flags;
    return flags | ((access & PLX_FILE_CREATE) != 0 ? O_CREAT : 0) |
           ((access & PLX_FILE_EXCLUSIVE) != 0 ? O_EXCL : 0) |
           ((access & PLX_FILE_TRUNCATE) != 0 ? O_TRUNC : 0);
}

static void open_path(struct plx_file *file, enum stage stage, bool direct)
{
    file->stage = (uint8_t)stage;
    file->tried_direct = direct;
    plx_op_openat(&file->op, file->opts.dir, file->path,
                  open_flags(file, direct, stage == STAGE_OPEN), file->opts.mode, ended, file);
    submit_soon(file);
}

static void stat_fd(struct plx_file *file, enum stage stage, int fd)
{
    file->stage = (uint8_t)stage;
    plx_op_statx(&file->op, fd, "", AT_EMPTY_PATH, LOOK_MASK, (struct statx *)(void *)file->stat,
                 ended, file);
    submit_soon(file);
}

static const struct statx *seen(const struct plx_file *file)
{
    return (const struct statx *)(const void *)file->stat;
}

static uint32_t stat_word(const struct plx_file *file, size_t at)
{
    uint32_t word;
    memcpy(&word, (const char *)file->stat + at, sizeof(word));
    return word;
}

static bool says_alignment(const struct plx_file *file)
{
    return (seen(file)->stx_mask & STATX_DIOALIGN) != 0;
}

static bool says_not_direct(const struct plx_file *file)
{
    return says_alignment(file) && stat_word(file, STATX_DIO_OFFSET_AT) == 0;
}

/* 0, or why what was looked at is no regular file. */
static int32_t check_kind(const struct plx_file *file)
{
    if (S_ISREG(seen(file)->stx_mode))
        return 0;
    return S_ISDIR(seen(file)->stx_mode) ? -EISDIR : -EINVAL;
}

static void tell_direct(struct plx_file *file, enum direct_story story, int32_t code)
{
    file->direct_story = (uint8_t)story;
    file->direct_code = code;
}

static bool requires_direct(const struct plx_file *file)
{
    return file->opts.direct == PLX_WANT_REQUIRE;
}

static bool is_exclusive(const struct plx_file *file)
{
    return (file->opts.access & PLX_FILE_EXCLUSIVE) != 0;
}

static void path_seen(struct plx_file *file, int32_t result)
{
    bool creates = (file->opts.access & PLX_FILE_CREATE) != 0;
    if (result == 0)
        result = check_kind(file);
    else if (result == -ENOENT && creates)
        result = 0;
    if (result != 0) {
        fail(file, result);
        return;
    }
    bool direct = file->opts.direct != PLX_WANT_NO;
    /* Zeroed for what is not there yet. */
    if (direct && says_not_direct(file)) {
        tell_direct(file, STORY_NOT_HERE, 0);
        direct = false;
        if (requires_direct(file)) {
            fail(file, -EOPNOTSUPP);
            return;
        }
    }
    open_path(file, STAGE_OPEN, direct && !is_exclusive(file));
}

static void path_opened(struct plx_file *file, int32_t result)
{
    if (result == -EINVAL && file->tried_direct) {
        tell_direct(file, STORY_REFUSED, result);
        if (requires_direct(file))
            fail(file, -EOPNOTSUPP);
        else
            open_path(file, STAGE_OPEN, false);
        return;
    }
    if (result < 0) {
        fail(file, result);
        return;
    }
    file->fd = result + 1;
    stat_fd(file, STAGE_SEE, result);
}

static uint32_t alignment(uint32_t said)
{
    /* What is no power of two is no alignment that this code can keep. */
    return plx_is_pow2(said) ? said : PLX_PAGE;
}

static void become_direct(struct plx_file *file)
{
    file->is_direct = true;
    bool says = says_alignment(file);
    file->memory_align = alignment(says ? stat_word(file, STATX_DIO_MEMORY_AT) : PLX_PAGE);
    file->offset_align = alignment(says ? stat_word(file, STATX_DIO_OFFSET_AT) : PLX_PAGE);
    tell_direct(file, says ? STORY_HAD : STORY_ALIGN_UNKNOWN, 0);
}

static void opened(struct plx_file *file)
{
    if (file->opts.registers != PLX_WANT_NO) {
        int rc = plx_fd_register(file->reactor, plx_file_fd(file));
        file->is_registered = rc == 0;
        file->registered_code = rc;
        if (rc != 0 && file->opts.registers == PLX_WANT_REQUIRE) {
            fail(file, rc);
            return;
        }
    }
    finish(file, 0);
}

static void keep_id(struct plx_file *file)
{
    file->file_id[0] = seen(file)->stx_dev_major;
    file->file_id[1] = seen(file)->stx_dev_minor;
    file->file_id[2] = seen(file)->stx_ino;
}

static bool has_same_id(const struct plx_file *file)
{
    return file->file_id[0] == seen(file)->stx_dev_major &&
           file->file_id[1] == seen(file)->stx_dev_minor && file->file_id[2] == seen(file)->stx_ino;
}

static void file_seen(struct plx_file *file, int32_t result)
{
    if (result == 0)
        result = check_kind(file);
    if (result != 0) {
        fail(file, result);
        return;
    }
    file->size = seen(file)->stx_size;
    if (file->opts.direct == PLX_WANT_NO || file->direct_story != STORY_NOT_ASKED) {
        opened(file);
        return;
    }
    if (says_not_direct(file)) {
        /* One that was opened with O_DIRECT all the same goes through the cache. */
        tell_direct(file, STORY_NOT_HERE, 0);
        if (requires_direct(file))
            fail(file, -EOPNOTSUPP);
        else
            opened(file);
        return;
    }
    if (file->tried_direct) {
        become_direct(file);
        opened(file);
        return;
    }
    keep_id(file);
    open_path(file, STAGE_AGAIN, true);
}

/* The file that was made is kept as it is open, without O_DIRECT. */
static void keep_first(struct plx_file *file, enum direct_story story, int32_t code)
{
    tell_direct(file, story, code);
    if (requires_direct(file))
        fail(file, -EOPNOTSUPP);
    else if (file->spare_fd == 0)
        opened(file);
    else {
        prepare_close(file, STAGE_SPARE, file->spare_fd - 1);
        file->spare_fd = 0;
        submit_soon(file);
    }
}

static void compared(struct plx_file *file, int32_t result)
{
    if (result != 0) {
        keep_first(file, STORY_REFUSED, result);
    } else if (!has_same_id(file)) {
        keep_first(file, STORY_OTHER_FILE, 0);
    } else {
        become_direct(file);
        prepare_close(file, STAGE_SPARE, plx_file_fd(file));
        file->fd = file->spare_fd;
        file->spare_fd = 0;
        submit_soon(file);
    }
}

static void advance(struct plx_file *file, int32_t result)
{
    enum stage stage = (enum stage)file->stage;
    bool is_opening = stage >= STAGE_PATH && stage <= STAGE_COMPARE;
    /* A descriptor that was had is first taken into account, and then closed. */
    bool gives_fd = stage == STAGE_OPEN || stage == STAGE_AGAIN;
    if (is_opening && file->is_cancelled && (result < 0 || !gives_fd))
        result = -ECANCELED;
    switch (stage) {
    case STAGE_PATH:
        path_seen(file, result);
        break;
    case STAGE_OPEN:
        path_opened(file, result);
        break;
    case STAGE_SEE:
        file_seen(file, result);
        break;
    case STAGE_AGAIN:
        if (result < 0 && file->is_cancelled) {
            fail(file, result);
        } else if (result < 0) {
            keep_first(file, STORY_REFUSED, result);
        } else {
            file->spare_fd = result + 1;
            stat_fd(file, STAGE_COMPARE, result);
        }
        break;
    case STAGE_COMPARE:
        if (file->is_cancelled)
            fail(file, result);
        else
            compared(file, result);
        break;
    case STAGE_SPARE:
        opened(file);
        break;
    case STAGE_ABORT:
        fail(file, file->result);
        break;
    case STAGE_LOOK:
        if (result == 0)
            file->size = seen(file)->stx_size;
        finish(file, result);
        break;
    case STAGE_CLOSE:
        file->fd = 0;
        file->is_registered = false;
        finish(file, result);
        break;
    default:
        PLX_ASSERT(stage != STAGE_NONE);
        break;
    }
}

/* --- the interface ---------------------------------------------------------------------------- */

void plx_file_opts_init(struct plx_file_opts *opts)
{
    *opts = (struct plx_file_opts){
        .access = PLX_FILE_READ,
        .mode = 0644,
        .direct = PLX_WANT_NO,
        .registers = PLX_WANT_NO,
        .dir = AT_FDCWD,
    };
}

static bool makes_sense(uint32_t access)
{
    const uint32_t known =
        PLX_FILE_READ | PLX_FILE_WRITE | PLX_FILE_CREATE | PLX_FILE_EXCLUSIVE | PLX_FILE_TRUNCATE;
    if ((access & ~known) != 0 || (access & (PLX_FILE_READ | PLX_FILE_WRITE)) == 0)
        return false;
    if ((access & PLX_FILE_EXCLUSIVE) != 0 && (access & PLX_FILE_CREATE) == 0)
        return false;
    return (access & PLX_FILE_TRUNCATE) == 0 || (access & PLX_FILE_WRITE) != 0;
}

int plx_file_open(struct plx_file *file, struct plx_reactor *reactor, const char *path,
                  const struct plx_file_opts *opts, plx_file_fn fn, void *ctx)
{
    memset(file, 0, sizeof(*file));
    if (opts != NULL)
        file->opts = *opts;
    else
        plx_file_opts_init(&file->opts);
    if (!makes_sense(file->opts.access) || file->opts.direct > PLX_WANT_REQUIRE ||
        file->opts.registers > PLX_WANT_REQUIRE)
        return -EINVAL;

    file->reactor = reactor;
    file->path = path;
    file->fn = fn;
    file->ctx = ctx;
    file->memory_align = 1;
    file->offset_align = 1;
    file->stage = STAGE_PATH;
    plx_op_statx(&file->op, file->opts.dir, path, 0, LOOK_MASK, (struct statx *)(void *)file->stat,
                 ended, file);
    int rc = submit(file);
    file->is_busy = rc == 0;
    return rc;
}

void plx_file_cancel(struct plx_file *file)
{
    if (!file->is_busy || file->stage > STAGE_COMPARE)
        return;
    file->is_cancelled = true;
    plx_op_cancel(file->reactor, &file->op);
}

static int check_idle(const struct plx_file *file)
{
    if (file->is_busy)
        return -EBUSY;
    return plx_file_is_open(file) ? 0 : -EBADF;
}

/* Submits the op that was prepared for `stage`, or leaves that to the last I/O. */
static int start(struct plx_file *file, enum stage stage, plx_file_fn fn, void *ctx)
{
    file->stage = (uint8_t)stage;
    file->fn = fn;
    file->ctx = ctx;
    bool waits = stage == STAGE_CLOSE && file->ios != 0;
    int rc = waits ? 0 : submit(file);
    file->is_busy = rc == 0;
    file->is_closing = rc == 0 && stage == STAGE_CLOSE;
    return rc;
}

int plx_file_close(struct plx_file *file, plx_file_fn fn, void *ctx)
{
    int rc = check_idle(file);
    if (rc != 0)
        return rc;
    plx_op_close(&file->op, plx_file_fd(file), ended, file);
    return start(file, STAGE_CLOSE, fn, ctx);
}

int plx_file_look(struct plx_file *file, plx_file_fn fn, void *ctx)
{
    int rc = check_idle(file);
    if (rc != 0)
        return rc;
    plx_op_statx(&file->op, plx_file_fd(file), "", AT_EMPTY_PATH, LOOK_MASK,
                 (struct statx *)(void *)file->stat, ended, file);
    return start(file, STAGE_LOOK, fn, ctx);
}

/* --- what was had ----------------------------------------------------------------------------- */

static void explain_direct(const struct plx_file *file, plx_text_fn sink, void *ctx)
{
    switch ((enum direct_story)file->direct_story) {
    case STORY_ALIGN_UNKNOWN:
        plx_text_line(sink, ctx,
                      "the file system does not tell its alignments for direct I/O: %d is taken",
                      PLX_PAGE);
        break;
    case STORY_REFUSED:
        plx_text_line(sink, ctx, "direct I/O refused (%s): through the kernel's cache",
                      strerrordesc_np(-file->direct_code));
        break;
    case STORY_NOT_HERE:
        plx_text_line(sink, ctx,
                      "no direct I/O on this file, its file system says: through the "
                      "kernel's cache");
        break;
    case STORY_OTHER_FILE:
        plx_text_line(sink, ctx,
                      "no direct I/O, as the path led to another file when it was opened "
                      "again: through the kernel's cache");
        break;
    default:
        break;
    }
}

void plx_file_explain(const struct plx_file *file, plx_text_fn sink, void *ctx)
{
    if (!plx_file_is_open(file))
        plx_text_line(sink, ctx, "not open%s%s", file->result != 0 ? ": " : "",
                      file->result != 0 ? strerrordesc_np(-file->result) : "");
    else if (file->is_direct)
        plx_text_line(sink, ctx, "descriptor %d, %llu bytes, direct: memory to %u, offsets to %u",
                      plx_file_fd(file), (unsigned long long)file->size, file->memory_align,
                      file->offset_align);
    else
        plx_text_line(sink, ctx, "descriptor %d, %llu bytes, through the kernel's cache",
                      plx_file_fd(file), (unsigned long long)file->size);
    explain_direct(file, sink, ctx);
    if (file->registered_code != 0)
        plx_text_line(sink, ctx, "descriptor not registered (%s): looked up by each op",
                      strerrordesc_np(-file->registered_code));
}
