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

/* --- one row --------------------------------------------------------------------------------- */

/* The round medians of a row, to be freed; NULL: none, or no memory. */
static double *rounds_of(const json_t *row, uint32_t *count)
{
    const json_t *array = json_object_get(row, "round_p50");
    *count = (uint32_t)json_array_size(array);
    double *values = *count != 0 ? malloc(*count * sizeof(*values)) : NULL;
    if (values == NULL)
        *count = 0;
    for (uint32_t i = 0; i < *count; i++)
        values[i] = json_number_value(json_array_get(array, i));
    return values;
}

static bool is_rate(const json_t *row)
{
    return strcmp(plx_bench_text(row, "better"), "higher") == 0;
}

/* p50 of `b` over that of `a`, so that more is worse; NAN where one has none. */
static double slowdown_of(const json_t *a, const json_t *b)
{
    double before = plx_bench_number(a, "p50");
    double after = plx_bench_number(b, "p50");
    if (!(before > 0) || !(after > 0))
        return NAN;
    return is_rate(a) ? before / after : after / before;
}

static void bound(struct plx_compare_change *change, const json_t *a, const json_t *b)
{
    const json_t *above = is_rate(a) ? a : b;
    const json_t *below = is_rate(a) ? b : a;
    change->low = plx_bench_number(above, "ci_low") / plx_bench_number(below, "ci_high");
    change->high = plx_bench_number(above, "ci_high") / plx_bench_number(below, "ci_low");
}

/* By which part a figure of the machine differs. NAN: it is not known of both. */
static double moved(const json_t *a, const json_t *b, const char *key)
{
    double ratio = plx_bench_number(b, key) / plx_bench_number(a, key);
    return ratio > 1 ? ratio - 1 : 1 / ratio - 1;
}

/*
 * What is known of the machine's doing: how far the two runs, the speed of the core and the way
 * between two cores moved meanwhile.
 */
static double noise_of(const json_t *a, const json_t *b, double drift_a, double drift_b)
{
    const double parts[] = {drift_a,
                            drift_b,
                            plx_bench_number(a, "core_drift"),
                            plx_bench_number(b, "core_drift"),
                            moved(a, b, "core_ns"),
                            moved(a, b, "line_ns")};
    double noise = PLX_COMPARE_NOISE;
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        noise = fmax(noise, parts[i]); /* of NAN and a number the number */
    return noise;
}

static enum plx_compare_verdict judge(const struct plx_compare_change *change, double peers)
{
    bool overlap = change->low <= 1 && change->high >= 1; /* false where they are not known */
    double step = log1p(change->noise);
    if (change->probability >= PLX_COMPARE_PROBABILITY || overlap ||
        fabs(log(change->slowdown)) <= step)
        return PLX_COMPARE_SAME;
    double own = log(change->slowdown / peers);
    if (fabs(own) <= step || (own > 0) != (change->slowdown > 1))
        return PLX_COMPARE_MOVED;
    return change->slowdown > 1 ? PLX_COMPARE_SLOWER : PLX_COMPARE_FASTER;
}

struct plx_compare_change plx_compare_rows(const json_t *a, const json_t *b, double peers)
{
    struct plx_compare_change change = {.slowdown = slowdown_of(a, b),
                                        .low = NAN,
                                        .high = NAN,
                                        .probability = 1,
                                        .noise = PLX_COMPARE_NOISE,
                                        .verdict = PLX_COMPARE_UNKNOWN};
    uint32_t a_count;
    uint32_t b_count;
    double *a_rounds = rounds_of(a, &a_count);
    double *b_rounds = rounds_of(b, &b_count);
    if (isfinite(change.slowdown)) {
        bound(&change, a, b);
        change.noise =
            noise_of(a, b, plx_bench_drift(a_rounds, a_count), plx_bench_drift(b_rounds, b_count));
        change.probability = plx_bench_same_probability(a_rounds, a_count, b_rounds, b_count);
        bool busy =
            json_is_true(json_object_get(a, "busy")) || json_is_true(json_object_get(b, "busy"));
        if (!busy && a_count >= PLX_COMPARE_ROUNDS_MIN && b_count >= PLX_COMPARE_ROUNDS_MIN)
            change.verdict = judge(&change, peers);
    }
    free(a_rounds);
    free(b_rounds);
    return change;
}

/* --- which rows belong together -------------------------------------------------------------- */

/* A pair of rows; one of the two is NULL where the other file has no such. */
struct match {
    const json_t *a;
    const json_t *b;
    struct plx_compare_change change;
};

struct comparison {
    struct match *matches; /* in a's order, then what only b has */
    size_t count;
    size_t verdicts[PLX_COMPARE_UNKNOWN + 1];
    bool fails;
};

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

/* The rows by key; a key of two rows has null. */
static json_t *index_of(const json_t *document, bool places)
{
    char key[KEY_BYTES];
    size_t index;
    json_t *row;
    json_t *by_key = json_object();
    json_array_foreach(json_object_get(document, "results"), index, row)
    {
        key_of(row, places, key);
        if (json_object_get(by_key, key) != NULL)
            json_object_set_new(by_key, key, json_null());
        else
            json_object_set(by_key, key, row);
    }
    return by_key;
}

/* Indices of both documents, with and without places. */
struct indices {
    json_t *a[2];
    json_t *b[2];
};

/* The row of the other document; NULL: there is none, or several are alike. */
static const json_t *other_of(const json_t *row, json_t *const *own, json_t *const *other)
{
    char key[KEY_BYTES];
    key_of(row, false, key);
    const json_t *found = json_object_get(other[0], key);
    if (json_is_object(json_object_get(own[0], key)) && json_is_object(found))
        return found;
    found = json_object_get(other[1], key_of(row, true, key));
    return json_is_object(found) ? found : NULL;
}

static int match_rows(struct comparison *comparison, const json_t *a, const json_t *b,
                      const struct indices *indices)
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
        (struct match){.a = row, .b = other_of(row, indices->a, indices->b)};
    json_array_foreach(b_rows, index, row)
    {
        if (other_of(row, indices->b, indices->a) == NULL)
            comparison->matches[comparison->count++] = (struct match){.b = row};
    }
    return 0;
}

static int find_matches(struct comparison *comparison, const json_t *a, const json_t *b)
{
    struct indices indices = {{index_of(a, false), index_of(a, true)},
                              {index_of(b, false), index_of(b, true)}};
    int rc = match_rows(comparison, a, b, &indices);
    for (int i = 0; i < 2; i++) {
        json_decref(indices.a[i]);
        json_decref(indices.b[i]);
    }
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

#define PEERS_MAX 32u

/* By how much the peers in the case of a match became slower, itself left out; 1: nobody knows. */
static double peers_of(const struct comparison *comparison, size_t at)
{
    const struct match *matches = comparison->matches;
    double slowdowns[PEERS_MAX];
    uint32_t count = 0;
    size_t first = at;
    /* The rows of a case stand together. */
    while (first > 0 && matches[first - 1].a != NULL &&
           same_case(matches[first - 1].a, matches[at].a))
        first--;
    for (size_t i = first; i < comparison->count && count < PEERS_MAX; i++) {
        if (matches[i].a == NULL || !same_case(matches[i].a, matches[at].a))
            break;
        if (i == at || matches[i].b == NULL || is_of(matches[i].a, "pollux"))
            continue;
        double slowdown = slowdown_of(matches[i].a, matches[i].b);
        /* Another pair of cores is no peer. */
        if (isfinite(slowdown) && strcmp(plx_bench_text(matches[i].a, "subject"),
                                         plx_bench_text(matches[at].a, "subject")) != 0)
            slowdowns[count++] = slowdown;
    }
    return count != 0 ? plx_bench_median(slowdowns, count) : 1;
}

static void judge_all(struct comparison *comparison, const struct plx_compare_opts *opts)
{
    for (size_t i = 0; i < comparison->count; i++) {
        struct match *match = &comparison->matches[i];
        if (match->a == NULL || match->b == NULL)
            continue;
        match->change = plx_compare_rows(match->a, match->b, peers_of(comparison, i));
        comparison->verdicts[match->change.verdict]++;
        bool counts = strcmp(opts->subject, "all") == 0 || is_of(match->a, opts->subject);
        if (counts && opts->fail_above >= 0 && match->change.verdict == PLX_COMPARE_SLOWER &&
            match->change.slowdown - 1 > opts->fail_above)
            comparison->fails = true;
    }
}

/* --- what is printed ------------------------------------------------------------------------- */

static void add_figure(struct plx_cli_table *table, const json_t *row)
{
    double p50 = plx_bench_number(row, "p50");
    double low = plx_bench_number(row, "ci_low");
    double high = plx_bench_number(row, "ci_high");
    if (!isfinite(p50))
        plx_cli_table_add(table, "-");
    else if (isfinite(low) && isfinite(high))
        plx_cli_table_add(table, "%.4g (%.4g - %.4g)", p50, low, high);
    else
        plx_cli_table_add(table, "%.4g", p50);
}

static const char *colour_of(enum plx_compare_verdict verdict, bool coloured)
{
    if (!coloured || (verdict != PLX_COMPARE_SLOWER && verdict != PLX_COMPARE_FASTER))
        return "";
    return verdict == PLX_COMPARE_SLOWER ? "\033[31m" : "\033[32m";
}

static void add_match(struct plx_cli_table *table, const struct match *match, bool coloured)
{
    static const char *const words[] = {"", "slower", "faster", "like its peers", "unknown"};
    const struct plx_compare_change *change = &match->change;
    bool rate = is_rate(match->a);
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
    add_figure(table, match->a);
    add_figure(table, match->b);
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
            "different, %zu\nmoved like their peers, %zu without enough quiet rounds or figures\n",
            all, verdicts[PLX_COMPARE_SLOWER], verdicts[PLX_COMPARE_FASTER],
            verdicts[PLX_COMPARE_SAME], verdicts[PLX_COMPARE_MOVED], verdicts[PLX_COMPARE_UNKNOWN]);
    if (opts->fail_above >= 0)
        fprintf(out, "%s %s became worse by more than %g %%\n",
                comparison->fails ? "failed: rows of" : "passed: no row of", opts->subject,
                100 * opts->fail_above);
}

/* --- what may not be compared ---------------------------------------------------------------- */

/* Says that a member differs, if it does. */
static void warn_member(const json_t *a, const json_t *b, const char *member)
{
    json_t *left = json_object_get(a, member);
    json_t *right = json_object_get(b, member);
    if (left == NULL || right == NULL || json_equal(left, right))
        return;
    char *before = json_dumps(left, JSON_ENCODE_ANY | JSON_COMPACT);
    char *after = json_dumps(right, JSON_ENCODE_ANY | JSON_COMPACT);
    plx_cli_error(NAME, "warning: %s differs: %.200s and %.200s", member,
                  before != NULL ? before : "?", after != NULL ? after : "?");
    free(before);
    free(after);
}

static void warn_settings(const json_t *a, const json_t *b)
{
    const char *key;
    json_t *setting;
    json_object_foreach((json_t *)(uintptr_t)json_object_get(a, "settings"), key, setting)
    {
        const json_t *other = json_object_get(json_object_get(b, "settings"), key);
        const char *before = plx_bench_text(setting, "value");
        const char *after = plx_bench_text(other, "value");
        if (other != NULL && strcmp(before, after) != 0)
            plx_cli_error(NAME, "warning: setting %.60s differs: '%.100s' and '%.100s'", key,
                          before, after);
    }
}

static void warn_all(const json_t *a, const json_t *b, const struct plx_compare_opts *opts)
{
    static const char *const members[] = {
        "kernel",   "arch",       "cpu",   "cpus",     "cores",     "smt",        "quota_mcpus",
        "governor", "hypervisor", "boost", "isolated", "nohz_full", "mitigations"};
    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
        warn_member(json_object_get(a, "host"), json_object_get(b, "host"), members[i]);
    warn_settings(a, b);
    warn_member(a, b, "quick");
    if (json_is_false(json_object_get(a, "complete")))
        plx_cli_error(NAME, "warning: %s was interrupted", opts->name_a);
    if (json_is_false(json_object_get(b, "complete")))
        plx_cli_error(NAME, "warning: %s was interrupted", opts->name_b);
}

int plx_compare_documents(const json_t *a, const json_t *b, const struct plx_compare_opts *opts,
                          FILE *out)
{
    struct comparison comparison = {0};
    warn_all(a, b, opts);
    if (find_matches(&comparison, a, b) != 0) {
        plx_cli_error(NAME, "out of memory");
        return PLX_EXIT_FAILED;
    }
    judge_all(&comparison, opts);
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
    "what either run drifted by meanwhile (2 % at least), also relative to the peers of its "
    "case.\n\n"
    "Exit status: 0 compared, 1 rows are worse by more than --fail-above, 2 usage, or a file that\n"
    "is no result of this schema.";

static const char examples[] = "pollux bench compare before.json after.json\n"
                               "pollux bench compare before.json after.json --fail-above 5%";

int plx_cmd_bench_compare(int argc, char **argv)
{
    struct plx_compare_opts opts = {.fail_above = -1, .subject = "pollux"};
    const char *limit = NULL;
    const struct plx_cli_option options[] = {
        {.name = "fail-above",
         .value = "PERCENT",
         .help = "end with 1 if a row is significantly worse by more",
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
