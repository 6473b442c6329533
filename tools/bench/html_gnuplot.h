/* SPDX-License-Identifier: MIT */
/*
 * Running gnuplot: a script goes in, what it draws comes out, and no file is made on the way. Its
 * user's own settings (~/.gnuplot) are left out. A signal that ends the benchmark ends it, too.
 */
#ifndef POLLUX_TOOLS_BENCH_HTML_GNUPLOT_H
#define POLLUX_TOOLS_BENCH_HTML_GNUPLOT_H

#include "alloc/base.h"

/* How long it may take, in milliseconds. Tests have less patience. */
extern unsigned plx_bench_gnuplot_ms;

/*
 * Runs a script of so many bytes; NULL: it only says that it is there. What it wrote to its
 * standard output is *out, a string to be freed, and NULL on errors, each of which `diag` tells:
 * -ENOENT: it is not installed; -ETIMEDOUT: it was ended, as it took too long; -ECHILD: it failed;
 * others as the system says.
 */
int plx_bench_gnuplot(const char *script, size_t bytes, char **out,
                      struct plx_diag *diag) PLX_MUST_CHECK;

#endif
