/* SPDX-License-Identifier: MIT */
#include "tools/bench/html_gnuplot.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tools/bench/frame.h"

#define PROGRAM "gnuplot"
#define PACKAGE "gnuplot-nox"

extern char **environ;

unsigned plx_bench_gnuplot_ms = 60000;

/* What it reads and writes. -1: not open. */
struct pipes {
    int script; /* a file in memory, as are its errors */
    int errors;
    int out; /* its end of the pipe, and ours */
    int from;
};

static void close_one(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void close_all(struct pipes *pipes)
{
    close_one(&pipes->script);
    close_one(&pipes->errors);
    close_one(&pipes->out);
    close_one(&pipes->from);
}

static int open_all(struct pipes *pipes, const char *script, size_t bytes)
{
    int ends[2];
    *pipes = (struct pipes){-1, -1, -1, -1};
    if (pipe2(ends, O_CLOEXEC) == 0) {
        pipes->from = ends[0];
        pipes->out = ends[1];
        pipes->script = memfd_create("script", MFD_CLOEXEC);
        pipes->errors = memfd_create("errors", MFD_CLOEXEC);
    }
    int rc = pipes->script >= 0 && pipes->errors >= 0 ? 0 : -errno;
    size_t done = 0;
    while (rc == 0 && done < bytes) {
        ssize_t some = write(pipes->script, script + done, bytes - done);
        if (some < 0 && errno != EINTR)
            rc = -errno;
        done += some > 0 ? (size_t)some : 0;
    }
    if (rc == 0 && lseek(pipes->script, 0, SEEK_SET) != 0)
        rc = -errno;
    if (rc != 0)
        close_all(pipes);
    return rc;
}

static int start(const struct pipes *pipes, bool has_script, pid_t *pid)
{
    char program[] = PROGRAM;
    char first[] = "-d"; /* no settings of its user's */
    char second[] = "/dev/stdin";
    char version[] = "--version";
    char *words[] = {program, has_script ? first : version, has_script ? second : NULL, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_init(&attributes);
    /* A group of its own: the terminal's Ctrl-C is for us, who tell it. */
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pipes->script, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, pipes->out, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, pipes->errors, STDERR_FILENO);
    int rc = -posix_spawnp(pid, program, &actions, &attributes, words, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return rc;
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Reads until there is no more. -ETIMEDOUT: that took too long. */
static int read_all(int fd, FILE *into)
{
    char some[65536];
    int64_t end = now_ms() + plx_bench_gnuplot_ms;
    struct pollfd one = {.fd = fd, .events = POLLIN};
    for (;;) {
        int64_t left = end - now_ms();
        int ready = poll(&one, 1, left > 0 ? (int)left : 0);
        if (ready == 0)
            return -ETIMEDOUT;
        ssize_t bytes = ready > 0 ? read(fd, some, sizeof(some)) : -1;
        if (bytes < 0 && errno != EINTR)
            return -errno;
        if (bytes == 0)
            return 0;
        if (bytes > 0 && fwrite(some, 1, (size_t)bytes, into) != (size_t)bytes)
            return -ENOMEM;
    }
}

/* Its word on what is wrong, in a line of its own somewhere in its errors; "": none. */
static void find_reason(int errors, char *reason, size_t bytes)
{
    char line[160];
    reason[0] = '\0';
    int fd = dup(errors);
    FILE *file = fd >= 0 && lseek(fd, 0, SEEK_SET) == 0 ? fdopen(fd, "r") : NULL;
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (strstr(line, "line ") != NULL)
            snprintf(reason, bytes, ": %.*s", (int)strcspn(line, "\n"), line);
    }
    if (file != NULL)
        fclose(file);
    else
        close_one(&fd);
}

static int judge(int rc, int status, int errors, struct plx_diag *diag)
{
    char reason[176];
    if (rc == -ENOENT || (rc == 0 && WIFEXITED(status) && WEXITSTATUS(status) == 127))
        return plx_diag_set(diag, -ENOENT, "--html",
                            PROGRAM " draws its plots and is not installed (package " PACKAGE ")");
    if (rc == -ETIMEDOUT)
        return plx_diag_set(diag, rc, "--html", PROGRAM " was ended: it took longer than %.3g s",
                            plx_bench_gnuplot_ms / 1e3);
    if (rc != 0)
        return plx_diag_set(diag, rc, "--html", PROGRAM ": %s", strerror(-rc));
    if (WIFSIGNALED(status))
        return plx_diag_set(diag, -ECHILD, "--html", PROGRAM " was ended by signal %d",
                            WTERMSIG(status));
    if (WEXITSTATUS(status) == 0)
        return 0;
    find_reason(errors, reason, sizeof(reason));
    return plx_diag_set(diag, -ECHILD, "--html", PROGRAM " failed with status %d%s",
                        WEXITSTATUS(status), reason);
}

/* Lets it draw, and ends it. */
static int run(struct pipes *pipes, bool has_script, FILE *into, int *status)
{
    pid_t pid;
    int rc = start(pipes, has_script, &pid);
    if (rc != 0)
        return rc;
    plx_bench_stop_writer(-pid);
    close_one(&pipes->out); /* else there would be no end */
    rc = read_all(pipes->from, into);
    if (rc != 0)
        kill(-pid, SIGKILL);
    while (waitpid(pid, status, 0) < 0) {
        if (errno != EINTR) {
            rc = rc != 0 ? rc : -errno;
            break;
        }
    }
    plx_bench_stop_child(0);
    return rc;
}

int plx_bench_gnuplot(const char *script, size_t bytes, char **out, struct plx_diag *diag)
{
    struct pipes pipes;
    size_t room = 0;
    int status = 0;
    *out = NULL;
    FILE *into = open_memstream(out, &room);
    if (into == NULL)
        return plx_diag_set(diag, -ENOMEM, "--html", "out of memory");
    int rc = open_all(&pipes, script, bytes);
    if (rc == 0)
        rc = run(&pipes, script != NULL, into, &status);
    if (fclose(into) != 0 && rc == 0)
        rc = -ENOMEM;
    rc = judge(rc, status, pipes.errors, diag);
    close_all(&pipes);
    if (rc != 0) {
        free(*out);
        *out = NULL;
    }
    return rc;
}
