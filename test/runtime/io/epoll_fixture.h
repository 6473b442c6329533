/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the epoll backend share: one opened directly beneath the seam, and ops that
 * note their events.
 */
#ifndef POLLUX_TEST_EPOLL_FIXTURE_H
#define POLLUX_TEST_EPOLL_FIXTURE_H

#include "runtime/io/io_internal.h"

#define SEEN_MAX 64u

/* An op and the events it had. */
struct seen {
    struct plx_op op;
    unsigned events;
    unsigned terminals;
    struct plx_event event[SEEN_MAX];
    unsigned order; /* of its terminal event among all of this case */
};

/* The callback; `ctx` is the struct seen. */
void seen_note(struct plx_op *op, const struct plx_event *event, void *ctx);

/* Opens a backend on an arena of 1 MiB, which is there since epoll_set_up. */
int epoll_open_plain(struct plx__io **out, struct plx_diag *diag);

/* For cmocka: *state is a struct plx__io. Tearing down asserts that nothing is in flight. */
int epoll_set_up(void **state);
int epoll_tear_down(void **state);

/* Submits; asserts that it is taken and that no callback runs meanwhile. */
void seen_submit(struct plx__io *io, struct seen *seen);
/* Asserts that its one event was terminal and had `result`. */
void seen_expect(const struct seen *seen, int32_t result);
void seen_expect_waiting(const struct seen *seen);

/* Closes through the backend, so that what it knows of the descriptor goes too. */
void close_through(struct plx__io *io, int fd);

void make_pair(int type, int pair[2]);
void put_text(int fd, const char *text);

#endif
