/* SPDX-License-Identifier: MIT */
#include "test/alloc/faulty_pages.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct faulty_pages faulty;

void faulty_pages_reset(void)
{
    faulty = (struct faulty_pages){0};
}

/* What a call returns that has no result: `code` as struct faulty_pages says, or Linux's answer. */
#define ANSWER(code, ask_linux) ((code) < 0 ? (code) : (code) == FAULTY_PRETEND ? 0 : (ask_linux))

static int faulty_map(size_t bytes, size_t page_bytes, void **out)
{
    int code = page_bytes > PLX_PAGE ? faulty.map_hugetlb : faulty.map_small;

    *out = NULL;
    if (code == FAULTY_PRETEND) {
        void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        *out = base == MAP_FAILED ? NULL : base;
        code = base == MAP_FAILED ? -errno : 0;
    } else if (code == 0) {
        code = plx__pages_linux.map(bytes, page_bytes, out);
    }
    faulty.mapped += code == 0;
    return code;
}

static int faulty_open(void *base, size_t bytes)
{
    return ANSWER(faulty.open, plx__pages_linux.open(base, bytes));
}

static int faulty_unmap(void *base, size_t bytes)
{
    faulty.mapped--;
    return plx__pages_linux.unmap(base, bytes);
}

static int faulty_bind(void *base, size_t bytes, int node)
{
    faulty.binds++;
    return ANSWER(faulty.bind, plx__pages_linux.bind(base, bytes, node));
}

static int faulty_advise(void *base, size_t bytes, int advice)
{
    int code = advice == MADV_DONTFORK         ? faulty.dontfork
               : advice == MADV_HUGEPAGE       ? faulty.hugepage
               : advice == MADV_POPULATE_WRITE ? faulty.populate
                                               : 0;

    if (advice == MADV_POPULATE_WRITE && faulty.populate_once)
        faulty.populate = 0;
    faulty.nohugepages += advice == MADV_NOHUGEPAGE;
    return ANSWER(code, plx__pages_linux.advise(base, bytes, advice));
}

static int faulty_lock(void *base, size_t bytes, bool on_fault)
{
    faulty.lock_on_fault = on_fault;
    return ANSWER(faulty.lock, plx__pages_linux.lock(base, bytes, on_fault));
}

static int faulty_unlock(void *base, size_t bytes)
{
    faulty.unlocks++;
    return plx__pages_linux.unlock(base, bytes);
}

static int faulty_nodes_of(void **pages, int *nodes, size_t count)
{
    if (faulty.nodes_of < 0)
        return faulty.nodes_of;
    if (!faulty.answer_nodes)
        return plx__pages_linux.nodes_of(pages, nodes, count);
    for (size_t i = 0; i < count; i++) {
        bool off = faulty.off_pages > 0;
        nodes[i] = faulty.node_answer + off;
        faulty.off_pages -= off;
    }
    return 0;
}

static int64_t faulty_thp_bytes(const void *base, size_t bytes)
{
    return faulty.answer_thp ? faulty.thp_answer : plx__pages_linux.thp_bytes(base, bytes);
}

static int64_t faulty_memlock_limit(void)
{
    return faulty.answer_limit ? faulty.limit_answer : plx__pages_linux.memlock_limit();
}

static int64_t faulty_read_file(const char *path, char *text, size_t capacity)
{
    const char *contents = strstr(path, "has_memory")       ? faulty.has_memory
                           : strstr(path, "meminfo")        ? faulty.meminfo
                           : strstr(path, "free_hugepages") ? faulty.hugetlb_free
                           : strstr(path, "hugepage/")      ? faulty.thp_enabled
                                                            : NULL;

    if (strstr(path, "meminfo") || strstr(path, "free_hugepages"))
        snprintf(faulty.last_path, sizeof(faulty.last_path), "%s", path);
    if (contents == NULL)
        return plx__pages_linux.read_file(path, text, capacity);
    if (contents[0] == '\0')
        return -ENOENT;
    return snprintf(text, capacity, "%s", contents);
}

const struct plx__pages_calls faulty_pages_calls = {
    .map = faulty_map,
    .open = faulty_open,
    .unmap = faulty_unmap,
    .bind = faulty_bind,
    .advise = faulty_advise,
    .lock = faulty_lock,
    .unlock = faulty_unlock,
    .nodes_of = faulty_nodes_of,
    .thp_bytes = faulty_thp_bytes,
    .memlock_limit = faulty_memlock_limit,
    .read_file = faulty_read_file,
};
