/* SPDX-License-Identifier: MIT */
/* Made-up results of pollux bench on a machine that few have at hand. */
#ifndef POLLUX_TEST_BENCH_MACHINE_H
#define POLLUX_TEST_BENCH_MACHINE_H

#include <jansson.h>

#define PLX_MACHINE_CORES 64
#define PLX_MACHINE_NODES 2

/*
 * A run on 64 cores of 2 nodes: every pair of cores, every node and its memory, latency under load
 * with the rows of its nodes apart, eleven subjects in a case, rows of one sample, rows without
 * figures, rows in doubt, and names as long as they may be.
 */
json_t *plx_machine_document(void);

#endif
