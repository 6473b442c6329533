/* SPDX-License-Identifier: MIT */
/*
 * Files in straight lines: runtime/file/file.h, in a task.
 *
 * Each function is the one of that name there, which says what it does and what its result is; its
 * I/O lies on the task's stack. Where the ring is full it yields and tries again. Cancelling the
 * task cancels the I/O, and the wait goes on until that has ended; a wait that is refused has begun
 * nothing. A close is neither refused nor cancelled. Errors beside those: -ECANCELED, -EDEADLK
 * outside of a task.
 *
 * Threads: the one that polls the reactor, in tasks.
 */
#ifndef POLLUX_AWAIT_FILE_H
#define POLLUX_AWAIT_FILE_H

#include "runtime/file/file.h"

PLX_EXTERN_C_BEGIN

PLX_API PLX_MUST_CHECK int plx_await_file_open(struct plx_file *file, const char *path,
                                               const struct plx_file_opts *opts);
PLX_API PLX_MUST_CHECK int plx_await_file_close(struct plx_file *file);
PLX_API PLX_MUST_CHECK int plx_await_file_look(struct plx_file *file);

PLX_API PLX_MUST_CHECK int64_t plx_await_file_read(struct plx_file *file, void *buf, uint32_t len,
                                                   uint64_t offset);
PLX_API PLX_MUST_CHECK int64_t plx_await_file_write(struct plx_file *file, const void *data,
                                                    uint32_t len, uint64_t offset);
PLX_API PLX_MUST_CHECK int64_t plx_await_file_read_fixed(struct plx_file *file, void *buf,
                                                         uint32_t len, uint64_t offset);
PLX_API PLX_MUST_CHECK int64_t plx_await_file_write_fixed(struct plx_file *file, const void *data,
                                                          uint32_t len, uint64_t offset);
PLX_API PLX_MUST_CHECK int64_t plx_await_file_readv(struct plx_file *file, const struct iovec *iov,
                                                    uint32_t count, uint64_t offset);
PLX_API PLX_MUST_CHECK int64_t plx_await_file_writev(struct plx_file *file, const struct iovec *iov,
                                                     uint32_t count, uint64_t offset);
PLX_API PLX_MUST_CHECK int64_t plx_await_file_read_all(struct plx_file *file, void *buf,
                                                       uint64_t len, uint64_t offset);
PLX_API PLX_MUST_CHECK int64_t plx_await_file_write_all(struct plx_file *file, const void *data,
                                                        uint64_t len, uint64_t offset);
PLX_API PLX_MUST_CHECK int64_t plx_await_file_read_buf(struct plx_file *file, struct plx_buf *buf,
                                                       uint64_t offset);
PLX_API PLX_MUST_CHECK int64_t plx_await_file_write_buf(struct plx_file *file,
                                                        const struct plx_buf *buf, uint64_t offset);
PLX_API PLX_MUST_CHECK int64_t plx_await_file_sync(struct plx_file *file, uint32_t what);
PLX_API PLX_MUST_CHECK int64_t plx_await_file_allocate(struct plx_file *file, uint32_t mode,
                                                       uint64_t offset, uint64_t bytes);

PLX_EXTERN_C_END

#endif
