/* SPDX-License-Identifier: MIT */
/* Opening and closing a ring: what to ask of the kernel, what it gave, and what to do without. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/io/uring_internal.h"
#include "runtime/io/uring_probe_internal.h"

/* One way to set up a ring; tried from the best on. */
struct attempt {
    unsigned flags;
    uint32_t caps;
    const char *mode;
};

static const struct attempt plain_attempts[] = {
    {IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
     PLX_CAP_SINGLE_ISSUER | PLX_CAP_DEFER_TASKRUN | PLX_CAP_TASKRUN_FLAG, "uring defer"},
    {IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
     PLX_CAP_SINGLE_ISSUER | PLX_CAP_COOP_TASKRUN | PLX_CAP_TASKRUN_FLAG, "uring coop"},
    {IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
     PLX_CAP_COOP_TASKRUN | PLX_CAP_TASKRUN_FLAG, "uring coop"},
    {0, 0, "uring plain"},
};

static const struct attempt sqpoll_attempts[] = {
    {IORING_SETUP_SQPOLL | IORING_SETUP_SINGLE_ISSUER, PLX_CAP_SQPOLL | PLX_CAP_SINGLE_ISSUER,
     "uring sqpoll"},
    {IORING_SETUP_SQPOLL, PLX_CAP_SQPOLL, "uring sqpoll"},
};

/* Asked of every ring that can defer; missing ones are worth a note. */
#define WANTED_PLAIN (PLX_CAP_SINGLE_ISSUER | PLX_CAP_DEFER_TASKRUN | PLX_CAP_TASKRUN_FLAG)

/* sq_thread_idle is in ms and 0 means a second; the largest that the kernel's jiffies hold. */
static unsigned sq_idle_ms(uint64_t idle_ns)
{
    uint64_t ms = idle_ns / 1000000;
    if (ms == 0)
        return 1;
    return ms > INT32_MAX ? INT32_MAX : (unsigned)ms;
}

static int try_ring(struct uring *u, const struct plx__io_config *config,
                    const struct attempt *attempt)
{
    struct io_uring_params params = {0};
    unsigned entries = config->settings->ring_entries;
    params.flags = attempt->flags | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
    params.cq_entries = entries * URING_CQ_FACTOR;
    if ((attempt->caps & PLX_CAP_SQPOLL) != 0) {
        params.flags |= IORING_SETUP_SQ_AFF;
        params.sq_thread_cpu = (unsigned)config->sq_cpu;
        params.sq_thread_idle = sq_idle_ms(config->settings->sqpoll_idle);
        if (config->sq_fd >= 0) {
            params.flags |= IORING_SETUP_ATTACH_WQ;
            params.wq_fd = (unsigned)config->sq_fd;
        }
    }
    return io_uring_queue_init_params(entries, &u->ring, &params);
}

/* Walks the attempts that are not denied. Leaves the first errno of a refusal in `*why`. */
static int try_attempts(struct uring *u, const struct plx__io_config *config,
                        const struct attempt *attempts, size_t count, int *why)
{
    int rc = -EOPNOTSUPP;
    *why = 0;
    for (size_t i = 0; i < count; i++) {
        bool denied = (attempts[i].caps & config->deny) != 0;
        rc = denied ? -EOPNOTSUPP : try_ring(u, config, &attempts[i]);
        if (rc == 0) {
            u->io.caps |= PLX_CAP_URING | attempts[i].caps;
            u->io.mode = attempts[i].mode;
            return 0;
        }
        if (*why == 0)
            *why = rc;
        if (rc != -EINVAL && rc != -EOPNOTSUPP)
            return rc;
    }
    return rc;
}

static const char *setup_remedy(int rc)
{
    switch (rc) {
    case -EPERM:
        return "; kernel.io_uring_disabled or a container's seccomp profile forbids it";
    case -ENOSYS:
        return "; this kernel has no io_uring, or a seccomp profile hides it";
    case -ENOMEM:
        return "; raise RLIMIT_MEMLOCK or lower POLLUX_RING_ENTRIES";
    case -EMFILE:
        return "; raise RLIMIT_NOFILE";
    default:
        return "";
    }
}

static int setup_ring(struct uring *u, const struct plx__io_config *config, struct plx_diag *diag)
{
    int why = 0;
    int rc;
    if ((config->deny & PLX_CAP_URING) != 0)
        return plx_diag_set(diag, -EOPNOTSUPP, "POLLUX_BACKEND",
                            "io_uring is denied by the caller");

    if (config->sq_cpu >= 0) {
        struct plx__io_config own = *config;
        bool denied_share = config->sq_fd >= 0 && (config->deny & PLX_CAP_ATTACH_WQ) != 0;
        rc = denied_share ? -EOPNOTSUPP
                          : try_attempts(u, &own, sqpoll_attempts,
                                         sizeof(sqpoll_attempts) / sizeof(*sqpoll_attempts), &why);
        if (denied_share)
            why = rc;
        if (rc == 0) {
            u->sqpoll = true;
            u->io.caps |= config->sq_fd >= 0 ? (uint32_t)PLX_CAP_ATTACH_WQ : 0;
            return 0;
        }
        if (config->settings->sqpoll == PLX_SQPOLL_ON)
            return plx_diag_set(
                diag, rc, "POLLUX_SQPOLL",
                "POLLUX_SQPOLL=on cannot be honoured on cpu %d: io_uring_setup: %s%s",
                config->sq_cpu, strerror(-why), setup_remedy(why));
        plx__io_note(&u->io, "SQPOLL on cpu %d: %s; a ring without an SQ thread instead",
                     config->sq_cpu, strerror(-why));
    }

    rc = try_attempts(u, config, plain_attempts, sizeof(plain_attempts) / sizeof(*plain_attempts),
                      &why);
    if (rc != 0)
        return plx_diag_set(diag, rc, "POLLUX_BACKEND", "io_uring_setup: %s%s", strerror(-rc),
                            setup_remedy(rc));
    uint32_t missing = WANTED_PLAIN & ~u->io.caps;
    for (uint32_t bit = 1; missing != 0; bit <<= 1) {
        if ((missing & bit) != 0)
            plx__io_note(&u->io, "%s: %s", plx_cap_name(bit), strerror(-why));
        missing &= ~bit;
    }
    return 0;
}

/* --- probes ----------------------------------------------------------------------------------- */

/* A ring may be had and its use refused, by a filter that knows io_uring_enter only. */
static int probe_use(struct uring *u, struct plx_diag *diag)
{
    int rc = plx__probe_nop(&u->ring);
    if (rc < 0)
        return plx_diag_set(diag, rc, "POLLUX_BACKEND", "io_uring_enter: %s%s", strerror(-rc),
                            setup_remedy(rc));
    return 0;
}

static int register_own_fd(struct uring *u)
{
    int rc = io_uring_register_ring_fd(&u->ring);
    if (rc < 0)
        return rc;
    u->enter_registered = true;
    return 0;
}

uint64_t plx__uring_chunk_bytes(uint64_t bytes, uint32_t chunk)
{
    const uint64_t whole = (uint64_t)1 << URING_CHUNK_SHIFT;
    uint64_t before = chunk * whole;
    return bytes - before < whole ? bytes - before : whole;
}

static int register_arena(struct uring *u)
{
    const struct plx_arena *arena = u->io.arena;
    uint64_t whole = (uint64_t)1 << URING_CHUNK_SHIFT;
    uint32_t count = (uint32_t)((arena->bytes + whole - 1) >> URING_CHUNK_SHIFT);
    struct iovec chunks[URING_CHUNKS_MAX];
    for (uint32_t i = 0; i < count; i++)
        chunks[i] = (struct iovec){
            .iov_base = arena->base + i * whole,
            .iov_len = plx__uring_chunk_bytes(arena->bytes, i),
        };
    int rc = io_uring_register_buffers(&u->ring, chunks, count);
    if (rc != 0)
        return rc;
    u->fixed_base = (uintptr_t)arena->base;
    u->fixed_bytes = arena->bytes;
    return 0;
}

/*
 * Registering takes every page, so it is left alone where pages are to be taken at their first
 * touch. The pages count against RLIMIT_MEMLOCK, for each ring anew.
 */
static void open_fixed_buffers(struct uring *u, uint32_t deny)
{
    bool denied = (deny & PLX_CAP_FIXED_BUFFERS) != 0;
    if (!u->io.arena->prefaulted && !denied)
        return;
    int rc = denied ? -EOPNOTSUPP : register_arena(u);
    if (rc == 0)
        u->io.caps |= PLX_CAP_FIXED_BUFFERS;
    else
        plx__io_note(&u->io, "FIXED_BUFFERS: %s%s; pages pinned by each op instead",
                     denied ? "denied by the caller" : strerror(-rc),
                     rc == -ENOMEM ? " (RLIMIT_MEMLOCK counts the arena once more)" : "");
}

static void probe_features(struct uring *u, uint32_t deny)
{
    static const struct {
        uint32_t cap;
        int (*probe)(struct io_uring *ring); /* or: */
        int (*open)(struct uring *u);
        const char *instead;
    } probes[] = {
        {PLX_CAP_REGISTERED_RING, NULL, register_own_fd, "the plain descriptor"},
        {PLX_CAP_BUFFER_RING, plx__probe_buffer_ring, NULL, "a buffer named by each receive"},
        {PLX_CAP_MULTISHOT_RECV, plx__probe_multishot_recv, NULL, "one op per receive"},
        {PLX_CAP_MULTISHOT_RECVMSG, plx__probe_multishot_recvmsg, NULL,
         "a buffer named by each receive"},
        {PLX_CAP_MULTISHOT_ACCEPT, plx__probe_multishot_accept, NULL, "one op per connection"},
        {PLX_CAP_CANCEL_ANY, plx__probe_cancel_any, NULL, "one cancel per op"},
        {PLX_CAP_SEND_ZC, plx__probe_send_zc, NULL, "a send that copies"},
        {PLX_CAP_SENDMSG_ZC, plx__probe_sendmsg_zc, NULL, "a send that copies"},
        {PLX_CAP_REGISTERED_FILES, NULL, plx__uring_files_open, "a look-up by each op"},
        {PLX_CAP_MSG_RING, plx__probe_msg_ring, NULL, "an eventfd"},
    };
    for (size_t i = 0; i < sizeof(probes) / sizeof(*probes); i++) {
        bool denied = (probes[i].cap & deny) != 0;
        int rc = -EOPNOTSUPP;
        if (!denied)
            rc = probes[i].probe != NULL ? probes[i].probe(&u->ring) : probes[i].open(u);
        if (rc == 0)
            u->io.caps |= probes[i].cap;
        else
            plx__io_note(&u->io, "%s: %s; %s instead", plx_cap_name(probes[i].cap),
                         denied ? "denied by the caller" : strerror(-rc), probes[i].instead);
    }
    /*
     * Multishot receives take their buffers from a ring. A single recvmsg cannot: what a buffer
     * holds before the message must be at an address known beforehand. So groups are either the
     * kernel's or ours; the only kernel with buffer rings and without multishots is 5.19.
     */
    uint32_t all = PLX_CAP_BUFFER_RING | PLX_CAP_MULTISHOT_RECVMSG;
    if ((u->io.caps & all) != all)
        u->io.caps &= ~(all | PLX_CAP_MULTISHOT_RECV);
}

/* --- open, close ------------------------------------------------------------------------------ */

/* From here on the entries are ours: liburing's own accounting has come to rest. */
static void take_over_entries(struct uring *u)
{
    u->sq_entries = u->ring.sq.ring_entries;
    u->sq_mask = u->ring.sq.ring_mask;
    u->sq_tail = *u->ring.sq.ktail;
    u->sq_shown = u->sq_tail;
    u->sq_head_seen = u->sq_tail;
    for (unsigned i = 0; i < u->sq_entries; i++)
        u->ring.sq.array[i] = i;
}

int plx__uring_open(const struct plx__io_config *config, struct plx__io **out,
                    struct plx_diag *diag)
{
    *out = NULL;
    /* On the reactor's own node: it is the busiest object of all. */
    struct uring *u = plx_arena_carve(config->arena, sizeof(*u), PLX_CACHE_LINE);
    if (u == NULL)
        return plx_diag_set(diag, -ENOMEM, "POLLUX_ARENA_SIZE", "the arena has no room for a ring");
    memset(u, 0, sizeof(*u));
    int rc = plx__io_init(&u->io, &plx__uring_ops, config, diag);
    if (rc != 0)
        return rc;
    rc = setup_ring(u, config, diag);
    if (rc != 0)
        goto no_ring;
    rc = probe_use(u, diag);
    if (rc != 0)
        goto no_use;
    probe_features(u, config->deny);
    open_fixed_buffers(u, config->deny);
    if ((u->io.caps & PLX_CAP_CANCEL_ANY) == 0) {
        u->track = calloc(URING_TRACK_MAX, sizeof(struct plx_op *));
        if (u->track == NULL) {
            rc = plx_diag_set(diag, -ENOMEM, "ops in flight", "no memory for their table");
            goto no_use;
        }
    }
    take_over_entries(u);
    u->io.ring_fd = u->ring.ring_fd;
    u->io.wait_fd = u->ring.ring_fd;
    *out = &u->io;
    return 0;

no_use:
    io_uring_queue_exit(&u->ring);
no_ring:
    plx__io_fini(&u->io);
    return rc;
}

int plx__uring_group_open(struct plx__io *io, uint16_t index)
{
    struct uring *u = PLX_CONTAINER(io, struct uring, io);
    struct plx__group *group = &io->groups[index];
    if ((io->caps & PLX_CAP_BUFFER_RING) == 0) {
        for (uint32_t i = 0; i < group->count; i++)
            group->free_ids[group->free_count++] = (uint16_t)(group->count - 1 - i);
        return plx__uring_messages_open(u, index);
    }
    size_t bytes = plx_round_up(group->count * sizeof(struct io_uring_buf), PLX_PAGE);
    struct io_uring_buf_ring *ring = plx_arena_carve(io->arena, bytes, PLX_PAGE);
    if (ring == NULL)
        return -ENOMEM;
    struct io_uring_buf_reg reg = {
        .ring_addr = (uintptr_t)ring,
        .ring_entries = group->count,
        .bgid = index,
    };
    int rc = io_uring_register_buf_ring(&u->ring, &reg, 0);
    if (rc != 0)
        return rc;
    io_uring_buf_ring_init(ring);
    int mask = io_uring_buf_ring_mask(group->count);
    for (uint32_t i = 0; i < group->count; i++)
        io_uring_buf_ring_add(ring, group->blocks[i], group->bytes, (uint16_t)i, mask, (int)i);
    io_uring_buf_ring_advance(ring, (int)group->count);
    group->ring = ring;
    return 0;
}

void plx__uring_close(struct plx__io *io)
{
    struct uring *u = PLX_CONTAINER(io, struct uring, io);
    for (int i = 0; i < (int)PLX_GROUPS_MAX; i++) {
        if (io->groups[i].count != 0 && io->groups[i].ring != NULL)
            (void)io_uring_unregister_buf_ring(&u->ring, i);
    }
    /* The kernel clears a ring away some time later; the arena's pages are to be free now. What may
     * still be in flight (a reactor that is given up) would be waited for. */
    bool idle = io->in_flight == 0;
    if (u->fixed_bytes != 0 && idle)
        (void)io_uring_unregister_buffers(&u->ring);
    if (idle)
        plx__uring_files_close(u);
    io_uring_queue_exit(&u->ring);
    /* The kernel writes to them at the end of what is in flight. */
    if (idle)
        plx__uring_messages_close(u);
    free(u->track);
    u->track = NULL;
    plx__io_fini(io);
}
