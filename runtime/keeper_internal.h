/* SPDX-License-Identifier: MIT */
/*
 * The keeper: a thread beside the reactors that looks whether they still turn, says where one is
 * stuck while it is stuck, and takes SIGINT and SIGTERM. It sleeps nearly always, has no core of
 * its own and is never waited for by a reactor.
 *
 * Words. A reactor is *stuck* when it has been in one turn for POLLUX_STALL_REPORT. A *report* is
 * some lines to the log: who, for how long, how much of that on its CPU, and a backtrace that its
 * thread takes of itself in a signal handler. Of one turn there are reports at once, twice, four
 * times … the threshold; for turns after it at most one report a second and reactor, with the
 * number of those left out.
 *
 * The handler and the place that it writes to are the process's, one for all runtimes, since
 * signals are. It stays installed: one still on its way must not meet the default, which kills.
 *
 * Threads: started, and taken from its runtime, under the runtime's lock by those that start, adopt
 * and stop. Ended without it: it may be in opts.log, which may wait for who waits for the lock. So
 * there may be a new one before the last has ended, and nothing is shared by both but capture.
 */
#ifndef POLLUX_KEEPER_INTERNAL_H
#define POLLUX_KEEPER_INTERNAL_H

#include <pthread.h>
#include <signal.h>

#include "alloc/base.h"

struct plx_runtime;

/* What the keeper last saw of a reactor. Its own. */
struct plx__look {
    uint64_t turns;
    uint64_t since_ns; /* seen first in this turn */
    uint64_t cpu_ns;   /* its thread's time on a CPU by then */
    uint64_t next_ns;  /* how long the turn has to last for the next report */
    uint64_t told_ns;  /* when the last report was made; 0: none yet */
    uint64_t left_out;
};

struct plx__keeper {
    struct plx_runtime *runtime;
    bool watches;
    bool takes; /* SIGINT or SIGTERM */
    int wake_fd;
    int signal_fd;
    pthread_t thread;
    pthread_t taker; /* whose mask was changed */
    sigset_t taken;  /* what was changed in it */
    struct plx__look looks[];
};

/*
 * Starts the thread if there is something for it to do, and it does not run yet: reactors to watch
 * (POLLUX_STALL_REPORT is not inf, and there is a log), or, with `signals`, those to take. Signals
 * that the process does not leave at their default are not taken; the others are blocked in the
 * calling thread. 0, or what eventfd, signalfd or pthread_create said, with `diag` naming it.
 */
int plx__keeper_start(struct plx_runtime *runtime, bool signals,
                      struct plx_diag *diag) PLX_MUST_CHECK;
/* Takes the signals no longer; they are unblocked if the thread calls that had them blocked. */
void plx__keeper_give_back(struct plx_runtime *runtime);
/* Takes it from the runtime, under its lock: the caller is to end it. NULL when there is none. */
struct plx__keeper *plx__keeper_take(struct plx_runtime *runtime) PLX_MUST_CHECK;
/* Ends it, without the lock, and gives the signals back. NULL is none. */
void plx__keeper_end(struct plx__keeper *keeper);
/* Takes it and ends it; the caller does not hold the lock. */
void plx__keeper_stop(struct plx_runtime *runtime);

/* The signal that asks a thread for its backtrace; 0 while none is used. Any thread. */
int plx__keeper_signal(void);

#endif
