/* SPDX-License-Identifier: MIT */
/*
 * The shared pool under eight threads, with fewer blocks than they want: each block has one owner
 * at a time, what is released comes back whole, and of two releases of one block one is refused.
 * POLLUX_TEST_SEED replays the choices (not the timing); POLLUX_TEST_SOAK=1 runs for a minute.
 */
#include "alloc/shared_pool.h"

#include "test/alloc/pool_fixture.h"

#include <pthread.h>
#include <sched.h>

#define THREADS  8
#define CYCLES   100000 /* of each thread */
#define HOLD_MAX 4      /* blocks a thread has at a time */
#define DUELS    20000

/* Blocks for some of what eight threads want, so that classes run dry and tops change hands. */
static const struct plx_pool_quota quota = {{11, 3, 0, 0, 4, 0, 0, 0, 1}};

static struct plx_arena arena;
static struct plx_shared_pool pool;
static uint64_t seed;

struct worker {
    pthread_t thread;
    uint64_t id; /* not 0 */
    uint64_t random;
    uint64_t acquires;
    uint64_t misses;
    bool wrong;
    char padding[PLX_CACHE_LINE];
};

/* Whether all words that were signed with `before` still are; signs them with `after`. */
static bool sign(void *block, size_t bytes, uint64_t before, uint64_t after)
{
    bool right = true;
    for (size_t at = 0; at < bytes; at += PLX_PAGE / 2) {
        uint64_t *word = (uint64_t *)(void *)((char *)block + at);
        right &= *word == before;
        *word = after;
    }
    return right;
}

/* Free blocks are signed with 0. */
static void give_back(struct worker *w, void *block)
{
    size_t bytes;
    w->wrong |= plx_shared_pool_block_of(&pool, block, &bytes) != block;
    w->wrong |= !sign(block, bytes, w->id, 0);
    plx_shared_pool_release(&pool, block);
}

static void *work(void *argument)
{
    struct worker *w = argument;
    void *held[HOLD_MAX];
    uint32_t count = 0;
    for (int cycle = 0; cycle < CYCLES; cycle++) {
        uint64_t drawn = random_next(&w->random);
        size_t wanted = (size_t[]){4096, 4096, 4096, 8192, 5000, 64 * KIB, 1, MIB}[drawn % 8];
        void *block = plx_shared_pool_acquire(&pool, wanted);
        size_t bytes;
        if (block != NULL) {
            w->acquires++;
            w->wrong |= plx_shared_pool_block_of(&pool, block, &bytes) != block;
            w->wrong |= bytes < wanted || (uintptr_t)block % bytes != 0;
            w->wrong |= !sign(block, bytes, 0, w->id);
            held[count++] = block;
        } else {
            w->misses++;
        }
        if (drawn >> 8 & 1)
            plx_cpu_relax();
        if (count > 0 && (count == HOLD_MAX || block == NULL || drawn >> 9 & 1)) {
            uint32_t i = (uint32_t)(drawn >> 16) % count;
            give_back(w, held[i]);
            held[i] = held[--count];
        }
    }
    while (count > 0)
        give_back(w, held[--count]);
    return NULL;
}

static void run_workers(uint64_t *random)
{
    static struct worker workers[THREADS];
    struct plx_shared_pool_stats stats;
    uint64_t acquires = 0;
    uint64_t misses = 0;
    for (uint64_t i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.id = i + 1, .random = random_next(random)};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
        assert_false(workers[i].wrong);
        acquires += workers[i].acquires;
        misses += workers[i].misses;
    }
    plx_shared_pool_read_stats(&pool, &stats);
    for (int c = 0; c < PLX_POOL_CLASSES; c++) {
        assert_int_equal(stats.classes[c].in_use, 0);
        assert_true(stats.classes[c].peak <= stats.classes[c].capacity);
        acquires -= stats.classes[c].acquires;
        misses -= stats.classes[c].misses;
    }
    assert_int_equal(acquires, 0);
    assert_int_equal(misses, 0);
    print_message("4K: %llu acquires, %llu misses, %u at most; 1M: %llu acquires, %llu misses\n",
                  (unsigned long long)stats.classes[0].acquires,
                  (unsigned long long)stats.classes[0].misses, stats.classes[0].peak,
                  (unsigned long long)stats.classes[8].acquires,
                  (unsigned long long)stats.classes[8].misses);
    const char *wrong = plx__shared_pool_check(&pool);
    if (wrong != NULL)
        fail_msg("%s", wrong);
}

static int make_it(void **state)
{
    (void)state;
    int code = make_arena(&arena, plx_shared_pool_measure(&quota).bytes, true);
    return code < 0 ? code : plx_shared_pool_init(&pool, &arena, &quota, NULL);
}

static int end_it(void **state)
{
    (void)state;
    uint64_t out = plx_shared_pool_fini(&pool);
    plx_arena_fini(&arena);
    return out != 0;
}

static void blocks_have_one_owner_at_a_time(void **state)
{
    const char *soak = getenv("POLLUX_TEST_SOAK");
    time_t end = time(NULL) + (soak != NULL && soak[0] == '1' ? 60 : 0);
    uint64_t random = seed;
    do {
        run_workers(&random);
        assert_int_equal(end_it(state), 0);
        assert_int_equal(make_it(state), 0);
    } while (time(NULL) < end);
}

/* --- two releases of one block ---------------------------------------------------------------- */

static struct {
    PLX_ATOMIC(uint32_t) round; /* the second thread releases `block` when it changes */
    PLX_ATOMIC(uint32_t) there; /* it has seen that */
    PLX_ATOMIC(uint32_t) ended; /* the last round in which it did */
    void *block;
    uint32_t refused; /* the second thread's */
    uint32_t done;
} duel;

/* Alternates spinning with leaving the core, as there may be one only. */
static void await(PLX_ATOMIC(uint32_t) * word, uint32_t value)
{
    for (uint32_t looks = 1; plx_load_acquire(word) != value; looks++) {
        if (looks % 64 == 0)
            sched_yield();
        else
            plx_cpu_relax();
    }
}

/* Not both by the same step each time, and the one that waits for the other sees it late. */
static void dawdle(uint64_t *random)
{
    for (uint64_t n = random_next(random) % 64; n > 0; n--)
        plx_cpu_relax();
}

static void *release_too(void *argument)
{
    uint64_t random = *(const uint64_t *)argument;
    for (uint32_t round = 1; round <= DUELS; round++) {
        await(&duel.round, round);
        plx_store_release(&duel.there, round);
        dawdle(&random);
        int code = plx_shared_pool_try_release(&pool, duel.block);
        duel.refused += code == -EALREADY;
        duel.done += code == 0;
        plx_store_release(&duel.ended, round);
    }
    return NULL;
}

static void of_two_releases_at_a_time_one_is_refused(void **state)
{
    (void)state;
    pthread_t other;
    uint64_t random = seed;
    uint64_t others = ~seed;
    uint32_t refused = 0;
    uint32_t done = 0;
    memset(&duel, 0, sizeof(duel));
    assert_int_equal(pthread_create(&other, NULL, release_too, &others), 0);
    for (uint32_t round = 1; round <= DUELS; round++) {
        duel.block = plx_shared_pool_acquire(&pool, 4096);
        assert_non_null(duel.block);
        plx_store_release(&duel.round, round);
        await(&duel.there, round);
        dawdle(&random);
        int code = plx_shared_pool_try_release(&pool, duel.block);
        refused += code == -EALREADY;
        done += code == 0;
        await(&duel.ended, round);
        assert_int_equal(refused + duel.refused, round);
        assert_int_equal(done + duel.done, round);
    }
    assert_int_equal(pthread_join(other, NULL), 0);
    print_message("the first thread was refused %u times, the second %u times\n", refused,
                  duel.refused);
    assert_null(plx__shared_pool_check(&pool));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, make_it, end_it)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(blocks_have_one_owner_at_a_time),
        CASE(of_two_releases_at_a_time_one_is_refused),
    };
    seed = take_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
