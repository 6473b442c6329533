/* SPDX-License-Identifier: MIT */
/*
 * Calls to other reactors in straight lines: runtime/mesh/call.h, in a task.
 *
 * Threads: the one that polls the reactor, in tasks.
 */
#ifndef POLLUX_AWAIT_CALL_H
#define POLLUX_AWAIT_CALL_H

#include "runtime/mesh/call.h"
#include "runtime/sched/task.h"

PLX_EXTERN_C_BEGIN

/*
 * Runs `fn` on reactor `to` with a copy of `body`, and waits for its answer: `answer` (NULL: not
 * wanted) gets PLX_CALL_BYTES bytes. Returns its result. Without room or credit it yields and tries
 * again. Cancel: before it was sent, -ECANCELED; then it is waited for to its end, as what the body
 * points to may lie on the task's stack. Cost: hot; of the call, and two switches.
 * Errors, beside those that `fn` answers: -EDEADLK outside of a task; -EINVAL, -ESHUTDOWN as of
 * plx_mesh_call; -EOWNERDEAD the call is lost: what its body points to must never be reused.
 */
PLX_API PLX_MUST_CHECK int plx_await_call(uint32_t to, plx_call_fn fn, const void *body,
                                          size_t bytes, void *answer);

PLX_EXTERN_C_END

#endif
