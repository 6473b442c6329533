/* SPDX-License-Identifier: MIT */
/* Sockets of the simulated world: streams over links that delay, cut, stall, reset and fall silent.
 */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/io/sim_world_internal.h"

/* --- pipes ------------------------------------------------------------------------------------ */

static uint64_t later(uint64_t at_ns, uint64_t ns)
{
    return ns > PLX__SIM_NEVER - at_ns ? PLX__SIM_NEVER : at_ns + ns;
}

/* 1 + the place at which something happens to a link, or never. */
static uint64_t choose_place(struct plx__sim_world *world, enum plx__sim_choice choice)
{
    uint64_t place = sim_choose(world, choice, 4 * SIM_PIPE_BYTES);
    return place != 0 ? place - 1 : PLX__SIM_NEVER;
}

/* One on which nothing goes wrong. */
static int pipe_open_local(struct sim_pipe *pipe, uint32_t capacity)
{
    *pipe = (struct sim_pipe){.capacity = capacity,
                              .fin_ns = PLX__SIM_NEVER,
                              .reset_ns = PLX__SIM_NEVER,
                              .reset_at = PLX__SIM_NEVER,
                              .vanish_at = PLX__SIM_NEVER,
                              .timeout_at = PLX__SIM_NEVER};
    pipe->data = malloc(capacity);
    return pipe->data != NULL ? 0 : -ENOMEM;
}

static int pipe_open(struct plx__sim_world *world, struct sim_pipe *pipe)
{
    uint32_t less =
        (uint32_t)sim_choose(world, PLX__SIM_WINDOW_LESS, SIM_PIPE_BYTES - SIM_PIPE_MIN);
    int rc = pipe_open_local(pipe, SIM_PIPE_BYTES - less);
    pipe->reset_at = choose_place(world, PLX__SIM_RESET_AT);
    pipe->vanish_at = choose_place(world, PLX__SIM_VANISH_AT);
    pipe->timeout_at = choose_place(world, PLX__SIM_TIMEOUT_AT);
    return rc;
}

/* When the next bytes, or an end behind them, come in. Never before those ahead. */
static uint64_t arrival(struct plx__sim_world *world, struct sim_sock *sock)
{
    struct sim_pipe *pipe = &sock->in;
    if (sock->is_local)
        return world->now_ns;
    uint64_t stall = sim_choose(world, PLX__SIM_STALL_NS, 2000000000u);
    uint64_t from = pipe->free_ns > world->now_ns ? pipe->free_ns : world->now_ns;
    from = later(from, stall);
    pipe->free_ns = from;
    uint64_t extra = sim_choose(world, PLX__SIM_LATENCY_NS, 200000000u);
    uint64_t at = later(from, SIM_LATENCY_NS + extra);
    if (pipe->mark_count != 0) {
        uint64_t last = pipe->marks[(pipe->mark_first + pipe->mark_count - 1) % SIM_MARKS].at_ns;
        at = at > last ? at : last;
    }
    return at;
}

static void pipe_mark(struct sim_pipe *pipe, uint64_t at_ns)
{
    if (pipe->mark_count == SIM_MARKS) {
        struct sim_mark *last = &pipe->marks[(pipe->mark_first + SIM_MARKS - 1) % SIM_MARKS];
        *last = (struct sim_mark){.end = pipe->written, .at_ns = at_ns};
        return;
    }
    pipe->marks[(pipe->mark_first + pipe->mark_count++) % SIM_MARKS] =
        (struct sim_mark){.end = pipe->written, .at_ns = at_ns};
}

/* Of packets one at a time has arrived, and is read to its end. */
static void packet_arrive(const struct plx__sim_world *world, struct sim_pipe *pipe)
{
    if (pipe->arrived == pipe->read && pipe->mark_count != 0 &&
        pipe->marks[pipe->mark_first].at_ns <= world->now_ns)
        pipe->arrived = pipe->marks[pipe->mark_first].end;
}

static void packet_done(struct sim_pipe *pipe)
{
    pipe->read = pipe->arrived;
    pipe->mark_first = (pipe->mark_first + 1) % SIM_MARKS;
    pipe->mark_count--;
}

static void pipe_arrive(const struct plx__sim_world *world, struct sim_pipe *pipe)
{
    while (pipe->mark_count != 0 && pipe->marks[pipe->mark_first].at_ns <= world->now_ns) {
        pipe->arrived = pipe->marks[pipe->mark_first].end;
        pipe->mark_first = (pipe->mark_first + 1) % SIM_MARKS;
        pipe->mark_count--;
    }
}

static void pipe_put(struct sim_pipe *pipe, const uint8_t *data, size_t bytes)
{
    for (size_t done = 0; done < bytes;) {
        size_t at = (size_t)(pipe->written % pipe->capacity);
        size_t part = pipe->capacity - at < bytes - done ? pipe->capacity - at : bytes - done;
        memcpy(pipe->data + at, data + done, part);
        pipe->written += part;
        done += part;
    }
}

static void pipe_get(struct sim_pipe *pipe, uint64_t from, uint8_t *data, size_t bytes)
{
    for (size_t done = 0; done < bytes;) {
        size_t at = (size_t)((from + done) % pipe->capacity);
        size_t part = pipe->capacity - at < bytes - done ? pipe->capacity - at : bytes - done;
        memcpy(data + done, pipe->data + at, part);
        done += part;
    }
}

/* A reset comes to `sock`, behind what is on its way; the first one counts. */
static void send_reset(struct plx__sim_world *world, struct sim_sock *sock, int error)
{
    struct sim_pipe *pipe = &sock->in;
    if (pipe->reset_ns != PLX__SIM_NEVER)
        return;
    pipe->reset_ns = later(world->now_ns, SIM_LATENCY_NS);
    pipe->reset_error = error;
    if (sim_chance(world, PLX__SIM_RESET_DROPS)) {
        pipe_arrive(world, pipe);
        pipe->read = pipe->arrived;
        pipe->written = pipe->arrived;
        pipe->mark_count = 0;
    }
    if (pipe->mark_count == 0)
        return;
    uint64_t last = pipe->marks[(pipe->mark_first + pipe->mark_count - 1) % SIM_MARKS].at_ns;
    pipe->reset_ns = pipe->reset_ns > last ? pipe->reset_ns : last;
}

static bool reset_has_come(const struct plx__sim_world *world, const struct sim_sock *sock)
{
    return sock->in.reset_ns <= world->now_ns;
}

/* --- making and ending ------------------------------------------------------------------------ */

struct sim_sock *plx__sim_sock_make(struct plx__sim_world *world, int type)
{
    struct sim_sock *sock = calloc(1, sizeof(*sock));
    if (sock == NULL)
        return NULL;
    sock->type = type;
    sock->up_ns = PLX__SIM_NEVER;
    sock->in.fin_ns = PLX__SIM_NEVER;
    sock->in.reset_ns = PLX__SIM_NEVER;
    sock->next = world->socks;
    if (sock->next != NULL)
        sock->next->prev = sock;
    world->socks = sock;
    return sock;
}

static void sock_free(struct plx__sim_world *world, struct sim_sock *sock)
{
    if (sock->next != NULL)
        sock->next->prev = sock->prev;
    if (sock->prev != NULL)
        sock->prev->next = sock->next;
    else
        world->socks = sock->next;
    free(sock->in.data);
    free(sock);
}

/* The peer learns of the end: in order, or by a reset where something is left unread. */
static void leave_peer(struct plx__sim_world *world, struct sim_sock *sock)
{
    struct sim_sock *peer = sock->peer;
    if (peer == NULL)
        return;
    peer->peer = NULL;
    sock->peer = NULL;
    if (sock->silent) {
        peer->silent = true;
        return;
    }
    pipe_arrive(world, &sock->in);
    bool unread =
        sock->in.arrived != sock->in.read && !reset_has_come(world, sock) && !sock->is_pipe;
    if (sock->linger_none || unread)
        send_reset(world, peer, ECONNRESET);
    else if (peer->in.fin_ns == PLX__SIM_NEVER)
        peer->in.fin_ns = arrival(world, peer);
}

void plx__sim_sock_close(struct plx__sim_world *world, struct sim_sock *sock)
{
    for (uint32_t i = 0; i < sock->queue_count; i++) {
        sock->queue[i]->linger_none = true;
        plx__sim_sock_close(world, sock->queue[i]);
    }
    leave_peer(world, sock);
    sock_free(world, sock);
}

int plx__sim_sock_pair(struct plx__sim_world *world, int type, bool is_pipe, uint32_t bytes,
                       struct sim_sock *pair[2])
{
    for (unsigned i = 0; i < 2; i++)
        pair[i] = plx__sim_sock_make(world, type);
    for (unsigned i = 0; i < 2; i++) {
        if (pair[i] != NULL && pipe_open_local(&pair[i]->in, bytes) == 0 && pair[1 - i] != NULL) {
            pair[i]->state = SIM_SOCK_CONNECTED;
            pair[i]->is_local = true;
            pair[i]->is_pipe = is_pipe;
            pair[i]->peer = pair[1 - i];
            continue;
        }
        for (unsigned k = 0; k < 2; k++) {
            if (pair[k] != NULL)
                sock_free(world, pair[k]);
        }
        return -ENOMEM;
    }
    return 0;
}

/* --- listening and connecting ----------------------------------------------------------------- */

static bool same_address(const struct sim_sock *sock, const struct sockaddr *addr)
{
    if (sock->name_bytes == 0 || sock->name.ss_family != addr->sa_family)
        return false;
    if (addr->sa_family == AF_UNIX)
        return false;
    /* One host: the port is what tells. */
    if (addr->sa_family == AF_INET)
        return ((const struct sockaddr_in *)(const void *)&sock->name)->sin_port ==
               ((const struct sockaddr_in *)(const void *)addr)->sin_port;
    return ((const struct sockaddr_in6 *)(const void *)&sock->name)->sin6_port ==
           ((const struct sockaddr_in6 *)(const void *)addr)->sin6_port;
}

static struct sim_sock *find_listener(struct plx__sim_world *world, const struct sockaddr *addr)
{
    uint32_t count = 0;
    for (struct sim_sock *at = world->socks; at != NULL; at = at->next)
        count += at->state == SIM_SOCK_LISTENING && same_address(at, addr);
    if (count == 0)
        return NULL;
    uint64_t chosen = sim_choose(world, PLX__SIM_SPREAD, count);
    for (struct sim_sock *at = world->socks; at != NULL; at = at->next) {
        if (at->state == SIM_SOCK_LISTENING && same_address(at, addr) && chosen-- == 0)
            return at;
    }
    return NULL;
}

static void name_itself(struct plx__sim_world *world, struct sim_sock *sock, sa_family_t family)
{
    if (sock->name_bytes != 0)
        return;
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    in_port_t port = htons(world->next_port++);
    six.sin6_port = port;
    four.sin_port = port;
    sock->name_bytes = family == AF_INET ? sizeof(four) : sizeof(six);
    memcpy(&sock->name, family == AF_INET ? (void *)&four : (void *)&six, sock->name_bytes);
}

/* Makes the other end, which waits in the listener's queue until it is accepted. */
static int link_up(struct plx__sim_world *world, struct sim_sock *sock, struct sim_sock *listener)
{
    struct sim_sock *other = plx__sim_sock_make(world, SOCK_STREAM);
    if (other == NULL)
        return -ENOMEM;
    if (pipe_open(world, &sock->in) != 0 || pipe_open(world, &other->in) != 0) {
        sock_free(world, other);
        return -ENOMEM;
    }
    other->state = SIM_SOCK_CONNECTED;
    other->name = listener->name;
    other->name_bytes = listener->name_bytes;
    other->peer_name = sock->name;
    other->up_ns = later(world->now_ns, SIM_LATENCY_NS);
    other->peer = sock;
    sock->peer = other;
    listener->queue[listener->queue_count++] = other;
    return 0;
}

int plx__sim_connect_begin(struct plx__sim_world *world, struct sim_sock *sock,
                           const struct sockaddr *addr, socklen_t bytes)
{
    if (sock->state == SIM_SOCK_CONNECTED)
        return -EISCONN;
    if (sock->state != SIM_SOCK_NEW || bytes > sizeof(sock->peer_name))
        return -EINVAL;
    memcpy(&sock->peer_name, addr, bytes);
    name_itself(world, sock, addr->sa_family);
    sock->state = SIM_SOCK_CONNECTING;
    sock->up_ns = later(world->now_ns,
                        2 * SIM_LATENCY_NS + sim_choose(world, PLX__SIM_LATENCY_NS, 200000000u));
    sock->up_result = 0;
    struct sim_sock *listener = find_listener(world, addr);
    if (listener == NULL && addr->sa_family == AF_UNIX) {
        sock->state = SIM_SOCK_NEW;
        return -ENOENT;
    }
    if (sim_chance(world, PLX__SIM_CONNECT_LOST)) {
        sock->up_ns = later(world->now_ns, SIM_SYN_GIVEUP_NS);
        sock->up_result = -ETIMEDOUT;
    } else if (listener == NULL || sim_chance(world, PLX__SIM_CONNECT_REFUSED)) {
        sock->up_result = -ECONNREFUSED;
    } else if (sim_chance(world, PLX__SIM_CONNECT_RESET)) {
        sock->up_result = -ECONNRESET;
    } else if (listener->queue_count > listener->backlog) {
        /* The queue is full: the peer drops it, and it is sent again. */
        sock->up_ns = later(world->now_ns, SIM_SYN_RETRY_NS);
        sock->up_result = -EAGAIN;
    } else {
        sock->up_result = link_up(world, sock, listener);
    }
    return 0;
}

int plx__sim_connect_ask(struct plx__sim_world *world, struct sim_sock *sock)
{
    if (sock->state != SIM_SOCK_CONNECTING)
        return -EINVAL;
    if (world->now_ns < sock->up_ns)
        return SIM_WOULD_WAIT;
    if (sock->up_result == -EAGAIN) {
        struct sockaddr_storage addr = sock->peer_name;
        sock->state = SIM_SOCK_NEW;
        (void)plx__sim_connect_begin(world, sock, (struct sockaddr *)&addr, sizeof(addr));
        return SIM_WOULD_WAIT;
    }
    if (sock->up_result == 0 && reset_has_come(world, sock)) {
        sock->in.reset_told = true;
        sock->up_result = -ECONNRESET;
    }
    sock->state = sock->up_result == 0 ? SIM_SOCK_CONNECTED : SIM_SOCK_NEW;
    return sock->up_result;
}

int plx__sim_accept(struct plx__sim_world *world, struct sim_sock *listener, uint32_t flags)
{
    if (listener->state != SIM_SOCK_LISTENING)
        return -EINVAL;
    if (listener->queue_count == 0 || listener->queue[0]->up_ns > world->now_ns)
        return SIM_WOULD_WAIT;
    if (sim_chance(world, PLX__SIM_ACCEPT_FILES))
        return -EMFILE;
    if (sim_chance(world, PLX__SIM_ACCEPT_FILES_ALL))
        return -ENFILE;
    bool aborted = sim_chance(world, PLX__SIM_ACCEPT_ABORTED);
    int fd = aborted ? -ECONNABORTED : plx__sim_desc_take(world, SIM_SOCKET);
    if (fd < 0 && !aborted)
        return fd;
    struct sim_sock *sock = listener->queue[0];
    listener->queue_count--;
    memmove(&listener->queue[0], &listener->queue[1],
            listener->queue_count * sizeof(listener->queue[0]));
    if (aborted) {
        sock->linger_none = true;
        plx__sim_sock_close(world, sock);
        return -ECONNABORTED;
    }
    plx__sim_desc(world, fd)->sock = sock;
    plx__sim_desc(world, fd)->flags = flags;
    return fd;
}

/* --- bytes ------------------------------------------------------------------------------------ */

bool plx__sim_readable(struct plx__sim_world *world, struct sim_sock *sock, size_t *bytes)
{
    *bytes = 0;
    if (sock->state == SIM_SOCK_CONNECTING || sock->state == SIM_SOCK_LISTENING)
        return false;
    if (sock->state == SIM_SOCK_NEW || sock->shut_read)
        return true;
    struct sim_pipe *pipe = &sock->in;
    if (sock->type == SOCK_SEQPACKET)
        packet_arrive(world, pipe);
    else
        pipe_arrive(world, pipe);
    *bytes = (size_t)(pipe->arrived - pipe->read);
    if (*bytes != 0 || reset_has_come(world, sock))
        return true;
    return pipe->fin_ns <= world->now_ns && pipe->mark_count == 0;
}

/* What a call meets on a link that was reset: the error once, then what an ended one gives. */
static int tell_reset(struct sim_sock *sock, int afterwards)
{
    if (sock->in.reset_told)
        return afterwards;
    sock->in.reset_told = true;
    return -sock->in.reset_error;
}

int64_t plx__sim_recv(struct plx__sim_world *world, struct sim_sock *sock, const struct iovec *iov,
                      size_t count, int flags)
{
    size_t there = 0;
    if (sock->state == SIM_SOCK_NEW || sock->state == SIM_SOCK_LISTENING)
        return -ENOTCONN;
    if (!plx__sim_readable(world, sock, &there))
        return SIM_WOULD_WAIT;
    struct sim_pipe *pipe = &sock->in;
    if (there == 0 && reset_has_come(world, sock))
        return tell_reset(sock, 0);
    if (there == 0)
        return 0;

    size_t room = 0;
    for (size_t i = 0; i < count; i++)
        room += iov[i].iov_len;
    size_t bytes = there < room ? there : room;
    if (bytes == 0)
        return 0;
    if (sock->type == SOCK_STREAM)
        bytes = sim_cut(world, PLX__SIM_RECV_LESS, bytes);
    uint64_t from = pipe->read;
    for (size_t i = 0, done = 0; done < bytes; i++) {
        size_t part = iov[i].iov_len < bytes - done ? iov[i].iov_len : bytes - done;
        pipe_get(pipe, from, iov[i].iov_base, part);
        from += part;
        done += part;
    }
    if ((flags & MSG_PEEK) == 0)
        pipe->read = from;
    if ((flags & MSG_PEEK) == 0 && sock->type == SOCK_SEQPACKET)
        packet_done(pipe);
    return (int64_t)bytes;
}

/*
 * How many of `bytes` a link lets pass before what was chosen for it: a reset of both ends, their
 * kernels' giving up, or silence.
 */
static size_t passing(const struct sim_pipe *pipe, size_t bytes)
{
    uint64_t place = pipe->reset_at < pipe->timeout_at ? pipe->reset_at : pipe->timeout_at;
    place = place < pipe->vanish_at ? place : pipe->vanish_at;
    uint64_t left = place > pipe->written ? place - pipe->written : 0;
    return left < bytes ? (size_t)left : bytes;
}

static void strike(struct plx__sim_world *world, struct sim_sock *sock)
{
    const struct sim_pipe *pipe = &sock->peer->in;
    uint64_t at = pipe->written;
    if (at >= pipe->vanish_at) {
        sock->silent = true;
        sock->peer->silent = true;
        return;
    }
    int error = at >= pipe->reset_at ? ECONNRESET : ETIMEDOUT;
    if (at < pipe->reset_at && at < pipe->timeout_at)
        return;
    send_reset(world, sock->peer, error);
    send_reset(world, sock, error);
}

/* Puts `bytes` onto the link. */
static void transmit(struct plx__sim_world *world, struct sim_sock *sock, const struct iovec *iov,
                     size_t bytes)
{
    struct sim_pipe *pipe = &sock->peer->in;
    size_t passes = passing(pipe, bytes);
    size_t done = 0;
    for (size_t i = 0; done < passes; i++) {
        size_t part = iov[i].iov_len < passes - done ? iov[i].iov_len : passes - done;
        pipe_put(pipe, iov[i].iov_base, part);
        done += part;
    }
    if (done != 0)
        pipe_mark(pipe, arrival(world, sock->peer));
    strike(world, sock);
    sock->swallowed += bytes - passes;
}

/* Whether what is sent goes nowhere. */
static bool is_cut_off(const struct sim_sock *sock)
{
    return sock->silent || sock->peer == NULL || sock->peer->in.reset_ns != PLX__SIM_NEVER;
}

/* What the buffers on the way take; what was swallowed is never acknowledged. */
static size_t room_of(const struct sim_sock *sock)
{
    if (is_cut_off(sock))
        return sock->swallowed < SIM_PIPE_BYTES ? (size_t)(SIM_PIPE_BYTES - sock->swallowed) : 0;
    const struct sim_pipe *pipe = &sock->peer->in;
    return pipe->capacity - (size_t)(pipe->written - pipe->read);
}

int64_t plx__sim_send(struct plx__sim_world *world, struct sim_sock *sock, const struct iovec *iov,
                      size_t count)
{
    if (sock->state == SIM_SOCK_CONNECTING)
        return SIM_WOULD_WAIT;
    if (sock->state != SIM_SOCK_CONNECTED)
        return -EPIPE;
    if (reset_has_come(world, sock))
        return tell_reset(sock, -EPIPE);
    if (sock->shut_write)
        return -EPIPE;
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++)
        bytes += iov[i].iov_len;
    if (bytes == 0)
        return 0;
    if (sock->is_local && sock->peer == NULL)
        return -EPIPE;
    size_t room = room_of(sock);
    bool packets = sock->type == SOCK_SEQPACKET && sock->peer != NULL;
    if (room == 0 || (packets && (room < bytes || sock->peer->in.mark_count == SIM_MARKS)))
        return SIM_WOULD_WAIT;
    if (sim_chance(world, PLX__SIM_SEND_NOBUFS))
        return -ENOBUFS;
    bytes = bytes < room ? bytes : room;
    if (!packets)
        bytes = sim_cut(world, PLX__SIM_SEND_LESS, bytes);
    if (!is_cut_off(sock)) {
        transmit(world, sock, iov, bytes);
        return (int64_t)bytes;
    }
    sock->swallowed += bytes;
    if (!sock->silent)
        send_reset(world, sock, ECONNRESET);
    return (int64_t)bytes;
}

int plx__sim_shutdown(struct plx__sim_world *world, struct sim_sock *sock, int how)
{
    if (how != SHUT_RD && how != SHUT_WR && how != SHUT_RDWR)
        return -EINVAL;
    if (sock->state != SIM_SOCK_CONNECTED || sock->in.reset_told)
        return -ENOTCONN;
    if (how == SHUT_RD || how == SHUT_RDWR)
        sock->shut_read = true;
    if (how == SHUT_RD || sock->shut_write)
        return 0;
    sock->shut_write = true;
    if (!is_cut_off(sock))
        sock->peer->in.fin_ns = arrival(world, sock->peer);
    return 0;
}

uint32_t plx__sim_poll_bits(struct plx__sim_world *world, struct sim_sock *sock)
{
    uint32_t bits = 0;
    size_t there = 0;
    if (sock->state == SIM_SOCK_LISTENING)
        return sock->queue_count != 0 && sock->queue[0]->up_ns <= world->now_ns ? POLLIN : 0;
    bool ready = plx__sim_readable(world, sock, &there);
    if (sock->is_pipe) {
        bits = there != 0 ? POLLIN : 0;
        if (sock->peer == NULL)
            return bits | (sock->shut_read ? POLLERR : POLLHUP);
        return !sock->shut_write && room_of(sock) != 0 ? bits | POLLOUT : bits;
    }
    if (ready)
        bits |= POLLIN;
    if (sock->state == SIM_SOCK_NEW)
        bits |= POLLHUP;
    if (sock->state != SIM_SOCK_CONNECTED)
        return bits;
    if (sock->shut_write && sock->in.fin_ns <= world->now_ns)
        bits |= POLLHUP;
    if (reset_has_come(world, sock))
        return bits | POLLIN | POLLOUT | POLLERR | POLLHUP;
    return room_of(sock) != 0 ? bits | POLLOUT : bits;
}
