/* SPDX-License-Identifier: MIT */
/*
 * pollux echo where a container's filter refuses io_uring: both ends as processes that inherit the
 * filter of this one. A filter stays, so each case refuses what those before it did, and one more.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include <cmocka.h>

#include "test/deny.h"
#include "test/tools/run_pollux.h"

/* Too large for a stack, and one case runs at a time. */
static struct plx_run server;
static struct plx_run client;

/* The rest is not to come after a case that could refuse nothing. */
static void deny(long call, int error)
{
    if (deny_call(call, error) == 0)
        return;
    print_message("this system lets no program filter its own system calls\n");
    skip();
}

/* Both ends, a thousand messages, and what they say of the backend. */
static void echo(const char *told)
{
    const char *const words[] = {"POLLUX_IDLE=yield",
                                 "POLLUX_ARENA_SIZE=16M",
                                 "POLLUX_SQPOLL=off",
                                 "POLLUX_REACTORS=1",
                                 "pollux",
                                 "echo",
                                 "server",
                                 "--port",
                                 "0",
                                 NULL};
    plx_run_begin(&server, words, NULL);
    if (!plx_run_await(&server, "\n")) {
        plx_run_end(&server);
        fail_msg("status %d: %s", server.status, server.err);
    }
    const char *colon = strchr(server.out, ':');
    assert_non_null(colon);
    char line[256];
    snprintf(line, sizeof(line),
             "POLLUX_IDLE=yield POLLUX_ARENA_SIZE=16M POLLUX_SQPOLL=off pollux echo client "
             "--addr 127.0.0.1:%lu --count 1000",
             strtoul(colon + 1, NULL, 10));
    plx_run_line(&client, line);
    plx_run_signal(&server, SIGTERM);
    plx_run_end(&server);
    plx_run_expect(&client, 0, "", told);
    plx_run_expect(&server, 0, "", told);
}

static int tear_down(void **state)
{
    (void)state;
    plx_run_kill(&server);
    plx_run_kill(&client);
    return 0;
}

static void echo_without_registering_works(void **state)
{
    (void)state;
    deny(SYS_io_uring_register, EPERM);
    echo("");
}

static void echo_without_entering_goes_on_by_epoll_and_says_so(void **state)
{
    (void)state;
    deny(SYS_io_uring_enter, EPERM);
    echo("epoll instead");
}

static void echo_without_rings_goes_on_by_epoll_and_says_so(void **state)
{
    (void)state;
    deny(SYS_io_uring_setup, ENOSYS);
    echo("epoll instead");
}

static void echo_that_insists_on_io_uring_is_refused_by_name(void **state)
{
    (void)state;
    deny(SYS_io_uring_setup, EPERM);
    plx_run_line(&client, "POLLUX_BACKEND=uring pollux echo client --addr 127.0.0.1:1");
    assert_int_not_equal(client.status, 0);
    assert_non_null(strstr(client.err, "POLLUX_BACKEND"));
    assert_non_null(strstr(client.err, "kernel.io_uring_disabled"));
}

#define CASE(name) cmocka_unit_test_teardown(name, tear_down)

int main(void)
{
    const struct CMUnitTest cases[] = {
        CASE(echo_without_registering_works),
        CASE(echo_without_entering_goes_on_by_epoll_and_says_so),
        CASE(echo_without_rings_goes_on_by_epoll_and_says_so),
        CASE(echo_that_insists_on_io_uring_is_refused_by_name),
    };
    return cmocka_run_group_tests(cases, NULL, NULL);
}
