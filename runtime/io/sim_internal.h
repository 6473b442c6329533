/* SPDX-License-Identifier: MIT */
/*
 * The third backend: a simulated kernel, so that several reactors on one thread see a world whose
 * clock, sockets and files are plain memory and whose every decision comes from one function.
 *
 * Words. The *world* is what reactors share: the clock, descriptors, sockets, files. A *choice* is
 * a question that the world asks: how long, how many fewer, whether to fail. The answer 0 is
 * always that of a kind world, in which nothing is late, short or lost; so the library has no fault
 * and no randomness of its own, and whoever answers (test/sim/) has all of them. The *owner* of a
 * world is who made it and answers.
 *
 * What an op may meet is what its documentation permits, and no more. What the rules of op.h forbid
 * the runtime to do (memory changed in flight, a descriptor closed while an op names it, a read of
 * a socket) is told to the owner by `broken`.
 *
 * Threads: one world, with all of its reactors, on one thread.
 */
#ifndef POLLUX_SIM_INTERNAL_H
#define POLLUX_SIM_INTERNAL_H

#include "runtime/io/io_internal.h"

/* Descriptors have numbers that are none of the process's, were they to reach its kernel. */
#define PLX__SIM_FD_FIRST 1000
#define PLX__SIM_FDS      512
#define PLX__SIM_NEVER    UINT64_MAX

/*
 * X(name, what it is when the answer is not 0). Answers are below the bound that is asked with; one
 * of _NS kinds is a time, one of _LESS kinds a number of bytes or events to leave out, one of _AT
 * kinds a number of bytes after which it happens, of the others true or a number of a list.
 */
#define PLX__SIM_CHOICES(X)                                                                        \
    X(SUBMIT_FULL, "the ring is full: a submit is refused")                                        \
    X(CANCEL_FULL, "the ring is full: a cancel waits")                                             \
    X(TAKE_NS, "the kernel takes entries late")                                                    \
    X(BEGIN_NS, "a file op waits in the device's queue")                                           \
    X(COMPLETE_NS, "a completion comes late")                                                      \
    X(COMPLETE_LOST, "a completion does not come before its op is cancelled")                      \
    X(REORDER, "completions change their order")                                                   \
    X(BATCH_LESS, "a batch is shorter than what is there")                                         \
    X(MULTISHOT_END, "a multishot ends early")                                                     \
    X(GROUP_DRY, "a group has no buffer")                                                          \
    X(CANCEL_LOSES, "an op completes although it was cancelled in time")                           \
    X(INTERRUPT, "EINTR")                                                                          \
    X(RELEASE_NS, "zero copy: the memory is released late")                                        \
    X(RELEASE_COPIED, "zero copy: the kernel copied after all")                                    \
    X(RECV_LESS, "a receive brings less than there is")                                            \
    X(SEND_LESS, "a send takes less than there is room for")                                       \
    X(SEND_NOBUFS, "a send meets ENOBUFS")                                                         \
    X(NOW_AGAIN, "a plain call finds nothing where there is something")                            \
    X(LATENCY_NS, "bytes take longer")                                                             \
    X(STALL_NS, "a link carries nothing for a while")                                              \
    X(RESET_AT, "a link is reset at some byte")                                                    \
    X(RESET_DROPS, "a reset takes what was not read")                                              \
    X(VANISH_AT, "a peer falls silent at some byte: half open")                                    \
    X(TIMEOUT_AT, "a link is given up by the kernel at some byte")                                 \
    X(WINDOW_LESS, "a link's buffer is small")                                                     \
    X(ACCEPT_FILES, "accept: EMFILE")                                                              \
    X(ACCEPT_FILES_ALL, "accept: ENFILE")                                                          \
    X(ACCEPT_ABORTED, "accept: ECONNABORTED")                                                      \
    X(SOCKET_FILES, "socket: EMFILE")                                                              \
    X(CONNECT_INTERRUPT, "connect: EINTR")                                                         \
    X(CONNECT_REFUSED, "connect: refused")                                                         \
    X(CONNECT_RESET, "connect: reset")                                                             \
    X(CONNECT_LOST, "connect: no answer ever")                                                     \
    X(SPREAD, "which of several listeners")                                                        \
    X(CLOSE_ERROR, "close reports an error")                                                       \
    X(READ_LESS, "a read brings less")                                                             \
    X(WRITE_LESS, "a write takes less")                                                            \
    X(READ_ERROR, "read: EIO")                                                                     \
    X(WRITE_ERROR, "write: EIO")                                                                   \
    X(WRITE_SPACE, "write: ENOSPC")                                                                \
    X(ALLOCATE_SPACE, "fallocate: ENOSPC")                                                         \
    X(SYNC_ERROR, "fsync: EIO, and what was to be written is given up")                            \
    X(OPEN_FILES, "openat: EMFILE")                                                                \
    X(CRASH_PAGE, "a crash loses a page that was not synchronised")                                \
    X(CRASH_TORN, "a crash tears a page that was not synchronised")                                \
    X(CRASH_SIZE, "a crash loses a file's length")                                                 \
    X(CRASH_NAME, "a crash loses a file whose name was not synchronised")

enum plx__sim_choice {
#define X(name, text) PLX__SIM_##name,
    PLX__SIM_CHOICES(X)
#undef X
        PLX__SIM_CHOICE_COUNT
};

/* One thing that came about: an op taken, or one of its events. */
struct plx__sim_seen {
    uint64_t now_ns;
    int32_t fd;
    int32_t result;
    uint16_t home;
    uint16_t flags; /* of the event */
    uint8_t code;   /* enum plx_op_code */
    bool taken;     /* the kernel took it; otherwise an event was collected */
};

struct plx__sim_hooks {
    /* An answer below `bound`, which is at least 1. NULL: always 0. */
    uint64_t (*choose)(void *ctx, enum plx__sim_choice choice, uint64_t bound);
    void (*seen)(void *ctx, const struct plx__sim_seen *seen);
    /* The runtime broke a rule. */
    void (*broken)(void *ctx, const char *text);
    void *ctx;
};

struct plx__sim_world;

/* The world begins at a clock of 1 s. -ENOMEM. */
int plx__sim_world_create(const struct plx__sim_hooks *hooks, struct plx__sim_world **out);
/* After all of its backends were closed. */
void plx__sim_world_destroy(struct plx__sim_world *world);

/* Makes it the world that this thread's control calls (plx__sim_plain) mean. NULL: none. */
void plx__sim_world_enter(struct plx__sim_world *world);

void plx__sim_world_advance(struct plx__sim_world *world, uint64_t ns);
uint64_t plx__sim_world_now_ns(const struct plx__sim_world *world);
/* Each look of a reactor at its completions moves the clock so far: for who has no driver. */
void plx__sim_world_pace(struct plx__sim_world *world, uint64_t ns);
/* Lets the kernel work for all reactors, as it does between their turns. */
void plx__sim_world_work(struct plx__sim_world *world);
/* Descriptors that are open. */
uint32_t plx__sim_world_open_count(const struct plx__sim_world *world);

/*
 * Power is lost: of what was not synchronised, choices tell what is left; descriptors and sockets
 * are gone. After all backends were closed.
 */
void plx__sim_world_crash(struct plx__sim_world *world);
/* The process has died: descriptors and sockets are gone, files stay as readers saw them. */
void plx__sim_world_forget(struct plx__sim_world *world);
/* Makes a file with these bytes, synchronised. 0, -EEXIST, -ENOSPC, -ENOMEM. */
int plx__sim_file_make(struct plx__sim_world *world, const char *name, const void *data,
                       size_t bytes);
/* -ENOENT. The name is gone at once, and for good. */
int plx__sim_file_unlink(struct plx__sim_world *world, int dir, const char *path);
/* Bytes of the file from `offset`, as a reader sees them; their number, or -ENOENT. */
int64_t plx__sim_file_look(const struct plx__sim_world *world, const char *name, uint64_t offset,
                           void *out, size_t bytes);

/*
 * Descriptors of the owner's, for what is at the other end of an op: two sockets that are connected
 * without a link between (SOCK_STREAM, SOCK_SEQPACKET); a pipe that holds so many bytes; and plain
 * calls, which never wait: -EAGAIN. A connect is asked again until it says otherwise.
 */
int plx__sim_pair(struct plx__sim_world *world, int type, int fds[2]);
int plx__sim_pipe(struct plx__sim_world *world, uint32_t bytes, int fds[2]);
int64_t plx__sim_plain_recv(struct plx__sim_world *world, int fd, void *buf, size_t len, int flags);
int64_t plx__sim_plain_send(struct plx__sim_world *world, int fd, const void *data, size_t len);
int plx__sim_plain_accept(struct plx__sim_world *world, int fd);
int plx__sim_plain_connect(struct plx__sim_world *world, int fd, const struct sockaddr *addr,
                           socklen_t bytes);
/* A file, with O_ bits; where a descriptor stands in it; bits it was opened or accepted with. */
int plx__sim_plain_open(struct plx__sim_world *world, const char *name, uint32_t flags);
int64_t plx__sim_plain_write(struct plx__sim_world *world, int fd, const void *data, size_t len,
                             uint64_t offset);
int64_t plx__sim_plain_position(struct plx__sim_world *world, int fd);
int64_t plx__sim_plain_flags(struct plx__sim_world *world, int fd);
bool plx__sim_is_open(struct plx__sim_world *world, int fd);

extern const struct plx__plain_calls plx__sim_plain;

/* Opens the backend in the world that `config` names. */
int plx__sim_open(const struct plx__io_config *config, struct plx__io **out, struct plx_diag *diag);

#endif
