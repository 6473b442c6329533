/* SPDX-License-Identifier: MIT */
/*
 * What peers whose queues are templates of C++ have in common: an item for each size of the shapes,
 * the loops for each, and the queues made for a case, which live until it is over.
 *
 * A peer includes its library, then this, and says in a namespace of its own
 *
 *     template <unsigned words> using queue_of = ...;       made of a capacity
 *     template <unsigned words> PLX_BENCH_INLINE uint32_t put(queue_of<words> *, ...);
 *     template <unsigned words> PLX_BENCH_INLINE uint32_t take(queue_of<words> *, ...);
 *     PLX_BENCH_CXX_PEER
 *
 * with put and take as plx_bench_put_fn and plx_bench_take_fn have them; then the functions that
 * peers are called by: subject() does the work, and queues.clear() ends it.
 */
#ifndef POLLUX_TOOLS_BENCH_PEER_CXX_H
#define POLLUX_TOOLS_BENCH_PEER_CXX_H

#include <memory>
#include <new>
#include <vector>

#include "alloc/arena.h"
#include "runtime/place/machine.h"
#include "runtime/runtime.h"
#include "runtime/stats/histogram.h"
extern "C" {
#include "tools/bench/queues.h"
}

template <unsigned words> struct plx_bench_item {
    uint64_t word[words];
};

/* Of one size: what the loops call. */
#define PLX_BENCH_CXX_SIZE(size)                                                                   \
    PLX_BENCH_INLINE uint32_t put_##size(void *queue, uint64_t number, uint32_t count)             \
    {                                                                                              \
        return put<size>(static_cast<queue_of<size> *>(queue), number, count);                     \
    }                                                                                              \
    PLX_BENCH_INLINE uint32_t take_##size(void *queue, uint64_t number, uint32_t count,            \
                                          uint64_t *wrong)                                         \
    {                                                                                              \
        return take<size>(static_cast<queue_of<size> *>(queue), number, count, wrong);             \
    }                                                                                              \
    PLX_BENCH_LOOPS(size)

#define PLX_BENCH_CXX_PEER                                                                         \
    PLX_BENCH_CXX_SIZE(1)                                                                          \
    PLX_BENCH_CXX_SIZE(2)                                                                          \
    PLX_BENCH_CXX_SIZE(6)                                                                          \
    PLX_BENCH_CXX_SIZE(8)                                                                          \
                                                                                                   \
    std::vector<std::shared_ptr<void>> queues;                                                     \
                                                                                                   \
    template <unsigned words> void *make_one(uint32_t capacity)                                    \
    {                                                                                              \
        auto queue = std::make_shared<queue_of<words>>(capacity);                                  \
        queues.push_back(queue);                                                                   \
        return queue.get();                                                                        \
    }                                                                                              \
                                                                                                   \
    void *make(struct plx_bench *, const struct plx_bench_shape *shape, int, int *)                \
    {                                                                                              \
        try {                                                                                      \
            return shape->words == 1   ? make_one<1>(shape->capacity)                              \
                   : shape->words == 2 ? make_one<2>(shape->capacity)                              \
                   : shape->words == 6 ? make_one<6>(shape->capacity)                              \
                                       : make_one<8>(shape->capacity);                             \
        } catch (const std::bad_alloc &) {                                                         \
            return nullptr;                                                                        \
        }                                                                                          \
    }                                                                                              \
                                                                                                   \
    struct plx_bench_subject subject(struct plx_bench *bench, const char *name,                    \
                                     const struct plx_bench_shape *shape)                          \
    {                                                                                              \
        const struct plx_bench_loops *loops = shape->words == 1   ? &loops_1                       \
                                              : shape->words == 2 ? &loops_2                       \
                                              : shape->words == 6 ? &loops_6                       \
                                                                  : &loops_8;                      \
        return plx_bench_queue_subject(bench, name, shape, loops, make);                           \
    }

#endif
