/* SPDX-License-Identifier: MIT */
/*
 * What the two kinds of pool share: where their blocks and tables lie, and how they speak of wrong
 * arguments.
 *
 * Threads: as the functions that call these.
 */
#ifndef POLLUX_POOL_INTERNAL_H
#define POLLUX_POOL_INTERNAL_H

#include "alloc/pool.h"

/*
 * Bytes and alignment of the blocks of a quota; all zero if there are none or too many. The tables
 * are the caller's to add.
 */
PLX_COLD struct plx_pool_needs plx__pool_measure_blocks(const struct plx_pool_quota *quota);

/* -EINVAL, and why, for a quota of which plx__pool_measure_blocks says nothing. */
PLX_COLD int plx__pool_refuse_quota(const struct plx_pool_quota *quota, struct plx_diag *diag);

/* Carves what is needed, or returns NULL and says so. */
PLX_COLD void *plx__pool_carve(struct plx_arena *arena, const struct plx_pool_needs *needs,
                               struct plx_diag *diag);

/* Fills `class_of`: for each class the smallest with a quota that has its size. */
PLX_COLD void plx__pool_fill_class_of(uint8_t class_of[PLX_POOL_CLASSES + 1],
                                      const struct plx_pool_quota *quota);

/*
 * Says what was wrong with the release of `address` and aborts. `block` is the block that it lies
 * in, of `bytes`, or NULL; `otherwise` says what it is then.
 */
PLX_COLD __attribute__((noreturn)) void plx__pool_say_fault(const void *pool, const void *address,
                                                            const void *block, size_t bytes,
                                                            const char *otherwise);

#endif
