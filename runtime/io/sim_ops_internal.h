/* SPDX-License-Identifier: MIT */
/*
 * Between the simulated ring (sim.c) and what its kernel does with an op (sim_ops.c).
 *
 * Words. A *slot* is an op that the backend has. The kernel *takes* an op's entry, *begins* it, and
 * then *tries* it until it has ended.
 */
#ifndef POLLUX_SIM_OPS_INTERNAL_H
#define POLLUX_SIM_OPS_INTERNAL_H

#include "runtime/io/sim_world_internal.h"

enum sim_cancel {
    SIM_CANCEL_NONE,
    SIM_CANCEL_LATE,    /* its entry waits for room */
    SIM_CANCEL_WRITTEN, /* its entry is in the ring */
    SIM_CANCEL_TAKEN
};

struct sim_slot {
    struct plx_op *op;
    uint64_t take_ns;   /* PLX__SIM_NEVER: not shown to the kernel yet */
    uint64_t cancel_ns; /* the same of its cancel */
    uint64_t begin_ns;  /* a file's op waits until then */
    uint64_t due_ns;    /* of its last completion */
    uint64_t op_sum;
    uint64_t memory_sum;
    uint32_t generation; /* of the descriptor */
    enum sim_cancel cancel;
    bool cancel_entry; /* its cancel has an entry in the ring */
    bool is_taken;
    bool has_ended; /* its last completion is made */
    bool was_sent;  /* zero copy: the result is told, the release is not */
};

/* A number that tells whether `bytes` bytes are still the same. */
uint64_t plx__sim_sum(const void *data, size_t bytes, uint64_t sum);
/* The same of the memory that the op writes from; 0 for other ops. */
uint64_t plx__sim_sum_memory(const struct plx_op *op);

void plx__sim_begin(struct sim_backend *backend, struct sim_slot *slot);
void plx__sim_try(struct sim_backend *backend, struct sim_slot *slot);

/* Makes a completion, which comes after what `delay` chooses. Only with room. */
void plx__sim_complete(struct sim_backend *backend, struct sim_slot *slot,
                       const struct plx_event *event, enum plx__sim_choice delay);
bool plx__sim_has_room(const struct sim_backend *backend);
struct plx__io *plx__sim_io(struct sim_backend *backend);
struct plx__sim_world *plx__sim_world_of(struct sim_backend *backend);

#endif
