/* SPDX-License-Identifier: MIT */
#include "test/runtime/file/faults.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "runtime/reactor_internal.h"

static struct {
    struct plx__io *io;
    const struct plx__io_ops *real;
    struct plx__io_ops ops;
    struct fault faults[FAULTS_MAX];
    uint32_t count;
    uint32_t seen[PLX_OP_CODE_COUNT];
} faults;

/* The fault that strikes this op, or NULL. */
static const struct fault *strike(const struct plx_op *op)
{
    for (uint32_t i = 0; i < faults.count; i++) {
        struct fault *fault = &faults.faults[i];
        if (fault->times == 0 || (fault->code != PLX_OP_NONE && fault->code != op->code))
            continue;
        /* A close that fails closes all the same. */
        if (fault->kind == FAULT_RESULT && op->code == PLX_OP_CLOSE)
            continue;
        if (fault->data != NULL && fault->data != op->mem.data)
            continue;
        if (fault->after > 0) {
            fault->after--;
            continue;
        }
        fault->times--;
        return fault;
    }
    return NULL;
}

static int submit(struct plx__io *io, struct plx_op *op)
{
    faults.seen[op->code]++;
    const struct fault *fault = strike(op);
    if (fault == NULL)
        return faults.real->submit(io, op);
    switch (fault->kind) {
    case FAULT_SHORT:
        if (op->len > (uint32_t)fault->value)
            op->len = (uint32_t)fault->value;
        break;
    case FAULT_RESULT:
        plx__io_end(io, op, fault->value);
        return 0;
    case FAULT_REFUSE:
        return fault->value;
    case FAULT_CALL:
        fault->fn(fault->ctx, op);
        break;
    }
    return faults.real->submit(io, op);
}

void faults_begin(struct plx_reactor *reactor)
{
    assert_null(faults.io);
    memset(&faults, 0, sizeof(faults));
    faults.io = plx__reactor_io(reactor);
    faults.real = faults.io->ops;
    faults.ops = *faults.real;
    faults.ops.submit = submit;
    faults.io->ops = &faults.ops;
}

void faults_end(void)
{
    assert_non_null(faults.io);
    faults.io->ops = faults.real;
    faults.io = NULL;
}

void faults_drop(void)
{
    if (faults.io != NULL)
        faults_end();
}

void faults_add(const struct fault *fault)
{
    assert_true(faults.count < FAULTS_MAX);
    faults.faults[faults.count++] = *fault;
}

void faults_clear(void)
{
    faults.count = 0;
}

uint32_t faults_seen(enum plx_op_code code)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < PLX_OP_CODE_COUNT; i++)
        sum += code == PLX_OP_NONE || (uint32_t)code == i ? faults.seen[i] : 0;
    return sum;
}
