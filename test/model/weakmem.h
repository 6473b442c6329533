/* SPDX-License-Identifier: MIT */
/*
 * A weakly ordered memory in miniature, and a walk through everything that a few threads may do on
 * it: for tests that show a lock-free structure right, and each of its memory orders needed.
 *
 * Words. A *place* is an address that threads share. An atomic place keeps all *messages* ever
 * stored to it. A *view* says, for each place, which message a thread knows of at least, and for
 * each other thread how far its plain accesses are known to be over. A load may take any message
 * that is not older than the thread's view of the place; a release store attaches the thread's view
 * to its message; an acquire load that takes the message joins that view to its own. A
 * read-modify-write takes the newest message, and its own message keeps that one's view besides: it
 * continues the release sequence. A plain access that isn't ordered after the other threads'
 * conflicting ones is a race, and a race is a violation, whatever value came of it.
 *
 * A *site* is one access in the source, named by its line; one may be *weakened*: its order is then
 * relaxed. An access that both acquires and releases is two sites, of which the line names the
 * acquiring one and its negative the releasing one.
 *
 * What it doesn't show: loads that see stores which their own thread's later stores caused (load
 * buffering), which no processor does to code like ours with dependent accesses; and, where several
 * threads store to one place, orders of these stores other than the one they were executed in.
 * A compare-exchange fails only when the newest message is not what was expected, and takes that.
 * Fences and sequential consistency have no functions here yet.
 *
 * To use it, a test includes first weakmem_access.h, which puts these functions in place of the
 * accesses of base.h, and then the header under test.
 *
 * Threads: the simulated threads are run by turns on one; nothing here is for use by several.
 */
#ifndef POLLUX_TEST_WEAKMEM_H
#define POLLUX_TEST_WEAKMEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WM_THREADS_MAX 3
#define WM_SITES_MAX   32

enum wm_order { WM_RELAXED, WM_ACQUIRE, WM_RELEASE, WM_ACQ_REL };

struct wm_program {
    /* Makes the structure anew before each execution, by ordinary accesses. */
    void (*set_up)(void *ctx);
    void (*threads[WM_THREADS_MAX])(void *ctx);
    int thread_count;
    /* Runs when all threads have ended, knowing all that they did; may be NULL. */
    void (*finish)(void *ctx);
    void *ctx;
    int weakened_site; /* a line, or a negative one; 0: none */
    uint64_t executions_max;
};

struct wm_result {
    uint64_t executions;
    bool complete; /* every execution was tried, and none was a violation */
    bool violated;
    char violation[160];
    /* The sites met whose order is stronger than relaxed, by line. */
    int sites[WM_SITES_MAX];
    int site_count;
};

/*
 * Why nothing can be explored in this build, or NULL: ThreadSanitizer's stack of calls overflows
 * when executions are left half-way so often.
 */
const char *wm_unusable(void);

/* Runs every execution of the program, to the first violation. */
void wm_explore(const struct wm_program *program, struct wm_result *result);

/* Inside a program's threads and its `finish`: */

uint64_t wm_load(const void *place, size_t bytes, enum wm_order order, int site);
void wm_store(void *place, size_t bytes, uint64_t value, enum wm_order order, int site);

/* Read-modify-writes: each returns what was there before. */
uint64_t wm_exchange(void *place, size_t bytes, uint64_t value, enum wm_order order, int site);
uint64_t wm_fetch_add(void *place, size_t bytes, uint64_t value, enum wm_order order, int site);
/*
 * Stores `value` if what is there equals `expected`, which the caller compares with the result.
 * `order` is that of success; a failure is a load, acquire if `order` has that, else relaxed.
 */
uint64_t wm_compare_exchange(void *place, size_t bytes, uint64_t expected, uint64_t value,
                             enum wm_order order, int site);

/* Plain accesses to a word. */
uint64_t wm_read(const uint64_t *place);
void wm_write(uint64_t *place, uint64_t value);

/* Ends the execution as a violation unless the condition holds. */
void wm_check(bool condition, const char *text);

/*
 * At the end of `set_up`: this atomic place is stored and loaded by one thread alone, so that its
 * accesses are no points at which another's turn may come. An access by a second is a violation.
 */
void wm_private(const void *place, size_t bytes);

/*
 * At the end of `set_up`: accesses to this atomic place are no points at which another's turn may
 * come, and loads of it take the newest message. For counts that decide nothing, and to leave out
 * of one test what another one is about.
 */
void wm_quiet(const void *place, size_t bytes);

#endif
