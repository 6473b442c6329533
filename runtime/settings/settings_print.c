/* SPDX-License-Identifier: MIT */
/* From value to text: one value, the table for people, the object for programs. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "runtime/settings/settings_internal.h"

/* Values longer than this do not widen the column of all. */
#define VALUE_COLUMN_MAX 24
/* Bytes of a line around its value: the texts of a row, with room to spare. */
#define LINE_BYTES (PLX_SETTING_TEXT_BYTES + 1024)

const char *plx_setting_source_name(enum plx_setting_source source)
{
    static const char *const names[] = {"default", "application", "environment"};
    PLX_ASSERT((unsigned)source < sizeof(names) / sizeof(names[0]));
    return names[source];
}

const char *plx_idle_name(enum plx_idle idle)
{
    static const char *const names[] = {"auto", "spin", "yield", "adaptive", "block"};
    return (unsigned)idle < sizeof(names) / sizeof(names[0]) ? names[idle] : "?";
}

uint64_t plx__setting_scalar(const struct plx_settings *settings, enum plx_setting_id id)
{
    /* Only read, though the function that finds the field serves writers too. */
    const void *field = plx__setting_field((struct plx_settings *)(uintptr_t)settings, id);
    uint8_t narrow;
    uint32_t middle;
    uint64_t wide;
    switch (plx__setting_field_bytes(id)) {
    case sizeof(narrow):
        memcpy(&narrow, field, sizeof(narrow));
        return narrow;
    case sizeof(middle):
        memcpy(&middle, field, sizeof(middle));
        return middle;
    default:
        memcpy(&wide, field, sizeof(wide));
        return wide;
    }
}

/* A text of a known length into the caller's buffer. */
static int put(char *text, size_t bytes, const char *value, size_t length)
{
    if (bytes > 0)
        text[0] = '\0';
    if (length >= bytes)
        return -ENOSPC;
    memcpy(text, value, length);
    text[length] = '\0';
    return (int)length;
}

static int put_word(char *text, size_t bytes, const char *words, uint64_t position)
{
    size_t length = strcspn(words, "|");
    for (; position > 0; position--) {
        if (words[length] == '\0') {
            put(text, bytes, "", 0);
            return -EINVAL;
        }
        words += length + 1;
        length = strcspn(words, "|");
    }
    return put(text, bytes, words, length);
}

/* A number in the largest of its units that leaves no rest, each `step` times the one before. */
static int put_scaled(char *text, size_t bytes, uint64_t value, uint64_t step,
                      const char *const *units)
{
    char number[32];
    while (value != 0 && value % step == 0 && units[1] != NULL) {
        value /= step;
        units++;
    }
    int length = snprintf(number, sizeof(number), "%" PRIu64 "%s", value, value != 0 ? *units : "");
    return put(text, bytes, number, (size_t)length);
}

int plx_settings_format(const struct plx_settings *settings, enum plx_setting_id id, char *text,
                        size_t bytes)
{
    static const char *const plain[] = {"", NULL};
    static const char *const sizes[] = {"", "K", "M", "G", "T", NULL};
    static const char *const durations[] = {"ns", "us", "ms", "s", NULL};
    const struct plx_setting *row = plx_setting_describe(id);

    if (row->type == PLX_TYPE_LIST) {
        const void *field = plx__setting_field((struct plx_settings *)(uintptr_t)settings, id);
        return plx_cpu_set_format((const struct plx_cpu_set *)field, text, bytes);
    }
    uint64_t value = plx__setting_scalar(settings, id);
    switch (row->type) {
    case PLX_TYPE_BOOL:
        return put_word(text, bytes, "no|yes", value);
    case PLX_TYPE_WANT:
        return put_word(text, bytes, "no|try|require", value);
    case PLX_TYPE_ENUM:
        return put_word(text, bytes, row->range, value);
    case PLX_TYPE_SIZE:
        return put_scaled(text, bytes, value, 1024, sizes);
    case PLX_TYPE_DURATION:
        if (value == PLX_INFINITE)
            return put(text, bytes, "inf", 3);
        return put_scaled(text, bytes, value, 1000, durations);
    default:
        return put_scaled(text, bytes, value, 10, plain);
    }
}

/* As format, but an empty value and one that has no text show as such. */
static int show(const struct plx_settings *settings, enum plx_setting_id id, char *text,
                size_t bytes)
{
    int length = plx_settings_format(settings, id, text, bytes);
    if (length < 0)
        return put(text, bytes, "?", 1);
    return length == 0 ? put(text, bytes, "\"\"", 2) : length;
}

void plx_settings_explain(const struct plx_settings *settings, plx_text_fn sink, void *ctx)
{
    char value[PLX_SETTING_TEXT_BYTES];
    char line[LINE_BYTES];
    int name_width = 0;
    int value_width = 5;
    for (int id = 0; id < PLX_SETTING_COUNT; id++) {
        int length = show(settings, (enum plx_setting_id)id, value, sizeof(value));
        int name_length = (int)strlen(plx_setting_describe((enum plx_setting_id)id)->variable);
        name_width = name_length > name_width ? name_length : name_width;
        if (length > value_width)
            value_width = length < VALUE_COLUMN_MAX ? length : VALUE_COLUMN_MAX;
    }
    snprintf(line, sizeof(line), "%-*s  %-*s  %-11s  %s", name_width, "setting", value_width,
             "value", "source", "expected");
    sink(line, ctx);
    for (int id = 0; id < PLX_SETTING_COUNT; id++) {
        const struct plx_setting *row = plx_setting_describe((enum plx_setting_id)id);
        show(settings, (enum plx_setting_id)id, value, sizeof(value));
        snprintf(line, sizeof(line), "%-*s  %-*s  %-11s  %s%s%s%s", name_width, row->variable,
                 value_width, value,
                 plx_setting_source_name((enum plx_setting_source)settings->source[id]),
                 row->expected, row->unit[0] != '\0' ? " [" : "", row->unit,
                 row->unit[0] != '\0' ? "]" : "");
        sink(line, ctx);
    }
}

void plx_settings_explain_json(const struct plx_settings *settings, plx_text_fn sink, void *ctx)
{
    char value[PLX_SETTING_TEXT_BYTES];
    char line[LINE_BYTES];
    sink("{", ctx);
    /* None of the texts has a character that JSON would want escaped; the test looks. */
    for (int id = 0; id < PLX_SETTING_COUNT; id++) {
        const struct plx_setting *row = plx_setting_describe((enum plx_setting_id)id);
        plx_settings_format(settings, (enum plx_setting_id)id, value, sizeof(value));
        snprintf(line, sizeof(line),
                 "  \"%s\": {\"value\": \"%s\", \"default\": \"%s\", \"source\": \"%s\", "
                 "\"type\": \"%s\", \"unit\": \"%s\", \"range\": \"%s\", \"scope\": \"%s\", "
                 "\"stability\": \"%s\", \"doc\": \"%s\"}%s",
                 row->key, value, row->default_text,
                 plx_setting_source_name((enum plx_setting_source)settings->source[id]),
                 row->type_name, row->unit, row->range, row->scope, row->stability, row->doc,
                 id + 1 < PLX_SETTING_COUNT ? "," : "");
        sink(line, ctx);
    }
    sink("}", ctx);
}
