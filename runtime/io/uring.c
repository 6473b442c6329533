/* SPDX-License-Identifier: MIT */
/* The uring backend in motion: entries in, completions out, cancels. Set-up is in uring_setup.c. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "runtime/io/enter_internal.h"
#include "runtime/io/uring_internal.h"

/*
 * The kernel's ring words are plain `unsigned` to liburing; they are shared with another core under
 * SQPOLL, so they are touched as atomics.
 */
static inline _Atomic(unsigned) *shared(unsigned *word)
{
    return (_Atomic(unsigned) *)word;
}

static inline struct uring *uring_of(struct plx__io *io)
{
    return PLX_CONTAINER(io, struct uring, io);
}

int plx__uring_enter(struct uring *u, unsigned to_submit, unsigned min_complete, unsigned flags)
{
    if (u->enter_registered)
        flags |= IORING_ENTER_REGISTERED_RING;
    int rc;
    do {
        u->io.kernel_entries++;
        rc = plx__enter(u->ring.enter_ring_fd, to_submit, min_complete, flags);
    } while (rc == -EINTR);
    return rc;
}

/* --- entries in ------------------------------------------------------------------------------- */

/* An empty entry if more than `reserve` are free, else NULL. */
static inline struct io_uring_sqe *take_sqe(struct uring *u, unsigned reserve)
{
    if (PLX_UNLIKELY(u->sq_tail - u->sq_head_seen + reserve >= u->sq_entries)) {
        /* Acquire: pairs with the kernel's release of its head; the entry is read, so reusable. */
        u->sq_head_seen = plx_load_acquire(shared(u->ring.sq.khead));
        if (u->sq_tail - u->sq_head_seen + reserve >= u->sq_entries)
            return NULL;
    }
    struct io_uring_sqe *sqe = &u->ring.sq.sqes[u->sq_tail & u->sq_mask];
    u->sq_tail++;
    memset(sqe, 0, sizeof(*sqe));
    return sqe;
}

/*
 * While the kernel has an op, its result holds two numbers of ours: where in the track it is,
 * below, and the buffer that was chosen for it, above.
 */
PLX_STATIC_ASSERT(URING_TRACK_MAX <= 1u << 16, "a track's slot is the lower half");
PLX_STATIC_ASSERT(PLX_GROUP_BUFFERS_MAX <= 1u << 15, "a buffer's id is the upper half");

static inline void keep_slot(struct plx_op *op, uint32_t slot)
{
    op->result = (int32_t)(((uint32_t)op->result & 0xffff0000u) | slot);
}

static inline uint32_t kept_slot(const struct plx_op *op)
{
    return (uint32_t)op->result & 0xffffu;
}

static inline void keep_buffer(struct plx_op *op, uint16_t id)
{
    op->result = (int32_t)(((uint32_t)op->result & 0xffffu) | (uint32_t)id << 16);
}

static inline uint16_t kept_buffer(const struct plx_op *op)
{
    return (uint16_t)((uint32_t)op->result >> 16);
}

static inline bool takes_from_group(const struct plx_op *op)
{
    return op->code == PLX_OP_RECV_GROUP || op->code == PLX_OP_READ_GROUP;
}

/* Lets the kernel choose the buffer, or, where it has no buffer rings, chooses one for this op. */
static void fill_group(struct uring *u, struct plx_op *op, struct io_uring_sqe *sqe)
{
    struct plx__group *group = &u->io.groups[op->index];
    if (group->ring != NULL) {
        sqe->flags |= IOSQE_BUFFER_SELECT;
        sqe->buf_group = op->index;
        return;
    }
    uint16_t id = group->free_ids[--group->free_count];
    keep_buffer(op, id);
    sqe->addr = (uintptr_t)group->blocks[id];
}

static void fill_recv_group(struct uring *u, struct plx_op *op, struct io_uring_sqe *sqe)
{
    sqe->opcode = IORING_OP_RECV;
    fill_group(u, op, sqe);
    if ((op->flags & PLX_MULTISHOT) != 0 && (u->io.caps & PLX_CAP_MULTISHOT_RECV) != 0)
        sqe->ioprio = IORING_RECV_MULTISHOT;
    else
        sqe->len = u->io.groups[op->index].bytes;
}

/* A buffer in the registered arena is named by its chunk, which spares pinning its pages. */
static inline void fill_transfer(const struct uring *u, const struct plx_op *op,
                                 struct io_uring_sqe *sqe, uint8_t plain, uint8_t fixed)
{
    sqe->opcode = plain;
    sqe->off = op->aux.offset;
    int32_t chunk = op->len != 0 ? plx__uring_chunk(u->fixed_bytes,
                                                    (uintptr_t)op->mem.buf - u->fixed_base, op->len)
                                 : -1;
    if (chunk >= 0) {
        sqe->opcode = fixed;
        sqe->buf_index = (uint16_t)chunk;
    }
}

static void fill_file_sqe(struct uring *u, struct plx_op *op, struct io_uring_sqe *sqe)
{
    switch (op->code) {
    case PLX_OP_READ:
        fill_transfer(u, op, sqe, IORING_OP_READ, IORING_OP_READ_FIXED);
        break;
    case PLX_OP_WRITE:
        fill_transfer(u, op, sqe, IORING_OP_WRITE, IORING_OP_WRITE_FIXED);
        break;
    case PLX_OP_READV:
        sqe->opcode = IORING_OP_READV;
        sqe->off = op->aux.offset;
        break;
    case PLX_OP_WRITEV:
        sqe->opcode = IORING_OP_WRITEV;
        sqe->off = op->aux.offset;
        break;
    case PLX_OP_READ_GROUP:
        sqe->opcode = IORING_OP_READ;
        sqe->off = op->aux.offset;
        fill_group(u, op, sqe);
        break;
    case PLX_OP_FSYNC:
        sqe->opcode = IORING_OP_FSYNC;
        sqe->fsync_flags = op->arg != 0 ? IORING_FSYNC_DATASYNC : 0;
        break;
    case PLX_OP_FALLOCATE:
        sqe->opcode = IORING_OP_FALLOCATE;
        sqe->off = op->aux.offset;
        sqe->addr = op->mem.bytes;
        sqe->len = op->arg;
        break;
    case PLX_OP_OPENAT:
        sqe->opcode = IORING_OP_OPENAT;
        sqe->open_flags = op->arg | O_CLOEXEC;
        break;
    case PLX_OP_STATX:
        sqe->opcode = IORING_OP_STATX;
        sqe->off = (uintptr_t)op->aux.ptr;
        sqe->statx_flags = op->arg;
        break;
    default:
        sqe->opcode = IORING_OP_NOP;
        break;
    }
}

static void fill_sqe(struct uring *u, struct plx_op *op, struct io_uring_sqe *sqe)
{
    sqe->fd = op->fd;
    sqe->addr = (uintptr_t)op->mem.buf;
    sqe->len = op->len;
    sqe->user_data = (uintptr_t)op;
    switch (op->code) {
    case PLX_OP_RECV:
        sqe->opcode = IORING_OP_RECV;
        sqe->msg_flags = op->arg;
        break;
    case PLX_OP_RECVMSG:
        sqe->opcode = IORING_OP_RECVMSG;
        sqe->msg_flags = op->arg;
        break;
    case PLX_OP_SENDMSG:
        sqe->opcode = IORING_OP_SENDMSG;
        sqe->msg_flags = op->arg | MSG_NOSIGNAL;
        break;
    case PLX_OP_SHUTDOWN:
        sqe->opcode = IORING_OP_SHUTDOWN;
        sqe->len = op->arg;
        break;
    case PLX_OP_RECV_GROUP:
        fill_recv_group(u, op, sqe);
        break;
    case PLX_OP_SEND:
        sqe->opcode = IORING_OP_SEND;
        sqe->msg_flags = op->arg | MSG_NOSIGNAL;
        break;
    case PLX_OP_ACCEPT:
        sqe->opcode = IORING_OP_ACCEPT;
        sqe->accept_flags = op->arg;
        if ((op->flags & PLX_MULTISHOT) != 0 && (u->io.caps & PLX_CAP_MULTISHOT_ACCEPT) != 0)
            sqe->ioprio = IORING_ACCEPT_MULTISHOT;
        break;
    case PLX_OP_CONNECT:
        sqe->opcode = IORING_OP_CONNECT;
        sqe->off = op->index;
        break;
    case PLX_OP_POLL:
        sqe->opcode = IORING_OP_POLL_ADD;
        sqe->poll32_events = op->arg;
        break;
    case PLX_OP_CLOSE:
        sqe->opcode = IORING_OP_CLOSE;
        break;
    default:
        fill_file_sqe(u, op, sqe);
        break;
    }
}

static int uring_submit(struct plx__io *io, struct plx_op *op)
{
    struct uring *u = uring_of(io);
    /* The plain call takes no MSG_ bits: a send with some goes by the ring. */
    if (op->code == PLX_OP_SEND && (op->flags & PLX_INLINE) != 0 && op->arg == 0) {
        int64_t taken = io->ops->send_now(io, op->fd, op->mem.data, op->len);
        if (taken != -EAGAIN) {
            plx__io_end(io, op, (int32_t)taken);
            return 0;
        }
    }
    if (takes_from_group(op)) {
        PLX_ASSERT(op->index < PLX_GROUPS_MAX);
        struct plx__group *group = &io->groups[op->index];
        PLX_ASSERT(group->count != 0);
        if (op->code == PLX_OP_READ_GROUP && op->len > group->bytes)
            return -EINVAL;
        if (group->ring == NULL && group->free_count == 0) {
            plx__io_end(io, op, -ENOBUFS);
            return 0;
        }
    }
    if (u->track != NULL && u->track_count == URING_TRACK_MAX)
        return -EAGAIN;

    struct io_uring_sqe *sqe = take_sqe(u, URING_RESERVE);
    if (PLX_UNLIKELY(sqe == NULL))
        return -EAGAIN;
    fill_sqe(u, op, sqe);
    plx__op_set_state(op, PLX_OP_SUBMITTED);
    if (PLX_UNLIKELY(u->track != NULL)) {
        keep_slot(op, u->track_count);
        u->track[u->track_count++] = op;
    }
    return 0;
}

static bool write_cancel(struct uring *u, struct plx_op *op)
{
    struct io_uring_sqe *sqe = take_sqe(u, 0);
    if (sqe == NULL)
        return false;
    sqe->opcode = IORING_OP_ASYNC_CANCEL;
    sqe->fd = -1;
    sqe->addr = (uintptr_t)op;
    sqe->user_data = URING_TAG_INTERNAL;
    return true;
}

/*
 * No generation is needed in user_data: entries are taken in order, so a cancel written before the
 * op is submitted anew finds the old one or nothing.
 */
static void uring_cancel(struct plx__io *io, struct plx_op *op)
{
    struct uring *u = uring_of(io);
    if (PLX_LIKELY(write_cancel(u, op)))
        return;
    op->state |= PLX__OP_CANCEL_LATE;
    op->link = u->late;
    u->late = op;
}

static void write_late_cancels(struct uring *u)
{
    while (u->late != NULL && write_cancel(u, u->late)) {
        struct plx_op *op = u->late;
        u->late = op->link;
        op->state &= (uint8_t)~PLX__OP_CANCEL_LATE;
    }
}

static void forget_late_cancel(struct uring *u, struct plx_op *op)
{
    struct plx_op **at = &u->late;
    while (*at != op)
        at = &(*at)->link;
    *at = op->link;
    op->state &= (uint8_t)~PLX__OP_CANCEL_LATE;
}

static void uring_cancel_all(struct plx__io *io)
{
    struct uring *u = uring_of(io);
    if ((io->caps & PLX_CAP_CANCEL_ANY) != 0) {
        struct io_uring_sqe *sqe = take_sqe(u, 0);
        if (sqe == NULL)
            return;
        sqe->opcode = IORING_OP_ASYNC_CANCEL;
        sqe->fd = -1;
        sqe->cancel_flags = IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL;
        sqe->user_data = URING_TAG_INTERNAL;
        return;
    }
    for (uint32_t i = 0; i < u->track_count; i++) {
        if (!write_cancel(u, u->track[i]))
            return;
    }
}

/*
 * Shows the kernel the entries. Under SQPOLL the exchange is the release that the SQ thread's
 * acquire of the tail pairs with, and a full barrier between the tail's store and the load of its
 * flags: without it both sides could see the other's old value, and the thread would sleep on
 * entries unseen.
 */
static uint32_t uring_flush(struct plx__io *io)
{
    struct uring *u = uring_of(io);
    if (PLX_UNLIKELY(u->late != NULL))
        write_late_cancels(u);

    unsigned count = u->sq_tail - u->sq_shown;
    if (u->sqpoll) {
        if (count == 0)
            return 0;
        (void)plx_exchange_seq_cst(shared(u->ring.sq.ktail), u->sq_tail);
        u->sq_shown = u->sq_tail;
        unsigned flags = plx_load_relaxed(shared(u->ring.sq.kflags));
        if (PLX_UNLIKELY((flags & IORING_SQ_NEED_WAKEUP) != 0))
            (void)plx__uring_enter(u, count, 0, IORING_ENTER_SQ_WAKEUP);
        return count;
    }

    if (count != 0) {
        /* Release: the kernel reads entries behind an acquire of the tail. */
        plx_store_release(shared(u->ring.sq.ktail), u->sq_tail);
        u->sq_shown = u->sq_tail;
    }
    /*
     * Relaxed: the kernel moves this head only inside our own enter. What an enter leaves (it stops
     * at an entry that it refuses, or is short of memory) is tried again, at the latest in the next
     * turn.
     */
    unsigned waiting = u->sq_tail - plx_load_relaxed(shared(u->ring.sq.khead));
    while (waiting != 0) {
        unsigned flags = plx_load_relaxed(shared(u->ring.sq.kflags));
        flags = (flags & IORING_SQ_TASKRUN) != 0 ? IORING_ENTER_GETEVENTS : 0;
        int taken = plx__uring_enter(u, waiting, 0, flags);
        if (taken <= 0)
            break;
        waiting = u->sq_tail - plx_load_relaxed(shared(u->ring.sq.khead));
    }
    return count;
}

/* --- completions out -------------------------------------------------------------------------- */

static void collect_buffer(struct uring *u, const struct io_uring_cqe *cqe, struct plx_op *op,
                           struct plx_event *event)
{
    struct plx__group *group = &u->io.groups[op->index];
    uint16_t id;
    if (group->ring == NULL)
        id = kept_buffer(op);
    else if ((cqe->flags & IORING_CQE_F_BUFFER) != 0)
        id = (uint16_t)(cqe->flags >> IORING_CQE_BUFFER_SHIFT);
    else
        return;

    void *data = plx__group_lend(group, id);
    if (cqe->res > 0) {
        event->flags |= PLX_EV_BUFFER;
        event->buffer_id = id;
        event->data = data;
    } else {
        plx__io_group_release(&u->io, op->index, id);
    }
}

static void untrack(struct uring *u, struct plx_op *op)
{
    uint32_t slot = kept_slot(op);
    struct plx_op *last = u->track[--u->track_count];
    u->track[slot] = last;
    keep_slot(last, slot);
}

static inline void collect_one(struct uring *u, const struct io_uring_cqe *cqe,
                               struct plx__completion *out)
{
    struct plx_op *op = (struct plx_op *)(uintptr_t)cqe->user_data;
    *out = (struct plx__completion){.op = op, .event = {.result = cqe->res}};
    if (takes_from_group(op))
        collect_buffer(u, cqe, op, &out->event);
    if ((cqe->flags & IORING_CQE_F_MORE) != 0) {
        out->event.flags |= PLX_EV_MORE;
        return;
    }
    if (PLX_UNLIKELY((op->state & PLX__OP_CANCEL_LATE) != 0))
        forget_late_cancel(u, op);
    if (PLX_UNLIKELY(u->track != NULL))
        untrack(u, op);
    plx__op_set_state(op, PLX_OP_ENDING);
}

static uint32_t uring_collect(struct plx__io *io, struct plx__completion *out, uint32_t max)
{
    struct uring *u = uring_of(io);
    uint32_t count = 0;
    /* Inline sends must not starve the ring, so it keeps a quarter. */
    if (io->ended_first != NULL)
        count = plx__io_collect_ended(io, out, max - max / 4);

    /*
     * Relaxed: a hint that entering is worth it (completions wait for this thread, or overflowed).
     * Seen a turn late it is still set.
     */
    unsigned flags = plx_load_relaxed(shared(u->ring.sq.kflags));
    if (PLX_UNLIKELY((flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0))
        (void)plx__uring_enter(u, 0, 0, IORING_ENTER_GETEVENTS);

    unsigned *khead = u->ring.cq.khead;
    unsigned mask = *u->ring.cq.kring_mask;
    unsigned head = *khead;
    /* Acquire: pairs with the kernel's release of the tail; the entries before it are written. */
    unsigned tail = plx_load_acquire(shared(u->ring.cq.ktail));
    if (head == tail)
        return count;

    for (; head != tail && count < max; head++) {
        const struct io_uring_cqe *cqe = &u->ring.cq.cqes[head & mask];
        if (PLX_LIKELY((cqe->user_data & URING_TAG_MASK) == 0))
            collect_one(u, cqe, &out[count++]);
    }
    /* Release: our reads of the entries come before the kernel writes there again. */
    plx_store_release(shared(khead), head);
    return count;
}

static void uring_group_release(struct plx__io *io, uint16_t index, uint16_t buffer_id)
{
    struct plx__group *group = &io->groups[index];
    if (group->ring == NULL) {
        group->free_ids[group->free_count++] = buffer_id;
        return;
    }
    io_uring_buf_ring_add(group->ring, group->blocks[buffer_id], group->bytes, buffer_id,
                          io_uring_buf_ring_mask(group->count), 0);
    io_uring_buf_ring_advance(group->ring, 1);
}

const struct plx__io_ops plx__uring_ops = {
    .name = "uring",
    .submit = uring_submit,
    .cancel = uring_cancel,
    .collect = uring_collect,
    .flush = uring_flush,
    .cancel_all = uring_cancel_all,
    .group_open = plx__uring_group_open,
    .group_release = uring_group_release,
    .recv_now = plx__kernel_recv_now,
    .send_now = plx__kernel_send_now,
    .clock_ns = plx__kernel_clock_ns,
    .close = plx__uring_close,
};
