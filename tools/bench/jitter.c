/* SPDX-License-Identifier: MIT */
/*
 * What is taken from each core: a loop reads the counter over and over, and what lies between two
 * readings is a gap. Those from a threshold on are counted and summed, and of the longest is kept
 * when they came and what the core's counters of interrupts, switches and stolen time say of them.
 * The same of the turns of a reactor that has nothing to do, polled from the same loop.
 *
 * One core is looked at at a time, so that what is seen is the machine's doing, not another
 * measurement's. Subjects: raw, the bare loop; pollux, a reactor's turn in it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tools/bench/frame.h"
#include "tools/bench/interrupts.h"

#define ROUNDS 8u
/* Of all rounds of all cores, each of the two cases. */
#define QUICK_TOTAL_US 2000000u
#define FULL_TOTAL_US  20000000u
#define SLICE_US_MIN   20000u
#define SLICE_US_MAX   500000u
/* Cores measured together, in interleaved slices: two subjects each. */
#define BATCH_CORES 32u
#define ABANDON_NS  UINT64_C(1000000000)
/* Of /proc/interrupts: to begin with, and at most. */
#define TEXT_BYTES     ((size_t)1 << 18)
#define TEXT_BYTES_MAX ((size_t)1 << 26)

/* What can explain a gap, as of one moment. */
struct facts {
    struct plx_bench_interrupts interrupts;
    uint64_t switches;
    uint64_t steal;
};

/* The text of /proc/interrupts, as it was last read. */
struct text {
    char *at;
    size_t room;
    int fd; /* -1: not to be read */
};

/* A core that is looked at. */
struct watch {
    struct plx_bench *bench;
    int cpu;
    char cpu_text[16];
    const char *subject;
    struct plx_runtime *runtime;
    struct plx_reactor *reactor;
    struct facts *facts;
    struct facts *later;
    struct text *text;
};

/* --- the longest gaps ------------------------------------------------------------------------ */

/* Room for twice as much; false: there is none. */
static bool grow(struct text *text)
{
    size_t room = text->room != 0 ? 2 * text->room : TEXT_BYTES;
    char *at = room <= TEXT_BYTES_MAX ? realloc(text->at, room) : NULL;
    if (at == NULL)
        return false;
    text->at = at;
    text->room = room;
    return true;
}

/* Reads the file, which comes in pieces, to its end. Returns the length, 0 if it cannot be read. */
static size_t read_text(struct text *text)
{
    size_t length = 0;
    for (ssize_t got = 1; text->fd >= 0 && got > 0;) {
        if (length + 1 >= text->room && !grow(text))
            break;
        got = pread(text->fd, text->at + length, text->room - 1 - length, (off_t)length);
        length += got > 0 ? (size_t)got : 0;
    }
    if (length != 0)
        text->at[length] = '\0';
    return length;
}

static void take_facts(const struct watch *watch, struct facts *facts)
{
    struct rusage usage;
    struct plx_cpu_set cpu = {{0}};
    facts->interrupts.count = 0;
    if (read_text(watch->text) != 0)
        plx_bench_interrupts_read(watch->text->at, watch->cpu, &facts->interrupts);
    (void)getrusage(RUSAGE_THREAD, &usage);
    facts->switches = (uint64_t)(usage.ru_nivcsw + usage.ru_nvcsw);
    plx_cpu_set_add(&cpu, (unsigned)watch->cpu);
    facts->steal = plx_bench_steal(&cpu);
}

static void explain(const struct facts *before, const struct facts *after, char *text, size_t bytes)
{
    size_t used = plx_bench_interrupts_diff(&before->interrupts, &after->interrupts, text, bytes);
    const char *comma = used != 0 ? ", " : "";
    if (after->switches != before->switches) {
        int length = snprintf(text + used, bytes - used, "%sswitches +%llu", comma,
                              (unsigned long long)(after->switches - before->switches));
        used += length > 0 && (size_t)length < bytes - used ? (size_t)length : 0;
        comma = ", ";
    }
    if (after->steal != before->steal) {
        int length = snprintf(text + used, bytes - used, "%ssteal +%llu ms", comma,
                              (unsigned long long)(10 * (after->steal - before->steal)));
        used += length > 0 && (size_t)length < bytes - used ? (size_t)length : 0;
    }
    if (used == 0)
        snprintf(text, bytes, "%s",
                 plx_bench_interrupts_none(&before->interrupts, &after->interrupts));
}

/* Whether a gap belongs to the longest so far. */
static bool is_long(const struct plx_bench *bench, uint64_t ticks)
{
    return bench->gap_count < bench->gap_room ||
           (bench->gap_room != 0 && ticks > bench->gaps[bench->gap_room - 1].ticks);
}

/* Keeps it, in the order of length; the shortest one goes. */
static void keep_gap(struct watch *watch, uint64_t ticks, uint64_t at_ticks)
{
    struct plx_bench *bench = watch->bench;
    uint32_t place = bench->gap_count < bench->gap_room ? bench->gap_count : bench->gap_room - 1;
    for (; place != 0 && bench->gaps[place - 1].ticks < ticks; place--)
        bench->gaps[place] = bench->gaps[place - 1];
    if (bench->gap_count < bench->gap_room)
        bench->gap_count++;
    struct plx_bench_gap *gap = &bench->gaps[place];
    *gap = (struct plx_bench_gap){.ticks = ticks, .cpu = watch->cpu, .subject = watch->subject};
    gap->at_ns = (uint64_t)((double)(at_ticks - bench->start_ticks) * plx_bench_ns_per_tick(bench));
    take_facts(watch, watch->later);
    explain(watch->facts, watch->later, gap->what, sizeof(gap->what));
    struct facts *last = watch->facts;
    watch->facts = watch->later;
    watch->later = last;
}

/* --- slices ---------------------------------------------------------------------------------- */

static inline __attribute__((always_inline)) int watch_gaps(struct plx_bench_slice *slice,
                                                            struct watch *watch, bool turns)
{
    struct plx_bench *bench = watch->bench;
    uint64_t threshold = (uint64_t)((double)bench->threshold_ns / plx_bench_ns_per_tick(bench));
    take_facts(watch, watch->facts);
    uint64_t before = plx_ticks();
    uint64_t start = before;
    uint64_t left_out = 0;
    while (before < slice->end_ticks) {
        if (turns)
            (void)plx_reactor_poll(watch->reactor);
        uint64_t now = plx_ticks();
        uint64_t gap = now - before;
        if (gap >= threshold) {
            plx_bench_sample(slice, gap);
            slice->done += gap;
            if (is_long(bench, gap))
                keep_gap(watch, gap, before);
            /* What looking at it took is nobody's gap. */
            uint64_t after = plx_ticks();
            left_out += after - now;
            now = after;
        }
        before = now;
    }
    slice->elapsed_ticks = before - start - left_out;
    return 0;
}

static int run_gaps(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    (void)diag;
    return watch_gaps(slice, ctx, false);
}

static int run_turn_gaps(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    (void)diag;
    return watch_gaps(slice, ctx, true);
}

/* All of them, each recorded: what the loop takes. */
static int run_loop(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    (void)ctx;
    (void)diag;
    uint64_t before = plx_ticks();
    while (before < slice->end_ticks) {
        uint64_t now = plx_ticks();
        plx_bench_sample(slice, now - before);
        before = now;
    }
    return 0;
}

static int run_turns(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    (void)diag;
    struct watch *watch = ctx;
    uint64_t before = plx_ticks();
    while (before < slice->end_ticks) {
        (void)plx_reactor_poll(watch->reactor);
        uint64_t now = plx_ticks();
        plx_bench_sample(slice, now - before);
        before = now;
    }
    return 0;
}

/* On its own core, where the bench thread is by now. */
static int open_reactor(struct plx_bench_slice *slice, void *ctx, struct plx_diag *diag)
{
    (void)slice;
    struct watch *watch = ctx;
    const char *const settings[] = {"reactors", "1",   "sqpoll", "off",  "cpus", watch->cpu_text,
                                    "smt",      "yes", "idle",   "spin", NULL};
    int rc = plx_bench_runtime(watch->bench, settings, NULL, &watch->runtime, diag);
    if (rc != 0)
        return rc;
    rc = plx_reactor_adopt(watch->runtime, 0, &watch->reactor, diag);
    if (rc != 0) {
        plx_runtime_destroy(watch->runtime);
        watch->runtime = NULL;
    }
    return rc;
}

static void close_reactor(void *ctx)
{
    struct watch *watch = ctx;
    (void)!plx_reactor_abandon(watch->reactor, ABANDON_NS);
    plx_runtime_destroy(watch->runtime);
    watch->runtime = NULL;
}

/* --- cases ----------------------------------------------------------------------------------- */

static int measure_batch(struct plx_bench *bench, struct plx_bench_case *what,
                         struct watch *watches, const int *cpus, uint32_t count, bool all)
{
    struct plx_bench_subject subjects[2 * BATCH_CORES];
    for (uint32_t i = 0; i < 2 * count; i++) {
        struct watch *watch = &watches[i];
        bool turns = i % 2 != 0;
        watch->bench = bench;
        watch->cpu = cpus[i / 2];
        watch->subject = turns ? "pollux" : "raw";
        snprintf(watch->cpu_text, sizeof(watch->cpu_text), "%d", watch->cpu);
        subjects[i] = (struct plx_bench_subject){
            .name = watch->subject,
            .run = all ? (turns ? run_turns : run_loop) : (turns ? run_turn_gaps : run_gaps),
            .open = turns ? open_reactor : NULL,
            .close = turns ? close_reactor : NULL,
            .ctx = watch,
            .mem_node = -1,
            .cpu_a = watch->cpu,
            .cpu_b = -1,
        };
    }
    return plx_bench_measure(bench, what, subjects, 2 * count);
}

static int measure_case(struct plx_bench *bench, const struct plx_bench_case *like,
                        struct watch *watches, const int *cpus, uint32_t count)
{
    struct plx_bench_case what = *like;
    bool all = like->also_name == NULL;
    what.block = 1;
    what.sleeps = true;
    what.noise = true;
    what.rounds = ROUNDS;
    what.slice_us = (bench->quick ? QUICK_TOTAL_US : FULL_TOTAL_US) / ROUNDS / 2 / count;
    what.slice_us = what.slice_us < SLICE_US_MIN ? SLICE_US_MIN : what.slice_us;
    what.slice_us = what.slice_us > SLICE_US_MAX ? SLICE_US_MAX : what.slice_us;
    int rc = 0;
    what.parts = (count + BATCH_CORES - 1) / BATCH_CORES;
    for (uint32_t i = 0; i < count && rc == 0; i += BATCH_CORES, what.part++) {
        uint32_t some = count - i < BATCH_CORES ? count - i : BATCH_CORES;
        rc = measure_batch(bench, &what, watches, cpus + i, some, all);
    }
    return rc;
}

static void print_gaps(const struct plx_bench *bench)
{
    static const char *const headings[] = {"cpu", "subject", "us", "at s", "what was counted"};
    struct plx_cli_table table;
    if (bench->gap_count == 0 || bench->listing || bench->pass + 1 < bench->passes)
        return;
    plx_cli_print(bench->tables, PLX_CLI_BOLD, "jitter: the %u longest gaps", bench->gap_count);
    fputs("; counted on that core since the one before\n", bench->tables);
    plx_cli_table_init(&table, "llrrl", bench->tables);
    for (size_t i = 0; i < sizeof(headings) / sizeof(headings[0]); i++)
        plx_cli_table_add(&table, "%s", headings[i]);
    for (uint32_t i = 0; i < bench->gap_count; i++) {
        const struct plx_bench_gap *gap = &bench->gaps[i];
        plx_cli_table_add(&table, "%d", gap->cpu);
        plx_cli_table_add(&table, "%s", gap->subject);
        plx_cli_table_add(&table, "%.1f", (double)gap->ticks * plx_bench_ns_per_tick(bench) / 1000);
        plx_cli_table_add(&table, "%.6f", (double)gap->at_ns / 1e9);
        plx_cli_table_add(&table, "%s", gap->what);
    }
    if (plx_cli_table_print(&table, bench->tables, 2) < 0)
        plx_cli_error("pollux bench", "out of memory");
    plx_cli_table_fini(&table);
    fputc('\n', bench->tables);
}

json_t *plx_bench_jitter_json(const struct plx_bench *bench)
{
    if (!bench->has_jitter)
        return NULL;
    json_t *worst = json_array();
    for (uint32_t i = 0; i < bench->gap_count; i++) {
        const struct plx_bench_gap *gap = &bench->gaps[i];
        json_array_append_new(worst, json_pack("{s:I,s:s,s:f,s:I,s:s}", "cpu", (json_int_t)gap->cpu,
                                               "subject", gap->subject, "ns",
                                               (double)gap->ticks * plx_bench_ns_per_tick(bench),
                                               "at_ns", (json_int_t)gap->at_ns, "what", gap->what));
    }
    return json_pack("{s:I,s:o}", "threshold_ns", (json_int_t)bench->threshold_ns, "worst", worst);
}

static int measure(struct plx_bench *bench, struct watch *watches, const int *cpus, uint32_t count)
{
    static const struct plx_bench_case cases[] = {
        {.bench = "jitter",
         .name = "gaps",
         .what = "time between two looks at the counter, from the threshold on",
         .also_name = "stolen",
         .also_what = "the sum of these gaps, of all time",
         .also_unit = PLX_BENCH_PPM},
        {.bench = "jitter",
         .name = "turn",
         .what = "time between two looks at the counter, each of them"},
    };
    /* The longest gaps are those of the first one. */
    bench->has_jitter = bench->has_jitter || plx_bench_is_one_wanted(bench, cases, 1);
    int rc = 0;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]) && rc == 0; i++)
        rc = measure_case(bench, &cases[i], watches, cpus, count);
    return rc;
}

int plx_bench_jitter(struct plx_bench *bench)
{
    uint32_t count = bench->plan->reactor_count;
    struct watch *watches = calloc((size_t)2 * BATCH_CORES, sizeof(*watches));
    struct facts facts[2] = {{.switches = 0}, {.switches = 0}};
    int *cpus = calloc(count, sizeof(*cpus));
    struct text text = {.fd = open("/proc/interrupts", O_RDONLY | O_CLOEXEC)};
    int rc = -ENOMEM;
    if (bench->gaps == NULL && bench->gap_room != 0)
        bench->gaps = calloc(bench->gap_room, sizeof(*bench->gaps));
    if (watches != NULL && cpus != NULL && (bench->gap_room == 0 || bench->gaps != NULL)) {
        for (uint32_t i = 0; i < 2 * BATCH_CORES; i++)
            watches[i] = (struct watch){.facts = &facts[0], .later = &facts[1], .text = &text};
        for (uint32_t i = 0; i < count; i++)
            cpus[i] = (int)bench->plan->reactors[i].cpu;
        rc = measure(bench, watches, cpus, count);
        print_gaps(bench);
    }
    if (text.fd >= 0)
        close(text.fd);
    free(text.at);
    plx_bench_interrupts_fini(&facts[0].interrupts);
    plx_bench_interrupts_fini(&facts[1].interrupts);
    free(cpus);
    free(watches);
    return rc;
}
