/* SPDX-License-Identifier: MIT */
/*
 * Copies of a file, each by a process of its own, until the copy and its name are on the device:
 * pollux cp in its three ways, cp, and dd past the page cache.
 *
 * Before each, none of the source is in the page cache, no copy is there, and nothing waits to be
 * written. After it, out of the time, the copy is read from the device and compared.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/bench/file.h"
#include "tools/bench/frame.h"

#define QUICK_ROUNDS 3u
#define FULL_ROUNDS  5u
#define WORDS_MAX    12

struct copy {
    const struct plx_bench_files *files;
    struct plx_bench_child *child;
    const char *words[WORDS_MAX];
    bool syncs; /* the program brings the copy to the device itself */
};

static int failed(struct plx_diag *diag, const char *what)
{
    int code = errno;
    return plx_diag_set(diag, -code, what, "%s", strerror(code));
}

/* The same beginning for all. */
static int clear(const struct plx_bench_files *files, struct plx_diag *diag)
{
    if (unlink(files->target) != 0 && errno != ENOENT)
        return failed(diag, "target");
    if (syncfs(files->source_fd) != 0)
        return failed(diag, "syncfs");
    int rc = -posix_fadvise(files->source_fd, 0, 0, POSIX_FADV_DONTNEED);
    return rc == 0 ? 0 : plx_diag_set(diag, rc, "posix_fadvise", "%s", strerror(-rc));
}

static int sync_path(const char *path, int flags, struct plx_diag *diag)
{
    int fd = open(path, flags | O_CLOEXEC);
    if (fd < 0)
        return failed(diag, path);
    int rc = fsync(fd) == 0 ? 0 : failed(diag, path);
    close(fd);
    return rc;
}

/* That the target is the source, read from the device. */
static int compare(const struct plx_bench_files *files, struct plx_diag *diag)
{
    struct stat found;
    int fd = open(files->target, O_RDONLY | O_DIRECT | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &found) != 0) {
        int rc = failed(diag, "target");
        if (fd >= 0)
            close(fd);
        return rc;
    }
    bool same = (uint64_t)found.st_size == files->bytes;
    for (uint64_t at = 0; at < files->bytes && same; at += PLX_BENCH_FILE_CHUNK) {
        same = pread(fd, files->buffer, PLX_BENCH_FILE_CHUNK, (off_t)at) == PLX_BENCH_FILE_CHUNK;
        for (uint32_t i = 0; i < PLX_BENCH_FILE_CHUNK && same; i += PLX_BENCH_FILE_PAGE)
            same = plx_bench_page_is(files, files->buffer + i, (at + i) / PLX_BENCH_FILE_PAGE);
    }
    close(fd);
    return same ? 0 : plx_diag_set(diag, -EPROTO, "target", "the copy differs from its source");
}

static int run_copy(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    struct copy *copy = ctx;
    const struct plx_bench_files *files = copy->files;
    int rc = clear(files, diag);
    uint64_t began = plx_ticks();
    if (rc == 0)
        rc = plx_bench_child_run(slice->bench, copy->child, copy->words, true, diag);
    if (rc == 0 && !copy->syncs)
        rc = sync_path(files->target, O_WRONLY, diag);
    if (rc == 0 && !copy->syncs)
        rc = sync_path(files->folder, O_RDONLY | O_DIRECTORY, diag);
    uint64_t took = plx_ticks() - began;
    if (rc == 0)
        rc = compare(files, diag);
    if (rc == 0)
        plx_bench_sample(slice, took);
    return rc;
}

/* The ways of pollux cp, and the peers. */
#define COPIES 5

static const char *const names[COPIES] = {"pollux", "pollux/ring", "pollux/plain", "cp", "dd"};

/* What the copies name, as long as they are measured. */
struct texts {
    char source[PATH_MAX + 8];
    char target[PATH_MAX + 8];
    char name[32];
    char what[96];
};

static void prepare(struct copy *copies, const struct plx_bench_files *files,
                    struct plx_bench_child *child, const struct texts *texts)
{
    static const char *const methods[] = {"fixed", "ring", "plain"};
    for (uint32_t i = 0; i < COPIES; i++)
        copies[i] = (struct copy){.files = files, .child = child, .syncs = i < 3};
    for (uint32_t i = 0; i < 3; i++) {
        const char *const words[] = {"/proc/self/exe", "cp",          "--quiet",    "--method",
                                     methods[i],       files->source, files->target};
        memcpy(copies[i].words, words, sizeof(words));
    }
    const char *const cp_words[] = {"cp", "--reflink=never", files->source, files->target};
    memcpy(copies[3].words, cp_words, sizeof(cp_words));
    const char *const dd_words[] = {"dd",           texts->source,  texts->target, "bs=1M",
                                    "iflag=direct", "oflag=direct", "status=none"};
    memcpy(copies[4].words, dd_words, sizeof(dd_words));
}

static int measure(struct plx_bench_files *files, struct plx_bench_child *child,
                   struct texts *texts)
{
    struct copy copies[COPIES];
    struct plx_bench_subject subjects[COPIES];
    uint32_t count = 0;
    const struct plx_bench_case what = {
        .bench = "file",
        .name = texts->name,
        .what = texts->what,
        .unit = PLX_BENCH_NS,
        .block = 1,
        .sleeps = true,
        .rounds = plx_bench_is_quick(files->bench) ? QUICK_ROUNDS : FULL_ROUNDS,
    };
    if (!plx_bench_is_wanted(files->bench, what.bench, what.name))
        return plx_bench_measure(files->bench, &what, NULL, 0);
    int rc = plx_bench_files_open(files);
    if (rc != 0)
        return rc;
    snprintf(texts->source, sizeof(texts->source), "if=%s", files->source);
    snprintf(texts->target, sizeof(texts->target), "of=%s", files->target);
    prepare(copies, files, child, texts);
    for (uint32_t i = 0; i < COPIES; i++) {
        bool is_peer = strncmp(names[i], "pollux", 6) != 0;
        if (is_peer && !plx_bench_has_program(files->bench, child, names[i]))
            continue;
        subjects[count++] =
            (struct plx_bench_subject){.name = names[i],
                                       .run = run_copy,
                                       .ctx = &copies[i],
                                       .missing = files->why[0] != '\0' ? files->why : NULL,
                                       .mem_node = -1};
    }
    return plx_bench_measure(files->bench, &what, subjects, count);
}

int plx_bench_file_copies(struct plx_bench_files *files)
{
    /* Rows name their case by this text until the benchmark ends. */
    static struct texts texts;
    struct plx_bench_child *child = calloc(1, sizeof(*child));
    if (child == NULL)
        return -ENOMEM;
    uint64_t mib = files->bytes >> 20;
    bool is_whole = mib % 1024 == 0;
    snprintf(texts.name, sizeof(texts.name), "copy_%llu%c",
             (unsigned long long)(is_whole ? mib / 1024 : mib), is_whole ? 'G' : 'M');
    snprintf(texts.what, sizeof(texts.what),
             "%llu MiB copied and brought to the device, by a "
             "process",
             (unsigned long long)mib);
    int rc = measure(files, child, &texts);
    free(child);
    return rc;
}
