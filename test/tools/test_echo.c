/* SPDX-License-Identifier: MIT */
/*
 * pollux echo, both ends as processes over loopback. Idle reactors yield here, as there may be
 * fewer CPUs than threads that spin.
 */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "test/tools/run_pollux.h"

#define LIGHT "POLLUX_IDLE=yield POLLUX_ARENA_SIZE=16M "

/* Too large for a stack, and one case runs at a time. */
static struct plx_run server;
static struct plx_run run;
static unsigned port;
static int sockets[8];
static size_t socket_count;

/* --- servers --------------------------------------------------------------------------------- */

/* Splits at blanks and starts it. */
static void begin(struct plx_run *child, const char *line, const char *input)
{
    static char text[1024];
    const char *words[40];
    size_t count = 0;
    char *rest;
    snprintf(text, sizeof(text), "%s", line);
    for (char *word = strtok_r(text, " ", &rest); word != NULL && count < 39;
         word = strtok_r(NULL, " ", &rest))
        words[count++] = word;
    words[count] = NULL;
    plx_run_begin(child, words, input);
}

/* Starts a server on a port that the system chooses, and waits until it listens. */
static void begin_server(const char *settings, const char *options)
{
    char line[512];
    snprintf(line, sizeof(line), LIGHT "%s pollux echo server --port 0 %s", settings, options);
    begin(&server, line, NULL);
    if (!plx_run_await(&server, "\n")) {
        plx_run_end(&server);
        fail_msg("status %d: %s", server.status, server.err);
    }
    assert_int_equal(strncmp(server.out, "listening on ", 13), 0);
    const char *address = server.out + 13;
    const char *colon = strchr(address + strcspn(address, "]:"), ':');
    if (address[0] == '[')
        colon = strchr(strchr(address, ']'), ':');
    assert_non_null(colon);
    port = (unsigned)strtoul(colon + 1, NULL, 10);
    assert_true(port > 0);
}

static void end_server(int number)
{
    plx_run_signal(&server, number);
    plx_run_end(&server);
}

/* Runs a client against the server, with the settings and options given. */
static void run_client(const char *settings, const char *options)
{
    char line[512];
    snprintf(line, sizeof(line),
             LIGHT "POLLUX_SQPOLL=off %s pollux echo client --addr 127.0.0.1:%u %s", settings, port,
             options);
    plx_run_line(&run, line);
}

/* --- sockets of the test's own --------------------------------------------------------------- */

static int keep_socket(int fd)
{
    assert_true(fd >= 0);
    assert_true(socket_count < sizeof(sockets) / sizeof(sockets[0]));
    sockets[socket_count++] = fd;
    return fd;
}

static struct sockaddr_in loopback(unsigned number)
{
    struct sockaddr_in addr = {.sin_family = AF_INET,
                               .sin_port = htons((uint16_t)number),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    return addr;
}

/* A socket bound to a port of its own, kept in `port`. */
static int open_bound(void)
{
    struct sockaddr_in addr = loopback(0);
    socklen_t bytes = sizeof(addr);
    int fd = keep_socket(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &bytes), 0);
    port = ntohs(addr.sin_port);
    return fd;
}

static int open_listener(void)
{
    int fd = open_bound();
    assert_int_equal(listen(fd, 8), 0);
    return fd;
}

static int connect_to_server(void)
{
    struct sockaddr_in addr = loopback(port);
    struct timeval limit = {.tv_sec = PLX_RUN_SECONDS};
    int fd = keep_socket(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    return fd;
}

static void read_whole(int fd, void *data, size_t len)
{
    size_t got = 0;
    while (got < len) {
        ssize_t count = recv(fd, (char *)data + got, len - got, 0);
        if (count <= 0)
            fail_msg("after %zu of %zu bytes: %s", got, len, count == 0 ? "end" : strerror(errno));
        got += (size_t)count;
    }
}

static int end_all(void **state)
{
    (void)state;
    plx_run_kill(&run);
    plx_run_kill(&server);
    while (socket_count > 0)
        close(sockets[--socket_count]);
    return 0;
}

/* --- both ends ------------------------------------------------------------------------------- */

static void expect_all_came_back(const char *mode)
{
    plx_run_expect(&run, 0, "every byte came back as it was sent", NULL);
    plx_run_expect(&run, 0, mode, NULL);
    plx_run_expect(&run, 0, "p99.99", NULL);
}

static void echo_by_epoll_returns_every_byte(void **state)
{
    (void)state;
    begin_server("POLLUX_BACKEND=epoll", "--reactors 1");
    assert_non_null(strstr(server.out, "1 reactor (epoll), receive ring, send inline"));
    run_client("POLLUX_BACKEND=epoll", "--count 300");
    expect_all_came_back("(epoll, receive ring, send inline)");
    run_client("POLLUX_BACKEND=epoll", "--count 300 --receive spin --send queued");
    expect_all_came_back("(epoll, receive spin, send queued)");
    end_server(SIGTERM);
    plx_run_expect(&server, 0, "served 2 connections, 38400 bytes in, 38400 bytes out, 0 errors",
                   NULL);
}

/* Whether io_uring is there, which a sandbox may refuse. */
static bool has_uring(void)
{
    plx_run_line(&run, LIGHT "POLLUX_REACTORS=1 POLLUX_BACKEND=uring pollux topo");
    if (run.status == 0)
        return true;
    print_message("io_uring is refused here: %s", run.err);
    return false;
}

static void echo_by_uring_returns_every_byte_in_every_mode(void **state)
{
    (void)state;
    static const char *const modes[] = {
        "--receive ring --send inline", "--receive ring --send queued",
        "--receive spin --send inline", "--receive spin --send queued"};
    if (!has_uring())
        skip();
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        char options[128];
        snprintf(options, sizeof(options), "--reactors 1 %s", modes[i]);
        begin_server("POLLUX_BACKEND=uring POLLUX_SQPOLL=off", options);
        assert_non_null(strstr(server.out, "1 reactor (uring "));
        snprintf(options, sizeof(options), "--count 300 %s", modes[i]);
        run_client("POLLUX_BACKEND=uring", options);
        expect_all_came_back("(uring ");
        end_server(SIGTERM);
        plx_run_expect(&server, 0, "served 1 connection, 19200 bytes in, 19200 bytes out", NULL);
    }
}

static void echo_by_sqpoll_returns_every_byte(void **state)
{
    (void)state;
    if (!has_uring())
        skip();
    plx_run_line(&run, LIGHT "POLLUX_REACTORS=1 POLLUX_SQPOLL=on pollux topo");
    if (run.status != 0 || strstr(run.out, "uring sqpoll") == NULL) {
        print_message("no SQPOLL here: %s", run.status != 0 ? run.err : "see pollux topo\n");
        skip();
    }
    begin_server("POLLUX_SQPOLL=on POLLUX_SQPOLL_IDLE=1ms", "--reactors 1 --send queued");
    assert_non_null(strstr(server.out, "(uring sqpoll)"));
    run_client("", "--count 50 --connections 5");
    expect_all_came_back("on 5 connections");
    end_server(SIGTERM);
    plx_run_expect(&server, 0, "served 5 connections, 3200 bytes in, 3200 bytes out", NULL);
}

static void echo_on_two_reactors_serves_all_connections(void **state)
{
    (void)state;
    if (sysconf(_SC_NPROCESSORS_ONLN) < 2) {
        print_message("there is one CPU\n");
        skip();
    }
    begin_server("POLLUX_SQPOLL=off", "--reactors 2");
    assert_non_null(strstr(server.out, "2 reactors"));
    run_client("", "--count 400 --connections 20 --size 1K");
    expect_all_came_back("400 of 400 messages of 1024 bytes");
    end_server(SIGTERM);
    plx_run_expect(&server, 0, "served 20 connections, 409600 bytes in, 409600 bytes out", NULL);
}

static void echo_of_large_messages_returns_every_byte(void **state)
{
    (void)state;
    begin_server("", "--reactors 1");
    run_client("", "--count 6 --connections 2 --size 4M");
    expect_all_came_back("6 of 6 messages of 4194304 bytes");
    run_client("POLLUX_BACKEND=epoll", "--count 3 --size 1 --connections 9");
    expect_all_came_back("3 of 3 messages of 1 bytes on 9 connections");
    end_server(SIGTERM);
    plx_run_expect(&server, 0, "0 errors", NULL);
}

static void client_json_holds_percentiles_and_no_error(void **state)
{
    (void)state;
    begin_server("", "--reactors 1");
    run_client("", "--count 100 --json --seed 7");
    plx_run_expect(&run, 0, NULL, NULL);
    json_t *all = json_loads(run.out, 0, NULL);
    assert_non_null(all);
    assert_int_equal(json_integer_value(json_object_get(all, "completed")), 100);
    assert_int_equal(json_integer_value(json_object_get(all, "mismatches")), 0);
    assert_true(json_is_null(json_object_get(all, "error")));
    const json_t *times = json_object_get(all, "round_trip_ns");
    json_int_t p50 = json_integer_value(json_object_get(times, "p50"));
    assert_true(p50 > 0);
    assert_true(p50 <= json_integer_value(json_object_get(times, "p9999")));
    json_decref(all);
    end_server(SIGINT);
    plx_run_expect(&server, 0, "served 1 connection", NULL);
}

/* --- the server ------------------------------------------------------------------------------ */

static void server_answers_nc_on_localhost(void **state)
{
    (void)state;
    char line[64];
    begin_server("", "--reactors 1");
    snprintf(line, sizeof(line), "nc -N -w 5 localhost %u", port);
    begin(&run, line, "hello\n");
    plx_run_end(&run);
    if (run.status == 127) {
        print_message("nc is not installed (netcat-openbsd)\n");
        skip();
    }
    plx_run_expect(&run, 0, "hello\n", NULL);
    assert_string_equal(run.out, "hello\n");
    end_server(SIGTERM);
    plx_run_expect(&server, 0, "served 1 connection, 6 bytes in, 6 bytes out, 0 errors", NULL);
}

static void server_listens_on_both_addresses_of_localhost(void **state)
{
    (void)state;
    char expected[128];
    begin_server("", "--reactors 1");
    if (strstr(server.out, "[::1]") == NULL) {
        print_message("there is no IPv6 here\n");
        skip();
    }
    snprintf(expected, sizeof(expected), "listening on 127.0.0.1:%u and [::1]:%u: ", port, port);
    assert_non_null(strstr(server.out, expected));
    snprintf(expected, sizeof(expected), LIGHT "pollux echo client --addr [::1]:%u --count 10",
             port);
    plx_run_line(&run, expected);
    plx_run_expect(&run, 0, "every byte came back", NULL);
}

static void server_takes_an_address_in_several_spellings(void **state)
{
    (void)state;
    static const struct {
        const char *option;
        const char *expected;
    } spellings[] = {
        {"--addr 127.0.0.1", "listening on 127.0.0.1:"},
        {"--addr 127.0.0.1:0", "listening on 127.0.0.1:"},
        {"--addr *", "listening on "},
    };
    for (size_t i = 0; i < sizeof(spellings) / sizeof(spellings[0]); i++) {
        char options[128];
        snprintf(options, sizeof(options), "--reactors 1 %s", spellings[i].option);
        begin_server("", options);
        assert_non_null(strstr(server.out, spellings[i].expected));
        run_client("", "--count 5");
        plx_run_expect(&run, 0, "every byte came back", NULL);
        end_server(SIGTERM);
        plx_run_expect(&server, 0, "served 1 connection", NULL);
    }
}

static void server_quiet_prints_nothing(void **state)
{
    (void)state;
    char line[256];
    int fd = open_bound();
    close(fd);
    socket_count--;
    snprintf(line, sizeof(line),
             LIGHT "POLLUX_LOG=off POLLUX_SQPOLL=off pollux echo server --quiet --reactors 1 "
                   "--port %u",
             port);
    begin(&server, line, NULL);
    /* It says nothing when it listens, so that is found out by trying. */
    for (int attempt = 0; attempt < 200; attempt++) {
        run_client("", "--count 1");
        if (run.status == 0)
            break;
    }
    plx_run_expect(&run, 0, "every byte came back", NULL);
    end_server(SIGTERM);
    plx_run_expect(&server, 0, NULL, NULL);
    assert_string_equal(server.out, "");
    assert_string_equal(server.err, "");
}

static void server_ended_with_open_connections_ends_well(void **state)
{
    (void)state;
    char back[5];
    begin_server("", "--reactors 1");
    int fd = connect_to_server();
    connect_to_server();
    assert_int_equal(send(fd, "hello", 5, MSG_NOSIGNAL), 5);
    read_whole(fd, back, sizeof(back));
    assert_memory_equal(back, "hello", 5);
    end_server(SIGINT);
    plx_run_expect(&server, 0, "5 bytes in, 5 bytes out, 0 errors", NULL);
}

static void server_counts_a_reset_as_an_error(void **state)
{
    (void)state;
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    char back[1];
    begin_server("", "--reactors 1");
    int fd = connect_to_server();
    assert_int_equal(send(fd, "x", 1, MSG_NOSIGNAL), 1);
    read_whole(fd, back, 1);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)), 0);
    close(fd);
    socket_count--;
    /* Another connection on the same reactor is served after the reset was seen. */
    run_client("", "--count 1");
    plx_run_expect(&run, 0, NULL, NULL);
    end_server(SIGTERM);
    plx_run_expect(&server, 0, "served 2 connections, 65 bytes in, 65 bytes out, 1 error ", NULL);
}

/* Fills what server and kernel hold, then reads: all of it comes back, in order. */
static void server_keeps_all_for_a_peer_that_reads_late(void **state)
{
    (void)state;
    static unsigned char block[65536];
    static unsigned char back[65536];
    int small = 65536;
    size_t sent = 0;
    begin_server("", "--reactors 1");
    int fd = connect_to_server();
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
    for (size_t i = 0; i < sizeof(block); i++)
        block[i] = (unsigned char)(i * 31 + i / 251);
    for (;;) {
        struct pollfd ready = {.fd = fd, .events = POLLOUT};
        assert_true(sent < ((size_t)256 << 20)); /* else the server's memory is not bounded */
        if (poll(&ready, 1, 300) == 0)
            break;
        size_t at = sent % sizeof(block);
        ssize_t count = send(fd, block + at, sizeof(block) - at, MSG_DONTWAIT | MSG_NOSIGNAL);
        assert_true(count > 0 || errno == EAGAIN);
        sent += count > 0 ? (size_t)count : 0;
    }
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    for (size_t got = 0; got < sent;) {
        size_t at = got % sizeof(block);
        size_t len = sizeof(block) - at < sent - got ? sizeof(block) - at : sent - got;
        read_whole(fd, back, len);
        assert_memory_equal(back, block + at, len);
        got += len;
    }
    assert_int_equal(recv(fd, back, 1, 0), 0);
    end_server(SIGTERM);
    plx_run_expect(&server, 0, "served 1 connection", NULL);
    plx_run_expect(&server, 0, "0 errors", NULL);
}

static void server_on_a_port_in_use_names_the_address(void **state)
{
    (void)state;
    char line[256];
    char expected[64];
    open_listener();
    snprintf(line, sizeof(line), LIGHT "pollux echo server --reactors 1 --port %u", port);
    snprintf(expected, sizeof(expected), "127.0.0.1:%u", port);
    plx_run_line(&run, line);
    plx_run_expect(&run, 1, NULL, expected);
    plx_run_expect(&run, 1, NULL, "in use");
    assert_string_equal(run.out, "");
}

struct line {
    const char *line;
    int status;
    const char *out;
    const char *err;
};

static void check_lines(const struct line *lines, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        plx_run_line(&run, lines[i].line);
        plx_run_expect(&run, lines[i].status, lines[i].out, lines[i].err);
    }
}

#define CHECK_LINES(lines) check_lines(lines, sizeof(lines) / sizeof(lines[0]))

static void server_bad_command_lines_end_with_2(void **state)
{
    (void)state;
    static const struct line lines[] = {
        {"pollux echo server --port 65536", 2, NULL, "--port: '65536' is not a number from 0"},
        {"pollux echo server --prot 80", 2, NULL, "did you mean --port?"},
        {"pollux echo server --receive both", 2, NULL, "one of ring|spin"},
        {"pollux echo server --reactors 0", 2, NULL, "from 1 to 256"},
        {"pollux echo server --addr 300.0.0.1", 2, NULL, "300.0.0.1"},
        {"pollux echo server --addr nowhere", 2, NULL, "names other than localhost are not looked"},
        {"pollux echo server --addr example.org:80", 2, NULL, "example.org"},
        {"pollux echo server --addr 127.0.0.1:80 --port 81", 2, NULL, "differs from the port"},
        {"POLLUX_IDLE=sometimes pollux echo server", 2, NULL, "POLLUX_IDLE"},
        {"pollux echo server --reactors 256", 2, NULL, "POLLUX_REACTORS"},
    };
    CHECK_LINES(lines);
}

static void server_on_an_address_of_another_host_is_an_error(void **state)
{
    (void)state;
    /* 192.0.2.0/24 is for documentation: no host has it. */
    plx_run_line(&run, LIGHT "pollux echo server --reactors 1 --addr 192.0.2.1:8080");
    plx_run_expect(&run, 1, NULL, "192.0.2.1:8080");
}

static void server_whose_reactors_cannot_start_says_why(void **state)
{
    (void)state;
    if (sysconf(_SC_NPROCESSORS_ONLN) < 2) {
        print_message("there is one CPU, and the rings between two reactors are to be too large\n");
        skip();
    }
    plx_run_line(&run, "POLLUX_IDLE=yield POLLUX_SQPOLL=off POLLUX_ARENA_SIZE=1M "
                       "POLLUX_MESH_SLOTS=65536 pollux echo server --reactors 2 --port 0");
    plx_run_expect(&run, 1, NULL, "POLLUX_ARENA_SIZE");
    assert_string_equal(run.out, "");
}

/* --- the client ------------------------------------------------------------------------------ */

static void client_to_a_closed_port_ends_with_1(void **state)
{
    (void)state;
    char expected[128];
    open_bound(); /* bound and not listening, so that nobody else takes the port */
    snprintf(expected, sizeof(expected), "cannot connect to 127.0.0.1:%u: Connection refused",
             port);
    run_client("", "--count 10 --connections 3");
    plx_run_expect(&run, 1, NULL, expected);
}

static void client_out_of_descriptors_names_the_connection(void **state)
{
    (void)state;
    open_listener();
    char command[512];
    snprintf(command, sizeof(command),
             "ulimit -n 20; exec \"$0\" echo client --addr 127.0.0.1:%u --connections 40", port);
    const char *words[] = {
        "POLLUX_IDLE=yield", "POLLUX_ARENA_SIZE=16M", "sh", "-c", command, plx_run_binary(), NULL};
    plx_run_begin(&run, words, NULL);
    plx_run_end(&run);
    plx_run_expect(&run, 1, NULL, "echo client: connection ");
    plx_run_expect(&run, 1, NULL, "Too many open files");
}

static void client_bad_command_lines_end_with_2(void **state)
{
    (void)state;
    static const struct line lines[] = {
        {"pollux echo client", 2, NULL, "--addr is needed"},
        {"pollux echo client --addr nowhere", 2, NULL, "'nowhere' is no address"},
        {"pollux echo client --addr 127.0.0.1:0", 2, NULL, "port 0"},
        {"pollux echo client --addr :1 --size 0", 2, NULL, "--size: '0' is not a size from 1 B"},
        {"pollux echo client --addr :1 --count many", 2, NULL, "--count: 'many'"},
        {"pollux echo client --addr :1 --connections 0", 2, NULL, "from 1 to 10000"},
        {"pollux echo client --addr :1 --timeout 5", 2, NULL, "such as 500us or 2s"},
        {"POLLUX_CPUS=x pollux echo client --addr :1", 2, NULL, "POLLUX_CPUS"},
    };
    CHECK_LINES(lines);
}

/* Starts a client of a server that the test plays, and accepts its connection. */
static int accept_client(const char *options)
{
    char line[256];
    int listener = open_listener();
    snprintf(line, sizeof(line),
             LIGHT "POLLUX_SQPOLL=off pollux echo client --addr 127.0.0.1:%u %s", port, options);
    begin(&run, line, NULL);
    struct timeval limit = {.tv_sec = PLX_RUN_SECONDS};
    assert_int_equal(setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
    return keep_socket(accept(listener, NULL, NULL));
}

static void client_that_gets_a_wrong_byte_names_it(void **state)
{
    (void)state;
    unsigned char message[64];
    int fd = accept_client("--count 3 --json");
    read_whole(fd, message, sizeof(message));
    assert_int_equal(send(fd, message, sizeof(message), MSG_NOSIGNAL), sizeof(message));
    read_whole(fd, message, sizeof(message));
    message[40] ^= 1;
    assert_int_equal(send(fd, message, sizeof(message), MSG_NOSIGNAL), sizeof(message));
    plx_run_end(&run);
    plx_run_expect(&run, 1, NULL, "connection 0: message 1: byte 40 was sent as 0x");
    plx_run_expect(&run, 1, "\"mismatches\": 1,", NULL);
    plx_run_expect(&run, 1, "\"completed\": 1,", NULL);
}

static void client_that_gets_too_much_says_so(void **state)
{
    (void)state;
    unsigned char message[65];
    int fd = accept_client("--count 3");
    read_whole(fd, message, 64);
    message[64] = 0;
    assert_int_equal(send(fd, message, sizeof(message), MSG_NOSIGNAL), sizeof(message));
    plx_run_end(&run);
    plx_run_expect(&run, 1, NULL, "message 0: more bytes came back than were sent");
}

static void client_whose_server_ends_says_after_how_many(void **state)
{
    (void)state;
    unsigned char message[64];
    int fd = accept_client("--count 3");
    read_whole(fd, message, sizeof(message));
    assert_int_equal(send(fd, message, sizeof(message), MSG_NOSIGNAL), sizeof(message));
    read_whole(fd, message, sizeof(message));
    assert_int_equal(shutdown(fd, SHUT_RDWR), 0);
    plx_run_end(&run);
    plx_run_expect(&run, 1, NULL, "went away after 1 of 3 messages: end of stream");
}

static void client_whose_server_is_killed_says_it_went_away(void **state)
{
    (void)state;
    char line[256];
    begin_server("", "--reactors 1");
    snprintf(line, sizeof(line),
             LIGHT "POLLUX_SQPOLL=off pollux echo client --addr 127.0.0.1:%u --count 1000000000",
             port);
    begin(&run, line, NULL);
    /* A byte of its own that comes back shows that the server serves; the client's do too then. */
    char back[1];
    int fd = connect_to_server();
    assert_int_equal(send(fd, "x", 1, MSG_NOSIGNAL), 1);
    read_whole(fd, back, 1);
    plx_run_signal(&server, SIGKILL);
    plx_run_end(&server);
    plx_run_end(&run);
    assert_int_equal(run.status, 1);
    assert_true(strstr(run.err, "went away") != NULL || strstr(run.err, "cannot connect") != NULL);
}

static void client_without_an_answer_gives_up(void **state)
{
    (void)state;
    accept_client("--count 3 --timeout 200ms");
    plx_run_end(&run);
    plx_run_expect(&run, 1, "0 of 3 messages", "nothing came back for too long, after 0 of 3");
}

static void client_interrupted_says_so_and_ends_with_1(void **state)
{
    (void)state;
    unsigned char message[64];
    int fd = accept_client("--count 3");
    read_whole(fd, message, sizeof(message));
    plx_run_signal(&run, SIGINT);
    plx_run_end(&run);
    plx_run_expect(&run, 1, NULL, "interrupted after 0 of 3 messages");
}

/* --- help ------------------------------------------------------------------------------------ */

static void help_and_usage_of_echo_are_as_of_every_command(void **state)
{
    (void)state;
    static const struct line lines[] = {
        {"pollux echo --help", 0, "examples\n  pollux echo server", NULL},
        {"pollux echo server --help", 0, "examples\n  pollux echo server", NULL},
        {"pollux echo client -h", 0, "examples\n  pollux echo client", NULL},
        {"pollux echo", 2, NULL, "usage: pollux echo server|client"},
        {"pollux echo sever", 2, NULL, "unknown command 'sever'; did you mean server?"},
        {"pollux --help", 0, "echo", NULL},
    };
    CHECK_LINES(lines);
}

#define CASE(function) cmocka_unit_test_teardown(function, end_all)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(echo_by_epoll_returns_every_byte),
        CASE(echo_by_uring_returns_every_byte_in_every_mode),
        CASE(echo_by_sqpoll_returns_every_byte),
        CASE(echo_on_two_reactors_serves_all_connections),
        CASE(echo_of_large_messages_returns_every_byte),
        CASE(client_json_holds_percentiles_and_no_error),
        CASE(server_answers_nc_on_localhost),
        CASE(server_listens_on_both_addresses_of_localhost),
        CASE(server_takes_an_address_in_several_spellings),
        CASE(server_quiet_prints_nothing),
        CASE(server_ended_with_open_connections_ends_well),
        CASE(server_counts_a_reset_as_an_error),
        CASE(server_keeps_all_for_a_peer_that_reads_late),
        CASE(server_on_a_port_in_use_names_the_address),
        CASE(server_bad_command_lines_end_with_2),
        CASE(server_on_an_address_of_another_host_is_an_error),
        CASE(server_whose_reactors_cannot_start_says_why),
        CASE(client_to_a_closed_port_ends_with_1),
        CASE(client_out_of_descriptors_names_the_connection),
        CASE(client_bad_command_lines_end_with_2),
        CASE(client_that_gets_a_wrong_byte_names_it),
        CASE(client_that_gets_too_much_says_so),
        CASE(client_whose_server_ends_says_after_how_many),
        CASE(client_whose_server_is_killed_says_it_went_away),
        CASE(client_without_an_answer_gives_up),
        CASE(client_interrupted_says_so_and_ends_with_1),
        CASE(help_and_usage_of_echo_are_as_of_every_command),
    };
    if (access(plx_run_binary(), X_OK) != 0) {
        fprintf(stderr, "%s: %s: build it first\n", plx_run_binary(), strerror(errno));
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
