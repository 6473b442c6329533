/* SPDX-License-Identifier: MIT */
/*
 * What the parts of the file benchmark share: a directory with the file that is read and copied,
 * and child processes, which the peers are.
 *
 * The file's bytes are a function of the place: each page begins with a word drawn from its number,
 * and goes on with one of 256 random pages. So whatever was read or copied can be checked without
 * the source.
 */
#ifndef POLLUX_TOOLS_BENCH_FILE_H
#define POLLUX_TOOLS_BENCH_FILE_H

#include <limits.h>

#include "tools/bench/bench.h"

#define PLX_BENCH_FILE_PAGE  4096u
#define PLX_BENCH_FILE_CHUNK (1u << 20)

struct plx_bench_files {
    struct plx_bench *bench;
    uint64_t bytes;        /* of the source */
    unsigned char *pages;  /* PLX_BENCH_FILE_CHUNK bytes of random pages */
    unsigned char *buffer; /* as many, to compare */
    char folder[PATH_MAX - 64];
    char source[PATH_MAX];
    char target[PATH_MAX]; /* of a copy */
    int source_fd;         /* direct; -1: there is none */
    bool misplaced;        /* the place that was named is none for files */
    char why[200];         /* not "": why nothing can be measured */
};

/* The word that page `number` begins with. */
static inline uint64_t plx_bench_page_word(uint64_t number)
{
    uint64_t state = number;
    return plx_bench_random(&state);
}

/* Whether `page`, of the source or a copy, is page `number`. */
bool plx_bench_page_is(const struct plx_bench_files *files, const unsigned char *page,
                       uint64_t number);

/* file.c: makes the directory and the source at the first call. 0, or -ENOMEM. */
int plx_bench_files_open(struct plx_bench_files *files) PLX_MUST_CHECK;

/* --- file_child.c ------------------------------------------------------------------------------
 */

/* What a child printed: the two streams. */
struct plx_bench_child {
    char out[65536];
    char err[512];
};

/*
 * Runs a program to its end. `words` ends with NULL; the first is looked up in PATH. `anywhere`:
 * on any CPU that the process may use, rather than on the core of the calling thread. Errors:
 * -ENOENT there is no such program; -ECHILD it failed, and `diag` has what it said; others of
 * fork(2).
 */
int plx_bench_child_run(const struct plx_bench *bench, struct plx_bench_child *child,
                        const char *const *words, bool anywhere,
                        struct plx_diag *diag) PLX_MUST_CHECK;

/* --- the cases ---------------------------------------------------------------------------------
 */

/* Each returns 0 or -ENOMEM. */
int plx_bench_file_reads(struct plx_bench_files *files);
int plx_bench_file_copies(struct plx_bench_files *files);

/* Reads of one depth by fio, in a child; `ctx` is a plx_bench_fio. */
struct plx_bench_fio {
    const struct plx_bench_files *files;
    struct plx_bench_child *child;
    uint32_t depth;
};

/*
 * Whether a program is there, by running its --version; else it is told that the peer of this name
 * is left out.
 */
bool plx_bench_has_program(struct plx_bench *bench, struct plx_bench_child *child,
                           const char *name);

int plx_bench_fio_run(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag);

#endif
