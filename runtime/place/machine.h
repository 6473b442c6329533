/* SPDX-License-Identifier: MIT */
/*
 * What the machine is made of, as plain data: its CPUs, cores, caches and NUMA nodes, which of them
 * this process may use, and how much processor time it is granted. Read once, at set-up, by hwloc
 * and from /sys and /proc; a machine may as well be made up (HWLOC_SYNTHETIC), read from a file
 * (HWLOC_XMLFILE), or filled in by a test.
 *
 * Words. A *CPU* is what the system numbers and schedules on: a hardware thread. A *core* is one or
 * more CPUs, SMT siblings, that share their execution units; a CPU's *rank* is its place among
 * them. A *cluster* is the cores that share a last-level (L3) cache. A *node* is a NUMA node.
 *
 * Threads: set-up only. A machine is never changed after it was made, so any thread may read it.
 */
#ifndef POLLUX_MACHINE_H
#define POLLUX_MACHINE_H

#include "alloc/base.h"

PLX_EXTERN_C_BEGIN

/* CPUs and CPU numbers of a machine are at most this many, numbers being smaller. */
#define PLX_MACHINE_CPUS_MAX 1024
/* Nodes and node numbers of a machine are at most this many, numbers being smaller. */
#define PLX_MACHINE_NODES_MAX 128
/* The distance of a node to itself, as the firmware's tables count it. */
#define PLX_DISTANCE_LOCAL 10

struct plx_machine_cpu {
    uint32_t cpu;     /* the system's number */
    uint32_t core;    /* cores are counted from 0, in hwloc's logical order */
    uint32_t rank;    /* 0 is the first CPU of its core */
    uint32_t node;    /* the system's number of the nearest node; it may have no memory */
    uint32_t cluster; /* clusters are counted from 0; without L3 caches, one cluster a node */
    bool allowed;     /* the process may run here: affinity and cpuset */
    bool isolated;    /* kept from the scheduler (isolcpus) or from the tick (nohz_full) */
};

struct plx_machine_node {
    uint32_t node;           /* the system's number */
    uint32_t cpu_count;      /* CPUs whose nearest node it is */
    uint64_t memory_bytes;   /* 0: a node without memory */
    bool allowed;            /* the process may take memory here: cpuset */
    uint32_t pages_2m_total; /* reserved hugepages, and those of them that are free; known of */
    uint32_t pages_2m_free;  /* this system only, else 0 */
    uint32_t pages_1g_total;
    uint32_t pages_1g_free;
};

struct plx_machine {
    const struct plx_machine_cpu *cpus;   /* ascending by number */
    const struct plx_machine_node *nodes; /* ascending by number */
    const uint32_t *distances;            /* node_count × node_count, by position, row = from */
    uint32_t cpu_count;
    uint32_t node_count;
    uint32_t core_count;
    uint32_t cluster_count;
    uint32_t quota_mcpus; /* processor time that cgroups grant, 1/1000 of a CPU; 0: no limit */
    bool distances_known; /* else 10 for a node itself and 20 between any two */
    bool is_this_system;  /* else nothing can be pinned, and all CPUs and nodes count as allowed */
    const char *source;   /* "this system", "synthetic", "xml", "root folder"; static */
    void *handle;         /* the library's, for pinning; NULL in a machine filled in by hand */
};

/*
 * Reads the machine into *out, which the caller gives back by plx_machine_destroy; NULL on failure.
 * HWLOC_SYNTHETIC, HWLOC_XMLFILE and HWLOC_FSROOT are honoured, the first of them that is set, and
 * what cannot be honoured is refused. Allowed are the CPUs that the calling thread may run on.
 * Cost: set-up only; allocates, reads files, some milliseconds.
 * Errors: -EINVAL, one of these variables holds what hwloc cannot read (the diag names variable and
 * value); -E2BIG, more CPUs or nodes than the limits above (the diag names the number);
 * -ENOMEM; -EIO, hwloc or the system gave no answer.
 * Source: hwloc 2 documentation, "Environment Variables"; sched_getaffinity(2), cpuset(7).
 */
PLX_API PLX_COLD int plx_machine_create(struct plx_machine **out,
                                        struct plx_diag *diag) PLX_MUST_CHECK;

/* Gives all of it back; NULL is fine. */
PLX_API PLX_COLD void plx_machine_destroy(struct plx_machine *machine);

/* The CPU with that number, NULL when there is none. Borrowed from the machine. */
PLX_API PLX_COLD const struct plx_machine_cpu *plx_machine_cpu(const struct plx_machine *machine,
                                                               uint32_t cpu);

/* The node with that number, NULL when there is none. Borrowed from the machine. */
PLX_API PLX_COLD const struct plx_machine_node *plx_machine_node(const struct plx_machine *machine,
                                                                 uint32_t node);

/* The distance between two nodes given by number; 0 when one of them does not exist. */
PLX_API PLX_COLD uint32_t plx_machine_distance(const struct plx_machine *machine, uint32_t from,
                                               uint32_t to);

/*
 * The machine as text: a line on the whole, then one line a node with its CPUs, memory, hugepages
 * and distances.
 */
PLX_API PLX_COLD void plx_machine_explain(const struct plx_machine *machine, plx_text_fn sink,
                                          void *ctx);

PLX_EXTERN_C_END

#endif
