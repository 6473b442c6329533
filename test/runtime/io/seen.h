/* SPDX-License-Identifier: MIT */
/* Ops that note their events, and descriptors to try them on; for the tests of all backends. */
#ifndef POLLUX_TEST_SEEN_H
#define POLLUX_TEST_SEEN_H

#include <netinet/in.h>

#include "runtime/io/op_socket.h"

#define SEEN_MAX 64u

/* An op and the events it had. Zeroed, it is ready to be prepared. */
struct seen {
    struct plx_op op;
    unsigned events;
    unsigned terminals;
    struct plx_event event[SEEN_MAX];
    unsigned order; /* of its terminal event among all of this case */
};

/* The callback; `ctx` is the struct seen. Asserts that nothing follows a terminal event. */
void seen_note(struct plx_op *op, const struct plx_event *event, void *ctx);

/* No callback may run between these two; around each submit and cancel. */
void seen_forbid(void);
void seen_allow(void);
/* For callbacks other than seen_note. */
void seen_assert_allowed(void);

/* Starts the counting of `order` anew. */
void seen_reset(void);

/* Asserts that its one event was terminal and had `result`. */
void seen_expect(const struct seen *seen, int32_t result);
/* Asserts that it is on its way and had no event. */
void seen_expect_waiting(const struct seen *seen);

/* Descriptors by plain calls; each asserts that it works. */
void make_pair(int type, int pair[2]);
/* Two ends of a TCP connection over loopback. */
void make_tcp_pair(int pair[2]);
/* A TCP listener on loopback and its address. */
int make_listener(struct sockaddr_in *addr, int backlog);
/* A listener whose queue is full, so that a connect hangs; `filler` is what fills it. */
int make_full_listener(struct sockaddr_in *addr, int *filler);
/* A connected client, by a blocking connect. */
int make_client(const struct sockaddr_in *addr);
/* Writes into `fd` until it would block; returns how many bytes it took. Leaves it blocking. */
size_t fill_socket(int fd);
void put_text(int fd, const char *text);
/* Whether `fd` names something open. */
bool is_open(int fd);
unsigned count_descriptors(void);

#endif
