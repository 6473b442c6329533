/* SPDX-License-Identifier: MIT */
/* A matrix on a terminal, with colours where there are some. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench/heat.h"
#include "tools/cli.h"

#define CELL_BYTES 24
#define INDENT     2u
#define SHADES     11
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

static unsigned digits_of(double number)
{
    char text[CELL_BYTES];
    return (unsigned)snprintf(text, sizeof(text), "%.0f", number);
}

/* The width of a cell that all figures and numbers of columns fit in. */
static unsigned cell_width(const struct plx_bench_heat *heat)
{
    char text[CELL_BYTES];
    unsigned widest = 3;
    for (size_t i = 0; i < heat->row_count * heat->column_count; i++) {
        size_t width = strlen(format_cell(heat->cells[i], text));
        widest = width > widest ? (unsigned)width : widest;
    }
    /* They are in order. */
    unsigned number = digits_of(heat->columns[heat->column_count - 1]);
    return number > widest ? number : widest;
}

/* That of the column before them, which has the numbers of rows. */
static unsigned label_width(const struct plx_bench_heat *heat)
{
    unsigned number = digits_of(heat->rows[heat->row_count - 1]);
    return number > 4 ? number : 4;
}

bool plx_bench_matrix_suits(const struct plx_bench_heat *heat)
{
    size_t least = heat->axes.mirrored ? CORES_MIN : NODES_MIN;
    return heat->row_count >= least && heat->column_count >= least;
}

/* How wide things are, and how many columns a part has. */
struct layout {
    unsigned label;
    unsigned cell; /* without the spaces on both sides of it */
    size_t columns;
};

static struct layout lay_out(const struct plx_bench_heat *heat, unsigned width)
{
    struct layout layout = {label_width(heat), cell_width(heat), heat->column_count};
    size_t taken = INDENT + layout.label;
    size_t cell = layout.cell + 2;
    if (width != 0 && taken + heat->column_count * cell > width)
        layout.columns = width > taken + cell ? (width - taken) / cell : 1;
    return layout;
}

size_t plx_bench_matrix_parts(const struct plx_bench_heat *heat, unsigned width)
{
    size_t columns = lay_out(heat, width).columns;
    return (heat->column_count + columns - 1) / columns;
}

/* From a dark blue for the least to a bright yellow for the most, both told from black and white.
 */
static void put_colour(double part, enum plx_bench_depth depth, FILE *stream)
{
    static const int shades[SHADES] = {17, 18, 24, 30, 36, 72, 108, 143, 178, 214, 220};
    int red = (int)(30 + part * 222);
    int green = (int)(50 + part * 150);
    int blue = (int)(110 - part * 70);
    int ink = part < 0.5 ? 255 : 16;
    if (depth == PLX_BENCH_ALL_COLOURS)
        fprintf(stream, "\033[48;2;%d;%d;%dm\033[38;5;%dm", red, green, blue, ink);
    else if (depth == PLX_BENCH_256_COLOURS)
        fprintf(stream, "\033[48;5;%dm\033[38;5;%dm", shades[(int)(part * (SHADES - 1))], ink);
}

static void print_line(const struct plx_bench_heat *heat, const struct layout *layout, size_t row,
                       size_t first, enum plx_bench_depth depth, FILE *stream)
{
    char text[CELL_BYTES];
    fprintf(stream, "%*s%*.0f", (int)INDENT, "", (int)layout->label, heat->rows[row]);
    for (size_t j = first; j < heat->column_count && j < first + layout->columns; j++) {
        double value = heat->cells[row * heat->column_count + j];
        bool coloured = isfinite(value) && depth != PLX_BENCH_NO_COLOURS;
        if (coloured)
            put_colour(plx_bench_heat_part(heat, value), depth, stream);
        fprintf(stream, " %*s %s", (int)layout->cell, format_cell(value, text),
                coloured ? "\033[0m" : "");
    }
    fputc('\n', stream);
}

/* The colours in order, between the figures that the first and the last of them stand for. */
static void print_legend(const struct plx_bench_heat *heat, const struct layout *layout,
                         enum plx_bench_depth depth, FILE *stream)
{
    char text[CELL_BYTES];
    fprintf(stream, "%*s%s ", (int)(INDENT + layout->label + 1), "",
            format_cell(heat->least, text));
    for (int i = 0; i < SHADES; i++) {
        put_colour(i / (SHADES - 1.0), depth, stream);
        fputs("  \033[0m", stream);
    }
    fprintf(stream, " %s\n", format_cell(heat->most, text));
}

void plx_bench_matrix_print(const struct plx_bench_heat *heat, enum plx_bench_depth depth,
                            unsigned width, FILE *stream)
{
    const struct layout layout = lay_out(heat, width);
    for (size_t first = 0; first < heat->column_count; first += layout.columns) {
        if (first != 0)
            fputc('\n', stream);
        fprintf(stream, "%*s%*s", (int)INDENT, "", (int)layout.label,
                heat->axes.mirrored ? "cpu" : "node");
        for (size_t j = first; j < heat->column_count && j < first + layout.columns; j++)
            fprintf(stream, " %*.0f ", (int)layout.cell, heat->columns[j]);
        fputc('\n', stream);
        for (size_t i = 0; i < heat->row_count; i++)
            print_line(heat, &layout, i, first, depth, stream);
    }
    if (depth != PLX_BENCH_NO_COLOURS && heat->most > heat->least)
        print_legend(heat, &layout, depth, stream);
}
