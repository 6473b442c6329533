/* SPDX-License-Identifier: MIT */
#include "tools/bench/html_plot.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench/document.h"
#include "tools/bench/html_gnuplot.h"

/* Seen apart by most eyes, and on light and dark; then again with dashes. */
static const char *const colours[] = {"#3f8fe0", "#e0851a", "#2aa876", "#d1495b",
                                      "#9b6bd3", "#a5811e", "#33a7b8", "#8a8a8a"};

#define COLOUR_COUNT (sizeof(colours) / sizeof(colours[0]))
#define DASH_COUNT   4u
/* More would not be told apart. */
#define LINES_MAX (COLOUR_COUNT * DASH_COUNT)

/* So many letters are as wide as a plot; a name in the key takes so many more than it has. */
#define LINE_LETTERS 46u
#define KEY_LETTERS  7u
/* Of names that are longer the rest is left out. */
#define NAME_LETTERS 24
#define CASE_LETTERS 24
#define PEER_LETTERS 16

/* Fewer have no distribution to show. */
#define SAMPLES_MIN 2

/* An axis with more than so many decades has a mark for each, else for 1, 2 and 5. */
#define DECADES_MAX 2.3

/* --- pieces of the script -------------------------------------------------------------------- */

/* Text between single quotes, in which nothing has a meaning. */
static void put_quoted(FILE *script, const char *text)
{
    fputc('\'', script);
    for (; *text != '\0'; text++)
        fputc(*text == '\'' || *text == '`' || (unsigned char)*text < ' ' ? '?' : *text, script);
    fputc('\'', script);
}

static int begin_plot(struct plx_bench_plots *plots, int height)
{
    int number = (int)plots->count++;
    fprintf(plots->into,
            "reset session\nset border 3\nset tics nomirror\nset grid lc rgb '#888888' lw 0.5 dt "
            "3\nset style fill solid 0.85 noborder\n"
            "set term svg size 440,%d dynamic noenhanced name 'plot%d' font 'sans-serif,14'\n",
            height, number);
    return number;
}

/* A plot of so many lines, whose names, the longest of so many letters, are below it in columns. */
static int begin_lines(struct plx_bench_plots *plots, size_t count, size_t longest)
{
    size_t columns = LINE_LETTERS / (longest + KEY_LETTERS);
    columns = columns < 1 ? 1 : columns > 3 ? 3 : columns;
    int number = begin_plot(plots, 300 + 18 * (int)((count + columns - 1) / columns));
    fprintf(plots->into,
            "set key outside bottom center horizontal maxcols %zu samplen 2 font ',12'\n", columns);
    return number;
}

static void put_line(FILE *script, size_t index, const char *style, const char *title)
{
    fprintf(script, "%s$d%zu using 1:2 with %s lw 2 dt %zu lc rgb '%s' title ",
            index != 0 ? ", " : "plot ", index, style, 1 + index / COLOUR_COUNT % DASH_COUNT,
            colours[index % COLOUR_COUNT]);
    put_quoted(script, title);
}

static void put_label(FILE *script, double value, const char *unit)
{
    static const char *const times[] = {"ns", "us", "ms", "s"};
    static const char *const thousands[] = {"", "k", "M", "G"};
    bool is_time = strcmp(unit, "ns") == 0;
    size_t step = 0;
    for (; value > 999 && step + 1 < 4; step++)
        value /= 1000;
    fprintf(script, "'%.3g%s%s%s'", value, is_time ? "" : thousands[step],
            unit[0] != '\0' ? " " : "", is_time ? times[step] : unit);
}

/* 1, 2, 5, 10 and so on; number 0 is 1. */
static double mark_at(int number)
{
    static const double steps[] = {1, 2, 5};
    int decade = (int)floor(number / 3.0);
    return steps[number - 3 * decade] * pow(10, decade);
}

/* The axis x or y by ratios: from the mark below `least` to that above `most`, with those between.
 */
static void put_log_axis(FILE *script, char axis, double least, double most, const char *unit)
{
    double decades = log10(most / least);
    /* Numbers beside each other take more room than those above each other. */
    int each = axis == 'x' ? (int)ceil(decades / 3) : 1;
    each = decades <= DECADES_MAX ? 1 : 3 * each;
    int first = 3 * (int)floor(log10(least));
    while (mark_at(first + 1) <= least)
        first++;
    int last = first + 1;
    while (mark_at(last) < most)
        last++;
    fprintf(script, "set logscale %c\nset %crange [%.6g:%.6g]\n", axis, axis, mark_at(first),
            mark_at(last));
    const char *before = "tics (";
    fprintf(script, "set %c", axis);
    for (int i = first; i <= last; i++) {
        if (i % each != 0)
            continue;
        fputs(before, script);
        put_label(script, mark_at(i), unit);
        fprintf(script, " %.6g", mark_at(i));
        before = ", ";
    }
    fputs(")\n", script);
}

/* --- percentiles ----------------------------------------------------------------------------- */

/* What the points of a plot span. */
struct span {
    double right;
    double least;
    double most;
};

static void put_point(FILE *data, double part, double samples, double value, struct span *span)
{
    double right = part < 1 ? 1 / (1 - part) : samples;
    if (!(value > 0) || !(right >= 1))
        return;
    fprintf(data, "%.9g %.6g\n", right, value);
    span->right = fmax(span->right, right);
    span->least = fmin(span->least, value);
    span->most = fmax(span->most, value);
}

/*
 * The known percentiles of a row, or those that all rows have: from its least value at 0 % to its
 * greatest, which is one of all samples.
 */
static void put_points(FILE *data, const json_t *row, struct span *span)
{
    static const struct {
        const char *key;
        double part;
    } fixed[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p999", 0.999}, {"p9999", 0.9999}};
    const json_t *steps = json_object_get(row, "percentiles");
    double samples = fmax(1, plx_bench_number(row, "n"));
    size_t index;
    const json_t *step;
    put_point(data, 0, samples, plx_bench_number(row, "min"), span);
    json_array_foreach(steps, index, step)
    {
        double part = json_number_value(json_array_get(step, 0)) / 100;
        if (part > 0 && part < 1 && (1 - part) * samples >= 1)
            put_point(data, part, samples, json_number_value(json_array_get(step, 1)), span);
    }
    for (size_t i = 0; json_array_size(steps) == 0 && i < sizeof(fixed) / sizeof(fixed[0]); i++) {
        if ((1 - fixed[i].part) * samples >= 1)
            put_point(data, fixed[i].part, samples, plx_bench_number(row, fixed[i].key), span);
    }
    put_point(data, 1, samples, plx_bench_number(row, "max"), span);
}

static void name_row(const json_t *row, bool places, char *name, size_t bytes)
{
    double a = plx_bench_number(row, "cpu_a");
    double b = plx_bench_number(row, "cpu_b");
    const char *subject = plx_bench_text(row, "subject");
    bool cut = strlen(subject) > NAME_LETTERS;
    int used = snprintf(name, bytes, "%.*s%s", NAME_LETTERS, subject, cut ? ".." : "");
    if (places && isfinite(a))
        used += snprintf(name + used, bytes - (size_t)used, ", cpu %.0f", a);
    if (places && isfinite(b))
        snprintf(name + used, bytes - (size_t)used, " and %.0f", b);
}

int plx_bench_plot_percentiles(struct plx_bench_plots *plots, const json_t *results, size_t first,
                               size_t last, bool places)
{
    char names[LINES_MAX][96];
    size_t count = 0;
    size_t longest = 0;
    char *data = NULL;
    size_t bytes = 0;
    struct span span = {10, INFINITY, 0};
    FILE *into = open_memstream(&data, &bytes);
    for (size_t i = first; into != NULL && i <= last && count < LINES_MAX; i++) {
        const json_t *row = json_array_get(results, i);
        if (!(plx_bench_number(row, "p50") > 0) || plx_bench_number(row, "n") < SAMPLES_MIN)
            continue;
        name_row(row, places, names[count], sizeof(names[count]));
        longest = strlen(names[count]) > longest ? strlen(names[count]) : longest;
        fprintf(into, "$d%zu << END_OF_DATA\n", count++);
        put_points(into, row, &span);
        fputs("END_OF_DATA\n", into);
    }
    bool whole = into != NULL && fclose(into) == 0;
    int number = -1;
    if (whole && count != 0 && span.most > 0) {
        number = begin_lines(plots, count, longest);
        fputs(data, plots->into);
        fputs("set xtics ('50 %%' 2, '90 %%' 10, '99 %%' 100, '99.9 %%' 1e3, '99.99 %%' 1e4, "
              "'5 nines' 1e5, '6 nines' 1e6, '7 nines' 1e7)\n",
              plots->into);
        fprintf(plots->into, "set xtics font ',%d'\nset logscale x\nset xrange [1:%.6g]\n",
                span.right > 3e4 ? 11 : 13, span.right);
        put_log_axis(plots->into, 'y', span.least, span.most,
                     plx_bench_text(json_array_get(results, first), "unit"));
        for (size_t i = 0; i < count; i++)
            put_line(plots->into, i, "lines", names[i]);
        fputs("\n", plots->into);
    }
    free(data);
    return number;
}

/* --- curves ---------------------------------------------------------------------------------- */

int plx_bench_plot_curves(struct plx_bench_plots *plots, const struct plx_bench_curve *curves,
                          size_t count, const char *x, const char *y)
{
    FILE *script = plots->into;
    count = count < LINES_MAX ? count : LINES_MAX;
    if (count == 0)
        return -1;
    size_t longest = 0;
    for (size_t i = 0; i < count; i++)
        longest = strlen(curves[i].name) > longest ? strlen(curves[i].name) : longest;
    int number = begin_lines(plots, count, longest);
    for (size_t i = 0; i < count; i++) {
        fprintf(script, "$d%zu << END_OF_DATA\n", i);
        for (size_t j = 0; j < curves[i].count; j++)
            fprintf(script, "%.6g %.6g\n", curves[i].x[j], curves[i].y[j]);
        fputs("END_OF_DATA\n", script);
    }
    fputs("set xrange [0:1<*]\nset yrange [0:1<*]\nset key top\nset xlabel ", script);
    put_quoted(script, x);
    fputs("\nset ylabel ", script);
    put_quoted(script, y);
    fputc('\n', script);
    for (size_t i = 0; i < count; i++)
        put_line(script, i, "linespoints pt 7 ps 0.6", curves[i].name);
    fputs("\n", script);
    return number;
}

/* --- ratios ---------------------------------------------------------------------------------- */

int plx_bench_plot_ratios(struct plx_bench_plots *plots, const struct plx_bench_bar *ratios,
                          size_t count)
{
    if (count == 0)
        return -1;
    FILE *script = plots->into;
    int number = begin_plot(plots, 60 + 22 * (int)count);
    fputs("$bars << END_OF_DATA\n", script);
    for (size_t i = 0; i < count; i++)
        fprintf(script, "%.6g %zu %.6g %.6g %d\n", fmin(1, ratios[i].ratio), i,
                fmin(1, ratios[i].ratio), fmax(1, ratios[i].ratio),
                ratios[i].ratio <= 1 ? 0x2aa876 : 0xd1495b);
    /* An interval that is not known is no wider than the ratio. */
    fputs("END_OF_DATA\n$intervals << END_OF_DATA\n", script);
    double least = 0.5;
    double most = 2;
    for (size_t i = 0; i < count; i++) {
        double low = fmin(ratios[i].low, ratios[i].ratio);
        double high = fmax(ratios[i].high, ratios[i].ratio);
        fprintf(script, "%.6g %zu %.6g %.6g\n", ratios[i].ratio, i, low, high);
        /* Intervals may go on beyond the plot. */
        least = fmin(least, ratios[i].ratio / 1.2);
        most = fmax(most, ratios[i].ratio * 1.2);
    }
    fprintf(script,
            "END_OF_DATA\nunset key\nunset grid\nset grid x lc rgb '#888888' lw 0.5 dt 3\n"
            "set border 1\nset yrange [%zu.6:-0.6]\n",
            count - 1);
    put_log_axis(script, 'x', least, most, "");
    fputs("set ytics scale 0 font ',12' (", script);
    for (size_t i = 0; i < count; i++) {
        char label[128];
        bool cut = strlen(ratios[i].peer) > PEER_LETTERS;
        snprintf(label, sizeof(label), "%.*s / %.*s%s", CASE_LETTERS, ratios[i].name, PEER_LETTERS,
                 ratios[i].peer, cut ? ".." : "");
        fputs(i != 0 ? ", " : "", script);
        put_quoted(script, label);
        fprintf(script, " %zu", i);
    }
    fputs(")\nset arrow from 1, graph 0 to 1, graph 1 nohead lw 1.5 lc rgb '#888888' front\n"
          "plot $bars using 1:2:3:4:($2-0.32):($2+0.32):5 with boxxyerror lc rgb variable, "
          "$intervals using 1:2:3:4 with xerrorbars pt 0 lw 1.2 lc black\n",
          script);
    return number;
}

/* --- drawing and embedding ------------------------------------------------------------------- */

int plx_bench_plots_init(struct plx_bench_plots *plots, struct plx_diag *diag)
{
    memset(plots, 0, sizeof(*plots));
    plots->into = open_memstream(&plots->script, &plots->script_bytes);
    return plots->into != NULL ? 0 : plx_diag_set(diag, -ENOMEM, "--html", "out of memory");
}

int plx_bench_plots_draw(struct plx_bench_plots *plots, struct plx_diag *diag)
{
    bool whole = fclose(plots->into) == 0;
    plots->into = NULL;
    if (!whole)
        return plx_diag_set(diag, -ENOMEM, "--html", "out of memory");
    if (plots->count == 0)
        return 0;
    return plx_bench_gnuplot(plots->script, plots->script_bytes, &plots->drawn, diag);
}

/* Whether a line belongs to what several plots in one page share: shapes by name. */
static bool is_shared(const char *line, bool *inside)
{
    bool begins = strncmp(line, "<defs>", 6) == 0;
    bool ends = strncmp(line, "</defs>", 7) == 0;
    *inside = (*inside || begins) && !ends;
    return *inside || ends;
}

/* The tooltips of gnuplot's parts have names of its own. */
static bool is_title(const char *line)
{
    return strncmp(line, "<title>", 7) == 0 || strncmp(line, "<desc>", 6) == 0;
}

static const char *find_plot(const struct plx_bench_plots *plots, int number)
{
    const char *at = plots->drawn != NULL ? strstr(plots->drawn, "<svg") : NULL;
    for (; at != NULL && number > 0; number--)
        at = strstr(at + 1, "<svg");
    return at;
}

int plx_bench_plot_embed(struct plx_bench_plots *plots, int number, FILE *page)
{
    bool shared = false;
    const char *at = find_plot(plots, number);
    const char *end = at != NULL ? strstr(at, "</svg>") : NULL;
    if (end == NULL)
        return -ENOENT;
    fputs("<svg role=\"img\"", page);
    for (at += 4; at < end; at = strchr(at, '\n') + 1) {
        size_t bytes = strcspn(at, "\n");
        if (at[bytes] == '\0')
            break;
        bool named = is_shared(at, &shared);
        if ((named && plots->has_shapes) || is_title(at))
            continue;
        fwrite(at, 1, bytes + 1, page);
    }
    plots->has_shapes = true;
    fputs("</svg>\n", page);
    return 0;
}

void plx_bench_plots_fini(struct plx_bench_plots *plots)
{
    if (plots->into != NULL)
        fclose(plots->into);
    free(plots->script);
    free(plots->drawn);
}
