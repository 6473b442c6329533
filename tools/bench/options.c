/* SPDX-License-Identifier: MIT */
/* The command line of `pollux bench`, but for the names of benchmarks. */
#include <string.h>

#include "tools/bench/request.h"

/* Another seed measures in another order; the same one in the same. */
#define DEFAULT_SEED  1
#define DEFAULT_WORST 10
#define WORST_MAX     1000
/* A line between two cores takes longer, between two threads of one less. */
#define DEFAULT_GUARD_NS 60

static struct plx_bench_request request = {.outputs.subject = "pollux",
                                           .seed = DEFAULT_SEED,
                                           .repeat = 1,
                                           .threshold_ns = 1000,
                                           .guard_ns = DEFAULT_GUARD_NS,
                                           .worst = DEFAULT_WORST};

static const char details[] =
    "names\n"
    "  c2c     a cache line, compare-and-swap, and queue of cells, for each pair of cores\n"
    "  ring    queue from one thread to one other: round trip, time per item\n"
    "  mesh    posts and calls between two reactors\n"
    "  uring   submitting, an idle turn, completions, cancelling, round trips\n"
    "  tcp     echo over loopback: round trip, and rate with 1, 50, 300 connections\n"
    "  pool    buffers taken and given back, beside malloc, mimalloc and jemalloc\n"
    "  mem     latency, bandwidth, latency under load, by node of the core and of the memory\n"
    "  timer   arming, disarming, firing beside a heap and libuv; reading the clock\n"
    "  task    switching, beginning, ending, yielding, beside fcontext and ucontext\n"
    "  file    reads at random places, beside fio; copies, beside cp and dd\n"
    "  jitter  what is taken from each core, from a bare loop and from an idle reactor\n"
    "  all     each of them\n\n"
    "Cores are chosen as for reactors: --cpus 2,3 (or POLLUX_CPUS) measures on those two.\n"
    "Exit status: 0 all was measured, 1 a measurement failed, 2 usage.";

static const char examples[] = "pollux bench c2c ring --quick\n"
                               "pollux bench all --json results.json\n"
                               "pollux bench mesh --cpus 0,4 --csv -\n"
                               "pollux bench ring --only 'rtt_*' --precision 1% --time 30\n"
                               "pollux bench c2c --pairs 0:1,0:64 --smt\n"
                               "pollux bench all --html report.html --json after.json\n"
                               "pollux bench compare before.json after.json\n"
                               "pollux bench --list\n"
                               "pollux bench jitter --threshold 5us --worst 20";

static const struct plx_cli_option options[] = {
    {.name = "quick",
     .help = "fewer and shorter slices: all benchmarks within a minute or two",
     .kind = PLX_CLI_FLAG,
     .into = &request.quick},
    {.name = "list",
     .help = "print the cases of the named benchmarks, or of all, and open and start nothing",
     .kind = PLX_CLI_FLAG,
     .into = &request.list},
    {.name = "only",
     .value = "CASE",
     .help = "only cases whose name, or BENCH/CASE, matches this pattern (*, ?, [...]); may be "
             "given several times",
     .kind = PLX_CLI_TEXTS,
     .into = &request.only},
    {.name = "json",
     .value = "FILE",
     .help = "write the results as JSON, schema 1; - is standard output, and the tables then go to "
             "standard error",
     .kind = PLX_CLI_TEXT,
     .into = &request.outputs.json},
    {.name = "csv",
     .value = "FILE",
     .help = "the same as comma-separated values",
     .kind = PLX_CLI_TEXT,
     .into = &request.outputs.csv},
    {.name = "html",
     .value = "FILE",
     .help = "one page with all of it and plots, which gnuplot draws (package gnuplot-nox)",
     .kind = PLX_CLI_TEXT,
     .into = &request.outputs.html},
    {.name = "hgrm",
     .value = "DIR",
     .help = "a file in HdrHistogram's format for each row",
     .kind = PLX_CLI_TEXT,
     .into = &request.outputs.hgrm},
    {.name = "baseline",
     .value = "FILE",
     .help = "compare with these results, written by --json before",
     .kind = PLX_CLI_TEXT,
     .into = &request.outputs.baseline},
    {.name = "fail-above",
     .value = "PERCENT",
     .help = "end with 1 if a row is significantly worse than the baseline, and by more, or "
             "none could be judged",
     .kind = PLX_CLI_TEXT,
     .into = &request.outputs.fail_above},
    {.name = "subject",
     .value = "NAME",
     .help = "whose rows --fail-above looks at: pollux and pollux/MODE unless told; `all` any",
     .kind = PLX_CLI_TEXT,
     .into = &request.outputs.subject},
    {.name = "cpus",
     .value = "LIST",
     .help = "measure on these, as POLLUX_CPUS: 0,2-5",
     .kind = PLX_CLI_TEXT,
     .into = &request.cpus},
    {.name = "nodes",
     .value = "LIST",
     .help = "measure on cores and memory of these, as POLLUX_NODES; memory that cannot be had "
             "there, or not be seen there, is then a failure",
     .kind = PLX_CLI_TEXT,
     .into = &request.nodes},
    {.name = "smt",
     .help = "also measure on siblings of a core, as POLLUX_SMT",
     .kind = PLX_CLI_FLAG,
     .into = &request.smt},
    {.name = "pairs",
     .value = "A:B,...",
     .help = "the pairs of CPUs for c2c; the first is what the others measure on",
     .kind = PLX_CLI_TEXT,
     .into = &request.pairs_text},
    {.name = "rounds",
     .value = "N",
     .help = "slices of each subject, 1 to 100000; more are slower and steadier; with "
             "--precision, how many at least",
     .kind = PLX_CLI_COUNT,
     .into = &request.rounds,
     .min = 1,
     .max = 100000},
    {.name = "precision",
     .value = "PERCENT",
     .help = "repeat each case until each median is known so well, its 95 % interval reaching so "
             "far to each side: 2%",
     .kind = PLX_CLI_TEXT,
     .into = &request.precision_text},
    {.name = "time",
     .value = "SECONDS",
     .help = "the most that a case may take, in all of its batches; 60 with --precision unless "
             "told, 5 with --quick, too",
     .kind = PLX_CLI_COUNT,
     .into = &request.seconds,
     .min = 1,
     .max = 86400},
    {.name = "repeat",
     .value = "N",
     .help = "measure everything so many times, set up anew each time; rows are of all together",
     .kind = PLX_CLI_COUNT,
     .into = &request.repeat,
     .min = 1,
     .max = 1000},
    {.name = "with",
     .value = "COMMAND",
     .help = "a program that takes part as a peer, run once a round; pollux-bench(1) says how; may "
             "be given several times",
     .kind = PLX_CLI_TEXTS,
     .into = &request.with},
    {.name = "seed",
     .value = "N",
     .help = "of the order in which subjects take turns",
     .kind = PLX_CLI_COUNT,
     .into = &request.seed,
     .min = 0,
     .max = INT64_MAX},
    {.name = "threshold",
     .value = "TIME",
     .help = "jitter: the shortest gap that counts; 1us unless told",
     .kind = PLX_CLI_DURATION,
     .into = &request.threshold_ns,
     .min = 100,
     .max = 1000000000},
    {.name = "worst",
     .value = "N",
     .help = "jitter: how many of the longest gaps are shown, with what happened; 10 unless told",
     .kind = PLX_CLI_COUNT,
     .into = &request.worst,
     .min = 0,
     .max = WORST_MAX},
    {.name = "guard",
     .value = "TIME",
     .help = "under a hypervisor, two CPUs with a faster round trip of a line are taken for one "
             "core, and their slices discarded; 60ns unless told, 0ns for never",
     .kind = PLX_CLI_DURATION,
     .into = &request.guard_ns,
     .min = 0,
     .max = 1000000},
    {.name = "dir",
     .value = "DIR",
     .help = "where the files of `file` lie meanwhile, on the device to be measured; unless told, "
             "TMPDIR or /var/tmp",
     .kind = PLX_CLI_TEXT,
     .into = &request.dir},
    {.name = "size",
     .value = "BYTES",
     .help = "of the file that `file` reads and copies, 1G unless told, 256M with --quick, and of "
             "the buffers of `mem`",
     .kind = PLX_CLI_SIZE,
     .into = &request.file_bytes,
     .min = 1 << 20,
     .max = INT64_MAX / 4},
    {0},
};

/* What is more than a number or a word. -1 to go on, or the exit status. */
static int read_texts(void)
{
    if (request.precision_text != NULL &&
        !plx_bench_read_percent(request.precision_text, &request.precision))
        return plx_cli_usage_error(PLX_BENCH_NAME,
                                   "--precision takes a percentage from 0.01%% to 50%%, not "
                                   "'%.40s'",
                                   request.precision_text);
    if (request.pairs_text == NULL)
        return -1;
    int count = plx_bench_read_pairs(request.pairs_text, request.pairs);
    if (count == -2)
        return plx_cli_usage_error(PLX_BENCH_NAME, "--pairs: a pair is of two CPUs, not of one");
    if (count < 0)
        return plx_cli_usage_error(PLX_BENCH_NAME,
                                   "--pairs takes up to %u pairs of CPUs such as 0:1,0:4, not "
                                   "'%.40s'",
                                   PLX_BENCH_PAIRS_MAX, request.pairs_text);
    request.pair_count = (uint32_t)count;
    return -1;
}

int plx_bench_parse(int argc, char **argv, struct plx_bench_request **out)
{
    const struct plx_cli_command command = {
        .name = PLX_BENCH_NAME,
        .arguments = "NAME...",
        .summary = "Measures Pollux beside bare floors and peers, in interleaved slices of one "
                   "run, so that\nratios mean something on a machine whose speed drifts.",
        .options = options,
        .details = details,
        .examples = examples,
    };
    int names = 0;
    *out = &request;
    int status = plx_cli_parse(&command, argc, argv, &names);
    if (status < 0)
        status = read_texts();
    return status >= 0 ? status : -1 - names;
}
