/* SPDX-License-Identifier: MIT */
/* The peer boost::lockfree::spsc_queue, its capacity fixed when it is made. */
#include <boost/lockfree/spsc_queue.hpp>

#include "tools/bench/peer_cxx.h"

namespace
{

template <unsigned words> using queue_of = boost::lockfree::spsc_queue<plx_bench_item<words>>;

template <unsigned words>
PLX_BENCH_INLINE uint32_t put(queue_of<words> *queue, uint64_t number, uint32_t count)
{
    plx_bench_item<words> items[PLX_BENCH_BATCH_MAX];
    for (uint32_t i = 0; i < count; i++)
        plx_bench_words_fill(items[i].word, words, number + i);
    if (count == 1)
        return queue->push(items[0]);
    return static_cast<uint32_t>(queue->push(items, count));
}

template <unsigned words>
PLX_BENCH_INLINE uint32_t take(queue_of<words> *queue, uint64_t number, uint32_t count,
                               uint64_t *wrong)
{
    plx_bench_item<words> items[PLX_BENCH_BATCH_MAX];
    if (count == 1)
        count = queue->pop(items[0]);
    else
        count = static_cast<uint32_t>(queue->pop(items, count));
    for (uint32_t i = 0; i < count; i++)
        *wrong |= plx_bench_words_check(items[i].word, words, number + i);
    return count;
}

PLX_BENCH_CXX_PEER

} // namespace

extern "C" struct plx_bench_subject plx_bench_boost(struct plx_bench *bench,
                                                    const struct plx_bench_shape *shape)
{
    return subject(bench, "boost", shape);
}

extern "C" void plx_bench_boost_free(void)
{
    queues.clear();
}
