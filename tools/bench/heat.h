/* SPDX-License-Identifier: MIT */
/* Rows of one subject that differ by where they ran, as a matrix. */
#ifndef POLLUX_TOOLS_BENCH_HEAT_H
#define POLLUX_TOOLS_BENCH_HEAT_H

#include <jansson.h>
#include <stdio.h>

#include "alloc/base.h"

/* What the two axes are of: cores, or a core's node and the memory's. */
struct plx_bench_axes {
    const char *row; /* members of a row of results */
    const char *column;
    bool mirrored; /* a pair of cores has no order */
};

struct plx_bench_heat {
    struct plx_bench_axes axes;
    double *rows; /* the numbers along each axis, ascending */
    double *columns;
    size_t row_count;
    size_t column_count;
    double *cells; /* p50, row by row; NAN: none */
    double least;  /* of them */
    double most;
    /*
     * Of pairs of cores on two nodes, the cell in row a and column b is of memory near a, and that
     * in row b and column a of memory near b. Where this is false, both are of the same row.
     */
    bool sided;
};

/* Whether rows of a case differ by cores and nodes alone, so that matrices can be made of them. */
bool plx_bench_heat_suits(const char *bench, const char *case_name);

/*
 * Makes one of a subject's rows among rows first to last of `results`, which are of one case. The
 * axes are those of all subjects' rows. False: there are no figures, or no memory. To be given back
 * in either case.
 */
bool plx_bench_heat_init(struct plx_bench_heat *heat, const json_t *results, size_t first,
                         size_t last, const char *subject);
void plx_bench_heat_fini(struct plx_bench_heat *heat);

/* Where a figure lies between the least, 0, and the most, 1, by their ratios. */
double plx_bench_heat_part(const struct plx_bench_heat *heat, double value);

/* How many colours a terminal has. */
enum plx_bench_depth { PLX_BENCH_NO_COLOURS, PLX_BENCH_256_COLOURS, PLX_BENCH_ALL_COLOURS };

/* matrix.c: by NO_COLOR, COLORTERM and TERM, and whether it is one. */
enum plx_bench_depth plx_bench_depth_of(FILE *stream);
/* Whether there are so many rows and columns that a matrix says more than lines would. */
bool plx_bench_matrix_suits(const struct plx_bench_heat *heat);
/* How many parts, one below the other, a matrix has whose lines are at most `width`; 0: endless. */
size_t plx_bench_matrix_parts(const struct plx_bench_heat *heat, unsigned width);
/* Prints them, and what the colours mean if there are some. */
void plx_bench_matrix_print(const struct plx_bench_heat *heat, enum plx_bench_depth depth,
                            unsigned width, FILE *stream);

#endif
