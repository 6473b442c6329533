/* SPDX-License-Identifier: MIT */
/*
 * A port's inside. The runtime makes it, and supplies what it has to know of reactors.
 *
 * Threads: the port's own, unless a line says otherwise.
 */
#ifndef POLLUX_PORT_INTERNAL_H
#define POLLUX_PORT_INTERNAL_H

#include "runtime/mesh/mesh_internal.h"
#include "runtime/mesh/port.h"

/* By reactor. */
struct plx__port_peer {
    struct plx__road road;     /* `ring` NULL: not connected, or ended */
    struct plx_cells *request; /* the ring there, made with the port */
    struct plx_cells *answer;  /* the ring back; its producer is the reactor */
    uint32_t calls;            /* in flight */
};

/*
 * Connects the port with reactor `to`: it finds messages of the port from then on. Fills the peer's
 * road. 0, -EAGAIN it has not started, -ESHUTDOWN it has ended, -EOWNERDEAD it was given up.
 */
typedef int (*plx__port_connect_fn)(struct plx_port *port, uint32_t to);

struct plx_port {
    struct plx__port_peer *peers;
    plx__port_connect_fn connect;
    struct plx_runtime *runtime;
    const PLX_ATOMIC(uint32_t) * ended; /* as in struct plx__mesh */
    const PLX_ATOMIC(uint32_t) * phase; /* the runtime's; not 0: it is stopping */
    uint32_t count;                     /* reactors */
    uint32_t index;                     /* among ports */
    uint32_t credits;
    uint32_t ended_known;
    uint32_t ended_served;
    uint32_t in_flight;
    bool in_poll;
    struct plx__calls calls;
};

/* Slots of the ring that brings answers to a port: they alone use it. */
static inline uint32_t plx__port_answer_slots(uint32_t slots)
{
    return slots / 2 < PLX_CELLS_SLOTS_MIN ? PLX_CELLS_SLOTS_MIN : slots / 2;
}

/* Ends all calls in flight as lost. */
void plx__port_lose_calls(struct plx_port *port);

#endif
