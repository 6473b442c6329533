/* SPDX-License-Identifier: MIT */
/* Reactors that sleep when there is nothing to do: what wakes them, and that nothing else does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "runtime/runtime_internal.h"
#include "test/deny.h"
#include "test/runtime/io/seen.h"
#include "test/runtime/rt_fixture.h"

/* Each case runs with each of these. */
static const char *const policies[] = {
    "idle=block",
    "idle=adaptive spin_time=100us",
    "idle=block backend=epoll",
    "idle=adaptive spin_time=0 backend=epoll",
    "idle=block sqpoll=on sqpoll_cpus=1 sqpoll_idle=5ms",
};
#define POLICIES (sizeof(policies) / sizeof(*policies))

static PLX_ATOMIC(uint32_t) came;
static struct plx_timer timer;
static struct plx_poller poller;
static struct plx_op op;
static int fds[2];
static uint8_t room[64];

static struct plx_runtime *create(const char *policy, const char *more,
                                  int (*on_start)(struct plx_reactor *, void *))
{
    char words[256];
    struct plx_runtime_opts opts;
    plx_runtime_opts_init(&opts);
    opts.take_signals = false;
    opts.on_start = on_start;
    snprintf(words, sizeof(words), "%s %s", policy, more);
    plx_store_relaxed(&came, 0);
    return rt_create(words, &opts);
}

static bool can_run(const char *policy)
{
    if (strstr(policy, "sqpoll=on") != NULL && rt_cpus_allowed() < 2) {
        print_message("  left out, one CPU: %s\n", policy);
        return false;
    }
    return true;
}

static struct plx_reactor_stats stats_of(struct plx_runtime *rt, uint32_t index)
{
    struct plx_reactor_stats stats;
    plx_reactor_read_stats(plx_runtime_reactor(rt, index), &stats);
    return stats;
}

static void until_it_sleeps(struct plx_runtime *rt, uint32_t index)
{
    struct plx_reactor *r = plx_runtime_reactor(rt, index);
    RT_UNTIL(plx_load_relaxed(&r->wake.asleep) != 0);
}

static void note_post(struct plx_reactor *here, const void *body)
{
    (void)here;
    (void)body;
    plx_store_release(&came, plx_load_relaxed(&came) + 1);
}

/* --- what wakes ------------------------------------------------------------------------------- */

static void post_wakes_a_sleeper(void **state)
{
    (void)state;
    for (size_t i = 0; i < POLICIES; i++) {
        /* Two reactors that share an SQ thread begin one after the other. */
        if (strstr(policies[i], "sqpoll=on") != NULL)
            continue;
        struct plx_runtime *rt = create(policies[i], "reactors=2", NULL);
        struct plx_reactor *other = rt_adopt(rt, 1);
        rt_start(rt);
        for (uint32_t n = 1; n <= 5; n++) {
            until_it_sleeps(rt, 0);
            assert_int_equal(plx_mesh_post(other, 0, note_post, NULL, 0), 0);
            (void)plx_reactor_poll(other);
            RT_UNTIL(plx_load_acquire(&came) == n);
        }
        rt_abandon(other);
        rt_finish(rt);
    }
}

static void post_between_turns_wakes_a_sleeper(void **state)
{
    (void)state;
    for (size_t i = 0; i < POLICIES; i++) {
        if (strstr(policies[i], "sqpoll=on") != NULL)
            continue;
        struct plx_runtime *rt = create(policies[i], "reactors=2", NULL);
        struct plx_reactor *other = rt_adopt(rt, 1);
        rt_start(rt);
        until_it_sleeps(rt, 0);
        while (plx_reactor_poll(other) != 0)
            ;
        /* Who posts goes to sleep, too. */
        assert_int_equal(plx_mesh_post(other, 0, note_post, NULL, 0), 0);
        assert_true(plx_reactor_prepare_wait(other) > 0);
        RT_UNTIL(plx_load_acquire(&came) == 1);
        rt_abandon(other);
        rt_finish(rt);
    }
}

static void post_wakes_a_sleeper_when_a_third_one_has_ended(void **state)
{
    (void)state;
    struct plx_runtime *rt = create(policies[0], "reactors=3", NULL);
    struct plx_reactor *others[2] = {rt_adopt(rt, 1), rt_adopt(rt, 2)};
    rt_start(rt);
    until_it_sleeps(rt, 0);
    assert_int_equal(plx_mesh_post(others[0], 0, note_post, NULL, 0), 0);
    /* As if an end had come just now, of which everybody else has taken notice already. */
    others[0]->mesh.ended_known--;
    assert_int_equal(plx_mesh_post(others[0], 2, note_post, NULL, 0), 0);
    (void)plx_reactor_poll(others[0]);
    RT_UNTIL(plx_load_acquire(&came) == 1);
    rt_abandon(others[0]);
    rt_abandon(others[1]);
    rt_finish(rt);
}

static void on_timer(struct plx_timer *fired, void *ctx)
{
    (void)fired;
    (void)ctx;
    plx_store_release(&came, 1);
}

static int arm_timer(struct plx_reactor *reactor, void *ctx)
{
    (void)ctx;
    plx_timer_arm(reactor, &timer, plx_reactor_now_ns(reactor) + 30000000, on_timer, NULL);
    return 0;
}

static void timer_wakes_a_sleeper_and_never_early(void **state)
{
    (void)state;
    for (size_t i = 0; i < POLICIES; i++) {
        if (!can_run(policies[i]))
            continue;
        struct plx_runtime *rt = create(policies[i], "", arm_timer);
        uint64_t began = rt_now_ns();
        rt_start(rt);
        RT_UNTIL(plx_load_acquire(&came) == 1);
        assert_true(rt_now_ns() - began >= 30000000);
        assert_true(stats_of(rt, 0).sleeps > 0);
        rt_finish(rt);
    }
}

static void on_recv(struct plx_op *ended, const struct plx_event *event, void *ctx)
{
    (void)ended;
    (void)ctx;
    plx_store_release(&came, (uint32_t)event->result);
}

static int receive(struct plx_reactor *reactor, void *ctx)
{
    (void)ctx;
    plx_op_recv(&op, fds[0], room, sizeof(room), 0, on_recv, NULL);
    return plx_op_submit(reactor, &op);
}

static void event_of_an_op_wakes_a_sleeper(void **state)
{
    (void)state;
    for (size_t i = 0; i < POLICIES; i++) {
        if (!can_run(policies[i]))
            continue;
        make_pair(SOCK_STREAM, fds);
        struct plx_runtime *rt = create(policies[i], "", receive);
        rt_start(rt);
        until_it_sleeps(rt, 0);
        assert_int_equal(write(fds[1], "hello", 5), 5);
        RT_UNTIL(plx_load_acquire(&came) == 5);
        rt_finish(rt);
        close(fds[0]);
        close(fds[1]);
    }
}

static void on_closed(struct plx_op *ended, const struct plx_event *event, void *ctx)
{
    (void)ended;
    (void)ctx;
    plx_store_release(&came, plx_load_relaxed(&came) + (event->result == 0 ? 1 : 1000));
}

static int receive_and_close(struct plx_reactor *reactor, void *ctx)
{
    static struct plx_op closing;
    int rc = receive(reactor, ctx);
    plx_op_close(&closing, fds[0], on_closed, NULL);
    return rc != 0 ? rc : plx_op_submit(reactor, &closing);
}

static void close_that_waits_for_an_op_lets_its_reactor_sleep(void **state)
{
    (void)state;
    for (size_t i = 0; i < POLICIES; i++) {
        if (!can_run(policies[i]))
            continue;
        make_pair(SOCK_STREAM, fds);
        struct plx_runtime *rt = create(policies[i], "", receive_and_close);
        rt_start(rt);
        until_it_sleeps(rt, 0);
        assert_int_equal(write(fds[1], "hello", 5), 5);
        RT_UNTIL(plx_load_acquire(&came) == 6);
        rt_finish(rt);
        close(fds[1]);
    }
}

static uint32_t look(struct plx_poller *armed, void *ctx)
{
    struct plx_reactor *reactor = ctx;
    int64_t got = plx_recv_now(reactor, fds[0], room, sizeof(room));
    if (got <= 0)
        return 0;
    plx_poller_disarm(reactor, armed);
    plx_store_release(&came, (uint32_t)got);
    return 1;
}

static int look_with_watch(struct plx_reactor *reactor, void *ctx)
{
    (void)ctx;
    plx_poller_arm(reactor, &poller, look, reactor);
    return plx_poller_watch(reactor, &poller, fds[0], POLLIN);
}

static void hot_socket_wakes_a_sleeper(void **state)
{
    (void)state;
    for (size_t i = 0; i < POLICIES; i++) {
        if (!can_run(policies[i]))
            continue;
        make_pair(SOCK_STREAM, fds);
        struct plx_runtime *rt = create(policies[i], "", look_with_watch);
        rt_start(rt);
        until_it_sleeps(rt, 0);
        assert_int_equal(write(fds[1], "hello", 5), 5);
        RT_UNTIL(plx_load_acquire(&came) == 5);
        until_it_sleeps(rt, 0);
        rt_finish(rt);
        close(fds[0]);
        close(fds[1]);
    }
}

static int look_without_watch(struct plx_reactor *reactor, void *ctx)
{
    (void)ctx;
    plx_poller_arm(reactor, &poller, look, reactor);
    return 0;
}

static void poller_without_a_watch_keeps_its_reactor_awake(void **state)
{
    (void)state;
    make_pair(SOCK_STREAM, fds);
    struct plx_runtime *rt = create("idle=block", "", look_without_watch);
    rt_start(rt);
    RT_UNTIL(stats_of(rt, 0).turns > 100);
    assert_true(stats_of(rt, 0).sleeps == 0);
    assert_int_equal(write(fds[1], "hello", 5), 5);
    RT_UNTIL(plx_load_acquire(&came) == 5);
    rt_finish(rt);
    close(fds[0]);
    close(fds[1]);
}

static void watches_used_up_are_refused_and_come_back(void **state)
{
    (void)state;
    static struct plx_poller many[32];
    struct plx_runtime *rt = create("idle=block", "hot_max=0", NULL);
    struct plx_reactor *reactor = rt_adopt(rt, 0);
    make_pair(SOCK_STREAM, fds);
    unsigned watched = 0;
    for (; watched < 32; watched++) {
        plx_poller_arm(reactor, &many[watched], look, reactor);
        if (plx_poller_watch(reactor, &many[watched], fds[0], POLLIN) != 0)
            break;
    }
    assert_int_equal(watched, 16);
    assert_int_equal(plx_reactor_prepare_wait(reactor), 0);
    plx_poller_disarm(reactor, &many[0]);
    assert_int_equal(plx_poller_watch(reactor, &many[watched], fds[0], POLLIN), 0);
    for (unsigned i = 1; i <= watched; i++)
        plx_poller_disarm(reactor, &many[i]);
    rt_abandon(reactor);
    rt_finish(rt);
    close(fds[0]);
    close(fds[1]);
}

static void stop_wakes_sleepers(void **state)
{
    (void)state;
    for (size_t i = 0; i < POLICIES; i++) {
        if (!can_run(policies[i]) || strstr(policies[i], "sqpoll=on") != NULL)
            continue;
        struct rt_things before = rt_count_things();
        struct plx_runtime *rt = create(policies[i], "reactors=2", NULL);
        rt_start(rt);
        until_it_sleeps(rt, 0);
        until_it_sleeps(rt, 1);
        rt_finish(rt);
        rt_expect_things(&before);
    }
}

static void *stop_the_sleeper(void *ctx)
{
    struct plx_runtime *rt = ctx;
    until_it_sleeps(rt, 0);
    plx_runtime_request_stop(rt);
    return NULL;
}

static void requested_stop_wakes_an_adopted_sleeper_once(void **state)
{
    (void)state;
    for (size_t i = 0; i < POLICIES; i++) {
        if (!can_run(policies[i]))
            continue;
        struct plx_runtime *rt = create(policies[i], "", NULL);
        struct plx_reactor *reactor = rt_adopt(rt, 0);
        pthread_t thread;
        /* What a lost wake-up would end with. */
        plx_timer_arm(reactor, &timer, plx_reactor_now_ns(reactor) + RT_PATIENCE_NS, on_timer,
                      NULL);
        assert_int_equal(pthread_create(&thread, NULL, stop_the_sleeper, rt), 0);
        while (!plx_runtime_is_stopping(rt) && plx_load_relaxed(&came) == 0) {
            if (plx_reactor_poll(reactor) == 0)
                plx_reactor_idle(reactor);
        }
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(plx_load_relaxed(&came), 0);
        /* It was no longer asleep, or sleeps again: nobody has to act upon it. */
        int64_t ns = 0;
        for (unsigned turns = 0; ns == 0 && turns < 1000; turns++) {
            while (plx_reactor_poll(reactor) != 0)
                ;
            ns = plx_reactor_prepare_wait(reactor);
        }
        assert_true(ns > 0);
        plx_timer_disarm(reactor, &timer);
        rt_abandon(reactor);
        rt_finish(rt);
    }
}

static void stop_requested_before_a_sleep_is_told_first(void **state)
{
    (void)state;
    struct plx_runtime *rt = create("idle=block", "", NULL);
    struct plx_reactor *reactor = rt_adopt(rt, 0);
    while (plx_reactor_poll(reactor) != 0)
        ;
    plx_runtime_request_stop(rt);
    assert_int_equal(plx_reactor_prepare_wait(reactor), 0);
    assert_true(plx_reactor_prepare_wait(reactor) > 0);
    rt_abandon(reactor);
    rt_finish(rt);
}

static void stop_requested_in_a_forked_child_is_harmless(void **state)
{
    (void)state;
    struct plx_runtime *rt = create("idle=block", "", NULL);
    rt_start(rt);
    until_it_sleeps(rt, 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        plx_runtime_request_stop(rt);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_false(plx_runtime_is_stopping(rt));
    rt_finish(rt);
}

/* --- what does not ---------------------------------------------------------------------------- */

/* Of the thread of reactor 0. */
static uint64_t cpu_ns(const struct plx_runtime *rt)
{
    clockid_t clock;
    struct timespec spent;
    assert_int_equal(pthread_getcpuclockid(rt->slots[0].thread, &clock), 0);
    assert_int_equal(clock_gettime(clock, &spent), 0);
    return (uint64_t)spent.tv_sec * 1000000000 + (uint64_t)spent.tv_nsec;
}

static void sleeper_with_nothing_to_do_takes_no_turns_and_no_core(void **state)
{
    (void)state;
    for (size_t i = 0; i < POLICIES; i++) {
        if (!can_run(policies[i]))
            continue;
        struct plx_runtime *rt = create(policies[i], "", NULL);
        rt_start(rt);
        until_it_sleeps(rt, 0);
        uint64_t turns = stats_of(rt, 0).turns;
        uint64_t spent = cpu_ns(rt);
        uint64_t until = rt_now_ns() + 200000000;
        while (rt_now_ns() < until)
            rt_pause();
        assert_in_range(stats_of(rt, 0).turns - turns, 0, 3);
        /* Below 1 %: of what it used, which no other program makes more. */
        assert_in_range(cpu_ns(rt) - spent, 0, 2000000);
        rt_finish(rt);
    }
}

/* --- again and again -------------------------------------------------------------------------- */

#define ROUNDS 5000u

static void bounce(struct plx_reactor *here, const void *body)
{
    uint32_t left = *(const uint32_t *)body;
    if (left == 0) {
        plx_store_release(&came, 1);
        return;
    }
    left--;
    if (plx_mesh_post(here, 1 - plx_reactor_index(here), bounce, &left, sizeof(left)) != 0)
        abort();
}

static int serve(struct plx_reactor *reactor, void *ctx)
{
    (void)ctx;
    uint32_t left = ROUNDS;
    if (plx_reactor_index(reactor) == 1)
        return 0;
    return plx_mesh_post(reactor, 0, bounce, &left, sizeof(left)) == 0 ? 0 : -EAGAIN;
}

static void ball_between_sleepers_is_never_lost(void **state)
{
    (void)state;
    for (size_t i = 0; i < POLICIES; i++) {
        if (strstr(policies[i], "sqpoll=on") != NULL)
            continue;
        struct plx_runtime *rt = create(policies[i], "reactors=2", serve);
        rt_start(rt);
        RT_UNTIL(plx_load_acquire(&came) == 1);
        if (strstr(policies[i], "block") != NULL)
            assert_true(stats_of(rt, 0).sleeps > 0);
        rt_finish(rt);
    }
}

/* --- in another loop -------------------------------------------------------------------------- */

static void reactor_in_a_loop_of_poll_wakes_for_everything(void **state)
{
    (void)state;
    for (size_t i = 0; i < POLICIES; i++) {
        if (!can_run(policies[i]))
            continue;
        make_pair(SOCK_STREAM, fds);
        struct plx_runtime *rt = create(policies[i], "", NULL);
        struct plx_reactor *reactor = rt_adopt(rt, 0);
        int fd = plx_reactor_fd(reactor);
        assert_true(fd >= 0);
        assert_int_equal(receive(reactor, NULL), 0);
        arm_timer(reactor, NULL);
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        unsigned waits = 0;
        bool wrote = false;
        for (;;) {
            while (plx_reactor_poll(reactor) != 0)
                ;
            if (plx_load_relaxed(&came) == 5)
                break;
            int64_t ns = plx_reactor_prepare_wait(reactor);
            assert_true(ns >= 0);
            if (ns == 0)
                continue;
            /* Only the timer was there to wait for before. */
            if (plx_load_relaxed(&came) == 1 && !wrote) {
                assert_int_equal(write(fds[1], "hello", 5), 5);
                wrote = true;
            }
            int ms = ns < 10000000000 ? (int)(ns / 1000000) + 1 : 10000;
            assert_true(poll(&wait, 1, ms) >= 0);
            assert_true(++waits < 1000);
        }
        rt_abandon(reactor);
        rt_finish(rt);
        close(fds[0]);
        close(fds[1]);
    }
}

static void reactor_that_spins_has_no_descriptor_to_wait_for(void **state)
{
    (void)state;
    struct plx_runtime *rt = create("idle=spin", "", NULL);
    struct plx_reactor *reactor = rt_adopt(rt, 0);
    assert_int_equal(plx_reactor_fd(reactor), -EOPNOTSUPP);
    assert_true(plx_reactor_prepare_wait(reactor) == -EOPNOTSUPP);
    rt_abandon(reactor);
    rt_finish(rt);
}

/* --- without a descriptor --------------------------------------------------------------------- */

static void sleeper_without_an_eventfd_is_an_error_that_names_the_policy(void **state)
{
    (void)state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct plx_runtime *rt = create("idle=block", "", NULL);
        struct plx_reactor *reactor = NULL;
        struct plx_diag diag = {0};
        int next = dup(0);
        close(next);
        const struct rlimit limit = {(rlim_t)next, (rlim_t)next};
        if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
            _exit(2);
        int rc = plx_reactor_adopt(rt, 0, &reactor, &diag);
        _exit(rc == -EMFILE && strcmp(diag.what, "POLLUX_IDLE") == 0 ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* In the child: its exit status says where it went wrong. */
static int sleep_otherwise(int error)
{
    static struct rt_lines lines;
    struct plx_runtime *rt = create("idle=block backend=epoll", "", NULL);
    struct plx_reactor *reactor = rt_adopt(rt, 0);
    plx_reactor_explain(reactor, rt_keep_line, &lines);
    char told[128];
    snprintf(told, sizeof(told), "not got: epoll_pwait2 refused (%s)", strerror(error));
    if (rt_lines_with(&lines, told) != 1)
        return 1;

    uint64_t at = plx_reactor_now_ns(reactor) + 30000000;
    plx_timer_arm(reactor, &timer, at, on_timer, NULL);
    while (plx_load_relaxed(&came) == 0) {
        if (plx_reactor_poll(reactor) == 0)
            plx_reactor_idle(reactor);
    }
    if (plx_reactor_now_ns(reactor) < at)
        return 2;
    /* One, and some that found an edge; without a sleep there are thousands. */
    uint64_t sleeps = stats_of(rt, 0).sleeps;
    if (sleeps == 0 || sleeps > 100)
        return 3;

    pthread_t thread;
    plx_timer_arm(reactor, &timer, plx_reactor_now_ns(reactor) + RT_PATIENCE_NS, on_timer, NULL);
    plx_store_relaxed(&came, 0);
    if (pthread_create(&thread, NULL, stop_the_sleeper, rt) != 0)
        return 4;
    while (!plx_runtime_is_stopping(rt) && plx_load_relaxed(&came) == 0) {
        if (plx_reactor_poll(reactor) == 0)
            plx_reactor_idle(reactor);
    }
    if (pthread_join(thread, NULL) != 0 || plx_load_relaxed(&came) != 0)
        return 5;
    rt_abandon(reactor);
    rt_finish(rt);
    return 0;
}

static void sleeper_whose_wait_is_refused_sleeps_by_another(void **state)
{
    (void)state;
    assert_int_equal(deny_in_child(SYS_epoll_pwait2, EPERM, sleep_otherwise), 0);
    assert_int_equal(deny_in_child(SYS_epoll_pwait2, ENOSYS, sleep_otherwise), 0);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(post_wakes_a_sleeper),
        cmocka_unit_test(post_between_turns_wakes_a_sleeper),
        cmocka_unit_test(post_wakes_a_sleeper_when_a_third_one_has_ended),
        cmocka_unit_test(timer_wakes_a_sleeper_and_never_early),
        cmocka_unit_test(event_of_an_op_wakes_a_sleeper),
        cmocka_unit_test(close_that_waits_for_an_op_lets_its_reactor_sleep),
        cmocka_unit_test(hot_socket_wakes_a_sleeper),
        cmocka_unit_test(poller_without_a_watch_keeps_its_reactor_awake),
        cmocka_unit_test(watches_used_up_are_refused_and_come_back),
        cmocka_unit_test(stop_wakes_sleepers),
        cmocka_unit_test(requested_stop_wakes_an_adopted_sleeper_once),
        cmocka_unit_test(stop_requested_before_a_sleep_is_told_first),
        cmocka_unit_test(stop_requested_in_a_forked_child_is_harmless),
        cmocka_unit_test(sleeper_with_nothing_to_do_takes_no_turns_and_no_core),
        cmocka_unit_test(ball_between_sleepers_is_never_lost),
        cmocka_unit_test(reactor_in_a_loop_of_poll_wakes_for_everything),
        cmocka_unit_test(reactor_that_spins_has_no_descriptor_to_wait_for),
        cmocka_unit_test(sleeper_without_an_eventfd_is_an_error_that_names_the_policy),
        cmocka_unit_test(sleeper_whose_wait_is_refused_sleeps_by_another),
    };
    return cmocka_run_group_tests(cases, NULL, NULL);
}
