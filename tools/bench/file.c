/* SPDX-License-Identifier: MIT */
/*
 * Files: reads at random places, and copies, beside programs that do the same.
 *
 * Everything lies in one directory of our own on a real file system, which is removed in the end,
 * also when a signal ends the benchmark.
 */
#include "tools/bench/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "tools/bench/frame.h"
#include "tools/cli.h"

#define FULL_BYTES  (UINT64_C(1) << 30)
#define QUICK_BYTES (UINT64_C(256) << 20)
/* Left free beside the file and its copy. */
#define SPARE_BYTES (UINT64_C(256) << 20)

/* --- pages ----------------------------------------------------------------------------------- */

static const unsigned char *pattern_of(const struct plx_bench_files *files, uint64_t number)
{
    uint64_t count = PLX_BENCH_FILE_CHUNK / PLX_BENCH_FILE_PAGE;
    return files->pages + number % count * PLX_BENCH_FILE_PAGE;
}

bool plx_bench_page_is(const struct plx_bench_files *files, const unsigned char *page,
                       uint64_t number)
{
    uint64_t word;
    memcpy(&word, page, sizeof(word));
    return word == plx_bench_page_word(number) &&
           memcmp(page + sizeof(word), pattern_of(files, number) + sizeof(word),
                  PLX_BENCH_FILE_PAGE - sizeof(word)) == 0;
}

/* --- the end, also by a signal --------------------------------------------------------------- */

/* What a handler removes; set while there is something. */
static struct plx_bench_files *removable;

static void remove_files(const struct plx_bench_files *files)
{
    unlink(files->target);
    unlink(files->source);
    rmdir(files->folder);
}

static void remove_at_last(void)
{
    if (removable != NULL)
        remove_files(removable);
}

/* --- the directory and the source ------------------------------------------------------------ */

/* Keeps why nothing can be measured. Returns -1. */
static int unable(struct plx_bench_files *files, const char *text, const char *detail)
{
    snprintf(files->why, sizeof(files->why), "%.120s: %.60s", text, detail);
    return -1;
}

/* The same, for a place that is no place for files. */
static int misplaced(struct plx_bench_files *files, const char *text, const char *detail)
{
    files->misplaced = true;
    return unable(files, text, detail);
}

static int make_folder(struct plx_bench_files *files)
{
    const char *base = files->bench->dir;
    struct statfs system;
    struct statvfs room;
    if (base == NULL)
        base = getenv("TMPDIR");
    if (base == NULL || base[0] == '\0')
        base = "/var/tmp";
    if (statfs(base, &system) != 0 || statvfs(base, &room) != 0)
        return misplaced(files, base, strerror(errno));
    if (system.f_type == TMPFS_MAGIC || system.f_type == RAMFS_MAGIC)
        return unable(files, base, "it is in memory and has no direct I/O (--dir names another)");
    uint64_t needed = 2 * files->bytes + SPARE_BYTES;
    if ((uint64_t)room.f_bavail * room.f_frsize < needed) {
        char text[PLX_CLI_NUMBER_BYTES];
        char detail[80];
        snprintf(detail, sizeof(detail), "less than %s are free (--dir names another)",
                 plx_cli_format_bytes(needed, text));
        return misplaced(files, base, detail);
    }
    int length = snprintf(files->folder, sizeof(files->folder), "%s/pollux-bench-XXXXXX", base);
    if (length < 0 || (size_t)length >= sizeof(files->folder))
        return misplaced(files, base, strerror(ENAMETOOLONG));
    if (mkdtemp(files->folder) == NULL) {
        files->folder[0] = '\0';
        return misplaced(files, base, strerror(errno));
    }
    snprintf(files->source, sizeof(files->source), "%s/source", files->folder);
    snprintf(files->target, sizeof(files->target), "%s/target", files->folder);
    return 0;
}

static int write_source(struct plx_bench_files *files)
{
    uint64_t pages = PLX_BENCH_FILE_CHUNK / PLX_BENCH_FILE_PAGE;
    int fd = open(files->source, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_DIRECT, 0600);
    if (fd < 0)
        return unable(files, "a file with direct I/O", strerror(errno));
    files->source_fd = fd;
    memcpy(files->buffer, files->pages, PLX_BENCH_FILE_CHUNK);
    for (uint64_t at = 0; at < files->bytes; at += PLX_BENCH_FILE_CHUNK) {
        for (uint64_t i = 0; i < pages; i++) {
            uint64_t word = plx_bench_page_word(at / PLX_BENCH_FILE_PAGE + i);
            memcpy(files->buffer + i * PLX_BENCH_FILE_PAGE, &word, sizeof(word));
        }
        if (plx_bench_stopping())
            return unable(files, files->source, "stopped");
        ssize_t written = pwrite(fd, files->buffer, PLX_BENCH_FILE_CHUNK, (off_t)at);
        if (written != (ssize_t)PLX_BENCH_FILE_CHUNK)
            return unable(files, files->source, written < 0 ? strerror(errno) : "short write");
        plx_cli_progress("file: writing what is to be read, %d %%", (int)(100 * at / files->bytes));
    }
    if (fsync(fd) != 0)
        return unable(files, files->source, strerror(errno));
    return 0;
}

int plx_bench_files_open(struct plx_bench_files *files)
{
    if (files->pages != NULL)
        return 0;
    files->pages = aligned_alloc(PLX_BENCH_FILE_PAGE, PLX_BENCH_FILE_CHUNK);
    files->buffer = aligned_alloc(PLX_BENCH_FILE_PAGE, PLX_BENCH_FILE_CHUNK);
    if (files->pages == NULL || files->buffer == NULL)
        return -ENOMEM;
    uint64_t random = plx_bench_seed(files->bench);
    for (size_t i = 0; i < PLX_BENCH_FILE_CHUNK; i += sizeof(uint64_t)) {
        uint64_t word = plx_bench_random(&random);
        memcpy(files->pages + i, &word, sizeof(word));
    }
    if (make_folder(files) == 0) {
        removable = files;
        plx_bench_stop_last(remove_at_last);
        (void)write_source(files);
    }
    plx_cli_progress_clear();
    /* Where no place was named, that there is none suitable is a property of the host. */
    if (files->misplaced && files->bench->dir != NULL) {
        struct plx_diag diag;
        plx_diag_set(&diag, -EIO, "--dir", "%s", files->why);
        plx_bench_failed(files->bench, "file", &diag);
    }
    return 0;
}

static void close_files(struct plx_bench_files *files)
{
    if (files->source_fd >= 0)
        close(files->source_fd);
    if (files->folder[0] != '\0') {
        remove_files(files);
        plx_bench_stop_last(NULL);
        removable = NULL;
    }
    free(files->buffer);
    free(files->pages);
}

int plx_bench_file(struct plx_bench *bench)
{
    struct plx_bench_files *files = calloc(1, sizeof(*files));
    if (files == NULL)
        return -ENOMEM;
    files->bench = bench;
    files->bytes = plx_round_up(bench->file_bytes, PLX_BENCH_FILE_CHUNK);
    if (files->bytes == 0)
        files->bytes = plx_bench_is_quick(bench) ? QUICK_BYTES : FULL_BYTES;
    files->source_fd = -1;
    int rc = plx_bench_file_reads(files);
    if (rc == 0)
        rc = plx_bench_file_copies(files);
    close_files(files);
    free(files);
    return rc;
}
