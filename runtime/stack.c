/* SPDX-License-Identifier: MIT */
/*
 * Stacks of reactors' threads. The C library's own lie wherever their first pages happen to be
 * touched: by the thread that creates them, which writes the new thread's descriptor and its
 * thread-local memory into them, or by the new one before it is pinned. So they are made here.
 */
#include <stdio.h>
#include <string.h>

#include "alloc/pages_internal.h"
#include "runtime/runtime_internal.h"
#include "runtime/sched/stacks_internal.h"

/* Taken at once, so that no ordinary turn faults a page in. */
#define READY_BYTES ((size_t)256 << 10)

/* The C library's choice, which follows RLIMIT_STACK. */
static size_t usual_bytes(void)
{
    pthread_attr_t attributes;
    size_t bytes = READY_BYTES;
    if (pthread_attr_init(&attributes) != 0)
        return bytes;
    (void)pthread_attr_getstacksize(&attributes, &bytes);
    pthread_attr_destroy(&attributes);
    return plx_round_up(bytes, PLX_PAGE);
}

/* Returns 0, or what the kernel said; then *call names the call. */
static int place(const struct plx__stack *stack, int node, const char **call)
{
    const struct plx__pages_calls *calls = &plx__pages_linux;
    *call = "mbind";
    int rc = calls->bind(stack->base, stack->bytes, node);
    if (rc != 0)
        return rc;
    *call = "MADV_POPULATE_WRITE";
    size_t ready = stack->bytes < READY_BYTES ? stack->bytes : READY_BYTES;
    return plx__stack_ready((unsigned char *)stack->base + stack->bytes, ready);
}

int plx__stack_init(struct plx__stack *stack, int node, enum plx_want bind, char *note,
                    size_t note_bytes, struct plx_diag *diag)
{
    const struct plx__pages_calls *calls = &plx__pages_linux;
    char what[24];
    snprintf(what, sizeof(what), "node %d", node);
    note[0] = '\0';
    stack->bytes = usual_bytes();
    /* The pages on either side stay closed: an overflow ends the process rather than a neighbour.
     */
    stack->mapping_bytes = stack->bytes + 2 * PLX_PAGE;
    int rc = calls->map(stack->mapping_bytes, PLX_PAGE, &stack->mapping);
    if (rc != 0) {
        memset(stack, 0, sizeof(*stack));
        return plx_diag_set(diag, rc, what, "no addresses for a stack: mmap: %s", strerror(-rc));
    }
    stack->base = (unsigned char *)stack->mapping + PLX_PAGE;
    const char *call = "mprotect";
    rc = calls->open(stack->base, stack->bytes);
    if (rc != 0)
        goto fail;
    /* Pages of 2 MiB would be taken whole, for a few KiB of use. Refused where there are none. */
    (void)calls->advise(stack->base, stack->bytes, MADV_NOHUGEPAGE);
    if (bind == PLX_WANT_NO)
        return 0;
    rc = place(stack, node, &call);
    if (rc == 0)
        return 0;
    /* Where binding is refused altogether, the arena's own trial decides whether that will do. */
    if (bind == PLX_WANT_REQUIRE && !plx__bind_is_refused(rc))
        goto fail;
    snprintf(note, note_bytes, "stack on node %d: %s: %s", node, call, strerror(-rc));
    return 0;

fail:
    plx__stack_fini(stack);
    return plx_diag_set(diag, rc, what, "a stack on node %d: %s: %s", node, call, strerror(-rc));
}

void plx__stack_fini(struct plx__stack *stack)
{
    if (stack->mapping != NULL)
        (void)plx__pages_linux.unmap(stack->mapping, stack->mapping_bytes);
    memset(stack, 0, sizeof(*stack));
}
