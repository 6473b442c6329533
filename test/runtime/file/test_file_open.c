/* SPDX-License-Identifier: MIT */
/* Opening and closing files: what is had, what is refused, and each way of failing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test/runtime/file/faults.h"
#include "test/runtime/file/file_fixture.h"
#include "test/runtime/rt_fixture.h"

#define WRITES (PLX_FILE_READ | PLX_FILE_WRITE)

static struct plx_file_opts with(uint32_t access, enum plx_want direct)
{
    struct plx_file_opts opts;
    plx_file_opts_init(&opts);
    opts.access = access;
    opts.direct = direct;
    return opts;
}

static unsigned lines_with(const struct plx_file *file, const char *text)
{
    static struct rt_lines lines;
    memset(&lines, 0, sizeof(lines));
    plx_file_explain(file, rt_keep_line, &lines);
    return rt_lines_with(&lines, text);
}

/* Opens, asserts that this fails so, and that it left nothing open. */
static void expect_refused(struct bench *bench, const char *path, const struct plx_file_opts *opts,
                           int result)
{
    struct plx_file file;
    unsigned before = count_descriptors();
    assert_int_equal(open_file(bench, &file, path, opts), result);
    assert_false(plx_file_is_open(&file));
    assert_int_equal(plx_file_fd(&file), -1);
    assert_int_equal(lines_with(&file, "not open: "), 1);
    assert_int_equal(count_descriptors(), before);
    struct outcome outcome = {0};
    assert_int_equal(plx_file_close(&file, note_file, &outcome), -EBADF);
}

/* --- plain ------------------------------------------------------------------------------------ */

static void open_of_a_file_tells_its_size(void **state)
{
    struct bench *bench = *state;
    need_files(bench);
    put_pattern(bench->path, 5000);
    struct plx_file file;
    struct plx_file_opts opts = with(PLX_FILE_READ, PLX_WANT_NO);
    assert_int_equal(open_file(bench, &file, bench->path, &opts), 0);
    assert_true(plx_file_is_open(&file));
    assert_true(is_open(plx_file_fd(&file)));
    assert_int_equal(plx_file_size(&file), 5000);
    assert_false(plx_file_is_direct(&file));
    assert_int_equal(plx_file_memory_align(&file), 1);
    assert_int_equal(plx_file_offset_align(&file), 1);
    assert_int_equal(lines_with(&file, "5000 bytes, through the kernel's cache"), 1);
    int fd = plx_file_fd(&file);
    close_file(bench, &file);
    assert_false(is_open(fd));
    assert_false(plx_file_is_open(&file));
}

static void open_of_what_is_missing_says_so(void **state)
{
    struct bench *bench = *state;
    need_files(bench);
    expect_refused(bench, bench->path, &(struct plx_file_opts){PLX_FILE_READ, 0, 0, 0, AT_FDCWD},
                   -ENOENT);
    struct plx_file file;
    assert_int_equal(open_file(bench, &file, "no/such/folder/file", NULL), -ENOENT);
}

static void open_with_defaults_reads(void **state)
{
    struct bench *bench = *state;
    need_files(bench);
    put_pattern(bench->path, 1);
    struct plx_file file;
    struct outcome outcome = {0};
    assert_int_equal(
        await(bench, &outcome,
              plx_file_open(&file, bench->reactor, bench->path, NULL, note_file, &outcome)),
        0);
    assert_int_equal(fcntl(plx_file_fd(&file), F_GETFL) & O_ACCMODE, O_RDONLY);
    assert_true((fcntl(plx_file_fd(&file), F_GETFD) & FD_CLOEXEC) != 0);
    close_file(bench, &file);
}

static void open_that_creates_makes_the_file_once(void **state)
{
    struct bench *bench = *state;
    need_files(bench);
    struct plx_file_opts opts =
        with(PLX_FILE_WRITE | PLX_FILE_CREATE | PLX_FILE_EXCLUSIVE, PLX_WANT_NO);
    opts.mode = 0600;
    struct plx_file file;
    assert_int_equal(open_file(bench, &file, bench->path, &opts), 0);
    struct stat stat;
    assert_int_equal(fstat(plx_file_fd(&file), &stat), 0);
    assert_int_equal(stat.st_mode & 0777, 0600);
    assert_int_equal(fcntl(plx_file_fd(&file), F_GETFL) & O_ACCMODE, O_WRONLY);
    close_file(bench, &file);
    expect_refused(bench, bench->path, &opts, -EEXIST);
    opts.direct = PLX_WANT_TRY;
    expect_refused(bench, bench->path, &opts, -EEXIST);
    opts.access &= ~PLX_FILE_EXCLUSIVE;
    assert_int_equal(open_file(bench, &file, bench->path, &opts), 0);
    close_file(bench, &file);
}

static void open_that_truncates_leaves_nothing(void **state)
{
    struct bench *bench = *state;
    need_files(bench);
    put_pattern(bench->path, 5000);
    struct plx_file file;
    struct plx_file_opts opts = with(PLX_FILE_WRITE | PLX_FILE_TRUNCATE, PLX_WANT_TRY);
    assert_int_equal(open_file(bench, &file, bench->path, &opts), 0);
    assert_int_equal(plx_file_size(&file), 0);
    close_file(bench, &file);
}

static void open_below_a_folder_begins_there(void **state)
{
    struct bench *bench = *state;
    need_files(bench);
    put_pattern(bench->path, 7);
    struct plx_file_opts opts = with(PLX_FILE_READ, PLX_WANT_NO);
    opts.dir = open(bench->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(opts.dir >= 0);
    struct plx_file file;
    assert_int_equal(open_file(bench, &file, "file", &opts), 0);
    assert_int_equal(plx_file_size(&file), 7);
    close_file(bench, &file);
    close(opts.dir);
}

static void open_of_no_regular_file_is_refused(void **state)
{
    struct bench *bench = *state;
    need_files(bench);
    struct plx_file_opts opts = with(WRITES, PLX_WANT_TRY);
    expect_refused(bench, bench->folder, &opts, -EISDIR);
    /* Opening a pipe to read it would wait for a writer. */
    assert_int_equal(mkfifo(bench->path, 0600), 0);
    opts.access = PLX_FILE_READ;
    expect_refused(bench, bench->path, &opts, -EINVAL);
    expect_refused(bench, "/dev/null", &opts, -EINVAL);
}

static void open_with_senseless_options_is_refused(void **state)
{
    struct bench *bench = *state;
    static const uint32_t senseless[] = {
        0,
        PLX_FILE_CREATE,
        PLX_FILE_READ | 1u << 5,
        PLX_FILE_READ | PLX_FILE_TRUNCATE,
        PLX_FILE_WRITE | PLX_FILE_EXCLUSIVE,
    };
    struct plx_file file;
    for (size_t i = 0; i < sizeof(senseless) / sizeof(*senseless); i++) {
        struct plx_file_opts opts = with(senseless[i], PLX_WANT_NO);
        assert_int_equal(plx_file_open(&file, bench->reactor, bench->path, &opts, note_file, NULL),
                         -EINVAL);
    }
    struct plx_file_opts opts = with(PLX_FILE_READ, (enum plx_want)3);
    assert_int_equal(plx_file_open(&file, bench->reactor, bench->path, &opts, note_file, NULL),
                     -EINVAL);
    opts = with(PLX_FILE_READ, PLX_WANT_NO);
    opts.registers = (enum plx_want)3;
    assert_int_equal(plx_file_open(&file, bench->reactor, bench->path, &opts, note_file, NULL),
                     -EINVAL);
    assert_false(plx_file_is_open(&file));
}

static void close_is_for_files_at_rest(void **state)
{
    struct bench *bench = *state;
    need_files(bench);
    put_pattern(bench->path, 5000);
    struct plx_file file;
    struct outcome opened = {0}, closed = {0};
    int rc = plx_file_open(&file, bench->reactor, bench->path, NULL, note_file, &opened);
    assert_int_equal(plx_file_close(&file, note_file, &closed), -EBUSY);
    assert_int_equal(plx_file_look(&file, note_file, &closed), -EBUSY);
    assert_int_equal(await(bench, &opened, rc), 0);
    rc = plx_file_close(&file, note_file, &closed);
    assert_int_equal(plx_file_close(&file, note_file, &closed), -EBUSY);
    assert_int_equal(await(bench, &closed, rc), 0);
    assert_int_equal(plx_file_close(&file, note_file, &closed), -EBADF);
    assert_int_equal(plx_file_look(&file, note_file, &closed), -EBADF);
}

static void look_tells_the_size_anew(void **state)
{
    struct bench *bench = *state;
    need_files(bench);
    put_pattern(bench->path, 10);
    struct plx_file file;
    assert_int_equal(open_file(bench, &file, bench->path, NULL), 0);
    assert_int_equal(truncate(bench->path, 20), 0);
    assert_int_equal(plx_file_size(&file), 10);
    struct outcome outcome = {0};
    assert_int_equal(await(bench, &outcome, plx_file_look(&file, note_file, &outcome)), 0);
    assert_int_equal(plx_file_size(&file), 20);

    faults_begin(bench->reactor);
    faults_add(&(struct fault){FAULT_RESULT, PLX_OP_STATX, 0, 1, -EIO, NULL, NULL, NULL});
    assert_int_equal(await(bench, &outcome, plx_file_look(&file, note_file, &outcome)), -EIO);
    assert_int_equal(plx_file_size(&file), 20);
    faults_end();
    close_file(bench, &file);
}

static void registered_file_says_whether_it_is(void **state)
{
    struct bench *bench = *state;
    need_files(bench);
    put_pattern(bench->path, 10);
    bool can = world_has(bench->world, PLX_CAP_REGISTERED_FILES);
    struct plx_file file;
    struct plx_file_opts opts = with(PLX_FILE_READ, PLX_WANT_NO);
    opts.registers = PLX_WANT_TRY;
    assert_int_equal(open_file(bench, &file, bench->path, &opts), 0);
    assert_int_equal(plx_file_is_registered(&file), can);
    assert_int_equal(lines_with(&file, "descriptor not registered"), !can);
    close_file(bench, &file);
    opts.registers = PLX_WANT_REQUIRE;
    if (!can) {
        expect_refused(bench, bench->path, &opts, -EOPNOTSUPP);
        return;
    }
    assert_int_equal(open_file(bench, &file, bench->path, &opts), 0);
    assert_true(plx_file_is_registered(&file));
    close_file(bench, &file);
}

/* --- direct ----------------------------------------------------------------------------------- */

static void direct_file_tells_its_alignments(void **state)
{
    struct bench *bench = *state;
    need_files(bench);
    put_pattern(bench->path, 8192);
    struct plx_file file;
    struct plx_file_opts opts = with(WRITES, PLX_WANT_TRY);
    assert_int_equal(open_file(bench, &file, bench->path, &opts), 0);
    if (!plx_file_is_direct(&file)) {
        assert_int_equal(lines_with(&file, "direct I/O"), 1);
        close_file(bench, &file);
        print_message("skipped: %s is on no file system with direct I/O\n", bench->path);
        skip();
    }
    assert_true((fcntl(plx_file_fd(&file), F_GETFL) & O_DIRECT) != 0);
    assert_true(plx_is_pow2(plx_file_memory_align(&file)));
    assert_true(plx_is_pow2(plx_file_offset_align(&file)));
    assert_true(plx_file_offset_align(&file) >= 512);
    assert_int_equal(lines_with(&file, "8192 bytes, direct: memory to "), 1);
    close_file(bench, &file);

    /* One that is made on the way, in both manners, is the one at its path. */
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(unlink(bench->path), 0);
        opts = with(WRITES | PLX_FILE_CREATE | (i == 0 ? PLX_FILE_EXCLUSIVE : 0), PLX_WANT_REQUIRE);
        assert_int_equal(open_file(bench, &file, bench->path, &opts), 0);
        assert_true(plx_file_is_direct(&file));
        struct stat one, other;
        assert_int_equal(fstat(plx_file_fd(&file), &one), 0);
        assert_int_equal(stat(bench->path, &other), 0);
        assert_int_equal(one.st_ino, other.st_ino);
        close_file(bench, &file);
    }
}

static void direct_where_open_refuses_is_noted_or_an_error(void **state)
{
    struct bench *bench = *state;
    need_files(bench);
    struct plx_file file;
    struct plx_file_opts opts = with(PLX_FILE_READ, PLX_WANT_TRY);
    assert_int_equal(open_file(bench, &file, "/proc/version", &opts), 0);
    assert_false(plx_file_is_direct(&file));
    assert_int_equal(plx_file_offset_align(&file), 1);
    assert_int_equal(lines_with(&file, "direct I/O refused (Invalid argument)"), 1);
    close_file(bench, &file);
    opts.direct = PLX_WANT_REQUIRE;
    expect_refused(bench, "/proc/version", &opts, -EOPNOTSUPP);
}

/* Refuses the opens that ask for it, as a file system without direct I/O does, once it has made
 * the file. */
static void refuse_direct(struct bench *bench, uint32_t after, uint32_t times)
{
    (void)bench;
    faults_add(
        &(struct fault){FAULT_RESULT, PLX_OP_OPENAT, after, times, -EINVAL, NULL, NULL, NULL});
}

static void exclusive_file_that_cannot_be_direct_is_kept(void **state)
{
    struct bench *bench = *state;
    need_files(bench);
    faults_begin(bench->reactor);
    refuse_direct(bench, 1, 1);
    struct plx_file file;
    struct plx_file_opts opts = with(WRITES | PLX_FILE_CREATE | PLX_FILE_EXCLUSIVE, PLX_WANT_TRY);
    assert_int_equal(open_file(bench, &file, bench->path, &opts), 0);
    assert_false(plx_file_is_direct(&file));
    assert_int_equal(lines_with(&file, "direct I/O refused (Invalid argument)"), 1);
    close_file(bench, &file);

    assert_int_equal(unlink(bench->path), 0);
    faults_clear();
    refuse_direct(bench, 1, 1);
    opts.direct = PLX_WANT_REQUIRE;
    expect_refused(bench, bench->path, &opts, -EOPNOTSUPP);
    faults_end();
}

static void replace(void *ctx, struct plx_op *op)
{
    struct bench *bench = ctx;
    (void)op;
    assert_int_equal(unlink(bench->path), 0);
    put_pattern(bench->path, 3);
}

static void exclusive_file_that_was_replaced_is_not_mixed_up(void **state)
{
    struct bench *bench = *state;
    need_files(bench);
    for (unsigned i = 0; i < 2; i++) {
        faults_begin(bench->reactor);
        faults_add(&(struct fault){FAULT_CALL, PLX_OP_OPENAT, 1, 1, 0, replace, bench, NULL});
        struct plx_file file;
        enum plx_want want = i == 0 ? PLX_WANT_TRY : PLX_WANT_REQUIRE;
        struct plx_file_opts opts = with(WRITES | PLX_FILE_CREATE | PLX_FILE_EXCLUSIVE, want);
        if (want == PLX_WANT_REQUIRE) {
            expect_refused(bench, bench->path, &opts, -EOPNOTSUPP);
        } else if (open_file(bench, &file, bench->path, &opts) == 0) {
            assert_int_equal(plx_file_size(&file), 0);
            assert_false(plx_file_is_direct(&file));
            assert_int_equal(lines_with(&file, "no direct I/O") + lines_with(&file, "refused"), 1);
            close_file(bench, &file);
        }
        faults_end();
        assert_int_equal(unlink(bench->path), 0);
    }
}

static void direct_on_a_file_system_without_it_is_noted(void **state)
{
    struct bench *bench = *state;
    need_files(bench);
    if (mount("none", bench->folder, "ramfs", 0, NULL) != 0) {
        print_message("skipped: no ramfs can be mounted: %s\n", strerror(errno));
        skip();
    }
    struct plx_file file;
    struct plx_file_opts opts = with(WRITES | PLX_FILE_CREATE | PLX_FILE_EXCLUSIVE, PLX_WANT_TRY);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(open_file(bench, &file, bench->path, &opts), 0);
        bool direct = plx_file_is_direct(&file);
        assert_int_equal(lines_with(&file, "direct I/O refused") +
                             lines_with(&file, "no direct I/O on this file"),
                         !direct);
        close_file(bench, &file);
        opts.access &= ~PLX_FILE_EXCLUSIVE;
    }
    assert_int_equal(umount(bench->folder), 0);
}

/* --- each step's failure ---------------------------------------------------------------------- */

/* Opens with the op of number `at` struck, and asserts that nothing stays open. */
static int open_struck(struct bench *bench, const struct plx_file_opts *opts,
                       const struct fault *fault)
{
    (void)unlink(bench->path);
    unsigned before = count_descriptors();
    faults_clear();
    faults_add(fault);
    struct plx_file file;
    int result = open_file(bench, &file, bench->path, opts);
    if (result == 0)
        close_file(bench, &file);
    assert_int_equal(count_descriptors(), before);
    return result;
}

static void open_whose_step_fails_leaves_nothing(void **state)
{
    struct bench *bench = *state;
    need_files(bench);
    struct plx_file_opts opts =
        with(WRITES | PLX_FILE_CREATE | PLX_FILE_EXCLUSIVE, PLX_WANT_REQUIRE);
    faults_begin(bench->reactor);
    for (uint32_t at = 0; at < 3; at++) {
        struct fault stat = {FAULT_RESULT, PLX_OP_STATX, at, 1, -EIO, NULL, NULL, NULL};
        assert_int_equal(open_struck(bench, &opts, &stat), at == 2 ? -EOPNOTSUPP : -EIO);
    }
    for (uint32_t at = 0; at < 2; at++) {
        struct fault open = {FAULT_RESULT, PLX_OP_OPENAT, at, 1, -EMFILE, NULL, NULL, NULL};
        assert_int_equal(open_struck(bench, &opts, &open), at == 0 ? -EMFILE : -EOPNOTSUPP);
    }
    faults_end();
}

static void open_whose_step_is_refused_leaves_nothing(void **state)
{
    struct bench *bench = *state;
    need_files(bench);
    struct plx_file_opts opts = with(WRITES | PLX_FILE_CREATE, PLX_WANT_NO);
    faults_begin(bench->reactor);
    for (uint32_t at = 1; at < 3; at++) {
        struct fault down = {FAULT_REFUSE, PLX_OP_NONE, at, 1, -ESHUTDOWN, NULL, NULL, NULL};
        assert_int_equal(open_struck(bench, &opts, &down), -ESHUTDOWN);
        struct fault full = {FAULT_REFUSE, PLX_OP_NONE, at, 3, -EAGAIN, NULL, NULL, NULL};
        assert_int_equal(open_struck(bench, &opts, &full), 0);
    }
    struct plx_file file;
    faults_clear();
    faults_add(&(struct fault){FAULT_REFUSE, PLX_OP_STATX, 0, 1, -EAGAIN, NULL, NULL, NULL});
    assert_int_equal(plx_file_open(&file, bench->reactor, bench->path, &opts, note_file, NULL),
                     -EAGAIN);
    assert_false(plx_file_is_open(&file));
    faults_end();
}

static void step_that_is_interrupted_is_tried_again(void **state)
{
    struct bench *bench = *state;
    need_files(bench);
    struct plx_file_opts opts = with(WRITES | PLX_FILE_CREATE, PLX_WANT_NO);
    faults_begin(bench->reactor);
    for (uint32_t at = 0; at < 3; at++) {
        struct fault some = {FAULT_RESULT, PLX_OP_NONE, at, 99, -EINTR, NULL, NULL, NULL};
        assert_int_equal(open_struck(bench, &opts, &some), 0);
        struct fault many = {FAULT_RESULT, PLX_OP_NONE, at, 100, -EINTR, NULL, NULL, NULL};
        assert_int_equal(open_struck(bench, &opts, &many), -EINTR);
    }
    /* Also the steps of one that is opened twice; and with no room in the ring in between. */
    opts = with(WRITES | PLX_FILE_CREATE | PLX_FILE_EXCLUSIVE, PLX_WANT_TRY);
    for (uint32_t at = 0; at < 5; at++) {
        struct fault some = {FAULT_RESULT, PLX_OP_NONE, at, 99, -EINTR, NULL, NULL, NULL};
        assert_int_equal(open_struck(bench, &opts, &some), 0);
    }
    (void)unlink(bench->path);
    faults_clear();
    faults_add(&(struct fault){FAULT_RESULT, PLX_OP_STATX, 0, 1, -EINTR, NULL, NULL, NULL});
    faults_add(&(struct fault){FAULT_REFUSE, PLX_OP_STATX, 0, 3, -EAGAIN, NULL, NULL, NULL});
    struct plx_file file;
    assert_int_equal(open_file(bench, &file, bench->path, &opts), 0);

    struct outcome outcome = {0};
    faults_clear();
    faults_add(&(struct fault){FAULT_RESULT, PLX_OP_STATX, 0, 99, -EINTR, NULL, NULL, NULL});
    assert_int_equal(await(bench, &outcome, plx_file_look(&file, note_file, &outcome)), 0);
    faults_add(&(struct fault){FAULT_RESULT, PLX_OP_STATX, 0, 100, -EINTR, NULL, NULL, NULL});
    assert_int_equal(await(bench, &outcome, plx_file_look(&file, note_file, &outcome)), -EINTR);
    faults_end();
    close_file(bench, &file);
}

static void open_that_is_cancelled_is_not_tried_again(void **state)
{
    struct bench *bench = *state;
    need_files(bench);
    struct plx_file file;
    struct outcome outcome = {0};
    faults_begin(bench->reactor);
    faults_add(&(struct fault){FAULT_RESULT, PLX_OP_STATX, 0, 50, -EINTR, NULL, NULL, NULL});
    int rc = plx_file_open(&file, bench->reactor, bench->path, NULL, note_file, &outcome);
    plx_file_cancel(&file);
    assert_int_equal(await(bench, &outcome, rc), -ECANCELED);
    assert_int_equal(faults_seen(PLX_OP_STATX), 1);
    faults_end();
}

static void cancel_one(void *ctx, struct plx_op *op)
{
    (void)op;
    plx_file_cancel(ctx);
}

static void open_that_is_cancelled_leaves_nothing(void **state)
{
    struct bench *bench = *state;
    need_files(bench);
    struct plx_file_opts opts = with(WRITES | PLX_FILE_CREATE | PLX_FILE_EXCLUSIVE, PLX_WANT_TRY);
    faults_begin(bench->reactor);
    static struct plx_file file;
    for (uint32_t at = 1; at < 5; at++) {
        (void)unlink(bench->path);
        unsigned before = count_descriptors();
        faults_clear();
        faults_add(&(struct fault){FAULT_CALL, PLX_OP_NONE, at, 1, 0, cancel_one, &file, NULL});
        assert_int_equal(open_file(bench, &file, bench->path, &opts), -ECANCELED);
        assert_int_equal(count_descriptors(), before);
    }
    /* While it waits for room in the ring. */
    (void)unlink(bench->path);
    faults_clear();
    faults_add(&(struct fault){FAULT_REFUSE, PLX_OP_STATX, 1, 1000, -EAGAIN, NULL, NULL, NULL});
    struct outcome outcome = {0};
    assert_int_equal(plx_file_open(&file, bench->reactor, bench->path, &opts, note_file, &outcome),
                     0);
    world_settle(bench->world);
    plx_file_cancel(&file);
    assert_int_equal(await(bench, &outcome, 0), -ECANCELED);
    faults_end();
    plx_file_cancel(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_CASE(open_of_a_file_tells_its_size),
        BENCH_CASE(open_of_what_is_missing_says_so),
        BENCH_CASE(open_with_defaults_reads),
        BENCH_CASE(open_that_creates_makes_the_file_once),
        BENCH_CASE(open_that_truncates_leaves_nothing),
        BENCH_CASE(open_below_a_folder_begins_there),
        BENCH_CASE(open_of_no_regular_file_is_refused),
        BENCH_CASE(open_with_senseless_options_is_refused),
        BENCH_CASE(close_is_for_files_at_rest),
        BENCH_CASE(look_tells_the_size_anew),
        BENCH_CASE(registered_file_says_whether_it_is),
        BENCH_CASE(direct_file_tells_its_alignments),
        BENCH_CASE(direct_where_open_refuses_is_noted_or_an_error),
        BENCH_CASE(exclusive_file_that_cannot_be_direct_is_kept),
        BENCH_CASE(exclusive_file_that_was_replaced_is_not_mixed_up),
        BENCH_CASE(direct_on_a_file_system_without_it_is_noted),
        BENCH_CASE(open_whose_step_fails_leaves_nothing),
        BENCH_CASE(open_whose_step_is_refused_leaves_nothing),
        BENCH_CASE(step_that_is_interrupted_is_tried_again),
        BENCH_CASE(open_that_is_cancelled_is_not_tried_again),
        BENCH_CASE(open_that_is_cancelled_leaves_nothing),
    };
    return run_modes(tests, sizeof(tests) / sizeof(*tests));
}
