/* SPDX-License-Identifier: MIT */
/*
 * What the two files of the uring backend share: its object, and the tags of completions.
 *
 * The rings are liburing's (it sets them up and maps them), but entries are taken and shown here:
 * the index array is the identity once and for all, the kernel's head is looked at only when the
 * ring seems full, and one exchange publishes all of a turn.
 */
#ifndef POLLUX_URING_INTERNAL_H
#define POLLUX_URING_INTERNAL_H

#include <liburing.h>

#include "runtime/io/io_internal.h"

/* Entries of the submission ring that only cancels may use. */
#define URING_RESERVE 4u

/* Completion entries per submission entry: multishots answer many times. */
#define URING_CQ_FACTOR 4u

/* Without CANCEL_ANY every op in flight is remembered, up to so many. */
#define URING_TRACK_MAX 65536u

/* user_data is an op's address, or one of these. */
#define URING_TAG_MASK     7u
#define URING_TAG_INTERNAL 1u /* an answer that nobody waits for: of a cancel */

struct uring {
    struct plx__io io;
    struct io_uring ring;
    /* Owner's, hot. */
    unsigned sq_tail;      /* entries filled */
    unsigned sq_shown;     /* entries that the kernel was shown */
    unsigned sq_head_seen; /* the kernel's head when last looked at */
    unsigned sq_entries;
    unsigned sq_mask;
    bool sqpoll;
    bool enter_registered;
    struct plx_op *late; /* cancels that wait for an entry, by link */
    /* Without CANCEL_ANY: what is in flight; an op's `result` holds its slot. */
    struct plx_op **track;
    uint32_t track_count;
    void *group_rings[PLX_GROUPS_MAX];
};

/* In uring.c. */
extern const struct plx__io_ops plx__uring_ops;
/* Enters the kernel; returns its answer or negative errno, EINTR retried. Counts the entry. */
int plx__uring_enter(struct uring *u, unsigned to_submit, unsigned min_complete, unsigned flags);

/* In uring_setup.c. */
int plx__uring_group_open(struct plx__io *io, uint16_t index);
void plx__uring_close(struct plx__io *io);

#endif
