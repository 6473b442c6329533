/* SPDX-License-Identifier: MIT */
#include "test/sim/world.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "net/tcp_internal.h"
#include "runtime/runtime_internal.h"
#include "test/runtime/rt_fixture.h"

/* Turns without an event after which a run hangs, and turns after which it is cut short. */
#define QUIET_STEPS_MAX 60000u
#define STEPS_MAX       300000u
#define DRAIN_STEPS_MAX 200000u
#define IDLE_DOUBLINGS  14u

static const struct sim_workload *const all_workloads[SIM_WORKLOADS] = {&sim_echo, &sim_copy,
                                                                        &sim_mesh, &sim_ops};

void sim_fail(struct sim_run *run, const char *format, ...)
{
    if (run->failed)
        return;
    run->failed = true;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(run->why, sizeof(run->why), format, arguments);
    va_end(arguments);
    if (run->trace != NULL)
        fprintf(run->trace, "FAILED at step %llu: %s\n", (unsigned long long)run->step, run->why);
}

/* --- what the world tells --------------------------------------------------------------------- */

static void mix(struct sim_run *run, uint64_t value)
{
    run->hash = (run->hash ^ value) * 0x9e3779b97f4a7c15u;
    run->hash ^= run->hash >> 29;
}

static void on_seen(void *ctx, const struct plx__sim_seen *seen)
{
    struct sim_run *run = ctx;
    run->events++;
    mix(run, seen->now_ns);
    mix(run, (uint64_t)(uint32_t)seen->fd << 32 | (uint32_t)seen->result);
    mix(run, (uint64_t)seen->home << 32 | (uint64_t)seen->flags << 16 | (uint64_t)seen->code << 1 |
                 seen->taken);
    if (run->trace != NULL)
        fprintf(run->trace, "%14llu r%u %s op %2u fd %4d result %d flags %u\n",
                (unsigned long long)seen->now_ns, seen->home, seen->taken ? "takes" : "ends ",
                seen->code, seen->fd, seen->result, seen->flags);
}

static uint64_t on_choose(void *ctx, enum plx__sim_choice choice, uint64_t bound)
{
    struct sim_run *run = ctx;
    return sim_faults_choose(&run->faults, choice, bound);
}

static void on_broken(void *ctx, const char *text)
{
    sim_fail(ctx, "a rule was broken: %s", text);
}

/* --- beginning -------------------------------------------------------------------------------- */

/* So small that rings fill and pools run dry, in some seeds. */
void sim_runtime_open(struct sim_run *run, uint32_t reactors)
{
    static const char *const entries[] = {"16", "16", "32", "64", "256"};
    static const char *const slots[] = {"8", "8", "16", "256"};
    static const char *const arenas[] = {"2M", "3M", "4M"};
    char words[160];
    struct plx_settings settings;
    struct plx_runtime_opts opts;
    run->count = reactors;
    snprintf(words, sizeof(words), "reactors=%u ring_entries=%s mesh_slots=%s arena_size=%s",
             run->count, entries[sim_random_below(&run->random, 5)],
             slots[sim_random_below(&run->random, 4)], arenas[sim_random_below(&run->random, 3)]);
    rt_settings(&settings, words);
    plx_runtime_opts_init(&opts);
    opts.machine = rt_four_cpus();
    struct plx_diag diag = {0};
    if (plx_runtime_create(&settings, &opts, &run->runtime, &diag) != 0) {
        sim_fail(run, "create: %s", diag.text);
        return;
    }
    plx__runtime_use_world(run->runtime, run->world);
    for (uint32_t i = 0; i < run->count; i++) {
        if (plx_reactor_adopt(run->runtime, i, &run->reactors[i], &diag) != 0) {
            sim_fail(run, "adopt: %s", diag.text);
            return;
        }
    }
}

static void begin_workloads(struct sim_run *run)
{
    uint64_t chosen = 1 + sim_random_below(&run->random, (1u << SIM_WORKLOADS) - 1);
    for (uint32_t i = 0; i < SIM_WORKLOADS && !run->failed; i++) {
        if ((chosen >> i & 1) == 0)
            continue;
        uint32_t at = run->workload_count;
        run->workloads[at] = all_workloads[i];
        run->states[at] = all_workloads[i]->begin(run);
        run->workload_count += run->states[at] != NULL;
    }
}

/* --- driving ---------------------------------------------------------------------------------- */

static void release_hog(struct sim_run *run)
{
    struct plx_pool *pool = plx_reactor_pool(run->reactors[run->hog_home]);
    while (run->hog_count > 0)
        plx_pool_release(pool, run->hog[--run->hog_count]);
}

/* All blocks of one size but a few are out for a while. */
static void take_hog(struct sim_run *run)
{
    static const size_t sizes[] = {4096, 4096, 16384, 65536};
    size_t bytes = sizes[sim_random_below(&run->random, 4)];
    run->hog_home = (uint32_t)sim_random_below(&run->random, run->count);
    run->hog_until = run->step + sim_random_size(&run->random, 5000);
    struct plx_pool *pool = plx_reactor_pool(run->reactors[run->hog_home]);
    uint32_t left = (uint32_t)sim_random_below(&run->random, 8);
    while (run->hog_count < SIM_HOG_MAX && plx_pool_available(pool, bytes) > left)
        run->hog[run->hog_count++] = plx_pool_acquire(pool, bytes);
}

static void hog_pool(struct sim_run *run)
{
    if (run->hog_count != 0 && run->step >= run->hog_until)
        release_hog(run);
    /* At first often, as it is then that groups are made of what there is. */
    if (run->hog_count == 0 &&
        (sim_fault_strikes(&run->faults, SIM_FAULT_POOL_DRY) ||
         (run->step == 0 && run->faults.fault_rates[SIM_FAULT_POOL_DRY] != 0)))
        take_hog(run);
}

static void move_clock(struct sim_run *run)
{
    struct sim_faults *faults = &run->faults;
    if (run->step < run->still_until)
        return;
    if (sim_fault_strikes(faults, SIM_FAULT_CLOCK_STILL)) {
        run->still_until = run->step + sim_random_size(&run->random, 200);
        return;
    }
    uint64_t ns = sim_random_below(&run->random, 5000);
    if (sim_fault_strikes(faults, SIM_FAULT_CLOCK_JUMP))
        ns = sim_random_size(&run->random, 3u * SIM_SECOND_NS);
    /* Nobody has anything to do: the longer, the larger the steps. */
    uint64_t rounds = run->idle / (4 * run->count);
    if (rounds != 0)
        ns += (uint64_t)1000 << (rounds < IDLE_DOUBLINGS ? rounds : IDLE_DOUBLINGS);
    plx__sim_world_advance(run->world, ns);
}

static void poll_one(struct sim_run *run)
{
    uint32_t at = (uint32_t)sim_random_below(&run->random, run->count);
    uint64_t now = sim_now_ns(run);
    if (run->slow_until_ns[at] > now) {
        run->idle++;
        return;
    }
    if (sim_fault_strikes(&run->faults, SIM_FAULT_CORE_SLOW))
        run->slow_until_ns[at] = now + sim_random_size(&run->random, SIM_SECOND_NS);
    int work = plx_reactor_poll(run->reactors[at]);
    if (work < 0)
        sim_fail(run, "a turn returned %d", work);
    run->idle = work > 0 ? 0 : run->idle + 1;
}

void sim_step(struct sim_run *run)
{
    run->step++;
    poll_one(run);
    move_clock(run);
    if (sim_random_once(&run->random, 8))
        plx__sim_world_work(run->world);
}

static bool all_done(const struct sim_run *run)
{
    for (uint32_t i = 0; i < run->workload_count; i++) {
        if (!run->workloads[i]->is_done(run->states[i]))
            return false;
    }
    return true;
}

static void hangs(struct sim_run *run)
{
    sim_fail(run, "it hangs: nothing has happened for %u steps", QUIET_STEPS_MAX);
    for (uint32_t i = 0; i < run->workload_count && run->trace != NULL; i++)
        fprintf(run->trace, "%s: %s\n", run->workloads[i]->name,
                run->workloads[i]->is_done(run->states[i]) ? "done" : "not done");
}

static void drive(struct sim_run *run)
{
    uint64_t events = 0;
    uint64_t event_step = 0;
    while (!run->failed && !all_done(run)) {
        for (uint32_t i = 0; i < run->workload_count; i++)
            run->workloads[i]->step(run, run->states[i]);
        hog_pool(run);
        sim_step(run);
        if (sim_fault_strikes(&run->faults, SIM_FAULT_STOP_EARLY)) {
            run->stopped_early = true;
            break;
        }
        if (run->step > STEPS_MAX) {
            run->stopped_early = true;
            break;
        }
        if (run->events != events) {
            events = run->events;
            event_step = run->step;
        }
        if (run->step - event_step > QUIET_STEPS_MAX)
            hangs(run);
    }
    if (run->hog_count != 0)
        release_hog(run);
    run->stopping = true;
}

/* --- stopping --------------------------------------------------------------------------------- */

static bool all_reached(const struct sim_run *run, uint32_t reached)
{
    for (uint32_t i = 0; i < run->count; i++) {
        if (plx_load_relaxed(&run->runtime->slots[i].reached) < reached)
            return false;
    }
    return true;
}

/* As plx_runtime_stop does it with threads: phase by phase, all reactors through each. */
static void stop(struct sim_run *run)
{
    static const struct {
        enum plx__stop_phase phase;
        enum plx__reached reached;
    } ways[] = {{PLX__STOP_ADMITTING, PLX__REACHED_ADMITTING},
                {PLX__STOP_DRAINING, PLX__REACHED_DRAINED}};
    for (uint32_t i = 0; i < 2; i++) {
        uint64_t last = run->step + DRAIN_STEPS_MAX;
        plx_store_release(&run->runtime->phase, ways[i].phase);
        while (!run->failed && !all_reached(run, (uint32_t)ways[i].reached)) {
            sim_step(run);
            if (run->step > last)
                sim_fail(run, "it does not stop: phase %d", (int)ways[i].phase);
        }
    }
    plx_store_release(&run->runtime->phase, PLX__STOP_TEARDOWN);
}

/* --- what must hold --------------------------------------------------------------------------- */

static void check_reactor(struct sim_run *run, uint32_t index)
{
    struct plx_reactor *r = run->reactors[index];
    const struct plx__io *io = r->io;
    if (io->in_flight != 0)
        sim_fail(run, "reactor %u: %u ops in flight at the end", index, io->in_flight);
    if (io->submitted != io->completed)
        sim_fail(run, "reactor %u: %llu ops were submitted, %llu ended", index,
                 (unsigned long long)io->submitted, (unsigned long long)io->completed);
    for (uint32_t i = 0; i < PLX_GROUPS_MAX; i++) {
        if (io->groups[i].count != 0 && io->groups[i].lent != 0)
            sim_fail(run, "reactor %u: %u buffers of group %u are lent", index, io->groups[i].lent,
                     i);
    }
    for (uint32_t fd = 0; fd < io->fd_limit; fd++) {
        if (io->fd_uses[fd] != 0)
            sim_fail(run, "reactor %u: descriptor %u has uses 0x%x", index, fd, io->fd_uses[fd]);
    }
    const char *wrong = plx__pool_check(&r->pool);
    if (wrong != NULL)
        sim_fail(run, "reactor %u: its pool: %s", index, wrong);
    uint64_t lost = plx_load_relaxed(&r->mesh.posts_lost);
    if (lost != 0)
        sim_fail(run, "reactor %u: %llu posts were lost", index, (unsigned long long)lost);
}

/* Blocks that are out for good: of groups, of hot streams, and where small slices are packed. */
static uint32_t count_settled(const struct plx_reactor *r)
{
    uint32_t settled = r->bytes.pack != NULL;
    for (uint32_t i = 0; i < PLX_GROUPS_MAX; i++)
        settled += r->io->groups[i].count - r->io->groups[i].missing;
    const struct plx__net *net = r->net;
    return settled + (net != NULL && net->hot_block != NULL);
}

static void check_home(struct sim_run *run, uint32_t index)
{
    const struct plx_reactor *r = run->reactors[index];
    struct plx_pool_stats stats;
    uint32_t out = 0;
    plx_pool_read_stats(&r->pool, &stats);
    for (unsigned i = 0; i < PLX_POOL_CLASSES; i++)
        out += stats.classes[i].in_use;
    if (out != count_settled(r))
        sim_fail(run, "reactor %u: %u blocks are out, %u of them rightly", index, out,
                 count_settled(r));
}

/* As the runtime does it; what came by the rings' last look is home then. */
static void close_reactor(struct sim_run *run, uint32_t index)
{
    struct plx_reactor *r = run->reactors[index];
    plx__mesh_finish(&r->mesh, r, plx__reactor_take_home);
    check_home(run, index);
    plx__reactor_close(&run->runtime->slots[index]);
}

void sim_runtime_stop(struct sim_run *run)
{
    stop(run);
    for (uint32_t i = 0; i < run->count && !run->failed; i++)
        check_reactor(run, i);
    for (uint32_t i = 0; i < run->workload_count && !run->failed; i++)
        run->workloads[i]->check(run, run->states[i]);
    uint32_t open = plx__sim_world_open_count(run->world);
    if (!run->failed && open != 0)
        sim_fail(run, "%u descriptors are open at the end", open);
    for (uint32_t i = 0; i < run->count && !run->failed; i++)
        close_reactor(run, i);
    if (run->failed)
        return;
    plx_runtime_destroy(run->runtime);
    run->runtime = NULL;
}

void sim_runtime_kill(struct sim_run *run, bool power)
{
    for (uint32_t i = 0; i < run->count && run->runtime != NULL; i++) {
        /* What it still has in flight would be in the way: only its memory goes. */
        struct plx__slot *slot = &run->runtime->slots[i];
        if (plx_load_relaxed(&slot->life) != PLX__SLOT_RUNNING)
            continue;
        run->reactors[i]->io->ops->close(run->reactors[i]->io);
        plx_store_release(&slot->life, PLX__SLOT_ENDED);
    }
    plx_runtime_destroy(run->runtime);
    run->runtime = NULL;
    if (power)
        plx__sim_world_crash(run->world);
    else
        plx__sim_world_forget(run->world);
}

struct sim_run *sim_run_begin(uint64_t seed, FILE *trace)
{
    struct sim_run *run = calloc(1, sizeof(*run));
    if (run == NULL)
        return NULL;
    run->seed = seed;
    run->trace = trace;
    run->random.state = seed * 0x9e3779b97f4a7c15u + 7;
    sim_faults_init(&run->faults, seed);
    const struct plx__sim_hooks hooks = {
        .choose = on_choose, .seen = on_seen, .broken = on_broken, .ctx = run};
    if (plx__sim_world_create(&hooks, &run->world) == 0)
        return run;
    free(run);
    return NULL;
}

bool sim_run_end(struct sim_run *run, uint64_t *hash, char *why, size_t why_bytes)
{
    if (run->runtime != NULL)
        sim_runtime_kill(run, false);
    for (uint32_t i = 0; i < run->workload_count; i++)
        run->workloads[i]->end(run, run->states[i]);
    plx__sim_world_destroy(run->world);
    mix(run, run->step);
    if (hash != NULL)
        *hash = run->hash;
    snprintf(why, why_bytes, "%s", run->why);
    bool well = !run->failed;
    free(run);
    return well;
}

bool sim_run_seed(uint64_t seed, FILE *trace, uint64_t *hash, char *why, size_t why_bytes)
{
    struct sim_run *run = sim_run_begin(seed, trace);
    if (run == NULL)
        return false;
    sim_runtime_open(run, 1 + (uint32_t)sim_random_below(&run->random, SIM_REACTORS_MAX));
    if (!run->failed)
        begin_workloads(run);
    if (!run->failed)
        drive(run);
    if (!run->failed)
        sim_runtime_stop(run);
    if (!run->failed && sim_fault_strikes(&run->faults, SIM_FAULT_CRASH)) {
        run->crashed = true;
        plx__sim_world_crash(run->world);
    }
    return sim_run_end(run, hash, why, why_bytes);
}
