/* SPDX-License-Identifier: MIT */
/*
 * The operation: one request for I/O, 64 bytes in the caller's memory, and what the caller may do
 * with it.
 *
 * Words. An *op* is prepared (a dozen stores), submitted to the reactor of the calling thread, and
 * ends with exactly one *terminal event*, handed to its callback inside a later turn. A
 * *multishot* op gives several events, all but the terminal one flagged PLX_EV_MORE. A *group* is
 * a set of equal buffers from which a receive takes one when data is there.
 *
 * The one rule of lifetime: from a submit that returned 0 until the terminal callback is entered,
 * the op and all that it points to (buffer, address) stay where they are, unchanged, on every
 * backend. When the terminal callback is entered the op is the caller's again: it may be prepared
 * and submitted anew there.
 *
 * The rule of descriptors: one that is named by an op belongs to that reactor until plx_op_close
 * has ended. Sockets take receive and send ops, never read or write (a write to a dead socket
 * raises SIGPIPE). Descriptors for read and write are in blocking mode.
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

/* What an op asks for. */
enum plx_op_code {
    PLX_OP_NONE,
    PLX_OP_NOP,
    PLX_OP_READ,
    PLX_OP_WRITE,
    PLX_OP_RECV,
    PLX_OP_RECV_GROUP,
    PLX_OP_SEND,
    PLX_OP_ACCEPT,
    PLX_OP_CONNECT,
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
#define PLX_MULTISHOT (1u << 1) /* accept, recv_group: stays armed; may end at any event */

/* Flags of an event. */
#define PLX_EV_MORE   (1u << 0) /* not the last one of this op */
#define PLX_EV_BUFFER (1u << 1) /* `buffer_id` is lent until plx_group_release or _take */

/* The offset that means the file's own position; for pipes and other things without one. */
#define PLX_OFFSET_CURRENT UINT64_MAX

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
        const struct sockaddr *addr;
    } mem;
    union {
        uint64_t offset;
        void *ptr;
    } aux;
    int32_t fd;
    uint32_t len;   /* bytes */
    uint32_t arg;   /* MSG_, SOCK_ or poll bits */
    uint16_t flags; /* PLX_INLINE, PLX_MULTISHOT */
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

/* Goes through the backend and back; result 0. For measuring, and for waking a ring. */
static inline void plx_op_nop(struct plx_op *op, plx_op_fn fn, void *ctx)
{
    plx__op_prepare(op, PLX_OP_NOP, -1, fn, ctx);
}

/*
 * Reads up to `len` bytes at `offset`, or at the descriptor's position with PLX_OFFSET_CURRENT.
 * Shapes: result is 0 at the end of the file, less than `len` near it. Ownership: `buf` is the
 * kernel's until the terminal event. Cost: where the arena is registered (PLX_CAP_FIXED_BUFFERS), a
 * buffer in it that lies in one PLX_POOL_CHUNK_BYTES, as each block of the pool does, goes as a
 * fixed one by itself: no pinning and no walk of page tables, which O_DIRECT gains from; that the
 * kernel copies to its own cache without O_DIRECT stays so. Errors in the event: of pread(2).
 * Source: io_uring_prep_read(3), io_uring_prep_read_fixed(3), io_uring_register_buffers(3).
 */
static inline void plx_op_read(struct plx_op *op, int fd, void *buf, uint32_t len, uint64_t offset,
                               plx_op_fn fn, void *ctx)
{
    plx__op_prepare(op, PLX_OP_READ, fd, fn, ctx);
    op->mem.buf = buf;
    op->len = len;
    op->aux.offset = offset;
}

/* Writes up to `len` bytes; as plx_op_read. A short result is possible. Source:
 * io_uring_prep_write(3). */
static inline void plx_op_write(struct plx_op *op, int fd, const void *data, uint32_t len,
                                uint64_t offset, plx_op_fn fn, void *ctx)
{
    plx__op_prepare(op, PLX_OP_WRITE, fd, fn, ctx);
    op->mem.data = data;
    op->len = len;
    op->aux.offset = offset;
}

/*
 * Receives up to `len` bytes from a socket into `buf`. `arg` takes MSG_ bits.
 * Result 0: the peer has ended its side. Ownership: `buf` is the kernel's until the terminal event.
 * Cancel: may still deliver data that had arrived. Errors in the event: of recv(2).
 */
static inline void plx_op_recv(struct plx_op *op, int fd, void *buf, uint32_t len, uint32_t arg,
                               plx_op_fn fn, void *ctx)
{
    plx__op_prepare(op, PLX_OP_RECV, fd, fn, ctx);
    op->mem.buf = buf;
    op->len = len;
    op->arg = arg;
}

/*
 * Receives into a buffer that the backend takes from `group` when data is there, again and again
 * (PLX_MULTISHOT is set; the op may end at any event, so re-arm when PLX_EV_MORE is missing). Each
 * event with result > 0 carries PLX_EV_BUFFER: give the buffer back by plx_group_release. Result
 * 0: the peer has ended its side. -ENOBUFS: the group is empty; the data waits in the socket;
 * submit again after a buffer came home (plx_group_left). Source: io_uring_prep_recv_multishot(3).
 */
static inline void plx_op_recv_group(struct plx_op *op, int fd, uint16_t group, plx_op_fn fn,
                                     void *ctx)
{
    plx__op_prepare(op, PLX_OP_RECV_GROUP, fd, fn, ctx);
    op->index = group;
    op->flags = PLX_MULTISHOT;
}

/*
 * Sends up to `len` bytes on a socket. `arg` takes MSG_ bits; MSG_NOSIGNAL is always added.
 * `flags`: PLX_QUEUED or PLX_INLINE. Shapes: a result below `len` is possible. At most one send of
 * a stream may be in flight: two may be reordered by the kernel. Ownership: `data` is borrowed
 * until the terminal event. Errors in the event: of send(2).
 */
static inline void plx_op_send(struct plx_op *op, int fd, const void *data, uint32_t len,
                               uint32_t arg, uint16_t flags, plx_op_fn fn, void *ctx)
{
    plx__op_prepare(op, PLX_OP_SEND, fd, fn, ctx);
    op->mem.data = data;
    op->len = len;
    op->arg = arg;
    op->flags = flags;
}

/*
 * Accepts connections from a listening socket; `arg` takes SOCK_CLOEXEC and SOCK_NONBLOCK, `flags`
 * takes PLX_MULTISHOT (may end at any event). Result: a descriptor, the caller's. After a cancel,
 * connections that had been accepted are still delivered: take or close them. Errors in the event:
 * of accept(2); with -EMFILE, -ENFILE, -ENOBUFS, -ENOMEM the connection waits in the queue: submit
 * again later.
 */
static inline void plx_op_accept(struct plx_op *op, int fd, uint32_t arg, uint16_t flags,
                                 plx_op_fn fn, void *ctx)
{
    plx__op_prepare(op, PLX_OP_ACCEPT, fd, fn, ctx);
    op->arg = arg;
    op->flags = flags;
}

/* Connects a socket to `addr` of `addr_bytes` bytes, borrowed until the terminal event. */
static inline void plx_op_connect(struct plx_op *op, int fd, const struct sockaddr *addr,
                                  uint16_t addr_bytes, plx_op_fn fn, void *ctx)
{
    plx__op_prepare(op, PLX_OP_CONNECT, fd, fn, ctx);
    op->mem.addr = addr;
    op->index = addr_bytes;
}

/* Waits until `fd` shows one of `bits` (POLLIN, POLLOUT …); the result is what it shows. Once. */
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
 * limit at start, or being closed; -EOPNOTSUPP the backend has no such operation (files on epoll);
 * -ESHUTDOWN the reactor is stopping. On an error nothing was taken: the op is the caller's, idle,
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

/* --- groups ----------------------------------------------------------------------------------- */

#define PLX_GROUP_BUFFERS_MAX 32768u
#define PLX_GROUPS_MAX        16u

/*
 * Makes a group of `count` buffers (a power of two up to PLX_GROUP_BUFFERS_MAX) of `bytes` bytes
 * (a multiple of PLX_PAGE up to PLX_POOL_BLOCK_MAX), each a block of the reactor's pool, and gives
 * its index. It lives as long as the reactor. Cost: set-up. Errors, after which nothing was taken:
 * -EINVAL shapes; -ENOSPC PLX_GROUPS_MAX reached; -ENOMEM the pool has not so many blocks free, or
 * the arena no room for the tables.
 */
PLX_API PLX_MUST_CHECK int plx_group_create(struct plx_reactor *reactor, uint32_t count,
                                            uint32_t bytes, uint16_t *out);

/*
 * Gives a buffer back, exactly once per PLX_EV_BUFFER, unless plx_group_take was called instead.
 * Cost: hot; no system call.
 */
PLX_API void plx_group_release(struct plx_reactor *reactor, uint16_t group, uint16_t buffer_id);

/*
 * Takes a buffer for good, with PLX_EV_BUFFER and instead of plx_group_release: what was received
 * stays where it is, without a copy. The group gets another block from the pool at once, or, while
 * that is dry, as soon as a block comes home; until then it has a buffer less.
 * Ownership: returns the block, the caller's until plx_pool_release to any reactor's pool.
 * Cost: hot; no system call.
 */
PLX_API PLX_MUST_CHECK void *plx_group_take(struct plx_reactor *reactor, uint16_t group,
                                            uint16_t buffer_id);

/*
 * How many buffers receives may still take: all but those that the caller has and those that wait
 * for a block. Those that the kernel has filled in this very moment count as left.
 */
PLX_API uint32_t plx_group_left(const struct plx_reactor *reactor, uint16_t group);

/* --- now: one plain non-blocking call on this core -------------------------------------------- */

/*
 * recv(2) with MSG_DONTWAIT. Returns bytes, 0 at the peer's end, -EAGAIN nothing there, or another
 * negative errno. Cost: one system call, about 250 ns when nothing is there. Only while no receive
 * op of the socket is in flight.
 */
PLX_API PLX_MUST_CHECK int64_t plx_recv_now(struct plx_reactor *reactor, int fd, void *buf,
                                            size_t len);

/*
 * send(2) with MSG_DONTWAIT | MSG_NOSIGNAL. Returns bytes taken (maybe fewer), -EAGAIN, or another
 * negative errno. Cost: one system call. Only while no send op of the socket is in flight: it
 * would overtake it.
 */
PLX_API PLX_MUST_CHECK int64_t plx_send_now(struct plx_reactor *reactor, int fd, const void *data,
                                            size_t len);

PLX_EXTERN_C_END

#endif
