/* SPDX-License-Identifier: MIT */
#include "runtime/place/machine_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of a path that is put together here; where one does not fit, nothing is found. */
#define PATH_BYTES 4096
/* Bytes of a line of the kernel's, of which only an overlay's list of folders comes near. */
#define LINE_BYTES (4 * PATH_BYTES)

/* The two kinds of cgroup hierarchy that can limit processor time. */
enum cgroup_kind { CGROUP_V1_CPU, CGROUP_V2, CGROUP_OTHER };

/* Where a hierarchy is mounted, and which of its groups is the mount's top. */
struct cgroup_mount {
    char point[PATH_BYTES];
    char top[PATH_BYTES];
};

/* --- small files ----------------------------------------------------------------------------- */

static FILE *open_below(const char *root, const char *path)
{
    char full[PATH_BYTES];
    int length = snprintf(full, sizeof(full), "%s%s", root, path);
    if (length < 0 || (size_t)length >= sizeof(full))
        return NULL;
    return fopen(full, "re");
}

/* The first line of a file, without its end; false when there is none. */
static bool read_line(const char *root, const char *path, char *line, size_t bytes)
{
    FILE *file = open_below(root, path);
    if (file == NULL)
        return false;
    bool found = fgets(line, (int)bytes, file) != NULL;
    fclose(file);
    if (found)
        line[strcspn(line, "\n")] = '\0';
    return found;
}

static bool read_u32(const char *root, const char *path, uint32_t *value)
{
    char line[64];
    if (!read_line(root, path, line, sizeof(line)) || line[0] < '0' || line[0] > '9')
        return false;
    unsigned long number = strtoul(line, NULL, 10);
    *value = number > UINT32_MAX ? UINT32_MAX : (uint32_t)number;
    return true;
}

/* --- CPUs and nodes -------------------------------------------------------------------------- */

static void add_listed(const char *root, const char *path, struct plx_cpu_set *set)
{
    char line[PLX_CPU_SET_TEXT_BYTES];
    struct plx_cpu_set listed;
    /* nohz_full reads " (null)" where the kernel was built for it and booted without. */
    if (!read_line(root, path, line, sizeof(line)) || plx_cpu_set_parse(&listed, line) != 0)
        return;
    for (unsigned i = 0; i < PLX_CPU_SET_SIZE / 64; i++)
        set->bits[i] |= listed.bits[i];
}

void plx__host_isolated_cpus(const char *root, struct plx_cpu_set *set)
{
    memset(set, 0, sizeof(*set));
    add_listed(root, "/sys/devices/system/cpu/isolated", set);
    add_listed(root, "/sys/devices/system/cpu/nohz_full", set);
}

static void read_hugepages(const char *root, uint32_t node, const char *size, uint32_t *total,
                           uint32_t *free_pages)
{
    char path[160];
    int length = snprintf(path, sizeof(path),
                          "/sys/devices/system/node/node%" PRIu32 "/hugepages/hugepages-%s/", node,
                          size);
    size_t used = (size_t)length;
    snprintf(path + used, sizeof(path) - used, "nr_hugepages");
    read_u32(root, path, total);
    snprintf(path + used, sizeof(path) - used, "free_hugepages");
    read_u32(root, path, free_pages);
}

void plx__host_node(const char *root, struct plx_machine_node *node)
{
    char path[96];
    char line[256];
    snprintf(path, sizeof(path), "/sys/devices/system/node/node%" PRIu32 "/meminfo", node->node);
    FILE *file = open_below(root, path);
    if (file != NULL) {
        uint64_t kib = 0;
        while (fgets(line, sizeof(line), file) != NULL) {
            if (sscanf(line, "Node %*u MemTotal: %" SCNu64 " kB", &kib) == 1)
                node->memory_bytes = kib * 1024;
        }
        fclose(file);
    }
    read_hugepages(root, node->node, "2048kB", &node->pages_2m_total, &node->pages_2m_free);
    read_hugepages(root, node->node, "1048576kB", &node->pages_1g_total, &node->pages_1g_free);
}

/* --- processor time -------------------------------------------------------------------------- */

/* Whether a comma-separated list has `word` as one of its members. */
static bool list_has(const char *list, const char *word)
{
    size_t length = strlen(word);
    for (const char *at = list; at != NULL; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, word, length) == 0 && (at[length] == ',' || at[length] == '\0'))
            return true;
    }
    return false;
}

/* One line of mountinfo: "36 35 98:0 /top /point opts [fields] - type source options". */
static bool parse_mount(char *line, enum cgroup_kind kind, struct cgroup_mount *mount)
{
    char type[32];
    char options[1024];
    char *rest = strstr(line, " - ");
    if (rest == NULL || sscanf(rest, " - %31s %*s %1023s", type, options) != 2)
        return false;
    if (kind == CGROUP_V2 ? strcmp(type, "cgroup2") != 0
                          : strcmp(type, "cgroup") != 0 || !list_has(options, "cpu"))
        return false;
    *rest = '\0';
    return sscanf(line, "%*s %*s %*s %4095s %4095s", mount->top, mount->point) == 2;
}

static bool find_mount(const char *root, enum cgroup_kind kind, struct cgroup_mount *mount)
{
    FILE *file = open_below(root, "/proc/self/mountinfo");
    if (file == NULL)
        return false;
    char line[LINE_BYTES];
    bool found = false;
    while (!found && fgets(line, sizeof(line), file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        found = parse_mount(line, kind, mount);
    }
    fclose(file);
    return found;
}

static bool read_in_group(const char *root, const char *folder, const char *name, char *line,
                          size_t bytes)
{
    char path[PATH_BYTES];
    int length = snprintf(path, sizeof(path), "%s/%s", folder, name);
    return length > 0 && (size_t)length < sizeof(path) && read_line(root, path, line, bytes);
}

/* The limit that one group sets, in thousandths of a CPU; 0: none. */
static uint32_t group_limit(const char *root, enum cgroup_kind kind, const char *folder)
{
    char line[128];
    int64_t quota_us = -1;
    int64_t period_us = 0;
    if (kind == CGROUP_V2) {
        /* "max 100000" has no number first, and so sets no limit. */
        if (!read_in_group(root, folder, "cpu.max", line, sizeof(line)) ||
            sscanf(line, "%" SCNd64 " %" SCNd64, &quota_us, &period_us) != 2)
            return 0;
    } else {
        if (!read_in_group(root, folder, "cpu.cfs_quota_us", line, sizeof(line)) ||
            sscanf(line, "%" SCNd64, &quota_us) != 1)
            return 0;
        if (!read_in_group(root, folder, "cpu.cfs_period_us", line, sizeof(line)) ||
            sscanf(line, "%" SCNd64, &period_us) != 1)
            return 0;
    }
    if (quota_us <= 0 || period_us <= 0 || quota_us > INT64_MAX / 1000)
        return 0;
    int64_t mcpus = quota_us * 1000 / period_us;
    return mcpus < 1 ? 1 : mcpus > UINT32_MAX ? UINT32_MAX : (uint32_t)mcpus;
}

/* The smallest limit from `group` up to the top of what is mounted. */
static uint32_t hierarchy_limit(const char *root, enum cgroup_kind kind, const char *group)
{
    struct cgroup_mount mount;
    if (!find_mount(root, kind, &mount))
        return 0;
    /* A container may see a part of the tree: the group's path goes on from the mount's top. */
    size_t top = strcmp(mount.top, "/") == 0 ? 0 : strlen(mount.top);
    const char *below = "";
    if (strncmp(group, mount.top, top) == 0 && (group[top] == '/' || group[top] == '\0') &&
        strstr(group, "/..") == NULL)
        below = group + top;

    char folder[2 * PATH_BYTES];
    size_t point = (size_t)snprintf(folder, sizeof(folder), "%s", mount.point);
    snprintf(folder + point, sizeof(folder) - point, "%s", below);
    uint32_t least = 0;
    for (;;) {
        uint32_t limit = group_limit(root, kind, folder);
        if (limit != 0 && (least == 0 || limit < least))
            least = limit;
        char *slash = strrchr(folder + point, '/');
        if (slash == NULL)
            return least;
        *slash = '\0';
    }
}

uint32_t plx__host_quota_mcpus(const char *root)
{
    FILE *file = open_below(root, "/proc/self/cgroup");
    if (file == NULL)
        return 0;
    char line[LINE_BYTES];
    uint32_t least = 0;
    /* A line is "number:controllers:group"; version 2 has no controllers in it. */
    while (fgets(line, sizeof(line), file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':');
        char *group = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
        if (group == NULL || strlen(group + 1) >= PATH_BYTES)
            continue;
        *group++ = '\0';
        controllers++;
        enum cgroup_kind kind = CGROUP_OTHER;
        if (controllers[0] == '\0')
            kind = CGROUP_V2;
        else if (list_has(controllers, "cpu"))
            kind = CGROUP_V1_CPU;
        uint32_t limit = kind != CGROUP_OTHER ? hierarchy_limit(root, kind, group) : 0;
        if (limit != 0 && (least == 0 || limit < least))
            least = limit;
    }
    fclose(file);
    return least;
}
