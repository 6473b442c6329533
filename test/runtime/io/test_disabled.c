/* SPDX-License-Identifier: MIT */
/*
 * A system whose administrator has switched io_uring off (the sysctl kernel.io_uring_disabled is 2,
 * Linux 6.6 and later): `auto` works on epoll and says why, and who insists is told which sysctl it
 * is. Elsewhere there is nothing to see: scripts/guest boots such a system.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "test/runtime/rt_fixture.h"

static struct rt_lines lines;

static void keep(enum plx_log_level level, const char *text, void *ctx)
{
    (void)level;
    rt_keep_line(text, ctx);
}

static void need_disabled(void)
{
    int value = 0;
    FILE *file = fopen("/proc/sys/kernel/io_uring_disabled", "re");
    bool told = file != NULL && fscanf(file, "%d", &value) == 1;
    if (file != NULL)
        fclose(file);
    if (value == 2)
        return;
    print_message(told ? "kernel.io_uring_disabled is %d here\n"
                       : "this kernel has no kernel.io_uring_disabled\n",
                  value);
    skip();
}

static struct plx_runtime *create(const char *words)
{
    struct plx_runtime_opts opts;
    plx_runtime_opts_init(&opts);
    plx_store_relaxed(&lines.count, 0);
    opts.log = keep;
    opts.ctx = &lines;
    return rt_create(words, &opts);
}

static void keep_result(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    (void)op;
    *(int32_t *)ctx = event->result;
}

static void auto_falls_back_to_epoll_and_names_the_sysctl_once(void **state)
{
    (void)state;
    need_disabled();
    struct plx_runtime *rt = create("reactors=2");
    rt_start(rt);
    for (uint32_t i = 0; i < 2; i++)
        assert_string_equal(plx_reactor_mode(plx_runtime_reactor(rt, i)), "epoll");
    rt_finish(rt);
    assert_int_equal(rt_lines_with(&lines, "epoll instead"), 1);
    assert_int_equal(rt_lines_with(&lines, "kernel.io_uring_disabled"), 1);
}

static void file_is_looked_at_by_a_worker(void **state)
{
    (void)state;
    need_disabled();
    struct plx_runtime *rt = create("");
    struct plx_reactor *reactor = rt_adopt(rt, 0);
    int32_t result = INT32_MIN;
    struct plx_op op;
    plx_op_fsync(&op, 0, 0, keep_result, &result);
    assert_int_equal(plx_op_submit(reactor, &op), 0);
    RT_TURN_UNTIL(reactor, result != INT32_MIN);
    assert_true(result == 0 || result == -EINVAL || result == -EROFS);
    rt_abandon(reactor);
    plx_runtime_destroy(rt);
}

static void insisting_is_refused_and_names_the_sysctl(void **state)
{
    (void)state;
    need_disabled();
    static const char *const cases[][2] = {
        {"backend=uring", "POLLUX_BACKEND"},
        {"sqpoll=on sqpoll_cpus=1", "POLLUX_SQPOLL"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct plx_runtime *rt = create(cases[i][0]);
        struct plx_reactor *reactor = NULL;
        struct plx_diag diag = {0};
        assert_int_equal(plx_reactor_adopt(rt, 0, &reactor, &diag), -EPERM);
        assert_null(reactor);
        assert_string_equal(diag.what, cases[i][1]);
        assert_non_null(strstr(diag.text, "kernel.io_uring_disabled"));
        plx_runtime_destroy(rt);
    }
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(auto_falls_back_to_epoll_and_names_the_sysctl_once),
        cmocka_unit_test(file_is_looked_at_by_a_worker),
        cmocka_unit_test(insisting_is_refused_and_names_the_sysctl),
    };
    return cmocka_run_group_tests(cases, NULL, NULL);
}
