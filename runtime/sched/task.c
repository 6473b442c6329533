/* SPDX-License-Identifier: MIT */
/* Tasks: how they begin, wait, are woken, are cancelled and end; and the step of the turn. */
#include "runtime/sched/task.h"

#include <errno.h>

#include "runtime/sched/switch.h"
#include "runtime/sched/task_internal.h"
#include "runtime/sched/timer.h"

_Thread_local struct plx_task *plx__task_running __attribute__((tls_model("initial-exec")));
_Thread_local int32_t plx__task_budget __attribute__((tls_model("initial-exec")));

/* --- switching -------------------------------------------------------------------------------- */

/* From the loop into a task, until that waits or ends. */
static inline void enter(struct plx__tasks *tasks, struct plx_task *task)
{
    struct plx_task *outer = plx__task_running;
    plx__task_running = task;
    plx__task_budget = 0;
    task->state = PLX__TASK_RUNNING;
    /* Relaxed: for those who ask what runs, at whatever moment. */
    plx_store_relaxed(&tasks->running, plx_load_relaxed(&task->name));
    plx__fiber_leave(&tasks->fiber, &task->fiber);
    (void)plx_switch(&tasks->context, task->context, task);
    plx__fiber_arrive(&tasks->fiber, &task->fiber);
    plx__task_running = outer;
}

/* From a task into the loop, until it is entered again. */
static inline void leave(struct plx_task *task)
{
    struct plx__tasks *tasks = task->tasks;
    plx__fiber_leave(&task->fiber, &tasks->fiber);
    (void)plx_switch(&task->context, tasks->context, NULL);
    plx__fiber_arrive(&task->fiber, &tasks->fiber);
}

void plx__task_make_ready(struct plx_task *task)
{
    struct plx__tasks *tasks = task->tasks;
    struct plx_task_group *group = task->group;
    PLX_ASSERT_HOT(task->state != PLX__TASK_READY);
    task->state = PLX__TASK_READY;
    task->next = NULL;
    if (group->first == NULL) {
        /* What it did not use while it had nothing to do is gone. */
        if (group->had < tasks->had)
            group->had = tasks->had;
        tasks->ready_groups |= group->bit;
        group->first = task;
    } else {
        group->last->next = task;
    }
    group->last = task;
    group->ready++;
    tasks->ready_count++;
}

static inline struct plx_task *take_ready(struct plx__tasks *tasks, struct plx_task_group *group)
{
    struct plx_task *task = group->first;
    group->first = task->next;
    if (group->first == NULL)
        tasks->ready_groups &= ~group->bit;
    group->ready--;
    tasks->ready_count--;
    return task;
}

/* Runs up to `most` of a group, as long as it is the only one. */
static uint32_t run_some(struct plx__tasks *tasks, struct plx_task_group *group, uint32_t most)
{
    uint32_t ran = 0;
    do {
        enter(tasks, take_ready(tasks, group));
        ran++;
    } while (ran < most && tasks->ready_groups == group->bit);
    return ran;
}

uint32_t plx__tasks_run(struct plx__tasks *tasks)
{
    uint32_t left = tasks->ready_count;
    if (left > PLX__TURN_TASKS_MAX)
        left = PLX__TURN_TASKS_MAX;
    uint32_t ran = 0;
    uint64_t before = plx__tasks_ticks(tasks, 0);
    uint64_t end = before + tasks->turn_ticks;
    plx__fiber_here(&tasks->fiber);
    do {
        struct plx_task_group *group = plx__task_group_choose(tasks);
        uint32_t most = left - ran < PLX__TASKS_PER_LOOK ? left - ran : PLX__TASKS_PER_LOOK;
        uint32_t runs = run_some(tasks, group, most);
        uint64_t now = plx__tasks_ticks(tasks, runs);
        ran += runs;
        group->runs += runs;
        group->run_ticks += now - before;
        group->had += (uint64_t)((double)(now - before) * group->scale);
        before = now;
    } while (ran < left && tasks->ready_count != 0 && before < end);
    plx_store_relaxed(&tasks->running, NULL);
    return ran;
}

/* --- waiting ---------------------------------------------------------------------------------- */

int64_t plx__task_wait(struct plx_task *task, plx__task_cancel_fn cancel, void *cancel_ctx)
{
    PLX_ASSERT_HOT(task == plx__task_running);
    task->cancel = cancel;
    task->cancel_ctx = cancel_ctx;
    task->state = PLX__TASK_WAITING;
    leave(task);
    return task->result;
}

void plx__task_wake(struct plx_task *task, int64_t result)
{
    PLX_ASSERT_HOT(task->state == PLX__TASK_WAITING);
    task->cancel = NULL;
    task->result = result;
    plx__task_make_ready(task);
}

static void yield(struct plx_task *task)
{
    plx__task_make_ready(task);
    leave(task);
}

struct plx_task *plx__task_enter(int *why)
{
    struct plx_task *task = plx__task_running;
    if (PLX_UNLIKELY(task == NULL)) {
        *why = -EDEADLK;
        return NULL;
    }
    if (PLX_UNLIKELY(plx__task_is_refused(task))) {
        yield(task);
        *why = -ECANCELED;
        return NULL;
    }
    return task;
}

int plx_task_may_wait(void)
{
    int why = 0;
    (void)plx__task_enter(&why);
    return why;
}

int plx_task_yield(void)
{
    struct plx_task *task = plx__task_running;
    if (PLX_UNLIKELY(task == NULL))
        return -EDEADLK;
    yield(task);
    return plx__task_is_refused(task) ? -ECANCELED : 0;
}

static void wake_sleeper(struct plx_timer *timer, void *ctx)
{
    (void)timer;
    plx__task_wake(ctx, 0);
}

struct sleep {
    struct plx_task *task;
    struct plx_timer timer;
};

static void end_sleep(void *ctx)
{
    struct sleep *sleep = ctx;
    plx_timer_disarm(sleep->task->tasks->reactor, &sleep->timer);
    plx__task_wake(sleep->task, -ECANCELED);
}

int plx_task_sleep_until(uint64_t at_ns)
{
    int why;
    struct sleep sleep = {.task = plx__task_enter(&why)};
    if (sleep.task == NULL)
        return why;
    plx_timer_arm(sleep.task->tasks->reactor, &sleep.timer, at_ns, wake_sleeper, sleep.task);
    return (int)plx__task_wait(sleep.task, end_sleep, &sleep);
}

int plx_task_sleep(uint64_t ns)
{
    struct plx_task *task = plx__task_running;
    if (task == NULL)
        return -EDEADLK;
    uint64_t now = plx__io_now_ns(task->tasks->io);
    return plx_task_sleep_until(ns > UINT64_MAX - now ? UINT64_MAX : now + ns);
}

/* --- beginning and ending --------------------------------------------------------------------- */

static void release(struct plx_task *task)
{
    struct plx__tasks *tasks = task->tasks;
    task->state = PLX__TASK_FREE;
    plx_store_relaxed(&task->name, NULL);
    task->next = tasks->free;
    tasks->free = task;
}

/* On the task's own stack: it is left for good, or until a spawn takes it again. */
static void end(struct plx_task *task)
{
    task->tasks->live--;
    task->shield = 0;
    if (task->on_end != NULL)
        task->on_end(task);
    if (task->detached) {
        release(task);
    } else {
        task->state = PLX__TASK_ENDED;
        task->tasks->unreleased++;
        if (task->joiner != NULL)
            plx__task_wake(task->joiner, 0);
    }
    leave(task);
}

/* The bottom of each stack. */
static void live(void *value)
{
    struct plx_task *task = value;
    plx__fiber_arrive(&task->fiber, &task->tasks->fiber);
    for (;;) {
        task->result = task->fn(task->ctx);
        end(task);
    }
}

/* Handlers, before the first stack can overflow. */
static PLX_COLD int arm(struct plx__tasks *tasks)
{
    if (!tasks->names_overflows || tasks->is_armed)
        return 0;
    int rc = plx__altstack_init(&tasks->altstack);
    if (rc == 0)
        rc = plx__overflow_arm();
    tasks->is_armed = rc == 0;
    return rc;
}

static PLX_COLD int grow(struct plx__tasks *tasks)
{
    struct plx__stack_chunk *chunk;
    int rc = arm(tasks);
    if (rc == 0)
        rc = plx__stacks_grow(&tasks->stacks, &chunk);
    if (rc != 0)
        return rc;
    /* The first ones of the chunk are taken first. */
    for (uint32_t i = chunk->count; i-- > 0;) {
        struct plx_task *task = plx__stack_object(&tasks->stacks, chunk, i);
        task->tasks = tasks;
        task->context = plx_switch_prepare(plx__stack_top(chunk, i), live);
        plx__fiber_init(&task->fiber, plx__stack_base(chunk, i), chunk->stack_bytes);
        release(task);
    }
    return 0;
}

int plx__task_spawn(struct plx__tasks *tasks, const struct plx_task_opts *opts, plx_task_fn fn,
                    void *ctx, struct plx_task **out)
{
    struct plx_task *task = tasks->free;
    if (PLX_UNLIKELY(tasks->refuses))
        return -ESHUTDOWN;
    if (PLX_UNLIKELY(task == NULL)) {
        int rc = grow(tasks);
        if (rc != 0) {
            tasks->refused++;
            return rc;
        }
        task = tasks->free;
    }
    tasks->free = task->next;

    struct plx_task *self = plx__task_running;
    struct plx_task_group *group = opts->group;
    if (group == NULL)
        group = self != NULL && self->tasks == tasks ? self->group : &tasks->groups[0];
    task->group = group;
    task->cancel = NULL;
    task->cancelled = false;
    task->detached = opts->detached;
    task->fn = fn;
    task->ctx = ctx;
    plx_store_relaxed(&task->name, opts->name != NULL ? opts->name : "task");
    task->joiner = NULL;
    task->on_end = NULL;
    tasks->live++;
    tasks->spawned++;
    plx__task_make_ready(task);
    *out = task;
    return 0;
}

int plx_task_spawn(struct plx_reactor *reactor, const struct plx_task_opts *opts, plx_task_fn fn,
                   void *ctx, struct plx_task **out)
{
    static const struct plx_task_opts defaults = {.name = "task"};
    struct plx_task *task;
    if (opts == NULL)
        opts = &defaults;
    PLX_ASSERT(opts->detached == (out == NULL));
    int rc = plx__task_spawn(plx__reactor_tasks(reactor), opts, fn, ctx, &task);
    if (out != NULL)
        *out = rc == 0 ? task : NULL;
    return rc;
}

/* --- joining and cancelling ------------------------------------------------------------------- */

int plx_task_try_join(struct plx_task *task, int64_t *result)
{
    if (task->state != PLX__TASK_ENDED)
        return -EAGAIN;
    /* A joiner that is woken, and has yet to run, has its result still to take. */
    if (task->joiner != NULL && task->joiner != plx__task_running)
        return -EAGAIN;
    if (result != NULL)
        *result = task->result;
    task->tasks->unreleased--;
    release(task);
    return 0;
}

static void end_join(void *ctx)
{
    struct plx_task *task = ctx;
    struct plx_task *joiner = task->joiner;
    task->joiner = NULL;
    plx__task_wake(joiner, -ECANCELED);
}

int plx_task_join(struct plx_task *task, int64_t *result)
{
    int why;
    struct plx_task *self = plx__task_enter(&why);
    if (self == NULL)
        return why;
    if (task == self)
        return -EDEADLK;
    if (task->joiner != NULL)
        return -EBUSY;
    PLX_ASSERT(task->state != PLX__TASK_FREE && !task->detached && task->tasks == self->tasks);
    if (task->state != PLX__TASK_ENDED) {
        task->joiner = self;
        int rc = (int)plx__task_wait(self, end_join, task);
        if (rc != 0)
            return rc;
    }
    return plx_task_try_join(task, result);
}

void plx_task_cancel(struct plx_task *task)
{
    PLX_ASSERT_HOT(task->state != PLX__TASK_FREE);
    task->cancelled = true;
    plx__task_cancel_fn cancel = task->cancel;
    if (cancel == NULL || task->shield != 0 || task->state != PLX__TASK_WAITING)
        return;
    task->cancel = NULL;
    cancel(task->cancel_ctx);
}

/* --- the running task ------------------------------------------------------------------------- */

struct plx_task *plx_task_self(void)
{
    return plx__task_running;
}

const char *plx_task_name(const struct plx_task *task)
{
    return plx_load_relaxed(&task->name);
}

bool plx_task_is_cancelled(const struct plx_task *task)
{
    return task->cancelled;
}

void plx_task_shield(void)
{
    PLX_ASSERT(plx__task_running != NULL && plx__task_running->shield < UINT16_MAX);
    plx__task_running->shield++;
}

void plx_task_unshield(void)
{
    PLX_ASSERT(plx__task_running != NULL && plx__task_running->shield > 0);
    plx__task_running->shield--;
}

/* --- the scheduler's own life ----------------------------------------------------------------- */

static uint64_t in_ticks(const struct plx__tasks *tasks, uint64_t ns)
{
    return (uint64_t)((double)ns * tasks->ticks_per_ns) + 1;
}

void plx__tasks_init(struct plx__tasks *tasks, const struct plx__tasks_config *config)
{
    tasks->reactor = config->reactor;
    tasks->io = config->io;
    tasks->ticks_per_ns = config->io->own_clock ? 1 : config->ticks_per_ns;
    tasks->turn_ticks = in_ticks(tasks, PLX__TURN_TASKS_NS);
    tasks->slice_ticks = in_ticks(tasks, PLX_TASK_SLICE_NS);
    tasks->names_overflows = config->names_overflows;
    tasks->stacks = (struct plx__stacks){
        .stack_bytes = plx_round_up(config->stack_bytes, PLX_PAGE),
        .object_bytes = plx_round_up(sizeof(struct plx_task), PLX_CACHE_LINE),
        .max = config->max,
        .node = config->node,
        .bind = config->bind,
    };
    plx__task_group_init(tasks, "default", PLX_TASK_WEIGHT_DEFAULT);
}

/* Calls `fn` for each task, released ones too. */
static void for_each(struct plx__tasks *tasks, void (*fn)(struct plx_task *task))
{
    struct plx__stack_chunk *chunk = tasks->stacks.chunks;
    for (; chunk != NULL; chunk = chunk->next) {
        for (uint32_t i = 0; i < chunk->count; i++)
            fn(plx__stack_object(&tasks->stacks, chunk, i));
    }
}

static void end_fiber(struct plx_task *task)
{
    plx__fiber_fini(&task->fiber);
}

void plx__tasks_fini(struct plx__tasks *tasks)
{
    PLX_ASSERT(tasks->live == 0);
    for_each(tasks, end_fiber);
    plx__stacks_fini(&tasks->stacks);
    tasks->free = NULL;
    if (tasks->is_armed)
        plx__overflow_disarm();
    tasks->is_armed = false;
    plx__altstack_fini(&tasks->altstack);
}

static void cancel_if_alive(struct plx_task *task)
{
    if (task->state != PLX__TASK_FREE && task->state != PLX__TASK_ENDED)
        plx_task_cancel(task);
}

void plx__tasks_stop(struct plx__tasks *tasks)
{
    tasks->refuses = true;
    for_each(tasks, cancel_if_alive);
    plx__far_cancel_all(tasks);
    plx__xchan_close_all(tasks);
}

static const char *find_alive(const struct plx__tasks *tasks)
{
    struct plx__stack_chunk *chunk = tasks->stacks.chunks;
    for (; chunk != NULL; chunk = chunk->next) {
        for (uint32_t i = 0; i < chunk->count; i++) {
            const struct plx_task *task = plx__stack_object(&tasks->stacks, chunk, i);
            if (task->state != PLX__TASK_FREE && task->state != PLX__TASK_ENDED)
                return plx_load_relaxed(&task->name);
        }
    }
    return NULL;
}

bool plx__tasks_drained(struct plx__tasks *tasks)
{
    if (tasks->live == 0 && plx_load_relaxed(&tasks->holder) == NULL)
        return true;
    /* Relaxed: a text for people. */
    plx_store_relaxed(&tasks->holder, find_alive(tasks));
    return tasks->live == 0;
}

const char *plx__tasks_holder(const struct plx__tasks *tasks)
{
    const char *name = plx_load_relaxed(&tasks->running);
    return name != NULL ? name : plx_load_relaxed(&tasks->holder);
}

void plx_task_read_stats(struct plx_reactor *reactor, struct plx_task_stats *out)
{
    const struct plx__tasks *tasks = plx__reactor_tasks(reactor);
    size_t deepest = 0;
    const struct plx__stack_chunk *chunk = tasks->stacks.chunks;
    for (; chunk != NULL; chunk = chunk->next) {
        for (uint32_t i = 0; i < chunk->count; i++) {
            size_t depth = plx__stack_depth(chunk, i);
            deepest = depth > deepest ? depth : deepest;
        }
    }
    *out = (struct plx_task_stats){
        .tasks = tasks->live,
        .unreleased = tasks->unreleased,
        .tasks_max = tasks->stacks.max,
        .stacks = tasks->stacks.count,
        .stack_bytes = tasks->stacks.stack_bytes,
        .deepest_bytes = deepest,
        .spawned = tasks->spawned,
        .refused = tasks->refused,
    };
}
