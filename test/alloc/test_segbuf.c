/* SPDX-License-Identifier: MIT */
/* The queue of slices: each operation and each error, and random ones beside a model. */
#include "alloc/segbuf.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "test/alloc/mem_fixture.h"
#include "test/alloc/segbuf_model.h"

#define BLOCK PLX_POOL_BLOCK_MIN
#define SEGMENTS 16

static struct mem mem;
static struct plx_segbuf queue;
static struct plx_bytes segments[SEGMENTS];
static uint8_t text[8 * BLOCK];
static uint8_t scratch[8 * BLOCK];

static int set_up(void **state)
{
    (void)state;
    static const struct plx_pool_quota quota = {.blocks = {16, 4, 2}};
    uint64_t random = 7;
    mem_fill_random(&random, text, sizeof(text));
    int rc = mem_open(&mem, &quota, NULL);
    return rc != 0 ? rc : plx_segbuf_init(&queue, &mem.home, segments, SEGMENTS);
}

static int tear_down(void **state)
{
    (void)state;
    const char *wrong = plx__segbuf_check(&queue);
    plx_segbuf_fini(&queue);
    const char *left = mem_close(&mem);
    wrong = wrong != NULL ? wrong : left;
    if (wrong != NULL)
        print_message("%s\n", wrong);
    return wrong != NULL;
}

/* A frozen block that reads as `text` from `from` on. */
static struct plx_bytes frozen(size_t from, size_t len)
{
    uint8_t *block = plx_pool_acquire(&mem.pool, len);
    assert_non_null(block);
    memcpy(block, text + from, len);
    return plx_bytes_freeze(&mem.home, block, block, len);
}

/* Appends `text` from `from` on without a copy. */
static void extend_frozen(size_t from, size_t len)
{
    struct plx_bytes bytes = frozen(from, len);
    assert_int_equal(plx_segbuf_extend(&queue, &bytes), 0);
    assert_null(bytes.ptr);
    assert_null(bytes.home);
    assert_int_equal(bytes.len, 0);
}

static void assert_reads(size_t from, size_t len)
{
    assert_null(plx__segbuf_check(&queue));
    assert_int_equal(plx_segbuf_len(&queue), len);
    assert_int_equal(plx_segbuf_copy_out(&queue, 0, scratch, len), 0);
    assert_memory_equal(scratch, text + from, len);
}

/* The queue of most cases: 1000 + 4096 + 600 bytes of text in three segments. */
enum { FIRST = 1000, SECOND = 4096, THIRD = 600, ALL = FIRST + SECOND + THIRD };

static void extend_by_three(void)
{
    extend_frozen(0, FIRST);
    extend_frozen(FIRST, SECOND);
    extend_frozen(FIRST + SECOND, THIRD);
    assert_int_equal(queue.count, 3);
    assert_reads(0, ALL);
}

/* --- lifecycle -------------------------------------------------------------------------------- */

static void init_refuses_what_is_no_ring(void **state)
{
    (void)state;
    static const uint32_t wrong[] = {0, 1, 3, 17, 65537, 131072, UINT32_MAX};
    struct plx_segbuf other;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        assert_int_equal(plx_segbuf_init(&other, &mem.home, segments, wrong[i]), -EINVAL);
        assert_int_equal(other.capacity, 0);
    }
    assert_int_equal(plx_segbuf_init(&other, NULL, segments, SEGMENTS), -EINVAL);
    assert_int_equal(plx_segbuf_init(&other, &mem.home, NULL, SEGMENTS), -EINVAL);
    assert_int_equal(plx_segbuf_init(&other, &mem.home, segments, PLX_SEGBUF_SEGMENTS_MIN), 0);
    assert_int_equal(plx_segbuf_init(&other, &mem.home, segments, PLX_SEGBUF_SEGMENTS_MAX), 0);
}

static void zeroed_queue_is_empty_and_has_no_room(void **state)
{
    (void)state;
    struct plx_segbuf none;
    size_t len = 1;
    struct plx_bytes bytes = plx_bytes_static("x", 1);
    struct plx_bytes counted = frozen(0, 10);
    struct iovec part;
    memset(&none, 0, sizeof(none));
    assert_int_equal(plx_segbuf_extend(&none, &bytes), -ENOBUFS);
    assert_int_equal(plx_segbuf_extend(&none, &counted), -ENOBUFS);
    assert_int_equal(plx_segbuf_extend_copy(&none, "x", 1), -ENOBUFS);
    assert_int_equal(plx_segbuf_extend_copy(&none, NULL, 0), 0);
    assert_int_equal(plx_segbuf_len(&none), 0);
    assert_null(plx_segbuf_front(&none, &len));
    assert_int_equal(len, 0);
    assert_null(plx_segbuf_peek(&none, 0, 1, scratch));
    assert_int_equal(plx_segbuf_find(&none, 0, "x", 1), -ENOENT);
    assert_int_equal(plx_segbuf_iovec(&none, &part, 1), 0);
    assert_int_equal(plx_segbuf_take(&none, 1, &bytes), -EAGAIN);
    assert_int_equal(plx_segbuf_take(&none, 0, &bytes), 0);
    assert_int_equal(plx_segbuf_skip(&none, 1), -EAGAIN);
    plx_segbuf_clear(&none);
    plx_segbuf_fini(&none);
    plx_bytes_release(&mem.home, &counted);
}

static void clear_gives_all_blocks_back(void **state)
{
    (void)state;
    extend_by_three();
    assert_int_equal(mem_in_use(&mem), 3);
    plx_segbuf_clear(&queue);
    assert_int_equal(mem_in_use(&mem), 0);
    assert_int_equal(plx_segbuf_len(&queue), 0);
    extend_by_three();
    plx_segbuf_fini(&queue);
    assert_int_equal(mem_in_use(&mem), 0);
    assert_int_equal(queue.capacity, 0);
}

static void check_sees_a_queue_that_is_wrong(void **state)
{
    (void)state;
    struct plx_segbuf none = {.behind = 1};
    assert_non_null(plx__segbuf_check(&none));
    assert_int_equal(plx_segbuf_extend_copy(&queue, text, 700), 0);
    struct plx_segbuf wrong = queue;
    wrong.len++;
    assert_non_null(plx__segbuf_check(&wrong));
    wrong = queue;
    wrong.behind--;
    assert_non_null(plx__segbuf_check(&wrong));
    wrong = queue;
    wrong.count = SEGMENTS + 1;
    assert_non_null(plx__segbuf_check(&wrong));
    memset(&segments[1], 0, sizeof(segments[1]));
    wrong = queue;
    wrong.count = 2;
    assert_non_null(plx__segbuf_check(&wrong));
    assert_null(plx__segbuf_check(&queue));
}

/* --- filling ---------------------------------------------------------------------------------- */

static void extend_of_nothing_changes_nothing(void **state)
{
    (void)state;
    struct plx_bytes none = {0};
    assert_int_equal(plx_segbuf_extend(&queue, &none), 0);
    assert_int_equal(plx_segbuf_extend_copy(&queue, NULL, 0), 0);
    assert_int_equal(queue.count, 0);
}

static void extend_takes_large_slices_as_they_are(void **state)
{
    (void)state;
    struct plx_bytes bytes = frozen(0, PLX_BYTES_PACK_MAX);
    const uint8_t *ptr = bytes.ptr;
    size_t len;
    assert_int_equal(plx_segbuf_extend(&queue, &bytes), 0);
    assert_ptr_equal(plx_segbuf_front(&queue, &len), ptr);
    assert_int_equal(len, PLX_BYTES_PACK_MAX);
}

static void extend_copies_small_slices_and_lets_their_blocks_go(void **state)
{
    (void)state;
    for (size_t i = 0; i < 1000; i++) {
        extend_frozen(i * 8, 8);
        /* One that is common, and one of the queue's own; never one for each slice. */
        assert_in_range(mem_in_use(&mem), 1, i / 512 + 3);
    }
    assert_reads(0, 8000);
    assert_in_range(queue.count, 1, 4);
}

static void extend_leaves_small_static_slices_where_they_are(void **state)
{
    (void)state;
    struct plx_bytes bytes = plx_bytes_static(text, 10);
    struct plx_bytes behind = plx_bytes_static(text + 10, 10);
    size_t len;
    assert_int_equal(plx_segbuf_extend(&queue, &bytes), 0);
    /* Neighbours in memory may be two objects: not joined. */
    assert_int_equal(plx_segbuf_extend(&queue, &behind), 0);
    assert_int_equal(queue.count, 2);
    assert_ptr_equal(plx_segbuf_front(&queue, &len), text);
    assert_reads(0, 20);
}

static void extend_joins_what_lies_behind_in_the_same_block(void **state)
{
    (void)state;
    struct plx_bytes all = frozen(0, 3000);
    struct plx_bytes part;
    for (size_t offset = 0; offset < 3000; offset += 600) {
        assert_int_equal(plx_bytes_slice(&all, offset, 600, &part), 0);
        assert_int_equal(plx_segbuf_extend(&queue, &part), 0);
        assert_null(part.ptr);
    }
    assert_int_equal(queue.count, 1);
    assert_reads(0, 3000);
    plx_bytes_release(&mem.home, &all);
    assert_null(mem_check_holders(&mem, segments, 1));
    assert_int_equal(mem_in_use(&mem), 1);
}

static void extend_without_a_segment_is_an_error_and_takes_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < SEGMENTS; i++) {
        struct plx_bytes bytes = plx_bytes_static(text + i * 20, 20);
        assert_int_equal(plx_segbuf_extend(&queue, &bytes), 0);
    }
    struct plx_bytes large = frozen(0, 600);
    struct plx_bytes small = frozen(0, 10);
    const struct plx_bytes before[] = {large, small};
    assert_int_equal(plx_segbuf_extend(&queue, &large), -ENOBUFS);
    assert_int_equal(plx_segbuf_extend(&queue, &small), -ENOBUFS);
    assert_memory_equal(&large, &before[0], sizeof(large));
    assert_memory_equal(&small, &before[1], sizeof(small));
    assert_reads(0, 20 * SEGMENTS);
    plx_bytes_release(&mem.home, &large);
    plx_bytes_release(&mem.home, &small);
    assert_int_equal(plx_segbuf_skip(&queue, 20), 0);
    large = frozen(20 * SEGMENTS, 600);
    assert_int_equal(plx_segbuf_extend(&queue, &large), 0);
    assert_reads(20, 20 * (SEGMENTS - 1) + 600);
}

static void extend_of_small_slices_needs_no_pool(void **state)
{
    (void)state;
    struct plx_bytes bytes = frozen(0, 10);
    const uint8_t *ptr = bytes.ptr;
    size_t len;
    mem_drain(&mem, 1, 0);
    assert_int_equal(plx_segbuf_extend(&queue, &bytes), 0);
    assert_ptr_equal(plx_segbuf_front(&queue, &len), ptr);
    assert_reads(0, 10);
}

static void extend_copy_spans_blocks(void **state)
{
    (void)state;
    assert_int_equal(plx_segbuf_extend_copy(&queue, text, 3 * BLOCK + 700), 0);
    assert_int_equal(plx_segbuf_extend_copy(&queue, text + 3 * BLOCK + 700, 5), 0);
    assert_reads(0, 3 * BLOCK + 705);
    assert_int_equal(queue.count, 4);
    assert_int_equal(mem_in_use(&mem), 4);
}

static void extend_copy_is_all_or_nothing(void **state)
{
    (void)state;
    /* As many blocks as the queue has segments: one more than fits, before and behind a rest. */
    assert_int_equal(plx_segbuf_extend_copy(&queue, text, 700), 0);
    size_t room = BLOCK - 700;
    mem_drain(&mem, 1, 3);
    for (int again = 0; again < 3; again++) {
        assert_int_equal(plx_segbuf_extend_copy(&queue, text + 700, room + 3 * BLOCK + 512),
                         -ENOMEM);
        assert_reads(0, 700);
        assert_int_equal(mem_left(&mem, 1), 3);
    }
    assert_int_equal(plx_segbuf_extend_copy(&queue, text + 700, room + 3 * BLOCK), 0);
    assert_reads(0, 4 * BLOCK);
    assert_int_equal(mem_left(&mem, 1), 0);
}

static void extend_copy_without_segments_is_an_error(void **state)
{
    (void)state;
    struct plx_segbuf few;
    struct plx_bytes two[2];
    assert_int_equal(plx_segbuf_init(&few, &mem.home, two, 2), 0);
    assert_int_equal(plx_segbuf_extend_copy(&few, text, 2 * BLOCK + 1), -ENOBUFS);
    assert_int_equal(plx_segbuf_len(&few), 0);
    /* The first byte of the third piece was to be packed; the home has begun a block for that. */
    assert_int_equal(mem_in_use(&mem), mem.home.pack != NULL);
    assert_int_equal(plx_segbuf_extend_copy(&few, text, 2 * BLOCK), 0);
    assert_int_equal(plx_segbuf_extend_copy(&few, text, 1), -ENOBUFS);
    assert_null(plx__segbuf_check(&few));
    plx_segbuf_fini(&few);
}

static void small_bytes_between_large_slices_share_a_block(void **state)
{
    (void)state;
    for (size_t i = 0; i < SEGMENTS / 2; i++) {
        extend_frozen(i * 700, 600);
        extend_frozen(i * 700 + 600, 100);
    }
    assert_reads(0, 700 * SEGMENTS / 2);
    assert_int_equal(mem_in_use(&mem), SEGMENTS / 2 + 1);
}

/* --- looking ---------------------------------------------------------------------------------- */

static void front_is_the_first_segment(void **state)
{
    (void)state;
    size_t len = 1;
    assert_null(plx_segbuf_front(&queue, &len));
    assert_int_equal(len, 0);
    extend_by_three();
    assert_memory_equal(plx_segbuf_front(&queue, &len), text, FIRST);
    assert_int_equal(len, FIRST);
    assert_int_equal(plx_segbuf_skip(&queue, 999), 0);
    assert_int_equal(*plx_segbuf_front(&queue, &len), text[999]);
    assert_int_equal(len, 1);
    assert_int_equal(plx_segbuf_skip(&queue, 1), 0);
    assert_memory_equal(plx_segbuf_front(&queue, &len), text + FIRST, SECOND);
    assert_int_equal(len, SECOND);
}

static void peek_copies_only_what_spans_segments(void **state)
{
    (void)state;
    extend_by_three();
    assert_ptr_equal(plx_segbuf_peek(&queue, 0, FIRST, scratch), queue.segments[0].ptr);
    assert_ptr_equal(plx_segbuf_peek(&queue, FIRST, SECOND, scratch), queue.segments[1].ptr);
    assert_ptr_equal(plx_segbuf_peek(&queue, ALL - 1, 1, scratch),
                     queue.segments[2].ptr + THIRD - 1);
    assert_ptr_equal(plx_segbuf_peek(&queue, FIRST - 1, 2, scratch), scratch);
    assert_memory_equal(scratch, text + FIRST - 1, 2);
    assert_ptr_equal(plx_segbuf_peek(&queue, 0, ALL, scratch), scratch);
    assert_memory_equal(scratch, text, ALL);
}

static void looking_beyond_the_end_sees_nothing(void **state)
{
    (void)state;
    static const size_t wrong[][2] = {
        {0, ALL + 1}, {ALL, 1}, {ALL + 1, 1}, {1, SIZE_MAX}, {SIZE_MAX, 1}};
    extend_by_three();
    memset(scratch, 'z', sizeof(scratch));
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        assert_null(plx_segbuf_peek(&queue, wrong[i][0], wrong[i][1], scratch));
        assert_int_equal(plx_segbuf_copy_out(&queue, wrong[i][0], scratch, wrong[i][1]), -EAGAIN);
    }
    assert_null(plx_segbuf_peek(&queue, 0, 0, scratch));
    assert_int_equal(plx_segbuf_copy_out(&queue, ALL, scratch, 0), 0);
    assert_int_equal(plx_segbuf_copy_out(&queue, ALL + 1, scratch, 0), -EAGAIN);
    for (size_t i = 0; i < sizeof(scratch); i++)
        assert_int_equal(scratch[i], 'z');
}

static void copy_out_spans_segments(void **state)
{
    (void)state;
    extend_by_three();
    assert_int_equal(plx_segbuf_copy_out(&queue, 500, scratch, 5000), 0);
    assert_memory_equal(scratch, text + 500, 5000);
}

static void find_sees_across_segments(void **state)
{
    (void)state;
    static const char line[] = "GET /\r\nHost: x\r\n\r\nrest\r";
    size_t end = sizeof(line) - 1;
    /* Cut at each place, in pieces that don't join. */
    for (size_t cut = 1; cut < end; cut++) {
        struct plx_bytes head = plx_bytes_static(line, cut);
        struct plx_bytes tail = plx_bytes_static(line + cut, end - cut);
        assert_int_equal(plx_segbuf_extend(&queue, &head), 0);
        assert_int_equal(plx_segbuf_extend(&queue, &tail), 0);
        assert_int_equal(plx_segbuf_find(&queue, 0, "\r\n", 2), 5);
        assert_int_equal(plx_segbuf_find(&queue, 5, "\r\n", 2), 5);
        assert_int_equal(plx_segbuf_find(&queue, 6, "\r\n", 2), 14);
        assert_int_equal(plx_segbuf_find(&queue, 0, "\r\n\r\n", 4), 14);
        assert_int_equal(plx_segbuf_find(&queue, 17, "\r\n", 2), -ENOENT);
        assert_int_equal(plx_segbuf_find(&queue, 17, "\r", 1), (int)end - 1);
        assert_int_equal(plx_segbuf_find(&queue, 0, line, end), 0);
        assert_int_equal(plx_segbuf_find(&queue, 1, line, end), -ENOENT);
        assert_int_equal(plx_segbuf_find(&queue, 0, "rest\r\n", 6), -ENOENT);
        assert_int_equal(plx_segbuf_find(&queue, end, "G", 1), -ENOENT);
        assert_int_equal(plx_segbuf_find(&queue, SIZE_MAX, "G", 1), -ENOENT);
        plx_segbuf_clear(&queue);
    }
}

static void find_of_too_much_or_nothing_is_an_error(void **state)
{
    (void)state;
    extend_by_three();
    assert_int_equal(plx_segbuf_find(&queue, 0, text, 0), -EINVAL);
    assert_int_equal(plx_segbuf_find(&queue, 0, text, PLX_SEGBUF_PATTERN_MAX + 1), -EINVAL);
    assert_int_equal(plx_segbuf_find(&queue, 0, text, PLX_SEGBUF_PATTERN_MAX), 0);
}

static void iovec_shows_segments_for_writing(void **state)
{
    (void)state;
    struct iovec parts[4];
    assert_int_equal(plx_segbuf_iovec(&queue, parts, 4), 0);
    extend_by_three();
    assert_int_equal(plx_segbuf_iovec(&queue, parts, 0), 0);
    assert_int_equal(plx_segbuf_iovec(&queue, parts, 2), 2);
    assert_int_equal(plx_segbuf_iovec(&queue, parts, 4), 3);
    assert_int_equal(parts[0].iov_len, FIRST);
    assert_int_equal(parts[1].iov_len, SECOND);
    assert_ptr_equal(parts[2].iov_base, queue.segments[2].ptr);
    /* A partial write, of the first segment and some of the second. */
    assert_int_equal(plx_segbuf_skip(&queue, 1500), 0);
    assert_int_equal(plx_segbuf_iovec(&queue, parts, 4), 2);
    assert_int_equal(parts[0].iov_len, FIRST + SECOND - 1500);
    assert_memory_equal(parts[0].iov_base, text + 1500, parts[0].iov_len);
}

/* --- taking ----------------------------------------------------------------------------------- */

static void take_within_a_segment_copies_nothing(void **state)
{
    (void)state;
    struct plx_bytes out;
    extend_by_three();
    const uint8_t *ptr = queue.segments[0].ptr;
    assert_int_equal(plx_segbuf_take(&queue, 400, &out), 0);
    assert_ptr_equal(out.ptr, ptr);
    assert_int_equal(out.len, 400);
    plx_bytes_release(&mem.home, &out);
    assert_int_equal(plx_segbuf_take(&queue, 600, &out), 0);
    assert_ptr_equal(out.ptr, ptr + 400);
    /* The queue holds nothing of that block any more. */
    assert_true(plx_bytes_is_sole(&out));
    plx_bytes_release(&mem.home, &out);
    assert_reads(FIRST, SECOND + THIRD);
}

static void take_across_segments_copies_once(void **state)
{
    (void)state;
    struct plx_bytes out;
    extend_by_three();
    assert_int_equal(plx_segbuf_take(&queue, 5000, &out), 0);
    assert_int_equal(out.len, 5000);
    assert_memory_equal(out.ptr, text, 5000);
    assert_true(plx_bytes_is_sole(&out));
    assert_reads(5000, ALL - 5000);
    assert_int_equal(mem_in_use(&mem), 3);
    plx_bytes_release(&mem.home, &out);

    /* Few bytes are packed. */
    assert_int_equal(plx_segbuf_take(&queue, 46, &out), 0);
    plx_bytes_release(&mem.home, &out);
    assert_int_equal(plx_segbuf_take(&queue, 100, &out), 0);
    assert_memory_equal(out.ptr, text + 5046, 100);
    assert_int_equal(mem.home.packed, 1);
    plx_bytes_release(&mem.home, &out);
    assert_reads(5146, ALL - 5146);
}

static void take_of_nothing_is_empty(void **state)
{
    (void)state;
    struct plx_bytes out = plx_bytes_static("x", 1);
    extend_by_three();
    assert_int_equal(plx_segbuf_take(&queue, 0, &out), 0);
    assert_null(out.ptr);
    assert_int_equal(plx_segbuf_take_after(&queue, 10, 0, &out), 0);
    assert_null(out.ptr);
    assert_reads(10, ALL - 10);
}

static void take_after_skips_and_takes(void **state)
{
    (void)state;
    struct plx_bytes out;
    extend_by_three();
    assert_int_equal(plx_segbuf_take_after(&queue, 4, 100, &out), 0);
    assert_memory_equal(out.ptr, text + 4, 100);
    plx_bytes_release(&mem.home, &out);
    assert_int_equal(plx_segbuf_take_after(&queue, 890, 4106, &out), 0);
    assert_memory_equal(out.ptr, text + 994, 4106);
    plx_bytes_release(&mem.home, &out);
    assert_int_equal(plx_segbuf_take_after(&queue, ALL - 5101, 1, &out), 0);
    assert_int_equal(*out.ptr, text[ALL - 1]);
    plx_bytes_release(&mem.home, &out);
    assert_reads(0, 0);
    assert_int_equal(mem_in_use(&mem), 0);
}

static void take_of_what_is_not_there_is_an_error(void **state)
{
    (void)state;
    struct plx_bytes out = plx_bytes_static("x", 1);
    extend_by_three();
    assert_int_equal(plx_segbuf_take(&queue, ALL + 1, &out), -EAGAIN);
    assert_null(out.ptr);
    assert_int_equal(plx_segbuf_take(&queue, SIZE_MAX, &out), -EAGAIN);
    assert_int_equal(plx_segbuf_take_after(&queue, 1, ALL, &out), -EAGAIN);
    assert_int_equal(plx_segbuf_take_after(&queue, SIZE_MAX, 2, &out), -EAGAIN);
    assert_int_equal(plx_segbuf_skip(&queue, ALL + 1), -EAGAIN);
    assert_reads(0, ALL);
    assert_int_equal(plx_segbuf_skip(&queue, ALL), 0);
    assert_reads(0, 0);
}

static void take_of_more_than_a_block_is_an_error(void **state)
{
    (void)state;
    struct plx_bytes out;
    assert_int_equal(plx_segbuf_extend_copy(&queue, text, 5 * BLOCK), 0);
    assert_int_equal(plx_segbuf_take(&queue, 4 * BLOCK + 1, &out), -EMSGSIZE);
    assert_null(out.ptr);
    assert_reads(0, 5 * BLOCK);
    assert_int_equal(plx_segbuf_take(&queue, 4 * BLOCK, &out), 0);
    assert_memory_equal(out.ptr, text, 4 * BLOCK);
    plx_bytes_release(&mem.home, &out);
}

static void take_across_segments_of_a_dry_pool_is_an_error(void **state)
{
    (void)state;
    /* Packed, from the smallest class, from the next. */
    static const size_t lens[] = {100, 1200, 5000};
    extend_by_three();
    mem_drain(&mem, BLOCK, 0);
    mem_drain(&mem, 2 * BLOCK, 0);
    for (size_t i = 0; i < sizeof(lens) / sizeof(*lens); i++) {
        struct plx_bytes out = plx_bytes_static("x", 1);
        size_t skip = lens[i] == 100 ? 950 : 0;
        for (int again = 0; again < 3; again++) {
            assert_int_equal(plx_segbuf_take_after(&queue, skip, lens[i], &out), -ENOMEM);
            assert_null(out.ptr);
            assert_reads(0, ALL);
        }
    }
    mem_refill(&mem);
    for (size_t i = 3; i-- > 1;) {
        struct plx_bytes out;
        assert_int_equal(plx_segbuf_take(&queue, lens[i], &out), 0);
        assert_memory_equal(out.ptr, text, lens[i]);
        plx_bytes_release(&mem.home, &out);
        plx_segbuf_clear(&queue);
        extend_by_three();
    }
}

/* --- allocation failure at every site --------------------------------------------------------- */

/* What the scenario does, in order; each step takes blocks or gives some back. */
static int step_do(size_t step, size_t *written, size_t *read)
{
    struct plx_bytes out;
    struct plx_bytes came;
    size_t len;
    int rc;

    switch (step % 4) {
    case 0: /* a large copy */
        len = 2 * BLOCK + 100;
        rc = plx_segbuf_extend_copy(&queue, text + *written, len);
        break;
    case 1: /* a small copy */
        len = 100;
        rc = plx_segbuf_extend_copy(&queue, text + *written, len);
        break;
    case 2: /* a small slice of a block of its own, made while there is one */
        if (mem_left(&mem, 1) == 0)
            return -ENOMEM;
        len = 300;
        came = frozen(*written, len);
        rc = plx_segbuf_extend(&queue, &came);
        break;
    default: /* across segments */
        len = BLOCK - 10;
        rc = plx_segbuf_take_after(&queue, 50, len, &out);
        *read += rc == 0 ? 50 + len : 0;
        if (rc == 0 && memcmp(out.ptr, text + *read - len, len) != 0)
            rc = -EBADMSG;
        plx_bytes_release(&mem.home, &out);
        return rc;
    }
    *written += rc == 0 ? len : 0;
    return rc;
}

/*
 * Runs the scenario with `blocks` blocks. The step that fails is tried again: `for_ever` without
 * more blocks, which changes nothing, else with one more, and one more, until it succeeds. Returns
 * how many steps failed.
 */
static size_t run_scenario(uint32_t blocks, bool for_ever)
{
    size_t written = 0;
    size_t read = 0;
    size_t failed = 0;
    mem_drain(&mem, 1, blocks);
    for (size_t step = 0; step < 12; step++) {
        int rc = step_do(step, &written, &read);
        assert_true(rc == 0 || rc == -ENOMEM);
        assert_reads(read, written - read);
        failed += rc != 0;
        if (rc != 0 && for_ever) {
            for (int again = 0; again < 3; again++) {
                assert_int_equal(step_do(step, &written, &read), -ENOMEM);
                assert_reads(read, written - read);
            }
            break;
        }
        while (rc != 0) {
            assert_non_null(mem.drained);
            mem_refill_one(&mem);
            rc = step_do(step, &written, &read);
            assert_true(rc == 0 || rc == -ENOMEM);
            assert_reads(read, written - read);
        }
    }
    plx_segbuf_clear(&queue);
    plx_bytes_home_fini(&mem.home);
    mem_refill(&mem);
    assert_int_equal(mem_in_use(&mem), 0);
    return failed;
}

static void each_block_that_is_missing_fails_one_step_whole(void **state)
{
    (void)state;
    uint32_t enough = 0;
    while (run_scenario(enough, true) != 0) {
        (void)run_scenario(enough, false);
        enough++;
    }
    assert_in_range(enough, 4, 15);
}

/* --- beside a model --------------------------------------------------------------------------- */

static void random_operations_agree_with_a_model(void **state)
{
    (void)state;
    enum { rounds = 400, input_bytes = 2000 };
    struct mem m;
    uint8_t input[input_bytes];
    uint64_t random = mem_seed();
    assert_int_equal(segbuf_model_open(&m), 0);
    for (int round = 0; round < rounds; round++) {
        for (size_t i = 0; i < input_bytes; i++)
            input[i] = (uint8_t)mem_random(&random);
        const char *wrong = segbuf_model_run(&m, input, input_bytes);
        if (wrong != NULL)
            fail_msg("round %d: %s", round, wrong);
    }
    assert_null(mem_close(&m));
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(init_refuses_what_is_no_ring),
        CASE(zeroed_queue_is_empty_and_has_no_room),
        CASE(clear_gives_all_blocks_back),
        CASE(check_sees_a_queue_that_is_wrong),
        CASE(extend_of_nothing_changes_nothing),
        CASE(extend_takes_large_slices_as_they_are),
        CASE(extend_copies_small_slices_and_lets_their_blocks_go),
        CASE(extend_leaves_small_static_slices_where_they_are),
        CASE(extend_joins_what_lies_behind_in_the_same_block),
        CASE(extend_without_a_segment_is_an_error_and_takes_nothing),
        CASE(extend_of_small_slices_needs_no_pool),
        CASE(extend_copy_spans_blocks),
        CASE(extend_copy_is_all_or_nothing),
        CASE(extend_copy_without_segments_is_an_error),
        CASE(small_bytes_between_large_slices_share_a_block),
        CASE(front_is_the_first_segment),
        CASE(peek_copies_only_what_spans_segments),
        CASE(looking_beyond_the_end_sees_nothing),
        CASE(copy_out_spans_segments),
        CASE(find_sees_across_segments),
        CASE(find_of_too_much_or_nothing_is_an_error),
        CASE(iovec_shows_segments_for_writing),
        CASE(take_within_a_segment_copies_nothing),
        CASE(take_across_segments_copies_once),
        CASE(take_of_nothing_is_empty),
        CASE(take_after_skips_and_takes),
        CASE(take_of_what_is_not_there_is_an_error),
        CASE(take_of_more_than_a_block_is_an_error),
        CASE(take_across_segments_of_a_dry_pool_is_an_error),
        CASE(each_block_that_is_missing_fails_one_step_whole),
        cmocka_unit_test(random_operations_agree_with_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
