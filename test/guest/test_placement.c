/* SPDX-License-Identifier: MIT */
/*
 * On a machine of several nodes: what the machine and the plan say is what the kernel says, and the
 * pages of arenas lie on the node that was asked for, or the refusal names it.
 */
#include "runtime/place/plan.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "alloc/pool.h"
#include "test/guest/nodes.h"

static struct plx_machine *machine;
static struct plx_arena arena;
static struct plx_arena_opts opts;
static struct plx_diag diag;
static struct plx_settings settings;

static int set_up(void **state)
{
    (void)state;
    memset(&diag, 0, sizeof(diag));
    plx_arena_opts_init(&opts);
    opts.page_2m = PLX_WANT_NO;
    opts.thp = PLX_WANT_NO;
    plx_settings_init(&settings);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    plx_arena_fini(&arena);
    node_refill();
    (void)run_on_node(machine, -1);
    return 0;
}

/* A node with memory, other than the one at `position` of the machine. */
static uint32_t other_with_memory(uint32_t position)
{
    uint32_t at = position;
    do {
        at = (at + 1) % machine->node_count;
    } while (node_meminfo(machine->nodes[at].node, "MemTotal") <= 0);
    return machine->nodes[at].node;
}

/* The last node that has memory: the one on which fewest other things lie. */
static uint32_t last_with_memory(void)
{
    uint32_t at = machine->node_count - 1;
    while (node_meminfo(machine->nodes[at].node, "MemTotal") <= 0)
        at--;
    return machine->nodes[at].node;
}

/* --- the machine and the plan ----------------------------------------------------------------- */

static void machine_nodes_are_as_the_kernel_lists_them(void **state)
{
    (void)state;
    plx_machine_explain(machine, print_line, NULL);
    for (uint32_t i = 0; i < machine->node_count; i++) {
        const struct plx_machine_node *node = &machine->nodes[i];
        int64_t memory = node_meminfo(node->node, "MemTotal");
        assert_int_equal(node->memory_bytes > 0, memory > 0);
        if (memory > 0) {
            assert_int_equal(node->pages_2m_free, node_pages_free(node->node, 2 * MIB));
            assert_int_equal(node->pages_1g_free > 0, node_pages_free(node->node, 1024 * MIB) > 0);
        }
        for (uint32_t j = 0; j < machine->node_count; j++) {
            char path[96];
            unsigned distance = 0;
            snprintf(path, sizeof(path), "/sys/devices/system/node/node%u/distance", node->node);
            FILE *file = fopen(path, "re");
            assert_non_null(file);
            for (uint32_t k = 0; k <= j; k++)
                assert_int_equal(fscanf(file, "%u", &distance), 1);
            fclose(file);
            assert_int_equal(plx_machine_distance(machine, node->node, machine->nodes[j].node),
                             distance);
        }
    }
}

static void machine_cpus_are_on_the_nodes_that_the_kernel_says(void **state)
{
    (void)state;
    uint32_t counted = 0;
    for (uint32_t i = 0; i < machine->cpu_count; i++) {
        char file[32];
        snprintf(file, sizeof(file), "cpu%u/topology/core_id", machine->cpus[i].cpu);
        assert_true(node_number(machine->cpus[i].node, file) >= 0);
    }
    for (uint32_t i = 0; i < machine->node_count; i++)
        counted += machine->nodes[i].cpu_count;
    assert_int_equal(counted, machine->cpu_count);
}

static void plan_memory_is_on_the_nearest_node_that_has_some(void **state)
{
    (void)state;
    struct plx_plan *plan;
    nodes_set(&settings, "sqpoll", "off");
    assert_int_equal(plx_plan_create(machine, &settings, &plan, &diag), 0);
    plx_plan_explain(plan, machine, print_line, NULL);
    bool far_fits = true;
    for (uint32_t i = 0; i < plan->reactor_count; i++) {
        const struct plx_plan_reactor *reactor = &plan->reactors[i];
        const struct plx_machine_node *node = plx_machine_node(machine, reactor->node);
        far_fits &= node != NULL && node->cpu_count > 0;
        far_fits &= reactor->mem_node == node_nearest_memory(machine, reactor->node);
    }
    uint32_t count = plan->reactor_count;
    plx_plan_destroy(plan);
    assert_true(far_fits);
    assert_int_equal(count, machine->core_count);
}

static void plan_named_nodes_that_cannot_be_used_are_refused(void **state)
{
    (void)state;
    for (uint32_t i = 0; i <= machine->node_count; i++) {
        bool absent = i == machine->node_count;
        uint32_t number = absent ? node_absent(machine) : machine->nodes[i].node;
        const char *fault = absent                                  ? "does not exist"
                            : machine->nodes[i].cpu_count == 0      ? "has no cores"
                            : node_meminfo(number, "MemTotal") <= 0 ? "has no memory"
                                                                    : NULL;
        if (fault == NULL)
            continue;
        char text[16];
        char expected[64];
        struct plx_plan *plan;
        snprintf(text, sizeof(text), "%u", number);
        snprintf(expected, sizeof(expected), "node %u, which %s", number, fault);
        nodes_set(&settings, "nodes", text);
        assert_int_equal(plx_plan_create(machine, &settings, &plan, &diag), -EINVAL);
        assert_null(plan);
        assert_string_equal(diag.what, "POLLUX_NODES");
        print_message("%s\n", diag.text);
        assert_non_null(strstr(diag.text, expected));
    }
}

/* --- arenas ----------------------------------------------------------------------------------- */

/* An arena on each node with memory, made by a thread that runs on another one. */
static void expect_arenas_on_their_nodes(size_t bytes, enum plx_rung rung)
{
    for (uint32_t i = 0; i < machine->node_count; i++) {
        uint32_t node = machine->nodes[i].node;
        if (node_meminfo(node, "MemTotal") <= 0)
            continue;
        (void)run_on_node(machine, (int)other_with_memory(i));
        if (plx_arena_init(&arena, bytes, (int)node, &opts, &diag) != 0)
            fail_msg("node %u: %s: %s", node, diag.what, diag.text);
        assert_int_equal(arena.rung, rung);
        assert_true(arena.bound);
        assert_true(arena.prefaulted);
        assert_int_equal(arena.pages_off_node, 0);
        expect_pages(arena.base, arena.bytes, rung <= PLX_RUNG_2M ? arena.page_bytes : PLX_PAGE,
                     node, "the arena");
        plx_arena_explain(&arena, print_line, NULL);
        plx_arena_fini(&arena);
    }
}

static void arena_of_4k_pages_lies_on_its_node(void **state)
{
    (void)state;
    expect_arenas_on_their_nodes(4 * MIB, PLX_RUNG_4K);
}

static void arena_of_transparent_hugepages_lies_on_its_node(void **state)
{
    (void)state;
    opts.thp = PLX_WANT_REQUIRE;
    expect_arenas_on_their_nodes(4 * MIB, PLX_RUNG_THP);
}

static void arena_of_2m_pages_lies_on_its_node(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < machine->node_count; i++) {
        uint32_t node = machine->nodes[i].node;
        if (node_meminfo(node, "MemTotal") > 0 && node_pages_free(node, 2 * MIB) < 4) {
            print_message("node %u has fewer than 4 free hugepages of 2 MiB\n", node);
            skip();
        }
    }
    opts.page_2m = PLX_WANT_REQUIRE;
    expect_arenas_on_their_nodes(8 * MIB, PLX_RUNG_2M);
}

static void arena_of_1g_pages_lies_on_its_node(void **state)
{
    (void)state;
    uint32_t at = 0;
    while (at < machine->node_count && machine->nodes[at].pages_1g_free == 0)
        at++;
    if (at == machine->node_count) {
        print_message("no node has a free hugepage of 1 GiB\n");
        skip();
    }
    uint32_t node = machine->nodes[at].node;
    opts.page_1g = PLX_WANT_REQUIRE;
    (void)run_on_node(machine, (int)other_with_memory(at));
    assert_int_equal(plx_arena_init(&arena, 1024 * MIB, (int)node, &opts, &diag), 0);
    assert_int_equal(arena.rung, PLX_RUNG_1G);
    expect_pages(arena.base, arena.bytes, 256 * MIB, node, "the arena");
    plx_arena_explain(&arena, print_line, NULL);

    /* It was the only one, wherever else it is asked for. */
    struct plx_arena second;
    if (node_pages_free(node, 1024 * MIB) == 0) {
        assert_int_equal(plx_arena_init(&second, 1024 * MIB, (int)node, &opts, &diag), -ENOMEM);
        print_message("%s: %s\n", diag.what, diag.text);
        assert_non_null(strstr(diag.what, "POLLUX_HUGEPAGES_1G"));
        assert_non_null(strstr(diag.text, "has 0 free of the 1 needed"));
    }
}

/* Every block of every class, and the tables that are read and written with them. */
static void expect_pool_on(uint32_t node)
{
    static struct plx_pool pool;
    static void *blocks[4096];
    struct plx_pool_quota quota;
    uint32_t count = 0;
    assert_int_equal(plx_pool_quota_split(&quota, 7 * MIB), 0);
    assert_int_equal(plx_pool_init(&pool, &arena, &quota, NULL, &diag), 0);
    for (uint32_t index = 0; index < PLX_POOL_CLASSES; index++) {
        size_t bytes = plx_pool_class_bytes(index);
        for (uint32_t i = 0; i < quota.blocks[index]; i++) {
            assert_in_range(count, 0, 4095);
            blocks[count] = plx_pool_acquire(&pool, bytes);
            assert_non_null(blocks[count]);
            expect_pages(blocks[count++], bytes, PLX_PAGE, node, "a block of the pool");
        }
    }
    expect_pages(arena.base, arena.used, PLX_PAGE, node, "the pool's part of the arena");
    print_message("pool on node %u: %u blocks of %u classes, and their tables, on it\n", node,
                  count, PLX_POOL_CLASSES);
    while (count > 0)
        plx_pool_release(&pool, blocks[--count]);
    assert_int_equal(plx_pool_fini(&pool), 0);
}

static void pooled_blocks_lie_on_the_node_of_their_arena(void **state)
{
    (void)state;
    for (int want = PLX_WANT_NO; want <= PLX_WANT_TRY; want++) {
        opts.page_2m = (enum plx_want)want;
        for (uint32_t i = 0; i < machine->node_count; i++) {
            uint32_t node = machine->nodes[i].node;
            if (node_meminfo(node, "MemTotal") <= 0)
                continue;
            (void)run_on_node(machine, (int)other_with_memory(i));
            assert_int_equal(plx_arena_init(&arena, 8 * MIB, (int)node, &opts, &diag), 0);
            expect_pool_on(node);
            plx_arena_fini(&arena);
        }
    }
}

/* --- a full node, an absent one --------------------------------------------------------------- */

static void arena_on_a_node_without_hugepages_left_fails_when_they_are_required(void **state)
{
    (void)state;
    uint32_t node = last_with_memory();
    char expected[64];
    node_drain(node);
    opts.page_2m = PLX_WANT_REQUIRE;
    opts.thp = PLX_WANT_TRY;
    assert_int_equal(plx_arena_init(&arena, 4 * MIB, (int)node, &opts, &diag), -ENOMEM);
    print_message("%s: %s\n", diag.what, diag.text);
    assert_non_null(strstr(diag.what, "POLLUX_HUGEPAGES_2M"));
    snprintf(expected, sizeof(expected), "node %u has 0 free of the 2 needed", node);
    assert_non_null(strstr(diag.text, expected));
    assert_null(arena.base);
}

static void arena_on_a_node_without_hugepages_left_takes_smaller_ones_there(void **state)
{
    (void)state;
    uint32_t node = last_with_memory();
    char expected[64];
    node_drain(node);
    opts.page_2m = PLX_WANT_TRY;
    opts.thp = PLX_WANT_TRY;
    assert_int_equal(plx_arena_init(&arena, 4 * MIB, (int)node, &opts, &diag), 0);
    assert_true(arena.rung > PLX_RUNG_2M);
    expect_pages(arena.base, arena.bytes, PLX_PAGE, node, "the arena");
    char text[8192] = "";
    plx_arena_explain(&arena, keep_line, text);
    print_message("%s", text);
    snprintf(expected, sizeof(expected), "node %u has 0 free of the 2 needed", node);
    assert_non_null(strstr(text, expected));
}

static void arena_on_another_node_than_the_full_one_has_its_hugepages(void **state)
{
    (void)state;
    uint32_t full = last_with_memory();
    node_drain(full);
    opts.page_2m = PLX_WANT_REQUIRE;
    for (uint32_t i = 0; i < machine->node_count; i++) {
        uint32_t node = machine->nodes[i].node;
        if (node == full || node_meminfo(node, "MemTotal") <= 0)
            continue;
        assert_int_equal(plx_arena_init(&arena, 4 * MIB, (int)node, &opts, &diag), 0);
        expect_pages(arena.base, arena.bytes, arena.page_bytes, node, "the arena");
        plx_arena_fini(&arena);
    }
}

static void arena_larger_than_what_its_node_has_left_is_refused(void **state)
{
    (void)state;
    uint32_t node = last_with_memory();
    char expected[32];
    /* The other nodes together could hold it. */
    size_t bytes = (size_t)node_meminfo(node, "MemTotal");
    snprintf(expected, sizeof(expected), "node %u has ", node);
    for (int want = PLX_WANT_TRY; want <= PLX_WANT_REQUIRE; want++) {
        opts.bind = (enum plx_want)want;
        assert_int_equal(plx_arena_init(&arena, bytes, (int)node, &opts, &diag), -ENOMEM);
        print_message("%s: %s\n", diag.what, diag.text);
        assert_int_equal(strncmp(diag.text, expected, strlen(expected)), 0);
    }
}

static void arena_on_a_node_that_is_absent_or_has_no_memory_is_refused(void **state)
{
    (void)state;
    for (uint32_t i = 0; i <= machine->node_count; i++) {
        uint32_t node = i < machine->node_count ? machine->nodes[i].node : node_absent(machine);
        if (node_meminfo(node, "MemTotal") > 0)
            continue;
        for (int want = PLX_WANT_NO; want <= PLX_WANT_REQUIRE; want++) {
            char expected[64];
            opts.bind = (enum plx_want)want;
            assert_int_equal(plx_arena_init(&arena, 4 * MIB, (int)node, &opts, &diag), -ENODEV);
            snprintf(expected, sizeof(expected), "node %u", node);
            assert_string_equal(diag.what, expected);
            assert_non_null(strstr(diag.text, "nodes with memory: "));
        }
        print_message("%s: %s\n", diag.what, diag.text);
    }
}

static void verify_counts_the_pages_that_lie_elsewhere(void **state)
{
    (void)state;
    uint32_t node = last_with_memory();
    assert_int_equal(plx_arena_init(&arena, 4 * MIB, (int)node, &opts, &diag), 0);
    assert_int_equal(plx_arena_verify(&arena), 0);
    arena.node = (int)other_with_memory(machine->node_count - 1);
    assert_int_not_equal(arena.node, (int)node);
    assert_int_equal(plx_arena_verify(&arena), 4 * MIB / PLX_PAGE);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(machine_nodes_are_as_the_kernel_lists_them),
        CASE(machine_cpus_are_on_the_nodes_that_the_kernel_says),
        CASE(plan_memory_is_on_the_nearest_node_that_has_some),
        CASE(plan_named_nodes_that_cannot_be_used_are_refused),
        CASE(arena_of_4k_pages_lies_on_its_node),
        CASE(arena_of_transparent_hugepages_lies_on_its_node),
        CASE(arena_of_2m_pages_lies_on_its_node),
        CASE(arena_of_1g_pages_lies_on_its_node),
        CASE(pooled_blocks_lie_on_the_node_of_their_arena),
        CASE(arena_on_a_node_without_hugepages_left_fails_when_they_are_required),
        CASE(arena_on_a_node_without_hugepages_left_takes_smaller_ones_there),
        CASE(arena_on_another_node_than_the_full_one_has_its_hugepages),
        CASE(arena_larger_than_what_its_node_has_left_is_refused),
        CASE(arena_on_a_node_that_is_absent_or_has_no_memory_is_refused),
        CASE(verify_counts_the_pages_that_lie_elsewhere),
    };
    machine = nodes_open();
    if (machine == NULL)
        return 77;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    plx_machine_destroy(machine);
    return failed;
}
