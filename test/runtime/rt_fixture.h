/* SPDX-License-Identifier: MIT */
/*
 * Small runtimes for the tests of reactors and runtimes: settings as words, the host's CPUs or
 * made-up ones, waiting with a deadline, and what of the process is to be as it was before.
 */
#ifndef POLLUX_TEST_RT_FIXTURE_H
#define POLLUX_TEST_RT_FIXTURE_H

#include "runtime/runtime.h"

#define RT_PATIENCE_NS 20000000000u

/*
 * Fills `settings` with what suits a test (one reactor, an arena of 2 MiB in plain pages, not
 * pinned, not locked, no SQPOLL, yielding when idle), and then with `words`: "reactors=2 pin=try".
 */
void rt_settings(struct plx_settings *settings, const char *words);

/*
 * A machine of four CPUs on one node that counts as this system, though threads are not to be
 * pinned on it: for several reactors, and SQ threads, on any host. Static.
 */
const struct plx_machine *rt_four_cpus(void);

/* Creates a runtime on rt_four_cpus, unless `opts` has a machine. Asserts that it works. */
struct plx_runtime *rt_create(const char *words, const struct plx_runtime_opts *opts);
struct plx_reactor *rt_adopt(struct plx_runtime *rt, uint32_t index);
void rt_start(struct plx_runtime *rt);
/* Stops in time, and destroys. */
void rt_finish(struct plx_runtime *rt);
/* Abandons in time. */
void rt_abandon(struct plx_reactor *reactor);

uint64_t rt_now_ns(void);
/* Leaves the core to others for a moment, between two looks at what is waited for. */
void rt_pause(void);

#define RT__UNTIL(condition, meanwhile)                                                            \
    do {                                                                                           \
        uint64_t rt_until_ns = rt_now_ns() + RT_PATIENCE_NS;                                       \
        while (!(condition)) {                                                                     \
            if (rt_now_ns() > rt_until_ns)                                                         \
                fail_msg("%s did not come", #condition);                                           \
            meanwhile;                                                                             \
        }                                                                                          \
    } while (0)

/* Waits until `condition`; asserts that it comes. */
#define RT_UNTIL(condition) RT__UNTIL(condition, rt_pause())
/* The same, with a turn of `reactor` each time. */
#define RT_TURN_UNTIL(reactor, condition) RT__UNTIL(condition, plx_reactor_poll(reactor))

/* What the process has: descriptors, threads, mappings of rings. */
struct rt_things {
    int descriptors;
    int threads;
    int rings;
};
struct rt_things rt_count_things(void);
/* Asserts that there are as many as before, as soon as the kernel has cleared up. */
void rt_expect_things(const struct rt_things *before);
/* Bytes of address space that the process has mapped. */
uint64_t rt_mapped_bytes(void);

/* Lines that a log or an explanation has given; any thread may add. */
#define RT_LINES_MAX 64
struct rt_lines {
    PLX_ATOMIC(uint32_t) count;
    char text[RT_LINES_MAX][512];
};
/* A text sink; its context is a struct rt_lines. */
void rt_keep_line(const char *line, void *ctx);
/* How many lines hold `text`. */
unsigned rt_lines_with(const struct rt_lines *lines, const char *text);

/* Whether this was built with a sanitizer, whose own calls and mappings would be counted. */
bool rt_is_sanitized(void);

/* Skips the case, with the reason, where io_uring is refused. */
void rt_need_uring(void);

/* How many CPUs this process may run on. */
unsigned rt_cpus_allowed(void);

#endif
