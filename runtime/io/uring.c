/* SPDX-License-Identifier: MIT */
/* The uring backend in motion: entries in, completions out, cancels. Set-up is in uring_setup.c. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

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

/*
 * Entries between the one that is written and the one whose line is fetched: an SQ thread has read
 * it a lap ago, and it is to be back before it is written.
 */
#define AHEAD 4u

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
    plx_prefetch_write(&u->ring.sq.sqes[(u->sq_tail + AHEAD) & u->sq_mask]);
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

/* A bit for each code whose ops get their buffer from a group. */
#define GROUP_CODES (1u << PLX_OP_READ_GROUP | 1u << PLX_OP_RECV_GROUP | 1u << PLX_OP_RECVMSG_GROUP)
PLX_STATIC_ASSERT(PLX_OP_CODE_COUNT <= 32, "a bit for each code");

static inline bool takes_from_group(const struct plx_op *op)
{
    return (GROUP_CODES >> op->code & 1u) != 0;
}

/*
 * What becomes of an op. Descriptor, offset, address, length, argument and flags go over as they
 * are: the kernel has one place for the flags of all opcodes, and what an op does not use is zero.
 */
struct recipe {
    uint8_t opcode;
    bool takes_file; /* may name its descriptor as a registered one */
    uint16_t more;   /* the flags with which fill_more has a say; ALWAYS: on each */
    uint32_t arg;    /* always added to the op's */
};

#define ALWAYS 0x8000u

PLX_STATIC_ASSERT(PLX_FSYNC_DATA == IORING_FSYNC_DATASYNC, "an op's argument is the entry's");
PLX_STATIC_ASSERT(offsetof(struct io_uring_sqe, msg_flags) ==
                          offsetof(struct io_uring_sqe, fsync_flags) &&
                      offsetof(struct io_uring_sqe, msg_flags) ==
                          offsetof(struct io_uring_sqe, statx_flags),
                  "one place for the flags of all opcodes");

static const struct recipe recipes[PLX_OP_CODE_COUNT] = {
    [PLX_OP_NOP] = {IORING_OP_NOP, false, 0, 0},
    [PLX_OP_READ] = {IORING_OP_READ, true, ALWAYS, 0},
    [PLX_OP_WRITE] = {IORING_OP_WRITE, true, ALWAYS, 0},
    [PLX_OP_READV] = {IORING_OP_READV, true, 0, 0},
    [PLX_OP_WRITEV] = {IORING_OP_WRITEV, true, 0, 0},
    [PLX_OP_READ_GROUP] = {IORING_OP_READ, true, ALWAYS, 0},
    [PLX_OP_FSYNC] = {IORING_OP_FSYNC, true, 0, 0},
    [PLX_OP_FALLOCATE] = {IORING_OP_FALLOCATE, true, ALWAYS, 0},
    [PLX_OP_OPENAT] = {IORING_OP_OPENAT, false, 0, O_CLOEXEC},
    [PLX_OP_STATX] = {IORING_OP_STATX, false, 0, 0},
    [PLX_OP_RECV] = {IORING_OP_RECV, true, 0, 0},
    [PLX_OP_RECV_GROUP] = {IORING_OP_RECV, true, ALWAYS, 0},
    [PLX_OP_RECVMSG] = {IORING_OP_RECVMSG, true, 0, 0},
    [PLX_OP_RECVMSG_GROUP] = {IORING_OP_RECVMSG, true, ALWAYS, 0},
    [PLX_OP_SEND] = {IORING_OP_SEND, true, PLX_ZERO_COPY, MSG_NOSIGNAL},
    [PLX_OP_SENDMSG] = {IORING_OP_SENDMSG, true, PLX_ZERO_COPY, MSG_NOSIGNAL},
    [PLX_OP_ACCEPT] = {IORING_OP_ACCEPT, true, PLX_MULTISHOT, 0},
    [PLX_OP_CONNECT] = {IORING_OP_CONNECT, true, ALWAYS, 0},
    [PLX_OP_SHUTDOWN] = {IORING_OP_SHUTDOWN, true, ALWAYS, 0},
    [PLX_OP_POLL] = {IORING_OP_POLL_ADD, true, 0, 0},
    [PLX_OP_CLOSE] = {IORING_OP_CLOSE, false, ALWAYS, 0},
};

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
    if (op->code == PLX_OP_RECVMSG_GROUP)
        sqe->addr = (uintptr_t)plx__uring_message_ask(u, op, id);
    else
        sqe->addr = (uintptr_t)group->blocks[id];
}

static void fill_recv_group(struct uring *u, struct plx_op *op, struct io_uring_sqe *sqe)
{
    fill_group(u, op, sqe);
    if ((op->flags & PLX_MULTISHOT) != 0 && (u->io.caps & PLX_CAP_MULTISHOT_RECV) != 0)
        sqe->ioprio = IORING_RECV_MULTISHOT;
    else
        sqe->len = u->io.groups[op->index].bytes;
}

static void fill_recvmsg_group(struct uring *u, struct plx_op *op, struct io_uring_sqe *sqe)
{
    sqe->len = 1;
    if ((u->io.caps & PLX_CAP_MULTISHOT_RECVMSG) != 0)
        sqe->ioprio = IORING_RECV_MULTISHOT;
    fill_group(u, op, sqe);
}

/* The chunk of the registered arena that holds all of the op's buffer, or -1. */
static inline int32_t chunk_of(const struct uring *u, const struct plx_op *op)
{
    return op->len != 0
               ? plx__uring_chunk(u->fixed_bytes, (uintptr_t)op->mem.buf - u->fixed_base, op->len)
               : -1;
}

/* A buffer in the registered arena is named by its chunk, which spares pinning its pages. */
static inline void fill_transfer(const struct uring *u, const struct plx_op *op,
                                 struct io_uring_sqe *sqe, uint8_t fixed)
{
    int32_t chunk = chunk_of(u, op);
    if (chunk >= 0) {
        sqe->opcode = fixed;
        sqe->buf_index = (uint16_t)chunk;
    }
}

/* Whether this send asks the kernel for zero copy, which it may have refused this op before. */
static inline bool goes_zero_copy(const struct uring *u, const struct plx_op *op)
{
    uint32_t cap = op->code == PLX_OP_SEND ? PLX_CAP_SEND_ZC : PLX_CAP_SENDMSG_ZC;
    return (u->io.caps & cap) != 0 && (op->state & URING_OP_COPIES) == 0;
}

static void fill_zero_copy(const struct uring *u, const struct plx_op *op, struct io_uring_sqe *sqe)
{
    if (!goes_zero_copy(u, op))
        return;
    if (op->code == PLX_OP_SENDMSG) {
        sqe->opcode = IORING_OP_SENDMSG_ZC;
        return;
    }
    sqe->opcode = IORING_OP_SEND_ZC;
    int32_t chunk = chunk_of(u, op);
    if (chunk >= 0) {
        sqe->ioprio = IORING_RECVSEND_FIXED_BUF;
        sqe->buf_index = (uint16_t)chunk;
    }
}

/* What an entry has that is not in the same place of the op. */
static void fill_more(struct uring *u, struct plx_op *op, struct io_uring_sqe *sqe)
{
    switch (op->code) {
    case PLX_OP_READ:
        fill_transfer(u, op, sqe, IORING_OP_READ_FIXED);
        break;
    case PLX_OP_WRITE:
        fill_transfer(u, op, sqe, IORING_OP_WRITE_FIXED);
        break;
    case PLX_OP_READ_GROUP:
        fill_group(u, op, sqe);
        break;
    case PLX_OP_RECV_GROUP:
        fill_recv_group(u, op, sqe);
        break;
    case PLX_OP_RECVMSG_GROUP:
        fill_recvmsg_group(u, op, sqe);
        break;
    case PLX_OP_SEND:
    case PLX_OP_SENDMSG:
        fill_zero_copy(u, op, sqe);
        break;
    case PLX_OP_ACCEPT:
        if ((u->io.caps & PLX_CAP_MULTISHOT_ACCEPT) != 0)
            sqe->ioprio = IORING_ACCEPT_MULTISHOT;
        break;
    case PLX_OP_CONNECT:
        sqe->off = op->index;
        break;
    case PLX_OP_SHUTDOWN:
        sqe->len = op->arg;
        sqe->msg_flags = 0;
        break;
    case PLX_OP_FALLOCATE:
        sqe->addr = op->mem.bytes;
        sqe->len = op->arg;
        sqe->msg_flags = 0;
        break;
    case PLX_OP_CLOSE:
        plx__uring_file_forget(u, op->fd);
        break;
    default:
        break;
    }
}

static inline void fill_sqe(struct uring *u, struct plx_op *op, struct io_uring_sqe *sqe)
{
    const struct recipe *recipe = &recipes[op->code];
    sqe->opcode = recipe->opcode;
    sqe->fd = op->fd;
    sqe->off = op->aux.offset;
    sqe->addr = (uintptr_t)op->mem.buf;
    sqe->len = op->len;
    sqe->msg_flags = op->arg | recipe->arg;
    sqe->user_data = (uintptr_t)op;
    if (PLX_UNLIKELY(u->file_count != 0) && recipe->takes_file && plx__uring_has_file(u, op->fd))
        sqe->flags = IOSQE_FIXED_FILE;
    if ((recipe->more & (op->flags | ALWAYS)) != 0)
        fill_more(u, op, sqe);
}

/* 0: the kernel is to be asked; 1: ended at once; or a negative errno. */
static int check_group_op(struct plx__io *io, struct plx_op *op)
{
    PLX_ASSERT(op->index < PLX_GROUPS_MAX);
    struct plx__group *group = &io->groups[op->index];
    PLX_ASSERT(group->count != 0);
    if (op->code == PLX_OP_READ_GROUP && !plx__read_fits(group, op))
        return -EINVAL;
    if (op->code == PLX_OP_RECVMSG_GROUP && !plx__message_fits(group, op))
        return -EINVAL;
    if (group->ring == NULL && group->free_count == 0) {
        plx__io_end(io, op, -ENOBUFS);
        return 1;
    }
    return 0;
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
        int rc = check_group_op(io, op);
        if (rc != 0)
            return rc < 0 ? rc : 0;
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

static void untrack(struct uring *u, struct plx_op *op)
{
    uint32_t slot = kept_slot(op);
    struct plx_op *last = u->track[--u->track_count];
    u->track[slot] = last;
    keep_slot(last, slot);
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
    /* Not with the kernel now: its turn on the list sees that it is to end. */
    if (PLX_UNLIKELY((op->state & URING_OP_AGAIN) != 0))
        return;
    if (PLX_LIKELY(write_cancel(u, op)))
        return;
    op->state |= PLX__OP_CANCEL_LATE;
    op->link = u->late;
    u->late = op;
}

/* The send that zero copy was refused to, as a plain one; false: no room. */
static bool submit_again(struct uring *u, struct plx_op *op)
{
    if (plx_op_state(op) == PLX_OP_CANCELLING) {
        if (u->track != NULL)
            untrack(u, op);
        plx__io_end(&u->io, op, -ECANCELED);
        return true;
    }
    struct io_uring_sqe *sqe = take_sqe(u, 0);
    if (sqe == NULL)
        return false;
    fill_sqe(u, op, sqe);
    return true;
}

static PLX_COLD void write_late(struct uring *u)
{
    while (u->late != NULL) {
        struct plx_op *op = u->late;
        struct plx_op *next = op->link;
        bool again = (op->state & URING_OP_AGAIN) != 0;
        if (!(again ? submit_again(u, op) : write_cancel(u, op)))
            return;
        op->state &= (uint8_t) ~(PLX__OP_CANCEL_LATE | URING_OP_AGAIN);
        u->late = next;
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
        write_late(u);

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
    if (group->ring == NULL) {
        id = kept_buffer(op);
        if (op->code == PLX_OP_RECVMSG_GROUP && cqe->res >= 0)
            event->result = plx__uring_message_tell(u, op, id, cqe->res);
    } else if ((cqe->flags & IORING_CQE_F_BUFFER) != 0) {
        id = (uint16_t)(cqe->flags >> IORING_CQE_BUFFER_SHIFT);
    } else {
        return;
    }

    void *data = plx__group_lend(group, id);
    if (event->result > 0) {
        event->flags |= PLX_EV_BUFFER;
        event->buffer_id = id;
        event->data = data;
    } else {
        plx__io_group_release(&u->io, op->index, id);
    }
}

/*
 * Sockets that can't (UNIX ones), and memory that may not be locked: nothing was sent, and a plain
 * send may do.
 */
static inline bool refuses_zero_copy(int32_t result)
{
    return result == -EOPNOTSUPP || result == -ENOMEM || result == -ENOBUFS;
}

/*
 * An answer to a send with PLX_ZERO_COPY. False: no event, as it was refused and goes out once more
 * as a plain send, at once or when the notice has come that the kernel has announced nonetheless.
 */
static PLX_COLD bool collect_zero_copy(struct uring *u, const struct io_uring_cqe *cqe,
                                       struct plx_op *op, struct plx_event *event)
{
    bool notice = (cqe->flags & IORING_CQE_F_NOTIF) != 0;
    bool refused = !notice && goes_zero_copy(u, op) && refuses_zero_copy(cqe->res);
    if (notice)
        event->result = 0;
    if (refused)
        op->state |= URING_OP_COPIES;
    else if (!notice || (op->state & URING_OP_COPIES) == 0)
        return true;
    if ((cqe->flags & IORING_CQE_F_MORE) != 0)
        return false;
    if (plx_op_state(op) == PLX_OP_CANCELLING) {
        event->result = -ECANCELED;
        return true;
    }
    op->state |= URING_OP_AGAIN;
    op->link = u->late;
    u->late = op;
    return false;
}

/*
 * How openat ends whose wait in a worker of the kernel was cut off: with the kernel's own codes for
 * "start again", 512 to 516. Nothing but a cancel interrupts such a worker.
 */
static inline bool was_interrupted(int32_t result)
{
    return result <= -512 && result >= -516;
}

/* Returns how many events it is: 1 or, rarely, 0. */
static inline uint32_t collect_one(struct uring *u, const struct io_uring_cqe *cqe,
                                   struct plx__completion *out)
{
    struct plx_op *op = (struct plx_op *)(uintptr_t)cqe->user_data;
    *out = (struct plx__completion){.op = op, .event = {.result = cqe->res}};
    if (PLX_UNLIKELY(was_interrupted(cqe->res)))
        out->event.result = -ECANCELED;
    if (takes_from_group(op))
        collect_buffer(u, cqe, op, &out->event);
    else if (PLX_UNLIKELY((op->flags & PLX_ZERO_COPY) != 0) &&
             !collect_zero_copy(u, cqe, op, &out->event))
        return 0;
    if ((cqe->flags & IORING_CQE_F_MORE) != 0) {
        out->event.flags |= PLX_EV_MORE;
        return 1;
    }
    if (PLX_UNLIKELY((op->state & PLX__OP_CANCEL_LATE) != 0))
        forget_late_cancel(u, op);
    if (PLX_UNLIKELY(u->track != NULL))
        untrack(u, op);
    plx__op_set_state(op, PLX_OP_ENDING);
    return 1;
}

/* An internal entry has ended. */
static PLX_COLD void collect_internal(struct uring *u, const struct io_uring_cqe *cqe)
{
    if (cqe->user_data != URING_TAG_WAKE)
        return;
    u->wake_armed = false;
    plx__wake_quiet(u->io.wake);
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
            count += collect_one(u, cqe, &out[count]);
        else
            collect_internal(u, cqe);
    }
    /* Release: our reads of the entries come before the kernel writes there again. */
    plx_store_release(shared(khead), head);
    return count;
}

/* --- sleeping --------------------------------------------------------------------------------- */

static bool has_ended(const struct uring *u)
{
    /* Relaxed: as in uring_collect, which acquires. */
    unsigned flags = plx_load_relaxed(shared(u->ring.sq.kflags));
    return u->io.ended_first != NULL ||
           (flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0 ||
           plx_load_relaxed(shared(u->ring.cq.ktail)) != *u->ring.cq.khead;
}

/*
 * Whether something waits for a later flush, and no event tells when: for room in the ring, or for
 * the kernel to take what an enter left. Relaxed: as in uring_flush.
 */
static bool is_held_back(const struct uring *u)
{
    return u->late != NULL ||
           (!u->sqpoll && plx_load_relaxed(shared(u->ring.sq.khead)) != u->sq_tail);
}

/* Has the ring poll the eventfd, and shows the kernel all that waits. Whether there is nothing yet.
 */
static bool uring_prepare_wait(struct plx__io *io)
{
    struct uring *u = uring_of(io);
    if (!u->wake_armed) {
        struct io_uring_sqe *sqe = take_sqe(u, 0);
        if (sqe == NULL)
            return false;
        sqe->opcode = IORING_OP_POLL_ADD;
        sqe->fd = io->wake->fd;
        sqe->poll32_events = POLLIN;
        sqe->user_data = URING_TAG_WAKE;
        u->wake_armed = true;
    }
    (void)uring_flush(io);
    return !has_ended(u) && !is_held_back(u);
}

static void uring_wait(struct plx__io *io, uint64_t until_ns)
{
    struct uring *u = uring_of(io);
    if (!uring_prepare_wait(io))
        return;
    uint64_t now = until_ns != UINT64_MAX ? io->ops->clock_ns(io) : 0;
    if (until_ns <= now)
        return;
    struct __kernel_timespec left = {.tv_sec = (long long)((until_ns - now) / 1000000000u),
                                     .tv_nsec = (long long)((until_ns - now) % 1000000000u)};
    struct io_uring_getevents_arg arg = {.sigmask_sz = 8};
    arg.ts = until_ns != UINT64_MAX ? (uintptr_t)&left : 0;
    unsigned flags = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG;
    if (u->enter_registered)
        flags |= IORING_ENTER_REGISTERED_RING;
    io->kernel_entries++;
    /* A timeout and a signal are reasons to look, like any other. */
    (void)syscall(__NR_io_uring_enter, u->ring.enter_ring_fd, 0, 1, flags, &arg, sizeof(arg));
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
    .wait = uring_wait,
    .prepare_wait = uring_prepare_wait,
    .group_open = plx__uring_group_open,
    .group_release = uring_group_release,
    .fd_register = plx__uring_fd_register,
    .fd_unregister = plx__uring_fd_unregister,
    .recv_now = plx__kernel_recv_now,
    .send_now = plx__kernel_send_now,
    .clock_ns = plx__kernel_clock_ns,
    .close = plx__uring_close,
};
