/* SPDX-License-Identifier: MIT */
/* An echo as a user would write it, with back-pressure, that counts what it was told. */
#ifndef POLLUX_TEST_NET_ECHO_H
#define POLLUX_TEST_NET_ECHO_H

#include "net/tcp.h"

/* What all streams of a listener together were told. */
struct net_echo {
    uint32_t flags; /* of the writes: PLX_QUEUED or PLX_INLINE */
    uint32_t accepts;
    uint32_t connects;
    uint32_t closes;
    uint32_t writables;
    uint32_t live;
    int reason;       /* of the last close */
    uint64_t bytes;   /* came in */
    size_t queue_max; /* the longest queue seen */
    bool late_call;   /* anything after on_close */
    struct plx_tcp *last;
};

extern const struct plx_tcp_handler net_echo_handler;

#endif
