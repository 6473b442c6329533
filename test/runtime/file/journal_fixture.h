/* SPDX-License-Identifier: MIT */
/*
 * Journals of small segments on a bench, whose records are known by their sequences: what was
 * appended under which number can be told from what comes back.
 */
#ifndef POLLUX_TEST_JOURNAL_FIXTURE_H
#define POLLUX_TEST_JOURNAL_FIXTURE_H

#include "runtime/file/journal.h"
#include "test/runtime/file/file_fixture.h"
#include "test/runtime/file/journal_model.h"

#define LOG_SEGMENT ((uint64_t)64 << 10)
#define LOG_BUFFER  (16u << 10)

/* A journal, and what it has said. */
struct log {
    struct bench *bench;
    struct plx_journal journal;
    struct plx_journal_opts opts;
    struct outcome outcome; /* of opening and closing */
    uint64_t recovered;     /* records handed out by the last opening */
    uint64_t first;         /* the sequence of the first of them */
    uint64_t told;          /* the last sequence that on_durable has told */
    const char *wrong;      /* what was wrong with a record; NULL: nothing */
    uint64_t salt;          /* other records under the same numbers */
    uint64_t salt_from;     /* from this sequence on; 0: none */
    uint32_t blocks_in_use; /* of the pool, before it was opened */
};

/* Small segments and buffers, direct if it can be had. */
void log_init(struct log *log, struct bench *bench);

/* Opens and waits. The records must have the content that log_append gives them. */
int log_open(struct log *log);
/* Closes and waits; asserts that all blocks came back. */
int log_close(struct log *log);

/* Appends the record that the next sequence has. Returns what plx_journal_append did. */
int log_append(struct log *log);
/* Appends so many, with turns where the buffer is full; asserts that all are taken. */
void log_append_many(struct log *log, unsigned count);
/* Turns until all is durable. */
void log_settle(struct log *log);
/* Appends so many and settles. */
void log_write(struct log *log, unsigned count);

/* Opens, and asserts that it hands out `first` to `last`, and no more. */
void log_expect(struct log *log, uint64_t first, uint64_t last);

/* Blocks of the pool that are in use. */
uint32_t blocks_in_use(struct plx_reactor *reactor);

/* The user's functions; `ctx` is a struct log. */
int log_on_record(uint64_t sequence, const void *data, uint32_t len, void *ctx);
void log_on_durable(struct plx_journal *journal, uint64_t sequence, void *ctx);
void note_journal(struct plx_journal *journal, int result, void *ctx);

/* Files by plain calls. */
void log_path(const struct log *log, const char *name, char *out, size_t bytes);
void poke(const char *path, uint64_t at, const void *data, size_t bytes);
void peek(const char *path, uint64_t at, void *data, size_t bytes);
void flip(const char *path, uint64_t at);

#endif
