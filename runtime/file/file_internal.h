/* SPDX-License-Identifier: MIT */
/*
 * What transfers (file.c) and the opening and closing of files (file_open.c) know of each other.
 *
 * Threads: the one that polls the reactor.
 */
#ifndef POLLUX_FILE_INTERNAL_H
#define POLLUX_FILE_INTERNAL_H

#include "runtime/file/file.h"

/* Attempts in a row that may transfer nothing, or be interrupted, before that is the result. */
#define PLX__FILE_ATTEMPTS_MAX 100u

/* The last I/O that a close waits for has ended: lets it go out. May call the close's function. */
PLX_COLD void plx__file_close_now(struct plx_file *file);

#endif
