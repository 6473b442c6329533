/* SPDX-License-Identifier: MIT */
/*
 * The epoll backend beneath the seam: descriptors in blocking mode and without RWF_NOWAIT, connects
 * that hang, the end, and failures.
 */
#include "test/runtime/io/epoll_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- descriptors in blocking mode ------------------------------------------------------------- */

static void transfer_without_nowait_waits_and_does_not_block(int reads_from, int writes_to,
                                                             struct plx__io *io)
{
    static char page[4096];
    struct seen reader = {0};
    plx_op_read(&reader.op, reads_from, page, sizeof(page), 0, seen_note, &reader);
    io_submit(io, &reader);
    assert_int_equal(plx__io_poll(io), 0);
    struct seen writer = {0};
    plx_op_write(&writer.op, writes_to, page, 8, 0, seen_note, &writer);
    io_submit(io, &writer);
    while (writer.terminals == 0 || reader.terminals == 0)
        assert_int_not_equal(plx__io_poll(io), 0);
    seen_expect(&writer, 8);
    seen_expect(&reader, 8);
}

static void named_pipe_empty_or_full_does_not_block(void **state)
{
    struct plx__io *io = *state;
    char folder[] = "/tmp/pollux-test-XXXXXX";
    char path[sizeof(folder) + 8];
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/pipe", folder);
    assert_int_equal(mkfifo(path, 0600), 0);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    transfer_without_nowait_waits_and_does_not_block(fd, fd, io);

    /* A long write takes what there is room for, and the next one waits. */
    static char much[1 << 20];
    int room = fcntl(fd, F_GETPIPE_SZ);
    struct seen seen = {0};
    int32_t taken = 0;
    while (taken < room) {
        memset(&seen, 0, sizeof(seen));
        plx_op_write(&seen.op, fd, much, sizeof(much), 0, seen_note, &seen);
        io_submit(io, &seen);
        assert_int_equal(plx__io_poll(io), 1);
        assert_true(seen.event[0].result > 0);
        taken += seen.event[0].result;
    }
    memset(&seen, 0, sizeof(seen));
    plx_op_write(&seen.op, fd, much, sizeof(much), 0, seen_note, &seen);
    io_submit(io, &seen);
    assert_int_equal(plx__io_poll(io), 0);
    plx__io_cancel(io, &seen.op);
    plx__io_poll(io);
    seen_expect(&seen, -ECANCELED);
    io_close(io, fd);
    unlink(path);
    rmdir(folder);
}

static void eventfd_is_read_and_written(void **state)
{
    struct plx__io *io = *state;
    int fd = eventfd(0, EFD_CLOEXEC);
    assert_true(fd >= 0);
    struct seen reader = {0};
    struct seen writer = {0};
    uint64_t got = 0;
    uint64_t add = 5;
    plx_op_read(&reader.op, fd, &got, sizeof(got), PLX_OFFSET_CURRENT, seen_note, &reader);
    io_submit(io, &reader);
    plx_op_write(&writer.op, fd, &add, sizeof(add), PLX_OFFSET_CURRENT, seen_note, &writer);
    io_submit(io, &writer);
    assert_int_equal(plx__io_poll(io), 2);
    seen_expect(&reader, 8);
    seen_expect(&writer, 8);
    assert_int_equal(got, 5);
    io_close(io, fd);
}

static void inotify_without_events_waits(void **state)
{
    struct plx__io *io = *state;
    int fd = inotify_init1(IN_CLOEXEC);
    assert_true(fd >= 0);
    char folder[] = "/tmp/pollux-test-XXXXXX";
    assert_non_null(mkdtemp(folder));
    assert_true(inotify_add_watch(fd, folder, IN_DELETE_SELF) >= 0);
    struct seen seen = {0};
    char buf[4096];
    plx_op_read(&seen.op, fd, buf, sizeof(buf), PLX_OFFSET_CURRENT, seen_note, &seen);
    io_submit(io, &seen);
    assert_int_equal(plx__io_poll(io), 0);
    assert_int_equal(rmdir(folder), 0);
    assert_int_equal(plx__io_poll(io), 1);
    assert_true(seen.event[0].result > 0);
    io_close(io, fd);
}

static void pipe_with_an_offset_ignores_it(void **state)
{
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    transfer_without_nowait_waits_and_does_not_block(ends[0], ends[1], *state);
    io_close(*state, ends[0]);
    io_close(*state, ends[1]);
}

/* --- connecting ------------------------------------------------------------------------------- */

static void unix_connect_to_a_full_backlog_ends_with_eagain(void **state)
{
    struct plx__io *io = *state;
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    snprintf(addr.sun_path + 1, sizeof(addr.sun_path) - 1, "pollux-test-%d", (int)getpid());
    const struct sockaddr *to = (const struct sockaddr *)&addr;
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, to, sizeof(addr)), 0);
    assert_int_equal(listen(listener, 0), 0);
    int client[2];
    int32_t result[2];
    for (unsigned i = 0; i < 2; i++) {
        struct seen seen = {0};
        client[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        plx_op_connect(&seen.op, client[i], to, sizeof(addr), seen_note, &seen);
        io_submit(io, &seen);
        assert_int_equal(plx__io_poll(io), 1);
        result[i] = seen.event[0].result;
        io_close(io, client[i]);
    }
    assert_int_equal(result[0], 0);
    assert_int_equal(result[1], -EAGAIN);
    close(listener);
}

static void send_waits_behind_a_connect_under_way(void **state)
{
    struct plx__io *io = *state;
    struct sockaddr_in addr;
    int filler;
    int listener = make_full_listener(&addr, &filler);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct seen connecting = {0};
    struct seen sending = {0};
    plx_op_connect(&connecting.op, client, (struct sockaddr *)&addr, sizeof(addr), seen_note,
                   &connecting);
    plx_op_send(&sending.op, client, "x", 1, 0, PLX_QUEUED, seen_note, &sending);
    io_submit(io, &connecting);
    io_submit(io, &sending);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(plx__io_poll(io), 0);
    seen_expect_waiting(&connecting);
    seen_expect_waiting(&sending);
    /* Without the connect, the send meets a socket that is not connected. */
    plx__io_cancel(io, &connecting.op);
    plx__io_poll(io);
    seen_expect(&connecting, -ECANCELED);
    plx__io_cancel(io, &sending.op);
    plx__io_poll(io);
    assert_int_equal(sending.terminals, 1);
    io_close(io, client);
    close(filler);
    close(listener);
}

static void connect_refused_is_told_so_though_a_receive_waits(void **state)
{
    struct plx__io *io = *state;
    struct sockaddr_in addr;
    close(make_listener(&addr, 1));
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct seen connecting = {0};
    struct seen receiving = {0};
    char byte;
    plx_op_connect(&connecting.op, client, (struct sockaddr *)&addr, sizeof(addr), seen_note,
                   &connecting);
    plx_op_recv(&receiving.op, client, &byte, 1, 0, seen_note, &receiving);
    io_submit(io, &connecting);
    io_submit(io, &receiving);
    for (unsigned turns = 0; connecting.terminals + receiving.terminals < 2; turns++) {
        assert_in_range(turns, 0, 100000);
        plx__io_poll(io);
    }
    seen_expect(&connecting, -ECONNREFUSED);
    assert_true(receiving.event[0].result <= 0);
    io_close(io, client);
}

/* --- the end, and failures -------------------------------------------------------------------- */

static void cancel_all_ends_every_line(void **state)
{
    struct plx__io *io = *state;
    int pair[2];
    make_pair(SOCK_STREAM, pair);
    static char block[4096];
    while (send(pair[0], block, sizeof(block), MSG_DONTWAIT) > 0)
        continue;
    struct seen seen[6] = {0};
    char buf[4];
    for (unsigned i = 0; i < 2; i++) {
        plx_op_recv(&seen[i].op, pair[0], buf, 4, 0, seen_note, &seen[i]);
        plx_op_send(&seen[2 + i].op, pair[0], block, 4, 0, PLX_QUEUED, seen_note, &seen[2 + i]);
        plx_op_poll(&seen[4 + i].op, pair[0], POLLIN, seen_note, &seen[4 + i]);
    }
    for (unsigned i = 0; i < 6; i++)
        io_submit(io, &seen[i]);
    assert_int_equal(plx__io_poll(io), 0);
    io->ops->cancel_all(io);
    assert_int_equal(plx__io_poll(io), 6);
    for (unsigned i = 0; i < 6; i++)
        seen_expect(&seen[i], -ECANCELED);
    io->ops->cancel_all(io);
    io_close(io, pair[0]);
    close(pair[1]);
}

static void op_on_what_epoll_cannot_watch_ends_with_the_reason(void **state)
{
    struct plx__io *io = *state;
    int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    struct seen seen = {0};
    /* Nothing urgent will ever come from a file. */
    plx_op_poll(&seen.op, file, POLLPRI, seen_note, &seen);
    io_submit(io, &seen);
    plx__io_poll(io);
    seen_expect(&seen, -EPERM);

    memset(&seen, 0, sizeof(seen));
    char byte;
    plx_op_recv(&seen.op, file, &byte, 1, 0, seen_note, &seen);
    io_submit(io, &seen);
    plx__io_poll(io);
    seen_expect(&seen, -ENOTSOCK);
    io_close(io, file);
}

static void number_that_is_no_descriptor_ends_with_ebadf(void **state)
{
    struct plx__io *io = *state;
    int fd = eventfd(0, EFD_CLOEXEC);
    close(fd);
    struct seen seen[5] = {0};
    char byte;
    plx_op_read(&seen[0].op, fd, &byte, 1, 0, seen_note, &seen[0]);
    plx_op_accept(&seen[1].op, fd, 0, 0, seen_note, &seen[1]);
    plx_op_connect(&seen[2].op, fd, NULL, 0, seen_note, &seen[2]);
    plx_op_poll(&seen[3].op, fd, POLLIN, seen_note, &seen[3]);
    plx_op_recv_group(&seen[4].op, fd, 0, seen_note, &seen[4]);
    for (unsigned i = 0; i < 5; i++)
        io_submit(io, &seen[i]);
    plx__io_poll(io);
    for (unsigned i = 0; i < 5; i++)
        seen_expect(&seen[i], -EBADF);
}

/* Runs `body` in a child and gives its exit code. */
static int in_child(int (*body)(void))
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(body());
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int open_without_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 1;
    limit.rlim_cur = 0;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 2;
    struct plx__io *io = NULL;
    struct plx_diag diag = {0};
    if (epoll_open_plain(&io, &diag) != -EMFILE || io != NULL)
        return 3;
    return diag.code == -EMFILE && strstr(diag.text, "descriptors") != NULL ? 0 : 4;
}

static void open_at_the_limit_of_descriptors_says_so(void **state)
{
    (void)state;
    assert_int_equal(in_child(open_without_descriptors), 0);
}

/* With less and less memory, every allocation of open fails once. */
static int open_without_memory(void)
{
    unsigned failures = 0;
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL || fscanf(file, "%ld", &pages) != 1)
        return 1;
    fclose(file);
    for (rlim_t more = 16 << 10; more < 96 << 20; more += 256 << 10) {
        struct rlimit limit = {.rlim_cur = (rlim_t)pages * 4096 + more, .rlim_max = RLIM_INFINITY};
        if (setrlimit(RLIMIT_AS, &limit) != 0)
            return 2;
        struct plx__io *io = NULL;
        struct plx_diag diag = {0};
        int rc = epoll_open_plain(&io, &diag);
        if (rc == 0) {
            io->ops->close(io);
            return failures > 0 ? 0 : 3;
        }
        if (rc != -ENOMEM || io != NULL || diag.code != -ENOMEM || diag.text[0] == '\0')
            return 4;
        failures++;
    }
    return 5;
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

static void open_without_memory_says_so(void **state)
{
    (void)state;
#ifdef SANITIZED
    print_message("a sanitizer's own mappings need the memory that this case takes away\n");
    skip();
#endif
    assert_int_equal(in_child(open_without_memory), 0);
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, epoll_set_up, epoll_tear_down)

int main(void)
{
    const struct CMUnitTest cases[] = {
        CASE(named_pipe_empty_or_full_does_not_block),
        CASE(eventfd_is_read_and_written),
        CASE(inotify_without_events_waits),
        CASE(pipe_with_an_offset_ignores_it),
        CASE(unix_connect_to_a_full_backlog_ends_with_eagain),
        CASE(send_waits_behind_a_connect_under_way),
        CASE(connect_refused_is_told_so_though_a_receive_waits),
        CASE(cancel_all_ends_every_line),
        CASE(op_on_what_epoll_cannot_watch_ends_with_the_reason),
        CASE(number_that_is_no_descriptor_ends_with_ebadf),
        CASE(open_at_the_limit_of_descriptors_says_so),
        CASE(open_without_memory_says_so),
    };
    return cmocka_run_group_tests(cases, NULL, NULL);
}
