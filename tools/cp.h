/* SPDX-License-Identifier: MIT */
/*
 * What the parts of pollux cp share: the two files, and the copying between them.
 *
 * Words. The *source* is read, the *target* is what the copy will be called. The *draft* is the
 * file that is written, beside the target under a name of its own; it takes the target's name when
 * all of it is on the device. A *part* is a stretch of the source that holds data; between parts
 * are holes.
 */
#ifndef POLLUX_TOOLS_CP_H
#define POLLUX_TOOLS_CP_H

#include <limits.h>
#include <sys/stat.h>

#include "alloc/want.h"
#include "runtime/runtime.h"
#include "tools/cli.h"

#define PLX_CP_NAME "pollux cp"

/* The words of --method; their positions are those of plx_cp_method. */
#define PLX_CP_METHODS "fixed|ring|plain"

enum plx_cp_method {
    PLX_CP_FIXED, /* registered buffers: what a block is read into is what it is written from */
    PLX_CP_RING,  /* the kernel chooses a buffer for each read; copied to one that is written */
    PLX_CP_PLAIN  /* as FIXED, in memory that is not registered */
};

struct plx_cp_request {
    uint64_t depth; /* blocks on their way at once */
    uint64_t block; /* bytes of one; a power of two */
    int method;     /* enum plx_cp_method */
    int direct;     /* enum plx_want */
    bool keep_holes;
    bool quiet;
    bool json;
};

struct plx_cp_part {
    uint64_t offset;
    uint64_t bytes;
};

/* The two files, and the draft between them. */
struct plx_cp_files {
    /* Of the source. */
    const char *source_path;
    int source_fd;
    struct stat source;        /* as it was opened */
    bool source_direct;        /* it is read past the page cache */
    uint32_t source_align;     /* of offsets, lengths and memory then */
    struct plx_cp_part *parts; /* ascending, apart from each other */
    size_t part_count;
    uint64_t part_bytes; /* of all parts */
    /* Of the target. */
    char target_path[PATH_MAX]; /* as it is told to a person; no symbolic link */
    const char *target_name;    /* its last component, within target_path */
    char folder_path[PATH_MAX];
    int folder_fd;
    char draft_name[64]; /* "": there is none */
    int draft_fd;
    bool target_direct;
    uint32_t target_align;
    bool owner_kept;
};

/* --- cp_files.c: each tells its errors itself; 0, or -1 when it did ----------------------------
 */

/* Empty, for plx_cp_close to be called on. */
void plx_cp_files_init(struct plx_cp_files *files);

/* Opens the source, and finds out where the target lies. */
int plx_cp_open(struct plx_cp_files *files, const char *source, const char *target,
                const struct plx_cp_request *request) PLX_MUST_CHECK;

/* Makes the draft, finds the parts, and takes the space for them. */
int plx_cp_make_draft(struct plx_cp_files *files,
                      const struct plx_cp_request *request) PLX_MUST_CHECK;

/*
 * The draft is complete: gives it size, owner, mode and times of the source, brings it to the
 * device, and gives it the target's name, unless the source has changed or `interrupted` says so.
 */
int plx_cp_finish(struct plx_cp_files *files, bool (*interrupted)(void)) PLX_MUST_CHECK;

/* Removes the draft, if there is one still, and closes everything. */
void plx_cp_close(struct plx_cp_files *files);

/* --- cp_parts.c --------------------------------------------------------------------------------
 */

/*
 * Finds the parts of the source: all of it, or without its holes. To be called when it is known
 * which transfers are direct. 0, or -1: the error was told.
 */
int plx_cp_find_parts(struct plx_cp_files *files, bool keep_holes) PLX_MUST_CHECK;

/* --- cp_copy.c ---------------------------------------------------------------------------------
 */

struct plx_cp_slot;

/* What ended a copy early. */
enum plx_cp_failure {
    PLX_CP_WHOLE, /* nothing did */
    PLX_CP_READ,
    PLX_CP_WRITE,
    PLX_CP_SHRANK,
    PLX_CP_STOPPED
};

/* The copying: the reactor's from its start to its end, but for what is said to be shared. */
struct plx_cp_copy {
    struct plx_cp_files *files;
    const struct plx_cp_request *request;
    struct plx_reactor *reactor;
    struct plx_cp_slot *slots;
    void *plain; /* the buffers of PLX_CP_PLAIN */
    size_t next_part;
    uint64_t next_offset;
    uint32_t in_flight;
    uint16_t group;
    bool can_clear_direct;       /* the policy lets go of it where the kernel refuses a transfer */
    struct plx_cp_slot *waiting; /* found the ring full */
    struct plx_poller poller;    /* armed while there are such */
    /* Read when the reactor has ended. */
    enum plx_cp_failure failure;
    int code;             /* negative errno */
    uint64_t offset;      /* where */
    struct plx_diag diag; /* of a start that failed */
    bool fixed_buffers;   /* the kernel had them registered */
    char mode[24];
    uint64_t copies; /* of blocks, within user space */
    uint64_t copied_bytes;
    /* Written by the reactor, looked at by the main thread. */
    PLX_ATOMIC(uint64_t) done_bytes;
};

/* Bytes of an arena in which the reactor has the buffers of this copy; 0: it would be too large. */
uint64_t plx_cp_arena_bytes(const struct plx_cp_request *request);

/* Memory for a copy. 0, or -ENOMEM; plx_cp_copy_fini undoes both. */
int plx_cp_copy_init(struct plx_cp_copy *copy, struct plx_cp_files *files,
                     const struct plx_cp_request *request) PLX_MUST_CHECK;
void plx_cp_copy_fini(struct plx_cp_copy *copy);

/* For plx_runtime_opts.on_start, `ctx` being the copy. It asks the runtime to stop when done. */
int plx_cp_copy_start(struct plx_reactor *reactor, void *ctx);

/* Tells what a copy that failed met. */
void plx_cp_tell_failure(const struct plx_cp_copy *copy);

#endif
