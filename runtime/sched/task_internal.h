/* SPDX-License-Identifier: MIT */
/*
 * The inside of tasks: one scheduler to a reactor, and how a task waits and is woken.
 *
 * Words. A task's *object* has its *slot*'s stack for good: both are taken and released together,
 * last in first out, so that what is hot in the caches is taken first. The context of a released
 * one stays on its stack, behind its last function, and is continued by the next spawn.
 *
 * Threads: the owner's, unless a line says otherwise.
 */
#ifndef POLLUX_TASK_INTERNAL_H
#define POLLUX_TASK_INTERNAL_H

#include "runtime/io/io_internal.h"
#include "runtime/sched/fiber_internal.h"
#include "runtime/sched/overflow_internal.h"
#include "runtime/sched/stacks_internal.h"
#include "runtime/sched/task.h"

/* Tasks run in one turn at the most, and for how long: what is ready then waits for the next. */
#define PLX__TURN_TASKS_MAX 256u
#define PLX__TURN_TASKS_NS  200000u
/* Tasks of one group between two looks at the clock, while no other group is ready. */
#define PLX__TASKS_PER_LOOK 8u

enum plx__task_state {
    PLX__TASK_FREE,
    PLX__TASK_READY,
    PLX__TASK_RUNNING,
    PLX__TASK_WAITING,
    PLX__TASK_ENDED /* and not released */
};

struct plx__tasks;
struct plx_far_task;
struct plx_xchan_end;

/* Asks what a task waits for to end; it may wake the task at once. */
typedef void (*plx__task_cancel_fn)(void *ctx);

struct plx_task {
    /* The line of switching and waiting. */
    void *context;
    struct plx_task *next; /* of the ready ones of its group, or of the free ones */
    struct plx__tasks *tasks;
    struct plx_task_group *group;
    plx__task_cancel_fn cancel; /* of the present wait; NULL: none, or it was asked */
    void *cancel_ctx;
    int64_t result;  /* of the wait; at last of its function */
    uint16_t shield; /* depth */
    uint8_t state;   /* enum plx__task_state */
    bool cancelled;
    bool detached;
    /* Cold. */
    plx_task_fn fn PLX_ALIGNED(PLX_CACHE_LINE);
    void *ctx;
    PLX_ATOMIC(const char *) name; /* read by whoever tells of a stall or an overflow */
    struct plx_task *joiner;
    void (*on_end)(struct plx_task *task); /* of one that another reactor spawned */
    struct plx_far_task *far;              /* which is this */
    struct plx__fiber fiber;
};

struct plx_task_group {
    struct plx_task *first; /* ready, by next */
    struct plx_task *last;
    uint64_t had; /* ticks, scaled by the weight: the least goes first */
    double scale; /* what a tick counts for */
    uint32_t bit;
    uint32_t ready;
    uint64_t run_ticks;
    uint64_t runs;
    const char *name;
    uint32_t weight;
};

#define PLX__GROUP_HAD_MAX ((uint64_t)1 << 62)

struct plx__tasks {
    /* Written at every turn that runs tasks. */
    uint32_t ready_count;
    uint32_t ready_groups; /* by bit */
    struct plx_task *free;
    void *context; /* of the loop, while a task runs */
    uint64_t had;  /* of the group that was chosen last: whoever comes back begins there */
    struct plx__fiber fiber;
    uint32_t live; /* spawned and not ended */
    uint32_t unreleased;
    uint64_t spawned;
    uint64_t refused;
    uint64_t slice_end;           /* of plx_task_should_yield */
    uint64_t slice_look;          /* when it read the clock last */
    int32_t slice_step;           /* how many questions since */
    bool refuses;                 /* stopping */
    struct plx_xchan_end *xchans; /* ends here that are not closed */
    /* Read-mostly. */
    struct plx_reactor *reactor;
    struct plx__io *io;
    uint64_t turn_ticks;
    uint64_t slice_ticks;
    double ticks_per_ns;
    uint64_t made_up_ticks; /* where the world is simulated */
    bool names_overflows;
    bool is_armed; /* the handler of overflows */
    struct plx__altstack altstack;
    struct plx__stacks stacks;
    uint32_t group_count;
    struct plx_task_group groups[PLX_TASK_GROUPS_MAX];
    /* Any thread: the name of what runs, and while stopping of what has not ended; NULL. */
    PLX_ATOMIC(const char *) running;
    PLX_ATOMIC(const char *) holder;
};

struct plx__tasks_config {
    struct plx_reactor *reactor;
    struct plx__io *io;
    size_t stack_bytes;
    uint32_t max;
    int node;
    enum plx_want bind;
    double ticks_per_ns;
    bool names_overflows;
};

/* The task that this thread runs. */
extern _Thread_local struct plx_task *plx__task_running __attribute__((tls_model("initial-exec")));
/* Questions of plx_task_should_yield until it reads the clock. */
extern _Thread_local int32_t plx__task_budget __attribute__((tls_model("initial-exec")));

/* In reactor.c. */
struct plx__tasks *plx__reactor_tasks(struct plx_reactor *reactor);

/*
 * The counter, when `steps` have been done since it was read last. In a simulated world a step
 * takes a time that is made up, so that the order of tasks depends on nothing but the seed.
 */
static inline uint64_t plx__tasks_ticks(struct plx__tasks *tasks, uint64_t steps)
{
    if (PLX_LIKELY(!tasks->io->own_clock))
        return plx_ticks();
    tasks->made_up_ticks += steps * 100;
    return tasks->made_up_ticks;
}

/* Makes the scheduler; no stack yet. `tasks` is zeroed. */
void plx__tasks_init(struct plx__tasks *tasks, const struct plx__tasks_config *config);
/* On the owner's thread, when all tasks have ended: gives stacks and handlers back. */
void plx__tasks_fini(struct plx__tasks *tasks);

/* The turn's step, when some are ready: runs those, within bounds. Returns how many. */
uint32_t plx__tasks_run(struct plx__tasks *tasks);

/* Cancels all, here and far, closes channels to other reactors, and spawns no more. */
void plx__tasks_stop(struct plx__tasks *tasks);

/* Whether the end may go on: no task is left. Where not, `holder` is brought up to date. */
bool plx__tasks_drained(struct plx__tasks *tasks);

/*
 * The name of the task that holds the reactor up: the running one, else one that has not ended in
 * spite of a stop; NULL. Any thread, while the reactor's memory is there.
 */
const char *plx__tasks_holder(const struct plx__tasks *tasks);

/* Takes a free one, or makes some. Errors: as plx_task_spawn. */
int plx__task_spawn(struct plx__tasks *tasks, const struct plx_task_opts *opts, plx_task_fn fn,
                    void *ctx, struct plx_task **out) PLX_MUST_CHECK;

/* Parks the running task until it is woken, and returns what it was woken with. */
int64_t plx__task_wait(struct plx_task *task, plx__task_cancel_fn cancel, void *cancel_ctx);

/* Makes a waiting task ready: `result` is its wait's. */
void plx__task_wake(struct plx_task *task, int64_t result);

/*
 * What a function that waits begins with: the running task, or NULL with *why -EDEADLK outside of
 * one, and -ECANCELED behind a yield where the wait is refused.
 */
struct plx_task *plx__task_enter(int *why);

/* Ready at the end of its group. */
void plx__task_make_ready(struct plx_task *task);

static inline bool plx__task_is_refused(const struct plx_task *task)
{
    return task->cancelled && task->shield == 0;
}

/* In far.c: those of this reactor's that run on others. */
void plx__far_cancel_all(struct plx__tasks *tasks);

/* In xchan.c: closes the ends of channels that are on this reactor. */
void plx__xchan_close_all(struct plx__tasks *tasks);

/* In task_group.c. */
void plx__task_group_init(struct plx__tasks *tasks, const char *name, uint32_t weight);
/* The one whose turn it is; some are ready. */
struct plx_task_group *plx__task_group_choose(struct plx__tasks *tasks);

#endif
