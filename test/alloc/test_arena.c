/* SPDX-License-Identifier: MIT */
#include "alloc/arena.h"

#include <stdlib.h>
#include <sys/resource.h>

#include "test/alloc/arena_fixture.h"

/* --- arguments ------------------------------------------------------------------------------- */

static void opts_init_any_memory_gets_the_documented_defaults(void **state)
{
    (void)state;
    memset(&opts, 0xff, sizeof(opts));
    plx_arena_opts_init(&opts);
    assert_int_equal(opts.page_1g, PLX_WANT_NO);
    assert_int_equal(opts.page_2m, PLX_WANT_TRY);
    assert_int_equal(opts.thp, PLX_WANT_TRY);
    assert_int_equal(opts.bind, PLX_WANT_REQUIRE);
    assert_int_equal(opts.lock, PLX_WANT_TRY);
    assert_true(opts.prefault);
}

static void init_size_out_of_range_is_refused(void **state)
{
    (void)state;
    assert_init_fails(0, 0, -EINVAL, "POLLUX_ARENA_SIZE", "not 0 bytes");
    assert_init_fails(PLX_ARENA_BYTES_MAX + 1, 0, -EINVAL, "POLLUX_ARENA_SIZE", "1 TiB");
    assert_init_fails(SIZE_MAX, 0, -EINVAL, "POLLUX_ARENA_SIZE", "1 TiB");
}

static void init_wants_out_of_range_are_refused_by_name(void **state)
{
    (void)state;
    opts.page_1g = (enum plx_want)3;
    assert_init_fails(MIB, 0, -EINVAL, "page_1g", "3 is none of");
    set_up(state);
    opts.thp = (enum plx_want)-1;
    assert_init_fails(MIB, 0, -EINVAL, "thp", "none of");
    set_up(state);
    opts.bind = (enum plx_want)9;
    assert_init_fails(MIB, 0, -EINVAL, "bind", "9 is none of");
    set_up(state);
    opts.lock = (enum plx_want)9;
    assert_init_fails(MIB, 0, -EINVAL, "lock", "9 is none of");
}

static void init_two_required_rungs_are_both_named(void **state)
{
    (void)state;
    opts.page_1g = PLX_WANT_REQUIRE;
    opts.thp = PLX_WANT_REQUIRE;
    assert_init_fails(MIB, 0, -EINVAL, "thp", "both page_1g (POLLUX_HUGEPAGES_1G) and thp");
}

static void init_required_page_larger_than_the_arena_is_refused(void **state)
{
    (void)state;
    opts.page_1g = PLX_WANT_REQUIRE;
    assert_init_fails(512 * MIB, 0, -EINVAL, "page_1g", "the arena of 512 MiB is smaller");
    set_up(state);
    opts.page_2m = PLX_WANT_REQUIRE;
    assert_init_fails(2 * MIB - 1, 0, -EINVAL, "page_2m", "2097151 bytes is smaller");
    set_up(state);
    opts.thp = PLX_WANT_REQUIRE;
    assert_init_fails(MIB, 0, -EINVAL, "thp", "smaller");
}

static void init_thp_required_without_prefault_is_refused(void **state)
{
    (void)state;
    opts.thp = PLX_WANT_REQUIRE;
    opts.prefault = false;
    assert_init_fails(4 * MIB, 0, -EINVAL, "thp", "without prefault");
}

static void init_null_diag_still_returns_the_code(void **state)
{
    (void)state;
    assert_int_equal(plx_arena_init(&arena, 0, 0, NULL, NULL), -EINVAL);
}

/* --- the node -------------------------------------------------------------------------------- */

static void init_node_below_any_is_refused(void **state)
{
    (void)state;
    assert_init_fails(MIB, -2, -EINVAL, "node -2", "from 0 on");
}

static void init_node_without_memory_names_those_that_have(void **state)
{
    (void)state;
    faulty.has_memory = "0-1,3,6-7\n";
    assert_init_fails(MIB, 2, -ENODEV, "node 2", "nodes with memory: 0-1,3,6-7");
    assert_init_fails(MIB, 1 << 20, -ENODEV, "node 1048576", "does not exist or has no memory");
}

static void init_kernel_without_nodes_has_node_0_alone(void **state)
{
    (void)state;
    faulty.has_memory = "";
    assert_init_fails(MIB, 1, -ENODEV, "node 1", "only node 0");
    faulty.bind = -ENOSYS;
    faulty.nodes_of = -ENOSYS;
    assert_int_equal(init(MIB, 0), 0);
    assert_false(arena.bound);
    assert_note("there is only one node");
    assert_note("doesn't say where the pages lie");
    assert_explains("for node 0, pages off it unknown (Function not implemented)");
}

static void init_any_node_is_unbound_and_noted(void **state)
{
    (void)state;
    assert_int_equal(init(MIB, PLX_NODE_ANY), 0);
    assert_int_equal(faulty.binds, 0);
    assert_false(arena.bound);
    assert_note("bound to none");
    assert_int_equal(plx_arena_verify(&arena), 0);
    assert_explains("on any node");
}

static void init_bind_not_wanted_asks_for_nothing(void **state)
{
    (void)state;
    opts.bind = PLX_WANT_NO;
    faulty.answer_nodes = true; /* where nobody asked for a node they may lie on any */
    assert_int_equal(init(MIB, 0), 0);
    assert_int_equal(faulty.binds, 0);
    assert_false(arena.bound);
    assert_int_equal(arena.note_count, 0);
    assert_explains("for node 0, 0 pages off it");
}

static void init_bind_failing_names_the_node_or_is_noted(void **state)
{
    (void)state;
    faulty.bind = -EINVAL;
    assert_init_fails(MIB, 0, -EINVAL, "node 0", "cpuset");
    opts.bind = PLX_WANT_TRY;
    assert_int_equal(init(MIB, 0), 0);
    assert_note("mbind to node 0: Invalid argument");
}

static void init_bind_refused_on_the_only_node_is_noted(void **state)
{
    (void)state;
    faulty.has_memory = "0\n";
    faulty.bind = -EPERM;
    faulty.answer_nodes = true;
    assert_int_equal(init(MIB, 0), 0);
    assert_note("mbind to node 0: Operation not permitted; there is only one node");
}

/* Two nodes; what the machine's kernel can't do for node 1 is pretended. */
static void pretend_two_nodes(void)
{
    faulty.has_memory = "0-1\n";
    faulty.meminfo = "Node 1 MemFree:  1048576 kB\n";
    faulty.bind = FAULTY_PRETEND;
    faulty.answer_nodes = true;
    faulty.node_answer = 1;
}

static void init_bind_refused_but_pages_seen_on_the_node_is_noted(void **state)
{
    (void)state;
    pretend_two_nodes();
    faulty.bind = -EPERM;
    assert_int_equal(init(MIB, 1), 0);
    assert_false(arena.bound);
    assert_note("its pages were seen to lie there");
}

static void init_bind_refused_and_nothing_seen_fails_or_is_noted(void **state)
{
    (void)state;
    pretend_two_nodes();
    faulty.bind = -EPERM;
    faulty.nodes_of = -EPERM;
    assert_init_fails(MIB, 1, -EPERM, "node 1", "nothing shows");

    faulty.nodes_of = 0;
    faulty.node_answer = -ENOENT;
    opts.prefault = false;
    assert_init_fails(MIB, 1, -EPERM, "node 1", "nothing shows");

    opts.bind = PLX_WANT_TRY;
    assert_int_equal(init(MIB, 1), 0);
    assert_note("where its pages lie is not assured");
}

static void init_pages_off_their_node_fail_or_are_noted(void **state)
{
    (void)state;
    pretend_two_nodes();
    faulty.off_pages = 3;
    assert_init_fails(MIB, 1, -EIO, "node 1", "3 of the arena's pages");

    opts.bind = PLX_WANT_TRY;
    faulty.off_pages = 3;
    assert_int_equal(init(MIB, 1), 0);
    assert_int_equal(arena.pages_off_node, 3);
    assert_note("3 pages lie off node 1");
    assert_explains("bound to node 1, 3 pages off it");
}

/* --- base pages ------------------------------------------------------------------------------ */

static void init_4k_pages_are_zeroed_bound_and_on_their_node(void **state)
{
    (void)state;
    size_t bytes = 3 * MIB + 1;
    assert_int_equal(init(bytes, 0), 0);
    assert_int_equal(arena.rung, PLX_RUNG_4K);
    assert_int_equal(arena.page_bytes, 4096);
    assert_int_equal(arena.bytes, 3 * MIB + 4096);
    assert_int_equal((uintptr_t)arena.base % (2 * MIB), 0);
    assert_true(arena.bound || has_note("mbind"));
    assert_true(arena.prefaulted);
    assert_false(arena.locked);
    for (size_t at = 0; at < arena.bytes; at += 4096)
        assert_int_equal(arena.base[at], 0);
    assert_true(plx_arena_verify(&arena) == 0 || has_note("doesn't say where"));
    assert_int_equal(faulty.nohugepages, 1);
    assert_explains("arena: 3076 KiB (asked 3145729 bytes), 769 pages of 4K, ");
    assert_explains("prefaulted, not locked");
}

static void init_small_pages_neighbours_fault(void **state)
{
    (void)state;
    assert_int_equal(init(MIB, 0), 0);
    assert_true(is_readable(arena.base));
    assert_true(is_readable(arena.base + arena.bytes - 1));
    assert_false(is_readable(arena.base - 1));
    assert_false(is_readable(arena.base + arena.bytes));
}

static void init_without_prefault_takes_no_page(void **state)
{
    (void)state;
    opts.prefault = false;
    assert_int_equal(init(MIB, 0), 0);
    assert_false(arena.prefaulted);
    assert_int_equal(arena.note_count, has_note("mbind"));

    void *page = arena.base;
    int node;
    /* A page that was not taken: Linux 6.1 says EFAULT of it, 6.18 ENOENT. */
    if (plx__pages_linux.nodes_of(&page, &node, 1) == 0 && node != -EFAULT)
        assert_int_equal(node, -ENOENT);
    assert_explains("not prefaulted");
}

static void init_more_than_the_node_has_is_refused_before_it_is_taken(void **state)
{
    (void)state;
    pretend_two_nodes();
    faulty.meminfo = "Node 1 MemTotal: 9999999 kB\nNode 1 MemFree: 512 kB\n"
                     "Node 1 Active(file): 64 kB\nNode 1 Inactive(file): 32 kB\n"
                     "Node 1 SReclaimable: 32 kB\n";
    assert_init_fails(MIB, 1, -ENOMEM, "node 1", "has 640 KiB available, the arena needs 1 MiB");
    assert_string_equal(faulty.last_path, "/sys/devices/system/node/node1/meminfo");

    faulty.has_memory = "0\n";
    faulty.meminfo = "MemFree: 1 kB\nMemAvailable: 512 kB\n";
    assert_init_fails(MIB, 0, -ENOMEM, "node 0", "has 512 KiB available");
    assert_string_equal(faulty.last_path, "/proc/meminfo");
    assert_init_fails(MIB, PLX_NODE_ANY, -ENOMEM, "the system", "512 KiB");

    opts.prefault = false;
    faulty.node_answer = 0;
    assert_int_equal(init(MIB, 0), 0);
}

static void init_unreadable_meminfo_is_no_obstacle(void **state)
{
    (void)state;
    faulty.meminfo = "";
    assert_int_equal(init(MIB, 0), 0);
}

static void init_largest_arena_is_weighed_against_memory(void **state)
{
    (void)state;
    faulty.meminfo = "MemAvailable: 1048576 kB\nMemFree: 1048576 kB\n";
    assert_init_fails(PLX_ARENA_BYTES_MAX, 0, -ENOMEM, "node 0", "the arena needs 1024 GiB");
}

static void init_failing_calls_are_named_and_leave_nothing(void **state)
{
    (void)state;
    faulty.map_small = -ENOMEM;
    assert_init_fails(MIB, 0, -ENOMEM, "mmap", "1 MiB");
    set_up(state);
    faulty.open = -ENOMEM;
    assert_init_fails(MIB, 0, -ENOMEM, "mprotect", "1 MiB");
    set_up(state);
    faulty.dontfork = -EINVAL;
    assert_init_fails(MIB, 0, -EINVAL, "madvise", "MADV_DONTFORK");
    set_up(state);
    faulty.populate = -ENOMEM;
    assert_init_fails(MIB, 0, -ENOMEM, "node 0", "could not give 1 MiB");
    set_up(state);
    faulty.populate = -EFAULT;
    assert_init_fails(MIB, PLX_NODE_ANY, -EFAULT, "the system", "could not give 1 MiB");
}

static void init_kernel_without_populate_is_noted(void **state)
{
    (void)state;
    faulty.populate = -EINVAL;
    assert_int_equal(init(MIB, 0), 0);
    assert_false(arena.prefaulted);
    assert_note("MADV_POPULATE_WRITE (Linux 5.14)");
    assert_false(has_note("SIGBUS"));
}

/* --- locking --------------------------------------------------------------------------------- */

static void init_lock_refused_is_noted_and_undone(void **state)
{
    (void)state;
    opts.lock = PLX_WANT_TRY;
    faulty.lock = -ENOMEM;
    faulty.answer_limit = true;
    faulty.limit_answer = 65536;
    assert_int_equal(init(MIB, 0), 0);
    assert_false(arena.locked);
    assert_int_equal(faulty.unlocks, 1);
    assert_note("mlock of 1 MiB: Cannot allocate memory; RLIMIT_MEMLOCK is 64 KiB");
    plx_arena_fini(&arena);

    faulty.limit_answer = INT64_MAX;
    assert_int_equal(init(MIB, 0), 0);
    assert_note("RLIMIT_MEMLOCK is unlimited");
    plx_arena_fini(&arena);
    faulty.limit_answer = -EPERM;
    assert_int_equal(init(MIB, 0), 0);
    assert_note("RLIMIT_MEMLOCK is not readable");
}

static void init_lock_required_and_refused_fails(void **state)
{
    (void)state;
    opts.lock = PLX_WANT_REQUIRE;
    faulty.lock = -EPERM;
    faulty.answer_limit = true;
    assert_init_fails(MIB, 0, -EPERM, "POLLUX_MLOCK", "RLIMIT_MEMLOCK is 0 bytes");
}

static void init_lock_without_prefault_takes_no_page(void **state)
{
    (void)state;
    opts.lock = PLX_WANT_TRY;
    opts.prefault = false;
    faulty.lock = FAULTY_PRETEND;
    assert_int_equal(init(MIB, 0), 0);
    assert_true(arena.locked);
    assert_true(faulty.lock_on_fault);
    assert_explains("not prefaulted, locked");
}

static long locked_kilobytes(void)
{
    char text[8192];

    if (plx__pages_linux.read_file("/proc/self/status", text, sizeof(text)) <= 0)
        return -1;
    const char *line = strstr(text, "VmLck:");
    return line == NULL ? -1 : atol(line + strlen("VmLck:"));
}

static void init_lock_granted_is_seen_by_the_kernel(void **state)
{
    (void)state;
    opts.lock = PLX_WANT_TRY;
    long before = locked_kilobytes();
    assert_int_equal(init(MIB, 0), 0);
    if (!arena.locked) {
        print_message("mlock of 1 MiB is refused here: %s\n", arena.notes[0].text);
        skip();
    }
    assert_int_equal(locked_kilobytes() - before, 1024);
    plx_arena_fini(&arena);
    assert_int_equal(locked_kilobytes(), before);
}

/* The child's part: 0, or the number of what was not as expected. */
static int lock_beyond_the_limit(void)
{
    const struct rlimit limit = {.rlim_cur = 65536, .rlim_max = 65536};

    if (setrlimit(RLIMIT_MEMLOCK, &limit) != 0 || (geteuid() == 0 && setuid(65534) != 0))
        return 1;
    opts.lock = PLX_WANT_REQUIRE;
    if (init(MIB, 0) != -ENOMEM)
        return 2;
    if (strstr(diag.text, "RLIMIT_MEMLOCK is 64 KiB") == NULL || strstr(diag.what, "lock") == NULL)
        return 3;
    if (faulty.mapped != 0)
        return 4;
    opts.lock = PLX_WANT_TRY;
    if (init(MIB, 0) != 0 || arena.locked)
        return 5;
    if (!has_note("RLIMIT_MEMLOCK is 64 KiB") || locked_kilobytes() != 0)
        return 6;
    plx_arena_fini(&arena);
    if (faulty.mapped != 0)
        return 7;
    if (init(16384, 0) != 0 || !arena.locked)
        return 8;
    plx_arena_fini(&arena);
    return 0;
}

static void init_lock_beyond_the_limit_names_it(void **state)
{
    (void)state;
    assert_int_equal(in_child(lock_beyond_the_limit), 0);
}

/* --- the rest of life ------------------------------------------------------------------------ */

static int read_arena(void)
{
    return is_readable(arena.base) || is_readable(arena.base + arena.bytes - 1);
}

static void fork_child_does_not_have_the_memory(void **state)
{
    (void)state;
    assert_int_equal(plx_arena_init(&arena, MIB, 0, &opts, &diag), 0);
    assert_int_equal(read_arena(), 1);
    assert_int_equal(in_child(read_arena), 0);
}

static void init_defaults_end_on_some_rung(void **state)
{
    (void)state;
    assert_int_equal(plx_arena_init(&arena, 4 * MIB, 0, NULL, NULL), 0);
    assert_in_range(arena.rung, PLX_RUNG_2M, PLX_RUNG_4K);
    assert_true(arena.prefaulted);
    assert_true(arena.rung == PLX_RUNG_2M || has_note("2M pages: "));
    memset(arena.base, 1, arena.bytes);
}

static void fini_empty_or_twice_does_nothing(void **state)
{
    (void)state;
    assert_int_equal(init(MIB, 0), 0);
    plx_arena_fini(&arena);
    plx_arena_fini(&arena);
    assert_int_equal(faulty.mapped, 0);
    assert_int_equal(plx_arena_left(&arena), 0);
    assert_null(plx_arena_carve(&arena, 1, 1));
    assert_int_equal(plx_arena_verify(&arena), 0);
    assert_string_equal(explain(), "arena: empty\n");
}

static void carve_parts_are_aligned_and_apart(void **state)
{
    (void)state;
    assert_int_equal(init(MIB, 0), 0);
    unsigned char *first = plx_arena_carve(&arena, 3, 1);
    assert_ptr_equal(first, arena.base);
    unsigned char *second = plx_arena_carve(&arena, 100, 64);
    assert_ptr_equal(second, arena.base + 64);
    unsigned char *third = plx_arena_carve(&arena, 1, PLX_PAGE);
    assert_ptr_equal(third, arena.base + 4096);
    assert_int_equal(plx_arena_left(&arena), MIB - 4097);
    assert_null(plx_arena_carve(&arena, 1, 2 * MIB));
    assert_null(plx_arena_carve(&arena, 1, (size_t)1 << 63));
    assert_int_equal(plx_arena_left(&arena), MIB - 4097);
}

static void carve_more_than_is_left_takes_nothing(void **state)
{
    (void)state;
    assert_int_equal(init(MIB, 0), 0);
    assert_null(plx_arena_carve(&arena, MIB + 1, 1));
    assert_null(plx_arena_carve(&arena, SIZE_MAX, 1));
    assert_int_equal(plx_arena_left(&arena), MIB);
    assert_non_null(plx_arena_carve(&arena, 1, 1));
    assert_null(plx_arena_carve(&arena, SIZE_MAX, 1));
    assert_null(plx_arena_carve(&arena, MIB - 1, 2));
    assert_non_null(plx_arena_carve(&arena, MIB - 1, 1));
    assert_int_equal(plx_arena_left(&arena), 0);
    assert_null(plx_arena_carve(&arena, 1, 1));
}

/* The child's part: what the programmer must not do; aborts. */
static int carve_nothing(void)
{
    return plx_arena_carve(&arena, 0, 1) == NULL;
}

static int carve_with_an_odd_alignment(void)
{
    return plx_arena_carve(&arena, 1, 3) == NULL;
}

static void carve_nothing_or_with_no_power_of_two_asserts(void **state)
{
    (void)state;
    assert_int_equal(init(MIB, 0), 0);
    assert_int_equal(in_child(carve_nothing), -1);
    assert_int_equal(in_child(carve_with_an_odd_alignment), -1);
}

static void verify_pages_that_are_not_there_do_not_count(void **state)
{
    (void)state;
    assert_int_equal(init(MIB, 0), 0);
    faulty.answer_nodes = true;
    faulty.node_answer = -ENOENT;
    assert_int_equal(plx_arena_verify(&arena), 0);
    faulty.node_answer = -EFAULT;
    assert_int_equal(plx_arena_verify(&arena), 0);
    faulty.node_answer = 5;
    assert_int_equal(plx_arena_verify(&arena), 256);
}

static void verify_refusals_are_returned(void **state)
{
    (void)state;
    assert_int_equal(init(MIB, 0), 0);
    faulty.answer_nodes = true;
    faulty.node_answer = -EBUSY;
    assert_int_equal(plx_arena_verify(&arena), -EBUSY);
    faulty.nodes_of = -EPERM;
    assert_int_equal(plx_arena_verify(&arena), -EPERM);
}

static void verify_more_than_one_batch_counts_all(void **state)
{
    (void)state;
    assert_int_equal(init(4 * MIB + 4096, 0), 0);
    faulty.answer_nodes = true;
    faulty.node_answer = 1;
    assert_int_equal(plx_arena_verify(&arena), 1025);
}

static void rung_name_no_rung_is_a_question_mark(void **state)
{
    (void)state;
    assert_string_equal(plx_rung_name(PLX_RUNG_1G), "1G");
    assert_string_equal(plx_rung_name(PLX_RUNG_4K), "4K");
    assert_string_equal(plx_rung_name((enum plx_rung)4), "?");
    assert_string_equal(plx_rung_name((enum plx_rung)-1), "?");
}
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(opts_init_any_memory_gets_the_documented_defaults),
        CASE(init_size_out_of_range_is_refused),
        CASE(init_wants_out_of_range_are_refused_by_name),
        CASE(init_two_required_rungs_are_both_named),
        CASE(init_required_page_larger_than_the_arena_is_refused),
        CASE(init_thp_required_without_prefault_is_refused),
        CASE(init_null_diag_still_returns_the_code),
        CASE(init_node_below_any_is_refused),
        CASE(init_node_without_memory_names_those_that_have),
        CASE(init_kernel_without_nodes_has_node_0_alone),
        CASE(init_any_node_is_unbound_and_noted),
        CASE(init_bind_not_wanted_asks_for_nothing),
        CASE(init_bind_failing_names_the_node_or_is_noted),
        CASE(init_bind_refused_on_the_only_node_is_noted),
        CASE(init_bind_refused_but_pages_seen_on_the_node_is_noted),
        CASE(init_bind_refused_and_nothing_seen_fails_or_is_noted),
        CASE(init_pages_off_their_node_fail_or_are_noted),
        CASE(init_4k_pages_are_zeroed_bound_and_on_their_node),
        CASE(init_small_pages_neighbours_fault),
        CASE(init_without_prefault_takes_no_page),
        CASE(init_more_than_the_node_has_is_refused_before_it_is_taken),
        CASE(init_unreadable_meminfo_is_no_obstacle),
        CASE(init_largest_arena_is_weighed_against_memory),
        CASE(init_failing_calls_are_named_and_leave_nothing),
        CASE(init_kernel_without_populate_is_noted),
        CASE(init_lock_refused_is_noted_and_undone),
        CASE(init_lock_required_and_refused_fails),
        CASE(init_lock_without_prefault_takes_no_page),
        CASE(init_lock_granted_is_seen_by_the_kernel),
        CASE(init_lock_beyond_the_limit_names_it),
        CASE(fork_child_does_not_have_the_memory),
        CASE(init_defaults_end_on_some_rung),
        CASE(fini_empty_or_twice_does_nothing),
        CASE(carve_parts_are_aligned_and_apart),
        CASE(carve_more_than_is_left_takes_nothing),
        CASE(carve_nothing_or_with_no_power_of_two_asserts),
        CASE(verify_pages_that_are_not_there_do_not_count),
        CASE(verify_refusals_are_returned),
        CASE(verify_more_than_one_batch_counts_all),
        CASE(rung_name_no_rung_is_a_question_mark),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
