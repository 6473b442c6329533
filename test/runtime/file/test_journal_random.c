/* SPDX-License-Identifier: MIT */
/* Recovery of journals whose files were changed: at random, and each in one bit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>

#include "test/runtime/file/journal_model.h"

#define RUNS      300u
#define RUNS_SOAK 20000u
#define FLIPS     500u

static int set_up(void **state)
{
    (void)state;
    const char *missing = journal_model_open();
    if (missing != NULL)
        print_message("no journal: %s\n", missing);
    return missing != NULL;
}

static int tear_down(void **state)
{
    (void)state;
    journal_model_close();
    return 0;
}

static uint64_t seed;

static uint64_t draw(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static void begin(void)
{
    const char *given = getenv("POLLUX_TEST_SEED");
    seed = given != NULL ? strtoull(given, NULL, 0) : 20261120;
    print_message("seed %llu\n", (unsigned long long)seed);
    seed |= 1;
}

static void changed_journal_is_a_part_of_what_was_or_refused(void **state)
{
    (void)state;
    begin();
    unsigned runs = getenv("POLLUX_TEST_SOAK") != NULL ? RUNS_SOAK : RUNS;
    for (unsigned run = 0; run < runs; run++) {
        uint8_t input[30];
        size_t len = run == 0 ? 0 : 5 * (1 + draw() % 6);
        for (size_t i = 0; i < len; i++)
            input[i] = (uint8_t)(draw() >> 20);
        const char *wrong = journal_model_run(input, len);
        if (wrong != NULL)
            fail_msg("run %u: %s", run, wrong);
    }
    struct journal_model_counts counts = journal_model_counts();
    print_message("%llu opened whole, %llu shorter, %llu refused\n",
                  (unsigned long long)counts.whole, (unsigned long long)counts.shorter,
                  (unsigned long long)counts.refused);
    assert_true(counts.whole > 0 && counts.shorter > 0 && counts.refused > 0);
}

/* One wrong bit: all is there; or it was in the very last group, which is then missing from there
 * on; or opening says so. */
static void one_wrong_bit_is_never_a_silent_loss(void **state)
{
    (void)state;
    begin();
    uint64_t all = journal_model_records();
    unsigned seen[3] = {0};
    for (unsigned i = 0; i < FLIPS; i++) {
        uint32_t file = (uint32_t)(draw() >> 8) % journal_model_files();
        uint64_t at = (draw() >> 8) % journal_model_bytes(file);
        uint64_t records = 0;
        int rc = journal_model_flip(file, at, (unsigned)(draw() >> 8) % 8, &records);
        if (rc != 0) {
            assert_true(rc == -EBADMSG || rc == -EPROTONOSUPPORT || rc == -EINVAL);
            seen[0]++;
            continue;
        }
        if (records + journal_model_last_group() < all)
            fail_msg("file %u, byte %llu: %llu of %llu records", file, (unsigned long long)at,
                     (unsigned long long)records, (unsigned long long)all);
        seen[records == all ? 1 : 2]++;
    }
    print_message("%u refused, %u whole, %u without the last group\n", seen[0], seen[1], seen[2]);
    assert_true(seen[0] > 0 && seen[1] > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(changed_journal_is_a_part_of_what_was_or_refused),
        cmocka_unit_test(one_wrong_bit_is_never_a_silent_loss),
    };
    return cmocka_run_group_tests_name("journal random", tests, set_up, tear_down);
}
