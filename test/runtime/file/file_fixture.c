/* SPDX-License-Identifier: MIT */
#include "test/runtime/file/file_fixture.h"

#include "test/runtime/file/faults.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

void make_folder(char *out)
{
    /* Not /tmp, which often is memory, where direct I/O means little. */
    bool has_disk = access("/var/tmp", W_OK) == 0;
    strcpy(out, has_disk ? "/var/tmp/pollux-test-XXXXXX" : "/tmp/pollux-test-XXXXXX");
    assert_non_null(mkdtemp(out));
}

static int remove_one(const char *path, const struct stat *stat, int kind, struct FTW *ftw)
{
    (void)stat;
    (void)kind;
    (void)ftw;
    return remove(path);
}

void remove_folder(const char *folder)
{
    assert_int_equal(nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

static struct bench the_bench;

int bench_set_up(void **state)
{
    struct bench *bench = &the_bench;
    memset(bench, 0, sizeof(*bench));
    make_folder(bench->folder);
    snprintf(bench->path, sizeof(bench->path), "%.60s/file", bench->folder);
    int rc = world_set_up(state);
    bench->world = *state;
    bench->reactor = bench->world->reactor;
    *state = bench;
    return rc;
}

int bench_tear_down(void **state)
{
    struct bench *bench = *state;
    void *world = bench->world;
    faults_drop();
    int rc = world_tear_down(&world);
    /* What a case that failed has left there. */
    (void)umount2(bench->folder, MNT_DETACH);
    remove_folder(bench->folder);
    return rc;
}

int run_main_modes(const struct CMUnitTest *cases, size_t count)
{
    static const char *const names[] = {"epoll", "defer", "sqpoll"};
    if (getenv("POLLUX_TEST_MODE") != NULL)
        return run_modes(cases, count);
    struct io_uring_params params = {0};
    long fd = syscall(SYS_io_uring_setup, 4, &params);
    if (fd >= 0)
        close((int)fd);
    else
        print_message("modes defer and sqpoll left out: io_uring_setup: %s\n", strerror(errno));
    cpu_set_t allowed;
    bool two = sched_getaffinity(0, sizeof(allowed), &allowed) == 0 && CPU_COUNT(&allowed) > 1;
    int failed = 0;
    for (unsigned i = 0; i < (fd < 0 ? 1u : two ? 3u : 2u); i++) {
        if (setenv("POLLUX_TEST_MODE", names[i], 1) != 0)
            return 1;
        failed |= run_modes(cases, count);
    }
    return failed;
}

void note_file(struct plx_file *file, int result, void *ctx)
{
    (void)file;
    struct outcome *outcome = ctx;
    outcome->times++;
    outcome->result = result;
}

void note_io(struct plx_file_io *io, int64_t result, void *ctx)
{
    (void)io;
    struct outcome *outcome = ctx;
    outcome->times++;
    outcome->result = result;
}

void need_files(const struct bench *bench)
{
    world_need_kernel(bench->world, "the files of this machine");
    static char room[256];
    static struct seen seen;
    seen = (struct seen){0};
    plx_op_statx(&seen.op, AT_FDCWD, "/", 0, STATX_TYPE, (struct statx *)(void *)room, seen_note,
                 &seen);
    int rc = plx_op_submit(bench->reactor, &seen.op);
    if (rc == -EOPNOTSUPP) {
        print_message("skipped: %s has no ops on files\n", plx_reactor_mode(bench->reactor));
        skip();
    }
    assert_int_equal(rc, 0);
    world_expect(bench->world, &seen, 0);
}

int64_t await(struct bench *bench, struct outcome *outcome, int rc)
{
    assert_int_equal(rc, 0);
    assert_int_equal(outcome->times, 0);
    WORLD_UNTIL(bench->world, outcome->times != 0);
    world_settle(bench->world);
    assert_int_equal(outcome->times, 1);
    int64_t result = outcome->result;
    *outcome = (struct outcome){0};
    return result;
}

int open_file(struct bench *bench, struct plx_file *file, const char *path,
              const struct plx_file_opts *opts)
{
    struct plx_file_opts usual;
    plx_file_opts_init(&usual);
    usual.access = PLX_FILE_READ | PLX_FILE_WRITE | PLX_FILE_CREATE;
    struct outcome outcome = {0};
    return (int)await(bench, &outcome,
                      plx_file_open(file, bench->reactor, path, opts != NULL ? opts : &usual,
                                    note_file, &outcome));
}

void close_file(struct bench *bench, struct plx_file *file)
{
    struct outcome outcome = {0};
    assert_int_equal(await(bench, &outcome, plx_file_close(file, note_file, &outcome)), 0);
}

uint8_t pattern_at(uint64_t offset)
{
    return (uint8_t)((offset * 2654435761u) >> 13);
}

void fill_pattern(uint8_t *data, uint64_t offset, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        data[i] = pattern_at(offset + i);
}

void expect_pattern(const uint8_t *data, uint64_t offset, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        assert_int_equal(data[i], pattern_at(offset + i));
}

void put_pattern(const char *path, size_t bytes)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    for (size_t i = 0; i < bytes; i++)
        assert_int_not_equal(fputc(pattern_at(i), file), EOF);
    assert_int_equal(fclose(file), 0);
}
