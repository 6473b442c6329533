/* SPDX-License-Identifier: MIT */
/*
 * What the commands share at the command line: options read from a table, values checked against
 * their ranges, aligned tables, colour and progress where a person looks.
 *
 * Words. An *option* starts with a dash; what else stands on the line is an *argument*. Options and
 * arguments may be mixed; `--` ends the options. A value is given as `--name value` or
 * `--name=value`.
 *
 * Results go to standard output, everything else to standard error.
 */
#ifndef POLLUX_TOOLS_CLI_H
#define POLLUX_TOOLS_CLI_H

#include <stdio.h>

#include "alloc/base.h"
#include "runtime/settings/settings.h"

/* The exit statuses of every command. */
enum plx_cli_exit {
    PLX_EXIT_OK = 0,
    PLX_EXIT_FAILED = 1, /* asked for properly, and it did not work */
    PLX_EXIT_USAGE = 2   /* the command line or a setting is wrong */
};

/* --- options --------------------------------------------------------------------------------- */

enum plx_cli_kind {
    PLX_CLI_FLAG,     /* no value; `into` is a bool */
    PLX_CLI_TEXT,     /* `into` is a const char *, which points into argv */
    PLX_CLI_TEXTS,    /* may be given several times; `into` is a struct plx_cli_texts */
    PLX_CLI_COUNT,    /* `into` is a uint64_t within min and max */
    PLX_CLI_SIZE,     /* the same, in bytes: 64, 64K, 1M */
    PLX_CLI_DURATION, /* the same, in ns: 500us, 2s */
    PLX_CLI_CHOICE    /* `into` is an int: the position of the word among `choices` */
};

#define PLX_CLI_TEXTS_MAX 32u

struct plx_cli_texts {
    const char *texts[PLX_CLI_TEXTS_MAX]; /* point into argv */
    uint32_t count;
};

/* One option. Fields that its kind does not use stay zero. A table of them ends with a zero one. */
struct plx_cli_option {
    const char *name;  /* without its dashes */
    char letter;       /* for -x; 0: none */
    const char *value; /* how the help names the value: "N"; NULL for a flag */
    const char *help;
    enum plx_cli_kind kind;
    void *into; /* keeps the default when the option is not given */
    uint64_t min;
    uint64_t max;
    const char *choices; /* "ring|spin" */
};

/* What a command is, for its help and its errors. */
struct plx_cli_command {
    const char *name;      /* "pollux topo" */
    const char *arguments; /* for the usage line: "[NAME...]"; "" when it takes none */
    const char *summary;   /* lines that say what it does */
    const struct plx_cli_option *options;
    const char *details;  /* lines after the options; may be NULL */
    const char *examples; /* lines, each an example */
};

/*
 * Reads the options of argv[1] and on into their places and moves the arguments to argv[1] …
 * argv[*arguments]. --help and -h need not be in the table: the help is printed.
 * Returns -1 to go on, or the exit status to end with: help was printed, or an error was told.
 */
int plx_cli_parse(const struct plx_cli_command *command, int argc, char **argv,
                  int *arguments) PLX_MUST_CHECK;

/* Prints the help of a command. */
void plx_cli_help(const struct plx_cli_command *command, FILE *stream);

/*
 * Read a whole text; whether it was understood and lies within min and max. Sizes take K, M, G, T
 * (powers of 1024) with an optional B or iB, durations ns, us, ms, s; only 0 may stand without one.
 */
bool plx_cli_read_count(const char *text, uint64_t min, uint64_t max, uint64_t *out);
bool plx_cli_read_size(const char *text, uint64_t min, uint64_t max, uint64_t *out);
bool plx_cli_read_duration(const char *text, uint64_t min, uint64_t max, uint64_t *out);
/* The position of `text` among the words of `choices`, "ring|spin"; -1 when it is none of them. */
int plx_cli_read_choice(const char *text, const char *choices);

/*
 * The word, of `words` that end with NULL, which `text` was probably meant to be; NULL when none is
 * near.
 */
const char *plx_cli_nearest(const char *text, const char *const *words);

/* --- errors ---------------------------------------------------------------------------------- */

/* Prints "name: text" to standard error. */
void plx_cli_error(const char *name, const char *format, ...) PLX_PRINTF(2, 3);

/* The same, then where to find help. Returns PLX_EXIT_USAGE. */
int plx_cli_usage_error(const char *name, const char *format, ...) PLX_PRINTF(2, 3);

/* Prints what a diag says: what is concerned, unless the text names it, and the text. */
void plx_cli_diag(const char *name, const struct plx_diag *diag);

/* A plx_text_fn: prints a line to standard error, `ctx` being the name before it. */
void plx_cli_warn_line(const char *line, void *ctx);

/*
 * The settings of the environment, its warnings printed. Returns -1 to go on, or the exit status:
 * the error was told.
 */
int plx_cli_settings(const char *name, struct plx_settings *settings) PLX_MUST_CHECK;

/*
 * The same verdict for the errors of machine, plan and runtime: PLX_EXIT_USAGE for those that other
 * settings would avoid, else PLX_EXIT_FAILED.
 */
int plx_cli_exit_of(int code);

/* --- output ---------------------------------------------------------------------------------- */

enum plx_cli_style { PLX_CLI_PLAIN, PLX_CLI_BOLD, PLX_CLI_WARNING };

/* Whether `stream` wants colour: a terminal that is not dumb, and NO_COLOR is not set. */
bool plx_cli_has_colour(FILE *stream);

/* Prints text in a style where colour is wanted, plain elsewhere. */
void plx_cli_print(FILE *stream, enum plx_cli_style style, const char *format, ...)
    PLX_PRINTF(3, 4);

/* Columns of a table are at most this many. */
#define PLX_CLI_COLUMNS_MAX 16

/*
 * A table under construction. The first row is the headings. Columns are as wide as their widest
 * cell and two spaces apart. Where the last column would pass `width` it is wrapped between words,
 * on lines of its own when there is no room beside the others.
 */
struct plx_cli_table {
    const char *align; /* a letter a column, l or r */
    unsigned columns;
    unsigned width; /* of a line; 0: endless */
    size_t cell_count;
    size_t cell_room;
    char **cells; /* row by row */
    bool failed;  /* out of memory */
};

/* An empty table with a column for each letter of `align`, as wide as `stream` if a terminal. */
void plx_cli_table_init(struct plx_cli_table *table, const char *align, FILE *stream);
/* Appends a cell, the next of its row. */
void plx_cli_table_add(struct plx_cli_table *table, const char *format, ...) PLX_PRINTF(2, 3);
/*
 * Prints the rows, each indented by `indent` spaces. Returns 0, or -ENOMEM when a cell could not be
 * kept; the table is then not printed.
 */
int plx_cli_table_print(const struct plx_cli_table *table, FILE *stream,
                        unsigned indent) PLX_MUST_CHECK;
void plx_cli_table_fini(struct plx_cli_table *table);

/* Writes a number of bytes, nanoseconds or things as a person reads it: 64 MiB, 1.25 us, 1.2 M. */
#define PLX_CLI_NUMBER_BYTES 32
const char *plx_cli_format_bytes(uint64_t bytes, char text[PLX_CLI_NUMBER_BYTES]);
const char *plx_cli_format_ns(uint64_t ns, char text[PLX_CLI_NUMBER_BYTES]);
const char *plx_cli_format_count(double count, char text[PLX_CLI_NUMBER_BYTES]);

/*
 * Shows how far a long command is, on one line of standard error that is written anew, when that is
 * a terminal; else nothing. `plx_cli_progress_clear` leaves the line empty; call it before other
 * output.
 */
void plx_cli_progress(const char *format, ...) PLX_PRINTF(1, 2);
void plx_cli_progress_clear(void);

#endif
