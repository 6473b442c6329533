/* SPDX-License-Identifier: MIT */
/* pollux cp where it succeeds: contents, attributes, holes, what it prints, its system calls. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "test/runtime/rt_fixture.h"
#include "test/tools/cp_fixture.h"

static const char *const methods[] = {"fixed", "ring", "plain"};

#define METHODS (sizeof(methods) / sizeof(methods[0]))

/* --- contents -------------------------------------------------------------------------------- */

static void expect_copies(const char *setting, const uint64_t *sizes, size_t count)
{
    if (!cp_has_backend(setting))
        skip();
    for (size_t i = 0; i < count; i++) {
        cp_write("a", sizes[i], i + 1);
        for (size_t j = 0; j < METHODS; j++) {
            cp_line("%s pollux cp --method %s @/a @/b", setting, methods[j]);
            cp_expect_good();
            cp_expect_same("a", "b");
        }
    }
}

/* Around what is rounded: a unit of direct transfers, a block, all blocks in flight. */
static const uint64_t edges[] = {0,     1,     511,   4095,    4096,   4097,
                                 65535, 65536, 65537, 8388608, 8388609};

static const uint64_t large[] = {1 << 20, (16 << 20) + 12345, 64 << 20};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void copy_by_uring_around_blocks_equals_its_source(void **state)
{
    (void)state;
    expect_copies("POLLUX_BACKEND=uring POLLUX_SQPOLL=off", edges, COUNT(edges));
}

static void copy_by_uring_of_many_blocks_equals_its_source(void **state)
{
    (void)state;
    expect_copies("POLLUX_BACKEND=uring POLLUX_SQPOLL=off", large, COUNT(large));
}

static void copy_by_sqpoll_equals_its_source(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {1, 65537, (4 << 20) + 1};
    expect_copies("POLLUX_BACKEND=uring POLLUX_SQPOLL=on", sizes, COUNT(sizes));
}

static void copy_by_epoll_around_blocks_equals_its_source(void **state)
{
    (void)state;
    expect_copies("POLLUX_BACKEND=epoll", edges, COUNT(edges));
}

static void copy_by_epoll_of_many_blocks_equals_its_source(void **state)
{
    (void)state;
    expect_copies("POLLUX_BACKEND=epoll", large, COUNT(large));
}

static void copy_with_any_shape_equals_its_source(void **state)
{
    (void)state;
    static const char *const shapes[] = {"--depth 1",
                                         "--depth 3 --block 4K",
                                         "--depth 64 --block 256K",
                                         "--depth 2 --block 1M",
                                         "--direct no",
                                         "--direct no --block 4K --depth 1024"};
    static const char *const idles[] = {"spin", "yield", "adaptive", "block"};
    cp_write("a", 1234567, 9);
    for (size_t i = 0; i < COUNT(shapes); i++) {
        for (size_t j = 0; j < METHODS; j++) {
            cp_line("POLLUX_IDLE=%s pollux cp --method %s %s @/a @/b", idles[(i + j) % 4],
                    methods[j], shapes[i]);
            cp_expect_good();
            cp_expect_same("a", "b");
        }
    }
}

static void copy_through_a_small_ring_waits_for_room(void **state)
{
    (void)state;
    cp_write("a", 20 << 20, 3);
    cp_line("POLLUX_RING_ENTRIES=16 pollux cp @/a @/b");
    cp_expect_good();
    cp_expect_same("a", "b");
}

static void copy_without_registered_buffers_equals_its_source(void **state)
{
    (void)state;
    cp_write("a", 3000000, 4);
    cp_line("POLLUX_PREFAULT=no pollux cp --json @/a @/b");
    plx_run_expect(&cp_run, 0, "\"fixed_buffers\": false", NULL);
    cp_expect_same("a", "b");
}

/* --- where to, and what is kept -------------------------------------------------------------- */

static void copy_into_a_directory_takes_the_source_name(void **state)
{
    (void)state;
    cp_write("a", 5000, 5);
    assert_int_equal(mkdir(cp_path("d"), 0755), 0);
    cp_line("pollux cp @/a @/d");
    cp_expect_good();
    cp_expect_same("a", "d/a");
    cp_write("a", 6000, 6);
    cp_line("pollux cp @/a @/d/");
    cp_expect_good();
    cp_expect_same("a", "d/a");
}

static void copy_over_a_file_replaces_it_for_new_readers(void **state)
{
    (void)state;
    char old[8] = "";
    cp_write("a", 70000, 7);
    cp_write("b", 100, 8);
    int reader = open(cp_path("b"), O_RDONLY | O_CLOEXEC);
    cp_line("pollux cp @/a @/b");
    cp_expect_good();
    cp_expect_same("a", "b");
    /* Who had it open still has what was there. */
    assert_int_equal(lseek(reader, 0, SEEK_END), 100);
    assert_int_equal(pread(reader, old, sizeof(old), 0), sizeof(old));
    close(reader);
}

static void copy_through_links_replaces_what_they_lead_to(void **state)
{
    (void)state;
    cp_write("a", 5000, 5);
    cp_write("b", 10, 6);
    assert_int_equal(symlink("a", cp_path("to-a")), 0);
    assert_int_equal(symlink("b", cp_path("to-b")), 0);
    cp_line("pollux cp @/to-a @/to-b");
    cp_expect_good();
    cp_expect_same("a", "b");
    struct stat link;
    assert_int_equal(lstat(cp_path("to-b"), &link), 0);
    assert_true(S_ISLNK(link.st_mode));
}

static void copy_keeps_mode_and_times(void **state)
{
    (void)state;
    const struct timespec times[2] = {{.tv_sec = 1000000000, .tv_nsec = 123456789},
                                      {.tv_sec = 1234567890, .tv_nsec = 987654321}};
    cp_write("a", 5000, 5);
    assert_int_equal(chmod(cp_path("a"), 0751), 0);
    assert_int_equal(utimensat(AT_FDCWD, cp_path("a"), times, 0), 0);
    cp_line("pollux cp @/a @/b");
    cp_expect_good();
    struct stat b = cp_stat("b");
    assert_int_equal(b.st_mode & 07777, 0751);
    assert_int_equal(b.st_mtim.tv_sec, times[1].tv_sec);
    assert_int_equal(b.st_mtim.tv_nsec, times[1].tv_nsec);
    assert_int_equal(b.st_atim.tv_sec, times[0].tv_sec);
}

static void copy_as_root_keeps_the_owner(void **state)
{
    (void)state;
    cp_write("a", 100, 5);
    if (chown(cp_path("a"), 65534, 65534) != 0) {
        print_message("skipped: chown: %s\n", strerror(errno));
        skip();
    }
    assert_int_equal(chmod(cp_path("a"), 04755), 0);
    cp_line("pollux cp --json @/a @/b");
    plx_run_expect(&cp_run, 0, "\"owner_kept\": true", NULL);
    struct stat b = cp_stat("b");
    assert_int_equal(b.st_uid, 65534);
    assert_int_equal(b.st_mode & 07777, 04755);
}

static void copy_as_nobody_drops_set_id_bits_with_the_owner(void **state)
{
    (void)state;
    if (!cp_has_nobody())
        skip();
    cp_write("a", 100, 5);
    assert_int_equal(chmod(cp_path("a"), 06755), 0);
    cp_line(CP_NOBODY "%s cp --json @/a @/b", plx_run_binary());
    plx_run_expect(&cp_run, 0, "\"owner_kept\": false", NULL);
    struct stat b = cp_stat("b");
    assert_int_equal(b.st_uid, 65534);
    assert_int_equal(b.st_mode & 07777, 0755);
    cp_expect_same("a", "b");
}

static void copy_of_a_source_removed_meanwhile_is_whole(void **state)
{
    (void)state;
    cp_write("a", 32 << 20, 11);
    assert_int_equal(link(cp_path("a"), cp_path("kept")), 0);
    assert_true(cp_begin_until_draft("pollux cp --depth 1 --block 16K @/a @/b"));
    assert_int_equal(unlink(cp_path("a")), 0);
    plx_run_end(&cp_run);
    cp_expect_good();
    cp_expect_same("kept", "b");
}

/* --- holes ----------------------------------------------------------------------------------- */

static void write_with_holes(void)
{
    static const char text[] = "data";
    cp_write_hole("a", (32 << 20) + 100);
    int fd = open(cp_path("a"), O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    static const off_t places[] = {0, 5000, 1 << 20, (1 << 20) + 70000, 20 << 20};
    for (size_t i = 0; i < COUNT(places); i++)
        assert_int_equal(pwrite(fd, text, sizeof(text), places[i]), sizeof(text));
    assert_int_equal(fsync(fd), 0);
    close(fd);
}

static void copy_of_a_file_with_holes_has_them_too(void **state)
{
    (void)state;
    write_with_holes();
    if (cp_stat("a").st_blocks * 512 > 8 << 20) {
        print_message("skipped: this file system has no holes\n");
        skip();
    }
    for (size_t i = 0; i < METHODS; i++) {
        cp_line("pollux cp --method %s @/a @/b", methods[i]);
        cp_expect_good();
        cp_expect_same("a", "b");
        assert_true(cp_stat("b").st_blocks * 512 < 8 << 20);
    }
    plx_run_expect(&cp_run, 0, "without its holes", NULL);
}

static void copy_told_to_fill_holes_has_none(void **state)
{
    (void)state;
    write_with_holes();
    cp_line("pollux cp --fill-holes @/a @/b");
    cp_expect_good();
    cp_expect_same("a", "b");
    assert_true(cp_stat("b").st_blocks * 512 >= 32 << 20);
}

static void copy_of_nothing_but_a_hole_is_one(void **state)
{
    (void)state;
    cp_write_hole("a", 10000001);
    cp_line("pollux cp @/a @/b");
    cp_expect_good();
    cp_expect_same("a", "b");
}

/* --- what it prints -------------------------------------------------------------------------- */

static void summary_tells_what_was_got(void **state)
{
    (void)state;
    cp_write("a", 1 << 20, 5);
    cp_line("pollux cp @/a @/b");
    plx_run_expect(&cp_run, 0, "copied 1 MiB in ", "");
    plx_run_expect(&cp_run, 0, ": fixed, ", "");
    plx_run_expect(&cp_run, 0, "0 copies in user space", "");
    cp_line("pollux cp --quiet @/a @/b");
    cp_expect_good();
    assert_string_equal(cp_run.out, "");
}

static int64_t json_number(const json_t *all, const char *key)
{
    const json_t *number = json_object_get(all, key);
    if (!json_is_integer(number))
        fail_msg("%s is no whole number", key);
    return json_integer_value(number);
}

static void json_counts_copies_of_each_method(void **state)
{
    (void)state;
    cp_write("a", (1 << 20) + 1, 5);
    for (size_t i = 0; i < METHODS; i++) {
        bool is_ring = strcmp(methods[i], "ring") == 0;
        cp_line("pollux cp --json --direct no --method %s @/a @/b", methods[i]);
        plx_run_expect(&cp_run, 0, NULL, NULL);
        json_t *all = json_loads(cp_run.out, 0, NULL);
        assert_non_null(all);
        assert_int_equal(json_number(all, "bytes"), (1 << 20) + 1);
        assert_int_equal(json_number(all, "copies"), is_ring ? 17 : 0);
        assert_int_equal(json_number(all, "copied_bytes"), is_ring ? (1 << 20) + 1 : 0);
        assert_string_equal(json_string_value(json_object_get(all, "method")), methods[i]);
        assert_true(json_is_false(json_object_get(all, "direct_source")));
        assert_true(json_is_false(json_object_get(all, "direct_target")));
        assert_true(json_real_value(json_object_get(all, "seconds")) > 0);
        assert_true(json_real_value(json_object_get(all, "rate_bytes_per_s")) > 0);
        json_decref(all);
    }
}

static void progress_on_a_terminal_shows_rate_and_time_left(void **state)
{
    (void)state;
    char command[512];
    cp_write_hole("a", 64 << 20);
    snprintf(command, sizeof(command),
             "script -qec '%s cp --fill-holes --depth 1 --block 4K %s %s' /dev/null",
             plx_run_binary(), cp_path("a"), cp_path("b"));
    const char *const words[] = {"sh", "-c", command, NULL};
    plx_run_begin(&cp_run, words, NULL);
    plx_run_end(&cp_run);
    plx_run_expect(&cp_run, 0, " of 64 MiB (", NULL);
    plx_run_expect(&cp_run, 0, " s left", NULL);
    plx_run_expect(&cp_run, 0, "copied 64 MiB", NULL);
}

static void help_shows_examples(void **state)
{
    (void)state;
    cp_line("pollux cp --help");
    plx_run_expect(&cp_run, 0, "pollux cp journal.old /backup/", "");
    plx_run_expect(&cp_run, 0, "--method fixed|ring|plain", "");
}

/* --- system calls ---------------------------------------------------------------------------- */

/* Lines of a trace that name a file of ours. */
static unsigned transfers_on_our_files(const char *trace)
{
    char line[4096];
    unsigned count = 0;
    FILE *lines = fopen(cp_path(trace), "re");
    assert_non_null(lines);
    while (fgets(line, sizeof(line), lines) != NULL)
        count += strstr(line, cp_path("")) != NULL;
    fclose(lines);
    return count;
}

static void copy_makes_no_read_or_write_call(void **state)
{
    (void)state;
    static const char strace[] =
        "strace -f -y -e trace=read,write,pread64,pwrite64,readv,writev,preadv,pwritev,preadv2,"
        "pwritev2,copy_file_range,sendfile,splice,mmap -o @/trace";
    if (rt_is_sanitized() || system("strace -f -o /dev/null true >/dev/null 2>&1") != 0) {
        print_message("skipped: strace cannot look at it here\n");
        skip();
    }
    if (!cp_has_backend("POLLUX_BACKEND=uring"))
        skip();
    cp_write("a", 16 << 20, 5);
    for (size_t i = 0; i < METHODS; i++) {
        cp_line("POLLUX_BACKEND=uring %s %s cp --method %s @/a @/b", strace, plx_run_binary(),
                methods[i]);
        plx_run_expect(&cp_run, 0, "copied 16 MiB", NULL);
        cp_expect_same("a", "b");
        assert_int_equal(transfers_on_our_files("trace"), 0);
    }
    /* That they would be seen. */
    cp_line("%s cp --reflink=never @/a @/b", strace);
    plx_run_expect(&cp_run, 0, NULL, NULL);
    assert_true(transfers_on_our_files("trace") > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(copy_by_uring_around_blocks_equals_its_source, cp_end_case),
        cmocka_unit_test_teardown(copy_by_uring_of_many_blocks_equals_its_source, cp_end_case),
        cmocka_unit_test_teardown(copy_by_sqpoll_equals_its_source, cp_end_case),
        cmocka_unit_test_teardown(copy_by_epoll_around_blocks_equals_its_source, cp_end_case),
        cmocka_unit_test_teardown(copy_by_epoll_of_many_blocks_equals_its_source, cp_end_case),
        cmocka_unit_test_teardown(copy_with_any_shape_equals_its_source, cp_end_case),
        cmocka_unit_test_teardown(copy_through_a_small_ring_waits_for_room, cp_end_case),
        cmocka_unit_test_teardown(copy_without_registered_buffers_equals_its_source, cp_end_case),
        cmocka_unit_test_teardown(copy_into_a_directory_takes_the_source_name, cp_end_case),
        cmocka_unit_test_teardown(copy_over_a_file_replaces_it_for_new_readers, cp_end_case),
        cmocka_unit_test_teardown(copy_through_links_replaces_what_they_lead_to, cp_end_case),
        cmocka_unit_test_teardown(copy_keeps_mode_and_times, cp_end_case),
        cmocka_unit_test_teardown(copy_as_root_keeps_the_owner, cp_end_case),
        cmocka_unit_test_teardown(copy_as_nobody_drops_set_id_bits_with_the_owner, cp_end_case),
        cmocka_unit_test_teardown(copy_of_a_source_removed_meanwhile_is_whole, cp_end_case),
        cmocka_unit_test_teardown(copy_of_a_file_with_holes_has_them_too, cp_end_case),
        cmocka_unit_test_teardown(copy_told_to_fill_holes_has_none, cp_end_case),
        cmocka_unit_test_teardown(copy_of_nothing_but_a_hole_is_one, cp_end_case),
        cmocka_unit_test_teardown(summary_tells_what_was_got, cp_end_case),
        cmocka_unit_test_teardown(json_counts_copies_of_each_method, cp_end_case),
        cmocka_unit_test_teardown(progress_on_a_terminal_shows_rate_and_time_left, cp_end_case),
        cmocka_unit_test_teardown(help_shows_examples, cp_end_case),
        cmocka_unit_test_teardown(copy_makes_no_read_or_write_call, cp_end_case),
    };
    return cmocka_run_group_tests(tests, cp_make_folder, cp_remove_folder);
}
