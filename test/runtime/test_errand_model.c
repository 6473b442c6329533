/* SPDX-License-Identifier: MIT */
/*
 * The errand as it is, on a simulated weak memory: a sender that may give up, runners that may come
 * late, and that no order in it may be weaker.
 */
#include "test/model/weakmem_access.h"

#include "runtime/errand_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define EXECUTIONS_MAX    20000000
#define NON_RELAXED_SITES 4
#define LOOKS             2

struct scenario {
    struct plx__errand errand;
    uint64_t paper;
    int answers;
};

/* Whether an execution came so far, or the checks would hold for want of a case. */
static bool went_on_after_a_loss;

static void set_up(void *ctx)
{
    struct scenario *s = ctx;
    s->errand.ticket = 0;
    s->errand.done = 0;
    s->answers = 0;
}

static void run_for(struct scenario *s, uint32_t ticket)
{
    if (!plx__errand_claim(&s->errand, ticket))
        return;
    wm_write(&s->paper, ticket);
    plx__errand_finish(&s->errand, ticket);
}

static void first_runner(void *ctx)
{
    run_for(ctx, 1);
}

static void second_runner(void *ctx)
{
    run_for(ctx, 2);
}

/* As the keeper does: looks a few times, then gives up, unless the runner has begun. */
static void send(void *ctx)
{
    struct scenario *s = ctx;
    for (uint32_t ticket = 1; ticket <= 2; ticket++) {
        bool finished = false;
        plx__errand_post(&s->errand, ticket);
        for (int look = 0; look < LOOKS && !finished; look++)
            finished = plx__errand_finished(&s->errand, ticket);
        if (!finished && plx__errand_claim(&s->errand, ticket))
            continue;
        for (int look = 0; look < LOOKS && !finished; look++)
            finished = plx__errand_finished(&s->errand, ticket);
        if (!finished)
            return;
        wm_check(wm_read(&s->paper) == ticket, "the paper is another errand's");
        s->answers++;
    }
}

/* The first errand is lost when its runner has begun: it is over before there is a second one. */
static void send_and_lose(void *ctx)
{
    struct scenario *s = ctx;
    plx__errand_post(&s->errand, 1);
    if (!plx__errand_claim(&s->errand, 1)) {
        bool finished = false;
        for (int look = 0; look < LOOKS && !finished; look++)
            finished = plx__errand_finished(&s->errand, 1);
        if (!finished)
            return;
        went_on_after_a_loss = true;
    }
    plx__errand_post(&s->errand, 2);
    if (plx__errand_finished(&s->errand, 2))
        wm_check(wm_read(&s->paper) == 2, "the paper is another errand's");
}

static struct wm_result explore(void (*sender)(void *ctx), int weakened_site)
{
    static struct scenario scenario;
    const struct wm_program program = {
        .set_up = set_up,
        .threads = {sender, first_runner, second_runner},
        .thread_count = 3,
        .ctx = &scenario,
        .weakened_site = weakened_site,
        .executions_max = EXECUTIONS_MAX,
    };
    struct wm_result result;
    wm_explore(&program, &result);
    return result;
}

static void need_model(void)
{
    const char *why = wm_unusable();
    if (why == NULL)
        return;
    print_message("skipped: %s\n", why);
    skip();
}

static void expect_right(void (*sender)(void *ctx))
{
    need_model();
    struct wm_result result = explore(sender, 0);
    print_message("%llu executions\n", (unsigned long long)result.executions);
    if (result.violated)
        print_error("violation: %s\n", result.violation);
    assert_true(result.complete);
    assert_int_equal(result.site_count, NON_RELAXED_SITES);
}

static void expect_wrong_when_weaker(void (*sender)(void *ctx))
{
    need_model();
    struct wm_result intact = explore(sender, 0);
    for (int i = 0; i < intact.site_count; i++) {
        struct wm_result weak = explore(sender, intact.sites[i]);
        print_message("errand_internal.h:%d relaxed: %s, execution %llu\n", intact.sites[i],
                      weak.violated ? weak.violation : "nothing found",
                      (unsigned long long)weak.executions);
        assert_true(weak.violated);
    }
}

static void errand_every_execution_is_right(void **state)
{
    (void)state;
    expect_right(send);
}

static void errand_any_weaker_order_is_wrong(void **state)
{
    (void)state;
    expect_wrong_when_weaker(send);
}

static void errand_after_a_lost_one_is_right_in_every_execution(void **state)
{
    (void)state;
    went_on_after_a_loss = false;
    expect_right(send_and_lose);
    assert_true(went_on_after_a_loss);
}

static void errand_after_a_lost_one_with_any_weaker_order_is_wrong(void **state)
{
    (void)state;
    expect_wrong_when_weaker(send_and_lose);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(errand_every_execution_is_right),
        cmocka_unit_test(errand_any_weaker_order_is_wrong),
        cmocka_unit_test(errand_after_a_lost_one_is_right_in_every_execution),
        cmocka_unit_test(errand_after_a_lost_one_with_any_weaker_order_is_wrong),
    };
    return cmocka_run_group_tests(cases, NULL, NULL);
}
