/* SPDX-License-Identifier: MIT */
/* pollux bench: what is chosen to be measured, how often, and what is said of it; no figure is. */
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "test/tools/run_pollux.h"

static struct plx_run run;
static int cpus[2];
static uint32_t cpu_count;

static int find_cpus(void **state)
{
    (void)state;
    cpu_set_t set;
    assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
    for (int cpu = 0; cpu < CPU_SETSIZE && cpu_count < 2; cpu++) {
        if (CPU_ISSET((unsigned)cpu, &set))
            cpus[cpu_count++] = cpu;
    }
    return 0;
}

static void need_two(void)
{
    if (cpu_count == 2)
        return;
    print_message("skipped: this needs two CPUs\n");
    skip();
}

/* --- JSON ------------------------------------------------------------------------------------ */

static json_t *results(json_t **root, const char *line)
{
    json_error_t error;
    plx_run_line(&run, line);
    *root = json_loads(run.out, JSON_REJECT_DUPLICATES, &error);
    if (*root == NULL)
        print_error("line %d: %s\n%s\n%s", error.line, error.text, run.out, run.err);
    assert_non_null(*root);
    json_t *rows = json_object_get(*root, "results");
    assert_true(json_is_array(rows));
    return rows;
}

static const char *text_of(const json_t *row, const char *key)
{
    const char *text = json_string_value(json_object_get(row, key));
    assert_non_null(text);
    return text;
}

static json_int_t integer_of(const json_t *row, const char *key)
{
    json_t *value = json_object_get(row, key);
    assert_true(json_is_integer(value));
    return json_integer_value(value);
}

/* How many rows are of that case. */
static size_t count_rows(const json_t *rows, const char *bench, const char *name)
{
    size_t count = 0;
    size_t index;
    json_t *row;
    json_array_foreach(rows, index, row)
    {
        count += strcmp(text_of(row, "bench"), bench) == 0 &&
                 (name == NULL || strcmp(text_of(row, "case"), name) == 0);
    }
    return count;
}

/* --- the list -------------------------------------------------------------------------------- */

static void list_names_every_case_and_measures_nothing(void **state)
{
    (void)state;
    plx_run_line(&run, "pollux bench --list");
    plx_run_expect(&run, 0, "c2c     rtt_cas", NULL);
    static const char *const lines[] = {
        "\nring    rtt_8B",  "\nmesh    idle_turn_4", "\nuring   publish_1 ",
        "\ntcp     rate_50", "\npool    one_4K",      "\nmem     chase_1G",
        "\nmem     loaded",  "\ntimer   clock",       "\nfile    randread_4K_64_cpu",
        "\ntask    switch",  "\njitter  stolen"};
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        assert_non_null(strstr(run.out, lines[i]));
    assert_null(strstr(run.out, "slices"));
    assert_string_equal(run.err, "");
}

static void list_of_some_honours_names_and_patterns(void **state)
{
    (void)state;
    plx_run_line(&run, "pollux bench --list mem c2c --only 'chase_*' --only c2c/rtt_line");
    plx_run_expect(&run, 0, "c2c     rtt_line", NULL);
    size_t lines = 0;
    for (const char *at = run.out; (at = strchr(at, '\n')) != NULL; at++)
        lines++;
    assert_int_equal(lines, 4);
}

/* --- what is measured ------------------------------------------------------------------------ */

static void only_leaves_the_cases_that_match(void **state)
{
    (void)state;
    json_t *root;
    json_t *rows =
        results(&root, "pollux bench c2c mem --quick --rounds 1 --size 4M --only rtt_cas "
                       "--only mem/chase_4K --json -");
    assert_true(count_rows(rows, "c2c", "rtt_cas") >= 1);
    assert_true(count_rows(rows, "mem", "chase_4K") >= 1);
    assert_int_equal(count_rows(rows, "c2c", "rtt_cas") + count_rows(rows, "mem", "chase_4K"),
                     json_array_size(rows));
    json_decref(root);
}

static void second_figures_can_be_asked_for_alone(void **state)
{
    (void)state;
    json_t *root;
    json_t *rows = results(&root, "pollux bench jitter --quick --rounds 1 --only stolen --json -");
    plx_run_expect(&run, 0, NULL, NULL);
    assert_true(count_rows(rows, "jitter", "stolen") >= 2);
    assert_int_equal(count_rows(rows, "jitter", NULL), count_rows(rows, "jitter", "stolen"));
    json_decref(root);
}

static void pairs_are_measured_in_their_order(void **state)
{
    (void)state;
    need_two();
    char line[160];
    json_t *root;
    snprintf(line, sizeof(line),
             "pollux bench c2c ring --only 'rtt_*' --pairs %d:%d --quick --rounds 1 --json -",
             cpus[1], cpus[0]);
    json_t *rows = results(&root, line);
    size_t index;
    json_t *row;
    assert_true(json_array_size(rows) >= 4);
    json_array_foreach(rows, index, row)
    {
        assert_int_equal(integer_of(row, "cpu_a"), cpus[1]);
        assert_int_equal(integer_of(row, "cpu_b"), cpus[0]);
    }
    json_decref(root);
}

static void cpus_of_the_command_line_come_before_the_environment(void **state)
{
    (void)state;
    need_two();
    char line[160];
    json_t *root;
    snprintf(line, sizeof(line),
             "POLLUX_CPUS=%d pollux bench jitter --cpus %d --only turn --quick --rounds 1 --json -",
             cpus[0], cpus[1]);
    json_t *rows = results(&root, line);
    plx_run_expect(&run, 0, NULL, NULL);
    assert_int_equal(json_array_size(rows), 2);
    assert_int_equal(integer_of(json_array_get(rows, 0), "cpu_a"), cpus[1]);
    json_decref(root);
}

static void nodes_of_the_command_line_hold(void **state)
{
    (void)state;
    json_t *root;
    json_t *rows = results(&root, "pollux bench mem --nodes 0 --only chase_4K --size 2M --quick "
                                  "--rounds 1 --json -");
    assert_int_equal(json_array_size(rows), 1);
    assert_int_equal(integer_of(json_array_get(rows, 0), "mem_node"), 0);
    json_decref(root);
}

/* --- how often ------------------------------------------------------------------------------- */

static void repeated_measurement_gives_the_same_rows_with_more_samples(void **state)
{
    (void)state;
    json_t *root;
    json_t *rows = results(&root, "pollux bench jitter --only turn --quick --rounds 2 --repeat 3 "
                                  "--json -");
    plx_run_expect(&run, 0, NULL, NULL);
    size_t index;
    json_t *row;
    json_array_foreach(rows, index, row) assert_int_equal(integer_of(row, "rounds"), 6);
    assert_int_equal(integer_of(root, "slices"), 6 * (json_int_t)json_array_size(rows));
    json_decref(root);
    plx_run_line(&run, "pollux bench jitter --only turn --quick --rounds 1 --repeat 2");
    plx_run_expect(&run, 0, "jitter turn", NULL);
    assert_null(strstr(strstr(run.out, "jitter turn") + 1, "jitter turn"));
}

/* A round takes a quarter of a second, and six are needed for any precision. */
static void time_ends_a_case_however_precise_it_should_be(void **state)
{
    (void)state;
    json_t *root;
    json_t *rows = results(&root, "pollux bench jitter --only turn --quick --time 1 "
                                  "--precision 0.01% --json -");
    char text[64];
    snprintf(text, sizeof(text), "%zu rows did not come to 0.01 %%", json_array_size(rows));
    assert_true(integer_of(root, "slices") >= (json_int_t)json_array_size(rows));
    assert_non_null(strstr(run.err, text));
    assert_non_null(strstr(run.err, "slices were preceded by 1.0 ms that do not count"));
    json_decref(root);
}

static void precision_takes_six_rounds_at_least(void **state)
{
    (void)state;
    json_t *root;
    json_t *rows =
        results(&root, "pollux bench jitter --only turn --quick --precision 50% --json -");
    size_t index;
    json_t *row;
    json_array_foreach(rows, index, row) assert_true(integer_of(row, "rounds") >= 6);
    json_decref(root);
}

static void rounds_are_the_least_with_a_precision(void **state)
{
    (void)state;
    json_t *root;
    json_t *rows = results(&root, "pollux bench timer --only clock --quick --precision 50% "
                                  "--rounds 20 --time 40 --json -");
    assert_int_equal(json_array_size(rows), 2);
    /* Of a row's rounds some may be discarded. */
    assert_true(integer_of(root, "slices") >= 2 * 20);
    json_decref(root);
}

static void precision_is_of_the_figures_that_are_asked_for(void **state)
{
    (void)state;
    json_t *root;
    /* There is never a gap, so nothing would ever be known of their median. */
    char line[160];
    snprintf(line, sizeof(line),
             "pollux bench jitter --only stolen --quick --threshold 1s --precision 2%% --time 20 "
             "--cpus %d --json -",
             cpus[0]);
    json_t *rows = results(&root, line);
    size_t index;
    json_t *row;
    json_array_foreach(rows, index, row) assert_int_equal(integer_of(row, "rounds"), 6);
    assert_null(strstr(run.err, "did not come to"));
    json_decref(root);
}

/* Each slice takes 11 ms at least: in the second there are 90 of them, and a round for each batch.
 */
static void time_is_that_of_all_batches_together(void **state)
{
    (void)state;
    need_two();
    char line[1024] = "pollux bench c2c --only rtt_line --time 1 --json - --pairs ";
    json_t *root;
    for (int i = 0; i < 64; i++)
        snprintf(line + strlen(line), sizeof(line) - strlen(line), "%s%d:%d", i != 0 ? "," : "",
                 cpus[i % 2], cpus[1 - i % 2]);
    (void)results(&root, line);
    assert_true(integer_of(root, "slices") >= 64);
    assert_true(integer_of(root, "slices") <= 90 + 64 + 16);
    json_decref(root);
}

static void long_case_is_told_of_beforehand(void **state)
{
    (void)state;
    static const char *const words[] = {"pollux", "bench",    "timer",  "--only",
                                        "clock",  "--rounds", "100000", NULL};
    plx_run_begin(&run, words, NULL);
    assert_true(plx_run_await(&run, "timer clock: about "));
    plx_run_signal(&run, SIGINT);
    plx_run_end(&run);
}

/* --- what is taken off ----------------------------------------------------------------------- */

static double number_of(const json_t *rows, const char *name, const char *key)
{
    size_t index;
    json_t *row;
    json_array_foreach(rows, index, row)
    {
        if (strcmp(text_of(row, "case"), name) == 0)
            return json_number_value(json_object_get(row, key));
    }
    fail_msg("there is no row of %s", name);
    return 0;
}

/* publish_1 reads the counter around each op, the others around all of a block. */
static void readings_are_taken_off_of_every_publish(void **state)
{
    (void)state;
    need_two();
    json_t *root;
    json_t *rows = results(&root, "pollux bench uring --only 'publish*' --quick --rounds 1 "
                                  "--json -");
    double alone = number_of(rows, "publish_b1", "overhead_ns");
    if (json_is_null(json_object_get(json_array_get(rows, 0), "p50"))) {
        json_decref(root);
        print_message("skipped: there is no SQ thread here, or nothing was kept\n");
        skip();
    }
    assert_true(alone > 0);
    assert_true(number_of(rows, "publish_1", "overhead_ns") > 0.99 * alone);
    assert_true(number_of(rows, "publish_b8", "overhead_ns") > 0.12 * alone);
    assert_true(number_of(rows, "publish_b8", "overhead_ns") < 0.13 * alone);
    assert_true(number_of(rows, "publish_32", "overhead_ns") > 0.03 * alone);
    json_decref(root);
}

/* One reading of a block is taken off each: between fences it takes longer, on most processors. */
static void readings_that_are_fenced_cost_more(void **state)
{
    (void)state;
    json_t *root;
    json_t *rows = results(&root, "pollux bench timer pool --only expire_64 --only one_4K --quick "
                                  "--rounds 1 --json -");
    double fenced = 64 * number_of(rows, "expire_64", "overhead_ns");
    double plain = 256 * number_of(rows, "one_4K", "overhead_ns");
    assert_true(plain > 0);
    assert_true(fenced >= plain);
    json_decref(root);
}

/* --- the guard ------------------------------------------------------------------------------- */

static bool has_hypervisor(const json_t *root)
{
    return json_is_string(json_object_get(json_object_get(root, "host"), "hypervisor"));
}

/* Slices that were discarded since the two CPUs were taken for one core. */
static json_int_t discarded_by(const char *guard, bool *guarded)
{
    char line[160];
    json_t *root;
    snprintf(line, sizeof(line),
             "pollux bench c2c --only rtt_line --quick --rounds 16 --guard %s --json -", guard);
    (void)results(&root, line);
    *guarded = has_hypervisor(root);
    json_int_t count = integer_of(json_object_get(root, "discarded"), "one_core");
    json_decref(root);
    return count;
}

static void cores_nearer_than_the_guard_are_discarded(void **state)
{
    (void)state;
    need_two();
    bool guarded;
    assert_int_equal(discarded_by("0ns", &guarded), 0);
    if (!guarded) {
        print_message("skipped: no hypervisor, so nobody looks\n");
        skip();
    }
    /* Not all: where other programs run, a line may take as long as that. */
    assert_true(discarded_by("1ms", &guarded) >= 1);
}

/* --- jitter ---------------------------------------------------------------------------------- */

static void jitter_tells_the_longest_gaps_and_what_was_counted(void **state)
{
    (void)state;
    json_t *root;
    json_t *rows =
        results(&root, "pollux bench jitter --quick --threshold 100ns --worst 3 --json -");
    plx_run_expect(&run, 0, NULL, "longest gaps");
    assert_int_equal(count_rows(rows, "jitter", "gaps"), count_rows(rows, "jitter", "stolen"));
    const json_t *jitter = json_object_get(root, "jitter");
    assert_int_equal(integer_of(jitter, "threshold_ns"), 100);
    const json_t *worst = json_object_get(jitter, "worst");
    assert_int_equal(json_array_size(worst), 3);
    double last = 1e18;
    size_t index;
    json_t *gap;
    json_array_foreach(worst, index, gap)
    {
        double ns = json_number_value(json_object_get(gap, "ns"));
        assert_true(ns >= 99 && ns <= last);
        assert_true(integer_of(gap, "at_ns") > 0);
        assert_true(text_of(gap, "what")[0] != '\0');
        last = ns;
    }
    json_decref(root);
}

static void gaps_are_told_of_only_where_they_were_measured(void **state)
{
    (void)state;
    json_t *root;
    json_t *rows = results(&root, "pollux bench jitter uring --quick --rounds 1 --only turn "
                                  "--only histogram_record --json -");
    assert_true(count_rows(rows, "jitter", "turn") != 0);
    assert_false(json_is_object(json_object_get(root, "jitter")));
    json_decref(root);
}

static void jitter_without_a_gap_is_a_result_and_no_failure(void **state)
{
    (void)state;
    json_t *root;
    json_t *rows = results(&root, "pollux bench jitter --quick --rounds 1 --threshold 1s --json -");
    plx_run_expect(&run, 0, NULL, "none in 1 slices");
    size_t index;
    json_t *row;
    json_array_foreach(rows, index, row)
    {
        if (strcmp(text_of(row, "case"), "gaps") == 0)
            assert_true(json_is_null(json_object_get(row, "p50")));
        else
            assert_true(json_is_number(json_object_get(row, "p50")));
    }
    json_decref(root);
}

/* --- mem ------------------------------------------------------------------------------------- */

static void loaded_memory_has_a_bandwidth_for_each_latency(void **state)
{
    (void)state;
    json_t *root;
    json_t *rows = results(&root, "pollux bench mem --only 'loaded*' --size 8M --quick --rounds 1 "
                                  "--json -");
    assert_true(count_rows(rows, "mem", "loaded") >= 7);
    assert_int_equal(count_rows(rows, "mem", "loaded"), count_rows(rows, "mem", "loaded_read"));
    json_decref(root);
}

/* Without a reserved page there is no buffer, and where it would have been is not where it was. */
static void memory_that_was_not_seen_has_no_node(void **state)
{
    (void)state;
    json_t *root;
    json_t *rows = results(&root, "pollux bench mem --only chase_1G --quick --rounds 1 --json -");
    size_t index;
    json_t *row;
    json_array_foreach(rows, index, row) assert_int_equal(
        json_is_null(json_object_get(row, "p50")), json_is_null(json_object_get(row, "mem_node")));
    json_decref(root);
}

static void bandwidth_is_in_its_unit(void **state)
{
    (void)state;
    json_t *root;
    json_t *rows = results(&root, "pollux bench mem --only read_4K --size 4M --quick --rounds 3 "
                                  "--json -");
    double figure = number_of(rows, "read_4K", "p50");
    assert_true(figure > 0.05 && figure < 5000);
    json_decref(root);
}

static void one_core_leaves_what_needs_two_null_with_the_reason(void **state)
{
    (void)state;
    char line[160];
    json_t *root;
    snprintf(line, sizeof(line),
             "pollux bench c2c mem --cpus %d --only 'rtt_*' --only 'loaded*' --quick --json -",
             cpus[0]);
    json_t *rows = results(&root, line);
    plx_run_expect(&run, 0, NULL, "two spinning threads need two cores");
    size_t index;
    json_t *row;
    json_array_foreach(rows, index, row) assert_true(json_is_null(json_object_get(row, "p50")));
    assert_int_equal(json_array_size(rows), 3 + 2 * 7);
    json_decref(root);
}

/* --- usage ----------------------------------------------------------------------------------- */

static void mistakes_are_usage_errors_that_say_what_is_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        const char *err;
    } lines[] = {
        {"pollux bench ring --only nothing --quick", "no case matches 'nothing' (--list"},
        {"pollux bench ring --cpus 0,1023", "CPU 1023, which does not exist"},
        {"pollux bench ring --nodes 77", "77"},
        {"pollux bench ring --pairs 0:1023", "--pairs names CPU 1023, which does not exist"},
        {"pollux bench ring --pairs 0:0", "of two CPUs, not of one"},
        {"pollux bench ring --pairs 0-1", "takes up to 256 pairs of CPUs such as 0:1"},
        {"pollux bench ring --precision 99%", "a percentage from 0.01% to 50%, not '99%'"},
        {"pollux bench ring --time 0", "--time"},
        {"pollux bench ring --repeat 0", "--repeat"},
        {"pollux bench jitter --threshold 1", "--threshold"},
        {"pollux bench c2c --guard 2ms", "--guard"},
        {"pollux bench --list nothing", "there is no benchmark 'nothing'"},
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        plx_run_line(&run, lines[i].line);
        plx_run_expect(&run, 2, NULL, lines[i].err);
    }
}

static void pair_outside_of_the_affinity_is_refused(void **state)
{
    (void)state;
    need_two();
    char command[200];
    /* The binary's own path, as taskset looks for it. */
    snprintf(command, sizeof(command), "taskset -c %d %s bench c2c --pairs %d:%d", cpus[0],
             plx_run_binary(), cpus[0], cpus[1]);
    plx_run_line(&run, command);
    plx_run_expect(&run, 2, NULL, "affinity or cpuset");
}

static void option_given_too_often_is_refused(void **state)
{
    (void)state;
    char line[512] = "pollux bench ring";
    for (int i = 0; i < 33; i++)
        strcat(line, " --only=a");
    plx_run_line(&run, line);
    plx_run_expect(&run, 2, NULL, "--only may be given 32 times at most");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(list_names_every_case_and_measures_nothing),
        cmocka_unit_test(list_of_some_honours_names_and_patterns),
        cmocka_unit_test(only_leaves_the_cases_that_match),
        cmocka_unit_test(second_figures_can_be_asked_for_alone),
        cmocka_unit_test(pairs_are_measured_in_their_order),
        cmocka_unit_test(cpus_of_the_command_line_come_before_the_environment),
        cmocka_unit_test(nodes_of_the_command_line_hold),
        cmocka_unit_test(repeated_measurement_gives_the_same_rows_with_more_samples),
        cmocka_unit_test(time_ends_a_case_however_precise_it_should_be),
        cmocka_unit_test(precision_takes_six_rounds_at_least),
        cmocka_unit_test(rounds_are_the_least_with_a_precision),
        cmocka_unit_test(precision_is_of_the_figures_that_are_asked_for),
        cmocka_unit_test(time_is_that_of_all_batches_together),
        cmocka_unit_test(long_case_is_told_of_beforehand),
        cmocka_unit_test(readings_are_taken_off_of_every_publish),
        cmocka_unit_test(readings_that_are_fenced_cost_more),
        cmocka_unit_test(cores_nearer_than_the_guard_are_discarded),
        cmocka_unit_test(jitter_tells_the_longest_gaps_and_what_was_counted),
        cmocka_unit_test(gaps_are_told_of_only_where_they_were_measured),
        cmocka_unit_test(jitter_without_a_gap_is_a_result_and_no_failure),
        cmocka_unit_test(loaded_memory_has_a_bandwidth_for_each_latency),
        cmocka_unit_test(memory_that_was_not_seen_has_no_node),
        cmocka_unit_test(bandwidth_is_in_its_unit),
        cmocka_unit_test(one_core_leaves_what_needs_two_null_with_the_reason),
        cmocka_unit_test(mistakes_are_usage_errors_that_say_what_is_wrong),
        cmocka_unit_test(pair_outside_of_the_affinity_is_refused),
        cmocka_unit_test(option_given_too_often_is_refused),
    };
    return cmocka_run_group_tests(tests, find_cpus, NULL);
}
