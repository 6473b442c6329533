/* SPDX-License-Identifier: MIT */
/*
 * The epoll backend beneath the seam: the order of its lines, what its turns are bounded by, edges
 * that must not be lost, files without RWF_NOWAIT, and its failures. What all backends have in
 * common is in test_ops.c and its siblings.
 */
#include "runtime/io/io_internal.h"

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

#define SEEN_MAX 64u

/* An op and the events it had. */
struct seen {
    struct plx_op op;
    unsigned events;
    unsigned terminals;
    struct plx_event event[SEEN_MAX];
    unsigned order; /* of its terminal event among all */
};

static unsigned terminals_so_far;

static void note(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    struct seen *seen = ctx;
    assert_ptr_equal(op, &seen->op);
    assert_in_range(seen->events, 0, SEEN_MAX - 1);
    assert_int_equal(seen->terminals, 0);
    seen->event[seen->events++] = *event;
    if ((event->flags & PLX_EV_MORE) == 0) {
        seen->terminals++;
        seen->order = ++terminals_so_far;
    }
}

static struct plx_settings settings;
static struct plx_arena arena;

static int open_epoll(struct plx__io **out, struct plx_diag *diag)
{
    struct plx__io_config config = {
        .settings = &settings,
        .arena = &arena,
        .sq_cpu = -1,
        .sq_fd = -1,
    };
    return plx__epoll_open(&config, out, diag);
}

static int set_up(void **state)
{
    plx_settings_init(&settings);
    struct plx_arena_opts opts;
    plx_arena_opts_init(&opts);
    opts.page_2m = PLX_WANT_NO;
    opts.thp = PLX_WANT_NO;
    opts.lock = PLX_WANT_NO;
    opts.bind = PLX_WANT_NO;
    assert_int_equal(plx_arena_init(&arena, 1 << 20, PLX_NODE_ANY, &opts, NULL), 0);
    terminals_so_far = 0;
    struct plx__io *io = NULL;
    assert_int_equal(open_epoll(&io, NULL), 0);
    *state = io;
    return 0;
}

static int tear_down(void **state)
{
    struct plx__io *io = *state;
    assert_int_equal(io->in_flight, 0);
    assert_int_equal(io->submitted, io->completed);
    io->ops->close(io);
    plx_arena_fini(&arena);
    return 0;
}

static void submit(struct plx__io *io, struct seen *seen)
{
    unsigned events = seen->events;
    assert_int_equal(plx__io_submit(io, &seen->op), 0);
    assert_int_equal(seen->events, events);
}

static void expect(const struct seen *seen, int32_t result)
{
    assert_int_equal(seen->events, 1);
    assert_int_equal(seen->terminals, 1);
    assert_int_equal(seen->event[0].result, result);
}

static void expect_waiting(const struct seen *seen)
{
    assert_int_equal(seen->events, 0);
    assert_int_equal(plx_op_state(&seen->op), PLX_OP_SUBMITTED);
}

/* Closes through the backend, so that what it knows of the descriptor goes too. */
static void close_now(struct plx__io *io, int fd)
{
    struct seen seen = {0};
    plx_op_close(&seen.op, fd, note, &seen);
    submit(io, &seen);
    for (unsigned turns = 0; seen.terminals == 0 && turns < 100; turns++)
        plx__io_poll(io);
    expect(&seen, 0);
}

static void make_pair(int type, int pair[2])
{
    assert_int_equal(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair), 0);
}

static void put(int fd, const char *text)
{
    size_t len = strlen(text);
    assert_int_equal(write(fd, text, len), (ssize_t)len);
}

/* --- lines ------------------------------------------------------------------------------------ */

static void receives_on_one_socket_end_in_the_order_of_submission(void **state)
{
    struct plx__io *io = *state;
    int pair[2];
    make_pair(SOCK_STREAM, pair);
    struct seen seen[3] = {0};
    char buf[3][4] = {0};
    for (unsigned i = 0; i < 3; i++) {
        plx_op_recv(&seen[i].op, pair[0], buf[i], 2, 0, note, &seen[i]);
        submit(io, &seen[i]);
    }
    assert_int_equal(plx__io_poll(io), 0);

    put(pair[1], "aabbc");
    assert_int_equal(plx__io_poll(io), 3);
    for (unsigned i = 0; i < 3; i++) {
        expect(&seen[i], i < 2 ? 2 : 1);
        assert_int_equal(seen[i].order, i + 1);
    }
    assert_string_equal(buf[0], "aa");
    assert_string_equal(buf[1], "bb");
    assert_string_equal(buf[2], "c");
    close_now(io, pair[0]);
    close(pair[1]);
}

static void receive_queues_behind_one_that_waits(void **state)
{
    struct plx__io *io = *state;
    int pair[2];
    make_pair(SOCK_STREAM, pair);
    struct seen first = {0};
    struct seen second = {0};
    char buf[2][4] = {0};
    plx_op_recv(&first.op, pair[0], buf[0], 1, 0, note, &first);
    submit(io, &first);
    put(pair[1], "xy");
    plx_op_recv(&second.op, pair[0], buf[1], 1, 0, note, &second);
    submit(io, &second);
    assert_int_equal(plx__io_poll(io), 2);
    assert_string_equal(buf[0], "x");
    assert_string_equal(buf[1], "y");
    assert_true(first.order < second.order);
    close_now(io, pair[0]);
    close(pair[1]);
}

static void cancelled_from_any_place_of_a_line_is_taken_out(void **state)
{
    struct plx__io *io = *state;
    int pair[2];
    make_pair(SOCK_STREAM, pair);
    struct seen seen[4] = {0};
    char buf[4];
    for (unsigned i = 0; i < 4; i++) {
        plx_op_recv(&seen[i].op, pair[0], buf, 1, 0, note, &seen[i]);
        submit(io, &seen[i]);
    }
    /* From the middle, the last, the first, twice; and the only one is left. */
    plx__io_cancel(io, &seen[1].op);
    plx__io_cancel(io, &seen[3].op);
    plx__io_cancel(io, &seen[0].op);
    plx__io_cancel(io, &seen[0].op);
    assert_int_equal(plx__io_poll(io), 3);
    expect_waiting(&seen[2]);
    put(pair[1], "x");
    assert_int_equal(plx__io_poll(io), 1);
    for (unsigned i = 0; i < 4; i++)
        expect(&seen[i], i == 2 ? 1 : -ECANCELED);
    close_now(io, pair[0]);
    close(pair[1]);
}

/* The pipe has no room for the first write, but for the second, and will show no edge. */
static void first_of_a_line_cancelled_lets_the_next_one_through(void **state)
{
    struct plx__io *io = *state;
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(fcntl(ends[1], F_SETPIPE_SZ, 4096), 4096);
    static char page[4096];
    assert_int_equal(write(ends[1], page, 4000), 4000);

    struct seen first = {0};
    struct seen second = {0};
    plx_op_write(&first.op, ends[1], page, 200, PLX_OFFSET_CURRENT, note, &first);
    plx_op_write(&second.op, ends[1], page, 50, PLX_OFFSET_CURRENT, note, &second);
    submit(io, &first);
    submit(io, &second);
    assert_int_equal(plx__io_poll(io), 0);
    plx__io_cancel(io, &first.op);
    assert_int_equal(plx__io_poll(io), 2);
    expect(&first, -ECANCELED);
    expect(&second, 50);
    close_now(io, ends[1]);
    close_now(io, ends[0]);
}

static void poll_ops_of_one_descriptor_wait_each_for_itself(void **state)
{
    struct plx__io *io = *state;
    int pair[2];
    make_pair(SOCK_STREAM, pair);
    assert_int_equal(fcntl(pair[0], F_SETFL, O_NONBLOCK), 0);
    static char block[4096];
    while (write(pair[0], block, sizeof(block)) > 0)
        continue;

    struct seen out = {0};
    struct seen in = {0};
    struct seen urgent = {0};
    struct seen both = {0};
    plx_op_poll(&out.op, pair[0], POLLOUT, note, &out);
    plx_op_poll(&in.op, pair[0], POLLIN, note, &in);
    plx_op_poll(&urgent.op, pair[0], POLLPRI, note, &urgent);
    plx_op_poll(&both.op, pair[0], POLLIN | POLLOUT, note, &both);
    submit(io, &out);
    submit(io, &in);
    submit(io, &urgent);
    submit(io, &both);
    assert_int_equal(plx__io_poll(io), 0);

    put(pair[1], "x");
    assert_int_equal(plx__io_poll(io), 2);
    expect(&in, POLLIN);
    expect(&both, POLLIN);
    expect_waiting(&out);

    assert_int_equal(fcntl(pair[1], F_SETFL, O_NONBLOCK), 0);
    while (read(pair[1], block, sizeof(block)) > 0)
        continue;
    assert_int_equal(plx__io_poll(io), 1);
    expect(&out, POLLOUT);

    close(pair[1]);
    assert_int_equal(plx__io_poll(io), 1);
    expect(&urgent, POLLHUP);
    close_now(io, pair[0]);
}

static void poll_ops_beyond_the_room_of_a_turn_come_in_the_next(void **state)
{
    struct plx__io *io = *state;
    int pair[2];
    make_pair(SOCK_STREAM, pair);
    static struct seen seen[PLX__BATCH_MAX + 20];
    memset(seen, 0, sizeof(seen));
    for (unsigned i = 0; i < PLX__BATCH_MAX + 20; i++) {
        plx_op_poll(&seen[i].op, pair[0], POLLIN, note, &seen[i]);
        submit(io, &seen[i]);
    }
    put(pair[1], "x");
    assert_int_equal(plx__io_poll(io), PLX__BATCH_MAX);
    assert_int_equal(plx__io_poll(io), 20);
    close_now(io, pair[0]);
    close(pair[1]);
}

/* --- what a turn is bounded by ---------------------------------------------------------------- */

static void multishot_flooded_shares_the_turn_and_goes_on_in_the_next(void **state)
{
    struct plx__io *io = *state;
    uint16_t group = 0;
    assert_int_equal(plx__io_group_create(io, 128, PLX_PAGE, &group), 0);
    int pair[2][2];
    struct seen seen[2] = {0};
    char name[2] = {0};
    for (unsigned s = 0; s < 2; s++) {
        make_pair(SOCK_SEQPACKET, pair[s]);
        plx_op_recv_group(&seen[s].op, pair[s][0], group, note, &seen[s]);
        submit(io, &seen[s]);
    }
    assert_int_equal(plx__io_poll(io), 0);
    for (unsigned i = 0; i < 40; i++) {
        name[0] = (char)('0' + i);
        put(pair[0][1], name);
    }
    put(pair[1][1], "z");

    uint32_t first_turn = plx__io_poll(io);
    assert_in_range(first_turn, 2, 40);
    assert_int_equal(seen[1].events, 1);
    unsigned turns = 1;
    while (plx__io_poll(io) > 0)
        turns++;
    assert_int_equal(seen[0].events, 40);
    assert_in_range(turns, 2, 40);
    for (unsigned i = 0; i < 40; i++) {
        assert_int_equal(*(char *)seen[0].event[i].data, '0' + i);
        assert_int_equal(seen[0].event[i].flags, PLX_EV_MORE | PLX_EV_BUFFER);
    }
    for (unsigned s = 0; s < 2; s++) {
        plx__io_cancel(io, &seen[s].op);
        plx__io_poll(io);
        assert_int_equal(seen[s].terminals, 1);
        close_now(io, pair[s][0]);
        close(pair[s][1]);
    }
}

static void collect_one_at_a_time_loses_nothing(void **state)
{
    struct plx__io *io = *state;
    int pair[4][2];
    struct seen seen[4] = {0};
    struct seen nop = {0};
    char buf[4][4];
    for (unsigned s = 0; s < 4; s++) {
        make_pair(SOCK_STREAM, pair[s]);
        plx_op_recv(&seen[s].op, pair[s][0], buf[s], 4, 0, note, &seen[s]);
        submit(io, &seen[s]);
        put(pair[s][1], "abcd");
    }
    plx_op_nop(&nop.op, note, &nop);
    submit(io, &nop);
    for (unsigned i = 0; i < 5; i++) {
        struct plx__completion one;
        assert_int_equal(io->ops->collect(io, &one, 1), 1);
        assert_int_equal(plx_op_state(one.op), PLX_OP_ENDING);
        assert_int_equal(one.event.result, one.op == &nop.op ? 0 : 4);
        /* What plx__io_poll does with it. */
        if (one.op != &nop.op)
            io->fd_uses[one.op->fd]--;
        io->in_flight--;
        io->completed++;
        one.op->fn(one.op, &one.event, one.op->ctx);
    }
    assert_int_equal(plx__io_poll(io), 0);
    for (unsigned s = 0; s < 4; s++) {
        expect(&seen[s], 4);
        close_now(io, pair[s][0]);
        close(pair[s][1]);
    }
}

static unsigned nops_left;
static struct plx__io *nop_io;

static void nop_again(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    (void)event;
    if (nops_left > 0) {
        nops_left--;
        plx_op_nop(op, nop_again, ctx);
        assert_int_equal(plx__io_submit(nop_io, op), 0);
    }
}

static void ops_that_end_at_once_do_not_starve_those_that_wait(void **state)
{
    struct plx__io *io = *state;
    int pair[2];
    make_pair(SOCK_STREAM, pair);
    struct seen seen = {0};
    char buf[4];
    plx_op_recv(&seen.op, pair[0], buf, 4, 0, note, &seen);
    submit(io, &seen);
    static struct plx_op nops[2 * PLX__BATCH_MAX];
    nop_io = io;
    nops_left = 100000;
    for (unsigned i = 0; i < 2 * PLX__BATCH_MAX; i++) {
        plx_op_nop(&nops[i], nop_again, NULL);
        assert_int_equal(plx__io_submit(io, &nops[i]), 0);
    }
    put(pair[1], "x");
    plx__io_poll(io);
    expect(&seen, 1);
    nops_left = 0;
    while (plx__io_poll(io) > 0)
        continue;
    close_now(io, pair[0]);
    close(pair[1]);
}

static void turn_with_nobody_waiting_enters_no_kernel(void **state)
{
    struct plx__io *io = *state;
    int pair[2];
    make_pair(SOCK_STREAM, pair);
    struct seen seen = {0};
    char buf[4];
    plx__io_poll(io);
    assert_int_equal(io->kernel_entries, 0);
    plx_op_recv(&seen.op, pair[0], buf, 4, 0, note, &seen);
    submit(io, &seen);
    plx__io_poll(io);
    assert_int_equal(io->kernel_entries, 1);
    assert_int_equal(io->ops->flush(io), 0);
    plx__io_cancel(io, &seen.op);
    plx__io_poll(io);
    plx__io_poll(io);
    assert_int_equal(io->kernel_entries, 1);
    close_now(io, pair[0]);
    close(pair[1]);
}

/* --- edges ------------------------------------------------------------------------------------ */

static void data_that_came_between_two_ops_is_found(void **state)
{
    struct plx__io *io = *state;
    int pair[2];
    make_pair(SOCK_STREAM, pair);
    char buf[4];
    struct seen waits = {0};
    struct seen other = {0};
    int wait_pair[2];
    make_pair(SOCK_STREAM, wait_pair);
    /* Somebody else waits, so each turn takes the edges of all. */
    plx_op_recv(&other.op, wait_pair[0], buf, 4, 0, note, &other);
    submit(io, &other);
    for (unsigned i = 0; i < 10; i++) {
        struct seen seen = {0};
        plx_op_recv(&seen.op, pair[0], buf, 1, 0, note, &seen);
        submit(io, &seen);
        put(pair[1], "xy");
        assert_int_equal(plx__io_poll(io), 1);
        expect(&seen, 1);
        assert_int_equal(plx__io_poll(io), 0);
        plx_op_recv(&seen.op, pair[0], buf, 4, 0, note, &seen);
        seen.events = seen.terminals = 0;
        submit(io, &seen);
        assert_int_equal(plx__io_poll(io), 1);
        expect(&seen, 1);
    }
    plx_op_recv(&waits.op, pair[0], buf, 4, 0, note, &waits);
    submit(io, &waits);
    close(pair[1]);
    close(wait_pair[1]);
    assert_int_equal(plx__io_poll(io), 2);
    expect(&waits, 0);
    expect(&other, 0);
    close_now(io, pair[0]);
    close_now(io, wait_pair[0]);
}

static void hangup_wakes_both_directions(void **state)
{
    struct plx__io *io = *state;
    int pair[2];
    make_pair(SOCK_STREAM, pair);
    static char block[4096];
    while (send(pair[0], block, sizeof(block), MSG_DONTWAIT) > 0)
        continue;
    struct seen reader = {0};
    struct seen writer = {0};
    char buf[4];
    plx_op_recv(&reader.op, pair[0], buf, 4, 0, note, &reader);
    plx_op_send(&writer.op, pair[0], block, sizeof(block), 0, PLX_QUEUED, note, &writer);
    submit(io, &reader);
    submit(io, &writer);
    assert_int_equal(plx__io_poll(io), 0);
    close(pair[1]);
    assert_int_equal(plx__io_poll(io), 2);
    /* The peer left data unread: a UNIX socket reports a reset. */
    expect(&reader, -ECONNRESET);
    expect(&writer, -EPIPE);
    close_now(io, pair[0]);
}

/* Descriptors that are registered with the one epoll of this process. */
static unsigned count_registrations(void)
{
    char path[64];
    char line[256] = "";
    int fd = 0;
    for (; fd < 1024 && strstr(line, "eventpoll") == NULL; fd++) {
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        ssize_t bytes = readlink(path, line, sizeof(line) - 1);
        line[bytes > 0 ? bytes : 0] = '\0';
    }
    snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd - 1);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    unsigned count = 0;
    while (fgets(line, sizeof(line), file) != NULL)
        count += strncmp(line, "tfd:", 4) == 0;
    fclose(file);
    return count;
}

static void close_of_a_duplicated_descriptor_ends_its_registration(void **state)
{
    struct plx__io *io = *state;
    int pair[2];
    make_pair(SOCK_STREAM, pair);
    struct seen seen = {0};
    char buf[8] = {0};
    plx_op_recv(&seen.op, pair[0], buf, 4, 0, note, &seen);
    submit(io, &seen);
    put(pair[1], "a");
    assert_int_equal(plx__io_poll(io), 1);
    assert_int_equal(count_registrations(), 1);
    int twin = dup(pair[0]);
    close_now(io, pair[0]);
    assert_int_equal(count_registrations(), 0);

    /* The number is another socket's now. */
    int other[2];
    make_pair(SOCK_STREAM, other);
    assert_int_equal(other[0], pair[0]);
    put(pair[1], "old");
    struct seen fresh = {0};
    plx_op_recv(&fresh.op, other[0], buf, 8, 0, note, &fresh);
    submit(io, &fresh);
    assert_int_equal(plx__io_poll(io), 0);
    put(other[1], "new");
    assert_int_equal(plx__io_poll(io), 1);
    expect(&fresh, 3);
    assert_string_equal(buf, "new");
    close(twin);
    close(pair[1]);
    close_now(io, other[0]);
    close(other[1]);
}

static void descriptors_closed_while_listed_as_ready_leave_the_list_whole(void **state)
{
    struct plx__io *io = *state;
    uint16_t group = 0;
    assert_int_equal(plx__io_group_create(io, 4, PLX_PAGE, &group), 0);
    int pair[3][2];
    for (unsigned i = 0; i < 3; i++) {
        struct seen many = {0};
        make_pair(SOCK_STREAM, pair[i]);
        plx_op_recv_group(&many.op, pair[i][0], group, note, &many);
        submit(io, &many);
        plx__io_cancel(io, &many.op);
        plx__io_poll(io);
        expect(&many, -ECANCELED);
    }
    close_now(io, pair[0][0]);
    close(pair[0][1]);
    make_pair(SOCK_STREAM, pair[0]);

    struct seen seen[3] = {0};
    char buf[4];
    for (unsigned i = 0; i < 3; i++) {
        plx_op_recv(&seen[i].op, pair[i][0], buf, 4, 0, note, &seen[i]);
        submit(io, &seen[i]);
        put(pair[i][1], "x");
    }
    assert_int_equal(plx__io_poll(io), 3);
    for (unsigned i = 0; i < 3; i++) {
        expect(&seen[i], 1);
        close_now(io, pair[i][0]);
        close(pair[i][1]);
    }
}

/* --- descriptors in blocking mode ------------------------------------------------------------- */

static void transfer_without_nowait_waits_and_does_not_block(int reads_from, int writes_to,
                                                             struct plx__io *io)
{
    static char page[4096];
    struct seen reader = {0};
    plx_op_read(&reader.op, reads_from, page, sizeof(page), 0, note, &reader);
    submit(io, &reader);
    assert_int_equal(plx__io_poll(io), 0);
    struct seen writer = {0};
    plx_op_write(&writer.op, writes_to, page, 8, 0, note, &writer);
    submit(io, &writer);
    while (writer.terminals == 0 || reader.terminals == 0)
        assert_int_not_equal(plx__io_poll(io), 0);
    expect(&writer, 8);
    expect(&reader, 8);
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
        plx_op_write(&seen.op, fd, much, sizeof(much), 0, note, &seen);
        submit(io, &seen);
        assert_int_equal(plx__io_poll(io), 1);
        assert_true(seen.event[0].result > 0);
        taken += seen.event[0].result;
    }
    memset(&seen, 0, sizeof(seen));
    plx_op_write(&seen.op, fd, much, sizeof(much), 0, note, &seen);
    submit(io, &seen);
    assert_int_equal(plx__io_poll(io), 0);
    plx__io_cancel(io, &seen.op);
    plx__io_poll(io);
    expect(&seen, -ECANCELED);
    close_now(io, fd);
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
    plx_op_read(&reader.op, fd, &got, sizeof(got), PLX_OFFSET_CURRENT, note, &reader);
    submit(io, &reader);
    plx_op_write(&writer.op, fd, &add, sizeof(add), PLX_OFFSET_CURRENT, note, &writer);
    submit(io, &writer);
    assert_int_equal(plx__io_poll(io), 2);
    expect(&reader, 8);
    expect(&writer, 8);
    assert_int_equal(got, 5);
    close_now(io, fd);
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
    plx_op_read(&seen.op, fd, buf, sizeof(buf), PLX_OFFSET_CURRENT, note, &seen);
    submit(io, &seen);
    assert_int_equal(plx__io_poll(io), 0);
    assert_int_equal(rmdir(folder), 0);
    assert_int_equal(plx__io_poll(io), 1);
    assert_true(seen.event[0].result > 0);
    close_now(io, fd);
}

static void pipe_with_an_offset_ignores_it(void **state)
{
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    transfer_without_nowait_waits_and_does_not_block(ends[0], ends[1], *state);
    close_now(*state, ends[0]);
    close_now(*state, ends[1]);
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
        plx_op_connect(&seen.op, client[i], to, sizeof(addr), note, &seen);
        submit(io, &seen);
        assert_int_equal(plx__io_poll(io), 1);
        result[i] = seen.event[0].result;
        close_now(io, client[i]);
    }
    assert_int_equal(result[0], 0);
    assert_int_equal(result[1], -EAGAIN);
    close(listener);
}

/* A port whose queue of connections is full: attempts hang. */
static int full_listener(struct sockaddr_in *addr, int *filler)
{
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t bytes = sizeof(*addr);
    *addr = (struct sockaddr_in){
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    assert_int_equal(bind(listener, (struct sockaddr *)addr, bytes), 0);
    assert_int_equal(listen(listener, 0), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)addr, &bytes), 0);
    *filler = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(*filler, (struct sockaddr *)addr, bytes), 0);
    return listener;
}

static void send_waits_behind_a_connect_under_way(void **state)
{
    struct plx__io *io = *state;
    struct sockaddr_in addr;
    int filler;
    int listener = full_listener(&addr, &filler);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct seen connecting = {0};
    struct seen sending = {0};
    plx_op_connect(&connecting.op, client, (struct sockaddr *)&addr, sizeof(addr), note,
                   &connecting);
    plx_op_send(&sending.op, client, "x", 1, 0, PLX_QUEUED, note, &sending);
    submit(io, &connecting);
    submit(io, &sending);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(plx__io_poll(io), 0);
    expect_waiting(&connecting);
    expect_waiting(&sending);
    /* Without the connect, the send meets a socket that is not connected. */
    plx__io_cancel(io, &connecting.op);
    plx__io_poll(io);
    expect(&connecting, -ECANCELED);
    plx__io_cancel(io, &sending.op);
    plx__io_poll(io);
    assert_int_equal(sending.terminals, 1);
    close_now(io, client);
    close(filler);
    close(listener);
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
        plx_op_recv(&seen[i].op, pair[0], buf, 4, 0, note, &seen[i]);
        plx_op_send(&seen[2 + i].op, pair[0], block, 4, 0, PLX_QUEUED, note, &seen[2 + i]);
        plx_op_poll(&seen[4 + i].op, pair[0], POLLIN, note, &seen[4 + i]);
    }
    for (unsigned i = 0; i < 6; i++)
        submit(io, &seen[i]);
    assert_int_equal(plx__io_poll(io), 0);
    io->ops->cancel_all(io);
    assert_int_equal(plx__io_poll(io), 6);
    for (unsigned i = 0; i < 6; i++)
        expect(&seen[i], -ECANCELED);
    io->ops->cancel_all(io);
    close_now(io, pair[0]);
    close(pair[1]);
}

static void op_on_what_epoll_cannot_watch_ends_with_the_reason(void **state)
{
    struct plx__io *io = *state;
    int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    struct seen seen = {0};
    /* Nothing urgent will ever come from a file. */
    plx_op_poll(&seen.op, file, POLLPRI, note, &seen);
    submit(io, &seen);
    plx__io_poll(io);
    expect(&seen, -EPERM);

    memset(&seen, 0, sizeof(seen));
    char byte;
    plx_op_recv(&seen.op, file, &byte, 1, 0, note, &seen);
    submit(io, &seen);
    plx__io_poll(io);
    expect(&seen, -ENOTSOCK);
    close_now(io, file);
}

static void number_that_is_no_descriptor_ends_with_ebadf(void **state)
{
    struct plx__io *io = *state;
    int fd = eventfd(0, EFD_CLOEXEC);
    close(fd);
    struct seen seen[5] = {0};
    char byte;
    plx_op_read(&seen[0].op, fd, &byte, 1, 0, note, &seen[0]);
    plx_op_accept(&seen[1].op, fd, 0, 0, note, &seen[1]);
    plx_op_connect(&seen[2].op, fd, NULL, 0, note, &seen[2]);
    plx_op_poll(&seen[3].op, fd, POLLIN, note, &seen[3]);
    plx_op_recv_group(&seen[4].op, fd, 0, note, &seen[4]);
    for (unsigned i = 0; i < 5; i++)
        submit(io, &seen[i]);
    plx__io_poll(io);
    for (unsigned i = 0; i < 5; i++)
        expect(&seen[i], -EBADF);
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
    if (open_epoll(&io, &diag) != -EMFILE || io != NULL)
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
        int rc = open_epoll(&io, &diag);
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

#define CASE(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest cases[] = {
        CASE(receives_on_one_socket_end_in_the_order_of_submission),
        CASE(receive_queues_behind_one_that_waits),
        CASE(cancelled_from_any_place_of_a_line_is_taken_out),
        CASE(first_of_a_line_cancelled_lets_the_next_one_through),
        CASE(poll_ops_of_one_descriptor_wait_each_for_itself),
        CASE(poll_ops_beyond_the_room_of_a_turn_come_in_the_next),
        CASE(multishot_flooded_shares_the_turn_and_goes_on_in_the_next),
        CASE(collect_one_at_a_time_loses_nothing),
        CASE(ops_that_end_at_once_do_not_starve_those_that_wait),
        CASE(turn_with_nobody_waiting_enters_no_kernel),
        CASE(data_that_came_between_two_ops_is_found),
        CASE(hangup_wakes_both_directions),
        CASE(close_of_a_duplicated_descriptor_ends_its_registration),
        CASE(descriptors_closed_while_listed_as_ready_leave_the_list_whole),
        CASE(named_pipe_empty_or_full_does_not_block),
        CASE(eventfd_is_read_and_written),
        CASE(inotify_without_events_waits),
        CASE(pipe_with_an_offset_ignores_it),
        CASE(unix_connect_to_a_full_backlog_ends_with_eagain),
        CASE(send_waits_behind_a_connect_under_way),
        CASE(cancel_all_ends_every_line),
        CASE(op_on_what_epoll_cannot_watch_ends_with_the_reason),
        CASE(number_that_is_no_descriptor_ends_with_ebadf),
        CASE(open_at_the_limit_of_descriptors_says_so),
        CASE(open_without_memory_says_so),
    };
    return cmocka_run_group_tests(cases, NULL, NULL);
}
