/* SPDX-License-Identifier: MIT */
/*
 * Tasks: functions with a stack of their own, that a reactor runs in turn and that may wait in the
 * middle of their code.
 *
 * Words. A task is *spawned*, becomes *ready*, *runs* on its reactor's thread until it *waits*
 * (for an op, a time, another task …) or ends. Its *result* is what its function returned; who
 * *joins* it waits for that and releases the task. A *detached* task is released by its end. A
 * *group* is a set of tasks that shares the time of its reactor with other groups by *weight*.
 * Cancelling is *sticky*: a cancelled task's present wait is asked to end, and each later wait is
 * *refused*, except inside a *shielded* section.
 *
 * Tasks never run at the same time as their reactor's callbacks or other tasks of it, so what they
 * share needs no lock; between two waits nothing of it changes. Callbacks and tasks mix.
 *
 * A function of a task must return, with the rounding and other control words that it found; it is
 * not left by longjmp(3) or an exception. errno and thread-local variables are the thread's: after
 * a wait they may have changed.
 *
 * What each wait answers when the task is cancelled: -ECANCELED, or its result if it had one by
 * then; it returns only when what it waited for is over. A refused wait begins nothing and answers
 * -ECANCELED, behind one yield, so that a task that does not listen takes no turn as a whole.
 *
 * There is no isolation of a task's faults: one ends the process, as everywhere, and all that is
 * told apart is an overflow of its stack, which is named first.
 *
 * When a reactor stops, its tasks are cancelled. Ops are refused then (-ESHUTDOWN), but for closes;
 * shielded sections go on for all else. A task that has not ended by the deadline of the stop is
 * named there, and given up: its stack is never used again.
 *
 * Threads: the one that polls the reactor, in callbacks, tasks and between turns; functions that
 * wait are for tasks alone and answer -EDEADLK elsewhere.
 */
#ifndef POLLUX_TASK_H
#define POLLUX_TASK_H

#include "alloc/base.h"

PLX_EXTERN_C_BEGIN

struct plx_reactor;
struct plx_task;
struct plx_task_group;

/* Groups of a reactor at the most, the default one included. */
#define PLX_TASK_GROUPS_MAX 16u
/* The weights of groups, and that of the default one. */
#define PLX_TASK_WEIGHT_MIN     1u
#define PLX_TASK_WEIGHT_MAX     10000u
#define PLX_TASK_WEIGHT_DEFAULT 100u
/* How long a task runs before plx_task_should_yield says so. */
#define PLX_TASK_SLICE_NS 50000u

/* A task's own code. What it returns is the task's result. */
typedef int64_t (*plx_task_fn)(void *ctx);

struct plx_task_opts {
    const char *name;             /* for people; borrowed for the reactor's life: a literal */
    struct plx_task_group *group; /* NULL: that of the task that spawns, else the default one */
    bool detached;                /* released by its end; nobody joins it */
};

static inline void plx_task_opts_init(struct plx_task_opts *opts)
{
    opts->name = "task";
    opts->group = (struct plx_task_group *)0;
    opts->detached = false;
}

/* --- lifecycle -------------------------------------------------------------------------------- */

/*
 * Makes a task that calls fn(ctx) on a stack of POLLUX_TASK_STACK bytes, from this turn's step of
 * tasks on, or the next one's. `opts` NULL: defaults.
 * Ownership: the task is the reactor's; *out is valid until it was joined. `out` is NULL for a
 * detached task, and for no other. `ctx` is the caller's to keep as long as fn needs it.
 * Affinity: owner; between turns, in callbacks and in tasks. Cost: hot; no allocation and no system
 * call, but for the first use of a stack: they are made by the dozen, mapped on the reactor's node.
 * Errors: -EAGAIN there are POLLUX_TASKS_MAX tasks that were not released (counted); -ENOMEM no
 * memory on the node, or what mbind(2) said (counted); -ESHUTDOWN the reactor is stopping.
 */
PLX_API PLX_MUST_CHECK int plx_task_spawn(struct plx_reactor *reactor,
                                          const struct plx_task_opts *opts, plx_task_fn fn,
                                          void *ctx, struct plx_task **out);

/*
 * Waits until `task` has ended, gives its result (NULL: not wanted) and releases it. Errors:
 * -ECANCELED the caller was cancelled: `task` goes on, and is still to be joined; -EDEADLK outside
 * of a task, or a task's join of itself; -EBUSY another task is waiting for it.
 */
PLX_API PLX_MUST_CHECK int plx_task_join(struct plx_task *task, int64_t *result);

/*
 * The same without waiting, from anywhere on the thread: -EAGAIN while the task has not ended, or
 * another task waits for it, whose it is then.
 */
PLX_API PLX_MUST_CHECK int plx_task_try_join(struct plx_task *task, int64_t *result);

/*
 * Cancels a task: sticky, see above. A request: it ends when its function returns. Nothing happens
 * to one that has ended. O(1).
 */
PLX_API void plx_task_cancel(struct plx_task *task);

/* --- the running task ------------------------------------------------------------------------- */

/* The task that this thread runs; NULL in callbacks and outside of turns. Any thread. */
PLX_API struct plx_task *plx_task_self(void);

/* Static or borrowed as opts->name. */
PLX_API const char *plx_task_name(const struct plx_task *task);

/* Whether it was cancelled, shielded or not. */
PLX_API bool plx_task_is_cancelled(const struct plx_task *task);

/*
 * Lets the other ready tasks and the rest of the loop run. Returns 0; -ECANCELED the task is
 * cancelled (it yields all the same); -EDEADLK. Cost: hot; two switches.
 */
PLX_API int plx_task_yield(void);

/*
 * Whether the task has run for PLX_TASK_SLICE_NS since the first such question after its last wait,
 * and should yield. Cost: counts down a word; the clock is read rarely: as often as half of the
 * time that is left, judged by how fast the questions came, so a round that suddenly takes much
 * longer is seen late. Outside of a task: false.
 */
PLX_API bool plx_task_should_yield(void);

/* Waits for `ns`, or until `at_ns` of the reactor's clock. 0, -ECANCELED or -EDEADLK. Cost: a
 * timer. */
PLX_API int plx_task_sleep(uint64_t ns);
PLX_API int plx_task_sleep_until(uint64_t at_ns);

/*
 * What each wait begins with: 0, or why it is refused: -ECANCELED, behind one yield; -EDEADLK. For
 * waits of one's own, made of promises (runtime/sched/sync.h).
 */
PLX_API int plx_task_may_wait(void);

/*
 * Between the two, which nest, the running task waits as if it were not cancelled: for what must
 * be brought to its end. Keep it short: nothing cuts it off but the deadline of a stop.
 */
PLX_API void plx_task_shield(void);
PLX_API void plx_task_unshield(void);

/* --- groups ----------------------------------------------------------------------------------- */

/*
 * Makes a group. Where tasks of several groups are ready, the group goes first that has had the
 * least time for its weight, so that each gets time in proportion to it; one that had nothing to do
 * saves up none. Shapes: `weight` from PLX_TASK_WEIGHT_MIN to _MAX; tasks without a group have
 * PLX_TASK_WEIGHT_DEFAULT together. Ownership: the reactor's, for its life; `name` is borrowed as
 * long. Cost: set-up. Errors: -EINVAL the weight; -ENOSPC there are PLX_TASK_GROUPS_MAX.
 */
PLX_API PLX_MUST_CHECK int plx_task_group_create(struct plx_reactor *reactor, const char *name,
                                                 uint32_t weight, struct plx_task_group **out);

/* What a group has had. */
struct plx_task_group_stats {
    const char *name;
    uint32_t weight;
    uint32_t ready;  /* tasks that wait for the core */
    uint64_t run_ns; /* in its tasks, the switches included */
    uint64_t runs;   /* times that a task of it was switched to */
};

/* The `index`-th group's, the default one being 0. Errors: -ENOENT there is none. Owner only. */
PLX_API int plx_task_group_read_stats(struct plx_reactor *reactor, uint32_t index,
                                      struct plx_task_group_stats *out);

/* --- inspection ------------------------------------------------------------------------------- */

struct plx_task_stats {
    uint32_t tasks;         /* that have not ended */
    uint32_t unreleased;    /* that have ended and were not joined */
    uint32_t tasks_max;     /* POLLUX_TASKS_MAX */
    uint32_t stacks;        /* made so far */
    uint64_t stack_bytes;   /* of each: POLLUX_TASK_STACK */
    uint64_t deepest_bytes; /* how deep any of the stacks was ever used */
    uint64_t spawned;
    uint64_t refused; /* spawns that had no stack */
};

/* Owner only. Cost: not hot: `deepest_bytes` takes a system call for each stack made. */
PLX_API void plx_task_read_stats(struct plx_reactor *reactor, struct plx_task_stats *out);

PLX_EXTERN_C_END

#endif
