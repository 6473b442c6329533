/* SPDX-License-Identifier: MIT */
/*
 * The news line as it is, on a simulated weak memory: two producers with bytes of one line, and a
 * consumer that looks only where the line says so. Whatever was visible when, in the end it finds
 * all; and a consumer that kept a copy of the byte would not.
 */
#include "test/model/weakmem_access.h"

#define PLX__NEWS_WORD uint8_t
#include "runtime/mesh/cells.h"
#include "runtime/mesh/news_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#define PRODUCERS      2
#define SLOTS          4
#define EXECUTIONS_MAX 20000000

/* How the consumer remembers what it has looked at. */
enum memory_of {
    CELLS_SEEN,   /* as it is: the number of cells consumed */
    BYTE_RELAXED, /* a copy of the byte, which orders nothing */
    BYTE_EXACT    /* a copy of the byte, stored with release and loaded with acquire */
};

struct scenario {
    const char *name;
    enum memory_of remembers;
    uint64_t first; /* of the cells */
    int posts[PRODUCERS];
    int looks;
    bool right;
    /* of the execution */
    struct plx_cells *q[PRODUCERS];
    uint64_t sent[PRODUCERS];
    uint64_t received[PRODUCERS];
    uint8_t copy[PRODUCERS];
};

static unsigned char memory[PRODUCERS][sizeof(struct plx_cells) +
                                       SLOTS * PLX_CACHE_LINE] PLX_ALIGNED(PLX_CACHE_LINE);
static struct plx__news news;
static struct plx__seen seen;

static void set_up(void *ctx)
{
    struct scenario *s = ctx;
    memset(&news, (int)(s->first & 0xff), sizeof(news));
    memset(&seen, (int)(s->first & 0xff), sizeof(seen));
    for (unsigned i = 0; i < PRODUCERS; i++) {
        s->q[i] = plx__cells_setup(memory[i], SLOTS, 1, s->first);
        s->sent[i] = 0;
        s->received[i] = 0;
        s->copy[i] = (uint8_t)s->first;
        wm_private(&s->q[i]->tail, sizeof(s->q[i]->tail));
        /* The way back is the cells' own model's business. */
        wm_quiet(&s->q[i]->published, sizeof(s->q[i]->published));
    }
}

static void produce(struct scenario *s, unsigned i)
{
    for (int n = 0; n < s->posts[i]; n++) {
        uint64_t *cell = plx_cells_reserve(s->q[i]);
        if (cell == NULL)
            continue;
        wm_write(cell, 100 * i + s->sent[i]);
        plx_cells_commit(s->q[i]);
        s->sent[i]++;
        if (s->remembers == BYTE_EXACT)
            plx_store_release(plx__news_byte(&news, i), (uint8_t)plx_load_relaxed(&s->q[i]->tail));
        else
            plx__news_tell(plx__news_byte(&news, i), s->q[i]);
    }
}

static void produce_first(void *ctx)
{
    produce(ctx, 0);
}

static void produce_second(void *ctx)
{
    produce(ctx, 1);
}

static void take(struct scenario *s, unsigned i)
{
    const uint64_t *cell;
    while ((cell = plx_cells_peek(s->q[i])) != NULL) {
        wm_check(wm_read(cell) == 100 * i + s->received[i], "a cell is lost or out of order");
        plx_cells_consume(s->q[i]);
        s->received[i]++;
    }
}

static void look(struct scenario *s, unsigned i)
{
    if (s->remembers == CELLS_SEEN) {
        if (plx__news_differ(&news, &seen, i) == 0)
            return;
        take(s, i);
        plx__news_see(&seen, i, s->q[i]);
        return;
    }
    uint8_t byte = s->remembers == BYTE_EXACT ? plx_load_acquire(&news.words[i])
                                              : plx_load_relaxed(&news.words[i]);
    if (byte == s->copy[i])
        return;
    s->copy[i] = byte;
    take(s, i);
}

static void consume(void *ctx)
{
    struct scenario *s = ctx;
    for (int n = 0; n < s->looks; n++) {
        for (unsigned i = 0; i < PRODUCERS; i++)
            look(s, i);
    }
}

static void finish(void *ctx)
{
    struct scenario *s = ctx;
    for (unsigned i = 0; i < PRODUCERS; i++) {
        look(s, i);
        wm_check(s->received[i] == s->sent[i], "the line hides a cell");
        if (s->remembers == CELLS_SEEN)
            wm_check(plx__news_differ(&news, &seen, i) == 0, "the line tells of a cell for ever");
    }
}

static struct scenario scenarios[] = {
    {.name = "one producer", .posts = {3, 0}, .looks = 2, .right = true},
    {.name = "two producers", .posts = {2, 1}, .looks = 1, .right = true},
    {.name = "the bytes go round", .first = 254, .posts = {3, 0}, .looks = 2, .right = true},
    {.name = "a copy of the byte, relaxed",
     .remembers = BYTE_RELAXED,
     .posts = {2, 0},
     .looks = 2,
     .right = false},
    {.name = "a copy of the byte, released and acquired",
     .remembers = BYTE_EXACT,
     .posts = {2, 0},
     .looks = 2,
     .right = true},
};

#define SCENARIOS (sizeof(scenarios) / sizeof(scenarios[0]))

static struct wm_result explore(struct scenario *scenario, int weakened_site)
{
    const struct wm_program program = {
        .set_up = set_up,
        .threads = {produce_first, consume, produce_second},
        .thread_count = scenario->posts[1] != 0 ? 3 : 2,
        .finish = finish,
        .ctx = scenario,
        .weakened_site = weakened_site,
        .executions_max = EXECUTIONS_MAX,
    };
    struct wm_result result;
    wm_explore(&program, &result);
    return result;
}

static void news_hide_nothing_in_any_execution(void **state)
{
    (void)state;
    for (size_t i = 0; i < SCENARIOS; i++) {
        struct wm_result result = explore(&scenarios[i], 0);
        print_message("%s: %llu executions, %s\n", scenarios[i].name,
                      (unsigned long long)result.executions,
                      result.violated ? result.violation : "all right");
        assert_int_equal(result.violated, !scenarios[i].right);
        assert_int_equal(result.complete, scenarios[i].right);
    }
}

/*
 * How many of the scenario's orders are needed. The cells' [A2] and [R2], which the producers' way
 * back needs, show in test_cells_model: here no ring laps.
 */
static unsigned count_needed(struct scenario *s)
{
    struct wm_result intact = explore(s, 0);
    unsigned needed = 0;
    for (int i = 0; i < intact.site_count; i++) {
        struct wm_result weak = explore(s, intact.sites[i]);
        print_message("%s, line %d relaxed: %s\n", s->name, intact.sites[i],
                      weak.violated ? weak.violation : "nothing found");
        needed += weak.violated;
    }
    return needed;
}

/* The line has no order of its own; that of the cells is what their content rests on. */
static void news_need_the_orders_of_the_cells_alone(void **state)
{
    (void)state;
    assert_int_equal(count_needed(&scenarios[0]), 2);
}

/* A copy of the byte needs both of its own besides: either one weaker, and it hides a cell. */
static void copy_of_a_byte_needs_orders_of_its_own(void **state)
{
    (void)state;
    assert_int_equal(count_needed(&scenarios[SCENARIOS - 1]), 4);
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
        cmocka_unit_test(news_hide_nothing_in_any_execution),
        cmocka_unit_test(news_need_the_orders_of_the_cells_alone),
        cmocka_unit_test(copy_of_a_byte_needs_orders_of_its_own),
    };
    if (wm_unusable() != NULL)
        return cmocka_run_group_tests(skipped, NULL, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
