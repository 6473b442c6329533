/* SPDX-License-Identifier: MIT */
/* The simulated memory shows what a weak memory may do, and nothing that it may not. */
#include "test/model/weakmem_access.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

/* One litmus test's memory, and what its executions came to. */
static struct litmus {
    uint64_t x;
    uint64_t y;
    uint64_t data;
    uint64_t a;
    uint64_t b;
    bool seen[3][3]; /* [a][b], over all executions */
} litmus;

static enum wm_order store_order;
static enum wm_order load_order;

static void start(void *ctx)
{
    struct litmus *l = ctx;
    l->x = l->y = l->data = l->a = l->b = 0;
}

static void note(void *ctx)
{
    struct litmus *l = ctx;
    l->seen[l->a][l->b] = true;
}

static struct wm_result explore(void (*first)(void *), void (*second)(void *))
{
    struct wm_program program = {.set_up = start,
                                 .threads = {first, second},
                                 .thread_count = 2,
                                 .finish = note,
                                 .ctx = &litmus,
                                 .executions_max = 100000};
    struct wm_result result;
    memset(litmus.seen, 0, sizeof(litmus.seen));
    wm_explore(&program, &result);
    return result;
}

static void send_x_then_y(void *ctx)
{
    struct litmus *l = ctx;
    plx_store_relaxed(&l->x, 1);
    wm_store(&l->y, sizeof(l->y), 1, store_order, 1);
}

static void receive_y_then_x(void *ctx)
{
    struct litmus *l = ctx;
    l->a = wm_load(&l->y, sizeof(l->y), load_order, 2);
    l->b = plx_load_relaxed(&l->x);
}

static void message_passing_ordered_is_never_stale(void **state)
{
    (void)state;
    store_order = WM_RELEASE;
    load_order = WM_ACQUIRE;
    struct wm_result result = explore(send_x_then_y, receive_y_then_x);
    assert_true(result.complete);
    assert_int_equal(result.site_count, 2);
    assert_true(litmus.seen[0][0] && litmus.seen[0][1] && litmus.seen[1][1]);
    assert_false(litmus.seen[1][0]);
}

static void message_passing_half_ordered_may_be_stale(void **state)
{
    (void)state;
    for (int half = 0; half < 3; half++) {
        store_order = half == 1 ? WM_RELEASE : WM_RELAXED;
        load_order = half == 2 ? WM_ACQUIRE : WM_RELAXED;
        assert_true(explore(send_x_then_y, receive_y_then_x).complete);
        assert_true(litmus.seen[1][0] && litmus.seen[1][1]);
    }
}

static void store_x_load_y(void *ctx)
{
    struct litmus *l = ctx;
    plx_store_release(&l->x, 1);
    l->a = plx_load_acquire(&l->y);
}

static void store_y_load_x(void *ctx)
{
    struct litmus *l = ctx;
    plx_store_release(&l->y, 1);
    l->b = plx_load_acquire(&l->x);
}

static void store_buffering_both_may_miss(void **state)
{
    (void)state;
    assert_true(explore(store_x_load_y, store_y_load_x).complete);
    assert_true(litmus.seen[0][0] && litmus.seen[0][1] && litmus.seen[1][0] && litmus.seen[1][1]);
}

static void store_x_twice(void *ctx)
{
    struct litmus *l = ctx;
    plx_store_relaxed(&l->x, 1);
    plx_store_relaxed(&l->x, 2);
}

static void load_x_twice(void *ctx)
{
    struct litmus *l = ctx;
    l->a = plx_load_relaxed(&l->x);
    l->b = plx_load_relaxed(&l->x);
}

static void loads_of_one_place_never_go_back(void **state)
{
    (void)state;
    assert_true(explore(store_x_twice, load_x_twice).complete);
    for (int a = 0; a < 3; a++)
        for (int b = 0; b < 3; b++)
            assert_int_equal(litmus.seen[a][b], a <= b);
}

static void write_then_release(void *ctx)
{
    struct litmus *l = ctx;
    wm_write(&l->data, 1);
    wm_store(&l->y, sizeof(l->y), 1, store_order, 1);
}

static void acquire_then_read(void *ctx)
{
    struct litmus *l = ctx;
    l->a = wm_load(&l->y, sizeof(l->y), load_order, 2);
    if (l->a == 1)
        l->b = wm_read(&l->data);
}

static void acquire_then_write(void *ctx)
{
    struct litmus *l = ctx;
    if (wm_load(&l->y, sizeof(l->y), load_order, 2) == 1)
        wm_write(&l->data, 2);
}

static void read_then_release(void *ctx)
{
    struct litmus *l = ctx;
    wm_check(wm_read(&l->data) == 0, "a later write was read");
    wm_store(&l->y, sizeof(l->y), 1, store_order, 1);
}

static void plain_ordered_is_no_race(void **state)
{
    (void)state;
    store_order = WM_RELEASE;
    load_order = WM_ACQUIRE;
    assert_true(explore(write_then_release, acquire_then_read).complete);
    assert_true(litmus.seen[1][1] && !litmus.seen[1][0]);
    assert_true(explore(write_then_release, acquire_then_write).complete);
    assert_true(explore(read_then_release, acquire_then_write).complete);
}

static void plain_half_ordered_is_a_race(void **state)
{
    (void)state;
    for (int half = 0; half < 3; half++) {
        store_order = half == 1 ? WM_RELEASE : WM_RELAXED;
        load_order = half == 2 ? WM_ACQUIRE : WM_RELAXED;
        struct wm_result result = explore(write_then_release, acquire_then_read);
        assert_true(result.violated && !result.complete);
        assert_string_equal(result.violation, "a plain read races with a write");
        result = explore(write_then_release, acquire_then_write);
        assert_string_equal(result.violation, "a plain write races with a write");
        result = explore(read_then_release, acquire_then_write);
        assert_string_equal(result.violation, "a plain write races with a read");
    }
}

static void weakened_site_is_relaxed_and_others_are_not(void **state)
{
    (void)state;
    store_order = WM_RELEASE;
    load_order = WM_ACQUIRE;
    struct wm_program program = {.set_up = start,
                                 .threads = {write_then_release, acquire_then_read},
                                 .thread_count = 2,
                                 .ctx = &litmus,
                                 .executions_max = 100000};
    struct wm_result result;
    for (int site = 0; site < 4; site++) {
        program.weakened_site = site;
        wm_explore(&program, &result);
        assert_int_equal(result.violated, site == 1 || site == 2);
    }
}

static void start_private(void *ctx)
{
    start(ctx);
    wm_private(&litmus.x, sizeof(litmus.x));
}

static void private_place_of_two_threads_is_a_violation(void **state)
{
    (void)state;
    struct wm_program program = {.set_up = start_private,
                                 .threads = {store_x_twice, load_x_twice},
                                 .thread_count = 2,
                                 .ctx = &litmus,
                                 .executions_max = 100000};
    struct wm_result result;
    wm_explore(&program, &result);
    assert_true(result.violated);
    program.thread_count = 1;
    wm_explore(&program, &result);
    assert_true(result.complete);
    assert_int_equal(result.executions, 1);
}

static void executions_limit_leaves_result_incomplete(void **state)
{
    (void)state;
    struct wm_program program = {.set_up = start,
                                 .threads = {store_x_twice, load_x_twice},
                                 .thread_count = 2,
                                 .ctx = &litmus,
                                 .executions_max = 3};
    struct wm_result result;
    wm_explore(&program, &result);
    assert_int_equal(result.executions, 3);
    assert_false(result.complete || result.violated);
}

static void model_unusable_is_skipped(void **state)
{
    (void)state;
    print_message("%s\n", wm_unusable());
    skip();
}

int main(void)
{
    const struct CMUnitTest skipped[] = {cmocka_unit_test(model_unusable_is_skipped)};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(message_passing_ordered_is_never_stale),
        cmocka_unit_test(message_passing_half_ordered_may_be_stale),
        cmocka_unit_test(store_buffering_both_may_miss),
        cmocka_unit_test(loads_of_one_place_never_go_back),
        cmocka_unit_test(plain_ordered_is_no_race),
        cmocka_unit_test(plain_half_ordered_is_a_race),
        cmocka_unit_test(weakened_site_is_relaxed_and_others_are_not),
        cmocka_unit_test(private_place_of_two_threads_is_a_violation),
        cmocka_unit_test(executions_limit_leaves_result_incomplete),
    };
    if (wm_unusable() != NULL)
        return cmocka_run_group_tests(skipped, NULL, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
