/* SPDX-License-Identifier: MIT */
#include "runtime/place/machine.h"

#include "runtime/place/machine_internal.h"
#include "runtime/place/pin_internal.h"

#include <errno.h>
#include <hwloc.h>
#include <stdlib.h>
#include <string.h>

PLX_STATIC_ASSERT(PLX_MACHINE_CPUS_MAX <= PLX_CPU_SET_SIZE, "a CPU set holds any CPU");
PLX_STATIC_ASSERT(PLX_MACHINE_NODES_MAX <= PLX_CPU_SET_SIZE, "a CPU set holds any node");

/* What is said between two nodes of whose distance nothing is known. */
#define DISTANCE_UNKNOWN 20

/* --- reading by hwloc ------------------------------------------------------------------------ */

/* The value of a variable of hwloc's; an empty one counts as unset. */
static const char *variable(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

/* The folder whose sys and proc hwloc is to read; NULL for this system's own. */
static const char *root_folder(void)
{
    const char *folder = variable("HWLOC_FSROOT");
    return folder != NULL && strcmp(folder, "/") != 0 ? folder : NULL;
}

/*
 * hwloc reads these variables by itself, but goes back to the real machine without a word when it
 * cannot: so they are handed to it by name, and a refusal is seen.
 */
static int choose_source(hwloc_topology_t topology, const char **source, struct plx_diag *diag)
{
    const char *synthetic = variable("HWLOC_SYNTHETIC");
    const char *xml = variable("HWLOC_XMLFILE");
    *source = root_folder() != NULL ? "root folder" : "this system";
    if (synthetic != NULL) {
        *source = "synthetic";
        if (hwloc_topology_set_synthetic(topology, synthetic) != 0)
            return plx_diag_set(diag, -EINVAL, "HWLOC_SYNTHETIC",
                                "HWLOC_SYNTHETIC=%s: hwloc cannot read this; expected something "
                                "like \"numa:2 core:4 pu:2\"",
                                synthetic);
    } else if (xml != NULL) {
        *source = "xml";
        if (hwloc_topology_set_xml(topology, xml) != 0)
            return plx_diag_set(diag, -EINVAL, "HWLOC_XMLFILE",
                                "HWLOC_XMLFILE=%s: cannot be read (%s); expected a file that "
                                "lstopo wrote",
                                xml, strerror(errno));
    }
    return 0;
}

static int load_topology(hwloc_topology_t *out, const char **source, struct plx_diag *diag)
{
    hwloc_topology_t topology;
    if (hwloc_topology_init(&topology) != 0)
        return plx_diag_set(diag, -ENOMEM, "hwloc", "hwloc cannot start: %s", strerror(errno));

    int rc = choose_source(topology, source, diag);
    if (rc != 0)
        goto fail;
    /* Disallowed CPUs are kept so that an error can tell them from those that do not exist. */
    unsigned long flags = HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED |
                          HWLOC_TOPOLOGY_FLAG_DONT_CHANGE_BINDING;
    if (hwloc_topology_set_flags(topology, flags) != 0 ||
        hwloc_topology_set_io_types_filter(topology, HWLOC_TYPE_FILTER_KEEP_NONE) != 0 ||
        hwloc_topology_load(topology) != 0) {
        int code = errno;
        if (strcmp(*source, "xml") == 0)
            rc = plx_diag_set(diag, -EINVAL, "HWLOC_XMLFILE",
                              "HWLOC_XMLFILE=%s: holds no topology; expected a file that lstopo "
                              "wrote",
                              getenv("HWLOC_XMLFILE"));
        else
            rc = plx_diag_set(diag, -EIO, "hwloc", "hwloc cannot read %s: %s", *source,
                              strerror(code));
        goto fail;
    }
    *out = topology;
    return 0;

fail:
    hwloc_topology_destroy(topology);
    return rc;
}

/* --- into plain data ------------------------------------------------------------------------- */

static int check_loaded(hwloc_topology_t topology, const char *source, struct plx_diag *diag)
{
    if (strcmp(source, "root folder") == 0 && hwloc_topology_is_thissystem(topology) &&
        variable("HWLOC_THISSYSTEM") == NULL)
        return plx_diag_set(diag, -EINVAL, "HWLOC_FSROOT",
                            "HWLOC_FSROOT=%s: hwloc found no system there", root_folder());
    hwloc_obj_t object = NULL;
    while ((object = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_PU, object)) != NULL) {
        if (object->os_index >= PLX_MACHINE_CPUS_MAX)
            return plx_diag_set(diag, -E2BIG, "CPU", "CPU %u: numbers below %d are supported",
                                object->os_index, PLX_MACHINE_CPUS_MAX);
    }
    while ((object = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_NUMANODE, object)) != NULL) {
        if (object->os_index >= PLX_MACHINE_NODES_MAX)
            return plx_diag_set(diag, -E2BIG, "node", "node %u: numbers below %d are supported",
                                object->os_index, PLX_MACHINE_NODES_MAX);
    }
    return 0;
}

/*
 * Of the nodes that a CPU is attached to the one that the fewest CPUs share, and of several such
 * (memory of two kinds, say) one that has memory, then the lowest. A CPU without any is counted to
 * the first node there is.
 */
static hwloc_obj_t nearest_node(hwloc_topology_t topology, unsigned cpu)
{
    hwloc_obj_t best = NULL;
    hwloc_obj_t node = NULL;
    int best_cpus = 0;
    while ((node = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_NUMANODE, node)) != NULL) {
        if (!hwloc_bitmap_isset(node->cpuset, cpu))
            continue;
        int cpus = hwloc_bitmap_weight(node->cpuset);
        bool better = best == NULL || cpus < best_cpus;
        if (!better && cpus == best_cpus) {
            bool has_memory = node->attr->numanode.local_memory != 0;
            bool best_has_memory = best->attr->numanode.local_memory != 0;
            better = has_memory != best_has_memory ? has_memory : node->os_index < best->os_index;
        }
        if (better) {
            best = node;
            best_cpus = cpus;
        }
    }
    return best != NULL ? best : hwloc_get_obj_by_type(topology, HWLOC_OBJ_NUMANODE, 0);
}

static int compare_cpus(const void *left, const void *right)
{
    const struct plx_machine_cpu *a = left;
    const struct plx_machine_cpu *b = right;
    return (a->cpu > b->cpu) - (a->cpu < b->cpu);
}

static int compare_nodes(const void *left, const void *right)
{
    const struct plx_machine_node *a = left;
    const struct plx_machine_node *b = right;
    return (a->node > b->node) - (a->node < b->node);
}

static void fill_nodes(hwloc_topology_t topology, struct plx_machine *machine,
                       struct plx_machine_node *nodes)
{
    hwloc_const_nodeset_t allowed = hwloc_topology_get_allowed_nodeset(topology);
    hwloc_obj_t object = NULL;
    uint32_t count = 0;
    while ((object = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_NUMANODE, object)) != NULL) {
        struct plx_machine_node *node = &nodes[count++];
        node->node = object->os_index;
        node->memory_bytes = object->attr->numanode.local_memory;
        node->allowed = !machine->is_this_system || hwloc_bitmap_isset(allowed, object->os_index);
    }
    qsort(nodes, count, sizeof(*nodes), compare_nodes);
    machine->node_count = count;
}

static uint32_t node_position(const struct plx_machine *machine, uint32_t node)
{
    uint32_t position = 0;
    while (position < machine->node_count && machine->nodes[position].node != node)
        position++;
    return position;
}

static void fill_cpus(hwloc_topology_t topology, struct plx_machine *machine,
                      struct plx_machine_cpu *cpus, struct plx_machine_node *nodes)
{
    uint32_t caches = (uint32_t)hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_L3CACHE);
    hwloc_obj_t last_core = NULL;
    hwloc_obj_t object = NULL;
    uint32_t count = 0;
    uint32_t rank = 0;
    /* In hwloc's order the CPUs of a core follow each other. */
    while ((object = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_PU, object)) != NULL) {
        hwloc_obj_t core = hwloc_get_ancestor_obj_by_type(topology, HWLOC_OBJ_CORE, object);
        hwloc_obj_t cache = hwloc_get_ancestor_obj_by_type(topology, HWLOC_OBJ_L3CACHE, object);
        if (count == 0 || core == NULL || core != last_core) {
            machine->core_count++;
            rank = 0;
        }
        last_core = core;

        struct plx_machine_cpu *cpu = &cpus[count++];
        cpu->cpu = object->os_index;
        cpu->core = machine->core_count - 1;
        cpu->rank = rank++;
        cpu->node = nearest_node(topology, object->os_index)->os_index;
        uint32_t position = node_position(machine, cpu->node);
        cpu->cluster = cache != NULL ? cache->logical_index : caches + position;
        if (cpu->cluster >= machine->cluster_count)
            machine->cluster_count = cpu->cluster + 1;
        cpu->allowed = true;
        nodes[position].cpu_count++;
    }
    qsort(cpus, count, sizeof(*cpus), compare_cpus);
    machine->cpu_count = count;
}

static void fill_distances(hwloc_topology_t topology, struct plx_machine *machine,
                           uint32_t *distances)
{
    uint32_t nodes = machine->node_count;
    for (uint32_t from = 0; from < nodes; from++) {
        for (uint32_t to = 0; to < nodes; to++)
            distances[from * nodes + to] = from == to ? PLX_DISTANCE_LOCAL : DISTANCE_UNKNOWN;
    }
    struct hwloc_distances_s *known = NULL;
    unsigned found = 1;
    if (hwloc_distances_get_by_name(topology, "NUMALatency", &found, &known, 0) != 0 || found == 0)
        return;
    for (unsigned from = 0; from < known->nbobjs; from++) {
        for (unsigned to = 0; to < known->nbobjs; to++) {
            uint32_t row = node_position(machine, known->objs[from]->os_index);
            uint32_t column = node_position(machine, known->objs[to]->os_index);
            uint64_t value = known->values[from * known->nbobjs + to];
            if (row < nodes && column < nodes)
                distances[row * nodes + column] =
                    value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
        }
    }
    machine->distances_known = known->nbobjs == nodes;
    hwloc_distances_release(topology, known);
}

/* What is true of this system only: who may run where, what is isolated, sizes, processor time. */
static int fill_host(const char *root, hwloc_topology_t topology, struct plx_machine *machine,
                     struct plx_machine_cpu *cpus, struct plx_machine_node *nodes,
                     struct plx_diag *diag)
{
    struct plx_cpu_set affinity;
    int rc = plx__affinity_read(&affinity, diag);
    if (rc < 0)
        return rc;
    struct plx_cpu_set isolated;
    plx__host_isolated_cpus(root, &isolated);
    hwloc_const_cpuset_t allowed = hwloc_topology_get_allowed_cpuset(topology);
    for (uint32_t i = 0; i < machine->cpu_count; i++) {
        cpus[i].allowed = hwloc_bitmap_isset(allowed, cpus[i].cpu) &&
                          plx_cpu_set_has(&affinity, cpus[i].cpu);
        cpus[i].isolated = plx_cpu_set_has(&isolated, cpus[i].cpu);
    }
    for (uint32_t i = 0; i < machine->node_count; i++)
        plx__host_node(root, &nodes[i]);
    machine->quota_mcpus = plx__host_quota_mcpus(root);
    return 0;
}

/* --- lifecycle ------------------------------------------------------------------------------- */

int plx__machine_create_below(const char *root, struct plx_machine **out, struct plx_diag *diag)
{
    *out = NULL;
    hwloc_topology_t topology = NULL;
    const char *source = NULL;
    int rc = load_topology(&topology, &source, diag);
    if (rc != 0)
        return rc;
    rc = check_loaded(topology, source, diag);
    if (rc != 0) {
        hwloc_topology_destroy(topology);
        return rc;
    }

    /* hwloc promises one of each at least. */
    size_t cpu_count = (size_t)hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_PU);
    size_t node_count = (size_t)hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_NUMANODE);
    struct plx_machine *machine = calloc(1, sizeof(*machine));
    struct plx_machine_cpu *cpus = calloc(cpu_count, sizeof(*cpus));
    struct plx_machine_node *nodes = calloc(node_count, sizeof(*nodes));
    uint32_t *distances = calloc(node_count * node_count, sizeof(*distances));
    if (machine == NULL || cpus == NULL || nodes == NULL || distances == NULL) {
        rc = plx_diag_set(diag, -ENOMEM, "memory", "no memory for the description of the machine");
        goto fail;
    }
    machine->cpus = cpus;
    machine->nodes = nodes;
    machine->distances = distances;
    machine->source = source;
    machine->is_this_system = hwloc_topology_is_thissystem(topology) != 0;
    machine->handle = topology;
    fill_nodes(topology, machine, nodes);
    fill_cpus(topology, machine, cpus, nodes);
    fill_distances(topology, machine, distances);
    if (machine->is_this_system) {
        rc = fill_host(root, topology, machine, cpus, nodes, diag);
        if (rc != 0)
            goto fail;
    }
    *out = machine;
    return 0;

fail:
    free(distances);
    free(nodes);
    free(cpus);
    free(machine);
    hwloc_topology_destroy(topology);
    return rc;
}

int plx_machine_create(struct plx_machine **out, struct plx_diag *diag)
{
    return plx__machine_create_below("", out, diag);
}

void plx_machine_destroy(struct plx_machine *machine)
{
    if (machine == NULL)
        return;
    if (machine->handle != NULL)
        hwloc_topology_destroy(machine->handle);
    free((void *)machine->distances);
    free((void *)machine->nodes);
    free((void *)machine->cpus);
    free(machine);
}
