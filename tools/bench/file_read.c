/* SPDX-License-Identifier: MIT */
/*
 * Reads of 4 KiB at random places of a file, past the page cache, so many at a time: by a reactor
 * into registered buffers, by pread, and by fio. All on one core.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tools/bench/file.h"
#include "tools/bench/frame.h"

#define DEPTH_MAX 64u
/*
 * Devices end many reads at once. What follows them is shown in parts, so that the device begins
 * while the rest is prepared.
 */
#define SHOW_EVERY     8u
#define ABANDON_NS     UINT64_C(5000000000)
#define QUICK_SLICE_US 200000u
#define FULL_SLICE_US  500000u
#define QUICK_ROUNDS   3u
#define FULL_ROUNDS    8u

struct reads;

/* A read on its way, again and again. */
struct one {
    struct plx_op op;
    struct reads *reads;
    unsigned char *buf;
    uint64_t page;
};

struct reads {
    const struct plx_bench_files *files;
    uint32_t depth;
    const char *idle; /* the setting */
    char cpu[16];
    struct plx_runtime *runtime;
    struct plx_reactor *reactor;
    struct one ones[DEPTH_MAX];
    uint64_t random;
    uint64_t begun;
    uint64_t done;
    uint64_t wrong; /* pages that are not what was written */
    int failed;     /* negative errno of a read or submit */
    bool ends;
    uint32_t in_flight;
};

/* --- by a reactor ---------------------------------------------------------------------------- */

static void on_read(struct plx_op *op, const struct plx_event *event, void *ctx);

static void begin_read(struct one *one)
{
    struct reads *reads = one->reads;
    uint64_t pages = reads->files->bytes / PLX_BENCH_FILE_PAGE;
    one->page = plx_bench_random(&reads->random) % pages;
    plx_op_read_fixed(&one->op, reads->files->source_fd, one->buf, PLX_BENCH_FILE_PAGE,
                      one->page * PLX_BENCH_FILE_PAGE, on_read, one);
    int rc = plx_op_submit(reads->reactor, &one->op);
    if (rc != 0) {
        reads->failed = rc;
        return;
    }
    reads->in_flight++;
    if (++reads->begun % SHOW_EVERY == 0)
        plx_reactor_flush(reads->reactor);
}

static void on_read(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    struct one *one = ctx;
    struct reads *reads = one->reads;
    uint64_t word;
    (void)op;
    reads->in_flight--;
    reads->done++;
    memcpy(&word, one->buf, sizeof(word));
    if (event->result != (int32_t)PLX_BENCH_FILE_PAGE)
        reads->failed = event->result < 0 ? event->result : -EIO;
    else
        reads->wrong += word != plx_bench_page_word(one->page);
    if (!reads->ends && reads->failed == 0)
        begin_read(one);
}

static int open_runtime(struct reads *reads, struct plx_diag *diag)
{
    const char *const settings[] = {"backend",  "uring", "sqpoll", "off",  "reactors",  "1", "cpus",
                                    reads->cpu, "smt",   "yes",    "idle", reads->idle, NULL};
    int rc = plx_bench_runtime(reads->files->bench, settings, NULL, &reads->runtime, diag);
    if (rc == 0)
        rc = plx_reactor_adopt(reads->runtime, 0, &reads->reactor, diag);
    if (rc != 0) {
        plx_runtime_destroy(reads->runtime);
        reads->runtime = NULL;
    }
    return rc;
}

static int open_reads(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    struct reads *reads = ctx;
    (void)slice;
    int rc = open_runtime(reads, diag);
    if (rc != 0)
        return rc;
    reads->done = 0;
    reads->wrong = 0;
    reads->failed = 0;
    for (uint32_t i = 0; i < reads->depth && rc == 0; i++) {
        reads->ones[i].reads = reads;
        reads->ones[i].buf = plx_arena_carve(plx_reactor_arena(reads->reactor), PLX_BENCH_FILE_PAGE,
                                             PLX_BENCH_FILE_PAGE);
        if (reads->ones[i].buf == NULL)
            rc = plx_diag_set(diag, -ENOMEM, "arena", "no room for %u buffers", reads->depth);
    }
    /* What is not had here is slower, and no failure. */
    int refused = plx_fd_register(reads->reactor, reads->files->source_fd);
    (void)refused;
    return rc;
}

static void close_reads(void *ctx)
{
    struct reads *reads = ctx;
    (void)!plx_reactor_abandon(reads->reactor, ABANDON_NS);
    plx_runtime_destroy(reads->runtime);
    reads->runtime = NULL;
}

static uint64_t cpu_now_ns(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return ((uint64_t)usage.ru_utime.tv_sec + (uint64_t)usage.ru_stime.tv_sec) * 1000000000u +
           ((uint64_t)usage.ru_utime.tv_usec + (uint64_t)usage.ru_stime.tv_usec) * 1000u;
}

static void turn(struct reads *reads)
{
    if (plx_reactor_poll(reads->reactor) == 0)
        plx_reactor_idle(reads->reactor);
}

static int run_reads(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    struct reads *reads = ctx;
    reads->ends = false;
    uint64_t cpu_ns = cpu_now_ns();
    uint64_t began = plx_ticks();
    for (uint32_t i = 0; i < reads->depth; i++)
        begin_read(&reads->ones[i]);
    while (plx_ticks() < slice->end_ticks && reads->failed == 0)
        turn(reads);
    /* As fio does, what is on its way counts, and so does its time. */
    reads->ends = true;
    while (reads->in_flight != 0 && !plx_bench_in_vain(slice))
        turn(reads);
    slice->done = reads->done;
    slice->elapsed_ticks = plx_ticks() - began;
    slice->cpu_ns = cpu_now_ns() - cpu_ns;
    if (reads->failed != 0)
        return plx_diag_set(diag, reads->failed, "read", "%s", strerror(-reads->failed));
    if (reads->wrong != 0 || reads->in_flight != 0)
        return plx_diag_set(diag, -EPROTO, "read", "%s",
                            reads->wrong != 0 ? "what was read is not what was written"
                                              : "reads do not end");
    return 0;
}

/* Whether the host lets nobody have a ring: one with nowhere to write to is refused otherwise. */
static bool refuses_rings(void)
{
    return syscall(SYS_io_uring_setup, 1, NULL) < 0 && errno != EFAULT && errno != EINVAL;
}

/* Why such a reactor is not to be had here; empty: it is. */
static void try_reads(struct reads *reads, char *why, size_t bytes)
{
    struct plx_diag diag;
    why[0] = '\0';
    if (reads->files->why[0] != '\0') {
        snprintf(why, bytes, "%s", reads->files->why);
        return;
    }
    int rc = open_reads(NULL, reads, &diag);
    if (rc != 0)
        snprintf(why, bytes, "%s", diag.text);
    if (reads->runtime != NULL)
        close_reads(reads);
}

/* --- by pread -------------------------------------------------------------------------------- */

static int run_raw(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    struct reads *reads = ctx;
    const struct plx_bench_files *files = reads->files;
    uint64_t pages = files->bytes / PLX_BENCH_FILE_PAGE;
    uint64_t cpu_ns = cpu_now_ns();
    uint64_t began = plx_ticks();
    while (plx_ticks() < slice->end_ticks) {
        uint64_t page = plx_bench_random(&reads->random) % pages;
        uint64_t word;
        ssize_t got = pread(files->source_fd, files->buffer, PLX_BENCH_FILE_PAGE,
                            (off_t)(page * PLX_BENCH_FILE_PAGE));
        if (got != (ssize_t)PLX_BENCH_FILE_PAGE)
            return plx_diag_set(diag, -EIO, "pread", "%s", got < 0 ? strerror(errno) : "short");
        memcpy(&word, files->buffer, sizeof(word));
        if (word != plx_bench_page_word(page))
            return plx_diag_set(diag, -EPROTO, "pread", "what was read is not what was written");
        slice->done++;
    }
    slice->elapsed_ticks = plx_ticks() - began;
    slice->cpu_ns = cpu_now_ns() - cpu_ns;
    return 0;
}

/* --- cases ----------------------------------------------------------------------------------- */

static void prepare(struct reads *reads, const struct plx_bench_files *files, uint32_t depth,
                    const char *idle)
{
    memset(reads, 0, sizeof(*reads));
    reads->files = files;
    reads->depth = depth;
    reads->idle = idle;
    reads->random = plx_bench_seed(files->bench) + depth;
    snprintf(reads->cpu, sizeof(reads->cpu), "%d", plx_bench_cpu_a(files->bench));
}

static int measure(struct plx_bench_files *files, const struct plx_bench_case *what, uint32_t depth,
                   struct plx_bench_child *child)
{
    struct reads *reads = calloc(3, sizeof(*reads));
    if (reads == NULL)
        return -ENOMEM;
    char why[2][sizeof(((struct plx_diag *)0)->text)];
    /* Who waits for a device far slower than a turn loses nothing by sleeping meanwhile. */
    static const char *const idles[] = {"block", "spin"};
    static const char *const names[] = {"pollux", "pollux/spin"};
    const char *missing = files->why[0] != '\0' ? files->why : NULL;
    const char *no_fio = missing;
    if (missing == NULL && refuses_rings())
        no_fio = "its engine is io_uring, which this host refuses";
    struct plx_bench_fio fio = {.files = files, .child = child, .depth = depth};
    struct plx_bench_subject subjects[4];
    uint32_t count = 0;
    for (uint32_t i = 0; i < 2; i++) {
        prepare(&reads[i], files, depth, idles[i]);
        try_reads(&reads[i], why[i], sizeof(why[i]));
        subjects[count++] = (struct plx_bench_subject){.name = names[i],
                                                       .run = run_reads,
                                                       .open = open_reads,
                                                       .close = close_reads,
                                                       .ctx = &reads[i],
                                                       .missing = why[i][0] != '\0' ? why[i] : NULL,
                                                       .mem_node = -1};
    }
    prepare(&reads[2], files, depth, "");
    if (depth == 1)
        subjects[count++] = (struct plx_bench_subject){
            .name = "raw", .run = run_raw, .ctx = &reads[2], .missing = missing, .mem_node = -1};
    if (child != NULL)
        subjects[count++] = (struct plx_bench_subject){.name = "fio",
                                                       .run = plx_bench_fio_run,
                                                       .ctx = &fio,
                                                       .missing = no_fio,
                                                       .mem_node = -1};
    int rc = plx_bench_measure(files->bench, what, subjects, count);
    free(reads);
    return rc;
}

int plx_bench_file_reads(struct plx_bench_files *files)
{
    static const struct {
        uint32_t depth;
        struct plx_bench_case what;
    } cases[] = {
        {1,
         {.name = "randread_4K_1",
          .what = "reads of 4 KiB at random places, O_DIRECT, one at a time",
          .also_name = "randread_4K_1_cpu",
          .also_what = "processor time of such a read"}},
        {64,
         {.name = "randread_4K_64",
          .what = "the same, 64 at a time",
          .also_name = "randread_4K_64_cpu",
          .also_what = "processor time of such a read"}},
    };
    struct plx_bench *bench = files->bench;
    bool quick = plx_bench_is_quick(bench);
    struct plx_bench_child *child = calloc(1, sizeof(*child));
    if (child == NULL)
        return -ENOMEM;
    int has_fio = -1; /* not known */
    int rc = 0;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]) && rc == 0; i++) {
        struct plx_bench_case what = cases[i].what;
        what.bench = "file";
        what.unit = PLX_BENCH_RATE;
        what.sleeps = true;
        what.rounds = quick ? QUICK_ROUNDS : FULL_ROUNDS;
        what.slice_us = quick ? QUICK_SLICE_US : FULL_SLICE_US;
        bool wanted = plx_bench_is_one_wanted(bench, &what, 1);
        if (wanted)
            rc = plx_bench_files_open(files);
        if (wanted && has_fio < 0)
            has_fio = plx_bench_has_program(bench, child, "fio");
        if (!wanted)
            rc = plx_bench_measure(bench, &what, NULL, 0);
        else if (rc == 0)
            rc = measure(files, &what, cases[i].depth, has_fio > 0 ? child : NULL);
    }
    free(child);
    return rc;
}
