/* SPDX-License-Identifier: MIT */
/* What the tests of the epoll backend share: one opened directly beneath the seam. */
#ifndef POLLUX_TEST_EPOLL_FIXTURE_H
#define POLLUX_TEST_EPOLL_FIXTURE_H

#include "runtime/io/io_internal.h"
#include "test/runtime/io/seen.h"

/* Opens a backend on an arena of 2 MiB, which is there since epoll_set_up. */
int epoll_open_plain(struct plx__io **out, struct plx_diag *diag);

/* For cmocka: *state is a struct plx__io. Tearing down asserts that nothing is in flight. */
int epoll_set_up(void **state);
int epoll_tear_down(void **state);

/* Submits; asserts that it is taken and that no callback runs meanwhile. */
void io_submit(struct plx__io *io, struct seen *seen);

/* Closes through the backend, so that what it knows of the descriptor goes too. */
void io_close(struct plx__io *io, int fd);

#endif
