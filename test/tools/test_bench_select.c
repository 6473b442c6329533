/* SPDX-License-Identifier: MIT */
/* What is read from the benchmark's command line and from /proc/interrupts, without either. */
#include "tools/bench/select.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tools/bench/interrupts.h"

/* --- patterns -------------------------------------------------------------------------------- */

static void pattern_without_slash_is_of_the_name(void **state)
{
    (void)state;
    assert_true(plx_bench_matches("rtt_8B", "ring", "rtt_8B"));
    assert_true(plx_bench_matches("rtt_*", "tcp", "rtt_64B"));
    assert_true(plx_bench_matches("chase_[24]?", "mem", "chase_4K"));
    assert_false(plx_bench_matches("rtt", "ring", "rtt_8B"));
    assert_false(plx_bench_matches("ring*", "ring", "rtt_8B"));
    assert_false(plx_bench_matches("", "ring", "rtt_8B"));
}

static void pattern_with_slash_is_of_both(void **state)
{
    (void)state;
    assert_true(plx_bench_matches("ring/rtt_*", "ring", "rtt_8B"));
    assert_true(plx_bench_matches("*/rtt_*", "tcp", "rtt_64B"));
    assert_false(plx_bench_matches("ring/rtt_*", "tcp", "rtt_64B"));
}

/* --- pairs ----------------------------------------------------------------------------------- */

static void pairs_are_read_in_order(void **state)
{
    (void)state;
    struct plx_bench_cores pairs[PLX_BENCH_PAIRS_MAX];
    assert_int_equal(plx_bench_read_pairs("0:1,12:4,1:0", pairs), 3);
    assert_int_equal(pairs[0].a, 0);
    assert_int_equal(pairs[0].b, 1);
    assert_int_equal(pairs[1].a, 12);
    assert_int_equal(pairs[1].b, 4);
    assert_int_equal(pairs[2].b, 0);
}

static void pairs_that_are_none_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"",      "0",    "0:",   ":1",    "0:1,", "0:1;2:3",
                                        "a:b",   "-1:0", "0-1",  "0:1:2", " 0:1", "0:99999999999",
                                        "0:1,,", "0: 1", "0x1:2"};
    struct plx_bench_cores pairs[PLX_BENCH_PAIRS_MAX];
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_int_equal(plx_bench_read_pairs(texts[i], pairs), -1);
    assert_int_equal(plx_bench_read_pairs("3:3", pairs), -2);
}

static void pairs_beyond_the_limit_are_refused(void **state)
{
    (void)state;
    struct plx_bench_cores pairs[PLX_BENCH_PAIRS_MAX];
    char text[4 * (PLX_BENCH_PAIRS_MAX + 1)] = "";
    for (uint32_t i = 0; i < PLX_BENCH_PAIRS_MAX; i++)
        memcpy(text + 4 * (size_t)i, "0:1,", 4);
    text[sizeof(text) - 5] = '\0';
    assert_int_equal(plx_bench_read_pairs(text, pairs), PLX_BENCH_PAIRS_MAX);
    memcpy(text + sizeof(text) - 5, ",2:3", 5);
    assert_int_equal(plx_bench_read_pairs(text, pairs), -1);
}

/* --- percentages ----------------------------------------------------------------------------- */

static void percentage_is_read_with_and_without_its_sign(void **state)
{
    (void)state;
    double part = 0;
    assert_true(plx_bench_read_percent("2%", &part));
    assert_true(part > 0.0199 && part < 0.0201);
    assert_true(plx_bench_read_percent("0.5", &part));
    assert_true(part > 0.00499 && part < 0.00501);
    static const char *const texts[] = {"",    "%",   "0",   "0%",  "51%",
                                        "-1%", "2%%", "two", "nan", " 2"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_false(plx_bench_read_percent(texts[i], &part));
}

/* --- interrupts ------------------------------------------------------------------------------ */

static const char before_text[] =
    "           CPU0       CPU2       \n"
    " 24:          1          0  IO-APIC   5-edge      ACPI:Ged\n"
    " 31:          0       3565 PCI-MSIX-0000:00:01.0   3-edge      virtio0-stats\n"
    "LOC:    7612753    7221958   Local timer interrupts\n"
    "RES:          5          6   Rescheduling interrupts\n"
    "ERR:          0\n";

static const char after_text[] =
    "           CPU0       CPU2       \n"
    " 24:          1          0  IO-APIC   5-edge      ACPI:Ged\n"
    " 31:          0       3567 PCI-MSIX-0000:00:01.0   3-edge      virtio0-stats\n"
    "LOC:    7612753    7221959   Local timer interrupts\n"
    "RES:          7          6   Rescheduling interrupts\n"
    "ERR:          4\n";

static struct plx_bench_interrupts before;
static struct plx_bench_interrupts after;

static void interrupts_are_those_of_the_cpu_by_its_number(void **state)
{
    (void)state;
    plx_bench_interrupts_read(before_text, 2, &before);
    assert_int_equal(before.count, 4);
    assert_string_equal(before.at[0].name, "ACPI:Ged");
    assert_string_equal(before.at[1].name, "virtio0-stats");
    assert_int_equal(before.at[1].count, 3565);
    assert_string_equal(before.at[2].name, "LOC");
    assert_int_equal(before.at[2].count, 7221958);
    plx_bench_interrupts_read(before_text, 1, &before);
    assert_int_equal(before.count, 0);
    plx_bench_interrupts_read("", 0, &before);
    assert_int_equal(before.count, 0);
}

static void interrupts_that_came_between_are_named(void **state)
{
    (void)state;
    char text[64];
    plx_bench_interrupts_read(before_text, 2, &before);
    plx_bench_interrupts_read(after_text, 2, &after);
    assert_true(plx_bench_interrupts_diff(&before, &after, text, sizeof(text)) != 0);
    assert_string_equal(text, "virtio0-stats +2, LOC +1");
    assert_int_equal(plx_bench_interrupts_diff(&after, &after, text, sizeof(text)), 0);
    assert_string_equal(text, "");
    plx_bench_interrupts_read(before_text, 0, &before);
    plx_bench_interrupts_read(after_text, 0, &after);
    plx_bench_interrupts_diff(&before, &after, text, sizeof(text));
    assert_string_equal(text, "RES +2");
}

static void interrupts_beyond_the_room_are_cut_off_whole(void **state)
{
    (void)state;
    char text[20];
    plx_bench_interrupts_read(before_text, 2, &before);
    plx_bench_interrupts_read(after_text, 2, &after);
    plx_bench_interrupts_diff(&before, &after, text, sizeof(text));
    assert_string_equal(text, "virtio0-stats +2");
}

static void interrupts_of_a_new_source_are_all_new(void **state)
{
    (void)state;
    char text[64];
    plx_bench_interrupts_read("     CPU0\nLOC:   5   Local timer interrupts\n", 0, &before);
    plx_bench_interrupts_read(
        "     CPU0\n 40:  3  PCI-MSI  nvme0q1\nLOC:   5   Local timer interrupts\n", 0, &after);
    plx_bench_interrupts_diff(&before, &after, text, sizeof(text));
    assert_string_equal(text, "nvme0q1 +3");
}

/* The text of a machine of so many columns and devices' lines; LOC is its last line. */
static char *text_of_many(unsigned columns, unsigned lines, unsigned loc)
{
    char *text;
    size_t bytes;
    FILE *stream = open_memstream(&text, &bytes);
    assert_non_null(stream);
    for (unsigned i = 0; i < columns; i++)
        fprintf(stream, " CPU%u", i);
    for (unsigned line = 0; line < lines; line++) {
        fprintf(stream, "\n%u:", line);
        for (unsigned i = 0; i < columns; i++)
            fprintf(stream, " %10u", i);
        fprintf(stream, " PCI-MSIX nic-rx-%u", line);
    }
    fputs("\nLOC:", stream);
    for (unsigned i = 0; i < columns; i++)
        fprintf(stream, " %10u", loc);
    fputs(" Local timer interrupts\n", stream);
    fclose(stream);
    return text;
}

static void interrupts_of_a_large_machine_are_read_to_the_last(void **state)
{
    (void)state;
    char what[64];
    char *text = text_of_many(256, 1500, 7);
    plx_bench_interrupts_read(text, 255, &before);
    free(text);
    assert_int_equal(before.count, 1501);
    assert_false(before.cut);
    assert_string_equal(before.at[1500].name, "LOC");
    assert_int_equal(before.at[1499].count, 255);
    text = text_of_many(256, 1500, 9);
    plx_bench_interrupts_read(text, 255, &after);
    free(text);
    plx_bench_interrupts_diff(&before, &after, what, sizeof(what));
    assert_string_equal(what, "LOC +2");
}

static void interrupts_that_were_cut_off_are_no_proof_of_firmware(void **state)
{
    (void)state;
    char *text = text_of_many(4, 3, 7);
    plx_bench_interrupts_read(text, 0, &before);
    plx_bench_interrupts_read(text, 0, &after);
    assert_non_null(strstr(plx_bench_interrupts_none(&before, &after), "firmware"));
    /* In the middle of the last line: what it says is not to be trusted. */
    text[strlen(text) - 30] = '\0';
    plx_bench_interrupts_read(text, 0, &after);
    assert_true(after.cut);
    assert_int_equal(after.count, 3);
    assert_non_null(strstr(plx_bench_interrupts_none(&before, &after), "too long"));
    plx_bench_interrupts_read("", 0, &after);
    assert_non_null(strstr(plx_bench_interrupts_none(&before, &after), "cannot be read"));
    free(text);
}

static int forget_interrupts(void **state)
{
    (void)state;
    plx_bench_interrupts_fini(&before);
    plx_bench_interrupts_fini(&after);
    return 0;
}

/* --- stolen time ----------------------------------------------------------------------------- */

static uint64_t steal_of(const char *text, const struct plx_cpu_set *cpus)
{
    char copy[512];
    snprintf(copy, sizeof(copy), "%s", text);
    FILE *stream = fmemopen(copy, strlen(copy), "r");
    assert_non_null(stream);
    uint64_t steal = plx_bench_steal_read(stream, cpus);
    fclose(stream);
    return steal;
}

static void steal_is_the_sum_over_the_cpus_asked_for(void **state)
{
    (void)state;
    static const char text[] = "cpu  1 2 3 4 5 6 7 60 0 0\n"
                               "cpu0 1 2 3 4 5 6 7 10 0 0\n"
                               "cpu1 1 2 3 4 5 6 7 20 0 0\n"
                               "cpu12 1 2 3 4 5 6 7 30 0 0\n"
                               "intr 99 1 2 3 4 5 6 7 8 9\n";
    struct plx_cpu_set cpus = {{0}};
    assert_int_equal(steal_of(text, NULL), 60);
    assert_int_equal(steal_of(text, &cpus), 0);
    plx_cpu_set_add(&cpus, 1);
    assert_int_equal(steal_of(text, &cpus), 20);
    plx_cpu_set_add(&cpus, 12);
    plx_cpu_set_add(&cpus, 99); /* which is not there */
    assert_int_equal(steal_of(text, &cpus), 50);
    assert_int_equal(steal_of("cpu0 1 2 3\n", NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pattern_without_slash_is_of_the_name),
        cmocka_unit_test(pattern_with_slash_is_of_both),
        cmocka_unit_test(pairs_are_read_in_order),
        cmocka_unit_test(pairs_that_are_none_are_refused),
        cmocka_unit_test(pairs_beyond_the_limit_are_refused),
        cmocka_unit_test(percentage_is_read_with_and_without_its_sign),
        cmocka_unit_test(interrupts_are_those_of_the_cpu_by_its_number),
        cmocka_unit_test(interrupts_that_came_between_are_named),
        cmocka_unit_test(interrupts_beyond_the_room_are_cut_off_whole),
        cmocka_unit_test(interrupts_of_a_new_source_are_all_new),
        cmocka_unit_test(interrupts_of_a_large_machine_are_read_to_the_last),
        cmocka_unit_test(interrupts_that_were_cut_off_are_no_proof_of_firmware),
        cmocka_unit_test(steal_is_the_sum_over_the_cpus_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, forget_interrupts);
}
