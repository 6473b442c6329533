/* SPDX-License-Identifier: MIT */
/*
 * io_uring refused by a seccomp filter, as containers do it: `auto` says so once and works on
 * epoll, `uring` is an error that names the setting. Each case runs in a child, since a filter
 * stays until the process ends.
 */
#include "runtime/runtime.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/io/features.h"
#include "test/deny.h"

#define ARRAY_COUNT(array) (sizeof(array) / sizeof(*(array)))

/* What the log was told. */
struct lines {
    unsigned count;
    char last[512];
};

static void keep_line(enum plx_log_level level, const char *text, void *ctx)
{
    struct lines *lines = ctx;
    (void)level;
    /* A clock that the machine does not have is another matter. */
    if (strstr(text, "TICK_CLOCK") != NULL)
        return;
    lines->count++;
    snprintf(lines->last, sizeof(lines->last), "%s", text);
}

static int create(const char *backend, struct lines *lines, struct plx_runtime **runtime,
                  struct plx_reactor **reactor, struct plx_diag *diag)
{
    static const char *const pairs[][2] = {
        {"sqpoll", "off"},      {"reactors", "1"}, {"pin", "no"},   {"arena_size", "2M"},
        {"hugepages_2m", "no"}, {"thp", "no"},     {"mlock", "no"}, {"prefault", "no"},
    };
    struct plx_settings settings;
    plx_settings_init(&settings);
    int rc = plx_settings_set(&settings, "backend", backend, diag);
    for (size_t i = 0; i < ARRAY_COUNT(pairs) && rc == 0; i++)
        rc = plx_settings_set(&settings, pairs[i][0], pairs[i][1], diag);
    if (rc != 0)
        return rc;
    struct plx_runtime_opts opts;
    plx_runtime_opts_init(&opts);
    opts.log = keep_line;
    opts.ctx = lines;
    rc = plx_runtime_create(&settings, &opts, runtime, diag);
    if (rc != 0)
        return rc;
    rc = plx_reactor_adopt(*runtime, 0, reactor, diag);
    if (rc != 0) {
        plx_runtime_destroy(*runtime);
        *runtime = NULL;
    }
    return rc;
}

static void keep_result(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    (void)op;
    *(int32_t *)ctx = event->result;
}

/* A byte goes there and back; 0 when it did. */
static int send_and_receive(struct plx_reactor *reactor)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0)
        return 20;
    int32_t sent = 0;
    int32_t got = 0;
    char byte = 0;
    struct plx_op receive;
    struct plx_op send;
    plx_op_recv(&receive, pair[1], &byte, 1, 0, keep_result, &got);
    plx_op_send(&send, pair[0], "x", 1, 0, PLX_QUEUED, keep_result, &sent);
    if (plx_op_submit(reactor, &receive) != 0 || plx_op_submit(reactor, &send) != 0)
        return 21;
    for (unsigned turns = 0; turns < 1000000 && (sent == 0 || got == 0); turns++)
        plx_reactor_poll(reactor);
    return sent == 1 && got == 1 && byte == 'x' ? 0 : 22;
}

/* Bytes go to a file and come back, and it is closed; 0 when all was so. */
static int write_and_read(struct plx_reactor *reactor)
{
    int fd = memfd_create("pollux-test", MFD_CLOEXEC);
    if (fd < 0)
        return 30;
    char text[8] = "";
    int32_t results[4] = {INT32_MIN, INT32_MIN, INT32_MIN, INT32_MIN};
    struct plx_op ops[4];
    plx_op_write(&ops[0], fd, "pollux", 6, 0, keep_result, &results[0]);
    plx_op_fsync(&ops[1], fd, PLX_FSYNC_DATA, keep_result, &results[1]);
    plx_op_read(&ops[2], fd, text, sizeof(text), 0, keep_result, &results[2]);
    plx_op_close(&ops[3], fd, keep_result, &results[3]);
    for (unsigned i = 0; i < 4; i++) {
        if (plx_op_submit(reactor, &ops[i]) != 0)
            return 31;
        while (results[i] == INT32_MIN)
            plx_reactor_poll(reactor);
    }
    if (results[0] != 6 || results[1] != 0 || results[2] != 6 || results[3] != 0)
        return 32;
    return strcmp(text, "pollux") == 0 && fcntl(fd, F_GETFD) < 0 ? 0 : 33;
}

/* In the child: its exit status says where it went wrong. */
static int fall_back(int error)
{
    struct lines lines = {0};
    struct plx_runtime *runtime = NULL;
    struct plx_reactor *reactor = NULL;
    struct plx_diag diag = {0};
    if (create("auto", &lines, &runtime, &reactor, &diag) != 0)
        return 1;
    if (strcmp(plx_reactor_mode(reactor), "epoll") != 0)
        return 2;
    if (lines.count != 1 || strstr(lines.last, "io_uring") == NULL ||
        strstr(lines.last, "epoll") == NULL || strstr(lines.last, strerror(error)) == NULL)
        return 3;
    int rc = send_and_receive(reactor);
    if (rc == 0)
        rc = write_and_read(reactor);
    if (rc != 0)
        return rc;
    if (lines.count != 1)
        return 4;
    if (plx_reactor_abandon(reactor, 10000000000u) != 0)
        return 5;
    plx_runtime_destroy(runtime);
    return 0;
}

static int refuse(int error)
{
    struct lines lines = {0};
    struct plx_runtime *runtime = NULL;
    struct plx_reactor *reactor = NULL;
    struct plx_diag diag = {0};
    int rc = create("uring", &lines, &runtime, &reactor, &diag);
    if (rc != -error || diag.code != rc || reactor != NULL)
        return 1;
    return strstr(diag.what, "POLLUX_BACKEND") != NULL && diag.text[0] != '\0' ? 0 : 2;
}

static void setup_denied_with_eperm_falls_back_and_says_so_once(void **state)
{
    (void)state;
    assert_int_equal(deny_in_child(SYS_io_uring_setup, EPERM, fall_back), 0);
}

static void setup_denied_with_enosys_falls_back_and_says_so_once(void **state)
{
    (void)state;
    assert_int_equal(deny_in_child(SYS_io_uring_setup, ENOSYS, fall_back), 0);
}

/* A filter may let a ring be made and then refuse its use. */
static void enter_denied_falls_back_and_says_so_once(void **state)
{
    (void)state;
    assert_int_equal(deny_in_child(SYS_io_uring_enter, EPERM, fall_back), 0);
}

static void register_denied_falls_back_or_does_without(void **state)
{
    (void)state;
    int rc = deny_in_child(SYS_io_uring_register, EPERM, fall_back);
    /* 2: it runs on io_uring all the same, which needs no registration. */
    assert_true(rc == 0 || rc == 2);
}

static void call_denied_with_uring_required_is_an_error_with_its_name(void **state)
{
    (void)state;
    assert_int_equal(deny_in_child(SYS_io_uring_setup, EPERM, refuse), 0);
    assert_int_equal(deny_in_child(SYS_io_uring_setup, ENOSYS, refuse), 0);
    assert_int_equal(deny_in_child(SYS_io_uring_enter, EPERM, refuse), 0);
}

/* --- the table of features -------------------------------------------------------------------- */

struct answers {
    unsigned rows;
    unsigned refused; /* with the errno of the filter */
    int error;
};

static void count_answer(const struct plx_feature *feature, void *ctx)
{
    struct answers *answers = ctx;
    answers->rows++;
    answers->refused += feature->got == -answers->error;
}

static int features_refused(int error)
{
    struct answers answers = {.error = error};
    struct plx_diag diag = {0};
    if (plx_features_probe(NULL, count_answer, &answers, &diag) != -error)
        return 1;
    if (strstr(diag.text, "io_uring_") == NULL || strstr(diag.text, strerror(error)) == NULL)
        return 2;
    return answers.rows > 20 && answers.refused == answers.rows ? 0 : 3;
}

static int features_refused_in_part(int error)
{
    struct answers answers = {.error = error};
    if (plx_features_probe(NULL, count_answer, &answers, NULL) != 0)
        return 1;
    return answers.refused > 5 && answers.refused < answers.rows - 5 ? 0 : 2;
}

static void features_under_denial_come_with_the_refusal(void **state)
{
    (void)state;
    assert_int_equal(deny_in_child(SYS_io_uring_setup, EPERM, features_refused), 0);
    assert_int_equal(deny_in_child(SYS_io_uring_setup, ENOSYS, features_refused), 0);
    assert_int_equal(deny_in_child(SYS_io_uring_enter, EPERM, features_refused), 0);
    assert_int_equal(deny_in_child(SYS_io_uring_register, EACCES, features_refused_in_part), 0);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(setup_denied_with_eperm_falls_back_and_says_so_once),
        cmocka_unit_test(setup_denied_with_enosys_falls_back_and_says_so_once),
        cmocka_unit_test(enter_denied_falls_back_and_says_so_once),
        cmocka_unit_test(register_denied_falls_back_or_does_without),
        cmocka_unit_test(call_denied_with_uring_required_is_an_error_with_its_name),
        cmocka_unit_test(features_under_denial_come_with_the_refusal),
    };
    return cmocka_run_group_tests(cases, NULL, NULL);
}
