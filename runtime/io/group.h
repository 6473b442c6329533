/* SPDX-License-Identifier: MIT */
/*
 * Groups: a set of equal buffers of the reactor's pool, from which a receive or a read takes one
 * when data is there, so that an op that waits holds none.
 *
 * Threads: the one that polls the reactor.
 */
#ifndef POLLUX_GROUP_H
#define POLLUX_GROUP_H

#include "alloc/base.h"

PLX_EXTERN_C_BEGIN

struct plx_reactor;

#define PLX_GROUP_BUFFERS_MAX 32768u
#define PLX_GROUPS_MAX        16u

/*
 * Makes a group of `count` buffers (a power of two up to PLX_GROUP_BUFFERS_MAX) of `bytes` bytes
 * (a multiple of PLX_PAGE up to PLX_POOL_BLOCK_MAX), each a block of the reactor's pool, and gives
 * its index. It lives as long as the reactor. Cost: set-up. Errors, after which nothing was taken:
 * -EINVAL shapes; -ENOSPC PLX_GROUPS_MAX reached; -ENOMEM the pool has not so many blocks free, or
 * the arena no room for the tables. On the uring backend also what registering the ring of buffers
 * met: the blocks are back then, but the tables stay carved, so that each further try costs the
 * arena some bytes a buffer. Source: io_uring_register_buf_ring(3).
 */
PLX_API PLX_MUST_CHECK int plx_group_create(struct plx_reactor *reactor, uint32_t count,
                                            uint32_t bytes, uint16_t *out);

/*
 * Gives a buffer back, exactly once per PLX_EV_BUFFER, unless plx_group_take was called instead.
 * Cost: hot; no system call.
 */
PLX_API void plx_group_release(struct plx_reactor *reactor, uint16_t group, uint16_t buffer_id);

/*
 * Takes a buffer for good, with PLX_EV_BUFFER and instead of plx_group_release: what was received
 * stays where it is, without a copy. The group gets another block from the pool at once, or, while
 * that is dry, as soon as a block comes home; until then it has a buffer less.
 * Ownership: returns the block, the caller's until plx_pool_release to any reactor's pool.
 * Cost: hot; no system call.
 */
PLX_API PLX_MUST_CHECK void *plx_group_take(struct plx_reactor *reactor, uint16_t group,
                                            uint16_t buffer_id);

/*
 * How many buffers receives may still take: all but those that the caller has and those that wait
 * for a block. Those that the kernel has filled in this very moment count as left.
 */
PLX_API uint32_t plx_group_left(const struct plx_reactor *reactor, uint16_t group);

PLX_EXTERN_C_END

#endif
