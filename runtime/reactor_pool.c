/* SPDX-License-Identifier: MIT */
/*
 * The reactor's pool: its share of the arena, and the way home for blocks of its peers' pools.
 *
 * The end. A pool is never unmade: peers look addresses up in it until the runtime is destroyed,
 * and its memory goes with the arena. Blocks whose home has ended are given to nobody.
 */
#include <errno.h>

#include "runtime/runtime_internal.h"

/* Of what is left of the arena; the rest is for what is carved: streams, tables, the user's own. */
#define SHARE_PARTS 3u
#define SHARE_OF    4u

void plx__reactor_take_home(struct plx_reactor *here, const void *body)
{
    void *const *block = body;
    plx_pool_release_home(&here->pool, *block);
}

/* A peer's pool that has the block. Peers stay readable, ended or not, until destroy. */
static int home_of(void *ctx, const void *block)
{
    struct plx_reactor *r = ctx;
    if (PLX_LIKELY(r->last_home != NULL && plx_pool_has(&r->last_home->pool, block)))
        return (int)r->last_home->mesh.index;
    for (uint32_t i = 0; i < r->mesh.count; i++) {
        /* Acquire: pairs with the release in plx__reactor_open; the pool is initialised. */
        const struct plx_reactor *peer = plx_load_acquire(&r->runtime->slots[i].reactor);
        if (peer == NULL || !plx_pool_has(&peer->pool, block))
            continue;
        r->last_home = peer;
        return (int)i;
    }
    return -ENOENT;
}

static int send_home(void *ctx, uint32_t home, void *block)
{
    struct plx_reactor *r = ctx;
    int rc = plx__mesh_send(&r->mesh, home, plx__reactor_take_home, &block, sizeof(block));
    /* A pool that has ended misses nothing. */
    return rc == -ESHUTDOWN ? 0 : rc;
}

int plx__reactor_pool_open(struct plx_reactor *r, struct plx_diag *diag)
{
    struct plx_pool_quota quota;
    struct plx_pool_opts opts;
    plx_pool_opts_init(&opts);
    opts.homes = r->mesh.count;
    uint64_t share = plx_arena_left(r->arena) / SHARE_OF * SHARE_PARTS;
    struct plx_diag why = {0};
    int rc = plx_pool_quota_split(&quota, share);
    if (rc == 0)
        rc = plx_pool_init(&r->pool, r->arena, &quota, &opts, &why);
    if (rc == 0)
        rc = plx_bytes_home_init(&r->bytes, &r->pool, r->arena, &why);
    if (rc != 0)
        return plx_diag_set(diag, -ENOMEM, "POLLUX_ARENA_SIZE",
                            "an arena of %zu bytes has no room for the pool of reactor %u: "
                            "%zu are left %s",
                            r->arena->bytes, r->mesh.index, plx_arena_left(r->arena), why.text);
    struct plx_pool_needs needs = plx_pool_measure(&quota, &opts);
    r->pool_table_bytes = needs.table_bytes + plx_bytes_home_measure(needs.block_bytes);
    r->io->pool = &r->pool;
    const struct plx_pool_remote remote = {.home_of = home_of, .send = send_home, .ctx = r};
    plx_pool_set_remote(&r->pool, &remote);
    return 0;
}
