/* SPDX-License-Identifier: MIT */
/*
 * Two reactors and two ports, on four threads, call and post to each other in bursts drawn from a
 * seed; some calls are answered at once, some later and in another order, some have deadlines.
 * Every answer is checked where it arrives, and each call ends once, also when all is stopped in
 * the middle. POLLUX_TEST_SEED repeats a run, POLLUX_TEST_SOAK makes it long.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/mesh/port.h"
#include "test/runtime/rt_fixture.h"

#define REACTORS 2u
#define PORTS    2u
#define CALLS    48u
#define HELD     64u

/* One call of a side. */
struct asked {
    struct plx_call call;
    uint64_t number;
};

/* What a reactor owes. */
struct held {
    struct plx_call_token token;
    uint64_t number;
};

/* The owner's, but for the atomics. The first are reactors, then ports. */
struct side {
    uint64_t seed;
    uint64_t number;
    struct plx_reactor *reactor;
    struct plx_port *port;
    struct plx_poller poller;
    struct asked asked[CALLS];
    struct held held[HELD];
    uint32_t held_count;
    uint64_t expect[REACTORS + PORTS]; /* of posts, by sender */
    uint64_t next[REACTORS];           /* of posts, by receiver */
    PLX_ATOMIC(uint64_t) made;
    PLX_ATOMIC(uint64_t) ended;
    PLX_ATOMIC(uint64_t) run;
    PLX_ATOMIC(uint64_t) refused;
} PLX_ALIGNED(2 * PLX_CACHE_LINE);

static struct side sides[REACTORS + PORTS];
static PLX_ATOMIC(uint32_t) quiet;
static PLX_ATOMIC(uint32_t) wrong;
static char wrong_text[256];

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

static int32_t mix(uint64_t number)
{
    return (int32_t)((number * 0x9e3779b97f4a7c15u >> 40) + 1);
}

/* --- on the target ---------------------------------------------------------------------------- */

static int32_t serve(struct plx_reactor *here, const struct plx_call_token *token, const void *body,
                     void *answer)
{
    struct side *side = &sides[plx_reactor_index(here)];
    uint64_t number;
    memcpy(&number, body, sizeof(number));
    count(&side->run);
    if (draw(side) % 4 == 0 && side->held_count < HELD) {
        side->held[side->held_count++] = (struct held){.token = *token, .number = number};
        return PLX_CALL_LATER;
    }
    memcpy(answer, &number, sizeof(number));
    return mix(number);
}

static uint32_t answer_some(struct side *side, uint32_t max)
{
    uint32_t done = 0;
    for (; done < max && side->held_count != 0; done++) {
        uint32_t which = (uint32_t)(draw(side) % side->held_count);
        struct held held = side->held[which];
        side->held[which] = side->held[--side->held_count];
        plx_call_reply(side->reactor, &held.token, mix(held.number), &held.number,
                       sizeof(held.number));
    }
    return done;
}

static void take_post(struct plx_reactor *here, const void *body)
{
    const uint64_t *words = body;
    struct side *side = &sides[plx_reactor_index(here)];
    if (words[1] != side->expect[words[0]])
        complain("the number of a post", words[1], side->expect[words[0]]);
    side->expect[words[0]] = words[1] + 1;
}

/* --- on the asker ----------------------------------------------------------------------------- */

static void end(struct plx_call *call, const struct plx_call_event *event, void *ctx)
{
    struct side *side = ctx;
    struct asked *one = (struct asked *)(void *)call;
    uint64_t back;
    memcpy(&back, event->answer, sizeof(back));
    count(&side->ended);
    switch (event->how) {
    case PLX_CALL_RAN:
        if (event->result != mix(one->number) || back != one->number)
            complain("an answer", back, one->number);
        break;
    case PLX_CALL_LATE:
        if (call->not_after_ns == 0 || event->result != -ETIMEDOUT)
            complain("a call without a deadline was late", one->number, 0);
        break;
    case PLX_CALL_UNRUN:
        if (plx_load_relaxed(&quiet) == 0)
            complain("a call was not run", one->number, 0);
        break;
    default:
        complain("a call was lost", one->number, 0);
    }
}

static bool ask(struct side *side, uint32_t to)
{
    struct asked *one = &side->asked[draw(side) % CALLS];
    if (one->call.in_flight)
        return false;
    one->number = ++side->number * 8 + (uint64_t)(side - sides);
    one->call.not_after_ns = draw(side) % 8 == 0 ? rt_now_ns() + draw(side) % 20000 : 0;
    int rc = side->port != NULL ? plx_port_call(side->port, &one->call, to, serve, &one->number,
                                                sizeof(one->number), end, side)
                                : plx_mesh_call(side->reactor, &one->call, to, serve, &one->number,
                                                sizeof(one->number), end, side);
    if (rc == 0)
        count(&side->made);
    else if (rc == -EAGAIN)
        count(&side->refused);
    else if (rc != -ESHUTDOWN)
        complain("a call", (uint64_t)-rc, 0);
    return rc == 0;
}

static bool post(struct side *side, uint32_t to)
{
    const uint64_t body[2] = {(uint64_t)(side - sides), side->next[to]};
    int rc = side->port != NULL ? plx_port_post(side->port, to, take_post, body, sizeof(body))
                                : plx_mesh_post(side->reactor, to, take_post, body, sizeof(body));
    if (rc == 0)
        side->next[to]++;
    return rc == 0;
}

static uint32_t burst(struct side *side)
{
    uint32_t many = (uint32_t)draw(side) % 24;
    uint32_t sent = 0;
    for (uint32_t i = 0; i < many; i++) {
        uint32_t to = (uint32_t)draw(side) % REACTORS;
        sent += draw(side) % 3 == 0 ? post(side, to) : ask(side, to);
    }
    return sent;
}

static uint32_t turn(struct plx_poller *poller, void *ctx)
{
    struct side *side = ctx;
    (void)poller;
    bool over = plx_load_relaxed(&quiet) != 0;
    uint32_t work = answer_some(side, over ? HELD : (uint32_t)draw(side) % 8);
    return over ? work : work + burst(side);
}

static int arm_turn(struct plx_reactor *reactor, void *ctx)
{
    (void)ctx;
    struct side *side = &sides[plx_reactor_index(reactor)];
    side->reactor = reactor;
    plx_poller_arm(reactor, &side->poller, turn, side);
    return 0;
}

static void *use_port(void *argument)
{
    struct side *side = argument;
    while (plx_load_relaxed(&quiet) == 0) {
        if (burst(side) + (uint32_t)plx_port_poll(side->port) == 0)
            rt_pause();
    }
    uint64_t until = rt_now_ns() + RT_PATIENCE_NS;
    while (plx_port_in_flight(side->port) != 0 && rt_now_ns() < until) {
        if (plx_port_poll(side->port) == 0)
            rt_pause();
    }
    return NULL;
}

/* --- runs ------------------------------------------------------------------------------------- */

static uint64_t total(size_t counter)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < REACTORS + PORTS; i++) {
        PLX_ATOMIC(uint64_t) *field = (void *)((char *)&sides[i] + counter);
        sum += plx_load_relaxed(field);
    }
    return sum;
}
#define TOTAL(field) total(offsetof(struct side, field))

static uint64_t span_ns(void)
{
    return getenv("POLLUX_TEST_SOAK") != NULL ? UINT64_C(60000000000) : UINT64_C(700000000);
}

static void run(const char *words, bool stop_in_the_middle)
{
    const char *given = getenv("POLLUX_TEST_SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 0) : rt_now_ns();
    print_message("seed %llu\n", (unsigned long long)seed);
    memset(sides, 0, sizeof(sides));
    plx_store_relaxed(&quiet, 0);
    plx_store_relaxed(&wrong, 0);
    struct plx_runtime_opts opts;
    plx_runtime_opts_init(&opts);
    opts.on_start = arm_turn;
    struct plx_runtime *rt = rt_create(words, &opts);
    for (uint32_t i = 0; i < REACTORS + PORTS; i++)
        sides[i].seed = (seed + i) * 2 + 1;
    for (uint32_t i = REACTORS; i < REACTORS + PORTS; i++)
        assert_int_equal(plx_port_create(rt, &sides[i].port, NULL), 0);
    rt_start(rt);
    pthread_t threads[PORTS];
    for (uint32_t i = 0; i < PORTS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, use_port, &sides[REACTORS + i]), 0);

    uint64_t until = rt_now_ns() + span_ns();
    while (plx_load_relaxed(&wrong) == 0 && rt_now_ns() < until)
        rt_pause();
    RT_UNTIL(plx_load_relaxed(&wrong) != 0 || TOTAL(run) > 1000);

    plx_store_relaxed(&quiet, 1);
    struct plx_diag diag = {0};
    if (stop_in_the_middle && plx_runtime_stop(rt, RT_PATIENCE_NS, &diag) != 0)
        fail_msg("%s", diag.text);
    for (uint32_t i = 0; i < PORTS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (uint32_t i = REACTORS; i < REACTORS + PORTS; i++)
        assert_int_equal(plx_port_destroy(sides[i].port, RT_PATIENCE_NS), 0);
    if (!stop_in_the_middle)
        RT_UNTIL(plx_load_relaxed(&wrong) != 0 || TOTAL(made) == TOTAL(ended));
    rt_finish(rt);

    if (plx_load_relaxed(&wrong) != 0)
        fail_msg("%s", wrong_text);
    assert_int_equal(TOTAL(made), TOTAL(ended));
    print_message("%llu calls, %llu run, %llu refused\n", (unsigned long long)TOTAL(made),
                  (unsigned long long)TOTAL(run), (unsigned long long)TOTAL(refused));
}

static void calls_of_reactors_and_ports_end_once_with_their_answers(void **state)
{
    (void)state;
    run("reactors=2 mesh_slots=64", false);
}

static void calls_stopped_in_the_middle_end_once(void **state)
{
    (void)state;
    run("reactors=2 mesh_slots=8", true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_of_reactors_and_ports_end_once_with_their_answers),
        cmocka_unit_test(calls_stopped_in_the_middle_end_once),
    };
    return cmocka_run_group_tests_name("calls, stressed", tests, NULL, NULL);
}
