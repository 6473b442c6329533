/* SPDX-License-Identifier: MIT */
/* The pool: its set-up, acquire and release, wrong releases, statistics, direct I/O. */
#include "test/alloc/pool_fixture.h"

#include <fcntl.h>
#include <sys/mman.h>

/* Two blocks of each class but 8K and 1M. */
static const struct plx_pool_quota some = {{2, 0, 2, 2, 2, 2, 2, 2, 0}};

static struct fixture fixture;
static struct plx_pool *const pool = &fixture.pool;

static int set_up(void **state)
{
    (void)state;
    return make_pool(&fixture, &some, NULL);
}

static int tear_down(void **state)
{
    (void)state;
    (void)plx_pool_fini(&fixture.pool);
    plx_arena_fini(&fixture.arena);
    return 0;
}

/* --- quotas and sizes ------------------------------------------------------------------------- */

static void class_index_is_the_smallest_that_fits(void **state)
{
    (void)state;
    assert_int_equal(plx_pool_class_index(1), 0);
    for (uint32_t c = 0; c < PLX_POOL_CLASSES; c++) {
        assert_int_equal(plx_pool_class_index(plx_pool_class_bytes(c) - 1), c);
        assert_int_equal(plx_pool_class_index(plx_pool_class_bytes(c)), c);
        assert_int_equal(plx_pool_class_index(plx_pool_class_bytes(c) + 1), c + 1);
    }
    assert_int_equal(plx_pool_class_bytes(0), PLX_POOL_BLOCK_MIN);
    assert_int_equal(plx_pool_class_bytes(PLX_POOL_CLASSES - 1), PLX_POOL_BLOCK_MAX);
    assert_int_equal(plx_pool_class_index(SIZE_MAX), PLX_POOL_CLASSES);
}

static void split_uses_the_budget_up(void **state)
{
    (void)state;
    uint64_t random = 1;
    for (uint64_t bytes = 8192; bytes <= PLX_ARENA_BYTES_MAX;
         bytes += 1 + random_next(&random) % (bytes / 4)) {
        struct plx_pool_quota quota;
        assert_int_equal(plx_pool_quota_split(&quota, bytes), 0);
        struct plx_pool_needs needs = plx_pool_measure(&quota, NULL);
        assert_true(needs.bytes > 0 && needs.bytes <= bytes);
        quota.blocks[0]++;
        assert_true(plx_pool_measure(&quota, NULL).bytes > bytes);
        quota.blocks[0]--;
        /* The shares: of the bytes three eighths, less for the tables, and three sixteenths. */
        if (bytes >= 64 * MIB) {
            uint64_t small = quota.blocks[0] * 4 * KIB;
            uint64_t middle = quota.blocks[4] * 64 * KIB;
            assert_true(small > bytes / 100 * 37 && small < bytes / 100 * 39);
            assert_true(middle > bytes / 100 * 18 && middle < bytes / 100 * 19);
            for (int c = 0; c < PLX_POOL_CLASSES; c++)
                assert_true(quota.blocks[c] > 0);
        }
    }
}

static void split_small_budget_has_small_blocks(void **state)
{
    (void)state;
    struct plx_pool_quota quota;
    assert_int_equal(plx_pool_quota_split(&quota, 64 * KIB), 0);
    const struct plx_pool_quota expected = {{7, 0, 2}};
    assert_memory_equal(&quota, &expected, sizeof(quota));
}

static void split_budget_out_of_range_is_refused(void **state)
{
    (void)state;
    struct plx_pool_quota quota;
    const struct plx_pool_quota none = {0};
    const struct plx_pool_quota one = {{1}};
    uint64_t least = plx_pool_measure(&one, NULL).bytes;
    assert_int_equal(plx_pool_quota_split(&quota, least), 0);
    assert_memory_equal(&quota, &one, sizeof(quota));
    const uint64_t bad[] = {0, 1, PLX_PAGE, least - 1, PLX_ARENA_BYTES_MAX + 1, UINT64_MAX};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(plx_pool_quota_split(&quota, bad[i]), -EINVAL);
        assert_memory_equal(&quota, &none, sizeof(quota));
    }
}

/* --- init ------------------------------------------------------------------------------------- */

static void init_arguments_out_of_range_are_refused(void **state)
{
    (void)state;
    struct plx_pool other;
    struct plx_diag diag = {0};
    struct plx_pool_opts opts;
    size_t used = fixture.arena.used;
    const struct plx_pool_quota none = {0};
    const struct plx_pool_quota huge = {{0, 0, 0, 0, 0, 0, 0, 0, 1u << 20}};

    plx_pool_opts_init(&opts);
    assert_int_equal(plx_pool_init(&other, &fixture.arena, &none, &opts, &diag), -EINVAL);
    assert_int_equal(diag.code, -EINVAL);
    assert_string_equal(diag.what, "quota");
    assert_int_equal(plx_pool_measure(&none, NULL).bytes, 0);
    assert_int_equal(plx_pool_init(&other, &fixture.arena, &huge, &opts, &diag), -EINVAL);
    assert_non_null(strstr(diag.text, "not less than 1099511627776"));
    assert_int_equal(plx_pool_measure(&huge, NULL).bytes, 0);
    opts.homes = PLX_POOL_HOMES_MAX + 1;
    assert_int_equal(plx_pool_init(&other, &fixture.arena, &some, &opts, &diag), -EINVAL);
    assert_string_equal(diag.what, "homes");
    assert_int_equal(plx_pool_init(&other, &fixture.arena, &some, &opts, NULL), -EINVAL);
    assert_int_equal(fixture.arena.used, used);
    assert_null(plx_pool_acquire(&other, 1));
    assert_int_equal(plx_pool_fini(&other), 0);
}

static void init_arena_short_by_a_byte_takes_nothing(void **state)
{
    (void)state;
    struct plx_pool other;
    struct plx_diag diag = {0};
    struct plx_arena arena;
    struct plx_pool_needs needs = plx_pool_measure(&some, NULL);
    assert_int_equal(make_arena(&arena, 8 * MIB, true), 0);
    assert_non_null(
        plx_arena_carve(&arena, (8 * MIB - needs.bytes) / needs.align * needs.align + 1, 1));
    size_t used = arena.used;
    assert_int_equal(plx_pool_init(&other, &arena, &some, NULL, &diag), -ENOMEM);
    assert_int_equal(diag.code, -ENOMEM);
    assert_string_equal(diag.what, "arena");
    assert_int_equal(arena.used, used);
    assert_null(plx_pool_acquire(&other, 1));
    assert_int_equal(plx_pool_init(&other, &arena, &some, NULL, NULL), -ENOMEM);

    arena.used--;
    assert_int_equal(plx_pool_init(&other, &arena, &some, NULL, &diag), 0);
    assert_int_equal(arena.used, used - 1 + needs.bytes);
    plx_arena_fini(&arena);

    assert_int_equal(plx_pool_init(&other, &arena, &some, NULL, NULL), -ENOMEM);
}

static void init_takes_what_was_measured(void **state)
{
    (void)state;
    static const struct plx_pool_quota quotas[] = {
        {{1}},
        {{0, 0, 0, 0, 0, 0, 0, 0, 1}},
        {{17, 0, 3, 0, 0, 0, 0, 1, 0}},
        {{100, 50, 25, 12, 6, 3, 2, 1, 1}},
    };
    for (size_t i = 0; i < sizeof(quotas) / sizeof(quotas[0]); i++) {
        const struct plx_pool_opts opts = {.homes = (uint32_t)i * 5};
        struct plx_pool_needs needs = plx_pool_measure(&quotas[i], &opts);
        struct fixture f;
        assert_int_equal(needs.block_bytes + needs.table_bytes, needs.bytes);
        assert_int_equal(make_pool(&f, &quotas[i], &opts), 0);
        assert_int_equal(f.arena.used, needs.bytes);
        assert_true(f.pool.base == f.arena.base);
        end_pool(&f);
    }
}

static size_t resident_pages(const struct plx_arena *arena)
{
    static unsigned char seen[8 * MIB / PLX_PAGE];
    size_t count = 0;
    assert_true(arena->bytes <= 8 * MIB);
    assert_int_equal(mincore(arena->base, arena->bytes, seen), 0);
    for (size_t i = 0; i < arena->bytes / PLX_PAGE; i++)
        count += seen[i] & 1;
    return count;
}

static void init_prewarm_takes_every_page(void **state)
{
    (void)state;
    struct plx_pool_opts opts;
    struct plx_pool_needs needs = plx_pool_measure(&some, NULL);
    size_t table_pages = (needs.table_bytes + PLX_PAGE - 1) / PLX_PAGE;
    plx_pool_opts_init(&opts);
    for (int prewarm = 0; prewarm < 2; prewarm++) {
        struct plx_arena arena;
        struct plx_pool other;
        opts.prewarm = prewarm != 0;
        assert_int_equal(make_arena(&arena, 4 * MIB, false), 0);
        assert_int_equal(plx_pool_init(&other, &arena, &some, &opts, NULL), 0);
        assert_int_equal(resident_pages(&arena),
                         table_pages + (prewarm ? needs.block_bytes / PLX_PAGE : 0));
        plx_arena_fini(&arena);
    }
}

/* --- blocks ----------------------------------------------------------------------------------- */

static void blocks_are_aligned_apart_and_inside_one_chunk(void **state)
{
    (void)state;
    /* More than a chunk of blocks, begun amid a page; only the tables are touched. */
    static const struct plx_pool_quota quota = {{99, 49, 25, 13, 7, 5, 3, 1, 1100}};
    struct plx_pool_needs needs = plx_pool_measure(&quota, NULL);
    struct plx_arena arena;
    struct plx_pool other;
    assert_int_equal(make_arena(&arena, needs.bytes + 2 * MIB, false), 0);
    assert_non_null(plx_arena_carve(&arena, 5001, 1));
    assert_int_equal(plx_pool_init(&other, &arena, &quota, NULL, NULL), 0);

    unsigned char *owned = calloc(1, arena.bytes / PLX_PAGE);
    assert_non_null(owned);
    uint64_t block_bytes = 0;
    uint32_t chunks = 0;
    for (uint32_t c = 0; c < PLX_POOL_CLASSES; c++) {
        size_t bytes = plx_pool_class_bytes(c);
        for (uint32_t i = 0; i < quota.blocks[c]; i++) {
            unsigned char *block = plx_pool_acquire(&other, bytes);
            size_t found;
            assert_non_null(block);
            assert_int_equal((uintptr_t)block % bytes, 0);
            assert_int_equal(plx_pool_chunk_of(&other, block),
                             plx_pool_chunk_of(&other, block + bytes - 1));
            assert_int_equal(plx_pool_chunk_of(&other, block),
                             (size_t)(block - arena.base) / PLX_POOL_CHUNK_BYTES);
            chunks |= 1u << plx_pool_chunk_of(&other, block);
            for (size_t page = 0; page < bytes / PLX_PAGE; page++)
                assert_int_equal(owned[(size_t)(block - arena.base) / PLX_PAGE + page]++, 0);
            assert_ptr_equal(plx_pool_block_of(&other, block, &found), block);
            assert_int_equal(found, bytes);
            assert_ptr_equal(plx_pool_block_of(&other, block + bytes - 1, NULL), block);
            assert_ptr_equal(plx_pool_block_of(&other, block + bytes / 2 + 1, NULL), block);
            block_bytes += bytes;
        }
        assert_null(plx_pool_acquire(&other, bytes));
    }
    assert_int_equal(block_bytes, needs.block_bytes);
    assert_int_equal(chunks, 3); /* both were seen */
    assert_null(plx_pool_block_of(&other, other.base - 1, NULL));
    assert_null(plx_pool_block_of(&other, other.base + block_bytes, NULL));
    assert_true(plx_pool_has(&other, other.base + block_bytes - 1));
    assert_false(plx_pool_has(&other, other.base + block_bytes));
    assert_false(plx_pool_has(&other, other.base - 1));
    assert_false(plx_pool_has(&other, NULL));
    assert_sound(&other);
    free(owned);
    plx_arena_fini(&arena);
}

static void acquire_class_without_quota_takes_the_next_that_has(void **state)
{
    (void)state;
    size_t bytes;
    void *block = plx_pool_acquire(pool, 4097); /* there is no 8K */
    assert_non_null(plx_pool_block_of(pool, block, &bytes));
    assert_int_equal(bytes, 16 * KIB);
    plx_pool_release(pool, block);
    assert_int_equal(class_stats(pool, 2).acquires, 1);
    assert_int_equal(class_stats(pool, 1).misses, 0);
    end_pool(&fixture);
}

static void acquire_more_than_any_block_has_is_null(void **state)
{
    (void)state;
    struct plx_pool_stats stats;
    assert_null(plx_pool_acquire(pool, 512 * KIB + 1)); /* there is no 1M */
    assert_null(plx_pool_acquire(pool, 2 * MIB));
    assert_null(plx_pool_acquire(pool, SIZE_MAX));
    plx_pool_read_stats(pool, &stats);
    assert_int_equal(stats.unfit, 3);
    end_pool(&fixture);
}

static void acquire_dry_class_is_null_whatever_others_have(void **state)
{
    (void)state;
    void *first = plx_pool_acquire(pool, 1);
    void *second = plx_pool_acquire(pool, 4096);
    assert_true(first != NULL && second != NULL && first != second);
    for (int i = 0; i < 3; i++)
        assert_null(plx_pool_acquire(pool, 1));
    struct plx_pool_class_stats stats = class_stats(pool, 0);
    assert_int_equal(stats.capacity, 2);
    assert_int_equal(stats.in_use, 2);
    assert_int_equal(stats.acquires, 2);
    assert_int_equal(stats.misses, 3);
    assert_int_equal(class_stats(pool, 2).in_use, 0);
    plx_pool_release(pool, first);
    plx_pool_release(pool, second);
    end_pool(&fixture);
}

static void acquire_dry_class_falls_up_where_asked(void **state)
{
    (void)state;
    const struct plx_pool_quota quota = {{1, 1, 0, 1}};
    const struct plx_pool_opts opts = {.fall_up = true};
    struct fixture f;
    void *blocks[3];
    static const size_t expected[] = {4096, 8192, 32768};
    assert_int_equal(make_pool(&f, &quota, &opts), 0);
    for (int i = 0; i < 3; i++) {
        size_t bytes;
        blocks[i] = plx_pool_acquire(&f.pool, 1);
        assert_non_null(plx_pool_block_of(&f.pool, blocks[i], &bytes));
        assert_int_equal(bytes, expected[i]);
    }
    assert_null(plx_pool_acquire(&f.pool, 1));
    assert_int_equal(class_stats(&f.pool, 0).misses, 3);
    assert_int_equal(class_stats(&f.pool, 0).acquires, 1);
    assert_int_equal(class_stats(&f.pool, 3).acquires, 1);
    for (int i = 0; i < 3; i++)
        plx_pool_release(&f.pool, blocks[i]);
    end_pool(&f);
}

static void acquire_gives_what_was_released_last(void **state)
{
    (void)state;
    void *first = plx_pool_acquire(pool, 4096);
    void *second = plx_pool_acquire(pool, 4096);
    assert_true((uintptr_t)second > (uintptr_t)first);
    plx_pool_release(pool, second);
    plx_pool_release(pool, first);
    assert_ptr_equal(plx_pool_acquire(pool, 4096), first);
    assert_ptr_equal(plx_pool_acquire(pool, 4096), second);
    plx_pool_release(pool, first);
    plx_pool_release(pool, second);
    assert_ptr_equal(plx_pool_acquire(pool, 4096), second);
    plx_pool_release(pool, second);
    end_pool(&fixture);
}

static void release_leaves_the_bytes_alone(void **state)
{
    (void)state;
    static unsigned char pattern[4096];
    unsigned char *block = plx_pool_acquire(pool, sizeof(pattern));
    memset(pattern, 0xa5, sizeof(pattern));
    memset(block, 0xa5, sizeof(pattern));
    plx_pool_release(pool, block);
    assert_memory_equal(block, pattern, sizeof(pattern));
    assert_ptr_equal(plx_pool_acquire(pool, sizeof(pattern)), block);
    assert_memory_equal(block, pattern, sizeof(pattern));
    plx_pool_release(pool, block);
    end_pool(&fixture);
}

/* --- wrong releases --------------------------------------------------------------------------- */

static void try_release_wrong_blocks_are_refused_and_nothing_changes(void **state)
{
    (void)state;
    unsigned char *held = plx_pool_acquire(pool, 64 * KIB);
    unsigned char *freed = plx_pool_acquire(pool, 4096);
    plx_pool_release(pool, freed);
    struct plx_pool_stats before;
    struct plx_pool_stats after;
    unsigned char map[2 * MIB / PLX_PAGE];
    memset(&before, 0, sizeof(before)); /* its padding is compared too */
    memset(&after, 0, sizeof(after));
    plx_pool_read_stats(pool, &before);
    assert_true(pool->pages <= sizeof(map));
    memcpy(map, pool->map, pool->pages);

    assert_int_equal(plx_pool_try_release(pool, freed), -EALREADY);
    assert_int_equal(plx_pool_try_release(pool, freed + 1), -EINVAL);
    assert_int_equal(plx_pool_try_release(pool, held + 1), -EINVAL);
    assert_int_equal(plx_pool_try_release(pool, held + 2048), -EINVAL);
    for (size_t at = PLX_PAGE; at < 64 * KIB; at += PLX_PAGE)
        assert_int_equal(plx_pool_try_release(pool, held + at), -EINVAL);
    assert_int_equal(plx_pool_try_release(pool, NULL), -EINVAL);
    assert_int_equal(plx_pool_try_release(pool, &before), -EINVAL);
    assert_int_equal(plx_pool_try_release(pool, pool->base - PLX_PAGE), -EINVAL);
    assert_int_equal(plx_pool_try_release(pool, pool->base + pool->pages * PLX_PAGE), -EINVAL);

    plx_pool_read_stats(pool, &after);
    assert_memory_equal(&before, &after, sizeof(before));
    assert_memory_equal(map, pool->map, pool->pages);
    assert_int_equal(plx_pool_try_release(pool, held), 0);
    assert_int_equal(plx_pool_try_release(pool, held), -EALREADY);
    end_pool(&fixture);
}

static void *child_block(size_t bytes)
{
    return make_pool(&fixture, &some, NULL) == 0 ? plx_pool_acquire(pool, bytes) : NULL;
}

static void release_twice(void)
{
    void *block = child_block(64 * KIB);
    plx_pool_release(pool, block);
    plx_pool_release(pool, block);
}

static void release_inside(void)
{
    unsigned char *block = child_block(64 * KIB);
    plx_pool_release(pool, block + PLX_PAGE);
}

static void release_misaligned(void)
{
    unsigned char *block = child_block(4096);
    plx_pool_release(pool, block + 8);
}

static void release_foreign(void)
{
    (void)child_block(4096);
    plx_pool_release(pool, &fixture);
}

static void release_null(void)
{
    (void)child_block(4096);
    plx_pool_release(pool, NULL);
}

static void release_to_the_empty_pool(void)
{
    void *block = child_block(4096);
    (void)plx_pool_fini(pool);
    plx_pool_release(pool, block);
}

static void release_wrong_blocks_abort_and_say_which(void **state)
{
    (void)state;
    assert_aborts(release_twice, "of 65536 bytes is released, not in use");
    assert_aborts(release_inside, "inside the block");
    assert_aborts(release_misaligned, "inside the block");
    assert_aborts(release_foreign, "no block of any pool");
    assert_aborts(release_null, "no block of any pool");
    assert_aborts(release_to_the_empty_pool, "no block of any pool");
}

/* --- counts ----------------------------------------------------------------------------------- */

static void stats_peak_is_the_most_ever_in_use(void **state)
{
    (void)state;
    void *first = plx_pool_acquire(pool, 4096);
    plx_pool_release(pool, first);
    assert_int_equal(class_stats(pool, 0).peak, 1);
    first = plx_pool_acquire(pool, 4096);
    void *second = plx_pool_acquire(pool, 4096);
    plx_pool_release(pool, first);
    plx_pool_release(pool, second);
    struct plx_pool_class_stats stats = class_stats(pool, 0);
    assert_int_equal(stats.block_bytes, 4096);
    assert_int_equal(stats.peak, 2);
    assert_int_equal(stats.in_use, 0);
    assert_int_equal(stats.acquires, 3);
    assert_int_equal(stats.misses, 0);
    assert_int_equal(stats.remote_frees, 0);
    assert_int_equal(class_stats(pool, 8).capacity, 0);
    assert_int_equal(class_stats(pool, 8).block_bytes, MIB);
    end_pool(&fixture);
}

static void fini_tells_what_was_still_out(void **state)
{
    (void)state;
    assert_non_null(plx_pool_acquire(pool, 1));
    assert_non_null(plx_pool_acquire(pool, 512 * KIB));
    assert_int_equal(plx_pool_fini(pool), 2);
    assert_int_equal(plx_pool_fini(pool), 0);
    assert_null(plx_pool_acquire(pool, 1));
    assert_int_equal(plx_pool_serve(pool), 0);
    assert_int_equal(plx_pool_flush(pool), 0);
}

static void append_line(const char *line, void *ctx)
{
    char *text = ctx;
    size_t length = strlen(text);
    snprintf(text + length, 4096 - length, "%s\n", line);
}

static void explain_has_a_line_for_each_class_with_a_quota(void **state)
{
    (void)state;
    char text[4096] = "";
    void *block = plx_pool_acquire(pool, 16 * KIB);
    plx_pool_explain(pool, append_line, text);
    assert_non_null(strstr(text, "pool: 2024 KiB of blocks; 0 blocks of others freed, 0 wait\n"));
    assert_non_null(strstr(text, "pool: 16 KiB: 2 blocks, 1 in use, at most 1; 1 acquires, "
                                 "0 misses, 0 remote frees\n"));
    assert_null(strstr(text, "pool: 8 KiB"));
    assert_null(strstr(text, "pool: 1024 KiB"));
    plx_pool_release(pool, block);
}

static void check_finds_what_is_broken(void **state)
{
    (void)state;
    uint32_t *stack = pool->classes[0].stack;
    assert_null(plx__pool_check(pool));
    stack[0] = stack[1];
    assert_string_equal(plx__pool_check(pool), "a block is on a stack twice");
    stack[0]++;
    stack[1]++;
    assert_non_null(plx__pool_check(pool));
    stack[1]--;
    stack[0] = stack[1] + 1;
    assert_null(plx__pool_check(pool));
    pool->map[stack[0]] = PLX__POOL_HELD;
    assert_string_equal(plx__pool_check(pool), "the count of blocks is wrong");
    pool->map[stack[0]] = PLX__POOL_KEPT;
    assert_string_equal(plx__pool_check(pool), "blocks are kept for nobody");
    pool->map[stack[0]] = PLX__POOL_INTERIOR;
    assert_non_null(plx__pool_check(pool));
}

/* --- direct I/O ------------------------------------------------------------------------------- */

static void direct_io_round_trip_of_every_class(void **state)
{
    (void)state;
    static const struct plx_pool_quota two_of_each = {{2, 2, 2, 2, 2, 2, 2, 2, 2}};
    struct fixture f;
    char path[] = "pollux-test-XXXXXX";
    int made = mkstemp(path);
    assert_true(made >= 0);
    close(made);
    int file = open(path, O_RDWR | O_DIRECT);
    int reason = errno;
    unlink(path);
    if (file < 0) {
        print_message("skipped: no O_DIRECT on the file system of this folder: %s\n",
                      strerror(reason));
        skip();
    }
    assert_int_equal(make_pool(&f, &two_of_each, NULL), 0);
    for (uint32_t c = 0; c < PLX_POOL_CLASSES; c++) {
        size_t bytes = plx_pool_class_bytes(c);
        unsigned char *out = plx_pool_acquire(&f.pool, bytes);
        unsigned char *in = plx_pool_acquire(&f.pool, bytes);
        assert_true(out != NULL && in != NULL);
        for (size_t i = 0; i < bytes; i++)
            out[i] = (unsigned char)(i * 7 + i / 251 + c);
        memset(in, 0, bytes);
        assert_int_equal(pwrite(file, out, bytes, 0), bytes);
        assert_int_equal(pread(file, in, bytes, 0), bytes);
        assert_memory_equal(in, out, bytes);
        plx_pool_release(&f.pool, out);
        plx_pool_release(&f.pool, in);
    }
    close(file);
    end_pool(&f);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(class_index_is_the_smallest_that_fits),
        cmocka_unit_test(split_uses_the_budget_up),
        cmocka_unit_test(split_small_budget_has_small_blocks),
        cmocka_unit_test(split_budget_out_of_range_is_refused),
        CASE(init_arguments_out_of_range_are_refused),
        cmocka_unit_test(init_arena_short_by_a_byte_takes_nothing),
        cmocka_unit_test(init_takes_what_was_measured),
        cmocka_unit_test(init_prewarm_takes_every_page),
        cmocka_unit_test(blocks_are_aligned_apart_and_inside_one_chunk),
        CASE(acquire_class_without_quota_takes_the_next_that_has),
        CASE(acquire_more_than_any_block_has_is_null),
        CASE(acquire_dry_class_is_null_whatever_others_have),
        cmocka_unit_test(acquire_dry_class_falls_up_where_asked),
        CASE(acquire_gives_what_was_released_last),
        CASE(release_leaves_the_bytes_alone),
        CASE(try_release_wrong_blocks_are_refused_and_nothing_changes),
        cmocka_unit_test(release_wrong_blocks_abort_and_say_which),
        CASE(stats_peak_is_the_most_ever_in_use),
        CASE(fini_tells_what_was_still_out),
        CASE(explain_has_a_line_for_each_class_with_a_quota),
        CASE(check_finds_what_is_broken),
        cmocka_unit_test(direct_io_round_trip_of_every_class),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
