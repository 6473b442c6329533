/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer's entry to the recovery of journals: input is changes of a journal's files
 * (test/runtime/file/journal_model.h), which is then opened, appended to and opened again. What
 * must not be aborts, and the fuzzer keeps the input.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "test/runtime/file/journal_model.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len)
{
    static bool is_open;

    if (!is_open) {
        const char *missing = journal_model_open();
        if (missing != NULL) {
            fprintf(stderr, "no journal to begin with: %s\n", missing);
            exit(1);
        }
        is_open = true;
        (void)atexit(journal_model_close);
    }
    const char *wrong = journal_model_run(input, len);
    if (wrong != NULL) {
        fprintf(stderr, "the journal: %s\n", wrong);
        abort();
    }
    return 0;
}
