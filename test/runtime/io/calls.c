/* SPDX-License-Identifier: MIT */
#define POLLUX_TEST_CALLS_PLAIN
#include "alloc/base.h"
#include "test/runtime/io/calls.h"

#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "runtime/io/sim_internal.h"

#define WAIT_STEPS   100000u
#define WAIT_STEP_NS 10000u

static struct plx__sim_world *world;

void calls_use(struct plx__sim_world *other)
{
    world = other;
    plx__sim_world_enter(other);
}

static bool is_simulated(int fd)
{
    return world != NULL && fd >= PLX__SIM_FD_FIRST;
}

static int64_t give(int64_t result)
{
    if (result >= 0)
        return result;
    errno = (int)-result;
    return -1;
}

/* Lets time pass, as a call does that waits. */
static void wait_a_step(unsigned *steps)
{
    if (++*steps > WAIT_STEPS)
        fail_msg("a plain call waits for ever");
    plx__sim_world_advance(world, WAIT_STEP_NS);
    plx__sim_world_work(world);
}

int calls_close(int fd)
{
    return is_simulated(fd) ? (int)give(plx__sim_plain.close(fd)) : close(fd);
}

ssize_t calls_recv(int fd, void *buf, size_t len, int flags)
{
    if (!is_simulated(fd))
        return recv(fd, buf, len, flags);
    size_t done = 0;
    for (unsigned steps = 0;;) {
        int64_t got = plx__sim_plain_recv(world, fd, (char *)buf + done, len - done, flags);
        if (got == -EAGAIN && (flags & MSG_DONTWAIT) == 0) {
            wait_a_step(&steps);
            continue;
        }
        if (got <= 0)
            return done != 0 ? (ssize_t)done : give(got);
        done += (size_t)got;
        if ((flags & MSG_WAITALL) == 0 || done == len)
            return (ssize_t)done;
    }
}

ssize_t calls_send(int fd, const void *data, size_t len, int flags)
{
    if (!is_simulated(fd))
        return send(fd, data, len, flags);
    for (unsigned steps = 0;;) {
        int64_t taken = plx__sim_plain_send(world, fd, data, len);
        if (taken != -EAGAIN || (flags & MSG_DONTWAIT) != 0)
            return give(taken);
        wait_a_step(&steps);
    }
}

ssize_t calls_read(int fd, void *buf, size_t len)
{
    return is_simulated(fd) ? calls_recv(fd, buf, len, 0) : read(fd, buf, len);
}

ssize_t calls_write(int fd, const void *data, size_t len)
{
    return is_simulated(fd) ? calls_send(fd, data, len, 0) : write(fd, data, len);
}

int calls_socket(int domain, int type, int protocol)
{
    return world != NULL ? (int)give(plx__sim_plain.socket(domain, type, protocol))
                         : socket(domain, type, protocol);
}

int calls_socketpair(int domain, int type, int protocol, int pair[2])
{
    if (world == NULL)
        return socketpair(domain, type, protocol, pair);
    return (int)give(plx__sim_pair(world, type & ~(SOCK_CLOEXEC | SOCK_NONBLOCK), pair));
}

int calls_pipe2(int ends[2], int flags)
{
    return world != NULL ? (int)give(plx__sim_pipe(world, 4096, ends)) : pipe2(ends, flags);
}

int calls_bind(int fd, const struct sockaddr *addr, socklen_t bytes)
{
    return is_simulated(fd) ? (int)give(plx__sim_plain.bind(fd, addr, bytes))
                            : bind(fd, addr, bytes);
}

int calls_listen(int fd, int backlog)
{
    return is_simulated(fd) ? (int)give(plx__sim_plain.listen(fd, backlog)) : listen(fd, backlog);
}

int calls_accept4(int fd, struct sockaddr *addr, socklen_t *bytes, int flags)
{
    if (!is_simulated(fd))
        return accept4(fd, addr, bytes, flags);
    for (unsigned steps = 0;;) {
        int rc = plx__sim_plain_accept(world, fd);
        if (rc != -EAGAIN)
            return (int)give(rc);
        wait_a_step(&steps);
    }
}

int calls_connect(int fd, const struct sockaddr *addr, socklen_t bytes)
{
    if (!is_simulated(fd))
        return connect(fd, addr, bytes);
    for (unsigned steps = 0;;) {
        int rc = plx__sim_plain_connect(world, fd, addr, bytes);
        if (rc != -EAGAIN)
            return (int)give(rc);
        wait_a_step(&steps);
    }
}

int calls_getsockname(int fd, struct sockaddr *addr, socklen_t *bytes)
{
    return is_simulated(fd) ? (int)give(plx__sim_plain.getsockname(fd, addr, bytes))
                            : getsockname(fd, addr, bytes);
}

int calls_setsockopt(int fd, int level, int name, const void *value, socklen_t bytes)
{
    return is_simulated(fd) ? (int)give(plx__sim_plain.setsockopt(fd, level, name, value, bytes))
                            : setsockopt(fd, level, name, value, bytes);
}

int calls_shutdown(int fd, int how)
{
    return is_simulated(fd) ? (int)give(plx__sim_plain.shutdown(fd, how)) : shutdown(fd, how);
}

int calls_dup(int fd)
{
    return world != NULL ? calls_socket(AF_INET, SOCK_STREAM, 0) : dup(fd);
}

int calls_fcntl(int fd, int command, ...)
{
    int argument = 0;
    if (command != F_GETFD && command != F_GETFL) {
        va_list arguments;
        va_start(arguments, command);
        argument = va_arg(arguments, int);
        va_end(arguments);
    }
    if (!is_simulated(fd))
        return fcntl(fd, command, argument);
    int64_t flags = plx__sim_plain_flags(world, fd);
    switch (command) {
    case F_SETPIPE_SZ:
        return argument; /* as it is anyway */
    case F_GETFD:
        return flags < 0 ? (int)give(flags) : (flags & SOCK_CLOEXEC) != 0 ? FD_CLOEXEC : 0;
    case F_GETFL:
        return flags < 0 ? (int)give(flags) : (int)(flags & SOCK_NONBLOCK);
    default:
        return (int)give(-EINVAL);
    }
}

int calls_memfd_create(const char *name, unsigned flags)
{
    return world != NULL ? (int)give(plx__sim_plain_open(world, name, O_RDWR | O_CREAT))
                         : memfd_create(name, flags);
}

off_t calls_lseek(int fd, off_t offset, int whence)
{
    return is_simulated(fd) ? give(plx__sim_plain_position(world, fd)) : lseek(fd, offset, whence);
}

int calls_open(const char *path, int flags, ...)
{
    unsigned mode = 0;
    if ((flags & O_CREAT) != 0) {
        va_list arguments;
        va_start(arguments, flags);
        mode = va_arg(arguments, unsigned);
        va_end(arguments);
    }
    return world != NULL ? (int)give(plx__sim_plain_open(world, path, (uint32_t)flags))
                         : open(path, flags, mode);
}

int calls_poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
    char byte;
    if (!is_simulated(fds[0].fd))
        return poll(fds, count, timeout_ms);
    (void)calls_recv(fds[0].fd, &byte, 1, MSG_PEEK);
    fds[0].revents = POLLIN;
    return 1;
}

int calls_mkostemp(char *path, int flags)
{
    return world != NULL ? calls_open(path, O_RDWR | O_CREAT | flags, 0600) : mkostemp(path, flags);
}

char *calls_mkdtemp(char *path)
{
    return world != NULL ? path : mkdtemp(path);
}

int calls_unlink(const char *path)
{
    return world != NULL ? (int)give(plx__sim_file_unlink(world, AT_FDCWD, path)) : unlink(path);
}

int calls_unlinkat(int dir, const char *path, int flags)
{
    return world != NULL ? (int)give(plx__sim_file_unlink(world, dir, path))
                         : unlinkat(dir, path, flags);
}

int calls_rmdir(const char *path)
{
    return world != NULL ? calls_unlink(path) : rmdir(path);
}

ssize_t calls_pwrite(int fd, const void *data, size_t len, off_t offset)
{
    return is_simulated(fd) ? give(plx__sim_plain_write(world, fd, data, len, (uint64_t)offset))
                            : pwrite(fd, data, len, offset);
}

bool calls_is_open(int fd)
{
    return is_simulated(fd) ? plx__sim_is_open(world, fd) : fcntl(fd, F_GETFD) >= 0;
}
