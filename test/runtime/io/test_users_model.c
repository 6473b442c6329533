/* SPDX-License-Identifier: MIT */
/*
 * Users of one memory that leave it, on a simulated weak memory: one of them gives it back, behind
 * all that the others did there, and no order may be weaker.
 */
#include "test/model/weakmem_access.h"

#include "runtime/io/users_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define EXECUTIONS_MAX    20000000
#define NON_RELAXED_SITES 2
#define USERS             3

static uint32_t users;
static uint64_t memory[USERS]; /* a word that each user writes */
static uint64_t frees;

static void set_up(void *ctx)
{
    (void)ctx;
    users = USERS;
    frees = 0;
}

static void use_and_leave(unsigned self)
{
    wm_write(&memory[self], 1);
    if (!plx__users_leave(&users))
        return;
    for (unsigned i = 0; i < USERS; i++)
        wm_write(&memory[i], 0);
    wm_write(&frees, wm_read(&frees) + 1);
}

static void leave_first(void *ctx)
{
    (void)ctx;
    use_and_leave(0);
}

static void leave_second(void *ctx)
{
    (void)ctx;
    use_and_leave(1);
}

static void leave_third(void *ctx)
{
    (void)ctx;
    use_and_leave(2);
}

static void finish(void *ctx)
{
    (void)ctx;
    wm_check(wm_read(&frees) == 1, "the memory is not given back once");
}

static struct wm_result explore(int weakened_site)
{
    const struct wm_program program = {
        .set_up = set_up,
        .threads = {leave_first, leave_second, leave_third},
        .thread_count = USERS,
        .finish = finish,
        .weakened_site = weakened_site,
        .executions_max = EXECUTIONS_MAX,
    };
    struct wm_result result;
    wm_explore(&program, &result);
    return result;
}

static void users_every_execution_frees_once(void **state)
{
    (void)state;
    struct wm_result result = explore(0);
    print_message("%llu executions\n", (unsigned long long)result.executions);
    if (result.violated)
        print_error("violation: %s\n", result.violation);
    assert_true(result.complete);
    assert_int_equal(result.site_count, NON_RELAXED_SITES);
}

static void users_with_any_weaker_order_is_wrong(void **state)
{
    (void)state;
    struct wm_result intact = explore(0);
    for (int i = 0; i < intact.site_count; i++) {
        struct wm_result weak = explore(intact.sites[i]);
        print_message("users_internal.h:%d relaxed: %s, execution %llu\n", intact.sites[i],
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
        cmocka_unit_test(users_every_execution_frees_once),
        cmocka_unit_test(users_with_any_weaker_order_is_wrong),
    };
    if (wm_unusable() != NULL)
        return cmocka_run_group_tests(skipped, NULL, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
