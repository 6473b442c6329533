/* SPDX-License-Identifier: MIT */
/* Registered files: descriptors that the kernel has looked up once. */
#include <errno.h>
#include <sys/resource.h>

#include "runtime/io/uring_internal.h"

/* The kernel takes no table larger than the soft limit of descriptors. */
int plx__uring_files_open(struct uring *u)
{
    uint32_t slots = u->io.fd_limit < URING_FILES_MAX ? u->io.fd_limit : URING_FILES_MAX;
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < slots)
        slots = (uint32_t)limit.rlim_cur;
    int rc = io_uring_register_files_sparse(&u->ring, slots);
    if (rc == 0)
        u->file_slots = slots;
    return rc;
}

int plx__uring_fd_register(struct plx__io *io, int fd)
{
    struct uring *u = PLX_CONTAINER(io, struct uring, io);
    if (u->file_slots == 0)
        return -EOPNOTSUPP;
    if ((uint32_t)fd >= u->file_slots)
        return -ENOSPC;
    if (plx__uring_has_file(u, fd))
        return -EBUSY;
    int rc = io_uring_register_files_update(&u->ring, (unsigned)fd, &fd, 1);
    if (rc < 0)
        return rc;
    u->files[fd / 64] |= (uint64_t)1 << (fd % 64);
    u->file_count++;
    return 0;
}

/*
 * Whatever the kernel answers, ops go by the descriptor from here on: the slot would name the old
 * file when the number is another's.
 */
static int drop(struct uring *u, int fd)
{
    u->files[fd / 64] &= ~((uint64_t)1 << (fd % 64));
    u->file_count--;
    int none = -1;
    int rc = io_uring_register_files_update(&u->ring, (unsigned)fd, &none, 1);
    return rc < 0 ? rc : 0;
}

int plx__uring_fd_unregister(struct plx__io *io, int fd)
{
    struct uring *u = PLX_CONTAINER(io, struct uring, io);
    return plx__uring_has_file(u, fd) ? drop(u, fd) : -ENOENT;
}

void plx__uring_file_forget(struct uring *u, int fd)
{
    if (PLX_UNLIKELY(plx__uring_has_file(u, fd)))
        (void)drop(u, fd);
}

void plx__uring_files_close(struct uring *u)
{
    if (u->file_count != 0)
        (void)io_uring_unregister_files(&u->ring);
}
