/* SPDX-License-Identifier: MIT */
/*
 * Each way through an op's states, for each kind of op, in each mode. A case here is one way (a
 * row: completed, cancelled before it was submitted to the kernel, cancelled twice, refused, …)
 * and walks over all kinds (op_kinds.c, the columns) to which it applies. Whatever happens there is
 * one terminal event for each submit that was taken, none for one that was not, none after it, and
 * in the end nothing is counted.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "runtime/reactor_internal.h"
#include "test/runtime/io/op_kinds.h"

#define FILL_MAX 64u
#define ROUNDS   3u

/* One way for one kind; `l` is open, prepared, and closed by the caller. */
typedef void (*way_fn)(struct life *l);

static struct life the_life;

/* Walks over the kinds that have all of `with` and none of `without`. */
static void walk(void **state, uint32_t with, uint32_t without, way_fn way)
{
    for (const struct kind *kind = kinds; kind->name != NULL; kind++) {
        if ((kind->traits & with) != with || (kind->traits & without) != 0)
            continue;
        life_open(&the_life, kind, *state);
        way(&the_life);
        life_close(&the_life);
    }
}

/* What a cancel may not be enough for: a worker that hangs, and bytes that were taken and are to be
 * acknowledged. */
static void let_if_needed(struct life *l)
{
    bool may_settle = (l->kind->traits & KIND_SETTLES) != 0;
    if (l->kind->let != NULL && (!life_is_cancellable(l) || may_settle))
        life_let(l);
}

/* Makes a waiting one end: by a cancel, or else by letting it. */
static void end(struct life *l)
{
    unsigned count = l->terminals + 1;
    life_cancel(l);
    let_if_needed(l);
    life_await(l, count);
    life_expect_either(l);
}

static void expect_waiting(const struct life *l)
{
    if ((l->kind->traits & KIND_SETTLES) == 0)
        assert_int_equal(l->events, 0);
}

static void every_code_has_a_kind(void **state)
{
    (void)state;
    for (unsigned code = PLX_OP_NONE + 1; code < PLX_OP_CODE_COUNT; code++) {
        const struct kind *kind = kinds;
        while (kind->name != NULL && kind->code != code)
            kind++;
        if (kind->name == NULL)
            fail_msg("no kind has code %u", code);
    }
}

/* --- completed -------------------------------------------------------------------------------- */

/* Submits, lets it, and sees it do its work; a multishot is then ended. */
static void complete(struct life *l)
{
    unsigned events = l->events;
    unsigned terminals = l->terminals;
    life_submit(l);
    if ((l->kind->traits & KIND_WAITS) != 0) {
        life_settle(l->world);
        if ((l->kind->traits & KIND_SETTLES) == 0)
            assert_int_equal(l->events, events);
        life_let(l);
    }
    LIFE_UNTIL(l, l->events > events);
    if (!life_worked(l))
        fail_msg("%s ended with %d", l->kind->name, l->result);
    if ((l->kind->traits & KIND_MULTISHOT) != 0 && l->terminals == terminals)
        life_cancel(l);
    life_await(l, terminals + 1);
}

static void complete_and_cancel_late(struct life *l)
{
    complete(l);
    unsigned events = l->events;
    life_cancel(l);
    life_cancel(l);
    life_settle(l->world);
    assert_int_equal(l->events, events);
    assert_int_equal(plx_op_state(life_op(l)), PLX_OP_DONE);
}

static void completed_op_has_one_end_and_a_late_cancel_does_nothing(void **state)
{
    walk(state, 0, KIND_NO_LET, complete_and_cancel_late);
}

static void let_then_cancel(struct life *l)
{
    life_submit(l);
    if (l->kind->let != NULL) {
        life_settle(l->world);
        life_let(l);
    } else {
        plx_reactor_flush(l->world->reactor);
    }
    life_cancel(l);
    life_await(l, 1);
    if (l->kind->code == PLX_OP_CLOSE)
        assert_int_equal(l->result, 0);
    life_expect_either(l);
    unsigned events = l->events;
    life_settle(l->world);
    assert_int_equal(l->events, events);
}

static void completed_op_cancelled_before_its_event_has_one_end(void **state)
{
    walk(state, 0, KIND_NO_LET, let_then_cancel);
}

struct other {
    struct seen seen;
    struct life *victim;
};

static void cancel_the_victim(struct plx_op *op, const struct plx_event *event, void *ctx)
{
    struct other *other = ctx;
    seen_note(op, event, &other->seen);
    plx_op_cancel(other->victim->world->reactor, life_op(other->victim));
}

/* The one's callback cancels the other, whose event comes in the same batch, if it can. */
static void cancel_by_another(struct life *l)
{
    struct other other = {.victim = l};
    struct world *world = l->world;
    if ((l->kind->traits & KIND_WAITS) != 0) {
        life_submit(l);
        life_settle(world);
        life_let(l);
    }
    plx_op_nop(&other.seen.op, cancel_the_victim, &other);
    assert_int_equal(world_try_submit(world, &other.seen.op), 0);
    if ((l->kind->traits & KIND_WAITS) == 0)
        life_submit(l);
    life_await(l, 1);
    life_expect_either(l);
    WORLD_UNTIL(world, other.seen.terminals == 1);
    life_settle(world);
    assert_int_equal(l->terminals, 1);
}

static void completed_op_cancelled_by_anothers_callback_has_one_end(void **state)
{
    walk(state, 0, KIND_NO_LET, cancel_by_another);
}

/* --- cancelled -------------------------------------------------------------------------------- */

static void cancel_queued(struct life *l)
{
    life_submit(l);
    end(l);
    if (life_is_cancellable(l) && (l->kind->traits & KIND_SETTLES) == 0)
        assert_int_equal(l->result, -ECANCELED);
    unsigned events = l->events;
    life_settle(l->world);
    assert_int_equal(l->events, events);
    assert_int_equal(l->terminals, 1);
}

static void cancelled_before_the_kernel_has_it_ends_once(void **state)
{
    walk(state, 0, 0, cancel_queued);
}

static void cancel_waiting(struct life *l)
{
    life_submit(l);
    life_settle(l->world);
    expect_waiting(l);
    if (l->terminals != 0)
        return;
    end(l);
    if (life_is_cancellable(l) && (l->kind->traits & KIND_SETTLES) == 0) {
        assert_int_equal(l->events, 1);
        assert_int_equal(l->result, -ECANCELED);
        assert_int_equal(l->flags & PLX_EV_TIMED_OUT, 0);
    }
    if ((l->kind->traits & KIND_MULTISHOT) == 0 && (life_op(l)->flags & PLX_ZERO_COPY) != 0)
        assert_int_equal(l->flags, PLX_EV_RELEASED);
    life_settle(l->world);
    assert_int_equal(l->terminals, 1);
}

static void cancelled_while_waiting_ends_with_ecanceled(void **state)
{
    walk(state, KIND_WAITS, 0, cancel_waiting);
}

static void cancel_again_and_again(struct life *l)
{
    life_submit(l);
    life_cancel(l);
    life_cancel(l);
    plx_reactor_flush(l->world->reactor);
    life_cancel(l);
    world_turn(l->world);
    life_cancel(l);
    let_if_needed(l);
    life_await(l, 1);
    life_expect_either(l);
    life_cancel(l);
    life_settle(l->world);
    assert_int_equal(l->terminals, 1);
}

static void cancelled_again_and_again_ends_once(void **state)
{
    walk(state, 0, 0, cancel_again_and_again);
}

static void cancel_idle(struct life *l)
{
    uint64_t before = plx_reactor_now_ns(l->world->reactor);
    life_cancel(l);
    life_settle(l->world);
    assert_int_equal(l->events, 0);
    assert_int_equal(plx_op_state(life_op(l)), PLX_OP_IDLE);
    assert_true(plx_reactor_now_ns(l->world->reactor) >= before);
}

static void cancelled_though_never_submitted_has_no_event(void **state)
{
    walk(state, 0, 0, cancel_idle);
}

/* Fills the ring with nops that the kernel is not shown; returns how many went in. */
static unsigned fill_ring(struct world *world, struct seen *nops)
{
    unsigned count = 0;
    for (; count < FILL_MAX; count++) {
        memset(&nops[count], 0, sizeof(nops[count]));
        plx_op_nop(&nops[count].op, seen_note, &nops[count]);
        if (world_try_submit(world, &nops[count].op) != 0)
            break;
    }
    return count;
}

static struct seen fillers[FILL_MAX];

static void expect_fillers(struct world *world, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        world_expect(world, &fillers[i], 0);
}

static void cancel_at_full_ring(struct life *l)
{
    life_submit(l);
    life_settle(l->world);
    expect_waiting(l);
    unsigned count = fill_ring(l->world, fillers);
    life_cancel(l);
    life_cancel(l);
    let_if_needed(l);
    life_await(l, 1);
    life_expect_either(l);
    expect_fillers(l->world, count);
    life_settle(l->world);
    assert_int_equal(l->terminals, 1);
}

static void cancelled_at_a_full_ring_ends_once(void **state)
{
    walk(state, KIND_WAITS, 0, cancel_at_full_ring);
}

/* It ends by itself while its cancel waits for room in the ring. */
static void let_at_full_ring(struct life *l)
{
    life_submit(l);
    life_settle(l->world);
    unsigned count = fill_ring(l->world, fillers);
    for (unsigned i = 0; i < 6; i++) {
        /* Those take the entries that are left for cancels. */
        struct seen *filler = &fillers[i % (count != 0 ? count : 1)];
        world_cancel(l->world, filler);
    }
    life_let(l);
    life_cancel(l);
    life_await(l, 1);
    life_expect_either(l);
    for (unsigned i = 0; i < count; i++) {
        WORLD_UNTIL(l->world, fillers[i].terminals == 1);
        assert_true(fillers[i].event[0].result == 0 || fillers[i].event[0].result == -ECANCELED);
    }
    life_settle(l->world);
    assert_int_equal(l->terminals, 1);
}

static void completed_while_its_cancel_waits_for_room_ends_once(void **state)
{
    walk(state, KIND_WAITS, KIND_NO_LET, let_at_full_ring);
}

/* --- refused ---------------------------------------------------------------------------------- */

static void expect_refused(struct life *l, int error)
{
    struct plx__io *io = plx__reactor_io(l->world->reactor);
    uint64_t submitted = io->submitted;
    uint32_t in_flight = io->in_flight;
    int rc = world_try_submit(l->world, life_op(l));
    if (rc != error)
        fail_msg("%s: submit gave %d instead of %d", l->kind->name, rc, error);
    assert_int_equal(plx_op_state(life_op(l)), PLX_OP_IDLE);
    life_cancel(l);
    assert_int_equal(io->submitted, submitted);
    assert_int_equal(io->in_flight, in_flight);
    world_turn(l->world);
    assert_int_equal(l->events, 0);
}

static void refuse_numbers(struct life *l)
{
    static const int numbers[] = {-1, INT32_MIN, INT32_MAX, -100};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
        life_prepare(l);
        life_op(l)->fd = numbers[i];
        expect_refused(l, -EBADF);
    }
    life_prepare(l);
}

static void descriptor_out_of_range_is_ebadf_and_leaves_no_trace(void **state)
{
    walk(state, 0, KIND_NO_FD, refuse_numbers);
}

static void refuse_flags(struct life *l)
{
    life_op(l)->flags |= l->kind->foreign_flag;
    expect_refused(l, -EINVAL);
    life_prepare(l);
    if (l->kind->let == NULL && (l->kind->traits & KIND_WAITS) == 0)
        complete(l);
}

static void flag_that_is_not_the_ops_is_einval_and_leaves_no_trace(void **state)
{
    walk(state, 0, 0, refuse_flags);
}

static void refuse_full(struct life *l)
{
    unsigned count = fill_ring(l->world, fillers);
    int rc = world_try_submit(l->world, life_op(l));
    if (rc != 0) {
        assert_int_equal(rc, -EAGAIN);
        assert_int_equal(l->kind->traits & (KIND_RINGLESS | KIND_CLOSES), 0);
        expect_refused(l, -EAGAIN);
        expect_fillers(l->world, count);
        life_submit(l);
    } else {
        assert_true(l->world->is_epoll || (l->kind->traits & (KIND_RINGLESS | KIND_CLOSES)) != 0);
        expect_fillers(l->world, count);
    }
    if ((l->kind->traits & KIND_WAITS) != 0)
        end(l);
    life_await(l, 1);
    life_expect_either(l);
}

static void full_ring_is_eagain_and_leaves_no_trace(void **state)
{
    walk(state, 0, 0, refuse_full);
}

static void refuse_fixed(struct life *l)
{
    if ((life_op(l)->flags & PLX_FIXED) == 0)
        return;
    life_op(l)->mem.buf = l->byte;
    expect_refused(l, -EFAULT);
    life_prepare(l);
    life_op(l)->len = 0;
    expect_refused(l, -EFAULT);
}

static void fixed_buffer_outside_of_the_arena_is_efault_and_leaves_no_trace(void **state)
{
    walk(state, 0, 0, refuse_fixed);
}

static void refuse_length(struct life *l)
{
    if (l->kind->code != PLX_OP_READ_GROUP)
        return;
    life_op(l)->len = 0;
    expect_refused(l, -EINVAL);
    life_prepare(l);
    life_op(l)->len = PLX_PAGE + 1;
    expect_refused(l, -EINVAL);
}

/* Nothing would look like the end of the file; the backends agree that it is an error. */
static void read_group_of_nothing_or_too_much_is_einval_and_leaves_no_trace(void **state)
{
    walk(state, 0, 0, refuse_length);
}

static void refuse_closing(struct life *l)
{
    struct seen closing = {0};
    life_submit(l);
    life_settle(l->world);
    if (l->terminals != 0)
        return;
    plx_op_close(&closing.op, l->fd, seen_note, &closing);
    world_submit(l->world, &closing);
    struct life second = *l;
    life_prepare(&second);
    expect_refused(&second, -EBADF);
    life_settle(l->world);
    assert_int_equal(closing.events, 0);
    assert_true(is_open(l->fd));
    end(l);
    world_expect(l->world, &closing, 0);
    assert_false(is_open(l->fd));
    l->fd = -1;
}

static void descriptor_closed_while_named_waits_and_refuses_others(void **state)
{
    walk(state, KIND_WAITS, KIND_NO_FD, refuse_closing);
}

/* --- again, in time --------------------------------------------------------------------------- */

/* In its terminal callback the op is the caller's: it goes out again from there. */
static void go_again(struct life *l)
{
    unsigned *left = l->user;
    if (*left == 0)
        return;
    (*left)--;
    life_prepare(l);
    int rc = plx_op_submit(l->world->reactor, life_op(l));
    assert_int_equal(rc, 0);
}

static void resubmit(struct life *l)
{
    unsigned left = ROUNDS;
    l->then = go_again;
    l->user = &left;
    if ((l->kind->traits & KIND_ONCE) != 0)
        left = 0;
    unsigned ends = left + 1;
    life_submit(l);
    for (unsigned i = 1; i <= ends; i++) {
        WORLD_UNTIL(l->world, l->terminals >= i || (l->kind->traits & KIND_WAITS) != 0);
        if (l->terminals < i && i % 2 == 0 && (l->kind->traits & KIND_NO_LET) == 0) {
            life_let(l);
            if ((l->kind->traits & KIND_MULTISHOT) != 0)
                life_cancel(l);
        } else if (l->terminals < i) {
            life_cancel(l);
            let_if_needed(l);
        }
        LIFE_UNTIL(l, l->terminals >= i);
        life_expect_either(l);
    }
    life_settle(l->world);
    assert_int_equal(l->terminals, ends);
}

static void resubmitted_in_its_own_callback_goes_on(void **state)
{
    walk(state, 0, 0, resubmit);
}

/* Its deadline comes with what it waits for: one event, flagged only if it was cut off. */
static void race_deadline(struct life *l)
{
    for (unsigned i = 0; i < ROUNDS; i++) {
        unsigned terminals = l->terminals;
        life_prepare(l);
        uint64_t at = plx_reactor_now_ns(l->world->reactor) + i * 20000;
        assert_int_equal(plx_op_submit_timed(l->world->reactor, &l->timed, at), 0);
        if ((l->kind->traits & KIND_WAITS) != 0 && l->kind->let != NULL &&
            (i != 0 || !life_is_cancellable(l) || (l->kind->traits & KIND_SETTLES) != 0))
            life_let(l);
        life_await(l, terminals + 1);
        life_expect_either(l);
        if ((l->flags & PLX_EV_TIMED_OUT) != 0)
            assert_int_equal(l->result, -ECANCELED);
        if (i == 0 && life_is_cancellable(l) && (l->kind->traits & KIND_SETTLES) == 0)
            assert_int_equal(l->flags & PLX_EV_TIMED_OUT, PLX_EV_TIMED_OUT);
        assert_false(plx_timer_is_armed(&l->timed.timer));
        if ((l->kind->traits & KIND_ONCE) != 0)
            return;
    }
}

static void deadline_racing_with_completion_leaves_one_end(void **state)
{
    walk(state, 0, 0, race_deadline);
}

/* --- stopped ---------------------------------------------------------------------------------- */

#define LIVES_MAX 48u

static struct life lives[LIVES_MAX];
static unsigned refused_at_the_end;

static void submit_at_the_end(struct life *l)
{
    /* What did its work may have done so before the end had begun. */
    if (l->result != -ECANCELED)
        return;
    life_prepare(l);
    int rc = plx_op_submit(l->world->reactor, life_op(l));
    assert_int_equal(rc, -ESHUTDOWN);
    assert_int_equal(plx_op_state(life_op(l)), PLX_OP_IDLE);
    refused_at_the_end++;
}

/* One of each kind waits or is about to end, when the reactor does; a close waits for each. */
static void stopped_with_one_of_each_kind_in_flight_ends_each_once(void **state)
{
    struct world *world = *state;
    static struct seen closing[LIVES_MAX];
    memset(closing, 0, sizeof(closing));
    refused_at_the_end = 0;
    unsigned count = 0;
    for (; kinds[count].name != NULL; count++) {
        struct life *l = &lives[count];
        assert_true(count < LIVES_MAX);
        life_open(l, &kinds[count], world);
        l->then = submit_at_the_end;
        bool waits = (l->kind->traits & KIND_WAITS) != 0;
        life_submit(l);
        if ((l->kind->traits & KIND_NO_FD) == 0 && (l->kind->traits & KIND_CLOSES) == 0) {
            plx_op_close(&closing[count].op, l->fd, seen_note, &closing[count]);
            world_submit(world, &closing[count]);
        }
        /* Some are with the kernel, others are not. */
        if (count % 8 == 0 && waits)
            plx_reactor_flush(world->reactor);
        if (waits && !life_is_cancellable(l) && l->kind->let != NULL)
            life_let(l);
    }
    assert_int_equal(plx_reactor_abandon(world->reactor, 20000000000u), 0);
    world->reactor = NULL;
    for (unsigned i = 0; i < count; i++) {
        struct life *l = &lives[i];
        if (l->terminals != 1)
            fail_msg("%s had %u ends", l->kind->name, l->terminals);
        life_expect_either(l);
        if (closing[i].op.code == PLX_OP_CLOSE) {
            seen_expect(&closing[i], 0);
            assert_false(is_open(l->fd));
            l->fd = -1;
        }
        life_close(l);
    }
    assert_true(refused_at_the_end > 0);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        KINDS_CASE(every_code_has_a_kind),
        KINDS_CASE(completed_op_has_one_end_and_a_late_cancel_does_nothing),
        KINDS_CASE(completed_op_cancelled_before_its_event_has_one_end),
        KINDS_CASE(completed_op_cancelled_by_anothers_callback_has_one_end),
        KINDS_CASE(cancelled_before_the_kernel_has_it_ends_once),
        KINDS_CASE(cancelled_while_waiting_ends_with_ecanceled),
        KINDS_CASE(cancelled_again_and_again_ends_once),
        KINDS_CASE(cancelled_though_never_submitted_has_no_event),
        KINDS_CASE_SMALL(cancelled_at_a_full_ring_ends_once),
        KINDS_CASE_SMALL(completed_while_its_cancel_waits_for_room_ends_once),
        KINDS_CASE(descriptor_out_of_range_is_ebadf_and_leaves_no_trace),
        KINDS_CASE(flag_that_is_not_the_ops_is_einval_and_leaves_no_trace),
        KINDS_CASE_SMALL(full_ring_is_eagain_and_leaves_no_trace),
        KINDS_CASE(fixed_buffer_outside_of_the_arena_is_efault_and_leaves_no_trace),
        KINDS_CASE(read_group_of_nothing_or_too_much_is_einval_and_leaves_no_trace),
        KINDS_CASE(descriptor_closed_while_named_waits_and_refuses_others),
        KINDS_CASE(resubmitted_in_its_own_callback_goes_on),
        KINDS_CASE(deadline_racing_with_completion_leaves_one_end),
        KINDS_CASE(stopped_with_one_of_each_kind_in_flight_ends_each_once),
    };
    /* Not in the simulated world: the cases drive real peers by plain calls. The simulator's own
     * workloads, and test_ops, test_op_ends and test_timed, cover it there. */
    return run_kernel_modes(cases, sizeof(cases) / sizeof(*cases));
}
