/* SPDX-License-Identifier: MIT */
/* Blocks that are released to another pool than theirs, and how they come home. */
#include "test/alloc/pool_fixture.h"

#define HOMES  4
#define BLOCKS 200
#define HERE   0u

static const struct plx_pool_quota quota = {{BLOCKS, 0, 2}};

/* Pools, and roads between them that a test closes. */
static struct fixture pools[HOMES];
static struct plx_pool *const here = &pools[HERE].pool;
static uint32_t room[HOMES]; /* how many more blocks the road to a pool takes */
static uint32_t tries[HOMES];

static int home_of(void *ctx, const void *block)
{
    (void)ctx;
    for (int i = 0; i < HOMES; i++) {
        if (plx_pool_has(&pools[i].pool, block))
            return i;
    }
    return -ENOENT;
}

static int send_home(void *ctx, uint32_t home, void *block)
{
    (void)ctx;
    tries[home]++;
    if (room[home] == 0)
        return -EAGAIN;
    room[home]--;
    plx_pool_release_home(&pools[home].pool, block);
    return 0;
}

static int make_pools(void)
{
    const struct plx_pool_opts opts = {.homes = HOMES};
    const struct plx_pool_remote remote = {home_of, send_home, NULL};
    for (int i = 0; i < HOMES; i++) {
        room[i] = 1000000;
        tries[i] = 0;
        if (make_pool(&pools[i], &quota, &opts) != 0)
            return -1;
        plx_pool_set_remote(&pools[i].pool, &remote);
    }
    return 0;
}

static int set_up(void **state)
{
    (void)state;
    return make_pools();
}

/* Every case ends with all blocks at home. */
static int tear_down(void **state)
{
    (void)state;
    int bad = 0;
    for (int i = 0; i < HOMES; i++) {
        bad |= plx__pool_check(&pools[i].pool) != NULL;
        bad |= plx_pool_fini(&pools[i].pool) != 0;
        plx_arena_fini(&pools[i].arena);
    }
    return bad;
}

static struct plx_pool_stats stats_here(void)
{
    struct plx_pool_stats stats;
    plx_pool_read_stats(here, &stats);
    return stats;
}

static void release_of_anothers_block_sends_it_home(void **state)
{
    (void)state;
    void *small = plx_pool_acquire(&pools[1].pool, 4096);
    void *large = plx_pool_acquire(&pools[2].pool, 16 * KIB);
    plx_pool_release(here, small);
    assert_int_equal(plx_pool_try_release(here, large), 0);
    assert_int_equal(class_stats(&pools[1].pool, 0).in_use, 0);
    assert_int_equal(class_stats(&pools[1].pool, 0).remote_frees, 1);
    assert_int_equal(class_stats(&pools[2].pool, 2).remote_frees, 1);
    assert_int_equal(stats_here().frees_away, 2);
    assert_int_equal(stats_here().away_deferred, 0);
    assert_int_equal(stats_here().away_waiting, 0);
    assert_int_equal(plx_pool_flush(here), 0);
}

static void release_home_serves_a_waiter(void **state)
{
    (void)state;
    struct plx_pool *home = &pools[1].pool;
    struct plx_pool_waiter waiter = {0};
    void *blocks[2];
    for (int i = 0; i < 2; i++)
        blocks[i] = plx_pool_acquire(home, 16 * KIB);
    assert_int_equal(plx_pool_waiter_arm(home, &waiter, 16 * KIB, NULL, NULL), 0);
    plx_pool_release(here, blocks[0]);
    assert_int_equal(class_stats(home, 2).remote_frees, 1);
    assert_null(plx_pool_acquire(home, 16 * KIB));
    assert_true(plx_pool_waiter_disarm(home, &waiter));
    plx_pool_release(here, blocks[1]);
}

static void release_while_the_road_is_full_loses_nothing(void **state)
{
    (void)state;
    static void *blocks[BLOCKS];
    for (int i = 0; i < BLOCKS; i++) {
        blocks[i] = plx_pool_acquire(&pools[1].pool, 1);
        assert_non_null(blocks[i]);
        memset(blocks[i], 0xff, PLX_PAGE);
    }
    assert_null(plx_pool_acquire(&pools[1].pool, 1));
    room[1] = 3;
    for (int i = 0; i < BLOCKS; i++)
        plx_pool_release(here, blocks[i]);
    assert_int_equal(stats_here().frees_away, BLOCKS);
    assert_int_equal(stats_here().away_deferred, BLOCKS - 3);
    assert_int_equal(stats_here().away_waiting, BLOCKS - 3);
    assert_int_equal(tries[1], 4); /* those that come after one that waits queue behind it */

    /* The consumer sleeps for long: each turn costs one look, nothing else. */
    for (int turn = 0; turn < 100000; turn++)
        assert_int_equal(plx_pool_flush(here), 0);
    assert_int_equal(tries[1], 4 + 100000);
    assert_int_equal(class_stats(&pools[1].pool, 0).in_use, BLOCKS - 3);
    assert_sound(here);

    room[1] = 1;
    assert_int_equal(plx_pool_flush(here), 1);
    assert_ptr_equal(plx_pool_acquire(&pools[1].pool, 1), blocks[3]); /* the longest waiting */
    room[1] = 1000000;
    assert_int_equal(plx_pool_flush(here), PLX_POOL_TURN_MAX);
    assert_int_equal(plx_pool_flush(here), PLX_POOL_TURN_MAX);
    plx_pool_release(here, blocks[3]); /* behind those that wait */
    assert_int_equal(stats_here().away_waiting, BLOCKS - 4 - 2 * PLX_POOL_TURN_MAX + 1);
    while (plx_pool_flush(here) > 0)
        continue;
    assert_int_equal(stats_here().away_waiting, 0);
    assert_int_equal(class_stats(&pools[1].pool, 0).in_use, 0);
    assert_int_equal(class_stats(&pools[1].pool, 0).remote_frees, BLOCKS + 1);
}

static void flush_one_closed_road_does_not_hold_up_the_others(void **state)
{
    (void)state;
    void *blocks[HOMES];
    for (int i = 1; i < HOMES; i++) {
        room[i] = 0;
        blocks[i] = plx_pool_acquire(&pools[i].pool, 1);
        plx_pool_release(here, blocks[i]);
    }
    assert_int_equal(stats_here().away_waiting, HOMES - 1);
    assert_int_equal(plx_pool_flush(here), 0);
    room[2] = room[3] = 1;
    assert_int_equal(plx_pool_flush(here), 2);
    assert_int_equal(class_stats(&pools[1].pool, 0).in_use, 1);
    assert_int_equal(class_stats(&pools[2].pool, 0).in_use, 0);
    assert_int_equal(class_stats(&pools[3].pool, 0).in_use, 0);
    room[1] = 1;
    assert_int_equal(plx_pool_flush(here), 1);
}

static void flush_serves_every_home_in_its_turn(void **state)
{
    (void)state;
    room[1] = room[2] = 0;
    for (int i = 0; i < BLOCKS; i++) {
        plx_pool_release(here, plx_pool_acquire(&pools[1].pool, 1));
        plx_pool_release(here, plx_pool_acquire(&pools[2].pool, 1));
    }
    room[1] = room[2] = 1000000;
    assert_int_equal(plx_pool_flush(here), PLX_POOL_TURN_MAX);
    assert_int_equal(plx_pool_flush(here), PLX_POOL_TURN_MAX);
    assert_int_equal(class_stats(&pools[1].pool, 0).in_use, BLOCKS - PLX_POOL_TURN_MAX);
    assert_int_equal(class_stats(&pools[2].pool, 0).in_use, BLOCKS - PLX_POOL_TURN_MAX);
    while (plx_pool_flush(here) > 0)
        continue;
    assert_int_equal(stats_here().away_waiting, 0);
}

static void release_again_while_it_waits_is_refused(void **state)
{
    (void)state;
    void *blocks[3];
    room[1] = 0;
    for (int i = 0; i < 3; i++) {
        blocks[i] = plx_pool_acquire(&pools[1].pool, 1);
        assert_int_equal(plx_pool_try_release(here, blocks[i]), 0);
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(plx_pool_try_release(here, blocks[i]), -EALREADY);
    assert_int_equal(plx_pool_flush(here), 0);
    assert_int_equal(plx_pool_try_release(here, blocks[0]), -EALREADY);
    assert_int_equal(stats_here().frees_away, 3);
    assert_int_equal(stats_here().away_waiting, 3);
    assert_sound(here);
    room[1] = 3;
    assert_int_equal(plx_pool_flush(here), 3);
}

static void release_of_bytes_that_look_like_a_waiting_block_is_taken(void **state)
{
    (void)state;
    unsigned char bytes[16];
    const unsigned char nothing[8] = {0};
    unsigned char *block = plx_pool_acquire(&pools[1].pool, 1);
    void *another = plx_pool_acquire(&pools[1].pool, 1);
    room[1] = 0;
    plx_pool_release(here, block);
    memcpy(bytes, block, sizeof(bytes));
    room[1] = 1;
    assert_int_equal(plx_pool_flush(here), 1);
    assert_ptr_equal(plx_pool_acquire(&pools[1].pool, 1), block);
    assert_memory_equal(block + 8, nothing, 8); /* it doesn't look so of itself */
    memcpy(block, bytes, sizeof(bytes));
    plx_pool_release(here, another);
    assert_int_equal(plx_pool_try_release(here, block), 0);
    room[1] = 2;
    assert_int_equal(plx_pool_flush(here), 2);
}

static void release_of_what_no_pool_has_is_refused(void **state)
{
    (void)state;
    unsigned char *block = plx_pool_acquire(&pools[1].pool, 1);
    assert_int_equal(plx_pool_try_release(here, pools), -EINVAL);
    assert_int_equal(plx_pool_try_release(here, NULL), -EINVAL);
    assert_int_equal(plx_pool_try_release(here, block + 64), -EINVAL);
    unsigned char *outside = pools[1].pool.base + pools[1].pool.pages * PLX_PAGE;
    assert_int_equal(plx_pool_try_release(here, outside), -EINVAL);
    plx_pool_set_remote(here, NULL);
    assert_int_equal(plx_pool_try_release(here, block), -EINVAL);
    assert_int_equal(stats_here().frees_away, 0);
    assert_int_equal(tries[1], 0);
    plx_pool_release(&pools[1].pool, block);
}

static void release_twice_away(void)
{
    if (make_pools() != 0)
        return;
    void *block = plx_pool_acquire(&pools[1].pool, 1);
    plx_pool_release(here, block);
    plx_pool_release(here, block);
}

static void release_twice_while_it_waits(void)
{
    if (make_pools() != 0)
        return;
    void *block = plx_pool_acquire(&pools[1].pool, 1);
    room[1] = 0;
    plx_pool_release(here, block);
    plx_pool_release(here, block);
}

static void release_home_of_anothers_block(void)
{
    if (make_pools() == 0)
        plx_pool_release_home(here, plx_pool_acquire(&pools[1].pool, 1));
}

static void set_remote_while_blocks_wait(void)
{
    if (make_pools() != 0)
        return;
    room[1] = 0;
    plx_pool_release(here, plx_pool_acquire(&pools[1].pool, 1));
    plx_pool_set_remote(here, NULL);
}

static int home_out_of_range(void *ctx, const void *block)
{
    (void)ctx;
    (void)block;
    return HOMES;
}

static void remote_names_a_home_out_of_range(void)
{
    const struct plx_pool_remote remote = {home_out_of_range, send_home, NULL};
    if (make_pools() != 0)
        return;
    plx_pool_set_remote(here, &remote);
    plx_pool_release(here, plx_pool_acquire(&pools[1].pool, 1));
}

static void programmers_errors_abort(void **state)
{
    (void)state;
    assert_aborts(release_twice_away, "of 4096 bytes is released, not in use");
    assert_aborts(release_twice_while_it_waits, "on its way home already");
    assert_aborts(release_home_of_anothers_block, "no block of any pool");
    assert_aborts(set_remote_while_blocks_wait, "away_waiting");
    assert_aborts(remote_names_a_home_out_of_range, "pool->homes");
}

static void fini_counts_blocks_that_wait_to_go_home(void **state)
{
    (void)state;
    void *block = plx_pool_acquire(&pools[1].pool, 1);
    room[1] = 0;
    plx_pool_release(here, block);
    assert_int_equal(plx_pool_fini(here), 1);
    plx_pool_release(&pools[1].pool, block);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(release_of_anothers_block_sends_it_home),
        CASE(release_home_serves_a_waiter),
        CASE(release_while_the_road_is_full_loses_nothing),
        CASE(flush_one_closed_road_does_not_hold_up_the_others),
        CASE(flush_serves_every_home_in_its_turn),
        CASE(release_again_while_it_waits_is_refused),
        CASE(release_of_bytes_that_look_like_a_waiting_block_is_taken),
        CASE(release_of_what_no_pool_has_is_refused),
        cmocka_unit_test(programmers_errors_abort),
        CASE(fini_counts_blocks_that_wait_to_go_home),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
