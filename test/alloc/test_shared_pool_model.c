/* SPDX-License-Identifier: MIT */
/*
 * The header of the shared pool as it is, on a simulated weak memory: all that two or three threads
 * may do with a few blocks, that no order in it may be weaker, and what its tags are for.
 */
#include "test/model/weakmem_access.h"

#include "alloc/shared_pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#define BLOCKS_MAX        3
#define THREADS_MAX       3
#define EXECUTIONS_MAX    2000000
#define NON_RELAXED_SITES 2
#define FREE_ROOM         -1

/*
 * What each thread does, a letter for each operation: a acquire, r release what it got first, R
 * release what it got last, 0 or 1 release this block, which it was given at the beginning, w
 * release block 0 whosever it is. What it holds at the end it keeps.
 */
struct scenario {
    const char *name;
    const char *threads[THREADS_MAX];
    uint32_t blocks;
    bool in_use_shown; /* the bytes of the pages are part of it, and not only the stack */
    bool counts_shown;
    uint32_t given; /* how many blocks are in use at the beginning */
    uint64_t tag_step;
    /* of the execution */
    int owner[BLOCKS_MAX]; /* the thread, or FREE_ROOM */
    int wild_releases;     /* that succeeded */
    int acquires;
};

static struct plx_shared_pool pool;
static struct plx_arena arena;       /* as far as carving goes */
static uint64_t content[BLOCKS_MAX]; /* stands for the bytes of each block */

static void set_up(void *ctx)
{
    struct scenario *s = ctx;
    const struct plx_pool_quota quota = {{s->blocks}};
    struct plx__shared_class *c = &pool.classes[0];
    arena.used = 0;
    if (plx_shared_pool_init(&pool, &arena, &quota, NULL) < 0)
        abort();
    for (uint32_t i = 0; i < BLOCKS_MAX; i++) {
        s->owner[i] = FREE_ROOM;
        content[i] = 0;
    }
    for (uint32_t i = 0; i < s->given; i++) {
        pool.map[i] = PLX__POOL_HELD;
        c->top = pool.links[i];
        c->in_use++;
    }
    s->wild_releases = s->acquires = 0;

    if (!s->counts_shown) {
        wm_quiet(&c->in_use, sizeof(c->in_use));
        wm_quiet(&c->peak, sizeof(c->peak));
        wm_quiet(&c->acquires, sizeof(c->acquires));
        wm_quiet(&c->misses, sizeof(c->misses));
    }
    for (uint32_t i = 0; i < s->blocks && !s->in_use_shown; i++)
        wm_quiet(&pool.map[i], sizeof(pool.map[i]));
}

static int page_of(const void *block)
{
    return (int)(((uintptr_t)block - (uintptr_t)pool.base) / PLX_PAGE);
}

/* The number of the block's page, or -1. */
static int acquire(struct scenario *s, int self)
{
    int page;
    if (s->tag_step == PLX__SHARED_TAG) {
        void *block = plx_shared_pool_acquire(&pool, 1);
        if (block == NULL)
            return -1;
        page = page_of(block);
    } else {
        page = (int)plx__shared_pop(&pool.classes[0].top, pool.links, s->tag_step) - 1;
        if (page < 0)
            return -1;
        pool.map[page] = PLX__POOL_HELD; /* quiet in these scenarios */
    }
    wm_check(page < (int)s->blocks, "a block that isn't one");
    s->acquires++;
    if (s->wild_releases == 0)
        wm_check(s->owner[page] == FREE_ROOM, "a block has two owners");
    s->owner[page] = self;
    wm_write(&content[page], 100 + (uint64_t)self);
    return page;
}

static void release(struct scenario *s, int self, int page)
{
    wm_check(wm_read(&content[page]) == 100 + (uint64_t)self, "another wrote to the block");
    wm_check(s->owner[page] == self, "another took the block");
    s->owner[page] = FREE_ROOM;
    if (s->tag_step != PLX__SHARED_TAG)
        plx__shared_push(&pool.classes[0].top, pool.links, (uint64_t)page + 1);
    else
        wm_check(plx_shared_pool_try_release(&pool, pool.base + (size_t)page * PLX_PAGE) == 0,
                 "its owner may not release a block");
}

static void release_given(struct scenario *s, int self, int page)
{
    s->owner[page] = self;
    wm_write(&content[page], 100 + (uint64_t)self);
    release(s, self, page);
}

static void run_thread(struct scenario *s, int self)
{
    int held[8];
    int first = 0;
    int count = 0;
    for (const char *step = s->threads[self]; *step != '\0'; step++) {
        int page = -1;
        if (*step == 'a' && (page = acquire(s, self)) >= 0)
            held[count++] = page;
        else if (*step == 'r' && first < count)
            release(s, self, held[first++]);
        else if (*step == 'R' && first < count)
            release(s, self, held[--count]);
        else if (*step == '0' || *step == '1')
            release_given(s, self, *step - '0');
        else if (*step == 'w')
            s->wild_releases += plx_shared_pool_try_release(&pool, pool.base) == 0;
    }
}

static void run_0(void *ctx)
{
    run_thread(ctx, 0);
}

static void run_1(void *ctx)
{
    run_thread(ctx, 1);
}

static void run_2(void *ctx)
{
    run_thread(ctx, 2);
}

static void check_counts(const struct scenario *s, uint32_t held)
{
    struct plx__shared_class *c = &pool.classes[0];
    wm_check(plx_load_relaxed(&c->in_use) == held, "in_use is wrong");
    wm_check(plx_load_relaxed(&c->acquires) == (uint64_t)s->acquires, "acquires are miscounted");
    wm_check(plx_load_relaxed(&c->peak) >= (s->acquires > 0 ? held : 0), "the peak is too low");
    wm_check(plx_load_relaxed(&c->peak) <= s->blocks, "the peak is too high");
}

static void finish(void *ctx)
{
    struct scenario *s = ctx;
    uint32_t found = 0;
    uint32_t held = 0;
    uint32_t seen = 0;
    /* Of wild releases one succeeds, and one more for each owner whose block it hits. */
    if (s->in_use_shown && s->given > 0)
        wm_check(s->wild_releases >= 1 && s->wild_releases <= 1 + s->acquires,
                 "a double release is not caught");
    if (s->wild_releases > 1)
        return;
    for (uint32_t i = 0; i < s->blocks; i++)
        held += s->owner[i] != FREE_ROOM;
    if (s->tag_step == PLX__SHARED_TAG)
        check_counts(s, held);
    for (; found <= s->blocks; found++) {
        uint64_t number = plx__shared_pop(&pool.classes[0].top, pool.links, PLX__SHARED_TAG);
        if (number == 0)
            break;
        wm_check(s->owner[number - 1] == FREE_ROOM, "a block in use is on the stack");
        wm_check((seen & 1u << number) == 0, "a block is on the stack twice");
        seen |= 1u << number;
    }
    wm_check(found + held == s->blocks, "a block is lost");
}

/* The first ones also show that each order is needed. */
static struct scenario scenarios[] = {
    {.name = "1 block, 2 threads, all of it",
     .threads = {"ar", "ar"},
     .blocks = 1,
     .in_use_shown = true},
    {.name = "2 blocks, 2 threads", .threads = {"aa", "ar"}, .blocks = 2},
    {.name = "2 blocks, one puts them back in another order",
     .threads = {"aarR", "a"},
     .blocks = 2},
    {.name = "2 blocks, one put above the other's",
     .threads = {"0", "1aa"},
     .blocks = 2,
     .given = 2},
    {.name = "1 block, 2 threads want what a third releases",
     .threads = {"0", "a", "a"},
     .blocks = 1,
     .given = 1},
    {.name = "2 blocks, 2 threads want what a third releases",
     .threads = {"0", "a", "a"},
     .blocks = 2,
     .given = 1},
    {.name = "counts of 2 acquires", .threads = {"a", "a"}, .blocks = 2, .counts_shown = true},
    {.name = "counts of an acquire and a release",
     .threads = {"0", "a"},
     .blocks = 2,
     .counts_shown = true,
     .given = 1},
    {.name = "2 threads release one block",
     .threads = {"w", "w"},
     .blocks = 1,
     .in_use_shown = true,
     .given = 1},
    {.name = "2 threads release one block, a third acquires",
     .threads = {"w", "w", "a"},
     .blocks = 1,
     .in_use_shown = true,
     .given = 1},
};

#define SCENARIOS_OF_ORDERS 6

#define SCENARIOS (sizeof(scenarios) / sizeof(scenarios[0]))

static struct wm_result explore(struct scenario *scenario, int weakened_site, uint64_t tag_step)
{
    struct wm_program program = {
        .set_up = set_up,
        .threads = {run_0, run_1, run_2},
        .finish = finish,
        .ctx = scenario,
        .weakened_site = weakened_site,
        .executions_max = EXECUTIONS_MAX,
    };
    struct wm_result result;
    scenario->tag_step = tag_step;
    while (program.thread_count < THREADS_MAX && scenario->threads[program.thread_count] != NULL)
        program.thread_count++;
    wm_explore(&program, &result);
    return result;
}

static void shared_pool_every_execution_is_right(void **state)
{
    (void)state;
    for (size_t i = 0; i < SCENARIOS; i++) {
        struct wm_result result = explore(&scenarios[i], 0, PLX__SHARED_TAG);
        print_message("%s: %llu executions\n", scenarios[i].name,
                      (unsigned long long)result.executions);
        if (result.violated)
            print_error("violation: %s\n", result.violation);
        assert_true(result.complete);
        if (i < SCENARIOS_OF_ORDERS)
            assert_int_equal(result.site_count, NON_RELAXED_SITES);
    }
}

static void shared_pool_any_weaker_order_is_wrong(void **state)
{
    (void)state;
    struct wm_result intact = explore(&scenarios[0], 0, PLX__SHARED_TAG);
    for (int i = 0; i < intact.site_count; i++) {
        for (size_t s = 0; s < SCENARIOS_OF_ORDERS; s++) {
            struct wm_result weak = explore(&scenarios[s], intact.sites[i], PLX__SHARED_TAG);
            print_message("shared_pool.h:%d relaxed, %s: %s, execution %llu\n", intact.sites[i],
                          scenarios[s].name, weak.violated ? weak.violation : "nothing found",
                          (unsigned long long)weak.executions);
            assert_true(weak.violated);
        }
    }
}

static void shared_pool_without_tags_gives_a_block_twice(void **state)
{
    (void)state;
    struct scenario aba = {
        .name = "one takes two and puts the first back", .threads = {"aa", "aar"}, .blocks = 2};
    struct wm_result result = explore(&aba, 0, 0);
    print_message("no tag: %s, execution %llu\n", result.violation,
                  (unsigned long long)result.executions);
    assert_true(result.violated);
    result = explore(&aba, 0, PLX__SHARED_TAG);
    assert_true(result.complete);
}

static void model_unusable_is_skipped(void **state)
{
    (void)state;
    print_message("%s\n", wm_unusable());
    skip();
}

int main(void)
{
    const struct CMUnitTest skipped[] = {cmocka_unit_test(model_unusable_is_skipped)};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shared_pool_every_execution_is_right),
        cmocka_unit_test(shared_pool_any_weaker_order_is_wrong),
        cmocka_unit_test(shared_pool_without_tags_gives_a_block_twice),
    };
    arena.bytes = PLX_POOL_BLOCK_MAX;
    arena.base = aligned_alloc(PLX_POOL_BLOCK_MAX, arena.bytes);
    if (arena.base == NULL)
        return 1;
    int failed = wm_unusable() != NULL ? cmocka_run_group_tests(skipped, NULL, NULL)
                                       : cmocka_run_group_tests(tests, NULL, NULL);
    free(arena.base);
    return failed;
}
