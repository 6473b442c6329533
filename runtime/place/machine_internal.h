/* SPDX-License-Identifier: MIT */
/*
 * What machine.c takes from /sys and /proc where hwloc says nothing or says it wrongly. Each
 * function takes the folder below which `sys` and `proc` lie, "" for this system's own, so that
 * tests can lay out a system of their own. A file that is missing or says something unknown counts
 * as one that says nothing: kernels and containers differ in what they show.
 *
 * Threads: set-up only; any thread.
 */
#ifndef POLLUX_MACHINE_INTERNAL_H
#define POLLUX_MACHINE_INTERNAL_H

#include "alloc/base.h"
#include "runtime/place/machine.h"
#include "runtime/settings/cpu_set.h"

/* plx_machine_create with the folder below which /sys and /proc are looked for. */
PLX_COLD int plx__machine_create_below(const char *root, struct plx_machine **out,
                                       struct plx_diag *diag) PLX_MUST_CHECK;

/* The CPUs that the scheduler (isolated) or the tick (nohz_full) is kept from. */
PLX_COLD void plx__host_isolated_cpus(const char *root, struct plx_cpu_set *set);

/* Memory and hugepages of `node->node`; fields of which nothing is found are left alone. */
PLX_COLD void plx__host_node(const char *root, struct plx_machine_node *node);

/*
 * The smallest CPU bandwidth limit of the process's cgroup and those above it, of version 1 and 2,
 * in thousandths of a CPU; 0 when there is none.
 * Source: Documentation/admin-guide/cgroup-v2.rst and Documentation/scheduler/sched-bwc.rst of the
 * kernel; proc_pid_mountinfo(5).
 */
PLX_COLD uint32_t plx__host_quota_mcpus(const char *root);

#endif
