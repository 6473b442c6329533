/* SPDX-License-Identifier: MIT */
/*
 * What it takes until a thread that sleeps in its ring acts on what came: an eventfd is written on
 * one core, on the other a completion wakes whoever sleeps there, and an answer is seen in a word
 * that both share. Beside the same ring through liburing, epoll_wait(2), and a read(2) that blocks.
 */
#include "tools/bench/uring.h"

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* What the other thread is given to fall asleep before it is woken. */
#define PAUSE_US   30u
#define ENTRIES    64u
#define ABANDON_NS 2000000000u
/* To write what ends the other thread's sleep. */
#define LAST_TRIES 3u

struct wake {
    struct plx_bench *bench;
    uint64_t pause_ticks;
    int ask; /* written here, read there */
    int epoll;
    struct plx_runtime *runtime;
    struct plx_reactor *reactor; /* the peer thread's */
    struct io_uring ring;        /* it, too */
    bool has_ring;
    struct plx_op op PLX_ALIGNED(PLX_CACHE_LINE);
    struct plx_diag peer_diag;
    uint64_t asked; /* the bench thread's */
    /* Written by the bench thread before the last time it asks. */
    PLX_ATOMIC(bool) ending PLX_ALIGNED(2 * PLX_CACHE_LINE);
    PLX_ATOMIC(uint64_t) answered PLX_ALIGNED(2 * PLX_CACHE_LINE);
    /* The peer thread's. */
    bool ended PLX_ALIGNED(2 * PLX_CACHE_LINE);
    int rc;
};

/* --- who wakes -------------------------------------------------------------------------------- */

static int begin(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    (void)slice;
    (void)diag;
    struct wake *wake = ctx;
    /* Relaxed: the peer thread is handed its work after this. */
    plx_store_relaxed(&wake->ending, false);
    wake->ended = false;
    wake->rc = 0;
    return 0;
}

static void pause_for(uint64_t ticks)
{
    uint64_t began = plx_ticks();
    while (plx_ticks() - began < ticks)
        plx_cpu_relax();
}

static int ask(struct wake *wake, struct plx_diag *diag)
{
    uint64_t one = 1;
    if (write(wake->ask, &one, sizeof(one)) != sizeof(one))
        return plx_diag_set(diag, -errno, "write", "an eventfd: %s", strerror(errno));
    wake->asked++;
    return 0;
}

/* Acquire: pairs with the release of answer(). */
static int await(struct plx_bench_slice *slice, struct wake *wake, struct plx_diag *diag)
{
    for (uint32_t looks = 0; plx_load_acquire(&wake->answered) != wake->asked;) {
        plx_cpu_relax();
        if (++looks % PLX_BENCH_LOOKS == 0 && plx_bench_in_vain(slice))
            return plx_diag_set(diag, -ETIMEDOUT, "wake", "no answer");
    }
    return 0;
}

static int run(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    struct wake *wake = ctx;
    int rc = 0;
    while (rc == 0 && plx_ticks() < slice->end_ticks) {
        pause_for(wake->pause_ticks);
        uint64_t began = plx_ticks();
        rc = ask(wake, diag);
        if (rc == 0)
            rc = await(slice, wake, diag);
        if (rc == 0)
            plx_bench_sample(slice, plx_ticks() - began);
    }
    /* Release: pairs with the acquire of answer(), by way of the eventfd besides. */
    plx_store_release(&wake->ending, true);
    /* After a failure, too, and again: whoever sleeps would sleep for ever. */
    struct plx_diag last;
    int last_rc = -EIO;
    for (uint32_t tries = 0; tries < LAST_TRIES && last_rc != 0; tries++) {
        last_rc = ask(wake, rc == 0 ? diag : &last);
        rc = rc == 0 ? last_rc : rc;
    }
    return rc == 0 ? await(slice, wake, diag) : rc;
}

/* --- who sleeps ------------------------------------------------------------------------------- */

/* Takes what was asked, and says so. True: there is more to come. */
static bool answer(struct wake *wake)
{
    uint64_t count;
    if (read(wake->ask, &count, sizeof(count)) != sizeof(count)) {
        wake->rc = -errno;
        return false;
    }
    /* After the read, which slept, and before the answer, which lets the next one come. */
    bool ending = plx_load_acquire(&wake->ending);
    /* Relaxed: this thread alone stores it. */
    plx_store_release(&wake->answered, plx_load_relaxed(&wake->answered) + count);
    return !ending;
}

static int sleep_in_read(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    (void)slice;
    struct wake *wake = ctx;
    while (answer(wake))
        continue;
    return wake->rc == 0 ? 0 : plx_diag_set(diag, wake->rc, "read", "an eventfd");
}

static int sleep_in_epoll(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    (void)slice;
    struct wake *wake = ctx;
    struct epoll_event event;
    bool more = true;
    while (more) {
        int count = epoll_wait(wake->epoll, &event, 1, -1);
        if (count < 0 && errno != EINTR)
            return plx_diag_set(diag, -errno, "epoll_wait", "%s", strerror(errno));
        if (count > 0)
            more = answer(wake);
    }
    return wake->rc == 0 ? 0 : plx_diag_set(diag, wake->rc, "read", "an eventfd");
}

static int sleep_in_ring(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    (void)slice;
    struct wake *wake = ctx;
    bool more = true;
    while (more) {
        struct io_uring_cqe *cqe;
        struct io_uring_sqe *sqe = io_uring_get_sqe(&wake->ring);
        if (sqe == NULL)
            return plx_diag_set(diag, -EAGAIN, "io_uring_get_sqe", "the ring is full");
        io_uring_prep_poll_add(sqe, wake->ask, POLLIN);
        int rc;
        do {
            rc = io_uring_submit_and_wait(&wake->ring, 1);
        } while (rc == -EINTR);
        if (rc < 0 || io_uring_peek_cqe(&wake->ring, &cqe) != 0)
            return plx_diag_set(diag, rc < 0 ? rc : -EPROTO, "io_uring_enter", "no completion");
        io_uring_cqe_seen(&wake->ring, cqe);
        more = answer(wake);
    }
    return wake->rc == 0 ? 0 : plx_diag_set(diag, wake->rc, "read", "an eventfd");
}

static void on_asked(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    struct wake *wake = ctx;
    if (event->result < 0)
        wake->rc = event->result;
    wake->ended = event->result < 0 || !answer(wake);
    if (wake->ended)
        return;
    plx_op_poll(op, wake->ask, POLLIN, on_asked, wake);
    wake->rc = plx_op_submit(wake->reactor, op);
    wake->ended = wake->rc != 0;
}

static int sleep_in_reactor(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    (void)slice;
    struct wake *wake = ctx;
    plx_op_poll(&wake->op, wake->ask, POLLIN, on_asked, wake);
    wake->rc = plx_op_submit(wake->reactor, &wake->op);
    while (wake->rc == 0 && !wake->ended) {
        if (plx_reactor_poll(wake->reactor) == 0)
            plx_reactor_idle(wake->reactor);
    }
    return wake->rc == 0 ? 0 : plx_diag_set(diag, wake->rc, "plx_op_poll", "an eventfd");
}

/* --- set-up ----------------------------------------------------------------------------------- */

static int adopt(void *ctx)
{
    struct wake *wake = ctx;
    return plx_reactor_adopt(wake->runtime, 0, &wake->reactor, &wake->peer_diag);
}

static int abandon(void *ctx)
{
    struct wake *wake = ctx;
    return plx_reactor_abandon(wake->reactor, ABANDON_NS);
}

static int open_reactor(struct wake *wake, struct plx_diag *diag)
{
    char cpu[16];
    snprintf(cpu, sizeof(cpu), "%d", plx_bench_cpu_b(wake->bench));
    const char *const settings[] = {"backend", "uring", "cpus", cpu,    "reactors", "1", "sqpoll",
                                    "off",     "smt",   "yes",  "idle", "block",    NULL};
    int rc = plx_bench_runtime(wake->bench, settings, NULL, &wake->runtime, diag);
    if (rc != 0)
        return rc;
    rc = plx_bench_on_peer(wake->bench, adopt, wake);
    if (rc != 0)
        *diag = wake->peer_diag;
    return rc;
}

/* A reactor's flags. */
static int open_ring(void *ctx)
{
    struct wake *wake = ctx;
    struct io_uring_params params = {
        .flags = IORING_SETUP_CLAMP | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                 IORING_SETUP_TASKRUN_FLAG,
    };
    int rc = io_uring_queue_init_params(ENTRIES, &wake->ring, &params);
    wake->has_ring = rc == 0;
    if (rc == 0)
        (void)io_uring_register_ring_fd(&wake->ring);
    return rc;
}

static int close_ring(void *ctx)
{
    io_uring_queue_exit(&((struct wake *)ctx)->ring);
    return 0;
}

static bool open_descriptors(struct wake *wake)
{
    struct epoll_event event = {.events = EPOLLIN};
    wake->ask = eventfd(0, EFD_CLOEXEC);
    wake->epoll = epoll_create1(EPOLL_CLOEXEC);
    return wake->ask >= 0 && wake->epoll >= 0 &&
           epoll_ctl(wake->epoll, EPOLL_CTL_ADD, wake->ask, &event) == 0;
}

static void close_wake(struct wake *wake)
{
    if (wake->reactor != NULL)
        (void)plx_bench_on_peer(wake->bench, abandon, wake);
    plx_runtime_destroy(wake->runtime);
    if (wake->has_ring)
        (void)plx_bench_on_peer(wake->bench, close_ring, wake);
    if (wake->ask >= 0)
        close(wake->ask);
    if (wake->epoll >= 0)
        close(wake->epoll);
}

/* Ticks in PAUSE_US. */
static uint64_t pause_ticks(void)
{
    uint64_t began = plx_ticks();
    usleep(1000);
    return (plx_ticks() - began) * PAUSE_US / 1000;
}

/* Why Pollux cannot be measured, in `diag`; a host that refuses io_uring is no failure. */
static const char *open_pollux(struct wake *wake, struct plx_diag *diag)
{
    int rc = open_reactor(wake, diag);
    if (rc == 0)
        return NULL;
    if (!plx_bench_is_refusal(rc))
        plx_bench_failed(wake->bench, "uring", diag);
    return diag->text;
}

int plx_bench_uring_wake(struct plx_bench *bench)
{
    static const struct plx_bench_case what = {
        .bench = "uring",
        .name = "wake",
        .what =
            "an eventfd written, whose completion wakes a thread that sleeps; until it has acted",
        .block = 1,
        .two_cores = true,
        .sleeps = true,
    };
    static struct wake wake;
    if (!plx_bench_is_wanted(bench, what.bench, what.name))
        return plx_bench_measure(bench, &what, NULL, 0);
    memset(&wake, 0, sizeof(wake));
    wake.bench = bench;
    wake.pause_ticks = pause_ticks();
    wake.ask = -1;
    wake.epoll = -1;
    struct plx_diag diag = {0};
    const char *ours = NULL;
    const char *theirs = NULL;
    const char *all = NULL;
    if (plx_bench_has_two(bench)) {
        all = open_descriptors(&wake) ? NULL : "no descriptors";
        ours = all != NULL ? all : open_pollux(&wake, &diag);
        theirs = all != NULL                                       ? all
                 : plx_bench_on_peer(bench, open_ring, &wake) != 0 ? "no such ring here"
                                                                   : NULL;
    }
    const struct {
        const char *name;
        plx_bench_fn sleep;
        const char *missing;
    } who[] = {{"pollux", sleep_in_reactor, ours},
               {"liburing", sleep_in_ring, theirs},
               {"epoll", sleep_in_epoll, all},
               {"raw", sleep_in_read, all}};
    struct plx_bench_subject subjects[4];
    for (size_t i = 0; i < 4; i++)
        subjects[i] = (struct plx_bench_subject){
            .name = who[i].name,
            .run = run,
            .peer = who[i].sleep,
            .open = begin,
            .ctx = &wake,
            .missing = who[i].missing,
            .mem_node = -1,
        };
    int rc = plx_bench_measure(bench, &what, subjects, 4);
    close_wake(&wake);
    return rc;
}
