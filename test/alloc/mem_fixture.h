/* SPDX-License-Identifier: MIT */
/*
 * What the tests of buffers share: a pool with its home of counted bytes in an arena of small
 * pages, ways to make it dry, and the check that every holding is known. Free of cmocka, so that
 * the fuzzer can use it too.
 */
#ifndef POLLUX_TEST_MEM_FIXTURE_H
#define POLLUX_TEST_MEM_FIXTURE_H

#include "alloc/bytes.h"

struct mem {
    struct plx_arena arena;
    struct plx_pool pool;
    struct plx_bytes_home home;
    void *drained; /* list of the blocks that mem_drain took */
};

/* A pool of this quota, `opts` NULL for the defaults, and its home. 0 or negative errno. */
int mem_open(struct mem *m, const struct plx_pool_quota *quota, const struct plx_pool_opts *opts);

/* Ends all of it. What was wrong with it, blocks still in use say, or NULL. */
const char *mem_close(struct mem *m);

/* Blocks in use, and blocks free of the class for so many bytes. */
uint32_t mem_in_use(const struct mem *m);
uint32_t mem_left(const struct mem *m, size_t bytes);

/* Takes blocks of the class for `bytes` until only `leave` of them are free. */
void mem_drain(struct mem *m, size_t bytes, uint32_t leave);
/* Gives one of them back, or all. */
void mem_refill_one(struct mem *m);
void mem_refill(struct mem *m);

/* Whether exactly these slices, and the home's packing, are what the books count; or what not. */
const char *mem_check_holders(const struct mem *m, const struct plx_bytes *slices, size_t count);

/* A seed from POLLUX_TEST_SEED or the clock, printed. */
uint64_t mem_seed(void);
uint64_t mem_random(uint64_t *state);
/* Bytes of few different values, so that patterns recur. */
void mem_fill_random(uint64_t *state, void *to, size_t len);

/* Runs `part` in a child, whose standard error is lost; its wait status. */
int mem_in_child(void (*part)(void));

#endif
