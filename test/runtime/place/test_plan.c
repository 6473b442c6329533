/* SPDX-License-Identifier: MIT */
#include "test/runtime/place/place_fixture.h"

#include <setjmp.h>
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct place_machine m;
static struct place_lines lines;

/* Plans for `m`, checks what must always hold, and leaves the explanation in `lines`. */
static struct plx_plan *planned(const struct plx_settings *settings)
{
    struct plx_plan *plan = NULL;
    struct plx_diag diag = {0};
    if (plx_plan_create(&m.machine, settings, &plan, &diag) != 0)
        fail_msg("no plan: %s", diag.text);
    place_check_plan(&m.machine, settings, plan);
    memset(&lines, 0, sizeof(lines));
    plx_plan_explain(plan, &m.machine, place_collect, &lines);
    return plan;
}

/* The plan for `m` reads `expected`, and its explanation has these lines; the last is NULL. */
static void assert_plan(const struct plx_settings *settings, const char *expected, ...)
{
    char summary[2048];
    struct plx_plan *plan = planned(settings);
    place_summarise(plan, summary, sizeof(summary));
    assert_string_equal(summary, expected);
    va_list parts;
    va_start(parts, expected);
    const char *part;
    while ((part = va_arg(parts, const char *)) != NULL)
        assert_true(place_has_line(&lines, part));
    va_end(parts);
    plx_plan_destroy(plan);
}

/* --- layouts, each in every mode of SQPOLL --------------------------------------------------- */

static void plan_one_core_gets_one_reactor_that_sleeps(void **state)
{
    (void)state;
    place_uniform(&m, 1, 1, 1, 1);
    struct plx_settings settings = place_settings("sqpoll=auto", NULL);
    assert_plan(&settings, "0", "plan: 1 reactor and 0 SQ threads on this system, idle adaptive",
                "cpu: allowed; sq: POLLUX_SQPOLL=auto: node 0 has 1 usable core, it takes 4",
                "idle adaptive: the process has one CPU for everything it runs", NULL);
    settings = place_settings("sqpoll=off", NULL);
    assert_plan(&settings, "0", "sq: POLLUX_SQPOLL=off", "mesh 0 B", NULL);
    settings = place_settings("sqpoll=on", NULL);
    place_assert_refused(&m.machine, &settings, -EINVAL, "POLLUX_SQPOLL",
                         "needs two usable cores on node 0");
}

static void plan_two_cores_keeps_one_for_sq_only_when_told(void **state)
{
    (void)state;
    place_uniform(&m, 1, 1, 2, 1);
    struct plx_settings settings = place_settings("sqpoll=auto", NULL);
    assert_plan(&settings, "0-1", "idle spin", "node 0 has 2 usable cores, it takes 4",
                "mesh 32 KiB", NULL);
    settings = place_settings("sqpoll=off", NULL);
    assert_plan(&settings, "0-1", "plan: 2 reactors and 0 SQ threads", NULL);
    settings = place_settings("sqpoll=on", NULL);
    assert_plan(&settings, "0 sq 1<0", "plan: 1 reactor and 1 SQ thread on",
                "      0     0     0       0       1       0      64 MiB  cpu: allowed; sq: "
                "POLLUX_SQPOLL=on",
                "cpu    1  SQ thread of reactor 0", NULL);
}

static void plan_eight_cores_with_smt_avoids_siblings(void **state)
{
    (void)state;
    place_uniform(&m, 1, 1, 8, 2);
    struct plx_settings settings = place_settings("sqpoll=auto", NULL);
    assert_plan(&settings, "0-5 sq 6<0-2 sq 7<3-5", "node 0 has 8 usable cores, it takes 4",
                "cpu    6  SQ thread of reactors 0-2", "cpu    7  SQ thread of reactors 3-5",
                "cpu    8  SMT sibling of cpu 0", "cpu   15  SMT sibling of cpu 7", NULL);
    settings = place_settings("sqpoll=on", NULL);
    assert_plan(&settings, "0-5 sq 6<0-2 sq 7<3-5", "sq: POLLUX_SQPOLL=on", NULL);
    settings = place_settings("sqpoll=off", NULL);
    assert_plan(&settings, "0-7", "cpu   15  SMT sibling of cpu 7", NULL);
}

static void plan_eight_cores_with_smt_wanted_uses_siblings(void **state)
{
    (void)state;
    place_uniform(&m, 1, 1, 8, 2);
    struct plx_settings settings = place_settings("sqpoll=auto", "smt=yes", NULL);
    assert_plan(&settings, "0-11 sq 12<0-2 sq 13<3-5 sq 14<6-8 sq 15<9-11",
                "cpu: allowed, SMT sibling by POLLUX_SMT=yes;", NULL);
    settings = place_settings("sqpoll=off", "smt=yes", NULL);
    assert_plan(&settings, "0-15", "plan: 16 reactors and 0 SQ threads", NULL);
    settings = place_settings("sqpoll=on", "smt=yes", "sqpoll_share=16", NULL);
    assert_plan(&settings, "0-14 sq 15<0-14", "cpu   15  SQ thread of reactors 0-14", NULL);
}

static void plan_two_nodes_of_sixteen_keeps_sq_threads_on_their_node(void **state)
{
    (void)state;
    place_uniform(&m, 2, 1, 16, 2);
    const char *with_sq = "0-11,16-27 sq 12<0-2 sq 13<3-5 sq 14<6-8 sq 15<9-11 sq 28<12-14 "
                          "sq 29<15-17 sq 30<18-20 sq 31<21-23";
    struct plx_settings settings = place_settings("sqpoll=auto", NULL);
    assert_plan(&settings, with_sq, "plan: 24 reactors and 8 SQ threads", "arenas 1536 MiB",
                "sq: POLLUX_SQPOLL=auto: node 1 has 16 usable cores, it takes 4",
                "cpu   28  SQ thread of reactors 12-14", "cpu   63  SMT sibling of cpu 31", NULL);
    settings = place_settings("sqpoll=on", NULL);
    assert_plan(&settings, with_sq, "sq: POLLUX_SQPOLL=on", NULL);
    settings = place_settings("sqpoll=off", NULL);
    assert_plan(&settings, "0-31", "plan: 32 reactors and 0 SQ threads", NULL);
}

static void plan_four_nodes_with_clusters_keeps_sq_threads_in_their_cluster(void **state)
{
    (void)state;
    place_uniform(&m, 4, 2, 4, 1);
    const char *with_sq = "0-2,4-6,8-10,12-14,16-18,20-22,24-26,28-30 sq 3<0-2 sq 7<3-5 "
                          "sq 11<6-8 sq 15<9-11 sq 19<12-14 sq 23<15-17 sq 27<18-20 sq 31<21-23";
    struct plx_settings settings = place_settings("sqpoll=auto", NULL);
    assert_plan(&settings, with_sq, "cpu    3  SQ thread of reactors 0-2",
                "cpu   31  SQ thread of reactors 21-23", NULL);
    settings = place_settings("sqpoll=on", NULL);
    assert_plan(&settings, with_sq, "sq: POLLUX_SQPOLL=on", NULL);
    settings = place_settings("sqpoll=off", NULL);
    assert_plan(&settings, "0-31", "plan: 32 reactors and 0 SQ threads", NULL);
}

static void plan_interleaved_clusters_group_by_cluster(void **state)
{
    (void)state;
    place_machine_clear(&m);
    place_add_node(&m, 0, PLACE_GIB);
    for (uint32_t cpu = 0; cpu < 8; cpu++)
        place_add_cpu(&m, cpu, cpu, 0, 0, cpu % 2);
    struct plx_settings settings = place_settings("sqpoll=auto", NULL);
    assert_plan(&settings, "0-5 sq 6<0,2,4 sq 7<1,3,5", "cpu    6  SQ thread of reactors 0,2,4",
                NULL);
}

/* Node 1 has cores only; node 2 is nearer to it than node 0. */
static void build_node_without_memory(void)
{
    place_uniform(&m, 3, 1, 4, 1);
    m.nodes[1].memory_bytes = 0;
    uint32_t *from_1 = &m.distances[3];
    from_1[0] = 30;
    from_1[2] = 12;
}

static void plan_node_without_memory_takes_it_from_the_nearest(void **state)
{
    (void)state;
    build_node_without_memory();
    struct plx_settings settings = place_settings("sqpoll=auto", NULL);
    assert_plan(&settings, "0-2,4-6,8-10 sq 3<0-2 sq 7<3-5 sq 11<6-8",
                "      3     4     1       2       7       3      64 MiB",
                "node 1 has no memory: its reactors take theirs from node 2", NULL);
    settings = place_settings("sqpoll=on", NULL);
    assert_plan(&settings, "0-2,4-6,8-10 sq 3<0-2 sq 7<3-5 sq 11<6-8",
                "node 1 has no memory: its reactors take theirs from node 2", NULL);
    settings = place_settings("sqpoll=off", NULL);
    assert_plan(&settings, "0-11", "      4     4     1       2       -       -      64 MiB", NULL);
    settings = place_settings("nodes=0,2", NULL);
    assert_plan(&settings, "0-2,8-10 sq 3<0-2 sq 11<3-5",
                "cpu    4  its node is not in POLLUX_NODES", "cpu: allowed, in POLLUX_NODES;",
                NULL);
}

static void plan_node_whose_memory_is_not_allowed_counts_as_without(void **state)
{
    (void)state;
    place_uniform(&m, 2, 1, 2, 1);
    m.nodes[0].allowed = false;
    struct plx_settings settings = place_settings("sqpoll=off", NULL);
    assert_plan(&settings, "0-3",
                "node 0 has no memory for this process: its reactors take theirs from node 1",
                NULL);
}

static void plan_node_without_cores_gets_no_reactor(void **state)
{
    (void)state;
    place_machine_clear(&m);
    place_add_node(&m, 0, 64 * PLACE_GIB);
    place_add_node(&m, 1, 256 * PLACE_GIB);
    for (uint32_t cpu = 0; cpu < 4; cpu++)
        place_add_cpu(&m, cpu, cpu, 0, 0, 0);
    struct plx_settings settings = place_settings("sqpoll=auto", NULL);
    assert_plan(&settings, "0-2 sq 3<0-2", "cpu    3  SQ thread of reactors 0-2", NULL);
    settings = place_settings("sqpoll=on", NULL);
    assert_plan(&settings, "0-2 sq 3<0-2", "sq: POLLUX_SQPOLL=on", NULL);
    settings = place_settings("sqpoll=off", NULL);
    assert_plan(&settings, "0-3", "plan: 4 reactors and 0 SQ threads", NULL);
}

static void plan_cpuset_of_three_odd_cores_uses_just_those(void **state)
{
    (void)state;
    place_uniform(&m, 1, 1, 8, 1);
    place_allow(&m, "1,3,5");
    struct plx_settings settings = place_settings("sqpoll=auto", NULL);
    assert_plan(&settings, "1,3,5", "node 0 has 3 usable cores, it takes 4",
                "cpu    0  not allowed by the affinity or cpuset",
                "cpu    7  not allowed by the affinity or cpuset", NULL);
    settings = place_settings("sqpoll=on", NULL);
    assert_plan(&settings, "1,3 sq 5<0-1", "cpu    5  SQ thread of reactors 0-1", NULL);
    settings = place_settings("sqpoll=off", NULL);
    assert_plan(&settings, "1,3,5", "sq: POLLUX_SQPOLL=off", NULL);
}

static void plan_cpuset_over_two_nodes_refuses_sq_on_the_node_with_one_core(void **state)
{
    (void)state;
    place_uniform(&m, 2, 1, 4, 1);
    place_allow(&m, "1,3,5");
    struct plx_settings settings = place_settings("sqpoll=auto", NULL);
    assert_plan(&settings, "1,3,5", "node 1 has 1 usable core, it takes 4", NULL);
    settings = place_settings("sqpoll=on", NULL);
    place_assert_refused(&m.machine, &settings, -EINVAL, "POLLUX_SQPOLL",
                         "two usable cores on node 1");
    settings = place_settings("sqpoll=on", "nodes=0", NULL);
    assert_plan(&settings, "1 sq 3<0", "cpu    5  its node is not in POLLUX_NODES", NULL);
}

/* --- what the settings ask for --------------------------------------------------------------- */

static void plan_allowed_sibling_alone_stands_for_its_core(void **state)
{
    (void)state;
    place_uniform(&m, 1, 1, 4, 2);
    place_allow(&m, "1,4,5,6");
    struct plx_settings settings = place_settings("sqpoll=off", NULL);
    assert_plan(&settings, "1,4,6", "cpu    5  SMT sibling of cpu 1", NULL);
}

static void plan_fewer_reactors_fill_nodes_evenly_and_spread_over_clusters(void **state)
{
    (void)state;
    place_uniform(&m, 2, 2, 4, 1);
    struct plx_settings settings = place_settings("sqpoll=off", "reactors=5", NULL);
    assert_plan(&settings, "0-1,4,8,12", "cpu    2  spare: POLLUX_REACTORS=5", NULL);
    settings = place_settings("sqpoll=auto", "reactors=3", NULL);
    assert_plan(&settings, "0,4,8 sq 1<0-1 sq 9<2", "cpu    9  SQ thread of reactor 2", NULL);
    settings = place_settings("sqpoll=on", "reactors=10", "sqpoll_share=2", NULL);
    assert_plan(&settings,
                "0-2,4-5,8-10,12-13 sq 3<0-1 sq 6<2-3 sq 7<4 sq 11<5-6 sq 14<7-8 "
                "sq 15<9",
                NULL);
}

static void plan_reactors_that_need_the_cores_win_over_auto(void **state)
{
    (void)state;
    place_uniform(&m, 2, 1, 4, 1);
    struct plx_settings settings = place_settings("sqpoll=auto", "reactors=7", NULL);
    assert_plan(&settings, "0-6 sq 7<4-6",
                "node 0: POLLUX_REACTORS=7 leaves too few cores for SQ threads",
                "sq: POLLUX_SQPOLL=auto: POLLUX_REACTORS=7 leaves too few cores",
                "cpu    7  SQ thread of reactors 4-6", NULL);
}

static void plan_named_sq_cpus_are_used(void **state)
{
    (void)state;
    place_uniform(&m, 1, 1, 4, 1);
    struct plx_settings settings = place_settings("sqpoll_cpus=0", NULL);
    assert_plan(&settings, "1-3 sq 0<0-2", "sq: POLLUX_SQPOLL_CPUS names cores of node 0", NULL);
    settings = place_settings("sqpoll_cpus=0", "cpus=2,3", NULL);
    assert_plan(&settings, "2-3 sq 0<0-1", "cpu: in POLLUX_CPUS;", "cpu    1  not in POLLUX_CPUS",
                NULL);
    settings = place_settings("sqpoll_cpus=2,3", "reactors=1", NULL);
    assert_plan(&settings, "0 sq 2<0", "cpu    3  in POLLUX_SQPOLL_CPUS, not needed", NULL);
    settings = place_settings("sqpoll_cpus=3", "sqpoll=off", NULL);
    assert_plan(&settings, "0-3", "POLLUX_SQPOLL_CPUS has no effect under POLLUX_SQPOLL=off", NULL);
}

static void plan_for_epoll_keeps_no_core_for_sq_threads(void **state)
{
    (void)state;
    place_uniform(&m, 1, 1, 4, 1);
    struct plx_settings settings = place_settings("backend=epoll", NULL);
    assert_plan(&settings, "0-3", "sq: POLLUX_SQPOLL=auto: POLLUX_BACKEND=epoll has no SQ threads",
                NULL);
    settings = place_settings("backend=epoll", "sqpoll_cpus=3", NULL);
    assert_plan(&settings, "0-3", "POLLUX_SQPOLL_CPUS has no effect under POLLUX_BACKEND=epoll",
                NULL);
    settings = place_settings("backend=uring", NULL);
    assert_plan(&settings, "0-2 sq 3<0-2", NULL);
}

static void plan_named_sq_cpu_keeps_its_whole_core(void **state)
{
    (void)state;
    place_uniform(&m, 2, 1, 2, 2);
    struct plx_settings settings = place_settings("sqpoll_cpus=4", NULL);
    assert_plan(&settings, "1-3 sq 4<0",
                "cpu    0  SMT sibling of cpu 4, which POLLUX_SQPOLL_CPUS names",
                "sq: POLLUX_SQPOLL_CPUS names none of node 1", NULL);
    settings = place_settings("sqpoll_cpus=4", "smt=yes", "nodes=0", NULL);
    assert_plan(&settings, "0-1,5 sq 4<0-2", NULL);
}

static void plan_isolated_cpus_are_preferred_unless_cpus_are_named(void **state)
{
    (void)state;
    place_uniform(&m, 1, 1, 8, 1);
    for (uint32_t i = 4; i < 8; i++)
        m.cpus[i].isolated = true;
    struct plx_settings settings = place_settings("sqpoll=off", NULL);
    assert_plan(&settings, "4-7", "cpu: isolated;",
                "cpu    0  not isolated, while other allowed CPUs are",
                "some allowed CPUs are isolated: reactors use only those", NULL);
    settings = place_settings("sqpoll=off", "cpus=0-1,4", NULL);
    assert_plan(&settings, "0-1,4", "cpu: in POLLUX_CPUS;", NULL);
    place_allow(&m, "0-3");
    settings = place_settings("sqpoll=off", NULL);
    assert_plan(&settings, "0-3", "cpu    4  not allowed", NULL);
}

static void plan_quota_makes_auto_adaptive_and_says_so(void **state)
{
    (void)state;
    place_uniform(&m, 1, 1, 2, 1);
    m.machine.quota_mcpus = 1500;
    struct plx_settings settings = place_settings("idle=auto", NULL);
    assert_plan(&settings, "0-1", "idle adaptive: cgroups grant this process 1.50 CPUs",
                "2 polling threads exceed 1.50 CPUs and will be throttled", NULL);
    settings = place_settings("idle=spin", NULL);
    assert_plan(&settings, "0-1", "idle spin, arenas",
                "POLLUX_IDLE=spin is honoured, but cgroups grant this process 1.50 CPUs", NULL);
    settings = place_settings("idle=yield", "reactors=1", NULL);
    struct plx_plan *plan = planned(&settings);
    assert_int_equal(plan->idle, PLX_IDLE_YIELD);
    assert_int_equal(plan->note_count, 0);
    plx_plan_destroy(plan);
}

static void plan_one_allowed_cpu_honours_spin_with_a_warning(void **state)
{
    (void)state;
    place_uniform(&m, 1, 1, 4, 1);
    place_allow(&m, "2");
    struct plx_settings settings = place_settings("idle=spin", NULL);
    assert_plan(&settings, "2", "idle spin",
                "POLLUX_IDLE=spin is honoured, but the process has one", NULL);
    settings = place_settings("idle=auto", NULL);
    assert_plan(&settings, "2", "idle adaptive: the process has one CPU", NULL);
}

static void plan_more_than_256_cores_is_capped_with_a_note(void **state)
{
    (void)state;
    place_uniform(&m, 2, 1, 300, 1);
    struct plx_settings settings = place_settings("sqpoll=off", NULL);
    struct plx_plan *plan = NULL;
    assert_int_equal(plx_plan_create(&m.machine, &settings, &plan, NULL), 0);
    place_check_plan(&m.machine, &settings, plan);
    assert_int_equal(plan->reactor_count, 256);
    assert_int_equal(plan->reactors[128].node, 1);
    assert_string_equal(plan->notes[0], "600 reactors would fit, 256 are the most that run");
    assert_string_equal(plan->others[0].reason, "spare: 256 reactors are the most that run");
    plx_plan_destroy(plan);
}

static void plan_pin_no_and_foreign_machines_are_noted(void **state)
{
    (void)state;
    place_uniform(&m, 1, 1, 2, 1);
    m.machine.is_this_system = false;
    struct plx_settings settings = place_settings("pin=no", "sqpoll=off", NULL);
    assert_plan(&settings, "0-1", "POLLUX_PIN=no: threads run where the system puts them",
                "a plan to look at: threads are started on this system only", "on test, idle",
                NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plan_one_core_gets_one_reactor_that_sleeps),
        cmocka_unit_test(plan_two_cores_keeps_one_for_sq_only_when_told),
        cmocka_unit_test(plan_eight_cores_with_smt_avoids_siblings),
        cmocka_unit_test(plan_eight_cores_with_smt_wanted_uses_siblings),
        cmocka_unit_test(plan_two_nodes_of_sixteen_keeps_sq_threads_on_their_node),
        cmocka_unit_test(plan_four_nodes_with_clusters_keeps_sq_threads_in_their_cluster),
        cmocka_unit_test(plan_interleaved_clusters_group_by_cluster),
        cmocka_unit_test(plan_node_without_memory_takes_it_from_the_nearest),
        cmocka_unit_test(plan_node_whose_memory_is_not_allowed_counts_as_without),
        cmocka_unit_test(plan_node_without_cores_gets_no_reactor),
        cmocka_unit_test(plan_cpuset_of_three_odd_cores_uses_just_those),
        cmocka_unit_test(plan_cpuset_over_two_nodes_refuses_sq_on_the_node_with_one_core),
        cmocka_unit_test(plan_allowed_sibling_alone_stands_for_its_core),
        cmocka_unit_test(plan_fewer_reactors_fill_nodes_evenly_and_spread_over_clusters),
        cmocka_unit_test(plan_reactors_that_need_the_cores_win_over_auto),
        cmocka_unit_test(plan_named_sq_cpus_are_used),
        cmocka_unit_test(plan_for_epoll_keeps_no_core_for_sq_threads),
        cmocka_unit_test(plan_named_sq_cpu_keeps_its_whole_core),
        cmocka_unit_test(plan_isolated_cpus_are_preferred_unless_cpus_are_named),
        cmocka_unit_test(plan_quota_makes_auto_adaptive_and_says_so),
        cmocka_unit_test(plan_one_allowed_cpu_honours_spin_with_a_warning),
        cmocka_unit_test(plan_more_than_256_cores_is_capped_with_a_note),
        cmocka_unit_test(plan_pin_no_and_foreign_machines_are_noted),
    };
    return cmocka_run_group_tests_name("plan", tests, NULL, NULL);
}
