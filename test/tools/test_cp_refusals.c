/* SPDX-License-Identifier: MIT */
/*
 * pollux cp where it must not succeed: it names what is wrong, the target is as it was, and no
 * draft is left.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "test/tools/cp_fixture.h"

/* Slow enough for something to happen meanwhile: a block of 4 KiB at a time. */
#define SLOWLY     "pollux cp --fill-holes --depth 1 --block 4K @/a @/b"
#define SLOW_BYTES (64 << 20)

/* The target of every case, which must stay as it is: "b" is a copy of "before". */
static void write_target(void)
{
    cp_write("before", 10000, 77);
    cp_write("b", 10000, 77);
}

static void expect_refused(const char *text)
{
    cp_expect_bad(text);
    cp_expect_same("before", "b");
}

/* --- the source ------------------------------------------------------------------------------ */

static void source_missing_is_named(void **state)
{
    (void)state;
    write_target();
    cp_line("pollux cp @/nowhere @/b");
    expect_refused("/nowhere: No such file or directory");
}

static void source_of_another_kind_is_named(void **state)
{
    (void)state;
    write_target();
    assert_int_equal(mkdir(cp_path("d"), 0755), 0);
    assert_int_equal(mkfifo(cp_path("f"), 0644), 0);
    cp_line("pollux cp @/d @/b");
    expect_refused("/d: it is a directory");
    cp_line("pollux cp @/f @/b");
    expect_refused("/f: it is a FIFO");
    cp_line("pollux cp /dev/zero @/b");
    expect_refused("/dev/zero: it is a character device");
}

static void source_unreadable_is_named(void **state)
{
    (void)state;
    if (!cp_has_nobody())
        skip();
    write_target();
    cp_write("a", 10, 1);
    assert_int_equal(chmod(cp_path("a"), 0600), 0);
    assert_int_equal(chmod(cp_path("b"), 0666), 0);
    cp_line(CP_NOBODY "%s cp @/a @/b", plx_run_binary());
    expect_refused("/a: Permission denied");
}

static void source_that_grows_is_refused(void **state)
{
    (void)state;
    write_target();
    cp_write_hole("a", SLOW_BYTES);
    assert_true(cp_begin_until_draft(SLOWLY));
    assert_int_equal(truncate(cp_path("a"), SLOW_BYTES + 5), 0);
    plx_run_end(&cp_run);
    expect_refused("/a: it grew from 67108864 to 67108869 bytes while it was copied");
}

static void source_that_shrinks_is_refused(void **state)
{
    (void)state;
    write_target();
    cp_write_hole("a", SLOW_BYTES);
    assert_true(cp_begin_until_draft(SLOWLY));
    assert_int_equal(truncate(cp_path("a"), 100), 0);
    plx_run_end(&cp_run);
    expect_refused("/a: it shrank");
}

static void source_written_to_meanwhile_is_refused(void **state)
{
    (void)state;
    write_target();
    cp_write_hole("a", SLOW_BYTES);
    assert_true(cp_begin_until_draft(SLOWLY));
    int fd = open(cp_path("a"), O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "x", 1, 5), 1);
    close(fd);
    plx_run_end(&cp_run);
    expect_refused("/a: it was written to while it was copied");
}

/* --- the target ------------------------------------------------------------------------------ */

static void target_that_is_the_source_is_refused(void **state)
{
    (void)state;
    write_target();
    assert_int_equal(link(cp_path("b"), cp_path("hard")), 0);
    assert_int_equal(symlink("b", cp_path("soft")), 0);
    assert_int_equal(symlink(".", cp_path("here")), 0);
    static const char *const pairs[] = {"@/b @/b",   "@/b @/hard",   "@/b @/soft", "@/soft @/b",
                                        "@/b @/./b", "@/b @/here/b", "@/b @"};
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        cp_line("pollux cp %s", pairs[i]);
        expect_refused("are the same file");
    }
}

static void target_of_another_kind_is_named(void **state)
{
    (void)state;
    write_target();
    assert_int_equal(mkfifo(cp_path("f"), 0666), 0);
    assert_int_equal(symlink("nowhere", cp_path("dangling")), 0);
    cp_line("pollux cp @/b @/f");
    expect_refused("/f: it is a FIFO");
    cp_line("pollux cp @/b @/dangling");
    expect_refused("/dangling: it is a dangling symbolic link");
    assert_false(cp_exists("nowhere"));
    cp_line("pollux cp @/b /dev/null");
    expect_refused("/dev/null: it is a character device");
}

static void target_in_no_directory_is_named(void **state)
{
    (void)state;
    write_target();
    cp_line("pollux cp @/b @/nowhere/c");
    expect_refused("/nowhere/: the directory of the target: No such file or directory");
    cp_line("pollux cp @/b @/nowhere/");
    expect_refused("/nowhere/: there is no such directory");
    cp_line("pollux cp @/b @/before/c");
    expect_refused("/before/c: Not a directory");
}

static void target_with_too_long_a_name_is_named(void **state)
{
    (void)state;
    char name[300];
    write_target();
    memset(name, 'n', sizeof(name));
    name[256] = '\0';
    cp_line("pollux cp @/b @/%s", name);
    expect_refused("File name too long");
    /* The longest that there may be. */
    name[255] = '\0';
    cp_line("pollux cp @/b @/%s", name);
    cp_expect_good();
    cp_expect_same("b", name);
}

static void target_read_only_is_named(void **state)
{
    (void)state;
    if (!cp_has_nobody())
        skip();
    write_target();
    cp_write("a", 10, 1);
    assert_int_equal(chmod(cp_path("a"), 0644), 0);
    cp_line(CP_NOBODY "%s cp @/a @/b", plx_run_binary());
    expect_refused("/b: it may not be written: Permission denied");
    assert_int_equal(mkdir(cp_path("d"), 0755), 0);
    cp_line(CP_NOBODY "%s cp @/a @/d", plx_run_binary());
    cp_expect_bad("/d/: making a file there: Permission denied");
    assert_false(cp_exists("d/a"));
}

/* --- the system ------------------------------------------------------------------------------ */

static void device_without_room_is_refused(void **state)
{
    (void)state;
    char command[1024];
    char here[512];
    cp_write("a", 4 << 20, 1);
    assert_non_null(getcwd(here, sizeof(here)));
    assert_int_equal(mkdir(cp_path("small"), 0755), 0);
    snprintf(command, sizeof(command),
             "mount -t tmpfs -o size=1M none %s && cd %s && echo old > b && echo mounted && "
             "{ %s/%s cp %s b; echo status $?; cat b; ls -A; }",
             cp_path("small"), cp_path("small"), here, plx_run_binary(), cp_path("a"));
    const char *const words[] = {"unshare", "-rm", "sh", "-c", command, NULL};
    plx_run_begin(&cp_run, words, NULL);
    plx_run_end(&cp_run);
    if (strstr(cp_run.out, "mounted") == NULL) {
        print_message("skipped: no file system can be mounted: %s", cp_run.err);
        skip();
    }
    plx_run_expect(&cp_run, 0, "mounted\nstatus 1\nold\nb\n", "b: making room for it: No space");
}

static void limit_of_file_size_is_refused(void **state)
{
    (void)state;
    write_target();
    cp_write("a", 4 << 20, 1);
    cp_line("prlimit --fsize=1000000 %s cp @/a @/b", plx_run_binary());
    expect_refused("/b: making room for it: File too large");
}

static void direct_required_where_there_is_none_is_refused(void **state)
{
    (void)state;
    char command[1024];
    cp_write("a", 10, 1);
    assert_int_equal(mkdir(cp_path("small"), 0755), 0);
    snprintf(command, sizeof(command),
             "mount -t tmpfs none %s && echo mounted && %s cp --direct require %s %s",
             cp_path("small"), plx_run_binary(), cp_path("a"), cp_path("small"));
    const char *const words[] = {"unshare", "-rm", "sh", "-c", command, NULL};
    plx_run_begin(&cp_run, words, NULL);
    plx_run_end(&cp_run);
    if (strstr(cp_run.out, "mounted") == NULL) {
        print_message("skipped: no file system can be mounted: %s", cp_run.err);
        skip();
    }
    plx_run_expect(&cp_run, 1, NULL, "/a: its file system has no direct transfers");
}

static void arena_too_small_is_named(void **state)
{
    (void)state;
    write_target();
    cp_write("a", 100, 1);
    cp_line("POLLUX_ARENA_SIZE=4M pollux cp @/a @/b");
    expect_refused("POLLUX_ARENA_SIZE");
    cp_line("POLLUX_ARENA_SIZE=8M pollux cp --method ring @/a @/b");
    expect_refused("POLLUX_ARENA_SIZE");
}

/* --- system calls that fail ------------------------------------------------------------------ */

/* Calls that one of the table below denies at the most. */
#define DENIED_MAX 4

/*
 * This program in a child: makes the calls of these numbers fail, and becomes the command that
 * follows: --deny ERRNO NUMBER[,NUMBER...] WORDS
 */
static int deny_and_become(char **words)
{
    unsigned code = (unsigned)strtoul(words[0], NULL, 10);
    struct sock_filter filter[2 * DENIED_MAX + 2] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))};
    unsigned short count = 1;
    for (char *at = words[1]; *at != '\0' && count < 2 * DENIED_MAX; at += *at == ',') {
        unsigned number = (unsigned)strtoul(at, &at, 10);
        filter[count++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1);
        filter[count++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | code);
    }
    filter[count++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    const struct sock_fprog program = {.len = count, .filter = filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
        fprintf(stderr, "unable: %s\n", strerror(errno));
        return 77;
    }
    execvp(words[2], words + 2);
    return 127;
}

static const char *self(void)
{
    static char path[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);
    assert_true(length > 0);
    path[length] = '\0';
    return path;
}

static void copy_denied(const char *settings, int code, const char *numbers)
{
    cp_line("%s %s --deny %d %s %s cp --quiet @/a @/b", settings, self(), code, numbers,
            plx_run_binary());
}

/* Skips where calls cannot be denied. */
static void expect_deniable(void)
{
    copy_denied("", ENOSYS, "999");
    if (cp_run.status != 77)
        return;
    print_message("skipped: calls cannot be denied here: %s", cp_run.err);
    skip();
}

static void call_that_fails_is_told(void **state)
{
    (void)state;
    static const struct {
        long numbers[DENIED_MAX];
        const char *text;
    } cases[] = {
        {{SYS_fallocate}, "/b: making room for it: Input/output error"},
        {{SYS_ftruncate}, "/b: setting its size: Input/output error"},
        {{SYS_fchmod}, "/b: setting its mode: Input/output error"},
        {{SYS_utimensat}, "/b: setting its times: Input/output error"},
        {{SYS_fsync}, "/b: bringing it to the device: Input/output error"},
#ifdef SYS_renameat
        {{SYS_renameat, SYS_renameat2}, "/b: giving the copy its name: Input/output error"},
#else
        {{SYS_renameat2}, "/b: giving the copy its name: Input/output error"},
#endif
        {{SYS_lseek}, "/a: looking for its holes: Input/output error"},
    };
    expect_deniable();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char numbers[64];
        write_target();
        if (cases[i].numbers[0] == SYS_lseek)
            cp_write_hole("a", 100000);
        else
            cp_write("a", 100000, 5);
        snprintf(numbers, sizeof(numbers), "%ld,%ld", cases[i].numbers[0],
                 cases[i].numbers[1] != 0 ? cases[i].numbers[1] : cases[i].numbers[0]);
        copy_denied("", EIO, numbers);
        expect_refused(cases[i].text);
    }
}

/* Transfers are calls on the epoll backend alone. */
static void transfer_that_fails_is_told_with_its_place(void **state)
{
    (void)state;
    char numbers[64];
    expect_deniable();
    if (!cp_has_backend("POLLUX_BACKEND=epoll"))
        skip();
    write_target();
    cp_write("a", 300000, 5);
    snprintf(numbers, sizeof(numbers), "%d,%d", SYS_preadv, SYS_preadv2);
    copy_denied("POLLUX_BACKEND=epoll", EIO, numbers);
    expect_refused("/a: reading at byte ");
    snprintf(numbers, sizeof(numbers), "%d,%d", SYS_pwritev, SYS_pwritev2);
    copy_denied("POLLUX_BACKEND=epoll", ENOSPC, numbers);
    expect_refused("/b: writing at byte ");
    expect_refused("No space left on device");
}

static void file_system_that_reserves_nothing_is_fine(void **state)
{
    (void)state;
    char numbers[32];
    expect_deniable();
    cp_write("a", 3000001, 5);
    snprintf(numbers, sizeof(numbers), "%d", SYS_fallocate);
    copy_denied("", EOPNOTSUPP, numbers);
    cp_expect_good();
    cp_expect_same("a", "b");
}

static void direct_transfers_refused_when_made_go_through_the_cache(void **state)
{
    (void)state;
    char numbers[32];
    expect_deniable();
    if (!cp_has_backend("POLLUX_BACKEND=epoll"))
        skip();
    write_target();
    cp_write("a", 300000, 5);
    /* They are refused through the cache, too, and that is the end of it. */
    snprintf(numbers, sizeof(numbers), "%d,%d", SYS_preadv, SYS_preadv2);
    copy_denied("POLLUX_BACKEND=epoll", EINVAL, numbers);
    expect_refused("Invalid argument");
}

/* --- interruption ---------------------------------------------------------------------------- */

static void expect_interrupted_by(int number)
{
    assert_true(cp_begin_until_draft(SLOWLY));
    plx_run_signal(&cp_run, number);
    plx_run_end(&cp_run);
    plx_run_expect(&cp_run, 128 + number, NULL, "interrupted; nothing was kept");
    cp_expect_no_draft();
    cp_expect_same("before", "b");
}

static void signal_ends_it_and_removes_the_draft(void **state)
{
    (void)state;
    write_target();
    cp_write_hole("a", SLOW_BYTES);
    expect_interrupted_by(SIGINT);
    expect_interrupted_by(SIGTERM);
    expect_interrupted_by(SIGHUP);
}

static void second_signal_ends_it_without_a_draft(void **state)
{
    (void)state;
    write_target();
    cp_write_hole("a", SLOW_BYTES);
    assert_true(cp_begin_until_draft(SLOWLY));
    plx_run_signal(&cp_run, SIGTERM);
    plx_run_signal(&cp_run, SIGINT);
    plx_run_end(&cp_run);
    /* One may have come when the other's work was done. */
    assert_true(cp_run.status == 128 + SIGINT || cp_run.status == 128 + SIGTERM);
    cp_expect_no_draft();
    cp_expect_same("before", "b");
}

/* --- the command line ------------------------------------------------------------------------ */

static void wrong_command_line_is_usage(void **state)
{
    (void)state;
    static const struct {
        const char *words;
        const char *text;
    } cases[] = {
        {"", "name what to copy"},
        {"a", "name what to copy"},
        {"a b c", "too many names"},
        {"--block 5000 a b", "--block: 5000 is no power of two"},
        {"--block 2M a b", "--block"},
        {"--depth 0 a b", "--depth"},
        {"--depth 1024 --block 1M a b", "too many"},
        {"--method mmap a b", "--method"},
        {"--direct maybe a b", "--direct"},
        {"--metod ring a b", "did you mean --method"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        cp_line("pollux cp %s", cases[i].words);
        plx_run_expect(&cp_run, 2, NULL, cases[i].text);
    }
    cp_line("POLLUX_IDLE=maybe pollux cp a b");
    plx_run_expect(&cp_run, 2, NULL, "POLLUX_IDLE");
}

int main(int argc, char **argv)
{
    if (argc > 4 && strcmp(argv[1], "--deny") == 0)
        return deny_and_become(argv + 2);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(source_missing_is_named, cp_end_case),
        cmocka_unit_test_teardown(source_of_another_kind_is_named, cp_end_case),
        cmocka_unit_test_teardown(source_unreadable_is_named, cp_end_case),
        cmocka_unit_test_teardown(source_that_grows_is_refused, cp_end_case),
        cmocka_unit_test_teardown(source_that_shrinks_is_refused, cp_end_case),
        cmocka_unit_test_teardown(source_written_to_meanwhile_is_refused, cp_end_case),
        cmocka_unit_test_teardown(target_that_is_the_source_is_refused, cp_end_case),
        cmocka_unit_test_teardown(target_of_another_kind_is_named, cp_end_case),
        cmocka_unit_test_teardown(target_in_no_directory_is_named, cp_end_case),
        cmocka_unit_test_teardown(target_with_too_long_a_name_is_named, cp_end_case),
        cmocka_unit_test_teardown(target_read_only_is_named, cp_end_case),
        cmocka_unit_test_teardown(device_without_room_is_refused, cp_end_case),
        cmocka_unit_test_teardown(limit_of_file_size_is_refused, cp_end_case),
        cmocka_unit_test_teardown(direct_required_where_there_is_none_is_refused, cp_end_case),
        cmocka_unit_test_teardown(arena_too_small_is_named, cp_end_case),
        cmocka_unit_test_teardown(call_that_fails_is_told, cp_end_case),
        cmocka_unit_test_teardown(transfer_that_fails_is_told_with_its_place, cp_end_case),
        cmocka_unit_test_teardown(file_system_that_reserves_nothing_is_fine, cp_end_case),
        cmocka_unit_test_teardown(direct_transfers_refused_when_made_go_through_the_cache,
                                  cp_end_case),
        cmocka_unit_test_teardown(signal_ends_it_and_removes_the_draft, cp_end_case),
        cmocka_unit_test_teardown(second_signal_ends_it_without_a_draft, cp_end_case),
        cmocka_unit_test_teardown(wrong_command_line_is_usage, cp_end_case),
    };
    return cmocka_run_group_tests(tests, cp_make_folder, cp_remove_folder);
}
