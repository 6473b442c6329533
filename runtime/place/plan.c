/* SPDX-License-Identifier: MIT */
#include "runtime/place/plan.h"

#include "runtime/place/plan_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Numbers of clusters are below this: at most one for each CPU and each node. */
#define CLUSTERS_MAX (PLX_MACHINE_CPUS_MAX + PLX_MACHINE_NODES_MAX)
/* Notes besides those that a node may give rise to, which are at most two a node. */
#define NOTES_BESIDE_NODES 16
/* Bytes of a message between two reactors. */
#define MESH_SLOT_BYTES 64

void plx__plan_note(struct plx_plan_sheet *sheet, const char *format, ...)
{
    struct plx_plan *plan = sheet->plan;
    if (plan->note_count == sheet->note_room)
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(plan->notes[plan->note_count], PLX_PLAN_NOTE_BYTES, format, arguments);
    va_end(arguments);
    plan->note_count++;
}

uint32_t plx__plan_node_position(const struct plx_machine *machine, uint32_t node)
{
    const struct plx_machine_node *found = plx_machine_node(machine, node);
    PLX_ASSERT(found != NULL);
    return (uint32_t)(found - machine->nodes);
}

/* --- cores for reactors ---------------------------------------------------------------------- */

/*
 * The next core of a node for a reactor: from the L3 cluster that has got the fewest so far, there
 * the first by rank, then by number, so that siblings come last.
 */
static uint32_t next_core(const struct plx_plan_sheet *sheet, uint32_t node,
                          const uint32_t *taken_by_cluster)
{
    const struct plx_machine_cpu *cpus = sheet->machine->cpus;
    uint32_t best = UINT32_MAX;
    for (uint32_t i = 0; i < sheet->machine->cpu_count; i++) {
        if (cpus[i].node != node || sheet->cores[i].role != PLX_ROLE_USABLE)
            continue;
        if (best == UINT32_MAX) {
            best = i;
            continue;
        }
        uint32_t taken = taken_by_cluster[cpus[i].cluster];
        uint32_t best_taken = taken_by_cluster[cpus[best].cluster];
        if (taken < best_taken || (taken == best_taken && cpus[i].rank < cpus[best].rank))
            best = i;
    }
    PLX_ASSERT(best != UINT32_MAX);
    return best;
}

static void give_reactors(struct plx_plan_sheet *sheet)
{
    uint32_t taken_by_cluster[CLUSTERS_MAX];
    for (uint32_t i = 0; i < sheet->machine->node_count; i++) {
        memset(taken_by_cluster, 0, sizeof(taken_by_cluster));
        for (uint32_t n = 0; n < sheet->nodes[i].reactors; n++) {
            uint32_t core = next_core(sheet, sheet->machine->nodes[i].node, taken_by_cluster);
            sheet->cores[core].role = PLX_ROLE_REACTOR;
            taken_by_cluster[sheet->machine->cpus[core].cluster]++;
        }
    }
}

static void explain_cpu(const struct plx_plan_sheet *sheet, const struct plx_machine_cpu *cpu,
                        char *reason)
{
    const struct plx_settings *settings = sheet->settings;
    snprintf(reason, PLX_PLAN_REASON_BYTES, "%s%s%s",
             !plx_cpu_set_is_empty(&settings->cpus) ? "in POLLUX_CPUS"
             : sheet->isolated_only                 ? "isolated"
                                                    : "allowed",
             !plx_cpu_set_is_empty(&settings->nodes) ? ", in POLLUX_NODES" : "",
             settings->smt && cpu->rank > 0 ? ", SMT sibling by POLLUX_SMT=yes" : "");
}

static void explain_sq(const struct plx_plan_sheet *sheet, uint32_t position, char *reason)
{
    const struct plx_plan_node *node = &sheet->nodes[position];
    const struct plx_settings *settings = sheet->settings;
    uint32_t number = sheet->machine->nodes[position].node;
    size_t room = PLX_PLAN_REASON_BYTES;
    if (settings->sqpoll == PLX_SQPOLL_OFF)
        snprintf(reason, room, "POLLUX_SQPOLL=off");
    else if (plx__plan_without_uring(settings))
        snprintf(reason, room, "POLLUX_SQPOLL=auto: POLLUX_BACKEND=epoll has no SQ threads");
    else if (sheet->has_named_sq)
        snprintf(reason, room, "POLLUX_SQPOLL_CPUS names %s of node %" PRIu32,
                 node->named > 0 ? "cores" : "none", number);
    else if (settings->sqpoll == PLX_SQPOLL_ON)
        snprintf(reason, room, "POLLUX_SQPOLL=on");
    else if (node->gave_way)
        snprintf(reason, room,
                 "POLLUX_SQPOLL=auto: POLLUX_REACTORS=%" PRIu32 " leaves too few cores",
                 settings->reactors);
    else
        snprintf(reason, room,
                 "POLLUX_SQPOLL=auto: node %" PRIu32 " has %" PRIu32 " usable core%s, it takes %d",
                 number, node->usable, node->usable == 1 ? "" : "s", PLX_PLAN_AUTO_CORES);
}

static void list_reactors(struct plx_plan_sheet *sheet)
{
    const struct plx_machine *machine = sheet->machine;
    struct plx_plan *plan = sheet->plan;
    for (uint32_t i = 0; i < machine->node_count; i++) {
        for (uint32_t c = 0; c < machine->cpu_count; c++) {
            const struct plx_machine_cpu *cpu = &machine->cpus[c];
            if (cpu->node != machine->nodes[i].node || sheet->cores[c].role != PLX_ROLE_REACTOR)
                continue;
            struct plx_plan_reactor *reactor = &plan->reactors[plan->reactor_count];
            reactor->index = plan->reactor_count++;
            reactor->cpu = cpu->cpu;
            reactor->node = cpu->node;
            reactor->sq_cpu = -1;
            reactor->sq_leader = -1;
            reactor->arena_bytes = sheet->settings->arena_size;
            explain_cpu(sheet, cpu, reactor->cpu_reason);
            explain_sq(sheet, i, reactor->sq_reason);
        }
    }
}

/* --- cores for SQ threads -------------------------------------------------------------------- */

static uint32_t cluster_of(const struct plx_plan_sheet *sheet,
                           const struct plx_plan_reactor *reactor)
{
    return plx_machine_cpu(sheet->machine, reactor->cpu)->cluster;
}

/* The spare core of a node that shares its L3 cache with most of the group, then the lowest. */
static uint32_t nearest_spare(const struct plx_plan_sheet *sheet,
                              struct plx_plan_reactor *const *group, uint32_t count)
{
    const struct plx_machine *machine = sheet->machine;
    enum plx_plan_role role = sheet->has_named_sq ? PLX_ROLE_NAMED_SQ : PLX_ROLE_USABLE;
    uint32_t best = UINT32_MAX;
    uint32_t best_near = 0;
    for (uint32_t i = 0; i < machine->cpu_count; i++) {
        if (machine->cpus[i].node != group[0]->node || sheet->cores[i].role != role)
            continue;
        uint32_t near = 0;
        for (uint32_t n = 0; n < count; n++)
            near += cluster_of(sheet, group[n]) == machine->cpus[i].cluster;
        if (best == UINT32_MAX || near > best_near) {
            best = i;
            best_near = near;
        }
    }
    PLX_ASSERT(best != UINT32_MAX);
    return best;
}

/* Gives the reactors of one group a core for their SQ thread. */
static void give_sq(struct plx_plan_sheet *sheet, struct plx_plan_reactor **group, uint32_t count)
{
    uint32_t spare = nearest_spare(sheet, group, count);
    struct plx_plan_core *core = &sheet->cores[spare];
    struct plx_cpu_set members = {{0}};
    uint32_t leader = group[0]->index;
    for (uint32_t n = 0; n < count; n++) {
        plx_cpu_set_add(&members, group[n]->index);
        leader = group[n]->index < leader ? group[n]->index : leader;
    }
    for (uint32_t n = 0; n < count; n++) {
        group[n]->sq_cpu = (int32_t)sheet->machine->cpus[spare].cpu;
        group[n]->sq_leader = (int32_t)leader;
    }
    char list[64];
    if (plx_cpu_set_format(&members, list, sizeof(list)) < 0)
        snprintf(list, sizeof(list), "led by %" PRIu32, leader);
    core->role = PLX_ROLE_SQ;
    snprintf(core->reason, sizeof(core->reason), "SQ thread of reactor%s %s",
             count == 1 ? "" : "s", list);
    sheet->plan->sq_count++;
}

/* Sorts a node's reactors by cluster; they come sorted by CPU, and stay so within a cluster. */
static void sort_by_cluster(const struct plx_plan_sheet *sheet, struct plx_plan_reactor **sorted,
                            uint32_t count)
{
    for (uint32_t i = 1; i < count; i++) {
        struct plx_plan_reactor *moving = sorted[i];
        uint32_t cluster = cluster_of(sheet, moving);
        uint32_t to = i;
        for (; to > 0 && cluster_of(sheet, sorted[to - 1]) > cluster; to--)
            sorted[to] = sorted[to - 1];
        sorted[to] = moving;
    }
}

/* Splits each node's reactors into as many groups, of much the same size, as it has SQ threads. */
static void give_sq_threads(struct plx_plan_sheet *sheet)
{
    struct plx_plan_reactor *sorted[PLX_PLAN_REACTORS_MAX];
    uint32_t first = 0;
    for (uint32_t i = 0; i < sheet->machine->node_count; i++) {
        const struct plx_plan_node *node = &sheet->nodes[i];
        for (uint32_t n = 0; n < node->reactors; n++)
            sorted[n] = &sheet->plan->reactors[first + n];
        first += node->reactors;
        sort_by_cluster(sheet, sorted, node->reactors);
        uint32_t done = 0;
        for (uint32_t group = 0; group < node->sq; group++) {
            uint32_t size = (node->reactors - done) / (node->sq - group);
            size += (node->reactors - done) % (node->sq - group) != 0;
            give_sq(sheet, sorted + done, size);
            done += size;
        }
    }
}

static void list_others(struct plx_plan_sheet *sheet)
{
    const uint32_t most = PLX_PLAN_REACTORS_MAX;
    for (uint32_t i = 0; i < sheet->machine->cpu_count; i++) {
        struct plx_plan_core *core = &sheet->cores[i];
        if (core->role == PLX_ROLE_REACTOR)
            continue;
        if (core->role == PLX_ROLE_NAMED_SQ)
            snprintf(core->reason, sizeof(core->reason), "in POLLUX_SQPOLL_CPUS, not needed");
        else if (core->role == PLX_ROLE_USABLE && sheet->settings->reactors != 0)
            snprintf(core->reason, sizeof(core->reason), "spare: POLLUX_REACTORS=%" PRIu32,
                     sheet->settings->reactors);
        else if (core->role == PLX_ROLE_USABLE && sheet->plan->reactor_count < most)
            snprintf(core->reason, sizeof(core->reason), "spare: no core left for its SQ thread");
        else if (core->role == PLX_ROLE_USABLE)
            snprintf(core->reason, sizeof(core->reason),
                     "spare: %" PRIu32 " reactors are the most that run", most);
        struct plx_plan_other *other = &sheet->plan->others[sheet->plan->other_count++];
        other->cpu = sheet->machine->cpus[i].cpu;
        other->is_sq = core->role == PLX_ROLE_SQ;
        memcpy(other->reason, core->reason, sizeof(other->reason));
    }
}

/* --- memory ---------------------------------------------------------------------------------- */

static bool has_memory(const struct plx_machine_node *node)
{
    return node->memory_bytes > 0 && node->allowed;
}

static int find_memory(struct plx_plan_sheet *sheet)
{
    const struct plx_machine *machine = sheet->machine;
    for (uint32_t from = 0; from < machine->node_count; from++) {
        uint32_t best = UINT32_MAX;
        const uint32_t *distances = &machine->distances[from * machine->node_count];
        for (uint32_t to = 0; to < machine->node_count; to++) {
            if (has_memory(&machine->nodes[to]) &&
                (best == UINT32_MAX || to == from ||
                 (best != from && distances[to] < distances[best])))
                best = to;
        }
        if (best == UINT32_MAX)
            return plx_diag_set(sheet->diag, -ENODEV, "memory",
                                "no node has memory that the process may use");
        sheet->nodes[from].memory = best;
        if (best != from && sheet->nodes[from].reactors > 0)
            plx__plan_note(sheet, "node %" PRIu32 " has no memory%s: its reactors take theirs "
                                  "from node %" PRIu32,
                           machine->nodes[from].node,
                           machine->nodes[from].memory_bytes > 0 ? " for this process" : "",
                           machine->nodes[best].node);
    }
    return 0;
}

static int give_memory(struct plx_plan_sheet *sheet)
{
    const struct plx_machine *machine = sheet->machine;
    uint64_t bytes = sheet->settings->arena_size;
    int rc = find_memory(sheet);
    if (rc != 0)
        return rc;
    for (uint32_t i = 0; i < sheet->plan->reactor_count; i++) {
        struct plx_plan_reactor *reactor = &sheet->plan->reactors[i];
        uint32_t node = plx__plan_node_position(machine, reactor->node);
        reactor->mem_node = machine->nodes[sheet->nodes[node].memory].node;
    }
    for (uint32_t to = 0; to < machine->node_count; to++) {
        uint32_t count = 0;
        for (uint32_t from = 0; from < machine->node_count; from++)
            count += sheet->nodes[from].memory == to ? sheet->nodes[from].reactors : 0;
        if (count == 0 || bytes <= machine->nodes[to].memory_bytes / count)
            continue;
        return plx_diag_set(sheet->diag, -ENOSPC, "POLLUX_ARENA_SIZE",
                            "POLLUX_ARENA_SIZE: the arenas of %" PRIu32 " reactors, %" PRIu64
                            " MiB each, are to lie on node %" PRIu32 ", which has %" PRIu64
                            " MiB: at most %" PRIu64 " MiB each",
                            count, bytes >> 20, machine->nodes[to].node,
                            machine->nodes[to].memory_bytes >> 20,
                            (machine->nodes[to].memory_bytes / count) >> 20);
    }
    return 0;
}

/* --- idle policy, and what else is to be said ------------------------------------------------ */

static void choose_idle(struct plx_plan_sheet *sheet)
{
    uint32_t quota = sheet->machine->quota_mcpus;
    char why[96] = "";
    if (quota != 0)
        snprintf(why, sizeof(why), "cgroups grant this process %" PRIu32 ".%02" PRIu32 " CPUs",
                 quota / 1000, quota % 1000 / 10);
    else if (sheet->allowed == 1)
        snprintf(why, sizeof(why), "the process has one CPU for everything it runs");

    enum plx_idle asked = sheet->settings->idle;
    sheet->plan->idle = asked == PLX_IDLE_AUTO ? PLX_IDLE_SPIN : asked;
    if (why[0] == '\0')
        return;
    if (asked == PLX_IDLE_AUTO) {
        sheet->plan->idle = PLX_IDLE_ADAPTIVE;
        plx__plan_note(sheet, "idle adaptive: %s", why);
    } else if (asked == PLX_IDLE_SPIN) {
        plx__plan_note(sheet, "POLLUX_IDLE=spin is honoured, but %s: spinning takes time from what "
                              "is waited for",
                       why);
    }
    uint32_t threads = sheet->plan->reactor_count + sheet->plan->sq_count;
    if (quota != 0 && (uint64_t)threads * 1000 > quota)
        plx__plan_note(sheet, "%" PRIu32 " polling threads exceed %" PRIu32 ".%02" PRIu32
                              " CPUs and will be throttled; POLLUX_REACTORS and "
                              "POLLUX_SQPOLL=off make them fewer",
                       threads, quota / 1000, quota % 1000 / 10);
}

static int check_settings(const struct plx_settings *settings, struct plx_diag *diag)
{
    if ((unsigned)settings->idle > PLX_IDLE_BLOCK)
        return plx_diag_set(diag, -EINVAL, "POLLUX_IDLE", "POLLUX_IDLE is %u: no such policy",
                            (unsigned)settings->idle);
    if (settings->reactors > PLX_PLAN_REACTORS_MAX)
        return plx_diag_set(diag, -ENOSPC, "POLLUX_REACTORS",
                            "POLLUX_REACTORS=%" PRIu32 ": at most %d run", settings->reactors,
                            PLX_PLAN_REACTORS_MAX);
    if (settings->sqpoll_share == 0 || settings->sqpoll_share > PLX_PLAN_REACTORS_MAX)
        return plx_diag_set(diag, -EINVAL, "POLLUX_SQPOLL_SHARE",
                            "POLLUX_SQPOLL_SHARE=%" PRIu32 ": expected 1 to %d",
                            settings->sqpoll_share, PLX_PLAN_REACTORS_MAX);
    return 0;
}

/* --- the whole ------------------------------------------------------------------------------- */

static int fill(struct plx_plan_sheet *sheet)
{
    int rc = plx__plan_find_cores(sheet);
    if (rc == 0)
        rc = plx__plan_count(sheet);
    if (rc != 0)
        return rc;
    give_reactors(sheet);
    list_reactors(sheet);
    give_sq_threads(sheet);
    list_others(sheet);
    rc = give_memory(sheet);
    if (rc != 0)
        return rc;
    uint64_t count = sheet->plan->reactor_count;
    sheet->plan->mesh_bytes =
        count * (count - 1) * sheet->settings->mesh_slots * MESH_SLOT_BYTES;
    choose_idle(sheet);
    if (sheet->settings->pin == PLX_WANT_NO)
        plx__plan_note(sheet, "POLLUX_PIN=no: threads run where the system puts them, and the CPUs "
                              "are only counted");
    if (!sheet->machine->is_this_system)
        plx__plan_note(sheet, "a plan to look at: threads are started on this system only");
    return 0;
}

int plx_plan_create(const struct plx_machine *machine, const struct plx_settings *settings,
                    struct plx_plan **out, struct plx_diag *diag)
{
    *out = NULL;
    int rc = check_settings(settings, diag);
    if (rc != 0)
        return rc;
    PLX_ASSERT(machine->cpu_count > 0 && machine->cpu_count <= PLX_MACHINE_CPUS_MAX);
    PLX_ASSERT(machine->node_count > 0 && machine->node_count <= PLX_MACHINE_NODES_MAX);

    struct plx_plan_sheet sheet = {.machine = machine, .settings = settings, .diag = diag};
    sheet.note_room = NOTES_BESIDE_NODES + 2 * machine->node_count;
    sheet.cores = calloc(machine->cpu_count, sizeof(*sheet.cores));
    sheet.nodes = calloc(machine->node_count, sizeof(*sheet.nodes));
    sheet.plan = calloc(1, sizeof(*sheet.plan));
    if (sheet.plan != NULL) {
        sheet.plan->reactors = calloc(PLX_PLAN_REACTORS_MAX, sizeof(*sheet.plan->reactors));
        sheet.plan->others = calloc(machine->cpu_count, sizeof(*sheet.plan->others));
        sheet.plan->notes = calloc(sheet.note_room, sizeof(*sheet.plan->notes));
    }
    if (sheet.cores == NULL || sheet.nodes == NULL || sheet.plan == NULL ||
        sheet.plan->reactors == NULL || sheet.plan->others == NULL || sheet.plan->notes == NULL)
        rc = plx_diag_set(diag, -ENOMEM, "memory", "no memory for the plan");
    else
        rc = fill(&sheet);

    free(sheet.nodes);
    free(sheet.cores);
    if (rc != 0)
        plx_plan_destroy(sheet.plan);
    else
        *out = sheet.plan;
    return rc;
}

void plx_plan_destroy(struct plx_plan *plan)
{
    if (plan == NULL)
        return;
    free(plan->notes);
    free(plan->others);
    free(plan->reactors);
    free(plan);
}
