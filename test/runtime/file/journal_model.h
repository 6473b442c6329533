/* SPDX-License-Identifier: MIT */
/*
 * A journal's files, damaged as an input says, opened, appended to, and opened again; held against
 * what was appended. For a test with random inputs and for the fuzzer: neither cmocka nor a
 * fixture is needed.
 */
#ifndef POLLUX_TEST_JOURNAL_MODEL_H
#define POLLUX_TEST_JOURNAL_MODEL_H

#include "runtime/file/journal.h"

/* Longer than any record of log_record. */
#define LOG_RECORD_MAX 1024u

/* What the record of that sequence has; from 0 to about 600 bytes. With another salt another. */
uint32_t log_record(uint64_t sequence, uint64_t salt, uint8_t *out);

/*
 * Makes a reactor and, in a folder of its own, a journal of several segments, epochs and groups,
 * which each run begins with. 0, or what went wrong.
 */
const char *journal_model_open(void);
void journal_model_close(void);

/*
 * Input is a list of changes of five bytes: what, which file, where (two bytes), with what. NULL,
 * or what was wrong: a record that was never appended, one that is not as it was, one that came
 * back from before, an error that is none of damage.
 */
const char *journal_model_run(const uint8_t *input, size_t len);

/* Of all runs so far: how many were opened with all records, with fewer, and refused. */
struct journal_model_counts {
    uint64_t whole;
    uint64_t shorter;
    uint64_t refused;
};
struct journal_model_counts journal_model_counts(void);

/* Whether a single flipped bit would be seen: false for bytes that nothing depends on. For tests:
 * opens the journal with bit `bit` of byte `at` of file `file` flipped. The result of opening, and
 * how many records came. */
int journal_model_flip(uint32_t file, uint64_t at, unsigned bit, uint64_t *records);
uint32_t journal_model_files(void);
uint64_t journal_model_bytes(uint32_t file);

/* Of the journal as it was made: records that opening gives, and how many of them the last group
 * has. */
uint64_t journal_model_records(void);
uint64_t journal_model_last_group(void);

#endif
