/* SPDX-License-Identifier: MIT */
/*
 * The inside of TCP, for the tcp_*.c files.
 *
 * Words. The *net* is the per-reactor state: slabs of streams and listeners, the groups that rings
 * receive into. A *block* is a piece of a send queue. A buffer is *held back* when the ring filled
 * it and a paused stream cannot take it yet. To *settle* a stream is to bring what
 * it does (its ops, poller, timer) in line with what it should do (its fields); that happens in a
 * deferred call at the turn's end, so the functions of the public header only change fields.
 *
 * Ends. Whatever ends a stream (plx__tcp_end) only names the reason; settling then cancels what is
 * in flight, and once nothing is, closes the descriptor. Memory is used again only after the close
 * has ended, when no op, poller, timer, list or deferred call knows the stream.
 */
#ifndef POLLUX_TCP_INTERNAL_H
#define POLLUX_TCP_INTERNAL_H

#include "net/tcp.h"
#include "runtime/reactor.h"
#include "runtime/reactor_internal.h"
#include "runtime/runtime.h"

#define PLX__BLOCK_BYTES   16384u
#define PLX__BLOCK_ROOM    (PLX__BLOCK_BYTES - 16u)
#define PLX__HOT_BYTES     65536u
#define PLX__SMALL_BYTES   4096u
#define PLX__LARGE_BYTES   65536u
#define PLX__BUFFERS_MAX   4096u
/* Of a buffer with less than this part of it filled nothing is shared or held back by itself. */
#define PLX__PIN_PART      8u
#define PLX__NO_BUFFER     0xffffu

/* A place in a ring of places; a list's own link is its head. */
struct plx__link {
    struct plx__link *next;
    struct plx__link *prev;
};

static inline void plx__list_init(struct plx__link *list)
{
    list->next = list;
    list->prev = list;
}

static inline bool plx__list_is_empty(const struct plx__link *list)
{
    return list->next == list;
}

/* A link outside of any list has no next. */
static inline bool plx__link_is_in(const struct plx__link *link)
{
    return link->next != NULL;
}

static inline void plx__list_append(struct plx__link *list, struct plx__link *link)
{
    link->next = list;
    link->prev = list->prev;
    list->prev->next = link;
    list->prev = link;
}

static inline void plx__list_remove(struct plx__link *link)
{
    if (link->next == NULL)
        return;
    link->next->prev = link->prev;
    link->prev->next = link->next;
    link->next = NULL;
    link->prev = NULL;
}

struct plx__block {
    struct plx__block *next;
    uint32_t begin; /* the first byte that the kernel has not taken */
    uint32_t end;   /* behind the last one written */
    uint8_t data[PLX__BLOCK_ROOM];
};
PLX_STATIC_ASSERT(sizeof(struct plx__block) == PLX__BLOCK_BYTES, "a block fills its share");

/* A message with a not-after time; its place in the stream is counted in bytes. */
struct plx__dated {
    uint64_t start;
    uint64_t not_after_ns;
    uint32_t len;
};

/* The dated messages of one stream, first to last; takes a block of its own while there are any. */
struct plx__dated_ring {
    uint32_t head;
    uint32_t count;
    struct plx__dated at[PLX_TCP_DATED_MAX];
};
PLX_STATIC_ASSERT(sizeof(struct plx__dated_ring) <= PLX__BLOCK_ROOM, "dated messages fit a block");

/* A buffer held back; by its id. */
struct plx__held {
    uint8_t *data;
    uint32_t len;
    uint16_t next;
};

/* A group, made when the first stream wants buffers of its size, and who waits for it. */
struct plx__buffers {
    struct plx__net *net;
    struct plx__held *held;
    uint32_t held_room;  /* entries of `held` */
    uint32_t held_count; /* buffers held back */
    uint32_t count;      /* 0: it is not made yet */
    uint32_t bytes;      /* of each */
    uint16_t group;
    struct plx__link starved; /* streams that wait for a buffer */
    struct plx__deferred rearm;
};

/* Where bytes lie that a stream is given. */
enum plx__origin {
    PLX__FROM_RING, /* a buffer of its group */
    PLX__FROM_HOT,  /* the block that hot streams read into */
    PLX__FROM_KEPT  /* a block of the stream's own */
};

/* What on_data is being given, for plx_tcp_hold. */
struct plx__given {
    struct plx_tcp *stream; /* NULL outside of on_data */
    const uint8_t *data;
    size_t len;
    const uint8_t *refused; /* from here on nothing could be held; NULL: all could */
    uint32_t room;          /* bytes of the buffer */
    uint16_t id;            /* PLX__FROM_RING */
    uint8_t origin;
    bool taken; /* the buffer is out of its origin's hands: `whole` has it */
    struct plx_bytes whole;
};

enum plx__tcp_phase {
    PLX__TCP_FREE,
    PLX__TCP_CONNECTING,
    PLX__TCP_OPEN,
    PLX__TCP_CLOSING, /* plx_tcp_close: the queue leaves, then the peer's end is awaited */
    PLX__TCP_DYING,   /* ends: ops are cancelled, then the descriptor is closed */
    PLX__TCP_CLOSED   /* its close has ended */
};

/* What the op that connects, sends and closes is doing. */
enum plx__tcp_flight { PLX__FLIGHT_NONE, PLX__FLIGHT_CONNECT, PLX__FLIGHT_SEND, PLX__FLIGHT_CLOSE };

struct plx_tcp {
    /* Read by every call. */
    struct plx__net *net;
    const struct plx_tcp_handler *handler;
    void *ctx;
    int fd;         /* -1: it was closed */
    uint8_t phase;  /* enum plx__tcp_phase */
    uint8_t mode;   /* enum plx_recv_mode, as wanted */
    uint8_t flight; /* enum plx__tcp_flight of io_op */
    bool paused;
    bool eof;           /* the peer's end was reached */
    bool eof_held;      /* it will be, behind the held buffers */
    bool want_writable; /* a write was cut */
    bool hot;           /* has one of the reactor's hot places */
    bool receiving;     /* recv_op is in flight */
    bool ended_peer;    /* the peer was told the end (shutdown) */
    bool reset;         /* the close is to be a reset */
    bool knows_peer;    /* addr is what the kernel has told */
    uint8_t stalled;    /* ticks without progress */
    /* The send queue. */
    uint32_t queue_max;
    uint32_t queued;          /* bytes, those in flight included */
    uint64_t sent;            /* bytes that have left the queue: the place of its first one */
    struct plx__block *first; /* NULL when the queue is empty */
    struct plx__block *last;
    struct plx__block *dated; /* holds a plx__dated_ring; NULL when there is none */
    struct plx_op io_op;      /* connects, sends, closes: one after the other */
    struct plx_op recv_op;
    struct plx__deferred deferred;
    struct plx_poller poller;
    struct plx__buffers *buffers; /* that the ring receives into */
    /* Held back: what is left of a block that it read while hot, then buffers. */
    uint8_t *kept_data;
    uint32_t kept_len; /* 0: none */
    uint16_t held_first;
    uint16_t held_last;
    int32_t reason;
    struct plx__link for_buffer; /* in buffers->starved: waits for a receive buffer */
    struct plx__link for_block;  /* in net->cut: waits for a block */
    /* Times. */
    struct plx_timer timer;
    uint64_t send_timeout_ns;
    uint64_t close_timeout_ns;
    uint64_t deadline_ns; /* of connecting, later of closing */
    uint64_t tick_ns;     /* when progress is looked at next; 0: not */
    uint64_t tick_sent;   /* `sent` at the last look */
    /* Cold. */
    struct plx_tcp_listener *listener; /* NULL: it was connected */
    struct plx_tcp *next_free;
    struct plx_addr addr; /* to connect to, or the peer's once it was asked for; bytes 0: neither */
};

struct plx_tcp_listener {
    struct plx__net *net;
    const struct plx_tcp_handler *handler;
    void *ctx;
    int fd; /* -1: closed */
    bool in_flight;
    bool multishot;
    bool ended; /* plx_tcp_unlisten, or the reactor stops */
    bool closing;
    uint32_t streams;
    uint64_t retry_after_ns; /* the last pause; 0: accepting goes well */
    struct plx_op op;        /* accepts, then closes */
    struct plx__deferred deferred;
    struct plx_timer timer;
    struct plx__link link; /* in net->listeners */
    struct plx_tcp_listener *next_free;
    struct plx_tcp_opts opts;
};

#define PLX__STREAMS_A_SLAB 64u

struct plx__slab {
    struct plx__slab *next;
    struct plx_tcp streams[PLX__STREAMS_A_SLAB];
};

struct plx__net {
    struct plx_reactor *reactor;
    struct plx_pool *pool;
    struct plx_bytes_home *home;
    struct plx__given given;
    uint8_t *hot_block; /* where hot streams are read into; NULL until the first, or being dry */
    uint32_t hot_bytes; /* of it; 0: there was no hot stream yet */
    bool hot_dry;
    bool stopping;
    const struct plx__plain_calls *calls;
    struct plx_tcp *stream_free;
    struct plx__slab *slabs;
    struct plx__link cut; /* streams that wait for blocks */
    struct plx_pool_waiter block_waiter; /* armed while some do, but for the turn that wakes */
    struct plx__deferred cut_rest;
    struct plx__buffers small;
    struct plx__buffers large;
    uint32_t waiting_listeners; /* those whose timer is armed */
    struct plx__link listeners;
    struct plx_tcp_listener *listener_free;
    struct plx__stopper stopper;
    struct plx_tcp_stats stats;
};

/* --- tcp_net.c: what a reactor's streams share ------------------------------------------------ */

/*
 * The reactor's net, made at first use, with what streams of these options need. -EINVAL an option,
 * -ENOMEM the arena is exhausted, -ESHUTDOWN the reactor stops; `diag` tells.
 */
PLX_COLD int plx__net_prepare(struct plx_reactor *reactor, const struct plx_tcp_opts *opts,
                              struct plx__net **out, struct plx_diag *diag);
/* A block with an empty range, or NULL. */
struct plx__block *plx__block_take(struct plx__net *net);
void plx__block_give(struct plx__net *net, struct plx__block *block);
/* Whether `count` blocks are there to take. */
bool plx__block_has(const struct plx__net *net, uint32_t count);
/* The stream is settled when there is a block again. */
void plx__block_wait(struct plx_tcp *stream);
/* Gets the block that hot streams are read into. 0 or -ENOMEM. */
int plx__net_prepare_spin(struct plx__net *net);
/* A zeroed stream or NULL. */
struct plx_tcp *plx__stream_take(struct plx__net *net);
void plx__stream_give(struct plx__net *net, struct plx_tcp *stream);
/* `at` + `ns` without wrapping: infinite stays infinite. */
static inline uint64_t plx__after(uint64_t at_ns, uint64_t ns)
{
    return ns > UINT64_MAX - at_ns ? UINT64_MAX : at_ns + ns;
}

/* --- tcp_bind.c ------------------------------------------------------------------------------- */

PLX_COLD int plx__tcp_bind(const struct plx__plain_calls *calls, const struct plx_addr *addr,
                           uint32_t count, uint32_t backlog, int *fds, struct plx_addr *bound,
                           struct plx_diag *diag);

/* --- tcp_listen.c ----------------------------------------------------------------------------- */

/* A descriptor has become free: listeners that wait for one try again. */
void plx__listeners_wake(struct plx__net *net);
/* A stream of this listener is gone. */
void plx__listener_lost(struct plx_tcp_listener *listener);
PLX_COLD void plx__listener_end(struct plx_tcp_listener *listener);

/* --- tcp_stream.c ----------------------------------------------------------------------------- */

/* A stream on `fd` with `opts`, not yet doing anything; NULL: no memory. Takes a hot place. */
struct plx_tcp *plx__tcp_open(struct plx__net *net, int fd, const struct plx_tcp_opts *opts,
                              const struct plx_tcp_handler *handler, void *ctx);
/* Settles it at the turn's end; from inside settling, at the end of the next. */
void plx__tcp_touch(struct plx_tcp *stream);
/*
 * For the end of a terminal event's function: an op of the stream has ended. What is next happens
 * at the turn's end, but for an ending stream, which goes on at once, so that a reactor that drains
 * always finds an op in flight until the last stream is gone.
 */
void plx__tcp_landed(struct plx_tcp *stream);
/* The stream ends with `reason`; the first one counts. */
void plx__tcp_end(struct plx_tcp *stream, int reason, bool reset);
/* Ends and settles all streams, for the reactor's stop. */
PLX_COLD void plx__tcp_end_all(struct plx__net *net);
/* Its timer fires at `at_ns` or before. */
void plx__tcp_wake_at(struct plx_tcp *stream, uint64_t at_ns);

/* --- tcp_send.c ------------------------------------------------------------------------------- */

/* Submits what can be sent, having dropped what has expired. */
void plx__send_settle(struct plx_tcp *stream);
/* For a stream with a cut write: calls on_writable if there is room, or waits for blocks. */
void plx__send_offer_room(struct plx_tcp *stream);
/* Looks at progress and not-after times; returns when to look again, UINT64_MAX for not at all. */
uint64_t plx__send_check(struct plx_tcp *stream, uint64_t now_ns);
/* Gives all blocks back. Only when no send is in flight. */
void plx__send_drop(struct plx_tcp *stream);

/* --- tcp_recv.c ------------------------------------------------------------------------------- */

/* Whether bytes have come that it was not given yet. */
static inline bool plx__recv_holds_back(const struct plx_tcp *stream)
{
    return stream->held_first != PLX__NO_BUFFER || stream->kept_len != 0;
}
/* Delivers what is held back, as long as the stream takes it. */
void plx__recv_deliver_held(struct plx_tcp *stream);
/* Brings op and poller in line with mode, pause and phase. */
void plx__recv_settle(struct plx_tcp *stream);
/* Stops receiving for good; the op may still be in flight. */
void plx__recv_stop(struct plx_tcp *stream);

#endif
