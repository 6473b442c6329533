/* SPDX-License-Identifier: MIT */
/* Posts and calls between two reactors, beside the cells that carry them and the bare line. */
#include <errno.h>
#include <stdio.h>

#include "tools/bench/queues.h"

/* Turns between two looks at the clock. */
#define TURNS 1024u
/* For the end of a reactor without anything in flight. */
#define ABANDON_NS 2000000000u
/* As many as a ring of the mesh has. */
#define SLOTS 256u

/* Two reactors, each on its own thread. */
struct mesh {
    struct plx_runtime *runtime;
    struct plx_reactor *here;
    struct plx_reactor *there;
    uint32_t here_index;
    uint32_t there_index;
    struct plx_diag peer_diag;
    /* The bench thread's. */
    uint64_t sent PLX_ALIGNED(2 * PLX_CACHE_LINE);
    uint64_t answer;
    struct plx_call call;
    uint32_t batch; /* posts between two turns of the sender; 0: none but when the ring is full */
    /* The peer thread's. */
    uint64_t taken PLX_ALIGNED(2 * PLX_CACHE_LINE);
    uint64_t wrong;
    int echo_rc;
};

/* What is posted has no room for it: 8 bytes are to be carried. There is one at a time. */
static struct mesh *active;

/* --- there and back -------------------------------------------------------------------------- */

static void take_answer(struct plx_reactor *here, const void *body)
{
    (void)here;
    active->answer = *(const uint64_t *)body;
}

static void echo(struct plx_reactor *here, const void *body)
{
    int rc = plx_mesh_post(here, active->here_index, take_answer, body, sizeof(uint64_t));
    if (rc != 0)
        active->echo_rc = rc;
}

static int go_and_return(struct plx_bench_slice *slice, struct mesh *mesh, struct plx_diag *diag)
{
    uint64_t last = mesh->sent++;
    int rc = plx_mesh_post(mesh->here, mesh->there_index, echo, &mesh->sent, sizeof(mesh->sent));
    if (rc != 0)
        return plx_diag_set(diag, rc, "plx_mesh_post", "refused with one post on its way");
    for (uint32_t turns = 0; mesh->answer == last;) {
        if (plx_reactor_poll(mesh->here) == 0)
            plx_reactor_idle(mesh->here);
        if (++turns % TURNS == 0 && plx_bench_in_vain(slice))
            return plx_diag_set(diag, -ETIMEDOUT, "plx_mesh_post", "no answer");
    }
    if (mesh->answer != mesh->sent)
        return plx_diag_set(diag, -EPROTO, "plx_mesh_post", "another number came back");
    return 0;
}

static int rtt_run(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    uint64_t before = plx_ticks();
    while (before < slice->end_ticks) {
        for (uint32_t i = 0; i < PLX_BENCH_TRIPS; i++) {
            int rc = go_and_return(slice, ctx, diag);
            if (rc != 0)
                return rc;
        }
        uint64_t now = plx_ticks();
        plx_bench_sample(slice, now - before);
        before = now;
    }
    return 0;
}

static int rtt_peer(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    struct mesh *mesh = ctx;
    for (;;) {
        bool last = plx_bench_stopped(slice);
        int work = plx_reactor_poll(mesh->there);
        if (mesh->echo_rc != 0)
            return plx_diag_set(diag, mesh->echo_rc, "plx_mesh_post", "the answer was refused");
        if (last && work == 0)
            return 0;
        if (work == 0)
            plx_reactor_idle(mesh->there);
    }
}

/* --- a call ---------------------------------------------------------------------------------- */

static int32_t answer_call(struct plx_reactor *here, const struct plx_call_token *token,
                           const void *body, void *answer)
{
    (void)here;
    (void)token;
    *(uint64_t *)answer = *(const uint64_t *)body;
    return 0;
}

static void end_call(struct plx_call *call, const struct plx_call_event *event, void *ctx)
{
    struct mesh *mesh = ctx;
    (void)call;
    mesh->answer = event->how == PLX_CALL_RAN ? *(const uint64_t *)event->answer : UINT64_MAX;
}

static int call_and_wait(struct plx_bench_slice *slice, struct mesh *mesh, struct plx_diag *diag)
{
    uint64_t last = mesh->answer;
    mesh->sent++;
    int rc = plx_mesh_call(mesh->here, &mesh->call, mesh->there_index, answer_call, &mesh->sent,
                           sizeof(mesh->sent), end_call, mesh);
    if (rc != 0)
        return plx_diag_set(diag, rc, "plx_mesh_call", "refused with none in flight");
    for (uint32_t turns = 0; mesh->answer == last;) {
        if (plx_reactor_poll(mesh->here) == 0)
            plx_reactor_idle(mesh->here);
        if (++turns % TURNS == 0 && plx_bench_in_vain(slice))
            return plx_diag_set(diag, -ETIMEDOUT, "plx_mesh_call", "no answer");
    }
    if (mesh->answer != mesh->sent)
        return plx_diag_set(diag, -EPROTO, "plx_mesh_call", "another number came back");
    return 0;
}

static int call_run(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    uint64_t before = plx_ticks();
    while (before < slice->end_ticks) {
        for (uint32_t i = 0; i < PLX_BENCH_TRIPS; i++) {
            int rc = call_and_wait(slice, ctx, diag);
            if (rc != 0)
                return rc;
        }
        uint64_t now = plx_ticks();
        plx_bench_sample(slice, now - before);
        before = now;
    }
    return 0;
}

/* --- one way --------------------------------------------------------------------------------- */

static void take_item(struct plx_reactor *here, const void *body)
{
    (void)here;
    active->wrong |= plx_bench_item_check(body, active->taken++);
}

static int items_run(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    struct mesh *mesh = ctx;
    uint64_t words[PLX_BENCH_ITEM_WORDS];
    uint64_t before = plx_ticks();
    while (before < slice->end_ticks) {
        for (uint32_t i = 0; i < PLX_BENCH_ITEMS; i++) {
            int rc;
            plx_bench_item_fill(words, mesh->sent++);
            uint32_t turns = 0;
            while ((rc = plx_mesh_post(mesh->here, mesh->there_index, take_item, words,
                                       sizeof(words))) == -EAGAIN) {
                (void)plx_reactor_poll(mesh->here);
                if (++turns % TURNS == 0 && plx_bench_in_vain(slice))
                    return plx_diag_set(diag, -ETIMEDOUT, "plx_mesh_post", "the ring stays full");
            }
            if (rc != 0)
                return plx_diag_set(diag, rc, "plx_mesh_post", "refused");
            if (mesh->batch != 0 && (i + 1) % mesh->batch == 0)
                (void)plx_reactor_poll(mesh->here);
        }
        uint64_t now = plx_ticks();
        plx_bench_sample(slice, now - before);
        before = now;
    }
    return 0;
}

static int items_peer(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    struct mesh *mesh = ctx;
    for (;;) {
        bool last = plx_bench_stopped(slice);
        int work = plx_reactor_poll(mesh->there);
        if (mesh->wrong != 0)
            return plx_diag_set(diag, -EPROTO, "plx_mesh_post",
                                "posts arrived that were not sent so");
        if (last && work == 0)
            return 0;
        if (work == 0)
            plx_reactor_idle(mesh->there);
    }
}

/* --- set-up ---------------------------------------------------------------------------------- */

static int adopt_there(void *ctx)
{
    struct mesh *mesh = ctx;
    return plx_reactor_adopt(mesh->runtime, mesh->there_index, &mesh->there, &mesh->peer_diag);
}

static int abandon_there(void *ctx)
{
    struct mesh *mesh = ctx;
    return plx_reactor_abandon(mesh->there, ABANDON_NS);
}

static void close_mesh(struct plx_bench *bench, struct mesh *mesh)
{
    if (mesh->there != NULL)
        (void)plx_bench_on_peer(bench, abandon_there, mesh);
    if (mesh->here != NULL)
        (void)!plx_reactor_abandon(mesh->here, ABANDON_NS);
    plx_runtime_destroy(mesh->runtime);
    active = NULL;
}

static int open_mesh(struct plx_bench *bench, struct mesh *mesh, struct plx_diag *diag)
{
    char cpus[32];
    snprintf(cpus, sizeof(cpus), "%d,%d", plx_bench_cpu_a(bench), plx_bench_cpu_b(bench));
    const char *const settings[] = {"cpus", cpus,  "reactors", "2", "sqpoll",
                                    "off",  "smt", "yes",      NULL};
    *mesh = (struct mesh){0};
    int rc = plx_bench_runtime(bench, settings, NULL, &mesh->runtime, diag);
    if (rc != 0)
        return rc;
    active = mesh;
    bool first = (int)plx_runtime_plan(mesh->runtime)->reactors[0].cpu == plx_bench_cpu_a(bench);
    mesh->here_index = first ? 0 : 1;
    mesh->there_index = first ? 1 : 0;
    rc = plx_reactor_adopt(mesh->runtime, mesh->here_index, &mesh->here, diag);
    if (rc == 0) {
        rc = plx_bench_on_peer(bench, adopt_there, mesh);
        if (rc != 0)
            *diag = mesh->peer_diag;
    }
    if (rc != 0)
        close_mesh(bench, mesh);
    return rc;
}

/* --- cases ----------------------------------------------------------------------------------- */

static const struct plx_bench_case trips[] = {
    {.bench = "mesh",
     .name = "rtt_post_8B",
     .what = "a post of 8 bytes to the other reactor, and one back",
     .block = PLX_BENCH_TRIPS,
     .two_cores = true},
    {.bench = "mesh",
     .name = "rtt_call_8B",
     .what = "a call of a function on the other reactor, 8 bytes there and back",
     .block = PLX_BENCH_TRIPS,
     .two_cores = true},
};

static const struct plx_bench_case items[] = {
    {.bench = "mesh",
     .name = "items_post_48B",
     .what = "posts of 48 bytes to the other reactor",
     .block = PLX_BENCH_ITEMS,
     .two_cores = true},
    {.bench = "mesh",
     .name = "items_post_turn_1",
     .what = "the same with a turn of the sender after each",
     .block = PLX_BENCH_ITEMS,
     .two_cores = true},
    {.bench = "mesh",
     .name = "items_post_turn_8",
     .what = "the same with a turn of the sender after 8",
     .block = PLX_BENCH_ITEMS,
     .two_cores = true},
    {.bench = "mesh",
     .name = "items_post_turn_32",
     .what = "the same with a turn of the sender after 32",
     .block = PLX_BENCH_ITEMS,
     .two_cores = true},
};

#define TRIPS (sizeof(trips) / sizeof(trips[0]))
#define ITEMS (sizeof(items) / sizeof(items[0]))

static int measure_trips(struct plx_bench *bench, struct mesh *mesh, const char *missing)
{
    static const struct plx_bench_shape shape = {1, SLOTS, 1, true};
    struct plx_bench_subject subjects[3] = {
        {.name = "pollux",
         .run = rtt_run,
         .peer = rtt_peer,
         .ctx = mesh,
         .missing = missing,
         .mem_node = -1},
    };
    if (plx_bench_is_one_wanted(bench, trips, TRIPS)) {
        subjects[1] = plx_bench_cells(bench, &shape);
        subjects[2] = plx_bench_raw_rtt(bench);
    }
    int rc = plx_bench_measure(bench, &trips[0], subjects, 3);
    subjects[0].run = call_run;
    return rc == 0 ? plx_bench_measure(bench, &trips[1], subjects, 3) : rc;
}

static int measure_items(struct plx_bench *bench, struct mesh *mesh, const char *missing)
{
    static const uint32_t batches[ITEMS] = {0, 1, 8, 32};
    static const struct plx_bench_shape shape = {PLX_BENCH_ITEM_WORDS, SLOTS, 1, false};
    struct plx_bench_subject subjects[2] = {
        {.name = "pollux",
         .run = items_run,
         .peer = items_peer,
         .ctx = mesh,
         .missing = missing,
         .mem_node = -1},
    };
    if (plx_bench_is_wanted(bench, items[0].bench, items[0].name))
        subjects[1] = plx_bench_cells(bench, &shape);
    mesh->sent = 0;
    int rc = 0;
    for (size_t i = 0; i < ITEMS && rc == 0; i++) {
        mesh->batch = batches[i];
        rc = plx_bench_measure(bench, &items[i], subjects, i == 0 ? 2 : 1);
    }
    return rc;
}

int plx_bench_mesh(struct plx_bench *bench)
{
    static struct mesh mesh;
    struct plx_diag diag;
    const char *missing = NULL;
    bool opened = false;
    bool wanted = plx_bench_is_one_wanted(bench, trips, TRIPS) ||
                  plx_bench_is_one_wanted(bench, items, ITEMS);
    if (wanted && plx_bench_has_two(bench)) {
        opened = open_mesh(bench, &mesh, &diag) == 0;
        if (!opened) {
            plx_bench_failed(bench, "mesh", &diag);
            missing = "the reactors could not be opened";
        }
    }
    int rc = measure_trips(bench, &mesh, missing);
    if (rc == 0)
        rc = measure_items(bench, &mesh, missing);
    if (opened)
        close_mesh(bench, &mesh);
    if (rc == 0)
        rc = plx_bench_mesh_wake(bench);
    return rc == 0 ? plx_bench_mesh_idle(bench) : rc;
}
