/* SPDX-License-Identifier: MIT */
#include "test/net/net_world.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "net/tcp_internal.h"

#define ABANDON_NS 5000000000u

const struct net_mode net_modes[NET_MODES] = {
    {"uring defer, ring", PLX_BACKEND_URING, PLX_SQPOLL_OFF, PLX_RECV_RING},
    {"uring defer, spin", PLX_BACKEND_URING, PLX_SQPOLL_OFF, PLX_RECV_SPIN},
    {"uring sqpoll, ring", PLX_BACKEND_URING, PLX_SQPOLL_ON, PLX_RECV_RING},
    {"uring sqpoll, spin", PLX_BACKEND_URING, PLX_SQPOLL_ON, PLX_RECV_SPIN},
    {"epoll, ring", PLX_BACKEND_EPOLL, PLX_SQPOLL_OFF, PLX_RECV_RING},
    {"epoll, spin", PLX_BACKEND_EPOLL, PLX_SQPOLL_OFF, PLX_RECV_SPIN},
};

uint64_t net_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int net_count_fds(void)
{
    int count = 0;
    DIR *folder = opendir("/proc/self/fd");
    assert_non_null(folder);
    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count;
}

/* --- the world -------------------------------------------------------------------------------- */

static void set(struct plx_settings *settings, const char *name, const char *value)
{
    struct plx_diag diag = {0};
    if (plx_settings_set(settings, name, value, &diag) != 0)
        fail_msg("%s=%s: %s", name, value, diag.text);
}

static void choose(struct plx_settings *settings, const struct net_mode *mode, uint32_t count,
                   const char *arena, const char *ring_entries)
{
    plx_settings_init(settings);
    set(settings, "ring_entries", ring_entries);
    set(settings, "reactors", count == 1 ? "1" : "2");
    set(settings, "arena_size", arena);
    /* The test's thread polls all reactors, wherever it happens to run. */
    set(settings, "pin", "no");
    set(settings, "hugepages_2m", "no");
    set(settings, "thp", "no");
    set(settings, "mlock", "no");
    set(settings, "sqpoll", mode->sqpoll == PLX_SQPOLL_ON ? "on" : "off");
    set(settings, "sqpoll_idle", "5ms");
    set(settings, "backend", mode->backend == PLX_BACKEND_EPOLL ? "epoll" : "uring");
}

void net_world_open(struct net_world *world, const void *mode, uint32_t count, const char *arena)
{
    net_world_open_ring(world, mode, count, arena, "1024");
}

void net_world_open_ring(struct net_world *world, const void *mode, uint32_t count,
                         const char *arena, const char *ring_entries)
{
    struct plx_settings settings;
    struct plx_diag diag = {0};
    memset(world, 0, sizeof(*world));
    world->mode = mode;
    world->count = count;
    world->fds_before = net_count_fds();
    choose(&settings, mode, count, arena, ring_entries);

    int rc = plx_runtime_create(&settings, NULL, &world->runtime, &diag);
    if (rc != 0 && count > 1) {
        print_message("skipped: no room for %u reactors: %s\n", count, diag.text);
        skip();
    }
    for (uint32_t i = 0; rc == 0 && i < count; i++)
        rc = plx_reactor_adopt(world->runtime, i, &world->reactors[i], &diag);
    if (rc != 0)
        fail_msg("%s: %s", world->mode->name, diag.text);
    world->reactor = world->reactors[0];
    if (strncmp(world->mode->name, plx_reactor_mode(world->reactor),
                strlen(plx_reactor_mode(world->reactor))) != 0) {
        print_message("skipped: %s was asked for, and %s was had\n", world->mode->name,
                      plx_reactor_mode(world->reactor));
        net_world_close(world);
        skip();
    }
    plx_tcp_opts_init(&world->opts);
    world->opts.receive = world->mode->receive;
}

uint32_t net_blocks_out(struct plx_reactor *reactor)
{
    const struct plx__net *net = *plx__reactor_net(reactor);
    struct plx_pool_stats stats;
    uint32_t out = 0;
    plx_pool_read_stats(plx_reactor_pool(reactor), &stats);
    for (unsigned i = 0; i < PLX_POOL_CLASSES; i++)
        out += stats.classes[i].in_use;
    out -= plx_reactor_bytes(reactor)->pack != NULL;
    return net == NULL ? out : out - net->small.count - net->large.count - (net->hot_block != NULL);
}

void net_world_stop(struct net_world *world)
{
    for (uint32_t i = 0; i < world->count; i++) {
        if (world->reactors[i] == NULL)
            continue;
        assert_int_equal(plx_reactor_abandon(world->reactors[i], ABANDON_NS), 0);
        /* What it had stays readable until the runtime is destroyed. */
        assert_int_equal(net_blocks_out(world->reactors[i]), 0);
        world->reactors[i] = NULL;
    }
}

void net_world_close(struct net_world *world)
{
    net_world_stop(world);
    plx_runtime_destroy(world->runtime);
    /* The kernel ends a ring, and what it still holds, a little after its descriptor. */
    uint64_t until_ns = net_now_ns() + NET_PATIENCE_NS;
    while (net_count_fds() != world->fds_before && net_now_ns() < until_ns)
        continue;
    assert_int_equal(net_count_fds(), world->fds_before);
}

void net_turn(struct net_world *world)
{
    int work = 0;
    for (uint32_t i = 0; i < world->count; i++) {
        int done = plx_reactor_poll(world->reactors[i]);
        assert_true(done >= 0);
        work += done;
    }
    /* On a busy machine an SQ thread may want this core. */
    if (work == 0)
        sched_yield();
}

/* --- addresses and peers ---------------------------------------------------------------------- */

struct plx_addr net_loopback(uint16_t port)
{
    struct plx_addr addr;
    assert_int_equal(plx_addr_parse(&addr, "127.0.0.1:0", NULL), 0);
    plx_addr_set_port(&addr, port);
    return addr;
}

struct plx_addr net_listen(struct net_world *world, const struct plx_tcp_handler *handler,
                           void *ctx)
{
    struct plx_tcp_listener *listener;
    struct plx_diag diag = {0};
    struct plx_addr addr = net_loopback(0);
    if (plx_tcp_listen(world->reactor, &addr, &world->opts, &listener, &diag, handler, ctx) != 0)
        fail_msg("listen: %s", diag.text);
    plx_tcp_listener_addr(listener, &addr);
    assert_int_not_equal(plx_addr_port(&addr), 0);
    return addr;
}

int net_dial(const struct plx_addr *addr)
{
    int fd = socket(addr->sock.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    if (connect(fd, &addr->sock.any, addr->bytes) != 0)
        assert_int_equal(errno, EINPROGRESS);
    return fd;
}

int64_t net_peer_send(int fd, const void *data, size_t len)
{
    ssize_t sent = send(fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0)
        return sent;
    return errno == EAGAIN ? 0 : -errno;
}

int64_t net_peer_recv(int fd, void *data, size_t len)
{
    ssize_t got = recv(fd, data, len, MSG_DONTWAIT);
    return got >= 0 ? got : -errno;
}

void net_peer_reset(int fd)
{
    const struct linger none = {.l_onoff = 1, .l_linger = 0};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none)), 0);
    close(fd);
}

void net_fill(void *data, size_t len, uint64_t place)
{
    uint8_t *bytes = data;
    for (size_t i = 0; i < len; i++)
        bytes[i] = net_pattern(place + i);
}

bool net_matches(const void *data, size_t len, uint64_t place)
{
    const uint8_t *bytes = data;
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] != net_pattern(place + i))
            return false;
    }
    return true;
}

/* --- running ---------------------------------------------------------------------------------- */

int net_run(const char *group, const struct CMUnitTest *tests, size_t count)
{
    struct CMUnitTest *all = calloc(count * NET_MODES, sizeof(*all));
    char(*names)[128] = calloc(count * NET_MODES, sizeof(*names));
    if (all == NULL || names == NULL)
        return 1;
    size_t made = 0;
    for (size_t test = 0; test < count; test++) {
        for (size_t mode = 0; mode < NET_MODES; mode++, made++) {
            all[made] = tests[test];
            snprintf(names[made], sizeof(names[made]), "%s (%s)", tests[test].name,
                     net_modes[mode].name);
            all[made].name = names[made];
            all[made].initial_state = (void *)(uintptr_t)&net_modes[mode];
        }
    }
    int failed = _cmocka_run_group_tests(group, all, made, NULL, NULL);
    free(all);
    free(names);
    return failed;
}
