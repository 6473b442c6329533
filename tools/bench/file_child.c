/* SPDX-License-Identifier: MIT */
/* Children of the file benchmark: peers that are programs, and our own command. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/bench/file.h"
#include "tools/bench/frame.h"

#define EXIT_NO_PROGRAM 127

static void unpin(const struct plx_bench *bench)
{
    const struct plx_machine *machine = plx_bench_machine(bench);
    cpu_set_t set;
    CPU_ZERO(&set);
    for (uint32_t i = 0; i < machine->cpu_count; i++) {
        if (machine->cpus[i].allowed && machine->cpus[i].cpu < CPU_SETSIZE)
            CPU_SET(machine->cpus[i].cpu, &set);
    }
    (void)sched_setaffinity(0, sizeof(set), &set);
}

static void __attribute__((noreturn))
become(const struct plx_bench *bench, const char *const *words, bool anywhere, const int *fds)
{
    /* Not left behind if this process is killed. */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (anywhere)
        unpin(bench);
    dup2(fds[0], STDOUT_FILENO);
    dup2(fds[1], STDERR_FILENO);
    execvp(words[0], (char *const *)(uintptr_t)words);
    _exit(EXIT_NO_PROGRAM);
}

static void take_text(int fd, char *text, size_t bytes)
{
    ssize_t length = pread(fd, text, bytes - 1, 0);
    text[length > 0 ? length : 0] = '\0';
}

static int judge(const char *program, const struct plx_bench_child *child, int status,
                 struct plx_diag *diag)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_NO_PROGRAM && child->err[0] == '\0')
        return plx_diag_set(diag, -ENOENT, program, "it is not installed");
    int length = (int)strcspn(child->err, "\n");
    if (WIFEXITED(status))
        return plx_diag_set(diag, -ECHILD, program, "exit status %d: %.*s", WEXITSTATUS(status),
                            length, child->err);
    return plx_diag_set(diag, -ECHILD, program, "ended by signal %d", WTERMSIG(status));
}

int plx_bench_child_run(const struct plx_bench *bench, struct plx_bench_child *child,
                        const char *const *words, bool anywhere, struct plx_diag *diag)
{
    int status = 0;
    /* What it prints is kept in memory: nobody reads while it runs. */
    const int fds[2] = {memfd_create("out", MFD_CLOEXEC), memfd_create("err", MFD_CLOEXEC)};
    pid_t pid = fds[0] >= 0 && fds[1] >= 0 ? fork() : -1;
    int rc = pid < 0
                 ? plx_diag_set(diag, -errno, words[0], "it cannot be started: %s", strerror(errno))
                 : 0;
    if (pid == 0)
        become(bench, words, anywhere, fds);
    if (pid > 0) {
        plx_bench_stop_child(pid);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
        plx_bench_stop_child(0);
        take_text(fds[0], child->out, sizeof(child->out));
        take_text(fds[1], child->err, sizeof(child->err));
        rc = judge(words[0], child, status, diag);
    }
    for (int i = 0; i < 2; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
    }
    return rc;
}

bool plx_bench_has_program(struct plx_bench *bench, struct plx_bench_child *child, const char *name)
{
    const char *const words[] = {name, "--version", NULL};
    struct plx_diag diag;
    if (plx_bench_child_run(bench, child, words, true, &diag) == 0)
        return true;
    plx_bench_leave_out(bench, name, diag.text);
    return false;
}
