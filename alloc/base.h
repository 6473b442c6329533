/* SPDX-License-Identifier: MIT */
/*
 * The ground that every part of Pollux stands on: attributes, sizes of the machine's units,
 * assertions, atomic accessors that mean the same in C11 and C++11, the cycle counter, and the
 * diagnosis of a failed set-up.
 *
 * Words. A *diag* says why a set-up call failed: a code, the thing concerned, a sentence. A *text
 * sink* is a function that is handed one line of text at a time.
 *
 * Threads: everything here may be used by any thread.
 */
#ifndef POLLUX_BASE_H
#define POLLUX_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#include <atomic>
#else
#include <stdatomic.h>
#endif

#define PLX_VERSION_MAJOR 0
#define PLX_VERSION_MINOR 1
#define PLX_VERSION_PATCH 0

/* --- attributes ------------------------------------------------------------------------------ */

#define PLX_API __attribute__((visibility("default")))
#define PLX_MUST_CHECK __attribute__((warn_unused_result))
#define PLX_COLD __attribute__((cold))
#define PLX_PRINTF(format_index, first_index)                                                      \
    __attribute__((format(printf, format_index, first_index)))
#define PLX_LIKELY(condition) __builtin_expect(!!(condition), 1)
#define PLX_UNLIKELY(condition) __builtin_expect(!!(condition), 0)
#define PLX_ALIGNED(bytes) __attribute__((aligned(bytes)))

#ifdef __cplusplus
#define PLX_STATIC_ASSERT(condition, text) static_assert(condition, text)
#define PLX_EXTERN_C_BEGIN extern "C" {
#define PLX_EXTERN_C_END }
#else
#define PLX_STATIC_ASSERT(condition, text) _Static_assert(condition, text)
#define PLX_EXTERN_C_BEGIN
#define PLX_EXTERN_C_END
#endif

/* --- units of the machine -------------------------------------------------------------------- */

/* Bytes that move between cores as one. */
#define PLX_CACHE_LINE 64
/* Bytes of a base page; also the alignment that direct I/O asks for. */
#define PLX_PAGE 4096

#define PLX_CONTAINER(pointer, type, member)                                                       \
    ((type *)(void *)((char *)(pointer) - offsetof(type, member)))

/*
 * `value` rounded up to a multiple of `unit`, a power of two. Wraps to a small number when it
 * cannot be held.
 */
static inline uint64_t plx_round_up(uint64_t value, uint64_t unit)
{
    return (value + (unit - 1)) & ~(unit - 1);
}

static inline bool plx_is_pow2(uint64_t value)
{
    return value != 0 && (value & (value - 1)) == 0;
}

/* --- atomics --------------------------------------------------------------------------------- */

/*
 * A field shared between threads is a PLX_ATOMIC(T) and is touched through these alone, so that
 * each access shows its order and headers compile as C++ too.
 *
 * plx_cas_*: if `*p` is `*expected`, it becomes `v` and the result is true. If not, or for no
 * reason at all (so use it in a loop), `*expected` becomes what was found, by a relaxed load.
 */
#ifdef __cplusplus
#define PLX_ATOMIC(T) std::atomic<T>
#define plx_load_relaxed(p) ((p)->load(std::memory_order_relaxed))
#define plx_load_acquire(p) ((p)->load(std::memory_order_acquire))
#define plx_store_relaxed(p, v) ((p)->store((v), std::memory_order_relaxed))
#define plx_store_release(p, v) ((p)->store((v), std::memory_order_release))
#define plx_exchange_seq_cst(p, v) ((p)->exchange((v), std::memory_order_seq_cst))
#define plx_exchange_relaxed(p, v) ((p)->exchange((v), std::memory_order_relaxed))
#define plx_fetch_add_relaxed(p, v) ((p)->fetch_add((v), std::memory_order_relaxed))
#define plx_fetch_add_release(p, v) ((p)->fetch_add((v), std::memory_order_release))
#define plx_fetch_add_acq_rel(p, v) ((p)->fetch_add((v), std::memory_order_acq_rel))
#define plx_cas_relaxed(p, expected, v)                                                            \
    ((p)->compare_exchange_weak(*(expected), (v), std::memory_order_relaxed,                       \
                                std::memory_order_relaxed))
#define plx_cas_acquire(p, expected, v)                                                            \
    ((p)->compare_exchange_weak(*(expected), (v), std::memory_order_acquire,                       \
                                std::memory_order_relaxed))
#define plx_cas_release(p, expected, v)                                                            \
    ((p)->compare_exchange_weak(*(expected), (v), std::memory_order_release,                       \
                                std::memory_order_relaxed))
#else
#define PLX_ATOMIC(T) _Atomic(T)
#define plx_load_relaxed(p) atomic_load_explicit((p), memory_order_relaxed)
#define plx_load_acquire(p) atomic_load_explicit((p), memory_order_acquire)
#define plx_store_relaxed(p, v) atomic_store_explicit((p), (v), memory_order_relaxed)
#define plx_store_release(p, v) atomic_store_explicit((p), (v), memory_order_release)
#define plx_exchange_seq_cst(p, v) atomic_exchange_explicit((p), (v), memory_order_seq_cst)
#define plx_exchange_relaxed(p, v) atomic_exchange_explicit((p), (v), memory_order_relaxed)
#define plx_fetch_add_relaxed(p, v) atomic_fetch_add_explicit((p), (v), memory_order_relaxed)
#define plx_fetch_add_release(p, v) atomic_fetch_add_explicit((p), (v), memory_order_release)
#define plx_fetch_add_acq_rel(p, v) atomic_fetch_add_explicit((p), (v), memory_order_acq_rel)
#define plx_cas_relaxed(p, expected, v)                                                            \
    atomic_compare_exchange_weak_explicit((p), (expected), (v), memory_order_relaxed,              \
                                          memory_order_relaxed)
#define plx_cas_acquire(p, expected, v)                                                            \
    atomic_compare_exchange_weak_explicit((p), (expected), (v), memory_order_acquire,              \
                                          memory_order_relaxed)
#define plx_cas_release(p, expected, v)                                                            \
    atomic_compare_exchange_weak_explicit((p), (expected), (v), memory_order_release,              \
                                          memory_order_relaxed)
#endif

/*
 * Orders this thread's stores before it against its loads after it, as seen by a thread that does
 * the same: of two that each store and then load what the other stores, one sees it. Costs some
 * tens of cycles.
 */
static inline void plx_fence_seq_cst(void)
{
#if defined(__SANITIZE_THREAD__)
    /* gcc's ThreadSanitizer knows no fences; this is one for the processor. */
    static PLX_ATOMIC(uint32_t) word;
    (void)plx_exchange_seq_cst(&word, 0);
#elif defined(__cplusplus)
    std::atomic_thread_fence(std::memory_order_seq_cst);
#else
    atomic_thread_fence(memory_order_seq_cst);
#endif
}

/* Tells the core that this thread is waiting for another one. */
static inline void plx_cpu_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("isb" ::: "memory");
#endif
}

/*
 * Fetches the cache line at `p` for writing, in the background: worth it for a line that another
 * core has and that will be written soon, but not now. A hint: `p` may be any address.
 */
static inline void plx_prefetch_write(const void *p)
{
#if defined(__x86_64__)
    /* What the compiler makes of __builtin_prefetch() without -mprfchw fetches it for reading. */
    __asm__ __volatile__("prefetchw %0" ::"m"(*(const char *)p));
#else
    __builtin_prefetch(p, 1);
#endif
}

/*
 * The core's free-running counter, in ticks of its own rate: for differences on one core, not for
 * dates. Not a barrier: the core may read it a few instructions early or late.
 */
static inline uint64_t plx_ticks(void)
{
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
    uint64_t ticks;
    __asm__ __volatile__("mrs %0, cntvct_el0" : "=r"(ticks));
    return ticks;
#else
#error "Pollux knows the cycle counters of x86-64 and aarch64"
#endif
}

PLX_EXTERN_C_BEGIN

/* --- assertions ------------------------------------------------------------------------------ */

/* Prints what failed to standard error and aborts. Only a programmer's error may lead here. */
PLX_API PLX_COLD __attribute__((noreturn)) void plx__assert_fail(const char *expression,
                                                                 const char *file, int line);

/*
 * For the programmer's errors: cheap conditions, in every build. The environment's errors are
 * returned.
 */
#define PLX_ASSERT(condition)                                                                      \
    (PLX_LIKELY(condition) ? (void)0 : plx__assert_fail(#condition, __FILE__, __LINE__))

/* For conditions that would be felt on the hot path: in debug and sanitizer builds (PLX_DEBUG). */
#ifdef PLX_DEBUG
#define PLX_ASSERT_HOT(condition) PLX_ASSERT(condition)
#else
#define PLX_ASSERT_HOT(condition) ((void)0)
#endif

/* --- diagnosis ------------------------------------------------------------------------------- */

/* Why a set-up call failed. Filled on failure, left alone on success. */
struct plx_diag {
    int32_t code;   /* the negative errno that the call returned */
    char what[60];  /* the setting, core, node, address or file concerned; may be empty */
    char text[320]; /* one sentence for a person: what was found and what was expected */
};

/*
 * Fills `diag` (NULL allowed) and returns `code`, so that a failing call is one return statement.
 * `what` may be NULL. Texts too long are cut, always terminated. Cost: set-up only.
 */
PLX_API PLX_COLD int plx_diag_set(struct plx_diag *diag, int code, const char *what,
                                  const char *format, ...) PLX_PRINTF(4, 5);

/*
 * A sink for lines of text, without their line ends. `line` is borrowed until the function returns.
 */
typedef void (*plx_text_fn)(const char *line, void *ctx);

/* Hands `sink` one formatted line, cut at 1023 bytes. Cost: set-up only. */
PLX_API PLX_COLD void plx_text_line(plx_text_fn sink, void *ctx, const char *format, ...)
    PLX_PRINTF(3, 4);

PLX_EXTERN_C_END

#endif
