/* SPDX-License-Identifier: MIT */
/* The plain system calls that both kernel backends share, with errors as negative errno. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "runtime/io/io_internal.h"

static int or_errno(int rc)
{
    return rc >= 0 ? rc : -errno;
}

static int kernel_socket(int domain, int type, int protocol)
{
    return or_errno(socket(domain, type, protocol));
}

static int kernel_bind(int fd, const struct sockaddr *addr, socklen_t bytes)
{
    return or_errno(bind(fd, addr, bytes));
}

static int kernel_listen(int fd, int backlog)
{
    return or_errno(listen(fd, backlog));
}

static int kernel_getsockname(int fd, struct sockaddr *addr, socklen_t *bytes)
{
    return or_errno(getsockname(fd, addr, bytes));
}

static int kernel_getpeername(int fd, struct sockaddr *addr, socklen_t *bytes)
{
    return or_errno(getpeername(fd, addr, bytes));
}

static int kernel_setsockopt(int fd, int level, int name, const void *value, socklen_t bytes)
{
    return or_errno(setsockopt(fd, level, name, value, bytes));
}

static int kernel_shutdown(int fd, int how)
{
    return or_errno(shutdown(fd, how));
}

static int kernel_close(int fd)
{
    return or_errno(close(fd));
}

/* The whole file, for the open file description: two of one process exclude each other, too. */
static int set_lock(int fd, short type)
{
    struct flock all = {.l_type = type, .l_whence = SEEK_SET};
    int rc;
    do
        rc = or_errno(fcntl(fd, F_OFD_SETLK, &all));
    while (rc == -EINTR);
    return rc;
}

static int kernel_lock(int fd)
{
    return set_lock(fd, F_WRLCK);
}

static int kernel_unlock(int fd)
{
    return set_lock(fd, F_UNLCK);
}

const struct plx__plain_calls plx__plain_kernel = {
    .socket = kernel_socket,
    .bind = kernel_bind,
    .listen = kernel_listen,
    .getsockname = kernel_getsockname,
    .getpeername = kernel_getpeername,
    .setsockopt = kernel_setsockopt,
    .shutdown = kernel_shutdown,
    .close = kernel_close,
    .lock = kernel_lock,
    .unlock = kernel_unlock,
};

/* By symbol, not by syscall(2): a preloaded network stack takes these calls over. */
int64_t plx__kernel_recv_now(struct plx__io *io, int fd, void *buf, size_t len)
{
    (void)io;
    ssize_t got = recv(fd, buf, len, MSG_DONTWAIT);
    return got >= 0 ? got : -errno;
}

int64_t plx__kernel_send_now(struct plx__io *io, int fd, const void *data, size_t len)
{
    (void)io;
    ssize_t taken = send(fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    return taken >= 0 ? taken : -errno;
}

uint64_t plx__kernel_clock_ns(struct plx__io *io)
{
    return plx__clock_ns(&io->clock);
}
