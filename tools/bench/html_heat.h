/* SPDX-License-Identifier: MIT */
/* Rows that differ by where they ran, as a matrix in colours. */
#ifndef POLLUX_TOOLS_BENCH_HTML_HEAT_H
#define POLLUX_TOOLS_BENCH_HTML_HEAT_H

#include <jansson.h>
#include <stdio.h>

#include "alloc/base.h"

/*
 * Puts the figures of a subject among rows first to last of the results into the page. False: there
 * are none, or too few places for a matrix, and nothing was written.
 */
bool plx_bench_html_heat(const json_t *results, size_t first, size_t last, const char *subject,
                         FILE *page);

#endif
