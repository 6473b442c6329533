/* SPDX-License-Identifier: MIT */
/* One at a time has a journal open: who else tries is told so, in this process and in others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/reactor_internal.h"
#include "test/runtime/file/faults.h"
#include "test/runtime/file/journal_fixture.h"
#include "test/runtime/rt_fixture.h"

static struct log the_logs[2];

static struct log *begin(void **state)
{
    struct bench *bench = *state;
    need_files(bench);
    for (unsigned i = 0; i < 2; i++)
        log_init(&the_logs[i], bench);
    return the_logs;
}

static void expect_busy(struct log *log, const char *text)
{
    unsigned before = count_descriptors();
    assert_int_equal(log_open(log), -EBUSY);
    assert_string_equal(plx_journal_diag(&log->journal)->what, "control");
    assert_string_equal(plx_journal_diag(&log->journal)->text, text);
    assert_int_equal(log->recovered, 0);
    assert_int_equal(count_descriptors(), before);
}

static void second_opening_is_refused_until_the_first_closes(void **state)
{
    struct log *logs = begin(state);
    log_expect(&logs[0], 1, 0);
    log_write(&logs[0], 10);
    /* It opens no more files of its own meanwhile. */
    WORLD_UNTIL(logs[0].bench->world, !logs[0].journal.upkeep.is_busy);
    expect_busy(&logs[1], "open elsewhere");
    log_write(&logs[0], 10);
    assert_int_equal(log_close(&logs[0]), 0);
    log_expect(&logs[1], 1, 20);
    assert_int_equal(log_close(&logs[1]), 0);
}

/* Begins opening, and turns until a lock was tried in vain more than once. */
static void open_until_it_waits(struct log *log)
{
    struct plx_reactor *reactor = log->bench->reactor;
    assert_int_equal(plx_journal_open(&log->journal, reactor, plx_reactor_pool(reactor),
                                      log->bench->folder, &log->opts, note_journal, &log->outcome),
                     0);
    WORLD_UNTIL(log->bench->world, log->journal.lock_tries > 1);
    assert_int_equal(log->outcome.times, 0);
}

/* A second's tries do not run out as long as the first one is open, however long that takes. */
static int lock_with_patience(int fd)
{
    if (the_logs[0].outcome.times == 0 && the_logs[1].journal.lock_tries > 2)
        the_logs[1].journal.lock_tries = 2;
    return plx__plain_kernel.lock(fd);
}

static struct plx__plain_calls calls;

/* The calls that a reactor makes, but for how it locks. */
static void lock_by(struct bench *bench, int (*lock)(int fd))
{
    struct plx__io *io = plx__reactor_io(bench->reactor);
    calls = plx__plain_kernel;
    calls.lock = lock;
    io->plain = &calls;
}

static void opening_waits_for_a_closing_that_is_under_way(void **state)
{
    struct log *logs = begin(state);
    struct bench *bench = *state;
    log_expect(&logs[0], 1, 0);
    log_write(&logs[0], 10);
    WORLD_UNTIL(bench->world, !logs[0].journal.upkeep.is_busy);
    lock_by(bench, lock_with_patience);
    struct log *second = &logs[1];
    open_until_it_waits(second);
    assert_int_equal(plx_journal_close(&logs[0].journal, note_journal, &logs[0].outcome), 0);
    WORLD_UNTIL(bench->world, second->outcome.times != 0);
    assert_int_equal(second->outcome.result, 0);
    assert_int_equal(logs[0].outcome.times, 1);
    assert_int_equal(second->recovered, 10);
    second->outcome = (struct outcome){0};
    int rc = plx_journal_close(&second->journal, note_journal, &second->outcome);
    assert_int_equal(await(bench, &second->outcome, rc), 0);
}

/* As a forked child has them, or a kernel that is late to let go of registered ones. */
static unsigned keep_descriptions(const struct plx_journal *journal, int *fds)
{
    unsigned count = 0;
    fds[count++] = dup(plx_file_fd(&journal->control));
    for (unsigned i = 0; i < PLX_JOURNAL_SEGMENTS_MAX; i++) {
        if (plx_file_is_open(&journal->slots[i].file))
            fds[count++] = dup(plx_file_fd(&journal->slots[i].file));
    }
    for (unsigned i = 0; i < count; i++)
        assert_true(fds[i] >= 0);
    return count;
}

static void closed_journal_is_opened_at_once_though_others_keep_its_files(void **state)
{
    struct log *logs = begin(state);
    log_expect(&logs[0], 1, 0);
    log_write(&logs[0], 10);
    WORLD_UNTIL(logs[0].bench->world, !logs[0].journal.upkeep.is_busy);
    int fds[PLX_JOURNAL_SEGMENTS_MAX + 1];
    unsigned count = keep_descriptions(&logs[0].journal, fds);
    assert_true(count > 2);
    assert_int_equal(log_close(&logs[0]), 0);
    log_expect(&logs[1], 1, 10);
    assert_int_equal(logs[1].journal.lock_tries, 1);
    /* Nor does one of them unlock what is open now. */
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(plx__plain_kernel.unlock(fds[i]), 0);
        close(fds[i]);
    }
    expect_busy(&logs[0], "open elsewhere");
    assert_int_equal(log_close(&logs[1]), 0);
}

/* A process that has the file locked as a journal of its own would, until it is killed. */
static pid_t begin_other(const char *path)
{
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        int fd = open(path, O_RDWR | O_CLOEXEC);
        if (fd < 0 || plx__plain_kernel.lock(fd) != 0 || write(pipes[1], "", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    char byte;
    close(pipes[1]);
    assert_int_equal(read(pipes[0], &byte, 1), 1);
    close(pipes[0]);
    return child;
}

static void other_process_keeps_it_out_until_it_is_killed(void **state)
{
    struct log *log = begin(state);
    log_expect(log, 1, 0);
    log_write(log, 10);
    assert_int_equal(log_close(log), 0);
    char path[128];
    log_path(log, "control", path, sizeof(path));
    pid_t other = begin_other(path);
    expect_busy(log, "open elsewhere");
    assert_int_equal(kill(other, SIGKILL), 0);
    assert_int_equal(waitpid(other, NULL, 0), other);
    log_expect(log, 1, 10);
    assert_int_equal(log_close(log), 0);
}

/* Files of the journal that a description of this case's own can lock. */
static unsigned count_unlocked(const struct log *log, unsigned *files)
{
    unsigned unlocked = 0;
    *files = 0;
    for (unsigned i = 0; i <= PLX_JOURNAL_SEGMENTS_MAX; i++) {
        char name[16], path[128];
        snprintf(name, sizeof(name), i < PLX_JOURNAL_SEGMENTS_MAX ? "segment-%02u" : "control", i);
        log_path(log, name, path, sizeof(path));
        int fd = open(path, O_RDWR | O_CLOEXEC);
        if (fd < 0)
            continue;
        (*files)++;
        unlocked += plx__plain_kernel.lock(fd) == 0;
        close(fd);
    }
    return unlocked;
}

static void each_segment_is_locked_whether_found_or_made(void **state)
{
    struct log *log = begin(state);
    unsigned files;
    log->opts.zero_fill = false;
    log_expect(log, 1, 0);
    while (log->journal.slots[2].number == 0)
        log_write(log, 10);
    WORLD_UNTIL(log->bench->world, !log->journal.upkeep.is_busy);
    assert_int_equal(count_unlocked(log, &files), 0);
    assert_true(files >= 4);
    uint64_t last = plx_journal_last(&log->journal);
    assert_int_equal(log_close(log), 0);
    assert_int_equal(count_unlocked(log, &files), files);

    char path[128];
    log_path(log, "segment-01", path, sizeof(path));
    pid_t other = begin_other(path);
    assert_int_equal(log_open(log), -EBUSY);
    assert_string_equal(plx_journal_diag(&log->journal)->what, "segment-01");
    assert_string_equal(plx_journal_diag(&log->journal)->text, "open elsewhere");
    assert_int_equal(kill(other, SIGKILL), 0);
    assert_int_equal(waitpid(other, NULL, 0), other);

    log_expect(log, 1, last);
    WORLD_UNTIL(log->bench->world, !log->journal.upkeep.is_busy);
    assert_int_equal(count_unlocked(log, &files), 0);
    assert_int_equal(log_close(log), 0);
}

static void stop_ends_an_opening_that_waits(void **state)
{
    struct log *log = begin(state);
    struct bench *bench = *state;
    log_expect(log, 1, 0);
    log_write(log, 10);
    assert_int_equal(log_close(log), 0);
    /* The control page is open and locked by then. */
    char path[128];
    log_path(log, "segment-01", path, sizeof(path));
    int other = open(path, O_RDWR | O_CLOEXEC);
    assert_true(other >= 0);
    assert_int_equal(plx__plain_kernel.lock(other), 0);
    open_until_it_waits(log);
    assert_int_equal(plx_reactor_abandon(bench->reactor, 10000000000u), 0);
    bench->world->reactor = NULL;
    assert_int_equal(log->outcome.times, 1);
    assert_int_equal(log->outcome.result, -ESHUTDOWN);
    assert_string_equal(plx_journal_diag(&log->journal)->what, "segment-01");
    close(other);
    /* That no descriptor is left is seen at the end of each case. */
    unsigned files;
    unsigned unlocked = count_unlocked(log, &files);
    assert_int_equal(unlocked, files);
    assert_true(files > 2);
}

/* --- what locks may be ------------------------------------------------------------------------ */

static struct {
    int code;
    unsigned after; /* so often before it is the kernel's */
    unsigned times; /* so often; then it is the kernel's */
} answer;

static int lock_as_told(int fd)
{
    if (answer.after != 0) {
        answer.after--;
        return plx__plain_kernel.lock(fd);
    }
    if (answer.times == 0)
        return plx__plain_kernel.lock(fd);
    answer.times--;
    return answer.code;
}

static unsigned lines_on_locks(const struct log *log)
{
    static struct rt_lines lines;
    memset(&lines, 0, sizeof(lines));
    plx_journal_explain(&log->journal, rt_keep_line, &lines);
    return rt_lines_with(&lines, "no lock to be had");
}

static void what_locking_meets_is_waited_for_told_or_an_error(void **state)
{
    struct log *log = begin(state);
    lock_by(log->bench, lock_as_told);
    static const struct {
        int code;
        unsigned times;
        int expected;
        unsigned lines;
    } rows[] = {
        {-EAGAIN, 3, 0, 0}, {-EACCES, 3, 0, 0},     {-EINVAL, 1, 0, 1}, {-ENOSYS, 1, 0, 1},
        {-ENOLCK, 1, 0, 1}, {-EOPNOTSUPP, 1, 0, 1}, {-EIO, 1, -EIO, 0},
    };
    /* First while it is made, then when it is there. */
    for (size_t i = 0; i < 2 * sizeof(rows) / sizeof(*rows); i++) {
        size_t row = i / 2;
        if (i % 2 == 0) {
            remove_folder(log->bench->folder);
            assert_int_equal(mkdir(log->bench->folder, 0700), 0);
        }
        answer.code = rows[row].code;
        answer.times = rows[row].times;
        assert_int_equal(log_open(log), rows[row].expected);
        if (rows[row].expected != 0) {
            assert_string_equal(plx_journal_diag(&log->journal)->what, "control");
            continue;
        }
        assert_int_equal(lines_on_locks(log), rows[row].lines);
        assert_int_equal(log_close(log), 0);
    }
}

static void lock_of_a_segment_that_is_made_is_waited_for(void **state)
{
    struct log *log = begin(state);
    lock_by(log->bench, lock_as_told);
    /* The first one: the control page is locked before. */
    answer.code = -EAGAIN;
    answer.after = 1;
    answer.times = 3;
    log_expect(log, 1, 0);
    WORLD_UNTIL(log->bench->world, !log->journal.upkeep.is_busy);
    assert_int_equal(answer.times, 0);
    /* And one that is made ahead. */
    answer.times = 3;
    while (log->journal.slots[2].number == 0)
        log_write(log, 10);
    assert_int_equal(answer.times, 0);
    assert_int_equal(log_close(log), 0);
}

static void close_ends_the_wait_for_a_segments_lock(void **state)
{
    struct log *log = begin(state);
    struct plx_journal *journal = &log->journal;
    log_expect(log, 1, 0);
    WORLD_UNTIL(log->bench->world, !journal->upkeep.is_busy);
    lock_by(log->bench, lock_as_told);
    answer.code = -EAGAIN;
    answer.times = UINT32_MAX;
    while (!journal->upkeep.is_busy)
        log_write(log, 1);
    WORLD_UNTIL(log->bench->world, answer.times < UINT32_MAX);
    uint64_t last = plx_journal_last(journal);
    assert_int_equal(log_close(log), 0);
    /* Long before they run out. */
    assert_true(journal->lock_tries < 50);
    answer.times = 0;
    log_expect(log, 1, last);
    assert_int_equal(log_close(log), 0);
}

/* --- made by others while it is looked at ----------------------------------------------------- */

static void make_control(void *ctx, struct plx_op *op)
{
    char path[128];
    (void)op;
    log_path(ctx, "control", path, sizeof(path));
    put_pattern(path, 100);
}

static void control_made_meanwhile_is_not_written_over(void **state)
{
    struct log *log = begin(state);
    /* The folder is opened, then the control page made. */
    faults_begin(log->bench->reactor);
    faults_add(&(struct fault){FAULT_CALL, PLX_OP_OPENAT, 1, 1, 0, make_control, log, NULL});
    expect_busy(log, "made elsewhere meanwhile");
    faults_end();
    char path[128];
    uint8_t data[100];
    log_path(log, "control", path, sizeof(path));
    peek(path, 0, data, sizeof(data));
    expect_pattern(data, 0, sizeof(data));
}

static void move_control(const struct log *log, bool away)
{
    char path[128], kept[128];
    log_path(log, "control", path, sizeof(path));
    log_path(log, "kept", kept, sizeof(kept));
    assert_int_equal(rename(away ? path : kept, away ? kept : path), 0);
}

static void bring_control(void *ctx, struct plx_op *op)
{
    (void)op;
    move_control(ctx, false);
}

static void segments_that_came_meanwhile_are_no_damage(void **state)
{
    struct log *log = begin(state);
    log_expect(log, 1, 0);
    log_write(log, 10);
    assert_int_equal(log_close(log), 0);
    move_control(log, true);
    assert_int_equal(log_open(log), -EBADMSG);
    /* The control page is looked at, then the first segment. */
    faults_begin(log->bench->reactor);
    faults_add(&(struct fault){FAULT_CALL, PLX_OP_STATX, 1, 1, 0, bring_control, log, NULL});
    expect_busy(log, "made elsewhere meanwhile");
    faults_end();
    log_expect(log, 1, 10);
    assert_int_equal(log_close(log), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_CASE(second_opening_is_refused_until_the_first_closes),
        BENCH_CASE(opening_waits_for_a_closing_that_is_under_way),
        BENCH_CASE(closed_journal_is_opened_at_once_though_others_keep_its_files),
        BENCH_CASE(other_process_keeps_it_out_until_it_is_killed),
        BENCH_CASE(each_segment_is_locked_whether_found_or_made),
        BENCH_CASE(stop_ends_an_opening_that_waits),
        BENCH_CASE(what_locking_meets_is_waited_for_told_or_an_error),
        BENCH_CASE(lock_of_a_segment_that_is_made_is_waited_for),
        BENCH_CASE(close_ends_the_wait_for_a_segments_lock),
        BENCH_CASE(control_made_meanwhile_is_not_written_over),
        BENCH_CASE(segments_that_came_meanwhile_are_no_damage),
    };
    return run_main_modes(tests, sizeof(tests) / sizeof(*tests));
}
