/* SPDX-License-Identifier: MIT */
/*
 * Machines filled in by hand, plans written down shortly, and what must be true of every plan.
 */
#ifndef POLLUX_TEST_PLACE_FIXTURE_H
#define POLLUX_TEST_PLACE_FIXTURE_H

#include "runtime/place/plan.h"

#define PLACE_GIB (UINT64_C(1) << 30)

/* A machine with room for all that a machine may have. */
struct place_machine {
    struct plx_machine machine;
    struct plx_machine_cpu cpus[PLX_MACHINE_CPUS_MAX];
    struct plx_machine_node nodes[PLX_MACHINE_NODES_MAX];
    uint32_t distances[PLX_MACHINE_NODES_MAX * PLX_MACHINE_NODES_MAX];
};

/* Lines handed to a text sink. */
struct place_lines {
    char text[256][512];
    unsigned count;
};

/* Nothing in it yet. */
void place_machine_clear(struct place_machine *m);

/* Nodes are added in ascending order, CPUs likewise; all are allowed, all distances 10 and 20. */
void place_add_node(struct place_machine *m, uint32_t node, uint64_t memory_bytes);
void place_add_cpu(struct place_machine *m, uint32_t cpu, uint32_t core, uint32_t rank,
                   uint32_t node, uint32_t cluster);

/*
 * Nodes of the same make, with 64 GiB each; the first CPUs of all cores are numbered first, then
 * the second ones, as Linux does on most machines.
 */
void place_uniform(struct place_machine *m, uint32_t nodes, uint32_t clusters_per_node,
                   uint32_t cores_per_cluster, uint32_t cpus_per_core);

/* Allows the CPUs of `list` and no others. */
void place_allow(struct place_machine *m, const char *list);

/* Default settings but for "key=value" texts, ended by NULL. */
struct plx_settings place_settings(const char *setting, ...) __attribute__((sentinel));

/* A sink that collects; ctx is a struct place_lines. */
void place_collect(const char *line, void *ctx);

/* Whether one of the lines contains `part`. */
bool place_has_line(const struct place_lines *lines, const char *part);

/*
 * A plan in one line: the reactors' CPUs, then each SQ thread's CPU with the reactors it serves, as
 * in "0-5 sq 6<0-2 sq 7<3-5".
 */
void place_summarise(const struct plx_plan *plan, char *text, size_t bytes);

/* Fails the running test unless the plan is refused with that code, thing, and part of the text. */
void place_assert_refused(const struct plx_machine *machine, const struct plx_settings *settings,
                          int code, const char *what, const char *text);

/* Fails the running test unless all holds that must hold of every plan. */
void place_check_plan(const struct plx_machine *machine, const struct plx_settings *settings,
                      const struct plx_plan *plan);

#endif
