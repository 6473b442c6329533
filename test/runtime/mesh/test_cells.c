/* SPDX-License-Identifier: MIT */
/* The cell queue used by one thread: bounds, order, places, laps, and indexes about to wrap. */
#include "runtime/mesh/cells.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void *allocate(uint32_t slots)
{
    size_t bytes = sizeof(struct plx_cells) + (size_t)slots * PLX_CACHE_LINE;
    void *memory = aligned_alloc(PLX_CACHE_LINE, bytes);
    assert_non_null(memory);
    memset(memory, 0xa5, bytes);
    return memory;
}

static struct plx_cells *make(uint32_t slots)
{
    struct plx_cells *q = NULL;
    assert_int_equal(plx_cells_init(allocate(slots), slots, &q), 0);
    return q;
}

static bool send(struct plx_cells *q, uint64_t value)
{
    uint64_t *cell = plx_cells_reserve(q);
    if (cell == NULL)
        return false;
    for (size_t i = 0; i < PLX_CELL_BYTES / sizeof(*cell); i++)
        cell[i] = value * 31 + i;
    plx_cells_commit(q);
    return true;
}

static void expect(struct plx_cells *q, uint64_t value)
{
    const uint64_t *cell = plx_cells_peek(q);
    assert_non_null(cell);
    for (size_t i = 0; i < PLX_CELL_BYTES / sizeof(*cell); i++)
        assert_int_equal(cell[i], value * 31 + i);
    plx_cells_consume(q);
}

static void bytes_powers_of_two_in_range_are_given(void **state)
{
    (void)state;
    for (uint32_t slots = PLX_CELLS_SLOTS_MIN; slots <= PLX_CELLS_SLOTS_MAX; slots *= 2)
        assert_int_equal(plx_cells_bytes(slots), sizeof(struct plx_cells) + 64 * (size_t)slots);
}

static void bytes_other_numbers_are_zero(void **state)
{
    (void)state;
    const uint32_t wrong[] = {0, 1, 4, 7, 9, 12, 1000, 65535, 65537, 131072, 1u << 31, UINT32_MAX};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_int_equal(plx_cells_bytes(wrong[i]), 0);
}

static void init_invalid_arguments_are_refused(void **state)
{
    (void)state;
    char *memory = allocate(16);
    struct plx_cells *q = (struct plx_cells *)(void *)memory;
    assert_int_equal(plx_cells_init(NULL, 16, &q), -EINVAL);
    assert_null(q);
    const size_t offsets[] = {1, 8, 32, 63};
    for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
        assert_int_equal(plx_cells_init(memory + offsets[i], 8, &q), -EINVAL);
        assert_null(q);
    }
    const uint32_t wrong[] = {0, 4, 12, 131072};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(plx_cells_init(memory, wrong[i], &q), -EINVAL);
        assert_null(q);
    }
    free(memory);
}

static void init_any_line_is_aligned_enough(void **state)
{
    (void)state;
    char *memory = aligned_alloc(128, 2 * plx_cells_bytes(8));
    assert_non_null(memory);
    for (size_t offset = 0; offset <= 64; offset += 64) {
        struct plx_cells *q = NULL;
        assert_int_equal(plx_cells_init(memory + offset, 8, &q), 0);
        assert_true(send(q, 1));
        expect(q, 1);
    }
    free(memory);
}

static void init_writes_nothing_beyond_its_bytes(void **state)
{
    (void)state;
    size_t bytes = plx_cells_bytes(32);
    unsigned char *memory = aligned_alloc(PLX_CACHE_LINE, bytes + PLX_CACHE_LINE);
    assert_non_null(memory);
    memset(memory, 0x5a, bytes + PLX_CACHE_LINE);
    struct plx_cells *q = NULL;
    assert_int_equal(plx_cells_init(memory, 32, &q), 0);
    for (uint64_t i = 0; i < 100; i++) {
        assert_true(send(q, i));
        expect(q, i);
    }
    for (size_t i = bytes; i < bytes + PLX_CACHE_LINE; i++)
        assert_int_equal(memory[i], 0x5a);
    free(memory);
}

static void queue_new_is_empty(void **state)
{
    (void)state;
    struct plx_cells *q = make(16);
    assert_int_equal(plx_cells_slots(q), 16);
    assert_int_equal(plx_cells_count_estimate(q), 0);
    for (int i = 0; i < 100; i++)
        assert_null(plx_cells_peek(q));
    free(q);
}

static void queue_full_refuses_and_loses_nothing(void **state)
{
    (void)state;
    for (uint32_t slots = PLX_CELLS_SLOTS_MIN; slots <= 4096; slots *= 2) {
        struct plx_cells *q = make(slots);
        for (uint32_t i = 0; i < slots; i++)
            assert_true(send(q, i));
        assert_int_equal(plx_cells_count_estimate(q), slots);
        assert_null(plx_cells_reserve(q));
        assert_null(plx_cells_reserve(q));
        for (uint32_t i = 0; i < slots; i++)
            expect(q, i);
        assert_null(plx_cells_peek(q));
        assert_int_equal(plx_cells_count_estimate(q), 0);
        free(q);
    }
}

static void reserve_before_commit_gives_the_same_hidden_cell(void **state)
{
    (void)state;
    struct plx_cells *q = make(8);
    void *cell = plx_cells_reserve(q);
    assert_non_null(cell);
    assert_int_equal((uintptr_t)cell % PLX_CACHE_LINE, 8);
    assert_ptr_equal(plx_cells_reserve(q), cell);
    assert_null(plx_cells_peek(q));
    assert_int_equal(plx_cells_count_estimate(q), 0);
    plx_cells_commit(q);
    assert_ptr_equal(plx_cells_peek(q), cell);
    assert_int_equal(plx_cells_count_estimate(q), 1);
    assert_ptr_not_equal(plx_cells_reserve(q), cell);
    free(q);
}

static void peek_before_consume_gives_the_same_cell(void **state)
{
    (void)state;
    struct plx_cells *q = make(8);
    assert_true(send(q, 1));
    assert_true(send(q, 2));
    const void *cell = plx_cells_peek(q);
    assert_non_null(cell);
    assert_ptr_equal(plx_cells_peek(q), cell);
    expect(q, 1);
    assert_ptr_not_equal(plx_cells_peek(q), cell);
    expect(q, 2);
    assert_null(plx_cells_peek(q));
    free(q);
}

static void consume_returns_slots_by_batches(void **state)
{
    (void)state;
    struct plx_cells *q = make(1024);
    assert_int_equal(plx_cells_lag(q), PLX_CELLS_BATCH_MAX - 1);
    for (uint32_t i = 0; i < 1024; i++)
        assert_true(send(q, i));
    for (uint32_t i = 0; i + 1 < PLX_CELLS_BATCH_MAX; i++)
        expect(q, i);
    assert_false(send(q, 0));
    expect(q, PLX_CELLS_BATCH_MAX - 1);
    for (uint32_t i = 0; i < PLX_CELLS_BATCH_MAX; i++)
        assert_true(send(q, 1024 + i));
    assert_false(send(q, 0));
    for (uint32_t i = PLX_CELLS_BATCH_MAX; i < 1024 + PLX_CELLS_BATCH_MAX; i++)
        expect(q, i);
    free(q);
}

/* What the header promises to a producer whose messages have all been consumed. */
static void consume_all_leaves_slots_less_lag_free(void **state)
{
    (void)state;
    for (uint32_t slots = PLX_CELLS_SLOTS_MIN; slots <= 512; slots *= 2) {
        for (uint32_t offset = 0; offset < slots; offset++) {
            struct plx_cells *q = make(slots);
            for (uint32_t i = 0; i < offset; i++) {
                assert_true(send(q, i));
                expect(q, i);
            }
            for (uint32_t i = 0; i < slots - plx_cells_lag(q); i++)
                assert_true(send(q, i));
            free(q);
        }
    }
}

static void peek_empty_repeatedly_returns_all_slots(void **state)
{
    (void)state;
    struct plx_cells *q = make(256);
    for (uint64_t i = 0; i < 5; i++) {
        assert_true(send(q, i));
        expect(q, i);
    }
    assert_int_equal(plx_cells_count_estimate(q), 5);
    for (int i = 0; i < PLX_CELLS_EMPTY_LOOKS; i++)
        assert_null(plx_cells_peek(q));
    assert_int_equal(plx_cells_count_estimate(q), 0);
    for (uint64_t i = 0; i < 256; i++)
        assert_true(send(q, i));
    assert_false(send(q, 0));
    free(q);
}

static void queue_many_laps_keep_order(void **state)
{
    (void)state;
    struct plx_cells *q = make(64);
    uint64_t sent = 0;
    uint64_t received = 0;
    uint64_t random = 12345;
    while (received < 100000) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        for (uint64_t n = (random >> 33) % 80; n > 0 && send(q, sent); n--)
            sent++;
        assert_true(sent - received <= 64);
        for (uint64_t n = (random >> 48) % 80; n > 0 && received < sent; n--)
            expect(q, received++);
    }
    free(q);
}

static void queue_index_wrap_is_no_event(void **state)
{
    (void)state;
    for (uint64_t before = 0; before < 40; before++) {
        void *memory = allocate(16);
        struct plx_cells *q = plx__cells_setup(memory, 16, 4, 0 - before);
        assert_null(plx_cells_peek(q));
        assert_int_equal(plx_cells_count_estimate(q), 0);
        uint64_t sent = 0;
        uint64_t received = 0;
        for (int lap = 0; lap < 6; lap++) {
            while (send(q, sent))
                sent++;
            assert_true(sent - received >= 16 - plx_cells_lag(q) && sent - received <= 16);
            while (received < sent)
                expect(q, received++);
            assert_null(plx_cells_peek(q));
        }
        free(memory);
    }
}

/* Memory that happens to hold the awaited sequences must not pass for cells. */
static void init_over_old_queue_is_empty(void **state)
{
    (void)state;
    void *memory = allocate(8);
    struct plx_cells *q = NULL;
    for (int round = 0; round < 3; round++) {
        assert_int_equal(plx_cells_init(memory, 8, &q), 0);
        assert_null(plx_cells_peek(q));
        for (uint64_t i = 0; i < 8; i++)
            assert_true(send(q, i));
    }
    free(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_powers_of_two_in_range_are_given),
        cmocka_unit_test(bytes_other_numbers_are_zero),
        cmocka_unit_test(init_invalid_arguments_are_refused),
        cmocka_unit_test(init_any_line_is_aligned_enough),
        cmocka_unit_test(init_writes_nothing_beyond_its_bytes),
        cmocka_unit_test(queue_new_is_empty),
        cmocka_unit_test(queue_full_refuses_and_loses_nothing),
        cmocka_unit_test(reserve_before_commit_gives_the_same_hidden_cell),
        cmocka_unit_test(peek_before_consume_gives_the_same_cell),
        cmocka_unit_test(consume_returns_slots_by_batches),
        cmocka_unit_test(consume_all_leaves_slots_less_lag_free),
        cmocka_unit_test(peek_empty_repeatedly_returns_all_slots),
        cmocka_unit_test(queue_many_laps_keep_order),
        cmocka_unit_test(queue_index_wrap_is_no_event),
        cmocka_unit_test(init_over_old_queue_is_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
