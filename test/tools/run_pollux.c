/* SPDX-License-Identifier: MIT */
#include "test/tools/run_pollux.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

extern char **environ;

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

const char *plx_run_binary(void)
{
    const char *given = getenv("POLLUX_TEST_BINARY");
    return given != NULL ? given : "build/pollux";
}

/* --- the child's side ------------------------------------------------------------------------ */

static bool is_assignment(const char *word)
{
    size_t length = strspn(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
    return length > 0 && word[length] == '=';
}

/* The caller's settings must not change what a test means. */
static void clear_settings(void)
{
    for (char **at = environ; *at != NULL;) {
        char variable[128];
        snprintf(variable, sizeof(variable), "%.*s", (int)strcspn(*at, "="), *at);
        bool drop = strncmp(variable, "POLLUX_", 7) == 0 || strncmp(variable, "HWLOC_", 6) == 0;
        if (drop && unsetenv(variable) == 0)
            at = environ;
        else
            at++;
    }
}

static void __attribute__((noreturn))
child(const char *const *words, int in_fd, int out_fd, int err_fd)
{
    char binary[4096];
    snprintf(binary, sizeof(binary), "%s", plx_run_binary());
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    clear_settings();
    for (; is_assignment(*words); words++)
        putenv((char *)(uintptr_t)*words);
    dup2(in_fd, STDIN_FILENO);
    dup2(out_fd, STDOUT_FILENO);
    dup2(err_fd, STDERR_FILENO);
    bool is_pollux = strcmp(words[0], "pollux") == 0;
    execvp(is_pollux ? binary : words[0], (char *const *)(uintptr_t)words);
    fprintf(stderr, "cannot run %s: %s\n", is_pollux ? binary : words[0], strerror(errno));
    _exit(127);
}

/* --- the parent's side ----------------------------------------------------------------------- */

void plx_run_begin(struct plx_run *run, const char *const *words, const char *input)
{
    int in[2];
    int out[2];
    int err[2];
    memset(run, 0, sizeof(*run));
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    assert_int_equal(pipe2(err, O_CLOEXEC), 0);
    /* What a pipe holds without a reader is far more than any test gives. */
    size_t length = input != NULL ? strlen(input) : 0;
    assert_int_equal(write(in[1], input != NULL ? input : "", length), length);
    close(in[1]);

    fflush(NULL);
    run->pid = fork();
    assert_true(run->pid >= 0);
    if (run->pid == 0)
        child(words, in[0], out[1], err[1]);
    close(in[0]);
    close(out[1]);
    close(err[1]);
    run->out_fd = out[0];
    run->err_fd = err[0];
}

/* Takes what there is to read. Returns false at the end of the stream. */
static bool take(int *fd, char *text, size_t *bytes)
{
    char rest[4096];
    bool is_full = *bytes + 1 >= PLX_RUN_BYTES;
    ssize_t length = is_full ? read(*fd, rest, sizeof(rest))
                             : read(*fd, text + *bytes, PLX_RUN_BYTES - 1 - *bytes);
    if (length <= 0) {
        close(*fd);
        *fd = -1;
        return false;
    }
    if (!is_full)
        *bytes += (size_t)length;
    text[*bytes] = '\0';
    return true;
}

/* Reads until `text` was seen (true), or both streams ended or time ran out (false). */
static bool read_until(struct plx_run *run, const char *text)
{
    int64_t deadline_ms = now_ms() + PLX_RUN_SECONDS * 1000;
    while (text == NULL || strstr(run->out, text) == NULL) {
        struct pollfd fds[2] = {{.fd = run->out_fd, .events = POLLIN},
                                {.fd = run->err_fd, .events = POLLIN}};
        int64_t left_ms = deadline_ms - now_ms();
        if (run->out_fd < 0 && run->err_fd < 0)
            return false;
        int count = poll(fds, 2, left_ms > 0 ? (int)left_ms : 0);
        if (count <= 0) {
            run->timed_out = true;
            return false;
        }
        if (fds[0].revents != 0)
            take(&run->out_fd, run->out, &run->out_bytes);
        if (fds[1].revents != 0)
            take(&run->err_fd, run->err, &run->err_bytes);
    }
    return true;
}

bool plx_run_await(struct plx_run *run, const char *text)
{
    return read_until(run, text);
}

static void reap(struct plx_run *run)
{
    int status = 0;
    while (waitpid(run->pid, &status, 0) < 0 && errno == EINTR)
        ;
    run->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    run->pid = 0;
}

void plx_run_kill(struct plx_run *run)
{
    if (run->pid > 0) {
        kill(run->pid, SIGKILL);
        reap(run);
    }
    if (run->out_fd >= 0)
        close(run->out_fd);
    if (run->err_fd >= 0)
        close(run->err_fd);
    run->out_fd = -1;
    run->err_fd = -1;
}

void plx_run_end(struct plx_run *run)
{
    read_until(run, NULL);
    if (run->timed_out)
        plx_run_kill(run);
    else
        reap(run);
}

void plx_run_signal(struct plx_run *run, int number)
{
    assert_true(run->pid > 0);
    assert_int_equal(kill(run->pid, number), 0);
}

void plx_run_line(struct plx_run *run, const char *line)
{
    char text[1024];
    const char *words[40];
    size_t count = 0;
    snprintf(text, sizeof(text), "%s", line);
    for (char *at = text; *at != '\0' && count < 39;) {
        at += strspn(at, " ");
        if (*at == '\0')
            break;
        bool is_held = *at == '\'';
        at += is_held;
        words[count++] = at;
        at += strcspn(at, is_held ? "'" : " ");
        if (*at != '\0')
            *at++ = '\0';
    }
    words[count] = NULL;
    plx_run_begin(run, words, NULL);
    plx_run_end(run);
}

void plx_run_expect(const struct plx_run *run, int status, const char *out, const char *err)
{
    bool good = !run->timed_out && run->status == status &&
                (out == NULL || strstr(run->out, out) != NULL) &&
                (err == NULL || strstr(run->err, err) != NULL);
    if (!good)
        fail_msg("status %d%s, expected %d with \"%s\" and \"%s\"\n--- out\n%s--- err\n%s",
                 run->status, run->timed_out ? " (out of time)" : "", status, out ? out : "",
                 err ? err : "", run->out, run->err);
}
