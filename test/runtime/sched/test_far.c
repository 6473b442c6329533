/* SPDX-License-Identifier: MIT */
/* Tasks on another reactor, and channels between two: both reactors polled by this thread. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "runtime/sched/far.h"
#include "runtime/sched/xchan.h"
#include "test/runtime/rt_fixture.h"
#include "test/runtime/sched/task_fixture.h"

struct pair {
    struct plx_runtime *runtime;
    struct plx_reactor *here;
    struct plx_reactor *there;
};

static struct pair pair_open(const char *words)
{
    char text[128] = "reactors=2 ";
    strncat(text, words, sizeof(text) - strlen(text) - 1);
    struct pair pair = {.runtime = rt_create(text, NULL)};
    pair.here = rt_adopt(pair.runtime, 0);
    pair.there = rt_adopt(pair.runtime, 1);
    return pair;
}

static void pair_turn(struct pair *pair, unsigned times)
{
    for (unsigned i = 0; i < times; i++) {
        if (pair->here != NULL)
            (void)plx_reactor_poll(pair->here);
        if (pair->there != NULL)
            (void)plx_reactor_poll(pair->there);
    }
}

static void pair_close(struct pair *pair)
{
    if (pair->here != NULL)
        rt_abandon(pair->here);
    if (pair->there != NULL)
        rt_abandon(pair->there);
    plx_runtime_destroy(pair->runtime);
}

static struct plx_task *start_on(struct plx_reactor *reactor, plx_task_fn fn, void *ctx)
{
    struct plx_task *task = NULL;
    assert_int_equal(plx_task_spawn(reactor, NULL, fn, ctx, &task), 0);
    return task;
}

static int64_t finish(struct pair *pair, struct plx_task *task)
{
    int64_t result = 0;
    int rc = -EAGAIN;
    RT__UNTIL((rc = plx_task_try_join(task, &result)) != -EAGAIN, pair_turn(pair, 1));
    assert_int_equal(rc, 0);
    return result;
}

/* --- far tasks -------------------------------------------------------------------------------- */

static int64_t square(void *ctx)
{
    int64_t value = *(const int64_t *)ctx;
    assert_int_equal(plx_reactor_index(plx_reactor_self()), 1);
    assert_int_equal(plx_task_yield(), 0);
    assert_int_equal(plx_task_sleep(1000), 0);
    return value * value;
}

static int64_t sum_squares(void *ctx)
{
    struct pair *pair = ctx;
    struct plx_far_task fars[8] = {{.ended = false}};
    int64_t values[8];
    int64_t sum = 0;
    for (unsigned i = 0; i < 8; i++) {
        values[i] = 1 + (int64_t)i;
        int rc = plx_far_spawn(pair->here, &fars[i], 1, NULL, square, &values[i]);
        assert_int_equal(rc, 0);
        assert_true(plx_far_is_running(&fars[i]));
    }
    for (unsigned i = 0; i < 8; i++) {
        int64_t result = 0;
        assert_int_equal(plx_far_join(&fars[i], &result), 0);
        assert_false(plx_far_is_running(&fars[i]));
        sum += result;
    }
    return sum;
}

static void far_tasks_are_joined_with_their_results(void **state)
{
    (void)state;
    struct pair pair = pair_open("");
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(finish(&pair, start_on(pair.here, sum_squares, &pair)), 204);
    struct plx_task_stats stats;
    plx_task_read_stats(pair.there, &stats);
    assert_int_equal(stats.tasks, 0);
    assert_int_equal(stats.spawned, 160);
    pair_close(&pair);
}

static int64_t sleep_long(void *ctx)
{
    (void)ctx;
    return plx_task_sleep(3600 * 1000000000ull);
}

static void far_task_that_is_cancelled_ends(void **state)
{
    (void)state;
    struct pair pair = pair_open("");
    struct plx_far_task far = {.ended = false};
    int64_t result = 0;
    plx_far_cancel(&far);
    assert_int_equal(plx_far_spawn(pair.here, &far, 1, NULL, sleep_long, NULL), 0);
    assert_int_equal(plx_far_join(&far, &result), -EDEADLK);
    pair_turn(&pair, 5);
    assert_true(plx_far_is_running(&far));
    plx_far_cancel(&far);
    plx_far_cancel(&far);
    RT__UNTIL(!plx_far_is_running(&far), pair_turn(&pair, 1));
    assert_int_equal(plx_far_join(&far, &result), 0);
    assert_int_equal(result, -ECANCELED);
    pair_close(&pair);
}

struct joining {
    struct pair *pair;
    struct plx_far_task *far;
    int64_t result;
};

static int64_t join_far(void *ctx)
{
    struct joining *joining = ctx;
    return plx_far_join(joining->far, &joining->result);
}

static void join_of_a_far_task_that_is_cancelled_cancels_that_and_waits(void **state)
{
    (void)state;
    struct pair pair = pair_open("");
    struct plx_far_task far = {.ended = false};
    struct joining joining = {&pair, &far, 0};
    for (unsigned before = 0; before < 2; before++) {
        assert_int_equal(plx_far_spawn(pair.here, &far, 1, NULL, sleep_long, NULL), 0);
        pair_turn(&pair, 5);
        struct plx_task *joiner = start_on(pair.here, join_far, &joining);
        if (before == 0) {
            pair_turn(&pair, 2);
            struct plx_task *second = start_on(pair.here, join_far, &joining);
            assert_int_equal(finish(&pair, second), -EBUSY);
        }
        plx_task_cancel(joiner);
        assert_int_equal(finish(&pair, joiner), 0);
        assert_int_equal(joining.result, -ECANCELED);
    }
    pair_close(&pair);
}

static void far_task_without_a_stack_is_told_by_its_join(void **state)
{
    (void)state;
    struct pair pair = pair_open("tasks_max=1");
    struct plx_task *only = start_on(pair.there, sleep_long, NULL);
    struct plx_far_task far = {.ended = false};
    assert_int_equal(plx_far_spawn(pair.here, &far, 1, NULL, square, NULL), 0);
    RT__UNTIL(!plx_far_is_running(&far), pair_turn(&pair, 1));
    assert_int_equal(plx_far_join(&far, NULL), -EAGAIN);
    plx_task_cancel(only);
    assert_int_equal(finish(&pair, only), -ECANCELED);
    assert_int_equal(plx_far_spawn(pair.here, &far, 7, NULL, square, NULL), -EINVAL);
    assert_false(plx_far_is_running(&far));
    pair_close(&pair);
}

static void far_cancel_without_room_comes_later(void **state)
{
    (void)state;
    struct pair pair = pair_open("mesh_slots=8");
    /* Two credits: the far task's, and one that a call takes up. */
    struct plx_far_task fars[2] = {{.ended = false}, {.ended = false}};
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(plx_far_spawn(pair.here, &fars[i], 1, NULL, sleep_long, NULL), 0);
    struct plx_far_task third = {.ended = false};
    assert_int_equal(plx_far_spawn(pair.here, &third, 1, NULL, sleep_long, NULL), -EAGAIN);
    pair_turn(&pair, 5);
    plx_far_cancel(&fars[0]);
    pair_turn(&pair, 5);
    assert_true(plx_far_is_running(&fars[0]));
    /* Both ends, or neither: whoever is abandoned ends its far tasks too. */
    struct plx_task *other = start_on(pair.there, sleep_long, NULL);
    plx_task_cancel(other);
    assert_int_equal(finish(&pair, other), -ECANCELED);
    rt_abandon(pair.there);
    pair.there = NULL;
    for (unsigned i = 0; i < 2; i++) {
        RT__UNTIL(!plx_far_is_running(&fars[i]), pair_turn(&pair, 1));
        assert_int_equal(plx_far_join(&fars[i], NULL), 0);
        assert_int_equal(fars[i].result, -ECANCELED);
    }
    pair_close(&pair);
}

static void far_task_whose_reactor_ends_is_cancelled(void **state)
{
    (void)state;
    struct pair pair = pair_open("");
    struct plx_far_task far = {.ended = false};
    assert_int_equal(plx_far_spawn(pair.here, &far, 1, NULL, sleep_long, NULL), 0);
    struct joining joining = {&pair, &far, 0};
    struct plx_task *joiner = start_on(pair.here, join_far, &joining);
    rt_abandon(pair.there);
    pair.there = NULL;
    assert_int_equal(finish(&pair, joiner), 0);
    assert_int_equal(joining.result, -ECANCELED);
    assert_int_equal(plx_far_spawn(pair.here, &far, 1, NULL, sleep_long, NULL), -ESHUTDOWN);
    assert_false(plx_far_is_running(&far));
    pair_close(&pair);
}

/* --- channels between reactors ---------------------------------------------------------------- */

struct line {
    struct plx_xchan chan;
    uint64_t memory[16];
    uint64_t sent;
    uint64_t received;
    uint64_t limit;
};

static void make_line(struct line *line, struct pair *pair, uint32_t slots, uint64_t limit)
{
    memset(line, 0, sizeof(*line));
    line->limit = limit;
    int rc = plx_xchan_init(&line->chan, 0, 1, line->memory, slots, sizeof(uint64_t));
    assert_int_equal(rc, 0);
    assert_int_equal(plx_xchan_open_send(&line->chan, pair->here), 0);
    assert_int_equal(plx_xchan_open_recv(&line->chan, pair->there), 0);
}

static void end_line(struct line *line, struct pair *pair)
{
    plx_xchan_close_send(&line->chan);
    plx_xchan_close_recv(&line->chan);
    RT__UNTIL(plx_xchan_send_is_over(&line->chan) && plx_xchan_recv_is_over(&line->chan),
              pair_turn(pair, 1));
}

static int64_t send_all(void *ctx)
{
    struct line *line = ctx;
    while (line->sent < line->limit) {
        int rc = plx_xchan_send(&line->chan, &line->sent);
        if (rc != 0)
            return rc;
        line->sent++;
    }
    plx_xchan_close_send(&line->chan);
    return 0;
}

static int64_t receive_all(void *ctx)
{
    struct line *line = ctx;
    uint64_t item;
    int rc;
    while ((rc = plx_xchan_recv(&line->chan, &item)) == 0) {
        assert_int_equal(item, line->received);
        line->received++;
    }
    return rc;
}

static void xchan_passes_all_items_in_order(void **state)
{
    (void)state;
    static const char *const words[] = {"", "mesh_slots=8"};
    for (unsigned i = 0; i < 2; i++) {
        struct pair pair = pair_open(words[i]);
        for (uint32_t slots = 1; slots <= 16; slots = slots * 2 + (slots == 1)) {
            struct line line;
            make_line(&line, &pair, slots, 500);
            struct plx_task *sender = start_on(pair.here, send_all, &line);
            struct plx_task *receiver = start_on(pair.there, receive_all, &line);
            assert_int_equal(finish(&pair, sender), 0);
            assert_int_equal(finish(&pair, receiver), -EPIPE);
            assert_int_equal(line.received, 500);
            end_line(&line, &pair);
        }
        pair_close(&pair);
    }
}

static void xchan_without_credits_makes_the_sender_wait(void **state)
{
    (void)state;
    struct pair pair = pair_open("");
    struct line line;
    make_line(&line, &pair, 4, 10);
    struct plx_task *sender = start_on(pair.here, send_all, &line);
    pair_turn(&pair, 20);
    assert_int_equal(line.sent, 4);
    uint64_t item = 0;
    assert_int_equal(plx_xchan_try_send(&line.chan, &item), -EAGAIN);
    assert_int_equal(plx_xchan_recv(&line.chan, &item), 0);
    assert_int_equal(item, 0);
    /* Credits go home by halves. */
    pair_turn(&pair, 5);
    assert_int_equal(line.sent, 4);
    assert_int_equal(plx_xchan_try_recv(&line.chan, &item), 0);
    RT__UNTIL(line.sent == 6, pair_turn(&pair, 1));
    plx_task_cancel(sender);
    assert_int_equal(finish(&pair, sender), -ECANCELED);
    for (uint64_t i = 2; i < 6; i++) {
        assert_int_equal(plx_xchan_try_recv(&line.chan, &item), 0);
        assert_int_equal(item, i);
    }
    assert_int_equal(plx_xchan_try_recv(&line.chan, &item), -EAGAIN);
    assert_int_equal(plx_xchan_recv(&line.chan, &item), -EDEADLK);
    end_line(&line, &pair);
    pair_close(&pair);
}

static int64_t send_in_time(void *ctx)
{
    struct line *line = ctx;
    int rc = 0;
    while (rc == 0) {
        uint64_t at_ns = plx_reactor_now_ns(plx_reactor_self()) + 1000000;
        rc = plx_xchan_send_until(&line->chan, &line->sent, at_ns);
        line->sent += rc == 0;
    }
    return rc;
}

static int64_t receive_in_time(void *ctx)
{
    struct line *line = ctx;
    uint64_t item;
    int rc = 0;
    while (rc == 0) {
        uint64_t at_ns = plx_reactor_now_ns(plx_reactor_self()) + 1000000;
        rc = plx_xchan_recv_until(&line->chan, &item, at_ns);
        assert_true(rc != 0 || item == line->received);
        line->received += rc == 0;
    }
    return rc;
}

/* Without credits, and with credits but without room in the ring, which nobody empties. */
static void xchan_waits_beyond_their_deadlines_end(void **state)
{
    (void)state;
    static const uint32_t slots[] = {4, 16};
    for (unsigned i = 0; i < 2; i++) {
        struct pair pair = pair_open("mesh_slots=8");
        struct line line;
        make_line(&line, &pair, slots[i], 0);
        pair_turn(&pair, 20);
        struct plx_task *sender = start_on(pair.here, send_in_time, &line);
        int64_t result = 0;
        RT_TURN_UNTIL(pair.here, plx_task_try_join(sender, &result) == 0);
        assert_int_equal(result, -ETIMEDOUT);
        assert_in_range(line.sent, 1, slots[i] == 4 ? 4 : 8);
        /* All that was sent arrives, and the credits are as they were. */
        struct plx_task *receiver = start_on(pair.there, receive_in_time, &line);
        assert_int_equal(finish(&pair, receiver), -ETIMEDOUT);
        assert_int_equal(line.received, line.sent);
        pair_turn(&pair, 20);
        assert_int_equal(line.chan.credits + line.chan.owed, slots[i]);
        end_line(&line, &pair);
        pair_close(&pair);
    }
}

static void xchan_closed_by_its_receiver_refuses_the_sender(void **state)
{
    (void)state;
    struct pair pair = pair_open("");
    struct line line;
    make_line(&line, &pair, 4, 100);
    struct plx_task *sender = start_on(pair.here, send_all, &line);
    pair_turn(&pair, 10);
    plx_xchan_close_recv(&line.chan);
    plx_xchan_close_recv(&line.chan);
    assert_int_equal(finish(&pair, sender), -EPIPE);
    uint64_t item;
    assert_int_equal(plx_xchan_try_recv(&line.chan, &item), -EPIPE);
    assert_int_equal(plx_xchan_try_send(&line.chan, &item), -EPIPE);
    end_line(&line, &pair);
    pair_close(&pair);
}

/* What goes on in a reactor with a thread of its own, while the other end is here. */
struct away {
    struct line line;
    bool sends;
    PLX_ATOMIC(int) rc; /* 1: not yet */
};

static int64_t use_end(void *ctx)
{
    struct away *away = ctx;
    int rc = (int)(away->sends ? send_all(&away->line) : receive_all(&away->line));
    plx_store_release(&away->rc, rc);
    return 0;
}

static int open_away(struct plx_reactor *reactor, void *ctx)
{
    struct away *away = ctx;
    struct plx_task_opts opts;
    plx_task_opts_init(&opts);
    opts.detached = true;
    int rc = away->sends ? plx_xchan_open_send(&away->line.chan, reactor)
                         : plx_xchan_open_recv(&away->line.chan, reactor);
    return rc != 0 ? rc : plx_task_spawn(reactor, &opts, use_end, away, NULL);
}

static void xchan_whose_reactor_ends_is_closed(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        static struct away away;
        memset(&away, 0, sizeof(away));
        away.sends = i == 1;
        away.line.limit = 100;
        plx_store_relaxed(&away.rc, 1);
        assert_int_equal(plx_xchan_init(&away.line.chan, away.sends, !away.sends, away.line.memory,
                                        4, sizeof(uint64_t)),
                         0);
        struct plx_runtime_opts opts;
        plx_runtime_opts_init(&opts);
        opts.on_start = open_away;
        opts.ctx = &away;
        struct plx_runtime *rt = rt_create("reactors=2", &opts);
        struct plx_reactor *here = rt_adopt(rt, 0);
        rt_start(rt);
        assert_int_equal(away.sends ? plx_xchan_open_recv(&away.line.chan, here)
                                    : plx_xchan_open_send(&away.line.chan, here),
                         0);
        uint64_t item = 0;
        RT_TURN_UNTIL(here, (away.sends ? plx_xchan_try_recv(&away.line.chan, &item)
                                        : plx_xchan_try_send(&away.line.chan, &item)) == 0);
        assert_int_equal(plx_load_acquire(&away.rc), 1);
        rt_abandon(here);
        RT_UNTIL(plx_load_acquire(&away.rc) != 1);
        assert_int_equal(plx_load_acquire(&away.rc), -EPIPE);
        rt_finish(rt);
    }
}

static void xchan_that_one_side_never_opened_ends_all_the_same(void **state)
{
    (void)state;
    struct pair pair = pair_open("");
    static struct line lines[2];
    for (unsigned i = 0; i < 2; i++) {
        struct line *line = &lines[i];
        memset(line, 0, sizeof(*line));
        assert_int_equal(plx_xchan_init(&line->chan, 0, 1, line->memory, 4, 8), 0);
    }
    uint64_t item = 7;
    assert_int_equal(plx_xchan_try_send(&lines[0].chan, &item), -ENOTCONN);
    assert_int_equal(plx_xchan_try_recv(&lines[0].chan, &item), -ENOTCONN);
    assert_int_equal(plx_xchan_open_send(&lines[0].chan, pair.here), 0);
    assert_int_equal(plx_xchan_open_recv(&lines[1].chan, pair.there), 0);
    assert_int_equal(plx_xchan_try_send(&lines[0].chan, &item), 0);
    pair_turn(&pair, 5);
    /* What was sent before can be received when the other side opens late. */
    plx_xchan_close_send(&lines[0].chan);
    RT__UNTIL(plx_xchan_send_is_over(&lines[0].chan), pair_turn(&pair, 1));
    assert_int_equal(plx_xchan_open_recv(&lines[0].chan, pair.there), 0);
    item = 0;
    assert_int_equal(plx_xchan_try_recv(&lines[0].chan, &item), 0);
    assert_int_equal(item, 7);
    RT__UNTIL(plx_xchan_try_recv(&lines[0].chan, &item) == -EPIPE, pair_turn(&pair, 1));
    /* Closed before it was opened. */
    plx_xchan_close_send(&lines[1].chan);
    assert_int_equal(plx_xchan_open_send(&lines[1].chan, pair.here), -EPIPE);
    RT__UNTIL(plx_xchan_try_recv(&lines[1].chan, &item) == -EPIPE, pair_turn(&pair, 1));
    pair_close(&pair);
}

static void xchan_of_impossible_shapes_is_refused(void **state)
{
    (void)state;
    struct plx_xchan chan;
    uint64_t memory[1];
    assert_int_equal(plx_xchan_init(&chan, 0, 1, memory, 0, 8), -EINVAL);
    assert_int_equal(plx_xchan_init(&chan, 0, 1, memory, (1u << 30) + 1, 8), -EINVAL);
    assert_int_equal(plx_xchan_init(&chan, 0, 1, memory, 1, 0), -EINVAL);
    assert_int_equal(plx_xchan_init(&chan, 0, 1, memory, 1, PLX_XCHAN_ITEM_BYTES + 1), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(far_tasks_are_joined_with_their_results),
        cmocka_unit_test(far_task_that_is_cancelled_ends),
        cmocka_unit_test(join_of_a_far_task_that_is_cancelled_cancels_that_and_waits),
        cmocka_unit_test(far_task_without_a_stack_is_told_by_its_join),
        cmocka_unit_test(far_cancel_without_room_comes_later),
        cmocka_unit_test(far_task_whose_reactor_ends_is_cancelled),
        cmocka_unit_test(xchan_passes_all_items_in_order),
        cmocka_unit_test(xchan_without_credits_makes_the_sender_wait),
        cmocka_unit_test(xchan_waits_beyond_their_deadlines_end),
        cmocka_unit_test(xchan_closed_by_its_receiver_refuses_the_sender),
        cmocka_unit_test(xchan_whose_reactor_ends_is_closed),
        cmocka_unit_test(xchan_that_one_side_never_opened_ends_all_the_same),
        cmocka_unit_test(xchan_of_impossible_shapes_is_refused),
    };
    return cmocka_run_group_tests_name("far", tests, NULL, NULL);
}
