/* SPDX-License-Identifier: MIT */
/* Transfers on files: plain and direct, short ones that go on, and each way of failing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "runtime/reactor_internal.h"
#include "test/runtime/file/faults.h"
#include "test/runtime/file/file_fixture.h"

#define FRAME  ((size_t)4096)
#define FRAMES 8u

static struct plx_file file;
static struct plx_file_io io;
static struct outcome outcome;

static int64_t finish(struct bench *bench, int rc)
{
    return await(bench, &outcome, rc);
}

/* Opens with direct I/O, or skips. */
static void open_direct(struct bench *bench)
{
    need_files(bench);
    struct plx_file_opts opts;
    plx_file_opts_init(&opts);
    opts.access = PLX_FILE_READ | PLX_FILE_WRITE | PLX_FILE_CREATE;
    opts.direct = PLX_WANT_TRY;
    assert_int_equal(open_file(bench, &file, bench->path, &opts), 0);
    if (plx_file_is_direct(&file))
        return;
    close_file(bench, &file);
    print_message("skipped: no direct I/O on %s\n", bench->path);
    skip();
}

static void open_plain(struct bench *bench)
{
    need_files(bench);
    assert_int_equal(open_file(bench, &file, bench->path, NULL), 0);
}

static void make_buf(struct bench *bench, struct plx_buf *buf, size_t bytes)
{
    (void)bench;
    assert_int_equal(plx_buf_zeroed(buf, bytes, NULL), 0);
}

/* --- one op ----------------------------------------------------------------------------------- */

static void transfers_come_back_as_written(void **state)
{
    struct bench *bench = *state;
    open_plain(bench);
    uint8_t out[5000], in[6000];
    fill_pattern(out, 100, sizeof(out));
    assert_int_equal(
        finish(bench, plx_file_write(&file, &io, out, sizeof(out), 100, note_io, &outcome)),
        sizeof(out));
    assert_int_equal(io.done, sizeof(out));
    assert_int_equal(finish(bench, plx_file_sync(&file, &io, PLX_FSYNC_DATA, note_io, &outcome)),
                     0);
    assert_int_equal(finish(bench, plx_file_sync(&file, &io, 0, note_io, &outcome)), 0);
    assert_int_equal(io.done, 0);
    assert_int_equal(
        finish(bench, plx_file_read(&file, &io, in, sizeof(in), 100, note_io, &outcome)),
        sizeof(out));
    expect_pattern(in, 100, sizeof(out));
    assert_int_equal(finish(bench, plx_file_read(&file, &io, in, 10, 9999, note_io, &outcome)), 0);

    struct iovec parts[3] = {{in, 1000}, {in + 1000, 0}, {in + 1000, 2000}};
    memset(in, 0, sizeof(in));
    assert_int_equal(finish(bench, plx_file_readv(&file, &io, parts, 3, 100, note_io, &outcome)),
                     3000);
    expect_pattern(in, 100, 3000);
    fill_pattern(in, 7000, 3000);
    assert_int_equal(finish(bench, plx_file_writev(&file, &io, parts, 3, 7000, note_io, &outcome)),
                     3000);
    memset(in, 0, sizeof(in));
    assert_int_equal(finish(bench, plx_file_read(&file, &io, in, 3000, 7000, note_io, &outcome)),
                     3000);
    expect_pattern(in, 7000, 3000);
    close_file(bench, &file);
}

static void fixed_transfers_take_buffers_of_the_arena_only(void **state)
{
    struct bench *bench = *state;
    open_direct(bench);
    struct plx_pool *pool = plx_reactor_pool(bench->reactor);
    uint8_t *block = plx_pool_acquire(pool, FRAME);
    assert_non_null(block);
    fill_pattern(block, 0, FRAME);
    assert_int_equal(
        finish(bench, plx_file_write_fixed(&file, &io, block, FRAME, 0, note_io, &outcome)), FRAME);
    memset(block, 0, FRAME);
    assert_int_equal(
        finish(bench, plx_file_read_fixed(&file, &io, block, FRAME, 0, note_io, &outcome)), FRAME);
    expect_pattern(block, 0, FRAME);
    plx_pool_release(pool, block);

    struct plx_buf buf;
    make_buf(bench, &buf, FRAME);
    assert_int_equal(plx_file_read_fixed(&file, &io, buf.ptr, FRAME, 0, note_io, &outcome),
                     -EFAULT);
    assert_int_equal(plx_file_write_fixed(&file, &io, buf.ptr, FRAME, 0, note_io, &outcome),
                     -EFAULT);
    plx_buf_fini(&buf);
    close_file(bench, &file);
}

static void every_frame_of_a_buffer_makes_the_round_trip_directly(void **state)
{
    struct bench *bench = *state;
    open_direct(bench);
    struct plx_pool *pools[] = {NULL, plx_reactor_pool(bench->reactor)};
    for (unsigned p = 0; p < 2; p++) {
        struct plx_buf buf;
        assert_int_equal(plx_buf_zeroed(&buf, FRAMES * FRAME, pools[p]), 0);
        for (unsigned i = 0; i < FRAMES; i++) {
            struct plx_view frame;
            assert_int_equal(plx_buf_frame(&buf, FRAME, i, &frame), 0);
            fill_pattern(frame.ptr, i * FRAME, FRAME);
            assert_int_equal(plx_view_set_len(&frame, FRAME), 0);
            assert_int_equal(
                finish(bench, plx_file_write_view(&file, &io, frame, i * FRAME, note_io, &outcome)),
                FRAME);
            memset(frame.ptr, 0, FRAME);
            assert_int_equal(
                finish(bench, plx_file_read_view(&file, &io, frame, i * FRAME, note_io, &outcome)),
                FRAME);
            expect_pattern(frame.ptr, i * FRAME, FRAME);
        }
        plx_buf_fini(&buf);
    }
    close_file(bench, &file);
}

static void what(const struct plx_buf *buf, uint64_t at, uint64_t len, uint64_t offset,
                 const char *name)
{
    struct plx_diag diag = {0};
    int rc = plx_file_check(&file, buf->ptr + at, len, offset, &diag);
    assert_int_equal(rc, name == NULL ? 0 : -EINVAL);
    assert_string_equal(diag.what, name == NULL ? "" : name);
}

static void misaligned_direct_transfer_is_refused_by_name(void **state)
{
    struct bench *bench = *state;
    open_direct(bench);
    struct plx_buf buf;
    make_buf(bench, &buf, 2 * FRAME);
    what(&buf, 0, FRAME, 0, NULL);
    what(&buf, 0, FRAME, 100, "offset");
    what(&buf, 0, FRAME + 1, 0, "length");
    if (plx_file_memory_align(&file) > 1)
        what(&buf, 1, FRAME, 0, "memory");
    uint8_t *p = buf.ptr;
    uint32_t seen = faults_seen(PLX_OP_NONE);
    struct iovec odd[2] = {{p, FRAME}, {p + FRAME, 100}};
    assert_int_equal(plx_file_read(&file, &io, p, 100, 0, note_io, &outcome), -EINVAL);
    assert_int_equal(plx_file_write(&file, &io, p, FRAME, 1, note_io, &outcome), -EINVAL);
    assert_int_equal(plx_file_read_fixed(&file, &io, p, 100, 0, note_io, &outcome), -EINVAL);
    assert_int_equal(plx_file_write_fixed(&file, &io, p, 100, 0, note_io, &outcome), -EINVAL);
    assert_int_equal(plx_file_readv(&file, &io, odd, 2, 0, note_io, &outcome), -EINVAL);
    assert_int_equal(plx_file_writev(&file, &io, odd, 2, 0, note_io, &outcome), -EINVAL);
    assert_int_equal(plx_file_writev(&file, &io, odd, 1, 5, note_io, &outcome), -EINVAL);
    assert_int_equal(plx_file_read_all(&file, &io, p, 100, 0, note_io, &outcome), -EINVAL);
    assert_int_equal(plx_file_write_all(&file, &io, p, 100, 0, note_io, &outcome), -EINVAL);
    assert_int_equal(plx_file_read_buf(&file, &io, &buf, 100, note_io, &outcome), -EINVAL);
    assert_int_equal(faults_seen(PLX_OP_NONE), seen);
    plx_buf_fini(&buf);
    close_file(bench, &file);
}

static void transfers_on_a_closed_file_are_refused(void **state)
{
    struct bench *bench = *state;
    open_plain(bench);
    close_file(bench, &file);
    uint8_t data[16];
    struct iovec part = {data, sizeof(data)};
    struct plx_buf buf;
    make_buf(bench, &buf, FRAME);
    struct plx_diag diag;
    assert_int_equal(plx_file_check(&file, data, 1, 0, &diag), -EBADF);
    assert_int_equal(plx_file_read(&file, &io, data, 16, 0, note_io, &outcome), -EBADF);
    assert_int_equal(plx_file_write(&file, &io, data, 16, 0, note_io, &outcome), -EBADF);
    assert_int_equal(plx_file_read_fixed(&file, &io, data, 16, 0, note_io, &outcome), -EBADF);
    assert_int_equal(plx_file_write_fixed(&file, &io, data, 16, 0, note_io, &outcome), -EBADF);
    assert_int_equal(plx_file_readv(&file, &io, &part, 1, 0, note_io, &outcome), -EBADF);
    assert_int_equal(plx_file_writev(&file, &io, &part, 1, 0, note_io, &outcome), -EBADF);
    assert_int_equal(plx_file_read_all(&file, &io, data, 16, 0, note_io, &outcome), -EBADF);
    assert_int_equal(plx_file_write_all(&file, &io, data, 16, 0, note_io, &outcome), -EBADF);
    assert_int_equal(plx_file_read_buf(&file, &io, &buf, 0, note_io, &outcome), -EBADF);
    assert_int_equal(plx_file_sync(&file, &io, 0, note_io, &outcome), -EBADF);
    assert_int_equal(plx_file_allocate(&file, &io, 0, 0, 1, note_io, &outcome), -EBADF);
    plx_buf_fini(&buf);
}

static void too_many_parts_are_refused(void **state)
{
    struct bench *bench = *state;
    open_plain(bench);
    struct iovec part = {NULL, 0};
    assert_int_equal(plx_file_readv(&file, &io, &part, PLX_IOV_MAX + 1, 0, note_io, &outcome),
                     -EINVAL);
    close_file(bench, &file);
}

static void allocate_makes_the_file_longer(void **state)
{
    struct bench *bench = *state;
    open_plain(bench);
    int64_t result = finish(bench, plx_file_allocate(&file, &io, 0, 0, 100000, note_io, &outcome));
    if (result == -EOPNOTSUPP) {
        close_file(bench, &file);
        print_message("skipped: the file system cannot\n");
        skip();
    }
    assert_int_equal(result, 0);
    struct stat stat;
    assert_int_equal(fstat(plx_file_fd(&file), &stat), 0);
    assert_int_equal(stat.st_size, 100000);
    assert_true(stat.st_blocks * 512 >= 100000);
    close_file(bench, &file);
}

static void errors_of_one_op_are_told(void **state)
{
    struct bench *bench = *state;
    open_plain(bench);
    uint8_t data[16];
    faults_begin(bench->reactor);
    static const enum plx_op_code codes[] = {PLX_OP_READ, PLX_OP_WRITE, PLX_OP_FSYNC,
                                             PLX_OP_FALLOCATE};
    for (unsigned i = 0; i < 4; i++)
        faults_add(&(struct fault){FAULT_RESULT, codes[i], 0, 1, -EIO, NULL, NULL, NULL});
    assert_int_equal(finish(bench, plx_file_read(&file, &io, data, 16, 0, note_io, &outcome)),
                     -EIO);
    assert_int_equal(finish(bench, plx_file_write(&file, &io, data, 16, 0, note_io, &outcome)),
                     -EIO);
    assert_int_equal(finish(bench, plx_file_sync(&file, &io, 0, note_io, &outcome)), -EIO);
    assert_int_equal(finish(bench, plx_file_allocate(&file, &io, 0, 0, 1, note_io, &outcome)),
                     -EIO);
    assert_int_equal(io.done, 0);
    faults_add(&(struct fault){FAULT_REFUSE, PLX_OP_READ, 0, 1, -EAGAIN, NULL, NULL, NULL});
    assert_int_equal(plx_file_read(&file, &io, data, 16, 0, note_io, &outcome), -EAGAIN);
    faults_end();
    close_file(bench, &file);
}

static void sync_and_allocate_are_tried_again_when_interrupted(void **state)
{
    struct bench *bench = *state;
    open_plain(bench);
    faults_begin(bench->reactor);
    for (unsigned i = 0; i < 2; i++) {
        enum plx_op_code code = i == 0 ? PLX_OP_FSYNC : PLX_OP_FALLOCATE;
        static const struct {
            enum fault_kind kind;
            uint32_t times;
            int32_t value, expected;
        } rows[] = {
            {FAULT_RESULT, 99, -EINTR, 0}, {FAULT_RESULT, 100, -EINTR, -EINTR},
            {FAULT_RESULT, 1, -EIO, -EIO}, {FAULT_REFUSE, 1, -ESHUTDOWN, -ESHUTDOWN},
            {FAULT_REFUSE, 5, -EAGAIN, 0},
        };
        for (size_t r = 0; r < sizeof(rows) / sizeof(*rows); r++) {
            faults_clear();
            /* What is refused, is so behind an interruption. */
            if (rows[r].kind == FAULT_REFUSE)
                faults_add(&(struct fault){FAULT_RESULT, code, 0, 1, -EINTR, NULL, NULL, NULL});
            faults_add(&(struct fault){rows[r].kind, code, 0, rows[r].times, rows[r].value, NULL,
                                       NULL, NULL});
            int rc = i == 0 ? plx_file_sync(&file, &io, PLX_FSYNC_DATA, note_io, &outcome)
                            : plx_file_allocate(&file, &io, 0, 0, 1000, note_io, &outcome);
            int64_t result = finish(bench, rc);
            if (i == 1 && result == -EOPNOTSUPP)
                continue; /* the file system cannot */
            assert_int_equal(result, rows[r].expected);
        }
        /* Not when it is to end, be that before or while it waits for room. */
        for (unsigned waits = 0; waits < 2; waits++) {
            uint32_t seen = faults_seen(code);
            faults_clear();
            faults_add(&(struct fault){FAULT_RESULT, code, 0, 1, -EINTR, NULL, NULL, NULL});
            if (waits)
                faults_add(
                    &(struct fault){FAULT_REFUSE, code, 0, 100000, -EAGAIN, NULL, NULL, NULL});
            int rc = i == 0 ? plx_file_sync(&file, &io, 0, note_io, &outcome)
                            : plx_file_allocate(&file, &io, 0, 0, 1000, note_io, &outcome);
            if (waits)
                WORLD_UNTIL(bench->world, faults_seen(code) > seen + 1);
            plx_file_io_cancel(&io);
            assert_int_equal(finish(bench, rc), -ECANCELED);
        }
    }
    faults_end();
    close_file(bench, &file);
}

/* --- all of it -------------------------------------------------------------------------------- */

static void all_goes_on_after_short_transfers(void **state)
{
    struct bench *bench = *state;
    open_plain(bench);
    uint8_t out[10000], in[12000];
    fill_pattern(out, 50, sizeof(out));
    faults_begin(bench->reactor);
    faults_add(&(struct fault){FAULT_SHORT, PLX_OP_WRITE, 0, 5, 333, NULL, NULL, NULL});
    faults_add(&(struct fault){FAULT_RESULT, PLX_OP_WRITE, 0, 99, -EINTR, NULL, NULL, NULL});
    assert_int_equal(
        finish(bench, plx_file_write_all(&file, &io, out, sizeof(out), 50, note_io, &outcome)),
        sizeof(out));
    assert_int_equal(io.done, sizeof(out));
    assert_int_equal(faults_seen(PLX_OP_WRITE), 5 + 99 + 1);
    faults_add(&(struct fault){FAULT_SHORT, PLX_OP_READ, 0, 3, 1, NULL, NULL, NULL});
    faults_add(&(struct fault){FAULT_RESULT, PLX_OP_READ, 0, 3, -EAGAIN, NULL, NULL, NULL});
    faults_add(&(struct fault){FAULT_SHORT, PLX_OP_READ, 0, 3, 700, NULL, NULL, NULL});
    /* More than there is: the end of the file ends it. */
    assert_int_equal(
        finish(bench, plx_file_read_all(&file, &io, in, sizeof(in), 50, note_io, &outcome)),
        sizeof(out));
    expect_pattern(in, 50, sizeof(out));
    assert_int_equal(finish(bench, plx_file_read_all(&file, &io, in, 0, 50, note_io, &outcome)), 0);
    assert_int_equal(finish(bench, plx_file_write_all(&file, &io, in, 0, 50, note_io, &outcome)),
                     0);
    faults_end();
    close_file(bench, &file);
}

static void all_ends_with_an_error_and_tells_how_far(void **state)
{
    struct bench *bench = *state;
    open_plain(bench);
    uint8_t data[1000] = {0};
    faults_begin(bench->reactor);
    faults_add(&(struct fault){FAULT_SHORT, PLX_OP_WRITE, 0, 1, 333, NULL, NULL, NULL});
    faults_add(&(struct fault){FAULT_RESULT, PLX_OP_WRITE, 0, 1, -ENOSPC, NULL, NULL, NULL});
    assert_int_equal(
        finish(bench, plx_file_write_all(&file, &io, data, 1000, 0, note_io, &outcome)), -ENOSPC);
    assert_int_equal(io.done, 333);

    /* What writes nothing for no reason, and what never gets on. */
    faults_clear();
    faults_add(&(struct fault){FAULT_SHORT, PLX_OP_WRITE, 0, 1, 5, NULL, NULL, NULL});
    faults_add(&(struct fault){FAULT_RESULT, PLX_OP_WRITE, 0, 1, 0, NULL, NULL, NULL});
    assert_int_equal(
        finish(bench, plx_file_write_all(&file, &io, data, 1000, 0, note_io, &outcome)), -EIO);
    assert_int_equal(io.done, 5);
    faults_clear();
    faults_add(&(struct fault){FAULT_RESULT, PLX_OP_READ, 0, 1000, -EINTR, NULL, NULL, NULL});
    uint32_t seen = faults_seen(PLX_OP_READ);
    assert_int_equal(finish(bench, plx_file_read_all(&file, &io, data, 1000, 0, note_io, &outcome)),
                     -EINTR);
    assert_int_equal(faults_seen(PLX_OP_READ) - seen, 100);

    faults_clear();
    faults_add(&(struct fault){FAULT_SHORT, PLX_OP_READ, 0, 1, 10, NULL, NULL, NULL});
    faults_add(&(struct fault){FAULT_REFUSE, PLX_OP_READ, 0, 1, -ESHUTDOWN, NULL, NULL, NULL});
    assert_int_equal(finish(bench, plx_file_read_all(&file, &io, data, 100, 0, note_io, &outcome)),
                     -ESHUTDOWN);
    assert_int_equal(io.done, 10);
    faults_end();
    close_file(bench, &file);
}

static void all_waits_for_room_in_the_ring(void **state)
{
    struct bench *bench = *state;
    put_pattern(bench->path, 1000);
    open_plain(bench);
    uint8_t data[1000];
    faults_begin(bench->reactor);
    faults_add(&(struct fault){FAULT_SHORT, PLX_OP_READ, 0, 1, 10, NULL, NULL, NULL});
    faults_add(&(struct fault){FAULT_REFUSE, PLX_OP_READ, 0, 5, -EAGAIN, NULL, NULL, NULL});
    assert_int_equal(finish(bench, plx_file_read_all(&file, &io, data, 1000, 0, note_io, &outcome)),
                     1000);
    expect_pattern(data, 0, 1000);

    faults_clear();
    faults_add(&(struct fault){FAULT_SHORT, PLX_OP_READ, 0, 1, 10, NULL, NULL, NULL});
    faults_add(&(struct fault){FAULT_REFUSE, PLX_OP_READ, 0, 1000, -EAGAIN, NULL, NULL, NULL});
    int rc = plx_file_read_all(&file, &io, data, 1000, 0, note_io, &outcome);
    WORLD_UNTIL(bench->world, io.done == 10);
    plx_file_io_cancel(&io);
    assert_int_equal(finish(bench, rc), -ECANCELED);
    assert_int_equal(io.done, 10);
    faults_end();
    close_file(bench, &file);
}

static void cancel_it(void *ctx, struct plx_op *op)
{
    (void)op;
    plx_file_io_cancel(ctx);
}

static void cancelled_all_does_not_go_on(void **state)
{
    struct bench *bench = *state;
    put_pattern(bench->path, 1000);
    open_plain(bench);
    uint8_t data[1000];
    faults_begin(bench->reactor);
    faults_add(&(struct fault){FAULT_SHORT, PLX_OP_READ, 0, 1, 10, NULL, NULL, NULL});
    faults_add(&(struct fault){FAULT_CALL, PLX_OP_READ, 0, 1, 0, cancel_it, &io, NULL});
    faults_add(&(struct fault){FAULT_RESULT, PLX_OP_READ, 0, 1, -EINTR, NULL, NULL, NULL});
    faults_add(&(struct fault){FAULT_CALL, PLX_OP_WRITE, 0, 1, 0, cancel_it, &io, NULL});
    int64_t result = finish(bench, plx_file_read_all(&file, &io, data, 1000, 0, note_io, &outcome));
    assert_true(result == -ECANCELED || result == 1000);

    /* One that asks to end while its first op is short. */
    faults_clear();
    faults_add(&(struct fault){FAULT_SHORT, PLX_OP_READ, 0, 1, 10, NULL, NULL, NULL});
    int rc = plx_file_read_all(&file, &io, data, 1000, 0, note_io, &outcome);
    plx_file_io_cancel(&io);
    assert_int_equal(finish(bench, rc), -ECANCELED);
    assert_true(io.done == 10 || io.done == 0);
    /* One that was interrupted after it was asked. */
    faults_clear();
    faults_add(&(struct fault){FAULT_RESULT, PLX_OP_READ, 0, 1, -EINTR, NULL, NULL, NULL});
    rc = plx_file_read_all(&file, &io, data, 1000, 0, note_io, &outcome);
    plx_file_io_cancel(&io);
    assert_int_equal(finish(bench, rc), -ECANCELED);
    faults_end();
    close_file(bench, &file);
}

static void direct_all_goes_on_from_whole_units(void **state)
{
    struct bench *bench = *state;
    open_direct(bench);
    uint32_t unit = plx_file_offset_align(&file);
    struct plx_buf out, in;
    make_buf(bench, &out, 16 * FRAME);
    make_buf(bench, &in, 16 * FRAME);
    fill_pattern(out.ptr, 0, out.len);
    faults_begin(bench->reactor);
    faults_add(&(struct fault){FAULT_SHORT, PLX_OP_WRITE, 0, 3, (int32_t)unit, NULL, NULL, NULL});
    assert_int_equal(finish(bench, plx_file_write_buf(&file, &io, &out, 0, note_io, &outcome)),
                     16 * FRAME);
    /* Told to have ended within a unit, it begins that unit again. */
    faults_add(
        &(struct fault){FAULT_RESULT, PLX_OP_WRITE, 0, 1, (int32_t)unit + 7, NULL, NULL, NULL});
    assert_int_equal(finish(bench, plx_file_write_buf(&file, &io, &out, 0, note_io, &outcome)),
                     16 * FRAME);
    faults_add(&(struct fault){FAULT_SHORT, PLX_OP_READ, 0, 3, (int32_t)unit, NULL, NULL, NULL});
    assert_int_equal(finish(bench, plx_file_read_buf(&file, &io, &in, 0, note_io, &outcome)),
                     16 * FRAME);
    assert_int_equal(in.len, 16 * FRAME);
    expect_pattern(in.ptr, 0, in.len);

    /* Never a whole unit: it does not go on for ever. */
    faults_clear();
    faults_add(&(struct fault){FAULT_RESULT, PLX_OP_WRITE, 0, 1000, 7, NULL, NULL, NULL});
    assert_int_equal(finish(bench, plx_file_write_buf(&file, &io, &out, 0, note_io, &outcome)),
                     -EIO);
    assert_int_equal(io.done, 0);
    faults_end();

    /* The end of a file need not be aligned. */
    assert_int_equal(truncate(bench->path, 5000), 0);
    assert_int_equal(finish(bench, plx_file_read_buf(&file, &io, &in, 0, note_io, &outcome)), 5000);
    assert_int_equal(in.len, 5000);
    expect_pattern(in.ptr, 0, 5000);
    plx_buf_fini(&out);
    plx_buf_fini(&in);
    close_file(bench, &file);
}

/* --- closing ---------------------------------------------------------------------------------- */

static struct {
    unsigned ios_told; /* when the file was closed */
    struct outcome outcome;
} closed;

/* A file is its owner's again, who may let go of it. */
static void forget_file(struct plx_file *it, int result, void *ctx)
{
    (void)ctx;
    closed.ios_told = outcome.times;
    note_file(it, result, &closed.outcome);
    memset(it, 0x5a, sizeof(*it));
    free(it);
}

static void expect_no_more_ios(struct plx_file *it)
{
    static struct plx_file_io other;
    static uint8_t data[16];
    struct iovec part = {data, sizeof(data)};
    struct plx_diag diag;
    assert_int_equal(plx_file_check(it, data, 16, 0, &diag), -EBADF);
    assert_int_equal(plx_file_read(it, &other, data, 16, 0, note_io, NULL), -EBADF);
    assert_int_equal(plx_file_write_all(it, &other, data, 16, 0, note_io, NULL), -EBADF);
    assert_int_equal(plx_file_readv(it, &other, &part, 1, 0, note_io, NULL), -EBADF);
    assert_int_equal(plx_file_sync(it, &other, 0, note_io, NULL), -EBADF);
    assert_int_equal(plx_file_allocate(it, &other, 0, 0, 1, note_io, NULL), -EBADF);
    assert_int_equal(plx_file_look(it, note_file, NULL), -EBUSY);
    assert_int_equal(plx_file_close(it, note_file, NULL), -EBUSY);
}

static struct plx_file *open_in_heap(struct bench *bench)
{
    struct plx_file *it = malloc(sizeof(*it));
    assert_non_null(it);
    memset(&closed, 0, sizeof(closed));
    assert_int_equal(open_file(bench, it, bench->path, NULL), 0);
    return it;
}

static void close_waits_for_an_io_for_all(void **state)
{
    struct bench *bench = *state;
    need_files(bench);
    static const struct fault strikes[] = {
        {FAULT_RESULT, PLX_OP_WRITE, 0, 2, -EINTR, NULL, NULL, NULL},
        {FAULT_SHORT, PLX_OP_WRITE, 0, 3, 333, NULL, NULL, NULL},
        {FAULT_REFUSE, PLX_OP_WRITE, 0, 3, -EAGAIN, NULL, NULL, NULL},
    };
    uint8_t out[10000], in[10000];
    fill_pattern(out, 0, sizeof(out));
    for (size_t i = 0; i < sizeof(strikes) / sizeof(*strikes); i++) {
        struct plx_file *it = open_in_heap(bench);
        assert_int_equal(truncate(bench->path, 0), 0);
        faults_begin(bench->reactor);
        faults_add(&(struct fault){FAULT_SHORT, PLX_OP_WRITE, 0, 1, 10, NULL, NULL, NULL});
        faults_add(&strikes[i]);
        assert_int_equal(plx_file_write_all(it, &io, out, sizeof(out), 0, note_io, &outcome), 0);
        assert_int_equal(plx_file_close(it, forget_file, NULL), 0);
        expect_no_more_ios(it);
        WORLD_UNTIL(bench->world, closed.outcome.times != 0);
        world_settle(bench->world);
        faults_end();
        assert_int_equal(closed.outcome.times, 1);
        assert_int_equal(closed.outcome.result, 0);
        assert_int_equal(closed.ios_told, 1);
        assert_int_equal(outcome.result, sizeof(out));
        outcome = (struct outcome){0};
        int fd = open(bench->path, O_RDONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(read(fd, in, sizeof(in)), sizeof(in));
        close(fd);
        expect_pattern(in, 0, sizeof(in));
    }
}

static void close_waits_for_each_io(void **state)
{
    struct bench *bench = *state;
    need_files(bench);
    put_pattern(bench->path, 1000);
    struct plx_file *it = open_in_heap(bench);
    static struct plx_file_io ios[3];
    uint8_t data[3][1000];
    assert_int_equal(plx_file_read(it, &ios[0], data[0], 1000, 0, note_io, &outcome), 0);
    assert_int_equal(plx_file_read_all(it, &ios[1], data[1], 1000, 0, note_io, &outcome), 0);
    assert_int_equal(plx_file_sync(it, &ios[2], 0, note_io, &outcome), 0);
    assert_int_equal(plx_file_close(it, forget_file, NULL), 0);
    expect_no_more_ios(it);
    WORLD_UNTIL(bench->world, closed.outcome.times != 0);
    assert_int_equal(closed.ios_told, 3);
    assert_int_equal(closed.outcome.result, 0);
    outcome = (struct outcome){0};
    expect_pattern(data[0], 0, 1000);
    expect_pattern(data[1], 0, 1000);
}

static void close_waits_for_a_cancelled_io(void **state)
{
    struct bench *bench = *state;
    need_files(bench);
    put_pattern(bench->path, 1000);
    struct plx_file *it = open_in_heap(bench);
    uint8_t data[1000];
    /* It waits for room in the ring when it is asked to end. */
    faults_begin(bench->reactor);
    faults_add(&(struct fault){FAULT_SHORT, PLX_OP_READ, 0, 1, 10, NULL, NULL, NULL});
    faults_add(&(struct fault){FAULT_REFUSE, PLX_OP_READ, 0, 100000, -EAGAIN, NULL, NULL, NULL});
    assert_int_equal(plx_file_read_all(it, &io, data, 1000, 0, note_io, &outcome), 0);
    WORLD_UNTIL(bench->world, io.done == 10);
    assert_int_equal(plx_file_close(it, forget_file, NULL), 0);
    world_settle(bench->world);
    assert_int_equal(closed.outcome.times, 0);
    plx_file_io_cancel(&io);
    WORLD_UNTIL(bench->world, closed.outcome.times != 0);
    faults_end();
    assert_int_equal(closed.ios_told, 1);
    assert_int_equal(outcome.result, -ECANCELED);
    outcome = (struct outcome){0};
}

static void close_it(struct plx_file_io *ended, int64_t result, void *ctx)
{
    struct plx_file *it = ended->file;
    note_io(ended, result, ctx);
    assert_int_equal(plx_file_close(it, forget_file, NULL), 0);
    expect_no_more_ios(it);
}

static void close_where_the_last_io_has_ended_goes_out_once(void **state)
{
    struct bench *bench = *state;
    need_files(bench);
    put_pattern(bench->path, 1000);
    struct plx_file *it = open_in_heap(bench);
    uint8_t data[1000];
    faults_begin(bench->reactor);
    assert_int_equal(plx_file_read_all(it, &io, data, 1000, 0, close_it, &outcome), 0);
    WORLD_UNTIL(bench->world, closed.outcome.times != 0);
    world_settle(bench->world);
    assert_int_equal(faults_seen(PLX_OP_CLOSE), 1);
    faults_end();
    assert_int_equal(closed.outcome.times, 1);
    assert_int_equal(closed.outcome.result, 0);
    outcome = (struct outcome){0};
}

static void close_that_comes_too_late_leaves_the_file_open(void **state)
{
    struct bench *bench = *state;
    put_pattern(bench->path, 1000);
    open_plain(bench);
    uint8_t data[1000];
    struct plx__io *backend = plx__reactor_io(bench->reactor);
    struct outcome late = {0};
    assert_int_equal(plx_file_read(&file, &io, data, 1000, 0, note_io, &outcome), 0);
    assert_int_equal(plx_file_close(&file, note_file, &late), 0);
    backend->refuses = true;
    backend->drained = true;
    WORLD_UNTIL(bench->world, late.times != 0);
    backend->refuses = false;
    backend->drained = false;
    assert_int_equal(outcome.times, 1);
    outcome = (struct outcome){0};
    assert_int_equal(late.result, -ESHUTDOWN);
    assert_true(plx_file_is_open(&file));
    assert_int_equal(finish(bench, plx_file_read(&file, &io, data, 1000, 0, note_io, &outcome)),
                     1000);
    close_file(bench, &file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_CASE(transfers_come_back_as_written),
        BENCH_CASE(fixed_transfers_take_buffers_of_the_arena_only),
        BENCH_CASE(every_frame_of_a_buffer_makes_the_round_trip_directly),
        BENCH_CASE(misaligned_direct_transfer_is_refused_by_name),
        BENCH_CASE(transfers_on_a_closed_file_are_refused),
        BENCH_CASE(too_many_parts_are_refused),
        BENCH_CASE(allocate_makes_the_file_longer),
        BENCH_CASE(errors_of_one_op_are_told),
        BENCH_CASE(sync_and_allocate_are_tried_again_when_interrupted),
        BENCH_CASE(all_goes_on_after_short_transfers),
        BENCH_CASE(all_ends_with_an_error_and_tells_how_far),
        BENCH_CASE(all_waits_for_room_in_the_ring),
        BENCH_CASE(cancelled_all_does_not_go_on),
        BENCH_CASE(direct_all_goes_on_from_whole_units),
        BENCH_CASE(close_waits_for_an_io_for_all),
        BENCH_CASE(close_waits_for_each_io),
        BENCH_CASE(close_waits_for_a_cancelled_io),
        BENCH_CASE(close_where_the_last_io_has_ended_goes_out_once),
        BENCH_CASE(close_that_comes_too_late_leaves_the_file_open),
    };
    return run_modes(tests, sizeof(tests) / sizeof(*tests));
}
