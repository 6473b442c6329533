/* SPDX-License-Identifier: MIT */
/* The peer: the same ring through liburing alone, and an epoll_wait where there is no ring. */
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "tools/bench/uring.h"

/* As a reactor's ring has; the SQ thread never sleeps in a slice. */
#define CQ_FACTOR  4u
#define SQ_IDLE_MS 1000000u

struct theirs;

/* What a completion leads to: as our ops, a function that is called. */
struct request {
    void (*fn)(struct request *request, int32_t result);
    struct theirs *theirs;
};

struct theirs {
    struct plx_bench *bench;
    enum plx_bench_ring_kind kind;
    unsigned entries;
    uint32_t batch;
    struct io_uring ring;
    int event_fd;
    int epoll_fd;
    uint64_t ended;
    uint64_t unexpected;
    int32_t expected;
    struct request requests[PLX_BENCH_POLL];
};

/* --- the ring -------------------------------------------------------------------------------- */

static int open_ring(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    (void)slice;
    struct theirs *theirs = ctx;
    struct io_uring_params params = {.cq_entries = theirs->entries * CQ_FACTOR};
    params.flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_SINGLE_ISSUER;
    if (theirs->kind == PLX_BENCH_SQPOLL) {
        params.flags |= IORING_SETUP_SQPOLL | IORING_SETUP_SQ_AFF;
        params.sq_thread_cpu = (unsigned)plx_bench_cpu_b(theirs->bench);
        params.sq_thread_idle = SQ_IDLE_MS;
    } else {
        params.flags |= IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
    }
    int rc = io_uring_queue_init_params(theirs->entries, &theirs->ring, &params);
    if (rc != 0)
        return plx_diag_set(diag, rc, "io_uring_setup", "%s", strerror(-rc));
    rc = io_uring_register_ring_fd(&theirs->ring);
    if (rc < 0) {
        io_uring_queue_exit(&theirs->ring);
        return plx_diag_set(diag, rc, "io_uring_register_ring_fd", "%s", strerror(-rc));
    }
    return 0;
}

static void close_ring(void *ctx)
{
    struct theirs *theirs = ctx;
    io_uring_queue_exit(&theirs->ring);
}

static void on_end(struct request *request, int32_t result)
{
    struct theirs *theirs = request->theirs;
    theirs->ended++;
    theirs->unexpected += result != theirs->expected;
}

/* Takes what is there and calls for each; a request of NULL is a cancel's own completion. */
static unsigned take_all(struct theirs *theirs)
{
    struct io_uring_cqe *cqes[PLX_BENCH_POLL];
    unsigned count = io_uring_peek_batch_cqe(&theirs->ring, cqes, PLX_BENCH_POLL);
    for (unsigned i = 0; i < count; i++) {
        struct request *request = io_uring_cqe_get_data(cqes[i]);
        if (request != NULL)
            request->fn(request, cqes[i]->res);
    }
    io_uring_cq_advance(&theirs->ring, count);
    return count;
}

static int take_until(struct plx_bench_slice *slice, struct theirs *theirs, uint64_t ended,
                      struct plx_diag *diag)
{
    for (uint32_t looks = 0; theirs->ended < ended;) {
        (void)take_all(theirs);
        if (++looks % PLX_BENCH_LOOKS == 0 && plx_bench_in_vain(slice))
            return plx_diag_set(diag, -ETIMEDOUT, "liburing", "requests do not end");
    }
    if (theirs->unexpected != 0)
        return plx_diag_set(diag, -EPROTO, "liburing", "requests ended in another way");
    return 0;
}

static int full(struct plx_diag *diag)
{
    return plx_diag_set(diag, -EAGAIN, "io_uring_get_sqe", "the ring is full");
}

/* False: the ring is full. */
static bool prepare_nop(struct theirs *theirs, uint32_t index)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&theirs->ring);
    if (sqe == NULL)
        return false;
    io_uring_prep_nop(sqe);
    theirs->requests[index] = (struct request){.fn = on_end, .theirs = theirs};
    io_uring_sqe_set_data(sqe, &theirs->requests[index]);
    return true;
}

static bool prepare_poll(struct theirs *theirs, uint32_t index)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&theirs->ring);
    if (sqe == NULL)
        return false;
    io_uring_prep_poll_add(sqe, theirs->event_fd, POLLIN);
    theirs->requests[index] = (struct request){.fn = on_end, .theirs = theirs};
    io_uring_sqe_set_data(sqe, &theirs->requests[index]);
    return true;
}

static bool prepare_cancel(struct theirs *theirs, uint32_t index)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&theirs->ring);
    if (sqe == NULL)
        return false;
    io_uring_prep_cancel64(sqe, (uintptr_t)&theirs->requests[index], 0);
    io_uring_sqe_set_data(sqe, NULL);
    return true;
}

/* --- what is timed --------------------------------------------------------------------------- */

static int run_publish_1(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    struct theirs *theirs = ctx;
    do {
        uint64_t sum = 0;
        for (uint32_t i = 0; i < PLX_BENCH_PUBLISH_1; i++) {
            uint64_t before = plx_bench_fenced_ticks();
            bool ok = prepare_nop(theirs, 0);
            io_uring_submit(&theirs->ring);
            sum += plx_bench_fenced_ticks() - before;
            if (!ok)
                return full(diag);
            int rc = take_until(slice, theirs, theirs->ended + 1, diag);
            if (rc != 0)
                return rc;
        }
        plx_bench_sample(slice, sum);
    } while (plx_ticks() < slice->end_ticks);
    return 0;
}

static int run_publish_32(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    struct theirs *theirs = ctx;
    do {
        bool ok = true;
        uint64_t before = plx_bench_fenced_ticks();
        for (uint32_t i = 0; i < PLX_BENCH_PUBLISH_32; i++)
            ok = ok && prepare_nop(theirs, i);
        io_uring_submit(&theirs->ring);
        plx_bench_sample(slice, plx_bench_fenced_ticks() - before);
        if (!ok)
            return full(diag);
        int rc = take_until(slice, theirs, theirs->ended + PLX_BENCH_PUBLISH_32, diag);
        if (rc != 0)
            return rc;
    } while (plx_ticks() < slice->end_ticks);
    return 0;
}

static int run_idle(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    struct theirs *theirs = ctx;
    uint64_t before = plx_ticks();
    int found = 0;
    while (before < slice->end_ticks) {
        for (uint32_t i = 0; i < PLX_BENCH_IDLE; i++) {
            struct io_uring_cqe *cqe;
            found |= io_uring_peek_cqe(&theirs->ring, &cqe) == 0;
        }
        uint64_t now = plx_ticks();
        plx_bench_sample(slice, now - before);
        before = now;
    }
    return found != 0 ? plx_diag_set(diag, -EPROTO, "liburing", "a completion of nothing") : 0;
}

static int run_poll(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    struct theirs *theirs = ctx;
    do {
        bool ok = true;
        uint64_t ended = theirs->ended;
        for (uint32_t i = 0; i < PLX_BENCH_POLL; i++)
            ok = ok && prepare_nop(theirs, i);
        if (!ok)
            return full(diag);
        io_uring_submit(&theirs->ring);
        uint64_t before = plx_bench_fenced_ticks();
        (void)take_all(theirs);
        uint64_t took = plx_bench_fenced_ticks() - before;
        if (theirs->ended == ended + PLX_BENCH_POLL)
            plx_bench_sample(slice, took);
        int rc = take_until(slice, theirs, ended + PLX_BENCH_POLL, diag);
        if (rc != 0)
            return rc;
    } while (plx_ticks() < slice->end_ticks);
    return 0;
}

static int run_cancel(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    struct theirs *theirs = ctx;
    do {
        bool ok = true;
        for (uint32_t i = 0; i < PLX_BENCH_CANCEL; i++)
            ok = ok && prepare_poll(theirs, i);
        io_uring_submit(&theirs->ring);
        (void)take_all(theirs);
        uint64_t before = plx_bench_fenced_ticks();
        for (uint32_t i = 0; i < PLX_BENCH_CANCEL; i++)
            ok = ok && prepare_cancel(theirs, i);
        plx_bench_sample(slice, plx_bench_fenced_ticks() - before);
        if (!ok)
            return full(diag);
        io_uring_submit(&theirs->ring);
        int rc = take_until(slice, theirs, theirs->ended + PLX_BENCH_CANCEL, diag);
        if (rc != 0)
            return rc;
    } while (plx_ticks() < slice->end_ticks);
    return 0;
}

static int run_nop(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    struct theirs *theirs = ctx;
    uint64_t before = plx_ticks();
    while (before < slice->end_ticks) {
        for (uint32_t i = 0; i < PLX_BENCH_TRIPS; i++) {
            if (!prepare_nop(theirs, 0))
                return full(diag);
            io_uring_submit(&theirs->ring);
            struct io_uring_cqe *cqe;
            for (uint32_t looks = 0; io_uring_peek_cqe(&theirs->ring, &cqe) != 0;) {
                if (++looks % PLX_BENCH_LOOKS == 0 && plx_bench_in_vain(slice))
                    return plx_diag_set(diag, -ETIMEDOUT, "liburing", "a request does not end");
            }
            struct request *request = io_uring_cqe_get_data(cqe);
            request->fn(request, cqe->res);
            io_uring_cqe_seen(&theirs->ring, cqe);
        }
        uint64_t now = plx_ticks();
        plx_bench_sample(slice, now - before);
        before = now;
    }
    if (theirs->unexpected != 0)
        return plx_diag_set(diag, -EPROTO, "liburing", "requests ended in another way");
    return 0;
}

/* `publish`: the time ends when they are shown, else when they have ended. */
static int run_batch(struct plx_bench_slice *slice, struct theirs *theirs, bool publish,
                     struct plx_diag *diag)
{
    do {
        bool ok = true;
        uint64_t ended = theirs->ended + theirs->batch;
        uint64_t before = plx_bench_fenced_ticks();
        for (uint32_t i = 0; i < theirs->batch; i++)
            ok = ok && prepare_nop(theirs, i);
        io_uring_submit(&theirs->ring);
        if (publish)
            plx_bench_sample(slice, plx_bench_fenced_ticks() - before);
        if (!ok)
            return full(diag);
        int rc = take_until(slice, theirs, ended, diag);
        if (rc != 0)
            return rc;
        if (!publish)
            plx_bench_sample(slice, plx_bench_fenced_ticks() - before);
    } while (plx_ticks() < slice->end_ticks);
    return 0;
}

static int run_publish(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    return run_batch(slice, ctx, true, diag);
}

static int run_nops(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    return run_batch(slice, ctx, false, diag);
}

static int run_epoll(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    struct theirs *theirs = ctx;
    uint64_t before = plx_ticks();
    int found = 0;
    while (before < slice->end_ticks) {
        for (uint32_t i = 0; i < PLX_BENCH_IDLE_EPOLL; i++) {
            struct epoll_event events[16];
            found |= epoll_wait(theirs->epoll_fd, events, 16, 0);
        }
        uint64_t now = plx_ticks();
        plx_bench_sample(slice, now - before);
        before = now;
    }
    return found != 0 ? plx_diag_set(diag, -EPROTO, "epoll_wait", "an event of nothing") : 0;
}

/* --- the subject ----------------------------------------------------------------------------- */

static const plx_bench_fn runs[] = {
    [PLX_BENCH_WORK_PUBLISH_1] = run_publish_1, [PLX_BENCH_WORK_PUBLISH_32] = run_publish_32,
    [PLX_BENCH_WORK_IDLE] = run_idle,           [PLX_BENCH_WORK_POLL] = run_poll,
    [PLX_BENCH_WORK_CANCEL] = run_cancel,       [PLX_BENCH_WORK_NOP] = run_nop,
    [PLX_BENCH_WORK_PUBLISH] = run_publish,     [PLX_BENCH_WORK_NOPS] = run_nops,
};

static bool open_descriptors(struct theirs *theirs)
{
    struct epoll_event event = {.events = EPOLLIN};
    theirs->event_fd = eventfd(0, EFD_CLOEXEC);
    theirs->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    return theirs->event_fd >= 0 && theirs->epoll_fd >= 0 &&
           epoll_ctl(theirs->epoll_fd, EPOLL_CTL_ADD, theirs->event_fd, &event) == 0;
}

struct plx_bench_subject plx_bench_liburing(struct plx_bench *bench, enum plx_bench_ring_kind kind,
                                            enum plx_bench_ring_work work, uint32_t batch)
{
    bool is_epoll = kind == PLX_BENCH_EPOLL;
    struct plx_bench_subject subject = {
        .name = is_epoll ? "epoll" : "liburing",
        .run = is_epoll ? run_epoll : runs[work],
        .open = is_epoll ? NULL : open_ring,
        .close = is_epoll ? NULL : close_ring,
        .missing = "no memory or no descriptors",
        .mem_node = -1,
    };
    struct theirs *theirs = calloc(1, sizeof(*theirs));
    subject.ctx = theirs;
    if (theirs == NULL)
        return subject;
    theirs->bench = bench;
    theirs->kind = kind;
    theirs->batch = batch;
    theirs->entries = plx_bench_ring_entries(bench);
    theirs->expected = work == PLX_BENCH_WORK_CANCEL ? -ECANCELED : 0;
    if (!open_descriptors(theirs))
        return subject;
    subject.missing = NULL;

    struct plx_diag diag;
    bool possible = kind != PLX_BENCH_SQPOLL || plx_bench_has_two(bench);
    if (is_epoll || !possible)
        return subject;
    if (open_ring(NULL, theirs, &diag) == 0)
        close_ring(theirs);
    else
        subject.missing = "such a ring cannot be had here";
    return subject;
}

void plx_bench_liburing_free(const struct plx_bench_subject *subject)
{
    struct theirs *theirs = subject->ctx;
    if (theirs == NULL)
        return;
    if (theirs->event_fd >= 0)
        close(theirs->event_fd);
    if (theirs->epoll_fd >= 0)
        close(theirs->epoll_fd);
    free(theirs);
}
