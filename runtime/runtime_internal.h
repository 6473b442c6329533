/* SPDX-License-Identifier: MIT */
/*
 * The runtime's inside: a slot for each reactor of the plan, and how far its life has come.
 *
 * Threads: as each field says. `lock` guards set-up; the atomics carry the running and the end.
 */
#ifndef POLLUX_RUNTIME_INTERNAL_H
#define POLLUX_RUNTIME_INTERNAL_H

#include <pthread.h>
#include <semaphore.h>

#include "runtime/keeper_internal.h"
#include "runtime/reactor_internal.h"
#include "runtime/runtime.h"

enum plx__slot_life {
    PLX__SLOT_IDLE,
    PLX__SLOT_OPENING, /* claimed by a thread */
    PLX__SLOT_RUNNING,
    PLX__SLOT_ENDED, /* its ring is gone; its memory stays until destroy */
    PLX__SLOT_LEAKED /* did not end in time: its memory is given back to nobody */
};

/* How far a reactor has followed the runtime's end. */
enum plx__reached {
    PLX__REACHED_NOTHING,
    PLX__REACHED_ADMITTING, /* admits nothing new */
    PLX__REACHED_DRAINING,  /* sends no more posts */
    PLX__REACHED_DRAINED    /* nothing in flight, and no post can come any more */
};

/* Texts that were said to the log, so that each reactor need not say them again. */
#define PLX__SAID_MAX 32

/* A thread's stack, between two closed pages. Zeroed is none. */
struct plx__stack {
    void *base;
    size_t bytes;
    void *mapping;
    size_t mapping_bytes;
};

struct plx__slot {
    /* Owner writes, all read. */
    PLX_ATOMIC(uint32_t) life;
    PLX_ATOMIC(uint32_t) reached;
    PLX_ATOMIC(struct plx_reactor *) reactor; /* released when RUNNING begins */
    PLX_ATOMIC(uint32_t) own_phase;           /* of a reactor that is abandoned alone */
    PLX_ATOMIC(uint32_t) left;                /* its thread has nothing more to do here */
    PLX_ATOMIC(int) tid;                      /* of the thread that polls it */
    /* The keeper writes, all read. */
    PLX_ATOMIC(uint64_t) stall_reports;
    /* Guarded by the runtime's lock while opening; the owner's afterwards. */
    struct plx_runtime *runtime;
    uint32_t index;
    PLX_ATOMIC(uint32_t) owes;   /* answers to calls, while it drains */
    PLX_ATOMIC(uint32_t) awaits; /* calls, and nothing else that keeps it from having drained */
    bool has_thread;
    bool detached; /* its thread had not left when the runtime was stopped */
    bool started;  /* on_start has returned 0 */
    int open_rc;
    bool opened; /* open_rc and diag are valid */
    bool ready;  /* start_rc is valid */
    int start_rc;
    struct plx_diag diag;
    pthread_t thread;
    struct plx__stack stack; /* goes when the thread was joined */
    struct plx_arena arena;
    char pin_note[192];
    char stack_note[96];
    int wake_fd; /* of a reactor that sleeps; -1: none */
} PLX_ALIGNED(2 * PLX_CACHE_LINE);

struct plx__port_place;

struct plx_runtime {
    /* Read-mostly. */
    struct plx_settings settings;
    struct plx_runtime_opts opts;
    const struct plx_machine *machine;
    struct plx_machine *own_machine; /* NULL when it was given */
    struct plx_plan *plan;
    struct plx__slot *slots;
    struct plx__port_place **ports; /* NULL where none was made yet; guarded by the lock */
    uint32_t count;
    double ticks_per_ns;
    struct plx__sim_world *world; /* NULL: this host's kernel */
    /* Written by stop, read by every turn. */
    PLX_ATOMIC(uint32_t) phase PLX_ALIGNED(PLX_CACHE_LINE);
    PLX_ATOMIC(uint32_t) ended; /* how many reactors have ended or were given up */
    PLX_ATOMIC(uint32_t) stop_requested;
    pid_t pid; /* of the process that it works in; a forked child has none of its memory */
    /* Cold. */
    pthread_mutex_t lock PLX_ALIGNED(PLX_CACHE_LINE);
    pthread_cond_t changed;
    sem_t stop_signal;
    bool go;    /* all are open: run on_start and turn */
    bool abort; /* some did not open: end at once */
    bool was_started;
    /* The stop's answer, which each later one repeats. */
    int64_t late;              /* the reactor that it names; -1: all have ended */
    uint64_t late_ns;          /* the time they had */
    struct plx__keeper *keeper; /* guarded by the lock; NULL: none */
    uint32_t said_count;
    char said[PLX__SAID_MAX][160];
};

/*
 * In runtime.c: reactors that are adopted from here on live in `world`, which outlives them; none
 * is started on a thread of its own. Set-up, by the thread that adopts them.
 */
void plx__runtime_use_world(struct plx_runtime *runtime, struct plx__sim_world *world);

/* In runtime.c: a plx__mesh_find_fn; `ctx` is the runtime. Any thread. */
int plx__runtime_find(struct plx__road *road, uint32_t to, uint32_t from, void *ctx);

/* In runtime.c: the reactor's life ends, as PLX__SLOT_ENDED or _LEAKED; its peers and ports notice.
 */
void plx__slot_end(struct plx__slot *slot, enum plx__slot_life life);

/* In ports.c. */
int plx__ports_init(struct plx_runtime *runtime) PLX_MUST_CHECK;
void plx__ports_fini(struct plx_runtime *runtime);
/* The ring from reactor `from` to a port that has called it. */
struct plx_cells *plx__ports_answer(const struct plx_runtime *runtime, uint32_t port,
                                    uint32_t from);

/* In runtime.c: of a running reactor that may sleep; else NULL. */
struct plx__wake *plx__runtime_wake_of(struct plx__slot *slot);
/* In runtime.c: wakes all reactors that sleep. Any thread. */
void plx__runtime_rouse(struct plx_runtime *runtime);

/*
 * In stack.c: makes a stack of the usual size whose pages come from `node`. What could not be had
 * is written to `note`, or is an error when `bind` is require: what mmap, mprotect, mbind or
 * madvise said, with `diag` naming the node. Nothing is left behind then.
 */
int plx__stack_init(struct plx__stack *stack, int node, enum plx_want bind, char *note,
                    size_t note_bytes, struct plx_diag *diag) PLX_MUST_CHECK;
/* Only when its thread has been joined; on a zeroed one it does nothing. */
void plx__stack_fini(struct plx__stack *stack);

/*
 * In reactor_pool.c: makes the reactor's pool of its share of the arena, after all that comes
 * first was carved. 0, or -ENOMEM with `diag` naming POLLUX_ARENA_SIZE.
 */
int plx__reactor_pool_open(struct plx_reactor *r, struct plx_diag *diag) PLX_MUST_CHECK;
/* A plx_post_fn: a block that was released on another reactor has come home. */
void plx__reactor_take_home(struct plx_reactor *here, const void *body);

/* In opening.c: says a line to the log once in the life of the runtime. Any thread. */
void plx__runtime_say_once(struct plx_runtime *runtime, const char *text);
/* In opening.c: opens the reactor of slot `index`, which is claimed, on this thread. */
int plx__reactor_open(struct plx_runtime *runtime, uint32_t index, bool adopted,
                      struct plx_diag *diag);
/* In lifecycle.c: takes the drained reactor's ring down. */
void plx__reactor_close(struct plx__slot *slot);

#endif
