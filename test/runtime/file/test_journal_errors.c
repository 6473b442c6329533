/* SPDX-License-Identifier: MIT */
/* A journal whose operations fail: what is acknowledged stays, and nothing else is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

#include "test/runtime/file/faults.h"
#include "test/runtime/file/journal_fixture.h"

static struct log the_log;

static struct log *begin(void **state)
{
    struct bench *bench = *state;
    need_files(bench);
    log_init(&the_log, bench);
    return &the_log;
}

struct waiter {
    struct plx_journal_wait wait;
    unsigned times;
    int result;
};

static void told(struct plx_journal_wait *wait, int result, void *ctx)
{
    struct waiter *waiter = ctx;
    (void)wait;
    waiter->times++;
    waiter->result = result;
}

/* Nothing of upkeep is on its way. */
static void rest(struct log *log)
{
    WORLD_UNTIL(log->bench->world, !log->journal.upkeep.is_busy);
}

/* Appends one more, whose group is struck, and two that come later. */
static void expect_poisoned(struct log *log, const struct fault *fault)
{
    struct waiter waiters[3] = {0};
    uint64_t durable = plx_journal_durable(&log->journal);
    int code = fault->value;
    faults_begin(log->bench->reactor);
    faults_add(fault);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(log_append(log), 0);
        assert_int_equal(
            plx_journal_wait(&log->journal, &waiters[i].wait, durable + 1 + i, told, &waiters[i]),
            0);
        if (i == 0 && fault->kind == FAULT_RESULT)
            world_turn(log->bench->world);
    }
    WORLD_UNTIL(log->bench->world, waiters[2].times != 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(waiters[i].times, 1);
        assert_int_equal(waiters[i].result, code);
    }
    assert_int_equal(plx_journal_error(&log->journal), code);
    assert_int_equal(plx_journal_durable(&log->journal), durable);
    assert_int_equal(log_append(log), code);
    assert_int_equal(plx_journal_wait(&log->journal, &waiters[0].wait, 1, told, &waiters[0]), code);
    assert_int_equal(plx_journal_forget(&log->journal, 1), code);
    world_settle(log->bench->world);
    assert_int_equal(plx_journal_durable(&log->journal), durable);
    assert_non_null(strstr(plx_journal_diag(&log->journal)->what, "segment 1"));
    faults_end();
    assert_int_equal(log_close(log), code);
}

static void failed_group_poisons_the_journal(void **state)
{
    struct log *log = begin(state);
    static const struct fault strikes[] = {
        {FAULT_RESULT, PLX_OP_WRITE, 0, 1, -EIO, NULL, NULL, NULL},
        {FAULT_RESULT, PLX_OP_WRITE, 0, 1, -ENOSPC, NULL, NULL, NULL},
        {FAULT_RESULT, PLX_OP_FSYNC, 0, 1, -EIO, NULL, NULL, NULL},
        {FAULT_REFUSE, PLX_OP_WRITE, 0, 1, -ESHUTDOWN, NULL, NULL, NULL},
        {FAULT_REFUSE, PLX_OP_FSYNC, 0, 1, -ESHUTDOWN, NULL, NULL, NULL},
    };
    assert_int_equal(log_open(log), 0);
    uint64_t acknowledged = 0;
    for (size_t i = 0; i < sizeof(strikes) / sizeof(*strikes); i++) {
        log_write(log, 5);
        acknowledged = plx_journal_durable(&log->journal);
        rest(log);
        expect_poisoned(log, &strikes[i]);
        /* The three that were not acknowledged may be there, or the first of them, or none. */
        assert_int_equal(log_open(log), 0);
        uint64_t last = log->recovered;
        assert_in_range(last, acknowledged, acknowledged + 3);
        if (strikes[i].code == PLX_OP_WRITE)
            assert_int_equal(last, acknowledged);
    }
    assert_int_equal(log_close(log), 0);
}

static void short_writes_and_full_rings_do_no_harm(void **state)
{
    struct log *log = begin(state);
    log_expect(log, 1, 0);
    rest(log);
    faults_begin(log->bench->reactor);
    for (unsigned i = 0; i < 3; i++) {
        faults_add(&(struct fault){FAULT_SHORT, PLX_OP_WRITE, i, 1, 4096, NULL, NULL, NULL});
        faults_add(&(struct fault){FAULT_REFUSE, PLX_OP_NONE, 2 * i, 3, -EAGAIN, NULL, NULL, NULL});
    }
    log_write(log, 60);
    faults_clear();
    faults_end();
    assert_int_equal(log_close(log), 0);
    log_expect(log, 1, 60);
    assert_int_equal(log_close(log), 0);
}

static void interruptions_do_no_harm(void **state)
{
    struct log *log = begin(state);
    log->opts.segments = 3;
    faults_begin(log->bench->reactor);
    uint64_t last = 0;
    for (unsigned life = 0; life < 4; life++) {
        static const enum plx_op_code codes[] = {PLX_OP_OPENAT, PLX_OP_STATX,     PLX_OP_READ,
                                                 PLX_OP_WRITE,  PLX_OP_FALLOCATE, PLX_OP_FSYNC};
        faults_clear();
        for (size_t i = 0; i < sizeof(codes) / sizeof(*codes); i++)
            faults_add(&(struct fault){FAULT_RESULT, codes[i], life, 5, -EINTR, NULL, NULL, NULL});
        log_expect(log, 1, last);
        /* Then each fdatasync, as of the first. */
        faults_add(&(struct fault){FAULT_RESULT, PLX_OP_FSYNC, 0, 5, -EINTR, NULL, NULL, NULL});
        log_write(log, 10);
        last += 10;
        assert_int_equal(log_close(log), 0);
    }
    /* The folder's own ops, for ever. */
    for (unsigned i = 0; i < 2; i++) {
        enum plx_op_code code = i == 0 ? PLX_OP_OPENAT : PLX_OP_FSYNC;
        faults_clear();
        faults_add(&(struct fault){FAULT_RESULT, code, 0, 100, -EINTR, NULL, NULL, NULL});
        assert_int_equal(log_open(log), -EINTR);
        assert_string_equal(plx_journal_diag(&log->journal)->what, "folder");
    }
    faults_end();
    log_expect(log, 1, last);
    assert_int_equal(log_close(log), 0);
}

/* Appends until the journal refuses for good; gives the reason. */
static int append_until_refused(struct log *log)
{
    int rc;
    do {
        rc = log_append(log);
        world_turn(log->bench->world);
    } while (rc == 0 || rc == -EAGAIN);
    return rc;
}

static void segment_that_cannot_be_made_is_told_and_tried_again(void **state)
{
    struct log *log = begin(state);
    log->opts.segments = 16;
    log_expect(log, 1, 0);
    rest(log);
    const struct fault strikes[] = {
        {FAULT_RESULT, PLX_OP_OPENAT, 0, 100000, -EMFILE, NULL, NULL, NULL},
        {FAULT_RESULT, PLX_OP_FALLOCATE, 0, 100000, -ENOSPC, NULL, NULL, NULL},
        {FAULT_RESULT, PLX_OP_WRITE, 2, 100000, -EIO, NULL, NULL, log->journal.zeros},
    };
    for (unsigned i = 0; i < 3; i++) {
        faults_begin(log->bench->reactor);
        faults_add(&strikes[i]);
        assert_int_equal(append_until_refused(log), strikes[i].value);
        assert_int_equal(plx_journal_error(&log->journal), 0);
        faults_clear();
        rest(log);
        /* The one that is refused again has it tried again. */
        int rc = log_append(log);
        assert_true(rc == strikes[i].value || rc == -EAGAIN || rc == 0);
        rest(log);
        log_write(log, 20);
        faults_end();
    }
    uint64_t last = plx_journal_last(&log->journal);
    assert_int_equal(log_close(log), 0);
    log_expect(log, 1, last);
    assert_int_equal(log_close(log), 0);
}

static void control_that_fails_poisons_the_journal(void **state)
{
    struct log *log = begin(state);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(log_open(log), 0);
        while (log->journal.slots[log->journal.current].number <= log->journal.oldest)
            log_write(log, 10);
        rest(log);
        uint64_t durable = plx_journal_durable(&log->journal);
        faults_begin(log->bench->reactor);
        faults_add(&(struct fault){FAULT_RESULT, i == 0 ? PLX_OP_WRITE : PLX_OP_FSYNC, 0, 1, -EIO,
                                   NULL, NULL, NULL});
        assert_int_equal(plx_journal_forget(&log->journal, durable), 0);
        WORLD_UNTIL(log->bench->world, plx_journal_error(&log->journal) != 0);
        assert_int_equal(log_append(log), -EIO);
        assert_string_equal(plx_journal_diag(&log->journal)->what, "control");
        faults_end();
        assert_int_equal(log_close(log), -EIO);
    }
    assert_int_equal(log_open(log), 0);
    assert_int_equal(log_close(log), 0);
}

static void header_that_fails_poisons_the_journal(void **state)
{
    struct log *log = begin(state);
    /* A used segment needs a header and its fdatasync, nothing else; the control page comes first.
     */
    for (unsigned i = 0; i < 2; i++) {
        log->opts.segments = 2;
        assert_int_equal(log_open(log), 0);
        int rc = append_until_refused(log);
        assert_int_equal(rc, -ENOSPC);
        log_settle(log);
        rest(log);
        faults_begin(log->bench->reactor);
        faults_add(&(struct fault){FAULT_RESULT, i == 0 ? PLX_OP_WRITE : PLX_OP_FSYNC, 1, 1, -EIO,
                                   NULL, NULL, NULL});
        assert_int_equal(plx_journal_forget(&log->journal, plx_journal_durable(&log->journal)), 0);
        WORLD_UNTIL(log->bench->world, plx_journal_error(&log->journal) != 0);
        faults_end();
        assert_int_equal(log_close(log), -EIO);
    }
    assert_int_equal(log_open(log), 0);
    assert_int_equal(log_close(log), 0);
}

/* Opens with the op of number `at` struck. */
static int open_struck(struct log *log, const struct fault *fault)
{
    unsigned before = count_descriptors();
    faults_begin(log->bench->reactor);
    faults_add(fault);
    int rc = log_open(log);
    if (rc == 0) {
        rest(log);
        int closed = log_close(log);
        assert_true(closed == 0 || closed == fault->value);
    }
    faults_end();
    assert_int_equal(count_descriptors(), before);
    return rc;
}

static void open_whose_operation_fails_leaves_all_as_it_was(void **state)
{
    struct log *log = begin(state);
    log->opts.segments = 2;
    unsigned failed = 0;
    /* Each one in one mode; in the others some. */
    uint32_t step = strcmp(log->bench->world->mode->name, "defer") == 0 ? 1 : 5;
    /* First while it is made, then with something in it. */
    for (unsigned round = 0; round < 2; round++) {
        for (uint32_t at = 0; at < 110; at += step) {
            struct fault error = {FAULT_RESULT, PLX_OP_NONE, at, 1, -EIO, NULL, NULL, NULL};
            failed += open_struck(log, &error) == -EIO;
            if (at % 10 != 0)
                continue;
            struct fault down = {FAULT_REFUSE, PLX_OP_NONE, at + 1, 1,
                                 -ESHUTDOWN,   NULL,        NULL,   NULL};
            (void)open_struck(log, &down);
            struct fault full = {FAULT_REFUSE, PLX_OP_NONE, at + 1, 3, -EAGAIN, NULL, NULL, NULL};
            assert_int_equal(open_struck(log, &full), 0);
        }
        log_expect(log, 1, round * 30);
        if (round == 0)
            log_write(log, 30);
        assert_int_equal(log_close(log), 0);
    }
    assert_true(failed * step >= 100);
}

static void disk_that_is_full_is_told_and_harms_nothing(void **state)
{
    struct log *log = begin(state);
    const char *folder = log->bench->folder;
    if (mount("none", folder, "tmpfs", 0, "size=256k") != 0) {
        print_message("skipped: no tmpfs can be mounted: %s\n", strerror(errno));
        skip();
    }
    log->opts.segments = 8;
    log_expect(log, 1, 0);
    assert_int_equal(append_until_refused(log), -ENOSPC);
    log_settle(log);
    assert_int_equal(plx_journal_error(&log->journal), 0);
    uint64_t last = plx_journal_durable(&log->journal);
    /* What is forgotten makes room without the disk's. */
    assert_int_equal(plx_journal_forget(&log->journal, last), 0);
    log_write(log, 30);
    assert_int_equal(log_close(log), 0);
    log_expect(log, last + 1, last + 30);
    assert_int_equal(log_close(log), 0);
    assert_int_equal(umount(folder), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_CASE(failed_group_poisons_the_journal),
        BENCH_CASE(short_writes_and_full_rings_do_no_harm),
        BENCH_CASE(interruptions_do_no_harm),
        BENCH_CASE(segment_that_cannot_be_made_is_told_and_tried_again),
        BENCH_CASE(control_that_fails_poisons_the_journal),
        BENCH_CASE(header_that_fails_poisons_the_journal),
        BENCH_CASE(open_whose_operation_fails_leaves_all_as_it_was),
        BENCH_CASE(disk_that_is_full_is_told_and_harms_nothing),
    };
    return run_main_modes(tests, sizeof(tests) / sizeof(*tests));
}
