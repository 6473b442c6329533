/* SPDX-License-Identifier: MIT */
/*
 * The document of a run, and the files that are made of one. All functions take any document that
 * plx_bench_load has accepted.
 */
#ifndef POLLUX_TOOLS_BENCH_DOCUMENT_H
#define POLLUX_TOOLS_BENCH_DOCUMENT_H

#include <jansson.h>
#include <stdio.h>

#include "tools/bench/frame.h"

#define PLX_BENCH_SCHEMA 1

/* document.c: what was measured so far; a new reference. */
json_t *plx_bench_document(const struct plx_bench *bench);
/* One row of it, without its ratio; a new reference. */
json_t *plx_bench_row_json(const struct plx_bench_row *row);
/* Of a row its subject, median and place alone, which is what matrices are made of. */
json_t *plx_bench_place_json(const struct plx_bench_row *row);
/*
 * The ratio of Pollux to row `at`: of the first Pollux row that was measured beside it, on the same
 * cores. False: there is none with figures, or it is of that subject itself, here or elsewhere.
 */
bool plx_bench_ratio_at(const struct plx_bench_row *rows, uint32_t count, uint32_t at,
                        struct plx_bench_ratio *out);
/* Return 0, or -EIO. */
int plx_bench_write_json(const json_t *document, FILE *stream) PLX_MUST_CHECK;
int plx_bench_write_csv(const json_t *document, FILE *stream) PLX_MUST_CHECK;

/*
 * load.c: reads a document of this schema; a new reference. NULL: it is none, and `diag` says why.
 * The rows of what it returns have all figures and names that the schema asks for, of the right
 * kinds, and names that a terminal may be shown.
 */
json_t *plx_bench_load(const char *path, struct plx_diag *diag) PLX_MUST_CHECK;
/* The same of what is in memory; `path` is how errors call it. */
json_t *plx_bench_load_text(const char *text, size_t bytes, const char *path,
                            struct plx_diag *diag) PLX_MUST_CHECK;
/* Puts question marks for what a terminal would take for a command, and returns the text. */
char *plx_bench_clean(char *text);

/* The member's text, or "". */
const char *plx_bench_text(const json_t *object, const char *key);
/* The member's number, or NAN. */
double plx_bench_number(const json_t *object, const char *key);

#endif
