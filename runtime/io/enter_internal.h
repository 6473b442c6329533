/* SPDX-License-Identifier: MIT */
/*
 * io_uring_enter(2) in line. The processor mispredicts the returns that follow a system call, and
 * the library's function adds two of them to each: 10 ns of a NOP's 220 (`pollux bench uring`,
 * nop_defer).
 *
 * Threads: as the ring's.
 */
#ifndef POLLUX_ENTER_INTERNAL_H
#define POLLUX_ENTER_INTERNAL_H

#include <sys/syscall.h>

#include "alloc/base.h"

/* The kernel's answer: a count, or a negative errno. Source: io_uring_enter(2), syscall(2). */
static inline int plx__enter(int fd, unsigned to_submit, unsigned min_complete, unsigned flags)
{
#if defined(__x86_64__)
    register long sigset __asm__("r8") = 0;
    register long sigset_bytes __asm__("r9") = 0;
    register unsigned long entry_flags __asm__("r10") = flags;
    long answer;
    __asm__ __volatile__("syscall"
                         : "=a"(answer)
                         : "a"((long)SYS_io_uring_enter), "D"((long)fd), "S"((long)to_submit),
                           "d"((long)min_complete), "r"(entry_flags), "r"(sigset), "r"(sigset_bytes)
                         : "rcx", "r11", "memory");
    return (int)answer;
#elif defined(__aarch64__)
    register long number __asm__("x8") = SYS_io_uring_enter;
    register long answer __asm__("x0") = fd;
    register unsigned long submit __asm__("x1") = to_submit;
    register unsigned long complete __asm__("x2") = min_complete;
    register unsigned long entry_flags __asm__("x3") = flags;
    register long sigset __asm__("x4") = 0;
    register long sigset_bytes __asm__("x5") = 0;
    __asm__ __volatile__("svc 0"
                         : "+r"(answer)
                         : "r"(number), "r"(submit), "r"(complete), "r"(entry_flags), "r"(sigset),
                           "r"(sigset_bytes)
                         : "memory");
    return (int)answer;
#endif
}

#endif
