/* SPDX-License-Identifier: MIT */
/*
 * Tasks in a simulated world: workers on every reactor wait in all ways there are, spawn tasks here
 * and on other reactors, cancel each other, and send items round a ring of channels. What a far
 * task returns is right, items come once and in order, and all that began has ended at the end.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/sched/await.h"
#include "runtime/sched/far.h"
#include "runtime/sched/sync.h"
#include "runtime/sched/xchan.h"
#include "test/sim/world.h"

#define WORKERS_MAX 4u
#define SLOTS_MAX   8u
#define STEPS_MAX   40u
/* Steps of the driver in which workers may still go on. */
#define DRIVE_MAX 20000u

struct worker {
    struct plx_task *task; /* NULL: not spawned, or joined */
    struct hall *hall;
    uint32_t at;
    uint32_t steps;
};

/* What there is on one reactor. */
struct floor {
    struct worker workers[WORKERS_MAX];
    struct plx_task *receiver;
    struct plx_sem sem;
    uint64_t units; /* that workers hold */
    /* The channel that begins here. */
    struct plx_xchan chan;
    uint64_t memory[SLOTS_MAX];
    uint32_t slots;
    uint64_t sent;
    uint64_t received;
};

struct hall {
    struct sim_run *run;
    struct floor floors[SIM_REACTORS_MAX];
    uint32_t worker_count;
    uint32_t living; /* workers and receivers */
};

/* The order of all that happens is part of what a seed gives. */
static void note(struct hall *hall, uint64_t what)
{
    hall->run->hash = (hall->run->hash ^ what) * 0x9e3779b97f4a7c15u;
}

static bool is_ending(int64_t rc)
{
    return rc == -ECANCELED || rc == -ESHUTDOWN;
}

static void expect(struct hall *hall, const char *what, int64_t rc)
{
    if (rc != 0 && !is_ending(rc))
        sim_fail(hall->run, "tasks: %s: %lld", what, (long long)rc);
}

/* --- what workers do -------------------------------------------------------------------------- */

struct errand {
    struct hall *hall;
    uint64_t number;
};

static int64_t run_errand(void *ctx)
{
    const struct errand *errand = ctx;
    note(errand->hall, errand->number);
    int64_t rc = 0;
    for (uint64_t i = 0; i < errand->number % 4 && rc == 0; i++)
        rc = i % 2 == 0 ? plx_task_yield() : plx_task_sleep(errand->number % 100000);
    return rc == 0 ? (int64_t)errand->number : rc;
}

static void send_errand(struct worker *worker)
{
    struct hall *hall = worker->hall;
    struct sim_run *run = hall->run;
    struct errand errand = {hall, 1 + sim_random_below(&run->random, 1000000)};
    struct plx_far_task far = {.ended = false};
    uint32_t to = (uint32_t)sim_random_below(&run->random, run->count);
    bool cancels = sim_random_once(&run->random, 4);
    int64_t result = 0;
    int rc = plx_far_spawn(run->reactors[worker->at], &far, to, NULL, run_errand, &errand);
    if (rc != 0) {
        if (rc != -EAGAIN)
            expect(hall, "far spawn", rc);
        return;
    }
    if (cancels)
        plx_far_cancel(&far);
    rc = plx_far_join(&far, &result);
    if (rc != 0 && rc != -EAGAIN)
        expect(hall, "far join", rc);
    if (rc == 0 && result != (int64_t)errand.number && !is_ending(result))
        sim_fail(run, "tasks: an errand returned %lld instead of %llu", (long long)result,
                 (unsigned long long)errand.number);
}

static void raise_child(struct worker *worker)
{
    struct hall *hall = worker->hall;
    struct errand errand = {hall, 1 + sim_random_below(&hall->run->random, 1000000)};
    struct plx_task *child;
    int rc = plx_task_spawn(hall->run->reactors[worker->at], NULL, run_errand, &errand, &child);
    if (rc != 0) {
        expect(hall, "spawn", rc);
        return;
    }
    rc = plx_task_join(child, NULL);
    if (rc == 0)
        return;
    expect(hall, "join", rc);
    /* The errand lies on this stack. */
    plx_task_cancel(child);
    plx_task_shield();
    expect(hall, "shielded join", plx_task_join(child, NULL));
    plx_task_unshield();
}

static void hold_units(struct worker *worker)
{
    struct floor *floor = &worker->hall->floors[worker->at];
    uint64_t units = 1 + sim_random_below(&worker->hall->run->random, 3);
    int rc = plx_sem_acquire(&floor->sem, units);
    if (rc != 0) {
        expect(worker->hall, "acquire", rc);
        return;
    }
    floor->units += units;
    if (floor->units > 3)
        sim_fail(worker->hall->run, "tasks: %llu units of 3 are held",
                 (unsigned long long)floor->units);
    expect(worker->hall, "sleep",
           plx_task_sleep(sim_random_below(&worker->hall->run->random, 50000)));
    floor->units -= units;
    plx_sem_release(&floor->sem, units);
}

static void send_item(struct worker *worker)
{
    struct floor *floor = &worker->hall->floors[worker->at];
    /* One sender at a time, so that items have an order. */
    if (worker != &floor->workers[0])
        return;
    int rc = plx_xchan_send(&floor->chan, &floor->sent);
    floor->sent += rc == 0;
    if (rc != -EPIPE && rc != -ENOTCONN)
        expect(worker->hall, "send", rc);
}

static void cancel_other(struct worker *worker)
{
    struct hall *hall = worker->hall;
    struct floor *floor = &hall->floors[worker->at];
    struct worker *other =
        &floor->workers[sim_random_below(&hall->run->random, hall->worker_count)];
    if (other->task != NULL && sim_random_once(&hall->run->random, 8))
        plx_task_cancel(other->task);
}

static int64_t work(void *ctx)
{
    struct worker *worker = ctx;
    struct hall *hall = worker->hall;
    for (uint32_t i = 0; i < worker->steps; i++) {
        uint64_t choice = sim_random_below(&hall->run->random, 9);
        note(hall, choice << 32 | worker->at << 8 | i);
        switch (choice) {
        case 0:
            expect(hall, "yield", plx_task_yield());
            break;
        case 1:
            expect(hall, "sleep", plx_task_sleep(sim_random_below(&hall->run->random, 1000000)));
            break;
        case 2:
            expect(hall, "nop", plx_await_nop());
            break;
        case 3:
            raise_child(worker);
            break;
        case 4:
            send_errand(worker);
            break;
        case 5:
            hold_units(worker);
            break;
        case 6:
            cancel_other(worker);
            break;
        default:
            send_item(worker);
            break;
        }
    }
    if (worker == &hall->floors[worker->at].workers[0])
        plx_xchan_close_send(&hall->floors[worker->at].chan);
    hall->living--;
    return 0;
}

static int64_t receive(void *ctx)
{
    struct floor *from = ctx;
    struct hall *hall = from->workers[0].hall;
    uint64_t item;
    int rc;
    while ((rc = plx_xchan_recv(&from->chan, &item)) == 0) {
        note(hall, item);
        if (item != from->received++)
            sim_fail(hall->run, "tasks: item %llu came as number %llu", (unsigned long long)item,
                     (unsigned long long)from->received);
    }
    if (rc != -EPIPE)
        expect(hall, "receive", rc);
    plx_xchan_close_recv(&from->chan);
    hall->living--;
    return rc;
}

/* --- the run ---------------------------------------------------------------------------------- */

static void begin_floor(struct hall *hall, uint32_t at)
{
    struct sim_run *run = hall->run;
    struct floor *floor = &hall->floors[at];
    uint32_t next = (at + 1) % run->count;
    floor->slots = 1 + (uint32_t)sim_random_below(&run->random, SLOTS_MAX);
    plx_sem_init(&floor->sem, 3);
    int rc = plx_xchan_init(&floor->chan, at, next, floor->memory, floor->slots, sizeof(uint64_t));
    /* Where there are few credits, one of the two may find none. */
    if (rc == 0)
        rc = plx_xchan_open_send(&floor->chan, run->reactors[at]);
    if (rc == 0 || rc == -EAGAIN)
        rc = plx_xchan_open_recv(&floor->chan, run->reactors[next]);
    if (rc != 0 && rc != -EAGAIN)
        sim_fail(run, "tasks: a channel: %d", rc);
    for (uint32_t i = 0; i < hall->worker_count; i++) {
        struct worker *worker = &floor->workers[i];
        *worker = (struct worker){.hall = hall, .at = at};
        worker->steps = (uint32_t)sim_random_below(&run->random, STEPS_MAX);
        rc = plx_task_spawn(run->reactors[at], NULL, work, worker, &worker->task);
        hall->living += rc == 0;
        expect(hall, "worker", rc);
    }
    rc = plx_task_spawn(run->reactors[next], NULL, receive, floor, &floor->receiver);
    hall->living += rc == 0;
    expect(hall, "receiver", rc);
}

static void join_some(struct hall *hall)
{
    for (uint32_t at = 0; at < hall->run->count; at++) {
        for (uint32_t i = 0; i < hall->worker_count; i++) {
            struct worker *worker = &hall->floors[at].workers[i];
            if (worker->task != NULL && plx_task_try_join(worker->task, NULL) == 0)
                worker->task = NULL;
        }
    }
}

static void check(struct sim_run *run, void *state)
{
    const struct hall *hall = state;
    (void)run;
    if (hall->living != 0)
        sim_fail(hall->run, "tasks: %u have not ended", hall->living);
    for (uint32_t at = 0; at < hall->run->count; at++) {
        const struct floor *floor = &hall->floors[at];
        struct plx_task_stats stats;
        plx_task_read_stats(hall->run->reactors[at], &stats);
        if (stats.tasks != 0)
            sim_fail(hall->run, "tasks: %u are counted at the end", stats.tasks);
        if (floor->units != 0 || floor->sem.units != 3)
            sim_fail(hall->run, "tasks: units were lost");
        if (floor->received > floor->sent ||
            (!hall->run->stopped_early && floor->received < floor->sent &&
             !plx_xchan_recv_is_over(&floor->chan)))
            sim_fail(hall->run, "tasks: of %llu items came %llu", (unsigned long long)floor->sent,
                     (unsigned long long)floor->received);
    }
}

static void end(struct sim_run *run, void *state)
{
    (void)run;
    free(state);
}

static const struct sim_workload tasks = {.name = "tasks", .check = check, .end = end};

bool sim_tasks_seed(uint64_t seed, FILE *trace, uint64_t *hash, char *why, size_t why_bytes)
{
    struct sim_run *run = sim_run_begin(seed, trace);
    struct hall *hall = calloc(1, sizeof(*hall));
    if (run == NULL || hall == NULL) {
        free(hall);
        return false;
    }
    hall->run = run;
    run->workloads[0] = &tasks;
    run->states[0] = hall;
    run->workload_count = 1;
    hall->worker_count = 1 + (uint32_t)sim_random_below(&run->random, WORKERS_MAX);
    sim_runtime_open(run, 1 + (uint32_t)sim_random_below(&run->random, SIM_REACTORS_MAX));
    for (uint32_t at = 0; at < run->count && !run->failed; at++)
        begin_floor(hall, at);
    /* Some are stopped in the middle. */
    uint64_t last = sim_random_once(&run->random, 3) ? sim_random_below(&run->random, DRIVE_MAX)
                                                     : DRIVE_MAX * 20u;
    while (!run->failed && hall->living != 0 && run->step < last) {
        sim_step(run);
        join_some(hall);
    }
    run->stopped_early = hall->living != 0;
    /* In a rough world an op may not end but by being cancelled. */
    if (!run->failed && last > DRIVE_MAX && hall->living != 0 && run->faults.temper != SIM_ROUGH)
        sim_fail(run, "tasks: %u go on for ever", hall->living);
    if (!run->failed)
        sim_runtime_stop(run);
    return sim_run_end(run, hash, why, why_bytes);
}
