/* SPDX-License-Identifier: MIT */
/*
 * A document as one page of HTML that needs nothing else: no network, no script. The plots are
 * drawn by gnuplot, as SVG inside the page.
 */
#ifndef POLLUX_TOOLS_BENCH_HTML_H
#define POLLUX_TOOLS_BENCH_HTML_H

#include <jansson.h>
#include <stdio.h>

#include "alloc/base.h"

/* Whether gnuplot can be run. -ENOENT: it is not installed; others as it failed. */
int plx_bench_html_check(struct plx_diag *diag) PLX_MUST_CHECK;

/*
 * Writes nothing before all is drawn. Errors: of gnuplot, told in `diag`; -EIO: the stream failed,
 * of which `diag` says nothing.
 */
int plx_bench_write_html(const json_t *document, FILE *stream,
                         struct plx_diag *diag) PLX_MUST_CHECK;

#endif
