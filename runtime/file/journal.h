/* SPDX-License-Identifier: MIT */
/*
 * A journal: records appended to files, durable in groups, and given back after a crash.
 *
 * Words. A *record* is some bytes and a *sequence*: 1 for the first, and one more for each. A
 * *group* is what one write and one fdatasync(2) make durable. A record is *durable*, and thereby
 * acknowledged, once its group's fdatasync has ended well. A *segment* is one of the files that the
 * groups are written to in turn; its *number* grows, while the file, its *slot*, is used again for
 * a later segment once nobody needs its records: *forgotten*. The *tail* is where the next group
 * goes. An *epoch* is the time from one opening of the journal to the next.
 *
 * What is promised. Opening hands out each record that was acknowledged and not forgotten, in
 * order, unchanged. After these may come records that were appended and not acknowledged, as long
 * as they are whole and none is missing before them: they count as durable from then on. Damage to
 * what was acknowledged is an error that names segment and offset, and not a shorter journal.
 *
 * Groups. At most one is in flight. What is appended meanwhile is the next one; so all who append
 * in a turn, or while a group is on its way, share one fdatasync. A group begins at a multiple of
 * PLX_PAGE and is padded to one, so that no write ever touches a sector that holds what was
 * acknowledged: a write torn by a loss of power can only spoil its own group. The cost: half a page
 * a group on average, and of a group of one small record nearly all of its page. Rewriting the last
 * page would spare that, and lose acknowledged records when it is torn.
 * Opening writes the last group, and headers, once more as they are: after an fdatasync that failed
 * the cache shows what the device may not have, and a second one would not say so. These bytes are
 * the same, so of a device that writes a sector or does not, a torn one of these changes nothing.
 *
 * A torn tail, told from damage. The next group is written only after the fdatasync before it.
 * So if a record is missing or wrong, and the beginning of a later group is there, then what is
 * missing had been acknowledged: damage. If none is there, the group had not been acknowledged, or
 * it was the very last one, and damage to that one cannot be told from a torn write.
 *
 * Segments. Made ahead of need: allocated, filled with zeros (fdatasync then writes data alone; in
 * space that is merely allocated it would write the file system's own journal, too), and headed.
 * A used one is only headed anew: nothing that it held passes for a record of the new segment, as
 * each checksum covers the segment's number, too.
 *
 * The files, in one folder that has nothing else; numbers are little-endian. One at a time has
 * them open, in whatever process: they are locked (F_OFD_SETLK of fcntl(2)). Closing the journal
 * drops the locks. Those of a process that ended without are dropped by the kernel once its I/Os
 * have ended: a later opening never reads what an earlier process is still writing; a child that
 * it made by fork, and that lives on without an exec, keeps them. Where the file system has no such
 * locks nothing keeps others out, and plx_journal_explain says so.
 *
 * `control`: two pages, written in turn, each with (offset: field)
 *     0: u32 CRC-32C of bytes 4 to 79      4: u32 version, 1         8: u64 magic "PLXJCTL1"
 *     16: u64 the journal's id             24: u64 count of such writes
 *     32: u64 bytes of a segment           40: u64 number of the oldest segment kept
 *     48: u64 that one's first sequence    56: u64 last sequence forgotten
 *     64: u32 epoch                        68: u32 1 once the first segment is there
 *     72: u32 bytes of the largest record  76: u32 0
 * `segment-00` and on: a page with
 *     0: u32 CRC-32C of bytes 4 to 39      4: u32 version, 1         8: u64 magic "PLXJSEG1"
 *     16: u64 the journal's id             24: u64 number            32: u64 bytes of the segment
 * and groups behind it, each beginning at a multiple of 4096: records one behind the other at
 * multiples of 8, zeros between and behind them. A record:
 *     0: u32 CRC-32C of the journal's id and the segment's number (16 bytes), then of this record
 *        from byte 4 to its end            4: u32 bytes of what was appended
 *     8: u64 sequence                      16: u64 sequence of the first record of its group
 *     24: u32 epoch                        28: u32 kind, 1           32: what was appended
 *
 * Threads: the one that polls the reactor, for everything here.
 */
#ifndef POLLUX_JOURNAL_H
#define POLLUX_JOURNAL_H

#include "alloc/base.h"
#include "alloc/pool.h"
#include "alloc/want.h"
#include "runtime/file/file.h"

PLX_EXTERN_C_BEGIN

struct plx_journal;
struct plx_journal_wait;

/* Segments that a journal has at the most, and at least. */
#define PLX_JOURNAL_SEGMENTS_MAX 32u
#define PLX_JOURNAL_SEGMENTS_MIN 2u
/* Bytes of a segment, at least and at the most. */
#define PLX_JOURNAL_SEGMENT_MIN ((uint64_t)16 << 10)
#define PLX_JOURNAL_SEGMENT_MAX ((uint64_t)1 << 40)
/* Bytes that a record takes beside its own, up to 7 more of padding not counted. */
#define PLX_JOURNAL_RECORD_OVERHEAD 32u

/*
 * Takes a record while the journal is opened. `data` is borrowed until the return. Returns 0, or a
 * negative errno with which opening then fails.
 */
typedef int (*plx_journal_record_fn)(uint64_t sequence, const void *data, uint32_t len, void *ctx);

/* All records up to `sequence` are durable. */
typedef void (*plx_journal_durable_fn)(struct plx_journal *journal, uint64_t sequence, void *ctx);

/* Opening or closing has ended, with 0 or a negative errno. */
typedef void (*plx_journal_fn)(struct plx_journal *journal, int result, void *ctx);

/* The record waited for is durable (0), or will never be acknowledged (negative errno). */
typedef void (*plx_journal_wait_fn)(struct plx_journal_wait *wait, int result, void *ctx);

struct plx_journal_opts {
    /* Bytes of each segment: a multiple of PLX_PAGE. One that exists keeps its own. Default: 16M */
    uint64_t segment_bytes;
    /* So many of them at the most, MIN to MAX above. Default: 8 */
    uint32_t segments;
    /* Bytes of each of two buffers, blocks of the pool: the largest group. A power of two from 8K
     * to PLX_POOL_BLOCK_MAX. Default: 256K */
    uint32_t buffer_bytes;
    enum plx_want direct;    /* as of plx_file_opts. Default: PLX_WANT_TRY */
    enum plx_want registers; /* as of plx_file_opts, for segments. Default: PLX_WANT_TRY */
    bool zero_fill;          /* fill new segments with zeros. Default: true */
    uint64_t id;             /* what this journal's files are told from others' by. Default: 0 */
    plx_journal_record_fn on_record;   /* NULL: nobody asks */
    plx_journal_durable_fn on_durable; /* NULL: nobody asks */
    void *ctx;                         /* for these two */
};

/* Zeroed is at rest. In the caller's memory, where it stays while it waits. Private. */
struct plx_journal_wait {
    struct plx_journal_wait *next;
    struct plx_journal_wait *prev;
    uint64_t sequence;
    plx_journal_wait_fn fn;
    void *ctx;
    bool armed;
};

/* Counts since the journal was opened. */
struct plx_journal_stats {
    uint64_t appended;      /* records */
    uint64_t refused;       /* appends answered -EAGAIN or -ENOSPC */
    uint64_t groups;        /* made durable: as many fdatasync */
    uint64_t written_bytes; /* of groups, padding included */
    uint64_t padding_bytes;
    uint64_t recovered;     /* records found by opening, forgotten ones not counted */
    uint64_t segments_made; /* files */
    uint64_t segments_used_again;
};

/* --- private ---------------------------------------------------------------------------------- */

/* One request at a time: what is to be done, and what goes on when it has ended. */
struct plx__journal_task {
    struct plx_journal *journal;
    void (*next)(struct plx_journal *journal, int64_t result);
    struct plx_file *file;
    uint8_t *data;
    uint64_t bytes;
    uint64_t offset;
    uint8_t what;
    uint8_t interrupts; /* in a row */
    bool is_busy;
    char name[16];
    struct plx_op op;
    struct plx_timer timer;
    struct plx_file_io io;
};

struct plx__journal_slot {
    struct plx_file file;
    uint64_t number;        /* of the segment in it; 0: none, it is free */
    uint64_t last_sequence; /* appended to it; 0: none */
    bool is_filled;         /* as long as it has to be */
};

struct plx__journal_buffer {
    uint8_t *block;
    uint32_t used; /* bytes */
    uint32_t slot;
    uint64_t offset; /* in the segment */
    uint64_t first;  /* sequences */
    uint64_t last;
};

/* Where the reading of records stands. */
struct plx__journal_scan {
    uint64_t number; /* of the segment */
    uint32_t slot;
    uint8_t phase;
    uint64_t at;          /* in the segment */
    uint64_t sequence;    /* the next one expected */
    uint64_t group_first; /* of the record before */
    uint32_t epoch;       /* of the record before */
    uint32_t epoch_max;
    uint64_t lost_at; /* where they ended */
    uint64_t tail_at; /* once the records have ended */
    uint64_t tail_number;
    uint32_t tail_slot;
    uint64_t window_at; /* what of the segment is in memory */
    uint64_t window_bytes;
    uint64_t group_at; /* the last group found, as far as it is not written again */
    uint64_t group_end;
    uint32_t group_slot; /* NO_SLOT: none was */
};

/* In the caller's memory, where it stays until closed; about 20 KiB. Zeroed is one that is not
 * open. Private but for what the functions below tell. */
struct plx_journal {
    /* Hot. */
    uint8_t state;
    bool in_flight; /* the other buffer's group */
    bool in_call;   /* of the user's: none of the user's functions is called */
    uint8_t filling;
    uint32_t record_max;
    int32_t error; /* what it failed with */
    uint32_t epoch;
    uint32_t current;       /* slot of the tail */
    uint32_t following;     /* slot of the segment after that; SEGMENTS_MAX: not ready */
    uint64_t position;      /* where the next group goes in the tail's segment */
    uint64_t next_sequence; /* of the record appended next */
    uint64_t durable;
    uint64_t segment_bytes;
    uint32_t seed; /* checksum of the id and the current segment's number */
    struct plx__journal_buffer buffers[2];
    struct plx_journal_wait *wait_first;
    struct plx_journal_wait *wait_last;
    struct plx_timer tick;
    struct plx__journal_task commit;
    /* Cold. */
    struct plx__journal_task upkeep;
    struct plx_reactor *reactor;
    struct plx_pool *pool;
    struct plx_journal_opts opts;
    const char *folder;
    plx_journal_fn fn;
    void *ctx;
    int32_t folder_fd; /* plus 1 */
    int32_t result;
    uint8_t *page;  /* a block for headers */
    uint8_t *zeros; /* a block of zeros */
    uint32_t zero_bytes;
    uint32_t making; /* slot that is being made ready, for segment */
    uint64_t making_number;
    int32_t making_code;    /* why none could be */
    uint64_t filled_bytes;  /* of it */
    uint64_t control_count; /* writes of the control page so far */
    uint64_t oldest;
    uint64_t oldest_sequence;
    uint64_t forgotten;   /* as asked for */
    uint64_t oldest_kept; /* by what the control page says */
    bool is_live;
    bool folder_changed; /* a file was made in it */
    bool is_spoiled;     /* a header was written and perhaps not */
    bool folder_closing;
    uint8_t lock_tries;
    int32_t lock_code;               /* why there are no locks */
    uint64_t lock_at_ns;             /* when it is tried again */
    const struct plx_file *shutting; /* the file that was closed last */
    uint32_t probed;
    void (*after_lock)(struct plx_journal *journal, int64_t result);
    void (*after_making)(struct plx_journal *journal, int64_t result);
    void (*after_control)(struct plx_journal *journal, int64_t result);
    void (*after_recovery)(struct plx_journal *journal, int64_t result);
    struct plx__journal_scan scan;
    struct plx_file control;
    struct plx__journal_slot slots[PLX_JOURNAL_SEGMENTS_MAX];
    struct plx_journal_stats stats;
    struct plx_diag diag;
};

/* --- lifecycle -------------------------------------------------------------------------------- */

/* Fills `opts` with the defaults named beside its fields. */
PLX_API void plx_journal_opts_init(struct plx_journal_opts *opts);

/*
 * Opens the journal in `folder`, which exists, or makes one if there is none; hands its records to
 * `opts->on_record`, makes durable what it has handed out, and calls `fn`. From then on records may
 * be appended.
 * Ownership: `journal` is overwritten, and stays in place until plx_journal_close has ended or
 * opening has failed; `folder` is borrowed until `fn`; `opts` (NULL: the defaults) is copied. Four
 * blocks of `pool` are used until then: two of buffer_bytes, one of up to 64K, one of PLX_PAGE.
 * Cost: set-up: reads all that is kept, and two segments more at the most; a new journal's first
 * segment is filled. No allocation but from the pool. While a file is open elsewhere the reactor
 * turns without sleep.
 * Errors: -EINVAL options; -ENOMEM the pool has not so many blocks; others as plx_op_submit. In
 * `fn`, everything is closed then and plx_journal_diag tells more: -EBADMSG damage, named; records
 * handed out before are good; -EBUSY open elsewhere, after a second of trying, which each file is
 * given; -ESHUTDOWN the reactor stops; -EINVAL another id; -EPROTONOSUPPORT another version;
 * -EMSGSIZE it has, or may have, larger records than these buffers hold; what on_record returned;
 * what an operation met.
 */
PLX_API PLX_MUST_CHECK int plx_journal_open(struct plx_journal *journal,
                                            struct plx_reactor *reactor, struct plx_pool *pool,
                                            const char *folder, const struct plx_journal_opts *opts,
                                            plx_journal_fn fn, void *ctx);

/*
 * Closes the journal once what was appended is durable, or has failed; who waits is told before.
 * Errors: -EBADF not open; -EBUSY opening or closing. In `fn`: what the journal failed with, or 0.
 */
PLX_API PLX_MUST_CHECK int plx_journal_close(struct plx_journal *journal, plx_journal_fn fn,
                                             void *ctx);

/* --- appending -------------------------------------------------------------------------------- */

/*
 * Appends a record; *sequence (NULL allowed) is its number. It becomes durable by itself: its group
 * is written in this turn or the next, or when the one in flight has ended.
 * Shapes: len from 0 to plx_journal_record_max. Ownership: copied. Cost: hot; a copy and a
 * checksum; no allocation, no system call.
 * Errors, all but the last leaving the journal as it was: -EAGAIN the buffer is full, or the next
 * segment is not ready yet: after the next group (on_durable) there is room, or in a later turn;
 * -ENOSPC all segments hold records that were not forgotten: plx_journal_forget; or what else
 * making a segment ready met (ENOSPC of the disk, EIO, EBUSY as of opening): it is tried again;
 * -EMSGSIZE too long;
 * -EBADF not open; what the journal failed with.
 */
PLX_API PLX_MUST_CHECK int plx_journal_append(struct plx_journal *journal, const void *data,
                                              uint32_t len, uint64_t *sequence);

/*
 * Calls `fn` once all up to `sequence` are durable, in a later turn; with an error if the journal
 * fails before. Any number may wait, each is told in order of sequences. Ownership: `wait` (at
 * rest) stays in place until then. Cost: hot; O(1) for sequences that do not decrease. Errors:
 * -EINVAL nothing was appended by that number; -EBADF not open; what the journal failed with.
 */
PLX_API PLX_MUST_CHECK int plx_journal_wait(struct plx_journal *journal,
                                            struct plx_journal_wait *wait, uint64_t sequence,
                                            plx_journal_wait_fn fn, void *ctx);

/* Takes `wait` out of line; it will not be called. Nothing happens to one at rest. */
PLX_API void plx_journal_unwait(struct plx_journal *journal, struct plx_journal_wait *wait);

/*
 * Says that records up to `upto` are no longer needed. Segments of which that is true of all
 * records, but for the tail's, are used again, once that is durable. What of them is kept may be
 * handed out by a later opening. Cost: a write and an fdatasync, in later turns, when segments
 * become free. Errors: -EINVAL not durable yet; -EBADF not open; what the journal failed with.
 */
PLX_API PLX_MUST_CHECK int plx_journal_forget(struct plx_journal *journal, uint64_t upto);

/* --- inspection ------------------------------------------------------------------------------- */

/* The last sequence that is durable; 0: none. */
static inline uint64_t plx_journal_durable(const struct plx_journal *journal)
{
    return journal->durable;
}

/* The last sequence that was appended; 0: none. */
static inline uint64_t plx_journal_last(const struct plx_journal *journal)
{
    return journal->next_sequence - 1;
}

/* Bytes of the longest record that may be appended. */
static inline uint32_t plx_journal_record_max(const struct plx_journal *journal)
{
    return journal->record_max;
}

/* What the journal failed with: an error of a write or fdatasync, after which nothing is
 * acknowledged any more. 0: nothing. */
static inline int plx_journal_error(const struct plx_journal *journal)
{
    return journal->error;
}

/* What opening or the journal failed with, in words: `what` names the file or segment. */
static inline const struct plx_diag *plx_journal_diag(const struct plx_journal *journal)
{
    return &journal->diag;
}

static inline const struct plx_journal_stats *plx_journal_stats(const struct plx_journal *journal)
{
    return &journal->stats;
}

/* Tells `sink` in lines what the journal is made of, how its files are open, and what was wanted
 * and not had. While it is open. Cost: set-up. */
PLX_API PLX_COLD void plx_journal_explain(const struct plx_journal *journal, plx_text_fn sink,
                                          void *ctx);

PLX_EXTERN_C_END

#endif
