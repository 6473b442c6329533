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

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
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
        compare("--fail-above 5%", 1, "slower", NULL);
        compare("--fail-above 5", 1, "failed: rows of pollux", NULL);
        compare("--fail-above 11%", 0, "passed", NULL);
        compare("--fail-above 5% --subject ck", 1, "failed: no row of ck could be judged", NULL);
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
    compare("--fail-above 5%", 0, "like the machine", NULL);
    /* Not so if the peers stayed. */
    b = plx_rows_document();
    plx_rows_add(b, "rtt", "pollux", 110, 16, "lower", 4);
    plx_rows_add(b, "rtt", "raw", 80, 16, "lower", 5);
    plx_rows_add(b, "rtt", "ck", 90, 16, "lower", 6);
    plx_rows_write(b, b_path);
    compare("--fail-above 5%", 1, "1 significantly worse", NULL);
}

/* Others in as many cases, each changed by the part, up or down in turn, and pollux by a tenth. */
static void write_restless(uint32_t cases, double part)
{
    json_t *a = plx_rows_document();
    json_t *b = plx_rows_document();
    plx_rows_add(a, "rtt", "pollux", 100, 16, "lower", 1);
    plx_rows_add(b, "rtt", "pollux", 110, 16, "lower", 2);
    for (uint32_t i = 0; i < cases; i++) {
        char name[24];
        snprintf(name, sizeof(name), "other%u", i);
        plx_rows_add(a, name, "ck", 50, 16, "lower", 3 + 2 * i);
        plx_rows_add(b, name, "ck", 50 * (i % 2 != 0 ? 1 + part : 1 / (1 + part)), 16, "lower",
                     4 + 2 * i);
    }
    plx_rows_write(a, a_path);
    plx_rows_write(b, b_path);
}

static void others_that_change_from_run_to_run_raise_the_noise(void **state)
{
    (void)state;
    write_restless(12, 0.06);
    compare("--fail-above 5%", 0, "passed", NULL);
    write_restless(12, 0.01);
    compare("--fail-above 5%", 1, "1 significantly worse", NULL);
    /* So few say nothing. */
    write_restless(7, 0.06);
    compare("--fail-above 5%", 1, "failed", NULL);
}

static void subject_that_changed_throughout_is_not_its_own_excuse(void **state)
{
    (void)state;
    json_t *a = plx_rows_document();
    json_t *b = plx_rows_document();
    for (uint32_t i = 0; i < 12; i++) {
        char name[24];
        snprintf(name, sizeof(name), "case%u", i);
        plx_rows_add(a, name, "ck", 50, 16, "lower", 4 * i);
        plx_rows_add(a, name, "spin", 50, 16, "lower", 4 * i + 1);
        plx_rows_add(b, name, "ck", 50, 16, "lower", 4 * i + 2);
        plx_rows_add(b, name, "spin", 55, 16, "lower", 4 * i + 3);
    }
    plx_rows_write(a, a_path);
    plx_rows_write(b, b_path);
    compare("--fail-above 5% --subject spin", 1, "12 significantly worse", NULL);
}

/* One that was rebuilt, say, beside two that were not. */
static void subject_that_changed_throughout_does_not_excuse_others(void **state)
{
    (void)state;
    json_t *a = plx_rows_document();
    json_t *b = plx_rows_document();
    plx_rows_add(a, "rtt", "pollux", 100, 16, "lower", 1);
    plx_rows_add(b, "rtt", "pollux", 110, 16, "lower", 2);
    for (uint32_t i = 0; i < 12; i++) {
        char name[24];
        snprintf(name, sizeof(name), "case%u", i);
        const char *others[] = {"spin", "spin", "ck", "raw"};
        /* Twice as many of the one that changed. */
        const char *subject = others[i % 4];
        double after = i % 4 < 2 ? 55 : 50;
        plx_rows_add(a, name, subject, 50, 16, "lower", 2 * i);
        plx_rows_add(b, name, subject, after, 16, "lower", 2 * i + 1);
    }
    plx_rows_write(a, a_path);
    plx_rows_write(b, b_path);
    compare("--fail-above 5%", 1, "failed: rows of pollux", NULL);
}

/*
 * pollux became slower by a tenth. So many rows of others: in each case the subjects, in the same
 * order, of which the first changed as much, and the others did not.
 */
static void write_rebuilt(uint32_t rows, const char *const *subjects, uint32_t subject_count)
{
    json_t *a = plx_rows_document();
    json_t *b = plx_rows_document();
    plx_rows_add(a, "rtt", "pollux", 100, 16, "lower", 1);
    plx_rows_add(b, "rtt", "pollux", 110, 16, "lower", 2);
    for (uint32_t i = 0; i < rows; i++) {
        char name[24];
        bool rebuilt = i % subject_count == 0;
        snprintf(name, sizeof(name), "case%u", i / subject_count);
        plx_rows_add(a, name, subjects[i % subject_count], 50, 16, "lower", 2 * i);
        plx_rows_add(b, name, subjects[i % subject_count], rebuilt ? 55 : 50, 16, "lower",
                     2 * i + 1);
    }
    plx_rows_write(a, a_path);
    plx_rows_write(b, b_path);
}

static void one_of_two_others_that_changed_throughout_is_no_noise(void **state)
{
    (void)state;
    static const char *const subjects[] = {"spin", "ck"};
    write_rebuilt(24, subjects, 2);
    compare("--fail-above 5%", 1, "failed: rows of pollux", NULL);
}

/* However many rows there are, and whatever the order in which subjects stand. */
static void every_other_subject_is_heard_among_many_rows(void **state)
{
    (void)state;
    static const char *const subjects[] = {"spin", "ck", "raw"};
    static const uint32_t rows[] = {255, 600, 1200};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        write_rebuilt(rows[i], subjects, 3);
        compare("--fail-above 5%", 1, "failed: rows of pollux", NULL);
    }
}

/* Of a counter that moves in steps a median may be on either side of one. */
static void difference_of_one_step_of_the_counter_is_none(void **state)
{
    (void)state;
    json_t *a = plx_rows_document();
    json_t *b = plx_rows_document();
    json_t *before = plx_rows_add(a, "rtt", "pollux", 50, 16, "lower", 1);
    json_t *after = plx_rows_add(b, "rtt", "pollux", 55, 16, "lower", 2);
    static const char *const others[] = {"min", "p90", "p99"};
    for (size_t i = 0; i < 3; i++) {
        json_object_set_new(before, others[i], json_real(45 + 5 * (double)i));
        json_object_set_new(after, others[i], json_real(55 + 5 * (double)i));
    }
    for (size_t i = 0; i < 16; i++) {
        json_array_set_new(json_object_get(before, "round_p50"), i, json_real(50));
        json_array_set_new(json_object_get(after, "round_p50"), i, json_real(i == 3 ? 50 : 55));
    }
    plx_rows_write(json_deep_copy(a), a_path);
    plx_rows_write(json_deep_copy(b), b_path);
    compare("--fail-above 0%", 0, "0 significantly worse", NULL);
    /* It is one where the steps are finer. */
    json_array_set_new(json_object_get(before, "round_p50"), 7, json_real(50.5));
    plx_rows_write(a, a_path);
    plx_rows_write(b, b_path);
    compare("--fail-above 0%", 1, "1 significantly worse", NULL);
}

/* Fast slices have more samples, so that p50 of all samples is theirs. */
static void slices_count_alike_however_many_samples_they_have(void **state)
{
    (void)state;
    json_t *a = plx_rows_document();
    json_t *b = plx_rows_document();
    plx_rows_add(a, "rtt", "pollux", 100, 16, "lower", 1);
    json_t *row = plx_rows_add(b, "rtt", "pollux", 104, 16, "lower", 2);
    json_object_set_new(row, "p50", json_real(40));
    json_object_set_new(row, "ci_low", json_real(40));
    json_object_set_new(row, "ci_high", json_real(41));
    plx_rows_write(a, a_path);
    plx_rows_write(b, b_path);
    compare("", 0, "(40 - 41)", NULL);
    assert_null(strstr(run.out, "-60.0 %"));
}

static void few_rounds_and_no_figures_are_no_verdict(void **state)
{
    (void)state;
    write_pair(100, 200, 4, "lower");
    compare("", 0, "1 without enough quiet rounds or figures", NULL);
    json_t *a = plx_rows_document();
    json_t *b = plx_rows_document();
    plx_rows_add(a, "rtt", "pollux", 100, 16, "lower", 1);
    json_t *row = plx_rows_add(b, "rtt", "pollux", 100, 16, "lower", 1);
    json_object_set_new(row, "p50", json_null());
    plx_rows_write(a, a_path);
    plx_rows_write(b, b_path);
    compare("", 0, "unknown", "warning: 1 rows have figures in");
    assert_non_null(strstr(run.err, "the first: made rtt, pollux"));
}

static void limit_that_nothing_was_judged_by_is_not_kept(void **state)
{
    (void)state;
    static const char failed[] = "failed: no row of pollux could be judged";
    write_pair(100, 200, 4, "lower");
    compare("--fail-above 5%", 1, failed, NULL);
    write_pair(100, 100, 16, "lower");
    compare("--fail-above 5% --subject polux", 1, "no row of polux could be judged", NULL);
    compare("--fail-above 5%", 0, "1 of its rows were judged", NULL);
    /* No row in common. */
    json_t *b = plx_rows_document();
    plx_rows_add(b, "other", "pollux", 100, 16, "lower", 1);
    plx_rows_write(b, b_path);
    compare("--fail-above 5%", 1, failed, NULL);
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
    compare("--fail-above 5%", 0, "like the machine", NULL);
    /* No more than that. */
    json_object_set_new(row, "core_ns", json_real(0.255));
    plx_rows_write(json_deep_copy(b), b_path);
    compare("--fail-above 5%", 1, "1 significantly worse", NULL);
    json_object_set_new(row, "busy", json_true());
    plx_rows_write(b, b_path);
    compare("", 0, "1 without enough quiet rounds", NULL);
}

static void cores_that_were_elsewhere_are_no_verdict(void **state)
{
    (void)state;
    json_t *a = plx_rows_document();
    json_t *b = plx_rows_document();
    json_object_set_new(plx_rows_add(a, "rtt", "pollux", 100, 16, "lower", 1), "line_ns",
                        json_real(90));
    json_t *row = plx_rows_add(b, "rtt", "pollux", 900, 16, "lower", 2);
    json_object_set_new(row, "line_ns", json_real(380));
    plx_rows_write(a, a_path);
    plx_rows_write(json_deep_copy(b), b_path);
    compare("", 0, "1 on cores that were elsewhere", NULL);
    compare("--fail-above 5%", 1, "no row of pollux could be judged", NULL);
    json_object_set_new(row, "line_ns", json_real(99));
    plx_rows_write(b, b_path);
    compare("", 0, "1 significantly worse", NULL);
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

/* --pairs 0:1,0:1 measures one pair twice. */
static void rows_of_one_place_are_compared_in_their_order(void **state)
{
    (void)state;
    json_t *a = plx_rows_document();
    json_t *b = plx_rows_document();
    for (uint64_t i = 0; i < 2; i++) {
        plx_rows_place(plx_rows_add(a, "rtt", "raw", 100 + 100 * (double)i, 16, "lower", i), 0, 1);
        plx_rows_place(plx_rows_add(b, "rtt", "raw", 100 + 140 * (double)i, 16, "lower", i), 0, 1);
    }
    plx_rows_write(a, a_path);
    plx_rows_write(json_deep_copy(b), b_path);
    compare("", 0, "2 rows in both: 1 significantly worse, 0 significantly better, 1 not", NULL);
    assert_null(strstr(run.out, "only in"));
    /* Of three and two nobody knows which is which. */
    plx_rows_place(plx_rows_add(b, "rtt", "raw", 100, 16, "lower", 7), 0, 1);
    plx_rows_write(b, b_path);
    compare("", 0, "0 rows in both", NULL);
}

/* Within the time that a child has; by comparing each with each it takes minutes. */
static void many_rows_of_one_case_take_seconds(void **state)
{
    (void)state;
    json_t *a = plx_rows_document();
    json_t *b = plx_rows_document();
    for (int i = 0; i < 40000; i++) {
        plx_rows_place(plx_rows_add(a, "rtt", "raw", 100, 5, "lower", (uint64_t)i), i, i + 1);
        plx_rows_place(plx_rows_add(b, "rtt", "raw", 100, 5, "lower", (uint64_t)i), i, i + 1);
    }
    plx_rows_write(a, a_path);
    plx_rows_write(b, b_path);
    char line[320];
    snprintf(line, sizeof(line),
             "sh -c 'build=$0; $build bench compare %s %s | grep \"rows in both\"' %s", a_path,
             b_path, plx_run_binary());
    plx_run_line(&run, line);
    plx_run_expect(&run, 0, "40000 rows in both: 0 significantly worse", NULL);
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
    json_object_set_new(a, "plan", json_pack("{s:i,s:i}", "cpu_a", 0, "cpu_b", 1));
    json_object_set_new(b, "plan", json_pack("{s:i,s:n}", "cpu_a", 2, "cpu_b"));
    plx_rows_add(a, "rtt", "pollux", 100, 16, "lower", 1);
    plx_rows_write(a, a_path);
    plx_rows_write(b, b_path);
    compare("", 0, "0 rows in both", "warning: cpu differs");
    assert_non_null(strstr(run.err, "setting idle differs: 'spin' and 'block'"));
    assert_non_null(strstr(run.err, "warning: cpu_a differs: 0 and 2"));
    assert_non_null(strstr(run.err, "warning: cpu_b differs: 1 and null"));
    assert_non_null(strstr(run.err, "other benchmarks, and what ran before may matter: 'made'"));
    assert_non_null(strstr(run.err, "b.json was interrupted"));
}

/* --- what is refused ------------------------------------------------------------------------- */

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

/* What a terminal would obey, and what makes a table wider than any. */
static void names_that_are_not_to_be_shown_end_with_2(void **state)
{
    (void)state;
    static const char *const keys[] = {"bench", "case", "subject", "unit"};
    static const char *const names[] = {"a\033[2Jb", "\x7f", "a\nb", "a\302\233b"};
    char wide[102];
    memset(wide, 'w', sizeof(wide) - 1);
    wide[sizeof(wide) - 1] = '\0';
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        for (size_t j = 0; j <= sizeof(names) / sizeof(names[0]); j++) {
            char err[48];
            json_t *a = plx_rows_document();
            json_t *row = plx_rows_add(a, "rtt", "pollux", 100, 16, "lower", 1);
            bool last = j == sizeof(names) / sizeof(names[0]);
            json_object_set_new(row, keys[i], json_string(last ? wide : names[j]));
            write_pair(100, 100, 6, "lower");
            plx_rows_write(a, a_path);
            snprintf(err, sizeof(err), "no proper \"%s\"", keys[i]);
            compare("", 2, NULL, err);
            assert_null(strchr(run.err, '\033'));
        }
    }
    /* Letters of other alphabets are. */
    json_t *a = plx_rows_document();
    plx_rows_add(a, "rtt", "\303\251t\303\251", 100, 16, "lower", 1);
    plx_rows_write(a, a_path);
    compare("", 0, "\303\251t\303\251", NULL);
}

static void texts_of_a_file_do_not_reach_the_terminal_as_they_are(void **state)
{
    (void)state;
    json_t *a = plx_rows_document();
    json_t *b = plx_rows_document();
    json_object_set_new(json_object_get(json_object_get(a, "settings"), "idle"), "value",
                        json_string("\033[31m\302\233red"));
    json_object_set_new(json_object_get(b, "host"), "cpu", json_string("\302\233\x7f"));
    plx_rows_write(a, a_path);
    plx_rows_write(b, b_path);
    compare("", 0, NULL, "setting idle differs: '?[31m??red' and 'spin'");
    assert_non_null(strstr(run.err, "\"???\""));
    assert_null(strstr(run.err, "\302\233"));
    assert_null(strchr(run.err, '\033'));
    write_text(a_path, "\033[31mno JSON");
    compare("", 2, NULL, "it is no JSON");
    assert_null(strchr(run.err, '\033'));
}

static void row_of_a_million_and_one_slices_ends_with_2(void **state)
{
    (void)state;
    write_pair(100, 100, 6, "lower");
    json_t *a = plx_rows_document();
    plx_rows_add(a, "rtt", "pollux", 100, 1000001, "lower", 1);
    plx_rows_write(a, a_path);
    compare("", 2, NULL, "no proper \"round_p50\"");
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
    plx_run_expect(&run, 1, few ? "could be judged" : "1 significantly worse", NULL);
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
        cmocka_unit_test(others_that_change_from_run_to_run_raise_the_noise),
        cmocka_unit_test(subject_that_changed_throughout_is_not_its_own_excuse),
        cmocka_unit_test(subject_that_changed_throughout_does_not_excuse_others),
        cmocka_unit_test(one_of_two_others_that_changed_throughout_is_no_noise),
        cmocka_unit_test(every_other_subject_is_heard_among_many_rows),
        cmocka_unit_test(difference_of_one_step_of_the_counter_is_none),
        cmocka_unit_test(slices_count_alike_however_many_samples_they_have),
        cmocka_unit_test(few_rounds_and_no_figures_are_no_verdict),
        cmocka_unit_test(limit_that_nothing_was_judged_by_is_not_kept),
        cmocka_unit_test(core_that_was_slower_excuses_as_much),
        cmocka_unit_test(cores_that_were_elsewhere_are_no_verdict),
        cmocka_unit_test(rows_of_one_file_are_listed),
        cmocka_unit_test(rows_of_one_subject_are_told_apart_by_their_cores),
        cmocka_unit_test(rows_of_one_place_are_compared_in_their_order),
        cmocka_unit_test(many_rows_of_one_case_take_seconds),
        cmocka_unit_test(other_host_and_settings_are_warned_of),
        cmocka_unit_test(file_that_is_no_result_of_this_schema_ends_with_2),
        cmocka_unit_test(names_that_are_not_to_be_shown_end_with_2),
        cmocka_unit_test(texts_of_a_file_do_not_reach_the_terminal_as_they_are),
        cmocka_unit_test(row_of_a_million_and_one_slices_ends_with_2),
        cmocka_unit_test(medians_that_are_no_numbers_end_with_2),
        cmocka_unit_test(file_that_cannot_be_read_ends_with_2),
        cmocka_unit_test(usage_errors_end_with_2),
        cmocka_unit_test(baseline_is_read_before_and_compared_after),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
