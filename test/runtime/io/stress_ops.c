/* SPDX-License-Identifier: MIT */
/*
 * A reactor and a peer thread exchange streams of bytes, each byte checked at both ends, through a
 * random mix of ops and cancels, while connections come and go; in every mode. The seed is printed;
 * POLLUX_TEST_SEED sets it.
 */
#include "test/runtime/io/op_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define STREAMS    6u
#define VISITORS   4u
#define CHUNK      16384u
#define MIX_NS     150000000u
#define TO_PEER    0u
#define TO_REACTOR 1u

/* One direction pair of bytes between the reactor and the peer. */
struct stream {
    unsigned index;
    struct stress *stress;
    /* The reactor's. */
    int fd;
    struct plx_op send_op;
    struct plx_op recv_op;
    struct plx_op poll_op;
    bool sending;
    bool receiving;
    bool polling;
    bool shut;
    bool eof;
    uint64_t sent;
    uint64_t received;
    unsigned char out[CHUNK];
    unsigned char in[CHUNK];
    /* The peer's; the reactor's thread reads them when the peer has ended. */
    int peer_fd;
    bool peer_shut;
    bool peer_eof;
    uint64_t peer_sent;
    uint64_t peer_received;
    unsigned char peer_buf[CHUNK];
};

/* A connection that one byte goes through; one side of it. */
struct visitor {
    struct stress *stress;
    struct plx_op op;
    int fd;
    enum plx_op_code next; /* what to submit; PLX_OP_NONE: there is no connection */
    bool busy;
    char byte;
};

struct stress {
    struct world *world;
    uint32_t random;
    uint16_t group;
    struct stream streams[STREAMS];
    struct sockaddr_in addr;
    int listener;
    struct plx_op accept_op;
    bool accepting;
    struct visitor clients[VISITORS];
    struct visitor servers[VISITORS];
    uint64_t connected;
    uint64_t served;
    bool ending;
    /* Between the threads. */
    pthread_t thread;
    bool has_thread;
    uint32_t peer_random;
    PLX_ATOMIC(uint32_t) end;     /* the peer sends no more */
    PLX_ATOMIC(uint32_t) give_up; /* the peer leaves at once */
    PLX_ATOMIC(uint32_t) peer_failed;
};

static struct stress stress;
static uint32_t seed;

static uint32_t next_random(uint32_t *random)
{
    *random ^= *random << 13;
    *random ^= *random >> 17;
    *random ^= *random << 5;
    return *random;
}

static bool one_in(struct stress *s, uint32_t n)
{
    return next_random(&s->random) % n == 0;
}

static unsigned char byte_at(unsigned index, unsigned way, uint64_t position)
{
    uint64_t mixed = (position + 1) * 0x9e3779b97f4a7c15u + index * 2654435761u + way * 97u;
    return (unsigned char)(mixed >> 40);
}

static void fill_bytes(unsigned char *data, uint32_t len, unsigned index, unsigned way, uint64_t at)
{
    for (uint32_t i = 0; i < len; i++)
        data[i] = byte_at(index, way, at + i);
}

static bool bytes_match(const unsigned char *data, size_t len, unsigned index, unsigned way,
                        uint64_t at)
{
    for (size_t i = 0; i < len; i++) {
        if (data[i] != byte_at(index, way, at + i))
            return false;
    }
    return true;
}

/* --- the peer --------------------------------------------------------------------------------- */

static bool peer_reads(struct stream *stream, uint32_t len)
{
    ssize_t got = recv(stream->peer_fd, stream->peer_buf, len, MSG_DONTWAIT);
    if (got < 0)
        return errno == EAGAIN;
    if (!bytes_match(stream->peer_buf, (size_t)got, stream->index, TO_PEER, stream->peer_received))
        return false;
    stream->peer_received += (uint64_t)got;
    stream->peer_eof = got == 0;
    return true;
}

static bool peer_writes(struct stream *stream, uint32_t len)
{
    fill_bytes(stream->peer_buf, len, stream->index, TO_REACTOR, stream->peer_sent);
    ssize_t taken = send(stream->peer_fd, stream->peer_buf, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (taken < 0)
        return errno == EAGAIN;
    stream->peer_sent += (uint64_t)taken;
    return true;
}

static bool peer_serves(struct stress *s, struct stream *stream, short bits, bool end)
{
    uint32_t len = 1 + next_random(&s->peer_random) % CHUNK;
    if ((bits & (POLLIN | POLLHUP)) != 0 && !stream->peer_eof && !peer_reads(stream, len))
        return false;
    if (!end)
        return (bits & POLLOUT) == 0 || peer_writes(stream, len);
    if (!stream->peer_shut)
        stream->peer_shut = shutdown(stream->peer_fd, SHUT_WR) == 0;
    return stream->peer_shut;
}

static void *peer_main(void *argument)
{
    struct stress *s = argument;
    for (;;) {
        struct pollfd look[STREAMS];
        unsigned alive = 0;
        /* Acquire pairs with the reactor's release; nothing else is passed by it. */
        bool end = plx_load_acquire(&s->end) != 0;
        for (unsigned i = 0; i < STREAMS; i++) {
            struct stream *stream = &s->streams[i];
            bool done = stream->peer_eof && stream->peer_shut;
            alive += !done;
            look[i] = (struct pollfd){
                .fd = done ? -1 : stream->peer_fd,
                .events = (short)((stream->peer_eof ? 0 : POLLIN) | (end ? 0 : POLLOUT)),
            };
        }
        if (alive == 0 || plx_load_relaxed(&s->give_up) != 0)
            return NULL;
        if (poll(look, STREAMS, 5) < 0)
            continue;
        for (unsigned i = 0; i < STREAMS; i++) {
            if (look[i].fd >= 0 && !peer_serves(s, &s->streams[i], look[i].revents, end)) {
                plx_store_relaxed(&s->peer_failed, i + 1);
                return NULL;
            }
        }
    }
}

/* --- streams, on the reactor ------------------------------------------------------------------ */

static void check_received(struct stream *stream, const void *data, int64_t len)
{
    if (!bytes_match(data, (size_t)len, stream->index, TO_REACTOR, stream->received))
        fail_msg("stream %u: another byte than sent, near %llu", stream->index,
                 (unsigned long long)stream->received);
    stream->received += (uint64_t)len;
}

static void sent_note(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    struct stream *stream = ctx;
    assert_ptr_equal(op, &stream->send_op);
    assert_true(stream->sending);
    stream->sending = false;
    if (event->result >= 0)
        stream->sent += (uint64_t)event->result;
    else
        assert_int_equal(event->result, -ECANCELED);
}

static void received_note(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    struct stream *stream = ctx;
    assert_ptr_equal(op, &stream->recv_op);
    assert_true(stream->receiving);
    if ((event->flags & PLX_EV_MORE) == 0)
        stream->receiving = false;
    if (event->result > 0 && (event->flags & PLX_EV_BUFFER) != 0) {
        check_received(stream, event->data, event->result);
        plx_group_release(stream->stress->world->reactor, stream->stress->group, event->buffer_id);
    } else if (event->result > 0) {
        check_received(stream, stream->in, event->result);
    } else if (event->result == 0) {
        stream->eof = true;
    } else {
        assert_true(event->result == -ECANCELED || event->result == -ENOBUFS);
    }
}

static void polled_note(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    struct stream *stream = ctx;
    assert_ptr_equal(op, &stream->poll_op);
    assert_true(stream->polling);
    assert_true(event->result > 0 || event->result == -ECANCELED);
    stream->polling = false;
}

/* Whether it was taken. A full ring is no error; nothing happens then. */
static bool submitted(struct stress *s, struct plx_op *op)
{
    int rc = world_try_submit(s->world, op);
    assert_true(rc == 0 || rc == -EAGAIN);
    return rc == 0;
}

static void step_send(struct stress *s, struct stream *stream)
{
    struct plx_reactor *reactor = s->world->reactor;
    if (stream->sending) {
        if (one_in(s, 40))
            plx_op_cancel(reactor, &stream->send_op);
        return;
    }
    if (stream->shut)
        return;
    if (s->ending) {
        stream->shut = true;
        assert_int_equal(shutdown(stream->fd, SHUT_WR), 0);
        return;
    }
    uint32_t len = 1 + next_random(&s->random) % CHUNK;
    fill_bytes(stream->out, len, stream->index, TO_PEER, stream->sent);
    if (one_in(s, 3)) {
        int64_t taken = plx_send_now(reactor, stream->fd, stream->out, len);
        assert_true(taken > 0 || taken == -EAGAIN);
        stream->sent += taken > 0 ? (uint64_t)taken : 0;
        return;
    }
    uint16_t flags = one_in(s, 2) ? PLX_INLINE : PLX_QUEUED;
    plx_op_send(&stream->send_op, stream->fd, stream->out, len, 0, flags, sent_note, stream);
    stream->sending = submitted(s, &stream->send_op);
}

static void step_receive(struct stress *s, struct stream *stream)
{
    struct plx_reactor *reactor = s->world->reactor;
    if (stream->receiving) {
        if (one_in(s, 20))
            plx_op_cancel(reactor, &stream->recv_op);
        return;
    }
    if (stream->eof)
        return;
    uint32_t len = 1 + next_random(&s->random) % CHUNK;
    switch (next_random(&s->random) % 4) {
    case 0: {
        int64_t got = plx_recv_now(reactor, stream->fd, stream->in, len);
        assert_true(got >= 0 || got == -EAGAIN);
        if (got > 0)
            check_received(stream, stream->in, got);
        stream->eof = got == 0;
        return;
    }
    case 1:
        plx_op_recv(&stream->recv_op, stream->fd, stream->in, len, 0, received_note, stream);
        break;
    default:
        plx_op_recv_group(&stream->recv_op, stream->fd, s->group, received_note, stream);
        break;
    }
    stream->receiving = submitted(s, &stream->recv_op);
}

static void step_poll(struct stress *s, struct stream *stream)
{
    if (stream->polling) {
        if (s->ending || one_in(s, 10))
            plx_op_cancel(s->world->reactor, &stream->poll_op);
        return;
    }
    if (s->ending || !one_in(s, 4))
        return;
    uint32_t bits = one_in(s, 2) ? POLLIN : one_in(s, 2) ? POLLOUT : POLLIN | POLLOUT;
    plx_op_poll(&stream->poll_op, stream->fd, bits, polled_note, stream);
    stream->polling = submitted(s, &stream->poll_op);
}

/* --- connections that come and go ------------------------------------------------------------- */

static void visit_note(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    struct visitor *visitor = ctx;
    assert_ptr_equal(op, &visitor->op);
    visitor->busy = false;
    switch ((enum plx_op_code)op->code) {
    case PLX_OP_CONNECT:
        assert_int_equal(event->result, 0);
        visitor->stress->connected++;
        visitor->next = PLX_OP_SEND;
        break;
    case PLX_OP_RECV:
        assert_int_equal(event->result, 1);
        assert_int_equal(visitor->byte, 'v');
        visitor->stress->served++;
        visitor->next = PLX_OP_CLOSE;
        break;
    case PLX_OP_SEND:
        assert_int_equal(event->result, 1);
        visitor->next = PLX_OP_CLOSE;
        break;
    default:
        assert_int_equal(event->result, 0);
        visitor->next = PLX_OP_NONE;
        break;
    }
}

static void step_visitor(struct stress *s, struct visitor *v)
{
    if (v->busy || v->next == PLX_OP_NONE)
        return;
    uint16_t flags = one_in(s, 2) ? PLX_INLINE : PLX_QUEUED;
    switch (v->next) {
    case PLX_OP_CONNECT:
        plx_op_connect(&v->op, v->fd, (struct sockaddr *)&s->addr, sizeof(s->addr), visit_note, v);
        break;
    case PLX_OP_SEND:
        plx_op_send(&v->op, v->fd, "v", 1, 0, flags, visit_note, v);
        break;
    case PLX_OP_RECV:
        plx_op_recv(&v->op, v->fd, &v->byte, 1, 0, visit_note, v);
        break;
    default:
        plx_op_close(&v->op, v->fd, visit_note, v);
        break;
    }
    v->busy = submitted(s, &v->op);
}

static void start_visit(struct stress *s, struct visitor *visitor, int fd, enum plx_op_code first)
{
    assert_true(fd >= 0);
    *visitor = (struct visitor){.stress = s, .fd = fd, .next = first};
}

static void accepted_note(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    struct stress *s = ctx;
    assert_ptr_equal(op, &s->accept_op);
    assert_true(s->accepting);
    s->accepting = (event->flags & PLX_EV_MORE) != 0;
    if (event->result < 0) {
        assert_int_equal(event->result, -ECANCELED);
        return;
    }
    for (unsigned i = 0; i < VISITORS; i++) {
        if (s->servers[i].next == PLX_OP_NONE) {
            start_visit(s, &s->servers[i], event->result, PLX_OP_RECV);
            return;
        }
    }
    /* Nobody to serve it: it was never named by an op, so a plain close does. */
    close(event->result);
    s->served++;
}

static bool visits_going_on(const struct stress *s)
{
    bool going_on = s->served != s->connected;
    for (unsigned i = 0; i < VISITORS; i++)
        going_on |= s->clients[i].next != PLX_OP_NONE || s->servers[i].next != PLX_OP_NONE;
    return going_on;
}

static void step_visits(struct stress *s)
{
    if (!s->accepting && !(s->ending && !visits_going_on(s))) {
        plx_op_accept(&s->accept_op, s->listener, SOCK_CLOEXEC, PLX_MULTISHOT, accepted_note, s);
        s->accepting = submitted(s, &s->accept_op);
    } else if (s->accepting && (one_in(s, 50) || (s->ending && !visits_going_on(s)))) {
        plx_op_cancel(s->world->reactor, &s->accept_op);
    }
    for (unsigned i = 0; i < VISITORS; i++) {
        if (s->clients[i].next == PLX_OP_NONE && !s->ending && one_in(s, 8))
            start_visit(s, &s->clients[i], socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
                        PLX_OP_CONNECT);
        step_visitor(s, &s->clients[i]);
        step_visitor(s, &s->servers[i]);
    }
}

/* --- the whole -------------------------------------------------------------------------------- */

static bool all_ended(const struct stress *s)
{
    bool busy = s->accepting || visits_going_on(s);
    for (unsigned i = 0; i < STREAMS; i++) {
        const struct stream *stream = &s->streams[i];
        busy |= stream->sending || stream->receiving || stream->polling;
        busy |= !stream->shut || !stream->eof;
    }
    return !busy;
}

static void step_all(struct stress *s)
{
    for (unsigned i = 0; i < STREAMS; i++) {
        step_send(s, &s->streams[i]);
        step_receive(s, &s->streams[i]);
        step_poll(s, &s->streams[i]);
    }
    step_visits(s);
    world_turn(s->world);
    if (plx_load_relaxed(&s->peer_failed) != 0)
        fail_msg("the peer met an error or another byte than sent on stream %u",
                 plx_load_relaxed(&s->peer_failed) - 1);
}

static int stress_set_up(void **state)
{
    world_set_up_small(state);
    memset(&stress, 0, sizeof(stress));
    stress.world = *state;
    stress.random = seed;
    stress.peer_random = seed * 2654435761u | 1u;
    assert_int_equal(plx_group_create(stress.world->reactor, 16, PLX_PAGE, &stress.group), 0);
    stress.listener = make_listener(&stress.addr, 128);
    for (unsigned i = 0; i < STREAMS; i++) {
        int pair[2];
        if (i % 2 == 0)
            make_pair(SOCK_STREAM, pair);
        else
            make_tcp_pair(pair);
        stress.streams[i].index = i;
        stress.streams[i].stress = &stress;
        stress.streams[i].fd = pair[0];
        stress.streams[i].peer_fd = pair[1];
    }
    assert_int_equal(pthread_create(&stress.thread, NULL, peer_main, &stress), 0);
    stress.has_thread = true;
    return 0;
}

static void join_peer(void)
{
    if (stress.has_thread)
        pthread_join(stress.thread, NULL);
    stress.has_thread = false;
}

static int stress_tear_down(void **state)
{
    plx_store_relaxed(&stress.give_up, 1);
    join_peer();
    return world_tear_down(state);
}

static void streams_through_any_mix_of_ops_keep_every_byte(void **state)
{
    struct stress *s = &stress;
    (void)state;
    print_message("seed %u\n", seed);
    struct plx_reactor *reactor = s->world->reactor;
    uint64_t until = plx_reactor_now_ns(reactor) + MIX_NS;
    while (plx_reactor_now_ns(reactor) < until)
        step_all(s);

    s->ending = true;
    plx_store_release(&s->end, 1);
    until = plx_reactor_now_ns(reactor) + 20000000000u;
    while (!all_ended(s)) {
        assert_true(plx_reactor_now_ns(reactor) < until);
        step_all(s);
    }
    join_peer();
    assert_int_equal(plx_load_relaxed(&s->peer_failed), 0);
    uint64_t bytes = 0;
    for (unsigned i = 0; i < STREAMS; i++) {
        struct stream *stream = &s->streams[i];
        assert_int_equal(stream->sent, stream->peer_received);
        assert_int_equal(stream->peer_sent, stream->received);
        bytes += stream->sent + stream->received;
        world_close_fd(s->world, stream->fd);
        close(stream->peer_fd);
    }
    assert_true(bytes > 0);
    assert_true(s->connected > 0);
    assert_int_equal(s->connected, s->served);
    world_close_fd(s->world, s->listener);
    print_message("%llu KiB, %llu connections\n", (unsigned long long)(bytes >> 10),
                  (unsigned long long)s->connected);
}

int main(void)
{
    const char *given = getenv("POLLUX_TEST_SEED");
    seed = given != NULL ? (uint32_t)strtoul(given, NULL, 0) : (uint32_t)time(NULL);
    seed |= 1u;
    const struct CMUnitTest cases[] = {
        cmocka_unit_test_setup_teardown(streams_through_any_mix_of_ops_keep_every_byte,
                                        stress_set_up, stress_tear_down),
    };
    return run_kernel_modes(cases, sizeof(cases) / sizeof(*cases));
}
