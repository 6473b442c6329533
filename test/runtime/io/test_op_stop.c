/* SPDX-License-Identifier: MIT */
/*
 * The end of a reactor with what will not end: with I/O pending of every kind it drains; where
 * something cannot be drained by the deadline (a worker that hangs, memory that the kernel still
 * sends from) the reactor is given up and named, its ops have no event any more and are left as
 * they were, and its arena stays mapped with what was in it: others that come up get other memory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/sched/timed.h"
#include "test/runtime/io/seen.h"
#include "test/runtime/rt_fixture.h"

#define SHORT_NS 300000000u
#define PATTERN  0x5a
#define ZC_BYTES (64u << 10)

/*
 * What a given-up reactor has is never freed, and that it stays reachable tells a leak detector
 * that it is meant.
 */
static struct plx_runtime *never_freed[16];
static unsigned never_freed_count;

/* What one op of such a reactor was, to see that nobody has touched it. */
struct kept {
    struct seen seen;
    struct plx_op before;
};

static void keep(struct kept *kept)
{
    kept->before = kept->seen.op;
}

static void expect_untouched(const struct kept *kept)
{
    assert_int_equal(kept->seen.events, 0);
    assert_memory_equal(&kept->seen.op, &kept->before, sizeof(kept->before));
}

/* Whether all pages from `base` on are mapped. */
static bool is_mapped(const void *base, size_t bytes)
{
    static unsigned char pages[8192];
    assert_true(bytes / PLX_PAGE <= sizeof(pages));
    return mincore((void *)(uintptr_t)base, bytes, pages) == 0;
}

/* Another runtime comes up and takes all that its pool gives: none of it is in `arena`. */
static void expect_not_reused(const unsigned char *base, size_t bytes, const char *words)
{
    struct plx_runtime *rt = rt_create(words, NULL);
    struct plx_reactor *reactor = rt_adopt(rt, 0);
    const struct plx_arena *other = plx_reactor_arena(reactor);
    assert_true(other->base + other->bytes <= base || base + bytes <= other->base);
    memset(plx_pool_acquire(plx_reactor_pool(reactor), PLX_PAGE), 0, PLX_PAGE);
    rt_abandon(reactor);
    plx_runtime_destroy(rt);
    assert_true(is_mapped(base, bytes));
}

/* --- a worker that hangs ---------------------------------------------------------------------- */

static char folder[64];
static char fifo[80];

static void make_fifo(void)
{
    snprintf(folder, sizeof(folder), "/tmp/pollux-test-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(fifo, sizeof(fifo), "%s/pipe", folder);
    assert_int_equal(mkfifo(fifo, 0600), 0);
}

/* Whoever hangs in opening it comes back. */
static void open_other_side(void)
{
    int other = open(fifo, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    assert_true(other >= 0);
    assert_int_equal(unlink(fifo), 0);
    assert_int_equal(rmdir(folder), 0);
    /* It is kept until those that wait have been woken. */
    close(other);
}

/* What the hanging op names lies in the arena: it is what must not be given to anyone. */
static char *path_in(struct plx_reactor *reactor)
{
    char *path = plx_pool_acquire(plx_reactor_pool(reactor), PLX_PAGE);
    assert_non_null(path);
    memset(path, PATTERN, PLX_PAGE);
    snprintf(path, PLX_PAGE, "%s", fifo);
    return path;
}

/* How many threads of this process are in openat(2); -1: the system does not tell. */
static int count_in_openat(void)
{
    int count = 0;
    DIR *tasks = opendir("/proc/self/task");
    assert_non_null(tasks);
    for (struct dirent *entry = readdir(tasks); entry != NULL; entry = readdir(tasks)) {
        char path[300];
        long number = -1;
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "/proc/self/task/%s/syscall", entry->d_name);
        FILE *file = fopen(path, "re");
        if (file == NULL) {
            count = -1;
            break;
        }
        if (fscanf(file, "%ld", &number) == 1 && number == SYS_openat)
            count++;
        fclose(file);
    }
    closedir(tasks);
    return count;
}

static void need_calls_told(void)
{
    if (count_in_openat() >= 0)
        return;
    print_message("skipped: this system does not tell in which call a thread is\n");
    skip();
}

static struct kept hung;

static void hang_in_open(struct plx_reactor *reactor, char *path)
{
    memset(&hung, 0, sizeof(hung));
    plx_op_openat(&hung.seen.op, AT_FDCWD, path, O_RDONLY | O_CREAT, 0600, seen_note, &hung.seen);
    assert_int_equal(plx_op_submit(reactor, &hung.seen.op), 0);
    plx_reactor_flush(reactor);
}

/* Until a worker has it: what has not begun is taken back at the end. */
static void await_hanging(void)
{
    RT_UNTIL(count_in_openat() == 1);
}

static void abandon_with_a_hanging_worker_leaves_op_and_arena_alone(void **state)
{
    (void)state;
    need_calls_told();
    make_fifo();
    struct plx_runtime *rt = rt_create("backend=epoll file_workers=1", NULL);
    never_freed[never_freed_count++] = rt;
    struct plx_reactor *reactor = rt_adopt(rt, 0);
    const unsigned char *base = plx_reactor_arena(reactor)->base;
    size_t bytes = plx_reactor_arena(reactor)->bytes;
    char *path = path_in(reactor);
    hang_in_open(reactor, path);
    await_hanging();
    /* The others end as ever. */
    int pair[2];
    char byte;
    make_pair(SOCK_STREAM, pair);
    struct seen waits = {0};
    struct seen closing = {0};
    plx_op_recv(&waits.op, pair[0], &byte, 1, 0, seen_note, &waits);
    assert_int_equal(plx_op_submit(reactor, &waits.op), 0);
    plx_op_close(&closing.op, pair[0], seen_note, &closing);
    assert_int_equal(plx_op_submit(reactor, &closing.op), 0);
    plx_op_cancel(reactor, &hung.seen.op);
    keep(&hung);

    assert_int_equal(plx_reactor_abandon(reactor, SHORT_NS), -ETIMEDOUT);
    seen_expect(&waits, -ECANCELED);
    seen_expect(&closing, 0);
    expect_untouched(&hung);
    plx_runtime_destroy(rt);
    assert_true(is_mapped(base, bytes));
    assert_string_equal(path, fifo);
    assert_int_equal(path[PLX_PAGE - 1], PATTERN);
    expect_not_reused(base, bytes, "backend=epoll");

    open_other_side();
    expect_untouched(&hung);
    close(pair[1]);
}

/* With rings the kernel's worker is interrupted: the reactor ends in time, whatever hangs. */
static void abandon_with_an_open_that_hangs_in_the_kernel_ends_it(void **state)
{
    (void)state;
    rt_need_uring();
    make_fifo();
    struct plx_runtime *rt = rt_create("backend=uring", NULL);
    struct plx_reactor *reactor = rt_adopt(rt, 0);
    hang_in_open(reactor, path_in(reactor));
    for (unsigned i = 0; i < 100; i++)
        (void)plx_reactor_poll(reactor);
    assert_int_equal(hung.seen.events, 0);
    rt_abandon(reactor);
    seen_expect(&hung.seen, -ECANCELED);
    plx_runtime_destroy(rt);
    open_other_side();
}

/* --- memory that is still sent from ----------------------------------------------------------- */

/* Small segments, so that what is read makes room at once. */
static void make_slow_pair(int pair[2])
{
    struct sockaddr_in addr;
    int room = 16384;
    int listener = make_listener(&addr, 1);
    assert_int_equal(setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room)), 0);
    pair[0] = make_client(&addr);
    pair[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(pair[1] >= 0);
    close(listener);
}

struct sending {
    struct kept kept;
    int pair[2];
    unsigned char *data;
};

/* The result has come, the notice has not: the bytes are in a queue that the peer does not empty.
 */
static bool send_unacknowledged(struct plx_reactor *reactor, struct sending *s)
{
    memset(s, 0, sizeof(*s));
    make_slow_pair(s->pair);
    s->data = plx_pool_acquire(plx_reactor_pool(reactor), ZC_BYTES);
    assert_non_null(s->data);
    memset(s->data, PATTERN, ZC_BYTES);
    for (unsigned i = 0; i < 64; i++) {
        memset(&s->kept, 0, sizeof(s->kept));
        plx_op_send_zc(&s->kept.seen.op, s->pair[0], s->data, ZC_BYTES, 0, seen_note,
                       &s->kept.seen);
        assert_int_equal(plx_op_submit(reactor, &s->kept.seen.op), 0);
        for (unsigned turns = 0; turns < 200 && s->kept.seen.terminals == 0; turns++)
            (void)plx_reactor_poll(reactor);
        if (s->kept.seen.terminals == 0 && s->kept.seen.events == 1)
            return true;
        if (s->kept.seen.terminals == 0)
            plx_op_cancel(reactor, &s->kept.seen.op);
        RT_TURN_UNTIL(reactor, s->kept.seen.events != 0);
        if (s->kept.seen.terminals == 0)
            return true;
    }
    return false;
}

/* All that was taken arrives, and is what it was, though the reactor is long gone. */
static void expect_all_arrives(struct sending *s)
{
    static unsigned char got[ZC_BYTES];
    assert_int_equal(shutdown(s->pair[0], SHUT_WR), 0);
    ssize_t more = 1;
    uint64_t total = 0;
    while (more > 0) {
        more = recv(s->pair[1], got, sizeof(got), 0);
        assert_true(more >= 0);
        for (ssize_t i = 0; i < more; i++)
            assert_int_equal(got[i], PATTERN);
        total += (uint64_t)more;
    }
    assert_true(total > 0);
    close(s->pair[0]);
    close(s->pair[1]);
}

static void abandon_with_memory_still_sent_from_leaves_it_alone(void **state)
{
    (void)state;
    static struct sending s;
    rt_need_uring();
    struct plx_runtime *rt = rt_create("backend=uring", NULL);
    struct plx_reactor *reactor = rt_adopt(rt, 0);
    if ((plx_reactor_caps(reactor) & PLX_CAP_SEND_ZC) == 0 || !send_unacknowledged(reactor, &s)) {
        rt_abandon(reactor);
        plx_runtime_destroy(rt);
        print_message("skipped: this kernel lets go of a zero-copy send at once\n");
        skip();
    }
    const unsigned char *base = plx_reactor_arena(reactor)->base;
    size_t bytes = plx_reactor_arena(reactor)->bytes;
    s.kept.before = s.kept.seen.op;
    assert_int_equal(plx_reactor_abandon(reactor, SHORT_NS), -ETIMEDOUT);
    never_freed[never_freed_count++] = rt;
    assert_int_equal(s.kept.seen.terminals, 0);
    plx_runtime_destroy(rt);
    assert_true(is_mapped(base, bytes));
    expect_not_reused(base, bytes, "backend=uring");
    expect_all_arrives(&s);
    assert_memory_equal(&s.kept.seen.op, &s.kept.before, sizeof(s.kept.before));
}

/* It drains as soon as the peer takes the bytes, if that is in time. */
static void abandon_waits_for_a_peer_that_takes_what_was_sent(void **state)
{
    (void)state;
    static struct sending s;
    rt_need_uring();
    struct plx_runtime *rt = rt_create("backend=uring", NULL);
    struct plx_reactor *reactor = rt_adopt(rt, 0);
    bool waits =
        (plx_reactor_caps(reactor) & PLX_CAP_SEND_ZC) != 0 && send_unacknowledged(reactor, &s);
    if (waits) {
        /* Its end lets go of what it does not take. */
        close(s.pair[1]);
    }
    rt_abandon(reactor);
    plx_runtime_destroy(rt);
    if (!waits) {
        print_message("skipped: this kernel lets go of a zero-copy send at once\n");
        skip();
    }
    assert_int_equal(s.kept.seen.terminals, 1);
    assert_int_equal(s.kept.seen.event[s.kept.seen.events - 1].flags, PLX_EV_RELEASED);
    close(s.pair[0]);
}

/* --- what is lent, armed, timed --------------------------------------------------------------- */

static unsigned fired;
static unsigned cut_offs;

static void on_time(struct plx_timer *timer, void *ctx)
{
    (void)timer;
    (void)ctx;
    fired++;
}

static void on_deadline(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    (void)op;
    (void)ctx;
    cut_offs++;
    assert_int_equal(event->result, -ECANCELED);
    assert_int_equal(event->flags, 0);
}

/* Ends with its memory lent to the user, timers armed and deadlines not reached. */
static void expect_ends_with_things_held(const char *words)
{
    struct rt_things before = rt_count_things();
    struct plx_runtime *rt = rt_create(words, NULL);
    struct plx_reactor *reactor = rt_adopt(rt, 0);
    int pair[2];
    uint16_t group;
    make_pair(SOCK_SEQPACKET, pair);
    assert_int_equal(plx_group_create(reactor, 4, PLX_PAGE, &group), 0);
    struct seen lent = {0};
    plx_op_recv_group(&lent.op, pair[0], group, seen_note, &lent);
    assert_int_equal(plx_op_submit(reactor, &lent.op), 0);
    put_text(pair[1], "first");
    put_text(pair[1], "second");
    RT_TURN_UNTIL(reactor, lent.events == 2 || lent.terminals == 1);
    assert_non_null(plx_pool_acquire(plx_reactor_pool(reactor), PLX_PAGE));

    static struct plx_timer timer;
    static struct plx_op_timed timed;
    memset(&timer, 0, sizeof(timer));
    memset(&timed, 0, sizeof(timed));
    fired = 0;
    cut_offs = 0;
    uint64_t far = plx_reactor_now_ns(reactor) + 3600000000000u;
    plx_timer_arm(reactor, &timer, far, on_time, NULL);
    char byte;
    plx_op_recv(&timed.op, pair[1], &byte, 1, 0, on_deadline, NULL);
    assert_int_equal(plx_op_submit_timed(reactor, &timed, far), 0);
    rt_abandon(reactor);
    assert_int_equal(cut_offs, 1);
    assert_false(plx_timer_is_armed(&timed.timer));
    assert_int_equal(lent.terminals, 1);
    assert_int_equal(fired, 0);
    plx_runtime_destroy(rt);
    close(pair[0]);
    close(pair[1]);
    rt_expect_things(&before);
}

static void abandon_with_buffers_lent_and_timers_armed_ends_on_rings(void **state)
{
    (void)state;
    rt_need_uring();
    expect_ends_with_things_held("backend=uring");
}

static void abandon_with_buffers_lent_and_timers_armed_ends_on_epoll(void **state)
{
    (void)state;
    expect_ends_with_things_held("backend=epoll");
}

/* --- threads ---------------------------------------------------------------------------------- */

static char *threads_path;
static const unsigned char *threads_base;
static size_t threads_bytes;

static int hang_on_start(struct plx_reactor *reactor, void *ctx)
{
    (void)ctx;
    if (plx_reactor_index(reactor) != 1)
        return 0;
    threads_base = plx_reactor_arena(reactor)->base;
    threads_bytes = plx_reactor_arena(reactor)->bytes;
    threads_path = path_in(reactor);
    hang_in_open(reactor, threads_path);
    return 0;
}

static void stop_with_a_hanging_worker_names_its_reactor(void **state)
{
    (void)state;
    need_calls_told();
    make_fifo();
    struct plx_runtime_opts opts;
    plx_runtime_opts_init(&opts);
    opts.on_start = hang_on_start;
    struct plx_runtime *rt = rt_create("reactors=2 backend=epoll file_workers=1", &opts);
    never_freed[never_freed_count++] = rt;
    rt_start(rt);
    await_hanging();
    struct plx_diag diag = {0};
    assert_int_equal(plx_runtime_stop(rt, SHORT_NS, &diag), -ETIMEDOUT);
    assert_string_equal(diag.what, "reactor");
    assert_non_null(strstr(diag.text, "reactor 1"));
    keep(&hung);
    plx_runtime_destroy(rt);
    assert_true(is_mapped(threads_base, threads_bytes));
    assert_string_equal(threads_path, fifo);
    expect_not_reused(threads_base, threads_bytes, "backend=epoll");
    open_other_side();
    expect_untouched(&hung);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(abandon_with_a_hanging_worker_leaves_op_and_arena_alone),
        cmocka_unit_test(abandon_with_an_open_that_hangs_in_the_kernel_ends_it),
        cmocka_unit_test(abandon_with_memory_still_sent_from_leaves_it_alone),
        cmocka_unit_test(abandon_waits_for_a_peer_that_takes_what_was_sent),
        cmocka_unit_test(abandon_with_buffers_lent_and_timers_armed_ends_on_rings),
        cmocka_unit_test(abandon_with_buffers_lent_and_timers_armed_ends_on_epoll),
        cmocka_unit_test(stop_with_a_hanging_worker_names_its_reactor),
    };
    return cmocka_run_group_tests_name("ops at the end", cases, NULL, NULL);
}
