/* SPDX-License-Identifier: MIT */
/* From text to value: one parser for each type, all of them strict about what follows a value. */
#include <errno.h>
#include <string.h>

#include "runtime/settings/settings_internal.h"

int plx__digits_parse(const char **cursor, uint64_t *value)
{
    const char *at = *cursor;
    uint64_t result = 0;
    bool overflow = false;
    if (*at < '0' || *at > '9')
        return -EINVAL;
    for (; *at >= '0' && *at <= '9'; at++) {
        if (__builtin_mul_overflow(result, 10, &result) ||
            __builtin_add_overflow(result, (uint64_t)(*at - '0'), &result))
            overflow = true;
    }
    *cursor = at;
    *value = result;
    return overflow ? -ERANGE : 0;
}

const char *plx__quote(char out[PLX__QUOTE_BYTES], const char *text, size_t length)
{
    static const char dots[] = "...";
    size_t room = PLX__QUOTE_BYTES - sizeof(dots);
    size_t i;
    for (i = 0; i < length && i < room && text[i] != '\0'; i++)
        out[i] = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
    bool cut = i < length && text[i] != '\0';
    memcpy(out + i, cut ? dots : "", cut ? sizeof(dots) : 1);
    return out;
}

/* Whether the first `length` bytes of `text` are `word`, whatever their case. */
static bool is_word(const char *text, size_t length, const char *word)
{
    size_t i;
    for (i = 0; i < length && word[i] != '\0'; i++) {
        if (plx__lower(text[i]) != plx__lower(word[i]))
            return false;
    }
    return i == length && word[i] == '\0';
}

/* The position of `text` among words that are parted by bars. */
static int parse_word(const char *text, const char *words, uint64_t *value)
{
    size_t length = strlen(text);
    for (uint64_t position = 0;; position++) {
        size_t end = strcspn(words, "|");
        if (is_word(words, end, text) && length == end) {
            *value = position;
            return 0;
        }
        if (words[end] == '\0')
            return -EINVAL;
        words += end + 1;
    }
}

static int parse_bool(const char *text, uint64_t *value)
{
    /* Each word's position tells its truth: the odd ones are true. */
    int error = parse_word(text, "no|yes|false|true|off|on|0|1", value);
    if (error == 0)
        *value &= 1;
    return error;
}

static int parse_count(const char *text, uint64_t *value)
{
    int error = plx__digits_parse(&text, value);
    return error == 0 && *text != '\0' ? -EINVAL : error;
}

static int parse_size(const char *text, uint64_t *value)
{
    static const char letters[] = "kmgt";
    unsigned shift = 0;
    int error = plx__digits_parse(&text, value);
    if (error != 0)
        return error;
    const char *letter = *text != '\0' ? strchr(letters, plx__lower(*text)) : NULL;
    if (letter != NULL) {
        shift = 10 * (unsigned)(letter - letters + 1);
        text++;
        if (plx__lower(text[0]) == 'i' && plx__lower(text[1]) == 'b')
            text++;
    }
    if (plx__lower(*text) == 'b')
        text++;
    if (*text != '\0')
        return -EINVAL;
    if (*value > UINT64_MAX >> shift)
        return -ERANGE;
    *value <<= shift;
    return 0;
}

static int parse_duration(const char *text, uint64_t *value)
{
    static const struct {
        const char *name;
        uint64_t ns;
    } units[] = {{"ns", 1}, {"us", 1000}, {"ms", 1000000}, {"s", 1000000000}};

    if (is_word(text, strlen(text), "inf")) {
        *value = PLX_INFINITE;
        return 0;
    }
    int error = plx__digits_parse(&text, value);
    if (error != 0)
        return error;
    /* Without a unit only zero is the same in all of them. */
    if (*text == '\0')
        return *value == 0 ? 0 : -EINVAL;
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (!is_word(text, strlen(text), units[i].name))
            continue;
        /* The largest number means "without end", which must be asked for by its name. */
        bool overflow = __builtin_mul_overflow(*value, units[i].ns, value);
        return overflow || *value == PLX_INFINITE ? -ERANGE : 0;
    }
    return -EINVAL;
}

/* Reads a value of any type but LIST, without regard to its range. */
static int parse_scalar(const struct plx_setting *row, const char *text, uint64_t *value)
{
    switch (row->type) {
    case PLX_TYPE_BOOL:
        return parse_bool(text, value);
    case PLX_TYPE_WANT:
        return parse_word(text, "no|try|require", value);
    case PLX_TYPE_ENUM:
        return parse_word(text, row->range, value);
    case PLX_TYPE_SIZE:
        return parse_size(text, value);
    case PLX_TYPE_DURATION:
        return parse_duration(text, value);
    case PLX_TYPE_COUNT:
    case PLX_TYPE_POW2:
        return parse_count(text, value);
    case PLX_TYPE_LIST:
        break;
    }
    return -EINVAL;
}

/* Whether a value lies in `low to high`, both in the row's own notation. */
static bool in_range(const struct plx_setting *row, uint64_t value)
{
    static const char between[] = " to ";
    const char *middle = strstr(row->range, between);
    if (middle == NULL)
        return true;

    char low_text[16];
    uint64_t low;
    uint64_t high;
    size_t length = (size_t)(middle - row->range);
    PLX_ASSERT(length < sizeof(low_text));
    memcpy(low_text, row->range, length);
    low_text[length] = '\0';
    int error = parse_scalar(row, low_text, &low);
    if (error == 0)
        error = parse_scalar(row, middle + sizeof(between) - 1, &high);
    PLX_ASSERT(error == 0); /* the table is ours */
    return low <= value && value <= high;
}

static uint64_t count_words(const char *words)
{
    uint64_t count = 1;
    for (; *words != '\0'; words++)
        count += *words == '|';
    return count;
}

/* Whether a field may hold this. */
static bool is_valid(const struct plx_setting *row, uint64_t value)
{
    switch (row->type) {
    case PLX_TYPE_BOOL:
        return value <= 1;
    case PLX_TYPE_WANT:
        return value <= PLX_WANT_REQUIRE;
    case PLX_TYPE_ENUM:
        return value < count_words(row->range);
    case PLX_TYPE_POW2:
        return in_range(row, value) && plx_is_pow2(value);
    default:
        return in_range(row, value);
    }
}

static void store_scalar(void *field, enum plx_setting_type type, uint64_t value)
{
    const bool truth = value != 0;
    const unsigned choice = (unsigned)value;
    const uint32_t count = (uint32_t)value;
    switch (type) {
    case PLX_TYPE_BOOL:
        memcpy(field, &truth, sizeof(truth));
        break;
    case PLX_TYPE_WANT:
    case PLX_TYPE_ENUM:
        memcpy(field, &choice, sizeof(choice));
        break;
    case PLX_TYPE_SIZE:
    case PLX_TYPE_DURATION:
        memcpy(field, &value, sizeof(value));
        break;
    case PLX_TYPE_COUNT:
    case PLX_TYPE_POW2:
        memcpy(field, &count, sizeof(count));
        break;
    case PLX_TYPE_LIST:
        break;
    }
}

static int refuse(enum plx_setting_id id, const char *text, struct plx_diag *diag)
{
    const struct plx_setting *row = plx_setting_describe(id);
    char quoted[PLX__QUOTE_BYTES];
    if (*text == '\0')
        return plx_diag_set(diag, -EINVAL, row->variable, "%s is empty; expected %s", row->variable,
                            row->expected);
    plx__quote(quoted, text, SIZE_MAX);
    return plx_diag_set(diag, -EINVAL, row->variable, "%s=\"%s\" is not valid; expected %s",
                        row->variable, quoted, row->expected);
}

int plx__setting_parse(struct plx_settings *settings, enum plx_setting_id id, const char *text,
                       struct plx_diag *diag)
{
    const struct plx_setting *row = plx_setting_describe(id);
    void *field = plx__setting_field(settings, id);
    uint64_t value;

    if (row->type == PLX_TYPE_LIST) {
        if (plx_cpu_set_parse((struct plx_cpu_set *)field, text) != 0)
            return refuse(id, text, diag);
        return 0;
    }
    if (parse_scalar(row, text, &value) != 0 || !is_valid(row, value))
        return refuse(id, text, diag);
    store_scalar(field, row->type, value);
    return 0;
}

int plx__settings_check(const struct plx_settings *settings, struct plx_diag *diag)
{
    for (unsigned i = 0; i < PLX_SETTING_COUNT; i++) {
        enum plx_setting_id id = (enum plx_setting_id)i;
        const struct plx_setting *row = plx_setting_describe(id);
        if (row->type == PLX_TYPE_LIST)
            continue;
        uint64_t value = plx__setting_scalar(settings, id);
        if (!is_valid(row, value))
            return plx_diag_set(diag, -EINVAL, row->variable, "%s is %llu: expected %s",
                                row->variable, (unsigned long long)value, row->expected);
    }
    return 0;
}
