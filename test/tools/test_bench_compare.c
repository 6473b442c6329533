/* SPDX-License-Identifier: MIT */
/* pollux bench compare: what it calls a difference, and what it refuses to read. */
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

#include "test/tools/bench_rows.h"
#include "test/tools/run_pollux.h"

static struct plx_run run;
static char folder[64];
static char a_path[96];
static char b_path[96];

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof(folder), "/tmp/pollux-compare-XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    snprintf(a_path, sizeof(a_path), "%s/a.json", folder);
    snprintf(b_path, sizeof(b_path), "%s/b.json", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    unlink(a_path);
    unlink(b_path);
    return rmdir(folder);
}

static void compare(const char *options, int status, const char *out, const char *err)
{
    char line[320];
    snprintf(line, sizeof(line), "pollux bench compare %s %s %s", a_path, b_path, options);
    plx_run_line(&run, line);
    plx_run_expect(&run, status, out, err);
    assert_null(strchr(run.out, '\033'));
}

/* One row of each file. */
static void write_pair(double before, double after, uint32_t rounds, const char *better)
{
    json_t *a = plx_rows_document();
    json_t *b = plx_rows_document();
    plx_rows_add(a, "rtt", "pollux", before, rounds, better, 1);
    plx_rows_add(b, "rtt", "pollux", after, rounds, better, 2);
    plx_rows_write(a, a_path);
    plx_rows_write(b, b_path);
}

/* --- verdicts -------------------------------------------------------------------------------- */

static void same_rows_do_not_differ(void **state)
{
    (void)state;
    json_t *a = plx_rows_document();
    json_t *b = plx_rows_document();
    for (int i = 0; i < 200; i++) {
        char name[16];
        snprintf(name, sizeof(name), "case%d", i);
        plx_rows_add(a, name, "pollux", 100 + i, 6 + (uint32_t)i % 60, "lower", (uint64_t)i);
        plx_rows_add(b, name, "pollux", 100 + i, 6 + (uint32_t)i % 50, "lower", 1000 + (uint64_t)i);
    }
    plx_rows_write(a, a_path);
    plx_rows_write(b, b_path);
    compare("--fail-above 0%", 0, "200 rows in both: 0 significantly worse, 0 significantly better",
            NULL);
    assert_string_equal(run.err, "");
}

static void slowdown_of_a_tenth_is_found(void **state)
{
    (void)state;
    static const uint32_t rounds[] = {5, 6, 16, 64};
    for (size_t i = 0; i < sizeof(rounds) / sizeof(rounds[0]); i++) {
        write_pair(100, 110, rounds[i], "lower");
        compare("", 0, "1 significantly worse", NULL);
        compare("--fail-above 5%", 1, "+10.0 %", NULL);
        compare("--fail-above 5", 1, "failed: rows of pollux", NULL);
        compare("--fail-above 11%", 0, "passed", NULL);
        compare("--fail-above 5% --subject ck", 0, "passed", NULL);
        compare("--fail-above 5% --subject all", 1, "failed", NULL);
        write_pair(110, 100, rounds[i], "lower");
        compare("--fail-above 5%", 0, "1 significantly better", NULL);
    }
}

static void rate_that_sinks_is_worse(void **state)
{
    (void)state;
    write_pair(1000000, 900000, 16, "higher");
    compare("--fail-above 5%", 1, "-10.0 %", NULL);
    assert_non_null(strstr(run.out, "lower"));
    write_pair(900000, 1000000, 16, "higher");
    compare("--fail-above 5%", 0, "1 significantly better", NULL);
}

static void difference_within_the_noise_is_none(void **state)
{
    (void)state;
    write_pair(100, 101.5, 64, "lower");
    compare("--fail-above 0%", 0, "0 significantly worse", NULL);
}

static void run_that_drifted_hides_what_it_drifted_by(void **state)
{
    (void)state;
    json_t *a = plx_rows_document();
    json_t *b = plx_rows_document();
    plx_rows_add(a, "rtt", "pollux", 100, 40, "lower", 1);
    json_t *row = plx_rows_add(b, "rtt", "pollux", 110, 40, "lower", 2);
    json_t *medians = json_object_get(row, "round_p50");
    for (size_t i = 0; i < 40; i++)
        json_array_set_new(medians, i, json_real(98 + 0.6 * (double)i));
    plx_rows_write(a, a_path);
    plx_rows_write(b, b_path);
    compare("--fail-above 5%", 0, "0 significantly worse", NULL);
}

static void peers_that_moved_alike_excuse_a_row(void **state)
{
    (void)state;
    json_t *a = plx_rows_document();
    json_t *b = plx_rows_document();
    plx_rows_add(a, "rtt", "pollux", 100, 16, "lower", 1);
    plx_rows_add(a, "rtt", "raw", 80, 16, "lower", 2);
    plx_rows_add(a, "rtt", "ck", 90, 16, "lower", 3);
    plx_rows_add(b, "rtt", "pollux", 110, 16, "lower", 4);
    plx_rows_add(b, "rtt", "raw", 88, 16, "lower", 5);
    plx_rows_add(b, "rtt", "ck", 99, 16, "lower", 6);
    plx_rows_write(a, a_path);
    plx_rows_write(b, b_path);
    compare("--fail-above 5%", 0, "like its peers", NULL);
    /* Not so if the peers stayed. */
    b = plx_rows_document();
    plx_rows_add(b, "rtt", "pollux", 110, 16, "lower", 4);
    plx_rows_add(b, "rtt", "raw", 80, 16, "lower", 5);
    plx_rows_add(b, "rtt", "ck", 90, 16, "lower", 6);
    plx_rows_write(b, b_path);
    compare("--fail-above 5%", 1, "1 significantly worse", NULL);
}

static void few_rounds_and_no_figures_are_no_verdict(void **state)
{
    (void)state;
    write_pair(100, 200, 4, "lower");
    compare("--fail-above 5%", 0, "1 without enough quiet rounds or figures", NULL);
    json_t *a = plx_rows_document();
    json_t *b = plx_rows_document();
    plx_rows_add(a, "rtt", "pollux", 100, 16, "lower", 1);
    json_t *row = plx_rows_add(b, "rtt", "pollux", 100, 16, "lower", 1);
    json_object_set_new(row, "p50", json_null());
    plx_rows_write(a, a_path);
    plx_rows_write(b, b_path);
    compare("--fail-above 5%", 0, "unknown", NULL);
}

static void core_that_was_slower_excuses_as_much(void **state)
{
    (void)state;
    json_t *a = plx_rows_document();
    json_t *b = plx_rows_document();
    json_object_set_new(plx_rows_add(a, "rtt", "pollux", 100, 16, "lower", 1), "core_ns",
                        json_real(0.25));
    json_t *row = plx_rows_add(b, "rtt", "pollux", 110, 16, "lower", 2);
    json_object_set_new(row, "core_ns", json_real(0.28));
    plx_rows_write(a, a_path);
    plx_rows_write(json_deep_copy(b), b_path);
    compare("--fail-above 5%", 0, "12.0 %", NULL);
    json_object_set_new(row, "core_ns", json_real(0.25));
    plx_rows_write(json_deep_copy(b), b_path);
    compare("--fail-above 5%", 1, "1 significantly worse", NULL);
    json_object_set_new(row, "line_ns", json_real(300));
    json_object_set_new(row, "busy", json_true());
    plx_rows_write(b, b_path);
    compare("--fail-above 5%", 0, "1 without enough quiet rounds", NULL);
}

static void rows_of_one_file_are_listed(void **state)
{
    (void)state;
    json_t *a = plx_rows_document();
    json_t *b = plx_rows_document();
    plx_rows_add(a, "gone", "pollux", 100, 16, "lower", 1);
    plx_rows_add(b, "new", "pollux", 100, 16, "lower", 1);
    plx_rows_write(a, a_path);
    plx_rows_write(b, b_path);
    compare("", 0, "  made gone, pollux\n", NULL);
    assert_non_null(strstr(run.out, "  made new, pollux\n"));
    assert_non_null(strstr(run.out, "0 rows in both"));
}

static void rows_of_one_subject_are_told_apart_by_their_cores(void **state)
{
    (void)state;
    json_t *a = plx_rows_document();
    json_t *b = plx_rows_document();
    plx_rows_place(plx_rows_add(a, "rtt", "raw", 100, 16, "lower", 1), 0, 1);
    plx_rows_place(plx_rows_add(a, "rtt", "raw", 200, 16, "lower", 2), 0, 2);
    plx_rows_place(plx_rows_add(b, "rtt", "raw", 200, 16, "lower", 3), 0, 2);
    plx_rows_place(plx_rows_add(b, "rtt", "raw", 120, 16, "lower", 4), 0, 1);
    plx_rows_write(a, a_path);
    plx_rows_write(b, b_path);
    compare("", 0, "2 rows in both: 1 significantly worse, 0 significantly better, 1 not", NULL);
}

static void other_host_and_settings_are_warned_of(void **state)
{
    (void)state;
    json_t *a = plx_rows_document();
    json_t *b = plx_rows_document();
    json_object_set_new(json_object_get(b, "host"), "cpu", json_string("Another"));
    json_object_set_new(json_object_get(json_object_get(b, "settings"), "idle"), "value",
                        json_string("block"));
    json_object_set_new(b, "complete", json_false());
    plx_rows_write(a, a_path);
    plx_rows_write(b, b_path);
    compare("", 0, "0 rows in both", "warning: cpu differs");
    assert_non_null(strstr(run.err, "setting idle differs: 'spin' and 'block'"));
    assert_non_null(strstr(run.err, "b.json was interrupted"));
}

/* --- what is refused ------------------------------------------------------------------------- */

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void file_that_is_no_result_of_this_schema_ends_with_2(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *err;
    } files[] = {
        {"", "it is no JSON"},
        {"{\"schema\": 1, \"results\": [{\"bench\"", "it is no JSON"},
        {"[1, 2]", "no member \"schema\""},
        {"{\"results\": []}", "no member \"schema\""},
        {"{\"schema\": 2, \"results\": []}", "its schema is 2, and this program reads schema 1"},
        {"{\"schema\": 1}", "no array \"results\""},
        {"{\"schema\": 1, \"results\": [7]}", "row 1 of its results has no proper \"bench\""},
        {"{\"schema\": 1, \"schema\": 1, \"results\": []}", "it is no JSON"},
        {"{\"schema\": 1, \"results\": [{\"bench\": \"b\", \"case\": \"c\", \"subject\": \"s\", "
         "\"unit\": \"ns\", \"better\": \"lower\", \"n\": \"many\"}]}",
         "no proper \"n\""},
        {"{\"schema\": 1, \"results\": [{\"bench\": \"b\", \"case\": \"c\", \"subject\": \"s\", "
         "\"unit\": \"ns\", \"better\": \"worse\"}]}",
         "no proper \"better\""},
    };
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        write_pair(100, 100, 6, "lower");
        write_text(a_path, files[i].text);
        compare("", 2, NULL, files[i].err);
        assert_string_equal(run.out, "");
        write_pair(100, 100, 6, "lower");
        write_text(b_path, files[i].text);
        compare("", 2, NULL, files[i].err);
    }
}

static void medians_that_are_no_numbers_end_with_2(void **state)
{
    (void)state;
    json_t *a = plx_rows_document();
    json_t *row = plx_rows_add(a, "rtt", "pollux", 100, 16, "lower", 1);
    write_pair(100, 100, 6, "lower");
    json_array_set_new(json_object_get(row, "round_p50"), 3, json_string("7"));
    plx_rows_write(a, a_path);
    compare("", 2, NULL, "no proper \"round_p50\"");
}

static void file_that_cannot_be_read_ends_with_2(void **state)
{
    (void)state;
    write_pair(100, 100, 6, "lower");
    unlink(b_path);
    compare("", 2, NULL, "No such file");
    assert_int_equal(mkfifo(b_path, 0600), 0);
    compare("", 2, NULL, "it is no file");
    unlink(b_path);
    /* Sparse: it takes no room. */
    write_text(b_path, "{");
    assert_int_equal(truncate(b_path, INT64_C(1) << 32), 0);
    compare("", 2, NULL, "more than 256 MiB");
    plx_run_line(&run, "pollux bench compare /tmp /tmp");
    plx_run_expect(&run, 2, NULL, "it is no file");
}

static void usage_errors_end_with_2(void **state)
{
    (void)state;
    write_pair(100, 100, 6, "lower");
    compare("third", 2, NULL, "name two files");
    compare("--fail-above much", 2, NULL, "'much' is no percentage");
    compare("--fail-above 5x", 2, NULL, "'5x' is no percentage");
    compare("--fail-above -5%", 2, NULL, "'-5%' is no percentage");
    compare("--fail-abov 5%", 2, NULL, "did you mean --fail-above?");
    plx_run_line(&run, "pollux bench compare --help");
    plx_run_expect(&run, 0, "A.json B.json", NULL);
}

/* --- measuring and comparing ----------------------------------------------------------------- */

static void baseline_is_read_before_and_compared_after(void **state)
{
    (void)state;
    char line[256];
    write_text(a_path, "{}");
    snprintf(line, sizeof(line), "pollux bench uring --only cancel --baseline %s", a_path);
    plx_run_line(&run, line);
    plx_run_expect(&run, 2, NULL, "no member \"schema\"");
    assert_string_equal(run.out, "");

    /* Nothing is as fast, so whatever is measured is slower. */
    json_t *a = plx_rows_document();
    json_t *row = plx_rows_add(a, "cancel", "pollux", 1e-6, 16, "lower", 1);
    json_object_set_new(row, "bench", json_string("uring"));
    plx_rows_write(a, a_path);
    snprintf(line, sizeof(line),
             "pollux bench uring --quick --only cancel --rounds 40 --baseline %s --fail-above 5%%",
             a_path);
    plx_run_line(&run, line);
    /* On a busy machine all slices may be discarded. */
    bool few = strstr(run.out, "1 without enough quiet rounds") != NULL;
    plx_run_expect(&run, few ? run.status : 1, few ? "this run" : "1 significantly worse", NULL);
    plx_run_line(&run, "pollux bench uring --fail-above 5%");
    plx_run_expect(&run, 2, NULL, "--fail-above needs --baseline");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_rows_do_not_differ),
        cmocka_unit_test(slowdown_of_a_tenth_is_found),
        cmocka_unit_test(rate_that_sinks_is_worse),
        cmocka_unit_test(difference_within_the_noise_is_none),
        cmocka_unit_test(run_that_drifted_hides_what_it_drifted_by),
        cmocka_unit_test(peers_that_moved_alike_excuse_a_row),
        cmocka_unit_test(few_rounds_and_no_figures_are_no_verdict),
        cmocka_unit_test(core_that_was_slower_excuses_as_much),
        cmocka_unit_test(rows_of_one_file_are_listed),
        cmocka_unit_test(rows_of_one_subject_are_told_apart_by_their_cores),
        cmocka_unit_test(other_host_and_settings_are_warned_of),
        cmocka_unit_test(file_that_is_no_result_of_this_schema_ends_with_2),
        cmocka_unit_test(medians_that_are_no_numbers_end_with_2),
        cmocka_unit_test(file_that_cannot_be_read_ends_with_2),
        cmocka_unit_test(usage_errors_end_with_2),
        cmocka_unit_test(baseline_is_read_before_and_compared_after),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
