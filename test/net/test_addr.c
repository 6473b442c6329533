/* SPDX-License-Identifier: MIT */
#include "net/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void expect_text(const char *text, const char *formatted)
{
    struct plx_addr addr;
    struct plx_diag diag = {0};
    char out[PLX_ADDR_TEXT_BYTES];
    int rc = plx_addr_parse(&addr, text, &diag);
    if (rc != 0)
        print_message("%s: %s\n", text, diag.text);
    assert_int_equal(rc, 0);
    assert_int_equal(plx_addr_format(&addr, out, sizeof(out)), strlen(formatted));
    assert_string_equal(out, formatted);
}

static void addr_parse_good_texts_are_understood(void **state)
{
    (void)state;
    expect_text("127.0.0.1:8080", "127.0.0.1:8080");
    expect_text("255.255.255.255:65535", "255.255.255.255:65535");
    expect_text("10.0.0.1:0", "10.0.0.1:0");
    expect_text("localhost:80", "127.0.0.1:80");
    expect_text("LocalHost:80", "127.0.0.1:80");
    expect_text(":8080", "0.0.0.0:8080");
    expect_text("*:8080", "0.0.0.0:8080");
    expect_text("[::1]:8080", "[::1]:8080");
    expect_text("[::]:1", "[::]:1");
    expect_text("[2001:DB8:0:0:0:0:0:1]:443", "[2001:db8::1]:443");
    expect_text("[::ffff:1.2.3.4]:9", "[::ffff:1.2.3.4]:9");
    expect_text("[fe80::1%lo]:80", "[fe80::1%lo]:80");
    expect_text("[fe80::1]:80", "[fe80::1]:80");
    expect_text("[ff02::1%lo]:80", "[ff02::1%lo]:80");
    expect_text("[fe80::1%4294967295]:80", "[fe80::1%4294967295]:80");
}

static void addr_parse_loopback_zone_number_becomes_its_name(void **state)
{
    (void)state;
    char text[64];
    snprintf(text, sizeof(text), "[fe80::2%%%u]:80", if_nametoindex("lo"));
    expect_text(text, "[fe80::2%lo]:80");
}

static void addr_parse_bad_texts_are_named_errors(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        " ",
        ":",
        "8080",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:65536",
        "127.0.0.1:99999999999",
        "127.0.0.1:-1",
        "127.0.0.1:+1",
        "127.0.0.1: 1",
        "127.0.0.1:1 ",
        " 127.0.0.1:1",
        "127.0.0.1:0x50",
        "127.0.0.1:080",
        "127.0.0.1:00",
        "127.0.0.1:80:80",
        "127.0.0:80",
        "127.0.0.256:80",
        "127.0.0.01:80",
        "0x7f.0.0.1:80",
        "127.0.0.1.1:80",
        "example.com:80",
        "localhost",
        "localhost.:80",
        "::1:80",
        "::1",
        "[::1]",
        "[::1]80",
        "[::1:80",
        "[]:80",
        "[::1]:",
        "[::1] :80",
        "[1.2.3.4]:80",
        "[::g]:80",
        "[1:2:3:4:5:6:7:8:9]:80",
        "[::1]]:80",
        "[::1%lo]:80",
        "[[::1]]:80",
        "[fe80::1%]x:80",
        "**:80",
        "\x7f\x01:80",
        "127.0.0.1:\xff",
        "[2001:db8::1%lo]:80",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct plx_addr addr;
        struct plx_diag diag = {0};
        memset(&addr, 0x5a, sizeof(addr));
        int rc = plx_addr_parse(&addr, bad[i], &diag);
        if (rc != -EINVAL)
            print_message("'%s' gave %d\n", bad[i], rc);
        assert_int_equal(rc, -EINVAL);
        assert_int_equal(diag.code, -EINVAL);
        assert_int_equal(addr.bytes, 0);
        assert_non_null(strstr(diag.text, "expected such as"));
        for (const char *c = diag.text; *c != '\0'; c++)
            assert_true(*c >= ' ' && *c <= '~');
        if (strspn(bad[i], "0123456789abcdef.:[]") == strlen(bad[i]) && bad[i][0] != '\0')
            assert_non_null(strstr(diag.text, bad[i]));
    }
    assert_int_equal(plx_addr_parse(&(struct plx_addr){0}, "8080", NULL), -EINVAL);
    assert_int_equal(plx_addr_parse(&(struct plx_addr){0}, NULL, NULL), -EINVAL);
}

static void addr_parse_unknown_zone_is_enodev(void **state)
{
    (void)state;
    static const char *const bad[] = {"[fe80::1%nosuchif0]:80", "[fe80::1%]:80", "[fe80::1%0]:80",
                                      "[fe80::1%4294967296]:80",
                                      "[fe80::1%averyveryverylonginterface]:80"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct plx_addr addr;
        struct plx_diag diag = {0};
        assert_int_equal(plx_addr_parse(&addr, bad[i], &diag), -ENODEV);
        assert_string_equal(diag.what, bad[i]);
    }
}

static void addr_parse_long_hostile_text_is_cut_in_the_error(void **state)
{
    (void)state;
    size_t bytes = 1 << 20;
    char *text = malloc(bytes);
    assert_non_null(text);
    memset(text, '1', bytes - 1);
    text[bytes - 1] = '\0';
    text[0] = '[';
    struct plx_addr addr;
    struct plx_diag diag = {0};
    assert_int_equal(plx_addr_parse(&addr, text, &diag), -EINVAL);
    assert_non_null(strstr(diag.text, "too long"));
    assert_non_null(strstr(diag.text, "..."));
    free(text);
}

/* Bytes at random, most of them from an address' alphabet: no crash, and what parses is stable. */
static void addr_parse_random_texts_never_crash(void **state)
{
    (void)state;
    static const char alphabet[] = "0123456789abcdef::::....[]%lo*\x01\xff ";
    unsigned seed = 20240917;
    for (int round = 0; round < 200000; round++) {
        char text[100];
        size_t len = (size_t)rand_r(&seed) % (round % 8 == 0 ? sizeof(text) : 12);
        for (size_t i = 0; i < len; i++)
            text[i] = alphabet[(size_t)rand_r(&seed) % (sizeof(alphabet) - 1)];
        text[len] = '\0';
        struct plx_addr addr;
        struct plx_addr again;
        char out[PLX_ADDR_TEXT_BYTES];
        if (plx_addr_parse(&addr, text, NULL) != 0)
            continue;
        assert_true(plx_addr_format(&addr, out, sizeof(out)) > 0);
        assert_int_equal(plx_addr_parse(&again, out, NULL), 0);
        assert_memory_equal(&addr, &again, sizeof(addr));
    }
}

static uint32_t any_bits(unsigned *seed)
{
    return ((uint32_t)rand_r(seed) << 16) ^ (uint32_t)rand_r(seed);
}

static void addr_format_then_parse_gives_the_same_address(void **state)
{
    (void)state;
    unsigned seed = 4711;
    print_message("seed %u\n", seed);
    for (int round = 0; round < 20000; round++) {
        struct plx_addr addr;
        struct plx_addr back;
        char text[PLX_ADDR_TEXT_BYTES];
        memset(&addr, 0, sizeof(addr));
        if (round % 2 == 0) {
            addr.bytes = sizeof(addr.sock.in4);
            addr.sock.in4.sin_family = AF_INET;
            addr.sock.in4.sin_addr.s_addr = any_bits(&seed);
        } else {
            addr.bytes = sizeof(addr.sock.in6);
            addr.sock.in6.sin6_family = AF_INET6;
            for (int i = 0; i < 4; i++) /* words of zeros, so that '::' stands in all places */
                addr.sock.in6.sin6_addr.s6_addr32[i] = rand_r(&seed) % 2 ? any_bits(&seed) : 0;
            if (round % 5 == 0) {
                addr.sock.in6.sin6_addr.s6_addr[0] = 0xfe;
                addr.sock.in6.sin6_addr.s6_addr[1] = 0x80;
                addr.sock.in6.sin6_scope_id = any_bits(&seed);
            }
        }
        plx_addr_set_port(&addr, (uint16_t)any_bits(&seed));
        assert_true(plx_addr_format(&addr, text, sizeof(text)) > 0);
        assert_int_equal(plx_addr_parse(&back, text, NULL), 0);
        assert_memory_equal(&addr, &back, sizeof(addr));
    }
}

static void addr_format_small_buffer_is_enospc(void **state)
{
    (void)state;
    struct plx_addr addr;
    assert_int_equal(plx_addr_parse(&addr, "127.0.0.1:80", NULL), 0);
    char text[16] = "before";
    assert_int_equal(plx_addr_format(&addr, text, 12), -ENOSPC);
    assert_string_equal(text, "");
    assert_int_equal(plx_addr_format(&addr, text, 13), 12);
    assert_int_equal(plx_addr_format(&addr, NULL, 0), -ENOSPC);
}

static void addr_format_foreign_family_is_eafnosupport(void **state)
{
    (void)state;
    struct plx_addr addr;
    char text[PLX_ADDR_TEXT_BYTES] = "before";
    memset(&addr, 0, sizeof(addr));
    assert_int_equal(plx_addr_format(&addr, text, sizeof(text)), -EAFNOSUPPORT);
    assert_string_equal(text, "");
    addr.bytes = sizeof(addr.sock.any);
    addr.sock.any.sa_family = AF_UNIX;
    assert_int_equal(plx_addr_format(&addr, text, sizeof(text)), -EAFNOSUPPORT);
}

static void addr_port_is_read_and_set(void **state)
{
    (void)state;
    struct plx_addr addr;
    memset(&addr, 0, sizeof(addr));
    plx_addr_set_port(&addr, 5);
    assert_int_equal(plx_addr_port(&addr), 0);
    assert_int_equal(plx_addr_parse(&addr, "[::1]:80", NULL), 0);
    assert_int_equal(plx_addr_port(&addr), 80);
    plx_addr_set_port(&addr, 443);
    assert_int_equal(plx_addr_port(&addr), 443);
    assert_int_equal(addr.sock.in6.sin6_port, htons(443));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addr_parse_good_texts_are_understood),
        cmocka_unit_test(addr_parse_loopback_zone_number_becomes_its_name),
        cmocka_unit_test(addr_parse_bad_texts_are_named_errors),
        cmocka_unit_test(addr_parse_unknown_zone_is_enodev),
        cmocka_unit_test(addr_parse_long_hostile_text_is_cut_in_the_error),
        cmocka_unit_test(addr_parse_random_texts_never_crash),
        cmocka_unit_test(addr_format_then_parse_gives_the_same_address),
        cmocka_unit_test(addr_format_small_buffer_is_enospc),
        cmocka_unit_test(addr_format_foreign_family_is_eafnosupport),
        cmocka_unit_test(addr_port_is_read_and_set),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
