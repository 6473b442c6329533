/* SPDX-License-Identifier: MIT */
/*
 * What a runtime does without: limits of the process, memory that is not to be had, features of the
 * kernel that are denied. Each is an error that names the setting, or is served and told.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test/runtime/rt_fixture.h"

#define NOBODY 65534

static struct rt_lines log_lines;

static void keep_log(enum plx_log_level level, const char *text, void *ctx)
{
    (void)level;
    rt_keep_line(text, ctx);
}

static struct plx_runtime_opts denying(uint32_t deny)
{
    struct plx_runtime_opts opts;
    plx_runtime_opts_init(&opts);
    opts.deny = deny;
    opts.log = keep_log;
    opts.ctx = &log_lines;
    memset(&log_lines, 0, sizeof(log_lines));
    return opts;
}

/* Starting, and adopting, fail with `rc`, name `what`, and leave nothing. */
static void expect_refused(const char *words, uint32_t deny, int rc, const char *what,
                           const char *text)
{
    struct rt_things before = rt_count_things();
    struct plx_runtime_opts opts = denying(deny);
    struct plx_reactor *reactor = NULL;
    for (unsigned adopted = 0; adopted < 2; adopted++) {
        struct plx_runtime *rt = rt_create(words, &opts);
        struct plx_diag diag = {0};
        int got = adopted ? plx_reactor_adopt(rt, 0, &reactor, &diag)
                          : plx_runtime_start(rt, &diag);
        assert_null(plx_runtime_reactor(rt, 0));
        plx_runtime_destroy(rt);
        if (got != rc || diag.code != rc || strcmp(diag.what, what) != 0 ||
            strstr(diag.text, text) == NULL)
            fail_msg("%s: %d, %s: %s", words, got, diag.what, diag.text);
        rt_expect_things(&before);
    }
}

/* --- memory ----------------------------------------------------------------------------------- */

static void arena_too_small_for_the_mesh_names_its_size(void **state)
{
    (void)state;
    /* Two rings of 4 MiB. */
    expect_refused("reactors=2 arena_size=1M mesh_slots=65536", 0, -ENOMEM, "POLLUX_ARENA_SIZE",
                   "reactor 0");
}

static void hugepages_required_and_not_there_are_named(void **state)
{
    (void)state;
    expect_refused("hugepages_2m=require arena_size=3G", 0, -ENOMEM,
                   "page_2m (POLLUX_HUGEPAGES_2M)", "required");
    expect_refused("hugepages_1g=require arena_size=64M", 0, -EINVAL,
                   "page_1g (POLLUX_HUGEPAGES_1G)", "smaller than one");
}

/* --- limits, in a child ----------------------------------------------------------------------- */

/* Its answer comes by a pipe; it cannot hang. */
static int in_child(int (*run)(struct plx_diag *diag), struct plx_diag *diag)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        alarm(30);
        struct plx_diag own = {0};
        int rc = run(&own);
        own.code = own.code != 0 ? own.code : rc;
        ssize_t wrote = write(ends[1], &own, sizeof(own));
        _exit(wrote == (ssize_t)sizeof(own) ? 0 : 1);
    }
    close(ends[1]);
    ssize_t got = read(ends[0], diag, sizeof(*diag));
    close(ends[0]);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_equal(got, sizeof(*diag));
    return diag->code;
}

static struct rlimit exactly(rlim_t limit)
{
    return (struct rlimit){.rlim_cur = limit, .rlim_max = limit};
}

static int create_start(const char *words, struct plx_diag *diag)
{
    struct plx_runtime *rt = rt_create(words, NULL);
    int rc = plx_runtime_start(rt, diag);
    if (rc == 0)
        rc = plx_runtime_stop(rt, RT_PATIENCE_NS, diag);
    plx_runtime_destroy(rt);
    return rc;
}

/* Without root's privileges, which would lift the limit. */
static int start_with_little_to_lock(const char *words, struct plx_diag *diag)
{
    const struct rlimit limit = exactly(65536);
    if (setrlimit(RLIMIT_MEMLOCK, &limit) != 0 || (getuid() == 0 && setuid(NOBODY) != 0))
        return plx_diag_set(diag, -EPERM, "child", "%s", strerror(errno));
    return create_start(words, diag);
}

static int start_locked(struct plx_diag *diag)
{
    return start_with_little_to_lock("mlock=require", diag);
}

static int start_locked_if_possible(struct plx_diag *diag)
{
    return start_with_little_to_lock("mlock=try", diag);
}

static void memlock_too_small_is_named_or_done_without(void **state)
{
    (void)state;
    struct plx_diag diag = {0};
    assert_int_equal(in_child(start_locked, &diag), -ENOMEM);
    if (strstr(diag.what, "POLLUX_MLOCK") == NULL || strstr(diag.text, "RLIMIT_MEMLOCK") == NULL)
        fail_msg("%s: %s", diag.what, diag.text);
    int rc = in_child(start_locked_if_possible, &diag);
    if (rc != 0)
        fail_msg("%s: %s", diag.what, diag.text);
}

/* Whether the keeper's thread comes before the reactors'. */
static bool keeper_first;

static int start_without_descriptors(struct plx_diag *diag)
{
    struct plx_runtime_opts opts;
    plx_runtime_opts_init(&opts);
    opts.take_signals = keeper_first;
    struct plx_runtime *rt = rt_create("reactors=2", &opts);
    int next = dup(0);
    close(next);
    const struct rlimit limit = exactly((rlim_t)next);
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        return plx_diag_set(diag, -EPERM, "child", "%s", strerror(errno));
    int rc = plx_runtime_start(rt, diag);
    plx_runtime_destroy(rt);
    return rc;
}

static void descriptors_used_up_are_an_error(void **state)
{
    (void)state;
    struct plx_diag diag = {0};
    assert_int_equal(in_child(start_without_descriptors, &diag), -EMFILE);
    if (strstr(diag.text, "descriptors") == NULL)
        fail_msg("%s: %s", diag.what, diag.text);
    keeper_first = true;
    assert_int_equal(in_child(start_without_descriptors, &diag), -EMFILE);
    keeper_first = false;
    assert_string_equal(diag.what, "keeper");
}

/* Reactor 0 is refused a descriptor, and may try again when there are some. */
static void adopt_without_descriptors(struct plx_runtime *rt, struct plx_diag *diag)
{
    struct rlimit was;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
    int next = dup(0);
    close(next);
    const struct rlimit limit = {.rlim_cur = (rlim_t)next, .rlim_max = was.rlim_max};
    struct plx_reactor *reactor = NULL;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    int rc = plx_reactor_adopt(rt, 0, &reactor, diag);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
    assert_int_equal(rc, -EMFILE);
    assert_null(reactor);
}

static void start_after_a_failed_adopt_has_an_answer_of_its_own(void **state)
{
    (void)state;
    static const char *const words[] = {"reactors=2", "reactors=2 backend=epoll"};
    for (unsigned i = 0; i < 2; i++) {
        struct rt_things before = rt_count_things();
        struct plx_runtime *rt = rt_create(words[i], NULL);
        struct plx_diag diag = {0};
        adopt_without_descriptors(rt, &diag);
        assert_non_null(strstr(diag.text, "descriptors"));
        rt_start(rt);
        assert_non_null(plx_runtime_reactor(rt, 0));
        rt_finish(rt);
        rt_expect_things(&before);
    }
}

static int start_without_threads(struct plx_diag *diag)
{
    struct plx_runtime_opts opts;
    plx_runtime_opts_init(&opts);
    opts.take_signals = keeper_first;
    struct plx_runtime *rt = rt_create("reactors=3", &opts);
    const struct rlimit limit = exactly(1);
    if (setrlimit(RLIMIT_NPROC, &limit) != 0 || (getuid() == 0 && setuid(NOBODY) != 0))
        return plx_diag_set(diag, -EPERM, "child", "%s", strerror(errno));
    int rc = plx_runtime_start(rt, diag);
    plx_runtime_destroy(rt);
    return rc;
}

static void threads_used_up_are_an_error(void **state)
{
    (void)state;
    if (rt_is_sanitized()) {
        print_message("skipped: a sanitizer does not bear that a thread cannot be made\n");
        skip();
    }
    struct plx_diag diag = {0};
    assert_int_equal(in_child(start_without_threads, &diag), -EAGAIN);
    assert_string_equal(diag.what, "thread");
    assert_non_null(strstr(diag.text, "pthread_create"));
    keeper_first = true;
    assert_int_equal(in_child(start_without_threads, &diag), -EAGAIN);
    keeper_first = false;
    assert_string_equal(diag.what, "keeper");
    assert_non_null(strstr(diag.text, "pthread_create"));
}

/* --- features denied -------------------------------------------------------------------------- */

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

/* It runs without, and says so in its explanation, its counter and the log. */
static void expect_done_without(uint32_t deny, const char *words, uint32_t index, const char *mode,
                                const char *told)
{
    static struct rt_lines lines;
    struct rt_things before = rt_count_things();
    struct plx_runtime_opts opts = denying(deny);
    struct plx_runtime *rt = rt_create(words, &opts);
    struct plx_reactor *reactors[2] = {NULL};
    for (uint32_t i = 0; i <= index; i++)
        reactors[i] = rt_adopt(rt, i);
    struct plx_reactor *reactor = reactors[index];
    assert_int_equal(plx_reactor_caps(reactor) & deny, 0);
    assert_string_equal(plx_reactor_mode(reactor), mode);

    plx_store_relaxed(&lines.count, 0);
    plx_reactor_explain(reactor, rt_keep_line, &lines);
    char text[128];
    snprintf(text, sizeof(text), "not got: %s", told);
    if (rt_lines_with(&lines, text) != 1)
        fail_msg("not told: %s", told);
    assert_int_equal(rt_lines_with(&log_lines, told), 1);
    struct plx_reactor_stats stats;
    plx_reactor_read_stats(reactor, &stats);
    assert_true(stats.downgrades >= 1);
    for (uint32_t i = 0; i <= index; i++) {
        expect_works(reactors[i]);
        rt_abandon(reactors[i]);
    }
    plx_runtime_destroy(rt);
    rt_expect_things(&before);
}

static void each_feature_denied_is_done_without_and_told(void **state)
{
    (void)state;
    rt_need_uring();
    static const struct {
        uint32_t cap;
        const char *mode;
        const char *told;
    } cases[] = {
        {PLX_CAP_DEFER_TASKRUN, "uring coop", "DEFER_TASKRUN"},
        {PLX_CAP_SINGLE_ISSUER, "uring coop", "SINGLE_ISSUER"},
        {PLX_CAP_TASKRUN_FLAG, "uring plain", "TASKRUN_FLAG"},
        {PLX_CAP_DEFER_TASKRUN | PLX_CAP_COOP_TASKRUN, "uring plain", "DEFER_TASKRUN"},
        {PLX_CAP_BUFFER_RING, "uring defer", "BUFFER_RING"},
        {PLX_CAP_MULTISHOT_RECV, "uring defer", "MULTISHOT_RECV"},
        {PLX_CAP_MULTISHOT_ACCEPT, "uring defer", "MULTISHOT_ACCEPT"},
        {PLX_CAP_REGISTERED_RING, "uring defer", "REGISTERED_RING"},
        {PLX_CAP_CANCEL_ANY, "uring defer", "CANCEL_ANY"},
        {PLX_CAP_FIXED_BUFFERS, "uring defer", "FIXED_BUFFERS"},
        {PLX_CAP_MULTISHOT_RECVMSG, "uring defer", "MULTISHOT_RECVMSG"},
        {PLX_CAP_SEND_ZC, "uring defer", "SEND_ZC"},
        {PLX_CAP_SENDMSG_ZC, "uring defer", "SENDMSG_ZC"},
        {PLX_CAP_REGISTERED_FILES, "uring defer", "REGISTERED_FILES"},
        {PLX_CAP_MSG_RING, "uring defer", "MSG_RING"},
        {PLX_CAP_TICK_CLOCK, "uring defer", "TICK_CLOCK: the counter is denied"},
        {PLX_CAP_URING, "epoll", "io_uring refused"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        expect_done_without(cases[i].cap, "", 0, cases[i].mode, cases[i].told);
}

static void sq_thread_denied_is_done_without_and_told(void **state)
{
    (void)state;
    rt_need_uring();
    if (rt_cpus_allowed() < 2) {
        print_message("skipped: an SQ thread needs a CPU of its own\n");
        skip();
    }
    const char *words = "reactors=2 sqpoll=auto sqpoll_cpus=1";
    expect_done_without(PLX_CAP_SQPOLL, words, 0, "uring defer", "SQPOLL on cpu 1");
    /* Its leader has none, so that the second is not even tried. */
    expect_done_without(PLX_CAP_SQPOLL, words, 1, "uring defer", "SQPOLL: reactor 0");
    expect_done_without(PLX_CAP_ATTACH_WQ, words, 1, "uring defer", "SQPOLL on cpu 1");
}

static void sq_thread_insisted_on_and_denied_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *words;
        uint32_t deny;
        int rc;
    } cases[] = {
        {"sqpoll=on sqpoll_cpus=1 backend=uring", PLX_CAP_SQPOLL, -EOPNOTSUPP},
        {"sqpoll=on sqpoll_cpus=1", PLX_CAP_SQPOLL, -EOPNOTSUPP},
        {"sqpoll=on sqpoll_cpus=1", PLX_CAP_URING, -EOPNOTSUPP},
        {"sqpoll=on sqpoll_cpus=1 backend=uring", PLX_CAP_URING, -EOPNOTSUPP},
        {"sqpoll=on sqpoll_cpus=1 backend=epoll", 0, -EINVAL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        expect_refused(cases[i].words, cases[i].deny, cases[i].rc, "POLLUX_SQPOLL",
                       "POLLUX_SQPOLL=on cannot be honoured");
}

static void sq_thread_on_a_cpu_that_is_not_there_is_named(void **state)
{
    (void)state;
    rt_need_uring();
    if (sysconf(_SC_NPROCESSORS_CONF) > 3) {
        print_message("skipped: this system has the CPU 3 that the made-up machine has\n");
        skip();
    }
    expect_refused("sqpoll=on sqpoll_cpus=3", 0, -EINVAL, "POLLUX_SQPOLL", "cpu 3");
}

static void uring_denied_is_epoll_and_said_once(void **state)
{
    (void)state;
    struct plx_runtime_opts opts = denying(PLX_CAP_URING);
    struct plx_runtime *rt = rt_create("reactors=3", &opts);
    rt_start(rt);
    for (uint32_t i = 0; i < 3; i++)
        assert_string_equal(plx_reactor_mode(plx_runtime_reactor(rt, i)), "epoll");
    rt_finish(rt);
    /* A clock that the machine does not have is another matter. */
    assert_int_equal(plx_load_relaxed(&log_lines.count) - rt_lines_with(&log_lines, "TICK_CLOCK"),
                     1);
    assert_int_equal(rt_lines_with(&log_lines, "io_uring refused"), 1);
    assert_int_equal(rt_lines_with(&log_lines, "epoll instead"), 1);

    opts = denying(PLX_CAP_URING);
    rt = rt_create("reactors=3 log=error", &opts);
    rt_start(rt);
    rt_finish(rt);
    assert_int_equal(plx_load_relaxed(&log_lines.count), 0);
}

static void uring_insisted_on_and_denied_is_named(void **state)
{
    (void)state;
    expect_refused("backend=uring reactors=2", PLX_CAP_URING, -EOPNOTSUPP, "POLLUX_BACKEND",
                   "denied");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arena_too_small_for_the_mesh_names_its_size),
        cmocka_unit_test(hugepages_required_and_not_there_are_named),
        cmocka_unit_test(memlock_too_small_is_named_or_done_without),
        cmocka_unit_test(descriptors_used_up_are_an_error),
        cmocka_unit_test(start_after_a_failed_adopt_has_an_answer_of_its_own),
        cmocka_unit_test(threads_used_up_are_an_error),
        cmocka_unit_test(each_feature_denied_is_done_without_and_told),
        cmocka_unit_test(sq_thread_denied_is_done_without_and_told),
        cmocka_unit_test(sq_thread_insisted_on_and_denied_is_named),
        cmocka_unit_test(sq_thread_on_a_cpu_that_is_not_there_is_named),
        cmocka_unit_test(uring_denied_is_epoll_and_said_once),
        cmocka_unit_test(uring_insisted_on_and_denied_is_named),
    };
    return cmocka_run_group_tests_name("runtime, limits", tests, NULL, NULL);
}
