/* SPDX-License-Identifier: MIT */
/* The page up to the first case: what was run, what was promised, and the host's facts. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench/html_page.h"
#include "tools/bench/html_style.h"

#define GIB (1024.0 * 1024 * 1024)

static void put(FILE *out, const char *text)
{
    plx_bench_html_put(out, text);
}

/* --- facts ----------------------------------------------------------------------------------- */

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

/* Each member of an object, with a word before its name. */
static void put_facts(FILE *out, const char *before, const json_t *object)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        char name[96];
        snprintf(name, sizeof(name), "%s%.60s", before, key);
        put_fact(out, name, value);
    }
}

static void put_heading(FILE *out, const char *const *names, size_t count, size_t texts)
{
    fputs("<div class=\"scroll\"><table><tr>", out);
    for (size_t i = 0; i < count; i++)
        fprintf(out, i + texts >= count ? "<th class=\"text\">%s</th>" : "<th>%s</th>", names[i]);
    fputs("</tr>\n", out);
}

static void put_text_cell(FILE *out, const char *text)
{
    fputs("<td class=\"text\">", out);
    put(out, text);
    fputs("</td>", out);
}

static void put_settings(FILE *out, const json_t *document)
{
    static const char *const names[] = {"setting", "value", "source"};
    const char *key;
    json_t *setting;
    fputs("<details><summary>Settings in effect, and who gave them</summary>", out);
    put_heading(out, names, 3, 2);
    json_object_foreach((json_t *)(uintptr_t)json_object_get(document, "settings"), key, setting)
    {
        fputs("<tr>", out);
        put_text_cell(out, key);
        put_text_cell(out, plx_bench_text(setting, "value"));
        put_text_cell(out, plx_bench_text(setting, "source"));
        fputs("</tr>\n", out);
    }
    fputs("</table></div></details>\n", out);
}

/* --- the host -------------------------------------------------------------------------------- */

static void put_count(FILE *out, double count)
{
    fprintf(out, isfinite(count) ? "<td>%.0f</td>" : "<td></td>", count);
}

static void put_nodes(FILE *out, const json_t *host)
{
    static const char *const names[] = {"node",       "CPUs",        "memory, GiB", "2 MiB pages",
                                        "2 MiB free", "1 GiB pages", "1 GiB free"};
    static const char *const keys[] = {"pages_2m_total", "pages_2m_free", "pages_1g_total",
                                       "pages_1g_free"};
    const json_t *nodes = json_object_get(host, "nodes");
    size_t index;
    const json_t *node;
    if (json_array_size(nodes) == 0)
        return;
    fputs("<h3>Nodes</h3>\n", out);
    put_heading(out, names, sizeof(names) / sizeof(names[0]), 0);
    json_array_foreach(nodes, index, node)
    {
        fputs("<tr>", out);
        put_count(out, plx_bench_number(node, "node"));
        put_count(out, plx_bench_number(node, "cpus"));
        fprintf(out, "<td>%.1f</td>", plx_bench_number(node, "memory_bytes") / GIB);
        for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
            put_count(out, plx_bench_number(node, keys[i]));
        fputs("</tr>\n", out);
    }
    fputs("</table></div>\n", out);
}

/* What the plan has to say is shown; each of its cores only to those who ask. */
static void put_plan(FILE *out, const json_t *plan)
{
    static const char *const names[] = {"cpu", "node", "memory", "why"};
    const json_t *cpus = json_object_get(plan, "cpus");
    size_t index;
    const json_t *one;
    if (json_array_size(cpus) == 0)
        return;
    fprintf(out, "<details><summary>Plan: %zu CPUs</summary>", json_array_size(cpus));
    put_heading(out, names, 4, 1);
    json_array_foreach(cpus, index, one)
    {
        fputs("<tr>", out);
        put_count(out, plx_bench_number(one, "cpu"));
        put_count(out, plx_bench_number(one, "node"));
        put_count(out, plx_bench_number(one, "mem_node"));
        put_text_cell(out, plx_bench_text(one, "reason"));
        fputs("</tr>\n", out);
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
    const json_t *host = json_object_get(document, "host");
    const json_t *plan = json_object_get(document, "plan");
    fputs("<div><h2 id=\"host\">Host</h2><div class=\"card\"><dl>\n", out);
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        put_fact(out, known[i], json_object_get(host, known[i]));
    put_facts(out, "clock ", json_object_get(host, "clock"));
    put_fact(out, "first CPU of most cases", json_object_get(plan, "cpu_a"));
    put_fact(out, "second CPU of most cases", json_object_get(plan, "cpu_b"));
    put_fact(out, "seed", json_object_get(document, "seed"));
    put_fact(out, "quick", json_object_get(document, "quick"));
    put_fact(out, "slices", json_object_get(document, "slices"));
    put_facts(out, "slices discarded: ", json_object_get(document, "discarded"));
    fputs("</dl>\n", out);
    put_nodes(out, host);
    put_plan(out, plan);
    fputs("<details><summary>Mitigations</summary><dl>\n", out);
    put_facts(out, "", json_object_get(host, "mitigations"));
    fputs("</dl></details>\n", out);
    put_settings(out, document);
    fputs("</div></div>\n", out);
}

/* --- budgets --------------------------------------------------------------------------------- */

static void put_budget(FILE *out, const json_t *budget)
{
    const char *peer = plx_bench_text(budget, "peer");
    const json_t *met = json_object_get(budget, "met");
    const char *word = json_is_null(met) ? "not measured" : json_is_true(met) ? "met" : "missed";
    fputs("<tr><td>", out);
    put(out, plx_bench_text(budget, "bench"));
    fputc(' ', out);
    put(out, plx_bench_text(budget, "case"));
    fprintf(out, "</td><td class=\"text %s\">%s", json_is_null(met) ? "why" : word, word);
    const char *reason = plx_bench_text(budget, "reason");
    fputs(reason[0] != '\0' ? ": " : "", out);
    put(out, reason);
    fputs(json_is_true(json_object_get(budget, "doubtful")) ? ", in doubt" : "", out);
    fputs("</td><td class=\"text\">", out);
    put(out, plx_bench_text(budget, "subject"));
    fputs(peer[0] != '\0' ? " / " : "", out);
    put(out, peer);
    const char *unit = peer[0] != '\0' ? "" : " ns";
    double limit = plx_bench_number(budget, "limit");
    fprintf(out, limit < 999.5 ? "</td><td>%s %.3g%s</td><td>" : "</td><td>%s %.0f%s</td><td>",
            strcmp(plx_bench_text(budget, "at"), "least") == 0 ? "&ge;" : "&le;", limit, unit);
    double figure = plx_bench_number(budget, "figure");
    if (isfinite(figure))
        fprintf(out, "%.*f%s", peer[0] != '\0' ? 3 : 1, figure, unit);
    fputs("</td></tr>\n", out);
}

static void put_budgets(FILE *out, const json_t *document)
{
    const json_t *budgets = json_object_get(document, "budgets");
    size_t index;
    const json_t *budget;
    size_t met = 0;
    size_t missed = 0;
    if (json_array_size(budgets) == 0)
        return;
    json_array_foreach(budgets, index, budget)
    {
        met += json_is_true(json_object_get(budget, "met"));
        missed += json_is_false(json_object_get(budget, "met"));
    }
    fprintf(out,
            "<div><h2 id=\"budgets\">Budgets</h2><div class=\"card\"><p>%zu met, <span "
            "class=\"%s\">%zu missed</span></p><div class=\"scroll\"><table><tr>"
            "<th>case</th><th class=\"text\">verdict</th><th class=\"text\">p50 of</th>"
            "<th>budget</th><th>measured</th></tr>\n",
            met, missed != 0 ? "missed" : "", missed);
    json_array_foreach(budgets, index, budget) put_budget(out, budget);
    fputs("</table></div></div></div>\n", out);
}

/* --- the top --------------------------------------------------------------------------------- */

/* What leaves the figures, or a part of them, in doubt. */
static void put_warnings(FILE *out, const json_t *document)
{
    static const struct {
        const char *key;
        const char *word;
        const char *meaning;
    } doubts[] = {
        {"rows_busy", "busy", "other programs ran in all slices"},
        {"rows_drifted", "drifted", "the speed of the core moved meanwhile"},
        {"rows_unsure", "unsure", "the median is less certain than was asked for"},
    };
    const json_t *plan = json_object_get(document, "plan");
    const char *one = plx_bench_text(plan, "one_core");
    size_t index;
    const json_t *note;
    if (json_is_false(json_object_get(document, "complete")))
        fputs("<p class=\"warn\">The run was interrupted: what follows is a part.</p>\n", out);
    if (json_is_true(json_object_get(document, "quick")))
        fputs("<p class=\"note\">A quick run: its intervals are wide.</p>\n", out);
    if (one[0] != '\0') {
        fputs("<p class=\"note\">", out);
        put(out, one);
        fputs(": cases that use two are left without figures.</p>\n", out);
    }
    json_array_foreach(json_object_get(plan, "notes"), index, note)
    {
        fputs("<p class=\"note\">", out);
        put(out, json_is_string(note) ? json_string_value(note) : "");
        fputs("</p>\n", out);
    }
    for (size_t i = 0; i < sizeof(doubts) / sizeof(doubts[0]); i++) {
        double count = plx_bench_number(document, doubts[i].key);
        if (count > 0)
            fprintf(out, "<p class=\"note\"><b class=\"mark\">%s</b> %.0f row%s: %s.</p>\n",
                    doubts[i].word, count, count > 1 ? "s" : "", doubts[i].meaning);
    }
}

static void put_links(const struct plx_bench_page *page)
{
    FILE *out = page->out;
    fputs("<nav><a href=\"#host\">host</a>", out);
    if (json_array_size(json_object_get(page->document, "budgets")) != 0)
        fputs(" <a href=\"#budgets\">budgets</a>", out);
    for (size_t i = 0; i < page->section_count; i++) {
        const json_t *row = plx_bench_html_row(page, page->sections[i].first);
        if (i != 0 && plx_bench_html_same(
                          row, plx_bench_html_row(page, page->sections[i - 1].first), "bench"))
            continue;
        fputs(" <a href=\"#b-", out);
        put(out, plx_bench_text(row, "bench"));
        fputs("\">", out);
        put(out, plx_bench_text(row, "bench"));
        fputs("</a>", out);
    }
    fputs("</nav>\n", out);
}

void plx_bench_html_head(const struct plx_bench_page *page)
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
    put_warnings(out, document);
    put_links(page);
    fputs("<div class=\"grid\">\n", out);
    put_budgets(out, document);
    put_host(out, document);
    fputs("</div>\n", out);
}
