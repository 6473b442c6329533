/* SPDX-License-Identifier: MIT */
/* The peer boost::lockfree::spsc_queue, its capacity fixed when it is made. */
#include <boost/lockfree/spsc_queue.hpp>

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

namespace
{

template <unsigned words> struct item {
    uint64_t word[words];
};

template <unsigned words> using ring = boost::lockfree::spsc_queue<item<words>>;

template <unsigned words>
PLX_BENCH_INLINE uint32_t put(void *queue, uint64_t number, uint32_t count)
{
    ring<words> *q = static_cast<ring<words> *>(queue);
    item<words> items[PLX_BENCH_BATCH_MAX];
    for (uint32_t i = 0; i < count; i++)
        plx_bench_words_fill(items[i].word, words, number + i);
    if (count == 1)
        return q->push(items[0]);
    return static_cast<uint32_t>(q->push(items, count));
}

template <unsigned words>
PLX_BENCH_INLINE uint32_t take(void *queue, uint64_t number, uint32_t count, uint64_t *wrong)
{
    ring<words> *q = static_cast<ring<words> *>(queue);
    item<words> items[PLX_BENCH_BATCH_MAX];
    if (count == 1)
        count = q->pop(items[0]);
    else
        count = static_cast<uint32_t>(q->pop(items, count));
    for (uint32_t i = 0; i < count; i++)
        *wrong |= plx_bench_words_check(items[i].word, words, number + i);
    return count;
}

#define ITEMS(size)                                                                                \
    PLX_BENCH_INLINE uint32_t put_##size(void *queue, uint64_t number, uint32_t count)             \
    {                                                                                              \
        return put<size>(queue, number, count);                                                    \
    }                                                                                              \
    PLX_BENCH_INLINE uint32_t take_##size(void *queue, uint64_t number, uint32_t count,            \
                                          uint64_t *wrong)                                         \
    {                                                                                              \
        return take<size>(queue, number, count, wrong);                                            \
    }                                                                                              \
    PLX_BENCH_LOOPS(size)

ITEMS(1)
ITEMS(2)
ITEMS(6)
ITEMS(8)

/* Kept until the case is over. */
std::vector<std::shared_ptr<void>> queues;

template <unsigned words> void *make_one(uint32_t capacity)
{
    auto queue = std::make_shared<ring<words>>(capacity);
    queues.push_back(queue);
    return queue.get();
}

extern "C" void *make_boost(struct plx_bench *, const struct plx_bench_shape *shape, int, int *)
{
    try {
        switch (shape->words) {
        case 1:
            return make_one<1>(shape->capacity);
        case 2:
            return make_one<2>(shape->capacity);
        case 6:
            return make_one<6>(shape->capacity);
        default:
            return make_one<8>(shape->capacity);
        }
    } catch (const std::bad_alloc &) {
        return nullptr;
    }
}

} // namespace

extern "C" struct plx_bench_subject plx_bench_boost(struct plx_bench *bench,
                                                    const struct plx_bench_shape *shape)
{
    const struct plx_bench_loops *loops = shape->words == 1   ? &loops_1
                                          : shape->words == 2 ? &loops_2
                                          : shape->words == 6 ? &loops_6
                                                              : &loops_8;
    return plx_bench_queue_subject(bench, "boost", shape, loops, make_boost);
}

extern "C" void plx_bench_boost_free(void)
{
    queues.clear();
}
