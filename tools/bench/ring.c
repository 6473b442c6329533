/* SPDX-License-Identifier: MIT */
/* Queues between two threads: cells, beside the bare line and other queues. */
#include <errno.h>

#include "runtime/mesh/cells.h"
#include "tools/bench/queues.h"

/* Looks between two looks at the clock. */
#define LOOKS 4096u

/* Cells there and back, or there only. Each thread writes its own part. */
struct cells {
    struct plx_cells *there; /* near the peer thread, which consumes */
    struct plx_cells *back;  /* near the bench thread */
    uint64_t sent PLX_ALIGNED(2 * PLX_CACHE_LINE);
    uint64_t taken PLX_ALIGNED(2 * PLX_CACHE_LINE);
};

/* --- there and back -------------------------------------------------------------------------- */

static int cells_rtt_run(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    struct cells *cells = ctx;
    uint64_t before = plx_ticks();
    while (before < slice->end_ticks) {
        for (uint32_t i = 0; i < PLX_BENCH_TRIPS; i++) {
            uint64_t *out = plx_cells_reserve(cells->there);
            if (out == NULL)
                return plx_diag_set(diag, -EPROTO, "cells", "full with one message on its way");
            *out = ++cells->sent;
            plx_cells_commit(cells->there);
            const uint64_t *in;
            for (uint32_t looks = 0; (in = plx_cells_peek(cells->back)) == NULL;) {
                plx_cpu_relax();
                if (++looks % LOOKS == 0 && plx_bench_in_vain(slice))
                    return plx_diag_set(diag, -ETIMEDOUT, "cells", "no answer");
            }
            if (*in != cells->sent)
                return plx_diag_set(diag, -EPROTO, "cells", "another number came back");
            plx_cells_consume(cells->back);
        }
        uint64_t now = plx_ticks();
        plx_bench_sample(slice, now - before);
        before = now;
    }
    return 0;
}

static int cells_rtt_peer(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    struct cells *cells = ctx;
    for (;;) {
        const uint64_t *in = plx_cells_peek(cells->there);
        if (in == NULL) {
            if (plx_bench_stopped(slice))
                return 0;
            plx_cpu_relax();
            continue;
        }
        uint64_t *out = plx_cells_reserve(cells->back);
        if (out == NULL)
            return plx_diag_set(diag, -EPROTO, "cells", "full with one message on its way");
        *out = *in;
        plx_cells_commit(cells->back);
        plx_cells_consume(cells->there);
    }
}

/* --- one way --------------------------------------------------------------------------------- */

static int cells_items_run(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    struct cells *cells = ctx;
    uint64_t before = plx_ticks();
    while (before < slice->end_ticks) {
        for (uint32_t i = 0; i < PLX_BENCH_ITEMS; i++) {
            uint64_t *out;
            for (uint32_t looks = 0; (out = plx_cells_reserve(cells->there)) == NULL;) {
                plx_cpu_relax();
                if (++looks % LOOKS == 0 && plx_bench_in_vain(slice))
                    return plx_diag_set(diag, -ETIMEDOUT, "cells", "it stays full");
            }
            plx_bench_item_fill(out, cells->sent++);
            plx_cells_commit(cells->there);
        }
        uint64_t now = plx_ticks();
        plx_bench_sample(slice, now - before);
        before = now;
    }
    return 0;
}

static int cells_items_peer(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    struct cells *cells = ctx;
    uint64_t wrong = 0;
    for (;;) {
        bool last = plx_bench_stopped(slice);
        const uint64_t *in;
        while ((in = plx_cells_peek(cells->there)) != NULL) {
            wrong |= plx_bench_item_check(in, cells->taken++);
            plx_cells_consume(cells->there);
        }
        if (wrong != 0)
            return plx_diag_set(diag, -EPROTO, "cells", "items arrived that were not sent so");
        if (last)
            return 0;
        plx_cpu_relax();
    }
}

/* --- subjects -------------------------------------------------------------------------------- */

static struct plx_cells *make_cells(struct plx_bench *bench, uint32_t slots, int cpu, int *mem_node)
{
    struct plx_cells *queue = NULL;
    void *memory = plx_bench_memory(bench, plx_cells_bytes(slots), cpu, mem_node);
    return memory != NULL && plx_cells_init(memory, slots, &queue) == 0 ? queue : NULL;
}

static struct plx_bench_subject make_subject(struct plx_bench *bench, uint32_t slots, bool both)
{
    struct plx_bench_subject subject = {.name = "pollux/cells", .mem_node = -1};
    if (!plx_bench_has_two(bench))
        return subject;
    struct cells *cells = plx_bench_memory(bench, sizeof(*cells), plx_bench_cpu_a(bench), NULL);
    subject.ctx = cells;
    subject.missing = "no memory";
    if (cells == NULL)
        return subject;
    if (both)
        cells->back = make_cells(bench, slots, plx_bench_cpu_a(bench), NULL);
    cells->there = make_cells(bench, slots, plx_bench_cpu_b(bench), &subject.mem_node);
    if (cells->there != NULL && (!both || cells->back != NULL))
        subject.missing = NULL;
    return subject;
}

struct plx_bench_subject plx_bench_cells_rtt(struct plx_bench *bench, uint32_t slots)
{
    struct plx_bench_subject subject = make_subject(bench, slots, true);
    subject.run = cells_rtt_run;
    subject.peer = cells_rtt_peer;
    return subject;
}

struct plx_bench_subject plx_bench_cells_items(struct plx_bench *bench, uint32_t slots)
{
    struct plx_bench_subject subject = make_subject(bench, slots, false);
    subject.run = cells_items_run;
    subject.peer = cells_items_peer;
    return subject;
}

size_t plx_bench_cells_arena_bytes(uint32_t slots)
{
    size_t line = 2 * PLX_CACHE_LINE;
    return plx_round_up(sizeof(struct cells), line) +
           2 * plx_round_up(plx_cells_bytes(slots), line);
}

static struct plx_bench_subject subject_in(struct plx_arena *arena, uint32_t slots, bool both)
{
    struct plx_bench_subject subject = {
        .name = "pollux/cells", .missing = "no memory", .mem_node = -1};
    size_t bytes = plx_cells_bytes(slots);
    struct cells *cells = plx_arena_carve(arena, sizeof(*cells), 2 * PLX_CACHE_LINE);
    void *there = plx_arena_carve(arena, bytes, 2 * PLX_CACHE_LINE);
    void *back = both ? plx_arena_carve(arena, bytes, 2 * PLX_CACHE_LINE) : NULL;
    if (cells == NULL || there == NULL || plx_cells_init(there, slots, &cells->there) != 0)
        return subject;
    if (both && (back == NULL || plx_cells_init(back, slots, &cells->back) != 0))
        return subject;
    subject.missing = NULL;
    subject.ctx = cells;
    return subject;
}

struct plx_bench_subject plx_bench_cells_rtt_in(struct plx_arena *arena, uint32_t slots)
{
    struct plx_bench_subject subject = subject_in(arena, slots, true);
    subject.run = cells_rtt_run;
    subject.peer = cells_rtt_peer;
    return subject;
}

struct plx_bench_subject plx_bench_cells_items_in(struct plx_arena *arena, uint32_t slots)
{
    struct plx_bench_subject subject = subject_in(arena, slots, false);
    subject.run = cells_items_run;
    subject.peer = cells_items_peer;
    return subject;
}

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
                if (++looks % LOOKS == 0 && plx_bench_in_vain(slice))
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

/* --- the benchmark --------------------------------------------------------------------------- */

static int measure_rtt(struct plx_bench *bench)
{
    struct plx_bench_subject subjects[4];
    uint32_t count = 0;
    subjects[count++] = plx_bench_cells_rtt(bench, 1024);
    subjects[count++] = make_lines(bench);
    subjects[count] = plx_bench_raw_rtt(bench);
    subjects[count++].name = "raw/one_line";
#ifdef PLX_BENCH_CK
    subjects[count++] = plx_bench_ck_rtt(bench, 1024);
#endif
    static const struct plx_bench_case what = {
        .bench = "ring",
        .name = "rtt_8B",
        .what = "8 bytes to the other core and back",
        .block = PLX_BENCH_TRIPS,
        .two_cores = true,
    };
    return plx_bench_measure(bench, &what, subjects, count);
}

static int measure_items(struct plx_bench *bench, const char *name, uint32_t slots)
{
    struct plx_bench_subject subjects[2];
    uint32_t count = 0;
    subjects[count++] = plx_bench_cells_items(bench, slots);
#ifdef PLX_BENCH_CK
    subjects[count++] = plx_bench_ck_items(bench, slots);
#endif
    struct plx_bench_case what = {
        .bench = "ring",
        .name = name,
        .what = "48 bytes to the other core, one by one",
        .block = PLX_BENCH_ITEMS,
        .two_cores = true,
    };
    return plx_bench_measure(bench, &what, subjects, count);
}

int plx_bench_ring(struct plx_bench *bench)
{
#ifndef PLX_BENCH_CK
    plx_bench_missing_peer(bench, "ck", "libck-dev");
#endif
    int rc = measure_rtt(bench);
    if (rc == 0)
        rc = measure_items(bench, "items_48B_1024", 1024);
    if (rc == 0)
        rc = measure_items(bench, "items_48B_65536", 65536);
    return rc;
}
