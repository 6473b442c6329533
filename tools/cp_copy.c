/* SPDX-License-Identifier: MIT */
/*
 * The copying of pollux cp, on a reactor: so many blocks are on their way at once, each read and
 * then written, by ops and nothing else.
 *
 * What a direct transfer cannot do is rounded: a read goes to the end of its last unit, and so does
 * the write of the last block, whose rest is zero and is cut off in the end.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tools/cp.h"

/* The largest arena that a copy asks for. */
#define ARENA_MAX (UINT64_C(1) << 30)
/* Beside the buffers: the reactor itself, its rings and tables. */
#define ARENA_REST (UINT64_C(4) << 20)

/* A block on its way. */
struct plx_cp_slot {
    struct plx_op op;
    struct plx_cp_copy *copy;
    unsigned char *buf; /* what is written from; but for PLX_CP_RING also what is read into */
    uint64_t offset;    /* of the block in both files */
    uint32_t bytes;     /* that the block has */
    uint32_t done;      /* of them, read or written so far */
    bool writes;
    bool was_direct; /* the op in flight */
    struct plx_cp_slot *next;
};

static void on_read(struct plx_op *op, const struct plx_event *event, void *ctx);
static void on_written(struct plx_op *op, const struct plx_event *event, void *ctx);
static void begin_block(struct plx_cp_slot *slot);

/* --- memory ---------------------------------------------------------------------------------- */

/*
 * A quarter of an arena is for carving. Of the rest, the pool, these parts of 32 are for blocks of
 * each class: plx_pool_quota_split.
 */
static const uint8_t pool_parts[PLX_POOL_CLASSES] = {12, 2, 6, 2, 6, 1, 1, 1, 1};

static uint32_t group_count(const struct plx_cp_request *request)
{
    uint32_t count = 1;
    while (count < request->depth)
        count *= 2;
    return count;
}

uint64_t plx_cp_arena_bytes(const struct plx_cp_request *request)
{
    uint64_t buffers = request->method != PLX_CP_PLAIN ? request->depth * request->block : 0;
    uint64_t bytes = 4 * (buffers + ARENA_REST / 4) + ARENA_REST;
    if (request->method == PLX_CP_RING) {
        uint64_t group = (uint64_t)group_count(request) * request->block;
        uint32_t parts = pool_parts[plx_pool_class_index(request->block)];
        /* A block more, as what is too little for one goes to another class. */
        uint64_t for_group = (group + request->block) * 32 / parts * 4 / 3 + ARENA_REST;
        bytes = for_group > bytes ? for_group : bytes;
    }
    return bytes <= ARENA_MAX ? plx_round_up(bytes, UINT64_C(2) << 20) : 0;
}

int plx_cp_copy_init(struct plx_cp_copy *copy, struct plx_cp_files *files,
                     const struct plx_cp_request *request)
{
    memset(copy, 0, sizeof(*copy));
    copy->files = files;
    copy->request = request;
    copy->can_clear_direct = request->direct != PLX_WANT_REQUIRE;
    copy->slots = calloc(request->depth, sizeof(*copy->slots));
    if (copy->slots == NULL)
        return -ENOMEM;
    if (request->method == PLX_CP_PLAIN) {
        void *plain = mmap(NULL, request->depth * request->block, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
        copy->plain = plain != MAP_FAILED ? plain : NULL;
    }
    return request->method != PLX_CP_PLAIN || copy->plain != NULL ? 0 : -ENOMEM;
}

void plx_cp_copy_fini(struct plx_cp_copy *copy)
{
    if (copy->plain != NULL)
        munmap(copy->plain, copy->request->depth * copy->request->block);
    free(copy->slots);
    copy->plain = NULL;
    copy->slots = NULL;
}

/* --- ends ------------------------------------------------------------------------------------ */

/* Nothing more is begun. The stop cancels what is in flight. */
static void end(struct plx_cp_copy *copy)
{
    plx_runtime_request_stop(plx_reactor_runtime(copy->reactor));
}

static void fail(struct plx_cp_slot *slot, enum plx_cp_failure failure, int code)
{
    struct plx_cp_copy *copy = slot->copy;
    if (copy->failure != PLX_CP_WHOLE)
        return;
    copy->failure = code == -ECANCELED || code == -ESHUTDOWN ? PLX_CP_STOPPED : failure;
    copy->code = code;
    copy->offset = slot->offset + slot->done;
    end(copy);
}

void plx_cp_tell_failure(const struct plx_cp_copy *copy)
{
    const struct plx_cp_files *files = copy->files;
    bool reads = copy->failure == PLX_CP_READ;
    if (copy->failure == PLX_CP_SHRANK)
        plx_cli_error(PLX_CP_NAME,
                      "%s: it shrank below %llu bytes while it was copied; nothing "
                      "was kept",
                      files->source_path, (unsigned long long)files->source.st_size);
    else if (copy->failure == PLX_CP_READ || copy->failure == PLX_CP_WRITE)
        plx_cli_error(
            PLX_CP_NAME, "%s: %s at byte %llu: %s", reads ? files->source_path : files->target_path,
            reads ? "reading" : "writing", (unsigned long long)copy->offset, strerror(-copy->code));
}

/* --- ops ------------------------------------------------------------------------------------- */

static void prepare_read(struct plx_cp_slot *slot)
{
    struct plx_cp_copy *copy = slot->copy;
    const struct plx_cp_files *files = copy->files;
    uint64_t offset = slot->offset + slot->done;
    uint32_t bytes = slot->bytes - slot->done;
    if (files->source_direct)
        bytes = (uint32_t)plx_round_up(bytes, files->source_align);
    slot->was_direct = files->source_direct;
    if (copy->request->method == PLX_CP_RING)
        plx_op_read_group(&slot->op, files->source_fd, copy->group, bytes, offset, on_read, slot);
    else if (copy->request->method == PLX_CP_FIXED)
        plx_op_read_fixed(&slot->op, files->source_fd, slot->buf + slot->done, bytes, offset,
                          on_read, slot);
    else
        plx_op_read(&slot->op, files->source_fd, slot->buf + slot->done, bytes, offset, on_read,
                    slot);
}

static void prepare_write(struct plx_cp_slot *slot)
{
    struct plx_cp_copy *copy = slot->copy;
    const struct plx_cp_files *files = copy->files;
    uint32_t bytes = slot->bytes;
    slot->was_direct = files->target_direct;
    if (files->target_direct) {
        bytes = (uint32_t)plx_round_up(bytes, files->target_align);
        memset(slot->buf + slot->bytes, 0, bytes - slot->bytes);
    }
    bytes -= slot->done;
    uint64_t offset = slot->offset + slot->done;
    if (copy->request->method == PLX_CP_PLAIN)
        plx_op_write(&slot->op, files->draft_fd, slot->buf + slot->done, bytes, offset, on_written,
                     slot);
    else
        plx_op_write_fixed(&slot->op, files->draft_fd, slot->buf + slot->done, bytes, offset,
                           on_written, slot);
}

/* Those that found the ring full try again, in their order. */
static uint32_t submit_waiting(struct plx_poller *poller, void *ctx)
{
    struct plx_cp_copy *copy = ctx;
    uint32_t work = 0;
    while (copy->waiting != NULL && copy->failure == PLX_CP_WHOLE) {
        struct plx_cp_slot *slot = copy->waiting;
        int rc = plx_op_submit(copy->reactor, &slot->op);
        if (rc == -EAGAIN)
            return work;
        copy->waiting = slot->next;
        if (rc == 0)
            copy->in_flight++;
        else
            fail(slot, slot->writes ? PLX_CP_WRITE : PLX_CP_READ, rc);
        work++;
    }
    plx_poller_disarm(copy->reactor, poller);
    return work;
}

static void submit(struct plx_cp_slot *slot)
{
    struct plx_cp_copy *copy = slot->copy;
    int rc = plx_op_submit(copy->reactor, &slot->op);
    if (rc == 0) {
        copy->in_flight++;
        return;
    }
    if (rc != -EAGAIN) {
        fail(slot, slot->writes ? PLX_CP_WRITE : PLX_CP_READ, rc);
        return;
    }
    struct plx_cp_slot **last = &copy->waiting;
    while (*last != NULL)
        last = &(*last)->next;
    slot->next = NULL;
    *last = slot;
    if (!copy->poller.armed)
        plx_poller_arm(copy->reactor, &copy->poller, submit_waiting, copy);
}

static void go_on(struct plx_cp_slot *slot)
{
    if (slot->writes)
        prepare_write(slot);
    else
        prepare_read(slot);
    submit(slot);
}

/*
 * Whether a refused transfer may go through the page cache instead: then all do from here on. Some
 * file systems take O_DIRECT and refuse it only here.
 */
static bool clear_direct(struct plx_cp_slot *slot)
{
    struct plx_cp_copy *copy = slot->copy;
    struct plx_cp_files *files = copy->files;
    int fd = slot->writes ? files->draft_fd : files->source_fd;
    bool *direct = slot->writes ? &files->target_direct : &files->source_direct;
    if (!slot->was_direct || !copy->can_clear_direct)
        return false;
    if (*direct) {
        int flags = fcntl(fd, F_GETFL);
        if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_DIRECT) != 0)
            return false;
        *direct = false;
    }
    return true;
}

/*
 * An event of a transfer that did not do all it should: takes it up again. Returns the bytes that
 * it did, less those beyond the last unit of a direct one; or -1: it was dealt with.
 */
static int64_t progress_of(struct plx_cp_slot *slot, int32_t result)
{
    const struct plx_cp_files *files = slot->copy->files;
    enum plx_cp_failure failure = slot->writes ? PLX_CP_WRITE : PLX_CP_READ;
    if (result == -EINTR || result == -EAGAIN || (result == -EINVAL && clear_direct(slot))) {
        go_on(slot);
        return -1;
    }
    if (result < 0) {
        fail(slot, failure, result);
        return -1;
    }
    if (result == 0) {
        fail(slot, slot->writes ? PLX_CP_WRITE : PLX_CP_SHRANK, -EIO);
        return -1;
    }
    uint32_t left = slot->bytes - slot->done;
    if ((uint32_t)result >= left)
        return left;
    uint32_t align = slot->writes ? files->target_align : files->source_align;
    uint32_t did = slot->was_direct ? (uint32_t)result / align * align : (uint32_t)result;
    if (did == 0) {
        /* Less than a unit: the end of the file, which is nearer than it was. */
        fail(slot, slot->writes ? PLX_CP_WRITE : PLX_CP_SHRANK, -EIO);
        return -1;
    }
    return did;
}

/* Copies what the kernel's choice of buffer holds to the slot's own, and gives that back. */
static void take_from_group(struct plx_cp_slot *slot, const struct plx_event *event, uint32_t bytes)
{
    struct plx_cp_copy *copy = slot->copy;
    memcpy(slot->buf + slot->done, event->data, bytes);
    copy->copies++;
    copy->copied_bytes += bytes;
}

static void on_read(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    struct plx_cp_slot *slot = ctx;
    struct plx_cp_copy *copy = slot->copy;
    (void)op;
    copy->in_flight--;
    bool lent = (event->flags & PLX_EV_BUFFER) != 0;
    int64_t did = copy->failure == PLX_CP_WHOLE ? progress_of(slot, event->result) : -1;
    if (lent && did > 0)
        take_from_group(slot, event, (uint32_t)did);
    if (lent)
        plx_group_release(copy->reactor, copy->group, event->buffer_id);
    if (did < 0)
        return;
    slot->done += (uint32_t)did;
    if (slot->done == slot->bytes) {
        slot->writes = true;
        slot->done = 0;
    }
    go_on(slot);
}

static void on_written(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    struct plx_cp_slot *slot = ctx;
    struct plx_cp_copy *copy = slot->copy;
    (void)op;
    copy->in_flight--;
    int64_t did = copy->failure == PLX_CP_WHOLE ? progress_of(slot, event->result) : -1;
    if (did < 0)
        return;
    slot->done += (uint32_t)did;
    if (slot->done < slot->bytes) {
        go_on(slot);
        return;
    }
    /* Relaxed: for the eye. */
    plx_store_relaxed(&copy->done_bytes, plx_load_relaxed(&copy->done_bytes) + slot->bytes);
    begin_block(slot);
}

/* The slot takes the next block, if there is one. */
static void begin_block(struct plx_cp_slot *slot)
{
    struct plx_cp_copy *copy = slot->copy;
    const struct plx_cp_files *files = copy->files;
    if (copy->next_part == files->part_count) {
        if (copy->in_flight == 0 && copy->waiting == NULL)
            end(copy);
        return;
    }
    const struct plx_cp_part *part = &files->parts[copy->next_part];
    uint64_t left = part->bytes - copy->next_offset;
    uint64_t block = copy->request->block;
    slot->offset = part->offset + copy->next_offset;
    slot->bytes = (uint32_t)(left < block ? left : block);
    slot->done = 0;
    slot->writes = false;
    copy->next_offset += slot->bytes;
    if (copy->next_offset == part->bytes) {
        copy->next_part++;
        copy->next_offset = 0;
    }
    go_on(slot);
}

/* --- start ----------------------------------------------------------------------------------- */

static int place_buffers(struct plx_cp_copy *copy, struct plx_reactor *reactor)
{
    const struct plx_cp_request *request = copy->request;
    size_t block = request->block;
    for (uint32_t i = 0; i < request->depth; i++) {
        struct plx_cp_slot *slot = &copy->slots[i];
        slot->copy = copy;
        slot->buf = copy->plain != NULL ? (unsigned char *)copy->plain + i * block
                                        : plx_arena_carve(plx_reactor_arena(reactor), block, block);
        if (slot->buf == NULL)
            return plx_diag_set(&copy->diag, -ENOMEM, "POLLUX_ARENA_SIZE",
                                "the arena has room for %u blocks of %zu bytes, and --depth asks "
                                "for %llu",
                                i, block, (unsigned long long)request->depth);
    }
    int rc = 0;
    if (request->method == PLX_CP_RING)
        rc = plx_group_create(reactor, group_count(request), (uint32_t)block, &copy->group);
    if (rc != 0)
        return plx_diag_set(&copy->diag, rc, "POLLUX_ARENA_SIZE",
                            "no group of %u buffers of %zu bytes: %s", group_count(request), block,
                            strerror(-rc));
    return 0;
}

int plx_cp_copy_start(struct plx_reactor *reactor, void *ctx)
{
    struct plx_cp_copy *copy = ctx;
    copy->reactor = reactor;
    uint32_t caps = plx_reactor_caps(reactor);
    copy->fixed_buffers =
        copy->request->method != PLX_CP_PLAIN && (caps & PLX_CAP_FIXED_BUFFERS) != 0;
    snprintf(copy->mode, sizeof(copy->mode), "%s", plx_reactor_mode(reactor));
    int rc = place_buffers(copy, reactor);
    if (rc != 0)
        return rc;
    /* Cheaper ops where the backend can; elsewhere they are what they are. */
    rc = plx_fd_register(reactor, copy->files->source_fd);
    rc = plx_fd_register(reactor, copy->files->draft_fd);
    (void)rc;
    for (uint32_t i = 0; i < copy->request->depth; i++)
        begin_block(&copy->slots[i]);
    return 0;
}
