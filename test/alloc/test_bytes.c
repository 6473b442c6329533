/* SPDX-License-Identifier: MIT */
/* Counted bytes: each operation and each error, packing and what it pins. */
#include "alloc/bytes.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "test/alloc/mem_fixture.h"

#define BLOCK PLX_POOL_BLOCK_MIN

static const struct plx_pool_quota quota = {.blocks = {16, 4, 2}};
static struct mem mem;
static uint8_t text[2 * PLX_POOL_BLOCK_MAX];
static struct plx_bytes made; /* by the functions below, for their callers */

static int set_up(void **state)
{
    (void)state;
    uint64_t random = 1;
    mem_fill_random(&random, text, sizeof(text));
    return mem_open(&mem, &quota, NULL);
}

static int tear_down(void **state)
{
    (void)state;
    const char *wrong = mem_close(&mem);
    if (wrong != NULL)
        print_message("%s\n", wrong);
    return wrong != NULL;
}

/* A frozen block, the first `len` bytes of it. */
static struct plx_bytes frozen(struct mem *m, size_t len)
{
    uint8_t *block = plx_pool_acquire(&m->pool, len > 0 ? len : 1);
    assert_non_null(block);
    memcpy(block, text, len);
    return plx_bytes_freeze(&m->home, block, block, len);
}

static void assert_empty(const struct plx_bytes *bytes)
{
    assert_null(bytes->ptr);
    assert_null(bytes->home);
    assert_int_equal(bytes->len, 0);
}

/* --- homes ------------------------------------------------------------------------------------ */

static void home_takes_what_was_measured(void **state)
{
    (void)state;
    struct plx_arena arena;
    struct plx_pool pool;
    struct plx_bytes_home home;
    struct plx_diag diag = {0};
    struct plx_pool_needs needs = plx_pool_measure(&quota, NULL);
    uint64_t bytes = plx_bytes_home_measure(needs.block_bytes);
    assert_int_equal(bytes, (16 + 8 + 8) * sizeof(uint32_t));

    assert_int_equal(plx_arena_init(&arena, needs.bytes + bytes, PLX_NODE_ANY, NULL, NULL), 0);
    assert_int_equal(plx_pool_init(&pool, &arena, &quota, NULL, NULL), 0);
    size_t left = plx_arena_left(&arena);
    assert_int_equal(plx_bytes_home_init(&home, &pool, &arena, &diag), 0);
    assert_int_equal(left - plx_arena_left(&arena), bytes);

    assert_non_null(plx_arena_carve(&arena, plx_arena_left(&arena), 1));
    assert_int_equal(plx_bytes_home_init(&home, &pool, &arena, &diag), -ENOMEM);
    assert_int_equal(diag.code, -ENOMEM);
    assert_string_equal(diag.what, "arena");
    assert_non_null(strstr(diag.text, "128 bytes"));
    assert_null(home.pool);
    assert_int_equal(plx_pool_fini(&pool), 0);
    plx_arena_fini(&arena);
}

static void home_that_ended_takes_its_slices_back(void **state)
{
    (void)state;
    struct plx_bytes small;
    struct plx_bytes large = frozen(&mem, 1000);
    assert_int_equal(plx_bytes_copy(&mem.home, text, 10, &small), 0);
    plx_bytes_home_fini(&mem.home);
    assert_int_equal(mem_in_use(&mem), 2);
    plx_bytes_release(&mem.home, &small);
    assert_int_equal(mem_in_use(&mem), 1);
    plx_bytes_release(&mem.home, &large);
    assert_int_equal(mem_in_use(&mem), 0);
    plx_bytes_home_fini(&mem.home);
}

static void check_sees_books_that_are_wrong(void **state)
{
    (void)state;
    struct plx_bytes bytes;
    assert_int_equal(plx_bytes_copy(&mem.home, text, 10, &bytes), 0);
    uint32_t *count = &mem.home.counts[(size_t)(mem.home.pack - mem.pool.base) / PLX_PAGE];
    const uint32_t right = *count;
    const uint32_t wrong[] = {PLX__BYTES_PACKED, 0, right - PLX__BYTES_PACKED};
    for (size_t i = 0; i < 3; i++) {
        *count = wrong[i];
        assert_non_null(plx__bytes_home_check(&mem.home));
    }
    *count = right;
    mem.home.pack_used = mem.home.pack_bytes + 1;
    assert_non_null(plx__bytes_home_check(&mem.home));
    mem.home.pack_used = 10;
    assert_null(plx__bytes_home_check(&mem.home));
    plx_bytes_release(&mem.home, &bytes);

    plx_bytes_home_fini(&mem.home);
    assert_int_equal(*count, 0);
    *count = PLX__BYTES_HOLDER;
    assert_non_null(plx__bytes_home_check(&mem.home));
    *count = 0;
    assert_null(plx__bytes_home_check(&mem.home));
}

/* --- freeze ----------------------------------------------------------------------------------- */

static void freeze_makes_exactly_the_bytes_read(void **state)
{
    (void)state;
    uint8_t *block = plx_pool_acquire(&mem.pool, BLOCK);
    memcpy(block, text, BLOCK);
    struct plx_bytes bytes = plx_bytes_freeze(&mem.home, block, block + 100, 1000);
    assert_ptr_equal(bytes.ptr, block + 100);
    assert_int_equal(bytes.len, 1000);
    assert_true(plx_bytes_is_sole(&bytes));
    assert_int_equal(mem_in_use(&mem), 1);
    plx_bytes_release(&mem.home, &bytes);
    assert_empty(&bytes);
    assert_int_equal(mem_in_use(&mem), 0);
    plx_bytes_release(&mem.home, &bytes);
}

static void freeze_of_all_of_a_block_of_each_class_fits(void **state)
{
    (void)state;
    for (size_t len = BLOCK; len <= 4 * BLOCK; len *= 2) {
        struct plx_bytes bytes = frozen(&mem, len);
        struct plx_bytes end;
        assert_memory_equal(bytes.ptr, text, len);
        assert_int_equal(plx_bytes_slice(&bytes, len - 1, 1, &end), 0);
        plx_bytes_release(&mem.home, &bytes);
        assert_int_equal(mem_in_use(&mem), 1);
        plx_bytes_release(&mem.home, &end);
        assert_int_equal(mem_in_use(&mem), 0);
    }
}

static void freeze_of_nothing_gives_the_block_back(void **state)
{
    (void)state;
    uint8_t *block = plx_pool_acquire(&mem.pool, BLOCK);
    struct plx_bytes bytes = plx_bytes_freeze(&mem.home, block, block, 0);
    assert_empty(&bytes);
    assert_int_equal(mem_in_use(&mem), 0);
    block = plx_pool_acquire(&mem.pool, BLOCK);
    bytes = plx_bytes_freeze(&mem.home, block, block + BLOCK, 0);
    assert_empty(&bytes);
    assert_int_equal(mem_in_use(&mem), 0);
}

/* What a program does wrong, each in a child that has memory of its own. */

static uint8_t *child_block(void)
{
    if (mem_open(&mem, &quota, NULL) != 0)
        _Exit(1);
    return plx_pool_acquire(&mem.pool, BLOCK);
}

static void freeze_longer_than_the_block(void)
{
    uint8_t *block = child_block();
    made = plx_bytes_freeze(&mem.home, block, block, BLOCK + 1);
}

static void freeze_beyond_the_end(void)
{
    uint8_t *block = child_block();
    made = plx_bytes_freeze(&mem.home, block, block + 4000, 97);
}

static void freeze_of_a_negative_length(void)
{
    uint8_t *block = child_block();
    made = plx_bytes_freeze(&mem.home, block, block + 1, (size_t)-1);
}

static void freeze_before_the_block(void)
{
    uint8_t *block = child_block();
    made = plx_bytes_freeze(&mem.home, block, block - 1, 1);
}

static void freeze_from_inside_a_block(void)
{
    uint8_t *block = child_block();
    made = plx_bytes_freeze(&mem.home, block + 64, block + 64, 1);
}

static void freeze_of_foreign_memory(void)
{
    (void)child_block();
    made = plx_bytes_freeze(&mem.home, text, text, 1);
}

static void freeze_of_no_block(void)
{
    (void)child_block();
    made = plx_bytes_freeze(&mem.home, NULL, NULL, 0);
}

static void freeze_twice(void)
{
    uint8_t *block = child_block();
    made = plx_bytes_freeze(&mem.home, block, block, 10);
    made = plx_bytes_freeze(&mem.home, block, block, 10);
}

static void freeze_of_nothing_of_a_frozen_block(void)
{
    uint8_t *block = child_block();
    made = plx_bytes_freeze(&mem.home, block, block, 10);
    made = plx_bytes_freeze(&mem.home, block, block, 0);
}

static void release_once_too_often(void)
{
    uint8_t *block = child_block();
    struct plx_bytes bytes = plx_bytes_freeze(&mem.home, block, block, 10);
    struct plx_bytes stolen = bytes;
    plx_bytes_release(&mem.home, &bytes);
    plx_bytes_release(&mem.home, &stolen);
}

static void clone_of_what_was_released(void)
{
    uint8_t *block = child_block();
    struct plx_bytes bytes = plx_bytes_freeze(&mem.home, block, block, 10);
    struct plx_bytes stolen = bytes;
    plx_bytes_release(&mem.home, &bytes);
    made = plx_bytes_clone(&stolen);
}

static void programmers_errors_abort_in_every_build(void **state)
{
    (void)state;
    void (*const errors[])(void) = {
        freeze_longer_than_the_block,
        freeze_beyond_the_end,
        freeze_of_a_negative_length,
        freeze_before_the_block,
        freeze_from_inside_a_block,
        freeze_of_foreign_memory,
        freeze_of_no_block,
        freeze_twice,
        freeze_of_nothing_of_a_frozen_block,
        release_once_too_often,
        clone_of_what_was_released,
    };
    for (size_t i = 0; i < sizeof(errors) / sizeof(*errors); i++) {
        int status = mem_in_child(errors[i]);
        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT)
            fail_msg("error %zu ends with status %#x", i, (unsigned)status);
    }
}

/* --- copies, slices, sharing ------------------------------------------------------------------ */

static void copy_of_nothing_is_empty(void **state)
{
    (void)state;
    struct plx_bytes bytes = frozen(&mem, 10);
    struct plx_bytes old = bytes;
    assert_int_equal(plx_bytes_copy(&mem.home, NULL, 0, &bytes), 0);
    assert_empty(&bytes);
    plx_bytes_release(&mem.home, &old);
}

static void copy_of_much_gets_a_block_of_its_own(void **state)
{
    (void)state;
    static const size_t lens[] = {PLX_BYTES_PACK_MAX, BLOCK, BLOCK + 1, 4 * BLOCK};
    for (size_t i = 0; i < sizeof(lens) / sizeof(*lens); i++) {
        struct plx_bytes bytes;
        assert_int_equal(plx_bytes_copy(&mem.home, text, lens[i], &bytes), 0);
        assert_int_equal(bytes.len, lens[i]);
        assert_memory_equal(bytes.ptr, text, lens[i]);
        assert_true(plx_bytes_is_sole(&bytes));
        assert_int_equal(mem_in_use(&mem), 1);
        plx_bytes_release(&mem.home, &bytes);
        assert_int_equal(mem_in_use(&mem), 0);
    }
}

static void copy_of_more_than_any_block_is_an_error(void **state)
{
    (void)state;
    struct plx_bytes bytes;
    assert_int_equal(plx_bytes_copy(&mem.home, text, 4 * BLOCK + 1, &bytes), -EMSGSIZE);
    assert_empty(&bytes);
    assert_int_equal(plx_bytes_copy(&mem.home, text, PLX_POOL_BLOCK_MAX + 1, &bytes), -EMSGSIZE);
    assert_int_equal(plx_bytes_copy(&mem.home, text, SIZE_MAX, &bytes), -EMSGSIZE);
    assert_empty(&bytes);
    assert_int_equal(mem_in_use(&mem), 0);
}

static void static_bytes_need_no_home(void **state)
{
    (void)state;
    struct plx_bytes bytes = plx_bytes_static("hello", 5);
    struct plx_bytes part;
    struct plx_bytes clone = plx_bytes_clone(&bytes);
    assert_int_equal(plx_bytes_slice(&bytes, 1, 3, &part), 0);
    assert_memory_equal(part.ptr, "ell", 3);
    assert_true(plx_bytes_is_sole(&clone));
    assert_int_equal(plx_bytes_make_sole(&mem.home, &clone), 0);
    assert_int_equal(plx_bytes_keep(&mem.home, &clone), 0);
    assert_ptr_equal(clone.ptr, bytes.ptr);
    plx_bytes_release(&mem.home, &bytes);
    plx_bytes_release(&mem.home, &part);
    assert_memory_equal(clone.ptr, "hello", 5);
    plx_bytes_release(&mem.home, &clone);
    bytes = plx_bytes_static("hello", 0);
    assert_empty(&bytes);
    bytes = plx_bytes_clone(&bytes);
    assert_empty(&bytes);
    assert_int_equal(plx_bytes_make_sole(&mem.home, &bytes), 0);
    assert_int_equal(plx_bytes_keep(&mem.home, &bytes), 0);
}

static void slice_shares_without_a_copy(void **state)
{
    (void)state;
    struct plx_bytes all = frozen(&mem, 3000);
    struct plx_bytes part;
    struct plx_bytes inner;
    assert_int_equal(plx_bytes_slice(&all, 1000, 2000, &part), 0);
    assert_ptr_equal(part.ptr, all.ptr + 1000);
    assert_int_equal(part.len, 2000);
    assert_int_equal(plx_bytes_slice(&part, 1999, 1, &inner), 0);
    assert_ptr_equal(inner.ptr, all.ptr + 2999);
    assert_false(plx_bytes_is_sole(&inner));
    plx_bytes_release(&mem.home, &all);
    plx_bytes_release(&mem.home, &part);
    assert_true(plx_bytes_is_sole(&inner));
    assert_int_equal(mem_in_use(&mem), 1);
    plx_bytes_release(&mem.home, &inner);
    assert_int_equal(mem_in_use(&mem), 0);
}

static void slice_of_nothing_holds_nothing(void **state)
{
    (void)state;
    struct plx_bytes all = frozen(&mem, 100);
    struct plx_bytes part;
    assert_int_equal(plx_bytes_slice(&all, 100, 0, &part), 0);
    assert_empty(&part);
    assert_true(plx_bytes_is_sole(&all));
    plx_bytes_release(&mem.home, &all);
}

static void slice_out_of_bounds_is_an_error_in_every_build(void **state)
{
    (void)state;
    static const size_t wrong[][2] = {{0, 101}, {101, 0}, {100, 1}, {1, SIZE_MAX}, {SIZE_MAX, 1}};
    struct plx_bytes all = frozen(&mem, 100);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        struct plx_bytes part = all;
        assert_int_equal(plx_bytes_slice(&all, wrong[i][0], wrong[i][1], &part), -ERANGE);
        assert_empty(&part);
    }
    assert_true(plx_bytes_is_sole(&all));
    plx_bytes_release(&mem.home, &all);
}

static void make_sole_copies_what_is_shared(void **state)
{
    (void)state;
    struct plx_bytes bytes = frozen(&mem, 100);
    const uint8_t *ptr = bytes.ptr;
    assert_int_equal(plx_bytes_make_sole(&mem.home, &bytes), 0);
    assert_ptr_equal(bytes.ptr, ptr);

    struct plx_bytes clone = plx_bytes_clone(&bytes);
    assert_int_equal(plx_bytes_make_sole(&mem.home, &clone), 0);
    assert_ptr_not_equal(clone.ptr, ptr);
    assert_memory_equal(clone.ptr, text, 100);
    assert_true(plx_bytes_is_sole(&clone));
    assert_true(plx_bytes_is_sole(&bytes));
    assert_int_equal(mem_in_use(&mem), 2);
    plx_bytes_release(&mem.home, &bytes);
    plx_bytes_release(&mem.home, &clone);
}

static void make_sole_takes_packed_bytes_out(void **state)
{
    (void)state;
    struct plx_bytes bytes;
    assert_int_equal(plx_bytes_copy(&mem.home, text, 64, &bytes), 0);
    /* The home may pack more behind it, so it is not alone. */
    assert_false(plx_bytes_is_sole(&bytes));
    assert_int_equal(plx_bytes_make_sole(&mem.home, &bytes), 0);
    assert_true(plx_bytes_is_sole(&bytes));
    assert_memory_equal(bytes.ptr, text, 64);
    plx_bytes_release(&mem.home, &bytes);

    /* Once the home packs elsewhere, the last slice in a block is sole. */
    assert_int_equal(plx_bytes_copy(&mem.home, text, 64, &bytes), 0);
    plx_bytes_home_fini(&mem.home);
    assert_true(plx_bytes_is_sole(&bytes));
    plx_bytes_release(&mem.home, &bytes);
}

/* --- packing ---------------------------------------------------------------------------------- */

static void small_copies_lie_one_behind_the_other(void **state)
{
    (void)state;
    struct plx_bytes bytes[3];
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(plx_bytes_copy(&mem.home, text + i, 511, &bytes[i]), 0);
    assert_ptr_equal(bytes[1].ptr, bytes[0].ptr + 511);
    assert_ptr_equal(bytes[2].ptr, bytes[1].ptr + 511);
    assert_int_equal(mem.home.packed, 3);
    assert_int_equal(mem_in_use(&mem), 1);
    for (size_t i = 0; i < 3; i++) {
        assert_memory_equal(bytes[i].ptr, text + i, 511);
        plx_bytes_release(&mem.home, &bytes[i]);
    }
    assert_int_equal(mem_in_use(&mem), 1);
}

static void block_of_gone_bytes_is_packed_anew(void **state)
{
    (void)state;
    struct plx_bytes bytes;
    const uint8_t *first = NULL;
    for (size_t i = 0; i < 1000; i++) {
        assert_int_equal(plx_bytes_copy(&mem.home, text, 100, &bytes), 0);
        if (i == 0)
            first = bytes.ptr;
        assert_ptr_equal(bytes.ptr, first);
        plx_bytes_release(&mem.home, &bytes);
    }
    assert_int_equal(mem_in_use(&mem), 1);
}

static void pool_without_small_blocks_packs_in_large_ones(void **state)
{
    (void)state;
    static const struct plx_pool_quota large_only = {.blocks = {0, 0, 0, 0, 2}};
    struct mem large;
    struct plx_bytes bytes[128];
    assert_int_equal(mem_open(&large, &large_only, NULL), 0);
    for (size_t i = 0; i < 128; i++)
        assert_int_equal(plx_bytes_copy(&large.home, text, 511, &bytes[i]), 0);
    assert_int_equal(mem_in_use(&large), 1);
    for (size_t i = 0; i < 128; i++)
        plx_bytes_release(&large.home, &bytes[i]);
    assert_null(mem_close(&large));
}

static void keep_moves_small_slices_out_of_their_block(void **state)
{
    (void)state;
    struct plx_bytes all = frozen(&mem, BLOCK);
    struct plx_bytes part;
    assert_int_equal(plx_bytes_slice(&all, 4000, 64, &part), 0);
    plx_bytes_release(&mem.home, &all);
    assert_int_equal(plx_bytes_keep(&mem.home, &part), 0);
    assert_memory_equal(part.ptr, text + 4000, 64);
    /* Only the common block is in use. */
    assert_int_equal(mem_in_use(&mem), 1);
    const uint8_t *ptr = part.ptr;
    assert_int_equal(plx_bytes_keep(&mem.home, &part), 0);
    assert_ptr_equal(part.ptr, ptr);
    plx_bytes_release(&mem.home, &part);

    all = frozen(&mem, PLX_BYTES_PACK_MAX);
    ptr = all.ptr;
    assert_int_equal(plx_bytes_keep(&mem.home, &all), 0);
    assert_ptr_equal(all.ptr, ptr);
    plx_bytes_release(&mem.home, &all);
}

static void ten_thousand_kept_messages_pin_no_blocks_of_their_own(void **state)
{
    (void)state;
    enum { messages = 10000, bytes_each = 64, per_block = PLX_POOL_BLOCK_MIN / bytes_each };
    static const struct plx_pool_quota many = {.blocks = {256}};
    static struct plx_bytes kept[messages];
    struct mem m;
    uint64_t random = mem_seed();
    assert_int_equal(mem_open(&m, &many, NULL), 0);
    for (size_t i = 0; i < messages; i++) {
        /* As it comes in: each in a block of its own. */
        uint8_t *block = plx_pool_acquire(&m.pool, BLOCK);
        assert_non_null(block);
        memset(block, (int)(i & 0xff), bytes_each);
        kept[i] = plx_bytes_freeze(&m.home, block, block, bytes_each);
        assert_int_equal(plx_bytes_keep(&m.home, &kept[i]), 0);
    }
    assert_int_equal(mem_in_use(&m), (messages + per_block - 1) / per_block);

    for (size_t left = messages; left > 0; left--) {
        size_t i = mem_random(&random) % left;
        for (size_t b = 0; b < bytes_each; b++)
            assert_int_equal(kept[i].ptr[b], *kept[i].ptr);
        plx_bytes_release(&m.home, &kept[i]);
        kept[i] = kept[left - 1];
        assert_in_range(mem_in_use(&m), 1, left);
    }
    assert_int_equal(mem_in_use(&m), 1);
    assert_null(mem_close(&m));
}

static void messages_released_in_their_order_pin_what_they_fill(void **state)
{
    (void)state;
    enum { window = 1000, messages = 100000 };
    static const struct plx_pool_quota many = {.blocks = {256}};
    static struct plx_bytes kept[window];
    static size_t lens[window];
    struct mem m;
    uint64_t random = mem_seed();
    size_t bytes = 0;
    assert_int_equal(mem_open(&m, &many, NULL), 0);
    for (size_t i = 0; i < messages; i++) {
        size_t at = i % window;
        bytes -= i < window ? 0 : lens[at];
        plx_bytes_release(&m.home, &kept[at]);
        lens[at] = 1 + mem_random(&random) % (PLX_BYTES_PACK_MAX - 1);
        assert_int_equal(plx_bytes_copy(&m.home, text, lens[at], &kept[at]), 0);
        bytes += lens[at];
        assert_true(mem_in_use(&m) <= bytes / (BLOCK - PLX_BYTES_PACK_MAX + 1) + 2);
    }
    for (size_t i = 0; i < window; i++)
        plx_bytes_release(&m.home, &kept[i]);
    assert_null(mem_close(&m));
}

/* --- dry pools -------------------------------------------------------------------------------- */

/* Each way to a block, on a slice of `bytes`: a result, with *bytes as it was on failure. */
struct site {
    size_t block; /* the class that runs dry */
    int (*call)(struct plx_bytes *bytes);
};

static int call_copy_small(struct plx_bytes *bytes)
{
    return plx_bytes_copy(&mem.home, bytes->ptr, 100, &made);
}

static int call_copy_large(struct plx_bytes *bytes)
{
    return plx_bytes_copy(&mem.home, bytes->ptr, 600, &made);
}

static int call_copy_larger(struct plx_bytes *bytes)
{
    (void)bytes;
    return plx_bytes_copy(&mem.home, text, BLOCK + 1, &made);
}

static int call_keep(struct plx_bytes *bytes)
{
    return plx_bytes_keep(&mem.home, bytes);
}

static int call_make_sole(struct plx_bytes *bytes)
{
    made = plx_bytes_clone(bytes);
    int rc = plx_bytes_make_sole(&mem.home, bytes);
    if (rc != 0)
        plx_bytes_release(&mem.home, &made);
    return rc;
}

static void dry_pool_fails_each_call_once_and_for_ever(void **state)
{
    (void)state;
    const struct site sites[] = {
        {1, call_copy_small}, {1, call_copy_large}, {BLOCK + 1, call_copy_larger},
        {1, call_keep},       {1, call_make_sole},
    };
    for (size_t i = 0; i < sizeof(sites) / sizeof(*sites); i++) {
        struct plx_bytes bytes = frozen(&mem, 300);
        const struct plx_bytes before = bytes;
        mem_drain(&mem, sites[i].block, 0);
        uint32_t in_use = mem_in_use(&mem);
        for (int again = 0; again < 3; again++) {
            assert_int_equal(sites[i].call(&bytes), -ENOMEM);
            assert_memory_equal(&bytes, &before, sizeof(bytes));
            assert_memory_equal(bytes.ptr, text, 300);
            assert_empty(&made);
            assert_int_equal(mem_in_use(&mem), in_use);
            assert_null(mem_check_holders(&mem, &bytes, 1));
        }
        mem_refill_one(&mem);
        assert_int_equal(sites[i].call(&bytes), 0);
        plx_bytes_release(&mem.home, &made);
        plx_bytes_release(&mem.home, &bytes);
        plx_bytes_home_fini(&mem.home);
        mem_refill(&mem);
        assert_int_equal(mem_in_use(&mem), 0);
    }
}

static void dry_pool_still_packs_what_fits_the_rest(void **state)
{
    (void)state;
    struct plx_bytes bytes[9];
    size_t count = 0;
    for (; count < 7; count++)
        assert_int_equal(plx_bytes_copy(&mem.home, text, 511, &bytes[count]), 0);
    mem_drain(&mem, 1, 0);
    assert_int_equal(plx_bytes_copy(&mem.home, text, 511, &bytes[count++]), 0);
    /* 8 bytes are left. */
    assert_int_equal(plx_bytes_copy(&mem.home, text, 511, &bytes[count]), -ENOMEM);
    assert_int_equal(plx_bytes_copy(&mem.home, text, 8, &bytes[count++]), 0);
    while (count-- > 0)
        plx_bytes_release(&mem.home, &bytes[count]);
}

/* --- between homes ---------------------------------------------------------------------------- */

/* A way home with room for two blocks. */
struct way {
    struct plx_pool *pool;
    void *blocks[2];
    uint32_t count;
};

static int way_home_of(void *ctx, const void *block)
{
    const struct way *way = ctx;
    return plx_pool_has(way->pool, block) ? 0 : -1;
}

static int way_send(void *ctx, uint32_t home, void *block)
{
    struct way *way = ctx;
    assert_int_equal(home, 0);
    if (way->count == 2)
        return -EAGAIN;
    way->blocks[way->count++] = block;
    return 0;
}

static void sole_slice_is_shared_and_released_elsewhere(void **state)
{
    (void)state;
    const struct plx_pool_opts opts = {.homes = 1};
    struct way way = {.pool = &mem.pool};
    const struct plx_pool_remote remote = {way_home_of, way_send, &way};
    struct mem other;
    assert_int_equal(mem_open(&other, &quota, &opts), 0);
    plx_pool_set_remote(&other.pool, &remote);

    /* Small and foreign: kept, it leaves the foreign block. */
    for (size_t i = 0; i < 3; i++) {
        struct plx_bytes bytes;
        struct plx_bytes part;
        if (i == 0) {
            /* Packed there, and alone in its block since. */
            assert_int_equal(plx_bytes_copy(&mem.home, text, 100, &bytes), 0);
            plx_bytes_home_fini(&mem.home);
        } else {
            bytes = frozen(&mem, 100);
        }
        assert_true(plx_bytes_is_sole(&bytes));
        assert_int_equal(plx_bytes_slice(&bytes, 10, 50, &part), 0);
        assert_int_equal(plx_bytes_keep(&other.home, &bytes), 0);
        assert_ptr_equal(bytes.home, &other.home);
        plx_bytes_release(&other.home, &part);
        assert_memory_equal(bytes.ptr, text, 100);
        plx_bytes_release(&other.home, &bytes);
    }
    assert_int_equal(mem_in_use(&mem), 3);
    assert_int_equal(way.count, 2);
    while (way.count > 0)
        plx_pool_release_home(&mem.pool, way.blocks[--way.count]);
    assert_int_equal(plx_pool_flush(&other.pool), 1);
    plx_pool_release_home(&mem.pool, way.blocks[--way.count]);
    assert_int_equal(mem_in_use(&mem), 0);
    plx_pool_set_remote(&other.pool, NULL);
    assert_null(mem_close(&other));
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(home_takes_what_was_measured),
        CASE(home_that_ended_takes_its_slices_back),
        CASE(check_sees_books_that_are_wrong),
        CASE(freeze_makes_exactly_the_bytes_read),
        CASE(freeze_of_all_of_a_block_of_each_class_fits),
        CASE(freeze_of_nothing_gives_the_block_back),
        CASE(programmers_errors_abort_in_every_build),
        CASE(copy_of_nothing_is_empty),
        CASE(copy_of_much_gets_a_block_of_its_own),
        CASE(copy_of_more_than_any_block_is_an_error),
        CASE(static_bytes_need_no_home),
        CASE(slice_shares_without_a_copy),
        CASE(slice_of_nothing_holds_nothing),
        CASE(slice_out_of_bounds_is_an_error_in_every_build),
        CASE(make_sole_copies_what_is_shared),
        CASE(make_sole_takes_packed_bytes_out),
        CASE(small_copies_lie_one_behind_the_other),
        CASE(block_of_gone_bytes_is_packed_anew),
        CASE(pool_without_small_blocks_packs_in_large_ones),
        CASE(keep_moves_small_slices_out_of_their_block),
        CASE(ten_thousand_kept_messages_pin_no_blocks_of_their_own),
        CASE(messages_released_in_their_order_pin_what_they_fill),
        CASE(dry_pool_fails_each_call_once_and_for_ever),
        CASE(dry_pool_still_packs_what_fits_the_rest),
        CASE(sole_slice_is_shared_and_released_elsewhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
