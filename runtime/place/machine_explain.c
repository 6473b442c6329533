/* SPDX-License-Identifier: MIT */
#include "runtime/place/machine.h"
#include "runtime/settings/cpu_set.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* --- inspection ------------------------------------------------------------------------------ */

const struct plx_machine_cpu *plx_machine_cpu(const struct plx_machine *machine, uint32_t cpu)
{
    for (uint32_t i = 0; i < machine->cpu_count; i++) {
        if (machine->cpus[i].cpu == cpu)
            return &machine->cpus[i];
    }
    return NULL;
}

const struct plx_machine_node *plx_machine_node(const struct plx_machine *machine, uint32_t node)
{
    for (uint32_t i = 0; i < machine->node_count; i++) {
        if (machine->nodes[i].node == node)
            return &machine->nodes[i];
    }
    return NULL;
}

uint32_t plx_machine_distance(const struct plx_machine *machine, uint32_t from, uint32_t to)
{
    const struct plx_machine_node *row = plx_machine_node(machine, from);
    const struct plx_machine_node *column = plx_machine_node(machine, to);
    if (row == NULL || column == NULL)
        return 0;
    size_t position = (size_t)(row - machine->nodes) * machine->node_count;
    return machine->distances[position + (size_t)(column - machine->nodes)];
}

/* --- as text --------------------------------------------------------------------------------- */

/* Long enough for any line; a list of odd CPUs that is longer still is left out of it. */
#define LIST_BYTES 700

static void format_set(const struct plx_cpu_set *set, char *text, size_t bytes)
{
    if (plx_cpu_set_is_empty(set))
        snprintf(text, bytes, "none");
    else if (plx_cpu_set_format(set, text, bytes) < 0)
        snprintf(text, bytes, "%u of them", plx_cpu_set_count(set));
}

static void explain_node(const struct plx_machine *machine, const struct plx_machine_node *node,
                         plx_text_fn sink, void *ctx)
{
    char cpus[LIST_BYTES];
    struct plx_cpu_set set = {{0}};
    for (uint32_t i = 0; i < machine->cpu_count; i++) {
        if (machine->cpus[i].node == node->node)
            plx_cpu_set_add(&set, machine->cpus[i].cpu);
    }
    format_set(&set, cpus, sizeof(cpus));

    char pages[160] = "";
    if (machine->is_this_system)
        snprintf(pages, sizeof(pages),
                 ", hugepages 2M %" PRIu32 " of %" PRIu32 " free, 1G %" PRIu32 " of %" PRIu32
                 " free",
                 node->pages_2m_free, node->pages_2m_total, node->pages_1g_free,
                 node->pages_1g_total);
    plx_text_line(sink, ctx, "  node %" PRIu32 ": cpus %s, memory %" PRIu64 " MiB%s%s", node->node,
                  cpus, node->memory_bytes >> 20, pages, node->allowed ? "" : ", not allowed");
}

static void explain_distances(const struct plx_machine *machine, plx_text_fn sink, void *ctx)
{
    for (uint32_t from = 0; from < machine->node_count; from++) {
        char row[LIST_BYTES];
        size_t used = 0;
        row[0] = '\0';
        for (uint32_t to = 0; to < machine->node_count && used + 12 < sizeof(row); to++) {
            uint32_t distance = machine->distances[from * machine->node_count + to];
            used += (size_t)snprintf(row + used, sizeof(row) - used, " %3" PRIu32, distance);
        }
        plx_text_line(sink, ctx, "  distances from node %" PRIu32 ":%s", machine->nodes[from].node,
                      row);
    }
}

static const char *plural(uint32_t count)
{
    return count == 1 ? "" : "s";
}

void plx_machine_explain(const struct plx_machine *machine, plx_text_fn sink, void *ctx)
{
    char allowed[LIST_BYTES];
    char isolated[LIST_BYTES];
    struct plx_cpu_set allowed_set = {{0}};
    struct plx_cpu_set isolated_set = {{0}};
    for (uint32_t i = 0; i < machine->cpu_count; i++) {
        if (machine->cpus[i].allowed)
            plx_cpu_set_add(&allowed_set, machine->cpus[i].cpu);
        if (machine->cpus[i].isolated)
            plx_cpu_set_add(&isolated_set, machine->cpus[i].cpu);
    }
    format_set(&allowed_set, allowed, sizeof(allowed));
    format_set(&isolated_set, isolated, sizeof(isolated));

    plx_text_line(sink, ctx,
                  "machine: %s, %" PRIu32 " CPU%s on %" PRIu32 " core%s, %" PRIu32
                  " cluster%s, %" PRIu32 " node%s%s",
                  machine->source, machine->cpu_count, plural(machine->cpu_count),
                  machine->core_count, plural(machine->core_count), machine->cluster_count,
                  plural(machine->cluster_count), machine->node_count,
                  plural(machine->node_count),
                  machine->is_this_system ? "" : " (not this system: nothing can be pinned)");
    plx_text_line(sink, ctx, "  cpus allowed: %s", allowed);
    plx_text_line(sink, ctx, "  cpus isolated: %s", isolated);
    if (machine->quota_mcpus != 0)
        plx_text_line(sink, ctx, "  processor time: %" PRIu32 ".%02" PRIu32 " CPUs by cgroup quota",
                      machine->quota_mcpus / 1000, machine->quota_mcpus % 1000 / 10);
    for (uint32_t i = 0; i < machine->node_count; i++)
        explain_node(machine, &machine->nodes[i], sink, ctx);
    if (machine->node_count > 1 && machine->distances_known)
        explain_distances(machine, sink, ctx);
}
