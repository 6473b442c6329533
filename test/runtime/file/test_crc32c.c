/* SPDX-License-Identifier: MIT */
/* CRC-32C against the vectors of RFC 3720, section B.4, and its two ways against each other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/file/crc32c_internal.h"

static void expect_both(const void *data, size_t len, uint32_t crc)
{
    assert_int_equal(plx__crc32c(0, data, len), crc);
    assert_int_equal(plx__crc32c_by_table(0, data, len), crc);
}

static void crc_of_known_bytes_is_the_known_one(void **state)
{
    (void)state;
    uint8_t data[32];
    expect_both("", 0, 0);
    expect_both("123456789", 9, 0xe3069283);
    memset(data, 0, sizeof(data));
    expect_both(data, sizeof(data), 0x8a9136aa);
    memset(data, 0xff, sizeof(data));
    expect_both(data, sizeof(data), 0x62a8ab43);
    for (unsigned i = 0; i < 32; i++)
        data[i] = (uint8_t)i;
    expect_both(data, sizeof(data), 0x46dd794e);
    for (unsigned i = 0; i < 32; i++)
        data[i] = (uint8_t)(31 - i);
    expect_both(data, sizeof(data), 0x113fdb5c);
}

static void crc_of_pieces_is_that_of_the_whole(void **state)
{
    (void)state;
    uint8_t data[300];
    srand(7);
    for (unsigned i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)rand();
    /* From every alignment, too. */
    for (size_t from = 0; from < 9; from++) {
        uint32_t whole = plx__crc32c_by_table(0, data + from, sizeof(data) - from);
        for (size_t cut = 0; cut <= sizeof(data) - from; cut++) {
            uint32_t first = plx__crc32c(0, data + from, cut);
            uint32_t both = plx__crc32c(first, data + from + cut, sizeof(data) - from - cut);
            assert_int_equal(both, whole);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc_of_known_bytes_is_the_known_one),
        cmocka_unit_test(crc_of_pieces_is_that_of_the_whole),
    };
    return cmocka_run_group_tests_name("crc32c", tests, NULL, NULL);
}
