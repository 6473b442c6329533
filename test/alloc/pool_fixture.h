/* SPDX-License-Identifier: MIT */
/*
 * What the programs that test pools share: an arena of small pages, a pool in it, how its state is
 * asserted, and how a program's end by an assertion is seen.
 */
#ifndef POLLUX_TEST_POOL_FIXTURE_H
#define POLLUX_TEST_POOL_FIXTURE_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "alloc/pool.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

struct fixture {
    struct plx_arena arena;
    struct plx_pool pool;
};

/* An arena of 4K pages anywhere. */
static inline int make_arena(struct plx_arena *arena, size_t bytes, bool prefault)
{
    struct plx_arena_opts opts;

    plx_arena_opts_init(&opts);
    opts.page_2m = PLX_WANT_NO;
    opts.thp = PLX_WANT_NO;
    opts.lock = PLX_WANT_NO;
    opts.prefault = prefault;
    return plx_arena_init(arena, bytes, PLX_NODE_ANY, &opts, NULL);
}

/* A pool in an arena of its own; `opts` may be NULL. Also used in children, so it asserts nothing.
 */
static inline int make_pool(struct fixture *f, const struct plx_pool_quota *quota,
                            const struct plx_pool_opts *opts)
{
    struct plx_pool_needs needs = plx_pool_measure(quota, opts);
    int code = make_arena(&f->arena, needs.bytes, true);

    return code < 0 ? code : plx_pool_init(&f->pool, &f->arena, quota, opts, NULL);
}

/* Asserts that nothing is in use, that the pool is sound, and ends both. */
static inline void end_pool(struct fixture *f)
{
    const char *wrong = plx__pool_check(&f->pool);

    if (wrong != NULL)
        fail_msg("%s", wrong);
    assert_int_equal(plx_pool_fini(&f->pool), 0);
    plx_arena_fini(&f->arena);
}

static inline void assert_sound(const struct plx_pool *pool)
{
    const char *wrong = plx__pool_check(pool);

    if (wrong != NULL)
        fail_msg("%s", wrong);
}

static inline struct plx_pool_class_stats class_stats(const struct plx_pool *pool, uint32_t index)
{
    struct plx_pool_stats stats;

    plx_pool_read_stats(pool, &stats);
    return stats.classes[index];
}

/*
 * Asserts that `part`, run in a child, ends by an assertion whose text has `text`. The child
 * doesn't have this process's arenas and makes its own.
 */
static inline void assert_aborts(void (*part)(void), const char *text)
{
    char said[1024] = "";
    size_t length = 0;
    ssize_t got;
    int status;
    int ends[2];

    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const struct rlimit no_core = {0, 0};
        (void)setrlimit(RLIMIT_CORE, &no_core);
        (void)dup2(ends[1], STDERR_FILENO);
        part();
        _exit(0);
    }
    close(ends[1]);
    while (length < sizeof(said) - 1 &&
           (got = read(ends[0], said + length, sizeof(said) - 1 - length)) > 0)
        length += (size_t)got;
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT || strstr(said, text) == NULL)
        fail_msg("status %#x, said '%s', expected '%s'", (unsigned int)status, said, text);
}

static inline uint64_t random_next(uint64_t *random)
{
    uint64_t z = *random += 0x9e3779b97f4a7c15u;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* POLLUX_TEST_SEED, or another one each time; printed, so that a failure can be had again. */
static inline uint64_t take_seed(void)
{
    const char *text = getenv("POLLUX_TEST_SEED");
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t clock = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    uint64_t seed = text != NULL ? strtoull(text, NULL, 0) : random_next(&clock);
    printf("POLLUX_TEST_SEED=%llu\n", (unsigned long long)seed);
    fflush(stdout);
    return seed;
}

#endif
