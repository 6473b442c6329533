/* SPDX-License-Identifier: MIT */
#include "tools/bench/interrupts.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The position of the CPU's column, from 0, in the line of headings; *columns: how many there are.
 */
static int find_column(const char *line, size_t length, int cpu, uint32_t *columns)
{
    int found = -1;
    *columns = 0;
    for (const char *at = line; (at = memchr(at, 'C', (size_t)(line + length - at))) != NULL;) {
        if (strncmp(at, "CPU", 3) != 0)
            break;
        char *end;
        if (strtol(at + 3, &end, 10) == cpu)
            found = (int)*columns;
        at = end;
        ++*columns;
    }
    return found;
}

/* The last word of a line. */
static void last_word(const char *line, size_t length, char *name, size_t bytes)
{
    while (length != 0 && isspace((unsigned char)line[length - 1]))
        length--;
    size_t begin = length;
    while (begin != 0 && !isspace((unsigned char)line[begin - 1]))
        begin--;
    snprintf(name, bytes, "%.*s", (int)(length - begin), line + begin);
}

/* Whether the line is one of all columns; fills in what it says of one. */
static bool read_line(const char *line, size_t length, int column, uint32_t columns,
                      struct plx_bench_interrupt *out)
{
    const char *colon = memchr(line, ':', length);
    if (colon == NULL)
        return false;
    const char *label = line;
    while (isspace((unsigned char)*label))
        label++;
    const char *at = colon + 1;
    for (uint32_t i = 0; i < columns; i++) {
        while (at < line + length && *at == ' ')
            at++;
        if (at >= line + length || !isdigit((unsigned char)*at))
            return false;
        char *end;
        uint64_t count = strtoull(at, &end, 10);
        if ((int)i == column)
            out->count = count;
        at = end;
    }
    if (isdigit((unsigned char)*label))
        last_word(line, length, out->name, sizeof(out->name));
    else
        snprintf(out->name, sizeof(out->name), "%.*s", (int)(colon - label), label);
    return true;
}

void plx_bench_interrupts_read(const char *text, int cpu, struct plx_bench_interrupts *out)
{
    uint32_t columns;
    size_t length = strcspn(text, "\n");
    int column = find_column(text, length, cpu, &columns);
    out->count = 0;
    if (column < 0)
        return;
    while (text[length] == '\n' && out->count < PLX_BENCH_INTERRUPTS_MAX) {
        text += length + 1;
        length = strcspn(text, "\n");
        if (read_line(text, length, column, columns, &out->at[out->count]))
            out->count++;
    }
}

/* Of equal names, as devices may have, the one at the same place, else the first. */
static uint64_t count_of(const struct plx_bench_interrupts *all, uint32_t place, const char *name)
{
    if (place < all->count && strcmp(all->at[place].name, name) == 0)
        return all->at[place].count;
    for (uint32_t i = 0; i < all->count; i++) {
        if (strcmp(all->at[i].name, name) == 0)
            return all->at[i].count;
    }
    return 0;
}

size_t plx_bench_interrupts_diff(const struct plx_bench_interrupts *before,
                                 const struct plx_bench_interrupts *after, char *text, size_t bytes)
{
    size_t used = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < after->count; i++) {
        const struct plx_bench_interrupt *now = &after->at[i];
        uint64_t then = count_of(before, i, now->name);
        if (now->count <= then)
            continue;
        int length = snprintf(text + used, bytes - used, "%s%s +%llu", used != 0 ? ", " : "",
                              now->name, (unsigned long long)(now->count - then));
        if (length < 0 || (size_t)length >= bytes - used) {
            text[used] = '\0';
            break;
        }
        used += (size_t)length;
    }
    return used;
}
