/* SPDX-License-Identifier: MIT */
/*
 * The header of the cell queue as it is, on a simulated weak memory: all that a producer and a
 * consumer may do on queues so small that they lap, and that no order in it may be weaker.
 */
#include "test/model/weakmem_access.h"

#include "runtime/mesh/cells.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#define SLOTS_MAX 4
#define EXECUTIONS_MAX 20000000
#define NON_RELAXED_SITES 4

struct scenario {
    const char *name;
    uint32_t slots;
    uint32_t batch;
    uint64_t first;
    int reserves;        /* attempts of the producer */
    int peeks;           /* of the consumer */
    uint64_t empty_looks; /* already had, so that few more lead to publishing */
    /* of the execution */
    struct plx_cells *q;
    uint64_t sent;
    uint64_t received;
};

static unsigned char memory[sizeof(struct plx_cells) + SLOTS_MAX * PLX_CACHE_LINE]
    PLX_ALIGNED(PLX_CACHE_LINE);

static void set_up(void *ctx)
{
    struct scenario *s = ctx;
    s->q = plx__cells_setup(memory, s->slots, s->batch, s->first);
    s->q->empty_looks = s->empty_looks;
    s->sent = 0;
    s->received = 0;
    wm_private(&s->q->tail, sizeof(s->q->tail));
}

static void produce(void *ctx)
{
    struct scenario *s = ctx;
    for (int i = 0; i < s->reserves; i++) {
        uint64_t *cell = plx_cells_reserve(s->q);
        if (cell == NULL)
            continue;
        wm_write(cell, 1000 + s->sent);
        plx_cells_commit(s->q);
        s->sent++;
    }
}

static bool receive(struct scenario *s)
{
    const uint64_t *cell = plx_cells_peek(s->q);
    if (cell == NULL)
        return false;
    wm_check(wm_read(cell) == 1000 + s->received, "a cell is lost, repeated or out of order");
    plx_cells_consume(s->q);
    s->received++;
    return true;
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
    wm_check(s->sent - s->received <= s->slots, "more cells than slots");
    for (uint32_t i = 0; i < s->slots && receive(s); i++)
        continue;
    wm_check(s->received == s->sent, "a committed cell never arrives");
    wm_check(plx_cells_reserve(s->q) != NULL, "a drained queue is full");
}

static struct scenario scenarios[] = {
    {.name = "1 slot", .slots = 1, .batch = 1, .reserves = 5, .peeks = 5},
    {.name = "2 slots", .slots = 2, .batch = 1, .reserves = 5, .peeks = 4},
    {.name = "2 slots, indexes wrap", .slots = 2, .batch = 1, .first = UINT64_MAX - 1,
     .reserves = 4, .peeks = 4},
    {.name = "4 slots, batches of 2", .slots = 4, .batch = 2, .reserves = 6, .peeks = 4},
    {.name = "2 slots, batches of 2, published when empty", .slots = 2, .batch = 2,
     .reserves = 4, .peeks = 5, .empty_looks = PLX_CELLS_EMPTY_LOOKS - 1},
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

static void cells_every_execution_is_right(void **state)
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

static void cells_any_weaker_order_is_wrong(void **state)
{
    (void)state;
    struct wm_result intact = explore(&scenarios[0], 0);
    for (int i = 0; i < intact.site_count; i++) {
        struct wm_result weak = {0};
        for (size_t s = 0; s < SCENARIOS; s++) {
            weak = explore(&scenarios[s], intact.sites[i]);
            print_message("cells.h:%d relaxed, %s: %s, execution %llu\n", intact.sites[i],
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
        cmocka_unit_test(cells_every_execution_is_right),
        cmocka_unit_test(cells_any_weaker_order_is_wrong),
    };
    if (wm_unusable() != NULL)
        return cmocka_run_group_tests(skipped, NULL, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
