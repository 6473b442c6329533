/* SPDX-License-Identifier: MIT */
/* Making and unmaking the set of reactors, and looking at it. Their lives are in lifecycle.c. */
#include "runtime/runtime.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "runtime/io/clock_internal.h"
#include "runtime/io/sim_internal.h"
#include "runtime/runtime_internal.h"
#include "runtime/settings/settings_internal.h"

void plx_runtime_opts_init(struct plx_runtime_opts *opts)
{
    memset(opts, 0, sizeof(*opts));
    opts->take_signals = true;
    opts->name_overflows = true;
}

/* --- the counter's rate ----------------------------------------------------------------------- */

struct rate_mark {
    uint64_t ticks;
    uint64_t ns;
};

#define RATE_WINDOW_NS 2000000u

/*
 * Both clocks at one moment: the closest of a few readings, as this thread may be interrupted
 * between the two. A rate too high would make timers late.
 */
static struct rate_mark mark_rate(void)
{
    struct rate_mark best = {0};
    uint64_t best_gap = UINT64_MAX;
    for (int i = 0; i < 5; i++) {
        uint64_t before = plx_ticks();
        uint64_t ns = plx__monotonic_ns();
        uint64_t gap = plx_ticks() - before;
        if (gap < best_gap) {
            best_gap = gap;
            best = (struct rate_mark){.ticks = before + gap / 2, .ns = ns};
        }
    }
    return best;
}

/* Ticks per ns since `from`, waiting until the window is wide enough for a per mille. */
static double rate_since(const struct rate_mark *from)
{
    struct rate_mark to = mark_rate();
    while (to.ns - from->ns < RATE_WINDOW_NS)
        to = mark_rate();
    return (double)(to.ticks - from->ticks) / (double)(to.ns - from->ns);
}

/* --- create, destroy -------------------------------------------------------------------------- */

static void say_warning(const char *line, void *ctx)
{
    const struct plx_runtime_opts *opts = ctx;
    if (opts->log != NULL)
        opts->log(PLX_LOG_WARN, line, opts->ctx);
}

static int take_settings(struct plx_runtime *rt, const struct plx_settings *settings,
                         struct plx_diag *diag)
{
    if (settings != NULL) {
        rt->settings = *settings;
        return 0;
    }
    plx_settings_init(&rt->settings);
    int rc = plx_settings_load_env(&rt->settings, NULL, diag, NULL, NULL);
    /* Again, as only now it is known whether warnings are wanted (POLLUX_LOG). */
    if (rc == 0 && rt->settings.log >= PLX_LOG_WARN)
        rc = plx_settings_load_env(&rt->settings, NULL, diag, say_warning, &rt->opts);
    return rc;
}

static int make_slots(struct plx_runtime *rt, struct plx_diag *diag)
{
    size_t bytes = rt->count * sizeof(struct plx__slot);
    rt->slots = aligned_alloc(2 * PLX_CACHE_LINE, bytes);
    if (rt->slots == NULL)
        return plx_diag_set(diag, -ENOMEM, "runtime", "no memory for %u reactors", rt->count);
    memset(rt->slots, 0, bytes);
    for (uint32_t i = 0; i < rt->count; i++) {
        rt->slots[i].runtime = rt;
        rt->slots[i].index = i;
        rt->slots[i].wake_fd = -1;
    }
    return 0;
}

int plx_runtime_create(const struct plx_settings *settings, const struct plx_runtime_opts *opts,
                       struct plx_runtime **out, struct plx_diag *diag)
{
    *out = NULL;
    struct rate_mark began = mark_rate();
    struct plx_runtime *rt =
        aligned_alloc(PLX_CACHE_LINE, plx_round_up(sizeof(*rt), PLX_CACHE_LINE));
    if (rt == NULL)
        return plx_diag_set(diag, -ENOMEM, "runtime", "no memory");
    memset(rt, 0, sizeof(*rt));
    rt->pid = getpid();
    plx_runtime_opts_init(&rt->opts);
    if (opts != NULL)
        rt->opts = *opts;

    int rc = take_settings(rt, settings, diag);
    if (rc == 0)
        rc = plx__settings_check(&rt->settings, diag);
    if (rc != 0)
        goto free_runtime;
    rt->machine = rt->opts.machine;
    if (rt->machine == NULL) {
        rc = plx_machine_create(&rt->own_machine, diag);
        if (rc != 0)
            goto free_runtime;
        rt->machine = rt->own_machine;
    }
    rc = plx_plan_create(rt->machine, &rt->settings, &rt->plan, diag);
    if (rc != 0)
        goto free_machine;
    rt->count = rt->plan->reactor_count;
    rc = make_slots(rt, diag);
    if (rc != 0)
        goto free_plan;
    rc = plx__ports_init(rt);
    if (rc != 0) {
        plx_diag_set(diag, rc, "runtime", "no memory for %u ports", rt->settings.ports);
        goto free_slots;
    }

    pthread_mutex_init(&rt->lock, NULL);
    pthread_cond_init(&rt->changed, NULL);
    sem_init(&rt->stop_signal, 0, 0);
    rt->ticks_per_ns = rate_since(&began);
    *out = rt;
    return 0;

free_slots:
    free(rt->slots);
free_plan:
    plx_plan_destroy(rt->plan);
free_machine:
    plx_machine_destroy(rt->own_machine);
free_runtime:
    free(rt);
    return rc;
}

void plx_runtime_destroy(struct plx_runtime *rt)
{
    /* In a forked child there is no thread to wait for and no arena to give back. */
    if (rt == NULL || rt->pid != getpid())
        return;
    plx__keeper_stop(rt);
    bool leaked = false;
    for (uint32_t i = 0; i < rt->count; i++) {
        uint32_t life = plx__life_of(&rt->slots[i].life);
        PLX_ASSERT(life != PLX__SLOT_RUNNING && life != PLX__SLOT_OPENING);
        leaked |= life == PLX__SLOT_LEAKED || rt->slots[i].detached;
    }
    /* A reactor that did not end may still look at all of it, and post to its peers' rings. */
    if (leaked)
        return;
    for (uint32_t i = 0; i < rt->count; i++) {
        if (plx_load_relaxed(&rt->slots[i].life) == PLX__SLOT_ENDED)
            plx_arena_fini(&rt->slots[i].arena);
        if (rt->slots[i].wake_fd >= 0)
            close(rt->slots[i].wake_fd);
    }
    plx__ports_fini(rt);
    plx_plan_destroy(rt->plan);
    plx_machine_destroy(rt->own_machine);
    sem_destroy(&rt->stop_signal);
    pthread_cond_destroy(&rt->changed);
    pthread_mutex_destroy(&rt->lock);
    free(rt->slots);
    free(rt);
}

/* --- the wish to end -------------------------------------------------------------------------- */

void plx_runtime_request_stop(struct plx_runtime *rt)
{
    int error = errno;
    /* sem_post is async-signal-safe. Relaxed: the flag orders nothing but itself. */
    plx_store_relaxed(&rt->stop_requested, 1);
    sem_post(&rt->stop_signal);
    /* So are getpid and write. A forked child has the flag, and none of the reactors' memory. */
    if (rt->pid == getpid())
        plx__runtime_rouse(rt);
    errno = error;
}

bool plx_runtime_is_stopping(const struct plx_runtime *rt)
{
    return plx_load_relaxed(&rt->stop_requested) != 0;
}

int plx_runtime_wait(struct plx_runtime *rt, uint64_t within_ns)
{
    uint64_t now = plx__monotonic_ns();
    uint64_t until = within_ns > UINT64_MAX - now ? UINT64_MAX : now + within_ns;
    while (!plx_runtime_is_stopping(rt)) {
        struct timespec deadline = {.tv_sec = (time_t)(until / 1000000000u),
                                    .tv_nsec = (long)(until % 1000000000u)};
        int rc = sem_clockwait(&rt->stop_signal, CLOCK_MONOTONIC, &deadline);
        if (rc != 0 && errno == ETIMEDOUT)
            return plx_runtime_is_stopping(rt) ? 0 : -ETIMEDOUT;
    }
    /* The next one that waits is woken too. */
    sem_post(&rt->stop_signal);
    return 0;
}

/* --- inspection ------------------------------------------------------------------------------- */

const struct plx_machine *plx_runtime_machine(const struct plx_runtime *rt)
{
    return rt->machine;
}

const struct plx_plan *plx_runtime_plan(const struct plx_runtime *rt)
{
    return rt->plan;
}

const struct plx_settings *plx_runtime_settings(const struct plx_runtime *rt)
{
    return &rt->settings;
}

uint32_t plx_runtime_count(const struct plx_runtime *rt)
{
    return rt->count;
}

struct plx_reactor *plx_runtime_reactor(const struct plx_runtime *rt, uint32_t index)
{
    if (index >= rt->count)
        return NULL;
    const struct plx__slot *slot = &rt->slots[index];
    if (plx__life_of(&slot->life) != PLX__SLOT_RUNNING)
        return NULL;
    return plx_load_acquire(&slot->reactor);
}

struct plx__wake *plx__runtime_wake_of(struct plx__slot *slot)
{
    /* Relaxed: who asks has acquired that it runs. */
    struct plx_reactor *r = plx_load_relaxed(&slot->reactor);
    return r->wake.fd >= 0 ? &r->wake : NULL;
}

void plx__runtime_rouse(struct plx_runtime *rt)
{
    plx__wake_bring();
    for (uint32_t i = 0; i < rt->count; i++) {
        struct plx_reactor *r = plx_runtime_reactor(rt, i);
        if (r != NULL && r->wake.fd >= 0)
            plx__wake_rouse(&r->wake);
    }
}

uint64_t plx__runtime_stall_reports(const struct plx_reactor *r)
{
    return plx_load_relaxed(&r->runtime->slots[r->mesh.index].stall_reports);
}

int plx__runtime_find(struct plx__road *road, uint32_t to, uint32_t from, void *ctx)
{
    struct plx_runtime *rt = ctx;
    *road = (struct plx__road){0};
    if (to >= rt->count) {
        road->ring = plx__ports_answer(rt, to - rt->count, from);
        return 0;
    }
    uint32_t life = plx__life_of(&rt->slots[to].life);
    if (life == PLX__SLOT_LEAKED)
        return -EOWNERDEAD;
    if (life == PLX__SLOT_ENDED)
        return -ESHUTDOWN;
    if (life != PLX__SLOT_RUNNING)
        return -EAGAIN;
    struct plx__mesh *mesh = &plx_load_acquire(&rt->slots[to].reactor)->mesh;
    /* Relaxed: made before RUNNING. */
    road->ring = plx_load_relaxed(&mesh->in[from]);
    if (mesh->announced && from != to)
        road->news = plx__news_byte(mesh->news, from);
    road->wake = from != to ? plx__runtime_wake_of(&rt->slots[to]) : NULL;
    return 0;
}

void plx__slot_end(struct plx__slot *slot, enum plx__slot_life life)
{
    plx__end_tell(&slot->life, life, &slot->runtime->ended);
    plx__runtime_rouse(slot->runtime);
}

static void explain_caps(const struct plx_reactor *r, plx_text_fn sink, void *ctx)
{
    char text[256];
    size_t used = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < PLX_CAP_COUNT; i++) {
        uint32_t cap = 1u << i;
        if ((r->io->caps & cap) == 0 || cap == PLX_CAP_TICK_CLOCK)
            continue;
        size_t left = sizeof(text) - used;
        int wrote = snprintf(text + used, left, " %s", plx_cap_name(cap));
        if (wrote < 0 || (size_t)wrote >= left)
            break;
        used += (size_t)wrote;
    }
    plx_text_line(sink, ctx, "  uses%s", used != 0 ? text : " nothing of io_uring");
}

static void explain_clock(const struct plx_reactor *r, plx_text_fn sink, void *ctx)
{
    const struct plx__clock *clock = &r->io->clock;
    if (r->io->own_clock)
        plx_text_line(sink, ctx, "  clock: the backend's own");
    else if (!clock->uses_ticks)
        plx_text_line(sink, ctx, "  clock: clock_gettime (%s)", clock->why);
    else
        plx_text_line(sink, ctx, "  clock: the cycle counter at %.3f GHz", r->ticks_per_ns);
}

/* One line for the whole; plx_pool_explain has one for each class. */
static void explain_pool(const struct plx_reactor *r, plx_text_fn sink, void *ctx)
{
    struct plx_pool_stats stats;
    plx_pool_read_stats(&r->pool, &stats);
    char text[256];
    size_t used = 0;
    uint64_t bytes = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < PLX_POOL_CLASSES; i++) {
        const struct plx_pool_class_stats *c = &stats.classes[i];
        bytes += (uint64_t) c->capacity * c->block_bytes;
        size_t left = sizeof(text) - used;
        int wrote = snprintf(text + used, left, "%s%u of %uK", i != 0 ? ", " : "", c->capacity,
                             c->block_bytes / 1024);
        if (wrote < 0 || (size_t)wrote >= left)
            break;
        used += (size_t)wrote;
    }
    plx_text_line(sink, ctx, "pool: %llu KiB of blocks (%s), %llu KiB of tables",
                  (unsigned long long)(bytes / 1024), text,
                  (unsigned long long)((r->pool_table_bytes + 1023) / 1024));
}

void plx__runtime_use_world(struct plx_runtime *rt, struct plx__sim_world *world)
{
    rt->world = world;
    plx__sim_world_enter(world);
}

void plx_reactor_explain(const struct plx_reactor *r, plx_text_fn sink, void *ctx)
{
    const struct plx_settings *settings = &r->runtime->settings;
    const struct plx_plan_reactor *planned = &r->runtime->plan->reactors[r->mesh.index];
    plx_text_line(sink, ctx, "reactor %u: cpu %d, node %d, %s, %s", r->mesh.index, r->cpu, r->node,
                  r->io->mode, r->adopted ? "adopted" : "own thread");
    if ((r->io->caps & PLX_CAP_SQPOLL) != 0)
        plx_text_line(sink, ctx, "  SQ thread on cpu %d%s", planned->sq_cpu,
                      planned->sq_leader != (int32_t)r->mesh.index ? ", shared" : "");
    if ((r->io->caps & PLX_CAP_URING) != 0)
        plx_text_line(sink, ctx, "  %u ring entries", settings->ring_entries);
    explain_caps(r, sink, ctx);
    explain_clock(r, sink, ctx);
    plx_text_line(sink, ctx, "  idle %s, %u mesh slots from each of %u peers",
                  plx_idle_name(r->sleep.idle), settings->mesh_slots, r->mesh.count - 1);
    plx_arena_explain(r->arena, sink, ctx);
    explain_pool(r, sink, ctx);
    if (r->pin_note[0] != '\0')
        plx_text_line(sink, ctx, "  not got: %s", r->pin_note);
    if (r->stack_note[0] != '\0')
        plx_text_line(sink, ctx, "  not got: %s", r->stack_note);
    uint32_t kept = r->io->note_count < PLX__IO_NOTES_MAX ? r->io->note_count : PLX__IO_NOTES_MAX;
    for (uint32_t i = 0; i < kept; i++)
        plx_text_line(sink, ctx, "  not got: %s", r->io->notes[i].text);
    if (r->io->note_count > kept)
        plx_text_line(sink, ctx, "  not got: %u more", r->io->note_count - kept);
}
