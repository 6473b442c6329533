/* SPDX-License-Identifier: MIT */
/* The files that pollux bench writes beside its tables, whole or in part. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "test/tools/bench_rows.h"
#include "test/tools/run_pollux.h"

#define SHORT "pollux bench ring uring --quick --only rtt_8B --only cancel --rounds 1"

/* What has a plot on every machine: on one core, of which no slice is discarded as too near. */
#define DRAWN "pollux bench pool --quick --only one_4K --rounds 8"

static struct plx_run run;
static char folder[64];

static const char *in_folder(const char *name)
{
    static char path[160];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof(folder), "/tmp/pollux-outputs-XXXXXX");
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    const char *const words[] = {"rm", "-r", folder, NULL};
    plx_run_begin(&run, words, NULL);
    plx_run_end(&run);
    return run.status;
}

/* Runs it with `options` and a path in the folder; noise may leave rows without figures. */
static void measure(const char *options, const char *name)
{
    char line[320];
    snprintf(line, sizeof(line), "%s %s %s", SHORT, options, in_folder(name));
    plx_run_line(&run, line);
    assert_true(run.status == 0 || run.status == 1);
}

/* The whole of a file, to be freed. */
static char *read_file(const char *path)
{
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    char *text = NULL;
    size_t room = 0;
    assert_true(getdelim(&text, &room, '\0', file) > 0);
    fclose(file);
    return text;
}

static bool has_program(const char *const *words, const char *package)
{
    plx_run_begin(&run, words, NULL);
    plx_run_end(&run);
    if (run.status == 0)
        return true;
    print_message("skipped: %s is not installed (package %s)\n", words[0], package);
    return false;
}

static bool has_gnuplot(void)
{
    const char *const words[] = {"gnuplot", "--version", NULL};
    return has_program(words, "gnuplot-nox");
}

/* --- JSON and CSV ---------------------------------------------------------------------------- */

/* Asserts that a file is valid by rows.schema.json. */
static void validate(const char *path)
{
    const char *const words[] = {"python3",    "-W", "ignore", "-m",
                                 "jsonschema", "-i", path,     "tools/bench/rows.schema.json",
                                 NULL};
    plx_run_begin(&run, words, NULL);
    plx_run_end(&run);
    plx_run_expect(&run, 0, NULL, NULL);
}

/* Runs these words with a path in the folder, ended by a signal if there is one, and validates. */
static void run_and_validate(const char *line, const char *name, int number)
{
    char text[320];
    char path[160];
    snprintf(path, sizeof(path), "%s", in_folder(name));
    if (number == 0) {
        snprintf(text, sizeof(text), "pollux bench %s --json %s", line, path);
        plx_run_line(&run, text);
        assert_true(run.status == 0 || run.status == 1);
    } else {
        const char *const words[] = {"pollux", "bench",  line, "--quick", "--rounds",
                                     "4",      "--json", path, NULL};
        plx_run_begin(&run, words, NULL);
        assert_true(plx_run_await(&run, line));
        plx_run_signal(&run, number);
        plx_run_end(&run);
        assert_int_equal(run.status, 128 + number);
    }
    validate(path);
}

static void json_is_valid_by_its_schema(void **state)
{
    (void)state;
    const char *const probe[] = {"python3", "-c", "import jsonschema", NULL};
    if (!has_program(probe, "python3-jsonschema"))
        skip();
    run_and_validate("ring uring --quick --only rtt_8B --only cancel --rounds 1", "a.json", 0);
    run_and_validate("c2c mem --quick --only rtt_line --only chase_4K --only loaded --size 2M "
                     "--rounds 1",
                     "b.json", 0);
    /* Every gap counts, so that there are some. */
    run_and_validate("jitter pool --quick --only gaps --only stolen --only one_4K --rounds 1 "
                     "--threshold 100ns",
                     "c.json", 0);
    run_and_validate("ring --quick --only rtt_8B --rounds 2 --with test/tools/peer_spin.py",
                     "d.json", 0);
    run_and_validate("uring", "e.json", SIGINT);
    json_t *root = json_load_file(in_folder("c.json"), 0, NULL);
    assert_true(json_array_size(json_object_get(json_object_get(root, "jitter"), "worst")) > 0);
    json_decref(root);
}

/* --- ratios ---------------------------------------------------------------------------------- */

static json_t *load_rows(const char *name, json_t **root)
{
    *root = json_load_file(in_folder(name), 0, NULL);
    assert_non_null(*root);
    return json_object_get(*root, "results");
}

/* The only median of a row; 0: it has none, or others. */
static double only_round(const json_t *row)
{
    const json_t *rounds = json_object_get(row, "round_p50");
    return json_array_size(rounds) == 1 ? json_number_value(json_array_get(rounds, 0)) : 0;
}

static void ratio_is_of_our_row_to_each_other_one(void **state)
{
    (void)state;
    json_t *root;
    size_t index;
    json_t *row;
    measure("--json", "ratios.json");
    json_t *rows = load_rows("ratios.json", &root);
    const json_t *ours = NULL;
    json_array_foreach(rows, index, row)
    {
        json_t *ratio = json_object_get(row, "ratio");
        json_t *before = json_array_get(rows, index - 1);
        assert_true(json_is_object(ratio) || json_is_null(ratio));
        if (index == 0 ||
            !json_equal(json_object_get(row, "case"), json_object_get(before, "case")))
            ours = NULL;
        if (ours == NULL &&
            strncmp(json_string_value(json_object_get(row, "subject")), "pollux", 6) == 0) {
            assert_true(json_is_null(ratio));
            ours = row;
        } else if (ours != NULL && only_round(ours) > 0 && only_round(row) > 0) {
            double mid = json_number_value(json_object_get(ratio, "mid"));
            double expected = only_round(ours) / only_round(row);
            assert_int_equal(json_integer_value(json_object_get(ratio, "rounds")), 1);
            assert_true(fabs(mid / expected - 1) < 1e-4);
            /* One round tells nothing of the next. */
            assert_true(json_is_null(json_object_get(ratio, "low")));
        }
    }
    json_decref(root);
}

static void json_says_what_was_run_and_when(void **state)
{
    (void)state;
    measure("--seed 7 --json", "said.json");
    json_t *root = json_load_file(in_folder("said.json"), 0, NULL);
    assert_non_null(root);
    json_t *command = json_object_get(root, "command");
    assert_string_equal(json_string_value(json_array_get(command, 0)), "pollux");
    assert_string_equal(json_string_value(json_array_get(command, 1)), "bench");
    assert_string_equal(json_string_value(json_array_get(command, 2)), "ring");
    assert_string_equal(json_string_value(json_array_get(command, json_array_size(command) - 1)),
                        in_folder("said.json"));
    assert_true(json_is_true(json_object_get(root, "complete")));
    assert_true(strcmp(json_string_value(json_object_get(root, "start")),
                       json_string_value(json_object_get(root, "end"))) <= 0);
    json_decref(root);
}

static void csv_has_the_frozen_columns(void **state)
{
    (void)state;
    measure("--csv", "rows.csv");
    char *text = read_file(in_folder("rows.csv"));
    static const char heading[] =
        "bench,case,subject,unit,better,n,min,p50,p90,p99,p999,p9999,max,mean,cpu_a,cpu_b,node_a,"
        "node_b,mem_node,ci_low,ci_high,rounds\n";
    assert_int_equal(strncmp(text, heading, strlen(heading)), 0);
    assert_non_null(strstr(text, "\nring,rtt_8B,pollux/cells,ns,lower,"));
    assert_non_null(strstr(text, "\nuring,cancel,pollux,ns,lower,"));
    free(text);
}

static void file_keeps_what_it_held_until_there_is_something_to_write(void **state)
{
    (void)state;
    measure("--json", "kept.json");
    char *before = read_file(in_folder("kept.json"));
    char line[320];
    snprintf(line, sizeof(line), "POLLUX_CPUS=1023 %s --json %s", SHORT, in_folder("kept.json"));
    plx_run_line(&run, line);
    plx_run_expect(&run, 2, NULL, "1023");
    char *after = read_file(in_folder("kept.json"));
    assert_string_equal(before, after);
    free(before);
    free(after);
}

/* --- HdrHistogram's format ------------------------------------------------------------------- */

static void check_hgrm(const char *path)
{
    char *text = read_file(path);
    char *at = strchr(text, '\n');
    assert_non_null(at);
    assert_non_null(strstr(text, "Value     Percentile TotalCount 1/(1-Percentile)\n\n"));
    double last_value = 0;
    double part = 0;
    unsigned long long last_count = 0;
    for (at += 2; *at != '#'; at = strchr(at, '\n') + 1) {
        double value;
        double inverse;
        double last_part = part;
        unsigned long long count;
        int fields = sscanf(at, "%lf %lf %llu %lf", &value, &part, &count, &inverse);
        assert_true(fields >= 3);
        assert_true(value >= last_value && count >= last_count && part >= last_part && part <= 1);
        if (part < 1)
            assert_true(fields == 4 && fabs(inverse * (1 - part) - 1) < 0.01);
        last_value = value;
        last_count = count;
    }
    assert_true(part >= 1 && last_count >= 1);
    assert_non_null(strstr(at, "#[Mean    = "));
    assert_non_null(strstr(at, ", StdDeviation   = "));
    assert_non_null(strstr(at, "#[Max     = "));
    unsigned long long total;
    assert_int_equal(sscanf(strstr(at, "Total count    ="), "Total count    = %llu", &total), 1);
    assert_int_equal(total, last_count);
    assert_non_null(strstr(at, "#[Buckets = "));
    free(text);
}

static void hgrm_is_a_file_for_each_row_with_figures(void **state)
{
    (void)state;
    char path[160];
    char json[200];
    snprintf(path, sizeof(path), "%s", in_folder("histograms"));
    snprintf(json, sizeof(json), "--json %s/hgrm.json --hgrm", folder);
    measure(json, "histograms");
    json_t *root = json_load_file(in_folder("hgrm.json"), 0, NULL);
    assert_non_null(root);
    size_t rows = json_array_size(json_object_get(root, "results")) -
                  json_array_size(json_object_get(root, "null_rows"));
    json_decref(root);
    size_t files = 0;
    DIR *entries = opendir(path);
    assert_non_null(entries);
    for (const struct dirent *entry; (entry = readdir(entries)) != NULL;) {
        if (entry->d_name[0] == '.')
            continue;
        char name[512];
        snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
        assert_non_null(strstr(entry->d_name, ".hgrm"));
        check_hgrm(name);
        files++;
    }
    closedir(entries);
    assert_int_equal(files, rows);
}

/* --- what cannot be written ------------------------------------------------------------------ */

static void output_that_cannot_be_written_ends_with_1_before_measuring(void **state)
{
    (void)state;
    static const struct {
        const char *option;
        const char *err;
    } cases[] = {
        {"--json /nonexistent/a.json", "/nonexistent/a.json: No such file"},
        {"--csv /nonexistent/a.csv", "/nonexistent/a.csv: No such file"},
        {"--html /nonexistent/a.html", "/nonexistent/a.html: No such file"},
        {"--hgrm /nonexistent/a", "/nonexistent/a: No such file"},
        {"--hgrm /dev/null", "/dev/null: Not a directory"},
        {"--json /tmp", "/tmp: Is a directory"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char line[256];
        snprintf(line, sizeof(line), "%s %s", SHORT, cases[i].option);
        plx_run_line(&run, line);
        plx_run_expect(&run, 1, NULL, cases[i].err);
        assert_string_equal(run.out, "");
    }
    plx_run_line(&run, SHORT " --html - --json -");
    plx_run_expect(&run, 2, NULL, "can be standard output");
}

static void full_device_ends_with_1(void **state)
{
    (void)state;
    static const char *const options[] = {"--json", "--csv", "--html"};
    for (size_t i = 0; i < 3; i++) {
        char line[256];
        if (i == 2 && !has_gnuplot())
            skip();
        snprintf(line, sizeof(line), "%s %s /dev/full", SHORT, options[i]);
        plx_run_line(&run, line);
        plx_run_expect(&run, 1, NULL, "/dev/full: it could not be written");
    }
}

static void html_without_gnuplot_names_its_package(void **state)
{
    (void)state;
    char line[320];
    snprintf(line, sizeof(line), "PATH=/nonexistent %s --html %s", SHORT, in_folder("none.html"));
    plx_run_line(&run, line);
    plx_run_expect(&run, 1, NULL, "gnuplot-nox");
    assert_string_equal(run.out, "");
}

/* Writes a program that is found as gnuplot in this PATH. */
static const char *make_gnuplot(const char *text)
{
    static char path[96];
    FILE *file = fopen(in_folder("gnuplot"), "we");
    assert_non_null(file);
    fprintf(file, "#!/bin/sh\ntest \"$1\" = --version && exit 0\n%s\n", text);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(in_folder("gnuplot"), 0755), 0);
    snprintf(path, sizeof(path), "PATH=%s:/usr/bin:/bin", folder);
    return path;
}

static void html_that_cannot_be_drawn_leaves_the_page_before(void **state)
{
    (void)state;
    char line[512];
    char page[160];
    const char *with = make_gnuplot("exit 1");
    snprintf(page, sizeof(page), "%s", in_folder("before.html"));
    FILE *file = fopen(page, "we");
    assert_non_null(file);
    fputs("the page before", file);
    assert_int_equal(fclose(file), 0);
    snprintf(line, sizeof(line), "%s " DRAWN " --html %s", with, page);
    plx_run_line(&run, line);
    plx_run_expect(&run, 1, NULL, "gnuplot failed with status 1");
    char *text = read_file(page);
    assert_string_equal(text, "the page before");
    free(text);
}

static void html_that_cannot_be_drawn_leaves_no_file_where_none_was(void **state)
{
    (void)state;
    char line[512];
    const char *with = make_gnuplot("exit 1");
    snprintf(line, sizeof(line), "%s " DRAWN " --html %s", with, in_folder("new.html"));
    plx_run_line(&run, line);
    plx_run_expect(&run, 1, NULL, "gnuplot failed with status 1");
    assert_int_equal(access(in_folder("new.html"), F_OK), -1);
    assert_int_equal(errno, ENOENT);
}

/* --- a signal -------------------------------------------------------------------------------- */

static void signal_keeps_what_was_measured_and_says_so(void **state)
{
    (void)state;
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        char path[160];
        snprintf(path, sizeof(path), "%s", in_folder("part.json"));
        const char *const words[] = {"pollux",   "bench", "uring",  "tcp", "--quick",
                                     "--rounds", "4",     "--json", path,  NULL};
        plx_run_begin(&run, words, NULL);
        assert_true(plx_run_await(&run, "uring "));
        plx_run_signal(&run, numbers[i]);
        plx_run_end(&run);
        plx_run_expect(&run, 128 + numbers[i], NULL, "the results are a part");
        json_t *root = json_load_file(path, 0, NULL);
        assert_non_null(root);
        assert_true(json_is_false(json_object_get(root, "complete")));
        assert_true(json_array_size(json_object_get(root, "results")) >= 1);
        size_t index;
        json_t *row;
        json_array_foreach(json_object_get(root, "results"), index, row)
            assert_string_not_equal(json_string_value(json_object_get(row, "bench")), "tcp");
        json_decref(root);
    }
}

static void signal_leaves_a_page_that_says_so(void **state)
{
    (void)state;
    char path[160];
    if (!has_gnuplot())
        skip();
    snprintf(path, sizeof(path), "%s", in_folder("part.html"));
    const char *const words[] = {"pollux",   "bench", "uring",  "tcp", "--quick",
                                 "--rounds", "4",     "--html", path,  NULL};
    plx_run_begin(&run, words, NULL);
    assert_true(plx_run_await(&run, "uring "));
    plx_run_signal(&run, SIGINT);
    plx_run_end(&run);
    plx_run_expect(&run, 128 + SIGINT, NULL, "the results are a part");
    char *page = read_file(path);
    assert_non_null(strstr(page, "The run was interrupted"));
    assert_non_null(strstr(page, "</main></body></html>\n"));
    free(page);
}

/* Two pipes by name, of which a gnuplot of ours says in one that it draws, and waits at the other.
 */
struct drawing {
    int begun;
    int go;
    int pid;
};

static int make_pipe(const char *name)
{
    assert_int_equal(mkfifo(in_folder(name), 0600), 0);
    /* For both, so that neither end waits for the other. */
    int fd = open(in_folder(name), O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

/*
 * Measures, and comes back when the page is about to be drawn. On one core: of two, all slices may
 * be discarded as too near, and then there is nothing to draw.
 */
static void begin_drawing(struct drawing *drawing, const char *path)
{
    char text[400];
    char said[16] = "";
    snprintf(text, sizeof(text),
             "echo $$ > %s/begun\nread line < %s/go\nPATH=${PATH#*:}\nexec gnuplot \"$@\"", folder,
             folder);
    const char *const words[] = {
        make_gnuplot(text), "pollux",   "bench", "pool",   "--quick", "--only",
        "one_4K",           "--rounds", "8",     "--html", path,      NULL};
    drawing->begun = make_pipe("begun");
    drawing->go = make_pipe("go");
    plx_run_begin(&run, words, NULL);
    struct pollfd one = {.fd = drawing->begun, .events = POLLIN};
    assert_int_equal(poll(&one, 1, PLX_RUN_SECONDS * 1000), 1);
    assert_true(read(drawing->begun, said, sizeof(said) - 1) > 0);
    drawing->pid = (int)strtol(said, NULL, 10);
    assert_true(drawing->pid > 1);
}

static void end_drawing(struct drawing *drawing)
{
    plx_run_end(&run);
    close(drawing->begun);
    close(drawing->go);
    unlink(in_folder("begun"));
    unlink(in_folder("go"));
}

static void signal_while_the_page_is_drawn_leaves_the_page(void **state)
{
    (void)state;
    char path[160];
    struct drawing drawing;
    if (!has_gnuplot())
        skip();
    snprintf(path, sizeof(path), "%s", in_folder("drawn.html"));
    begin_drawing(&drawing, path);
    plx_run_signal(&run, SIGINT);
    assert_int_equal(write(drawing.go, "\n", 1), 1);
    end_drawing(&drawing);
    assert_int_equal(run.status, 128 + SIGINT);
    char *page = read_file(path);
    assert_null(strstr(page, "The run was interrupted"));
    assert_non_null(strstr(page, "</main></body></html>\n"));
    free(page);
}

static void second_signal_ends_the_drawing(void **state)
{
    (void)state;
    char path[160];
    struct drawing drawing;
    snprintf(path, sizeof(path), "%s", in_folder("ended.html"));
    begin_drawing(&drawing, path);
    /* Two that cannot become one while they are pending. */
    plx_run_signal(&run, SIGINT);
    plx_run_signal(&run, SIGTERM);
    end_drawing(&drawing);
    assert_true(run.status == 128 + SIGINT || run.status == 128 + SIGTERM);
    assert_int_equal(kill(drawing.pid, 0), -1);
    assert_int_equal(errno, ESRCH);
}

/* --- the page -------------------------------------------------------------------------------- */

/* How often `what` occurs. */
static size_t count_of(const char *text, const char *what)
{
    size_t count = 0;
    for (; (text = strstr(text, what)) != NULL; text += strlen(what))
        count++;
    return count;
}

static void html_is_one_page_that_needs_nothing_else(void **state)
{
    (void)state;
    if (!has_gnuplot())
        skip();
    measure("--html", "page.html");
    char *page = read_file(in_folder("page.html"));
    assert_int_equal(strncmp(page, "<!DOCTYPE html>", 15), 0);
    assert_non_null(strstr(page, "</main></body></html>\n"));
    assert_true(count_of(page, "<svg ") >= 1);
    assert_int_equal(count_of(page, "<svg "), count_of(page, "</svg>"));
    assert_int_equal(count_of(page, "<section"), count_of(page, "</section>"));
    assert_int_equal(count_of(page, "<table"), count_of(page, "</table>"));
    assert_null(strstr(page, "<script"));
    assert_null(strstr(page, "src="));
    assert_null(strstr(page, "url("));
    assert_null(strstr(page, "@import"));
    /* Names of namespaces are no addresses. */
    assert_int_equal(count_of(page, "http"), count_of(page, "\"http://www.w3.org/"));
    free(page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_is_valid_by_its_schema),
        cmocka_unit_test(ratio_is_of_our_row_to_each_other_one),
        cmocka_unit_test(json_says_what_was_run_and_when),
        cmocka_unit_test(csv_has_the_frozen_columns),
        cmocka_unit_test(file_keeps_what_it_held_until_there_is_something_to_write),
        cmocka_unit_test(hgrm_is_a_file_for_each_row_with_figures),
        cmocka_unit_test(output_that_cannot_be_written_ends_with_1_before_measuring),
        cmocka_unit_test(full_device_ends_with_1),
        cmocka_unit_test(html_without_gnuplot_names_its_package),
        cmocka_unit_test(html_that_cannot_be_drawn_leaves_the_page_before),
        cmocka_unit_test(html_that_cannot_be_drawn_leaves_no_file_where_none_was),
        cmocka_unit_test(signal_keeps_what_was_measured_and_says_so),
        cmocka_unit_test(signal_leaves_a_page_that_says_so),
        cmocka_unit_test(signal_while_the_page_is_drawn_leaves_the_page),
        cmocka_unit_test(second_signal_ends_the_drawing),
        cmocka_unit_test(html_is_one_page_that_needs_nothing_else),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
