/* SPDX-License-Identifier: MIT */
/* The shared pool as one thread sees it. */
#include "alloc/shared_pool.h"

#include "test/alloc/pool_fixture.h"

/* Two blocks of each class but 8K and 1M. */
static const struct plx_pool_quota some = {{2, 0, 2, 2, 2, 2, 2, 2, 0}};

static struct plx_arena arena;
static struct plx_shared_pool pool;

static int make_shared_pool(const struct plx_pool_quota *quota)
{
    int code = make_arena(&arena, plx_shared_pool_measure(quota).bytes, true);
    return code < 0 ? code : plx_shared_pool_init(&pool, &arena, quota, NULL);
}

static int set_up(void **state)
{
    (void)state;
    return make_shared_pool(&some);
}

/* Every case ends with all blocks back. */
static int tear_down(void **state)
{
    (void)state;
    const char *wrong = plx__shared_pool_check(&pool);
    uint64_t out = plx_shared_pool_fini(&pool);
    plx_arena_fini(&arena);
    if (wrong != NULL || out != 0)
        print_message("%s, %llu blocks out\n", wrong, (unsigned long long)out);
    return wrong != NULL || out != 0;
}

static struct plx_shared_pool_class_stats stats_of(uint32_t index)
{
    struct plx_shared_pool_stats stats;
    plx_shared_pool_read_stats(&pool, &stats);
    return stats.classes[index];
}

static void init_arguments_out_of_range_are_refused(void **state)
{
    (void)state;
    struct plx_shared_pool other;
    struct plx_diag diag = {0};
    size_t used = arena.used;
    const struct plx_pool_quota none = {0};
    const struct plx_pool_quota huge = {{0, 0, 0, 0, 0, 0, 0, 0, 1u << 20}};
    assert_int_equal(plx_shared_pool_init(&other, &arena, &none, &diag), -EINVAL);
    assert_int_equal(diag.code, -EINVAL);
    assert_string_equal(diag.what, "quota");
    assert_int_equal(plx_shared_pool_init(&other, &arena, &huge, &diag), -EINVAL);
    assert_int_equal(plx_shared_pool_init(&other, &arena, &huge, NULL), -EINVAL);
    assert_int_equal(plx_shared_pool_measure(&huge).bytes, 0);
    assert_int_equal(arena.used, used);
    assert_null(plx_shared_pool_acquire(&other, 1));
    assert_int_equal(plx_shared_pool_fini(&other), 0);
}

static void init_arena_short_by_a_byte_takes_nothing(void **state)
{
    (void)state;
    struct plx_shared_pool other;
    struct plx_diag diag = {0};
    struct plx_arena full;
    struct plx_pool_needs needs = plx_shared_pool_measure(&some);
    assert_int_equal(needs.bytes, needs.block_bytes + needs.table_bytes);
    assert_int_equal(make_arena(&full, needs.bytes, true), 0);
    full.bytes = needs.bytes - 1;
    assert_int_equal(plx_shared_pool_init(&other, &full, &some, &diag), -ENOMEM);
    assert_string_equal(diag.what, "arena");
    assert_int_equal(full.used, 0);
    assert_null(plx_shared_pool_acquire(&other, 1));
    full.bytes = needs.bytes;
    assert_int_equal(plx_shared_pool_init(&other, &full, &some, &diag), 0);
    assert_int_equal(full.used, needs.bytes);
    full.bytes = plx_round_up(needs.bytes, PLX_PAGE);
    plx_arena_fini(&full);
}

static void blocks_are_aligned_apart_and_inside_one_chunk(void **state)
{
    (void)state;
    static const struct plx_pool_quota quota = {{99, 49, 25, 13, 7, 5, 3, 1, 1100}};
    struct plx_pool_needs needs = plx_shared_pool_measure(&quota);
    struct plx_arena large;
    struct plx_shared_pool other;
    assert_int_equal(make_arena(&large, needs.bytes + 2 * MIB, false), 0);
    assert_non_null(plx_arena_carve(&large, 5001, 1));
    assert_int_equal(plx_shared_pool_init(&other, &large, &quota, NULL), 0);

    unsigned char *owned = calloc(1, large.bytes / PLX_PAGE);
    assert_non_null(owned);
    for (uint32_t c = 0; c < PLX_POOL_CLASSES; c++) {
        size_t bytes = plx_pool_class_bytes(c);
        for (uint32_t i = 0; i < quota.blocks[c]; i++) {
            unsigned char *block = plx_shared_pool_acquire(&other, bytes);
            size_t found;
            assert_non_null(block);
            assert_int_equal((uintptr_t)block % bytes, 0);
            assert_int_equal(plx_shared_pool_chunk_of(&other, block),
                             plx_shared_pool_chunk_of(&other, block + bytes - 1));
            for (size_t page = 0; page < bytes / PLX_PAGE; page++)
                assert_int_equal(owned[(size_t)(block - large.base) / PLX_PAGE + page]++, 0);
            assert_ptr_equal(plx_shared_pool_block_of(&other, block + bytes - 1, &found), block);
            assert_int_equal(found, bytes);
            assert_true(plx_shared_pool_has(&other, block + bytes - 1));
        }
        assert_null(plx_shared_pool_acquire(&other, bytes));
    }
    size_t found;
    assert_null(plx_shared_pool_block_of(&other, other.base - 1, &found));
    assert_int_equal(found, 0);
    assert_false(plx_shared_pool_has(&other, other.base + needs.block_bytes));
    assert_null(plx__shared_pool_check(&other));
    free(owned);
    plx_arena_fini(&large);
}

static void acquire_takes_the_smallest_class_that_has_blocks(void **state)
{
    (void)state;
    size_t bytes;
    void *block = plx_shared_pool_acquire(&pool, 4097); /* there is no 8K */
    assert_non_null(plx_shared_pool_block_of(&pool, block, &bytes));
    assert_int_equal(bytes, 16 * KIB);
    plx_shared_pool_release(&pool, block);
    struct plx_shared_pool_stats stats;
    assert_null(plx_shared_pool_acquire(&pool, 512 * KIB + 1)); /* there is no 1M */
    assert_null(plx_shared_pool_acquire(&pool, SIZE_MAX));
    plx_shared_pool_read_stats(&pool, &stats);
    assert_int_equal(stats.unfit, 2);
    assert_int_equal(stats.classes[8].capacity, 0);
}

static void acquire_dry_class_is_null_and_counted(void **state)
{
    (void)state;
    void *first = plx_shared_pool_acquire(&pool, 1);
    void *second = plx_shared_pool_acquire(&pool, 4096);
    assert_true(first != NULL && second != NULL && first != second);
    assert_null(plx_shared_pool_acquire(&pool, 1));
    assert_null(plx_shared_pool_acquire(&pool, 1));
    assert_int_equal(stats_of(0).block_bytes, 4096);
    assert_int_equal(stats_of(0).in_use, 2);
    assert_int_equal(stats_of(0).misses, 2);
    plx_shared_pool_release(&pool, first);
    assert_int_equal(stats_of(0).in_use, 1);
    assert_ptr_equal(plx_shared_pool_acquire(&pool, 1), first); /* the last one released */
    plx_shared_pool_release(&pool, second);
    plx_shared_pool_release(&pool, first);
    assert_int_equal(stats_of(0).peak, 2);
    assert_int_equal(stats_of(0).acquires, 3);
    assert_int_equal(stats_of(2).acquires, 0);
}

static void release_leaves_the_bytes_alone(void **state)
{
    (void)state;
    static unsigned char pattern[4096];
    unsigned char *block = plx_shared_pool_acquire(&pool, sizeof(pattern));
    memset(pattern, 0xa5, sizeof(pattern));
    memset(block, 0xa5, sizeof(pattern));
    plx_shared_pool_release(&pool, block);
    assert_memory_equal(block, pattern, sizeof(pattern));
    assert_ptr_equal(plx_shared_pool_acquire(&pool, sizeof(pattern)), block);
    assert_memory_equal(block, pattern, sizeof(pattern));
    plx_shared_pool_release(&pool, block);
}

static void try_release_wrong_blocks_are_refused_and_nothing_changes(void **state)
{
    (void)state;
    unsigned char *held = plx_shared_pool_acquire(&pool, 64 * KIB);
    unsigned char *freed = plx_shared_pool_acquire(&pool, 4096);
    plx_shared_pool_release(&pool, freed);
    assert_int_equal(plx_shared_pool_try_release(&pool, freed), -EALREADY);
    assert_int_equal(plx_shared_pool_try_release(&pool, freed + 1), -EINVAL);
    assert_int_equal(plx_shared_pool_try_release(&pool, held + 1), -EINVAL);
    for (size_t at = PLX_PAGE; at < 64 * KIB; at += PLX_PAGE)
        assert_int_equal(plx_shared_pool_try_release(&pool, held + at), -EINVAL);
    assert_int_equal(plx_shared_pool_try_release(&pool, NULL), -EINVAL);
    assert_int_equal(plx_shared_pool_try_release(&pool, &pool), -EINVAL);
    assert_int_equal(plx_shared_pool_try_release(&pool, pool.base - PLX_PAGE), -EINVAL);
    assert_null(plx__shared_pool_check(&pool));
    assert_int_equal(stats_of(4).in_use, 1);
    assert_int_equal(plx_shared_pool_try_release(&pool, held), 0);
    assert_int_equal(plx_shared_pool_try_release(&pool, held), -EALREADY);
}

static void *child_block(size_t bytes)
{
    return make_shared_pool(&some) == 0 ? plx_shared_pool_acquire(&pool, bytes) : NULL;
}

static void release_twice(void)
{
    void *block = child_block(64 * KIB);
    plx_shared_pool_release(&pool, block);
    plx_shared_pool_release(&pool, block);
}

static void release_inside(void)
{
    unsigned char *block = child_block(64 * KIB);
    plx_shared_pool_release(&pool, block + PLX_PAGE);
}

static void release_foreign(void)
{
    (void)child_block(4096);
    plx_shared_pool_release(&pool, &pool);
}

static void release_wrong_blocks_abort_and_say_which(void **state)
{
    (void)state;
    assert_aborts(release_twice, "of 65536 bytes is released, not in use");
    assert_aborts(release_inside, "inside the block");
    assert_aborts(release_foreign, "no block of this pool");
}

static void fini_tells_what_was_still_out(void **state)
{
    (void)state;
    assert_non_null(plx_shared_pool_acquire(&pool, 1));
    assert_non_null(plx_shared_pool_acquire(&pool, 512 * KIB));
    assert_int_equal(plx_shared_pool_fini(&pool), 2);
    assert_null(plx_shared_pool_acquire(&pool, 1));
    assert_int_equal(plx_shared_pool_try_release(&pool, arena.base), -EINVAL);
}

static void check_finds_what_is_broken(void **state)
{
    (void)state;
    /* The classes from the largest on: the two pages of the smallest are the last ones. */
    uint64_t first = pool.pages - 2;
    assert_null(plx__shared_pool_check(&pool));
    plx_store_relaxed(&pool.links[first], (uint32_t)first + 1);
    assert_string_equal(plx__shared_pool_check(&pool), "a stack is broken");
    plx_store_relaxed(&pool.links[first], 0);
    assert_string_equal(plx__shared_pool_check(&pool), "a stack is broken");
    plx_store_relaxed(&pool.links[first], 1);
    assert_string_equal(plx__shared_pool_check(&pool), "a stack is broken");
    plx_store_relaxed(&pool.links[first], (uint32_t)first + 2);
    plx_store_relaxed(&pool.map[first], PLX__POOL_HELD);
    assert_string_equal(plx__shared_pool_check(&pool), "the count of blocks is wrong");
    plx_store_relaxed(&pool.map[first], PLX__POOL_INTERIOR);
    assert_string_equal(plx__shared_pool_check(&pool),
                        "a page that starts a block does not say so");
    plx_store_relaxed(&pool.map[first], PLX__POOL_FREE);
    plx_store_relaxed(&pool.map[1], PLX__POOL_FREE);
    assert_string_equal(plx__shared_pool_check(&pool), "a page inside a block does not say so");
    plx_store_relaxed(&pool.map[1], PLX__POOL_INTERIOR | 7);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(init_arguments_out_of_range_are_refused),
        cmocka_unit_test(init_arena_short_by_a_byte_takes_nothing),
        cmocka_unit_test(blocks_are_aligned_apart_and_inside_one_chunk),
        CASE(acquire_takes_the_smallest_class_that_has_blocks),
        CASE(acquire_dry_class_is_null_and_counted),
        CASE(release_leaves_the_bytes_alone),
        CASE(try_release_wrong_blocks_are_refused_and_nothing_changes),
        cmocka_unit_test(release_wrong_blocks_abort_and_say_which),
        CASE(fini_tells_what_was_still_out),
        CASE(check_finds_what_is_broken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
