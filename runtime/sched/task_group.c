/* SPDX-License-Identifier: MIT */
/* Groups of tasks, and how a task learns that it had its share. */
#include <errno.h>

#include "runtime/sched/task_internal.h"

/* Questions between two looks at the clock, at the most. */
#define STEP_MAX 1000

void plx__task_group_init(struct plx__tasks *tasks, const char *name, uint32_t weight)
{
    uint32_t index = tasks->group_count++;
    tasks->groups[index] = (struct plx_task_group){
        .had = tasks->had,
        .scale = (double)PLX_TASK_WEIGHT_MAX / weight,
        .bit = 1u << index,
        .name = name,
        .weight = weight,
    };
}

int plx_task_group_create(struct plx_reactor *reactor, const char *name, uint32_t weight,
                          struct plx_task_group **out)
{
    struct plx__tasks *tasks = plx__reactor_tasks(reactor);
    *out = NULL;
    if (weight < PLX_TASK_WEIGHT_MIN || weight > PLX_TASK_WEIGHT_MAX)
        return -EINVAL;
    if (tasks->group_count == PLX_TASK_GROUPS_MAX)
        return -ENOSPC;
    *out = &tasks->groups[tasks->group_count];
    plx__task_group_init(tasks, name, weight);
    return 0;
}

/* Long before it could overflow: all begin at the least again. */
static PLX_COLD void begin_anew(struct plx__tasks *tasks)
{
    for (uint32_t i = 0; i < tasks->group_count; i++) {
        struct plx_task_group *group = &tasks->groups[i];
        group->had = group->had > tasks->had ? group->had - tasks->had : 0;
    }
    tasks->had = 0;
}

struct plx_task_group *plx__task_group_choose(struct plx__tasks *tasks)
{
    uint32_t bits = tasks->ready_groups;
    PLX_ASSERT_HOT(bits != 0);
    struct plx_task_group *best = &tasks->groups[__builtin_ctz(bits)];
    for (bits &= bits - 1; bits != 0; bits &= bits - 1) {
        struct plx_task_group *group = &tasks->groups[__builtin_ctz(bits)];
        if (group->had < best->had)
            best = group;
    }
    tasks->had = best->had;
    if (PLX_UNLIKELY(tasks->had >= PLX__GROUP_HAD_MAX))
        begin_anew(tasks);
    return best;
}

int plx_task_group_read_stats(struct plx_reactor *reactor, uint32_t index,
                              struct plx_task_group_stats *out)
{
    const struct plx__tasks *tasks = plx__reactor_tasks(reactor);
    if (index >= tasks->group_count)
        return -ENOENT;
    const struct plx_task_group *group = &tasks->groups[index];
    *out = (struct plx_task_group_stats){
        .name = group->name,
        .weight = group->weight,
        .ready = group->ready,
        .run_ns = (uint64_t)((double)group->run_ticks / tasks->ticks_per_ns),
        .runs = group->runs,
    };
    return 0;
}

/* --- the slice -------------------------------------------------------------------------------- */

/* The next look is half the time away, at the pace of the questions since the last one. */
static PLX_COLD bool look_at_clock(struct plx__tasks *tasks)
{
    uint64_t now = plx__tasks_ticks(tasks, (uint64_t)tasks->slice_step);
    uint64_t step = 1;
    if (plx__task_budget < 0) {
        /* The first question since it was entered. */
        tasks->slice_end = now + tasks->slice_ticks;
    } else if (now >= tasks->slice_end) {
        plx__task_budget = 1;
        return true;
    } else {
        uint64_t pace = (now - tasks->slice_look) / (uint64_t)tasks->slice_step + 1;
        step = (tasks->slice_end - now) / pace / 2;
        step = step < 1 ? 1 : step > STEP_MAX ? STEP_MAX : step;
    }
    tasks->slice_look = now;
    tasks->slice_step = (int32_t)step;
    plx__task_budget = (int32_t)step;
    return false;
}

bool plx_task_should_yield(void)
{
    if (PLX_LIKELY(--plx__task_budget > 0))
        return false;
    const struct plx_task *task = plx__task_running;
    if (task != NULL)
        return look_at_clock(task->tasks);
    plx__task_budget = 0;
    return false;
}
