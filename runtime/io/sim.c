/* SPDX-License-Identifier: MIT */
/*
 * The backend of the simulated world: a ring that fills, a kernel that takes its entries in order
 * and works on them when it likes, and completions that come when they like.
 *
 * An op in flight has a slot, whose number its `result` keeps. Completions of one op keep their
 * order, others need not.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/io/sim_ops_internal.h"

#define SLOTS_MAX       2048u
#define COMPLETIONS_MAX 1024u
/* Entries that only cancels may take. */
#define RESERVE 4u

struct pending {
    struct plx_op *op;
    uint64_t due_ns;
    struct plx_event event;
};

struct sim_backend {
    struct plx__io io;
    struct plx__sim_world *world;
    uint32_t ring_entries;
    uint32_t ring_used; /* entries that the kernel has not taken */
    uint64_t take_ns;   /* when the last entry that was shown is taken */
    uint32_t slot_count;
    uint32_t pending_count;
    bool has_late; /* cancels that found no room */
    struct sim_slot slots[SLOTS_MAX];
    struct pending pending[COMPLETIONS_MAX];
};

static inline struct sim_backend *backend_of(struct plx__io *io)
{
    return PLX_CONTAINER(io, struct sim_backend, io);
}

static inline struct sim_slot *slot_of(struct sim_backend *b, const struct plx_op *op)
{
    return &b->slots[op->result];
}

/* --- submitting and cancelling ---------------------------------------------------------------- */

/* All that the caller may not change while the op is in flight. */
static uint64_t sum_op(const struct plx_op *op)
{
    return plx__sim_sum(op, offsetof(struct plx_op, link), 0);
}

static int sim_submit(struct plx__io *io, struct plx_op *op)
{
    struct sim_backend *b = backend_of(io);
    struct plx__sim_world *world = b->world;
    if (op->code == PLX_OP_SEND && (op->flags & PLX_INLINE) != 0 && op->arg == 0) {
        int64_t taken = io->ops->send_now(io, op->fd, op->mem.data, op->len);
        if (taken != -EAGAIN) {
            plx__io_end(io, op, (int32_t)taken);
            return 0;
        }
    }
    if (op->code == PLX_OP_READ_GROUP && !plx__read_fits(&io->groups[op->index], op))
        return -EINVAL;
    if (b->slot_count == SLOTS_MAX || b->ring_used + RESERVE >= b->ring_entries ||
        sim_chance(world, PLX__SIM_SUBMIT_FULL))
        return -EAGAIN;
    const struct sim_desc *desc = plx__sim_desc(world, op->fd);
    struct sim_slot *slot = &b->slots[b->slot_count];
    *slot = (struct sim_slot){.op = op,
                              .take_ns = PLX__SIM_NEVER,
                              .cancel_ns = PLX__SIM_NEVER,
                              .generation = desc != NULL ? desc->generation : 0,
                              .memory_sum = plx__sim_sum_memory(op)};
    op->result = (int32_t)b->slot_count++;
    b->ring_used++;
    plx__op_set_state(op, PLX_OP_SUBMITTED);
    slot->op_sum = sum_op(op);
    return 0;
}

static void write_cancel(struct sim_backend *b, struct sim_slot *slot)
{
    slot->cancel = SIM_CANCEL_WRITTEN;
    slot->cancel_entry = true;
    b->ring_used++;
}

static void sim_cancel(struct plx__io *io, struct plx_op *op)
{
    struct sim_backend *b = backend_of(io);
    struct sim_slot *slot = slot_of(b, op);
    if (slot->cancel != SIM_CANCEL_NONE)
        return;
    if (b->ring_used < b->ring_entries && !sim_chance(b->world, PLX__SIM_CANCEL_FULL)) {
        write_cancel(b, slot);
        return;
    }
    slot->cancel = SIM_CANCEL_LATE;
    op->state |= PLX__OP_CANCEL_LATE;
    b->has_late = true;
}

/* One entry for all, as IORING_ASYNC_CANCEL_ANY. */
static void sim_cancel_all(struct plx__io *io)
{
    struct sim_backend *b = backend_of(io);
    for (uint32_t i = 0; i < b->slot_count; i++) {
        struct sim_slot *slot = &b->slots[i];
        if (slot->cancel < SIM_CANCEL_WRITTEN && slot->op->code != PLX_OP_CLOSE)
            slot->cancel = SIM_CANCEL_WRITTEN;
    }
}

static void write_late_cancels(struct sim_backend *b)
{
    b->has_late = false;
    for (uint32_t i = 0; i < b->slot_count; i++) {
        struct sim_slot *slot = &b->slots[i];
        if (slot->cancel != SIM_CANCEL_LATE)
            continue;
        if (b->ring_used >= b->ring_entries) {
            b->has_late = true;
            return;
        }
        write_cancel(b, slot);
        slot->op->state &= (uint8_t)~PLX__OP_CANCEL_LATE;
    }
}

/* Entries are taken in their order, so each no earlier than the one before. */
static uint64_t choose_take(struct sim_backend *b)
{
    uint64_t at = b->world->now_ns + sim_choose(b->world, PLX__SIM_TAKE_NS, 50000000u);
    b->take_ns = at > b->take_ns ? at : b->take_ns;
    return b->take_ns;
}

static uint32_t sim_flush(struct plx__io *io)
{
    struct sim_backend *b = backend_of(io);
    uint32_t shown = 0;
    if (b->has_late)
        write_late_cancels(b);
    for (uint32_t i = 0; i < b->slot_count; i++) {
        struct sim_slot *slot = &b->slots[i];
        if (slot->take_ns == PLX__SIM_NEVER) {
            slot->take_ns = choose_take(b);
            shown++;
        }
    }
    for (uint32_t i = 0; i < b->slot_count; i++) {
        struct sim_slot *slot = &b->slots[i];
        if (slot->cancel == SIM_CANCEL_WRITTEN && slot->cancel_ns == PLX__SIM_NEVER) {
            slot->cancel_ns = b->take_ns;
            shown++;
        }
    }
    plx__sim_work(b);
    return shown;
}

/* --- the kernel ------------------------------------------------------------------------------- */

bool plx__sim_has_room(const struct sim_backend *b)
{
    return b->pending_count < COMPLETIONS_MAX;
}

struct plx__io *plx__sim_io(struct sim_backend *b)
{
    return &b->io;
}

struct plx__sim_world *plx__sim_world_of(struct sim_backend *b)
{
    return b->world;
}

void plx__sim_complete(struct sim_backend *b, struct sim_slot *slot, const struct plx_event *event,
                       enum plx__sim_choice delay)
{
    struct plx__sim_world *world = b->world;
    bool ends = (event->flags & PLX_EV_MORE) == 0;
    uint64_t due = world->now_ns + sim_choose(world, delay, 100000000u);
    /* A close, which nobody can cancel, comes in the end. */
    if (ends && slot->op->code != PLX_OP_CLOSE && slot->cancel == SIM_CANCEL_NONE &&
        sim_chance(world, PLX__SIM_COMPLETE_LOST))
        due = PLX__SIM_NEVER;
    slot->due_ns = due > slot->due_ns ? due : slot->due_ns;
    slot->has_ended = ends;
    PLX_ASSERT(plx__sim_has_room(b));
    b->pending[b->pending_count++] =
        (struct pending){.op = slot->op, .due_ns = slot->due_ns, .event = *event};
}

/* What was lost is found when somebody asks for the end. */
static void find_lost(struct sim_backend *b, struct sim_slot *slot)
{
    for (uint32_t i = 0; i < b->pending_count; i++) {
        if (b->pending[i].op == slot->op && b->pending[i].due_ns == PLX__SIM_NEVER)
            b->pending[i].due_ns = b->world->now_ns;
    }
}

static void take(struct sim_backend *b, struct sim_slot *slot)
{
    struct plx__sim_world *world = b->world;
    struct plx_op *op = slot->op;
    const struct sim_desc *desc = plx__sim_desc(world, op->fd);
    slot->is_taken = true;
    b->ring_used--;
    if (desc != NULL && desc->generation != slot->generation)
        plx__sim_broken(world, "descriptor %d was closed while an op (code %u) named it", op->fd,
                        op->code);
    if (world->hooks.seen != NULL) {
        const struct plx__sim_seen seen = {.now_ns = world->now_ns,
                                           .fd = op->fd,
                                           .home = b->io.home,
                                           .code = op->code,
                                           .taken = true};
        world->hooks.seen(world->hooks.ctx, &seen);
    }
    plx__sim_begin(b, slot);
}

static void work_slot(struct sim_backend *b, struct sim_slot *slot)
{
    uint64_t now = b->world->now_ns;
    if (!slot->is_taken) {
        if (slot->take_ns > now)
            return;
        take(b, slot);
    }
    bool cancelled = slot->cancel_ns <= now;
    if (cancelled && slot->cancel == SIM_CANCEL_WRITTEN) {
        slot->cancel = SIM_CANCEL_TAKEN;
        b->ring_used -= slot->cancel_entry;
        slot->cancel_entry = false;
        find_lost(b, slot);
    }
    if (slot->has_ended)
        return;
    if (!cancelled || sim_chance(b->world, PLX__SIM_CANCEL_LOSES))
        plx__sim_try(b, slot);
    if (cancelled && !slot->has_ended) {
        const struct plx_event event = {.result = -ECANCELED};
        plx__sim_complete(b, slot, &event, PLX__SIM_COMPLETE_NS);
    }
}

void plx__sim_work(struct sim_backend *b)
{
    for (uint32_t i = 0; i < b->slot_count && plx__sim_has_room(b); i++)
        work_slot(b, &b->slots[i]);
}

/* --- collecting ------------------------------------------------------------------------------- */

static void free_slot(struct sim_backend *b, struct sim_slot *slot)
{
    /* Those that are not shown yet stay in the order of their submission. */
    b->slot_count--;
    for (uint32_t i = (uint32_t)(slot - b->slots); i < b->slot_count; i++) {
        b->slots[i] = b->slots[i + 1];
        b->slots[i].op->result = (int32_t)i;
    }
}

static void check_unchanged(struct sim_backend *b, const struct sim_slot *slot)
{
    const struct plx_op *op = slot->op;
    if (slot->op_sum != sum_op(op))
        plx__sim_broken(b->world, "an op (code %u, descriptor %d) was changed in flight", op->code,
                        op->fd);
    else if (slot->memory_sum != plx__sim_sum_memory(op))
        plx__sim_broken(b->world, "memory was changed in flight (code %u, descriptor %d)", op->code,
                        op->fd);
}

/* The event leaves the kernel: a buffer is lent, or the op's slot is free again. */
static void deliver(struct sim_backend *b, struct pending *pending, struct plx__completion *out)
{
    struct plx__sim_world *world = b->world;
    struct plx_op *op = pending->op;
    struct plx_event *event = &pending->event;
    struct sim_slot *slot = slot_of(b, op);
    if ((event->flags & PLX_EV_BUFFER) != 0)
        event->data = plx__group_lend(&b->io.groups[op->index], event->buffer_id);
    check_unchanged(b, slot);
    if (world->hooks.seen != NULL) {
        const struct plx__sim_seen seen = {.now_ns = world->now_ns,
                                           .fd = op->fd,
                                           .result = event->result,
                                           .home = b->io.home,
                                           .flags = event->flags,
                                           .code = op->code};
        world->hooks.seen(world->hooks.ctx, &seen);
    }
    *out = (struct plx__completion){.op = op, .event = *event};
    if ((event->flags & PLX_EV_MORE) != 0)
        return;
    /* An entry of its cancel that is not taken yet finds nothing, and counts no longer. */
    b->ring_used -= slot->cancel_entry;
    op->state &= (uint8_t)~PLX__OP_CANCEL_LATE;
    free_slot(b, slot);
    plx__op_set_state(op, PLX_OP_ENDING);
}

/* The place of the next one: any that is due, but the first of its op. Or the count. */
static uint32_t choose_next(struct sim_backend *b)
{
    uint64_t now = b->world->now_ns;
    uint32_t due = 0;
    for (uint32_t i = 0; i < b->pending_count; i++)
        due += b->pending[i].due_ns <= now;
    if (due == 0)
        return b->pending_count;
    uint64_t chosen = sim_choose(b->world, PLX__SIM_REORDER, due);
    uint32_t at = 0;
    for (;; at++) {
        if (b->pending[at].due_ns <= now && chosen-- == 0)
            break;
    }
    for (uint32_t i = 0; i < at; i++) {
        if (b->pending[i].op == b->pending[at].op)
            return i;
    }
    return at;
}

static uint32_t sim_collect(struct plx__io *io, struct plx__completion *out, uint32_t max)
{
    struct sim_backend *b = backend_of(io);
    uint32_t count = 0;
    b->world->now_ns += b->world->pace_ns;
    if (io->ended_first != NULL)
        count = plx__io_collect_ended(io, out, max - max / 4);
    plx__sim_work(b);
    if (b->pending_count == 0)
        return count;
    max -= (uint32_t)sim_choose(b->world, PLX__SIM_BATCH_LESS, max - count + 1);
    while (count < max) {
        uint32_t at = choose_next(b);
        if (at == b->pending_count)
            break;
        struct pending pending = b->pending[at];
        b->pending_count--;
        memmove(&b->pending[at], &b->pending[at + 1],
                (b->pending_count - at) * sizeof(b->pending[0]));
        deliver(b, &pending, &out[count++]);
    }
    return count;
}

/* --- groups and plain calls ------------------------------------------------------------------- */

static int sim_group_open(struct plx__io *io, uint16_t index)
{
    struct plx__group *group = &io->groups[index];
    for (uint32_t i = 0; i < group->count; i++)
        group->free_ids[i] = (uint16_t)(group->count - 1 - i);
    group->free_count = group->count;
    return 0;
}

static void sim_group_release(struct plx__io *io, uint16_t index, uint16_t buffer_id)
{
    struct plx__group *group = &io->groups[index];
    group->free_ids[group->free_count++] = buffer_id;
}

static int64_t sim_recv_now(struct plx__io *io, int fd, void *buf, size_t len)
{
    struct plx__sim_world *world = backend_of(io)->world;
    const struct sim_desc *desc = plx__sim_desc(world, fd);
    const struct iovec part = {.iov_base = buf, .iov_len = len};
    if (desc == NULL || desc->kind != SIM_SOCKET)
        return -EBADF;
    size_t there = 0;
    if (!plx__sim_readable(world, desc->sock, &there))
        return -EAGAIN;
    if (sim_chance(world, PLX__SIM_NOW_AGAIN))
        return -EAGAIN;
    return plx__sim_recv(world, desc->sock, &part, 1, 0);
}

static int64_t sim_send_now(struct plx__io *io, int fd, const void *data, size_t len)
{
    struct plx__sim_world *world = backend_of(io)->world;
    const struct sim_desc *desc = plx__sim_desc(world, fd);
    const struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
    if (desc == NULL || desc->kind != SIM_SOCKET)
        return -EBADF;
    if (sim_chance(world, PLX__SIM_NOW_AGAIN))
        return -EAGAIN;
    int64_t taken = plx__sim_send(world, desc->sock, &part, 1);
    return taken == SIM_WOULD_WAIT ? -EAGAIN : taken;
}

static uint64_t sim_clock_ns(struct plx__io *io)
{
    return backend_of(io)->world->now_ns;
}

/* --- lifecycle -------------------------------------------------------------------------------- */

static void sim_close(struct plx__io *io)
{
    struct sim_backend *b = backend_of(io);
    struct plx__sim_world *world = b->world;
    for (uint32_t i = 0; i < world->backend_count; i++) {
        if (world->backends[i] == b)
            world->backends[i] = world->backends[--world->backend_count];
    }
    plx__io_fini(io);
    free(b);
}

static const struct plx__io_ops sim_ops = {
    .name = "sim",
    .submit = sim_submit,
    .cancel = sim_cancel,
    .collect = sim_collect,
    .flush = sim_flush,
    .cancel_all = sim_cancel_all,
    .group_open = sim_group_open,
    .group_release = sim_group_release,
    .recv_now = sim_recv_now,
    .send_now = sim_send_now,
    .clock_ns = sim_clock_ns,
    .close = sim_close,
};

int plx__sim_open(const struct plx__io_config *config, struct plx__io **out, struct plx_diag *diag)
{
    struct plx__sim_world *world = config->world;
    *out = NULL;
    if (world->backend_count == SIM_BACKENDS)
        return plx_diag_set(diag, -ENOSPC, "sim", "a simulated world has %u reactors at the most",
                            SIM_BACKENDS);
    struct sim_backend *b = malloc(sizeof(*b));
    if (b == NULL)
        return plx_diag_set(diag, -ENOMEM, "sim", "no memory for the simulated backend");
    /* Slots and completions are written before they are read. */
    memset(b, 0, offsetof(struct sim_backend, slots));
    struct plx__io_config own = *config;
    own.fd_limit = PLX__SIM_FD_FIRST + PLX__SIM_FDS;
    int rc = plx__io_init(&b->io, &sim_ops, &own, diag);
    if (rc != 0) {
        free(b);
        return rc;
    }
    b->io.plain = &plx__sim_plain;
    b->io.own_clock = true;
    b->io.mode = "sim";
    b->io.caps =
        PLX_CAP_MULTISHOT_ACCEPT | PLX_CAP_MULTISHOT_RECV | PLX_CAP_SEND_ZC | PLX_CAP_SENDMSG_ZC;
    b->world = world;
    b->ring_entries = (uint32_t)config->settings->ring_entries;
    world->backends[world->backend_count++] = b;
    *out = &b->io;
    return 0;
}
