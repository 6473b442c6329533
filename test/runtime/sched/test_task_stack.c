/* SPDX-License-Identifier: MIT */
/* Stacks of tasks: how deep they were, that they are used again, and what an overflow says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/sched/stacks_internal.h"
#include "test/runtime/rt_fixture.h"
#include "test/runtime/sched/task_fixture.h"

/* --- the stacks by themselves ----------------------------------------------------------------- */

static struct plx__stacks few_stacks(uint32_t max)
{
    return (struct plx__stacks){
        .stack_bytes = 16384,
        .object_bytes = 128,
        .max = max,
        .node = 0,
        .bind = PLX_WANT_TRY,
    };
}

static void stacks_are_made_up_to_the_bound(void **state)
{
    (void)state;
    uint64_t before = rt_mapped_bytes();
    struct plx__stacks stacks = few_stacks(40);
    struct plx__stack_chunk *first;
    struct plx__stack_chunk *second;
    struct plx__stack_chunk *none;
    assert_int_equal(plx__stacks_grow(&stacks, &first), 0);
    assert_int_equal(plx__stacks_grow(&stacks, &second), 0);
    assert_int_equal(first->count, 32);
    assert_int_equal(second->count, 8);
    assert_int_equal(plx__stacks_grow(&stacks, &none), -EAGAIN);
    assert_null(none);
    for (uint32_t i = 0; i < 8; i++) {
        memset(plx__stack_base(second, i), 1, second->stack_bytes);
        memset(plx__stack_object(&stacks, second, i), 2, stacks.object_bytes);
    }
    for (uint32_t i = 0; i < 8; i++)
        assert_int_equal(plx__stack_base(second, i)[second->stack_bytes - 1], 1);
    plx__stacks_fini(&stacks);
    plx__stacks_fini(&stacks);
    if (!rt_is_sanitized())
        assert_int_equal(rt_mapped_bytes(), before);
}

static void closed_page_below_a_stack_is_known(void **state)
{
    (void)state;
    struct plx__stacks stacks = few_stacks(3);
    struct plx__stack_chunk *chunk;
    assert_int_equal(plx__stacks_grow(&stacks, &chunk), 0);
    for (uint32_t i = 0; i < 3; i++) {
        unsigned char *base = plx__stack_base(chunk, i);
        assert_int_equal(plx__stack_overflowed(chunk, base), -1);
        assert_int_equal(plx__stack_overflowed(chunk, base - 1), i);
        assert_int_equal(plx__stack_overflowed(chunk, base - PLX_PAGE), i);
        unsigned char seen;
        assert_int_equal(mincore(base - PLX_PAGE, PLX_PAGE, &seen), 0);
        assert_int_equal(seen & 1, 0);
    }
    unsigned char *end = plx__stack_base(chunk, 2) + chunk->stack_bytes;
    assert_int_equal(plx__stack_overflowed(chunk, end), -1);
    assert_int_equal(plx__stack_overflowed(chunk, chunk), -1);
    assert_int_equal(plx__stack_overflowed(chunk, NULL), -1);
    plx__stacks_fini(&stacks);
}

static void depth_of_a_stack_is_its_lowest_word(void **state)
{
    (void)state;
    struct plx__stacks stacks = few_stacks(1);
    stacks.stack_bytes = 4u << 20;
    struct plx__stack_chunk *chunk;
    assert_int_equal(plx__stacks_grow(&stacks, &chunk), 0);
    unsigned char *base = plx__stack_base(chunk, 0);
    assert_int_equal(plx__stack_depth(chunk, 0), 0);
    static const size_t depths[] = {8, 4096, 8200, 100000, 2000000, 4u << 20};
    for (size_t i = 0; i < sizeof(depths) / sizeof(depths[0]); i++) {
        base[chunk->stack_bytes - depths[i]] = 1;
        assert_int_equal(plx__stack_depth(chunk, 0), depths[i]);
    }
    plx__stacks_fini(&stacks);
}

static void stacks_on_a_node_that_is_not_are_refused(void **state)
{
    (void)state;
    uint64_t before = rt_mapped_bytes();
    struct plx__stacks stacks = few_stacks(3);
    struct plx__stack_chunk *chunk;
    stacks.node = 500;
    stacks.bind = PLX_WANT_REQUIRE;
    int rc = plx__stacks_grow(&stacks, &chunk);
    if (rc == 0) {
        plx__stacks_fini(&stacks);
        print_message("skipped: mbind is refused here, or there is a node 500\n");
        skip();
    }
    assert_int_equal(rc, -EINVAL);
    assert_int_equal(stacks.count, 0);
    if (!rt_is_sanitized())
        assert_int_equal(rt_mapped_bytes(), before);
    stacks.bind = PLX_WANT_TRY;
    assert_int_equal(plx__stacks_grow(&stacks, &chunk), 0);
    plx__stacks_fini(&stacks);
}

/* --- in a reactor ----------------------------------------------------------------------------- */

static int64_t give(void *ctx)
{
    return (int64_t)(intptr_t)ctx;
}

__attribute__((noinline)) static int64_t use_stack(size_t bytes)
{
    unsigned char local[1024];
    memset(local, 1, sizeof(local));
    __asm__ volatile("" ::"r"(local) : "memory");
    int64_t below = bytes > sizeof(local) ? use_stack(bytes - sizeof(local)) : 0;
    __asm__ volatile("" ::"r"(local) : "memory");
    return below + local[0];
}

static int64_t use_some(void *ctx)
{
    return use_stack((size_t)(uintptr_t)ctx);
}

static void stack_is_used_again_and_remembers_the_deepest(void **state)
{
    (void)state;
    struct task_world world = task_world_open("");
    struct plx_task_stats stats;
    plx_task_read_stats(world.reactor, &stats);
    assert_int_equal(stats.stacks, 0);
    assert_int_equal(stats.deepest_bytes, 0);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(task_do(&world, give, (void *)7), 7);
    plx_task_read_stats(world.reactor, &stats);
    assert_int_equal(stats.stacks, PLX__CHUNK_STACKS);
    assert_true(stats.deepest_bytes > 0 && stats.deepest_bytes < 8192);
    assert_true(task_do(&world, use_some, (void *)20000) > 0);
    assert_int_equal(task_do(&world, give, (void *)7), 7);
    plx_task_read_stats(world.reactor, &stats);
    assert_true(stats.deepest_bytes > 20000 && stats.deepest_bytes < 65536);
    task_world_close(&world);
}

static void spawn_without_addresses_is_refused(void **state)
{
    (void)state;
    if (rt_is_sanitized()) {
        print_message("skipped: a sanitizer needs addresses itself\n");
        skip();
    }
    struct task_world world = task_world_open("tasks_max=16384 task_stack=64M");
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_AS, &before), 0);
    /* Not even for the stack of handlers; then for that alone. */
    for (rlim_t more = 0; more <= ((rlim_t)64 << 20); more += (rlim_t)64 << 20) {
        struct rlimit few = before;
        few.rlim_cur = rt_mapped_bytes() + more;
        assert_int_equal(setrlimit(RLIMIT_AS, &few), 0);
        struct plx_task *task = NULL;
        int rc = plx_task_spawn(world.reactor, NULL, give, NULL, &task);
        assert_int_equal(setrlimit(RLIMIT_AS, &before), 0);
        assert_int_equal(rc, -ENOMEM);
        assert_null(task);
    }
    struct plx_task_stats stats;
    plx_task_read_stats(world.reactor, &stats);
    assert_int_equal(stats.refused, 2);
    assert_int_equal(task_do(&world, give, (void *)7), 7);
    task_world_close(&world);
}

/* --- overflows -------------------------------------------------------------------------------- */

__attribute__((noinline)) static int64_t go_down(uint64_t depth)
{
    unsigned char local[512];
    memset(local, (int)depth, sizeof(local));
    __asm__ volatile("" ::"r"(local) : "memory");
    int64_t below = depth < UINT64_MAX ? go_down(depth + 1) : 0;
    __asm__ volatile("" ::"r"(local) : "memory");
    return below + local[0];
}

static int64_t overflow(void *ctx)
{
    (void)ctx;
    return go_down(0);
}

static int64_t fault_elsewhere(void *ctx)
{
    *(PLX_ATOMIC(int) *)ctx = 1;
    return 0;
}

#define FROM_HANDLER 77

static void end_in_handler(int number)
{
    (void)number;
    _exit(FROM_HANDLER);
}

static void end_in_long_handler(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)context;
    _exit(info->si_code > 0 ? FROM_HANDLER : 1);
}

enum handler { NO_HANDLER, HANDLER, LONG_HANDLER };

struct fall {
    plx_task_fn fn;
    enum handler handler;
    bool leave;  /* not name_overflows */
    bool thread; /* the reactor has a thread of its own, rather than an adopted one */
};

static int spawn_named(struct plx_reactor *reactor, void *ctx)
{
    const struct fall *fall = ctx;
    struct plx_task_opts opts;
    plx_task_opts_init(&opts);
    opts.name = "digger";
    opts.detached = true;
    return plx_task_spawn(reactor, &opts, fall->fn, NULL, NULL);
}

/* In a child: never returns, as the fault ends it. */
static void fall_down(const struct fall *fall)
{
    struct rlimit no_core = {0, 0};
    (void)setrlimit(RLIMIT_CORE, &no_core);
    struct sigaction action = {.sa_handler = SIG_DFL};
    if (fall->handler == HANDLER)
        action.sa_handler = end_in_handler;
    if (fall->handler == LONG_HANDLER)
        action = (struct sigaction){.sa_sigaction = end_in_long_handler, .sa_flags = SA_SIGINFO};
    (void)sigaction(SIGSEGV, &action, NULL);
    struct plx_runtime_opts opts;
    plx_runtime_opts_init(&opts);
    opts.name_overflows = !fall->leave;
    opts.ctx = (void *)(uintptr_t)fall;
    if (fall->thread)
        opts.on_start = spawn_named;
    struct plx_runtime *rt = rt_create("task_stack=32K", &opts);
    if (fall->thread) {
        rt_start(rt);
        (void)plx_runtime_wait(rt, RT_PATIENCE_NS);
    } else {
        struct plx_reactor *reactor = rt_adopt(rt, 0);
        (void)spawn_named(reactor, (void *)(uintptr_t)fall);
        (void)plx_reactor_poll(reactor);
    }
    _exit(1);
}

/* Runs it in a child; returns how that ended, and what it said. */
static int see_fall(const struct fall *fall, char *said, size_t capacity)
{
    int pair[2];
    int status = 0;
    size_t length = 0;
    assert_int_equal(pipe(pair), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(pair[1], STDERR_FILENO);
        fall_down(fall);
    }
    close(pair[1]);
    ssize_t got;
    while ((got = read(pair[0], said + length, capacity - 1 - length)) > 0)
        length += (size_t)got;
    said[length] = '\0';
    close(pair[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

#define LINE "pollux: task digger has overflowed its stack of 32768 bytes (POLLUX_TASK_STACK)\n"

/* A sanitizer has a handler of its own, which ours goes on to. */
static void expect_killed(int status)
{
    if (rt_is_sanitized())
        assert_true(status != 0);
    else
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

static void overflow_is_named_and_ends_the_process(void **state)
{
    (void)state;
    char said[4096];
    for (int i = 0; i < 2; i++) {
        const struct fall fall = {.fn = overflow, .thread = i == 1};
        int status = see_fall(&fall, said, sizeof(said));
        expect_killed(status);
        assert_int_equal(strncmp(said, LINE, strlen(LINE)), 0);
    }
}

static void overflow_is_handed_on_to_the_handler_that_was_there(void **state)
{
    (void)state;
    char said[4096];
    for (int i = 0; i < 2; i++) {
        const struct fall fall = {.fn = overflow, .handler = i == 0 ? HANDLER : LONG_HANDLER};
        int status = see_fall(&fall, said, sizeof(said));
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == FROM_HANDLER);
        assert_string_equal(said, LINE);
    }
}

static void fault_elsewhere_is_not_called_an_overflow(void **state)
{
    (void)state;
    char said[4096];
    const struct fall fall = {.fn = fault_elsewhere};
    expect_killed(see_fall(&fall, said, sizeof(said)));
    assert_null(strstr(said, "pollux:"));
    const struct fall handled = {.fn = fault_elsewhere, .handler = HANDLER};
    int status = see_fall(&handled, said, sizeof(said));
    if (!rt_is_sanitized())
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == FROM_HANDLER);
}

static int64_t send_to_oneself(void *ctx)
{
    (void)ctx;
    kill(getpid(), SIGSEGV);
    return 0;
}

static void signal_that_was_sent_ends_the_process(void **state)
{
    (void)state;
    char said[4096];
    const struct fall fall = {.fn = send_to_oneself};
    expect_killed(see_fall(&fall, said, sizeof(said)));
    assert_null(strstr(said, "pollux:"));
    const struct fall handled = {.fn = send_to_oneself, .handler = HANDLER};
    int status = see_fall(&handled, said, sizeof(said));
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == FROM_HANDLER);
}

static void overflow_is_left_alone_where_that_is_asked_for(void **state)
{
    (void)state;
    char said[4096];
    const struct fall fall = {.fn = overflow, .leave = true};
    int status = see_fall(&fall, said, sizeof(said));
    assert_true(status != 0);
    assert_null(strstr(said, "pollux:"));
}

static void handlers_are_as_before_when_a_reactor_has_ended(void **state)
{
    (void)state;
    struct sigaction before;
    struct sigaction between;
    struct sigaction after;
    stack_t stack_before;
    stack_t stack_after;
    assert_int_equal(sigaction(SIGSEGV, NULL, &before), 0);
    assert_int_equal(sigaltstack(NULL, &stack_before), 0);
    struct task_world worlds[2] = {task_world_open(""), task_world_open("")};
    assert_int_equal(sigaction(SIGSEGV, NULL, &between), 0);
    assert_true(between.sa_handler == before.sa_handler);
    for (int i = 0; i < 2; i++)
        assert_int_equal(task_do(&worlds[i], give, (void *)7), 7);
    assert_int_equal(sigaction(SIGSEGV, NULL, &between), 0);
    assert_true(between.sa_handler != before.sa_handler);
    task_world_close(&worlds[0]);
    assert_int_equal(sigaction(SIGSEGV, NULL, &after), 0);
    assert_true(after.sa_handler == between.sa_handler);
    task_world_close(&worlds[1]);
    assert_int_equal(sigaction(SIGSEGV, NULL, &after), 0);
    assert_true(after.sa_handler == before.sa_handler);
    assert_int_equal(sigaltstack(NULL, &stack_after), 0);
    assert_int_equal(stack_after.ss_flags, stack_before.ss_flags);
}

static void handler_that_came_later_stays(void **state)
{
    (void)state;
    struct sigaction before;
    struct sigaction now;
    assert_int_equal(sigaction(SIGSEGV, NULL, &before), 0);
    struct task_world world = task_world_open("");
    assert_int_equal(task_do(&world, give, (void *)7), 7);
    struct sigaction later = {.sa_handler = end_in_handler};
    struct sigaction ours;
    assert_int_equal(sigaction(SIGSEGV, &later, &ours), 0);
    task_world_close(&world);
    assert_int_equal(sigaction(SIGSEGV, NULL, &now), 0);
    assert_true(now.sa_handler == end_in_handler);
    /* That one may still call ours, which is not installed above it. */
    world = task_world_open("");
    assert_int_equal(task_do(&world, give, (void *)7), 7);
    assert_int_equal(sigaction(SIGSEGV, NULL, &now), 0);
    assert_true(now.sa_handler == end_in_handler);
    assert_int_equal(sigaction(SIGSEGV, &ours, NULL), 0);
    task_world_close(&world);
    assert_int_equal(sigaction(SIGSEGV, NULL, &now), 0);
    assert_true(now.sa_handler == before.sa_handler);
}

/* --- the debugger ----------------------------------------------------------------------------- */

__attribute__((noinline)) void plx_test_stop_here(void);
void plx_test_stop_here(void)
{
    __asm__ volatile("" ::: "memory");
}

static int64_t call_stop(void *ctx)
{
    (void)ctx;
    plx_test_stop_here();
    return 1;
}

/* What the debugger runs. */
static int be_debugged(void)
{
    struct task_world world = task_world_open("backend=epoll");
    int64_t result = task_do(&world, call_stop, NULL);
    task_world_close(&world);
    return result == 1 ? 0 : 1;
}

static const char *program;

static void debugger_walks_from_a_task_to_its_entry(void **state)
{
    (void)state;
    if (rt_is_sanitized() || system("gdb --version >/dev/null 2>&1") != 0) {
        print_message("skipped: no gdb here, or a sanitizer that it gets lost in\n");
        skip();
    }
    char command[1024];
    static char said[65536];
    snprintf(command, sizeof(command),
             "gdb -batch -nx -ex 'set confirm off' -ex 'break plx_test_stop_here' -ex run -ex bt "
             "-ex kill --args '%s' --be-debugged 2>&1 </dev/null",
             program);
    FILE *gdb = popen(command, "r");
    assert_non_null(gdb);
    said[fread(said, 1, sizeof(said) - 1, gdb)] = '\0';
    pclose(gdb);
    if (strstr(said, "Breakpoint 1, ") == NULL) {
        print_message("skipped: gdb may not trace here: %s\n", said);
        skip();
    }
    assert_non_null(strstr(said, "in call_stop "));
    /* Of a name with two underscores the debugger may think that it is Ada's. */
    assert_non_null(strstr(said, "switch_entry () at"));
    assert_null(strstr(said, "corrupt stack"));
    assert_null(strstr(said, "main ("));
}

int main(int argc, char **argv)
{
    program = argv[0];
    if (argc > 1 && strcmp(argv[1], "--be-debugged") == 0)
        return be_debugged();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stacks_are_made_up_to_the_bound),
        cmocka_unit_test(closed_page_below_a_stack_is_known),
        cmocka_unit_test(depth_of_a_stack_is_its_lowest_word),
        cmocka_unit_test(stacks_on_a_node_that_is_not_are_refused),
        cmocka_unit_test(stack_is_used_again_and_remembers_the_deepest),
        cmocka_unit_test(spawn_without_addresses_is_refused),
        cmocka_unit_test(overflow_is_named_and_ends_the_process),
        cmocka_unit_test(overflow_is_handed_on_to_the_handler_that_was_there),
        cmocka_unit_test(fault_elsewhere_is_not_called_an_overflow),
        cmocka_unit_test(signal_that_was_sent_ends_the_process),
        cmocka_unit_test(overflow_is_left_alone_where_that_is_asked_for),
        cmocka_unit_test(handlers_are_as_before_when_a_reactor_has_ended),
        cmocka_unit_test(handler_that_came_later_stays),
        cmocka_unit_test(debugger_walks_from_a_task_to_its_entry),
    };
    return cmocka_run_group_tests_name("task_stack", tests, NULL, NULL);
}
