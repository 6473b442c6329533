/* SPDX-License-Identifier: MIT */
#include "tools/bench/interrupts.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* To begin with; it doubles. */
#define ROOM 256u

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

static bool has_room(struct plx_bench_interrupts *interrupts)
{
    if (interrupts->count < interrupts->room)
        return true;
    uint32_t room = interrupts->room != 0 ? 2 * interrupts->room : ROOM;
    struct plx_bench_interrupt *at = NULL;
    if (room <= PLX_BENCH_INTERRUPTS_MAX)
        at = realloc(interrupts->at, room * sizeof(*at));
    if (at == NULL)
        return false;
    interrupts->at = at;
    interrupts->room = room;
    return true;
}

void plx_bench_interrupts_read(const char *text, int cpu, struct plx_bench_interrupts *out)
{
    uint32_t columns;
    size_t length = strcspn(text, "\n");
    int column = find_column(text, length, cpu, &columns);
    out->count = 0;
    out->cut = false;
    if (column < 0)
        return;
    while (text[length] == '\n' && text[length + 1] != '\0') {
        text += length + 1;
        length = strcspn(text, "\n");
        out->cut = text[length] == '\0' || !has_room(out);
        if (out->cut)
            return;
        if (read_line(text, length, column, columns, &out->at[out->count]))
            out->count++;
    }
}

void plx_bench_interrupts_fini(struct plx_bench_interrupts *interrupts)
{
    free(interrupts->at);
    *interrupts = (struct plx_bench_interrupts){.at = NULL};
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

const char *plx_bench_interrupts_none(const struct plx_bench_interrupts *before,
                                      const struct plx_bench_interrupts *after)
{
    if (before->count == 0 || after->count == 0)
        return "unknown: /proc/interrupts cannot be read";
    /* What is listed last (timers, rescheduling, shootdowns) is what most gaps come from. */
    if (before->cut || after->cut)
        return "unknown: /proc/interrupts is too long";
    return "nothing was counted: firmware or a hypervisor";
}

/* --- stolen time ----------------------------------------------------------------------------- */

/* Whether a line of /proc/stat is of one of these CPUs, or for NULL of all; *end is behind that. */
static bool is_of(char *line, const struct plx_cpu_set *cpus, char **end)
{
    char *number = line + 3;
    if (cpus == NULL) {
        *end = number;
        return *number == ' ';
    }
    if (!isdigit((unsigned char)*number))
        return false;
    unsigned long cpu = strtoul(number, end, 10);
    return cpu < PLX_CPU_SET_SIZE && plx_cpu_set_has(cpus, (unsigned)cpu);
}

uint64_t plx_bench_steal_read(FILE *text, const struct plx_cpu_set *cpus)
{
    char line[512];
    uint64_t steal = 0;
    unsigned left = cpus != NULL ? plx_cpu_set_count(cpus) : 1;
    /* The lines of CPUs come first; those of interrupts behind them are long. */
    while (left != 0 && fgets(line, sizeof(line), text) != NULL && strncmp(line, "cpu", 3) == 0) {
        char *at;
        if (!is_of(line, cpus, &at))
            continue;
        left--;
        uint64_t value = 0;
        /* user nice system idle iowait irq softirq steal */
        for (int i = 0; i < 8; i++)
            value = strtoull(at, &at, 10);
        steal += value;
    }
    return steal;
}
