/* SPDX-License-Identifier: MIT */
#include "runtime/place/plan_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Bytes of a list of CPUs or nodes inside an error's text. */
#define LIST_BYTES 128

static void format_short(const struct plx_cpu_set *set, char *text, size_t bytes)
{
    if (plx_cpu_set_is_empty(set))
        snprintf(text, bytes, "none");
    else if (plx_cpu_set_format(set, text, bytes) < 0)
        snprintf(text, bytes, "%u of them", plx_cpu_set_count(set));
}

static struct plx_cpu_set allowed_cpus(const struct plx_machine *machine)
{
    struct plx_cpu_set set = {{0}};
    for (uint32_t i = 0; i < machine->cpu_count; i++) {
        if (machine->cpus[i].allowed)
            plx_cpu_set_add(&set, machine->cpus[i].cpu);
    }
    return set;
}

/* --- what the settings name must exist ------------------------------------------------------- */

static int check_cpus(const struct plx_plan_sheet *sheet, const struct plx_cpu_set *named,
                      const char *variable)
{
    char list[LIST_BYTES];
    struct plx_cpu_set allowed = allowed_cpus(sheet->machine);
    format_short(&allowed, list, sizeof(list));
    for (unsigned n = plx_cpu_set_next(named, 0); n < PLX_CPU_SET_SIZE;
         n = plx_cpu_set_next(named, n + 1)) {
        const struct plx_machine_cpu *cpu = plx_machine_cpu(sheet->machine, n);
        if (cpu == NULL)
            return plx_diag_set(sheet->diag, -EINVAL, variable,
                                "%s names CPU %u, which does not exist; allowed are: %s", variable,
                                n, list);
        if (!cpu->allowed)
            return plx_diag_set(sheet->diag, -EINVAL, variable,
                                "%s names CPU %u, which the process's affinity or cpuset does not "
                                "allow; allowed are: %s",
                                variable, n, list);
    }
    return 0;
}

static int check_nodes(const struct plx_plan_sheet *sheet)
{
    const struct plx_cpu_set *named = &sheet->settings->nodes;
    for (unsigned n = plx_cpu_set_next(named, 0); n < PLX_CPU_SET_SIZE;
         n = plx_cpu_set_next(named, n + 1)) {
        const struct plx_machine_node *node = plx_machine_node(sheet->machine, n);
        const char *fault = NULL;
        if (node == NULL)
            fault = "does not exist";
        else if (node->cpu_count == 0)
            fault = "has no cores";
        else if (node->memory_bytes == 0)
            fault = "has no memory";
        else if (!node->allowed)
            fault = "gives this process no memory (cpuset)";
        if (fault == NULL)
            continue;
        char list[LIST_BYTES];
        struct plx_cpu_set fit = {{0}};
        for (uint32_t i = 0; i < sheet->machine->node_count; i++) {
            node = &sheet->machine->nodes[i];
            if (node->cpu_count > 0 && node->memory_bytes > 0 && node->allowed)
                plx_cpu_set_add(&fit, node->node);
        }
        format_short(&fit, list, sizeof(list));
        return plx_diag_set(sheet->diag, -EINVAL, "POLLUX_NODES",
                            "POLLUX_NODES names node %u, which %s; nodes with cores and memory: %s",
                            n, fault, list);
    }
    return 0;
}

/* --- roles ----------------------------------------------------------------------------------- */

static void leave_out(struct plx_plan_core *core, const char *reason)
{
    core->role = PLX_ROLE_OUT;
    snprintf(core->reason, sizeof(core->reason), "%s", reason);
}

/* What can be said of a CPU by itself; isolation and siblings come after. */
static void classify(const struct plx_plan_sheet *sheet, uint32_t position)
{
    const struct plx_settings *settings = sheet->settings;
    const struct plx_machine_cpu *cpu = &sheet->machine->cpus[position];
    struct plx_plan_core *core = &sheet->cores[position];
    if (!cpu->allowed) {
        leave_out(core, "not allowed by the affinity or cpuset");
    } else if (sheet->has_named_sq && plx_cpu_set_has(&settings->sqpoll_cpus, cpu->cpu)) {
        core->role = PLX_ROLE_NAMED_SQ;
    } else if (!plx_cpu_set_is_empty(&settings->cpus) &&
               !plx_cpu_set_has(&settings->cpus, cpu->cpu)) {
        leave_out(core, "not in POLLUX_CPUS");
    } else if (!plx_cpu_set_is_empty(&settings->nodes) &&
               !plx_cpu_set_has(&settings->nodes, cpu->node)) {
        leave_out(core, "its node is not in POLLUX_NODES");
    } else {
        core->role = PLX_ROLE_USABLE;
    }
}

/* Who isolated CPUs meant them for a program like this one: the others are left to the rest. */
static void prefer_isolated(struct plx_plan_sheet *sheet)
{
    if (!plx_cpu_set_is_empty(&sheet->settings->cpus))
        return;
    const struct plx_machine *machine = sheet->machine;
    for (uint32_t i = 0; i < machine->cpu_count; i++) {
        if (sheet->cores[i].role == PLX_ROLE_USABLE && machine->cpus[i].isolated)
            sheet->isolated_only = true;
    }
    if (!sheet->isolated_only)
        return;
    for (uint32_t i = 0; i < machine->cpu_count; i++) {
        if (sheet->cores[i].role == PLX_ROLE_USABLE && !machine->cpus[i].isolated)
            leave_out(&sheet->cores[i], "not isolated, while other allowed CPUs are");
    }
    plx__plan_note(sheet, "some allowed CPUs are isolated: reactors use only those; POLLUX_CPUS "
                          "would name others");
}

/* Of each core one CPU stays: one named for an SQ thread, else the first by rank. */
static int drop_siblings(struct plx_plan_sheet *sheet)
{
    const struct plx_machine *machine = sheet->machine;
    if (sheet->settings->smt)
        return 0;
    for (uint32_t i = 0; i < machine->cpu_count; i++) {
        struct plx_plan_core *core = &sheet->cores[i];
        for (uint32_t j = 0; j < machine->cpu_count && core->role != PLX_ROLE_OUT; j++) {
            enum plx_plan_role other = sheet->cores[j].role;
            if (j == i || machine->cpus[j].core != machine->cpus[i].core || other == PLX_ROLE_OUT)
                continue;
            if (core->role == PLX_ROLE_NAMED_SQ && other == PLX_ROLE_NAMED_SQ)
                return plx_diag_set(sheet->diag, -EINVAL, "POLLUX_SQPOLL_CPUS",
                                    "POLLUX_SQPOLL_CPUS names CPU %" PRIu32 " and CPU %" PRIu32
                                    ", SMT siblings of one core; name one of them, or set "
                                    "POLLUX_SMT=yes",
                                    machine->cpus[i].cpu, machine->cpus[j].cpu);
            if (core->role == PLX_ROLE_NAMED_SQ ||
                (other == PLX_ROLE_USABLE && machine->cpus[i].rank < machine->cpus[j].rank))
                continue;
            core->role = PLX_ROLE_OUT;
            snprintf(core->reason, sizeof(core->reason), "SMT sibling of cpu %" PRIu32 "%s",
                     machine->cpus[j].cpu,
                     other == PLX_ROLE_NAMED_SQ ? ", which POLLUX_SQPOLL_CPUS names" : "");
        }
    }
    return 0;
}

/* --- by node --------------------------------------------------------------------------------- */

static int count_nodes(struct plx_plan_sheet *sheet)
{
    const struct plx_machine *machine = sheet->machine;
    const struct plx_settings *settings = sheet->settings;
    uint32_t usable = 0;
    for (uint32_t i = 0; i < machine->cpu_count; i++) {
        struct plx_plan_node *node =
            &sheet->nodes[plx__plan_node_position(machine, machine->cpus[i].node)];
        node->usable += sheet->cores[i].role == PLX_ROLE_USABLE;
        node->named += sheet->cores[i].role == PLX_ROLE_NAMED_SQ;
        usable += sheet->cores[i].role == PLX_ROLE_USABLE;
    }
    for (uint32_t i = 0; i < machine->node_count; i++) {
        const struct plx_plan_node *node = &sheet->nodes[i];
        if (plx_cpu_set_has(&settings->nodes, machine->nodes[i].node) &&
            node->usable + node->named == 0)
            return plx_diag_set(sheet->diag, -EINVAL, "POLLUX_NODES",
                                "POLLUX_NODES names node %" PRIu32 ", none of whose CPUs is %s",
                                machine->nodes[i].node,
                                sheet->isolated_only
                                    ? "isolated, while others are; POLLUX_CPUS would name its CPUs"
                                    : "both allowed and in POLLUX_CPUS");
    }
    if (usable > 0)
        return 0;
    if (sheet->has_named_sq)
        return plx_diag_set(sheet->diag, -EINVAL, "POLLUX_SQPOLL_CPUS",
                            "POLLUX_SQPOLL_CPUS names every usable core: none is left for a "
                            "reactor");
    if (sheet->allowed == 0)
        return plx_diag_set(sheet->diag, -ENODEV, "CPU", "the process may run on no CPU");
    return plx_diag_set(sheet->diag, -EINVAL, "POLLUX_CPUS",
                        "no CPU in POLLUX_CPUS lies on a node in POLLUX_NODES");
}

int plx__plan_find_cores(struct plx_plan_sheet *sheet)
{
    const struct plx_settings *settings = sheet->settings;
    int rc = check_cpus(sheet, &settings->cpus, "POLLUX_CPUS");
    if (rc == 0)
        rc = check_cpus(sheet, &settings->sqpoll_cpus, "POLLUX_SQPOLL_CPUS");
    if (rc == 0)
        rc = check_nodes(sheet);
    if (rc != 0)
        return rc;

    struct plx_cpu_set allowed = allowed_cpus(sheet->machine);
    sheet->allowed = plx_cpu_set_count(&allowed);
    sheet->has_named_sq = !plx_cpu_set_is_empty(&settings->sqpoll_cpus);
    bool none = settings->sqpoll == PLX_SQPOLL_OFF || plx__plan_without_uring(settings);
    if (sheet->has_named_sq && none) {
        sheet->has_named_sq = false;
        plx__plan_note(sheet, "POLLUX_SQPOLL_CPUS has no effect under %s",
                       settings->sqpoll == PLX_SQPOLL_OFF ? "POLLUX_SQPOLL=off"
                                                          : "POLLUX_BACKEND=epoll");
    }
    for (uint32_t i = 0; i < sheet->machine->cpu_count; i++)
        classify(sheet, i);
    prefer_isolated(sheet);
    rc = drop_siblings(sheet);
    return rc != 0 ? rc : count_nodes(sheet);
}
