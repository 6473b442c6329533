/* SPDX-License-Identifier: MIT */
/*
 * The peers malloc, mimalloc and jemalloc. The latter two are loaded under names of their own
 * (RTLD_LOCAL), so that they replace nobody's malloc: each subject calls its own, by pointer.
 */
#include "tools/bench/heap.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#define TUNABLE  "glibc.rtld.optional_static_tls"
#define ROOM     "8192"
#define JEMALLOC "libjemalloc.so.2"

struct library {
    const char *name;
    const char *file;
    const char *package;
    /* The names of its two functions; the second ones where the first are missing, or NULL. */
    const char *take[2];
    const char *give[2];
};

static const struct library libraries[] = {
    {"mimalloc", "libmimalloc.so.2", "libmimalloc2.0", {"mi_malloc", NULL}, {"mi_free", NULL}},
    {"jemalloc", JEMALLOC, "libjemalloc2", {"je_malloc", "malloc"}, {"je_free", "free"}},
};

static void *find(void *handle, const char *const *names)
{
    for (int i = 0; i < 2 && names[i] != NULL; i++) {
        void *found = dlsym(handle, names[i]);
        if (found != NULL)
            return found;
    }
    return NULL;
}

/* Where a library has no such function, dlsym hands on the C library's. */
static bool is_own(const void *function, const struct library *library)
{
    Dl_info info;
    return function != NULL && dladdr(function, &info) != 0 &&
           strstr(info.dli_fname, library->file) != NULL;
}

static bool load(struct plx_bench *bench, const struct library *library,
                 struct plx_bench_heap *heap)
{
    void *handle = dlopen(library->file, RTLD_LOCAL | RTLD_NOW);
    char why[256];
    if (handle == NULL) {
        snprintf(why, sizeof(why), "%.180s (package %s)", dlerror(), library->package);
        plx_bench_leave_out(bench, library->name, why);
        return false;
    }
    void *take = find(handle, library->take);
    void *give = find(handle, library->give);
    heap->name = library->name;
    memcpy(&heap->take, &take, sizeof(take));
    memcpy(&heap->give, &give, sizeof(give));
    if (is_own(take, library) && is_own(give, library))
        return true;
    snprintf(why, sizeof(why), "%s lacks %s and %s", library->file, library->take[0],
             library->give[0]);
    plx_bench_leave_out(bench, library->name, why);
    return false;
}

uint32_t plx_bench_heaps(struct plx_bench *bench, struct plx_bench_heap *heaps)
{
    uint32_t count = 0;
    heaps[count++] = (struct plx_bench_heap){.name = "malloc", .take = malloc, .give = free};
    for (size_t i = 0; i < sizeof(libraries) / sizeof(libraries[0]); i++)
        count += load(bench, &libraries[i], &heaps[count]);
    return count;
}

void plx_bench_heaps_prepare(int argc, char **argv)
{
    const char *tunables = getenv("GLIBC_TUNABLES");
    /* Asked for already, so it would not help; a privileged program's tunables are ignored. */
    if ((tunables != NULL && strstr(tunables, TUNABLE) != NULL) || getauxval(AT_SECURE) != 0)
        return;
    if (dlopen(JEMALLOC, RTLD_LOCAL | RTLD_NOW) != NULL)
        return;
    const char *error = dlerror();
    if (error == NULL || strstr(error, "static TLS") == NULL)
        return;
    char *text = NULL;
    char **args = calloc((size_t)argc + 2, sizeof(*args));
    if (args == NULL || asprintf(&text, "%s%s" TUNABLE "=" ROOM, tunables != NULL ? tunables : "",
                                 tunables != NULL ? ":" : "") < 0) {
        free(args);
        return;
    }
    char program[] = "pollux";
    args[0] = program;
    memcpy(args + 1, argv, (size_t)argc * sizeof(*args));
    if (setenv("GLIBC_TUNABLES", text, 1) == 0)
        execv("/proc/self/exe", args);
    /* Then jemalloc is left out, and its error says why. */
    free(text);
    free(args);
}
