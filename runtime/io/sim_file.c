/* SPDX-License-Identifier: MIT */
/*
 * Files of the simulated world: pages as readers see them, and as the device has them since the
 * last fsync; what a crash leaves is between the two.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "runtime/io/sim_world_internal.h"

/* A file is no larger than this, so that a wild offset is an error and not a table of pages. */
#define FILE_BYTES_MAX (64u << 20)

/* --- pages ------------------------------------------------------------------------------------ */

/* Makes the table reach `page`. */
static int reach(struct sim_file *file, uint64_t page)
{
    if (page < file->page_count)
        return 0;
    uint64_t count = file->page_count != 0 ? file->page_count : 8;
    while (count <= page)
        count *= 2;
    struct sim_page *pages = realloc(file->pages, count * sizeof(*pages));
    if (pages == NULL)
        return -ENOMEM;
    memset(pages + file->page_count, 0, (count - file->page_count) * sizeof(*pages));
    file->pages = pages;
    file->page_count = count;
    return 0;
}

static int put_part(struct sim_file *file, uint64_t offset, const uint8_t *data, size_t bytes)
{
    uint64_t index = offset / SIM_PAGE;
    if (reach(file, index) != 0)
        return -ENOMEM;
    struct sim_page *page = &file->pages[index];
    if (page->now == NULL)
        page->now = calloc(1, SIM_PAGE);
    if (page->now == NULL)
        return -ENOMEM;
    memcpy(page->now + offset % SIM_PAGE, data, bytes);
    page->dirty = true;
    return 0;
}

static void get_part(const struct sim_file *file, uint64_t offset, uint8_t *data, size_t bytes)
{
    uint64_t index = offset / SIM_PAGE;
    const uint8_t *now = index < file->page_count ? file->pages[index].now : NULL;
    if (now != NULL)
        memcpy(data, now + offset % SIM_PAGE, bytes);
    else
        memset(data, 0, bytes);
}

static size_t part_at(uint64_t offset, size_t left)
{
    size_t in_page = SIM_PAGE - (size_t)(offset % SIM_PAGE);
    return in_page < left ? in_page : left;
}

static int put(struct sim_file *file, uint64_t offset, const uint8_t *data, size_t bytes)
{
    for (size_t done = 0; done < bytes;) {
        size_t part = part_at(offset + done, bytes - done);
        if (put_part(file, offset + done, data + done, part) != 0)
            return -ENOMEM;
        done += part;
    }
    return 0;
}

static void get(const struct sim_file *file, uint64_t offset, uint8_t *data, size_t bytes)
{
    for (size_t done = 0; done < bytes;) {
        size_t part = part_at(offset + done, bytes - done);
        get_part(file, offset + done, data + done, part);
        done += part;
    }
}

static void set_size(struct sim_file *file, uint64_t bytes)
{
    file->bytes = bytes;
    file->size_dirty = true;
}

/* Forgets what lies behind the end, so that a longer file reads zeros there. */
static void cut_off(struct sim_file *file, uint64_t bytes)
{
    static const uint8_t zeros[SIM_PAGE];
    uint64_t first = (bytes + SIM_PAGE - 1) / SIM_PAGE;
    if (bytes % SIM_PAGE != 0 && bytes / SIM_PAGE < file->page_count &&
        file->pages[bytes / SIM_PAGE].now != NULL)
        (void)put_part(file, bytes, zeros, SIM_PAGE - (size_t)(bytes % SIM_PAGE));
    for (uint64_t i = first; i < file->page_count; i++) {
        free(file->pages[i].now);
        file->pages[i].now = NULL;
        file->pages[i].dirty = file->pages[i].safe != NULL;
    }
    set_size(file, bytes);
}

/* --- the directory ---------------------------------------------------------------------------- */

static struct sim_file *find_file(struct plx__sim_world *world, const char *name)
{
    for (uint32_t i = 0; i < SIM_FILES; i++) {
        if (world->files[i].is_there && strcmp(world->files[i].name, name) == 0)
            return &world->files[i];
    }
    return NULL;
}

static void forget_pages(struct sim_file *file)
{
    for (uint64_t i = 0; i < file->page_count; i++) {
        free(file->pages[i].now);
        free(file->pages[i].safe);
    }
    free(file->pages);
    *file = (struct sim_file){0};
}

static struct sim_file *make_file(struct plx__sim_world *world, const char *name)
{
    for (uint32_t i = 0; i < SIM_FILES; i++) {
        struct sim_file *file = &world->files[i];
        if (file->is_there || file->opens != 0)
            continue;
        forget_pages(file);
        file->is_there = true;
        snprintf(file->name, sizeof(file->name), "%s", name);
        return file;
    }
    return NULL;
}

/* The whole name of `path` below the directory `dir`. */
static int full_name(struct plx__sim_world *world, int dir, const char *path, char *name)
{
    int length;
    if (dir == AT_FDCWD || path[0] == '/') {
        length = snprintf(name, SIM_NAME_BYTES, "%s", path);
    } else {
        const struct sim_desc *desc = plx__sim_desc(world, dir);
        if (desc == NULL)
            return -EBADF;
        if (desc->kind != SIM_FILE || !desc->file->is_folder)
            return -ENOTDIR;
        length = snprintf(name, SIM_NAME_BYTES, "%s/%s", desc->file->name, path);
    }
    return length < 0 || (unsigned)length >= SIM_NAME_BYTES ? -ENAMETOOLONG : 0;
}

int plx__sim_openat(struct plx__sim_world *world, int dir, const char *path, uint32_t flags)
{
    char name[SIM_NAME_BYTES];
    int rc = full_name(world, dir, path, name);
    if (rc != 0)
        return rc;
    if (strcmp(name, "/") == 0)
        flags |= O_DIRECTORY;
    struct sim_file *file = find_file(world, name);
    if (file == NULL && (flags & (O_DIRECTORY | O_ACCMODE)) > O_DIRECTORY)
        return -EISDIR;
    if (file != NULL && (flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL))
        return -EEXIST;
    if (file == NULL && (flags & (O_CREAT | O_DIRECTORY)) == 0)
        return -ENOENT;
    if (file != NULL && (flags & O_DIRECTORY) != 0 && !file->is_folder)
        return -ENOTDIR;
    bool writes = (flags & O_ACCMODE) != O_RDONLY;
    if (file != NULL && file->is_folder && writes)
        return -EISDIR;
    if (sim_chance(world, PLX__SIM_OPEN_FILES))
        return -EMFILE;
    int fd = plx__sim_desc_take(world, SIM_FILE);
    if (fd < 0)
        return fd;
    if (file == NULL)
        file = make_file(world, name);
    struct sim_desc *desc = plx__sim_desc(world, fd);
    if (file == NULL) {
        desc->kind = SIM_FREE;
        return -ENOSPC;
    }
    /* Any directory that is asked for exists. */
    if ((flags & O_DIRECTORY) != 0) {
        file->is_folder = true;
        file->name_safe = true;
    }
    if ((flags & O_TRUNC) != 0)
        cut_off(file, 0);
    file->opens++;
    desc->file = file;
    desc->flags = flags;
    return fd;
}

int plx__sim_statx(struct plx__sim_world *world, const struct plx_op *op)
{
    struct sim_file *file;
    if ((op->arg & AT_EMPTY_PATH) != 0 && op->mem.path[0] == '\0') {
        const struct sim_desc *desc = plx__sim_desc(world, op->fd);
        if (desc == NULL || desc->kind != SIM_FILE)
            return -EBADF;
        file = desc->file;
    } else {
        char name[SIM_NAME_BYTES];
        int rc = full_name(world, op->fd, op->mem.path, name);
        if (rc != 0)
            return rc;
        file = find_file(world, name);
        if (file == NULL)
            return -ENOENT;
    }
    struct statx *out = op->aux.ptr;
    memset(out, 0, sizeof(*out));
    out->stx_mask = STATX_TYPE | STATX_MODE | STATX_SIZE | STATX_BLOCKS | STATX_INO;
    out->stx_mode = file->is_folder ? S_IFDIR | 0755 : S_IFREG | 0644;
    out->stx_size = file->bytes;
    out->stx_blksize = SIM_PAGE;
    out->stx_blocks = (file->bytes + 511) / 512;
    out->stx_ino = (uint64_t)(file - world->files) + 1;
    return 0;
}

/* --- reading and writing ---------------------------------------------------------------------- */

static size_t sum_of(const struct iovec *iov, size_t count)
{
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++)
        bytes += iov[i].iov_len;
    return bytes;
}

static int check_direct(const struct sim_desc *desc, const struct iovec *iov, size_t count,
                        uint64_t offset)
{
    if ((desc->flags & O_DIRECT) == 0)
        return 0;
    uint64_t bits = offset;
    for (size_t i = 0; i < count; i++)
        bits |= (uintptr_t)iov[i].iov_base | iov[i].iov_len;
    return bits % SIM_PAGE != 0 ? -EINVAL : 0;
}

/* `choice` of `bytes`, in whole pages where the device moves only those. */
static size_t cut_transfer(struct plx__sim_world *world, const struct sim_desc *desc,
                           enum plx__sim_choice choice, size_t bytes)
{
    size_t cut = sim_cut(world, choice, bytes);
    if (cut == bytes || (desc->flags & O_DIRECT) == 0)
        return cut;
    cut -= cut % SIM_PAGE;
    return cut != 0 ? cut : bytes;
}

int64_t plx__sim_read(struct plx__sim_world *world, struct sim_desc *desc, const struct iovec *iov,
                      size_t count, uint64_t offset)
{
    const struct sim_file *file = desc->file;
    uint64_t at = offset == PLX_OFFSET_CURRENT ? desc->offset : offset;
    if ((desc->flags & O_ACCMODE) == O_WRONLY)
        return -EBADF;
    int rc = check_direct(desc, iov, count, at);
    if (rc != 0)
        return rc;
    if (sim_chance(world, PLX__SIM_READ_ERROR))
        return -EIO;
    size_t bytes = sum_of(iov, count);
    if (at >= file->bytes || bytes == 0)
        return 0;
    if (bytes > file->bytes - at)
        bytes = (size_t)(file->bytes - at);
    bytes = cut_transfer(world, desc, PLX__SIM_READ_LESS, bytes);
    for (size_t i = 0, done = 0; done < bytes; i++) {
        size_t part = iov[i].iov_len < bytes - done ? iov[i].iov_len : bytes - done;
        get(file, at + done, iov[i].iov_base, part);
        done += part;
    }
    if (offset == PLX_OFFSET_CURRENT)
        desc->offset += bytes;
    return (int64_t)bytes;
}

int64_t plx__sim_write(struct plx__sim_world *world, struct sim_desc *desc, const struct iovec *iov,
                       size_t count, uint64_t offset)
{
    struct sim_file *file = desc->file;
    uint64_t at = offset == PLX_OFFSET_CURRENT ? desc->offset : offset;
    if ((desc->flags & O_ACCMODE) == O_RDONLY)
        return -EBADF;
    int rc = check_direct(desc, iov, count, at);
    if (rc != 0)
        return rc;
    if (sim_chance(world, PLX__SIM_WRITE_ERROR))
        return -EIO;
    size_t bytes = sum_of(iov, count);
    if (bytes == 0)
        return 0;
    if (at > FILE_BYTES_MAX - bytes)
        return -EFBIG;
    if (sim_chance(world, PLX__SIM_WRITE_SPACE))
        return -ENOSPC;
    bytes = cut_transfer(world, desc, PLX__SIM_WRITE_LESS, bytes);
    for (size_t i = 0, done = 0; done < bytes; i++) {
        size_t part = iov[i].iov_len < bytes - done ? iov[i].iov_len : bytes - done;
        if (put(file, at + done, iov[i].iov_base, part) != 0)
            return -ENOMEM;
        done += part;
    }
    if (at + bytes > file->bytes)
        set_size(file, at + bytes);
    if (offset == PLX_OFFSET_CURRENT)
        desc->offset += bytes;
    return (int64_t)bytes;
}

int plx__sim_fallocate(struct plx__sim_world *world, struct sim_desc *desc, uint32_t mode,
                       uint64_t offset, uint64_t bytes)
{
    if ((mode & ~(uint32_t)FALLOC_FL_KEEP_SIZE) != 0)
        return -EOPNOTSUPP;
    if (bytes == 0)
        return -EINVAL;
    if (offset > FILE_BYTES_MAX || bytes > FILE_BYTES_MAX - offset)
        return -EFBIG;
    if (sim_chance(world, PLX__SIM_ALLOCATE_SPACE))
        return -ENOSPC;
    if ((mode & FALLOC_FL_KEEP_SIZE) == 0 && offset + bytes > desc->file->bytes)
        set_size(desc->file, offset + bytes);
    return 0;
}

/* --- the device ------------------------------------------------------------------------------- */

/* The page as it is now becomes what a crash leaves. */
static int save_page(struct sim_page *page)
{
    if (page->now == NULL) {
        free(page->safe);
        page->safe = NULL;
    } else {
        if (page->safe == NULL)
            page->safe = malloc(SIM_PAGE);
        if (page->safe == NULL)
            return -ENOMEM;
        memcpy(page->safe, page->now, SIM_PAGE);
    }
    page->dirty = false;
    return 0;
}

/* A directory's names, which are those of all files: one directory is as good as another here. */
static void save_names(struct plx__sim_world *world)
{
    for (uint32_t i = 0; i < SIM_FILES; i++)
        world->files[i].name_safe = world->files[i].is_there;
}

int plx__sim_fsync(struct plx__sim_world *world, struct sim_desc *desc)
{
    struct sim_file *file = desc->file;
    if (sim_chance(world, PLX__SIM_SYNC_ERROR)) {
        /* As Linux does: the pages count as clean, so the next fsync has nothing to say of them. */
        for (uint64_t i = 0; i < file->page_count; i++)
            file->pages[i].dirty = false;
        return -EIO;
    }
    if (file->is_folder)
        save_names(world);
    for (uint64_t i = 0; i < file->page_count; i++) {
        if (file->pages[i].dirty && save_page(&file->pages[i]) != 0)
            return -ENOMEM;
    }
    if (file->size_dirty)
        file->safe_bytes = file->bytes;
    file->size_dirty = false;
    return 0;
}

static void restore_page(struct sim_page *page)
{
    if (page->safe == NULL) {
        free(page->now);
        page->now = NULL;
    } else if (page->now != NULL) {
        memcpy(page->now, page->safe, SIM_PAGE);
    } else {
        page->now = page->safe;
        page->safe = NULL;
    }
}

/* Some of its sectors are the new ones, the others the old. */
static void tear_page(struct plx__sim_world *world, struct sim_page *page)
{
    if (page->now == NULL)
        return;
    for (size_t at = 0; at < SIM_PAGE; at += SIM_SECTOR) {
        if (!sim_chance(world, PLX__SIM_CRASH_TORN))
            continue;
        if (page->safe != NULL)
            memcpy(page->now + at, page->safe + at, SIM_SECTOR);
        else
            memset(page->now + at, 0, SIM_SECTOR);
    }
}

static void crash_file(struct plx__sim_world *world, struct sim_file *file)
{
    for (uint64_t i = 0; i < file->page_count; i++) {
        struct sim_page *page = &file->pages[i];
        bool same = page->now == NULL
                        ? page->safe == NULL
                        : page->safe != NULL && memcmp(page->now, page->safe, SIM_PAGE) == 0;
        if (same)
            continue;
        /* What a failed fsync has given up never comes to the device. */
        if (!page->dirty || sim_chance(world, PLX__SIM_CRASH_PAGE))
            restore_page(page);
        else
            tear_page(world, page);
        (void)save_page(page);
    }
    if (file->bytes != file->safe_bytes && sim_chance(world, PLX__SIM_CRASH_SIZE))
        file->bytes = file->safe_bytes;
    file->safe_bytes = file->bytes;
    file->size_dirty = false;
}

void plx__sim_files_crash(struct plx__sim_world *world)
{
    for (uint32_t i = 0; i < SIM_FILES; i++) {
        struct sim_file *file = &world->files[i];
        if (!file->is_there)
            continue;
        if (!file->name_safe && sim_chance(world, PLX__SIM_CRASH_NAME)) {
            forget_pages(file);
            continue;
        }
        file->name_safe = true;
        crash_file(world, file);
    }
}

void plx__sim_files_free(struct plx__sim_world *world)
{
    for (uint32_t i = 0; i < SIM_FILES; i++)
        forget_pages(&world->files[i]);
}

/* --- the owner's hand ------------------------------------------------------------------------- */

int plx__sim_file_make(struct plx__sim_world *world, const char *name, const void *data,
                       size_t bytes)
{
    if (find_file(world, name) != NULL)
        return -EEXIST;
    struct sim_file *file = make_file(world, name);
    if (file == NULL || bytes > FILE_BYTES_MAX)
        return -ENOSPC;
    int rc = put(file, 0, data, bytes);
    for (uint64_t i = 0; i < file->page_count && rc == 0; i++)
        rc = save_page(&file->pages[i]);
    file->bytes = bytes;
    file->safe_bytes = bytes;
    file->name_safe = true;
    return rc;
}

int plx__sim_file_unlink(struct plx__sim_world *world, int dir, const char *path)
{
    char name[SIM_NAME_BYTES];
    int rc = full_name(world, dir, path, name);
    struct sim_file *file = rc == 0 ? find_file(world, name) : NULL;
    if (file == NULL)
        return rc != 0 ? rc : -ENOENT;
    /* Its pages go when its place is taken again, or with the world. */
    file->is_there = false;
    return 0;
}

int64_t plx__sim_file_look(const struct plx__sim_world *world, const char *name, uint64_t offset,
                           void *out, size_t bytes)
{
    for (uint32_t i = 0; i < SIM_FILES; i++) {
        const struct sim_file *file = &world->files[i];
        if (!file->is_there || strcmp(file->name, name) != 0)
            continue;
        if (offset >= file->bytes)
            return 0;
        size_t there = bytes < file->bytes - offset ? bytes : (size_t)(file->bytes - offset);
        get(file, offset, out, there);
        return (int64_t)there;
    }
    return -ENOENT;
}
