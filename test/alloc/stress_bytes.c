/* SPDX-License-Identifier: MIT */
/*
 * Sole slices between two threads: each makes them, hands them over, shares and releases those that
 * come in; their blocks go home by a queue with room for few, so that many wait. POLLUX_TEST_SEED
 * replays the choices (not the timing); POLLUX_TEST_SOAK=1 runs 50 times longer.
 */
#include "alloc/bytes.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>
#include <sched.h>

#include "test/alloc/mem_fixture.h"

enum { SIDES = 2, HANDED = 32, HOME = 4, KEPT = 8 };

/* Pointers from one thread to the other; counts that run on. */
struct queue {
    PLX_ATOMIC(uint32_t) head; /* written by the consumer */
    PLX_ATOMIC(uint32_t) tail; /* written by the producer */
    uint32_t capacity;
    struct plx_bytes slots[HANDED];
};

struct side {
    struct mem mem;
    struct queue in;    /* slices */
    struct queue freed; /* blocks: as a slice that nobody counts */
    struct side *peer;
    uint32_t index;
    uint64_t random;
    uint64_t to_hand;
    uint64_t received;
    PLX_ATOMIC(bool) done; /* nothing is handed any more, and all that came was released */
    const char *wrong;
    struct plx_bytes kept[KEPT];
};

static struct side sides[SIDES];

static bool push(struct queue *q, struct plx_bytes bytes)
{
    uint32_t tail = plx_load_relaxed(&q->tail); /* own */
    /* Pairs with the release in pop: the slot has been read. */
    if (tail - plx_load_acquire(&q->head) == q->capacity)
        return false;
    q->slots[tail % q->capacity] = bytes;
    /* Pairs with the acquire in pop: the slot, and what the slice stands for, are written. */
    plx_store_release(&q->tail, tail + 1);
    return true;
}

static bool pop(struct queue *q, struct plx_bytes *bytes)
{
    uint32_t head = plx_load_relaxed(&q->head); /* own */
    if (head == plx_load_acquire(&q->tail))
        return false;
    *bytes = q->slots[head % q->capacity];
    plx_store_release(&q->head, head + 1);
    return true;
}

static int home_of(void *ctx, const void *block)
{
    const struct side *side = ctx;
    return plx_pool_has(&side->peer->mem.pool, block) ? (int)side->peer->index : -1;
}

static int send_home(void *ctx, uint32_t home, void *block)
{
    (void)ctx;
    return push(&sides[home].freed, plx_bytes_static(block, 1)) ? 0 : -EAGAIN;
}

static uint8_t byte_at(uint32_t key, size_t i)
{
    return (uint8_t)(key * 167u + i * 31u + (i >> 8));
}

/* The first four bytes are a key, which says what follows. */
static void write_content(uint8_t *to, size_t len, uint32_t key)
{
    for (size_t i = 0; i < len; i++)
        to[i] = byte_at(key, i);
    memcpy(to, &key, sizeof(key));
}

static bool content_right(const struct plx_bytes *bytes)
{
    uint32_t key;
    memcpy(&key, bytes->ptr, sizeof(key));
    for (size_t i = sizeof(key); i < bytes->len; i++) {
        if (bytes->ptr[i] != byte_at(key, i))
            return false;
    }
    return true;
}

/* A sole slice by one of three ways, or an empty one when the pool is dry. */
static struct plx_bytes make(struct side *s)
{
    struct plx_bytes bytes = {0};
    uint8_t content[2000];
    uint64_t drawn = mem_random(&s->random);
    size_t len = 4 + drawn % (sizeof(content) - 3);

    write_content(content, len, (uint32_t)(drawn >> 32));
    if (drawn % 3 == 0) {
        uint8_t *block = plx_pool_acquire(&s->mem.pool, len);
        if (block == NULL)
            return bytes;
        memcpy(block, content, len);
        return plx_bytes_freeze(&s->mem.home, block, block, len);
    }
    if (plx_bytes_copy(&s->mem.home, content, len, &bytes) == 0 &&
        plx_bytes_make_sole(&s->mem.home, &bytes) != 0)
        plx_bytes_release(&s->mem.home, &bytes);
    return bytes;
}

static void receive(struct side *s, struct plx_bytes bytes)
{
    struct plx_bytes_home *here = &s->mem.home;
    uint64_t drawn = mem_random(&s->random);
    struct plx_bytes *place = &s->kept[drawn % KEPT];
    struct plx_bytes part;

    if (!content_right(&bytes))
        s->wrong = "a slice is not what was handed over";
    if (!plx_bytes_is_sole(&bytes))
        s->wrong = "a slice that came over is shared";
    /* Shared here for a while, and kept for longer. */
    struct plx_bytes clone = plx_bytes_clone(&bytes);
    if (plx_bytes_slice(&bytes, 0, bytes.len / 2 + 2, &part) != 0)
        s->wrong = "a slice within bounds failed";
    plx_bytes_release(here, &bytes);
    plx_bytes_release(here, &part);
    plx_bytes_release(here, place);
    if (drawn % 2 == 0)
        (void)!plx_bytes_keep(here, &clone);
    if (!content_right(&clone))
        s->wrong = "a slice that was kept is not what was handed over";
    *place = clone;
    s->received++;
}

/* One turn; returns the work done. */
static uint32_t turn(struct side *s)
{
    struct plx_bytes bytes;
    uint32_t work = plx_pool_flush(&s->mem.pool);

    while (pop(&s->freed, &bytes)) {
        plx_pool_release_home(&s->mem.pool, (void *)(uintptr_t)bytes.ptr);
        work++;
    }
    for (int n = 0; n < 8 && pop(&s->in, &bytes); n++, work++)
        receive(s, bytes);
    while (s->to_hand > 0) {
        bytes = make(s);
        if (bytes.len == 0)
            break;
        if (!push(&s->peer->in, bytes)) {
            plx_bytes_release(&s->mem.home, &bytes);
            break;
        }
        s->to_hand--;
        work++;
    }
    return work;
}

static void *run(void *argument)
{
    struct side *s = argument;
    struct plx_pool_stats stats;
    uint64_t expected = s->to_hand;

    for (;;) {
        if (turn(s) == 0)
            sched_yield();
        if (s->received == expected) {
            for (size_t i = 0; i < KEPT; i++)
                plx_bytes_release(&s->mem.home, &s->kept[i]);
        }
        plx_pool_read_stats(&s->mem.pool, &stats);
        if (s->to_hand == 0 && s->received == expected && stats.away_waiting == 0) {
            /* Pairs with the acquire below: what this side sent home is in the queue. */
            plx_store_release(&s->done, true);
            if (plx_load_acquire(&s->peer->done))
                break;
        }
    }
    (void)turn(s);
    return NULL;
}

static void slices_between_threads_find_home(void **state)
{
    (void)state;
    static const struct plx_pool_quota quota = {.blocks = {64}};
    const struct plx_pool_opts opts = {.homes = SIDES};
    pthread_t threads[SIDES];
    uint64_t seed = mem_seed();
    uint64_t count = getenv("POLLUX_TEST_SOAK") != NULL ? 2500000 : 50000;

    for (uint32_t i = 0; i < SIDES; i++) {
        struct side *s = &sides[i];
        assert_int_equal(mem_open(&s->mem, &quota, &opts), 0);
        const struct plx_pool_remote remote = {home_of, send_home, s};
        plx_pool_set_remote(&s->mem.pool, &remote);
        s->peer = &sides[SIDES - 1 - i];
        s->index = i;
        s->random = seed + i;
        s->to_hand = count;
        s->in.capacity = HANDED;
        s->freed.capacity = HOME;
    }
    for (uint32_t i = 0; i < SIDES; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run, &sides[i]), 0);
    for (uint32_t i = 0; i < SIDES; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (uint32_t i = 0; i < SIDES; i++) {
        struct side *s = &sides[i];
        struct plx_pool_stats stats;
        plx_pool_read_stats(&s->mem.pool, &stats);
        print_message("%u: %llu blocks came home, %llu of the other's had to wait\n", i,
                      (unsigned long long)stats.classes[0].remote_frees,
                      (unsigned long long)stats.away_deferred);
        if (s->wrong != NULL)
            fail_msg("%s", s->wrong);
        assert_int_equal(s->received, count);
        assert_int_equal(stats.frees_away, count);
        assert_int_equal(stats.classes[0].remote_frees, count);
        const char *wrong = mem_close(&s->mem);
        if (wrong != NULL)
            fail_msg("%s", wrong);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slices_between_threads_find_home),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
