/* SPDX-License-Identifier: MIT */
/*
 * On a machine of several nodes: the rows of `pollux bench` are of the cores and nodes that the
 * kernel knows, one for each place there is. No figure is looked at: such a machine is emulated.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "test/guest/nodes.h"
#include "test/tools/run_pollux.h"

#define RESULTS "/tmp/pollux-bench-places.json"

static struct plx_machine *machine;
static struct plx_run run;

/* Whether a row is without figures since all of its slices were discarded. */
static bool has_discarded(const json_t *root)
{
    size_t index;
    json_t *note;
    json_array_foreach(json_object_get(root, "null_rows"), index, note)
    {
        if (strstr(json_string_value(json_object_get(note, "reason")), "were discarded") != NULL)
            return true;
    }
    return false;
}

/* Runs the command with its results in a file, and returns their rows; *root is to be given back.
 */
static json_t *measure(const char *arguments, json_t **root)
{
    char line[256];
    json_error_t error;
    snprintf(line, sizeof(line), "pollux bench %s --quick --rounds 1 --json %s", arguments,
             RESULTS);
    plx_run_line(&run, line);
    *root = json_load_file(RESULTS, 0, &error);
    unlink(RESULTS);
    assert_non_null(*root);
    /* Where the emulator's own pauses spoiled all that was measured in a place, that is told. */
    plx_run_expect(&run, has_discarded(*root), "measured on cpu", NULL);
    return json_object_get(*root, "results");
}

static int number_of(const json_t *row, const char *key)
{
    json_t *value = json_object_get(row, key);
    return json_is_integer(value) ? (int)json_integer_value(value) : -1;
}

/* How many rows are of these two CPUs (-1: none, -2: any) and that node's memory. */
static uint32_t count_rows(const json_t *rows, const char *name, int cpu_a, int cpu_b, int mem_node)
{
    uint32_t count = 0;
    size_t index;
    json_t *row;
    json_array_foreach(rows, index, row)
    {
        count += strcmp(json_string_value(json_object_get(row, "case")), name) == 0 &&
                 (cpu_a == -2 || number_of(row, "cpu_a") == cpu_a) &&
                 (cpu_b == -2 || number_of(row, "cpu_b") == cpu_b) &&
                 number_of(row, "mem_node") == mem_node;
    }
    return count;
}

/* Each row's nodes are those of its CPUs. */
static void check_nodes(const json_t *rows)
{
    size_t index;
    json_t *row;
    json_array_foreach(rows, index, row)
    {
        const struct plx_machine_cpu *a =
            plx_machine_cpu(machine, (uint32_t)number_of(row, "cpu_a"));
        assert_non_null(a);
        assert_int_equal(number_of(row, "node_a"), a->node);
        if (number_of(row, "cpu_b") < 0)
            continue;
        const struct plx_machine_cpu *b =
            plx_machine_cpu(machine, (uint32_t)number_of(row, "cpu_b"));
        assert_non_null(b);
        assert_int_equal(number_of(row, "node_b"), b->node);
        const char *relation = json_string_value(json_object_get(row, "relation"));
        if (relation != NULL)
            assert_int_equal(strcmp(relation, "cross") == 0, a->node != b->node);
        else
            assert_string_not_equal(json_string_value(json_object_get(row, "bench")), "c2c");
    }
}

static void c2c_has_a_row_for_each_pair_and_each_of_its_nodes(void **state)
{
    (void)state;
    json_t *root;
    json_t *rows = measure("c2c --only rtt_line --only rtt_cells", &root);
    static const char *const names[] = {"rtt_line", "rtt_cells"};
    uint32_t expected = 0;
    check_nodes(rows);
    for (uint32_t i = 0; i < machine->cpu_count; i++) {
        for (uint32_t j = i + 1; j < machine->cpu_count; j++) {
            int near_a = (int)node_nearest_memory(machine, machine->cpus[i].node);
            int near_b = (int)node_nearest_memory(machine, machine->cpus[j].node);
            for (uint32_t k = 0; k < 2; k++) {
                int a = (int)machine->cpus[i].cpu;
                int b = (int)machine->cpus[j].cpu;
                assert_int_equal(count_rows(rows, names[k], a, b, near_a), 1);
                assert_int_equal(count_rows(rows, names[k], a, b, near_b), 1);
                expected += near_a == near_b ? 1 : 2;
            }
        }
    }
    assert_int_equal(json_array_size(rows), expected);
    json_decref(root);
}

static void mem_has_a_row_for_each_node_of_cores_and_of_memory(void **state)
{
    (void)state;
    json_t *root;
    json_t *rows = measure("mem --size 2M --only chase_4K --only loaded", &root);
    uint32_t memories = 0;
    uint32_t cores = 0;
    check_nodes(rows);
    for (uint32_t i = 0; i < machine->node_count; i++) {
        const struct plx_machine_node *node = &machine->nodes[i];
        cores += node->cpu_count != 0;
        memories += node_meminfo(node->node, "MemTotal") > 0;
    }
    uint32_t seen = 0;
    for (uint32_t i = 0; i < machine->node_count; i++) {
        uint32_t node = machine->nodes[i].node;
        uint32_t count = count_rows(rows, "chase_4K", -2, -1, (int)node);
        assert_int_equal(count, node_meminfo(node, "MemTotal") > 0 ? cores : 0);
        seen += count;
    }
    assert_int_equal(seen, cores * memories);
    size_t index;
    json_t *row;
    uint32_t loaded = 0;
    json_array_foreach(rows, index, row)
    {
        if (strcmp(json_string_value(json_object_get(row, "case")), "loaded") != 0)
            continue;
        loaded++;
        assert_int_equal(number_of(row, "mem_node"),
                         node_nearest_memory(machine, (uint32_t)number_of(row, "node_a")));
    }
    assert_int_equal(loaded, 7 * cores);
    json_decref(root);
}

/* A node with cores and memory of its own; the last one. */
static uint32_t whole_node(void)
{
    uint32_t at = machine->node_count - 1;
    while (machine->nodes[at].cpu_count == 0 ||
           node_meminfo(machine->nodes[at].node, "MemTotal") <= 0)
        at--;
    return machine->nodes[at].node;
}

static void nodes_that_are_named_are_all_that_is_measured(void **state)
{
    (void)state;
    json_t *root;
    char arguments[96];
    uint32_t node = whole_node();
    snprintf(arguments, sizeof(arguments), "mem --size 2M --only chase_4K --nodes %u", node);
    json_t *rows = measure(arguments, &root);
    check_nodes(rows);
    assert_int_equal(json_array_size(rows), 1);
    assert_int_equal(number_of(json_array_get(rows, 0), "node_a"), node);
    assert_int_equal(number_of(json_array_get(rows, 0), "mem_node"), node);
    json_decref(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(c2c_has_a_row_for_each_pair_and_each_of_its_nodes),
        cmocka_unit_test(mem_has_a_row_for_each_node_of_cores_and_of_memory),
        cmocka_unit_test(nodes_that_are_named_are_all_that_is_measured),
    };
    machine = nodes_open();
    if (machine == NULL)
        return 77;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    plx_machine_destroy(machine);
    return failed;
}
