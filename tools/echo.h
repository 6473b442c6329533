/* SPDX-License-Identifier: MIT */
/* What the echo server and the echo client share. */
#ifndef POLLUX_TOOLS_ECHO_H
#define POLLUX_TOOLS_ECHO_H

#include "net/addr.h"
#include "runtime/runtime.h"
#include "tools/cli.h"

/* The words of --receive and --send; their positions are those of plx_recv_mode and plx_echo_send.
 */
#define PLX_ECHO_RECEIVE "ring|spin"
#define PLX_ECHO_SEND    "inline|queued"

enum plx_echo_send { PLX_ECHO_INLINE, PLX_ECHO_QUEUED };

static inline uint32_t plx_echo_write_flags(int send)
{
    return send == PLX_ECHO_INLINE ? PLX_INLINE : PLX_QUEUED;
}

static inline const char *plx_echo_send_word(int send)
{
    return send == PLX_ECHO_INLINE ? "inline" : "queued";
}

static inline const char *plx_echo_receive_word(int receive)
{
    return receive != 0 ? "spin" : "ring";
}

/*
 * Reads an address of which the port may be missing: `text` is HOST or HOST:PORT, HOST an IPv4
 * address, an IPv6 address with or without brackets, localhost, or *. `port` is taken when the text
 * has none. Errors: of plx_addr_parse; and -EINVAL when both name a port and they differ. A
 * negative `port` stands for none; then the text must have one.
 */
int plx_echo_parse_addr(struct plx_addr *addr, const char *text, int port,
                        struct plx_diag *diag) PLX_MUST_CHECK;

/*
 * Makes SIGINT and SIGTERM ask `runtime` to stop, once; a second one ends the process. NULL: the
 * default again; to be said before the runtime is destroyed.
 */
void plx_echo_stop_on_signals(struct plx_runtime *runtime);

/* Whether such a signal has come. */
bool plx_echo_was_interrupted(void);

/* A plx_log_fn: prints to standard error, `ctx` being unused. */
void plx_echo_log(enum plx_log_level level, const char *text, void *ctx);

/*
 * Appends the modes that the runtime's reactors run in, each once, "uring defer, epoll", to `text`.
 * After plx_runtime_start.
 */
void plx_echo_modes(const struct plx_runtime *runtime, char *text, size_t bytes);

#endif
