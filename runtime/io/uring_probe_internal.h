/* SPDX-License-Identifier: MIT */
/*
 * Whether a ring's kernel knows something, found out by asking for it. Each takes a ring on which
 * nothing else is under way, leaves it as it was, and returns 0 or the negative errno of the
 * refusal.
 *
 * Threads: the ring's.
 */
#ifndef POLLUX_URING_PROBE_INTERNAL_H
#define POLLUX_URING_PROBE_INTERNAL_H

#include <liburing.h>

/* Whether entries get through at all. */
int plx__probe_nop(struct io_uring *ring);
/* Whether an opcode is known. */
int plx__probe_opcode(struct io_uring *ring, unsigned opcode);
int plx__probe_send_zc(struct io_uring *ring);
int plx__probe_sendmsg_zc(struct io_uring *ring);
int plx__probe_msg_ring(struct io_uring *ring);
int plx__probe_multishot_accept(struct io_uring *ring);
int plx__probe_multishot_recv(struct io_uring *ring);
int plx__probe_multishot_recvmsg(struct io_uring *ring);
int plx__probe_buffer_ring(struct io_uring *ring);
/* Cancelling all that is in flight, or all of one descriptor, by one entry. */
int plx__probe_cancel_any(struct io_uring *ring);
int plx__probe_cancel_fd(struct io_uring *ring);

#endif
