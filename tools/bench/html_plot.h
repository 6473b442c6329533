/* SPDX-License-Identifier: MIT */
/* The plots of a page: a script of gnuplot's, run once for all of them, and what it drew. */
#ifndef POLLUX_TOOLS_BENCH_HTML_PLOT_H
#define POLLUX_TOOLS_BENCH_HTML_PLOT_H

#include <jansson.h>
#include <stdio.h>

#include "alloc/base.h"

/* Plots under construction. */
struct plx_bench_plots {
    char *script;
    size_t script_bytes;
    FILE *into;
    uint32_t count;
    char *drawn;     /* all that gnuplot wrote */
    bool has_shapes; /* the marks that plots share are in the page */
};

/* A bar: the time of ours as a part of its peer's; of rates the inverse. */
struct plx_bench_bar {
    const char *name;
    const char *peer;
    double low; /* NAN: there is no interval */
    double ratio;
    double high;
};

/* A curve: values of y over x, in the order in which they were added. */
struct plx_bench_curve {
    char name[64];
    const double *x;
    const double *y;
    size_t count;
};

int plx_bench_plots_init(struct plx_bench_plots *plots, struct plx_diag *diag) PLX_MUST_CHECK;
/*
 * Each of these adds a plot, and returns its number, or -1: there is nothing to draw.
 * Percentiles of rows first to last of the results; with `places` their cores are named, too.
 */
int plx_bench_plot_percentiles(struct plx_bench_plots *plots, const json_t *results, size_t first,
                               size_t last, bool places);
/* Bars to the left and right of 1. */
int plx_bench_plot_ratios(struct plx_bench_plots *plots, const struct plx_bench_bar *ratios,
                          size_t count);
/* Curves from 0 on, with the axes' names. */
int plx_bench_plot_curves(struct plx_bench_plots *plots, const struct plx_bench_curve *curves,
                          size_t count, const char *x, const char *y);
/* Draws all of them. Errors: of gnuplot, told in `diag`. */
int plx_bench_plots_draw(struct plx_bench_plots *plots, struct plx_diag *diag) PLX_MUST_CHECK;
/* Puts a plot into the page, from its <svg> on. -ENOENT: it was not drawn. */
int plx_bench_plot_embed(struct plx_bench_plots *plots, int number, FILE *page) PLX_MUST_CHECK;
void plx_bench_plots_fini(struct plx_bench_plots *plots);

#endif
