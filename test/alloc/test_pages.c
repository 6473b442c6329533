/* SPDX-License-Identifier: MIT */
#include "alloc/pages_internal.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "test/alloc/faulty_pages.h"

static void list_has_ranges_and_singles_are_found(void **state)
{
    (void)state;
    assert_true(plx__pages_list_has("0", 0));
    assert_true(plx__pages_list_has("0-1,3,6-7", 1));
    assert_true(plx__pages_list_has("0-1,3,6-7", 3));
    assert_true(plx__pages_list_has("0-1,3,6-7", 7));
    assert_false(plx__pages_list_has("0-1,3,6-7", 2));
    assert_false(plx__pages_list_has("0-1,3,6-7", 8));
    assert_false(plx__pages_list_has("", 0));
    assert_false(plx__pages_list_has("none", 0));
}

static void list_count_numbers_are_summed(void **state)
{
    (void)state;
    assert_int_equal(plx__pages_list_count(""), 0);
    assert_int_equal(plx__pages_list_count("0"), 1);
    assert_int_equal(plx__pages_list_count("0-1,3,6-9"), 7);
}

static void memory_nodes_file_is_a_list_without_line_end(void **state)
{
    (void)state;
    char list[32];
    faulty_pages_reset();
    faulty.has_memory = "0-1\n";
    assert_int_equal(plx__pages_memory_nodes(&faulty_pages_calls, list, sizeof(list)), 0);
    assert_string_equal(list, "0-1");
    faulty.has_memory = "";
    assert_int_equal(plx__pages_memory_nodes(&faulty_pages_calls, list, sizeof(list)), -ENOENT);
}

static void read_file_missing_cut_or_a_folder_is_told(void **state)
{
    (void)state;
    char text[5];
    assert_int_equal(plx__pages_linux.read_file("/proc/self/no", text, sizeof(text)), -ENOENT);
    assert_string_equal(text, "");
    assert_int_equal(plx__pages_linux.read_file("/proc/self", text, sizeof(text)), -EISDIR);
    assert_int_equal(plx__pages_linux.read_file("/proc/meminfo", text, sizeof(text)), 4);
    assert_int_equal(strlen(text), 4);
}

static void hugetlb_free_size_that_no_kernel_has_is_enoent(void **state)
{
    (void)state;
    assert_int_equal(plx__pages_hugetlb_free(&plx__pages_linux, PLX_NODE_ANY, 4096), -ENOENT);
}

static void available_machine_has_some_and_a_missing_node_none(void **state)
{
    (void)state;
    assert_true(plx__pages_available(&plx__pages_linux, PLX_NODE_ANY) > 0);
    assert_int_equal(plx__pages_available(&plx__pages_linux, 1023), -ENOENT);
}

static void bind_node_beyond_the_mask_is_refused(void **state)
{
    (void)state;
    assert_int_equal(plx__pages_linux.bind(NULL, PLX_PAGE, PLX__NODES_MAX), -EINVAL);
    assert_int_equal(plx__pages_linux.bind(NULL, PLX_PAGE, -1), -EINVAL);
}

static void calls_on_wrong_addresses_return_negative_errno(void **state)
{
    (void)state;
    void *odd = (void *)(uintptr_t)1;
    void *base = odd;
    assert_int_equal(plx__pages_linux.map(SIZE_MAX - PLX_PAGE, PLX_PAGE, &base), -ENOMEM);
    assert_null(base);
    assert_int_equal(plx__pages_linux.open(odd, PLX_PAGE), -EINVAL);
    assert_int_equal(plx__pages_linux.unmap(odd, PLX_PAGE), -EINVAL);
    assert_int_equal(plx__pages_linux.advise(odd, PLX_PAGE, MADV_DONTFORK), -EINVAL);
    assert_true(plx__pages_linux.bind(odd, PLX_PAGE, 0) < 0);
    assert_int_equal(plx__pages_linux.map(PLX_PAGE, PLX_PAGE, &base), 0);
    assert_int_equal(plx__pages_linux.unmap(base, PLX_PAGE), 0);
    assert_true(plx__pages_linux.lock(base, PLX_PAGE, false) < 0);
    /* AddressSanitizer's munlock does nothing and succeeds, so what it returns is not looked at. */
    (void)plx__pages_linux.unlock(base, PLX_PAGE);
    assert_true(plx__pages_linux.nodes_of(NULL, NULL, 1) < 0);
}

static void memlock_limit_is_that_of_getrlimit(void **state)
{
    (void)state;
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_MEMLOCK, &limit), 0);
    int64_t expected = limit.rlim_cur == RLIM_INFINITY ? INT64_MAX : (int64_t)limit.rlim_cur;
    assert_int_equal(plx__pages_linux.memlock_limit(), expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(list_has_ranges_and_singles_are_found),
        cmocka_unit_test(list_count_numbers_are_summed),
        cmocka_unit_test(memory_nodes_file_is_a_list_without_line_end),
        cmocka_unit_test(read_file_missing_cut_or_a_folder_is_told),
        cmocka_unit_test(hugetlb_free_size_that_no_kernel_has_is_enoent),
        cmocka_unit_test(available_machine_has_some_and_a_missing_node_none),
        cmocka_unit_test(bind_node_beyond_the_mask_is_refused),
        cmocka_unit_test(calls_on_wrong_addresses_return_negative_errno),
        cmocka_unit_test(memlock_limit_is_that_of_getrlimit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
