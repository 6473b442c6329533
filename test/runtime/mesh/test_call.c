/* SPDX-License-Identifier: MIT */
/* Calls between reactors that the test polls itself, and how they end when a side stops. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "runtime/mesh/port.h"
#include "runtime/runtime_internal.h"
#include "test/runtime/rt_fixture.h"

#define SLOTS   256u
#define CREDITS (SLOTS / 4)
#define CALLS   512u

static struct plx_runtime *runtime;
static struct plx_reactor *a;
static struct plx_reactor *b;

/*
 * What did not end is never freed. That it stays reachable tells a leak detector that it is meant;
 * a static table that nobody reads would be optimised away.
 */
extern struct plx_runtime *lost_calls[4];
struct plx_runtime *lost_calls[4];
static unsigned lost_count;
static bool loses; /* the case leaves a reactor that did not end */

static void lose(struct plx_runtime *rt)
{
    plx_runtime_destroy(rt);
    lost_calls[lost_count++ % 4] = rt;
}

/* One call of the test, and how it ended. */
struct asked {
    struct plx_call call;
    unsigned ended;
    int32_t result;
    uint32_t how;
    uint64_t answer[PLX_CALL_BYTES / 8];
};

static struct asked asked[CALLS];
static struct asked *end_order[CALLS];
static unsigned end_count;
/* What ran on the target. */
static unsigned run_count;
static struct plx_reactor *run_at;
static struct plx_call_token tokens[CALLS];

static int set_up(void **state)
{
    (void)state;
    memset(asked, 0, sizeof(asked));
    end_count = 0;
    run_count = 0;
    runtime = rt_create("reactors=3 mesh_slots=256", NULL);
    a = rt_adopt(runtime, 0);
    b = rt_adopt(runtime, 1);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    if (a != NULL)
        rt_abandon(a);
    if (b != NULL)
        rt_abandon(b);
    if (loses)
        lose(runtime);
    else
        plx_runtime_destroy(runtime);
    loses = false;
    return 0;
}

static struct plx_reactor_stats stats_of(const struct plx_reactor *r)
{
    struct plx_reactor_stats stats;
    plx_reactor_read_stats(r, &stats);
    return stats;
}

static void turn_both(void)
{
    plx_reactor_poll(b);
    plx_reactor_poll(a);
}

static void ended(struct plx_call *call, const struct plx_call_event *event, void *ctx)
{
    struct asked *one = ctx;
    assert_ptr_equal(call, &one->call);
    assert_false(call->in_flight);
    one->ended++;
    one->result = event->result;
    one->how = event->how;
    memcpy(one->answer, event->answer, sizeof(one->answer));
    end_order[end_count++] = one;
}

/* Answers at once: the sum, and the words backwards. */
static int32_t add(struct plx_reactor *here, const struct plx_call_token *token, const void *body,
                   void *answer)
{
    const uint64_t *words = body;
    uint64_t *back = answer;
    (void)token;
    assert_int_equal((uintptr_t)body % 8, 0);
    assert_int_equal((uintptr_t)answer % 8, 0);
    assert_int_equal(back[0] | back[1] | back[2], 0);
    for (unsigned i = 0; i < 3; i++)
        back[i] = words[2 - i];
    run_count++;
    run_at = here;
    return (int32_t)(words[0] + words[1] + words[2]);
}

static int32_t take_one(struct plx_reactor *here, const struct plx_call_token *token,
                        const void *body, void *answer)
{
    (void)body;
    (void)answer;
    run_at = here;
    return (int32_t)(run_count++ + 0 * token->to);
}

static int32_t later(struct plx_reactor *here, const struct plx_call_token *token, const void *body,
                     void *answer)
{
    (void)here;
    (void)body;
    *(uint64_t *)answer = 99; /* dropped */
    tokens[run_count++] = *token;
    return PLX_CALL_LATER;
}

static int ask(struct plx_reactor *from, uint32_t to, unsigned i, plx_call_fn fn)
{
    return plx_mesh_call(from, &asked[i].call, to, fn, NULL, 0, ended, &asked[i]);
}

static void expect_end(unsigned i, int32_t result, enum plx_call_how how)
{
    assert_int_equal(asked[i].ended, 1);
    assert_int_equal(asked[i].result, result);
    assert_int_equal(asked[i].how, how);
}

/* --- there and back --------------------------------------------------------------------------- */

static void call_to_a_peer_runs_there_and_ends_here(void **state)
{
    (void)state;
    const uint64_t body[3] = {1, 20, 300};
    assert_int_equal(plx_mesh_call(a, &asked[0].call, 1, add, body, sizeof(body), ended, asked), 0);
    plx_reactor_poll(a);
    assert_int_equal(run_count, 0);
    assert_int_equal(plx_reactor_poll(b), 1);
    assert_ptr_equal(run_at, b);
    assert_int_equal(asked[0].ended, 0);
    assert_int_equal(plx_reactor_poll(a), 1);
    expect_end(0, 321, PLX_CALL_RAN);
    assert_int_equal(asked[0].answer[0], 300);
    assert_int_equal(asked[0].answer[2], 1);
    assert_int_equal(stats_of(a).calls_out, 1);
    assert_int_equal(stats_of(b).calls_in, 1);
    assert_int_equal(stats_of(a).calls_in, 0);
}

static void call_to_oneself_runs_and_ends_in_later_turns(void **state)
{
    (void)state;
    assert_int_equal(ask(a, 0, 0, take_one), 0);
    assert_int_equal(run_count, 0);
    assert_int_equal(plx_reactor_poll(a), 1);
    assert_int_equal(run_count, 1);
    assert_int_equal(asked[0].ended, 0);
    assert_int_equal(plx_reactor_poll(a), 1);
    expect_end(0, 0, PLX_CALL_RAN);
}

static void call_out_of_bounds_is_refused(void **state)
{
    (void)state;
    uint8_t body[PLX_CALL_BYTES + 1] = {0};
    assert_int_equal(plx_mesh_call(a, &asked[0].call, 1, add, body, sizeof(body), ended, asked),
                     -EINVAL);
    assert_int_equal(ask(a, 3, 0, add), -EINVAL);
    assert_false(asked[0].call.in_flight);
    assert_int_equal(stats_of(a).calls_refused, 0);
}

static unsigned posted_at;
static void note_post(struct plx_reactor *here, const void *body)
{
    (void)here;
    (void)body;
    posted_at = run_count;
}

static void calls_and_posts_arrive_in_order_and_so_do_answers(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(ask(a, 1, i, take_one), 0);
        if (i == 9)
            assert_int_equal(plx_mesh_post(a, 1, note_post, NULL, 0), 0);
    }
    turn_both();
    assert_int_equal(posted_at, 10);
    assert_int_equal(end_count, 20);
    for (unsigned i = 0; i < 20; i++) {
        assert_ptr_equal(end_order[i], &asked[i]);
        assert_int_equal(asked[i].result, i);
    }
}

static void call_that_is_answered_later_ends_then(void **state)
{
    (void)state;
    assert_int_equal(ask(a, 1, 0, later), 0);
    assert_int_equal(ask(a, 1, 1, later), 0);
    turn_both();
    assert_int_equal(end_count, 0);
    const uint64_t answer = 5;
    plx_call_reply(b, &tokens[1], 11, &answer, sizeof(answer));
    plx_reactor_poll(a);
    expect_end(1, 11, PLX_CALL_RAN);
    assert_int_equal(asked[1].answer[0], 5);
    assert_int_equal(asked[0].ended, 0);
    plx_call_reply(b, &tokens[0], -EIO, NULL, 0);
    plx_reactor_poll(a);
    expect_end(0, -EIO, PLX_CALL_RAN);
    assert_int_equal(asked[0].answer[0], 0);
}

static int32_t reply_from_within(struct plx_reactor *here, const struct plx_call_token *token,
                                 const void *body, void *answer)
{
    (void)body;
    (void)answer;
    plx_call_reply(here, token, 3, NULL, 0);
    return PLX_CALL_LATER;
}

static void call_that_is_answered_from_within_ends_once(void **state)
{
    (void)state;
    assert_int_equal(ask(a, 1, 0, reply_from_within), 0);
    turn_both();
    turn_both();
    expect_end(0, 3, PLX_CALL_RAN);
}

static unsigned again;
static void ask_again(struct plx_call *call, const struct plx_call_event *event, void *ctx)
{
    (void)event;
    if (again-- != 0)
        assert_int_equal(plx_mesh_call(a, call, 1, take_one, NULL, 0, ask_again, ctx), 0);
}

static void call_made_anew_in_its_completion_goes_out_again(void **state)
{
    (void)state;
    again = 300;
    assert_int_equal(plx_mesh_call(a, &asked[0].call, 1, take_one, NULL, 0, ask_again, NULL), 0);
    for (unsigned i = 0; i < 301; i++)
        turn_both();
    assert_int_equal(run_count, 301);
    assert_int_equal(plx_reactor_poll(b), 0);
}

/* --- admission -------------------------------------------------------------------------------- */

static void call_without_a_credit_is_refused_and_counted(void **state)
{
    (void)state;
    for (unsigned i = 0; i < CREDITS; i++)
        assert_int_equal(ask(a, 1, i, later), 0);
    assert_int_equal(ask(a, 1, CREDITS, later), -EAGAIN);
    assert_int_equal(stats_of(a).calls_refused, 1);
    /* The pair's credits, not the asker's. */
    assert_int_equal(ask(a, 0, CREDITS, take_one), 0);
    turn_both();
    assert_int_equal(ask(a, 1, CREDITS + 1, later), -EAGAIN);
    plx_call_reply(b, &tokens[0], 0, NULL, 0);
    plx_reactor_poll(a);
    assert_int_equal(ask(a, 1, CREDITS + 1, take_one), 0);
    turn_both();
    for (unsigned i = 1; i < CREDITS; i++)
        plx_call_reply(b, &tokens[i], 0, NULL, 0);
    turn_both();
    turn_both();
    assert_int_equal(end_count, CREDITS + 2);
}

static void call_to_a_full_ring_or_one_not_started_is_refused(void **state)
{
    (void)state;
    assert_int_equal(ask(a, 2, 0, take_one), -EAGAIN);
    while (plx_mesh_post(a, 1, note_post, NULL, 0) == 0)
        continue;
    assert_int_equal(ask(a, 1, 0, take_one), -EAGAIN);
    assert_int_equal(stats_of(a).calls_refused, 2);
    assert_false(asked[0].call.in_flight);
}

static void post_nothing(struct plx_reactor *here, const void *body)
{
    (void)here;
    (void)body;
}

static unsigned fill_with_posts(struct plx_reactor *from, uint32_t to)
{
    unsigned taken = 0;
    while (plx_mesh_post(from, to, post_nothing, NULL, 0) == 0)
        taken++;
    return taken;
}

/*
 * Both rings full of posts and calls, over and over with the consumer's index at any place: all
 * answers find room, whichever side turns first.
 */
static void answers_find_room_in_full_rings(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 300; round++) {
        unsigned calls = 0;
        memset(asked, 0, sizeof(asked));
        end_count = 0;
        run_count = 0;
        for (unsigned i = 0; i < CREDITS; i++) {
            assert_int_equal(ask(a, 1, i, round % 2 != 0 ? later : take_one), 0);
            assert_int_equal(ask(b, 0, CREDITS + i, take_one), 0);
            calls += 2;
        }
        (void)fill_with_posts(a, 1);
        (void)fill_with_posts(b, 0);
        for (unsigned turn = 0; turn < 6; turn++)
            plx_reactor_poll(b);
        if (round % 2 != 0) {
            /* What b may send besides has filled its ring again. */
            (void)fill_with_posts(b, 0);
            for (unsigned i = 0; i < CREDITS; i++)
                plx_call_reply(b, &tokens[i], 0, NULL, 0);
        }
        for (unsigned turn = 0; turn < 12 && end_count < calls; turn++)
            turn_both();
        for (unsigned turn = 0; turn < 6 && end_count < calls; turn++)
            turn_both();
        assert_int_equal(end_count, calls);
        /* One more, so that the next round begins at another place of the rings. */
        assert_int_equal(plx_mesh_post(b, 0, post_nothing, NULL, 0), 0);
        while (plx_reactor_poll(a) + plx_reactor_poll(b) != 0)
            continue;
    }
}

static void call_whose_deadline_has_passed_is_not_run(void **state)
{
    (void)state;
    asked[0].call.not_after_ns = plx_reactor_now_ns(a) - 1;
    asked[1].call.not_after_ns = UINT64_MAX;
    assert_int_equal(ask(a, 1, 0, take_one), 0);
    assert_int_equal(ask(a, 1, 1, take_one), 0);
    turn_both();
    expect_end(0, -ETIMEDOUT, PLX_CALL_LATE);
    expect_end(1, 0, PLX_CALL_RAN);
    assert_int_equal(run_count, 1);
    assert_int_equal(stats_of(b).calls_unrun, 1);
    assert_int_equal(stats_of(b).calls_in, 1);
}

static int32_t time_out(struct plx_reactor *here, const struct plx_call_token *token,
                        const void *body, void *answer)
{
    (void)here;
    (void)token;
    (void)body;
    (void)answer;
    return -ETIMEDOUT;
}

static void function_that_timed_out_is_told_from_one_not_run(void **state)
{
    (void)state;
    assert_int_equal(ask(a, 1, 0, time_out), 0);
    turn_both();
    expect_end(0, -ETIMEDOUT, PLX_CALL_RAN);
}

/* --- the end of one side ---------------------------------------------------------------------- */

static void calls_to_one_that_is_abandoned_are_answered(void **state)
{
    (void)state;
    assert_int_equal(ask(a, 1, 0, take_one), 0);
    rt_abandon(b);
    b = NULL;
    plx_reactor_poll(a);
    /* Its first turn took it, before it closed itself. */
    expect_end(0, 0, PLX_CALL_RAN);
    assert_int_equal(ask(a, 1, 1, take_one), -ESHUTDOWN);
}

static uint32_t ask_while_ending(struct plx_poller *poller, void *ctx)
{
    (void)poller;
    unsigned *made = ctx;
    if (*made < CREDITS && ask(a, 1, *made, take_one) == 0)
        (*made)++;
    return 0;
}

static void calls_made_until_the_peer_has_ended_end_once_each(void **state)
{
    (void)state;
    struct plx_poller poller = {0};
    unsigned made = 0;
    plx_poller_arm(b, &poller, ask_while_ending, &made);
    rt_abandon(b);
    assert_true(made > 0);
    /* Here the peer is gone, and nothing told this side. */
    for (unsigned i = 0; i < 4; i++)
        plx_reactor_poll(a);
    assert_int_equal(end_count, made);
    for (unsigned i = 0; i < made; i++)
        expect_end(i, -ESHUTDOWN, PLX_CALL_UNRUN);
    b = NULL;
}

static uint32_t turn_other(struct plx_poller *poller, void *ctx)
{
    (void)poller;
    plx_reactor_poll(ctx);
    return 0;
}

static void abandoning_with_calls_in_flight_waits_for_their_answers(void **state)
{
    (void)state;
    struct plx_poller poller = {0};
    assert_int_equal(ask(a, 1, 0, take_one), 0);
    assert_int_equal(ask(a, 0, 1, take_one), 0);
    plx_poller_arm(a, &poller, turn_other, b);
    rt_abandon(a);
    expect_end(0, 1, PLX_CALL_RAN);
    expect_end(1, 0, PLX_CALL_RAN);
    a = NULL;
}

static void abandoning_one_that_owes_answers_fails_and_its_askers_calls_are_lost(void **state)
{
    (void)state;
    assert_int_equal(ask(a, 1, 0, later), 0);
    turn_both();
    assert_int_equal(plx_reactor_abandon(b, 1000000), -ETIMEDOUT);
    loses = true;
    plx_reactor_poll(a);
    expect_end(0, -EOWNERDEAD, PLX_CALL_LOST);
    /* An answer that comes all the same is for nobody. */
    memset(asked, 0xff, sizeof(asked[0]));
    plx_call_reply(b, &tokens[0], 1, NULL, 0);
    plx_reactor_poll(a);
    assert_int_equal(asked[0].ended, UINT32_MAX);
    b = NULL;
}

static void abandoning_one_whose_peer_is_not_polled_loses_its_calls(void **state)
{
    (void)state;
    assert_int_equal(ask(a, 1, 0, take_one), 0);
    assert_int_equal(plx_reactor_abandon(a, 1000000), -ETIMEDOUT);
    loses = true;
    expect_end(0, -EOWNERDEAD, PLX_CALL_LOST);
    /* It is run for nobody, or not; the answer goes nowhere. */
    plx_reactor_poll(b);
    assert_int_equal(asked[0].ended, 1);
    a = NULL;
}

/* --- the end of all --------------------------------------------------------------------------- */

static struct plx_reactor *all[3];
static PLX_ATOMIC(uint32_t) answered;
static PLX_ATOMIC(uint32_t) made;

static void count_end(struct plx_call *call, const struct plx_call_event *event, void *ctx)
{
    (void)call;
    (void)event;
    (void)ctx;
    plx_fetch_add_relaxed(&answered, 1);
}

static int keep_reactor(struct plx_reactor *reactor, void *ctx)
{
    (void)ctx;
    all[plx_reactor_index(reactor)] = reactor;
    return 0;
}

/* Posted to a reactor: asks another `later`, whose answer never comes. */
static void ask_for_ever(struct plx_reactor *here, const void *body)
{
    uint32_t to = (uint32_t) * (const uint64_t *)body;
    struct asked *one = &asked[plx_reactor_index(here)];
    if (plx_mesh_call(here, &one->call, to, later, NULL, 0, ended, one) == 0)
        plx_fetch_add_relaxed(&made, 1);
}

static void stop_names_one_that_owes_answers_and_the_asker_ends_well(void **state)
{
    (void)state;
    struct plx_runtime_opts opts;
    plx_runtime_opts_init(&opts);
    opts.on_start = keep_reactor;
    memset(asked, 0, sizeof(asked));
    plx_store_relaxed(&made, 0);
    run_count = 0;
    struct plx_runtime *rt = rt_create("reactors=2", &opts);
    rt_start(rt);
    struct plx_port *port = NULL;
    assert_int_equal(plx_port_create(rt, &port, NULL), 0);
    const uint64_t to = 1;
    assert_int_equal(plx_port_post(port, 0, ask_for_ever, &to, sizeof(to)), 0);
    RT_UNTIL(plx_load_relaxed(&made) == 1);
    RT_UNTIL(stats_of(all[1]).calls_in == 1);
    assert_int_equal(plx_port_destroy(port, 0), 0);
    struct plx_diag diag = {0};
    assert_int_equal(plx_runtime_stop(rt, 50000000, &diag), -ETIMEDOUT);
    assert_non_null(strstr(diag.text, "reactor 1 did not end"));
    assert_non_null(strstr(diag.text, "owes its callers 1 answers"));
    expect_end(0, -EOWNERDEAD, PLX_CALL_LOST);
    assert_int_equal(plx_load_relaxed(&rt->slots[0].life), PLX__SLOT_ENDED);
    assert_int_equal(plx_load_relaxed(&rt->slots[1].life), PLX__SLOT_LEAKED);
    lose(rt);
}

static void stop_ends_calls_to_a_reactor_that_is_not_polled(void **state)
{
    (void)state;
    struct plx_runtime_opts opts;
    plx_runtime_opts_init(&opts);
    opts.on_start = keep_reactor;
    memset(asked, 0, sizeof(asked));
    plx_store_relaxed(&made, 0);
    run_count = 0;
    struct plx_runtime *rt = rt_create("reactors=2", &opts);
    struct plx_reactor *idle = rt_adopt(rt, 1);
    rt_start(rt);
    struct plx_port *port = NULL;
    assert_int_equal(plx_port_create(rt, &port, NULL), 0);
    const uint64_t to = 1;
    assert_int_equal(plx_port_post(port, 0, ask_for_ever, &to, sizeof(to)), 0);
    RT_UNTIL(plx_load_relaxed(&made) == 1);
    assert_int_equal(plx_port_destroy(port, 0), 0);
    struct plx_diag diag = {0};
    assert_int_equal(plx_runtime_stop(rt, 50000000, &diag), -ETIMEDOUT);
    assert_non_null(strstr(diag.text, "reactor 1 did not end"));
    expect_end(0, -EOWNERDEAD, PLX_CALL_LOST);
    /* Polled after all, it runs nothing of the others'. */
    plx_reactor_poll(idle);
    assert_int_equal(run_count, 0);
    rt_abandon(idle);
    plx_runtime_destroy(rt);
}

/* Both ask each other and themselves without a pause until they are stopped. */
static struct asked busy[2][40];

static int32_t answer_now(struct plx_reactor *here, const struct plx_call_token *token,
                          const void *body, void *answer)
{
    (void)here;
    (void)token;
    (void)body;
    (void)answer;
    return 0;
}

static uint32_t ask_all(struct plx_poller *poller, void *ctx)
{
    (void)poller;
    struct plx_reactor *here = ctx;
    uint32_t index = plx_reactor_index(here);
    for (unsigned i = 0; i < 40; i++) {
        struct plx_call *call = &busy[index][i].call;
        if (!call->in_flight &&
            plx_mesh_call(here, call, i % 2, answer_now, NULL, 0, count_end, NULL) == 0)
            plx_fetch_add_relaxed(&made, 1);
    }
    return 0;
}

static struct plx_poller busy_pollers[2];

static int start_asking(struct plx_reactor *reactor, void *ctx)
{
    (void)ctx;
    plx_poller_arm(reactor, &busy_pollers[plx_reactor_index(reactor)], ask_all, reactor);
    return 0;
}

static void stop_with_calls_in_flight_both_ways_ends_each_once(void **state)
{
    (void)state;
    struct plx_runtime_opts opts;
    plx_runtime_opts_init(&opts);
    opts.on_start = start_asking;
    for (unsigned round = 0; round < 10; round++) {
        memset(busy, 0, sizeof(busy));
        memset(busy_pollers, 0, sizeof(busy_pollers));
        plx_store_relaxed(&made, 0);
        plx_store_relaxed(&answered, 0);
        struct plx_runtime *rt = rt_create("reactors=2 mesh_slots=64", &opts);
        rt_start(rt);
        RT_UNTIL(plx_load_relaxed(&answered) > 100);
        rt_finish(rt);
        assert_int_equal(plx_load_relaxed(&answered), plx_load_relaxed(&made));
    }
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(call_to_a_peer_runs_there_and_ends_here),
        CASE(call_to_oneself_runs_and_ends_in_later_turns),
        CASE(call_out_of_bounds_is_refused),
        CASE(calls_and_posts_arrive_in_order_and_so_do_answers),
        CASE(call_that_is_answered_later_ends_then),
        CASE(call_that_is_answered_from_within_ends_once),
        CASE(call_made_anew_in_its_completion_goes_out_again),
        CASE(call_without_a_credit_is_refused_and_counted),
        CASE(call_to_a_full_ring_or_one_not_started_is_refused),
        CASE(answers_find_room_in_full_rings),
        CASE(call_whose_deadline_has_passed_is_not_run),
        CASE(function_that_timed_out_is_told_from_one_not_run),
        CASE(calls_to_one_that_is_abandoned_are_answered),
        CASE(calls_made_until_the_peer_has_ended_end_once_each),
        CASE(abandoning_with_calls_in_flight_waits_for_their_answers),
        CASE(abandoning_one_that_owes_answers_fails_and_its_askers_calls_are_lost),
        CASE(abandoning_one_whose_peer_is_not_polled_loses_its_calls),
        cmocka_unit_test(stop_names_one_that_owes_answers_and_the_asker_ends_well),
        cmocka_unit_test(stop_ends_calls_to_a_reactor_that_is_not_polled),
        cmocka_unit_test(stop_with_calls_in_flight_both_ways_ends_each_once),
    };
    return cmocka_run_group_tests_name("calls", tests, NULL, NULL);
}
