/* SPDX-License-Identifier: MIT */
/* A document as a page: facts, verdicts, and for each case its matrix, or its rows and plots. */
#include "tools/bench/html.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench/heat.h"
#include "tools/bench/html_gnuplot.h"
#include "tools/bench/html_page.h"

/* Rows that differ by where they ran have a plot up to so many: then it shows nothing. */
#define PLACES_PLOTTED 8u
/* The matrices of so many rows have more columns than half the page is wide for. */
#define WIDE_ROWS 100u

void plx_bench_html_put(FILE *out, const char *text)
{
    for (; *text != '\0'; text++) {
        switch (*text) {
        case '<':
            fputs("&lt;", out);
            break;
        case '>':
            fputs("&gt;", out);
            break;
        case '&':
            fputs("&amp;", out);
            break;
        case '"':
            fputs("&quot;", out);
            break;
        default:
            fputc(*text, out);
        }
    }
}

const json_t *plx_bench_html_row(const struct plx_bench_page *page, size_t index)
{
    return json_array_get(page->results, index);
}

bool plx_bench_html_same(const json_t *a, const json_t *b, const char *key)
{
    return strcmp(plx_bench_text(a, key), plx_bench_text(b, key)) == 0;
}

/* --- sections -------------------------------------------------------------------------------- */

/* The array of that name in an object, which gets one if there is none. NULL: memory ran out. */
static json_t *group_of(json_t *groups, const char *name, json_t *fresh)
{
    json_t *group = json_object_get(groups, name);
    if (group != NULL || fresh == NULL || json_object_set(groups, name, fresh) != 0)
        fresh = group;
    return fresh;
}

/* Rows by benchmark and case, each in the order in which it first occurs. */
static json_t *group_rows(const json_t *results)
{
    json_t *benches = json_object();
    json_t *grouped = json_array();
    size_t index;
    json_t *row;
    const char *name;
    json_t *cases;
    bool whole = benches != NULL && grouped != NULL;
    json_array_foreach(results, index, row)
    {
        json_t *fresh = json_object();
        json_t *rows = json_array();
        cases = group_of(benches, plx_bench_text(row, "bench"), fresh);
        json_t *one = cases != NULL ? group_of(cases, plx_bench_text(row, "case"), rows) : NULL;
        whole = whole && one != NULL && json_array_append(one, row) == 0;
        json_decref(fresh);
        json_decref(rows);
    }
    json_object_foreach(benches, name, cases)
    {
        const char *case_name;
        json_t *one;
        json_object_foreach(cases, case_name, one)
        {
            whole = whole && json_array_extend(grouped, one) == 0;
        }
    }
    json_decref(benches);
    if (whole)
        return grouped;
    json_decref(grouped);
    return NULL;
}

/* Whether a subject has several rows: then they differ by where they ran. */
static bool has_places(const struct plx_bench_page *page, const struct plx_bench_section *section)
{
    json_t *subjects = json_object();
    for (size_t i = section->first; i <= section->last; i++)
        json_object_set_new(subjects, plx_bench_text(plx_bench_html_row(page, i), "subject"),
                            json_true());
    bool several = json_object_size(subjects) < section->last - section->first + 1;
    json_decref(subjects);
    return several;
}

static bool is_case(const json_t *row, const char *bench, const char *name)
{
    return strcmp(plx_bench_text(row, "bench"), bench) == 0 &&
           strcmp(plx_bench_text(row, "case"), name) == 0;
}

static void judge_section(const struct plx_bench_page *page, struct plx_bench_section *section)
{
    const json_t *row = plx_bench_html_row(page, section->first);
    bool several = has_places(page, section);
    bool suits = plx_bench_heat_suits(plx_bench_text(row, "bench"), plx_bench_text(row, "case"));
    section->heat = several && suits;
    section->places = several && !suits;
}

static int find_sections(struct plx_bench_page *page)
{
    page->results = group_rows(json_object_get(page->document, "results"));
    size_t rows = json_array_size(page->results);
    page->sections = calloc(rows + 1, sizeof(*page->sections));
    page->ratio_plots = calloc(rows + 1, sizeof(*page->ratio_plots));
    if (page->results == NULL || page->sections == NULL || page->ratio_plots == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < rows; i++) {
        struct plx_bench_section *last =
            page->section_count != 0 ? &page->sections[page->section_count - 1] : NULL;
        const json_t *row = plx_bench_html_row(page, i);
        const json_t *before = i != 0 ? plx_bench_html_row(page, i - 1) : NULL;
        if (last != NULL && plx_bench_html_same(row, before, "bench") &&
            plx_bench_html_same(row, before, "case"))
            last->last = i;
        else
            page->sections[page->section_count++] =
                (struct plx_bench_section){.first = i, .last = i, .plot = -1, .curve = -1};
    }
    for (size_t i = 0; i < page->section_count; i++)
        judge_section(page, &page->sections[i]);
    return plx_bench_html_reasons(page);
}

/* --- plots ----------------------------------------------------------------------------------- */

/* The ratios of a benchmark, whose sections begin with number `at`. */
static int plot_ratios(struct plx_bench_page *page, size_t at)
{
    struct plx_bench_bar *bars = calloc(json_array_size(page->results), sizeof(*bars));
    size_t count = 0;
    const json_t *bench = plx_bench_html_row(page, page->sections[at].first);
    for (size_t i = at; bars != NULL && i < page->section_count; i++) {
        const struct plx_bench_section *section = &page->sections[i];
        if (!plx_bench_html_same(bench, plx_bench_html_row(page, section->first), "bench"))
            break;
        for (size_t j = section->first; !section->heat && !section->places && j <= section->last;
             j++) {
            const json_t *row = plx_bench_html_row(page, j);
            bool inverse = strcmp(plx_bench_text(row, "better"), "higher") == 0;
            double mid = plx_bench_html_ratio(row, "mid");
            double low = plx_bench_html_ratio(row, "low");
            double high = plx_bench_html_ratio(row, "high");
            if (!(mid > 0) || plx_bench_html_is_ours(row))
                continue;
            bars[count++] = (struct plx_bench_bar){.name = plx_bench_text(row, "case"),
                                                   .peer = plx_bench_text(row, "subject"),
                                                   .low = inverse ? 1 / high : low,
                                                   .ratio = inverse ? 1 / mid : mid,
                                                   .high = inverse && low > 0 ? 1 / low : high};
        }
    }
    int plot = bars != NULL ? plx_bench_plot_ratios(&page->plots, bars, count) : -1;
    free(bars);
    return plot;
}

/* The section of that case; NULL: there is none. */
static const struct plx_bench_section *find_case(const struct plx_bench_page *page,
                                                 const char *bench, const char *name)
{
    for (size_t i = 0; i < page->section_count; i++) {
        if (is_case(plx_bench_html_row(page, page->sections[i].first), bench, name))
            return &page->sections[i];
    }
    return NULL;
}

static bool is_beside(const json_t *a, const json_t *b)
{
    static const char *const keys[] = {"cpu_a", "mem_node"};
    bool is = plx_bench_html_same(a, b, "subject");
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        is = is && json_equal(json_object_get(a, keys[i]), json_object_get(b, keys[i]));
    return is;
}

/* The bandwidth that the others had beside a row of latency; NAN: it is not known. */
static double bandwidth_of(const struct plx_bench_page *page, const struct plx_bench_section *reads,
                           const json_t *row)
{
    for (size_t i = reads->first; i <= reads->last; i++) {
        if (is_beside(plx_bench_html_row(page, i), row))
            return plx_bench_number(plx_bench_html_row(page, i), "p50");
    }
    return NAN;
}

struct point {
    double x;
    double y;
};

static int by_x(const void *a, const void *b)
{
    const struct point *one = a;
    const struct point *other = b;
    return (one->x > other->x) - (one->x < other->x);
}

/* Finds the points of the node that `like` is of, which are fewer than the section's rows. */
static size_t find_points(const struct plx_bench_page *page,
                          const struct plx_bench_section *section,
                          const struct plx_bench_section *reads, const json_t *like, double *x,
                          double *y)
{
    struct point *points = calloc(section->last - section->first + 1, sizeof(*points));
    size_t count = 0;
    for (size_t i = section->first; points != NULL && i <= section->last; i++) {
        const json_t *row = plx_bench_html_row(page, i);
        struct point point = {bandwidth_of(page, reads, row), plx_bench_number(row, "p50")};
        if (json_equal(json_object_get(row, "cpu_a"), json_object_get(like, "cpu_a")) &&
            isfinite(point.x) && isfinite(point.y))
            points[count++] = point;
    }
    if (count != 0)
        qsort(points, count, sizeof(*points), by_x);
    for (size_t i = 0; i < count; i++) {
        x[i] = points[i].x;
        y[i] = points[i].y;
    }
    free(points);
    return count;
}

/* Latency under load over the bandwidth of the load, a curve for each node. */
static int plot_load(struct plx_bench_page *page, const struct plx_bench_section *section,
                     const struct plx_bench_section *reads)
{
    size_t rows = section->last - section->first + 1;
    struct plx_bench_curve *curves = calloc(rows, sizeof(*curves));
    double *figures = calloc(2 * rows, sizeof(*figures));
    json_t *seen = json_object();
    size_t count = 0;
    size_t used = 0;
    for (size_t i = section->first; curves != NULL && figures != NULL && i <= section->last; i++) {
        const json_t *row = plx_bench_html_row(page, i);
        struct plx_bench_curve *curve = &curves[count];
        snprintf(curve->name, sizeof(curve->name), "node %.0f, cpu %.0f",
                 plx_bench_number(row, "node_a"), plx_bench_number(row, "cpu_a"));
        if (json_object_get(seen, curve->name) != NULL)
            continue;
        json_object_set_new(seen, curve->name, json_true());
        curve->x = figures + used;
        curve->y = figures + rows + used;
        curve->count =
            find_points(page, section, reads, row, figures + used, figures + rows + used);
        used += curve->count;
        count += curve->count != 0;
    }
    int plot = -1;
    if (used != 0)
        plot = plx_bench_plot_curves(&page->plots, curves, count, "GB/s that the others read",
                                     "ns for a load");
    json_decref(seen);
    free(figures);
    free(curves);
    return plot;
}

static void add_plots(struct plx_bench_page *page)
{
    const struct plx_bench_section *reads = find_case(page, "mem", "loaded_read");
    for (size_t i = 0; i < page->section_count; i++) {
        struct plx_bench_section *section = &page->sections[i];
        const json_t *row = plx_bench_html_row(page, section->first);
        bool loaded = is_case(row, "mem", "loaded");
        bool many = section->places && section->last - section->first >= PLACES_PLOTTED;
        if (loaded && reads != NULL)
            section->curve = plot_load(page, section, reads);
        if (!section->heat && !many && strcmp(plx_bench_text(row, "better"), "lower") == 0)
            section->plot = plx_bench_plot_percentiles(&page->plots, page->results, section->first,
                                                       section->last, section->places);
    }
    for (size_t i = 0; i < page->section_count; i++) {
        bool first = i == 0 || !plx_bench_html_same(
                                   plx_bench_html_row(page, page->sections[i].first),
                                   plx_bench_html_row(page, page->sections[i - 1].first), "bench");
        page->ratio_plots[i] = first ? plot_ratios(page, i) : -1;
    }
}

static int put_plot(struct plx_bench_page *page, int plot, const char *caption)
{
    if (plot < 0)
        return 0;
    fputs("<figure><figcaption>", page->out);
    plx_bench_html_put(page->out, caption);
    fputs("</figcaption>\n", page->out);
    int rc = plx_bench_plot_embed(&page->plots, plot, page->out);
    fputs("</figure>\n", page->out);
    return rc;
}

/* --- cases ----------------------------------------------------------------------------------- */

/* What an operation of the row's case is. */
static const char *what_of(const struct plx_bench_page *page, const json_t *row)
{
    size_t index;
    const json_t *entry;
    json_array_foreach(json_object_get(page->document, "cases"), index, entry)
    {
        if (plx_bench_html_same(entry, row, "bench") && plx_bench_html_same(entry, row, "case"))
            return plx_bench_text(entry, "what");
    }
    return "";
}

static int put_section(struct plx_bench_page *page, const struct plx_bench_section *section)
{
    FILE *out = page->out;
    const json_t *row = plx_bench_html_row(page, section->first);
    const char *what = what_of(page, row);
    /* Many columns take the whole width. */
    bool wide = section->heat && section->last - section->first >= WIDE_ROWS;
    fprintf(out, "<section class=\"card%s\"><h3>", wide ? " wide" : "");
    plx_bench_html_put(out, plx_bench_text(row, "case"));
    fputs("</h3><p>", out);
    plx_bench_html_put(out, what);
    fputs(what[0] != '\0' ? ", " : "", out);
    plx_bench_html_put(out, plx_bench_text(row, "unit"));
    fputs("</p>\n", out);
    plx_bench_html_rows(page, section);
    int rc = put_plot(page, section->curve, "Latency over the bandwidth that the others had");
    if (rc == 0)
        rc = put_plot(page, section->plot, "The share of samples that took at most so long");
    fputs("</section>\n", out);
    return rc;
}

/* What stands before the cases of a benchmark. */
static int begin_bench(struct plx_bench_page *page, size_t at)
{
    const json_t *row = plx_bench_html_row(page, page->sections[at].first);
    fputs("<h2 id=\"b-", page->out);
    plx_bench_html_put(page->out, plx_bench_text(row, "bench"));
    fputs("\">", page->out);
    plx_bench_html_put(page->out, plx_bench_text(row, "bench"));
    fputs("</h2>\n<div class=\"grid\">\n", page->out);
    if (strcmp(plx_bench_text(row, "bench"), "jitter") == 0)
        plx_bench_html_gaps(page);
    if (page->ratio_plots[at] < 0)
        return 0;
    fputs("<section class=\"card\"><h3>Beside floors and peers</h3>\n", page->out);
    int rc = put_plot(page, page->ratio_plots[at],
                      "The time of Pollux as a part of the other's, round by round, and its "
                      "interval; left of 1 Pollux is faster");
    fputs("</section>\n", page->out);
    return rc;
}

static int put_cases(struct plx_bench_page *page)
{
    int rc = 0;
    for (size_t i = 0; i < page->section_count && rc == 0; i++) {
        const json_t *row = plx_bench_html_row(page, page->sections[i].first);
        if (i == 0 || !plx_bench_html_same(
                          row, plx_bench_html_row(page, page->sections[i - 1].first), "bench")) {
            fputs(i != 0 ? "</div>\n" : "", page->out);
            rc = begin_bench(page, i);
        }
        if (rc == 0)
            rc = put_section(page, &page->sections[i]);
    }
    if (page->section_count != 0)
        fputs("</div>\n", page->out);
    return rc;
}

int plx_bench_html_check(struct plx_diag *diag)
{
    char *version;
    int rc = plx_bench_gnuplot(NULL, 0, &version, diag);
    free(version);
    return rc;
}

int plx_bench_write_html(const json_t *document, FILE *stream, struct plx_diag *diag)
{
    struct plx_bench_page page = {.document = document, .out = stream};
    int rc = plx_bench_plots_init(&page.plots, diag);
    if (rc == 0 && find_sections(&page) != 0)
        rc = plx_diag_set(diag, -ENOMEM, "--html", "out of memory");
    if (rc == 0) {
        add_plots(&page);
        rc = plx_bench_plots_draw(&page.plots, diag);
    }
    if (rc == 0) {
        plx_bench_html_head(&page);
        rc = put_cases(&page);
        if (rc != 0)
            rc = plx_diag_set(diag, rc, "--html", "a plot of gnuplot's is missing");
        fputs("</main></body></html>\n", stream);
    }
    plx_bench_plots_fini(&page.plots);
    json_decref(page.results);
    json_decref(page.reasons);
    free(page.sections);
    free(page.ratio_plots);
    if (rc == 0 && (fflush(stream) != 0 || ferror(stream) != 0))
        rc = -EIO;
    return rc;
}
