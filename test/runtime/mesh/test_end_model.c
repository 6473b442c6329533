/* SPDX-License-Identifier: MIT */
/*
 * The life of a reactor as its peers notice it, on a simulated weak memory: who finds one running
 * must find it whole; and a peer that has answered ends, another ends at the same time, and the
 * looker must neither miss the end nor an answer.
 */
#include "test/model/weakmem_access.h"

#include "runtime/mesh/end_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define EXECUTIONS_MAX    20000000
#define NON_RELAXED_SITES 4
#define SITES_OF_BEGIN    2

enum { OPENING, RUNNING, ENDED };

static uint32_t life;  /* of the peer that answers */
static uint32_t other; /* of another one */
static uint32_t count;
static uint64_t answer; /* written before the end, in a ring of the looker's */
static uint32_t known;
static bool noticed;
static uint64_t rings; /* made before it runs */
static bool found;     /* whether an execution came so far */

static void set_up(void *ctx)
{
    (void)ctx;
    life = other = RUNNING;
    count = known = 0;
    answer = 0;
    noticed = false;
}

static void end_peer(void *ctx)
{
    (void)ctx;
    wm_write(&answer, 1);
    plx__end_tell(&life, ENDED, &count);
}

static void end_other(void *ctx)
{
    (void)ctx;
    plx__end_tell(&other, ENDED, &count);
}

static void look(void)
{
    if (noticed || !plx__end_is_news(&count, known))
        return;
    known = plx__end_learn(&count);
    /* As plx__runtime_find does. */
    if (plx__life_of(&life) != ENDED)
        return;
    noticed = true;
    wm_check(wm_read(&answer) == 1, "an answer is lost");
}

static void look_twice(void *ctx)
{
    (void)ctx;
    look();
    look();
}

static void finish(void *ctx)
{
    (void)ctx;
    look();
    wm_check(noticed, "an end is missed");
}

static void set_up_opening(void *ctx)
{
    (void)ctx;
    life = OPENING;
    rings = 0;
}

static void begin(void *ctx)
{
    (void)ctx;
    wm_write(&rings, 1);
    plx__life_begin(&life, RUNNING);
}

static void find(void *ctx)
{
    (void)ctx;
    if (plx__life_of(&life) != RUNNING)
        return;
    found = true;
    wm_check(wm_read(&rings) == 1, "a reactor is half made");
}

static struct wm_result explore_begin(int weakened_site)
{
    const struct wm_program program = {
        .set_up = set_up_opening,
        .threads = {begin, find, find},
        .thread_count = 3,
        .weakened_site = weakened_site,
        .executions_max = EXECUTIONS_MAX,
    };
    struct wm_result result;
    wm_explore(&program, &result);
    return result;
}

static struct wm_result explore(int weakened_site)
{
    const struct wm_program program = {
        .set_up = set_up,
        .threads = {end_peer, look_twice, end_other},
        .thread_count = 3,
        .finish = finish,
        .weakened_site = weakened_site,
        .executions_max = EXECUTIONS_MAX,
    };
    struct wm_result result;
    wm_explore(&program, &result);
    return result;
}

static void end_is_noticed_in_every_execution(void **state)
{
    (void)state;
    struct wm_result result = explore(0);
    print_message("%llu executions\n", (unsigned long long)result.executions);
    if (result.violated)
        print_error("violation: %s\n", result.violation);
    assert_true(result.complete);
    assert_int_equal(result.site_count, NON_RELAXED_SITES);
}

static void reactor_found_running_is_whole_in_every_execution(void **state)
{
    (void)state;
    found = false;
    struct wm_result result = explore_begin(0);
    print_message("%llu executions\n", (unsigned long long)result.executions);
    if (result.violated)
        print_error("violation: %s\n", result.violation);
    assert_true(result.complete);
    assert_int_equal(result.site_count, SITES_OF_BEGIN);
    assert_true(found);
}

static void begin_with_any_weaker_order_is_wrong(void **state)
{
    (void)state;
    struct wm_result intact = explore_begin(0);
    for (int i = 0; i < intact.site_count; i++) {
        struct wm_result weak = explore_begin(intact.sites[i]);
        print_message("line %d relaxed: %s\n", intact.sites[i],
                      weak.violated ? weak.violation : "nothing found");
        assert_true(weak.violated);
    }
}

static void end_with_any_weaker_order_is_wrong(void **state)
{
    (void)state;
    struct wm_result intact = explore(0);
    for (int i = 0; i < intact.site_count; i++) {
        struct wm_result weak = explore(intact.sites[i]);
        print_message("line %d relaxed: %s\n", intact.sites[i],
                      weak.violated ? weak.violation : "nothing found");
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
        cmocka_unit_test(reactor_found_running_is_whole_in_every_execution),
        cmocka_unit_test(begin_with_any_weaker_order_is_wrong),
        cmocka_unit_test(end_is_noticed_in_every_execution),
        cmocka_unit_test(end_with_any_weaker_order_is_wrong),
    };
    if (wm_unusable() != NULL)
        return cmocka_run_group_tests(skipped, NULL, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
