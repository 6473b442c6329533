/* SPDX-License-Identifier: MIT */
/*
 * The simulated world by itself: what its files are after a crash, what its sockets refuse, what it
 * tells of broken rules; and a journal whose fdatasync fails once.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/file/journal.h"
#include "runtime/runtime_internal.h"
#include "test/runtime/io/seen.h"
#include "test/runtime/rt_fixture.h"
#include "test/sim/world.h"

#define TURNS_MAX 10000u

/* Answers 1 to one kind of question, from the `skip`th on, so many times. */
struct here {
    struct plx__sim_world *world;
    struct plx_runtime *runtime;
    struct plx_reactor *reactor;
    enum plx__sim_choice choice;
    unsigned skip;
    unsigned times;
    bool alternates; /* every other one only */
    unsigned asked;
    unsigned broken;
};

static uint64_t choose(void *ctx, enum plx__sim_choice choice, uint64_t bound)
{
    struct here *here = ctx;
    (void)bound;
    if (choice != here->choice || here->times == 0)
        return 0;
    here->asked++;
    if (here->skip > 0) {
        here->skip--;
        return 0;
    }
    if (here->alternates && here->asked % 2 == 0)
        return 0;
    here->times--;
    return 1;
}

static void note_broken(void *ctx, const char *text)
{
    struct here *here = ctx;
    (void)text;
    here->broken++;
}

static void begin_life(struct here *here)
{
    here->runtime = rt_create("ring_entries=64", NULL);
    plx__runtime_use_world(here->runtime, here->world);
    here->reactor = rt_adopt(here->runtime, 0);
}

static int set_up(void **state)
{
    static struct here the_one;
    struct here *here = &the_one;
    *here = (struct here){.choice = PLX__SIM_CHOICE_COUNT};
    const struct plx__sim_hooks hooks = {.choose = choose, .broken = note_broken, .ctx = here};
    assert_int_equal(plx__sim_world_create(&hooks, &here->world), 0);
    plx__sim_world_pace(here->world, 5000);
    begin_life(here);
    *state = here;
    return 0;
}

static void end_life(struct here *here)
{
    if (here->reactor != NULL)
        rt_abandon(here->reactor);
    here->reactor = NULL;
    plx_runtime_destroy(here->runtime);
    here->runtime = NULL;
}

static int tear_down(void **state)
{
    struct here *here = *state;
    end_life(here);
    plx__sim_world_destroy(here->world);
    return 0;
}

static void crash(struct here *here, enum plx__sim_choice choice, bool alternates)
{
    end_life(here);
    here->choice = choice;
    here->alternates = alternates;
    here->skip = 0;
    here->asked = 0;
    here->times = UINT32_MAX;
    plx__sim_world_crash(here->world);
    here->times = 0;
    begin_life(here);
}

static int32_t run(struct here *here, struct seen *seen)
{
    assert_int_equal(plx_op_submit(here->reactor, &seen->op), 0);
    for (unsigned i = 0; seen->terminals == 0 && i < TURNS_MAX; i++)
        plx_reactor_poll(here->reactor);
    assert_int_equal(seen->terminals, 1);
    return seen->event[seen->events - 1].result;
}

static int32_t sync_fd(struct here *here, int fd)
{
    struct seen seen = {0};
    plx_op_fsync(&seen.op, fd, 0, seen_note, &seen);
    return run(here, &seen);
}

static void put(struct here *here, int fd, char byte, uint64_t offset, uint32_t len)
{
    static char data[8192];
    struct seen seen = {0};
    memset(data, byte, sizeof(data));
    plx_op_write(&seen.op, fd, data, len, offset, seen_note, &seen);
    assert_int_equal(run(here, &seen), (int32_t)len);
}

static int open_file(struct here *here, const char *name)
{
    int fd = plx__sim_plain_open(here->world, name, O_RDWR | O_CREAT);
    assert_true(fd >= 0);
    return fd;
}

static char byte_at(struct here *here, uint64_t offset)
{
    char byte = 0;
    assert_int_equal(plx__sim_file_look(here->world, "/f", offset, &byte, 1), 1);
    return byte;
}

/* --- files ------------------------------------------------------------------------------------ */

static void make_known(struct here *here, int *fd)
{
    *fd = open_file(here, "/f");
    put(here, *fd, 'a', 0, 8192);
    assert_int_equal(sync_fd(here, *fd), 0);
    int folder = plx__sim_plain_open(here->world, "/", O_RDONLY | O_DIRECTORY);
    assert_true(folder >= 0);
    assert_int_equal(sync_fd(here, folder), 0);
}

static void page_not_synchronised_is_lost_with_the_power(void **state)
{
    struct here *here = *state;
    int fd;
    make_known(here, &fd);
    put(here, fd, 'b', 4096, 4096);
    assert_int_equal(byte_at(here, 4096), 'b');
    crash(here, PLX__SIM_CRASH_PAGE, false);
    assert_int_equal(byte_at(here, 0), 'a');
    assert_int_equal(byte_at(here, 4096), 'a');
    assert_int_equal(plx__sim_world_open_count(here->world), 0);
}

static void page_not_synchronised_is_torn_in_sectors(void **state)
{
    struct here *here = *state;
    int fd;
    make_known(here, &fd);
    put(here, fd, 'b', 0, 4096);
    crash(here, PLX__SIM_CRASH_TORN, true);
    unsigned old = 0;
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(byte_at(here, i * 512), byte_at(here, i * 512 + 511));
        old += byte_at(here, i * 512) == 'a';
    }
    assert_int_equal(old, 4);
}

static void length_and_name_not_synchronised_may_be_lost(void **state)
{
    struct here *here = *state;
    int fd;
    make_known(here, &fd);
    put(here, fd, 'b', 8192, 100);
    crash(here, PLX__SIM_CRASH_SIZE, false);
    char byte;
    assert_int_equal(plx__sim_file_look(here->world, "/f", 8192, &byte, 1), 0);
    (void)open_file(here, "/g");
    crash(here, PLX__SIM_CRASH_NAME, false);
    assert_int_equal(plx__sim_file_look(here->world, "/g", 0, &byte, 1), -ENOENT);
    assert_int_equal(byte_at(here, 0), 'a');
}

static void fsync_that_failed_is_not_made_up_for_by_the_next(void **state)
{
    struct here *here = *state;
    int fd;
    make_known(here, &fd);
    put(here, fd, 'b', 0, 4096);
    here->choice = PLX__SIM_SYNC_ERROR;
    here->times = 1;
    assert_int_equal(sync_fd(here, fd), -EIO);
    assert_int_equal(sync_fd(here, fd), 0);
    assert_int_equal(byte_at(here, 0), 'b');
    crash(here, PLX__SIM_CHOICE_COUNT, false);
    assert_int_equal(byte_at(here, 0), 'a');
}

static void file_refuses_what_a_kernel_refuses(void **state)
{
    struct here *here = *state;
    int fd = open_file(here, "/f");
    struct seen seen[5] = {0};
    char byte;
    int reader = plx__sim_plain_open(here->world, "/f", O_RDONLY);
    assert_int_equal(plx__sim_plain_write(here->world, reader, "x", 1, 0), -EBADF);
    int direct = plx__sim_plain_open(here->world, "/f", O_RDWR | O_DIRECT);
    plx_op_read(&seen[0].op, direct, &byte, 1, 0, seen_note, &seen[0]);
    assert_int_equal(run(here, &seen[0]), -EINVAL);
    plx_op_write(&seen[1].op, fd, "x", 1, (uint64_t)1 << 40, seen_note, &seen[1]);
    assert_int_equal(run(here, &seen[1]), -EFBIG);
    plx_op_fallocate(&seen[2].op, fd, 0, 0, 0, seen_note, &seen[2]);
    assert_int_equal(run(here, &seen[2]), -EINVAL);
    plx_op_openat(&seen[3].op, AT_FDCWD, "/f", O_CREAT | O_EXCL, 0, seen_note, &seen[3]);
    assert_int_equal(run(here, &seen[3]), -EEXIST);
    plx_op_openat(&seen[4].op, fd, "below", O_RDONLY, 0, seen_note, &seen[4]);
    assert_int_equal(run(here, &seen[4]), -ENOTDIR);
    assert_int_equal(plx__sim_file_make(here->world, "/f", "x", 1), -EEXIST);
    assert_int_equal(plx__sim_file_unlink(here->world, AT_FDCWD, "/none"), -ENOENT);
}

/* --- sockets ---------------------------------------------------------------------------------- */

static int bound(uint16_t port, bool shared)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(port)};
    int on = 1;
    int fd = plx__sim_plain.socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    if (shared)
        assert_int_equal(plx__sim_plain.setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)),
                         0);
    int rc = plx__sim_plain.bind(fd, (struct sockaddr *)&addr, sizeof(addr));
    if (rc == 0)
        return fd;
    (void)plx__sim_plain.close(fd);
    return rc;
}

static void file_is_locked_by_one_descriptor_at_a_time(void **state)
{
    struct here *here = *state;
    plx__sim_world_enter(here->world);
    int fds[3];
    for (unsigned i = 0; i < 3; i++)
        fds[i] = plx__sim_plain_open(here->world, i < 2 ? "/f" : "/g", O_RDWR | O_CREAT);
    int reader = plx__sim_plain_open(here->world, "/f", O_RDONLY);
    assert_int_equal(plx__sim_plain.lock(reader), -EBADF);
    assert_int_equal(plx__sim_plain.lock(-1), -EBADF);
    assert_int_equal(plx__sim_plain.lock(fds[0]), 0);
    assert_int_equal(plx__sim_plain.lock(fds[0]), 0);
    assert_int_equal(plx__sim_plain.lock(fds[1]), -EAGAIN);
    assert_int_equal(plx__sim_plain.lock(fds[2]), 0);
    assert_int_equal(plx__sim_plain.close(reader), 0);
    assert_int_equal(plx__sim_plain.lock(fds[1]), -EAGAIN);
    assert_int_equal(plx__sim_plain.close(fds[0]), 0);
    assert_int_equal(plx__sim_plain.lock(fds[1]), 0);
    /* Or when it is unlocked, by its holder alone. */
    assert_int_equal(plx__sim_plain.unlock(-1), -EBADF);
    fds[0] = plx__sim_plain_open(here->world, "/f", O_RDWR);
    assert_int_equal(plx__sim_plain.unlock(fds[0]), 0);
    assert_int_equal(plx__sim_plain.lock(fds[0]), -EAGAIN);
    assert_int_equal(plx__sim_plain.unlock(fds[1]), 0);
    assert_int_equal(plx__sim_plain.lock(fds[0]), 0);
    /* With the process all locks go. */
    end_life(here);
    plx__sim_world_forget(here->world);
    int fd = plx__sim_plain_open(here->world, "/f", O_RDWR);
    assert_int_equal(plx__sim_plain.lock(fd), 0);
    begin_life(here);
}

static void address_in_use_is_refused_unless_all_share_it(void **state)
{
    (void)state;
    assert_true(bound(7000, false) >= 0);
    assert_int_equal(bound(7000, true), -EADDRINUSE);
    assert_true(bound(7001, true) >= 0);
    assert_true(bound(7001, true) >= 0);
    assert_int_equal(bound(7001, false), -EADDRINUSE);
    assert_int_equal(plx__sim_plain.socket(AF_INET, SOCK_DGRAM, 0), -EAFNOSUPPORT);
    assert_int_equal(plx__sim_plain.listen(5, 1), -EBADF);
}

static void descriptors_run_out_and_come_back(void **state)
{
    struct here *here = *state;
    int pair[2];
    unsigned count = 0;
    while (plx__sim_pair(here->world, SOCK_STREAM, pair) == 0)
        count++;
    assert_int_equal(count, PLX__SIM_FDS / 2);
    assert_int_equal(plx__sim_plain.socket(AF_INET, SOCK_STREAM, 0), -EMFILE);
    assert_int_equal(plx__sim_plain_open(here->world, "/f", O_RDWR | O_CREAT), -EMFILE);
    assert_int_equal(plx__sim_plain.close(PLX__SIM_FD_FIRST + 7), 0);
    /* One is not two: nothing is left behind. */
    assert_int_equal(plx__sim_pair(here->world, SOCK_STREAM, pair), -EMFILE);
    assert_int_equal(plx__sim_plain.socket(AF_INET, SOCK_STREAM, 0), PLX__SIM_FD_FIRST + 7);
}

/* --- rules ------------------------------------------------------------------------------------ */

static void memory_changed_in_flight_is_told(void **state)
{
    struct here *here = *state;
    int pair[2];
    assert_int_equal(plx__sim_pair(here->world, SOCK_STREAM, pair), 0);
    char data[] = "as it was";
    struct seen seen = {0};
    plx_op_send(&seen.op, pair[0], data, sizeof(data), 0, PLX_QUEUED, seen_note, &seen);
    assert_int_equal(plx_op_submit(here->reactor, &seen.op), 0);
    data[0] = 'A';
    for (unsigned i = 0; seen.terminals == 0 && i < TURNS_MAX; i++)
        plx_reactor_poll(here->reactor);
    assert_int_equal(here->broken, 1);
}

static void descriptor_closed_while_an_op_names_it_is_told(void **state)
{
    struct here *here = *state;
    int pair[2];
    assert_int_equal(plx__sim_pair(here->world, SOCK_STREAM, pair), 0);
    char byte;
    struct seen seen = {0};
    plx_op_recv(&seen.op, pair[0], &byte, 1, 0, seen_note, &seen);
    assert_int_equal(plx_op_submit(here->reactor, &seen.op), 0);
    assert_int_equal(plx__sim_plain.close(pair[0]), 0);
    int again[2];
    assert_int_equal(plx__sim_pair(here->world, SOCK_STREAM, again), 0);
    assert_int_equal(again[0], pair[0]);
    plx_reactor_poll(here->reactor);
    assert_int_equal(here->broken, 1);
    plx_op_cancel(here->reactor, &seen.op);
    for (unsigned i = 0; seen.terminals == 0 && i < TURNS_MAX; i++)
        plx_reactor_poll(here->reactor);
    assert_int_equal(seen.terminals, 1);
}

static void file_op_on_a_socket_is_told(void **state)
{
    struct here *here = *state;
    int pair[2];
    assert_int_equal(plx__sim_pair(here->world, SOCK_STREAM, pair), 0);
    struct seen seen = {0};
    plx_op_write(&seen.op, pair[0], "x", 1, 0, seen_note, &seen);
    assert_int_equal(run(here, &seen), -EINVAL);
    assert_int_equal(here->broken, 1);
}

/* --- a journal -------------------------------------------------------------------------------- */

struct journal_here {
    struct plx_journal journal;
    unsigned records;
    int opened; /* 1: not yet */
    int closed;
};

static int count_record(uint64_t sequence, const void *data, uint32_t len, void *ctx)
{
    struct journal_here *j = ctx;
    assert_int_equal(len, 4);
    assert_memory_equal(data, "text", 4);
    assert_int_equal(sequence, j->records + 1);
    j->records++;
    return 0;
}

static void note_opened(struct plx_journal *journal, int result, void *ctx)
{
    (void)journal;
    ((struct journal_here *)ctx)->opened = result;
}

static void note_closed(struct plx_journal *journal, int result, void *ctx)
{
    (void)journal;
    ((struct journal_here *)ctx)->closed = result;
}

static void open_journal(struct here *here, struct journal_here *j)
{
    struct plx_journal_opts opts;
    plx_journal_opts_init(&opts);
    opts.segment_bytes = 32768;
    opts.segments = 2;
    opts.buffer_bytes = 8192;
    opts.on_record = count_record;
    opts.ctx = j;
    j->records = 0;
    j->opened = 1;
    assert_int_equal(plx_journal_open(&j->journal, here->reactor, plx_reactor_pool(here->reactor),
                                      "/log", &opts, note_opened, j),
                     0);
    for (unsigned i = 0; j->opened == 1 && i < TURNS_MAX; i++)
        plx_reactor_poll(here->reactor);
    assert_int_equal(j->opened, 0);
}

static int close_journal(struct here *here, struct journal_here *j)
{
    j->closed = 1;
    assert_int_equal(plx_journal_close(&j->journal, note_closed, j), 0);
    for (unsigned i = 0; j->closed == 1 && i < TURNS_MAX; i++)
        plx_reactor_poll(here->reactor);
    return j->closed;
}

/* The cache has what the device has not: read by the next opening, it must be made durable. */
static void journal_opened_after_a_failed_fdatasync_keeps_what_it_gives(void **state)
{
    struct here *here = *state;
    struct journal_here *j = calloc(1, sizeof(*j));
    assert_non_null(j);
    open_journal(here, j);
    for (unsigned i = 0; i < TURNS_MAX; i++)
        plx_reactor_poll(here->reactor);
    here->choice = PLX__SIM_SYNC_ERROR;
    here->times = 1;
    assert_int_equal(plx_journal_append(&j->journal, "text", 4, NULL), 0);
    assert_int_equal(close_journal(here, j), -EIO);
    assert_int_equal(here->times, 0);

    open_journal(here, j);
    assert_int_equal(j->records, 1);
    assert_int_equal(plx_journal_durable(&j->journal), 1);
    assert_int_equal(close_journal(here, j), 0);
    crash(here, PLX__SIM_CRASH_PAGE, false);
    open_journal(here, j);
    assert_int_equal(j->records, 1);
    assert_int_equal(close_journal(here, j), 0);
    free(j);
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(page_not_synchronised_is_lost_with_the_power),
        CASE(page_not_synchronised_is_torn_in_sectors),
        CASE(length_and_name_not_synchronised_may_be_lost),
        CASE(fsync_that_failed_is_not_made_up_for_by_the_next),
        CASE(file_refuses_what_a_kernel_refuses),
        CASE(file_is_locked_by_one_descriptor_at_a_time),
        CASE(address_in_use_is_refused_unless_all_share_it),
        CASE(descriptors_run_out_and_come_back),
        CASE(memory_changed_in_flight_is_told),
        CASE(descriptor_closed_while_an_op_names_it_is_told),
        CASE(file_op_on_a_socket_is_told),
        CASE(journal_opened_after_a_failed_fdatasync_keeps_what_it_gives),
    };
    return cmocka_run_group_tests_name("sim world", tests, NULL, NULL);
}
