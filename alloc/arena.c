/* SPDX-License-Identifier: MIT */
#include "alloc/arena.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "alloc/pages_internal.h"

/* Around a region of small pages lie addresses that fault: room for them and for aligning. */
#define SLACK_BYTES (2 * PLX__BYTES_2M)
/* How many pages one question to the kernel is about. */
#define NODES_BATCH 512

/* What diagnoses call the things that a caller can set: the option, and the setting behind it. */
static const char *const rung_options[] = {
    [PLX_RUNG_1G] = "page_1g (POLLUX_HUGEPAGES_1G)",
    [PLX_RUNG_2M] = "page_2m (POLLUX_HUGEPAGES_2M)",
    [PLX_RUNG_THP] = "thp (POLLUX_THP)",
};
static const char lock_option[] = "lock (POLLUX_MLOCK)";
static const char size_option[] = "bytes (POLLUX_ARENA_SIZE)";

static const char *const rung_names[] = {
    [PLX_RUNG_1G] = "1G",
    [PLX_RUNG_2M] = "2M",
    [PLX_RUNG_THP] = "thp",
    [PLX_RUNG_4K] = "4K",
};

static const size_t rung_page_bytes[] = {
    [PLX_RUNG_1G] = PLX__BYTES_1G,
    [PLX_RUNG_2M] = PLX__BYTES_2M,
    [PLX_RUNG_THP] = PLX__BYTES_2M,
    [PLX_RUNG_4K] = PLX_PAGE,
};

/* An arena in the making. */
struct making {
    struct plx_arena *arena;
    const struct plx__pages_calls *calls;
    struct plx_arena_opts opts;
    struct plx_diag *diag;
    char nodes[128];   /* with memory, as the kernel lists them */
    int node_count;    /* with memory; 0: not known */
    int bind_code;     /* what binding returned */
    int populate_code; /* what prefaulting returned, where the arena goes on without */
    /* Why the rung at hand can't be had; what a failing step returns when another may be tried. */
    int refusal_code;
    char refusal[160];
};

/* What a step of a rung returns, beside 0 and negative errno: not this rung, but others may do. */
enum { refused = 1 };

/* --- words ----------------------------------------------------------------------------------- */

struct bytes_text {
    char text[24];
};

/* A size in the largest unit that states it exactly. */
static struct bytes_text in_words(uint64_t bytes)
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB"};
    struct bytes_text words;
    size_t unit = 0;

    while (unit < 3 && bytes != 0 && bytes % 1024 == 0) {
        bytes /= 1024;
        unit++;
    }
    snprintf(words.text, sizeof(words.text), "%llu %s", (unsigned long long)bytes, units[unit]);
    return words;
}

static const char *node_words(int node, char *text, size_t capacity)
{
    if (node == PLX_NODE_ANY)
        snprintf(text, capacity, "the system");
    else
        snprintf(text, capacity, "node %d", node);
    return text;
}

PLX_PRINTF(2, 3) static void note(struct making *m, const char *format, ...)
{
    struct plx_arena *arena = m->arena;
    va_list arguments;

    PLX_ASSERT(arena->note_count < PLX_ARENA_NOTES);
    va_start(arguments, format);
    vsnprintf(arena->notes[arena->note_count++].text, PLX_ARENA_NOTE_BYTES, format, arguments);
    va_end(arguments);
}

PLX_PRINTF(3, 4) static int refuse(struct making *m, int code, const char *format, ...)
{
    va_list arguments;

    m->refusal_code = code;
    va_start(arguments, format);
    vsnprintf(m->refusal, sizeof(m->refusal), format, arguments);
    va_end(arguments);
    return refused;
}

/* --- arguments ------------------------------------------------------------------------------- */

void plx_arena_opts_init(struct plx_arena_opts *opts)
{
    *opts = (struct plx_arena_opts){
        .page_1g = PLX_WANT_NO,
        .page_2m = PLX_WANT_TRY,
        .thp = PLX_WANT_TRY,
        .bind = PLX_WANT_REQUIRE,
        .lock = PLX_WANT_TRY,
        .prefault = true,
    };
}

static enum plx_want rung_want(const struct plx_arena_opts *opts, enum plx_rung rung)
{
    const enum plx_want wants[] = {opts->page_1g, opts->page_2m, opts->thp};

    return wants[rung];
}

/* The required rung, PLX_RUNG_4K for none, or -EINVAL: two are required, or a want is no want. */
static int find_required(const struct making *m)
{
    const unsigned int others[] = {m->opts.bind, m->opts.lock};
    int required = PLX_RUNG_4K;

    for (int rung = PLX_RUNG_1G; rung < PLX_RUNG_4K; rung++) {
        unsigned int want = rung_want(&m->opts, (enum plx_rung)rung);
        if (want > PLX_WANT_REQUIRE)
            return plx_diag_set(m->diag, -EINVAL, rung_options[rung],
                                "%u is none of no (0), try (1), require (2)", want);
        if (want != PLX_WANT_REQUIRE)
            continue;
        if (required != PLX_RUNG_4K)
            return plx_diag_set(m->diag, -EINVAL, rung_options[rung],
                                "both %s and %s say require: an arena has pages of one kind, so at "
                                "most one may",
                                rung_options[required], rung_options[rung]);
        required = rung;
    }
    for (size_t i = 0; i < 2; i++) {
        if (others[i] > PLX_WANT_REQUIRE)
            return plx_diag_set(m->diag, -EINVAL, i == 0 ? "bind" : lock_option,
                                "%u is none of no (0), try (1), require (2)", others[i]);
    }
    return required;
}

static int check_size(const struct making *m, int required)
{
    size_t bytes = m->arena->asked_bytes;

    if (bytes == 0 || bytes > PLX_ARENA_BYTES_MAX)
        return plx_diag_set(m->diag, -EINVAL, size_option,
                            "an arena has from 1 byte to 1 TiB, not %zu bytes", bytes);
    if (required == PLX_RUNG_4K)
        return 0;
    if (bytes < rung_page_bytes[required])
        return plx_diag_set(m->diag, -EINVAL, rung_options[required],
                            "%s pages are required, but the arena of %s is smaller than one",
                            rung_names[required], in_words(bytes).text);
    if (required == PLX_RUNG_THP && !m->opts.prefault)
        return plx_diag_set(m->diag, -EINVAL, rung_options[required],
                            "transparent hugepages are required without prefault "
                            "(POLLUX_PREFAULT): before a page is taken nothing shows its size");
    return 0;
}

static int check_node(struct making *m)
{
    int node = m->arena->node;
    char what[24];

    snprintf(what, sizeof(what), "node %d", node);
    if (node < PLX_NODE_ANY)
        return plx_diag_set(m->diag, -EINVAL, what,
                            "a node is a number from 0 on, or %d for any", PLX_NODE_ANY);

    int code = plx__pages_memory_nodes(m->calls, m->nodes, sizeof(m->nodes));
    m->node_count = code == 0 ? plx__pages_list_count(m->nodes) : 0;
    if (node == PLX_NODE_ANY) {
        note(m, "node: none was named, so the memory is bound to none");
        return 0;
    }
    /* A kernel without NUMA shows no nodes and has one, which everybody calls 0. */
    if (code < 0 && node == 0)
        return 0;
    if (code < 0)
        return plx_diag_set(m->diag, -ENODEV, what,
                            "this system shows no nodes (/sys/devices/system/node: %s), so there "
                            "is only node 0",
                            strerror(-code));
    if (!plx__pages_list_has(m->nodes, node))
        return plx_diag_set(m->diag, -ENODEV, what,
                            "node %d does not exist or has no memory; nodes with memory: %s", node,
                            m->nodes);
    return 0;
}

/* --- one rung -------------------------------------------------------------------------------- */

static int refuse_pool(struct making *m, int cause)
{
    struct plx_arena *arena = m->arena;
    size_t needed = arena->bytes / arena->page_bytes;
    int64_t available = plx__pages_hugetlb_free(m->calls, arena->node, arena->page_bytes);
    char place[24];

    node_words(arena->node, place, sizeof(place));
    if (available < 0)
        return refuse(m, -ENOMEM, "this kernel or processor has none (%s)", strerror(-cause));
    if ((uint64_t)available < needed)
        return refuse(m, -ENOMEM, "%s has %lld free of the %zu needed (nr_hugepages)", place,
                      (long long)available, needed);
    return refuse(m, -ENOMEM,
                  "%s has %lld free, %zu are needed, and still: %s (others' reservations, or the "
                  "control group's limit?)",
                  place, (long long)available, needed, strerror(-cause));
}

static int map_hugetlb(struct making *m)
{
    struct plx_arena *arena = m->arena;
    int code = m->calls->map(arena->bytes, arena->page_bytes, &arena->mapping);

    if (code < 0)
        return refuse_pool(m, code);
    arena->mapping_bytes = arena->bytes;
    arena->base = arena->mapping;
    return 0;
}

/* Taking more than a bound node has does not fail: the kernel kills a process. So look before. */
static int check_available(struct making *m)
{
    struct plx_arena *arena = m->arena;
    /* Counts by node may leave hotplugged memory out; with one node the total is right. */
    int node = m->node_count <= 1 ? PLX_NODE_ANY : arena->node;
    int64_t available = plx__pages_available(m->calls, node);
    char what[24];

    if (!m->opts.prefault || available < 0 || (uint64_t)available >= arena->bytes)
        return 0;
    node_words(arena->node, what, sizeof(what));
    return plx_diag_set(m->diag, -ENOMEM, what, "%s has %s available, the arena needs %s", what,
                        in_words((uint64_t)available).text, in_words(arena->bytes).text);
}

static int map_small(struct making *m)
{
    struct plx_arena *arena = m->arena;

    int code = check_available(m);
    if (code < 0)
        return code;
    arena->mapping_bytes = arena->bytes + SLACK_BYTES;
    code = m->calls->map(arena->mapping_bytes, PLX_PAGE, &arena->mapping);
    if (code < 0)
        return plx_diag_set(m->diag, code, "mmap", "no addresses for an arena of %s: %s",
                            in_words(arena->bytes).text, strerror(-code));

    /* At least a page on either side stays closed, so that no other mapping joins this one. */
    uintptr_t first = (uintptr_t)arena->mapping + PLX_PAGE;
    arena->base = (unsigned char *)arena->mapping +
                  (plx_round_up(first, PLX__BYTES_2M) - (uintptr_t)arena->mapping);
    code = m->calls->open(arena->base, arena->bytes);
    if (code < 0)
        return plx_diag_set(m->diag, code, "mprotect", "no memory for an arena of %s: %s",
                            in_words(arena->bytes).text, strerror(-code));
    return 0;
}

/*
 * A refusal to bind at all (no NUMA in the kernel, a container's filter) is no failure yet: where
 * the pages came to lie may show that it was not needed.
 */
static int bind_to_node(struct making *m)
{
    struct plx_arena *arena = m->arena;

    if (arena->node == PLX_NODE_ANY || m->opts.bind == PLX_WANT_NO)
        return 0;
    m->bind_code = m->calls->bind(arena->base, arena->bytes, arena->node);
    arena->bound = m->bind_code == 0;
    if (arena->bound || m->bind_code == -ENOSYS || m->bind_code == -EPERM ||
        m->opts.bind == PLX_WANT_TRY)
        return 0;

    char what[24];
    return plx_diag_set(m->diag, m->bind_code, node_words(arena->node, what, sizeof(what)),
                        "mbind to node %d: %s (is it in the process's cpuset?)", arena->node,
                        strerror(-m->bind_code));
}

static int advise(struct making *m)
{
    struct plx_arena *arena = m->arena;
    const struct plx__pages_calls *calls = m->calls;

    int code = calls->advise(arena->base, arena->bytes, MADV_DONTFORK);
    if (code < 0)
        return plx_diag_set(m->diag, code, "madvise", "MADV_DONTFORK: %s", strerror(-code));
    if (arena->rung == PLX_RUNG_4K && m->opts.thp == PLX_WANT_NO) {
        /* Fails only where the kernel has no transparent hugepages, which is what is asked for. */
        (void)calls->advise(arena->base, arena->bytes, MADV_NOHUGEPAGE);
    }
    if (arena->rung != PLX_RUNG_THP)
        return 0;

    char mode[64];
    int64_t length =
        calls->read_file("/sys/kernel/mm/transparent_hugepage/enabled", mode, sizeof(mode));
    if (length > 0 && strstr(mode, "[never]") != NULL)
        return refuse(m, -ENOMEM, "/sys/kernel/mm/transparent_hugepage/enabled says never");
    code = calls->advise(arena->base, arena->bytes, MADV_HUGEPAGE);
    if (code < 0)
        return refuse(m, -ENOMEM, "MADV_HUGEPAGE: %s", strerror(-code));
    return 0;
}

/* Hugetlb pages not taken now are taken at a touch, which kills if the pool is dry by then. */
static int check_pool(struct making *m)
{
    struct plx_arena *arena = m->arena;
    int64_t available = plx__pages_hugetlb_free(m->calls, arena->node, arena->page_bytes);

    if (available >= 0 && (uint64_t)available < arena->bytes / arena->page_bytes)
        return refuse_pool(m, -ENOMEM);
    return 0;
}

static int populate(struct making *m)
{
    struct plx_arena *arena = m->arena;
    bool hugetlb = arena->rung <= PLX_RUNG_2M;
    int code = -EINVAL;

    if (m->opts.prefault)
        code = m->calls->advise(arena->base, arena->bytes, MADV_POPULATE_WRITE);
    /* EINVAL: a kernel before 5.14 doesn't know it. */
    if (code == -EINVAL) {
        m->populate_code = m->opts.prefault ? code : 0;
        return hugetlb ? check_pool(m) : 0;
    }
    if (code == 0) {
        arena->prefaulted = true;
        return 0;
    }
    /* EFAULT: a touch would have raised SIGBUS. */
    if (hugetlb && (code == -EFAULT || code == -ENOMEM))
        return refuse_pool(m, code);
    if (hugetlb)
        return refuse(m, code, "MADV_POPULATE_WRITE: %s", strerror(-code));

    char what[24];
    return plx_diag_set(m->diag, code, node_words(arena->node, what, sizeof(what)),
                        "%s could not give %s (MADV_POPULATE_WRITE): %s", what,
                        in_words(arena->bytes).text, strerror(-code));
}

static int look_at_thp(struct making *m)
{
    struct plx_arena *arena = m->arena;

    if (arena->rung != PLX_RUNG_THP)
        return 0;
    if (!arena->prefaulted && m->opts.thp == PLX_WANT_REQUIRE)
        return refuse(m, m->populate_code, "this kernel can't prefault, so nothing shows them");
    if (!arena->prefaulted) {
        note(m, "thp pages: asked for, but nothing shows them until the arena is touched");
        return 0;
    }
    int64_t got = m->calls->thp_bytes(arena->base, arena->bytes);
    if (got < 0 && m->opts.thp == PLX_WANT_REQUIRE)
        return refuse(m, (int)got, "/proc/self/smaps can't be read: %s", strerror((int)-got));
    if (got < 0) {
        note(m, "thp pages: asked for, but /proc/self/smaps can't be read to see them: %s",
             strerror((int)-got));
        return 0;
    }
    arena->thp_bytes = (size_t)got;
    if (arena->thp_bytes >= arena->bytes)
        return 0;
    if (got == 0 || m->opts.thp == PLX_WANT_REQUIRE)
        return refuse(m, -ENOMEM, "the kernel gave them for %s of %s", in_words((uint64_t)got).text,
                      in_words(arena->bytes).text);
    note(m, "thp pages: the kernel gave them for %s of %s (fragmented memory?)",
         in_words((uint64_t)got).text, in_words(arena->bytes).text);
    return 0;
}

static void unmap(struct plx_arena *arena)
{
    if (arena->mapping == NULL)
        return;
    int code = arena->calls->unmap(arena->mapping, arena->mapping_bytes);
    /* Only a wrong address or length makes munmap of a whole mapping fail. */
    PLX_ASSERT(code == 0);
    arena->mapping = NULL;
}

/* 0: the arena is mapped. `refused`: not this rung, m->refusal says why. Negative: m->diag does. */
static int try_rung(struct making *m, enum plx_rung rung)
{
    struct plx_arena *arena = m->arena;
    size_t page_bytes = rung_page_bytes[rung];

    arena->rung = rung;
    arena->page_bytes = page_bytes;
    if (arena->asked_bytes < page_bytes && rung != PLX_RUNG_4K)
        return refuse(m, -EINVAL, "skipped, the arena of %s is smaller than one",
                      in_words(arena->asked_bytes).text);
    arena->bytes = plx_round_up(arena->asked_bytes, page_bytes);

    int result = rung <= PLX_RUNG_2M ? map_hugetlb(m) : map_small(m);
    if (result == 0)
        result = bind_to_node(m);
    if (result == 0)
        result = advise(m);
    if (result == 0)
        result = populate(m);
    if (result == 0)
        result = look_at_thp(m);
    if (result != 0)
        unmap(arena);
    return result;
}

/* --- the ladder and what follows it ---------------------------------------------------------- */

static int climb_required(struct making *m, enum plx_rung required)
{
    for (int rung = PLX_RUNG_1G; rung < (int)required; rung++) {
        if (rung_want(&m->opts, (enum plx_rung)rung) == PLX_WANT_TRY)
            note(m, "%s pages: not tried, as %s pages are required", rung_names[rung],
                 rung_names[required]);
    }
    int result = try_rung(m, required);
    if (result != refused)
        return result;
    return plx_diag_set(m->diag, m->refusal_code, rung_options[required],
                        "%s pages are required: %s", rung_names[required], m->refusal);
}

static int climb(struct making *m)
{
    for (int rung = PLX_RUNG_1G; rung < PLX_RUNG_4K; rung++) {
        if (rung_want(&m->opts, (enum plx_rung)rung) == PLX_WANT_NO)
            continue;
        int result = try_rung(m, (enum plx_rung)rung);
        if (result != refused)
            return result;
        note(m, "%s pages: %s", rung_names[rung], m->refusal);
    }
    return try_rung(m, PLX_RUNG_4K);
}

static void note_prefault(struct making *m)
{
    struct plx_arena *arena = m->arena;

    if (m->populate_code < 0)
        note(m, "prefault: this kernel doesn't know MADV_POPULATE_WRITE (Linux 5.14), so pages are "
                "taken at their first touch");
    if (!arena->prefaulted && arena->rung <= PLX_RUNG_2M)
        note(m, "prefault: a first touch kills the process (SIGBUS) if the pool of %s pages is dry "
                "by then",
             rung_names[arena->rung]);
}

static int lock(struct making *m)
{
    struct plx_arena *arena = m->arena;

    /* Hugetlb pages are never paged out: mlock would only use up the limit. */
    if (arena->rung <= PLX_RUNG_2M) {
        arena->locked = true;
        return 0;
    }
    if (m->opts.lock == PLX_WANT_NO)
        return 0;
    int code = m->calls->lock(arena->base, arena->bytes, !arena->prefaulted);
    if (code == 0) {
        arena->locked = true;
        return 0;
    }
    /* A part may be locked, and would be counted against the limit. */
    (void)m->calls->unlock(arena->base, arena->bytes);

    char why[160];
    int64_t limit = m->calls->memlock_limit();
    snprintf(why, sizeof(why), "mlock of %s: %s; RLIMIT_MEMLOCK is %s (ulimit -l, LimitMEMLOCK=)",
             in_words(arena->bytes).text, strerror(-code),
             limit < 0            ? "not readable"
             : limit == INT64_MAX ? "unlimited"
                                  : in_words((uint64_t)limit).text);
    if (m->opts.lock == PLX_WANT_REQUIRE)
        return plx_diag_set(m->diag, code, lock_option, "the lock is required: %s", why);
    note(m, "lock: %s", why);
    return 0;
}

static int check_place(struct making *m)
{
    struct plx_arena *arena = m->arena;
    bool required = m->opts.bind == PLX_WANT_REQUIRE;
    char what[24];

    if (arena->node == PLX_NODE_ANY)
        return 0;
    node_words(arena->node, what, sizeof(what));
    int64_t off = arena->pages_off_node = plx_arena_verify(arena);
    if (off > 0 && required)
        return plx_diag_set(m->diag, -EIO, what, "%lld of %s's pages lie on other nodes",
                            (long long)off, "the arena");
    if (off > 0)
        note(m, "node: %lld pages lie off node %d", (long long)off, arena->node);
    if (off < 0)
        note(m, "node: the kernel doesn't say where the pages lie (move_pages: %s)",
             strerror((int)-off));
    if (arena->bound || m->bind_code == 0)
        return 0;

    bool one_node = m->node_count == 1 || m->bind_code == -ENOSYS;
    bool seen = arena->prefaulted && off == 0;
    if (required && !one_node && !seen)
        return plx_diag_set(m->diag, m->bind_code, what,
                            "mbind to node %d: %s, and nothing shows that the pages lie there",
                            arena->node, strerror(-m->bind_code));
    note(m, "bind: mbind to node %d: %s; %s", arena->node, strerror(-m->bind_code),
         one_node ? "there is only one node"
         : seen   ? "its pages were seen to lie there"
                  : "where its pages lie is not assured");
    return 0;
}

int plx__arena_init_with(struct plx_arena *arena, size_t bytes, int node,
                         const struct plx_arena_opts *opts, struct plx_diag *diag,
                         const struct plx__pages_calls *calls)
{
    struct making m = {.arena = arena, .calls = calls, .diag = diag};

    memset(arena, 0, sizeof(*arena));
    arena->calls = calls;
    arena->asked_bytes = bytes;
    arena->node = node;
    if (opts != NULL)
        m.opts = *opts;
    else
        plx_arena_opts_init(&m.opts);

    int required = find_required(&m);
    int result = required < 0 ? required : check_size(&m, required);
    if (result == 0)
        result = check_node(&m);
    if (result < 0)
        goto fail;

    result = required == PLX_RUNG_4K ? climb(&m) : climb_required(&m, (enum plx_rung)required);
    if (result < 0)
        goto fail;
    note_prefault(&m);
    result = lock(&m);
    if (result < 0)
        goto fail_unmap;
    result = check_place(&m);
    if (result < 0)
        goto fail_unmap;
    return 0;

fail_unmap:
    unmap(arena);
fail:
    memset(arena, 0, sizeof(*arena));
    return result;
}

int plx_arena_init(struct plx_arena *arena, size_t bytes, int node,
                   const struct plx_arena_opts *opts, struct plx_diag *diag)
{
    return plx__arena_init_with(arena, bytes, node, opts, diag, &plx__pages_linux);
}

void plx_arena_fini(struct plx_arena *arena)
{
    unmap(arena);
    memset(arena, 0, sizeof(*arena));
}

/* --- use ------------------------------------------------------------------------------------- */

void *plx_arena_carve(struct plx_arena *arena, size_t bytes, size_t align)
{
    PLX_ASSERT(bytes > 0);
    PLX_ASSERT(plx_is_pow2(align));

    /* The distance to the next aligned address, by which no sum can wrap. */
    size_t skip = (0 - ((uintptr_t)arena->base + arena->used)) & (align - 1);
    size_t left = plx_arena_left(arena);
    if (skip > left || bytes > left - skip)
        return NULL;

    void *carved = arena->base + arena->used + skip;
    arena->used += skip + bytes;
    return carved;
}

size_t plx_arena_left(const struct plx_arena *arena)
{
    return arena->bytes - arena->used;
}

/* --- inspection ------------------------------------------------------------------------------ */

int64_t plx_arena_verify(const struct plx_arena *arena)
{
    if (arena->base == NULL || arena->node == PLX_NODE_ANY)
        return 0;

    size_t step = arena->rung <= PLX_RUNG_2M ? arena->page_bytes : PLX_PAGE;
    int64_t off = 0;
    for (size_t at = 0; at < arena->bytes;) {
        void *pages[NODES_BATCH];
        int nodes[NODES_BATCH];
        size_t count = 0;
        for (; count < NODES_BATCH && at < arena->bytes; at += step)
            pages[count++] = arena->base + at;

        int code = arena->calls->nodes_of(pages, nodes, count);
        if (code < 0)
            return code;
        for (size_t i = 0; i < count; i++) {
            /* No page yet, or the page of zeroes that a read shows before the first write. */
            if (nodes[i] == -ENOENT || nodes[i] == -EFAULT)
                continue;
            if (nodes[i] < 0)
                return nodes[i];
            off += nodes[i] != arena->node;
        }
    }
    return off;
}

const char *plx_rung_name(enum plx_rung rung)
{
    return (unsigned int)rung <= PLX_RUNG_4K ? rung_names[rung] : "?";
}

static void explain_place(const struct plx_arena *arena, char *text, size_t capacity)
{
    if (arena->node == PLX_NODE_ANY)
        snprintf(text, capacity, "on any node");
    else if (arena->pages_off_node < 0)
        snprintf(text, capacity, "%s node %d, pages off it unknown (%s)",
                 arena->bound ? "bound to" : "for", arena->node,
                 strerror((int)-arena->pages_off_node));
    else
        snprintf(text, capacity, "%s node %d, %lld pages off it", arena->bound ? "bound to" : "for",
                 arena->node, (long long)arena->pages_off_node);
}

void plx_arena_explain(const struct plx_arena *arena, plx_text_fn sink, void *ctx)
{
    char place[96];
    char pages[96];

    if (arena->base == NULL) {
        plx_text_line(sink, ctx, "arena: empty");
        return;
    }
    explain_place(arena, place, sizeof(place));
    if (arena->rung == PLX_RUNG_THP)
        snprintf(pages, sizeof(pages), "transparent 2M pages (%s seen in them)",
                 in_words(arena->thp_bytes).text);
    else
        snprintf(pages, sizeof(pages), "%zu pages of %s", arena->bytes / arena->page_bytes,
                 rung_names[arena->rung]);
    plx_text_line(sink, ctx, "arena: %s (asked %s), %s, %s, %s, %s", in_words(arena->bytes).text,
                  in_words(arena->asked_bytes).text, pages, place,
                  arena->prefaulted ? "prefaulted" : "not prefaulted",
                  arena->locked ? "locked" : "not locked");
    for (unsigned int i = 0; i < arena->note_count; i++)
        plx_text_line(sink, ctx, "arena: degraded: %s", arena->notes[i].text);
}
