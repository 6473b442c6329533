/* SPDX-License-Identifier: MIT */
/* Counted bytes beside a model: random operations, after each of which every holding is known. */
#include "alloc/bytes.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "test/alloc/mem_fixture.h"

#define BLOCK PLX_POOL_BLOCK_MIN

static struct mem mem;
static uint8_t text[8 * BLOCK];

enum { SLOTS = 24 };

/* Slices, and where in `text` each was copied from. */
static struct plx_bytes slots[SLOTS];
static const uint8_t *sources[SLOTS];

static const char *random_step(uint64_t *random)
{
    size_t to = mem_random(random) % SLOTS;
    size_t from = mem_random(random) % SLOTS;
    size_t len = mem_random(random) % (mem_random(random) % 2 == 0 ? 600 : 4 * BLOCK + 10);
    const uint8_t *source = text + mem_random(random) % BLOCK;
    int rc = 0;

    if (to != from)
        plx_bytes_release(&mem.home, &slots[to]);
    switch (mem_random(random) % 8) {
    case 0:
    case 1:
        plx_bytes_release(&mem.home, &slots[to]);
        rc = plx_bytes_copy(&mem.home, source, len, &slots[to]);
        sources[to] = source;
        if (rc == -EMSGSIZE)
            return len <= 4 * BLOCK ? "a copy was refused" : NULL;
        return rc != 0 && mem_left(&mem, len) != 0 ? "a copy failed" : NULL;
    case 2: {
        size_t room = len < 4 * BLOCK ? len : 4 * BLOCK;
        uint8_t *block = plx_pool_acquire(&mem.pool, room + 1 <= 4 * BLOCK ? room + 1 : room);
        if (block == NULL)
            return NULL;
        plx_bytes_release(&mem.home, &slots[to]);
        memcpy(block, source, room);
        slots[to] = plx_bytes_freeze(&mem.home, block, block, room);
        sources[to] = source;
        return NULL;
    }
    case 3:
        if (to != from) {
            slots[to] = plx_bytes_clone(&slots[from]);
            sources[to] = sources[from];
        }
        return NULL;
    case 4:
        if (to == from)
            return NULL;
        rc = plx_bytes_slice(&slots[from], len, 1 + len / 3, &slots[to]);
        if (rc == 0)
            sources[to] = sources[from] + len;
        return (rc == 0) != (len + 1 + len / 3 <= slots[from].len) ? "slice is wrong" : NULL;
    case 5:
        rc = plx_bytes_keep(&mem.home, &slots[from]);
        return rc != 0 && mem_left(&mem, 1) != 0 ? "keep failed" : NULL;
    case 6:
        rc = plx_bytes_make_sole(&mem.home, &slots[from]);
        if (rc == 0)
            return plx_bytes_is_sole(&slots[from]) ? NULL : "what was made sole is not";
        return mem_left(&mem, slots[from].len) != 0 ? "make_sole failed" : NULL;
    default:
        plx_bytes_release(&mem.home, &slots[from]);
        return NULL;
    }
}

static void random_operations_agree_with_a_model(void **state)
{
    (void)state;
    static const struct plx_pool_quota quota = {.blocks = {16, 4, 2}};
    uint64_t random = mem_seed();
    mem_fill_random(&random, text, sizeof(text));
    assert_int_equal(mem_open(&mem, &quota, NULL), 0);
    for (uint32_t step = 0; step < 100000; step++) {
        const char *wrong = random_step(&random);
        if (wrong == NULL)
            wrong = mem_check_holders(&mem, slots, SLOTS);
        if (wrong != NULL)
            fail_msg("step %u: %s", step, wrong);
        for (size_t i = 0; i < SLOTS; i++) {
            if (slots[i].len != 0)
                assert_memory_equal(slots[i].ptr, sources[i], slots[i].len);
        }
    }
    for (size_t i = 0; i < SLOTS; i++)
        plx_bytes_release(&mem.home, &slots[i]);
    const char *wrong = mem_close(&mem);
    if (wrong != NULL)
        fail_msg("%s", wrong);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_operations_agree_with_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
