/* SPDX-License-Identifier: MIT */
/* Sets of small numbers: the inline helpers, and lists as text. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/settings/cpu_set.h"

static void add_members_are_had_and_counted(void **state)
{
    (void)state;
    static const unsigned numbers[] = {0, 1, 63, 64, 127, 128, 1000, 1023};
    const unsigned count = sizeof(numbers) / sizeof(numbers[0]);
    struct plx_cpu_set set = {{0}};
    assert_true(plx_cpu_set_is_empty(&set));
    for (unsigned i = 0; i < count; i++) {
        assert_false(plx_cpu_set_has(&set, numbers[i]));
        plx_cpu_set_add(&set, numbers[i]);
        plx_cpu_set_add(&set, numbers[i]);
        assert_true(plx_cpu_set_has(&set, numbers[i]));
        assert_int_equal(plx_cpu_set_count(&set), i + 1);
    }
    assert_false(plx_cpu_set_is_empty(&set));
    assert_false(plx_cpu_set_has(&set, 2));
    assert_false(plx_cpu_set_has(&set, PLX_CPU_SET_SIZE));
    assert_false(plx_cpu_set_has(&set, ~0u));
}

static void next_walks_members_in_order(void **state)
{
    (void)state;
    static const unsigned numbers[] = {0, 5, 63, 64, 300, 1023};
    struct plx_cpu_set set = {{0}};
    assert_int_equal(plx_cpu_set_next(&set, 0), PLX_CPU_SET_SIZE);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        plx_cpu_set_add(&set, numbers[i]);
    size_t seen = 0;
    for (unsigned n = plx_cpu_set_next(&set, 0); n < PLX_CPU_SET_SIZE;
         n = plx_cpu_set_next(&set, n + 1))
        assert_int_equal(n, numbers[seen++]);
    assert_int_equal(seen, sizeof(numbers) / sizeof(numbers[0]));
    assert_int_equal(plx_cpu_set_next(&set, 65), 300);
    assert_int_equal(plx_cpu_set_next(&set, PLX_CPU_SET_SIZE), PLX_CPU_SET_SIZE);
    assert_int_equal(plx_cpu_set_next(&set, ~0u), PLX_CPU_SET_SIZE);
}

static void parse_failure_tells_syntax_from_range(void **state)
{
    (void)state;
    struct plx_cpu_set set = {{0}};
    plx_cpu_set_add(&set, 7);
    assert_int_equal(plx_cpu_set_parse(&set, "1,x"), -EINVAL);
    assert_int_equal(plx_cpu_set_parse(&set, "1,"), -EINVAL);
    assert_int_equal(plx_cpu_set_parse(&set, "0-3:0"), -EINVAL);
    assert_int_equal(plx_cpu_set_parse(&set, "0-3:"), -EINVAL);
    assert_int_equal(plx_cpu_set_parse(&set, "0-"), -EINVAL);
    assert_int_equal(plx_cpu_set_parse(&set, "1024"), -ERANGE);
    assert_int_equal(plx_cpu_set_parse(&set, "3-2"), -ERANGE);
    assert_int_equal(plx_cpu_set_parse(&set, "99999999999999999999"), -ERANGE);
    /* Unchanged by all of them. */
    assert_int_equal(plx_cpu_set_count(&set), 1);
    assert_true(plx_cpu_set_has(&set, 7));
}

static void parse_success_replaces_the_set(void **state)
{
    (void)state;
    struct plx_cpu_set set = {{0}};
    plx_cpu_set_add(&set, 7);
    assert_int_equal(plx_cpu_set_parse(&set, "2-3"), 0);
    assert_int_equal(plx_cpu_set_count(&set), 2);
    assert_int_equal(plx_cpu_set_parse(&set, ""), 0);
    assert_true(plx_cpu_set_is_empty(&set));
}

static void format_longest_list_fits_the_promised_bytes(void **state)
{
    (void)state;
    char text[PLX_CPU_SET_TEXT_BYTES];
    /* Every pattern of up to 4 members in a period of 2 to 4: the longest lists are among them. */
    for (unsigned period = 2; period <= 4; period++) {
        for (unsigned pattern = 0; pattern < 1u << period; pattern++) {
            struct plx_cpu_set set = {{0}};
            struct plx_cpu_set back = {{0}};
            for (unsigned n = 0; n < PLX_CPU_SET_SIZE; n++) {
                if ((pattern >> (n % period) & 1) != 0)
                    plx_cpu_set_add(&set, n);
            }
            int length = plx_cpu_set_format(&set, text, sizeof(text));
            assert_int_equal(length, (int)strlen(text));
            assert_int_equal(plx_cpu_set_parse(&back, text), 0);
            assert_memory_equal(&set, &back, sizeof(set));
        }
    }
}

static void format_small_buffer_is_enospc(void **state)
{
    (void)state;
    struct plx_cpu_set set = {{0}};
    char text[8];
    plx_cpu_set_add(&set, 10);
    plx_cpu_set_add(&set, 12);
    for (size_t bytes = 1; bytes < sizeof("10,12"); bytes++) {
        text[0] = 'x';
        assert_int_equal(plx_cpu_set_format(&set, text, bytes), -ENOSPC);
        assert_string_equal(text, "");
    }
    assert_int_equal(plx_cpu_set_format(&set, NULL, 0), -ENOSPC);
    assert_int_equal(plx_cpu_set_format(&set, text, sizeof("10,12")), 5);
    assert_string_equal(text, "10,12");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(add_members_are_had_and_counted),
        cmocka_unit_test(next_walks_members_in_order),
        cmocka_unit_test(parse_failure_tells_syntax_from_range),
        cmocka_unit_test(parse_success_replaces_the_set),
        cmocka_unit_test(format_longest_list_fits_the_promised_bytes),
        cmocka_unit_test(format_small_buffer_is_enospc),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
