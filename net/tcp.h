/* SPDX-License-Identifier: MIT */
/*
 * TCP: listeners and streams of a reactor.
 *
 * Words. A *listener* accepts connections. A *stream* is one connection, accepted or made. A
 * *handler* is the set of functions that a listener's or a connecting caller's streams call. A
 * stream's *send queue* holds what was written and is not yet with the kernel. *Queued* sends go by
 * the ring; *inline* ones are tried at once on this core. A stream is *hot* when it is read in
 * every turn by a plain non-blocking call rather than by the ring.
 *
 * Order. All that is written to a stream leaves in the order of the calls, inline and queued mixed:
 * at most one send is in flight, and an inline one goes at once only when nothing is queued.
 *
 * Life. A stream belongs to the library. From plx_tcp_connect or on_accept on, the caller may use
 * it until its on_close returns, which comes exactly once, as the last call, for each stream that
 * had an on_accept or came out of plx_tcp_connect. Closing, aborting and all else here is allowed
 * in any callback, the stream's own too, and callbacks are never called from inside a function of
 * this header.
 *
 * Threads: all is for the thread that polls the reactor, but plx_tcp_opts_init and plx_tcp_bind.
 */
#ifndef POLLUX_TCP_H
#define POLLUX_TCP_H

#include "alloc/base.h"
#include "alloc/bytes.h"
#include "net/addr.h"
#include "runtime/io/op_socket.h"
#include "runtime/settings/settings.h"

PLX_EXTERN_C_BEGIN

struct plx_reactor;
struct plx_runtime;
struct plx_tcp;
struct plx_tcp_listener;

/* Messages with a not-after time that one stream's queue holds at most. */
#define PLX_TCP_DATED_MAX 512u
/* The largest send queue, in bytes. */
#define PLX_TCP_QUEUE_BYTES_MAX (1u << 30)

/* How a stream receives. */
enum plx_recv_mode {
    PLX_RECV_RING, /* by the ring into a group of buffers: for many streams */
    PLX_RECV_SPIN  /* hot: for the few whose latency matters most; one system call a turn each */
};

/*
 * What streams call; NULL where nothing is wanted. Borrowed until the last stream and listener that
 * were given it are gone: usually a static constant. `ctx` is the stream's.
 */
struct plx_tcp_handler {
    /* A connection was accepted. */
    void (*on_accept)(struct plx_tcp *stream, void *ctx);
    /* plx_tcp_connect has succeeded. */
    void (*on_connect)(struct plx_tcp *stream, void *ctx);
    /* `len` > 0 bytes came in; `data` is borrowed until return, but see plx_tcp_hold. */
    void (*on_data)(struct plx_tcp *stream, const void *data, size_t len, void *ctx);
    /* After a write that took less than all: half of the queue or more is free again. */
    void (*on_writable)(struct plx_tcp *stream, void *ctx);
    /* A message of plx_tcp_write_before, `len` bytes long, was dropped as its time had passed. */
    void (*on_expired)(struct plx_tcp *stream, size_t len, void *ctx);
    /*
     * The last call; `stream` is invalid after it returns. Reasons: 0 the peer ended its side or
     * plx_tcp_close was called, and all that was queued is with the kernel; -ECONNABORTED
     * plx_tcp_abort; -ETIMEDOUT connecting took too long, or the peer took none of what was queued
     * for too long, or plx_tcp_close could not empty the queue in time; -ESHUTDOWN the reactor
     * ends; -ECANCELED closed before it was connected; otherwise what the socket met: -ECONNRESET,
     * -EPIPE, -ECONNREFUSED …
     */
    void (*on_close)(struct plx_tcp *stream, int reason, void *ctx);
};

/* Options of listeners and streams; fill by plx_tcp_opts_init, then change. */
struct plx_tcp_opts {
    enum plx_recv_mode receive; /* PLX_RECV_RING */
    /*
     * 4096: bytes of the buffers that the ring receives into, 4096 for many streams with little
     * each, or 65536 for few with much. Hot streams read up to 65536 at a time whatever it says.
     */
    uint32_t receive_bytes;
    bool nodelay;               /* true: small writes leave at once (TCP_NODELAY) */
    uint32_t backlog;           /* 4096: connections that wait to be accepted; net.core.somaxconn
                                   cuts it */
    /*
     * 65536: accepting pauses while a listener has so many streams. The kernel may have accepted
     * some more by then: they are closed, and counted as refused. With no more than `backlog`
     * places left, and so always where streams_max <= backlog, one connection a turn is accepted.
     */
    uint32_t streams_max;
    uint32_t send_queue_bytes;  /* 256 KiB: bound of a stream's queue */
    /*
     * 30 s: a stream whose queue is not empty and of whose bytes the kernel takes none for so long
     * is aborted with -ETIMEDOUT, at the latest half of it later. PLX_INFINITE: never.
     */
    uint64_t send_timeout_ns;
    uint64_t close_timeout_ns;   /* 5 s: how long a plx_tcp_close may take; see there */
    uint64_t connect_timeout_ns; /* 10 s; PLX_INFINITE: the kernel's own limit */
};

PLX_API void plx_tcp_opts_init(struct plx_tcp_opts *opts);

/* --- listening -------------------------------------------------------------------------------- */

/*
 * Makes `count` sockets that listen on one address, one for each of as many reactors: the kernel
 * spreads connections over them. The address is taken exclusively: where another process, or
 * another call, listens on it, this fails rather than share its connections in silence.
 * Shapes: 1 ≤ count. `addr` with port 0: the kernel chooses one for all. `[::]` takes IPv4
 * connections too. `bound` (NULL allowed) gets the address with its port.
 * Ownership: `fds`, room for `count`, are the caller's to hand to plx_tcp_listen_fd, or to close.
 * They are non-blocking and close-on-exec. `opts` NULL: defaults; only its backlog is used.
 * Affinity: any thread, before or after the runtime starts; `runtime` may be NULL.
 * Cost: set-up. Errors, after which nothing is open: -EINVAL count or backlog is 0, or no address;
 * -EADDRINUSE, -EADDRNOTAVAIL, -EACCES, -EMFILE … of socket(2), bind(2), listen(2). `diag` names
 * the address. Source: SO_REUSEPORT in socket(7).
 */
PLX_API PLX_COLD PLX_MUST_CHECK int plx_tcp_bind(struct plx_runtime *runtime,
                                                 const struct plx_addr *addr, uint32_t count,
                                                 const struct plx_tcp_opts *opts, int *fds,
                                                 struct plx_addr *bound, struct plx_diag *diag);

/*
 * Accepts connections from `fd`, a socket of plx_tcp_bind, on this reactor. Each accepted stream
 * starts with `ctx`. When descriptors or the kernel's memory run out, accepting pauses and is tried
 * again, at first after 10 ms, later each second, and whenever a stream closes; connections wait in
 * the kernel meanwhile, as they do at streams_max. When the reactor's memory is exhausted new
 * connections are closed and counted as refused, like those that the kernel had accepted beyond
 * streams_max. A streams_max that is not above the backlog costs speed: one connection a turn.
 * Ownership: on success `fd` is the library's. `opts` (NULL: defaults) is copied, `handler` is
 * borrowed. Cost: set-up. Errors: -EINVAL an option, named by `diag`; -ENOMEM the reactor's arena
 * is exhausted; -ENOSPC it has PLX_GROUPS_MAX groups already, and the first stream with these
 * receive_bytes needs one; what plx_group_create met besides; -ESHUTDOWN the reactor is stopping.
 * `fd` is then still the caller's.
 */
PLX_API PLX_COLD PLX_MUST_CHECK int
plx_tcp_listen_fd(struct plx_reactor *reactor, int fd, const struct plx_tcp_opts *opts,
                  struct plx_tcp_listener **out, struct plx_diag *diag,
                  const struct plx_tcp_handler *handler, void *ctx);

/* plx_tcp_bind of one socket and plx_tcp_listen_fd. Errors: of both. */
PLX_API PLX_COLD PLX_MUST_CHECK int
plx_tcp_listen(struct plx_reactor *reactor, const struct plx_addr *addr,
               const struct plx_tcp_opts *opts, struct plx_tcp_listener **out,
               struct plx_diag *diag, const struct plx_tcp_handler *handler, void *ctx);

/*
 * Stops accepting and gives the socket up within the next turns; streams live on. No on_accept
 * follows. `listener` is invalid from here on. Connections that nobody had accepted yet are reset
 * by the kernel. A reactor that stops does this by itself; calling it afterwards, while the
 * reactor exists, is harmless.
 */
PLX_API PLX_COLD void plx_tcp_unlisten(struct plx_tcp_listener *listener);

/* The address it listens on. */
PLX_API PLX_COLD void plx_tcp_listener_addr(const struct plx_tcp_listener *listener,
                                            struct plx_addr *out);

/* --- connecting ------------------------------------------------------------------------------- */

/*
 * Begins a connection; on_connect follows, or on_close with the reason why not. What is written
 * before is queued. Ownership: `addr` and `opts` (NULL: defaults; backlog and streams_max do not
 * matter) are copied; `handler` is borrowed. Errors, after which there is no stream and no call:
 * -EINVAL an option or no address; -EMFILE … of socket(2); -ENOMEM, -ENOSPC and others as of
 * plx_tcp_listen_fd; -ESHUTDOWN the reactor is stopping.
 */
PLX_API PLX_MUST_CHECK int plx_tcp_connect(struct plx_reactor *reactor, const struct plx_addr *addr,
                                           const struct plx_tcp_opts *opts, struct plx_tcp **out,
                                           struct plx_diag *diag,
                                           const struct plx_tcp_handler *handler, void *ctx);

/* --- sending ---------------------------------------------------------------------------------- */

/*
 * Writes to the stream. Returns how many bytes were taken: fewer than `len`, maybe 0, when the
 * queue is full or the reactor's blocks have run out; on_writable then says when to go on.
 * `flags`: PLX_QUEUED, or PLX_INLINE: the kernel is asked at once, on this core, unless something
 * is queued already; what it does not take is queued behind the rest. plx_tcp_queued tells
 * afterwards whether all has gone.
 * Ownership: copied. Cost: hot; no allocation; one system call when inline.
 * Errors: -EPIPE the stream is closing or closed; with PLX_INLINE also what send(2) met, and then
 * the stream ends with that.
 */
PLX_API PLX_MUST_CHECK int64_t plx_tcp_write(struct plx_tcp *stream, const void *data, size_t len,
                                             uint32_t flags);

/*
 * Sends now or not at all: 0 when all was taken. What a partial send leaves is finished by the
 * queue. Errors: -EAGAIN nothing was taken: something is queued, the kernel's buffer is full, or
 * there would be no room for a rest; no on_writable follows, as now has passed by then: what is
 * still wanted later goes by plx_tcp_write; -EMSGSIZE `len` is above send_queue_bytes; -ENOTCONN
 * not connected yet; otherwise as plx_tcp_write. Cost: hot; one system call, none when something is
 * queued.
 */
PLX_API PLX_MUST_CHECK int plx_tcp_send_now(struct plx_tcp *stream, const void *data, size_t len);

/*
 * Queues all of `len` > 0 bytes, and drops them whole if the first has not left by `not_after_ns`
 * of plx_reactor_now_ns; on_expired tells. Bytes behind it leave in order all the same. 0 when
 * taken. Errors: -EAGAIN no room, or PLX_TCP_DATED_MAX such messages wait; no on_writable follows:
 * try again with the next message, or in a later turn; -EMSGSIZE `len` is above send_queue_bytes;
 * -EPIPE the stream is closing or closed. Cost: hot; reads the clock.
 */
PLX_API PLX_MUST_CHECK int plx_tcp_write_before(struct plx_tcp *stream, const void *data,
                                                size_t len, uint64_t not_after_ns);

/* Bytes in the queue, those of a send in flight included. */
PLX_API size_t plx_tcp_queued(const struct plx_tcp *stream);

/* --- receiving -------------------------------------------------------------------------------- */

/*
 * No on_data until plx_tcp_resume. The peer is throttled by TCP once the kernel's buffer is full;
 * what the ring had taken before is kept, small pieces in common buffers, and delivered first. The
 * peer's end is noticed after the resume. Legal at any time; twice is once.
 */
PLX_API void plx_tcp_pause(struct plx_tcp *stream);
PLX_API void plx_tcp_resume(struct plx_tcp *stream);

/*
 * Keeps bytes that on_data was given beyond its return, as counted bytes: as often as wanted, each
 * time all of them or a part. PLX_BYTES_PACK_MAX bytes or more share the buffer that they were
 * received into, without a copy, and the ring gets another from the pool; unless so little was in
 * the buffer (less than an eighth, of which a hot stream's 64 KiB is the common case) that it would
 * be pinned for it: then, and when fewer are kept, they are copied.
 * Shapes: inside this stream's on_data; `data` and `len` lie within what it was given.
 * Ownership: *out is overwritten and the caller's, to be given back by plx_bytes_release with
 * plx_reactor_bytes of the releasing thread's reactor; it outlives the stream, not the reactor.
 * Cost: hot; a few stores, or a copy.
 * Errors: -ENOMEM the pool is dry; *out is empty. Nothing is lost: if the stream is paused when
 * on_data returns, the bytes from `data` on are given again, at first, after plx_tcp_resume, best
 * called when others have been released. Until it returns, no more can be held.
 */
PLX_API PLX_MUST_CHECK int plx_tcp_hold(struct plx_tcp *stream, const void *data, size_t len,
                                        struct plx_bytes *out);

/*
 * Changes how the stream receives; no byte is lost or out of order. Errors: -ENOSPC the reactor
 * has POLLUX_HOT_MAX hot streams already; -ENOMEM its arena is exhausted; -EPIPE the stream is
 * closing or closed.
 */
PLX_API PLX_MUST_CHECK int plx_tcp_set_receive(struct plx_tcp *stream, enum plx_recv_mode mode);

/* How it receives, or will as soon as a change is through. */
PLX_API enum plx_recv_mode plx_tcp_receive(const struct plx_tcp *stream);

/* --- ending ----------------------------------------------------------------------------------- */

/*
 * Ends the stream in order: no on_data from here on; what is queued leaves, then the peer is told
 * the end; what it still sends is read and thrown away until it ends its side too (a close with
 * unread bytes would be a reset, which takes from the peer what it has not read yet); then on_close
 * with 0. After close_timeout_ns the socket is closed whatever the peer does: with 0 when the queue
 * was empty, otherwise aborted with -ETIMEDOUT.
 */
PLX_API void plx_tcp_close(struct plx_tcp *stream);

/* Ends the stream at once: the queue is dropped, the peer gets a reset. */
PLX_API void plx_tcp_abort(struct plx_tcp *stream);

/* --- inspection ------------------------------------------------------------------------------- */

/* The context that callbacks get. A stream starts with the one of listen or connect. */
PLX_API void plx_tcp_set_ctx(struct plx_tcp *stream, void *ctx);
PLX_API void *plx_tcp_ctx(const struct plx_tcp *stream);

PLX_API struct plx_reactor *plx_tcp_reactor(const struct plx_tcp *stream);

/* The socket's descriptor, for options only: no reading, writing, closing. -1 in on_close, when the
 * number may be another's already. */
PLX_API int plx_tcp_fd(const struct plx_tcp *stream);

/*
 * The peer's address. Asks the kernel once and keeps the answer, so that on_close has it too, if it
 * was asked for before; of a stream that was connected here it is known in any case, at the least
 * as what plx_tcp_connect was given. Cost: a system call the first time. Errors, with an empty
 * address: of getpeername(2), -ENOTCONN the peer has reset the connection; -EBADF in on_close.
 */
PLX_API PLX_COLD PLX_MUST_CHECK int plx_tcp_peer(struct plx_tcp *stream, struct plx_addr *out);

/* Counters of one reactor since its first use of TCP. */
struct plx_tcp_stats {
    uint64_t accepted;
    uint64_t connected;
    uint64_t closed_orderly; /* reason 0 */
    uint64_t closed_reset;   /* -ECONNRESET, -EPIPE */
    uint64_t closed_timeout; /* -ETIMEDOUT */
    uint64_t closed_here;    /* -ECONNABORTED, -ECANCELED, -ESHUTDOWN */
    uint64_t closed_error;   /* all others, refused connections among them */
    uint64_t bytes_in;       /* delivered, or thrown away while closing */
    uint64_t bytes_out;      /* taken by the kernel */
    uint64_t accept_pauses;  /* descriptors or the kernel's memory had run out */
    uint64_t accept_errors;  /* connections gone before they were accepted, and the like */
    uint64_t refused;        /* accepted and closed: no memory, or beyond streams_max */
    uint64_t hot_refused;    /* streams that were to be hot beyond POLLUX_HOT_MAX */
    uint64_t expired;        /* messages of plx_tcp_write_before that were dropped */
    uint64_t recv_starved;   /* times that a receive found no buffer */
    uint64_t holds_refused;  /* plx_tcp_hold found the pool dry */
    uint64_t send_starved;   /* writes cut as blocks had run out */
    uint64_t streams;        /* now */
    uint64_t listeners;      /* now */
};

/* Reads the counters; all 0 before the first use. Owner, in a runtime's on_stop too. */
PLX_API void plx_tcp_read_stats(struct plx_reactor *reactor, struct plx_tcp_stats *out);

PLX_EXTERN_C_END

#endif
