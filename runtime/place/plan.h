/* SPDX-License-Identifier: MIT */
/*
 * Which reactor runs where: a pure function of a machine and the settings. It asks the system
 * nothing, so what it decides for a machine can be read, and tested, anywhere.
 *
 * Words. A *usable* core is one that a reactor or an SQ thread may be given: allowed to the
 * process, within POLLUX_CPUS and POLLUX_NODES, one CPU of each core unless POLLUX_SMT says
 * otherwise. An *SQ core* is a core kept for a kernel thread that submits the I/O (SQPOLL) of up
 * to POLLUX_SQPOLL_SHARE reactors of its node; of those the *leader* makes the thread, the others
 * attach to it.
 *
 * Threads: set-up only. A plan is never changed after it was made, so any thread may read it.
 */
#ifndef POLLUX_PLAN_H
#define POLLUX_PLAN_H

#include "alloc/base.h"
#include "runtime/place/machine.h"
#include "runtime/settings/settings.h"

PLX_EXTERN_C_BEGIN

/* Reactors of a plan are at most this many. */
#define PLX_PLAN_REACTORS_MAX 256
/* Bytes of a reason, and of a note, with their terminators. */
#define PLX_PLAN_REASON_BYTES 112
#define PLX_PLAN_NOTE_BYTES 256

struct plx_plan_reactor {
    uint32_t index;    /* its position in the plan; ascending by node, then by CPU */
    uint32_t cpu;      /* where it is pinned */
    uint32_t node;     /* the CPU's node */
    uint32_t mem_node; /* where its arena lies: `node`, or the nearest node with memory */
    int32_t sq_cpu;    /* the CPU of its SQ thread, on its node; -1: no SQPOLL */
    int32_t sq_leader; /* the reactor that makes that thread: itself or a lower one; -1: none */
    uint64_t arena_bytes;
    char cpu_reason[PLX_PLAN_REASON_BYTES]; /* why this CPU */
    char sq_reason[PLX_PLAN_REASON_BYTES];  /* why that SQ thread, or why none */
};

/* A CPU that carries no reactor, and why. */
struct plx_plan_other {
    uint32_t cpu;
    bool is_sq; /* it carries an SQ thread */
    char reason[PLX_PLAN_REASON_BYTES];
};

struct plx_plan {
    struct plx_plan_reactor *reactors;  /* at least one */
    struct plx_plan_other *others;      /* every other CPU of the machine, ascending */
    char (*notes)[PLX_PLAN_NOTE_BYTES]; /* what a person should know of the plan; maybe none */
    uint32_t reactor_count;
    uint32_t other_count;
    uint32_t note_count;
    uint32_t sq_count;   /* SQ threads */
    enum plx_idle idle;  /* not PLX_IDLE_AUTO */
    uint64_t mesh_bytes; /* of all rings between reactors together */
};

/*
 * Plans into *out, which the caller gives back by plx_plan_destroy; NULL on failure. Both arguments
 * are read before the return and not kept. Cost: set-up only; allocates, makes no system call.
 * Errors, of which the diag names the setting and the CPU, node or number: -EINVAL, a setting
 * names what does not exist, is not allowed, or contradicts another one; -ENOSPC, more reactors,
 * SQ threads or memory are asked for than fit (it says how many do); -ENODEV, no core is usable or
 * no node has memory; -ENOMEM.
 */
PLX_API PLX_COLD int plx_plan_create(const struct plx_machine *machine,
                                     const struct plx_settings *settings, struct plx_plan **out,
                                     struct plx_diag *diag) PLX_MUST_CHECK;

/* Gives all of it back; NULL is fine. */
PLX_API PLX_COLD void plx_plan_destroy(struct plx_plan *plan);

/*
 * The plan as text: a line on the whole, a table of the reactors with their reasons, one line for
 * each CPU left out with its reason, and the notes. `machine` is the one it was made for.
 */
PLX_API PLX_COLD void plx_plan_explain(const struct plx_plan *plan,
                                       const struct plx_machine *machine, plx_text_fn sink,
                                       void *ctx);

PLX_EXTERN_C_END

#endif
