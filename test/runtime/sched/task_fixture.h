/* SPDX-License-Identifier: MIT */
/* A reactor of one's own for the tests of tasks, and tasks run to their end. */
#ifndef POLLUX_TEST_TASK_FIXTURE_H
#define POLLUX_TEST_TASK_FIXTURE_H

#include "runtime/runtime.h"
#include "runtime/sched/task.h"

struct task_world {
    struct plx_runtime *runtime;
    struct plx_reactor *reactor;
};

/* One adopted reactor; `words` as of rt_settings. */
struct task_world task_world_open(const char *words);
void task_world_close(struct task_world *world);

/* Spawns; asserts that it works. */
struct plx_task *task_start(struct task_world *world, plx_task_fn fn, void *ctx);

/* Turns until it has ended; its result. */
int64_t task_finish(struct task_world *world, struct plx_task *task);

/* The two together. */
int64_t task_do(struct task_world *world, plx_task_fn fn, void *ctx);

/* Turns. */
void task_turn(struct task_world *world, unsigned times);

#endif
