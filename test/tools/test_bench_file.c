/* SPDX-License-Identifier: MIT */
/* pollux bench file: its rows, where it can measure nothing, and that it leaves nothing behind. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "test/tools/run_pollux.h"

static struct plx_run run;
/* In which it may work, and which has to be empty in the end. */
static char folder[256];

static int make_folder(void **state)
{
    const char *base = getenv("TMPDIR");
    (void)state;
    snprintf(folder, sizeof(folder), "%s/pollux-test-bench-XXXXXX",
             base != NULL ? base : "/var/tmp");
    return mkdtemp(folder) != NULL ? 0 : -1;
}

/* Fails where anything was left. */
static int remove_folder(void **state)
{
    (void)state;
    plx_run_kill(&run);
    if (rmdir(folder) == 0)
        return 0;
    print_error("%s: %s\n", folder, strerror(errno));
    return -1;
}

static json_t *parse_rows(void)
{
    json_t *root = json_loads(run.out, 0, NULL);
    if (root == NULL)
        fail_msg("no JSON: %s\n%s", run.out, run.err);
    return root;
}

static const json_t *find_row(const json_t *root, const char *name, const char *subject)
{
    size_t index;
    const json_t *row;
    json_array_foreach(json_object_get(root, "results"), index, row)
    {
        if (strcmp(json_string_value(json_object_get(row, "case")), name) == 0 &&
            strcmp(json_string_value(json_object_get(row, "subject")), subject) == 0)
            return row;
    }
    return NULL;
}

/* The reason that a row has no figures, or NULL. */
static const char *reason_of(const json_t *root, const char *name, const char *subject)
{
    size_t index;
    const json_t *note;
    json_array_foreach(json_object_get(root, "null_rows"), index, note)
    {
        if (strcmp(json_string_value(json_object_get(note, "case")), name) == 0 &&
            strcmp(json_string_value(json_object_get(note, "subject")), subject) == 0)
            return json_string_value(json_object_get(note, "reason"));
    }
    return NULL;
}

/* That the row is there, and has figures unless the machine was taken away meanwhile. */
static void expect_figures(const json_t *root, const char *name, const char *subject)
{
    const json_t *row = find_row(root, name, subject);
    if (row == NULL)
        fail_msg("no row %s of %s\n%s", name, subject, run.err);
    const char *reason = reason_of(root, name, subject);
    if (reason != NULL && strstr(reason, "discarded") == NULL)
        fail_msg("%s of %s: %s", name, subject, reason);
    if (reason == NULL)
        assert_true(json_number_value(json_object_get(row, "p50")) > 0);
}

static void bench(const char *environment, const char *options)
{
    char line[768];
    snprintf(line, sizeof(line), "%s pollux bench file --quick --rounds 1 %s --json -", environment,
             options);
    plx_run_line(&run, line);
}

/* Whether direct I/O is to be had where the tests work; otherwise it is told. */
static bool has_direct(void)
{
    char path[300];
    snprintf(path, sizeof(path), "%s/probe", folder);
    int fd = open(path, O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);
    int code = errno;
    unlink(path);
    if (fd >= 0)
        close(fd);
    else
        print_message("skipped: %s: %s\n", folder, strerror(code));
    return fd >= 0;
}

static void reads_and_copies_have_figures(void **state)
{
    (void)state;
    char options[320];
    if (!has_direct())
        skip();
    snprintf(options, sizeof(options), "--size 8M --dir %s", folder);
    bench("", options);
    json_t *root = parse_rows();
    static const char *const reads[] = {"randread_4K_1", "randread_4K_1_cpu", "randread_4K_64",
                                        "randread_4K_64_cpu"};
    const char *reason = reason_of(root, reads[0], "pollux");
    bool has_uring = reason == NULL || strstr(reason, "io_uring") == NULL;
    bool has_fio = strstr(run.err, "peer fio is left out") == NULL;
    for (size_t i = 0; i < sizeof(reads) / sizeof(reads[0]); i++) {
        if (has_uring) {
            expect_figures(root, reads[i], "pollux");
            expect_figures(root, reads[i], "pollux/spin");
        }
        if (has_fio)
            expect_figures(root, reads[i], "fio");
    }
    expect_figures(root, "randread_4K_1", "raw");
    assert_null(find_row(root, "randread_4K_64", "raw"));
    static const char *const copies[] = {"pollux", "pollux/ring", "pollux/plain", "cp", "dd"};
    for (size_t i = 0; i < sizeof(copies) / sizeof(copies[0]); i++)
        expect_figures(root, "copy_8M", copies[i]);
    json_decref(root);
}

static void peers_that_are_not_installed_are_left_out(void **state)
{
    (void)state;
    char environment[300];
    char options[320];
    if (!has_direct())
        skip();
    snprintf(environment, sizeof(environment), "PATH=%s", folder);
    snprintf(options, sizeof(options), "--size 1M --dir %s", folder);
    bench(environment, options);
    json_t *root = parse_rows();
    static const char *const peers[] = {"fio", "cp", "dd"};
    for (size_t i = 0; i < sizeof(peers) / sizeof(peers[0]); i++) {
        char told[64];
        snprintf(told, sizeof(told), "peer %s is left out: it is not installed", peers[i]);
        assert_non_null(strstr(run.err, told));
        assert_null(find_row(root, "copy_1M", peers[i]));
    }
    expect_figures(root, "copy_1M", "pollux");
    json_decref(root);
}

static void place_in_memory_leaves_rows_null_with_the_reason(void **state)
{
    (void)state;
    char command[1024];
    snprintf(command, sizeof(command),
             "mount -t tmpfs none %s && %s bench file --quick --size 1M --dir %s --json -; "
             "echo status $? >&2; ls -A %s >&2; echo end >&2",
             folder, plx_run_binary(), folder, folder);
    const char *const words[] = {"unshare", "-rm", "sh", "-c", command, NULL};
    plx_run_begin(&run, words, NULL);
    plx_run_end(&run);
    if (strstr(run.err, "measured on cpu") == NULL) {
        print_message("skipped: no file system can be mounted: %s", run.err);
        skip();
    }
    plx_run_expect(&run, 0, NULL, "status 0\nend\n");
    json_t *root = parse_rows();
    assert_non_null(strstr(reason_of(root, "copy_1M", "pollux"), "no direct I/O"));
    assert_non_null(strstr(reason_of(root, "randread_4K_1", "raw"), "no direct I/O"));
    json_decref(root);
}

static void place_that_cannot_be_used_fails_with_the_reason(void **state)
{
    (void)state;
    bench("", "--dir /nonexistent");
    plx_run_expect(&run, 1, NULL, "file: --dir: /nonexistent: No such file or directory");
    char options[320];
    snprintf(options, sizeof(options), "--size 1000T --dir %s", folder);
    bench("", options);
    plx_run_expect(&run, 1, NULL, "are free (--dir names another)");
    /* Where no place was named it is a property of the host. */
    bench("TMPDIR=/nonexistent", "");
    plx_run_expect(&run, 0, "/nonexistent: No such file or directory", NULL);
}

/* Waits until something is made in a directory that is watched, and keeps its name. */
static void await_made(int watch, char *name, size_t bytes)
{
    char events[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
    struct pollfd poll_fd = {.fd = watch, .events = POLLIN};
    if (poll(&poll_fd, 1, PLX_RUN_SECONDS * 1000) != 1)
        fail_msg("nothing was made: %s", run.err);
    assert_true(read(watch, events, sizeof(events)) > 0);
    const struct inotify_event *event = (const struct inotify_event *)events;
    snprintf(name, bytes, "%.*s", event->len != 0 ? (int)bytes - 1 : 0, event->name);
}

static int watch_folder(int watch, const char *path)
{
    int number = inotify_add_watch(watch, path, IN_CREATE);
    assert_true(number >= 0);
    return number;
}

/* Begins the benchmark, and returns when its source is being written, or the first copy. */
static void begin_until(bool copies)
{
    const char *const words[] = {"pollux", "bench", "file",   "--quick", "--rounds", "1",
                                 "--dir",  folder,  "--size", "64M",     NULL};
    char name[256];
    char inside[600];
    int watch = inotify_init1(IN_CLOEXEC);
    assert_true(watch >= 0);
    int number = watch_folder(watch, folder);
    plx_run_begin(&run, words, NULL);
    await_made(watch, name, sizeof(name));
    if (copies) {
        assert_int_equal(inotify_rm_watch(watch, number), 0);
        snprintf(inside, sizeof(inside), "%s/%s", folder, name);
        watch_folder(watch, inside);
        /* That a watch was removed, that the source was made: until it is a copy. */
        while (strcmp(name, "target") != 0 && name[0] != '.')
            await_made(watch, name, sizeof(name));
    }
    close(watch);
}

static void signal_leaves_no_files(void **state)
{
    (void)state;
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    if (!has_direct())
        skip();
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        begin_until(i != 0);
        plx_run_signal(&run, numbers[i]);
        plx_run_end(&run);
        plx_run_expect(&run, 128 + numbers[i], NULL, NULL);
        /* Only an empty one can be removed. */
        assert_int_equal(rmdir(folder), 0);
        assert_int_equal(mkdir(folder, 0700), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_and_copies_have_figures),
        cmocka_unit_test(peers_that_are_not_installed_are_left_out),
        cmocka_unit_test(place_in_memory_leaves_rows_null_with_the_reason),
        cmocka_unit_test(place_that_cannot_be_used_fails_with_the_reason),
        cmocka_unit_test(signal_leaves_no_files),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
