/* SPDX-License-Identifier: MIT */
/* The pollux command as its users see it: what it prints, where, and how it ends. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "runtime/settings/settings.h"
#include "test/deny.h"
#include "test/tools/run_pollux.h"

/* Too large for a stack, and one case runs at a time. */
static struct plx_run run;

struct line {
    const char *line;
    int status;
    const char *out;
    const char *err;
};

static void check_lines(const struct line *lines, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        plx_run_line(&run, lines[i].line);
        plx_run_expect(&run, lines[i].status, lines[i].out, lines[i].err);
        if (lines[i].status == 2)
            assert_string_equal(run.out, "");
    }
}

#define CHECK_LINES(lines) check_lines(lines, sizeof(lines) / sizeof(lines[0]))

/* --- help and usage -------------------------------------------------------------------------- */

static void help_of_every_command_has_examples_and_ends_well(void **state)
{
    (void)state;
    static const struct line lines[] = {
        {"pollux --help", 0, "examples\n", NULL},
        {"pollux -h", 0, "usage: pollux COMMAND", NULL},
        {"pollux help", 0, "commands\n", NULL},
        {"pollux topo --help", 0, "examples\n  pollux topo", NULL},
        {"pollux env -h", 0, "examples\n  pollux env", NULL},
    };
    CHECK_LINES(lines);
    assert_string_equal(run.err, "");
}

static void version_is_that_of_the_library(void **state)
{
    (void)state;
    char text[64];
    snprintf(text, sizeof(text), "pollux %d.%d.%d\n", PLX_VERSION_MAJOR, PLX_VERSION_MINOR,
             PLX_VERSION_PATCH);
    plx_run_line(&run, "pollux --version");
    plx_run_expect(&run, 0, NULL, NULL);
    assert_string_equal(run.out, text);
}

static void usage_errors_end_with_2_and_name_what_is_wrong(void **state)
{
    (void)state;
    static const struct line lines[] = {
        {"pollux", 2, NULL, "usage: pollux COMMAND"},
        {"pollux tpo", 2, NULL, "unknown command 'tpo'; did you mean topo?"},
        {"pollux nothing-like-it", 2, NULL, "unknown command 'nothing-like-it'\n"},
        {"pollux --nothing", 2, NULL, "unknown option '--nothing'"},
        {"pollux topo --jsn", 2, NULL, "unknown option --jsn; did you mean --json?"},
        {"pollux topo word", 2, NULL, "takes no argument: 'word'"},
        {"pollux env --bogus", 2, NULL, "See pollux env --help."},
        {"pollux env --json=1", 2, NULL, "--json takes no value"},
    };
    CHECK_LINES(lines);
}

static void output_that_cannot_be_written_is_an_error(void **state)
{
    (void)state;
    const char *words[] = {"sh", "-c", "\"$0\" env >/dev/full", plx_run_binary(), NULL};
    plx_run_begin(&run, words, NULL);
    plx_run_end(&run);
    plx_run_expect(&run, 1, NULL, "standard output");
}

/* --- env ------------------------------------------------------------------------------------- */

static size_t count_lines(const char *text)
{
    size_t count = 0;
    for (; *text != '\0'; text++)
        count += *text == '\n';
    return count;
}

static void env_prints_every_setting_in_aligned_columns(void **state)
{
    (void)state;
    plx_run_line(&run, "POLLUX_SQPOLL=off pollux env");
    plx_run_expect(&run, 0, "POLLUX_ARENA_SIZE", NULL);
    assert_int_equal(count_lines(run.out), PLX_SETTING_COUNT + 1);
    assert_string_equal(run.err, "");

    size_t column = (size_t)(strstr(run.out, "value") - run.out);
    for (const char *line = run.out; *line != '\0'; line = strchr(line, '\n') + 1) {
        assert_true(strcspn(line, "\n") > column);
        assert_int_equal(line[column - 1], ' ');
        assert_int_not_equal(line[column], ' ');
    }
    plx_run_expect(&run, 0, "off      environment  auto ", NULL);
}

static void env_with_names_prints_those_alone(void **state)
{
    (void)state;
    plx_run_line(&run, "POLLUX_SQPOLL=off pollux env POLLUX_SQPOLL idle sqpoll");
    plx_run_expect(&run, 0, "POLLUX_SQPOLL  off    environment", NULL);
    assert_int_equal(count_lines(run.out), 3);
    assert_non_null(strstr(run.out, "POLLUX_IDLE "));
}

static void env_unknown_name_is_a_usage_error_with_the_nearest(void **state)
{
    (void)state;
    static const struct line lines[] = {
        {"pollux env sqpol", 2, NULL, "did you mean sqpoll"},
        {"pollux env nothing_like_it", 2, NULL, "nothing_like_it"},
    };
    CHECK_LINES(lines);
}

static void env_bad_value_ends_with_2_and_says_what_was_expected(void **state)
{
    (void)state;
    static const struct line lines[] = {
        {"POLLUX_SQPOLL=perhaps pollux env", 2, NULL, "POLLUX_SQPOLL=\"perhaps\""},
        {"POLLUX_ARENA_SIZE=7 pollux env", 2, NULL, "POLLUX_ARENA_SIZE"},
        {"POLLUX_SQPOLL=perhaps pollux topo", 2, NULL, "auto|on|off"},
    };
    CHECK_LINES(lines);
}

static void env_unknown_variable_is_a_warning_with_the_nearest(void **state)
{
    (void)state;
    plx_run_line(&run, "POLLUX_SQPOL=on pollux env sqpoll");
    plx_run_expect(&run, 0, "POLLUX_SQPOLL  auto", "did you mean POLLUX_SQPOLL?");
    assert_int_equal(count_lines(run.err), 1);
}

static void env_unknown_variable_under_strict_is_an_error(void **state)
{
    (void)state;
    static const struct line lines[] = {
        {"POLLUX_STRICT=1 POLLUX_SQPOL=on pollux env", 2, NULL, "POLLUX_SQPOL "},
        {"POLLUX_STRICT=1 POLLUX_SQPOL=on pollux topo", 2, NULL, "did you mean POLLUX_SQPOLL?"},
    };
    CHECK_LINES(lines);
}

static void env_defaults_ignores_the_environment(void **state)
{
    (void)state;
    plx_run_line(&run, "POLLUX_SQPOLL=perhaps POLLUX_IDLE=yield pollux env --defaults idle");
    plx_run_expect(&run, 0, "auto   default", NULL);
    assert_null(strstr(run.out, "environment"));
    assert_string_equal(run.err, "");
}

/* Parses standard output, whole, as JSON. The caller gives the object back. */
static json_t *parse_output(void)
{
    json_error_t error;
    json_t *all = json_loads(run.out, 0, &error);
    if (all == NULL)
        fail_msg("line %d: %s\n%s", error.line, error.text, run.out);
    return all;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "(none)";
}

static void env_json_holds_every_setting(void **state)
{
    (void)state;
    plx_run_line(&run, "POLLUX_ARENA_SIZE=32M pollux env --json");
    plx_run_expect(&run, 0, NULL, NULL);
    json_t *all = parse_output();
    assert_int_equal(json_object_size(all), PLX_SETTING_COUNT);
    const json_t *arena = json_object_get(all, "arena_size");
    assert_string_equal(text_of(arena, "value"), "32M");
    assert_string_equal(text_of(arena, "source"), "environment");
    assert_string_equal(text_of(arena, "default"), "64M");
    json_decref(all);

    plx_run_line(&run, "pollux env --json idle sqpoll");
    plx_run_expect(&run, 0, NULL, NULL);
    all = parse_output();
    assert_int_equal(json_object_size(all), 2);
    assert_string_equal(text_of(json_object_get(all, "idle"), "source"), "default");
    json_decref(all);
}

/* --- topo ------------------------------------------------------------------------------------ */

static void topo_of_this_system_starts_the_reactors(void **state)
{
    (void)state;
    plx_run_line(&run, "POLLUX_REACTORS=1 POLLUX_ARENA_SIZE=16M pollux topo");
    plx_run_expect(&run, 0, "machine: this system", NULL);
    plx_run_expect(&run, 0, "plan: 1 reactor ", NULL);
    plx_run_expect(&run, 0, "idle turns: ", NULL);
    plx_run_expect(&run, 0, "reactor 0: cpu ", NULL);
    plx_run_expect(&run, 0, "started and stopped: ", NULL);
}

static void topo_of_another_machine_plans_and_starts_nothing(void **state)
{
    (void)state;
    plx_run_line(&run, "'HWLOC_SYNTHETIC=numa:2 core:4 pu:2' pollux topo");
    plx_run_expect(&run, 0, "machine: synthetic, 16 CPUs on 8 cores", NULL);
    plx_run_expect(&run, 0, "plan: 6 reactors and 2 SQ threads", NULL);
    plx_run_expect(&run, 0, "SMT sibling of cpu 0", NULL);
    plx_run_expect(&run, 0, "nothing was started, since the machine above (synthetic)", NULL);
}

static void topo_tells_what_was_not_got(void **state)
{
    (void)state;
    /* An arena of 1 MiB cannot have pages of 2 MiB, whatever the host. */
    plx_run_line(&run, "POLLUX_REACTORS=1 POLLUX_BACKEND=epoll POLLUX_ARENA_SIZE=1M pollux topo");
    plx_run_expect(&run, 0, "epoll", NULL);
    plx_run_expect(&run, 0, "asked for and not got", NULL);
}

static void topo_settings_that_the_machine_cannot_honour_end_with_2(void **state)
{
    (void)state;
    static const struct line lines[] = {
        {"POLLUX_CPUS=1000 pollux topo", 2, NULL, "POLLUX_CPUS names CPU 1000"},
        {"POLLUX_REACTORS=200 'HWLOC_SYNTHETIC=numa:1 core:4 pu:1' pollux topo", 2, NULL,
         "POLLUX_REACTORS"},
        {"HWLOC_SYNTHETIC=nonsense pollux topo", 2, NULL, "HWLOC_SYNTHETIC"},
        {"HWLOC_XMLFILE=/nowhere.xml pollux topo", 2, NULL, "HWLOC_XMLFILE"},
    };
    CHECK_LINES(lines);
}

static void topo_reactors_that_cannot_start_end_with_1_after_the_plan(void **state)
{
    (void)state;
    if (sysconf(_SC_NPROCESSORS_ONLN) < 2) {
        print_message("there is one CPU, and the rings between two reactors are to be too large\n");
        skip();
    }
    plx_run_line(&run, "POLLUX_REACTORS=2 POLLUX_SQPOLL=off POLLUX_ARENA_SIZE=1M "
                       "POLLUX_MESH_SLOTS=65536 pollux topo");
    plx_run_expect(&run, 1, "plan: 2 reactors ", "POLLUX_ARENA_SIZE");
    plx_run_expect(&run, 1, "host: the reactors could not be started", NULL);
    plx_run_line(&run, "POLLUX_REACTORS=2 POLLUX_SQPOLL=off POLLUX_ARENA_SIZE=1M "
                       "POLLUX_MESH_SLOTS=65536 pollux topo --json");
    plx_run_expect(&run, 1, "\"started\": false", "POLLUX_ARENA_SIZE");
}

static void topo_features_are_a_table_with_reasons(void **state)
{
    (void)state;
    plx_run_line(&run, "POLLUX_SQPOLL=off pollux topo --features");
    plx_run_expect(&run, 0, "io_uring of Linux ", NULL);
    plx_run_expect(&run, 0, "POLLUX_SQPOLL is off", NULL);
    plx_run_expect(&run, 0, "MSG_ERRQUEUE instead", NULL);
    plx_run_line(&run, "pollux topo --features --json");
    plx_run_expect(&run, 0, NULL, NULL);
    json_t *all = parse_output();
    const json_t *features = json_object_get(all, "features");
    const json_t *rows = json_object_get(features, "rows");
    assert_true(json_array_size(rows) > 20);
    assert_string_equal(text_of(json_array_get(rows, 0), "name"), "IO_URING");
    assert_string_equal(text_of(json_array_get(rows, 0), "asked"), "yes");
    json_decref(all);
}

static int features_without_io_uring(int error)
{
    plx_run_line(&run, "pollux topo --features");
    if (run.status != 0 || strstr(run.out, "refused, by io_uring_setup") == NULL)
        return 1;
    return strstr(run.out, strerror(error)) != NULL ? 0 : 2;
}

static void topo_features_where_io_uring_is_denied_say_so_and_why(void **state)
{
    (void)state;
    assert_int_equal(deny_in_child(SYS_io_uring_setup, EPERM, features_without_io_uring), 0);
}

static void topo_json_holds_machine_plan_and_host(void **state)
{
    (void)state;
    plx_run_line(&run, "POLLUX_REACTORS=1 POLLUX_ARENA_SIZE=16M pollux topo --json");
    plx_run_expect(&run, 0, NULL, NULL);
    json_t *all = parse_output();
    assert_int_equal(json_integer_value(json_object_get(all, "schema")), 1);
    const json_t *machine = json_object_get(all, "machine");
    assert_string_equal(text_of(machine, "source"), "this system");
    assert_true(json_array_size(json_object_get(machine, "cpus")) > 0);
    const json_t *plan = json_object_get(all, "plan");
    assert_int_equal(json_array_size(json_object_get(plan, "reactors")), 1);
    const json_t *host = json_object_get(all, "host");
    assert_true(json_is_true(json_object_get(host, "started")));
    assert_true(json_is_null(json_object_get(host, "error")));
    const json_t *reactor = json_array_get(json_object_get(host, "reactors"), 0);
    assert_string_not_equal(text_of(reactor, "mode"), "(none)");
    assert_int_equal(json_integer_value(json_object_get(reactor, "arena_bytes")), 16 << 20);
    assert_true(json_array_size(json_object_get(reactor, "lines")) > 0);
    assert_true(json_is_object(json_object_get(all, "features")));
    json_decref(all);

    plx_run_line(&run, "'HWLOC_SYNTHETIC=numa:2 core:4 pu:2' pollux topo --json");
    plx_run_expect(&run, 0, NULL, NULL);
    all = parse_output();
    plan = json_object_get(all, "plan");
    assert_int_equal(json_array_size(json_object_get(plan, "reactors")), 6);
    assert_int_equal(json_array_size(json_object_get(plan, "others")), 10);
    host = json_object_get(all, "host");
    assert_true(json_is_false(json_object_get(host, "started")));
    assert_string_equal(text_of(host, "error"), "the machine is not this one");
    json_decref(all);
}

/* --- colour ---------------------------------------------------------------------------------- */

static void output_on_a_pipe_has_no_colour(void **state)
{
    (void)state;
    plx_run_line(&run, "TERM=xterm pollux --help");
    plx_run_expect(&run, 0, "usage", NULL);
    assert_null(strchr(run.out, '\033'));
    plx_run_line(&run, "TERM=xterm pollux nothing");
    assert_null(strchr(run.err, '\033'));
}

/* script(1) gives the command a terminal. */
static void output_on_a_terminal_has_colour_unless_no_color(void **state)
{
    (void)state;
    char command[4200];
    snprintf(command, sizeof(command), "%s --help", plx_run_binary());
    const char *coloured[] = {"TERM=xterm", "script", "-qec", command, "/dev/null", NULL};
    plx_run_begin(&run, coloured, NULL);
    plx_run_end(&run);
    if (run.status == 127) {
        print_message("script(1) is not installed\n");
        skip();
    }
    plx_run_expect(&run, 0, "\033[1mcommands\033[0m", NULL);

    const char *plain[] = {"TERM=xterm", "NO_COLOR=1", "script", "-qec",
                           command,      "/dev/null",  NULL};
    plx_run_begin(&run, plain, NULL);
    plx_run_end(&run);
    plx_run_expect(&run, 0, "commands", NULL);
    assert_null(strstr(run.out, "\033["));
}

static int end_child(void **state)
{
    (void)state;
    plx_run_kill(&run);
    return 0;
}

#define CASE(function) cmocka_unit_test_teardown(function, end_child)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(help_of_every_command_has_examples_and_ends_well),
        CASE(version_is_that_of_the_library),
        CASE(usage_errors_end_with_2_and_name_what_is_wrong),
        CASE(output_that_cannot_be_written_is_an_error),
        CASE(env_prints_every_setting_in_aligned_columns),
        CASE(env_with_names_prints_those_alone),
        CASE(env_unknown_name_is_a_usage_error_with_the_nearest),
        CASE(env_bad_value_ends_with_2_and_says_what_was_expected),
        CASE(env_unknown_variable_is_a_warning_with_the_nearest),
        CASE(env_unknown_variable_under_strict_is_an_error),
        CASE(env_defaults_ignores_the_environment),
        CASE(env_json_holds_every_setting),
        CASE(topo_of_this_system_starts_the_reactors),
        CASE(topo_of_another_machine_plans_and_starts_nothing),
        CASE(topo_tells_what_was_not_got),
        CASE(topo_settings_that_the_machine_cannot_honour_end_with_2),
        CASE(topo_reactors_that_cannot_start_end_with_1_after_the_plan),
        CASE(topo_features_are_a_table_with_reasons),
        CASE(topo_features_where_io_uring_is_denied_say_so_and_why),
        CASE(topo_json_holds_machine_plan_and_host),
        CASE(output_on_a_pipe_has_no_colour),
        CASE(output_on_a_terminal_has_colour_unless_no_color),
    };
    if (access(plx_run_binary(), X_OK) != 0) {
        fprintf(stderr, "%s: %s: build it first\n", plx_run_binary(), strerror(errno));
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
