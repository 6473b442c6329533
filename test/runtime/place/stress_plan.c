/* SPDX-License-Identifier: MIT */
/*
 * Plans for machines and settings drawn from a seed: a plan obeys every rule, a refusal names its
 * setting, and where it says how many reactors fit, that many fit and one more does not.
 *
 * usage: stress_plan [SEED [ROUNDS]]
 */
#include "test/runtime/place/place_fixture.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct place_machine m;
static uint64_t seed = 20240607;
static unsigned long rounds = 3000;
static uint64_t random_state;

/* xorshift64*: Vigna, "An experimental exploration of Marsaglia's xorshift generators". */
static uint32_t draw(uint32_t below)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (uint32_t)((random_state * UINT64_C(2685821657736338717)) >> 33) % below;
}

static bool one_in(uint32_t n)
{
    return draw(n) == 0;
}

static void draw_machine(void)
{
    uint32_t nodes = 1 + draw(4);
    uint32_t ranks = one_in(2) ? 1 : one_in(4) ? 4 : 2;
    uint32_t cores[4];
    uint32_t first_core[4];
    uint32_t first_cluster[4];
    uint32_t clusters[4];
    uint32_t core_count = 0;
    uint32_t cluster_count = 0;
    place_machine_clear(&m);
    for (uint32_t n = 0; n < nodes; n++) {
        place_add_node(&m, n * (1 + nodes % 2), one_in(6) ? 0 : (1 + draw(8)) * PLACE_GIB / 4);
        cores[n] = one_in(6) ? 0 : 1 + draw(12);
        clusters[n] = 1 + draw(3);
        first_core[n] = core_count;
        first_cluster[n] = cluster_count;
        core_count += cores[n];
        cluster_count += clusters[n];
    }
    if (core_count == 0) {
        cores[nodes - 1] = 1;
        core_count = 1;
    }
    uint32_t stride = one_in(5) ? 2 : 1;
    bool interleaved = one_in(2);
    for (uint32_t rank = 0; rank < ranks; rank++) {
        for (uint32_t n = 0; n < nodes; n++) {
            for (uint32_t c = 0; c < cores[n]; c++) {
                uint32_t core = first_core[n] + c;
                uint32_t cluster = interleaved ? c % clusters[n] : c * clusters[n] / cores[n];
                place_add_cpu(&m, (rank * core_count + core) * stride, core, rank, m.nodes[n].node,
                              first_cluster[n] + cluster);
            }
        }
    }
    bool some_forbidden = one_in(3);
    bool some_isolated = one_in(6);
    for (uint32_t i = 0; i < m.machine.cpu_count; i++) {
        m.cpus[i].allowed = !some_forbidden || !one_in(3);
        m.cpus[i].isolated = some_isolated && one_in(3);
    }
    for (uint32_t i = 0; i < nodes * nodes; i++) {
        if (i / nodes != i % nodes)
            m.distances[i] = 11 + draw(30);
    }
    m.nodes[draw(nodes)].allowed = !one_in(10);
    m.machine.quota_mcpus = one_in(8) ? 1 + draw(8000) : 0;
    m.machine.is_this_system = !one_in(4);
}

/* Some of the machine's CPUs, seldom one that it does not have. */
static void draw_cpus(struct plx_cpu_set *set, uint32_t one_of, bool forbidden_too)
{
    for (uint32_t i = 0; i < m.machine.cpu_count; i++) {
        if (one_in(one_of) && (m.cpus[i].allowed || forbidden_too))
            plx_cpu_set_add(set, m.cpus[i].cpu);
    }
    if (one_in(30))
        plx_cpu_set_add(set, draw(PLX_CPU_SET_SIZE));
}

static struct plx_settings draw_settings(void)
{
    struct plx_settings settings;
    plx_settings_init(&settings);
    if (one_in(3))
        draw_cpus(&settings.cpus, 2, one_in(10));
    if (one_in(4))
        draw_cpus(&settings.sqpoll_cpus, 4, one_in(10));
    if (one_in(5))
        plx_cpu_set_add(&settings.nodes, m.nodes[draw(m.machine.node_count)].node);
    settings.reactors = one_in(2) ? 0 : draw(m.machine.cpu_count + 2);
    settings.smt = one_in(3);
    settings.sqpoll = (enum plx_sqpoll_choice)draw(3);
    settings.sqpoll_share = 1 + draw(6);
    settings.arena_size = (UINT64_C(1) << 20) << draw(9);
    settings.idle = (enum plx_idle)draw(one_in(20) ? 5 : 3);
    settings.mesh_slots = 8U << draw(4);
    return settings;
}

static void assert_same_plan(const struct plx_plan *a, const struct plx_plan *b)
{
    assert_int_equal(a->reactor_count, b->reactor_count);
    assert_int_equal(a->other_count, b->other_count);
    assert_int_equal(a->note_count, b->note_count);
    assert_memory_equal(a->reactors, b->reactors, a->reactor_count * sizeof(*a->reactors));
    assert_memory_equal(a->others, b->others, a->other_count * sizeof(*a->others));
    for (uint32_t i = 0; i < a->note_count; i++)
        assert_string_equal(a->notes[i], b->notes[i]);
}

static void check_success(const struct plx_settings *settings, const struct plx_plan *plan)
{
    static struct place_lines lines;
    struct plx_plan *again = NULL;
    place_check_plan(&m.machine, settings, plan);
    assert_int_equal(plx_plan_create(&m.machine, settings, &again, NULL), 0);
    assert_same_plan(plan, again);
    plx_plan_destroy(again);

    memset(&lines, 0, sizeof(lines));
    plx_plan_explain(plan, &m.machine, place_collect, &lines);
    assert_int_equal(lines.count, 2 + plan->reactor_count + (plan->other_count > 0) +
                                      plan->other_count + (plan->note_count > 0) +
                                      plan->note_count);
}

static void check_refusal(const struct plx_settings *settings, int rc, const struct plx_plan *plan,
                          const struct plx_diag *diag)
{
    assert_true(rc == -EINVAL || rc == -ENOSPC || rc == -EOPNOTSUPP || rc == -ENODEV);
    assert_null(plan);
    assert_int_equal(diag->code, rc);
    assert_true(diag->what[0] != '\0');
    assert_true(strstr(diag->text, diag->what) != NULL || rc == -ENODEV);

    uint32_t asked;
    uint32_t fit;
    if (sscanf(diag->text, "POLLUX_REACTORS=%" SCNu32 ", but %" SCNu32 " fit", &asked, &fit) != 2)
        return;
    struct plx_settings fewer = *settings;
    struct plx_plan *other = NULL;
    struct plx_diag reason = {0};
    fewer.reactors = fit + 1;
    assert_int_equal(plx_plan_create(&m.machine, &fewer, &other, &reason), -ENOSPC);
    fewer.reactors = fit;
    rc = plx_plan_create(&m.machine, &fewer, &other, &reason);
    assert_true(rc == 0 || strcmp(reason.what, "POLLUX_REACTORS") != 0);
    plx_plan_destroy(other);
}

static void plans_for_random_machines_obey_every_rule(void **state)
{
    (void)state;
    unsigned long planned = 0;
    print_message("seed %" PRIu64 ", %lu rounds\n", seed, rounds);
    for (unsigned long round = 0; round < rounds; round++) {
        /* A state of its own for each round, so that one round can be replayed. */
        random_state = (seed + round) * UINT64_C(0x9E3779B97F4A7C15) | 1;
        draw_machine();
        struct plx_settings settings = draw_settings();
        struct plx_plan *plan = NULL;
        struct plx_diag diag = {0};
        int rc = plx_plan_create(&m.machine, &settings, &plan, &diag);
        if (rc == 0) {
            planned++;
            check_success(&settings, plan);
        } else {
            check_refusal(&settings, rc, plan, &diag);
        }
        plx_plan_destroy(plan);
    }
    print_message("%lu planned, %lu refused\n", planned, rounds - planned);
    /* Else the machines drawn would test one side only. */
    assert_true(rounds < 100 || (planned > rounds / 4 && planned < rounds));
}

int main(int argc, char **argv)
{
    if (argc > 1)
        seed = strtoull(argv[1], NULL, 10);
    if (argc > 2)
        rounds = strtoul(argv[2], NULL, 10);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plans_for_random_machines_obey_every_rule),
    };
    return cmocka_run_group_tests_name("plan_stress", tests, NULL, NULL);
}
