/* SPDX-License-Identifier: MIT */
/* The peer ck_ring, of Concurrency Kit. */
#ifdef PLX_BENCH_CK
#include "tools/bench/queues.h"

#include <ck_ring.h>
#include <errno.h>

#define LOOKS 4096u

struct item {
    uint64_t words[PLX_BENCH_ITEM_WORDS];
};

CK_RING_PROTOTYPE(item, item)

/* A ring keeps its slots apart: for round trips words, for items 48 bytes each. */
struct ck {
    ck_ring_t *there;
    ck_ring_t *back;
    void *there_slots;
    void *back_slots;
    uint64_t sent PLX_ALIGNED(2 * PLX_CACHE_LINE);
    uint64_t taken PLX_ALIGNED(2 * PLX_CACHE_LINE);
};

static int rtt_run(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    struct ck *ck = ctx;
    uint64_t before = plx_ticks();
    while (before < slice->end_ticks) {
        for (uint32_t i = 0; i < PLX_BENCH_TRIPS; i++) {
            void *out = (void *)(uintptr_t)++ck->sent;
            if (!ck_ring_enqueue_spsc(ck->there, ck->there_slots, out))
                return plx_diag_set(diag, -EPROTO, "ck_ring", "full with one message on its way");
            void *in = NULL;
            for (uint32_t looks = 0; !ck_ring_dequeue_spsc(ck->back, ck->back_slots, &in);) {
                plx_cpu_relax();
                if (++looks % LOOKS == 0 && plx_bench_in_vain(slice))
                    return plx_diag_set(diag, -ETIMEDOUT, "ck_ring", "no answer");
            }
            if (in != out)
                return plx_diag_set(diag, -EPROTO, "ck_ring", "another number came back");
        }
        uint64_t now = plx_ticks();
        plx_bench_sample(slice, now - before);
        before = now;
    }
    return 0;
}

static int rtt_peer(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    struct ck *ck = ctx;
    for (;;) {
        void *in = NULL;
        if (!ck_ring_dequeue_spsc(ck->there, ck->there_slots, &in)) {
            if (plx_bench_stopped(slice))
                return 0;
            plx_cpu_relax();
            continue;
        }
        if (!ck_ring_enqueue_spsc(ck->back, ck->back_slots, in))
            return plx_diag_set(diag, -EPROTO, "ck_ring", "full with one message on its way");
    }
}

static int items_run(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    struct ck *ck = ctx;
    uint64_t before = plx_ticks();
    while (before < slice->end_ticks) {
        for (uint32_t i = 0; i < PLX_BENCH_ITEMS; i++) {
            struct item item;
            plx_bench_item_fill(item.words, ck->sent++);
            for (uint32_t looks = 0;
                 !ck_ring_enqueue_spsc_item(ck->there, ck->there_slots, &item);) {
                plx_cpu_relax();
                if (++looks % LOOKS == 0 && plx_bench_in_vain(slice))
                    return plx_diag_set(diag, -ETIMEDOUT, "ck_ring", "it stays full");
            }
        }
        uint64_t now = plx_ticks();
        plx_bench_sample(slice, now - before);
        before = now;
    }
    return 0;
}

static int items_peer(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    struct ck *ck = ctx;
    uint64_t wrong = 0;
    for (;;) {
        bool last = plx_bench_stopped(slice);
        struct item item;
        while (ck_ring_dequeue_spsc_item(ck->there, ck->there_slots, &item))
            wrong |= plx_bench_item_check(item.words, ck->taken++);
        if (wrong != 0)
            return plx_diag_set(diag, -EPROTO, "ck_ring", "items arrived that were not sent so");
        if (last)
            return 0;
        plx_cpu_relax();
    }
}

static bool make_ring(struct plx_bench *bench, uint32_t slots, size_t slot_bytes, int cpu,
                      ck_ring_t **ring, void **memory, int *mem_node)
{
    *ring = plx_bench_memory(bench, sizeof(**ring), cpu, NULL);
    *memory = plx_bench_memory(bench, slots * slot_bytes, cpu, mem_node);
    if (*ring == NULL || *memory == NULL)
        return false;
    ck_ring_init(*ring, slots);
    return true;
}

struct plx_bench_subject plx_bench_ck_rtt(struct plx_bench *bench, uint32_t slots)
{
    struct plx_bench_subject subject = {
        .name = "ck", .run = rtt_run, .peer = rtt_peer, .mem_node = -1};
    if (!plx_bench_has_two(bench))
        return subject;
    struct ck *ck = plx_bench_memory(bench, sizeof(*ck), plx_bench_cpu_a(bench), NULL);
    bool made = ck != NULL &&
                make_ring(bench, slots, sizeof(struct ck_ring_buffer), plx_bench_cpu_a(bench),
                          &ck->back, &ck->back_slots, NULL) &&
                make_ring(bench, slots, sizeof(struct ck_ring_buffer), plx_bench_cpu_b(bench),
                          &ck->there, &ck->there_slots, &subject.mem_node);
    subject.ctx = ck;
    subject.missing = made ? NULL : "no memory";
    return subject;
}

struct plx_bench_subject plx_bench_ck_items(struct plx_bench *bench, uint32_t slots)
{
    struct plx_bench_subject subject = {
        .name = "ck", .run = items_run, .peer = items_peer, .mem_node = -1};
    if (!plx_bench_has_two(bench))
        return subject;
    struct ck *ck = plx_bench_memory(bench, sizeof(*ck), plx_bench_cpu_a(bench), NULL);
    bool made = ck != NULL && make_ring(bench, slots, sizeof(struct item), plx_bench_cpu_b(bench),
                                        &ck->there, &ck->there_slots, &subject.mem_node);
    subject.ctx = ck;
    subject.missing = made ? NULL : "no memory";
    return subject;
}
#else
/* A file without a declaration is no C. */
typedef int plx_bench_no_ck;
#endif
