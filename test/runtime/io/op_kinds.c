/* SPDX-License-Identifier: MIT */
#include "test/runtime/io/op_kinds.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "alloc/pool.h"
#include "runtime/reactor_internal.h"

#define SETTLE_TURNS 24u
#define GROUP_COUNT  16u

static uint16_t the_group;
static const char *doing; /* the kind that a case is at */
static char fifo_folder[] = "/tmp/pollux-kinds-XXXXXX";
static unsigned fifo_number;
static unsigned fifos_left;

/* --- what ops name ---------------------------------------------------------------------------- */

static void open_nothing(struct life *l)
{
    (void)l;
}

static void open_ends(struct life *l, bool reads)
{
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    l->fd = ends[reads ? 0 : 1];
    l->peer = ends[reads ? 1 : 0];
}

static void open_pipe_empty(struct life *l)
{
    open_ends(l, true);
}

static void fill_pipe(int fd)
{
    static char block[4096];
    int flags = fcntl(fd, F_GETFL);
    assert_int_equal(fcntl(fd, F_SETFL, flags | O_NONBLOCK), 0);
    while (write(fd, block, sizeof(block)) > 0)
        continue;
    assert_int_equal(fcntl(fd, F_SETFL, flags), 0);
}

static void open_pipe_full(struct life *l)
{
    open_ends(l, false);
    (void)fcntl(l->fd, F_SETPIPE_SZ, 4096);
    fill_pipe(l->fd);
}

static void open_memory_file(struct life *l)
{
    l->fd = memfd_create("kinds", MFD_CLOEXEC);
    assert_true(l->fd >= 0);
    assert_int_equal(pwrite(l->fd, "0123456789abcdef", 16, 0), 16);
}

static void open_fifo_path(struct life *l)
{
    if (fifos_left++ == 0)
        assert_non_null(mkdtemp(fifo_folder));
    snprintf(l->path, sizeof(l->path), "%s/%u", fifo_folder, fifo_number++);
    assert_int_equal(mkfifo(l->path, 0600), 0);
}

static void remove_fifo(const char *path)
{
    assert_int_equal(unlink(path), 0);
    if (--fifos_left > 0)
        return;
    assert_int_equal(rmdir(fifo_folder), 0);
    memcpy(fifo_folder + sizeof(fifo_folder) - 7, "XXXXXX", 6);
}

static void open_plain_path(struct life *l)
{
    snprintf(l->path, sizeof(l->path), "/dev/null");
}

static void open_socket(struct life *l, int type)
{
    int pair[2];
    make_pair(type, pair);
    l->fd = pair[0];
    l->peer = pair[1];
}

static void open_stream(struct life *l)
{
    open_socket(l, SOCK_STREAM);
}

static void open_stream_full(struct life *l)
{
    open_socket(l, SOCK_STREAM);
    (void)fill_socket(l->fd);
}

static void open_messages(struct life *l)
{
    open_socket(l, SOCK_SEQPACKET);
}

static void open_messages_full(struct life *l)
{
    open_socket(l, SOCK_SEQPACKET);
    (void)fill_socket(l->fd);
}

/* Small segments, so that the receiver tells of each little room at once. */
static void make_small(int fd)
{
    int segment = 1000;
    int room = 16384;
    socklen_t bytes = sizeof(int);
    assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &segment, bytes), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, bytes), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, bytes), 0);
}

static void open_tcp_full(struct life *l)
{
    int listener = make_listener(&l->addr, 1);
    make_small(listener);
    l->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(l->fd >= 0);
    make_small(l->fd);
    assert_int_equal(connect(l->fd, (struct sockaddr *)&l->addr, sizeof(l->addr)), 0);
    l->peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(l->peer >= 0);
    close(listener);
    while (fill_socket(l->fd) > 0)
        sched_yield();
}

static void open_listener(struct life *l)
{
    l->fd = make_listener(&l->addr, 16);
}

static void open_client(struct life *l)
{
    l->peer = make_listener(&l->addr, 16);
    l->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(l->fd >= 0);
}

static void open_client_of_full(struct life *l)
{
    l->peer = make_full_listener(&l->addr, &l->filler);
    l->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(l->fd >= 0);
}

/* --- what they wait for ----------------------------------------------------------------------- */

static void let_by_a_byte(struct life *l)
{
    assert_int_equal(write(l->peer, "x", 1), 1);
}

static void let_by_reading(struct life *l)
{
    static char block[8192];
    int flags = fcntl(l->peer, F_GETFL);
    assert_int_equal(fcntl(l->peer, F_SETFL, flags | O_NONBLOCK), 0);
    while (read(l->peer, block, sizeof(block)) > 0)
        continue;
    assert_int_equal(fcntl(l->peer, F_SETFL, flags), 0);
}

static void let_by_connecting(struct life *l)
{
    close(make_client(&l->addr));
}

/* The other side of the FIFO, which stays until the life is closed. */
static void let_by_opening(struct life *l)
{
    if (l->filler < 0)
        l->filler = open(l->path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    assert_true(l->filler >= 0);
}

/* --- preparing -------------------------------------------------------------------------------- */

static void note(struct plx_op *op, const struct plx_event *event, void *ctx);

static void set_message(struct life *l)
{
    memset(&l->msg, 0, sizeof(l->msg));
    l->msg.msg_iov = l->parts;
    l->msg.msg_iovlen = 1;
}

static void prepare_nop(struct life *l)
{
    plx_op_nop(life_op(l), note, l);
}

static void prepare_read(struct life *l)
{
    plx_op_read(life_op(l), l->fd, l->byte, 1, 0, note, l);
}

static void prepare_write(struct life *l)
{
    plx_op_write(life_op(l), l->fd, l->byte, 1, 0, note, l);
}

static void prepare_read_fixed(struct life *l)
{
    plx_op_read_fixed(life_op(l), l->fd, l->block, 1, 0, note, l);
}

static void prepare_write_fixed(struct life *l)
{
    plx_op_write_fixed(life_op(l), l->fd, l->block, 1, 0, note, l);
}

static void prepare_readv(struct life *l)
{
    plx_op_readv(life_op(l), l->fd, l->parts, 2, 0, note, l);
}

static void prepare_writev(struct life *l)
{
    plx_op_writev(life_op(l), l->fd, l->parts, 2, 0, note, l);
}

static void prepare_read_group(struct life *l)
{
    plx_op_read_group(life_op(l), l->fd, l->group, 1, 0, note, l);
}

static void prepare_fsync(struct life *l)
{
    plx_op_fsync(life_op(l), l->fd, 0, note, l);
}

static void prepare_fallocate(struct life *l)
{
    plx_op_fallocate(life_op(l), l->fd, 0, 0, 4096, note, l);
}

static void prepare_openat(struct life *l)
{
    plx_op_openat(life_op(l), AT_FDCWD, l->path, O_RDONLY, 0, note, l);
}

/* With O_CREAT io_uring opens it as everyone does; without, it does not wait for the other side. */
static void prepare_openat_fifo(struct life *l)
{
    plx_op_openat(life_op(l), AT_FDCWD, l->path, O_RDONLY | O_CREAT, 0600, note, l);
}

static void prepare_statx(struct life *l)
{
    plx_op_statx(life_op(l), AT_FDCWD, l->path, 0, STATX_MODE, &l->about, note, l);
}

static void prepare_recv(struct life *l)
{
    plx_op_recv(life_op(l), l->fd, l->byte, 1, 0, note, l);
}

static void prepare_recv_group(struct life *l)
{
    plx_op_recv_group(life_op(l), l->fd, l->group, note, l);
}

static void prepare_recvmsg(struct life *l)
{
    set_message(l);
    plx_op_recvmsg(life_op(l), l->fd, &l->msg, 0, note, l);
}

static void prepare_recvmsg_group(struct life *l)
{
    memset(&l->msg, 0, sizeof(l->msg));
    plx_op_recvmsg_group(life_op(l), l->fd, &l->msg, l->group, note, l);
}

static void prepare_send(struct life *l)
{
    plx_op_send(life_op(l), l->fd, l->byte, 1, 0, PLX_QUEUED, note, l);
}

static void prepare_send_inline(struct life *l)
{
    plx_op_send(life_op(l), l->fd, l->byte, 1, 0, PLX_INLINE, note, l);
}

static void prepare_send_zc(struct life *l)
{
    plx_op_send_zc(life_op(l), l->fd, l->block, PLX_PAGE, 0, note, l);
}

static void prepare_sendmsg(struct life *l)
{
    set_message(l);
    plx_op_sendmsg(life_op(l), l->fd, &l->msg, 0, 0, note, l);
}

static void prepare_sendmsg_zc(struct life *l)
{
    set_message(l);
    plx_op_sendmsg(life_op(l), l->fd, &l->msg, 0, PLX_ZERO_COPY, note, l);
}

static void prepare_accept(struct life *l)
{
    plx_op_accept(life_op(l), l->fd, SOCK_CLOEXEC, 0, note, l);
}

static void prepare_accept_multishot(struct life *l)
{
    plx_op_accept(life_op(l), l->fd, SOCK_CLOEXEC, PLX_MULTISHOT, note, l);
}

static void prepare_connect(struct life *l)
{
    plx_op_connect(life_op(l), l->fd, (struct sockaddr *)&l->addr, sizeof(l->addr), note, l);
}

static void prepare_shutdown(struct life *l)
{
    plx_op_shutdown(life_op(l), l->fd, SHUT_WR, note, l);
}

static void prepare_poll(struct life *l)
{
    plx_op_poll(life_op(l), l->fd, POLLIN, note, l);
}

static void prepare_close(struct life *l)
{
    plx_op_close(life_op(l), l->fd, note, l);
}

#define FDS INT32_MAX

const struct kind kinds[] = {
    {"nop", PLX_OP_NOP, KIND_NO_FD, PLX_INLINE, 0, 0, open_nothing, prepare_nop, NULL},
    {"read of a pipe", PLX_OP_READ, KIND_WAITS, PLX_INLINE, 1, 1, open_pipe_empty, prepare_read,
     let_by_a_byte},
    {"read of a file", PLX_OP_READ, 0, PLX_MULTISHOT, 1, 1, open_memory_file, prepare_read, NULL},
    {"fixed read of a pipe", PLX_OP_READ, KIND_WAITS, PLX_ZERO_COPY, 1, 1, open_pipe_empty,
     prepare_read_fixed, let_by_a_byte},
    {"write to a full pipe", PLX_OP_WRITE, KIND_WAITS, PLX_INLINE, 1, 1, open_pipe_full,
     prepare_write, let_by_reading},
    {"write to a file", PLX_OP_WRITE, 0, PLX_MULTISHOT, 1, 1, open_memory_file, prepare_write,
     NULL},
    {"fixed write to a file", PLX_OP_WRITE, 0, PLX_ZERO_COPY, 1, 1, open_memory_file,
     prepare_write_fixed, NULL},
    {"readv of a pipe", PLX_OP_READV, KIND_WAITS, PLX_FIXED, 1, 2, open_pipe_empty, prepare_readv,
     let_by_a_byte},
    {"writev to a full pipe", PLX_OP_WRITEV, KIND_WAITS, PLX_FIXED, 1, 2, open_pipe_full,
     prepare_writev, let_by_reading},
    {"writev to a file", PLX_OP_WRITEV, 0, PLX_INLINE, 2, 2, open_memory_file, prepare_writev,
     NULL},
    {"read_group of a pipe", PLX_OP_READ_GROUP, KIND_WAITS, PLX_MULTISHOT, 1, 1, open_pipe_empty,
     prepare_read_group, let_by_a_byte},
    {"read_group of a file", PLX_OP_READ_GROUP, 0, PLX_FIXED, 1, 1, open_memory_file,
     prepare_read_group, NULL},
    {"fsync", PLX_OP_FSYNC, 0, PLX_FIXED, 0, 0, open_memory_file, prepare_fsync, NULL},
    {"fallocate", PLX_OP_FALLOCATE, 0, PLX_INLINE, 0, 0, open_memory_file, prepare_fallocate, NULL},
    {"openat", PLX_OP_OPENAT, KIND_NO_FD, PLX_INLINE, 0, FDS, open_plain_path, prepare_openat,
     NULL},
    {"openat of a fifo", PLX_OP_OPENAT, KIND_WAITS | KIND_WORKER | KIND_NO_FD, PLX_FIXED, 0, FDS,
     open_fifo_path, prepare_openat_fifo, let_by_opening},
    {"statx", PLX_OP_STATX, KIND_NO_FD, PLX_INLINE, 0, 0, open_plain_path, prepare_statx, NULL},
    {"recv", PLX_OP_RECV, KIND_WAITS, PLX_INLINE, 1, 1, open_stream, prepare_recv, let_by_a_byte},
    {"recv_group", PLX_OP_RECV_GROUP, KIND_WAITS | KIND_MULTISHOT, PLX_FIXED, 1, PLX_PAGE,
     open_stream, prepare_recv_group, let_by_a_byte},
    {"recvmsg", PLX_OP_RECVMSG, KIND_WAITS, PLX_MULTISHOT, 1, 1, open_messages, prepare_recvmsg,
     let_by_a_byte},
    {"recvmsg_group", PLX_OP_RECVMSG_GROUP, KIND_WAITS | KIND_MULTISHOT, PLX_INLINE, 1, PLX_PAGE,
     open_messages, prepare_recvmsg_group, let_by_a_byte},
    {"send to a full socket", PLX_OP_SEND, KIND_WAITS, PLX_MULTISHOT, 1, 1, open_stream_full,
     prepare_send, let_by_reading},
    {"send", PLX_OP_SEND, 0, PLX_FIXED, 1, 1, open_stream, prepare_send, NULL},
    {"inline send to a full socket", PLX_OP_SEND, KIND_WAITS, PLX_ZERO_COPY, 1, 1, open_stream_full,
     prepare_send_inline, let_by_reading},
    {"inline send", PLX_OP_SEND, KIND_RINGLESS, PLX_ZERO_COPY, 1, 1, open_stream,
     prepare_send_inline, NULL},
    {"zero-copy send to a full socket", PLX_OP_SEND, KIND_WAITS | KIND_SETTLES, PLX_INLINE, 1,
     PLX_PAGE, open_tcp_full, prepare_send_zc, let_by_reading},
    {"zero-copy send to a full unix socket", PLX_OP_SEND, KIND_WAITS | KIND_SETTLES, PLX_INLINE, 1,
     PLX_PAGE, open_stream_full, prepare_send_zc, let_by_reading},
    {"sendmsg to a full socket", PLX_OP_SENDMSG, KIND_WAITS, PLX_INLINE, 1, 1, open_messages_full,
     prepare_sendmsg, let_by_reading},
    {"zero-copy sendmsg to a full socket", PLX_OP_SENDMSG, KIND_WAITS | KIND_SETTLES, PLX_FIXED, 1,
     1, open_tcp_full, prepare_sendmsg_zc, let_by_reading},
    {"accept", PLX_OP_ACCEPT, KIND_WAITS, PLX_INLINE, 0, FDS, open_listener, prepare_accept,
     let_by_connecting},
    {"multishot accept", PLX_OP_ACCEPT, KIND_WAITS | KIND_MULTISHOT, PLX_FIXED, 0, FDS,
     open_listener, prepare_accept_multishot, let_by_connecting},
    {"connect", PLX_OP_CONNECT, KIND_ONCE, PLX_INLINE, 0, 0, open_client, prepare_connect, NULL},
    {"connect that hangs", PLX_OP_CONNECT, KIND_WAITS | KIND_NO_LET | KIND_ONCE, PLX_MULTISHOT, 0,
     0, open_client_of_full, prepare_connect, NULL},
    {"shutdown", PLX_OP_SHUTDOWN, 0, PLX_INLINE, 0, 0, open_stream, prepare_shutdown, NULL},
    {"poll", PLX_OP_POLL, KIND_WAITS, PLX_MULTISHOT, POLLIN, POLLIN, open_stream, prepare_poll,
     let_by_a_byte},
    {"close", PLX_OP_CLOSE, KIND_CLOSES | KIND_ONCE, PLX_INLINE, 0, 0, open_stream, prepare_close,
     NULL},
    {NULL, PLX_OP_NONE, 0, 0, 0, 0, NULL, NULL, NULL},
};

/* --- a life ----------------------------------------------------------------------------------- */

/* What came with an event goes: a buffer home, a descriptor closed. */
static void give_back(struct life *l, const struct plx_event *event)
{
    if ((event->flags & PLX_EV_BUFFER) != 0) {
        l->lent++;
        assert_true(event->result > 0);
        plx_group_release(l->world->reactor, l->group, event->buffer_id);
    } else if (event->result >= 0 &&
               (l->kind->code == PLX_OP_ACCEPT || l->kind->code == PLX_OP_OPENAT)) {
        assert_int_equal(close(event->result), 0);
    }
}

static void note(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    struct life *l = ctx;
    seen_assert_allowed();
    assert_ptr_equal(op, life_op(l));
    assert_true(l->events < LIFE_EVENTS_MAX);
    bool notice = (event->flags & PLX_EV_RELEASED) != 0 && (l->flags & PLX_EV_MORE) != 0;
    l->events++;
    l->flags = event->flags;
    if (!notice)
        l->result = event->result;
    give_back(l, event);
    if ((event->flags & PLX_EV_MORE) != 0) {
        assert_int_not_equal(plx_op_state(op), PLX_OP_DONE);
        return;
    }
    assert_int_equal(plx_op_state(op), PLX_OP_DONE);
    l->terminals++;
    if (l->kind->code == PLX_OP_CLOSE && event->result == 0)
        l->fd = -1;
    if (l->then != NULL)
        l->then(l);
}

void kinds_begin(struct world *world)
{
    doing = NULL;
    assert_int_equal(plx_group_create(world->reactor, GROUP_COUNT, PLX_PAGE, &the_group), 0);
}

void life_prepare(struct life *l)
{
    l->flags = 0;
    l->is_let = false;
    l->kind->prepare(l);
}

void life_open(struct life *l, const struct kind *kind, struct world *world)
{
    memset(l, 0, sizeof(*l));
    doing = kind->name;
    l->kind = kind;
    l->world = world;
    l->fd = -1;
    l->peer = -1;
    l->filler = -1;
    l->group = the_group;
    l->block = plx_pool_acquire(plx_reactor_pool(world->reactor), PLX_PAGE);
    assert_non_null(l->block);
    l->parts[0] = (struct iovec){.iov_base = l->byte, .iov_len = 1};
    l->parts[1] = (struct iovec){.iov_base = l->byte + 1, .iov_len = 1};
    kind->open(l);
    life_prepare(l);
}

void life_close(struct life *l)
{
    if (l->world->reactor != NULL)
        plx_pool_release(plx_reactor_pool(l->world->reactor), l->block);
    /* What an op has named may be known to the backend, so it is told. */
    if (l->fd >= 0 && l->world->reactor != NULL)
        world_close_fd(l->world, l->fd);
    else if (l->fd >= 0)
        close(l->fd);
    if (l->peer >= 0)
        close(l->peer);
    if (l->filler >= 0)
        close(l->filler);
    if (l->kind->open == open_fifo_path)
        remove_fifo(l->path);
    doing = NULL;
}

void life_submit(struct life *l)
{
    assert_int_equal(world_try_submit(l->world, life_op(l)), 0);
    enum plx_op_state state = plx_op_state(life_op(l));
    assert_in_range(state, PLX_OP_QUEUED, PLX_OP_ENDING);
}

void life_cancel(struct life *l)
{
    seen_forbid();
    plx_op_cancel(l->world->reactor, life_op(l));
    seen_allow();
}

void life_let(struct life *l)
{
    l->is_let = true;
    l->kind->let(l);
}

void life_turn(struct life *l)
{
    if (l->is_let && (l->kind->traits & KIND_SETTLES) != 0)
        l->kind->let(l);
    world_turn(l->world);
}

void life_await(struct life *l, unsigned count)
{
    LIFE_UNTIL(l, l->terminals >= count);
    assert_int_equal(l->terminals, count);
}

void life_settle(struct world *world)
{
    bool shares = strcmp(world->mode->sqpoll, "on") == 0;
    for (unsigned i = 0; i < SETTLE_TURNS; i++) {
        /* A busy machine takes long to come back from giving the core away. */
        if (shares)
            world_turn(world);
        else
            assert_true(plx_reactor_poll(world->reactor) >= 0);
    }
}

bool life_worked(const struct life *l)
{
    return l->result >= l->kind->least && l->result <= l->kind->most;
}

bool life_is_cancellable(const struct life *l)
{
    return (l->kind->traits & KIND_WAITS) != 0 &&
           !(l->world->is_epoll && (l->kind->traits & KIND_WORKER) != 0);
}

void life_expect_either(const struct life *l)
{
    if (l->result != -ECANCELED && !life_worked(l))
        fail_msg("%s ended with %d", l->kind->name, l->result);
}

void expect_nothing_named(struct world *world)
{
    const struct plx__io *io = world->reactor->io;
    assert_int_equal(io->in_flight, 0);
    assert_null(io->closing);
    for (uint32_t fd = 0; fd < io->fd_limit && fd < 4096; fd++)
        assert_int_equal(io->fd_uses[fd], 0);
    assert_int_equal(plx_group_left(world->reactor, the_group), GROUP_COUNT);
}

int kinds_set_up(void **state)
{
    int rc = world_set_up(state);
    kinds_begin(*state);
    return rc;
}

int kinds_set_up_small(void **state)
{
    int rc = world_set_up_small(state);
    kinds_begin(*state);
    return rc;
}

int kinds_tear_down(void **state)
{
    struct world *world = *state;
    if (doing != NULL)
        print_message("it was at: %s\n", doing);
    else if (world->reactor != NULL)
        expect_nothing_named(world);
    return world_tear_down(state);
}
