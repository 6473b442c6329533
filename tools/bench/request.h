/* SPDX-License-Identifier: MIT */
/* What the command line of `pollux bench` asks for. */
#ifndef POLLUX_TOOLS_BENCH_REQUEST_H
#define POLLUX_TOOLS_BENCH_REQUEST_H

#include "tools/bench/outputs.h"
#include "tools/bench/select.h"
#include "tools/cli.h"

#define PLX_BENCH_NAME "pollux bench"

struct plx_bench_request {
    bool quick;
    bool list;
    bool smt;
    struct plx_bench_outputs outputs;
    struct plx_cli_texts with;
    uint64_t rounds;
    uint64_t seed;
    uint64_t repeat;
    uint64_t seconds; /* of a case; 0: not told */
    const char *precision_text;
    double precision; /* a part; 0: not asked for */
    const char *cpus;
    const char *nodes;
    const char *pairs_text;
    struct plx_bench_cores pairs[PLX_BENCH_PAIRS_MAX];
    uint32_t pair_count;
    struct plx_cli_texts only;
    uint64_t threshold_ns;
    uint64_t guard_ns;
    uint64_t worst;
    const char *dir;
    uint64_t file_bytes;
};

/*
 * Reads the command line. Returns -1 - n, n being the number of names that were moved to argv[1] …
 * argv[n], or the exit status to end with: help was printed, or an error was told. The result stays
 * where it is: it is made of static memory.
 */
int plx_bench_parse(int argc, char **argv, struct plx_bench_request **out) PLX_MUST_CHECK;

#endif
