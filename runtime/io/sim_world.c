/* SPDX-License-Identifier: MIT */
/* The simulated world: its clock, its descriptors, and the control calls on sockets. */
#include <errno.h>
#include <fcntl.h>
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

void plx__sim_world_forget(struct plx__sim_world *world)
{
    PLX_ASSERT(world->backend_count == 0);
    close_all(world);
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

void plx__sim_world_pace(struct plx__sim_world *world, uint64_t ns)
{
    world->pace_ns = ns;
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
    if (desc->kind != SIM_FILE) {
        plx__sim_sock_close(world, desc->sock);
    } else {
        desc->file->opens--;
        if (desc->file->locked_by == fd)
            desc->file->locked_by = 0;
    }
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
    if ((domain != AF_INET && domain != AF_INET6 && domain != AF_UNIX) ||
        (type & 0xf) != SOCK_STREAM)
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
    if (sock->name_bytes != 0 || bytes > sizeof(sock->name) || addr->sa_family == AF_UNIX)
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
    /* One more than it may wait, as Linux has it. */
    sock->backlog = backlog < 0 ? 0 : (uint32_t)backlog;
    if (sock->backlog >= SIM_QUEUE_MAX)
        sock->backlog = SIM_QUEUE_MAX - 1;
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

static int net_lock(int fd)
{
    struct sim_desc *desc = plx__sim_desc(entered, fd);
    if (desc == NULL || desc->kind != SIM_FILE || (desc->flags & O_ACCMODE) == O_RDONLY)
        return -EBADF;
    if (desc->file->locked_by != 0 && desc->file->locked_by != fd)
        return -EAGAIN;
    desc->file->locked_by = fd;
    return 0;
}

static int net_unlock(int fd)
{
    struct sim_desc *desc = plx__sim_desc(entered, fd);
    if (desc == NULL || desc->kind != SIM_FILE)
        return -EBADF;
    if (desc->file->locked_by == fd)
        desc->file->locked_by = 0;
    return 0;
}

const struct plx__plain_calls plx__sim_plain = {
    .socket = net_socket,
    .bind = net_bind,
    .listen = net_listen,
    .getsockname = net_getsockname,
    .getpeername = net_getpeername,
    .setsockopt = net_setsockopt,
    .shutdown = net_shutdown,
    .close = net_close,
    .lock = net_lock,
    .unlock = net_unlock,
};

/* --- the owner's own descriptors -------------------------------------------------------------- */

static int give_numbers(struct plx__sim_world *world, enum sim_kind kind, struct sim_sock *pair[2],
                        int fds[2])
{
    for (unsigned i = 0; i < 2; i++) {
        fds[i] = plx__sim_desc_take(world, kind);
        if (fds[i] >= 0) {
            plx__sim_desc(world, fds[i])->sock = pair[i];
            continue;
        }
        if (i == 1)
            (void)plx__sim_desc_close(world, fds[0]);
        else
            plx__sim_sock_close(world, pair[0]);
        plx__sim_sock_close(world, pair[1]);
        return -EMFILE;
    }
    return 0;
}

int plx__sim_pair(struct plx__sim_world *world, int type, int fds[2])
{
    struct sim_sock *pair[2];
    int rc = plx__sim_sock_pair(world, type, false, 4 * SIM_PIPE_BYTES, pair);
    return rc == 0 ? give_numbers(world, SIM_SOCKET, pair, fds) : rc;
}

int plx__sim_pipe(struct plx__sim_world *world, uint32_t bytes, int fds[2])
{
    struct sim_sock *pair[2];
    int rc = plx__sim_sock_pair(world, SOCK_STREAM, true, bytes, pair);
    if (rc != 0)
        return rc;
    pair[0]->shut_write = true;
    pair[1]->shut_read = true;
    return give_numbers(world, SIM_PIPE, pair, fds);
}

int64_t plx__sim_plain_recv(struct plx__sim_world *world, int fd, void *buf, size_t len, int flags)
{
    const struct sim_desc *desc = plx__sim_desc(world, fd);
    const struct iovec part = {.iov_base = buf, .iov_len = len};
    if (desc == NULL || desc->kind == SIM_FILE)
        return desc == NULL ? -EBADF : -ENOTSOCK;
    int64_t got = plx__sim_recv(world, desc->sock, &part, 1, flags);
    return got == SIM_WOULD_WAIT ? -EAGAIN : got;
}

int64_t plx__sim_plain_send(struct plx__sim_world *world, int fd, const void *data, size_t len)
{
    const struct sim_desc *desc = plx__sim_desc(world, fd);
    const struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
    if (desc == NULL || desc->kind == SIM_FILE)
        return desc == NULL ? -EBADF : -ENOTSOCK;
    int64_t taken = plx__sim_send(world, desc->sock, &part, 1);
    return taken == SIM_WOULD_WAIT ? -EAGAIN : taken;
}

int plx__sim_plain_accept(struct plx__sim_world *world, int fd)
{
    const struct sim_desc *desc = plx__sim_desc(world, fd);
    int rc =
        desc != NULL && desc->kind == SIM_SOCKET ? plx__sim_accept(world, desc->sock, 0) : -EBADF;
    return rc == SIM_WOULD_WAIT ? -EAGAIN : rc;
}

int plx__sim_plain_connect(struct plx__sim_world *world, int fd, const struct sockaddr *addr,
                           socklen_t bytes)
{
    const struct sim_desc *desc = plx__sim_desc(world, fd);
    if (desc == NULL || desc->kind != SIM_SOCKET)
        return -EBADF;
    int rc = 0;
    if (desc->sock->state != SIM_SOCK_CONNECTING)
        rc = plx__sim_connect_begin(world, desc->sock, addr, bytes);
    if (rc == 0)
        rc = plx__sim_connect_ask(world, desc->sock);
    return rc == SIM_WOULD_WAIT ? -EAGAIN : rc;
}

int64_t plx__sim_plain_flags(struct plx__sim_world *world, int fd)
{
    const struct sim_desc *desc = plx__sim_desc(world, fd);
    return desc != NULL ? (int64_t)desc->flags : -EBADF;
}

int plx__sim_plain_open(struct plx__sim_world *world, const char *name, uint32_t flags)
{
    return plx__sim_openat(world, AT_FDCWD, name, flags);
}

int64_t plx__sim_plain_write(struct plx__sim_world *world, int fd, const void *data, size_t len,
                             uint64_t offset)
{
    struct sim_desc *desc = plx__sim_desc(world, fd);
    const struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
    return desc != NULL && desc->kind == SIM_FILE ? plx__sim_write(world, desc, &part, 1, offset)
                                                  : -EBADF;
}

int64_t plx__sim_plain_position(struct plx__sim_world *world, int fd)
{
    const struct sim_desc *desc = plx__sim_desc(world, fd);
    return desc != NULL ? (int64_t)desc->offset : -EBADF;
}

bool plx__sim_is_open(struct plx__sim_world *world, int fd)
{
    return plx__sim_desc(world, fd) != NULL;
}
