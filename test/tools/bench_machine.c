/* SPDX-License-Identifier: MIT */
/* Made-up results of pollux bench on a machine that few have at hand. */
#include "test/tools/bench_machine.h"

#include <math.h>
#include <stdio.h>

#include "test/tools/bench_rows.h"

#define POINTS 7

static json_t *member(json_t *document, const char *name)
{
    return json_object_get(document, name);
}

/* A row of a benchmark on a core; -1: none, or no memory to speak of. */
static json_t *add(json_t *document, const char *bench, const char *name, const char *subject,
                   double p50, int cpu_a, int mem_node)
{
    json_t *row = plx_rows_add(document, name, subject, p50, 12, "lower", 1);
    json_object_set_new(row, "bench", json_string(bench));
    json_object_set_new(row, "cpu_a", json_integer(cpu_a));
    json_object_set_new(row, "node_a", json_integer(cpu_a * PLX_MACHINE_NODES / PLX_MACHINE_CORES));
    if (mem_node >= 0)
        json_object_set_new(row, "mem_node", json_integer(mem_node));
    return row;
}

/* Takes the row's figures away, for a reason. */
static void take_figures(json_t *document, json_t *row, const char *reason)
{
    static const char *const figures[] = {"n",     "min", "p50",  "p90",    "p99",    "p999",
                                          "p9999", "max", "mean", "ci_low", "ci_high"};
    static const char *const places[] = {"bench", "case",   "subject", "cpu_a",
                                         "cpu_b", "node_a", "node_b",  "mem_node"};
    for (size_t i = 0; i < sizeof(figures) / sizeof(figures[0]); i++)
        json_object_set_new(row, figures[i], json_null());
    json_t *note = json_pack("{s:s}", "reason", reason);
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
        json_object_set(note, places[i], json_object_get(row, places[i]));
    json_array_append_new(member(document, "null_rows"), note);
}

static void describe(json_t *document, const char *bench, const char *name, const char *what)
{
    json_array_append_new(
        member(document, "cases"),
        json_pack("{s:s,s:s,s:s,s:i}", "bench", bench, "case", name, "what", what, "block", 1));
}

/* --- what was measured ----------------------------------------------------------------------- */

static void add_pair(json_t *document, int a, int b, int mem_node, double p50)
{
    json_t *row = add(document, "c2c", "rtt_line", "raw", p50, a, mem_node);
    plx_rows_place(row, a, b);
    json_object_set_new(row, "node_b", json_integer(b * PLX_MACHINE_NODES / PLX_MACHINE_CORES));
    if (a == 0 && b < 4)
        take_figures(document, row, "all 12 slices were discarded");
    else if (b == a + 1)
        json_object_set_new(row, "busy", json_true());
}

/* Near ones at 40 ns, those of the other half of the node at 90, those across at 200 and more. */
static void add_pairs(json_t *document)
{
    const int half = PLX_MACHINE_CORES / PLX_MACHINE_NODES;
    describe(document, "c2c", "rtt_line", "a cache line to the other core and back");
    for (int a = 0; a < PLX_MACHINE_CORES; a++) {
        for (int b = a + 1; b < PLX_MACHINE_CORES; b++) {
            double wave = 1 + 0.1 * sin(3 * a + 5 * b);
            if (a / half == b / half) {
                add_pair(document, a, b, a / half, (a / 16 == b / 16 ? 40 : 90) * wave);
                continue;
            }
            add_pair(document, a, b, 0, 200 * wave);
            add_pair(document, a, b, 1, 260 * wave);
        }
    }
}

static void add_memory(json_t *document)
{
    static const char reason[] =
        "no memory on node 1: 1G pages are required: node 1 has 0 free of the 1 needed "
        "(nr_hugepages); <write> to /sys & mount \"hugetlbfs\"";
    describe(document, "mem", "chase_1G", "a load whose address is the last one's result");
    for (int node = 0; node < PLX_MACHINE_NODES; node++) {
        for (int memory = 0; memory < PLX_MACHINE_NODES; memory++) {
            int cpu = node * PLX_MACHINE_CORES / PLX_MACHINE_NODES;
            json_t *row =
                add(document, "mem", "chase_1G", "raw/1G", node == memory ? 85 : 140, cpu, memory);
            if (node == 0 && memory == 1)
                take_figures(document, row, reason);
        }
    }
    add(document, "mem", "chase_1G", "spin", 97, 0, -1);
}

/* Node after node, so that the rows of either case do not follow each other. */
static void add_load(json_t *document)
{
    static const char *const names[POINTS] = {"raw/alone",     "raw/pause_16us", "raw/pause_8us",
                                              "raw/pause_4us", "raw/pause_2us",  "raw/pause_1us",
                                              "raw/no_pause"};
    describe(document, "mem", "loaded", "a load beside other cores that read");
    describe(document, "mem", "loaded_read", "what these cores read meanwhile");
    for (int node = 0; node < PLX_MACHINE_NODES; node++) {
        int cpu = node * PLX_MACHINE_CORES / PLX_MACHINE_NODES;
        for (int i = 0; i < POINTS; i++)
            add(document, "mem", "loaded", names[i],
                90 + 10 * node + (i < POINTS - 1 ? 4 * i : 180), cpu, node);
        for (int i = 0; i < POINTS; i++) {
            double read = i == 0 ? 0 : (160 - 20 * node) * pow(0.5, POINTS - 1 - i);
            json_t *row = add(document, "mem", "loaded_read", names[i], read, cpu, node);
            json_object_set_new(row, "unit", json_string("GB/s"));
            json_object_set_new(row, "better", json_string("higher"));
        }
    }
}

/* A distribution with a tail. */
static json_t *steps(double p50)
{
    json_t *all = json_array();
    for (double beyond = 1; beyond > 1e-6; beyond /= 2)
        json_array_append_new(
            all, json_pack("[f,f]", 100 * (1 - beyond), p50 * (1 - 0.1 * log10(beyond))));
    json_array_append_new(all, json_pack("[f,f]", 100.0, 2 * p50));
    return all;
}

/* More subjects than there are colours, whose ratios are not those of their medians. */
static void add_ring(json_t *document)
{
    static const char *const names[] = {
        "pollux/cells",
        "pollux/packed",
        "raw",
        "ck",
        "rte_ring",
        "boost",
        "rwqueue",
        "wfcqueue",
        "ninth",
        "tenth",
        "a subject of --with whose name is as long as a name of a subject may be"};
    describe(document, "ring", "rtt_8B", "a message to the other core and back");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        json_t *row = add(document, "ring", "rtt_8B", names[i], 80 + 10.0 * (double)i, 0, 0);
        plx_rows_place(row, 0, 1);
        json_object_set_new(row, "percentiles", steps(80 + 10.0 * (double)i));
        json_object_set_new(row, "drifted", json_boolean(i == 3));
        json_object_set_new(row, "unsure", json_boolean(i == 4));
        if (i == 0)
            continue;
        double ratio = 1.2 - 0.07 * (double)i;
        json_object_set_new(row, "ratio",
                            json_pack("{s:f,s:f,s:f,s:i}", "low", 0.97 * ratio, "mid", ratio,
                                      "high", 1.03 * ratio, "rounds", 12));
    }
}

/* One sample in each, of which only the last step of a distribution is left. */
static void add_file(json_t *document)
{
    static const char *const names[] = {"pollux", "cp"};
    describe(document, "file", "copy_1G", "a copy of 1 GiB");
    for (size_t i = 0; i < 2; i++) {
        json_t *row = add(document, "file", "copy_1G", names[i], 5e8, 0, -1);
        static const char *const same[] = {"min", "p90", "p99", "p999", "p9999", "max"};
        for (size_t j = 0; j < sizeof(same) / sizeof(same[0]); j++)
            json_object_set(row, same[j], json_object_get(row, "p50"));
        json_object_set_new(row, "n", json_integer(1));
        json_object_set_new(row, "percentiles", json_pack("[[f,f]]", 100.0, 5e8));
    }
}

static void add_jitter(json_t *document)
{
    json_t *worst = json_array();
    describe(document, "jitter", "gaps", "time between two looks at the counter");
    for (int cpu = 0; cpu < PLX_MACHINE_CORES; cpu++) {
        json_t *row = add(document, "jitter", "gaps", "raw", 2000 + 10 * cpu, cpu, -1);
        add(document, "jitter", "gaps", "pollux", 2100 + 10 * cpu, cpu, -1);
        if (cpu == 5)
            take_figures(document, row, "none in 12 slices");
    }
    for (int i = 0; i < 10; i++)
        json_array_append_new(worst,
                              json_pack("{s:i,s:s,s:f,s:I,s:s}", "cpu", 3 * i, "subject", "raw",
                                        "ns", 6.6e6 / (1 + i), "at_ns", (json_int_t)940670628836,
                                        "what", "LOC +18, RES +1, switches +1"));
    json_object_set_new(document, "jitter",
                        json_pack("{s:i,s:o}", "threshold_ns", 1000, "worst", worst));
}

/* --- the run --------------------------------------------------------------------------------- */

static void add_host(json_t *document)
{
    json_t *host = member(document, "host");
    json_t *nodes = json_array();
    json_t *cpus = json_array();
    for (int node = 0; node < PLX_MACHINE_NODES; node++)
        json_array_append_new(nodes, json_pack("{s:i,s:i,s:I,s:i,s:i,s:i,s:i}", "node", node,
                                               "cpus", 32, "memory_bytes", (json_int_t)1 << 38,
                                               "pages_2m_total", 4096 + node, "pages_2m_free", 4000,
                                               "pages_1g_total", 4, "pages_1g_free", node));
    for (int cpu = 0; cpu < PLX_MACHINE_CORES; cpu++)
        json_array_append_new(cpus, json_pack("{s:i,s:i,s:i,s:s}", "cpu", cpu, "node", cpu / 32,
                                              "mem_node", cpu / 32, "reason", "isolated"));
    json_object_set_new(host, "nodes", nodes);
    json_object_set_new(host, "cpus", json_integer(PLX_MACHINE_CORES));
    json_object_set_new(host, "mitigations", json_pack("{s:s}", "meltdown", "Not affected"));
    json_object_set_new(host, "clock", json_pack("{s:s,s:b}", "counter", "tsc", "steady", 1));
    json_object_set_new(document, "plan",
                        json_pack("{s:i,s:i,s:n,s:o,s:[s]}", "cpu_a", 0, "cpu_b", 1, "one_core",
                                  "cpus", cpus, "notes",
                                  "of 96 CPUs the 64 isolated ones are measured"));
}

json_t *plx_machine_document(void)
{
    json_t *document = plx_rows_document();
    add_host(document);
    json_object_set_new(document, "seed", json_integer(20261));
    json_object_set_new(document, "quick", json_true());
    json_object_set_new(document, "slices", json_integer(17566));
    json_object_set_new(document, "rows_busy", json_integer(63));
    json_object_set_new(document, "rows_drifted", json_integer(1));
    json_object_set_new(document, "rows_unsure", json_integer(1));
    json_array_append_new(member(document, "budgets"),
                          json_pack("{s:s,s:s,s:s,s:s,s:f,s:s,s:f,s:b,s:b,s:n}", "bench", "ring",
                                    "case", "rtt_8B", "subject", "pollux/cells", "peer", "raw",
                                    "limit", 1.2, "at", "most", "figure", 1.06, "met", 1,
                                    "doubtful", 1, "reason"));
    json_array_append_new(member(document, "budgets"),
                          json_pack("{s:s,s:s,s:s,s:n,s:f,s:s,s:f,s:b,s:b,s:n}", "bench", "uring",
                                    "case", "poll_128", "subject", "pollux", "peer", "limit",
                                    2000.0, "at", "most", "figure", 2582.629, "met", 0, "doubtful",
                                    0, "reason"));
    json_array_append_new(member(document, "budgets"),
                          json_pack("{s:s,s:s,s:s,s:s,s:f,s:s,s:n,s:n,s:b,s:s}", "bench", "uring",
                                    "case", "poll_128", "subject", "pollux", "peer", "raw", "limit",
                                    1.1, "at", "most", "figure", "met", "doubtful", 0, "reason",
                                    "all 12 slices were discarded: other programs ran in <them>"));
    add_pairs(document);
    add_ring(document);
    add_memory(document);
    add_load(document);
    add_file(document);
    add_jitter(document);
    return document;
}
