/* SPDX-License-Identifier: MIT */
/*
 * The seam: what the reactor asks of a backend, and the part of a backend that is the same for all.
 * Nothing above this file asks the kernel for I/O or for the time.
 *
 * Words. A *backend* (`struct plx__io` and the table behind it) carries ops to where they happen.
 * It *collects* what has ended into a batch; the batch is *delivered* afterwards, so no callback
 * runs inside a backend. A *completion* is one event of one op.
 *
 * Who does what. This part counts what is in flight, which descriptors are named by ops, and holds
 * back a close until nothing names its descriptor. The backend moves ops and knows the kernel.
 *
 * Threads: open, close and all calls by the thread that polls.
 */
#ifndef POLLUX_IO_INTERNAL_H
#define POLLUX_IO_INTERNAL_H

#include <sys/socket.h>

#include "alloc/arena.h"
#include "alloc/base.h"
#include "alloc/pool.h"
#include "runtime/io/caps.h"
#include "runtime/io/clock_internal.h"
#include "runtime/io/group.h"
#include "runtime/io/op_file.h"
#include "runtime/io/op_socket.h"
#include "runtime/io/wake_internal.h"
#include "runtime/place/machine.h"
#include "runtime/place/plan.h"
#include "runtime/settings/settings.h"

/* Completions that one turn delivers at the most. */
#define PLX__BATCH_MAX 128u

/* Marks in the upper bits of an op's state byte; the low three hold enum plx_op_state, the top two
 * are the backend's own. */
#define PLX__OP_STATE_MASK  7u
#define PLX__OP_CANCEL_LATE (1u << 3) /* its cancel waits for room in the ring */
#define PLX__OP_NAMES_FD    (1u << 4) /* counted in fd_uses */

struct plx__io;
struct plx__sim_world;

/* One event of one op, between collecting and delivering. */
struct plx__completion {
    struct plx_op *op;
    struct plx_event event;
};

/*
 * Buffers from which receives take: blocks of the pool, one for each id. An id is *lent* while the
 * caller has its buffer, and *missing* from the taking of its block until the pool gives another.
 */
struct plx__group {
    void **blocks;  /* by id; of a missing one NULL */
    uint32_t count; /* 0: no such group */
    uint32_t bytes; /* of each buffer */
    uint32_t free_count;
    uint32_t missing;
    uint32_t lent;
    /* From the start a stack of free ids, where the backend, not the kernel, chooses; from the end
     * one of missing ids. No id is on both. */
    uint16_t *free_ids;
    void *ring;    /* the backend's: a kernel buffer ring */
    uint64_t *out; /* a bit per buffer: lent */
    struct plx__io *io;
    struct plx_pool_waiter waiter; /* armed while ids are missing */
    uint16_t index;
};

/* The plain calls of set-up, so that a test or a simulated world can stand in. Negative errno. */
struct plx__plain_calls {
    int (*socket)(int domain, int type, int protocol);
    int (*bind)(int fd, const struct sockaddr *addr, socklen_t bytes);
    int (*listen)(int fd, int backlog);
    int (*getsockname)(int fd, struct sockaddr *addr, socklen_t *bytes);
    int (*getpeername)(int fd, struct sockaddr *addr, socklen_t *bytes);
    int (*setsockopt)(int fd, int level, int name, const void *value, socklen_t bytes);
    int (*shutdown)(int fd, int how);
    int (*close)(int fd); /* for descriptors that no op ever named */
    /* Of a file that is open for writing: no other description of it has the lock until this one
     * goes or unlocks. -EAGAIN or -EACCES another one has it. */
    int (*lock)(int fd);
    /* Also of descriptors that share the description; nothing happens to another one's lock. */
    int (*unlock)(int fd);
};

extern const struct plx__plain_calls plx__plain_kernel;

struct plx__io_ops {
    const char *name;
    /*
     * Takes an op (state QUEUED, descriptor and flags checked). 0, or -EAGAIN full.
     * What ends at once goes by plx__io_end and is delivered by the next collect.
     */
    int (*submit)(struct plx__io *io, struct plx_op *op);
    /* Asks the op (QUEUED or SUBMITTED, its state set to CANCELLING by the caller) to end. */
    void (*cancel)(struct plx__io *io, struct plx_op *op);
    /*
     * Writes up to `max` completions to `out` and returns how many. A terminal one's op gets the
     * state ENDING here, so that a cancel from an earlier callback of the batch leaves it alone.
     */
    uint32_t (*collect)(struct plx__io *io, struct plx__completion *out, uint32_t max);
    /* Shows the kernel what submit and cancel wrote. Returns the number of entries shown. */
    uint32_t (*flush)(struct plx__io *io);
    /* Cancels all that is in flight; called in turns until `in_flight` is 0. */
    void (*cancel_all)(struct plx__io *io);
    /*
     * Shows what was submitted and sleeps until something may have ended, the wake's eventfd shows,
     * or `until_ns` of clock_ns has come; not when something has ended already. May return early.
     */
    void (*wait)(struct plx__io *io, uint64_t until_ns);
    /* Makes ring_fd show POLLIN for the same things, for whoever waits for it elsewhere. Returns
     * false when something has ended already. */
    bool (*prepare_wait)(struct plx__io *io);
    /* A group was made: give its buffers to the kernel or fill `free_ids`. 0 or negative errno. */
    int (*group_open)(struct plx__io *io, uint16_t group);
    /* One buffer of a group came home, or another block in its place. */
    void (*group_release)(struct plx__io *io, uint16_t group, uint16_t buffer_id);
    /* A descriptor that nothing names is registered, or no more. NULL: the backend cannot. A close
     * of a registered one unregisters it first. */
    int (*fd_register)(struct plx__io *io, int fd);
    int (*fd_unregister)(struct plx__io *io, int fd);
    int64_t (*recv_now)(struct plx__io *io, int fd, void *buf, size_t len);
    int64_t (*send_now)(struct plx__io *io, int fd, const void *data, size_t len);
    /* The time for timers and deadlines; never falls. Of the kernel's backends, `clock`. */
    uint64_t (*clock_ns)(struct plx__io *io);
    /* Ends the backend. Only when nothing is in flight; memory of what is must never be reused. */
    void (*close)(struct plx__io *io);
};

/* The backend of a reactor. */
struct plx__io *plx__reactor_io(struct plx_reactor *reactor);

/* What degraded, in the order of finding it: told once to the log and kept for plx_reactor_explain.
 */
#define PLX__IO_NOTES_MAX 20
struct plx__io_note {
    char text[160];
};

/* What a backend is opened with. Borrowed until open returns, except the arena. */
struct plx__io_config {
    const struct plx_settings *settings;
    struct plx_arena *arena;
    const struct plx_machine *machine; /* both NULL: nothing is planned */
    const struct plx_plan *plan;
    uint32_t deny;          /* PLX_CAP_ bits that are to be treated as missing */
    int32_t sq_cpu;         /* the core for the SQ thread; -1: no SQPOLL */
    int32_t sq_fd;          /* the ring whose SQ thread to share (ATTACH_WQ); -1: one of its own */
    struct plx__wake *wake; /* of the reactor; NULL: it never sleeps. Borrowed for good. */
    uint16_t home;          /* index of the reactor */
    uint32_t fd_limit;      /* descriptors that can exist; 0: as many as the process may have */
    struct plx__sim_world *world; /* not NULL: the simulated world to open the backend in */
};

/* The common part; a backend embeds it as its first member. */
struct plx__io {
    /* Read-mostly. */
    const struct plx__io_ops *ops;
    const struct plx__plain_calls *plain;
    const char *mode; /* for people: "uring defer", "epoll" */
    struct plx_arena *arena;
    struct plx__wake *wake; /* NULL: it never sleeps */
    struct plx_pool *pool;  /* of the reactor; made after the backend, before any group */
    uint16_t *fd_uses;      /* ops that name the descriptor; top bit: a close waits */
    uint32_t fd_limit;      /* entries of fd_uses */
    uint32_t caps;          /* PLX_CAP_ bits in use */
    uint16_t home;
    bool refuses;    /* stopping: submit returns -ESHUTDOWN, but for closes */
    bool drained;    /* stopped: for closes too, as nobody would see them through */
    bool own_clock;  /* clock_ns tells another time than `clock`: no counter may stand in for it */
    int32_t ring_fd; /* -1 where there is none */
    int32_t wait_fd; /* shows when there is something, after prepare_wait; -1 where there is none */
    /* Owner's, hot. */
    uint32_t
        in_flight; /* ops taken whose terminal event is not delivered, waiting closes included */
    struct plx_op *ended_first; /* ended without the kernel, waiting for delivery, by link */
    struct plx_op *ended_last;
    struct plx_op *closing; /* closes that wait for their descriptor, or for the ring, by link */
    struct plx_op *closing_last;
    uint32_t closes_ready; /* of these, how many no op holds back any more */
    uint64_t submitted;
    uint64_t completed;
    uint64_t cancelled;
    uint64_t full;           /* submits refused with -EAGAIN */
    uint64_t kernel_entries; /* io_uring_enter and epoll_wait calls */
    struct plx__clock clock;
    /* Cold. */
    struct plx__group groups[PLX_GROUPS_MAX];
    uint32_t note_count;
    struct plx__io_note notes[PLX__IO_NOTES_MAX];
    struct plx__completion batch[PLX__BATCH_MAX];
};

/*
 * Backends. Open fills `*out` or returns negative errno with `diag` telling why; nothing is left
 * behind on failure. Memory from malloc (set-up), except what must lie on the node (from the
 * arena).
 */
int plx__uring_open(const struct plx__io_config *config, struct plx__io **out,
                    struct plx_diag *diag);
int plx__epoll_open(const struct plx__io_config *config, struct plx__io **out,
                    struct plx_diag *diag);

/*
 * Opens the backend that the settings choose: with `auto`, uring, and epoll where io_uring is
 * refused for whatever errno, with a note; but not when POLLUX_SQPOLL=on insists on an SQ thread.
 */
int plx__io_open(const struct plx__io_config *config, struct plx__io **out, struct plx_diag *diag);

/* For backends: set up and free what the common part holds. */
int plx__io_init(struct plx__io *io, const struct plx__io_ops *ops,
                 const struct plx__io_config *config, struct plx_diag *diag);
void plx__io_fini(struct plx__io *io);

/* Records one line of what was downgraded and why; later ones than PLX__IO_NOTES_MAX are counted.
 */
void plx__io_note(struct plx__io *io, const char *format, ...) PLX_PRINTF(2, 3);

/* The hot calls of the reactor. */
int plx__io_submit(struct plx__io *io, struct plx_op *op);
void plx__io_cancel(struct plx__io *io, struct plx_op *op);
/* Collects and delivers one batch; returns how many events. Callbacks run in here. */
uint32_t plx__io_poll(struct plx__io *io);
int plx__io_fd_register(struct plx__io *io, int fd);
int plx__io_fd_unregister(struct plx__io *io, int fd);
int plx__io_group_create(struct plx__io *io, uint32_t count, uint32_t bytes, uint16_t *out);
void plx__io_group_release(struct plx__io *io, uint16_t group, uint16_t buffer_id);
void *plx__io_group_take(struct plx__io *io, uint16_t group, uint16_t buffer_id);

/* recv(2) and send(2) by symbol with MSG_DONTWAIT (and MSG_NOSIGNAL); shared by the kernel
 * backends. */
int64_t plx__kernel_recv_now(struct plx__io *io, int fd, void *buf, size_t len);
int64_t plx__kernel_send_now(struct plx__io *io, int fd, const void *data, size_t len);
uint64_t plx__kernel_clock_ns(struct plx__io *io);

static inline void plx__op_set_state(struct plx_op *op, enum plx_op_state state)
{
    op->state = (uint8_t)((op->state & ~PLX__OP_STATE_MASK) | (unsigned)state);
}

/* What time it is, by the backend's own clock if it has one. */
static inline uint64_t plx__io_now_ns(struct plx__io *io)
{
    if (PLX_LIKELY(!io->own_clock))
        return plx__clock_ns(&io->clock);
    return io->ops->clock_ns(io);
}

/* For backends: `op` has ended with `result` and no further event; the next collect delivers it. */
static inline void plx__io_end(struct plx__io *io, struct plx_op *op, int32_t result)
{
    plx__op_set_state(op, PLX_OP_ENDING);
    op->result = result;
    op->link = NULL;
    if (io->ended_last != NULL)
        io->ended_last->link = op;
    else
        io->ended_first = op;
    io->ended_last = op;
}

/* For backends: buffer `id` goes to the caller with an event; returns its first byte. */
static inline void *plx__group_lend(struct plx__group *group, uint16_t id)
{
    group->out[id / 64] |= (uint64_t)1 << (id % 64);
    group->lent++;
    return group->blocks[id];
}

/* Whether a PLX_OP_READ_GROUP asks for something, and not for more than a buffer. */
static inline bool plx__read_fits(const struct plx__group *group, const struct plx_op *op)
{
    return op->len != 0 && op->len <= group->bytes;
}

/* What each buffer of a PLX_OP_RECVMSG_GROUP keeps before a message's bytes. */
static inline size_t plx__message_rooms(const struct msghdr *msg)
{
    return sizeof(struct plx_datagram_head) + msg->msg_namelen + msg->msg_controllen;
}

/*
 * Whether the rooms that a PLX_OP_RECVMSG_GROUP asks for leave a byte for the message. No address
 * is larger than a sockaddr_storage; a "negative" length is a large one. The kernel would take the
 * length of a vector's part for that of each buffer.
 */
static inline bool plx__message_fits(const struct plx__group *group, const struct plx_op *op)
{
    const struct msghdr *msg = op->mem.msg;
    return (op->flags & PLX_MULTISHOT) != 0 && msg->msg_iovlen == 0 &&
           msg->msg_namelen <= sizeof(struct sockaddr_storage) &&
           msg->msg_controllen <= group->bytes && plx__message_rooms(msg) < group->bytes;
}

/*
 * For backends, at the start of collect: moves what plx__io_end queued into `out`. Ops that end
 * while the batch is delivered wait for the next turn.
 */
uint32_t plx__io_collect_ended(struct plx__io *io, struct plx__completion *out, uint32_t max);

#endif
