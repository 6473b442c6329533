/* SPDX-License-Identifier: MIT */
/*
 * The cell queue between two threads that stall at random: each cell must arrive once, in order,
 * whole, and stay whole until it is consumed. POLLUX_TEST_SEED replays the choices (not the
 * timing); POLLUX_TEST_SOAK=1 runs for a minute instead of two seconds.
 */
#include "runtime/mesh/cells.h"

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

#define WORDS (PLX_CELL_BYTES / sizeof(uint64_t))
#define CELLS_PER_ROUND 50000
#define LOOKS_BEFORE_YIELD 256

enum pace { PACE_FAST, PACE_STALLS, PACE_SLOW, PACE_COUNT };

struct round {
    struct plx_cells *q;
    uint64_t key; /* of the payload */
    enum pace producer_pace;
    enum pace consumer_pace;
    uint64_t full;
    uint64_t empty;
    uint64_t bad_index; /* of the first wrong cell, from 0 */
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

static void stall(uint64_t *random, enum pace pace)
{
    if (pace == PACE_FAST)
        return;
    uint64_t drawn = random_next(random);
    if (pace == PACE_SLOW) {
        for (uint64_t n = drawn % 32; n > 0; n--)
            plx_cpu_relax();
    } else if (drawn % 1024 == 0) {
        sched_yield();
    } else if (drawn % 64 == 1) {
        for (uint64_t n = (drawn >> 32) % 1024; n > 0; n--)
            plx_cpu_relax();
    }
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
    uint64_t random = round->key ^ 1;
    for (uint64_t i = 0; i < CELLS_PER_ROUND; i++) {
        uint64_t *cell;
        while ((cell = plx_cells_reserve(round->q)) == NULL) {
            /* Relaxed: only says that nobody will make room any more. */
            if (plx_load_relaxed(&round->bad))
                return NULL;
            wait_look(&round->full);
        }
        for (size_t w = 0; w < WORDS; w++) {
            cell[w] = mix(round->key + i * WORDS + w);
            if (w == WORDS / 2)
                stall(&random, round->producer_pace);
        }
        plx_cells_commit(round->q);
    }
    return NULL;
}

static bool cell_right(const struct round *round, const uint64_t *cell, uint64_t index)
{
    bool right = true;
    for (size_t w = 0; w < WORDS; w++)
        right &= cell[w] == mix(round->key + index * WORDS + w);
    return right;
}

static void *consume(void *argument)
{
    struct round *round = argument;
    uint64_t random = round->key ^ 2;
    for (uint64_t i = 0; i < CELLS_PER_ROUND; i++) {
        const uint64_t *cell;
        while ((cell = plx_cells_peek(round->q)) == NULL)
            wait_look(&round->empty);
        bool right = cell_right(round, cell, i);
        stall(&random, round->consumer_pace);
        right &= cell_right(round, cell, i);
        if (!right) {
            round->bad_index = i;
            plx_store_relaxed(&round->bad, true); /* relaxed: the join orders bad_index */
            return NULL;
        }
        plx_cells_consume(round->q);
    }
    return NULL;
}

static void run_round(struct round *round)
{
    pthread_t producer;
    pthread_t consumer;
    assert_int_equal(pthread_create(&producer, NULL, produce, round), 0);
    assert_int_equal(pthread_create(&consumer, NULL, consume, round), 0);
    assert_int_equal(pthread_join(producer, NULL), 0);
    assert_int_equal(pthread_join(consumer, NULL), 0);

    if (plx_load_relaxed(&round->bad)) /* relaxed: both threads are joined */
        print_error("seed %llu: %u slots, paces %d %d: cell %llu is wrong\n",
                    (unsigned long long)seed, plx_cells_slots(round->q), round->producer_pace,
                    round->consumer_pace, (unsigned long long)round->bad_index);
    assert_false(plx_load_relaxed(&round->bad));
    assert_null(plx_cells_peek(round->q));
    assert_true(plx_cells_count_estimate(round->q) <= plx_cells_lag(round->q));
}

/* Rounds of every pair of paces on queues of `slots`, some of them with indexes about to wrap. */
static void run_case(uint32_t slots)
{
    void *memory = aligned_alloc(PLX_CACHE_LINE, plx_cells_bytes(slots));
    assert_non_null(memory);
    uint64_t random = seed ^ slots;
    uint64_t rounds = 0;
    uint64_t full = 0;
    uint64_t empty = 0;
    uint64_t end_ns = now_ns() + run_ns_per_case;
    do {
        struct round round = {.key = random_next(&random)};
        round.producer_pace = (enum pace)(random_next(&random) % PACE_COUNT);
        round.consumer_pace = (enum pace)(random_next(&random) % PACE_COUNT);
        assert_int_equal(plx_cells_init(memory, slots, &round.q), 0);
        if (random_next(&random) % 4 == 0)
            round.q = plx__cells_setup(memory, slots, plx_cells_lag(round.q) + 1,
                                       0 - random_next(&random) % CELLS_PER_ROUND);
        run_round(&round);
        rounds++;
        full += round.full;
        empty += round.empty;
    } while (now_ns() < end_ns);
    print_message("%u slots: %llu cells, found full %llu times, empty %llu times\n", slots,
                  (unsigned long long)(rounds * CELLS_PER_ROUND), (unsigned long long)full,
                  (unsigned long long)empty);
    free(memory);
}

static void cells_of_8_slots_arrive_whole_in_order(void **state)
{
    (void)state;
    run_case(8);
}

static void cells_of_32_slots_arrive_whole_in_order(void **state)
{
    (void)state;
    run_case(32);
}

static void cells_of_256_slots_arrive_whole_in_order(void **state)
{
    (void)state;
    run_case(256);
}

static void cells_of_16384_slots_arrive_whole_in_order(void **state)
{
    (void)state;
    run_case(16384);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cells_of_8_slots_arrive_whole_in_order),
        cmocka_unit_test(cells_of_32_slots_arrive_whole_in_order),
        cmocka_unit_test(cells_of_256_slots_arrive_whole_in_order),
        cmocka_unit_test(cells_of_16384_slots_arrive_whole_in_order),
    };
    const char *text = getenv("POLLUX_TEST_SEED");
    const char *soak = getenv("POLLUX_TEST_SOAK");
    seed = text != NULL ? strtoull(text, NULL, 0) : mix(now_ns() ^ plx_ticks());
    run_ns_per_case = soak != NULL && soak[0] == '1' ? UINT64_C(15000000000) : UINT64_C(500000000);
    printf("POLLUX_TEST_SEED=%llu\n", (unsigned long long)seed);
    fflush(stdout);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
