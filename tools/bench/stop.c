/* SPDX-License-Identifier: MIT */
/*
 * Signals that end a run. The first one lets the round end, and what was measured is written; the
 * second one ends the process at once.
 */
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/wait.h>

#include "tools/bench/frame.h"

static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};

#define NUMBER_COUNT (sizeof(numbers) / sizeof(numbers[0]))

/* Written by the bench thread and a handler, which runs on any; each is one word. */
static volatile sig_atomic_t first;
static volatile sig_atomic_t child;
static volatile sig_atomic_t spared; /* the first signal leaves the child alone */
static void (*volatile at_last)(void);

static void on_signal(int number)
{
    int saved = errno;
    int pid = (int)child;
    if (pid != 0 && (first != 0 || spared == 0))
        kill(pid, first == 0 ? SIGTERM : SIGKILL);
    if (first == 0) {
        first = number;
        errno = saved;
        return;
    }
    if (pid != 0)
        waitpid(pid > 0 ? pid : -pid, NULL, 0);
    if (at_last != NULL)
        at_last();
    signal(number, SIG_DFL);
    raise(number);
}

void plx_bench_stop_init(void)
{
    struct sigaction action;
    struct sigaction before;
    memset(&action, 0, sizeof(action));
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < NUMBER_COUNT; i++)
        sigaddset(&action.sa_mask, numbers[i]);
    action.sa_handler = on_signal;
    /* A handler may run in the middle of its raise; calls of subjects go on. */
    action.sa_flags = (int)(SA_NODEFER | SA_RESTART);
    for (size_t i = 0; i < NUMBER_COUNT; i++) {
        if (sigaction(numbers[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            sigaction(numbers[i], &action, NULL);
    }
}

bool plx_bench_stopping(void)
{
    return first != 0;
}

int plx_bench_stop_number(void)
{
    return (int)first;
}

void plx_bench_stop_last(void (*last)(void))
{
    at_last = last;
}

void plx_bench_stop_child(int pid)
{
    child = pid;
    spared = 0;
    /* A signal that came in between found none to end. */
    if (pid != 0 && first != 0)
        kill(pid, SIGTERM);
}

void plx_bench_stop_writer(int pid)
{
    spared = 1;
    child = pid;
}
