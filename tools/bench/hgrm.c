/* SPDX-License-Identifier: MIT */
/* Distributions as HdrHistogram's text files, which its plotter and others read. */
#include "tools/bench/hgrm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NAME_BYTES 200

/* Appends text of which only letters, digits, dots and underscores stay. */
static void append(char *name, const char *text)
{
    static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._";
    size_t at = strlen(name);
    for (; *text != '\0' && at + 1 < NAME_BYTES; text++, at++)
        name[at] = (char)(strchr(safe, *text) != NULL ? *text : '-');
    name[at] = '\0';
}

/* None begins with a dot, as all begin with a benchmark's name. */
static void name_row(const struct plx_bench_row *row, char *name)
{
    char cores[48];
    name[0] = '\0';
    append(name, row->bench);
    append(name, "-");
    append(name, row->case_name);
    append(name, "-");
    append(name, row->subject);
    snprintf(cores, sizeof(cores), "-cpu%d", row->cpu_a);
    append(name, row->cpu_a >= 0 ? cores : "");
    snprintf(cores, sizeof(cores), "-%d", row->cpu_b);
    append(name, row->cpu_b >= 0 ? cores : "");
    snprintf(cores, sizeof(cores), "-node%d", row->mem_node);
    append(name, row->mem_node >= 0 ? cores : "");
}

struct name {
    char text[NAME_BYTES + 16];
    uint32_t row;
};

static int by_name(const void *a, const void *b)
{
    const struct name *left = a;
    const struct name *right = b;
    int order = strcmp(left->text, right->text);
    return order != 0 ? order : (left->row > right->row) - (left->row < right->row);
}

/*
 * The names of rows that have a distribution, to be freed. Of those that are alike, as a/b and a-b
 * are, the second and later get a number, in the order of rows. NULL: no memory.
 */
static struct name *name_all(const struct plx_bench *bench, uint32_t *count)
{
    struct name *names = calloc(bench->row_count + 1, sizeof(*names));
    *count = 0;
    for (uint32_t i = 0; names != NULL && i < bench->row_count; i++) {
        if (!bench->rows[i].has || bench->rows[i].point_count == 0)
            continue;
        name_row(&bench->rows[i], names[*count].text);
        names[(*count)++].row = i;
    }
    if (names == NULL)
        return NULL;
    qsort(names, *count, sizeof(*names), by_name);
    for (uint32_t i = 0, next; i < *count; i = next) {
        size_t length = strlen(names[i].text);
        for (next = i + 1; next < *count && strcmp(names[next].text, names[i].text) == 0; next++)
            ;
        /* No name of ours has a tilde. */
        for (uint32_t j = i + 1; j < next; j++)
            snprintf(names[j].text + length, sizeof(names[j].text) - length, "~%u", j - i + 1);
    }
    return names;
}

static void write_row(const struct plx_bench_row *row, FILE *file)
{
    fprintf(file, "%12s %14s %10s %14s\n\n", "Value", "Percentile", "TotalCount",
            "1/(1-Percentile)");
    for (uint32_t i = 0; i < row->point_count; i++) {
        const struct plx_bench_point *point = &row->points[i];
        fprintf(file, "%12.3f %2.12f %10llu", point->value, point->part,
                (unsigned long long)point->count);
        if (point->part < 1)
            fprintf(file, " %14.2f", 1 / (1 - point->part));
        fputc('\n', file);
    }
    fprintf(file, "#[Mean    = %12.3f, StdDeviation   = %12.3f]\n", row->mean, row->deviation);
    fprintf(file, "#[Max     = %12.3f, Total count    = %12llu]\n", row->max,
            (unsigned long long)row->n);
    fprintf(file, "#[Buckets = %12d, SubBuckets     = %12d]\n", 40 - PLX_HISTOGRAM_BITS,
            2 << PLX_HISTOGRAM_BITS);
}

static int write_file(const struct plx_bench_row *row, const char *folder, const char *name,
                      struct plx_diag *diag)
{
    char path[4096];
    int length = snprintf(path, sizeof(path), "%s/%s.hgrm", folder, name);
    if (length < 0 || (size_t)length >= sizeof(path))
        return plx_diag_set(diag, -ENAMETOOLONG, folder, "%s", strerror(ENAMETOOLONG));
    FILE *file = fopen(path, "we");
    if (file == NULL)
        return plx_diag_set(diag, -errno, path, "%s", strerror(errno));
    write_row(row, file);
    bool whole = ferror(file) == 0;
    if (fclose(file) != 0 || !whole)
        return plx_diag_set(diag, -EIO, path, "it could not be written");
    return 0;
}

int plx_bench_write_hgrm(const struct plx_bench *bench, const char *folder, struct plx_diag *diag)
{
    uint32_t count;
    struct name *names = name_all(bench, &count);
    if (names == NULL)
        return plx_diag_set(diag, -ENOMEM, folder, "out of memory");
    int rc = 0;
    for (uint32_t i = 0; i < count && rc == 0; i++)
        rc = write_file(&bench->rows[names[i].row], folder, names[i].text, diag);
    free(names);
    return rc;
}
