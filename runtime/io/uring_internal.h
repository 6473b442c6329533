/* SPDX-License-Identifier: MIT */
/*
 * What the files of the uring backend share: its object, and the tags of completions.
 *
 * The rings are liburing's (it sets them up and maps them), but entries are taken and shown here:
 * the index array is the identity once and for all, the kernel's head is looked at only when the
 * ring seems full, and one exchange publishes all of a turn.
 */
#ifndef POLLUX_URING_INTERNAL_H
#define POLLUX_URING_INTERNAL_H

#include <liburing.h>

#include "alloc/pool.h"
#include "runtime/io/io_internal.h"

/* Entries of the submission ring that only cancels may use. */
#define URING_RESERVE 4u

/* Completion entries per submission entry: multishots answer many times. */
#define URING_CQ_FACTOR 4u

/* Without CANCEL_ANY every op in flight is remembered, up to so many. */
#define URING_TRACK_MAX 65536u

/* user_data is an op's address, or one of these. */
#define URING_TAG_MASK     7u
#define URING_TAG_INTERNAL 1u /* an answer that nobody waits for: of a cancel */
#define URING_TAG_WAKE     2u /* the eventfd of a sleeper shows */

/*
 * The arena as fixed buffers: chunk i of so many bytes from its base, the last one maybe shorter.
 * The kernel takes no more than 1 GiB as one; blocks of the pool cross no chunk.
 */
#define URING_CHUNK_SHIFT 30u
#define URING_CHUNKS_MAX  1024u
PLX_STATIC_ASSERT((uint64_t)1 << URING_CHUNK_SHIFT == PLX_POOL_CHUNK_BYTES, "as the pool's");
PLX_STATIC_ASSERT(PLX_ARENA_BYTES_MAX >> URING_CHUNK_SHIFT == URING_CHUNKS_MAX,
                  "the largest arena has so many chunks");

/* The backend's own marks in an op's state byte. */
#define URING_OP_COPIES (1u << 6) /* zero copy was refused: a plain send */
#define URING_OP_AGAIN  (1u << 7) /* on the late list, to be written once more */

/*
 * Registered files: slot i of the table is descriptor i, so that an op keeps its number and only
 * says that it is a slot's. Descriptors above stay what they are.
 */
#define URING_FILES_MAX 4096u

/* Without multishot recvmsg: what one receive into a chosen buffer is asked with. */
struct uring_message {
    struct msghdr msg;
    struct iovec part;
};

struct uring {
    struct plx__io io;
    struct io_uring ring;
    /* Owner's, hot. */
    unsigned sq_tail;      /* entries filled */
    unsigned sq_shown;     /* entries that the kernel was shown */
    unsigned sq_head_seen; /* the kernel's head when last looked at */
    unsigned sq_entries;
    unsigned sq_mask;
    bool sqpoll;
    bool enter_registered;
    bool wake_armed; /* the ring polls the eventfd */
    uintptr_t fixed_base; /* the arena's, when it is registered */
    uint64_t fixed_bytes; /* 0: it isn't */
    struct plx_op *late;  /* cancels, and ops to write again, that wait for an entry; by link */
    uint32_t file_count;  /* registered ones */
    uint32_t file_slots;  /* of the kernel's table; 0: it has none */
    /* Without CANCEL_ANY: what is in flight; an op's `result` holds its slot. */
    struct plx_op **track;
    uint32_t track_count;
    /* Without multishot recvmsg: one for each buffer. */
    struct uring_message *messages[PLX_GROUPS_MAX];
    uint64_t files[URING_FILES_MAX / 64]; /* a bit per slot: taken */
};

/* Whether ops on `fd` may say that it is a registered file. */
static inline bool plx__uring_has_file(const struct uring *u, int fd)
{
    return (uint32_t)fd < URING_FILES_MAX && (u->files[fd / 64] >> (fd % 64) & 1) != 0;
}

/*
 * The chunk in which all of `len` > 0 bytes lie, `offset` bytes from the base of `bytes` registered
 * ones; -1: they don't, or in no single one.
 */
static inline int32_t plx__uring_chunk(uint64_t bytes, uint64_t offset, uint64_t len)
{
    if (offset >= bytes || len > bytes - offset)
        return -1;
    uint64_t chunk = offset >> URING_CHUNK_SHIFT;
    return (offset + len - 1) >> URING_CHUNK_SHIFT == chunk ? (int32_t)chunk : -1;
}

/* In uring.c. */
extern const struct plx__io_ops plx__uring_ops;
/* Enters the kernel; returns its answer or negative errno, EINTR retried. Counts the entry. */
int plx__uring_enter(struct uring *u, unsigned to_submit, unsigned min_complete, unsigned flags);

/* In uring_files.c. */
/* Makes the table; 0 or negative errno. */
int plx__uring_files_open(struct uring *u);
int plx__uring_fd_register(struct plx__io *io, int fd);
int plx__uring_fd_unregister(struct plx__io *io, int fd);
/* `fd` is about to be closed: lets go of the file, if it is registered. */
void plx__uring_file_forget(struct uring *u, int fd);
/* Lets go of all, now rather than when the kernel clears the ring away. */
void plx__uring_files_close(struct uring *u);

/* In uring_messages.c: PLX_OP_RECVMSG_GROUP where the kernel does not choose the buffer. */
int plx__uring_messages_open(struct uring *u, uint16_t group);
void plx__uring_messages_close(struct uring *u);
/* What to ask the kernel with, so that buffer `id` gets the layout of a multishot's. */
struct msghdr *plx__uring_message_ask(struct uring *u, const struct plx_op *op, uint16_t id);
/* Completes the layout behind a receive of `bytes`; returns how many bytes of the buffer count. */
int32_t plx__uring_message_tell(struct uring *u, const struct plx_op *op, uint16_t id,
                                int32_t bytes);

/* In uring_setup.c. */
/* Bytes of the chunk, of an arena of `bytes`. */
uint64_t plx__uring_chunk_bytes(uint64_t bytes, uint32_t chunk);
int plx__uring_group_open(struct plx__io *io, uint16_t index);
void plx__uring_close(struct plx__io *io);

#endif
