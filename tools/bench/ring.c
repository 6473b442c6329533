/* SPDX-License-Identifier: MIT */
/* Queues between two threads: cells and packed ones, beside bare lines and other queues. */
#include <stdio.h>

#include "tools/bench/frame.h"
#include "tools/bench/queues.h"

/* --- floors ---------------------------------------------------------------------------------- */

struct plx_bench_subject plx_bench_raw_rtt(struct plx_bench *bench)
{
    struct plx_bench_subject subject = {
        .name = "raw", .run = plx_bench_line_run, .peer = plx_bench_line_peer, .mem_node = -1};
    if (!plx_bench_has_two(bench))
        return subject;
    subject.ctx = plx_bench_memory(bench, sizeof(struct plx_bench_line), plx_bench_cpu_b(bench),
                                   &subject.mem_node);
    subject.missing = subject.ctx == NULL ? "no memory" : NULL;
    return subject;
}

/* --- the floor: a line for each way ---------------------------------------------------------- */

/*
 * What any queue must move for a message there and one back: two lines, each written by one core
 * and read by the other. A single line that both write is faster where the owner of a line may
 * change without its being read first, which no queue can have.
 */
struct lines {
    struct plx_bench_line there;
    struct plx_bench_line back;
};

static int lines_run(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    struct lines *lines = ctx;
    /* Relaxed: the peer has come to rest. */
    uint64_t value = plx_load_relaxed(&lines->back.word);
    uint64_t before = plx_ticks();
    while (before < slice->end_ticks) {
        for (uint32_t i = 0; i < PLX_BENCH_TRIPS; i++) {
            /* Release and acquire: pair with those of the other core, as a message's would. */
            plx_store_release(&lines->there.word, ++value);
            for (uint32_t looks = 0; plx_load_acquire(&lines->back.word) != value;) {
                plx_cpu_relax();
                if (++looks % PLX_BENCH_QUEUE_LOOKS == 0 && plx_bench_in_vain(slice))
                    return plx_diag_set(diag, -ETIMEDOUT, "lines", "the other core is silent");
            }
        }
        uint64_t now = plx_ticks();
        plx_bench_sample(slice, now - before);
        before = now;
    }
    return 0;
}

static int lines_peer(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    (void)diag;
    struct lines *lines = ctx;
    uint64_t seen = plx_load_relaxed(&lines->back.word);
    for (;;) {
        uint64_t value = plx_load_acquire(&lines->there.word);
        if (value != seen) {
            seen = value;
            plx_store_release(&lines->back.word, value);
        } else if (plx_bench_stopped(slice)) {
            return 0;
        } else {
            plx_cpu_relax();
        }
    }
}

static struct plx_bench_subject make_lines(struct plx_bench *bench)
{
    struct plx_bench_subject subject = {
        .name = "raw", .run = lines_run, .peer = lines_peer, .mem_node = -1};
    if (!plx_bench_has_two(bench))
        return subject;
    subject.ctx =
        plx_bench_memory(bench, sizeof(struct lines), plx_bench_cpu_b(bench), &subject.mem_node);
    subject.missing = subject.ctx == NULL ? "no memory" : NULL;
    return subject;
}

/* --- who is measured ------------------------------------------------------------------------- */

struct entry {
    const char *name;    /* as it is told where it was not installed */
    const char *package; /* that brings it */
    struct plx_bench_subject (*make)(struct plx_bench *bench, const struct plx_bench_shape *shape);
    void (*free)(void);
    uint32_t words_max;
};

#ifdef PLX_BENCH_CK
#define CK plx_bench_ck
#else
#define CK NULL
#endif
#ifdef PLX_BENCH_LIBURCU
#define URCU plx_bench_urcu
#else
#define URCU NULL
#endif
#ifdef PLX_BENCH_RTE_RING
#define RTE_RING plx_bench_rte_ring
#else
#define RTE_RING NULL
#endif
#ifdef PLX_BENCH_BOOST
#define BOOST plx_bench_boost, plx_bench_boost_free
#else
#define BOOST NULL, NULL
#endif
#ifdef PLX_BENCH_RWQUEUE
#define RWQUEUE plx_bench_rwqueue, plx_bench_rwqueue_free
#else
#define RWQUEUE NULL, NULL
#endif

static const struct entry entries[] = {
    {"cells", NULL, plx_bench_cells, NULL, PLX_BENCH_ITEM_WORDS},
    {"packed", NULL, plx_bench_packed, NULL, PLX_BENCH_WORDS_MAX},
    {"ck", "libck-dev", CK, NULL, PLX_BENCH_WORDS_MAX},
    {"wfcqueue", "liburcu-dev", URCU, NULL, PLX_BENCH_WORDS_MAX},
    {"boost", "libboost-dev", BOOST, PLX_BENCH_WORDS_MAX},
    {"rwqueue", "libreaderwriterqueue-dev", RWQUEUE, PLX_BENCH_WORDS_MAX},
    {"rte_ring", "libdpdk-dev (optional)", RTE_RING, NULL, PLX_BENCH_WORDS_MAX},
};

#define ENTRIES (sizeof(entries) / sizeof(entries[0]))

/* --- the benchmark --------------------------------------------------------------------------- */

/*
 * Cases by the figures that are promised take the usual time; those of the whole grid less, as they
 * are many.
 */
#define GRID_ROUNDS   16u
#define GRID_SLICE_US 12000u

static int measure(struct plx_bench *bench, const struct plx_bench_shape *shape, const char *name,
                   const char *what, bool promised)
{
    struct plx_bench_subject subjects[ENTRIES + 2];
    bool wanted = plx_bench_is_wanted(bench, "ring", name);
    uint32_t count = 0;
    for (size_t i = 0; wanted && i < ENTRIES; i++) {
        if (entries[i].make != NULL && shape->words <= entries[i].words_max)
            subjects[count++] = entries[i].make(bench, shape);
    }
    if (wanted && shape->both && shape->words == 1) {
        subjects[count++] = make_lines(bench);
        subjects[count] = plx_bench_raw_rtt(bench);
        subjects[count++].name = "raw/one_line";
    }
    const struct plx_bench_case measured = {
        .bench = "ring",
        .name = name,
        .what = what,
        .block = shape->both ? PLX_BENCH_TRIPS : PLX_BENCH_ITEMS,
        .two_cores = true,
        .rounds = promised ? 0 : GRID_ROUNDS,
        .slice_us = promised ? 0 : GRID_SLICE_US,
    };
    int rc = plx_bench_measure(bench, &measured, subjects, count);
    for (size_t i = 0; i < ENTRIES; i++) {
        if (entries[i].free != NULL)
            entries[i].free();
    }
    plx_bench_memory_fini(bench);
    return rc;
}

static const uint32_t all_words[] = {1, 2, 6, 8};
static const uint32_t all_capacities[] = {64, 1024, 65536};
static const uint32_t all_batches[] = {1, 8, 32};

#define WORDS      (sizeof(all_words) / sizeof(all_words[0]))
#define CAPACITIES (sizeof(all_capacities) / sizeof(all_capacities[0]))
#define BATCHES    (sizeof(all_batches) / sizeof(all_batches[0]))

static size_t index_of(const uint32_t *values, size_t count, uint32_t value)
{
    size_t index = 0;
    while (index + 1 < count && values[index] != value)
        index++;
    return index;
}

static int measure_rtt(struct plx_bench *bench, uint32_t words, uint32_t capacity)
{
    /* Names last as long as the rows, and are the same in each pass over everything. */
    static char names[WORDS][CAPACITIES][24];
    char *name =
        names[index_of(all_words, WORDS, words)][index_of(all_capacities, CAPACITIES, capacity)];
    const struct plx_bench_shape shape = {words, capacity, 1, true};
    bool usual = capacity == 1024;
    if (usual)
        snprintf(name, sizeof(names[0][0]), "rtt_%uB", 8 * words);
    else
        snprintf(name, sizeof(names[0][0]), "rtt_%uB_%u", 8 * words, capacity);
    return measure(bench, &shape, name, "a message to the other core and back",
                   usual && words == 1);
}

static int measure_items(struct plx_bench *bench, uint32_t words, uint32_t capacity, uint32_t batch)
{
    static char names[WORDS][CAPACITIES][BATCHES][32];
    char *name =
        names[index_of(all_words, WORDS, words)][index_of(all_capacities, CAPACITIES, capacity)]
             [index_of(all_batches, BATCHES, batch)];
    const struct plx_bench_shape shape = {words, capacity, batch, false};
    bool promised = capacity == 1024 && ((words == 1 && batch != 8) || (words == 6 && batch == 1));
    const size_t bytes = sizeof(names[0][0][0]);
    int length = snprintf(name, bytes, "items_%uB_%u", 8 * words, capacity);
    if (batch != 1)
        snprintf(name + length, bytes - (size_t)length, "_b%u", batch);
    return measure(bench, &shape, name,
                   batch == 1 ? "items to the other core, one by one"
                              : "items to the other core, handed over in batches where it can",
                   promised);
}

/* The figures that are promised, and little else. */
static int measure_few(struct plx_bench *bench)
{
    int rc = measure_rtt(bench, 1, 1024);
    if (rc == 0)
        rc = measure_items(bench, 1, 1024, 1);
    if (rc == 0)
        rc = measure_items(bench, 1, 1024, 32);
    if (rc == 0)
        rc = measure_items(bench, 6, 1024, 1);
    return rc;
}

static int measure_grid(struct plx_bench *bench)
{
    int rc = 0;
    for (size_t w = 0; w < WORDS && rc == 0; w++) {
        for (size_t c = 0; c < CAPACITIES && rc == 0; c++) {
            rc = measure_rtt(bench, all_words[w], all_capacities[c]);
            for (size_t b = 0; b < BATCHES && rc == 0; b++)
                rc = measure_items(bench, all_words[w], all_capacities[c], all_batches[b]);
        }
    }
    return rc;
}

int plx_bench_ring(struct plx_bench *bench)
{
    for (size_t i = 0; i < ENTRIES; i++) {
        if (entries[i].make == NULL)
            plx_bench_missing_peer(bench, entries[i].name, entries[i].package);
    }
    return plx_bench_is_quick(bench) ? measure_few(bench) : measure_grid(bench);
}
