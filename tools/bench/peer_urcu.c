/* SPDX-License-Identifier: MIT */
/*
 * The peer wfcqueue, of liburcu. It is a list without a bound: the bound is the number of nodes,
 * which the consumer gives back by a second such list. A batch is spliced in as one; whoever takes
 * splices out all that is there.
 */
#ifdef PLX_BENCH_LIBURCU
/* The functions in line, as the library means them to be used at full speed. */
#define _LGPL_SOURCE
#include <urcu/wfcqueue.h>

#include "tools/bench/queues.h"

struct node {
    struct cds_wfcq_node link;
    uint64_t words[];
};

/* A list; its ends are written by different threads where it is shared. */
struct list {
    struct __cds_wfcq_head head PLX_ALIGNED(2 * PLX_CACHE_LINE);
    struct cds_wfcq_tail tail PLX_ALIGNED(2 * PLX_CACHE_LINE);
};

struct urcu {
    struct list full;
    struct list free;
    struct list producer; /* what it has at hand of the free ones */
    struct list consumer; /* and it of the full ones */
};

/* The next node of `list`, from which this thread alone takes, by way of what it has at hand. */
PLX_BENCH_INLINE struct node *next_node(struct list *hand, struct list *list)
{
    struct cds_wfcq_node *node = __cds_wfcq_dequeue_nonblocking(&hand->head, &hand->tail);
    if (node == NULL) {
        (void)__cds_wfcq_splice_nonblocking(&hand->head, &hand->tail, &list->head, &list->tail);
        node = __cds_wfcq_dequeue_nonblocking(&hand->head, &hand->tail);
    }
    /* The other thread is in the midst of linking: there is nothing yet. */
    return node == CDS_WFCQ_WOULDBLOCK ? NULL : (struct node *)(void *)node;
}

/*
 * Moves up to `count` nodes, filled or checked, from one list to another: each by itself where it
 * is one, and else all together.
 */
PLX_BENCH_INLINE uint32_t move(struct list *hand, struct list *from, struct list *to,
                               uint64_t number, uint32_t count, uint32_t words, uint64_t *wrong)
{
    struct list batch;
    struct list *into = to;
    uint32_t done = 0;
    if (count > 1) {
        __cds_wfcq_init(&batch.head, &batch.tail);
        into = &batch;
    }
    for (; done < count; done++) {
        struct node *node = next_node(hand, from);
        if (node == NULL)
            break;
        if (wrong != NULL)
            *wrong |= plx_bench_words_check(node->words, words, number + done);
        else
            plx_bench_words_fill(node->words, words, number + done);
        cds_wfcq_node_init(&node->link);
        (void)cds_wfcq_enqueue(&into->head, &into->tail, &node->link);
    }
    if (count > 1 && done != 0)
        (void)__cds_wfcq_splice_nonblocking(&to->head, &to->tail, &batch.head, &batch.tail);
    return done;
}

#define ITEMS(size)                                                                                \
    PLX_BENCH_INLINE uint32_t put_##size(void *queue, uint64_t number, uint32_t count)             \
    {                                                                                              \
        struct urcu *urcu = queue;                                                                 \
        return move(&urcu->producer, &urcu->free, &urcu->full, number, count, size, NULL);         \
    }                                                                                              \
    PLX_BENCH_INLINE uint32_t take_##size(void *queue, uint64_t number, uint32_t count,            \
                                          uint64_t *wrong)                                         \
    {                                                                                              \
        struct urcu *urcu = queue;                                                                 \
        return move(&urcu->consumer, &urcu->full, &urcu->free, number, count, size, wrong);        \
    }                                                                                              \
    PLX_BENCH_LOOPS(size)

ITEMS(1)
ITEMS(2)
ITEMS(6)
ITEMS(8)

static void *make(struct plx_bench *bench, const struct plx_bench_shape *shape, int cpu,
                  int *mem_node)
{
    size_t node_bytes = sizeof(struct node) + shape->words * sizeof(uint64_t);
    struct urcu *urcu = plx_bench_memory(bench, sizeof(*urcu), cpu, NULL);
    unsigned char *nodes = plx_bench_memory(bench, shape->capacity * node_bytes, cpu, mem_node);
    if (urcu == NULL || nodes == NULL)
        return NULL;
    struct list *const lists[] = {&urcu->full, &urcu->free, &urcu->producer, &urcu->consumer};
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
        __cds_wfcq_init(&lists[i]->head, &lists[i]->tail);
    for (uint32_t i = 0; i < shape->capacity; i++) {
        struct node *node = (struct node *)(void *)(nodes + i * node_bytes);
        cds_wfcq_node_init(&node->link);
        (void)cds_wfcq_enqueue(&urcu->free.head, &urcu->free.tail, &node->link);
    }
    return urcu;
}

struct plx_bench_subject plx_bench_urcu(struct plx_bench *bench,
                                        const struct plx_bench_shape *shape)
{
    const struct plx_bench_loops *loops = shape->words == 1   ? &loops_1
                                          : shape->words == 2 ? &loops_2
                                          : shape->words == 6 ? &loops_6
                                                              : &loops_8;
    return plx_bench_queue_subject(bench, "wfcqueue", shape, loops, make);
}
#else
/* A file without a declaration is no C. */
typedef int plx_bench_no_urcu;
#endif
