/* SPDX-License-Identifier: MIT */
/*
 * The file workers beneath the seam: their threads, what queues for them, what a cancel reaches,
 * and an end with one of them hanging. A worker hangs here in the opening of a named pipe, which
 * waits for the pipe's other end.
 */
#include "test/runtime/io/epoll_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/io/epoll_internal.h"
#include "test/deny.h"

#define PATH_BYTES 96

static char folder[PATH_BYTES / 2];
static char fifo[PATH_BYTES];

static int set_up(void **state)
{
    snprintf(folder, sizeof(folder), "/tmp/pollux-workers-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(fifo, sizeof(fifo), "%s/fifo", folder);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    return epoll_set_up(state);
}

static int tear_down(void **state)
{
    int rc = epoll_tear_down(state);
    assert_int_equal(unlink(fifo), 0);
    assert_int_equal(rmdir(folder), 0);
    return rc;
}

/* --- the workers' threads --------------------------------------------------------------------- */

/* Reads a file of thread `thread`; false when there is none. */
static bool read_of_thread(pid_t thread, const char *name, char *text, size_t bytes)
{
    char path[96];
    snprintf(path, sizeof(path), "/proc/self/task/%d/%s", (int)thread, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? read(fd, text, bytes - 1) : -1;
    if (fd >= 0)
        close(fd);
    text[got > 0 ? got : 0] = '\0';
    return got > 0;
}

/* The threads of this process that are named as workers; returns how many. */
static unsigned find_workers(pid_t *threads, unsigned max)
{
    DIR *tasks = opendir("/proc/self/task");
    assert_non_null(tasks);
    unsigned count = 0;
    for (struct dirent *entry = readdir(tasks); entry != NULL; entry = readdir(tasks)) {
        char name[32];
        pid_t thread = atoi(entry->d_name);
        if (thread > 0 && read_of_thread(thread, "comm", name, sizeof(name)) &&
            strncmp(name, "plx-file/", 9) == 0) {
            if (count < max)
                threads[count] = thread;
            count++;
        }
    }
    closedir(tasks);
    return count;
}

static unsigned count_workers(void)
{
    return find_workers(NULL, 0);
}

/* How many workers are in the system call of that number now. */
static unsigned count_in_call(long number)
{
    pid_t threads[PLX__WORKERS_MAX];
    unsigned found = find_workers(threads, PLX__WORKERS_MAX);
    unsigned count = 0;
    for (unsigned i = 0; i < found && i < PLX__WORKERS_MAX; i++) {
        char text[128];
        if (read_of_thread(threads[i], "syscall", text, sizeof(text)) && text[0] >= '0' &&
            text[0] <= '9')
            count += strtol(text, NULL, 10) == number;
    }
    return count;
}

/* Whether this system tells in which call a thread is. */
static bool calls_are_told(void)
{
    char text[128];
    return read_of_thread(getpid(), "syscall", text, sizeof(text));
}

static void workers_are_named_and_block_all_signals(void **state)
{
    epoll_settings.file_workers = 3;
    (void)epoll_reopen(state);
    pid_t threads[3];
    RT_UNTIL(count_workers() == 3);
    find_workers(threads, 3);
    for (unsigned i = 0; i < 3; i++) {
        char text[4096];
        assert_true(read_of_thread(threads[i], "status", text, sizeof(text)));
        const char *line = strstr(text, "SigBlk:");
        assert_non_null(line);
        unsigned long long mask = strtoull(line + 7, NULL, 16);
        static const int some[] = {SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGCHLD, SIGSEGV, SIGPIPE};
        for (size_t n = 0; n < sizeof(some) / sizeof(*some); n++)
            assert_true((mask >> (some[n] - 1) & 1) != 0);
    }
    sigset_t own;
    assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &own), 0);
    assert_int_equal(sigismember(&own, SIGTERM), 0);
}

static void workers_end_with_the_backend(void **state)
{
    struct plx__io *io = NULL;
    unsigned before = count_workers();
    unsigned descriptors = count_descriptors();
    (void)state;
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(epoll_open_plain(&io, NULL), 0);
        io->ops->close(io);
    }
    /* A thread that was joined may be listed for a moment. */
    RT_UNTIL(count_workers() == before);
    assert_int_equal(count_descriptors(), descriptors);
}

/* --- hanging ---------------------------------------------------------------------------------- */

static void open_fifo(struct seen *seen, uint32_t flags)
{
    plx_op_openat(&seen->op, AT_FDCWD, fifo, flags, 0, seen_note, seen);
}

/* Makes `count` workers hang in opening the named pipe for reading. */
static void hang(struct plx__io *io, struct seen *seen, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        open_fifo(&seen[i], O_RDONLY);
        io_submit(io, &seen[i]);
    }
    if (calls_are_told())
        RT_UNTIL(count_in_call(SYS_openat) == count);
}

/* Lets them go on, and takes what they have opened. */
static void release(struct plx__io *io, struct seen *seen, unsigned count)
{
    int other = open(fifo, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    assert_true(other >= 0);
    for (unsigned i = 0; i < count; i++) {
        IO_UNTIL(io, seen[i].terminals == 1);
        assert_int_equal(seen[i].events, 1);
        assert_true(seen[i].event[0].result >= 0);
        io_close(io, seen[i].event[0].result);
    }
    close(other);
}

static void ops_queue_while_every_worker_hangs(void **state)
{
    struct plx__io *io = *state;
    struct seen hung[2] = {0};
    struct seen seen[3] = {0};
    hang(io, hung, 2);
    int fd = memfd_create("pollux-test", MFD_CLOEXEC);
    for (unsigned i = 0; i < 3; i++) {
        plx_op_write(&seen[i].op, fd, &"abc"[i], 1, i, seen_note, &seen[i]);
        io_submit(io, &seen[i]);
    }
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(plx__io_poll(io), 0);
    for (unsigned i = 0; i < 3; i++)
        seen_expect_waiting(&seen[i]);
    release(io, hung, 2);
    for (unsigned i = 0; i < 3; i++) {
        IO_UNTIL(io, seen[i].terminals == 1);
        seen_expect(&seen[i], 1);
    }
    char text[4] = {0};
    assert_int_equal(pread(fd, text, 3, 0), 3);
    assert_string_equal(text, "abc");
    io_close(io, fd);
}

static void ops_go_round_a_worker_that_hangs(void **state)
{
    struct plx__io *io = *state;
    struct seen hung = {0};
    hang(io, &hung, 1);
    int fd = memfd_create("pollux-test", MFD_CLOEXEC);
    for (unsigned i = 0; i < 50; i++) {
        struct seen seen = {0};
        plx_op_write(&seen.op, fd, "x", 1, i, seen_note, &seen);
        io_run(io, &seen, 1);
    }
    io_close(io, fd);
    release(io, &hung, 1);
}

static void queue_full_is_eagain_until_there_is_room(void **state)
{
    epoll_settings.file_workers = 1;
    epoll_settings.ring_entries = 16;
    struct plx__io *io = epoll_reopen(state);
    struct seen hung = {0};
    struct seen seen[17] = {0};
    hang(io, &hung, 1);
    int fd = memfd_create("pollux-test", MFD_CLOEXEC);
    for (unsigned i = 0; i < 17; i++)
        plx_op_fsync(&seen[i].op, fd, 0, seen_note, &seen[i]);
    for (unsigned i = 0; i < 16; i++)
        io_submit(io, &seen[i]);
    assert_int_equal(plx__io_submit(io, &seen[16].op), -EAGAIN);
    assert_int_equal(plx_op_state(&seen[16].op), PLX_OP_IDLE);
    assert_int_equal(io->full, 1);
    plx__io_cancel(io, &seen[7].op);
    io_submit(io, &seen[16]);
    release(io, &hung, 1);
    for (unsigned i = 0; i < 17; i++) {
        IO_UNTIL(io, seen[i].terminals == 1);
        seen_expect(&seen[i], i == 7 ? -ECANCELED : 0);
    }
    io_close(io, fd);
}

/* A file that epoll has refused is closed by a worker: with the queue full the close has to wait.
 */
static void close_of_a_file_waits_for_room_in_the_queue(void **state)
{
    epoll_settings.file_workers = 1;
    epoll_settings.ring_entries = 16;
    struct plx__io *io = epoll_reopen(state);
    int file = memfd_create("pollux-test", MFD_CLOEXEC);
    int fd = memfd_create("pollux-test", MFD_CLOEXEC);
    struct seen first = {0};
    plx_op_write(&first.op, file, "x", 1, 0, seen_note, &first);
    io_run(io, &first, 1);

    struct seen hung = {0};
    struct seen seen[16] = {0};
    struct seen closing = {0};
    hang(io, &hung, 1);
    for (unsigned i = 0; i < 16; i++) {
        plx_op_fsync(&seen[i].op, fd, 0, seen_note, &seen[i]);
        io_submit(io, &seen[i]);
    }
    plx_op_close(&closing.op, file, seen_note, &closing);
    io_submit(io, &closing);
    for (unsigned i = 0; i < 10; i++)
        plx__io_poll(io);
    assert_int_equal(closing.events, 0);
    assert_true(is_open(file));
    release(io, &hung, 1);
    IO_UNTIL(io, closing.terminals == 1);
    seen_expect(&closing, 0);
    assert_false(is_open(file));
    for (unsigned i = 0; i < 16; i++)
        IO_UNTIL(io, seen[i].terminals == 1);
    io_close(io, fd);
}

/* --- cancelling ------------------------------------------------------------------------------- */

static void cancelled_from_any_place_of_the_queue_is_taken_out(void **state)
{
    epoll_settings.file_workers = 1;
    struct plx__io *io = epoll_reopen(state);
    struct seen hung = {0};
    struct seen seen[5] = {0};
    hang(io, &hung, 1);
    int fd = memfd_create("pollux-test", MFD_CLOEXEC);
    for (unsigned i = 0; i < 5; i++) {
        plx_op_write(&seen[i].op, fd, "x", 1, i, seen_note, &seen[i]);
        io_submit(io, &seen[i]);
    }
    static const unsigned order[] = {2, 0, 4};
    for (unsigned i = 0; i < 3; i++) {
        plx__io_cancel(io, &seen[order[i]].op);
        plx__io_cancel(io, &seen[order[i]].op);
    }
    for (unsigned i = 0; i < 3; i++) {
        IO_UNTIL(io, seen[order[i]].terminals == 1);
        seen_expect(&seen[order[i]], -ECANCELED);
    }
    release(io, &hung, 1);
    IO_UNTIL(io, seen[1].terminals == 1 && seen[3].terminals == 1);
    seen_expect(&seen[1], 1);
    seen_expect(&seen[3], 1);
    struct stat status;
    assert_int_equal(fstat(fd, &status), 0);
    assert_int_equal(status.st_size, 4);
    io_close(io, fd);
}

static void cancelled_once_begun_runs_to_its_end(void **state)
{
    struct plx__io *io = *state;
    if (!calls_are_told()) {
        print_message("this system does not tell in which call a thread is\n");
        skip();
    }
    struct seen hung = {0};
    hang(io, &hung, 1);
    plx__io_cancel(io, &hung.op);
    plx__io_cancel(io, &hung.op);
    io->ops->cancel_all(io);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(plx__io_poll(io), 0);
    assert_int_equal(plx_op_state(&hung.op), PLX_OP_CANCELLING);
    release(io, &hung, 1);
}

/* Whatever a worker has made of it by then: one event, and a file that agrees with it. */
static void cancelled_at_once_ends_once_and_as_it_says(void **state)
{
    struct plx__io *io = *state;
    unsigned cancelled = 0;
    for (unsigned i = 0; i < 500; i++) {
        int fd = memfd_create("pollux-test", MFD_CLOEXEC);
        struct seen seen = {0};
        plx_op_write(&seen.op, fd, "xy", 2, 0, seen_note, &seen);
        io_submit(io, &seen);
        for (unsigned spin = 0; spin < i; spin++)
            plx_cpu_relax();
        plx__io_cancel(io, &seen.op);
        IO_UNTIL(io, seen.terminals == 1);
        assert_int_equal(seen.events, 1);
        struct stat status;
        assert_int_equal(fstat(fd, &status), 0);
        assert_true(seen.event[0].result == 2 || seen.event[0].result == -ECANCELED);
        assert_int_equal(status.st_size, seen.event[0].result == 2 ? 2 : 0);
        cancelled += seen.event[0].result < 0;
        io_close(io, fd);
    }
    print_message("%u of 500 were cancelled in time\n", cancelled);
}

static void cancel_all_ends_what_has_not_begun_and_closes_what_was_to_be(void **state)
{
    epoll_settings.file_workers = 1;
    struct plx__io *io = epoll_reopen(state);
    int file = memfd_create("pollux-test", MFD_CLOEXEC);
    int fd = memfd_create("pollux-test", MFD_CLOEXEC);
    struct seen first = {0};
    plx_op_write(&first.op, file, "x", 1, 0, seen_note, &first);
    io_run(io, &first, 1);
    struct seen hung = {0};
    struct seen seen[4] = {0};
    struct seen closing = {0};
    hang(io, &hung, 1);
    for (unsigned i = 0; i < 4; i++) {
        plx_op_fsync(&seen[i].op, fd, 0, seen_note, &seen[i]);
        io_submit(io, &seen[i]);
    }
    plx_op_close(&closing.op, file, seen_note, &closing);
    io_submit(io, &closing);
    io->ops->cancel_all(io);
    IO_UNTIL(io, closing.terminals == 1);
    seen_expect(&closing, 0);
    assert_false(is_open(file));
    for (unsigned i = 0; i < 4; i++)
        seen_expect(&seen[i], -ECANCELED);
    release(io, &hung, 1);
    io_close(io, fd);
}

/* --- waking a reactor that sleeps ------------------------------------------------------------- */

static void finished_op_wakes_a_wait_for_the_descriptor(void **state)
{
    struct plx__io *io = *state;
    const struct plx__epoll *epoll = (const struct plx__epoll *)io;
    int fd = memfd_create("pollux-test", MFD_CLOEXEC);
    for (unsigned i = 0; i < 20; i++) {
        struct epoll_event event;
        while (epoll_wait(epoll->fd, &event, 1, 0) > 0)
            continue;
        struct seen seen = {0};
        plx_op_fsync(&seen.op, fd, 0, seen_note, &seen);
        io_submit(io, &seen);
        struct pollfd look = {.fd = epoll->fd, .events = POLLIN};
        assert_int_equal(poll(&look, 1, 20000), 1);
        IO_UNTIL(io, seen.terminals == 1);
    }
    io_close(io, fd);
}

/* --- where they run --------------------------------------------------------------------------- */

/* The CPUs of the first worker, as the kernel lists them. */
static void cpus_of_worker(char *text, size_t bytes)
{
    pid_t thread = 0;
    char status[4096];
    RT_UNTIL(find_workers(&thread, 1) >= 1);
    assert_true(read_of_thread(thread, "status", status, sizeof(status)));
    const char *line = strstr(status, "Cpus_allowed_list:");
    assert_non_null(line);
    assert_int_equal(sscanf(line, "Cpus_allowed_list: %63s", text), 1);
    (void)bytes;
}

/* Those that are about workers. */
static unsigned count_notes(const struct plx__io *io)
{
    unsigned count = 0;
    for (uint32_t i = 0; i < io->note_count; i++)
        count += strncmp(io->notes[i].text, "file workers:", 13) == 0;
    return count;
}

struct place_case {
    int32_t reactors[2]; /* their CPUs; -1: none */
    int32_t sq_cpu;
    bool siblings;   /* the two CPUs are of one core */
    uint32_t second; /* the number of the second CPU */
    const char *cpus;
    unsigned notes;
};

static void workers_keep_off_the_cores_of_reactors_as_far_as_they_can(void **state)
{
    static const struct place_case cases[] = {
        {{0, -1}, -1, false, 1, "1", 0},  {{1, -1}, -1, false, 1, "0", 0},
        {{0, -1}, 1, false, 1, "1", 0},   {{0, -1}, -1, true, 1, "1", 0},
        {{0, 1}, -1, false, 1, "0-1", 1}, {{0, -1}, -1, false, 900, "", 1},
    };
    cpu_set_t allowed;
    assert_int_equal(sched_getaffinity(0, sizeof(allowed), &allowed), 0);
    if (!CPU_ISSET(0, &allowed) || !CPU_ISSET(1, &allowed)) {
        print_message("needs the CPUs 0 and 1\n");
        skip();
    }
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const struct place_case *c = &cases[i];
        const struct plx_machine_cpu cpus[] = {
            {.cpu = 0, .core = 0, .allowed = true},
            {.cpu = c->second, .core = c->siblings ? 0 : 1, .allowed = true},
        };
        const struct plx_machine machine = {.cpus = cpus, .cpu_count = 2};
        struct plx_plan_reactor reactors[2];
        struct plx_plan plan = {.reactors = reactors};
        for (unsigned n = 0; n < 2 && c->reactors[n] >= 0; n++)
            reactors[plan.reactor_count++] =
                (struct plx_plan_reactor){.cpu = (uint32_t)c->reactors[n], .sq_cpu = c->sq_cpu};
        epoll_config.machine = &machine;
        epoll_config.plan = &plan;
        struct plx__io *io = epoll_reopen(state);
        char text[64];
        cpus_of_worker(text, sizeof(text));
        if (c->cpus[0] != '\0')
            assert_string_equal(text, c->cpus);
        assert_int_equal(count_notes(io), c->notes);
        /* Unpinned reactors have no cores of their own. */
        epoll_settings.pin = PLX_WANT_NO;
        io = epoll_reopen(state);
        assert_int_equal(count_notes(io), 0);
        epoll_settings.pin = PLX_WANT_REQUIRE;
        epoll_config.machine = NULL;
        epoll_config.plan = NULL;
    }
}

/* --- what cannot be had ----------------------------------------------------------------------- */

/* With no worker in the parent: a sanitizer lets a child start threads only then. */
static int in_child(void **state, int (*body)(void))
{
    struct plx__io *io = *state;
    io->ops->close(io);
    *state = NULL;
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(body());
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    (void)epoll_reopen(state);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int open_without_threads(void)
{
    if (deny_call(SYS_clone3, EAGAIN) != 0 || deny_call(SYS_clone, EAGAIN) != 0)
        return 77;
    unsigned descriptors = count_descriptors();
    struct plx__io *io = NULL;
    struct plx_diag diag = {0};
    if (epoll_open_plain(&io, &diag) != -EAGAIN || io != NULL || diag.code != -EAGAIN)
        return 1;
    if (strcmp(diag.what, "POLLUX_FILE_WORKERS") != 0 || strstr(diag.text, "1 of 2") == NULL)
        return 2;
    return count_descriptors() == descriptors ? 0 : 3;
}

static void open_without_threads_names_the_setting(void **state)
{
    int rc = in_child(state, open_without_threads);
    if (rc == 77) {
        print_message("this system lets no program filter its own system calls\n");
        skip();
    }
    assert_int_equal(rc, 0);
}

static int open_without_events(void)
{
    if (deny_call(SYS_eventfd2, EMFILE) != 0)
        return 77;
    unsigned descriptors = count_descriptors();
    struct plx__io *io = NULL;
    struct plx_diag diag = {0};
    if (epoll_open_plain(&io, &diag) != -EMFILE || io != NULL || diag.code != -EMFILE)
        return 1;
    return count_descriptors() == descriptors ? 0 : 3;
}

static int open_without_watching(void)
{
    if (deny_call(SYS_epoll_ctl, ENOSPC) != 0)
        return 77;
    unsigned descriptors = count_descriptors();
    struct plx__io *io = NULL;
    struct plx_diag diag = {0};
    if (epoll_open_plain(&io, &diag) != -ENOSPC || io != NULL || diag.code != -ENOSPC)
        return 1;
    while (count_workers() != 0)
        rt_pause();
    return count_descriptors() == descriptors ? 0 : 3;
}

static void open_without_the_workers_descriptor_says_so(void **state)
{
    int rc = in_child(state, open_without_events);
    if (rc == 77) {
        print_message("this system lets no program filter its own system calls\n");
        skip();
    }
    assert_int_equal(rc, 0);
    assert_int_equal(in_child(state, open_without_watching), 0);
}

/* --- the end with one that hangs -------------------------------------------------------------- */

/* The reactor is given up; its worker comes back to a world that has gone on, and leaves. */
static void reactor_with_a_worker_that_hangs_is_given_up_by_name(void **state)
{
    (void)state;
    static struct plx_runtime *never_freed;
    static struct seen hung;
    static struct seen queued;
    if (!calls_are_told()) {
        print_message("this system does not tell in which call a thread is\n");
        skip();
    }
    unsigned others = count_workers();
    unsigned descriptors = count_descriptors();
    never_freed = rt_create("backend=epoll file_workers=1", NULL);
    struct plx_reactor *reactor = rt_adopt(never_freed, 0);
    memset(&hung, 0, sizeof(hung));
    memset(&queued, 0, sizeof(queued));
    open_fifo(&hung, O_RDONLY);
    assert_int_equal(plx_op_submit(reactor, &hung.op), 0);
    plx_op_fsync(&queued.op, 0, 0, seen_note, &queued);
    assert_int_equal(plx_op_submit(reactor, &queued.op), 0);
    RT_UNTIL(count_in_call(SYS_openat) == 1);

    assert_int_equal(plx_reactor_abandon(reactor, 50000000), -ETIMEDOUT);
    /* What had not begun has ended; what had will have no event any more. */
    seen_expect(&queued, -ECANCELED);
    assert_int_equal(hung.events, 0);
    plx_runtime_destroy(never_freed);
    assert_int_equal(count_workers(), others + 1);

    int other = open(fifo, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    assert_true(other >= 0);
    RT_UNTIL(count_workers() == others);
    close(other);
    assert_int_equal(hung.events, 0);
    /* What it has opened after all, nobody was there to take. */
    RT_UNTIL(count_descriptors() == descriptors);
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest cases[] = {
        CASE(workers_are_named_and_block_all_signals),
        CASE(workers_end_with_the_backend),
        CASE(ops_queue_while_every_worker_hangs),
        CASE(ops_go_round_a_worker_that_hangs),
        CASE(queue_full_is_eagain_until_there_is_room),
        CASE(close_of_a_file_waits_for_room_in_the_queue),
        CASE(cancelled_from_any_place_of_the_queue_is_taken_out),
        CASE(cancelled_once_begun_runs_to_its_end),
        CASE(cancelled_at_once_ends_once_and_as_it_says),
        CASE(cancel_all_ends_what_has_not_begun_and_closes_what_was_to_be),
        CASE(finished_op_wakes_a_wait_for_the_descriptor),
        CASE(workers_keep_off_the_cores_of_reactors_as_far_as_they_can),
        CASE(open_without_threads_names_the_setting),
        CASE(open_without_the_workers_descriptor_says_so),
        CASE(reactor_with_a_worker_that_hangs_is_given_up_by_name),
    };
    return cmocka_run_group_tests(cases, NULL, NULL);
}
