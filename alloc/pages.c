/* SPDX-License-Identifier: MIT */
#include "alloc/pages_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <numaif.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* --- the calls ------------------------------------------------------------------------------- */

/* The size of a hugetlb page goes into mmap's flags as its logarithm, from bit 26 on. */
enum { hugetlb_size_shift = 26 };

static int linux_map(size_t bytes, size_t page_bytes, void **out)
{
    int protection = PROT_NONE;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS;

    if (page_bytes > PLX_PAGE) {
        protection = PROT_READ | PROT_WRITE;
        flags |= MAP_HUGETLB | (__builtin_ctzll(page_bytes) << hugetlb_size_shift);
    }
    void *base = mmap(NULL, bytes, protection, flags, -1, 0);
    *out = base == MAP_FAILED ? NULL : base;
    return base == MAP_FAILED ? -errno : 0;
}

static int linux_open(void *base, size_t bytes)
{
    return mprotect(base, bytes, PROT_READ | PROT_WRITE) == 0 ? 0 : -errno;
}

static int linux_unmap(void *base, size_t bytes)
{
    return munmap(base, bytes) == 0 ? 0 : -errno;
}

static int linux_bind(void *base, size_t bytes, int node)
{
    enum { bits = CHAR_BIT * sizeof(unsigned long) };
    unsigned long nodes[PLX__NODES_MAX / bits] = {0};

    if (node < 0 || node >= PLX__NODES_MAX)
        return -EINVAL;
    nodes[node / bits] = 1UL << (node % bits);
    /* One more than the mask holds: the kernel looks at maxnode - 1 bits. */
    return mbind(base, bytes, MPOL_BIND, nodes, PLX__NODES_MAX + 1, 0) == 0 ? 0 : -errno;
}

static int linux_advise(void *base, size_t bytes, int advice)
{
    return madvise(base, bytes, advice) == 0 ? 0 : -errno;
}

static int linux_lock(void *base, size_t bytes, bool on_fault)
{
    return mlock2(base, bytes, on_fault ? MLOCK_ONFAULT : 0) == 0 ? 0 : -errno;
}

static int linux_unlock(void *base, size_t bytes)
{
    return munlock(base, bytes) == 0 ? 0 : -errno;
}

static int linux_nodes_of(void **pages, int *nodes, size_t count)
{
    /* Without a list of targets move_pages moves nothing and tells where each page is. */
    return move_pages(0, count, pages, NULL, nodes, 0) == 0 ? 0 : -errno;
}

/* A mapping that lies partly within the range counts whole: arenas stand between guards. */
static int64_t linux_thp_bytes(const void *base, size_t bytes)
{
    FILE *maps = fopen("/proc/self/smaps", "re");
    if (maps == NULL)
        return -errno;

    uintptr_t first = (uintptr_t)base;
    uintptr_t end = first + bytes;
    bool inside = false;
    int64_t sum = 0;
    char line[512];
    while (fgets(line, sizeof(line), maps) != NULL) {
        unsigned long from, to;
        long kilobytes;
        char rights;
        if (sscanf(line, "%lx-%lx %c", &from, &to, &rights) == 3)
            inside = from < end && to > first;
        else if (inside && sscanf(line, "AnonHugePages: %ld kB", &kilobytes) == 1)
            sum += kilobytes * 1024;
    }
    fclose(maps);
    return sum;
}

static int64_t linux_memlock_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0)
        return -errno;
    return limit.rlim_cur > (rlim_t)INT64_MAX ? INT64_MAX : (int64_t)limit.rlim_cur;
}

static int64_t linux_read_file(const char *path, char *text, size_t capacity)
{
    text[0] = '\0';
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;

    size_t length = 0;
    int64_t result = 0;
    while (length < capacity - 1) {
        ssize_t got = read(fd, text + length, capacity - 1 - length);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            result = -errno;
        if (got <= 0)
            break;
        length += (size_t)got;
    }
    close(fd);
    text[length] = '\0';
    return result < 0 ? result : (int64_t)length;
}

const struct plx__pages_calls plx__pages_linux = {
    .map = linux_map,
    .open = linux_open,
    .unmap = linux_unmap,
    .bind = linux_bind,
    .advise = linux_advise,
    .lock = linux_lock,
    .unlock = linux_unlock,
    .nodes_of = linux_nodes_of,
    .thp_bytes = linux_thp_bytes,
    .memlock_limit = linux_memlock_limit,
    .read_file = linux_read_file,
};

/* --- what the kernel's files say ------------------------------------------------------------- */

int plx__pages_memory_nodes(const struct plx__pages_calls *calls, char *list, size_t capacity)
{
    int64_t length = calls->read_file("/sys/devices/system/node/has_memory", list, capacity);

    if (length < 0)
        return (int)length;
    list[strcspn(list, "\n")] = '\0';
    return 0;
}

/* Reads the next "a" or "a-b" of a list; false at its end or at what is no number. */
static bool next_range(const char **list, long *first, long *last)
{
    char *end;

    *first = *last = strtol(*list, &end, 10);
    if (end == *list)
        return false;
    if (*end == '-')
        *last = strtol(end + 1, &end, 10);
    *list = *end == ',' ? end + 1 : end;
    return true;
}

bool plx__pages_list_has(const char *list, int number)
{
    long first, last;

    while (next_range(&list, &first, &last)) {
        if (number >= first && number <= last)
            return true;
    }
    return false;
}

int plx__pages_list_count(const char *list)
{
    long first, last;
    long count = 0;

    while (next_range(&list, &first, &last))
        count += last - first + 1;
    return (int)count;
}

int64_t plx__pages_hugetlb_free(const struct plx__pages_calls *calls, int node, size_t page_bytes)
{
    char path[128];
    char text[32];

    if (node == PLX_NODE_ANY)
        snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-%zukB/free_hugepages",
                 page_bytes / 1024);
    else
        snprintf(path, sizeof(path),
                 "/sys/devices/system/node/node%d/hugepages/hugepages-%zukB/free_hugepages", node,
                 page_bytes / 1024);

    int64_t length = calls->read_file(path, text, sizeof(text));
    return length < 0 ? length : strtoll(text, NULL, 10);
}

/* The bytes that a line "Key: <n> kB" of a meminfo file states; 0 when there is no such line. */
static int64_t meminfo_bytes(const char *text, const char *key)
{
    const char *line = strstr(text, key);

    return line == NULL ? 0 : strtoll(line + strlen(key), NULL, 10) * 1024;
}

int64_t plx__pages_available(const struct plx__pages_calls *calls, int node)
{
    char path[64] = "/proc/meminfo";
    char text[8192];

    if (node != PLX_NODE_ANY)
        snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/meminfo", node);
    int64_t length = calls->read_file(path, text, sizeof(text));
    if (length < 0)
        return length;
    if (node == PLX_NODE_ANY)
        return meminfo_bytes(text, "MemAvailable:");
    return meminfo_bytes(text, "MemFree:") + meminfo_bytes(text, "Active(file):") +
           meminfo_bytes(text, "Inactive(file):") + meminfo_bytes(text, "SReclaimable:");
}
