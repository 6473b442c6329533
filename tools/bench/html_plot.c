/* SPDX-License-Identifier: MIT */
/* The plots of a page: gnuplot's script, run once for all of them, and its SVG, made to fit in. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/bench/document.h"
#include "tools/bench/html.h"

#define PACKAGE    "gnuplot-nox"
#define NAME_BYTES 96

extern char **environ;

/* Seen apart by most eyes, and on light and dark. */
static const char *const colours[] = {"#3f8fe0", "#e0851a", "#2aa876", "#d1495b",
                                      "#9b6bd3", "#a5811e", "#33a7b8", "#8a8a8a"};

#define COLOUR_COUNT (sizeof(colours) / sizeof(colours[0]))

/* --- running gnuplot ------------------------------------------------------------------------- */

/* Runs it with one argument and its output in a file. Returns its status, or a negative errno. */
static int run_gnuplot(const char *argument, const char *log)
{
    char program[] = "gnuplot";
    char *word = strdup(argument);
    char *words[] = {program, word, NULL};
    posix_spawn_file_actions_t actions;
    pid_t pid;
    int status = 0;
    if (word == NULL)
        return -ENOMEM;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, log, O_WRONLY | O_CREAT | O_TRUNC,
                                     0600);
    posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
    int rc = -posix_spawnp(&pid, program, &actions, NULL, words, environ);
    posix_spawn_file_actions_destroy(&actions);
    free(word);
    if (rc != 0)
        return rc;
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR)
            return -errno;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int judge(int rc, struct plx_diag *diag)
{
    if (rc == -ENOENT || rc == 127)
        return plx_diag_set(diag, -ENOENT, "--html",
                            "gnuplot draws its plots and is not installed (package %s)", PACKAGE);
    if (rc != 0)
        return plx_diag_set(diag, -ECHILD, "--html", "gnuplot failed: %s %d",
                            rc < 0 ? "error" : "status", rc < 0 ? -rc : rc);
    return 0;
}

int plx_bench_html_check(struct plx_diag *diag)
{
    return judge(run_gnuplot("--version", "/dev/null"), diag);
}

/* --- the script ------------------------------------------------------------------------------ */

static const char *path_of(const struct plx_bench_plots *plots, int number, char *path)
{
    if (number < 0)
        snprintf(path, NAME_BYTES, "%s/%s", plots->folder, number == -1 ? "script" : "log");
    else
        snprintf(path, NAME_BYTES, "%s/%d.svg", plots->folder, number);
    return path;
}

int plx_bench_plots_init(struct plx_bench_plots *plots, struct plx_diag *diag)
{
    const char *base = getenv("TMPDIR");
    memset(plots, 0, sizeof(*plots));
    if (base == NULL || strlen(base) > sizeof(plots->folder) - 24)
        base = "/tmp";
    snprintf(plots->folder, sizeof(plots->folder), "%s/pollux-plots-XXXXXX", base);
    if (mkdtemp(plots->folder) == NULL) {
        int code = -errno;
        plots->folder[0] = '\0';
        return plx_diag_set(diag, code, "--html", "a folder for its plots in %s: %s", base,
                            strerror(-code));
    }
    plots->into = open_memstream(&plots->script, &plots->script_bytes);
    if (plots->into == NULL)
        return plx_diag_set(diag, -ENOMEM, "--html", "out of memory");
    return 0;
}

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
    char path[NAME_BYTES];
    int number = (int)plots->count++;
    fprintf(plots->into,
            "reset session\nset border 3\nset tics nomirror\nset grid lc rgb '#888888' lw 0.5 dt "
            "3\nset style fill solid 0.85 noborder\n"
            "set term svg size 480,%d dynamic noenhanced name 'plot%d' font 'sans-serif,13'\n"
            "set output '%s'\n",
            height, number, path_of(plots, number, path));
    return number;
}

/* The known percentiles of a row, or those that all rows have. Returns how many. */
static size_t put_points(FILE *script, const json_t *row)
{
    static const struct {
        const char *key;
        double part;
    } fixed[] = {{"min", 0},    {"p50", 0.5},    {"p90", 0.9},
                 {"p99", 0.99}, {"p999", 0.999}, {"p9999", 0.9999}};
    const json_t *steps = json_object_get(row, "percentiles");
    double samples = plx_bench_number(row, "n");
    size_t count = 0;
    size_t index;
    const json_t *step;
    json_array_foreach(steps, index, step)
    {
        double part = json_number_value(json_array_get(step, 0)) / 100;
        double value = json_number_value(json_array_get(step, 1));
        if (part < 1 && value > 0)
            fprintf(script, "%.9g %.6g\n", 1 / (1 - part), value), count++;
    }
    for (size_t i = 0; json_array_size(steps) == 0 && i < sizeof(fixed) / sizeof(fixed[0]); i++) {
        double value = plx_bench_number(row, fixed[i].key);
        if (value > 0 && (1 - fixed[i].part) * samples >= 1)
            fprintf(script, "%.9g %.6g\n", 1 / (1 - fixed[i].part), value), count++;
    }
    return count;
}

int plx_bench_plot_percentiles(struct plx_bench_plots *plots, const json_t *results, size_t first,
                               size_t last)
{
    size_t rows[COLOUR_COUNT];
    size_t count = 0;
    for (size_t i = first; i <= last && count < COLOUR_COUNT; i++) {
        if (json_is_number(json_object_get(json_array_get(results, i), "p50")))
            rows[count++] = i;
    }
    if (count == 0)
        return -1;
    FILE *script = plots->into;
    int number = begin_plot(plots, 330 + 18 * (int)((count + 2) / 3));
    for (size_t i = 0; i < count; i++) {
        fprintf(script, "$d%zu << END_OF_DATA\n", i);
        put_points(script, json_array_get(results, rows[i]));
        fputs("END_OF_DATA\n", script);
    }
    fputs("set logscale xy\nset key outside bottom center horizontal maxcols 3 samplen 2\n"
          "set xrange [1:]\nset xtics ('50 %%' 2, '90 %%' 10, '99 %%' 100, '99.9 %%' 1e3, "
          "'99.99 %%' 1e4, '5 nines' 1e5, '6 nines' 1e6)\n",
          script);
    if (strcmp(plx_bench_text(json_array_get(results, first), "unit"), "ns") == 0) {
        fputs("set ytics ('1 ns' 1, '10 ns' 10, '100 ns' 100, '1 us' 1e3, '10 us' 1e4, '100 us' "
              "1e5, '1 ms' 1e6, '10 ms' 1e7, '100 ms' 1e8, '1 s' 1e9, '10 s' 1e10)\n",
              script);
    } else {
        fputs("set format y '%.0s %c'\nset ylabel ", script);
        put_quoted(script, plx_bench_text(json_array_get(results, first), "unit"));
        fputc('\n', script);
    }
    fputs("plot ", script);
    for (size_t i = 0; i < count; i++) {
        fprintf(script, "%s$d%zu using 1:2 with lines lw 2 lc rgb '%s' title ", i != 0 ? ", " : "",
                i, colours[i]);
        put_quoted(script, plx_bench_text(json_array_get(results, rows[i]), "subject"));
    }
    fputs("\nset output\n", script);
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
    fprintf(script,
            "END_OF_DATA\nset logscale x\nunset key\nunset grid\n"
            "set grid x lc rgb '#888888' lw 0.5 dt 3\nset border 1\nset yrange [%zu.6:-0.6]\n"
            "set ytics scale 0 (",
            count - 1);
    for (size_t i = 0; i < count; i++) {
        char label[128];
        snprintf(label, sizeof(label), "%.60s / %.30s", ratios[i].name, ratios[i].peer);
        fputs(i != 0 ? ", " : "", script);
        put_quoted(script, label);
        fprintf(script, " %zu", i);
    }
    /* Marks that fit, whatever the range is. */
    fputs(")\nset xtics (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)\n"
          "set xrange [*<0.5:2<*]\nset arrow from 1, graph 0 to 1, graph 1 nohead lw 1.5 lc rgb "
          "'#888888' front\n"
          "plot $bars using 1:2:3:4:($2-0.32):($2+0.32):5 with boxxyerror lc rgb variable\n"
          "set output\n",
          script);
    return number;
}

/* --- drawing and embedding ------------------------------------------------------------------- */

int plx_bench_plots_draw(struct plx_bench_plots *plots, struct plx_diag *diag)
{
    char path[NAME_BYTES];
    char log[NAME_BYTES];
    if (fclose(plots->into) != 0) {
        plots->into = NULL;
        return plx_diag_set(diag, -ENOMEM, "--html", "out of memory");
    }
    plots->into = NULL;
    FILE *file = fopen(path_of(plots, -1, path), "we");
    if (file == NULL)
        return plx_diag_set(diag, -errno, path, "%s", strerror(errno));
    bool whole = fwrite(plots->script, 1, plots->script_bytes, file) == plots->script_bytes;
    if (fclose(file) != 0 || !whole)
        return plx_diag_set(diag, -EIO, path, "it could not be written");
    int rc = judge(run_gnuplot(path, path_of(plots, -2, log)), diag);
    file = rc == -ECHILD ? fopen(log, "re") : NULL;
    if (file != NULL) {
        /* It says what is wrong in a line of its own, somewhere below. */
        char line[160];
        while (fgets(line, sizeof(line), file) != NULL) {
            if (strstr(line, "line ") != NULL)
                plx_diag_set(diag, rc, "--html", "gnuplot failed: %.*s", (int)strcspn(line, "\n"),
                             line);
        }
        fclose(file);
    }
    return rc;
}

/* Whether a line belongs to what several plots in one page would share by name. */
static bool is_shared(const char *line, bool *inside)
{
    bool begins = strncmp(line, "<defs>", 6) == 0;
    bool ends = strncmp(line, "</defs>", 7) == 0;
    *inside = (*inside || begins) && !ends;
    return *inside || ends || strncmp(line, "<title>", 7) == 0 || strncmp(line, "<desc>", 6) == 0;
}

int plx_bench_plot_embed(const struct plx_bench_plots *plots, int number, FILE *page)
{
    char path[NAME_BYTES];
    char *line = NULL;
    size_t room = 0;
    bool begun = false;
    bool shared = false;
    FILE *file = fopen(path_of(plots, number, path), "re");
    if (file == NULL)
        return -errno;
    while (getline(&line, &room, file) >= 0) {
        begun = begun || strncmp(line, "<svg", 4) == 0;
        if (!begun || is_shared(line, &shared))
            continue;
        if (strncmp(line, "<svg", 4) == 0)
            fputs("<svg role=\"img\"", page);
        else if (strcmp(line, "<g id=\"gnuplot_canvas\">\n") == 0)
            fputs("<g>\n", page);
        else
            fputs(line, page);
    }
    free(line);
    fclose(file);
    return begun ? 0 : -EIO;
}

void plx_bench_plots_fini(struct plx_bench_plots *plots)
{
    char path[NAME_BYTES];
    if (plots->into != NULL)
        fclose(plots->into);
    free(plots->script);
    if (plots->folder[0] == '\0')
        return;
    for (int i = -2; i < (int)plots->count; i++)
        unlink(path_of(plots, i, path));
    rmdir(plots->folder);
}
