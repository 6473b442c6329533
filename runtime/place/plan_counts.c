/* SPDX-License-Identifier: MIT */
#include "runtime/place/plan_internal.h"

#include <errno.h>
#include <inttypes.h>

static uint32_t divide_up(uint32_t number, uint32_t by)
{
    return number / by + (number % by != 0);
}

static uint32_t smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* --- SQ threads: where they are wanted ------------------------------------------------------- */

static int refuse_named(const struct plx_plan_sheet *sheet, uint32_t position)
{
    const struct plx_machine *machine = sheet->machine;
    uint32_t number = machine->nodes[position].node;
    uint32_t cpu = 0;
    while (sheet->cores[cpu].role != PLX_ROLE_NAMED_SQ || machine->cpus[cpu].node != number)
        cpu++;
    return plx_diag_set(sheet->diag, -EINVAL, "POLLUX_SQPOLL_CPUS",
                        "POLLUX_SQPOLL_CPUS names CPU %" PRIu32 " of node %" PRIu32
                        ", where no reactor runs; an SQ thread serves reactors of its own node",
                        machine->cpus[cpu].cpu, number);
}

/* POLLUX_SQPOLL_CPUS decides for nodes it names a CPU of, and under `on` must name every one. */
static int want_named(const struct plx_plan_sheet *sheet, uint32_t position)
{
    struct plx_plan_node *node = &sheet->nodes[position];
    uint32_t share = sheet->settings->sqpoll_share;
    uint32_t number = sheet->machine->nodes[position].node;
    if (node->usable == 0 && node->named > 0)
        return refuse_named(sheet, position);
    node->wants_sq = node->named > 0;
    node->capacity = node->usable;
    if (node->usable == 0)
        return 0;
    if (!node->wants_sq && sheet->settings->sqpoll == PLX_SQPOLL_ON)
        return plx_diag_set(sheet->diag, -EINVAL, "POLLUX_SQPOLL_CPUS",
                            "POLLUX_SQPOLL_CPUS names no CPU of node %" PRIu32
                            ", whose reactors need one under POLLUX_SQPOLL=on",
                            number);
    if (!node->wants_sq)
        return 0;
    node->capacity = smaller(node->usable, node->named * share);
    if (sheet->settings->reactors == 0 && node->capacity < node->usable)
        return plx_diag_set(sheet->diag, -ENOSPC, "POLLUX_SQPOLL_CPUS",
                            "POLLUX_SQPOLL_CPUS names %" PRIu32 " of node %" PRIu32
                            "'s CPUs, enough for %" PRIu32 " reactors (POLLUX_SQPOLL_SHARE=%" PRIu32
                            "), but %" PRIu32 " would run there; name more of them, raise the "
                            "share, or say how many in POLLUX_REACTORS",
                            node->named, number, node->capacity, share, node->usable);
    return 0;
}

static int want_found(const struct plx_plan_sheet *sheet, uint32_t position)
{
    struct plx_plan_node *node = &sheet->nodes[position];
    bool on = sheet->settings->sqpoll == PLX_SQPOLL_ON;
    bool is_auto = sheet->settings->sqpoll == PLX_SQPOLL_AUTO &&
                   !plx__plan_without_uring(sheet->settings);
    node->wants_sq = node->usable > 0 && (on || (is_auto && node->usable >= PLX_PLAN_AUTO_CORES));
    node->capacity = node->usable;
    if (!node->wants_sq)
        return 0;
    if (node->usable == 1)
        return plx_diag_set(sheet->diag, -EINVAL, "POLLUX_SQPOLL",
                            "POLLUX_SQPOLL=on needs two usable cores on node %" PRIu32
                            ", which has one; POLLUX_SQPOLL=auto would do, or another core for it, "
                            "or to leave the node out by POLLUX_NODES",
                            sheet->machine->nodes[position].node);
    node->capacity -= divide_up(node->usable, sheet->settings->sqpoll_share + 1);
    return 0;
}

/* --- reactors -------------------------------------------------------------------------------- */

static uint32_t total_capacity(const struct plx_plan_sheet *sheet)
{
    uint32_t total = 0;
    for (uint32_t i = 0; i < sheet->machine->node_count; i++)
        total += sheet->nodes[i].capacity;
    return total;
}

/* Hands `count` reactors, which must fit, to the nodes in turn, so that they fill up evenly. */
static void distribute(struct plx_plan_sheet *sheet, uint32_t count)
{
    while (count > 0) {
        for (uint32_t i = 0; i < sheet->machine->node_count && count > 0; i++) {
            struct plx_plan_node *node = &sheet->nodes[i];
            if (node->reactors < node->capacity) {
                node->reactors++;
                count--;
            }
        }
    }
}

static int refuse_reactors(const struct plx_plan_sheet *sheet, uint32_t fit)
{
    uint32_t usable = 0;
    for (uint32_t i = 0; i < sheet->machine->node_count; i++)
        usable += sheet->nodes[i].usable;
    return plx_diag_set(sheet->diag, -ENOSPC, "POLLUX_REACTORS",
                        "POLLUX_REACTORS=%" PRIu32 ", but %" PRIu32 " fit: %" PRIu32
                        " cores are usable%s%s",
                        sheet->settings->reactors, fit, usable,
                        fit == usable            ? ""
                        : sheet->has_named_sq    ? "; POLLUX_SQPOLL_CPUS and _SHARE allow no more"
                                                 : ", of which POLLUX_SQPOLL=on keeps the others",
                        sheet->settings->smt ? "" : " (SMT siblings are not, POLLUX_SMT=no)");
}

/* How many SQ threads serve the reactors that a node got. */
static void count_sq(const struct plx_plan_sheet *sheet, struct plx_plan_node *node, bool exactly)
{
    if (!node->wants_sq || node->reactors == 0)
        return;
    uint32_t spare = node->usable - node->reactors;
    uint32_t needed = divide_up(node->reactors, sheet->settings->sqpoll_share);
    if (sheet->has_named_sq)
        node->sq = smaller(node->named, node->reactors);
    else if (spare < needed)
        node->gave_way = true;
    else
        /* Cores that no reactor could use for want of an SQ thread relieve the SQ threads. */
        node->sq = exactly ? needed : smaller(spare, node->reactors);
}

int plx__plan_count(struct plx_plan_sheet *sheet)
{
    const struct plx_settings *settings = sheet->settings;
    uint32_t nodes = sheet->machine->node_count;
    for (uint32_t i = 0; i < nodes; i++) {
        int rc = sheet->has_named_sq ? want_named(sheet, i) : want_found(sheet, i);
        if (rc != 0)
            return rc;
    }

    uint32_t fit = total_capacity(sheet);
    if (settings->reactors > fit && settings->sqpoll == PLX_SQPOLL_AUTO && !sheet->has_named_sq) {
        /* A core is kept for an SQ thread where one can be spared: here it cannot. */
        for (uint32_t i = 0; i < nodes; i++)
            sheet->nodes[i].capacity = sheet->nodes[i].usable;
        fit = total_capacity(sheet);
    }
    if (settings->reactors > fit)
        return refuse_reactors(sheet, fit);
    bool capped = settings->reactors == 0 && fit > PLX_PLAN_REACTORS_MAX;
    if (capped)
        plx__plan_note(sheet, "%" PRIu32 " reactors would fit, %d are the most that run", fit,
                       PLX_PLAN_REACTORS_MAX);
    bool exactly = settings->reactors != 0 || capped;
    distribute(sheet, settings->reactors != 0 ? settings->reactors
                      : capped                ? PLX_PLAN_REACTORS_MAX
                                              : fit);
    for (uint32_t i = 0; i < nodes; i++) {
        struct plx_plan_node *node = &sheet->nodes[i];
        if (node->reactors == 0 && node->named > 0)
            return refuse_named(sheet, i);
        count_sq(sheet, node, exactly);
        if (node->gave_way)
            plx__plan_note(sheet, "node %" PRIu32 ": POLLUX_REACTORS=%" PRIu32
                                  " leaves too few cores for SQ threads",
                           sheet->machine->nodes[i].node, settings->reactors);
    }
    return 0;
}
