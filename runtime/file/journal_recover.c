/* SPDX-License-Identifier: MIT */
/*
 * Reading a journal's records, and telling its tail from damage.
 *
 * Behind a record comes, in this order of looking: the next one of its group; at the next multiple
 * of a page the first one of the next group; the same at the beginning of the next segment. It has
 * the next sequence, a whole checksum, and an epoch that is not smaller. If it is nowhere, the
 * records have ended, at the tail. Then all that lies behind the tail is searched for the beginning
 * of a group with a later sequence. There is none if the group at the tail was never durable, as no
 * later one was written then. What earlier epochs have left behind their tails are pieces of the
 * one group that was in flight, and none of them begins a later group.
 *
 * A segment whose header is damaged is not known by its number. So slots without a header are
 * searched, too, as if they were the segment behind the tail's.
 */
#include <errno.h>
#include <string.h>

#include "runtime/file/journal_internal.h"

#define NO_WINDOW UINT64_MAX

enum phase {
    PHASE_SAME,  /* the next record of a group */
    PHASE_START, /* the next group of the segment */
    PHASE_FIRST, /* the first group of the next segment */
    PHASE_LATER, /* behind the tail, in its segment */
    PHASE_LATER_FOLLOWING,
    PHASE_LATER_UNKNOWN
};

enum look {
    LOOK_NO, /* no record is there */
    LOOK_YES,
    LOOK_READ /* it has to be read first */
};

static void go_on(struct plx_journal *journal);

static bool is_page(uint64_t at)
{
    return at % PLX__JOURNAL_BLOCK == 0;
}

static uint64_t page_of(uint64_t at)
{
    return at & ~(PLX__JOURNAL_BLOCK - 1);
}

/* --- one record ------------------------------------------------------------------------------- */

static void enter(struct plx_journal *journal, enum phase phase, uint32_t slot, uint64_t number,
                  uint64_t at)
{
    struct plx__journal_scan *scan = &journal->scan;
    if (scan->slot != slot || scan->number != number)
        scan->window_at = NO_WINDOW;
    scan->phase = (uint8_t)phase;
    scan->slot = slot;
    scan->number = number;
    scan->at = at;
    journal->seed = plx__journal_seed(journal->opts.id, number);
}

/* Whether a whole record lies at `at`; if so, *out is it. */
static enum look look(const struct plx_journal *journal, uint64_t at,
                      const struct plx__journal_record **out)
{
    const struct plx__journal_scan *scan = &journal->scan;
    uint64_t header_end = at + PLX_JOURNAL_RECORD_OVERHEAD;
    if (header_end > journal->segment_bytes)
        return LOOK_NO;
    /* Read from its page on, a record of the largest size is whole in memory, or cut by the end of
     * the file. */
    bool is_read = scan->window_at == page_of(at);
    uint64_t end = scan->window_at + scan->window_bytes;
    if (scan->window_at == NO_WINDOW || at < scan->window_at || header_end > end)
        return is_read ? LOOK_NO : LOOK_READ;

    const uint8_t *bytes = journal->buffers[0].block + (at - scan->window_at);
    const struct plx__journal_record *record = (const void *)bytes;
    if (record->kind != PLX__JOURNAL_DATA || record->len > journal->record_max ||
        header_end + record->len > journal->segment_bytes)
        return LOOK_NO;
    if (header_end + record->len > end)
        return is_read ? LOOK_NO : LOOK_READ;
    if (plx__journal_record_crc(journal->seed, record, record->len) != record->crc)
        return LOOK_NO;
    *out = record;
    return LOOK_YES;
}

static bool starts_group(const struct plx_journal *journal,
                         const struct plx__journal_record *record)
{
    return record->first == record->sequence && record->epoch >= journal->scan.epoch;
}

static bool is_next(const struct plx_journal *journal, const struct plx__journal_record *record,
                    uint64_t at)
{
    const struct plx__journal_scan *scan = &journal->scan;
    if (record->sequence != scan->sequence)
        return false;
    if (is_page(at) && starts_group(journal, record))
        return true;
    return scan->phase == PHASE_SAME && record->first == scan->group_first &&
           record->epoch == scan->epoch;
}

/* Takes the record at `at` as the next one. */
static int take(struct plx_journal *journal, const struct plx__journal_record *record, uint64_t at)
{
    struct plx__journal_scan *scan = &journal->scan;
    if (record->epoch > PLX__JOURNAL_EPOCH_MAX) {
        plx__journal_blame(journal, -EBADMSG, scan->number,
                           "offset %llu: epoch %u, which none reaches", (unsigned long long)at,
                           record->epoch);
        return -EBADMSG;
    }
    if (record->sequence > journal->forgotten) {
        journal->stats.recovered++;
        int rc = journal->opts.on_record == NULL
                     ? 0
                     : journal->opts.on_record(record->sequence, record + 1, record->len,
                                               journal->opts.ctx);
        if (rc < 0) {
            plx__journal_blame(journal, rc, scan->number, "on_record refused sequence %llu",
                               (unsigned long long)record->sequence);
            return rc;
        }
    }
    if (record->sequence == record->first) {
        scan->group_slot = scan->slot;
        scan->group_at = at;
    }
    scan->phase = PHASE_SAME;
    scan->at = at + plx__journal_bytes(record->len);
    scan->group_end = plx_round_up(scan->at, PLX__JOURNAL_BLOCK);
    scan->group_first = record->first;
    scan->epoch = record->epoch;
    if (record->epoch > scan->epoch_max)
        scan->epoch_max = record->epoch;
    scan->sequence++;
    journal->slots[scan->slot].last_sequence = record->sequence;
    return 0;
}

/* --- the end ---------------------------------------------------------------------------------- */

static int damaged(struct plx_journal *journal, uint64_t later)
{
    const struct plx__journal_scan *scan = &journal->scan;
    plx__journal_blame(
        journal, -EBADMSG, scan->tail_number,
        "damaged at offset %llu: no whole record of sequence %llu, though %llu came later",
        (unsigned long long)scan->lost_at, (unsigned long long)scan->sequence,
        (unsigned long long)later);
    return -EBADMSG;
}

static int missing(struct plx_journal *journal, uint64_t number)
{
    plx__journal_blame(journal, -EBADMSG, number,
                       "its header, at offset 0 of a file, is missing or damaged");
    return -EBADMSG;
}

/* What tells, without a search, that more had been acknowledged. */
static int check_end(struct plx_journal *journal)
{
    const struct plx__journal_scan *scan = &journal->scan;
    if (scan->sequence <= journal->forgotten)
        return damaged(journal, journal->forgotten);
    bool has_following =
        plx__journal_slot_of(journal, scan->tail_number + 1) != PLX__JOURNAL_NO_SLOT;
    for (uint32_t i = 0; i < PLX_JOURNAL_SEGMENTS_MAX; i++) {
        /* Beyond the one behind the tail's a second one may have been made ready. */
        uint64_t number = journal->slots[i].number;
        if (number <= scan->tail_number + 1 || (has_following && number == scan->tail_number + 2))
            continue;
        if (!has_following)
            return missing(journal, scan->tail_number + 1);
        plx__journal_blame(journal, -EBADMSG, scan->tail_number,
                           "damaged at offset %llu: no whole record of sequence %llu, though "
                           "segment %llu came later",
                           (unsigned long long)scan->lost_at, (unsigned long long)scan->sequence,
                           (unsigned long long)number);
        return -EBADMSG;
    }
    return 0;
}

/* The records of this segment have ended. */
static int leave_segment(struct plx_journal *journal)
{
    struct plx__journal_scan *scan = &journal->scan;
    scan->tail_slot = scan->slot;
    scan->tail_number = scan->number;
    scan->tail_at = plx_round_up(scan->at, PLX__JOURNAL_BLOCK);
    scan->lost_at = scan->at;
    uint32_t following = plx__journal_slot_of(journal, scan->number + 1);
    if (following != PLX__JOURNAL_NO_SLOT) {
        enter(journal, PHASE_FIRST, following, scan->number + 1, PLX__JOURNAL_BLOCK);
        return 0;
    }
    enter(journal, PHASE_LATER, scan->tail_slot, scan->tail_number, scan->tail_at);
    return check_end(journal);
}

static int not_in_next_segment(struct plx_journal *journal)
{
    struct plx__journal_scan *scan = &journal->scan;
    enter(journal, PHASE_LATER, scan->tail_slot, scan->tail_number, scan->tail_at);
    return check_end(journal);
}

/* From `slot` on, one whose header is not whole. Returns whether there is one. */
static bool enter_unknown(struct plx_journal *journal, uint32_t slot)
{
    for (; slot < PLX_JOURNAL_SEGMENTS_MAX; slot++) {
        if (journal->slots[slot].number == 0 && plx_file_is_open(&journal->slots[slot].file)) {
            enter(journal, PHASE_LATER_UNKNOWN, slot, journal->scan.tail_number + 1,
                  PLX__JOURNAL_BLOCK);
            return true;
        }
    }
    return false;
}

/* A file has been searched. Returns whether there is another one. */
static bool search_next(struct plx_journal *journal)
{
    const struct plx__journal_scan *scan = &journal->scan;
    uint64_t number = scan->tail_number + 1;
    uint32_t following = plx__journal_slot_of(journal, number);
    if (scan->phase == PHASE_LATER && following != PLX__JOURNAL_NO_SLOT) {
        enter(journal, PHASE_LATER_FOLLOWING, following, number, PLX__JOURNAL_BLOCK);
        return true;
    }
    if (following != PLX__JOURNAL_NO_SLOT)
        return false;
    return enter_unknown(journal, scan->phase == PHASE_LATER ? 0 : scan->slot + 1);
}

/* --- going through ---------------------------------------------------------------------------- */

static void finish(struct plx_journal *journal, int64_t result)
{
    journal->scan.window_at = NO_WINDOW;
    journal->after_recovery(journal, result);
}

static void window_read(struct plx_journal *journal, int64_t result)
{
    if (result < 0) {
        plx__journal_blame(journal, (int)result, journal->scan.number, "read at offset %llu: %s",
                           (unsigned long long)journal->scan.window_at,
                           strerrordesc_np(-(int)result));
        finish(journal, result);
        return;
    }
    journal->scan.window_bytes = (uint64_t)result;
    go_on(journal);
}

static void read_window(struct plx_journal *journal, uint64_t at)
{
    struct plx__journal_scan *scan = &journal->scan;
    uint64_t left = journal->segment_bytes - page_of(at);
    uint64_t bytes = left < journal->opts.buffer_bytes ? left : journal->opts.buffer_bytes;
    scan->window_at = page_of(at);
    plx__journal_transfer(&journal->upkeep, PLX__TASK_READ, &journal->slots[scan->slot].file,
                          journal->buffers[0].block, bytes, scan->window_at, window_read);
}

/* One look for the next record. 0: on it goes; 1: reading; negative: over. */
static int step_records(struct plx_journal *journal)
{
    struct plx__journal_scan *scan = &journal->scan;
    uint64_t at =
        scan->phase == PHASE_START ? plx_round_up(scan->at, PLX__JOURNAL_BLOCK) : scan->at;
    const struct plx__journal_record *record = NULL;
    enum look found = look(journal, at, &record);
    if (found == LOOK_READ) {
        read_window(journal, at);
        return 1;
    }
    if (found == LOOK_YES && is_next(journal, record, at))
        return take(journal, record, at);
    if (scan->phase == PHASE_SAME && !is_page(at)) {
        scan->phase = PHASE_START;
        return 0;
    }
    return scan->phase == PHASE_FIRST ? not_in_next_segment(journal) : leave_segment(journal);
}

/* One look for what must not be there. The same; 2: nothing was found. */
static int step_search(struct plx_journal *journal)
{
    struct plx__journal_scan *scan = &journal->scan;
    const struct plx__journal_record *record = NULL;
    if (scan->at + PLX_JOURNAL_RECORD_OVERHEAD > journal->segment_bytes)
        return search_next(journal) ? 0 : 2;
    enum look found = look(journal, scan->at, &record);
    if (found == LOOK_READ) {
        read_window(journal, scan->at);
        return 1;
    }
    if (found == LOOK_YES && starts_group(journal, record) && record->sequence >= scan->sequence) {
        if (scan->phase == PHASE_LATER_UNKNOWN)
            return missing(journal, scan->number);
        if (record->sequence > scan->sequence)
            return damaged(journal, record->sequence);
    }
    scan->at += PLX__JOURNAL_BLOCK;
    return 0;
}

static void go_on(struct plx_journal *journal)
{
    int rc;
    do {
        bool reads = journal->scan.phase <= PHASE_FIRST;
        rc = reads ? step_records(journal) : step_search(journal);
    } while (rc == 0);
    if (rc != 1)
        finish(journal, rc < 0 ? rc : 0);
}

static int check_numbers(struct plx_journal *journal)
{
    for (uint32_t i = 0; i < PLX_JOURNAL_SEGMENTS_MAX; i++) {
        uint64_t number = journal->slots[i].number;
        if (number < journal->oldest || plx__journal_slot_of(journal, number) == i)
            continue;
        plx__journal_blame(journal, -EBADMSG, number, "is there twice");
        return -EBADMSG;
    }
    return 0;
}

void plx__journal_recover(struct plx_journal *journal, plx__journal_next_fn next)
{
    journal->after_recovery = next;
    int rc = check_numbers(journal);
    uint32_t slot = plx__journal_slot_of(journal, journal->oldest);
    if (rc == 0 && slot == PLX__JOURNAL_NO_SLOT)
        rc = missing(journal, journal->oldest);
    if (rc != 0) {
        finish(journal, rc);
        return;
    }
    journal->scan = (struct plx__journal_scan){
        .sequence = journal->oldest_sequence,
        .window_at = NO_WINDOW,
        .slot = PLX__JOURNAL_NO_SLOT,
        .group_slot = PLX__JOURNAL_NO_SLOT,
    };
    enter(journal, PHASE_SAME, slot, journal->oldest, PLX__JOURNAL_BLOCK);
    go_on(journal);
}
