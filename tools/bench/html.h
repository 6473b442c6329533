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

/* Errors: of gnuplot, told in `diag`; -EIO: the stream failed, of which `diag` says nothing. */
int plx_bench_write_html(const json_t *document, FILE *stream,
                         struct plx_diag *diag) PLX_MUST_CHECK;

/* --- html_plot.c ----------------------------------------------------------------------------- */

/* Plots under construction: a script of gnuplot's, which writes a file for each. */
struct plx_bench_plots {
    char folder[64];
    char *script;
    size_t script_bytes;
    FILE *into;
    uint32_t count;
};

/* Makes the folder. */
int plx_bench_plots_init(struct plx_bench_plots *plots, struct plx_diag *diag) PLX_MUST_CHECK;
/* Adds the percentiles of rows first to last of the results; its number, or -1: nothing to draw. */
int plx_bench_plot_percentiles(struct plx_bench_plots *plots, const json_t *results, size_t first,
                               size_t last);

/* A bar: the time of `name`'s first subject of ours, as a part of its peer's; of rates the inverse.
 */
struct plx_bench_bar {
    const char *name;
    const char *peer;
    double ratio;
};

/* Adds bars to the left and right of 1; its number, or -1: there are none. */
int plx_bench_plot_ratios(struct plx_bench_plots *plots, const struct plx_bench_bar *ratios,
                          size_t count);
/* Draws all of them. */
int plx_bench_plots_draw(struct plx_bench_plots *plots, struct plx_diag *diag) PLX_MUST_CHECK;
/* Puts a plot into the page, from its <svg> on. */
int plx_bench_plot_embed(const struct plx_bench_plots *plots, int number, FILE *page);
/* Removes the folder. */
void plx_bench_plots_fini(struct plx_bench_plots *plots);

#endif
