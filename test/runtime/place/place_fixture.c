/* SPDX-License-Identifier: MIT */
#include "test/runtime/place/place_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* --- machines -------------------------------------------------------------------------------- */

void place_machine_clear(struct place_machine *m)
{
    memset(m, 0, sizeof(*m));
    m->machine.cpus = m->cpus;
    m->machine.nodes = m->nodes;
    m->machine.distances = m->distances;
    m->machine.is_this_system = true;
    m->machine.source = "test";
}

static void reset_distances(struct place_machine *m)
{
    uint32_t count = m->machine.node_count;
    for (uint32_t from = 0; from < count; from++) {
        for (uint32_t to = 0; to < count; to++)
            m->distances[from * count + to] = from == to ? 10 : 20;
    }
}

void place_add_node(struct place_machine *m, uint32_t node, uint64_t memory_bytes)
{
    m->nodes[m->machine.node_count++] = (struct plx_machine_node){
        .node = node,
        .memory_bytes = memory_bytes,
        .allowed = true,
    };
    reset_distances(m);
}

void place_add_cpu(struct place_machine *m, uint32_t cpu, uint32_t core, uint32_t rank,
                   uint32_t node, uint32_t cluster)
{
    m->cpus[m->machine.cpu_count++] = (struct plx_machine_cpu){
        .cpu = cpu,
        .core = core,
        .rank = rank,
        .node = node,
        .cluster = cluster,
        .allowed = true,
    };
    for (uint32_t i = 0; i < m->machine.node_count; i++)
        m->nodes[i].cpu_count += m->nodes[i].node == node;
    if (core >= m->machine.core_count)
        m->machine.core_count = core + 1;
    if (cluster >= m->machine.cluster_count)
        m->machine.cluster_count = cluster + 1;
}

void place_uniform(struct place_machine *m, uint32_t nodes, uint32_t clusters_per_node,
                   uint32_t cores_per_cluster, uint32_t cpus_per_core)
{
    place_machine_clear(m);
    for (uint32_t node = 0; node < nodes; node++)
        place_add_node(m, node, 64 * PLACE_GIB);
    uint32_t cores_per_node = clusters_per_node * cores_per_cluster;
    uint32_t cores = nodes * cores_per_node;
    for (uint32_t rank = 0; rank < cpus_per_core; rank++) {
        for (uint32_t core = 0; core < cores; core++)
            place_add_cpu(m, rank * cores + core, core, rank, core / cores_per_node,
                          core / cores_per_cluster);
    }
}

void place_allow(struct place_machine *m, const char *list)
{
    struct plx_cpu_set set;
    assert_int_equal(plx_cpu_set_parse(&set, list), 0);
    for (uint32_t i = 0; i < m->machine.cpu_count; i++)
        m->cpus[i].allowed = plx_cpu_set_has(&set, m->cpus[i].cpu);
}

struct plx_settings place_settings(const char *setting, ...)
{
    struct plx_settings settings;
    plx_settings_init(&settings);
    va_list more;
    va_start(more, setting);
    for (; setting != NULL; setting = va_arg(more, const char *)) {
        char key[64];
        const char *equals = strchr(setting, '=');
        assert_non_null(equals);
        snprintf(key, sizeof(key), "%.*s", (int)(equals - setting), setting);
        struct plx_diag diag = {0};
        if (plx_settings_set(&settings, key, equals + 1, &diag) != 0)
            fail_msg("%s: %s", setting, diag.text);
    }
    va_end(more);
    return settings;
}

/* --- text ------------------------------------------------------------------------------------ */

void place_collect(const char *line, void *ctx)
{
    struct place_lines *lines = ctx;
    assert_true(lines->count < sizeof(lines->text) / sizeof(lines->text[0]));
    assert_true(strlen(line) < sizeof(lines->text[0]));
    snprintf(lines->text[lines->count++], sizeof(lines->text[0]), "%s", line);
}

bool place_has_line(const struct place_lines *lines, const char *part)
{
    for (unsigned i = 0; i < lines->count; i++) {
        if (strstr(lines->text[i], part) != NULL)
            return true;
    }
    print_message("no line has: %s\n", part);
    for (unsigned i = 0; i < lines->count; i++)
        print_message("  %s\n", lines->text[i]);
    return false;
}

void place_summarise(const struct plx_plan *plan, char *text, size_t bytes)
{
    char list[PLX_CPU_SET_TEXT_BYTES];
    struct plx_cpu_set cpus = {{0}};
    struct plx_cpu_set sq_cpus = {{0}};
    for (uint32_t i = 0; i < plan->reactor_count; i++) {
        plx_cpu_set_add(&cpus, plan->reactors[i].cpu);
        if (plan->reactors[i].sq_cpu >= 0)
            plx_cpu_set_add(&sq_cpus, (unsigned)plan->reactors[i].sq_cpu);
    }
    assert_true(plx_cpu_set_format(&cpus, list, sizeof(list)) >= 0);
    size_t used = (size_t)snprintf(text, bytes, "%s", list);
    for (unsigned sq = plx_cpu_set_next(&sq_cpus, 0); sq < PLX_CPU_SET_SIZE;
         sq = plx_cpu_set_next(&sq_cpus, sq + 1)) {
        struct plx_cpu_set served = {{0}};
        for (uint32_t i = 0; i < plan->reactor_count; i++) {
            if (plan->reactors[i].sq_cpu == (int32_t)sq)
                plx_cpu_set_add(&served, i);
        }
        assert_true(plx_cpu_set_format(&served, list, sizeof(list)) >= 0);
        used += (size_t)snprintf(text + used, bytes - used, " sq %u<%s", sq, list);
        assert_true(used < bytes);
    }
}

void place_assert_refused(const struct plx_machine *machine, const struct plx_settings *settings,
                          int code, const char *what, const char *text)
{
    static struct plx_plan not_null;
    struct plx_plan *plan = &not_null;
    struct plx_diag diag = {0};
    assert_int_equal(plx_plan_create(machine, settings, &plan, &diag), code);
    assert_null(plan);
    assert_int_equal(diag.code, code);
    assert_string_equal(diag.what, what);
    if (strstr(diag.text, text) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", text, diag.text);
    assert_int_equal(plx_plan_create(machine, settings, &plan, NULL), code);
    assert_null(plan);
}

/* --- what must be true of every plan --------------------------------------------------------- */

static void check_reactor(const struct plx_machine *machine, const struct plx_settings *settings,
                          const struct plx_plan *plan, uint32_t index)
{
    const struct plx_plan_reactor *reactor = &plan->reactors[index];
    const struct plx_machine_cpu *cpu = plx_machine_cpu(machine, reactor->cpu);
    assert_int_equal(reactor->index, index);
    assert_non_null(cpu);
    assert_true(cpu->allowed);
    assert_int_equal(cpu->node, reactor->node);
    if (!plx_cpu_set_is_empty(&settings->cpus))
        assert_true(plx_cpu_set_has(&settings->cpus, reactor->cpu));
    if (!plx_cpu_set_is_empty(&settings->nodes))
        assert_true(plx_cpu_set_has(&settings->nodes, reactor->node));
    assert_true(reactor->cpu_reason[0] != '\0' && reactor->sq_reason[0] != '\0');
    assert_int_equal(reactor->arena_bytes, settings->arena_size);
    if (index > 0) {
        const struct plx_plan_reactor *before = reactor - 1;
        assert_true(before->node < reactor->node ||
                    (before->node == reactor->node && before->cpu < reactor->cpu));
    }

    const struct plx_machine_node *own = plx_machine_node(machine, reactor->node);
    const struct plx_machine_node *memory = plx_machine_node(machine, reactor->mem_node);
    assert_non_null(memory);
    assert_true(memory->allowed && memory->memory_bytes > 0);
    if (own->allowed && own->memory_bytes > 0)
        assert_ptr_equal(own, memory);
    for (uint32_t i = 0; i < machine->node_count; i++) {
        const struct plx_machine_node *node = &machine->nodes[i];
        if (own != memory && node->allowed && node->memory_bytes > 0)
            assert_true(plx_machine_distance(machine, own->node, memory->node) <=
                        plx_machine_distance(machine, own->node, node->node));
    }
}

static void check_sq(const struct plx_machine *machine, const struct plx_settings *settings,
                     const struct plx_plan *plan, uint32_t index)
{
    const struct plx_plan_reactor *reactor = &plan->reactors[index];
    assert_int_equal(reactor->sq_cpu < 0, reactor->sq_leader < 0);
    if (reactor->sq_cpu < 0) {
        assert_true(settings->sqpoll != PLX_SQPOLL_ON);
        return;
    }
    assert_true(settings->sqpoll != PLX_SQPOLL_OFF);
    const struct plx_machine_cpu *cpu = plx_machine_cpu(machine, (uint32_t)reactor->sq_cpu);
    assert_non_null(cpu);
    assert_true(cpu->allowed);
    assert_int_equal(cpu->node, reactor->node);
    if (!plx_cpu_set_is_empty(&settings->sqpoll_cpus))
        assert_true(plx_cpu_set_has(&settings->sqpoll_cpus, cpu->cpu));

    assert_true(reactor->sq_leader <= (int32_t)index);
    const struct plx_plan_reactor *leader = &plan->reactors[reactor->sq_leader];
    assert_int_equal(leader->sq_leader, (int32_t)leader->index);
    assert_int_equal(leader->sq_cpu, reactor->sq_cpu);
    uint32_t sharing = 0;
    for (uint32_t i = 0; i < plan->reactor_count; i++) {
        const struct plx_plan_reactor *other = &plan->reactors[i];
        assert_true(other->cpu != cpu->cpu);
        assert_int_equal(other->sq_cpu == reactor->sq_cpu, other->sq_leader == reactor->sq_leader);
        sharing += other->sq_cpu == reactor->sq_cpu;
    }
    assert_true(sharing <= settings->sqpoll_share);
}

/* Every CPU is told of once, and of a core one CPU is used unless siblings are wanted. */
static void check_cpus(const struct plx_machine *machine, const struct plx_settings *settings,
                       const struct plx_plan *plan)
{
    struct plx_cpu_set told = {{0}};
    struct plx_cpu_set used_cores = {{0}};
    uint32_t sq_count = 0;
    for (uint32_t i = 0; i < plan->reactor_count; i++) {
        assert_false(plx_cpu_set_has(&told, plan->reactors[i].cpu));
        plx_cpu_set_add(&told, plan->reactors[i].cpu);
        uint32_t core = plx_machine_cpu(machine, plan->reactors[i].cpu)->core;
        assert_true(settings->smt || !plx_cpu_set_has(&used_cores, core));
        plx_cpu_set_add(&used_cores, core);
    }
    for (uint32_t i = 0; i < plan->other_count; i++) {
        const struct plx_plan_other *other = &plan->others[i];
        assert_true(i == 0 || plan->others[i - 1].cpu < other->cpu);
        assert_false(plx_cpu_set_has(&told, other->cpu));
        plx_cpu_set_add(&told, other->cpu);
        assert_true(other->reason[0] != '\0');
        bool serves = false;
        for (uint32_t r = 0; r < plan->reactor_count; r++)
            serves = serves || plan->reactors[r].sq_cpu == (int32_t)other->cpu;
        assert_int_equal(serves, other->is_sq);
        if (!other->is_sq)
            continue;
        sq_count++;
        uint32_t core = plx_machine_cpu(machine, other->cpu)->core;
        assert_true(settings->smt || !plx_cpu_set_has(&used_cores, core));
        plx_cpu_set_add(&used_cores, core);
    }
    assert_int_equal(plx_cpu_set_count(&told), machine->cpu_count);
    assert_int_equal(sq_count, plan->sq_count);
}

static void check_memory(const struct plx_machine *machine, const struct plx_plan *plan)
{
    for (uint32_t n = 0; n < machine->node_count; n++) {
        uint64_t bytes = 0;
        for (uint32_t i = 0; i < plan->reactor_count; i++) {
            if (plan->reactors[i].mem_node == machine->nodes[n].node)
                bytes += plan->reactors[i].arena_bytes;
        }
        assert_true(bytes <= machine->nodes[n].memory_bytes);
    }
}

void place_check_plan(const struct plx_machine *machine, const struct plx_settings *settings,
                      const struct plx_plan *plan)
{
    assert_true(plan->reactor_count >= 1 && plan->reactor_count <= PLX_PLAN_REACTORS_MAX);
    if (settings->reactors != 0)
        assert_int_equal(plan->reactor_count, settings->reactors);
    for (uint32_t i = 0; i < plan->reactor_count; i++) {
        check_reactor(machine, settings, plan, i);
        check_sq(machine, settings, plan, i);
    }
    check_cpus(machine, settings, plan);
    check_memory(machine, plan);
    assert_int_equal(plan->mesh_bytes, (uint64_t)plan->reactor_count * (plan->reactor_count - 1) *
                                           settings->mesh_slots * 64);
    assert_true(plan->idle > PLX_IDLE_AUTO && plan->idle <= PLX_IDLE_BLOCK);
    for (uint32_t i = 0; i < plan->note_count; i++)
        assert_true(plan->notes[i][0] != '\0');
}
