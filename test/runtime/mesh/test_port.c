/* SPDX-License-Identifier: MIT */
/* Ports, and how reactors find what many producers have sent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "runtime/mesh/port_internal.h"
#include "runtime/runtime_internal.h"
#include "test/runtime/rt_fixture.h"

#define CREDITS 64u

static struct plx_runtime *runtime;
static struct plx_reactor *a;
static struct plx_reactor *b;
static struct plx_port *port;

static uint64_t arrived[2048];
static unsigned arrived_count;
static unsigned end_count;
static struct plx_call_event last_end;
static struct plx_call calls[CREDITS + 2];
static struct plx_call_token tokens[CREDITS + 2];
static unsigned token_count;

/*
 * What did not end is never freed. That it stays reachable tells a leak detector that it is meant;
 * a static table that nobody reads would be optimised away.
 */
extern struct plx_runtime *lost_ports[4];
struct plx_runtime *lost_ports[4];
static unsigned lost_count;
static bool loses; /* the case leaves a reactor that did not end */

static void lose(struct plx_runtime *rt)
{
    plx_runtime_destroy(rt);
    lost_ports[lost_count++ % 4] = rt;
}

static int set_up_words(const char *words)
{
    arrived_count = 0;
    end_count = 0;
    token_count = 0;
    memset(calls, 0, sizeof(calls));
    runtime = rt_create(words, NULL);
    a = rt_adopt(runtime, 0);
    b = rt_adopt(runtime, 1);
    return plx_port_create(runtime, &port, NULL);
}

static int set_up(void **state)
{
    (void)state;
    return set_up_words("reactors=3 mesh_slots=256 ports=3");
}

static int tear_down(void **state)
{
    (void)state;
    (void)!plx_port_destroy(port, RT_PATIENCE_NS);
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

static void arrive(struct plx_reactor *here, const void *body)
{
    assert_ptr_equal(plx_reactor_self(), here);
    memcpy(&arrived[arrived_count++], body, sizeof(arrived[0]));
}

static int post_number(struct plx_port *from, uint32_t to, uint64_t number)
{
    return plx_port_post(from, to, arrive, &number, sizeof(number));
}

static int32_t twice(struct plx_reactor *here, const struct plx_call_token *token, const void *body,
                     void *answer)
{
    (void)here;
    (void)token;
    *(uint64_t *)answer = 2 * *(const uint64_t *)body;
    return 7;
}

static int32_t later(struct plx_reactor *here, const struct plx_call_token *token, const void *body,
                     void *answer)
{
    (void)here;
    (void)body;
    (void)answer;
    tokens[token_count++] = *token;
    return PLX_CALL_LATER;
}

static uint64_t last_answer;
static int poll_rc;

static void ended(struct plx_call *call, const struct plx_call_event *event, void *ctx)
{
    assert_false(call->in_flight);
    last_end = *event;
    memcpy(&last_answer, event->answer, sizeof(last_answer));
    end_count++;
    poll_rc = plx_port_poll(ctx);
}

static int ask(struct plx_port *from, uint32_t to, unsigned i, plx_call_fn fn)
{
    const uint64_t body = i;
    return plx_port_call(from, &calls[i], to, fn, &body, sizeof(body), ended, from);
}

/* --- posts and calls -------------------------------------------------------------------------- */

static void posts_of_a_port_arrive_in_order(void **state)
{
    (void)state;
    assert_int_equal(plx_reactor_poll(b), 0);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(post_number(port, 1, i), 0);
    assert_int_equal(plx_reactor_poll(a), 0);
    RT_TURN_UNTIL(b, arrived_count == 100);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(arrived[i], i);
    assert_int_equal(plx_reactor_poll(b), 0);
}

static void call_of_a_port_ends_in_its_poll(void **state)
{
    (void)state;
    assert_int_equal(ask(port, 1, 21, twice), 0);
    assert_int_equal(plx_port_in_flight(port), 1);
    assert_int_equal(plx_port_poll(port), 0);
    assert_int_equal(plx_reactor_poll(b), 1);
    assert_int_equal(plx_port_poll(port), 1);
    assert_int_equal(end_count, 1);
    assert_int_equal(last_end.how, PLX_CALL_RAN);
    assert_int_equal(last_end.result, 7);
    assert_int_equal(last_answer, 42);
    assert_int_equal(poll_rc, -EDEADLK);
    assert_int_equal(plx_port_in_flight(port), 0);
    assert_int_equal(plx_port_poll(port), 0);
}

static void ports_beyond_bounds_are_refused(void **state)
{
    (void)state;
    uint8_t body[PLX_POST_BYTES + 1] = {0};
    assert_int_equal(plx_port_post(port, 3, arrive, body, 8), -EINVAL);
    assert_int_equal(plx_port_post(port, 0, arrive, body, sizeof(body)), -EINVAL);
    assert_int_equal(ask(port, 3, 0, twice), -EINVAL);
    assert_int_equal(plx_port_call(port, calls, 0, twice, body, PLX_CALL_BYTES + 1, ended, port),
                     -EINVAL);
    assert_int_equal(post_number(port, 2, 0), -EAGAIN); /* it has not started */
    unsigned taken = 0;
    while (post_number(port, 1, taken) == 0)
        taken++;
    assert_int_equal(taken, 255);
    assert_int_equal(post_number(port, 1, 0), -EAGAIN);
    assert_int_equal(ask(port, 1, 0, twice), -EAGAIN);
    RT_TURN_UNTIL(b, arrived_count == taken);
    assert_int_equal(post_number(port, 1, 0), 0);
}

static void calls_of_a_port_have_credits_and_answers_find_room(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 50; round++) {
        token_count = 0;
        end_count = 0;
        for (unsigned i = 0; i < CREDITS; i++)
            assert_int_equal(ask(port, 1, i, later), 0);
        assert_int_equal(ask(port, 1, CREDITS, later), -EAGAIN);
        RT_TURN_UNTIL(b, token_count == CREDITS);
        for (unsigned i = 0; i < CREDITS; i++)
            plx_call_reply(b, &tokens[i], (int32_t)i, NULL, 0);
        assert_int_equal(plx_port_poll(port), CREDITS);
        assert_int_equal(end_count, CREDITS);
        assert_int_equal(ask(port, 1, 0, twice), 0);
        plx_reactor_poll(b);
        assert_int_equal(plx_port_poll(port), 1);
    }
}

/* --- several, and their lives ----------------------------------------------------------------- */

static void ports_are_bounded_and_their_places_used_again(void **state)
{
    (void)state;
    struct plx_port *others[3] = {0};
    struct plx_diag diag = {0};
    assert_int_equal(plx_port_create(runtime, &others[0], NULL), 0);
    assert_int_equal(plx_port_create(runtime, &others[1], NULL), 0);
    assert_int_equal(plx_port_create(runtime, &others[2], &diag), -ENOSPC);
    assert_string_equal(diag.what, "POLLUX_PORTS");
    assert_null(others[2]);
    assert_int_equal(post_number(port, 1, 1), 0);
    assert_int_equal(post_number(others[0], 1, 2), 0);
    assert_int_equal(post_number(others[1], 1, 3), 0);
    assert_int_equal(plx_reactor_poll(b), 3);

    /* What was posted before arrives, and what the next one posts behind it. */
    assert_int_equal(post_number(others[0], 1, 4), 0);
    assert_int_equal(plx_port_destroy(others[0], 0), 0);
    assert_int_equal(plx_port_create(runtime, &others[2], NULL), 0);
    assert_ptr_equal(others[2], others[0]);
    assert_int_equal(post_number(others[2], 1, 5), 0);
    assert_int_equal(plx_reactor_poll(b), 2);
    assert_int_equal(arrived[3], 4);
    assert_int_equal(arrived[4], 5);
    assert_int_equal(plx_port_destroy(others[1], 0), 0);
    assert_int_equal(plx_port_destroy(others[2], 0), 0);
    assert_int_equal(plx_port_destroy(NULL, 0), 0);
}

static void port_destroyed_with_calls_in_flight_loses_them(void **state)
{
    (void)state;
    struct plx_port *other = NULL;
    assert_int_equal(plx_port_create(runtime, &other, NULL), 0);
    assert_int_equal(ask(other, 1, 0, later), 0);
    assert_int_equal(ask(other, 1, 1, twice), 0);
    plx_reactor_poll(b);
    /* The one that is answered is taken; the other is lost. */
    assert_int_equal(plx_port_destroy(other, 0), -ETIMEDOUT);
    assert_int_equal(end_count, 2);
    assert_int_equal(last_end.how, PLX_CALL_LOST);
    assert_int_equal(last_end.result, -EOWNERDEAD);
    plx_call_reply(b, &tokens[0], 0, NULL, 0);
    /* Its place is not used again. */
    struct plx_port *third = NULL;
    struct plx_port *fourth = NULL;
    assert_int_equal(plx_port_create(runtime, &third, NULL), 0);
    assert_ptr_not_equal(third, other);
    assert_int_equal(plx_port_create(runtime, &fourth, NULL), -ENOSPC);
    assert_int_equal(plx_port_destroy(third, 0), 0);
}

static void port_to_an_ended_reactor_is_refused(void **state)
{
    (void)state;
    assert_int_equal(post_number(port, 1, 1), 0);
    rt_abandon(b);
    b = NULL;
    assert_int_equal(arrived_count, 1);
    assert_int_equal(post_number(port, 1, 2), -ESHUTDOWN);
    assert_int_equal(ask(port, 1, 0, twice), -ESHUTDOWN);
    assert_int_equal(post_number(port, 0, 3), 0);
    assert_int_equal(plx_reactor_poll(a), 1);
}

static uint32_t ask_while_ending(struct plx_poller *poller, void *ctx)
{
    (void)poller;
    unsigned *made = ctx;
    if (*made < CREDITS && ask(port, 1, *made, twice) == 0)
        (*made)++;
    return 0;
}

static void ports_calls_made_until_the_reactor_has_ended_end_once_each(void **state)
{
    (void)state;
    struct plx_poller poller = {0};
    unsigned made = 0;
    plx_poller_arm(b, &poller, ask_while_ending, &made);
    rt_abandon(b);
    b = NULL;
    assert_true(made > 0);
    RT__UNTIL(end_count == made, (void)plx_port_poll(port));
    assert_int_equal(last_end.how, PLX_CALL_UNRUN);
    assert_int_equal(plx_port_in_flight(port), 0);
}

static void ports_calls_to_a_reactor_that_was_given_up_are_lost(void **state)
{
    (void)state;
    assert_int_equal(ask(port, 1, 0, later), 0);
    plx_reactor_poll(b);
    assert_int_equal(plx_reactor_abandon(b, 1000000), -ETIMEDOUT);
    loses = true;
    b = NULL;
    assert_int_equal(plx_port_poll(port), 1);
    assert_int_equal(last_end.how, PLX_CALL_LOST);
    assert_int_equal(ask(port, 1, 1, later), -ESHUTDOWN);
}

static void port_of_a_stopped_runtime_refuses(void **state)
{
    (void)state;
    struct plx_runtime *rt = rt_create("reactors=2", NULL);
    struct plx_port *early = NULL;
    assert_int_equal(plx_port_create(rt, &early, NULL), 0);
    assert_int_equal(post_number(early, 0, 0), -EAGAIN);
    rt_start(rt);
    assert_int_equal(ask(early, 0, 0, twice), 0);
    assert_int_equal(plx_runtime_stop(rt, RT_PATIENCE_NS, NULL), 0);
    assert_int_equal(post_number(early, 0, 0), -ESHUTDOWN);
    assert_int_equal(ask(early, 0, 1, twice), -ESHUTDOWN);
    assert_int_equal(plx_port_poll(early), 1);
    assert_int_equal(end_count, 1);
    struct plx_port *late = NULL;
    struct plx_diag diag = {0};
    assert_int_equal(plx_port_create(rt, &late, &diag), -ESHUTDOWN);
    assert_int_equal(plx_port_destroy(early, 0), 0);
    plx_runtime_destroy(rt);
}

static void ports_of_none_are_refused(void **state)
{
    (void)state;
    struct plx_runtime *rt = rt_create("ports=0", NULL);
    struct plx_port *none = NULL;
    assert_int_equal(plx_port_create(rt, &none, NULL), -ENOSPC);
    plx_runtime_destroy(rt);
}

static void port_on_a_node_that_cannot_be_bound_is_an_error(void **state)
{
    (void)state;
    static const struct plx_machine_cpu cpus[] = {
        {.cpu = 0, .core = 0, .node = 7, .allowed = true}};
    static const struct plx_machine_node nodes[] = {
        {.node = 7, .cpu_count = 1, .memory_bytes = (uint64_t)4 << 30, .allowed = true},
    };
    static const uint32_t distances[] = {PLX_DISTANCE_LOCAL};
    const struct plx_machine machine = {.cpus = cpus,
                                        .nodes = nodes,
                                        .distances = distances,
                                        .cpu_count = 1,
                                        .node_count = 1,
                                        .core_count = 1,
                                        .cluster_count = 1,
                                        .is_this_system = true,
                                        .source = "made up"};
    struct plx_runtime_opts opts;
    plx_runtime_opts_init(&opts);
    opts.machine = &machine;
    struct plx_runtime *rt = rt_create("pin=require", &opts);
    struct plx_port *none = NULL;
    struct plx_diag diag = {0};
    assert_true(plx_port_create(rt, &none, &diag) < 0);
    assert_null(none);
    assert_true(diag.text[0] != '\0');
    plx_runtime_destroy(rt);
}

/* --- many producers --------------------------------------------------------------------------- */

/* A machine of as many CPUs as there are to be reactors; nothing is pinned on it. */
#define MANY 70u
static const struct plx_machine *many_cpus(void)
{
    static struct plx_machine_cpu cpus[MANY];
    static const struct plx_machine_node nodes[] = {
        {.node = 0, .cpu_count = MANY, .memory_bytes = (uint64_t)4 << 30, .allowed = true},
    };
    static const uint32_t distances[] = {PLX_DISTANCE_LOCAL};
    static const struct plx_machine machine = {.cpus = cpus,
                                               .nodes = nodes,
                                               .distances = distances,
                                               .cpu_count = MANY,
                                               .node_count = 1,
                                               .core_count = MANY,
                                               .cluster_count = 1,
                                               .is_this_system = true,
                                               .source = "made up"};
    for (uint32_t i = 0; i < MANY; i++)
        cpus[i] = (struct plx_machine_cpu){.cpu = i, .core = i, .allowed = true};
    return &machine;
}

static void set_up_many(const char *words)
{
    struct plx_runtime_opts opts;
    plx_runtime_opts_init(&opts);
    opts.machine = many_cpus();
    arrived_count = 0;
    end_count = 0;
    memset(calls, 0, sizeof(calls));
    runtime = rt_create(words, &opts);
}

static void posts_from_many_peers_are_found_by_their_generations(void **state)
{
    (void)state;
    set_up_many("reactors=70 mesh_slots=8 arena_size=2M ports=60");
    struct plx_reactor *reactors[MANY];
    struct plx_port *ports[60];
    const uint64_t zero = 0;
    for (uint32_t i = 0; i < MANY; i++)
        reactors[i] = rt_adopt(runtime, i);
    for (uint32_t i = 0; i < 60; i++)
        assert_int_equal(plx_port_create(runtime, &ports[i], NULL), 0);
    assert_int_equal(plx_reactor_poll(reactors[0]), 0);
    for (unsigned round = 0; round < 300; round++) {
        arrived_count = 0;
        for (uint32_t i = 0; i < MANY; i++)
            assert_int_equal(plx_mesh_post(reactors[i], 0, arrive, &zero, 8), 0);
        for (uint32_t i = 0; i < 60; i++)
            assert_int_equal(post_number(ports[i], 0, 0), 0);
        assert_int_equal(plx_reactor_poll(reactors[0]), MANY + 60);
        assert_int_equal(plx_reactor_poll(reactors[0]), 0);
        assert_int_equal(arrived_count, MANY + 60);
    }
    assert_int_equal(plx_mesh_broadcast(reactors[5], arrive, &zero, 8), MANY - 1);
    for (uint32_t i = 0; i < MANY; i++)
        assert_int_equal(plx_reactor_poll(reactors[i]), i != 5);
    for (uint32_t i = 0; i < 60; i++)
        assert_int_equal(plx_port_destroy(ports[i], 0), 0);
    for (uint32_t i = 0; i < MANY; i++)
        rt_abandon(reactors[i]);
    plx_runtime_destroy(runtime);
}

/* A byte that has gone round: exactly so many are waiting that it says there are none. */
static void posts_that_a_generation_hides_are_found_in_rotation(void **state)
{
    (void)state;
    set_up_many("reactors=12 mesh_slots=1024");
    a = rt_adopt(runtime, 0);
    b = rt_adopt(runtime, 11);
    const uint64_t zero = 0;
    for (unsigned i = 0; i < PLX__NEWS_EXACT; i++)
        assert_int_equal(plx_mesh_post(b, 0, arrive, &zero, 8), 0);
    RT_TURN_UNTIL(a, arrived_count == PLX__NEWS_EXACT);
    for (unsigned i = 0; i < 2 * PLX__NEWS_EXACT; i++)
        assert_int_equal(plx_mesh_post(b, 0, arrive, &zero, 8), 0);
    RT_TURN_UNTIL(a, arrived_count == 3 * PLX__NEWS_EXACT);
    rt_abandon(a);
    rt_abandon(b);
    plx_runtime_destroy(runtime);
}

static void posts_of_a_port_that_a_generation_hides_are_found_in_rotation(void **state)
{
    (void)state;
    set_up_words("reactors=2 mesh_slots=1024 ports=3");
    for (unsigned i = 0; i < PLX__NEWS_EXACT; i++)
        assert_int_equal(post_number(port, 1, i), 0);
    RT_TURN_UNTIL(b, arrived_count == PLX__NEWS_EXACT);
    assert_int_equal(plx_reactor_poll(b), 0);
    tear_down(state);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(posts_of_a_port_arrive_in_order),
        CASE(call_of_a_port_ends_in_its_poll),
        CASE(ports_beyond_bounds_are_refused),
        CASE(calls_of_a_port_have_credits_and_answers_find_room),
        CASE(ports_are_bounded_and_their_places_used_again),
        CASE(port_destroyed_with_calls_in_flight_loses_them),
        CASE(port_to_an_ended_reactor_is_refused),
        CASE(ports_calls_made_until_the_reactor_has_ended_end_once_each),
        CASE(ports_calls_to_a_reactor_that_was_given_up_are_lost),
        CASE(port_of_a_stopped_runtime_refuses),
        cmocka_unit_test(ports_of_none_are_refused),
        cmocka_unit_test(port_on_a_node_that_cannot_be_bound_is_an_error),
        cmocka_unit_test(posts_from_many_peers_are_found_by_their_generations),
        cmocka_unit_test(posts_that_a_generation_hides_are_found_in_rotation),
        cmocka_unit_test(posts_of_a_port_that_a_generation_hides_are_found_in_rotation),
    };
    return cmocka_run_group_tests_name("ports", tests, NULL, NULL);
}
