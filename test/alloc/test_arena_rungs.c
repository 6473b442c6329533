/* SPDX-License-Identifier: MIT */
#include "alloc/arena.h"

#include <stdlib.h>

#include "test/alloc/arena_fixture.h"

/* --- hugetlb --------------------------------------------------------------------------------- */

/* A pool of hugepages that serves from base pages, as far as the test can see. */
static void pretend_hugetlb(void)
{
    faulty.map_hugetlb = FAULTY_PRETEND;
    faulty.populate = FAULTY_PRETEND;
    faulty.bind = FAULTY_PRETEND;
    faulty.answer_nodes = true;
    faulty.node_answer = 0;
}

static void init_1g_pages_round_the_arena_up(void **state)
{
    (void)state;
    pretend_hugetlb();
    opts.page_1g = PLX_WANT_REQUIRE;
    opts.page_2m = PLX_WANT_TRY;
    assert_int_equal(init(1024 * MIB + 1, 0), 0);
    assert_int_equal(arena.rung, PLX_RUNG_1G);
    assert_int_equal(arena.bytes, 2048 * MIB);
    assert_true(arena.locked);
    assert_int_equal(arena.note_count, 0);
    assert_explains("arena: 2 GiB (asked 1073741825 bytes), 2 pages of 1G, bound to node 0, 0 "
                    "pages off it, prefaulted, locked\n");
    faulty.off_pages = 1;
    assert_int_equal(plx_arena_verify(&arena), 1);
}

static void init_rungs_larger_than_the_arena_are_skipped_and_noted(void **state)
{
    (void)state;
    opts.page_1g = opts.page_2m = opts.thp = PLX_WANT_TRY;
    assert_int_equal(init(MIB, 0), 0);
    assert_int_equal(arena.rung, PLX_RUNG_4K);
    assert_note("1G pages: skipped, the arena of 1 MiB is smaller than one");
    assert_note("2M pages: skipped");
    assert_note("thp pages: skipped");
    assert_explains("arena: degraded: 1G pages: skipped");
}

static void init_larger_rung_beside_a_required_one_is_noted(void **state)
{
    (void)state;
    pretend_hugetlb();
    opts.page_1g = PLX_WANT_TRY;
    opts.page_2m = PLX_WANT_REQUIRE;
    opts.thp = PLX_WANT_TRY;
    assert_int_equal(init(4 * MIB, 0), 0);
    assert_int_equal(arena.rung, PLX_RUNG_2M);
    assert_int_equal(arena.note_count, 1);
    assert_note("1G pages: not tried, as 2M pages are required");
}

static void init_2m_pool_too_small_states_free_and_needed(void **state)
{
    (void)state;
    faulty.map_hugetlb = -ENOMEM;
    faulty.hugetlb_free = "3\n";
    opts.page_2m = PLX_WANT_REQUIRE;
    assert_init_fails(16 * MIB, 0, -ENOMEM, "POLLUX_HUGEPAGES_2M", "node 0 has 3 free of the 8");
    assert_string_equal(faulty.last_path, "/sys/devices/system/node/node0/hugepages/"
                                          "hugepages-2048kB/free_hugepages");
    assert_init_fails(16 * MIB, PLX_NODE_ANY, -ENOMEM, "page_2m", "the system has 3 free");
    assert_string_equal(faulty.last_path,
                        "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");

    opts.page_2m = PLX_WANT_TRY;
    assert_int_equal(init(16 * MIB, 0), 0);
    assert_int_equal(arena.rung, PLX_RUNG_4K);
    assert_note("2M pages: node 0 has 3 free of the 8 needed");
}

static void init_2m_pool_large_enough_and_refused_says_so(void **state)
{
    (void)state;
    faulty.map_hugetlb = -ENOMEM;
    faulty.hugetlb_free = "99\n";
    opts.page_2m = PLX_WANT_REQUIRE;
    assert_init_fails(16 * MIB, 0, -ENOMEM, "page_2m", "99 free, 8 are needed, and still");
}

static void init_page_size_unknown_to_the_machine_says_so(void **state)
{
    (void)state;
    faulty.map_hugetlb = -EINVAL;
    faulty.hugetlb_free = "";
    opts.page_1g = PLX_WANT_REQUIRE;
    assert_init_fails(1024 * MIB, 0, -ENOMEM, "page_1g", "kernel or processor has none");
}

static void init_2m_node_dry_while_populating_goes_to_the_next_rung(void **state)
{
    (void)state;
    pretend_hugetlb();
    faulty.populate = -EFAULT;
    faulty.hugetlb_free = "1\n";
    opts.page_2m = PLX_WANT_REQUIRE;
    assert_init_fails(4 * MIB, 0, -ENOMEM, "page_2m", "node 0 has 1 free of the 2 needed");

    opts.page_2m = PLX_WANT_TRY;
    faulty.populate_once = true;
    assert_int_equal(init(4 * MIB, 0), 0);
    assert_int_equal(arena.rung, PLX_RUNG_4K);
    assert_true(arena.prefaulted);
    assert_int_equal(faulty.mapped, 1);
    assert_note("2M pages: node 0 has 1 free of the 2 needed");
}

static void init_2m_populate_failing_otherwise_is_named(void **state)
{
    (void)state;
    pretend_hugetlb();
    faulty.populate = -EHWPOISON;
    opts.page_2m = PLX_WANT_REQUIRE;
    assert_init_fails(4 * MIB, 0, -EHWPOISON, "page_2m", "MADV_POPULATE_WRITE");
}

static void init_2m_failing_and_then_4k_failing_leaves_nothing(void **state)
{
    (void)state;
    pretend_hugetlb();
    faulty.populate = -EFAULT;
    opts.page_2m = PLX_WANT_TRY;
    assert_init_fails(4 * MIB, 0, -EFAULT, "node 0", "could not give 4 MiB");
}

static void init_2m_without_prefault_needs_the_pool_and_warns(void **state)
{
    (void)state;
    pretend_hugetlb();
    opts.prefault = false;
    opts.page_2m = PLX_WANT_REQUIRE;
    faulty.hugetlb_free = "1\n";
    assert_init_fails(4 * MIB, 0, -ENOMEM, "page_2m", "1 free of the 2");
    faulty.hugetlb_free = "2\n";
    assert_int_equal(init(4 * MIB, 0), 0);
    assert_false(arena.prefaulted);
    assert_note("SIGBUS");
}

static void init_2m_without_populate_needs_the_pool_and_warns(void **state)
{
    (void)state;
    pretend_hugetlb();
    faulty.populate = -EINVAL;
    faulty.hugetlb_free = "2\n";
    opts.page_2m = PLX_WANT_REQUIRE;
    assert_int_equal(init(4 * MIB, 0), 0);
    assert_note("MADV_POPULATE_WRITE (Linux 5.14)");
    assert_note("SIGBUS");
}

/* Of node 0 alone: what the whole system is told to reserve is spread over its nodes. */
static const char nr_hugepages[] =
    "/sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages";

static long read_nr_hugepages(void)
{
    char text[32];

    return plx__pages_linux.read_file(nr_hugepages, text, sizeof(text)) > 0 ? atol(text) : -1;
}

static bool write_nr_hugepages(long count)
{
    FILE *file = fopen(nr_hugepages, "we");

    if (file == NULL)
        return false;
    bool written = fprintf(file, "%ld\n", count) > 0;
    return fclose(file) == 0 && written;
}

/* Adds `count` free hugepages to node 0's pool, or skips the case. */
static long raise_hugepages(long count)
{
    long before = read_nr_hugepages();
    int64_t had = plx__pages_hugetlb_free(&plx__pages_linux, 0, PLX__BYTES_2M);

    if (before < 0 || had < 0) {
        print_message("this kernel shows no hugepages of 2M\n");
        skip();
    }
    if (!write_nr_hugepages(before + count)) {
        print_message("%s can't be written: %s\n", nr_hugepages, strerror(errno));
        skip();
    }
    if (plx__pages_hugetlb_free(&plx__pages_linux, 0, PLX__BYTES_2M) < had + count) {
        (void)write_nr_hugepages(before);
        print_message("node 0 had no memory left to reserve %ld hugepages from\n", count);
        skip();
    }
    return before;
}

static void init_2m_real_pages_are_on_their_node(void **state)
{
    (void)state;
    long before = raise_hugepages(4);
    opts.page_2m = PLX_WANT_REQUIRE;
    opts.lock = PLX_WANT_REQUIRE;
    int result = init(7 * MIB, 0);
    int64_t off = result == 0 ? plx_arena_verify(&arena) : -1;
    int64_t off_elsewhere = -1;
    if (result == 0) {
        arena.base[arena.bytes - 1] = 1;
        arena.node = 1;
        off_elsewhere = plx_arena_verify(&arena);
        arena.node = 0;
    }
    struct plx_arena seen = arena;
    plx_arena_fini(&arena);
    bool restored = write_nr_hugepages(before);

    assert_true(restored);
    assert_int_equal(result, 0);
    assert_int_equal(seen.rung, PLX_RUNG_2M);
    assert_int_equal(seen.bytes, 8 * MIB);
    assert_int_equal((uintptr_t)seen.base % (2 * MIB), 0);
    assert_true(seen.locked && seen.prefaulted);
    assert_int_equal(seen.note_count, !seen.bound);
    assert_int_equal(off, 0);
    assert_int_equal(off_elsewhere, 4);
}

/* --- transparent hugepages ------------------------------------------------------------------- */

static void init_thp_real_pages_are_seen(void **state)
{
    (void)state;
    char mode[64];
    int64_t length = plx__pages_linux.read_file("/sys/kernel/mm/transparent_hugepage/enabled", mode,
                                                sizeof(mode));
    if (length <= 0 || strstr(mode, "[never]") != NULL) {
        print_message("this kernel gives no transparent hugepages\n");
        skip();
    }
    opts.thp = PLX_WANT_TRY;
    assert_int_equal(init(5 * MIB, 0), 0);
    if (arena.rung != PLX_RUNG_THP) {
        assert_note("thp pages: the kernel gave them for 0 bytes of 6 MiB");
        print_message("no 2M of memory in one piece: %s\n", arena.notes[0].text);
        skip();
    }
    assert_int_equal(arena.bytes, 6 * MIB);
    assert_int_equal(arena.page_bytes, 2 * MIB);
    assert_true(arena.thp_bytes > 0 && arena.thp_bytes <= arena.bytes);
    assert_true(arena.thp_bytes == arena.bytes || has_note("thp pages: the kernel gave them for"));
    assert_int_equal(plx_arena_verify(&arena), 0);
    assert_explains("transparent 2M pages (");
}

static void init_thp_beside_another_counts_its_own(void **state)
{
    (void)state;
    struct plx_arena other;
    opts.thp = PLX_WANT_TRY;
    assert_int_equal(init(4 * MIB, 0), 0);
    int result = plx__arena_init_with(&other, 4 * MIB, 0, &opts, &diag, &faulty_pages_calls);
    size_t seen = other.thp_bytes;
    plx_arena_fini(&other);
    assert_int_equal(result, 0);
    assert_true(seen <= 4 * MIB);
}

static void init_thp_share_is_noted_or_refused(void **state)
{
    (void)state;
    faulty.answer_thp = true;
    faulty.thp_enabled = "always [madvise] never\n";
    faulty.hugepage = FAULTY_PRETEND;
    faulty.thp_answer = 2 * (int64_t)MIB;
    opts.thp = PLX_WANT_TRY;
    assert_int_equal(init(6 * MIB, 0), 0);
    assert_int_equal(arena.rung, PLX_RUNG_THP);
    assert_note("the kernel gave them for 2 MiB of 6 MiB");
    assert_explains("transparent 2M pages (2 MiB seen in them)");
    plx_arena_fini(&arena);

    opts.thp = PLX_WANT_REQUIRE;
    assert_init_fails(6 * MIB, 0, -ENOMEM, "POLLUX_THP", "thp pages are required: the kernel gave");
    faulty.thp_answer = 6 * (int64_t)MIB;
    assert_int_equal(init(6 * MIB, 0), 0);
    assert_int_equal(arena.note_count, 0);
}

static void init_thp_none_given_ends_with_4k(void **state)
{
    (void)state;
    faulty.answer_thp = true;
    faulty.thp_enabled = "always [madvise] never\n";
    faulty.hugepage = FAULTY_PRETEND;
    opts.thp = PLX_WANT_TRY;
    assert_int_equal(init(6 * MIB, 0), 0);
    assert_int_equal(arena.rung, PLX_RUNG_4K);
    assert_int_equal(arena.thp_bytes, 0);
    assert_note("thp pages: the kernel gave them for 0 bytes of 6 MiB");
    assert_int_equal(faulty.mapped, 1);
    assert_int_equal(faulty.nohugepages, 0);
}

static void init_thp_switched_off_or_unknown_ends_with_4k(void **state)
{
    (void)state;
    opts.thp = PLX_WANT_TRY;
    faulty.thp_enabled = "always madvise [never]\n";
    assert_int_equal(init(6 * MIB, 0), 0);
    assert_int_equal(arena.rung, PLX_RUNG_4K);
    assert_note("transparent_hugepage/enabled says never");
    plx_arena_fini(&arena);

    faulty.thp_enabled = "";
    faulty.hugepage = -EINVAL;
    assert_int_equal(init(6 * MIB, 0), 0);
    assert_int_equal(arena.rung, PLX_RUNG_4K);
    assert_note("MADV_HUGEPAGE: Invalid argument");
    plx_arena_fini(&arena);

    opts.thp = PLX_WANT_REQUIRE;
    assert_init_fails(6 * MIB, 0, -ENOMEM, "thp", "MADV_HUGEPAGE");
}

static void init_thp_that_nothing_shows_is_noted_or_refused(void **state)
{
    (void)state;
    faulty.thp_enabled = "always [madvise] never\n";
    faulty.hugepage = FAULTY_PRETEND;
    faulty.answer_thp = true;
    faulty.thp_answer = -EACCES;
    opts.thp = PLX_WANT_TRY;
    assert_int_equal(init(4 * MIB, 0), 0);
    assert_int_equal(arena.rung, PLX_RUNG_THP);
    assert_note("smaps can't be read to see them: Permission denied");
    plx_arena_fini(&arena);
    opts.thp = PLX_WANT_REQUIRE;
    assert_init_fails(4 * MIB, 0, -EACCES, "thp", "smaps can't be read");

    faulty.populate = -EINVAL;
    assert_init_fails(4 * MIB, 0, -EINVAL, "thp", "can't prefault");
    opts.thp = PLX_WANT_TRY;
    assert_int_equal(init(4 * MIB, 0), 0);
    assert_note("nothing shows them until the arena is touched");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(init_1g_pages_round_the_arena_up),
        CASE(init_rungs_larger_than_the_arena_are_skipped_and_noted),
        CASE(init_larger_rung_beside_a_required_one_is_noted),
        CASE(init_2m_pool_too_small_states_free_and_needed),
        CASE(init_2m_pool_large_enough_and_refused_says_so),
        CASE(init_page_size_unknown_to_the_machine_says_so),
        CASE(init_2m_node_dry_while_populating_goes_to_the_next_rung),
        CASE(init_2m_populate_failing_otherwise_is_named),
        CASE(init_2m_failing_and_then_4k_failing_leaves_nothing),
        CASE(init_2m_without_prefault_needs_the_pool_and_warns),
        CASE(init_2m_without_populate_needs_the_pool_and_warns),
        CASE(init_2m_real_pages_are_on_their_node),
        CASE(init_thp_real_pages_are_seen),
        CASE(init_thp_beside_another_counts_its_own),
        CASE(init_thp_share_is_noted_or_refused),
        CASE(init_thp_none_given_ends_with_4k),
        CASE(init_thp_switched_off_or_unknown_ends_with_4k),
        CASE(init_thp_that_nothing_shows_is_noted_or_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
