/* SPDX-License-Identifier: MIT */
/* Which stretches of a source hold data. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/cp.h"

/*
 * Parts begin and end at multiples of this at least, and of what direct transfers are aligned to:
 * what is rounded up is then never beyond the part, but at the end of the file.
 */
#define GRAIN 4096u

static int add_part(struct plx_cp_files *files, size_t *room, uint64_t from, uint64_t to)
{
    struct plx_cp_part *last = files->part_count != 0 ? &files->parts[files->part_count - 1] : NULL;
    if (last != NULL && from <= last->offset + last->bytes) {
        if (to > last->offset + last->bytes)
            last->bytes = to - last->offset;
        return 0;
    }
    if (files->part_count == *room) {
        *room = *room != 0 ? 2 * *room : 16;
        struct plx_cp_part *parts = realloc(files->parts, *room * sizeof(*parts));
        if (parts == NULL)
            return -ENOMEM;
        files->parts = parts;
    }
    files->parts[files->part_count++] = (struct plx_cp_part){.offset = from, .bytes = to - from};
    return 0;
}

/* Walks over the data. -EOPNOTSUPP: the file system does not tell. */
static int walk(struct plx_cp_files *files, size_t *room, uint64_t grain)
{
    uint64_t size = (uint64_t)files->source.st_size;
    for (uint64_t at = 0; at < size;) {
        off_t data = lseek(files->source_fd, (off_t)at, SEEK_DATA);
        if (data < 0)
            return errno == ENXIO ? 0 : errno == EINVAL ? -EOPNOTSUPP : -errno;
        off_t hole = lseek(files->source_fd, data, SEEK_HOLE);
        if (hole < 0)
            return errno == ENXIO ? 0 : -errno;
        uint64_t from = (uint64_t)data / grain * grain;
        uint64_t to = plx_round_up((uint64_t)hole, grain);
        int rc = from < size ? add_part(files, room, from, to < size ? to : size) : 0;
        if (rc != 0)
            return rc;
        at = (uint64_t)hole;
    }
    return 0;
}

int plx_cp_find_parts(struct plx_cp_files *files, bool keep_holes)
{
    uint64_t size = (uint64_t)files->source.st_size;
    uint64_t grain = GRAIN;
    size_t room = 0;
    grain = grain < files->source_align ? files->source_align : grain;
    grain = grain < files->target_align ? files->target_align : grain;
    bool has_holes = (uint64_t)files->source.st_blocks * 512 < size;
    int rc = keep_holes && has_holes ? walk(files, &room, grain) : -EOPNOTSUPP;
    if (rc == -EOPNOTSUPP) {
        files->part_count = 0;
        rc = size != 0 ? add_part(files, &room, 0, size) : 0;
    }
    if (rc != 0) {
        plx_cli_error(PLX_CP_NAME, "%s: looking for its holes: %s", files->source_path,
                      strerror(-rc));
        return -1;
    }
    for (size_t i = 0; i < files->part_count; i++)
        files->part_bytes += files->parts[i].bytes;
    return 0;
}
