/* SPDX-License-Identifier: MIT */
#include "test/tools/cp_fixture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <cmocka.h>

#define CHUNK 65536u

struct plx_run cp_run;

static char folder[256];

/* --- the directory --------------------------------------------------------------------------- */

static void empty_folder(const char *path)
{
    DIR *entries = opendir(path);
    if (entries == NULL)
        return;
    for (struct dirent *entry; (entry = readdir(entries)) != NULL;) {
        char inside[PATH_MAX];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        snprintf(inside, sizeof(inside), "%s/%s", path, entry->d_name);
        if (unlink(inside) != 0) {
            chmod(inside, 0700);
            empty_folder(inside);
            rmdir(inside);
        }
    }
    closedir(entries);
}

int cp_make_folder(void **state)
{
    const char *base = getenv("TMPDIR");
    (void)state;
    /* Where files usually lie on a device, which /tmp may not. */
    snprintf(folder, sizeof(folder), "%s/pollux-test-cp-XXXXXX", base != NULL ? base : "/var/tmp");
    if (mkdtemp(folder) == NULL || chmod(folder, 0777) != 0) {
        fprintf(stderr, "%s: %s\n", folder, strerror(errno));
        return -1;
    }
    return 0;
}

int cp_remove_folder(void **state)
{
    (void)state;
    empty_folder(folder);
    return rmdir(folder);
}

int cp_end_case(void **state)
{
    (void)state;
    plx_run_kill(&cp_run);
    empty_folder(folder);
    return 0;
}

const char *cp_path(const char *name)
{
    static char paths[8][PATH_MAX];
    static unsigned next;
    char *path = paths[next++ % 8];
    snprintf(path, PATH_MAX, "%s%s%s", folder, name[0] != '\0' ? "/" : "", name);
    return path;
}

/* --- files ----------------------------------------------------------------------------------- */

static int create(const char *name)
{
    int fd = open(cp_path(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    assert_true(fd >= 0);
    return fd;
}

void cp_write(const char *name, uint64_t bytes, uint64_t seed)
{
    static uint64_t words[CHUNK / 8];
    int fd = create(name);
    for (uint64_t done = 0; done < bytes;) {
        for (size_t i = 0; i < CHUNK / 8; i++) {
            /* A multiplicative sequence: every block differs from every other one. */
            seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            words[i] = seed;
        }
        size_t now = bytes - done < CHUNK ? (size_t)(bytes - done) : CHUNK;
        assert_int_equal(write(fd, words, now), now);
        done += now;
    }
    close(fd);
}

void cp_write_hole(const char *name, uint64_t bytes)
{
    int fd = create(name);
    assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
    close(fd);
}

bool cp_exists(const char *name)
{
    struct stat found;
    return lstat(cp_path(name), &found) == 0;
}

struct stat cp_stat(const char *name)
{
    struct stat found;
    assert_int_equal(stat(cp_path(name), &found), 0);
    return found;
}

void cp_expect_same(const char *a, const char *b)
{
    static unsigned char bytes[2][CHUNK];
    int fds[2] = {open(cp_path(a), O_RDONLY | O_CLOEXEC), open(cp_path(b), O_RDONLY | O_CLOEXEC)};
    assert_true(fds[0] >= 0 && fds[1] >= 0);
    uint64_t at = 0;
    for (ssize_t got = 1; got > 0; at += (uint64_t)got) {
        got = read(fds[0], bytes[0], CHUNK);
        assert_true(got >= 0);
        assert_int_equal(read(fds[1], bytes[1], CHUNK), got);
        if (memcmp(bytes[0], bytes[1], (size_t)got) != 0)
            fail_msg("%s and %s differ after byte %llu", a, b, (unsigned long long)at);
    }
    close(fds[0]);
    close(fds[1]);
}

void cp_expect_no_draft(void)
{
    DIR *entries = opendir(folder);
    assert_non_null(entries);
    for (struct dirent *entry; (entry = readdir(entries)) != NULL;) {
        if (strncmp(entry->d_name, ".pollux", 7) == 0)
            fail_msg("%s is left", entry->d_name);
    }
    closedir(entries);
}

/* --- the command ----------------------------------------------------------------------------- */

/* Writes the line with the directory's path for each @. */
static void expand(char *out, size_t bytes, const char *line)
{
    size_t used = 0;
    for (; *line != '\0'; line++) {
        int length = *line == '@' ? snprintf(out + used, bytes - used, "%s", folder)
                                  : snprintf(out + used, bytes - used, "%c", *line);
        assert_true(length > 0 && (size_t)length < bytes - used);
        used += (size_t)length;
    }
    out[used] = '\0';
}

void cp_line(const char *format, ...)
{
    char line[768];
    char whole[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    expand(whole, sizeof(whole), line);
    plx_run_line(&cp_run, whole);
}

/* Reads events until the draft's; false: the child has ended or time is up. */
static bool await_draft(int watch)
{
    char events[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
    for (;;) {
        struct pollfd fds[2] = {{.fd = watch, .events = POLLIN},
                                {.fd = cp_run.out_fd, .events = POLLIN}};
        if (poll(fds, 2, PLX_RUN_SECONDS * 1000) <= 0)
            return false;
        if ((fds[0].revents & POLLIN) == 0)
            return false;
        ssize_t got = read(watch, events, sizeof(events));
        for (ssize_t at = 0; at < got;) {
            const struct inotify_event *event = (const struct inotify_event *)(events + at);
            if (event->len != 0 && strncmp(event->name, ".pollux", 7) == 0)
                return true;
            at += (ssize_t)(sizeof(*event) + event->len);
        }
    }
}

bool cp_begin_until_draft(const char *line)
{
    char whole[1024];
    const char *words[32];
    size_t count = 0;
    char *rest;
    expand(whole, sizeof(whole), line);
    for (char *word = strtok_r(whole, " ", &rest); word != NULL && count < 31;
         word = strtok_r(NULL, " ", &rest))
        words[count++] = word;
    words[count] = NULL;
    int watch = inotify_init1(IN_CLOEXEC);
    assert_true(watch >= 0);
    assert_true(inotify_add_watch(watch, folder, IN_CREATE) >= 0);
    plx_run_begin(&cp_run, words, NULL);
    bool made = await_draft(watch);
    close(watch);
    return made;
}

void cp_expect_good(void)
{
    plx_run_expect(&cp_run, 0, NULL, NULL);
    assert_string_equal(cp_run.err, "");
    cp_expect_no_draft();
}

void cp_expect_bad(const char *text)
{
    plx_run_expect(&cp_run, 1, NULL, text);
    assert_string_equal(cp_run.out, "");
    cp_expect_no_draft();
}

bool cp_has_backend(const char *setting)
{
    cp_write("probe", 1, 1);
    cp_line("%s pollux cp @/probe @/probe.copy", setting);
    if (cp_run.status == 0)
        return true;
    print_message("skipped: not with %s: %s", setting, cp_run.err);
    return false;
}

bool cp_has_nobody(void)
{
    cp_line(CP_NOBODY "%s --version", plx_run_binary());
    if (cp_run.status == 0)
        return true;
    print_message("skipped: the command cannot be run as nobody: %s", cp_run.err);
    return false;
}
