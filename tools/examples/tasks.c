/* SPDX-License-Identifier: MIT */
/* tasks [PORT]: an echo server in straight lines, with a task for each connection. */
#include <netinet/in.h>
#include <pollux/pollux.h>
#include <stdio.h>
#include <stdlib.h>

/* One reactor, so its tasks never run at the same time: no lock. */
static int listening;
static long long connections, bytes_echoed;

static int64_t echo(void *ctx)
{
    int fd = (int)(intptr_t)ctx;
    char bytes[4096]; /* on the task's own stack */
    int64_t got;
    while ((got = plx_await_recv(fd, bytes, sizeof(bytes), 0)) > 0 &&
           plx_await_send_all(fd, bytes, (uint32_t)got, 0, PLX_INLINE) > 0)
        bytes_echoed += got;
    return plx_await_close(fd); /* the peer is done, or we are: either way */
}

static int64_t serve(void *reactor)
{
    struct plx_task_opts opts = {.name = "echo", .detached = true}; /* nobody joins it */
    int64_t fd;
    while ((fd = plx_await_accept(listening, SOCK_CLOEXEC)) >= 0) {
        if (plx_task_spawn(reactor, &opts, echo, (void *)(intptr_t)fd, NULL) == 0)
            connections++;
        else
            plx_await_close((int)fd); /* POLLUX_TASKS_MAX are there */
    }
    return plx_await_close(listening);
}

static int64_t tell(void *ctx)
{
    (void)ctx;
    while (plx_task_sleep(1000000000) == 0) /* until the runtime stops, which cancels it */
        printf("%lld connections, %lld bytes\n", connections, bytes_echoed);
    return 0;
}

static int begin(struct plx_reactor *reactor, void *ctx)
{
    (void)ctx;
    struct plx_task_opts opts = {.name = "server", .detached = true};
    int rc = plx_task_spawn(reactor, &opts, serve, reactor, NULL);
    return rc == 0 ? plx_task_spawn(reactor, &opts, tell, NULL, NULL) : rc;
}

int main(int argc, char **argv)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof(addr);
    struct plx_settings settings;
    struct plx_runtime_opts opts;
    struct plx_runtime *runtime;
    struct plx_diag diag;
    addr.sin_port = htons((uint16_t)(argc > 1 ? strtol(argv[1], NULL, 10) : 0));
    listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(listening, (struct sockaddr *)&addr, size) < 0 || listen(listening, 128) < 0 ||
        getsockname(listening, (struct sockaddr *)&addr, &size) < 0)
        return perror("tasks"), 1;
    plx_settings_init(&settings);
    plx_runtime_opts_init(&opts);
    opts.on_start = begin; /* on the reactor's thread */
    if (plx_settings_set(&settings, "reactors", "1", &diag) < 0 ||
        plx_settings_load_env(&settings, NULL, &diag, NULL, NULL) < 0 || /* POLLUX_* */
        plx_runtime_create(&settings, &opts, &runtime, &diag) < 0 ||
        plx_runtime_start(runtime, &diag) < 0)
        return fprintf(stderr, "%s: %s\n", diag.what, diag.text), 1;
    printf("listening on 127.0.0.1:%d\n", ntohs(addr.sin_port)), fflush(stdout);
    plx_runtime_wait(runtime, UINT64_MAX); /* for a signal */
    if (plx_runtime_stop(runtime, 1000000000, &diag) < 0)
        return fprintf(stderr, "%s: %s\n", diag.what, diag.text), 1;
    plx_runtime_destroy(runtime);
    printf("%lld connections, %lld bytes, done\n", connections, bytes_echoed);
}
