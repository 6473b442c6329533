/* SPDX-License-Identifier: MIT */
/* The settings: the rows, values of each type, setting by the application, hostile values. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <cmocka.h>

#include "runtime/settings/settings_internal.h"
#include "test/runtime/settings/settings_check.h"

#define LONG_BYTES (1024 * 1024)

static void assert_accepts(const char *name, const char *text, const char *formatted)
{
    struct plx_settings s = settings_defaults();
    struct plx_diag diag = {0};
    char back[PLX_SETTING_TEXT_BYTES];
    if (plx_settings_set(&s, name, text, &diag) != 0)
        fail_msg("%s=%s refused: %s", name, text, diag.text);
    enum plx_setting_id id = (enum plx_setting_id)plx_setting_find(name);
    assert_int_equal(plx_settings_format(&s, id, back, sizeof(back)), (int)strlen(formatted));
    assert_string_equal(back, formatted);
    assert_int_equal(s.source[id], PLX_SOURCE_APPLICATION);
}

/* Refused, by a diag that names variable, value and what was expected; nothing changed. */
static void assert_refuses(const char *name, const char *text)
{
    struct plx_settings s = settings_defaults();
    struct plx_settings before = s;
    struct plx_diag diag = {0};
    const struct plx_setting *row =
        plx_setting_describe((enum plx_setting_id)plx_setting_find(name));
    if (plx_settings_set(&s, name, text, &diag) != -EINVAL)
        fail_msg("%s=%s was not refused", name, text);
    assert_int_equal(diag.code, -EINVAL);
    assert_string_equal(diag.what, row->variable);
    assert_non_null(strstr(diag.text, row->variable));
    assert_non_null(strstr(diag.text, row->expected));
    if (text[0] == '\0')
        assert_non_null(strstr(diag.text, "is empty"));
    assert_same_settings(&s, &before);
}

/* --- defaults and rows ----------------------------------------------------------------------- */

static void init_defaults_are_as_documented(void **state)
{
    (void)state;
    struct plx_settings s = settings_defaults();
    assert_true(plx_cpu_set_is_empty(&s.cpus));
    assert_true(plx_cpu_set_is_empty(&s.nodes));
    assert_true(plx_cpu_set_is_empty(&s.sqpoll_cpus));
    assert_int_equal(s.reactors, 0);
    assert_false(s.smt);
    assert_int_equal(s.pin, PLX_WANT_REQUIRE);
    assert_int_equal(s.backend, PLX_BACKEND_AUTO);
    assert_int_equal(s.sqpoll, PLX_SQPOLL_AUTO);
    assert_int_equal(s.sqpoll_share, 4);
    assert_true(s.sqpoll_idle == PLX_INFINITE);
    assert_int_equal(s.ring_entries, 1024);
    assert_int_equal(s.hugepages_1g, PLX_WANT_NO);
    assert_int_equal(s.hugepages_2m, PLX_WANT_TRY);
    assert_int_equal(s.thp, PLX_WANT_TRY);
    assert_true(s.arena_size == UINT64_C(64) << 20);
    assert_true(s.prefault);
    assert_int_equal(s.mlock, PLX_WANT_TRY);
    assert_int_equal(s.mesh_slots, 256);
    assert_int_equal(s.hot_max, 4);
    assert_int_equal(s.idle, PLX_IDLE_AUTO);
    assert_true(s.spin_time == 50000);
    assert_true(s.stall_threshold == 500000);
    assert_true(s.stall_report == 50000000);
    assert_int_equal(s.log, PLX_LOG_WARN);
    assert_false(s.strict);
    for (int id = 0; id < PLX_SETTING_COUNT; id++)
        assert_int_equal(s.source[id], PLX_SOURCE_DEFAULT);
}

static void describe_every_row_is_complete(void **state)
{
    (void)state;
    struct plx_settings s = settings_defaults();
    for (int id = 0; id < PLX_SETTING_COUNT; id++) {
        const struct plx_setting *row = plx_setting_describe((enum plx_setting_id)id);
        const char *texts[] = {row->key,      row->variable, row->type_name, row->unit,
                               row->expected, row->range,    row->scope,     row->default_text,
                               row->doc,      row->stability};
        char text[PLX_SETTING_TEXT_BYTES];
        for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
            assert_non_null(texts[i]);
            /* Printers put them between quotation marks as they are. */
            for (const char *c = texts[i]; *c != '\0'; c++)
                assert_true(*c >= ' ' && *c <= '~' && *c != '"' && *c != '\\');
        }
        assert_int_equal(strncmp(row->variable, "POLLUX_", 7), 0);
        assert_int_equal(strcasecmp(row->variable + 7, row->key), 0);
        assert_true(row->expected[0] != '\0' && row->doc[0] != '\0');
        assert_true(strcmp(row->scope, "runtime") == 0 || strcmp(row->scope, "reactor") == 0);
        assert_true(strcmp(row->stability, "stable") == 0 ||
                    strcmp(row->stability, "experimental") == 0);
        assert_int_equal(plx_setting_find(row->key), id);
        assert_int_equal(plx_setting_find(row->variable), id);
        /* The default is written as the printer would write it. */
        assert_true(plx_settings_format(&s, (enum plx_setting_id)id, text, sizeof(text)) >= 0);
        assert_string_equal(text, row->default_text);
    }
}

static void find_any_case_and_prefix_finds(void **state)
{
    (void)state;
    assert_int_equal(plx_setting_find("arena_size"), PLX_SETTING_ARENA_SIZE);
    assert_int_equal(plx_setting_find("Arena_Size"), PLX_SETTING_ARENA_SIZE);
    assert_int_equal(plx_setting_find("pollux_arena_SIZE"), PLX_SETTING_ARENA_SIZE);
    assert_int_equal(plx_setting_find("POLLUX_ARENA_SIZE"), PLX_SETTING_ARENA_SIZE);
}

static void find_unknown_is_enoent(void **state)
{
    (void)state;
    const char *const names[] = {"",         "POLLUX_",           "POLLUX",
                                 "arena",    "arena_size ",       "CPUS=0-3",
                                 "\xc3\xa9", "POLLUX_POLLUX_CPUS"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        assert_int_equal(plx_setting_find(names[i]), -ENOENT);
}

/* --- values by type -------------------------------------------------------------------------- */

static void set_bool_words_are_read(void **state)
{
    (void)state;
    const char *const truths[] = {"yes", "YES", "true", "True", "on", "1"};
    const char *const falsehoods[] = {"no", "No", "false", "FALSE", "off", "0"};
    for (size_t i = 0; i < sizeof(truths) / sizeof(truths[0]); i++) {
        assert_accepts("smt", truths[i], "yes");
        assert_accepts("prefault", falsehoods[i], "no");
    }
    const char *const wrong[] = {"", "y", "n", "2", "-1", "yes ", " yes", "yesno", "no|yes", "|"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_refuses("smt", wrong[i]);
}

static void set_want_words_are_read(void **state)
{
    (void)state;
    assert_accepts("pin", "no", "no");
    assert_accepts("pin", "Try", "try");
    assert_accepts("hugepages_2m", "REQUIRE", "require");
    const char *const wrong[] = {"", "yes", "1", "requir", "required", "try|no", "no|try"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_refuses("mlock", wrong[i]);
}

static void set_enum_words_are_their_constants(void **state)
{
    (void)state;
    struct plx_settings s = settings_defaults();
    assert_int_equal(plx_settings_set(&s, "backend", "uring", NULL), 0);
    assert_int_equal(s.backend, PLX_BACKEND_URING);
    assert_int_equal(plx_settings_set(&s, "backend", "EPOLL", NULL), 0);
    assert_int_equal(s.backend, PLX_BACKEND_EPOLL);
    assert_int_equal(plx_settings_set(&s, "sqpoll", "on", NULL), 0);
    assert_int_equal(s.sqpoll, PLX_SQPOLL_ON);
    assert_int_equal(plx_settings_set(&s, "sqpoll", "off", NULL), 0);
    assert_int_equal(s.sqpoll, PLX_SQPOLL_OFF);
    assert_int_equal(plx_settings_set(&s, "idle", "spin", NULL), 0);
    assert_int_equal(s.idle, PLX_IDLE_SPIN);
    assert_int_equal(plx_settings_set(&s, "idle", "yield", NULL), 0);
    assert_int_equal(s.idle, PLX_IDLE_YIELD);
    for (unsigned idle = PLX_IDLE_AUTO; idle <= PLX_IDLE_BLOCK; idle++) {
        const char *word = plx_idle_name((enum plx_idle)idle);
        assert_int_equal(plx_settings_set(&s, "idle", word, NULL), 0);
        assert_int_equal(s.idle, idle);
    }
    assert_string_equal(plx_idle_name((enum plx_idle)77), "?");
    assert_refuses("idle", "sleep");
    const char *const levels[] = {"off", "error", "warn", "info", "debug"};
    for (unsigned level = PLX_LOG_OFF; level <= PLX_LOG_DEBUG; level++) {
        assert_int_equal(plx_settings_set(&s, "log", levels[level], NULL), 0);
        assert_int_equal(s.log, level);
    }
    assert_refuses("backend", "");
    assert_refuses("backend", "io_uring");
    assert_refuses("sqpoll", "yes");
    assert_refuses("log", "warning");
}

static void set_size_units_are_binary(void **state)
{
    (void)state;
    const char *const name = "arena_size";
    assert_accepts(name, "1M", "1M");
    assert_accepts(name, "1048576", "1M");
    assert_accepts(name, "1048577", "1048577");
    assert_accepts(name, "1024K", "1M");
    assert_accepts(name, "1024k", "1M");
    assert_accepts(name, "2mB", "2M");
    assert_accepts(name, "2MiB", "2M");
    assert_accepts(name, "2mib", "2M");
    assert_accepts(name, "4194304B", "4M");
    assert_accepts(name, "1536M", "1536M");
    assert_accepts(name, "1024G", "1T");
    assert_accepts(name, "1T", "1T");
    assert_accepts(name, "0000000000000000000000000000064M", "64M");
}

static void set_size_malformed_is_refused(void **state)
{
    (void)state;
    const char *const wrong[] = {"",
                                 "0",
                                 "1",
                                 "1048575",
                                 "1023K",
                                 "2T",
                                 "1025G",
                                 "M",
                                 "B",
                                 "-64M",
                                 "+64M",
                                 " 64M",
                                 "64M ",
                                 "64 M",
                                 "64Mi",
                                 "64iB",
                                 "64MBB",
                                 "64MM",
                                 "1.5M",
                                 "0x4000000",
                                 "6\xc2\xb2M",
                                 "64P",
                                 "inf",
                                 "18446744073709551615",
                                 "18446744073709551616",
                                 "18446744073709551615T",
                                 "17592186044416M", /* 2^64 exactly */
                                 "16777216T",       /* likewise */
                                 "99999999999999999999999999999999M"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_refuses("arena_size", wrong[i]);
}

static void set_duration_units_are_read(void **state)
{
    (void)state;
    const char *const name = "stall_threshold";
    assert_accepts(name, "1000ns", "1us");
    assert_accepts(name, "1001ns", "1001ns");
    assert_accepts(name, "200us", "200us");
    assert_accepts(name, "10ms", "10ms");
    assert_accepts(name, "10MS", "10ms");
    assert_accepts(name, "2s", "2s");
    assert_accepts(name, "90000s", "90000s");
    assert_accepts(name, "inf", "inf");
    assert_accepts(name, "INF", "inf");
    assert_accepts(name, "18446744073709551614ns", "18446744073709551614ns");
    assert_accepts(name, "18446744073s", "18446744073s");
    assert_accepts("sqpoll_idle", "1ms", "1ms");
}

static void set_duration_malformed_is_refused(void **state)
{
    (void)state;
    const char *const wrong[] = {"",
                                 "0",
                                 "0ns",
                                 "999ns",
                                 "500",
                                 "us",
                                 "-1us",
                                 "1u",
                                 "1m",
                                 "1min",
                                 "1 us",
                                 "1us ",
                                 "1uss",
                                 "1us2",
                                 "1.5us",
                                 "infinite",
                                 "in",
                                 "-inf",
                                 "1\xc2\xb5s",
                                 "18446744073709551615ns", /* the number that stands for inf */
                                 "18446744073709551616ns",
                                 "18446744074s"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_refuses("stall_threshold", wrong[i]);
    assert_refuses("sqpoll_idle", "0");
    assert_refuses("sqpoll_idle", "999us");
}

static void set_count_range_is_kept(void **state)
{
    (void)state;
    assert_accepts("reactors", "0", "0");
    assert_accepts("reactors", "256", "256");
    assert_accepts("reactors", "007", "7");
    assert_accepts("sqpoll_share", "1", "1");
    assert_accepts("sqpoll_share", "16", "16");
    assert_accepts("hot_max", "64", "64");
    assert_refuses("sqpoll_share", "0");
    assert_refuses("sqpoll_share", "17");
    assert_refuses("hot_max", "65");
    const char *const wrong[] = {"",    "257",  "-1", "+1",         "1K",
                                 "1 ",  " 1",   "a",  "0x10",       "1e2",
                                 "1.0", "auto", "#",  "4294967296", "18446744073709551617",
                                 "\t1", "\n",   "1\n"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_refuses("reactors", wrong[i]);
}

static void set_pow2_other_numbers_are_refused(void **state)
{
    (void)state;
    assert_accepts("ring_entries", "16", "16");
    assert_accepts("ring_entries", "32768", "32768");
    assert_accepts("mesh_slots", "8", "8");
    assert_accepts("mesh_slots", "65536", "65536");
    const char *const wrong[] = {"", "0", "8", "17", "1000", "1023", "65536", "4294968320"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_refuses("ring_entries", wrong[i]);
    assert_refuses("mesh_slots", "4");
    assert_refuses("mesh_slots", "131072");
}

static void set_list_ranges_and_strides_are_read(void **state)
{
    (void)state;
    assert_accepts("cpus", "", "");
    assert_accepts("cpus", "0", "0");
    assert_accepts("cpus", "0-3,8,10-11", "0-3,8,10-11");
    assert_accepts("cpus", "10-11,8,0-3", "0-3,8,10-11");
    assert_accepts("cpus", "0,1,2,2,1", "0-2");
    assert_accepts("cpus", "0-15:2", "0,2,4,6,8,10,12,14");
    assert_accepts("cpus", "1-6:3,20", "1,4,20");
    assert_accepts("cpus", "5-5", "5");
    assert_accepts("cpus", "3-9:18446744073709551615", "3");
    assert_accepts("nodes", "1", "1");
    assert_accepts("sqpoll_cpus", "0-1023", "0-1023");
    assert_accepts("cpus", "1023,63-64", "63-64,1023");
    const char *const wrong[] = {"1024",
                                 "0-1024",
                                 "3-1",
                                 ",",
                                 "0,",
                                 ",0",
                                 "0,,1",
                                 "-1",
                                 "-",
                                 "0-",
                                 "0--1",
                                 "0-3:",
                                 "0-3:0",
                                 "3:2",
                                 "0-3:x",
                                 "a",
                                 "0-3a",
                                 "0 ,1",
                                 " 0",
                                 "0 ",
                                 "0x1",
                                 "all",
                                 "0;1",
                                 "+1",
                                 "0-3-5",
                                 "0-7:2:2",
                                 "1.0",
                                 "\xff",
                                 "99999999999999999999",
                                 "0-99999999999999999999",
                                 "0-3:99999999999999999999"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_refuses("cpus", wrong[i]);
}

/* --- setting --------------------------------------------------------------------------------- */

static void set_unknown_name_proposes_the_nearest(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const char *advice;
    } cases[] = {{"arena_sise", "did you mean arena_size?"},
                 {"POLLUX_ARENASIZE", "did you mean POLLUX_ARENA_SIZE?"},
                 {"pollux_cpu", "did you mean POLLUX_CPUS?"},
                 {"mlokc", "did you mean mlock?"},
                 {"reactor", "did you mean reactors?"},
                 {"colour_of_the_sky", "see pollux-settings(7)"},
                 {"", "see pollux-settings(7)"},
                 {"POLLUX_", "see pollux-settings(7)"},
                 {"a_name_that_is_far_too_long_to_be_mistyped", "see pollux-settings(7)"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct plx_settings s = settings_defaults();
        struct plx_settings before = s;
        struct plx_diag diag = {0};
        assert_int_equal(plx_settings_set(&s, cases[i].name, "1", &diag), -ENOENT);
        assert_int_equal(diag.code, -ENOENT);
        assert_string_equal(diag.what, cases[i].name);
        if (strstr(diag.text, cases[i].advice) == NULL)
            fail_msg("%s: %s", cases[i].name, diag.text);
        assert_same_settings(&s, &before);
    }
}

static void set_application_twice_last_counts(void **state)
{
    (void)state;
    struct plx_settings s = settings_defaults();
    assert_int_equal(plx_settings_set(&s, "POLLUX_HOT_MAX", "7", NULL), 0);
    assert_int_equal(plx_settings_set(&s, "hot_max", "9", NULL), 0);
    assert_int_equal(s.hot_max, 9);
    assert_int_equal(s.source[PLX_SETTING_HOT_MAX], PLX_SOURCE_APPLICATION);
    assert_int_equal(s.source[PLX_SETTING_REACTORS], PLX_SOURCE_DEFAULT);
}

static void set_without_diag_fails_alike(void **state)
{
    (void)state;
    struct plx_settings s = settings_defaults();
    assert_int_equal(plx_settings_set(&s, "hot_max", "x", NULL), -EINVAL);
    assert_int_equal(plx_settings_set(&s, "no_such", "x", NULL), -ENOENT);
    assert_int_equal(settings_load(&s, NULL, SETTINGS_ENVIRONMENT("POLLUX_HOT_MAX=x")), -EINVAL);
    const char *const *unknown = SETTINGS_ENVIRONMENT("POLLUX_NO=x", "POLLUX_STRICT=1");
    assert_int_equal(settings_load(&s, NULL, unknown), -ENOENT);
}

static void set_hostile_long_text_is_cut_in_the_diag(void **state)
{
    (void)state;
    char *text = malloc(LONG_BYTES + 1);
    assert_non_null(text);
    const char fills[] = {'a', '9', ',', '\x80', '\x1b'};
    for (size_t i = 0; i < sizeof(fills); i++) {
        memset(text, fills[i], LONG_BYTES);
        text[LONG_BYTES] = '\0';
        for (int id = 0; id < PLX_SETTING_COUNT; id++)
            assert_refuses(plx_setting_describe((enum plx_setting_id)id)->key, text);
        struct plx_settings s = settings_defaults();
        struct plx_diag diag;
        assert_int_equal(plx_settings_set(&s, text, "1", &diag), -ENOENT);
        assert_int_equal(plx_settings_set(&s, "cpus", text, &diag), -EINVAL);
        assert_non_null(strstr(diag.text, "..."));
        for (const char *c = diag.text; *c != '\0'; c++)
            assert_true(*c >= ' ' && *c <= '~');
    }
    /* Long, but right: a list may repeat itself. */
    for (size_t i = 0; i < LONG_BYTES; i += 2)
        memcpy(text + i, "7,", 2);
    text[LONG_BYTES - 1] = '\0';
    assert_accepts("cpus", text, "7");
    free(text);
}

static void check_of_fields_written_directly_names_the_setting(void **state)
{
    (void)state;
    struct plx_settings settings;
    plx_settings_init(&settings);
    assert_int_equal(plx__settings_check(&settings, NULL), 0);
    unsigned refused = 0;
    for (unsigned i = 0; i < PLX_SETTING_COUNT; i++) {
        const struct plx_setting *row = plx_setting_describe((enum plx_setting_id)i);
        struct plx_diag diag = {0};
        if (row->type == PLX_TYPE_LIST)
            continue;
        plx_settings_init(&settings);
        memset(plx__setting_field(&settings, (enum plx_setting_id)i), 0xff,
               plx__setting_field_bytes((enum plx_setting_id)i));
        int rc = plx__settings_check(&settings, &diag);
        if (strstr(row->range, " to inf") != NULL) {
            assert_int_equal(rc, 0);
            continue;
        }
        refused++;
        assert_int_equal(rc, -EINVAL);
        assert_string_equal(diag.what, row->variable);
        assert_non_null(strstr(diag.text, row->expected));
    }
    assert_true(refused > 15);
    plx_settings_init(&settings);
    settings.stall_report = 0;
    assert_int_equal(plx__settings_check(&settings, NULL), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(init_defaults_are_as_documented),
        cmocka_unit_test(describe_every_row_is_complete),
        cmocka_unit_test(find_any_case_and_prefix_finds),
        cmocka_unit_test(find_unknown_is_enoent),
        cmocka_unit_test(set_bool_words_are_read),
        cmocka_unit_test(set_want_words_are_read),
        cmocka_unit_test(set_enum_words_are_their_constants),
        cmocka_unit_test(set_size_units_are_binary),
        cmocka_unit_test(set_size_malformed_is_refused),
        cmocka_unit_test(set_duration_units_are_read),
        cmocka_unit_test(set_duration_malformed_is_refused),
        cmocka_unit_test(set_count_range_is_kept),
        cmocka_unit_test(set_pow2_other_numbers_are_refused),
        cmocka_unit_test(set_list_ranges_and_strides_are_read),
        cmocka_unit_test(set_unknown_name_proposes_the_nearest),
        cmocka_unit_test(set_application_twice_last_counts),
        cmocka_unit_test(set_without_diag_fails_alike),
        cmocka_unit_test(set_hostile_long_text_is_cut_in_the_diag),
        cmocka_unit_test(check_of_fields_written_directly_names_the_setting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
