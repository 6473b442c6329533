/* SPDX-License-Identifier: MIT */
/*
 * Latency under load: one core follows a chain through memory while others of its node read as much
 * as they are allowed to, by a pause after each piece. Each point of the curve has two figures, of
 * the same slices: the latency of a load, and the bandwidth that the others had meanwhile.
 *
 * Threads. Each of the others has a thread of its own, made for a node and ended behind it, which
 * sleeps but for the slices that load the memory.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench/mem.h"

#define PIECE_BYTES 16384u

#define ROUNDS         12u
#define QUICK_TOTAL_US 1000000u
#define FULL_TOTAL_US  8000000u
#define SLICE_US_MIN   2000u
#define SLICE_US_MAX   20000u

struct load;

/* A core that reads. Its count is its own line's. */
struct loader {
    struct load *load;
    pthread_t thread;
    size_t offset;
    PLX_ATOMIC(bool) wrong;
    PLX_ATOMIC(uint64_t) bytes PLX_ALIGNED(2 * PLX_CACHE_LINE);
};

struct load {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint32_t turn;    /* a slice with load has a number of its own */
    uint32_t working; /* loaders in this turn */
    bool ends;
    uint64_t pause_ticks;
    struct plx_bench_buffer *buffer; /* what is read */
    struct loader *loaders;
    uint32_t count;
    PLX_ATOMIC(bool) stop PLX_ALIGNED(2 * PLX_CACHE_LINE);
};

/* A point of the curve. */
struct point {
    const char *name;
    int64_t pause_ns; /* -1: nobody reads */
    struct load *load;
    struct plx_bench_buffer *chased;
};

static const struct point points[] = {
    {.name = "raw/alone", .pause_ns = -1},       {.name = "raw/pause_16us", .pause_ns = 16000},
    {.name = "raw/pause_8us", .pause_ns = 8000}, {.name = "raw/pause_4us", .pause_ns = 4000},
    {.name = "raw/pause_2us", .pause_ns = 2000}, {.name = "raw/pause_1us", .pause_ns = 1000},
    {.name = "raw/no_pause", .pause_ns = 0},
};

#define POINTS (sizeof(points) / sizeof(points[0]))

/* --- the others ------------------------------------------------------------------------------ */

static void read_on(struct loader *loader, uint64_t pause_ticks)
{
    struct load *load = loader->load;
    /* Relaxed: nothing is read on the strength of it. */
    while (!plx_load_relaxed(&load->stop)) {
        if (!plx_bench_buffer_read(load->buffer, loader->offset, PIECE_BYTES))
            plx_store_relaxed(&loader->wrong, true); /* a flag, nothing more */
        loader->offset = (loader->offset + PIECE_BYTES) % load->buffer->bytes;
        plx_store_relaxed(&loader->bytes, plx_load_relaxed(&loader->bytes) + PIECE_BYTES);
        uint64_t end = plx_ticks() + pause_ticks;
        while (pause_ticks != 0 && plx_ticks() < end)
            plx_cpu_relax();
    }
}

static void *loader_main(void *argument)
{
    struct loader *loader = argument;
    struct load *load = loader->load;
    uint32_t seen = 0;
    pthread_mutex_lock(&load->lock);
    for (;;) {
        while (load->turn == seen && !load->ends)
            pthread_cond_wait(&load->changed, &load->lock);
        if (load->ends)
            break;
        seen = load->turn;
        uint64_t pause_ticks = load->pause_ticks;
        load->working++;
        pthread_cond_broadcast(&load->changed);
        pthread_mutex_unlock(&load->lock);
        read_on(loader, pause_ticks);
        pthread_mutex_lock(&load->lock);
        load->working--;
        pthread_cond_broadcast(&load->changed);
    }
    pthread_mutex_unlock(&load->lock);
    return NULL;
}

static void begin(struct load *load, uint64_t pause_ticks)
{
    pthread_mutex_lock(&load->lock);
    plx_store_relaxed(&load->stop, false); /* the lock orders it */
    load->pause_ticks = pause_ticks;
    load->turn++;
    pthread_cond_broadcast(&load->changed);
    while (load->working != load->count)
        pthread_cond_wait(&load->changed, &load->lock);
    pthread_mutex_unlock(&load->lock);
}

static void end(struct load *load)
{
    plx_store_relaxed(&load->stop, true);
    pthread_mutex_lock(&load->lock);
    while (load->working != 0)
        pthread_cond_wait(&load->changed, &load->lock);
    pthread_mutex_unlock(&load->lock);
}

static uint64_t bytes_of(const struct load *load)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < load->count; i++)
        bytes += plx_load_relaxed(&load->loaders[i].bytes);
    return bytes;
}

/* Ends those that were made. */
static void close_load(struct load *load)
{
    pthread_mutex_lock(&load->lock);
    load->ends = true;
    pthread_cond_broadcast(&load->changed);
    pthread_mutex_unlock(&load->lock);
    for (uint32_t i = 0; i < load->count; i++)
        pthread_join(load->loaders[i].thread, NULL);
    pthread_cond_destroy(&load->changed);
    pthread_mutex_destroy(&load->lock);
    free(load->loaders);
}

static int open_load(struct load *load, const int *cpus, uint32_t count, struct plx_diag *diag)
{
    load->loaders = aligned_alloc(2 * PLX_CACHE_LINE, count * sizeof(*load->loaders));
    if (load->loaders == NULL)
        return plx_diag_set(diag, -ENOMEM, "memory", "no memory for %u threads that read", count);
    pthread_mutex_init(&load->lock, NULL);
    pthread_cond_init(&load->changed, NULL);
    int rc = 0;
    for (uint32_t i = 0; i < count && rc == 0; i++) {
        struct loader *loader = &load->loaders[i];
        cpu_set_t set;
        *loader = (struct loader){.load = load};
        /* Each in a part of its own, at first. */
        loader->offset = load->buffer->bytes / count * i / PIECE_BYTES * PIECE_BYTES;
        rc = -pthread_create(&loader->thread, NULL, loader_main, loader);
        if (rc != 0)
            break;
        load->count++;
        CPU_ZERO(&set);
        CPU_SET((unsigned)cpus[i], &set);
        rc = -pthread_setaffinity_np(loader->thread, sizeof(set), &set);
    }
    if (rc == 0)
        return 0;
    close_load(load);
    return plx_diag_set(diag, rc, "thread", "one that reads: %s", strerror(-rc));
}

/* --- a slice --------------------------------------------------------------------------------- */

/* The others begin and end outside of run: waiting for them would count as time of other programs.
 */
static int loaded_open(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    (void)diag;
    const struct point *point = ctx;
    if (point->pause_ns >= 0)
        begin(point->load,
              (uint64_t)((double)point->pause_ns / plx_bench_ns_per_tick(slice->bench)));
    return 0;
}

static void loaded_close(void *ctx)
{
    const struct point *point = ctx;
    if (point->pause_ns >= 0)
        end(point->load);
}

static int loaded_run(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    struct point *point = ctx;
    struct load *load = point->load;
    uint64_t bytes = bytes_of(load);
    uint64_t start = plx_bench_fenced_ticks();
    int rc = plx_bench_chase_run(slice, point->chased, diag);
    slice->elapsed_ticks = plx_bench_fenced_ticks() - start;
    slice->done = bytes_of(load) - bytes;
    for (uint32_t i = 0; i < load->count && rc == 0; i++) {
        if (plx_load_relaxed(&load->loaders[i].wrong)) /* a later slice sees what this one misses */
            rc = plx_diag_set(diag, -EPROTO, "memory", "other bytes were read than written");
    }
    return rc;
}

/* --- the case -------------------------------------------------------------------------------- */

/* What the points of one node are measured with. */
struct place {
    struct load load;
    struct plx_bench_buffer buffers[2]; /* what is chased, and what is read */
    int *cpus;                          /* of those that read */
    uint32_t count;
    int cpu;
    uint32_t node;
};

/* How many may read beside the one that chases: more than the quota would stop all for a while. */
static uint32_t readers_most(const struct plx_machine *machine)
{
    return machine->quota_mcpus != 0 ? machine->quota_mcpus / 1000 - 1 : UINT32_MAX;
}

uint32_t plx_bench_readers(const struct plx_machine *machine, const struct plx_plan *plan, int cpu,
                           uint32_t node, int *cpus)
{
    uint32_t core = plx_machine_cpu(machine, (uint32_t)cpu)->core;
    uint32_t count = 0;
    int other = -1;
    for (uint32_t i = 0; i < plan->reactor_count; i++) {
        const struct plx_plan_reactor *reactor = &plan->reactors[i];
        if (plx_machine_cpu(machine, reactor->cpu)->core == core)
            continue;
        if (reactor->node == node && count < readers_most(machine))
            cpus[count++] = (int)reactor->cpu;
        else if (other < 0)
            other = (int)reactor->cpu;
    }
    if (count == 0 && other >= 0)
        cpus[count++] = other;
    return count;
}

static int measure_points(struct plx_bench *bench, struct place *place, uint32_t part,
                          uint32_t parts, const char *missing)
{
    struct plx_bench_subject subjects[POINTS];
    struct point copies[POINTS];
    uint32_t total_us = bench->quick ? QUICK_TOTAL_US : FULL_TOTAL_US;
    struct plx_bench_case what = {
        .bench = "mem",
        .name = "loaded",
        .what = "a load as in the chase, beside other cores that read 16 KiB and pause",
        .block = PLX_BENCH_HOPS,
        .fenced = true,
        .two_cores = true,
        .rounds = ROUNDS,
        .slice_us = total_us / ROUNDS / (uint32_t)POINTS,
        .parts = parts,
        .part = part,
        .also_name = "loaded_read",
        .also_what = "what these cores read meanwhile, together",
        .also_unit = PLX_BENCH_BANDWIDTH,
    };
    what.slice_us = what.slice_us < SLICE_US_MIN ? SLICE_US_MIN : what.slice_us;
    what.slice_us = what.slice_us > SLICE_US_MAX ? SLICE_US_MAX : what.slice_us;
    for (size_t i = 0; i < POINTS; i++) {
        copies[i] = points[i];
        copies[i].load = &place->load;
        copies[i].chased = &place->buffers[0];
        subjects[i] = (struct plx_bench_subject){
            .name = points[i].name,
            .run = loaded_run,
            .open = loaded_open,
            .close = loaded_close,
            .ctx = &copies[i],
            .missing = missing,
            .mem_node = place->buffers[0].mem_node,
            .cpu_a = place->cpu,
            .cpu_b = place->count != 0 ? place->cpus[0] : bench->cpu_b,
        };
    }
    return plx_bench_measure(bench, &what, subjects, POINTS);
}

static int measure_node(struct plx_bench *bench, struct place *place, uint32_t part, uint32_t parts)
{
    struct plx_bench_buffer *buffers = place->buffers;
    struct plx_diag diag = {0};
    int mem_node = plx_bench_node_near(bench->machine, place->cpu);
    place->count =
        plx_bench_readers(bench->machine, bench->plan, place->cpu, place->node, place->cpus);
    for (uint32_t i = 0; i < 2; i++)
        plx_bench_buffer_make(bench, &buffers[i], (uint32_t)mem_node, plx_bench_buffer_bytes(bench),
                              PLX_BENCH_2M);
    const char *missing = place->count == 0 ? "there is no other core that could read" : NULL;
    for (uint32_t i = 0; i < 2 && missing == NULL; i++)
        missing = buffers[i].why[0] != '\0' ? buffers[i].why : NULL;
    place->load.buffer = &buffers[1];
    if (missing == NULL) {
        plx_bench_buffer_chain(&buffers[0], plx_bench_seed(bench));
        plx_bench_buffer_fill(&buffers[1]);
    }
    if (missing == NULL && open_load(&place->load, place->cpus, place->count, &diag) != 0) {
        plx_bench_failed(bench, "mem", &diag);
        missing = "no threads that read";
        place->load.count = 0;
    }
    int rc = measure_points(bench, place, part, parts, missing);
    if (missing == NULL)
        close_load(&place->load);
    for (uint32_t i = 0; i < 2; i++)
        plx_arena_fini(&buffers[i].arena);
    return rc;
}

/* Also when cases are only named, and no longer when a signal has come. */
static bool is_wanted(struct plx_bench *bench)
{
    bool wanted = plx_bench_is_wanted(bench, "mem", "loaded");
    return plx_bench_is_wanted(bench, "mem", "loaded_read") || wanted || bench->listing;
}

int plx_bench_mem_loaded(struct plx_bench *bench, const struct plx_bench_node_cores *cores)
{
    struct place *place = aligned_alloc(2 * PLX_CACHE_LINE, sizeof(*place));
    int *cpus = calloc(bench->plan->reactor_count, sizeof(*cpus));
    bool one = bench->listing || !plx_bench_has_two(bench);
    uint32_t parts = one ? 1 : cores->count;
    int rc = place != NULL && cpus != NULL ? 0 : -ENOMEM;
    for (uint32_t i = 0; rc == 0 && is_wanted(bench) && i < parts; i++) {
        memset(place, 0, sizeof(*place));
        place->cpus = cpus;
        place->cpu = one ? bench->cpu_a : cores->cpu[i];
        place->node = one ? 0 : cores->node[i];
        place->buffers[0].mem_node = -1;
        rc = one ? measure_points(bench, place, i, parts, NULL)
                 : measure_node(bench, place, i, parts);
    }
    free(cpus);
    free(place);
    return rc;
}
