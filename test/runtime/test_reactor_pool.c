/* SPDX-License-Identifier: MIT */
/*
 * A reactor's pool: its share of the arena, and blocks that are released on another reactor, which
 * find home whatever the rings and the end of the runtime do meanwhile.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "runtime/reactor_internal.h"
#include "test/runtime/rt_fixture.h"

/* Blocks that one reactor has in the hands of its peer at most. */
#define OUT_MAX 64u
#define PASSES  2000u
/* More than the smallest ring of the mesh holds. */
#define MANY    100u

static uint32_t in_use(const struct plx_pool *pool)
{
    struct plx_pool_stats stats;
    uint32_t count = 0;
    plx_pool_read_stats(pool, &stats);
    for (unsigned i = 0; i < PLX_POOL_CLASSES; i++)
        count += stats.classes[i].in_use;
    return count;
}

static uint64_t remote_frees(const struct plx_pool *pool)
{
    struct plx_pool_stats stats;
    uint64_t count = 0;
    plx_pool_read_stats(pool, &stats);
    for (unsigned i = 0; i < PLX_POOL_CLASSES; i++)
        count += stats.classes[i].remote_frees;
    return count;
}

static uint32_t waiting(const struct plx_pool *pool)
{
    struct plx_pool_stats stats;
    plx_pool_read_stats(pool, &stats);
    return stats.away_waiting;
}

/* --- the pool itself -------------------------------------------------------------------------- */

static void reactor_has_a_pool_of_its_arena_and_tells(void **state)
{
    (void)state;
    static struct rt_lines lines;
    struct plx_runtime *rt = rt_create("arena_size=8M", NULL);
    struct plx_reactor *r = rt_adopt(rt, 0);
    struct plx_pool *pool = plx_reactor_pool(r);
    const struct plx_arena *arena = plx_reactor_arena(r);
    assert_true(pool->pages * PLX_PAGE > arena->bytes / 8 * 5);
    assert_true(plx_arena_left(arena) > arena->bytes / 8);
    void *block = plx_pool_acquire(pool, 65536);
    assert_non_null(block);
    assert_true((unsigned char *)block >= arena->base);
    assert_true((unsigned char *)block + 65536 <= arena->base + arena->bytes);
    plx_pool_release(pool, block);
    plx_reactor_explain(r, rt_keep_line, &lines);
    assert_int_equal(rt_lines_with(&lines, "KiB of blocks"), 1);
    assert_int_equal(rt_lines_with(&lines, "KiB of tables"), 1);
    rt_abandon(r);
    plx_runtime_destroy(rt);
}

/* From too small for the rings on, page by page, until all fits: nothing is left behind. */
static void arena_without_room_for_a_pool_is_refused(void **state)
{
    (void)state;
    struct rt_things before = rt_count_things();
    unsigned refused = 0;
    int rc = -ENOMEM;
    for (unsigned pages = 256; rc != 0; pages++) {
        char words[96];
        snprintf(words, sizeof(words), "reactors=4 mesh_slots=4096 arena_size=%u", pages * 4096);
        struct plx_diag diag = {0};
        struct plx_reactor *r = NULL;
        struct plx_runtime *rt = rt_create(words, NULL);
        rc = plx_reactor_adopt(rt, 0, &r, &diag);
        if (rc == 0) {
            rt_abandon(r);
        } else {
            assert_int_equal(rc, -ENOMEM);
            assert_true(pages < 512);
            refused += strstr(diag.text, "no room for the pool of reactor 0") != NULL &&
                       strcmp(diag.what, "POLLUX_ARENA_SIZE") == 0;
        }
        plx_runtime_destroy(rt);
    }
    assert_true(refused > 0);
    rt_expect_things(&before);
}

struct given {
    struct plx_pool_waiter waiter;
    void *block;
};

static void take_given(struct plx_pool_waiter *waiter, void *block, void *ctx)
{
    struct given *given = ctx;
    assert_ptr_equal(waiter, &given->waiter);
    given->block = block;
}

static void waiter_is_called_in_the_next_turn(void **state)
{
    (void)state;
    struct plx_runtime *rt = rt_create("", NULL);
    struct plx_reactor *r = rt_adopt(rt, 0);
    struct plx_pool *pool = plx_reactor_pool(r);
    struct given given = {0};
    assert_int_equal(plx_pool_waiter_arm(pool, &given.waiter, 4096, take_given, &given), 0);
    assert_null(given.block);
    assert_true(plx_reactor_poll(r) >= 1);
    assert_non_null(given.block);
    plx_pool_release(pool, given.block);
    assert_int_equal(in_use(pool), 0);
    rt_abandon(r);
    plx_runtime_destroy(rt);
}

/* --- two reactors of one thread --------------------------------------------------------------- */

static void block_released_on_a_peer_comes_home(void **state)
{
    (void)state;
    struct plx_runtime *rt = rt_create("reactors=2", NULL);
    struct plx_reactor *r[2] = {rt_adopt(rt, 0), rt_adopt(rt, 1)};
    for (unsigned home = 0; home < 2; home++) {
        struct plx_pool *pool = plx_reactor_pool(r[home]);
        struct plx_pool *other = plx_reactor_pool(r[!home]);
        for (unsigned i = 0; i < 3; i++) {
            void *block = plx_pool_acquire(pool, 4096u << i);
            assert_non_null(block);
            memset(block, 0xa5, 4096u << i);
            plx_pool_release(other, block);
            assert_int_equal(in_use(pool), 1);
            RT_TURN_UNTIL(r[home], in_use(pool) == 0);
        }
        assert_int_equal(remote_frees(pool), 3);
        assert_null(plx__pool_check(pool));
        /* Memory that is no reactor's stays foreign. */
        static uint8_t foreign[2 * PLX_PAGE];
        void *page = (void *)(((uintptr_t)foreign + PLX_PAGE - 1) & ~(uintptr_t)(PLX_PAGE - 1));
        assert_int_equal(plx_pool_try_release(other, page), -EINVAL);
    }
    rt_abandon(r[0]);
    rt_abandon(r[1]);
    plx_runtime_destroy(rt);
}

static void blocks_behind_a_full_ring_wait_and_all_come_home(void **state)
{
    (void)state;
    struct plx_runtime *rt = rt_create("reactors=2 mesh_slots=64", NULL);
    struct plx_reactor *home = rt_adopt(rt, 0);
    struct plx_reactor *away = rt_adopt(rt, 1);
    struct plx_pool *pool = plx_reactor_pool(home);
    struct plx_pool *other = plx_reactor_pool(away);
    for (unsigned i = 0; i < MANY; i++)
        plx_pool_release(other, plx_pool_acquire(pool, 4096));
    assert_int_equal(in_use(pool), MANY);
    assert_true(waiting(other) >= MANY - 64 && waiting(other) < MANY);
    /* It cannot go while its peer does not read. */
    uint32_t before = waiting(other);
    assert_true(plx_reactor_poll(away) >= 0);
    assert_int_equal(waiting(other), before);
    RT_TURN_UNTIL(home, (plx_reactor_poll(away), in_use(pool) == 0));
    assert_int_equal(waiting(other), 0);
    assert_int_equal(remote_frees(pool), MANY);
    struct plx_reactor_stats stats;
    plx_reactor_read_stats(away, &stats);
    assert_int_equal(stats.posts_refused, 0);
    rt_abandon(away);
    rt_abandon(home);
    plx_runtime_destroy(rt);
}

static void frees_to_a_home_that_has_ended_are_dropped(void **state)
{
    (void)state;
    struct plx_runtime *rt = rt_create("reactors=2 mesh_slots=64", NULL);
    struct plx_reactor *home = rt_adopt(rt, 0);
    struct plx_reactor *away = rt_adopt(rt, 1);
    void *blocks[MANY];
    for (unsigned i = 0; i < MANY; i++)
        blocks[i] = plx_pool_acquire(plx_reactor_pool(home), 4096);
    /* Half before: some in the ring, some behind it. */
    for (unsigned i = 0; i < 80; i++)
        plx_pool_release(plx_reactor_pool(away), blocks[i]);
    assert_true(waiting(plx_reactor_pool(away)) > 0);
    rt_abandon(home);
    /* What was in the ring is home: five eighths of it are for other things than answers. */
    assert_true(remote_frees(plx_reactor_pool(home)) >= 40);
    for (unsigned i = 80; i < MANY; i++)
        plx_pool_release(plx_reactor_pool(away), blocks[i]);
    /* And nobody waits for the rest, so the end comes at once. */
    rt_abandon(away);
    assert_int_equal(waiting(plx_reactor_pool(away)), 0);
    plx_runtime_destroy(rt);
}

/*
 * What did not end is never freed. That it stays reachable tells a leak detector that it is meant;
 * a static pointer that nobody reads would be optimised away.
 */
extern struct plx_runtime *lost;
struct plx_runtime *lost;

static void abandon_with_a_peer_that_does_not_read_says_so(void **state)
{
    (void)state;
    struct plx_runtime *rt = rt_create("reactors=2 mesh_slots=64", NULL);
    struct plx_reactor *home = rt_adopt(rt, 0);
    struct plx_reactor *away = rt_adopt(rt, 1);
    for (unsigned i = 0; i < MANY; i++)
        plx_pool_release(plx_reactor_pool(away), plx_pool_acquire(plx_reactor_pool(home), 4096));
    assert_int_equal(plx_reactor_abandon(away, 10000000), -ETIMEDOUT);
    rt_abandon(home);
    plx_runtime_destroy(rt);
    lost = rt;
}

/* --- two threads ------------------------------------------------------------------------------ */

/* One reactor's side of passing blocks; its own thread's, but for what is atomic. */
struct side {
    struct plx_reactor *reactor;
    struct plx_poller poller;
    uint32_t passed; /* blocks of its own that it has sent to the peer */
    uint32_t wanted;
    PLX_ATOMIC(uint32_t) got;  /* blocks of the peer's that it has released */
    PLX_ATOMIC(uint32_t) done; /* all are home, or it goes on for ever */
    bool for_ever;
    bool sleeps; /* it takes a second in which it does not poll */
    uint64_t out_max;
} PLX_ALIGNED(2 * PLX_CACHE_LINE);

static struct side sides[2];

/* On the peer: the block says whose it is and its number. */
static void take_block(struct plx_reactor *here, const void *body)
{
    struct side *side = &sides[plx_reactor_index(here)];
    uint64_t *block = *(uint64_t *const *)body;
    assert_int_equal(block[0], !plx_reactor_index(here));
    assert_int_equal(block[1], block[511]);
    plx_pool_release(plx_reactor_pool(here), block);
    plx_store_relaxed(&side->got, plx_load_relaxed(&side->got) + 1);
    if (side->sleeps && plx_load_relaxed(&side->got) == 1) {
        /* A consumer that does not poll: its peer's blocks, and its ring, fill up meanwhile. */
        uint64_t until = rt_now_ns() + 1000000000u;
        while (rt_now_ns() < until)
            rt_pause();
    }
}

static uint32_t pass_blocks(struct plx_poller *poller, void *ctx)
{
    (void)poller;
    struct side *side = ctx;
    struct plx_pool *pool = plx_reactor_pool(side->reactor);
    uint32_t index = plx_reactor_index(side->reactor);
    uint32_t work = 0;
    while (work < 16 && (side->for_ever || side->passed < side->wanted) &&
           in_use(pool) < side->out_max) {
        uint64_t *block = plx_pool_acquire(pool, 4096);
        if (block == NULL)
            break;
        block[0] = index;
        block[1] = side->passed;
        block[511] = side->passed;
        if (plx_mesh_post(side->reactor, !index, take_block, &block, sizeof(block)) != 0) {
            plx_pool_release(pool, block);
            break;
        }
        side->passed++;
        work++;
    }
    if (side->passed == side->wanted && in_use(pool) == 0)
        plx_store_release(&side->done, 1);
    return work;
}

static int begin_passing(struct plx_reactor *reactor, void *ctx)
{
    (void)ctx;
    struct side *side = &sides[plx_reactor_index(reactor)];
    side->reactor = reactor;
    plx_poller_arm(reactor, &side->poller, pass_blocks, side);
    return 0;
}

/* At the end nothing is out, nothing waits, and the books are whole. */
static void check_home(struct plx_reactor *reactor, void *ctx)
{
    (void)ctx;
    struct side *side = &sides[plx_reactor_index(reactor)];
    plx_poller_disarm(reactor, &side->poller);
}

static struct plx_runtime *begin(const char *words, uint32_t wanted, bool for_ever, bool sleeps)
{
    struct plx_runtime_opts opts;
    plx_runtime_opts_init(&opts);
    opts.on_start = begin_passing;
    opts.on_stop = check_home;
    memset(sides, 0, sizeof(sides));
    for (unsigned i = 0; i < 2; i++) {
        sides[i].wanted = wanted;
        sides[i].for_ever = for_ever;
        sides[i].out_max = sleeps ? MANY * 2 : OUT_MAX;
        sides[i].sleeps = sleeps && i == 1;
    }
    struct plx_runtime *rt = rt_create(words, &opts);
    rt_start(rt);
    return rt;
}

static void blocks_passed_between_threads_all_come_home(void **state)
{
    (void)state;
    struct plx_runtime *rt = begin("reactors=2 mesh_slots=64", PASSES, false, false);
    RT_UNTIL(plx_load_acquire(&sides[0].done) && plx_load_acquire(&sides[1].done));
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(plx_load_relaxed(&sides[i].got), PASSES);
    rt_finish(rt);
}

static void consumer_that_stops_polling_for_a_second_loses_nothing(void **state)
{
    (void)state;
    struct plx_runtime *rt = begin("reactors=2 mesh_slots=64", 2000, false, true);
    RT_UNTIL(plx_load_acquire(&sides[0].done) && plx_load_acquire(&sides[1].done));
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(plx_load_relaxed(&sides[i].got), 2000);
        assert_int_equal(remote_frees(plx_reactor_pool(sides[i].reactor)), 2000);
    }
    rt_finish(rt);
}

static void stop_with_blocks_on_their_way_brings_all_home(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 8; round++) {
        struct plx_runtime *rt = begin("reactors=2 mesh_slots=64", 0, true, false);
        RT_UNTIL(plx_load_relaxed(&sides[0].got) > 100 && plx_load_relaxed(&sides[1].got) > 100);
        struct plx_diag diag = {0};
        if (plx_runtime_stop(rt, RT_PATIENCE_NS, &diag) != 0)
            fail_msg("%s", diag.text);
        /* The memory is there until destroy; the threads are gone. */
        for (unsigned i = 0; i < 2; i++) {
            const struct plx_pool *pool = &sides[i].reactor->pool;
            assert_int_equal(in_use(pool), 0);
            assert_int_equal(waiting(pool), 0);
            assert_null(plx__pool_check(pool));
            assert_int_equal(plx_load_relaxed(&sides[!i].got), sides[i].passed);
            assert_int_equal(remote_frees(pool), sides[i].passed);
        }
        plx_runtime_destroy(rt);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reactor_has_a_pool_of_its_arena_and_tells),
        cmocka_unit_test(arena_without_room_for_a_pool_is_refused),
        cmocka_unit_test(waiter_is_called_in_the_next_turn),
        cmocka_unit_test(block_released_on_a_peer_comes_home),
        cmocka_unit_test(blocks_behind_a_full_ring_wait_and_all_come_home),
        cmocka_unit_test(frees_to_a_home_that_has_ended_are_dropped),
        cmocka_unit_test(abandon_with_a_peer_that_does_not_read_says_so),
        cmocka_unit_test(blocks_passed_between_threads_all_come_home),
        cmocka_unit_test(consumer_that_stops_polling_for_a_second_loses_nothing),
        cmocka_unit_test(stop_with_blocks_on_their_way_brings_all_home),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
