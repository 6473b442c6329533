/* SPDX-License-Identifier: MIT */
/* A program of somebody else's that takes part as a peer: its rows of all rounds, made into one. */
#include "tools/bench/with.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench/with_run.h"
#include "tools/cli.h"

#define NAME "pollux bench"
/* Subjects that it may print in a round. */
#define SUBJECTS_MAX  8u
#define SUBJECT_BYTES 48u

/* A row of one round. */
struct printed {
    char subject[SUBJECT_BYTES];
    double n, min, p50, p90, p99, p999, p9999, max, mean; /* NAN: not told */
};

/* What it printed of one subject in one case. */
struct series {
    const char *bench;
    const char *case_name;
    char subject[SUBJECT_BYTES];
    struct printed *rounds;
    uint32_t count;
    uint32_t room;
    uint32_t run; /* rounds, of which some are spoiled */
    int64_t row;  /* its place among the rows; -1: none yet */
    int cpu_a;    /* where */
    int cpu_b;
};

struct plx_bench_with {
    const char *command;
    struct series **series; /* each stays where it is: rows point into it */
    uint32_t count;
    uint32_t room;
    struct printed pending[SUBJECTS_MAX]; /* of this round */
    uint32_t pending_count;
    /* The case that it was last asked for, and where. */
    const char *bench;
    const char *case_name;
    int cpu_a;
    int cpu_b;
    bool knows; /* that case */
    bool off;   /* it failed */
    bool took_part;
    char out[PLX_WITH_BYTES];
};

int plx_bench_with_init(struct plx_bench *bench, const char *command)
{
    if (command[strspn(command, " \t")] == '\0')
        return plx_cli_usage_error(NAME, "--with: the command is empty");
    bench->with = calloc(1, sizeof(*bench->with));
    if (bench->with == NULL) {
        plx_cli_error(NAME, "out of memory");
        return PLX_EXIT_FAILED;
    }
    bench->with->command = command;
    return -1;
}

void plx_bench_with_end(struct plx_bench *bench)
{
    struct plx_diag diag;
    const struct plx_bench_with *with = bench->with;
    if (with == NULL || with->off || with->took_part || plx_bench_stopping())
        return;
    plx_diag_set(&diag, -ENOENT, "--with", "'%.60s' took part in no case", with->command);
    plx_bench_failed(bench, "peer", &diag);
}

void plx_bench_with_fini(struct plx_bench *bench)
{
    struct plx_bench_with *with = bench->with;
    for (uint32_t i = 0; with != NULL && i < with->count; i++) {
        free(with->series[i]->rounds);
        free(with->series[i]);
    }
    if (with != NULL)
        free(with->series);
    free(with);
    bench->with = NULL;
}

bool plx_bench_with_fits(struct plx_bench_track *const *tracks, uint32_t count)
{
    for (uint32_t i = 1; i < count; i++) {
        if (tracks[i]->cpu_a != tracks[0]->cpu_a || tracks[i]->cpu_b != tracks[0]->cpu_b)
            return false;
    }
    return true;
}

/* --- reading what it printed ----------------------------------------------------------------- */

static int complain(const struct plx_bench_with *with, struct plx_diag *diag, const char *what)
{
    return plx_diag_set(diag, -EPROTO, "--with", "a row of '%.40s': %s", with->command, what);
}

/* A name that no table, file or plot stumbles on, and that is not ours. */
static bool is_subject(const char *text)
{
    static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                               "._-+/:";
    return text[0] != '\0' && strlen(text) < SUBJECT_BYTES && text[strspn(text, safe)] == '\0' &&
           strncmp(text, "pollux", 6) != 0;
}

static bool agrees(const json_t *row, const char *key, const char *expected)
{
    const json_t *value = json_object_get(row, key);
    return value == NULL ||
           (json_is_string(value) && strcmp(json_string_value(value), expected) == 0);
}

static const char *unit_of(const struct plx_bench_case *what)
{
    const struct plx_bench_row row = {.unit = what->unit};
    return plx_bench_unit_text(&row);
}

static int take_figures(const struct plx_bench_with *with, const json_t *row,
                        struct printed *printed, struct plx_diag *diag)
{
    const struct {
        const char *key;
        double *into;
    } figures[] = {{"n", &printed->n},         {"min", &printed->min}, {"p50", &printed->p50},
                   {"p90", &printed->p90},     {"p99", &printed->p99}, {"p999", &printed->p999},
                   {"p9999", &printed->p9999}, {"max", &printed->max}, {"mean", &printed->mean}};
    for (size_t i = 0; i < sizeof(figures) / sizeof(figures[0]); i++) {
        const json_t *value = json_object_get(row, figures[i].key);
        double number = json_is_number(value) ? json_number_value(value) : (double)NAN;
        if (value != NULL && !json_is_null(value) && !(number >= 0 && number < 1e15))
            return complain(with, diag, "a figure is no number from 0 to 10^15");
        *figures[i].into = number;
    }
    if (!(printed->p50 > 0))
        return complain(with, diag, "it needs \"p50\", above 0");
    return 0;
}

static int take_row(struct plx_bench_with *with, const struct plx_bench_case *what,
                    const json_t *row, struct plx_diag *diag)
{
    const char *subject = json_string_value(json_object_get(row, "subject"));
    if (!json_is_object(row) || subject == NULL || !is_subject(subject))
        return complain(with, diag,
                        "it needs \"subject\": a name of letters, digits and ._-+/: that does not "
                        "begin with pollux");
    if (!agrees(row, "bench", what->bench) || !agrees(row, "case", what->name) ||
        !agrees(row, "unit", unit_of(what)))
        return complain(with, diag, "its bench, case or unit is not the one that was asked for");
    for (uint32_t i = 0; i < with->pending_count; i++) {
        if (strcmp(with->pending[i].subject, subject) == 0)
            return complain(with, diag, "two are of one subject");
    }
    if (with->pending_count == SUBJECTS_MAX)
        return complain(with, diag, "there are more than 8 subjects");
    struct printed *printed = &with->pending[with->pending_count++];
    snprintf(printed->subject, sizeof(printed->subject), "%s", subject);
    return take_figures(with, row, printed, diag);
}

/* The rows follow each other, with blanks and line ends in between. */
static int take_rows(struct plx_bench_with *with, const struct plx_bench_case *what,
                     struct plx_diag *diag)
{
    const char *at = with->out + strspn(with->out, " \t\r\n");
    if (*at == '\0')
        return plx_diag_set(diag, -EPROTO, "--with",
                            "'%.60s' printed no row (status 77 says that a case is unknown)",
                            with->command);
    while (*at != '\0') {
        json_error_t error;
        json_t *row = json_loadb(at, strlen(at), JSON_DISABLE_EOF_CHECK, &error);
        if (row == NULL)
            return plx_diag_set(diag, -EPROTO, "--with", "what '%.40s' printed is no JSON: %.80s",
                                with->command, error.text);
        int rc = take_row(with, what, row, diag);
        json_decref(row);
        if (rc != 0)
            return rc;
        at += error.position;
        at += strspn(at, " \t\r\n");
    }
    return 0;
}

/* --- a round --------------------------------------------------------------------------------- */

static void ask(struct plx_bench *bench, const struct plx_bench_case *what, uint32_t us)
{
    struct plx_bench_with *with = bench->with;
    int cpu_b = with->cpu_b;
    unsigned ms = us >= 1000 ? us / 1000 : 1;
    char numbers[3][16] = {"", "", "-"};
    snprintf(numbers[0], sizeof(numbers[0]), "%u", ms);
    snprintf(numbers[1], sizeof(numbers[1]), "%d", with->cpu_a);
    if (cpu_b >= 0)
        snprintf(numbers[2], sizeof(numbers[2]), "%d", cpu_b);
    const char *const arguments[] = {what->bench, what->name, unit_of(what), numbers[0],
                                     numbers[1],  numbers[2], NULL};
    struct plx_diag diag;
    int rc = plx_bench_with_run(with->command, arguments, ms, with->cpu_a, cpu_b, with->out, &diag);
    with->knows = rc != PLX_WITH_UNKNOWN;
    if (rc == 0)
        rc = take_rows(with, what, &diag);
    if (rc >= 0)
        return;
    with->pending_count = 0;
    with->off = true;
    if (!plx_bench_stopping())
        plx_bench_failed(bench, "peer", &diag);
}

void plx_bench_with_round(struct plx_bench *bench, const struct plx_bench_case *what, uint32_t us,
                          const struct plx_bench_track *like)
{
    struct plx_bench_with *with = bench->with;
    if (with == NULL || with->off)
        return;
    if (with->bench == NULL || strcmp(with->bench, what->bench) != 0 ||
        strcmp(with->case_name, what->name) != 0)
        with->knows = true;
    with->bench = what->bench;
    with->case_name = what->name;
    with->cpu_a = like->cpu_a;
    with->cpu_b = what->two_cores ? like->cpu_b : -1;
    with->pending_count = 0;
    if (with->knows)
        ask(bench, what, us);
}

/* The series of a subject in the case that was asked for; NULL: no memory. */
static struct series *find_or_add(struct plx_bench_with *with, const char *subject)
{
    for (uint32_t i = 0; i < with->count; i++) {
        struct series *series = with->series[i];
        if (strcmp(series->bench, with->bench) == 0 &&
            strcmp(series->case_name, with->case_name) == 0 &&
            strcmp(series->subject, subject) == 0)
            return series;
    }
    if (with->count == with->room) {
        uint32_t room = with->room != 0 ? 2 * with->room : 16;
        struct series **all = realloc(with->series, room * sizeof(struct series *));
        if (all == NULL)
            return NULL;
        with->series = all;
        with->room = room;
    }
    struct series *series = calloc(1, sizeof(*series));
    if (series == NULL)
        return NULL;
    series->bench = with->bench;
    series->case_name = with->case_name;
    snprintf(series->subject, sizeof(series->subject), "%s", subject);
    series->row = -1;
    with->series[with->count++] = series;
    return series;
}

static bool append(struct series *series, const struct printed *printed)
{
    if (series->count == series->room) {
        uint32_t room = series->room != 0 ? 2 * series->room : 64;
        struct printed *rounds = realloc(series->rounds, room * sizeof(*rounds));
        if (rounds == NULL)
            return false;
        series->rounds = rounds;
        series->room = room;
    }
    series->rounds[series->count++] = *printed;
    return true;
}

void plx_bench_with_keep(struct plx_bench *bench, bool spoiled)
{
    struct plx_bench_with *with = bench->with;
    for (uint32_t i = 0; with != NULL && i < with->pending_count; i++) {
        struct series *series = find_or_add(with, with->pending[i].subject);
        struct plx_diag diag;
        if (series == NULL || (!spoiled && !append(series, &with->pending[i]))) {
            plx_diag_set(&diag, -ENOMEM, "--with", "out of memory");
            plx_bench_failed(bench, "peer", &diag);
            with->off = true;
            break;
        }
        series->run++;
        series->cpu_a = with->cpu_a;
        series->cpu_b = with->cpu_b;
        with->took_part = true;
    }
    if (with != NULL)
        with->pending_count = 0;
}

/* --- rows ------------------------------------------------------------------------------------ */

/* The median over rounds of the figure at `offset`, of those that told it; NAN: none did. */
static double median_of(const struct series *series, size_t offset)
{
    struct plx_bench_rounds told = {.p50 = NULL};
    bool known = true;
    for (uint32_t i = 0; i < series->count && known; i++) {
        double value;
        memcpy(&value, (const char *)&series->rounds[i] + offset, sizeof(value));
        known = !isfinite(value) || plx_bench_rounds_add(&told, value) == 0;
    }
    double median = known && told.count != 0 ? plx_bench_median(told.p50, told.count) : (double)NAN;
    plx_bench_rounds_fini(&told);
    return median;
}

static int fill(struct plx_bench_row *row, const struct series *series)
{
    double n = 0;
    double sum = 0;
    row->min = NAN;
    row->max = NAN;
    plx_bench_rounds_fini(&row->rounds);
    for (uint32_t i = 0; i < series->count; i++) {
        const struct printed *round = &series->rounds[i];
        double samples = round->n >= 1 ? round->n : 1;
        n += samples;
        sum += samples * round->mean;
        row->min = fmin(row->min, round->min); /* of NAN and a number the number */
        row->max = fmax(row->max, round->max);
        if (plx_bench_rounds_add(&row->rounds, round->p50) != 0)
            return -ENOMEM;
    }
    row->has = series->count != 0;
    row->n = (uint64_t)n;
    row->mean = sum / n;
    row->p50 = median_of(series, offsetof(struct printed, p50));
    row->p90 = median_of(series, offsetof(struct printed, p90));
    row->p99 = median_of(series, offsetof(struct printed, p99));
    row->p999 = median_of(series, offsetof(struct printed, p999));
    row->p9999 = median_of(series, offsetof(struct printed, p9999));
    row->ci_low = NAN;
    row->ci_high = NAN;
    (void)plx_bench_interval(row->rounds.p50, row->rounds.count, &row->ci_low, &row->ci_high);
    row->slices = series->run;
    row->discarded = series->run - series->count;
    if (!row->has)
        snprintf(row->why, sizeof(row->why), "all %u slices were discarded", row->slices);
    return 0;
}

static int set_row(struct plx_bench *bench, const struct plx_bench_case *what,
                   struct series *series, uint32_t group)
{
    struct plx_bench_row *row = series->row < 0 ? plx_bench_row_add(bench) : NULL;
    if (series->row < 0 && row == NULL)
        return -ENOMEM;
    if (series->row < 0)
        series->row = (int64_t)bench->row_count - 1;
    row = &bench->rows[series->row];
    row->bench = what->bench;
    row->case_name = what->name;
    row->what = what->what;
    row->subject = series->subject;
    row->unit = what->unit;
    row->block = 1;
    row->group = group;
    row->cpu_a = series->cpu_a;
    row->cpu_b = series->cpu_b;
    const struct plx_machine_cpu *a = plx_machine_cpu(bench->machine, (uint32_t)series->cpu_a);
    const struct plx_machine_cpu *b =
        series->cpu_b >= 0 ? plx_machine_cpu(bench->machine, (uint32_t)series->cpu_b) : NULL;
    row->node_a = a != NULL ? (int)a->node : -1;
    row->node_b = b != NULL ? (int)b->node : -1;
    row->mem_node = -1;
    return fill(row, series);
}

int plx_bench_with_rows(struct plx_bench *bench, const struct plx_bench_case *what, uint32_t group)
{
    struct plx_bench_with *with = bench->with;
    int rc = 0;
    for (uint32_t i = 0; with != NULL && i < with->count && rc == 0; i++) {
        if (strcmp(with->series[i]->bench, what->bench) == 0 &&
            strcmp(with->series[i]->case_name, what->name) == 0)
            rc = set_row(bench, what, with->series[i], group);
    }
    return rc;
}
