/* SPDX-License-Identifier: MIT */
/*
 * On a machine of several nodes: the threads of a started runtime run where the plan says, and what
 * they work with lies on the node that the plan names; a full node fails as the settings say.
 */
#include "runtime/runtime.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtime/io/uring_internal.h"
#include "runtime/reactor_internal.h"
#include "test/guest/nodes.h"

#define STOP_NS         20000000000u
#define PATIENCE_S      30
#define RECEIVE_BUFFERS 64u
#define RECEIVE_BYTES   PLX_PAGE

/* What a reactor's thread saw of itself. */
struct seen {
    pid_t thread;
    int cpu;
    const void *frame; /* in its stack */
    const void *local; /* its thread-local memory */
    uint16_t group;
    int group_code;
    int post_code;
};

static struct plx_machine *machine;
static struct plx_settings settings;
static struct plx_diag diag;
static struct plx_runtime *runtime;
static struct seen seen[PLX_PLAN_REACTORS_MAX];
static PLX_ATOMIC(uint32_t) strayed;
static sem_t arrivals;

/* --- a runtime with a reactor on every core --------------------------------------------------- */

static void note_arrival(struct plx_reactor *here, const void *body)
{
    (void)body;
    if (sched_getcpu() != plx_reactor_cpu(here))
        (void)plx_fetch_add_relaxed(&strayed, 1);
    sem_post(&arrivals);
}

static int look(struct plx_reactor *reactor, void *ctx)
{
    (void)ctx;
    uint32_t index = plx_reactor_index(reactor);
    struct seen *mine = &seen[index];
    mine->thread = gettid();
    mine->cpu = sched_getcpu();
    mine->frame = __builtin_frame_address(0);
    mine->local = &errno;
    mine->group_code = plx_group_create(reactor, RECEIVE_BUFFERS, RECEIVE_BYTES, &mine->group);
    mine->post_code = 0;
    for (uint32_t to = 0; to < plx_runtime_count(plx_reactor_runtime(reactor)); to++) {
        int rc = plx_mesh_post(reactor, to, note_arrival, &index, sizeof(index));
        mine->post_code = rc != 0 ? rc : mine->post_code;
    }
    return 0;
}

static int set_up(void **state)
{
    (void)state;
    memset(&diag, 0, sizeof(diag));
    memset(seen, 0, sizeof(seen));
    plx_settings_init(&settings);
    nodes_set(&settings, "idle", "yield");
    nodes_set(&settings, "sqpoll", "off");
    nodes_set(&settings, "arena_size", "4M");
    nodes_set(&settings, "thp", "no");
    return sem_init(&arrivals, 0, 0);
}

static int tear_down(void **state)
{
    (void)state;
    int rc = runtime != NULL ? plx_runtime_stop(runtime, STOP_NS, &diag) : 0;
    plx_runtime_destroy(runtime);
    runtime = NULL;
    node_refill();
    sem_destroy(&arrivals);
    (void)run_on_node(machine, -1);
    if (rc != 0)
        print_message("%s\n", diag.text);
    return rc;
}

static void create(void)
{
    struct plx_runtime_opts opts;
    plx_runtime_opts_init(&opts);
    opts.on_start = look;
    if (plx_runtime_create(&settings, &opts, &runtime, &diag) != 0)
        fail_msg("%s: %s", diag.what, diag.text);
}

static void start(void)
{
    create();
    if (plx_runtime_start(runtime, &diag) != 0)
        fail_msg("%s: %s", diag.what, diag.text);
}

static const struct plx_plan_reactor *planned(uint32_t index)
{
    return &plx_runtime_plan(runtime)->reactors[index];
}

/* --- what lies where -------------------------------------------------------------------------- */

/* The nodes of a range's pages, as a person reads them: "2", "0+1", "not told". */
static const char *nodes_text(const void *base, size_t bytes, char *text, size_t capacity)
{
    uint64_t nodes = 0;
    uintptr_t first = (uintptr_t)base & ~(uintptr_t)(PLX_PAGE - 1);
    size_t length = 0;
    text[0] = '\0';
    for (uintptr_t at = first; at < (uintptr_t)base + bytes; at += PLX_PAGE) {
        int node = page_node((const void *)at);
        if (node >= 0 && node < 64)
            nodes |= (uint64_t)1 << node;
    }
    for (int node = 0; node < 64 && length < capacity; node++) {
        if ((nodes >> node & 1) != 0)
            length += (size_t)snprintf(text + length, capacity - length, "%s%d",
                                       length > 0 ? "+" : "", node);
    }
    return nodes != 0 ? text : "not told";
}

struct thing {
    const char *name;
    const void *base;
    size_t bytes;
};

#define THINGS_MAX 16

/* What reactor `index` works with, all of which is to lie on its planned node. */
static size_t list_things(uint32_t index, struct thing *things)
{
    const struct plx_reactor *r = plx_runtime_reactor(runtime, index);
    const struct plx__group *group = &r->io->groups[seen[index].group];
    uint32_t slots = plx_runtime_settings(runtime)->mesh_slots;
    uint32_t count = plx_runtime_count(runtime);
    const struct uring *u = PLX_CONTAINER(r->io, struct uring, io);
    size_t used = 0;
    things[used++] = (struct thing){"reactor", r, sizeof(*r)};
    things[used++] = (struct thing){"ring object", u, sizeof(*u)};
    things[used++] = (struct thing){"mesh tables", r->mesh.in, count * sizeof(void *)};
    things[used++] = (struct thing){"mesh ring in", r->mesh.in[0], plx_cells_bytes(slots)};
    things[used++] =
        (struct thing){"last mesh ring", r->mesh.in[count - 1], plx_cells_bytes(slots)};
    things[used++] = (struct thing){"receive buffer", group->blocks[0], group->bytes};
    if (group->ring != NULL)
        things[used++] = (struct thing){"buffer ring", group->ring, 16 * (size_t)group->count};
    things[used++] = (struct thing){"arena", r->arena->base, r->arena->bytes};
    things[used++] = (struct thing){"stack", seen[index].frame, 1};
    things[used++] = (struct thing){"thread-local", seen[index].local, 1};
    /* The kernel's own memory, as it is mapped here; not every kernel tells where that lies. */
    if ((r->io->caps & PLX_CAP_URING) == 0 || page_node(u->ring.sq.sqes) < 0)
        return used;
    things[used++] = (struct thing){"entries", u->ring.sq.sqes,
                                    u->ring.sq.ring_entries * sizeof(struct io_uring_sqe)};
    things[used++] = (struct thing){"completions", u->ring.cq.ring_ptr, u->ring.cq.ring_sz};
    return used;
}

static void print_placement(void)
{
    for (uint32_t i = 0; i < plx_runtime_count(runtime); i++) {
        struct thing things[THINGS_MAX];
        char nodes[32];
        size_t used = list_things(i, things);
        const struct plx_reactor *r = plx_runtime_reactor(runtime, i);
        print_message("reactor %u on cpu %d of node %d, memory planned on node %u, arena of %s "
                      "pages; on nodes:",
                      i, r->cpu, r->node, planned(i)->mem_node, plx_rung_name(r->arena->rung));
        for (size_t t = 0; t < used; t++)
            print_message(" %s %s%s", things[t].name,
                          nodes_text(things[t].base, things[t].bytes, nodes, sizeof(nodes)),
                          t + 1 < used ? "," : "\n");
    }
}

static void expect_everything_placed(void)
{
    uint32_t count = plx_runtime_count(runtime);
    size_t ring_bytes = plx_cells_bytes(plx_runtime_settings(runtime)->mesh_slots);
    for (uint32_t i = 0; i < count; i++) {
        struct thing things[THINGS_MAX];
        size_t used = list_things(i, things);
        const struct plx_reactor *r = plx_runtime_reactor(runtime, i);
        uint32_t node = planned(i)->mem_node;
        assert_int_equal(seen[i].group_code, 0);
        assert_int_equal(plx_arena_verify(r->arena), 0);
        for (uint32_t from = 0; from < count; from++)
            expect_pages(r->mesh.in[from], ring_bytes, PLX_PAGE, node, "a mesh ring");
        for (size_t t = 0; t < used; t++)
            expect_pages(things[t].base, things[t].bytes, PLX_PAGE, node, things[t].name);
    }
}

static void reactors_in_4k_pages_have_all_they_use_on_their_node(void **state)
{
    (void)state;
    nodes_set(&settings, "hugepages_2m", "no");
    start();
    assert_int_equal(plx_runtime_count(runtime), machine->core_count);
    print_placement();
    expect_everything_placed();
}

static void reactors_in_2m_pages_have_all_they_use_on_their_node(void **state)
{
    (void)state;
    struct plx_plan *plan;
    assert_int_equal(plx_plan_create(machine, &settings, &plan, &diag), 0);
    bool enough = true;
    for (uint32_t i = 0; i < plan->reactor_count; i++)
        enough &=
            node_pages_free(plan->reactors[i].mem_node, 2 * MIB) >= 2 * (long)plan->reactor_count;
    plx_plan_destroy(plan);
    if (!enough) {
        print_message("some node has too few free hugepages of 2 MiB\n");
        skip();
    }
    nodes_set(&settings, "hugepages_2m", "require");
    start();
    print_placement();
    plx_reactor_explain(plx_runtime_reactor(runtime, 0), print_line, NULL);
    expect_everything_placed();
}

/* Started by a thread that runs on each node in turn: where that is must make no difference. */
static void reactors_started_from_any_node_have_all_they_use_on_their_own(void **state)
{
    (void)state;
    nodes_set(&settings, "hugepages_2m", "no");
    for (uint32_t i = 0; i < machine->node_count; i++) {
        uint32_t node = machine->nodes[i].node;
        /* The machine given here was read when this thread could run anywhere. */
        struct plx_runtime_opts opts;
        plx_runtime_opts_init(&opts);
        opts.on_start = look;
        opts.machine = machine;
        if (!run_on_node(machine, (int)node))
            continue;
        assert_int_equal(plx_runtime_create(&settings, &opts, &runtime, &diag), 0);
        assert_int_equal(plx_runtime_start(runtime, &diag), 0);
        expect_everything_placed();
        assert_int_equal(plx_runtime_stop(runtime, STOP_NS, &diag), 0);
        plx_runtime_destroy(runtime);
        runtime = NULL;
    }
}

static void nodes_without_cpus_carry_no_reactor(void **state)
{
    (void)state;
    create();
    for (uint32_t i = 0; i < plx_runtime_count(runtime); i++) {
        assert_true(plx_machine_node(machine, planned(i)->node)->cpu_count > 0);
        assert_int_equal(planned(i)->mem_node, node_nearest_memory(machine, planned(i)->node));
    }
}

/* --- threads ---------------------------------------------------------------------------------- */

/* The CPU that the kernel lets a thread of this process run on; -1: several, or it is gone. */
static int only_cpu_of(pid_t thread)
{
    char path[64];
    char line[256];
    int cpu = -1;
    snprintf(path, sizeof(path), "/proc/self/task/%d/status", (int)thread);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return -1;
    while (fgets(line, sizeof(line), file) != NULL) {
        char list[64];
        if (sscanf(line, "Cpus_allowed_list: %63s", list) == 1 && strpbrk(list, "-,") == NULL)
            cpu = atoi(list);
    }
    fclose(file);
    return cpu;
}

static void threads_run_on_their_planned_cpus(void **state)
{
    (void)state;
    start();
    for (uint32_t i = 0; i < plx_runtime_count(runtime); i++) {
        assert_int_equal(seen[i].cpu, (int)planned(i)->cpu);
        assert_int_equal(only_cpu_of(seen[i].thread), (int)planned(i)->cpu);
        assert_int_equal(plx_machine_cpu(machine, planned(i)->cpu)->node, planned(i)->node);
    }
}

static void posts_between_every_two_nodes_arrive_where_they_are_sent(void **state)
{
    (void)state;
    start();
    uint32_t count = plx_runtime_count(runtime);
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += PATIENCE_S;
    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(seen[i].post_code, 0);
    for (uint32_t i = 0; i < count * count; i++)
        assert_int_equal(sem_clockwait(&arrivals, CLOCK_MONOTONIC, &until), 0);
    assert_int_equal(plx_load_relaxed(&strayed), 0);
}

/* The kernel threads of this process that submit I/O, by the CPU to which each is bound. */
static size_t find_sq_threads(int *cpus, size_t max)
{
    size_t count = 0;
    DIR *folder = opendir("/proc/self/task");
    assert_non_null(folder);
    for (struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        char path[300];
        char name[32] = "";
        snprintf(path, sizeof(path), "/proc/self/task/%s/comm", entry->d_name);
        FILE *file = fopen(path, "re");
        if (file == NULL)
            continue;
        bool is_one = fgets(name, sizeof(name), file) != NULL && strncmp(name, "iou-sqp", 7) == 0;
        fclose(file);
        if (is_one && count < max)
            cpus[count++] = only_cpu_of(atoi(entry->d_name));
    }
    closedir(folder);
    return count;
}

static void sq_threads_run_on_the_planned_cores_of_their_node(void **state)
{
    (void)state;
    nodes_set(&settings, "sqpoll", "on");
    struct plx_plan *plan;
    if (plx_plan_create(machine, &settings, &plan, &diag) != 0) {
        /* Nodes of one core have none to spare, and that is an error that says so. */
        print_message("%s: %s\n", diag.what, diag.text);
        assert_string_equal(diag.what, "POLLUX_SQPOLL");
        return;
    }
    plx_plan_destroy(plan);
    start();
    int cpus[PLX_PLAN_REACTORS_MAX];
    size_t found = find_sq_threads(cpus, PLX_PLAN_REACTORS_MAX);
    assert_int_equal(found, plx_runtime_plan(runtime)->sq_count);
    for (uint32_t i = 0; i < plx_runtime_count(runtime); i++) {
        const struct plx_plan_reactor *p = planned(i);
        bool there = p->sq_cpu < 0;
        for (size_t t = 0; t < found; t++)
            there |= cpus[t] == p->sq_cpu;
        assert_true(there);
        if (p->sq_cpu < 0)
            continue;
        assert_int_equal(plx_machine_cpu(machine, (uint32_t)p->sq_cpu)->node, p->node);
        assert_string_equal(plx_reactor_mode(plx_runtime_reactor(runtime, i)), "uring sqpoll");
        print_message("reactor %u, cpu %u of node %u: SQ thread on cpu %d\n", i, p->cpu, p->node,
                      p->sq_cpu);
    }
}

/* --- a full node ------------------------------------------------------------------------------ */

/* Leaves the node of the last reactor without hugepages, and returns it. */
static uint32_t drain_last(void)
{
    uint32_t node = planned(plx_runtime_count(runtime) - 1)->mem_node;
    node_drain(node);
    return node;
}

static void start_with_hugepages_required_of_a_full_node_fails_and_names_it(void **state)
{
    (void)state;
    char expected[64];
    nodes_set(&settings, "hugepages_2m", "require");
    create();
    uint32_t node = drain_last();
    assert_int_equal(plx_runtime_start(runtime, &diag), -ENOMEM);
    print_message("%s: %s\n", diag.what, diag.text);
    snprintf(expected, sizeof(expected), "node %u has 0 free of the 2 needed", node);
    assert_non_null(strstr(diag.what, "POLLUX_HUGEPAGES_2M"));
    assert_non_null(strstr(diag.text, expected));
    for (uint32_t i = 0; i < plx_runtime_count(runtime); i++)
        assert_null(plx_runtime_reactor(runtime, i));
}

static void start_with_hugepages_tried_of_a_full_node_records_what_was_not_got(void **state)
{
    (void)state;
    char expected[64];
    nodes_set(&settings, "hugepages_2m", "try");
    create();
    uint32_t node = drain_last();
    assert_int_equal(plx_runtime_start(runtime, &diag), 0);
    expect_everything_placed();
    snprintf(expected, sizeof(expected), "node %u has 0 free of the 2 needed", node);
    for (uint32_t i = 0; i < plx_runtime_count(runtime); i++) {
        char text[8192] = "";
        plx_reactor_explain(plx_runtime_reactor(runtime, i), keep_line, text);
        assert_int_equal(strstr(text, expected) != NULL, planned(i)->mem_node == node);
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(reactors_in_4k_pages_have_all_they_use_on_their_node),
        CASE(reactors_in_2m_pages_have_all_they_use_on_their_node),
        CASE(reactors_started_from_any_node_have_all_they_use_on_their_own),
        CASE(nodes_without_cpus_carry_no_reactor),
        CASE(threads_run_on_their_planned_cpus),
        CASE(posts_between_every_two_nodes_arrive_where_they_are_sent),
        CASE(sq_threads_run_on_the_planned_cores_of_their_node),
        CASE(start_with_hugepages_required_of_a_full_node_fails_and_names_it),
        CASE(start_with_hugepages_tried_of_a_full_node_records_what_was_not_got),
    };
    machine = nodes_open();
    if (machine == NULL)
        return 77;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    plx_machine_destroy(machine);
    return failed;
}
