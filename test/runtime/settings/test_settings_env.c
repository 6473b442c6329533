/* SPDX-License-Identifier: MIT */
/* The settings from the environment: sources, unknown names, hostile entries. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "test/runtime/settings/settings_check.h"

#define LONG_BYTES (1024 * 1024)

static void load_env_values_are_taken_with_their_source(void **state)
{
    (void)state;
    struct plx_settings s = settings_defaults();
    const char *const *environment =
        SETTINGS_ENVIRONMENT("PATH=/bin", "POLLUX_CPUS=0-3", "POLLUX_NODES=",
                             "POLLUX_ARENA_SIZE=2M", "POLLUX_STALL_THRESHOLD=1ms", "POLLUXES=1",
                             "pollux_log=debug", "=", "");
    assert_int_equal(settings_load(&s, NULL, environment), 0);
    assert_int_equal(settings_lines.count, 0);
    assert_int_equal(plx_cpu_set_count(&s.cpus), 4);
    assert_true(s.arena_size == 2 << 20);
    assert_true(s.stall_threshold == 1000000);
    assert_int_equal(s.log, PLX_LOG_WARN);
    assert_int_equal(s.source[PLX_SETTING_CPUS], PLX_SOURCE_ENVIRONMENT);
    assert_int_equal(s.source[PLX_SETTING_NODES], PLX_SOURCE_ENVIRONMENT);
    assert_int_equal(s.source[PLX_SETTING_LOG], PLX_SOURCE_DEFAULT);
}

static void load_env_order_of_sources_is_irrelevant(void **state)
{
    (void)state;
    struct plx_settings first = settings_defaults();
    struct plx_settings second = settings_defaults();
    const char *const *environment = SETTINGS_ENVIRONMENT("POLLUX_HOT_MAX=7", "POLLUX_CPUS=1");
    assert_int_equal(plx_settings_set(&first, "hot_max", "9", NULL), 0);
    assert_int_equal(plx_settings_set(&first, "cpus", "0-5", NULL), 0);
    assert_int_equal(plx_settings_set(&first, "reactors", "3", NULL), 0);
    assert_int_equal(settings_load(&first, NULL, environment), 0);

    assert_int_equal(settings_load(&second, NULL, environment), 0);
    assert_int_equal(plx_settings_set(&second, "reactors", "3", NULL), 0);
    assert_int_equal(plx_settings_set(&second, "cpus", "0-5", NULL), 0);
    assert_int_equal(plx_settings_set(&second, "hot_max", "9", NULL), 0);

    assert_same_settings(&first, &second);
    assert_int_equal(first.hot_max, 7);
    assert_int_equal(first.reactors, 3);
    assert_int_equal(first.source[PLX_SETTING_HOT_MAX], PLX_SOURCE_ENVIRONMENT);
    assert_int_equal(first.source[PLX_SETTING_REACTORS], PLX_SOURCE_APPLICATION);
    /* What cannot win is checked nevertheless. */
    assert_int_equal(plx_settings_set(&second, "hot_max", "many", NULL), -EINVAL);
}

static void load_env_bad_value_changes_nothing(void **state)
{
    (void)state;
    struct plx_settings s = settings_defaults();
    struct plx_diag diag = {0};
    assert_int_equal(plx_settings_set(&s, "reactors", "3", NULL), 0);
    struct plx_settings before = s;
    const char *const *environment =
        SETTINGS_ENVIRONMENT("POLLUX_NO_SUCH=1", "POLLUX_HOT_MAX=7", "POLLUX_ARENA_SIZE=64X");
    assert_int_equal(settings_load(&s, &diag, environment), -EINVAL);
    assert_int_equal(diag.code, -EINVAL);
    assert_string_equal(diag.what, "POLLUX_ARENA_SIZE");
    assert_string_equal(diag.text, "POLLUX_ARENA_SIZE=\"64X\" is not valid; "
                                   "expected a size from 1M to 1T");
    assert_same_settings(&s, &before);
    assert_int_equal(settings_load(&s, &diag, SETTINGS_ENVIRONMENT("POLLUX_HOT_MAX=")), -EINVAL);
    assert_string_equal(diag.text, "POLLUX_HOT_MAX is empty; expected a number from 0 to 64");
    assert_same_settings(&s, &before);
}

static void load_env_unknown_warns_with_the_nearest(void **state)
{
    (void)state;
    struct plx_settings s = settings_defaults();
    const char *const *environment =
        SETTINGS_ENVIRONMENT("POLLUX_REACTOR=3", "POLLUX_cpus=0", "POLLUX_=x",
                             "POLLUX_SOMETHING_ELSE=1", "POLLUX_HOT_MAX=7", "POLLUX_REACTOR=4",
                             "POLLUX_CAF\xc3\x89=1");
    assert_int_equal(settings_load(&s, NULL, environment), 0);
    assert_int_equal(settings_lines.count, 5);
    assert_string_equal(settings_lines.text[0], "POLLUX_REACTOR is no setting of Pollux; "
                                       "did you mean POLLUX_REACTORS?");
    assert_string_equal(settings_lines.text[1], "POLLUX_cpus is no setting of Pollux; "
                                       "did you mean POLLUX_CPUS?");
    assert_string_equal(settings_lines.text[2], "POLLUX_ is no setting of Pollux; "
                                       "see pollux-settings(7)");
    assert_string_equal(settings_lines.text[3], "POLLUX_SOMETHING_ELSE is no setting of Pollux; "
                                       "see pollux-settings(7)");
    assert_non_null(strstr(settings_lines.text[4], "POLLUX_CAF?? is no setting"));
    assert_int_equal(s.hot_max, 7);
    /* Nobody who listens. */
    assert_int_equal(plx_settings_load_env(&s, (char *const *)(uintptr_t)environment, NULL, NULL,
                                           NULL),
                     0);
}

static void load_env_many_unknown_are_counted(void **state)
{
    (void)state;
    enum { UNKNOWN = 300 };
    static char names[UNKNOWN][24];
    const char *environment[UNKNOWN + 1];
    struct plx_settings s = settings_defaults();
    for (unsigned i = 0; i < UNKNOWN; i++) {
        snprintf(names[i], sizeof(names[i]), "POLLUX_Q%u=%u", i, i);
        environment[i] = names[i];
    }
    environment[UNKNOWN] = NULL;
    assert_int_equal(settings_load(&s, NULL, environment), 0);
    assert_int_equal(settings_lines.count, PLX_SETTINGS_WARNINGS_MAX + 1);
    char last[80];
    snprintf(last, sizeof(last), "and %d more variables are no settings of Pollux",
             UNKNOWN - PLX_SETTINGS_WARNINGS_MAX);
    assert_string_equal(settings_lines.text[PLX_SETTINGS_WARNINGS_MAX], last);
    assert_int_equal(plx_settings_load_env(&s, (char *const *)(uintptr_t)environment, NULL, NULL,
                                           NULL),
                     0);
}

static void load_env_unknown_under_strict_is_an_error(void **state)
{
    (void)state;
    struct plx_settings s = settings_defaults();
    struct plx_settings before = s;
    struct plx_diag diag = {0};
    /* By the same environment, wherever it stands there. */
    const char *const *environment =
        SETTINGS_ENVIRONMENT("POLLUX_HOT_MAX=7", "POLLUX_MLOK=no", "POLLUX_STRICT=1");
    assert_int_equal(settings_load(&s, &diag, environment), -ENOENT);
    assert_int_equal(diag.code, -ENOENT);
    assert_string_equal(diag.what, "POLLUX_MLOK");
    assert_string_equal(diag.text, "POLLUX_MLOK is no setting of Pollux; "
                                   "did you mean POLLUX_MLOCK?");
    assert_int_equal(settings_lines.count, 0);
    assert_same_settings(&s, &before);
    /* By the application; the environment may still lift it. */
    assert_int_equal(plx_settings_set(&s, "strict", "yes", NULL), 0);
    assert_int_equal(settings_load(&s, &diag, SETTINGS_ENVIRONMENT("POLLUX_MLOK=no")), -ENOENT);
    const char *const *lifted = SETTINGS_ENVIRONMENT("POLLUX_MLOK=no", "POLLUX_STRICT=0");
    assert_int_equal(settings_load(&s, &diag, lifted), 0);
    assert_int_equal(settings_lines.count, 1);
    assert_false(s.strict);
}

static void load_env_test_variables_are_passed_over(void **state)
{
    (void)state;
    struct plx_settings s = settings_defaults();
    const char *const *environment =
        SETTINGS_ENVIRONMENT("POLLUX_TEST_SEED=1", "POLLUX_TEST_=", "POLLUX_STRICT=1");
    assert_int_equal(settings_load(&s, NULL, environment), 0);
    assert_int_equal(settings_lines.count, 0);
}

static void load_env_duplicate_first_counts(void **state)
{
    (void)state;
    struct plx_settings s = settings_defaults();
    const char *const *environment =
        SETTINGS_ENVIRONMENT("POLLUX_HOT_MAX=7", "POLLUX_HOT_MAX=9", "POLLUX_HOT_MAX=nonsense");
    assert_int_equal(settings_load(&s, NULL, environment), 0);
    assert_int_equal(s.hot_max, 7);
}

static void load_env_entry_without_value_is_passed_over(void **state)
{
    (void)state;
    struct plx_settings s = settings_defaults();
    struct plx_settings before = s;
    const char *const *environment =
        SETTINGS_ENVIRONMENT("POLLUX_HOT_MAX", "POLLUX_NO_SUCH", "POLLUX_", "POLLUX");
    assert_int_equal(settings_load(&s, NULL, environment), 0);
    assert_int_equal(settings_lines.count, 0);
    assert_same_settings(&s, &before);
}

static void load_env_value_with_equals_sign_is_whole(void **state)
{
    (void)state;
    struct plx_settings s = settings_defaults();
    struct plx_diag diag;
    assert_int_equal(settings_load(&s, &diag, SETTINGS_ENVIRONMENT("POLLUX_CPUS=0=1")), -EINVAL);
    assert_non_null(strstr(diag.text, "\"0=1\""));
}

static void load_env_long_entries_are_cut(void **state)
{
    (void)state;
    struct plx_settings s = settings_defaults();
    char *entry = malloc(LONG_BYTES + 1);
    assert_non_null(entry);
    memset(entry, 'A', LONG_BYTES);
    memcpy(entry, "POLLUX_", 7);
    entry[LONG_BYTES - 1] = '=';
    entry[LONG_BYTES] = '\0';
    const char *const *environment = SETTINGS_ENVIRONMENT(entry, entry);
    assert_int_equal(settings_load(&s, NULL, environment), 0);
    assert_int_equal(settings_lines.count, 1);
    assert_non_null(strstr(settings_lines.text[0], "... is no setting of Pollux"));
    assert_true(strlen(settings_lines.text[0]) < 160);
    free(entry);
}

static void load_env_null_is_the_process_environment(void **state)
{
    (void)state;
    struct plx_settings s = settings_defaults();
    settings_lines.count = 0;
    assert_int_equal(setenv("POLLUX_HOT_MAX", "11", 1), 0);
    assert_int_equal(plx_settings_load_env(&s, NULL, NULL, settings_collect, &settings_lines), 0);
    assert_int_equal(unsetenv("POLLUX_HOT_MAX"), 0);
    assert_int_equal(s.hot_max, 11);
    assert_int_equal(s.source[PLX_SETTING_HOT_MAX], PLX_SOURCE_ENVIRONMENT);

    char **saved = environ;
    struct plx_settings untouched = settings_defaults();
    struct plx_settings before = untouched;
    environ = NULL; /* what clearenv(3) leaves */
    int error = plx_settings_load_env(&untouched, NULL, NULL, settings_collect, &settings_lines);
    environ = saved;
    assert_int_equal(error, 0);
    assert_same_settings(&untouched, &before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(load_env_values_are_taken_with_their_source),
        cmocka_unit_test(load_env_order_of_sources_is_irrelevant),
        cmocka_unit_test(load_env_bad_value_changes_nothing),
        cmocka_unit_test(load_env_unknown_warns_with_the_nearest),
        cmocka_unit_test(load_env_many_unknown_are_counted),
        cmocka_unit_test(load_env_unknown_under_strict_is_an_error),
        cmocka_unit_test(load_env_test_variables_are_passed_over),
        cmocka_unit_test(load_env_duplicate_first_counts),
        cmocka_unit_test(load_env_entry_without_value_is_passed_over),
        cmocka_unit_test(load_env_value_with_equals_sign_is_whole),
        cmocka_unit_test(load_env_long_entries_are_cut),
        cmocka_unit_test(load_env_null_is_the_process_environment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
