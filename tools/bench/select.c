/* SPDX-License-Identifier: MIT */
#include "tools/bench/select.h"

#include <ctype.h>
#include <fnmatch.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CPU_MAX 65535l

bool plx_bench_matches(const char *pattern, const char *bench, const char *name)
{
    char full[128];
    if (strchr(pattern, '/') == NULL)
        return fnmatch(pattern, name, 0) == 0;
    snprintf(full, sizeof(full), "%s/%s", bench, name);
    return fnmatch(pattern, full, 0) == 0;
}

/* A number at *text, which is moved behind it; -1: none. */
static int read_cpu(const char **text)
{
    char *end;
    if (!isdigit((unsigned char)**text))
        return -1;
    long number = strtol(*text, &end, 10);
    *text = end;
    return number <= CPU_MAX ? (int)number : -1;
}

int plx_bench_read_pairs(const char *text, struct plx_bench_cores *pairs)
{
    for (uint32_t count = 0; count < PLX_BENCH_PAIRS_MAX; text++) {
        struct plx_bench_cores pair = {.a = read_cpu(&text), .b = -1};
        if (pair.a < 0 || *text++ != ':')
            return -1;
        pair.b = read_cpu(&text);
        if (pair.b < 0 || (*text != ',' && *text != '\0'))
            return -1;
        if (pair.a == pair.b)
            return -2;
        pairs[count++] = pair;
        if (*text == '\0')
            return (int)count;
    }
    return -1;
}

bool plx_bench_read_percent(const char *text, double *part)
{
    char *end;
    if (!isdigit((unsigned char)*text))
        return false;
    double percent = strtod(text, &end);
    if ((strcmp(end, "%") != 0 && *end != '\0') || !(percent >= 0.01 && percent <= 50))
        return false;
    *part = percent / 100;
    return true;
}
