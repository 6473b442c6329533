/* SPDX-License-Identifier: MIT */
/* What the tests of the epoll backend share: one opened directly beneath the seam. */
#ifndef POLLUX_TEST_EPOLL_FIXTURE_H
#define POLLUX_TEST_EPOLL_FIXTURE_H

#include "runtime/io/io_internal.h"
#include "test/runtime/io/seen.h"

#include <sched.h>

#include "test/runtime/rt_fixture.h"

/* What epoll_open_plain opens with; as by default since epoll_set_up. */
extern struct plx_settings epoll_settings;
extern struct plx__io_config epoll_config;

/* Opens a backend on an arena of 2 MiB, which is there since epoll_set_up. */
int epoll_open_plain(struct plx__io **out, struct plx_diag *diag);

/* For cmocka: *state is a struct plx__io. Tearing down asserts that nothing is in flight. */
int epoll_set_up(void **state);
int epoll_tear_down(void **state);

/* Closes the backend of the case and opens it anew, with what epoll_settings say now. */
struct plx__io *epoll_reopen(void **state);

/* Collects and delivers until `condition`; asserts that it comes. */
#define IO_UNTIL(io, condition) RT__UNTIL(condition, plx__io_poll(io) == 0 ? sched_yield() : 0)

/* Submits; asserts that it is taken and that no callback runs meanwhile. */
void io_submit(struct plx__io *io, struct seen *seen);

/* Submits, waits for the end, and asserts the one event's result. */
void io_run(struct plx__io *io, struct seen *seen, int32_t result);

/* Closes through the backend, so that what it knows of the descriptor goes too. */
void io_close(struct plx__io *io, int fd);

#endif
