/* SPDX-License-Identifier: MIT */
/* Where results go: files that are one, and files of runs that came to nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "test/tools/run_pollux.h"

#define SHORT "pollux bench uring --quick --only cancel --rounds 1"

static struct plx_run run;
static char folder[64];

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof(folder), "/tmp/pollux-files-XXXXXX");
    return mkdtemp(folder) != NULL ? 0 : -1;
}

/* Removes what was left in it, so that a test begins with nothing. */
static void empty_folder(void)
{
    const char *const words[] = {"find", folder, "-mindepth", "1", "-delete", NULL};
    plx_run_begin(&run, words, NULL);
    plx_run_end(&run);
    assert_int_equal(run.status, 0);
}

static int remove_folder(void **state)
{
    (void)state;
    empty_folder();
    return rmdir(folder);
}

static const char *in_folder(const char *name)
{
    static char path[160];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static bool exists(const char *name)
{
    struct stat facts;
    return lstat(in_folder(name), &facts) == 0;
}

static void write_text(const char *name, const char *text)
{
    FILE *file = fopen(in_folder(name), "we");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void outputs_that_are_one_file_are_a_usage_error(void **state)
{
    (void)state;
    char line[512];
    snprintf(line, sizeof(line), SHORT " --json %s/x --csv %s/x", folder, folder);
    plx_run_line(&run, line);
    plx_run_expect(&run, 2, NULL, "are one file, and would write over each other");
    assert_false(exists("x"));
    /* By another name, too. */
    write_text("x", "kept");
    assert_int_equal(symlink("x", in_folder("y")), 0);
    snprintf(line, sizeof(line), SHORT " --csv %s/x --json %s/./y", folder, folder);
    plx_run_line(&run, line);
    plx_run_expect(&run, 2, NULL, "are one file");
    assert_true(exists("x"));
    /* A device swallows both. */
    plx_run_line(&run, SHORT " --json /dev/null --csv /dev/null");
    assert_null(strstr(run.err, "are one file"));
    empty_folder();
}

/* Names that are wrong are found after the files were opened. */
static void run_that_comes_to_nothing_leaves_no_files(void **state)
{
    (void)state;
    char line[640];
    write_text("old.csv", "kept");
    snprintf(line, sizeof(line),
             "pollux bench uring --with ' ' --json %s/new.json --csv %s/old.csv --hgrm %s/new",
             folder, folder, folder);
    plx_run_line(&run, line);
    plx_run_expect(&run, 2, NULL, "the command is empty");
    assert_false(exists("new.json"));
    assert_false(exists("new"));
    assert_true(exists("old.csv"));
    snprintf(line, sizeof(line), SHORT " --json %s/new.json --csv %s/none/x.csv", folder, folder);
    plx_run_line(&run, line);
    plx_run_expect(&run, 1, NULL, "No such file");
    assert_false(exists("new.json"));
    /* What was measured is there. */
    snprintf(line, sizeof(line), SHORT " --json %s/new.json --hgrm %s/new", folder, folder);
    plx_run_line(&run, line);
    assert_true(exists("new.json"));
    assert_true(exists("new"));
    empty_folder();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(outputs_that_are_one_file_are_a_usage_error),
        cmocka_unit_test(run_that_comes_to_nothing_leaves_no_files),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
