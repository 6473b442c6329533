/* SPDX-License-Identifier: MIT */
/*
 * The runtime: the set of reactors that a plan places on this machine, their beginning and end.
 *
 * Two ways to run a reactor. plx_runtime_start makes a pinned thread for each. plx_reactor_adopt
 * gives one to the calling thread, which polls it in a loop of its own. The first is built on the
 * second; one runtime may use both.
 *
 * Nothing is global: several runtimes may live in one process. A forked child has nothing of a
 * runtime: it may exec, exit or live on without it; what it calls here is refused or does nothing.
 *
 * Threads: create, start, stop and destroy by one thread that is no reactor; the rest as it says.
 */
#ifndef POLLUX_RUNTIME_H
#define POLLUX_RUNTIME_H

#include "alloc/base.h"
#include "runtime/place/machine.h"
#include "runtime/place/plan.h"
#include "runtime/reactor.h"
#include "runtime/settings/settings.h"

PLX_EXTERN_C_BEGIN

/* Receives what the library has to say; it writes to no stream itself. Set-up and rare events only.
 */
typedef void (*plx_log_fn)(enum plx_log_level level, const char *text, void *ctx);

/* Options of a runtime; fill by plx_runtime_opts_init, then change. */
struct plx_runtime_opts {
    /* The machine to plan for; NULL: this one is read. Borrowed until plx_runtime_destroy. */
    const struct plx_machine *machine;
    /* On each started reactor's thread before its first turn. Negative: the start fails with it. */
    int (*on_start)(struct plx_reactor *reactor, void *ctx);
    /* On each started reactor's thread after its last turn, before its memory goes. */
    void (*on_stop)(struct plx_reactor *reactor, void *ctx);
    plx_log_fn log; /* NULL: nothing is said. May be called by any thread of the runtime. */
    void *ctx;      /* for the three above */
    uint32_t deny;  /* PLX_CAP_ bits to treat as missing */
    /*
     * Whether plx_runtime_start takes SIGINT and SIGTERM, those of them that the process has left
     * at their default: it blocks them in the calling thread until plx_runtime_stop, and the first
     * becomes plx_runtime_request_stop; a second one ends the process. Threads made before, and
     * children that are to be stopped by them, do not know of it: start first, or decline.
     */
    bool take_signals; /* by default true */
    /*
     * Whether, from the first task on, a handler for SIGSEGV names the task whose stack has
     * overflowed in a line on standard error, and goes on to the handler or the default that it
     * found; the threads that run tasks get an alternate stack (sigaltstack(2)) where they have
     * none.
     */
    bool name_overflows; /* by default true */
};

PLX_API void plx_runtime_opts_init(struct plx_runtime_opts *opts);

/*
 * Reads the machine and makes the plan. No thread, no ring, no arena yet.
 * Ownership: `settings` is copied (NULL: defaults and the environment); `opts` is copied (NULL:
 * defaults). Cost: set-up, some ms. Errors: as of plx_machine_create and plx_plan_create; -EINVAL a
 * field of `settings` that was written directly is out of its range; -ENOMEM.
 */
PLX_API PLX_MUST_CHECK int plx_runtime_create(const struct plx_settings *settings,
                                              const struct plx_runtime_opts *opts,
                                              struct plx_runtime **out, struct plx_diag *diag);

/*
 * Starts a pinned thread for every reactor of the plan that is not adopted, all signals blocked but
 * the fatal ones, and returns when each has its ring and memory and has run on_start. On an error
 * nothing is left running. Cost: set-up. Errors: -EXDEV the plan is for another machine; -EBUSY
 * started before, whether that went well or not; -ESHUTDOWN stopped before; -EPERM in a forked
 * child; what pinning, arena, ring or on_start met, with `diag` naming it.
 */
PLX_API PLX_MUST_CHECK int plx_runtime_start(struct plx_runtime *runtime, struct plx_diag *diag);

/*
 * Asks for the end: plx_runtime_wait returns, reactors that sleep wake once, and their owners can
 * see it. Any thread, signal handlers too.
 */
PLX_API void plx_runtime_request_stop(struct plx_runtime *runtime);
PLX_API bool plx_runtime_is_stopping(const struct plx_runtime *runtime);

/*
 * Sleeps until a stop was requested (0) or `within_ns` passed (-ETIMEDOUT). UINT64_MAX: no limit.
 * Any thread but a reactor's.
 */
PLX_API int plx_runtime_wait(struct plx_runtime *runtime, uint64_t within_ns);

/*
 * Ends all started reactors in three phases with a barrier between: nothing new is admitted; what
 * is in flight is cancelled and what was posted arrives; all is taken down. Streams get their
 * on_close. Adopted reactors take part while their threads poll them, and leave by
 * plx_reactor_abandon. Returns 0, or, up to a second after `within_ns`, -ETIMEDOUT when some
 * reactor did not come along in time: `diag` names it (one that owes answers to calls before those
 * that wait for them), the others have ended, their calls to it being lost, and its memory is never
 * used again. A task that held it up is named, too. A second call does nothing and answers the
 * same.
 */
PLX_API PLX_MUST_CHECK int plx_runtime_stop(struct plx_runtime *runtime, uint64_t within_ns,
                                            struct plx_diag *diag);

/*
 * Frees everything; nothing when a reactor has not ended, since that may still look at any of it.
 * After plx_runtime_stop, with no adopted reactor left; NULL is harmless.
 */
PLX_API void plx_runtime_destroy(struct plx_runtime *runtime);

/*
 * Gives reactor `index` of the plan to the calling thread. Its affinity is checked, never changed:
 * with POLLUX_PIN=require it must be exactly the planned core, with `try` another is recorded. Its
 * signal mask is its own: block or ignore SIGPIPE if ops write to pipes (plx_op_write).
 * Errors: -EINVAL no such reactor, or affinity; -EBUSY it is running or has run; -EXDEV and
 * -ESHUTDOWN as plx_runtime_start; -EAGAIN it shares the SQ thread of a reactor that is not running
 * yet; what arena or ring met.
 */
PLX_API PLX_MUST_CHECK int plx_reactor_adopt(struct plx_runtime *runtime, uint32_t index,
                                             struct plx_reactor **out, struct plx_diag *diag);

/*
 * Ends an adopted reactor, on the thread that adopted it and not from a callback: cancels and
 * drains what is in flight, runs the callbacks due, sends home the blocks of its peers that wait
 * for it, waits for the answers to its calls and to those it has taken (peers that are not polled
 * may keep it waiting), and takes the ring down. Its memory stays until plx_runtime_destroy. Soon
 * afterwards, when it clears the ring away, the kernel may interrupt a blocking call of this thread
 * (EINTR, in calls that are not begun again by themselves: signal(7)). Returns 0, or -ETIMEDOUT
 * when something did not end within `within_ns`: that memory is then never reused or freed, and
 * its calls in flight have ended as PLX_CALL_LOST, in here.
 */
PLX_API PLX_MUST_CHECK int plx_reactor_abandon(struct plx_reactor *reactor, uint64_t within_ns);

/* --- inspection: any thread, from create to destroy ------------------------------------------- */

PLX_API const struct plx_machine *plx_runtime_machine(const struct plx_runtime *runtime);
PLX_API const struct plx_plan *plx_runtime_plan(const struct plx_runtime *runtime);
PLX_API const struct plx_settings *plx_runtime_settings(const struct plx_runtime *runtime);
/* Reactors of the plan. */
PLX_API uint32_t plx_runtime_count(const struct plx_runtime *runtime);
/* Reactor `index`, or NULL while it is not running. */
PLX_API struct plx_reactor *plx_runtime_reactor(const struct plx_runtime *runtime, uint32_t index);

PLX_EXTERN_C_END

#endif
