/* SPDX-License-Identifier: MIT */
/* The settings as text: values that read back, the table for people, JSON. */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "test/runtime/settings/settings_check.h"

/* A generator of our own, so that a run can be repeated on any libc. */
static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void random_list(uint64_t *seed, char *text, size_t bytes)
{
    struct plx_cpu_set set = {{0}};
    /* Dense, sparse and clustered sets have lists of very different lengths. */
    uint64_t shape = next_random(seed) % 3;
    for (unsigned i = 0; i < PLX_CPU_SET_SIZE / 64; i++) {
        uint64_t word = next_random(seed);
        if (shape == 1)
            word &= next_random(seed) & 0x11;
        else if (shape == 2)
            word |= UINT64_C(0xffffff00);
        set.bits[i] = word;
    }
    assert_true(plx_cpu_set_format(&set, text, bytes) >= 0);
}

static void random_value(const struct plx_setting *row, uint64_t *seed, char *text, size_t bytes)
{
    static const char *const sizes[] = {"", "K", "M", "G", "T", "B", "KiB", "mb"};
    static const char *const durations[] = {"ns", "us", "ms", "s"};
    uint64_t number = next_random(seed) >> (next_random(seed) % 64);
    switch (row->type) {
    case PLX_TYPE_LIST:
        random_list(seed, text, bytes);
        break;
    case PLX_TYPE_SIZE:
        snprintf(text, bytes, "%" PRIu64 "%s", number, sizes[next_random(seed) % 8]);
        break;
    case PLX_TYPE_DURATION:
        snprintf(text, bytes, "%" PRIu64 "%s", number, durations[next_random(seed) % 4]);
        break;
    case PLX_TYPE_POW2:
        snprintf(text, bytes, "%" PRIu64, UINT64_C(1) << (next_random(seed) % 20));
        break;
    default:
        snprintf(text, bytes, "%" PRIu64, number % 300);
        break;
    }
}

/* A short text of the letters that values are made of, so that many are almost right. */
static void random_text(uint64_t *seed, char *text)
{
    static const char letters[] = "0011223344569-,:KMGTiBnusmf offyestrqp\xff";
    size_t length = next_random(seed) % 9;
    for (size_t i = 0; i < length; i++)
        text[i] = letters[next_random(seed) % (sizeof(letters) - 1)];
    text[length] = '\0';
}

/* Whatever is accepted is printed as text that reads back to the same field and the same text. */
static unsigned check_round_trip(enum plx_setting_id id, const char *text)
{
    char once[PLX_SETTING_TEXT_BYTES];
    char twice[PLX_SETTING_TEXT_BYTES];
    struct plx_settings a = settings_defaults();
    struct plx_settings b = settings_defaults();
    const char *key = plx_setting_describe(id)->key;
    int error = plx_settings_set(&a, key, text, NULL);
    if (error != 0) {
        assert_int_equal(error, -EINVAL);
        return 0;
    }
    assert_true(plx_settings_format(&a, id, once, sizeof(once)) >= 0);
    assert_int_equal(plx_settings_set(&b, key, once, NULL), 0);
    assert_true(plx_settings_format(&b, id, twice, sizeof(twice)) >= 0);
    assert_string_equal(once, twice);
    assert_true(memcmp(&a.cpus, &b.cpus, sizeof(a.cpus)) == 0);
    assert_true(memcmp(&a.nodes, &b.nodes, sizeof(a.nodes)) == 0);
    assert_true(memcmp(&a.sqpoll_cpus, &b.sqpoll_cpus, sizeof(a.cpus)) == 0);
    assert_true(a.arena_size == b.arena_size && a.stall_threshold == b.stall_threshold);
    assert_true(a.sqpoll_idle == b.sqpoll_idle && a.reactors == b.reactors);
    return 1;
}

static void format_any_value_reads_back(void **state)
{
    (void)state;
    uint64_t seed = UINT64_C(0x9e3779b97f4a7c15);
    print_message("seed %#" PRIx64 "\n", seed);
    unsigned accepted[PLX_SETTING_COUNT] = {0};
    for (unsigned round = 0; round < 2000; round++) {
        for (int i = 0; i < PLX_SETTING_COUNT; i++) {
            char text[PLX_SETTING_TEXT_BYTES];
            enum plx_setting_id id = (enum plx_setting_id)i;
            random_text(&seed, text);
            accepted[i] += check_round_trip(id, text);
            if (round % 8 == 0) {
                random_value(plx_setting_describe(id), &seed, text, sizeof(text));
                accepted[i] += check_round_trip(id, text);
            }
        }
    }
    /* The words are covered by their own cases; of the numbers plenty must have got through. */
    for (int i = 0; i < PLX_SETTING_COUNT; i++) {
        enum plx_setting_type type = plx_setting_describe((enum plx_setting_id)i)->type;
        if (type != PLX_TYPE_WANT && type != PLX_TYPE_ENUM && accepted[i] < 20)
            fail_msg("%s: %u accepted", plx_setting_describe((enum plx_setting_id)i)->key,
                     accepted[i]);
    }
}

static void format_small_buffer_is_enospc(void **state)
{
    (void)state;
    struct plx_settings s = settings_defaults();
    char text[PLX_SETTING_TEXT_BYTES];
    assert_int_equal(plx_settings_set(&s, "cpus", "0-3,8", NULL), 0);
    for (int id = 0; id < PLX_SETTING_COUNT; id++) {
        int length = plx_settings_format(&s, (enum plx_setting_id)id, text, sizeof(text));
        assert_true(length >= 0);
        for (size_t bytes = 1; bytes <= (size_t)length; bytes++) {
            text[0] = 'x';
            assert_int_equal(plx_settings_format(&s, (enum plx_setting_id)id, text, bytes),
                             -ENOSPC);
            assert_int_equal(text[0], '\0');
        }
        assert_int_equal(plx_settings_format(&s, (enum plx_setting_id)id, NULL, 0), -ENOSPC);
        assert_int_equal(
            plx_settings_format(&s, (enum plx_setting_id)id, text, (size_t)length + 1), length);
    }
}

static void format_value_without_text_is_einval(void **state)
{
    (void)state;
    struct plx_settings s = settings_defaults();
    char text[8] = "x";
    s.idle = (enum plx_idle)(PLX_IDLE_BLOCK + 1);
    assert_int_equal(plx_settings_format(&s, PLX_SETTING_IDLE, text, sizeof(text)), -EINVAL);
    assert_string_equal(text, "");
    settings_lines.count = 0;
    plx_settings_explain(&s, settings_collect, &settings_lines);
    assert_non_null(strstr(settings_lines.text[1 + PLX_SETTING_IDLE], "?"));
}

static void explain_table_is_aligned_and_complete(void **state)
{
    (void)state;
    struct plx_settings s = settings_defaults();
    assert_int_equal(plx_settings_set(&s, "reactors", "3", NULL), 0);
    assert_int_equal(settings_load(&s, NULL, SETTINGS_ENVIRONMENT("POLLUX_ARENA_SIZE=2M")), 0);
    settings_lines.count = 0;
    plx_settings_explain(&s, settings_collect, &settings_lines);
    assert_int_equal(settings_lines.count, PLX_SETTING_COUNT + 1);
    size_t column = (size_t)(strstr(settings_lines.text[0], "source") - settings_lines.text[0]);
    for (int id = 0; id < PLX_SETTING_COUNT; id++) {
        const struct plx_setting *row = plx_setting_describe((enum plx_setting_id)id);
        const char *line = settings_lines.text[1 + id];
        const char *source = plx_setting_source_name((enum plx_setting_source)s.source[id]);
        assert_int_equal(strncmp(line, row->variable, strlen(row->variable)), 0);
        assert_int_equal(strncmp(line + column, source, strlen(source)), 0);
        assert_non_null(strstr(line, row->expected));
    }
    const char *line = settings_lines.text[1 + PLX_SETTING_ARENA_SIZE];
    assert_non_null(strstr(line, " 2M "));
    assert_non_null(strstr(line, " environment "));
    assert_non_null(strstr(line, "a size from 1M to 1T [bytes]"));
    assert_non_null(strstr(settings_lines.text[1 + PLX_SETTING_REACTORS], " application "));
    assert_non_null(strstr(settings_lines.text[1 + PLX_SETTING_CPUS], " \"\" "));
}

static void explain_longest_list_is_not_cut(void **state)
{
    (void)state;
    struct plx_settings s = settings_defaults();
    char list[PLX_SETTING_TEXT_BYTES];
    /* Pairs with a gap of one have the longest of all lists. */
    for (unsigned number = 0; number < PLX_CPU_SET_SIZE; number++) {
        if (number % 3 != 0)
            plx_cpu_set_add(&s.cpus, number);
    }
    int length = plx_settings_format(&s, PLX_SETTING_CPUS, list, sizeof(list));
    assert_true(length > 2000);
    settings_lines.count = 0;
    plx_settings_explain(&s, settings_collect, &settings_lines);
    assert_non_null(strstr(settings_lines.text[1 + PLX_SETTING_CPUS], list));
    settings_lines.count = 0;
    plx_settings_explain_json(&s, settings_collect, &settings_lines);
    assert_non_null(strstr(settings_lines.text[1 + PLX_SETTING_CPUS], list));
    assert_non_null(strstr(settings_lines.text[1 + PLX_SETTING_CPUS], "\"doc\": \"CPUs that"));
}

static void explain_json_has_a_member_for_each_row(void **state)
{
    (void)state;
    struct plx_settings s = settings_defaults();
    settings_lines.count = 0;
    plx_settings_explain_json(&s, settings_collect, &settings_lines);
    assert_int_equal(settings_lines.count, PLX_SETTING_COUNT + 2);
    assert_string_equal(settings_lines.text[0], "{");
    assert_string_equal(settings_lines.text[PLX_SETTING_COUNT + 1], "}");
    assert_string_equal(
        settings_lines.text[1 + PLX_SETTING_ARENA_SIZE],
        "  \"arena_size\": {\"value\": \"64M\", \"default\": \"64M\", \"source\": \"default\", "
        "\"type\": \"size\", \"unit\": \"bytes\", \"range\": \"1M to 1T\", "
        "\"scope\": \"reactor\", \"stability\": \"stable\", "
        "\"doc\": \"memory of each reactor's arena\"},");
    for (int id = 0; id < PLX_SETTING_COUNT; id++) {
        const char *line = settings_lines.text[1 + id];
        const char *end = id + 1 < PLX_SETTING_COUNT ? "\"}," : "\"}";
        assert_string_equal(line + strlen(line) - strlen(end), end);
    }
}

static void source_names_are_distinct_words(void **state)
{
    (void)state;
    assert_string_equal(plx_setting_source_name(PLX_SOURCE_DEFAULT), "default");
    assert_string_equal(plx_setting_source_name(PLX_SOURCE_APPLICATION), "application");
    assert_string_equal(plx_setting_source_name(PLX_SOURCE_ENVIRONMENT), "environment");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(format_any_value_reads_back),
        cmocka_unit_test(format_small_buffer_is_enospc),
        cmocka_unit_test(format_value_without_text_is_einval),
        cmocka_unit_test(explain_table_is_aligned_and_complete),
        cmocka_unit_test(explain_longest_list_is_not_cut),
        cmocka_unit_test(explain_json_has_a_member_for_each_row),
        cmocka_unit_test(source_names_are_distinct_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
