/* SPDX-License-Identifier: MIT */
/*
 * Memory as a core sees it: the latency of a load that nothing foretells, and the bandwidth of
 * reading, writing and copying, for each node with cores and each with memory, in pages of 1 GiB,
 * 2 MiB and 4 KiB. Each buffer's pages are seen to lie on their node, or there is no figure.
 *
 * Subjects are named for the pages that were had: raw/1G, raw/2M (hugetlb), raw/thp (transparent
 * ones, all of the buffer), raw/4K.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench/mem.h"

#define MIB         ((size_t)1 << 20)
#define QUICK_BYTES (64 * MIB)
#define FULL_BYTES  (256 * MIB)
#define BYTES_MAX   (1024 * MIB)
/* A buffer is at least this many times the last-level cache, which would hold a part of it. */
#define CACHE_TIMES 4u

/* Bytes between two looks at the clock. */
#define CHUNK_BYTES MIB

#define ROUNDS         16u
#define QUICK_TOTAL_US 1500000u
#define FULL_TOTAL_US  10000000u
#define SLICE_US_MIN   1000u
#define SLICE_US_MAX   20000u
/* Subjects measured together, in interleaved slices: each takes two histograms. */
#define BATCH 64u

/* --- latency --------------------------------------------------------------------------------- */

/* Sattolo's shuffle. */
void plx_bench_buffer_chain(struct plx_bench_buffer *buffer, uint64_t seed)
{
    struct plx_bench_hop *lines = (struct plx_bench_hop *)(void *)buffer->arena.base;
    uint64_t count = buffer->bytes / sizeof(*lines);
    for (uint64_t i = 0; i < count; i++)
        lines[i].next = &lines[i];
    for (uint64_t i = count - 1; i > 0; i--) {
        uint64_t j = plx_bench_random(&seed) % i;
        struct plx_bench_hop *other = lines[j].next;
        lines[j].next = lines[i].next;
        lines[i].next = other;
    }
    buffer->hop = lines;
}

int plx_bench_chase_run(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    (void)diag;
    struct plx_bench_buffer *buffer = ctx;
    struct plx_bench_hop *line = buffer->hop;
    uint64_t before = plx_ticks();
    while (before < slice->end_ticks) {
        for (uint32_t i = 0; i < PLX_BENCH_HOPS; i++)
            line = line->next;
        /* The address is wanted here, so that the hops cannot be left for later. */
        __asm__ __volatile__("" : : "r"(line) : "memory");
        uint64_t now = plx_bench_fenced_ticks();
        plx_bench_sample(slice, now - before);
        before = now;
    }
    buffer->hop = line;
    return 0;
}

/* --- bandwidth ------------------------------------------------------------------------------- */

void plx_bench_buffer_fill(struct plx_bench_buffer *buffer)
{
    uint64_t *words = (uint64_t *)(void *)buffer->arena.base;
    for (size_t i = 0; i < buffer->bytes / 8; i++)
        words[i] = i;
    buffer->offset = 0;
}

/* Moves a chunk, and says whether what it saw was right. `at` is the number of its first word. */
typedef bool (*chunk_fn)(struct plx_bench_buffer *buffer, plx_bench_vector *chunk, uint64_t at);

/* Four by hand in each: an inner loop would be left one, with its sums on the stack. */
static inline __attribute__((always_inline)) bool sum_is_right(const plx_bench_vector *words,
                                                               size_t bytes, uint64_t at)
{
    plx_bench_vector a = {0}, b = {0}, c = {0}, d = {0};
    for (size_t i = 0; i < bytes / sizeof(plx_bench_vector); i += 4) {
        a += words[i];
        b += words[i + 1];
        c += words[i + 2];
        d += words[i + 3];
    }
    a += b + c + d;
    uint64_t count = bytes / 8;
    return a[0] + a[1] == count * at + count * (count - 1) / 2;
}

static bool read_chunk(struct plx_bench_buffer *buffer, plx_bench_vector *chunk, uint64_t at)
{
    (void)buffer;
    return sum_is_right(chunk, CHUNK_BYTES, at);
}

bool plx_bench_buffer_read(const struct plx_bench_buffer *buffer, size_t offset, size_t bytes)
{
    const plx_bench_vector *words = (const plx_bench_vector *)(void *)(buffer->arena.base + offset);
    return sum_is_right(words, bytes, offset / 8);
}

static bool write_chunk(struct plx_bench_buffer *buffer, plx_bench_vector *chunk, uint64_t at)
{
    (void)buffer;
    plx_bench_vector value = {at, at + 1};
    for (size_t i = 0; i < CHUNK_BYTES / sizeof(plx_bench_vector); i += 4) {
        chunk[i] = value;
        chunk[i + 1] = value + 2;
        chunk[i + 2] = value + 4;
        chunk[i + 3] = value + 6;
        value += 8;
    }
    return true;
}

/* From the first half of the buffer to the second. */
static bool copy_chunk(struct plx_bench_buffer *buffer, plx_bench_vector *chunk, uint64_t at)
{
    plx_bench_vector *to = chunk + buffer->bytes / 2 / sizeof(plx_bench_vector);
    for (size_t i = 0; i < CHUNK_BYTES / sizeof(plx_bench_vector); i += 4) {
        plx_bench_vector a = chunk[i], b = chunk[i + 1], c = chunk[i + 2], d = chunk[i + 3];
        /* Keeps the compiler from calling memcpy, which may write past the caches. */
        __asm__ __volatile__("" : : : "memory");
        to[i] = a;
        to[i + 1] = b;
        to[i + 2] = c;
        to[i + 3] = d;
    }
    return to[0][0] == at &&
           to[CHUNK_BYTES / sizeof(plx_bench_vector) - 1][1] == at + CHUNK_BYTES / 8 - 1;
}

static inline __attribute__((always_inline)) int stream(struct plx_bench_slice *slice,
                                                        struct plx_bench_buffer *buffer,
                                                        chunk_fn chunk, size_t limit,
                                                        struct plx_diag *diag)
{
    bool right = true;
    uint64_t start = plx_bench_fenced_ticks();
    uint64_t now = start;
    while (now < slice->end_ticks) {
        plx_bench_vector *words = (plx_bench_vector *)(void *)(buffer->arena.base + buffer->offset);
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
    struct plx_bench_buffer *buffer = ctx;
    return stream(slice, buffer, read_chunk, buffer->bytes, diag);
}

static int write_run(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    struct plx_bench_buffer *buffer = ctx;
    return stream(slice, buffer, write_chunk, buffer->bytes, diag);
}

static int copy_run(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    struct plx_bench_buffer *buffer = ctx;
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

size_t plx_bench_buffer_bytes(const struct plx_bench *bench)
{
    size_t bytes = plx_bench_is_quick(bench) ? QUICK_BYTES : FULL_BYTES;
    size_t least = CACHE_TIMES * cache_bytes(plx_bench_cpu_a(bench));
    bytes = bytes > least ? bytes : plx_round_up(least, 2 * CHUNK_BYTES);
    if (bench->file_bytes != 0)
        bytes = plx_round_up(bench->file_bytes, 2 * CHUNK_BYTES);
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

/* Fills `why` if the pages are not of the size that was asked for. */
static void verify_pages(struct plx_bench_buffer *buffer, enum plx_bench_pages pages)
{
    const struct plx_arena *arena = &buffer->arena;
    if (pages != PLX_BENCH_2M)
        return;
    if (arena->rung == PLX_RUNG_4K)
        snprintf(buffer->why, sizeof(buffer->why), "no pages of 2 MiB on node %u: %.160s",
                 buffer->node,
                 arena->note_count != 0 ? arena->notes[arena->note_count - 1].text : "refused");
    else if (arena->rung == PLX_RUNG_THP && arena->thp_bytes < arena->bytes)
        snprintf(buffer->why, sizeof(buffer->why),
                 "%zu of %zu MiB on node %u are in transparent hugepages, the rest in 4 KiB pages",
                 arena->thp_bytes / MIB, arena->bytes / MIB, buffer->node);
}

/* Fills `why` if they are not on the node that was asked for; else mem_node. */
static void verify_node(const struct plx_bench *bench, struct plx_bench_buffer *buffer)
{
    int64_t off = plx_arena_verify(&buffer->arena);
    /* Where there is only one node, there is nothing to ask for. */
    if (off == 0 || bench->machine->node_count == 1)
        buffer->mem_node = (int)buffer->node;
    else if (off > 0)
        snprintf(buffer->why, sizeof(buffer->why), "%lld pages lie on another node than %u",
                 (long long)off, buffer->node);
    else
        snprintf(buffer->why, sizeof(buffer->why), "the pages' node, to be %u, cannot be seen: %s",
                 buffer->node, strerror((int)-off));
}

/* Nodes that were asked for by name are a promise. */
static void tell_of_node(struct plx_bench *bench, const struct plx_bench_buffer *buffer)
{
    struct plx_diag diag;
    if (!bench->nodes_required)
        return;
    plx_diag_set(&diag, -EIO, "--nodes", "memory on node %u: %.160s", buffer->node, buffer->why);
    plx_bench_failed(bench, "mem", &diag);
}

void plx_bench_buffer_make(struct plx_bench *bench, struct plx_bench_buffer *buffer, uint32_t node,
                           size_t bytes, enum plx_bench_pages pages)
{
    static const char *const names[] = {"raw/4K", "raw/2M", "raw/1G"};
    struct plx_diag diag = {0};
    struct plx_arena_opts opts;
    plx_arena_opts_init(&opts);
    opts.page_1g = pages == PLX_BENCH_1G ? PLX_WANT_REQUIRE : PLX_WANT_NO;
    opts.page_2m = pages == PLX_BENCH_2M ? PLX_WANT_TRY : PLX_WANT_NO;
    opts.thp = pages == PLX_BENCH_2M ? PLX_WANT_TRY : PLX_WANT_NO;
    buffer->node = node;
    buffer->mem_node = -1;
    buffer->bytes = bytes;
    buffer->name = names[pages];
    buffer->why[0] = '\0';
    size_t taken = pages == PLX_BENCH_1G ? BYTES_MAX : bytes;
    int rc = plx_arena_init(&buffer->arena, taken, (int)node, &opts, &diag);
    buffer->made = rc == 0;
    if (rc != 0) {
        snprintf(buffer->why, sizeof(buffer->why), "no memory on node %u: %.160s", node, diag.text);
        /* That no pages of 1 GiB were reserved is a property of the host. */
        if (pages != PLX_BENCH_1G)
            tell_of_node(bench, buffer);
        return;
    }
    verify_pages(buffer, pages);
    if (buffer->why[0] != '\0')
        return;
    verify_node(bench, buffer);
    if (buffer->why[0] != '\0')
        tell_of_node(bench, buffer);
    else
        buffer->name = name_of(buffer->arena.rung);
}

/* --- cases ----------------------------------------------------------------------------------- */

static const struct kind {
    const char *names[PLX_BENCH_PAGE_KINDS];
    const char *what;
    plx_bench_fn run;
    enum plx_bench_unit unit;
    uint32_t block;
} kinds[] = {
    {{"chase_4K", "chase_2M", "chase_1G"},
     "a load whose address is the last one's result, in a random cycle of lines",
     plx_bench_chase_run,
     PLX_BENCH_NS,
     PLX_BENCH_HOPS},
    {{"read_4K", "read_2M", "read_1G"}, "bytes read in order", read_run, PLX_BENCH_BANDWIDTH, 1},
    {{"write_4K", "write_2M", "write_1G"},
     "bytes written in order, by ordinary stores",
     write_run,
     PLX_BENCH_BANDWIDTH,
     1},
    {{"copy_4K", "copy_2M", "copy_1G"},
     "bytes copied in order, each counted once, by ordinary stores",
     copy_run,
     PLX_BENCH_BANDWIDTH,
     1},
};

static void find_cores(const struct plx_bench *bench, struct plx_bench_node_cores *cores)
{
    bool known[PLX_MACHINE_NODES_MAX] = {false};
    for (uint32_t i = 0; i < bench->plan->reactor_count; i++) {
        const struct plx_plan_reactor *reactor = &bench->plan->reactors[i];
        if (!known[reactor->node]) {
            cores->node[cores->count] = reactor->node;
            cores->cpu[cores->count++] = (int)reactor->cpu;
        }
        known[reactor->node] = true;
    }
}

static int measure_kind(struct plx_bench *bench, const struct kind *kind,
                        enum plx_bench_pages pages, const struct plx_bench_node_cores *cores,
                        struct plx_bench_buffer *buffers, uint32_t buffer_count)
{
    struct plx_bench_subject subjects[BATCH];
    uint32_t rows = cores->count * buffer_count;
    uint32_t total_us = bench->quick ? QUICK_TOTAL_US : FULL_TOTAL_US;
    struct plx_bench_case what = {
        .bench = "mem",
        .name = kind->names[pages],
        .what = kind->what,
        .unit = kind->unit,
        .block = kind->block,
        .fenced = true,
        .rounds = ROUNDS,
        .slice_us = total_us / ROUNDS / rows,
        .parts = (rows + BATCH - 1) / BATCH,
    };
    if (what.slice_us < SLICE_US_MIN)
        what.slice_us = SLICE_US_MIN;
    if (what.slice_us > SLICE_US_MAX)
        what.slice_us = SLICE_US_MAX;
    int rc = 0;
    uint32_t count = 0;
    for (uint32_t i = 0; i < rows && rc == 0; i++) {
        struct plx_bench_buffer *buffer = &buffers[i % buffer_count];
        subjects[count++] = (struct plx_bench_subject){
            .name = buffer->name,
            .run = kind->run,
            .ctx = buffer,
            .missing = buffer->why[0] != '\0' ? buffer->why : NULL,
            .mem_node = buffer->mem_node,
            .cpu_a = cores->cpu[i / buffer_count],
            .cpu_b = -1,
        };
        if (count == BATCH || i + 1 == rows) {
            rc = plx_bench_measure(bench, &what, subjects, count);
            count = 0;
            what.part++;
        }
    }
    return rc;
}

static bool any_wanted(struct plx_bench *bench, enum plx_bench_pages pages)
{
    bool any = false;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        any = plx_bench_is_wanted(bench, "mem", kinds[i].names[pages]) || any;
    return any;
}

/* Those with memory for us, of the nodes that were asked for. */
static uint32_t make_buffers(struct plx_bench *bench, enum plx_bench_pages pages,
                             struct plx_bench_buffer *buffers)
{
    const struct plx_machine *machine = bench->machine;
    uint32_t count = 0;
    for (uint32_t i = 0; i < machine->node_count && !plx_bench_stopping(); i++) {
        const struct plx_machine_node *node = &machine->nodes[i];
        bool meant = !bench->nodes_required || plx_cpu_set_has(&bench->settings.nodes, node->node);
        if (node->memory_bytes != 0 && node->allowed && meant)
            plx_bench_buffer_make(bench, &buffers[count++], node->node,
                                  plx_bench_buffer_bytes(bench), pages);
    }
    return count;
}

/* All buffers are there at once, so that nodes take turns. */
static int measure_pages(struct plx_bench *bench, enum plx_bench_pages pages,
                         const struct plx_bench_node_cores *cores, struct plx_bench_buffer *buffers)
{
    static const char *const sizes[] = {"4 KiB", "2 MiB", "1 GiB"};
    if (!any_wanted(bench, pages))
        return 0;
    uint32_t count = make_buffers(bench, pages, buffers);
    fprintf(bench->tables, "mem: %zu MiB of %s pages on each node, %zu MiB of cache\n\n",
            plx_bench_buffer_bytes(bench) / MIB, sizes[pages], cache_bytes(bench->cpu_a) / MIB);
    int rc = 0;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]) && rc == 0; i++) {
        for (uint32_t j = 0; j < count && !plx_bench_stopping(); j++) {
            if (buffers[j].why[0] == '\0' && i == 0)
                plx_bench_buffer_chain(&buffers[j], plx_bench_seed(bench));
            else if (buffers[j].why[0] == '\0' && i == 1)
                plx_bench_buffer_fill(&buffers[j]);
        }
        if (count != 0)
            rc = measure_kind(bench, &kinds[i], pages, cores, buffers, count);
    }
    for (uint32_t i = 0; i < count; i++)
        plx_arena_fini(&buffers[i].arena);
    return rc;
}

/* Names the cases and makes nothing. */
static int list(struct plx_bench *bench, enum plx_bench_pages pages)
{
    int rc = 0;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]) && rc == 0; i++) {
        const struct plx_bench_case what = {
            .bench = "mem", .name = kinds[i].names[pages], .what = kinds[i].what};
        const struct plx_bench_subject subject = {.name = "raw"};
        rc = plx_bench_measure(bench, &what, &subject, 1);
    }
    return rc;
}

int plx_bench_mem(struct plx_bench *bench)
{
    static const enum plx_bench_pages order[] = {PLX_BENCH_2M, PLX_BENCH_4K, PLX_BENCH_1G};
    struct plx_bench_node_cores cores = {.count = 0};
    find_cores(bench, &cores);
    struct plx_bench_buffer *buffers = calloc(PLX_MACHINE_NODES_MAX, sizeof(*buffers));
    if (buffers == NULL)
        return -ENOMEM;
    int rc = 0;
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]) && rc == 0; i++)
        rc = bench->listing ? list(bench, order[i])
                            : measure_pages(bench, order[i], &cores, buffers);
    free(buffers);
    return rc == 0 ? plx_bench_mem_loaded(bench, &cores) : rc;
}
