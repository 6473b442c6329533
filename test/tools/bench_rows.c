/* SPDX-License-Identifier: MIT */
/* Made-up results of pollux bench, as a file. */
#include "test/tools/bench_rows.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

json_t *plx_rows_document(void)
{
    json_t *document = json_pack(
        "{s:i,s:[s,s,s],s:s,s:s,s:b,s:{s:s,s:s,s:i,s:n},s:{s:{s:s,s:s}},s:b,s:[],s:[],s:[],s:[]}",
        "schema", 1, "command", "pollux", "bench", "made", "start", "2026-01-01T00:00:00Z", "end",
        "2026-01-01T00:00:01Z", "complete", 1, "host", "kernel", "6.1", "cpu", "A <processor> & co",
        "cpus", 8, "governor", "settings", "idle", "value", "spin", "source", "default", "quick", 0,
        "null_rows", "budgets", "cases", "results");
    assert_non_null(document);
    return document;
}

json_t *plx_rows_add(json_t *document, const char *name, const char *subject, double p50,
                     uint32_t rounds, const char *better, uint64_t seed)
{
    json_t *row =
        json_pack("{s:s,s:s,s:s,s:s,s:s,s:i,s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:i,s:n,s:i,s:n,s:n}",
                  "bench", "made", "case", name, "subject", subject, "unit",
                  strcmp(better, "lower") == 0 ? "ns" : "1/s", "better", better, "n", 1000000,
                  "min", 0.9 * p50, "p50", p50, "p90", 1.1 * p50, "p99", 1.2 * p50, "p999",
                  1.3 * p50, "p9999", 1.4 * p50, "max", 2 * p50, "mean", p50, "cpu_a", 0, "cpu_b",
                  "node_a", 0, "node_b", "mem_node");
    assert_non_null(row);
    json_t *medians = json_array();
    for (uint32_t i = 0; i < rounds; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        double part = (double)(seed >> 40) / (1 << 24);
        json_array_append_new(medians, json_real(p50 * (0.995 + 0.01 * part)));
    }
    json_object_set_new(row, "rounds", json_integer(rounds));
    json_object_set_new(row, "round_p50", medians);
    json_object_set_new(row, "ci_low", rounds < 6 ? json_null() : json_real(0.998 * p50));
    json_object_set_new(row, "ci_high", rounds < 6 ? json_null() : json_real(1.002 * p50));
    json_array_append_new(json_object_get(document, "results"), row);
    return row;
}

void plx_rows_place(json_t *row, int cpu_a, int cpu_b)
{
    json_object_set_new(row, "cpu_a", json_integer(cpu_a));
    json_object_set_new(row, "cpu_b", json_integer(cpu_b));
}

void plx_rows_write(json_t *document, const char *path)
{
    assert_int_equal(json_dump_file(document, path, 0), 0);
    json_decref(document);
}
