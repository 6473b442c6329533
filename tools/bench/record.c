/* SPDX-License-Identifier: MIT */
/* What it costs to record a value, as whoever times each message does. */
#include <errno.h>
#include <stdlib.h>

#include "tools/bench/frame.h"
#include "tools/bench/uring.h"

#define VALUES 1024u

struct record {
    struct plx_histogram *histogram;
    uint64_t values[VALUES];
};

static int run_record(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    struct record *record = ctx;
    plx_histogram_reset(record->histogram);
    uint64_t blocks = 0;
    uint64_t before = plx_ticks();
    while (before < slice->end_ticks) {
        for (uint32_t i = 0; i < VALUES; i++)
            plx_histogram_record(record->histogram, record->values[i]);
        uint64_t now = plx_ticks();
        plx_bench_sample(slice, now - before);
        before = now;
        blocks++;
    }
    if (plx_histogram_count(record->histogram) != blocks * VALUES)
        return plx_diag_set(diag, -EPROTO, "histogram", "values were recorded and not counted");
    return 0;
}

int plx_bench_record(struct plx_bench *bench)
{
    static const struct plx_bench_case what = {
        .bench = "uring",
        .name = "histogram_record",
        .what = "a value recorded, of 1 us to 1 ms",
        .block = VALUES,
    };
    struct plx_bench_subject subject = {.name = "pollux", .run = run_record, .mem_node = -1};
    struct record *record = calloc(1, sizeof(*record));
    void *memory =
        aligned_alloc(PLX_CACHE_LINE, plx_round_up(plx_histogram_bytes(), PLX_CACHE_LINE));
    int rc = -ENOMEM;
    if (record != NULL && memory != NULL)
        rc = plx_histogram_init(memory, &record->histogram);
    if (rc == 0) {
        /* Drawn over three decades, as the latencies of a day are. */
        for (uint32_t i = 0; i < VALUES; i++) {
            uint64_t drawn = plx_bench_random(&bench->random);
            record->values[i] = (1000u << (drawn % 10)) + (drawn >> 32) % 1000;
        }
        subject.ctx = record;
        rc = plx_bench_measure(bench, &what, &subject, 1);
    }
    free(memory);
    free(record);
    return rc;
}
