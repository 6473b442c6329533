/* SPDX-License-Identifier: MIT */
/* The journal's pages, and its requests: one at a time in each of two tasks. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "runtime/file/file_internal.h"
#include "runtime/file/journal_internal.h"
#include "runtime/io/io_internal.h"

/* How often a lock is tried, and how far apart: for a second. */
#define LOCK_TRIES    100u
#define LOCK_APART_NS 10000000u

/* --- pages ------------------------------------------------------------------------------------ */

uint32_t plx__journal_seed(uint64_t id, uint64_t number)
{
    uint64_t both[2] = {id, number};
    return plx__crc32c(0, both, sizeof(both));
}

static uint32_t crc_of(const void *page, size_t bytes)
{
    return plx__crc32c(0, (const char *)page + 4, bytes - 4);
}

void plx__journal_seal_control(struct plx__journal_control *control)
{
    control->magic = PLX__JOURNAL_CONTROL_MAGIC;
    control->version = PLX__JOURNAL_VERSION;
    control->crc = crc_of(control, sizeof(*control));
}

bool plx__journal_is_control(const struct plx__journal_control *control)
{
    return control->magic == PLX__JOURNAL_CONTROL_MAGIC &&
           control->crc == crc_of(control, sizeof(*control));
}

void plx__journal_seal_header(struct plx__journal_header *header)
{
    header->magic = PLX__JOURNAL_SEGMENT_MAGIC;
    header->version = PLX__JOURNAL_VERSION;
    header->crc = crc_of(header, sizeof(*header));
}

bool plx__journal_is_header(const struct plx__journal_header *header)
{
    return header->magic == PLX__JOURNAL_SEGMENT_MAGIC &&
           header->crc == crc_of(header, sizeof(*header));
}

void plx__journal_slot_name(char *out, size_t bytes, uint32_t slot)
{
    snprintf(out, bytes, "segment-%02u", slot % 100);
}

/* --- requests --------------------------------------------------------------------------------- */

static void finish(struct plx__journal_task *task, int64_t result)
{
    task->is_busy = false;
    task->next(task->journal, result);
}

static void try_start(struct plx__journal_task *task);

/* Of the folder: files see to being interrupted themselves. A close that was has let go all the
 * same. */
static void op_ended(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    (void)op;
    struct plx__journal_task *task = ctx;
    if (event->result == -EINTR && task->what != PLX__TASK_CLOSE_FOLDER &&
        ++task->interrupts < PLX__FILE_ATTEMPTS_MAX)
        try_start(task);
    else
        finish(task, event->result);
}

static void io_ended(struct plx_file_io *io, int64_t result, void *ctx)
{
    (void)io;
    struct plx__journal_task *task = ctx;
    bool is_short = task->what == PLX__TASK_WRITE && result >= 0 && (uint64_t)result != task->bytes;
    finish(task, is_short ? -EIO : result);
}

static void file_ended(struct plx_file *file, int result, void *ctx)
{
    (void)file;
    finish(ctx, result);
}

static int open_it(struct plx__journal_task *task)
{
    const struct plx_journal *journal = task->journal;
    struct plx_file_opts opts;
    plx_file_opts_init(&opts);
    opts.access = (uint32_t)task->offset;
    opts.mode = 0600;
    opts.direct = journal->opts.direct;
    /* The control page is written rarely. */
    opts.registers = task->file == &journal->control ? PLX_WANT_NO : journal->opts.registers;
    opts.dir = journal->folder_fd - 1;
    return plx_file_open(task->file, journal->reactor, task->name, &opts, file_ended, task);
}

static int start_folder(struct plx__journal_task *task)
{
    struct plx_journal *journal = task->journal;
    switch ((enum plx__journal_what)task->what) {
    case PLX__TASK_OPEN_FOLDER:
        plx_op_openat(&task->op, AT_FDCWD, journal->folder, O_RDONLY | O_DIRECTORY, 0, op_ended,
                      task);
        break;
    case PLX__TASK_SYNC_FOLDER:
        plx_op_fsync(&task->op, journal->folder_fd - 1, 0, op_ended, task);
        break;
    default:
        plx_op_close(&task->op, journal->folder_fd - 1, op_ended, task);
        break;
    }
    return plx_op_submit(journal->reactor, &task->op);
}

static int try_lock(struct plx_journal *journal, const struct plx_file *file)
{
    int rc = plx__reactor_io(journal->reactor)->plain->lock(plx_file_fd(file));
    switch (rc) {
    case -EAGAIN:
    case -EACCES:
        return -EBUSY;
    case -EINVAL:
    case -ENOSYS:
    case -ENOLCK:
    case -EOPNOTSUPP:
        /* Not every file system has locks. */
        journal->lock_code = rc;
        return 0;
    default:
        return rc;
    }
}

static void look_again(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    (void)op;
    (void)event;
    try_start(ctx);
}

/*
 * An I/O that a killed process left behind keeps its file open, and with it the lock, although the
 * process is gone. That is waited for, by an op each turn rather than by a timer: a reactor that
 * stops waits for its ops, and takes no more of them, by which the wait is told.
 */
static int lock_it(struct plx__journal_task *task)
{
    struct plx_journal *journal = task->journal;
    uint64_t now = plx__io_now_ns(plx__reactor_io(journal->reactor));
    int rc = -EBUSY;
    if (now >= journal->lock_at_ns) {
        rc = try_lock(journal, task->file);
        journal->lock_at_ns = now + LOCK_APART_NS;
        journal->lock_tries++;
    }
    if (rc == 0)
        finish(task, 0);
    if (rc != -EBUSY)
        return rc;
    if (journal->state == PLX__JOURNAL_CLOSING)
        return -ECANCELED;
    if (journal->lock_tries >= LOCK_TRIES)
        return -EBUSY;
    plx_op_nop(&task->op, look_again, task);
    return plx_op_submit(journal->reactor, &task->op);
}

static int start(struct plx__journal_task *task)
{
    struct plx_file *file = task->file;
    switch ((enum plx__journal_what)task->what) {
    case PLX__TASK_OPEN:
        return open_it(task);
    case PLX__TASK_READ:
        return plx_file_read_all(file, &task->io, task->data, task->bytes, task->offset, io_ended,
                                 task);
    case PLX__TASK_WRITE:
        return plx_file_write_all(file, &task->io, task->data, task->bytes, task->offset, io_ended,
                                  task);
    case PLX__TASK_SYNC:
        return plx_file_sync(file, &task->io, 0, io_ended, task);
    case PLX__TASK_DATA:
        return plx_file_sync(file, &task->io, PLX_FSYNC_DATA, io_ended, task);
    case PLX__TASK_ALLOCATE:
        return plx_file_allocate(file, &task->io, 0, 0, task->bytes, io_ended, task);
    case PLX__TASK_LOCK:
        return lock_it(task);
    case PLX__TASK_CLOSE:
        return plx_file_close(file, file_ended, task);
    default:
        return start_folder(task);
    }
}

static void try_again(struct plx_timer *timer, void *ctx)
{
    (void)timer;
    try_start(ctx);
}

static void try_start(struct plx__journal_task *task)
{
    int rc = start(task);
    if (rc == -EAGAIN)
        plx_timer_arm(task->journal->reactor, &task->timer, 0, try_again, task);
    else if (rc != 0)
        finish(task, rc);
}

void plx__journal_run(struct plx__journal_task *task, enum plx__journal_what what,
                      plx__journal_next_fn next)
{
    PLX_ASSERT(!task->is_busy);
    task->is_busy = true;
    task->what = (uint8_t)what;
    task->interrupts = 0;
    task->next = next;
    try_start(task);
}

void plx__journal_open_file(struct plx_journal *journal, struct plx_file *file, const char *name,
                            uint32_t access, plx__journal_next_fn next)
{
    struct plx__journal_task *task = &journal->upkeep;
    snprintf(task->name, sizeof(task->name), "%s", name);
    task->offset = access;
    plx__journal_run_file(task, PLX__TASK_OPEN, file, next);
}

/* --- locks ------------------------------------------------------------------------------------ */

void plx__journal_lock(struct plx_journal *journal, struct plx_file *file,
                       plx__journal_next_fn next)
{
    journal->lock_tries = 0;
    journal->lock_at_ns = 0;
    plx__journal_run_file(&journal->upkeep, PLX__TASK_LOCK, file, next);
}
