/* SPDX-License-Identifier: MIT */
/* A system call that fails, by a seccomp filter as containers have it. */
#ifndef POLLUX_TEST_DENY_H
#define POLLUX_TEST_DENY_H

/*
 * Runs `body` in a child in which `call` fails with `error`, and returns its exit status: a filter
 * stays until the process ends. Skips the case, with the reason, where filters are not to be had.
 */
int deny_in_child(long call, int error, int (*body)(int error));

#endif
