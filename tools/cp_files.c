/* SPDX-License-Identifier: MIT */
/*
 * The files of pollux cp: what may be copied where, the draft, and how it becomes the target.
 *
 * A target is never opened. What is there stays as it is until another file, complete and on the
 * device, takes its name in one step.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "tools/cp.h"

/* Where the kernel does not tell how direct transfers are to be aligned. */
#define ALIGN_UNKNOWN 4096u
/* Draft names that are tried before giving up. */
#define NAMES_MAX 16

static int fail_with(const char *path, const char *text)
{
    plx_cli_error(PLX_CP_NAME, "%s: %s", path, text);
    return -1;
}

static int fail_errno(const char *path, const char *doing)
{
    int code = errno;
    plx_cli_error(PLX_CP_NAME, "%s: %s%s%s", path, doing, doing[0] != '\0' ? ": " : "",
                  strerror(code));
    return -1;
}

void plx_cp_files_init(struct plx_cp_files *files)
{
    memset(files, 0, sizeof(*files));
    files->source_fd = -1;
    files->folder_fd = -1;
    files->draft_fd = -1;
}

/* --- direct transfers ------------------------------------------------------------------------ */

/* What direct transfers of a file are aligned to. 0: it has none. */
static uint32_t direct_align(int fd)
{
    uint32_t align = ALIGN_UNKNOWN;
    struct statfs system;
    /* These take the flag and have no device. */
    if (fstatfs(fd, &system) == 0 && (system.f_type == TMPFS_MAGIC || system.f_type == RAMFS_MAGIC))
        return 0;
#ifdef STATX_DIOALIGN
    struct statx told;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &told) == 0 &&
        (told.stx_mask & STATX_DIOALIGN) != 0) {
        align = told.stx_dio_offset_align;
        if (align != 0 && told.stx_dio_mem_align > align)
            align = told.stx_dio_mem_align;
    }
#endif
    return align;
}

/* Makes a descriptor's transfers direct if that is wanted and can be had. */
static int set_direct(int fd, const char *path, const struct plx_cp_request *request, bool *direct,
                      uint32_t *align)
{
    *direct = false;
    *align = 1;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0)
        return fail_errno(path, "");
    if (request->direct != PLX_WANT_NO) {
        uint32_t needs = direct_align(fd);
        if (needs != 0 && plx_is_pow2(needs) && needs <= request->block &&
            fcntl(fd, F_SETFL, (flags & ~O_NONBLOCK) | O_DIRECT) == 0) {
            *direct = true;
            *align = needs;
            return 0;
        }
        if (request->direct == PLX_WANT_REQUIRE && needs > request->block)
            return fail_with(path, "direct transfers need larger blocks (--block)");
        if (request->direct == PLX_WANT_REQUIRE)
            return fail_with(path, "its file system has no direct transfers");
    }
    if (fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) != 0)
        return fail_errno(path, "");
    return 0;
}

/* --- source and target ----------------------------------------------------------------------- */

static const char *kind_of(mode_t mode)
{
    return S_ISDIR(mode)    ? "it is a directory, and pollux cp copies a regular file"
           : S_ISFIFO(mode) ? "it is a FIFO, and pollux cp copies a regular file"
           : S_ISCHR(mode)  ? "it is a character device, and pollux cp copies a regular file"
           : S_ISBLK(mode)  ? "it is a block device, and pollux cp copies a regular file"
           : S_ISSOCK(mode) ? "it is a socket, and pollux cp copies a regular file"
                            : "it is no regular file";
}

static int open_source(struct plx_cp_files *files, const struct plx_cp_request *request)
{
    const char *path = files->source_path;
    /* Looked at before it is opened: opening a device may do something. */
    if (stat(path, &files->source) != 0)
        return fail_errno(path, "");
    if (!S_ISREG(files->source.st_mode))
        return fail_with(path, kind_of(files->source.st_mode));
    /* Without waiting, should it have become a FIFO by now; files do not mind. */
    files->source_fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (files->source_fd < 0)
        return fail_errno(path, "");
    if (fstat(files->source_fd, &files->source) != 0)
        return fail_errno(path, "");
    if (!S_ISREG(files->source.st_mode))
        return fail_with(path, kind_of(files->source.st_mode));
    return set_direct(files->source_fd, path, request, &files->source_direct, &files->source_align);
}

static const char *last_component(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

/* Keeps the path of the target; `inside` a folder if not NULL. */
static int keep_target(struct plx_cp_files *files, const char *path, const char *inside)
{
    const char *separator = inside == NULL || path[strlen(path) - 1] == '/' ? "" : "/";
    int length = snprintf(files->target_path, sizeof(files->target_path), "%s%s%s", path, separator,
                          inside != NULL ? inside : "");
    if (length < 0 || (size_t)length >= sizeof(files->target_path)) {
        errno = ENAMETOOLONG;
        return fail_errno(path, "");
    }
    return 0;
}

/* Replaces a symbolic link by what it leads to, so that this is what gets the new content. */
static int follow_links(struct plx_cp_files *files)
{
    struct stat found;
    if (lstat(files->target_path, &found) != 0 || !S_ISLNK(found.st_mode))
        return 0;
    char resolved[PATH_MAX];
    if (realpath(files->target_path, resolved) == NULL)
        return errno == ENOENT ? fail_with(files->target_path, "it is a dangling symbolic link")
                               : fail_errno(files->target_path, "");
    return keep_target(files, resolved, NULL);
}

/* That the target, if it exists, is another file, and one that may be replaced. */
static int check_target(const struct plx_cp_files *files)
{
    struct stat found;
    const char *path = files->target_path;
    if (stat(path, &found) != 0)
        return errno == ENOENT ? 0 : fail_errno(path, "");
    if (found.st_dev == files->source.st_dev && found.st_ino == files->source.st_ino) {
        plx_cli_error(PLX_CP_NAME, "%s and %s are the same file", files->source_path, path);
        return -1;
    }
    if (!S_ISREG(found.st_mode))
        return fail_with(path, kind_of(found.st_mode));
    if (faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) != 0)
        return fail_errno(path, "it may not be written");
    return 0;
}

static int find_target(struct plx_cp_files *files, const char *target)
{
    struct stat found;
    bool exists = stat(target, &found) == 0;
    if (!exists && errno != ENOENT)
        return fail_errno(target, "");
    bool is_folder = exists && S_ISDIR(found.st_mode);
    const char *inside = is_folder ? last_component(files->source_path) : NULL;
    if (keep_target(files, target, inside) != 0)
        return -1;
    if (target[0] == '\0')
        return fail_with("''", "the target has no name");
    if (!is_folder && target[strlen(target) - 1] == '/')
        return fail_with(target, "there is no such directory");
    if (follow_links(files) != 0 || check_target(files) != 0)
        return -1;

    files->target_name = last_component(files->target_path);
    size_t length = (size_t)(files->target_name - files->target_path);
    memcpy(files->folder_path, files->target_path, length);
    memcpy(files->folder_path + length, length != 0 ? "" : ".", length != 0 ? 1 : 2);
    files->folder_fd = open(files->folder_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (files->folder_fd < 0)
        return fail_errno(files->folder_path, "the directory of the target");
    return 0;
}

int plx_cp_open(struct plx_cp_files *files, const char *source, const char *target,
                const struct plx_cp_request *request)
{
    files->source_path = source;
    if (open_source(files, request) != 0)
        return -1;
    return find_target(files, target);
}

/* --- the draft ------------------------------------------------------------------------------- */

static int create_draft(struct plx_cp_files *files)
{
    for (int i = 0; i < NAMES_MAX; i++) {
        char name[sizeof(files->draft_name)];
        uint64_t drawn = 0;
        if (getrandom(&drawn, sizeof(drawn), 0) != (ssize_t)sizeof(drawn))
            drawn = (uint64_t)getpid() << 8 | (uint64_t)i;
        /* Not made of the target's name, which may be as long as names can be. */
        snprintf(name, sizeof(name), ".pollux-cp.%016llx", (unsigned long long)drawn);
        int fd = openat(files->folder_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd >= 0) {
            files->draft_fd = fd;
            memcpy(files->draft_name, name, sizeof(name));
            return 0;
        }
        if (errno != EEXIST)
            break;
    }
    return fail_errno(files->folder_path, "making a file there");
}

/*
 * Takes the space now, so that a full device is known at once, and writes neither move the file's
 * end nor search for room. A file system that cannot gets a file of the right size.
 */
static int reserve(struct plx_cp_files *files)
{
    off_t size = files->source.st_size;
    bool sparse = files->part_bytes != (uint64_t)size;
    if (sparse && ftruncate(files->draft_fd, size) != 0)
        return fail_errno(files->target_path, "making room for it");
    for (size_t i = 0; i < files->part_count; i++) {
        const struct plx_cp_part *part = &files->parts[i];
        int rc;
        do
            rc = fallocate(files->draft_fd, 0, (off_t)part->offset, (off_t)part->bytes);
        while (rc != 0 && errno == EINTR);
        if (rc == 0)
            continue;
        if (errno != EOPNOTSUPP && errno != ENOSYS)
            return fail_errno(files->target_path, "making room for it");
        if (ftruncate(files->draft_fd, size) != 0)
            return fail_errno(files->target_path, "making room for it");
        break;
    }
    return 0;
}

int plx_cp_make_draft(struct plx_cp_files *files, const struct plx_cp_request *request)
{
    if (create_draft(files) != 0)
        return -1;
    if (set_direct(files->draft_fd, files->target_path, request, &files->target_direct,
                   &files->target_align) != 0)
        return -1;
    if (plx_cp_find_parts(files, request->keep_holes) != 0)
        return -1;
    return reserve(files);
}

/* --- the end --------------------------------------------------------------------------------- */

static bool same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

/* That what was copied is one state of the source. */
static int check_source(const struct plx_cp_files *files)
{
    struct stat now;
    const struct stat *then = &files->source;
    if (fstat(files->source_fd, &now) != 0)
        return fail_errno(files->source_path, "");
    if (now.st_size != then->st_size) {
        plx_cli_error(PLX_CP_NAME,
                      "%s: it %s from %lld to %lld bytes while it was copied; nothing was kept",
                      files->source_path, now.st_size > then->st_size ? "grew" : "shrank",
                      (long long)then->st_size, (long long)now.st_size);
        return -1;
    }
    if (!same_time(now.st_mtim, then->st_mtim))
        return fail_with(files->source_path,
                         "it was written to while it was copied; nothing was kept");
    return 0;
}

/* Owner where that is permitted, mode, times. Set-id bits are kept only with their owner. */
static int keep_attributes(struct plx_cp_files *files)
{
    const struct stat *source = &files->source;
    const struct timespec times[2] = {source->st_atim, source->st_mtim};
    mode_t mode = source->st_mode & 07777;
    files->owner_kept = fchown(files->draft_fd, source->st_uid, source->st_gid) == 0;
    if (!files->owner_kept) {
        /* The group alone may be permitted. */
        bool group_kept = fchown(files->draft_fd, (uid_t)-1, source->st_gid) == 0;
        mode &= group_kept ? (mode_t)~S_ISUID : (mode_t) ~(S_ISUID | S_ISGID);
    }
    if (fchmod(files->draft_fd, mode) != 0)
        return fail_errno(files->target_path, "setting its mode");
    if (futimens(files->draft_fd, times) != 0)
        return fail_errno(files->target_path, "setting its times");
    return 0;
}

int plx_cp_finish(struct plx_cp_files *files, bool (*interrupted)(void))
{
    /* The last block was written to a multiple of the alignment. */
    if (check_source(files) != 0)
        return -1;
    if (ftruncate(files->draft_fd, files->source.st_size) != 0)
        return fail_errno(files->target_path, "setting its size");
    if (keep_attributes(files) != 0)
        return -1;
    if (fsync(files->draft_fd) != 0)
        return fail_errno(files->target_path, "bringing it to the device");
    if (interrupted())
        return -1;
    if (renameat(files->folder_fd, files->draft_name, files->folder_fd, files->target_name) != 0)
        return fail_errno(files->target_path, "giving the copy its name");
    files->draft_name[0] = '\0';
    if (fsync(files->folder_fd) != 0)
        return fail_errno(files->folder_path,
                          "the copy is complete; bringing its name to the device");
    return 0;
}

void plx_cp_close(struct plx_cp_files *files)
{
    if (files->draft_name[0] != '\0' && unlinkat(files->folder_fd, files->draft_name, 0) != 0 &&
        errno != ENOENT)
        (void)fail_errno(files->draft_name, "removing what was copied so far");
    files->draft_name[0] = '\0';
    int *const fds[] = {&files->source_fd, &files->draft_fd, &files->folder_fd};
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
        if (*fds[i] >= 0)
            close(*fds[i]);
        *fds[i] = -1;
    }
    free(files->parts);
    files->parts = NULL;
    files->part_count = 0;
}
