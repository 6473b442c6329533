/* SPDX-License-Identifier: MIT */
/*
 * The packed queue between two threads that stall at random and move runs of random lengths: each
 * element must arrive once, in order, whole, and stay whole until it is consumed.
 * POLLUX_TEST_SEED replays the choices (not the timing); POLLUX_TEST_SOAK=1 runs for a minute
 * instead of two seconds.
 */
#include "runtime/mesh/packed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ELEMENTS_PER_ROUND 50000u
#define LOOKS_BEFORE_YIELD 256

struct round {
    struct plx_packed *q;
    uint64_t key; /* of the payload */
    uint32_t most_sent;
    uint32_t most_taken;
    bool producer_stalls;
    bool consumer_stalls;
    uint64_t full;
    uint64_t empty;
    uint64_t bad_index; /* of the first wrong element, from 0 */
    PLX_ATOMIC(bool) bad;
};

static uint64_t seed;
static uint64_t run_ns_per_case;

static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint64_t random_next(uint64_t *random)
{
    *random += 0x9e3779b97f4a7c15u;
    return mix(*random);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void stall(uint64_t *random, bool stalls)
{
    uint64_t drawn = random_next(random);
    if (stalls && drawn % 512 == 0)
        sched_yield();
    else if (stalls && drawn % 32 == 1)
        for (uint64_t n = (drawn >> 32) % 1024; n > 0; n--)
            plx_cpu_relax();
}

/* Waits a little for the other side; on one core it must be let in. */
static void wait_look(uint64_t *looks)
{
    if (++*looks % LOOKS_BEFORE_YIELD == 0)
        sched_yield();
    else
        plx_cpu_relax();
}

static void *produce(void *argument)
{
    struct round *round = argument;
    size_t words = plx_packed_element_bytes(round->q) / sizeof(uint64_t);
    uint64_t random = round->key ^ 1;
    for (uint64_t word = 0, sent = 0; sent < ELEMENTS_PER_ROUND;) {
        void *run;
        uint64_t left = ELEMENTS_PER_ROUND - sent;
        uint64_t most = 1 + random_next(&random) % round->most_sent;
        uint32_t count = plx_packed_reserve(round->q, (uint32_t)(most < left ? most : left), &run);
        if (count == 0) {
            /* Relaxed: only says that nobody will make room any more. */
            if (plx_load_relaxed(&round->bad))
                return NULL;
            wait_look(&round->full);
            continue;
        }
        uint64_t *at = run;
        for (size_t w = 0; w < count * words; w++)
            *at++ = mix(round->key + word++);
        stall(&random, round->producer_stalls);
        /* In two parts now and then. */
        if (count > 1 && random_next(&random) % 4 == 0) {
            plx_packed_commit(round->q, 1);
            plx_packed_commit(round->q, count - 1);
        } else {
            plx_packed_commit(round->q, count);
        }
        sent += count;
    }
    return NULL;
}

static bool run_right(const struct round *round, const uint64_t *at, size_t words, uint64_t first)
{
    bool right = true;
    for (size_t w = 0; w < words; w++)
        right &= at[w] == mix(round->key + first + w);
    return right;
}

static void *consume(void *argument)
{
    struct round *round = argument;
    size_t words = plx_packed_element_bytes(round->q) / sizeof(uint64_t);
    uint64_t random = round->key ^ 2;
    for (uint64_t taken = 0; taken < ELEMENTS_PER_ROUND;) {
        const void *run;
        uint32_t most = (uint32_t)(1 + random_next(&random) % round->most_taken);
        uint32_t count = plx_packed_peek(round->q, most, &run);
        if (count == 0) {
            wait_look(&round->empty);
            continue;
        }
        bool right = run_right(round, run, count * words, taken * words);
        stall(&random, round->consumer_stalls);
        right &= run_right(round, run, count * words, taken * words);
        if (!right) {
            round->bad_index = taken;
            plx_store_relaxed(&round->bad, true); /* relaxed: the join orders bad_index */
            return NULL;
        }
        plx_packed_consume(round->q, count);
        taken += count;
    }
    return NULL;
}

static void run_round(struct round *round)
{
    pthread_t producer;
    pthread_t consumer;
    const void *run;
    assert_int_equal(pthread_create(&producer, NULL, produce, round), 0);
    assert_int_equal(pthread_create(&consumer, NULL, consume, round), 0);
    assert_int_equal(pthread_join(producer, NULL), 0);
    assert_int_equal(pthread_join(consumer, NULL), 0);

    bool bad = plx_load_relaxed(&round->bad); /* relaxed: both threads are joined */
    if (bad)
        print_error("seed %llu: %u places of %u bytes, runs up to %u and %u: element %llu or one "
                    "soon after it is wrong\n",
                    (unsigned long long)seed, plx_packed_capacity(round->q),
                    plx_packed_element_bytes(round->q), round->most_sent, round->most_taken,
                    (unsigned long long)round->bad_index);
    assert_false(bad);
    assert_int_equal(plx_packed_peek(round->q, 1, &run), 0);
    assert_true(plx_packed_count_estimate(round->q) <= plx_packed_lag(round->q));
}

/* Rounds of random runs and paces, some of them with indexes about to wrap. */
static void run_case(uint32_t capacity, uint32_t element_bytes)
{
    size_t bytes = plx_round_up(plx_packed_bytes(capacity, element_bytes), PLX_CACHE_LINE);
    void *memory = aligned_alloc(PLX_CACHE_LINE, bytes);
    assert_non_null(memory);
    static const uint32_t mosts[] = {1, 3, 8, 32, UINT32_MAX};
    uint64_t random = seed ^ capacity ^ element_bytes;
    uint64_t rounds = 0;
    uint64_t full = 0;
    uint64_t empty = 0;
    uint64_t end_ns = now_ns() + run_ns_per_case;
    do {
        struct round round = {.key = random_next(&random)};
        round.most_sent = mosts[random_next(&random) % 5];
        round.most_taken = mosts[random_next(&random) % 5];
        round.producer_stalls = random_next(&random) % 2 == 0;
        round.consumer_stalls = random_next(&random) % 2 == 0;
        assert_int_equal(plx_packed_init(memory, capacity, element_bytes, &round.q), 0);
        if (random_next(&random) % 4 == 0)
            round.q =
                plx__packed_setup(memory, capacity, element_bytes, plx_packed_lag(round.q) + 1,
                                  0 - random_next(&random) % ELEMENTS_PER_ROUND);
        run_round(&round);
        rounds++;
        full += round.full;
        empty += round.empty;
    } while (now_ns() < end_ns);
    print_message("%u places of %u bytes: %llu elements, found full %llu times, empty %llu times\n",
                  capacity, element_bytes, (unsigned long long)(rounds * ELEMENTS_PER_ROUND),
                  (unsigned long long)full, (unsigned long long)empty);
    free(memory);
}

static void packed_8_bytes_arrive_whole_in_order(void **state)
{
    (void)state;
    run_case(8, 8);
    run_case(1024, 8);
}

static void packed_16_bytes_arrive_whole_in_order(void **state)
{
    (void)state;
    run_case(64, 16);
}

static void packed_40_bytes_arrive_whole_in_order(void **state)
{
    (void)state;
    run_case(32, 40);
}

static void packed_64_bytes_arrive_whole_in_order(void **state)
{
    (void)state;
    run_case(4096, 64);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packed_8_bytes_arrive_whole_in_order),
        cmocka_unit_test(packed_16_bytes_arrive_whole_in_order),
        cmocka_unit_test(packed_40_bytes_arrive_whole_in_order),
        cmocka_unit_test(packed_64_bytes_arrive_whole_in_order),
    };
    const char *text = getenv("POLLUX_TEST_SEED");
    const char *soak = getenv("POLLUX_TEST_SOAK");
    seed = text != NULL ? strtoull(text, NULL, 0) : mix(now_ns() ^ plx_ticks());
    run_ns_per_case = soak != NULL && soak[0] == '1' ? UINT64_C(12000000000) : UINT64_C(400000000);
    printf("POLLUX_TEST_SEED=%llu\n", (unsigned long long)seed);
    fflush(stdout);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
