/* SPDX-License-Identifier: MIT */
/*
 * What a turn without work costs with many peers that could have sent something.
 *
 * The peers are simulated: the runtime is planned for one reactor more than there are peers, on a
 * machine made up for it, and one reactor is adopted. Its inputs are there, rings and news lines,
 * as they would be; nobody writes to them, which is what idle means. With "pollux/ports" the peers
 * are ports instead, each of which has posted once.
 */
#include <errno.h>
#include <stdio.h>

#include "runtime/mesh/port.h"
#include "tools/bench/bench.h"

#define PEERS_MAX  64u
#define TURNS      1024u
#define ABANDON_NS 2000000000u

struct idle {
    struct plx_bench *bench;
    uint32_t peers;
    bool by_ports;
    struct plx_runtime *runtime;
    struct plx_reactor *reactor;
    struct plx_port *ports[PEERS_MAX];
    uint32_t arrived;
    struct plx_machine_cpu cpus[PEERS_MAX + 1];
    struct plx_machine_node node;
    uint32_t distance;
    struct plx_machine machine;
};

/* A post has no context. */
static struct idle *active;

/* --- the peer: a look at a line of each ------------------------------------------------------- */

struct lines {
    struct {
        PLX_ATOMIC(uint64_t) word;
    } PLX_ALIGNED(2 * PLX_CACHE_LINE) at[PEERS_MAX];
    uint32_t count;
};

static int look_at_lines(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    struct lines *lines = ctx;
    uint64_t seen = 0;
    uint64_t before = plx_ticks();
    while (before < slice->end_ticks) {
        for (uint32_t turn = 0; turn < TURNS; turn++) {
            for (uint32_t i = 0; i < lines->count; i++)
                seen |= plx_load_acquire(&lines->at[i].word);
        }
        uint64_t now = plx_ticks();
        plx_bench_sample(slice, now - before);
        before = now;
    }
    return seen == 0 ? 0 : plx_diag_set(diag, -EPROTO, "line", "somebody has written to it");
}

/* --- turns ------------------------------------------------------------------------------------ */

static void count_arrival(struct plx_reactor *here, const void *body)
{
    (void)here;
    (void)body;
    active->arrived++;
}

static int open_ports(struct idle *idle, struct plx_diag *diag)
{
    int rc = 0;
    for (uint32_t i = 0; i < idle->peers && rc == 0; i++) {
        rc = plx_port_create(idle->runtime, &idle->ports[i], diag);
        if (rc == 0) {
            rc = plx_port_post(idle->ports[i], 0, count_arrival, NULL, 0);
            if (rc != 0)
                plx_diag_set(diag, rc, "plx_port_post", "the first post is refused");
        }
    }
    if (rc == 0)
        (void)plx_reactor_poll(idle->reactor);
    if (rc == 0 && idle->arrived != idle->peers)
        rc = plx_diag_set(diag, -EPROTO, "plx_port_post", "a turn did not find all that was sent");
    return rc;
}

static void close_idle(void *ctx)
{
    struct idle *idle = ctx;
    for (uint32_t i = 0; i < PEERS_MAX; i++) {
        (void)!plx_port_destroy(idle->ports[i], 0);
        idle->ports[i] = NULL;
    }
    if (idle->reactor != NULL)
        (void)!plx_reactor_abandon(idle->reactor, ABANDON_NS);
    idle->reactor = NULL;
    plx_runtime_destroy(idle->runtime);
    idle->runtime = NULL;
}

static int open_idle(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    struct idle *idle = ctx;
    (void)slice;
    char reactors[16];
    char ports[16];
    snprintf(reactors, sizeof(reactors), "%u", idle->by_ports ? 1 : idle->peers + 1);
    snprintf(ports, sizeof(ports), "%u", idle->by_ports ? idle->peers : 0);
    const char *const settings[] = {"reactors", reactors, "ports", ports, "pin", "no",
                                    "sqpoll",   "off",    "smt",   "yes", NULL};
    active = idle;
    idle->arrived = 0;
    int rc = plx_bench_runtime(idle->bench, settings, &idle->machine, &idle->runtime, diag);
    if (rc != 0)
        return rc;
    rc = plx_reactor_adopt(idle->runtime, 0, &idle->reactor, diag);
    if (rc == 0 && idle->by_ports)
        rc = open_ports(idle, diag);
    if (rc != 0)
        close_idle(idle);
    return rc;
}

static int turn(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    struct idle *idle = ctx;
    int work = 0;
    uint64_t before = plx_ticks();
    while (before < slice->end_ticks) {
        for (uint32_t i = 0; i < TURNS; i++)
            work |= plx_reactor_poll(idle->reactor);
        uint64_t now = plx_ticks();
        plx_bench_sample(slice, now - before);
        before = now;
    }
    return work == 0 ? 0 : plx_diag_set(diag, -EPROTO, "plx_reactor_poll", "it found work");
}

/* --- the cases -------------------------------------------------------------------------------- */

/* So many CPUs on one node, the first being the one that is measured on. */
static void make_up_machine(struct idle *idle)
{
    uint32_t count = PEERS_MAX + 1;
    uint32_t first = (uint32_t)plx_bench_cpu_a(idle->bench);
    for (uint32_t i = 0; i < count; i++)
        idle->cpus[i] = (struct plx_machine_cpu){.cpu = first + i, .core = i, .allowed = true};
    idle->node = (struct plx_machine_node){
        .cpu_count = count, .memory_bytes = (uint64_t)64 << 30, .allowed = true};
    idle->distance = PLX_DISTANCE_LOCAL;
    idle->machine = (struct plx_machine){
        .cpus = idle->cpus,
        .nodes = &idle->node,
        .distances = &idle->distance,
        .cpu_count = count,
        .node_count = 1,
        .core_count = count,
        .cluster_count = 1,
        .distances_known = true,
        .is_this_system = true,
        .source = "made up",
    };
}

int plx_bench_mesh_idle(struct plx_bench *bench)
{
    static struct idle by_reactors;
    static struct idle by_ports;
    static struct lines lines;
    static const struct {
        uint32_t peers;
        const char *name;
        const char *what;
    } cases[] = {
        {4, "idle_turn_4", "a turn without work, 4 idle peers; the peer looks at 4 lines"},
        {16, "idle_turn_16", "a turn without work, 16 idle peers; the peer looks at 16 lines"},
        {64, "idle_turn_64", "a turn without work, 64 idle peers; the peer looks at 64 lines"},
    };
    const struct plx_bench_subject subjects[] = {
        {.name = "pollux",
         .run = turn,
         .open = open_idle,
         .close = close_idle,
         .ctx = &by_reactors,
         .mem_node = -1},
        {.name = "pollux/ports",
         .run = turn,
         .open = open_idle,
         .close = close_idle,
         .ctx = &by_ports,
         .mem_node = -1},
        {.name = "raw", .run = look_at_lines, .ctx = &lines, .mem_node = -1},
    };
    by_reactors.bench = bench;
    by_ports.bench = bench;
    by_ports.by_ports = true;
    make_up_machine(&by_reactors);
    make_up_machine(&by_ports);
    int rc = 0;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]) && rc == 0; i++) {
        const struct plx_bench_case what = {
            .bench = "mesh", .name = cases[i].name, .what = cases[i].what, .block = TURNS};
        by_reactors.peers = cases[i].peers;
        by_ports.peers = cases[i].peers;
        lines.count = cases[i].peers;
        rc = plx_bench_measure(bench, &what, subjects, 3);
    }
    return rc;
}
