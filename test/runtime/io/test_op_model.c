/* SPDX-License-Identifier: MIT */
/*
 * Any sequence of submits, cancels, closes and acts of peers, in every mode, against a model that
 * knows of each op only whether it is in flight, and of each descriptor how many ops name it. After
 * every step the runtime's counts are the model's; each op has one terminal event and none after
 * it; a submit is refused exactly when the model allows it; in the end nothing is counted.
 *
 * The sequence is drawn from a seed, which is printed; POLLUX_TEST_SEED sets it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "runtime/reactor_internal.h"
#include "test/runtime/io/op_fixture.h"

#define STEPS       3000u
#define SLOTS       40u
#define DATA        512u
#define GROUP_COUNT 8u

/* What a descriptor is. */
enum sort { STREAM, TCP, MESSAGES, PIPE_OUT, PIPE_IN, MEMORY, LISTENER, SORT_COUNT };
#define THINGS 10u

struct model;

struct thing {
    struct model *model;
    enum sort sort;
    int fd;
    int peer; /* -1: closed */
    struct sockaddr_in addr;
    unsigned named; /* ops in flight */
    bool closing;
    struct plx_op closer;
};

struct slot {
    struct plx_op op;
    struct thing *thing; /* NULL: of an op without one */
    bool flying;
    bool multishot;
    bool had_result; /* of a zero-copy send: what follows is the notice */
    struct msghdr msg;
    struct iovec part;
    char data[DATA];
};

struct model {
    struct world *world;
    uint32_t random;
    uint16_t group;
    struct thing things[THINGS];
    struct slot slots[SLOTS];
    unsigned flying; /* closes too */
    unsigned submitted;
    unsigned ended;
    unsigned refused;
    unsigned cancels;
};

static struct model the_model;
static uint32_t seed;

static uint32_t draw(struct model *m, uint32_t below)
{
    m->random ^= m->random << 13;
    m->random ^= m->random >> 17;
    m->random ^= m->random << 5;
    return m->random % below;
}

/* --- things ----------------------------------------------------------------------------------- */

static void open_thing(struct thing *t)
{
    int pair[2] = {-1, -1};
    switch (t->sort) {
    case STREAM:
        make_pair(SOCK_STREAM, pair);
        break;
    case TCP:
        make_tcp_pair(pair);
        break;
    case MESSAGES:
        make_pair(SOCK_SEQPACKET, pair);
        break;
    case PIPE_OUT:
    case PIPE_IN:
        assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
        (void)fcntl(pair[0], F_SETPIPE_SZ, 4096);
        break;
    case MEMORY:
        pair[0] = memfd_create("model", MFD_CLOEXEC);
        break;
    default:
        pair[0] = make_listener(&t->addr, 4);
        break;
    }
    unsigned own = t->sort == PIPE_IN ? 1 : 0;
    t->fd = pair[own];
    t->peer = pair[1 - own];
    t->named = 0;
    t->closing = false;
    assert_true(t->fd >= 0);
}

static void close_peer(struct thing *t)
{
    if (t->peer >= 0)
        close(t->peer);
    t->peer = -1;
}

static void peer_acts(struct model *m, struct thing *t)
{
    static char block[DATA];
    if (t->sort == LISTENER) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        (void)connect(fd, (struct sockaddr *)&t->addr, sizeof(t->addr));
        close(fd);
        return;
    }
    /* Nobody may read from a pipe any more whose close has not been told. */
    if (t->peer < 0 || (t->sort == PIPE_OUT && t->closing))
        return;
    int flags = fcntl(t->peer, F_GETFL);
    (void)fcntl(t->peer, F_SETFL, flags | O_NONBLOCK);
    switch (draw(m, 16)) {
    case 0:
        /* Nobody left to read from a pipe is a signal to its writer. */
        if (t->sort != PIPE_IN)
            close_peer(t);
        break;
    case 1:
        if (t->sort <= MESSAGES)
            (void)shutdown(t->peer, SHUT_WR);
        break;
    case 2:
    case 3:
    case 4:
    case 5:
    case 6:
    case 7:
        if (t->sort == PIPE_OUT)
            (void)!write(t->peer, block, 1 + draw(m, DATA));
        else if (t->sort != PIPE_IN)
            (void)send(t->peer, block, 1 + draw(m, DATA), MSG_NOSIGNAL);
        break;
    default:
        if (t->sort != PIPE_OUT)
            (void)!read(t->peer, block, sizeof(block));
        break;
    }
}

/* --- ops -------------------------------------------------------------------------------------- */

/* What an op may end with, beside success and -ECANCELED. */
static bool is_error_of(const struct slot *s, int32_t result)
{
    static const int errors[] = {ECONNRESET, EPIPE, ENOBUFS, ENOTCONN};
    /* Whatever it reads from: the others of a turn's events may have all buffers of the group. */
    if (s->op.code == PLX_OP_READ_GROUP && result == -ENOBUFS)
        return true;
    for (size_t i = 0; i < sizeof(errors) / sizeof(*errors); i++) {
        if (result == -errors[i])
            return s->thing != NULL && s->thing->sort <= PIPE_IN;
    }
    return false;
}

static void note(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    struct slot *s = ctx;
    struct model *m = &the_model;
    seen_assert_allowed();
    assert_ptr_equal(op, &s->op);
    assert_true(s->flying);
    if (event->result < 0 && event->result != -ECANCELED && !is_error_of(s, event->result))
        fail_msg("op %u on thing %d ended with %d", op->code,
                 s->thing != NULL ? (int)s->thing->sort : -1, event->result);
    if ((event->flags & PLX_EV_BUFFER) != 0)
        plx_group_release(m->world->reactor, m->group, event->buffer_id);
    else if (op->code == PLX_OP_ACCEPT && event->result >= 0)
        assert_int_equal(close(event->result), 0);
    if ((event->flags & PLX_EV_MORE) != 0) {
        assert_true(s->multishot || (op->flags & PLX_ZERO_COPY) != 0);
        assert_false(s->had_result && !s->multishot);
        s->had_result = true;
        return;
    }
    assert_int_equal(plx_op_state(op), PLX_OP_DONE);
    assert_int_equal((event->flags & PLX_EV_RELEASED) != 0, (op->flags & PLX_ZERO_COPY) != 0);
    s->flying = false;
    m->flying--;
    m->ended++;
    if (s->thing != NULL)
        s->thing->named--;
}

static void prepare_transfer(struct model *m, struct slot *s, int fd, bool reads)
{
    uint32_t len = 1 + draw(m, DATA);
    uint64_t offset = draw(m, DATA);
    s->part = (struct iovec){.iov_base = s->data, .iov_len = len};
    switch (draw(m, 3)) {
    case 0:
        if (reads)
            plx_op_readv(&s->op, fd, &s->part, 1, offset, note, s);
        else
            plx_op_writev(&s->op, fd, &s->part, 1, offset, note, s);
        return;
    case 1:
        if (reads) {
            plx_op_read_group(&s->op, fd, m->group, len, offset, note, s);
            return;
        }
        break;
    default:
        break;
    }
    if (reads)
        plx_op_read(&s->op, fd, s->data, len, offset, note, s);
    else
        plx_op_write(&s->op, fd, s->data, len, offset, note, s);
}

static void prepare_file(struct model *m, struct slot *s, int fd)
{
    switch (draw(m, 4)) {
    case 0:
        plx_op_fsync(&s->op, fd, draw(m, 2) != 0 ? PLX_FSYNC_DATA : 0, note, s);
        break;
    case 1:
        plx_op_fallocate(&s->op, fd, 0, 0, 4096, note, s);
        break;
    default:
        prepare_transfer(m, s, fd, draw(m, 2) == 0);
        break;
    }
}

static void prepare_message(struct model *m, struct slot *s, int fd)
{
    memset(&s->msg, 0, sizeof(s->msg));
    s->part = (struct iovec){.iov_base = s->data, .iov_len = 1 + draw(m, DATA)};
    s->msg.msg_iov = &s->part;
    s->msg.msg_iovlen = 1;
    switch (draw(m, 4)) {
    case 0:
        plx_op_recvmsg(&s->op, fd, &s->msg, 0, note, s);
        break;
    case 1:
        s->msg.msg_iovlen = 0;
        plx_op_recvmsg_group(&s->op, fd, &s->msg, m->group, note, s);
        break;
    case 2:
        plx_op_sendmsg(&s->op, fd, &s->msg, 0, PLX_ZERO_COPY, note, s);
        break;
    default:
        plx_op_sendmsg(&s->op, fd, &s->msg, 0, PLX_QUEUED, note, s);
        break;
    }
}

static void prepare_socket(struct model *m, struct slot *s, int fd)
{
    uint32_t len = 1 + draw(m, DATA);
    switch (draw(m, 7)) {
    case 0:
        plx_op_recv(&s->op, fd, s->data, len, 0, note, s);
        break;
    case 1:
        plx_op_recv_group(&s->op, fd, m->group, note, s);
        break;
    case 2:
        plx_op_send(&s->op, fd, s->data, len, 0, PLX_QUEUED, note, s);
        break;
    case 3:
        plx_op_send(&s->op, fd, s->data, len, 0, PLX_INLINE, note, s);
        break;
    case 4:
        plx_op_send_zc(&s->op, fd, s->data, len, 0, note, s);
        break;
    case 5:
        plx_op_poll(&s->op, fd, draw(m, 2) != 0 ? POLLIN : POLLOUT, note, s);
        break;
    default:
        prepare_message(m, s, fd);
        break;
    }
    /* Rarely, as nothing is sent any more after it. */
    if (draw(m, 60) == 0)
        plx_op_shutdown(&s->op, fd, SHUT_WR, note, s);
}

static void prepare(struct model *m, struct slot *s, struct thing *t)
{
    switch (t->sort) {
    case STREAM:
    case TCP:
    case MESSAGES:
        prepare_socket(m, s, t->fd);
        break;
    case PIPE_OUT:
    case PIPE_IN:
        prepare_transfer(m, s, t->fd, t->sort == PIPE_OUT);
        break;
    case MEMORY:
        prepare_file(m, s, t->fd);
        break;
    default:
        plx_op_accept(&s->op, t->fd, SOCK_CLOEXEC, draw(m, 2) != 0 ? PLX_MULTISHOT : 0, note, s);
        break;
    }
}

static void step_submit(struct model *m)
{
    struct slot *s = &m->slots[draw(m, SLOTS)];
    struct thing *t = &m->things[draw(m, THINGS)];
    if (s->flying)
        return;
    if (draw(m, 12) == 0) {
        t = NULL;
        plx_op_nop(&s->op, note, s);
    } else {
        prepare(m, s, t);
    }
    s->thing = t;
    s->had_result = false;
    s->multishot = (s->op.flags & PLX_MULTISHOT) != 0;
    int rc = world_try_submit(m->world, &s->op);
    if (rc != 0) {
        bool closing = t != NULL && t->closing;
        assert_true(rc == -EAGAIN || (rc == -EBADF && closing));
        assert_int_equal(plx_op_state(&s->op), PLX_OP_IDLE);
        m->refused++;
        /* The SQ thread may be another process' victim. */
        if (rc == -EAGAIN)
            world_settle(m->world);
        return;
    }
    assert_false(t != NULL && t->closing);
    s->flying = true;
    m->flying++;
    m->submitted++;
    if (t != NULL)
        t->named++;
}

static void closed(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    struct thing *t = ctx;
    assert_ptr_equal(op, &t->closer);
    assert_int_equal(event->result, 0);
    assert_int_equal(event->flags, 0);
    assert_true(t->closing);
    assert_int_equal(t->named, 0);
    t->model->flying--;
    t->model->ended++;
    close_peer(t);
    open_thing(t);
}

/* Whether its number was another's, whose close has happened and is not told yet. */
static bool is_early(const struct model *m, const struct thing *t)
{
    for (unsigned i = 0; i < THINGS; i++) {
        const struct thing *other = &m->things[i];
        if (other != t && other->fd == t->fd && other->closing)
            return true;
    }
    return false;
}

static void step_close(struct model *m)
{
    struct thing *t = &m->things[draw(m, THINGS)];
    if (is_early(m, t))
        return;
    struct plx_op again;
    plx_op_close(t->closing ? &again : &t->closer, t->fd, closed, t);
    int rc = world_try_submit(m->world, t->closing ? &again : &t->closer);
    if (t->closing) {
        assert_true(rc == -EBADF || rc == -EAGAIN);
        return;
    }
    assert_int_equal(rc, 0);
    t->closing = true;
    m->flying++;
    m->submitted++;
    /* Most closers have cancelled before. */
    for (unsigned i = 0; i < SLOTS && draw(m, 4) != 0; i++) {
        if (m->slots[i].thing == t)
            plx_op_cancel(m->world->reactor, &m->slots[i].op);
    }
}

static void step_cancel(struct model *m)
{
    struct slot *s = &m->slots[draw(m, SLOTS)];
    seen_forbid();
    plx_op_cancel(m->world->reactor, &s->op);
    seen_allow();
    m->cancels++;
}

/* --- the whole -------------------------------------------------------------------------------- */

static void compare(const struct model *m)
{
    const struct plx__io *io = m->world->reactor->io;
    assert_int_equal(io->in_flight, m->flying);
    assert_int_equal(io->submitted - io->completed, m->flying);
    for (unsigned i = 0; i < THINGS; i++) {
        const struct thing *t = &m->things[i];
        if (is_early(m, t))
            continue;
        assert_int_equal(io->fd_uses[t->fd], t->named | (t->closing ? 0x8000u : 0));
    }
}

static void step(struct model *m)
{
    switch (draw(m, 16)) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4:
    case 5:
        step_submit(m);
        break;
    case 6:
    case 7:
        step_cancel(m);
        break;
    case 8:
        if (draw(m, 8) == 0)
            step_close(m);
        break;
    case 9:
    case 10:
    case 11:
    case 12:
        peer_acts(m, &m->things[draw(m, THINGS)]);
        break;
    default:
        world_turn(m->world);
        break;
    }
    compare(m);
}

static bool all_closed(const struct model *m)
{
    for (unsigned i = 0; i < THINGS; i++) {
        if (m->things[i].closing)
            return false;
    }
    return true;
}

static void begin(struct model *m, struct world *world)
{
    memset(m, 0, sizeof(*m));
    m->world = world;
    m->random = seed;
    for (unsigned i = 0; i < THINGS; i++) {
        m->things[i].model = m;
        m->things[i].sort = (enum sort)(i % SORT_COUNT);
        open_thing(&m->things[i]);
    }
    assert_int_equal(plx_group_create(world->reactor, GROUP_COUNT, PLX_PAGE, &m->group), 0);
    uint64_t none = world->reactor->io->submitted;
    assert_int_equal(none, world->reactor->io->completed);
}

/* With nothing left to be acknowledged, zero-copy sends let go. */
static void close_tcp_peers(struct model *m)
{
    for (unsigned i = 0; i < THINGS; i++) {
        if (m->things[i].sort == TCP)
            close_peer(&m->things[i]);
    }
}

static void finish(struct model *m)
{
    WORLD_UNTIL(m->world, all_closed(m));
    for (unsigned i = 0; i < SLOTS; i++)
        plx_op_cancel(m->world->reactor, &m->slots[i].op);
    close_tcp_peers(m);
    WORLD_UNTIL(m->world, m->flying == 0);
    compare(m);
    assert_int_equal(plx_group_left(m->world->reactor, m->group), GROUP_COUNT);
    for (unsigned i = 0; i < THINGS; i++) {
        world_close_fd(m->world, m->things[i].fd);
        close_peer(&m->things[i]);
    }
    print_message("%u ops, %u refused, %u cancels\n", m->submitted, m->refused, m->cancels);
    assert_int_equal(m->submitted, m->ended);
}

static void cancel_all(struct model *m)
{
    for (unsigned i = 0; i < SLOTS; i++)
        plx_op_cancel(m->world->reactor, &m->slots[i].op);
}

static void any_sequence_ends_each_op_once(void **state)
{
    struct model *m = &the_model;
    begin(m, *state);
    for (unsigned i = 0; i < STEPS; i++) {
        step(m);
        /* What waits for ever fills all slots some time. */
        if (i % 500 == 499)
            cancel_all(m);
    }
    /* A close waits for the ops that name its descriptor. */
    cancel_all(m);
    close_tcp_peers(m);
    finish(m);
}

/* The reactor ends in the midst of it. */
static void any_sequence_cut_off_by_the_reactors_end_ends_each_op_once(void **state)
{
    struct model *m = &the_model;
    struct world *world = *state;
    begin(m, world);
    for (unsigned i = 0; i < STEPS / 8; i++)
        step(m);
    close_tcp_peers(m);
    assert_int_equal(plx_reactor_abandon(world->reactor, 10000000000u), 0);
    world->reactor = NULL;
    assert_int_equal(m->flying, 0);
    assert_int_equal(m->submitted, m->ended);
    for (unsigned i = 0; i < THINGS; i++) {
        close_peer(&m->things[i]);
        close(m->things[i].fd);
    }
}

int main(void)
{
    const char *given = getenv("POLLUX_TEST_SEED");
    seed = given != NULL ? (uint32_t)strtoul(given, NULL, 0) : (uint32_t)time(NULL);
    seed |= 1u;
    print_message("seed %u\n", seed);
    const struct CMUnitTest cases[] = {
        WORLD_CASE_SMALL(any_sequence_ends_each_op_once),
        WORLD_CASE_SMALL(any_sequence_cut_off_by_the_reactors_end_ends_each_op_once),
    };
    /* Not in the simulated world: the cases drive real peers by plain calls. The simulator's own
     * workloads, and test_ops, test_op_ends and test_timed, cover it there. */
    return run_kernel_modes(cases, sizeof(cases) / sizeof(*cases));
}
