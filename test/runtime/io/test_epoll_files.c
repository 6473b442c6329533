/* SPDX-License-Identifier: MIT */
/*
 * What the epoll backend makes of files and of messages by its own means: workers, buffers of
 * groups, vectors into pipes. What all backends have in common is in test_ops*.c.
 */
#include "test/runtime/io/epoll_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static int make_file(void)
{
    int fd = memfd_create("pollux-test", MFD_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

/* --- files ------------------------------------------------------------------------------------ */

static void file_is_opened_filled_looked_at_and_closed(void **state)
{
    struct plx__io *io = *state;
    char folder[] = "/tmp/pollux-files-XXXXXX";
    assert_non_null(mkdtemp(folder));
    int dir = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    assert_true(dir >= 0);
    struct seen seen = {0};
    plx_op_openat(&seen.op, dir, "file", O_RDWR | O_CREAT | O_EXCL, 0640, seen_note, &seen);
    io_submit(io, &seen);
    IO_UNTIL(io, seen.terminals == 1);
    int fd = seen.event[0].result;
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);

    struct seen again = {0};
    plx_op_openat(&again.op, dir, "file", O_RDWR | O_CREAT | O_EXCL, 0640, seen_note, &again);
    io_run(io, &again, -EEXIST);
    struct seen absent = {0};
    plx_op_openat(&absent.op, dir, "absent", O_RDONLY, 0, seen_note, &absent);
    io_run(io, &absent, -ENOENT);

    struct seen room = {0};
    plx_op_fallocate(&room.op, fd, 0, 0, 10000, seen_note, &room);
    io_submit(io, &room);
    IO_UNTIL(io, room.terminals == 1);
    assert_true(room.event[0].result == 0 || room.event[0].result == -EOPNOTSUPP);
    struct seen data = {0};
    plx_op_write(&data.op, fd, "pollux", 6, 9994, seen_note, &data);
    io_run(io, &data, 6);
    for (uint32_t how = 0; how <= 2; how++) {
        struct seen sync = {0};
        plx_op_fsync(&sync.op, fd, how, seen_note, &sync);
        io_run(io, &sync, how <= PLX_FSYNC_DATA ? 0 : -EINVAL);
    }

    struct statx found[2];
    struct seen looks[2] = {0};
    plx_op_statx(&looks[0].op, dir, "file", 0, STATX_SIZE | STATX_MODE, &found[0], seen_note,
                 &looks[0]);
    plx_op_statx(&looks[1].op, fd, "", AT_EMPTY_PATH, STATX_SIZE, &found[1], seen_note, &looks[1]);
    for (unsigned i = 0; i < 2; i++) {
        io_run(io, &looks[i], 0);
        assert_int_equal(found[i].stx_size, 10000);
    }
    assert_int_equal(found[0].stx_mode & 0777, 0640);
    io_close(io, fd);
    assert_false(is_open(fd));
    io_close(io, dir);
    char path[64];
    snprintf(path, sizeof(path), "%s/file", folder);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
}

static void path_from_the_working_folder_needs_no_descriptor(void **state)
{
    struct plx__io *io = *state;
    struct statx found;
    struct seen seen = {0};
    plx_op_statx(&seen.op, AT_FDCWD, "/", 0, STATX_TYPE, &found, seen_note, &seen);
    io_run(io, &seen, 0);
    assert_true(S_ISDIR(found.stx_mode));
    struct seen opened = {0};
    plx_op_openat(&opened.op, AT_FDCWD, "/", O_RDONLY | O_DIRECTORY, 0, seen_note, &opened);
    io_submit(io, &opened);
    IO_UNTIL(io, opened.terminals == 1);
    int dir = opened.event[0].result;
    assert_true(dir >= 0);
    char byte;
    struct seen read_it = {0};
    plx_op_read(&read_it.op, dir, &byte, 1, 0, seen_note, &read_it);
    io_run(io, &read_it, -EISDIR);
    io_close(io, dir);
}

static void op_that_a_file_refuses_ends_with_the_reason(void **state)
{
    struct plx__io *io = *state;
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    struct seen seen[4] = {0};
    char byte;
    plx_op_write(&seen[0].op, fd, "x", 1, 0, seen_note, &seen[0]);
    io_run(io, &seen[0], -EBADF);
    plx_op_read(&seen[1].op, fd, &byte, 1, 0, seen_note, &seen[1]);
    io_run(io, &seen[1], 0);
    struct iovec part = {&byte, 1};
    plx_op_readv(&seen[2].op, fd, &part, PLX_IOV_MAX + 1, 0, seen_note, &seen[2]);
    io_run(io, &seen[2], -EINVAL);
    plx_op_fallocate(&seen[3].op, fd, 0, 0, 0, seen_note, &seen[3]);
    io_submit(io, &seen[3]);
    IO_UNTIL(io, seen[3].terminals == 1);
    assert_true(seen[3].event[0].result < 0);
    io_close(io, fd);
}

static void number_of_a_closed_file_works_as_a_pipe(void **state)
{
    struct plx__io *io = *state;
    int fd = make_file();
    struct seen first = {0};
    plx_op_write(&first.op, fd, "x", 1, 0, seen_note, &first);
    io_run(io, &first, 1);
    io_close(io, fd);
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(ends[0], fd);
    char byte = 0;
    struct seen seen = {0};
    plx_op_read(&seen.op, ends[0], &byte, 1, 0, seen_note, &seen);
    io_submit(io, &seen);
    assert_int_equal(plx__io_poll(io), 0);
    put_text(ends[1], "y");
    IO_UNTIL(io, seen.terminals == 1);
    assert_int_equal(byte, 'y');
    io_close(io, ends[0]);
    io_close(io, ends[1]);
}

/* --- vectors ---------------------------------------------------------------------------------- */

static void vectors_go_to_a_file_and_come_back(void **state)
{
    struct plx__io *io = *state;
    int fd = make_file();
    char text[3][4] = {"abc", "", "defg"};
    struct iovec out[] = {{text[0], 3}, {text[1], 0}, {text[2], 4}};
    struct seen seen[3] = {0};
    plx_op_writev(&seen[0].op, fd, out, 3, 5, seen_note, &seen[0]);
    io_run(io, &seen[0], 7);
    char got[2][5] = {"", ""};
    struct iovec in[] = {{got[0], 2}, {got[1], 5}};
    plx_op_readv(&seen[1].op, fd, in, 2, 5, seen_note, &seen[1]);
    io_run(io, &seen[1], 7);
    assert_memory_equal(got[0], "ab", 2);
    assert_memory_equal(got[1], "cdefg", 5);
    plx_op_readv(&seen[2].op, fd, in, 0, 5, seen_note, &seen[2]);
    io_run(io, &seen[2], 0);
    io_close(io, fd);
}

/* A named pipe knows no RWF_NOWAIT: nothing may be written that would not fit. */
static void vectors_into_a_named_pipe_are_cut_and_do_not_block(void **state)
{
    struct plx__io *io = *state;
    char folder[] = "/tmp/pollux-fifo-XXXXXX";
    assert_non_null(mkdtemp(folder));
    char path[64];
    snprintf(path, sizeof(path), "%s/fifo", folder);
    assert_int_equal(mkfifo(path, 0600), 0);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
    static char page[2 * PIPE_BUF];
    struct iovec parts[] = {{NULL, 0}, {page, sizeof(page)}, {page, 10}};
    size_t total = 0;
    for (;;) {
        struct seen seen = {0};
        plx_op_writev(&seen.op, fd, parts, 3, PLX_OFFSET_CURRENT, seen_note, &seen);
        io_submit(io, &seen);
        for (unsigned i = 0; i < 10 && seen.terminals == 0; i++)
            plx__io_poll(io);
        if (seen.terminals == 0) {
            plx__io_cancel(io, &seen.op);
            IO_UNTIL(io, seen.terminals == 1);
            seen_expect(&seen, -ECANCELED);
            break;
        }
        assert_true(seen.event[0].result > 0);
        total += (size_t)seen.event[0].result;
    }
    assert_in_range(total, PIPE_BUF, 16 << 20);
    struct iovec room[] = {{page, 100}, {page + 100, sizeof(page) - 100}};
    while (total > 0) {
        struct seen seen = {0};
        plx_op_readv(&seen.op, fd, room, 2, PLX_OFFSET_CURRENT, seen_note, &seen);
        io_submit(io, &seen);
        IO_UNTIL(io, seen.terminals == 1);
        assert_in_range(seen.event[0].result, 1, total);
        total -= (size_t)seen.event[0].result;
    }
    struct iovec small[] = {{page, 10}, {page, 20}};
    struct seen both = {0};
    plx_op_writev(&both.op, fd, small, 2, PLX_OFFSET_CURRENT, seen_note, &both);
    io_run(io, &both, 30);
    struct seen many = {0};
    plx_op_writev(&many.op, fd, small, PLX_IOV_MAX + 1, PLX_OFFSET_CURRENT, seen_note, &many);
    io_run(io, &many, -EINVAL);
    io_close(io, fd);
}

/* --- groups ----------------------------------------------------------------------------------- */

static uint16_t make_group(struct plx__io *io, uint32_t count)
{
    uint16_t group = 0;
    assert_int_equal(plx__io_group_create(io, count, PLX_PAGE, &group), 0);
    return group;
}

static void group_read_of_a_file_lends_what_it_filled_and_nothing_else(void **state)
{
    struct plx__io *io = *state;
    uint16_t group = make_group(io, 2);
    int fd = make_file();
    assert_int_equal(pwrite(fd, "0123456789", 10, 0), 10);
    struct seen seen[6] = {0};
    plx_op_read_group(&seen[0].op, fd, group, 4, 2, seen_note, &seen[0]);
    io_run(io, &seen[0], 4);
    assert_int_equal(seen[0].event[0].flags, PLX_EV_BUFFER);
    assert_memory_equal(seen[0].event[0].data, "2345", 4);
    plx_op_read_group(&seen[1].op, fd, group, PLX_PAGE, 0, seen_note, &seen[1]);
    io_run(io, &seen[1], 10);
    /* Both are lent; the end of the file and an error lend none. */
    plx_op_read_group(&seen[2].op, fd, group, 4, 0, seen_note, &seen[2]);
    io_run(io, &seen[2], -ENOBUFS);
    plx__io_group_release(io, group, seen[0].event[0].buffer_id);
    plx_op_read_group(&seen[3].op, fd, group, 4, 10, seen_note, &seen[3]);
    io_run(io, &seen[3], 0);
    assert_int_equal(seen[3].event[0].flags, 0);
    int dir = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    plx_op_read_group(&seen[4].op, dir, group, 4, 0, seen_note, &seen[4]);
    io_run(io, &seen[4], -EISDIR);
    plx__io_group_release(io, group, seen[1].event[0].buffer_id);
    assert_int_equal(io->groups[group].free_count, 2);
    /* One that is cancelled has its buffer back, whether or not it had begun. */
    plx_op_read_group(&seen[5].op, fd, group, 4, 0, seen_note, &seen[5]);
    io_submit(io, &seen[5]);
    plx__io_cancel(io, &seen[5].op);
    IO_UNTIL(io, seen[5].terminals == 1);
    if (seen[5].event[0].result == 4)
        plx__io_group_release(io, group, seen[5].event[0].buffer_id);
    else
        seen_expect(&seen[5], -ECANCELED);
    assert_int_equal(io->groups[group].free_count, 2);
    io_close(io, fd);
    io_close(io, dir);
}

static void group_read_of_a_pipe_takes_a_buffer_when_data_comes(void **state)
{
    struct plx__io *io = *state;
    uint16_t group = make_group(io, 1);
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    struct seen seen[3] = {0};
    plx_op_read_group(&seen[0].op, ends[0], group, 100, 0, seen_note, &seen[0]);
    io_submit(io, &seen[0]);
    assert_int_equal(plx__io_poll(io), 0);
    assert_int_equal(io->groups[group].free_count, 1);
    put_text(ends[1], "abc");
    IO_UNTIL(io, seen[0].terminals == 1);
    seen_expect(&seen[0], 3);
    assert_memory_equal(seen[0].event[0].data, "abc", 3);
    /* Empty, it ends only when there is something to be put into a buffer. */
    plx_op_read_group(&seen[1].op, ends[0], group, 100, 0, seen_note, &seen[1]);
    io_submit(io, &seen[1]);
    assert_int_equal(plx__io_poll(io), 0);
    put_text(ends[1], "d");
    IO_UNTIL(io, seen[1].terminals == 1);
    seen_expect(&seen[1], -ENOBUFS);
    plx__io_group_release(io, group, seen[0].event[0].buffer_id);
    plx_op_read_group(&seen[2].op, ends[0], group, 100, 0, seen_note, &seen[2]);
    io_run(io, &seen[2], 1);
    plx__io_group_release(io, group, seen[2].event[0].buffer_id);
    io_close(io, ends[0]);
    io_close(io, ends[1]);
}

/* --- messages --------------------------------------------------------------------------------- */

static int make_datagram_pair(int *to)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof(addr);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    *to = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0 && *to >= 0);
    assert_int_equal(bind(*to, (struct sockaddr *)&addr, bytes), 0);
    assert_int_equal(getsockname(*to, (struct sockaddr *)&addr, &bytes), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&addr, bytes), 0);
    return fd;
}

static void messages_come_with_sender_and_length_before_the_cut(void **state)
{
    struct plx__io *io = *state;
    uint16_t group = make_group(io, 4);
    int to;
    int from = make_datagram_pair(&to);
    struct msghdr rooms = {.msg_namelen = sizeof(struct sockaddr_in), .msg_controllen = 40};
    struct seen seen = {0};
    plx_op_recvmsg_group(&seen.op, to, &rooms, group, seen_note, &seen);
    io_submit(io, &seen);
    static char large[2 * PLX_PAGE];
    assert_int_equal(send(from, "abc", 3, 0), 3);
    assert_int_equal(send(from, large, sizeof(large), 0), (ssize_t)sizeof(large));
    IO_UNTIL(io, seen.events == 2);

    struct sockaddr_in own;
    socklen_t bytes = sizeof(own);
    assert_int_equal(getsockname(from, (struct sockaddr *)&own, &bytes), 0);
    for (unsigned i = 0; i < 2; i++) {
        struct plx_datagram got = {0};
        assert_int_equal(seen.event[i].flags, PLX_EV_BUFFER | PLX_EV_MORE);
        assert_int_equal(plx_datagram_read(&seen.event[i], &rooms, &got), 0);
        assert_int_equal(got.addr_bytes, sizeof(own));
        struct sockaddr_in sender;
        memcpy(&sender, got.addr, sizeof(sender));
        assert_int_equal(sender.sin_port, own.sin_port);
        assert_int_equal(got.control_bytes, 0);
        assert_int_equal(got.bytes, i == 0 ? 3 : PLX_PAGE - 16 - sizeof(own) - 40);
        assert_int_equal(got.flags & MSG_TRUNC, i == 0 ? 0 : MSG_TRUNC);
        const struct plx_datagram_head *head = seen.event[i].data;
        assert_int_equal(head->bytes, i == 0 ? 3 : sizeof(large));
        plx__io_group_release(io, group, seen.event[i].buffer_id);
    }
    /* An empty one ends it, as with io_uring. */
    assert_int_equal(send(from, "", 0, 0), 0);
    IO_UNTIL(io, seen.terminals == 1);
    assert_int_equal(seen.event[2].flags, PLX_EV_BUFFER);
    assert_int_equal(seen.event[2].result, 16 + sizeof(own) + 40);
    plx__io_group_release(io, group, seen.event[2].buffer_id);
    io_close(io, to);
    close(from);
}

static void messages_without_a_buffer_wait_in_the_socket(void **state)
{
    struct plx__io *io = *state;
    uint16_t group = make_group(io, 1);
    int to;
    int from = make_datagram_pair(&to);
    struct msghdr none = {0};
    struct seen seen[3] = {0};
    plx_op_recvmsg_group(&seen[1].op, to, &none, group, seen_note, &seen[1]);
    io_submit(io, &seen[1]);
    assert_int_equal(send(from, "a", 1, 0), 1);
    IO_UNTIL(io, seen[1].events == 1);
    assert_int_equal(send(from, "b", 1, 0), 1);
    IO_UNTIL(io, seen[1].terminals == 1);
    assert_int_equal(seen[1].event[1].result, -ENOBUFS);
    plx__io_group_release(io, group, seen[1].event[0].buffer_id);
    plx_op_recvmsg_group(&seen[2].op, to, &none, group, seen_note, &seen[2]);
    io_submit(io, &seen[2]);
    IO_UNTIL(io, seen[2].events == 1);
    assert_int_equal(seen[2].event[0].result, 17);
    plx__io_group_release(io, group, seen[2].event[0].buffer_id);
    plx__io_cancel(io, &seen[2].op);
    IO_UNTIL(io, seen[2].terminals == 1);
    io_close(io, to);
    close(from);
}

static void zero_copy_send_releases_its_memory_with_its_only_event(void **state)
{
    struct plx__io *io = *state;
    int pair[2];
    make_pair(SOCK_STREAM, pair);
    struct seen seen[3] = {0};
    plx_op_send_zc(&seen[0].op, pair[0], "abc", 3, 0, seen_note, &seen[0]);
    io_run(io, &seen[0], 3);
    assert_int_equal(seen[0].event[0].flags, PLX_EV_RELEASED);
    fill_socket(pair[0]);
    for (unsigned i = 1; i < 3; i++) {
        plx_op_send_zc(&seen[i].op, pair[0], "def", 3, 0, seen_note, &seen[i]);
        io_submit(io, &seen[i]);
    }
    plx__io_poll(io);
    plx__io_cancel(io, &seen[2].op);
    IO_UNTIL(io, seen[2].terminals == 1);
    seen_expect(&seen[2], -ECANCELED);
    assert_int_equal(seen[2].event[0].flags, PLX_EV_RELEASED);
    static char sink[1 << 20];
    while (recv(pair[1], sink, sizeof(sink), MSG_DONTWAIT) > 0)
        continue;
    IO_UNTIL(io, seen[1].terminals == 1);
    seen_expect(&seen[1], 3);
    assert_int_equal(seen[1].event[0].flags, PLX_EV_RELEASED);
    struct seen how[2] = {0};
    plx_op_shutdown(&how[0].op, pair[0], SHUT_WR, seen_note, &how[0]);
    io_run(io, &how[0], 0);
    plx_op_shutdown(&how[1].op, pair[0], 17, seen_note, &how[1]);
    io_run(io, &how[1], -EINVAL);
    io_close(io, pair[0]);
    close(pair[1]);
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, epoll_set_up, epoll_tear_down)

int main(void)
{
    const struct CMUnitTest cases[] = {
        CASE(file_is_opened_filled_looked_at_and_closed),
        CASE(path_from_the_working_folder_needs_no_descriptor),
        CASE(op_that_a_file_refuses_ends_with_the_reason),
        CASE(number_of_a_closed_file_works_as_a_pipe),
        CASE(vectors_go_to_a_file_and_come_back),
        CASE(vectors_into_a_named_pipe_are_cut_and_do_not_block),
        CASE(group_read_of_a_file_lends_what_it_filled_and_nothing_else),
        CASE(group_read_of_a_pipe_takes_a_buffer_when_data_comes),
        CASE(messages_come_with_sender_and_length_before_the_cut),
        CASE(messages_without_a_buffer_wait_in_the_socket),
        CASE(zero_copy_send_releases_its_memory_with_its_only_event),
    };
    return cmocka_run_group_tests(cases, NULL, NULL);
}
