/* SPDX-License-Identifier: MIT */
/*
 * Opening and closing a journal: its folder, the control page, each slot that is there; then the
 * records (journal_recover.c), or a first segment. A new epoch is durable before the first append,
 * so that what an earlier one left unacknowledged behind the tail can never follow it.
 */
#include <errno.h>
#include <string.h>

#include "runtime/file/journal_internal.h"
#include "runtime/io/io_internal.h"

#define BUFFER_MIN (2u * PLX_PAGE)
#define ZEROS_MAX  65536u

/* --- closing ---------------------------------------------------------------------------------- */

static void release(struct plx_pool *pool, uint8_t **block)
{
    if (*block != NULL)
        plx_pool_release(pool, *block);
    *block = NULL;
}

static void release_blocks(struct plx_journal *journal)
{
    for (unsigned i = 0; i < 2; i++)
        release(journal->pool, &journal->buffers[i].block);
    release(journal->pool, &journal->page);
    release(journal->pool, &journal->zeros);
}

static void shut_next(struct plx_journal *journal, int64_t result)
{
    if (result < 0 && journal->result == 0)
        journal->result = (int32_t)result;
    struct plx__journal_task *task = &journal->upkeep;
    for (uint32_t i = 0; i <= PLX_JOURNAL_SEGMENTS_MAX; i++) {
        bool is_slot = i < PLX_JOURNAL_SEGMENTS_MAX;
        struct plx_file *file = is_slot ? &journal->slots[i].file : &journal->control;
        /* One whose close was refused for good is given up, to be tried no more. */
        if (plx_file_is_open(file) && file != journal->shutting) {
            journal->shutting = file;
            /* All its I/Os have ended, but the close alone need not end the lock: a forked child
             * may have the file, too, and a kernel before 6.4 still have it registered. Where
             * there are no locks, this fails as locking did. */
            (void)plx__reactor_io(journal->reactor)->plain->unlock(plx_file_fd(file));
            plx__journal_run_file(task, PLX__TASK_CLOSE, file, shut_next);
            return;
        }
        if (plx_file_is_open(file))
            file->fd = 0;
    }
    if (journal->folder_fd != 0 && !journal->folder_closing) {
        journal->folder_closing = true;
        plx__journal_run(task, PLX__TASK_CLOSE_FOLDER, shut_next);
        return;
    }
    release_blocks(journal);
    journal->state = PLX__JOURNAL_CLOSED;
    journal->fn(journal, journal->result, journal->ctx);
}

void plx__journal_shut(struct plx_journal *journal, int result)
{
    journal->result = result;
    journal->state = PLX__JOURNAL_CLOSING;
    shut_next(journal, 0);
}

/* Opening ends with an error, of which the file named is to blame unless another one is. */
static void give_up(struct plx_journal *journal, int64_t result, const char *name)
{
    plx__journal_blame_file(journal, (int)result, name, "%s", strerrordesc_np(-(int)result));
    plx__journal_shut(journal, (int)result);
}

/* --- locks ------------------------------------------------------------------------------------ */

static void locked(struct plx_journal *journal, int64_t result)
{
    struct plx_file *file = journal->upkeep.file;
    bool is_control = file == &journal->control;
    char name[16] = "control";
    if (!is_control)
        plx__journal_slot_name(name, sizeof(name), journal->probed);
    if (result == -EBUSY)
        plx__journal_blame_file(journal, -EBUSY, name, "open elsewhere");
    if (result < 0) {
        give_up(journal, result, name);
        return;
    }
    plx__journal_transfer(&journal->upkeep, PLX__TASK_READ, file,
                          is_control ? journal->buffers[0].block : journal->page,
                          is_control ? 2 * PLX__JOURNAL_BLOCK : PLX__JOURNAL_BLOCK, 0,
                          journal->after_lock);
}

/* Goes on to `next` with what the control page, or the slot that is probed, is read with. Each
 * file is locked before it is read: until then, what is read may still change. */
static void lock_and_read(struct plx_journal *journal, struct plx_file *file,
                          plx__journal_next_fn next)
{
    journal->after_lock = next;
    plx__journal_lock(journal, file, locked);
}

/* --- going live ------------------------------------------------------------------------------- */

static void opened(struct plx_journal *journal)
{
    journal->durable = journal->next_sequence - 1;
    journal->oldest_kept = journal->oldest;
    journal->state = PLX__JOURNAL_LIVE;
    plx__journal_keep_up(journal);
    journal->fn(journal, 0, journal->ctx);
}

static void epoch_durable(struct plx_journal *journal, int64_t result)
{
    if (result < 0)
        give_up(journal, result, "control");
    else
        opened(journal);
}

/* --- what was handed out becomes durable ------------------------------------------------------ */

/*
 * A crash of the process alone leaves it in the cache, and an fdatasync that failed does, too, but
 * as if it were on the device: the next one says nothing of it. So what may not have been durable
 * is written again before it counts: the last group, and the headers from the tail on.
 */
static void sync_next(struct plx_journal *journal, int64_t result);

static void sync_failed(struct plx_journal *journal, int64_t result, uint32_t slot,
                        const char *what)
{
    plx__journal_blame(journal, (int)result, journal->slots[slot].number, "%s: %s", what,
                       strerrordesc_np(-(int)result));
    plx__journal_shut(journal, (int)result);
}

static void header_again(struct plx_journal *journal, int64_t result)
{
    uint32_t slot = journal->probed - 1;
    if (result < 0)
        sync_failed(journal, result, slot, "header");
    else
        plx__journal_run_file(&journal->upkeep, PLX__TASK_DATA, &journal->slots[slot].file,
                              sync_next);
}

static void header_read(struct plx_journal *journal, int64_t result)
{
    uint32_t slot = journal->probed - 1;
    if (result < 0) {
        sync_failed(journal, result, slot, "header");
        return;
    }
    /* Cut short, it is still whole; nothing else is in its page. */
    memset(journal->page + result, 0, PLX__JOURNAL_BLOCK - (uint64_t)result);
    plx__journal_transfer(&journal->upkeep, PLX__TASK_WRITE, &journal->slots[slot].file,
                          journal->page, PLX__JOURNAL_BLOCK, 0, header_again);
}

static void sync_next(struct plx_journal *journal, int64_t result)
{
    const struct plx__journal_scan *scan = &journal->scan;
    if (result < 0) {
        sync_failed(journal, result, journal->probed - 1, "fdatasync");
        return;
    }
    while (journal->probed < PLX_JOURNAL_SEGMENTS_MAX) {
        uint32_t index = journal->probed++;
        struct plx__journal_slot *slot = &journal->slots[index];
        if (slot->number >= scan->tail_number || index == scan->group_slot) {
            plx__journal_transfer(&journal->upkeep, PLX__TASK_READ, &slot->file, journal->page,
                                  PLX__JOURNAL_BLOCK, 0, header_read);
            return;
        }
        if (slot->number < journal->oldest)
            slot->number = 0;
    }
    journal->next_sequence = scan->sequence;
    uint32_t newest = scan->epoch_max > journal->epoch ? scan->epoch_max : journal->epoch;
    journal->epoch = newest + 1;
    plx__journal_go_live(journal, scan->tail_slot, scan->tail_at);
    plx__journal_write_control(journal, epoch_durable);
}

static void group_again(struct plx_journal *journal, int64_t result);

static void group_read(struct plx_journal *journal, int64_t result)
{
    struct plx__journal_scan *scan = &journal->scan;
    uint8_t *block = journal->buffers[0].block;
    if (result == 0)
        result = -EIO;
    if (result < 0) {
        sync_failed(journal, result, scan->group_slot, "read of the last group");
        return;
    }
    /* The file may end within the padding. */
    uint64_t bytes = plx_round_up((uint64_t)result, PLX__JOURNAL_BLOCK);
    memset(block + result, 0, bytes - (uint64_t)result);
    uint64_t at = scan->group_at;
    scan->group_at = at + bytes;
    plx__journal_transfer(&journal->upkeep, PLX__TASK_WRITE, &journal->slots[scan->group_slot].file,
                          block, bytes, at, group_again);
}

static void group_again(struct plx_journal *journal, int64_t result)
{
    struct plx__journal_scan *scan = &journal->scan;
    if (result < 0) {
        sync_failed(journal, result, scan->group_slot, "write of the last group");
        return;
    }
    if (scan->group_slot == PLX__JOURNAL_NO_SLOT || scan->group_at >= scan->group_end) {
        journal->probed = 0;
        sync_next(journal, 0);
        return;
    }
    uint64_t left = scan->group_end - scan->group_at;
    plx__journal_transfer(&journal->upkeep, PLX__TASK_READ, &journal->slots[scan->group_slot].file,
                          journal->buffers[0].block,
                          left < journal->opts.buffer_bytes ? left : journal->opts.buffer_bytes,
                          scan->group_at, group_read);
}

static void recovered_folder(struct plx_journal *journal, int64_t result)
{
    if (result < 0 && result != -EINVAL)
        give_up(journal, result, "folder");
    else
        group_again(journal, 0);
}

static void recovered(struct plx_journal *journal, int64_t result)
{
    if (result < 0)
        plx__journal_shut(journal, (int)result);
    else
        plx__journal_run(&journal->upkeep, PLX__TASK_SYNC_FOLDER, recovered_folder);
}

/* --- a new journal ---------------------------------------------------------------------------- */

/* Once more, so that the other page does not say that there is no journal yet: one that is damaged
 * later on must not make it so. */
static void first_live(struct plx_journal *journal, int64_t result)
{
    if (result < 0)
        give_up(journal, result, "control");
    else
        plx__journal_write_control(journal, epoch_durable);
}

static void first_segment(struct plx_journal *journal, int64_t result)
{
    if (result < 0) {
        give_up(journal, result, "segment 1");
        return;
    }
    journal->slots[result].number = 1;
    journal->is_live = true;
    plx__journal_go_live(journal, (uint32_t)result, PLX__JOURNAL_BLOCK);
    plx__journal_write_control(journal, first_live);
}

static void new_folder(struct plx_journal *journal, int64_t result)
{
    if (result < 0 && result != -EINVAL)
        give_up(journal, result, "folder");
    else
        plx__journal_make_segment(journal, 1, first_segment);
}

static void new_control(struct plx_journal *journal, int64_t result)
{
    if (result < 0)
        give_up(journal, result, "control");
    else
        plx__journal_run(&journal->upkeep, PLX__TASK_SYNC_FOLDER, new_folder);
}

static void make_new(struct plx_journal *journal)
{
    /* Slots are filled anew: a crash may have left them half made. */
    for (uint32_t i = 0; i < PLX_JOURNAL_SEGMENTS_MAX; i++) {
        journal->slots[i].number = 0;
        journal->slots[i].is_filled = false;
    }
    journal->oldest = 1;
    journal->oldest_sequence = 1;
    journal->forgotten = 0;
    journal->next_sequence = 1;
    journal->epoch++;
    plx__journal_write_control(journal, new_control);
}

/* --- what is there ---------------------------------------------------------------------------- */

static bool has_segment(const struct plx_journal *journal)
{
    for (uint32_t i = 0; i < PLX_JOURNAL_SEGMENTS_MAX; i++) {
        if (journal->slots[i].number != 0)
            return true;
    }
    return false;
}

static void make_new_unless_lost(struct plx_journal *journal)
{
    if (journal->control_count != 0 || !has_segment(journal)) {
        make_new(journal);
        return;
    }
    plx__journal_blame_file(journal, -EBADMSG, "control",
                            "missing or damaged, while there are segments");
    plx__journal_shut(journal, -EBADMSG);
}

static void made_control_read(struct plx_journal *journal, int64_t result)
{
    if (result < 0) {
        give_up(journal, result, "control");
    } else if (result > 0) {
        /* What was looked at without the lock is not what is there now. */
        plx__journal_blame_file(journal, -EBUSY, "control", "made elsewhere meanwhile");
        plx__journal_shut(journal, -EBUSY);
    } else {
        make_new_unless_lost(journal);
    }
}

static void control_made(struct plx_journal *journal, int64_t result)
{
    if (result == -ENOENT && has_segment(journal))
        make_new_unless_lost(journal);
    else if (result < 0)
        give_up(journal, result, "control");
    else
        lock_and_read(journal, &journal->control, made_control_read);
}

static void probed_all(struct plx_journal *journal)
{
    if (journal->is_live) {
        plx__journal_recover(journal, recovered);
        return;
    }
    if (plx_file_is_open(&journal->control)) {
        make_new_unless_lost(journal);
        return;
    }
    /* It was not there; where there are segments, it may have come since, and is not to be made. */
    uint32_t access = PLX_FILE_READ | PLX_FILE_WRITE;
    if (!has_segment(journal))
        access |= PLX_FILE_CREATE;
    plx__journal_open_file(journal, &journal->control, "control", access, control_made);
}

static void probe_next(struct plx_journal *journal);

static void slot_read(struct plx_journal *journal, int64_t result)
{
    char name[16];
    plx__journal_slot_name(name, sizeof(name), journal->probed);
    if (result < 0) {
        give_up(journal, result, name);
        return;
    }
    struct plx__journal_slot *slot = &journal->slots[journal->probed];
    const struct plx__journal_header *header = (const void *)journal->page;
    bool is_whole = (uint64_t)result >= sizeof(*header) && plx__journal_is_header(header);
    if (is_whole && header->id != journal->opts.id) {
        plx__journal_blame_file(journal, -EINVAL, name, "has the id %llx, not %llx",
                                (unsigned long long)header->id,
                                (unsigned long long)journal->opts.id);
        plx__journal_shut(journal, -EINVAL);
        return;
    }
    if (is_whole && header->version == PLX__JOURNAL_VERSION) {
        if (header->number > PLX__JOURNAL_COUNT_MAX) {
            plx__journal_blame_file(journal, -EBADMSG, name, "number %llu, which none reaches",
                                    (unsigned long long)header->number);
            plx__journal_shut(journal, -EBADMSG);
            return;
        }
        slot->number = header->number;
        slot->is_filled = plx_file_size(&slot->file) == journal->segment_bytes &&
                          header->segment_bytes == journal->segment_bytes;
    }
    journal->probed++;
    probe_next(journal);
}

static void slot_opened(struct plx_journal *journal, int64_t result)
{
    if (result == -ENOENT) {
        journal->probed++;
        probe_next(journal);
    } else if (result < 0) {
        slot_read(journal, result);
    } else if (plx_file_is_open(&journal->control)) {
        lock_and_read(journal, &journal->slots[journal->probed].file, slot_read);
    } else {
        /* Whoever makes the control page meanwhile is not to find the segments locked. */
        plx__journal_transfer(&journal->upkeep, PLX__TASK_READ,
                              &journal->slots[journal->probed].file, journal->page,
                              PLX__JOURNAL_BLOCK, 0, slot_read);
    }
}

static void probe_next(struct plx_journal *journal)
{
    if (journal->probed == PLX_JOURNAL_SEGMENTS_MAX) {
        probed_all(journal);
        return;
    }
    char name[16];
    plx__journal_slot_name(name, sizeof(name), journal->probed);
    plx__journal_open_file(journal, &journal->slots[journal->probed].file, name,
                           PLX_FILE_READ | PLX_FILE_WRITE, slot_opened);
}

/* --- the control page ------------------------------------------------------------------------- */

/* The page written last of those that are whole; NULL if none is. */
static const struct plx__journal_control *newest_control(const uint8_t *pages, uint64_t bytes)
{
    const struct plx__journal_control *best = NULL;
    for (uint64_t at = 0; at + PLX__JOURNAL_BLOCK <= bytes; at += PLX__JOURNAL_BLOCK) {
        const struct plx__journal_control *page = (const void *)(pages + at);
        if (plx__journal_is_control(page) && (best == NULL || page->count > best->count))
            best = page;
    }
    return best;
}

static bool is_segment_size(uint64_t bytes)
{
    return bytes % PLX__JOURNAL_BLOCK == 0 && bytes >= PLX_JOURNAL_SEGMENT_MIN &&
           bytes <= PLX_JOURNAL_SEGMENT_MAX;
}

/* The first of what it counts that no journal reaches; NULL if there is none. */
static const char *beyond_reach(const struct plx__journal_control *control)
{
    if (control->oldest > PLX__JOURNAL_COUNT_MAX)
        return "oldest segment";
    if (control->oldest_sequence > PLX__JOURNAL_COUNT_MAX)
        return "oldest sequence";
    if (control->count > PLX__JOURNAL_COUNT_MAX)
        return "count of writes";
    return control->epoch > PLX__JOURNAL_EPOCH_MAX ? "epoch" : NULL;
}

static uint32_t record_max(uint64_t segment_bytes, uint32_t buffer_bytes)
{
    uint64_t bytes = segment_bytes < buffer_bytes ? segment_bytes : buffer_bytes;
    return (uint32_t)(bytes - PLX__JOURNAL_BLOCK - PLX_JOURNAL_RECORD_OVERHEAD);
}

static int take_control(struct plx_journal *journal, const struct plx__journal_control *control)
{
    if (control->version != PLX__JOURNAL_VERSION) {
        plx__journal_blame_file(journal, -EPROTONOSUPPORT, "control", "version %u, %u is known",
                                control->version, PLX__JOURNAL_VERSION);
        return -EPROTONOSUPPORT;
    }
    if (control->id != journal->opts.id) {
        plx__journal_blame_file(journal, -EINVAL, "control", "has the id %llx, not %llx",
                                (unsigned long long)control->id,
                                (unsigned long long)journal->opts.id);
        return -EINVAL;
    }
    if (!is_segment_size(control->segment_bytes) || control->oldest == 0) {
        plx__journal_blame_file(journal, -EBADMSG, "control", "whole, and makes no sense");
        return -EBADMSG;
    }
    const char *beyond = beyond_reach(control);
    if (beyond != NULL) {
        plx__journal_blame_file(journal, -EBADMSG, "control", "%s: a number that none reaches",
                                beyond);
        return -EBADMSG;
    }
    uint32_t fits = record_max(control->segment_bytes, journal->opts.buffer_bytes);
    if (control->record_max > fits) {
        plx__journal_blame_file(journal, -EMSGSIZE, "control",
                                "records of up to %u bytes, which buffers of %u do not hold",
                                control->record_max, journal->opts.buffer_bytes);
        return -EMSGSIZE;
    }
    journal->control_count = control->count;
    journal->segment_bytes = control->segment_bytes;
    journal->record_max = fits;
    journal->oldest = control->oldest;
    journal->oldest_sequence = control->oldest_sequence;
    journal->forgotten = control->forgotten;
    journal->epoch = control->epoch;
    journal->is_live = control->is_live != 0;
    return 0;
}

static void control_read(struct plx_journal *journal, int64_t result)
{
    if (result < 0) {
        give_up(journal, result, "control");
        return;
    }
    const struct plx__journal_control *control =
        newest_control(journal->buffers[0].block, (uint64_t)result);
    int rc = control != NULL ? take_control(journal, control) : 0;
    if (rc != 0)
        plx__journal_shut(journal, rc);
    else
        probe_next(journal);
}

static void control_opened(struct plx_journal *journal, int64_t result)
{
    if (result == -ENOENT) {
        probe_next(journal);
        return;
    }
    if (result >= 0 && (plx_file_offset_align(&journal->control) > PLX__JOURNAL_BLOCK ||
                        plx_file_memory_align(&journal->control) > PLX__JOURNAL_BLOCK))
        result = -EOPNOTSUPP;
    if (result < 0)
        give_up(journal, result, "control");
    else
        lock_and_read(journal, &journal->control, control_read);
}

static void folder_opened(struct plx_journal *journal, int64_t result)
{
    if (journal->in_call) {
        /* It could not begin: plx_journal_open itself says so. */
        journal->result = (int32_t)result;
        return;
    }
    if (result < 0) {
        give_up(journal, result, "folder");
        return;
    }
    journal->folder_fd = (int32_t)result + 1;
    plx__journal_open_file(journal, &journal->control, "control", PLX_FILE_READ | PLX_FILE_WRITE,
                           control_opened);
}

/* --- the interface ---------------------------------------------------------------------------- */

void plx_journal_opts_init(struct plx_journal_opts *opts)
{
    *opts = (struct plx_journal_opts){
        .segment_bytes = (uint64_t)16 << 20,
        .segments = 8,
        .buffer_bytes = 256u << 10,
        .direct = PLX_WANT_TRY,
        .registers = PLX_WANT_TRY,
        .zero_fill = true,
    };
}

static bool makes_sense(const struct plx_journal_opts *opts)
{
    return is_segment_size(opts->segment_bytes) && opts->segments >= PLX_JOURNAL_SEGMENTS_MIN &&
           opts->segments <= PLX_JOURNAL_SEGMENTS_MAX && plx_is_pow2(opts->buffer_bytes) &&
           opts->buffer_bytes >= BUFFER_MIN && opts->buffer_bytes <= PLX_POOL_BLOCK_MAX &&
           opts->direct <= PLX_WANT_REQUIRE && opts->registers <= PLX_WANT_REQUIRE;
}

static int acquire_blocks(struct plx_journal *journal)
{
    uint32_t bytes = journal->opts.buffer_bytes;
    for (unsigned i = 0; i < 2; i++)
        journal->buffers[i].block = plx_pool_acquire(journal->pool, bytes);
    journal->page = plx_pool_acquire(journal->pool, PLX__JOURNAL_BLOCK);
    journal->zero_bytes = bytes < ZEROS_MAX ? bytes : ZEROS_MAX;
    journal->zeros = plx_pool_acquire(journal->pool, journal->zero_bytes);
    if (journal->buffers[0].block == NULL || journal->buffers[1].block == NULL ||
        journal->page == NULL || journal->zeros == NULL) {
        release_blocks(journal);
        return -ENOMEM;
    }
    memset(journal->zeros, 0, journal->zero_bytes);
    return 0;
}

int plx_journal_open(struct plx_journal *journal, struct plx_reactor *reactor,
                     struct plx_pool *pool, const char *folder, const struct plx_journal_opts *opts,
                     plx_journal_fn fn, void *ctx)
{
    memset(journal, 0, sizeof(*journal));
    if (opts != NULL)
        journal->opts = *opts;
    else
        plx_journal_opts_init(&journal->opts);
    if (!makes_sense(&journal->opts))
        return -EINVAL;
    journal->reactor = reactor;
    journal->pool = pool;
    journal->folder = folder;
    journal->fn = fn;
    journal->ctx = ctx;
    journal->segment_bytes = journal->opts.segment_bytes;
    journal->record_max = record_max(journal->segment_bytes, journal->opts.buffer_bytes);
    journal->following = PLX__JOURNAL_NO_SLOT;
    journal->next_sequence = 1;
    journal->commit.journal = journal;
    journal->upkeep.journal = journal;
    int rc = acquire_blocks(journal);
    if (rc != 0)
        return rc;
    journal->state = PLX__JOURNAL_OPENING;
    journal->in_call = true;
    plx__journal_run(&journal->upkeep, PLX__TASK_OPEN_FOLDER, folder_opened);
    journal->in_call = false;
    if (journal->result != 0) {
        release_blocks(journal);
        journal->state = PLX__JOURNAL_CLOSED;
    }
    return journal->result;
}

void plx_journal_explain(const struct plx_journal *journal, plx_text_fn sink, void *ctx)
{
    uint32_t files = 0;
    for (uint32_t i = 0; i < PLX_JOURNAL_SEGMENTS_MAX; i++)
        files += plx_file_is_open(&journal->slots[i].file);
    plx_text_line(sink, ctx,
                  "%u of %u segments of %llu bytes, records up to %u bytes, epoch %u, "
                  "durable up to %llu",
                  files, journal->opts.segments, (unsigned long long)journal->segment_bytes,
                  journal->record_max, journal->epoch, (unsigned long long)journal->durable);
    if (journal->segment_bytes != journal->opts.segment_bytes)
        plx_text_line(sink, ctx, "segments of %llu bytes were asked for: those that are there stay",
                      (unsigned long long)journal->opts.segment_bytes);
    if (journal->error != 0)
        plx_text_line(sink, ctx, "failed: %s: %s", journal->diag.what, journal->diag.text);
    if (journal->lock_code != 0)
        plx_text_line(sink, ctx, "no lock to be had (%s): nothing keeps other processes out",
                      strerrordesc_np(-journal->lock_code));
    for (uint32_t i = 0; i < PLX_JOURNAL_SEGMENTS_MAX; i++) {
        if (plx_file_is_open(&journal->slots[i].file)) {
            plx_file_explain(&journal->slots[i].file, sink, ctx);
            break;
        }
    }
}
