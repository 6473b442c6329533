/* SPDX-License-Identifier: MIT */
#include "test/runtime/io/epoll_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct plx_settings epoll_settings;
struct plx__io_config epoll_config;
static struct plx_arena arena;
static struct plx_pool pool;

int epoll_open_plain(struct plx__io **out, struct plx_diag *diag)
{
    return plx__epoll_open(&epoll_config, out, diag);
}

int epoll_set_up(void **state)
{
    plx_settings_init(&epoll_settings);
    epoll_config = (struct plx__io_config){
        .settings = &epoll_settings,
        .arena = &arena,
        .sq_cpu = -1,
        .sq_fd = -1,
    };
    struct plx_arena_opts opts;
    plx_arena_opts_init(&opts);
    opts.page_2m = PLX_WANT_NO;
    opts.thp = PLX_WANT_NO;
    opts.lock = PLX_WANT_NO;
    opts.bind = PLX_WANT_NO;
    assert_int_equal(plx_arena_init(&arena, 2 << 20, PLX_NODE_ANY, &opts, NULL), 0);
    const struct plx_pool_quota quota = {{192}};
    assert_int_equal(plx_pool_init(&pool, &arena, &quota, NULL, NULL), 0);
    seen_reset();
    struct plx__io *io = NULL;
    assert_int_equal(epoll_open_plain(&io, NULL), 0);
    io->pool = &pool;
    *state = io;
    return 0;
}

struct plx__io *epoll_reopen(void **state)
{
    struct plx__io *io = *state;
    if (io != NULL)
        io->ops->close(io);
    *state = NULL;
    assert_int_equal(epoll_open_plain(&io, NULL), 0);
    io->pool = &pool;
    *state = io;
    return io;
}

int epoll_tear_down(void **state)
{
    struct plx__io *io = *state;
    assert_int_equal(io->in_flight, 0);
    assert_int_equal(io->submitted, io->completed);
    io->ops->close(io);
    plx_arena_fini(&arena);
    return 0;
}

void io_submit(struct plx__io *io, struct seen *seen)
{
    seen_forbid();
    assert_int_equal(plx__io_submit(io, &seen->op), 0);
    seen_allow();
}

void io_run(struct plx__io *io, struct seen *seen, int32_t result)
{
    io_submit(io, seen);
    IO_UNTIL(io, seen->terminals == 1);
    seen_expect(seen, result);
}

void io_close(struct plx__io *io, int fd)
{
    struct seen seen = {0};
    plx_op_close(&seen.op, fd, seen_note, &seen);
    io_run(io, &seen, 0);
}
