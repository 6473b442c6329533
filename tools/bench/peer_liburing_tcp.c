/* SPDX-License-Identifier: MIT */
/*
 * The strong peer on the same kernel interface: liburing without Pollux, on a ring set up with the
 * same flags and its descriptor registered; receives are multishot into a ring of buffers. Sends
 * are entries of the ring, one enter for all of a turn.
 */
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tools/bench/end.h"

#define RING_ENTRIES 1024u
#define BUFFERS      1024u
#define GROUP        1
#define BATCH        128u
/* user_data: the connection's number shifted, and what it was. */
#define DATA_RECV 0u
#define DATA_SEND 1u

struct uring_connection {
    int fd;
    uint16_t buffer; /* what is being sent */
};

struct uring_end {
    struct plx_bench_end end;
    int listener;
    uint32_t connections;
    uint32_t count;
    uint32_t queued;
    struct io_uring ring;
    bool ring_open;
    struct io_uring_buf_ring *buffers; /* the ring, and behind it the buffers */
    uint8_t *base;
    size_t bytes;
    uint8_t out[PLX_BENCH_MESSAGE_BYTES]; /* of a client */
    struct uring_connection connection[];
};

static void uring_end_close(struct plx_bench_end *end)
{
    struct uring_end *u = (struct uring_end *)end;
    if (u->ring_open)
        io_uring_queue_exit(&u->ring);
    if (u->buffers != NULL)
        munmap(u->buffers, u->bytes);
    for (uint32_t i = 0; i < u->count; i++)
        close(u->connection[i].fd);
    if (u->listener >= 0)
        close(u->listener);
    free(u);
}

static struct io_uring_sqe *take_sqe(struct uring_end *u)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
    if (sqe == NULL) {
        (void)io_uring_submit(&u->ring);
        sqe = io_uring_get_sqe(&u->ring);
    }
    if (sqe == NULL)
        plx_bench_end_failed(&u->end, -EAGAIN);
    u->queued += sqe != NULL;
    return sqe;
}

static void arm_receive(struct uring_end *u, uint32_t index)
{
    struct io_uring_sqe *sqe = take_sqe(u);
    if (sqe == NULL)
        return;
    io_uring_prep_recv_multishot(sqe, u->connection[index].fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = GROUP;
    io_uring_sqe_set_data64(sqe, (uint64_t)index << 1 | DATA_RECV);
}

static void give_back(struct uring_end *u, uint16_t id)
{
    io_uring_buf_ring_add(u->buffers, u->base + (size_t)id * PLX_BENCH_CHUNK_BYTES,
                          PLX_BENCH_CHUNK_BYTES, id, io_uring_buf_ring_mask(BUFFERS), 0);
    io_uring_buf_ring_advance(u->buffers, 1);
}

static int open_buffers(struct uring_end *u)
{
    size_t ring_bytes = BUFFERS * sizeof(struct io_uring_buf);
    u->bytes = ring_bytes + (size_t)BUFFERS * PLX_BENCH_CHUNK_BYTES;
    void *memory = mmap(NULL, u->bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED)
        return -errno;
    u->buffers = memory;
    u->base = (uint8_t *)memory + ring_bytes;
    struct io_uring_buf_reg reg = {
        .ring_addr = (uintptr_t)memory, .ring_entries = BUFFERS, .bgid = GROUP};
    int rc = io_uring_register_buf_ring(&u->ring, &reg, 0);
    if (rc != 0)
        return rc;
    io_uring_buf_ring_init(u->buffers);
    for (uint32_t id = 0; id < BUFFERS; id++)
        give_back(u, (uint16_t)id);
    return 0;
}

static int open_ring(struct uring_end *u)
{
    struct io_uring_params params = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                 IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_CQSIZE,
        .cq_entries = 4 * RING_ENTRIES,
    };
    int rc = io_uring_queue_init_params(RING_ENTRIES, &u->ring, &params);
    if (rc != 0)
        return rc;
    u->ring_open = true;
    /* Refused where it is not known; entering costs a little more then. */
    (void)io_uring_register_ring_fd(&u->ring);
    return open_buffers(u);
}

static int uring_end_open(const struct plx_bench_end_ops *ops, struct plx_bench_end_config *config,
                          struct plx_bench_end **out)
{
    struct uring_end *u =
        calloc(1, sizeof(*u) + config->connections * sizeof(struct uring_connection));
    if (u == NULL)
        return -ENOMEM;
    u->end.ops = ops;
    u->end.echoes = config->server;
    u->connections = config->connections;
    u->listener = -1;
    int rc = open_ring(u);
    if (rc == 0)
        rc = plx_bench_plain_open(config);
    if (rc >= 0 && config->server) {
        u->listener = rc;
    } else if (rc >= 0) {
        u->connection[u->count++].fd = rc;
        arm_receive(u, 0);
    }
    if (rc < 0) {
        uring_end_close(&u->end);
        return rc;
    }
    *out = &u->end;
    return 0;
}

static int uring_end_accept(struct plx_bench_end *end)
{
    struct uring_end *u = (struct uring_end *)end;
    while (end->accepted < u->connections) {
        int fd = plx_bench_plain_accept(u->listener);
        if (fd < 0)
            return fd;
        u->connection[u->count].fd = fd;
        arm_receive(u, u->count++);
        end->accepted++;
    }
    return end->error;
}

/* What is sent stays in its place until its completion, so without a copy of ours. */
static void send_from(struct uring_end *u, uint32_t index, const void *data, size_t bytes)
{
    struct io_uring_sqe *sqe = take_sqe(u);
    if (sqe == NULL)
        return;
    io_uring_prep_send(sqe, u->connection[index].fd, data, bytes, MSG_NOSIGNAL | MSG_WAITALL);
    io_uring_sqe_set_data64(sqe, (uint64_t)index << 1 | DATA_SEND);
}

static void uring_end_send(struct plx_bench_end *end, const void *message, size_t bytes)
{
    struct uring_end *u = (struct uring_end *)end;
    memcpy(u->out, message, bytes);
    send_from(u, 0, u->out, bytes);
    if (u->queued != 0) {
        u->queued = 0;
        (void)io_uring_submit(&u->ring);
    }
}

static void received(struct uring_end *u, uint32_t index, const struct io_uring_cqe *cqe)
{
    if (cqe->res > 0 && (cqe->flags & IORING_CQE_F_BUFFER) != 0) {
        uint16_t id = (uint16_t)(cqe->flags >> IORING_CQE_BUFFER_SHIFT);
        const uint8_t *data = u->base + (size_t)id * PLX_BENCH_CHUNK_BYTES;
        if (u->end.echoes) {
            u->connection[index].buffer = id;
            send_from(u, index, data, (size_t)cqe->res);
        } else {
            plx_bench_end_answer(&u->end, data, (size_t)cqe->res);
            give_back(u, id);
        }
    } else if (cqe->res != -ENOBUFS) {
        plx_bench_end_failed(&u->end, cqe->res < 0 ? cqe->res : -ECONNRESET);
        return;
    }
    if ((cqe->flags & IORING_CQE_F_MORE) == 0)
        arm_receive(u, index);
}

static void completed(struct uring_end *u, const struct io_uring_cqe *cqe)
{
    uint64_t data = io_uring_cqe_get_data64(cqe);
    uint32_t index = (uint32_t)(data >> 1);
    if ((data & 1) == DATA_RECV) {
        received(u, index, cqe);
        return;
    }
    if (cqe->res < 0)
        plx_bench_end_failed(&u->end, cqe->res);
    if (u->end.echoes)
        give_back(u, u->connection[index].buffer);
}

static void uring_end_turn(struct plx_bench_end *end)
{
    struct uring_end *u = (struct uring_end *)end;
    struct io_uring_cqe *cqes[BATCH];
    /* Enters only when the kernel has announced work for this thread. */
    unsigned count = io_uring_peek_batch_cqe(&u->ring, cqes, BATCH);
    if (count != 0) {
        for (unsigned i = 0; i < count; i++)
            completed(u, cqes[i]);
        io_uring_cq_advance(&u->ring, count);
    }
    if (u->queued != 0) {
        u->queued = 0;
        (void)io_uring_submit(&u->ring);
    }
}

const struct plx_bench_end_ops plx_bench_end_liburing = {
    .subject = "liburing",
    .open = uring_end_open,
    .accept = uring_end_accept,
    .send = uring_end_send,
    .turn = uring_end_turn,
    .close = uring_end_close,
    .by_uring = true,
};
