/* SPDX-License-Identifier: MIT */
#include "test/runtime/file/journal_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void log_init(struct log *log, struct bench *bench)
{
    memset(log, 0, sizeof(*log));
    log->bench = bench;
    plx_journal_opts_init(&log->opts);
    log->opts.segment_bytes = LOG_SEGMENT;
    log->opts.segments = 4;
    log->opts.buffer_bytes = LOG_BUFFER;
    log->opts.on_record = log_on_record;
    log->opts.on_durable = log_on_durable;
    log->opts.ctx = log;
}

static uint64_t salt_of(const struct log *log, uint64_t sequence)
{
    return log->salt_from != 0 && sequence >= log->salt_from ? log->salt : 0;
}

int log_on_record(uint64_t sequence, const void *data, uint32_t len, void *ctx)
{
    struct log *log = ctx;
    uint8_t expected[LOG_RECORD_MAX];
    uint32_t bytes = log_record(sequence, salt_of(log, sequence), expected);
    if (len != bytes || memcmp(data, expected, bytes) != 0)
        log->wrong = "a record is not what was appended";
    if (log->recovered != 0 && sequence != log->first + log->recovered)
        log->wrong = "sequences do not follow each other";
    if (log->recovered == 0)
        log->first = sequence;
    log->recovered++;
    return 0;
}

void log_on_durable(struct plx_journal *journal, uint64_t sequence, void *ctx)
{
    struct log *log = ctx;
    if (sequence <= log->told || sequence != plx_journal_durable(journal))
        log->wrong = "durable does not grow";
    log->told = sequence;
}

void note_journal(struct plx_journal *journal, int result, void *ctx)
{
    (void)journal;
    struct outcome *outcome = ctx;
    outcome->times++;
    outcome->result = result;
}

uint32_t blocks_in_use(struct plx_reactor *reactor)
{
    struct plx_pool_stats stats;
    plx_pool_read_stats(plx_reactor_pool(reactor), &stats);
    uint32_t sum = 0;
    for (unsigned i = 0; i < PLX_POOL_CLASSES; i++)
        sum += stats.classes[i].in_use;
    return sum;
}

int log_open(struct log *log)
{
    struct plx_reactor *reactor = log->bench->reactor;
    log->recovered = 0;
    log->first = 0;
    log->told = 0;
    log->wrong = NULL;
    log->blocks_in_use = blocks_in_use(reactor);
    int rc = plx_journal_open(&log->journal, reactor, plx_reactor_pool(reactor), log->bench->folder,
                              &log->opts, note_journal, &log->outcome);
    rc = (int)await(log->bench, &log->outcome, rc);
    if (log->wrong != NULL)
        fail_msg("%s", log->wrong);
    if (rc != 0)
        assert_int_equal(blocks_in_use(reactor), log->blocks_in_use);
    return rc;
}

int log_close(struct log *log)
{
    int rc = plx_journal_close(&log->journal, note_journal, &log->outcome);
    rc = (int)await(log->bench, &log->outcome, rc);
    assert_int_equal(blocks_in_use(log->bench->reactor), log->blocks_in_use);
    if (log->wrong != NULL)
        fail_msg("%s", log->wrong);
    return rc;
}

int log_append(struct log *log)
{
    uint8_t data[LOG_RECORD_MAX];
    uint64_t next = plx_journal_last(&log->journal) + 1, sequence = 0;
    uint32_t len = log_record(next, salt_of(log, next), data);
    int rc = plx_journal_append(&log->journal, data, len, &sequence);
    if (rc == 0)
        assert_int_equal(sequence, next);
    return rc;
}

void log_append_many(struct log *log, unsigned count)
{
    uint64_t deadline = plx_reactor_now_ns(log->bench->reactor) + 20000000000u;
    while (count > 0) {
        int rc = log_append(log);
        if (rc == -EAGAIN) {
            assert_true(plx_reactor_now_ns(log->bench->reactor) < deadline);
            world_turn(log->bench->world);
            continue;
        }
        assert_int_equal(rc, 0);
        count--;
    }
}

void log_settle(struct log *log)
{
    struct plx_journal *journal = &log->journal;
    WORLD_UNTIL(log->bench->world, plx_journal_durable(journal) == plx_journal_last(journal));
}

void log_write(struct log *log, unsigned count)
{
    log_append_many(log, count);
    log_settle(log);
}

void log_expect(struct log *log, uint64_t first, uint64_t last)
{
    int rc = log_open(log);
    if (rc != 0)
        fail_msg("%s: %s", log->journal.diag.what, log->journal.diag.text);
    assert_int_equal(log->recovered, last + 1 - first);
    if (log->recovered != 0)
        assert_int_equal(log->first, first);
    assert_int_equal(plx_journal_durable(&log->journal), last);
    assert_int_equal(plx_journal_last(&log->journal), last);
}

void log_path(const struct log *log, const char *name, char *out, size_t bytes)
{
    int len = snprintf(out, bytes, "%s/%s", log->bench->folder, name);
    assert_true(len > 0 && (size_t)len < bytes);
}

void poke(const char *path, uint64_t at, const void *data, size_t bytes)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, data, bytes, (off_t)at), bytes);
    assert_int_equal(close(fd), 0);
}

void peek(const char *path, uint64_t at, void *data, size_t bytes)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, data, bytes, (off_t)at), bytes);
    assert_int_equal(close(fd), 0);
}

void flip(const char *path, uint64_t at)
{
    uint8_t byte;
    peek(path, at, &byte, 1);
    byte ^= 0x10;
    poke(path, at, &byte, 1);
}
