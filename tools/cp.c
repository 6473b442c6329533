/* SPDX-License-Identifier: MIT */
/*
 * pollux cp: copies a file through one reactor, and is done when the copy is on the device.
 *
 * The main thread opens, reserves, watches, brings to the device and renames, by plain system
 * calls. Between, the reactor's thread moves the bytes.
 */
#include "tools/cp.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tools/commands.h"

#define LOOK_NS        UINT64_C(100000000) /* how often progress is looked at */
#define STOP_WITHIN_NS UINT64_C(30000000000)

/* A copy from its command line to its end. */
struct job {
    struct plx_cp_request request;
    struct plx_cp_files files;
    struct plx_cp_copy copy;
    struct plx_runtime *runtime;
    uint64_t began_ns;
    bool leaked; /* the kernel may still write to the buffers */
};

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static double seconds_of(const struct job *job)
{
    return (double)(now_ns() - job->began_ns) / 1e9;
}

/* --- signals --------------------------------------------------------------------------------- */

static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};

#define NUMBER_COUNT (sizeof(numbers) / sizeof(numbers[0]))

/* Written before the handlers are set, and by them. */
static struct job *signalled;
static volatile sig_atomic_t interrupted;

/* The first asks for an orderly end. Who asks again does not wait, and leaves no draft either. */
static void on_signal(int number)
{
    if (interrupted != 0) {
        if (signalled->files.draft_name[0] != '\0')
            unlinkat(signalled->files.folder_fd, signalled->files.draft_name, 0);
        _exit(128 + number);
    }
    interrupted = number;
    if (signalled->runtime != NULL)
        plx_runtime_request_stop(signalled->runtime);
}

/* The runtime may come and go only while no handler looks at it. */
static void set_runtime(struct job *job, struct plx_runtime *runtime)
{
    sigset_t these;
    sigset_t before;
    sigemptyset(&these);
    for (size_t i = 0; i < NUMBER_COUNT; i++)
        sigaddset(&these, numbers[i]);
    sigprocmask(SIG_BLOCK, &these, &before);
    job->runtime = runtime;
    if (runtime != NULL && interrupted != 0)
        plx_runtime_request_stop(runtime);
    sigprocmask(SIG_SETMASK, &before, NULL);
}

static void catch_signals(struct job *job)
{
    struct sigaction action;
    struct sigaction before;
    memset(&action, 0, sizeof(action));
    sigemptyset(&action.sa_mask);
    signalled = job;
    action.sa_handler = on_signal;
    for (size_t i = 0; i < NUMBER_COUNT; i++) {
        /* What was ignored from the start (nohup) stays so. */
        if (sigaction(numbers[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            sigaction(numbers[i], &action, NULL);
    }
    /* A limit on the size of files is then an error of the write, which can be told. */
    action.sa_handler = SIG_IGN;
    sigaction(SIGXFSZ, &action, NULL);
}

static bool was_interrupted(void)
{
    return interrupted != 0;
}

/* --- telling --------------------------------------------------------------------------------- */

static const char *method_word(int method)
{
    return method == PLX_CP_FIXED ? "fixed" : method == PLX_CP_RING ? "ring" : "plain";
}

static const char *direct_text(const struct plx_cp_files *files)
{
    return files->source_direct && files->target_direct ? "direct"
           : files->source_direct                       ? "direct reads, cached writes"
           : files->target_direct                       ? "cached reads, direct writes"
                                                        : "through the page cache";
}

static void show_progress(const struct job *job)
{
    uint64_t done = plx_load_relaxed(&job->copy.done_bytes);
    uint64_t all = job->files.part_bytes;
    double rate = (double)done / seconds_of(job);
    char text[3][PLX_CLI_NUMBER_BYTES];
    double left = rate > 0 ? (double)(all - done) / rate : 0;
    plx_cli_progress("%s of %s (%.0f %%), %s/s, %.0f s left", plx_cli_format_bytes(done, text[0]),
                     plx_cli_format_bytes(all, text[1]),
                     all != 0 ? 100.0 * (double)done / (double)all : 100.0,
                     plx_cli_format_bytes((uint64_t)rate, text[2]), left);
}

static void print_text(const struct job *job, double seconds)
{
    const struct plx_cp_copy *copy = &job->copy;
    char text[3][PLX_CLI_NUMBER_BYTES];
    uint64_t bytes = (uint64_t)job->files.source.st_size;
    uint64_t moved = job->files.part_bytes;
    printf("copied %s", plx_cli_format_bytes(bytes, text[0]));
    if (moved != bytes)
        printf(" (%s without its holes)", plx_cli_format_bytes(moved, text[1]));
    printf(" in %.3f s, %s/s: %s", seconds,
           plx_cli_format_bytes((uint64_t)((double)moved / seconds), text[2]),
           method_word(job->request.method));
    if (copy->mode[0] != '\0')
        printf(", %s", copy->mode);
    printf(", %s, %" PRIu64 " copies in user space\n", direct_text(&job->files), copy->copies);
}

static int print_json(const struct job *job, double seconds)
{
    const struct plx_cp_copy *copy = &job->copy;
    const struct plx_cp_files *files = &job->files;
    json_t *all =
        json_pack("{s:I,s:I,s:f,s:f,s:s,s:s,s:b,s:b,s:b,s:I,s:I,s:I,s:I,s:b}", "bytes",
                  (json_int_t)files->source.st_size, "data_bytes", (json_int_t)files->part_bytes,
                  "seconds", seconds, "rate_bytes_per_s", (double)files->part_bytes / seconds,
                  "method", method_word(job->request.method), "mode", copy->mode, "direct_source",
                  files->source_direct, "direct_target", files->target_direct, "fixed_buffers",
                  copy->fixed_buffers, "copies", (json_int_t)copy->copies, "copied_bytes",
                  (json_int_t)copy->copied_bytes, "depth", (json_int_t)job->request.depth, "block",
                  (json_int_t)job->request.block, "owner_kept", files->owner_kept);
    int failed = all == NULL || json_dumpf(all, stdout, JSON_INDENT(2)) != 0;
    json_decref(all);
    putchar('\n');
    return failed != 0 ? PLX_EXIT_FAILED : PLX_EXIT_OK;
}

/* --- running --------------------------------------------------------------------------------- */

/* The copying. Returns PLX_EXIT_OK, or another status after telling why. */
static int copy_parts(struct job *job, const struct plx_settings *settings)
{
    struct plx_runtime *runtime;
    struct plx_runtime_opts opts;
    struct plx_diag diag;
    plx_runtime_opts_init(&opts);
    opts.on_start = plx_cp_copy_start;
    opts.ctx = &job->copy;
    opts.take_signals = false; /* a draft has to be removed */
    int rc = plx_runtime_create(settings, &opts, &runtime, &diag);
    if (rc < 0) {
        plx_cli_diag(PLX_CP_NAME, &diag);
        return plx_cli_exit_of(rc);
    }
    int status = PLX_EXIT_OK;
    set_runtime(job, runtime);
    rc = plx_runtime_start(runtime, &diag);
    if (rc < 0) {
        status = PLX_EXIT_FAILED;
        if (!was_interrupted())
            plx_cli_diag(PLX_CP_NAME, job->copy.diag.code != 0 ? &job->copy.diag : &diag);
    } else {
        while (plx_runtime_wait(runtime, LOOK_NS) == -ETIMEDOUT) {
            if (!job->request.quiet)
                show_progress(job);
        }
        plx_cli_progress_clear();
        rc = plx_runtime_stop(runtime, STOP_WITHIN_NS, &diag);
        job->leaked = rc < 0;
        if (rc < 0) {
            plx_cli_diag(PLX_CP_NAME, &diag);
            status = PLX_EXIT_FAILED;
        }
    }
    set_runtime(job, NULL);
    plx_runtime_destroy(runtime);
    bool whole = job->copy.failure == PLX_CP_WHOLE &&
                 plx_load_relaxed(&job->copy.done_bytes) == job->files.part_bytes;
    if (status == PLX_EXIT_OK && !whole) {
        plx_cp_tell_failure(&job->copy);
        status = PLX_EXIT_FAILED;
    }
    return status;
}

static int copy_file(struct job *job, const struct plx_settings *settings)
{
    struct plx_cp_files *files = &job->files;
    if (plx_cp_make_draft(files, &job->request) != 0)
        return PLX_EXIT_FAILED;
    int status = PLX_EXIT_OK;
    if (plx_cp_copy_init(&job->copy, files, &job->request) != 0) {
        plx_cli_error(PLX_CP_NAME, "out of memory");
        status = PLX_EXIT_FAILED;
    }
    if (status == PLX_EXIT_OK && files->part_count != 0)
        status = copy_parts(job, settings);
    if (status == PLX_EXIT_OK && !was_interrupted() && plx_cp_finish(files, was_interrupted) != 0)
        status = PLX_EXIT_FAILED;
    if (!job->leaked)
        plx_cp_copy_fini(&job->copy);
    return status;
}

static int run(struct job *job, const struct plx_settings *settings, const char *source,
               const char *target)
{
    catch_signals(job);
    plx_cp_files_init(&job->files);
    int status = plx_cp_open(&job->files, source, target, &job->request) == 0
                     ? copy_file(job, settings)
                     : PLX_EXIT_FAILED;
    double seconds = seconds_of(job);
    bool renamed = status == PLX_EXIT_OK && job->files.draft_name[0] == '\0';
    plx_cp_close(&job->files);
    if (was_interrupted() && !renamed) {
        plx_cli_error(PLX_CP_NAME, "interrupted; nothing was kept");
        return 128 + (int)interrupted;
    }
    if (status != PLX_EXIT_OK)
        return status;
    if (job->request.json)
        return print_json(job, seconds);
    if (!job->request.quiet)
        print_text(job, seconds);
    return status;
}

/* --- the command ----------------------------------------------------------------------------- */

static int direct_word; /* among the words of --direct */
static bool fill_holes;

static struct job main_job = {.request = {.depth = 128, .block = 65536}};

static const struct plx_cli_option options[] = {
    {.name = "method",
     .value = PLX_CP_METHODS,
     .help = "fixed (the default): a block is read into a registered buffer and written from it; "
             "ring: the kernel chooses the buffer of a read, and what it holds is copied; plain: "
             "as fixed, with memory that is not registered",
     .kind = PLX_CLI_CHOICE,
     .into = &main_job.request.method,
     .choices = PLX_CP_METHODS},
    {.name = "depth",
     .value = "N",
     .help = "blocks on their way at once, 1 to 1024; 128 unless told",
     .kind = PLX_CLI_COUNT,
     .into = &main_job.request.depth,
     .min = 1,
     .max = 1024},
    {.name = "block",
     .value = "BYTES",
     .help = "bytes of a block, a power of two from 4K to 1M; 64K unless told",
     .kind = PLX_CLI_SIZE,
     .into = &main_job.request.block,
     .min = 4096,
     .max = 1048576},
    {.name = "direct",
     .value = "try|no|require",
     .help = "past the page cache (O_DIRECT): where the file systems can (the default), not at "
             "all, or else fail",
     .kind = PLX_CLI_CHOICE,
     .into = &direct_word,
     .choices = "try|no|require"},
    {.name = "fill-holes",
     .help = "write zeros where the source has holes; unless told, the copy has them too",
     .kind = PLX_CLI_FLAG,
     .into = &fill_holes},
    {.name = "quiet",
     .letter = 'q',
     .help = "show no progress and print nothing but errors",
     .kind = PLX_CLI_FLAG,
     .into = &main_job.request.quiet},
    {.name = "json",
     .help = "print one JSON object in the end rather than a line",
     .kind = PLX_CLI_FLAG,
     .into = &main_job.request.json},
    {0},
};

static const struct plx_cli_command command = {
    .name = PLX_CP_NAME,
    .arguments = "SRC DST",
    .summary = "Copies the regular file SRC to DST, or into DST if that is a directory, with many\n"
               "blocks on their way at once. DST is replaced in one step when all of it is on the\n"
               "device, and stays as it was if anything fails.",
    .options = options,
    .details =
        "Mode and times are kept, the owner where that is permitted; extended attributes, access\n"
        "control lists and further hard links are not. A symbolic link is followed.\n"
        "Settings are those of `pollux env`; one reactor is used.\n"
        "Exit: 0 copied, 1 it failed and DST is untouched, 2 the command line or a setting is\n"
        "wrong, 128 + N ended by signal N.",
    .examples = "pollux cp journal.old /backup/\n"
                "pollux cp --method plain --depth 32 --block 256K a b\n"
                "POLLUX_BACKEND=epoll pollux cp --direct no a b --json",
};

static int check(const struct plx_cp_request *request, int arguments)
{
    if (arguments != 2)
        return plx_cli_usage_error(PLX_CP_NAME, "%s",
                                   arguments < 2 ? "name what to copy, and to where: SRC DST"
                                                 : "too many names: one SRC and one DST");
    if (!plx_is_pow2(request->block))
        return plx_cli_usage_error(PLX_CP_NAME, "--block: %" PRIu64 " is no power of two",
                                   request->block);
    if (plx_cp_arena_bytes(request) == 0)
        return plx_cli_usage_error(PLX_CP_NAME,
                                   "--depth: %" PRIu64 " blocks of %" PRIu64
                                   " bytes are too many with "
                                   "method %s",
                                   request->depth, request->block, method_word(request->method));
    return -1;
}

/* The settings of the environment, with one reactor and an arena that the buffers fit into. */
static int take_settings(const struct plx_cp_request *request, struct plx_settings *settings)
{
    struct plx_diag diag;
    char bytes[24];
    /* The environment is the strongest source, so what is certain here becomes a part of it. */
    setenv("POLLUX_REACTORS", "1", 1);
    int status = plx_cli_settings(PLX_CP_NAME, settings);
    if (status >= 0)
        return status;
    snprintf(bytes, sizeof(bytes), "%" PRIu64, plx_cp_arena_bytes(request));
    /* What it waits for is a device, far slower than waking up. */
    int rc = plx_settings_set(settings, "idle", "block", &diag);
    if (rc == 0)
        rc = plx_settings_set(settings, "arena_size", bytes, &diag);
    if (rc == 0)
        return -1;
    plx_cli_diag(PLX_CP_NAME, &diag);
    return PLX_EXIT_USAGE;
}

int plx_cmd_cp(int argc, char **argv)
{
    static const enum plx_want wants[] = {PLX_WANT_TRY, PLX_WANT_NO, PLX_WANT_REQUIRE};
    struct plx_settings settings;
    int arguments;
    main_job.began_ns = now_ns();
    int status = plx_cli_parse(&command, argc, argv, &arguments);
    if (status < 0)
        status = check(&main_job.request, arguments);
    main_job.request.direct = (int)wants[direct_word];
    main_job.request.keep_holes = !fill_holes;
    if (status < 0)
        status = take_settings(&main_job.request, &settings);
    return status >= 0 ? status : run(&main_job, &settings, argv[1], argv[2]);
}
