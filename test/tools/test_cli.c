/* SPDX-License-Identifier: MIT */
#include "tools/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* --- what is printed, kept ------------------------------------------------------------------- */

struct capture {
    FILE *stream;
    char *text;
    size_t bytes;
};

static void capture_begin(struct capture *capture)
{
    capture->stream = open_memstream(&capture->text, &capture->bytes);
    assert_non_null(capture->stream);
}

static const char *capture_text(struct capture *capture)
{
    fflush(capture->stream);
    return capture->text;
}

static void capture_end(struct capture *capture)
{
    fclose(capture->stream);
    free(capture->text);
}

/* Standard error of what is called between, kept in a file. */
static int saved_stderr;
static FILE *errors;

static void errors_begin(void)
{
    fflush(stderr);
    errors = tmpfile();
    assert_non_null(errors);
    saved_stderr = dup(STDERR_FILENO);
    assert_true(saved_stderr >= 0);
    assert_true(dup2(fileno(errors), STDERR_FILENO) >= 0);
}

static void errors_end(char *text, size_t bytes)
{
    fflush(stderr);
    assert_true(dup2(saved_stderr, STDERR_FILENO) >= 0);
    close(saved_stderr);
    rewind(errors);
    size_t length = fread(text, 1, bytes - 1, errors);
    text[length] = '\0';
    fclose(errors);
}

/* --- values ---------------------------------------------------------------------------------- */

static void count_within_its_range_is_read(void **state)
{
    (void)state;
    uint64_t value = 7;
    assert_true(plx_cli_read_count("0", 0, 10, &value));
    assert_int_equal(value, 0);
    assert_true(plx_cli_read_count("18446744073709551615", 0, UINT64_MAX, &value));
    assert_true(value == UINT64_MAX);
}

static void count_malformed_or_outside_is_refused_and_keeps_the_value(void **state)
{
    (void)state;
    static const char *const bad[] = {"",   " 1",   "1 ", "-1",  "+1",
                                      "1x", "0x10", "11", "1.5", "18446744073709551616"};
    uint64_t value = 7;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(plx_cli_read_count(bad[i], 0, 10, &value));
    assert_false(plx_cli_read_count("1", 2, 10, &value));
    assert_int_equal(value, 7);
}

static void size_with_every_unit_is_read(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {{"64", 64},      {"64B", 64},     {"4K", 4096},
                {"4k", 4096},    {"4KB", 4096},   {"4KiB", 4096},
                {"2M", 2 << 20}, {"1G", 1 << 30}, {"3T", UINT64_C(3) << 40}};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        uint64_t value = 0;
        assert_true(plx_cli_read_size(good[i].text, 0, UINT64_MAX, &value));
        assert_true(value == good[i].bytes);
    }
}

static void size_malformed_or_too_large_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "K", "4Q", "4KK", "4iB", "4 K", "18446744073709551615K"};
    uint64_t value;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(plx_cli_read_size(bad[i], 0, UINT64_MAX, &value));
    assert_false(plx_cli_read_size("2K", 0, 2047, &value));
}

static void duration_with_every_unit_is_read(void **state)
{
    (void)state;
    uint64_t value = 1;
    assert_true(plx_cli_read_duration("0", 0, UINT64_MAX, &value));
    assert_int_equal(value, 0);
    assert_true(plx_cli_read_duration("5ns", 0, UINT64_MAX, &value));
    assert_int_equal(value, 5);
    assert_true(plx_cli_read_duration("5us", 0, UINT64_MAX, &value));
    assert_int_equal(value, 5000);
    assert_true(plx_cli_read_duration("5MS", 0, UINT64_MAX, &value));
    assert_int_equal(value, 5000000);
    assert_true(plx_cli_read_duration("5s", 0, UINT64_MAX, &value));
    assert_true(value == UINT64_C(5000000000));
}

static void duration_without_unit_or_outside_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "5", "5m", "s", "5 s", "18446744073709551615s"};
    uint64_t value;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(plx_cli_read_duration(bad[i], 0, UINT64_MAX, &value));
    assert_false(plx_cli_read_duration("2s", 0, 1000000000, &value));
}

static void choice_is_found_by_whole_word_in_either_case(void **state)
{
    (void)state;
    assert_int_equal(plx_cli_read_choice("ring", "ring|spin"), 0);
    assert_int_equal(plx_cli_read_choice("SPIN", "ring|spin"), 1);
    assert_int_equal(plx_cli_read_choice("rin", "ring|spin"), -1);
    assert_int_equal(plx_cli_read_choice("rings", "ring|spin"), -1);
    assert_int_equal(plx_cli_read_choice("", "ring|spin"), -1);
}

static void nearest_word_is_found_and_a_far_one_is_not(void **state)
{
    (void)state;
    static const char *const words[] = {"topo", "env", "echo", "a-word-as-long-as-forty-letters-is",
                                        NULL};
    assert_string_equal(plx_cli_nearest("tpo", words), "topo");
    assert_string_equal(plx_cli_nearest("ehco", words), "echo");
    assert_null(plx_cli_nearest("benchmark", words));
    assert_null(plx_cli_nearest("", words));
}

/* --- options --------------------------------------------------------------------------------- */

struct values {
    bool json;
    const char *addr;
    uint64_t port;
    uint64_t size;
    uint64_t within_ns;
    int mode;
};

/* Parses a line of words that ends with NULL. Returns the status, stderr in `text`. */
static int parse(struct values *values, const char *arguments, char **words, int *count, char *text,
                 size_t bytes)
{
    const struct plx_cli_option options[] = {
        {.name = "json",
         .letter = 'j',
         .help = "print JSON",
         .kind = PLX_CLI_FLAG,
         .into = &values->json},
        {.name = "addr",
         .value = "A",
         .help = "where",
         .kind = PLX_CLI_TEXT,
         .into = &values->addr},
        {.name = "port",
         .letter = 'p',
         .value = "N",
         .help = "which",
         .kind = PLX_CLI_COUNT,
         .into = &values->port,
         .max = 65535},
        {.name = "size",
         .value = "N",
         .help = "bytes",
         .kind = PLX_CLI_SIZE,
         .into = &values->size,
         .min = 1,
         .max = 1 << 20},
        {.name = "within",
         .value = "T",
         .help = "time",
         .kind = PLX_CLI_DURATION,
         .into = &values->within_ns,
         .max = 1000000000},
        {.name = "mode",
         .value = "ring|spin",
         .help = "how",
         .kind = PLX_CLI_CHOICE,
         .into = &values->mode,
         .choices = "ring|spin"},
        {0},
    };
    const struct plx_cli_command command = {.name = "pollux test",
                                            .arguments = arguments,
                                            .summary = "Tests.",
                                            .options = options,
                                            .examples = "pollux test"};
    int argc = 0;
    while (words[argc] != NULL)
        argc++;
    errors_begin();
    int status = plx_cli_parse(&command, argc, words, count);
    errors_end(text, bytes);
    return status;
}

static void options_of_every_kind_are_read_between_arguments(void **state)
{
    (void)state;
    struct values values = {0};
    int count = 0;
    char text[512];
    char *words[] = {"test",   "one",  "--port", "80", "--size=16K", "-j", "--within", "5ms",
                     "--mode", "spin", "--addr", "",   "-",          "--", "-p",       NULL};
    assert_int_equal(parse(&values, "[NAME...]", words, &count, text, sizeof(text)), -1);
    assert_string_equal(text, "");
    assert_true(values.json);
    assert_string_equal(values.addr, "");
    assert_int_equal(values.port, 80);
    assert_int_equal(values.size, 16384);
    assert_int_equal(values.within_ns, 5000000);
    assert_int_equal(values.mode, 1);
    assert_int_equal(count, 3);
    assert_string_equal(words[1], "one");
    assert_string_equal(words[2], "-");
    assert_string_equal(words[3], "-p");
}

static void letter_takes_the_next_word_as_its_value(void **state)
{
    (void)state;
    struct values values = {0};
    int count = 0;
    char text[512];
    char *words[] = {"test", "-p", "8080", NULL};
    assert_int_equal(parse(&values, "", words, &count, text, sizeof(text)), -1);
    assert_int_equal(values.port, 8080);
}

/* Each line of words is refused with status 2 and a text that holds `expected`. */
static void options_wrong_are_usage_errors_that_name_them(void **state)
{
    (void)state;
    static const struct {
        char *words[4];
        const char *expected;
    } lines[] = {
        {{"test", "--jsn"}, "unknown option --jsn; did you mean --json?"},
        {{"test", "--nothing-like-it=1"}, "unknown option --nothing-like-it\n"},
        {{"test", "-x"}, "unknown option -x"},
        {{"test", "--json=yes"}, "--json takes no value"},
        {{"test", "--port"}, "--port needs a value: N"},
        {{"test", "--port", "65536"}, "--port: '65536' is not a number from 0 to 65535"},
        {{"test", "--size", "2M"}, "--size: '2M' is not a size from 1 B to 1 MiB"},
        {{"test", "--within=2s"}, "--within: '2s' is not a duration from 0 ns to 1 s"},
        {{"test", "--mode=both"}, "--mode: 'both' is not one of ring|spin"},
        {{"test", "word"}, "takes no argument: 'word'"},
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct values values = {0};
        int count = 0;
        char text[512];
        char *words[4];
        memcpy(words, lines[i].words, sizeof(words));
        assert_int_equal(parse(&values, "", words, &count, text, sizeof(text)), 2);
        if (strstr(text, lines[i].expected) == NULL)
            fail_msg("expected \"%s\" in \"%s\"", lines[i].expected, text);
        assert_non_null(strstr(text, "See pollux test --help."));
    }
}

static void help_names_every_option_and_the_examples(void **state)
{
    (void)state;
    const struct plx_cli_option options[] = {
        {.name = "port", .letter = 'p', .value = "N", .help = "which", .kind = PLX_CLI_COUNT},
        {0},
    };
    const struct plx_cli_command command = {.name = "pollux test",
                                            .arguments = "[NAME...]",
                                            .summary = "Tests.",
                                            .options = options,
                                            .details = "More.",
                                            .examples = "pollux test one\npollux test two"};
    struct capture capture;
    capture_begin(&capture);
    plx_cli_help(&command, capture.stream);
    assert_string_equal(capture_text(&capture), "usage: pollux test [options] [NAME...]\n"
                                                "\n"
                                                "Tests.\n"
                                                "\n"
                                                "options\n"
                                                "  -p, --port N  which\n"
                                                "  -h, --help    print this and end\n"
                                                "\n"
                                                "More.\n"
                                                "\n"
                                                "examples\n"
                                                "  pollux test one\n"
                                                "  pollux test two\n");
    capture_end(&capture);
}

/* --- errors ---------------------------------------------------------------------------------- */

static void diag_is_printed_with_what_it_is_about_once(void **state)
{
    (void)state;
    struct plx_diag diag;
    char text[512];
    plx_diag_set(&diag, -EINVAL, "POLLUX_CPUS", "no list");
    errors_begin();
    plx_cli_diag("pollux test", &diag);
    errors_end(text, sizeof(text));
    assert_string_equal(text, "pollux test: POLLUX_CPUS: no list\n");

    plx_diag_set(&diag, -EINVAL, "POLLUX_CPUS", "POLLUX_CPUS is empty");
    errors_begin();
    plx_cli_diag("pollux test", &diag);
    errors_end(text, sizeof(text));
    assert_string_equal(text, "pollux test: POLLUX_CPUS is empty\n");
}

static void settings_bad_value_is_told_and_ends_with_usage(void **state)
{
    (void)state;
    struct plx_settings settings;
    char text[512];
    setenv("POLLUX_SQPOLL", "perhaps", 1);
    errors_begin();
    int status = plx_cli_settings("pollux test", &settings);
    errors_end(text, sizeof(text));
    unsetenv("POLLUX_SQPOLL");
    assert_int_equal(status, PLX_EXIT_USAGE);
    assert_non_null(strstr(text, "POLLUX_SQPOLL"));
    assert_non_null(strstr(text, "perhaps"));
    assert_int_equal(plx_cli_settings("pollux test", &settings), -1);
}

static void exit_of_an_error_tells_settings_from_the_host(void **state)
{
    (void)state;
    assert_int_equal(plx_cli_exit_of(-EINVAL), PLX_EXIT_USAGE);
    assert_int_equal(plx_cli_exit_of(-ENOSPC), PLX_EXIT_USAGE);
    assert_int_equal(plx_cli_exit_of(-EOPNOTSUPP), PLX_EXIT_USAGE);
    assert_int_equal(plx_cli_exit_of(-ENOMEM), PLX_EXIT_FAILED);
    assert_int_equal(plx_cli_exit_of(-ENODEV), PLX_EXIT_FAILED);
}

/* --- output ---------------------------------------------------------------------------------- */

static void table_columns_are_aligned_without_trailing_spaces(void **state)
{
    (void)state;
    struct capture capture;
    struct plx_cli_table table;
    capture_begin(&capture);
    plx_cli_table_init(&table, "lrl", capture.stream);
    static const char *const cells[] = {"name", "ns",       "note", "a", "1250",
                                        "é",    "long one", "7",    ""};
    for (size_t i = 0; i < sizeof(cells) / sizeof(cells[0]); i++)
        plx_cli_table_add(&table, "%s", cells[i]);
    assert_int_equal(plx_cli_table_print(&table, capture.stream, 2), 0);
    plx_cli_table_fini(&table);
    assert_string_equal(capture_text(&capture), "  name        ns  note\n"
                                                "  a         1250  é\n"
                                                "  long one     7  \n");
    capture_end(&capture);
}

static void table_last_column_is_wrapped_at_the_width(void **state)
{
    (void)state;
    struct capture capture;
    struct plx_cli_table table;
    capture_begin(&capture);
    plx_cli_table_init(&table, "ll", capture.stream);
    table.width = 34;
    plx_cli_table_add(&table, "key");
    plx_cli_table_add(&table, "words that do not fit into one line");
    assert_int_equal(plx_cli_table_print(&table, capture.stream, 1), 0);
    plx_cli_table_fini(&table);
    assert_string_equal(capture_text(&capture), " key  words that do not fit into\n"
                                                "      one line\n");
    capture_end(&capture);
}

static void table_last_column_without_room_is_put_below(void **state)
{
    (void)state;
    struct capture capture;
    struct plx_cli_table table;
    capture_begin(&capture);
    plx_cli_table_init(&table, "ll", capture.stream);
    table.width = 30;
    plx_cli_table_add(&table, "a wide column");
    plx_cli_table_add(&table, "words that do not fit into one line");
    assert_int_equal(plx_cli_table_print(&table, capture.stream, 1), 0);
    plx_cli_table_fini(&table);
    assert_string_equal(capture_text(&capture), " a wide column\n"
                                                "     words that do not fit\n"
                                                "     into one line\n");
    capture_end(&capture);
}

static void table_that_lost_a_cell_is_not_printed(void **state)
{
    (void)state;
    struct capture capture;
    struct plx_cli_table table;
    capture_begin(&capture);
    plx_cli_table_init(&table, "l", capture.stream);
    plx_cli_table_add(&table, "cell");
    table.failed = true;
    assert_int_equal(plx_cli_table_print(&table, capture.stream, 0), -ENOMEM);
    plx_cli_table_fini(&table);
    assert_string_equal(capture_text(&capture), "");
    capture_end(&capture);
}

static void numbers_are_printed_in_the_unit_that_suits_them(void **state)
{
    (void)state;
    char text[PLX_CLI_NUMBER_BYTES];
    assert_string_equal(plx_cli_format_bytes(0, text), "0 B");
    assert_string_equal(plx_cli_format_bytes(1023, text), "1023 B");
    assert_string_equal(plx_cli_format_bytes(64 << 20, text), "64 MiB");
    assert_string_equal(plx_cli_format_bytes(1536, text), "1.5 KiB");
    assert_string_equal(plx_cli_format_bytes(UINT64_C(1) << 60, text), "1 EiB");
    assert_string_equal(plx_cli_format_ns(0, text), "0 ns");
    assert_string_equal(plx_cli_format_ns(999, text), "999 ns");
    assert_string_equal(plx_cli_format_ns(1250, text), "1.25 us");
    assert_string_equal(plx_cli_format_ns(12500, text), "12.5 us");
    assert_string_equal(plx_cli_format_ns(999960, text), "1.00 ms");
    assert_string_equal(plx_cli_format_ns(UINT64_C(90000000000), text), "90 s");
    assert_string_equal(plx_cli_format_count(9999, text), "9999");
    assert_string_equal(plx_cli_format_count(123456, text), "123.5 k");
    assert_string_equal(plx_cli_format_count(2.5e7, text), "25.0 M");
}

static void colour_is_for_terminals_only(void **state)
{
    (void)state;
    struct capture capture;
    FILE *file = tmpfile();
    assert_non_null(file);
    setenv("TERM", "xterm", 1);
    unsetenv("NO_COLOR");
    assert_false(plx_cli_has_colour(file));
    fclose(file);

    capture_begin(&capture);
    plx_cli_print(capture.stream, PLX_CLI_BOLD, "%s", "plain");
    assert_string_equal(capture_text(&capture), "plain");
    capture_end(&capture);
}

/* A terminal's two ends: what programs write to `slave` can be read from `master`. */
static int open_terminal(FILE **slave)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0)
        return -1;
    *slave = fopen(ptsname(master), "w");
    if (*slave == NULL) {
        close(master);
        return -1;
    }
    return master;
}

static void colour_on_a_terminal_obeys_no_color_and_term(void **state)
{
    (void)state;
    FILE *terminal;
    int master = open_terminal(&terminal);
    if (master < 0) {
        print_message("no pseudo-terminal here: %s\n", strerror(errno));
        skip();
    }
    setenv("TERM", "xterm", 1);
    unsetenv("NO_COLOR");
    assert_true(plx_cli_has_colour(terminal));
    setenv("NO_COLOR", "", 1);
    assert_true(plx_cli_has_colour(terminal));
    setenv("NO_COLOR", "1", 1);
    assert_false(plx_cli_has_colour(terminal));
    unsetenv("NO_COLOR");
    setenv("TERM", "dumb", 1);
    assert_false(plx_cli_has_colour(terminal));
    setenv("TERM", "xterm", 1);

    plx_cli_print(terminal, PLX_CLI_BOLD, "bold");
    fflush(terminal);
    char text[64];
    ssize_t length = read(master, text, sizeof(text) - 1);
    assert_true(length > 0);
    text[length] = '\0';
    assert_string_equal(text, "\033[1mbold\033[0m");
    fclose(terminal);
    close(master);
}

static void progress_is_written_to_a_terminal_only(void **state)
{
    (void)state;
    char text[256];
    errors_begin();
    plx_cli_progress("%d of %d", 1, 2);
    plx_cli_progress_clear();
    errors_end(text, sizeof(text));
    assert_string_equal(text, "");

    FILE *terminal;
    int master = open_terminal(&terminal);
    if (master < 0) {
        print_message("no pseudo-terminal here: %s\n", strerror(errno));
        skip();
    }
    saved_stderr = dup(STDERR_FILENO);
    assert_true(dup2(fileno(terminal), STDERR_FILENO) >= 0);
    plx_cli_progress("%d of %d", 1, 2);
    plx_cli_progress("%d of %d", 2, 2); /* too soon after the first to be worth a write */
    plx_cli_progress_clear();
    assert_true(dup2(saved_stderr, STDERR_FILENO) >= 0);
    close(saved_stderr);
    ssize_t length = read(master, text, sizeof(text) - 1);
    assert_true(length > 0);
    text[length] = '\0';
    assert_string_equal(text, "\r\033[K1 of 2\r\033[K");
    fclose(terminal);
    close(master);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(count_within_its_range_is_read),
        cmocka_unit_test(count_malformed_or_outside_is_refused_and_keeps_the_value),
        cmocka_unit_test(size_with_every_unit_is_read),
        cmocka_unit_test(size_malformed_or_too_large_is_refused),
        cmocka_unit_test(duration_with_every_unit_is_read),
        cmocka_unit_test(duration_without_unit_or_outside_is_refused),
        cmocka_unit_test(choice_is_found_by_whole_word_in_either_case),
        cmocka_unit_test(nearest_word_is_found_and_a_far_one_is_not),
        cmocka_unit_test(options_of_every_kind_are_read_between_arguments),
        cmocka_unit_test(letter_takes_the_next_word_as_its_value),
        cmocka_unit_test(options_wrong_are_usage_errors_that_name_them),
        cmocka_unit_test(help_names_every_option_and_the_examples),
        cmocka_unit_test(diag_is_printed_with_what_it_is_about_once),
        cmocka_unit_test(settings_bad_value_is_told_and_ends_with_usage),
        cmocka_unit_test(exit_of_an_error_tells_settings_from_the_host),
        cmocka_unit_test(table_columns_are_aligned_without_trailing_spaces),
        cmocka_unit_test(table_last_column_is_wrapped_at_the_width),
        cmocka_unit_test(table_last_column_without_room_is_put_below),
        cmocka_unit_test(table_that_lost_a_cell_is_not_printed),
        cmocka_unit_test(numbers_are_printed_in_the_unit_that_suits_them),
        cmocka_unit_test(colour_is_for_terminals_only),
        cmocka_unit_test(colour_on_a_terminal_obeys_no_color_and_term),
        cmocka_unit_test(progress_is_written_to_a_terminal_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
