/* SPDX-License-Identifier: MIT */
/*
 * A set of small numbers, 0 to 1023: the CPUs, or the NUMA nodes, that a setting or a plan names.
 * Plain data, copied by assignment.
 *
 * Words. A *list* is the text of a set: numbers and ranges such as `0-3,8,10-11`, a range
 * optionally with a stride, `0-15:2`. The empty text is the empty set.
 *
 * Threads: any thread; a set that several threads share needs their own agreement on who writes.
 */
#ifndef POLLUX_CPU_SET_H
#define POLLUX_CPU_SET_H

#include "alloc/base.h"

PLX_EXTERN_C_BEGIN

/* Members are below this. */
#define PLX_CPU_SET_SIZE 1024
/* Bytes that hold the list of any set, its terminator included. */
#define PLX_CPU_SET_TEXT_BYTES 4096

/* Member n is bit n % 64 of word n / 64. All bits zero is the empty set. */
struct plx_cpu_set {
    uint64_t bits[PLX_CPU_SET_SIZE / 64];
};

/* Adds `number`, which must be below PLX_CPU_SET_SIZE. */
static inline void plx_cpu_set_add(struct plx_cpu_set *set, unsigned number)
{
    PLX_ASSERT(number < PLX_CPU_SET_SIZE);
    set->bits[number / 64] |= UINT64_C(1) << (number % 64);
}

/* Whether `number` is a member; any number may be asked for. */
static inline bool plx_cpu_set_has(const struct plx_cpu_set *set, unsigned number)
{
    return number < PLX_CPU_SET_SIZE && (set->bits[number / 64] >> (number % 64) & 1) != 0;
}

/* How many members there are. */
static inline unsigned plx_cpu_set_count(const struct plx_cpu_set *set)
{
    unsigned count = 0;
    for (unsigned i = 0; i < PLX_CPU_SET_SIZE / 64; i++)
        count += (unsigned)__builtin_popcountll(set->bits[i]);
    return count;
}

static inline bool plx_cpu_set_is_empty(const struct plx_cpu_set *set)
{
    return plx_cpu_set_count(set) == 0;
}

/*
 * The smallest member that is at least `from`; PLX_CPU_SET_SIZE when there is none. So a walk is
 *   for (n = plx_cpu_set_next(set, 0); n < PLX_CPU_SET_SIZE; n = plx_cpu_set_next(set, n + 1))
 */
static inline unsigned plx_cpu_set_next(const struct plx_cpu_set *set, unsigned from)
{
    if (from >= PLX_CPU_SET_SIZE)
        return PLX_CPU_SET_SIZE;
    unsigned word = from / 64;
    uint64_t rest = set->bits[word] & (~UINT64_C(0) << (from % 64));
    while (rest == 0) {
        word++;
        if (word == PLX_CPU_SET_SIZE / 64)
            return PLX_CPU_SET_SIZE;
        rest = set->bits[word];
    }
    return word * 64 + (unsigned)__builtin_ctzll(rest);
}

/*
 * Reads a list. A number may be named more than once; spaces are not accepted. Cost: set-up only,
 * allocates nothing. Errors: -EINVAL, the text is no list; -ERANGE, a number is not below
 * PLX_CPU_SET_SIZE or a range runs backwards. On an error the set is unchanged.
 */
PLX_API PLX_COLD int plx_cpu_set_parse(struct plx_cpu_set *set, const char *text) PLX_MUST_CHECK;

/*
 * Writes the shortest list without strides, terminated; `bytes` of PLX_CPU_SET_TEXT_BYTES always
 * suffice. Returns the length without the terminator. Cost: set-up only, allocates nothing.
 * Errors: -ENOSPC, the text was cut (the buffer then holds the empty text, if it holds anything).
 */
PLX_API PLX_COLD int plx_cpu_set_format(const struct plx_cpu_set *set, char *text, size_t bytes);

PLX_EXTERN_C_END

#endif
