/* SPDX-License-Identifier: MIT */
/*
 * Receiving into buffers that the backend chooses, in every mode: contents, exhaustion and
 * recovery, and that a buffer has one holder at a time.
 */
#include "test/runtime/io/op_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test/runtime/io/calls.h"

#define BUFFERS  8u
#define BYTES    4096u
#define MESSAGES 1500u

/* A buffer that is held, and what it must contain until it is given back. */
struct held {
    uint16_t id;
    uint32_t message;
    int32_t len;
    const unsigned char *data;
};

/* What several receivers on one group share. */
struct keeper {
    struct world *world;
    uint16_t group;
    bool out[BUFFERS];
    struct held held[BUFFERS];
    unsigned held_count;
    uint32_t random;
};

/* A receive that goes on wherever a mode lets it end. */
struct receiver {
    struct keeper *keeper;
    struct plx_op op;
    int fd;
    uint32_t messages; /* received so far */
    uint32_t stream;
    unsigned starved; /* -ENOBUFS */
    bool armed;
    int32_t last;
};

static uint32_t next_random(uint32_t *random)
{
    *random = *random * 1664525u + 1013904223u;
    return *random >> 8;
}

static unsigned char byte_of(uint32_t stream, uint32_t message, int32_t at)
{
    return (unsigned char)(stream * 77 + message * 31 + (uint32_t)at * 7);
}

static int32_t len_of(uint32_t message)
{
    return 1 + (int32_t)(message * 2654435761u % BYTES);
}

static void check_contents(const struct held *held, uint32_t stream)
{
    for (int32_t i = 0; i < held->len; i++) {
        if (held->data[i] != byte_of(stream, held->message, i))
            fail_msg("message %u has another byte at %d", held->message, i);
    }
}

/* The stream of a held buffer is in the upper bits of its message number. */
#define STREAM_SHIFT 24

static void give_back(struct keeper *keeper, unsigned index)
{
    struct held held = keeper->held[index];
    keeper->held[index] = keeper->held[--keeper->held_count];
    uint32_t stream = held.message >> STREAM_SHIFT;
    held.message &= (1u << STREAM_SHIFT) - 1;
    check_contents(&held, stream);
    assert_true(keeper->out[held.id]);
    keeper->out[held.id] = false;
    plx_group_release(keeper->world->reactor, keeper->group, held.id);
}

static void receive_note(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    struct receiver *receiver = ctx;
    struct keeper *keeper = receiver->keeper;
    assert_ptr_equal(op, &receiver->op);
    assert_true(receiver->armed);
    if (event->result > 0) {
        assert_int_equal(event->flags & PLX_EV_BUFFER, PLX_EV_BUFFER);
        assert_in_range(event->buffer_id, 0, BUFFERS - 1);
        assert_false(keeper->out[event->buffer_id]);
        keeper->out[event->buffer_id] = true;
        keeper->held[keeper->held_count++] = (struct held){
            .id = event->buffer_id,
            .message = receiver->messages | receiver->stream << STREAM_SHIFT,
            .len = event->result,
            .data = event->data,
        };
        receiver->messages++;
    } else {
        assert_int_equal(event->flags, 0);
    }
    if ((event->flags & PLX_EV_MORE) == 0) {
        receiver->armed = false;
        receiver->last = event->result;
        receiver->starved += event->result == -ENOBUFS;
    }
}

static void arm(struct receiver *receiver)
{
    plx_op_recv_group(&receiver->op, receiver->fd, receiver->keeper->group, receive_note, receiver);
    assert_int_equal(world_try_submit(receiver->keeper->world, &receiver->op), 0);
    receiver->armed = true;
}

static void open_group(struct keeper *keeper, struct world *world)
{
    *keeper = (struct keeper){.world = world, .random = 12345};
    assert_int_equal(plx_group_create(world->reactor, BUFFERS, BYTES, &keeper->group), 0);
}

/* Ends the receiver, whatever it is doing. */
static void disarm(struct receiver *receiver)
{
    struct world *world = receiver->keeper->world;
    plx_op_cancel(world->reactor, &receiver->op);
    WORLD_UNTIL(world, !receiver->armed);
    while (receiver->keeper->held_count > 0)
        give_back(receiver->keeper, 0);
    world_close_fd(world, receiver->fd);
}

/* Sends message number `message`; false when the socket is full. */
static bool send_message(int fd, uint32_t stream, uint32_t message)
{
    static unsigned char data[BYTES];
    int32_t len = len_of(message);
    for (int32_t i = 0; i < len; i++)
        data[i] = byte_of(stream, message, i);
    ssize_t taken = send(fd, data, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (taken < 0) {
        assert_int_equal(errno, EAGAIN);
        return false;
    }
    assert_int_equal(taken, len);
    return true;
}

static void messages_of_two_sockets_keep_their_contents_while_held(void **state)
{
    struct world *world = *state;
    struct keeper keeper;
    open_group(&keeper, world);
    int pair[2][2];
    struct receiver receiver[2];
    uint32_t sent[2] = {0};
    for (unsigned s = 0; s < 2; s++) {
        make_pair(SOCK_SEQPACKET, pair[s]);
        receiver[s] = (struct receiver){.keeper = &keeper, .fd = pair[s][0], .stream = s};
        arm(&receiver[s]);
    }
    while (receiver[0].messages < MESSAGES || receiver[1].messages < MESSAGES) {
        for (unsigned s = 0; s < 2; s++) {
            while (sent[s] < MESSAGES && send_message(pair[s][1], s, sent[s]))
                sent[s]++;
        }
        uint32_t before = receiver[0].messages + receiver[1].messages;
        WORLD_UNTIL(world, receiver[0].messages + receiver[1].messages != before ||
                               !receiver[0].armed || !receiver[1].armed);
        while (keeper.held_count > 0 && next_random(&keeper.random) % 4 != 0)
            give_back(&keeper, next_random(&keeper.random) % keeper.held_count);
        for (unsigned s = 0; s < 2; s++) {
            if (!receiver[s].armed)
                arm(&receiver[s]);
        }
    }
    assert_int_equal(receiver[0].messages + receiver[1].messages, 2 * MESSAGES);
    for (unsigned s = 0; s < 2; s++) {
        disarm(&receiver[s]);
        close(pair[s][1]);
    }
}

static void group_exhausted_ends_the_receive_and_data_waits(void **state)
{
    struct world *world = *state;
    struct keeper keeper;
    open_group(&keeper, world);
    int pair[2];
    make_pair(SOCK_SEQPACKET, pair);
    struct receiver receiver = {.keeper = &keeper, .fd = pair[0]};
    for (uint32_t i = 0; i < BUFFERS + 3; i++)
        assert_true(send_message(pair[1], 0, i));
    while (receiver.starved == 0) {
        arm(&receiver);
        WORLD_UNTIL(world, !receiver.armed);
    }
    assert_int_equal(receiver.messages, BUFFERS);
    assert_int_equal(receiver.last, -ENOBUFS);
    /* Still nothing to be had. */
    arm(&receiver);
    WORLD_UNTIL(world, !receiver.armed);
    assert_int_equal(receiver.last, -ENOBUFS);
    assert_int_equal(receiver.messages, BUFFERS);

    /* One comes home, one more message fits; then all do. */
    give_back(&keeper, 3);
    arm(&receiver);
    WORLD_UNTIL(world, receiver.messages == BUFFERS + 1);
    WORLD_UNTIL(world, !receiver.armed);
    while (keeper.held_count > 0)
        give_back(&keeper, 0);
    while (receiver.messages < BUFFERS + 3) {
        if (!receiver.armed)
            arm(&receiver);
        world_turn(world);
    }
    if (!receiver.armed)
        arm(&receiver);
    disarm(&receiver);
    close(pair[1]);
}

static void end_of_the_peer_is_zero_without_a_buffer(void **state)
{
    struct world *world = *state;
    struct keeper keeper;
    open_group(&keeper, world);
    int pair[2];
    make_tcp_pair(pair);
    struct receiver receiver = {.keeper = &keeper, .fd = pair[0]};
    arm(&receiver);
    assert_true(send_message(pair[1], 0, 0));
    assert_int_equal(shutdown(pair[1], SHUT_WR), 0);
    int32_t got = 0;
    while (receiver.last != 0 || receiver.messages == 0 || receiver.armed) {
        if (!receiver.armed)
            arm(&receiver);
        world_turn(world);
    }
    for (unsigned i = 0; i < keeper.held_count; i++)
        got += keeper.held[i].len;
    assert_int_equal(got, len_of(0));
    /* All buffers are home again: a full group can be received. */
    while (keeper.held_count > 0) {
        keeper.out[keeper.held[0].id] = false;
        plx_group_release(world->reactor, keeper.group, keeper.held[0].id);
        keeper.held[0] = keeper.held[--keeper.held_count];
    }
    world_close_fd(world, pair[0]);
    close(pair[1]);

    make_pair(SOCK_SEQPACKET, pair);
    receiver = (struct receiver){.keeper = &keeper, .fd = pair[0]};
    for (uint32_t i = 0; i < BUFFERS; i++)
        assert_true(send_message(pair[1], 0, i));
    while (receiver.messages < BUFFERS) {
        if (!receiver.armed)
            arm(&receiver);
        world_turn(world);
    }
    disarm(&receiver);
    close(pair[1]);
}

static void receive_cancelled_many_times_keeps_every_buffer(void **state)
{
    struct world *world = *state;
    struct keeper keeper;
    open_group(&keeper, world);
    int pair[2];
    make_pair(SOCK_SEQPACKET, pair);
    struct receiver receiver = {.keeper = &keeper, .fd = pair[0]};
    uint32_t sent = 0;
    for (unsigned i = 0; i < 200; i++) {
        if (!receiver.armed)
            arm(&receiver);
        if (i % 2 == 0)
            world_turn(world);
        if (i % 3 == 0)
            assert_true(send_message(pair[1], 0, sent++));
        plx_op_cancel(world->reactor, &receiver.op);
        WORLD_UNTIL(world, !receiver.armed);
        assert_true(receiver.last > 0 || receiver.last == -ECANCELED);
        while (keeper.held_count > 0)
            give_back(&keeper, 0);
    }
    /* What a cancelled receive did not take is still there, in order. */
    while (receiver.messages < sent) {
        if (!receiver.armed)
            arm(&receiver);
        world_turn(world);
        while (keeper.held_count > 0)
            give_back(&keeper, 0);
    }
    /* No buffer went missing on the way: all can be held at once. */
    for (unsigned i = 0; i < BUFFERS; i++)
        assert_true(send_message(pair[1], 0, sent++));
    while (receiver.messages < sent) {
        if (!receiver.armed)
            arm(&receiver);
        world_turn(world);
    }
    assert_int_equal(keeper.held_count, BUFFERS);
    disarm(&receiver);
    close(pair[1]);
}

static void receive_that_is_reset_ends_with_the_error(void **state)
{
    struct world *world = *state;
    struct keeper keeper;
    open_group(&keeper, world);
    int pair[2];
    make_tcp_pair(pair);
    struct receiver receiver = {.keeper = &keeper, .fd = pair[0]};
    arm(&receiver);
    world_settle(world);
    struct linger hard = {.l_onoff = 1};
    assert_int_equal(setsockopt(pair[1], SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)), 0);
    close(pair[1]);
    WORLD_UNTIL(world, !receiver.armed);
    assert_int_equal(receiver.last, -ECONNRESET);
    world_close_fd(world, pair[0]);
}

/* --- buffers taken for good ------------------------------------------------------------------- */

static uint32_t small_in_use(struct world *world)
{
    struct plx_pool_stats stats;
    plx_pool_read_stats(plx_reactor_pool(world->reactor), &stats);
    return stats.classes[0].in_use;
}

/* Takes the buffer out of the group; the pool is to have another. */
static void *take(struct keeper *keeper, unsigned index)
{
    struct held held = keeper->held[index];
    keeper->held[index] = keeper->held[--keeper->held_count];
    keeper->out[held.id] = false;
    void *block = plx_group_take(keeper->world->reactor, keeper->group, held.id);
    assert_ptr_equal(block, held.data);
    return block;
}

#define TAKEN 100u

static void taken_blocks_keep_their_contents_and_the_group_goes_on(void **state)
{
    struct world *world = *state;
    struct keeper keeper;
    open_group(&keeper, world);
    uint32_t before = small_in_use(world);
    assert_int_equal(before, BUFFERS);
    int pair[2];
    make_pair(SOCK_SEQPACKET, pair);
    struct receiver receiver = {.keeper = &keeper, .fd = pair[0]};
    struct held taken[TAKEN];
    uint32_t sent = 0;
    for (unsigned count = 0; count < TAKEN;) {
        if (!receiver.armed)
            arm(&receiver);
        while (sent < TAKEN && send_message(pair[1], 0, sent))
            sent++;
        world_turn(world);
        while (keeper.held_count > 0) {
            taken[count] = keeper.held[0];
            assert_ptr_equal(take(&keeper, 0), taken[count].data);
            count++;
        }
        assert_int_equal(plx_group_left(world->reactor, keeper.group), BUFFERS);
        assert_int_equal(small_in_use(world), before + count);
    }
    assert_int_equal(receiver.messages, TAKEN);
    for (unsigned i = 0; i < TAKEN; i++) {
        check_contents(&taken[i], 0);
        plx_pool_release(plx_reactor_pool(world->reactor), (void *)(uintptr_t)taken[i].data);
    }
    assert_int_equal(small_in_use(world), before);
    if (!receiver.armed)
        arm(&receiver);
    disarm(&receiver);
    close(pair[1]);
}

/* Takes every free block of 4 KiB; returns how many. */
static uint32_t drain_pool(struct world *world, void **blocks, uint32_t max)
{
    uint32_t count = 0;
    void *block;
    while ((block = plx_pool_acquire(plx_reactor_pool(world->reactor), BYTES)) != NULL) {
        assert_true(count < max);
        blocks[count++] = block;
    }
    return count;
}

static void group_is_refilled_as_blocks_come_home(void **state)
{
    struct world *world = *state;
    struct plx_pool *pool = plx_reactor_pool(world->reactor);
    struct keeper keeper;
    static void *blocks[512];
    open_group(&keeper, world);
    uint32_t count = drain_pool(world, blocks, 512);
    int pair[2];
    make_pair(SOCK_SEQPACKET, pair);
    struct receiver receiver = {.keeper = &keeper, .fd = pair[0]};
    uint32_t sent = 0;
    while (sent < BUFFERS + 4)
        assert_true(send_message(pair[1], 0, sent++));
    struct held taken[BUFFERS];
    unsigned taken_count = 0;
    /* It runs dry: nothing makes up for what is taken. */
    while (receiver.starved == 0) {
        if (!receiver.armed)
            arm(&receiver);
        world_turn(world);
        while (keeper.held_count > 0) {
            taken[taken_count++] = keeper.held[0];
            (void)take(&keeper, 0);
        }
    }
    assert_int_equal(taken_count, BUFFERS);
    assert_int_equal(plx_group_left(world->reactor, keeper.group), 0);
    /* Armed on an empty group it ends at once, as often as it is tried. */
    for (unsigned i = 0; i < 3; i++) {
        arm(&receiver);
        WORLD_UNTIL(world, !receiver.armed);
        assert_int_equal(receiver.last, -ENOBUFS);
    }
    /* One block comes home: the next turn gives it to the group, and one message can come. */
    plx_pool_release(pool, blocks[--count]);
    world_turn(world);
    assert_int_equal(plx_group_left(world->reactor, keeper.group), 1);
    arm(&receiver);
    WORLD_UNTIL(world, receiver.messages == BUFFERS + 1);
    /* All others: those that were taken, too, by whoever had them. */
    for (unsigned i = 0; i < BUFFERS; i++) {
        check_contents(&taken[i], 0);
        plx_pool_release(pool, (void *)(uintptr_t)taken[i].data);
    }
    world_settle(world);
    assert_int_equal(plx_group_left(world->reactor, keeper.group), BUFFERS - keeper.held_count);
    while (receiver.messages < sent) {
        if (!receiver.armed)
            arm(&receiver);
        world_turn(world);
    }
    while (count > 0)
        plx_pool_release(pool, blocks[--count]);
    while (keeper.held_count > 0)
        give_back(&keeper, 0);
    assert_int_equal(small_in_use(world), BUFFERS);
    assert_null(plx__pool_check(pool));
    if (!receiver.armed)
        arm(&receiver);
    disarm(&receiver);
    close(pair[1]);
}

/* More than the pool has is under way, so that the group runs dry and recovers again and again. */
static void group_dry_under_load_loses_nothing(void **state)
{
    struct world *world = *state;
    struct plx_pool *pool = plx_reactor_pool(world->reactor);
    struct keeper keeper;
    static void *blocks[512];
    static struct held taken[512];
    open_group(&keeper, world);
    uint32_t count = drain_pool(world, blocks, 512);
    for (unsigned i = 0; i < 5; i++)
        plx_pool_release(pool, blocks[--count]);
    int pair[2];
    make_pair(SOCK_SEQPACKET, pair);
    struct receiver receiver = {.keeper = &keeper, .fd = pair[0]};
    unsigned taken_count = 0;
    uint32_t sent = 0;
    while (receiver.messages < MESSAGES) {
        while (sent < MESSAGES && send_message(pair[1], 0, sent))
            sent++;
        /* Also when it is known to be dry. */
        bool left = plx_group_left(world->reactor, keeper.group) > 0;
        if (!receiver.armed && (left || next_random(&keeper.random) % 4 == 0))
            arm(&receiver);
        world_turn(world);
        while (keeper.held_count > 0) {
            if (next_random(&keeper.random) % 2 == 0) {
                give_back(&keeper, 0);
                continue;
            }
            taken[taken_count++] = keeper.held[0];
            (void)take(&keeper, 0);
        }
        /* Dry, it stays so for a while. */
        while (taken_count > 0 && next_random(&keeper.random) % 8 == 0) {
            struct held *held = &taken[--taken_count];
            check_contents(held, 0);
            plx_pool_release(pool, (void *)(uintptr_t)held->data);
        }
    }
    assert_true(receiver.starved > 0);
    while (taken_count > 0)
        plx_pool_release(pool, (void *)(uintptr_t)taken[--taken_count].data);
    while (count > 0)
        plx_pool_release(pool, blocks[--count]);
    world_settle(world);
    assert_int_equal(plx_group_left(world->reactor, keeper.group), BUFFERS);
    assert_int_equal(small_in_use(world), BUFFERS);
    if (!receiver.armed)
        arm(&receiver);
    disarm(&receiver);
    close(pair[1]);
}

static void create_refuses_bad_shapes_and_says_when_full(void **state)
{
    struct world *world = *state;
    uint16_t group = 0;
    struct plx_reactor *reactor = world->reactor;
    assert_int_equal(plx_group_create(reactor, 0, BYTES, &group), -EINVAL);
    assert_int_equal(plx_group_create(reactor, 3, BYTES, &group), -EINVAL);
    assert_int_equal(plx_group_create(reactor, 2 * PLX_GROUP_BUFFERS_MAX, BYTES, &group), -EINVAL);
    assert_int_equal(plx_group_create(reactor, 4, 0, &group), -EINVAL);
    assert_int_equal(plx_group_create(reactor, 4, 100, &group), -EINVAL);
    assert_int_equal(plx_group_create(reactor, 1, PLX_POOL_BLOCK_MAX + PLX_PAGE, &group), -EINVAL);
    assert_int_equal(plx_group_create(reactor, 1024, BYTES, &group), -ENOMEM);
    assert_int_equal(plx_group_create(reactor, PLX_GROUP_BUFFERS_MAX, BYTES, &group), -ENOMEM);
    assert_int_equal(small_in_use(world), 0);
    bool seen[PLX_GROUPS_MAX] = {false};
    for (unsigned i = 0; i < PLX_GROUPS_MAX; i++) {
        assert_int_equal(plx_group_create(reactor, 1, BYTES, &group), 0);
        assert_in_range(group, 0, PLX_GROUPS_MAX - 1);
        assert_false(seen[group]);
        seen[group] = true;
    }
    assert_int_equal(plx_group_create(reactor, 1, BYTES, &group), -ENOSPC);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        WORLD_CASE(messages_of_two_sockets_keep_their_contents_while_held),
        WORLD_CASE(group_exhausted_ends_the_receive_and_data_waits),
        WORLD_CASE(end_of_the_peer_is_zero_without_a_buffer),
        WORLD_CASE(receive_cancelled_many_times_keeps_every_buffer),
        WORLD_CASE(receive_that_is_reset_ends_with_the_error),
        WORLD_CASE(taken_blocks_keep_their_contents_and_the_group_goes_on),
        WORLD_CASE(group_is_refilled_as_blocks_come_home),
        WORLD_CASE(group_dry_under_load_loses_nothing),
        WORLD_CASE(create_refuses_bad_shapes_and_says_when_full),
    };
    return run_modes(cases, sizeof(cases) / sizeof(*cases));
}
