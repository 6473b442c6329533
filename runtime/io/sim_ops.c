/* SPDX-License-Identifier: MIT */
/* What the simulated kernel does with each op. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>

#include "runtime/io/sim_ops_internal.h"

/* Events of a multishot in one go. */
#define SHOTS_MAX 16u

/* --- sums ------------------------------------------------------------------------------------- */

uint64_t plx__sim_sum(const void *data, size_t bytes, uint64_t sum)
{
    const uint8_t *at = data;
    for (; bytes >= 8; at += 8, bytes -= 8) {
        uint64_t word;
        memcpy(&word, at, sizeof(word));
        sum = (sum ^ word) * 0x9e3779b97f4a7c15u;
        sum ^= sum >> 29;
    }
    for (; bytes > 0; at++, bytes--)
        sum = (sum ^ *at) * 0x100000001b3u;
    return sum;
}

static uint64_t sum_parts(const struct iovec *iov, size_t count)
{
    uint64_t sum = count;
    for (size_t i = 0; i < count; i++)
        sum = plx__sim_sum(iov[i].iov_base, iov[i].iov_len, sum);
    return sum;
}

uint64_t plx__sim_sum_memory(const struct plx_op *op)
{
    switch (op->code) {
    case PLX_OP_WRITE:
    case PLX_OP_SEND:
        return plx__sim_sum(op->mem.data, op->len, 1);
    case PLX_OP_WRITEV:
        return sum_parts(op->mem.iov, op->len);
    case PLX_OP_SENDMSG:
        return sum_parts(op->mem.msg->msg_iov, op->mem.msg->msg_iovlen);
    default:
        return 0;
    }
}

/* --- one attempt ------------------------------------------------------------------------------ */

static bool is_of_file(const struct plx_op *op)
{
    switch (op->code) {
    case PLX_OP_READ:
    case PLX_OP_WRITE:
    case PLX_OP_READV:
    case PLX_OP_WRITEV:
    case PLX_OP_READ_GROUP:
    case PLX_OP_FSYNC:
    case PLX_OP_FALLOCATE:
    case PLX_OP_OPENAT:
    case PLX_OP_STATX:
        return true;
    default:
        return false;
    }
}

/* A pipe knows no offset, and waits. */
static int64_t try_pipe(struct plx__sim_world *world, struct sim_sock *sock,
                        const struct plx_op *op)
{
    const struct iovec part = {.iov_base = op->mem.buf, .iov_len = op->len};
    bool reads = op->code == PLX_OP_READ || op->code == PLX_OP_READV;
    bool vector = op->code == PLX_OP_READV || op->code == PLX_OP_WRITEV;
    if (op->code == PLX_OP_FALLOCATE)
        return -ESPIPE;
    if ((!reads && op->code != PLX_OP_WRITE && op->code != PLX_OP_WRITEV) ||
        (vector && op->len > PLX_IOV_MAX))
        return -EINVAL;
    const struct iovec *iov = vector ? op->mem.iov : &part;
    size_t count = vector ? op->len : 1;
    if (reads ? sock->shut_read : sock->shut_write)
        return -EBADF;
    return reads ? plx__sim_recv(world, sock, iov, count, 0)
                 : plx__sim_send(world, sock, iov, count);
}

static int64_t try_file(struct plx__sim_world *world, const struct plx_op *op)
{
    if (op->code == PLX_OP_OPENAT)
        return plx__sim_openat(world, op->fd, op->mem.path, op->arg | O_CLOEXEC);
    if (op->code == PLX_OP_STATX)
        return plx__sim_statx(world, op);
    struct sim_desc *desc = plx__sim_desc(world, op->fd);
    if (desc == NULL)
        return -EBADF;
    if (desc->kind == SIM_PIPE)
        return try_pipe(world, desc->sock, op);
    if (desc->kind != SIM_FILE) {
        plx__sim_broken(world, "a file's op (code %u) on socket %d", op->code, op->fd);
        return -EINVAL;
    }
    const struct iovec part = {.iov_base = op->mem.buf, .iov_len = op->len};
    switch (op->code) {
    case PLX_OP_READ:
        return plx__sim_read(world, desc, &part, 1, op->aux.offset);
    case PLX_OP_WRITE:
        return plx__sim_write(world, desc, &part, 1, op->aux.offset);
    case PLX_OP_READV:
        return op->len > PLX_IOV_MAX
                   ? -EINVAL
                   : plx__sim_read(world, desc, op->mem.iov, op->len, op->aux.offset);
    case PLX_OP_WRITEV:
        return op->len > PLX_IOV_MAX
                   ? -EINVAL
                   : plx__sim_write(world, desc, op->mem.iov, op->len, op->aux.offset);
    case PLX_OP_FSYNC:
        return plx__sim_fsync(world, desc);
    default:
        return plx__sim_fallocate(world, desc, op->arg, op->aux.offset, op->mem.bytes);
    }
}

static int try_poll(struct plx__sim_world *world, const struct plx_op *op, struct sim_sock *sock)
{
    uint32_t shown = plx__sim_poll_bits(world, sock) & (op->arg | POLLERR | POLLHUP);
    return shown != 0 ? (int)shown : SIM_WOULD_WAIT;
}

static int64_t try_socket(struct plx__sim_world *world, const struct plx_op *op)
{
    struct sim_desc *desc = plx__sim_desc(world, op->fd);
    if (desc == NULL)
        return -EBADF;
    if (desc->kind == SIM_FILE)
        return op->code == PLX_OP_POLL ? (int)(op->arg & (POLLIN | POLLOUT)) : -ENOTSOCK;
    struct sim_sock *sock = desc->sock;
    if (desc->kind == SIM_PIPE)
        return op->code == PLX_OP_POLL ? try_poll(world, op, sock) : -ENOTSOCK;
    const struct iovec part = {.iov_base = op->mem.buf, .iov_len = op->len};
    switch (op->code) {
    case PLX_OP_RECV:
        return plx__sim_recv(world, sock, &part, 1, (int)op->arg);
    case PLX_OP_RECVMSG:
        return plx__sim_recv(world, sock, op->mem.msg->msg_iov, op->mem.msg->msg_iovlen,
                             (int)op->arg);
    case PLX_OP_SEND:
        return plx__sim_send(world, sock, &part, 1);
    case PLX_OP_SENDMSG:
        return plx__sim_send(world, sock, op->mem.msg->msg_iov, op->mem.msg->msg_iovlen);
    case PLX_OP_ACCEPT:
        return plx__sim_accept(world, sock, op->arg);
    case PLX_OP_CONNECT:
        return plx__sim_connect_ask(world, sock);
    case PLX_OP_SHUTDOWN:
        return plx__sim_shutdown(world, sock, (int)op->arg);
    case PLX_OP_POLL:
        return try_poll(world, op, sock);
    default:
        return -EOPNOTSUPP;
    }
}

/* --- buffers of a group ----------------------------------------------------------------------- */

/* Receives or reads into a buffer that is taken only when there is something for it. */
static int64_t try_group(struct sim_backend *b, const struct plx_op *op, struct plx_event *event)
{
    struct plx__sim_world *world = plx__sim_world_of(b);
    struct plx__group *group = &plx__sim_io(b)->groups[op->index];
    struct sim_desc *desc = plx__sim_desc(world, op->fd);
    bool reads = op->code == PLX_OP_READ_GROUP;
    size_t there = 0;
    if (desc == NULL)
        return -EBADF;
    if (reads ? desc->kind == SIM_SOCKET : desc->kind != SIM_SOCKET)
        return reads ? -EINVAL : -ENOTSOCK;
    bool is_file = desc->kind == SIM_FILE;
    if (!is_file && !plx__sim_readable(world, desc->sock, &there))
        return SIM_WOULD_WAIT;
    /* An end or an error needs no buffer. */
    if (!is_file && there == 0)
        return plx__sim_recv(world, desc->sock, NULL, 0, 0);
    if (group->free_count == 0 || sim_chance(world, PLX__SIM_GROUP_DRY))
        return -ENOBUFS;
    uint16_t id = group->free_ids[group->free_count - 1];
    const struct iovec part = {.iov_base = group->blocks[id],
                               .iov_len = reads ? op->len : group->bytes};
    int64_t got = is_file ? plx__sim_read(world, desc, &part, 1, op->aux.offset)
                          : plx__sim_recv(world, desc->sock, &part, 1, 0);
    if (got > 0) {
        group->free_count--;
        event->flags |= PLX_EV_BUFFER;
        event->buffer_id = id;
    }
    return got;
}

static int64_t attempt(struct sim_backend *b, const struct plx_op *op, struct plx_event *event)
{
    struct plx__sim_world *world = plx__sim_world_of(b);
    switch (op->code) {
    case PLX_OP_NOP:
        return 0;
    case PLX_OP_CLOSE:
        return plx__sim_desc_close(world, op->fd);
    case PLX_OP_RECV_GROUP:
    case PLX_OP_READ_GROUP:
        return try_group(b, op, event);
    default:
        return is_of_file(op) ? try_file(world, op) : try_socket(world, op);
    }
}

/* --- beginning and trying --------------------------------------------------------------------- */

static bool is_interrupted(struct plx__sim_world *world, const struct plx_op *op)
{
    switch (op->code) {
    case PLX_OP_NOP:
    case PLX_OP_CLOSE:
    case PLX_OP_POLL:
    case PLX_OP_SHUTDOWN:
        return false;
    case PLX_OP_CONNECT:
        return sim_chance(world, PLX__SIM_CONNECT_INTERRUPT);
    default:
        return sim_chance(world, PLX__SIM_INTERRUPT);
    }
}

void plx__sim_begin(struct sim_backend *b, struct sim_slot *slot)
{
    struct plx__sim_world *world = plx__sim_world_of(b);
    struct plx_op *op = slot->op;
    struct plx_event event = {0};
    slot->begin_ns = world->now_ns;
    if (is_of_file(op))
        slot->begin_ns += sim_choose(world, PLX__SIM_BEGIN_NS, 50000000u);
    if (is_interrupted(world, op)) {
        event.result = -EINTR;
        plx__sim_complete(b, slot, &event, PLX__SIM_COMPLETE_NS);
        return;
    }
    if (op->code != PLX_OP_CONNECT)
        return;
    const struct sim_desc *desc = plx__sim_desc(world, op->fd);
    event.result = desc == NULL ? -EBADF : -ENOTSOCK;
    if (desc != NULL && desc->kind == SIM_SOCKET)
        event.result = plx__sim_connect_begin(world, desc->sock, op->mem.addr, op->index);
    if (event.result != 0)
        plx__sim_complete(b, slot, &event, PLX__SIM_COMPLETE_NS);
}

/* Several events: told first what became of it, then that the memory is free. */
static void complete_zero_copy(struct sim_backend *b, struct sim_slot *slot,
                               const struct plx_event *event)
{
    struct plx_event part = *event;
    if (event->result < 0 || sim_chance(plx__sim_world_of(b), PLX__SIM_RELEASE_COPIED)) {
        part.flags |= PLX_EV_RELEASED;
        plx__sim_complete(b, slot, &part, PLX__SIM_COMPLETE_NS);
        return;
    }
    part.flags |= PLX_EV_MORE;
    plx__sim_complete(b, slot, &part, PLX__SIM_COMPLETE_NS);
    slot->was_sent = true;
}

/* Whether another event of a multishot may follow this one. */
static bool goes_on(struct sim_backend *b, const struct plx_op *op, int64_t result)
{
    bool more = op->code == PLX_OP_ACCEPT ? result >= 0 : result > 0;
    return more && (op->flags & PLX_MULTISHOT) != 0 &&
           !sim_chance(plx__sim_world_of(b), PLX__SIM_MULTISHOT_END);
}

void plx__sim_try(struct sim_backend *b, struct sim_slot *slot)
{
    const struct plx_op *op = slot->op;
    if (is_of_file(op) && slot->begin_ns > plx__sim_world_of(b)->now_ns)
        return;
    if (slot->was_sent) {
        const struct plx_event event = {.flags = PLX_EV_RELEASED};
        if (plx__sim_has_room(b))
            plx__sim_complete(b, slot, &event, PLX__SIM_RELEASE_NS);
        return;
    }
    for (uint32_t shots = 0; shots < SHOTS_MAX && !slot->has_ended; shots++) {
        struct plx_event event = {0};
        if (!plx__sim_has_room(b))
            return;
        int64_t result = attempt(b, op, &event);
        if (result == SIM_WOULD_WAIT)
            return;
        event.result = (int32_t)result;
        if ((op->flags & PLX_ZERO_COPY) != 0) {
            complete_zero_copy(b, slot, &event);
            return;
        }
        if (goes_on(b, op, result))
            event.flags |= PLX_EV_MORE;
        plx__sim_complete(b, slot, &event, PLX__SIM_COMPLETE_NS);
    }
}
