/* SPDX-License-Identifier: MIT */
/*
 * A segmented buffer beside a plain model of it: bytes of input are read as operations, each is
 * done on both, and all that can be seen must agree after each. For random input and the fuzzer's.
 */
#ifndef POLLUX_TEST_SEGBUF_MODEL_H
#define POLLUX_TEST_SEGBUF_MODEL_H

#include "test/alloc/mem_fixture.h"

/* The pool that the model needs; its blocks are few, so that it runs dry. */
int segbuf_model_open(struct mem *m);

/*
 * Runs `input` on an empty queue of `m`, of 2 to 32 segments as the first byte says; all blocks are
 * home at the end. NULL, or what does not agree.
 */
const char *segbuf_model_run(struct mem *m, const uint8_t *input, size_t len);

#endif
