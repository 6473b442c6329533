/* SPDX-License-Identifier: MIT */
/* A handler that counts what one stream is told, checks the order, and acts as a test says. */
#ifndef POLLUX_TEST_NET_PROBE_H
#define POLLUX_TEST_NET_PROBE_H

#include "net/tcp.h"

enum net_event {
    NET_ACCEPT,
    NET_CONNECT,
    NET_DATA,
    NET_WRITABLE,
    NET_EXPIRED,
    NET_CLOSE,
    NET_EVENTS
};

struct net_probe {
    struct plx_tcp *stream; /* NULL before the first and after the last event */
    uint32_t told[NET_EVENTS];
    int reason;
    uint64_t bytes; /* came in */
    uint64_t expired_bytes;
    bool checks_pattern; /* what comes in is net_pattern from 0 on */
    bool broken;         /* it was not, or a callback came before the first or after the last */
    /* Called at the end of each callback; NULL: nothing. */
    void (*act)(struct net_probe *probe, enum net_event event);
    void *world; /* for `act` */
    uint64_t sent;
    bool paused;
};

extern const struct plx_tcp_handler net_probe_handler;

#endif
