/* SPDX-License-Identifier: MIT */
/* Distributions as HdrHistogram's text files, which its plotter and others read. */
#include "tools/bench/hgrm.h"

#include <errno.h>
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

int plx_bench_write_hgrm(const struct plx_bench *bench, const char *folder, struct plx_diag *diag)
{
    for (uint32_t i = 0; i < bench->row_count; i++) {
        const struct plx_bench_row *row = &bench->rows[i];
        char name[NAME_BYTES];
        char path[4096];
        if (!row->has || row->point_count == 0)
            continue;
        name_row(row, name);
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
    }
    return 0;
}
