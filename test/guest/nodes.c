/* SPDX-License-Identifier: MIT */
#include "test/guest/nodes.h"

#include <errno.h>
#include <numaif.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NODE_FOLDER "/sys/devices/system/node/node%u/"
#define KEPT_BYTES  8192
#define DRAINED_MAX 512

static struct plx_arena drained[DRAINED_MAX];
static size_t drained_count;

/* --- what the kernel says of nodes ------------------------------------------------------------ */

long node_number(uint32_t node, const char *file)
{
    char path[160];
    long number = -1;
    snprintf(path, sizeof(path), NODE_FOLDER "%s", node, file);
    FILE *stream = fopen(path, "re");
    if (stream == NULL)
        return -1;
    if (fscanf(stream, "%ld", &number) != 1)
        number = -1;
    fclose(stream);
    return number;
}

int64_t node_meminfo(uint32_t node, const char *key)
{
    char path[96];
    char line[160];
    long long kib = -1;
    snprintf(path, sizeof(path), NODE_FOLDER "meminfo", node);
    FILE *stream = fopen(path, "re");
    if (stream == NULL)
        return -1;
    while (kib < 0 && fgets(line, sizeof(line), stream) != NULL) {
        const char *at = strstr(line, key);
        if (at != NULL && at[strlen(key)] == ':')
            kib = atoll(at + strlen(key) + 1);
    }
    fclose(stream);
    return kib < 0 ? -1 : kib * 1024;
}

long node_pages_free(uint32_t node, size_t page_bytes)
{
    char file[64];
    snprintf(file, sizeof(file), "hugepages/hugepages-%zukB/free_hugepages", page_bytes / 1024);
    return node_number(node, file);
}

static uint32_t kernel_distance(const struct plx_machine *machine, uint32_t from, uint32_t to)
{
    char path[96];
    unsigned distance = 0;
    snprintf(path, sizeof(path), NODE_FOLDER "distance", from);
    FILE *stream = fopen(path, "re");
    assert_non_null(stream);
    for (uint32_t i = 0; i < machine->node_count; i++) {
        assert_int_equal(fscanf(stream, "%u", &distance), 1);
        if (machine->nodes[i].node == to)
            break;
    }
    fclose(stream);
    return distance;
}

uint32_t node_nearest_memory(const struct plx_machine *machine, uint32_t node)
{
    uint32_t best = node;
    uint32_t best_distance = UINT32_MAX;
    for (uint32_t i = 0; i < machine->node_count; i++) {
        uint32_t other = machine->nodes[i].node;
        uint32_t distance = kernel_distance(machine, node, other);
        if (node_meminfo(other, "MemTotal") <= 0 || distance >= best_distance)
            continue;
        best = other;
        best_distance = distance;
    }
    return best;
}

uint32_t node_absent(const struct plx_machine *machine)
{
    return machine->nodes[machine->node_count - 1].node + 1;
}

/* --- pages and threads ------------------------------------------------------------------------ */

int page_node(const void *address)
{
    void *page = (void *)((uintptr_t)address & ~(uintptr_t)(PLX_PAGE - 1));
    int node = -1;
    if (move_pages(0, 1, &page, NULL, &node, 0) != 0)
        return -errno;
    return node;
}

void expect_pages(const void *base, size_t bytes, size_t page_bytes, uint32_t node,
                  const char *what)
{
    uintptr_t first = (uintptr_t)base & ~(uintptr_t)(PLX_PAGE - 1);
    for (uintptr_t at = first; at < (uintptr_t)base + bytes; at += page_bytes) {
        int seen = page_node((const void *)at);
        if (seen != (int)node)
            fail_msg("%s: the page %zu bytes in is on node %d (%s), not %u", what,
                     (size_t)(at - first), seen, seen < 0 ? strerror(-seen) : "a node", node);
    }
}

bool run_on_node(const struct plx_machine *machine, int node)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    for (uint32_t i = 0; i < machine->cpu_count; i++) {
        const struct plx_machine_cpu *cpu = &machine->cpus[i];
        if (cpu->allowed && cpu->cpu < CPU_SETSIZE && (node < 0 || cpu->node == (uint32_t)node))
            CPU_SET(cpu->cpu, &set);
    }
    if (CPU_COUNT(&set) == 0)
        return false;
    assert_int_equal(sched_setaffinity(0, sizeof(set), &set), 0);
    return true;
}

void node_drain(uint32_t node)
{
    struct plx_arena_opts opts;
    plx_arena_opts_init(&opts);
    opts.page_2m = PLX_WANT_REQUIRE;
    while (drained_count < DRAINED_MAX && node_pages_free(node, 2 * MIB) > 0) {
        assert_int_equal(plx_arena_init(&drained[drained_count], 2 * MIB, (int)node, &opts, NULL),
                         0);
        drained_count++;
    }
    assert_int_equal(node_pages_free(node, 2 * MIB), 0);
}

void node_refill(void)
{
    while (drained_count > 0)
        plx_arena_fini(&drained[--drained_count]);
}

/* --- the rest --------------------------------------------------------------------------------- */

void nodes_set(struct plx_settings *settings, const char *name, const char *text)
{
    struct plx_diag diag = {0};
    if (plx_settings_set(settings, name, text, &diag) != 0)
        fail_msg("%s", diag.text);
}

void print_line(const char *line, void *ctx)
{
    (void)ctx;
    print_message("%s\n", line);
}

void keep_line(const char *line, void *ctx)
{
    char *text = ctx;
    size_t length = strlen(text);
    snprintf(text + length, KEPT_BYTES - length, "%s\n", line);
}

struct plx_machine *nodes_open(void)
{
    struct plx_machine *machine;
    struct plx_diag diag = {0};
    uint32_t with_memory = 0;
    if (plx_machine_create(&machine, &diag) != 0) {
        printf("the machine cannot be read: %s\n", diag.text);
        return NULL;
    }
    for (uint32_t i = 0; i < machine->node_count; i++)
        with_memory += node_meminfo(machine->nodes[i].node, "MemTotal") > 0;
    if (with_memory < 2) {
        printf("one node only: scripts/guest runs this on machines of several\n");
        goto none;
    }
    int seen = page_node(&machine);
    if (seen < 0) {
        printf("the kernel does not say where pages lie (move_pages: %s)\n", strerror(-seen));
        goto none;
    }
    return machine;

none:
    plx_machine_destroy(machine);
    return NULL;
}
