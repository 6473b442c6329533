/* SPDX-License-Identifier: MIT */
/*
 * Two reactors on threads of their own post to each other and to themselves, in bursts drawn from a
 * seed, and answer some posts from within. Every post's content and place in its sequence are
 * checked where it arrives. POLLUX_TEST_SEED repeats a run, POLLUX_TEST_SOAK makes it long.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test/runtime/rt_fixture.h"

#define PEERS 2u
#define WORDS (PLX_POST_BYTES / 8)

/* One reactor's side. The owner's, but for the atomics. */
struct side {
    uint64_t seed;
    uint64_t next[PEERS];   /* by receiver: the number of the next post */
    uint64_t expect[PEERS]; /* by sender */
    struct plx_poller poller;
    PLX_ATOMIC(uint64_t) sent;
    PLX_ATOMIC(uint64_t) called;
    PLX_ATOMIC(uint64_t) refused;
} PLX_ALIGNED(2 * PLX_CACHE_LINE);

static struct side sides[PEERS];
static PLX_ATOMIC(uint32_t) quiet;
static PLX_ATOMIC(uint32_t) wrong;
static char wrong_text[256];

/* Reactors' threads cannot fail a case; the first keeps what it saw. */
static void complain(const char *what, uint64_t got, uint64_t expected)
{
    if (plx_exchange_seq_cst(&wrong, 1) == 0)
        snprintf(wrong_text, sizeof(wrong_text), "%s: %llu instead of %llu", what,
                 (unsigned long long)got, (unsigned long long)expected);
}

static void count(PLX_ATOMIC(uint64_t) * counter)
{
    plx_store_relaxed(counter, plx_load_relaxed(counter) + 1);
}

static uint64_t draw(struct side *side)
{
    side->seed ^= side->seed << 13;
    side->seed ^= side->seed >> 7;
    side->seed ^= side->seed << 17;
    return side->seed;
}

/* The word at `place` of post `number` from `from` to `to`. */
static uint64_t pattern(uint32_t from, uint32_t to, uint64_t number, uint64_t place)
{
    return (number * WORDS + place) * 0x9e3779b97f4a7c15u + from * 2 + to;
}

static void arrive(struct plx_reactor *here, const void *body);

static bool send_one(struct plx_reactor *from, struct side *side, uint32_t to)
{
    uint32_t self = plx_reactor_index(from);
    uint64_t number = side->next[to];
    /* The sender, the number, how many words of pattern follow. */
    uint64_t body[WORDS] = {self, number, number % (WORDS - 2)};
    for (uint64_t i = 0; i < body[2]; i++)
        body[3 + i] = pattern(self, to, number, i);
    int rc = plx_mesh_post(from, to, arrive, body, (3 + body[2]) * 8);
    if (rc == 0) {
        side->next[to]++;
        count(&side->sent);
    } else if (rc == -EAGAIN) {
        count(&side->refused);
    } else if (rc != -ESHUTDOWN) {
        complain("plx_mesh_post", (uint64_t)-rc, 0);
    }
    return rc == 0;
}

static void arrive(struct plx_reactor *here, const void *body)
{
    uint64_t words[WORDS];
    memcpy(words, body, sizeof(words));
    uint32_t self = plx_reactor_index(here);
    struct side *side = &sides[self];
    if (words[0] >= PEERS) {
        complain("the sender", words[0], 0);
        return;
    }
    uint32_t from = (uint32_t)words[0];
    if (words[1] != side->expect[from])
        complain("the number", words[1], side->expect[from]);
    side->expect[from] = words[1] + 1;
    if (words[2] != words[1] % (WORDS - 2))
        complain("the length", words[2], words[1] % (WORDS - 2));
    for (uint64_t i = 0; i < words[2] && i < WORDS - 3; i++) {
        if (words[3 + i] != pattern(from, self, words[1], i))
            complain("the content", words[3 + i], pattern(from, self, words[1], i));
    }
    count(&side->called);
    if (plx_load_relaxed(&quiet) == 0 && draw(side) % 4 == 0)
        (void)send_one(here, side, from);
}

static uint32_t burst(struct plx_poller *poller, void *ctx)
{
    (void)poller;
    struct plx_reactor *reactor = ctx;
    struct side *side = &sides[plx_reactor_index(reactor)];
    if (plx_load_relaxed(&quiet) != 0)
        return 0;
    uint32_t to = (uint32_t)draw(side) % PEERS;
    uint32_t many = (uint32_t)draw(side) % 32;
    uint32_t sent = 0;
    while (sent < many && send_one(reactor, side, to))
        sent++;
    return sent;
}

static int arm_burst(struct plx_reactor *reactor, void *ctx)
{
    (void)ctx;
    struct side *side = &sides[plx_reactor_index(reactor)];
    plx_poller_arm(reactor, &side->poller, burst, reactor);
    return 0;
}

static uint64_t total(size_t counter)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < PEERS; i++) {
        PLX_ATOMIC(uint64_t) *field = (void *)((char *)&sides[i] + counter);
        sum += plx_load_relaxed(field);
    }
    return sum;
}
#define TOTAL(field) total(offsetof(struct side, field))

static struct plx_runtime *begin(const char *words)
{
    const char *given = getenv("POLLUX_TEST_SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 0) : rt_now_ns();
    print_message("seed %llu\n", (unsigned long long)seed);
    memset(sides, 0, sizeof(sides));
    for (uint32_t i = 0; i < PEERS; i++)
        sides[i].seed = (seed + i) * 2 + 1;
    plx_store_relaxed(&quiet, 0);
    plx_store_relaxed(&wrong, 0);
    struct plx_runtime_opts opts;
    plx_runtime_opts_init(&opts);
    opts.on_start = arm_burst;
    struct plx_runtime *rt = rt_create(words, &opts);
    rt_start(rt);
    return rt;
}

static uint64_t span_ns(void)
{
    return getenv("POLLUX_TEST_SOAK") != NULL ? UINT64_C(60000000000) : UINT64_C(700000000);
}

static void let_run(void)
{
    uint64_t until = rt_now_ns() + span_ns();
    while (plx_load_relaxed(&wrong) == 0 && rt_now_ns() < until)
        rt_pause();
    /* On a busy machine a reactor may have had no turn yet. */
    RT_UNTIL(plx_load_relaxed(&wrong) != 0 || TOTAL(called) > 1000);
}

static void expect_all(void)
{
    if (plx_load_relaxed(&wrong) != 0)
        fail_msg("%s", wrong_text);
    assert_int_equal(TOTAL(sent), TOTAL(called));
    for (uint32_t from = 0; from < PEERS; from++) {
        for (uint32_t to = 0; to < PEERS; to++)
            assert_int_equal(sides[from].next[to], sides[to].expect[from]);
    }
    print_message("%llu posts, %llu times a ring was full\n", (unsigned long long)TOTAL(called),
                  (unsigned long long)TOTAL(refused));
}

static void two_reactors_posting_lose_nothing_and_keep_order(void **state)
{
    (void)state;
    struct plx_runtime *rt = begin("reactors=2 mesh_slots=64");
    let_run();
    plx_store_relaxed(&quiet, 1);
    RT_UNTIL(plx_load_relaxed(&wrong) != 0 || TOTAL(sent) == TOTAL(called));
    rt_finish(rt);
    expect_all();
}

static void two_reactors_stopped_while_posting_call_all_that_was_taken(void **state)
{
    (void)state;
    struct plx_runtime *rt = begin("reactors=2 mesh_slots=8");
    let_run();
    rt_finish(rt);
    expect_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_reactors_posting_lose_nothing_and_keep_order),
        cmocka_unit_test(two_reactors_stopped_while_posting_call_all_that_was_taken),
    };
    return cmocka_run_group_tests_name("mesh, stressed", tests, NULL, NULL);
}
