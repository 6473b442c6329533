/* SPDX-License-Identifier: MIT */
#include "runtime/place/plan.h"

#include <inttypes.h>
#include <stdio.h>

/* "64 MiB": the largest unit that divides it, so that nothing is rounded away. */
static void format_bytes(uint64_t bytes, char *text, size_t room)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    unsigned unit = 0;
    while (unit + 1 < sizeof(units) / sizeof(units[0]) && bytes != 0 && bytes % 1024 == 0) {
        bytes /= 1024;
        unit++;
    }
    snprintf(text, room, "%" PRIu64 " %s", bytes, units[unit]);
}

static void format_number(int32_t number, char *text, size_t room)
{
    if (number < 0)
        snprintf(text, room, "-");
    else
        snprintf(text, room, "%" PRId32, number);
}

static void explain_whole(const struct plx_plan *plan, const struct plx_machine *machine,
                          plx_text_fn sink, void *ctx)
{
    char arenas[32];
    char mesh[32];
    uint64_t arena_bytes = 0;
    for (uint32_t i = 0; i < plan->reactor_count; i++)
        arena_bytes += plan->reactors[i].arena_bytes;
    format_bytes(arena_bytes, arenas, sizeof(arenas));
    format_bytes(plan->mesh_bytes, mesh, sizeof(mesh));
    plx_text_line(sink, ctx,
                  "plan: %" PRIu32 " reactor%s and %" PRIu32 " SQ thread%s on %s, idle %s, arenas "
                  "%s, mesh %s",
                  plan->reactor_count, plan->reactor_count == 1 ? "" : "s", plan->sq_count,
                  plan->sq_count == 1 ? "" : "s",
                  machine->is_this_system ? "this system" : machine->source,
                  plx_idle_name(plan->idle), arenas, mesh);
}

void plx_plan_explain(const struct plx_plan *plan, const struct plx_machine *machine,
                      plx_text_fn sink, void *ctx)
{
    explain_whole(plan, machine, sink, ctx);
    plx_text_line(sink, ctx, "  %7s  %4s  %4s  %6s  %6s  %6s  %10s  %s", "reactor", "cpu", "node",
                  "memory", "sq cpu", "leader", "arena", "why");
    for (uint32_t i = 0; i < plan->reactor_count; i++) {
        const struct plx_plan_reactor *reactor = &plan->reactors[i];
        char arena[32];
        char sq[16];
        char leader[16];
        format_bytes(reactor->arena_bytes, arena, sizeof(arena));
        format_number(reactor->sq_cpu, sq, sizeof(sq));
        format_number(reactor->sq_leader, leader, sizeof(leader));
        plx_text_line(sink, ctx,
                      "  %7" PRIu32 "  %4" PRIu32 "  %4" PRIu32 "  %6" PRIu32
                      "  %6s  %6s  %10s  cpu: %s; sq: %s",
                      reactor->index, reactor->cpu, reactor->node, reactor->mem_node, sq, leader,
                      arena, reactor->cpu_reason, reactor->sq_reason);
    }
    if (plan->other_count > 0)
        plx_text_line(sink, ctx, "CPUs without a reactor:");
    for (uint32_t i = 0; i < plan->other_count; i++)
        plx_text_line(sink, ctx, "  cpu %4" PRIu32 "  %s", plan->others[i].cpu,
                      plan->others[i].reason);
    if (plan->note_count > 0)
        plx_text_line(sink, ctx, "notes:");
    for (uint32_t i = 0; i < plan->note_count; i++)
        plx_text_line(sink, ctx, "  %s", plan->notes[i]);
}
