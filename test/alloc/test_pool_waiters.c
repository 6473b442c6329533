/* SPDX-License-Identifier: MIT */
/* The pool's waiters: who gets a block, when the callback is made, and how a wait ends. */
#include "test/alloc/pool_fixture.h"

#define WAITERS 5

static const struct plx_pool_quota quota = {{2, 0, 1}};

static struct fixture fixture;
static struct plx_pool *const pool = &fixture.pool;
static void *held[2]; /* all blocks of 4K */

/* A waiter, and what its callbacks were given. */
static struct seen {
    struct plx_pool_waiter waiter;
    uint32_t calls;
    uint32_t order; /* of its last call among all */
    void *block;
    void (*also)(struct seen *); /* more to do in the callback */
} seen[WAITERS];
static uint32_t calls;

static void on_block(struct plx_pool_waiter *waiter, void *block, void *ctx)
{
    struct seen *s = ctx;
    assert_ptr_equal(waiter, &s->waiter);
    assert_false(plx_pool_waiter_is_armed(waiter));
    s->calls++;
    s->order = ++calls;
    s->block = block;
    if (s->also != NULL)
        s->also(s);
}

static int arm(int i, size_t bytes)
{
    return plx_pool_waiter_arm(pool, &seen[i].waiter, bytes, on_block, &seen[i]);
}

static int set_up(void **state)
{
    (void)state;
    memset(seen, 0, sizeof(seen));
    calls = 0;
    if (make_pool(&fixture, &quota, NULL) != 0)
        return -1;
    for (int i = 0; i < 2; i++)
        held[i] = plx_pool_acquire(pool, 4096);
    return 0;
}

/* Every case ends with all blocks back. */
static int tear_down(void **state)
{
    (void)state;
    const char *wrong = plx__pool_check(pool);
    uint64_t out = plx_pool_fini(pool);
    plx_arena_fini(&fixture.arena);
    if (wrong != NULL || out != 0)
        print_message("%s, %llu blocks out\n", wrong, (unsigned long long)out);
    return wrong != NULL || out != 0;
}

static void release_held(void)
{
    plx_pool_release(pool, held[0]);
    plx_pool_release(pool, held[1]);
}

static void waiter_gets_the_next_block_at_the_next_serve(void **state)
{
    (void)state;
    assert_int_equal(arm(0, 100), 0);
    assert_true(plx_pool_waiter_is_armed(&seen[0].waiter));
    assert_int_equal(plx_pool_serve(pool), 0);
    plx_pool_release(pool, held[0]);
    assert_int_equal(seen[0].calls, 0);
    assert_sound(pool);
    assert_int_equal(plx_pool_serve(pool), 1);
    assert_int_equal(seen[0].calls, 1);
    assert_ptr_equal(seen[0].block, held[0]);
    assert_int_equal(plx_pool_serve(pool), 0);
    assert_false(plx_pool_waiter_disarm(pool, &seen[0].waiter));
    release_held();
    assert_int_equal(class_stats(pool, 0).acquires, 3);
}

static void kept_block_is_nobody_elses(void **state)
{
    (void)state;
    assert_int_equal(arm(0, 4096), 0);
    plx_pool_release(pool, held[0]);
    assert_null(plx_pool_acquire(pool, 4096));
    assert_int_equal(plx_pool_try_release(pool, held[0]), -EALREADY);
    assert_int_equal(class_stats(pool, 0).in_use, 2);
    assert_int_equal(plx_pool_serve(pool), 1);
    release_held();
}

static void waiters_are_served_in_the_order_they_came(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++)
        assert_int_equal(arm(i, 4096), 0);
    release_held();
    assert_int_equal(plx_pool_serve(pool), 2);
    assert_true(seen[0].order == 1 && seen[1].order == 2 && seen[2].order == 0);
    assert_ptr_equal(seen[0].block, held[0]);
    assert_ptr_equal(seen[1].block, held[1]);
    plx_pool_release(pool, held[1]);
    assert_int_equal(plx_pool_serve(pool), 1);
    assert_ptr_equal(seen[2].block, held[1]);
    release_held();
}

static void waiter_of_a_class_not_dry_is_kept_a_block_at_once(void **state)
{
    (void)state;
    assert_int_equal(arm(0, 5000), 0); /* 16K, as there is no 8K */
    assert_null(plx_pool_acquire(pool, 16 * KIB));
    assert_int_equal(class_stats(pool, 2).peak, 1);
    assert_int_equal(plx_pool_serve(pool), 1);
    size_t bytes;
    assert_ptr_equal(plx_pool_block_of(pool, seen[0].block, &bytes), seen[0].block);
    assert_int_equal(bytes, 16 * KIB);
    plx_pool_release(pool, seen[0].block);
    release_held();
}

static void waiters_of_classes_do_not_stand_in_each_others_way(void **state)
{
    (void)state;
    void *large = plx_pool_acquire(pool, 16 * KIB);
    assert_int_equal(arm(0, 4096), 0);
    assert_int_equal(arm(1, 16 * KIB), 0);
    plx_pool_release(pool, large);
    assert_int_equal(plx_pool_serve(pool), 1);
    assert_ptr_equal(seen[1].block, large);
    assert_int_equal(seen[0].calls, 0);
    assert_true(plx_pool_waiter_disarm(pool, &seen[0].waiter));
    plx_pool_release(pool, large);
    release_held();
}

static void arm_more_than_any_block_has_is_refused(void **state)
{
    (void)state;
    assert_int_equal(arm(0, 16 * KIB + 1), -EINVAL);
    assert_int_equal(arm(0, SIZE_MAX), -EINVAL);
    assert_false(plx_pool_waiter_is_armed(&seen[0].waiter));
    release_held();
}

static void arm_twice(void)
{
    if (make_pool(&fixture, &quota, NULL) != 0)
        return;
    (void)!arm(0, 4096);
    (void)!arm(0, 4096);
}

static void arm_an_armed_waiter_aborts(void **state)
{
    (void)state;
    assert_aborts(arm_twice, "waiter->state");
    release_held();
}

static void disarm_in_line_lets_the_others_move_up(void **state)
{
    (void)state;
    for (int gone = 0; gone < 3; gone++) {
        memset(seen, 0, sizeof(seen));
        for (int i = 0; i < 3; i++)
            assert_int_equal(arm(i, 4096), 0);
        assert_true(plx_pool_waiter_disarm(pool, &seen[gone].waiter));
        assert_false(plx_pool_waiter_is_armed(&seen[gone].waiter));
        assert_false(plx_pool_waiter_disarm(pool, &seen[gone].waiter));
        assert_sound(pool);
        release_held();
        assert_int_equal(plx_pool_serve(pool), 2);
        for (int i = 0; i < 3; i++)
            assert_int_equal(seen[i].calls, i != gone);
    }
    release_held();
}

static void disarm_with_a_block_kept_passes_it_on(void **state)
{
    (void)state;
    assert_int_equal(arm(0, 4096), 0);
    assert_int_equal(arm(1, 4096), 0);
    plx_pool_release(pool, held[0]);
    assert_true(plx_pool_waiter_disarm(pool, &seen[0].waiter));
    assert_sound(pool);
    assert_int_equal(plx_pool_serve(pool), 1);
    assert_int_equal(seen[0].calls, 0);
    assert_ptr_equal(seen[1].block, held[0]);
    release_held();
}

static void disarm_with_a_block_kept_and_none_in_line_frees_it(void **state)
{
    (void)state;
    assert_int_equal(arm(0, 4096), 0);
    plx_pool_release(pool, held[0]);
    assert_true(plx_pool_waiter_disarm(pool, &seen[0].waiter));
    assert_int_equal(plx_pool_serve(pool), 0);
    assert_int_equal(class_stats(pool, 0).in_use, 1);
    assert_ptr_equal(plx_pool_acquire(pool, 4096), held[0]);
    release_held();
}

/* --- in a callback ---------------------------------------------------------------------------- */

static void give_back_and_come_again(struct seen *s)
{
    plx_pool_release(pool, s->block);
    assert_int_equal(arm((int)(s - seen), 4096), 0);
}

static void callback_that_arms_again_is_called_next_turn(void **state)
{
    (void)state;
    seen[0].also = give_back_and_come_again;
    assert_int_equal(arm(0, 4096), 0);
    plx_pool_release(pool, held[0]);
    for (uint32_t turn = 1; turn <= 3; turn++) {
        assert_int_equal(plx_pool_serve(pool), 1);
        assert_int_equal(seen[0].calls, turn);
    }
    assert_true(plx_pool_waiter_disarm(pool, &seen[0].waiter));
    plx_pool_release(pool, held[1]);
}

static void give_back(struct seen *s)
{
    plx_pool_release(pool, s->block);
}

static void callback_that_releases_serves_the_next_one_next_turn(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        seen[i].also = give_back;
        assert_int_equal(arm(i, 4096), 0);
    }
    plx_pool_release(pool, held[0]);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(plx_pool_serve(pool), 1);
        assert_int_equal(seen[i].order, i + 1);
    }
    assert_int_equal(plx_pool_serve(pool), 0);
    plx_pool_release(pool, held[1]);
}

static void serve_again(struct seen *s)
{
    (void)s;
    assert_int_equal(plx_pool_serve(pool), 0);
}

static void serve_in_a_callback_does_nothing(void **state)
{
    (void)state;
    seen[0].also = serve_again;
    assert_int_equal(arm(0, 4096), 0);
    assert_int_equal(arm(1, 4096), 0);
    release_held();
    assert_int_equal(plx_pool_serve(pool), 2);
    assert_true(seen[0].order == 1 && seen[1].order == 2);
    release_held();
}

static void disarm_next(struct seen *s)
{
    assert_true(plx_pool_waiter_disarm(pool, &(s + 1)->waiter));
}

static void callback_that_disarms_a_ready_one_prevents_its_call(void **state)
{
    (void)state;
    seen[0].also = disarm_next;
    assert_int_equal(arm(0, 4096), 0);
    assert_int_equal(arm(1, 4096), 0);
    release_held();
    assert_int_equal(plx_pool_serve(pool), 1);
    assert_int_equal(seen[1].calls, 0);
    plx_pool_release(pool, held[0]);
}

static void serve_is_bounded_in_one_turn(void **state)
{
    (void)state;
    const struct plx_pool_quota many = {{PLX_POOL_TURN_MAX + 1}};
    static struct seen crowd[PLX_POOL_TURN_MAX + 1];
    struct fixture f;
    assert_int_equal(make_pool(&f, &many, NULL), 0);
    for (uint32_t i = 0; i <= PLX_POOL_TURN_MAX; i++)
        assert_int_equal(plx_pool_waiter_arm(&f.pool, &crowd[i].waiter, 1, on_block, &crowd[i]), 0);
    assert_int_equal(plx_pool_serve(&f.pool), PLX_POOL_TURN_MAX);
    assert_int_equal(plx_pool_serve(&f.pool), 1);
    for (uint32_t i = 0; i <= PLX_POOL_TURN_MAX; i++) {
        assert_int_equal(crowd[i].order, i + 1);
        plx_pool_release(&f.pool, crowd[i].block);
    }
    end_pool(&f);
    release_held();
}

static void fini_forgets_waiters_and_counts_what_was_kept(void **state)
{
    (void)state;
    struct fixture f;
    void *block[2];
    assert_int_equal(make_pool(&f, &quota, NULL), 0);
    for (int i = 0; i < 2; i++)
        block[i] = plx_pool_acquire(&f.pool, 1);
    for (int i = 0; i < 2; i++)
        assert_int_equal(plx_pool_waiter_arm(&f.pool, &seen[i].waiter, 1, on_block, &seen[i]), 0);
    plx_pool_release(&f.pool, block[0]);
    assert_int_equal(plx_pool_fini(&f.pool), 2); /* one held, one kept */
    assert_int_equal(plx_pool_serve(&f.pool), 0);
    assert_int_equal(calls, 0);
    plx_arena_fini(&f.arena);
    release_held();
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(waiter_gets_the_next_block_at_the_next_serve),
        CASE(kept_block_is_nobody_elses),
        CASE(waiters_are_served_in_the_order_they_came),
        CASE(waiter_of_a_class_not_dry_is_kept_a_block_at_once),
        CASE(waiters_of_classes_do_not_stand_in_each_others_way),
        CASE(arm_more_than_any_block_has_is_refused),
        CASE(arm_an_armed_waiter_aborts),
        CASE(disarm_in_line_lets_the_others_move_up),
        CASE(disarm_with_a_block_kept_passes_it_on),
        CASE(disarm_with_a_block_kept_and_none_in_line_frees_it),
        CASE(callback_that_arms_again_is_called_next_turn),
        CASE(callback_that_releases_serves_the_next_one_next_turn),
        CASE(serve_in_a_callback_does_nothing),
        CASE(callback_that_disarms_a_ready_one_prevents_its_call),
        CASE(serve_is_bounded_in_one_turn),
        CASE(fini_forgets_waiters_and_counts_what_was_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
