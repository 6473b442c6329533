/* SPDX-License-Identifier: MIT */
#include "runtime/io/uring_probe_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "alloc/base.h"
#include "runtime/io/group.h"

#define OPCODES_MAX 256

/* Sends one entry through the ring and gives its result. */
static int run_entry(struct io_uring *ring, const struct io_uring_sqe *probe)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
    if (sqe == NULL)
        return -EAGAIN;
    *sqe = *probe;
    int rc = io_uring_submit_and_wait(ring, 1);
    if (rc < 0)
        return rc;
    struct io_uring_cqe *cqe = NULL;
    rc = io_uring_wait_cqe(ring, &cqe);
    if (rc < 0)
        return rc;
    rc = cqe->res;
    io_uring_cqe_seen(ring, cqe);
    return rc;
}

int plx__probe_nop(struct io_uring *ring)
{
    struct io_uring_sqe sqe = {.opcode = IORING_OP_NOP, .fd = -1};
    return run_entry(ring, &sqe);
}

int plx__probe_opcode(struct io_uring *ring, unsigned opcode)
{
    union {
        struct io_uring_probe probe;
        char room[sizeof(struct io_uring_probe) + OPCODES_MAX * sizeof(struct io_uring_probe_op)];
    } all;
    memset(&all, 0, sizeof(all));
    int rc = io_uring_register_probe(ring, &all.probe, OPCODES_MAX);
    if (rc < 0)
        return rc;
    return io_uring_opcode_supported(&all.probe, (int)opcode) ? 0 : -EOPNOTSUPP;
}

int plx__probe_send_zc(struct io_uring *ring)
{
    return plx__probe_opcode(ring, IORING_OP_SEND_ZC);
}

int plx__probe_sendmsg_zc(struct io_uring *ring)
{
    return plx__probe_opcode(ring, IORING_OP_SENDMSG_ZC);
}

int plx__probe_msg_ring(struct io_uring *ring)
{
    return plx__probe_opcode(ring, IORING_OP_MSG_RING);
}

/*
 * The kernel checks an entry's flags before it looks its descriptor up: with descriptor -1, EINVAL
 * says that the flag is unknown and EBADF that it is known.
 */
static int run_without_fd(struct io_uring *ring, struct io_uring_sqe *sqe)
{
    sqe->fd = -1;
    int rc = run_entry(ring, sqe);
    return rc == -EBADF ? 0 : rc;
}

int plx__probe_multishot_accept(struct io_uring *ring)
{
    struct io_uring_sqe sqe = {.opcode = IORING_OP_ACCEPT};
    sqe.ioprio = IORING_ACCEPT_MULTISHOT;
    return run_without_fd(ring, &sqe);
}

int plx__probe_multishot_recv(struct io_uring *ring)
{
    struct io_uring_sqe sqe = {.opcode = IORING_OP_RECV};
    sqe.ioprio = IORING_RECV_MULTISHOT;
    sqe.flags = IOSQE_BUFFER_SELECT;
    return run_without_fd(ring, &sqe);
}

int plx__probe_multishot_recvmsg(struct io_uring *ring)
{
    struct msghdr msg = {0};
    struct io_uring_sqe sqe = {.opcode = IORING_OP_RECVMSG};
    sqe.addr = (uintptr_t)&msg;
    sqe.len = 1;
    sqe.ioprio = IORING_RECV_MULTISHOT;
    sqe.flags = IOSQE_BUFFER_SELECT;
    return run_without_fd(ring, &sqe);
}

int plx__probe_buffer_ring(struct io_uring *ring)
{
    void *page = mmap(NULL, PLX_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return -errno;
    struct io_uring_buf_reg reg = {
        .ring_addr = (uintptr_t)page,
        .ring_entries = 8,
        .bgid = PLX_GROUPS_MAX,
    };
    int rc = io_uring_register_buf_ring(ring, &reg, 0);
    if (rc == 0)
        rc = io_uring_unregister_buf_ring(ring, PLX_GROUPS_MAX);
    munmap(page, PLX_PAGE);
    return rc;
}

/* Nothing is in flight, so nothing is found; a kernel that does not know the flags says EINVAL. */
static int run_cancel(struct io_uring *ring, int fd, unsigned flags)
{
    struct io_uring_sqe sqe = {.opcode = IORING_OP_ASYNC_CANCEL, .fd = fd};
    sqe.cancel_flags = flags;
    int rc = run_entry(ring, &sqe);
    return rc == -ENOENT || rc > 0 ? 0 : rc;
}

int plx__probe_cancel_any(struct io_uring *ring)
{
    return run_cancel(ring, -1, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
}

int plx__probe_cancel_fd(struct io_uring *ring)
{
    return run_cancel(ring, ring->ring_fd, IORING_ASYNC_CANCEL_FD | IORING_ASYNC_CANCEL_ALL);
}
