/* SPDX-License-Identifier: MIT */
#include "test/runtime/rt_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* --- runtimes --------------------------------------------------------------------------------- */

static void set_words(struct plx_settings *settings, const char *words)
{
    char text[512];
    assert_true((size_t)snprintf(text, sizeof(text), "%s", words) < sizeof(text));
    char *rest = NULL;
    for (char *word = strtok_r(text, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
        char *value = strchr(word, '=');
        assert_non_null(value);
        *value++ = '\0';
        struct plx_diag diag = {0};
        if (plx_settings_set(settings, word, value, &diag) != 0)
            fail_msg("%s", diag.text);
    }
}

void rt_settings(struct plx_settings *settings, const char *words)
{
    plx_settings_init(settings);
    set_words(settings, "reactors=1 arena_size=2M hugepages_2m=no thp=no mlock=no prefault=no");
    set_words(settings, "pin=no sqpoll=off idle=yield");
    set_words(settings, words);
}

const struct plx_machine *rt_four_cpus(void)
{
    static const struct plx_machine_cpu cpus[] = {
        {.cpu = 0, .core = 0, .allowed = true},
        {.cpu = 1, .core = 1, .allowed = true},
        {.cpu = 2, .core = 2, .allowed = true},
        {.cpu = 3, .core = 3, .allowed = true},
    };
    static const struct plx_machine_node nodes[] = {
        {.node = 0, .cpu_count = 4, .memory_bytes = (uint64_t)4 << 30, .allowed = true},
    };
    static const uint32_t distances[] = {PLX_DISTANCE_LOCAL};
    static const struct plx_machine machine = {
        .cpus = cpus,
        .nodes = nodes,
        .distances = distances,
        .cpu_count = 4,
        .node_count = 1,
        .core_count = 4,
        .cluster_count = 1,
        .is_this_system = true,
        .source = "made up",
    };
    return &machine;
}

struct plx_runtime *rt_create(const char *words, const struct plx_runtime_opts *opts)
{
    struct plx_settings settings;
    rt_settings(&settings, words);
    struct plx_runtime_opts own;
    plx_runtime_opts_init(&own);
    if (opts != NULL)
        own = *opts;
    if (own.machine == NULL)
        own.machine = rt_four_cpus();
    struct plx_runtime *rt = NULL;
    struct plx_diag diag = {0};
    if (plx_runtime_create(&settings, &own, &rt, &diag) != 0)
        fail_msg("%s: %s", diag.what, diag.text);
    assert_non_null(rt);
    return rt;
}

struct plx_reactor *rt_adopt(struct plx_runtime *rt, uint32_t index)
{
    struct plx_reactor *reactor = NULL;
    struct plx_diag diag = {0};
    if (plx_reactor_adopt(rt, index, &reactor, &diag) != 0)
        fail_msg("%s: %s", diag.what, diag.text);
    return reactor;
}

void rt_start(struct plx_runtime *rt)
{
    struct plx_diag diag = {0};
    if (plx_runtime_start(rt, &diag) != 0)
        fail_msg("%s: %s", diag.what, diag.text);
}

void rt_finish(struct plx_runtime *rt)
{
    struct plx_diag diag = {0};
    if (plx_runtime_stop(rt, RT_PATIENCE_NS, &diag) != 0)
        fail_msg("%s: %s", diag.what, diag.text);
    plx_runtime_destroy(rt);
}

void rt_abandon(struct plx_reactor *reactor)
{
    assert_int_equal(plx_reactor_abandon(reactor, RT_PATIENCE_NS), 0);
}

/* --- time ------------------------------------------------------------------------------------- */

uint64_t rt_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void rt_pause(void)
{
    /* Not a yield: a loop of those would take the core of a reactor. */
    const struct timespec moment = {.tv_nsec = 50000};
    nanosleep(&moment, NULL);
}

/* --- what the process has --------------------------------------------------------------------- */

static int count_entries(const char *folder)
{
    int count = 0;
    DIR *entries = opendir(folder);
    assert_non_null(entries);
    while (readdir(entries) != NULL)
        count++;
    closedir(entries);
    return count;
}

/* Lines of /proc/self/maps that hold `text`, and the bytes of all. */
static int read_maps(const char *text, uint64_t *bytes)
{
    char line[512];
    int count = 0;
    *bytes = 0;
    FILE *maps = fopen("/proc/self/maps", "re");
    assert_non_null(maps);
    while (fgets(line, sizeof(line), maps) != NULL) {
        char *rest = NULL;
        uint64_t from = strtoull(line, &rest, 16);
        *bytes += strtoull(rest + 1, NULL, 16) - from;
        count += strstr(line, text) != NULL;
    }
    fclose(maps);
    return count;
}

static void *leave(void *argument)
{
    *(pid_t *)argument = gettid();
    return NULL;
}

struct rt_things rt_count_things(void)
{
    /* A sanitizer makes a thread of its own beside the first. */
    pthread_t thread;
    pid_t number = 0;
    char folder[64];
    assert_int_equal(pthread_create(&thread, NULL, leave, &number), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    /* Joined, it may still be listed; it is not one to count. */
    snprintf(folder, sizeof(folder), "/proc/self/task/%d", (int)number);
    RT_UNTIL(access(folder, F_OK) != 0);
    uint64_t bytes = 0;
    return (struct rt_things){
        .descriptors = count_entries("/proc/self/fd"),
        .threads = count_entries("/proc/self/task"),
        .rings = read_maps("[io_uring]", &bytes),
    };
}

/* Fewer threads and rings are well: some that were about to end may have been counted before. */
static bool are_cleared_up(const struct rt_things *now, const struct rt_things *before)
{
    return now->descriptors == before->descriptors && now->threads <= before->threads &&
           now->rings <= before->rings;
}

void rt_expect_things(const struct rt_things *before)
{
    /* A thread that was joined, an SQ thread, and what a ring holds stay a moment longer. */
    struct rt_things now = rt_count_things();
    uint64_t until_ns = rt_now_ns() + RT_PATIENCE_NS;
    while (!are_cleared_up(&now, before) && rt_now_ns() < until_ns) {
        rt_pause();
        now = rt_count_things();
    }
    if (!are_cleared_up(&now, before))
        fail_msg("%d descriptors, %d threads, %d rings instead of %d, %d, %d", now.descriptors,
                 now.threads, now.rings, before->descriptors, before->threads, before->rings);
}

uint64_t rt_mapped_bytes(void)
{
    uint64_t bytes = 0;
    (void)read_maps("", &bytes);
    return bytes;
}

/* --- lines ------------------------------------------------------------------------------------ */

void rt_keep_line(const char *line, void *ctx)
{
    struct rt_lines *lines = ctx;
    uint32_t index = plx_fetch_add_relaxed(&lines->count, 1);
    if (index < RT_LINES_MAX)
        snprintf(lines->text[index], sizeof(lines->text[index]), "%s", line);
}

unsigned rt_lines_with(const struct rt_lines *lines, const char *text)
{
    unsigned found = 0;
    for (uint32_t i = 0; i < plx_load_relaxed(&lines->count) && i < RT_LINES_MAX; i++)
        found += strstr(lines->text[i], text) != NULL;
    return found;
}

/* --- the host --------------------------------------------------------------------------------- */

bool rt_is_sanitized(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
    return true;
#else
    return false;
#endif
#else
    return false;
#endif
}

void rt_need_uring(void)
{
    struct plx_runtime *rt = rt_create("backend=uring", NULL);
    struct plx_reactor *reactor = NULL;
    struct plx_diag diag = {0};
    int rc = plx_reactor_adopt(rt, 0, &reactor, &diag);
    if (rc == 0)
        rt_abandon(reactor);
    plx_runtime_destroy(rt);
    if (rc != 0) {
        print_message("skipped: no io_uring here: %s\n", diag.text);
        skip();
    }
}

unsigned rt_cpus_allowed(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
    return (unsigned)CPU_COUNT(&set);
}
