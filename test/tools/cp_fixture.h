/* SPDX-License-Identifier: MIT */
/*
 * What the tests of pollux cp share: a directory on a real file system, files of known bytes in it,
 * and the command run on them.
 */
#ifndef POLLUX_TEST_CP_FIXTURE_H
#define POLLUX_TEST_CP_FIXTURE_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "test/tools/run_pollux.h"

/* The run of the case; one at a time, and too large for a stack. */
extern struct plx_run cp_run;

/* Group set-up and case tear-down: the directory is made, and emptied after each case. */
int cp_make_folder(void **state);
int cp_remove_folder(void **state);
int cp_end_case(void **state);

/* The path of a name in the directory; of the directory for "". Good for eight calls. */
const char *cp_path(const char *name);

/* A new file of `bytes` bytes drawn from `seed`; its mode is 0640. */
void cp_write(const char *name, uint64_t bytes, uint64_t seed);
/* A new file without any data of its own. */
void cp_write_hole(const char *name, uint64_t bytes);

bool cp_exists(const char *name);
struct stat cp_stat(const char *name);
/* Fails the test unless the two hold the same bytes. */
void cp_expect_same(const char *a, const char *b);
/* Fails the test if a draft is left in the directory. */
void cp_expect_no_draft(void);

/*
 * Runs a line in which each @ stands for the directory's path, such as "pollux cp @/a @/b". Words
 * are split at blanks.
 */
void cp_line(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Starts it, and returns when its draft has been made. False: it ended without. */
bool cp_begin_until_draft(const char *line);

/* That it succeeded and printed nothing to standard error. */
void cp_expect_good(void);
/* That it exited with 1, told the text, and left no draft. */
void cp_expect_bad(const char *text);

/* Whether a backend has files here; otherwise the reason is printed. */
bool cp_has_backend(const char *setting);
/* Whether a program runs as nobody and can start the command; otherwise the reason is printed. */
bool cp_has_nobody(void);
#define CP_NOBODY "setpriv --reuid=65534 --regid=65534 --clear-groups "

#endif
