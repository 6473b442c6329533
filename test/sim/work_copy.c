/* SPDX-License-Identifier: MIT */
/*
 * A file is copied by read and write ops, many in flight, and made durable. Unless an error was
 * told, the copy equals the source, after a crash too; after an error, or before the fsync, each
 * byte of it is the source's or 0.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "runtime/sched/timed.h"
#include "test/sim/world.h"

#define PIECES_MAX  16u
#define SOURCE_MAX  300000u
#define DEADLINE_NS (10u * (uint64_t)SIM_SECOND_NS)

enum stage { STAGE_OPEN, STAGE_MOVE, STAGE_SYNC, STAGE_CLOSE, STAGE_DONE };

struct copy;

/* One part of the file on its way. */
struct piece {
    struct plx_op_timed timed;
    struct copy *copy;
    uint8_t *block;
    uint64_t offset;
    uint32_t bytes;
    uint32_t done; /* of the read, or of the write */
    bool writes;
    bool in_flight;
    bool waits; /* to be submitted (again) */
    uint16_t group_id;
    struct iovec parts[2];
};

struct copy {
    struct sim_run *run;
    uint32_t at; /* reactor */
    uint8_t *source;
    uint64_t bytes;
    uint32_t piece_bytes;
    uint32_t piece_count;
    struct piece pieces[PIECES_MAX];
    uint64_t next; /* offset of the next piece */
    enum stage stage;
    uint32_t sub; /* within open, sync and close */
    bool fd_in_flight;
    bool fd_waits;
    struct plx_op_timed fd_op; /* opens, allocates, synchronises, closes */
    int fds[3];                /* source, copy, directory */
    struct statx stat;
    bool syncs_folder;
    bool allocates; /* and so has its length before it has its bytes */
    bool synced;
    bool folder_synced;
    int error; /* the first that was told */
};

static void advance_fd(struct copy *copy);

static void fail_copy(struct copy *copy, int error)
{
    if (copy->error == 0)
        copy->error = error;
    if (sim_must_succeed(copy->run) && !copy->run->stopping)
        sim_fail(copy->run, "copy: error %d in a harmless world", error);
}

static bool is_transient(const struct copy *copy, const struct plx_event *event)
{
    if (event->result == -EINTR || event->result == -EAGAIN)
        return true;
    return event->result == -ECANCELED && (event->flags & PLX_EV_TIMED_OUT) != 0 &&
           copy->error == 0;
}

/* Submits with a deadline, by which a lost completion is found. -EAGAIN: at the next step. */
static bool submit(struct copy *copy, struct plx_op_timed *timed)
{
    struct sim_run *run = copy->run;
    struct plx_reactor *reactor = run->reactors[copy->at];
    uint64_t at_ns = run->faults.temper == SIM_ROUGH ? sim_now_ns(run) + DEADLINE_NS : UINT64_MAX;
    int rc = plx_op_submit_timed(reactor, timed, at_ns);
    if (rc != 0 && rc != -EAGAIN && !run->stopping)
        sim_fail(run, "copy: a submit was refused with %d", rc);
    if (rc != 0 && rc != -EAGAIN)
        fail_copy(copy, rc);
    return rc == 0;
}

/* --- pieces ----------------------------------------------------------------------------------- */

static void on_moved(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    struct piece *piece = ctx;
    struct copy *copy = piece->copy;
    (void)op;
    if (!piece->in_flight)
        sim_fail(copy->run, "copy: an op has ended twice");
    piece->in_flight = false;
    if (event->result > 0) {
        piece->done += (uint32_t)event->result;
        if (piece->done > piece->bytes)
            sim_fail(copy->run, "copy: more was moved than asked for");
        if (piece->done < piece->bytes) {
            piece->waits = true;
        } else if (!piece->writes) {
            piece->writes = true;
            piece->done = 0;
            piece->waits = true;
        } else {
            piece->bytes = 0;
        }
    } else if (event->result == 0) {
        fail_copy(copy, -EIO);
    } else if (is_transient(copy, event)) {
        piece->waits = true;
    } else {
        fail_copy(copy, event->result);
    }
}

/* One of the ways to say it. */
static void prepare(struct copy *copy, struct piece *piece)
{
    struct plx_op *op = &piece->timed.op;
    uint8_t *at = piece->block + piece->done;
    uint32_t left = piece->bytes - piece->done;
    uint64_t offset = piece->offset + piece->done;
    uint32_t half = left / 2;
    uint64_t way = sim_random_below(&copy->run->random, 3);
    piece->parts[0] = (struct iovec){.iov_base = at, .iov_len = half};
    piece->parts[1] = (struct iovec){.iov_base = at + half, .iov_len = left - half};
    if (piece->writes && way == 0)
        plx_op_writev(op, copy->fds[1], piece->parts, 2, offset, on_moved, piece);
    else if (piece->writes && way == 1)
        plx_op_write_fixed(op, copy->fds[1], at, left, offset, on_moved, piece);
    else if (piece->writes)
        plx_op_write(op, copy->fds[1], at, left, offset, on_moved, piece);
    else if (way == 0)
        plx_op_readv(op, copy->fds[0], piece->parts, 2, offset, on_moved, piece);
    else if (way == 1)
        plx_op_read_fixed(op, copy->fds[0], at, left, offset, on_moved, piece);
    else
        plx_op_read(op, copy->fds[0], at, left, offset, on_moved, piece);
}

static void step_piece(struct copy *copy, struct piece *piece)
{
    struct plx_pool *pool = plx_reactor_pool(copy->run->reactors[copy->at]);
    if (piece->in_flight)
        return;
    if (piece->bytes == 0 && copy->next < copy->bytes && copy->error == 0) {
        if (piece->block == NULL)
            piece->block = plx_pool_acquire(pool, copy->piece_bytes);
        if (piece->block == NULL)
            return;
        uint64_t left = copy->bytes - copy->next;
        piece->offset = copy->next;
        piece->bytes = left < copy->piece_bytes ? (uint32_t)left : copy->piece_bytes;
        piece->done = 0;
        piece->writes = false;
        piece->waits = true;
        copy->next += piece->bytes;
    }
    if (!piece->waits || copy->error != 0)
        return;
    prepare(copy, piece);
    piece->in_flight = submit(copy, &piece->timed);
    piece->waits = !piece->in_flight;
}

static bool all_moved(const struct copy *copy)
{
    bool rest = copy->error == 0 && copy->next < copy->bytes;
    for (uint32_t i = 0; i < copy->piece_count; i++) {
        const struct piece *piece = &copy->pieces[i];
        rest |= piece->in_flight || (copy->error == 0 && piece->bytes != 0);
    }
    return !rest;
}

static void give_blocks_back(struct copy *copy)
{
    struct plx_pool *pool = plx_reactor_pool(copy->run->reactors[copy->at]);
    for (uint32_t i = 0; i < copy->piece_count; i++) {
        if (copy->pieces[i].block != NULL)
            plx_pool_release(pool, copy->pieces[i].block);
        copy->pieces[i].block = NULL;
    }
}

/* --- opening, synchronising, closing ---------------------------------------------------------- */

static void on_opened(struct copy *copy, int32_t result)
{
    const uint32_t last = copy->allocates ? 4 : 3;
    if (copy->sub < 3)
        copy->fds[copy->sub] = result;
    if (copy->sub == 3 && copy->stat.stx_size != copy->bytes)
        sim_fail(copy->run, "copy: the source has %llu bytes, not %llu",
                 (unsigned long long)copy->stat.stx_size, (unsigned long long)copy->bytes);
    if (copy->sub++ == last) {
        copy->stage = STAGE_MOVE;
        copy->sub = 0;
        copy->fd_waits = false;
    }
}

static void on_fd(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    struct copy *copy = ctx;
    if (!copy->fd_in_flight)
        sim_fail(copy->run, "copy: an op has ended twice");
    copy->fd_in_flight = false;
    copy->fd_waits = true;
    if (op->code == PLX_OP_CLOSE) {
        /* It is closed whatever the result says. */
        copy->fds[copy->sub] = -1;
    } else if (is_transient(copy, event)) {
        return;
    } else if (event->result < 0) {
        fail_copy(copy, event->result);
        copy->stage = STAGE_CLOSE;
        copy->sub = 0;
    } else if (copy->stage == STAGE_OPEN) {
        on_opened(copy, event->result);
    } else if (copy->stage == STAGE_SYNC) {
        copy->synced |= copy->sub == 0;
        copy->folder_synced |= copy->sub == 1;
        copy->sub++;
    }
}

static void prepare_open(struct copy *copy)
{
    struct plx_op *op = &copy->fd_op.op;
    switch (copy->sub) {
    case 0:
        plx_op_openat(op, AT_FDCWD, "/data/source", O_RDONLY, 0, on_fd, copy);
        break;
    case 1:
        plx_op_openat(op, AT_FDCWD, "/data/copy", O_WRONLY | O_CREAT, 0600, on_fd, copy);
        break;
    case 2:
        plx_op_openat(op, AT_FDCWD, "/data", O_RDONLY | O_DIRECTORY, 0, on_fd, copy);
        break;
    case 3:
        plx_op_statx(op, copy->fds[0], "", AT_EMPTY_PATH, STATX_SIZE, &copy->stat, on_fd, copy);
        break;
    default:
        plx_op_fallocate(op, copy->fds[1], 0, 0, copy->bytes, on_fd, copy);
    }
}

/* The next op of those that come one after the other; false: there is none. */
static bool prepare_fd(struct copy *copy)
{
    if (copy->stage == STAGE_OPEN) {
        prepare_open(copy);
        return true;
    }
    if (copy->stage == STAGE_SYNC) {
        /* Some leave it to chance. */
        if (copy->run->seed % 5 != 0 && copy->sub < (copy->syncs_folder ? 2u : 1u)) {
            plx_op_fsync(&copy->fd_op.op, copy->fds[copy->sub + 1], 0, on_fd, copy);
            return true;
        }
        copy->stage = STAGE_CLOSE;
        copy->sub = 0;
    }
    while (copy->sub < 3 && copy->fds[copy->sub] < 0)
        copy->sub++;
    if (copy->sub == 3) {
        copy->stage = STAGE_DONE;
        return false;
    }
    plx_op_close(&copy->fd_op.op, copy->fds[copy->sub], on_fd, copy);
    return true;
}

static void advance_fd(struct copy *copy)
{
    if (copy->fd_in_flight || !copy->fd_waits || !prepare_fd(copy))
        return;
    if (copy->fd_op.op.code != PLX_OP_CLOSE) {
        copy->fd_in_flight = submit(copy, &copy->fd_op);
        return;
    }
    int rc = plx_op_submit(copy->run->reactors[copy->at], &copy->fd_op.op);
    copy->fd_in_flight = rc == 0;
    if (rc != 0 && rc != -EAGAIN)
        sim_fail(copy->run, "copy: a close was refused with %d", rc);
}

/* --- the workload ----------------------------------------------------------------------------- */

static void *begin(struct sim_run *run)
{
    struct copy *copy = calloc(1, sizeof(*copy));
    struct sim_random *random = &run->random;
    if (copy == NULL)
        return NULL;
    copy->run = run;
    copy->at = (uint32_t)sim_random_below(random, run->count);
    copy->bytes = sim_random_once(random, 2) ? sim_random_size(random, SOURCE_MAX)
                                             : 1 + sim_random_below(random, SOURCE_MAX);
    copy->piece_bytes = 4096u << sim_random_below(random, 4);
    copy->piece_count = 1 + (uint32_t)sim_random_below(random, PIECES_MAX);
    copy->syncs_folder = sim_random_once(random, 2);
    copy->allocates = run->seed % 2 == 0;
    copy->fd_waits = true;
    for (uint32_t i = 0; i < 3; i++)
        copy->fds[i] = -1;
    for (uint32_t i = 0; i < copy->piece_count; i++)
        copy->pieces[i].copy = copy;
    copy->source = malloc(copy->bytes);
    if (copy->source == NULL) {
        free(copy);
        return NULL;
    }
    for (uint64_t i = 0; i < copy->bytes; i++)
        copy->source[i] = sim_pattern(99, i) | 1;
    if (plx__sim_file_make(run->world, "/data/source", copy->source, copy->bytes) != 0)
        sim_fail(run, "copy: no source");
    return copy;
}

static void step(struct sim_run *run, void *state)
{
    struct copy *copy = state;
    (void)run;
    if (copy->stage == STAGE_MOVE) {
        for (uint32_t i = 0; i < copy->piece_count; i++)
            step_piece(copy, &copy->pieces[i]);
        if (all_moved(copy)) {
            give_blocks_back(copy);
            copy->stage = copy->error == 0 ? STAGE_SYNC : STAGE_CLOSE;
            copy->sub = 0;
            copy->fd_waits = true;
        }
    } else if (copy->stage != STAGE_DONE) {
        advance_fd(copy);
    }
}

static bool is_done(const void *state)
{
    return ((const struct copy *)state)->stage == STAGE_DONE;
}

/* What is open is closed by plain calls, as nobody takes ops any more. */
static void check(struct sim_run *run, void *state)
{
    struct copy *copy = state;
    give_blocks_back(copy);
    for (uint32_t i = 0; i < copy->piece_count; i++) {
        if (copy->pieces[i].in_flight)
            sim_fail(run, "copy: an op has not ended");
    }
    if (copy->fd_in_flight)
        sim_fail(run, "copy: an op on a descriptor has not ended");
    for (uint32_t i = 0; i < 3; i++) {
        if (copy->fds[i] >= 0)
            (void)plx__sim_plain.close(copy->fds[i]);
    }
}

static void compare(struct sim_run *run, const struct copy *copy)
{
    uint8_t *now = malloc(copy->bytes + 1);
    if (now == NULL)
        return;
    int64_t there = plx__sim_file_look(run->world, "/data/copy", 0, now, copy->bytes + 1);
    bool whole = copy->error == 0 && (run->crashed ? copy->synced : copy->stage == STAGE_DONE);
    bool may_be_gone =
        copy->stage == STAGE_OPEN || copy->error != 0 || (run->crashed && !copy->folder_synced);
    if (there == -ENOENT && !may_be_gone)
        sim_fail(run, "copy: the file is gone");
    if (there >= 0 && whole && (uint64_t)there != copy->bytes)
        sim_fail(run, "copy: %lld bytes instead of %llu", (long long)there,
                 (unsigned long long)copy->bytes);
    for (int64_t i = 0; i < there && !run->failed; i++) {
        if ((uint64_t)i >= copy->bytes)
            sim_fail(run, "copy: it is longer than the source");
        else if (now[i] != copy->source[i] && (whole || now[i] != 0))
            sim_fail(run, "copy: a wrong byte at %lld%s", (long long)i,
                     whole ? " of what was made durable" : "");
    }
    free(now);
}

static void end(struct sim_run *run, void *state)
{
    struct copy *copy = state;
    if (!run->failed)
        compare(run, copy);
    free(copy->source);
    free(copy);
}

const struct sim_workload sim_copy = {
    .name = "copy",
    .begin = begin,
    .step = step,
    .is_done = is_done,
    .check = check,
    .end = end,
};
