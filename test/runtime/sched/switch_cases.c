/* SPDX-License-Identifier: MIT */
#include "test/runtime/sched/switch_cases.h"

#include <fenv.h>
#include <stdint.h>
#include <string.h>
#include <unwind.h>

#include "runtime/sched/switch.h"

#define STACK_BYTES 32768
#define MANY        8u

/* Whoever is away waits here, by number; 0 is the thread's own stack. */
static void *waiting[MANY + 1];
static _Alignas(16) unsigned char stacks[MANY][STACK_BYTES];

static void begin(unsigned number, plx_switch_fn fn)
{
    waiting[number] = plx_switch_prepare(stacks[number - 1] + STACK_BYTES, fn);
}

/* From `self` to `other`. */
static void *go(unsigned self, unsigned other, void *value)
{
    return plx_switch(&waiting[self], waiting[other], value);
}

/* --- values ----------------------------------------------------------------------------------- */

static void add_one_for_ever(void *value)
{
    for (;;)
        value = go(1, 0, (void *)((uintptr_t)value + 1));
}

static const char *pass_values(void)
{
    begin(1, add_one_for_ever);
    void *value = NULL;
    for (uintptr_t i = 1; i <= 1000; i++) {
        value = go(0, 1, value);
        if ((uintptr_t)value != i)
            return "a value was not the one given";
    }
    return NULL;
}

/* --- registers -------------------------------------------------------------------------------- */

/* Holds each register that a called function must keep, through a switch. */
#if defined(__x86_64__)
#define WORDS(X) X(a, "rbx") X(b, "r12") X(c, "r13") X(d, "r14") X(e, "r15")
#define REALS(X)
#define TOUCH() __asm__ volatile("" : "+r"(a), "+r"(b), "+r"(c), "+r"(d), "+r"(e))
#elif defined(__aarch64__)
#define WORDS(X)                                                                                   \
    X(a, "x20")                                                                                    \
    X(b, "x21") X(c, "x22") X(d, "x23") X(e, "x24") X(f, "x25") X(g, "x26") X(h, "x27") X(i, "x2"  \
                                                                                             "8")
#define REALS(X)                                                                                   \
    X(k, "d8") X(l, "d9") X(m, "d10") X(n, "d11") X(o, "d12") X(p, "d13") X(q, "d14") X(r, "d15")
#define TOUCH()                                                                                    \
    __asm__ volatile("" : "+r"(a), "+r"(b), "+r"(c), "+r"(d), "+r"(e), "+r"(f));                   \
    __asm__ volatile("" : "+r"(g), "+r"(h), "+r"(i));                                              \
    __asm__ volatile("" : "+w"(k), "+w"(l), "+w"(m), "+w"(n), "+w"(o), "+w"(p), "+w"(q), "+w"(r))
#endif

static unsigned hold_registers(unsigned self, unsigned other, uint64_t seed)
{
    uint64_t at = seed;
    unsigned wrong = 0;
#define WORD_SET(name, reg) register uint64_t name __asm__(reg) = at++;
#define REAL_SET(name, reg) register double name __asm__(reg) = (double)at++;
    WORDS(WORD_SET)
    REALS(REAL_SET)
    TOUCH();
    (void)go(self, other, NULL);
    TOUCH();
    at = seed;
#define WORD_LOOK(name, reg) wrong += name != at++;
#define REAL_LOOK(name, reg) wrong += name != (double)at++;
    WORDS(WORD_LOOK)
    REALS(REAL_LOOK)
    return wrong;
}

static unsigned wrong_there;

static void hold_there(void *value)
{
    (void)value;
    for (uint64_t seed = 1000;; seed += 100)
        wrong_there += hold_registers(1, 0, seed);
}

static const char *keep_registers(void)
{
    unsigned wrong = 0;
    wrong_there = 0;
    begin(1, hold_there);
    for (uint64_t seed = 1000000; seed < 1010000; seed += 100)
        wrong += hold_registers(0, 1, seed);
    if (wrong != 0)
        return "a register of the first stack was lost";
    return wrong_there != 0 ? "a register of the second stack was lost" : NULL;
}

/* --- control words ---------------------------------------------------------------------------- */

static const char *rounds_like(int mode)
{
    /* Not known to the compiler, so that the division is made here and now. */
    double one = 1;
    double three = 3;
    __asm__ volatile("" : "+m"(one), "+m"(three));
    if (fegetround() != mode)
        return "the rounding is another one's";
    double third = one / three;
    __asm__ volatile("" : "+m"(third));
    double nearest = 0x1.5555555555555p-2;
    double above = 0x1.5555555555556p-2;
    if (third != (mode == FE_UPWARD ? above : nearest))
        return "it rounds in another way than it says";
    return NULL;
}

static const char *wrong_rounding;

static void round_upwards(void *value)
{
    (void)value;
    if (wrong_rounding == NULL)
        wrong_rounding = rounds_like(FE_TONEAREST);
    fesetround(FE_UPWARD);
    for (;;) {
        (void)go(1, 0, NULL);
        if (wrong_rounding == NULL)
            wrong_rounding = rounds_like(FE_UPWARD);
    }
}

static const char *keep_control_words(void)
{
    wrong_rounding = NULL;
    begin(1, round_upwards);
    for (unsigned i = 0; i < 10; i++) {
        (void)go(0, 1, NULL);
        const char *wrong = rounds_like(FE_TONEAREST);
        if (wrong != NULL)
            return wrong;
    }
    return wrong_rounding;
}

/* --- the stack -------------------------------------------------------------------------------- */

static bool aligned;

__attribute__((noinline)) static bool is_aligned(void *here)
{
    return (uintptr_t)here % 16 == 0;
}

static void look_at_stack(void *value)
{
    (void)value;
    _Alignas(16) char local[16];
    memset(local, 0, sizeof(local));
    aligned = is_aligned(local) && is_aligned(__builtin_frame_address(0));
    (void)go(1, 0, NULL);
}

static const char *align_stack(void)
{
    begin(1, look_at_stack);
    (void)go(0, 1, NULL);
    return aligned ? NULL : "a function's frame does not lie on 16 bytes";
}

/* --- unwinding -------------------------------------------------------------------------------- */

void plx__switch_entry(void);

struct walk {
    unsigned frames;
    uintptr_t last;
};

static _Unwind_Reason_Code see_frame(struct _Unwind_Context *context, void *ctx)
{
    struct walk *walk = ctx;
    uintptr_t ip = _Unwind_GetIP(context);
    if (ip != 0) {
        walk->frames++;
        walk->last = ip;
    }
    return walk->frames < 100 ? _URC_NO_REASON : _URC_END_OF_STACK;
}

static struct walk walked;

__attribute__((noinline)) static void walk_from(unsigned depth)
{
    if (depth != 0)
        walk_from(depth - 1);
    else
        (void)_Unwind_Backtrace(see_frame, &walked);
    __asm__ volatile("" ::: "memory");
}

static void walk_here(void *value)
{
    (void)value;
    walk_from(5);
    (void)go(1, 0, NULL);
}

static const char *unwind_to_entry(void)
{
    memset(&walked, 0, sizeof(walked));
    begin(1, walk_here);
    (void)go(0, 1, NULL);
    /* Six of walk_from, walk_here, and the entry. */
    if (walked.frames != 8)
        return "a walk finds more or fewer frames than there are";
    uintptr_t entry = (uintptr_t)plx__switch_entry;
    return walked.last > entry && walked.last < entry + 32 ? NULL : "a walk ends elsewhere";
}

/* --- many ------------------------------------------------------------------------------------- */

static uint64_t visits[MANY + 1];

static void visit_for_ever(void *value)
{
    unsigned self = (unsigned)(uintptr_t)value;
    for (uint64_t seen = 0;; seen++) {
        if (visits[self] != seen)
            return; /* the entry traps */
        visits[self]++;
        (void)go(self, 0, value);
    }
}

static const char *hold_many(void)
{
    memset(visits, 0, sizeof(visits));
    for (unsigned i = 1; i <= MANY; i++)
        begin(i, visit_for_ever);
    uint64_t random = 1;
    for (unsigned i = 0; i < 100000; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        unsigned next = 1 + (unsigned)(random >> 33) % MANY;
        if (go(0, next, (void *)(uintptr_t)next) != (void *)(uintptr_t)next)
            return "another stack came back";
    }
    uint64_t sum = 0;
    for (unsigned i = 1; i <= MANY; i++)
        sum += visits[i];
    return sum == 100000 ? NULL : "visits were lost";
}

const struct switch_case switch_cases[] = {
    {"values_are_passed_both_ways", pass_values},
    {"registers_of_a_callee_are_kept", keep_registers},
    {"control_words_are_kept", keep_control_words},
    {"frames_are_aligned", align_stack},
    {"unwinding_stops_at_the_entry", unwind_to_entry},
    {"many_stacks_in_any_order_are_kept", hold_many},
};
const size_t switch_case_count = sizeof(switch_cases) / sizeof(switch_cases[0]);
