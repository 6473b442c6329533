/* SPDX-License-Identifier: MIT */
/* The table of features: complete, true to the settings, and in line with what reactors get. */
#include "runtime/io/features.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "test/runtime/io/seen.h"
#include "test/runtime/rt_fixture.h"

#define ROWS_MAX 64u

struct rows {
    unsigned count;
    struct plx_feature row[ROWS_MAX];
};

static void keep_row(const struct plx_feature *feature, void *ctx)
{
    struct rows *rows = ctx;
    assert_in_range(rows->count, 0, ROWS_MAX - 1);
    rows->row[rows->count++] = *feature;
}

static void probe(struct rows *rows, const char *words)
{
    struct plx_settings settings;
    struct plx_diag diag = {0};
    rows->count = 0;
    if (words == NULL) {
        assert_int_equal(plx_features_probe(NULL, keep_row, rows, &diag), 0);
        return;
    }
    rt_settings(&settings, words);
    assert_int_equal(plx_features_probe(&settings, keep_row, rows, &diag), 0);
}

static const struct plx_feature *find(const struct rows *rows, const char *name)
{
    for (unsigned i = 0; i < rows->count; i++) {
        if (strcmp(rows->row[i].name, name) == 0)
            return &rows->row[i];
    }
    return NULL;
}

static void rows_are_whole_and_each_is_there_once(void **state)
{
    (void)state;
    rt_need_uring();
    struct rows rows;
    probe(&rows, NULL);
    static const char *const known[] = {
        "COOP_TASKRUN",
        "TASKRUN_FLAG",
        "SINGLE_ISSUER",
        "DEFER_TASKRUN",
        "NO_MMAP",
        "NO_SQARRAY",
        "BUFFER_RING",
        "MULTISHOT_ACCEPT",
        "MULTISHOT_RECV",
        "SEND_ZC",
        "SENDMSG_ZC",
        "RECVSEND_BUNDLE",
        "MSG_RING",
        "CANCEL_ANY",
        "CANCEL_FD",
        "SYNC_CANCEL",
        "NAPI",
        "READV_FIXED",
        "WRITEV_FIXED",
        "MIN_WAIT",
        "REGISTERED_WAIT",
        "RESIZE_RINGS",
        "CLONE_BUFFERS",
        "TX_TIMESTAMP",
        "SQPOLL",
        "ATTACH_WQ",
        "REGISTERED_RING",
        "MULTISHOT_RECVMSG",
        "REGISTERED_FILES",
        "FIXED_BUFFERS",
    };
    assert_string_equal(rows.row[0].name, "IO_URING");
    assert_int_equal(rows.count, 1 + sizeof(known) / sizeof(*known));
    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
        assert_non_null(find(&rows, known[i]));
    for (unsigned i = 0; i < rows.count; i++) {
        const struct plx_feature *row = &rows.row[i];
        assert_ptr_equal(find(&rows, row->name), row);
        assert_true(strlen(row->since) >= 3);
        assert_true(row->instead[0] != '\0');
        assert_true(row->got <= 0);
        assert_int_equal(row->unasked != NULL, row->asked == PLX_FEATURE_NOT_ASKED);
    }
}

static void settings_say_what_is_asked_for(void **state)
{
    (void)state;
    rt_need_uring();
    struct rows rows;
    probe(&rows, "sqpoll=on prefault=yes");
    assert_int_equal(find(&rows, "SQPOLL")->asked, PLX_FEATURE_ASKED);
    assert_int_equal(find(&rows, "ATTACH_WQ")->asked, PLX_FEATURE_ASKED);
    assert_int_equal(find(&rows, "FIXED_BUFFERS")->asked, PLX_FEATURE_ASKED);
    assert_int_equal(find(&rows, "NAPI")->asked, PLX_FEATURE_UNUSED);
    probe(&rows, "sqpoll=off prefault=no");
    assert_int_equal(find(&rows, "SQPOLL")->asked, PLX_FEATURE_NOT_ASKED);
    assert_non_null(strstr(find(&rows, "SQPOLL")->unasked, "POLLUX_SQPOLL"));
    assert_non_null(strstr(find(&rows, "FIXED_BUFFERS")->unasked, "POLLUX_PREFAULT"));
    probe(&rows, "backend=epoll");
    for (unsigned i = 0; i < rows.count; i++)
        assert_int_not_equal(rows.row[i].asked, PLX_FEATURE_ASKED);
}

/* What is asked for and there is what a reactor has. */
static void rows_agree_with_a_reactors_capabilities(void **state)
{
    (void)state;
    rt_need_uring();
    struct rows rows;
    const char *words = "sqpoll=off prefault=yes backend=uring";
    probe(&rows, words);
    struct plx_runtime *rt = rt_create(words, NULL);
    struct plx_reactor *reactor = rt_adopt(rt, 0);
    uint32_t caps = plx_reactor_caps(reactor);
    unsigned compared = 0;
    for (unsigned i = 0; i < PLX_CAP_COUNT; i++) {
        const struct plx_feature *row = find(&rows, plx_cap_name(1u << i));
        if (row == NULL || row->asked != PLX_FEATURE_ASKED)
            continue;
        assert_int_equal((caps >> i & 1) != 0, row->got == 0);
        compared++;
    }
    assert_true(compared >= 12);
    rt_abandon(reactor);
    plx_runtime_destroy(rt);
}

static void probing_leaves_nothing_behind(void **state)
{
    (void)state;
    rt_need_uring();
    struct rows rows;
    probe(&rows, NULL);
    struct rt_things before = rt_count_things();
    for (unsigned i = 0; i < 5; i++)
        probe(&rows, NULL);
    rt_expect_things(&before);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(rows_are_whole_and_each_is_there_once),
        cmocka_unit_test(settings_say_what_is_asked_for),
        cmocka_unit_test(rows_agree_with_a_reactors_capabilities),
        cmocka_unit_test(probing_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(cases, NULL, NULL);
}
