/* SPDX-License-Identifier: MIT */
#include "test/alloc/mem_fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int mem_open(struct mem *m, const struct plx_pool_quota *quota, const struct plx_pool_opts *opts)
{
    struct plx_pool_needs needs = plx_pool_measure(quota, opts);
    struct plx_arena_opts arena_opts;

    memset(m, 0, sizeof(*m));
    plx_arena_opts_init(&arena_opts);
    arena_opts.page_2m = PLX_WANT_NO;
    arena_opts.thp = PLX_WANT_NO;
    arena_opts.lock = PLX_WANT_NO;
    uint64_t bytes = needs.bytes + plx_bytes_home_measure(needs.block_bytes);
    int rc = plx_arena_init(&m->arena, bytes, PLX_NODE_ANY, &arena_opts, NULL);
    if (rc != 0)
        return rc;
    rc = plx_pool_init(&m->pool, &m->arena, quota, opts, NULL);
    if (rc == 0)
        rc = plx_bytes_home_init(&m->home, &m->pool, &m->arena, NULL);
    if (rc != 0)
        plx_arena_fini(&m->arena);
    return rc;
}

const char *mem_close(struct mem *m)
{
    mem_refill(m);
    const char *wrong = plx__bytes_home_check(&m->home);
    plx_bytes_home_fini(&m->home);
    if (wrong == NULL)
        wrong = mem_check_holders(m, NULL, 0);
    if (wrong == NULL)
        wrong = plx__pool_check(&m->pool);
    if (plx_pool_fini(&m->pool) != 0 && wrong == NULL)
        wrong = "blocks did not come home";
    plx_arena_fini(&m->arena);
    return wrong;
}

uint32_t mem_in_use(const struct mem *m)
{
    struct plx_pool_stats stats;
    uint32_t sum = 0;

    plx_pool_read_stats(&m->pool, &stats);
    for (uint32_t c = 0; c < PLX_POOL_CLASSES; c++)
        sum += stats.classes[c].in_use;
    return sum;
}

uint32_t mem_left(const struct mem *m, size_t bytes)
{
    struct plx_pool_stats stats;
    const struct plx_pool_class_stats *class = &stats.classes[plx_pool_class_index(bytes)];

    plx_pool_read_stats(&m->pool, &stats);
    return class->capacity - class->in_use;
}

void mem_drain(struct mem *m, size_t bytes, uint32_t leave)
{
    while (mem_left(m, bytes) > leave) {
        void **block = plx_pool_acquire(&m->pool, bytes);
        *block = m->drained;
        m->drained = block;
    }
}

void mem_refill_one(struct mem *m)
{
    void **block = m->drained;
    if (block == NULL)
        return;
    m->drained = *block;
    plx_pool_release(&m->pool, block);
}

void mem_refill(struct mem *m)
{
    while (m->drained != NULL)
        mem_refill_one(m);
}

const char *mem_check_holders(const struct mem *m, const struct plx_bytes *slices, size_t count)
{
    const char *wrong = plx__bytes_home_check(&m->home);
    uint32_t *holders = calloc(m->pool.pages, sizeof(*holders));

    if (wrong != NULL || holders == NULL) {
        free(holders);
        return wrong != NULL ? wrong : "out of memory";
    }
    for (size_t i = 0; i <= count; i++) {
        const uint8_t *ptr = i < count ? slices[i].ptr : m->home.pack;
        if (ptr == NULL || (i < count && slices[i].home == NULL))
            continue;
        const uint8_t *block = plx_pool_block_of(&m->pool, ptr, NULL);
        holders[(size_t)(block - m->pool.base) / PLX_PAGE] += PLX__BYTES_HOLDER;
    }
    for (uint64_t page = 0; page < m->pool.pages; page++) {
        if ((m->home.counts[page] & ~PLX__BYTES_PACKED) != holders[page])
            wrong = "a block is counted for more holders, or fewer, than there are";
    }
    free(holders);
    return wrong;
}

uint64_t mem_seed(void)
{
    const char *text = getenv("POLLUX_TEST_SEED");
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t seed = text != NULL ? strtoull(text, NULL, 0)
                                 : (uint64_t)now.tv_sec * 1000003u ^ (uint64_t)now.tv_nsec;
    printf("POLLUX_TEST_SEED=%llu\n", (unsigned long long)seed);
    fflush(stdout);
    return seed;
}

uint64_t mem_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void mem_fill_random(uint64_t *state, void *to, size_t len)
{
    uint8_t *bytes = to;
    uint64_t drawn = 0;

    for (size_t i = 0; i < len; i++, drawn >>= 2) {
        if (i % 32 == 0)
            drawn = mem_random(state);
        bytes[i] = (uint8_t)('a' + (drawn & 3));
    }
}

int mem_in_child(void (*part)(void))
{
    int status = 0;

    fflush(NULL);
    pid_t child = fork();
    if (child < 0)
        return -1;
    if (child == 0) {
        const struct rlimit no_core = {0, 0};
        (void)setrlimit(RLIMIT_CORE, &no_core);
        int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
        if (nowhere >= 0)
            (void)dup2(nowhere, STDERR_FILENO);
        part();
        _exit(0);
    }
    return waitpid(child, &status, 0) == child ? status : -1;
}
