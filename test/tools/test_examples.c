/* SPDX-License-Identifier: MIT */
/* The example programs that the README does not show: as they are built, run as a user would. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test/tools/run_pollux.h"

static struct plx_run run;

static int kill_run(void **state)
{
    (void)state;
    plx_run_kill(&run);
    return 0;
}

static void begin_tasks(void)
{
    static char program[512];
    const char *binary = plx_run_binary();
    const char *slash = strrchr(binary, '/');
    int folder = slash != NULL ? (int)(slash - binary) : 1;
    snprintf(program, sizeof(program), "%.*s/examples/tasks", folder, slash != NULL ? binary : ".");
    const char *words[] = {"POLLUX_IDLE=yield", "POLLUX_PIN=no", "POLLUX_ARENA_SIZE=4M", program,
                           NULL};
    plx_run_begin(&run, words, NULL);
    if (!plx_run_await(&run, "listening on 127.0.0.1:")) {
        plx_run_end(&run);
        fail_msg("status %d: %s", run.status, run.err);
    }
    assert_true(plx_run_await(&run, "\n"));
}

static int connect_to_it(void)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    addr.sin_port = htons((uint16_t)strtoul(strrchr(run.out, ':') + 1, NULL, 10));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    return fd;
}

static void expect_echo(int fd, const char *text)
{
    char back[64];
    size_t length = strlen(text);
    size_t got = 0;
    assert_int_equal(write(fd, text, length), length);
    while (got < length) {
        ssize_t rc = read(fd, back + got, sizeof(back) - got);
        assert_true(rc > 0);
        got += (size_t)rc;
    }
    assert_memory_equal(back, text, length);
}

static void tasks_example_echoes_and_ends_on_a_signal(void **state)
{
    (void)state;
    begin_tasks();
    int fds[3];
    for (unsigned i = 0; i < 3; i++)
        fds[i] = connect_to_it();
    for (unsigned i = 0; i < 3; i++) {
        expect_echo(fds[i], "once");
        expect_echo(fds[i], "again");
    }
    close(fds[0]);
    /* The others are open, and their tasks wait. */
    plx_run_signal(&run, SIGTERM);
    plx_run_end(&run);
    plx_run_expect(&run, 0, "3 connections, 27 bytes, done\n", NULL);
    close(fds[1]);
    close(fds[2]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(tasks_example_echoes_and_ends_on_a_signal, kill_run),
    };
    return cmocka_run_group_tests_name("examples", tests, NULL, NULL);
}
