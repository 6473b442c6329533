/* SPDX-License-Identifier: MIT */
/*
 * The program that includes this stands in for the system's allocator and counts its calls, those
 * of all threads. Included once in a program, by the file that has main.
 *
 * Where a sanitizer stands in for the allocator itself nothing is counted: COUNTS_CALLS is not
 * defined then.
 */
#ifndef POLLUX_TEST_HEAP_CALLS_H
#define POLLUX_TEST_HEAP_CALLS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "alloc/base.h"

static PLX_ATOMIC(uint64_t) heap_calls_made;

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define COUNTS_CALLS 1
#endif
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#undef COUNTS_CALLS
#endif
#endif

#ifdef COUNTS_CALLS
/* The C library's own, by the names that it keeps for such as this. */
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *memory, size_t bytes);
void *__libc_memalign(size_t align, size_t bytes);
void __libc_free(void *memory);

void *malloc(size_t bytes)
{
    plx_fetch_add_relaxed(&heap_calls_made, 1);
    return __libc_malloc(bytes);
}

void *calloc(size_t count, size_t bytes)
{
    plx_fetch_add_relaxed(&heap_calls_made, 1);
    return __libc_calloc(count, bytes);
}

void *realloc(void *memory, size_t bytes)
{
    plx_fetch_add_relaxed(&heap_calls_made, 1);
    return __libc_realloc(memory, bytes);
}

void *aligned_alloc(size_t align, size_t bytes)
{
    plx_fetch_add_relaxed(&heap_calls_made, 1);
    return __libc_memalign(align, bytes);
}

void free(void *memory)
{
    plx_fetch_add_relaxed(&heap_calls_made, 1);
    __libc_free(memory);
}
#endif

/* Relaxed: the count alone is asked for. */
static uint64_t heap_calls(void)
{
    return plx_load_relaxed(&heap_calls_made);
}

static void skip_unless_counting(void)
{
#ifndef COUNTS_CALLS
    print_message("skipped: a sanitizer stands in for the allocator itself\n");
    skip();
#endif
}

#endif
