/* SPDX-License-Identifier: MIT */
/* Tasks: the switch, beginning and ending, yielding, beside fcontext and ucontext. */
#include "tools/bench/task.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "runtime/sched/switch.h"
#include "runtime/sched/task.h"

#define ABANDON_NS  2000000000u
#define JOIN_BLOCK  64u
#define QUESTIONS   1024u
#define STACK_BYTES (PLX_BENCH_STRANDS * (size_t)PLX_BENCH_STRAND_BYTES)

/* --- the bare switch -------------------------------------------------------------------------- */

static void *contexts[PLX_BENCH_STRANDS];
static void *context_home;

static void context_last(void *value)
{
    for (;;) {
        ((struct plx_bench_strands *)value)->entries++;
        value = plx_switch(&contexts[0], context_home, value);
    }
}

static inline void context_begin(struct plx_bench_strands *strands, uint32_t i)
{
    contexts[i] = plx_switch_prepare(plx_bench_strand_top(strands, i), context_last);
}

static inline void context_enter(struct plx_bench_strands *strands, uint32_t i)
{
    (void)plx_switch(&context_home, contexts[i], strands);
}

static int context_switches(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    return plx_bench_switch_slice(slice, ctx, context_begin, context_enter, diag);
}

/* --- tasks ------------------------------------------------------------------------------------ */

/* What a slice of ours needs beside the strands; one is measured at a time. */
static struct {
    struct plx_runtime *runtime;
    struct plx_reactor *reactor;
    struct plx_bench_slice *slice;
    uint64_t entries;
    uint64_t samples;
    uint64_t yields; /* that were asked for */
    bool ends;
    int rc;
} ours;

static int64_t count_once(void *ctx)
{
    (void)ctx;
    ours.entries++;
    return 0;
}

static int64_t count_and_yield(void *ctx)
{
    (void)ctx;
    while (!ours.ends) {
        ours.entries++;
        (void)plx_task_yield();
    }
    return 0;
}

static int begin_detached(plx_task_fn fn)
{
    static const struct plx_task_opts opts = {.name = "bench", .detached = true};
    return plx_task_spawn(ours.reactor, &opts, fn, NULL, NULL);
}

static int failed(int rc, struct plx_diag *diag)
{
    return plx_diag_set(diag, rc, "tasks", "plx_task_spawn: error %d", rc);
}

static int begins(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    uint64_t expected = 0;
    (void)ctx;
    ours.entries = 0;
    uint64_t before = plx_ticks();
    while (before < slice->end_ticks) {
        for (uint32_t go = 0; go < PLX_BENCH_GOES_ROUND; go++) {
            for (uint32_t i = 0; i < PLX_BENCH_STRANDS; i++) {
                int rc = begin_detached(count_once);
                if (rc != 0)
                    return failed(rc, diag);
            }
            expected += PLX_BENCH_STRANDS;
            while (ours.entries != expected && !plx_bench_in_vain(slice))
                (void)plx_reactor_poll(ours.reactor);
        }
        uint64_t now = plx_ticks();
        plx_bench_sample(slice, now - before);
        before = now;
    }
    const struct plx_bench_strands seen = {.entries = ours.entries};
    return plx_bench_strands_check(&seen, expected, diag);
}

static int turns(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    uint64_t expected = 0;
    (void)ctx;
    ours.entries = 0;
    ours.ends = false;
    for (uint32_t i = 0; i < PLX_BENCH_STRANDS; i++) {
        int rc = begin_detached(count_and_yield);
        if (rc != 0)
            return failed(rc, diag);
    }
    uint64_t before = plx_ticks();
    while (before < slice->end_ticks) {
        for (uint32_t go = 0; go < PLX_BENCH_GOES_ROUND; go++) {
            expected += PLX_BENCH_STRANDS;
            /* A turn in which the core was taken away leaves some for the next. */
            while (ours.entries < expected && !plx_bench_in_vain(slice))
                (void)plx_reactor_poll(ours.reactor);
        }
        uint64_t now = plx_ticks();
        plx_bench_sample(slice, now - before);
        before = now;
    }
    const struct plx_bench_strands seen = {.entries = ours.entries};
    struct plx_task_stats stats;
    ours.ends = true;
    do {
        (void)plx_reactor_poll(ours.reactor);
        plx_task_read_stats(ours.reactor, &stats);
    } while (stats.tasks != 0);
    if (seen.entries > expected && seen.entries - expected < PLX_BENCH_STRANDS)
        return 0;
    return plx_bench_strands_check(&seen, expected, diag);
}

const struct plx_bench_strands_ops plx_bench_strands_pollux = {
    .subject = "pollux",
    .switches = context_switches,
    .begins = begins,
    .turns = turns,
};

/* --- what only a task can measure ------------------------------------------------------------- */

static int64_t join_children(void *ctx)
{
    (void)ctx;
    uint64_t before = plx_ticks();
    while (before < ours.slice->end_ticks) {
        for (uint32_t i = 0; i < JOIN_BLOCK; i++) {
            struct plx_task *child;
            int rc = plx_task_spawn(ours.reactor, NULL, count_once, NULL, &child);
            if (rc == 0)
                rc = plx_task_join(child, NULL);
            if (rc != 0)
                return rc;
        }
        uint64_t now = plx_ticks();
        plx_bench_sample(ours.slice, now - before);
        before = now;
        ours.samples++;
    }
    return 0;
}

static int64_t ask_often(void *ctx)
{
    (void)ctx;
    uint64_t before = plx_ticks();
    while (before < ours.slice->end_ticks) {
        for (uint32_t i = 0; i < QUESTIONS; i++) {
            if (plx_task_should_yield()) {
                ours.yields++;
                (void)plx_task_yield();
            }
        }
        uint64_t now = plx_ticks();
        plx_bench_sample(ours.slice, now - before);
        before = now;
    }
    return 0;
}

/* Runs `fn` as a task to its end; 0, or what it returned. */
static int run_task(struct plx_bench_slice *slice, plx_task_fn fn, struct plx_diag *diag)
{
    struct plx_task *task;
    int64_t result = 0;
    ours.slice = slice;
    ours.entries = 0;
    ours.samples = 0;
    int rc = plx_task_spawn(ours.reactor, NULL, fn, NULL, &task);
    if (rc != 0)
        return failed(rc, diag);
    while ((rc = plx_task_try_join(task, &result)) == -EAGAIN)
        (void)plx_reactor_poll(ours.reactor);
    rc = rc == 0 ? (int)result : rc;
    return rc == 0 ? 0 : plx_diag_set(diag, rc, "tasks", "a task ended with %d", rc);
}

static int joins(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    (void)ctx;
    int rc = run_task(slice, join_children, diag);
    if (rc != 0)
        return rc;
    const struct plx_bench_strands seen = {.entries = ours.entries};
    return plx_bench_strands_check(&seen, ours.samples * JOIN_BLOCK, diag);
}

static int questions(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    (void)ctx;
    return run_task(slice, ask_often, diag);
}

/* The same by a look at the clock each time. */
static int clock_questions(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    (void)ctx;
    (void)diag;
    uint64_t before = plx_ticks();
    while (before < slice->end_ticks) {
        for (uint32_t i = 0; i < QUESTIONS; i++)
            ours.yields += plx_ticks() > slice->limit_ticks;
        uint64_t now = plx_ticks();
        plx_bench_sample(slice, now - before);
        before = now;
    }
    return 0;
}

/* --- cases ------------------------------------------------------------------------------------ */

static int open_reactor(struct plx_bench *bench, struct plx_diag *diag)
{
    char cpu[16];
    snprintf(cpu, sizeof(cpu), "%d", plx_bench_cpu_a(bench));
    const char *const settings[] = {"sqpoll", "off", "reactors", "1", "cpus",
                                    cpu,      "smt", "yes",      NULL};
    int rc = plx_bench_runtime(bench, settings, NULL, &ours.runtime, diag);
    if (rc != 0)
        return rc;
    rc = plx_reactor_adopt(ours.runtime, 0, &ours.reactor, diag);
    if (rc != 0)
        plx_runtime_destroy(ours.runtime);
    return rc;
}

static const struct plx_bench_strands_ops *const kinds[] = {
    &plx_bench_strands_pollux,
#ifdef PLX_BENCH_BOOST_CONTEXT
    &plx_bench_strands_fcontext,
#endif
    &plx_bench_strands_ucontext,
};
#define KIND_COUNT (sizeof(kinds) / sizeof(kinds[0]))

/* The last two are of tasks alone; all but the first need a reactor. */
static const struct plx_bench_case cases[] = {
    {.bench = "task",
     .name = "switch",
     .what = "a switch to another stack",
     .block = PLX_BENCH_SWITCHES},
    {.bench = "task",
     .name = "spawn_exit",
     .what = "a task begun, run and ended, 64 at a time; the turn of the loop included",
     .block = PLX_BENCH_STRANDS * PLX_BENCH_GOES_ROUND},
    {.bench = "task",
     .name = "yield",
     .what = "a task that yields, entered again, 64 of them in turn; the turn included",
     .block = PLX_BENCH_STRANDS * PLX_BENCH_GOES_ROUND},
    {.bench = "task",
     .name = "spawn_join",
     .what = "a task begun and joined by another one: two turns of the loop",
     .block = JOIN_BLOCK},
    {.bench = "task",
     .name = "should_yield",
     .what = "a task's question whether it should yield; raw: a look at the counter",
     .block = QUESTIONS},
};

static int measure_kinds(struct plx_bench *bench, struct plx_bench_strands *strands,
                         const char *missing)
{
    int rc = 0;
    for (size_t c = 0; c < 3 && rc == 0; c++) {
        struct plx_bench_subject subjects[KIND_COUNT];
        for (size_t i = 0; i < KIND_COUNT; i++) {
            const plx_bench_fn runs[] = {kinds[i]->switches, kinds[i]->begins, kinds[i]->turns};
            bool needs_reactor = i == 0 && c != 0;
            subjects[i] = (struct plx_bench_subject){
                .name = kinds[i]->subject,
                .run = runs[c],
                .ctx = strands,
                .missing = needs_reactor ? missing : NULL,
                .mem_node = -1,
            };
        }
        rc = plx_bench_measure(bench, &cases[c], subjects, (uint32_t)KIND_COUNT);
    }
    return rc;
}

static int measure_tasks(struct plx_bench *bench, const char *missing)
{
    const struct plx_bench_subject joiner = {
        .name = "pollux", .run = joins, .missing = missing, .mem_node = -1};
    const struct plx_bench_subject askers[] = {
        {.name = "pollux", .run = questions, .missing = missing, .mem_node = -1},
        {.name = "raw", .run = clock_questions, .mem_node = -1},
    };
    int rc = plx_bench_measure(bench, &cases[3], &joiner, 1);
    return rc == 0 ? plx_bench_measure(bench, &cases[4], askers, 2) : rc;
}

int plx_bench_task(struct plx_bench *bench)
{
    struct plx_diag diag;
#ifndef PLX_BENCH_BOOST_CONTEXT
    plx_bench_missing_peer(bench, "fcontext", "libboost-context-dev");
#endif
    const size_t count = sizeof(cases) / sizeof(cases[0]);
    struct plx_bench_strands strands = {.stacks = NULL};
    if (!plx_bench_is_one_wanted(bench, cases, count)) {
        int rc = measure_kinds(bench, &strands, NULL);
        return rc == 0 ? measure_tasks(bench, NULL) : rc;
    }
    strands.stacks =
        mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (strands.stacks == MAP_FAILED)
        return -ENOMEM;
    bool opens = plx_bench_is_one_wanted(bench, cases + 1, count - 1);
    int opened = opens ? open_reactor(bench, &diag) : 0;
    if (opened != 0)
        plx_bench_failed(bench, "task", &diag);
    const char *missing = opened != 0 ? diag.text : NULL;
    int rc = measure_kinds(bench, &strands, missing);
    if (rc == 0)
        rc = measure_tasks(bench, missing);
    if (opens && opened == 0) {
        (void)!plx_reactor_abandon(ours.reactor, ABANDON_NS);
        plx_runtime_destroy(ours.runtime);
    }
    munmap(strands.stacks, STACK_BYTES);
    return rc;
}
