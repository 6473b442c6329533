/* SPDX-License-Identifier: MIT */
/*
 * pollux topo: the machine, the plan that the settings make of it, and what this host really gives:
 * the runtime is started for a moment, and what was asked for and not got is printed with reasons.
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/runtime.h"
#include "tools/cli.h"
#include "tools/commands.h"
#include "tools/topo_features.h"

#define STOP_WITHIN_NS UINT64_C(5000000000)

static const char name[] = "pollux topo";

struct lines {
    char **texts;
    size_t count;
    bool failed;
};

/* What one reactor turned out to run on. */
struct found_reactor {
    uint32_t index;
    int cpu;
    int node;
    const char *mode;
    uint32_t caps;
    uint64_t downgrades;
    struct lines lines;
    /* Written on the reactor's own thread, before its first turn. */
    size_t arena_bytes;
    size_t page_bytes;
    int64_t pages_off_node;
    const char *rung;
    bool locked;
};

struct host {
    struct found_reactor *reactors;
    uint32_t count;
    bool started;
    struct plx_diag diag; /* why not; empty where it was not tried */
};

/* --- starting -------------------------------------------------------------------------------- */

static void keep_line(const char *line, void *ctx)
{
    struct lines *lines = ctx;
    char **texts = realloc(lines->texts, (lines->count + 1) * sizeof(*texts));
    if (texts == NULL) {
        lines->failed = true;
        return;
    }
    lines->texts = texts;
    texts[lines->count] = strdup(line);
    if (texts[lines->count] == NULL)
        lines->failed = true;
    else
        lines->count++;
}

static int note_arena(struct plx_reactor *reactor, void *ctx)
{
    struct host *host = ctx;
    struct found_reactor *found = &host->reactors[plx_reactor_index(reactor)];
    const struct plx_arena *arena = plx_reactor_arena(reactor);
    found->arena_bytes = arena->bytes;
    found->page_bytes = arena->page_bytes;
    found->pages_off_node = arena->pages_off_node;
    found->rung = plx_rung_name(arena->rung);
    found->locked = arena->locked;
    return 0;
}

static void note_reactor(struct found_reactor *found, const struct plx_reactor *reactor)
{
    struct plx_reactor_stats stats;
    plx_reactor_read_stats(reactor, &stats);
    found->index = plx_reactor_index(reactor);
    found->cpu = plx_reactor_cpu(reactor);
    found->node = plx_reactor_node(reactor);
    found->mode = plx_reactor_mode(reactor);
    found->caps = plx_reactor_caps(reactor);
    found->downgrades = stats.downgrades;
    plx_reactor_explain(reactor, keep_line, &found->lines);
}

/* Starts what the runtime has planned, looks, and stops it. Returns an exit status. */
static int try_host(struct plx_runtime *runtime, struct host *host)
{
    struct plx_diag diag;
    int result = plx_runtime_start(runtime, &host->diag);
    if (result < 0)
        return PLX_EXIT_FAILED;
    host->started = true;
    for (uint32_t i = 0; i < host->count; i++)
        note_reactor(&host->reactors[i], plx_runtime_reactor(runtime, i));
    if (plx_runtime_stop(runtime, STOP_WITHIN_NS, &diag) < 0) {
        plx_cli_diag(name, &diag);
        return PLX_EXIT_FAILED;
    }
    return PLX_EXIT_OK;
}

static void host_fini(struct host *host)
{
    for (uint32_t i = 0; i < host->count; i++) {
        struct lines *lines = &host->reactors[i].lines;
        for (size_t j = 0; j < lines->count; j++)
            free(lines->texts[j]);
        free(lines->texts);
    }
    free(host->reactors);
}

/* --- text ------------------------------------------------------------------------------------ */

/* A line that begins a section, "plan: …", stands out on a terminal. */
static void print_line(const char *line, void *ctx)
{
    (void)ctx;
    plx_cli_print(stdout, line[0] != ' ' ? PLX_CLI_BOLD : PLX_CLI_PLAIN, "%s", line);
    putchar('\n');
}

static void print_idle(const struct plx_machine *machine, const struct plx_plan *plan,
                       const struct plx_settings *settings)
{
    char quota[64] = "no CPU quota";
    if (machine->quota_mcpus != 0)
        snprintf(quota, sizeof(quota), "a quota of %u.%02u CPUs", machine->quota_mcpus / 1000,
                 machine->quota_mcpus % 1000 / 10);
    printf("idle turns: %s, %s; %s\n", plx_idle_name(plan->idle),
           settings->idle == PLX_IDLE_AUTO ? "the default here" : "as POLLUX_IDLE says", quota);
}

static void print_host(const struct plx_machine *machine, const struct host *host)
{
    uint64_t downgrades = 0;
    if (!machine->is_this_system) {
        printf("host: nothing was started, since the machine above (%s) is not this one\n",
               machine->source);
        return;
    }
    if (!host->started) {
        printf("host: the reactors could not be started: %s\n", host->diag.text);
        return;
    }
    printf("host: what it really gives, with these settings\n");
    for (uint32_t i = 0; i < host->count; i++) {
        const struct found_reactor *found = &host->reactors[i];
        for (size_t j = 0; j < found->lines.count; j++) {
            const char *line = found->lines.texts[j];
            printf("%s%s\n", j != 0 && line[0] != ' ' ? "  " : "", line);
        }
        downgrades += found->downgrades;
    }
    if (downgrades == 0)
        printf("started and stopped: all that was asked for was got\n");
    else
        printf("started and stopped: %llu thing%s asked for and not got, as said above\n",
               (unsigned long long)downgrades, downgrades == 1 ? " was" : "s were");
}

static void print_text(const struct plx_machine *machine, const struct plx_plan *plan,
                       const struct plx_settings *settings, const struct host *host)
{
    plx_machine_explain(machine, print_line, NULL);
    putchar('\n');
    plx_plan_explain(plan, machine, print_line, NULL);
    print_idle(machine, plan, settings);
    putchar('\n');
    print_host(machine, host);
}

/* --- JSON --------------------------------------------------------------------------------------
 */

static json_t *json_cpu_or_null(int32_t cpu)
{
    return cpu >= 0 ? json_integer(cpu) : json_null();
}

static json_t *machine_to_json(const struct plx_machine *machine)
{
    json_t *cpus = json_array();
    json_t *nodes = json_array();
    for (uint32_t i = 0; i < machine->cpu_count; i++) {
        const struct plx_machine_cpu *cpu = &machine->cpus[i];
        cpus =
            plx_topo_append(cpus, json_pack("{s:i,s:i,s:i,s:i,s:i,s:b,s:b}", "cpu", (int)cpu->cpu,
                                            "core", (int)cpu->core, "rank", (int)cpu->rank, "node",
                                            (int)cpu->node, "cluster", (int)cpu->cluster, "allowed",
                                            (int)cpu->allowed, "isolated", (int)cpu->isolated));
    }
    for (uint32_t i = 0; i < machine->node_count; i++) {
        const struct plx_machine_node *node = &machine->nodes[i];
        json_t *distances = json_array();
        for (uint32_t j = 0; j < machine->node_count; j++)
            distances = plx_topo_append(
                distances, json_integer(machine->distances[i * machine->node_count + j]));
        nodes = plx_topo_append(
            nodes, json_pack("{s:i,s:i,s:I,s:b,s:i,s:i,s:i,s:i,s:o}", "node", (int)node->node,
                             "cpu_count", (int)node->cpu_count, "memory_bytes",
                             (json_int_t)node->memory_bytes, "allowed", (int)node->allowed,
                             "pages_2m_total", (int)node->pages_2m_total, "pages_2m_free",
                             (int)node->pages_2m_free, "pages_1g_total", (int)node->pages_1g_total,
                             "pages_1g_free", (int)node->pages_1g_free, "distances", distances));
    }
    json_t *quota =
        machine->quota_mcpus != 0 ? json_real(machine->quota_mcpus / 1000.0) : json_null();
    return json_pack("{s:s,s:b,s:i,s:i,s:o,s:b,s:o,s:o}", "source", machine->source,
                     "is_this_system", (int)machine->is_this_system, "core_count",
                     (int)machine->core_count, "cluster_count", (int)machine->cluster_count,
                     "quota_cpus", quota, "distances_known", (int)machine->distances_known, "cpus",
                     cpus, "nodes", nodes);
}

static json_t *plan_to_json(const struct plx_plan *plan)
{
    json_t *reactors = json_array();
    json_t *others = json_array();
    json_t *notes = json_array();
    for (uint32_t i = 0; i < plan->reactor_count; i++) {
        const struct plx_plan_reactor *planned = &plan->reactors[i];
        reactors = plx_topo_append(
            reactors,
            json_pack("{s:i,s:i,s:i,s:i,s:o,s:o,s:I,s:s,s:s}", "index", (int)planned->index, "cpu",
                      (int)planned->cpu, "node", (int)planned->node, "mem_node",
                      (int)planned->mem_node, "sq_cpu", json_cpu_or_null(planned->sq_cpu),
                      "sq_leader", json_cpu_or_null(planned->sq_leader), "arena_bytes",
                      (json_int_t)planned->arena_bytes, "cpu_reason", planned->cpu_reason,
                      "sq_reason", planned->sq_reason));
    }
    for (uint32_t i = 0; i < plan->other_count; i++) {
        const struct plx_plan_other *other = &plan->others[i];
        others = plx_topo_append(others, json_pack("{s:i,s:b,s:s}", "cpu", (int)other->cpu, "is_sq",
                                                   (int)other->is_sq, "reason", other->reason));
    }
    for (uint32_t i = 0; i < plan->note_count; i++)
        notes = plx_topo_append(notes, json_string(plan->notes[i]));
    return json_pack("{s:o,s:o,s:o,s:i,s:s,s:I}", "reactors", reactors, "others", others, "notes",
                     notes, "sq_count", (int)plan->sq_count, "idle", plx_idle_name(plan->idle),
                     "mesh_bytes", (json_int_t)plan->mesh_bytes);
}

static json_t *reactor_to_json(const struct found_reactor *found)
{
    json_t *lines = json_array();
    json_t *caps = json_array();
    for (size_t i = 0; i < found->lines.count; i++)
        lines = plx_topo_append(lines, json_string(found->lines.texts[i]));
    for (unsigned i = 0; i < PLX_CAP_COUNT; i++) {
        if ((found->caps >> i & 1) != 0)
            caps = plx_topo_append(caps, json_string(plx_cap_name(UINT32_C(1) << i)));
    }
    json_t *off_node =
        found->pages_off_node >= 0 ? json_integer(found->pages_off_node) : json_null();
    return json_pack("{s:i,s:i,s:i,s:s,s:o,s:I,s:I,s:I,s:s,s:b,s:o,s:o}", "index",
                     (int)found->index, "cpu", found->cpu, "node", found->node, "mode", found->mode,
                     "caps", caps, "downgrades", (json_int_t)found->downgrades, "arena_bytes",
                     (json_int_t)found->arena_bytes, "page_bytes", (json_int_t)found->page_bytes,
                     "pages", found->rung, "locked", (int)found->locked, "pages_off_node", off_node,
                     "lines", lines);
}

static json_t *host_to_json(const struct plx_machine *machine, const struct host *host)
{
    json_t *reactors = json_array();
    for (uint32_t i = 0; host->started && i < host->count; i++)
        reactors = plx_topo_append(reactors, reactor_to_json(&host->reactors[i]));
    const char *error = host->started             ? NULL
                        : machine->is_this_system ? host->diag.text
                                                  : "the machine is not this one";
    return json_pack("{s:b,s:s?,s:o}", "started", (int)host->started, "error", error, "reactors",
                     reactors);
}

static int print_json(const struct plx_machine *machine, const struct plx_plan *plan,
                      const struct plx_settings *settings, const struct host *host)
{
    json_t *features = machine->is_this_system ? plx_topo_features_to_json(settings) : json_null();
    json_t *all =
        json_pack("{s:i,s:o,s:o,s:o,s:o}", "schema", 1, "machine", machine_to_json(machine), "plan",
                  plan_to_json(plan), "host", host_to_json(machine, host), "features", features);
    int status = all != NULL ? json_dumpf(all, stdout, JSON_INDENT(2)) : -1;
    json_decref(all);
    if (status == 0)
        putchar('\n');
    return status == 0 ? 0 : -ENOMEM;
}

/* --- the command ----------------------------------------------------------------------------- */

/* Plans, tries, prints. Returns an exit status. */
static int show(const struct plx_machine *machine, const struct plx_settings *settings, bool json)
{
    struct plx_runtime *runtime = NULL;
    struct host host = {0};
    struct plx_runtime_opts opts;
    struct plx_diag diag;
    int status = PLX_EXIT_OK;

    plx_runtime_opts_init(&opts);
    opts.machine = machine;
    opts.on_start = note_arena;
    opts.ctx = &host;
    int result = plx_runtime_create(settings, &opts, &runtime, &diag);
    if (result < 0) {
        plx_cli_diag(name, &diag);
        return plx_cli_exit_of(result);
    }
    host.reactors = calloc(plx_runtime_count(runtime), sizeof(*host.reactors));
    if (host.reactors == NULL) {
        plx_cli_error(name, "out of memory");
        status = PLX_EXIT_FAILED;
        goto out;
    }
    host.count = plx_runtime_count(runtime);
    if (machine->is_this_system)
        status = try_host(runtime, &host);

    result = 0;
    if (json)
        result = print_json(machine, plx_runtime_plan(runtime), settings, &host);
    else
        print_text(machine, plx_runtime_plan(runtime), settings, &host);
    if (machine->is_this_system && !host.started)
        plx_cli_diag(name, &host.diag);
    if (result < 0) {
        plx_cli_error(name, "%s", strerror(-result));
        status = PLX_EXIT_FAILED;
    }
out:
    host_fini(&host);
    plx_runtime_destroy(runtime);
    return status;
}

int plx_cmd_topo(int argc, char **argv)
{
    bool json = false;
    bool features = false;
    const struct plx_cli_option options[] = {
        {.name = "features",
         .help = "print what the kernel's io_uring has, and nothing else",
         .kind = PLX_CLI_FLAG,
         .into = &features},
        {.name = "json", .help = "print JSON", .kind = PLX_CLI_FLAG, .into = &json},
        {0},
    };
    const struct plx_cli_command command = {
        .name = name,
        .arguments = "",
        .summary = "Prints the machine, which reactor the settings place where and why, and what "
                   "this\nhost really gives: the reactors are started for a moment, and what was "
                   "asked for\nand not got is named with the reason.",
        .options = options,
        .details = "HWLOC_SYNTHETIC or HWLOC_XMLFILE plan for another machine; then nothing is "
                   "started.\nExit: 0 all well, 1 the reactors could not be started, 2 a setting "
                   "or the command line\nis wrong.",
        .examples =
            "pollux topo\npollux topo --features\nPOLLUX_SQPOLL=on POLLUX_CPUS=0-7 pollux topo\n"
            "HWLOC_SYNTHETIC=\"numa:2 core:4 pu:2\" pollux topo --json",
    };
    int arguments;
    struct plx_settings settings;
    struct plx_machine *machine;
    struct plx_diag diag;

    int status = plx_cli_parse(&command, argc, argv, &arguments);
    if (status < 0)
        status = plx_cli_settings(name, &settings);
    if (status >= 0)
        return status;

    if (features)
        return plx_topo_features(name, &settings, json);
    int result = plx_machine_create(&machine, &diag);
    if (result < 0) {
        plx_cli_diag(name, &diag);
        return plx_cli_exit_of(result);
    }
    status = show(machine, &settings, json);
    plx_machine_destroy(machine);
    return status;
}
