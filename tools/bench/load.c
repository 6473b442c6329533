/* SPDX-License-Identifier: MIT */
/* Reads documents: of this schema, whole, and of a size that was meant. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/bench/document.h"

/* A run of everything on hundreds of cores stays below this. */
#define FILE_BYTES_MAX (UINT64_C(256) << 20)
/* Names are shorter: of ours, and of those that --with takes. */
#define TEXT_BYTES_MAX 100u
/* Slices of one subject: it would take a day to run so many. */
#define ROUNDS_MAX 1000000u

const char *plx_bench_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

double plx_bench_number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

/* How many bytes at `text` a terminal would obey: 0, 1, or 2 of a C1 control in UTF-8. */
static size_t control_bytes(const char *text)
{
    unsigned char first = (unsigned char)text[0];
    unsigned char second = first != '\0' ? (unsigned char)text[1] : 0;
    if (first == 0xc2 && second >= 0x80 && second <= 0x9f)
        return 2;
    return (first != '\0' && first < 0x20) || first == 0x7f;
}

char *plx_bench_clean(char *text)
{
    for (char *at = text; *at != '\0'; at++)
        memset(at, '?', control_bytes(at));
    return text;
}

/* A name of a line's part, which is shown as it is. */
static bool is_name(const char *text)
{
    size_t length = strlen(text);
    for (size_t i = 0; i < length && length <= TEXT_BYTES_MAX; i++) {
        if (control_bytes(text + i) != 0)
            return false;
    }
    return length != 0 && length <= TEXT_BYTES_MAX;
}

static bool is_numbers(const json_t *array)
{
    size_t index;
    const json_t *value;
    json_array_foreach(array, index, value)
    {
        if (!json_is_number(value))
            return false;
    }
    return json_array_size(array) <= ROUNDS_MAX;
}

/* What `row` lacks of a row, as a word; NULL: nothing. */
static const char *lacks(const json_t *row)
{
    static const char *const texts[] = {"bench", "case", "subject", "unit"};
    static const char *const numbers[] = {"n",     "min",    "p50",    "p90",     "p99",
                                          "p999",  "p9999",  "max",    "mean",    "cpu_a",
                                          "cpu_b", "node_a", "node_b", "mem_node"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (!is_name(plx_bench_text(row, texts[i])))
            return texts[i];
    }
    const char *better = plx_bench_text(row, "better");
    if (strcmp(better, "lower") != 0 && strcmp(better, "higher") != 0)
        return "better";
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        const json_t *value = json_object_get(row, numbers[i]);
        if (!json_is_number(value) && !json_is_null(value))
            return numbers[i];
    }
    return is_numbers(json_object_get(row, "round_p50")) ? NULL : "round_p50";
}

static int check(const json_t *document, const char *path, struct plx_diag *diag)
{
    const json_t *schema = json_object_get(document, "schema");
    const json_t *results = json_object_get(document, "results");
    if (!json_is_integer(schema))
        return plx_diag_set(diag, -EINVAL, path,
                            "these are no results of pollux bench: they have "
                            "no member \"schema\"");
    if (json_integer_value(schema) != PLX_BENCH_SCHEMA)
        return plx_diag_set(diag, -EINVAL, path,
                            "its schema is %lld, and this program reads schema %d",
                            (long long)json_integer_value(schema), PLX_BENCH_SCHEMA);
    if (!json_is_array(results))
        return plx_diag_set(diag, -EINVAL, path, "it has no array \"results\"");
    size_t index;
    const json_t *row;
    json_array_foreach(results, index, row)
    {
        const char *what = lacks(row);
        if (what != NULL)
            return plx_diag_set(diag, -EINVAL, path, "row %zu of its results has no proper \"%s\"",
                                index + 1, what);
    }
    return 0;
}

/* Opens a file that is one, and not too large. NULL: `diag` says why not. */
static FILE *open_file(const char *path, struct plx_diag *diag)
{
    struct stat facts;
    FILE *file = NULL;
    /* A pipe without a writer is told to be no file rather than waited for. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &facts) != 0)
        plx_diag_set(diag, -errno, path, "%s", strerror(errno));
    else if (!S_ISREG(facts.st_mode))
        plx_diag_set(diag, -EINVAL, path, "it is no file");
    else if ((uint64_t)facts.st_size > FILE_BYTES_MAX)
        plx_diag_set(diag, -EFBIG, path, "it has more than %d MiB, which no results have",
                     (int)(FILE_BYTES_MAX >> 20));
    else if ((file = fdopen(fd, "r")) == NULL)
        plx_diag_set(diag, -errno, path, "%s", strerror(errno));
    if (file == NULL && fd >= 0)
        close(fd);
    return file;
}

/* Keeps a document that is one of ours. */
static json_t *accepted(json_t *document, json_error_t *error, const char *path,
                        struct plx_diag *diag)
{
    if (document == NULL) {
        plx_diag_set(diag, -EINVAL, path, "it is no JSON: line %d: %s", error->line,
                     plx_bench_clean(error->text));
        return NULL;
    }
    if (check(document, path, diag) != 0) {
        json_decref(document);
        return NULL;
    }
    return document;
}

json_t *plx_bench_load(const char *path, struct plx_diag *diag)
{
    json_error_t error;
    FILE *file = open_file(path, diag);
    if (file == NULL)
        return NULL;
    /* Of a descriptor jansson would read byte by byte, each by a call of its own. */
    json_t *document = json_loadf(file, JSON_REJECT_DUPLICATES, &error);
    fclose(file);
    return accepted(document, &error, path, diag);
}

json_t *plx_bench_load_text(const char *text, size_t bytes, const char *path, struct plx_diag *diag)
{
    json_error_t error;
    return accepted(json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &error), &error, path, diag);
}
