/* SPDX-License-Identifier: MIT */
#include "alloc/base.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void diag_set_fills_and_returns_the_code(void **state)
{
    (void)state;
    struct plx_diag diag;
    assert_int_equal(plx_diag_set(&diag, -EINVAL, "POLLUX_CPUS", "'%s' is no list", "x"), -EINVAL);
    assert_int_equal(diag.code, -EINVAL);
    assert_string_equal(diag.what, "POLLUX_CPUS");
    assert_string_equal(diag.text, "'x' is no list");
}

static void diag_set_null_diag_only_returns_the_code(void **state)
{
    (void)state;
    assert_int_equal(plx_diag_set(NULL, -ENOMEM, "arena", "%d bytes", 1), -ENOMEM);
}

static void diag_set_long_texts_are_cut_and_terminated(void **state)
{
    (void)state;
    char text[1000];
    memset(text, 'y', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';

    struct plx_diag diag;
    assert_int_equal(plx_diag_set(&diag, -E2BIG, text, "%s", text), -E2BIG);
    assert_int_equal(strlen(diag.what), sizeof(diag.what) - 1);
    assert_int_equal(strlen(diag.text), sizeof(diag.text) - 1);
}

static void diag_set_null_what_is_empty(void **state)
{
    (void)state;
    struct plx_diag diag;
    assert_int_equal(plx_diag_set(&diag, -EIO, NULL, "no name"), -EIO);
    assert_string_equal(diag.what, "");
}

static void keep_line(const char *line, void *ctx)
{
    char *kept = ctx;
    strncpy(kept, line, 1100);
}

static void text_line_long_is_cut_at_1023(void **state)
{
    (void)state;
    char text[1100];
    memset(text, 'z', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';

    char kept[1100];
    plx_text_line(keep_line, kept, "%s", text);
    assert_int_equal(strlen(kept), 1023);
    plx_text_line(keep_line, kept, "%d of %s", 3, "x");
    assert_string_equal(kept, "3 of x");
}

static void round_up_values_meet_the_next_multiple(void **state)
{
    (void)state;
    assert_int_equal(plx_round_up(0, 4096), 0);
    assert_int_equal(plx_round_up(1, 4096), 4096);
    assert_int_equal(plx_round_up(4096, 4096), 4096);
    assert_int_equal(plx_round_up(4097, 4096), 8192);
    assert_int_equal(plx_round_up(UINT64_MAX, 4096), 0);
}

static void is_pow2_values_are_told_apart(void **state)
{
    (void)state;
    assert_false(plx_is_pow2(0));
    assert_true(plx_is_pow2(1));
    assert_false(plx_is_pow2(3));
    assert_true(plx_is_pow2(UINT64_C(1) << 63));
    assert_false(plx_is_pow2(UINT64_MAX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(diag_set_fills_and_returns_the_code),
        cmocka_unit_test(diag_set_null_diag_only_returns_the_code),
        cmocka_unit_test(diag_set_long_texts_are_cut_and_terminated),
        cmocka_unit_test(diag_set_null_what_is_empty),
        cmocka_unit_test(text_line_long_is_cut_at_1023),
        cmocka_unit_test(round_up_values_meet_the_next_multiple),
        cmocka_unit_test(is_pow2_values_are_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
