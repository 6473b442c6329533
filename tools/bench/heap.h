/* SPDX-License-Identifier: MIT */
/*
 * The pool's peers: allocators of the heap, each in one library, all in this process at once.
 */
#ifndef POLLUX_TOOLS_BENCH_HEAP_H
#define POLLUX_TOOLS_BENCH_HEAP_H

#include "tools/bench/bench.h"

#define PLX_BENCH_HEAPS_MAX 3

struct plx_bench_heap {
    const char *name; /* "malloc", the C library's; "mimalloc", "jemalloc" */
    void *(*take)(size_t bytes);
    void (*give)(void *block);
};

/*
 * Fills `heaps`, room for PLX_BENCH_HEAPS_MAX, with those there are, and says of the others that
 * they are left out. What is loaded for it stays until the process ends. Returns how many.
 */
uint32_t plx_bench_heaps(struct plx_bench *bench, struct plx_bench_heap *heaps);

/*
 * Before anything else is done: starts the program anew, its arguments those of the command, where
 * that is the only way to load jemalloc. It keeps its data in static thread-local storage, more
 * than the C library spares for what is loaded later, unless GLIBC_TUNABLES asked for it when the
 * program began. Returns if that is not needed, or would not help.
 */
void plx_bench_heaps_prepare(int argc, char **argv);

#endif
