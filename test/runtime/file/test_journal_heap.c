/* SPDX-License-Identifier: MIT */
/*
 * Once they are open, files and journals do not use the system's allocator: this program stands in
 * for it and counts the calls while records become durable and segments go round.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test/runtime/file/file_fixture.h"
#include "test/runtime/file/journal_model.h"
#include "test/runtime/heap_calls.h"
#include "test/runtime/rt_fixture.h"

#define RECORDS 2000u
#define WARM_UP 500u
#define KEPT    20u

static struct {
    struct plx_reactor *reactor;
    struct plx_journal journal;
    struct plx_file file;
    struct plx_file_io io;
    struct outcome outcome;
    struct plx_journal_wait wait;
    uint64_t waits_told;
} here;

static void note(struct plx_journal *journal, int result, void *ctx)
{
    (void)journal;
    struct outcome *outcome = ctx;
    outcome->times++;
    outcome->result = result;
}

static void finish(int rc)
{
    assert_int_equal(rc, 0);
    RT_TURN_UNTIL(here.reactor, here.outcome.times != 0);
    assert_true(here.outcome.result >= 0);
    here.outcome.times = 0;
}

static void told(struct plx_journal_wait *wait, int result, void *ctx)
{
    (void)wait;
    (void)ctx;
    assert_int_equal(result, 0);
    here.waits_told++;
}

static void append_one(void)
{
    uint8_t data[LOG_RECORD_MAX];
    uint64_t next = plx_journal_last(&here.journal) + 1;
    uint32_t len = log_record(next, 0, data);
    int rc;
    while ((rc = plx_journal_append(&here.journal, data, len, NULL)) != 0) {
        assert_true(rc == -EAGAIN || rc == -ENOSPC);
        (void)plx_reactor_poll(here.reactor);
    }
    if (!here.wait.armed)
        assert_int_equal(plx_journal_wait(&here.journal, &here.wait, next, told, NULL), 0);
    uint64_t durable = plx_journal_durable(&here.journal);
    if (durable > KEPT)
        assert_int_equal(plx_journal_forget(&here.journal, durable - KEPT), 0);
    if (next % 3 == 0)
        (void)plx_reactor_poll(here.reactor);
}

static void expect_no_heap_calls(const char *words)
{
    char folder[64], path[128];
    make_folder(folder);
    snprintf(path, sizeof(path), "%s/file", folder);
    memset(&here, 0, sizeof(here));
    struct plx_runtime *rt = rt_create(words, NULL);
    here.reactor = rt_adopt(rt, 0);
    assert_true(heap_calls() > 0);
    struct plx_pool *pool = plx_reactor_pool(here.reactor);
    struct plx_journal_opts opts;
    plx_journal_opts_init(&opts);
    opts.segment_bytes = 64 << 10;
    opts.segments = 3;
    opts.buffer_bytes = 16 << 10;
    finish(plx_journal_open(&here.journal, here.reactor, pool, folder, &opts, note, &here.outcome));

    struct plx_file_opts file_opts;
    plx_file_opts_init(&file_opts);
    file_opts.access = PLX_FILE_READ | PLX_FILE_WRITE | PLX_FILE_CREATE;
    file_opts.direct = PLX_WANT_TRY;
    uint8_t *block = plx_pool_acquire(pool, PLX_PAGE);
    assert_non_null(block);
    memset(block, 1, PLX_PAGE);
    uint64_t before = 0;
    for (unsigned i = 0; i < RECORDS; i++) {
        if (i == WARM_UP)
            before = heap_calls();
        append_one();
        if (i % 50 != 0)
            continue;
        finish(plx_file_open(&here.file, here.reactor, path, &file_opts, note_file, &here.outcome));
        finish(
            plx_file_write_all(&here.file, &here.io, block, PLX_PAGE, 0, note_io, &here.outcome));
        finish(plx_file_read_all(&here.file, &here.io, block, PLX_PAGE, 0, note_io, &here.outcome));
        finish(plx_file_close(&here.file, note_file, &here.outcome));
    }
    finish(plx_journal_close(&here.journal, note, &here.outcome));
    assert_int_equal(heap_calls() - before, 0);
    assert_true(here.waits_told > 10);
    assert_true(plx_journal_stats(&here.journal)->segments_used_again > 3);
    plx_pool_release(pool, block);
    rt_abandon(here.reactor);
    plx_runtime_destroy(rt);
    remove_folder(folder);
}

static void journal_on_rings_makes_no_heap_call(void **state)
{
    (void)state;
    skip_unless_counting();
    rt_need_uring();
    expect_no_heap_calls("backend=uring");
}

static void journal_on_epoll_makes_no_heap_call(void **state)
{
    (void)state;
    skip_unless_counting();
    expect_no_heap_calls("backend=epoll");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(journal_on_rings_makes_no_heap_call),
        cmocka_unit_test(journal_on_epoll_makes_no_heap_call),
    };
    return cmocka_run_group_tests_name("journal heap", tests, NULL, NULL);
}
