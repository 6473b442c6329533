/* SPDX-License-Identifier: MIT */
/*
 * Operations, each in every mode: what ends at once, what waits, what fails. Closing, cancelling
 * and stopping are in test_op_ends.c, groups in test_op_groups.c.
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
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "test/runtime/io/calls.h"

#define NOPS 1000u

/* --- nop, and the rules of callbacks ---------------------------------------------------------- */

static void nop_submitted_ends_with_zero(void **state)
{
    struct seen seen = {0};
    plx_op_nop(&seen.op, seen_note, &seen);
    assert_int_equal(plx_op_state(&seen.op), PLX_OP_IDLE);
    world_run(*state, &seen, 0);
    assert_int_equal(plx_op_state(&seen.op), PLX_OP_DONE);
}

static unsigned counted;

static void count_one(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    (void)op;
    (void)ctx;
    assert_int_equal(event->result, 0);
    counted++;
}

static void nops_in_any_number_end_once_each(void **state)
{
    struct world *world = *state;
    static struct plx_op ops[NOPS];
    counted = 0;
    for (unsigned i = 0; i < NOPS; i++) {
        plx_op_nop(&ops[i], count_one, NULL);
        while (world_try_submit(world, &ops[i]) == -EAGAIN)
            world_turn(world);
    }
    WORLD_UNTIL(world, counted >= NOPS);
    world_settle(world);
    assert_int_equal(counted, NOPS);
    for (unsigned i = 0; i < NOPS; i++)
        assert_int_equal(plx_op_state(&ops[i]), PLX_OP_DONE);
}

static struct world *callback_world;
static unsigned rounds_left;

static void submit_again(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    unsigned *rounds = ctx;
    assert_int_equal(event->result, 0);
    assert_ptr_equal(plx_reactor_self(), callback_world->reactor);
    (*rounds)++;
    if (--rounds_left == 0)
        return;
    plx_op_nop(op, submit_again, ctx);
    unsigned before = *rounds;
    assert_int_equal(plx_op_submit(callback_world->reactor, op), 0);
    assert_int_equal(*rounds, before);
}

static void op_submitted_from_its_own_callback_goes_round(void **state)
{
    struct world *world = *state;
    callback_world = world;
    rounds_left = 500;
    unsigned rounds = 0;
    struct plx_op op;
    plx_op_nop(&op, submit_again, &rounds);
    assert_int_equal(plx_op_submit(world->reactor, &op), 0);
    WORLD_UNTIL(world, rounds == 500);
    assert_null(plx_reactor_self());
}

static int poll_in_callback;

static void poll_inside(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    (void)op;
    (void)event;
    (void)ctx;
    poll_in_callback = plx_reactor_poll(callback_world->reactor);
}

static void poll_from_a_callback_is_refused(void **state)
{
    struct world *world = *state;
    callback_world = world;
    poll_in_callback = 0;
    struct plx_op op;
    plx_op_nop(&op, poll_inside, NULL);
    assert_int_equal(plx_op_submit(world->reactor, &op), 0);
    WORLD_UNTIL(world, plx_op_state(&op) == PLX_OP_DONE);
    assert_int_equal(poll_in_callback, -EDEADLK);
}

static void counters_add_up(void **state)
{
    struct world *world = *state;
    struct plx_reactor_stats before;
    struct plx_reactor_stats after;
    struct seen seen[3] = {0};
    plx_reactor_read_stats(world->reactor, &before);
    for (unsigned i = 0; i < 3; i++) {
        plx_op_nop(&seen[i].op, seen_note, &seen[i]);
        world_run(world, &seen[i], 0);
    }
    plx_reactor_read_stats(world->reactor, &after);
    assert_int_equal(after.ops_submitted - before.ops_submitted, 3);
    assert_int_equal(after.ops_completed - before.ops_completed, 3);
    assert_int_equal(after.ops_refused, before.ops_refused);
    assert_true(after.turns > before.turns);
}

/* --- read and write --------------------------------------------------------------------------- */

static void read_of_a_pipe_takes_what_is_there_or_comes(void **state)
{
    struct world *world = *state;
    int ends[2];
    char buf[8] = {0};
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    put_text(ends[1], "now");
    struct seen now = {0};
    plx_op_read(&now.op, ends[0], buf, sizeof(buf), PLX_OFFSET_CURRENT, seen_note, &now);
    world_run(world, &now, 3);
    assert_string_equal(buf, "now");

    struct seen later = {0};
    plx_op_read(&later.op, ends[0], buf, sizeof(buf), PLX_OFFSET_CURRENT, seen_note, &later);
    world_submit(world, &later);
    world_settle(world);
    assert_int_equal(later.events, 0);
    put_text(ends[1], "later");
    world_expect(world, &later, 5);
    assert_string_equal(buf, "later");

    struct seen end = {0};
    plx_op_read(&end.op, ends[0], buf, sizeof(buf), PLX_OFFSET_CURRENT, seen_note, &end);
    world_submit(world, &end);
    world_settle(world);
    close(ends[1]);
    world_expect(world, &end, 0);
    world_close_fd(world, ends[0]);
}

static void write_to_a_full_pipe_waits_for_room(void **state)
{
    struct world *world = *state;
    int ends[2];
    static char page[4096];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(fcntl(ends[1], F_SETPIPE_SZ, 4096), 4096);
    memset(page, 'a', sizeof(page));
    struct seen first = {0};
    plx_op_write(&first.op, ends[1], page, sizeof(page), PLX_OFFSET_CURRENT, seen_note, &first);
    world_run(world, &first, sizeof(page));

    struct seen second = {0};
    plx_op_write(&second.op, ends[1], "bb", 2, PLX_OFFSET_CURRENT, seen_note, &second);
    world_submit(world, &second);
    world_settle(world);
    assert_int_equal(second.events, 0);
    assert_int_equal(read(ends[0], page, sizeof(page)), (ssize_t)sizeof(page));
    world_expect(world, &second, 2);
    assert_int_equal(read(ends[0], page, sizeof(page)), 2);
    assert_memory_equal(page, "bb", 2);
    world_close_fd(world, ends[0]);
    world_close_fd(world, ends[1]);
}

static void file_is_read_and_written_at_offsets(void **state)
{
    struct world *world = *state;
    int fd = memfd_create("pollux-test", MFD_CLOEXEC);
    assert_true(fd >= 0);
    char buf[16] = {0};
    struct seen seen[5] = {0};
    plx_op_write(&seen[0].op, fd, "0123456789", 10, 4, seen_note, &seen[0]);
    plx_op_read(&seen[1].op, fd, buf, 4, 6, seen_note, &seen[1]);
    world_run(world, &seen[0], 10);
    world_run(world, &seen[1], 4);
    assert_memory_equal(buf, "2345", 4);
    /* Near the end, and at it. */
    plx_op_read(&seen[2].op, fd, buf, sizeof(buf), 11, seen_note, &seen[2]);
    world_run(world, &seen[2], 3);
    assert_memory_equal(buf, "789", 3);
    plx_op_read(&seen[3].op, fd, buf, sizeof(buf), 14, seen_note, &seen[3]);
    world_run(world, &seen[3], 0);
    /* The file's own position, which the others have not moved. */
    plx_op_read(&seen[4].op, fd, buf, 6, PLX_OFFSET_CURRENT, seen_note, &seen[4]);
    world_run(world, &seen[4], 6);
    assert_memory_equal(buf,
                        "\0\0\0\0"
                        "01",
                        6);
    assert_int_equal(lseek(fd, 0, SEEK_CUR), 6);
    world_close_fd(world, fd);
}

/* --- bad descriptors -------------------------------------------------------------------------- */

static void descriptor_out_of_range_is_refused(void **state)
{
    struct world *world = *state;
    static const int bad[] = {-1, INT32_MIN, INT32_MAX};
    for (unsigned i = 0; i < 3; i++) {
        struct seen seen = {0};
        char byte;
        plx_op_recv(&seen.op, bad[i], &byte, 1, 0, seen_note, &seen);
        assert_int_equal(world_try_submit(world, &seen.op), -EBADF);
        assert_int_equal(plx_op_state(&seen.op), PLX_OP_IDLE);
        plx_op_close(&seen.op, bad[i], seen_note, &seen);
        assert_int_equal(world_try_submit(world, &seen.op), -EBADF);
    }
}

static void descriptor_not_open_ends_with_ebadf(void **state)
{
    struct world *world = *state;
    int fd = dup(0);
    close(fd);
    char byte;
    struct seen seen[8] = {0};
    struct sockaddr_in addr = {.sin_family = AF_INET};
    plx_op_read(&seen[0].op, fd, &byte, 1, 0, seen_note, &seen[0]);
    plx_op_write(&seen[1].op, fd, &byte, 1, 0, seen_note, &seen[1]);
    plx_op_recv(&seen[2].op, fd, &byte, 1, 0, seen_note, &seen[2]);
    plx_op_send(&seen[3].op, fd, &byte, 1, 0, PLX_QUEUED, seen_note, &seen[3]);
    plx_op_send(&seen[4].op, fd, &byte, 1, 0, PLX_INLINE, seen_note, &seen[4]);
    plx_op_accept(&seen[5].op, fd, 0, 0, seen_note, &seen[5]);
    plx_op_connect(&seen[6].op, fd, (struct sockaddr *)&addr, sizeof(addr), seen_note, &seen[6]);
    plx_op_poll(&seen[7].op, fd, POLLIN, seen_note, &seen[7]);
    for (unsigned i = 0; i < 8; i++)
        world_run(world, &seen[i], -EBADF);
    struct seen closing = {0};
    plx_op_close(&closing.op, fd, seen_note, &closing);
    world_run(world, &closing, -EBADF);
}

/* --- receive and send ------------------------------------------------------------------------- */

static void bytes_go_both_ways(struct world *world, const int pair[2])
{
    char buf[16] = {0};
    struct seen waits = {0};
    plx_op_recv(&waits.op, pair[0], buf, sizeof(buf), 0, seen_note, &waits);
    world_submit(world, &waits);
    world_settle(world);
    assert_int_equal(waits.events, 0);
    put_text(pair[1], "later");
    world_expect(world, &waits, 5);
    assert_string_equal(buf, "later");

    put_text(pair[1], "now");
    struct seen peek = {0};
    WORLD_UNTIL(world, recv(pair[0], buf, sizeof(buf), MSG_PEEK | MSG_DONTWAIT) == 3);
    memset(buf, 0, sizeof(buf));
    plx_op_recv(&peek.op, pair[0], buf, sizeof(buf), MSG_PEEK, seen_note, &peek);
    world_run(world, &peek, 3);
    struct seen now = {0};
    plx_op_recv(&now.op, pair[0], buf, sizeof(buf), 0, seen_note, &now);
    world_run(world, &now, 3);
    assert_string_equal(buf, "now");

    static const uint16_t flags[] = {PLX_QUEUED, PLX_INLINE};
    for (unsigned i = 0; i < 2; i++) {
        struct seen send = {0};
        plx_op_send(&send.op, pair[0], "hello", 5, 0, flags[i], seen_note, &send);
        world_run(world, &send, 5);
        assert_int_equal(recv(pair[1], buf, 5, MSG_WAITALL), 5);
        assert_memory_equal(buf, "hello", 5);
    }
    assert_int_equal(plx_send_now(world->reactor, pair[0], "xyz", 3), 3);
    assert_int_equal(recv(pair[1], buf, 3, MSG_WAITALL), 3);
    assert_int_equal(plx_recv_now(world->reactor, pair[0], buf, sizeof(buf)), -EAGAIN);
}

static void bytes_go_both_ways_over_a_socket_pair(void **state)
{
    struct world *world = *state;
    int pair[2];
    make_pair(SOCK_STREAM, pair);
    bytes_go_both_ways(world, pair);
    world_close_fd(world, pair[0]);
    close(pair[1]);
}

static void bytes_go_both_ways_over_tcp(void **state)
{
    struct world *world = *state;
    int pair[2];
    make_tcp_pair(pair);
    bytes_go_both_ways(world, pair);
    world_close_fd(world, pair[0]);
    close(pair[1]);
}

static void receive_at_the_end_of_the_peer_is_zero(void **state)
{
    struct world *world = *state;
    for (unsigned tcp = 0; tcp < 2; tcp++) {
        int pair[2];
        if (tcp != 0)
            make_tcp_pair(pair);
        else
            make_pair(SOCK_STREAM, pair);
        char buf[8];
        struct seen seen[2] = {0};
        plx_op_recv(&seen[0].op, pair[0], buf, sizeof(buf), 0, seen_note, &seen[0]);
        world_submit(world, &seen[0]);
        world_settle(world);
        assert_int_equal(shutdown(pair[1], SHUT_WR), 0);
        world_expect(world, &seen[0], 0);
        plx_op_recv(&seen[1].op, pair[0], buf, sizeof(buf), 0, seen_note, &seen[1]);
        world_run(world, &seen[1], 0);
        world_close_fd(world, pair[0]);
        close(pair[1]);
    }
}

static volatile sig_atomic_t pipe_signals;

static void count_signal(int number)
{
    (void)number;
    pipe_signals++;
}

static void peer_that_resets_is_an_error_and_no_signal(void **state)
{
    struct world *world = *state;
    pipe_signals = 0;
    void (*before)(int) = signal(SIGPIPE, count_signal);
    int pair[2];
    make_tcp_pair(pair);
    char buf[8];
    struct seen reset = {0};
    plx_op_recv(&reset.op, pair[0], buf, sizeof(buf), 0, seen_note, &reset);
    world_submit(world, &reset);
    world_settle(world);
    struct linger hard = {.l_onoff = 1};
    assert_int_equal(setsockopt(pair[1], SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)), 0);
    close(pair[1]);
    world_expect(world, &reset, -ECONNRESET);

    static const uint16_t flags[] = {PLX_QUEUED, PLX_INLINE};
    for (unsigned i = 0; i < 2; i++) {
        struct seen send = {0};
        plx_op_send(&send.op, pair[0], "x", 1, 0, flags[i], seen_note, &send);
        world_run(world, &send, -EPIPE);
    }
    assert_int_equal(plx_send_now(world->reactor, pair[0], "x", 1), -EPIPE);
    world_close_fd(world, pair[0]);
    signal(SIGPIPE, before);
    assert_int_equal(pipe_signals, 0);
}

static void send_to_a_full_socket_waits_for_room(void **state)
{
    struct world *world = *state;
    static char block[65536];
    static const uint16_t flags[] = {PLX_QUEUED, PLX_INLINE};
    for (unsigned i = 0; i < 2; i++) {
        int pair[2];
        make_pair(SOCK_STREAM, pair);
        size_t inside = fill_socket(pair[0]);
        assert_int_equal(plx_send_now(world->reactor, pair[0], "x", 1), -EAGAIN);
        struct seen seen = {0};
        plx_op_send(&seen.op, pair[0], "x", 1, 0, flags[i], seen_note, &seen);
        world_submit(world, &seen);
        world_settle(world);
        assert_int_equal(seen.events, 0);
        char last = 0;
        for (size_t left = inside; left > 0;) {
            ssize_t got = recv(pair[1], block, left < sizeof(block) ? left : sizeof(block), 0);
            assert_true(got > 0);
            left -= (size_t)got;
        }
        world_expect(world, &seen, 1);
        assert_int_equal(recv(pair[1], &last, 1, 0), 1);
        assert_int_equal(last, 'x');
        world_close_fd(world, pair[0]);
        close(pair[1]);
    }
}

static void send_passes_its_flags_on(void **state)
{
    struct world *world = *state;
    world_need_kernel(world, "urgent data");
    static const uint16_t flags[] = {PLX_QUEUED, PLX_INLINE};
    int pair[2];
    make_tcp_pair(pair);
    for (unsigned i = 0; i < 2; i++) {
        struct seen seen = {0};
        char urgent = 0;
        plx_op_send(&seen.op, pair[0], "!", 1, MSG_OOB, flags[i], seen_note, &seen);
        world_run(world, &seen, 1);
        WORLD_UNTIL(world, recv(pair[1], &urgent, 1, MSG_OOB | MSG_DONTWAIT) == 1);
        assert_int_equal(urgent, '!');
    }
    world_close_fd(world, pair[0]);
    close(pair[1]);
}

#define ENDLESS 300u

static int endless_fd;
static bool endless_stop;

static void send_again(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    assert_int_equal(event->result, -EBADF);
    if (endless_stop)
        return;
    plx_op_send(op, endless_fd, "x", 1, 0, PLX_INLINE, send_again, ctx);
    assert_int_equal(plx_op_submit(callback_world->reactor, op), 0);
}

static void inline_sends_without_end_leave_room_for_others(void **state)
{
    struct world *world = *state;
    static struct plx_op ops[ENDLESS];
    callback_world = world;
    endless_stop = false;
    /* A number that nobody is given meanwhile. */
    endless_fd = 900;
    assert_false(is_open(endless_fd));
    for (unsigned i = 0; i < ENDLESS; i++) {
        plx_op_send(&ops[i], endless_fd, "x", 1, 0, PLX_INLINE, send_again, NULL);
        assert_int_equal(plx_op_submit(world->reactor, &ops[i]), 0);
    }
    int pair[2];
    char byte;
    make_pair(SOCK_STREAM, pair);
    struct seen seen = {0};
    plx_op_recv(&seen.op, pair[0], &byte, 1, 0, seen_note, &seen);
    world_submit(world, &seen);
    world_turn(world);
    put_text(pair[1], "x");
    world_expect(world, &seen, 1);
    endless_stop = true;
    for (unsigned i = 0; i < ENDLESS; i++)
        WORLD_UNTIL(world, plx_op_state(&ops[i]) == PLX_OP_DONE);
    world_close_fd(world, pair[0]);
    close(pair[1]);
}

/* --- accept ----------------------------------------------------------------------------------- */

static void accept_takes_who_is_there_or_comes(void **state)
{
    struct world *world = *state;
    struct sockaddr_in addr;
    int listener = make_listener(&addr, 8);
    int client = make_client(&addr);
    struct seen now = {0};
    plx_op_accept(&now.op, listener, SOCK_CLOEXEC | SOCK_NONBLOCK, 0, seen_note, &now);
    world_submit(world, &now);
    WORLD_UNTIL(world, now.terminals == 1);
    int fd = now.event[0].result;
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    put_text(client, "x");
    close(fd);
    close(client);

    struct seen later = {0};
    plx_op_accept(&later.op, listener, 0, 0, seen_note, &later);
    world_submit(world, &later);
    world_settle(world);
    assert_int_equal(later.events, 0);
    client = make_client(&addr);
    WORLD_UNTIL(world, later.terminals == 1);
    fd = later.event[0].result;
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
    assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
    close(fd);
    close(client);
    world_close_fd(world, listener);
}

#define CLIENTS 40u

/* An accept that goes on where a mode lets it end early. */
struct acceptor {
    struct world *world;
    struct plx_op op;
    int listener;
    int fds[CLIENTS];
    unsigned count;
    unsigned events;
    bool stopping;
    bool ended;
    int32_t last;
};

static void accept_note(struct plx_op *op, const struct plx_event *event, void *ctx);

static void accept_arm(struct acceptor *acceptor)
{
    plx_op_accept(&acceptor->op, acceptor->listener, SOCK_CLOEXEC, PLX_MULTISHOT, accept_note,
                  acceptor);
    assert_int_equal(plx_op_submit(acceptor->world->reactor, &acceptor->op), 0);
}

static void accept_note(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    struct acceptor *acceptor = ctx;
    assert_ptr_equal(op, &acceptor->op);
    assert_false(acceptor->ended);
    acceptor->events++;
    if (event->result >= 0) {
        assert_in_range(acceptor->count, 0, CLIENTS - 1);
        acceptor->fds[acceptor->count++] = event->result;
    }
    if ((event->flags & PLX_EV_MORE) != 0)
        return;
    acceptor->last = event->result;
    if (acceptor->stopping || event->result < 0)
        acceptor->ended = true;
    else
        accept_arm(acceptor);
}

static void accept_multishot_takes_many_until_cancelled(void **state)
{
    struct world *world = *state;
    struct sockaddr_in addr;
    struct acceptor acceptor = {.world = world, .listener = make_listener(&addr, CLIENTS)};
    int client[CLIENTS];
    accept_arm(&acceptor);
    for (unsigned i = 0; i < CLIENTS / 2; i++)
        client[i] = make_client(&addr);
    WORLD_UNTIL(world, acceptor.count == CLIENTS / 2);
    for (unsigned i = CLIENTS / 2; i < CLIENTS; i++) {
        client[i] = make_client(&addr);
        WORLD_UNTIL(world, acceptor.count == i + 1);
    }
    if (world->is_epoll || world_has(world, PLX_CAP_MULTISHOT_ACCEPT))
        assert_int_equal(acceptor.events, CLIENTS);

    /* Each client has a connection of its own. */
    for (unsigned i = 0; i < CLIENTS; i++) {
        char byte = 0;
        assert_int_equal(write(acceptor.fds[i], "x", 1), 1);
        assert_int_equal(read(client[i], &byte, 1), 1);
    }
    acceptor.stopping = true;
    plx_op_cancel(world->reactor, &acceptor.op);
    WORLD_UNTIL(world, acceptor.ended);
    assert_int_equal(acceptor.last, -ECANCELED);
    for (unsigned i = 0; i < CLIENTS; i++) {
        close(client[i]);
        close(acceptor.fds[i]);
    }
    world_close_fd(world, acceptor.listener);
}

static void accept_at_the_limit_of_descriptors_fails_and_recovers(void **state)
{
    struct world *world = *state;
    world_need_kernel(world, "limit that can be set");
    static const uint16_t flags[] = {0, PLX_MULTISHOT};
    for (unsigned i = 0; i < 2; i++) {
        struct sockaddr_in addr;
        int listener = make_listener(&addr, 8);
        int client = make_client(&addr);
        struct rlimit limit;
        assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
        int next = dup(0);
        close(next);
        struct rlimit low = {.rlim_cur = (rlim_t)next, .rlim_max = limit.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
        struct seen refused = {0};
        plx_op_accept(&refused.op, listener, SOCK_CLOEXEC, flags[i], seen_note, &refused);
        world_run(world, &refused, -EMFILE);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);

        struct seen seen = {0};
        plx_op_accept(&seen.op, listener, SOCK_CLOEXEC, 0, seen_note, &seen);
        world_submit(world, &seen);
        WORLD_UNTIL(world, seen.terminals == 1);
        assert_true(seen.event[0].result >= 0);
        close(seen.event[0].result);
        close(client);
        world_close_fd(world, listener);
    }
}

/* --- connect ---------------------------------------------------------------------------------- */

static void connect_to_a_listener_succeeds(void **state)
{
    struct world *world = *state;
    struct sockaddr_in addr;
    int listener = make_listener(&addr, 8);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct seen seen = {0};
    plx_op_connect(&seen.op, client, (struct sockaddr *)&addr, sizeof(addr), seen_note, &seen);
    world_run(world, &seen, 0);
    int server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    int pair[2] = {client, server};
    bytes_go_both_ways(world, pair);
    struct seen again = {0};
    plx_op_connect(&again.op, client, (struct sockaddr *)&addr, sizeof(addr), seen_note, &again);
    world_run(world, &again, -EISCONN);
    world_close_fd(world, client);
    close(server);
    close(listener);
}

static void connect_to_nobody_is_refused(void **state)
{
    struct world *world = *state;
    struct sockaddr_in addr;
    int listener = make_listener(&addr, 8);
    close(listener);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct seen seen = {0};
    plx_op_connect(&seen.op, client, (struct sockaddr *)&addr, sizeof(addr), seen_note, &seen);
    world_run(world, &seen, -ECONNREFUSED);
    world_close_fd(world, client);

    struct sockaddr_un nowhere = {.sun_family = AF_UNIX, .sun_path = "/nowhere/at/all"};
    client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct seen missing = {0};
    plx_op_connect(&missing.op, client, (struct sockaddr *)&nowhere, sizeof(nowhere), seen_note,
                   &missing);
    world_run(world, &missing, -ENOENT);
    world_close_fd(world, client);
}

static void connect_that_hangs_can_be_cancelled(void **state)
{
    struct world *world = *state;
    struct sockaddr_in addr;
    int filler;
    int listener = make_full_listener(&addr, &filler);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct seen seen = {0};
    plx_op_connect(&seen.op, client, (struct sockaddr *)&addr, sizeof(addr), seen_note, &seen);
    world_submit(world, &seen);
    world_settle(world);
    assert_int_equal(seen.events, 0);
    world_cancel(world, &seen);
    world_expect(world, &seen, -ECANCELED);
    world_close_fd(world, client);
    close(filler);
    close(listener);
}

/* --- poll ------------------------------------------------------------------------------------- */

static void poll_shows_what_is_ready_already(void **state)
{
    struct world *world = *state;
    int pair[2];
    make_pair(SOCK_STREAM, pair);
    struct seen out = {0};
    plx_op_poll(&out.op, pair[0], POLLOUT, seen_note, &out);
    world_run(world, &out, POLLOUT);
    struct seen either = {0};
    plx_op_poll(&either.op, pair[0], POLLIN | POLLOUT, seen_note, &either);
    world_run(world, &either, POLLOUT);
    put_text(pair[1], "x");
    struct seen both = {0};
    plx_op_poll(&both.op, pair[0], POLLIN | POLLOUT, seen_note, &both);
    world_run(world, &both, POLLIN | POLLOUT);
    /* Again, though no edge has come since. */
    struct seen in = {0};
    plx_op_poll(&in.op, pair[0], POLLIN, seen_note, &in);
    world_run(world, &in, POLLIN);
    world_close_fd(world, pair[0]);
    close(pair[1]);
}

static void poll_waits_for_either_direction(void **state)
{
    struct world *world = *state;
    static char block[65536];
    int pair[2];
    make_pair(SOCK_STREAM, pair);
    size_t inside = fill_socket(pair[0]);
    struct seen in = {0};
    plx_op_poll(&in.op, pair[0], POLLIN, seen_note, &in);
    struct seen out = {0};
    plx_op_poll(&out.op, pair[0], POLLOUT, seen_note, &out);
    world_submit(world, &in);
    world_submit(world, &out);
    world_settle(world);
    assert_int_equal(in.events + out.events, 0);
    put_text(pair[1], "x");
    world_expect(world, &in, POLLIN);
    world_settle(world);
    assert_int_equal(out.events, 0);
    while (inside > 0)
        inside -= (size_t)recv(pair[1], block, sizeof(block), 0);
    world_expect(world, &out, POLLOUT);
    world_close_fd(world, pair[0]);
    close(pair[1]);
}

static void poll_shows_a_hangup_that_nobody_asked_for(void **state)
{
    struct world *world = *state;
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    struct seen seen = {0};
    plx_op_poll(&seen.op, ends[0], POLLIN, seen_note, &seen);
    world_submit(world, &seen);
    world_settle(world);
    assert_int_equal(seen.events, 0);
    close(ends[1]);
    world_expect(world, &seen, POLLHUP);
    world_close_fd(world, ends[0]);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        WORLD_CASE(nop_submitted_ends_with_zero),
        WORLD_CASE(nops_in_any_number_end_once_each),
        WORLD_CASE(op_submitted_from_its_own_callback_goes_round),
        WORLD_CASE(poll_from_a_callback_is_refused),
        WORLD_CASE(counters_add_up),
        WORLD_CASE(read_of_a_pipe_takes_what_is_there_or_comes),
        WORLD_CASE(write_to_a_full_pipe_waits_for_room),
        WORLD_CASE(file_is_read_and_written_at_offsets),
        WORLD_CASE(descriptor_out_of_range_is_refused),
        WORLD_CASE(descriptor_not_open_ends_with_ebadf),
        WORLD_CASE(bytes_go_both_ways_over_a_socket_pair),
        WORLD_CASE(bytes_go_both_ways_over_tcp),
        WORLD_CASE(receive_at_the_end_of_the_peer_is_zero),
        WORLD_CASE(peer_that_resets_is_an_error_and_no_signal),
        WORLD_CASE(send_to_a_full_socket_waits_for_room),
        WORLD_CASE(send_passes_its_flags_on),
        WORLD_CASE(inline_sends_without_end_leave_room_for_others),
        WORLD_CASE(accept_takes_who_is_there_or_comes),
        WORLD_CASE(accept_multishot_takes_many_until_cancelled),
        WORLD_CASE(accept_at_the_limit_of_descriptors_fails_and_recovers),
        WORLD_CASE(connect_to_a_listener_succeeds),
        WORLD_CASE(connect_to_nobody_is_refused),
        WORLD_CASE(connect_that_hangs_can_be_cancelled),
        WORLD_CASE(poll_shows_what_is_ready_already),
        WORLD_CASE(poll_waits_for_either_direction),
        WORLD_CASE(poll_shows_a_hangup_that_nobody_asked_for),
    };
    return run_modes(cases, sizeof(cases) / sizeof(*cases));
}
