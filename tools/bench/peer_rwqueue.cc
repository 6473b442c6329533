/* SPDX-License-Identifier: MIT */
/* The peer moodycamel::ReaderWriterQueue: bounded here by never letting it grow. One at a time. */
#include <readerwriterqueue/readerwriterqueue.h>

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

template <unsigned words> using ring = moodycamel::ReaderWriterQueue<item<words>>;

template <unsigned words>
PLX_BENCH_INLINE uint32_t put(void *queue, uint64_t number, uint32_t count)
{
    ring<words> *q = static_cast<ring<words> *>(queue);
    for (uint32_t i = 0; i < count; i++) {
        item<words> one;
        plx_bench_words_fill(one.word, words, number + i);
        if (!q->try_enqueue(one))
            return i;
    }
    return count;
}

template <unsigned words>
PLX_BENCH_INLINE uint32_t take(void *queue, uint64_t number, uint32_t count, uint64_t *wrong)
{
    ring<words> *q = static_cast<ring<words> *>(queue);
    for (uint32_t i = 0; i < count; i++) {
        item<words> one;
        if (!q->try_dequeue(one))
            return i;
        *wrong |= plx_bench_words_check(one.word, words, number + i);
    }
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

extern "C" void *make_rwqueue(struct plx_bench *, const struct plx_bench_shape *shape, int, int *)
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

extern "C" struct plx_bench_subject plx_bench_rwqueue(struct plx_bench *bench,
                                                      const struct plx_bench_shape *shape)
{
    const struct plx_bench_loops *loops = shape->words == 1   ? &loops_1
                                          : shape->words == 2 ? &loops_2
                                          : shape->words == 6 ? &loops_6
                                                              : &loops_8;
    return plx_bench_queue_subject(bench, "rwqueue", shape, loops, make_rwqueue);
}

extern "C" void plx_bench_rwqueue_free(void)
{
    queues.clear();
}
