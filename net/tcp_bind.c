/* SPDX-License-Identifier: MIT */
/* Sockets that listen on one address, taken exclusively, for several reactors. */
#include <errno.h>
#include <string.h>

#include "net/tcp_internal.h"

/* What making one socket needs, and whom to tell. */
struct binding {
    const struct plx__plain_calls *calls;
    struct plx_addr addr;
    int backlog;
    struct plx_diag *diag;
};

static PLX_COLD int complain(const struct binding *b, int rc, const char *call)
{
    char text[PLX_ADDR_TEXT_BYTES];
    (void)plx_addr_format(&b->addr, text, sizeof(text));
    if (rc == -EADDRINUSE)
        return plx_diag_set(b->diag, rc, text,
                            "%s: the address is in use: another socket listens "
                            "on it",
                            text);
    if (rc == -EADDRNOTAVAIL)
        return plx_diag_set(b->diag, rc, text, "%s: this host has no such address", text);
    if (rc == -EACCES)
        return plx_diag_set(b->diag, rc, text,
                            "%s: not permitted (ports below "
                            "net.ipv4.ip_unprivileged_port_start need CAP_NET_BIND_SERVICE)",
                            text);
    return plx_diag_set(b->diag, rc, text, "%s: %s: %s", text, call, strerror(-rc));
}

static int set_flag(const struct binding *b, int fd, int level, int name, int value)
{
    return b->calls->setsockopt(fd, level, name, &value, sizeof(value));
}

/* One bound socket, listening; `shared` from its birth if it is a sibling. */
static PLX_COLD int open_one(const struct binding *b, bool shared)
{
    int fd = b->calls->socket(b->addr.sock.any.sa_family,
                              SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
    if (fd < 0)
        return complain(b, fd, "socket");

    const char *call = "SO_REUSEADDR";
    int rc = set_flag(b, fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (rc == 0 && b->addr.sock.any.sa_family == AF_INET6) {
        /* The system's default may be either: say it. */
        call = "IPV6_V6ONLY";
        rc = set_flag(b, fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
    }
    if (rc == 0 && shared) {
        call = "SO_REUSEPORT";
        rc = set_flag(b, fd, SOL_SOCKET, SO_REUSEPORT, 1);
    }
    if (rc == 0) {
        call = "bind";
        rc = b->calls->bind(fd, &b->addr.sock.any, b->addr.bytes);
    }
    if (rc == 0) {
        call = "listen";
        rc = b->calls->listen(fd, b->backlog);
    }
    if (rc == 0)
        return fd;
    b->calls->close(fd);
    return complain(b, rc, call);
}

static PLX_COLD int find_port(struct binding *b, int fd)
{
    socklen_t bytes = sizeof(b->addr.sock);
    int rc = b->calls->getsockname(fd, &b->addr.sock.any, &bytes);
    return rc == 0 ? 0 : complain(b, rc, "getsockname");
}

PLX_COLD int plx__tcp_bind(const struct plx__plain_calls *calls, const struct plx_addr *addr,
                           uint32_t count, uint32_t backlog, int *fds, struct plx_addr *bound,
                           struct plx_diag *diag)
{
    if (addr->bytes == 0)
        return plx_diag_set(diag, -EINVAL, "address", "there is no address to listen on");
    if (count == 0)
        return plx_diag_set(diag, -EINVAL, "count", "there is no socket to make");
    if (backlog == 0 || backlog > INT32_MAX)
        return plx_diag_set(diag, -EINVAL, "backlog", "the option backlog is out of its range");

    struct binding b = {.calls = calls, .addr = *addr, .backlog = (int)backlog, .diag = diag};
    uint32_t made = 0;
    int rc = open_one(&b, false);
    if (rc < 0)
        return rc;
    fds[made++] = rc;
    rc = find_port(&b, fds[0]);
    if (rc < 0)
        goto fail;

    /*
     * The first one was bound without SO_REUSEPORT, so that it failed where anybody listens, and
     * listens itself by now, so that whoever binds from here on fails. Only then is it shared.
     */
    if (count > 1) {
        rc = set_flag(&b, fds[0], SOL_SOCKET, SO_REUSEPORT, 1);
        if (rc < 0) {
            rc = complain(&b, rc, "SO_REUSEPORT");
            goto fail;
        }
    }
    while (made < count) {
        rc = open_one(&b, true);
        if (rc < 0)
            goto fail;
        fds[made++] = rc;
    }
    if (bound != NULL)
        *bound = b.addr;
    return 0;

fail:
    while (made > 0)
        calls->close(fds[--made]);
    return rc;
}

PLX_COLD int plx_tcp_bind(struct plx_runtime *runtime, const struct plx_addr *addr, uint32_t count,
                          const struct plx_tcp_opts *opts, int *fds, struct plx_addr *bound,
                          struct plx_diag *diag)
{
    const struct plx__plain_calls *calls = &plx__plain_kernel;
    struct plx_tcp_opts defaults;
    if (opts == NULL) {
        plx_tcp_opts_init(&defaults);
        opts = &defaults;
    }
    /* Before a runtime's reactors run there is only the kernel to ask. */
    for (uint32_t i = 0; runtime != NULL && i < plx_runtime_count(runtime); i++) {
        struct plx_reactor *reactor = plx_runtime_reactor(runtime, i);
        if (reactor != NULL) {
            calls = plx__reactor_io(reactor)->plain;
            break;
        }
    }
    return plx__tcp_bind(calls, addr, count, opts->backlog, fds, bound, diag);
}
