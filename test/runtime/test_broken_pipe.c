/* SPDX-License-Identifier: MIT */
/* Writes to a pipe that nobody reads, on a started reactor: an error, and no signal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "test/runtime/rt_fixture.h"

static int broken[2];
static int full[2];
static struct plx_op writes[2];
static PLX_ATOMIC(uint32_t) ended;
static int32_t results[2];
static volatile sig_atomic_t signals;

static void count_signal(int number)
{
    (void)number;
    signals++;
}

static void on_written(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    (void)ctx;
    results[op - writes] = event->result;
    plx_store_release(&ended, plx_load_relaxed(&ended) + 1);
}

/* One that nobody reads by now, and one that waits until nobody does. */
static int write_both(struct plx_reactor *reactor, void *ctx)
{
    (void)ctx;
    plx_op_write(&writes[0], broken[1], "x", 1, PLX_OFFSET_CURRENT, on_written, NULL);
    plx_op_write(&writes[1], full[1], "x", 1, PLX_OFFSET_CURRENT, on_written, NULL);
    int rc = plx_op_submit(reactor, &writes[0]);
    return rc != 0 ? rc : plx_op_submit(reactor, &writes[1]);
}

static void fill_pipe(int fd)
{
    static const char page[4096];
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    while (write(fd, page, sizeof(page)) > 0)
        ;
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(fcntl(fd, F_SETFL, 0), 0);
}

static void write_both_on(const char *words)
{
    struct plx_runtime_opts opts;
    plx_runtime_opts_init(&opts);
    opts.take_signals = false;
    opts.on_start = write_both;
    plx_store_relaxed(&ended, 0);
    assert_int_equal(pipe2(broken, O_CLOEXEC), 0);
    assert_int_equal(pipe2(full, O_CLOEXEC), 0);
    fill_pipe(full[1]);
    close(broken[0]);
    struct plx_runtime *rt = rt_create(words, &opts);
    rt_start(rt);
    RT_UNTIL(plx_load_acquire(&ended) == 1);
    close(full[0]);
    RT_UNTIL(plx_load_acquire(&ended) == 2);
    rt_finish(rt);
    assert_int_equal(results[0], -EPIPE);
    assert_int_equal(results[1], -EPIPE);
    close(broken[1]);
    close(full[1]);
}

static int set_up(void **state)
{
    *state = NULL;
    signals = 0;
    return signal(SIGPIPE, count_signal) == SIG_ERR;
}

static int tear_down(void **state)
{
    (void)state;
    return signal(SIGPIPE, SIG_DFL) == SIG_ERR;
}

static void write_to_a_broken_pipe_by_epoll_is_epipe_and_no_signal(void **state)
{
    (void)state;
    write_both_on("backend=epoll");
    assert_int_equal(signals, 0);
}

static void write_to_a_broken_pipe_by_the_ring_is_epipe_and_no_signal(void **state)
{
    (void)state;
    rt_need_uring();
    write_both_on("backend=uring");
    assert_int_equal(signals, 0);
}

static void write_to_a_broken_pipe_by_an_sq_thread_is_epipe_and_no_signal(void **state)
{
    (void)state;
    rt_need_uring();
    if (rt_cpus_allowed() < 2) {
        print_message("skipped: one CPU has no room for an SQ thread\n");
        skip();
    }
    write_both_on("backend=uring sqpoll=on sqpoll_cpus=1 sqpoll_idle=5ms");
    assert_int_equal(signals, 0);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test_setup_teardown(write_to_a_broken_pipe_by_epoll_is_epipe_and_no_signal,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(write_to_a_broken_pipe_by_the_ring_is_epipe_and_no_signal,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            write_to_a_broken_pipe_by_an_sq_thread_is_epipe_and_no_signal, set_up, tear_down),
    };
    return cmocka_run_group_tests_name("broken pipe", cases, NULL, NULL);
}
