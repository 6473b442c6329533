/* SPDX-License-Identifier: MIT */
/*
 * The work sheet of the planner: what it has found out about each CPU and each node so far. Its
 * steps are plan_cores.c (which cores are usable), plan_counts.c (how many reactors and SQ threads
 * each node gets) and plan.c (which of the cores those are, and what follows from it).
 *
 * Threads: a sheet lives within one call of plx_plan_create.
 */
#ifndef POLLUX_PLAN_INTERNAL_H
#define POLLUX_PLAN_INTERNAL_H

#include "runtime/place/plan.h"

/* Nodes with fewer usable cores than this keep none for an SQ thread under POLLUX_SQPOLL=auto. */
#define PLX_PLAN_AUTO_CORES 4

enum plx_plan_role {
    PLX_ROLE_OUT,      /* not to be used; the reason says why */
    PLX_ROLE_USABLE,   /* for a reactor or an SQ thread */
    PLX_ROLE_NAMED_SQ, /* named in POLLUX_SQPOLL_CPUS: for an SQ thread only */
    PLX_ROLE_REACTOR,  /* given to a reactor */
    PLX_ROLE_SQ        /* given to an SQ thread */
};

/* One for each CPU of the machine, by its position there. */
struct plx_plan_core {
    enum plx_plan_role role;
    char reason[PLX_PLAN_REASON_BYTES];
};

/* One for each node of the machine, by its position there. */
struct plx_plan_node {
    uint32_t usable;   /* cores in the role USABLE, before any is given away */
    uint32_t named;    /* cores in the role NAMED_SQ, likewise */
    uint32_t capacity; /* reactors that fit */
    uint32_t reactors;
    uint32_t sq;     /* SQ threads */
    bool wants_sq;   /* SQ threads are to be had here if they fit */
    bool gave_way;   /* they did not fit beside the reactors asked for */
    uint32_t memory; /* position of the node that its reactors' memory comes from */
};

struct plx_plan_sheet {
    const struct plx_machine *machine;
    const struct plx_settings *settings;
    struct plx_diag *diag;
    struct plx_plan *plan;
    struct plx_plan_core *cores;
    struct plx_plan_node *nodes;
    uint32_t note_room;
    uint32_t allowed;   /* CPUs that the process may run on */
    bool isolated_only; /* there are isolated CPUs, and only those are used */
    bool has_named_sq;  /* POLLUX_SQPOLL_CPUS counts */
};

/* Without io_uring there is no SQ thread; one that is insisted on is refused by the backend. */
static inline bool plx__plan_without_uring(const struct plx_settings *settings)
{
    return settings->backend == PLX_BACKEND_EPOLL && settings->sqpoll == PLX_SQPOLL_AUTO;
}

/* Adds a note, as long as there is room. */
PLX_COLD void plx__plan_note(struct plx_plan_sheet *sheet, const char *format, ...)
    PLX_PRINTF(2, 3);

/* The position of a node in the machine; it must exist. */
PLX_COLD uint32_t plx__plan_node_position(const struct plx_machine *machine, uint32_t node);

/* Gives each CPU its role, or the reason why it has none, and counts. Errors as the plan's. */
PLX_COLD int plx__plan_find_cores(struct plx_plan_sheet *sheet) PLX_MUST_CHECK;

/* Decides how many reactors and SQ threads each node gets. Errors as the plan's. */
PLX_COLD int plx__plan_count(struct plx_plan_sheet *sheet) PLX_MUST_CHECK;

#endif
