/* SPDX-License-Identifier: MIT */
/*
 * Makes ops of one reactor go wrong: transfers that are short, errors, rings that are full, and a
 * function of the test's called in between. What is not struck goes to the backend.
 */
#ifndef POLLUX_TEST_FAULTS_H
#define POLLUX_TEST_FAULTS_H

#include "runtime/reactor.h"

enum fault_kind {
    FAULT_SHORT,  /* the op transfers at most `value` bytes */
    FAULT_RESULT, /* it ends with `value`, and nothing is done; of all but closes */
    FAULT_REFUSE, /* its submission is answered with `value` */
    FAULT_CALL    /* `fn` is called, and the op done */
};

struct fault {
    enum fault_kind kind;
    enum plx_op_code code; /* PLX_OP_NONE: of any kind */
    uint32_t after;        /* lets so many of them pass before */
    uint32_t times;        /* strikes so many */
    int32_t value;
    void (*fn)(void *ctx, struct plx_op *op);
    void *ctx;
    const void *data; /* only transfers of this memory; NULL: any */
};

#define FAULTS_MAX 8u

/* Stands between `reactor` and its backend until faults_end. One reactor at a time. */
void faults_begin(struct plx_reactor *reactor);
void faults_end(void);
/* The same, if a case that failed has not. */
void faults_drop(void);

/* Adds one; the first that matches an op strikes it. */
void faults_add(const struct fault *fault);
void faults_clear(void);

/* Ops that were submitted since faults_begin, those struck included; of one kind, or of all. */
uint32_t faults_seen(enum plx_op_code code);

#endif
