/* SPDX-License-Identifier: MIT */
/* What the tests of the settings share. */
#ifndef POLLUX_TEST_SETTINGS_CHECK_H
#define POLLUX_TEST_SETTINGS_CHECK_H

#include "runtime/settings/settings.h"

/* Lines that a printer or a warner has given. */
struct settings_lines {
    unsigned count;
    char text[64][PLX_SETTING_TEXT_BYTES + 1024];
};

extern struct settings_lines settings_lines;

/* A text sink; its context is a struct settings_lines. */
void settings_collect(const char *line, void *ctx);

struct plx_settings settings_defaults(void);

/* Equal in every value and source. */
void assert_same_settings(const struct plx_settings *a, const struct plx_settings *b);

#define SETTINGS_ENVIRONMENT(...) ((const char *const[]){__VA_ARGS__, NULL})

/* Loads an environment; its warnings are then in settings_lines. */
int settings_load(struct plx_settings *s, struct plx_diag *diag, const char *const *environment);

#endif
