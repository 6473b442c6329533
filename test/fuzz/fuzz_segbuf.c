/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer's entry to the queue of slices: input is operations, done on the queue and on a plain
 * model of it (test/alloc/segbuf_model.h). A disagreement aborts, and the fuzzer keeps the input.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "test/alloc/segbuf_model.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len)
{
    static struct mem mem;

    if (mem.pool.pages == 0 && segbuf_model_open(&mem) != 0) {
        fprintf(stderr, "no memory for the pool\n");
        exit(1);
    }
    const char *wrong = segbuf_model_run(&mem, input, len);
    if (wrong != NULL) {
        fprintf(stderr, "segbuf and its model disagree: %s\n", wrong);
        abort();
    }
    return 0;
}
