/* SPDX-License-Identifier: MIT */
/* The simulated world: its clock, its descriptors, and the control calls on sockets. */
#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/io/sim_world_internal.h"

#define FIRST_NS   1000000000u
#define FIRST_PORT 40000u

/* The control calls name no world: this thread's. */
static _Thread_local struct plx__sim_world *entered;

void plx__sim_broken(struct plx__sim_world *world, const char *format, ...)
{
    char text[160];
    va_list arguments;
    if (world->hooks.broken == NULL)
        return;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    world->hooks.broken(world->hooks.ctx, text);
}

/* --- life ------------------------------------------------------------------------------------- */

int plx__sim_world_create(const struct plx__sim_hooks *hooks, struct plx__sim_world **out)
{
    *out = calloc(1, sizeof(**out));
    if (*out == NULL)
        return -ENOMEM;
    (*out)->hooks = *hooks;
    (*out)->now_ns = FIRST_NS;
    (*out)->next_port = FIRST_PORT;
    return 0;
}

static void close_all(struct plx__sim_world *world)
{
    for (int i = 0; i < PLX__SIM_FDS; i++) {
        if (world->descs[i].kind != SIM_FREE)
            (void)plx__sim_desc_close(world, PLX__SIM_FD_FIRST + i);
    }
    /* Those that were in a queue went with their listener. */
    PLX_ASSERT(world->socks == NULL);
}

void plx__sim_world_destroy(struct plx__sim_world *world)
{
    PLX_ASSERT(world->backend_count == 0);
    close_all(world);
    plx__sim_files_free(world);
    if (entered == world)
        entered = NULL;
    free(world);
}

void plx__sim_world_crash(struct plx__sim_world *world)
{
    PLX_ASSERT(world->backend_count == 0);
    close_all(world);
    plx__sim_files_crash(world);
}

void plx__sim_world_enter(struct plx__sim_world *world)
{
    entered = world;
}

void plx__sim_world_advance(struct plx__sim_world *world, uint64_t ns)
{
    world->now_ns += ns;
}

uint64_t plx__sim_world_now_ns(const struct plx__sim_world *world)
{
    return world->now_ns;
}

void plx__sim_world_work(struct plx__sim_world *world)
{
    for (uint32_t i = 0; i < world->backend_count; i++)
        plx__sim_work(world->backends[i]);
}

uint32_t plx__sim_world_open_count(const struct plx__sim_world *world)
{
    uint32_t count = 0;
    for (int i = 0; i < PLX__SIM_FDS; i++)
        count += world->descs[i].kind != SIM_FREE;
    return count;
}

/* --- descriptors ------------------------------------------------------------------------------ */

struct sim_desc *plx__sim_desc(struct plx__sim_world *world, int fd)
{
    if (fd < PLX__SIM_FD_FIRST || fd >= PLX__SIM_FD_FIRST + PLX__SIM_FDS)
        return NULL;
    struct sim_desc *desc = &world->descs[fd - PLX__SIM_FD_FIRST];
    return desc->kind != SIM_FREE ? desc : NULL;
}

/* The lowest, as POSIX has it: the one that was closed last is mostly the next one given out. */
int plx__sim_desc_take(struct plx__sim_world *world, enum sim_kind kind)
{
    for (int i = 0; i < PLX__SIM_FDS; i++) {
        struct sim_desc *desc = &world->descs[i];
        if (desc->kind != SIM_FREE)
            continue;
        *desc = (struct sim_desc){.kind = kind, .generation = desc->generation + 1};
        return PLX__SIM_FD_FIRST + i;
    }
    return -EMFILE;
}

int plx__sim_desc_close(struct plx__sim_world *world, int fd)
{
    struct sim_desc *desc = plx__sim_desc(world, fd);
    if (desc == NULL) {
        plx__sim_broken(world, "descriptor %d was closed and is not open", fd);
        return -EBADF;
    }
    if (desc->kind == SIM_SOCKET)
        plx__sim_sock_close(world, desc->sock);
    else
        desc->file->opens--;
    desc->kind = SIM_FREE;
    return sim_chance(world, PLX__SIM_CLOSE_ERROR) ? -EIO : 0;
}

/* --- control calls ---------------------------------------------------------------------------- */

static struct sim_sock *sock_of(int fd)
{
    struct sim_desc *desc = plx__sim_desc(entered, fd);
    return desc != NULL && desc->kind == SIM_SOCKET ? desc->sock : NULL;
}

static int net_socket(int domain, int type, int protocol)
{
    (void)protocol;
    if ((domain != AF_INET && domain != AF_INET6) || (type & 0xf) != SOCK_STREAM)
        return -EAFNOSUPPORT;
    if (sim_chance(entered, PLX__SIM_SOCKET_FILES))
        return -EMFILE;
    int fd = plx__sim_desc_take(entered, SIM_SOCKET);
    if (fd < 0)
        return fd;
    struct sim_sock *sock = plx__sim_sock_make(entered, SOCK_STREAM);
    if (sock == NULL) {
        plx__sim_desc(entered, fd)->kind = SIM_FREE;
        return -ENOMEM;
    }
    plx__sim_desc(entered, fd)->sock = sock;
    return fd;
}

static in_port_t *port_of(struct sockaddr_storage *addr)
{
    return addr->ss_family == AF_INET ? &((struct sockaddr_in *)(void *)addr)->sin_port
                                      : &((struct sockaddr_in6 *)(void *)addr)->sin6_port;
}

static int net_bind(int fd, const struct sockaddr *addr, socklen_t bytes)
{
    struct sim_sock *sock = sock_of(fd);
    if (sock == NULL)
        return -EBADF;
    if (sock->name_bytes != 0 || bytes > sizeof(sock->name))
        return -EINVAL;
    struct sockaddr_storage name = {0};
    memcpy(&name, addr, bytes);
    if (*port_of(&name) == 0)
        *port_of(&name) = htons(entered->next_port++);
    for (struct sim_sock *at = entered->socks; at != NULL; at = at->next) {
        bool same = at->name_bytes != 0 && at->state != SIM_SOCK_CONNECTED &&
                    *port_of(&at->name) == *port_of(&name);
        if (same && !(at->reuse_port && sock->reuse_port))
            return -EADDRINUSE;
    }
    sock->name = name;
    sock->name_bytes = bytes;
    return 0;
}

static int net_listen(int fd, int backlog)
{
    struct sim_sock *sock = sock_of(fd);
    if (sock == NULL)
        return -EBADF;
    if (sock->state != SIM_SOCK_NEW && sock->state != SIM_SOCK_LISTENING)
        return -EINVAL;
    sock->state = SIM_SOCK_LISTENING;
    sock->backlog = backlog < 1 ? 1 : (uint32_t)backlog;
    if (sock->backlog > SIM_QUEUE_MAX)
        sock->backlog = SIM_QUEUE_MAX;
    return 0;
}

static int give_name(const struct sockaddr_storage *name, struct sockaddr *addr, socklen_t *bytes)
{
    socklen_t whole =
        name->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    memcpy(addr, name, *bytes < whole ? *bytes : whole);
    *bytes = whole;
    return 0;
}

static int net_getsockname(int fd, struct sockaddr *addr, socklen_t *bytes)
{
    const struct sim_sock *sock = sock_of(fd);
    return sock != NULL ? give_name(&sock->name, addr, bytes) : -EBADF;
}

static int net_getpeername(int fd, struct sockaddr *addr, socklen_t *bytes)
{
    const struct sim_sock *sock = sock_of(fd);
    if (sock == NULL)
        return -EBADF;
    if (sock->state != SIM_SOCK_CONNECTED)
        return -ENOTCONN;
    return give_name(&sock->peer_name, addr, bytes);
}

static int net_setsockopt(int fd, int level, int name, const void *value, socklen_t bytes)
{
    struct sim_sock *sock = sock_of(fd);
    if (sock == NULL)
        return -EBADF;
    if (level != SOL_SOCKET)
        return 0;
    if (name == SO_LINGER && bytes == sizeof(struct linger)) {
        const struct linger *linger = value;
        sock->linger_none = linger->l_onoff != 0 && linger->l_linger == 0;
    } else if (name == SO_REUSEPORT && bytes == sizeof(int)) {
        sock->reuse_port = *(const int *)value != 0;
    }
    return 0;
}

static int net_shutdown(int fd, int how)
{
    struct sim_sock *sock = sock_of(fd);
    return sock != NULL ? plx__sim_shutdown(entered, sock, how) : -EBADF;
}

static int net_close(int fd)
{
    return plx__sim_desc_close(entered, fd);
}

const struct plx__net_calls plx__sim_net = {
    .socket = net_socket,
    .bind = net_bind,
    .listen = net_listen,
    .getsockname = net_getsockname,
    .getpeername = net_getpeername,
    .setsockopt = net_setsockopt,
    .shutdown = net_shutdown,
    .close = net_close,
};
