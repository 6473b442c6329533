/* SPDX-License-Identifier: MIT */
#include "runtime/settings/settings.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "runtime/settings/settings_internal.h"

#define PREFIX "POLLUX_"
#define PREFIX_BYTES (sizeof(PREFIX) - 1)
/* Names of the programs that test Pollux, behind the prefix. */
#define TEST_PREFIX "TEST_"
/* Longer names are no mistyped setting, and get no advice. */
#define NAME_MAX_BYTES 32

/* --- the table as data ----------------------------------------------------------------------- */

#define EXPECTED_BOOL(range) "yes|no, true|false, on|off or 1|0"
#define EXPECTED_WANT(range) "one of no|try|require"
#define EXPECTED_ENUM(range) "one of " range
#define EXPECTED_SIZE(range) "a size from " range
#define EXPECTED_DURATION(range) "a duration with its unit (ns, us, ms, s) from " range
#define EXPECTED_COUNT(range) "a number from " range
#define EXPECTED_POW2(range) "a power of two from " range
#define EXPECTED_LIST(range) "a list such as 0-3,8,10-15:2 of numbers below 1024"

#define NAME_BOOL "bool"
#define NAME_WANT "want"
#define NAME_ENUM "enum"
#define NAME_SIZE "size"
#define NAME_DURATION "duration"
#define NAME_COUNT "count"
#define NAME_POW2 "pow2"
#define NAME_LIST "list"

/* A variable is spelled from its id; the test sees to it that the key is the same word. */
static const struct plx_setting rows[PLX_SETTING_COUNT] = {
#define ROW(ID, name, TYPE, field_type, unit_text, default_value, range_text, scope_text,          \
            stability_text, doc_text)                                                              \
    {.key = #name,                                                                                 \
     .variable = PREFIX #ID,                                                                       \
     .type = PLX_TYPE_##TYPE,                                                                      \
     .type_name = NAME_##TYPE,                                                                     \
     .unit = unit_text,                                                                            \
     .default_text = default_value,                                                                \
     .range = range_text,                                                                          \
     .expected = EXPECTED_##TYPE(range_text),                                                      \
     .scope = scope_text,                                                                          \
     .stability = stability_text,                                                                  \
     .doc = doc_text},
    PLX_SETTINGS_TABLE(ROW)
#undef ROW
};

/* Apart from the rows, for these are ours alone. */
static const struct {
    size_t offset;
    size_t bytes;
} fields[PLX_SETTING_COUNT] = {
#define FIELD(ID, key, TYPE, field_type, ...)                                                      \
    {offsetof(struct plx_settings, key), sizeof(field_type)},
    PLX_SETTINGS_TABLE(FIELD)
#undef FIELD
};

/* A row's C type must be as wide as what its TYPE is stored as. */
#define STORED_BOOL bool
#define STORED_WANT unsigned
#define STORED_ENUM unsigned
#define STORED_SIZE uint64_t
#define STORED_DURATION uint64_t
#define STORED_COUNT uint32_t
#define STORED_POW2 uint32_t
#define STORED_LIST struct plx_cpu_set
#define CHECK_WIDTH(ID, key, TYPE, field_type, ...)                                                \
    PLX_STATIC_ASSERT(sizeof(field_type) == sizeof(STORED_##TYPE), "width of " #key);
PLX_SETTINGS_TABLE(CHECK_WIDTH)
#undef CHECK_WIDTH

const struct plx_setting *plx_setting_describe(enum plx_setting_id id)
{
    PLX_ASSERT((unsigned)id < PLX_SETTING_COUNT);
    return &rows[id];
}

void *plx__setting_field(struct plx_settings *settings, enum plx_setting_id id)
{
    return (char *)settings + fields[id].offset;
}

size_t plx__setting_field_bytes(enum plx_setting_id id)
{
    return fields[id].bytes;
}

/* --- names ----------------------------------------------------------------------------------- */

static bool same_name(const char *name, const char *key)
{
    while (*name != '\0' && plx__lower(*name) == *key) {
        name++;
        key++;
    }
    return *name == *key;
}

static const char *without_prefix(const char *name)
{
    for (size_t i = 0; i < PREFIX_BYTES; i++) {
        if (plx__lower(name[i]) != plx__lower(PREFIX[i]))
            return name;
    }
    return name + PREFIX_BYTES;
}

int plx_setting_find(const char *name)
{
    const char *key = without_prefix(name);
    for (int id = 0; id < PLX_SETTING_COUNT; id++) {
        if (same_name(key, rows[id].key))
            return id;
    }
    return -ENOENT;
}

/* A variable of the environment is meant only if it is spelled exactly. */
static int find_variable(const char *name, size_t length)
{
    for (int id = 0; id < PLX_SETTING_COUNT; id++) {
        if (strlen(rows[id].variable) == length && memcmp(rows[id].variable, name, length) == 0)
            return id;
    }
    return -ENOENT;
}

/*
 * How many letters must be added, dropped, replaced or exchanged with their neighbour to turn one
 * name into the other (optimal string alignment, three rows of its matrix at a time).
 */
static unsigned edit_distance(const char *name, size_t length, const char *key)
{
    unsigned matrix[3][NAME_MAX_BYTES + 1];
    size_t key_length = strlen(key);
    PLX_ASSERT(key_length <= NAME_MAX_BYTES);
    for (unsigned j = 0; j <= key_length; j++)
        matrix[0][j] = j;
    for (size_t i = 1; i <= length; i++) {
        unsigned *row = matrix[i % 3];
        const unsigned *above = matrix[(i - 1) % 3];
        char letter = plx__lower(name[i - 1]);
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= key_length; j++) {
            unsigned best = above[j - 1] + (letter != key[j - 1] ? 1 : 0);
            if (above[j] + 1 < best)
                best = above[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            if (i > 1 && j > 1 && letter == key[j - 2] && plx__lower(name[i - 2]) == key[j - 1] &&
                matrix[(i - 2) % 3][j - 2] + 1 < best)
                best = matrix[(i - 2) % 3][j - 2] + 1;
            row[j] = best;
        }
    }
    return matrix[length % 3][key_length];
}

/* The setting that was probably meant by a name without its prefix, or NULL. */
static const struct plx_setting *nearest(const char *name, size_t length)
{
    const struct plx_setting *best = NULL;
    /* One slip for each three letters: further away, a proposal is a guess. */
    unsigned limit = (unsigned)(length + 2) / 3;
    if (length > NAME_MAX_BYTES)
        return NULL;
    for (int id = 0; id < PLX_SETTING_COUNT; id++) {
        unsigned distance = edit_distance(name, length, rows[id].key);
        if (distance > limit || (best != NULL && distance == limit))
            continue;
        best = &rows[id];
        limit = distance;
    }
    return best;
}

/* The sentence about an unknown name; its first `prefix` bytes are not compared. */
static void advise(char *text, size_t bytes, const char *name, size_t length, size_t prefix)
{
    char quoted[PLX__QUOTE_BYTES];
    const struct plx_setting *meant = nearest(name + prefix, length - prefix);
    plx__quote(quoted, name, length);
    if (meant == NULL)
        snprintf(text, bytes, "%s is no setting of Pollux; see pollux-settings(7)", quoted);
    else
        snprintf(text, bytes, "%s is no setting of Pollux; did you mean %s?", quoted,
                 prefix != 0 ? meant->variable : meant->key);
}

static int refuse_name(const char *name, size_t length, size_t prefix, struct plx_diag *diag)
{
    char text[PLX__QUOTE_BYTES + 128];
    char quoted[PLX__QUOTE_BYTES];
    advise(text, sizeof(text), name, length, prefix);
    return plx_diag_set(diag, -ENOENT, plx__quote(quoted, name, length), "%s", text);
}

/* --- values ---------------------------------------------------------------------------------- */

void plx_settings_init(struct plx_settings *settings)
{
    memset(settings, 0, sizeof(*settings));
    for (int id = 0; id < PLX_SETTING_COUNT; id++) {
        int error = plx__setting_parse(settings, (enum plx_setting_id)id, rows[id].default_text,
                                       NULL);
        PLX_ASSERT(error == 0); /* the table is ours */
        settings->source[id] = PLX_SOURCE_DEFAULT;
    }
}

/* Checks a value, and takes it over unless a stronger source has spoken. */
static int apply(struct plx_settings *settings, enum plx_setting_id id, const char *text,
                 enum plx_setting_source source, struct plx_diag *diag)
{
    struct plx_settings scratch;
    int error = plx__setting_parse(&scratch, id, text, diag);
    if (error != 0)
        return error;
    if (settings->source[id] > source)
        return 0;
    memcpy(plx__setting_field(settings, id), plx__setting_field(&scratch, id), fields[id].bytes);
    settings->source[id] = (uint8_t)source;
    return 0;
}

int plx_settings_set(struct plx_settings *settings, const char *name, const char *text,
                     struct plx_diag *diag)
{
    PLX_ASSERT(settings != NULL && name != NULL && text != NULL);
    int id = plx_setting_find(name);
    if (id < 0)
        return refuse_name(name, strlen(name), (size_t)(without_prefix(name) - name), diag);
    return apply(settings, (enum plx_setting_id)id, text, PLX_SOURCE_APPLICATION, diag);
}

/* --- the environment ------------------------------------------------------------------------- */

/* The length of the name of an entry that concerns us, else 0. */
static size_t name_of(const char *entry)
{
    const char *end = strchr(entry, '=');
    if (end == NULL || strncmp(entry, PREFIX, PREFIX_BYTES) != 0)
        return 0;
    if (strncmp(entry + PREFIX_BYTES, TEST_PREFIX, sizeof(TEST_PREFIX) - 1) == 0)
        return 0;
    return (size_t)(end - entry);
}

static int apply_known(struct plx_settings *settings, char *const *environment,
                       struct plx_diag *diag)
{
    bool seen[PLX_SETTING_COUNT] = {false};
    for (char *const *entry = environment; *entry != NULL; entry++) {
        size_t length = name_of(*entry);
        int id = length != 0 ? find_variable(*entry, length) : -ENOENT;
        if (id < 0 || seen[id])
            continue;
        seen[id] = true;
        int error = apply(settings, (enum plx_setting_id)id, *entry + length + 1,
                          PLX_SOURCE_ENVIRONMENT, diag);
        if (error != 0)
            return error;
    }
    return 0;
}

/* Whether one of the entries already warned of has this name. */
static bool was_warned(const char *const *warned, unsigned count, const char *name, size_t length)
{
    for (unsigned i = 0; i < count; i++) {
        if (strncmp(warned[i], name, length + 1) == 0)
            return true;
    }
    return false;
}

static int report_unknown(bool strict, char *const *environment, struct plx_diag *diag,
                          plx_text_fn warn, void *ctx)
{
    const char *warned[PLX_SETTINGS_WARNINGS_MAX];
    unsigned count = 0;
    unsigned more = 0;
    for (char *const *entry = environment; *entry != NULL; entry++) {
        char text[PLX__QUOTE_BYTES + 128];
        size_t length = name_of(*entry);
        if (length == 0 || find_variable(*entry, length) >= 0)
            continue;
        if (strict)
            return refuse_name(*entry, length, PREFIX_BYTES, diag);
        if (was_warned(warned, count, *entry, length))
            continue;
        if (count == PLX_SETTINGS_WARNINGS_MAX) {
            more++;
            continue;
        }
        warned[count++] = *entry;
        advise(text, sizeof(text), *entry, length, PREFIX_BYTES);
        if (warn != NULL)
            warn(text, ctx);
    }
    if (more > 0 && warn != NULL)
        plx_text_line(warn, ctx, "and %u more variables are no settings of Pollux", more);
    return 0;
}

int plx_settings_load_env(struct plx_settings *settings, char *const *environment,
                          struct plx_diag *diag, plx_text_fn warn, void *ctx)
{
    static char *const nothing[] = {NULL};
    struct plx_settings result = *settings;

    if (environment == NULL)
        environment = environ != NULL ? environ : nothing; /* NULL after clearenv(3) */
    /* First the values: whether an unknown name is an error is one of them. */
    int error = apply_known(&result, environment, diag);
    if (error != 0)
        return error;
    error = report_unknown(result.strict, environment, diag, warn, ctx);
    if (error != 0)
        return error;
    *settings = result;
    return 0;
}
