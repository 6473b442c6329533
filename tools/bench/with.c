/* SPDX-License-Identifier: MIT */
/* Programs of somebody else's that take part as peers: the rows of all rounds, made into one. */
#include "tools/bench/with.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench/document.h"
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
    uint32_t pass;                                        /* when: pass, */
    uint32_t round;                                       /* and round of it */
};

/* A program. */
struct peer {
    const char *command;
    struct printed pending[SUBJECTS_MAX]; /* of this round */
    uint32_t pending_count;
    uint32_t turn; /* in this round: before which of our subjects */
    bool knows;    /* the case that was last begun */
    bool off;      /* it failed */
    bool took_part;
};

/* What a program printed of one subject in one case. */
struct series {
    const struct peer *peer;
    const char *bench;
    const char *case_name;
    char subject[SUBJECT_BYTES];
    struct printed *rounds;
    uint32_t count;
    uint32_t room;
    uint32_t run; /* rounds, of which some are spoiled */
    int cpu_a;    /* where */
    int cpu_b;
};

struct plx_bench_with {
    struct peer peers[PLX_CLI_TEXTS_MAX];
    uint32_t peer_count;
    struct series **series; /* each stays where it is: rows point into it */
    uint32_t count;
    uint32_t room;
    /* The round that goes on: its case, whose names are taken, and where it is. */
    const struct plx_bench_case *what;
    struct plx_bench_track *const *tracks;
    uint32_t track_count;
    bool one_place;
    /* The case that the programs were last asked for. */
    const char *bench;
    const char *case_name;
    char out[PLX_WITH_BYTES];
};

int plx_bench_with_init(struct plx_bench *bench, const struct plx_cli_texts *commands)
{
    for (uint32_t i = 0; i < commands->count; i++) {
        if (commands->texts[i][strspn(commands->texts[i], " \t")] == '\0')
            return plx_cli_usage_error(NAME, "--with: the command is empty");
    }
    bench->with = calloc(1, sizeof(*bench->with));
    if (bench->with == NULL) {
        plx_cli_error(NAME, "out of memory");
        return PLX_EXIT_FAILED;
    }
    for (uint32_t i = 0; i < commands->count; i++)
        bench->with->peers[i].command = commands->texts[i];
    bench->with->peer_count = commands->count;
    return -1;
}

void plx_bench_with_end(struct plx_bench *bench)
{
    struct plx_diag diag;
    const struct plx_bench_with *with = bench->with;
    for (uint32_t i = 0; with != NULL && i < with->peer_count && !plx_bench_stopping(); i++) {
        const struct peer *peer = &with->peers[i];
        if (peer->off || peer->took_part)
            continue;
        plx_diag_set(&diag, -ENOENT, "--with", "'%.60s' took part in no case", peer->command);
        plx_bench_failed(bench, "peer", &diag);
    }
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

/* --- reading what it printed ----------------------------------------------------------------- */

static int complain(const struct peer *peer, struct plx_diag *diag, const char *what)
{
    return plx_diag_set(diag, -EPROTO, "--with", "a row of '%.40s': %s", peer->command, what);
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

static int take_figures(const struct peer *peer, const json_t *row, struct printed *printed,
                        struct plx_diag *diag)
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
            return complain(peer, diag, "a figure is no number from 0 to 10^15");
        *figures[i].into = number;
    }
    if (!(printed->p50 > 0))
        return complain(peer, diag, "it needs \"p50\", above 0");
    return 0;
}

static bool is_of_case(const struct series *series, const char *bench, const char *case_name)
{
    return strcmp(series->bench, bench) == 0 && strcmp(series->case_name, case_name) == 0;
}

/* The row of this case that has the subject and is not of the program; NULL: there is none. */
static const struct plx_bench_row *row_of(const struct plx_bench *bench, const struct peer *peer,
                                          const char *subject)
{
    const struct plx_bench_with *with = bench->with;
    const char *own = NULL;
    for (uint32_t i = 0; i < with->count; i++) {
        const struct series *series = with->series[i];
        if (series->peer == peer && is_of_case(series, with->bench, with->case_name) &&
            strcmp(series->subject, subject) == 0)
            own = series->subject;
    }
    for (uint32_t i = 0; i < bench->row_count; i++) {
        const struct plx_bench_row *row = &bench->rows[i];
        if (row->subject != own && strcmp(row->subject, subject) == 0 &&
            strcmp(row->case_name, with->case_name) == 0 && strcmp(row->bench, with->bench) == 0)
            return row;
    }
    return NULL;
}

/* Whether one of our subjects in this case, or another program's, has the name. */
static bool is_taken(const struct plx_bench *bench, const struct peer *peer, const char *subject)
{
    const struct plx_bench_with *with = bench->with;
    for (uint32_t i = 0; i < with->track_count; i++) {
        if (strcmp(with->tracks[i]->subject->name, subject) == 0)
            return true;
    }
    for (uint32_t i = 0; i < with->count; i++) {
        const struct series *series = with->series[i];
        if (series->peer != peer && is_of_case(series, with->bench, with->case_name) &&
            strcmp(series->subject, subject) == 0)
            return true;
    }
    if (row_of(bench, peer, subject) != NULL)
        return true;
    /* Of this round. */
    for (uint32_t i = 0; i < with->peer_count; i++) {
        for (uint32_t j = 0; j < with->peers[i].pending_count; j++) {
            if (&with->peers[i] != peer && strcmp(with->peers[i].pending[j].subject, subject) == 0)
                return true;
        }
    }
    return false;
}

static int take_row(const struct plx_bench *bench, struct peer *peer, const json_t *row,
                    struct plx_diag *diag)
{
    const struct plx_bench_with *with = bench->with;
    const char *subject = json_string_value(json_object_get(row, "subject"));
    if (!json_is_object(row) || subject == NULL || !is_subject(subject))
        return complain(peer, diag,
                        "it needs \"subject\": a name of letters, digits and ._-+/: that does not "
                        "begin with pollux");
    if (!agrees(row, "bench", with->what->bench) || !agrees(row, "case", with->what->name) ||
        !agrees(row, "unit", unit_of(with->what)))
        return complain(peer, diag, "its bench, case or unit is not the one that was asked for");
    if (is_taken(bench, peer, subject))
        return plx_diag_set(diag, -EEXIST, "--with",
                            "a row of '%.40s': in %s %s there is another subject '%s'",
                            peer->command, with->bench, with->case_name, subject);
    for (uint32_t i = 0; i < peer->pending_count; i++) {
        if (strcmp(peer->pending[i].subject, subject) == 0)
            return complain(peer, diag, "two are of one subject");
    }
    if (peer->pending_count == SUBJECTS_MAX)
        return complain(peer, diag, "there are more than 8 subjects");
    struct printed *printed = &peer->pending[peer->pending_count++];
    snprintf(printed->subject, sizeof(printed->subject), "%s", subject);
    return take_figures(peer, row, printed, diag);
}

/* The rows follow each other, with blanks and line ends in between. */
static int take_rows(const struct plx_bench *bench, struct peer *peer, struct plx_diag *diag)
{
    const struct plx_bench_with *with = bench->with;
    const char *at = with->out + strspn(with->out, " \t\r\n");
    if (*at == '\0')
        return plx_diag_set(diag, -EPROTO, "--with",
                            "'%.60s' printed no row (status 77 says that a case is unknown)",
                            peer->command);
    while (*at != '\0') {
        json_error_t error;
        json_t *row = json_loadb(at, strlen(at), JSON_DISABLE_EOF_CHECK, &error);
        if (row == NULL)
            return plx_diag_set(diag, -EPROTO, "--with", "what '%.40s' printed is no JSON: %.80s",
                                peer->command, plx_bench_clean(error.text));
        int rc = take_row(bench, peer, row, diag);
        json_decref(row);
        if (rc != 0)
            return rc;
        at += error.position;
        at += strspn(at, " \t\r\n");
    }
    return 0;
}

/* --- a round --------------------------------------------------------------------------------- */

/* Subjects on different cores leave none to say where a program is to run. */
static bool are_in_one_place(struct plx_bench_track *const *tracks, uint32_t count)
{
    for (uint32_t i = 1; i < count; i++) {
        if (tracks[i]->cpu_a != tracks[0]->cpu_a || tracks[i]->cpu_b != tracks[0]->cpu_b)
            return false;
    }
    return true;
}

void plx_bench_with_begin(struct plx_bench *bench, const struct plx_bench_case *what,
                          struct plx_bench_track *const *tracks, uint32_t count)
{
    struct plx_bench_with *with = bench->with;
    if (with == NULL)
        return;
    bool anew = with->bench == NULL || strcmp(with->bench, what->bench) != 0 ||
                strcmp(with->case_name, what->name) != 0;
    with->what = what;
    with->tracks = tracks;
    with->track_count = count;
    /* Batches of a case are of several places. */
    with->one_place = what->parts <= 1 && are_in_one_place(tracks, count);
    with->bench = what->bench;
    with->case_name = what->name;
    for (uint32_t i = 0; i < with->peer_count; i++) {
        struct peer *peer = &with->peers[i];
        peer->turn = (uint32_t)(plx_bench_random(&bench->random) % count);
        peer->pending_count = 0;
        peer->knows = peer->knows || anew;
    }
}

static void ask(struct plx_bench *bench, struct peer *peer, uint32_t us)
{
    struct plx_bench_with *with = bench->with;
    const struct plx_bench_case *what = with->what;
    int cpu_a = with->tracks[0]->cpu_a;
    int cpu_b = what->two_cores ? with->tracks[0]->cpu_b : -1;
    unsigned ms = us >= 1000 ? us / 1000 : 1;
    char numbers[3][16] = {"", "", "-"};
    snprintf(numbers[0], sizeof(numbers[0]), "%u", ms);
    snprintf(numbers[1], sizeof(numbers[1]), "%d", cpu_a);
    if (cpu_b >= 0)
        snprintf(numbers[2], sizeof(numbers[2]), "%d", cpu_b);
    const char *const arguments[] = {what->bench, what->name, unit_of(what), numbers[0],
                                     numbers[1],  numbers[2], NULL};
    struct plx_diag diag;
    int rc = plx_bench_with_run(peer->command, arguments, ms, cpu_a, cpu_b, with->out, &diag);
    peer->knows = rc != PLX_WITH_UNKNOWN;
    if (rc == 0)
        rc = take_rows(bench, peer, &diag);
    if (rc >= 0)
        return;
    peer->pending_count = 0;
    peer->off = true;
    if (!plx_bench_stopping())
        plx_bench_failed(bench, "peer", &diag);
}

void plx_bench_with_turn(struct plx_bench *bench, uint32_t us, uint32_t i)
{
    struct plx_bench_with *with = bench->with;
    for (uint32_t j = 0; with != NULL && j < with->peer_count; j++) {
        struct peer *peer = &with->peers[j];
        if (with->one_place && peer->turn == i && peer->knows && !peer->off &&
            !plx_bench_stopping())
            ask(bench, peer, us);
    }
}

/* The series of a program's subject in the case that was asked for; NULL: no memory. */
static struct series *find_or_add(struct plx_bench_with *with, const struct peer *peer,
                                  const char *subject)
{
    for (uint32_t i = 0; i < with->count; i++) {
        struct series *series = with->series[i];
        if (is_of_case(series, with->bench, with->case_name) &&
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
    series->peer = peer;
    series->bench = with->bench;
    series->case_name = with->case_name;
    snprintf(series->subject, sizeof(series->subject), "%s", subject);
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

static bool keep(struct plx_bench_with *with, const struct peer *peer,
                 const struct printed *printed, bool spoiled)
{
    struct series *series = find_or_add(with, peer, printed->subject);
    if (series == NULL || (!spoiled && !append(series, printed)))
        return false;
    series->run++;
    series->cpu_a = with->tracks[0]->cpu_a;
    series->cpu_b = with->what->two_cores ? with->tracks[0]->cpu_b : -1;
    return true;
}

void plx_bench_with_keep(struct plx_bench *bench, uint32_t n, bool spoiled)
{
    struct plx_bench_with *with = bench->with;
    struct plx_diag diag;
    for (uint32_t i = 0; with != NULL && i < with->peer_count; i++) {
        struct peer *peer = &with->peers[i];
        for (uint32_t j = 0; j < peer->pending_count; j++) {
            peer->pending[j].pass = bench->pass;
            peer->pending[j].round = n;
            peer->off = !keep(with, peer, &peer->pending[j], spoiled);
            peer->took_part = true;
            if (!peer->off)
                continue;
            plx_diag_set(&diag, -ENOMEM, "--with", "out of memory");
            plx_bench_failed(bench, "peer", &diag);
            break;
        }
        peer->pending_count = 0;
    }
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

/* The medians of this pass, beside those of our subjects in the same rounds. */
static int pair_rounds(struct plx_bench_row *row, const struct series *series, uint32_t pass,
                       uint32_t rounds)
{
    uint32_t count = row->paired_count + rounds;
    double *paired = realloc(row->paired, (count != 0 ? count : 1) * sizeof(*paired));
    if (paired == NULL)
        return -ENOMEM;
    row->paired = paired;
    for (uint32_t i = row->paired_count; i < count; i++)
        paired[i] = NAN;
    for (uint32_t i = 0; i < series->count; i++) {
        const struct printed *round = &series->rounds[i];
        if (round->pass == pass && round->round < rounds)
            paired[row->paired_count + round->round] = round->p50;
    }
    row->paired_count = count;
    return 0;
}

/* Its row, which may have moved; a new one if there is none. NULL: no memory. */
static struct plx_bench_row *find_or_add_row(struct plx_bench *bench, const struct series *series)
{
    for (uint32_t i = 0; i < bench->row_count; i++) {
        if (bench->rows[i].subject == series->subject)
            return &bench->rows[i];
    }
    return plx_bench_row_add(bench);
}

static int set_row(struct plx_bench *bench, const struct plx_bench_case *what,
                   const struct series *series, const struct plx_bench_track *like, uint32_t group)
{
    struct plx_bench_row *row = find_or_add_row(bench, series);
    if (row == NULL)
        return -ENOMEM;
    row->bench = what->bench;
    row->case_name = what->name;
    row->what = what->what;
    row->subject = series->subject;
    row->unit = what->unit;
    row->block = 1;
    row->group = group;
    row->cpu_a = series->cpu_a;
    row->cpu_b = series->cpu_b;
    row->node_a = plx_bench_node_of(bench, series->cpu_a);
    row->node_b = plx_bench_node_of(bench, series->cpu_b);
    row->mem_node = -1;
    /* It ran on the same core and line, in the same rounds. */
    int rc = plx_bench_row_seen(row, &like->speeds, &like->lines);
    if (rc == 0)
        rc = pair_rounds(row, series, bench->pass, like->round_count);
    if (rc == 0)
        rc = fill(row, series);
    row->unsure = plx_bench_is_unsure(bench, &row->rounds);
    return rc;
}

int plx_bench_with_rows(struct plx_bench *bench, const struct plx_bench_case *what,
                        const struct plx_bench_track *tracks, uint32_t count, uint32_t group)
{
    struct plx_bench_with *with = bench->with;
    const struct plx_bench_track *like = tracks;
    int rc = 0;
    /* All have as many rounds; that could run knows the core. */
    for (uint32_t i = 1; i < count && like->speeds.count == 0; i++)
        like = &tracks[i];
    for (uint32_t i = 0; with != NULL && i < with->count && rc == 0; i++) {
        if (is_of_case(with->series[i], what->bench, what->name))
            rc = set_row(bench, what, with->series[i], like, group);
    }
    return rc;
}
