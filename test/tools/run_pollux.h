/* SPDX-License-Identifier: MIT */
/*
 * Runs the built pollux command in a child, with its output kept and its life bounded: a child that
 * is still there after PLX_RUN_SECONDS is killed, and so is one whose test ends.
 */
#ifndef POLLUX_TEST_RUN_POLLUX_H
#define POLLUX_TEST_RUN_POLLUX_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define PLX_RUN_SECONDS 45
#define PLX_RUN_BYTES   (1 << 18)

/* A child and what it has written so far. */
struct plx_run {
    pid_t pid; /* 0: has ended */
    int out_fd;
    int err_fd;
    size_t out_bytes;
    size_t err_bytes;
    char out[PLX_RUN_BYTES];
    char err[PLX_RUN_BYTES];
    int status; /* its exit status; 128 + n when signal n ended it, as shells count */
    bool timed_out;
};

/* The command: POLLUX_TEST_BINARY, else build/pollux. */
const char *plx_run_binary(void);

/*
 * Starts a program. `words` ends with NULL; words of the form NAME=value before the first other one
 * are put into its environment, from which all POLLUX_ and HWLOC_ variables are taken before.
 * "pollux" stands for plx_run_binary. Standard input is `input`, or empty when NULL.
 */
void plx_run_begin(struct plx_run *run, const char *const *words, const char *input);

/* Waits until its standard output holds `text`. False: it ended, or time ran out, without. */
bool plx_run_await(struct plx_run *run, const char *text);

/* Waits for its end and keeps the rest of its output. */
void plx_run_end(struct plx_run *run);

/* Sends a signal. */
void plx_run_signal(struct plx_run *run, int number);

/* Ends it, whatever it does; harmless after plx_run_end. */
void plx_run_kill(struct plx_run *run);

/* Begin and end in one, of words split at blanks; a word may be held together by ' '. */
void plx_run_line(struct plx_run *run, const char *line);

/* Fails the test, with all that was printed, unless status is as expected and the text occurs. */
void plx_run_expect(const struct plx_run *run, int status, const char *out, const char *err);

#endif
