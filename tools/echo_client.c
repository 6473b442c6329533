/* SPDX-License-Identifier: MIT */
/*
 * pollux echo client: sends messages to an echo server, one at a time on each connection, checks
 * every byte that returns, and prints how long the round trips took.
 *
 * The bytes are a seeded pattern. Each message is a window into it, and the windows of neighbouring
 * messages and connections begin elsewhere, so that a byte of another message is seen as wrong.
 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "net/tcp.h"
#include "runtime/stats/histogram.h"
#include "tools/commands.h"
#include "tools/echo.h"

#define SIZE_MAX_BYTES  (UINT64_C(16) << 20)
#define CONNECTIONS_MAX 10000
#define WINDOWS         65536 /* places in the pattern where a message may begin */
#define WINDOW_STEP     4099  /* from one message to the next; odd, so that all places occur */
#define CONNECTION_STEP 31337
#define LOOK_NS         UINT64_C(100000000) /* how often progress is looked at */
#define STOP_WITHIN_NS  UINT64_C(10000000000)
#define TIMEOUT_NS      UINT64_C(10000000000)
#define LATENCY_POINTS  5

static const char name[] = "pollux echo client";

static const struct {
    const char *heading;
    const char *key;
    double percentile;
} points[LATENCY_POINTS] = {{"p50", "p50", 50},
                            {"p90", "p90", 90},
                            {"p99", "p99", 99},
                            {"p99.9", "p999", 99.9},
                            {"p99.99", "p9999", 99.99}};

struct client;

/* One connection, and the message that is on its way. */
struct connection {
    struct client *client;
    struct plx_tcp *stream; /* NULL: not there any more */
    uint32_t index;
    uint64_t todo; /* messages, the one on its way included */
    uint64_t done;
    size_t sent; /* bytes of the message */
    size_t got;
    uint64_t began_ns;
};

struct client {
    /* From the command line. */
    const char *addr_text;
    uint64_t size;
    uint64_t count;
    uint64_t connection_count;
    int receive;
    int send;
    uint64_t timeout_ns;
    uint64_t seed;
    bool json;
    /* Made before the reactor starts, then read by it. */
    struct plx_addr addr;
    unsigned char *pattern; /* WINDOWS + size bytes */
    struct connection *connections;
    /* The reactor's; read by others when it has ended. */
    struct plx_runtime *runtime;
    struct plx_histogram *round_trips;
    uint64_t open; /* connections that had no on_close yet */
    uint64_t first_ns;
    uint64_t last_ns;
    uint64_t mismatches; /* bytes */
    bool failed;
    char failure[256]; /* the first reason */
    /* Written by the reactor, looked at by the main thread. */
    PLX_ATOMIC(uint64_t) done;
};

/* --- on the reactor -------------------------------------------------------------------------- */

static void fail(struct client *client, const char *format, ...) PLX_PRINTF(2, 3);

/* Remembers the first reason, and ends the run. */
static void fail(struct client *client, const char *format, ...)
{
    if (!client->failed) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(client->failure, sizeof(client->failure), format, arguments);
        va_end(arguments);
    }
    client->failed = true;
    plx_runtime_request_stop(client->runtime);
}

/* The bytes of the message that is on its way. */
static const unsigned char *message(const struct connection *connection)
{
    uint64_t place = connection->done * WINDOW_STEP + connection->index * CONNECTION_STEP;
    return connection->client->pattern + place % WINDOWS;
}

/* Writes as much of the message as is taken; on_writable continues. */
static void send_on(struct connection *connection, struct plx_tcp *stream)
{
    struct client *client = connection->client;
    int64_t taken =
        plx_tcp_write(stream, message(connection) + connection->sent,
                      client->size - connection->sent, plx_echo_write_flags(client->send));
    if (taken > 0)
        connection->sent += (size_t)taken;
    /* A negative result means that the stream ends; on_close says why. */
}

static void send_next(struct connection *connection, struct plx_tcp *stream)
{
    connection->sent = 0;
    connection->got = 0;
    connection->began_ns = plx_reactor_now_ns(plx_tcp_reactor(stream));
    send_on(connection, stream);
}

static void on_connect(struct plx_tcp *stream, void *ctx)
{
    struct connection *connection = ctx;
    struct client *client = connection->client;
    if (connection->todo == 0) {
        plx_tcp_close(stream);
        return;
    }
    send_next(connection, stream);
    if (client->first_ns == 0)
        client->first_ns = connection->began_ns;
}

static void on_writable(struct plx_tcp *stream, void *ctx)
{
    struct connection *connection = ctx;
    if (connection->sent < connection->client->size)
        send_on(connection, stream);
}

static void finish_message(struct connection *connection, struct plx_tcp *stream)
{
    struct client *client = connection->client;
    uint64_t now_ns = plx_reactor_now_ns(plx_tcp_reactor(stream));
    plx_histogram_record(client->round_trips, now_ns - connection->began_ns);
    client->last_ns = now_ns;
    connection->done++;
    /* Relaxed: a number to show; what goes with it is read after the reactor has ended. */
    plx_store_relaxed(&client->done, plx_load_relaxed(&client->done) + 1);
    if (connection->done < connection->todo)
        send_next(connection, stream);
    else
        plx_tcp_close(stream);
}

/* Compares what came with what was sent. False, and the run ends, where they differ. */
static bool check(struct connection *connection, const unsigned char *data, size_t len)
{
    struct client *client = connection->client;
    const unsigned char *expected = message(connection) + connection->got;
    if (connection->got + len > connection->sent) {
        client->mismatches += connection->got + len - connection->sent;
        fail(client, "connection %u: message %" PRIu64 ": more bytes came back than were sent",
             connection->index, connection->done);
        return false;
    }
    if (memcmp(data, expected, len) == 0)
        return true;
    for (size_t i = 0; i < len; i++) {
        if (data[i] == expected[i])
            continue;
        client->mismatches++;
        fail(client,
             "connection %u: message %" PRIu64 ": byte %zu was sent as 0x%02x and came "
             "back as 0x%02x",
             connection->index, connection->done, connection->got + i, expected[i], data[i]);
    }
    return false;
}

static void on_data(struct plx_tcp *stream, const void *data, size_t len, void *ctx)
{
    struct connection *connection = ctx;
    if (connection->client->failed || !check(connection, data, len))
        return;
    connection->got += len;
    if (connection->got == connection->client->size)
        finish_message(connection, stream);
}

static void on_close(struct plx_tcp *stream, int reason, void *ctx)
{
    struct connection *connection = ctx;
    struct client *client = connection->client;
    (void)stream;
    connection->stream = NULL;
    client->open--;
    const char *why = reason == 0 ? "end of stream" : strerror(-reason);
    if (plx_runtime_is_stopping(client->runtime))
        return;
    if (connection->done < connection->todo && connection->began_ns == 0) {
        fail(client, "cannot connect to %s: %s", client->addr_text, why);
    } else if (connection->done < connection->todo) {
        fail(client, "connection %u: %s went away after %" PRIu64 " of %" PRIu64 " messages: %s",
             connection->index, client->addr_text, connection->done, connection->todo, why);
    } else if (client->open == 0) {
        plx_runtime_request_stop(client->runtime);
    }
}

static const struct plx_tcp_handler handler = {
    .on_connect = on_connect,
    .on_data = on_data,
    .on_writable = on_writable,
    .on_close = on_close,
};

static int on_start(struct plx_reactor *reactor, void *ctx)
{
    struct client *client = ctx;
    struct plx_tcp_opts opts;
    if (plx_reactor_index(reactor) != 0)
        return 0;
    plx_tcp_opts_init(&opts);
    opts.receive = (enum plx_recv_mode)client->receive;
    for (uint32_t i = 0; i < client->connection_count; i++) {
        struct plx_diag diag;
        struct connection *connection = &client->connections[i];
        int result = plx_tcp_connect(reactor, &client->addr, &opts, &connection->stream, &diag,
                                     &handler, connection);
        if (result < 0) {
            snprintf(client->failure, sizeof(client->failure), "connection %u: %.200s", i,
                     diag.text);
            client->failed = true;
            return result;
        }
        client->open++;
    }
    return 0;
}

/* --- results --------------------------------------------------------------------------------- */

static double elapsed_s(const struct client *client)
{
    return client->last_ns > client->first_ns ? (double)(client->last_ns - client->first_ns) / 1e9
                                              : 0;
}

static double rate_per_s(const struct client *client)
{
    double seconds = elapsed_s(client);
    return seconds > 0 ? (double)plx_histogram_count(client->round_trips) / seconds : 0;
}

/* A bucket may reach beyond what was recorded; nothing took longer than the longest. */
static uint64_t percentile_ns(const struct client *client, double percentile)
{
    uint64_t value = plx_histogram_percentile(client->round_trips, percentile);
    uint64_t max = plx_histogram_max(client->round_trips);
    return value < max ? value : max;
}

static void print_text(const struct client *client, const char *mode)
{
    char text[PLX_CLI_NUMBER_BYTES];
    const struct plx_histogram *round_trips = client->round_trips;
    uint64_t done = plx_histogram_count(round_trips);
    printf("%s: %" PRIu64 " of %" PRIu64 " messages of %" PRIu64 " bytes on %" PRIu64
           " connection%s (%s, receive %s, send %s)\n",
           client->addr_text, done, client->count, client->size, client->connection_count,
           client->connection_count == 1 ? "" : "s", mode, plx_echo_receive_word(client->receive),
           plx_echo_send_word(client->send));
    if (done == 0)
        return;

    struct plx_cli_table table;
    plx_cli_table_init(&table, "lrrrrrrr", stdout);
    plx_cli_table_add(&table, "round trip");
    plx_cli_table_add(&table, "min");
    for (size_t i = 0; i < LATENCY_POINTS; i++)
        plx_cli_table_add(&table, "%s", points[i].heading);
    plx_cli_table_add(&table, "max");
    plx_cli_table_add(&table, "%s", "");
    plx_cli_table_add(&table, "%s", plx_cli_format_ns(plx_histogram_min(round_trips), text));
    for (size_t i = 0; i < LATENCY_POINTS; i++)
        plx_cli_table_add(&table, "%s",
                          plx_cli_format_ns(percentile_ns(client, points[i].percentile), text));
    plx_cli_table_add(&table, "%s", plx_cli_format_ns(plx_histogram_max(round_trips), text));
    if (plx_cli_table_print(&table, stdout, 2) < 0)
        plx_cli_error(name, "out of memory");
    plx_cli_table_fini(&table);
    printf("%s messages a second for %.2f s", plx_cli_format_count(rate_per_s(client), text),
           elapsed_s(client));
    if (client->failed || done < client->count)
        printf("\n");
    else
        printf("; every byte came back as it was sent\n");
}

static int print_json(const struct client *client, const char *mode)
{
    const struct plx_histogram *round_trips = client->round_trips;
    json_t *latency = json_object();
    int failed = 0;
    for (size_t i = 0; i < LATENCY_POINTS; i++)
        failed |= json_object_set_new(
            latency, points[i].key,
            json_integer((json_int_t)percentile_ns(client, points[i].percentile)));
    failed |= json_object_set_new(latency, "min",
                                  json_integer((json_int_t)plx_histogram_min(round_trips)));
    failed |= json_object_set_new(latency, "max",
                                  json_integer((json_int_t)plx_histogram_max(round_trips)));
    failed |= json_object_set_new(latency, "mean", json_real(plx_histogram_mean(round_trips)));

    uint64_t done = plx_histogram_count(round_trips);
    json_t *all = json_pack(
        "{s:i,s:s,s:s,s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:f,s:f,s:s?,s:o}", "schema", 1, "addr",
        client->addr_text, "mode", mode, "receive", plx_echo_receive_word(client->receive), "send",
        plx_echo_send_word(client->send), "size", (json_int_t)client->size, "connections",
        (json_int_t)client->connection_count, "count", (json_int_t)client->count, "completed",
        (json_int_t)done, "mismatches", (json_int_t)client->mismatches, "seconds",
        elapsed_s(client), "rate_per_s", rate_per_s(client), "error",
        client->failed ? client->failure : NULL, "round_trip_ns", latency);
    if (all == NULL || failed != 0 || json_dumpf(all, stdout, JSON_INDENT(2)) != 0)
        failed = -ENOMEM;
    json_decref(all);
    putchar('\n');
    return failed;
}

/* --- running --------------------------------------------------------------------------------- */

/* Sleeps until the run has ended; ends it when nothing comes back for too long. */
static void watch(struct client *client)
{
    uint64_t seen = 0;
    uint64_t quiet_ns = 0;
    while (plx_runtime_wait(client->runtime, LOOK_NS) == -ETIMEDOUT) {
        uint64_t done = plx_load_relaxed(&client->done);
        quiet_ns = done == seen ? quiet_ns + LOOK_NS : 0;
        seen = done;
        plx_cli_progress("%" PRIu64 " of %" PRIu64 " messages", done, client->count);
        if (quiet_ns >= client->timeout_ns)
            break;
    }
    plx_cli_progress_clear();
}

/* What the run came to, after the reactor has ended, if nothing failed on it. */
static void judge(struct client *client)
{
    uint64_t done = plx_histogram_count(client->round_trips);
    if (client->failed || done == client->count)
        return;
    client->failed = true;
    snprintf(client->failure, sizeof(client->failure),
             plx_echo_was_interrupted() ? "interrupted after %" PRIu64 " of %" PRIu64 " messages"
                                        : "nothing came back for too long, after %" PRIu64
                                          " of %" PRIu64 " messages",
             done, client->count);
}

static int run(struct client *client, const struct plx_settings *settings)
{
    struct plx_runtime_opts opts;
    struct plx_diag diag;
    char mode[64] = "";
    plx_runtime_opts_init(&opts);
    opts.on_start = on_start;
    opts.log = plx_echo_log;
    opts.ctx = client;
    int result = plx_runtime_create(settings, &opts, &client->runtime, &diag);
    if (result < 0) {
        plx_cli_diag(name, &diag);
        return plx_cli_exit_of(result);
    }
    plx_echo_stop_on_signals(client->runtime);
    int status = PLX_EXIT_OK;
    result = plx_runtime_start(client->runtime, &diag);
    if (result < 0) {
        plx_cli_error(name, "%s", client->failed ? client->failure : diag.text);
        status = PLX_EXIT_FAILED;
        goto out;
    }
    plx_echo_modes(client->runtime, mode, sizeof(mode));
    watch(client);
    result = plx_runtime_stop(client->runtime, STOP_WITHIN_NS, &diag);
    if (result < 0) {
        plx_cli_diag(name, &diag);
        status = PLX_EXIT_FAILED;
    }

    judge(client);
    if (client->json && print_json(client, mode) < 0)
        status = PLX_EXIT_FAILED;
    else if (!client->json)
        print_text(client, mode);
    if (client->failed) {
        plx_cli_error(name, "%s", client->failure);
        status = PLX_EXIT_FAILED;
    }
out:
    plx_echo_stop_on_signals(NULL);
    plx_runtime_destroy(client->runtime);
    return status;
}

/* --- preparing ------------------------------------------------------------------------------- */

/* Steele, Lea and Flood's SplitMix64: the numbers of a seed. */
static uint64_t next_number(uint64_t *state)
{
    uint64_t number = *state += UINT64_C(0x9e3779b97f4a7c15);
    number = (number ^ (number >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    number = (number ^ (number >> 27)) * UINT64_C(0x94d049bb133111eb);
    return number ^ (number >> 31);
}

/* Memory, the pattern, each connection's share. Returns 0 or -ENOMEM; client_fini undoes both. */
static int client_init(struct client *client)
{
    size_t pattern_bytes = WINDOWS + client->size;
    uint64_t seed = client->seed;
    size_t bytes = plx_round_up(plx_histogram_bytes(), PLX_CACHE_LINE);
    void *memory = aligned_alloc(PLX_CACHE_LINE, bytes);
    client->pattern = malloc(pattern_bytes);
    client->connections = calloc(client->connection_count, sizeof(*client->connections));
    if (plx_histogram_init(memory, &client->round_trips) < 0 || client->pattern == NULL ||
        client->connections == NULL)
        return -ENOMEM;

    for (size_t i = 0; i < pattern_bytes; i++)
        client->pattern[i] = (unsigned char)next_number(&seed);
    for (uint32_t i = 0; i < client->connection_count; i++) {
        client->connections[i].client = client;
        client->connections[i].index = i;
        client->connections[i].todo = client->count / client->connection_count +
                                      (i < client->count % client->connection_count);
    }
    return 0;
}

static void client_fini(struct client *client)
{
    free(client->connections);
    free(client->pattern);
    free(client->round_trips);
}

/*
 * One reactor, unless the environment says otherwise, and on the last CPU that may be used: a
 * server on the same host takes the first ones. Returns -1 to go on, or the exit status.
 */
static int choose_place(struct plx_settings *settings)
{
    struct plx_diag diag;
    struct plx_machine *machine;
    char cpu[16] = "";
    int result = plx_machine_create(&machine, &diag);
    if (result < 0) {
        plx_cli_diag(name, &diag);
        return plx_cli_exit_of(result);
    }
    for (uint32_t i = 0; i < machine->cpu_count; i++) {
        if (machine->cpus[i].allowed && machine->cpus[i].rank == 0)
            snprintf(cpu, sizeof(cpu), "%u", machine->cpus[i].cpu);
    }
    plx_machine_destroy(machine);

    if (plx_cpu_set_is_empty(&settings->cpus) && plx_cpu_set_is_empty(&settings->nodes))
        result = plx_settings_set(settings, "cpus", cpu, &diag);
    if (result == 0)
        result = plx_settings_set(settings, "reactors", "1", &diag);
    if (result < 0) {
        plx_cli_diag(name, &diag);
        return PLX_EXIT_FAILED;
    }
    return -1;
}

static int connect_and_run(struct client *client)
{
    struct plx_settings settings;
    struct plx_diag diag;
    if (client->addr_text == NULL)
        return plx_cli_usage_error(name, "--addr is needed: HOST:PORT");
    if (plx_echo_parse_addr(&client->addr, client->addr_text, -1, &diag) < 0) {
        plx_cli_diag(name, &diag);
        return PLX_EXIT_USAGE;
    }
    if (plx_addr_port(&client->addr) == 0)
        return plx_cli_usage_error(name, "--addr: '%.60s': port 0 cannot be connected to",
                                   client->addr_text);
    int status = plx_cli_settings(name, &settings);
    if (status < 0)
        status = choose_place(&settings);
    if (status >= 0)
        return status;

    status = PLX_EXIT_FAILED;
    if (client_init(client) < 0)
        plx_cli_error(name, "out of memory");
    else
        status = run(client, &settings);
    client_fini(client);
    return status;
}

/* What the command line fills. */
static struct client main_client = {
    .size = 64, .count = 100000, .connection_count = 1, .timeout_ns = TIMEOUT_NS, .seed = 1};

static const struct plx_cli_option options[] = {
    {.name = "addr",
     .letter = 'a',
     .value = "HOST:PORT",
     .help = "the server: 127.0.0.1:8080, [::1]:8080, localhost:8080",
     .kind = PLX_CLI_TEXT,
     .into = &main_client.addr_text},
    {.name = "size",
     .value = "BYTES",
     .help = "of a message; 64 unless told",
     .kind = PLX_CLI_SIZE,
     .into = &main_client.size,
     .min = 1,
     .max = SIZE_MAX_BYTES},
    {.name = "count",
     .letter = 'n',
     .value = "N",
     .help = "messages, over all connections; 100000 unless told",
     .kind = PLX_CLI_COUNT,
     .into = &main_client.count,
     .min = 1,
     .max = UINT64_C(1000000000000)},
    {.name = "connections",
     .letter = 'c',
     .value = "N",
     .help = "connections, each with one message on its way; 1 unless told",
     .kind = PLX_CLI_COUNT,
     .into = &main_client.connection_count,
     .min = 1,
     .max = CONNECTIONS_MAX},
    {.name = "receive",
     .value = PLX_ECHO_RECEIVE,
     .help = "how streams are read: by the ring (the default), or by a look in every turn, at "
             "most POLLUX_HOT_MAX of them",
     .kind = PLX_CLI_CHOICE,
     .into = &main_client.receive,
     .choices = PLX_ECHO_RECEIVE},
    {.name = "send",
     .value = PLX_ECHO_SEND,
     .help = "how they are written: at once on the reactor's core (the default), or by the ring",
     .kind = PLX_CLI_CHOICE,
     .into = &main_client.send,
     .choices = PLX_ECHO_SEND},
    {.name = "timeout",
     .value = "TIME",
     .help = "give up when nothing comes back for so long; 10s unless told",
     .kind = PLX_CLI_DURATION,
     .into = &main_client.timeout_ns,
     .min = LOOK_NS,
     .max = UINT64_C(3600000000000)},
    {.name = "seed",
     .value = "N",
     .help = "of the bytes sent; 1 unless told",
     .kind = PLX_CLI_COUNT,
     .into = &main_client.seed,
     .max = UINT64_MAX},
    {.name = "json", .help = "print JSON", .kind = PLX_CLI_FLAG, .into = &main_client.json},
    {0},
};

static const struct plx_cli_command command = {
    .name = name,
    .arguments = "",
    .summary = "Sends messages to an echo server, one at a time on each connection, checks "
               "every byte\nthat returns, and prints percentiles of the round trips.",
    .options = options,
    .details = "Runs one reactor, on the last CPU that it may use unless POLLUX_CPUS says "
               "otherwise; a\nserver that spins on the same CPU spoils the figures.\n"
               "Exit: 0 all came back, 1 something was wrong, missing or the server went away, "
               "2 a\nsetting or the command line is wrong.",
    .examples = "pollux echo client --addr 127.0.0.1:8080\n"
                "pollux echo client --addr 127.0.0.1:8080 --receive spin --count 1000000\n"
                "pollux echo client --addr '[::1]:8080' --size 16K --connections 50 --json",
};

int plx_cmd_echo_client(int argc, char **argv)
{
    int arguments;
    int status = plx_cli_parse(&command, argc, argv, &arguments);
    return status >= 0 ? status : connect_and_run(&main_client);
}
