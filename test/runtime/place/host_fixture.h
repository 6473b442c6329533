/* SPDX-License-Identifier: MIT */
/*
 * A temporary folder with a /sys and /proc of the test's making, and children for what must not
 * change the test's own process.
 */
#ifndef POLLUX_TEST_HOST_FIXTURE_H
#define POLLUX_TEST_HOST_FIXTURE_H

#include "alloc/base.h"

/* The folder of the running test. */
extern char host_root[64];

/* cmocka's set-up and tear-down: makes the folder, and clears hwloc's variables; removes it. */
int host_setup(void **state);
int host_teardown(void **state);

/* Writes a file below the folder, with the folders that lead to it. */
void host_write(const char *path, const char *text);

/* Runs `fn` in a child and returns what it returned, 0 to 255; -1 if the child ended otherwise. */
int host_in_child(int (*fn)(void));

#endif
