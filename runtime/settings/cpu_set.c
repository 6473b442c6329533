/* SPDX-License-Identifier: MIT */
#include "runtime/settings/cpu_set.h"

#include <errno.h>
#include <stdio.h>

#include "runtime/settings/settings_internal.h"

/* One number or range of a list, with all its members below PLX_CPU_SET_SIZE. */
static int parse_item(const char **cursor, struct plx_cpu_set *set)
{
    uint64_t first;
    uint64_t stride = 1;
    int error = plx__digits_parse(cursor, &first);
    if (error != 0)
        return error;
    uint64_t last = first;
    if (**cursor == '-') {
        (*cursor)++;
        error = plx__digits_parse(cursor, &last);
        if (error != 0)
            return error;
        if (**cursor == ':') {
            (*cursor)++;
            error = plx__digits_parse(cursor, &stride);
            if (error != 0)
                return error;
            if (stride == 0)
                return -EINVAL;
        }
    }
    if (last >= PLX_CPU_SET_SIZE || first > last)
        return -ERANGE;
    /* Compared by distance: a huge stride must not wrap around. */
    for (uint64_t number = first;; number += stride) {
        plx_cpu_set_add(set, (unsigned)number);
        if (last - number < stride)
            return 0;
    }
}

int plx_cpu_set_parse(struct plx_cpu_set *set, const char *text)
{
    struct plx_cpu_set result = {{0}};
    const char *cursor = text;
    while (*cursor != '\0') {
        int error = parse_item(&cursor, &result);
        if (error != 0)
            return error;
        if (*cursor == '\0')
            break;
        /* A comma promises another item. */
        if (*cursor != ',' || cursor[1] == '\0')
            return -EINVAL;
        cursor++;
    }
    *set = result;
    return 0;
}

int plx_cpu_set_format(const struct plx_cpu_set *set, char *text, size_t bytes)
{
    size_t used = 0;
    unsigned first = plx_cpu_set_next(set, 0);
    if (bytes == 0)
        return -ENOSPC;
    text[0] = '\0';
    while (first < PLX_CPU_SET_SIZE) {
        unsigned last = first;
        while (plx_cpu_set_has(set, last + 1))
            last++;
        const char *comma = used == 0 ? "" : ",";
        int length = last == first
                         ? snprintf(text + used, bytes - used, "%s%u", comma, first)
                         : snprintf(text + used, bytes - used, "%s%u-%u", comma, first, last);
        if ((size_t)length >= bytes - used) {
            text[0] = '\0';
            return -ENOSPC;
        }
        used += (size_t)length;
        first = plx_cpu_set_next(set, last + 1);
    }
    return (int)used;
}
