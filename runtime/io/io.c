/* SPDX-License-Identifier: MIT */
/*
 * The part of a backend that is the same for all: what is in flight, which descriptors ops name,
 * closes that wait for them, delivery, groups, notes.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "runtime/io/sim_internal.h"

#define FD_CLOSING   0x8000u
#define FD_USES_MAX  0x7fffu
#define FD_LIMIT_MAX (1u << 20)

/* --- set-up ----------------------------------------------------------------------------------- */

/* Descriptors that can exist: the hard limit, as the soft one may be raised later. */
static uint32_t descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_max > FD_LIMIT_MAX)
        return FD_LIMIT_MAX;
    return (uint32_t)limit.rlim_max;
}

int plx__io_init(struct plx__io *io, const struct plx__io_ops *ops,
                 const struct plx__io_config *config, struct plx_diag *diag)
{
    memset(io, 0, sizeof(*io));
    io->ops = ops;
    io->plain = &plx__plain_kernel;
    io->arena = config->arena;
    io->home = config->home;
    io->wake = config->wake;
    io->ring_fd = -1;
    io->wait_fd = -1;
    io->fd_limit = config->fd_limit != 0 ? config->fd_limit : descriptor_limit();
    io->fd_uses = calloc(io->fd_limit, sizeof(*io->fd_uses));
    if (io->fd_uses == NULL)
        return plx_diag_set(diag, -ENOMEM, "descriptor table", "no memory for %u descriptors",
                            io->fd_limit);
    plx__clock_init(&io->clock, (config->deny & PLX_CAP_TICK_CLOCK) != 0);
    if (io->clock.uses_ticks)
        io->caps |= PLX_CAP_TICK_CLOCK;
    else
        plx__io_note(io, "TICK_CLOCK: %s; clock_gettime instead", io->clock.why);
    return 0;
}

void plx__io_fini(struct plx__io *io)
{
    free(io->fd_uses);
    io->fd_uses = NULL;
    for (uint32_t i = 0; i < PLX_GROUPS_MAX; i++)
        io->groups[i].count = 0;
}

void plx__io_note(struct plx__io *io, const char *format, ...)
{
    uint32_t index = io->note_count++;
    if (index >= PLX__IO_NOTES_MAX)
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(io->notes[index].text, sizeof(io->notes[index].text), format, arguments);
    va_end(arguments);
}

int plx__io_open(const struct plx__io_config *config, struct plx__io **out, struct plx_diag *diag)
{
    *out = NULL;
    if (config->world != NULL)
        return plx__sim_open(config, out, diag);
    enum plx_backend_choice choice = config->settings->backend;
    bool sqpoll_on = config->settings->sqpoll == PLX_SQPOLL_ON;
    if (choice == PLX_BACKEND_EPOLL && sqpoll_on)
        return plx_diag_set(diag, -EINVAL, "POLLUX_SQPOLL",
                            "POLLUX_SQPOLL=on cannot be honoured with POLLUX_BACKEND=epoll");
    if (choice == PLX_BACKEND_EPOLL)
        return plx__epoll_open(config, out, diag);

    struct plx_diag refusal = {0};
    int rc = plx__uring_open(config, out, &refusal);
    if (rc == 0)
        return 0;
    if (choice == PLX_BACKEND_URING || sqpoll_on) {
        /* What was insisted on is not given up in silence: epoll has no SQ thread. */
        if (strcmp(refusal.what, "POLLUX_BACKEND") != 0 && !sqpoll_on)
            return plx_diag_set(diag, rc, refusal.what, "%s", refusal.text);
        bool named = strcmp(refusal.what, "POLLUX_SQPOLL") == 0;
        return plx_diag_set(diag, rc, sqpoll_on ? "POLLUX_SQPOLL" : "POLLUX_BACKEND", "%s%s",
                            named        ? ""
                            : sqpoll_on  ? "POLLUX_SQPOLL=on cannot be honoured: "
                                         : "POLLUX_BACKEND=uring cannot be honoured: ",
                            refusal.text);
    }

    rc = plx__epoll_open(config, out, diag);
    if (rc != 0)
        return rc;
    plx__io_note(*out, "io_uring refused (%s): epoll instead", refusal.text);
    return 0;
}

/* --- submitting ------------------------------------------------------------------------------- */

/* What an op may be, by its code. */
#define NAMES_FD     (1u << 0) /* counted at its descriptor (a close is counted by waiting) */
#define MAY_CWD      (1u << 1) /* or AT_FDCWD, which is none */
#define FLAG_SHIFT   4u        /* above: the PLX_ flags that it takes */
#define TAKES(flags) ((uint32_t)(flags) << FLAG_SHIFT)

static const uint32_t traits[PLX_OP_CODE_COUNT] = {
    [PLX_OP_READ] = NAMES_FD | TAKES(PLX_FIXED),
    [PLX_OP_WRITE] = NAMES_FD | TAKES(PLX_FIXED),
    [PLX_OP_READV] = NAMES_FD,
    [PLX_OP_WRITEV] = NAMES_FD,
    [PLX_OP_READ_GROUP] = NAMES_FD,
    [PLX_OP_FSYNC] = NAMES_FD,
    [PLX_OP_FALLOCATE] = NAMES_FD,
    [PLX_OP_OPENAT] = NAMES_FD | MAY_CWD,
    [PLX_OP_STATX] = NAMES_FD | MAY_CWD,
    [PLX_OP_RECV] = NAMES_FD,
    [PLX_OP_RECV_GROUP] = NAMES_FD | TAKES(PLX_MULTISHOT),
    [PLX_OP_RECVMSG] = NAMES_FD,
    [PLX_OP_RECVMSG_GROUP] = NAMES_FD | TAKES(PLX_MULTISHOT),
    [PLX_OP_SEND] = NAMES_FD | TAKES(PLX_INLINE | PLX_ZERO_COPY),
    [PLX_OP_SENDMSG] = NAMES_FD | TAKES(PLX_ZERO_COPY),
    [PLX_OP_ACCEPT] = NAMES_FD | TAKES(PLX_MULTISHOT),
    [PLX_OP_CONNECT] = NAMES_FD,
    [PLX_OP_SHUTDOWN] = NAMES_FD,
    [PLX_OP_POLL] = NAMES_FD,
    [PLX_OP_CLOSE] = NAMES_FD,
};

static inline bool names_fd(const struct plx_op *op)
{
    uint32_t trait = traits[op->code];
    return (trait & NAMES_FD) != 0 && ((trait & MAY_CWD) == 0 || op->fd != AT_FDCWD);
}

/* Flags that belong to the op, and memory that is where they say. */
static int check_flags(const struct plx__io *io, const struct plx_op *op)
{
    if ((op->flags & ~(traits[op->code] >> FLAG_SHIFT)) != 0)
        return -EINVAL;
    if ((op->flags & (PLX_INLINE | PLX_ZERO_COPY)) == (PLX_INLINE | PLX_ZERO_COPY))
        return -EINVAL;
    if ((op->flags & PLX_FIXED) == 0)
        return 0;
    /* Below the arena the offset wraps around to a large one. */
    uint64_t offset = (uintptr_t)op->mem.buf - (uintptr_t)io->arena->base;
    uint64_t bytes = io->arena->bytes;
    bool inside = op->len != 0 && offset < bytes && op->len <= bytes - offset &&
                  offset / PLX_POOL_CHUNK_BYTES == (offset + op->len - 1) / PLX_POOL_CHUNK_BYTES;
    return inside ? 0 : -EFAULT;
}

static void append_close(struct plx__io *io, struct plx_op *op)
{
    op->link = NULL;
    if (io->closing_last != NULL)
        io->closing_last->link = op;
    else
        io->closing = op;
    io->closing_last = op;
}

/* Of a descriptor that nothing names. False: the ring is full, and it waits with the others. */
static bool submit_close(struct plx__io *io, struct plx_op *op)
{
    if (PLX_LIKELY(io->ops->submit(io, op) == 0))
        return true;
    append_close(io, op);
    io->closes_ready++;
    return false;
}

/*
 * Why an op on a descriptor with these users is not taken. A close that nothing holds back may have
 * happened, unreported, and the number be another descriptor's: later is not too late for that one.
 */
PLX_COLD static int refusal(struct plx__io *io, uint16_t uses)
{
    if ((uses & FD_CLOSING) != 0 && uses != FD_CLOSING)
        return -EBADF;
    io->full++;
    return -EAGAIN;
}

static int take_close(struct plx__io *io, struct plx_op *op)
{
    uint16_t uses = io->fd_uses[op->fd];
    if ((uses & FD_CLOSING) != 0)
        return refusal(io, uses);
    io->fd_uses[op->fd] = (uint16_t)(uses | FD_CLOSING);
    op->home = io->home;
    plx__op_set_state(op, PLX_OP_QUEUED);
    io->in_flight++;
    io->submitted++;
    if (uses == 0)
        (void)submit_close(io, op);
    else
        append_close(io, op);
    return 0;
}

/*
 * Closes whose descriptor has become free of ops go out. Looks at a batch of those that wait, which
 * then come last, so that each is looked at in time; with none that is ready nobody looks.
 */
static void submit_ready_closes(struct plx__io *io)
{
    const struct plx_op *last = io->closing_last;
    bool more = true;
    for (uint32_t i = 0; more && i < PLX__BATCH_MAX && io->closes_ready != 0; i++) {
        struct plx_op *op = io->closing;
        more = op != last;
        io->closing = op->link;
        if (io->closing == NULL)
            io->closing_last = NULL;
        if (io->fd_uses[op->fd] != FD_CLOSING) {
            append_close(io, op);
            continue;
        }
        io->closes_ready--;
        if (!submit_close(io, op))
            return;
    }
}

int plx__io_submit(struct plx__io *io, struct plx_op *op)
{
    PLX_ASSERT_HOT(plx_op_state(op) == PLX_OP_IDLE || plx_op_state(op) == PLX_OP_DONE);
    PLX_ASSERT_HOT(op->code != PLX_OP_NONE && op->code < PLX_OP_CODE_COUNT);
    if (PLX_UNLIKELY(io->refuses && (op->code != PLX_OP_CLOSE || io->drained)))
        return -ESHUTDOWN;
    if (PLX_UNLIKELY(op->flags != 0)) {
        int rc = check_flags(io, op);
        if (rc != 0)
            return rc;
    }

    op->state = PLX_OP_QUEUED;
    bool names = names_fd(op);
    if (names) {
        if (PLX_UNLIKELY((uint32_t)op->fd >= io->fd_limit)) {
            op->state = PLX_OP_IDLE;
            return -EBADF;
        }
        if (op->code == PLX_OP_CLOSE) {
            int rc = take_close(io, op);
            if (rc != 0)
                op->state = PLX_OP_IDLE;
            return rc;
        }
        if (PLX_UNLIKELY(io->fd_uses[op->fd] >= FD_USES_MAX)) {
            op->state = PLX_OP_IDLE;
            return refusal(io, io->fd_uses[op->fd]);
        }
        op->state = (uint8_t)(PLX_OP_QUEUED | PLX__OP_NAMES_FD);
    }

    op->home = io->home;
    int rc = io->ops->submit(io, op);
    if (PLX_UNLIKELY(rc != 0)) {
        op->state = PLX_OP_IDLE;
        io->full += rc == -EAGAIN;
        return rc;
    }
    if (names)
        io->fd_uses[op->fd]++;
    io->in_flight++;
    io->submitted++;
    return 0;
}

void plx__io_cancel(struct plx__io *io, struct plx_op *op)
{
    enum plx_op_state state = plx_op_state(op);
    if (state != PLX_OP_QUEUED && state != PLX_OP_SUBMITTED)
        return;
    if (op->code == PLX_OP_CLOSE)
        return;
    io->cancelled++;
    plx__op_set_state(op, PLX_OP_CANCELLING);
    io->ops->cancel(io, op);
}

/* --- registered descriptors ------------------------------------------------------------------- */

/* Only while nothing names it: an op in flight holds the number in the one way or the other. */
static int check_unused(const struct plx__io *io, int fd)
{
    if (fd < 0 || (uint32_t)fd >= io->fd_limit || (io->fd_uses[fd] & FD_CLOSING) != 0)
        return -EBADF;
    return io->fd_uses[fd] != 0 ? -EBUSY : 0;
}

int plx__io_fd_register(struct plx__io *io, int fd)
{
    int rc = check_unused(io, fd);
    if (rc == 0)
        rc = io->ops->fd_register != NULL ? io->ops->fd_register(io, fd) : -EOPNOTSUPP;
    return rc;
}

int plx__io_fd_unregister(struct plx__io *io, int fd)
{
    int rc = check_unused(io, fd);
    if (rc == 0)
        rc = io->ops->fd_unregister != NULL ? io->ops->fd_unregister(io, fd) : -ENOENT;
    return rc;
}

/* --- delivering ------------------------------------------------------------------------------- */

uint32_t plx__io_collect_ended(struct plx__io *io, struct plx__completion *out, uint32_t max)
{
    uint32_t count = 0;
    struct plx_op *op = io->ended_first;
    while (op != NULL && count < max) {
        out[count++] = (struct plx__completion){
            .op = op,
            .event = {.result = op->result},
        };
        op = op->link;
    }
    io->ended_first = op;
    if (op == NULL)
        io->ended_last = NULL;
    return count;
}

/* Cancelling everything may catch a close that the kernel had put aside: it is then made here. */
static PLX_COLD int32_t close_cancelled(struct plx__io *io, int fd)
{
    return io->plain->close(fd);
}

PLX_STATIC_ASSERT(PLX_EV_RELEASED == PLX_ZERO_COPY >> 1, "see finish");

/* The last event of an op. With that of a zero-copy send its memory is the caller's again. */
static inline void finish(struct plx__io *io, struct plx_op *op, struct plx_event *event)
{
    event->flags |= (uint16_t)((op->flags & PLX_ZERO_COPY) >> 1);
    if ((op->state & PLX__OP_NAMES_FD) != 0) {
        if (PLX_UNLIKELY(--io->fd_uses[op->fd] == FD_CLOSING))
            io->closes_ready++;
    } else if (op->code == PLX_OP_CLOSE) {
        io->fd_uses[op->fd] = 0;
    }
    io->in_flight--;
    io->completed++;
    op->state = PLX_OP_DONE;
}

uint32_t plx__io_poll(struct plx__io *io)
{
    struct plx__completion *batch = io->batch;
    uint32_t count = io->ops->collect(io, batch, PLX__BATCH_MAX);

    for (uint32_t i = 0; i < count; i++) {
        struct plx_op *op = batch[i].op;
        if (PLX_UNLIKELY(op->code == PLX_OP_CLOSE && batch[i].event.result == -ECANCELED))
            batch[i].event.result = close_cancelled(io, op->fd);
        if (PLX_LIKELY((batch[i].event.flags & PLX_EV_MORE) == 0))
            finish(io, op, &batch[i].event);
        op->fn(op, &batch[i].event, op->ctx);
    }
    if (PLX_UNLIKELY(io->closes_ready != 0))
        submit_ready_closes(io);
    return count;
}

/* --- groups ----------------------------------------------------------------------------------- */

static int check_group(const struct plx__io *io, uint32_t count, uint32_t bytes)
{
    if (!plx_is_pow2(count) || count > PLX_GROUP_BUFFERS_MAX)
        return -EINVAL;
    if (bytes == 0 || bytes % PLX_PAGE != 0 || bytes > PLX_POOL_BLOCK_MAX)
        return -EINVAL;
    /* All or nothing, as a carve is not undone: pages of alignment and a kernel ring included. */
    size_t tables = count * (sizeof(void *) + sizeof(uint16_t)) + (count + 63) / 64 * 8;
    size_t ring = (size_t)count * 16 + PLX_PAGE;
    if (plx_arena_left(io->arena) < tables + ring + 3 * PLX_PAGE)
        return -ENOMEM;
    return plx_pool_available(io->pool, bytes) < count ? -ENOMEM : 0;
}

int plx__io_group_create(struct plx__io *io, uint32_t count, uint32_t bytes, uint16_t *out)
{
    *out = 0;
    int rc = check_group(io, count, bytes);
    uint16_t index = 0;
    while (index < PLX_GROUPS_MAX && io->groups[index].count != 0)
        index++;
    if (rc == 0 && index == PLX_GROUPS_MAX)
        rc = -ENOSPC;
    if (rc != 0)
        return rc;

    struct plx__group *group = &io->groups[index];
    *group = (struct plx__group){.bytes = bytes, .io = io, .index = index};
    size_t words = (count + 63) / 64;
    group->blocks = plx_arena_carve(io->arena, count * sizeof(void *), PLX_CACHE_LINE);
    group->out = plx_arena_carve(io->arena, words * sizeof(uint64_t), PLX_CACHE_LINE);
    group->free_ids = plx_arena_carve(io->arena, count * sizeof(uint16_t), PLX_CACHE_LINE);
    if (group->blocks == NULL || group->out == NULL || group->free_ids == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < count; i++)
        group->blocks[i] = plx_pool_acquire(io->pool, bytes);
    group->count = count;
    rc = io->ops->group_open(io, index);
    if (rc != 0) {
        for (uint32_t i = 0; i < count; i++)
            plx_pool_release(io->pool, group->blocks[i]);
        group->count = 0;
        return rc;
    }
    *out = index;
    return 0;
}

/* The buffer is no longer lent. */
static inline struct plx__group *take_back(struct plx__io *io, uint16_t index, uint16_t buffer_id)
{
    PLX_ASSERT(index < PLX_GROUPS_MAX);
    struct plx__group *group = &io->groups[index];
    PLX_ASSERT(buffer_id < group->count);
    uint64_t bit = (uint64_t)1 << (buffer_id % 64);
    /* A buffer given back twice would be handed to two receives at once. */
    PLX_ASSERT((group->out[buffer_id / 64] & bit) != 0);
    group->out[buffer_id / 64] &= ~bit;
    group->lent--;
    return group;
}

void plx__io_group_release(struct plx__io *io, uint16_t index, uint16_t buffer_id)
{
    (void)take_back(io, index, buffer_id);
    io->ops->group_release(io, index, buffer_id);
}

static void refill(struct plx_pool_waiter *waiter, void *block, void *ctx);

static PLX_COLD void wait_for_block(struct plx__group *group)
{
    int rc = plx_pool_waiter_arm(group->io->pool, &group->waiter, group->bytes, refill, group);
    /* The pool has blocks of this size: the group was made of them. */
    PLX_ASSERT(rc == 0);
}

/* Blocks have come to the pool: missing buffers are made up for. */
static PLX_COLD void refill(struct plx_pool_waiter *waiter, void *block, void *ctx)
{
    struct plx__group *group = ctx;
    struct plx__io *io = group->io;
    (void)waiter;
    do {
        uint16_t id = group->free_ids[group->count - group->missing];
        group->missing--;
        group->blocks[id] = block;
        io->ops->group_release(io, group->index, id);
        block = group->missing != 0 ? plx_pool_acquire(io->pool, group->bytes) : NULL;
    } while (block != NULL);
    if (group->missing != 0)
        wait_for_block(group);
}

void *plx__io_group_take(struct plx__io *io, uint16_t index, uint16_t buffer_id)
{
    struct plx__group *group = take_back(io, index, buffer_id);
    void *taken = group->blocks[buffer_id];
    group->blocks[buffer_id] = plx_pool_acquire(io->pool, group->bytes);
    if (PLX_LIKELY(group->blocks[buffer_id] != NULL)) {
        io->ops->group_release(io, index, buffer_id);
        return taken;
    }
    group->missing++;
    group->free_ids[group->count - group->missing] = buffer_id;
    if (group->missing == 1)
        wait_for_block(group);
    return taken;
}
