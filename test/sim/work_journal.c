/* SPDX-License-Identifier: MIT */
/*
 * A journal in simulated files, through several lives: opened, appended to, killed at any moment or
 * out of power, and opened again. Opening gives each record that was acknowledged and not
 * forgotten, in order, as it was; then perhaps some that were not acknowledged, and none that were
 * lost before.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/file/journal.h"
#include "test/sim/world.h"

#define LIVES_MAX   6u
#define RECORDS_MAX 6000u
#define RECORD_MAX  1500u
#define LIFE_STEPS  6000u
#define OPEN_STEPS  300000u

/* What was appended as this sequence last. */
struct appended {
    uint32_t salt;
    uint32_t len;
};

struct log {
    struct sim_run *run;
    struct plx_journal *journal;
    struct plx_journal_opts opts;
    struct appended records[RECORDS_MAX + 1]; /* by sequence */
    uint64_t last;                            /* appended, in any life */
    uint64_t acked;                           /* durable, as told */
    uint64_t forgotten;                       /* as asked for */
    uint32_t salts;
    /* While opening. */
    uint64_t first_given; /* 0: none */
    uint64_t given;       /* the last one */
    bool is_opening;
    bool is_open;
    bool is_closing;
    int result;
};

static bool give_record(struct log *log, uint64_t sequence, const uint8_t *data, uint32_t len)
{
    const struct appended *record = &log->records[sequence];
    if (record->len != len) {
        sim_fail(log->run, "journal: record %llu has %u bytes, not %u",
                 (unsigned long long)sequence, len, record->len);
        return false;
    }
    for (uint32_t i = 0; i < len; i++) {
        if (data[i] != sim_pattern(record->salt, i)) {
            sim_fail(log->run, "journal: record %llu is another at byte %u",
                     (unsigned long long)sequence, i);
            return false;
        }
    }
    return true;
}

static int on_record(uint64_t sequence, const void *data, uint32_t len, void *ctx)
{
    struct log *log = ctx;
    if (log->first_given == 0)
        log->first_given = sequence;
    else if (sequence != log->given + 1)
        sim_fail(log->run, "journal: record %llu is given behind %llu",
                 (unsigned long long)sequence, (unsigned long long)log->given);
    log->given = sequence;
    if (sequence == 0 || sequence > log->last) {
        sim_fail(log->run, "journal: record %llu was never appended", (unsigned long long)sequence);
        return -EINVAL;
    }
    return give_record(log, sequence, data, len) ? 0 : -EINVAL;
}

static void on_durable(struct plx_journal *journal, uint64_t sequence, void *ctx)
{
    struct log *log = ctx;
    (void)journal;
    if (sequence < log->acked || sequence > log->last)
        sim_fail(log->run, "journal: %llu is told as durable, after %llu of %llu",
                 (unsigned long long)sequence, (unsigned long long)log->acked,
                 (unsigned long long)log->last);
    log->acked = sequence;
}

/* --- opening ---------------------------------------------------------------------------------- */

/* What opening has given is all that must be there. */
static void check_opened(struct log *log)
{
    uint64_t last = plx_journal_last(log->journal);
    if (log->first_given != 0 && last != log->given)
        sim_fail(log->run, "journal: it goes on behind %llu, and gave %llu",
                 (unsigned long long)last, (unsigned long long)log->given);
    if (last < log->acked)
        sim_fail(log->run, "journal: %llu were acknowledged, %llu are there",
                 (unsigned long long)log->acked, (unsigned long long)last);
    bool wants = last > log->forgotten;
    if (wants && (log->first_given == 0 || log->first_given > log->forgotten + 1))
        sim_fail(log->run, "journal: it gives from %llu on, %llu were forgotten",
                 (unsigned long long)log->first_given, (unsigned long long)log->forgotten);
    if (plx_journal_durable(log->journal) != last)
        sim_fail(log->run, "journal: %llu were given, %llu are durable", (unsigned long long)last,
                 (unsigned long long)plx_journal_durable(log->journal));
    log->last = last;
    log->acked = last;
}

static void on_opened(struct plx_journal *journal, int result, void *ctx)
{
    struct log *log = ctx;
    log->is_opening = false;
    log->is_open = result == 0;
    log->result = result;
    if (log->run->trace != NULL)
        fprintf(log->run->trace, "journal: opened with %d: %s\n", result,
                result != 0 ? plx_journal_diag(journal)->text : "");
    if (result == 0)
        check_opened(log);
    else if (result == -EBADMSG || log->run->faults.temper != SIM_ROUGH)
        sim_fail(log->run, "journal: opening ended with %d: %s", result,
                 plx_journal_diag(journal)->text);
}

static void begin_open(struct log *log)
{
    struct plx_reactor *reactor = log->run->reactors[0];
    log->first_given = 0;
    log->given = 0;
    int rc = plx_journal_open(log->journal, reactor, plx_reactor_pool(reactor), "/log", &log->opts,
                              on_opened, log);
    log->is_opening = rc == 0;
    if (rc != 0 && rc != -EAGAIN)
        sim_fail(log->run, "journal: open returned %d", rc);
}

/* --- a life ----------------------------------------------------------------------------------- */

static void append(struct log *log)
{
    struct sim_run *run = log->run;
    uint8_t data[RECORD_MAX];
    if (log->last == RECORDS_MAX)
        return;
    uint32_t most = plx_journal_record_max(log->journal);
    most = most < RECORD_MAX ? most : RECORD_MAX;
    uint32_t len =
        (uint32_t)sim_random_below(&run->random, 1 + sim_random_size(&run->random, most));
    uint32_t salt = ++log->salts;
    for (uint32_t i = 0; i < len; i++)
        data[i] = sim_pattern(salt, i);
    uint64_t sequence = 0;
    int rc = plx_journal_append(log->journal, data, len, &sequence);
    if (rc != 0)
        return;
    if (sequence != log->last + 1)
        sim_fail(run, "journal: %llu was appended behind %llu", (unsigned long long)sequence,
                 (unsigned long long)log->last);
    log->last = sequence;
    log->records[sequence] = (struct appended){.salt = salt, .len = len};
}

static void on_closed(struct plx_journal *journal, int result, void *ctx)
{
    struct log *log = ctx;
    (void)journal;
    log->is_closing = false;
    log->is_open = false;
    if (result == 0 && log->acked != log->last)
        sim_fail(log->run, "journal: closed well with %llu of %llu durable",
                 (unsigned long long)log->acked, (unsigned long long)log->last);
    if (result != 0 && log->run->faults.temper != SIM_ROUGH)
        sim_fail(log->run, "journal: closing ended with %d in a harmless world", result);
}

static void begin_close(struct log *log)
{
    int rc = plx_journal_close(log->journal, on_closed, log);
    log->is_closing = rc == 0;
    if (rc != 0)
        sim_fail(log->run, "journal: close returned %d", rc);
}

static void use(struct log *log)
{
    struct sim_random *random = &log->run->random;
    if (sim_random_once(random, 3)) {
        for (uint64_t burst = sim_random_size(random, 20); burst > 0; burst--)
            append(log);
    }
    if (sim_random_once(random, 40) && log->acked > log->forgotten) {
        uint64_t upto = log->forgotten + 1 + sim_random_below(random, log->acked - log->forgotten);
        if (plx_journal_forget(log->journal, upto) == 0)
            log->forgotten = upto;
    }
    /* One that has failed, or any: it is closed and opened again in the same life. */
    if (sim_random_once(random, log->journal->error != 0 ? 20 : 2000))
        begin_close(log);
}

static void live(struct log *log, uint64_t steps)
{
    for (uint64_t i = 0; i < steps && !log->run->failed; i++) {
        if (!log->is_open && !log->is_opening)
            begin_open(log);
        else if (log->is_open && !log->is_closing)
            use(log);
        sim_step(log->run);
    }
}

/* To its end in order, as far as faults let it. */
static void leave(struct log *log)
{
    struct sim_run *run = log->run;
    uint64_t until = run->step + OPEN_STEPS;
    if (log->is_open && !log->is_closing)
        begin_close(log);
    while (!run->failed && (log->is_opening || log->is_closing)) {
        sim_step(run);
        if (run->step > until)
            sim_fail(run, "journal: it neither opens nor closes");
        if (log->is_open && !log->is_closing)
            begin_close(log);
    }
    if (!run->failed)
        sim_runtime_stop(run);
}

static void die(struct log *log)
{
    bool power = sim_random_once(&log->run->random, 2);
    if (power)
        sim_fault_count(SIM_FAULT_CRASH);
    if (log->run->trace != NULL)
        fprintf(log->run->trace, "journal: %s lost, %llu of %llu acknowledged, %llu forgotten\n",
                power ? "power" : "process", (unsigned long long)log->acked,
                (unsigned long long)log->last, (unsigned long long)log->forgotten);
    sim_runtime_kill(log->run, power);
    log->is_opening = false;
    log->is_open = false;
    log->is_closing = false;
    /* What the journal had in memory is gone with the process. */
    memset(log->journal, 0, sizeof(*log->journal));
}

/* --- one seed --------------------------------------------------------------------------------- */

static void choose_opts(struct log *log)
{
    struct sim_random *random = &log->run->random;
    plx_journal_opts_init(&log->opts);
    log->opts.segment_bytes = 16384u << sim_random_below(random, 3);
    log->opts.segments = 2 + (uint32_t)sim_random_below(random, 4);
    log->opts.buffer_bytes = 8192u << sim_random_below(random, 3);
    log->opts.direct = sim_random_once(random, 2) ? PLX_WANT_TRY : PLX_WANT_NO;
    log->opts.zero_fill = sim_random_once(random, 2);
    log->opts.on_record = on_record;
    log->opts.on_durable = on_durable;
    log->opts.ctx = log;
}

/* What an op that is never heard of again would do here is wait for ever; and power may be lost in
 * a harmless world, too. */
static void adapt_faults(struct sim_run *run)
{
    static const enum plx__sim_choice of_crash[] = {PLX__SIM_CRASH_PAGE, PLX__SIM_CRASH_TORN,
                                                    PLX__SIM_CRASH_SIZE, PLX__SIM_CRASH_NAME};
    run->faults.choice_rates[PLX__SIM_COMPLETE_LOST] = 0;
    /* An error like any other here: a close is not tried again. */
    if (run->faults.temper != SIM_ROUGH)
        run->faults.choice_rates[PLX__SIM_CLOSE_ERROR] = 0;
    for (uint32_t i = 0; i < 4; i++)
        run->faults.choice_rates[of_crash[i]] = (uint32_t)sim_random_below(&run->random, 1000000);
}

/* Without faults: all that there must be is there. */
static void look_again(struct log *log)
{
    struct sim_run *run = log->run;
    memset(run->faults.choice_rates, 0, sizeof(run->faults.choice_rates));
    memset(run->faults.fault_rates, 0, sizeof(run->faults.fault_rates));
    run->faults.temper = SIM_CALM;
    sim_runtime_open(run, 1);
    uint64_t until = run->step + OPEN_STEPS;
    while (!run->failed && !log->is_open) {
        if (!log->is_opening)
            begin_open(log);
        sim_step(run);
        if (run->step > until)
            sim_fail(run, "journal: it does not open");
    }
    leave(log);
}

bool sim_journal_seed(uint64_t seed, FILE *trace, uint64_t *hash, char *why, size_t why_bytes)
{
    struct sim_run *run = sim_run_begin(seed, trace);
    struct log *log = calloc(1, sizeof(*log));
    struct plx_journal *journal = calloc(1, sizeof(*journal));
    if (run == NULL || log == NULL || journal == NULL)
        return false;
    log->run = run;
    log->journal = journal;
    choose_opts(log);
    adapt_faults(run);
    uint64_t lives = 1 + sim_random_below(&run->random, LIVES_MAX);
    for (uint64_t i = 0; i < lives && !run->failed; i++) {
        sim_runtime_open(run, 1);
        live(log, sim_random_size(&run->random, LIFE_STEPS));
        if (run->failed)
            break;
        if (sim_random_once(&run->random, 4))
            leave(log);
        else
            die(log);
    }
    if (!run->failed)
        look_again(log);
    bool well = sim_run_end(run, hash, why, why_bytes);
    free(journal);
    free(log);
    return well;
}
