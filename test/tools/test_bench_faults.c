/* SPDX-License-Identifier: MIT */
/*
 * pollux bench where the system says no in the middle of a run: a core that is lost, memory that
 * runs out, an eventfd that cannot be written, a signal between two parts of a case. Each run is a
 * child of this program, which has the benchmark in it and answers some calls in the system's
 * place.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "tools/bench/task.h"
#include "tools/commands.h"

#define WORDS_MAX 24

/* --- what goes wrong: set before the run begins ---------------------------------------------- */

static struct {
    int lost_cpu;           /* -1: none */
    uint32_t lost_after;    /* times that a thread could still be pinned to it */
    bool no_stacks;         /* no memory of the size of the task benchmark's stacks */
    uint32_t signal_after;  /* with the first memory after so many pins SIGINT comes; 0: never */
    uint32_t unwritable_at; /* the eventfd that is waited for fails at this write; 0: never */
    uint64_t unwritable;    /* of this number */
    bool no_heaps;          /* the process ends with 98 where an allocator is loaded */
    bool no_listening;      /* no socket may listen, as the answer of a security module is */
} fault;

static uint32_t pins;
static uint32_t pins_of_lost;
static uint32_t writes;

int pthread_setaffinity_np(pthread_t thread, size_t bytes, const cpu_set_t *set)
{
    int (*real)(pthread_t, size_t, const cpu_set_t *);
    void *address = dlsym(RTLD_NEXT, "pthread_setaffinity_np");
    memcpy(&real, &address, sizeof(real));
    pins++;
    if (fault.lost_cpu >= 0 && CPU_ISSET((unsigned)fault.lost_cpu, set) &&
        pins_of_lost++ >= fault.lost_after)
        return EINVAL;
    return real(thread, bytes, set);
}

void *mmap(void *address, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    if (fault.no_stacks && bytes == (size_t)PLX_BENCH_STRANDS * PLX_BENCH_STRAND_BYTES) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    if (fault.signal_after != 0 && pins > fault.signal_after) {
        fault.signal_after = 0;
        raise(SIGINT);
    }
    return (void *)syscall(SYS_mmap, address, bytes, protection, flags, fd, offset);
}

ssize_t write(int fd, const void *data, size_t bytes)
{
    /* The library's own do not block. */
    if (fault.unwritable_at != 0 && bytes == sizeof(fault.unwritable) &&
        memcmp(data, &fault.unwritable, bytes) == 0 && (fcntl(fd, F_GETFL) & O_NONBLOCK) == 0 &&
        ++writes == fault.unwritable_at) {
        errno = EIO;
        return -1;
    }
    return syscall(SYS_write, fd, data, bytes);
}

void *dlopen(const char *file, int mode)
{
    void *(*real)(const char *, int);
    void *address = dlsym(RTLD_NEXT, "dlopen");
    memcpy(&real, &address, sizeof(real));
    if (fault.no_heaps && file != NULL && strstr(file, "malloc") != NULL)
        _exit(98);
    return real(file, mode);
}

int listen(int fd, int backlog)
{
    if (fault.no_listening) {
        errno = EPERM;
        return -1;
    }
    return (int)syscall(SYS_listen, fd, backlog);
}

/* --- a run ----------------------------------------------------------------------------------- */

static char folder[] = "/tmp/pollux-bench-faults-XXXXXX";
static char out[1 << 16];
static char err[1 << 16];

static const char *in_folder(const char *name)
{
    static char path[96];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static void read_text(const char *name, char *text, size_t bytes)
{
    FILE *file = fopen(in_folder(name), "re");
    assert_non_null(file);
    size_t length = fread(text, 1, bytes - 1, file);
    text[length] = '\0';
    fclose(file);
}

static void run_child(int count, char **words)
{
    if (freopen(in_folder("out"), "we", stdout) == NULL ||
        freopen(in_folder("err"), "we", stderr) == NULL)
        _exit(99);
    alarm(100);
    int status = plx_cmd_bench(count, words);
    fflush(NULL);
    _exit(status);
}

/* Its status as shells count; `line` is split at blanks, and --json is added. *root is the file. */
static int run_bench(const char *line, json_t **root)
{
    static char text[512];
    static char json[96];
    char *words[WORDS_MAX] = {NULL};
    int count = 0;
    snprintf(text, sizeof(text), "%s", line);
    snprintf(json, sizeof(json), "%s", in_folder("json"));
    for (char *word = strtok(text, " "); word != NULL; word = strtok(NULL, " "))
        words[count++] = word;
    words[count++] = (char *)(uintptr_t) "--json";
    words[count++] = json;
    assert_true(count < WORDS_MAX);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        run_child(count, words);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    read_text("out", out, sizeof(out));
    read_text("err", err, sizeof(err));
    *root = json_load_file(json, 0, NULL);
    if (*root == NULL)
        fail_msg("no results: status %x\n%s\n%s", (unsigned)status, out, err);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int set_up(void **state)
{
    (void)state;
    memset(&fault, 0, sizeof(fault));
    fault.lost_cpu = -1;
    return 0;
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    static const char *const names[] = {"out", "err", "json"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        unlink(in_folder(names[i]));
    return rmdir(folder);
}

/* The first CPUs on which this process may run. */
static uint32_t find_cpus(int *cpus, uint32_t most)
{
    cpu_set_t set;
    uint32_t count = 0;
    assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
    for (int cpu = 0; cpu < CPU_SETSIZE && count < most; cpu++) {
        if (CPU_ISSET((unsigned)cpu, &set))
            cpus[count++] = cpu;
    }
    return count;
}

static void skip_without_two(int *cpus)
{
    if (find_cpus(cpus, 2) == 2)
        return;
    print_message("skipped: two spinning threads need two CPUs\n");
    skip();
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    assert_non_null(text);
    return text;
}

static bool is_complete(const json_t *root)
{
    return json_is_true(json_object_get(root, "complete"));
}

/* --- cases ----------------------------------------------------------------------------------- */

static void core_that_is_lost_costs_its_own_rows_with_the_reason(void **state)
{
    (void)state;
    int cpus[2];
    uint32_t count = find_cpus(cpus, 2);
    char line[160];
    char reason[96];
    json_t *root;
    json_t *row;
    size_t index;
    fault.lost_cpu = cpus[count - 1];
    /* The benchmark begins while it is still there. */
    fault.lost_after = 1;
    snprintf(line, sizeof(line), "bench jitter --quick --rounds 2 --only turn --pairs %d:%d",
             cpus[0], cpus[count - 1]);
    if (count == 1)
        snprintf(line, sizeof(line), "bench jitter --quick --rounds 2 --only turn --cpus %d",
                 cpus[0]);
    assert_int_equal(run_bench(line, &root), 1);
    snprintf(reason, sizeof(reason), "a thread cannot be pinned to cpu %d: Invalid argument",
             fault.lost_cpu);
    assert_non_null(strstr(err, reason));
    assert_true(is_complete(root));
    json_array_foreach(json_object_get(root, "results"), index, row)
    {
        bool lost = json_integer_value(json_object_get(row, "cpu_a")) == fault.lost_cpu;
        assert_int_equal(json_is_null(json_object_get(row, "p50")), lost);
    }
    json_t *note;
    json_array_foreach(json_object_get(root, "null_rows"), index, note)
        assert_non_null(strstr(text_of(note, "reason"), reason));
    assert_true(index >= 2);
    json_decref(root);
}

static void memory_that_runs_out_keeps_what_was_measured(void **state)
{
    (void)state;
    json_t *root;
    fault.no_stacks = true;
    int status = run_bench("bench uring task --quick --rounds 1 --only histogram_record "
                           "--only switch",
                           &root);
    assert_int_equal(status, 1);
    assert_non_null(strstr(err, "Cannot allocate memory: the results are a part"));
    assert_non_null(strstr(out, "uring histogram_record"));
    assert_false(is_complete(root));
    const json_t *rows = json_object_get(root, "results");
    assert_int_equal(json_array_size(rows), 1);
    assert_string_equal(text_of(json_array_get(rows, 0), "case"), "histogram_record");
    json_decref(root);
}

static void signal_between_parts_of_a_case_prints_those_that_there_are(void **state)
{
    (void)state;
    int cpus[2];
    char line[400];
    json_t *root;
    skip_without_two(cpus);
    /* More pairs than are measured together. */
    int length = snprintf(line, sizeof(line), "bench c2c --quick --rounds 1 --pairs %d:%d", cpus[0],
                          cpus[1]);
    for (uint32_t i = 0; i < 20; i++)
        length +=
            snprintf(line + length, sizeof(line) - (size_t)length, ",%d:%d", cpus[0], cpus[1]);
    /* In the middle of the first part, whose memory is there; so with that of the second. */
    fault.signal_after = 20;
    assert_int_equal(run_bench(line, &root), 128 + SIGINT);
    assert_non_null(strstr(out, "c2c rtt_line"));
    assert_null(strstr(out, "c2c rtt_cas"));
    assert_non_null(strstr(err, "the results are a part"));
    assert_false(is_complete(root));
    size_t index;
    json_t *row;
    json_array_foreach(json_object_get(root, "results"), index, row)
        assert_string_equal(text_of(row, "case"), "rtt_line");
    assert_int_equal(index, 16);
    json_decref(root);
}

/* The write number `at` of `number` fails. */
static void check_eventfd(const char *line, uint64_t number, uint32_t at)
{
    static const char why[] = "an eventfd: Input/output error";
    json_t *root;
    json_t *note;
    size_t index;
    size_t rows = 0;
    fault.unwritable = number;
    fault.unwritable_at = at;
    assert_int_equal(run_bench(line, &root), 1);
    assert_non_null(strstr(err, why));
    json_array_foreach(json_object_get(root, "null_rows"), index, note) rows +=
        strstr(text_of(note, "reason"), why) != NULL;
    assert_int_equal(rows, 1);
    json_decref(root);
}

static void eventfd_that_cannot_be_written_fails_and_wakes_who_sleeps(void **state)
{
    (void)state;
    int cpus[2];
    skip_without_two(cpus);
    check_eventfd("bench mesh --quick --rounds 8 --only wake_block", 1, 2);
    /* The number that ends the sleep. */
    check_eventfd("bench mesh --quick --rounds 8 --only wake_block", (uint64_t)1 << 32, 1);
    check_eventfd("bench uring --quick --rounds 8 --only wake", 1, 2);
}

/* Of a system that refuses io_uring the same answer is none. */
static void end_that_may_not_listen_is_a_failure(void **state)
{
    (void)state;
    int cpus[2];
    json_t *root;
    json_t *note;
    size_t index;
    skip_without_two(cpus);
    fault.no_listening = true;
    static const char *const cases[] = {"rtt_64B", "rate_1"};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char line[80];
        snprintf(line, sizeof(line), "bench tcp --quick --rounds 1 --only %s", cases[i]);
        assert_int_equal(run_bench(line, &root), 1);
        assert_non_null(strstr(err, "the epoll server did not open: Operation not permitted"));
        assert_null(strstr(err, "the liburing server"));
        size_t told = 0;
        json_array_foreach(json_object_get(root, "null_rows"), index, note) told +=
            strstr(text_of(note, "reason"), "Operation not permitted") != NULL;
        assert_true(told >= 2);
        json_decref(root);
    }
}

static void allocators_are_loaded_only_for_cases_that_are_measured(void **state)
{
    (void)state;
    json_t *root;
    fault.no_heaps = true;
    assert_int_equal(run_bench("bench all --quick --rounds 1 --only histogram_record "
                               "--only bytes_clone",
                               &root),
                     0);
    assert_int_equal(json_array_size(json_object_get(root, "results")), 2);
    json_decref(root);
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test_setup(core_that_is_lost_costs_its_own_rows_with_the_reason, set_up),
        cmocka_unit_test_setup(memory_that_runs_out_keeps_what_was_measured, set_up),
        cmocka_unit_test_setup(signal_between_parts_of_a_case_prints_those_that_there_are, set_up),
        cmocka_unit_test_setup(eventfd_that_cannot_be_written_fails_and_wakes_who_sleeps, set_up),
        cmocka_unit_test_setup(end_that_may_not_listen_is_a_failure, set_up),
        cmocka_unit_test_setup(allocators_are_loaded_only_for_cases_that_are_measured, set_up),
    };
    return cmocka_run_group_tests(cases, make_folder, remove_folder);
}
