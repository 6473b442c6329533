/* SPDX-License-Identifier: MIT */
/*
 * How much something is wanted: the answer to "what if the machine cannot give it?". The settings,
 * the arena and the pinning of threads all use this one scale.
 *
 * Threads: plain constants, for any thread.
 */
#ifndef POLLUX_WANT_H
#define POLLUX_WANT_H

enum plx_want {
    PLX_WANT_NO,     /* do not even try */
    PLX_WANT_TRY,    /* try; on refusal go on without it, and report what was degraded */
    PLX_WANT_REQUIRE /* try; refusal is an error that names it */
};

#endif
