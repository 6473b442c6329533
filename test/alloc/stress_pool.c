/* SPDX-License-Identifier: MIT */
/*
 * Two pools of two threads, each of which acquires blocks and hands them to the other, who releases
 * them to its own pool: all of them go home by a road that is often full or closed. A third thread
 * reads the statistics all the while. POLLUX_TEST_SEED replays the choices (not the timing);
 * POLLUX_TEST_SOAK=1 runs for a minute.
 */
#include "test/alloc/pool_fixture.h"

#include "runtime/mesh/cells.h"

#include <pthread.h>
#include <sched.h>

#define SIDES          2
#define ROAD_SLOTS     16
#define PASSES_PER_RUN 20000
#define CELLS_A_TURN   16

static const struct plx_pool_quota quota = {{64, 0, 0, 0, 8}};

struct message {
    void *block;
    uint64_t goes_home; /* or it is handed over */
};

struct side {
    struct fixture f;
    struct plx_cells *road; /* from this side to the other */
    struct side *other;
    uint32_t index;
    uint64_t random;
    uint64_t handed; /* blocks given to the other */
    uint64_t taken;
    uint64_t came_home;
    uint64_t closed_for; /* turns in which this side doesn't look at its road */
    uint64_t waits;
    PLX_ATOMIC(bool) wrong;
};

static struct side sides[SIDES];
static PLX_ATOMIC(bool) all_done;
static uint64_t seed;

static int home_of(void *ctx, const void *block)
{
    (void)ctx;
    for (int i = 0; i < SIDES; i++) {
        if (plx_pool_has(&sides[i].f.pool, block))
            return i;
    }
    return -ENOENT;
}

static bool put(struct side *side, void *block, bool goes_home)
{
    struct message *message = plx_cells_reserve(side->road);
    if (message == NULL)
        return false;
    *message = (struct message){block, goes_home};
    plx_cells_commit(side->road);
    return true;
}

static int send_home(void *ctx, uint32_t home, void *block)
{
    struct side *side = ctx;
    (void)home;
    return put(side, block, true) ? 0 : -EAGAIN;
}

/* Writes the owner into all of the block's ends, and says whether they are still as `before` said.
 */
static bool sign(void *block, uint64_t before, uint64_t after)
{
    uint64_t *words = block;
    bool right = before == 0 || (words[0] == before && words[PLX_PAGE / 8 - 1] == before);
    words[0] = words[PLX_PAGE / 8 - 1] = after;
    return right;
}

static void look(struct side *side)
{
    if (side->closed_for > 0) {
        side->closed_for--;
        return;
    }
    if (random_next(&side->random) % 256 == 0)
        side->closed_for = random_next(&side->random) % 256;
    const struct message *message;
    for (int i = 0; i < CELLS_A_TURN && (message = plx_cells_peek(side->other->road)); i++) {
        struct message copy = *message;
        plx_cells_consume(side->other->road);
        if (copy.goes_home) {
            side->came_home++;
            plx_pool_release_home(&side->f.pool, copy.block);
            continue;
        }
        side->taken++;
        if (!sign(copy.block, (uintptr_t)copy.block ^ side->other->index, 1))
            plx_store_relaxed(&side->wrong, true); /* relaxed: the join orders it */
        plx_pool_release(&side->f.pool, copy.block);
    }
}

static void hand_over(struct side *side)
{
    size_t bytes = random_next(&side->random) % 8 == 0 ? 64 * KIB : 4096;
    void *block = plx_pool_acquire(&side->f.pool, bytes);
    if (block == NULL) {
        side->waits++;
        return;
    }
    (void)sign(block, 0, (uintptr_t)block ^ side->index);
    if (put(side, block, false))
        side->handed++;
    else
        plx_pool_release(&side->f.pool, block);
}

/* Whether nothing more comes to this side, nor goes from it. */
static bool is_done(const struct side *side)
{
    return side->handed == PASSES_PER_RUN && side->taken == PASSES_PER_RUN &&
           side->came_home == PASSES_PER_RUN &&
           plx_load_relaxed(&side->f.pool.away_waiting) == 0; /* relaxed: this thread's own */
}

static void *run_side(void *argument)
{
    struct side *side = argument;
    while (!is_done(side)) {
        look(side);
        (void)plx_pool_flush(&side->f.pool);
        if (side->handed < PASSES_PER_RUN)
            hand_over(side);
        if (random_next(&side->random) % 64 == 0)
            sched_yield();
    }
    return NULL;
}

static void *read_stats(void *argument)
{
    bool *wrong = argument;
    struct plx_pool_stats last[SIDES];
    memset(last, 0, sizeof(last));
    /* Relaxed: only ends the loop. */
    while (!plx_load_relaxed(&all_done)) {
        for (int i = 0; i < SIDES; i++) {
            struct plx_pool_stats now;
            plx_pool_read_stats(&sides[i].f.pool, &now);
            for (int c = 0; c < PLX_POOL_CLASSES; c++) {
                *wrong |= now.classes[c].in_use > now.classes[c].capacity;
                *wrong |= now.classes[c].acquires < last[i].classes[c].acquires;
                *wrong |= now.classes[c].remote_frees < last[i].classes[c].remote_frees;
                *wrong |= now.classes[c].peak < last[i].classes[c].peak;
            }
            *wrong |= now.frees_away < last[i].frees_away;
            last[i] = now;
        }
        sched_yield();
    }
    return NULL;
}

static void run_once(uint64_t *random)
{
    static unsigned char memory[SIDES][1024 + ROAD_SLOTS * PLX_CACHE_LINE] PLX_ALIGNED(
        PLX_CACHE_LINE);
    pthread_t threads[SIDES];
    pthread_t reader;
    bool reader_wrong = false;
    const struct plx_pool_opts opts = {.homes = SIDES};

    memset(sides, 0, sizeof(sides));
    plx_store_relaxed(&all_done, false);
    for (uint32_t i = 0; i < SIDES; i++) {
        const struct plx_pool_remote remote = {home_of, send_home, &sides[i]};
        assert_true(plx_cells_bytes(ROAD_SLOTS) <= sizeof(memory[i]));
        assert_int_equal(plx_cells_init(memory[i], ROAD_SLOTS, &sides[i].road), 0);
        assert_int_equal(make_pool(&sides[i].f, &quota, &opts), 0);
        plx_pool_set_remote(&sides[i].f.pool, &remote);
        sides[i].index = i + 1;
        sides[i].other = &sides[SIDES - 1 - i];
        sides[i].random = random_next(random);
    }
    assert_int_equal(pthread_create(&reader, NULL, read_stats, &reader_wrong), 0);
    for (int i = 0; i < SIDES; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run_side, &sides[i]), 0);
    for (int i = 0; i < SIDES; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    plx_store_relaxed(&all_done, true);
    assert_int_equal(pthread_join(reader, NULL), 0);

    assert_false(reader_wrong);
    for (int i = 0; i < SIDES; i++) {
        struct plx_pool_stats stats;
        plx_pool_read_stats(&sides[i].f.pool, &stats);
        print_message("side %d: %llu of %llu frees away could not go at once, %llu times dry\n", i,
                      (unsigned long long)stats.away_deferred, (unsigned long long)stats.frees_away,
                      (unsigned long long)sides[i].waits);
        assert_false(plx_load_relaxed(&sides[i].wrong));
        assert_int_equal(sides[i].taken, PASSES_PER_RUN);
        assert_int_equal(stats.frees_away, PASSES_PER_RUN);
        assert_int_equal(stats.classes[0].remote_frees + stats.classes[4].remote_frees,
                         PASSES_PER_RUN);
        end_pool(&sides[i].f);
    }
}

static void blocks_freed_away_all_come_home(void **state)
{
    (void)state;
    const char *soak = getenv("POLLUX_TEST_SOAK");
    time_t end = time(NULL) + (soak != NULL && soak[0] == '1' ? 60 : 1);
    uint64_t random = seed;
    do
        run_once(&random);
    while (time(NULL) < end);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(blocks_freed_away_all_come_home)};
    seed = take_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
