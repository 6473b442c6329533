/* SPDX-License-Identifier: MIT */
/*
 * All that Pollux asks of the operating system for memory, as a table of calls: what they ask, they
 * ask of Linux in pages.c alone, and a test hands over a table of its own to make what its machine
 * can't (a second node, a call refused, hugepages of 1 GiB).
 *
 * Each call returns 0 or a count, or negative errno. Threads: any. Cost: set-up only.
 */
#ifndef POLLUX_PAGES_INTERNAL_H
#define POLLUX_PAGES_INTERNAL_H

#include <sys/mman.h>

#include "alloc/arena.h"

/* Linux 5.14; the number is the kernel's, for C libraries whose headers are older. */
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define PLX__BYTES_2M ((size_t)1 << 21)
#define PLX__BYTES_1G ((size_t)1 << 30)
/* Highest node number + 1 that a Linux kernel can be built for (CONFIG_NODES_SHIFT 10). */
#define PLX__NODES_MAX 1024

struct plx__pages_calls {
    /*
     * Maps private anonymous memory. page_bytes PLX_PAGE: addresses only, that fault until `open`.
     * 2 MiB or 1 GiB: hugetlb pages, readable and writable. *out is NULL on failure.
     */
    int (*map)(size_t bytes, size_t page_bytes, void **out);
    /* Makes a part of what was mapped readable and writable. */
    int (*open)(void *base, size_t bytes);
    int (*unmap)(void *base, size_t bytes);
    /* Pages of the range come from `node` alone. Before any touch. */
    int (*bind)(void *base, size_t bytes, int node);
    /* madvise(2). */
    int (*advise)(void *base, size_t bytes, int advice);
    /* Keeps the range from being paged out; with on_fault without taking pages now. */
    int (*lock)(void *base, size_t bytes, bool on_fault);
    int (*unlock)(void *base, size_t bytes);
    /* The node of each page, or the negative errno that move_pages(2) says of it. */
    int (*nodes_of)(void **pages, int *nodes, size_t count);
    /* How much of the range is in transparent hugepages, in bytes. */
    int64_t (*thp_bytes)(const void *base, size_t bytes);
    /* RLIMIT_MEMLOCK in bytes; INT64_MAX when there is none. */
    int64_t (*memlock_limit)(void);
    /* A small file (of sysfs or procfs) as a string, cut at capacity - 1. Returns its length. */
    int64_t (*read_file)(const char *path, char *text, size_t capacity);
};

/* The table that asks Linux. */
extern const struct plx__pages_calls plx__pages_linux;

/* The nodes with memory as the kernel lists them ("0-1,3"), into `list`. */
int plx__pages_memory_nodes(const struct plx__pages_calls *calls, char *list, size_t capacity);

/* Whether a list as the kernel writes it ("0-1,3") names `number`. */
bool plx__pages_list_has(const char *list, int number);

/* How many numbers such a list names. */
int plx__pages_list_count(const char *list);

/* Free hugetlb pages of a size, on `node` or (PLX_NODE_ANY) in all. -ENOENT: no such size here. */
int64_t plx__pages_hugetlb_free(const struct plx__pages_calls *calls, int node, size_t page_bytes);

/*
 * Bytes that can be taken on `node` without pushing anything but page cache out; PLX_NODE_ANY: on
 * the whole machine.
 */
int64_t plx__pages_available(const struct plx__pages_calls *calls, int node);

/* plx_arena_init with a table of calls, which must outlive the arena. */
PLX_MUST_CHECK int plx__arena_init_with(struct plx_arena *arena, size_t bytes, int node,
                                        const struct plx_arena_opts *opts, struct plx_diag *diag,
                                        const struct plx__pages_calls *calls);

#endif
