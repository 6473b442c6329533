/* SPDX-License-Identifier: MIT */
/*
 * The reactor's inside, for the runtime that opens and ends it, the mesh, and the net layer.
 *
 * Words. A *deferred* call is made at the turn's end. A *stopper* is told when the reactor is about
 * to end. The *phase* is how far the end has come; the runtime sets it, reactors follow
 * (*reached*).
 *
 * Threads: the owner, unless a line says otherwise.
 */
#ifndef POLLUX_REACTOR_INTERNAL_H
#define POLLUX_REACTOR_INTERNAL_H

#include "alloc/bytes.h"
#include "alloc/pool.h"
#include "runtime/io/io_internal.h"
#include "runtime/mesh/mesh_internal.h"
#include "runtime/reactor.h"
#include "runtime/remote.h"
#include "runtime/sched/task_internal.h"
#include "runtime/sched/timers_internal.h"
#include "runtime/sleep_internal.h"

/* --- for the net layer ------------------------------------------------------------------------ */

struct plx__deferred;
typedef void (*plx__deferred_fn)(struct plx__deferred *deferred, void *ctx);

/* Zeroed is one that is not queued. */
struct plx__deferred {
    struct plx__deferred *next;
    plx__deferred_fn fn;
    void *ctx;
    bool queued;
};

/*
 * Calls `fn` at the end of this turn, or of the next when no turn runs, or when a deferred call
 * queues it. Once, if queued twice.
 */
void plx__reactor_defer(struct plx_reactor *reactor, struct plx__deferred *deferred,
                        plx__deferred_fn fn, void *ctx);

/* The way of a reactor's end. */
enum plx__stop_phase {
    PLX__STOP_NONE,
    PLX__STOP_ADMITTING, /* nothing new is admitted: listeners close */
    PLX__STOP_DRAINING,  /* what is in flight is cancelled, streams are aborted, posts arrive */
    PLX__STOP_TEARDOWN   /* all reactors have drained: rings go */
};

struct plx__stopper;
typedef void (*plx__stopper_fn)(struct plx__stopper *stopper, enum plx__stop_phase phase,
                                void *ctx);

struct plx__stopper {
    struct plx__stopper *next;
    plx__stopper_fn fn;
    void *ctx;
};

/*
 * `fn` is called for PLX__STOP_ADMITTING and for PLX__STOP_DRAINING. `stopper` stays in place for
 * the reactor's life.
 */
void plx__stopper_add(struct plx_reactor *reactor, struct plx__stopper *stopper, plx__stopper_fn fn,
                      void *ctx);

/* The net layer's own state on this reactor; NULL at the start. Its memory comes from the arena. */
void **plx__reactor_net(struct plx_reactor *reactor);

/* Takes one of POLLUX_HOT_MAX places for hot sockets; -ENOSPC (counted) when none is left. */
int plx__reactor_hot_take(struct plx_reactor *reactor);
void plx__reactor_hot_give(struct plx_reactor *reactor);

/* --- the reactor ------------------------------------------------------------------------------ */

/* Written by the owner, read by any thread: each is read whole, so relaxed is enough. */
struct plx__counters {
    PLX_ATOMIC(uint64_t) turns;
    PLX_ATOMIC(uint64_t) busy_ticks;
    PLX_ATOMIC(uint64_t) idle_ticks;
    PLX_ATOMIC(uint64_t) longest_ticks;
    PLX_ATOMIC(uint64_t) stalled_turns;
    PLX_ATOMIC(uint64_t) stalled_ticks; /* of those turns */
    PLX_ATOMIC(uint64_t) ops_submitted;
    PLX_ATOMIC(uint64_t) ops_completed;
    PLX_ATOMIC(uint64_t) ops_refused;
    PLX_ATOMIC(uint64_t) kernel_entries;
    PLX_ATOMIC(uint64_t) sleeps;
    PLX_ATOMIC(uint64_t) timers_fired;
    PLX_ATOMIC(uint64_t) timers_late;
    PLX_ATOMIC(uint64_t) timer_periods_missed;
    PLX_ATOMIC(uint64_t) hot_refused;
};

struct plx_reactor {
    /* Read-mostly; written while opening. */
    struct plx__io *io;
    struct plx_runtime *runtime;
    const PLX_ATOMIC(uint32_t) * phase; /* the runtime's enum plx__stop_phase */
    struct plx__mesh mesh;              /* knows `count` reactors and the `index` of this one */
    int cpu;
    int node;
    bool adopted;
    bool gaps; /* time passes between turns: it yields or sleeps, or its thread does other things */
    uint32_t hot_max;
    uint64_t stall_ticks;
    double ticks_per_ns;
    struct plx_arena *arena;
    uint32_t downgrades;    /* lines of explain that tell of something not got */
    const char *pin_note;   /* what of pinning was not got; empty when all was */
    const char *stack_note; /* the same of placing its thread's stack */
    uint64_t pool_table_bytes;

    /* The owner's, hot. */
    PLX_ATOMIC(uint32_t) in_turn; /* the keeper looks at it */
    uint32_t followed;            /* the phase last acted upon */
    uint32_t drain_turns;
    uint32_t hot_count;
    struct plx__sleep sleep;
    uint64_t turn_ticks; /* when the last turn ended */
    uint64_t look_ticks; /* before it no timer is due; UINT64_MAX: none is armed */
    struct plx_poller *poller_first;
    struct plx_poller *poller_next; /* while pollers run: the one after the running one */
    struct plx__deferred *deferred_first;
    struct plx__deferred *deferred_last;
    struct plx__stopper *stopper_first;
    void *net;
    struct plx_remote *late_cancels;     /* of remote ops: requests for which there was no room */
    const struct plx_reactor *last_home; /* whose block was released here last; NULL: none yet */

    struct plx__tasks tasks PLX_ALIGNED(PLX_CACHE_LINE);
    struct plx__stopper tasks_stopper;
    struct plx__wake wake;
    struct plx__counters counters PLX_ALIGNED(PLX_CACHE_LINE);
    struct plx_pool pool PLX_ALIGNED(PLX_CACHE_LINE);
    struct plx_bytes_home bytes PLX_ALIGNED(PLX_CACHE_LINE);
    struct plx__timers timers PLX_ALIGNED(PLX_CACHE_LINE);
};

/* Runs stoppers for `phase`; the op layer refuses new ops from draining on. */
void plx__reactor_tell_stoppers(struct plx_reactor *reactor, enum plx__stop_phase phase);

/* In remote.c: sends the cancels that wait for room, while there is some. */
void plx__remote_flush(struct plx_reactor *reactor);
/* In remote.c: asks all remote ops of this reactor to end. */
void plx__remote_cancel_all(struct plx_reactor *reactor);

/* In runtime.c: acts on a phase that the runtime has set; called by the turn. */
void plx__runtime_follow(struct plx_reactor *reactor);

/* In runtime.c: how often the keeper has told of it. Any thread. */
uint64_t plx__runtime_stall_reports(const struct plx_reactor *reactor);

#endif
