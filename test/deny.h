/* SPDX-License-Identifier: MIT */
/* A system call refused to the calling process, by a seccomp filter, as containers refuse some. */
#ifndef POLLUX_TEST_DENY_H
#define POLLUX_TEST_DENY_H

/*
 * From here on, the calling thread and what it starts get `error` from the system call of that
 * number, until they end. 0, or a negative errno where the kernel lets a program set no filter.
 */
int deny_call(long number, int error);

/*
 * Runs `body` in a child in which `call` fails with `error`, and returns its exit status: a filter
 * stays until the process ends. Skips the case, with the reason, where filters are not to be had.
 */
int deny_in_child(long call, int error, int (*body)(int error));

#endif
