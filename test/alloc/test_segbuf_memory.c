/* SPDX-License-Identifier: MIT */
/* What small messages cost while slow consumers hold them back: blocks, and memory in all. */
#include "alloc/segbuf.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "test/alloc/mem_fixture.h"

enum {
    QUEUES = 32,
    SEGMENTS = 128,
    MESSAGE = 64,
    WAITING_MAX = 512, /* messages in a queue; what comes then has to wait outside */
    MESSAGES = 1000000,
    OWN_BLOCKS = 10, /* that a queue may pin beside a block for each 4 KiB in it */
};

/* A connection: the messages that came in, numbered, and how many of them went out. */
struct connection {
    struct plx_segbuf queue;
    struct plx_bytes *segments;
    uint64_t in;
    uint64_t out;
};

static struct mem mem;
static struct connection connections[QUEUES];
static size_t resident_before; /* bytes, when there was the arena and nothing more */

static size_t resident_bytes(void)
{
    FILE *file = fopen("/proc/self/statm", "r");
    unsigned long total = 0;
    unsigned long resident = 0;
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%lu %lu", &total, &resident), 2);
    fclose(file);
    return resident * (size_t)sysconf(_SC_PAGESIZE);
}

static int set_up(void **state)
{
    (void)state;
    static const struct plx_pool_quota quota = {.blocks = {4096}};
    if (mem_open(&mem, &quota, NULL) != 0)
        return 1;
    resident_before = resident_bytes();
    for (size_t i = 0; i < QUEUES; i++) {
        struct connection *c = &connections[i];
        memset(c, 0, sizeof(*c));
        c->segments = malloc(SEGMENTS * sizeof(*c->segments));
        if (c->segments == NULL || plx_segbuf_init(&c->queue, &mem.home, c->segments, SEGMENTS))
            return 1;
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (size_t i = 0; i < QUEUES; i++) {
        plx_segbuf_fini(&connections[i].queue);
        free(connections[i].segments);
    }
    return mem_close(&mem) != NULL;
}

/* A message: its connection and its number, again and again. */
static void fill_message(uint64_t *words, size_t connection, uint64_t number)
{
    for (size_t i = 0; i < MESSAGE / sizeof(uint64_t); i++)
        words[i] = (uint64_t)connection << 48 ^ number;
}

/* A message comes in: copied, as a received block, or kept before; false: it must wait. */
static bool receive(size_t index)
{
    struct connection *c = &connections[index];
    if (c->in - c->out >= WAITING_MAX)
        return false;
    if (c->in % 3 == 0) {
        uint64_t words[MESSAGE / sizeof(uint64_t)];
        fill_message(words, index, c->in);
        assert_int_equal(plx_segbuf_extend_copy(&c->queue, words, MESSAGE), 0);
    } else {
        void *block = plx_pool_acquire(&mem.pool, PLX_POOL_BLOCK_MIN);
        assert_non_null(block);
        fill_message(block, index, c->in);
        struct plx_bytes came = plx_bytes_freeze(&mem.home, block, block, MESSAGE);
        if (c->in % 3 == 1)
            assert_int_equal(plx_bytes_keep(&mem.home, &came), 0);
        assert_int_equal(plx_segbuf_extend(&c->queue, &came), 0);
    }
    c->in++;
    return true;
}

static void consume(size_t index)
{
    struct connection *c = &connections[index];
    uint64_t words[MESSAGE / sizeof(uint64_t)];
    struct plx_bytes message;
    if (c->out == c->in)
        return;
    assert_int_equal(plx_segbuf_take(&c->queue, MESSAGE, &message), 0);
    fill_message(words, index, c->out);
    assert_memory_equal(message.ptr, words, MESSAGE);
    plx_bytes_release(&mem.home, &message);
    c->out++;
}

static void assert_blocks_bounded(void)
{
    size_t bound = 1;
    for (size_t i = 0; i < QUEUES; i++)
        bound += OWN_BLOCKS + plx_segbuf_len(&connections[i].queue) / PLX_POOL_BLOCK_MIN;
    assert_in_range(mem_in_use(&mem), 0, bound);
}

/*
 * A million messages on 32 connections, whose consumers take one while up to three come in, so that
 * all queues are full nearly all the time. The arena is resident from the start on.
 */
static void million_held_back_messages_stay_within_15_mb(void **state)
{
    (void)state;
    size_t after = resident_before;
    size_t blocks = 0;
    uint64_t in = 0;
    for (uint64_t turn = 0; in < MESSAGES; turn++) {
        for (size_t i = 0; i < QUEUES; i++) {
            for (int n = 0; n < 3 && in < MESSAGES; n++)
                in += receive(i);
            consume(i);
        }
        if (turn % 1024 == 0) {
            assert_blocks_bounded();
            size_t now = resident_bytes();
            after = now > after ? now : after;
            blocks = mem_in_use(&mem) > blocks ? mem_in_use(&mem) : blocks;
        }
    }
    size_t grown = after - resident_before;
    print_message("%d messages held back: %zu KiB beyond the arena, %zu blocks of %zu in it\n",
                  MESSAGES, grown >> 10, blocks, PLX_POOL_BLOCK_MIN);
    assert_true(grown < 15000000);
    assert_true(blocks * PLX_POOL_BLOCK_MIN < 15000000);
    for (size_t i = 0; i < QUEUES; i++) {
        while (connections[i].out < connections[i].in)
            consume(i);
    }
    assert_in_range(mem_in_use(&mem), 0, 1);
}

/* One consumer is slow, and the others' small messages come and go between its own. */
static void slow_consumer_among_fast_ones_pins_little(void **state)
{
    (void)state;
    for (uint64_t turn = 0; turn < 20000; turn++) {
        for (size_t i = 0; i < QUEUES; i++) {
            (void)receive(i);
            if (i != 0 || turn % 16 == 0)
                consume(i);
        }
        assert_blocks_bounded();
    }
    assert_in_range(connections[0].in - connections[0].out, WAITING_MAX - 1, WAITING_MAX);
    assert_in_range(mem_in_use(&mem), 0, WAITING_MAX * MESSAGE / PLX_POOL_BLOCK_MIN + OWN_BLOCKS);
}

/* Queues that fill and drain at random keep the bound at each moment. */
static void random_fill_and_drain_stays_bounded(void **state)
{
    (void)state;
    uint64_t random = mem_seed();
    for (uint64_t turn = 0; turn < 20000; turn++) {
        uint64_t drawn = mem_random(&random);
        size_t i = drawn % QUEUES;
        size_t count = (drawn >> 16) % 64;
        for (size_t n = 0; n < count; n++) {
            if ((drawn >> 32) % 2 == 0)
                (void)receive(i);
            else
                consume(i);
        }
        assert_blocks_bounded();
    }
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(million_held_back_messages_stay_within_15_mb),
        CASE(slow_consumer_among_fast_ones_pins_little),
        CASE(random_fill_and_drain_stays_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
