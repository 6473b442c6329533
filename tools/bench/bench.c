/* SPDX-License-Identifier: MIT */
/* pollux bench: the command line, the list of benchmarks, and what they measure with. */
#include "tools/bench/bench.h"

#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench/compare.h"
#include "tools/bench/frame.h"
#include "tools/bench/pool.h"
#include "tools/bench/request.h"
#include "tools/bench/with.h"
#include "tools/commands.h"

#define NAME PLX_BENCH_NAME

struct entry {
    const char *name;
    int (*parts[2])(struct plx_bench *bench); /* the second may be NULL */
};

static const struct entry entries[] = {
    {"c2c", {plx_bench_c2c, NULL}},
    {"ring", {plx_bench_ring, NULL}},
    {"mesh", {plx_bench_mesh, NULL}},
    {"uring", {plx_bench_uring, NULL}},
    {"tcp", {plx_bench_tcp, plx_bench_tcp_rate}},
    {"pool", {plx_bench_pool, plx_bench_bytes}},
    {"mem", {plx_bench_mem, NULL}},
    {"task", {plx_bench_task, NULL}},
    {"timer", {plx_bench_timer, NULL}},
    {"file", {plx_bench_file, NULL}},
    {"jitter", {plx_bench_jitter, NULL}},
};

#define ENTRY_COUNT (sizeof(entries) / sizeof(entries[0]))

static bool wanted[ENTRY_COUNT];

/* --- command line ---------------------------------------------------------------------------- */

static int unknown_name(const char *word)
{
    char known[128] = "";
    for (size_t i = 0; i < ENTRY_COUNT; i++) {
        size_t length = strlen(known);
        snprintf(known + length, sizeof(known) - length, "%s ", entries[i].name);
    }
    if (word == NULL)
        return plx_cli_usage_error(NAME, "name what to measure: %sall", known);
    return plx_cli_usage_error(NAME, "there is no benchmark '%.60s'; there are: %sall", word,
                               known);
}

static int take_names(int count, char **names, bool list)
{
    if (count == 0 && !list)
        return unknown_name(NULL);
    for (size_t j = 0; count == 0 && j < ENTRY_COUNT; j++)
        wanted[j] = true;
    for (int i = 0; i < count; i++) {
        bool all = strcmp(names[i], "all") == 0;
        bool found = all;
        for (size_t j = 0; j < ENTRY_COUNT; j++) {
            bool same = strcmp(names[i], entries[j].name) == 0;
            wanted[j] = wanted[j] || all || same;
            found = found || same;
        }
        if (!found)
            return unknown_name(names[i]);
    }
    return -1;
}

static bool wants(const char *name)
{
    for (size_t i = 0; i < ENTRY_COUNT; i++) {
        if (strcmp(entries[i].name, name) == 0)
            return wanted[i];
    }
    return false;
}

/* --cpus, --nodes and --smt stand for settings, and come before those of the environment. */
static int take_settings(struct plx_bench *bench, const struct plx_bench_request *request)
{
    const struct {
        const char *name;
        const char *value;
        enum plx_setting_id id;
    } values[] = {{"POLLUX_CPUS", request->cpus, PLX_SETTING_CPUS},
                  {"POLLUX_NODES", request->nodes, PLX_SETTING_NODES},
                  {"POLLUX_SMT", request->smt ? "yes" : NULL, PLX_SETTING_SMT}};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        if (values[i].value != NULL && setenv(values[i].name, values[i].value, 1) != 0) {
            plx_cli_error(NAME, "%s: %s", values[i].name, strerror(errno));
            return PLX_EXIT_FAILED;
        }
    }
    int status = plx_cli_settings(NAME, &bench->settings);
    /* The variables are set for the processes that we start; they are not who gave the value. */
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        if (values[i].value != NULL)
            bench->settings.source[values[i].id] = PLX_SOURCE_APPLICATION;
    }
    return status;
}

/* --- what is measured with ------------------------------------------------------------------- */

bool plx_bench_has_two(const struct plx_bench *bench)
{
    return bench->one_core == NULL;
}

int plx_bench_cpu_a(const struct plx_bench *bench)
{
    return bench->cpu_a;
}

int plx_bench_cpu_b(const struct plx_bench *bench)
{
    return bench->cpu_b;
}

const struct plx_machine *plx_bench_machine(const struct plx_bench *bench)
{
    return bench->machine;
}

bool plx_bench_is_quick(const struct plx_bench *bench)
{
    return bench->quick;
}

uint64_t plx_bench_seed(const struct plx_bench *bench)
{
    return bench->seed;
}

uint32_t plx_bench_ring_entries(const struct plx_bench *bench)
{
    return bench->settings.ring_entries;
}

void plx_bench_failed(struct plx_bench *bench, const char *bench_name, const struct plx_diag *diag)
{
    bench->failed = true;
    plx_cli_progress_clear();
    plx_cli_error(NAME, "%s: %s%s%s", bench_name, diag->what, diag->what[0] != '\0' ? ": " : "",
                  diag->text);
}

bool plx_bench_is_refusal(int rc)
{
    return rc == -EPERM || rc == -EACCES || rc == -ENOSYS || rc == -EOPNOTSUPP;
}

void plx_bench_leave_out(struct plx_bench *bench, const char *peer, const char *why)
{
    for (uint32_t i = 0; i < bench->missing_peer_count; i++) {
        if (strcmp(bench->missing_peers[i], peer) == 0)
            return;
    }
    if (bench->listing)
        return;
    if (bench->missing_peer_count < PLX_BENCH_PEERS_MAX)
        bench->missing_peers[bench->missing_peer_count++] = peer;
    plx_cli_progress_clear();
    plx_cli_error(NAME, "peer %s is left out: %s", peer, why);
}

void plx_bench_missing_peer(struct plx_bench *bench, const char *peer, const char *package)
{
    char why[96];
    snprintf(why, sizeof(why), "%s was not installed when this was built", package);
    plx_bench_leave_out(bench, peer, why);
}

/* The environment without what says which part of the machine is used, and without `also`. */
static char **filtered_environment(const char *const *also)
{
    extern char **environ;
    static const char *const measured[] = {"cpus",         "nodes",       "reactors", "smt",
                                           "pin",          "backend",     "sqpoll",   "sqpoll_cpus",
                                           "sqpoll_share", "sqpoll_idle", "idle",     NULL};
    size_t count = 0;
    while (environ[count] != NULL)
        count++;
    char **kept = calloc(count + 1, sizeof(*kept));
    for (size_t i = 0, next = 0; kept != NULL && i < count; i++) {
        bool left_out = false;
        for (size_t j = 0; strncmp(environ[i], "POLLUX_", 7) == 0 && measured[j] != NULL; j++) {
            size_t length = strlen(measured[j]);
            left_out = left_out || (strncasecmp(environ[i] + 7, measured[j], length) == 0 &&
                                    environ[i][7 + length] == '=');
        }
        for (size_t j = 0; strncmp(environ[i], "POLLUX_", 7) == 0 && also[j] != NULL; j += 2) {
            size_t length = strlen(also[j]);
            left_out = left_out || (strncasecmp(environ[i] + 7, also[j], length) == 0 &&
                                    environ[i][7 + length] == '=');
        }
        if (!left_out)
            kept[next++] = environ[i];
    }
    return kept;
}

int plx_bench_runtime(const struct plx_bench *bench, const char *const *settings,
                      const struct plx_machine *machine, struct plx_runtime **out,
                      struct plx_diag *diag)
{
    struct plx_settings own;
    struct plx_runtime_opts opts;
    *out = NULL;
    char **environment = filtered_environment(settings);
    if (environment == NULL)
        return plx_diag_set(diag, -ENOMEM, "environment", "no memory for a copy");
    plx_settings_init(&own);
    int rc = plx_settings_set(&own, "arena_size", "8M", diag);
    for (size_t i = 0; rc == 0 && settings[i] != NULL; i += 2)
        rc = plx_settings_set(&own, settings[i], settings[i + 1], diag);
    if (rc == 0)
        rc = plx_settings_load_env(&own, environment, diag, NULL, NULL);
    free(environment);
    if (rc != 0)
        return rc;
    plx_runtime_opts_init(&opts);
    opts.machine = machine != NULL ? machine : bench->machine;
    return plx_runtime_create(&own, &opts, out, diag);
}

/* The cores that reactors would get if each had one and no core were kept for an SQ thread. */
static int make_plan(struct plx_bench *bench, struct plx_diag *diag)
{
    struct plx_settings settings = bench->settings;
    static const enum plx_setting_id reset[] = {PLX_SETTING_REACTORS,    PLX_SETTING_SQPOLL,
                                                PLX_SETTING_SQPOLL_CPUS, PLX_SETTING_SQPOLL_SHARE,
                                                PLX_SETTING_ARENA_SIZE,  PLX_SETTING_PIN,
                                                PLX_SETTING_IDLE};
    for (size_t i = 0; i < sizeof(reset) / sizeof(reset[0]); i++)
        settings.source[reset[i]] = PLX_SOURCE_DEFAULT;
    /* Pinned, and idle by the same policy everywhere: what a plan notes of these is not of ours. */
    static const char *const values[] = {"reactors", "0",          "sqpoll", "off", "sqpoll_cpus",
                                         "",         "arena_size", "8M",     "pin", "try",
                                         "idle",     "yield",      NULL};
    int rc = 0;
    for (size_t i = 0; rc == 0 && values[i] != NULL; i += 2)
        rc = plx_settings_set(&settings, values[i], values[i + 1], diag);
    /* Nor are as many threads as cores: a quota is looked at where two of them spin. */
    struct plx_machine machine = *bench->machine;
    machine.quota_mcpus = 0;
    return rc == 0 ? plx_plan_create(&machine, &settings, &bench->plan, diag) : rc;
}

/* Whether the CPUs of --pairs are there for us. */
static int check_pairs(const struct plx_bench *bench, struct plx_diag *diag)
{
    for (uint32_t i = 0; i < 2 * bench->pair_count; i++) {
        int cpu = i % 2 == 0 ? bench->pairs[i / 2].a : bench->pairs[i / 2].b;
        const struct plx_machine_cpu *found = plx_machine_cpu(bench->machine, (uint32_t)cpu);
        if (found == NULL)
            return plx_diag_set(diag, -EINVAL, "--pairs",
                                "--pairs names CPU %d, which does not exist; the last one is %u",
                                cpu, bench->machine->cpus[bench->machine->cpu_count - 1].cpu);
        if (!found->allowed)
            return plx_diag_set(diag, -EINVAL, "--pairs",
                                "--pairs names CPU %d, on which the process's affinity or cpuset "
                                "does not let it run",
                                cpu);
    }
    return 0;
}

static void choose_cores(struct plx_bench *bench)
{
    const struct plx_plan *plan = bench->plan;
    char vendor[16];
    bench->cpu_a = (int)plan->reactors[0].cpu;
    bench->cpu_b = plan->reactor_count > 1 ? (int)plan->reactors[1].cpu : -1;
    if (bench->pair_count != 0) {
        bench->cpu_a = bench->pairs[0].a;
        bench->cpu_b = bench->pairs[0].b;
    }
    if (bench->cpu_b < 0)
        bench->one_core = "two spinning threads need two cores, and there is one usable";
    else if (bench->machine->quota_mcpus != 0 && bench->machine->quota_mcpus < 2000)
        bench->one_core = "two spinning threads need two CPUs' time, and the quota is less";
    bench->guarded = plx_bench_hypervisor(vendor)[0] != '\0';
}

static int prepare(struct plx_bench *bench, struct plx_diag *diag)
{
    int rc = plx_machine_create(&bench->machine, diag);
    if (rc != 0)
        return rc;
    if (!bench->machine->is_this_system)
        return plx_diag_set(diag, -EINVAL, "machine",
                            "there is nothing to measure on a machine that is not this one (%s)",
                            bench->machine->source);
    rc = make_plan(bench, diag);
    if (rc != 0)
        return rc;
    rc = check_pairs(bench, diag);
    if (rc != 0)
        return rc;
    choose_cores(bench);
    rc = plx_bench_pair_init(bench, diag);
    if (rc != 0 || !plx_bench_has_two(bench))
        return rc;
    void *line = aligned_alloc(2 * PLX_CACHE_LINE, sizeof(struct plx_bench_line));
    void *samples =
        aligned_alloc(PLX_CACHE_LINE, plx_round_up(plx_histogram_bytes(), PLX_CACHE_LINE));
    bench->guard_line = line;
    if (line == NULL || samples == NULL ||
        plx_histogram_init(samples, &bench->guard_samples) != 0) {
        free(samples);
        return plx_diag_set(diag, -ENOMEM, "memory", "out of memory");
    }
    memset(line, 0, sizeof(struct plx_bench_line));
    return 0;
}

static void clean(struct plx_bench *bench)
{
    plx_bench_pair_fini(bench);
    free(bench->guard_line);
    free(bench->guard_samples);
    plx_plan_destroy(bench->plan);
    plx_machine_destroy(bench->machine);
    plx_bench_rows_fini(bench);
    plx_bench_with_fini(bench);
    plx_bench_rounds_fini(&bench->speeds);
    free(bench->gaps);
}

/* --- running --------------------------------------------------------------------------------- */

/* Once over all that is wanted. */
static int pass(struct plx_bench *bench)
{
    int rc = 0;
    bench->groups = 0;
    for (size_t i = 0; i < ENTRY_COUNT && rc == 0; i++) {
        for (size_t part = 0; part < 2 && rc == 0 && !plx_bench_stopping(); part++) {
            if (wanted[i] && entries[i].parts[part] != NULL)
                rc = entries[i].parts[part](bench);
            plx_bench_memory_fini(bench);
        }
    }
    return rc;
}

/*
 * Names all cases to nobody, so that a pattern that matches none is told of before minutes have
 * gone. Returns -1 to go on, or the exit status.
 */
static int check_only(struct plx_bench *bench)
{
    bool listing = bench->listing;
    bench->listing = true;
    bench->silent = true;
    int rc = bench->only->count != 0 ? pass(bench) : 0;
    bench->listing = listing;
    bench->silent = false;
    bench->listed = NULL;
    if (rc != 0) {
        plx_cli_error(NAME, "%s", strerror(-rc));
        return PLX_EXIT_FAILED;
    }
    for (uint32_t i = 0; i < bench->only->count; i++) {
        if ((bench->only_used & (1u << i)) == 0)
            return plx_cli_usage_error(NAME, "--only: no case matches '%.60s' (--list names them)",
                                       bench->only->texts[i]);
    }
    return -1;
}

static int measure_all(struct plx_bench *bench)
{
    int rc = 0;
    if (bench->listing)
        return pass(bench);
    plx_bench_host_print(bench);
    for (uint32_t i = 0; i < bench->plan->note_count; i++)
        fprintf(bench->tables, "%s\n", bench->plan->notes[i]);
    if (bench->one_core != NULL)
        fprintf(bench->tables, "%s: cases that use two are left without figures\n",
                bench->one_core);
    plx_bench_time_clock(bench);
    fputc('\n', bench->tables);
    fflush(bench->tables);
    for (bench->pass = 0; bench->pass < bench->passes && rc == 0 && !plx_bench_stopping();
         bench->pass++)
        rc = pass(bench);
    return rc;
}

static int run(struct plx_bench *bench, struct plx_bench_request *request)
{
    struct plx_diag diag = {0};
    int rc = prepare(bench, &diag);
    if (rc != 0) {
        plx_cli_diag(NAME, &diag);
        return plx_cli_exit_of(rc);
    }
    int status = check_only(bench);
    if (status >= 0)
        return status;
    rc = measure_all(bench);
    plx_cli_progress_clear();
    if (rc != 0) {
        plx_cli_error(NAME, "%s%s", strerror(-rc),
                      bench->listing ? "" : ": the results are a part");
        bench->failed = true;
        bench->incomplete = true;
    }
    if (bench->listing)
        return rc == 0 ? PLX_EXIT_OK : PLX_EXIT_FAILED;
    plx_bench_with_end(bench);
    plx_bench_rows_end(bench);
    plx_bench_print_end(bench);
    int number = plx_bench_stop_number();
    if (number != 0)
        plx_cli_error(NAME, "stopped by signal %d (%s): the results are a part", number,
                      strsignal(number));
    status = plx_bench_outputs_write(&request->outputs, bench);
    return status == PLX_EXIT_OK && bench->failed ? PLX_EXIT_FAILED : status;
}

static void fill(struct plx_bench *bench, const struct plx_bench_request *request)
{
    bench->quick = request->quick;
    bench->listing = request->list;
    bench->dir = request->dir;
    bench->file_bytes = request->file_bytes;
    bench->rounds = (uint32_t)request->rounds;
    bench->seed = request->seed;
    bench->random = request->seed;
    bench->passes = (uint32_t)request->repeat;
    bench->precision = request->precision;
    bench->case_ns = request->seconds * UINT64_C(1000000000);
    bench->only = &request->only;
    bench->pairs = request->pairs;
    bench->pair_count = request->pair_count;
    bench->threshold_ns = request->threshold_ns;
    bench->guard_ns = request->guard_ns;
    bench->gap_room = (uint32_t)request->worst;
    bench->nodes_required = request->nodes != NULL;
    bench->start_ticks = plx_ticks();
    bench->start_ns = plx_bench_monotonic_ns();
}

static json_t *words_json(int count, char *const *words)
{
    json_t *command = json_pack("[s]", "pollux");
    for (int i = 0; i < count; i++) {
        json_t *word = json_string(words[i]);
        /* One that is no UTF-8 cannot be in JSON. */
        json_array_append_new(command, word != NULL ? word : json_string("?"));
    }
    return command;
}

static int measure_and_write(struct plx_bench_request *request, int word_count, char *const *words)
{
    struct plx_bench *bench =
        aligned_alloc(2 * PLX_CACHE_LINE, plx_round_up(sizeof(*bench), 2 * PLX_CACHE_LINE));
    if (bench == NULL) {
        plx_cli_error(NAME, "out of memory");
        return PLX_EXIT_FAILED;
    }
    memset(bench, 0, sizeof(*bench));
    fill(bench, request);
    bench->command = words_json(word_count, words);
    bench->start_time = time(NULL);

    int status = take_settings(bench, request);
    if (status < 0 && !request->list)
        status = plx_bench_outputs_open(&request->outputs);
    bool taken = !request->list && plx_bench_outputs_take_stdout(&request->outputs);
    bench->tables = taken ? stderr : stdout;
    if (status < 0 && request->with.count != 0 && !request->list)
        status = plx_bench_with_init(bench, &request->with);
    if (status < 0) {
        plx_bench_stop_init();
        status = run(bench, request);
    }
    json_decref(bench->command);
    clean(bench);
    free(bench);
    return status;
}

/* Ends as whoever sent the signal expects. */
static void end_by_signal(int number)
{
    fflush(NULL);
    signal(number, SIG_DFL);
    raise(number);
}

int plx_cmd_bench(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "compare") == 0)
        return plx_cmd_bench_compare(argc - 1, argv + 1);
    struct plx_bench_request *request;
    /* Reading the words moves them. */
    char **words = calloc((size_t)argc + 1, sizeof(*words));
    if (words == NULL) {
        plx_cli_error(NAME, "out of memory");
        return PLX_EXIT_FAILED;
    }
    memcpy(words, argv, (size_t)argc * sizeof(*words));
    int status = plx_bench_parse(argc, argv, &request);
    if (status < 0)
        status = take_names(-1 - status, argv + 1, request->list);
    if (status < 0 && wants("pool") && !request->list && plx_bench_pool_has(&request->only))
        plx_bench_heaps_prepare(argc, words);
    if (status < 0)
        status = measure_and_write(request, argc, words);
    plx_bench_outputs_fini(&request->outputs);
    free(words);
    if (plx_bench_stop_number() != 0)
        end_by_signal(plx_bench_stop_number());
    return status;
}
