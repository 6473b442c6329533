/* SPDX-License-Identifier: MIT */
/*
 * Ops on files and pipes, in every mode: made, grown, read and written in parts, with O_DIRECT,
 * told about, brought to the device; and registered descriptors.
 */
#include "test/runtime/io/op_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "test/runtime/io/calls.h"

#define FRAME 4096u

/* Where files are to lie, on a real file system if there is one. */
static void template_path(char path[256])
{
    const char *folder = getenv("TMPDIR");
    if (folder == NULL)
        folder = access("/var/tmp", W_OK) == 0 ? "/var/tmp" : "/tmp";
    snprintf(path, 256, "%s/pollux-test-XXXXXX", folder);
}

/* A new file without a name. */
static int make_file(int flags)
{
    char path[256];
    template_path(path);
    int fd = mkostemp(path, O_CLOEXEC | flags);
    if (fd >= 0)
        unlink(path);
    return fd;
}

static int make_folder(char path[256])
{
    template_path(path);
    assert_non_null(mkdtemp(path));
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

/* --- made, grown, told about ------------------------------------------------------------------ */

static void file_is_opened_grown_synced_and_told_about(void **state)
{
    struct world *world = *state;
    char path[256];
    int folder = make_folder(path);

    struct seen open_it = {0};
    plx_op_openat(&open_it.op, folder, "data", O_RDWR | O_CREAT, 0640, seen_note, &open_it);
    world_submit(world, &open_it);
    WORLD_UNTIL(world, open_it.terminals == 1);
    int fd = open_it.event[0].result;
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);

    struct seen grow = {0};
    plx_op_fallocate(&grow.op, fd, 0, FRAME, 3 * FRAME, seen_note, &grow);
    world_run(world, &grow, 0);
    struct seen keep = {0};
    plx_op_fallocate(&keep.op, fd, FALLOC_FL_KEEP_SIZE, 0, 8 * FRAME, seen_note, &keep);
    world_run(world, &keep, 0);
    struct seen sync = {0};
    plx_op_fsync(&sync.op, fd, PLX_FSYNC_DATA, seen_note, &sync);
    world_run(world, &sync, 0);
    struct seen sync_all = {0};
    plx_op_fsync(&sync_all.op, fd, 0, seen_note, &sync_all);
    world_run(world, &sync_all, 0);

    struct statx of_name = {0};
    struct seen by_name = {0};
    plx_op_statx(&by_name.op, folder, "data", 0, STATX_SIZE | STATX_MODE, &of_name, seen_note,
                 &by_name);
    world_run(world, &by_name, 0);
    assert_int_equal(of_name.stx_size, 4 * FRAME);
    assert_int_equal(of_name.stx_mode & S_IFMT, S_IFREG);
    struct statx of_fd = {0};
    struct seen by_fd = {0};
    plx_op_statx(&by_fd.op, fd, "", AT_EMPTY_PATH, STATX_INO, &of_fd, seen_note, &by_fd);
    world_run(world, &by_fd, 0);
    assert_int_equal(of_fd.stx_ino, of_name.stx_ino);

    world_close_fd(world, fd);
    assert_int_equal(unlinkat(folder, "data", 0), 0);
    world_close_fd(world, folder);
    assert_int_equal(rmdir(path), 0);
}

static void file_that_cannot_be_opened_or_told_about_ends_with_its_errno(void **state)
{
    struct world *world = *state;
    struct statx info;
    struct seen seen[5] = {0};
    plx_op_openat(&seen[0].op, AT_FDCWD, "/no/such", O_RDONLY, 0, seen_note, &seen[0]);
    world_run(world, &seen[0], -ENOENT);
    plx_op_openat(&seen[1].op, AT_FDCWD, "/", O_RDWR, 0, seen_note, &seen[1]);
    world_run(world, &seen[1], -EISDIR);
    plx_op_statx(&seen[2].op, AT_FDCWD, "/no/such", 0, STATX_SIZE, &info, seen_note, &seen[2]);
    world_run(world, &seen[2], -ENOENT);
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    plx_op_fsync(&seen[3].op, ends[0], 0, seen_note, &seen[3]);
    world_run(world, &seen[3], -EINVAL);
    plx_op_fallocate(&seen[4].op, ends[1], 0, 0, 1, seen_note, &seen[4]);
    world_run(world, &seen[4], -ESPIPE);
    world_close_fd(world, ends[0]);
    world_close_fd(world, ends[1]);
}

/* --- in parts --------------------------------------------------------------------------------- */

static void file_is_written_and_read_in_parts(void **state)
{
    struct world *world = *state;
    int fd = make_file(0);
    assert_true(fd >= 0);
    struct iovec out[3] = {{(char[]){"abc"}, 3}, {(char[]){""}, 0}, {(char[]){"defgh"}, 5}};
    struct seen write_it = {0};
    plx_op_writev(&write_it.op, fd, out, 3, 10, seen_note, &write_it);
    world_run(world, &write_it, 8);

    char first[2];
    char second[16] = {0};
    struct iovec in[2] = {{first, sizeof(first)}, {second, sizeof(second)}};
    struct seen read_it = {0};
    plx_op_readv(&read_it.op, fd, in, 2, 10, seen_note, &read_it);
    world_run(world, &read_it, 8);
    assert_memory_equal(first, "ab", 2);
    assert_string_equal(second, "cdefgh");

    /* The file's own position: before the hole that the offset left. */
    struct seen at_position = {0};
    plx_op_readv(&at_position.op, fd, in, 2, PLX_OFFSET_CURRENT, seen_note, &at_position);
    world_run(world, &at_position, 18);
    assert_int_equal(lseek(fd, 0, SEEK_CUR), 18);
    struct seen at_end = {0};
    plx_op_readv(&at_end.op, fd, in, 2, PLX_OFFSET_CURRENT, seen_note, &at_end);
    world_run(world, &at_end, 0);

    static struct iovec many[PLX_IOV_MAX + 1];
    struct seen too_many = {0};
    plx_op_writev(&too_many.op, fd, many, PLX_IOV_MAX + 1, 0, seen_note, &too_many);
    world_run(world, &too_many, -EINVAL);
    world_close_fd(world, fd);
}

static void pipe_is_written_and_read_in_parts(void **state)
{
    struct world *world = *state;
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    char first[2];
    char second[8] = {0};
    struct iovec in[2] = {{first, sizeof(first)}, {second, sizeof(second)}};
    struct seen read_it = {0};
    plx_op_readv(&read_it.op, ends[0], in, 2, PLX_OFFSET_CURRENT, seen_note, &read_it);
    world_submit(world, &read_it);
    world_settle(world);
    seen_expect_waiting(&read_it);

    struct iovec out[2] = {{(char[]){"hel"}, 3}, {(char[]){"lo"}, 2}};
    struct seen write_it = {0};
    plx_op_writev(&write_it.op, ends[1], out, 2, PLX_OFFSET_CURRENT, seen_note, &write_it);
    world_run(world, &write_it, 5);
    world_expect(world, &read_it, 5);
    assert_memory_equal(first, "he", 2);
    assert_string_equal(second, "llo");

    struct seen waits = {0};
    plx_op_readv(&waits.op, ends[0], in, 2, PLX_OFFSET_CURRENT, seen_note, &waits);
    world_submit(world, &waits);
    world_settle(world);
    world_cancel(world, &waits);
    world_expect(world, &waits, -ECANCELED);
    world_close_fd(world, ends[0]);
    world_close_fd(world, ends[1]);
}

/* --- O_DIRECT --------------------------------------------------------------------------------- */

static void fill_frame(unsigned char *frame, unsigned seed)
{
    for (unsigned i = 0; i < FRAME; i++)
        frame[i] = (unsigned char)(seed * 31 + i * 7 + i / 256);
}

static void frames_go_round_with_o_direct(void **state)
{
    struct world *world = *state;
    int fd = make_file(O_DIRECT);
    if (fd < 0) {
        print_message("skipped: no O_DIRECT here: %s\n", strerror(errno));
        skip();
    }
    struct plx_pool *pool = plx_reactor_pool(world->reactor);
    unsigned char *out = plx_pool_acquire(pool, FRAME);
    unsigned char *in = plx_pool_acquire(pool, FRAME);
    assert_non_null(out);
    assert_non_null(in);
    for (unsigned i = 0; i < 8; i++) {
        /* Every other one insists on a fixed buffer. */
        struct seen write_it = {0};
        struct seen read_it = {0};
        fill_frame(out, i);
        memset(in, 0, FRAME);
        plx_op_write(&write_it.op, fd, out, FRAME, i * FRAME, seen_note, &write_it);
        plx_op_read(&read_it.op, fd, in, FRAME, i * FRAME, seen_note, &read_it);
        if (i % 2 != 0)
            write_it.op.flags = read_it.op.flags = PLX_FIXED;
        world_run(world, &write_it, FRAME);
        world_run(world, &read_it, FRAME);
        assert_memory_equal(in, out, FRAME);
    }
    /* The kernel's file system in memory takes any offset, as pread(2) then tells. */
    struct seen crooked = {0};
    ssize_t plain = world->sim == NULL ? pread(fd, in, FRAME, 1) : -1;
    int32_t expected = plain >= 0 ? (int32_t)plain : -EINVAL;
    plx_op_read(&crooked.op, fd, in, FRAME, 1, seen_note, &crooked);
    world_run(world, &crooked, expected);
    plx_pool_release(pool, out);
    plx_pool_release(pool, in);
    world_close_fd(world, fd);
}

/* --- into a group's buffers ------------------------------------------------------------------- */

static void read_group_lends_a_buffer_and_none_at_the_end(void **state)
{
    struct world *world = *state;
    uint16_t group;
    assert_int_equal(plx_group_create(world->reactor, 2, FRAME, &group), 0);
    int fd = make_file(0);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "0123456789", 10, 0), 10);

    struct seen seen[3] = {0};
    plx_op_read_group(&seen[0].op, fd, group, 4, 3, seen_note, &seen[0]);
    world_run(world, &seen[0], 4);
    assert_int_equal(seen[0].event[0].flags, PLX_EV_BUFFER);
    assert_memory_equal(seen[0].event[0].data, "3456", 4);
    plx_op_read_group(&seen[1].op, fd, group, FRAME, 8, seen_note, &seen[1]);
    world_run(world, &seen[1], 2);
    assert_memory_equal(seen[1].event[0].data, "89", 2);
    assert_int_equal(plx_group_left(world->reactor, group), 0);

    /* Dry; then at the end of the file, which keeps no buffer. */
    plx_op_read_group(&seen[2].op, fd, group, FRAME, 0, seen_note, &seen[2]);
    world_run(world, &seen[2], -ENOBUFS);
    assert_int_equal(seen[2].event[0].flags, 0);
    plx_group_release(world->reactor, group, seen[0].event[0].buffer_id);
    plx_group_release(world->reactor, group, seen[1].event[0].buffer_id);
    struct seen at_end = {0};
    plx_op_read_group(&at_end.op, fd, group, FRAME, 10, seen_note, &at_end);
    world_run(world, &at_end, 0);
    assert_int_equal(at_end.event[0].flags, 0);
    assert_int_equal(plx_group_left(world->reactor, group), 2);

    struct seen too_long = {0};
    plx_op_read_group(&too_long.op, fd, group, FRAME + 1, 0, seen_note, &too_long);
    assert_int_equal(world_try_submit(world, &too_long.op), -EINVAL);
    struct seen nothing = {0};
    plx_op_read_group(&nothing.op, fd, group, 0, 0, seen_note, &nothing);
    assert_int_equal(world_try_submit(world, &nothing.op), -EINVAL);
    world_close_fd(world, fd);
}

static void read_group_of_a_pipe_waits_and_is_cancelled(void **state)
{
    struct world *world = *state;
    uint16_t group;
    assert_int_equal(plx_group_create(world->reactor, 2, FRAME, &group), 0);
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    struct seen later = {0};
    plx_op_read_group(&later.op, ends[0], group, 100, PLX_OFFSET_CURRENT, seen_note, &later);
    world_submit(world, &later);
    world_settle(world);
    seen_expect_waiting(&later);
    put_text(ends[1], "later");
    world_expect(world, &later, 5);
    assert_memory_equal(later.event[0].data, "later", 5);
    plx_group_release(world->reactor, group, later.event[0].buffer_id);

    struct seen never = {0};
    plx_op_read_group(&never.op, ends[0], group, 100, PLX_OFFSET_CURRENT, seen_note, &never);
    world_submit(world, &never);
    world_settle(world);
    world_cancel(world, &never);
    world_expect(world, &never, -ECANCELED);
    assert_int_equal(never.event[0].flags, 0);
    assert_int_equal(plx_group_left(world->reactor, group), 2);
    world_close_fd(world, ends[0]);
    world_close_fd(world, ends[1]);
}

/* --- registered descriptors ------------------------------------------------------------------- */

/* False where this mode looks descriptors up each time, which it must say. */
static bool registers(struct world *world, int fd)
{
    int rc = plx_fd_register(world->reactor, fd);
    if (world_has(world, PLX_CAP_REGISTERED_FILES)) {
        assert_int_equal(rc, 0);
        return true;
    }
    assert_int_equal(rc, -EOPNOTSUPP);
    assert_int_equal(plx_fd_unregister(world->reactor, fd), -ENOENT);
    return false;
}

/* Registered or not, the ops behave the same. */
static void registered_file_takes_the_same_ops(void **state)
{
    struct world *world = *state;
    int fd = make_file(0);
    assert_true(fd >= 0);
    bool registered = registers(world, fd);
    char buf[8] = {0};
    struct iovec part = {buf, 4};
    struct statx info = {0};
    struct seen seen[6] = {0};
    plx_op_write(&seen[0].op, fd, "12345678", 8, 0, seen_note, &seen[0]);
    world_run(world, &seen[0], 8);
    plx_op_read(&seen[1].op, fd, buf, 8, 0, seen_note, &seen[1]);
    world_run(world, &seen[1], 8);
    assert_memory_equal(buf, "12345678", 8);
    plx_op_readv(&seen[2].op, fd, &part, 1, 4, seen_note, &seen[2]);
    world_run(world, &seen[2], 4);
    assert_memory_equal(buf, "5678", 4);
    plx_op_fsync(&seen[3].op, fd, 0, seen_note, &seen[3]);
    world_run(world, &seen[3], 0);
    plx_op_fallocate(&seen[4].op, fd, 0, 0, FRAME, seen_note, &seen[4]);
    world_run(world, &seen[4], 0);
    /* The kernel takes no registered file here. */
    plx_op_statx(&seen[5].op, fd, "", AT_EMPTY_PATH, STATX_SIZE, &info, seen_note, &seen[5]);
    world_run(world, &seen[5], 0);
    assert_int_equal(info.stx_size, FRAME);
    if (registered) {
        assert_int_equal(plx_fd_register(world->reactor, fd), -EBUSY);
        assert_int_equal(plx_fd_unregister(world->reactor, fd), 0);
        assert_int_equal(plx_fd_unregister(world->reactor, fd), -ENOENT);
    }
    struct seen after = {0};
    plx_op_read(&after.op, fd, buf, 8, 0, seen_note, &after);
    world_run(world, &after, 8);
    world_close_fd(world, fd);
}

static void registered_folder_opens_its_files(void **state)
{
    struct world *world = *state;
    char path[256];
    int folder = make_folder(path);
    (void)registers(world, folder);
    struct seen open_it = {0};
    plx_op_openat(&open_it.op, folder, "data", O_RDWR | O_CREAT, 0600, seen_note, &open_it);
    world_submit(world, &open_it);
    WORLD_UNTIL(world, open_it.terminals == 1);
    assert_true(open_it.event[0].result >= 0);
    world_close_fd(world, open_it.event[0].result);
    assert_int_equal(unlinkat(folder, "data", 0), 0);
    world_close_fd(world, folder);
    assert_int_equal(rmdir(path), 0);
}

/* The peer has let go; older kernels take their time. */
static void expect_end(int fd)
{
    char byte;
    struct pollfd end = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&end, 1, 20000), 1);
    assert_int_equal(recv(fd, &byte, 1, 0), 0);
}

/* The close lets go of the file, too: the peer sees the end. */
static void registered_socket_closed_shows_its_peer_the_end(void **state)
{
    struct world *world = *state;
    int pair[2];
    make_tcp_pair(pair);
    (void)registers(world, pair[0]);
    char buf[4] = {0};
    struct seen receive = {0};
    struct seen send_it = {0};
    plx_op_recv(&receive.op, pair[0], buf, 2, 0, seen_note, &receive);
    world_submit(world, &receive);
    /* Not while an op names it. */
    int rc = world_has(world, PLX_CAP_URING) ? -EBUSY : plx_fd_unregister(world->reactor, pair[0]);
    assert_int_equal(plx_fd_unregister(world->reactor, pair[0]), rc);
    assert_int_equal(plx_fd_register(world->reactor, pair[0]), -EBUSY);
    assert_int_equal(send(pair[1], "in", 2, 0), 2);
    world_expect(world, &receive, 2);
    plx_op_send(&send_it.op, pair[0], "out", 3, 0, PLX_QUEUED, seen_note, &send_it);
    world_run(world, &send_it, 3);
    assert_int_equal(recv(pair[1], buf, 3, 0), 3);

    world_close_fd(world, pair[0]);
    expect_end(pair[1]);
    world_close_fd(world, pair[1]);
}

/* A number that is another descriptor's by now must not lead to the old file. */
static void registered_number_reused_is_the_new_file(void **state)
{
    struct world *world = *state;
    int old[2];
    int fresh[2];
    make_pair(SOCK_STREAM, old);
    int number = old[0];
    (void)registers(world, number);
    world_close_fd(world, number);
    make_pair(SOCK_STREAM, fresh);
    if (fresh[0] != number) {
        assert_int_equal(dup3(fresh[0], number, O_CLOEXEC), number);
        close(fresh[0]);
        fresh[0] = number;
    }
    struct seen send_it = {0};
    plx_op_send(&send_it.op, number, "new", 3, 0, PLX_QUEUED, seen_note, &send_it);
    world_run(world, &send_it, 3);
    char buf[4] = {0};
    assert_int_equal(recv(fresh[1], buf, sizeof(buf), MSG_DONTWAIT), 3);
    expect_end(old[1]);
    world_close_fd(world, number);
    world_close_fd(world, fresh[1]);
    world_close_fd(world, old[1]);
}

static void registered_listener_accepts(void **state)
{
    struct world *world = *state;
    struct sockaddr_in addr;
    int listener = make_listener(&addr, 4);
    (void)registers(world, listener);
    struct seen accept_it = {0};
    plx_op_accept(&accept_it.op, listener, SOCK_CLOEXEC, 0, seen_note, &accept_it);
    world_submit(world, &accept_it);
    int client = make_client(&addr);
    WORLD_UNTIL(world, accept_it.terminals == 1);
    assert_true(accept_it.event[0].result >= 0);
    world_close_fd(world, accept_it.event[0].result);
    world_close_fd(world, client);
    world_close_fd(world, listener);
}

static void descriptor_that_cannot_be_registered_is_refused(void **state)
{
    struct world *world = *state;
    assert_int_equal(plx_fd_register(world->reactor, -1), -EBADF);
    assert_int_equal(plx_fd_register(world->reactor, INT32_MAX), -EBADF);
    assert_int_equal(plx_fd_unregister(world->reactor, -1), -EBADF);
    if (!world_has(world, PLX_CAP_REGISTERED_FILES))
        return;
    int fd = dup(0);
    close(fd);
    assert_int_equal(plx_fd_register(world->reactor, fd), -EBADF);
    assert_int_equal(plx_fd_unregister(world->reactor, fd), -ENOENT);

    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    struct rlimit raised = {.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &raised), 0);
    int high = fcntl(0, F_DUPFD_CLOEXEC, 4096);
    if (high < 0)
        print_message("no descriptor above the table here: %s\n", strerror(errno));
    else
        assert_int_equal(plx_fd_register(world->reactor, high), -ENOSPC);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    if (high >= 0)
        close(high);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        WORLD_CASE(file_is_opened_grown_synced_and_told_about),
        WORLD_CASE(file_that_cannot_be_opened_or_told_about_ends_with_its_errno),
        WORLD_CASE(file_is_written_and_read_in_parts),
        WORLD_CASE(pipe_is_written_and_read_in_parts),
        WORLD_CASE(frames_go_round_with_o_direct),
        WORLD_CASE(read_group_lends_a_buffer_and_none_at_the_end),
        WORLD_CASE(read_group_of_a_pipe_waits_and_is_cancelled),
        WORLD_CASE(registered_file_takes_the_same_ops),
        WORLD_CASE(registered_folder_opens_its_files),
        WORLD_CASE(registered_socket_closed_shows_its_peer_the_end),
        WORLD_CASE(registered_number_reused_is_the_new_file),
        WORLD_CASE(registered_listener_accepts),
        WORLD_CASE(descriptor_that_cannot_be_registered_is_refused),
    };
    return run_modes(cases, sizeof(cases) / sizeof(*cases));
}
