/* SPDX-License-Identifier: MIT */
/* How reactors run on threads of their own, and end in three phases. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "runtime/io/clock_internal.h"
#include "runtime/phase_internal.h"
#include "runtime/runtime_internal.h"

/* Turns between two attempts to cancel what is still in flight. */
#define CANCEL_EVERY 64u
/* How long a start that failed waits for the reactors that had begun. */
#define ROLLBACK_NS 5000000000u
/* What a reactor is given to take its next step, beyond the deadline. */
#define GRACE_NS 300000000u

static uint64_t deadline_in(uint64_t within_ns)
{
    uint64_t now = plx__monotonic_ns();
    return within_ns > UINT64_MAX - now ? UINT64_MAX : now + within_ns;
}

static void nap(void)
{
    struct timespec some = {.tv_nsec = 50000};
    nanosleep(&some, NULL);
}

/* --- closing ---------------------------------------------------------------------------------- */

void plx__reactor_close(struct plx__slot *slot)
{
    struct plx_reactor *r = plx_load_relaxed(&slot->reactor);
    /* All that a peer sent home before it had drained is here: see turn_until_teardown. */
    plx__mesh_finish(&r->mesh, r, plx__reactor_take_home);
    plx__tasks_fini(&r->tasks);
    plx_bytes_home_fini(&r->bytes);
    r->io->ops->close(r->io);
    plx__slot_end(slot, PLX__SLOT_ENDED);
}

/*
 * On the owner's thread: something did not end. The ring is closed, since its SQ thread would spin
 * for ever; what the kernel may still write to, the arena, is never given back.
 */
static void leak(struct plx__slot *slot)
{
    struct plx_reactor *r = plx_load_relaxed(&slot->reactor);
    r->io->ops->close(r->io);
    plx__slot_end(slot, PLX__SLOT_LEAKED);
}

/* --- following the end ------------------------------------------------------------------------ */

static bool peers_drain(const struct plx_runtime *rt)
{
    for (uint32_t i = 0; i < rt->count; i++) {
        if (plx__life_of(&rt->slots[i].life) != PLX__SLOT_RUNNING)
            continue;
        /* The posts that a peer sent before it said so are seen by the look that follows. */
        if (plx__phase_reached(&rt->slots[i].reached) < PLX__REACHED_DRAINING)
            return false;
    }
    return true;
}

/* Whether all posts have been called that this reactor owes a call before it ends. */
static bool posts_arrived(struct plx_reactor *r, struct plx__slot *slot)
{
    const struct plx_runtime *rt = slot->runtime;
    bool alone = r->phase == &slot->own_phase && plx_load_relaxed(&rt->phase) == PLX__STOP_NONE;
    if (!alone)
        return peers_drain(rt) && !plx__mesh_pending(&r->mesh);
    /*
     * Alone, it waits neither for the others to stop nor for a pause in what they send: after so
     * many turns a full ring that it began with is empty. What comes later is counted as lost.
     */
    return r->drain_turns > rt->settings.mesh_slots / PLX__TURN_POSTS_MAX ||
           !plx__mesh_pending(&r->mesh);
}

/* What it waits for, for whoever names the one that a stop waits for. Relaxed: numbers alone. */
static void tell_calls(const struct plx_reactor *r, struct plx__slot *slot)
{
    bool idle = r->io->in_flight == 0 && r->mesh.owed == 0;
    plx_store_relaxed(&slot->owes, r->mesh.owed);
    plx_store_relaxed(&slot->awaits, idle ? r->mesh.in_flight : 0);
}

static void drain(struct plx_reactor *r, struct plx__slot *slot)
{
    uint32_t turn = r->drain_turns++;
    tell_calls(r, slot);
    bool tasks_ended = plx__tasks_drained(&r->tasks);
    if (r->io->in_flight != 0) {
        if (turn % CANCEL_EVERY == 0)
            r->io->ops->cancel_all(r->io);
        return;
    }
    /* Calls of its own, whose answers come; and those that it answers later. */
    if (r->mesh.in_flight != 0 || r->mesh.owed != 0)
        return;
    /* What was put off to the turn's end may yet close a descriptor or call its owner. */
    if (!tasks_ended || r->deferred_first != NULL || r->pool.ready_count != 0)
        return;
    /* Relaxed: the owner's own. Blocks of peers that could not be sent home yet. */
    if (plx_load_relaxed(&r->pool.away_waiting) != 0)
        return;
    if (posts_arrived(r, slot)) {
        r->io->drained = true;
        plx__phase_reach(&slot->reached, PLX__REACHED_DRAINED);
    }
}

void plx__runtime_follow(struct plx_reactor *r)
{
    struct plx__slot *slot = &r->runtime->slots[r->mesh.index];
    uint32_t phase = plx__phase_of(r->phase);
    if (phase >= PLX__STOP_ADMITTING && r->followed < PLX__STOP_ADMITTING) {
        plx__reactor_tell_stoppers(r, PLX__STOP_ADMITTING);
        r->mesh.refuses_calls = true;
        r->followed = PLX__STOP_ADMITTING;
        plx__phase_reach(&slot->reached, PLX__REACHED_ADMITTING);
    }
    if (phase >= PLX__STOP_DRAINING && r->followed < PLX__STOP_DRAINING) {
        plx__reactor_tell_stoppers(r, PLX__STOP_DRAINING);
        r->io->refuses = true;
        r->mesh.closed = true;
        plx__remote_cancel_all(r);
        r->followed = PLX__STOP_DRAINING;
        plx__phase_reach(&slot->reached, PLX__REACHED_DRAINING);
    }
    /* Relaxed: the owner's own. */
    if (r->followed == PLX__STOP_DRAINING &&
        plx_load_relaxed(&slot->reached) != PLX__REACHED_DRAINED)
        drain(r, slot);
}

/* --- threads ---------------------------------------------------------------------------------- */

/*
 * Takes an idle slot for the calling thread to open; false when it is another one's. What an
 * attempt before this one has reported is forgotten, or it would be taken for this one's answer.
 */
static bool claim(struct plx__slot *slot)
{
    struct plx_runtime *rt = slot->runtime;
    pthread_mutex_lock(&rt->lock);
    bool mine = plx_load_relaxed(&slot->life) == PLX__SLOT_IDLE;
    if (mine) {
        plx_store_relaxed(&slot->life, PLX__SLOT_OPENING);
        slot->opened = false;
        slot->open_rc = 0;
        slot->diag = (struct plx_diag){0};
        slot->pin_note[0] = '\0';
        slot->stack_note[0] = '\0';
    }
    pthread_mutex_unlock(&rt->lock);
    return mine;
}

/* The claimed slot was opened, or is idle again: in one step, as another thread may claim it. */
static void report_opened(struct plx__slot *slot, int rc)
{
    struct plx_runtime *rt = slot->runtime;
    pthread_mutex_lock(&rt->lock);
    if (rc != 0)
        plx_store_relaxed(&slot->life, PLX__SLOT_IDLE);
    slot->open_rc = rc;
    slot->opened = true;
    pthread_cond_broadcast(&rt->changed);
    pthread_mutex_unlock(&rt->lock);
}

static void report_started(struct plx__slot *slot, int rc)
{
    struct plx_runtime *rt = slot->runtime;
    pthread_mutex_lock(&rt->lock);
    slot->start_rc = rc;
    slot->ready = true;
    pthread_cond_broadcast(&rt->changed);
    pthread_mutex_unlock(&rt->lock);
}

static bool wait_for_go(struct plx_runtime *rt)
{
    pthread_mutex_lock(&rt->lock);
    while (!rt->go && !rt->abort)
        pthread_cond_wait(&rt->changed, &rt->lock);
    bool go = rt->go;
    pthread_mutex_unlock(&rt->lock);
    return go;
}

static void turn_until_teardown(struct plx_runtime *rt, struct plx_reactor *r)
{
    /* Opening, and waiting for the others, was no turn. */
    r->turn_ticks = plx_ticks();
    /* Behind the last phase all have drained: what they had sent home is in the rings by then. */
    while (plx__phase_of(&rt->phase) < PLX__STOP_TEARDOWN) {
        if (plx_reactor_poll(r) == 0)
            plx_reactor_idle(r);
    }
}

static void live(struct plx__slot *slot)
{
    struct plx_runtime *rt = slot->runtime;
    int rc = plx__reactor_open(rt, slot->index, false, &slot->diag);
    report_opened(slot, rc);
    if (rc != 0)
        return;

    struct plx_reactor *r = plx_load_relaxed(&slot->reactor);
    if (!wait_for_go(rt)) {
        plx__reactor_close(slot);
        return;
    }
    rc = rt->opts.on_start != NULL ? rt->opts.on_start(r, rt->opts.ctx) : 0;
    slot->started = rc >= 0;
    report_started(slot, rc < 0 ? rc : 0);

    turn_until_teardown(rt, r);
    /* One that was given up calls nobody any more: who stopped the runtime has gone on. */
    if (plx_load_relaxed(&slot->reached) != PLX__REACHED_DRAINED ||
        plx_load_relaxed(&slot->life) == PLX__SLOT_LEAKED) {
        leak(slot);
        return;
    }
    if (slot->started && rt->opts.on_stop != NULL)
        rt->opts.on_stop(r, rt->opts.ctx);
    plx__reactor_close(slot);
}

static void *thread_main(void *argument)
{
    struct plx__slot *slot = argument;
    live(slot);
    /*
     * Release: pairs with the acquires in gather_threads. One that was given up is not joined: who
     * sees this has it behind him all the same. Only the thread's own end follows.
     */
    plx_store_release(&slot->left, 1);
    return NULL;
}

/* Signals are the application's business; a fault in a reactor still ends the process, and the
 * keeper may ask where it is. */
static void block_signals(sigset_t *before)
{
    static const int fatal[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
    sigset_t all;
    sigfillset(&all);
    if (plx__keeper_signal() != 0)
        sigdelset(&all, plx__keeper_signal());
    for (size_t i = 0; i < sizeof(fatal) / sizeof(*fatal); i++)
        sigdelset(&all, fatal[i]);
    pthread_sigmask(SIG_SETMASK, &all, before);
}

/* What forbids any reactor of this runtime to begin. */
static int check_startable(const struct plx_runtime *rt, struct plx_diag *diag)
{
    if (rt->pid != getpid())
        return plx_diag_set(diag, -EPERM, "runtime", "it belongs to process %d, which forked",
                            (int)rt->pid);
    if (!rt->machine->is_this_system)
        return plx_diag_set(diag, -EXDEV, "machine",
                            "the plan is for another machine (%s): nothing can be started on it",
                            rt->machine->source);
    if (plx_load_relaxed(&rt->phase) != PLX__STOP_NONE)
        return plx_diag_set(diag, -ESHUTDOWN, "runtime", "it was stopped: make a new one");
    return 0;
}

static int create_thread(struct plx__slot *slot, struct plx_diag *diag)
{
    const struct plx_runtime *rt = slot->runtime;
    int node = (int)rt->plan->reactors[slot->index].mem_node;
    int rc = plx__stack_init(&slot->stack, node, rt->settings.pin, slot->stack_note,
                             sizeof(slot->stack_note), diag);
    if (rc != 0)
        return rc;
    pthread_attr_t attributes;
    rc = -pthread_attr_init(&attributes);
    if (rc == 0) {
        rc = -pthread_attr_setstack(&attributes, slot->stack.base, slot->stack.bytes);
        if (rc == 0)
            rc = -pthread_create(&slot->thread, &attributes, thread_main, slot);
        pthread_attr_destroy(&attributes);
    }
    if (rc == 0)
        return 0;
    plx__stack_fini(&slot->stack);
    return plx_diag_set(diag, rc, "thread", "reactor %u: pthread_create: %s", slot->index,
                        strerror(-rc));
}

static int start_thread(struct plx__slot *slot, struct plx_diag *diag)
{
    int rc = create_thread(slot, diag);
    if (rc != 0) {
        plx_store_relaxed(&slot->life, PLX__SLOT_IDLE);
        return rc;
    }
    slot->has_thread = true;
    char name[16];
    snprintf(name, sizeof(name), "plx/%u", slot->index);
    pthread_setname_np(slot->thread, name);
    return 0;
}

/* Waits until every thread has reported on `ready`, or else on opening; gives the first failure. */
static int gather(struct plx_runtime *rt, bool ready, struct plx_diag *diag)
{
    int rc = 0;
    pthread_mutex_lock(&rt->lock);
    for (uint32_t i = 0; i < rt->count; i++) {
        struct plx__slot *slot = &rt->slots[i];
        if (!slot->has_thread)
            continue;
        while (ready ? !slot->ready : !slot->opened)
            pthread_cond_wait(&rt->changed, &rt->lock);
        int own = ready ? slot->start_rc : slot->open_rc;
        if (own == 0 || rc != 0)
            continue;
        rc = own;
        if (ready)
            plx_diag_set(diag, rc, "on_start", "on_start of reactor %u returned %d (%s)", i, rc,
                         strerror(-rc));
        else if (diag != NULL)
            *diag = slot->diag;
    }
    pthread_mutex_unlock(&rt->lock);
    return rc;
}

static void decide(struct plx_runtime *rt, bool go)
{
    pthread_mutex_lock(&rt->lock);
    rt->go = go;
    rt->abort = !go;
    pthread_cond_broadcast(&rt->changed);
    pthread_mutex_unlock(&rt->lock);
}

static void join_all(struct plx_runtime *rt)
{
    for (uint32_t i = 0; i < rt->count; i++) {
        if (rt->slots[i].has_thread) {
            pthread_join(rt->slots[i].thread, NULL);
            plx__stack_fini(&rt->slots[i].stack);
        }
        rt->slots[i].has_thread = false;
    }
}

static int start_keeper(struct plx_runtime *rt, bool signals, struct plx_diag *diag)
{
    pthread_mutex_lock(&rt->lock);
    int rc = plx__keeper_start(rt, signals, diag);
    pthread_mutex_unlock(&rt->lock);
    return rc;
}

/* Of a start that failed: it stays for reactors that were adopted, but has no signals to take. */
static void end_keeper(struct plx_runtime *rt)
{
    struct plx__keeper *ended = NULL;
    bool adopted = false;
    pthread_mutex_lock(&rt->lock);
    for (uint32_t i = 0; i < rt->count; i++) {
        uint32_t life = plx__life_of(&rt->slots[i].life);
        adopted |= life == PLX__SLOT_OPENING || life == PLX__SLOT_RUNNING;
    }
    if (adopted)
        plx__keeper_give_back(rt);
    else
        ended = plx__keeper_take(rt);
    pthread_mutex_unlock(&rt->lock);
    plx__keeper_end(ended);
}

int plx_runtime_start(struct plx_runtime *rt, struct plx_diag *diag)
{
    if (rt->was_started)
        return plx_diag_set(diag, -EBUSY, "runtime", "it was started before");
    int rc = check_startable(rt, diag);
    if (rc != 0)
        return rc;
    rt->was_started = true;
    rc = start_keeper(rt, rt->opts.take_signals, diag);
    if (rc != 0)
        return rc;

    sigset_t before;
    block_signals(&before);
    for (uint32_t i = 0; i < rt->count && rc == 0; i++) {
        if (claim(&rt->slots[i]))
            rc = start_thread(&rt->slots[i], diag);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0)
        decide(rt, false);
    int opened = gather(rt, false, rc == 0 ? diag : NULL);
    rc = rc != 0 ? rc : opened;
    if (rc != 0) {
        decide(rt, false);
        join_all(rt);
        end_keeper(rt);
        return rc;
    }

    decide(rt, true);
    rc = gather(rt, true, diag);
    if (rc != 0)
        (void)!plx_runtime_stop(rt, ROLLBACK_NS, NULL);
    return rc;
}

/* --- the end ---------------------------------------------------------------------------------- */

/* The first running reactor that has not come so far, or -1. */
static int64_t find_behind(const struct plx_runtime *rt, uint32_t reached)
{
    for (uint32_t i = 0; i < rt->count; i++) {
        uint32_t life = plx__life_of(&rt->slots[i].life);
        if (life == PLX__SLOT_RUNNING && plx__phase_reached(&rt->slots[i].reached) < reached)
            return i;
    }
    return -1;
}

/* Of those that have not come so far the first that is not only waiting for another's answers. */
static int64_t find_culprit(const struct plx_runtime *rt, uint32_t reached)
{
    for (uint32_t i = 0; i < rt->count; i++) {
        const struct plx__slot *slot = &rt->slots[i];
        if (plx__life_of(&slot->life) == PLX__SLOT_RUNNING &&
            plx__phase_reached(&slot->reached) < reached && plx_load_relaxed(&slot->awaits) == 0)
            return i;
    }
    return find_behind(rt, reached);
}

static int64_t await_all(const struct plx_runtime *rt, uint32_t reached, uint64_t until_ns)
{
    int64_t behind = find_behind(rt, reached);
    while (behind >= 0 && plx__monotonic_ns() < until_ns) {
        nap();
        behind = find_behind(rt, reached);
    }
    return behind;
}

/*
 * Running reactors that have not come so far are waited for no longer, by their peers neither: one
 * that hangs must not keep the others from ending well. Returns the first, or -1.
 */
static int64_t give_up(struct plx_runtime *rt, uint32_t reached)
{
    int64_t first = find_behind(rt, reached);
    for (int64_t i = first; i >= 0; i = find_behind(rt, reached))
        plx__slot_end(&rt->slots[i], PLX__SLOT_LEAKED);
    return first;
}

static void set_phase(struct plx_runtime *rt, enum plx__stop_phase phase)
{
    plx__phase_set(&rt->phase, phase);
    plx__runtime_rouse(rt);
}

/*
 * The same for those that drain and still owe answers to calls: their askers, who wait for nothing
 * else, end well without them. Returns whether there were any.
 */
static bool give_up_debtors(struct plx_runtime *rt)
{
    bool any = false;
    for (uint32_t i = 0; i < rt->count; i++) {
        struct plx__slot *slot = &rt->slots[i];
        if (plx__life_of(&slot->life) != PLX__SLOT_RUNNING || plx_load_relaxed(&slot->owes) == 0 ||
            plx__phase_reached(&slot->reached) >= PLX__REACHED_DRAINED)
            continue;
        plx__slot_end(slot, PLX__SLOT_LEAKED);
        any = true;
    }
    return any;
}

/*
 * Walks all through the phases. Returns the first reactor that did not come along in time, or -1;
 * behind the deadline the others have a grace to end by themselves.
 */
static int64_t walk_phases(struct plx_runtime *rt, uint64_t until_ns)
{
    int64_t behind = -1;
    set_phase(rt, PLX__STOP_ADMITTING);
    if (await_all(rt, PLX__REACHED_ADMITTING, until_ns) >= 0) {
        behind = give_up(rt, PLX__REACHED_ADMITTING);
        until_ns = deadline_in(GRACE_NS);
    }
    set_phase(rt, PLX__STOP_DRAINING);
    if (await_all(rt, PLX__REACHED_DRAINED, until_ns) >= 0) {
        behind = behind >= 0 ? behind : find_culprit(rt, PLX__REACHED_DRAINED);
        bool less = give_up(rt, PLX__REACHED_DRAINING) >= 0;
        less |= give_up_debtors(rt);
        if (less)
            (void)await_all(rt, PLX__REACHED_DRAINED, deadline_in(GRACE_NS));
    }
    set_phase(rt, PLX__STOP_TEARDOWN);
    return behind;
}

/* A thread that left its loop is joined; one that does not within the grace is left to itself. */
static int64_t gather_threads(struct plx_runtime *rt, uint64_t until_ns)
{
    int64_t lost = -1;
    for (uint32_t i = 0; i < rt->count; i++) {
        struct plx__slot *slot = &rt->slots[i];
        if (!slot->has_thread)
            continue;
        /* Acquire: pairs with the release in thread_main. */
        bool left = plx_load_acquire(&slot->left) != 0;
        while (!left && plx__monotonic_ns() < until_ns) {
            nap();
            left = plx_load_acquire(&slot->left) != 0;
        }
        slot->has_thread = false;
        if (left) {
            pthread_join(slot->thread, NULL);
            plx__stack_fini(&slot->stack);
        } else {
            slot->detached = true;
            plx__slot_end(slot, PLX__SLOT_LEAKED);
            pthread_detach(slot->thread);
        }
        if (plx__life_of(&slot->life) == PLX__SLOT_LEAKED && lost < 0)
            lost = i;
    }
    return lost;
}

static int tell_late(const struct plx_runtime *rt, struct plx_diag *diag)
{
    const struct plx__slot *slot = &rt->slots[rt->late];
    char owed[64] = "";
    uint32_t owes = plx_load_relaxed(&slot->owes);
    if (owes != 0)
        snprintf(owed, sizeof(owed), " (it owes its callers %u answers)", owes);
    /* Acquire: pairs with the release in plx__reactor_open. Its memory stays. */
    const struct plx_reactor *r = plx_load_acquire(&slot->reactor);
    const char *task = r != NULL ? plx__tasks_holder(&r->tasks) : NULL;
    return plx_diag_set(
        diag, -ETIMEDOUT, "reactor",
        "reactor %u did not end within %llu ms%s%s%.80s; its memory is not used again", slot->index,
        (unsigned long long)(rt->late_ns / 1000000u), owed,
        task != NULL ? ", held up by task " : "", task != NULL ? task : "");
}

int plx_runtime_stop(struct plx_runtime *rt, uint64_t within_ns, struct plx_diag *diag)
{
    uint64_t until = deadline_in(within_ns);
    if (rt->pid != getpid())
        return plx_diag_set(diag, -EPERM, "runtime", "it belongs to process %d, which forked",
                            (int)rt->pid);
    plx_runtime_request_stop(rt);
    if (plx_load_relaxed(&rt->phase) != PLX__STOP_TEARDOWN) {
        int64_t behind = walk_phases(rt, until);
        uint64_t grace = deadline_in(GRACE_NS);
        int64_t lost = gather_threads(rt, until > grace ? until : grace);
        plx__keeper_stop(rt);
        rt->late = behind >= 0 ? behind : lost;
        rt->late_ns = within_ns;
    }
    return rt->late >= 0 ? tell_late(rt, diag) : 0;
}

/* --- adopting --------------------------------------------------------------------------------- */

int plx_reactor_adopt(struct plx_runtime *rt, uint32_t index, struct plx_reactor **out,
                      struct plx_diag *diag)
{
    *out = NULL;
    if (index >= rt->count)
        return plx_diag_set(diag, -EINVAL, "reactor", "there is no reactor %u: the plan has %u",
                            index, rt->count);
    int rc = check_startable(rt, diag);
    if (rc != 0)
        return rc;
    struct plx__slot *slot = &rt->slots[index];
    if (!claim(slot))
        return plx_diag_set(diag, -EBUSY, "reactor", "reactor %u is running or has run", index);

    rc = start_keeper(rt, false, diag);
    if (rc == 0)
        rc = plx__reactor_open(rt, index, true, diag);
    report_opened(slot, rc);
    if (rc == 0)
        *out = plx_load_relaxed(&slot->reactor);
    return rc;
}

/* The reactor is left as it is. Its calls end here, as their answers have no one to come to. */
static void give_oneself_up(struct plx_reactor *r, struct plx__slot *slot)
{
    for (uint32_t i = 0; i < r->mesh.count; i++) {
        char text[96];
        if (r->mesh.peers[i].calls == 0)
            continue;
        snprintf(text, sizeof(text), "reactor %u was abandoned: reactor %u owes it %u answers",
                 slot->index, i, r->mesh.peers[i].calls);
        plx__runtime_say_once(r->runtime, text);
    }
    r->in_turn = true;
    plx__mesh_lose_calls(&r->mesh);
    r->in_turn = false;
    leak(slot);
}

int plx_reactor_abandon(struct plx_reactor *r, uint64_t within_ns)
{
    struct plx__slot *slot = &r->runtime->slots[r->mesh.index];
    PLX_ASSERT(r->adopted && !r->in_turn);
    uint64_t until = deadline_in(within_ns);
    plx_store_relaxed(&slot->own_phase, PLX__STOP_DRAINING);
    r->phase = &slot->own_phase;
    while (plx_load_relaxed(&slot->reached) != PLX__REACHED_DRAINED) {
        (void)plx_reactor_poll(r);
        if (plx__monotonic_ns() >= until &&
            plx_load_relaxed(&slot->reached) != PLX__REACHED_DRAINED) {
            give_oneself_up(r, slot);
            return -ETIMEDOUT;
        }
    }
    plx__reactor_close(slot);
    return 0;
}
