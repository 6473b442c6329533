/* SPDX-License-Identifier: MIT */
#include "runtime/place/machine_internal.h"
#include "test/runtime/place/host_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define V2_MOUNT "30 25 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
#define V1_MOUNTS                                                                                  \
    "31 25 0:27 / /sys/fs/cgroup/cpuset rw shared:5 - cgroup cgroup rw,cpuset\n"                   \
    "32 25 0:28 / /sys/fs/cgroup/cpu,cpuacct rw shared:6 - cgroup cgroup rw,cpuacct,cpu\n"

/* --- CPUs ------------------------------------------------------------------------------------ */

static void assert_isolated(const char *expected)
{
    char list[PLX_CPU_SET_TEXT_BYTES];
    struct plx_cpu_set set;
    memset(&set, 0xff, sizeof(set));
    plx__host_isolated_cpus(host_root, &set);
    assert_true(plx_cpu_set_format(&set, list, sizeof(list)) >= 0);
    assert_string_equal(list, expected);
}

static void isolated_joins_both_lists(void **state)
{
    (void)state;
    host_write("/sys/devices/system/cpu/isolated", "2-3\n");
    host_write("/sys/devices/system/cpu/nohz_full", "3,5\n");
    assert_isolated("2-3,5");
}

static void isolated_without_files_or_with_nothing_in_them_is_empty(void **state)
{
    (void)state;
    assert_isolated("");
    host_write("/sys/devices/system/cpu/isolated", "\n");
    host_write("/sys/devices/system/cpu/nohz_full", "  (null)\n");
    assert_isolated("");
    host_write("/sys/devices/system/cpu/isolated", "");
    assert_isolated("");
}

/* --- nodes ----------------------------------------------------------------------------------- */

static void node_sizes_are_read(void **state)
{
    (void)state;
    const char *pages = "/sys/devices/system/node/node3/hugepages/hugepages-";
    char path[128];
    host_write("/sys/devices/system/node/node3/meminfo", "Node 3 MemTotal:       24680120 kB\n"
                                                         "Node 3 MemFree:        22000000 kB\n");
    snprintf(path, sizeof(path), "%s2048kB/nr_hugepages", pages);
    host_write(path, "512\n");
    snprintf(path, sizeof(path), "%s2048kB/free_hugepages", pages);
    host_write(path, "500\n");
    snprintf(path, sizeof(path), "%s1048576kB/nr_hugepages", pages);
    host_write(path, "4\n");
    snprintf(path, sizeof(path), "%s1048576kB/free_hugepages", pages);
    host_write(path, "99999999999\n");
    struct plx_machine_node node = {.node = 3, .memory_bytes = 8};
    plx__host_node(host_root, &node);
    assert_int_equal(node.memory_bytes, UINT64_C(24680120) * 1024);
    assert_int_equal(node.pages_2m_total, 512);
    assert_int_equal(node.pages_2m_free, 500);
    assert_int_equal(node.pages_1g_total, 4);
    assert_int_equal(node.pages_1g_free, UINT32_MAX);
}

static void node_without_files_keeps_what_was_known(void **state)
{
    (void)state;
    struct plx_machine_node node = {.node = 0, .memory_bytes = 8, .pages_2m_total = 1};
    plx__host_node(host_root, &node);
    assert_int_equal(node.memory_bytes, 8);
    assert_int_equal(node.pages_2m_total, 1);
    host_write("/sys/devices/system/node/node0/meminfo", "Node 0 MemFree: 5 kB\n");
    host_write("/sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages", "many\n");
    plx__host_node(host_root, &node);
    assert_int_equal(node.memory_bytes, 8);
    assert_int_equal(node.pages_2m_total, 1);
}

/* --- processor time -------------------------------------------------------------------------- */

static void quota_without_cgroups_is_none(void **state)
{
    (void)state;
    assert_int_equal(plx__host_quota_mcpus(host_root), 0);
    host_write("/proc/self/cgroup", "0::/\n");
    assert_int_equal(plx__host_quota_mcpus(host_root), 0);
    host_write("/proc/self/mountinfo", "22 1 0:3 / /proc rw - proc proc rw\nrubbish\n");
    assert_int_equal(plx__host_quota_mcpus(host_root), 0);
    host_write("/proc/self/cgroup", "rubbish\n\n");
    assert_int_equal(plx__host_quota_mcpus(host_root), 0);
}

static void quota_v2_is_the_smallest_on_the_way_up(void **state)
{
    (void)state;
    host_write("/proc/self/mountinfo", V2_MOUNT);
    host_write("/proc/self/cgroup", "0::/slice/app\n");
    host_write("/sys/fs/cgroup/slice/app/cpu.max", "max 100000\n");
    assert_int_equal(plx__host_quota_mcpus(host_root), 0);
    host_write("/sys/fs/cgroup/slice/cpu.max", "150000 100000\n");
    assert_int_equal(plx__host_quota_mcpus(host_root), 1500);
    host_write("/sys/fs/cgroup/slice/app/cpu.max", "400000 100000\n");
    assert_int_equal(plx__host_quota_mcpus(host_root), 1500);
    host_write("/sys/fs/cgroup/slice/app/cpu.max", "25000 50000\n");
    assert_int_equal(plx__host_quota_mcpus(host_root), 500);
    host_write("/sys/fs/cgroup/slice/sibling/cpu.max", "1000 100000\n");
    assert_int_equal(plx__host_quota_mcpus(host_root), 500);
}

static void quota_v1_is_the_smallest_on_the_way_up(void **state)
{
    (void)state;
    const char *top = "/sys/fs/cgroup/cpu,cpuacct";
    char path[128];
    host_write("/proc/self/mountinfo", V1_MOUNTS);
    host_write("/proc/self/cgroup", "5:cpuset:/other\n4:cpu,cpuacct:/box/app\n1:name=systemd:/\n");
    snprintf(path, sizeof(path), "%s/box/app/cpu.cfs_quota_us", top);
    host_write(path, "-1\n");
    snprintf(path, sizeof(path), "%s/box/app/cpu.cfs_period_us", top);
    host_write(path, "100000\n");
    assert_int_equal(plx__host_quota_mcpus(host_root), 0);
    snprintf(path, sizeof(path), "%s/box/cpu.cfs_quota_us", top);
    host_write(path, "320000\n");
    assert_int_equal(plx__host_quota_mcpus(host_root), 0);
    snprintf(path, sizeof(path), "%s/box/cpu.cfs_period_us", top);
    host_write(path, "100000\n");
    assert_int_equal(plx__host_quota_mcpus(host_root), 3200);
    snprintf(path, sizeof(path), "%s/box/app/cpu.cfs_quota_us", top);
    host_write(path, "1\n");
    assert_int_equal(plx__host_quota_mcpus(host_root), 1);
}

static void quota_of_both_versions_is_the_smaller(void **state)
{
    (void)state;
    host_write("/proc/self/mountinfo", V1_MOUNTS V2_MOUNT);
    host_write("/proc/self/cgroup", "4:cpu:/a\n0::/b\n");
    host_write("/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "200000\n");
    host_write("/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n");
    host_write("/sys/fs/cgroup/b/cpu.max", "300000 100000\n");
    assert_int_equal(plx__host_quota_mcpus(host_root), 2000);
    host_write("/sys/fs/cgroup/b/cpu.max", "100000 100000\n");
    assert_int_equal(plx__host_quota_mcpus(host_root), 1000);
}

static void quota_in_a_container_goes_on_from_what_is_mounted(void **state)
{
    (void)state;
    host_write("/proc/self/mountinfo",
               "30 25 0:26 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
    host_write("/sys/fs/cgroup/cpu.max", "70000 100000\n");
    host_write("/proc/self/cgroup", "0::/docker/abc\n");
    assert_int_equal(plx__host_quota_mcpus(host_root), 700);
    host_write("/sys/fs/cgroup/inner/cpu.max", "60000 100000\n");
    host_write("/proc/self/cgroup", "0::/docker/abc/inner\n");
    assert_int_equal(plx__host_quota_mcpus(host_root), 600);
    /* A group that is not below what is mounted: its top is all that can be seen. */
    host_write("/proc/self/cgroup", "0::/docker/abcdef/inner\n");
    assert_int_equal(plx__host_quota_mcpus(host_root), 700);
    host_write("/proc/self/cgroup", "0::/../other\n");
    assert_int_equal(plx__host_quota_mcpus(host_root), 700);
}

static void quota_that_makes_no_sense_is_none(void **state)
{
    (void)state;
    host_write("/proc/self/mountinfo", V2_MOUNT);
    host_write("/proc/self/cgroup", "0::/a\n");
    host_write("/sys/fs/cgroup/a/cpu.max", "100000 0\n");
    assert_int_equal(plx__host_quota_mcpus(host_root), 0);
    host_write("/sys/fs/cgroup/a/cpu.max", "9223372036854775807 1\n");
    assert_int_equal(plx__host_quota_mcpus(host_root), 0);
    host_write("/sys/fs/cgroup/a/cpu.max", "9000000000000000 1\n");
    assert_int_equal(plx__host_quota_mcpus(host_root), UINT32_MAX);
    host_write("/sys/fs/cgroup/a/cpu.max", "100000\n");
    assert_int_equal(plx__host_quota_mcpus(host_root), 0);
}

static void paths_that_are_too_long_are_not_followed(void **state)
{
    (void)state;
    char root[5000];
    memset(root, '/', sizeof(root));
    root[sizeof(root) - 1] = '\0';
    assert_int_equal(plx__host_quota_mcpus(root), 0);

    char group[4200];
    memset(group, 'g', sizeof(group));
    memcpy(group, "0::/", 4);
    group[4094] = '\0';
    host_write("/proc/self/mountinfo", V2_MOUNT);
    host_write("/proc/self/cgroup", group);
    host_write("/sys/fs/cgroup/cpu.max", "70000 100000\n");
    assert_int_equal(plx__host_quota_mcpus(host_root), 700);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, host_setup, host_teardown)
    const struct CMUnitTest tests[] = {
        CASE(isolated_joins_both_lists),
        CASE(isolated_without_files_or_with_nothing_in_them_is_empty),
        CASE(node_sizes_are_read),
        CASE(node_without_files_keeps_what_was_known),
        CASE(quota_without_cgroups_is_none),
        CASE(quota_v2_is_the_smallest_on_the_way_up),
        CASE(quota_v1_is_the_smallest_on_the_way_up),
        CASE(quota_of_both_versions_is_the_smaller),
        CASE(quota_in_a_container_goes_on_from_what_is_mounted),
        CASE(quota_that_makes_no_sense_is_none),
        CASE(paths_that_are_too_long_are_not_followed),
    };
    return cmocka_run_group_tests_name("machine_host", tests, NULL, NULL);
}
