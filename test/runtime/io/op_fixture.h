/* SPDX-License-Identifier: MIT */
/*
 * Runs the same cases over every backend, both kinds of ring, and rings with one feature denied:
 * a *world* is one adopted reactor in one *mode*, polled by the case.
 */
#ifndef POLLUX_TEST_OP_FIXTURE_H
#define POLLUX_TEST_OP_FIXTURE_H

#include <sched.h>

#include "runtime/runtime.h"
#include "test/runtime/io/seen.h"

struct CMUnitTest;

struct mode {
    const char *name;
    const char *backend;
    const char *sqpoll;
    const char *runs_as; /* what plx_reactor_mode says */
    uint32_t deny;       /* PLX_CAP_ bits */
};

struct world {
    const struct mode *mode;
    struct plx_runtime *runtime;
    struct plx_reactor *reactor; /* NULL once it was abandoned */
    bool is_epoll;
    struct plx__sim_world *sim; /* NULL: its descriptors are the kernel's */
    unsigned descriptors_before;
    cpu_set_t cpus_before; /* on which this thread may run */
};

/* Set-up and teardown of a case. *state becomes a struct world; the small one has 16 ring entries.
 * Teardown asserts that all ops ended, that the reactor does, and that no descriptor is left. */
int world_set_up(void **state);
int world_set_up_small(void **state);
int world_tear_down(void **state);

/* Opens and ends one by hand. */
void world_open(struct world *world, const struct mode *mode, const char *ring_entries);
void world_end(struct world *world);

/* Submits; asserts that it is taken and that no callback runs meanwhile. */
void world_submit(struct world *world, struct seen *seen);
/* Submits what may be refused for the lack of room. */
int world_try_submit(struct world *world, struct plx_op *op);
void world_cancel(struct world *world, struct seen *seen);

/* One turn; gives the core away when it was idle. Returns the work done. */
int world_turn(struct world *world);
/* Enough turns for whatever is ready to be noticed. */
void world_settle(struct world *world);
#define WORLD__UNTIL(world, done, turn)                                                            \
    do {                                                                                           \
        uint64_t world_deadline = plx_reactor_now_ns((world)->reactor) + 10000000000u;             \
        while (!(done)) {                                                                          \
            assert_true(plx_reactor_now_ns((world)->reactor) < world_deadline);                    \
            turn;                                                                                  \
        }                                                                                          \
    } while (0)

/* Turns until `done` is true; asserts that this takes less than ten seconds. */
#define WORLD_UNTIL(world, done) WORLD__UNTIL(world, done, world_turn(world))

/* Turns until `seen` has ended, and asserts that its one event had `result`. */
void world_expect(struct world *world, struct seen *seen, int32_t result);
/* Submits `seen` and expects. */
void world_run(struct world *world, struct seen *seen, int32_t result);
/* Closes by an op, and waits for it. */
void world_close_fd(struct world *world, int fd);

/* Whether the mode has what the bits say. */
bool world_has(const struct world *world, uint32_t caps);

/* Skips the case in the simulated world, which lacks `what`. */
void world_need_kernel(const struct world *world, const char *what);

/* A case for run_modes. */
#define WORLD_CASE(function)                                                                       \
    cmocka_unit_test_setup_teardown(function, world_set_up, world_tear_down)
#define WORLD_CASE_SMALL(function)                                                                 \
    cmocka_unit_test_setup_teardown(function, world_set_up_small, world_tear_down)

/* Runs the cases in every mode that this machine has; what is left out is said. For main. */
int run_modes(const struct CMUnitTest *cases, size_t count);
/* The same without the simulated world: for cases with plain calls of their own. */
int run_kernel_modes(const struct CMUnitTest *cases, size_t count);

/* The modes, ended by one without a name. */
extern const struct mode modes[];

#endif
