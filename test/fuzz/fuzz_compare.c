/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer's entry to pollux bench compare: input says what two documents hold, of names and
 * numbers that are likely to be wrong, and which of their bytes are then overwritten. They are read
 * and, if they are accepted, compared. An output that a terminal would obey aborts, and so does an
 * exit status that is none; the fuzzer keeps the input.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/bench/compare.h"
#include "tools/bench/document.h"

#define ROWS_MAX    10u
#define CHANGES_MAX 4u

struct input {
    const uint8_t *at;
    size_t left;
};

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len);

/* The next byte of the input, below `most`; 0 when there is none. */
static unsigned take(struct input *input, unsigned most)
{
    if (input->left == 0)
        return 0;
    input->left--;
    return *input->at++ % most;
}

static json_t *take_text(struct input *input)
{
    static const char *const texts[] = {"pollux", "pollux/x", "ck",         "spin",  "raw",
                                        "a",      "b",        "\033[2J",    "\x7f",  "a\nb",
                                        "",       "\303\251", "\302\233[m", "lower", "higher"};
    const unsigned count = sizeof(texts) / sizeof(texts[0]);
    unsigned which = take(input, count + 1);
    if (which < count)
        return json_string(texts[which]);
    char wide[120];
    memset(wide, 'w', sizeof(wide));
    return json_stringn(wide, 80 + take(input, 40));
}

static json_t *take_number(struct input *input)
{
    static const double numbers[] = {0,    1,    2,     50,     55,    55.5, 100,   110,
                                     1000, 0.25, 1e-12, 1e-308, 1e308, -1,   -1e308};
    const unsigned count = sizeof(numbers) / sizeof(numbers[0]);
    unsigned which = take(input, count + 4);
    if (which < count)
        return json_real(numbers[which]);
    if (which == count)
        return json_null();
    if (which == count + 1)
        return json_integer(INT64_MIN);
    if (which == count + 2)
        return json_true();
    return take_text(input);
}

static json_t *take_rounds(struct input *input)
{
    static const unsigned counts[] = {0, 1, 4, 5, 6, 8, 16, 20, 21, 40};
    json_t *rounds = json_array();
    unsigned count = counts[take(input, sizeof(counts) / sizeof(counts[0]))];
    json_t *first = take_number(input);
    unsigned step = take(input, 8);
    /* Around one number, or any. */
    for (unsigned i = 0; i < count; i++) {
        double value = json_number_value(first) * (1 + step * (i * 7 % 11) / 1000.0);
        json_t *number = step != 7 ? json_real(value) : take_number(input);
        json_array_append_new(rounds, number != NULL ? number : json_null());
    }
    json_decref(first);
    return rounds;
}

static json_t *take_row(struct input *input)
{
    static const char *const numbers[] = {"n",     "min",    "p50",    "p90",     "p99",
                                          "p999",  "p9999",  "max",    "mean",    "cpu_a",
                                          "cpu_b", "node_a", "node_b", "mem_node"};
    static const char *const others[] = {"ci_low", "ci_high", "core_ns", "line_ns", "core_drift"};
    json_t *row = json_object();
    /* Most are as they should be, else none would be accepted. */
    unsigned wrong = take(input, 64);
    for (unsigned i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        json_object_set_new(row, numbers[i],
                            wrong == i || i == 2 ? take_number(input) : json_integer(50 + i));
    for (unsigned i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        json_object_set_new(row, others[i], take_number(input));
    json_object_set_new(row, "bench", wrong == 20 ? take_text(input) : json_string("b"));
    json_object_set_new(row, "case", json_string(take(input, 2) != 0 ? "c" : "d"));
    static const char *const subjects[] = {"pollux", "pollux/x", "ck", "spin", "raw"};
    json_object_set_new(row, "subject",
                        wrong == 21 ? take_text(input) : json_string(subjects[take(input, 5)]));
    json_object_set_new(row, "unit", wrong == 22 ? take_text(input) : json_string("ns"));
    json_object_set_new(row, "better", json_string(take(input, 4) != 0 ? "lower" : "higher"));
    json_object_set_new(row, "busy", json_boolean(take(input, 8) == 7));
    json_object_set_new(row, "round_p50", take_rounds(input));
    return row;
}

/* Reads a document as its text says; NULL: it was refused. */
static json_t *take_document(struct input *input)
{
    struct plx_diag diag;
    json_t *results = json_array();
    unsigned rows = take(input, ROWS_MAX + 1);
    for (unsigned i = 0; i < rows; i++)
        json_array_append_new(results, take_row(input));
    json_t *made = json_object();
    json_object_set_new(made, "schema", json_integer(take(input, 32) == 31 ? 2 : 1));
    json_object_set_new(made, "host", json_pack("{s:o}", "cpu", take_text(input)));
    json_object_set_new(made, "settings",
                        json_pack("{s:{s:o}}", "idle", "value", take_text(input)));
    json_object_set_new(made, "plan", json_pack("{s:o}", "cpu_a", take_number(input)));
    json_object_set_new(made, "results", results);
    char *text = json_dumps(made, JSON_COMPACT);
    json_decref(made);
    if (text == NULL)
        return NULL;
    size_t length = strlen(text);
    for (unsigned changes = take(input, 8); changes > 8 - CHANGES_MAX; changes--)
        text[(take(input, 256) * 256u + take(input, 256)) % length] = (char)take(input, 256);
    json_t *document = plx_bench_load_text(text, length, "made", &diag);
    if (document == NULL && (diag.text[0] == '\0' || strchr(diag.text, '\033') != NULL))
        abort();
    free(text);
    return document;
}

/* What was printed is lines. */
static void check_text(const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        unsigned char byte = (unsigned char)text[i];
        bool c1 = byte == 0xc2 && i + 1 < bytes && ((unsigned char)text[i + 1] & 0xe0) == 0x80;
        if ((byte < 0x20 && byte != '\n') || byte == 0x7f || c1)
            abort();
    }
}

static void compare(const json_t *a, const json_t *b, struct input *input)
{
    static const double limits[] = {-1, 0, 0.05};
    const struct plx_compare_opts opts = {.name_a = "a",
                                          .name_b = "b",
                                          .fail_above = limits[take(input, 3)],
                                          .subject = take(input, 2) != 0 ? "all" : "pollux"};
    char *text = NULL;
    char *told = NULL;
    size_t text_bytes = 0;
    size_t told_bytes = 0;
    FILE *out = open_memstream(&text, &text_bytes);
    FILE *err = open_memstream(&told, &told_bytes);
    FILE *usual = stderr;
    if (out == NULL || err == NULL)
        abort();
    stderr = err;
    int status = plx_compare_documents(a, b, &opts, out);
    stderr = usual;
    fclose(out);
    fclose(err);
    check_text(text, text_bytes);
    check_text(told, told_bytes);
    if (status != PLX_EXIT_OK && (status != PLX_EXIT_FAILED || opts.fail_above < 0))
        abort();
    free(text);
    free(told);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t len)
{
    struct input all = {input, len};
    json_t *a = take_document(&all);
    json_t *b = take_document(&all);
    if (a != NULL && b != NULL)
        compare(a, b, &all);
    json_decref(a);
    json_decref(b);
    return 0;
}
