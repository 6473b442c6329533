/* SPDX-License-Identifier: MIT */
/*
 * What the programs that test arenas share: an arena on a faulty table of calls, and what they ask
 * of it.
 */
#ifndef POLLUX_TEST_ARENA_FIXTURE_H
#define POLLUX_TEST_ARENA_FIXTURE_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "test/alloc/faulty_pages.h"

#define MIB ((size_t)1 << 20)

static struct plx_arena arena;
static struct plx_arena_opts opts;
static struct plx_diag diag;

/* Every case begins with 4K pages, bound and prefaulted, and must end with nothing mapped. */
static inline int set_up(void **state)
{
    (void)state;
    faulty_pages_reset();
    memset(&diag, 0, sizeof(diag));
    plx_arena_opts_init(&opts);
    opts.page_2m = PLX_WANT_NO;
    opts.thp = PLX_WANT_NO;
    opts.lock = PLX_WANT_NO;
    return 0;
}

static inline int tear_down(void **state)
{
    (void)state;
    plx_arena_fini(&arena);
    if (faulty.mapped != 0)
        print_message("%d mappings were left\n", faulty.mapped);
    return faulty.mapped;
}

static inline int init(size_t bytes, int node)
{
    return plx__arena_init_with(&arena, bytes, node, &opts, &diag, &faulty_pages_calls);
}

/* Asserts that init fails so, that its diagnosis has both texts, and that nothing is left. */
static inline void assert_init_fails(size_t bytes, int node, int code, const char *what,
                                     const char *text)
{
    assert_int_equal(init(bytes, node), code);
    assert_int_equal(diag.code, code);
    if (strstr(diag.what, what) == NULL || strstr(diag.text, text) == NULL)
        fail_msg("'%s' | '%s' has not '%s' | '%s'", diag.what, diag.text, what, text);
    assert_int_equal(faulty.mapped, 0);
    assert_null(arena.base);
    assert_null(arena.mapping);
    assert_int_equal(plx_arena_left(&arena), 0);
}

static inline bool has_note(const char *text)
{
    for (unsigned int i = 0; i < arena.note_count; i++) {
        if (strstr(arena.notes[i].text, text) != NULL)
            return true;
    }
    return false;
}

static inline void assert_note(const char *text)
{
    if (has_note(text))
        return;
    for (unsigned int i = 0; i < arena.note_count; i++)
        print_message("note: %s\n", arena.notes[i].text);
    fail_msg("no note has '%s'", text);
}

/* Whether this process can read the byte at `address`; the kernel tells, so that nothing dies. */
static inline bool is_readable(const void *address)
{
    int ends[2];

    if (pipe(ends) != 0)
        return false;
    bool readable = write(ends[1], address, 1) == 1;
    close(ends[0]);
    close(ends[1]);
    return readable;
}

static inline void append_line(const char *line, void *ctx)
{
    char *text = ctx;
    size_t length = strlen(text);

    snprintf(text + length, 4096 - length, "%s\n", line);
}

static inline const char *explain(void)
{
    static char text[4096];

    text[0] = '\0';
    plx_arena_explain(&arena, append_line, text);
    return text;
}

static inline void assert_explains(const char *part)
{
    if (strstr(explain(), part) == NULL)
        fail_msg("'%s' is not in:\n%s", part, explain());
}

/* Runs `part` in a child and returns its exit status, or -1 if a signal ended it. */
static inline int in_child(int (*part)(void))
{
    int status;

    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const struct rlimit no_core = {0, 0};
        (void)setrlimit(RLIMIT_CORE, &no_core);
        _exit(part());
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

#endif
