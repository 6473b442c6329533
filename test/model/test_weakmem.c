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

/* --- read-modify-writes ------------------------------------------------------------------------
 */

static void add_1_to_x(void *ctx)
{
    struct litmus *l = ctx;
    l->a = wm_fetch_add(&l->x, sizeof(l->x), 1, WM_RELAXED, 1);
}

static void add_1_to_x_too(void *ctx)
{
    struct litmus *l = ctx;
    l->b = wm_fetch_add(&l->x, sizeof(l->x), 1, WM_RELAXED, 2);
}

static void load_and_store_x(void *ctx)
{
    struct litmus *l = ctx;
    l->b = plx_load_relaxed(&l->x);
    plx_store_relaxed(&l->x, l->b + 1);
}

static void read_modify_writes_are_not_lost_and_stores_may_be(void **state)
{
    (void)state;
    assert_true(explore(add_1_to_x, add_1_to_x_too).complete);
    assert_true(litmus.seen[0][1] && litmus.seen[1][0]);
    assert_false(litmus.seen[0][0] || litmus.seen[1][1]);
    assert_true(explore(add_1_to_x, load_and_store_x).complete);
    assert_true(litmus.seen[0][0] && litmus.seen[0][1] && litmus.seen[1][0]);
}

static void exchange_x(void *ctx)
{
    struct litmus *l = ctx;
    l->a = plx_exchange_relaxed(&l->x, 1);
}

static void compare_exchange_x(void *ctx)
{
    struct litmus *l = ctx;
    uint64_t expected = 0;
    l->b = plx_cas_relaxed(&l->x, &expected, 2) ? 1 : 0;
    wm_check(expected == (l->b ? 0 : 1), "what was found is not returned");
}

static void exchanges_have_one_order(void **state)
{
    (void)state;
    assert_true(explore(exchange_x, compare_exchange_x).complete);
    assert_true(litmus.seen[2][1] && litmus.seen[0][0]);
    assert_false(litmus.seen[0][1] || litmus.seen[2][0]);
}

static uint8_t narrow;

static void modify_narrow(void *ctx)
{
    (void)ctx;
    wm_check(wm_fetch_add(&narrow, 1, 3, WM_RELAXED, 1) == 255, "the first value");
    wm_check(wm_compare_exchange(&narrow, 1, 0x102, 7, WM_RELAXED, 2) == 2, "255 + 3 in a byte");
    wm_check(wm_exchange(&narrow, 1, 0x1ff, WM_RELAXED, 3) == 7, "compared in a byte");
    wm_check(plx_load_relaxed(&narrow) == 255, "stored in a byte");
}

static void narrow_places_hold_what_fits(void **state)
{
    (void)state;
    narrow = 255;
    struct wm_program program = {.set_up = start,
                                 .threads = {modify_narrow},
                                 .thread_count = 1,
                                 .ctx = &litmus,
                                 .executions_max = 2};
    struct wm_result result;
    wm_explore(&program, &result);
    if (result.violated)
        print_error("%s\n", result.violation);
    assert_true(result.complete);
}

static enum wm_order second_order;

static void add_1_to_y(void *ctx)
{
    struct litmus *l = ctx;
    (void)wm_fetch_add(&l->y, sizeof(l->y), 1, WM_RELAXED, 3);
}

static void store_2_to_y(void *ctx)
{
    struct litmus *l = ctx;
    if (plx_load_relaxed(&l->y) == 1)
        plx_store_relaxed(&l->y, 2);
}

static void acquire_2_then_read(void *ctx)
{
    struct litmus *l = ctx;
    if (wm_load(&l->y, sizeof(l->y), load_order, 2) == 2)
        l->b = wm_read(&l->data);
}

static void release_sequence_goes_on_through_others_modifications_only(void **state)
{
    (void)state;
    store_order = WM_RELEASE;
    load_order = WM_ACQUIRE;
    struct wm_program program = {.set_up = start,
                                 .threads = {write_then_release, add_1_to_y, acquire_2_then_read},
                                 .thread_count = 3,
                                 .finish = note,
                                 .ctx = &litmus,
                                 .executions_max = 100000};
    struct wm_result result;
    memset(litmus.seen, 0, sizeof(litmus.seen));
    wm_explore(&program, &result);
    assert_true(result.complete && litmus.seen[0][1]);
    program.threads[1] = store_2_to_y;
    wm_explore(&program, &result);
    assert_string_equal(result.violation, "a plain read races with a write");
}

static void modify_y_after_write(void *ctx)
{
    struct litmus *l = ctx;
    wm_write(&l->data, 1);
    (void)wm_fetch_add(&l->y, sizeof(l->y), 1, store_order, 1);
}

static void modify_y_then_read(void *ctx)
{
    struct litmus *l = ctx;
    if (wm_compare_exchange(&l->y, sizeof(l->y), 1, 2, second_order, 2) == 1)
        wm_check(wm_read(&l->data) == 1, "the write is not seen");
}

static void modifications_order_by_either_part(void **state)
{
    (void)state;
    for (int half = 0; half < 4; half++) {
        store_order = half & 1 ? WM_ACQ_REL : WM_ACQUIRE;
        second_order = half & 2 ? WM_ACQ_REL : WM_RELEASE;
        struct wm_result result = explore(modify_y_after_write, modify_y_then_read);
        assert_int_equal(result.complete, half == 3);
        if (half != 3)
            assert_string_equal(result.violation, "a plain read races with a write");
    }
}

static void acq_rel_parts_are_weakened_one_by_one(void **state)
{
    (void)state;
    store_order = second_order = WM_ACQ_REL;
    struct wm_program program = {.set_up = start,
                                 .threads = {modify_y_after_write, modify_y_then_read},
                                 .thread_count = 2,
                                 .ctx = &litmus,
                                 .executions_max = 100000};
    struct wm_result result;
    wm_explore(&program, &result);
    assert_true(result.complete);
    assert_int_equal(result.site_count, 4);
    for (int site = -2; site <= 2; site++) {
        program.weakened_site = site;
        wm_explore(&program, &result);
        assert_int_equal(result.violated, site == -1 || site == 2);
    }
}

static void start_quiet(void *ctx)
{
    start(ctx);
    wm_quiet(&litmus.x, sizeof(litmus.x));
}

static void quiet_place_is_no_point_of_choice(void **state)
{
    (void)state;
    struct wm_program program = {.set_up = start_quiet,
                                 .threads = {store_x_twice, load_x_twice},
                                 .thread_count = 2,
                                 .finish = note,
                                 .ctx = &litmus,
                                 .executions_max = 100000};
    struct wm_result result;
    memset(litmus.seen, 0, sizeof(litmus.seen));
    wm_explore(&program, &result);
    assert_true(result.complete);
    assert_int_equal(result.executions, 2);
    assert_true(litmus.seen[0][0] && litmus.seen[2][2]);
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
        cmocka_unit_test(read_modify_writes_are_not_lost_and_stores_may_be),
        cmocka_unit_test(exchanges_have_one_order),
        cmocka_unit_test(narrow_places_hold_what_fits),
        cmocka_unit_test(release_sequence_goes_on_through_others_modifications_only),
        cmocka_unit_test(modifications_order_by_either_part),
        cmocka_unit_test(acq_rel_parts_are_weakened_one_by_one),
        cmocka_unit_test(quiet_place_is_no_point_of_choice),
        cmocka_unit_test(executions_limit_leaves_result_incomplete),
    };
    if (wm_unusable() != NULL)
        return cmocka_run_group_tests(skipped, NULL, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
