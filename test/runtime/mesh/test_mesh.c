/* SPDX-License-Identifier: MIT */
/* Posts between reactors that the test polls itself, so that each step is seen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "runtime/mesh/mesh_internal.h"
#include "test/runtime/rt_fixture.h"

/* What a ring of 256 slots takes of posts; the rest is for answers. */
#define ROOM 160u

static struct plx_runtime *runtime;
static struct plx_reactor *a;
static struct plx_reactor *b;

/* What arrived, in order. */
static uint64_t arrived[1024];
static struct plx_reactor *arrived_at[1024];
static unsigned arrived_count;

static int set_up_one(void **state)
{
    (void)state;
    runtime = rt_create("reactors=3 mesh_slots=256", NULL);
    a = rt_adopt(runtime, 0);
    b = NULL;
    arrived_count = 0;
    return 0;
}

static int set_up(void **state)
{
    set_up_one(state);
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
    plx_runtime_destroy(runtime);
    return 0;
}

static void arrive(struct plx_reactor *here, const void *body)
{
    assert_int_equal((uintptr_t)body % 8, 0);
    assert_ptr_equal(plx_reactor_self(), here);
    memcpy(&arrived[arrived_count], body, sizeof(arrived[0]));
    arrived_at[arrived_count++] = here;
}

static int post_number(struct plx_reactor *from, uint32_t to, uint64_t number)
{
    return plx_mesh_post(from, to, arrive, &number, sizeof(number));
}

static struct plx_reactor_stats stats_of(const struct plx_reactor *r)
{
    struct plx_reactor_stats stats;
    plx_reactor_read_stats(r, &stats);
    return stats;
}

static unsigned fill(struct plx_reactor *from, uint32_t to)
{
    unsigned taken = 0;
    int rc = 0;
    while ((rc = post_number(from, to, taken)) == 0) {
        taken++;
        assert_true(taken <= ROOM);
    }
    assert_int_equal(rc, -EAGAIN);
    return taken;
}

static void posts_to_a_peer_arrive_in_order_in_its_turn(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 50; i++)
        assert_int_equal(post_number(a, 1, i), 0);
    plx_reactor_poll(a);
    assert_int_equal(arrived_count, 0);
    assert_int_equal(plx_reactor_poll(b), 50);
    assert_int_equal(arrived_count, 50);
    for (uint64_t i = 0; i < 50; i++) {
        assert_int_equal(arrived[i], i);
        assert_ptr_equal(arrived_at[i], b);
    }
    assert_int_equal(stats_of(a).posts_out, 50);
    assert_int_equal(stats_of(b).posts_in, 50);
    assert_int_equal(stats_of(a).posts_in, 0);
}

static void posts_beyond_a_turns_share_wait_in_order(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 150; i++)
        assert_int_equal(post_number(a, 1, i), 0);
    for (unsigned left = 150; left != 0;) {
        unsigned share = left < PLX__TURN_POSTS_MAX ? left : PLX__TURN_POSTS_MAX;
        assert_int_equal(plx_reactor_poll(b), share);
        left -= share;
    }
    for (uint64_t i = 0; i < 150; i++)
        assert_int_equal(arrived[i], i);
}

static void posts_to_oneself_arrive_in_a_later_turn(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 10; i++)
        assert_int_equal(post_number(a, 0, i), 0);
    assert_int_equal(arrived_count, 0);
    assert_int_equal(plx_reactor_poll(a), 10);
    assert_int_equal(arrived_count, 10);
    assert_ptr_equal(arrived_at[9], a);
    assert_int_equal(arrived[9], 9);
}

/* The body's first number is how often to go on. */
static void go_on_alone(struct plx_reactor *here, const void *body)
{
    uint64_t left;
    memcpy(&left, body, sizeof(left));
    arrive(here, body);
    if (left != 0) {
        left--;
        assert_int_equal(plx_mesh_post(here, plx_reactor_index(here), go_on_alone, &left, 8), 0);
    }
}

static void posts_from_ones_own_posts_wait_for_the_next_turn(void **state)
{
    (void)state;
    uint64_t left = 5;
    assert_int_equal(plx_mesh_post(a, 0, go_on_alone, &left, sizeof(left)), 0);
    for (unsigned turn = 1; turn <= 6; turn++) {
        assert_int_equal(plx_reactor_poll(a), 1);
        assert_int_equal(arrived_count, turn);
    }
    assert_int_equal(plx_reactor_poll(a), 0);
}

static void bounce(struct plx_reactor *here, const void *body)
{
    uint64_t left;
    memcpy(&left, body, sizeof(left));
    arrive(here, body);
    if (left != 0) {
        left--;
        assert_int_equal(plx_mesh_post(here, 1 - plx_reactor_index(here), bounce, &left, 8), 0);
    }
}

static void posts_from_posts_go_to_and_fro(void **state)
{
    (void)state;
    uint64_t left = 100;
    assert_int_equal(plx_mesh_post(a, 1, bounce, &left, sizeof(left)), 0);
    while (arrived_count < 101) {
        assert_int_equal(plx_reactor_poll(b), 1);
        if (arrived_count < 101)
            assert_int_equal(plx_reactor_poll(a), 1);
    }
    for (unsigned i = 0; i < 101; i++) {
        assert_int_equal(arrived[i], 100 - i);
        assert_ptr_equal(arrived_at[i], i % 2 == 0 ? b : a);
    }
}

static uint8_t body_seen[PLX_POST_BYTES];

static void keep_body(struct plx_reactor *here, const void *body)
{
    (void)here;
    memcpy(body_seen, body, sizeof(body_seen));
    arrived_count++;
}

static void post_of_any_length_carries_its_bytes(void **state)
{
    (void)state;
    for (size_t bytes = 0; bytes <= PLX_POST_BYTES; bytes++) {
        uint8_t body[PLX_POST_BYTES];
        for (size_t i = 0; i < bytes; i++)
            body[i] = (uint8_t)(bytes * 7 + i);
        assert_int_equal(plx_mesh_post(a, 1, keep_body, bytes != 0 ? body : NULL, bytes), 0);
        assert_int_equal(plx_reactor_poll(b), 1);
        assert_int_equal(arrived_count, bytes + 1);
        assert_memory_equal(body_seen, body, bytes);
    }
}

static void post_out_of_bounds_is_refused(void **state)
{
    (void)state;
    uint8_t body[PLX_POST_BYTES + 1] = {0};
    assert_int_equal(plx_mesh_post(a, 1, keep_body, body, sizeof(body)), -EINVAL);
    assert_int_equal(plx_mesh_post(a, 1, keep_body, body, SIZE_MAX), -EINVAL);
    assert_int_equal(plx_mesh_post(a, 3, keep_body, body, 8), -EINVAL);
    assert_int_equal(plx_mesh_post(a, UINT32_MAX, keep_body, body, 8), -EINVAL);
    assert_int_equal(plx_reactor_poll(b), 0);
    assert_int_equal(stats_of(a).posts_refused, 0);
}

static void post_to_a_full_ring_is_refused_and_counted(void **state)
{
    (void)state;
    unsigned taken = fill(a, 1);
    assert_int_equal(taken, ROOM);
    assert_int_equal(post_number(a, 1, 0), -EAGAIN);
    assert_int_equal(stats_of(a).posts_refused, 2);
    assert_int_equal(stats_of(a).posts_out, ROOM);
    /* The way back has a ring of its own. */
    assert_int_equal(post_number(b, 0, 0), 0);

    RT_TURN_UNTIL(b, arrived_count == ROOM);
    for (uint64_t i = 0; i < ROOM; i++)
        assert_int_equal(arrived[i], i);
    assert_int_equal(post_number(a, 1, ROOM), 0);
    RT_TURN_UNTIL(b, arrived_count == ROOM + 1);
}

static void post_to_oneself_in_a_full_ring_is_refused(void **state)
{
    (void)state;
    assert_int_equal(fill(a, 0), ROOM);
    RT_TURN_UNTIL(a, arrived_count == ROOM);
    assert_int_equal(stats_of(a).posts_refused, 1);
}

static void post_before_the_peer_started_is_refused_and_counted(void **state)
{
    (void)state;
    assert_int_equal(post_number(a, 1, 1), -EAGAIN);
    assert_int_equal(post_number(a, 1, 1), -EAGAIN);
    assert_int_equal(stats_of(a).posts_refused, 2);
    b = rt_adopt(runtime, 1);
    assert_int_equal(post_number(a, 1, 2), 0);
    assert_int_equal(plx_reactor_poll(b), 1);
    assert_int_equal(arrived[0], 2);
}

static void post_to_an_ended_peer_is_refused(void **state)
{
    (void)state;
    rt_abandon(b);
    b = NULL;
    assert_int_equal(post_number(a, 1, 1), -ESHUTDOWN);
    assert_int_equal(stats_of(a).posts_refused, 0);
    assert_int_equal(stats_of(a).posts_out, 0);
}

static void post_to_an_ended_peer_used_before_is_refused_at_once(void **state)
{
    (void)state;
    assert_int_equal(post_number(a, 1, 1), 0);
    rt_abandon(b);
    assert_int_equal(arrived_count, 1);
    b = NULL;
    assert_int_equal(post_number(a, 1, 2), -ESHUTDOWN);
    assert_int_equal(stats_of(a).posts_out, 1);
    /* Another one's end leaves the road to oneself as it is. */
    assert_int_equal(post_number(a, 0, 3), 0);
    assert_int_equal(plx_reactor_poll(a), 1);
}

/* --- broadcasts ------------------------------------------------------------------------------- */

static int broadcast_number(struct plx_reactor *from, uint64_t number)
{
    return plx_mesh_broadcast(from, arrive, &number, sizeof(number));
}

static void broadcast_reaches_every_other_reactor_once(void **state)
{
    (void)state;
    struct plx_reactor *c = rt_adopt(runtime, 2);
    assert_int_equal(broadcast_number(a, 7), 2);
    plx_reactor_poll(a);
    assert_int_equal(arrived_count, 0);
    assert_int_equal(plx_reactor_poll(b), 1);
    assert_int_equal(plx_reactor_poll(c), 1);
    assert_int_equal(arrived_count, 2);
    assert_int_equal(arrived[1], 7);
    rt_abandon(c);
    /* It has nobody to tell any more. */
    assert_int_equal(broadcast_number(a, 8), 1);
    assert_int_equal(plx_reactor_poll(b), 1);
    assert_int_equal(plx_mesh_broadcast(a, arrive, NULL, PLX_POST_BYTES + 1), -EINVAL);
}

static void broadcast_that_one_has_no_room_for_reaches_none(void **state)
{
    (void)state;
    assert_int_equal(broadcast_number(a, 1), -EAGAIN); /* the third has not started */
    struct plx_reactor *c = rt_adopt(runtime, 2);
    assert_int_equal(fill(a, 2), ROOM);
    assert_int_equal(stats_of(a).posts_refused, 2);
    assert_int_equal(broadcast_number(a, 1), -EAGAIN);
    assert_int_equal(stats_of(a).posts_refused, 3);
    assert_int_equal(plx_reactor_poll(b), 0);
    RT_TURN_UNTIL(c, arrived_count == ROOM);
    assert_int_equal(broadcast_number(a, 1), 2);
    assert_int_equal(plx_reactor_poll(b), 1);
    rt_abandon(c);
}

/* --- the end ---------------------------------------------------------------------------------- */

static void posts_that_wait_when_a_reactor_is_abandoned_are_called(void **state)
{
    (void)state;
    assert_int_equal(fill(a, 1), ROOM);
    for (uint64_t i = 0; i < 150; i++)
        assert_int_equal(post_number(b, 1, 1000 + i), 0);
    rt_abandon(b);
    assert_int_equal(arrived_count, ROOM + 150);
    struct plx_reactor_stats stats = stats_of(b);
    assert_int_equal(stats.posts_in, ROOM + 150);
    assert_int_equal(stats.posts_lost, 0);
    b = NULL;
}

/* Runs on `b`, but does what a peer that sends without a pause does. */
static uint32_t pester(struct plx_poller *poller, void *ctx)
{
    (void)poller;
    (void)ctx;
    while (post_number(a, 1, 0) == 0)
        continue;
    arrived_count = 0;
    return 0;
}

static void abandoning_under_a_stream_of_posts_ends_and_counts_the_lost(void **state)
{
    (void)state;
    struct plx_poller poller = {0};
    plx_poller_arm(b, &poller, pester, NULL);
    for (unsigned i = 0; i < 10; i++)
        plx_reactor_poll(b);
    rt_abandon(b);
    struct plx_reactor_stats sent = stats_of(a);
    struct plx_reactor_stats got = stats_of(b);
    assert_true(got.posts_lost > 0);
    assert_int_equal(sent.posts_out, got.posts_in + got.posts_lost);
    b = NULL;
}

/* Called while `a` is ending. */
static int late_rc;
static int late_broadcast_rc;
static void post_late(struct plx_reactor *here, const void *body)
{
    (void)body;
    late_rc = post_number(here, 1, 1);
}

static uint32_t count_turns(struct plx_poller *poller, void *ctx)
{
    (void)poller;
    unsigned *turns = ctx;
    /* The third is the first in which the reactor drains. */
    if (++*turns == 3) {
        late_rc = post_number(a, 1, 1);
        late_broadcast_rc = broadcast_number(a, 1);
    }
    return 0;
}

static void post_of_an_ending_reactor_is_refused(void **state)
{
    (void)state;
    struct plx_poller poller = {0};
    unsigned turns = 0;
    plx_poller_arm(a, &poller, count_turns, &turns);
    /* So many posts that ending takes several turns. */
    for (unsigned i = 0; i < ROOM; i++)
        assert_int_equal(plx_mesh_post(a, 0, post_late, NULL, 0), 0);
    rt_abandon(a);
    a = NULL;
    assert_true(turns >= 3);
    assert_int_equal(late_rc, -ESHUTDOWN);
    assert_int_equal(late_broadcast_rc, -ESHUTDOWN);
}

int main(void)
{
#define CASE(name)     cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define CASE_ONE(name) cmocka_unit_test_setup_teardown(name, set_up_one, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(posts_to_a_peer_arrive_in_order_in_its_turn),
        CASE(posts_beyond_a_turns_share_wait_in_order),
        CASE(posts_to_oneself_arrive_in_a_later_turn),
        CASE(posts_from_ones_own_posts_wait_for_the_next_turn),
        CASE(posts_from_posts_go_to_and_fro),
        CASE(post_of_any_length_carries_its_bytes),
        CASE(post_out_of_bounds_is_refused),
        CASE(post_to_a_full_ring_is_refused_and_counted),
        CASE(post_to_oneself_in_a_full_ring_is_refused),
        CASE_ONE(post_before_the_peer_started_is_refused_and_counted),
        CASE(post_to_an_ended_peer_is_refused),
        CASE(post_to_an_ended_peer_used_before_is_refused_at_once),
        CASE(broadcast_reaches_every_other_reactor_once),
        CASE(broadcast_that_one_has_no_room_for_reaches_none),
        CASE(posts_that_wait_when_a_reactor_is_abandoned_are_called),
        CASE(abandoning_under_a_stream_of_posts_ends_and_counts_the_lost),
        CASE(post_of_an_ending_reactor_is_refused),
    };
    return cmocka_run_group_tests_name("mesh", tests, NULL, NULL);
}
