/* SPDX-License-Identifier: MIT */
/* The packed queue used by one thread: bounds, order, runs, laps, and indexes about to wrap. */
#include "runtime/mesh/packed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct plx_packed *make(uint32_t capacity, uint32_t element_bytes)
{
    size_t bytes = plx_round_up(plx_packed_bytes(capacity, element_bytes), PLX_CACHE_LINE);
    void *memory = aligned_alloc(PLX_CACHE_LINE, bytes);
    struct plx_packed *q = NULL;
    assert_non_null(memory);
    memset(memory, 0xa5, bytes);
    assert_int_equal(plx_packed_init(memory, capacity, element_bytes, &q), 0);
    return q;
}

/* Sends as much of `count` as one reserve gives, numbered from *number on. */
static uint32_t send(struct plx_packed *q, uint32_t count, uint64_t *number)
{
    void *run = NULL;
    size_t words = plx_packed_element_bytes(q) / sizeof(uint64_t);
    count = plx_packed_reserve(q, count, &run);
    uint64_t *word = run;
    for (uint32_t i = 0; i < count; i++, ++*number) {
        for (size_t w = 0; w < words; w++)
            *word++ = *number * 31 + w;
    }
    if (count != 0)
        plx_packed_commit(q, count);
    return count;
}

/* Takes as much as one peek gives. */
static uint32_t take(struct plx_packed *q, uint32_t count, uint64_t *number)
{
    const void *run = NULL;
    size_t words = plx_packed_element_bytes(q) / sizeof(uint64_t);
    count = plx_packed_peek(q, count, &run);
    const uint64_t *word = run;
    for (uint32_t i = 0; i < count; i++, ++*number) {
        for (size_t w = 0; w < words; w++)
            assert_int_equal(*word++, *number * 31 + w);
    }
    if (count != 0)
        plx_packed_consume(q, count);
    return count;
}

static void bytes_right_shapes_are_given(void **state)
{
    (void)state;
    for (uint32_t bytes = 8; bytes <= 64; bytes += 8) {
        for (uint32_t capacity = 8; capacity <= PLX_PACKED_CAPACITY_MAX; capacity *= 2)
            assert_int_equal(plx_packed_bytes(capacity, bytes),
                             sizeof(struct plx_packed) + (size_t)capacity * bytes);
    }
}

static void init_wrong_shapes_are_refused(void **state)
{
    (void)state;
    static const struct {
        uint32_t capacity;
        uint32_t element_bytes;
    } wrong[] = {{0, 8},    {4, 8},    {12, 8},    {1000, 8},  {2097152, 8}, {UINT32_MAX, 8},
                 {1024, 0}, {1024, 4}, {1024, 12}, {1024, 60}, {1024, 72},   {1024, UINT32_MAX}};
    char *memory = aligned_alloc(PLX_CACHE_LINE, 4096);
    assert_non_null(memory);
    struct plx_packed *q = (struct plx_packed *)(void *)memory;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(plx_packed_bytes(wrong[i].capacity, wrong[i].element_bytes), 0);
        assert_int_equal(plx_packed_init(memory, wrong[i].capacity, wrong[i].element_bytes, &q),
                         -EINVAL);
        assert_null(q);
    }
    assert_int_equal(plx_packed_init(NULL, 16, 8, &q), -EINVAL);
    assert_null(q);
    static const size_t offsets[] = {1, 8, 32, 63};
    for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
        q = (struct plx_packed *)(void *)memory;
        assert_int_equal(plx_packed_init(memory + offsets[i], 16, 8, &q), -EINVAL);
        assert_null(q);
    }
    free(memory);
}

static void init_writes_nothing_beyond_its_bytes(void **state)
{
    (void)state;
    size_t bytes = plx_packed_bytes(8, 40);
    unsigned char *memory = aligned_alloc(PLX_CACHE_LINE, plx_round_up(bytes + 64, 64));
    assert_non_null(memory);
    memset(memory, 0x5a, bytes + 64);
    struct plx_packed *q = NULL;
    assert_int_equal(plx_packed_init(memory, 8, 40, &q), 0);
    uint64_t sent = 0;
    uint64_t taken = 0;
    while (sent < 100) {
        assert_true(send(q, 5, &sent) != 0);
        while (taken < sent)
            assert_true(take(q, 5, &taken) != 0);
    }
    for (size_t i = bytes; i < bytes + 64; i++)
        assert_int_equal(memory[i], 0x5a);
    free(memory);
}

static void queue_new_is_empty_with_all_its_room(void **state)
{
    (void)state;
    struct plx_packed *q = make(16, 8);
    const void *run;
    void *room;
    assert_int_equal(plx_packed_capacity(q), 16);
    assert_int_equal(plx_packed_element_bytes(q), 8);
    assert_int_equal(plx_packed_count_estimate(q), 0);
    assert_int_equal(plx_packed_peek(q, 1, &run), 0);
    assert_int_equal(plx_packed_reserve(q, 100, &room), 16);
    assert_int_equal((uintptr_t)room % PLX_CACHE_LINE, 0);
    free(q);
}

static void queue_full_gives_nothing_until_consumed(void **state)
{
    (void)state;
    struct plx_packed *q = make(16, 8);
    uint64_t sent = 0;
    uint64_t taken = 0;
    assert_int_equal(send(q, 10, &sent), 10);
    assert_int_equal(send(q, 10, &sent), 6);
    assert_int_equal(send(q, 10, &sent), 0);
    assert_int_equal(plx_packed_count_estimate(q), 16);
    /* A quarter makes a batch; less is not told yet. */
    assert_int_equal(plx_packed_lag(q), 3);
    assert_int_equal(take(q, 3, &taken), 3);
    assert_int_equal(send(q, 1, &sent), 0);
    assert_int_equal(take(q, 1, &taken), 1);
    assert_int_equal(send(q, 10, &sent), 4);
    while (taken < sent)
        assert_true(take(q, 16, &taken) != 0);
    assert_int_equal(take(q, 1, &taken), 0);
    free(q);
}

static void run_ends_where_the_memory_ends(void **state)
{
    (void)state;
    struct plx_packed *q = make(16, 24);
    uint64_t sent = 0;
    uint64_t taken = 0;
    assert_int_equal(send(q, 12, &sent), 12);
    assert_int_equal(take(q, 12, &taken), 12);
    assert_int_equal(send(q, 8, &sent), 4);
    assert_int_equal(send(q, 8, &sent), 8);
    /* The consumer's runs do, too; 4 was all that it had been told of. */
    assert_int_equal(take(q, 16, &taken), 4);
    assert_int_equal(take(q, 16, &taken), 8);
    assert_int_equal(take(q, 16, &taken), 0);
    free(q);
}

static void commit_of_a_part_leaves_the_rest_reserved(void **state)
{
    (void)state;
    struct plx_packed *q = make(16, 8);
    const void *seen;
    void *run;
    void *again;
    assert_int_equal(plx_packed_reserve(q, 8, &run), 8);
    uint64_t *words = run;
    for (uint64_t i = 0; i < 8; i++)
        words[i] = 100 + i;
    assert_int_equal(plx_packed_peek(q, 8, &seen), 0);
    plx_packed_commit(q, 3);
    assert_int_equal(plx_packed_peek(q, 8, &seen), 3);
    assert_int_equal(plx_packed_reserve(q, 8, &again), 8);
    assert_ptr_equal(again, words + 3);
    plx_packed_commit(q, 5);
    /* A part of what was seen, then the rest, and only then another look. */
    plx_packed_consume(q, 2);
    assert_int_equal(plx_packed_peek(q, 8, &seen), 1);
    assert_int_equal(*(const uint64_t *)seen, 102);
    plx_packed_consume(q, 1);
    assert_int_equal(plx_packed_peek(q, 8, &seen), 5);
    assert_int_equal(*(const uint64_t *)seen, 103);
    plx_packed_consume(q, 5);
    assert_int_equal(plx_packed_peek(q, 8, &seen), 0);
    free(q);
}

static void consumer_that_keeps_finding_nothing_gives_all_back(void **state)
{
    (void)state;
    struct plx_packed *q = make(1024, 8);
    uint64_t sent = 0;
    uint64_t taken = 0;
    assert_int_equal(send(q, 5, &sent), 5);
    assert_int_equal(take(q, 5, &taken), 5);
    assert_int_equal(plx_packed_count_estimate(q), 5);
    for (int i = 0; i < PLX_PACKED_EMPTY_LOOKS; i++)
        assert_int_equal(take(q, 1, &taken), 0);
    assert_int_equal(plx_packed_count_estimate(q), 0);
    free(q);
}

static void elements_of_every_size_keep_order_over_laps(void **state)
{
    (void)state;
    for (uint32_t bytes = 8; bytes <= 64; bytes += 8) {
        struct plx_packed *q = make(32, bytes);
        uint64_t sent = 0;
        uint64_t taken = 0;
        for (uint32_t step = 0; sent < 2000; step++) {
            (void)send(q, 1 + step % 7, &sent);
            (void)take(q, 1 + step % 5, &taken);
        }
        while (taken < sent)
            assert_true(take(q, 32, &taken) != 0);
        free(q);
    }
}

static void indexes_that_wrap_change_nothing(void **state)
{
    (void)state;
    struct plx_packed *q = make(16, 16);
    uint64_t sent = 0;
    uint64_t taken = 0;
    q = plx__packed_setup(q, 16, 16, 4, 0 - (uint64_t)37);
    for (int i = 0; i < 100; i++) {
        uint64_t before = sent;
        while (sent - before < 11)
            assert_true(send(q, (uint32_t)(11 - (sent - before)), &sent) != 0);
        assert_true(plx_packed_count_estimate(q) >= 11);
        while (taken < sent)
            assert_true(take(q, 16, &taken) != 0);
    }
    free(q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_right_shapes_are_given),
        cmocka_unit_test(init_wrong_shapes_are_refused),
        cmocka_unit_test(init_writes_nothing_beyond_its_bytes),
        cmocka_unit_test(queue_new_is_empty_with_all_its_room),
        cmocka_unit_test(queue_full_gives_nothing_until_consumed),
        cmocka_unit_test(run_ends_where_the_memory_ends),
        cmocka_unit_test(commit_of_a_part_leaves_the_rest_reserved),
        cmocka_unit_test(consumer_that_keeps_finding_nothing_gives_all_back),
        cmocka_unit_test(elements_of_every_size_keep_order_over_laps),
        cmocka_unit_test(indexes_that_wrap_change_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
