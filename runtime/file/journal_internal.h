/* SPDX-License-Identifier: MIT */
/*
 * The journal's inside: the format as structures, and what its three parts (appending, segments,
 * opening) share. The format's description is in journal.h.
 *
 * Threads: the one that polls the reactor.
 */
#ifndef POLLUX_JOURNAL_INTERNAL_H
#define POLLUX_JOURNAL_INTERNAL_H

#include "runtime/file/crc32c_internal.h"
#include "runtime/file/journal.h"

#define PLX__JOURNAL_VERSION       1u
#define PLX__JOURNAL_CONTROL_MAGIC 0x314c54434a584c50u /* "PLXJCTL1" */
#define PLX__JOURNAL_SEGMENT_MAGIC 0x314745534a584c50u /* "PLXJSEG1" */
#define PLX__JOURNAL_BLOCK         ((uint64_t)PLX_PAGE)
#define PLX__JOURNAL_DATA          1u /* kind of a record */
#define PLX__JOURNAL_NO_SLOT       PLX_JOURNAL_SEGMENTS_MAX
/* No journal counts so far; what a file says beyond would wrap when it is counted on. */
#define PLX__JOURNAL_COUNT_MAX (UINT64_MAX / 2)
#define PLX__JOURNAL_EPOCH_MAX (UINT32_MAX - 1)

PLX_STATIC_ASSERT(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the format is little-endian");

struct plx__journal_control {
    uint32_t crc;
    uint32_t version;
    uint64_t magic;
    uint64_t id;
    uint64_t count;
    uint64_t segment_bytes;
    uint64_t oldest;
    uint64_t oldest_sequence;
    uint64_t forgotten;
    uint32_t epoch;
    uint32_t is_live;
    uint32_t record_max;
    uint32_t reserved;
};

struct plx__journal_header {
    uint32_t crc;
    uint32_t version;
    uint64_t magic;
    uint64_t id;
    uint64_t number;
    uint64_t segment_bytes;
};

struct plx__journal_record {
    uint32_t crc;
    uint32_t len;
    uint64_t sequence;
    uint64_t first;
    uint32_t epoch;
    uint32_t kind;
};

PLX_STATIC_ASSERT(sizeof(struct plx__journal_control) == 80, "as journal.h says");
PLX_STATIC_ASSERT(sizeof(struct plx__journal_header) == 40, "as journal.h says");
PLX_STATIC_ASSERT(sizeof(struct plx__journal_record) == PLX_JOURNAL_RECORD_OVERHEAD,
                  "as journal.h says");

enum plx__journal_state {
    PLX__JOURNAL_CLOSED,
    PLX__JOURNAL_OPENING,
    PLX__JOURNAL_LIVE,
    PLX__JOURNAL_FAILED, /* nothing is acknowledged any more; to be closed */
    PLX__JOURNAL_CLOSING
};

enum plx__journal_what {
    PLX__TASK_OPEN_FOLDER,
    PLX__TASK_SYNC_FOLDER,
    PLX__TASK_CLOSE_FOLDER,
    PLX__TASK_OPEN,  /* `name` below the folder; `offset` is the access */
    PLX__TASK_READ,  /* all of `bytes`, or what there is */
    PLX__TASK_WRITE, /* all of `bytes` */
    PLX__TASK_SYNC,  /* the file */
    PLX__TASK_DATA,  /* fdatasync */
    PLX__TASK_ALLOCATE,
    PLX__TASK_LOCK, /* the file, see plx__journal_lock */
    PLX__TASK_CLOSE
};

/* Bytes that a record of `len` takes. */
static inline uint64_t plx__journal_bytes(uint64_t len)
{
    return plx_round_up(PLX_JOURNAL_RECORD_OVERHEAD + len, 8);
}

/* What the checksums of a segment's records begin with. */
uint32_t plx__journal_seed(uint64_t id, uint64_t number);

/* The checksum of a record whose bytes lie behind each other. */
static inline uint32_t plx__journal_record_crc(uint32_t seed, const void *record, uint32_t len)
{
    return plx__crc32c(seed, (const char *)record + 4,
                       PLX_JOURNAL_RECORD_OVERHEAD - 4 + (size_t)len);
}

/* Checksums of the two pages; and whether one is what it should be. */
void plx__journal_seal_control(struct plx__journal_control *control);
bool plx__journal_is_control(const struct plx__journal_control *control);
void plx__journal_seal_header(struct plx__journal_header *header);
bool plx__journal_is_header(const struct plx__journal_header *header);

/* --- tasks ------------------------------------------------------------------------------------ */

typedef void (*plx__journal_next_fn)(struct plx_journal *journal, int64_t result);

/*
 * Does `what` with the fields of `task` that it needs, and calls `next`: in a later turn, or at
 * once if it cannot begin. A full ring is waited for.
 */
void plx__journal_run(struct plx__journal_task *task, enum plx__journal_what what,
                      plx__journal_next_fn next);

static inline void plx__journal_run_file(struct plx__journal_task *task,
                                         enum plx__journal_what what, struct plx_file *file,
                                         plx__journal_next_fn next)
{
    task->file = file;
    plx__journal_run(task, what, next);
}

/* A transfer of `bytes`; its result is -EIO when a write was short. */
static inline void plx__journal_transfer(struct plx__journal_task *task,
                                         enum plx__journal_what what, struct plx_file *file,
                                         void *data, uint64_t bytes, uint64_t offset,
                                         plx__journal_next_fn next)
{
    task->data = (uint8_t *)data;
    task->bytes = bytes;
    task->offset = offset;
    plx__journal_run_file(task, what, file, next);
}

/* Opens file `name` of the folder into `file`. */
void plx__journal_open_file(struct plx_journal *journal, struct plx_file *file, const char *name,
                            uint32_t access, plx__journal_next_fn next);

/*
 * Locks a file of the journal's against other openings, in whatever process, trying for a second;
 * `next` is called at once when the first try says enough. It gets 0, also where there are no locks
 * (noted in lock_code); -EBUSY another one has it; -ECANCELED the journal closes; -ESHUTDOWN the
 * reactor stops; what else the kernel says. The closing of files unlocks them.
 */
void plx__journal_lock(struct plx_journal *journal, struct plx_file *file,
                       plx__journal_next_fn next);

/* --- between the parts ------------------------------------------------------------------------ */

/* Nothing is acknowledged from now on: who waits is told `code`. */
void plx__journal_fail(struct plx_journal *journal, int code);

/* Notes what went wrong with which segment; the first one counts. */
PLX_COLD void plx__journal_blame(struct plx_journal *journal, int code, uint64_t number,
                                 const char *format, ...) PLX_PRINTF(4, 5);
PLX_COLD void plx__journal_blame_file(struct plx_journal *journal, int code, const char *name,
                                      const char *format, ...) PLX_PRINTF(4, 5);

/* Does what is due: the control page after a forget, the next segment. */
void plx__journal_keep_up(struct plx_journal *journal);

/* Writes the control page and makes it durable. */
void plx__journal_write_control(struct plx_journal *journal, plx__journal_next_fn next);

/* Makes segment `number` ready in some slot; `next` gets the slot or an error. */
void plx__journal_make_segment(struct plx_journal *journal, uint64_t number,
                               plx__journal_next_fn next);

/* The slot that has segment `number`, or PLX__JOURNAL_NO_SLOT. */
uint32_t plx__journal_slot_of(const struct plx_journal *journal, uint64_t number);

/* Begins with the tail there. */
void plx__journal_go_live(struct plx_journal *journal, uint32_t slot, uint64_t position);

/* Reads the records from the oldest segment on; `next` gets 0 with the tail in `scan`, or an
 * error. */
void plx__journal_recover(struct plx_journal *journal, plx__journal_next_fn next);

/* Closes all that is open, gives the blocks back, and calls the user with `result`. */
void plx__journal_shut(struct plx_journal *journal, int result);

void plx__journal_slot_name(char *out, size_t bytes, uint32_t slot);

/* When a chain of upkeep has come to rest: a close may wait for that. */
void plx__journal_rest(struct plx_journal *journal);

#endif
