/* SPDX-License-Identifier: MIT */
/* The table of features, and how each is asked for on rings that live no longer than this. */
#include "runtime/io/features.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/io/uring_consts_internal.h"
#include "runtime/io/uring_probe_internal.h"

#define ENTRIES 8u

/* What the rows are tried on. */
struct trial {
    struct io_uring ring; /* a plain one */
    uint32_t told;        /* its `features` */
};

/* --- set-up flags ----------------------------------------------------------------------------- */

static int open_ring(unsigned flags, int wq_fd, struct io_uring *ring)
{
    struct io_uring_params params = {.flags = flags};
    if (wq_fd >= 0) {
        params.flags |= IORING_SETUP_ATTACH_WQ;
        params.wq_fd = (unsigned)wq_fd;
    }
    params.sq_thread_idle = 1;
    return io_uring_queue_init_params(ENTRIES, ring, &params);
}

static int try_flags(unsigned flags)
{
    struct io_uring ring;
    int rc = open_ring(flags, -1, &ring);
    if (rc == 0)
        io_uring_queue_exit(&ring);
    return rc;
}

static int try_sqpoll(struct trial *trial)
{
    (void)trial;
    return try_flags(IORING_SETUP_SQPOLL);
}

static int try_attach(struct trial *trial)
{
    (void)trial;
    struct io_uring leader;
    struct io_uring follower;
    int rc = open_ring(IORING_SETUP_SQPOLL, -1, &leader);
    if (rc != 0)
        return rc;
    rc = open_ring(IORING_SETUP_SQPOLL, leader.ring_fd, &follower);
    if (rc == 0)
        io_uring_queue_exit(&follower);
    io_uring_queue_exit(&leader);
    return rc;
}

static int try_coop(struct trial *trial)
{
    (void)trial;
    return try_flags(IORING_SETUP_COOP_TASKRUN);
}

static int try_taskrun_flag(struct trial *trial)
{
    (void)trial;
    return try_flags(IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG);
}

static int try_single_issuer(struct trial *trial)
{
    (void)trial;
    return try_flags(IORING_SETUP_SINGLE_ISSUER);
}

static int try_defer(struct trial *trial)
{
    (void)trial;
    return try_flags(IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
}

/* Past liburing, which would map such a ring the old way. */
static int try_setup(struct io_uring_params *params)
{
    long fd = syscall(SYS_io_uring_setup, ENTRIES, params);
    if (fd < 0)
        return -errno;
    close((int)fd);
    return 0;
}

static int try_no_sqarray(struct trial *trial)
{
    (void)trial;
    struct io_uring_params params = {.flags = URING_SETUP_NO_SQARRAY};
    return try_setup(&params);
}

static int try_no_mmap(struct trial *trial)
{
    (void)trial;
    char *pages =
        mmap(NULL, 2 * PLX_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED)
        return -errno;
    struct io_uring_params params = {.flags = URING_SETUP_NO_MMAP};
    /* The last words of the offsets: where the rings and the entries are to be. */
    params.cq_off.resv2 = (uintptr_t)pages;
    params.sq_off.resv2 = (uintptr_t)(pages + PLX_PAGE);
    int rc = try_setup(&params);
    munmap(pages, 2 * PLX_PAGE);
    return rc;
}

/* --- registrations ---------------------------------------------------------------------------- */

static int register_call(int fd, unsigned what, void *arg, unsigned count)
{
    return syscall(SYS_io_uring_register, fd, what, arg, count) < 0 ? -errno : 0;
}

/*
 * A kernel that knows the call reads its argument, which is not there: EFAULT. Anything else is the
 * refusal.
 */
static int try_argument(int fd, unsigned what)
{
    int rc = register_call(fd, what, (void *)(uintptr_t)8, 1);
    return rc == -EFAULT ? 0 : rc;
}

static int try_registered_ring(struct trial *trial)
{
    int rc = io_uring_register_ring_fd(&trial->ring);
    if (rc < 0)
        return rc;
    (void)io_uring_unregister_ring_fd(&trial->ring);
    return 0;
}

static int try_files(struct trial *trial)
{
    int rc = io_uring_register_files_sparse(&trial->ring, 1);
    if (rc == 0)
        (void)io_uring_unregister_files(&trial->ring);
    return rc;
}

static int try_buffers(struct trial *trial)
{
    void *page = mmap(NULL, PLX_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return -errno;
    struct iovec buffer = {.iov_base = page, .iov_len = PLX_PAGE};
    int rc = io_uring_register_buffers(&trial->ring, &buffer, 1);
    if (rc == 0)
        (void)io_uring_unregister_buffers(&trial->ring);
    munmap(page, PLX_PAGE);
    return rc;
}

static int try_sync_cancel(struct trial *trial)
{
    struct io_uring_sync_cancel_reg cancel = {.addr = 8, .fd = -1};
    cancel.timeout.tv_sec = -1;
    cancel.timeout.tv_nsec = -1;
    int rc = io_uring_register_sync_cancel(&trial->ring, &cancel);
    return rc == -ENOENT ? 0 : rc;
}

static int try_napi(struct trial *trial)
{
    struct uring_napi napi = {0};
    int rc = register_call(trial->ring.ring_fd, URING_REGISTER_NAPI, &napi, 1);
    if (rc == 0)
        (void)register_call(trial->ring.ring_fd, URING_UNREGISTER_NAPI, &napi, 1);
    return rc;
}

static int try_registered_wait(struct trial *trial)
{
    return try_argument(trial->ring.ring_fd, URING_REGISTER_MEM_REGION);
}

static int try_clone(struct trial *trial)
{
    return try_argument(trial->ring.ring_fd, URING_REGISTER_CLONE_BUFFERS);
}

/* Only a deferring ring is told to be resized. */
static int try_resize(struct trial *trial)
{
    (void)trial;
    struct io_uring ring;
    int rc = open_ring(IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, -1, &ring);
    if (rc != 0)
        return rc;
    rc = try_argument(ring.ring_fd, URING_REGISTER_RESIZE_RINGS);
    io_uring_queue_exit(&ring);
    return rc;
}

/* --- opcodes and their flags ------------------------------------------------------------------ */

static int try_uring(struct trial *trial)
{
    return plx__probe_nop(&trial->ring);
}

static int try_buffer_ring(struct trial *trial)
{
    return plx__probe_buffer_ring(&trial->ring);
}

static int try_multishot_accept(struct trial *trial)
{
    return plx__probe_multishot_accept(&trial->ring);
}

static int try_multishot_recv(struct trial *trial)
{
    return plx__probe_multishot_recv(&trial->ring);
}

static int try_multishot_recvmsg(struct trial *trial)
{
    return plx__probe_multishot_recvmsg(&trial->ring);
}

static int try_send_zc(struct trial *trial)
{
    return plx__probe_send_zc(&trial->ring);
}

static int try_sendmsg_zc(struct trial *trial)
{
    return plx__probe_sendmsg_zc(&trial->ring);
}

static int try_msg_ring(struct trial *trial)
{
    return plx__probe_msg_ring(&trial->ring);
}

static int try_cancel_any(struct trial *trial)
{
    return plx__probe_cancel_any(&trial->ring);
}

static int try_cancel_fd(struct trial *trial)
{
    return plx__probe_cancel_fd(&trial->ring);
}

static int try_readv_fixed(struct trial *trial)
{
    return plx__probe_opcode(&trial->ring, URING_OP_READV_FIXED);
}

static int try_writev_fixed(struct trial *trial)
{
    return plx__probe_opcode(&trial->ring, URING_OP_WRITEV_FIXED);
}

static int try_bundle(struct trial *trial)
{
    return (trial->told & URING_FEAT_RECVSEND_BUNDLE) != 0 ? 0 : -EOPNOTSUPP;
}

static int try_min_wait(struct trial *trial)
{
    return (trial->told & URING_FEAT_MIN_TIMEOUT) != 0 ? 0 : -EOPNOTSUPP;
}

/*
 * Where it is known the command waits for a time stamp, until it is cancelled. Its completions are
 * large ones.
 */
static int tx_timestamp_on(struct io_uring *ring, int fd)
{
    struct io_uring_sqe *ask = io_uring_get_sqe(ring);
    struct io_uring_sqe *end = io_uring_get_sqe(ring);
    if (ask == NULL || end == NULL)
        return -EAGAIN;
    *ask = (struct io_uring_sqe){.opcode = IORING_OP_URING_CMD, .fd = fd, .user_data = 1};
    ask->off = URING_SOCKET_TX_TIMESTAMP;
    *end = (struct io_uring_sqe){.opcode = IORING_OP_ASYNC_CANCEL, .fd = -1, .user_data = 2};
    end->addr = 1;
    int rc = io_uring_submit_and_wait(ring, 2);
    int answer = -EIO;
    while (rc >= 0) {
        struct io_uring_cqe *cqe = NULL;
        rc = io_uring_peek_cqe(ring, &cqe);
        if (rc < 0)
            break;
        if (cqe->user_data == 1)
            answer = cqe->res;
        io_uring_cqe_seen(ring, cqe);
    }
    return answer == -ECANCELED ? 0 : answer;
}

static int try_tx_timestamp(struct trial *trial)
{
    (void)trial;
    struct io_uring ring;
    int rc = open_ring(IORING_SETUP_CQE32, -1, &ring);
    if (rc != 0)
        return rc;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    rc = fd >= 0 ? tx_timestamp_on(&ring, fd) : -errno;
    io_uring_queue_exit(&ring);
    if (fd >= 0)
        close(fd);
    return rc;
}

/* --- the table -------------------------------------------------------------------------------- */

enum when { ALWAYS, WITH_SQPOLL, WITH_PREFAULT, SECOND_CHOICE, UNUSED };

static const struct row {
    const char *name;
    const char *since;
    enum when when;
    int (*probe)(struct trial *trial);
    const char *instead;
} rows[] = {
    {"IO_URING", "5.1", ALWAYS, try_uring, "epoll"},
    {"SQPOLL", "5.11", WITH_SQPOLL, try_sqpoll, "one io_uring_enter a turn"},
    {"ATTACH_WQ", "5.6", WITH_SQPOLL, try_attach, "no SQ thread for those that would share one"},
    {"SINGLE_ISSUER", "6.0", ALWAYS, try_single_issuer, "a ring that counts with any thread"},
    {"DEFER_TASKRUN", "6.1", ALWAYS, try_defer, "COOP_TASKRUN"},
    {"COOP_TASKRUN", "5.19", SECOND_CHOICE, try_coop, "interrupts by completions"},
    {"TASKRUN_FLAG", "5.19", ALWAYS, try_taskrun_flag, "a ring without DEFER_TASKRUN"},
    {"NO_MMAP", "6.5", UNUSED, try_no_mmap, "rings in the kernel's memory, made on the core"},
    {"NO_SQARRAY", "6.6", UNUSED, try_no_sqarray, "an array of indices, written once"},
    {"REGISTERED_RING", "5.18", ALWAYS, try_registered_ring, "the plain descriptor"},
    {"REGISTERED_FILES", "5.19", ALWAYS, try_files, "a look-up by each op"},
    {"FIXED_BUFFERS", "5.1", WITH_PREFAULT, try_buffers, "pages pinned by each op"},
    {"BUFFER_RING", "5.19", ALWAYS, try_buffer_ring, "a buffer named by each receive"},
    {"MULTISHOT_ACCEPT", "5.19", ALWAYS, try_multishot_accept, "one op per connection"},
    {"MULTISHOT_RECV", "6.0", ALWAYS, try_multishot_recv, "one op per receive"},
    {"MULTISHOT_RECVMSG", "6.0", ALWAYS, try_multishot_recvmsg, "a buffer named by each receive"},
    {"SEND_ZC", "6.0", ALWAYS, try_send_zc, "a send that copies"},
    {"SENDMSG_ZC", "6.1", ALWAYS, try_sendmsg_zc, "a send that copies"},
    {"RECVSEND_BUNDLE", "6.10", UNUSED, try_bundle, "one buffer an entry"},
    {"MSG_RING", "5.18", ALWAYS, try_msg_ring, "an eventfd"},
    {"CANCEL_ANY", "5.19", ALWAYS, try_cancel_any, "one cancel per op"},
    {"CANCEL_FD", "5.19", UNUSED, try_cancel_fd, "cancels by the op's address"},
    {"SYNC_CANCEL", "6.0", UNUSED, try_sync_cancel, "cancels by entries, awaited in turns"},
    {"NAPI", "6.9", UNUSED, try_napi, "SO_BUSY_POLL and non-blocking receives"},
    {"READV_FIXED", "6.15", UNUSED, try_readv_fixed, "READ_FIXED, or READV unfixed"},
    {"WRITEV_FIXED", "6.15", UNUSED, try_writev_fixed, "WRITE_FIXED, or WRITEV unfixed"},
    {"MIN_WAIT", "6.12", UNUSED, try_min_wait, "a plain wait"},
    {"REGISTERED_WAIT", "6.13", UNUSED, try_registered_wait, "a plain wait"},
    {"RESIZE_RINGS", "6.13", UNUSED, try_resize, "POLLUX_RING_ENTRIES at the start"},
    {"CLONE_BUFFERS", "6.12", UNUSED, try_clone, "each ring registers its own arena"},
    {"TX_TIMESTAMP", "6.17", UNUSED, try_tx_timestamp, "MSG_ERRQUEUE"},
};

static void fill_asked(struct plx_feature *feature, enum when when,
                       const struct plx_settings *settings)
{
    feature->asked = when == UNUSED ? PLX_FEATURE_UNUSED : PLX_FEATURE_ASKED;
    feature->unasked = NULL;
    if (when == UNUSED)
        return;
    if (settings->backend == PLX_BACKEND_EPOLL)
        feature->unasked = "POLLUX_BACKEND is epoll";
    else if (when == WITH_SQPOLL && settings->sqpoll == PLX_SQPOLL_OFF)
        feature->unasked = "POLLUX_SQPOLL is off";
    else if (when == WITH_PREFAULT && !settings->prefault)
        feature->unasked = "POLLUX_PREFAULT is no";
    else if (when == SECOND_CHOICE)
        feature->unasked = "only where DEFER_TASKRUN is missing";
    if (feature->unasked != NULL)
        feature->asked = PLX_FEATURE_NOT_ASKED;
}

static int open_trial(struct trial *trial, struct plx_diag *diag)
{
    struct io_uring_params params = {0};
    int rc = io_uring_queue_init_params(ENTRIES, &trial->ring, &params);
    if (rc != 0)
        return plx_diag_set(diag, rc, "io_uring", "io_uring_setup: %s", strerror(-rc));
    trial->told = params.features;
    rc = plx__probe_nop(&trial->ring);
    if (rc == 0)
        return 0;
    io_uring_queue_exit(&trial->ring);
    return plx_diag_set(diag, rc, "io_uring", "io_uring_enter: %s", strerror(-rc));
}

int plx_features_probe(const struct plx_settings *settings, plx_feature_fn fn, void *ctx,
                       struct plx_diag *diag)
{
    struct plx_settings defaults;
    struct trial trial;
    if (settings == NULL) {
        plx_settings_init(&defaults);
        settings = &defaults;
    }
    int refused = open_trial(&trial, diag);
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        struct plx_feature feature = {
            .name = rows[i].name,
            .since = rows[i].since,
            .got = refused != 0 ? refused : rows[i].probe(&trial),
            .instead = rows[i].instead,
        };
        fill_asked(&feature, rows[i].when, settings);
        fn(&feature, ctx);
    }
    if (refused == 0)
        io_uring_queue_exit(&trial.ring);
    return refused;
}
