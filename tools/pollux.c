/* SPDX-License-Identifier: MIT */
/*
 * The pollux command: finds the command that is meant, and the general help.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tools/cli.h"
#include "tools/commands.h"

struct entry {
    const char *word;
    int (*run)(int argc, char **argv);
    const char *summary;
};

static const struct entry entries[] = {
    {"topo", plx_cmd_topo, "the machine, the plan with its reasons, what this host really gives"},
    {"env", plx_cmd_env, "the settings in effect, who gave each, and what may be set"},
    {"echo", plx_cmd_echo, "a TCP echo server, and a client that checks and times it"},
    {"cp", plx_cmd_cp, "copies a file with many blocks on their way, and brings it to the device"},
    {"bench", plx_cmd_bench, "measures Pollux beside bare floors and peers, in one run"},
};

#define ENTRY_COUNT (sizeof(entries) / sizeof(entries[0]))

static const struct entry echo_entries[] = {
    {"server", plx_cmd_echo_server, "returns every byte to its sender until it is told to end"},
    {"client", plx_cmd_echo_client, "sends, checks every byte that returns, prints percentiles"},
};

#define ECHO_ENTRY_COUNT (sizeof(echo_entries) / sizeof(echo_entries[0]))

static void print_entries(const struct entry *table, size_t count, FILE *stream)
{
    struct plx_cli_table rows;
    plx_cli_table_init(&rows, "ll", stream);
    for (size_t i = 0; i < count; i++) {
        plx_cli_table_add(&rows, "%s", table[i].word);
        plx_cli_table_add(&rows, "%s", table[i].summary);
    }
    if (plx_cli_table_print(&rows, stream, 2) < 0)
        plx_cli_error("pollux", "out of memory");
    plx_cli_table_fini(&rows);
}

static void print_help(FILE *stream)
{
    fputs("usage: pollux COMMAND [options]\n\n", stream);
    fputs("Busy-polling reactors on pinned cores: the tools of the Pollux library.\n\n", stream);
    plx_cli_print(stream, PLX_CLI_BOLD, "commands");
    fputc('\n', stream);
    print_entries(entries, ENTRY_COUNT, stream);
    fputs("\n`pollux COMMAND --help` explains a command, `pollux --version` names the version.\n"
          "Settings are POLLUX_ variables of the environment: `pollux env` lists them.\n\n",
          stream);
    plx_cli_print(stream, PLX_CLI_BOLD, "examples");
    fputs("\n  pollux topo\n  POLLUX_REACTORS=1 pollux echo server --port 8080\n"
          "  echo hello | nc -N localhost 8080\n",
          stream);
}

static void print_echo_help(FILE *stream)
{
    fputs("usage: pollux echo server|client [options]\n\n", stream);
    print_entries(echo_entries, ECHO_ENTRY_COUNT, stream);
    fputc('\n', stream);
    plx_cli_print(stream, PLX_CLI_BOLD, "examples");
    fputs("\n  pollux echo server --port 8080\n"
          "  pollux echo client --addr 127.0.0.1:8080 --count 10000\n"
          "  pollux echo client --help\n",
          stream);
}

/* Runs the entry that argv[1] names; an unknown word is an error with the nearest one. */
static int run_entry(const char *name, const struct entry *table, size_t count, int argc,
                     char **argv)
{
    const char *words[ENTRY_COUNT + ECHO_ENTRY_COUNT + 1] = {NULL};
    for (size_t i = 0; i < count; i++) {
        if (strcmp(argv[1], table[i].word) == 0)
            return table[i].run(argc - 1, argv + 1);
        words[i] = table[i].word;
    }
    const char *nearest = plx_cli_nearest(argv[1], words);
    const char *kind = argv[1][0] == '-' ? "option" : "command";
    if (nearest != NULL)
        return plx_cli_usage_error(name, "unknown %s '%.60s'; did you mean %s?", kind, argv[1],
                                   nearest);
    return plx_cli_usage_error(name, "unknown %s '%.60s'", kind, argv[1]);
}

static bool asks_for_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0;
}

int plx_cmd_echo(int argc, char **argv)
{
    if (argc < 2) {
        print_echo_help(stderr);
        return PLX_EXIT_USAGE;
    }
    if (asks_for_help(argv[1])) {
        print_echo_help(stdout);
        return PLX_EXIT_OK;
    }
    return run_entry("pollux echo", echo_entries, ECHO_ENTRY_COUNT, argc, argv);
}

static int run(int argc, char **argv)
{
    if (argc < 2) {
        print_help(stderr);
        return PLX_EXIT_USAGE;
    }
    if (asks_for_help(argv[1])) {
        print_help(stdout);
        return PLX_EXIT_OK;
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        printf("pollux %d.%d.%d\n", PLX_VERSION_MAJOR, PLX_VERSION_MINOR, PLX_VERSION_PATCH);
        return PLX_EXIT_OK;
    }
    return run_entry("pollux", entries, ENTRY_COUNT, argc, argv);
}

int main(int argc, char **argv)
{
    int status = run(argc, argv);
    /* A full disk must not look like success. */
    if ((fflush(stdout) != 0 || ferror(stdout) != 0) && status == PLX_EXIT_OK) {
        plx_cli_error("pollux", "standard output: %s", strerror(errno));
        return PLX_EXIT_FAILED;
    }
    return status;
}
