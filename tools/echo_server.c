/* SPDX-License-Identifier: MIT */
/*
 * pollux echo server: returns every byte to its sender, on all reactors, until it is told to end.
 *
 * Back-pressure: what a stream's send queue does not take is kept, and the stream is not read until
 * the queue has taken that too. So nothing is lost, and a peer that never reads costs its queue and
 * one delivery, until POLLUX's send timeout ends it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "net/tcp.h"
#include "tools/commands.h"
#include "tools/echo.h"

/* An address of this family each: localhost is two. */
#define ADDRESSES_MAX  2
#define STOP_WITHIN_NS UINT64_C(10000000000)

static const char name[] = "pollux echo server";

struct server;

/* One reactor's part. Its thread writes; read when it has ended. */
struct part {
    struct server *server;
    int result; /* of listening, with the reason */
    struct plx_diag diag;
    uint64_t out_of_memory; /* connections that were given up */
    struct plx_tcp_stats stats;
} PLX_ALIGNED(PLX_CACHE_LINE);

struct server {
    uint64_t port;
    const char *addr;
    int receive;
    int send;
    uint64_t reactors; /* 0: as the settings say */
    bool quiet;
    /* Read by the reactors' threads as they start. */
    struct plx_tcp_opts opts;
    struct part *parts;
    uint32_t part_count;
    int *fds[ADDRESSES_MAX]; /* a socket for each reactor; -1 once it was handed over */
    struct plx_addr bound[ADDRESSES_MAX];
    uint32_t address_count;
};

/* --- on the reactors ------------------------------------------------------------------------- */

/* A connection: what its send queue did not take. */
struct connection {
    struct part *part;
    char *rest;
    size_t rest_bytes;
    size_t rest_done;
};

static void on_accept(struct plx_tcp *stream, void *ctx)
{
    struct part *part = ctx;
    struct connection *connection = calloc(1, sizeof(*connection));
    plx_tcp_set_ctx(stream, connection);
    if (connection == NULL) {
        part->out_of_memory++;
        plx_tcp_abort(stream);
        return;
    }
    connection->part = part;
}

/* Keeps what the queue did not take, and reads no more until it has. */
static void keep_rest(struct connection *connection, struct plx_tcp *stream, const char *data,
                      size_t len)
{
    connection->rest = malloc(len);
    if (connection->rest == NULL) {
        connection->part->out_of_memory++;
        plx_tcp_abort(stream);
        return;
    }
    memcpy(connection->rest, data, len);
    connection->rest_bytes = len;
    connection->rest_done = 0;
    plx_tcp_pause(stream);
}

static void on_data(struct plx_tcp *stream, const void *data, size_t len, void *ctx)
{
    struct connection *connection = ctx;
    if (connection == NULL)
        return;                           /* being aborted */
    PLX_ASSERT(connection->rest == NULL); /* paused until it is gone */
    uint32_t flags = plx_echo_write_flags(connection->part->server->send);
    int64_t taken = plx_tcp_write(stream, data, len, flags);
    /* A negative result means that the stream ends; on_close follows. */
    if (taken >= 0 && (size_t)taken < len)
        keep_rest(connection, stream, (const char *)data + taken, len - (size_t)taken);
}

static void on_writable(struct plx_tcp *stream, void *ctx)
{
    struct connection *connection = ctx;
    if (connection == NULL || connection->rest == NULL)
        return;
    int64_t taken = plx_tcp_write(stream, connection->rest + connection->rest_done,
                                  connection->rest_bytes - connection->rest_done, PLX_QUEUED);
    if (taken < 0)
        return;
    connection->rest_done += (size_t)taken;
    if (connection->rest_done < connection->rest_bytes)
        return;
    free(connection->rest);
    connection->rest = NULL;
    plx_tcp_resume(stream);
}

static void on_close(struct plx_tcp *stream, int reason, void *ctx)
{
    struct connection *connection = ctx;
    (void)stream;
    (void)reason;
    if (connection != NULL)
        free(connection->rest);
    free(connection);
}

static const struct plx_tcp_handler handler = {
    .on_accept = on_accept,
    .on_data = on_data,
    .on_writable = on_writable,
    .on_close = on_close,
};

static int on_start(struct plx_reactor *reactor, void *ctx)
{
    struct server *server = ctx;
    uint32_t index = plx_reactor_index(reactor);
    struct part *part = &server->parts[index];
    for (uint32_t i = 0; i < server->address_count; i++) {
        struct plx_tcp_listener *listener;
        part->result = plx_tcp_listen_fd(reactor, server->fds[i][index], &server->opts, &listener,
                                         &part->diag, &handler, part);
        if (part->result < 0)
            return part->result;
        server->fds[i][index] = -1;
    }
    return 0;
}

static void on_stop(struct plx_reactor *reactor, void *ctx)
{
    struct server *server = ctx;
    plx_tcp_read_stats(reactor, &server->parts[plx_reactor_index(reactor)].stats);
}

/* --- sockets --------------------------------------------------------------------------------- */

static int bind_one(struct server *server, struct plx_runtime *runtime, const struct plx_addr *addr,
                    struct plx_diag *diag)
{
    uint32_t at = server->address_count;
    int *fds = calloc(server->part_count, sizeof(*fds));
    if (fds == NULL)
        return plx_diag_set(diag, -ENOMEM, "sockets", "out of memory");
    int result = plx_tcp_bind(runtime, addr, server->part_count, &server->opts, fds,
                              &server->bound[at], diag);
    if (result < 0) {
        free(fds);
        return result;
    }
    server->fds[at] = fds;
    server->address_count++;
    return 0;
}

static void close_sockets(struct server *server)
{
    for (uint32_t i = 0; i < server->address_count; i++) {
        for (uint32_t j = 0; j < server->part_count; j++) {
            if (server->fds[i][j] >= 0)
                close(server->fds[i][j]);
        }
        free(server->fds[i]);
    }
    server->address_count = 0;
}

/*
 * Both of localhost's addresses, one port: clients try one or the other first. A host without IPv6
 * has only one.
 */
static int bind_localhost(struct server *server, struct plx_runtime *runtime, uint16_t port,
                          struct plx_diag *diag)
{
    struct plx_addr addr;
    int result = plx_addr_parse(&addr, "127.0.0.1:0", diag);
    if (result < 0)
        return result;
    plx_addr_set_port(&addr, port);
    result = bind_one(server, runtime, &addr, diag);
    if (result < 0)
        return result;

    port = plx_addr_port(&server->bound[0]);
    result = plx_addr_parse(&addr, "[::1]:0", diag);
    if (result < 0)
        return result;
    plx_addr_set_port(&addr, port);
    result = bind_one(server, runtime, &addr, diag);
    return result == -EADDRNOTAVAIL || result == -EAFNOSUPPORT ? 0 : result;
}

/* Returns -1 to go on, or the exit status after an error was told. */
static int bind_all(struct server *server, struct plx_runtime *runtime, bool port_given)
{
    struct plx_diag diag;
    struct plx_addr addr;
    int result;
    if (strcmp(server->addr, "localhost") == 0) {
        result = bind_localhost(server, runtime, (uint16_t)server->port, &diag);
    } else {
        result =
            plx_echo_parse_addr(&addr, server->addr, port_given ? (int)server->port : -1, &diag);
        if (result < 0 && !port_given)
            result = plx_echo_parse_addr(&addr, server->addr, (int)server->port, &diag);
        if (result < 0) {
            plx_cli_diag(name, &diag);
            return PLX_EXIT_USAGE;
        }
        result = bind_one(server, runtime, &addr, &diag);
    }
    if (result < 0) {
        plx_cli_diag(name, &diag);
        return PLX_EXIT_FAILED;
    }
    return -1;
}

/* --- telling --------------------------------------------------------------------------------- */

static void print_listening(const struct server *server, const struct plx_runtime *runtime)
{
    char text[PLX_ADDR_TEXT_BYTES];
    char modes[128];
    plx_echo_modes(runtime, modes, sizeof(modes));
    printf("listening on ");
    for (uint32_t i = 0; i < server->address_count; i++) {
        plx_addr_format(&server->bound[i], text, sizeof(text));
        printf("%s%s", i != 0 ? " and " : "", text);
    }
    printf(": %u reactor%s (%s), receive %s, send %s\n", server->part_count,
           server->part_count == 1 ? "" : "s", modes, plx_echo_receive_word(server->receive),
           plx_echo_send_word(server->send));
    fflush(stdout);
}

static void print_served(const struct server *server, uint64_t elapsed_ns)
{
    uint64_t accepted = 0;
    uint64_t bytes_in = 0;
    uint64_t bytes_out = 0;
    uint64_t errors = 0;
    uint64_t not_hot = 0;
    for (uint32_t i = 0; i < server->part_count; i++) {
        const struct plx_tcp_stats *stats = &server->parts[i].stats;
        accepted += stats->accepted;
        bytes_in += stats->bytes_in;
        bytes_out += stats->bytes_out;
        errors += stats->closed_reset + stats->closed_timeout + stats->closed_error +
                  stats->accept_errors + stats->refused + server->parts[i].out_of_memory;
        not_hot += stats->hot_refused;
    }
    printf("served %" PRIu64 " connection%s, %" PRIu64 " bytes in, %" PRIu64 " bytes out, %" PRIu64
           " error%s in %.1f s\n",
           accepted, accepted == 1 ? "" : "s", bytes_in, bytes_out, errors, errors == 1 ? "" : "s",
           (double)elapsed_ns / 1e9);
    if (not_hot != 0)
        printf("%" PRIu64 " of them were received by the ring: POLLUX_HOT_MAX was reached\n",
               not_hot);
}

/* --- the command ----------------------------------------------------------------------------- */

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void tell_start_failure(const struct server *server, const struct plx_diag *diag)
{
    for (uint32_t i = 0; i < server->part_count; i++) {
        if (server->parts[i].result < 0) {
            plx_cli_diag(name, &server->parts[i].diag);
            return;
        }
    }
    plx_cli_diag(name, diag);
}

/* Serves until a signal comes. Returns an exit status. */
static int serve(struct server *server, struct plx_runtime *runtime)
{
    struct plx_diag diag;
    plx_echo_stop_on_signals(runtime);
    uint64_t began_ns = now_ns();
    if (plx_runtime_start(runtime, &diag) < 0) {
        tell_start_failure(server, &diag);
        return PLX_EXIT_FAILED;
    }
    if (!server->quiet)
        print_listening(server, runtime);
    plx_runtime_wait(runtime, PLX_INFINITE);

    int result = plx_runtime_stop(runtime, STOP_WITHIN_NS, &diag);
    if (!server->quiet)
        print_served(server, now_ns() - began_ns);
    if (result < 0) {
        plx_cli_diag(name, &diag);
        return PLX_EXIT_FAILED;
    }
    return PLX_EXIT_OK;
}

static int run(struct server *server, const struct plx_settings *settings, bool port_given)
{
    struct plx_runtime *runtime = NULL;
    struct plx_runtime_opts opts;
    struct plx_diag diag;

    plx_runtime_opts_init(&opts);
    opts.on_start = on_start;
    opts.on_stop = on_stop;
    opts.log = plx_echo_log;
    opts.ctx = server;
    int result = plx_runtime_create(settings, &opts, &runtime, &diag);
    if (result < 0) {
        plx_cli_diag(name, &diag);
        return plx_cli_exit_of(result);
    }

    plx_tcp_opts_init(&server->opts);
    server->opts.receive = (enum plx_recv_mode)server->receive;
    server->part_count = plx_runtime_count(runtime);
    server->parts = aligned_alloc(PLX_CACHE_LINE, server->part_count * sizeof(*server->parts));
    int status = PLX_EXIT_FAILED;
    if (server->parts == NULL) {
        plx_cli_error(name, "out of memory");
        goto out;
    }
    memset(server->parts, 0, server->part_count * sizeof(*server->parts));
    for (uint32_t i = 0; i < server->part_count; i++)
        server->parts[i].server = server;
    status = bind_all(server, runtime, port_given);
    if (status < 0)
        status = serve(server, runtime);
    plx_echo_stop_on_signals(NULL);
out:
    plx_runtime_destroy(runtime);
    close_sockets(server);
    free(server->parts);
    return status;
}

#define PORT_NOT_GIVEN UINT64_MAX
#define PORT_DEFAULT   8080

/* What the command line fills. */
static struct server main_server = {.addr = "localhost", .port = PORT_NOT_GIVEN};

static const struct plx_cli_option options[] = {
    {.name = "port",
     .letter = 'p',
     .value = "N",
     .help = "TCP port, 8080 unless told; 0: the system chooses one, which is printed",
     .kind = PLX_CLI_COUNT,
     .into = &main_server.port,
     .max = 65535},
    {.name = "addr",
     .letter = 'a',
     .value = "A",
     .help = "address to listen on: localhost (the default: 127.0.0.1 and ::1), another one of "
             "this host, * (any IPv4) or :: (any)",
     .kind = PLX_CLI_TEXT,
     .into = &main_server.addr},
    {.name = "receive",
     .value = PLX_ECHO_RECEIVE,
     .help = "how streams are read: by the ring (the default), or by a look in every turn, at "
             "most POLLUX_HOT_MAX a reactor",
     .kind = PLX_CLI_CHOICE,
     .into = &main_server.receive,
     .choices = PLX_ECHO_RECEIVE},
    {.name = "send",
     .value = PLX_ECHO_SEND,
     .help = "how they are written: at once on the reactor's core (the default), or by the ring",
     .kind = PLX_CLI_CHOICE,
     .into = &main_server.send,
     .choices = PLX_ECHO_SEND},
    {.name = "reactors",
     .value = "N",
     .help = "how many reactors, rather than what POLLUX_REACTORS says",
     .kind = PLX_CLI_COUNT,
     .into = &main_server.reactors,
     .min = 1,
     .max = PLX_PLAN_REACTORS_MAX},
    {.name = "quiet",
     .letter = 'q',
     .help = "print neither where it listens nor what it served",
     .kind = PLX_CLI_FLAG,
     .into = &main_server.quiet},
    {0},
};

static const struct plx_cli_command command = {
    .name = name,
    .arguments = "",
    .summary = "Returns every byte to its sender, on pinned reactors, until SIGINT or SIGTERM.",
    .options = options,
    .details = "Reactors spin: each takes a whole core. Settings are those of `pollux env`.\n"
               "Exit: 0 ended by a signal, 1 it could not listen or run, 2 a setting or the "
               "command\nline is wrong.",
    .examples = "pollux echo server --port 8080\n"
                "pollux echo server --port 8080 --reactors 1 --receive spin\n"
                "pollux echo server --addr '*' --port 7 --send queued\n"
                "echo hello | nc -N localhost 8080",
};

int plx_cmd_echo_server(int argc, char **argv)
{
    int arguments;
    struct plx_settings settings;
    int status = plx_cli_parse(&command, argc, argv, &arguments);
    if (status >= 0)
        return status;
    bool port_given = main_server.port != PORT_NOT_GIVEN;
    if (!port_given)
        main_server.port = PORT_DEFAULT;
    if (main_server.reactors != 0) {
        /* The environment is the strongest source, so what the command line says becomes a part. */
        char text[24];
        snprintf(text, sizeof(text), "%" PRIu64, main_server.reactors);
        setenv("POLLUX_REACTORS", text, 1);
    }
    status = plx_cli_settings(name, &settings);
    return status >= 0 ? status : run(&main_server, &settings, port_given);
}
