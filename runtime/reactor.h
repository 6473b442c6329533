/* SPDX-License-Identifier: MIT */
/*
 * The reactor: one thread on one core, the one owner of all it touches.
 *
 * Words. A *turn* is one call of plx_reactor_poll: messages of the mesh in, completions of I/O,
 * pollers, timers due, ready tasks, waiters of the pool, submissions out, each bounded. A turn
 * without work is *idle*. A *poller* is a function called in every turn, for what can only be found
 * by looking (a hot socket).
 *
 * Threads: all functions are for the thread that polls the reactor, unless they say otherwise.
 */
#ifndef POLLUX_REACTOR_H
#define POLLUX_REACTOR_H

#include "alloc/arena.h"
#include "alloc/base.h"
#include "alloc/bytes.h"
#include "alloc/pool.h"
#include "runtime/io/caps.h"
#include "runtime/io/group.h"
#include "runtime/io/op_file.h"
#include "runtime/io/op_socket.h"
#include "runtime/mesh/call.h"
#include "runtime/mesh/mesh.h"
#include "runtime/sched/task.h"
#include "runtime/sched/timer.h"

PLX_EXTERN_C_BEGIN

struct plx_reactor;
struct plx_runtime;
struct plx_poller;

/* --- turns ------------------------------------------------------------------------------------ */

/*
 * Runs one turn. Returns the work it did (0: idle). Never blocks. Cost: hot; no allocation, no
 * lock; a system call only to submit on a ring without SQPOLL, to collect completions that the
 * kernel has announced, for hot sockets, and on the epoll backend. Errors: -EDEADLK called from a
 * callback.
 */
PLX_API int plx_reactor_poll(struct plx_reactor *reactor);

/*
 * What the idle policy says to do between turns without work: a pause of the core (spin), during
 * which it leaves a line that a peer is about to write with that peer; sched_yield(2); or a sleep
 * (block; adaptive, once POLLUX_SPIN_TIME has passed without work) from which whatever comes wakes
 * it: an event of an op, a timer, a message of a peer or a port, the runtime's end, once a request
 * for it. It does not sleep while a poller is armed that has no watch. Cost: of a sleep, two or
 * three system calls, and some us to wake up.
 */
PLX_API void plx_reactor_idle(struct plx_reactor *reactor);

/*
 * For a loop of another library that waits in poll(2) or the like: the descriptor that shows POLLIN
 * when the reactor has to be polled again, if plx_reactor_prepare_wait was called before. Static
 * for the reactor's life. Errors: -EOPNOTSUPP the idle policy is spin or yield: nobody would wake
 * it.
 */
PLX_API int plx_reactor_fd(const struct plx_reactor *reactor);

/*
 * Before such a wait, after turns without work: announces it to whoever brings something. Returns
 * for how many ns to wait at the most (INT64_MAX: without limit); 0: there is work, do not wait but
 * poll. Then call plx_reactor_poll in any case. Errors: -EOPNOTSUPP as plx_reactor_fd.
 */
PLX_API PLX_MUST_CHECK int64_t plx_reactor_prepare_wait(struct plx_reactor *reactor);

/* Shows the kernel what was submitted so far, rather than at the turn's end. */
PLX_API void plx_reactor_flush(struct plx_reactor *reactor);

/* The reactor whose turn this thread is in; NULL outside of one. Any thread. */
PLX_API struct plx_reactor *plx_reactor_self(void);

/* --- pollers ---------------------------------------------------------------------------------- */

/* Called once a turn. Returns the work it did, 0 for none; must be bounded. */
typedef uint32_t (*plx_poller_fn)(struct plx_poller *poller, void *ctx);

/* Zeroed is a disarmed poller. The fields are the runtime's. */
struct plx_poller {
    struct plx_poller *next;
    struct plx_poller *prev;
    plx_poller_fn fn;
    void *ctx;
    bool armed;
    bool watched;
};

/* From the next turn on at the latest, `fn` is called in each. `poller` stays in place until
 * disarmed. O(1). */
PLX_API void plx_poller_arm(struct plx_reactor *reactor, struct plx_poller *poller,
                            plx_poller_fn fn, void *ctx);

/*
 * Tells what an armed poller looks at: `fd` showing one of `bits` (POLLIN …). A reactor that may
 * sleep is woken by it; until a poller has said so, its reactor does not sleep. Ends with the
 * disarming; plx_op_close of `fd` waits for that. Errors: -ENOSPC more than POLLUX_HOT_MAX + 16:
 * the reactor does not sleep while it is armed.
 */
PLX_API PLX_MUST_CHECK int plx_poller_watch(struct plx_reactor *reactor, struct plx_poller *poller,
                                            int fd, uint32_t bits);

/* It is not called any more; allowed from inside any poller's function, its own too. O(1). */
PLX_API void plx_poller_disarm(struct plx_reactor *reactor, struct plx_poller *poller);

/* --- inspection ------------------------------------------------------------------------------- */

/*
 * The reactor's clock, CLOCK_MONOTONIC in ns, read anew; it never falls. It is told from the cycle
 * counter (PLX_CAP_TICK_CLOCK) and compared with the kernel's clock every 128 ms of use: off by
 * tens of ns, and by as much as the kernel changes the rate of its own clock in between, which is
 * 64 us in the worst case that adjtimex(2) allows and some ns with a quiet NTP. Where the counter
 * cannot be relied on, it is clock_gettime(2). Cost: hot; no system call but for that.
 */
PLX_API uint64_t plx_reactor_now_ns(struct plx_reactor *reactor);

/* Any thread. */
PLX_API uint32_t plx_reactor_index(const struct plx_reactor *reactor);
PLX_API int plx_reactor_cpu(const struct plx_reactor *reactor);
PLX_API int plx_reactor_node(const struct plx_reactor *reactor);
PLX_API uint32_t plx_reactor_caps(const struct plx_reactor *reactor); /* PLX_CAP_ bits in use */
PLX_API struct plx_runtime *plx_reactor_runtime(const struct plx_reactor *reactor);
/* "uring defer", "uring sqpoll", "uring coop", "uring plain" or "epoll". Static. */
PLX_API const char *plx_reactor_mode(const struct plx_reactor *reactor);

/* The reactor's memory on its node. Owner only; what is carved lives as long as the reactor. */
PLX_API struct plx_arena *plx_reactor_arena(struct plx_reactor *reactor);

/*
 * The reactor's buffers: a pool of three quarters of what its arena had left, divided by
 * plx_pool_quota_split. Send queues, groups and counted bytes come from it too. Owner only, but for
 * what alloc/pool.h gives to any thread; a block may be released to the pool of any reactor of this
 * runtime and goes home by the mesh, also while the runtime stops, as long as its home has not
 * ended. Waiters are called in each turn.
 */
PLX_API struct plx_pool *plx_reactor_pool(struct plx_reactor *reactor);

/* The pool's books of counted bytes: what a thread of this reactor makes and releases them with. */
PLX_API struct plx_bytes_home *plx_reactor_bytes(struct plx_reactor *reactor);

/*
 * Counters since the reactor began. Times are in ns; a turn's time counts from the end of the turn
 * before, so that one of an adopted reactor includes what its thread did in between. Those of ops
 * and kernel_entries are as of the last turn that did work.
 */
struct plx_reactor_stats {
    uint64_t turns;
    uint64_t busy_ns;         /* in turns that did work */
    uint64_t idle_ns;         /* in turns that did none */
    uint64_t longest_turn_ns; /* of turns that did work */
    uint64_t stalled_turns;   /* longer than POLLUX_STALL_THRESHOLD */
    uint64_t stalled_ns;      /* in those */
    uint64_t stall_reports;   /* backtraces told to the log (POLLUX_STALL_REPORT) */
    uint64_t ops_submitted;
    uint64_t ops_completed;  /* terminal events delivered */
    uint64_t ops_refused;    /* submits answered -EAGAIN */
    uint64_t kernel_entries; /* system calls of the backend to submit and collect */
    uint64_t posts_in;      /* messages: posts, calls, and answers to calls */
    uint64_t posts_out;     /* the same */
    uint64_t posts_refused; /* posts and broadcasts answered -EAGAIN */
    uint64_t posts_lost;    /* had arrived when the reactor ended, and were not called */
    uint64_t calls_in;      /* whose functions were run here */
    uint64_t calls_out;     /* taken here, those of remote ops included */
    uint64_t calls_refused; /* answered -EAGAIN */
    uint64_t calls_unrun;   /* that came here too late, or when the reactor was stopping */
    uint64_t sleeps;        /* times it slept, by its idle policy */
    uint64_t timers_fired;
    /* Of them, those fired more than POLLUX_STALL_THRESHOLD after their time; but not one armed for
     * a time that the timers' last look at the clock had passed. */
    uint64_t timers_late;
    uint64_t timer_periods_missed; /* of periodic timers: left out as a call came too late */

    uint64_t downgrades;  /* lines of plx_reactor_explain that tell of something not got */
    uint64_t hot_refused; /* streams that asked to be hot beyond POLLUX_HOT_MAX */
};

/*
 * Reads the counters. Any thread, until plx_runtime_destroy: each is one number read whole, but
 * they are not of one instant. Not hot: a few dozen loads that disturb the owner's lines.
 */
PLX_API void plx_reactor_read_stats(const struct plx_reactor *reactor,
                                    struct plx_reactor_stats *out);

/*
 * Tells `sink` in lines what the reactor runs on: core, node, backend, ring, memory, and for each
 * thing that was asked for and not got, what and why. Any thread, while the reactor lives.
 */
PLX_API void plx_reactor_explain(const struct plx_reactor *reactor, plx_text_fn sink, void *ctx);

PLX_EXTERN_C_END

#endif
