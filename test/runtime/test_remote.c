/* SPDX-License-Identifier: MIT */
/* Ops that another reactor carries out, on both backends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/runtime_internal.h"
#include "test/runtime/rt_fixture.h"

#define CREDITS 64u

static struct plx_runtime *runtime;
static struct plx_reactor *a;
static struct plx_reactor *b;
static int pair[2];

static struct plx_op op;
static struct plx_remote remote;
static struct plx_event seen;
static struct plx_reactor *seen_at;
static unsigned seen_count;
static char buffer[64];

/*
 * What did not end is never freed. That it stays reachable tells a leak detector that it is meant;
 * a static table that nobody reads would be optimised away.
 */
extern struct plx_runtime *lost_remotes[4];
struct plx_runtime *lost_remotes[4];
static unsigned lost_count;
static bool loses; /* the case leaves a reactor that did not end */

static void lose(struct plx_runtime *rt)
{
    plx_runtime_destroy(rt);
    lost_remotes[lost_count++ % 4] = rt;
}

static int set_up_on(const char *words)
{
    memset(&remote, 0, sizeof(remote));
    seen_count = 0;
    runtime = rt_create(words, NULL);
    a = rt_adopt(runtime, 0);
    b = rt_adopt(runtime, 1);
    return socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
}

static int set_up(void **state)
{
    (void)state;
    return set_up_on("reactors=2 mesh_slots=256");
}

static int set_up_epoll(void **state)
{
    (void)state;
    return set_up_on("reactors=2 mesh_slots=256 backend=epoll");
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
    close(pair[0]);
    close(pair[1]);
    return 0;
}

static void see(struct plx_op *which, const struct plx_event *event, void *ctx)
{
    assert_ptr_equal(ctx, &seen);
    if (which == &op) {
        assert_ptr_equal(op.fn, see);
        assert_int_equal(plx_op_state(&op), PLX_OP_DONE);
    }
    seen = *event;
    seen_at = plx_reactor_self();
    seen_count++;
}

/* Turns both until so many events were seen. */
static void turn_until(unsigned count)
{
    RT__UNTIL(seen_count >= count, (plx_reactor_poll(b), plx_reactor_poll(a)));
    assert_int_equal(seen_count, count);
}

static void remote_op_is_carried_out_there_and_ends_here(void **state)
{
    (void)state;
    plx_op_recv(&op, pair[0], buffer, sizeof(buffer), 0, see, &seen);
    assert_int_equal(plx_op_submit_on(a, &remote, 1, &op), 0);
    plx_reactor_poll(a);
    plx_reactor_poll(b);
    assert_int_equal(b->io->in_flight, 1);
    assert_int_equal(a->io->in_flight, 0);
    assert_int_equal(write(pair[1], "hello", 5), 5);
    turn_until(1);
    assert_int_equal(seen.result, 5);
    assert_ptr_equal(seen_at, a);
    assert_memory_equal(buffer, "hello", 5);
    assert_false(remote.call.in_flight);

    /* The same memory again, and on itself. */
    assert_int_equal(write(pair[1], "again", 5), 5);
    assert_int_equal(plx_op_submit_on(a, &remote, 0, &op), 0);
    turn_until(2);
    assert_int_equal(seen.result, 5);
}

static void remote_op_that_is_refused_there_says_why(void **state)
{
    (void)state;
    plx_op_recv(&op, -1, buffer, sizeof(buffer), 0, see, &seen);
    assert_int_equal(plx_op_submit_on(a, &remote, 1, &op), 0);
    turn_until(1);
    assert_int_equal(seen.result, -EBADF);
}

static void remote_multishot_or_nowhere_is_refused(void **state)
{
    (void)state;
    plx_op_accept(&op, pair[0], 0, PLX_MULTISHOT, see, &seen);
    assert_int_equal(plx_op_submit_on(a, &remote, 1, &op), -EINVAL);
    plx_op_read_group(&op, pair[0], 0, 16, 0, see, &seen);
    assert_int_equal(plx_op_submit_on(a, &remote, 1, &op), -EINVAL);
    plx_op_nop(&op, see, &seen);
    assert_int_equal(plx_op_submit_on(a, &remote, 2, &op), -EINVAL);
    /* It is as it was. */
    assert_ptr_equal(op.fn, see);
    assert_ptr_equal(op.ctx, &seen);
    assert_int_equal(plx_op_submit(a, &op), 0);
    turn_until(1);
}

static void remote_op_too_late_is_not_begun(void **state)
{
    (void)state;
    plx_op_recv(&op, pair[0], buffer, sizeof(buffer), 0, see, &seen);
    remote.call.not_after_ns = 1;
    assert_int_equal(plx_op_submit_on(a, &remote, 1, &op), 0);
    turn_until(1);
    assert_int_equal(seen.result, -ETIMEDOUT);
    assert_int_equal(b->io->in_flight, 0);
}

static void remote_op_that_is_cancelled_ends_once(void **state)
{
    (void)state;
    plx_op_cancel_on(a, &remote); /* nothing yet */
    plx_op_recv(&op, pair[0], buffer, sizeof(buffer), 0, see, &seen);
    assert_int_equal(plx_op_submit_on(a, &remote, 1, &op), 0);
    plx_reactor_poll(b);
    plx_op_cancel_on(a, &remote);
    plx_op_cancel_on(a, &remote);
    turn_until(1);
    assert_int_equal(seen.result, -ECANCELED);
    plx_op_cancel_on(a, &remote);
    for (unsigned i = 0; i < 4; i++) {
        plx_reactor_poll(a);
        plx_reactor_poll(b);
    }
    assert_int_equal(seen_count, 1);
}

static void remote_cancel_that_comes_too_late_leaves_the_result(void **state)
{
    (void)state;
    plx_op_nop(&op, see, &seen);
    assert_int_equal(plx_op_submit_on(a, &remote, 1, &op), 0);
    RT_TURN_UNTIL(b, b->io->completed == 1);
    plx_op_cancel_on(a, &remote);
    /* Its end is known here, but the target has yet to see the request. */
    plx_reactor_poll(a);
    assert_int_equal(seen_count, 0);
    turn_until(1);
    assert_int_equal(seen.result, 0);
}

static struct plx_call calls[CREDITS];
static struct plx_call_token tokens[CREDITS];
static unsigned token_count;
static unsigned end_count;

static int32_t later(struct plx_reactor *here, const struct plx_call_token *token, const void *body,
                     void *answer)
{
    (void)here;
    (void)body;
    (void)answer;
    tokens[token_count++] = *token;
    return PLX_CALL_LATER;
}

static void count_end(struct plx_call *call, const struct plx_call_event *event, void *ctx)
{
    (void)call;
    (void)event;
    (void)ctx;
    end_count++;
}

static void take_all_credits(void)
{
    memset(calls, 0, sizeof(calls));
    token_count = 0;
    end_count = 0;
    for (unsigned i = 0; i + 1 < CREDITS; i++)
        assert_int_equal(plx_mesh_call(a, &calls[i], 1, later, NULL, 0, count_end, NULL), 0);
}

static void give_credits_back(void)
{
    for (unsigned i = 0; i < token_count; i++)
        plx_call_reply(b, &tokens[i], 0, NULL, 0);
    RT_TURN_UNTIL(a, end_count == token_count);
}

static void remote_cancel_without_a_credit_goes_out_later(void **state)
{
    (void)state;
    take_all_credits();
    plx_op_recv(&op, pair[0], buffer, sizeof(buffer), 0, see, &seen);
    assert_int_equal(plx_op_submit_on(a, &remote, 1, &op), 0);
    RT_TURN_UNTIL(b, b->io->in_flight == 1);
    plx_op_cancel_on(a, &remote);
    assert_true(remote.waiting);
    plx_reactor_poll(a);
    assert_true(remote.waiting);
    give_credits_back();
    turn_until(1);
    assert_int_equal(seen.result, -ECANCELED);
    assert_null(a->late_cancels);
}

static void remote_op_that_ends_before_its_cancel_went_out_ends_once(void **state)
{
    (void)state;
    take_all_credits();
    plx_op_recv(&op, pair[0], buffer, sizeof(buffer), 0, see, &seen);
    assert_int_equal(plx_op_submit_on(a, &remote, 1, &op), 0);
    RT_TURN_UNTIL(b, b->io->in_flight == 1);
    plx_op_cancel_on(a, &remote);
    assert_int_equal(write(pair[1], "x", 1), 1);
    turn_until(1);
    assert_int_equal(seen.result, 1);
    assert_null(a->late_cancels);
    give_credits_back();
}

static void turn_b(struct plx_op *which, const struct plx_event *event, void *ctx)
{
    (void)which;
    (void)event;
    (void)ctx;
}

static uint32_t turn_other(struct plx_poller *poller, void *ctx)
{
    (void)poller;
    plx_reactor_poll(ctx);
    return 0;
}

static void abandoning_the_asker_cancels_its_remote_ops(void **state)
{
    (void)state;
    struct plx_poller poller = {0};
    plx_op_recv(&op, pair[0], buffer, sizeof(buffer), 0, see, &seen);
    assert_int_equal(plx_op_submit_on(a, &remote, 1, &op), 0);
    plx_poller_arm(a, &poller, turn_other, b);
    rt_abandon(a);
    a = NULL;
    assert_int_equal(seen_count, 1);
    assert_int_equal(seen.result, -ECANCELED);
    struct plx_op another;
    struct plx_remote unused = {0};
    plx_op_nop(&another, turn_b, NULL);
    assert_int_equal(plx_op_submit_on(b, &unused, 0, &another), -ESHUTDOWN);
}

static void abandoning_the_target_cancels_what_it_was_asked_for(void **state)
{
    (void)state;
    plx_op_recv(&op, pair[0], buffer, sizeof(buffer), 0, see, &seen);
    assert_int_equal(plx_op_submit_on(a, &remote, 1, &op), 0);
    plx_reactor_poll(b);
    rt_abandon(b);
    b = NULL;
    plx_reactor_poll(a);
    assert_int_equal(seen_count, 1);
    assert_int_equal(seen.result, -ECANCELED);
}

static void remote_op_on_one_that_is_given_up_is_lost(void **state)
{
    (void)state;
    static struct plx_op lost_op;
    static struct plx_remote lost_remote;
    memset(&lost_remote, 0, sizeof(lost_remote));
    take_all_credits();
    plx_op_recv(&lost_op, pair[0], buffer, sizeof(buffer), 0, see, &seen);
    assert_int_equal(plx_op_submit_on(a, &lost_remote, 1, &lost_op), 0);
    plx_reactor_poll(b);
    plx_op_cancel_on(a, &lost_remote);
    /* It keeps what it owes, and cannot end. */
    b->mesh.owed++;
    assert_int_equal(plx_reactor_abandon(b, 1000000), -ETIMEDOUT);
    loses = true;
    b = NULL;
    RT_TURN_UNTIL(a, seen_count == 1);
    assert_true(seen.result == -EOWNERDEAD || seen.result == -ECANCELED);
}

int main(void)
{
#define CASE(name)       cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define CASE_EPOLL(name) cmocka_unit_test_setup_teardown(name, set_up_epoll, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(remote_op_is_carried_out_there_and_ends_here),
        CASE_EPOLL(remote_op_is_carried_out_there_and_ends_here),
        CASE(remote_op_that_is_refused_there_says_why),
        CASE(remote_multishot_or_nowhere_is_refused),
        CASE(remote_op_too_late_is_not_begun),
        CASE(remote_op_that_is_cancelled_ends_once),
        CASE_EPOLL(remote_op_that_is_cancelled_ends_once),
        CASE(remote_cancel_that_comes_too_late_leaves_the_result),
        CASE(remote_cancel_without_a_credit_goes_out_later),
        CASE(remote_op_that_ends_before_its_cancel_went_out_ends_once),
        CASE(abandoning_the_asker_cancels_its_remote_ops),
        CASE(abandoning_the_target_cancels_what_it_was_asked_for),
        CASE(remote_op_on_one_that_is_given_up_is_lost),
    };
    return cmocka_run_group_tests_name("remote ops", tests, NULL, NULL);
}
