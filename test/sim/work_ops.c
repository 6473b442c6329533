/* SPDX-License-Identifier: MIT */
/*
 * Ops by themselves: two sockets, on any reactors, that send each other streams by every op there
 * is for it, with deadlines, cancels at any moment, and closes while ops still name the descriptor.
 * Each op ends exactly once, no byte is lost by a cancel, none comes twice.
 */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/sched/timed.h"
#include "test/sim/world.h"

#define TOTAL_MAX   40000u
#define BUFFER      4096u
#define NOISE       4u
#define DEADLINE_NS (5u * (uint64_t)SIM_SECOND_NS)
#define PATIENCE_NS (60u * (uint64_t)SIM_SECOND_NS)

struct side;

/* An op with what it needs; one at a time. */
struct act {
    struct side *side;
    struct plx_op_timed timed;
    struct msghdr msg;
    struct iovec parts[2];
    bool in_flight;
    bool told;    /* zero copy: the result has come */
    bool may_end; /* it has a deadline, or was cancelled */
    uint8_t buf[BUFFER];
};

struct side {
    struct sim_run *run;
    struct side *other;
    uint32_t key;
    uint32_t at; /* reactor */
    int fd;      /* -1: none yet, or closed */
    bool is_up;
    bool dead;
    bool closing;
    bool close_in_flight;
    bool closed;
    bool has_group;
    uint16_t group;
    uint64_t total;
    uint64_t sent;
    uint64_t got;
    struct act sender;
    struct act receiver;
    struct act noise[NOISE];
    struct plx_op close_op;
};

struct ops {
    struct sim_run *run;
    struct side sides[2]; /* the first accepts, the second connects */
    int listener;
    struct sockaddr_in addr;
    uint64_t last_ns; /* of progress */
    bool listener_closing;
    bool listener_closed;
    struct act accepter;
    struct plx_op close_op;
};

static struct plx_reactor *reactor_of(const struct side *side)
{
    return side->run->reactors[side->at];
}

/* --- events ----------------------------------------------------------------------------------- */

/* What all events have in common; returns whether the op has ended. */
static bool take_event(struct act *act, const struct plx_event *event)
{
    if (!act->in_flight)
        sim_fail(act->side->run, "ops: an event of an op that has ended (code %u)",
                 act->timed.op.code);
    if ((event->flags & PLX_EV_MORE) != 0)
        return false;
    if (plx_op_state(&act->timed.op) != PLX_OP_DONE)
        sim_fail(act->side->run, "ops: its state is %d in its last event",
                 (int)plx_op_state(&act->timed.op));
    act->in_flight = false;
    if (event->result == -ECANCELED && !act->may_end && !act->side->run->stopping)
        sim_fail(act->side->run, "ops: an op (code %u) was cancelled by nobody",
                 act->timed.op.code);
    return true;
}

/* What a caller tries again after. */
static bool is_passing(int32_t result)
{
    switch (result) {
    case -EAGAIN:
    case -EINTR:
    case -ENOBUFS:
    case -ECANCELED:
    case -EMFILE:
    case -ENFILE:
        return true;
    default:
        return false;
    }
}

static void die(struct side *side, int32_t result)
{
    side->dead = true;
    if (sim_must_succeed(side->run) && !side->run->stopping && !side->closing)
        sim_fail(side->run, "ops: %d in a harmless world", result);
}

static void on_sent(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    struct act *act = ctx;
    struct side *side = act->side;
    bool zero_copy = (op->flags & PLX_ZERO_COPY) != 0;
    bool first = !act->told;
    bool last = take_event(act, event);
    if (!last && (!zero_copy || act->told))
        sim_fail(side->run, "ops: a send has told its result twice");
    if (last && zero_copy && (event->flags & PLX_EV_RELEASED) == 0 && event->result >= 0)
        sim_fail(side->run, "ops: a zero-copy send does not say that its memory is free");
    act->told = !last;
    if (!first)
        return;
    if (event->result > 0)
        side->sent += (uint64_t)event->result;
    else if (event->result == 0 || !is_passing(event->result))
        die(side, event->result);
}

static void check_bytes(struct side *side, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++, side->got++) {
        if (data[i] == sim_pattern(side->other->key, side->got))
            continue;
        sim_fail(side->run, "ops %u: a wrong byte at %llu", side->key,
                 (unsigned long long)side->got);
        return;
    }
    if (side->got > side->other->total)
        sim_fail(side->run, "ops %u: more came than was sent", side->key);
}

static void on_received(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    struct act *act = ctx;
    struct side *side = act->side;
    (void)take_event(act, event);
    if (event->result > 0 && op->code == PLX_OP_RECV_GROUP) {
        if ((event->flags & PLX_EV_BUFFER) == 0)
            sim_fail(side->run, "ops: a receive from a group has no buffer");
        check_bytes(side, event->data, (size_t)event->result);
        plx_group_release(reactor_of(side), side->group, event->buffer_id);
    } else if (event->result > 0 && op->code == PLX_OP_RECVMSG) {
        size_t first = act->parts[0].iov_len;
        size_t len = (size_t)event->result;
        check_bytes(side, act->parts[0].iov_base, len < first ? len : first);
        if (len > first)
            check_bytes(side, act->parts[1].iov_base, len - first);
    } else if (event->result > 0) {
        check_bytes(side, act->buf, (size_t)event->result);
    } else if (event->result == 0 || !is_passing(event->result)) {
        die(side, event->result);
    }
}

static void on_noise(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    struct act *act = ctx;
    (void)op;
    (void)take_event(act, event);
    if (event->result < 0 && !is_passing(event->result) && event->result != -EBADF)
        die(act->side, event->result);
}

static void on_connected(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    struct act *act = ctx;
    (void)op;
    (void)take_event(act, event);
    if (event->result == 0)
        act->side->is_up = true;
    else
        die(act->side, event->result);
}

static void on_accepted(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    struct act *act = ctx;
    struct side *side = act->side;
    (void)op;
    (void)take_event(act, event);
    if (event->result >= 0 && side->fd < 0 && !side->closed) {
        side->fd = event->result;
        side->is_up = true;
    } else if (event->result >= 0) {
        sim_fail(side->run, "ops: a second connection");
    } else if (event->result == -ECONNABORTED || !is_passing(event->result)) {
        die(side, event->result);
    }
}

static void on_closed(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    struct side *side = ctx;
    (void)op;
    (void)event;
    if (!side->close_in_flight)
        sim_fail(side->run, "ops: a close has ended twice");
    if (side->sender.in_flight || side->receiver.in_flight)
        sim_fail(side->run, "ops: a close has overtaken an op");
    side->close_in_flight = false;
    side->closed = true;
    side->fd = -1;
}

static void on_listener_closed(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    struct ops *ops = ctx;
    (void)op;
    (void)event;
    ops->listener_closed = true;
    ops->listener = -1;
}

/* --- submitting ------------------------------------------------------------------------------- */

static void submit(struct side *side, struct act *act)
{
    struct sim_run *run = side->run;
    bool timed = run->faults.temper == SIM_ROUGH || sim_random_once(&run->random, 4);
    uint64_t at_ns = sim_now_ns(run) + sim_random_size(&run->random, DEADLINE_NS);
    int rc = timed ? plx_op_submit_timed(reactor_of(side), &act->timed, at_ns)
                   : plx_op_submit(reactor_of(side), &act->timed.op);
    if (rc != 0 && rc != -EAGAIN)
        sim_fail(run, "ops: a submit was refused with %d (code %u)", rc, act->timed.op.code);
    act->in_flight = rc == 0;
    act->told = false;
    act->may_end = timed;
}

static void set_parts(struct act *act, size_t len)
{
    size_t first = len / 3;
    act->parts[0] = (struct iovec){.iov_base = act->buf, .iov_len = first};
    act->parts[1] = (struct iovec){.iov_base = act->buf + first, .iov_len = len - first};
    act->msg = (struct msghdr){.msg_iov = act->parts, .msg_iovlen = 2};
}

static void send_more(struct side *side)
{
    struct act *act = &side->sender;
    struct plx_op *op = &act->timed.op;
    struct sim_random *random = &side->run->random;
    uint64_t left = side->total - side->sent;
    if (act->in_flight || left == 0)
        return;
    uint32_t len = (uint32_t)sim_random_size(random, left < BUFFER ? left : BUFFER);
    for (uint32_t i = 0; i < len; i++)
        act->buf[i] = sim_pattern(side->key, side->sent + i);
    set_parts(act, len);
    switch (sim_random_below(random, 5)) {
    case 0:
        plx_op_send(op, side->fd, act->buf, len, 0, PLX_INLINE, on_sent, act);
        break;
    case 1:
        plx_op_send_zc(op, side->fd, act->buf, len, 0, on_sent, act);
        break;
    case 2:
        plx_op_sendmsg(op, side->fd, &act->msg, 0, 0, on_sent, act);
        break;
    case 3:
        plx_op_sendmsg(op, side->fd, &act->msg, 0, PLX_ZERO_COPY, on_sent, act);
        break;
    default:
        plx_op_send(op, side->fd, act->buf, len, 0, PLX_QUEUED, on_sent, act);
    }
    submit(side, act);
}

static void receive_more(struct side *side)
{
    struct act *act = &side->receiver;
    struct plx_op *op = &act->timed.op;
    struct sim_random *random = &side->run->random;
    if (act->in_flight || side->got == side->other->total)
        return;
    uint32_t len = (uint32_t)sim_random_size(random, BUFFER);
    uint64_t way = sim_random_below(random, side->has_group ? 3 : 2);
    set_parts(act, len);
    if (way == 2)
        plx_op_recv_group(op, side->fd, side->group, on_received, act);
    else if (way == 1)
        plx_op_recvmsg(op, side->fd, &act->msg, 0, on_received, act);
    else
        plx_op_recv(op, side->fd, act->buf, len, 0, on_received, act);
    submit(side, act);
}

static void make_noise(struct side *side)
{
    struct sim_random *random = &side->run->random;
    struct act *act = &side->noise[sim_random_below(random, NOISE)];
    if (act->in_flight)
        return;
    if (sim_random_once(random, 2))
        plx_op_nop(&act->timed.op, on_noise, act);
    else
        plx_op_poll(&act->timed.op, side->fd, sim_random_once(random, 2) ? POLLIN : POLLOUT,
                    on_noise, act);
    submit(side, act);
}

static void cancel(struct act *act)
{
    act->may_end = true;
    plx_op_cancel(reactor_of(act->side), &act->timed.op);
}

static void cancel_all(struct side *side)
{
    cancel(&side->sender);
    cancel(&side->receiver);
    for (uint32_t i = 0; i < NOISE; i++)
        cancel(&side->noise[i]);
}

/* The close waits for what is in flight, before or behind its cancel. */
static void begin_close(struct side *side)
{
    if (side->close_in_flight || side->closed)
        return;
    if (side->fd < 0) {
        side->closed = true;
        return;
    }
    bool cancels_first = sim_random_once(&side->run->random, 2);
    if (cancels_first)
        cancel_all(side);
    plx_op_close(&side->close_op, side->fd, on_closed, side);
    int rc = plx_op_submit(reactor_of(side), &side->close_op);
    side->close_in_flight = rc == 0;
    if (rc != 0)
        sim_fail(side->run, "ops: a close was refused with %d", rc);
    if (!cancels_first)
        cancel_all(side);
}

/* --- the workload ----------------------------------------------------------------------------- */

static void init_side(struct ops *ops, uint32_t index)
{
    struct side *side = &ops->sides[index];
    struct sim_random *random = &ops->run->random;
    side->run = ops->run;
    side->other = &ops->sides[1 - index];
    side->key = 200 + index;
    side->at = (uint32_t)sim_random_below(random, ops->run->count);
    side->fd = -1;
    side->total = sim_random_size(random, TOTAL_MAX);
    side->sender.side = side;
    side->receiver.side = side;
    for (uint32_t i = 0; i < NOISE; i++)
        side->noise[i].side = side;
    side->has_group = plx_group_create(reactor_of(side), 4, BUFFER, &side->group) == 0;
}

static void *begin(struct sim_run *run)
{
    struct ops *ops = calloc(1, sizeof(*ops));
    if (ops == NULL)
        return NULL;
    ops->run = run;
    ops->listener = -1;
    ops->addr = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    init_side(ops, 0);
    init_side(ops, 1);
    ops->accepter.side = &ops->sides[0];
    ops->last_ns = sim_now_ns(run);
    return ops;
}

static void open_listener(struct ops *ops)
{
    socklen_t bytes = sizeof(ops->addr);
    int fd = plx__sim_plain.socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0)
        return;
    ops->listener = fd;
    if (plx__sim_plain.bind(fd, (struct sockaddr *)&ops->addr, bytes) != 0 ||
        plx__sim_plain.listen(fd, 4) != 0 ||
        plx__sim_plain.getsockname(fd, (struct sockaddr *)&ops->addr, &bytes) != 0)
        sim_fail(ops->run, "ops: no listener");
}

/* Both ends of the connection come about. */
static void step_connect(struct ops *ops)
{
    struct side *near = &ops->sides[0];
    struct side *far = &ops->sides[1];
    if (ops->listener < 0) {
        open_listener(ops);
        return;
    }
    if (far->fd < 0) {
        int fd = plx__sim_plain.socket(AF_INET, SOCK_STREAM, 0);
        if (fd < 0)
            return;
        far->fd = fd;
    }
    if (!far->is_up && !far->dead && !far->sender.in_flight) {
        plx_op_connect(&far->sender.timed.op, far->fd, (struct sockaddr *)&ops->addr,
                       sizeof(ops->addr), on_connected, &far->sender);
        /* A connect that is cut off leaves a socket of no more use. */
        int rc = plx_op_submit(reactor_of(far), &far->sender.timed.op);
        far->sender.in_flight = rc == 0;
        far->sender.may_end = false;
    }
    if (!near->is_up && !near->dead && !ops->accepter.in_flight) {
        plx_op_accept(&ops->accepter.timed.op, ops->listener, SOCK_CLOEXEC, 0, on_accepted,
                      &ops->accepter);
        submit(near, &ops->accepter);
    }
}

static void step_side(struct side *side)
{
    struct sim_random *random = &side->run->random;
    if (!side->is_up || side->dead || side->closing)
        return;
    send_more(side);
    receive_more(side);
    if (sim_random_once(random, 10))
        make_noise(side);
    if (sim_random_once(random, 300))
        cancel_all(side);
}

static bool is_over(const struct ops *ops)
{
    const struct side *near = &ops->sides[0];
    const struct side *far = &ops->sides[1];
    return near->dead || far->dead || (near->got == far->total && far->got == near->total);
}

static void step_end(struct ops *ops)
{
    struct plx_reactor *reactor = reactor_of(&ops->sides[0]);
    if (!ops->listener_closing) {
        ops->listener_closing = true;
        ops->listener_closed = ops->listener < 0;
        cancel(&ops->accepter);
        plx_op_close(&ops->close_op, ops->listener, on_listener_closed, ops);
        if (ops->listener >= 0 && plx_op_submit(reactor, &ops->close_op) != 0)
            sim_fail(ops->run, "ops: the listener's close was refused");
    }
    /* It may yet be accepted. */
    if (ops->accepter.in_flight)
        return;
    for (uint32_t i = 0; i < 2; i++) {
        ops->sides[i].closing = true;
        begin_close(&ops->sides[i]);
    }
}

static void step(struct sim_run *run, void *state)
{
    struct ops *ops = state;
    uint64_t before = ops->sides[0].got + ops->sides[1].got;
    if (!is_over(ops)) {
        if (!ops->sides[0].is_up || !ops->sides[1].is_up)
            step_connect(ops);
        step_side(&ops->sides[0]);
        step_side(&ops->sides[1]);
        /* The far end may be silent, which a rough world allows. */
        if (run->faults.temper == SIM_ROUGH && sim_now_ns(run) - ops->last_ns > PATIENCE_NS)
            ops->sides[0].dead = true;
    } else {
        step_end(ops);
    }
    if (ops->sides[0].got + ops->sides[1].got != before)
        ops->last_ns = sim_now_ns(run);
}

static bool is_done(const void *state)
{
    const struct ops *ops = state;
    bool quiet = !ops->accepter.in_flight;
    for (uint32_t i = 0; i < 2; i++) {
        for (uint32_t n = 0; n < NOISE; n++)
            quiet &= !ops->sides[i].noise[n].in_flight;
    }
    return quiet && ops->sides[0].closed && ops->sides[1].closed && ops->listener_closed;
}

static void check_act(struct sim_run *run, const struct act *act)
{
    if (act->in_flight)
        sim_fail(run, "ops: an op (code %u) has not ended", act->timed.op.code);
}

static void check(struct sim_run *run, void *state)
{
    struct ops *ops = state;
    check_act(run, &ops->accepter);
    for (uint32_t i = 0; i < 2; i++) {
        struct side *side = &ops->sides[i];
        check_act(run, &side->sender);
        check_act(run, &side->receiver);
        for (uint32_t n = 0; n < NOISE; n++)
            check_act(run, &side->noise[n]);
        if (side->close_in_flight)
            sim_fail(run, "ops: a close has not ended");
        if (side->fd >= 0)
            (void)plx__sim_plain.close(side->fd);
        if (side->has_group && plx_group_left(reactor_of(side), side->group) != 4)
            sim_fail(run, "ops: a group has not all of its buffers");
    }
    if (ops->listener >= 0)
        (void)plx__sim_plain.close(ops->listener);
}

static void end(struct sim_run *run, void *state)
{
    (void)run;
    free(state);
}

const struct sim_workload sim_ops = {
    .name = "ops",
    .begin = begin,
    .step = step,
    .is_done = is_done,
    .check = check,
    .end = end,
};
