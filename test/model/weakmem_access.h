/* SPDX-License-Identifier: MIT */
/*
 * Puts the simulated memory in place of base.h's accesses, for what is included after this. The
 * fields become ordinary ones of the same layout, so that code compiled elsewhere may set them up.
 */
#ifndef POLLUX_TEST_WEAKMEM_ACCESS_H
#define POLLUX_TEST_WEAKMEM_ACCESS_H

#include "alloc/base.h"
#include "test/model/weakmem.h"

#undef PLX_ATOMIC
#undef plx_load_relaxed
#undef plx_load_acquire
#undef plx_store_relaxed
#undef plx_store_release
#undef plx_exchange_seq_cst
#undef plx_exchange_relaxed
#undef plx_fetch_add_relaxed
#undef plx_fetch_add_release
#undef plx_fetch_add_acq_rel
#undef plx_cas_relaxed
#undef plx_cas_acquire
#undef plx_cas_release

/* Assertions of debug builds would be accesses too, and multiply the executions. */
#undef PLX_ASSERT_HOT
#define PLX_ASSERT_HOT(condition) ((void)0)

#define PLX_ATOMIC(T)           T
#define WM_LOAD(p, order)       ((__typeof__(*(p)))wm_load((p), sizeof(*(p)), (order), __LINE__))
#define plx_load_relaxed(p)     WM_LOAD(p, WM_RELAXED)
#define plx_load_acquire(p)     WM_LOAD(p, WM_ACQUIRE)
#define plx_store_relaxed(p, v) wm_store((p), sizeof(*(p)), (v), WM_RELAXED, __LINE__)
/* The cast: pointers are stored too. */
#define plx_store_release(p, v) wm_store((p), sizeof(*(p)), (uint64_t)(v), WM_RELEASE, __LINE__)
#define WM_RMW(what, p, v, order)                                                                  \
    ((__typeof__(*(p)))wm_##what((p), sizeof(*(p)), (v), (order), __LINE__))
#define plx_exchange_relaxed(p, v)  WM_RMW(exchange, p, v, WM_RELAXED)
#define plx_fetch_add_relaxed(p, v) WM_RMW(fetch_add, p, v, WM_RELAXED)
#define plx_fetch_add_release(p, v) WM_RMW(fetch_add, p, v, WM_RELEASE)
#define plx_fetch_add_acq_rel(p, v) WM_RMW(fetch_add, p, v, WM_ACQ_REL)
#define WM_CAS(p, expected, v, order)                                                              \
    ({                                                                                             \
        __typeof__(*(p)) wm_expected = *(expected);                                                \
        *(expected) = (__typeof__(*(p)))wm_compare_exchange((p), sizeof(*(p)), wm_expected, (v),   \
                                                            (order), __LINE__);                    \
        *(expected) == wm_expected;                                                                \
    })
#define plx_cas_relaxed(p, expected, v) WM_CAS(p, expected, v, WM_RELAXED)
#define plx_cas_acquire(p, expected, v) WM_CAS(p, expected, v, WM_ACQUIRE)
#define plx_cas_release(p, expected, v) WM_CAS(p, expected, v, WM_RELEASE)

#endif
