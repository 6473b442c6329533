/* SPDX-License-Identifier: MIT */
/* How a reactor is opened, on the thread that will poll it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "runtime/place/pin_internal.h"
#include "runtime/runtime_internal.h"

/* Watches of pollers beside those of hot sockets. */
#define SPARE_WATCHES 16u

/* Says a line to the log once in the life of the runtime, however many reactors find the same. */
void plx__runtime_say_once(struct plx_runtime *rt, const char *text)
{
    if (rt->opts.log == NULL || rt->settings.log < PLX_LOG_WARN)
        return;
    pthread_mutex_lock(&rt->lock);
    bool known = rt->said_count == PLX__SAID_MAX;
    for (uint32_t i = 0; i < rt->said_count && !known; i++)
        known = strncmp(rt->said[i], text, sizeof(rt->said[i]) - 1) == 0;
    if (!known)
        snprintf(rt->said[rt->said_count++], sizeof(rt->said[0]), "%s", text);
    pthread_mutex_unlock(&rt->lock);
    if (!known)
        rt->opts.log(PLX_LOG_WARN, text, rt->opts.ctx);
}

/* A thread of ours is pinned; one that adopts is looked at only. What fails is as `pin` says. */
static int place_thread(struct plx__slot *slot, uint32_t cpu, bool adopted, struct plx_diag *diag)
{
    const struct plx_runtime *rt = slot->runtime;
    if (rt->settings.pin == PLX_WANT_NO)
        return 0;
    struct plx_diag why = {0};
    int rc = adopted ? plx__pin_check(cpu, &why) : plx__pin_thread(rt->machine, cpu, &why);
    if (rc == 0)
        return 0;
    if (rt->settings.pin == PLX_WANT_REQUIRE) {
        return plx_diag_set(diag, adopted ? -EINVAL : rc, "POLLUX_PIN",
                            "POLLUX_PIN=require cannot be honoured for reactor %u: %s", slot->index,
                            why.text);
    }
    snprintf(slot->pin_note, sizeof(slot->pin_note), "pinning: %.170s", why.text);
    return 0;
}

static int open_arena(struct plx__slot *slot, const struct plx_plan_reactor *planned,
                      struct plx_diag *diag)
{
    const struct plx_settings *settings = &slot->runtime->settings;
    struct plx_arena_opts opts;
    plx_arena_opts_init(&opts);
    opts.page_1g = settings->hugepages_1g;
    opts.page_2m = settings->hugepages_2m;
    opts.thp = settings->thp;
    opts.lock = settings->mlock;
    opts.prefault = settings->prefault;
    /* A reactor that may run anywhere cannot insist on where its memory lies. */
    opts.bind = settings->pin;
    return plx_arena_init(&slot->arena, planned->arena_bytes, (int)planned->mem_node, &opts, diag);
}

/* The ring whose SQ thread this reactor shares, -1 for a thread of its own. */
static int find_leader(struct plx__slot *slot, const struct plx_plan_reactor *planned, bool adopted,
                       struct plx__io_config *config, struct plx_diag *diag)
{
    struct plx_runtime *rt = slot->runtime;
    config->sq_fd = -1;
    if (planned->sq_cpu < 0 || planned->sq_leader == (int32_t)slot->index)
        return 0;
    struct plx__slot *leader = &rt->slots[planned->sq_leader];
    pthread_mutex_lock(&rt->lock);
    while (!adopted && !leader->opened && !rt->abort)
        pthread_cond_wait(&rt->changed, &rt->lock);
    bool there = leader->opened && plx__life_of(&leader->life) == PLX__SLOT_RUNNING;
    pthread_mutex_unlock(&rt->lock);
    if (!there)
        return plx_diag_set(diag, -EAGAIN, "POLLUX_SQPOLL",
                            "reactor %u shares the SQ thread of reactor %d, which is not running: "
                            "start that one first",
                            slot->index, planned->sq_leader);
    const struct plx__io *io = plx_load_acquire(&leader->reactor)->io;
    if ((io->caps & PLX_CAP_SQPOLL) != 0)
        config->sq_fd = io->ring_fd;
    else
        config->sq_cpu = -1;
    return 0;
}

/* Peers keep its number, so that it is closed with the runtime, not with the reactor. */
static int open_wake(struct plx__slot *slot, struct plx_diag *diag)
{
    enum plx_idle idle = slot->runtime->plan->idle;
    if ((idle != PLX_IDLE_ADAPTIVE && idle != PLX_IDLE_BLOCK) || slot->wake_fd >= 0)
        return 0;
    slot->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (slot->wake_fd >= 0)
        return 0;
    int error = errno;
    return plx_diag_set(diag, -error, "POLLUX_IDLE",
                        "a reactor that sleeps needs a descriptor to be woken by: eventfd: %s",
                        strerror(error));
}

static void fill_reactor(struct plx_reactor *r, struct plx__slot *slot, bool adopted)
{
    struct plx_runtime *rt = slot->runtime;
    const struct plx_plan_reactor *planned = &rt->plan->reactors[slot->index];
    r->runtime = rt;
    r->phase = &rt->phase;
    r->mesh.find = plx__runtime_find;
    r->mesh.ctx = rt;
    r->mesh.ended = &rt->ended;
    r->mesh.count = rt->count;
    r->mesh.producers = rt->count + rt->settings.ports;
    r->mesh.index = slot->index;
    r->cpu = (int)planned->cpu;
    r->node = (int)planned->node;
    r->sleep.idle = rt->plan->idle;
    double spin = (double)rt->settings.spin_time * rt->ticks_per_ns;
    r->sleep.spin_ticks = spin < 1e18 ? (uint64_t)spin : UINT64_MAX;
    r->wake.fd = slot->wake_fd;
    r->adopted = adopted;
    r->gaps = r->adopted || rt->plan->idle != PLX_IDLE_SPIN;
    r->hot_max = rt->settings.hot_max;
    r->arena = &slot->arena;
    r->pin_note = slot->pin_note;
    r->stack_note = slot->stack_note;
    r->ticks_per_ns = rt->ticks_per_ns;
    double stall = (double)rt->settings.stall_threshold * rt->ticks_per_ns;
    r->stall_ticks = stall < 1e18 ? (uint64_t)stall : UINT64_MAX;
    r->turn_ticks = plx_ticks();
    r->look_ticks = UINT64_MAX;
}

static void tell_notes(const struct plx_reactor *r)
{
    if (r->pin_note[0] != '\0')
        plx__runtime_say_once(r->runtime, r->pin_note);
    if (r->stack_note[0] != '\0')
        plx__runtime_say_once(r->runtime, r->stack_note);
    for (uint32_t i = 0; i < r->io->note_count && i < PLX__IO_NOTES_MAX; i++)
        plx__runtime_say_once(r->runtime, r->io->notes[i].text);
    for (uint32_t i = 0; i < r->arena->note_count; i++)
        plx__runtime_say_once(r->runtime, r->arena->notes[i].text);
}

static void stop_tasks(struct plx__stopper *stopper, enum plx__stop_phase phase, void *ctx)
{
    (void)stopper;
    if (phase == PLX__STOP_DRAINING)
        plx__tasks_stop(ctx);
}

static void open_tasks(struct plx_reactor *r)
{
    const struct plx_runtime *rt = r->runtime;
    const struct plx__tasks_config config = {
        .reactor = r,
        .io = r->io,
        .stack_bytes = rt->settings.task_stack,
        .max = rt->settings.tasks_max,
        .node = (int)rt->plan->reactors[r->mesh.index].mem_node,
        .bind = rt->settings.pin,
        .ticks_per_ns = r->ticks_per_ns,
        .names_overflows = rt->opts.name_overflows,
    };
    plx__tasks_init(&r->tasks, &config);
    plx__stopper_add(r, &r->tasks_stopper, stop_tasks, &r->tasks);
}

int plx__reactor_open(struct plx_runtime *rt, uint32_t index, bool adopted, struct plx_diag *diag)
{
    struct plx__slot *slot = &rt->slots[index];
    const struct plx_plan_reactor *planned = &rt->plan->reactors[index];
    struct plx__io_config config = {.settings = &rt->settings, .arena = &slot->arena,
                                    .machine = rt->machine,    .plan = rt->plan,
                                    .deny = rt->opts.deny,     .sq_cpu = planned->sq_cpu,
                                    .home = (uint16_t)index,   .world = rt->world};
    int rc = place_thread(slot, planned->cpu, adopted, diag);
    if (rc == 0)
        rc = open_wake(slot, diag);
    if (rc == 0)
        rc = find_leader(slot, planned, adopted, &config, diag);
    if (rc == 0)
        rc = open_arena(slot, planned, diag);
    if (rc != 0)
        return rc;

    struct plx_reactor *r = plx_arena_carve(&slot->arena, sizeof(*r), 2 * PLX_CACHE_LINE);
    if (r == NULL) {
        rc = -ENOMEM;
    } else {
        fill_reactor(r, slot, adopted);
        config.wake = r->wake.fd >= 0 ? &r->wake : NULL;
        rc = plx__mesh_open(&r->mesh, r->arena, rt->settings.mesh_slots);
        if (rc == 0 && config.wake != NULL)
            rc = plx__sleep_open(r, rt->settings.hot_max + SPARE_WATCHES);
    }
    if (rc != 0) {
        plx_diag_set(diag, rc, "POLLUX_ARENA_SIZE",
                     "an arena of %zu bytes has no room for reactor %u and its mesh rings",
                     slot->arena.bytes, index);
        goto no_io;
    }
    rc = plx__io_open(&config, &r->io, diag);
    if (rc != 0)
        goto no_io;
    if (planned->sq_cpu >= 0 && config.sq_cpu < 0)
        plx__io_note(r->io, "SQPOLL: reactor %d, which leads its SQ thread, has none",
                     planned->sq_leader);
    rc = plx__reactor_pool_open(r, diag);
    if (rc != 0)
        goto close_io;
    plx__timers_init(&r->timers, plx_reactor_now_ns(r), rt->settings.stall_threshold);
    plx_store_relaxed(&slot->tid, (int)gettid());
    open_tasks(r);
    tell_notes(r);
    r->downgrades = r->io->note_count + r->arena->note_count + (r->pin_note[0] != '\0') +
                    (r->stack_note[0] != '\0');
    plx_store_release(&slot->reactor, r);
    plx__life_begin(&slot->life, PLX__SLOT_RUNNING);
    return 0;

close_io:
    r->io->ops->close(r->io);
no_io:
    plx_arena_fini(&slot->arena);
    return rc;
}
