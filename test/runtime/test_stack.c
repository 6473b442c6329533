/* SPDX-License-Identifier: MIT */
/* Stacks of reactors' threads: where they lie, what surrounds them, and what refuses them. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "alloc/pages_internal.h"
#include "runtime/runtime_internal.h"
#include "test/deny.h"
#include "test/runtime/place/host_fixture.h"

/* The kernel knows no such node, on any machine. */
#define NODE_ABSENT 1023

static struct plx__stack stack;
static struct plx_diag diag;
static char note[96];

static int make(int node, enum plx_want bind)
{
    return plx__stack_init(&stack, node, bind, note, sizeof(note), &diag);
}

static int tear_down(void **state)
{
    (void)state;
    plx__stack_fini(&stack);
    memset(&diag, 0, sizeof(diag));
    return 0;
}

/* Whether the byte can be read; the kernel looks, so that nothing dies. */
static bool is_readable(const void *address)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    bool readable = write(ends[1], address, 1) == 1;
    close(ends[0]);
    close(ends[1]);
    return readable;
}

static bool is_none(void)
{
    static const struct plx__stack none;
    return memcmp(&stack, &none, sizeof(none)) == 0;
}

static void stack_on_a_node_has_the_usual_size_between_closed_pages(void **state)
{
    (void)state;
    pthread_attr_t usual;
    size_t bytes = 0;
    assert_int_equal(pthread_attr_init(&usual), 0);
    assert_int_equal(pthread_attr_getstacksize(&usual, &bytes), 0);
    pthread_attr_destroy(&usual);

    assert_int_equal(make(0, PLX_WANT_REQUIRE), 0);
    assert_int_equal(stack.bytes, plx_round_up(bytes, PLX_PAGE));
    unsigned char *base = stack.base;
    base[0] = 1;
    base[stack.bytes - 1] = 1;
    assert_false(is_readable(base - 1));
    assert_false(is_readable(base + stack.bytes));
    plx__stack_fini(&stack);
    assert_true(is_none());
    assert_false(is_readable(base));
}

static void stack_on_a_node_has_its_upper_end_taken_there(void **state)
{
    (void)state;
    int rc = make(0, PLX_WANT_REQUIRE);
    assert_int_equal(rc, 0);
    unsigned char *base = stack.base;
    void *pages[] = {base + stack.bytes - PLX_PAGE, base};
    int nodes[2];
    rc = plx__pages_linux.nodes_of(pages, nodes, 2);
    if (rc != 0 || note[0] != '\0') {
        print_message("%s: %s\n", rc != 0 ? "move_pages" : note, rc != 0 ? strerror(-rc) : "");
        skip();
    }
    assert_int_equal(nodes[0], 0);
    assert_true(nodes[1] < 0);
}

static void stack_on_an_absent_node_fails_when_pinning_is_required(void **state)
{
    (void)state;
    assert_int_equal(make(NODE_ABSENT, PLX_WANT_REQUIRE), -EINVAL);
    assert_int_equal(diag.code, -EINVAL);
    assert_string_equal(diag.what, "node 1023");
    assert_non_null(strstr(diag.text, "mbind: Invalid argument"));
    assert_true(is_none());
}

static void stack_on_an_absent_node_is_noted_when_pinning_is_tried(void **state)
{
    (void)state;
    assert_int_equal(make(NODE_ABSENT, PLX_WANT_TRY), 0);
    assert_string_equal(note, "stack on node 1023: mbind: Invalid argument");
    assert_non_null(stack.base);
}

static void stack_without_pinning_asks_for_no_node(void **state)
{
    (void)state;
    assert_int_equal(make(NODE_ABSENT, PLX_WANT_NO), 0);
    assert_string_equal(note, "");
    assert_non_null(stack.base);
}

static int make_without_mbind(void)
{
    if (deny_call(SYS_mbind, EPERM) != 0)
        return 77;
    int rc = make(0, PLX_WANT_REQUIRE);
    return rc == 0 && strstr(note, "mbind: Operation not permitted") != NULL ? 0 : 1;
}

static void stack_where_binding_is_refused_is_noted(void **state)
{
    (void)state;
    int rc = host_in_child(make_without_mbind);
    if (rc == 77) {
        print_message("this kernel has no seccomp filters\n");
        skip();
    }
    assert_int_equal(rc, 0);
}

/* With no more room of the kind that `resource` bounds: 0 if the refusal says so by `call`. */
static int make_within(int resource, const char *call)
{
    const struct rlimit none = {4096, 4096};
    if (setrlimit((__rlimit_resource_t)resource, &none) != 0)
        return 2;
    if (make(0, PLX_WANT_TRY) != -ENOMEM || diag.code != -ENOMEM)
        return 1;
    return is_none() && strstr(diag.text, call) != NULL ? 0 : 3;
}

static int make_without_addresses(void)
{
    return make_within(RLIMIT_AS, "mmap");
}

static int make_without_memory(void)
{
    return make_within(RLIMIT_DATA, "mprotect");
}

static void stack_beyond_the_limits_of_the_process_is_refused(void **state)
{
    (void)state;
    assert_int_equal(host_in_child(make_without_addresses), 0);
    assert_int_equal(host_in_child(make_without_memory), 0);
}

#define CASE(name) cmocka_unit_test_teardown(name, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(stack_on_a_node_has_the_usual_size_between_closed_pages),
        CASE(stack_on_a_node_has_its_upper_end_taken_there),
        CASE(stack_on_an_absent_node_fails_when_pinning_is_required),
        CASE(stack_on_an_absent_node_is_noted_when_pinning_is_tried),
        CASE(stack_without_pinning_asks_for_no_node),
        CASE(stack_where_binding_is_refused_is_noted),
        CASE(stack_beyond_the_limits_of_the_process_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
