/* SPDX-License-Identifier: MIT */
#include "test/runtime/io/op_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <linux/io_uring.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/runtime_internal.h"
#include "runtime/io/sim_internal.h"
#include "test/runtime/io/calls.h"

/* Time passes in the simulated world by its reactor's turns. */
#define SIM_PACE_NS   5000u
#define END_WITHIN_NS 10000000000u
#define CASES_MAX     64u

#define UNDEFERRED                                                                                 \
    (PLX_CAP_DEFER_TASKRUN | PLX_CAP_COOP_TASKRUN | PLX_CAP_TASKRUN_FLAG | PLX_CAP_SINGLE_ISSUER)

const struct mode modes[] = {
    {"epoll", "epoll", "off", "epoll", 0},
    {"sim", "sim", "off", "sim", 0},
    {"defer", "uring", "off", "uring defer", 0},
    {"sqpoll", "uring", "on", "uring sqpoll", 0},
    {"coop", "uring", "off", "uring coop", PLX_CAP_DEFER_TASKRUN},
    {"plain", "uring", "off", "uring plain", UNDEFERRED},
    {"no-buffer-ring", "uring", "off", "uring defer", PLX_CAP_BUFFER_RING},
    {"no-multishot-recv", "uring", "off", "uring defer", PLX_CAP_MULTISHOT_RECV},
    {"no-multishot-accept", "uring", "off", "uring defer", PLX_CAP_MULTISHOT_ACCEPT},
    {"no-registered-ring", "uring", "off", "uring defer", PLX_CAP_REGISTERED_RING},
    {"no-cancel-any", "uring", "off", "uring defer", PLX_CAP_CANCEL_ANY},
    {"sqpoll-no-cancel-any", "uring", "on", "uring sqpoll",
     PLX_CAP_CANCEL_ANY | PLX_CAP_SINGLE_ISSUER},
    {"no-uring", "auto", "off", "epoll", PLX_CAP_URING},
    {"no-sqpoll", "uring", "auto", "uring defer", PLX_CAP_SQPOLL},
    {"no-single-issuer", "uring", "off", "uring coop", PLX_CAP_SINGLE_ISSUER},
    {"no-coop", "uring", "off", "uring defer", PLX_CAP_COOP_TASKRUN},
    {"no-taskrun-flag", "uring", "off", "uring plain", PLX_CAP_TASKRUN_FLAG},
    {"no-attach-wq", "uring", "off", "uring defer", PLX_CAP_ATTACH_WQ},
    {"no-fixed-buffers", "uring", "off", "uring defer", PLX_CAP_FIXED_BUFFERS},
    {"no-multishot-recvmsg", "uring", "off", "uring defer", PLX_CAP_MULTISHOT_RECVMSG},
    {"no-send-zc", "uring", "off", "uring defer", PLX_CAP_SEND_ZC},
    {"no-sendmsg-zc", "uring", "off", "uring defer", PLX_CAP_SENDMSG_ZC},
    {"no-registered-files", "uring", "off", "uring defer", PLX_CAP_REGISTERED_FILES},
    {"no-msg-ring", "uring", "off", "uring defer", PLX_CAP_MSG_RING},
    {"no-tick-clock", "uring", "off", "uring defer", PLX_CAP_TICK_CLOCK},
    {NULL, NULL, NULL, NULL, 0},
};

static struct plx_machine *machine;

/* --- one world -------------------------------------------------------------------------------- */

static void set(struct plx_settings *settings, const char *name, const char *text)
{
    assert_int_equal(plx_settings_set(settings, name, text, NULL), 0);
}

static void say_broken(void *ctx, const char *text)
{
    (void)ctx;
    print_message("a rule was broken: %s\n", text);
}

static int create(struct world *world, const struct mode *mode, const char *ring_entries,
                  struct plx_diag *diag)
{
    struct plx_settings settings;
    plx_settings_init(&settings);
    bool simulated = strcmp(mode->backend, "sim") == 0;
    set(&settings, "backend", simulated ? "auto" : mode->backend);
    set(&settings, "sqpoll", mode->sqpoll);
    set(&settings, "ring_entries", ring_entries);
    set(&settings, "reactors", "1");
    set(&settings, "pin", "no");
    set(&settings, "arena_size", "2M");
    set(&settings, "hugepages_2m", "no");
    set(&settings, "thp", "no");
    set(&settings, "mlock", "no");
    set(&settings, "prefault", "no");

    struct plx_runtime_opts opts;
    plx_runtime_opts_init(&opts);
    opts.machine = machine;
    opts.deny = mode->deny;
    int rc = plx_runtime_create(&settings, &opts, &world->runtime, diag);
    if (rc != 0)
        return rc;
    if (simulated) {
        static const struct plx__sim_hooks kind = {.broken = say_broken};
        assert_int_equal(plx__sim_world_create(&kind, &world->sim), 0);
        plx__sim_world_pace(world->sim, SIM_PACE_NS);
        plx__runtime_use_world(world->runtime, world->sim);
        calls_use(world->sim);
    }
    rc = plx_reactor_adopt(world->runtime, 0, &world->reactor, diag);
    if (rc != 0)
        plx_runtime_destroy(world->runtime);
    return rc;
}

/* On the core of an SQ thread, which spins, a case would get every other time slice. */
static void leave_core(struct world *world, int32_t cpu)
{
    assert_int_equal(sched_getaffinity(0, sizeof(world->cpus_before), &world->cpus_before), 0);
    cpu_set_t others = world->cpus_before;
    if (cpu < 0 || CPU_COUNT(&others) < 2)
        return;
    CPU_CLR((unsigned)cpu, &others);
    assert_int_equal(sched_setaffinity(0, sizeof(others), &others), 0);
}

void world_open(struct world *world, const struct mode *mode, const char *ring_entries)
{
    memset(world, 0, sizeof(*world));
    seen_reset();
    world->mode = mode;
    world->is_epoll = strcmp(mode->runs_as, "epoll") == 0;
    world->descriptors_before = count_descriptors();
    struct plx_diag diag = {0};
    if (create(world, mode, ring_entries, &diag) != 0)
        fail_msg("%s: %s", diag.what, diag.text);
    leave_core(world, plx_runtime_plan(world->runtime)->reactors[0].sq_cpu);
    assert_string_equal(plx_reactor_mode(world->reactor), mode->runs_as);
    assert_int_equal(plx_reactor_caps(world->reactor) & mode->deny, 0);
}

void world_end(struct world *world)
{
    if (world->reactor != NULL) {
        /* A busy turn publishes the counters. */
        struct seen nop = {0};
        plx_op_nop(&nop.op, seen_note, &nop);
        world_run(world, &nop, 0);
        struct plx_reactor_stats stats;
        plx_reactor_read_stats(world->reactor, &stats);
        assert_int_equal(stats.ops_submitted, stats.ops_completed);
        assert_int_equal(plx_reactor_abandon(world->reactor, END_WITHIN_NS), 0);
    }
    plx_runtime_destroy(world->runtime);
    if (world->sim != NULL) {
        assert_int_equal(plx__sim_world_open_count(world->sim), 0);
        calls_use(NULL);
        plx__sim_world_destroy(world->sim);
    }
    assert_int_equal(sched_setaffinity(0, sizeof(world->cpus_before), &world->cpus_before), 0);
    assert_int_equal(count_descriptors(), world->descriptors_before);
}

static struct world the_world;

int world_set_up(void **state)
{
    world_open(&the_world, *state, "256");
    *state = &the_world;
    return 0;
}

int world_set_up_small(void **state)
{
    world_open(&the_world, *state, "16");
    *state = &the_world;
    return 0;
}

int world_tear_down(void **state)
{
    world_end(*state);
    return 0;
}

int world_try_submit(struct world *world, struct plx_op *op)
{
    seen_forbid();
    int rc = plx_op_submit(world->reactor, op);
    seen_allow();
    return rc;
}

void world_submit(struct world *world, struct seen *seen)
{
    assert_int_equal(world_try_submit(world, &seen->op), 0);
}

void world_cancel(struct world *world, struct seen *seen)
{
    seen_forbid();
    plx_op_cancel(world->reactor, &seen->op);
    seen_allow();
}

int world_turn(struct world *world)
{
    int work = plx_reactor_poll(world->reactor);
    assert_true(work >= 0);
    if (work == 0)
        sched_yield();
    return work;
}

void world_settle(struct world *world)
{
    for (unsigned i = 0; i < 100; i++)
        world_turn(world);
}

void world_expect(struct world *world, struct seen *seen, int32_t result)
{
    WORLD_UNTIL(world, seen->terminals == 1);
    seen_expect(seen, result);
}

void world_run(struct world *world, struct seen *seen, int32_t result)
{
    world_submit(world, seen);
    world_expect(world, seen, result);
}

void world_close_fd(struct world *world, int fd)
{
    struct seen seen = {0};
    plx_op_close(&seen.op, fd, seen_note, &seen);
    world_run(world, &seen, 0);
}

bool world_has(const struct world *world, uint32_t caps)
{
    return (plx_reactor_caps(world->reactor) & caps) == caps;
}

void world_need_kernel(const struct world *world, const char *what)
{
    if (world->sim == NULL)
        return;
    print_message("mode %s skips: its world has no %s\n", world->mode->name, what);
    skip();
}

/* --- all modes -------------------------------------------------------------------------------- */

/* Asked of the kernel, not of the library: its bug must not pass for the lack of a mode. */
static bool is_available(const struct mode *mode)
{
    if (strcmp(mode->runs_as, "epoll") == 0 || strcmp(mode->runs_as, "sim") == 0)
        return true;
    struct io_uring_params params = {0};
    long fd = syscall(SYS_io_uring_setup, 4, &params);
    if (fd < 0) {
        print_message("mode %s left out: io_uring_setup: %s\n", mode->name, strerror(errno));
        return false;
    }
    close((int)fd);
    cpu_set_t allowed;
    if (strcmp(mode->sqpoll, "on") == 0 && sched_getaffinity(0, sizeof(allowed), &allowed) == 0 &&
        CPU_COUNT(&allowed) < 2) {
        print_message("mode %s left out: it needs two cores\n", mode->name);
        return false;
    }
    return true;
}

/* With POLLUX_TEST_MODE set, that one only. */
static bool is_asked_for(const struct mode *mode)
{
    const char *only = getenv("POLLUX_TEST_MODE");
    return only == NULL || strcmp(only, mode->name) == 0;
}

static int run(const struct CMUnitTest *cases, size_t count, bool simulated)
{
    static char names[CASES_MAX][160];
    struct CMUnitTest named[CASES_MAX];
    if (count > CASES_MAX || plx_machine_create(&machine, NULL) != 0)
        return 1;
    int failed = 0;
    unsigned ran = 0;
    for (const struct mode *mode = modes; mode->name != NULL; mode++) {
        if (!is_asked_for(mode) || !is_available(mode))
            continue;
        if (!simulated && strcmp(mode->backend, "sim") == 0) {
            print_message("mode %s left out: descriptors here are the kernel's\n", mode->name);
            continue;
        }
        for (size_t i = 0; i < count; i++) {
            named[i] = cases[i];
            snprintf(names[i], sizeof(names[i]), "%s: %s", mode->name, cases[i].name);
            named[i].name = names[i];
            named[i].initial_state = (void *)(uintptr_t)mode;
        }
        failed += _cmocka_run_group_tests(mode->name, named, count, NULL, NULL);
        ran++;
    }
    plx_machine_destroy(machine);
    return ran > 0 && failed == 0 ? 0 : 1;
}

int run_modes(const struct CMUnitTest *cases, size_t count)
{
    return run(cases, count, true);
}

int run_kernel_modes(const struct CMUnitTest *cases, size_t count)
{
    return run(cases, count, false);
}
