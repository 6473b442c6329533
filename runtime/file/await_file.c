/* SPDX-License-Identifier: MIT */
#include "runtime/file/await_file.h"

#include <errno.h>

#include "runtime/sched/sync.h"
#include "runtime/sched/task.h"
#include "runtime/sched/task_internal.h"

/* One request of a task's. */
struct waited {
    struct plx_file_io io;
    struct plx_promise promise;
};

static void keep(struct plx_file_io *io, int64_t result, void *ctx)
{
    (void)io;
    plx_promise_keep(&((struct waited *)ctx)->promise, result);
}

static void ask_to_end(void *ctx)
{
    plx_file_io_cancel(&((struct waited *)ctx)->io);
}

/* Begins by `start`, which uses `waited`, and waits. */
#define AWAIT_IO(start)                                                                            \
    struct waited waited = {.promise = {.kept = false}};                                           \
    int rc = plx_task_may_wait();                                                                  \
    while (rc == 0 && (rc = (start)) == -EAGAIN)                                                   \
        rc = plx_task_yield();                                                                     \
    return rc == 0 ? plx_promise_await(&waited.promise, ask_to_end, &waited) : rc

int64_t plx_await_file_read(struct plx_file *file, void *buf, uint32_t len, uint64_t offset)
{
    AWAIT_IO(plx_file_read(file, &waited.io, buf, len, offset, keep, &waited));
}

int64_t plx_await_file_write(struct plx_file *file, const void *data, uint32_t len, uint64_t offset)
{
    AWAIT_IO(plx_file_write(file, &waited.io, data, len, offset, keep, &waited));
}

int64_t plx_await_file_read_fixed(struct plx_file *file, void *buf, uint32_t len, uint64_t offset)
{
    AWAIT_IO(plx_file_read_fixed(file, &waited.io, buf, len, offset, keep, &waited));
}

int64_t plx_await_file_write_fixed(struct plx_file *file, const void *data, uint32_t len,
                                   uint64_t offset)
{
    AWAIT_IO(plx_file_write_fixed(file, &waited.io, data, len, offset, keep, &waited));
}

int64_t plx_await_file_readv(struct plx_file *file, const struct iovec *iov, uint32_t count,
                             uint64_t offset)
{
    AWAIT_IO(plx_file_readv(file, &waited.io, iov, count, offset, keep, &waited));
}

int64_t plx_await_file_writev(struct plx_file *file, const struct iovec *iov, uint32_t count,
                              uint64_t offset)
{
    AWAIT_IO(plx_file_writev(file, &waited.io, iov, count, offset, keep, &waited));
}

int64_t plx_await_file_read_all(struct plx_file *file, void *buf, uint64_t len, uint64_t offset)
{
    AWAIT_IO(plx_file_read_all(file, &waited.io, buf, len, offset, keep, &waited));
}

int64_t plx_await_file_write_all(struct plx_file *file, const void *data, uint64_t len,
                                 uint64_t offset)
{
    AWAIT_IO(plx_file_write_all(file, &waited.io, data, len, offset, keep, &waited));
}

int64_t plx_await_file_read_buf(struct plx_file *file, struct plx_buf *buf, uint64_t offset)
{
    AWAIT_IO(plx_file_read_buf(file, &waited.io, buf, offset, keep, &waited));
}

int64_t plx_await_file_write_buf(struct plx_file *file, const struct plx_buf *buf, uint64_t offset)
{
    AWAIT_IO(plx_file_write_buf(file, &waited.io, buf, offset, keep, &waited));
}

int64_t plx_await_file_sync(struct plx_file *file, uint32_t what)
{
    AWAIT_IO(plx_file_sync(file, &waited.io, what, keep, &waited));
}

int64_t plx_await_file_allocate(struct plx_file *file, uint32_t mode, uint64_t offset,
                                uint64_t bytes)
{
    AWAIT_IO(plx_file_allocate(file, &waited.io, mode, offset, bytes, keep, &waited));
}

/* --- opening and closing ---------------------------------------------------------------------- */

static void keep_file(struct plx_file *file, int result, void *ctx)
{
    (void)file;
    plx_promise_keep(ctx, result);
}

static void ask_to_open_no_more(void *ctx)
{
    plx_file_cancel(ctx);
}

int plx_await_file_open(struct plx_file *file, const char *path, const struct plx_file_opts *opts)
{
    struct plx_promise promise = {.kept = false};
    int rc = plx_task_may_wait();
    if (rc != 0)
        return rc;
    struct plx_reactor *reactor = plx__task_running->tasks->reactor;
    do
        rc = plx_file_open(file, reactor, path, opts, keep_file, &promise);
    while (rc == -EAGAIN && (rc = plx_task_yield()) == 0);
    return rc == 0 ? (int)plx_promise_await(&promise, ask_to_open_no_more, file) : rc;
}

int plx_await_file_look(struct plx_file *file)
{
    struct plx_promise promise = {.kept = false};
    int rc = plx_task_may_wait();
    while (rc == 0 && (rc = plx_file_look(file, keep_file, &promise)) == -EAGAIN)
        rc = plx_task_yield();
    return rc == 0 ? (int)plx_promise_await(&promise, NULL, NULL) : rc;
}

int plx_await_file_close(struct plx_file *file)
{
    struct plx_promise promise = {.kept = false};
    int rc = plx_task_self() != NULL ? 0 : -EDEADLK;
    while (rc == 0 && (rc = plx_file_close(file, keep_file, &promise)) == -EAGAIN)
        rc = plx_task_yield() == -EDEADLK ? -EDEADLK : 0;
    return rc == 0 ? (int)plx_promise_await(&promise, NULL, NULL) : rc;
}
