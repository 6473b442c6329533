/* SPDX-License-Identifier: MIT */
/* Appending, groups, and who waits for them. */
#include "runtime/file/journal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "runtime/file/journal_internal.h"

static void tick(struct plx_timer *timer, void *ctx);

/* --- what went wrong -------------------------------------------------------------------------- */

static void blame(struct plx_journal *journal, int code, const char *name, const char *format,
                  va_list arguments)
{
    if (journal->diag.code != 0)
        return;
    char text[sizeof(journal->diag.text)];
    vsnprintf(text, sizeof(text), format, arguments);
    plx_diag_set(&journal->diag, code, name, "%s", text);
}

void plx__journal_blame_file(struct plx_journal *journal, int code, const char *name,
                             const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    blame(journal, code, name, format, arguments);
    va_end(arguments);
}

void plx__journal_blame(struct plx_journal *journal, int code, uint64_t number, const char *format,
                        ...)
{
    char name[40];
    snprintf(name, sizeof(name), "segment %llu", (unsigned long long)number);
    va_list arguments;
    va_start(arguments, format);
    blame(journal, code, name, format, arguments);
    va_end(arguments);
}

/* --- who waits -------------------------------------------------------------------------------- */

static void unlink_wait(struct plx_journal *journal, struct plx_journal_wait *wait)
{
    *(wait->prev != NULL ? &wait->prev->next : &journal->wait_first) = wait->next;
    *(wait->next != NULL ? &wait->next->prev : &journal->wait_last) = wait->prev;
    wait->armed = false;
}

/* Behind the last one whose sequence is not larger. */
static void link_wait(struct plx_journal *journal, struct plx_journal_wait *wait)
{
    struct plx_journal_wait *before = journal->wait_last;
    while (before != NULL && before->sequence > wait->sequence)
        before = before->prev;
    wait->prev = before;
    wait->next = before != NULL ? before->next : journal->wait_first;
    *(before != NULL ? &before->next : &journal->wait_first) = wait;
    *(wait->next != NULL ? &wait->next->prev : &journal->wait_last) = wait;
    wait->armed = true;
}

/* The callbacks may do anything with the journal, so it is looked at anew each time. */
static void tell_durable(struct plx_journal *journal)
{
    while (journal->wait_first != NULL && journal->wait_first->sequence <= journal->durable) {
        struct plx_journal_wait *wait = journal->wait_first;
        unlink_wait(journal, wait);
        wait->fn(wait, 0, wait->ctx);
    }
}

static void tell_failed(struct plx_journal *journal)
{
    tell_durable(journal);
    while (journal->wait_first != NULL) {
        struct plx_journal_wait *wait = journal->wait_first;
        unlink_wait(journal, wait);
        wait->fn(wait, journal->error, wait->ctx);
    }
}

static void tick_soon(struct plx_journal *journal)
{
    if (!plx_timer_is_armed(&journal->tick))
        plx_timer_arm(journal->reactor, &journal->tick, 0, tick, journal);
}

void plx__journal_fail(struct plx_journal *journal, int code)
{
    if (journal->error == 0)
        journal->error = code;
    if (journal->state == PLX__JOURNAL_LIVE)
        journal->state = PLX__JOURNAL_FAILED;
    if (journal->in_call)
        tick_soon(journal);
    else
        tell_failed(journal);
}

/* On behalf of a call of the user's, in which none of the user's functions is called. */
static void keep_up_in_call(struct plx_journal *journal)
{
    journal->in_call = true;
    plx__journal_keep_up(journal);
    journal->in_call = false;
}

/* 0, or why nothing can be asked of the journal. */
static inline int check_live(const struct plx_journal *journal)
{
    if (PLX_LIKELY(journal->state == PLX__JOURNAL_LIVE))
        return 0;
    return journal->state == PLX__JOURNAL_FAILED ? journal->error : -EBADF;
}

int plx_journal_wait(struct plx_journal *journal, struct plx_journal_wait *wait, uint64_t sequence,
                     plx_journal_wait_fn fn, void *ctx)
{
    int rc = check_live(journal);
    if (rc != 0)
        return rc;
    if (sequence >= journal->next_sequence)
        return -EINVAL;
    PLX_ASSERT_HOT(!wait->armed);
    wait->sequence = sequence;
    wait->fn = fn;
    wait->ctx = ctx;
    link_wait(journal, wait);
    if (sequence <= journal->durable)
        tick_soon(journal);
    return 0;
}

void plx_journal_unwait(struct plx_journal *journal, struct plx_journal_wait *wait)
{
    if (wait->armed)
        unlink_wait(journal, wait);
}

/* --- groups ----------------------------------------------------------------------------------- */

/* The group in flight is in the buffer that is not being filled. */
static struct plx__journal_buffer *in_flight(struct plx_journal *journal)
{
    return &journal->buffers[1 - journal->filling];
}

static void group_failed(struct plx_journal *journal, int64_t result, const char *what)
{
    struct plx__journal_buffer *group = in_flight(journal);
    plx__journal_blame(journal, (int)result, journal->slots[group->slot].number,
                       "%s at offset %llu: %s", what, (unsigned long long)group->offset,
                       strerrordesc_np(-(int)result));
    journal->in_flight = false;
    plx__journal_fail(journal, (int)result);
    plx__journal_rest(journal);
}

static void group_durable(struct plx_journal *journal, int64_t result)
{
    if (result < 0) {
        group_failed(journal, result, "fdatasync of a group");
        return;
    }
    struct plx__journal_buffer *group = in_flight(journal);
    journal->in_flight = false;
    group->used = 0;
    if (journal->error != 0) {
        /* It failed elsewhere meanwhile, and who waits was told so. */
        plx__journal_rest(journal);
        return;
    }
    journal->durable = group->last;
    journal->stats.groups++;
    if (journal->buffers[journal->filling].used != 0)
        tick_soon(journal);
    tell_durable(journal);
    if (journal->opts.on_durable != NULL)
        journal->opts.on_durable(journal, journal->durable, journal->opts.ctx);
    plx__journal_rest(journal);
}

static void group_written(struct plx_journal *journal, int64_t result)
{
    if (result < 0)
        group_failed(journal, result, "write of a group");
    else
        plx__journal_run_file(&journal->commit, PLX__TASK_DATA,
                              &journal->slots[in_flight(journal)->slot].file, group_durable);
}

/* What was appended goes on its way, if nothing else is. */
static void send_group(struct plx_journal *journal)
{
    struct plx__journal_buffer *group = &journal->buffers[journal->filling];
    if (journal->in_flight || group->used == 0 || journal->error != 0)
        return;
    uint64_t bytes = plx_round_up(group->used, PLX__JOURNAL_BLOCK);
    memset(group->block + group->used, 0, bytes - group->used);
    journal->stats.written_bytes += bytes;
    journal->stats.padding_bytes += bytes - group->used;
    journal->position = group->offset + bytes;
    journal->filling ^= 1;
    journal->in_flight = true;
    plx__journal_transfer(&journal->commit, PLX__TASK_WRITE, &journal->slots[group->slot].file,
                          group->block, bytes, group->offset, group_written);
}

static void tick(struct plx_timer *timer, void *ctx)
{
    (void)timer;
    struct plx_journal *journal = ctx;
    if (journal->error != 0)
        tell_failed(journal);
    else
        tell_durable(journal);
    send_group(journal);
}

/* --- appending -------------------------------------------------------------------------------- */

/* The tail moves to the next segment, if that is ready. */
static PLX_COLD int move_on(struct plx_journal *journal)
{
    if (journal->following == PLX__JOURNAL_NO_SLOT) {
        int code = journal->making_code;
        keep_up_in_call(journal);
        return code != 0 ? code : -EAGAIN;
    }
    plx__journal_go_live(journal, journal->following, PLX__JOURNAL_BLOCK);
    keep_up_in_call(journal);
    /* What is due may have failed at once, and the journal with it. */
    return journal->state == PLX__JOURNAL_LIVE ? 0 : journal->error;
}

/* Gives the buffer being filled, which is empty, its place. */
static int place_group(struct plx_journal *journal, uint64_t bytes)
{
    uint64_t left = journal->segment_bytes - journal->position;
    if (PLX_UNLIKELY(bytes > left)) {
        int rc = move_on(journal);
        if (rc != 0)
            return rc;
    }
    struct plx__journal_buffer *group = &journal->buffers[journal->filling];
    group->slot = journal->current;
    group->offset = journal->position;
    group->first = journal->next_sequence;
    return 0;
}

static PLX_COLD int refuse(struct plx_journal *journal, int code)
{
    journal->stats.refused++;
    return code;
}

int plx_journal_append(struct plx_journal *journal, const void *data, uint32_t len,
                       uint64_t *sequence)
{
    int rc = check_live(journal);
    if (PLX_UNLIKELY(rc != 0))
        return rc;
    if (PLX_UNLIKELY(len > journal->record_max))
        return -EMSGSIZE;
    uint64_t bytes = plx__journal_bytes(len);
    struct plx__journal_buffer *group = &journal->buffers[journal->filling];
    if (group->used == 0) {
        rc = place_group(journal, bytes);
        if (PLX_UNLIKELY(rc != 0))
            return refuse(journal, rc);
    }
    uint64_t left = journal->segment_bytes - group->offset;
    uint64_t room = left < journal->opts.buffer_bytes ? left : journal->opts.buffer_bytes;
    if (PLX_UNLIKELY(bytes > room - group->used))
        return refuse(journal, -EAGAIN);

    uint8_t *at = group->block + group->used;
    struct plx__journal_record *record = (struct plx__journal_record *)(void *)at;
    record->len = len;
    record->sequence = journal->next_sequence;
    record->first = group->first;
    record->epoch = journal->epoch;
    record->kind = PLX__JOURNAL_DATA;
    if (len != 0)
        memcpy(at + sizeof(*record), data, len);
    memset(at + sizeof(*record) + len, 0, bytes - sizeof(*record) - len);
    record->crc = plx__journal_record_crc(journal->seed, at, len);

    group->used += (uint32_t)bytes;
    group->last = journal->next_sequence;
    journal->slots[group->slot].last_sequence = journal->next_sequence;
    if (sequence != NULL)
        *sequence = journal->next_sequence;
    journal->next_sequence++;
    journal->stats.appended++;
    if (!journal->in_flight)
        tick_soon(journal);
    return 0;
}

int plx_journal_forget(struct plx_journal *journal, uint64_t upto)
{
    int rc = check_live(journal);
    if (rc != 0)
        return rc;
    if (upto > journal->durable)
        return -EINVAL;
    if (upto > journal->forgotten)
        journal->forgotten = upto;
    keep_up_in_call(journal);
    return 0;
}

void plx__journal_go_live(struct plx_journal *journal, uint32_t slot, uint64_t position)
{
    journal->current = slot;
    journal->position = position;
    journal->seed = plx__journal_seed(journal->opts.id, journal->slots[slot].number);
    journal->following = plx__journal_slot_of(journal, journal->slots[slot].number + 1);
}

/* --- closing ---------------------------------------------------------------------------------- */

/* Closing waits until nothing is on its way, and everything that was appended has been. */
void plx__journal_rest(struct plx_journal *journal)
{
    if (journal->state != PLX__JOURNAL_CLOSING || journal->in_flight || journal->upkeep.is_busy)
        return;
    if (journal->error == 0 && journal->buffers[journal->filling].used != 0) {
        send_group(journal);
        return;
    }
    plx_timer_disarm(journal->reactor, &journal->tick);
    plx__journal_shut(journal, journal->error);
}

static void rest_soon(struct plx_timer *timer, void *ctx)
{
    (void)timer;
    struct plx_journal *journal = ctx;
    if (journal->error != 0)
        tell_failed(journal);
    else
        tell_durable(journal);
    plx__journal_rest(journal);
}

int plx_journal_close(struct plx_journal *journal, plx_journal_fn fn, void *ctx)
{
    if (journal->state == PLX__JOURNAL_CLOSED)
        return -EBADF;
    if (journal->state != PLX__JOURNAL_LIVE && journal->state != PLX__JOURNAL_FAILED)
        return -EBUSY;
    journal->state = PLX__JOURNAL_CLOSING;
    journal->fn = fn;
    journal->ctx = ctx;
    /* Not from in here: the user's function is called in a later turn. */
    plx_timer_arm(journal->reactor, &journal->tick, 0, rest_soon, journal);
    return 0;
}
