/* SPDX-License-Identifier: MIT */
/* A journal whose files were torn, damaged, or are not its own: what is the tail, what an error. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "runtime/file/journal_internal.h"
#include "test/runtime/file/journal_fixture.h"

#define PAGE ((uint64_t)PLX_PAGE)

static struct log the_log;
static char path[160];

/* Groups of these many records, in segment-00 from page 1 on. */
static struct log *begin(void **state, const unsigned *groups)
{
    struct bench *bench = *state;
    need_files(bench);
    struct log *log = &the_log;
    log_init(log, bench);
    log_expect(log, 1, 0);
    for (unsigned i = 0; groups[i] != 0; i++)
        log_write(log, groups[i]);
    WORLD_UNTIL(bench->world, !log->journal.upkeep.is_busy);
    assert_int_equal(log_close(log), 0);
    log_path(log, "segment-00", path, sizeof(path));
    return log;
}

/* Where the record of that sequence begins in the file at `path`. */
static uint64_t find(uint64_t sequence)
{
    for (uint64_t at = PAGE; at < LOG_SEGMENT; at += 8) {
        struct plx__journal_record record;
        peek(path, at, &record, sizeof(record));
        if (record.kind == PLX__JOURNAL_DATA && record.sequence == sequence)
            return at;
    }
    fail_msg("no record %llu", (unsigned long long)sequence);
    return 0;
}

static void expect_damage(struct log *log, const char *what, const char *text)
{
    int rc = log_open(log);
    const struct plx_diag *diag = plx_journal_diag(&log->journal);
    if (rc != -EBADMSG)
        fail_msg("opening gave %d, %s %s", rc, diag->what, diag->text);
    assert_int_equal(diag->code, -EBADMSG);
    assert_string_equal(diag->what, what);
    if (strstr(diag->text, text) == NULL)
        fail_msg("'%s' is not in '%s'", text, diag->text);
}

/* Opens with `last` records, appends others, and expects these and no more from then on. */
static void expect_tail(struct log *log, uint64_t last)
{
    log_expect(log, 1, last);
    log->salt = 9;
    log->salt_from = last + 1;
    log_write(log, 2);
    assert_int_equal(log_close(log), 0);
    log_expect(log, 1, last + 2);
    log_write(log, 5);
    assert_int_equal(log_close(log), 0);
    log_expect(log, 1, last + 7);
    assert_int_equal(log_close(log), 0);
}

static void zero_pages(uint64_t at, uint64_t bytes)
{
    static const uint8_t zeros[LOG_SEGMENT];
    poke(path, at, zeros, bytes);
}

/* --- records ---------------------------------------------------------------------------------- */

static void damaged_record_before_later_groups_is_an_error(void **state)
{
    struct log *log = begin(state, (const unsigned[]){5, 30, 5, 0});
    uint64_t at = find(12);
    char text[64];
    snprintf(text, sizeof(text), "offset %llu: no whole record of sequence 12",
             (unsigned long long)at);
    static const unsigned offsets[] = {0, 4, 8, 16, 24, 28, 40};
    for (size_t i = 0; i < sizeof(offsets) / sizeof(*offsets); i++) {
        flip(path, at + offsets[i]);
        expect_damage(log, "segment 1", text);
        assert_int_equal(log->recovered, 11);
        flip(path, at + offsets[i]);
    }
    log_expect(log, 1, 40);
    assert_int_equal(log_close(log), 0);
}

static void lost_group_before_later_ones_is_an_error(void **state)
{
    struct log *log = begin(state, (const unsigned[]){1, 1, 1, 1, 0});
    zero_pages(2 * PAGE, PAGE);
    expect_damage(log, "segment 1", "sequence 2, though 3 came later");
    zero_pages(PAGE, 2 * PAGE);
    expect_damage(log, "segment 1", "sequence 1, though 3 came later");
}

static void torn_last_group_is_the_tail(void **state)
{
    /* Of the last group: nothing; the first page lost; a page within; only its end. */
    for (unsigned i = 0; i < 4; i++) {
        struct log *log = begin(state, (const unsigned[]){3, 40, 0});
        uint64_t group = find(4), within = find(20), end = find(43);
        assert_true(end > group + 2 * PAGE);
        uint64_t last = 3;
        if (i == 0) {
            zero_pages(group, LOG_SEGMENT - group);
        } else if (i == 1) {
            zero_pages(group, PAGE);
        } else if (i == 2) {
            zero_pages(within & ~(uint64_t)511, 512);
            for (last = 3; find(last + 1) + 700 < (within & ~(uint64_t)511); last++) {
            }
        } else {
            flip(path, end + 33);
            last = 42;
        }
        assert_int_equal(log_open(log), 0);
        assert_true(log->recovered >= last && log->recovered < 43);
        last = log->recovered;
        assert_int_equal(log_close(log), 0);
        expect_tail(log, last);
        /* The next round begins anew. */
        remove_folder(log->bench->folder);
        make_folder(log->bench->folder);
    }
}

static void what_a_torn_group_left_never_comes_back(void **state)
{
    struct log *log = begin(state, (const unsigned[]){1, 40, 0});
    /* The first page of the second group is lost, those behind it stay. */
    uint8_t behind[PAGE];
    peek(path, 3 * PAGE, behind, sizeof(behind));
    zero_pages(2 * PAGE, PAGE);
    log_expect(log, 1, 1);
    log->salt = 3;
    log->salt_from = 2;
    log_write(log, 1);
    assert_int_equal(log_close(log), 0);
    uint8_t now[PAGE];
    peek(path, 3 * PAGE, now, sizeof(now));
    assert_memory_equal(behind, now, PAGE);
    log_expect(log, 1, 2);
    assert_int_equal(log_close(log), 0);
}

static void group_of_an_earlier_epoch_never_follows_a_later_one(void **state)
{
    struct log *log = begin(state, (const unsigned[]){1, 1, 1, 0});
    /* As if the third had been in flight, and came to the disk after all, later. */
    uint8_t third[PAGE];
    peek(path, 3 * PAGE, third, sizeof(third));
    zero_pages(2 * PAGE, 2 * PAGE);
    log_expect(log, 1, 1);
    log->salt = 3;
    log->salt_from = 2;
    log_write(log, 1);
    assert_int_equal(log_close(log), 0);
    poke(path, 3 * PAGE, third, sizeof(third));
    log_expect(log, 1, 2);
    log_write(log, 1);
    assert_int_equal(log_close(log), 0);
    log_expect(log, 1, 3);
    assert_int_equal(log_close(log), 0);
}

/* --- segments --------------------------------------------------------------------------------- */

/* Fills three segments or more, and gives their number. */
static uint64_t fill(struct log *log)
{
    assert_int_equal(log_open(log), 0);
    while (log->journal.slots[log->journal.current].number < 4)
        log_write(log, 25);
    WORLD_UNTIL(log->bench->world, !log->journal.upkeep.is_busy);
    uint64_t last = plx_journal_last(&log->journal);
    assert_int_equal(log_close(log), 0);
    return last;
}

static void slot_path(struct log *log, uint32_t slot)
{
    char name[16];
    plx__journal_slot_name(name, sizeof(name), slot);
    log_path(log, name, path, sizeof(path));
}

static void damaged_header_is_an_error_that_names_its_segment(void **state)
{
    struct log *log = begin(state, (const unsigned[]){1, 0});
    uint64_t last = fill(log);
    for (uint32_t slot = 0; slot < 4; slot++) {
        slot_path(log, slot);
        char what[32];
        snprintf(what, sizeof(what), "segment %u", slot + 1);
        flip(path, 24);
        expect_damage(log, what, "its header, at offset 0");
        flip(path, 24);
        flip(path, 0);
        expect_damage(log, what, "its header, at offset 0");
        flip(path, 0);
    }
    log_expect(log, 1, last);
    assert_int_equal(log_close(log), 0);
}

static void missing_segment_is_an_error(void **state)
{
    struct log *log = begin(state, (const unsigned[]){1, 0});
    log->opts.segments = 8;
    uint64_t last = fill(log);
    for (uint32_t slot = 0; slot < 4; slot++) {
        slot_path(log, slot);
        char aside[160], what[32];
        log_path(log, "aside", aside, sizeof(aside));
        snprintf(what, sizeof(what), "segment %u", slot + 1);
        assert_int_equal(rename(path, aside), 0);
        expect_damage(log, what, "is missing or damaged");
        assert_int_equal(rename(aside, path), 0);
    }
    /* Cut short: in the middle damage, behind the tail nothing at all. */
    slot_path(log, 1);
    assert_int_equal(truncate(path, 3 * PLX_PAGE), 0);
    expect_damage(log, "segment 2", "came later");
    slot_path(log, 4);
    assert_int_equal(truncate(path, PLX_PAGE), 0);
    slot_path(log, 1);
    (void)last;
}

static void segment_that_is_there_twice_is_an_error(void **state)
{
    struct log *log = begin(state, (const unsigned[]){5, 0});
    uint8_t page[PAGE];
    peek(path, 0, page, sizeof(page));
    slot_path(log, 1);
    poke(path, 0, page, sizeof(page));
    expect_damage(log, "segment 1", "is there twice");
}

static void used_again_segment_shows_nothing_of_before(void **state)
{
    struct log *log = begin(state, (const unsigned[]){1, 0});
    log->opts.segments = 2;
    assert_int_equal(log_open(log), 0);
    while (plx_journal_stats(&log->journal)->segments_used_again < 3) {
        log_write(log, 1);
        assert_int_equal(plx_journal_forget(&log->journal, plx_journal_last(&log->journal)), 0);
        WORLD_UNTIL(log->bench->world, !log->journal.upkeep.is_busy);
    }
    uint64_t last = plx_journal_last(&log->journal);
    assert_int_equal(log_close(log), 0);
    /* Both are full of old records behind what is new. */
    assert_int_equal(log_open(log), 0);
    assert_int_equal(plx_journal_last(&log->journal), last);
    log_write(log, 1);
    assert_int_equal(log_close(log), 0);
    assert_int_equal(log_open(log), 0);
    assert_int_equal(plx_journal_last(&log->journal), last + 1);
    assert_int_equal(log_close(log), 0);
}

/* --- the control page ------------------------------------------------------------------------- */

static void one_control_page_is_enough(void **state)
{
    struct log *log = begin(state, (const unsigned[]){5, 5, 0});
    for (unsigned i = 0; i < 4; i++) {
        log_path(log, "control", path, sizeof(path));
        flip(path, i % 2 * PAGE + 40);
        log_expect(log, 1, 10 + i);
        log_write(log, 1);
        assert_int_equal(log_close(log), 0);
    }
}

static void lost_control_is_an_error_unless_there_is_nothing(void **state)
{
    struct log *log = begin(state, (const unsigned[]){5, 0});
    log_path(log, "control", path, sizeof(path));
    uint8_t pages[2 * PAGE];
    peek(path, 0, pages, sizeof(pages));
    flip(path, 20);
    flip(path, PAGE + 20);
    expect_damage(log, "control", "missing or damaged, while there are segments");
    assert_int_equal(unlink(path), 0);
    expect_damage(log, "control", "missing or damaged, while there are segments");
    /* A crash while the very first is made leaves one that is damaged, and no segment. */
    for (uint32_t slot = 0; slot < 2; slot++) {
        slot_path(log, slot);
        assert_int_equal(unlink(path), 0);
    }
    log_path(log, "control", path, sizeof(path));
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fclose(file), 0);
    poke(path, 0, pages, 30);
    log_expect(log, 1, 0);
    assert_int_equal(log_close(log), 0);
}

/* Changes a page of the control file and makes it whole again. */
static void change_control(uint64_t at, void (*change)(struct plx__journal_control *))
{
    union {
        struct plx__journal_control control;
        uint8_t bytes[PAGE];
    } page;
    peek(path, at, &page, sizeof(page));
    change(&page.control);
    page.control.crc = plx__crc32c(0, page.bytes + 4, sizeof(page.control) - 4);
    poke(path, at, &page, sizeof(page));
}

static void make_not_live(struct plx__journal_control *control)
{
    control->is_live = 0;
}

static void make_newer(struct plx__journal_control *control)
{
    control->version = 2;
}

static void make_senseless(struct plx__journal_control *control)
{
    control->segment_bytes = 12345;
}

static void make_forgetful(struct plx__journal_control *control)
{
    control->forgotten = 100;
}

static void make_last_segment(struct plx__journal_control *control)
{
    control->oldest = UINT64_MAX;
}

static void make_last_sequence(struct plx__journal_control *control)
{
    control->oldest_sequence = UINT64_MAX;
}

static void make_last_count(struct plx__journal_control *control)
{
    control->count = UINT64_MAX;
}

static void make_last_epoch(struct plx__journal_control *control)
{
    control->epoch = UINT32_MAX;
}

static void control_that_would_wrap_is_refused(void **state)
{
    struct log *log = begin(state, (const unsigned[]){5, 0});
    static const struct {
        void (*change)(struct plx__journal_control *);
        const char *text;
    } cases[] = {
        {make_last_segment, "oldest segment"},
        {make_last_sequence, "oldest sequence"},
        {make_last_count, "count of writes"},
        {make_last_epoch, "epoch"},
    };
    log_path(log, "control", path, sizeof(path));
    uint8_t pages[2 * PAGE];
    peek(path, 0, pages, sizeof(pages));
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        change_control(0, cases[i].change);
        change_control(PAGE, cases[i].change);
        expect_damage(log, "control", cases[i].text);
        poke(path, 0, pages, sizeof(pages));
    }
    log_expect(log, 1, 5);
    assert_int_equal(log_close(log), 0);
}

static void segment_number_that_would_wrap_is_refused(void **state)
{
    struct log *log = begin(state, (const unsigned[]){5, 0});
    uint8_t before[PAGE];
    union {
        struct plx__journal_header header;
        uint8_t bytes[PAGE];
    } page;
    slot_path(log, 1);
    peek(path, 0, before, sizeof(before));
    memcpy(&page, before, sizeof(page));
    page.header.number = UINT64_MAX;
    plx__journal_seal_header(&page.header);
    poke(path, 0, &page, sizeof(page));
    expect_damage(log, "segment-01", "number 18446744073709551615");
    poke(path, 0, before, sizeof(before));
    log_expect(log, 1, 5);
    assert_int_equal(log_close(log), 0);
}

static void record_of_an_epoch_that_would_wrap_is_refused(void **state)
{
    struct log *log = begin(state, (const unsigned[]){1, 0});
    union {
        struct plx__journal_record record;
        uint8_t bytes[PAGE];
    } page;
    peek(path, PAGE, &page, sizeof(page));
    assert_true(page.record.len <= PAGE - sizeof(page.record));
    page.record.epoch = UINT32_MAX;
    page.record.crc =
        plx__journal_record_crc(plx__journal_seed(log->opts.id, 1), &page, page.record.len);
    poke(path, PAGE, &page, sizeof(page));
    expect_damage(log, "segment 1", "epoch 4294967295");
    assert_int_equal(log->recovered, 0);
}

static void control_of_another_kind_is_refused(void **state)
{
    struct log *log = begin(state, (const unsigned[]){5, 0});
    static const struct {
        void (*change)(struct plx__journal_control *);
        int result;
        const char *text;
    } cases[] = {
        {make_newer, -EPROTONOSUPPORT, "version 2, 1 is known"},
        {make_senseless, -EBADMSG, "makes no sense"},
        {make_forgetful, -EBADMSG, "though 100 came later"},
    };
    log_path(log, "control", path, sizeof(path));
    uint8_t pages[2 * PAGE];
    peek(path, 0, pages, sizeof(pages));
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        change_control(0, cases[i].change);
        change_control(PAGE, cases[i].change);
        assert_int_equal(log_open(log), cases[i].result);
        assert_non_null(strstr(plx_journal_diag(&log->journal)->text, cases[i].text));
        poke(path, 0, pages, sizeof(pages));
    }
    log->opts.id = 5;
    assert_int_equal(log_open(log), -EINVAL);
    assert_non_null(strstr(plx_journal_diag(&log->journal)->text, "has the id 0, not 5"));
    log->opts.id = 0;
    log_expect(log, 1, 5);
    assert_int_equal(log_close(log), 0);
}

static void segment_of_another_journal_is_refused(void **state)
{
    struct log *log = begin(state, (const unsigned[]){5, 0});
    union {
        struct plx__journal_header header;
        uint8_t bytes[PAGE];
    } page;
    slot_path(log, 1);
    peek(path, 0, &page, sizeof(page));
    page.header.id = 7;
    plx__journal_seal_header(&page.header);
    poke(path, 0, &page, sizeof(page));
    assert_int_equal(log_open(log), -EINVAL);
    assert_string_equal(plx_journal_diag(&log->journal)->what, "segment-01");
    page.header.id = 0;
    page.header.number = 9;
    plx__journal_seal_header(&page.header);
    poke(path, 0, &page, sizeof(page));
    expect_damage(log, "segment 2", "is missing or damaged");
}

static void half_made_journal_is_made_anew(void **state)
{
    struct log *log = begin(state, (const unsigned[]){5, 0});
    /* As a crash leaves it before its first segment counts: nothing was acknowledged by then. */
    log_path(log, "control", path, sizeof(path));
    change_control(0, make_not_live);
    change_control(PAGE, make_not_live);
    log_expect(log, 1, 0);
    log->salt = 4;
    log->salt_from = 1;
    log_write(log, 2);
    assert_int_equal(log_close(log), 0);
    log_expect(log, 1, 2);
    assert_int_equal(log_close(log), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_CASE(damaged_record_before_later_groups_is_an_error),
        BENCH_CASE(lost_group_before_later_ones_is_an_error),
        BENCH_CASE(torn_last_group_is_the_tail),
        BENCH_CASE(what_a_torn_group_left_never_comes_back),
        BENCH_CASE(group_of_an_earlier_epoch_never_follows_a_later_one),
        BENCH_CASE(damaged_header_is_an_error_that_names_its_segment),
        BENCH_CASE(missing_segment_is_an_error),
        BENCH_CASE(segment_that_is_there_twice_is_an_error),
        BENCH_CASE(used_again_segment_shows_nothing_of_before),
        BENCH_CASE(one_control_page_is_enough),
        BENCH_CASE(lost_control_is_an_error_unless_there_is_nothing),
        BENCH_CASE(control_that_would_wrap_is_refused),
        BENCH_CASE(segment_number_that_would_wrap_is_refused),
        BENCH_CASE(record_of_an_epoch_that_would_wrap_is_refused),
        BENCH_CASE(control_of_another_kind_is_refused),
        BENCH_CASE(segment_of_another_journal_is_refused),
        BENCH_CASE(half_made_journal_is_made_anew),
    };
    return run_main_modes(tests, sizeof(tests) / sizeof(*tests));
}
