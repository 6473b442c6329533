/* SPDX-License-Identifier: MIT */
/* Rows on the page: tables, matrices, and what is to be said of single rows. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench/html_heat.h"
#include "tools/bench/html_page.h"

/* A table with more rows scrolls in a frame. */
#define TALL_ROWS 24u
/* So many places are named where the same is to be said of more. */
#define NAMED_PLACES 16u
#define KEY_BYTES    640

static void put(FILE *out, const char *text)
{
    plx_bench_html_put(out, text);
}

bool plx_bench_html_is_ours(const json_t *row)
{
    return strncmp(plx_bench_text(row, "subject"), "pollux", 6) == 0;
}

double plx_bench_html_ratio(const json_t *row, const char *key)
{
    return plx_bench_number(json_object_get(row, "ratio"), key);
}

static bool has_figures(const json_t *row)
{
    return isfinite(plx_bench_number(row, "p50"));
}

/* --- reasons --------------------------------------------------------------------------------- */

/* What a row is of, and with `places` where it ran. */
static const char *key_of(const json_t *row, bool places, char *key)
{
    static const char *const names[] = {"cpu_a", "cpu_b", "node_a", "node_b", "mem_node"};
    int used = snprintf(key, KEY_BYTES, "%.150s\n%.150s\n%.150s", plx_bench_text(row, "bench"),
                        plx_bench_text(row, "case"), plx_bench_text(row, "subject"));
    for (size_t i = 0; places && i < sizeof(names) / sizeof(names[0]); i++)
        used += snprintf(key + used, (size_t)(KEY_BYTES - used), "\n%.0f",
                         plx_bench_number(row, names[i]));
    return key;
}

int plx_bench_html_reasons(struct plx_bench_page *page)
{
    char key[KEY_BYTES];
    size_t index;
    json_t *note;
    page->reasons = json_object();
    if (page->reasons == NULL)
        return -ENOMEM;
    json_array_foreach(json_object_get(page->document, "null_rows"), index, note)
    {
        bool places = json_object_get(note, "cpu_a") != NULL;
        json_object_set_nocheck(page->reasons, key_of(note, places, key),
                                json_object_get(note, "reason"));
    }
    return 0;
}

static const char *reason_of(const struct plx_bench_page *page, const json_t *row)
{
    char key[KEY_BYTES];
    const char *reason = plx_bench_text(page->reasons, key_of(row, true, key));
    return reason[0] != '\0' ? reason : plx_bench_text(page->reasons, key_of(row, false, key));
}

/* --- doubts ---------------------------------------------------------------------------------- */

static const struct {
    const char *key;
    const char *meaning;
} doubts[] = {
    {"busy", "other programs ran in all slices"},
    {"drifted", "the speed of the core moved meanwhile"},
    {"unsure", "the median is less certain than was asked for"},
};

#define DOUBT_COUNT (sizeof(doubts) / sizeof(doubts[0]))

static void put_marks(FILE *out, const json_t *row)
{
    for (size_t i = 0; i < DOUBT_COUNT; i++) {
        if (json_is_true(json_object_get(row, doubts[i].key)))
            fprintf(out, " <b class=\"mark\" title=\"%s\">%s</b>", doubts[i].meaning,
                    doubts[i].key);
    }
}

/* --- tables ---------------------------------------------------------------------------------- */

/* So long a time is shown in a longer unit, and so great a number with a letter for thousands. */
#define LONG_NS 99999.5

/* A number of at most five digits. */
static void put_number(FILE *out, double value, const char *unit)
{
    static const char *const times[] = {"", " us", " ms", " s"};
    static const char *const thousands[] = {"", "k", "M", "G"};
    bool is_time = strcmp(unit, "ns") == 0;
    size_t step = 0;
    if (!isfinite(value)) {
        fputs("<td></td>", out);
        return;
    }
    for (bool is_long = value >= LONG_NS; is_long && value >= 999.5 && step + 1 < 4; step++)
        value /= 1000;
    fprintf(out, "<td>%.*f%s</td>",
            value < 9.995   ? 2
            : value < 99.95 ? 1
                            : 0,
            value, is_time ? times[step] : thousands[step]);
}

static void put_samples(FILE *out, double count)
{
    if (count < LONG_NS)
        fprintf(out, "<td>%.0f</td>", count);
    else
        put_number(out, count, "");
}

/* How far a figure may be off, as half its interval. */
static void put_interval(FILE *out, double low, double mid, double high)
{
    double percent = 50 * (high - low) / mid;
    if (!isfinite(low) || !isfinite(high) || !(mid > 0)) {
        fputs("<td></td>", out);
        return;
    }
    fprintf(out, "<td class=\"soft\" title=\"%.5g to %.5g\">", low, high);
    if (percent > 999)
        fputs("&gt;999&#8239;%</td>", out);
    else
        fprintf(out, "&plusmn;%.*f&#8239;%%</td>", percent < 9.95 ? 1 : 0, percent);
}

static void put_place(FILE *out, const json_t *row)
{
    double a = plx_bench_number(row, "cpu_a");
    double b = plx_bench_number(row, "cpu_b");
    double node = plx_bench_number(row, "mem_node");
    if (isfinite(a))
        fprintf(out, ", cpu %.0f", a);
    if (isfinite(b))
        fprintf(out, " and %.0f", b);
    if (isfinite(node) &&
        !json_equal(json_object_get(row, "node_a"), json_object_get(row, "mem_node")))
        fprintf(out, ", memory %.0f", node);
}

static void put_row(const struct plx_bench_page *page, const json_t *row, bool places, bool ratios)
{
    static const char *const keys[] = {"p90", "p99", "p999", "min", "max"};
    FILE *out = page->out;
    fputs("<tr><td>", out);
    put(out, plx_bench_text(row, "subject"));
    if (places)
        put_place(out, row);
    put_marks(out, row);
    fputs("</td>", out);
    double p50 = plx_bench_number(row, "p50");
    if (!isfinite(p50)) {
        fprintf(out, "<td colspan=\"%d\" class=\"text why\">", ratios ? 10 : 8);
        put(out, reason_of(page, row));
        fputs("</td></tr>\n", out);
        return;
    }
    const char *unit = plx_bench_text(row, "unit");
    put_number(out, p50, unit);
    put_interval(out, plx_bench_number(row, "ci_low"), p50, plx_bench_number(row, "ci_high"));
    if (ratios) {
        double ratio = plx_bench_html_ratio(row, "mid");
        fprintf(out, isfinite(ratio) ? "<td>%.3f</td>" : "<td></td>", ratio);
        put_interval(out, plx_bench_html_ratio(row, "low"), ratio,
                     plx_bench_html_ratio(row, "high"));
    }
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        put_number(out, plx_bench_number(row, keys[i]), unit);
    put_samples(out, plx_bench_number(row, "n"));
    fputs("</tr>\n", out);
}

/* Whether a row is left to the table of the section, beside its matrices. */
static bool is_left(const json_t *row, const json_t *drawn)
{
    return json_object_get(drawn, plx_bench_text(row, "subject")) == NULL;
}

/* The rows of subjects that are not drawn otherwise. */
static void put_table(const struct plx_bench_page *page, const struct plx_bench_section *section,
                      const json_t *drawn)
{
    FILE *out = page->out;
    size_t count = 0;
    bool ratios = false;
    for (size_t i = section->first; i <= section->last; i++) {
        const json_t *row = plx_bench_html_row(page, i);
        count += is_left(row, drawn);
        ratios = ratios || (is_left(row, drawn) && isfinite(plx_bench_html_ratio(row, "mid")));
    }
    if (count == 0)
        return;
    fprintf(out, "<div class=\"scroll%s\"><table><tr><th>subject</th><th>p50</th><th></th>",
            count > TALL_ROWS ? " tall" : "");
    if (ratios)
        fputs("<th>pollux/it</th><th></th>", out);
    fputs("<th>p90</th><th>p99</th><th>p99.9</th><th>min</th><th>max</th><th>samples</th></tr>\n",
          out);
    for (size_t i = section->first; i <= section->last; i++) {
        const json_t *row = plx_bench_html_row(page, i);
        if (is_left(row, drawn))
            put_row(page, row, section->heat || section->places, ratios);
    }
    fputs("</table></div>\n", out);
}

/* --- matrices -------------------------------------------------------------------------------- */

/* Puts what was drawn of a subject, if there is something to draw. */
static bool put_matrix(const struct plx_bench_page *page, const struct plx_bench_section *section,
                       const char *subject)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *into = open_memstream(&text, &bytes);
    bool has = into != NULL &&
               plx_bench_html_heat(page->results, section->first, section->last, subject, into);
    if (into != NULL)
        has = fclose(into) == 0 && has;
    if (has) {
        fputs("<h4>", page->out);
        put(page->out, subject);
        fputs("</h4>", page->out);
        fputs(text, page->out);
    }
    free(text);
    return has;
}

/* A row's place among those of `what`, which is said of all of them. */
static void add_note(json_t *notes, const json_t *row, const char *what)
{
    char place[64];
    char key[KEY_BYTES];
    snprintf(key, sizeof(key), "%.150s: %.300s", plx_bench_text(row, "subject"), what);
    json_t *places = json_object_get(notes, key);
    if (places == NULL) {
        places = json_array();
        /* A text that was cut in the middle of a character is no UTF-8, which is checked else. */
        if (json_object_set_new_nocheck(notes, key, places) != 0)
            return;
    }
    double b = plx_bench_number(row, "cpu_b");
    double node = plx_bench_number(row, "mem_node");
    int used = snprintf(place, sizeof(place), "cpu %.0f", plx_bench_number(row, "cpu_a"));
    if (isfinite(b))
        used = snprintf(place, sizeof(place), "%.0f\xe2\x80\x91%.0f",
                        plx_bench_number(row, "cpu_a"), b);
    bool one_node =
        isfinite(b) && json_equal(json_object_get(row, "node_a"), json_object_get(row, "node_b"));
    if (isfinite(node) && !one_node)
        snprintf(place + used, sizeof(place) - (size_t)used, " (memory %.0f)", node);
    json_array_append_new(places, json_string(place));
}

/* What a matrix does not tell of its rows: why there are no figures, and which are in doubt. */
static void put_notes(const struct plx_bench_page *page, const struct plx_bench_section *section,
                      const json_t *drawn)
{
    FILE *out = page->out;
    json_t *notes = json_object();
    const char *what;
    json_t *places;
    for (size_t i = section->first; i <= section->last; i++) {
        const json_t *row = plx_bench_html_row(page, i);
        if (is_left(row, drawn))
            continue;
        if (!has_figures(row))
            add_note(notes, row, reason_of(page, row));
        for (size_t j = 0; has_figures(row) && j < DOUBT_COUNT; j++) {
            if (json_is_true(json_object_get(row, doubts[j].key)))
                add_note(notes, row, doubts[j].meaning);
        }
    }
    if (json_object_size(notes) != 0)
        fputs("<ul class=\"notes\">\n", out);
    json_object_foreach(notes, what, places)
    {
        size_t index;
        const json_t *place;
        fputs("<li>", out);
        put(out, what);
        json_array_foreach(places, index, place)
        {
            if (index < NAMED_PLACES)
                fprintf(out, "%s%s", index != 0 ? ", " : " <span class=\"soft\">&mdash; ",
                        json_string_value(place));
        }
        if (index > NAMED_PLACES)
            fprintf(out, " and %zu more", index - NAMED_PLACES);
        fputs("</span></li>\n", out);
    }
    if (json_object_size(notes) != 0)
        fputs("</ul>\n", out);
    json_decref(notes);
}

void plx_bench_html_rows(const struct plx_bench_page *page, const struct plx_bench_section *section)
{
    json_t *tried = json_object();
    json_t *drawn = json_object(); /* subjects with a matrix */
    for (size_t i = section->first; section->heat && i <= section->last; i++) {
        const char *subject = plx_bench_text(plx_bench_html_row(page, i), "subject");
        if (json_object_get(tried, subject) != NULL)
            continue;
        json_object_set_new(tried, subject, json_true());
        if (put_matrix(page, section, subject))
            json_object_set_new(drawn, subject, json_true());
    }
    if (json_object_size(drawn) != 0)
        put_notes(page, section, drawn);
    put_table(page, section, drawn);
    json_decref(tried);
    json_decref(drawn);
}

/* --- jitter ---------------------------------------------------------------------------------- */

void plx_bench_html_gaps(const struct plx_bench_page *page)
{
    FILE *out = page->out;
    const json_t *jitter = json_object_get(page->document, "jitter");
    const json_t *worst = json_object_get(jitter, "worst");
    size_t index;
    const json_t *gap;
    if (json_array_size(worst) == 0)
        return;
    fprintf(out,
            "<section class=\"card\"><h3>The longest gaps</h3><p>of those from %.4g ns on, and "
            "what was counted on that core since the one before</p>\n"
            "<div class=\"scroll\"><table><tr><th>cpu</th><th class=\"text\">subject</th>"
            "<th>us</th><th>at s</th><th class=\"text\">counted</th></tr>\n",
            plx_bench_number(jitter, "threshold_ns"));
    json_array_foreach(worst, index, gap)
    {
        fprintf(out, "<tr><td>%.0f</td><td class=\"text\">", plx_bench_number(gap, "cpu"));
        put(out, plx_bench_text(gap, "subject"));
        fprintf(out, "</td><td>%.1f</td><td>%.6f</td><td class=\"text why\">",
                plx_bench_number(gap, "ns") / 1e3, plx_bench_number(gap, "at_ns") / 1e9);
        put(out, plx_bench_text(gap, "what"));
        fputs("</td></tr>\n", out);
    }
    fputs("</table></div></section>\n", out);
}
