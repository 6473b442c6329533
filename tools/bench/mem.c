/* SPDX-License-Identifier: MIT */
/*
 * Memory as a core sees it: the latency of a load that nothing foretells, and the bandwidth of
 * reading, writing and copying, for each node with cores and each with memory, in pages of 2 MiB
 * and of 4 KiB. Each buffer's pages are seen to lie on their node, or there is no figure.
 *
 * Subjects are named for the pages that were had: raw/2M (hugetlb), raw/thp (transparent ones, all
 * of the buffer), raw/4K.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench/frame.h"

#define MIB         ((size_t)1 << 20)
#define QUICK_BYTES (64 * MIB)
#define FULL_BYTES  (256 * MIB)
#define BYTES_MAX   (1024 * MIB)
/* A buffer is at least this many times the last-level cache, which would hold a part of it. */
#define CACHE_TIMES 4u

/* Hops in a sample, and bytes between two looks at the clock. */
#define HOPS        256u
#define CHUNK_BYTES MIB

#define ROUNDS         16u
#define QUICK_TOTAL_US 1500000u
#define FULL_TOTAL_US  10000000u
#define SLICE_US_MIN   1000u
#define SLICE_US_MAX   20000u
/* Subjects measured together, in interleaved slices: each takes two histograms. */
#define BATCH 64u

/* 16 bytes, which every processor of the two kinds moves at once. */
typedef uint64_t vector __attribute__((vector_size(16), may_alias));

struct line {
    struct line *next;
    uint64_t words[PLX_CACHE_LINE / 8 - 1];
};

PLX_STATIC_ASSERT(sizeof(struct line) == PLX_CACHE_LINE, "a hop goes to another line");

/* Memory of one node, used by the cores of all nodes in turn. */
struct buffer {
    struct plx_arena arena;
    size_t bytes; /* of which are used; a multiple of two chunks */
    const char *name;
    uint32_t node;
    bool made;
    char why[200];     /* not empty: no figure, for this reason */
    struct line *line; /* where the chase has come to */
    size_t offset;     /* where the next chunk begins */
};

/* The nodes with cores that are measured on, each by its first. */
struct cores {
    int cpu[PLX_MACHINE_NODES_MAX];
    uint32_t count;
};

/* --- latency --------------------------------------------------------------------------------- */

/* One cycle through all lines of the buffer, in random order (Sattolo's shuffle). */
static void make_cycle(struct buffer *buffer, uint64_t seed)
{
    struct line *lines = (struct line *)(void *)buffer->arena.base;
    uint64_t count = buffer->bytes / sizeof(*lines);
    for (uint64_t i = 0; i < count; i++)
        lines[i].next = &lines[i];
    for (uint64_t i = count - 1; i > 0; i--) {
        uint64_t j = plx_bench_random(&seed) % i;
        struct line *other = lines[j].next;
        lines[j].next = lines[i].next;
        lines[i].next = other;
    }
    buffer->line = lines;
}

static int chase_run(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    (void)diag;
    struct buffer *buffer = ctx;
    struct line *line = buffer->line;
    uint64_t before = plx_ticks();
    while (before < slice->end_ticks) {
        for (uint32_t i = 0; i < HOPS; i++)
            line = line->next;
        /* The address is wanted here, so that the hops cannot be left for later. */
        __asm__ __volatile__("" : : "r"(line) : "memory");
        uint64_t now = plx_bench_fenced_ticks();
        plx_bench_sample(slice, now - before);
        before = now;
    }
    buffer->line = line;
    return 0;
}

/* --- bandwidth ------------------------------------------------------------------------------- */

/* Each word holds its own number. */
static void fill(struct buffer *buffer)
{
    uint64_t *words = (uint64_t *)(void *)buffer->arena.base;
    for (size_t i = 0; i < buffer->bytes / 8; i++)
        words[i] = i;
    buffer->offset = 0;
}

/* Moves a chunk, and says whether what it saw was right. `at` is the number of its first word. */
typedef bool (*chunk_fn)(struct buffer *buffer, vector *chunk, uint64_t at);

/* Four by hand in each: an inner loop would be left one, with its sums on the stack. */
static bool read_chunk(struct buffer *buffer, vector *chunk, uint64_t at)
{
    (void)buffer;
    vector a = {0}, b = {0}, c = {0}, d = {0};
    for (size_t i = 0; i < CHUNK_BYTES / sizeof(vector); i += 4) {
        a += chunk[i];
        b += chunk[i + 1];
        c += chunk[i + 2];
        d += chunk[i + 3];
    }
    a += b + c + d;
    uint64_t count = CHUNK_BYTES / 8;
    return a[0] + a[1] == count * at + count * (count - 1) / 2;
}

static bool write_chunk(struct buffer *buffer, vector *chunk, uint64_t at)
{
    (void)buffer;
    vector value = {at, at + 1};
    for (size_t i = 0; i < CHUNK_BYTES / sizeof(vector); i += 4) {
        chunk[i] = value;
        chunk[i + 1] = value + 2;
        chunk[i + 2] = value + 4;
        chunk[i + 3] = value + 6;
        value += 8;
    }
    return true;
}

/* From the first half of the buffer to the second. */
static bool copy_chunk(struct buffer *buffer, vector *chunk, uint64_t at)
{
    vector *to = chunk + buffer->bytes / 2 / sizeof(vector);
    for (size_t i = 0; i < CHUNK_BYTES / sizeof(vector); i += 4) {
        vector a = chunk[i], b = chunk[i + 1], c = chunk[i + 2], d = chunk[i + 3];
        /* Keeps the compiler from calling memcpy, which may write past the caches. */
        __asm__ __volatile__("" : : : "memory");
        to[i] = a;
        to[i + 1] = b;
        to[i + 2] = c;
        to[i + 3] = d;
    }
    return to[0][0] == at && to[CHUNK_BYTES / sizeof(vector) - 1][1] == at + CHUNK_BYTES / 8 - 1;
}

static inline __attribute__((always_inline)) int stream(struct plx_bench_slice *slice,
                                                        struct buffer *buffer, chunk_fn chunk,
                                                        size_t limit, struct plx_diag *diag)
{
    bool right = true;
    uint64_t start = plx_bench_fenced_ticks();
    uint64_t now = start;
    while (now < slice->end_ticks) {
        vector *words = (vector *)(void *)(buffer->arena.base + buffer->offset);
        right &= chunk(buffer, words, buffer->offset / 8);
        buffer->offset = (buffer->offset + CHUNK_BYTES) % limit;
        slice->done += CHUNK_BYTES;
        now = plx_bench_fenced_ticks();
    }
    slice->elapsed_ticks = now - start;
    return right ? 0 : plx_diag_set(diag, -EPROTO, "memory", "other bytes were read than written");
}

static int read_run(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    struct buffer *buffer = ctx;
    return stream(slice, buffer, read_chunk, buffer->bytes, diag);
}

static int write_run(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    struct buffer *buffer = ctx;
    return stream(slice, buffer, write_chunk, buffer->bytes, diag);
}

static int copy_run(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    struct buffer *buffer = ctx;
    buffer->offset %= buffer->bytes / 2;
    return stream(slice, buffer, copy_chunk, buffer->bytes / 2, diag);
}

/* --- buffers --------------------------------------------------------------------------------- */

/* Bytes of the last-level cache near `cpu`; 0 if that is not told. */
static size_t cache_bytes(int cpu)
{
    size_t bytes = 0;
    for (int index = 0; index < 8; index++) {
        char path[96];
        unsigned long long kib;
        snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/cache/index%d/size", cpu,
                 index);
        FILE *file = fopen(path, "re");
        if (file == NULL)
            break;
        if (fscanf(file, "%lluK", &kib) == 1 && (size_t)kib * 1024 > bytes)
            bytes = (size_t)kib * 1024;
        fclose(file);
    }
    return bytes;
}

static size_t buffer_bytes(const struct plx_bench *bench)
{
    size_t bytes = plx_bench_is_quick(bench) ? QUICK_BYTES : FULL_BYTES;
    size_t least = CACHE_TIMES * cache_bytes(plx_bench_cpu_a(bench));
    bytes = bytes > least ? bytes : plx_round_up(least, 2 * CHUNK_BYTES);
    return bytes < BYTES_MAX ? bytes : BYTES_MAX;
}

static const char *name_of(enum plx_rung rung)
{
    static const char *const names[] = {[PLX_RUNG_1G] = "raw/1G",
                                        [PLX_RUNG_2M] = "raw/2M",
                                        [PLX_RUNG_THP] = "raw/thp",
                                        [PLX_RUNG_4K] = "raw/4K"};
    return names[rung];
}

/* Fills `why` if the buffer's pages are not of the size or not on the node that was asked for. */
static void verify(const struct plx_bench *bench, struct buffer *buffer, bool large)
{
    const struct plx_arena *arena = &buffer->arena;
    if (large && arena->rung == PLX_RUNG_4K)
        snprintf(buffer->why, sizeof(buffer->why), "no pages of 2 MiB: %.160s",
                 arena->note_count != 0 ? arena->notes[arena->note_count - 1].text : "refused");
    else if (large && arena->rung == PLX_RUNG_THP && arena->thp_bytes < arena->bytes)
        snprintf(buffer->why, sizeof(buffer->why),
                 "%zu of %zu MiB are in transparent hugepages, the rest in 4 KiB pages",
                 arena->thp_bytes / MIB, arena->bytes / MIB);
    int64_t off = plx_arena_verify(arena);
    /* Where there is only one node, there is nothing to ask for. */
    if (buffer->why[0] != '\0' || off == 0 || bench->machine->node_count == 1)
        return;
    if (off > 0)
        snprintf(buffer->why, sizeof(buffer->why), "%lld pages lie on another node",
                 (long long)off);
    else
        snprintf(buffer->why, sizeof(buffer->why), "the pages' node cannot be seen: %s",
                 strerror((int)-off));
}

/* What cannot be had leaves the buffer's rows without figures, with the reason. */
static void make_buffer(const struct plx_bench *bench, struct buffer *buffer, uint32_t node,
                        size_t bytes, bool large)
{
    struct plx_diag diag = {0};
    struct plx_arena_opts opts;
    plx_arena_opts_init(&opts);
    opts.page_1g = PLX_WANT_NO;
    opts.page_2m = large ? PLX_WANT_TRY : PLX_WANT_NO;
    opts.thp = large ? PLX_WANT_TRY : PLX_WANT_NO;
    buffer->node = node;
    buffer->bytes = bytes;
    buffer->name = large ? "raw/2M" : "raw/4K";
    buffer->why[0] = '\0';
    int rc = plx_arena_init(&buffer->arena, bytes, (int)node, &opts, &diag);
    buffer->made = rc == 0;
    if (rc != 0) {
        snprintf(buffer->why, sizeof(buffer->why), "no memory on node %u: %.160s", node, diag.text);
        return;
    }
    verify(bench, buffer, large);
    if (buffer->why[0] == '\0')
        buffer->name = name_of(buffer->arena.rung);
}

/* --- cases ----------------------------------------------------------------------------------- */

static const struct kind {
    const char *names[2]; /* in pages of 4 KiB, of 2 MiB */
    const char *what;
    plx_bench_fn run;
    enum plx_bench_unit unit;
    uint32_t block;
} kinds[] = {
    {{"chase_4K", "chase_2M"},
     "a load whose address is the last one's result, in a random cycle of lines",
     chase_run,
     PLX_BENCH_NS,
     HOPS},
    {{"read_4K", "read_2M"}, "bytes read in order", read_run, PLX_BENCH_BANDWIDTH, 1},
    {{"write_4K", "write_2M"},
     "bytes written in order, by ordinary stores",
     write_run,
     PLX_BENCH_BANDWIDTH,
     1},
    {{"copy_4K", "copy_2M"},
     "bytes copied in order, each counted once, by ordinary stores",
     copy_run,
     PLX_BENCH_BANDWIDTH,
     1},
};

static void find_cores(const struct plx_bench *bench, struct cores *cores)
{
    bool known[PLX_MACHINE_NODES_MAX] = {false};
    for (uint32_t i = 0; i < bench->plan->reactor_count; i++) {
        const struct plx_plan_reactor *reactor = &bench->plan->reactors[i];
        if (!known[reactor->node])
            cores->cpu[cores->count++] = (int)reactor->cpu;
        known[reactor->node] = true;
    }
}

static int measure_kind(struct plx_bench *bench, const struct kind *kind, bool large,
                        const struct cores *cores, struct buffer *buffers, uint32_t buffer_count)
{
    struct plx_bench_subject subjects[BATCH];
    uint32_t rows = cores->count * buffer_count;
    uint32_t total_us = bench->quick ? QUICK_TOTAL_US : FULL_TOTAL_US;
    struct plx_bench_case what = {
        .bench = "mem",
        .name = kind->names[large],
        .what = kind->what,
        .unit = kind->unit,
        .block = kind->block,
        .rounds = ROUNDS,
        .slice_us = total_us / ROUNDS / rows,
    };
    if (what.slice_us < SLICE_US_MIN)
        what.slice_us = SLICE_US_MIN;
    if (what.slice_us > SLICE_US_MAX)
        what.slice_us = SLICE_US_MAX;
    int rc = 0;
    uint32_t count = 0;
    for (uint32_t i = 0; i < rows && rc == 0; i++) {
        struct buffer *buffer = &buffers[i % buffer_count];
        subjects[count++] = (struct plx_bench_subject){
            .name = buffer->name,
            .run = kind->run,
            .ctx = buffer,
            .missing = buffer->why[0] != '\0' ? buffer->why : NULL,
            .mem_node = (int)buffer->node,
            .cpu_a = cores->cpu[i / buffer_count],
            .cpu_b = -1,
        };
        if (count == BATCH || i + 1 == rows) {
            rc = plx_bench_measure(bench, &what, subjects, count);
            count = 0;
        }
    }
    return rc;
}

/* All buffers are there at once, so that nodes take turns. */
static int measure_pages(struct plx_bench *bench, bool large, const struct cores *cores,
                         struct buffer *buffers)
{
    const struct plx_machine *machine = bench->machine;
    size_t bytes = buffer_bytes(bench);
    uint32_t count = 0;
    for (uint32_t i = 0; i < machine->node_count; i++) {
        if (machine->nodes[i].memory_bytes != 0 && machine->nodes[i].allowed)
            make_buffer(bench, &buffers[count++], machine->nodes[i].node, bytes, large);
    }
    fprintf(bench->tables, "mem: %zu MiB of %s pages on each node, %zu MiB of cache\n\n",
            bytes / MIB, large ? "2 MiB" : "4 KiB", cache_bytes(bench->cpu_a) / MIB);
    int rc = 0;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]) && rc == 0; i++) {
        for (uint32_t j = 0; j < count; j++) {
            if (buffers[j].why[0] == '\0' && i == 0)
                make_cycle(&buffers[j], plx_bench_seed(bench));
            else if (buffers[j].why[0] == '\0' && i == 1)
                fill(&buffers[j]);
        }
        if (count != 0)
            rc = measure_kind(bench, &kinds[i], large, cores, buffers, count);
    }
    for (uint32_t i = 0; i < count; i++)
        plx_arena_fini(&buffers[i].arena);
    return rc;
}

int plx_bench_mem(struct plx_bench *bench)
{
    struct cores cores = {.count = 0};
    find_cores(bench, &cores);
    struct buffer *buffers = calloc(PLX_MACHINE_NODES_MAX, sizeof(*buffers));
    if (buffers == NULL)
        return -ENOMEM;
    int rc = measure_pages(bench, true, &cores, buffers);
    if (rc == 0)
        rc = measure_pages(bench, false, &cores, buffers);
    free(buffers);
    return rc;
}
