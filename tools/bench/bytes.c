/* SPDX-License-Identifier: MIT */
/*
 * Counted bytes and the queue of them: what they add to a pool's block. Part of the benchmark
 * `pool`, with no peers; all on one thread, without looking at the bytes but for the copies.
 */
#include <errno.h>
#include <string.h>

#include "alloc/bytes.h"
#include "alloc/segbuf.h"
#include "tools/bench/frame.h"
#include "tools/bench/pool.h"

/* Operations in a sample. */
#define BLOCK 256u

#define BLOCKS_4K   256u
#define FROZEN      4096u /* bytes that are frozen, a whole block */
#define SMALL       64u   /* bytes of a slice that is packed */
#define SLICE       1024u /* bytes that are put into a queue, and taken */
#define SEGMENTS    16u
#define ARENA_BYTES ((size_t)4 << 20)

struct bytes {
    unsigned char gap[1024]; /* see struct plx_bench_pools */
    struct plx_pool pool;
    struct plx_bytes_home home;
    struct plx_bytes slice; /* SLICE bytes of a block that stays */
    struct plx_bytes whole;
    struct plx_segbuf even; /* what is taken from it lies in one segment */
    struct plx_segbuf odd;  /* what is taken from it spans two */
    struct plx_bytes segments[2][SEGMENTS];
    unsigned char small[SMALL];
    int mem_node;
};

typedef int (*step_fn)(struct bytes *bytes);

static inline __attribute__((always_inline)) int
loop(struct plx_bench_slice *slice, struct bytes *bytes, step_fn step, struct plx_diag *diag)
{
    uint64_t before = plx_ticks();
    while (before < slice->end_ticks) {
        for (uint32_t i = 0; i < BLOCK; i++) {
            int rc = step(bytes);
            if (rc != 0)
                return plx_diag_set(diag, rc, "bytes", "%s", strerror(-rc));
        }
        uint64_t now = plx_ticks();
        plx_bench_sample(slice, now - before);
        before = now;
    }
    return 0;
}

/* --- steps ----------------------------------------------------------------------------------- */

static inline int freeze_step(struct bytes *bytes)
{
    void *block = plx_pool_acquire(&bytes->pool, FROZEN);
    if (block == NULL)
        return -ENOMEM;
    struct plx_bytes all = plx_bytes_freeze(&bytes->home, block, block, FROZEN);
    plx_bytes_release(&bytes->home, &all);
    return 0;
}

static inline int clone_step(struct bytes *bytes)
{
    struct plx_bytes other = plx_bytes_clone(&bytes->whole);
    /* Somebody sees the count, so that it cannot be left as it was. */
    __asm__ __volatile__("" : : "r"(&other) : "memory");
    plx_bytes_release(&bytes->home, &other);
    return 0;
}

static inline int copy_step(struct bytes *bytes)
{
    struct plx_bytes copy;
    int rc = plx_bytes_copy(&bytes->home, bytes->small, SMALL, &copy);
    if (rc != 0)
        return rc;
    rc = memcmp(copy.ptr, bytes->small, 8) == 0 ? 0 : -EPROTO;
    plx_bytes_release(&bytes->home, &copy);
    return rc;
}

/* A slice in, as many bytes out. */
static inline int through(struct bytes *bytes, struct plx_segbuf *queue)
{
    struct plx_bytes in = plx_bytes_clone(&bytes->slice);
    struct plx_bytes out;
    int rc = plx_segbuf_extend(queue, &in);
    if (rc != 0) {
        plx_bytes_release(&bytes->home, &in);
        return rc;
    }
    rc = plx_segbuf_take(queue, SLICE, &out);
    if (rc == 0)
        plx_bytes_release(&bytes->home, &out);
    return rc;
}

static inline int even_step(struct bytes *bytes)
{
    return through(bytes, &bytes->even);
}

static inline int odd_step(struct bytes *bytes)
{
    return through(bytes, &bytes->odd);
}

static int freeze_run(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    return loop(slice, ctx, freeze_step, diag);
}

static int clone_run(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    return loop(slice, ctx, clone_step, diag);
}

static int copy_run(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    return loop(slice, ctx, copy_step, diag);
}

static int even_run(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    return loop(slice, ctx, even_step, diag);
}

static int odd_run(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    return loop(slice, ctx, odd_step, diag);
}

/* --- set-up ---------------------------------------------------------------------------------- */

/* Half a slice ahead, so that every take begins in the middle of one. */
static int put_ahead(struct bytes *bytes)
{
    struct plx_bytes half;
    int rc = plx_bytes_slice(&bytes->slice, 0, SLICE / 2, &half);
    return rc == 0 ? plx_segbuf_extend(&bytes->odd, &half) : rc;
}

static int fill(struct bytes *bytes, struct plx_arena *arena, struct plx_diag *diag)
{
    struct plx_pool_quota quota = {{BLOCKS_4K}};
    int rc = plx_pool_init(&bytes->pool, arena, &quota, NULL, diag);
    if (rc == 0)
        rc = plx_bytes_home_init(&bytes->home, &bytes->pool, arena, diag);
    if (rc != 0)
        return rc;
    memset(bytes->small, 0x5a, sizeof(bytes->small));
    void *block = plx_pool_acquire(&bytes->pool, FROZEN);
    if (block == NULL)
        return plx_diag_set(diag, -ENOMEM, "pool", "no block");
    bytes->whole = plx_bytes_freeze(&bytes->home, block, block, FROZEN);
    rc = plx_bytes_slice(&bytes->whole, 0, SLICE, &bytes->slice);
    if (rc == 0)
        rc = plx_segbuf_init(&bytes->even, &bytes->home, bytes->segments[0], SEGMENTS);
    if (rc == 0)
        rc = plx_segbuf_init(&bytes->odd, &bytes->home, bytes->segments[1], SEGMENTS);
    if (rc == 0)
        rc = put_ahead(bytes);
    return rc == 0 ? 0 : plx_diag_set(diag, rc, "bytes", "%s", strerror(-rc));
}

static struct bytes *make(struct plx_bench *bench)
{
    struct plx_diag diag = {0};
    int mem_node;
    struct plx_arena *arena =
        plx_bench_arena(bench, ARENA_BYTES, plx_bench_cpu_a(bench), &mem_node);
    if (arena == NULL)
        return NULL;
    struct bytes *bytes = plx_arena_carve(arena, sizeof(*bytes), 2 * PLX_CACHE_LINE);
    if (bytes == NULL)
        return NULL;
    bytes->mem_node = mem_node;
    if (fill(bytes, arena, &diag) == 0)
        return bytes;
    plx_bench_failed(bench, "bytes", &diag);
    return NULL;
}

/* That every holding was counted: all blocks are back, or the measurement failed. */
static void end(struct plx_bench *bench, struct bytes *bytes)
{
    struct plx_diag diag;
    plx_segbuf_fini(&bytes->even);
    plx_segbuf_fini(&bytes->odd);
    plx_bytes_release(&bytes->home, &bytes->slice);
    plx_bytes_release(&bytes->home, &bytes->whole);
    plx_bytes_home_fini(&bytes->home);
    uint64_t lost = plx_pool_fini(&bytes->pool);
    if (lost == 0)
        return;
    plx_diag_set(&diag, -EPROTO, "blocks", "%llu of them were not given back",
                 (unsigned long long)lost);
    plx_bench_failed(bench, "bytes", &diag);
}

#define COUNTED(called, told)                                                                      \
    {                                                                                              \
        .bench = "pool", .name = (called), .what = (told), .block = BLOCK,                         \
        .slice_us = PLX_BENCH_POOL_SLICE_US,                                                       \
    }

int plx_bench_bytes(struct plx_bench *bench)
{
    static const struct plx_bench_case cases[] = {
        COUNTED("bytes_freeze", "a block of 4 KiB taken, frozen and released"),
        COUNTED("bytes_clone", "one more holder of a slice, and one less"),
        COUNTED("bytes_copy_64B", "64 bytes copied into the common block, and released"),
        COUNTED("segbuf_take",
                "1 KiB appended to a queue, and 1 KiB in one segment taken and released"),
        COUNTED("segbuf_take_span", "1 KiB appended to a queue, and 1 KiB that spans two segments "
                                    "copied out and released"),
    };
    static const plx_bench_fn runs[] = {freeze_run, clone_run, copy_run, even_run, odd_run};
    const size_t count = sizeof(cases) / sizeof(cases[0]);
    struct bytes *bytes = plx_bench_is_one_wanted(bench, cases, count) ? make(bench) : NULL;
    int rc = 0;
    for (size_t i = 0; i < count && rc == 0; i++) {
        const struct plx_bench_subject subject = {
            .name = "pollux",
            .run = runs[i],
            .ctx = bytes,
            .missing = bytes == NULL ? "no memory" : NULL,
            .mem_node = bytes != NULL ? bytes->mem_node : -1,
        };
        rc = plx_bench_measure(bench, &cases[i], &subject, 1);
    }
    if (bytes != NULL)
        end(bench, bytes);
    return rc;
}
