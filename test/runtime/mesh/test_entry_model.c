/* SPDX-License-Identifier: MIT */
/*
 * A port's ring as the reactor finds it, on a simulated weak memory: what it takes from is
 * initialised, and no order may be weaker.
 */
#include "test/model/weakmem_access.h"

#include "runtime/mesh/entry_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define EXECUTIONS_MAX    20000000
#define NON_RELAXED_SITES 2
#define LOOKS             2

/* Of a ring, what its making writes. */
struct plx_cells {
    uint64_t made;
};

static struct plx_cells made_ring;
static struct plx_cells *entry;
static unsigned took; /* or the check would hold for want of a case */

static void set_up(void *ctx)
{
    (void)ctx;
    entry = NULL;
    made_ring.made = 0;
}

/* Twice: a later port at this place publishes the same ring. */
static void publish(void *ctx)
{
    (void)ctx;
    wm_write(&made_ring.made, 1);
    plx__entry_publish(&entry, &made_ring);
    plx__entry_publish(&entry, &made_ring);
}

static void take(void *ctx)
{
    (void)ctx;
    for (int look = 0; look < LOOKS; look++) {
        struct plx_cells *ring = plx__entry_ring(&entry);
        if (ring == NULL)
            continue;
        took++;
        wm_check(wm_read(&ring->made) == 1, "a ring is not whole");
    }
}

static struct wm_result explore(int weakened_site)
{
    const struct wm_program program = {
        .set_up = set_up,
        .threads = {publish, take},
        .thread_count = 2,
        .weakened_site = weakened_site,
        .executions_max = EXECUTIONS_MAX,
    };
    struct wm_result result;
    wm_explore(&program, &result);
    return result;
}

static void entry_every_execution_finds_a_whole_ring(void **state)
{
    (void)state;
    took = 0;
    struct wm_result result = explore(0);
    print_message("%llu executions\n", (unsigned long long)result.executions);
    if (result.violated)
        print_error("violation: %s\n", result.violation);
    assert_true(result.complete);
    assert_int_equal(result.site_count, NON_RELAXED_SITES);
    assert_true(took != 0);
}

static void entry_with_any_weaker_order_is_wrong(void **state)
{
    (void)state;
    struct wm_result intact = explore(0);
    for (int i = 0; i < intact.site_count; i++) {
        struct wm_result weak = explore(intact.sites[i]);
        print_message("entry_internal.h:%d relaxed: %s, execution %llu\n", intact.sites[i],
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
        cmocka_unit_test(entry_every_execution_finds_a_whole_ring),
        cmocka_unit_test(entry_with_any_weaker_order_is_wrong),
    };
    if (wm_unusable() != NULL)
        return cmocka_run_group_tests(skipped, NULL, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
