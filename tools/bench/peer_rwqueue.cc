/* SPDX-License-Identifier: MIT */
/* The peer moodycamel::ReaderWriterQueue: bounded here by never letting it grow. One at a time. */
#include <readerwriterqueue/readerwriterqueue.h>

#include "tools/bench/peer_cxx.h"

namespace
{

template <unsigned words> using queue_of = moodycamel::ReaderWriterQueue<plx_bench_item<words>>;

template <unsigned words>
PLX_BENCH_INLINE uint32_t put(queue_of<words> *queue, uint64_t number, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        plx_bench_item<words> one;
        plx_bench_words_fill(one.word, words, number + i);
        if (!queue->try_enqueue(one))
            return i;
    }
    return count;
}

template <unsigned words>
PLX_BENCH_INLINE uint32_t take(queue_of<words> *queue, uint64_t number, uint32_t count,
                               uint64_t *wrong)
{
    for (uint32_t i = 0; i < count; i++) {
        plx_bench_item<words> one;
        if (!queue->try_dequeue(one))
            return i;
        *wrong |= plx_bench_words_check(one.word, words, number + i);
    }
    return count;
}

PLX_BENCH_CXX_PEER

} // namespace

extern "C" struct plx_bench_subject plx_bench_rwqueue(struct plx_bench *bench,
                                                      const struct plx_bench_shape *shape)
{
    return subject(bench, "rwqueue", shape);
}

extern "C" void plx_bench_rwqueue_free(void)
{
    queues.clear();
}
