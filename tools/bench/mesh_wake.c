/* SPDX-License-Identifier: MIT */
/* What it takes to wake a reactor that sleeps, beside two threads with an eventfd each. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "tools/bench/bench.h"

/* What the other thread is given to fall asleep before it is woken. */
#define PAUSE_US 30u
/* Looks between two at the clock. */
#define LOOKS 1024u
/* So often the sleeper looks whether the slice has ended. */
#define LOOK_EVERY_NS 5000000u
#define ABANDON_NS    2000000000u
/* To write what ends the other thread's sleep. */
#define LAST_TRIES 3u

struct wake {
    struct plx_bench *bench;
    struct plx_runtime *runtime;
    struct plx_reactor *here;
    struct plx_reactor *there;
    uint32_t here_index;
    uint32_t there_index;
    uint64_t pause_ticks;
    struct plx_timer timer;
    struct plx_diag peer_diag;
    int ask; /* eventfds of the peer */
    int answer;
    /* The bench thread's. */
    uint64_t answers PLX_ALIGNED(2 * PLX_CACHE_LINE);
    /* The sleeper's. */
    int echo_rc PLX_ALIGNED(2 * PLX_CACHE_LINE);
};

/* Posts carry no context. */
static struct wake *active;

static void take_answer(struct plx_reactor *here, const void *body)
{
    (void)here;
    (void)body;
    active->answers++;
}

static void echo(struct plx_reactor *here, const void *body)
{
    (void)body;
    int rc = plx_mesh_post(here, active->here_index, take_answer, NULL, 0);
    if (rc != 0)
        active->echo_rc = rc;
}

static void pause_for(uint64_t ticks)
{
    uint64_t began = plx_ticks();
    while (plx_ticks() - began < ticks)
        plx_cpu_relax();
}

/* --- a reactor -------------------------------------------------------------------------------- */

static int run_posts(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    struct wake *wake = ctx;
    while (plx_ticks() < slice->end_ticks) {
        pause_for(wake->pause_ticks);
        uint64_t last = wake->answers;
        uint64_t began = plx_ticks();
        int rc = plx_mesh_post(wake->here, wake->there_index, echo, NULL, 0);
        if (rc != 0)
            return plx_diag_set(diag, rc, "plx_mesh_post", "refused with one post on its way");
        for (uint32_t looks = 0; wake->answers == last;) {
            (void)plx_reactor_poll(wake->here);
            if (++looks % LOOKS == 0 && plx_bench_in_vain(slice))
                return plx_diag_set(diag, -ETIMEDOUT, "plx_mesh_post", "no answer");
        }
        plx_bench_sample(slice, plx_ticks() - began);
    }
    return 0;
}

static void look_again(struct plx_timer *timer, void *ctx)
{
    (void)timer;
    (void)ctx;
}

static int sleep_in_reactor(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    struct wake *wake = ctx;
    uint64_t first = plx_reactor_now_ns(wake->there) + LOOK_EVERY_NS;
    plx_timer_arm_every(wake->there, &wake->timer, first, LOOK_EVERY_NS, look_again, NULL);
    int rc = 0;
    while (rc == 0 && !plx_bench_stopped(slice)) {
        if (plx_reactor_poll(wake->there) == 0)
            plx_reactor_idle(wake->there);
        if (wake->echo_rc != 0)
            rc = plx_diag_set(diag, wake->echo_rc, "plx_mesh_post", "the answer was refused");
    }
    plx_timer_disarm(wake->there, &wake->timer);
    while (plx_reactor_poll(wake->there) != 0)
        continue;
    return rc;
}

/* --- two eventfds ----------------------------------------------------------------------------- */

static int run_eventfds(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    struct wake *wake = ctx;
    uint64_t one = 1;
    int rc = 0;
    while (rc == 0 && plx_ticks() < slice->end_ticks) {
        pause_for(wake->pause_ticks);
        uint64_t began = plx_ticks();
        if (write(wake->ask, &one, sizeof(one)) != sizeof(one))
            rc = plx_diag_set(diag, -errno, "write", "an eventfd: %s", strerror(errno));
        for (uint32_t looks = 0; rc == 0 && read(wake->answer, &one, sizeof(one)) < 0;) {
            if (++looks % LOOKS == 0 && plx_bench_in_vain(slice))
                rc = plx_diag_set(diag, -ETIMEDOUT, "eventfd", "no answer");
        }
        if (rc == 0)
            plx_bench_sample(slice, plx_ticks() - began);
    }
    /* The largest number it holds is the last; after a failure, too, as the other one sleeps. */
    uint64_t last = (uint64_t)1 << 32;
    bool written = false;
    for (uint32_t tries = 0; tries < LAST_TRIES && !written; tries++) {
        written = write(wake->ask, &last, sizeof(last)) == sizeof(last);
        if (!written && rc == 0)
            rc = plx_diag_set(diag, -errno, "write", "an eventfd: %s", strerror(errno));
    }
    return rc;
}

static int sleep_in_read(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    struct wake *wake = ctx;
    (void)slice;
    for (;;) {
        uint64_t count;
        if (read(wake->ask, &count, sizeof(count)) != sizeof(count))
            return plx_diag_set(diag, -errno, "read", "an eventfd");
        if (count >= (uint64_t)1 << 32)
            return 0;
        if (write(wake->answer, &count, sizeof(count)) != sizeof(count))
            return plx_diag_set(diag, -errno, "write", "an eventfd");
    }
}

/* --- set-up ----------------------------------------------------------------------------------- */

static int adopt_there(void *ctx)
{
    struct wake *wake = ctx;
    return plx_reactor_adopt(wake->runtime, wake->there_index, &wake->there, &wake->peer_diag);
}

static int abandon_there(void *ctx)
{
    struct wake *wake = ctx;
    return plx_reactor_abandon(wake->there, ABANDON_NS);
}

static void close_wake(struct wake *wake)
{
    if (wake->there != NULL)
        (void)plx_bench_on_peer(wake->bench, abandon_there, wake);
    if (wake->here != NULL)
        (void)!plx_reactor_abandon(wake->here, ABANDON_NS);
    plx_runtime_destroy(wake->runtime);
    close(wake->ask);
    close(wake->answer);
    active = NULL;
}

static int open_wake(struct wake *wake, struct plx_diag *diag)
{
    char cpus[32];
    snprintf(cpus, sizeof(cpus), "%d,%d", plx_bench_cpu_a(wake->bench),
             plx_bench_cpu_b(wake->bench));
    const char *const settings[] = {"cpus", cpus,  "reactors", "2",     "sqpoll", "off",
                                    "smt",  "yes", "idle",     "block", NULL};
    int rc = plx_bench_runtime(wake->bench, settings, NULL, &wake->runtime, diag);
    if (rc != 0)
        return rc;
    active = wake;
    wake->ask = eventfd(0, EFD_CLOEXEC);
    wake->answer = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (wake->ask < 0 || wake->answer < 0)
        rc = plx_diag_set(diag, -errno, "eventfd", "none could be made");
    const struct plx_plan *plan = plx_runtime_plan(wake->runtime);
    bool first = (int)plan->reactors[0].cpu == plx_bench_cpu_a(wake->bench);
    wake->here_index = first ? 0 : 1;
    wake->there_index = first ? 1 : 0;
    if (rc == 0)
        rc = plx_reactor_adopt(wake->runtime, wake->here_index, &wake->here, diag);
    if (rc == 0) {
        rc = plx_bench_on_peer(wake->bench, adopt_there, wake);
        if (rc != 0)
            *diag = wake->peer_diag;
    }
    if (rc != 0)
        close_wake(wake);
    return rc;
}

/* Ticks in PAUSE_US. */
static uint64_t pause_ticks(void)
{
    uint64_t began = plx_ticks();
    usleep(1000);
    return (plx_ticks() - began) * PAUSE_US / 1000;
}

int plx_bench_mesh_wake(struct plx_bench *bench)
{
    static struct wake wake;
    struct plx_diag diag;
    const char *missing = NULL;
    bool opened = false;
    const struct plx_bench_case what = {
        .bench = "mesh",
        .name = "wake_block",
        .what = "a post to a reactor that sleeps, and one back to one that spins",
        .block = 1,
        .two_cores = true,
        .sleeps = true,
    };
    if (!plx_bench_is_wanted(bench, what.bench, what.name))
        return plx_bench_measure(bench, &what, NULL, 0);
    wake = (struct wake){.bench = bench, .pause_ticks = pause_ticks(), .ask = -1, .answer = -1};
    if (plx_bench_has_two(bench)) {
        opened = open_wake(&wake, &diag) == 0;
        if (!opened) {
            plx_bench_failed(bench, "mesh", &diag);
            missing = "the reactors could not be opened";
        }
    }
    const struct plx_bench_subject subjects[] = {
        {.name = "pollux",
         .run = run_posts,
         .peer = sleep_in_reactor,
         .ctx = &wake,
         .missing = missing,
         .mem_node = -1},
        {.name = "raw",
         .run = run_eventfds,
         .peer = sleep_in_read,
         .ctx = &wake,
         .missing = missing,
         .mem_node = -1},
    };
    int rc = plx_bench_measure(bench, &what, subjects, 2);
    if (opened)
        close_wake(&wake);
    return rc;
}
