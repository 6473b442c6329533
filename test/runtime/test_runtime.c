/* SPDX-License-Identifier: MIT */
/* The set of reactors: creating, starting, adopting, waiting, and living beside each other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "test/runtime/rt_fixture.h"

#define REACTORS 4u

/* What reactors' threads note of themselves; read once start or stop has returned. */
struct life {
    struct plx_reactor *reactor;
    pid_t thread;
    unsigned starts;
    unsigned stops;
    char name[16];
} PLX_ALIGNED(2 * PLX_CACHE_LINE);

static struct life lives[REACTORS];
static int fails_at = -1;

static int on_start(struct plx_reactor *reactor, void *ctx)
{
    uint32_t index = plx_reactor_index(reactor);
    struct life *life = &((struct life *)ctx)[index];
    life->reactor = reactor;
    life->thread = (pid_t)syscall(SYS_gettid);
    life->starts++;
    return (int)index == fails_at ? -ENOTNAM : 0;
}

static void on_stop(struct plx_reactor *reactor, void *ctx)
{
    struct life *life = &((struct life *)ctx)[plx_reactor_index(reactor)];
    life->stops++;
    (void)pthread_getname_np(pthread_self(), life->name, sizeof(life->name));
}

static struct plx_runtime_opts noting(void)
{
    struct plx_runtime_opts opts;
    plx_runtime_opts_init(&opts);
    opts.on_start = on_start;
    opts.on_stop = on_stop;
    opts.ctx = lives;
    memset(lives, 0, sizeof(lives));
    fails_at = -1;
    return opts;
}

/* --- creating --------------------------------------------------------------------------------- */

static void expect_create_error(const struct plx_settings *settings, int rc, const char *what,
                                const char *text)
{
    struct plx_runtime_opts opts;
    plx_runtime_opts_init(&opts);
    opts.machine = rt_four_cpus();
    struct plx_runtime *rt = (struct plx_runtime *)(uintptr_t)&opts;
    struct plx_diag diag = {0};
    assert_int_equal(plx_runtime_create(settings, &opts, &rt, &diag), rc);
    assert_null(rt);
    assert_int_equal(diag.code, rc);
    if (strstr(diag.what, what) == NULL || strstr(diag.text, text) == NULL)
        fail_msg("%s: %s", diag.what, diag.text);
}

static void create_with_fields_out_of_range_names_the_setting(void **state)
{
    (void)state;
    static const uint32_t bad_entries[] = {0, 8, 17, 65536};
    static const uint32_t bad_slots[] = {0, 4, 100, 131072};
    for (unsigned i = 0; i < 4; i++) {
        struct plx_settings settings;
        rt_settings(&settings, "");
        settings.ring_entries = bad_entries[i];
        expect_create_error(&settings, -EINVAL, "POLLUX_RING_ENTRIES", "power of two from 16");
        rt_settings(&settings, "");
        settings.mesh_slots = bad_slots[i];
        expect_create_error(&settings, -EINVAL, "POLLUX_MESH_SLOTS", "power of two from 8");
    }
    struct plx_settings settings;
    rt_settings(&settings, "backend=epoll");
    settings.file_workers = 0;
    expect_create_error(&settings, -EINVAL, "POLLUX_FILE_WORKERS", "1 to 64");
    rt_settings(&settings, "");
    settings.hot_max = UINT32_MAX;
    expect_create_error(&settings, -EINVAL, "POLLUX_HOT_MAX", "0 to 64");
}

static void create_with_what_the_machine_has_not_names_the_setting(void **state)
{
    (void)state;
    static const struct {
        const char *words;
        int rc;
        const char *what;
        const char *text;
    } cases[] = {
        {"cpus=0,77", -EINVAL, "POLLUX_CPUS", "77"},
        {"nodes=9", -EINVAL, "POLLUX_NODES", "9"},
        {"reactors=5", -ENOSPC, "POLLUX_REACTORS", "4"},
        {"sqpoll=on sqpoll_cpus=9", -EINVAL, "POLLUX_SQPOLL_CPUS", "9"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct plx_settings settings;
        rt_settings(&settings, cases[i].words);
        expect_create_error(&settings, cases[i].rc, cases[i].what, cases[i].text);
    }
}

static void forget_environment(void)
{
    unsetenv("POLLUX_RING_ENTRIES");
    unsetenv("POLLUX_RING_ENTRYS");
    unsetenv("POLLUX_LOG");
    unsetenv("POLLUX_STRICT");
}

static int tear_down_environment(void **state)
{
    (void)state;
    forget_environment();
    return 0;
}

static void keep_log(enum plx_log_level level, const char *text, void *ctx)
{
    assert_true(level == PLX_LOG_WARN);
    rt_keep_line(text, ctx);
}

static void create_without_settings_reads_the_environment(void **state)
{
    (void)state;
    static struct rt_lines log;
    struct plx_runtime_opts opts;
    plx_runtime_opts_init(&opts);
    opts.machine = rt_four_cpus();
    opts.log = keep_log;
    opts.ctx = &log;
    struct plx_runtime *rt = NULL;

    setenv("POLLUX_RING_ENTRIES", "64", 1);
    setenv("POLLUX_RING_ENTRYS", "32", 1);
    assert_int_equal(plx_runtime_create(NULL, &opts, &rt, NULL), 0);
    assert_int_equal(plx_runtime_settings(rt)->ring_entries, 64);
    assert_ptr_equal(plx_runtime_machine(rt), rt_four_cpus());
    plx_runtime_destroy(rt);
    assert_int_equal(plx_load_relaxed(&log.count), 1);
    assert_int_equal(rt_lines_with(&log, "POLLUX_RING_ENTRIES"), 1);

    setenv("POLLUX_LOG", "error", 1);
    assert_int_equal(plx_runtime_create(NULL, &opts, &rt, NULL), 0);
    plx_runtime_destroy(rt);
    assert_int_equal(plx_load_relaxed(&log.count), 1);

    setenv("POLLUX_STRICT", "1", 1);
    expect_create_error(NULL, -ENOENT, "POLLUX_RING_ENTRYS", "POLLUX_RING_ENTRIES");
    forget_environment();
    setenv("POLLUX_RING_ENTRIES", "many", 1);
    expect_create_error(NULL, -EINVAL, "POLLUX_RING_ENTRIES", "many");
}

static void create_reads_this_machine_unless_one_is_given(void **state)
{
    (void)state;
    struct plx_settings settings;
    rt_settings(&settings, "");
    struct plx_runtime *rt = NULL;
    assert_int_equal(plx_runtime_create(&settings, NULL, &rt, NULL), 0);
    assert_true(plx_runtime_machine(rt)->is_this_system);
    assert_int_equal(plx_runtime_count(rt), 1);
    assert_null(plx_runtime_reactor(rt, 0));
    plx_runtime_destroy(rt);
    plx_runtime_destroy(NULL);
}

static void runtime_of_another_machine_starts_nothing(void **state)
{
    (void)state;
    struct plx_machine *machine = NULL;
    setenv("HWLOC_SYNTHETIC", "numa:2 core:2 pu:1", 1);
    int rc = plx_machine_create(&machine, NULL);
    unsetenv("HWLOC_SYNTHETIC");
    assert_int_equal(rc, 0);
    struct plx_runtime_opts opts = noting();
    opts.machine = machine;
    struct plx_runtime *rt = rt_create("reactors=3", &opts);
    assert_int_equal(plx_runtime_plan(rt)->reactor_count, 3);

    struct plx_diag diag = {0};
    assert_int_equal(plx_runtime_start(rt, &diag), -EXDEV);
    assert_string_equal(diag.what, "machine");
    assert_non_null(strstr(diag.text, "synthetic"));
    struct plx_reactor *reactor = (struct plx_reactor *)(uintptr_t)&opts;
    assert_int_equal(plx_reactor_adopt(rt, 0, &reactor, &diag), -EXDEV);
    assert_null(reactor);
    assert_int_equal(lives[0].starts, 0);
    plx_runtime_destroy(rt);
    plx_machine_destroy(machine);
}

/* --- starting --------------------------------------------------------------------------------- */

static void started_reactors_run_on_threads_of_their_own(void **state)
{
    (void)state;
    struct rt_things before = rt_count_things();
    for (uint32_t count = 1; count <= 3; count++) {
        struct plx_runtime_opts opts = noting();
        const char *words[] = {"reactors=1", "reactors=2", "reactors=3"};
        struct plx_runtime *rt = rt_create(words[count - 1], &opts);
        rt_start(rt);
        assert_int_equal(plx_runtime_count(rt), count);
        for (uint32_t i = 0; i < count; i++) {
            assert_int_equal(lives[i].starts, 1);
            assert_int_equal(lives[i].stops, 0);
            assert_ptr_equal(plx_runtime_reactor(rt, i), lives[i].reactor);
            assert_int_not_equal(lives[i].thread, getpid());
            struct plx_reactor_stats stats = {0};
            RT_UNTIL((plx_reactor_read_stats(lives[i].reactor, &stats), stats.turns > 10));
        }
        rt_finish(rt);
        for (uint32_t i = 0; i < count; i++) {
            char name[16];
            snprintf(name, sizeof(name), "plx/%u", i);
            assert_int_equal(lives[i].starts, 1);
            assert_int_equal(lives[i].stops, 1);
            assert_string_equal(lives[i].name, name);
        }
        rt_expect_things(&before);
    }
}

static void start_after_start_or_stop_is_refused(void **state)
{
    (void)state;
    struct plx_diag diag = {0};
    struct plx_reactor *reactor = NULL;
    struct plx_runtime *rt = rt_create("", NULL);
    rt_start(rt);
    assert_int_equal(plx_runtime_start(rt, &diag), -EBUSY);
    assert_int_equal(plx_reactor_adopt(rt, 0, &reactor, &diag), -EBUSY);
    assert_int_equal(plx_runtime_stop(rt, RT_PATIENCE_NS, NULL), 0);
    assert_int_equal(plx_runtime_start(rt, &diag), -EBUSY);
    plx_runtime_destroy(rt);

    rt = rt_create("", NULL);
    assert_int_equal(plx_runtime_stop(rt, RT_PATIENCE_NS, NULL), 0);
    assert_int_equal(plx_runtime_start(rt, &diag), -ESHUTDOWN);
    assert_int_equal(plx_reactor_adopt(rt, 0, &reactor, &diag), -ESHUTDOWN);
    assert_non_null(strstr(diag.text, "stopped"));
    plx_runtime_destroy(rt);
}

static uint64_t blocked_signals(pid_t thread)
{
    char path[64];
    char line[256];
    unsigned long long blocked = 0;
    snprintf(path, sizeof(path), "/proc/self/task/%d/status", (int)thread);
    FILE *status = fopen(path, "re");
    assert_non_null(status);
    while (fgets(line, sizeof(line), status) != NULL)
        (void)sscanf(line, "SigBlk: %llx", &blocked);
    fclose(status);
    return blocked;
}

static void started_threads_block_all_signals_but_the_fatal(void **state)
{
    (void)state;
    static const int fatal[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
    uint64_t own = blocked_signals(getpid());
    struct plx_runtime_opts opts = noting();
    opts.take_signals = false;
    struct plx_runtime *rt = rt_create("", &opts);
    rt_start(rt);
    uint64_t blocked = blocked_signals(lives[0].thread);
    for (int number = 1; number < 32; number++) {
        bool open = number == SIGKILL || number == SIGSTOP;
        for (size_t i = 0; i < sizeof(fatal) / sizeof(*fatal); i++)
            open |= number == fatal[i];
        if (((blocked >> (number - 1)) & 1) == open)
            fail_msg("signal %d", number);
    }
    /* The caller's mask is as it was. */
    assert_int_equal(blocked_signals(getpid()), own);
    rt_finish(rt);
}

static void started_threads_are_pinned_as_planned(void **state)
{
    (void)state;
    struct plx_machine *host = NULL;
    assert_int_equal(plx_machine_create(&host, NULL), 0);
    struct plx_runtime_opts opts = noting();
    opts.machine = host;
    bool two = host->core_count >= 2 && rt_cpus_allowed() >= 2;
    struct plx_runtime *rt = rt_create(two ? "pin=require reactors=2" : "pin=require", &opts);
    rt_start(rt);
    for (uint32_t i = 0; i < plx_runtime_count(rt); i++) {
        cpu_set_t set;
        assert_int_equal(sched_getaffinity(lives[i].thread, sizeof(set), &set), 0);
        assert_int_equal(CPU_COUNT(&set), 1);
        assert_true(CPU_ISSET(plx_runtime_plan(rt)->reactors[i].cpu, &set));
        assert_int_equal(plx_reactor_cpu(lives[i].reactor), plx_runtime_plan(rt)->reactors[i].cpu);
        static struct rt_lines lines;
        plx_store_relaxed(&lines.count, 0);
        plx_reactor_explain(lives[i].reactor, rt_keep_line, &lines);
        assert_int_equal(rt_lines_with(&lines, "pinning"), 0);
        assert_int_equal(rt_lines_with(&lines, "own thread"), 1);
    }
    rt_finish(rt);
    plx_machine_destroy(host);
}

static void start_where_pinning_fails_is_as_pin_says(void **state)
{
    (void)state;
    struct rt_things before = rt_count_things();
    /* Threads cannot be pinned on a machine that was made up. */
    struct plx_diag diag = {0};
    struct plx_runtime_opts opts = noting();
    struct plx_runtime *rt = rt_create("pin=require reactors=2", &opts);
    assert_int_equal(plx_runtime_start(rt, &diag), -EXDEV);
    assert_string_equal(diag.what, "POLLUX_PIN");
    assert_non_null(strstr(diag.text, "reactor 0"));
    assert_int_equal(lives[0].starts + lives[1].starts, 0);
    plx_runtime_destroy(rt);
    rt_expect_things(&before);

    opts = noting();
    rt = rt_create("pin=try", &opts);
    rt_start(rt);
    static struct rt_lines lines;
    plx_reactor_explain(lives[0].reactor, rt_keep_line, &lines);
    assert_int_equal(rt_lines_with(&lines, "not got: pinning"), 1);
    rt_finish(rt);
}

static void start_with_one_on_start_failing_undoes_all(void **state)
{
    (void)state;
    struct rt_things before = rt_count_things();
    for (int i = 0; i < 2; i++) {
        struct plx_runtime_opts opts = noting();
        fails_at = i;
        struct plx_runtime *rt = rt_create("reactors=2", &opts);
        struct plx_diag diag = {0};
        char name[32];
        snprintf(name, sizeof(name), "reactor %d", i);
        assert_int_equal(plx_runtime_start(rt, &diag), -ENOTNAM);
        assert_string_equal(diag.what, "on_start");
        assert_non_null(strstr(diag.text, name));
        assert_int_equal(lives[i].stops, 0);
        assert_int_equal(lives[1 - i].stops, 1);
        rt_expect_things(&before);
        assert_null(plx_runtime_reactor(rt, 0));
        assert_int_equal(plx_runtime_start(rt, &diag), -EBUSY);
        assert_int_equal(plx_runtime_stop(rt, RT_PATIENCE_NS, &diag), 0);
        plx_runtime_destroy(rt);
    }
}

/* --- adopting --------------------------------------------------------------------------------- */

static void adopt_of_what_is_not_idle_is_refused(void **state)
{
    (void)state;
    struct plx_runtime *rt = rt_create("reactors=2", NULL);
    struct plx_reactor *other = NULL;
    struct plx_diag diag = {0};
    assert_int_equal(plx_reactor_adopt(rt, 2, &other, &diag), -EINVAL);
    assert_non_null(strstr(diag.text, "reactor 2"));
    assert_int_equal(plx_reactor_adopt(rt, UINT32_MAX, &other, NULL), -EINVAL);

    struct plx_reactor *reactor = rt_adopt(rt, 1);
    assert_int_equal(plx_reactor_adopt(rt, 1, &other, &diag), -EBUSY);
    assert_null(other);
    assert_non_null(strstr(diag.text, "reactor 1"));
    rt_abandon(reactor);
    assert_int_equal(plx_reactor_adopt(rt, 1, &other, NULL), -EBUSY);
    plx_runtime_destroy(rt);
}

static void adopt_checks_affinity_as_pin_says(void **state)
{
    (void)state;
    cpu_set_t was;
    cpu_set_t one;
    assert_int_equal(sched_getaffinity(0, sizeof(was), &was), 0);
    if (CPU_COUNT(&was) < 2) {
        print_message("skipped: this process may run on one CPU only\n");
        skip();
    }
    struct rt_things before = rt_count_things();
    struct plx_reactor *reactor = NULL;
    struct plx_diag diag = {0};
    struct plx_runtime_opts opts = noting();
    struct plx_machine *host = NULL;
    assert_int_equal(plx_machine_create(&host, NULL), 0);
    opts.machine = host;
    struct plx_runtime *rt = rt_create("pin=require", &opts);
    assert_int_equal(plx_reactor_adopt(rt, 0, &reactor, &diag), -EINVAL);
    assert_string_equal(diag.what, "POLLUX_PIN");
    assert_null(reactor);
    rt_expect_things(&before);

    /* The slot is free again, for a thread that is where it should be. */
    CPU_ZERO(&one);
    CPU_SET(plx_runtime_plan(rt)->reactors[0].cpu, &one);
    assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
    int rc = plx_reactor_adopt(rt, 0, &reactor, &diag);
    assert_int_equal(sched_setaffinity(0, sizeof(was), &was), 0);
    assert_int_equal(rc, 0);
    rt_abandon(reactor);
    plx_runtime_destroy(rt);

    static const char *const words[] = {"pin=try", "pin=no"};
    for (unsigned i = 0; i < 2; i++) {
        static struct rt_lines lines;
        plx_store_relaxed(&lines.count, 0);
        rt = rt_create(words[i], &opts);
        reactor = rt_adopt(rt, 0);
        plx_reactor_explain(reactor, rt_keep_line, &lines);
        assert_int_equal(rt_lines_with(&lines, "not got: pinning"), i == 0);
        cpu_set_t now;
        assert_int_equal(sched_getaffinity(0, sizeof(now), &now), 0);
        assert_true(CPU_EQUAL(&now, &was));
        rt_abandon(reactor);
        plx_runtime_destroy(rt);
    }
    plx_machine_destroy(host);
}

static void on_nop(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    (void)op;
    assert_int_equal(event->result, 0);
    *(bool *)ctx = true;
}

static void expect_works(struct plx_reactor *reactor)
{
    struct plx_op op;
    bool done = false;
    plx_op_nop(&op, on_nop, &done);
    assert_int_equal(plx_op_submit(reactor, &op), 0);
    RT_TURN_UNTIL(reactor, done);
}

static void adopted_follower_needs_the_leader_of_its_sq_thread(void **state)
{
    (void)state;
    rt_need_uring();
    if (rt_cpus_allowed() < 2) {
        print_message("skipped: an SQ thread needs a CPU of its own\n");
        skip();
    }
    struct rt_things before = rt_count_things();
    struct plx_runtime *rt = rt_create("reactors=2 sqpoll=on sqpoll_cpus=1", NULL);
    assert_int_equal(plx_runtime_plan(rt)->reactors[1].sq_leader, 0);
    struct plx_reactor *follower = NULL;
    struct plx_diag diag = {0};
    assert_int_equal(plx_reactor_adopt(rt, 1, &follower, &diag), -EAGAIN);
    assert_string_equal(diag.what, "POLLUX_SQPOLL");
    assert_non_null(strstr(diag.text, "reactor 0"));

    struct plx_reactor *leader = rt_adopt(rt, 0);
    follower = rt_adopt(rt, 1);
    assert_int_equal(plx_reactor_caps(leader) & PLX_CAP_ATTACH_WQ, 0);
    assert_int_not_equal(plx_reactor_caps(follower) & PLX_CAP_ATTACH_WQ, 0);
    static struct rt_lines lines;
    plx_reactor_explain(follower, rt_keep_line, &lines);
    assert_int_equal(rt_lines_with(&lines, "SQ thread on cpu 1, shared"), 1);
    expect_works(leader);
    expect_works(follower);
    /* The thread lives as long as one of its rings. */
    rt_abandon(leader);
    expect_works(follower);
    rt_abandon(follower);
    plx_runtime_destroy(rt);
    rt_expect_things(&before);
}

static void started_reactors_share_an_sq_thread(void **state)
{
    (void)state;
    rt_need_uring();
    if (rt_cpus_allowed() < 2) {
        print_message("skipped: an SQ thread needs a CPU of its own\n");
        skip();
    }
    struct rt_things before = rt_count_things();
    struct plx_runtime_opts opts = noting();
    struct plx_runtime *rt =
        rt_create("reactors=3 sqpoll=on sqpoll_cpus=1 sqpoll_idle=5ms", &opts);
    rt_start(rt);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal((plx_reactor_caps(lives[i].reactor) & PLX_CAP_ATTACH_WQ) != 0, i != 0);
    rt_finish(rt);
    rt_expect_things(&before);
}

/* --- waiting ---------------------------------------------------------------------------------- */

static struct plx_runtime *waited_for;

static void request_from_handler(int number)
{
    (void)number;
    plx_runtime_request_stop(waited_for);
}

static void wait_is_woken_by_a_signal_handler(void **state)
{
    (void)state;
    waited_for = rt_create("", NULL);
    assert_int_equal(plx_runtime_wait(waited_for, 0), -ETIMEDOUT);
    assert_int_equal(plx_runtime_wait(waited_for, 1000000), -ETIMEDOUT);
    assert_false(plx_runtime_is_stopping(waited_for));

    struct sigaction was;
    const struct sigaction action = {.sa_handler = request_from_handler};
    assert_int_equal(sigaction(SIGALRM, &action, &was), 0);
    const struct itimerval soon = {.it_value.tv_usec = 20000};
    assert_int_equal(setitimer(ITIMER_REAL, &soon, NULL), 0);
    assert_int_equal(plx_runtime_wait(waited_for, RT_PATIENCE_NS), 0);
    assert_int_equal(sigaction(SIGALRM, &was, NULL), 0);
    assert_true(plx_runtime_is_stopping(waited_for));
    /* Once asked for, it stays so. */
    assert_int_equal(plx_runtime_wait(waited_for, UINT64_MAX), 0);
    plx_runtime_destroy(waited_for);
}

static void do_nothing(int number)
{
    (void)number;
}

static void wait_interrupted_by_another_signal_goes_on(void **state)
{
    (void)state;
    struct plx_runtime *rt = rt_create("", NULL);
    struct sigaction was;
    const struct sigaction action = {.sa_handler = do_nothing};
    assert_int_equal(sigaction(SIGALRM, &action, &was), 0);
    const struct itimerval often = {.it_interval.tv_usec = 2000, .it_value.tv_usec = 2000};
    const struct itimerval never = {.it_value.tv_usec = 0};
    assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
    uint64_t until = rt_now_ns() + 30000000;
    assert_int_equal(plx_runtime_wait(rt, 30000000), -ETIMEDOUT);
    assert_true(rt_now_ns() >= until);
    assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
    assert_int_equal(sigaction(SIGALRM, &was, NULL), 0);
    plx_runtime_destroy(rt);
}

static PLX_ATOMIC(uint32_t) woken;

static void *wait_in_thread(void *argument)
{
    int rc = plx_runtime_wait(argument, UINT64_MAX);
    plx_fetch_add_relaxed(&woken, 1);
    return (void *)(intptr_t)rc;
}

static void wait_of_several_threads_wakes_all(void **state)
{
    (void)state;
    struct plx_runtime *rt = rt_create("", NULL);
    pthread_t threads[3];
    plx_store_relaxed(&woken, 0);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, wait_in_thread, rt), 0);
    assert_int_equal(plx_runtime_wait(rt, 20000000), -ETIMEDOUT);
    plx_runtime_request_stop(rt);
    RT_UNTIL(plx_load_relaxed(&woken) == 3);
    for (unsigned i = 0; i < 3; i++) {
        void *rc = NULL;
        assert_int_equal(pthread_join(threads[i], &rc), 0);
        assert_null(rc);
    }
    plx_runtime_destroy(rt);
}

static int request_at_start(struct plx_reactor *reactor, void *ctx)
{
    (void)ctx;
    plx_runtime_request_stop(plx_reactor_runtime(reactor));
    return 0;
}

static void request_by_a_reactor_wakes_and_ends_nothing_by_itself(void **state)
{
    (void)state;
    struct plx_runtime_opts opts = noting();
    opts.on_start = request_at_start;
    struct plx_runtime *rt = rt_create("", &opts);
    rt_start(rt);
    assert_int_equal(plx_runtime_wait(rt, RT_PATIENCE_NS), 0);
    assert_int_equal(lives[0].stops, 0);
    assert_non_null(plx_runtime_reactor(rt, 0));
    rt_finish(rt);
    assert_int_equal(lives[0].stops, 1);
}

/* --- beside each other ------------------------------------------------------------------------ */

static PLX_ATOMIC(uint32_t) pongs;

static void count_pong(struct plx_reactor *here, const void *body)
{
    (void)here;
    (void)body;
    plx_fetch_add_relaxed(&pongs, 1);
}

static void answer(struct plx_reactor *here, const void *body)
{
    uint32_t back;
    memcpy(&back, body, sizeof(back));
    /* One that has no room is missed by the count. */
    if (plx_mesh_post(here, back, count_pong, NULL, 0) != 0)
        return;
}

static void adopted_and_started_reactors_of_one_runtime_talk(void **state)
{
    (void)state;
    struct rt_things before = rt_count_things();
    struct plx_runtime_opts opts = noting();
    struct plx_runtime *rt = rt_create("reactors=2", &opts);
    struct plx_reactor *mine = rt_adopt(rt, 0);
    rt_start(rt);
    assert_int_equal(lives[0].starts, 0);
    assert_int_equal(lives[1].starts, 1);
    plx_store_relaxed(&pongs, 0);
    uint32_t self = 0;
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(plx_mesh_post(mine, 1, answer, &self, sizeof(self)), 0);
    RT_TURN_UNTIL(mine, plx_load_relaxed(&pongs) == 100);
    rt_abandon(mine);
    rt_finish(rt);
    assert_int_equal(lives[0].stops, 0);
    assert_int_equal(lives[1].stops, 1);
    rt_expect_things(&before);
}

static void several_runtimes_in_one_process_do_not_meet(void **state)
{
    (void)state;
    struct rt_things before = rt_count_things();
    struct plx_runtime_opts opts = noting();
    struct plx_runtime *first = rt_create("reactors=2", NULL);
    struct plx_runtime *second = rt_create("reactors=1 backend=epoll", NULL);
    struct plx_runtime *third = rt_create("reactors=2", &opts);
    struct plx_reactor *a = rt_adopt(first, 0);
    struct plx_reactor *b = rt_adopt(second, 0);
    rt_start(third);
    for (unsigned i = 0; i < 50; i++) {
        expect_works(a);
        expect_works(b);
    }
    assert_ptr_equal(plx_reactor_runtime(a), first);
    assert_ptr_equal(plx_reactor_runtime(b), second);
    assert_string_equal(plx_reactor_mode(b), "epoll");
    rt_finish(third);
    assert_false(plx_runtime_is_stopping(first));
    rt_abandon(a);
    expect_works(b);
    rt_abandon(b);
    plx_runtime_destroy(second);
    plx_runtime_destroy(first);
    rt_expect_things(&before);
}

static void runtimes_made_again_and_again_leave_nothing(void **state)
{
    (void)state;
    static const char *const words[] = {"reactors=2", "reactors=2 backend=epoll"};
    struct rt_things before = rt_count_things();
    uint64_t mapped = 0;
    for (unsigned round = 0; round < 24; round++) {
        struct plx_runtime *rt = rt_create(words[round % 2], NULL);
        if (round % 3 == 0) {
            rt_abandon(rt_adopt(rt, 0));
            rt_abandon(rt_adopt(rt, 1));
            plx_runtime_destroy(rt);
        } else {
            rt_start(rt);
            rt_finish(rt);
        }
        rt_expect_things(&before);
        /* The C library keeps some stacks and heaps of threads: after a while, all it will. */
        if (round == 11)
            mapped = rt_mapped_bytes();
    }
    if (rt_is_sanitized())
        return;
    /* Less than one arena of the 24 that were made since. */
    assert_in_range(rt_mapped_bytes(), 0, mapped + (1 << 20));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(create_with_fields_out_of_range_names_the_setting),
        cmocka_unit_test(create_with_what_the_machine_has_not_names_the_setting),
        cmocka_unit_test_teardown(create_without_settings_reads_the_environment,
                                  tear_down_environment),
        cmocka_unit_test(create_reads_this_machine_unless_one_is_given),
        cmocka_unit_test(runtime_of_another_machine_starts_nothing),
        cmocka_unit_test(started_reactors_run_on_threads_of_their_own),
        cmocka_unit_test(start_after_start_or_stop_is_refused),
        cmocka_unit_test(started_threads_block_all_signals_but_the_fatal),
        cmocka_unit_test(started_threads_are_pinned_as_planned),
        cmocka_unit_test(start_where_pinning_fails_is_as_pin_says),
        cmocka_unit_test(start_with_one_on_start_failing_undoes_all),
        cmocka_unit_test(adopt_of_what_is_not_idle_is_refused),
        cmocka_unit_test(adopt_checks_affinity_as_pin_says),
        cmocka_unit_test(adopted_follower_needs_the_leader_of_its_sq_thread),
        cmocka_unit_test(started_reactors_share_an_sq_thread),
        cmocka_unit_test(wait_is_woken_by_a_signal_handler),
        cmocka_unit_test(wait_interrupted_by_another_signal_goes_on),
        cmocka_unit_test(wait_of_several_threads_wakes_all),
        cmocka_unit_test(request_by_a_reactor_wakes_and_ends_nothing_by_itself),
        cmocka_unit_test(adopted_and_started_reactors_of_one_runtime_talk),
        cmocka_unit_test(several_runtimes_in_one_process_do_not_meet),
        cmocka_unit_test(runtimes_made_again_and_again_leave_nothing),
    };
    return cmocka_run_group_tests_name("runtime", tests, NULL, NULL);
}
