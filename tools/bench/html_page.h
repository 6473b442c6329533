/* SPDX-License-Identifier: MIT */
/* What the files that write the page share. */
#ifndef POLLUX_TOOLS_BENCH_HTML_PAGE_H
#define POLLUX_TOOLS_BENCH_HTML_PAGE_H

#include <jansson.h>
#include <stdio.h>

#include "tools/bench/document.h"
#include "tools/bench/html_plot.h"

/* The rows of one case. */
struct plx_bench_section {
    size_t first;
    size_t last;
    int plot;    /* of percentiles; -1: none */
    int curve;   /* latency over bandwidth; -1: none */
    bool heat;   /* rows that differ by cores or nodes, as matrices */
    bool places; /* such rows, by lines */
};

struct plx_bench_page {
    const json_t *document;
    json_t *results; /* in the document's order, but for rows of one case: they follow each other */
    json_t *reasons; /* why rows are null, by what and where they are */
    struct plx_bench_section *sections;
    size_t section_count;
    int *ratio_plots; /* at the first section of each benchmark; else -1 */
    struct plx_bench_plots plots;
    FILE *out;
};

/* html.c. Text as it is, whatever it holds. */
void plx_bench_html_put(FILE *out, const char *text);
const json_t *plx_bench_html_row(const struct plx_bench_page *page, size_t index);
/* Whether two objects have the same text there. */
bool plx_bench_html_same(const json_t *a, const json_t *b, const char *key);

/* html_head.c. The page up to the first case: who measured, what was promised, and the host. */
void plx_bench_html_head(const struct plx_bench_page *page);

/* html_rows.c. Fills `reasons`. Returns 0, or -ENOMEM. */
int plx_bench_html_reasons(struct plx_bench_page *page) PLX_MUST_CHECK;
/* Whether a row is one of Pollux's own. */
bool plx_bench_html_is_ours(const json_t *row);
/* A number of the row's ratio (low, mid, high); NAN: there is none. */
double plx_bench_html_ratio(const json_t *row, const char *key);
/* The rows of a case as a table, or as matrices and what these do not tell. */
void plx_bench_html_rows(const struct plx_bench_page *page,
                         const struct plx_bench_section *section);
/* The longest gaps of jitter, if it was measured. */
void plx_bench_html_gaps(const struct plx_bench_page *page);

#endif
