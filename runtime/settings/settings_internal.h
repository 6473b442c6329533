/* SPDX-License-Identifier: MIT */
/* What the settings' own files share: reading digits, and the fields by id. */
#ifndef POLLUX_SETTINGS_INTERNAL_H
#define POLLUX_SETTINGS_INTERNAL_H

#include "runtime/settings/settings.h"

/* Bytes that hold a quoted foreign text, its terminator included. */
#define PLX__QUOTE_BYTES 72

/* The lower case of an ASCII letter; locales must not change what a setting means. */
static inline char plx__lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/*
 * Reads digits at *cursor and moves it behind them. Errors: -EINVAL, there is no digit; -ERANGE,
 * the number exceeds 64 bits.
 */
int plx__digits_parse(const char **cursor, uint64_t *value);

/*
 * Copies at most `length` bytes of a text that may be long and hostile into a diag's sentence:
 * printable ASCII stays, the rest becomes `?`, and a cut is shown by three dots.
 */
const char *plx__quote(char out[PLX__QUOTE_BYTES], const char *text, size_t length);

/* Where the field of a setting lies. */
void *plx__setting_field(struct plx_settings *settings, enum plx_setting_id id);
size_t plx__setting_field_bytes(enum plx_setting_id id);

/* Any field but a list's, widened. */
uint64_t plx__setting_scalar(const struct plx_settings *settings, enum plx_setting_id id);

/* Reads `text` into the field; on an error (-EINVAL) the field is unchanged. */
int plx__setting_parse(struct plx_settings *settings, enum plx_setting_id id, const char *text,
                       struct plx_diag *diag);

/*
 * Whether all fields are what their rows allow: they can be written past the parser. -EINVAL, and
 * `diag` names the first that is not.
 */
int plx__settings_check(const struct plx_settings *settings, struct plx_diag *diag);

#endif
