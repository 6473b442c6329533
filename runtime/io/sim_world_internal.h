/* SPDX-License-Identifier: MIT */
/*
 * The simulated world's inside, for the sim*.c files.
 *
 * Words. A *description* is what a descriptor names: a socket or an open file. A *pipe* is one
 * direction of a connection; it lies with the socket that reads it. A *mark* says when bytes up to
 * a place arrive. An attempt that cannot be made now *would wait*.
 */
#ifndef POLLUX_SIM_WORLD_INTERNAL_H
#define POLLUX_SIM_WORLD_INTERNAL_H

#include "runtime/io/sim_internal.h"

#define SIM_WOULD_WAIT (-4096) /* no errno */
#define SIM_PIPE_BYTES 65536u
#define SIM_PIPE_MIN   512u
#define SIM_MARKS      64u
#define SIM_QUEUE_MAX  128u
#define SIM_BACKENDS   16u
#define SIM_PAGE       4096u
#define SIM_SECTOR     512u
#define SIM_FILES      64u
#define SIM_NAME_BYTES 128u

/* What takes as long in a kind world. */
#define SIM_LATENCY_NS    20000u
#define SIM_SYN_RETRY_NS  1000000000u
#define SIM_SYN_GIVEUP_NS 127000000000u

struct sim_mark {
    uint64_t end;
    uint64_t at_ns;
};

/* Positions count bytes from the connection's beginning. */
struct sim_pipe {
    uint8_t *data; /* a ring of `capacity` bytes */
    uint32_t capacity;
    uint32_t mark_first;
    uint32_t mark_count;
    uint64_t written;
    uint64_t arrived;
    uint64_t read;
    uint64_t fin_ns;   /* PLX__SIM_NEVER: the writer has not ended */
    uint64_t reset_ns; /* PLX__SIM_NEVER: no reset is on its way */
    uint64_t free_ns;  /* before it the link carries nothing */
    uint64_t reset_at; /* choices of the link */
    uint64_t vanish_at;
    uint64_t timeout_at;
    int reset_error;
    bool reset_told;                  /* a call has reported it */
    struct sim_mark marks[SIM_MARKS]; /* of packets, until they are read */
};

enum sim_sock_state { SIM_SOCK_NEW, SIM_SOCK_LISTENING, SIM_SOCK_CONNECTING, SIM_SOCK_CONNECTED };

struct sim_sock {
    enum sim_sock_state state;
    int type;      /* SOCK_STREAM, SOCK_SEQPACKET */
    bool is_local; /* of a pair or pipe: no link, so no time passes and nothing breaks */
    bool is_pipe;
    struct sockaddr_storage name;
    struct sockaddr_storage peer_name;
    socklen_t name_bytes; /* 0: not bound */
    bool reuse_port;
    bool linger_none;
    bool shut_read;
    bool shut_write;
    bool silent;        /* nothing passes any more, in either direction */
    uint64_t swallowed; /* bytes that were sent and come nowhere */
    uint64_t up_ns;     /* connecting: when it is known to have succeeded or failed */
    int up_result;
    struct sim_sock *peer; /* NULL: closed, or never there */
    struct sim_pipe in;
    /* Listening. */
    uint32_t backlog;
    uint32_t queue_count;
    struct sim_sock *queue[SIM_QUEUE_MAX];
    struct sim_sock *next; /* all sockets of the world */
    struct sim_sock *prev;
};

struct sim_page {
    uint8_t *now;  /* as readers see it; NULL: zeros */
    uint8_t *safe; /* what a crash leaves in any case */
    bool dirty;    /* differs, and the next fsync brings it to the device */
};

struct sim_file {
    char name[SIM_NAME_BYTES];
    bool is_there;
    bool is_folder;
    bool name_safe;
    uint32_t opens;
    int locked_by; /* a descriptor; 0: none */
    uint64_t bytes;
    uint64_t safe_bytes;
    bool size_dirty;
    struct sim_page *pages;
    uint64_t page_count;
};

enum sim_kind { SIM_FREE, SIM_SOCKET, SIM_PIPE, SIM_FILE };

struct sim_desc {
    enum sim_kind kind;
    uint32_t generation; /* how often the number was given out */
    struct sim_sock *sock;
    struct sim_file *file;
    uint64_t offset;
    uint32_t flags; /* O_, or SOCK_ */
};

struct sim_backend;

struct plx__sim_world {
    struct plx__sim_hooks hooks;
    uint64_t now_ns;
    uint64_t pace_ns;
    uint16_t next_port;
    uint32_t backend_count;
    struct sim_backend *backends[SIM_BACKENDS];
    struct sim_sock *socks;
    struct sim_desc descs[PLX__SIM_FDS];
    struct sim_file files[SIM_FILES];
};

static inline uint64_t sim_choose(struct plx__sim_world *world, enum plx__sim_choice choice,
                                  uint64_t bound)
{
    if (world->hooks.choose == NULL || bound <= 1)
        return 0;
    return world->hooks.choose(world->hooks.ctx, choice, bound);
}

static inline bool sim_chance(struct plx__sim_world *world, enum plx__sim_choice choice)
{
    return sim_choose(world, choice, 2) != 0;
}

/* How many of `bytes` > 0, at least one, when `choice` leaves some out. */
static inline size_t sim_cut(struct plx__sim_world *world, enum plx__sim_choice choice,
                             size_t bytes)
{
    return bytes - (size_t)sim_choose(world, choice, bytes);
}

void plx__sim_broken(struct plx__sim_world *world, const char *format, ...) PLX_PRINTF(2, 3);

/* --- descriptors ------------------------------------------------------------------------------ */

/* The description, or NULL for a number that is not open. */
struct sim_desc *plx__sim_desc(struct plx__sim_world *world, int fd);
/* The lowest free number; -EMFILE. */
int plx__sim_desc_take(struct plx__sim_world *world, enum sim_kind kind);
int plx__sim_desc_close(struct plx__sim_world *world, int fd);

/* --- sockets: results as of the system calls, or SIM_WOULD_WAIT --------------------------------
 */

struct sim_sock *plx__sim_sock_make(struct plx__sim_world *world, int type);
void plx__sim_sock_close(struct plx__sim_world *world, struct sim_sock *sock);
int64_t plx__sim_recv(struct plx__sim_world *world, struct sim_sock *sock, const struct iovec *iov,
                      size_t count, int flags);
/* Two that are connected. 0 or -ENOMEM. */
int plx__sim_sock_pair(struct plx__sim_world *world, int type, bool is_pipe, uint32_t bytes,
                       struct sim_sock *pair[2]);
int64_t plx__sim_send(struct plx__sim_world *world, struct sim_sock *sock, const struct iovec *iov,
                      size_t count);
/* Whether a receive would not wait; bytes to be had (0: an end or error). */
bool plx__sim_readable(struct plx__sim_world *world, struct sim_sock *sock, size_t *bytes);
/* `flags`: SOCK_CLOEXEC, SOCK_NONBLOCK. */
int plx__sim_accept(struct plx__sim_world *world, struct sim_sock *sock, uint32_t flags);
int plx__sim_connect_begin(struct plx__sim_world *world, struct sim_sock *sock,
                           const struct sockaddr *addr, socklen_t bytes);
int plx__sim_connect_ask(struct plx__sim_world *world, struct sim_sock *sock);
uint32_t plx__sim_poll_bits(struct plx__sim_world *world, struct sim_sock *sock);
int plx__sim_shutdown(struct plx__sim_world *world, struct sim_sock *sock, int how);

/* --- files ------------------------------------------------------------------------------------ */

int64_t plx__sim_read(struct plx__sim_world *world, struct sim_desc *desc, const struct iovec *iov,
                      size_t count, uint64_t offset);
int64_t plx__sim_write(struct plx__sim_world *world, struct sim_desc *desc, const struct iovec *iov,
                       size_t count, uint64_t offset);
int plx__sim_fsync(struct plx__sim_world *world, struct sim_desc *desc);
int plx__sim_fallocate(struct plx__sim_world *world, struct sim_desc *desc, uint32_t mode,
                       uint64_t offset, uint64_t bytes);
int plx__sim_openat(struct plx__sim_world *world, int dir, const char *path, uint32_t flags);
int plx__sim_statx(struct plx__sim_world *world, const struct plx_op *op);
void plx__sim_files_crash(struct plx__sim_world *world);
void plx__sim_files_free(struct plx__sim_world *world);

/* --- backends --------------------------------------------------------------------------------- */

void plx__sim_work(struct sim_backend *backend);

#endif
