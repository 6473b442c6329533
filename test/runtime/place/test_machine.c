/* SPDX-License-Identifier: MIT */
#include "runtime/place/machine.h"
#include "runtime/place/machine_internal.h"
#include "test/deny.h"
#include "test/runtime/place/host_fixture.h"
#include "test/runtime/place/place_fixture.h"

#include <errno.h>
#include <hwloc.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include <cmocka.h>

static struct place_lines lines;

static struct plx_machine *created(void)
{
    struct plx_machine *machine = NULL;
    struct plx_diag diag = {0};
    if (plx_machine_create(&machine, &diag) != 0)
        fail_msg("no machine: %s", diag.text);
    return machine;
}

static struct plx_machine *created_synthetic(const char *description)
{
    setenv("HWLOC_SYNTHETIC", description, 1);
    struct plx_machine *machine = created();
    unsetenv("HWLOC_SYNTHETIC");
    assert_false(machine->is_this_system);
    assert_string_equal(machine->source, "synthetic");
    return machine;
}

static void assert_refused(int code, const char *what, const char *text)
{
    struct plx_machine *machine = (struct plx_machine *)(void *)&lines;
    struct plx_diag diag = {0};
    assert_int_equal(plx_machine_create(&machine, &diag), code);
    assert_null(machine);
    assert_int_equal(diag.code, code);
    assert_string_equal(diag.what, what);
    if (strstr(diag.text, text) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", text, diag.text);
}

/* --- this system ----------------------------------------------------------------------------- */

static void machine_here_is_this_system(void **state)
{
    (void)state;
    struct plx_machine *machine = created();
    assert_true(machine->is_this_system);
    assert_string_equal(machine->source, "this system");
    assert_non_null(machine->handle);
    cpu_set_t affinity;
    assert_int_equal(sched_getaffinity(0, sizeof(affinity), &affinity), 0);
    int allowed = 0;
    for (uint32_t i = 0; i < machine->cpu_count; i++) {
        const struct plx_machine_cpu *cpu = &machine->cpus[i];
        assert_true(i == 0 || machine->cpus[i - 1].cpu < cpu->cpu);
        assert_true(cpu->core < machine->core_count && cpu->cluster < machine->cluster_count);
        assert_non_null(plx_machine_node(machine, cpu->node));
        assert_ptr_equal(plx_machine_cpu(machine, cpu->cpu), cpu);
        assert_true(!cpu->allowed || CPU_ISSET(cpu->cpu, &affinity));
        allowed += cpu->allowed;
    }
    assert_int_equal(allowed, CPU_COUNT(&affinity));
    plx_machine_destroy(machine);
    plx_machine_destroy(NULL);
}

static int allow_one_and_look(void)
{
    cpu_set_t affinity;
    if (sched_getaffinity(0, sizeof(affinity), &affinity) != 0)
        return 1;
    unsigned last = CPU_SETSIZE - 1;
    while (!CPU_ISSET(last, &affinity))
        last--;
    CPU_ZERO(&affinity);
    CPU_SET(last, &affinity);
    struct plx_machine *machine = NULL;
    if (sched_setaffinity(0, sizeof(affinity), &affinity) != 0 ||
        plx_machine_create(&machine, NULL) != 0)
        return 2;
    int rc = 0;
    for (uint32_t i = 0; i < machine->cpu_count; i++) {
        if (machine->cpus[i].allowed != (machine->cpus[i].cpu == last))
            rc = 3;
    }
    plx_machine_destroy(machine);
    /* Reading a machine leaves the reader where it was. */
    cpu_set_t after;
    if (sched_getaffinity(0, sizeof(after), &after) != 0 || !CPU_EQUAL(&after, &affinity))
        rc = 4;
    return rc;
}

static void machine_here_allows_what_the_affinity_allows(void **state)
{
    (void)state;
    assert_int_equal(host_in_child(allow_one_and_look), 0);
}

static int deny_affinity_and_look(void)
{
    struct plx_machine *machine = NULL;
    struct plx_diag diag = {0};
    if (deny_call(SYS_sched_getaffinity, EPERM) != 0)
        return 77;
    int rc = plx_machine_create(&machine, &diag);
    return rc == -EIO && machine == NULL && strcmp(diag.what, "affinity") == 0 ? 0 : 1;
}

static void machine_whose_affinity_cannot_be_read_is_an_error(void **state)
{
    (void)state;
    int rc = host_in_child(deny_affinity_and_look);
    if (rc == 77) {
        print_message("skipped: the kernel lets us set no seccomp filter\n");
        skip();
    }
    assert_int_equal(rc, 0);
}

static void machine_here_takes_sizes_and_limits_from_the_system(void **state)
{
    (void)state;
    struct plx_machine *real = created();
    uint32_t number = real->nodes[0].node;
    uint32_t cpu = real->cpus[0].cpu;
    plx_machine_destroy(real);

    char path[128];
    char text[64];
    snprintf(path, sizeof(path), "/sys/devices/system/node/node%u/meminfo", number);
    snprintf(text, sizeof(text), "Node %u MemTotal:  3000000 kB\nNode %u MemFree: 1 kB\n", number,
             number);
    host_write(path, text);
    snprintf(text, sizeof(text), "%u\n", cpu);
    host_write("/sys/devices/system/cpu/isolated", text);
    host_write("/proc/self/cgroup", "0::/a\n");
    host_write("/proc/self/mountinfo", "30 1 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
    host_write("/sys/fs/cgroup/a/cpu.max", "250000 100000\n");

    struct plx_machine *machine = NULL;
    assert_int_equal(plx__machine_create_below(host_root, &machine, NULL), 0);
    assert_int_equal(machine->nodes[0].memory_bytes, UINT64_C(3000000) * 1024);
    assert_true(machine->cpus[0].isolated);
    assert_int_equal(machine->quota_mcpus, 2500);
    memset(&lines, 0, sizeof(lines));
    plx_machine_explain(machine, place_collect, &lines);
    assert_true(place_has_line(&lines, "machine: this system, "));
    assert_true(place_has_line(&lines, "  processor time: 2.50 CPUs by cgroup quota"));
    assert_true(place_has_line(&lines, "memory 2929 MiB, hugepages 2M "));
    plx_machine_destroy(machine);
}

/* --- made up, and from a file ---------------------------------------------------------------- */

static void machine_synthetic_has_the_shape_described(void **state)
{
    (void)state;
    struct plx_machine *machine = created_synthetic("numa:2 core:4 pu:2");
    assert_int_equal(machine->cpu_count, 16);
    assert_int_equal(machine->core_count, 8);
    assert_int_equal(machine->node_count, 2);
    assert_int_equal(machine->cluster_count, 2);
    for (uint32_t i = 0; i < 16; i++) {
        const struct plx_machine_cpu *cpu = &machine->cpus[i];
        assert_int_equal(cpu->cpu, i);
        assert_int_equal(cpu->core, i / 2);
        assert_int_equal(cpu->rank, i % 2);
        assert_int_equal(cpu->node, i / 8);
        assert_int_equal(cpu->cluster, i / 8);
        assert_true(cpu->allowed && !cpu->isolated);
    }
    assert_int_equal(machine->nodes[1].cpu_count, 8);
    assert_int_equal(machine->nodes[1].memory_bytes, UINT64_C(1) << 30);
    assert_true(machine->nodes[1].allowed);
    assert_int_equal(machine->quota_mcpus, 0);
    assert_false(machine->distances_known);
    assert_int_equal(plx_machine_distance(machine, 0, 0), 10);
    assert_int_equal(plx_machine_distance(machine, 0, 1), 20);
    assert_int_equal(plx_machine_distance(machine, 0, 2), 0);
    assert_int_equal(plx_machine_distance(machine, 3, 0), 0);
    assert_null(plx_machine_cpu(machine, 16));
    assert_null(plx_machine_node(machine, 2));

    memset(&lines, 0, sizeof(lines));
    plx_machine_explain(machine, place_collect, &lines);
    assert_true(place_has_line(&lines, "machine: synthetic, 16 CPUs on 8 cores, 2 clusters, "
                                       "2 nodes (not this system: nothing can be pinned)"));
    assert_true(place_has_line(&lines, "  node 1: cpus 8-15, memory 1024 MiB"));
    plx_machine_destroy(machine);
}

static void machine_synthetic_l3_caches_make_clusters(void **state)
{
    (void)state;
    struct plx_machine *machine = created_synthetic("numa:2 l3:2 core:3 pu:1");
    assert_int_equal(machine->cluster_count, 4);
    for (uint32_t i = 0; i < 12; i++)
        assert_int_equal(machine->cpus[i].cluster, i / 3);
    plx_machine_destroy(machine);
}

static void machine_without_cores_counts_each_cpu_as_one(void **state)
{
    (void)state;
    struct plx_machine *machine = created_synthetic("numa:2 pu:3");
    assert_int_equal(machine->core_count, 6);
    for (uint32_t i = 0; i < 6; i++) {
        assert_int_equal(machine->cpus[i].core, i);
        assert_int_equal(machine->cpus[i].rank, 0);
    }
    plx_machine_destroy(machine);
}

static void machine_cpus_belong_to_their_nearest_node(void **state)
{
    (void)state;
    struct plx_machine *machine = created_synthetic("[numa] pack:2 [numa] core:2 pu:1");
    assert_int_equal(machine->node_count, 3);
    assert_int_equal(machine->cpus[0].node, machine->cpus[1].node);
    assert_int_equal(machine->cpus[2].node, machine->cpus[3].node);
    assert_int_not_equal(machine->cpus[0].node, machine->cpus[2].node);
    uint32_t without_cpus = 0;
    for (uint32_t i = 0; i < 3; i++)
        without_cpus += machine->nodes[i].cpu_count == 0;
    assert_int_equal(without_cpus, 1);
    plx_machine_destroy(machine);
}

static void machine_of_two_kinds_of_memory_prefers_a_node_that_has_some(void **state)
{
    (void)state;
    struct plx_machine *machine =
        created_synthetic("pack:2 [numa(memory=0)] [numa(memory=2GB)] core:2 pu:1");
    assert_int_equal(machine->node_count, 4);
    for (uint32_t i = 0; i < 4; i++) {
        const struct plx_machine_node *node = plx_machine_node(machine, machine->cpus[i].node);
        assert_int_equal(node->memory_bytes, UINT64_C(2000000000));
        assert_int_equal(node->cpu_count, 2);
    }
    plx_machine_destroy(machine);
    machine = created_synthetic("pack:1 [numa(memory=1GB)] [numa(memory=2GB)] core:2 pu:1");
    assert_int_equal(machine->cpus[0].node, 0);
    plx_machine_destroy(machine);
}

static void machine_node_without_memory_keeps_its_cpus(void **state)
{
    (void)state;
    struct plx_machine *machine = created_synthetic("pack:2 [numa(memory=0)] core:2 pu:1");
    assert_int_equal(machine->cpus[3].node, 1);
    assert_int_equal(machine->nodes[1].memory_bytes, 0);
    assert_int_equal(machine->nodes[1].cpu_count, 2);
    plx_machine_destroy(machine);
}

/* Writes what hwloc knows (of `synthetic`, or of this machine when NULL) to a file. */
static void export_xml(const char *synthetic, bool with_distances, char *path, size_t bytes)
{
    hwloc_topology_t topology;
    snprintf(path, bytes, "%s/machine.xml", host_root);
    assert_int_equal(hwloc_topology_init(&topology), 0);
    if (synthetic != NULL)
        assert_int_equal(hwloc_topology_set_synthetic(topology, synthetic), 0);
    assert_int_equal(hwloc_topology_load(topology), 0);
    if (with_distances) {
        hwloc_obj_t nodes[2] = {hwloc_get_obj_by_type(topology, HWLOC_OBJ_NUMANODE, 0),
                                hwloc_get_obj_by_type(topology, HWLOC_OBJ_NUMANODE, 1)};
        hwloc_uint64_t values[4] = {10, 32, UINT64_MAX, 10};
        unsigned long kind = HWLOC_DISTANCES_KIND_FROM_USER | HWLOC_DISTANCES_KIND_MEANS_LATENCY;
        hwloc_distances_add_handle_t handle =
            hwloc_distances_add_create(topology, "NUMALatency", kind, 0);
        assert_non_null(handle);
        assert_int_equal(hwloc_distances_add_values(topology, handle, 2, nodes, values, 0), 0);
        assert_int_equal(hwloc_distances_add_commit(topology, handle, 0), 0);
    }
    assert_int_equal(hwloc_topology_export_xml(topology, path, 0), 0);
    hwloc_topology_destroy(topology);
}

static void machine_from_xml_of_this_machine_is_the_same_but_foreign(void **state)
{
    (void)state;
    char path[128];
    export_xml(NULL, false, path, sizeof(path));
    struct plx_machine *real = created();
    setenv("HWLOC_XMLFILE", path, 1);
    struct plx_machine *machine = created();
    assert_string_equal(machine->source, "xml");
    assert_false(machine->is_this_system);
    assert_int_equal(machine->node_count, real->node_count);
    for (uint32_t i = 0; i < machine->cpu_count; i++) {
        const struct plx_machine_cpu *cpu = plx_machine_cpu(real, machine->cpus[i].cpu);
        assert_non_null(cpu);
        assert_int_equal(cpu->node, machine->cpus[i].node);
        assert_int_equal(cpu->rank, machine->cpus[i].rank);
        assert_true(machine->cpus[i].allowed);
    }
    plx_machine_destroy(machine);
    plx_machine_destroy(real);
}

static void machine_from_xml_knows_distances(void **state)
{
    (void)state;
    char path[128];
    export_xml("numa:2 core:2 pu:1", true, path, sizeof(path));
    setenv("HWLOC_XMLFILE", path, 1);
    struct plx_machine *machine = created();
    assert_true(machine->distances_known);
    assert_int_equal(plx_machine_distance(machine, 0, 1), 32);
    assert_int_equal(plx_machine_distance(machine, 1, 0), UINT32_MAX);
    memset(&lines, 0, sizeof(lines));
    plx_machine_explain(machine, place_collect, &lines);
    assert_true(place_has_line(&lines, "  distances from node 0:  10  32"));
    plx_machine_destroy(machine);
}

static void machine_synthetic_wins_over_xml(void **state)
{
    (void)state;
    setenv("HWLOC_XMLFILE", "/nonexistent", 1);
    struct plx_machine *machine = created_synthetic("numa:1 pu:3");
    assert_int_equal(machine->cpu_count, 3);
    plx_machine_destroy(machine);
}

static void machine_empty_variables_count_as_unset(void **state)
{
    (void)state;
    setenv("HWLOC_SYNTHETIC", "", 1);
    setenv("HWLOC_XMLFILE", "", 1);
    struct plx_machine *machine = created();
    assert_true(machine->is_this_system);
    plx_machine_destroy(machine);
}

/* --- refused --------------------------------------------------------------------------------- */

static void machine_synthetic_malformed_is_refused_by_name_and_value(void **state)
{
    (void)state;
    setenv("HWLOC_SYNTHETIC", "numa:2 core:", 1);
    assert_refused(-EINVAL, "HWLOC_SYNTHETIC", "HWLOC_SYNTHETIC=numa:2 core:: hwloc cannot read");
    setenv("HWLOC_SYNTHETIC", "rubbish", 1);
    assert_refused(-EINVAL, "HWLOC_SYNTHETIC", "HWLOC_SYNTHETIC=rubbish");
}

static void machine_xml_missing_or_malformed_is_refused_by_name_and_value(void **state)
{
    (void)state;
    char path[128];
    char expected[256];
    snprintf(path, sizeof(path), "%s/none.xml", host_root);
    setenv("HWLOC_XMLFILE", path, 1);
    snprintf(expected, sizeof(expected), "HWLOC_XMLFILE=%s: cannot be read (No such file", path);
    assert_refused(-EINVAL, "HWLOC_XMLFILE", expected);
    host_write("/none.xml", "this is no topology\n");
    snprintf(expected, sizeof(expected), "HWLOC_XMLFILE=%s: holds no topology", path);
    assert_refused(-EINVAL, "HWLOC_XMLFILE", expected);
}

static void machine_root_folder_missing_is_refused(void **state)
{
    (void)state;
    setenv("HWLOC_FSROOT", "/nonexistent", 1);
    assert_refused(-EINVAL, "HWLOC_FSROOT", "HWLOC_FSROOT=/nonexistent: hwloc found no system");
    setenv("HWLOC_FSROOT", "/", 1);
    struct plx_machine *machine = created();
    assert_string_equal(machine->source, "this system");
    plx_machine_destroy(machine);
}

static void machine_beyond_the_limits_is_refused(void **state)
{
    (void)state;
    setenv("HWLOC_SYNTHETIC", "numa:2 core:256 pu:2", 1);
    struct plx_machine *machine = created();
    assert_int_equal(machine->cpu_count, PLX_MACHINE_CPUS_MAX);
    plx_machine_destroy(machine);
    setenv("HWLOC_SYNTHETIC", "numa:5 core:205 pu:1", 1);
    assert_refused(-E2BIG, "CPU", "CPU 1024: numbers below 1024 are supported");
    setenv("HWLOC_SYNTHETIC", "numa:128 pu:1", 1);
    machine = created();
    assert_int_equal(machine->node_count, PLX_MACHINE_NODES_MAX);
    plx_machine_destroy(machine);
    setenv("HWLOC_SYNTHETIC", "numa:129 pu:1", 1);
    assert_refused(-E2BIG, "node", "node 128: numbers below 128 are supported");
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, host_setup, host_teardown)
    const struct CMUnitTest tests[] = {
        CASE(machine_here_is_this_system),
        CASE(machine_here_allows_what_the_affinity_allows),
        CASE(machine_whose_affinity_cannot_be_read_is_an_error),
        CASE(machine_here_takes_sizes_and_limits_from_the_system),
        CASE(machine_synthetic_has_the_shape_described),
        CASE(machine_synthetic_l3_caches_make_clusters),
        CASE(machine_without_cores_counts_each_cpu_as_one),
        CASE(machine_cpus_belong_to_their_nearest_node),
        CASE(machine_of_two_kinds_of_memory_prefers_a_node_that_has_some),
        CASE(machine_node_without_memory_keeps_its_cpus),
        CASE(machine_from_xml_of_this_machine_is_the_same_but_foreign),
        CASE(machine_from_xml_knows_distances),
        CASE(machine_synthetic_wins_over_xml),
        CASE(machine_empty_variables_count_as_unset),
        CASE(machine_synthetic_malformed_is_refused_by_name_and_value),
        CASE(machine_xml_missing_or_malformed_is_refused_by_name_and_value),
        CASE(machine_root_folder_missing_is_refused),
        CASE(machine_beyond_the_limits_is_refused),
    };
    return cmocka_run_group_tests_name("machine", tests, NULL, NULL);
}
