/* SPDX-License-Identifier: MIT */
/*
 * Messages, in every mode: datagrams with addresses and ancillary data, singly and into a group's
 * buffers, whichever way the backend has for that. Zero-copy sends are in test_ops_zero_copy.c.
 */
#include "test/runtime/io/op_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "test/runtime/io/calls.h"

#define BUFFERS 4u
#define BYTES   4096u

/* --- sockets ---------------------------------------------------------------------------------- */

struct end {
    int fd;
    struct sockaddr_storage addr;
    socklen_t bytes;
};

/* A bound datagram socket; false where this host has no such family. */
static bool make_end(struct end *end, int family)
{
    memset(end, 0, sizeof(*end));
    end->fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (end->fd < 0)
        return false;
    end->addr.ss_family = (sa_family_t)family;
    end->bytes = sizeof(sa_family_t); /* UNIX: the kernel gives a name */
    if (family == AF_INET) {
        ((struct sockaddr_in *)&end->addr)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        end->bytes = sizeof(struct sockaddr_in);
    } else if (family == AF_INET6) {
        ((struct sockaddr_in6 *)&end->addr)->sin6_addr = in6addr_loopback;
        end->bytes = sizeof(struct sockaddr_in6);
    }
    if (bind(end->fd, (struct sockaddr *)&end->addr, end->bytes) != 0) {
        close(end->fd);
        return false;
    }
    end->bytes = sizeof(end->addr);
    assert_int_equal(getsockname(end->fd, (struct sockaddr *)&end->addr, &end->bytes), 0);
    return true;
}

static void make_ends(struct end ends[2])
{
    assert_true(make_end(&ends[0], AF_INET));
    assert_true(make_end(&ends[1], AF_INET));
}

static void close_ends(struct world *world, struct end ends[2])
{
    world_close_fd(world, ends[0].fd);
    world_close_fd(world, ends[1].fd);
}

static void put_datagram(const struct end *from, const struct end *to, const void *data, size_t len)
{
    assert_int_equal(sendto(from->fd, data, len, 0, (const struct sockaddr *)&to->addr, to->bytes),
                     (ssize_t)len);
}

static void expect_addr(const void *addr, size_t bytes, const struct end *end)
{
    assert_int_equal(bytes, end->bytes);
    assert_memory_equal(addr, &end->addr, bytes);
}

/* --- one at a time ---------------------------------------------------------------------------- */

static void try_family(struct world *world, int family)
{
    struct end ends[2];
    if (!make_end(&ends[0], family)) {
        print_message("no datagrams of family %d here: %s\n", family, strerror(errno));
        return;
    }
    assert_true(make_end(&ends[1], family));

    struct plx_op_msg in;
    struct seen receive = {0};
    char first[3];
    char second[16] = {0};
    plx_op_msg_init(&in);
    plx_op_msg_add(&in, first, sizeof(first));
    plx_op_msg_add(&in, second, sizeof(second));
    plx_op_msg_addr(&in, NULL, 0);
    plx_op_recvmsg(&receive.op, ends[1].fd, &in.msg, 0, seen_note, &receive);
    world_submit(world, &receive);
    world_settle(world);
    seen_expect_waiting(&receive);

    struct plx_op_msg out;
    struct seen send_it = {0};
    plx_op_msg_init(&out);
    plx_op_msg_add(&out, "one ", 4);
    plx_op_msg_add(&out, "datagram", 8);
    plx_op_msg_addr(&out, (struct sockaddr *)&ends[1].addr, ends[1].bytes);
    plx_op_sendmsg(&send_it.op, ends[0].fd, &out.msg, 0, PLX_QUEUED, seen_note, &send_it);
    world_run(world, &send_it, 12);
    world_expect(world, &receive, 12);
    assert_memory_equal(first, "one", 3);
    assert_string_equal(second, " datagram");
    expect_addr(&in.addr, in.msg.msg_namelen, &ends[0]);
    assert_int_equal(in.msg.msg_flags, 0);

    /* One that is too long is cut, and says so. */
    put_datagram(&ends[0], &ends[1], "0123456789", 10);
    struct seen cut = {0};
    plx_op_msg_init(&in);
    plx_op_msg_add(&in, second, 4);
    plx_op_recvmsg(&cut.op, ends[1].fd, &in.msg, 0, seen_note, &cut);
    world_run(world, &cut, 4);
    assert_int_equal(in.msg.msg_flags & MSG_TRUNC, MSG_TRUNC);
    close_ends(world, ends);
}

static void datagram_carries_its_bytes_and_the_senders_address(void **state)
{
    struct world *world = *state;
    world_need_kernel(world, "datagrams");
    try_family(world, AF_INET);
    try_family(world, AF_INET6);
    try_family(world, AF_UNIX);
}

static void recvmsg_waiting_is_cancelled(void **state)
{
    struct world *world = *state;
    world_need_kernel(world, "datagrams");
    struct end ends[2];
    make_ends(ends);
    struct plx_op_msg in;
    struct seen receive = {0};
    char buf[4];
    plx_op_msg_init(&in);
    plx_op_msg_add(&in, buf, sizeof(buf));
    plx_op_recvmsg(&receive.op, ends[0].fd, &in.msg, 0, seen_note, &receive);
    world_submit(world, &receive);
    world_settle(world);
    world_cancel(world, &receive);
    world_expect(world, &receive, -ECANCELED);
    close_ends(world, ends);
}

static void sendmsg_to_nowhere_ends_with_its_errno(void **state)
{
    struct world *world = *state;
    world_need_kernel(world, "datagrams");
    int pair[2];
    make_pair(SOCK_STREAM, pair);
    close(pair[1]);
    struct plx_op_msg out;
    struct seen dead = {0};
    plx_op_msg_init(&out);
    plx_op_msg_add(&out, "x", 1);
    plx_op_sendmsg(&dead.op, pair[0], &out.msg, 0, PLX_QUEUED, seen_note, &dead);
    /* Without a SIGPIPE, which would end the test. */
    world_run(world, &dead, -EPIPE);
    world_close_fd(world, pair[0]);

    struct end ends[2];
    make_ends(ends);
    struct seen lost = {0};
    plx_op_sendmsg(&lost.op, ends[0].fd, &out.msg, 0, PLX_QUEUED, seen_note, &lost);
    world_run(world, &lost, -EDESTADDRREQ);
    close_ends(world, ends);
}

/* --- ancillary data --------------------------------------------------------------------------- */

union control {
    struct cmsghdr head;
    char room[CMSG_SPACE(sizeof(int))];
};

static void put_descriptor(struct msghdr *msg, union control *control, int fd)
{
    memset(control, 0, sizeof(*control));
    msg->msg_control = control;
    msg->msg_controllen = sizeof(*control);
    struct cmsghdr *head = CMSG_FIRSTHDR(msg);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(head), &fd, sizeof(fd));
}

/* Reads from the pipe whose end came, and closes it. */
static void expect_pipe(const void *data, const char *text)
{
    int fd = -1;
    char buf[16] = {0};
    memcpy(&fd, data, sizeof(fd));
    assert_true(is_open(fd));
    assert_int_equal(read(fd, buf, sizeof(buf) - 1), (ssize_t)strlen(text));
    assert_string_equal(buf, text);
    close(fd);
}

static void descriptor_travels_in_ancillary_data(void **state)
{
    struct world *world = *state;
    world_need_kernel(world, "ancillary data");
    int pair[2];
    int ends[2];
    make_pair(SOCK_STREAM, pair);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    put_text(ends[1], "through");

    struct plx_op_msg out;
    union control control;
    struct seen send_it = {0};
    plx_op_msg_init(&out);
    plx_op_msg_add(&out, "f", 1);
    put_descriptor(&out.msg, &control, ends[0]);
    plx_op_sendmsg(&send_it.op, pair[0], &out.msg, 0, PLX_QUEUED, seen_note, &send_it);
    world_run(world, &send_it, 1);
    close(ends[0]);

    struct plx_op_msg in;
    union control got;
    struct seen receive = {0};
    char byte = 0;
    plx_op_msg_init(&in);
    plx_op_msg_add(&in, &byte, 1);
    in.msg.msg_control = &got;
    in.msg.msg_controllen = sizeof(got);
    plx_op_recvmsg(&receive.op, pair[1], &in.msg, MSG_CMSG_CLOEXEC, seen_note, &receive);
    world_run(world, &receive, 1);
    assert_int_equal(byte, 'f');
    struct cmsghdr *head = CMSG_FIRSTHDR(&in.msg);
    assert_non_null(head);
    assert_int_equal(head->cmsg_type, SCM_RIGHTS);
    expect_pipe(CMSG_DATA(head), "through");
    close(ends[1]);
    world_close_fd(world, pair[0]);
    world_close_fd(world, pair[1]);
}

/* --- into a group's buffers ------------------------------------------------------------------- */

/* A receiver that is armed anew wherever its op ends; keeps what came. */
struct inbox {
    struct world *world;
    struct plx_op op;
    struct msghdr rooms;
    int fd;
    uint16_t group;
    bool armed;
    bool again;   /* arm anew */
    int32_t last; /* of the terminal event */
    unsigned count;
    struct plx_event event[16];
    struct plx_datagram datagram[16];
};

static void inbox_arm(struct inbox *inbox);

static void inbox_note(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    struct inbox *inbox = ctx;
    assert_ptr_equal(op, &inbox->op);
    assert_true(inbox->armed);
    if (event->result > 0) {
        assert_in_range(inbox->count, 0, 15);
        inbox->event[inbox->count] = *event;
        assert_int_equal(plx_datagram_read(event, &inbox->rooms, &inbox->datagram[inbox->count]),
                         0);
        inbox->count++;
    } else {
        struct plx_datagram none;
        assert_int_equal(event->flags, 0);
        assert_int_equal(plx_datagram_read(event, &inbox->rooms, &none), -EINVAL);
    }
    if ((event->flags & PLX_EV_MORE) != 0)
        return;
    inbox->armed = false;
    inbox->last = event->result;
    if (inbox->again && event->result > 0)
        inbox_arm(inbox);
}

static void inbox_arm(struct inbox *inbox)
{
    plx_op_recvmsg_group(&inbox->op, inbox->fd, &inbox->rooms, inbox->group, inbox_note, inbox);
    inbox->armed = true;
    assert_int_equal(plx_op_submit(inbox->world->reactor, &inbox->op), 0);
}

static void inbox_open(struct inbox *inbox, struct world *world, int fd, socklen_t name_room,
                       size_t control_room)
{
    *inbox = (struct inbox){.world = world, .fd = fd, .again = true};
    inbox->rooms.msg_namelen = name_room;
    inbox->rooms.msg_controllen = control_room;
    assert_int_equal(plx_group_create(world->reactor, BUFFERS, BYTES, &inbox->group), 0);
    inbox_arm(inbox);
}

static void inbox_give_back(struct inbox *inbox)
{
    for (unsigned i = 0; i < inbox->count; i++)
        plx_group_release(inbox->world->reactor, inbox->group, inbox->event[i].buffer_id);
    inbox->count = 0;
}

static void inbox_close(struct inbox *inbox)
{
    inbox->again = false;
    plx_op_cancel(inbox->world->reactor, &inbox->op);
    WORLD_UNTIL(inbox->world, !inbox->armed);
    inbox_give_back(inbox);
    assert_int_equal(plx_group_left(inbox->world->reactor, inbox->group), BUFFERS);
}

static void group_receives_datagrams_with_addresses(void **state)
{
    struct world *world = *state;
    world_need_kernel(world, "datagrams");
    static const int families[] = {AF_INET, AF_INET6, AF_UNIX};
    for (unsigned i = 0; i < 3; i++) {
        struct end ends[2];
        struct inbox inbox;
        if (!make_end(&ends[0], families[i]))
            continue;
        assert_true(make_end(&ends[1], families[i]));
        inbox_open(&inbox, world, ends[1].fd, sizeof(struct sockaddr_storage), 0);
        put_datagram(&ends[0], &ends[1], "first", 5);
        WORLD_UNTIL(world, inbox.count == 1);
        put_datagram(&ends[0], &ends[1], "", 0);
        WORLD_UNTIL(world, inbox.count == 2);
        put_datagram(&ends[1], &ends[1], "to itself", 9);
        WORLD_UNTIL(world, inbox.count == 3);
        static const char *const texts[] = {"first", "", "to itself"};
        for (unsigned j = 0; j < 3; j++) {
            const struct plx_datagram *datagram = &inbox.datagram[j];
            assert_int_equal(datagram->bytes, strlen(texts[j]));
            assert_memory_equal(datagram->data, texts[j], datagram->bytes);
            assert_int_equal(datagram->flags, 0);
            assert_int_equal(datagram->control_bytes, 0);
            expect_addr(datagram->addr, datagram->addr_bytes, &ends[j == 2]);
        }
        inbox_close(&inbox);
        close_ends(world, ends);
    }
}

/* Where the rooms leave fewer bytes than came, and a small room cuts the address. */
static void group_cuts_what_does_not_fit_and_says_how_long_it_was(void **state)
{
    struct world *world = *state;
    world_need_kernel(world, "datagrams");
    struct end ends[2];
    struct inbox inbox;
    static unsigned char data[2 * BYTES];
    for (unsigned i = 0; i < sizeof(data); i++)
        data[i] = (unsigned char)(i * 13 + i / 256);
    make_ends(ends);
    inbox_open(&inbox, world, ends[1].fd, 4, 0);
    uint32_t room = BYTES - (uint32_t)sizeof(struct plx_datagram_head) - 4;
    const uint32_t sizes[] = {room - 1, room, room + 1, sizeof(data)};
    for (unsigned i = 0; i < 4; i++) {
        put_datagram(&ends[0], &ends[1], data, sizes[i]);
        WORLD_UNTIL(world, inbox.count == i + 1);
        const struct plx_datagram *datagram = &inbox.datagram[i];
        const struct plx_datagram_head *head = inbox.event[i].data;
        assert_int_equal(head->bytes, sizes[i]);
        assert_int_equal(head->addr_bytes, ends[0].bytes);
        assert_int_equal(datagram->bytes, sizes[i] < room ? sizes[i] : room);
        assert_int_equal(datagram->flags, sizes[i] > room ? MSG_TRUNC : 0);
        assert_memory_equal(datagram->data, data, datagram->bytes);
        assert_int_equal(datagram->addr_bytes, 4);
        assert_memory_equal(datagram->addr, &ends[0].addr, 4);
    }
    inbox_close(&inbox);
    close_ends(world, ends);
}

static void group_without_rooms_gives_bytes_only(void **state)
{
    struct world *world = *state;
    world_need_kernel(world, "datagrams");
    struct end ends[2];
    struct inbox inbox;
    make_ends(ends);
    inbox_open(&inbox, world, ends[1].fd, 0, 0);
    put_datagram(&ends[0], &ends[1], "bare", 4);
    WORLD_UNTIL(world, inbox.count == 1);
    assert_int_equal(inbox.datagram[0].bytes, 4);
    assert_memory_equal(inbox.datagram[0].data, "bare", 4);
    assert_null(inbox.datagram[0].addr);
    inbox_close(&inbox);
    close_ends(world, ends);
}

static void group_receives_ancillary_data(void **state)
{
    struct world *world = *state;
    world_need_kernel(world, "ancillary data");
    int pair[2];
    int ends[2];
    struct inbox inbox;
    make_pair(SOCK_DGRAM, pair);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    put_text(ends[1], "grouped");
    inbox_open(&inbox, world, pair[1], 0, sizeof(union control));

    struct plx_op_msg out;
    union control control;
    struct seen send_it = {0};
    plx_op_msg_init(&out);
    plx_op_msg_add(&out, "with", 4);
    put_descriptor(&out.msg, &control, ends[0]);
    plx_op_sendmsg(&send_it.op, pair[0], &out.msg, 0, PLX_QUEUED, seen_note, &send_it);
    world_run(world, &send_it, 4);
    close(ends[0]);
    WORLD_UNTIL(world, inbox.count == 1);
    const struct plx_datagram *datagram = &inbox.datagram[0];
    assert_int_equal(datagram->bytes, 4);
    assert_memory_equal(datagram->data, "with", 4);
    struct cmsghdr head;
    assert_in_range(datagram->control_bytes, CMSG_LEN(sizeof(int)), sizeof(control));
    memcpy(&head, datagram->control, sizeof(head));
    assert_int_equal(head.cmsg_type, SCM_RIGHTS);
    expect_pipe((const char *)datagram->control + CMSG_LEN(0), "grouped");
    /* Without any, none is told. */
    assert_int_equal(send(pair[0], "plain", 5, 0), 5);
    WORLD_UNTIL(world, inbox.count == 2);
    assert_int_equal(inbox.datagram[1].control_bytes, 0);
    inbox_close(&inbox);
    close(ends[1]);
    world_close_fd(world, pair[0]);
    world_close_fd(world, pair[1]);
}

/* What comes while the group is dry waits in the socket. */
static void group_run_dry_ends_and_goes_on_after_a_release(void **state)
{
    struct world *world = *state;
    world_need_kernel(world, "datagrams");
    struct end ends[2];
    struct inbox inbox;
    make_ends(ends);
    inbox_open(&inbox, world, ends[1].fd, 16, 0);
    for (unsigned char i = 0; i < BUFFERS + 2; i++)
        put_datagram(&ends[0], &ends[1], &i, 1);
    WORLD_UNTIL(world, !inbox.armed);
    assert_int_equal(inbox.last, -ENOBUFS);
    assert_int_equal(inbox.count, BUFFERS);
    inbox_arm(&inbox);
    WORLD_UNTIL(world, !inbox.armed);
    assert_int_equal(inbox.last, -ENOBUFS);
    for (unsigned i = 0; i < BUFFERS; i++)
        assert_int_equal(*(const unsigned char *)inbox.datagram[i].data, i);
    inbox_give_back(&inbox);
    inbox_arm(&inbox);
    WORLD_UNTIL(world, inbox.count == 2);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(*(const unsigned char *)inbox.datagram[i].data, BUFFERS + i);
    inbox_close(&inbox);
    close_ends(world, ends);
}

static void group_refuses_rooms_that_leave_no_byte(void **state)
{
    struct world *world = *state;
    world_need_kernel(world, "datagrams");
    static const struct {
        socklen_t name;
        size_t control;
        size_t parts;
    } cases[] = {
        {0, 0, 1},
        {sizeof(struct sockaddr_storage) + 1, 0, 0},
        {(socklen_t)-1, 0, 0},
        {0, BYTES - sizeof(struct plx_datagram_head), 0},
        {16, BYTES - sizeof(struct plx_datagram_head) - 16, 0},
        {0, BYTES + 1, 0},
        {0, SIZE_MAX, 0},
        {128, SIZE_MAX - 100, 0},
    };
    struct end ends[2];
    uint16_t group;
    make_ends(ends);
    assert_int_equal(plx_group_create(world->reactor, BUFFERS, BYTES, &group), 0);
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct msghdr rooms = {
            .msg_namelen = cases[i].name,
            .msg_controllen = cases[i].control,
            .msg_iovlen = cases[i].parts,
        };
        struct seen seen = {0};
        plx_op_recvmsg_group(&seen.op, ends[0].fd, &rooms, group, seen_note, &seen);
        assert_int_equal(world_try_submit(world, &seen.op), -EINVAL);
        assert_int_equal(plx_op_state(&seen.op), PLX_OP_IDLE);
    }
    /* The most that leaves one. */
    struct msghdr rooms = {.msg_controllen = BYTES - sizeof(struct plx_datagram_head) - 1};
    struct seen seen = {0};
    plx_op_recvmsg_group(&seen.op, ends[0].fd, &rooms, group, seen_note, &seen);
    world_submit(world, &seen);
    world_settle(world);
    world_cancel(world, &seen);
    world_expect(world, &seen, -ECANCELED);
    close_ends(world, ends);
}

/* --- shutdown --------------------------------------------------------------------------------- */

static void shutdown_shows_the_peer_the_end_behind_what_was_sent(void **state)
{
    struct world *world = *state;
    int pair[2];
    make_tcp_pair(pair);
    struct seen send_it = {0};
    struct seen shut = {0};
    char buf[8];
    plx_op_send(&send_it.op, pair[0], "last", 4, 0, PLX_QUEUED, seen_note, &send_it);
    world_run(world, &send_it, 4);
    plx_op_shutdown(&shut.op, pair[0], SHUT_WR, seen_note, &shut);
    world_run(world, &shut, 0);
    assert_int_equal(recv(pair[1], buf, sizeof(buf), MSG_WAITALL), 4);
    /* The other way still works. */
    struct seen receive = {0};
    plx_op_recv(&receive.op, pair[0], buf, sizeof(buf), 0, seen_note, &receive);
    world_submit(world, &receive);
    assert_int_equal(send(pair[1], "back", 4, 0), 4);
    world_expect(world, &receive, 4);

    struct seen odd = {0};
    plx_op_shutdown(&odd.op, pair[0], 77, seen_note, &odd);
    world_run(world, &odd, -EINVAL);
    world_close_fd(world, pair[0]);
    world_close_fd(world, pair[1]);
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    struct seen none = {0};
    plx_op_shutdown(&none.op, ends[0], SHUT_RD, seen_note, &none);
    world_run(world, &none, -ENOTSOCK);
    world_close_fd(world, ends[0]);
    close(ends[1]);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        WORLD_CASE(datagram_carries_its_bytes_and_the_senders_address),
        WORLD_CASE(recvmsg_waiting_is_cancelled),
        WORLD_CASE(sendmsg_to_nowhere_ends_with_its_errno),
        WORLD_CASE(descriptor_travels_in_ancillary_data),
        WORLD_CASE(group_receives_datagrams_with_addresses),
        WORLD_CASE(group_cuts_what_does_not_fit_and_says_how_long_it_was),
        WORLD_CASE(group_without_rooms_gives_bytes_only),
        WORLD_CASE(group_receives_ancillary_data),
        WORLD_CASE(group_run_dry_ends_and_goes_on_after_a_release),
        WORLD_CASE(group_refuses_rooms_that_leave_no_byte),
        WORLD_CASE(shutdown_shows_the_peer_the_end_behind_what_was_sent),
    };
    return run_modes(cases, sizeof(cases) / sizeof(*cases));
}
