/* SPDX-License-Identifier: MIT */
#include "test/runtime/sched/task_fixture.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "test/runtime/rt_fixture.h"

struct task_world task_world_open(const char *words)
{
    struct task_world world = {.runtime = rt_create(words, NULL)};
    world.reactor = rt_adopt(world.runtime, 0);
    return world;
}

void task_world_close(struct task_world *world)
{
    rt_abandon(world->reactor);
    plx_runtime_destroy(world->runtime);
}

struct plx_task *task_start(struct task_world *world, plx_task_fn fn, void *ctx)
{
    struct plx_task *task = NULL;
    assert_int_equal(plx_task_spawn(world->reactor, NULL, fn, ctx, &task), 0);
    assert_non_null(task);
    return task;
}

int64_t task_finish(struct task_world *world, struct plx_task *task)
{
    int64_t result = 0;
    int rc = -EAGAIN;
    RT_TURN_UNTIL(world->reactor, (rc = plx_task_try_join(task, &result)) != -EAGAIN);
    assert_int_equal(rc, 0);
    return result;
}

int64_t task_do(struct task_world *world, plx_task_fn fn, void *ctx)
{
    return task_finish(world, task_start(world, fn, ctx));
}

void task_turn(struct task_world *world, unsigned times)
{
    for (unsigned i = 0; i < times; i++)
        (void)plx_reactor_poll(world->reactor);
}
