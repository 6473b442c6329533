/* SPDX-License-Identifier: MIT */
/*
 * The journal's segments: made ready ahead of need, forgotten, used again; and the control page,
 * which must say that a segment is forgotten before its slot is written to.
 */
#include <errno.h>
#include <string.h>

#include "runtime/file/journal_internal.h"

uint32_t plx__journal_slot_of(const struct plx_journal *journal, uint64_t number)
{
    for (uint32_t i = 0; i < PLX_JOURNAL_SEGMENTS_MAX; i++) {
        if (journal->slots[i].number == number)
            return i;
    }
    return PLX__JOURNAL_NO_SLOT;
}

/* --- the control page ------------------------------------------------------------------------- */

static void control_durable(struct plx_journal *journal, int64_t result)
{
    if (result < 0)
        plx__journal_blame_file(journal, (int)result, "control", "fdatasync: %s",
                                strerrordesc_np(-(int)result));
    journal->after_control(journal, result < 0 ? result : 0);
}

static void control_written(struct plx_journal *journal, int64_t result)
{
    if (result < 0) {
        plx__journal_blame_file(journal, (int)result, "control", "write: %s",
                                strerrordesc_np(-(int)result));
        journal->after_control(journal, result);
        return;
    }
    plx__journal_run_file(&journal->upkeep, PLX__TASK_DATA, &journal->control, control_durable);
}

void plx__journal_write_control(struct plx_journal *journal, plx__journal_next_fn next)
{
    struct plx__journal_control *control = (struct plx__journal_control *)(void *)journal->page;
    memset(journal->page, 0, PLX__JOURNAL_BLOCK);
    journal->control_count++;
    control->id = journal->opts.id;
    control->count = journal->control_count;
    control->segment_bytes = journal->segment_bytes;
    control->oldest = journal->oldest;
    control->oldest_sequence = journal->oldest_sequence;
    control->forgotten = journal->forgotten;
    control->epoch = journal->epoch;
    control->is_live = journal->is_live;
    control->record_max = journal->record_max;
    plx__journal_seal_control(control);
    journal->after_control = next;
    plx__journal_transfer(&journal->upkeep, PLX__TASK_WRITE, &journal->control, journal->page,
                          PLX__JOURNAL_BLOCK, (journal->control_count & 1) * PLX__JOURNAL_BLOCK,
                          control_written);
}

/* --- making a segment ready ------------------------------------------------------------------- */

static struct plx__journal_slot *making(struct plx_journal *journal)
{
    return &journal->slots[journal->making];
}

static void made(struct plx_journal *journal, int64_t result)
{
    journal->after_making(journal, result < 0 ? result : (int64_t)journal->making);
}

static void making_failed(struct plx_journal *journal, int64_t result)
{
    /* A header that was written may be there all the same; it is written over then. */
    making(journal)->number = 0;
    made(journal, result);
}

/* Unlike a failure before: the header may be there or not, and must not be in a second slot. */
static void header_failed(struct plx_journal *journal, int64_t result)
{
    plx__journal_blame(journal, (int)result, journal->making_number, "writing its header: %s",
                       strerrordesc_np(-(int)result));
    journal->is_spoiled = true;
    making_failed(journal, result);
}

static void header_durable(struct plx_journal *journal, int64_t result)
{
    if (result < 0)
        header_failed(journal, result);
    else
        made(journal, 0);
}

static void header_written(struct plx_journal *journal, int64_t result)
{
    if (result < 0)
        header_failed(journal, result);
    else
        plx__journal_run_file(&journal->upkeep, PLX__TASK_DATA, &making(journal)->file,
                              header_durable);
}

static void write_header(struct plx_journal *journal)
{
    struct plx__journal_header *header = (struct plx__journal_header *)(void *)journal->page;
    memset(journal->page, 0, PLX__JOURNAL_BLOCK);
    header->id = journal->opts.id;
    header->number = journal->making_number;
    header->segment_bytes = journal->segment_bytes;
    plx__journal_seal_header(header);
    plx__journal_transfer(&journal->upkeep, PLX__TASK_WRITE, &making(journal)->file, journal->page,
                          PLX__JOURNAL_BLOCK, 0, header_written);
}

static void folder_durable(struct plx_journal *journal, int64_t result)
{
    /* Some file systems have no fsync for folders: there is nothing more to be done there. */
    if (result < 0 && result != -EINVAL) {
        making_failed(journal, result);
        return;
    }
    journal->folder_changed = false;
    making(journal)->is_filled = true;
    write_header(journal);
}

static void fill_durable(struct plx_journal *journal, int64_t result)
{
    if (result < 0)
        making_failed(journal, result);
    else if (journal->folder_changed)
        plx__journal_run(&journal->upkeep, PLX__TASK_SYNC_FOLDER, folder_durable);
    else
        folder_durable(journal, 0);
}

static void filled(struct plx_journal *journal, int64_t result)
{
    if (result >= 0 && journal->state == PLX__JOURNAL_CLOSING)
        result = -ECANCELED;
    if (result < 0) {
        making_failed(journal, result);
        return;
    }
    journal->filled_bytes += (uint64_t)result;
    uint64_t left = journal->segment_bytes - journal->filled_bytes;
    if (left == 0) {
        plx__journal_run_file(&journal->upkeep, PLX__TASK_SYNC, &making(journal)->file,
                              fill_durable);
        return;
    }
    plx__journal_transfer(&journal->upkeep, PLX__TASK_WRITE, &making(journal)->file, journal->zeros,
                          left < journal->zero_bytes ? left : journal->zero_bytes,
                          journal->filled_bytes, filled);
}

static void allocated(struct plx_journal *journal, int64_t result)
{
    bool cannot = result == -EOPNOTSUPP;
    if (result < 0 && !cannot) {
        making_failed(journal, result);
        return;
    }
    journal->filled_bytes = journal->opts.zero_fill || cannot ? 0 : journal->segment_bytes;
    filled(journal, 0);
}

static void slot_locked(struct plx_journal *journal, int64_t result)
{
    if (result < 0) {
        making_failed(journal, result);
        return;
    }
    struct plx__journal_task *task = &journal->upkeep;
    task->bytes = journal->segment_bytes;
    plx__journal_run_file(task, PLX__TASK_ALLOCATE, &making(journal)->file, allocated);
}

static void slot_opened(struct plx_journal *journal, int64_t result)
{
    if (result < 0)
        making_failed(journal, result);
    else
        plx__journal_lock(journal, &making(journal)->file, slot_locked);
}

/* A free slot: rather one that only needs a header, rather one that has a file. */
static uint32_t choose_slot(const struct plx_journal *journal)
{
    uint32_t best = PLX__JOURNAL_NO_SLOT;
    int best_rank = 0;
    for (uint32_t i = 0; i < PLX_JOURNAL_SEGMENTS_MAX; i++) {
        const struct plx__journal_slot *slot = &journal->slots[i];
        bool has_file = plx_file_is_open(&slot->file);
        if (slot->number != 0 || (!has_file && i >= journal->opts.segments))
            continue;
        int rank = slot->is_filled ? 3 : has_file ? 2 : 1;
        if (rank > best_rank) {
            best_rank = rank;
            best = i;
        }
    }
    return best;
}

void plx__journal_make_segment(struct plx_journal *journal, uint64_t number,
                               plx__journal_next_fn next)
{
    journal->making = choose_slot(journal);
    if (journal->making == PLX__JOURNAL_NO_SLOT) {
        next(journal, -ENOSPC);
        return;
    }
    journal->after_making = next;
    journal->making_number = number;
    struct plx__journal_slot *slot = making(journal);
    slot->last_sequence = 0;
    if (slot->is_filled) {
        journal->stats.segments_used_again++;
        write_header(journal);
    } else if (plx_file_is_open(&slot->file)) {
        slot_opened(journal, 0);
    } else {
        char name[16];
        plx__journal_slot_name(name, sizeof(name), journal->making);
        journal->stats.segments_made++;
        journal->folder_changed = true;
        plx__journal_open_file(journal, &slot->file, name,
                               PLX_FILE_READ | PLX_FILE_WRITE | PLX_FILE_CREATE, slot_opened);
    }
}

/* --- upkeep ----------------------------------------------------------------------------------- */

static void kept_up(struct plx_journal *journal)
{
    plx__journal_keep_up(journal);
    plx__journal_rest(journal);
}

/* The oldest segment becomes the first one that has records that were not forgotten. */
static void find_oldest(struct plx_journal *journal)
{
    uint64_t tail = journal->slots[journal->current].number;
    while (journal->oldest < tail) {
        uint32_t index = plx__journal_slot_of(journal, journal->oldest);
        PLX_ASSERT(index != PLX__JOURNAL_NO_SLOT);
        uint64_t last = journal->slots[index].last_sequence;
        if (last > journal->forgotten)
            return;
        journal->oldest++;
        if (last != 0)
            journal->oldest_sequence = last + 1;
    }
}

static void segment_ready(struct plx_journal *journal, int64_t result)
{
    if (result < 0) {
        /* Appends are told, when they come to need it; nothing that was appended does. */
        journal->making_code = (int32_t)result;
        if (journal->is_spoiled)
            plx__journal_fail(journal, (int)result);
        /* What was forgotten meanwhile may have made room. */
        if (journal->state == PLX__JOURNAL_LIVE) {
            find_oldest(journal);
            if (journal->oldest != journal->oldest_kept)
                plx__journal_keep_up(journal);
        }
        plx__journal_rest(journal);
        return;
    }
    struct plx__journal_slot *slot = &journal->slots[result];
    slot->number = journal->making_number;
    journal->making_code = 0;
    if (journal->slots[journal->current].number + 1 == slot->number)
        journal->following = (uint32_t)result;
    kept_up(journal);
}

static void forgetting_durable(struct plx_journal *journal, int64_t result)
{
    if (result < 0) {
        plx__journal_fail(journal, (int)result);
        plx__journal_rest(journal);
        return;
    }
    journal->oldest_kept = journal->oldest;
    for (uint32_t i = 0; i < PLX_JOURNAL_SEGMENTS_MAX; i++) {
        struct plx__journal_slot *slot = &journal->slots[i];
        if (slot->number < journal->oldest_kept) {
            slot->number = 0;
            slot->last_sequence = 0;
        }
    }
    kept_up(journal);
}

void plx__journal_keep_up(struct plx_journal *journal)
{
    if (journal->upkeep.is_busy || journal->state != PLX__JOURNAL_LIVE)
        return;
    find_oldest(journal);
    if (journal->oldest != journal->oldest_kept) {
        /* A slot is about to be free. */
        journal->making_code = 0;
        plx__journal_write_control(journal, forgetting_durable);
        return;
    }
    uint64_t next = journal->slots[journal->current].number + 1;
    if (journal->following == PLX__JOURNAL_NO_SLOT)
        journal->following = plx__journal_slot_of(journal, next);
    if (journal->following == PLX__JOURNAL_NO_SLOT) {
        journal->making_code = 0;
        plx__journal_make_segment(journal, next, segment_ready);
    }
}
