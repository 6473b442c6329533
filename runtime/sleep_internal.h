/* SPDX-License-Identifier: MIT */
/*
 * How a reactor does nothing: the idle policies, and what wakes one that sleeps.
 *
 * Words. A *watch* is a one-shot poll of a descriptor that a poller looks at: the poller finds by
 * looking, and nobody looks in a sleep. The ops are the reactor's, as they may outlast the poller.
 *
 * Threads: the owner.
 */
#ifndef POLLUX_SLEEP_INTERNAL_H
#define POLLUX_SLEEP_INTERNAL_H

#include "runtime/io/wake_internal.h"
#include "runtime/reactor.h"
#include "runtime/settings/settings.h"

struct plx__watch {
    struct plx_op op;
    struct plx_poller *poller; /* NULL: none; it is free when the op is not in flight either */
    int fd;
    uint32_t bits;
    bool in_flight;
};

struct plx__sleep {
    enum plx_idle idle;
    uint64_t spin_ticks;
    uint64_t busy_ticks; /* when a turn last did work */
    struct plx__watch *watches;
    uint32_t watch_count;
    uint32_t unwatched; /* armed pollers that have no watch */
    bool stop_told;     /* a requested stop has once kept it from sleeping */
};

/* Watches for as many pollers; from the arena. 0 or -ENOMEM. */
int plx__sleep_open(struct plx_reactor *r, uint32_t watches);

/* The poller is no longer armed: its watch ends. */
void plx__watch_end(struct plx_reactor *r, struct plx_poller *poller);

#endif
