/* SPDX-License-Identifier: MIT */
/* Sleep and wake as a model under spin: no message is slept on, and each mutation is rejected. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ONE_SLEEPS "test/model/wake.pml"
#define BOTH_SLEEP "test/model/wake_pair.pml"
#define STOPPED    "test/model/wake_stop.pml"

struct verdict {
    unsigned long long errors;
    double states;
    char end[128]; /* what spin calls the error */
};

static int remove_one(const char *path, const struct stat *facts, int kind, struct FTW *at)
{
    (void)facts;
    (void)kind;
    (void)at;
    return remove(path);
}

/* Walks all states of the model with `mutation` ("" or "-DNAME"), in a folder of its own. */
static struct verdict check(const char *model, const char *mutation)
{
    char folder[] = "/tmp/pollux-spin-XXXXXX";
    assert_non_null(mkdtemp(folder));
    char here[4096];
    assert_non_null(getcwd(here, sizeof(here)));
    char command[8192];
    snprintf(command, sizeof(command),
             "cd %s && spin -a %s %s/%s 2>&1 && ${CC:-cc} -O1 -w -DSAFETY -o pan pan.c 2>&1 && "
             "./pan -m100000 2>&1",
             folder, mutation, here, model);
    FILE *out = popen(command, "re");
    assert_non_null(out);
    struct verdict verdict = {.errors = 99};
    char line[512];
    while (fgets(line, sizeof(line), out) != NULL) {
        char *errors = strstr(line, "errors: ");
        if (errors != NULL)
            verdict.errors = strtoull(errors + 8, NULL, 10);
        if (strstr(line, "states, stored") != NULL)
            verdict.states = strtod(line, NULL);
        if (strncmp(line, "pan:1: ", 7) == 0)
            snprintf(verdict.end, sizeof(verdict.end), "%.100s", line + 7);
    }
    int status = pclose(out);
    nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    if (verdict.errors == 99)
        fail_msg("spin said nothing (status %d) with '%s'", status, mutation);
    return verdict;
}

static void need_spin(void)
{
    if (system("command -v spin > /dev/null 2>&1") != 0 || access(ONE_SLEEPS, R_OK) != 0) {
        print_message("skipped: spin(1) is not installed, or this is not the project's folder\n");
        skip();
    }
}

static void wake_in_every_interleaving_is_not_lost(void **state)
{
    (void)state;
    need_spin();
    /* A model that is cut short by mistake has few states. */
    static const struct {
        const char *path;
        double states_min;
    } models[] = {{ONE_SLEEPS, 100000}, {BOTH_SLEEP, 10000}, {STOPPED, 100}};
    for (size_t i = 0; i < sizeof(models) / sizeof(*models); i++) {
        struct verdict verdict = check(models[i].path, "");
        if (verdict.errors != 0)
            fail_msg("%s: %s", models[i].path, verdict.end);
        assert_true(verdict.states > models[i].states_min);
        print_message("  %s: %.0f states, all of them walked\n", models[i].path, verdict.states);
    }
}

static void protocol_with_a_step_left_out_is_rejected(void **state)
{
    (void)state;
    need_spin();
    static const struct {
        const char *model;
        const char *mutation;
    } mutants[] = {
        {ONE_SLEEPS, "-DNO_SENDER_FENCE"},
        {ONE_SLEEPS, "-DNO_SLEEPER_FENCE"},
        {ONE_SLEEPS, "-DNO_SECOND_LOOK"},
        {ONE_SLEEPS, "-DNO_ANNOUNCE"},
        {BOTH_SLEEP, "-DNO_ROUSE -DNO_LATE_ROUSE"},
        {BOTH_SLEEP, "-DNO_LATE_ROUSE"},
        {BOTH_SLEEP, "-DNO_FENCE"},
        {STOPPED, "-DNO_STOP_FENCE"},
        {STOPPED, "-DNO_SLEEPER_FENCE"},
        {STOPPED, "-DNO_SECOND_LOOK"},
        {STOPPED, "-DNO_ANNOUNCE"},
        {STOPPED, "-DNO_LIFE"},
    };
    for (size_t i = 0; i < sizeof(mutants) / sizeof(*mutants); i++) {
        struct verdict verdict = check(mutants[i].model, mutants[i].mutation);
        if (verdict.errors == 0 || strstr(verdict.end, "invalid end state") == NULL)
            fail_msg("%s was not rejected (%s)", mutants[i].mutation, verdict.end);
        print_message("  %s: rejected after %.0f states\n", mutants[i].mutation + 2,
                      verdict.states);
    }
}

int main(void)
{
    const struct CMUnitTest cases[] = {
        cmocka_unit_test(wake_in_every_interleaving_is_not_lost),
        cmocka_unit_test(protocol_with_a_step_left_out_is_rejected),
    };
    return cmocka_run_group_tests(cases, NULL, NULL);
}
