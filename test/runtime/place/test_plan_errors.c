/* SPDX-License-Identifier: MIT */
#include "test/runtime/place/place_fixture.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct place_machine m;

static void refuse(const struct plx_settings *settings, int code, const char *what,
                   const char *text)
{
    place_assert_refused(&m.machine, settings, code, what, text);
}

static void assert_planned(const struct plx_settings *settings, const char *expected)
{
    char summary[512];
    struct plx_plan *plan = NULL;
    struct plx_diag diag = {0};
    if (plx_plan_create(&m.machine, settings, &plan, &diag) != 0)
        fail_msg("no plan: %s", diag.text);
    place_check_plan(&m.machine, settings, plan);
    place_summarise(plan, summary, sizeof(summary));
    plx_plan_destroy(plan);
    assert_string_equal(summary, expected);
}

/* --- CPUs ------------------------------------------------------------------------------------ */

static void cpus_naming_a_missing_cpu_are_refused(void **state)
{
    (void)state;
    place_uniform(&m, 1, 1, 4, 1);
    struct plx_settings settings = place_settings("cpus=1-5", NULL);
    refuse(&settings, -EINVAL, "POLLUX_CPUS",
           "POLLUX_CPUS names CPU 4, which does not exist; allowed are: 0-3");
}

static void cpus_naming_a_forbidden_cpu_are_refused(void **state)
{
    (void)state;
    place_uniform(&m, 1, 1, 4, 1);
    place_allow(&m, "0,2");
    struct plx_settings settings = place_settings("cpus=0-1", NULL);
    refuse(&settings, -EINVAL, "POLLUX_CPUS",
           "names CPU 1, which the process's affinity or cpuset does not allow; allowed "
           "are: 0,2");
}

static void cpus_outside_the_nodes_are_refused(void **state)
{
    (void)state;
    place_uniform(&m, 2, 1, 4, 1);
    struct plx_settings settings = place_settings("cpus=0-3", "nodes=1", NULL);
    refuse(&settings, -EINVAL, "POLLUX_NODES",
           "names node 1, none of whose CPUs is both allowed and in POLLUX_CPUS");
}

static void machine_without_an_allowed_cpu_is_refused(void **state)
{
    (void)state;
    place_uniform(&m, 1, 1, 4, 1);
    place_allow(&m, "");
    struct plx_settings settings = place_settings("smt=no", NULL);
    refuse(&settings, -ENODEV, "CPU", "the process may run on no CPU");
    settings = place_settings("cpus=0", NULL);
    refuse(&settings, -EINVAL, "POLLUX_CPUS", "allowed are: none");
}

static void allowed_list_that_is_long_is_counted(void **state)
{
    (void)state;
    place_uniform(&m, 1, 1, 400, 1);
    for (uint32_t i = 0; i < 400; i += 2)
        m.cpus[i].allowed = false;
    struct plx_settings settings = place_settings("cpus=2", NULL);
    refuse(&settings, -EINVAL, "POLLUX_CPUS", "allowed are: 200 of them");
}

/* --- nodes ----------------------------------------------------------------------------------- */

static void nodes_naming_a_missing_node_are_refused(void **state)
{
    (void)state;
    place_uniform(&m, 2, 1, 2, 1);
    struct plx_settings settings = place_settings("nodes=0,5", NULL);
    refuse(&settings, -EINVAL, "POLLUX_NODES",
           "names node 5, which does not exist; nodes with cores and memory: 0-1");
}

static void nodes_naming_one_without_cores_are_refused(void **state)
{
    (void)state;
    place_uniform(&m, 2, 1, 2, 1);
    place_add_node(&m, 2, PLACE_GIB);
    struct plx_settings settings = place_settings("nodes=2", NULL);
    refuse(&settings, -EINVAL, "POLLUX_NODES", "names node 2, which has no cores");
}

static void nodes_naming_one_without_memory_are_refused(void **state)
{
    (void)state;
    place_uniform(&m, 2, 1, 2, 1);
    m.nodes[1].memory_bytes = 0;
    struct plx_settings settings = place_settings("nodes=1", NULL);
    refuse(&settings, -EINVAL, "POLLUX_NODES",
           "names node 1, which has no memory; nodes with cores and memory: 0");
    m.nodes[1].memory_bytes = PLACE_GIB;
    m.nodes[1].allowed = false;
    refuse(&settings, -EINVAL, "POLLUX_NODES", "gives this process no memory");
}

static void nodes_with_no_allowed_core_are_refused(void **state)
{
    (void)state;
    place_uniform(&m, 2, 1, 2, 1);
    place_allow(&m, "0-1");
    struct plx_settings settings = place_settings("nodes=1", NULL);
    refuse(&settings, -EINVAL, "POLLUX_NODES", "names node 1, none of whose CPUs");
}

static void nodes_without_an_isolated_core_are_refused_where_others_have_some(void **state)
{
    (void)state;
    place_uniform(&m, 2, 1, 2, 1);
    m.cpus[1].isolated = true;
    struct plx_settings settings = place_settings("nodes=0-1", NULL);
    refuse(&settings, -EINVAL, "POLLUX_NODES", "none of whose CPUs is isolated");
}

/* --- reactors -------------------------------------------------------------------------------- */

static void reactors_beyond_the_cores_are_refused_with_what_fits(void **state)
{
    (void)state;
    place_uniform(&m, 1, 1, 8, 2);
    struct plx_settings settings = place_settings("sqpoll=off", "reactors=9", NULL);
    refuse(&settings, -ENOSPC, "POLLUX_REACTORS",
           "POLLUX_REACTORS=9, but 8 fit: 8 cores are usable (SMT siblings are not, "
           "POLLUX_SMT=no)");
    settings = place_settings("sqpoll=auto", "reactors=9", NULL);
    refuse(&settings, -ENOSPC, "POLLUX_REACTORS", "but 8 fit");
    settings = place_settings("sqpoll=on", "reactors=7", NULL);
    refuse(&settings, -ENOSPC, "POLLUX_REACTORS",
           "but 6 fit: 8 cores are usable, of which POLLUX_SQPOLL=on keeps the others");
    settings = place_settings("sqpoll=on", "reactors=6", NULL);
    assert_planned(&settings, "0-5 sq 6<0-2 sq 7<3-5");
    settings = place_settings("smt=yes", "sqpoll=off", "reactors=17", NULL);
    refuse(&settings, -ENOSPC, "POLLUX_REACTORS", "16 fit: 16 cores are usable");
    settings = place_settings("sqpoll_cpus=0", "reactors=5", NULL);
    refuse(&settings, -ENOSPC, "POLLUX_REACTORS",
           "but 4 fit: 7 cores are usable; POLLUX_SQPOLL_CPUS and _SHARE allow no more");
}

static void reactors_beyond_the_limit_are_refused(void **state)
{
    (void)state;
    place_uniform(&m, 1, 1, 400, 1);
    struct plx_settings settings = place_settings("sqpoll=off", NULL);
    settings.reactors = 257;
    refuse(&settings, -ENOSPC, "POLLUX_REACTORS", "at most 256 run");
}

/* --- SQ threads ------------------------------------------------------------------------------ */

static void sqpoll_on_with_one_core_is_refused_with_what_would_do(void **state)
{
    (void)state;
    place_uniform(&m, 1, 1, 4, 1);
    struct plx_settings settings = place_settings("cpus=2", "sqpoll=on", NULL);
    refuse(&settings, -EINVAL, "POLLUX_SQPOLL",
           "POLLUX_SQPOLL=on needs two usable cores on node 0, which has one; "
           "POLLUX_SQPOLL=auto would do");
}

static void sqpoll_cpus_naming_a_missing_or_forbidden_cpu_are_refused(void **state)
{
    (void)state;
    place_uniform(&m, 1, 1, 4, 1);
    struct plx_settings settings = place_settings("sqpoll_cpus=9", NULL);
    refuse(&settings, -EINVAL, "POLLUX_SQPOLL_CPUS", "names CPU 9, which does not exist");
    place_allow(&m, "0-2");
    settings = place_settings("sqpoll_cpus=3", NULL);
    refuse(&settings, -EINVAL, "POLLUX_SQPOLL_CPUS", "names CPU 3, which the process's");
}

static void sqpoll_cpus_that_leave_no_core_are_refused(void **state)
{
    (void)state;
    place_uniform(&m, 1, 1, 2, 2);
    struct plx_settings settings = place_settings("sqpoll_cpus=0-1", NULL);
    refuse(&settings, -EINVAL, "POLLUX_SQPOLL_CPUS",
           "names every usable core: none is left for a reactor");
    settings = place_settings("sqpoll_cpus=0", "cpus=0", NULL);
    refuse(&settings, -EINVAL, "POLLUX_SQPOLL_CPUS", "none is left for a reactor");
}

static void sqpoll_cpus_that_are_siblings_are_refused(void **state)
{
    (void)state;
    place_uniform(&m, 1, 1, 4, 2);
    struct plx_settings settings = place_settings("sqpoll_cpus=1,5", NULL);
    refuse(&settings, -EINVAL, "POLLUX_SQPOLL_CPUS",
           "names CPU 1 and CPU 5, SMT siblings of one core");
}

static void sqpoll_cpus_on_a_node_without_reactors_are_refused(void **state)
{
    (void)state;
    place_uniform(&m, 2, 1, 4, 1);
    struct plx_settings settings = place_settings("sqpoll_cpus=5", "nodes=0", NULL);
    refuse(&settings, -EINVAL, "POLLUX_SQPOLL_CPUS",
           "names CPU 5 of node 1, where no reactor runs");
    settings = place_settings("sqpoll_cpus=3,7", "reactors=1", NULL);
    refuse(&settings, -EINVAL, "POLLUX_SQPOLL_CPUS",
           "names CPU 7 of node 1, where no reactor runs");
}

static void sqpoll_cpus_that_miss_a_node_are_refused_under_on(void **state)
{
    (void)state;
    place_uniform(&m, 2, 1, 4, 1);
    struct plx_settings settings = place_settings("sqpoll_cpus=3", "sqpoll=on", NULL);
    refuse(&settings, -EINVAL, "POLLUX_SQPOLL_CPUS",
           "names no CPU of node 1, whose reactors need one under POLLUX_SQPOLL=on");
    settings = place_settings("sqpoll_cpus=3", "sqpoll=on", "nodes=0", NULL);
    assert_planned(&settings, "0-2 sq 3<0-2");
}

static void sqpoll_cpus_too_few_for_the_share_are_refused(void **state)
{
    (void)state;
    place_uniform(&m, 1, 1, 8, 1);
    struct plx_settings settings = place_settings("sqpoll_cpus=7", NULL);
    refuse(&settings, -ENOSPC, "POLLUX_SQPOLL_CPUS",
           "names 1 of node 0's CPUs, enough for 4 reactors (POLLUX_SQPOLL_SHARE=4), but 7 "
           "would run there");
    settings = place_settings("sqpoll_cpus=7", "sqpoll_share=7", NULL);
    assert_planned(&settings, "0-6 sq 7<0-6");
}

static void sqpoll_share_out_of_range_is_refused(void **state)
{
    (void)state;
    place_uniform(&m, 1, 1, 4, 1);
    struct plx_settings settings = place_settings("smt=no", NULL);
    settings.sqpoll_share = 0;
    refuse(&settings, -EINVAL, "POLLUX_SQPOLL_SHARE", "POLLUX_SQPOLL_SHARE=0: expected 1");
    settings.sqpoll_share = UINT32_MAX;
    refuse(&settings, -EINVAL, "POLLUX_SQPOLL_SHARE", "expected 1 to 256");
}

/* --- memory, idle ---------------------------------------------------------------------------- */

static void arenas_beyond_a_node_are_refused_with_what_fits(void **state)
{
    (void)state;
    place_uniform(&m, 2, 1, 2, 1);
    m.nodes[1].memory_bytes = 4 * PLACE_GIB;
    struct plx_settings settings = place_settings("sqpoll=off", "arena_size=3G", NULL);
    refuse(&settings, -ENOSPC, "POLLUX_ARENA_SIZE",
           "arenas of 2 reactors, 3072 MiB each, are to lie on node 1, which has 4096 MiB: "
           "at most 2048 MiB each");
    settings = place_settings("sqpoll=off", "arena_size=2G", NULL);
    assert_planned(&settings, "0-3");
    settings = place_settings("sqpoll=off", NULL);
    settings.arena_size = UINT64_MAX;
    refuse(&settings, -ENOSPC, "POLLUX_ARENA_SIZE", "are to lie on node 0");
}

static void arenas_of_a_node_without_memory_count_where_they_lie(void **state)
{
    (void)state;
    place_uniform(&m, 2, 1, 2, 1);
    m.nodes[0].memory_bytes = 4 * PLACE_GIB;
    m.nodes[1].memory_bytes = 0;
    struct plx_settings settings = place_settings("sqpoll=off", "arena_size=2G", NULL);
    refuse(&settings, -ENOSPC, "POLLUX_ARENA_SIZE", "arenas of 4 reactors");
}

static void machine_without_memory_is_refused(void **state)
{
    (void)state;
    place_uniform(&m, 2, 1, 2, 1);
    m.nodes[0].memory_bytes = 0;
    m.nodes[1].allowed = false;
    struct plx_settings settings = place_settings("smt=no", NULL);
    refuse(&settings, -ENODEV, "memory", "no node has memory that the process may use");
}

static void idle_policy_that_is_none_is_refused(void **state)
{
    (void)state;
    place_uniform(&m, 1, 1, 2, 1);
    struct plx_settings settings = place_settings("smt=no", NULL);
    settings.idle = (enum plx_idle)(PLX_IDLE_BLOCK + 1);
    refuse(&settings, -EINVAL, "POLLUX_IDLE", "POLLUX_IDLE is 5: no such policy");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cpus_naming_a_missing_cpu_are_refused),
        cmocka_unit_test(cpus_naming_a_forbidden_cpu_are_refused),
        cmocka_unit_test(cpus_outside_the_nodes_are_refused),
        cmocka_unit_test(machine_without_an_allowed_cpu_is_refused),
        cmocka_unit_test(allowed_list_that_is_long_is_counted),
        cmocka_unit_test(nodes_naming_a_missing_node_are_refused),
        cmocka_unit_test(nodes_naming_one_without_cores_are_refused),
        cmocka_unit_test(nodes_naming_one_without_memory_are_refused),
        cmocka_unit_test(nodes_with_no_allowed_core_are_refused),
        cmocka_unit_test(nodes_without_an_isolated_core_are_refused_where_others_have_some),
        cmocka_unit_test(reactors_beyond_the_cores_are_refused_with_what_fits),
        cmocka_unit_test(reactors_beyond_the_limit_are_refused),
        cmocka_unit_test(sqpoll_on_with_one_core_is_refused_with_what_would_do),
        cmocka_unit_test(sqpoll_cpus_naming_a_missing_or_forbidden_cpu_are_refused),
        cmocka_unit_test(sqpoll_cpus_that_leave_no_core_are_refused),
        cmocka_unit_test(sqpoll_cpus_that_are_siblings_are_refused),
        cmocka_unit_test(sqpoll_cpus_on_a_node_without_reactors_are_refused),
        cmocka_unit_test(sqpoll_cpus_that_miss_a_node_are_refused_under_on),
        cmocka_unit_test(sqpoll_cpus_too_few_for_the_share_are_refused),
        cmocka_unit_test(sqpoll_share_out_of_range_is_refused),
        cmocka_unit_test(arenas_beyond_a_node_are_refused_with_what_fits),
        cmocka_unit_test(arenas_of_a_node_without_memory_count_where_they_lie),
        cmocka_unit_test(machine_without_memory_is_refused),
        cmocka_unit_test(idle_policy_that_is_none_is_refused),
    };
    return cmocka_run_group_tests_name("plan_errors", tests, NULL, NULL);
}
