/* SPDX-License-Identifier: MIT */
#include "test/runtime/settings/settings_check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

struct settings_lines settings_lines;

void settings_collect(const char *line, void *ctx)
{
    struct settings_lines *into = ctx;
    assert_true(into->count < 64);
    assert_true(strlen(line) < sizeof(into->text[0]));
    strcpy(into->text[into->count++], line);
}

struct plx_settings settings_defaults(void)
{
    struct plx_settings s;
    plx_settings_init(&s);
    return s;
}

void assert_same_settings(const struct plx_settings *a, const struct plx_settings *b)
{
    for (int id = 0; id < PLX_SETTING_COUNT; id++) {
        char text_a[PLX_SETTING_TEXT_BYTES];
        char text_b[PLX_SETTING_TEXT_BYTES];
        assert_true(plx_settings_format(a, (enum plx_setting_id)id, text_a, sizeof(text_a)) >= 0);
        assert_true(plx_settings_format(b, (enum plx_setting_id)id, text_b, sizeof(text_b)) >= 0);
        assert_string_equal(text_a, text_b);
        assert_int_equal(a->source[id], b->source[id]);
    }
}

int settings_load(struct plx_settings *s, struct plx_diag *diag, const char *const *environment)
{
    settings_lines.count = 0;
    return plx_settings_load_env(s, (char *const *)(uintptr_t)environment, diag, settings_collect,
                                 &settings_lines);
}
