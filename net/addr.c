/* SPDX-License-Identifier: MIT */
#include "net/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define EXPECTED "expected such as 127.0.0.1:8080, [::1]:8080, localhost:8080 or :8080"

/* Bytes of a rejected text that an error message quotes. */
#define QUOTED_MAX 80

/* --- from text -------------------------------------------------------------------------------- */

/* Fills the diag with the rejected text, made printable: it may come from anywhere. */
static PLX_COLD int reject(struct plx_diag *diag, int code, const char *text, const char *why)
{
    char quoted[QUOTED_MAX + 1] = "";
    if (text == NULL)
        return plx_diag_set(diag, code, "address", "no address was given: " EXPECTED);

    size_t len = strnlen(text, QUOTED_MAX + 1);
    bool cut = len > QUOTED_MAX;
    for (size_t i = 0; i < len && i < QUOTED_MAX; i++)
        quoted[i] = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
    return plx_diag_set(diag, code, quoted, "'%s%s' is no address: %s; " EXPECTED, quoted,
                        cut ? "..." : "", why);
}

/* Decimal digits only, no leading zeros, up to `max`: nothing of strtoul's generosity. */
static bool parse_number(const char *text, uint64_t max, uint32_t *out)
{
    uint64_t value = 0;
    if (text[0] == '\0' || (text[0] == '0' && text[1] != '\0'))
        return false;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9')
            return false;
        value = value * 10 + (uint64_t)(*text - '0');
        if (value > max)
            return false;
    }
    *out = (uint32_t)value;
    return true;
}

static const char *parse_host4(struct plx_addr *addr, const char *host)
{
    struct sockaddr_in *in4 = &addr->sock.in4;
    in4->sin_family = AF_INET;
    addr->bytes = sizeof(*in4);
    if (host[0] == '\0' || strcmp(host, "*") == 0)
        in4->sin_addr.s_addr = htonl(INADDR_ANY);
    else if (strcasecmp(host, "localhost") == 0)
        in4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    else if (strchr(host, ':') != NULL)
        return "an IPv6 address stands in brackets";
    else if (inet_pton(AF_INET, host, &in4->sin_addr) != 1)
        return "the host is no IPv4 address, and names other than localhost are not looked up";
    return NULL;
}

/* `host` may end with a zone, which is cut off it. NULL, or what is wrong. */
static const char *parse_host6(struct plx_addr *addr, char *host, bool *no_such_zone)
{
    struct sockaddr_in6 *in6 = &addr->sock.in6;
    in6->sin6_family = AF_INET6;
    addr->bytes = sizeof(*in6);

    char *zone = strchr(host, '%');
    if (zone != NULL)
        *zone++ = '\0';
    if (inet_pton(AF_INET6, host, &in6->sin6_addr) != 1)
        return "what stands in the brackets is no IPv6 address";
    if (zone == NULL)
        return NULL;
    if (!IN6_IS_ADDR_LINKLOCAL(&in6->sin6_addr) && !IN6_IS_ADDR_MC_LINKLOCAL(&in6->sin6_addr))
        return "only a link-local address has a zone";

    /* A name first: an interface may be called by a number. */
    in6->sin6_scope_id = if_nametoindex(zone);
    if (in6->sin6_scope_id != 0)
        return NULL;
    if (parse_number(zone, UINT32_MAX, &in6->sin6_scope_id) && in6->sin6_scope_id != 0)
        return NULL;
    *no_such_zone = true;
    return "its zone names no interface of this host";
}

/* Cuts `text` into host and port. NULL, or what is wrong. */
static const char *split(char *text, char **host, char **port, bool *bracketed)
{
    *bracketed = text[0] == '[';
    if (*bracketed) {
        char *end = strchr(text, ']');
        if (end == NULL)
            return "the bracket is not closed";
        *end = '\0';
        if (end[1] != ':')
            return "a port must follow the bracket";
        *host = text + 1;
        *port = end + 2;
        return NULL;
    }
    char *colon = strrchr(text, ':');
    if (colon == NULL)
        return "it has no port";
    *colon = '\0';
    *host = text;
    *port = colon + 1;
    return NULL;
}

PLX_COLD int plx_addr_parse(struct plx_addr *addr, const char *text, struct plx_diag *diag)
{
    char copy[PLX_ADDR_TEXT_BYTES];
    char *host = NULL;
    char *port_text = NULL;
    uint32_t port = 0;
    bool bracketed = false;
    bool no_such_zone = false;
    struct plx_addr found;
    memset(&found, 0, sizeof(found));
    memset(addr, 0, sizeof(*addr));

    if (text == NULL || text[0] == '\0')
        return reject(diag, -EINVAL, text, "it is empty");
    size_t len = strnlen(text, sizeof(copy));
    if (len == sizeof(copy))
        return reject(diag, -EINVAL, text, "it is too long");
    memcpy(copy, text, len + 1);

    const char *wrong = split(copy, &host, &port_text, &bracketed);
    if (wrong == NULL)
        wrong = bracketed ? parse_host6(&found, host, &no_such_zone) : parse_host4(&found, host);
    if (wrong == NULL && !parse_number(port_text, UINT16_MAX, &port))
        wrong = "the port is no number from 0 to 65535";
    if (wrong != NULL)
        return reject(diag, no_such_zone ? -ENODEV : -EINVAL, text, wrong);

    plx_addr_set_port(&found, (uint16_t)port);
    *addr = found;
    return 0;
}

/* --- to text ---------------------------------------------------------------------------------- */

static int format_in6(const struct sockaddr_in6 *in6, char *text, size_t bytes)
{
    char host[INET6_ADDRSTRLEN];
    char zone[IF_NAMESIZE] = "";
    const char *sign = "";
    inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
    if (in6->sin6_scope_id != 0 &&
        (IN6_IS_ADDR_LINKLOCAL(&in6->sin6_addr) || IN6_IS_ADDR_MC_LINKLOCAL(&in6->sin6_addr))) {
        sign = "%";
        if (if_indextoname(in6->sin6_scope_id, zone) == NULL)
            snprintf(zone, sizeof(zone), "%u", in6->sin6_scope_id);
    }
    return snprintf(text, bytes, "[%s%s%s]:%u", host, sign, zone, ntohs(in6->sin6_port));
}

PLX_COLD int plx_addr_format(const struct plx_addr *addr, char *text, size_t bytes)
{
    char whole[PLX_ADDR_TEXT_BYTES];
    char host[INET_ADDRSTRLEN];
    int len;
    if (bytes > 0)
        text[0] = '\0';
    if (addr->bytes == 0)
        return -EAFNOSUPPORT;

    switch (addr->sock.any.sa_family) {
    case AF_INET:
        inet_ntop(AF_INET, &addr->sock.in4.sin_addr, host, sizeof(host));
        len = snprintf(whole, sizeof(whole), "%s:%u", host, ntohs(addr->sock.in4.sin_port));
        break;
    case AF_INET6:
        len = format_in6(&addr->sock.in6, whole, sizeof(whole));
        break;
    default:
        return -EAFNOSUPPORT;
    }
    if ((size_t)len >= bytes)
        return -ENOSPC;
    memcpy(text, whole, (size_t)len + 1);
    return len;
}

uint16_t plx_addr_port(const struct plx_addr *addr)
{
    if (addr->bytes == 0)
        return 0;
    return ntohs(addr->sock.any.sa_family == AF_INET6 ? addr->sock.in6.sin6_port
                                                      : addr->sock.in4.sin_port);
}

void plx_addr_set_port(struct plx_addr *addr, uint16_t port)
{
    if (addr->bytes == 0)
        return;
    if (addr->sock.any.sa_family == AF_INET6)
        addr->sock.in6.sin6_port = htons(port);
    else
        addr->sock.in4.sin_port = htons(port);
}
