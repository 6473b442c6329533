/* SPDX-License-Identifier: MIT */
/*
 * The operation: one request for I/O, 64 bytes in the caller's memory, and what the caller may do
 * with it.
 *
 * Words. An *op* is prepared (a dozen stores), submitted to the reactor of the calling thread, and
 * ends with exactly one *terminal event*, handed to its callback inside a later turn. A
 * *multishot* op gives several events, all but the terminal one flagged PLX_EV_MORE.
 *
 * Here is what all ops have in common; those on files are in op_file.h, those on sockets in
 * op_socket.h, deadlines for any of them in sched/timed.h.
 *
 * The one rule of lifetime: from a submit that returned 0 until the terminal callback is entered,
 * the op and all that it points to (buffer, iovec, address, path, message, result structure) stay
 * where they are, unchanged, on every backend. When the terminal callback is entered the op is the
 * caller's again: it may be prepared and submitted anew there.
 *
 * The rule of descriptors: one that is named by an op belongs to that reactor until plx_op_close
 * has ended. Sockets take receive and send ops, never read or write (a write to a dead socket
 * raises SIGPIPE). Descriptors for read and write are in blocking mode.
 *
 * The rule of cancelling: a cancel is a request, so an op that was asked to end ends with
 * -ECANCELED or with what it had come to by then; each op says what that may be. What is taken
 * once it has begun (a file's transfer, fsync, openat …) runs to its end.
 *
 * Threads: every function here is for the thread that polls the reactor.
 */
#ifndef POLLUX_OP_H
#define POLLUX_OP_H

#include "alloc/base.h"

PLX_EXTERN_C_BEGIN

struct plx_reactor;
struct plx_op;
struct sockaddr;
struct msghdr;
struct iovec;

/* What an op asks for. */
enum plx_op_code {
    PLX_OP_NONE,
    PLX_OP_NOP,
    PLX_OP_READ,
    PLX_OP_WRITE,
    PLX_OP_READV,
    PLX_OP_WRITEV,
    PLX_OP_READ_GROUP,
    PLX_OP_FSYNC,
    PLX_OP_FALLOCATE,
    PLX_OP_OPENAT,
    PLX_OP_STATX,
    PLX_OP_RECV,
    PLX_OP_RECV_GROUP,
    PLX_OP_RECVMSG,
    PLX_OP_RECVMSG_GROUP,
    PLX_OP_SEND,
    PLX_OP_SENDMSG,
    PLX_OP_ACCEPT,
    PLX_OP_CONNECT,
    PLX_OP_SHUTDOWN,
    PLX_OP_POLL,
    PLX_OP_CLOSE,
    PLX_OP_CODE_COUNT
};

/* Where an op stands: idle -> queued -> submitted -> (cancelling) -> done. */
enum plx_op_state {
    PLX_OP_IDLE,       /* prepared; the caller's */
    PLX_OP_QUEUED,     /* taken by the runtime, not yet shown to the kernel */
    PLX_OP_SUBMITTED,  /* with the kernel */
    PLX_OP_CANCELLING, /* with the kernel, and asked to end */
    PLX_OP_ENDING,     /* ended; its terminal event waits for delivery */
    PLX_OP_DONE        /* the terminal callback was entered; the caller's */
};

/* Flags of an op, chosen by the caller. */
#define PLX_QUEUED    0u        /* by the ring: no system call under SQPOLL, else one a turn */
#define PLX_INLINE    (1u << 0) /* send, no MSG_ bits: tried at once, by the ring if it blocks */
#define PLX_MULTISHOT (1u << 1) /* accept, recv_group, recvmsg_group: stays armed */
#define PLX_FIXED     (1u << 2) /* read, write: the buffer must be a registered one */
#define PLX_ZERO_COPY (1u << 3) /* send, sendmsg: the kernel sends from the caller's memory */

/* Flags of an event. */
#define PLX_EV_MORE      (1u << 0) /* not the last one of this op */
#define PLX_EV_BUFFER    (1u << 1) /* `buffer_id` is lent until plx_group_release or _take */
#define PLX_EV_RELEASED  (1u << 2) /* of a PLX_ZERO_COPY send: its memory is the caller's again */
#define PLX_EV_TIMED_OUT (1u << 3) /* cancelled by its deadline (plx_op_timed) */

struct plx_event {
    int32_t result;     /* >= 0: bytes, a descriptor, poll bits; < 0: negative errno */
    uint16_t flags;     /* PLX_EV_ */
    uint16_t buffer_id; /* with PLX_EV_BUFFER */
    void *data;         /* with PLX_EV_BUFFER: the first of `result` bytes */
};

/* Called inside a turn, never inside submit or cancel. `event` is borrowed until return. */
typedef void (*plx_op_fn)(struct plx_op *op, const struct plx_event *event, void *ctx);

struct plx_op {
    /* The caller's, by the preparing functions; unchanged until the terminal event. */
    plx_op_fn fn;
    void *ctx;
    union {
        void *buf;
        const void *data;
        const struct iovec *iov;
        struct msghdr *msg;
        const struct sockaddr *addr;
        const char *path;
        uint64_t bytes; /* fallocate */
    } mem;
    union {
        uint64_t offset;
        void *ptr;
    } aux;
    int32_t fd;
    uint32_t len;   /* bytes; vectors; statx: mask; openat: mode */
    uint32_t arg;   /* MSG_, SOCK_, O_, AT_, FALLOC_FL_, SHUT_ or poll bits */
    uint16_t flags; /* PLX_INLINE and its like */
    uint16_t index; /* a group; an address' length */
    /* The runtime's, from submit to the terminal event. */
    struct plx_op *link;
    int32_t result;
    uint16_t home; /* index of the reactor that it was submitted to */
    uint8_t code;  /* enum plx_op_code */
    uint8_t state; /* enum plx_op_state in the low bits, private marks above */
};

PLX_STATIC_ASSERT(sizeof(struct plx_op) == 64, "an op is one cache line");
PLX_STATIC_ASSERT(offsetof(struct plx_op, fd) == 32, "layout of plx_op");
PLX_STATIC_ASSERT(offsetof(struct plx_op, link) == 48, "layout of plx_op");
PLX_STATIC_ASSERT(offsetof(struct plx_op, state) == 63, "layout of plx_op");
PLX_STATIC_ASSERT(sizeof(struct plx_event) == 16, "an event travels in two registers");

/* --- preparing: a dozen stores, no call, nothing can fail ------------------------------------- */

static inline void plx__op_prepare(struct plx_op *op, enum plx_op_code code, int fd, plx_op_fn fn,
                                   void *ctx)
{
    op->fn = fn;
    op->ctx = ctx;
    op->mem.buf = NULL;
    op->aux.offset = 0;
    op->fd = fd;
    op->len = 0;
    op->arg = 0;
    op->flags = 0;
    op->index = 0;
    op->link = NULL;
    op->result = 0;
    op->home = 0;
    op->code = (uint8_t)code;
    op->state = PLX_OP_IDLE;
}

/*
 * Goes through the backend and back; result 0. For measuring, and for waking a ring. Ownership: it
 * has no buffer; the op is the backend's until its event. Cancel: changes nothing as a rule, since
 * it waits for nothing: 0, or -ECANCELED if it had not begun.
 */
static inline void plx_op_nop(struct plx_op *op, plx_op_fn fn, void *ctx)
{
    plx__op_prepare(op, PLX_OP_NOP, -1, fn, ctx);
}

/*
 * Waits until `fd` shows one of `bits` (POLLIN, POLLOUT …); the result is what it shows. Once.
 * Cancel: -ECANCELED, or the bits if they had shown.
 */
static inline void plx_op_poll(struct plx_op *op, int fd, uint32_t bits, plx_op_fn fn, void *ctx)
{
    plx__op_prepare(op, PLX_OP_POLL, fd, fn, ctx);
    op->arg = bits;
}

/*
 * Closes `fd` as soon as no op of this reactor names it any more (an SQ thread looks descriptors
 * up late: a number reused too early would send an order to another peer). From its submission on,
 * new ops on `fd` are refused with -EBADF, and once nothing holds the close back with -EAGAIN until
 * its event, since the number may by then be another descriptor's. It does not cancel the others:
 * do that first. Cannot be cancelled.
 */
static inline void plx_op_close(struct plx_op *op, int fd, plx_op_fn fn, void *ctx)
{
    plx__op_prepare(op, PLX_OP_CLOSE, fd, fn, ctx);
}

/* --- submitting ------------------------------------------------------------------------------- */

/*
 * Hands `op` to the reactor. On 0 the terminal event will come, in a later turn, never from inside
 * here. Cost: hot; no allocation; no system call, except one send with PLX_INLINE, and on the
 * epoll backend the operation's own attempt. Errors: -EAGAIN the ring is full, or a close of this
 * number is under way: submit again in a later turn; -EBADF the descriptor is negative, above the
 * limit at start, or being closed; -EINVAL flags that exclude each other or do not belong to the
 * op; -EFAULT a PLX_FIXED buffer that is not in one registered chunk of the arena; -ESHUTDOWN the
 * reactor is stopping. On an error nothing was taken: the op is the caller's, idle,
 * and no event will come.
 * What the operation itself meets (a reset, an end of file) is not an error here but the event's
 * result.
 */
PLX_API PLX_MUST_CHECK int plx_op_submit(struct plx_reactor *reactor, struct plx_op *op);

/*
 * Asks that `op` end soon. A request: the op may still complete; its terminal event says which
 * (-ECANCELED, or the result it had). Never fails, also on a full ring; on an op that is not in
 * flight it does nothing. Cost: hot; one ring entry; no system call.
 */
PLX_API void plx_op_cancel(struct plx_reactor *reactor, struct plx_op *op);

/* Where the op stands. For the owner between turns and in callbacks. */
static inline enum plx_op_state plx_op_state(const struct plx_op *op)
{
    return (enum plx_op_state)(op->state & 7u);
}

/* --- registered descriptors ---------------------------------------------------------------------
 */

/*
 * Makes ops on `fd` cheaper on backends that can (PLX_CAP_REGISTERED_FILES): the kernel looks the
 * file up once, here. For descriptors that live long: a listener, a journal, a feed. The ops stay
 * the same. plx_op_close ends it; before Linux 6.4 the kernel may take a second more to let go of
 * the file, and the peer to see its end. Shapes: numbers below 4096 and the soft limit of
 * descriptors at start. Affinity: owner. Cost: set-up; a system call. Errors: -EBADF; -ENOSPC a
 * number above the table; -EOPNOTSUPP this backend looks up every time, which is no harm; -EBUSY an
 * op names `fd` now, or it is registered.
 */
PLX_API PLX_MUST_CHECK int plx_fd_register(struct plx_reactor *reactor, int fd);

/* Undoes it, leaving `fd` open. Errors: -EBADF; -ENOENT it is not registered; -EBUSY an op names
 * it.
 */
PLX_API PLX_MUST_CHECK int plx_fd_unregister(struct plx_reactor *reactor, int fd);

PLX_EXTERN_C_END

#endif
