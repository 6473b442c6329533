/* SPDX-License-Identifier: MIT */
/* The page of pollux bench, of results made up: what it says, how it is drawn and laid out. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "test/tools/bench_machine.h"
#include "test/tools/bench_rows.h"
#include "test/tools/run_pollux.h"
#include "tools/bench/html.h"
#include "tools/bench/html_gnuplot.h"

static struct plx_run run;
static char folder[64];
static char *given_path;

static int make_folder(void **state)
{
    (void)state;
    const char *path = getenv("PATH");
    given_path = strdup(path != NULL ? path : "/usr/bin");
    snprintf(folder, sizeof(folder), "/tmp/pollux-html-XXXXXX");
    return given_path != NULL && mkdtemp(folder) != NULL ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    const char *const words[] = {"rm", "-r", folder, NULL};
    setenv("PATH", given_path, 1);
    free(given_path);
    plx_run_begin(&run, words, NULL);
    plx_run_end(&run);
    return run.status;
}

/* Undoes what a test changed. */
static int restore(void **state)
{
    (void)state;
    setenv("PATH", given_path, 1);
    plx_bench_gnuplot_ms = 60000;
    return 0;
}

static const char *in_folder(const char *name)
{
    static char path[160];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static void write_file(const char *name, const char *text, mode_t mode)
{
    FILE *file = fopen(in_folder(name), "we");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(in_folder(name), mode), 0);
}

static bool has_program(const char *name, const char *package)
{
    const char *const words[] = {name, "--version", NULL};
    plx_run_begin(&run, words, NULL);
    plx_run_end(&run);
    if (run.status == 0)
        return true;
    print_message("skipped: %s is not installed (package %s)\n", name, package);
    return false;
}

/* The page of a document, to be freed; NULL: rc says why. */
static char *page_of(json_t *document, int *rc, struct plx_diag *diag)
{
    char *page = NULL;
    size_t bytes = 0;
    FILE *stream = open_memstream(&page, &bytes);
    assert_non_null(stream);
    *rc = plx_bench_write_html(document, stream, diag);
    fclose(stream);
    json_decref(document);
    if (*rc != 0)
        assert_int_equal(bytes, 0);
    return page;
}

static char *good_page(json_t *document)
{
    struct plx_diag diag = {0};
    int rc;
    char *page = page_of(document, &rc, &diag);
    if (rc != 0)
        fail_msg("%d: %s", rc, diag.text);
    return page;
}

static size_t count_of(const char *text, const char *what)
{
    size_t count = 0;
    for (; (text = strstr(text, what)) != NULL; text += strlen(what))
        count++;
    return count;
}

/* The section of a case, ended behind it; the page is changed. */
static char *section_of(char *page, const char *name)
{
    char heading[80];
    snprintf(heading, sizeof(heading), "<h3>%s</h3>", name);
    char *at = strstr(page, heading);
    assert_non_null(at);
    char *end = strstr(at, "</section>");
    assert_non_null(end);
    *end = '\0';
    return at;
}

/* --- what it says ---------------------------------------------------------------------------- */

static void pairs_on_nodes_have_a_matrix_and_its_gaps_reasons(void **state)
{
    (void)state;
    if (!has_program("gnuplot", "gnuplot-nox"))
        skip();
    char *page = good_page(plx_machine_document());
    char *text = section_of(page, "rtt_line");
    assert_int_equal(count_of(text, "<table class=\"heat many\">"), 1);
    assert_int_equal(count_of(text, "<th scope=\"col\" colspan=\"1\">"), PLX_MACHINE_CORES);
    assert_non_null(strstr(text, "memory near the one that names the row"));
    assert_non_null(strstr(text, "<li>raw: all 12 slices were discarded"));
    assert_non_null(strstr(text, "0\xe2\x80\x91"
                                 "1, 0\xe2\x80\x91"
                                 "2, 0\xe2\x80\x91"
                                 "3</span>"));
    assert_non_null(strstr(text, "<li>raw: other programs ran in all slices"));
    assert_null(strstr(text, "<th>p50</th>"));
    free(page);
}

static void very_many_cores_share_headings_and_have_no_figures(void **state)
{
    (void)state;
    enum { CORES = 80 };
    json_t *document = plx_rows_document();
    for (int a = 0; a < CORES; a++) {
        for (int b = a + 1; b < CORES; b++) {
            json_t *row = plx_rows_add(document, "rtt", "raw", 100 + a, 0, "lower", 1);
            json_object_set_new(row, "bench", json_string("c2c"));
            plx_rows_place(row, a, b);
        }
    }
    char *page = good_page(document);
    assert_int_equal(count_of(page, "<table class=\"heat many dots\">"), 1);
    assert_int_equal(count_of(page, "<th scope=\"col\" colspan=\"16\">"), CORES / 16);
    assert_int_equal(count_of(page, "<th scope=\"row\" rowspan=\"16\">"), CORES / 16);
    assert_int_equal(count_of(page, "title=\"3, 70: 103\"></td>"), 1);
    assert_int_equal(count_of(page, "title=\"70, 3: 103\"></td>"), 1);
    free(page);
}

static void nodes_have_a_matrix_and_other_subjects_a_line(void **state)
{
    (void)state;
    if (!has_program("gnuplot", "gnuplot-nox"))
        skip();
    char *page = good_page(plx_machine_document());
    char *text = section_of(page, "chase_1G");
    assert_int_equal(count_of(text, "<table class=\"heat\">"), 1);
    assert_non_null(strstr(text, "&lt;write&gt; to /sys &amp; mount &quot;hugetlbfs&quot;"));
    assert_non_null(strstr(text, "cpu 0 (memory 1)"));
    assert_non_null(strstr(text, "<td>spin, cpu 0</td>"));
    free(page);
}

static void load_is_a_curve_for_each_node(void **state)
{
    (void)state;
    if (!has_program("gnuplot", "gnuplot-nox"))
        skip();
    char *page = good_page(plx_machine_document());
    /* Its rows were measured node after node. */
    assert_int_equal(count_of(page, "<h3>loaded</h3>"), 1);
    assert_int_equal(count_of(page, "<h3>loaded_read</h3>"), 1);
    char *text = section_of(page, "loaded");
    assert_int_equal(count_of(text, "class=\"heat"), 0);
    assert_int_equal(count_of(text, "<td>raw/no_pause, cpu "), PLX_MACHINE_NODES);
    assert_int_equal(count_of(text, "<svg "), 1);
    assert_non_null(strstr(text, "GB/s that the others read"));
    assert_non_null(strstr(text, "node 0, cpu 0"));
    assert_non_null(strstr(text, "node 1, cpu 32"));
    free(page);
}

static void ratios_are_those_of_the_rows_not_of_medians(void **state)
{
    (void)state;
    if (!has_program("gnuplot", "gnuplot-nox"))
        skip();
    char *page = good_page(plx_machine_document());
    char *text = section_of(page, "rtt_8B");
    const char *row = strstr(text, "<td>raw</td>");
    assert_non_null(row);
    const char *end = strstr(row, "</tr>");
    const char *ratio = strstr(row, "<td>1.060</td>");
    assert_true(ratio != NULL && ratio < end);
    /* That of the medians, 80 and 100. */
    assert_null(strstr(text, "0.800"));
    free(page);
}

static void row_without_ratio_has_none(void **state)
{
    (void)state;
    if (!has_program("gnuplot", "gnuplot-nox"))
        skip();
    json_t *document = plx_rows_document();
    plx_rows_add(document, "one", "pollux", 80, 6, "lower", 1);
    plx_rows_add(document, "one", "raw", 100, 6, "lower", 1);
    char *page = good_page(document);
    assert_null(strstr(page, "pollux/it"));
    assert_null(strstr(page, "0.800"));
    assert_null(strstr(page, "Beside floors and peers"));
    free(page);
}

static void rows_in_doubt_say_so(void **state)
{
    (void)state;
    if (!has_program("gnuplot", "gnuplot-nox"))
        skip();
    char *page = good_page(plx_machine_document());
    assert_non_null(strstr(page, "<b class=\"mark\">busy</b> 63 rows: other programs"));
    assert_non_null(strstr(page, "<b class=\"mark\">drifted</b> 1 row: the speed"));
    char *text = section_of(page, "rtt_8B");
    assert_int_equal(count_of(text, ">drifted</b></td>"), 1);
    assert_int_equal(count_of(text, ">unsure</b></td>"), 1);
    assert_int_equal(count_of(text, ">busy</b></td>"), 0);
    const char *row = strstr(text, "<td>ck ");
    assert_non_null(row);
    assert_int_equal(strncmp(row, "<td>ck <b class=\"mark\"", 22), 0);
    free(page);
}

static void every_subject_is_in_the_plot(void **state)
{
    (void)state;
    if (!has_program("gnuplot", "gnuplot-nox"))
        skip();
    char *page = good_page(plx_machine_document());
    char *text = section_of(page, "rtt_8B");
    const char *plot = strstr(text, "<svg ");
    assert_non_null(plot);
    assert_non_null(strstr(plot, "wfcqueue"));
    assert_non_null(strstr(plot, "ninth"));
    assert_non_null(strstr(plot, "tenth"));
    assert_non_null(strstr(plot, "a subject of --with"));
    free(page);
}

static void run_and_host_are_described(void **state)
{
    (void)state;
    if (!has_program("gnuplot", "gnuplot-nox"))
        skip();
    char *page = good_page(plx_machine_document());
    assert_non_null(strstr(page, "<dt>seed</dt><dd>20261</dd>"));
    assert_non_null(strstr(page, "<dt>quick</dt><dd>yes</dd>"));
    assert_non_null(strstr(page, "of 96 CPUs the 64 isolated ones are measured"));
    assert_non_null(strstr(page, "<summary>Plan: 64 CPUs</summary>"));
    assert_non_null(strstr(page, "<td>256.0</td><td>4097</td><td>4000</td><td>4</td><td>1</td>"));
    assert_non_null(strstr(page, "2000 ns</td><td>2582.6 ns</td>"));
    char *text = section_of(page, "The longest gaps");
    assert_int_equal(count_of(text, "LOC +18, RES +1, switches +1"), 10);
    assert_non_null(strstr(text, "<td>6600.0</td><td>940.670629</td>"));
    free(page);
}

static void add_budget(json_t *document, const char *name, json_t *met, bool doubtful,
                       const char *reason)
{
    json_array_append_new(json_object_get(document, "budgets"),
                          json_pack("{s:s,s:s,s:s,s:n,s:f,s:s,s:o,s:o,s:b,s:s?}", "bench", "made",
                                    "case", name, "subject", "pollux", "peer", "limit", 100.0, "at",
                                    "most", "figure", reason != NULL ? json_null() : json_real(90),
                                    "met", met, "doubtful", doubtful, "reason", reason));
}

static void budgets_have_their_doubts_and_reasons(void **state)
{
    (void)state;
    json_t *document = plx_rows_document();
    plx_rows_add(document, "one", "pollux", 100, 0, "lower", 1);
    add_budget(document, "sure", json_true(), false, NULL);
    add_budget(document, "kept", json_true(), true, NULL);
    add_budget(document, "broken", json_false(), true, NULL);
    add_budget(document, "none", json_null(), false, "<it> failed");
    char *page = good_page(document);
    assert_non_null(strstr(page, "made sure</td><td class=\"text met\">met</td>"));
    assert_non_null(strstr(page, "made kept</td><td class=\"text met\">met, in doubt</td>"));
    assert_non_null(
        strstr(page, "made broken</td><td class=\"text missed\">missed, in doubt</td>"));
    assert_non_null(strstr(page, "made none</td><td class=\"text why\">not measured: "
                                 "&lt;it&gt; failed</td>"));
    free(page);
}

static void reasons_are_those_of_the_rows_place(void **state)
{
    (void)state;
    if (!has_program("gnuplot", "gnuplot-nox"))
        skip();
    static const char *const reasons[] = {"first reason", "second reason"};
    json_t *document = plx_rows_document();
    for (int i = 0; i < 2; i++) {
        json_t *row = plx_rows_add(document, "one", "raw", 100, 6, "lower", 1);
        plx_rows_place(row, i, 2);
        json_object_set_new(row, "p50", json_null());
        json_array_append_new(json_object_get(document, "null_rows"),
                              json_pack("{s:s,s:s,s:s,s:s,s:i,s:i,s:i,s:n,s:n}", "bench", "made",
                                        "case", "one", "subject", "raw", "reason", reasons[i],
                                        "cpu_a", i, "cpu_b", 2, "node_a", 0, "node_b", "mem_node"));
    }
    char *page = good_page(document);
    assert_non_null(strstr(page, "<td>raw, cpu 0 and 2</td><td colspan=\"8\" class=\"text why\">"
                                 "first reason</td>"));
    assert_non_null(strstr(page, "<td>raw, cpu 1 and 2</td><td colspan=\"8\" class=\"text why\">"
                                 "second reason</td>"));
    free(page);
}

/* --- drawing --------------------------------------------------------------------------------- */

/* The page of a row of so many equal samples, which leave the last step of a distribution alone. */
static char *page_of_samples(int count)
{
    json_t *document = plx_rows_document();
    json_t *row = plx_rows_add(document, "copy", "pollux", 5e8, 1, "lower", 1);
    json_object_set_new(row, "n", json_integer(count));
    json_object_set_new(row, "min", json_real(5e8));
    json_object_set_new(row, "max", json_real(5e8));
    json_object_set_new(row, "percentiles", json_pack("[[f,f]]", 100.0, 5e8));
    return good_page(document);
}

static void samples_that_are_all_equal_are_drawn(void **state)
{
    (void)state;
    if (!has_program("gnuplot", "gnuplot-nox"))
        skip();
    char *page = page_of_samples(2);
    assert_int_equal(count_of(page, "<svg "), 1);
    assert_non_null(strstr(page, ">500 ms</text>"));
    free(page);
}

static void one_sample_has_no_plot(void **state)
{
    (void)state;
    char *page = page_of_samples(1);
    assert_int_equal(count_of(page, "<svg "), 0);
    assert_non_null(strstr(page, "<td>500 ms</td>"));
    free(page);
}

static void rows_without_anything_to_draw_have_no_plot(void **state)
{
    (void)state;
    json_t *document = plx_rows_document();
    json_t *row = plx_rows_add(document, "none", "pollux", 1, 1, "lower", 1);
    static const char *const figures[] = {"min", "p50", "p90", "p99", "p999", "p9999", "max"};
    for (size_t i = 0; i < sizeof(figures) / sizeof(figures[0]); i++)
        json_object_set_new(row, figures[i], json_real(0));
    char *page = good_page(document);
    assert_int_equal(count_of(page, "<svg "), 0);
    free(page);
}

static void gnuplot_that_is_not_there_is_named_with_its_package(void **state)
{
    (void)state;
    struct plx_diag diag = {0};
    setenv("PATH", "/nonexistent", 1);
    assert_int_equal(plx_bench_html_check(&diag), -ENOENT);
    assert_non_null(strstr(diag.text, "gnuplot-nox"));
}

static void gnuplot_that_fails_is_told_with_its_reason(void **state)
{
    (void)state;
    struct plx_diag diag = {0};
    int rc;
    write_file("gnuplot", "#!/bin/sh\necho '\"script\" line 7: no such thing' >&2\nexit 3\n", 0755);
    setenv("PATH", folder, 1);
    free(page_of(plx_machine_document(), &rc, &diag));
    assert_int_equal(rc, -ECHILD);
    assert_non_null(strstr(diag.text, "status 3: \"script\" line 7: no such thing"));
}

static void gnuplot_that_ends_by_a_signal_is_told(void **state)
{
    (void)state;
    struct plx_diag diag = {0};
    int rc;
    write_file("gnuplot", "#!/bin/sh\nkill -9 $$\n", 0755);
    setenv("PATH", folder, 1);
    free(page_of(plx_machine_document(), &rc, &diag));
    assert_int_equal(rc, -ECHILD);
    assert_non_null(strstr(diag.text, "signal 9"));
}

static void gnuplot_that_does_not_end_is_ended(void **state)
{
    (void)state;
    struct plx_diag diag = {0};
    int rc;
    char script[200];
    int ends[2];
    struct pollfd one = {.events = POLLIN};
    /* It and a child of its wait for somebody who writes into the pipe, and nobody does. */
    snprintf(script, sizeof(script), "#!/bin/sh\n(read line < %s/never)\nread line < %s/never\n",
             folder, folder);
    /* Both inherit an end of this one, which is closed when they are gone: however far they came.
     */
    assert_int_equal(pipe(ends), 0);
    one.fd = ends[0];
    write_file("gnuplot", script, 0755);
    assert_int_equal(mkfifo(in_folder("never"), 0600), 0);
    setenv("PATH", folder, 1);
    plx_bench_gnuplot_ms = 1000;
    free(page_of(plx_machine_document(), &rc, &diag));
    assert_int_equal(rc, -ETIMEDOUT);
    assert_non_null(strstr(diag.text, "longer than 1 s"));
    close(ends[1]);
    assert_int_equal(poll(&one, 1, 30000), 1);
    assert_int_equal(one.revents, POLLHUP);
    close(ends[0]);
}

static void gnuplot_that_draws_nothing_leaves_no_page_without_a_word(void **state)
{
    (void)state;
    struct plx_diag diag = {0};
    char *page = NULL;
    size_t bytes = 0;
    json_t *document = plx_machine_document();
    FILE *stream = open_memstream(&page, &bytes);
    assert_non_null(stream);
    write_file("gnuplot", "#!/bin/sh\nexit 0\n", 0755);
    setenv("PATH", folder, 1);
    assert_int_equal(plx_bench_write_html(document, stream, &diag), -ENOENT);
    assert_non_null(strstr(diag.text, "is missing"));
    fclose(stream);
    free(page);
    json_decref(document);
}

static void settings_of_gnuplots_user_are_left_out(void **state)
{
    (void)state;
    char *script = NULL;
    struct plx_diag diag = {0};
    if (!has_program("gnuplot", "gnuplot-nox"))
        skip();
    const char *home = getenv("HOME");
    char *before = home != NULL ? strdup(home) : NULL;
    write_file(".gnuplot", "there is no such command\n", 0644);
    setenv("HOME", folder, 1);
    int rc = plx_bench_gnuplot("set print '-'\nprint 'drawn'\n", 28, &script, &diag);
    if (before != NULL)
        setenv("HOME", before, 1);
    free(before);
    assert_int_equal(rc, 0);
    assert_string_equal(script, "drawn\n");
    free(script);
}

/* --- laid out -------------------------------------------------------------------------------- */

/*
 * What a browser says of the page: how wide it is, how light its ground, and the least contrast of
 * any text with what is behind it.
 */
static const char measure_it[] =
    "<script>onerror=e=>document.title='error '+e;\n"
    "const rgb=c=>{const v=(c.match(/[\\d.]+/g)||[]).map(Number);"
    "return v.length<3||v[3]===0?null:v};\n"
    "const light=c=>{const f=c.slice(0,3).map(v=>(v/=255)<=.03928?v/12.92:((v+.055)/1.055)**2.4);"
    "return .2126*f[0]+.7152*f[1]+.0722*f[2]};\n"
    "const ground=e=>{for(;e;e=e.parentElement){const c=rgb(getComputedStyle(e).backgroundColor);"
    "if(c)return c}return[255,255,255]};\n"
    "onload=()=>{let least=99,where='';const tags={};\n"
    "for(const e of document.querySelectorAll('h1,h2,h3,h4,p,a,dt,dd,summary,li,b,th,td,text,"
    "figcaption')){const s=getComputedStyle(e);if(!e.textContent.trim())continue;\n"
    "const c=rgb(e.tagName=='text'?s.fill:s.color);if(!c)continue;\n"
    "const a=light(c),b=light(ground(e));const r=(Math.max(a,b)+.05)/(Math.min(a,b)+.05);\n"
    "tags[e.tagName]=1;if(r<least){least=r;where=e.tagName+' '+e.className+' '+c}}\n"
    "document.title='width '+document.documentElement.scrollWidth+' light '+"
    "light(ground(document.body)).toFixed(3)+' contrast '+least.toFixed(2)+' of '+"
    "Object.keys(tags).length+' at '+where}</script></body>";

struct layout {
    int width;
    double light;
    double contrast;
    int kinds;
};

static void lay_out(const char *page, int width, bool dark, struct layout *layout)
{
    char frame[400];
    char url[200];
    char profile[200];
    char window[64];
    const char *end = strstr(page, "</body>");
    assert_non_null(end);
    FILE *file = fopen(in_folder("measured.html"), "we");
    assert_non_null(file);
    fprintf(file, "%.*s%s</html>", (int)(end - page), page, measure_it);
    fclose(file);
    /* In a frame of that width: a window is never narrower than 500. */
    snprintf(frame, sizeof(frame),
             "<!DOCTYPE html><meta name=color-scheme content=\"light dark\"><title>none</title>"
             "<iframe id=f src=measured.html width=%d height=900 frameborder=0></iframe>"
             "<script>onload=()=>{document.title=f.contentDocument.title}</script>",
             width);
    write_file("frame.html", frame, 0644);
    snprintf(url, sizeof(url), "file://%s/frame.html", folder);
    snprintf(profile, sizeof(profile), "--user-data-dir=%s/profile", folder);
    snprintf(window, sizeof(window), "--window-size=%d,1000", width + 100);
    const char *const words[] = {"timeout",
                                 "60",
                                 "chromium",
                                 "--headless",
                                 "--no-sandbox",
                                 "--disable-gpu",
                                 "--allow-file-access-from-files",
                                 dark ? "--blink-settings=preferredColorScheme=0"
                                      : "--blink-settings=preferredColorScheme=1",
                                 profile,
                                 window,
                                 "--dump-dom",
                                 url,
                                 NULL};
    plx_run_begin(&run, words, NULL);
    plx_run_end(&run);
    const char *title = strstr(run.out, "<title>width ");
    if (title == NULL ||
        sscanf(title, "<title>width %d light %lf contrast %lf of %d", &layout->width,
               &layout->light, &layout->contrast, &layout->kinds) != 4)
        fail_msg("%.2000s\n%.2000s", run.out, run.err);
    if (layout->contrast < 4.5)
        print_message("%.120s\n", title);
}

static void page_fits_and_can_be_read_on_any_screen(void **state)
{
    (void)state;
    static const int widths[] = {390, 1400};
    if (!has_program("gnuplot", "gnuplot-nox") || !has_program("chromium", "chromium"))
        skip();
    char *page = good_page(plx_machine_document());
    for (size_t i = 0; i < 4; i++) {
        struct layout layout = {0};
        bool dark = i >= 2;
        lay_out(page, widths[i % 2], dark, &layout);
        assert_true(layout.width <= widths[i % 2]);
        assert_true(dark ? layout.light < 0.05 : layout.light > 0.8);
        /* What people with weak eyes can read, by the web's guidelines. */
        assert_true(layout.contrast >= 4.5);
        assert_int_equal(layout.kinds, 15);
    }
    free(page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pairs_on_nodes_have_a_matrix_and_its_gaps_reasons),
        cmocka_unit_test(very_many_cores_share_headings_and_have_no_figures),
        cmocka_unit_test(nodes_have_a_matrix_and_other_subjects_a_line),
        cmocka_unit_test(load_is_a_curve_for_each_node),
        cmocka_unit_test(ratios_are_those_of_the_rows_not_of_medians),
        cmocka_unit_test(row_without_ratio_has_none),
        cmocka_unit_test(rows_in_doubt_say_so),
        cmocka_unit_test(every_subject_is_in_the_plot),
        cmocka_unit_test(run_and_host_are_described),
        cmocka_unit_test(budgets_have_their_doubts_and_reasons),
        cmocka_unit_test(reasons_are_those_of_the_rows_place),
        cmocka_unit_test(samples_that_are_all_equal_are_drawn),
        cmocka_unit_test(one_sample_has_no_plot),
        cmocka_unit_test_teardown(rows_without_anything_to_draw_have_no_plot, restore),
        cmocka_unit_test_teardown(gnuplot_that_is_not_there_is_named_with_its_package, restore),
        cmocka_unit_test_teardown(gnuplot_that_fails_is_told_with_its_reason, restore),
        cmocka_unit_test_teardown(gnuplot_that_ends_by_a_signal_is_told, restore),
        cmocka_unit_test_teardown(gnuplot_that_does_not_end_is_ended, restore),
        cmocka_unit_test_teardown(gnuplot_that_draws_nothing_leaves_no_page_without_a_word,
                                  restore),
        cmocka_unit_test(settings_of_gnuplots_user_are_left_out),
        cmocka_unit_test(page_fits_and_can_be_read_on_any_screen),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
