/* SPDX-License-Identifier: MIT */
#include <pollux/pollux.h>
#include <stdio.h>

static void echo(struct plx_tcp *stream, const void *data, size_t len, void *ctx)
{
    (void)ctx;
    if (plx_tcp_write(stream, data, len, PLX_INLINE) != (int64_t)len)
        plx_tcp_abort(stream); /* its send queue is full: the peer does not read */
}

static void end(struct plx_tcp *stream, int reason, void *serving)
{
    (void)stream, (void)reason, *(bool *)serving = false;
}

int main(int argc, char **argv) /* embed [ADDRESS]: serves one connection, or 0.1 s without */
{
    static const struct plx_tcp_handler handler = {.on_data = echo, .on_close = end};
    bool serving = true;
    struct plx_settings settings;
    struct plx_runtime *runtime;
    struct plx_reactor *reactor;
    struct plx_tcp_listener *listener;
    struct plx_addr addr;
    struct plx_diag diag;
    plx_settings_init(&settings);
    if (plx_settings_set(&settings, "pin", "try", &diag) < 0 || /* this thread is not pinned */
        plx_settings_load_env(&settings, NULL, &diag, NULL, NULL) < 0 || /* POLLUX_* */
        plx_runtime_create(&settings, NULL, &runtime, &diag) < 0 ||
        plx_reactor_adopt(runtime, 0, &reactor, &diag) < 0 ||
        plx_addr_parse(&addr, argc > 1 ? argv[1] : "127.0.0.1:0", &diag) < 0 ||
        plx_tcp_listen(reactor, &addr, NULL, &listener, &diag, &handler, &serving) < 0)
        return fprintf(stderr, "%s: %s\n", diag.what, diag.text), 1;
    uint64_t end_ns = argc > 1 ? UINT64_MAX : plx_reactor_now_ns(reactor) + 100000000;
    while (serving && plx_reactor_now_ns(reactor) < end_ns)
        plx_reactor_poll(reactor); /* and whatever else your loop does */
    int late = plx_reactor_abandon(reactor, 1000000000);
    return plx_runtime_destroy(runtime), late < 0;
}
