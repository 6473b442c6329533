/* SPDX-License-Identifier: MIT */
/*
 * Posts between all reactors, over small rings that fill, and blocks of pools that are released on
 * other reactors than their own. Posts between a pair come all, once, in order; blocks come home.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "test/sim/world.h"

#define POSTS_MAX 3000u

struct mesh;

/* What is posted. */
struct letter {
    struct mesh *mesh;
    uint32_t from;
    uint32_t to;
    uint64_t number;
    void *block; /* NULL: none */
};
PLX_STATIC_ASSERT(sizeof(struct letter) <= PLX_POST_BYTES, "a letter is a post");

struct mesh {
    struct sim_run *run;
    uint64_t to_send[SIM_REACTORS_MAX][SIM_REACTORS_MAX];
    uint64_t sent[SIM_REACTORS_MAX][SIM_REACTORS_MAX];
    uint64_t came[SIM_REACTORS_MAX][SIM_REACTORS_MAX];
};

static void on_letter(struct plx_reactor *here, const void *body)
{
    struct letter letter;
    memcpy(&letter, body, sizeof(letter));
    struct mesh *mesh = letter.mesh;
    uint64_t *came = &mesh->came[letter.from][letter.to];
    if (plx_reactor_index(here) != letter.to || *came != letter.number)
        sim_fail(mesh->run, "mesh: post %llu from %u to %u came as %llu to %u",
                 (unsigned long long)letter.number, letter.from, letter.to,
                 (unsigned long long)*came, plx_reactor_index(here));
    (*came)++;
    if (letter.block != NULL)
        plx_pool_release(plx_reactor_pool(here), letter.block);
}

static void post_one(struct sim_run *run, struct mesh *mesh, uint32_t from, uint32_t to)
{
    struct letter letter = {.mesh = mesh, .from = from, .to = to, .number = mesh->sent[from][to]};
    struct plx_pool *pool = plx_reactor_pool(run->reactors[from]);
    if (sim_random_once(&run->random, 4)) {
        letter.block = plx_pool_acquire(pool, 4096);
        if (letter.block != NULL)
            memset(letter.block, (int)from, 4096);
    }
    int rc = plx_mesh_post(run->reactors[from], to, on_letter, &letter, sizeof(letter));
    if (rc == 0) {
        mesh->sent[from][to]++;
        return;
    }
    if (rc != -EAGAIN)
        sim_fail(run, "mesh: a post from %u to %u: %d", from, to, rc);
    sim_fault_count(SIM_FAULT_MESH_FULL);
    if (letter.block != NULL)
        plx_pool_release(pool, letter.block);
}

static void *begin(struct sim_run *run)
{
    struct mesh *mesh = calloc(1, sizeof(*mesh));
    if (mesh == NULL)
        return NULL;
    mesh->run = run;
    for (uint32_t from = 0; from < run->count; from++) {
        for (uint32_t to = 0; to < run->count; to++)
            mesh->to_send[from][to] = sim_random_size(&run->random, POSTS_MAX / run->count);
    }
    return mesh;
}

static void step(struct sim_run *run, void *state)
{
    struct mesh *mesh = state;
    uint64_t burst = sim_random_once(&run->random, 16) ? sim_random_size(&run->random, 200) : 1;
    uint32_t from = (uint32_t)sim_random_below(&run->random, run->count);
    uint32_t to = (uint32_t)sim_random_below(&run->random, run->count);
    for (; burst > 0 && mesh->sent[from][to] < mesh->to_send[from][to]; burst--)
        post_one(run, mesh, from, to);
}

static bool is_done(const void *state)
{
    const struct mesh *mesh = state;
    return memcmp(mesh->came, mesh->to_send, sizeof(mesh->came)) == 0;
}

/* What was sent before the end has come all the same. */
static void check(struct sim_run *run, void *state)
{
    const struct mesh *mesh = state;
    for (uint32_t from = 0; from < run->count; from++) {
        for (uint32_t to = 0; to < run->count; to++) {
            if (mesh->came[from][to] != mesh->sent[from][to])
                sim_fail(run, "mesh: of %llu posts from %u to %u came %llu",
                         (unsigned long long)mesh->sent[from][to], from, to,
                         (unsigned long long)mesh->came[from][to]);
        }
    }
}

static void end(struct sim_run *run, void *state)
{
    (void)run;
    free(state);
}

const struct sim_workload sim_mesh = {
    .name = "mesh",
    .begin = begin,
    .step = step,
    .is_done = is_done,
    .check = check,
    .end = end,
};
