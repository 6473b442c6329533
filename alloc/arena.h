/* SPDX-License-Identifier: MIT */
/*
 * An arena: one region of memory on one NUMA node, in the largest pages that could be had,
 * prefaulted, locked, and with the nodes of its pages verified. Everything a reactor uses for its
 * work is carved from its arena.
 *
 * Words. The *ladder* is the order in which page sizes are tried; each size is a *rung*. A *want*
 * says how much a thing is wanted: no, try, require. A *note* is one thing that was tried and not
 * had, with the reason: the arena keeps them, so that no fallback is silent. A page is *off its
 * node* when it lies on another node than the arena's.
 *
 * Threads: init, fini and carve by one thread at a time, the arena's owner; verify and explain by
 * any thread while nobody carves.
 */
#ifndef POLLUX_ARENA_H
#define POLLUX_ARENA_H

#include "alloc/base.h"
#include "alloc/want.h"

PLX_EXTERN_C_BEGIN

/* The largest arena, in bytes: 1 TiB. */
#define PLX_ARENA_BYTES_MAX ((uint64_t)1 << 40)
/* For `node`: any node will do. */
#define PLX_NODE_ANY (-1)
/* How many notes an arena has room for; one init writes fewer. */
#define PLX_ARENA_NOTES 10
/* Bytes of one note, its terminator included. */
#define PLX_ARENA_NOTE_BYTES 240

/* The rungs of the ladder, the largest first. */
enum plx_rung {
    PLX_RUNG_1G = 0,  /* reserved hugepages of 1 GiB (hugetlb) */
    PLX_RUNG_2M = 1,  /* reserved hugepages of 2 MiB (hugetlb) */
    PLX_RUNG_THP = 2, /* transparent hugepages of 2 MiB, at least a part */
    PLX_RUNG_4K = 3,  /* base pages */
};

struct plx_arena_opts {
    /*
     * The ladder. At most one rung may be PLX_WANT_REQUIRE, and then it is the only one tried.
     * Otherwise every rung that says PLX_WANT_TRY is tried from the largest on, and 4K pages come
     * last. Rungs whose page is larger than the arena are skipped (a note), or are an error when
     * required. Defaults: no, try, try.
     */
    enum plx_want page_1g;
    enum plx_want page_2m;
    enum plx_want thp;
    /*
     * That the memory is on `node`, where one is named. Require: init fails unless the memory was
     * bound to the node, or was seen to lie there, or there is only one node. Try: what could not
     * be had is a note. No: `node` is only what plx_arena_verify compares with. Default: require.
     */
    enum plx_want bind;
    /* Never paged out. Hugetlb pages never are; others need mlock. Default: try. */
    enum plx_want lock;
    /* Take every page now rather than at its first touch. Default: true. */
    bool prefault;
};

/* One thing that was degraded, and why. */
struct plx_arena_note {
    char text[PLX_ARENA_NOTE_BYTES];
};

struct plx__pages_calls;

/*
 * In the caller's memory, its fields to be read and not written. It may be moved, as nothing points
 * into it.
 */
struct plx_arena {
    /* Read by all; written by init. */
    unsigned char *base; /* the first byte, aligned to the page obtained, and to 2 MiB at least */
    size_t bytes;        /* a multiple of the rung's page */
    /* Written by carve. */
    size_t used; /* bytes from `base` that were carved or skipped for alignment */
    /* Cold; written by init. */
    size_t asked_bytes;     /* what the caller asked for */
    size_t page_bytes;      /* 1 GiB, 2 MiB or 4096; 2 MiB for PLX_RUNG_THP */
    size_t thp_bytes;       /* PLX_RUNG_THP: bytes seen in transparent hugepages, 0 if not looked */
    int64_t pages_off_node; /* as init saw it: a count, or why it could not be had, as -errno */
    int32_t node;           /* PLX_NODE_ANY: none was named */
    enum plx_rung rung;     /* what was obtained */
    bool bound;             /* the kernel takes pages from `node` only */
    bool prefaulted;        /* every page is there */
    bool locked;            /* never paged out, whether by mlock or by the pages' nature */
    uint8_t note_count;
    void *mapping; /* what was mapped: the region and its guards */
    size_t mapping_bytes;
    const struct plx__pages_calls *calls;
    struct plx_arena_note notes[PLX_ARENA_NOTES];
};

/* Fills `opts` with the defaults named beside its fields. */
PLX_API PLX_COLD void plx_arena_opts_init(struct plx_arena_opts *opts);

/*
 * Maps an arena of `bytes` on `node` into `arena`; the memory reads as zero.
 * Shapes: bytes from 1 to PLX_ARENA_BYTES_MAX, rounded up to the page of the rung obtained (2 MiB
 * for transparent hugepages), so that more than was asked may be had. `node` ≥ 0 or PLX_NODE_ANY,
 * which is noted. `opts` NULL: the defaults. `diag` NULL allowed.
 * Ownership: `arena` is the caller's and is overwritten; `opts` is read before the return. The
 * mapping is given back by plx_arena_fini. Forked children don't have it (MADV_DONTFORK).
 * Affinity: any thread. Memory is bound by page policy, so the caller need not run on the node.
 * Cost: set-up; enters the kernel, and zeroes the whole region when prefaulting.
 * Errors, after which `arena` is empty (plx_arena_fini may be called on it) and nothing is mapped:
 *   -EINVAL  `bytes` is 0 or too large; `node` < -1; a want out of range; two rungs required; the
 *            required rung's page is larger than the arena; transparent hugepages required without
 *            prefault, which alone can show them
 *   -ENODEV  `node` does not exist or has no memory; `diag` names those that have
 *   -ENOMEM  the required hugepages could not be had, or the node has not enough memory free, or
 *            `lock` is required and RLIMIT_MEMLOCK is too small
 *   -EPERM   `lock` is required and RLIMIT_MEMLOCK is 0; or binding was refused
 *   -EIO     `bind` is required and pages lie off their node
 *   others   as the kernel returned them; `diag` names the call
 * Source: mmap(2), mbind(2), madvise(2), mlock2(2), move_pages(2); the kernel's
 * Documentation/admin-guide/mm/hugetlbpage.rst and transhuge.rst.
 */
PLX_API PLX_COLD PLX_MUST_CHECK int plx_arena_init(struct plx_arena *arena, size_t bytes, int node,
                                                   const struct plx_arena_opts *opts,
                                                   struct plx_diag *diag);

/*
 * Gives the memory back and leaves `arena` empty; on an empty (zeroed) arena it does nothing.
 * Everything carved ends with it. What the kernel still uses (registered buffers, operations in
 * flight) has to be withdrawn before. Cost: set-up.
 */
PLX_API PLX_COLD void plx_arena_fini(struct plx_arena *arena);

/*
 * Takes the next `bytes` of the arena, aligned to `align`. The memory reads as zero.
 * Shapes: bytes ≥ 1; align a power of two, of any size (both are the programmer's to keep).
 * Ownership: the caller's until plx_arena_fini; there is no freeing of a part.
 * Affinity: the arena's owner. Cost: set-up by intent; a few instructions, no system call when the
 * arena is prefaulted.
 * Errors: NULL when so much is not left; nothing was taken then.
 */
PLX_API PLX_MUST_CHECK void *plx_arena_carve(struct plx_arena *arena, size_t bytes, size_t align);

/* Bytes not yet carved: what a carve with an alignment of 1 could have. 0 for an empty arena. */
PLX_API size_t plx_arena_left(const struct plx_arena *arena);

/*
 * Asks the kernel where the arena's pages are and returns how many lie off the arena's node.
 * Pages not yet taken (no prefault) are on no node and don't count. 0 where no node was named.
 * Units: pages of the rung; base pages for transparent hugepages, which may be split.
 * Cost: enters the kernel; about a tenth of a microsecond a page.
 * Errors: -EPERM, -ENOSYS: asking is refused here (containers do that). Others as move_pages(2).
 */
PLX_API PLX_COLD PLX_MUST_CHECK int64_t plx_arena_verify(const struct plx_arena *arena);

/*
 * Describes the arena in text: a line with its size, pages, node, prefault, lock and pages off
 * their node as init saw them, and a line for each thing that was degraded. Cost: set-up.
 */
PLX_API PLX_COLD void plx_arena_explain(const struct plx_arena *arena, plx_text_fn sink, void *ctx);

/* "1G", "2M", "thp", "4K"; "?" for what is no rung. Static memory. */
PLX_API PLX_COLD const char *plx_rung_name(enum plx_rung rung);

PLX_EXTERN_C_END

#endif
