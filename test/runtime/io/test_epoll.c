/* SPDX-License-Identifier: MIT */
/*
 * The epoll backend beneath the seam: the order of its lines, what bounds its turns, and edges that
 * must not be lost. What all backends have in common is in test_ops.c and its siblings.
 */
#include "test/runtime/io/epoll_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/* --- lines ------------------------------------------------------------------------------------ */

static void receives_on_one_socket_end_in_the_order_of_submission(void **state)
{
    struct plx__io *io = *state;
    int pair[2];
    make_pair(SOCK_STREAM, pair);
    struct seen seen[3] = {0};
    char buf[3][4] = {0};
    for (unsigned i = 0; i < 3; i++) {
        plx_op_recv(&seen[i].op, pair[0], buf[i], 2, 0, seen_note, &seen[i]);
        io_submit(io, &seen[i]);
    }
    assert_int_equal(plx__io_poll(io), 0);

    put_text(pair[1], "aabbc");
    assert_int_equal(plx__io_poll(io), 3);
    for (unsigned i = 0; i < 3; i++) {
        seen_expect(&seen[i], i < 2 ? 2 : 1);
        assert_int_equal(seen[i].order, i + 1);
    }
    assert_string_equal(buf[0], "aa");
    assert_string_equal(buf[1], "bb");
    assert_string_equal(buf[2], "c");
    io_close(io, pair[0]);
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
    plx_op_recv(&first.op, pair[0], buf[0], 1, 0, seen_note, &first);
    io_submit(io, &first);
    put_text(pair[1], "xy");
    plx_op_recv(&second.op, pair[0], buf[1], 1, 0, seen_note, &second);
    io_submit(io, &second);
    assert_int_equal(plx__io_poll(io), 2);
    assert_string_equal(buf[0], "x");
    assert_string_equal(buf[1], "y");
    assert_true(first.order < second.order);
    io_close(io, pair[0]);
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
        plx_op_recv(&seen[i].op, pair[0], buf, 1, 0, seen_note, &seen[i]);
        io_submit(io, &seen[i]);
    }
    /* From the middle, the last, the first, twice; and the only one is left. */
    plx__io_cancel(io, &seen[1].op);
    plx__io_cancel(io, &seen[3].op);
    plx__io_cancel(io, &seen[0].op);
    plx__io_cancel(io, &seen[0].op);
    assert_int_equal(plx__io_poll(io), 3);
    seen_expect_waiting(&seen[2]);
    put_text(pair[1], "x");
    assert_int_equal(plx__io_poll(io), 1);
    for (unsigned i = 0; i < 4; i++)
        seen_expect(&seen[i], i == 2 ? 1 : -ECANCELED);
    io_close(io, pair[0]);
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
    struct iovec some = {page, 100};
    if (pwritev2(ends[1], &some, 1, -1, RWF_NOWAIT) < 0) {
        print_message("a full slot shows no room: pipes know no RWF_NOWAIT before Linux 6.4 (%s)\n",
                      strerror(errno));
        close(ends[0]);
        close(ends[1]);
        skip();
    }
    assert_int_equal(write(ends[1], page, 3900), 3900);

    struct seen first = {0};
    struct seen second = {0};
    plx_op_write(&first.op, ends[1], page, 200, PLX_OFFSET_CURRENT, seen_note, &first);
    plx_op_write(&second.op, ends[1], page, 50, PLX_OFFSET_CURRENT, seen_note, &second);
    io_submit(io, &first);
    io_submit(io, &second);
    assert_int_equal(plx__io_poll(io), 0);
    plx__io_cancel(io, &first.op);
    assert_int_equal(plx__io_poll(io), 2);
    seen_expect(&first, -ECANCELED);
    seen_expect(&second, 50);
    io_close(io, ends[1]);
    io_close(io, ends[0]);
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
    plx_op_poll(&out.op, pair[0], POLLOUT, seen_note, &out);
    plx_op_poll(&in.op, pair[0], POLLIN, seen_note, &in);
    plx_op_poll(&urgent.op, pair[0], POLLPRI, seen_note, &urgent);
    plx_op_poll(&both.op, pair[0], POLLIN | POLLOUT, seen_note, &both);
    io_submit(io, &out);
    io_submit(io, &in);
    io_submit(io, &urgent);
    io_submit(io, &both);
    assert_int_equal(plx__io_poll(io), 0);

    put_text(pair[1], "x");
    assert_int_equal(plx__io_poll(io), 2);
    seen_expect(&in, POLLIN);
    seen_expect(&both, POLLIN);
    seen_expect_waiting(&out);

    assert_int_equal(fcntl(pair[1], F_SETFL, O_NONBLOCK), 0);
    while (read(pair[1], block, sizeof(block)) > 0)
        continue;
    assert_int_equal(plx__io_poll(io), 1);
    seen_expect(&out, POLLOUT);

    close(pair[1]);
    assert_int_equal(plx__io_poll(io), 1);
    seen_expect(&urgent, POLLHUP);
    io_close(io, pair[0]);
}

static void poll_ops_beyond_the_room_of_a_turn_come_in_the_next(void **state)
{
    struct plx__io *io = *state;
    int pair[2];
    make_pair(SOCK_STREAM, pair);
    static struct seen seen[PLX__BATCH_MAX + 20];
    memset(seen, 0, sizeof(seen));
    for (unsigned i = 0; i < PLX__BATCH_MAX + 20; i++) {
        plx_op_poll(&seen[i].op, pair[0], POLLIN, seen_note, &seen[i]);
        io_submit(io, &seen[i]);
    }
    put_text(pair[1], "x");
    assert_int_equal(plx__io_poll(io), PLX__BATCH_MAX);
    assert_int_equal(plx__io_poll(io), 20);
    io_close(io, pair[0]);
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
        plx_op_recv_group(&seen[s].op, pair[s][0], group, seen_note, &seen[s]);
        io_submit(io, &seen[s]);
    }
    assert_int_equal(plx__io_poll(io), 0);
    for (unsigned i = 0; i < 40; i++) {
        name[0] = (char)('0' + i);
        put_text(pair[0][1], name);
    }
    put_text(pair[1][1], "z");

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
        io_close(io, pair[s][0]);
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
        plx_op_recv(&seen[s].op, pair[s][0], buf[s], 4, 0, seen_note, &seen[s]);
        io_submit(io, &seen[s]);
        put_text(pair[s][1], "abcd");
    }
    plx_op_nop(&nop.op, seen_note, &nop);
    io_submit(io, &nop);
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
        plx__op_set_state(one.op, PLX_OP_DONE);
        one.op->fn(one.op, &one.event, one.op->ctx);
    }
    assert_int_equal(plx__io_poll(io), 0);
    for (unsigned s = 0; s < 4; s++) {
        seen_expect(&seen[s], 4);
        io_close(io, pair[s][0]);
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
    plx_op_recv(&seen.op, pair[0], buf, 4, 0, seen_note, &seen);
    io_submit(io, &seen);
    static struct plx_op nops[2 * PLX__BATCH_MAX];
    nop_io = io;
    nops_left = 100000;
    for (unsigned i = 0; i < 2 * PLX__BATCH_MAX; i++) {
        plx_op_nop(&nops[i], nop_again, NULL);
        assert_int_equal(plx__io_submit(io, &nops[i]), 0);
    }
    put_text(pair[1], "x");
    plx__io_poll(io);
    seen_expect(&seen, 1);
    nops_left = 0;
    while (plx__io_poll(io) > 0)
        continue;
    io_close(io, pair[0]);
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
    plx_op_recv(&seen.op, pair[0], buf, 4, 0, seen_note, &seen);
    io_submit(io, &seen);
    plx__io_poll(io);
    assert_int_equal(io->kernel_entries, 1);
    assert_int_equal(io->ops->flush(io), 0);
    plx__io_cancel(io, &seen.op);
    plx__io_poll(io);
    plx__io_poll(io);
    assert_int_equal(io->kernel_entries, 1);
    io_close(io, pair[0]);
    close(pair[1]);
}

static int refuse_group(struct plx__io *io, uint16_t group)
{
    (void)io;
    (void)group;
    return -ENOMEM;
}

static void group_that_the_backend_refuses_gives_its_blocks_back(void **state)
{
    struct plx__io *io = *state;
    const struct plx__io_ops *ops = io->ops;
    struct plx__io_ops refusing = *ops;
    refusing.group_open = refuse_group;
    uint32_t before = plx_pool_available(io->pool, PLX_PAGE);
    uint16_t group = 0;
    io->ops = &refusing;
    assert_int_equal(plx__io_group_create(io, 16, PLX_PAGE, &group), -ENOMEM);
    assert_int_equal(plx_pool_available(io->pool, PLX_PAGE), before);
    io->ops = ops;
    assert_int_equal(plx__io_group_create(io, 16, PLX_PAGE, &group), 0);
    assert_int_equal(group, 0);
    assert_int_equal(plx_pool_available(io->pool, PLX_PAGE), before - 16);
}

static void receive_from_an_empty_group_ends_only_when_there_is_data(void **state)
{
    struct plx__io *io = *state;
    uint16_t group = 0;
    assert_int_equal(plx__io_group_create(io, 1, PLX_PAGE, &group), 0);
    int pair[2];
    make_pair(SOCK_STREAM, pair);
    struct seen first = {0};
    plx_op_recv_group(&first.op, pair[0], group, seen_note, &first);
    io_submit(io, &first);
    put_text(pair[1], "a");
    assert_int_equal(plx__io_poll(io), 1);
    assert_int_equal(first.event[0].result, 1);
    assert_int_equal(plx__io_poll(io), 0);
    put_text(pair[1], "b");
    assert_int_equal(plx__io_poll(io), 1);
    assert_int_equal(first.event[1].result, -ENOBUFS);
    assert_int_equal(first.terminals, 1);

    char byte;
    assert_int_equal(io->ops->recv_now(io, pair[0], &byte, 1), 1);
    assert_int_equal(byte, 'b');
    struct seen end = {0};
    plx_op_recv_group(&end.op, pair[0], group, seen_note, &end);
    io_submit(io, &end);
    assert_int_equal(plx__io_poll(io), 0);
    close(pair[1]);
    assert_int_equal(plx__io_poll(io), 1);
    seen_expect(&end, 0);
    plx__io_group_release(io, group, first.event[0].buffer_id);
    io_close(io, pair[0]);
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
    plx_op_recv(&other.op, wait_pair[0], buf, 4, 0, seen_note, &other);
    io_submit(io, &other);
    for (unsigned i = 0; i < 10; i++) {
        struct seen seen = {0};
        plx_op_recv(&seen.op, pair[0], buf, 1, 0, seen_note, &seen);
        io_submit(io, &seen);
        put_text(pair[1], "xy");
        assert_int_equal(plx__io_poll(io), 1);
        seen_expect(&seen, 1);
        assert_int_equal(plx__io_poll(io), 0);
        plx_op_recv(&seen.op, pair[0], buf, 4, 0, seen_note, &seen);
        seen.events = seen.terminals = 0;
        io_submit(io, &seen);
        assert_int_equal(plx__io_poll(io), 1);
        seen_expect(&seen, 1);
    }
    plx_op_recv(&waits.op, pair[0], buf, 4, 0, seen_note, &waits);
    io_submit(io, &waits);
    close(pair[1]);
    close(wait_pair[1]);
    assert_int_equal(plx__io_poll(io), 2);
    seen_expect(&waits, 0);
    seen_expect(&other, 0);
    io_close(io, pair[0]);
    io_close(io, wait_pair[0]);
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
    plx_op_recv(&reader.op, pair[0], buf, 4, 0, seen_note, &reader);
    plx_op_send(&writer.op, pair[0], block, sizeof(block), 0, PLX_QUEUED, seen_note, &writer);
    io_submit(io, &reader);
    io_submit(io, &writer);
    assert_int_equal(plx__io_poll(io), 0);
    close(pair[1]);
    assert_int_equal(plx__io_poll(io), 2);
    /* The peer left data unread: a UNIX socket reports a reset. */
    seen_expect(&reader, -ECONNRESET);
    seen_expect(&writer, -EPIPE);
    io_close(io, pair[0]);
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
    const unsigned own = count_registrations();
    int pair[2];
    make_pair(SOCK_STREAM, pair);
    struct seen seen = {0};
    char buf[8] = {0};
    plx_op_recv(&seen.op, pair[0], buf, 4, 0, seen_note, &seen);
    io_submit(io, &seen);
    put_text(pair[1], "a");
    assert_int_equal(plx__io_poll(io), 1);
    assert_int_equal(count_registrations(), own + 1);
    int twin = dup(pair[0]);
    io_close(io, pair[0]);
    assert_int_equal(count_registrations(), own);

    /* The number is another socket's now. */
    int other[2];
    make_pair(SOCK_STREAM, other);
    assert_int_equal(other[0], pair[0]);
    put_text(pair[1], "old");
    struct seen fresh = {0};
    plx_op_recv(&fresh.op, other[0], buf, 8, 0, seen_note, &fresh);
    io_submit(io, &fresh);
    assert_int_equal(plx__io_poll(io), 0);
    put_text(other[1], "new");
    assert_int_equal(plx__io_poll(io), 1);
    seen_expect(&fresh, 3);
    assert_string_equal(buf, "new");
    close(twin);
    close(pair[1]);
    io_close(io, other[0]);
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
        plx_op_recv_group(&many.op, pair[i][0], group, seen_note, &many);
        io_submit(io, &many);
        plx__io_cancel(io, &many.op);
        plx__io_poll(io);
        seen_expect(&many, -ECANCELED);
    }
    io_close(io, pair[0][0]);
    close(pair[0][1]);
    make_pair(SOCK_STREAM, pair[0]);

    struct seen seen[3] = {0};
    char buf[4];
    for (unsigned i = 0; i < 3; i++) {
        plx_op_recv(&seen[i].op, pair[i][0], buf, 4, 0, seen_note, &seen[i]);
        io_submit(io, &seen[i]);
        put_text(pair[i][1], "x");
    }
    assert_int_equal(plx__io_poll(io), 3);
    for (unsigned i = 0; i < 3; i++) {
        seen_expect(&seen[i], 1);
        io_close(io, pair[i][0]);
        close(pair[i][1]);
    }
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, epoll_set_up, epoll_tear_down)

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
        CASE(group_that_the_backend_refuses_gives_its_blocks_back),
        CASE(receive_from_an_empty_group_ends_only_when_there_is_data),
        CASE(data_that_came_between_two_ops_is_found),
        CASE(hangup_wakes_both_directions),
        CASE(close_of_a_duplicated_descriptor_ends_its_registration),
        CASE(descriptors_closed_while_listed_as_ready_leave_the_list_whole),
    };
    return cmocka_run_group_tests(cases, NULL, NULL);
}
