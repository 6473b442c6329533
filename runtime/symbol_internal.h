/* SPDX-License-Identifier: MIT */
/*
 * The name of a place in the program's code, for people who read a backtrace.
 *
 * Threads: any. Cold: opens and maps the file that the code came from.
 */
#ifndef POLLUX_SYMBOL_INTERNAL_H
#define POLLUX_SYMBOL_INTERNAL_H

#include "alloc/base.h"

/*
 * Writes where `address` is: "function+0x1f (program+0x4a1f)", static functions included as long as
 * the file was not stripped; else "program+0x4a1f", which addr2line(1) takes; else the bare number.
 * A damaged file gives the shorter form. Returns the length, cut to `bytes`.
 */
int plx__symbol_format(const void *address, char *text, size_t bytes);

#endif
