/* SPDX-License-Identifier: MIT */
/*
 * Every kind of op as data: what it needs, how it is prepared, what makes it end, and what it may
 * end with. Tests that are about an op's life rather than its work run over this table.
 *
 * Words. A *kind* is an op's code with flags that change its life, on a descriptor that makes it
 * wait or not. A *life* is one op of a kind with all that it names. To *let* it end is to do what
 * it waits for.
 */
#ifndef POLLUX_TEST_OP_KINDS_H
#define POLLUX_TEST_OP_KINDS_H

#include <sys/stat.h>

#include "runtime/sched/timed.h"
#include "test/runtime/io/op_fixture.h"

#define LIFE_EVENTS_MAX 64u

struct life;

/* What is true of a kind. */
#define KIND_WAITS     (1u << 0) /* has no event until it is let, or is cancelled */
#define KIND_NO_LET    (1u << 1) /* waits, and nothing but a cancel ends it within the test */
#define KIND_MULTISHOT (1u << 2) /* goes on after an event */
#define KIND_WORKER    (1u << 3) /* on epoll a worker hangs in it: a cancel does not end it */
#define KIND_SETTLES   (1u << 4) /* what makes it wait may vanish by itself (TCP's buffers) */
#define KIND_RINGLESS  (1u << 5) /* is taken with the ring full, too */
#define KIND_CLOSES    (1u << 6) /* its descriptor goes with it; no cancel */
#define KIND_NO_FD     (1u << 7) /* names none */
#define KIND_ONCE      (1u << 8) /* its descriptor is of no use for a second one */

struct kind {
    const char *name;
    enum plx_op_code code;
    uint32_t traits;
    uint16_t foreign_flag; /* one that the op does not take; 0: it takes all that are checked */
    int32_t least;         /* results when it does its work */
    int32_t most;
    void (*open)(struct life *life);
    void (*prepare)(struct life *life);
    void (*let)(struct life *life);
};

/* Ended by one without a name. Each code of an op is that of one kind at least. */
extern const struct kind kinds[];

struct life {
    struct plx_op_timed timed;
    const struct kind *kind;
    struct world *world;
    /* What the op names. */
    int fd;
    int peer;   /* the other end; -1: none */
    int filler; /* of a full listener; -1: none */
    uint16_t group;
    void *block; /* of the reactor's pool */
    char path[64];
    char byte[16];
    struct iovec parts[2];
    struct msghdr msg;
    struct statx about;
    struct sockaddr_in addr;
    /* What came of it; kept when the op is prepared anew. */
    unsigned events;
    unsigned terminals;
    int32_t result; /* of the last event that had one of its own */
    uint16_t flags; /* of the last event */
    unsigned lent;  /* buffers that came, and were given back */
    /* Called last in the terminal callback, if set. */
    void (*then)(struct life *life);
    void *user;
    bool is_let;
};

/* The group that all lives of a world share; call it once for each world. */
void kinds_begin(struct world *world);

/* Makes what the op names, and prepares it. */
void life_open(struct life *life, const struct kind *kind, struct world *world);
/* Prepares the op anew. */
void life_prepare(struct life *life);
/* Closes all of it; the op is not in flight. */
void life_close(struct life *life);

static inline struct plx_op *life_op(struct life *life)
{
    return &life->timed.op;
}

/* Submits; asserts that it is taken, and that no callback runs meanwhile. */
void life_submit(struct life *life);
void life_cancel(struct life *life);
/* Lets it end, from now on: of a kind that settles more may have to be done in later turns. */
void life_let(struct life *life);
/* One turn; as long as it is let, what it waits for is done again. */
void life_turn(struct life *life);
#define LIFE_UNTIL(life, done) WORLD__UNTIL((life)->world, done, life_turn(life))
/* Turns until the `count`th terminal event. */
void life_await(struct life *life, unsigned count);
/* A few turns, in which what is ready comes. */
void life_settle(struct world *world);

/* Whether a result is one of the work having been done. */
bool life_worked(const struct life *life);
/* Whether a cancel of the waiting op ends it for sure, in this mode. */
bool life_is_cancellable(const struct life *life);
/* Asserts that the last result is -ECANCELED, or of the work having been done. */
void life_expect_either(const struct life *life);
/* Asserts, with nothing in flight, that no descriptor is counted as named and no close waits. */
void expect_nothing_named(struct world *world);

/* Set-up and teardown of a case as world_set_up, with kinds_begin. The teardown names the kind at
 * which a case failed, and asserts expect_nothing_named. */
int kinds_set_up(void **state);
int kinds_set_up_small(void **state);
int kinds_tear_down(void **state);

#define KINDS_CASE(function)                                                                       \
    cmocka_unit_test_setup_teardown(function, kinds_set_up, kinds_tear_down)
#define KINDS_CASE_SMALL(function)                                                                 \
    cmocka_unit_test_setup_teardown(function, kinds_set_up_small, kinds_tear_down)

#endif
