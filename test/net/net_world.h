/* SPDX-License-Identifier: MIT */
/*
 * A world for tests of the net layer: a runtime whose reactors the test's own thread polls, on each
 * backend and in each way of receiving; and raw sockets as the peers of its streams.
 */
#ifndef POLLUX_TEST_NET_WORLD_H
#define POLLUX_TEST_NET_WORLD_H

#include "net/tcp.h"
#include "runtime/runtime.h"

struct CMUnitTest;

/* What a test is run over: the state of each case points to one of these. */
struct net_mode {
    const char *name;
    enum plx_backend_choice backend;
    enum plx_sqpoll_choice sqpoll;
    enum plx_recv_mode receive;
};

#define NET_MODES 6
extern const struct net_mode net_modes[NET_MODES];

#define NET_REACTORS_MAX 2

struct net_world {
    const struct net_mode *mode;
    struct plx_runtime *runtime;
    struct plx_reactor *reactors[NET_REACTORS_MAX];
    struct plx_reactor *reactor; /* the first */
    uint32_t count;
    struct plx_tcp_opts opts; /* with the mode's way of receiving */
    int fds_before;           /* descriptors of this process before the world */
};

/* Opens a world of `count` reactors with arenas of `arena`, "8M" or so; skips what cannot be. */
void net_world_open(struct net_world *world, const void *mode, uint32_t count, const char *arena);
/* The same, with a ring of so many entries. */
void net_world_open_ring(struct net_world *world, const void *mode, uint32_t count,
                         const char *arena, const char *ring_entries);
/* Ends it: everything must come to its end in time, with no descriptor left behind. */
void net_world_close(struct net_world *world);
/* Abandons the reactors, leaving the runtime for net_world_close. All their blocks must be home. */
void net_world_stop(struct net_world *world);

/*
 * Blocks of the reactor's pool that are neither in a group, nor what hot streams read into, nor
 * what small slices are packed in: of send queues, held back or held. 0 when all are home.
 */
uint32_t net_blocks_out(struct plx_reactor *reactor);

/* One turn of each reactor. */
void net_turn(struct net_world *world);

/* Turns until `condition`; fails the test after some seconds. */
#define NET_UNTIL(world, condition)                                                                \
    do {                                                                                           \
        uint64_t net_until_ns = net_now_ns() + NET_PATIENCE_NS;                                    \
        while (!(condition)) {                                                                     \
            net_turn(world);                                                                       \
            if (net_now_ns() > net_until_ns)                                                       \
                fail_msg("%s: %s did not come", (world)->mode->name, #condition);                  \
        }                                                                                          \
    } while (0)

#define NET_PATIENCE_NS 20000000000u

uint64_t net_now_ns(void);
int net_count_fds(void);

/* Listens on a port of its own on the loopback address. */
struct plx_addr net_listen(struct net_world *world, const struct plx_tcp_handler *handler,
                           void *ctx);
struct plx_addr net_loopback(uint16_t port);

/* Peers: plain non-blocking sockets. */
int net_dial(const struct plx_addr *addr);
/* As much as the kernel takes: bytes, 0 when it takes none now, or the negative errno. */
int64_t net_peer_send(int fd, const void *data, size_t len);
/* What is there: bytes, 0 at the end, -EAGAIN nothing, or another negative errno. */
int64_t net_peer_recv(int fd, void *data, size_t len);
/* Closes with a reset. */
void net_peer_reset(int fd);

/* The byte at `place` of the stream that the tests send: no two neighbourhoods are alike. */
static inline uint8_t net_pattern(uint64_t place)
{
    return (uint8_t)((place * 0x9e3779b97f4a7c15u) >> 40);
}
void net_fill(void *data, size_t len, uint64_t place);
/* Whether `data` is the stream from `place` on. */
bool net_matches(const void *data, size_t len, uint64_t place);

/* Runs each of `tests` in each mode; names get the mode's behind them. */
int net_run(const char *group, const struct CMUnitTest *tests, size_t count);

#endif
