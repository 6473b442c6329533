/* SPDX-License-Identifier: MIT */
/* What the figures depend on beside our code: the host. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "tools/bench/frame.h"
#include "tools/bench/interrupts.h"

/* The first line of a file without its end; "" if there is none. */
static const char *read_line(const char *path, char *text, int bytes)
{
    text[0] = '\0';
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return text;
    if (fgets(text, bytes, file) == NULL)
        text[0] = '\0';
    text[strcspn(text, "\n")] = '\0';
    fclose(file);
    return text;
}

/* The value of the first line of /proc/cpuinfo that begins with `key`. */
static const char *cpu_info(const char *key, char *text, size_t bytes)
{
    char line[8192];
    text[0] = '\0';
    FILE *file = fopen("/proc/cpuinfo", "re");
    if (file == NULL)
        return text;
    while (fgets(line, sizeof(line), file) != NULL) {
        const char *value = strchr(line, ':');
        if (strncmp(line, key, strlen(key)) != 0 || value == NULL)
            continue;
        value += 1 + (value[1] == ' ');
        snprintf(text, bytes, "%.*s", (int)strcspn(value, "\n"), value);
        break;
    }
    fclose(file);
    return text;
}

const char *plx_bench_hypervisor(char *text)
{
    text[0] = '\0';
#if defined(__x86_64__)
    /* Leaf 1 has a bit for "there is one"; leaf 0x40000000 its twelve letters. */
    unsigned a, b, c, d;
    if (__get_cpuid(1, &a, &b, &c, &d) != 0 && (c >> 31) != 0) {
        __cpuid(0x40000000, a, b, c, d);
        memcpy(text, &b, 4);
        memcpy(text + 4, &c, 4);
        memcpy(text + 8, &d, 4);
        text[12] = '\0';
        if (text[0] == '\0')
            memcpy(text, "unnamed", 8);
    }
#endif
    return text;
}

bool plx_bench_steal_is_told(const struct plx_bench *bench)
{
#if defined(__x86_64__)
    return bench->guarded;
#else
    /* A hypervisor need not show itself. */
    (void)bench;
    return true;
#endif
}

uint64_t plx_bench_steal(const struct plx_cpu_set *cpus)
{
    FILE *file = fopen("/proc/stat", "re");
    if (file == NULL)
        return 0;
    uint64_t steal = plx_bench_steal_read(file, cpus);
    fclose(file);
    return steal;
}

static const char *governor(const struct plx_bench *bench, char *text, int bytes)
{
    char path[96];
    snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/cpufreq/scaling_governor",
             bench->cpu_a);
    return read_line(path, text, bytes);
}

static const char *cpu_model(char *text, size_t bytes)
{
    cpu_info("model name", text, bytes);
    return text[0] != '\0' ? text : cpu_info("CPU implementer", text, bytes);
}

static json_t *text_or_null(const char *text)
{
    return text[0] != '\0' ? json_string(text) : json_null();
}

static json_t *nodes_json(const struct plx_machine *machine)
{
    json_t *nodes = json_array();
    for (uint32_t i = 0; nodes != NULL && i < machine->node_count; i++) {
        const struct plx_machine_node *node = &machine->nodes[i];
        json_array_append_new(nodes,
                              json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "node",
                                        (json_int_t)node->node, "cpus", (json_int_t)node->cpu_count,
                                        "memory_bytes", (json_int_t)node->memory_bytes,
                                        "pages_2m_total", (json_int_t)node->pages_2m_total,
                                        "pages_2m_free", (json_int_t)node->pages_2m_free,
                                        "pages_1g_total", (json_int_t)node->pages_1g_total,
                                        "pages_1g_free", (json_int_t)node->pages_1g_free));
    }
    return nodes;
}

/* The system's word on each flaw of the processor: what it does against them costs time. */
static json_t *mitigations_json(void)
{
    static const char folder[] = "/sys/devices/system/cpu/vulnerabilities";
    json_t *all = json_object();
    DIR *files = opendir(folder);
    for (const struct dirent *file; files != NULL && (file = readdir(files)) != NULL;) {
        char path[320];
        char text[256];
        snprintf(path, sizeof(path), "%s/%s", folder, file->d_name);
        if (file->d_name[0] != '.' && read_line(path, text, sizeof(text))[0] != '\0')
            json_object_set_new(all, file->d_name, json_string(text));
    }
    if (files != NULL)
        closedir(files);
    return all;
}

#define FLAGS_BYTES 8192

static bool has_cpu_flag(const char *flag)
{
    char *flags = malloc(FLAGS_BYTES);
    char word[32];
    if (flags == NULL)
        return false;
    flags[0] = ' ';
    cpu_info("flags", flags + 1, FLAGS_BYTES - 1);
    snprintf(word, sizeof(word), " %s ", flag);
    strncat(flags, " ", FLAGS_BYTES - strlen(flags) - 1);
    bool has = strstr(flags, word) != NULL;
    free(flags);
    return has;
}

/* What the figures' ticks are, and whether they are steady. */
static json_t *clock_json(const struct plx_bench *bench)
{
    char text[64];
    double ns = plx_bench_ns_per_tick(bench);
    json_t *clock = json_object();
#if defined(__x86_64__)
    json_object_set_new(clock, "counter", json_string("tsc"));
    json_object_set_new(clock, "steady", json_boolean(has_cpu_flag("constant_tsc")));
#else
    json_object_set_new(clock, "counter", json_string("cntvct"));
    json_object_set_new(clock, "steady", json_true());
#endif
    read_line("/sys/devices/system/clocksource/clocksource0/current_clocksource", text,
              sizeof(text));
    json_object_set_new(clock, "system", text_or_null(text));
    json_object_set_new(clock, "ns_per_tick", json_real(ns));
    json_object_set_new(clock, "ticks_per_ns", json_real(1 / ns));
    return clock;
}

static void add_file(json_t *object, const char *key, const char *path)
{
    char text[256];
    json_object_set_new(object, key, text_or_null(read_line(path, text, sizeof(text))));
}

/* How the system was set up. */
static void add_system(json_t *host)
{
    add_file(host, "transparent_hugepages", "/sys/kernel/mm/transparent_hugepage/enabled");
    add_file(host, "isolated", "/sys/devices/system/cpu/isolated");
    add_file(host, "nohz_full", "/sys/devices/system/cpu/nohz_full");
    add_file(host, "smt", "/sys/devices/system/cpu/smt/control");
    add_file(host, "boost", "/sys/devices/system/cpu/cpufreq/boost");
    json_object_set_new(host, "mitigations", mitigations_json());
}

json_t *plx_bench_host_json(const struct plx_bench *bench)
{
    const struct plx_machine *machine = bench->machine;
    struct utsname name;
    char model[128];
    char text[128];
    char vendor[16];
    if (uname(&name) != 0)
        memset(&name, 0, sizeof(name));
    json_t *host = json_pack(
        "{s:s,s:s,s:o,s:I,s:I,s:I,s:I}", "kernel", name.release, "arch", name.machine, "cpu",
        text_or_null(cpu_model(model, sizeof(model))), "cpus", (json_int_t)machine->cpu_count,
        "cores", (json_int_t)machine->core_count, "clusters", (json_int_t)machine->cluster_count,
        "quota_mcpus", (json_int_t)machine->quota_mcpus);
    if (host == NULL)
        return NULL;
    json_object_set_new(host, "governor", text_or_null(governor(bench, text, sizeof(text))));
    json_object_set_new(host, "hypervisor", text_or_null(plx_bench_hypervisor(vendor)));
    add_system(host);
    json_object_set_new(host, "nodes", nodes_json(machine));
    json_object_set_new(host, "steal_ticks", json_integer((json_int_t)plx_bench_steal(NULL)));
    json_object_set_new(host, "clock", clock_json(bench));
    return host;
}

void plx_bench_host_print(const struct plx_bench *bench)
{
    struct utsname name;
    char model[128];
    char text[128];
    char vendor[16];
    if (uname(&name) != 0)
        memset(&name, 0, sizeof(name));
    cpu_model(model, sizeof(model));
    governor(bench, text, sizeof(text));
    plx_bench_hypervisor(vendor);
    fprintf(bench->tables, "%s, %u CPUs on %u cores, %u nodes, Linux %s", model,
            bench->machine->cpu_count, bench->machine->core_count, bench->machine->node_count,
            name.release);
    if (vendor[0] != '\0')
        fprintf(bench->tables, ", under %s", vendor);
    if (text[0] != '\0')
        fprintf(bench->tables, ", governor %s", text);
    fprintf(bench->tables, "\n");
    if (bench->cpu_b >= 0)
        fprintf(bench->tables, "measured on cpu %d and cpu %d", bench->cpu_a, bench->cpu_b);
    else
        fprintf(bench->tables, "measured on cpu %d", bench->cpu_a);
    fprintf(bench->tables, "; order of slices by seed %llu\n", (unsigned long long)bench->seed);
}
