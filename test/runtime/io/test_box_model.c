/* SPDX-License-Identifier: MIT */
/*
 * The box as it is, on a simulated weak memory: all that a giver and a taker may do with it, jobs
 * taken back among them; that no order in it may be weaker; and that a taker which went to sleep by
 * a look and a store, rather than by a compare-exchange, would be found out.
 */
#include "test/model/weakmem_access.h"

#include "runtime/io/box_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define EXECUTIONS_MAX     20000000
#define NON_RELAXED_SITES  4
#define ARRAY_COUNT(array) (sizeof(array) / sizeof(*(array)))

struct scenario {
    const char *name;
    int posts;
    int looks; /* of the taker, and of the giver at each job */
    bool takes_back;
    bool careless; /* the taker dozes by a look and a store */
    /* of the execution */
    struct plx__box box;
    uint64_t job;
    uint64_t result;
    uint64_t expected; /* the result of the last post that was not taken back */
    bool pending;      /* it has not been seen to be finished */
    bool asleep;
    bool woken;
};

static void set_up(void *ctx)
{
    struct scenario *s = ctx;
    s->box.ask = PLX__BOX_FREE;
    s->box.given = 0;
    s->box.done = 0;
    s->pending = false;
    s->asleep = false;
    s->woken = false;
}

static bool see_finished(struct scenario *s)
{
    if (!plx__box_finished(&s->box))
        return false;
    wm_check(wm_read(&s->result) == s->expected, "the result is another job's");
    s->pending = false;
    return true;
}

static void give(void *ctx)
{
    struct scenario *s = ctx;
    for (int i = 0; i < s->posts; i++) {
        wm_write(&s->job, 10 + (uint64_t)i);
        s->expected = 1010 + (uint64_t)i;
        s->pending = true;
        if (plx__box_post(&s->box))
            s->woken = true;
        if (s->takes_back && plx__box_take_back(&s->box)) {
            s->pending = false;
            continue;
        }
        for (int look = 0; look < s->looks && s->pending; look++)
            (void)see_finished(s);
        if (s->pending)
            return;
    }
}

static bool work(struct scenario *s)
{
    if (!plx__box_take(&s->box))
        return false;
    wm_write(&s->result, 1000 + wm_read(&s->job));
    plx__box_finish(&s->box);
    return true;
}

static bool doze_carelessly(struct plx__box *box)
{
    if (plx_load_relaxed(&box->ask) != PLX__BOX_FREE)
        return false;
    plx_store_relaxed(&box->ask, PLX__BOX_ASLEEP);
    return true;
}

/* The kernel's look at the word, under its lock, finds the newest value. */
static bool sleeps(struct scenario *s)
{
    bool dozes = s->careless ? doze_carelessly(&s->box) : plx__box_doze(&s->box);
    return dozes && wm_fetch_add(&s->box.ask, sizeof(s->box.ask), 0, WM_RELAXED, __LINE__) ==
                        PLX__BOX_ASLEEP;
}

static void take(void *ctx)
{
    struct scenario *s = ctx;
    for (int i = 0; i < s->looks && !s->asleep; i++) {
        if (!work(s) && sleeps(s))
            s->asleep = true;
    }
}

/* A taker that sleeps is back if it was woken, which comes after it fell asleep. */
static void finish(void *ctx)
{
    struct scenario *s = ctx;
    if (s->asleep && !s->woken) {
        wm_check(!s->pending || see_finished(s), "a taker sleeps beside a job");
        return;
    }
    if (s->pending && !plx__box_finished(&s->box))
        wm_check(work(s), "a job is lost");
    wm_check(!s->pending || see_finished(s), "a job is never finished");
    wm_check(!work(s), "a job is there that nobody posted");
}

static struct scenario scenarios[] = {
    {.name = "one job", .posts = 1, .looks = 3},
    {.name = "two jobs", .posts = 2, .looks = 3},
    {.name = "two jobs, taken back where they can", .posts = 2, .looks = 2, .takes_back = true},
    {.name = "three jobs, taken back where they can", .posts = 3, .looks = 2, .takes_back = true},
};

static struct wm_result explore(struct scenario *scenario, int weakened_site)
{
    const struct wm_program program = {
        .set_up = set_up,
        .threads = {give, take},
        .thread_count = 2,
        .finish = finish,
        .ctx = scenario,
        .weakened_site = weakened_site,
        .executions_max = EXECUTIONS_MAX,
    };
    struct wm_result result;
    wm_explore(&program, &result);
    return result;
}

static void box_every_execution_is_right(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(scenarios); i++) {
        struct wm_result result = explore(&scenarios[i], 0);
        print_message("%s: %llu executions\n", scenarios[i].name,
                      (unsigned long long)result.executions);
        if (result.violated)
            print_error("violation: %s\n", result.violation);
        assert_true(result.complete);
        assert_int_equal(result.site_count, NON_RELAXED_SITES);
    }
}

static void box_any_weaker_order_is_wrong(void **state)
{
    (void)state;
    for (size_t s = 0; s < 2; s++) {
        struct wm_result intact = explore(&scenarios[s], 0);
        for (int i = 0; i < intact.site_count; i++) {
            struct wm_result weak = explore(&scenarios[s], intact.sites[i]);
            print_message("box_internal.h:%d relaxed, %s: %s, execution %llu\n", intact.sites[i],
                          scenarios[s].name, weak.violated ? weak.violation : "nothing found",
                          (unsigned long long)weak.executions);
            assert_true(weak.violated);
        }
    }
}

static void box_with_a_careless_taker_loses_a_wake_up(void **state)
{
    (void)state;
    struct scenario careless = {.name = "careless", .posts = 1, .looks = 2, .careless = true};
    struct wm_result result = explore(&careless, 0);
    print_message("%s\n", result.violated ? result.violation : "nothing found");
    assert_true(result.violated);
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
        cmocka_unit_test(box_every_execution_is_right),
        cmocka_unit_test(box_any_weaker_order_is_wrong),
        cmocka_unit_test(box_with_a_careless_taker_loses_a_wake_up),
    };
    if (wm_unusable() != NULL)
        return cmocka_run_group_tests(skipped, NULL, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
