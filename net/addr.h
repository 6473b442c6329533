/* SPDX-License-Identifier: MIT */
/*
 * Addresses of sockets: from text and to text.
 *
 * The text of an address:
 *   127.0.0.1:8080       IPv4; four plain decimal numbers
 *   [::1]:8080           IPv6, in brackets
 *   [fe80::1%eth0]:80    a link-local one with its zone, an interface's name or number
 *   localhost:8080       127.0.0.1; the only name that is known, as nothing here asks a resolver
 *   :8080  *:8080        any IPv4 address of this host, for listening
 *   [::]:8080            any address of this host, IPv4 and IPv6, for listening
 * A port is a decimal number from 0 to 65535 without leading zeros, and always there; listening on
 * port 0 lets the kernel choose one.
 *
 * Threads: any; nothing here is shared.
 */
#ifndef POLLUX_ADDR_H
#define POLLUX_ADDR_H

#include <netinet/in.h>
#include <sys/socket.h>

#include "alloc/base.h"

PLX_EXTERN_C_BEGIN

/* Bytes that hold the text of any address, its terminator included. */
#define PLX_ADDR_TEXT_BYTES 80

/* A socket's address, by value. Zeroed, it is none. */
struct plx_addr {
    union {
        struct sockaddr any; /* its sa_family tells which of the others holds */
        struct sockaddr_in in4;
        struct sockaddr_in6 in6;
    } sock;
    socklen_t bytes; /* of what `sock` holds, as the kernel wants it; 0: no address */
};

/*
 * Reads `text` into `addr`. Shapes: the whole text, nothing before or behind it, not even blanks.
 * Ownership: `text` is read before the return. Cost: set-up; a system call only for a zone's name.
 * Errors: -EINVAL it is not such a text (NULL is not); -ENODEV the zone names no interface of this
 * host. `diag` names the text and what was expected; `addr` is then none.
 */
PLX_API PLX_COLD PLX_MUST_CHECK int plx_addr_parse(struct plx_addr *addr, const char *text,
                                                   struct plx_diag *diag);

/*
 * Writes `addr` as a text that plx_addr_parse reads back to the same address, always terminated;
 * PLX_ADDR_TEXT_BYTES always suffice. Returns the length without the terminator. Cost: set-up; a
 * system call only for a zone. Errors: -ENOSPC the buffer is too small; -EAFNOSUPPORT it is neither
 * IPv4 nor IPv6. The text is then empty, where there is room for that.
 */
PLX_API PLX_COLD int plx_addr_format(const struct plx_addr *addr, char *text, size_t bytes);

/* The port as a plain number; 0 for no address. */
PLX_API uint16_t plx_addr_port(const struct plx_addr *addr);

/* Gives the address another port; nothing happens to no address. */
PLX_API void plx_addr_set_port(struct plx_addr *addr, uint16_t port);

PLX_EXTERN_C_END

#endif
