/* SPDX-License-Identifier: MIT */
#include "test/model/weakmem.h"

#include "alloc/base.h"

#include <stdio.h>
#include <string.h>
#include <ucontext.h>

#define PLACES_MAX   24
#define MESSAGES_MAX 24
#define CHOICES_MAX  512
#define STACK_BYTES  ((size_t)256 * 1024)
#define NOBODY       (-1)

struct view {
    uint8_t known[PLACES_MAX];      /* the least message that may still be taken */
    uint32_t clock[WM_THREADS_MAX]; /* plain accesses known to be over */
};

struct message {
    uint64_t value;
    struct view view;
};

struct place {
    const void *address;
    bool is_private;
    bool is_quiet;
    int owner; /* of a private place: who touched it first */
    /* atomic */
    int message_count;
    struct message messages[MESSAGES_MAX];
    /* plain */
    uint64_t value;
    int writer;
    uint32_t write_clock;
    uint32_t read_clock[WM_THREADS_MAX];
};

struct choice {
    int taken;
    int count;
};

static struct {
    const struct wm_program *program;
    struct wm_result *result;

    /* The path through the tree of choices: replayed to `choice_count`, then extended. */
    struct choice choices[CHOICES_MAX];
    int choice_count;
    int depth;

    /* One execution. */
    struct place places[PLACES_MAX];
    int place_count;
    struct view views[WM_THREADS_MAX];
    bool ended[WM_THREADS_MAX];
    int current; /* thread; the first one's view stands for all while finishing */
    bool finishing;

    ucontext_t main_context;
    ucontext_t contexts[WM_THREADS_MAX];
    unsigned char stacks[WM_THREADS_MAX][STACK_BYTES];
} wm;

/* --- choices --------------------------------------------------------------------------------- */

static int choose(int count)
{
    if (count == 1)
        return 0;
    if (wm.depth == wm.choice_count) {
        PLX_ASSERT(wm.choice_count < CHOICES_MAX);
        wm.choices[wm.choice_count++] = (struct choice){0, count};
    }
    struct choice *choice = &wm.choices[wm.depth++];
    PLX_ASSERT(choice->count == count); /* the program depends on nothing but its choices */
    return choice->taken;
}

/* Goes to the next path; false if there is none. */
static bool next_path(void)
{
    while (wm.choice_count > 0) {
        struct choice *last = &wm.choices[wm.choice_count - 1];
        if (++last->taken < last->count)
            return true;
        wm.choice_count--;
    }
    return false;
}

/* --- threads --------------------------------------------------------------------------------- */

static void violate(const char *text)
{
    wm.result->violated = true;
    snprintf(wm.result->violation, sizeof(wm.result->violation), "%s", text);
    if (!wm.finishing)
        setcontext(&wm.main_context);
}

static int choose_thread(void)
{
    int able[WM_THREADS_MAX];
    int count = 0;
    for (int i = 0; i < wm.program->thread_count; i++)
        if (!wm.ended[i])
            able[count++] = i;
    return count > 0 ? able[choose(count)] : NOBODY;
}

/* A shared access is about to happen: any thread's turn may be next. */
static void let_others_run(void)
{
    if (wm.finishing)
        return;
    int previous = wm.current;
    wm.current = choose_thread();
    if (wm.current != previous)
        swapcontext(&wm.contexts[previous], &wm.contexts[wm.current]);
}

static void thread_main(void)
{
    wm.program->threads[wm.current](wm.program->ctx);
    wm.ended[wm.current] = true;
    wm.current = choose_thread();
    setcontext(wm.current == NOBODY ? &wm.main_context : &wm.contexts[wm.current]);
}

/* --- views and places ------------------------------------------------------------------------ */

static void join(struct view *into, const struct view *from)
{
    for (int i = 0; i < wm.place_count; i++)
        if (from->known[i] > into->known[i])
            into->known[i] = from->known[i];
    for (int i = 0; i < WM_THREADS_MAX; i++)
        if (from->clock[i] > into->clock[i])
            into->clock[i] = from->clock[i];
}

/* The place of an address; at first touch it holds what set_up left in the memory. */
static struct place *find(const void *address, size_t bytes)
{
    for (int i = 0; i < wm.place_count; i++)
        if (wm.places[i].address == address)
            return &wm.places[i];

    PLX_ASSERT(wm.place_count < PLACES_MAX && bytes <= sizeof(uint64_t));
    struct place *place = &wm.places[wm.place_count++];
    memset(place, 0, offsetof(struct place, messages));
    place->address = address;
    place->owner = NOBODY;
    place->value = 0;
    memcpy(&place->value, address, bytes); /* little-endian */
    place->writer = NOBODY;
    memset(place->read_clock, 0, sizeof(place->read_clock));
    place->message_count = 1;
    memset(&place->messages[0], 0, sizeof(place->messages[0]));
    place->messages[0].value = place->value;
    return place;
}

static struct place *find_atomic(const void *address, size_t bytes)
{
    struct place *place = find(address, bytes);
    if (place->is_quiet)
        return place;
    if (!place->is_private) {
        let_others_run();
        return place;
    }
    if (place->owner == NOBODY)
        place->owner = wm.current;
    if (place->owner != wm.current && !wm.finishing)
        violate("a private place is touched by a second thread");
    return place;
}

/* Notes that the site was met; false if it is weakened. */
static bool is_in_force(int site)
{
    int i = 0;
    while (i < wm.result->site_count && wm.result->sites[i] != site)
        i++;
    if (i == wm.result->site_count) {
        PLX_ASSERT(i < WM_SITES_MAX);
        wm.result->sites[wm.result->site_count++] = site;
    }
    return site != wm.program->weakened_site;
}

static enum wm_order order_at(int site, enum wm_order order)
{
    if (order == WM_RELAXED)
        return order;
    if (order != WM_ACQ_REL)
        return is_in_force(site) ? order : WM_RELAXED;
    bool acquires = is_in_force(site);
    if (is_in_force(-site))
        return acquires ? WM_ACQ_REL : WM_RELEASE;
    return acquires ? WM_ACQUIRE : WM_RELAXED;
}

static bool has_acquire(enum wm_order order)
{
    return order == WM_ACQUIRE || order == WM_ACQ_REL;
}

static bool has_release(enum wm_order order)
{
    return order == WM_RELEASE || order == WM_ACQ_REL;
}

/* --- accesses -------------------------------------------------------------------------------- */

uint64_t wm_load(const void *address, size_t bytes, enum wm_order order, int site)
{
    order = order_at(site, order);
    struct place *place = find_atomic(address, bytes);
    struct view *view = &wm.views[wm.current];
    int index = (int)(place - wm.places);
    /* The newest first: the common execution is the first one tried. */
    int choices = place->is_quiet ? 1 : place->message_count - view->known[index];
    int taken = place->message_count - 1 - choose(choices);
    view->known[index] = (uint8_t)taken;
    if (has_acquire(order))
        join(view, &place->messages[taken].view);
    return place->messages[taken].value;
}

void wm_store(void *address, size_t bytes, uint64_t value, enum wm_order order, int site)
{
    order = order_at(site, order);
    struct place *place = find_atomic(address, bytes);
    struct view *view = &wm.views[wm.current];
    int index = (int)(place - wm.places);
    PLX_ASSERT(place->message_count < MESSAGES_MAX);
    struct message *message = &place->messages[place->message_count];
    view->known[index] = (uint8_t)place->message_count++;
    message->value = value;
    if (order == WM_RELEASE) {
        message->view = *view;
    } else {
        memset(&message->view, 0, sizeof(message->view));
        message->view.known[index] = view->known[index];
    }
}

/* What a read-modify-write did to the newest message's value, if anything. */
struct change {
    enum { CHANGE_TO, CHANGE_BY, CHANGE_IF } how;
    uint64_t value;
    uint64_t expected;
};

/* A value as a place of so many bytes holds it. */
static uint64_t cut(uint64_t value, size_t bytes)
{
    return bytes < sizeof(value) ? value & (((uint64_t)1 << (8 * bytes)) - 1) : value;
}

static uint64_t modify(void *address, size_t bytes, struct change change, enum wm_order order,
                       int site)
{
    order = order_at(site, order);
    struct place *place = find_atomic(address, bytes);
    struct view *view = &wm.views[wm.current];
    int index = (int)(place - wm.places);
    const struct message *newest = &place->messages[place->message_count - 1];
    uint64_t before = newest->value;
    view->known[index] = (uint8_t)(place->message_count - 1);
    if (has_acquire(order))
        join(view, &newest->view);
    if (change.how == CHANGE_IF && before != cut(change.expected, bytes))
        return before;

    PLX_ASSERT(place->message_count < MESSAGES_MAX);
    struct message *message = &place->messages[place->message_count];
    view->known[index] = (uint8_t)place->message_count++;
    message->value = cut(change.how == CHANGE_BY ? before + change.value : change.value, bytes);
    message->view = newest->view; /* the release sequence goes on */
    message->view.known[index] = view->known[index];
    if (has_release(order))
        join(&message->view, view);
    return before;
}

uint64_t wm_exchange(void *address, size_t bytes, uint64_t value, enum wm_order order, int site)
{
    return modify(address, bytes, (struct change){CHANGE_TO, value, 0}, order, site);
}

uint64_t wm_fetch_add(void *address, size_t bytes, uint64_t value, enum wm_order order, int site)
{
    return modify(address, bytes, (struct change){CHANGE_BY, value, 0}, order, site);
}

uint64_t wm_compare_exchange(void *address, size_t bytes, uint64_t expected, uint64_t value,
                             enum wm_order order, int site)
{
    return modify(address, bytes, (struct change){CHANGE_IF, value, expected}, order, site);
}

static bool knows(int thread, uint32_t clock)
{
    return thread == wm.current || clock <= wm.views[wm.current].clock[thread];
}

uint64_t wm_read(const uint64_t *address)
{
    struct place *place = find(address, sizeof(*address));
    if (place->writer != NOBODY && !knows(place->writer, place->write_clock))
        violate("a plain read races with a write");
    place->read_clock[wm.current] = ++wm.views[wm.current].clock[wm.current];
    return place->value;
}

void wm_write(uint64_t *address, uint64_t value)
{
    struct place *place = find(address, sizeof(*address));
    if (place->writer != NOBODY && !knows(place->writer, place->write_clock))
        violate("a plain write races with a write");
    for (int i = 0; i < wm.program->thread_count; i++)
        if (!knows(i, place->read_clock[i]))
            violate("a plain write races with a read");
    place->writer = wm.current;
    place->write_clock = ++wm.views[wm.current].clock[wm.current];
    place->value = value;
}

void wm_check(bool condition, const char *text)
{
    if (!condition)
        violate(text);
}

void wm_private(const void *address, size_t bytes)
{
    find(address, bytes)->is_private = true;
}

void wm_quiet(const void *address, size_t bytes)
{
    find(address, bytes)->is_quiet = true;
}

/* --- exploring ------------------------------------------------------------------------------- */

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_THREAD_SANITIZER 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define UNDER_THREAD_SANITIZER 1
#endif

const char *wm_unusable(void)
{
#ifdef UNDER_THREAD_SANITIZER
    return "skipped: ThreadSanitizer cannot follow the simulated threads";
#else
    return NULL;
#endif
}

static void execute(void)
{
    /* Volatile: execute() goes on after threads that came and went by way of saved contexts. */
    const struct wm_program *volatile program = wm.program;
    wm.depth = 0;
    wm.place_count = 0;
    wm.finishing = false;
    memset(wm.views, 0, sizeof(wm.views));
    memset(wm.ended, 0, sizeof(wm.ended));
    program->set_up(program->ctx);

    for (int i = 0; i < program->thread_count; i++) {
        getcontext(&wm.contexts[i]);
        wm.contexts[i].uc_stack.ss_sp = wm.stacks[i];
        wm.contexts[i].uc_stack.ss_size = STACK_BYTES;
        wm.contexts[i].uc_link = NULL;
        makecontext(&wm.contexts[i], thread_main, 0);
    }
    wm.current = choose_thread();
    swapcontext(&wm.main_context, &wm.contexts[wm.current]);

    if (program->finish != NULL && !wm.result->violated) {
        wm.finishing = true;
        wm.current = 0;
        for (int i = 1; i < program->thread_count; i++)
            join(&wm.views[0], &wm.views[i]);
        program->finish(program->ctx);
    }
}

void wm_explore(const struct wm_program *program, struct wm_result *result)
{
    PLX_ASSERT(program->thread_count >= 1 && program->thread_count <= WM_THREADS_MAX);
    memset(result, 0, sizeof(*result));
    wm.program = program;
    wm.result = result;
    wm.choice_count = 0;
    while (result->executions < program->executions_max) {
        execute();
        result->executions++;
        if (result->violated)
            return;
        if (!next_path()) {
            result->complete = true;
            return;
        }
    }
}
