/* SPDX-License-Identifier: MIT */
/* Tasks: how they begin, give results, yield, sleep, are joined and cancelled. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <execinfo.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/sched/await.h"
#include "test/runtime/rt_fixture.h"
#include "test/runtime/sched/task_fixture.h"

static int64_t give(void *ctx)
{
    return (int64_t)(intptr_t)ctx;
}

/* --- beginning and ending --------------------------------------------------------------------- */

static void task_spawned_between_turns_gives_its_result(void **state)
{
    (void)state;
    struct task_world world = task_world_open("");
    struct plx_task *task = task_start(&world, give, (void *)42);
    int64_t result = 0;
    assert_int_equal(plx_task_try_join(task, &result), -EAGAIN);
    assert_string_equal(plx_task_name(task), "task");
    assert_int_equal(task_finish(&world, task), 42);
    assert_int_equal(task_do(&world, give, (void *)(intptr_t)INT64_MIN), INT64_MIN);
    task_world_close(&world);
}

static int64_t join_children(void *ctx)
{
    struct task_world *world = ctx;
    struct plx_task *children[10];
    int64_t sum = 0;
    for (intptr_t i = 0; i < 10; i++) {
        int rc = plx_task_spawn(world->reactor, NULL, give, (void *)(i + 1), &children[i]);
        assert_int_equal(rc, 0);
    }
    for (int i = 9; i >= 0; i--) {
        int64_t result = 0;
        assert_int_equal(plx_task_join(children[i], &result), 0);
        sum += result;
    }
    return sum;
}

static void task_that_joins_its_children_has_their_results(void **state)
{
    (void)state;
    struct task_world world = task_world_open("");
    assert_int_equal(task_do(&world, join_children, &world), 55);
    struct plx_task_stats stats;
    plx_task_read_stats(world.reactor, &stats);
    assert_int_equal(stats.tasks, 0);
    assert_int_equal(stats.unreleased, 0);
    assert_int_equal(stats.spawned, 11);
    task_world_close(&world);
}

static int64_t count_up(void *ctx)
{
    unsigned *count = ctx;
    for (unsigned i = 0; i < 3; i++) {
        (*count)++;
        assert_int_equal(plx_task_yield(), 0);
    }
    return 0;
}

static void task_detached_is_released_by_its_end(void **state)
{
    (void)state;
    struct task_world world = task_world_open("tasks_max=2");
    struct plx_task_opts opts;
    plx_task_opts_init(&opts);
    opts.detached = true;
    unsigned count = 0;
    for (unsigned round = 0; round < 10; round++) {
        assert_int_equal(plx_task_spawn(world.reactor, &opts, count_up, &count, NULL), 0);
        assert_int_equal(plx_task_spawn(world.reactor, &opts, count_up, &count, NULL), 0);
        RT_TURN_UNTIL(world.reactor, count == (round + 1) * 6);
        task_turn(&world, 2);
    }
    struct plx_task_stats stats;
    plx_task_read_stats(world.reactor, &stats);
    assert_int_equal(stats.tasks, 0);
    assert_int_equal(stats.stacks, 2);
    assert_int_equal(stats.refused, 0);
    task_world_close(&world);
}

static void spawn_beyond_the_bound_is_refused_and_counted(void **state)
{
    (void)state;
    struct task_world world = task_world_open("tasks_max=40");
    struct plx_task *tasks[40];
    for (intptr_t i = 0; i < 40; i++)
        tasks[i] = task_start(&world, give, (void *)i);
    struct plx_task *more = tasks[0];
    assert_int_equal(plx_task_spawn(world.reactor, NULL, give, NULL, &more), -EAGAIN);
    assert_null(more);
    /* Those that have ended count until they were joined. */
    task_turn(&world, 2);
    assert_int_equal(plx_task_spawn(world.reactor, NULL, give, NULL, &more), -EAGAIN);
    struct plx_task_stats stats;
    plx_task_read_stats(world.reactor, &stats);
    assert_int_equal(stats.unreleased, 40);
    assert_int_equal(stats.refused, 2);
    assert_int_equal(stats.stacks, 40);
    assert_int_equal(stats.tasks_max, 40);
    assert_int_equal(stats.stack_bytes, 65536);
    assert_int_equal(task_finish(&world, tasks[7]), 7);
    assert_int_equal(task_do(&world, give, (void *)99), 99);
    for (intptr_t i = 0; i < 40; i++) {
        if (i != 7)
            assert_int_equal(task_finish(&world, tasks[i]), i);
    }
    task_world_close(&world);
}

static int64_t see_self(void *ctx)
{
    struct task_world *world = ctx;
    assert_ptr_equal(plx_reactor_self(), world->reactor);
    assert_int_equal(plx_reactor_poll(world->reactor), -EDEADLK);
    assert_int_equal(plx_task_join(plx_task_self(), NULL), -EDEADLK);
    assert_string_equal(plx_task_name(plx_task_self()), "looker");
    return (int64_t)(intptr_t)plx_task_self();
}

static void task_knows_itself_and_polls_nothing(void **state)
{
    (void)state;
    struct task_world world = task_world_open("");
    struct plx_task_opts opts;
    plx_task_opts_init(&opts);
    opts.name = "looker";
    struct plx_task *task = NULL;
    assert_null(plx_task_self());
    assert_int_equal(plx_task_spawn(world.reactor, &opts, see_self, &world, &task), 0);
    assert_ptr_equal((void *)(intptr_t)task_finish(&world, task), task);
    assert_null(plx_task_self());
    task_world_close(&world);
}

static void waits_outside_of_a_task_are_refused(void **state)
{
    (void)state;
    struct task_world world = task_world_open("");
    struct plx_task *task = task_start(&world, give, NULL);
    assert_int_equal(plx_task_yield(), -EDEADLK);
    assert_int_equal(plx_task_sleep(1), -EDEADLK);
    assert_int_equal(plx_task_sleep_until(1), -EDEADLK);
    assert_int_equal(plx_task_join(task, NULL), -EDEADLK);
    assert_int_equal(plx_await_nop(), -EDEADLK);
    assert_int_equal(plx_await_close(0), -EDEADLK);
    assert_false(plx_task_should_yield());
    assert_int_equal(task_finish(&world, task), 0);
    task_world_close(&world);
}

/* --- yielding and sleeping -------------------------------------------------------------------- */

struct order {
    char text[32];
    size_t length;
};

struct letter {
    struct order *order;
    char letter;
};

static int64_t write_letter(void *ctx)
{
    struct letter *letter = ctx;
    for (unsigned i = 0; i < 3; i++) {
        letter->order->text[letter->order->length++] = letter->letter;
        (void)plx_task_yield();
    }
    return 0;
}

static void tasks_that_yield_run_in_turn_and_once_a_turn(void **state)
{
    (void)state;
    struct task_world world = task_world_open("");
    struct order order = {.length = 0};
    struct letter letters[3] = {{&order, 'a'}, {&order, 'b'}, {&order, 'c'}};
    struct plx_task *tasks[3];
    for (unsigned i = 0; i < 3; i++)
        tasks[i] = task_start(&world, write_letter, &letters[i]);
    for (unsigned i = 1; i <= 3; i++) {
        assert_int_equal(plx_reactor_poll(world.reactor), 3);
        assert_int_equal(order.length, 3 * i);
    }
    for (unsigned i = 0; i < 3; i++)
        (void)task_finish(&world, tasks[i]);
    assert_string_equal(order.text, "abcabcabc");
    task_world_close(&world);
}

struct nap {
    struct plx_reactor *reactor;
    uint64_t ns;
    uint64_t woken_ns;
    int rc;
};

static int64_t take_nap(void *ctx)
{
    struct nap *nap = ctx;
    nap->rc = plx_task_sleep(nap->ns);
    nap->woken_ns = plx_reactor_now_ns(nap->reactor);
    return nap->rc;
}

static void task_that_sleeps_wakes_no_sooner(void **state)
{
    (void)state;
    struct task_world world = task_world_open("");
    uint64_t now = plx_reactor_now_ns(world.reactor);
    struct nap naps[3];
    struct plx_task *tasks[3];
    for (unsigned i = 0; i < 3; i++) {
        naps[i] = (struct nap){.reactor = world.reactor, .ns = (3 - i) * 2000000};
        tasks[i] = task_start(&world, take_nap, &naps[i]);
    }
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(task_finish(&world, tasks[i]), 0);
        assert_true(naps[i].woken_ns - now >= naps[i].ns);
    }
    assert_true(naps[2].woken_ns <= naps[1].woken_ns && naps[1].woken_ns <= naps[0].woken_ns);
    task_world_close(&world);
}

static int64_t use_up_slice(void *ctx)
{
    unsigned *questions = ctx;
    assert_false(plx_task_should_yield());
    while (!plx_task_should_yield())
        (*questions)++;
    assert_true(plx_task_should_yield());
    (void)plx_task_yield();
    return plx_task_should_yield();
}

static void task_learns_when_its_slice_is_used_up(void **state)
{
    (void)state;
    struct task_world world = task_world_open("");
    unsigned questions = 0;
    assert_int_equal(task_do(&world, use_up_slice, &questions), 0);
    assert_true(questions > 0);
    task_world_close(&world);
}

/* --- cancelling ------------------------------------------------------------------------------- */

static void task_cancelled_while_it_sleeps_wakes(void **state)
{
    (void)state;
    struct task_world world = task_world_open("");
    struct nap nap = {.reactor = world.reactor, .ns = 3600 * 1000000000ull};
    struct plx_task *task = task_start(&world, take_nap, &nap);
    task_turn(&world, 2);
    assert_false(plx_task_is_cancelled(task));
    plx_task_cancel(task);
    plx_task_cancel(task);
    assert_true(plx_task_is_cancelled(task));
    assert_int_equal(task_finish(&world, task), -ECANCELED);
    task_world_close(&world);
}

struct pipes {
    struct plx_reactor *reactor;
    int fds[2];
    unsigned steps;
};

static void open_pipes(struct pipes *pipes, struct task_world *world)
{
    memset(pipes, 0, sizeof(*pipes));
    pipes->reactor = world->reactor;
    assert_int_equal(pipe(pipes->fds), 0);
}

static int64_t read_refused(void *ctx)
{
    struct pipes *pipes = ctx;
    char byte;
    assert_int_equal(plx_await_read(pipes->fds[0], &byte, 1, PLX_OFFSET_CURRENT), -ECANCELED);
    /* Sticky: nothing is begun any more. */
    assert_int_equal(plx_await_read(pipes->fds[0], &byte, 1, PLX_OFFSET_CURRENT), -ECANCELED);
    assert_int_equal(plx_task_sleep(1), -ECANCELED);
    assert_int_equal(plx_task_yield(), -ECANCELED);
    struct plx_task *child;
    assert_int_equal(plx_task_spawn(pipes->reactor, NULL, give, (void *)5, &child), 0);
    assert_int_equal(plx_task_join(child, NULL), -ECANCELED);

    plx_task_shield();
    int64_t result = 0;
    assert_int_equal(plx_task_join(child, &result), 0);
    assert_int_equal(result, 5);
    assert_int_equal(plx_task_yield(), 0);
    assert_int_equal(plx_task_sleep(1000), 0);
    assert_int_equal(plx_await_write(pipes->fds[1], "x", 1, PLX_OFFSET_CURRENT), 1);
    assert_int_equal(plx_await_read(pipes->fds[0], &byte, 1, PLX_OFFSET_CURRENT), 1);
    assert_int_equal(byte, 'x');
    plx_task_unshield();

    assert_int_equal(plx_await_nop(), -ECANCELED);
    assert_int_equal(plx_await_close(pipes->fds[0]), 0);
    assert_int_equal(plx_await_close(pipes->fds[1]), 0);
    return 7;
}

static void expect_sticky_cancel(const char *words)
{
    struct task_world world = task_world_open(words);
    struct pipes pipes;
    open_pipes(&pipes, &world);
    struct plx_task *task = task_start(&world, read_refused, &pipes);
    task_turn(&world, 3);
    plx_task_cancel(task);
    assert_int_equal(task_finish(&world, task), 7);
    task_world_close(&world);
}

static void cancel_is_sticky_but_for_shields_on_rings(void **state)
{
    (void)state;
    rt_need_uring();
    expect_sticky_cancel("backend=uring");
}

static void cancel_is_sticky_but_for_shields_on_epoll(void **state)
{
    (void)state;
    expect_sticky_cancel("backend=epoll");
}

static int64_t read_shielded(void *ctx)
{
    struct pipes *pipes = ctx;
    char byte = 0;
    plx_task_shield();
    pipes->steps++;
    int64_t rc = plx_await_read(pipes->fds[0], &byte, 1, PLX_OFFSET_CURRENT);
    plx_task_unshield();
    assert_int_equal(rc, 1);
    return plx_await_nop();
}

static void cancel_of_a_shielded_wait_waits_for_its_end(void **state)
{
    (void)state;
    struct task_world world = task_world_open("");
    struct pipes pipes;
    open_pipes(&pipes, &world);
    struct plx_task *task = task_start(&world, read_shielded, &pipes);
    task_turn(&world, 3);
    assert_int_equal(pipes.steps, 1);
    plx_task_cancel(task);
    task_turn(&world, 10);
    assert_int_equal(plx_task_try_join(task, NULL), -EAGAIN);
    assert_int_equal(write(pipes.fds[1], "y", 1), 1);
    assert_int_equal(task_finish(&world, task), -ECANCELED);
    close(pipes.fds[0]);
    close(pipes.fds[1]);
    task_world_close(&world);
}

static int64_t join_it(void *ctx)
{
    return plx_task_join(ctx, NULL);
}

static void join_that_is_cancelled_leaves_the_task(void **state)
{
    (void)state;
    struct task_world world = task_world_open("");
    struct nap nap = {.reactor = world.reactor, .ns = 3600 * 1000000000ull};
    struct plx_task *sleeper = task_start(&world, take_nap, &nap);
    struct plx_task *joiner = task_start(&world, join_it, sleeper);
    task_turn(&world, 3);
    /* One waits already. */
    assert_int_equal(task_do(&world, join_it, sleeper), -EBUSY);
    plx_task_cancel(joiner);
    assert_int_equal(task_finish(&world, joiner), -ECANCELED);
    assert_int_equal(plx_task_try_join(sleeper, NULL), -EAGAIN);
    plx_task_cancel(sleeper);
    assert_int_equal(task_finish(&world, sleeper), -ECANCELED);
    task_world_close(&world);
}

struct shared_end {
    struct plx_task *task;
    bool joined;
    unsigned taken;
};

static int64_t yield_and_give(void *ctx)
{
    (void)ctx;
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(plx_task_yield(), 0);
    return 11;
}

static int64_t join_shared(void *ctx)
{
    struct shared_end *end = ctx;
    int64_t result = 0;
    int rc = plx_task_join(end->task, &result);
    end->joined = true;
    return rc == 0 ? result : rc;
}

/* Behind the one that ends in the list of ready ones, so ahead of the joiner which that wakes. */
static int64_t take_shared(void *ctx)
{
    struct shared_end *end = ctx;
    while (!end->joined) {
        int rc = plx_task_try_join(end->task, NULL);
        end->taken += rc == 0;
        assert_int_equal(plx_task_yield(), 0);
    }
    return 0;
}

static void task_is_left_to_its_joiner_that_is_woken(void **state)
{
    (void)state;
    struct task_world world = task_world_open("");
    struct shared_end end = {0};
    struct plx_task *joiner = task_start(&world, join_shared, &end);
    end.task = task_start(&world, yield_and_give, NULL);
    struct plx_task *taker = task_start(&world, take_shared, &end);
    assert_int_equal(task_finish(&world, joiner), 11);
    assert_int_equal(task_finish(&world, taker), 0);
    assert_int_equal(end.taken, 0);
    task_world_close(&world);
}

static int64_t cancel_self(void *ctx)
{
    (void)ctx;
    plx_task_cancel(plx_task_self());
    return plx_task_sleep(1);
}

static void task_that_cancels_itself_is_refused_its_waits(void **state)
{
    (void)state;
    struct task_world world = task_world_open("");
    assert_int_equal(task_do(&world, cancel_self, NULL), -ECANCELED);
    task_world_close(&world);
}

/* --- the end of a reactor --------------------------------------------------------------------- */

static int64_t wait_for_ever(void *ctx)
{
    struct pipes *pipes = ctx;
    char byte;
    int64_t rc = plx_await_read(pipes->fds[0], &byte, 1, PLX_OFFSET_CURRENT);
    pipes->steps += rc == -ECANCELED;
    struct plx_task *task = plx_task_self();
    assert_int_equal(plx_task_spawn(pipes->reactor, NULL, give, NULL, &task), -ESHUTDOWN);
    assert_null(task);
    plx_task_shield();
    assert_int_equal(plx_task_sleep(1000), 0);
    assert_int_equal(plx_await_nop(), -ESHUTDOWN);
    assert_int_equal(plx_await_close(pipes->fds[0]), 0);
    pipes->steps++;
    return 0;
}

static void tasks_that_wait_are_cancelled_when_the_reactor_ends(void **state)
{
    (void)state;
    struct task_world world = task_world_open("");
    struct pipes pipes[5];
    struct nap nap = {.reactor = world.reactor, .ns = 3600 * 1000000000ull};
    for (unsigned i = 0; i < 5; i++) {
        open_pipes(&pipes[i], &world);
        (void)task_start(&world, wait_for_ever, &pipes[i]);
    }
    (void)task_start(&world, take_nap, &nap);
    task_turn(&world, 3);
    task_world_close(&world);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(pipes[i].steps, 2);
        close(pipes[i].fds[1]);
    }
    assert_int_equal(nap.rc, -ECANCELED);
}

static int64_t never_end(void *ctx)
{
    PLX_ATOMIC(bool) *ends = ctx;
    while (!plx_load_relaxed(ends))
        (void)plx_task_sleep(1000000);
    return 0;
}

static int spawn_stubborn(struct plx_reactor *reactor, void *ctx)
{
    struct plx_task_opts opts;
    plx_task_opts_init(&opts);
    opts.name = "stubborn";
    opts.detached = true;
    return plx_task_spawn(reactor, &opts, never_end, ctx, NULL);
}

static void task_that_never_ends_is_named_at_the_deadline(void **state)
{
    (void)state;
    static PLX_ATOMIC(bool) ends;
    struct plx_runtime_opts opts;
    plx_runtime_opts_init(&opts);
    opts.on_start = spawn_stubborn;
    opts.ctx = &ends;
    struct plx_runtime *rt = rt_create("", &opts);
    rt_start(rt);
    struct plx_diag diag = {0};
    assert_int_equal(plx_runtime_stop(rt, 50000000, &diag), -ETIMEDOUT);
    assert_non_null(strstr(diag.text, "task stubborn"));
    plx_store_relaxed(&ends, true);
    /* Nothing is freed: a leak detector is to see that it is meant. */
    static struct plx_runtime *lost;
    lost = rt;
    plx_runtime_destroy(lost);
}

/* --- stalls ----------------------------------------------------------------------------------- */

struct stall {
    PLX_ATOMIC(bool) told;
};

static void hear(enum plx_log_level level, const char *text, void *ctx)
{
    (void)level;
    if (strstr(text, "is stuck") != NULL && strstr(text, "running task spinner") != NULL)
        plx_store_relaxed(&((struct stall *)ctx)->told, true);
}

static int64_t spin(void *ctx)
{
    while (!plx_load_relaxed(&((struct stall *)ctx)->told))
        plx_cpu_relax();
    return 0;
}

static int spawn_spinner(struct plx_reactor *reactor, void *ctx)
{
    const struct plx_task_opts opts = {.name = "spinner", .detached = true};
    return plx_task_spawn(reactor, &opts, spin, ctx, NULL);
}

static void task_that_takes_a_turn_is_named_in_the_report_of_the_stall(void **state)
{
    (void)state;
    struct stall stall = {.told = false};
    struct plx_runtime_opts opts;
    plx_runtime_opts_init(&opts);
    opts.on_start = spawn_spinner;
    opts.log = hear;
    opts.ctx = &stall;
    struct plx_runtime *rt = rt_create("stall_report=1ms", &opts);
    rt_start(rt);
    RT_UNTIL(plx_load_relaxed(&stall.told));
    rt_finish(rt);
}

/* --- what else sees a stack ------------------------------------------------------------------- */

static void *trace[64];
static int traced;

__attribute__((noinline)) static int64_t trace_deep(unsigned depth)
{
    int64_t below = 0;
    if (depth != 0)
        below = trace_deep(depth - 1) + 1;
    else
        traced = backtrace(trace, 64);
    /* A frame each: what the compiler must not make a loop of. */
    __asm__ volatile("" : "+r"(below)::"memory");
    return below;
}

static int64_t trace_back(void *ctx)
{
    (void)ctx;
    return trace_deep(10);
}

void plx__switch_entry(void);

static void backtrace_in_a_task_ends_at_its_entry(void **state)
{
    (void)state;
    struct task_world world = task_world_open("");
    assert_int_equal(task_do(&world, trace_back, NULL), 10);
    assert_true(traced >= 4 && traced < 64);
    uintptr_t last = (uintptr_t)trace[traced - 1];
    assert_true(last > (uintptr_t)plx__switch_entry);
    assert_true(last < (uintptr_t)plx__switch_entry + 32);
    task_world_close(&world);
}

static int64_t fork_here(void *ctx)
{
    (void)ctx;
    int status = -1;
    pid_t child = fork();
    if (child == 0)
        execlp("true", "true", (char *)NULL);
    if (child <= 0)
        _exit(99);
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static void task_that_forks_goes_on_in_the_child(void **state)
{
    (void)state;
    struct task_world world = task_world_open("");
    assert_int_equal(task_do(&world, fork_here, NULL), 0);
    task_world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(task_spawned_between_turns_gives_its_result),
        cmocka_unit_test(task_that_joins_its_children_has_their_results),
        cmocka_unit_test(task_detached_is_released_by_its_end),
        cmocka_unit_test(spawn_beyond_the_bound_is_refused_and_counted),
        cmocka_unit_test(task_knows_itself_and_polls_nothing),
        cmocka_unit_test(waits_outside_of_a_task_are_refused),
        cmocka_unit_test(tasks_that_yield_run_in_turn_and_once_a_turn),
        cmocka_unit_test(task_that_sleeps_wakes_no_sooner),
        cmocka_unit_test(task_learns_when_its_slice_is_used_up),
        cmocka_unit_test(task_cancelled_while_it_sleeps_wakes),
        cmocka_unit_test(cancel_is_sticky_but_for_shields_on_rings),
        cmocka_unit_test(cancel_is_sticky_but_for_shields_on_epoll),
        cmocka_unit_test(cancel_of_a_shielded_wait_waits_for_its_end),
        cmocka_unit_test(join_that_is_cancelled_leaves_the_task),
        cmocka_unit_test(task_is_left_to_its_joiner_that_is_woken),
        cmocka_unit_test(task_that_cancels_itself_is_refused_its_waits),
        cmocka_unit_test(tasks_that_wait_are_cancelled_when_the_reactor_ends),
        cmocka_unit_test(task_that_never_ends_is_named_at_the_deadline),
        cmocka_unit_test(task_that_takes_a_turn_is_named_in_the_report_of_the_stall),
        cmocka_unit_test(backtrace_in_a_task_ends_at_its_entry),
        cmocka_unit_test(task_that_forks_goes_on_in_the_child),
    };
    return cmocka_run_group_tests_name("task", tests, NULL, NULL);
}
