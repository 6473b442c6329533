/* SPDX-License-Identifier: MIT */
/* The two threads of the benchmark, their clock, and memory on a named node. */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools/bench/frame.h"
#include "tools/cli.h"

#define ARENA_BYTES_MIN 65536u
/* Looks between two looks at the clock. */
#define LOOKS 4096u

/* --- the clock ------------------------------------------------------------------------------- */

uint64_t plx_bench_monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

double plx_bench_ns_per_tick(const struct plx_bench *bench)
{
    uint64_t ns = plx_bench_monotonic_ns() - bench->start_ns;
    return (double)ns / (double)(plx_ticks() - bench->start_ticks);
}

/* --- threads --------------------------------------------------------------------------------- */

static void *peer_main(void *argument)
{
    struct plx_bench_pair *pair = argument;
    pthread_mutex_lock(&pair->lock);
    for (;;) {
        while (pair->job == NULL && !pair->ends)
            pthread_cond_wait(&pair->changed, &pair->lock);
        if (pair->job == NULL)
            break;
        pthread_mutex_unlock(&pair->lock);
        /* Release: pairs with the acquire in begin; nothing but order is needed. */
        plx_store_release(&pair->entered, true);
        int rc = pair->job(pair->job_ctx);
        pthread_mutex_lock(&pair->lock);
        pair->job = NULL;
        pair->job_rc = rc;
        pair->job_done = true;
        pthread_cond_broadcast(&pair->changed);
    }
    pthread_mutex_unlock(&pair->lock);
    return NULL;
}

void plx_bench_pair_begin(struct plx_bench *bench, int (*job)(void *ctx), void *ctx)
{
    struct plx_bench_pair *pair = &bench->pair;
    pthread_mutex_lock(&pair->lock);
    plx_store_relaxed(&pair->entered, false); /* relaxed: the lock orders it */
    pair->job_done = false;
    pair->job_ctx = ctx;
    pair->job = job;
    pthread_cond_broadcast(&pair->changed);
    pthread_mutex_unlock(&pair->lock);
    while (!plx_load_acquire(&pair->entered))
        plx_cpu_relax();
}

int plx_bench_pair_end(struct plx_bench *bench)
{
    struct plx_bench_pair *pair = &bench->pair;
    pthread_mutex_lock(&pair->lock);
    while (!pair->job_done)
        pthread_cond_wait(&pair->changed, &pair->lock);
    int rc = pair->job_rc;
    pthread_mutex_unlock(&pair->lock);
    return rc;
}

int plx_bench_on_peer(struct plx_bench *bench, int (*fn)(void *ctx), void *ctx)
{
    plx_bench_pair_begin(bench, fn, ctx);
    return plx_bench_pair_end(bench);
}

static int pin(pthread_t thread, int cpu, struct plx_diag *diag)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((unsigned)cpu, &set);
    int rc = -pthread_setaffinity_np(thread, sizeof(set), &set);
    if (rc == 0)
        return 0;
    char what[16];
    snprintf(what, sizeof(what), "cpu %d", cpu);
    return plx_diag_set(diag, rc, what, "a thread cannot be pinned to cpu %d: %s", cpu,
                        strerror(-rc));
}

int plx_bench_pair_place(struct plx_bench *bench, int cpu_a, int cpu_b, struct plx_diag *diag)
{
    /*
     * Anew, though they may be there: where a CPU went offline or the cpuset changed, the system
     * has put the thread elsewhere, and this is how that is found.
     */
    int rc = pin(pthread_self(), cpu_a, diag);
    if (rc != 0 || cpu_b < 0 || !bench->pair.has_thread)
        return rc;
    return pin(bench->pair.thread, cpu_b, diag);
}

int plx_bench_pair_init(struct plx_bench *bench, struct plx_diag *diag)
{
    struct plx_bench_pair *pair = &bench->pair;
    pair->made = true;
    pthread_mutex_init(&pair->lock, NULL);
    pthread_cond_init(&pair->changed, NULL);
    if (plx_bench_has_two(bench)) {
        int rc = -pthread_create(&pair->thread, NULL, peer_main, pair);
        if (rc != 0)
            return plx_diag_set(diag, rc, "thread", "pthread_create: %s", strerror(-rc));
        pair->has_thread = true;
    }
    return plx_bench_pair_place(bench, bench->cpu_a, bench->cpu_b, diag);
}

void plx_bench_pair_fini(struct plx_bench *bench)
{
    struct plx_bench_pair *pair = &bench->pair;
    if (!pair->made)
        return;
    if (pair->has_thread) {
        pthread_mutex_lock(&pair->lock);
        pair->ends = true;
        pthread_cond_broadcast(&pair->changed);
        pthread_mutex_unlock(&pair->lock);
        pthread_join(pair->thread, NULL);
        pair->has_thread = false;
    }
    pthread_cond_destroy(&pair->changed);
    pthread_mutex_destroy(&pair->lock);
}

/* --- the bare line --------------------------------------------------------------------------- */

/*
 * With `relax`, a look that finds nothing is followed by a pause: a core that looks without one
 * takes the line from the other while that is about to write it, and makes the trip longer.
 */
static inline int line_run(struct plx_bench_slice *slice, struct plx_bench_line *line, bool relax,
                           struct plx_diag *diag)
{
    /* Relaxed: the peer has come to rest. */
    uint64_t value = plx_load_relaxed(&line->word);
    uint64_t before = plx_ticks();
    while (before < slice->end_ticks) {
        for (uint32_t i = 0; i < PLX_BENCH_TRIPS; i++) {
            /* Release and acquire: pair with those of the other core, as a message's would. */
            plx_store_release(&line->word, value + 1);
            for (uint32_t looks = 0; plx_load_acquire(&line->word) != value + 2;) {
                if (relax)
                    plx_cpu_relax();
                if (++looks % LOOKS == 0 && plx_bench_in_vain(slice))
                    return plx_diag_set(diag, -ETIMEDOUT, "line", "the other core is silent");
            }
            value += 2;
        }
        uint64_t now = plx_ticks();
        plx_bench_sample(slice, now - before);
        before = now;
    }
    return 0;
}

static inline int line_peer(struct plx_bench_slice *slice, struct plx_bench_line *line, bool relax)
{
    for (;;) {
        uint64_t value = plx_load_acquire(&line->word);
        if ((value & 1) != 0)
            plx_store_release(&line->word, value + 1);
        else if (plx_bench_stopped(slice))
            return 0;
        else if (relax)
            plx_cpu_relax();
    }
}

int plx_bench_line_run(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    return line_run(slice, ctx, true, diag);
}

int plx_bench_line_peer(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    (void)diag;
    return line_peer(slice, ctx, true);
}

int plx_bench_guard_run(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    return line_run(slice, ctx, false, diag);
}

int plx_bench_guard_peer(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    (void)diag;
    return line_peer(slice, ctx, false);
}

/* --- memory ---------------------------------------------------------------------------------- */

/* The node nearest to `cpu` that has memory for us. */
int plx_bench_node_near(const struct plx_machine *machine, int cpu)
{
    const struct plx_machine_cpu *found = plx_machine_cpu(machine, (uint32_t)cpu);
    int nearest = PLX_NODE_ANY;
    uint32_t least = UINT32_MAX;
    for (uint32_t i = 0; found != NULL && i < machine->node_count; i++) {
        const struct plx_machine_node *node = &machine->nodes[i];
        uint32_t distance = plx_machine_distance(machine, found->node, node->node);
        if (node->memory_bytes == 0 || !node->allowed || distance >= least)
            continue;
        nearest = (int)node->node;
        least = distance;
    }
    return nearest;
}

/* Where the arena's pages are: seen there, or there is nowhere else. */
static int seen_node(const struct plx_bench *bench, const struct plx_arena *arena)
{
    if (arena->pages_off_node == 0 || bench->machine->node_count == 1)
        return arena->node;
    return -1;
}

struct plx_arena *plx_bench_arena(struct plx_bench *bench, size_t bytes, int cpu, int *mem_node)
{
    return plx_bench_arena_on(bench, bytes, plx_bench_node_near(bench->machine, cpu), mem_node);
}

struct plx_arena *plx_bench_arena_on(struct plx_bench *bench, size_t bytes, int node, int *mem_node)
{
    struct plx_diag diag = {0};
    struct plx_arena_opts opts;
    plx_arena_opts_init(&opts);
    opts.page_1g = bench->settings.hugepages_1g;
    opts.page_2m = bench->settings.hugepages_2m;
    opts.thp = bench->settings.thp;
    opts.bind = bench->nodes_required ? PLX_WANT_REQUIRE : PLX_WANT_TRY;
    opts.lock = PLX_WANT_TRY;
    if (mem_node != NULL)
        *mem_node = -1;

    int rc = -ENOSPC;
    size_t wanted = bytes < ARENA_BYTES_MIN ? ARENA_BYTES_MIN : bytes;
    struct plx_arena *arena = &bench->arenas[bench->arena_count];
    if (bench->arena_count == PLX_BENCH_ARENAS_MAX)
        plx_diag_set(&diag, rc, "memory", "more than %d pieces of it", PLX_BENCH_ARENAS_MAX);
    else
        rc = plx_arena_init(arena, wanted, node, &opts, &diag);
    if (rc != 0) {
        plx_bench_failed(bench, "memory", &diag);
        return NULL;
    }
    bench->arena_count++;
    int seen = seen_node(bench, arena);
    if (mem_node != NULL)
        *mem_node = seen;
    if (seen < 0 && bench->nodes_required) {
        plx_diag_set(&diag, -EIO, "memory",
                     "%lld pages are not seen on node %d, and --nodes asks "
                     "for it",
                     (long long)arena->pages_off_node, arena->node);
        plx_bench_failed(bench, "memory", &diag);
        return NULL;
    }
    return arena;
}

void *plx_bench_memory(struct plx_bench *bench, size_t bytes, int cpu, int *mem_node)
{
    struct plx_arena *arena = plx_bench_arena(bench, bytes, cpu, mem_node);
    return arena != NULL ? plx_arena_carve(arena, bytes, 2 * PLX_CACHE_LINE) : NULL;
}

void plx_bench_memory_fini(struct plx_bench *bench)
{
    while (bench->arena_count != 0)
        plx_arena_fini(&bench->arenas[--bench->arena_count]);
}
