/* SPDX-License-Identifier: MIT */
/* Ends' plain sockets, and servers on the peer thread. */
#include "tools/bench/end.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* How long a runtime's end may take. */
#define END_NS UINT64_C(2000000000)

void plx_bench_end_answer(struct plx_bench_end *end, const void *data, size_t bytes)
{
    if (bytes > sizeof(end->answer) - end->answer_bytes) {
        plx_bench_end_failed(end, -EPROTO);
        return;
    }
    memcpy(end->answer + end->answer_bytes, data, bytes);
    end->answer_bytes += (uint32_t)bytes;
}

bool plx_bench_end_is_refused(const struct plx_bench_end_ops *ops, int rc)
{
    return ops->by_uring && plx_bench_is_refusal(rc);
}

/* --- plain sockets --------------------------------------------------------------------------- */

int plx_bench_plain_tune(int fd)
{
    static const char reno[] = "reno";
    const int on = 1;
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, reno, sizeof(reno) - 1) != 0)
        return -errno;
    return 0;
}

int plx_bench_plain_listen(struct sockaddr_in *address, uint32_t backlog)
{
    *address = (struct sockaddr_in){
        .sin_family = AF_INET,
        .sin_addr = {htonl(INADDR_LOOPBACK)},
    };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    socklen_t bytes = sizeof(*address);
    if (bind(fd, (const struct sockaddr *)address, bytes) != 0 || listen(fd, (int)backlog) != 0 ||
        getsockname(fd, (struct sockaddr *)address, &bytes) != 0) {
        int rc = -errno;
        close(fd);
        return rc;
    }
    return fd;
}

static int make_ready(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    int rc = plx_bench_plain_tune(fd);
    if (rc == 0 && (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0))
        rc = -errno;
    if (rc == 0)
        return fd;
    close(fd);
    return rc;
}

int plx_bench_plain_connect(const struct sockaddr_in *address)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) != 0) {
        int rc = -errno;
        close(fd);
        return rc;
    }
    return make_ready(fd);
}

int plx_bench_plain_accept(int listener)
{
    int fd;
    do {
        fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    } while (fd < 0 && errno == EINTR);
    return fd < 0 ? -errno : make_ready(fd);
}

int plx_bench_plain_send(int fd, const void *data, size_t bytes)
{
    const uint8_t *at = data;
    while (bytes != 0) {
        ssize_t taken = send(fd, at, bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (taken < 0 && errno != EAGAIN && errno != EINTR)
            return -errno;
        if (taken > 0) {
            at += taken;
            bytes -= (size_t)taken;
        }
    }
    return 0;
}

int plx_bench_plain_open(struct plx_bench_end_config *config)
{
    return config->server ? plx_bench_plain_listen(&config->address, config->connections)
                          : plx_bench_plain_connect(&config->address);
}

/* --- hosts ----------------------------------------------------------------------------------- */

static uint32_t reactor_on(const struct plx_runtime *runtime, int cpu)
{
    const struct plx_plan *plan = plx_runtime_plan(runtime);
    uint32_t index = 0;
    while (index + 1 < plan->reactor_count && plan->reactors[index].cpu != (uint32_t)cpu)
        index++;
    return index;
}

static int make_runtime(struct plx_bench_host *host, struct plx_diag *diag)
{
    int cpu_a = plx_bench_cpu_a(host->bench);
    int cpu_b = plx_bench_cpu_b(host->bench);
    char cpus[32];
    snprintf(cpus, sizeof(cpus), "%d,%d", cpu_a, cpu_b);
    const char *settings[] = {
        "cpus", cpus,      "reactors",         "2",  "sqpoll", "off", "smt",
        "yes",  "backend", host->ops->backend, NULL,
    };
    int rc = plx_bench_runtime(host->bench, settings, NULL, &host->config.runtime, diag);
    if (rc != 0)
        return rc;
    host->config.reactor = reactor_on(host->config.runtime, cpu_b);
    host->client_reactor = reactor_on(host->config.runtime, cpu_a);
    return 0;
}

static int open_server(void *ctx)
{
    struct plx_bench_host *host = ctx;
    host->rc = host->ops->open(host->ops, &host->config, &host->server);
    return host->rc;
}

static int accept_all(void *ctx)
{
    struct plx_bench_host *host = ctx;
    return host->ops->accept(host->server);
}

static int close_server(void *ctx)
{
    struct plx_bench_host *host = ctx;
    host->ops->close(host->server);
    return 0;
}

int plx_bench_host_open(struct plx_bench_host *host, struct plx_bench *bench,
                        const struct plx_bench_end_ops *ops, uint32_t connections,
                        struct plx_diag *diag)
{
    host->bench = bench;
    host->ops = ops;
    host->server = NULL;
    host->config = (struct plx_bench_end_config){.server = true, .connections = connections};
    int rc = ops->backend != NULL ? make_runtime(host, diag) : 0;
    if (rc != 0)
        return rc;
    rc = plx_bench_on_peer(bench, open_server, host);
    if (rc == 0)
        return 0;
    plx_bench_host_close(host);
    const char *why = host->config.diag.text;
    return plx_diag_set(diag, rc, ops->subject, "the %s server did not open: %s", ops->subject,
                        why[0] != '\0' ? why : strerror(-rc));
}

int plx_bench_host_accept(struct plx_bench_host *host, struct plx_diag *diag)
{
    int rc = plx_bench_on_peer(host->bench, accept_all, host);
    if (rc == 0)
        return 0;
    return plx_diag_set(diag, rc, host->ops->subject, "the %s server did not accept: %s",
                        host->ops->subject, strerror(-rc));
}

void plx_bench_host_close(struct plx_bench_host *host)
{
    if (host->server != NULL)
        (void)plx_bench_on_peer(host->bench, close_server, host);
    host->server = NULL;
    if (host->config.runtime == NULL)
        return;
    (void)!plx_runtime_stop(host->config.runtime, END_NS, NULL);
    plx_runtime_destroy(host->config.runtime);
    host->config.runtime = NULL;
}

int plx_bench_host_serve(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    const struct plx_bench_host *host = ctx;
    struct plx_bench_end *server = host->server;
    while (!plx_bench_stopped(slice)) {
        host->ops->turn(server);
        if (PLX_UNLIKELY(server->error != 0))
            return plx_diag_set(diag, server->error, host->ops->subject, "the %s server met: %s",
                                host->ops->subject, strerror(-server->error));
    }
    return 0;
}
