/* SPDX-License-Identifier: MIT */
/* A document as a page: facts, verdicts, and for each case its matrix, or its rows and plot. */
#include "tools/bench/html.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench/document.h"
#include "tools/bench/html_heat.h"
#include "tools/bench/html_style.h"

/* Rows of one case; rows of one benchmark follow each other. */
struct section {
    size_t first;
    size_t last;
    int plot; /* -1: none */
    bool heat;
};

struct page {
    const json_t *document;
    const json_t *results;
    struct section *sections;
    size_t section_count;
    int *ratio_plots; /* at the first section of each benchmark; else -1 */
    struct plx_bench_plots plots;
    FILE *out;
};

static void put(FILE *out, const char *text)
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

static const json_t *row_at(const struct page *page, size_t index)
{
    return json_array_get(page->results, index);
}

static bool same(const json_t *a, const json_t *b, const char *key)
{
    return strcmp(plx_bench_text(a, key), plx_bench_text(b, key)) == 0;
}

/* --- sections and their plots ---------------------------------------------------------------- */

/* Whether two rows of the section are of one subject: then they differ by where they ran. */
static bool is_matrix(const struct page *page, const struct section *section)
{
    const json_t *first = row_at(page, section->first);
    const char *bench = plx_bench_text(first, "bench");
    if (strcmp(bench, "c2c") == 0 || strcmp(bench, "mem") == 0)
        return true;
    for (size_t i = section->first + 1; i <= section->last; i++) {
        if (same(first, row_at(page, i), "subject"))
            return true;
    }
    return false;
}

static int find_sections(struct page *page)
{
    size_t rows = json_array_size(page->results);
    page->sections = calloc(rows + 1, sizeof(*page->sections));
    page->ratio_plots = calloc(rows + 1, sizeof(*page->ratio_plots));
    if (page->sections == NULL || page->ratio_plots == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < rows; i++) {
        struct section *last =
            page->section_count != 0 ? &page->sections[page->section_count - 1] : NULL;
        if (last != NULL && same(row_at(page, i), row_at(page, last->first), "bench") &&
            same(row_at(page, i), row_at(page, last->first), "case"))
            last->last = i;
        else
            page->sections[page->section_count++] = (struct section){i, i, -1, false};
    }
    return 0;
}

static bool is_ours(const json_t *row)
{
    return strncmp(plx_bench_text(row, "subject"), "pollux", 6) == 0;
}

/* The row that others of its section are compared with; NULL: none has figures. */
static const json_t *primary_of(const struct page *page, const struct section *section)
{
    for (size_t i = section->first; i <= section->last && !section->heat; i++) {
        const json_t *row = row_at(page, i);
        if (is_ours(row))
            return plx_bench_number(row, "p50") > 0 ? row : NULL;
    }
    return NULL;
}

static double ratio_of(const json_t *ours, const json_t *row)
{
    double ratio = plx_bench_number(ours, "p50") / plx_bench_number(row, "p50");
    return strcmp(plx_bench_text(row, "better"), "higher") == 0 ? 1 / ratio : ratio;
}

/* The ratios of a benchmark, whose sections begin with number `at`. */
static int plot_ratios(struct page *page, size_t at)
{
    size_t rows = json_array_size(page->results);
    struct plx_bench_bar *ratios = calloc(rows, sizeof(*ratios));
    size_t count = 0;
    const json_t *bench = row_at(page, page->sections[at].first);
    for (size_t i = at; ratios != NULL && i < page->section_count; i++) {
        const struct section *section = &page->sections[i];
        if (!same(bench, row_at(page, section->first), "bench"))
            break;
        const json_t *ours = primary_of(page, section);
        for (size_t j = section->first; ours != NULL && j <= section->last; j++) {
            const json_t *row = row_at(page, j);
            double ratio = ratio_of(ours, row);
            if (row != ours && !is_ours(row) && isfinite(ratio) && ratio > 0)
                ratios[count++] = (struct plx_bench_bar){plx_bench_text(row, "case"),
                                                         plx_bench_text(row, "subject"), ratio};
        }
    }
    int plot = ratios != NULL ? plx_bench_plot_ratios(&page->plots, ratios, count) : -1;
    free(ratios);
    return plot;
}

static void add_plots(struct page *page)
{
    for (size_t i = 0; i < page->section_count; i++) {
        struct section *section = &page->sections[i];
        section->heat = is_matrix(page, section);
        const json_t *row = row_at(page, section->first);
        if (!section->heat && strcmp(plx_bench_text(row, "better"), "lower") == 0)
            section->plot = plx_bench_plot_percentiles(&page->plots, page->results, section->first,
                                                       section->last);
    }
    for (size_t i = 0; i < page->section_count; i++) {
        bool first = i == 0 || !same(row_at(page, page->sections[i].first),
                                     row_at(page, page->sections[i - 1].first), "bench");
        page->ratio_plots[i] = first ? plot_ratios(page, i) : -1;
    }
}

static int put_plot(const struct page *page, int plot, const char *caption)
{
    if (plot < 0)
        return 0;
    fputs("<figure><figcaption>", page->out);
    put(page->out, caption);
    fputs("</figcaption>\n", page->out);
    int rc = plx_bench_plot_embed(&page->plots, plot, page->out);
    fputs("</figure>\n", page->out);
    return rc;
}

/* --- the head of the page -------------------------------------------------------------------- */

static void put_fact(FILE *out, const char *name, const json_t *value)
{
    char number[40];
    const char *text = json_string_value(value);
    if (json_is_integer(value))
        snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(value));
    else if (json_is_real(value))
        snprintf(number, sizeof(number), "%.4g", json_real_value(value));
    else if (json_is_boolean(value))
        snprintf(number, sizeof(number), "%s", json_is_true(value) ? "yes" : "no");
    else if (text == NULL)
        return;
    fputs("<div><dt>", out);
    put(out, name);
    fputs("</dt><dd>", out);
    put(out, text != NULL ? text : number);
    fputs("</dd></div>\n", out);
}

static void put_settings(FILE *out, const json_t *document)
{
    const char *key;
    json_t *setting;
    fputs("<details><summary>Settings in effect, and who gave them</summary><div "
          "class=\"scroll\"><table><tr><th>setting</th><th class=\"text\">value</th><th "
          "class=\"text\">source</th></tr>\n",
          out);
    json_object_foreach((json_t *)(uintptr_t)json_object_get(document, "settings"), key, setting)
    {
        fputs("<tr><td>", out);
        put(out, key);
        fputs("</td><td class=\"text\">", out);
        put(out, plx_bench_text(setting, "value"));
        fputs("</td><td class=\"text\">", out);
        put(out, plx_bench_text(setting, "source"));
        fputs("</td></tr>\n", out);
    }
    fputs("</table></div></details>\n", out);
}

static void put_host(FILE *out, const json_t *document)
{
    static const char *const known[] = {"cpu",         "arch",
                                        "kernel",      "cpus",
                                        "cores",       "clusters",
                                        "hypervisor",  "governor",
                                        "boost",       "smt",
                                        "isolated",    "nohz_full",
                                        "quota_mcpus", "transparent_hugepages"};
    const char *key;
    json_t *value;
    const json_t *host = json_object_get(document, "host");
    fputs("<h2 id=\"host\">Host</h2><div class=\"card\"><dl>\n", out);
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        put_fact(out, known[i], json_object_get(host, known[i]));
    json_object_foreach((json_t *)(uintptr_t)json_object_get(host, "clock"), key, value)
    {
        char name[64];
        snprintf(name, sizeof(name), "clock %.40s", key);
        put_fact(out, name, value);
    }
    put_fact(out, "slices", json_object_get(document, "slices"));
    json_object_foreach((json_t *)(uintptr_t)json_object_get(document, "discarded"), key, value)
    {
        char name[64];
        snprintf(name, sizeof(name), "slices discarded: %.40s", key);
        put_fact(out, name, value);
    }
    fputs("</dl>\n<details><summary>Mitigations</summary><dl>\n", out);
    json_object_foreach((json_t *)(uintptr_t)json_object_get(host, "mitigations"), key, value)
        put_fact(out, key, value);
    fputs("</dl></details>\n", out);
    put_settings(out, document);
    fputs("</div>\n", out);
}

static void put_budget(FILE *out, const json_t *budget)
{
    const char *peer = plx_bench_text(budget, "peer");
    const json_t *met = json_object_get(budget, "met");
    const char *word = json_is_null(met) ? "not measured" : json_is_true(met) ? "met" : "missed";
    fputs("<tr><td>", out);
    put(out, plx_bench_text(budget, "bench"));
    fputc(' ', out);
    put(out, plx_bench_text(budget, "case"));
    fprintf(out, "</td><td class=\"text %s\">%s</td><td class=\"text\">",
            json_is_null(met) ? "" : word, word);
    put(out, plx_bench_text(budget, "subject"));
    fputs(peer[0] != '\0' ? " / " : "", out);
    put(out, peer);
    fprintf(out, "</td><td>%s %.3g%s</td><td>",
            strcmp(plx_bench_text(budget, "at"), "least") == 0 ? "&ge;" : "&le;",
            plx_bench_number(budget, "limit"), peer[0] != '\0' ? "" : " ns");
    double figure = plx_bench_number(budget, "figure");
    if (isfinite(figure))
        fprintf(out, "%.3f", figure);
    fputs("</td></tr>\n", out);
}

static void put_budgets(FILE *out, const json_t *document)
{
    const json_t *budgets = json_object_get(document, "budgets");
    size_t index;
    const json_t *budget;
    if (json_array_size(budgets) == 0)
        return;
    fputs("<h2 id=\"budgets\">Budgets</h2><div class=\"card\"><div class=\"scroll\"><table><tr>"
          "<th>case</th><th class=\"text\">verdict</th><th class=\"text\">p50 of</th>"
          "<th>budget</th><th>measured</th></tr>\n",
          out);
    json_array_foreach(budgets, index, budget) put_budget(out, budget);
    fputs("</table></div></div>\n", out);
}

static void put_top(const struct page *page)
{
    FILE *out = page->out;
    const json_t *document = page->document;
    size_t index;
    const json_t *word;
    fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n<meta "
          "name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
          "<title>pollux bench</title>\n<style>\n",
          out);
    fputs(plx_bench_html_style, out);
    fputs("</style></head><body><main>\n<h1>pollux bench</h1>\n<p>", out);
    put(out, plx_bench_text(json_object_get(document, "host"), "cpu"));
    fputs(", Linux ", out);
    put(out, plx_bench_text(json_object_get(document, "host"), "kernel"));
    fputs(", ", out);
    put(out, plx_bench_text(document, "start"));
    fputs(" to ", out);
    put(out, plx_bench_text(document, "end"));
    fputs("<br><code>", out);
    json_array_foreach(json_object_get(document, "command"), index, word)
    {
        fputs(index != 0 ? " " : "", out);
        put(out, json_is_string(word) ? json_string_value(word) : "");
    }
    fputs("</code></p>\n", out);
    if (json_is_false(json_object_get(document, "complete")))
        fputs("<p class=\"warn\">The run was interrupted: what follows is a part.</p>\n", out);
    fputs("<nav><a href=\"#host\">host</a>", out);
    if (json_array_size(json_object_get(document, "budgets")) != 0)
        fputs(" <a href=\"#budgets\">budgets</a>", out);
    for (size_t i = 0; i < page->section_count; i++) {
        const json_t *row = row_at(page, page->sections[i].first);
        if (i != 0 && same(row, row_at(page, page->sections[i - 1].first), "bench"))
            continue;
        fputs(" <a href=\"#b-", out);
        put(out, plx_bench_text(row, "bench"));
        fputs("\">", out);
        put(out, plx_bench_text(row, "bench"));
        fputs("</a>", out);
    }
    fputs("</nav>\n", out);
}

/* --- cases ----------------------------------------------------------------------------------- */

static const char *member_of(const json_t *array, const json_t *row, const char *key)
{
    size_t index;
    const json_t *entry;
    json_array_foreach(array, index, entry)
    {
        const json_t *subject = json_object_get(entry, "subject");
        if (same(entry, row, "bench") && same(entry, row, "case") &&
            (subject == NULL || same(entry, row, "subject")))
            return plx_bench_text(entry, key);
    }
    return "";
}

static void put_number(FILE *out, double value)
{
    if (!isfinite(value))
        fputs("<td></td>", out);
    else
        fprintf(out,
                value < 9.995   ? "<td>%.2f</td>"
                : value < 99.95 ? "<td>%.1f</td>"
                                : "<td>%.0f</td>",
                value);
}

static void put_row(const struct page *page, const json_t *row, const json_t *ours, bool places)
{
    static const char *const keys[] = {"ci_low", "ci_high", "p90", "p99",
                                       "p999",   "min",     "max", "n"};
    FILE *out = page->out;
    fputs("<tr><td>", out);
    put(out, plx_bench_text(row, "subject"));
    if (places && isfinite(plx_bench_number(row, "cpu_a")))
        fprintf(out, ", cpu %.0f", plx_bench_number(row, "cpu_a"));
    if (places && isfinite(plx_bench_number(row, "cpu_b")))
        fprintf(out, ", %.0f", plx_bench_number(row, "cpu_b"));
    fputs("</td>", out);
    double p50 = plx_bench_number(row, "p50");
    if (!isfinite(p50)) {
        fputs("<td colspan=\"10\" class=\"text why\">", out);
        put(out, member_of(json_object_get(page->document, "null_rows"), row, "reason"));
        fputs("</td></tr>\n", out);
        return;
    }
    put_number(out, p50);
    if (ours != NULL && ours != row)
        fprintf(out, "<td>%.3f</td>", plx_bench_number(ours, "p50") / p50);
    else
        fputs("<td></td>", out);
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        put_number(out, plx_bench_number(row, keys[i]));
    fputs("</tr>\n", out);
}

static void put_rows(const struct page *page, const struct section *section)
{
    const json_t *ours = primary_of(page, section);
    fputs("<div class=\"scroll\"><table><tr><th>subject</th><th>p50</th><th>pollux/it</th>"
          "<th>from</th><th>to</th><th>p90</th><th>p99</th><th>p99.9</th><th>min</th>"
          "<th>max</th><th>samples</th></tr>\n",
          page->out);
    for (size_t i = section->first; i <= section->last; i++)
        put_row(page, row_at(page, i), ours, section->heat);
    fputs("</table></div>\n", page->out);
}

/* A matrix for each subject; where there is none, the rows, which say why. */
static void put_matrices(const struct page *page, const struct section *section)
{
    bool any = false;
    for (size_t i = section->first; i <= section->last; i++) {
        bool known = false;
        for (size_t j = section->first; j < i; j++)
            known = known || same(row_at(page, i), row_at(page, j), "subject");
        if (known)
            continue;
        const char *subject = plx_bench_text(row_at(page, i), "subject");
        char *text = NULL;
        size_t bytes = 0;
        FILE *into = open_memstream(&text, &bytes);
        bool has = into != NULL &&
                   plx_bench_html_heat(page->results, section->first, section->last, subject, into);
        if (into != NULL)
            fclose(into);
        if (has) {
            fputs("<p>", page->out);
            put(page->out, subject);
            fputs("</p>", page->out);
            fputs(text, page->out);
        }
        free(text);
        any = any || has;
    }
    if (!any)
        put_rows(page, section);
}

static int put_section(const struct page *page, const struct section *section)
{
    FILE *out = page->out;
    const json_t *row = row_at(page, section->first);
    fputs("<section class=\"card\"><h3>", out);
    put(out, plx_bench_text(row, "case"));
    fputs("</h3><p>", out);
    put(out, member_of(json_object_get(page->document, "cases"), row, "what"));
    fputs(", ", out);
    put(out, plx_bench_text(row, "unit"));
    fputs("</p>\n", out);
    if (section->heat)
        put_matrices(page, section);
    else
        put_rows(page, section);
    int rc = put_plot(page, section->plot, "The share of samples that took at most so long");
    fputs("</section>\n", out);
    return rc;
}

static int put_cases(const struct page *page)
{
    int rc = 0;
    for (size_t i = 0; i < page->section_count && rc == 0; i++) {
        const json_t *row = row_at(page, page->sections[i].first);
        if (i == 0 || !same(row, row_at(page, page->sections[i - 1].first), "bench")) {
            fputs(i != 0 ? "</div>\n<h2 id=\"b-" : "<h2 id=\"b-", page->out);
            put(page->out, plx_bench_text(row, "bench"));
            fputs("\">", page->out);
            put(page->out, plx_bench_text(row, "bench"));
            fputs("</h2>\n<div class=\"grid\">\n", page->out);
            if (page->ratio_plots[i] >= 0)
                fputs("<section class=\"card\"><h3>Beside floors and peers</h3>\n", page->out);
            rc =
                put_plot(page, page->ratio_plots[i],
                         "The time of Pollux as a part of the other's; left of 1 Pollux is faster");
            if (page->ratio_plots[i] >= 0)
                fputs("</section>\n", page->out);
        }
        if (rc == 0)
            rc = put_section(page, &page->sections[i]);
    }
    if (page->section_count != 0)
        fputs("</div>\n", page->out);
    return rc;
}

int plx_bench_write_html(const json_t *document, FILE *stream, struct plx_diag *diag)
{
    struct page page = {
        .document = document, .results = json_object_get(document, "results"), .out = stream};
    int rc = plx_bench_plots_init(&page.plots, diag);
    if (rc == 0 && find_sections(&page) != 0)
        rc = plx_diag_set(diag, -ENOMEM, "--html", "out of memory");
    if (rc == 0) {
        add_plots(&page);
        rc = page.plots.count != 0 ? plx_bench_plots_draw(&page.plots, diag) : 0;
    }
    if (rc == 0) {
        put_top(&page);
        put_budgets(stream, document);
        put_host(stream, document);
        rc = put_cases(&page);
        if (rc != 0)
            rc = plx_diag_set(diag, rc, "--html", "a plot of gnuplot's is missing");
        fputs("</main></body></html>\n", stream);
    }
    plx_bench_plots_fini(&page.plots);
    free(page.sections);
    free(page.ratio_plots);
    if (rc == 0 && (fflush(stream) != 0 || ferror(stream) != 0))
        rc = -EIO;
    return rc;
}
