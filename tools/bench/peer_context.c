/* SPDX-License-Identifier: MIT */
/* Switches of others: Boost.Context's fcontext, by its two functions, and the C library's. */
#include <string.h>
#include <ucontext.h>

#include "tools/bench/task.h"

/* --- Boost.Context ---------------------------------------------------------------------------- */

#ifdef PLX_BENCH_BOOST_CONTEXT
/* boost/context/detail/fcontext.hpp, which is C++; what it declares is C. */
typedef void *fcontext_t;

struct transfer {
    fcontext_t from;
    void *data;
};

struct transfer jump_fcontext(fcontext_t to, void *data);
fcontext_t make_fcontext(void *top, size_t bytes, void (*fn)(struct transfer));

static fcontext_t fcontexts[PLX_BENCH_STRANDS];

static void fcontext_last(struct transfer transfer)
{
    for (;;) {
        ((struct plx_bench_strands *)transfer.data)->entries++;
        transfer = jump_fcontext(transfer.from, transfer.data);
    }
}

static inline void fcontext_begin(struct plx_bench_strands *strands, uint32_t i)
{
    fcontexts[i] =
        make_fcontext(plx_bench_strand_top(strands, i), PLX_BENCH_STRAND_BYTES, fcontext_last);
}

static inline void fcontext_enter(struct plx_bench_strands *strands, uint32_t i)
{
    fcontexts[i] = jump_fcontext(fcontexts[i], strands).from;
}

static int fcontext_switches(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    return plx_bench_switch_slice(slice, ctx, fcontext_begin, fcontext_enter, diag);
}

static int fcontext_begins(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    return plx_bench_begin_slice(slice, ctx, fcontext_begin, fcontext_enter, diag);
}

static int fcontext_turns(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    return plx_bench_turn_slice(slice, ctx, fcontext_begin, fcontext_enter, diag);
}

const struct plx_bench_strands_ops plx_bench_strands_fcontext = {
    .subject = "fcontext",
    .switches = fcontext_switches,
    .begins = fcontext_begins,
    .turns = fcontext_turns,
};
#endif

/* --- ucontext --------------------------------------------------------------------------------- */

static ucontext_t ucontexts[PLX_BENCH_STRANDS];
static ucontext_t ucontext_home;

/* makecontext(3) passes numbers of type int alone. */
static void ucontext_last(unsigned high, unsigned low, unsigned i)
{
    struct plx_bench_strands *strands =
        (struct plx_bench_strands *)(uintptr_t)((uint64_t)high << 32 | low);
    for (;;) {
        strands->entries++;
        (void)swapcontext(&ucontexts[i], &ucontext_home);
    }
}

static void ucontext_begin(struct plx_bench_strands *strands, uint32_t i)
{
    uint64_t address = (uintptr_t)strands;
    (void)getcontext(&ucontexts[i]);
    ucontexts[i].uc_stack.ss_sp = plx_bench_strand_top(strands, i) - PLX_BENCH_STRAND_BYTES;
    ucontexts[i].uc_stack.ss_size = PLX_BENCH_STRAND_BYTES;
    ucontexts[i].uc_link = NULL;
    makecontext(&ucontexts[i], (void (*)(void))(uintptr_t)ucontext_last, 3,
                (unsigned)(address >> 32), (unsigned)address, i);
}

static void ucontext_enter(struct plx_bench_strands *strands, uint32_t i)
{
    (void)strands;
    (void)swapcontext(&ucontext_home, &ucontexts[i]);
}

static int ucontext_switches(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    return plx_bench_switch_slice(slice, ctx, ucontext_begin, ucontext_enter, diag);
}

static int ucontext_begins(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    return plx_bench_begin_slice(slice, ctx, ucontext_begin, ucontext_enter, diag);
}

static int ucontext_turns(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    return plx_bench_turn_slice(slice, ctx, ucontext_begin, ucontext_enter, diag);
}

const struct plx_bench_strands_ops plx_bench_strands_ucontext = {
    .subject = "ucontext",
    .switches = ucontext_switches,
    .begins = ucontext_begins,
    .turns = ucontext_turns,
};
