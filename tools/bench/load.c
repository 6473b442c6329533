/* SPDX-License-Identifier: MIT */
/* Reads documents: of this schema, whole, and of a size that was meant. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/bench/document.h"

/* A run of everything on hundreds of cores stays below this. */
#define FILE_BYTES_MAX (UINT64_C(256) << 20)

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

/* What `row` lacks of a row, as a word; NULL: nothing. */
static const char *lacks(const json_t *row)
{
    static const char *const texts[] = {"bench", "case", "subject", "unit"};
    static const char *const numbers[] = {"n",     "min",    "p50",    "p90",     "p99",
                                          "p999",  "p9999",  "max",    "mean",    "cpu_a",
                                          "cpu_b", "node_a", "node_b", "mem_node"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (plx_bench_text(row, texts[i])[0] == '\0')
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
    size_t index;
    const json_t *value;
    json_array_foreach(json_object_get(row, "round_p50"), index, value)
    {
        if (!json_is_number(value))
            return "round_p50";
    }
    return NULL;
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

/* Opens a file that is one, and not too large. Returns its descriptor, or a negative errno. */
static int open_file(const char *path, struct plx_diag *diag)
{
    struct stat facts;
    /* A pipe without a writer is told to be no file rather than waited for. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &facts) != 0) {
        int code = -errno;
        if (fd >= 0)
            close(fd);
        return plx_diag_set(diag, code, path, "%s", strerror(-code));
    }
    int rc = 0;
    if (!S_ISREG(facts.st_mode))
        rc = plx_diag_set(diag, -EINVAL, path, "it is no file");
    else if ((uint64_t)facts.st_size > FILE_BYTES_MAX)
        rc = plx_diag_set(diag, -EFBIG, path, "it has more than %d MiB, which no results have",
                          (int)(FILE_BYTES_MAX >> 20));
    if (rc == 0)
        return fd;
    close(fd);
    return rc;
}

json_t *plx_bench_load(const char *path, struct plx_diag *diag)
{
    json_error_t error;
    int fd = open_file(path, diag);
    if (fd < 0)
        return NULL;
    json_t *document = json_loadfd(fd, JSON_REJECT_DUPLICATES, &error);
    close(fd);
    if (document == NULL) {
        plx_diag_set(diag, -EINVAL, path, "it is no JSON: line %d: %s", error.line, error.text);
        return NULL;
    }
    if (check(document, path, diag) != 0) {
        json_decref(document);
        return NULL;
    }
    return document;
}
