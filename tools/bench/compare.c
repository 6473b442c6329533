/* SPDX-License-Identifier: MIT */
/* Two runs, row by row: what differs by more than chance and noise. */
#include "tools/bench/compare.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench/document.h"
#include "tools/bench/interval.h"
#include "tools/cli.h"

#define NAME "pollux bench compare"

/* --- which rows belong together -------------------------------------------------------------- */

/* A pair of rows; one of the two is NULL where the other file has no such, and nothing changed. */
struct match {
    const json_t *a;
    const json_t *b;
    struct plx_compare_change change;
};

struct comparison {
    struct match *matches; /* in a's order, then what only b has */
    size_t count;
    size_t verdicts[PLX_COMPARE_UNKNOWN + 1];
    size_t judged; /* of the subject that may fail: rows that have a verdict */
    size_t gone;   /* rows that have figures in a and none in b */
    const struct match *first_gone;
    bool fails;
};

/* Of three names, whose lengths plx_bench_load bounds, and five numbers. */
#define KEY_BYTES 512

/* What a row measures, and, with `places`, where. */
static const char *key_of(const json_t *row, bool places, char *key)
{
    int length = snprintf(key, KEY_BYTES - 160, "%s\n%s\n%s", plx_bench_text(row, "bench"),
                          plx_bench_text(row, "case"), plx_bench_text(row, "subject"));
    if (places && length > 0) {
        size_t at = strlen(key);
        snprintf(key + at, KEY_BYTES - at, "\n%g %g %g %g %g", plx_bench_number(row, "cpu_a"),
                 plx_bench_number(row, "cpu_b"), plx_bench_number(row, "node_a"),
                 plx_bench_number(row, "node_b"), plx_bench_number(row, "mem_node"));
    }
    return key;
}

/*
 * The rows of a document by what they measure, null where that is said of several, and by what and
 * where, as arrays: where a pair of cores was asked for twice, there are two.
 */
struct index {
    json_t *once;
    json_t *placed;
    json_t *seen; /* by what and where: how many of them were looked at */
};

static struct index index_of(const json_t *document)
{
    char key[KEY_BYTES];
    size_t at;
    json_t *row;
    struct index index = {json_object(), json_object(), json_object()};
    json_array_foreach(json_object_get(document, "results"), at, row)
    {
        key_of(row, false, key);
        if (json_object_get(index.once, key) != NULL)
            json_object_set_new(index.once, key, json_null());
        else
            json_object_set(index.once, key, row);
        key_of(row, true, key);
        if (json_object_get(index.placed, key) == NULL)
            json_object_set_new(index.placed, key, json_array());
        json_array_append(json_object_get(index.placed, key), row);
    }
    return index;
}

static void free_index(struct index *index)
{
    json_decref(index->once);
    json_decref(index->placed);
    json_decref(index->seen);
}

/*
 * The row of the other document; NULL: there is none. Of several alike in what and where, which are
 * asked for in order, it is the one in the same place among them, if the other has as many.
 */
static const json_t *other_of(const json_t *row, const struct index *own, const struct index *other)
{
    char key[KEY_BYTES];
    key_of(row, false, key);
    const json_t *found = json_object_get(other->once, key);
    if (json_is_object(json_object_get(own->once, key)) && json_is_object(found))
        return found;
    key_of(row, true, key);
    json_int_t nth = json_integer_value(json_object_get(own->seen, key));
    json_object_set_new(own->seen, key, json_integer(nth + 1));
    const json_t *alike = json_object_get(other->placed, key);
    if (json_array_size(alike) != json_array_size(json_object_get(own->placed, key)))
        return NULL;
    return json_array_get(alike, (size_t)nth);
}

static int match_rows(struct comparison *comparison, const json_t *a, const json_t *b,
                      const struct index *a_index, const struct index *b_index)
{
    const json_t *a_rows = json_object_get(a, "results");
    const json_t *b_rows = json_object_get(b, "results");
    size_t most = json_array_size(a_rows) + json_array_size(b_rows);
    comparison->matches = calloc(most != 0 ? most : 1, sizeof(*comparison->matches));
    if (comparison->matches == NULL)
        return -ENOMEM;
    size_t index;
    json_t *row;
    json_array_foreach(a_rows, index, row) comparison->matches[comparison->count++] =
        (struct match){.a = row, .b = other_of(row, a_index, b_index)};
    json_array_foreach(b_rows, index, row)
    {
        if (other_of(row, b_index, a_index) == NULL)
            comparison->matches[comparison->count++] = (struct match){.b = row};
    }
    return 0;
}

static int find_matches(struct comparison *comparison, const json_t *a, const json_t *b)
{
    struct index a_index = index_of(a);
    struct index b_index = index_of(b);
    int rc = match_rows(comparison, a, b, &a_index, &b_index);
    free_index(&a_index);
    free_index(&b_index);
    return rc;
}

/* --- verdicts -------------------------------------------------------------------------------- */

static bool is_of(const json_t *row, const char *subject)
{
    const char *name = plx_bench_text(row, "subject");
    size_t length = strlen(subject);
    return strncmp(name, subject, length) == 0 && (name[length] == '\0' || name[length] == '/');
}

static bool same_case(const json_t *a, const json_t *b)
{
    return strcmp(plx_bench_text(a, "bench"), plx_bench_text(b, "bench")) == 0 &&
           strcmp(plx_bench_text(a, "case"), plx_bench_text(b, "case")) == 0;
}

/* How many of others are asked, at most. */
#define PEERS_MAX  32u
#define OTHERS_MAX 256u
/* Of the absolute values of a normal distribution: what one in a hundred passes, by their median.
 */
#define ONE_IN_A_HUNDRED 3.82

/* A row of somebody else's, whose code is the same in both runs; or all of a subject as one. */
struct other {
    const char *subject;
    double change; /* the slowdown; of all, the median of parts, whichever the direction */
    size_t rows;
};

/* Rows of others, in order, or each other subject once. */
struct others {
    struct other *all;
    size_t count;
    size_t rows;
};

static bool is_other(const struct match *match)
{
    return match->a != NULL && match->b != NULL && !is_of(match->a, "pollux") &&
           match->change.slowdown > 0 && isfinite(match->change.slowdown);
}

static int by_subject(const void *a, const void *b)
{
    const struct other *left = a;
    const struct other *right = b;
    int order = strcmp(left->subject, right->subject);
    return order != 0 ? order : (left->change > right->change) - (left->change < right->change);
}

/* Makes one of all rows of a subject, however many there are: each has one voice. */
static void make_voices(struct others *others)
{
    struct other *all = others->all;
    size_t voices = 0;
    qsort(all, others->count, sizeof(*all), by_subject);
    for (size_t first = 0, next; first < others->count; first = next) {
        for (next = first + 1;
             next < others->count && strcmp(all[first].subject, all[next].subject) == 0;)
            next++;
        double middle = (all[(first + next - 1) / 2].change + all[(first + next) / 2].change) / 2;
        all[voices++] = (struct other){all[first].subject, middle, next - first};
    }
    others->count = voices;
}

/* What is taken: the slowdowns of all rows, or the voices of those with a verdict. 0, or -ENOMEM.
 */
static int find_others(struct others *others, const struct match *matches, size_t count,
                       bool voices)
{
    others->count = 0;
    others->all = calloc(count != 0 ? count : 1, sizeof(*others->all));
    if (others->all == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++) {
        const struct plx_compare_change *change = &matches[i].change;
        if (!is_other(&matches[i]) || (voices && change->verdict != PLX_COMPARE_SAME))
            continue;
        double part = fabs(log(change->slowdown / change->core));
        others->all[others->count++] = (struct other){plx_bench_text(matches[i].a, "subject"),
                                                      voices ? part : change->slowdown, 1};
    }
    others->rows = others->count;
    if (voices)
        make_voices(others);
    return 0;
}

/* By how much they became slower, `subject` left out; 1: nobody knows. */
static double peers_of(const struct others *others, const char *subject)
{
    double slowdowns[PEERS_MAX];
    uint32_t taken = 0;
    for (size_t i = 0; i < others->count && taken < PEERS_MAX; i++) {
        /* Another pair of cores is no peer. */
        if (strcmp(others->all[i].subject, subject) != 0)
            slowdowns[taken++] = others->all[i].change;
    }
    return taken != 0 ? plx_bench_median(slowdowns, taken) : 1;
}

/* What they change by from one run to the next, `subject` left out; negative: they are too few. */
static double between_of(const struct others *others, const char *subject)
{
    double parts[OTHERS_MAX];
    uint32_t taken = 0;
    size_t rows = others->rows;
    /* Of many subjects some. */
    size_t step = others->count / OTHERS_MAX + 1;
    for (size_t i = 0; i < others->count && taken < OTHERS_MAX; i += step) {
        const struct other *other = &others->all[i];
        if (strcmp(other->subject, subject) != 0)
            parts[taken++] = other->change;
        else
            rows -= other->rows;
    }
    if (taken == 0 || rows < PLX_COMPARE_OTHERS)
        return -1;
    /* Of two that differ, one may have been changed, and nobody knows which of them. */
    double usual = taken == 2 ? fmin(parts[0], parts[1]) : plx_bench_median(parts, taken);
    return expm1(ONE_IN_A_HUNDRED * usual);
}

static void count_row(struct comparison *comparison, const struct match *match,
                      const struct plx_compare_opts *opts)
{
    const struct plx_compare_change *change = &match->change;
    comparison->verdicts[change->verdict]++;
    if (isfinite(plx_bench_number(match->a, "p50")) &&
        !isfinite(plx_bench_number(match->b, "p50")) && comparison->gone++ == 0)
        comparison->first_gone = match;
    if (strcmp(opts->subject, "all") != 0 && !is_of(match->a, opts->subject))
        return;
    comparison->judged +=
        change->verdict != PLX_COMPARE_UNKNOWN && change->verdict != PLX_COMPARE_AWAY;
    if (opts->fail_above >= 0 && change->verdict == PLX_COMPARE_SLOWER &&
        change->slowdown - 1 > opts->fail_above)
        comparison->fails = true;
}

/* A number that is worked out once for each subject. */
static double known_of(json_t *known, const char *subject, const struct others *first,
                       const struct others *second,
                       double (*work_out)(const struct others *others, const char *subject))
{
    if (json_object_get(known, subject) == NULL) {
        double value = work_out(first, subject);
        if (value < 0 && second != NULL)
            value = fmax(0, work_out(second, subject));
        json_object_set_new(known, subject, json_real(value));
    }
    return json_number_value(json_object_get(known, subject));
}

/* Judges the matches of a case. `between` keeps what is known of the benchmark. */
static int judge_case(struct comparison *comparison, struct match *matches, size_t count,
                      const struct others *of_bench, const struct others *of_all, json_t *between,
                      const struct plx_compare_opts *opts)
{
    struct others peers;
    if (find_others(&peers, matches, count, false) != 0)
        return -ENOMEM;
    json_t *known = json_object();
    for (size_t i = 0; i < count; i++) {
        if (matches[i].b == NULL)
            continue;
        const char *subject = plx_bench_text(matches[i].a, "subject");
        const struct plx_compare_others others = {
            .peers = known_of(known, subject, &peers, NULL, peers_of),
            .between = known_of(between, subject, of_bench, of_all, between_of)};
        plx_compare_conclude(&matches[i].change, &others);
        count_row(comparison, &matches[i], opts);
    }
    json_decref(known);
    free(peers.all);
    return 0;
}

/* How many matches from the first on are of one benchmark, or of one case of it. */
static size_t run_of(const struct match *matches, size_t count, bool cases)
{
    size_t length = 1;
    while (length < count &&
           strcmp(plx_bench_text(matches[0].a, "bench"),
                  plx_bench_text(matches[length].a, "bench")) == 0 &&
           (!cases || same_case(matches[0].a, matches[length].a)))
        length++;
    return length;
}

static int judge_bench(struct comparison *comparison, struct match *matches, size_t count,
                       const struct others *of_all, const struct plx_compare_opts *opts)
{
    struct others of_bench;
    int rc = find_others(&of_bench, matches, count, true);
    json_t *between = json_object();
    for (size_t at = 0, length; at < count && rc == 0; at += length) {
        length = run_of(&matches[at], count - at, true);
        rc = judge_case(comparison, &matches[at], length, &of_bench, of_all, between, opts);
    }
    json_decref(between);
    free(of_bench.all);
    return rc;
}

/*
 * However many rows there are, each is looked at a few times: what others did is worked out once
 * for each subject, and of a bounded number.
 */
static int judge_all(struct comparison *comparison, const struct plx_compare_opts *opts)
{
    struct match *matches = comparison->matches;
    struct others of_all;
    size_t count = comparison->count;
    /* What only b has comes last. */
    while (count != 0 && matches[count - 1].a == NULL)
        count--;
    for (size_t i = 0; i < count; i++) {
        if (matches[i].b != NULL)
            matches[i].change = plx_compare_change_of(matches[i].a, matches[i].b);
    }
    int rc = find_others(&of_all, matches, count, true);
    /* The rows of a benchmark stand together, and those of a case. */
    for (size_t at = 0, length; at < count && rc == 0; at += length) {
        length = run_of(&matches[at], count - at, false);
        rc = judge_bench(comparison, &matches[at], length, &of_all, opts);
    }
    free(of_all.all);
    if (opts->fail_above >= 0 && comparison->judged == 0)
        comparison->fails = true;
    return rc;
}

/* --- what is printed ------------------------------------------------------------------------- */

static void add_figure(struct plx_cli_table *table, const json_t *row, double figure)
{
    double low = plx_bench_number(row, "ci_low");
    double high = plx_bench_number(row, "ci_high");
    if (!isfinite(figure))
        plx_cli_table_add(table, "-");
    else if (isfinite(low) && isfinite(high))
        plx_cli_table_add(table, "%.4g (%.4g - %.4g)", figure, low, high);
    else
        plx_cli_table_add(table, "%.4g", figure);
}

static const char *colour_of(enum plx_compare_verdict verdict, bool coloured)
{
    if (!coloured || (verdict != PLX_COMPARE_SLOWER && verdict != PLX_COMPARE_FASTER))
        return "";
    return verdict == PLX_COMPARE_SLOWER ? "\033[31m" : "\033[32m";
}

static void add_match(struct plx_cli_table *table, const struct match *match, bool coloured)
{
    static const char *const words[] = {
        "", "slower", "faster", "like the machine", "unknown: cores elsewhere", "unknown"};
    const struct plx_compare_change *change = &match->change;
    bool rate = plx_compare_is_rate(match->a);
    const char *colour = colour_of(change->verdict, coloured);
    const char *word = words[change->verdict];
    if (rate && change->verdict == PLX_COMPARE_SLOWER)
        word = "lower";
    if (rate && change->verdict == PLX_COMPARE_FASTER)
        word = "higher";
    plx_cli_table_add(table, "%s %s", plx_bench_text(match->a, "bench"),
                      plx_bench_text(match->a, "case"));
    plx_cli_table_add(table, "%s", plx_bench_text(match->a, "subject"));
    double a = plx_bench_number(match->a, "cpu_a");
    double b = plx_bench_number(match->a, "cpu_b");
    if (isfinite(a) && isfinite(b))
        plx_cli_table_add(table, "%.0f,%.0f", a, b);
    else if (isfinite(a))
        plx_cli_table_add(table, "%.0f", a);
    else
        plx_cli_table_add(table, "-");
    plx_cli_table_add(table, "%s", plx_bench_text(match->a, "unit"));
    add_figure(table, match->a, change->before);
    add_figure(table, match->b, change->after);
    double ratio = rate ? 1 / change->slowdown : change->slowdown;
    if (isfinite(ratio))
        plx_cli_table_add(table, "%s%+.1f %%%s", colour, 100 * (ratio - 1),
                          colour[0] != '\0' ? "\033[0m" : "");
    else
        plx_cli_table_add(table, "-");
    plx_cli_table_add(table, change->noise < 1 ? "%.1f %%" : "above 100 %%", 100 * change->noise);
    plx_cli_table_add(table, "%s%s%s", colour, word, colour[0] != '\0' ? "\033[0m" : "");
}

static void print_matches(const struct comparison *comparison, const struct plx_compare_opts *opts,
                          FILE *out)
{
    bool coloured = plx_cli_has_colour(out);
    struct plx_cli_table table;
    const char *const headings[] = {"case",       "subject", "cpus",  "unit",   opts->name_a,
                                    opts->name_b, "change",  "noise", "verdict"};
    plx_cli_table_init(&table, "llllrrrrl", out);
    for (size_t i = 0; i < sizeof(headings) / sizeof(headings[0]); i++)
        plx_cli_table_add(&table, "%s", headings[i]);
    for (size_t i = 0; i < comparison->count; i++) {
        if (comparison->matches[i].a != NULL && comparison->matches[i].b != NULL)
            add_match(&table, &comparison->matches[i], coloured);
    }
    if (plx_cli_table_print(&table, out, 0) < 0)
        plx_cli_error(NAME, "out of memory");
    plx_cli_table_fini(&table);
}

/* Where one run is of more benchmarks, a few of its rows tell which. */
#define UNMATCHED_SHOWN 20u

static void print_unmatched(const struct comparison *comparison, const char *name, bool of_a,
                            FILE *out)
{
    size_t shown = 0;
    for (size_t i = 0; i < comparison->count; i++) {
        const struct match *match = &comparison->matches[i];
        const json_t *row = of_a ? match->a : match->b;
        if ((of_a ? match->b : match->a) != NULL || row == NULL)
            continue;
        if (shown++ == 0)
            fprintf(out, "\nonly in %s:\n", name);
        if (shown <= UNMATCHED_SHOWN)
            fprintf(out, "  %s %s, %s\n", plx_bench_text(row, "bench"), plx_bench_text(row, "case"),
                    plx_bench_text(row, "subject"));
    }
    if (shown > UNMATCHED_SHOWN)
        fprintf(out, "  and %zu more\n", shown - UNMATCHED_SHOWN);
}

static void print_sums(const struct comparison *comparison, const struct plx_compare_opts *opts,
                       FILE *out)
{
    const size_t *verdicts = comparison->verdicts;
    size_t all = 0;
    for (size_t i = 0; i <= PLX_COMPARE_UNKNOWN; i++)
        all += verdicts[i];
    fprintf(out,
            "\n%zu rows in both: %zu significantly worse, %zu significantly better, %zu not "
            "different, %zu\nmoved like the machine, %zu without enough quiet rounds or figures, "
            "%zu on cores that were elsewhere\n",
            all, verdicts[PLX_COMPARE_SLOWER], verdicts[PLX_COMPARE_FASTER],
            verdicts[PLX_COMPARE_SAME], verdicts[PLX_COMPARE_MOVED], verdicts[PLX_COMPARE_UNKNOWN],
            verdicts[PLX_COMPARE_AWAY]);
    if (opts->fail_above < 0)
        return;
    if (comparison->judged == 0)
        fprintf(out, "failed: no row of %s could be judged\n", opts->subject);
    else
        fprintf(out, "%s %s became worse by more than %g %%; %zu of its rows were judged\n",
                comparison->fails ? "failed: rows of" : "passed: no row of", opts->subject,
                100 * opts->fail_above, comparison->judged);
}

/* --- what may not be compared ---------------------------------------------------------------- */

#define SHOWN_BYTES 160

/* The beginning of a text of a file, which a terminal may be shown. */
static const char *shown(const char *text, char *buffer)
{
    snprintf(buffer, SHOWN_BYTES, "%s", text != NULL ? text : "?");
    return plx_bench_clean(buffer);
}

/* Says that a member differs, if it does. */
static void warn_member(const json_t *a, const json_t *b, const char *member)
{
    char before[SHOWN_BYTES];
    char after[SHOWN_BYTES];
    json_t *left = json_object_get(a, member);
    json_t *right = json_object_get(b, member);
    if (left == NULL || right == NULL || json_equal(left, right))
        return;
    char *left_text = json_dumps(left, JSON_ENCODE_ANY | JSON_COMPACT);
    char *right_text = json_dumps(right, JSON_ENCODE_ANY | JSON_COMPACT);
    plx_cli_error(NAME, "warning: %s differs: %s and %s", member, shown(left_text, before),
                  shown(right_text, after));
    free(left_text);
    free(right_text);
}

static void warn_settings(const json_t *a, const json_t *b)
{
    char name[SHOWN_BYTES];
    char before[SHOWN_BYTES];
    char after[SHOWN_BYTES];
    const char *key;
    json_t *setting;
    json_object_foreach((json_t *)(uintptr_t)json_object_get(a, "settings"), key, setting)
    {
        const json_t *other = json_object_get(json_object_get(b, "settings"), key);
        const char *left = plx_bench_text(setting, "value");
        const char *right = plx_bench_text(other, "value");
        if (other != NULL && strcmp(left, right) != 0)
            plx_cli_error(NAME, "warning: setting %s differs: '%s' and '%s'", shown(key, name),
                          shown(left, before), shown(right, after));
    }
}

/* The benchmarks of a document in their order, "c2c ring mesh". */
static const char *benches_of(const json_t *document, char *text)
{
    size_t index;
    const json_t *row;
    const char *last = "";
    size_t length = 0;
    text[0] = '\0';
    json_array_foreach(json_object_get(document, "results"), index, row)
    {
        const char *bench = plx_bench_text(row, "bench");
        if (strcmp(bench, last) != 0 && length < SHOWN_BYTES)
            length += (size_t)snprintf(text + length, SHOWN_BYTES - length, "%s%s",
                                       length != 0 ? " " : "", bench);
        last = bench;
    }
    return text;
}

static void warn_benches(const json_t *a, const json_t *b)
{
    char before[SHOWN_BYTES];
    char after[SHOWN_BYTES];
    if (strcmp(benches_of(a, before), benches_of(b, after)) != 0)
        plx_cli_error(NAME,
                      "warning: they are of other benchmarks, and what ran before may matter: '%s' "
                      "and '%s'",
                      before, after);
}

static void warn_all(const json_t *a, const json_t *b, const struct plx_compare_opts *opts)
{
    static const char *const members[] = {
        "kernel",   "arch",       "cpu",   "cpus",     "cores",     "smt",        "quota_mcpus",
        "governor", "hypervisor", "boost", "isolated", "nohz_full", "mitigations"};
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
        warn_member(json_object_get(a, "host"), json_object_get(b, "host"), members[i]);
    warn_settings(a, b);
    warn_member(json_object_get(a, "plan"), json_object_get(b, "plan"), "cpu_a");
    warn_member(json_object_get(a, "plan"), json_object_get(b, "plan"), "cpu_b");
    warn_member(a, b, "quick");
    warn_benches(a, b);
    if (json_is_false(json_object_get(a, "complete")))
        plx_cli_error(NAME, "warning: %s was interrupted", opts->name_a);
    if (json_is_false(json_object_get(b, "complete")))
        plx_cli_error(NAME, "warning: %s was interrupted", opts->name_b);
}

static void warn_gone(const struct comparison *comparison, const struct plx_compare_opts *opts)
{
    const struct match *first = comparison->first_gone;
    if (first != NULL)
        plx_cli_error(
            NAME, "warning: %zu rows have figures in %s and none in %s, the first: %s %s, %s",
            comparison->gone, opts->name_a, opts->name_b, plx_bench_text(first->a, "bench"),
            plx_bench_text(first->a, "case"), plx_bench_text(first->a, "subject"));
}

int plx_compare_documents(const json_t *a, const json_t *b, const struct plx_compare_opts *opts,
                          FILE *out)
{
    struct comparison comparison = {0};
    warn_all(a, b, opts);
    if (find_matches(&comparison, a, b) != 0 || judge_all(&comparison, opts) != 0) {
        plx_cli_error(NAME, "out of memory");
        free(comparison.matches);
        return PLX_EXIT_FAILED;
    }
    warn_gone(&comparison, opts);
    print_matches(&comparison, opts, out);
    print_unmatched(&comparison, opts->name_a, true, out);
    print_unmatched(&comparison, opts->name_b, false, out);
    print_sums(&comparison, opts, out);
    free(comparison.matches);
    return comparison.fails ? PLX_EXIT_FAILED : PLX_EXIT_OK;
}

/* --- the command ----------------------------------------------------------------------------- */

bool plx_compare_read_limit(const char *text, double *limit)
{
    char *end;
    if (text[0] < '0' || text[0] > '9')
        return false;
    *limit = strtod(text, &end) / 100;
    return (end[0] == '\0' || (end[0] == '%' && end[1] == '\0')) && *limit <= 100;
}

static const char details[] =
    "A difference is significant if chance is no likely cause (Mann and Whitney's test on the\n"
    "medians of slices, 1 %), the intervals of the medians do not overlap, and it is larger than\n"
    "what runs of the same code differ by: what peers changed by, what either run drifted by\n"
    "(2 % at least); also when what the core's speed and the peers of its case moved by is taken\n"
    "off.\n\n"
    "Exit status: 0 compared, 1 rows are worse by more than --fail-above, or none could be "
    "judged,\n"
    "2 usage, or a file that is no result of this schema.";

static const char examples[] = "pollux bench compare before.json after.json\n"
                               "pollux bench compare before.json after.json --fail-above 5%";

int plx_cmd_bench_compare(int argc, char **argv)
{
    struct plx_compare_opts opts = {.fail_above = -1, .subject = "pollux"};
    const char *limit = NULL;
    const struct plx_cli_option options[] = {
        {.name = "fail-above",
         .value = "PERCENT",
         .help = "end with 1 if a row is significantly worse by more, or none could be judged",
         .kind = PLX_CLI_TEXT,
         .into = &limit},
        {.name = "subject",
         .value = "NAME",
         .help = "whose rows may fail: pollux and pollux/MODE unless told; `all` any",
         .kind = PLX_CLI_TEXT,
         .into = &opts.subject},
        {0},
    };
    const struct plx_cli_command command = {
        .name = NAME,
        .arguments = "A.json B.json",
        .summary = "Compares two runs of pollux bench, row by row: A before, B after.",
        .options = options,
        .details = details,
        .examples = examples,
    };
    struct plx_diag diag = {0};
    int names = 0;
    int status = plx_cli_parse(&command, argc, argv, &names);
    if (status >= 0)
        return status;
    if (names != 2)
        return plx_cli_usage_error(NAME, "name two files");
    if (limit != NULL && !plx_compare_read_limit(limit, &opts.fail_above))
        return plx_cli_usage_error(NAME, "--fail-above: '%.60s' is no percentage", limit);
    opts.name_a = argv[1];
    opts.name_b = argv[2];
    json_t *a = plx_bench_load(argv[1], &diag);
    json_t *b = a != NULL ? plx_bench_load(argv[2], &diag) : NULL;
    if (b != NULL)
        status = plx_compare_documents(a, b, &opts, stdout);
    else
        plx_cli_diag(NAME, &diag);
    json_decref(a);
    json_decref(b);
    return b != NULL ? status : PLX_EXIT_USAGE;
}
