/* SPDX-License-Identifier: MIT */
/*
 * The header of the packed queue as it is, on a simulated weak memory: all that a producer and a
 * consumer may do on queues so small that they lap, one by one and in batches, and that no order in
 * it may be weaker.
 */
#include "test/model/weakmem_access.h"

#include "runtime/mesh/packed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define CAPACITY_MAX      4
#define ELEMENT_BYTES     8
#define EXECUTIONS_MAX    20000000
#define NON_RELAXED_SITES 4

struct scenario {
    const char *name;
    uint32_t capacity;
    uint64_t batch; /* of the consumer's publications */
    uint64_t first;
    uint32_t most;        /* of a reserve or a peek */
    int reserves;         /* attempts of the producer */
    int peeks;            /* of the consumer */
    uint64_t empty_looks; /* already had, so that few more lead to publishing */
    /* of the execution */
    struct plx_packed *q;
    uint64_t sent;
    uint64_t received;
};

static unsigned char
    memory[sizeof(struct plx_packed) + CAPACITY_MAX * ELEMENT_BYTES] PLX_ALIGNED(PLX_CACHE_LINE);

static void set_up(void *ctx)
{
    struct scenario *s = ctx;
    s->q = plx__packed_setup(memory, s->capacity, ELEMENT_BYTES, s->batch, s->first);
    s->q->empty_looks = s->empty_looks;
    s->sent = 0;
    s->received = 0;
}

static void produce(void *ctx)
{
    struct scenario *s = ctx;
    for (int i = 0; i < s->reserves; i++) {
        void *run;
        uint32_t count = plx_packed_reserve(s->q, s->most, &run);
        uint64_t *elements = run;
        for (uint32_t e = 0; e < count; e++)
            wm_write(&elements[e], 1000 + s->sent++);
        if (count != 0)
            plx_packed_commit(s->q, count);
    }
}

static bool receive(struct scenario *s)
{
    const void *run;
    uint32_t count = plx_packed_peek(s->q, s->most, &run);
    const uint64_t *elements = run;
    for (uint32_t e = 0; e < count; e++)
        wm_check(wm_read(&elements[e]) == 1000 + s->received++,
                 "an element is lost, repeated or out of order");
    if (count != 0)
        plx_packed_consume(s->q, count);
    return count != 0;
}

static void consume(void *ctx)
{
    struct scenario *s = ctx;
    for (int i = 0; i < s->peeks; i++)
        (void)receive(s);
}

static void drain(void *ctx)
{
    struct scenario *s = ctx;
    wm_check(s->sent - s->received <= s->capacity, "more elements than there are places");
    for (uint32_t i = 0; i < 2 * s->capacity && receive(s); i++)
        continue;
    wm_check(s->received == s->sent, "a committed element never arrives");
    void *run;
    wm_check(plx_packed_reserve(s->q, 1, &run) == 1, "a drained queue is full");
}

static struct scenario scenarios[] = {
    {.name = "1 place", .capacity = 1, .batch = 1, .most = 1, .reserves = 5, .peeks = 5},
    {.name = "2 places", .capacity = 2, .batch = 1, .most = 1, .reserves = 5, .peeks = 5},
    {.name = "2 places, indexes wrap",
     .capacity = 2,
     .batch = 1,
     .first = UINT64_MAX - 1,
     .most = 1,
     .reserves = 5,
     .peeks = 5},
    {.name = "2 places, runs of 2",
     .capacity = 2,
     .batch = 1,
     .most = 2,
     .reserves = 4,
     .peeks = 4},
    {.name = "4 places, runs of 3, published by 2",
     .capacity = 4,
     .batch = 2,
     .most = 3,
     .reserves = 5,
     .peeks = 5},
    {.name = "2 places, published by 2 and when empty",
     .capacity = 2,
     .batch = 2,
     .most = 1,
     .reserves = 5,
     .peeks = 5,
     .empty_looks = PLX_PACKED_EMPTY_LOOKS - 1},
};

#define SCENARIOS (sizeof(scenarios) / sizeof(scenarios[0]))

static struct wm_result explore(struct scenario *scenario, int weakened_site)
{
    const struct wm_program program = {
        .set_up = set_up,
        .threads = {produce, consume},
        .thread_count = 2,
        .finish = drain,
        .ctx = scenario,
        .weakened_site = weakened_site,
        .executions_max = EXECUTIONS_MAX,
    };
    struct wm_result result;
    wm_explore(&program, &result);
    return result;
}

static void packed_every_execution_is_right(void **state)
{
    (void)state;
    for (size_t i = 0; i < SCENARIOS; i++) {
        struct wm_result result = explore(&scenarios[i], 0);
        print_message("%s: %llu executions\n", scenarios[i].name,
                      (unsigned long long)result.executions);
        if (result.violated)
            print_error("violation: %s\n", result.violation);
        assert_true(result.complete);
        assert_int_equal(result.site_count, NON_RELAXED_SITES);
    }
}

static void packed_any_weaker_order_is_wrong(void **state)
{
    (void)state;
    struct wm_result intact = explore(&scenarios[0], 0);
    for (int i = 0; i < intact.site_count; i++) {
        for (size_t s = 0; s < SCENARIOS; s++) {
            struct wm_result weak = explore(&scenarios[s], intact.sites[i]);
            print_message("packed.h:%d relaxed, %s: %s, execution %llu\n", intact.sites[i],
                          scenarios[s].name, weak.violated ? weak.violation : "nothing found",
                          (unsigned long long)weak.executions);
            assert_true(weak.violated);
        }
    }
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
        cmocka_unit_test(packed_every_execution_is_right),
        cmocka_unit_test(packed_any_weaker_order_is_wrong),
    };
    if (wm_unusable() != NULL)
        return cmocka_run_group_tests(skipped, NULL, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
