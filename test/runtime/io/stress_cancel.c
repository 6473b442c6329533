/* SPDX-License-Identifier: MIT */
/*
 * Cancels and deadlines that race with what an op waits for, done by another thread: in every mode,
 * many times. Each op has one terminal event, and what came is told once, by the op that ended, by
 * one before or after it, or stays where it was: nothing is lost, nothing twice.
 *
 * The seed of the moments is printed; POLLUX_TEST_SEED sets it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "runtime/sched/timed.h"
#include "test/runtime/io/op_fixture.h"

#define ROUNDS      250u
#define MESSAGES    400u
#define CONNECTIONS 60u
#define FILE_OPS    300u
#define FILE_BYTES  4096u

static uint32_t seed;

struct race {
    struct world *world;
    struct plx_op_timed timed;
    uint32_t random;
    int fd;
    int peer_fd;
    struct sockaddr_in addr;
    uint16_t group;
    bool flying;
    unsigned arms;
    unsigned ends;
    unsigned cancelled;
    uint32_t got; /* what of the peer's has come */
    int32_t result;
    uint16_t flags;
    char byte;
    struct msghdr msg;
    /* The peer's. */
    uint32_t peer_random;
    pthread_t thread;
    void *(*peer)(void *race);
    /* Between the threads. */
    PLX_ATOMIC(uint32_t) round; /* the peer acts once for each */
    PLX_ATOMIC(uint32_t) acted;
    PLX_ATOMIC(uint32_t) end;
    PLX_ATOMIC(uint32_t) failed;
};

static struct race the_race;

static uint32_t next_random(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

static void pause_some(uint32_t *random, uint32_t most)
{
    for (uint32_t i = next_random(random) % most; i > 0; i--)
        plx_cpu_relax();
}

/* --- peers ------------------------------------------------------------------------------------ */

/* Waits for the next round; false: there is none. */
static bool await_round(struct race *r, uint32_t round)
{
    while (plx_load_acquire(&r->round) < round) {
        if (plx_load_acquire(&r->end) != 0)
            return false;
        sched_yield();
    }
    return true;
}

/* A byte in each round. */
static void *peer_by_round(void *argument)
{
    struct race *r = argument;
    for (uint32_t round = 1; await_round(r, round); round++) {
        pause_some(&r->peer_random, 400);
        char byte = (char)round;
        if (send(r->peer_fd, &byte, 1, MSG_NOSIGNAL) != 1)
            plx_store_relaxed(&r->failed, 1);
        plx_store_release(&r->acted, round);
    }
    return NULL;
}

/* Numbered messages of four bytes, some at once; then the end. */
static void *peer_of_messages(void *argument)
{
    struct race *r = argument;
    for (uint32_t i = 0; i < MESSAGES; i++) {
        ssize_t sent = send(r->peer_fd, &i, sizeof(i), MSG_NOSIGNAL);
        if (sent != sizeof(i))
            plx_store_relaxed(&r->failed, 1);
        if (i % 8 == 0)
            pause_some(&r->peer_random, 2000);
    }
    return NULL;
}

static void *peer_of_connections(void *argument)
{
    struct race *r = argument;
    for (uint32_t i = 0; i < CONNECTIONS; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *)&r->addr, sizeof(r->addr)) != 0)
            plx_store_relaxed(&r->failed, 1);
        pause_some(&r->peer_random, 1000);
        close(fd);
    }
    return NULL;
}

static int race_set_up(void **state)
{
    struct race *r = &the_race;
    int rc = world_set_up(state);
    memset(r, 0, sizeof(*r));
    r->world = *state;
    r->random = seed;
    r->peer_random = seed * 2654435761u | 1u;
    r->fd = -1;
    r->peer_fd = -1;
    assert_int_equal(plx_group_create(r->world->reactor, 8, PLX_PAGE, &r->group), 0);
    return rc;
}

static void start(struct race *r, void *(*peer)(void *))
{
    r->peer = peer;
    assert_int_equal(pthread_create(&r->thread, NULL, peer, r), 0);
}

static void join(struct race *r)
{
    plx_store_release(&r->end, 1);
    if (r->peer != NULL)
        pthread_join(r->thread, NULL);
    r->peer = NULL;
}

static int race_tear_down(void **state)
{
    struct race *r = &the_race;
    join(r);
    if (r->fd >= 0)
        world_close_fd(r->world, r->fd);
    if (r->peer_fd >= 0)
        close(r->peer_fd);
    return world_tear_down(state);
}

/* --- one byte, one op ------------------------------------------------------------------------- */

static void ended(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    struct race *r = ctx;
    assert_true(r->flying);
    assert_int_equal(event->flags & PLX_EV_MORE, 0);
    assert_int_equal(plx_op_state(op), PLX_OP_DONE);
    r->flying = false;
    r->ends++;
    r->result = event->result;
    r->flags = event->flags;
}

/* The byte of this round came by the op, or is in the socket. */
static void expect_byte(struct race *r, uint32_t round)
{
    uint64_t deadline = plx_reactor_now_ns(r->world->reactor) + 10000000000u;
    int64_t rc = r->result;
    if (r->result == -ECANCELED) {
        r->cancelled++;
        do {
            assert_true(plx_reactor_now_ns(r->world->reactor) < deadline);
            rc = plx_recv_now(r->world->reactor, r->fd, &r->byte, 1);
            if (rc == -EAGAIN)
                sched_yield();
        } while (rc == -EAGAIN);
    }
    assert_int_equal(rc, 1);
    assert_int_equal(r->byte, (char)round);
    while (plx_load_acquire(&r->acted) != round)
        sched_yield();
}

static void race_round(struct race *r, uint32_t round, bool by_deadline)
{
    struct plx_reactor *reactor = r->world->reactor;
    unsigned ends = r->ends;
    r->byte = 0;
    plx_op_recv(&r->timed.op, r->fd, &r->byte, 1, 0, ended, r);
    r->flying = true;
    /* Now and then the peer is first. */
    bool early = round % 4 == 0;
    if (early)
        plx_store_release(&r->round, round);
    if (by_deadline) {
        uint64_t at = plx_reactor_now_ns(reactor) + next_random(&r->random) % 20000;
        assert_int_equal(plx_op_submit_timed(reactor, &r->timed, at), 0);
    } else {
        assert_int_equal(world_try_submit(r->world, &r->timed.op), 0);
    }
    if (round % 3 != 0)
        (void)plx_reactor_poll(reactor);
    plx_store_release(&r->round, round);
    if (!by_deadline) {
        /* At any moment up to some time after the peer has acted. */
        for (uint32_t i = next_random(&r->random) % 40; i > 0; i--) {
            if (plx_load_relaxed(&r->acted) != round)
                sched_yield();
        }
        pause_some(&r->random, 600);
        plx_op_cancel(reactor, &r->timed.op);
    }
    WORLD_UNTIL(r->world, r->ends > ends);
    if ((r->flags & PLX_EV_TIMED_OUT) != 0)
        assert_int_equal(r->result, -ECANCELED);
    assert_int_equal((r->flags & PLX_EV_TIMED_OUT) != 0, by_deadline && r->result == -ECANCELED);
    expect_byte(r, round);
}

static void race_rounds(struct race *r, bool by_deadline)
{
    int pair[2];
    make_pair(SOCK_STREAM, pair);
    r->fd = pair[0];
    r->peer_fd = pair[1];
    start(r, peer_by_round);
    for (uint32_t round = 1; round <= ROUNDS; round++)
        race_round(r, round, by_deadline);
    join(r);
    assert_int_equal(plx_load_relaxed(&r->failed), 0);
    assert_int_equal(r->ends, ROUNDS);
    print_message("%u of %u were cancelled\n", r->cancelled, ROUNDS);
}

static void cancel_racing_with_a_peer_ends_each_op_once(void **state)
{
    (void)state;
    race_rounds(&the_race, false);
}

static void deadline_racing_with_a_peer_ends_each_op_once(void **state)
{
    (void)state;
    race_rounds(&the_race, true);
}

/* --- multishots ------------------------------------------------------------------------------- */

/* The next four bytes of what the peer has numbered. */
static void take_number(struct race *r, const char *data, int32_t bytes)
{
    assert_int_equal(bytes % 4, 0);
    for (int32_t at = 0; at < bytes; at += 4) {
        uint32_t number;
        memcpy(&number, data + at, sizeof(number));
        assert_int_equal(number, r->got);
        r->got++;
    }
}

static void shot(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    struct race *r = ctx;
    assert_true(r->flying);
    if ((event->flags & PLX_EV_BUFFER) != 0 && op->code == PLX_OP_RECVMSG_GROUP) {
        struct plx_datagram datagram = {0};
        assert_int_equal(plx_datagram_read(event, &r->msg, &datagram), 0);
        assert_int_equal(datagram.bytes, 4);
        take_number(r, datagram.data, (int32_t)datagram.bytes);
    } else if ((event->flags & PLX_EV_BUFFER) != 0) {
        take_number(r, event->data, event->result);
    } else if (event->result >= 0 && op->code == PLX_OP_ACCEPT) {
        assert_int_equal(close(event->result), 0);
        r->got++;
    } else {
        assert_true(event->result == -ECANCELED || event->result == -ENOBUFS);
    }
    if ((event->flags & PLX_EV_BUFFER) != 0)
        plx_group_release(r->world->reactor, r->group, event->buffer_id);
    if ((event->flags & PLX_EV_MORE) != 0)
        return;
    r->flying = false;
    r->ends++;
}

/* Arms, lets some come, cancels, awaits the end; until all that the peer had to give has come. */
static void arm_and_cancel(struct race *r, void (*prepare)(struct race *), uint32_t total)
{
    struct plx_reactor *reactor = r->world->reactor;
    uint64_t deadline = plx_reactor_now_ns(reactor) + 20000000000u;
    while (r->got < total) {
        assert_true(plx_reactor_now_ns(reactor) < deadline);
        prepare(r);
        r->flying = true;
        r->arms++;
        assert_int_equal(world_try_submit(r->world, &r->timed.op), 0);
        for (uint32_t turns = next_random(&r->random) % 6; turns > 0; turns--)
            world_turn(r->world);
        pause_some(&r->random, 1000);
        plx_op_cancel(reactor, &r->timed.op);
        if (next_random(&r->random) % 2 == 0)
            plx_op_cancel(reactor, &r->timed.op);
        WORLD_UNTIL(r->world, !r->flying);
    }
    join(r);
    world_settle(r->world);
    assert_int_equal(plx_load_relaxed(&r->failed), 0);
    assert_int_equal(r->got, total);
    assert_int_equal(r->ends, r->arms);
    assert_int_equal(plx_group_left(reactor, r->group), 8);
    print_message("%u came to %u ops\n", total, r->arms);
}

static void prepare_accept(struct race *r)
{
    plx_op_accept(&r->timed.op, r->fd, SOCK_CLOEXEC, PLX_MULTISHOT, shot, r);
}

static void prepare_recv_group(struct race *r)
{
    plx_op_recv_group(&r->timed.op, r->fd, r->group, shot, r);
}

static void prepare_recvmsg_group(struct race *r)
{
    memset(&r->msg, 0, sizeof(r->msg));
    plx_op_recvmsg_group(&r->timed.op, r->fd, &r->msg, r->group, shot, r);
}

static void accept_cancelled_under_load_takes_each_connection_once(void **state)
{
    struct race *r = &the_race;
    (void)state;
    r->fd = make_listener(&r->addr, 128);
    start(r, peer_of_connections);
    arm_and_cancel(r, prepare_accept, CONNECTIONS);
}

static void receive_cancelled_under_load_takes_each_byte_once(void **state)
{
    struct race *r = &the_race;
    int pair[2];
    (void)state;
    make_pair(SOCK_STREAM, pair);
    r->fd = pair[0];
    r->peer_fd = pair[1];
    start(r, peer_of_messages);
    arm_and_cancel(r, prepare_recv_group, MESSAGES);
}

static void messages_cancelled_under_load_come_once_each(void **state)
{
    struct race *r = &the_race;
    int pair[2];
    (void)state;
    make_pair(SOCK_SEQPACKET, pair);
    r->fd = pair[0];
    r->peer_fd = pair[1];
    start(r, peer_of_messages);
    arm_and_cancel(r, prepare_recvmsg_group, MESSAGES);
}

/* --- files, whose ops are other threads' work ------------------------------------------------- */

#define FILE_DEPTH 6u

struct file_op {
    struct plx_op op;
    struct race *race;
    bool flying;
    bool writes;
    uint32_t block;
    unsigned char data[FILE_BYTES];
};

static struct file_op file_ops[FILE_DEPTH];
static unsigned char told[FILE_DEPTH]; /* what each block was last written full of */

static void file_note(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    struct file_op *f = ctx;
    assert_ptr_equal(op, &f->op);
    assert_true(f->flying);
    f->flying = false;
    f->race->ends++;
    if (event->result == -ECANCELED) {
        f->race->cancelled++;
        return;
    }
    assert_int_equal(event->result, FILE_BYTES);
    if (f->writes)
        told[f->block] = f->data[0];
    else
        assert_int_equal(f->data[0], told[f->block]);
    assert_int_equal(f->data[0], f->data[FILE_BYTES - 1]);
}

/* Each op has a block of the file to itself, so what it reads is what it wrote. */
static void submit_file_op(struct race *r, struct file_op *f, uint32_t block)
{
    uint64_t offset = (uint64_t)block * FILE_BYTES;
    f->race = r;
    f->block = block;
    f->writes = next_random(&r->random) % 2 == 0;
    if (f->writes) {
        memset(f->data, (int)(next_random(&r->random) & 255u), FILE_BYTES);
        plx_op_write(&f->op, r->fd, f->data, FILE_BYTES, offset, file_note, f);
    } else {
        plx_op_read(&f->op, r->fd, f->data, FILE_BYTES, offset, file_note, f);
    }
    f->flying = true;
    assert_int_equal(world_try_submit(r->world, &f->op), 0);
    r->arms++;
}

static void file_ops_cancelled_at_any_time_have_done_all_or_nothing(void **state)
{
    struct race *r = &the_race;
    (void)state;
    memset(file_ops, 0, sizeof(file_ops));
    memset(told, 0, sizeof(told));
    r->fd = memfd_create("stress", MFD_CLOEXEC);
    assert_int_equal(ftruncate(r->fd, FILE_DEPTH * FILE_BYTES), 0);
    uint64_t deadline = plx_reactor_now_ns(r->world->reactor) + 20000000000u;
    while (r->ends < FILE_OPS) {
        assert_true(plx_reactor_now_ns(r->world->reactor) < deadline);
        for (uint32_t i = 0; i < FILE_DEPTH; i++) {
            if (!file_ops[i].flying)
                submit_file_op(r, &file_ops[i], i);
            else if (next_random(&r->random) % 4 == 0)
                plx_op_cancel(r->world->reactor, &file_ops[i].op);
        }
        world_turn(r->world);
    }
    WORLD_UNTIL(r->world, r->ends == r->arms);
    print_message("%u of %u were cancelled\n", r->cancelled, r->arms);
}

#define RACE_CASE(function) cmocka_unit_test_setup_teardown(function, race_set_up, race_tear_down)

int main(void)
{
    const char *given = getenv("POLLUX_TEST_SEED");
    seed = given != NULL ? (uint32_t)strtoul(given, NULL, 0) : (uint32_t)time(NULL);
    seed |= 1u;
    print_message("seed %u\n", seed);
    const struct CMUnitTest cases[] = {
        RACE_CASE(cancel_racing_with_a_peer_ends_each_op_once),
        RACE_CASE(deadline_racing_with_a_peer_ends_each_op_once),
        RACE_CASE(accept_cancelled_under_load_takes_each_connection_once),
        RACE_CASE(receive_cancelled_under_load_takes_each_byte_once),
        RACE_CASE(messages_cancelled_under_load_come_once_each),
        RACE_CASE(file_ops_cancelled_at_any_time_have_done_all_or_nothing),
    };
    return run_kernel_modes(cases, sizeof(cases) / sizeof(*cases));
}
