/* SPDX-License-Identifier: MIT */
/* What it costs to submit, to look, to be told, to cancel: a reactor beside a bare ring. */
#include "tools/bench/uring.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define ABANDON_NS 2000000000u
/* Reactors of the made-up machine: one that is polled, four that could write to it. */
#define MESH_REACTORS 5u

/* Us: a reactor of one slice, and the ops that go through it. */
struct ours {
    struct plx_bench *bench;
    enum plx_bench_ring_kind kind;
    uint32_t batch;
    bool has_mesh;
    struct plx_runtime *runtime;
    struct plx_reactor *reactor;
    int event_fd; /* never written to, so that polls of it stay in flight */
    /* Counted by the callbacks. */
    uint64_t ended;
    uint64_t unexpected; /* results other than `expected` */
    int32_t expected;
    bool again; /* a callback submits its op anew */
    struct plx_op ops[PLX_BENCH_POLL] PLX_ALIGNED(PLX_CACHE_LINE);
    char cpus[16];
    char sq_cpu[16];
    char mode[32];
    /* The made-up machine. */
    struct plx_machine machine;
    struct plx_machine_cpu machine_cpus[MESH_REACTORS + 1];
    struct plx_machine_node machine_node;
    uint32_t distance;
};

/* --- opening --------------------------------------------------------------------------------- */

/*
 * A machine with a core for each of five reactors, and cpu_b as it is, for an SQ thread. Nobody is
 * pinned by it; only the reactor that is polled here exists.
 */
static const struct plx_machine *make_up_machine(struct ours *ours)
{
    int cpu_b = plx_bench_cpu_b(ours->bench);
    uint32_t count = MESH_REACTORS + (cpu_b >= 0);
    uint32_t number = 0;
    for (uint32_t i = 0; i < count; i++, number++) {
        ours->machine_cpus[i] = (struct plx_machine_cpu){.cpu = number, .core = i, .allowed = true};
    }
    /* Ascending by number: cpu_b stays last where it lies above the others. */
    if (cpu_b >= (int)count)
        ours->machine_cpus[count - 1].cpu = (uint32_t)cpu_b;
    ours->machine_node = (struct plx_machine_node){
        .cpu_count = count, .memory_bytes = UINT64_C(1) << 40, .allowed = true};
    ours->distance = PLX_DISTANCE_LOCAL;
    ours->machine = (struct plx_machine){
        .cpus = ours->machine_cpus,
        .nodes = &ours->machine_node,
        .distances = &ours->distance,
        .cpu_count = count,
        .node_count = 1,
        .core_count = count,
        .cluster_count = 1,
        .distances_known = true,
        .is_this_system = true,
        .source = "made up",
    };
    return &ours->machine;
}

static int open_runtime(struct ours *ours, struct plx_diag *diag)
{
    const char *settings[32];
    uint32_t count = 0;
    const struct plx_machine *machine = NULL;
    bool sqpoll = ours->kind == PLX_BENCH_SQPOLL;
    settings[count++] = "backend";
    settings[count++] = ours->kind == PLX_BENCH_EPOLL ? "epoll" : "uring";
    settings[count++] = "sqpoll";
    settings[count++] = sqpoll ? "on" : "off";
    if (sqpoll) {
        settings[count++] = "sqpoll_cpus";
        settings[count++] = ours->sq_cpu;
        settings[count++] = "sqpoll_share";
        settings[count++] = "16";
    }
    settings[count++] = "reactors";
    settings[count++] = ours->has_mesh ? "5" : "1";
    if (ours->has_mesh) {
        settings[count++] = "pin";
        settings[count++] = "no";
        machine = make_up_machine(ours);
    } else {
        settings[count++] = "cpus";
        settings[count++] = ours->cpus;
    }
    settings[count++] = "smt";
    settings[count++] = "yes";
    settings[count] = NULL;
    return plx_bench_runtime(ours->bench, settings, machine, &ours->runtime, diag);
}

static int open_ours(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    (void)slice;
    struct ours *ours = ctx;
    int rc = open_runtime(ours, diag);
    if (rc != 0)
        return rc;
    rc = plx_reactor_adopt(ours->runtime, 0, &ours->reactor, diag);
    if (rc == 0 && strcmp(plx_reactor_mode(ours->reactor), ours->mode) != 0) {
        rc = plx_diag_set(diag, -EOPNOTSUPP, "mode", "the reactor runs as %s where %s is meant",
                          plx_reactor_mode(ours->reactor), ours->mode);
        (void)!plx_reactor_abandon(ours->reactor, ABANDON_NS);
    }
    if (rc != 0) {
        plx_runtime_destroy(ours->runtime);
        ours->runtime = NULL;
    }
    return rc;
}

static void close_ours(void *ctx)
{
    struct ours *ours = ctx;
    (void)!plx_reactor_abandon(ours->reactor, ABANDON_NS);
    plx_runtime_destroy(ours->runtime);
    ours->runtime = NULL;
}

/* --- ops ------------------------------------------------------------------------------------- */

static void on_end(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    struct ours *ours = ctx;
    ours->ended++;
    ours->unexpected += event->result != ours->expected;
    if (!ours->again)
        return;
    plx_op_nop(op, on_end, ours);
    ours->unexpected += plx_op_submit(ours->reactor, op) != 0;
}

/* Turns until so many ops have ended in all. */
static int turn_until(struct plx_bench_slice *slice, struct ours *ours, uint64_t ended,
                      struct plx_diag *diag)
{
    for (uint32_t looks = 0; ours->ended < ended;) {
        (void)plx_reactor_poll(ours->reactor);
        if (++looks % PLX_BENCH_LOOKS == 0 && plx_bench_in_vain(slice))
            return plx_diag_set(diag, -ETIMEDOUT, "reactor", "ops do not end");
    }
    if (ours->unexpected != 0)
        return plx_diag_set(diag, -EPROTO, "reactor", "ops ended in another way than they should");
    return 0;
}

static int refused(int rc, struct plx_diag *diag)
{
    return plx_diag_set(diag, rc, "plx_op_submit", "%s", strerror(-rc));
}

static int submit_nops(struct ours *ours, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        plx_op_nop(&ours->ops[i], on_end, ours);
        int rc = plx_op_submit(ours->reactor, &ours->ops[i]);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* Stays in flight until it is cancelled. */
static int submit_poll(struct ours *ours, struct plx_op *op)
{
    plx_op_poll(op, ours->event_fd, POLLIN, on_end, ours);
    return plx_op_submit(ours->reactor, op);
}

/* --- what is timed --------------------------------------------------------------------------- */

static int run_publish_1(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    struct ours *ours = ctx;
    struct plx_op *op = &ours->ops[0];
    do {
        uint64_t sum = 0;
        for (uint32_t i = 0; i < PLX_BENCH_PUBLISH_1; i++) {
            uint64_t before = plx_bench_fenced_ticks();
            plx_op_nop(op, on_end, ours);
            int rc = plx_op_submit(ours->reactor, op);
            plx_reactor_flush(ours->reactor);
            sum += plx_bench_fenced_ticks() - before;
            if (rc != 0)
                return refused(rc, diag);
            rc = turn_until(slice, ours, ours->ended + 1, diag);
            if (rc != 0)
                return rc;
        }
        plx_bench_sample(slice, sum);
    } while (plx_ticks() < slice->end_ticks);
    return 0;
}

static int run_publish_32(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    struct ours *ours = ctx;
    do {
        uint64_t before = plx_bench_fenced_ticks();
        int rc = submit_nops(ours, PLX_BENCH_PUBLISH_32);
        plx_reactor_flush(ours->reactor);
        plx_bench_sample(slice, plx_bench_fenced_ticks() - before);
        if (rc != 0)
            return refused(rc, diag);
        rc = turn_until(slice, ours, ours->ended + PLX_BENCH_PUBLISH_32, diag);
        if (rc != 0)
            return rc;
    } while (plx_ticks() < slice->end_ticks);
    return 0;
}

static int run_idle(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    struct ours *ours = ctx;
    uint32_t block = ours->kind == PLX_BENCH_EPOLL ? PLX_BENCH_IDLE_EPOLL : PLX_BENCH_IDLE;
    /* A reactor without any op in flight might have nothing to look for. */
    int rc = submit_poll(ours, &ours->ops[0]);
    if (rc != 0)
        return refused(rc, diag);
    (void)plx_reactor_poll(ours->reactor);
    (void)plx_reactor_poll(ours->reactor);
    uint64_t before = plx_ticks();
    int work = 0;
    while (before < slice->end_ticks) {
        for (uint32_t i = 0; i < block; i++)
            work |= plx_reactor_poll(ours->reactor);
        uint64_t now = plx_ticks();
        plx_bench_sample(slice, now - before);
        before = now;
    }
    if (work != 0)
        return plx_diag_set(diag, -EPROTO, "reactor", "there was work in a turn without any");
    plx_op_cancel(ours->reactor, &ours->ops[0]);
    return turn_until(slice, ours, ours->ended + 1, diag);
}

static int run_poll(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    struct ours *ours = ctx;
    do {
        uint64_t ended = ours->ended;
        int rc = submit_nops(ours, PLX_BENCH_POLL);
        if (rc != 0)
            return refused(rc, diag);
        plx_reactor_flush(ours->reactor);
        uint64_t before = plx_bench_fenced_ticks();
        (void)plx_reactor_poll(ours->reactor);
        uint64_t took = plx_bench_fenced_ticks() - before;
        if (ours->ended == ended + PLX_BENCH_POLL)
            plx_bench_sample(slice, took);
        rc = turn_until(slice, ours, ended + PLX_BENCH_POLL, diag);
        if (rc != 0)
            return rc;
    } while (plx_ticks() < slice->end_ticks);
    return 0;
}

static int run_cancel(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    struct ours *ours = ctx;
    do {
        for (uint32_t i = 0; i < PLX_BENCH_CANCEL; i++) {
            int rc = submit_poll(ours, &ours->ops[i]);
            if (rc != 0)
                return refused(rc, diag);
        }
        plx_reactor_flush(ours->reactor);
        (void)plx_reactor_poll(ours->reactor);
        uint64_t before = plx_bench_fenced_ticks();
        for (uint32_t i = 0; i < PLX_BENCH_CANCEL; i++)
            plx_op_cancel(ours->reactor, &ours->ops[i]);
        plx_bench_sample(slice, plx_bench_fenced_ticks() - before);
        int rc = turn_until(slice, ours, ours->ended + PLX_BENCH_CANCEL, diag);
        if (rc != 0)
            return rc;
    } while (plx_ticks() < slice->end_ticks);
    return 0;
}

/* As a reactor does it: the callback submits the next op, and the turn's end shows it. */
static int run_nop(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    struct ours *ours = ctx;
    ours->again = true;
    int rc = submit_nops(ours, 1);
    if (rc != 0)
        return refused(rc, diag);
    rc = turn_until(slice, ours, ours->ended + 1, diag);
    uint64_t before = plx_ticks();
    while (before < slice->end_ticks && rc == 0) {
        rc = turn_until(slice, ours, ours->ended + PLX_BENCH_TRIPS, diag);
        uint64_t now = plx_ticks();
        plx_bench_sample(slice, now - before);
        before = now;
    }
    ours->again = false;
    return rc == 0 ? turn_until(slice, ours, ours->ended + 1, diag) : rc;
}

/* `publish`: the time ends when they are shown, else when they have ended. */
static int run_batch(struct plx_bench_slice *slice, struct ours *ours, bool publish,
                     struct plx_diag *diag)
{
    do {
        uint64_t ended = ours->ended + ours->batch;
        uint64_t before = plx_bench_fenced_ticks();
        int rc = submit_nops(ours, ours->batch);
        plx_reactor_flush(ours->reactor);
        if (publish)
            plx_bench_sample(slice, plx_bench_fenced_ticks() - before);
        if (rc != 0)
            return refused(rc, diag);
        rc = turn_until(slice, ours, ended, diag);
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

/* --- cases ----------------------------------------------------------------------------------- */

static const plx_bench_fn runs[] = {
    [PLX_BENCH_WORK_PUBLISH_1] = run_publish_1, [PLX_BENCH_WORK_PUBLISH_32] = run_publish_32,
    [PLX_BENCH_WORK_IDLE] = run_idle,           [PLX_BENCH_WORK_POLL] = run_poll,
    [PLX_BENCH_WORK_CANCEL] = run_cancel,       [PLX_BENCH_WORK_NOP] = run_nop,
    [PLX_BENCH_WORK_PUBLISH] = run_publish,     [PLX_BENCH_WORK_NOPS] = run_nops,
};

static void prepare_ours(struct ours *ours, struct plx_bench *bench, enum plx_bench_ring_kind kind,
                         enum plx_bench_ring_work work)
{
    static const char *const modes[] = {"uring defer", "uring sqpoll", "epoll"};
    int cpu_a = plx_bench_cpu_a(bench);
    int cpu_b = plx_bench_cpu_b(bench);
    memset(ours, 0, sizeof(*ours));
    ours->bench = bench;
    ours->kind = kind;
    ours->has_mesh = work == PLX_BENCH_WORK_IDLE;
    bool cancels = work == PLX_BENCH_WORK_CANCEL || work == PLX_BENCH_WORK_IDLE;
    ours->expected = cancels ? -ECANCELED : 0;
    snprintf(ours->mode, sizeof(ours->mode), "%s", modes[kind]);
    snprintf(ours->sq_cpu, sizeof(ours->sq_cpu), "%d", cpu_b);
    if (kind == PLX_BENCH_SQPOLL)
        snprintf(ours->cpus, sizeof(ours->cpus), "%d,%d", cpu_a, cpu_b);
    else
        snprintf(ours->cpus, sizeof(ours->cpus), "%d", cpu_a);
    ours->event_fd = -1;
}

/*
 * Opens and closes once: why this kind of reactor is not to be had here; empty: it is. A host that
 * refuses io_uring is no failure of the measurement; whatever else is in the way is one.
 */
static void try_ours(struct ours *ours, char *why, size_t bytes)
{
    struct plx_diag diag;
    why[0] = '\0';
    ours->event_fd = eventfd(0, EFD_CLOEXEC);
    if (ours->event_fd < 0) {
        snprintf(why, bytes, "eventfd: %s", strerror(errno));
        return;
    }
    int rc = open_ours(NULL, ours, &diag);
    if (rc == 0) {
        close_ours(ours);
        return;
    }
    snprintf(why, bytes, "%s", diag.text);
    if (!plx_bench_is_refusal(rc))
        plx_bench_failed(ours->bench, "uring", &diag);
}

static int measure(struct plx_bench *bench, const struct plx_bench_case *what,
                   enum plx_bench_ring_kind kind, enum plx_bench_ring_work work)
{
    char why[sizeof(((struct plx_diag *)0)->text)] = "";
    if (!plx_bench_is_wanted(bench, what->bench, what->name))
        return plx_bench_measure(bench, what, NULL, 0);
    struct ours *ours = aligned_alloc(PLX_CACHE_LINE, plx_round_up(sizeof(*ours), PLX_CACHE_LINE));
    if (ours == NULL)
        return -ENOMEM;
    prepare_ours(ours, bench, kind, work);
    if (!what->two_cores || plx_bench_has_two(bench))
        try_ours(ours, why, sizeof(why));
    const struct plx_bench_subject subjects[] = {
        {.name = "pollux",
         .run = runs[work],
         .open = open_ours,
         .close = close_ours,
         .ctx = ours,
         .missing = why[0] != '\0' ? why : NULL,
         .mem_node = -1},
        plx_bench_liburing(bench, kind, work, 1),
    };
    int rc = plx_bench_measure(bench, what, subjects, 2);
    plx_bench_liburing_free(&subjects[1]);
    if (ours->event_fd >= 0)
        close(ours->event_fd);
    free(ours);
    return rc;
}

/* --- batches: an SQ thread beside the calling core ---------------------------------------------
 */

/* They are many: shorter than others. */
#define BATCH_ROUNDS       16u
#define BATCH_ROUNDS_QUICK 6u
#define BATCH_SLICE_US     8000u

static const uint32_t batches[] = {1, 2, 4, 8, 16, 32, 64};
/* Those with --quick. */
static const uint32_t few_batches[] = {1, 8, 64};

#define BATCHES     (sizeof(batches) / sizeof(batches[0]))
#define FEW_BATCHES (sizeof(few_batches) / sizeof(few_batches[0]))

static int measure_batch(struct plx_bench *bench, const struct plx_bench_case *what,
                         enum plx_bench_ring_work work, uint32_t batch)
{
    static const enum plx_bench_ring_kind kinds[] = {PLX_BENCH_SQPOLL, PLX_BENCH_DEFER};
    static const char *const names[] = {"pollux/sqpoll", "pollux/defer", "liburing/sqpoll",
                                        "liburing/defer"};
    char why[2][sizeof(((struct plx_diag *)0)->text)] = {"", ""};
    struct plx_bench_subject subjects[4] = {{0}};
    if (!plx_bench_is_wanted(bench, what->bench, what->name))
        return plx_bench_measure(bench, what, NULL, 0);
    size_t bytes = plx_round_up(sizeof(struct ours), PLX_CACHE_LINE);
    struct ours *ours[2];
    for (size_t i = 0; i < 2; i++) {
        ours[i] = aligned_alloc(PLX_CACHE_LINE, bytes);
        if (ours[i] == NULL) {
            free(i != 0 ? ours[0] : NULL);
            return -ENOMEM;
        }
        prepare_ours(ours[i], bench, kinds[i], work);
        ours[i]->batch = batch;
    }
    for (size_t i = 0; i < 2; i++) {
        if (plx_bench_has_two(bench))
            try_ours(ours[i], why[i], sizeof(why[i]));
        subjects[i] = (struct plx_bench_subject){
            .run = runs[work],
            .open = open_ours,
            .close = close_ours,
            .ctx = ours[i],
            .missing = why[i][0] != '\0' ? why[i] : NULL,
            .mem_node = -1,
        };
        subjects[2 + i] = plx_bench_liburing(bench, kinds[i], work, batch);
    }
    for (size_t i = 0; i < 4; i++)
        subjects[i].name = names[i];
    int rc = plx_bench_measure(bench, what, subjects, 4);
    for (size_t i = 0; i < 2; i++) {
        plx_bench_liburing_free(&subjects[2 + i]);
        if (ours[i]->event_fd >= 0)
            close(ours[i]->event_fd);
        free(ours[i]);
    }
    return rc;
}

static int measure_batches(struct plx_bench *bench, enum plx_bench_ring_work work,
                           const char *prefix, const char *text)
{
    /* Names last as long as the rows, and are the same in each pass over everything. */
    static char names[2][BATCHES][16];
    bool quick = plx_bench_is_quick(bench);
    int rc = 0;
    for (size_t i = 0; i < (quick ? FEW_BATCHES : BATCHES) && rc == 0; i++) {
        uint32_t batch = quick ? few_batches[i] : batches[i];
        char *name = names[work == PLX_BENCH_WORK_NOPS][i];
        snprintf(name, sizeof(names[0][0]), "%s_b%u", prefix, batch);
        const struct plx_bench_case what = {
            .bench = "uring",
            .name = name,
            .what = text,
            .block = batch,
            .two_cores = true,
            .fenced = true,
            .rounds = quick ? BATCH_ROUNDS_QUICK : BATCH_ROUNDS,
            .slice_us = BATCH_SLICE_US,
        };
        rc = measure_batch(bench, &what, work, batch);
    }
    return rc;
}

/* --- the benchmark ---------------------------------------------------------------------------- */

static const struct {
    enum plx_bench_ring_kind kind;
    enum plx_bench_ring_work work;
    struct plx_bench_case what;
} cases[] = {
    {PLX_BENCH_SQPOLL,
     PLX_BENCH_WORK_PUBLISH_1,
     {.name = "publish_1",
      .what = "an op prepared and shown to the SQ thread, alone",
      .block = PLX_BENCH_PUBLISH_1,
      .readings = PLX_BENCH_PUBLISH_1,
      .fenced = true,
      .two_cores = true}},
    {PLX_BENCH_SQPOLL,
     PLX_BENCH_WORK_PUBLISH_32,
     {.name = "publish_32",
      .what = "an op prepared and shown to the SQ thread, 32 in a turn",
      .block = PLX_BENCH_PUBLISH_32,
      .fenced = true,
      .two_cores = true}},
    {PLX_BENCH_DEFER,
     PLX_BENCH_WORK_IDLE,
     {.name = "idle_turn",
      .what = "a turn without work, 4 idle mesh inputs; the peer looks at its ring",
      .block = PLX_BENCH_IDLE}},
    {PLX_BENCH_SQPOLL,
     PLX_BENCH_WORK_IDLE,
     {.name = "idle_turn_sqpoll",
      .what = "the same with an SQ thread",
      .block = PLX_BENCH_IDLE,
      .two_cores = true}},
    {PLX_BENCH_EPOLL,
     PLX_BENCH_WORK_IDLE,
     {.name = "idle_turn_epoll",
      .what = "the same on the epoll backend; the peer is an epoll_wait",
      .block = PLX_BENCH_IDLE_EPOLL}},
    {PLX_BENCH_DEFER,
     PLX_BENCH_WORK_POLL,
     {.name = "poll_128",
      .what = "a turn that delivers 128 completions",
      .block = 1,
      .fenced = true}},
    {PLX_BENCH_DEFER,
     PLX_BENCH_WORK_CANCEL,
     {.name = "cancel",
      .what = "the cancel of an op in flight, prepared",
      .block = PLX_BENCH_CANCEL,
      .fenced = true}},
    {PLX_BENCH_DEFER,
     PLX_BENCH_WORK_NOP,
     {.name = "nop_defer",
      .what = "an op to the kernel and back, DEFER_TASKRUN",
      .block = PLX_BENCH_TRIPS}},
    {PLX_BENCH_SQPOLL,
     PLX_BENCH_WORK_NOP,
     {.name = "nop_sqpoll",
      .what = "an op to the SQ thread and back",
      .block = PLX_BENCH_TRIPS,
      .two_cores = true}},
};

int plx_bench_uring(struct plx_bench *bench)
{
    int rc = 0;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]) && rc == 0; i++) {
        struct plx_bench_case what = cases[i].what;
        what.bench = "uring";
        rc = measure(bench, &what, cases[i].kind, cases[i].work);
    }
    if (rc == 0)
        rc = measure_batches(bench, PLX_BENCH_WORK_PUBLISH, "publish",
                             "ops prepared and shown together: to an SQ thread, or by a call");
    if (rc == 0)
        rc = measure_batches(bench, PLX_BENCH_WORK_NOPS, "nop",
                             "ops to the kernel together and back");
    if (rc == 0)
        rc = plx_bench_uring_wake(bench);
    if (rc == 0)
        rc = plx_bench_record(bench);
    return rc;
}
