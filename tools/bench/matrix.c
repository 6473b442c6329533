/* SPDX-License-Identifier: MIT */
/* A matrix on a terminal, with colours where there are some. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench/heat.h"
#include "tools/cli.h"

#define CELL_BYTES 24
#define INDENT     2u
/* Below these a line for each says more. */
#define CORES_MIN 3u
#define NODES_MIN 2u

enum plx_bench_depth plx_bench_depth_of(FILE *stream)
{
    const char *colours = getenv("COLORTERM");
    const char *term = getenv("TERM");
    if (!plx_cli_has_colour(stream))
        return PLX_BENCH_NO_COLOURS;
    if (colours != NULL && (strcmp(colours, "truecolor") == 0 || strcmp(colours, "24bit") == 0))
        return PLX_BENCH_ALL_COLOURS;
    return term != NULL && strstr(term, "256color") != NULL ? PLX_BENCH_256_COLOURS
                                                            : PLX_BENCH_NO_COLOURS;
}

static const char *format_cell(double value, char text[CELL_BYTES])
{
    if (!isfinite(value))
        snprintf(text, CELL_BYTES, "-");
    else
        snprintf(text, CELL_BYTES, value < 9.995 ? "%.2f" : value < 99.95 ? "%.1f" : "%.0f", value);
    return text;
}

/* The width of a cell that all figures and numbers fit in. */
static unsigned cell_width(const struct plx_bench_heat *heat)
{
    char text[CELL_BYTES];
    unsigned widest = 3;
    for (size_t i = 0; i < heat->row_count * heat->column_count; i++) {
        size_t width = strlen(format_cell(heat->cells[i], text));
        widest = width > widest ? (unsigned)width : widest;
    }
    return widest;
}

bool plx_bench_matrix_fits(const struct plx_bench_heat *heat, unsigned width)
{
    size_t least = heat->axes.mirrored ? CORES_MIN : NODES_MIN;
    size_t needed = INDENT + 4 + heat->column_count * (cell_width(heat) + 2);
    return heat->row_count >= least && heat->column_count >= least &&
           (width == 0 || needed <= width);
}

/* From a dark blue for the least to a bright yellow for the most, both told from black and white.
 */
static void put_colour(double part, enum plx_bench_depth depth, FILE *stream)
{
    static const int shades[] = {17, 18, 24, 30, 36, 72, 108, 143, 178, 214, 220};
    int red = (int)(30 + part * 222);
    int green = (int)(50 + part * 150);
    int blue = (int)(110 - part * 70);
    int ink = part < 0.5 ? 255 : 16;
    if (depth == PLX_BENCH_ALL_COLOURS)
        fprintf(stream, "\033[48;2;%d;%d;%dm\033[38;5;%dm", red, green, blue, ink);
    else if (depth == PLX_BENCH_256_COLOURS)
        fprintf(stream, "\033[48;5;%dm\033[38;5;%dm", shades[(int)(part * 10)], ink);
}

void plx_bench_matrix_print(const struct plx_bench_heat *heat, enum plx_bench_depth depth,
                            FILE *stream)
{
    int width = (int)cell_width(heat);
    char text[CELL_BYTES];
    fprintf(stream, "%*s%4s", (int)INDENT, "", heat->axes.mirrored ? "cpu" : "node");
    for (size_t j = 0; j < heat->column_count; j++)
        fprintf(stream, " %*.0f ", width, heat->columns[j]);
    fputc('\n', stream);
    for (size_t i = 0; i < heat->row_count; i++) {
        fprintf(stream, "%*s%4.0f", (int)INDENT, "", heat->rows[i]);
        for (size_t j = 0; j < heat->column_count; j++) {
            double value = heat->cells[i * heat->column_count + j];
            bool coloured = isfinite(value) && depth != PLX_BENCH_NO_COLOURS;
            if (coloured)
                put_colour(plx_bench_heat_part(heat, value), depth, stream);
            fprintf(stream, " %*s %s", width, format_cell(value, text), coloured ? "\033[0m" : "");
        }
        fputc('\n', stream);
    }
}
