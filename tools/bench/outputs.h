/* SPDX-License-Identifier: MIT */
/* Where the results of a run go beside the tables, and what they are compared with. */
#ifndef POLLUX_TOOLS_BENCH_OUTPUTS_H
#define POLLUX_TOOLS_BENCH_OUTPUTS_H

#include "tools/bench/document.h"

/* Zeroed, and the options' values. */
struct plx_bench_outputs {
    const char *json; /* NULL: none */
    const char *csv;
    const char *html;
    const char *hgrm;
    const char *baseline;
    const char *fail_above;
    const char *subject;
    FILE *json_stream; /* NULL: closed, or none */
    FILE *csv_stream;
    FILE *html_stream;
    bool json_made; /* it was not there before */
    bool csv_made;
    bool html_made;
    bool hgrm_made;
    double limit;
    json_t *before; /* the baseline */
};

/*
 * Opens, before anything is measured, so that a wrong path costs no minutes. What a file held stays
 * until there is something to write. No two may be one file. Returns -1 to go on, or the exit
 * status: the error was told.
 */
int plx_bench_outputs_open(struct plx_bench_outputs *outputs) PLX_MUST_CHECK;
/* Whether one of them is standard output. */
bool plx_bench_outputs_take_stdout(const struct plx_bench_outputs *outputs);
/*
 * Writes them all, and compares, which is printed where the tables are. Returns the exit status:
 * errors were told.
 */
int plx_bench_outputs_write(struct plx_bench_outputs *outputs, const struct plx_bench *bench);
/* Closes what is open, and removes what was made and not written. */
void plx_bench_outputs_fini(struct plx_bench_outputs *outputs);

#endif
