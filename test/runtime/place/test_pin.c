/* SPDX-License-Identifier: MIT */
#include "runtime/place/pin_internal.h"
#include "test/deny.h"
#include "test/runtime/place/host_fixture.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include <cmocka.h>

/* What a thread of its own is told to do, and what came of it. */
struct trial {
    const struct plx_machine *machine;
    uint32_t cpu;
    int rc;
    int check_rc;
    unsigned ran_on;
    struct plx_diag diag;
};

static void *pin_and_check(void *argument)
{
    struct trial *trial = argument;
    trial->rc = plx__pin_thread(trial->machine, trial->cpu, &trial->diag);
    trial->check_rc = plx__pin_check(trial->cpu, NULL);
    trial->ran_on = (unsigned)sched_getcpu();
    return NULL;
}

static struct trial try_pin(const struct plx_machine *machine, uint32_t cpu)
{
    struct trial trial = {.machine = machine, .cpu = cpu};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, pin_and_check, &trial), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    return trial;
}

static struct plx_machine *created(void)
{
    struct plx_machine *machine = NULL;
    struct plx_diag diag = {0};
    if (plx_machine_create(&machine, &diag) != 0)
        fail_msg("no machine: %s", diag.text);
    return machine;
}

static void pin_each_allowed_cpu_binds_the_calling_thread_alone(void **state)
{
    (void)state;
    struct plx_machine *machine = created();
    struct plx_cpu_set before;
    struct plx_cpu_set after;
    assert_true(plx__affinity_read(&before, NULL) > 0);
    for (uint32_t i = 0; i < machine->cpu_count; i++) {
        if (!machine->cpus[i].allowed)
            continue;
        struct trial trial = try_pin(machine, machine->cpus[i].cpu);
        assert_int_equal(trial.rc, 0);
        assert_int_equal(trial.check_rc, 0);
        assert_int_equal(trial.ran_on, machine->cpus[i].cpu);
    }
    assert_true(plx__affinity_read(&after, NULL) > 0);
    assert_memory_equal(&before, &after, sizeof(before));
    plx_machine_destroy(machine);
}

static void pin_on_a_foreign_machine_is_refused(void **state)
{
    (void)state;
    setenv("HWLOC_SYNTHETIC", "numa:2 core:4 pu:2", 1);
    struct plx_machine *machine = created();
    struct trial trial = try_pin(machine, 0);
    assert_int_equal(trial.rc, -EXDEV);
    assert_string_equal(trial.diag.what, "cpu 0");
    assert_string_equal(trial.diag.text, "the machine (synthetic) is not this system: threads "
                                         "cannot be pinned on it");
    plx_machine_destroy(machine);
}

static void pin_on_a_machine_filled_in_by_hand_is_refused(void **state)
{
    (void)state;
    const struct plx_machine machine = {.is_this_system = true, .source = "hand"};
    assert_int_equal(try_pin(&machine, 0).rc, -EXDEV);
}

static void pin_to_a_missing_cpu_is_refused(void **state)
{
    (void)state;
    struct plx_machine *machine = created();
    struct trial trial = try_pin(machine, 5000);
    assert_int_equal(trial.rc, -EINVAL);
    assert_string_equal(trial.diag.text, "the machine has no CPU 5000");
    plx_machine_destroy(machine);
}

/* The machine claims a CPU that the system does not have. */
static void pin_to_a_cpu_that_the_system_refuses_is_an_error(void **state)
{
    (void)state;
    struct plx_machine *machine = created();
    const struct plx_machine_cpu claimed = {.cpu = PLX_MACHINE_CPUS_MAX - 1, .allowed = true};
    if (plx_machine_cpu(machine, claimed.cpu) != NULL) {
        plx_machine_destroy(machine);
        print_message("skipped: this system has CPU %u\n", claimed.cpu);
        skip();
    }
    struct plx_machine claiming = *machine;
    claiming.cpus = &claimed;
    claiming.cpu_count = 1;
    struct trial trial = try_pin(&claiming, claimed.cpu);
    assert_int_equal(trial.rc, -EPERM);
    assert_non_null(strstr(trial.diag.text, "the thread cannot be bound to CPU 1023: "));
    plx_machine_destroy(machine);
}

/* On a made-up machine binding succeeds and does nothing: only reading back can tell. */
static void pin_that_did_nothing_is_found_out(void **state)
{
    (void)state;
    struct plx_cpu_set allowed;
    int count = plx__affinity_read(&allowed, NULL);
    if (count < 2) {
        print_message("skipped: with one allowed CPU a thread is always where it should be\n");
        skip();
    }
    setenv("HWLOC_SYNTHETIC", "numa:1 core:4 pu:1", 1);
    struct plx_machine *machine = created();
    struct plx_machine claiming = *machine;
    claiming.is_this_system = true;
    struct trial trial = try_pin(&claiming, 0);
    assert_int_equal(trial.rc, -EPERM);
    assert_string_equal(trial.diag.what, "cpu 0");
    assert_non_null(strstr(trial.diag.text, "should run on CPU 0 alone; its affinity is "));
    plx_machine_destroy(machine);
}

static int check_elsewhere(void)
{
    struct plx_diag diag = {0};
    cpu_set_t one;
    unsigned here = (unsigned)sched_getcpu();
    CPU_ZERO(&one);
    CPU_SET(here, &one);
    if (sched_setaffinity(0, sizeof(one), &one) != 0)
        return 1;
    if (plx__pin_check(here, NULL) != 0)
        return 2;
    if (plx__pin_check(here + 1, &diag) != -EPERM)
        return 3;
    return strstr(diag.text, "alone; its affinity is") != NULL ? 0 : 4;
}

static void check_tells_another_cpu_from_the_right_one(void **state)
{
    (void)state;
    assert_int_equal(host_in_child(check_elsewhere), 0);
}

static int check_denied(void)
{
    struct plx_diag diag = {0};
    if (deny_call(SYS_sched_getaffinity, EPERM) != 0)
        return 77;
    if (plx__pin_check(0, &diag) != -EIO)
        return 1;
    return strstr(diag.text, "affinity cannot be read") != NULL ? 0 : 2;
}

static void check_where_the_affinity_cannot_be_read_is_an_error(void **state)
{
    (void)state;
    int rc = host_in_child(check_denied);
    if (rc == 77) {
        print_message("skipped: the kernel lets us set no seccomp filter\n");
        skip();
    }
    assert_int_equal(rc, 0);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, host_setup, host_teardown)
    const struct CMUnitTest tests[] = {
        CASE(pin_each_allowed_cpu_binds_the_calling_thread_alone),
        CASE(pin_on_a_foreign_machine_is_refused),
        CASE(pin_on_a_machine_filled_in_by_hand_is_refused),
        CASE(pin_to_a_missing_cpu_is_refused),
        CASE(pin_to_a_cpu_that_the_system_refuses_is_an_error),
        CASE(pin_that_did_nothing_is_found_out),
        CASE(check_tells_another_cpu_from_the_right_one),
        CASE(check_where_the_affinity_cannot_be_read_is_an_error),
    };
    return cmocka_run_group_tests_name("pin", tests, NULL, NULL);
}
