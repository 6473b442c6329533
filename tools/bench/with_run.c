/* SPDX-License-Identifier: MIT */
/* A run of a program that nobody vouches for: within bounds of time and output. */
#include "tools/bench/with_run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/bench/frame.h"

#define WORDS_MAX 16

struct child {
    pid_t pid;
    int pid_fd;
    int out_fd;
    uint64_t deadline_ns;
};

static void __attribute__((noreturn))
become(const char *const *words, int cpu_a, int cpu_b, int out_fd)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((unsigned)cpu_a, &set);
    if (cpu_b >= 0)
        CPU_SET((unsigned)cpu_b, &set);
    (void)sched_setaffinity(0, sizeof(set), &set);
    /* A group of its own, so that what it starts ends with it. */
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    dup2(null, STDIN_FILENO);
    dup2(out_fd, STDOUT_FILENO);
    execv(words[0], (char *const *)(uintptr_t)words);
    _exit(127);
}

static int begin(struct child *child, const char *const *words, int cpu_a, int cpu_b)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0)
        return -errno;
    child->pid = fork();
    if (child->pid == 0)
        become(words, cpu_a, cpu_b, fds[1]);
    int code = -errno;
    /* Whoever of the two is first: a signal is for the group from here on. */
    if (child->pid > 0)
        (void)setpgid(child->pid, child->pid);
    close(fds[1]);
    child->out_fd = fds[0];
    child->pid_fd = child->pid > 0 ? pidfd_open(child->pid, 0) : -1;
    if (child->pid > 0 && child->pid_fd >= 0)
        return 0;
    if (child->pid > 0) {
        code = -errno;
        kill(child->pid, SIGKILL);
        waitpid(child->pid, NULL, 0);
    }
    close(fds[0]);
    return code;
}

/* Waits for a descriptor: 1 it is ready, 0 the time is over, or a signal asks to stop. */
static int await(const struct child *child, int fd)
{
    for (;;) {
        uint64_t now = plx_bench_monotonic_ns();
        if (now >= child->deadline_ns || plx_bench_stopping())
            return 0;
        struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
        int ready = poll(&poll_fd, 1, (int)((child->deadline_ns - now) / 1000000) + 1);
        if (ready > 0)
            return 1;
        if (ready < 0 && errno != EINTR)
            return 0;
    }
}

/* Reads to the end. 0, -ETIMEDOUT, -EFBIG, or as read fails. */
static int take_output(const struct child *child, char *out)
{
    size_t length = 0;
    for (;;) {
        if (await(child, child->out_fd) == 0)
            return -ETIMEDOUT;
        ssize_t got = read(child->out_fd, out + length, PLX_WITH_BYTES - 1 - length);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        length += (size_t)got;
        out[length] = '\0';
        if (got == 0)
            /* A zero byte would end the text before its end. */
            return strlen(out) == length ? 0 : -EILSEQ;
        if (length == PLX_WITH_BYTES - 1)
            return -EFBIG;
    }
}

static int judge(const char *command, int rc, int status, struct plx_diag *diag)
{
    if (rc == -ETIMEDOUT)
        return plx_diag_set(diag, rc, "--with", "'%.60s' did not end within %u s more than it had",
                            command, PLX_WITH_PATIENCE_S);
    if (rc == -EFBIG)
        return plx_diag_set(diag, rc, "--with", "'%.60s' printed more than %u KiB", command,
                            PLX_WITH_BYTES / 1024);
    if (rc != 0)
        return plx_diag_set(diag, rc, "--with", "what '%.60s' printed: %s", command, strerror(-rc));
    if (WIFSIGNALED(status))
        return plx_diag_set(diag, -ECHILD, "--with", "'%.60s' was ended by signal %d (%s)", command,
                            WTERMSIG(status), strsignal(WTERMSIG(status)));
    int code = WEXITSTATUS(status);
    if (code == 0 || code == PLX_WITH_UNKNOWN)
        return code;
    return plx_diag_set(diag, -ECHILD, "--with", "'%.60s' ended with status %d", command, code);
}

int plx_bench_with_run(const char *command, const char *const *arguments, unsigned ms, int cpu_a,
                       int cpu_b, char out[PLX_WITH_BYTES], struct plx_diag *diag)
{
    char script[4096];
    const char *words[WORDS_MAX] = {"/bin/sh", "-c", script, "pollux-with"};
    struct child child;
    int status = 0;
    out[0] = '\0';
    for (size_t i = 4; i < WORDS_MAX - 1 && arguments[i - 4] != NULL; i++)
        words[i] = arguments[i - 4];
    int length = snprintf(script, sizeof(script), "%s \"$@\"", command);
    if (length < 0 || (size_t)length >= sizeof(script))
        return plx_diag_set(diag, -E2BIG, "--with", "the command is too long");
    int rc = begin(&child, words, cpu_a, cpu_b);
    if (rc != 0)
        return plx_diag_set(diag, rc, "--with", "'%.60s' cannot be started: %s", command,
                            strerror(-rc));
    plx_bench_stop_child(-child.pid);
    child.deadline_ns = plx_bench_monotonic_ns() + ms * UINT64_C(1000000) +
                        PLX_WITH_PATIENCE_S * UINT64_C(1000000000);
    rc = take_output(&child, out);
    if (rc == 0 && await(&child, child.pid_fd) == 0)
        rc = -ETIMEDOUT;
    plx_bench_stop_child(0);
    /* Its group exists as long as it was not waited for. */
    kill(-child.pid, SIGKILL);
    while (waitpid(child.pid, &status, 0) < 0 && errno == EINTR)
        ;
    close(child.pid_fd);
    close(child.out_fd);
    return judge(command, rc, status, diag);
}
