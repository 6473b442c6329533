/* SPDX-License-Identifier: MIT */
/* Groups: who goes first, by made-up times; and that a reactor's tasks are counted to theirs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "runtime/sched/task_internal.h"
#include "test/runtime/rt_fixture.h"
#include "test/runtime/sched/task_fixture.h"

/* --- choosing, without a clock ---------------------------------------------------------------- */

struct shop {
    struct plx__tasks tasks;
    uint32_t runs[PLX_TASK_GROUPS_MAX];
};

static void open_shop(struct shop *shop, const uint32_t *weights, uint32_t count)
{
    memset(shop, 0, sizeof(*shop));
    for (uint32_t i = 0; i < count; i++)
        plx__task_group_init(&shop->tasks, "group", weights[i]);
}

/* Runs so many of those that are ready, each taking `ticks`. */
static void run(struct shop *shop, uint32_t times, uint64_t ticks)
{
    for (uint32_t i = 0; i < times; i++) {
        struct plx_task_group *group = plx__task_group_choose(&shop->tasks);
        assert_true((group->bit & shop->tasks.ready_groups) != 0);
        group->had += (uint64_t)((double)ticks * group->scale);
        shop->runs[group - shop->tasks.groups]++;
    }
}

static void groups_share_time_by_weight(void **state)
{
    (void)state;
    static struct shop shop;
    static const uint32_t weights[] = {1000, 100, 400};
    open_shop(&shop, weights, 3);
    shop.tasks.ready_groups = 7;
    run(&shop, 15000, 1000);
    assert_int_equal(shop.runs[0], 10000);
    assert_int_equal(shop.runs[1], 1000);
    assert_int_equal(shop.runs[2], 4000);
}

static void group_that_is_alone_gets_all(void **state)
{
    (void)state;
    static struct shop shop;
    static const uint32_t weights[] = {10000, 1};
    open_shop(&shop, weights, 2);
    shop.tasks.ready_groups = 2;
    run(&shop, 1000, 1000);
    assert_int_equal(shop.runs[1], 1000);
}

static void shares_stay_when_the_account_begins_anew(void **state)
{
    (void)state;
    static struct shop shop;
    static const uint32_t weights[] = {200, 100};
    open_shop(&shop, weights, 2);
    shop.tasks.ready_groups = 3;
    for (unsigned i = 0; i < 2; i++)
        shop.tasks.groups[i].had = PLX__GROUP_HAD_MAX - 1000000;
    run(&shop, 3000, 1000);
    assert_int_equal(shop.runs[0], 2000);
    assert_int_equal(shop.runs[1], 1000);
    assert_true(shop.tasks.groups[0].had < PLX__GROUP_HAD_MAX / 2);
}

/* --- in a reactor ----------------------------------------------------------------------------- */

static void group_of_impossible_weight_or_number_is_refused(void **state)
{
    (void)state;
    struct task_world world = task_world_open("");
    struct plx_task_group *group;
    assert_int_equal(plx_task_group_create(world.reactor, "none", 0, &group), -EINVAL);
    assert_null(group);
    assert_int_equal(plx_task_group_create(world.reactor, "much", 10001, &group), -EINVAL);
    for (unsigned i = 1; i < PLX_TASK_GROUPS_MAX; i++)
        assert_int_equal(plx_task_group_create(world.reactor, "one", i, &group), 0);
    assert_int_equal(plx_task_group_create(world.reactor, "more", 1, &group), -ENOSPC);
    assert_null(group);
    struct plx_task_group_stats stats;
    assert_int_equal(plx_task_group_read_stats(world.reactor, 15, &stats), 0);
    assert_int_equal(stats.weight, 15);
    assert_int_equal(plx_task_group_read_stats(world.reactor, 16, &stats), -ENOENT);
    task_world_close(&world);
}

struct spin {
    uint32_t runs;
    bool ends;
};

static int64_t spin_on(void *ctx)
{
    struct spin *spin = ctx;
    while (!spin->ends) {
        spin->runs++;
        uint64_t begin = plx_ticks();
        while (plx_ticks() - begin < 20000)
            ;
        (void)plx_task_yield();
    }
    return 0;
}

static void tasks_of_all_groups_get_on_and_are_counted(void **state)
{
    (void)state;
    struct task_world world = task_world_open("");
    static const uint32_t weights[] = {1000, 100};
    static const char *const names[] = {"orders", "logging"};
    struct plx_task *tasks[2];
    struct spin spins[2] = {{0, false}, {0, false}};
    for (unsigned i = 0; i < 2; i++) {
        struct plx_task_opts opts;
        plx_task_opts_init(&opts);
        opts.name = names[i];
        int rc = plx_task_group_create(world.reactor, names[i], weights[i], &opts.group);
        assert_int_equal(rc, 0);
        rc = plx_task_spawn(world.reactor, &opts, spin_on, &spins[i], &tasks[i]);
        assert_int_equal(rc, 0);
    }
    RT_TURN_UNTIL(world.reactor, spins[0].runs >= 500 && spins[1].runs >= 20);
    struct plx_task_group_stats stats;
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(plx_task_group_read_stats(world.reactor, i + 1, &stats), 0);
        assert_string_equal(stats.name, names[i]);
        assert_int_equal(stats.weight, weights[i]);
        assert_int_equal(stats.runs, spins[i].runs);
        assert_int_equal(stats.ready, 1);
        assert_true(stats.run_ns > 0);
    }
    assert_int_equal(plx_task_group_read_stats(world.reactor, 0, &stats), 0);
    assert_string_equal(stats.name, "default");
    assert_int_equal(stats.runs, 0);
    for (unsigned i = 0; i < 2; i++) {
        spins[i].ends = true;
        assert_int_equal(task_finish(&world, tasks[i]), 0);
    }
    task_world_close(&world);
}

static int64_t tell_group(void *ctx)
{
    (void)ctx;
    return (int64_t)(intptr_t)plx_task_self()->group;
}

static int64_t spawn_child(void *ctx)
{
    struct task_world *world = ctx;
    int64_t result = 0;
    struct plx_task *child;
    assert_int_equal(plx_task_spawn(world->reactor, NULL, tell_group, NULL, &child), 0);
    assert_int_equal(plx_task_join(child, &result), 0);
    return result;
}

static void child_is_of_the_group_of_its_parent(void **state)
{
    (void)state;
    struct task_world world = task_world_open("");
    struct plx_task_opts opts;
    plx_task_opts_init(&opts);
    assert_int_equal(plx_task_group_create(world.reactor, "family", 10, &opts.group), 0);
    struct plx_task *parent;
    assert_int_equal(plx_task_spawn(world.reactor, &opts, spawn_child, &world, &parent), 0);
    assert_ptr_equal((void *)(intptr_t)task_finish(&world, parent), opts.group);
    task_world_close(&world);
}

static int64_t yield_for_ever(void *ctx)
{
    const bool *ends = ctx;
    while (!*ends)
        (void)plx_task_yield();
    return 0;
}

static void turn_runs_a_bounded_number_of_tasks(void **state)
{
    (void)state;
    struct task_world world = task_world_open("");
    static struct plx_task *tasks[PLX__TURN_TASKS_MAX + 50];
    bool ends = false;
    const unsigned count = sizeof(tasks) / sizeof(tasks[0]);
    for (unsigned i = 0; i < count; i++)
        tasks[i] = task_start(&world, yield_for_ever, &ends);
    for (unsigned i = 0; i < 10; i++) {
        int work = plx_reactor_poll(world.reactor);
        assert_true(work > 0 && work <= (int)PLX__TURN_TASKS_MAX);
    }
    ends = true;
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(task_finish(&world, tasks[i]), 0);
    task_world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(groups_share_time_by_weight),
        cmocka_unit_test(group_that_is_alone_gets_all),
        cmocka_unit_test(shares_stay_when_the_account_begins_anew),
        cmocka_unit_test(group_of_impossible_weight_or_number_is_refused),
        cmocka_unit_test(tasks_of_all_groups_get_on_and_are_counted),
        cmocka_unit_test(child_is_of_the_group_of_its_parent),
        cmocka_unit_test(turn_runs_a_bounded_number_of_tasks),
    };
    return cmocka_run_group_tests_name("task_group", tests, NULL, NULL);
}
