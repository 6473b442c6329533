/* SPDX-License-Identifier: MIT */
/*
 * System calls of a reactor's thread, counted by strace from outside. This program starts itself
 * under strace in one of the modes below; there a reactor on a thread of its own marks the
 * beginning and the end of a window, and between the two it idles or sends. The controls show that
 * a call would have been seen.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test/runtime/rt_fixture.h"

#define FIRST_TURN 1000u
#define IDLE_TURNS 100000u
#define FEW_TURNS  1000u
#define SENDS      120u

/* What no other call looks like: a write to a descriptor that cannot be. */
#define MARK_BEGIN "pollux: window begins"
#define MARK_END   "pollux: window ends"

struct window {
    const char *name;
    const char *words;
    enum plx_idle idle;
    uint32_t turns; /* that it idles at least */
    uint32_t sends;
    uint16_t flags; /* of the sends */
};

#define DEFER  "backend=uring sqpoll=off"
#define SQPOLL "backend=uring sqpoll=on sqpoll_cpus=1"

static const struct window windows[] = {
    {"idle-defer", DEFER, PLX_IDLE_SPIN, IDLE_TURNS, 0, 0},
    {"idle-sqpoll", SQPOLL, PLX_IDLE_SPIN, IDLE_TURNS, 0, 0},
    {"idle-yielding", DEFER, PLX_IDLE_YIELD, FEW_TURNS, 0, 0},
    {"queued-sqpoll", SQPOLL, PLX_IDLE_SPIN, 0, SENDS, PLX_QUEUED},
    {"queued-defer", DEFER, PLX_IDLE_SPIN, 0, SENDS, PLX_QUEUED},
    {"inline-sqpoll", SQPOLL, PLX_IDLE_SPIN, 0, SENDS, PLX_INLINE},
};

/* --- inside ----------------------------------------------------------------------------------- */

/* The reactor's thread owns it until the stop. */
struct inside {
    const struct window *window;
    struct plx_poller poller;
    struct plx_op op;
    int pair[2];
    uint64_t turns;
    uint32_t sent;
    bool in_flight;
    bool failed;
};

static struct inside inside;

static void mark(const char *text)
{
    /* It fails, and is seen. */
    ssize_t rc = write(-1, text, strlen(text));
    inside.failed |= rc != -1;
}

static void on_sent(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    (void)op;
    (void)ctx;
    inside.failed |= event->result != 64;
    inside.in_flight = false;
    inside.sent++;
}

static void send_next(struct plx_reactor *reactor)
{
    static const uint8_t bytes[64] = {1, 2, 3};
    plx_op_send(&inside.op, inside.pair[0], bytes, sizeof(bytes), 0, inside.window->flags, on_sent,
                NULL);
    inside.in_flight = plx_op_submit(reactor, &inside.op) == 0;
    inside.failed |= !inside.in_flight;
}

/* Runs in each turn; the window begins once the ring has come to rest. */
static uint32_t walk_window(struct plx_poller *poller, void *ctx)
{
    struct plx_reactor *reactor = ctx;
    inside.turns++;
    if (inside.turns < FIRST_TURN || inside.failed)
        return 0;
    if (inside.turns == FIRST_TURN)
        mark(MARK_BEGIN);
    if (inside.in_flight)
        return 0;
    if (inside.sent < inside.window->sends) {
        send_next(reactor);
        return 1;
    }
    if (inside.turns < FIRST_TURN + inside.window->turns)
        return 0;
    mark(MARK_END);
    plx_poller_disarm(reactor, poller);
    plx_runtime_request_stop(plx_reactor_runtime(reactor));
    return 0;
}

static int arm_window(struct plx_reactor *reactor, void *ctx)
{
    (void)ctx;
    plx_poller_arm(reactor, &inside.poller, walk_window, reactor);
    return 0;
}

/* Prints "counted" when all went as planned; no cmocka in here. */
static int run_inside(const struct window *window)
{
    alarm(60);
    inside.window = window;
    struct plx_settings settings;
    rt_settings(&settings, window->words);
    settings.idle = window->idle;
    struct plx_runtime_opts opts;
    plx_runtime_opts_init(&opts);
    opts.machine = rt_four_cpus();
    opts.on_start = arm_window;
    struct plx_runtime *rt = NULL;
    struct plx_diag diag = {0};
    /* Room for all: nobody reads while the window is open. */
    int room = 1 << 20;
    if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, inside.pair) != 0 ||
        setsockopt(inside.pair[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)) != 0)
        return 1;
    if (plx_runtime_create(&settings, &opts, &rt, &diag) != 0 ||
        plx_runtime_start(rt, &diag) != 0) {
        printf("unable: %s\n", diag.text);
        return 0;
    }
    int rc = plx_runtime_wait(rt, RT_PATIENCE_NS);
    rc = plx_runtime_stop(rt, RT_PATIENCE_NS, NULL) != 0 ? -1 : rc;
    bool whole = rc == 0 && !inside.failed && inside.sent == window->sends &&
                 inside.turns >= FIRST_TURN + window->turns;
    plx_runtime_destroy(rt);
    printf("%s\n", whole ? "counted" : "broken");
    return 0;
}

/* --- outside ---------------------------------------------------------------------------------- */

static const char *program;

static bool strace_works(void)
{
    int rc = system("strace -f -o /dev/null true >/dev/null 2>&1");
    return WIFEXITED(rc) && WEXITSTATUS(rc) == 0;
}

/* Calls between the marks by the thread that made them; -1: a mark is missing. */
static long count_calls(const char *path, char *first, size_t first_bytes)
{
    FILE *trace = fopen(path, "re");
    assert_non_null(trace);
    char line[1024];
    long thread = -1;
    long calls = 0;
    bool ended = false;
    while (!ended && fgets(line, sizeof(line), trace) != NULL) {
        char *rest = NULL;
        long who = strtol(line, &rest, 10);
        if (strstr(line, MARK_BEGIN) != NULL) {
            thread = who;
        } else if (thread >= 0 && who == thread) {
            ended = strstr(line, MARK_END) != NULL;
            /* Told too, and no calls: the rest of one begun before, signals, a thread's end. */
            if (ended || strstr(rest, " resumed>") != NULL || strstr(rest, "---") != NULL ||
                strstr(rest, "+++") != NULL)
                continue;
            if (calls++ == 0)
                snprintf(first, first_bytes, "%s", rest);
        }
    }
    fclose(trace);
    return ended ? calls : -1;
}

/* The calls of a mode's window; skips where they cannot be counted. */
static long calls_of(const char *name, char *first, size_t first_bytes)
{
    if (rt_is_sanitized()) {
        print_message("skipped: a sanitizer makes calls of its own\n");
        skip();
    }
    if (!strace_works()) {
        print_message("skipped: strace is missing, or may not trace here\n");
        skip();
    }
    char path[] = "/tmp/pollux-calls-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    char command[1024];
    snprintf(command, sizeof(command), "timeout 60 strace -f -o %s %s --inside %s 2>&1", path,
             program, name);
    FILE *output = popen(command, "re");
    assert_non_null(output);
    char said[512] = "";
    char *got = fgets(said, sizeof(said), output);
    int status = pclose(output);
    long calls = got != NULL ? count_calls(path, first, first_bytes) : -1;
    unlink(path);
    if (strncmp(said, "unable", 6) == 0) {
        print_message("skipped: %s", said);
        skip();
    }
    if (status != 0 || strcmp(said, "counted\n") != 0 || calls < 0)
        fail_msg("%s: status %d, %ld calls: %s", name, status, calls, said);
    return calls;
}

static void expect_none(const char *name)
{
    char first[256] = "";
    long calls = calls_of(name, first, sizeof(first));
    if (calls != 0)
        fail_msg("%s: %ld calls, the first is %s", name, calls, first);
}

static void need_two_cpus(void)
{
    if (rt_cpus_allowed() < 2) {
        print_message("skipped: an SQ thread needs a CPU of its own\n");
        skip();
    }
}

static void idle_turns_of_a_deferring_ring_make_no_call(void **state)
{
    (void)state;
    expect_none("idle-defer");
}

static void idle_turns_under_sqpoll_make_no_call(void **state)
{
    (void)state;
    need_two_cpus();
    expect_none("idle-sqpoll");
}

static void queued_sends_under_sqpoll_make_no_call(void **state)
{
    (void)state;
    need_two_cpus();
    expect_none("queued-sqpoll");
}

static void queued_sends_of_a_deferring_ring_are_counted(void **state)
{
    (void)state;
    char first[256] = "";
    assert_true(calls_of("queued-defer", first, sizeof(first)) >= SENDS);
    assert_non_null(strstr(first, "io_uring_enter"));
}

static void inline_sends_under_sqpoll_are_counted(void **state)
{
    (void)state;
    need_two_cpus();
    char first[256] = "";
    assert_int_equal(calls_of("inline-sqpoll", first, sizeof(first)), SENDS);
    assert_non_null(strstr(first, "sendto"));
}

static void idle_turns_that_yield_are_counted(void **state)
{
    (void)state;
    char first[256] = "";
    assert_true(calls_of("idle-yielding", first, sizeof(first)) >= FEW_TURNS);
    assert_non_null(strstr(first, "sched_yield"));
}

int main(int argc, char **argv)
{
    program = argv[0];
    if (argc == 3 && strcmp(argv[1], "--inside") == 0) {
        for (size_t i = 0; i < sizeof(windows) / sizeof(*windows); i++) {
            if (strcmp(windows[i].name, argv[2]) == 0)
                return run_inside(&windows[i]);
        }
        return 2;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(idle_turns_of_a_deferring_ring_make_no_call),
        cmocka_unit_test(idle_turns_under_sqpoll_make_no_call),
        cmocka_unit_test(queued_sends_under_sqpoll_make_no_call),
        cmocka_unit_test(queued_sends_of_a_deferring_ring_are_counted),
        cmocka_unit_test(inline_sends_under_sqpoll_are_counted),
        cmocka_unit_test(idle_turns_that_yield_are_counted),
    };
    return cmocka_run_group_tests_name("system calls", tests, NULL, NULL);
}
