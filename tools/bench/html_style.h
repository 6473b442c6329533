/* SPDX-License-Identifier: MIT */
/* How the page looks. */
#ifndef POLLUX_TOOLS_BENCH_HTML_STYLE_H
#define POLLUX_TOOLS_BENCH_HTML_STYLE_H

/* What stands between <style> and </style>. */
extern const char plx_bench_html_style[];

#endif
