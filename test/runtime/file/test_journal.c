/* SPDX-License-Identifier: MIT */
/* A journal in order: appending, groups, segments, and what comes back when it is opened again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "test/runtime/file/faults.h"
#include "test/runtime/file/journal_fixture.h"
#include "test/runtime/rt_fixture.h"

static struct log the_log;

static struct log *begin(void **state)
{
    struct bench *bench = *state;
    need_files(bench);
    log_init(&the_log, bench);
    return &the_log;
}

static void new_journal_has_nothing_and_keeps_what_it_gets(void **state)
{
    struct log *log = begin(state);
    log_expect(log, 1, 0);
    log_write(log, 3);
    assert_int_equal(log->told, 3);
    assert_int_equal(log_close(log), 0);
    log_expect(log, 1, 3);
    log_write(log, 3);
    assert_int_equal(log_close(log), 0);
    log_expect(log, 1, 6);
    assert_int_equal(log_close(log), 0);
}

static void open_refuses_what_makes_no_sense(void **state)
{
    struct bench *bench = *state;
    struct plx_journal *journal = &the_log.journal;
    struct plx_pool *pool = plx_reactor_pool(bench->reactor);
    static const struct {
        uint64_t segment_bytes;
        uint32_t segments;
        uint32_t buffer_bytes;
        int want;
    } cases[] = {
        {LOG_SEGMENT + 1, 4, LOG_BUFFER, 0},
        {PLX_PAGE, 4, LOG_BUFFER, 0},
        {PLX_JOURNAL_SEGMENT_MAX * 2, 4, LOG_BUFFER, 0},
        {LOG_SEGMENT, 1, LOG_BUFFER, 0},
        {LOG_SEGMENT, 33, LOG_BUFFER, 0},
        {LOG_SEGMENT, 4, 4096, 0},
        {LOG_SEGMENT, 4, 12288, 0},
        {LOG_SEGMENT, 4, 2u << 20, 0},
        {LOG_SEGMENT, 4, LOG_BUFFER, 3},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct plx_journal_opts opts;
        plx_journal_opts_init(&opts);
        opts.segment_bytes = cases[i].segment_bytes;
        opts.segments = cases[i].segments;
        opts.buffer_bytes = cases[i].buffer_bytes;
        opts.direct = (enum plx_want)cases[i].want;
        assert_int_equal(plx_journal_open(journal, bench->reactor, pool, bench->folder, &opts,
                                          note_journal, NULL),
                         -EINVAL);
    }
    assert_int_equal(plx_journal_close(journal, note_journal, NULL), -EBADF);
}

static void open_without_blocks_or_folder_fails(void **state)
{
    struct log *log = begin(state);
    struct plx_reactor *reactor = log->bench->reactor;
    struct plx_pool *pool = plx_reactor_pool(reactor);
    void *taken[64];
    unsigned count = 0;
    while (plx_pool_available(pool, LOG_BUFFER) > 2) {
        taken[count] = plx_pool_acquire(pool, LOG_BUFFER);
        assert_non_null(taken[count++]);
    }
    assert_int_equal(plx_journal_open(&log->journal, reactor, pool, log->bench->folder, &log->opts,
                                      note_journal, NULL),
                     -ENOMEM);
    assert_int_equal(plx_pool_available(pool, LOG_BUFFER), 2);
    while (count > 0)
        plx_pool_release(pool, taken[--count]);

    int rc = plx_journal_open(&log->journal, reactor, pool, "/no/such/folder", &log->opts,
                              note_journal, &log->outcome);
    assert_int_equal(await(log->bench, &log->outcome, rc), -ENOENT);
    assert_string_equal(plx_journal_diag(&log->journal)->what, "folder");

    faults_begin(reactor);
    faults_add(&(struct fault){FAULT_REFUSE, PLX_OP_OPENAT, 0, 1, -ESHUTDOWN, NULL, NULL, NULL});
    uint32_t before = blocks_in_use(reactor);
    assert_int_equal(plx_journal_open(&log->journal, reactor, pool, log->bench->folder, &log->opts,
                                      note_journal, &log->outcome),
                     -ESHUTDOWN);
    assert_int_equal(blocks_in_use(reactor), before);
    assert_int_equal(plx_journal_append(&log->journal, "", 0, NULL), -EBADF);
    faults_end();
}

static void records_of_a_turn_share_one_fdatasync(void **state)
{
    struct log *log = begin(state);
    log_expect(log, 1, 0);
    /* Until the next segment is ready, which has an fdatasync of its own. */
    WORLD_UNTIL(log->bench->world, !log->journal.upkeep.is_busy);
    faults_begin(log->bench->reactor);
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(log_append(log), 0);
    assert_int_equal(plx_journal_durable(&log->journal), 0);
    log_settle(log);
    assert_int_equal(faults_seen(PLX_OP_FSYNC), 1);
    assert_int_equal(faults_seen(PLX_OP_WRITE), 1);
    assert_int_equal(plx_journal_stats(&log->journal)->groups, 1);
    /* What comes while that is on its way shares the next one. */
    for (unsigned i = 0; i < 30; i++) {
        log_append_many(log, 1);
        if (i == 0)
            world_turn(log->bench->world);
    }
    log_settle(log);
    assert_true(faults_seen(PLX_OP_FSYNC) <= 4);
    faults_end();
    assert_int_equal(plx_journal_stats(&log->journal)->appended, 50);
    assert_int_equal(log_close(log), 0);
    log_expect(log, 1, 50);
    assert_int_equal(plx_journal_stats(&log->journal)->recovered, 50);
    assert_int_equal(log_close(log), 0);
}

/* --- who waits -------------------------------------------------------------------------------- */

struct waiter {
    struct plx_journal_wait wait;
    struct log *log;
    unsigned times;
    int result;
    unsigned order;
    uint64_t durable;
};

static unsigned told_count;

static void told(struct plx_journal_wait *wait, int result, void *ctx)
{
    struct waiter *waiter = ctx;
    assert_ptr_equal(wait, &waiter->wait);
    waiter->times++;
    waiter->result = result;
    waiter->order = ++told_count;
    waiter->durable = plx_journal_durable(&waiter->log->journal);
}

static int wait_for(struct log *log, struct waiter *waiter, uint64_t sequence)
{
    *waiter = (struct waiter){.log = log};
    return plx_journal_wait(&log->journal, &waiter->wait, sequence, told, waiter);
}

static void waiters_are_told_in_order_and_once(void **state)
{
    struct log *log = begin(state);
    struct waiter waiters[6];
    log_expect(log, 1, 0);
    told_count = 0;
    assert_int_equal(wait_for(log, &waiters[0], 1), -EINVAL);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(log_append(log), 0);
    static const uint64_t sequences[] = {3, 1, 4, 3, 2, 0};
    static const unsigned order[] = {3, 1, 0, 4, 2, 5};
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(wait_for(log, &waiters[i], sequences[i]), 0);
    plx_journal_unwait(&log->journal, &waiters[2].wait);
    plx_journal_unwait(&log->journal, &waiters[2].wait);
    log_settle(log);
    /* What is durable already is told in a later turn. */
    assert_int_equal(wait_for(log, &waiters[5], 2), 0);
    assert_int_equal(waiters[5].times, 0);
    WORLD_UNTIL(log->bench->world, waiters[5].times == 1);
    for (unsigned i = 0; i < 6; i++) {
        assert_int_equal(waiters[i].times, i != 2);
        assert_int_equal(waiters[i].order, order[i]);
        assert_int_equal(waiters[i].result, 0);
        if (i != 2)
            assert_true(waiters[i].durable >= sequences[i]);
    }
    assert_int_equal(log_append(log), 0);
    assert_int_equal(wait_for(log, &waiters[0], 5), 0);
    assert_int_equal(log_close(log), 0);
    assert_int_equal(waiters[0].times, 1);
    assert_int_equal(waiters[0].result, 0);
    assert_int_equal(wait_for(log, &waiters[0], 5), -EBADF);
}

/* --- limits ----------------------------------------------------------------------------------- */

static unsigned sizes_seen;

static int count_sizes(uint64_t sequence, const void *data, uint32_t len, void *ctx)
{
    const uint32_t *sizes = ctx;
    const uint8_t *bytes = data;
    assert_int_equal(len, sizes[sequence - 1]);
    for (uint32_t i = 0; i < len; i++)
        assert_int_equal(bytes[i], (uint8_t)sequence);
    sizes_seen++;
    return 0;
}

static void records_of_every_size_come_back(void **state)
{
    struct log *log = begin(state);
    log->opts.buffer_bytes = 8192;
    assert_int_equal(log_open(log), 0);
    uint32_t most = plx_journal_record_max(&log->journal);
    assert_int_equal(most, 8192 - 4096 - PLX_JOURNAL_RECORD_OVERHEAD);
    uint32_t sizes[] = {0, 1, 7, 8, 9, most, 4096 - 32, 4096 - 33, most - 1, 0};
    static uint8_t data[8192];
    for (unsigned i = 0; i < 10; i++) {
        memset(data, (int)i + 1, sizeof(data));
        int rc;
        while ((rc = plx_journal_append(&log->journal, data, sizes[i], NULL)) == -EAGAIN)
            world_turn(log->bench->world);
        assert_int_equal(rc, 0);
    }
    assert_int_equal(plx_journal_append(&log->journal, data, most + 1, NULL), -EMSGSIZE);
    assert_int_equal(log_close(log), 0);
    log->opts.on_record = count_sizes;
    log->opts.ctx = sizes;
    log->opts.on_durable = NULL;
    sizes_seen = 0;
    assert_int_equal(log_open(log), 0);
    assert_int_equal(sizes_seen, 10);
    assert_int_equal(log_close(log), 0);
}

static void full_buffer_refuses_until_its_group_is_durable(void **state)
{
    struct log *log = begin(state);
    log_expect(log, 1, 0);
    int rc;
    while ((rc = log_append(log)) == 0) {
    }
    assert_int_equal(rc, -EAGAIN);
    uint64_t last = plx_journal_last(&log->journal);
    assert_int_equal(log_append(log), -EAGAIN);
    assert_int_equal(plx_journal_last(&log->journal), last);
    assert_int_equal(plx_journal_stats(&log->journal)->refused, 2);
    log_settle(log);
    assert_int_equal(log_append(log), 0);
    assert_int_equal(log_close(log), 0);
    log_expect(log, 1, last + 1);
    assert_int_equal(log_close(log), 0);
}

/* --- segments --------------------------------------------------------------------------------- */

static void full_journal_refuses_until_something_is_forgotten(void **state)
{
    struct log *log = begin(state);
    log_expect(log, 1, 0);
    int rc;
    while ((rc = log_append(log)) == 0 || rc == -EAGAIN)
        world_turn(log->bench->world);
    assert_int_equal(rc, -ENOSPC);
    log_settle(log);
    uint64_t last = plx_journal_last(&log->journal);
    /* Not less than one for each page. */
    assert_true(last > 3 * LOG_SEGMENT / PLX_PAGE);
    assert_int_equal(plx_journal_forget(&log->journal, last + 1), -EINVAL);
    assert_int_equal(plx_journal_forget(&log->journal, 1), 0);
    world_settle(log->bench->world);
    assert_int_equal(log_append(log), -ENOSPC);
    assert_int_equal(plx_journal_error(&log->journal), 0);
    assert_int_equal(plx_journal_forget(&log->journal, last / 2), 0);
    WORLD_UNTIL(log->bench->world, !log->journal.upkeep.is_busy);
    log_write(log, 50);
    assert_true(plx_journal_stats(&log->journal)->segments_used_again >= 1);
    assert_int_equal(plx_journal_stats(&log->journal)->segments_made, 4);
    assert_int_equal(log_close(log), 0);

    assert_int_equal(log_open(log), 0);
    assert_int_equal(log->first, last / 2 + 1);
    assert_int_equal(log->first + log->recovered - 1, last + 50);
    assert_int_equal(log_close(log), 0);
}

static void segments_go_round_without_end(void **state)
{
    struct log *log = begin(state);
    log->opts.segments = 3;
    uint64_t from = 1, to = 0;
    for (unsigned life = 0; life < 6; life++) {
        assert_int_equal(log_open(log), 0);
        if (log->recovered != 0)
            assert_in_range(log->first, 1, from);
        assert_int_equal(plx_journal_last(&log->journal), to);
        for (unsigned i = 0; i < 20; i++) {
            log_write(log, 20);
            to += 20;
            from = to - 10;
            assert_int_equal(plx_journal_forget(&log->journal, from - 1), 0);
        }
        assert_int_equal(log_close(log), 0);
    }
    assert_true(log->journal.oldest > 6);
}

static void journal_keeps_its_segments_size(void **state)
{
    struct log *log = begin(state);
    log_expect(log, 1, 0);
    log_write(log, 10);
    assert_int_equal(log_close(log), 0);
    log->opts.segment_bytes = 2 * LOG_SEGMENT;
    log->opts.segments = 2;
    log_expect(log, 1, 10);
    static struct rt_lines lines;
    memset(&lines, 0, sizeof(lines));
    plx_journal_explain(&log->journal, rt_keep_line, &lines);
    assert_int_equal(rt_lines_with(&lines, "of 2 segments of 65536 bytes"), 1);
    assert_int_equal(rt_lines_with(&lines, "131072 bytes were asked for"), 1);
    assert_true(rt_lines_with(&lines, "descriptor ") >= 1);
    assert_int_equal(log_close(log), 0);
    /* Smaller buffers could not hold what it may have. */
    log->opts.buffer_bytes = 8192;
    assert_int_equal(log_open(log), -EMSGSIZE);
    assert_string_equal(plx_journal_diag(&log->journal)->what, "control");
    log->opts.buffer_bytes = LOG_BUFFER * 2;
    log_expect(log, 1, 10);
    assert_int_equal(log_close(log), 0);
}

static void journal_through_the_cache_and_without_zeros_is_the_same(void **state)
{
    struct log *log = begin(state);
    for (unsigned i = 0; i < 2; i++) {
        log->opts.direct = i == 0 ? PLX_WANT_NO : PLX_WANT_TRY;
        log->opts.zero_fill = i != 0;
        log->opts.registers = PLX_WANT_NO;
        log_expect(log, 1, i * 200);
        log_write(log, 200);
        assert_int_equal(log_close(log), 0);
    }
    log_expect(log, 1, 400);
    assert_int_equal(log_close(log), 0);
}

static void closing_writes_what_was_appended(void **state)
{
    struct log *log = begin(state);
    log_expect(log, 1, 0);
    assert_int_equal(plx_journal_close(&log->journal, note_journal, NULL), 0);
    assert_int_equal(plx_journal_close(&log->journal, note_journal, NULL), -EBUSY);
    log->journal.ctx = &log->outcome;
    assert_int_equal(await(log->bench, &log->outcome, 0), 0);

    log_expect(log, 1, 0);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(log_append(log), 0);
    world_turn(log->bench->world);
    assert_int_equal(log_append(log), 0);
    assert_int_equal(log_close(log), 0);
    assert_int_equal(plx_journal_append(&log->journal, "", 0, NULL), -EBADF);
    assert_int_equal(plx_journal_forget(&log->journal, 0), -EBADF);
    log_expect(log, 1, 11);
    assert_int_equal(log_close(log), 0);
}

static int refuse_third(uint64_t sequence, const void *data, uint32_t len, void *ctx)
{
    (void)data;
    (void)len;
    (void)ctx;
    return sequence == 3 ? -ENOTEMPTY : 0;
}

static void open_ends_with_what_on_record_returns(void **state)
{
    struct log *log = begin(state);
    log_expect(log, 1, 0);
    log_write(log, 5);
    assert_int_equal(log_close(log), 0);
    log->opts.on_record = refuse_third;
    assert_int_equal(log_open(log), -ENOTEMPTY);
    log->opts.on_record = NULL;
    assert_int_equal(log_open(log), 0);
    assert_int_equal(log_close(log), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_CASE(new_journal_has_nothing_and_keeps_what_it_gets),
        BENCH_CASE(open_refuses_what_makes_no_sense),
        BENCH_CASE(open_without_blocks_or_folder_fails),
        BENCH_CASE(records_of_a_turn_share_one_fdatasync),
        BENCH_CASE(waiters_are_told_in_order_and_once),
        BENCH_CASE(records_of_every_size_come_back),
        BENCH_CASE(full_buffer_refuses_until_its_group_is_durable),
        BENCH_CASE(full_journal_refuses_until_something_is_forgotten),
        BENCH_CASE(segments_go_round_without_end),
        BENCH_CASE(journal_keeps_its_segments_size),
        BENCH_CASE(journal_through_the_cache_and_without_zeros_is_the_same),
        BENCH_CASE(closing_writes_what_was_appended),
        BENCH_CASE(open_ends_with_what_on_record_returns),
    };
    return run_main_modes(tests, sizeof(tests) / sizeof(*tests));
}
