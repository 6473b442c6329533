/* SPDX-License-Identifier: MIT */
/*
 * The last phases of a runtime's end, on a simulated weak memory: a reactor that posts, one that
 * takes, and the thread that stops them. No post and no block sent home may be missed, and no order
 * may be weaker.
 */
#include "test/model/weakmem_access.h"

#include "runtime/phase_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define EXECUTIONS_MAX    20000000
#define NON_RELAXED_SITES 4

enum { DRAINING, TEARDOWN };       /* phases */
enum { NOTHING, DRAINS, DRAINED }; /* reached */

static uint32_t phase;
static uint32_t sender_reached;
static uint32_t taker_reached;
static uint64_t post; /* by the sender, before it drains */
static uint64_t home; /* a block by the sender, before it has drained */
/* Whether an execution came so far, or the checks would hold for want of a case. */
static bool took;
static bool ended;

static void set_up(void *ctx)
{
    (void)ctx;
    phase = DRAINING;
    sender_reached = taker_reached = NOTHING;
    post = home = 0;
}

static void stop(void *ctx)
{
    (void)ctx;
    if (plx__phase_reached(&sender_reached) == DRAINED &&
        plx__phase_reached(&taker_reached) == DRAINED)
        plx__phase_set(&phase, TEARDOWN);
}

static void send(void *ctx)
{
    (void)ctx;
    wm_write(&post, 1);
    plx__phase_reach(&sender_reached, DRAINS);
    wm_write(&home, 1);
    plx__phase_reach(&sender_reached, DRAINED);
}

static void take(void *ctx)
{
    (void)ctx;
    if (plx__phase_reached(&sender_reached) < DRAINS)
        return;
    took = true;
    wm_check(wm_read(&post) == 1, "a post is missed");
    plx__phase_reach(&taker_reached, DRAINED);
    if (plx__phase_of(&phase) < TEARDOWN)
        return;
    ended = true;
    wm_check(wm_read(&home) == 1, "a block is missed");
}

static struct wm_result explore(int weakened_site)
{
    const struct wm_program program = {
        .set_up = set_up,
        .threads = {stop, send, take},
        .thread_count = 3,
        .weakened_site = weakened_site,
        .executions_max = EXECUTIONS_MAX,
    };
    struct wm_result result;
    wm_explore(&program, &result);
    return result;
}

static void phase_every_execution_misses_nothing(void **state)
{
    (void)state;
    took = ended = false;
    struct wm_result result = explore(0);
    print_message("%llu executions\n", (unsigned long long)result.executions);
    if (result.violated)
        print_error("violation: %s\n", result.violation);
    assert_true(result.complete);
    assert_int_equal(result.site_count, NON_RELAXED_SITES);
    assert_true(took);
    assert_true(ended);
}

static void phase_with_any_weaker_order_is_wrong(void **state)
{
    (void)state;
    struct wm_result intact = explore(0);
    for (int i = 0; i < intact.site_count; i++) {
        struct wm_result weak = explore(intact.sites[i]);
        print_message("phase_internal.h:%d relaxed: %s, execution %llu\n", intact.sites[i],
                      weak.violated ? weak.violation : "nothing found",
                      (unsigned long long)weak.executions);
        assert_true(weak.violated);
    }
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
        cmocka_unit_test(phase_every_execution_misses_nothing),
        cmocka_unit_test(phase_with_any_weaker_order_is_wrong),
    };
    if (wm_unusable() != NULL)
        return cmocka_run_group_tests(skipped, NULL, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
