/* SPDX-License-Identifier: MIT */
/* The keeper: stuck reactors are told with where they are; signals end a runtime; forks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/mesh/port.h"
#include "runtime/runtime_internal.h"
#include "runtime/symbol_internal.h"
#include "test/runtime/rt_fixture.h"

static struct rt_lines lines;
static int (*real_backtrace)(void **frames, int size);
static PLX_ATOMIC(uint32_t) holds_backtrace; /* while it is not 0, backtrace does not return */
static PLX_ATOMIC(uint32_t) backtraces;      /* that a held reactor has begun */
static PLX_ATOMIC(uint32_t) hold; /* while it is not 0, a held reactor stays where it is */
static PLX_ATOMIC(uint32_t) held; /* how many have been */
static PLX_ATOMIC(uint32_t) gone; /* how many of them were let go */

static void keep_log(enum plx_log_level level, const char *text, void *ctx)
{
    (void)ctx;
    assert_int_equal(level, PLX_LOG_WARN);
    rt_keep_line(text, &lines);
}

/* In place of the C library's, which in a handler may wait for a lock. */
int backtrace(void **frames, int size)
{
    if (plx_load_acquire(&held) != 0) {
        plx_store_release(&backtraces, plx_load_relaxed(&backtraces) + 1);
        while (plx_load_acquire(&holds_backtrace) != 0)
            plx_cpu_relax();
    }
    return real_backtrace(frames, size);
}

static int find_backtrace(void **state)
{
    (void)state;
    void *found = dlsym(RTLD_NEXT, "backtrace");
    memcpy(&real_backtrace, &found, sizeof(found));
    return real_backtrace != NULL ? 0 : -1;
}

static struct plx_runtime_opts logging(void)
{
    struct plx_runtime_opts opts;
    plx_runtime_opts_init(&opts);
    opts.log = keep_log;
    opts.take_signals = false;
    plx_store_relaxed(&lines.count, 0);
    plx_store_relaxed(&held, 0);
    plx_store_relaxed(&gone, 0);
    return opts;
}

/* Not inlined, so that a backtrace has its name. */
__attribute__((noinline)) static void be_stuck_here(void)
{
    plx_store_release(&held, plx_load_relaxed(&held) + 1);
    while (plx_load_acquire(&hold) != 0)
        plx_cpu_relax();
    plx_store_release(&gone, plx_load_relaxed(&gone) + 1);
}

static void stuck_post(struct plx_reactor *here, const void *body)
{
    (void)here;
    (void)body;
    be_stuck_here();
}

static uint64_t reports_of(struct plx_runtime *rt, uint32_t index)
{
    return plx_load_relaxed(&rt->slots[index].stall_reports);
}

/* --- stuck ------------------------------------------------------------------------------------ */

static uint32_t get_stuck(struct plx_poller *poller, void *ctx)
{
    struct plx_reactor *reactor = ctx;
    plx_poller_disarm(reactor, poller);
    be_stuck_here();
    return 1;
}

static struct plx_poller poller;

static int stick_at_once(struct plx_reactor *reactor, void *ctx)
{
    (void)ctx;
    plx_poller_arm(reactor, &poller, get_stuck, reactor);
    return 0;
}

static void reactor_stuck_in_a_turn_is_told_with_a_backtrace(void **state)
{
    (void)state;
    struct rt_things before = rt_count_things();
    struct plx_runtime_opts opts = logging();
    opts.on_start = stick_at_once;
    struct plx_runtime *rt = rt_create("stall_report=5ms", &opts);
    plx_store_relaxed(&hold, 1);
    rt_start(rt);
    RT_UNTIL(reports_of(rt, 0) >= 3);
    plx_store_release(&hold, 0);
    struct plx_reactor_stats stats;
    RT_UNTIL((plx_reactor_read_stats(plx_runtime_reactor(rt, 0), &stats), stats.stalled_turns > 0));
    assert_true(stats.stall_reports >= 3);
    assert_true(stats.stalled_ns >= 5000000);
    rt_finish(rt);
    assert_true(rt_lines_with(&lines, "reactor 0 (cpu 0) is stuck: in one turn for") >= 3);
    if (!rt_is_sanitized()) {
        assert_true(rt_lines_with(&lines, "be_stuck_here+0x") >= 1);
        assert_true(rt_lines_with(&lines, "get_stuck+0x") >= 1);
        assert_true(rt_lines_with(&lines, "plx_reactor_poll+0x") >= 1);
    }
    rt_expect_things(&before);
}

static void stall_after_a_told_one_is_left_out_and_counted(void **state)
{
    (void)state;
    struct plx_runtime_opts opts = logging();
    struct plx_runtime *rt = rt_create("reactors=2 stall_report=2ms", &opts);
    struct plx_reactor *other = rt_adopt(rt, 1);
    rt_start(rt);
    plx_store_relaxed(&hold, 1);
    assert_int_equal(plx_mesh_post(other, 0, stuck_post, NULL, 0), 0);
    (void)plx_reactor_poll(other);
    RT_UNTIL(reports_of(rt, 0) >= 1);
    plx_store_release(&hold, 0);
    RT_UNTIL(plx_load_acquire(&gone) == 1);
    /* The next one, at once: its first report is left out, those at twice and more are not. */
    uint64_t told = reports_of(rt, 0);
    for (unsigned i = 0; i < 3; i++)
        (void)plx_reactor_poll(other);
    plx_store_relaxed(&hold, 1);
    assert_int_equal(plx_mesh_post(other, 0, stuck_post, NULL, 0), 0);
    (void)plx_reactor_poll(other);
    RT_UNTIL(plx_load_acquire(&held) == 2 && reports_of(rt, 0) > told);
    plx_store_release(&hold, 0);
    rt_abandon(other);
    rt_finish(rt);
    assert_true(rt_lines_with(&lines, "is stuck") >= 2);
}

static uint32_t wait_for_report(struct plx_poller *armed, void *ctx)
{
    struct plx_reactor *reactor = ctx;
    plx_poller_disarm(reactor, armed);
    RT_UNTIL(reports_of(plx_reactor_runtime(reactor), 0) != 0);
    return 1;
}

static void stuck_thread_that_blocks_the_signal_is_told_without_a_backtrace(void **state)
{
    (void)state;
    struct plx_runtime_opts opts = logging();
    struct plx_runtime *rt = rt_create("stall_report=2ms", &opts);
    struct plx_reactor *reactor = rt_adopt(rt, 0);
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, plx__keeper_signal());
    pthread_sigmask(SIG_BLOCK, &one, NULL);
    plx_poller_arm(reactor, &poller, wait_for_report, reactor);
    (void)plx_reactor_poll(reactor);
    pthread_sigmask(SIG_UNBLOCK, &one, NULL);
    rt_abandon(reactor);
    rt_finish(rt);
    assert_true(rt_lines_with(&lines, "does not say where") >= 1);
}

static void backtrace_that_hangs_is_waited_for_no_longer(void **state)
{
    (void)state;
    struct plx_runtime_opts opts = logging();
    opts.on_start = stick_at_once;
    struct plx_runtime *rt = rt_create("stall_report=5ms", &opts);
    plx_store_relaxed(&hold, 1);
    plx_store_relaxed(&backtraces, 0);
    plx_store_relaxed(&holds_backtrace, 1);
    rt_start(rt);
    /* Asks that the thread got no time to answer go before. */
    RT_UNTIL(plx_load_acquire(&backtraces) == 1);
    /* That one is told without, and nobody is asked for the next one. */
    uint64_t told = reports_of(rt, 0);
    RT_UNTIL(reports_of(rt, 0) >= told + 2);
    assert_int_equal(plx_load_acquire(&backtraces), 1);
    plx_store_release(&holds_backtrace, 0);
    /* It has come back, so that there are frames again. */
    RT_UNTIL(plx_load_acquire(&backtraces) >= 2);
    plx_store_release(&hold, 0);
    rt_finish(rt);
    assert_true(rt_lines_with(&lines, "does not say where") >= 2);
    assert_true(rt_lines_with(&lines, "; at") >= 1);
}

static void reactor_between_turns_is_not_stuck(void **state)
{
    (void)state;
    struct plx_runtime_opts opts = logging();
    struct plx_runtime *rt = rt_create("stall_report=1ms", &opts);
    struct plx_reactor *reactor = rt_adopt(rt, 0);
    (void)plx_reactor_poll(reactor);
    /* Not polled for many times the threshold. */
    for (unsigned i = 0; i < 200; i++)
        rt_pause();
    assert_int_equal(reports_of(rt, 0), 0);
    rt_abandon(reactor);
    rt_finish(rt);
    assert_int_equal(rt_lines_with(&lines, "is stuck"), 0);
}

static void keeper_stays_for_adopted_reactors_when_a_start_fails(void **state)
{
    (void)state;
    struct rt_things before = rt_count_things();
    struct plx_runtime_opts opts = logging();
    opts.take_signals = true;
    struct plx_runtime *rt = rt_create("reactors=2 stall_report=2ms", &opts);
    struct plx_reactor *reactor = rt_adopt(rt, 0);
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    assert_int_equal(sigismember(&mask, SIGTERM), 0);

    struct rlimit was;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
    int next = dup(0);
    close(next);
    const struct rlimit limit = {.rlim_cur = (rlim_t)next, .rlim_max = was.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    int rc = plx_runtime_start(rt, NULL);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
    assert_int_equal(rc, -EMFILE);
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    assert_int_equal(sigismember(&mask, SIGTERM), 0);

    plx_poller_arm(reactor, &poller, wait_for_report, reactor);
    (void)plx_reactor_poll(reactor);
    rt_abandon(reactor);
    rt_finish(rt);
    assert_true(rt_lines_with(&lines, "reactor 0 (cpu 0) is stuck") >= 1);
    rt_expect_things(&before);
}

/* What a callback of the log does in the keeper's thread while a start that failed ends it. */
static struct {
    PLX_ATOMIC(uint32_t) called;
    PLX_ATOMIC(uint32_t) starts;
    struct plx_runtime *rt;
    struct rlimit files;
    bool taken;
    int port_rc;
    int adopt_rc;
    bool replaced; /* the reactor that it adopted has a keeper of its own */
} meddler;

/* Whether the keeper is taken from its runtime, in time; false when the lock stays held, too. */
static bool see_keeper_taken(void)
{
    uint64_t until = rt_now_ns() + RT_PATIENCE_NS;
    bool taken = false;
    while (!taken && rt_now_ns() < until) {
        if (pthread_mutex_trylock(&meddler.rt->lock) == 0) {
            taken = meddler.rt->keeper == NULL;
            pthread_mutex_unlock(&meddler.rt->lock);
        }
        rt_pause();
    }
    return taken;
}

static void meddle(enum plx_log_level level, const char *text, void *ctx)
{
    (void)level;
    (void)text;
    (void)ctx;
    if (plx_load_relaxed(&meddler.called) != 0)
        return;
    plx_store_release(&meddler.called, 1);
    RT_UNTIL(plx_load_acquire(&meddler.starts) != 0);
    meddler.taken = see_keeper_taken();
    setrlimit(RLIMIT_NOFILE, &meddler.files);
    if (!meddler.taken)
        return;
    struct plx_port *port;
    meddler.port_rc = plx_port_create(meddler.rt, &port, NULL);
    if (meddler.port_rc == 0)
        meddler.port_rc = plx_port_destroy(port, RT_PATIENCE_NS);
    struct plx_reactor *reactor;
    meddler.adopt_rc = plx_reactor_adopt(meddler.rt, 1, &reactor, NULL);
    if (meddler.adopt_rc != 0)
        return;
    meddler.replaced = meddler.rt->keeper != NULL;
    rt_abandon(reactor);
}

static uint32_t wait_for_meddler(struct plx_poller *armed, void *ctx)
{
    plx_poller_disarm(ctx, armed);
    RT_UNTIL(plx_load_acquire(&meddler.called) != 0);
    return 1;
}

static void start_that_fails_waits_for_the_log_without_the_lock(void **state)
{
    (void)state;
    struct rt_things before = rt_count_things();
    struct plx_runtime_opts opts = logging();
    opts.log = meddle;
    struct plx_runtime *rt = rt_create("reactors=2 ports=1 stall_report=2ms", &opts);
    meddler.rt = rt;
    struct plx_reactor *reactor = rt_adopt(rt, 0);
    plx_poller_arm(reactor, &poller, wait_for_meddler, reactor);
    (void)plx_reactor_poll(reactor);
    rt_abandon(reactor);

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &meddler.files), 0);
    int next = dup(0);
    close(next);
    const struct rlimit limit = {.rlim_cur = (rlim_t)next, .rlim_max = meddler.files.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    plx_store_release(&meddler.starts, 1);
    assert_int_equal(plx_runtime_start(rt, NULL), -EMFILE);
    /* It was in the log until then. */
    assert_true(meddler.taken);
    assert_int_equal(meddler.port_rc, 0);
    assert_int_equal(meddler.adopt_rc, 0);
    assert_true(meddler.replaced);
    rt_finish(rt);
    rt_expect_things(&before);
}

static void keeper_with_nothing_to_do_is_not_there(void **state)
{
    (void)state;
    struct rt_things before = rt_count_things();
    struct plx_runtime_opts opts = logging();
    struct plx_runtime *rt = rt_create("stall_report=inf backend=epoll", &opts);
    struct plx_reactor *reactor = rt_adopt(rt, 0);
    assert_null(rt->keeper);
    rt_abandon(reactor);
    rt_finish(rt);
    opts.log = NULL;
    rt = rt_create("stall_report=10ms", &opts);
    reactor = rt_adopt(rt, 0);
    assert_null(rt->keeper);
    rt_abandon(reactor);
    rt_finish(rt);
    rt_expect_things(&before);
}

/* --- names ------------------------------------------------------------------------------------ */

static void symbol_of_a_static_function_is_its_name(void **state)
{
    (void)state;
    char text[256];
    int length = plx__symbol_format((const char *)(uintptr_t)be_stuck_here + 1, text, sizeof(text));
    assert_int_equal(length, strlen(text));
    assert_non_null(strstr(text, "be_stuck_here+0x1 (test_keeper+0x"));
}

static void symbol_of_no_code_is_a_number(void **state)
{
    (void)state;
    char text[32];
    assert_true(plx__symbol_format((const void *)(uintptr_t)0x10, text, sizeof(text)) > 0);
    assert_string_equal(text, "0x10");
    char little[4];
    assert_int_equal(plx__symbol_format((const char *)(uintptr_t)be_stuck_here, little, 4), 3);
    assert_int_equal(strlen(little), 3);
}

/* --- signals: in a child, since they end processes -------------------------------------------- */

#define EXIT_FINE 7

/* Runs `body` in a child; gives its wait status. */
static int in_child(void (*body)(int ready), int first_signal, int second_signal)
{
    int ready[2];
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(ready[0]);
        signal(SIGINT, SIG_DFL);
        signal(SIGTERM, SIG_DFL);
        alarm(60);
        body(ready[1]);
        _exit(1);
    }
    close(ready[1]);
    char byte = 0;
    int signals[] = {first_signal, second_signal};
    for (unsigned i = 0; i < 2 && signals[i] != 0; i++) {
        assert_int_equal(read(ready[0], &byte, 1), 1);
        assert_int_equal(kill(child, signals[i]), 0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    close(ready[0]);
    return status;
}

static void tell(int ready)
{
    if (write(ready, "x", 1) != 1)
        _exit(2);
}

static void child_is_stopped_by_a_signal(int ready)
{
    struct plx_runtime *rt = rt_create("reactors=2", NULL);
    rt_start(rt);
    tell(ready);
    if (plx_runtime_wait(rt, RT_PATIENCE_NS) != 0)
        _exit(3);
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    bool blocked = sigismember(&mask, SIGTERM) == 1 && sigismember(&mask, SIGINT) == 1;
    rt_finish(rt);
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    bool unblocked = sigismember(&mask, SIGTERM) == 0 && sigismember(&mask, SIGINT) == 0;
    _exit(blocked && unblocked ? EXIT_FINE : 4);
}

static void signal_that_ends_programs_requests_a_stop(void **state)
{
    (void)state;
    const int numbers[] = {SIGINT, SIGTERM};
    for (unsigned i = 0; i < 2; i++) {
        int status = in_child(child_is_stopped_by_a_signal, numbers[i], 0);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), EXIT_FINE);
    }
}

static void child_declines(int ready)
{
    struct plx_runtime_opts opts;
    plx_runtime_opts_init(&opts);
    opts.take_signals = false;
    struct plx_runtime *rt = rt_create("", &opts);
    rt_start(rt);
    tell(ready);
    (void)plx_runtime_wait(rt, RT_PATIENCE_NS);
    _exit(5);
}

static void signals_that_are_declined_keep_their_default(void **state)
{
    (void)state;
    int status = in_child(child_declines, SIGTERM, 0);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGTERM);
}

static volatile sig_atomic_t handled;

static void handle(int number)
{
    handled = number;
}

static void child_has_a_handler(int ready)
{
    struct sigaction action = {.sa_handler = handle};
    sigaction(SIGTERM, &action, NULL);
    struct plx_runtime *rt = rt_create("", NULL);
    rt_start(rt);
    tell(ready);
    RT_UNTIL(handled == SIGTERM);
    bool stopping = plx_runtime_is_stopping(rt);
    rt_finish(rt);
    _exit(!stopping ? EXIT_FINE : 6);
}

static void signal_with_a_handler_stays_the_applications(void **state)
{
    (void)state;
    int status = in_child(child_has_a_handler, SIGTERM, 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), EXIT_FINE);
}

static void child_hangs(int ready)
{
    struct plx_runtime_opts opts;
    plx_runtime_opts_init(&opts);
    opts.on_start = stick_at_once;
    plx_store_relaxed(&hold, 1);
    struct plx_runtime *rt = rt_create("", &opts);
    rt_start(rt);
    tell(ready);
    (void)plx_runtime_wait(rt, RT_PATIENCE_NS);
    tell(ready);
    (void)!plx_runtime_stop(rt, RT_PATIENCE_NS, NULL);
    _exit(5);
}

static void second_signal_ends_a_process_that_hangs(void **state)
{
    (void)state;
    int status = in_child(child_hangs, SIGINT, SIGINT);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGINT);
}

/* --- forks ------------------------------------------------------------------------------------ */

static PLX_ATOMIC(uint32_t) spawned;
static int spawn_status;

/* On a reactor's thread: a child that is another program, and sees none of our descriptors. */
static void spawn_from_reactor(struct plx_reactor *here, const void *body)
{
    (void)here;
    (void)body;
    /* Its own descriptor of the folder is the fourth. */
    char *words[] = {"sh", "-c", "test $(ls /proc/self/fd | wc -l) -le 4", NULL};
    pid_t child;
    extern char **environ;
    if (posix_spawn(&child, "/bin/sh", NULL, NULL, words, environ) != 0 ||
        waitpid(child, &spawn_status, 0) != child)
        spawn_status = -1;
    plx_store_release(&spawned, 1);
}

static void program_started_from_a_reactor_inherits_nothing(void **state)
{
    (void)state;
    /* What the test itself was given would be counted. */
    for (int fd = 3; fd < 4096; fd++) {
        int flags = fcntl(fd, F_GETFD);
        if (flags >= 0)
            fcntl(fd, F_SETFD, flags | FD_CLOEXEC);
    }
    struct plx_runtime *rt = rt_create("reactors=2", NULL);
    struct plx_reactor *other = rt_adopt(rt, 1);
    rt_start(rt);
    assert_int_equal(plx_mesh_post(other, 0, spawn_from_reactor, NULL, 0), 0);
    RT_TURN_UNTIL(other, plx_load_acquire(&spawned) != 0);
    assert_int_equal(spawn_status, 0);
    rt_abandon(other);
    rt_finish(rt);
}

static void forked_child_can_do_no_harm(void **state)
{
    (void)state;
    struct rt_things before = rt_count_things();
    struct plx_runtime *rt = rt_create("reactors=2", NULL);
    struct plx_reactor *other = rt_adopt(rt, 1);
    rt_start(rt);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct plx_diag diag = {0};
        int stopped = plx_runtime_stop(rt, 1000000, &diag);
        int started = plx_runtime_start(rt, NULL);
        plx_runtime_destroy(rt);
        bool named = strstr(diag.text, "forked") != NULL;
        _exit(stopped == -EPERM && started != 0 && named ? EXIT_FINE : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), EXIT_FINE);
    /* The parent's reactors go on. */
    plx_store_relaxed(&hold, 0);
    plx_store_relaxed(&held, 0);
    assert_int_equal(plx_mesh_post(other, 0, stuck_post, NULL, 0), 0);
    RT_TURN_UNTIL(other, plx_load_acquire(&held) == 1);
    rt_abandon(other);
    rt_finish(rt);
    rt_expect_things(&before);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(reactor_stuck_in_a_turn_is_told_with_a_backtrace),
        cmocka_unit_test(stall_after_a_told_one_is_left_out_and_counted),
        cmocka_unit_test(stuck_thread_that_blocks_the_signal_is_told_without_a_backtrace),
        cmocka_unit_test(backtrace_that_hangs_is_waited_for_no_longer),
        cmocka_unit_test(reactor_between_turns_is_not_stuck),
        cmocka_unit_test(keeper_stays_for_adopted_reactors_when_a_start_fails),
        cmocka_unit_test(start_that_fails_waits_for_the_log_without_the_lock),
        cmocka_unit_test(keeper_with_nothing_to_do_is_not_there),
        cmocka_unit_test(symbol_of_a_static_function_is_its_name),
        cmocka_unit_test(symbol_of_no_code_is_a_number),
        cmocka_unit_test(signal_that_ends_programs_requests_a_stop),
        cmocka_unit_test(signals_that_are_declined_keep_their_default),
        cmocka_unit_test(signal_with_a_handler_stays_the_applications),
        cmocka_unit_test(second_signal_ends_a_process_that_hangs),
        cmocka_unit_test(program_started_from_a_reactor_inherits_nothing),
        cmocka_unit_test(forked_child_can_do_no_harm),
    };
    return cmocka_run_group_tests(cases, find_backtrace, NULL);
}
