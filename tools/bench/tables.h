/* SPDX-License-Identifier: MIT */
/* What tables of rows share: figures, how sure they are, and marks where they are in doubt. */
#ifndef POLLUX_TOOLS_BENCH_TABLES_H
#define POLLUX_TOOLS_BENCH_TABLES_H

#include <stdio.h>

#include "tools/bench/frame.h"
#include "tools/cli.h"

void plx_bench_add_figure(struct plx_cli_table *table, double value);

/*
 * A letter for each thing that makes a row doubtful: b, other programs ran in all of its slices; d,
 * the speed of the core moved; u, it is less certain than was asked for. "": nothing does.
 */
const char *plx_bench_marks(const struct plx_bench_row *row);
/* The most letters that any of the rows has. */
size_t plx_bench_marks_width(const struct plx_bench_row *rows, uint32_t count);

/* Half of the interval of a row's median, as a part of it; NAN: it has none. */
double plx_bench_spread(const struct plx_bench_row *row);
/* The cell of that in per cent and of the marks, so wide, and its heading. */
void plx_bench_add_spread(struct plx_cli_table *table, const struct plx_bench_row *row,
                          size_t marks);
void plx_bench_add_spread_heading(struct plx_cli_table *table, size_t marks);

/* Prints a table, or tells that there was no memory, and gives it back. */
void plx_bench_end_table(struct plx_cli_table *table, FILE *stream);

/*
 * places.c: prints rows of a case that differ by where they ran, as matrices of each subject if
 * there are enough for one, else as lines; at most `width` wide, 0: endless.
 */
void plx_bench_print_places(const struct plx_bench_row *rows, uint32_t count, FILE *stream,
                            unsigned width);

#endif
