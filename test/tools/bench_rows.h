/* SPDX-License-Identifier: MIT */
/* Made-up results of pollux bench, as a file. */
#ifndef POLLUX_TEST_BENCH_ROWS_H
#define POLLUX_TEST_BENCH_ROWS_H

#include <jansson.h>
#include <stdint.h>

/* A document of this schema without rows. */
json_t *plx_rows_document(void);
/*
 * Appends a row whose round medians lie within a hundredth around p50, in an order drawn from
 * `seed`. `better` is "lower" (ns) or "higher" (1/s).
 */
json_t *plx_rows_add(json_t *document, const char *name, const char *subject, double p50,
                     uint32_t rounds, const char *better, uint64_t seed);
/* Sets where a row ran. */
void plx_rows_place(json_t *row, int cpu_a, int cpu_b);
/* Writes it and gives the document back. */
void plx_rows_write(json_t *document, const char *path);

#endif
