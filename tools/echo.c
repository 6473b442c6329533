/* SPDX-License-Identifier: MIT */
#include "tools/echo.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

int plx_echo_parse_addr(struct plx_addr *addr, const char *text, int port, struct plx_diag *diag)
{
    int result = plx_addr_parse(addr, text, diag);
    if (result == 0 && port >= 0 && plx_addr_port(addr) != port)
        return plx_diag_set(diag, -EINVAL, "--port", "%d differs from the port of --addr %.60s",
                            port, text);
    if (result == 0 || port < 0)
        return result;

    char whole[PLX_ADDR_TEXT_BYTES];
    bool bare_ipv6 = text[0] != '[' && strchr(text, ':') != NULL;
    int length = snprintf(whole, sizeof(whole), bare_ipv6 ? "[%s]:%d" : "%s:%d", text, port);
    if (length < 0 || (size_t)length >= sizeof(whole) || text[0] == '\0')
        return result;
    /*
     * Where adding a port does not help, the first error, of what was typed, is the one to tell,
     * unless all that it says is that a port is missing.
     */
    struct plx_diag second;
    int again = plx_addr_parse(addr, whole, &second);
    if (again < 0 && diag != NULL && (again == -ENODEV || strchr(text, ':') == NULL))
        *diag = second;
    return again == -EINVAL ? result : again;
}

/* --- signals --------------------------------------------------------------------------------- */

/* Written before the handlers are set, read by them. */
static struct plx_runtime *signalled_runtime;
static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
    plx_runtime_request_stop(signalled_runtime);
}

void plx_echo_stop_on_signals(struct plx_runtime *runtime)
{
    struct sigaction action;
    memset(&action, 0, sizeof(action));
    sigemptyset(&action.sa_mask);
    if (runtime != NULL)
        signalled_runtime = runtime;
    action.sa_handler = runtime != NULL ? on_signal : SIG_DFL;
    /* Whoever asks twice does not want to wait for an orderly end. */
    action.sa_flags = (int)SA_RESETHAND;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

bool plx_echo_was_interrupted(void)
{
    return interrupted != 0;
}

/* --- telling --------------------------------------------------------------------------------- */

void plx_echo_log(enum plx_log_level level, const char *text, void *ctx)
{
    (void)level;
    (void)ctx;
    plx_cli_error("pollux echo", "%s", text);
}

void plx_echo_modes(const struct plx_runtime *runtime, char *text, size_t bytes)
{
    size_t used = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < plx_runtime_count(runtime); i++) {
        const struct plx_reactor *reactor = plx_runtime_reactor(runtime, i);
        const char *mode = reactor != NULL ? plx_reactor_mode(reactor) : NULL;
        if (mode == NULL || strstr(text, mode) != NULL || used + strlen(mode) + 3 > bytes)
            continue;
        used += (size_t)snprintf(text + used, bytes - used, "%s%s", used != 0 ? ", " : "", mode);
    }
}
