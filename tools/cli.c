/* SPDX-License-Identifier: MIT */
#include "tools/cli.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

/* --- values ---------------------------------------------------------------------------------- */

/* Reads leading digits. Returns what follows them; NULL when there are none, or too many to hold.
 */
static const char *read_digits(const char *text, uint64_t *out)
{
    if (!isdigit((unsigned char)*text))
        return NULL;
    uint64_t number = 0;
    for (; isdigit((unsigned char)*text); text++) {
        if (__builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, (uint64_t)(*text - '0'), &number))
            return NULL;
    }
    *out = number;
    return text;
}

/* Stores `number` × `unit` if that lies within min and max. */
static bool take_within(uint64_t number, uint64_t unit, uint64_t min, uint64_t max, uint64_t *out)
{
    uint64_t value;
    if (__builtin_mul_overflow(number, unit, &value) || value < min || value > max)
        return false;
    *out = value;
    return true;
}

bool plx_cli_read_count(const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
    uint64_t number;
    const char *rest = read_digits(text, &number);
    return rest != NULL && *rest == '\0' && take_within(number, 1, min, max, out);
}

bool plx_cli_read_size(const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
    static const char letters[] = "KMGT";
    uint64_t number;
    uint64_t unit = 1;
    const char *rest = read_digits(text, &number);
    if (rest == NULL)
        return false;
    const char *letter = *rest != '\0' ? strchr(letters, toupper((unsigned char)*rest)) : NULL;
    if (letter != NULL) {
        unit <<= 10 * (letter - letters + 1);
        rest++;
        if (strcasecmp(rest, "iB") == 0)
            rest++;
    }
    if (strcasecmp(rest, "B") == 0)
        rest++;
    return *rest == '\0' && take_within(number, unit, min, max, out);
}

bool plx_cli_read_duration(const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
    static const struct {
        const char *name;
        uint64_t unit_ns;
    } units[] = {{"ns", 1}, {"us", 1000}, {"ms", 1000000}, {"s", 1000000000}};
    uint64_t number;
    const char *rest = read_digits(text, &number);
    if (rest == NULL)
        return false;
    if (*rest == '\0' && number == 0)
        return take_within(0, 1, min, max, out);
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcasecmp(rest, units[i].name) == 0)
            return take_within(number, units[i].unit_ns, min, max, out);
    }
    return false;
}

int plx_cli_read_choice(const char *text, const char *choices)
{
    size_t length = strlen(text);
    int position = 0;
    for (const char *word = choices;; position++) {
        size_t word_length = strcspn(word, "|");
        if (length == word_length && strncasecmp(text, word, length) == 0)
            return position;
        if (word[word_length] == '\0')
            return -1;
        word += word_length + 1;
    }
}

/* Letters to insert, delete or replace to make b of a; words longer than the row are far apart. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t row[40];
    size_t b_length = strlen(b);
    if (b_length >= sizeof(row) / sizeof(row[0]))
        return SIZE_MAX;
    for (size_t j = 0; j <= b_length; j++)
        row[j] = j;
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_length; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[b_length];
}

const char *plx_cli_nearest(const char *text, const char *const *words)
{
    const char *nearest = NULL;
    size_t least = 1 + strlen(text) / 3; /* a third of the letters may be wrong, one always */
    for (; *words != NULL; words++) {
        size_t distance = edit_distance(text, *words);
        if (distance < least || (nearest == NULL && distance == least)) {
            nearest = *words;
            least = distance;
        }
    }
    return nearest;
}

/* --- errors ---------------------------------------------------------------------------------- */

void plx_cli_error(const char *name, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    plx_cli_print(stderr, PLX_CLI_WARNING, "%s: ", name);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
}

int plx_cli_usage_error(const char *name, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    plx_cli_print(stderr, PLX_CLI_WARNING, "%s: ", name);
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\nSee %s --help.\n", name);
    va_end(arguments);
    return PLX_EXIT_USAGE;
}

void plx_cli_diag(const char *name, const struct plx_diag *diag)
{
    if (diag->what[0] == '\0' || strstr(diag->text, diag->what) != NULL)
        plx_cli_error(name, "%s", diag->text);
    else
        plx_cli_error(name, "%s: %s", diag->what, diag->text);
}

void plx_cli_warn_line(const char *line, void *ctx)
{
    plx_cli_error(ctx, "%s", line);
}

int plx_cli_settings(const char *name, struct plx_settings *settings)
{
    struct plx_diag diag;
    plx_settings_init(settings);
    if (plx_settings_load_env(settings, NULL, &diag, plx_cli_warn_line, (void *)name) < 0) {
        plx_cli_diag(name, &diag);
        return PLX_EXIT_USAGE;
    }
    return -1;
}

int plx_cli_exit_of(int code)
{
    return code == -EINVAL || code == -ENOSPC || code == -EOPNOTSUPP ? PLX_EXIT_USAGE
                                                                     : PLX_EXIT_FAILED;
}

/* --- options --------------------------------------------------------------------------------- */

static const struct plx_cli_option help_option = {
    .name = "help", .letter = 'h', .help = "print this and end"};

static void help_row(struct plx_cli_table *table, const struct plx_cli_option *option)
{
    char letter[8] = "";
    if (option->letter != '\0')
        snprintf(letter, sizeof(letter), "-%c, ", option->letter);
    plx_cli_table_add(table, "%s--%s%s%s", letter, option->name, option->value != NULL ? " " : "",
                      option->value != NULL ? option->value : "");
    plx_cli_table_add(table, "%s", option->help);
}

static void print_block(FILE *stream, const char *lines)
{
    while (*lines != '\0') {
        size_t length = strcspn(lines, "\n");
        fprintf(stream, "%s%.*s\n", length != 0 ? "  " : "", (int)length, lines);
        lines += length + (lines[length] == '\n');
    }
}

void plx_cli_help(const struct plx_cli_command *command, FILE *stream)
{
    fprintf(stream, "usage: %s [options]%s%s\n\n", command->name,
            command->arguments[0] != '\0' ? " " : "", command->arguments);
    fprintf(stream, "%s\n\n", command->summary);

    plx_cli_print(stream, PLX_CLI_BOLD, "options");
    fputc('\n', stream);
    struct plx_cli_table table;
    plx_cli_table_init(&table, "ll", stream);
    for (const struct plx_cli_option *option = command->options; option->name != NULL; option++)
        help_row(&table, option);
    help_row(&table, &help_option);
    if (plx_cli_table_print(&table, stream, 2) < 0)
        plx_cli_error(command->name, "out of memory");
    plx_cli_table_fini(&table);

    if (command->details != NULL)
        fprintf(stream, "\n%s\n", command->details);
    fputc('\n', stream);
    plx_cli_print(stream, PLX_CLI_BOLD, "examples");
    fputc('\n', stream);
    print_block(stream, command->examples);
}

/* The option that `text` (after its dashes, up to `length`) names; NULL when there is none. */
static const struct plx_cli_option *find_option(const struct plx_cli_command *command,
                                                const char *text, size_t length, bool is_long)
{
    const struct plx_cli_option *option = command->options;
    for (; option->name != NULL; option++) {
        if (is_long && strlen(option->name) == length && strncmp(option->name, text, length) == 0)
            return option;
        if (!is_long && length == 1 && option->letter == text[0])
            return option;
    }
    bool is_help =
        is_long ? length == 4 && strncmp(text, "help", 4) == 0 : length == 1 && text[0] == 'h';
    return is_help ? &help_option : NULL;
}

static int unknown_option(const struct plx_cli_command *command, const char *text, size_t length)
{
    const char *names[64];
    size_t count = 0;
    for (const struct plx_cli_option *option = command->options;
         option->name != NULL && count < sizeof(names) / sizeof(names[0]) - 2; option++)
        names[count++] = option->name;
    names[count++] = help_option.name;
    names[count] = NULL;

    char given[64];
    snprintf(given, sizeof(given), "%.*s", (int)(length < 60 ? length : 60), text);
    const char *nearest = strncmp(given, "--", 2) == 0 ? plx_cli_nearest(given + 2, names) : NULL;
    if (nearest != NULL)
        return plx_cli_usage_error(command->name, "unknown option %s; did you mean --%s?", given,
                                   nearest);
    return plx_cli_usage_error(command->name, "unknown option %s", given);
}

/* Says what a value of an option with a range must be. */
static void describe_range(const struct plx_cli_option *option, char *text, size_t bytes)
{
    char low[PLX_CLI_NUMBER_BYTES];
    char high[PLX_CLI_NUMBER_BYTES];
    switch (option->kind) {
    case PLX_CLI_SIZE:
        snprintf(text, bytes, "a size from %s to %s, such as 64 or 16K",
                 plx_cli_format_bytes(option->min, low), plx_cli_format_bytes(option->max, high));
        break;
    case PLX_CLI_DURATION:
        snprintf(text, bytes, "a duration from %s to %s, such as 500us or 2s",
                 plx_cli_format_ns(option->min, low), plx_cli_format_ns(option->max, high));
        break;
    case PLX_CLI_CHOICE:
        snprintf(text, bytes, "one of %s", option->choices);
        break;
    default:
        snprintf(text, bytes, "a number from %llu to %llu", (unsigned long long)option->min,
                 (unsigned long long)option->max);
        break;
    }
}

static bool add_text(struct plx_cli_texts *texts, const char *text)
{
    if (texts->count == PLX_CLI_TEXTS_MAX)
        return false;
    texts->texts[texts->count++] = text;
    return true;
}

/* Stores the value of an option. Returns -1, or the exit status after an error was told. */
static int take_value(const struct plx_cli_command *command, const struct plx_cli_option *option,
                      const char *value)
{
    bool taken = true;
    switch (option->kind) {
    case PLX_CLI_FLAG:
        *(bool *)option->into = true;
        break;
    case PLX_CLI_TEXT:
        *(const char **)option->into = value;
        break;
    case PLX_CLI_TEXTS:
        if (!add_text(option->into, value))
            return plx_cli_usage_error(command->name, "--%s may be given %u times at most",
                                       option->name, PLX_CLI_TEXTS_MAX);
        break;
    case PLX_CLI_COUNT:
        taken = plx_cli_read_count(value, option->min, option->max, option->into);
        break;
    case PLX_CLI_SIZE:
        taken = plx_cli_read_size(value, option->min, option->max, option->into);
        break;
    case PLX_CLI_DURATION:
        taken = plx_cli_read_duration(value, option->min, option->max, option->into);
        break;
    case PLX_CLI_CHOICE: {
        int position = plx_cli_read_choice(value, option->choices);
        taken = position >= 0;
        if (taken)
            *(int *)option->into = position;
        break;
    }
    }
    if (taken)
        return -1;
    char range[128];
    describe_range(option, range, sizeof(range));
    return plx_cli_usage_error(command->name, "--%s: '%.60s' is not %s", option->name, value,
                               range);
}

/*
 * Handles the option at argv[*at] and, where it takes one, the value after it. Returns -1 to go
 * on, or the exit status.
 */
static int take_option(const struct plx_cli_command *command, char **argv, int argc, int *at)
{
    const char *text = argv[*at];
    bool is_long = text[1] == '-';
    const char *name = text + (is_long ? 2 : 1);
    const char *equals = is_long ? strchr(name, '=') : NULL;
    size_t length = equals != NULL ? (size_t)(equals - name) : strlen(name);

    const struct plx_cli_option *option = find_option(command, name, length, is_long);
    if (option == NULL)
        return unknown_option(command, text, (size_t)(name - text) + length);
    if (option->kind == PLX_CLI_FLAG) {
        if (equals != NULL)
            return plx_cli_usage_error(command->name, "--%s takes no value", option->name);
        if (option == &help_option) {
            plx_cli_help(command, stdout);
            return PLX_EXIT_OK;
        }
        return take_value(command, option, NULL);
    }
    if (equals != NULL)
        return take_value(command, option, equals + 1);
    if (*at + 1 >= argc)
        return plx_cli_usage_error(command->name, "--%s needs a value: %s", option->name,
                                   option->value);
    *at += 1;
    return take_value(command, option, argv[*at]);
}

int plx_cli_parse(const struct plx_cli_command *command, int argc, char **argv, int *arguments)
{
    int kept = 0;
    bool options_ended = false;
    for (int at = 1; at < argc; at++) {
        char *text = argv[at];
        if (options_ended || text[0] != '-' || text[1] == '\0') {
            argv[++kept] = text;
        } else if (strcmp(text, "--") == 0) {
            options_ended = true;
        } else {
            int status = take_option(command, argv, argc, &at);
            if (status >= 0)
                return status;
        }
    }
    *arguments = kept;
    if (kept > 0 && command->arguments[0] == '\0')
        return plx_cli_usage_error(command->name, "takes no argument: '%.60s'", argv[1]);
    return -1;
}

/* --- output ---------------------------------------------------------------------------------- */

bool plx_cli_has_colour(FILE *stream)
{
    const char *no_colour = getenv("NO_COLOR");
    const char *term = getenv("TERM");
    return (no_colour == NULL || no_colour[0] == '\0') && term != NULL &&
           strcmp(term, "dumb") != 0 && isatty(fileno(stream)) == 1;
}

void plx_cli_print(FILE *stream, enum plx_cli_style style, const char *format, ...)
{
    bool coloured = style != PLX_CLI_PLAIN && plx_cli_has_colour(stream);
    if (coloured)
        fputs(style == PLX_CLI_BOLD ? "\033[1m" : "\033[33m", stream);
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stream, format, arguments);
    va_end(arguments);
    if (coloured)
        fputs("\033[0m", stream);
}

/* Columns that a text takes on a terminal: its characters, not its bytes, nor its colours. */
static size_t text_width(const char *text)
{
    size_t width = 0;
    for (; *text != '\0'; text++) {
        if (text[0] == '\033' && text[1] == '[')
            text += strcspn(text, "m");
        else
            width += ((unsigned char)*text & 0xc0) != 0x80;
        if (*text == '\0')
            break;
    }
    return width;
}

void plx_cli_table_init(struct plx_cli_table *table, const char *align, FILE *stream)
{
    struct winsize window;
    size_t columns = strlen(align);
    PLX_ASSERT(columns > 0 && columns <= PLX_CLI_COLUMNS_MAX);
    memset(table, 0, sizeof(*table));
    table->align = align;
    table->columns = (unsigned)columns;
    if (isatty(fileno(stream)) == 1 && ioctl(fileno(stream), TIOCGWINSZ, &window) == 0)
        table->width = window.ws_col;
}

void plx_cli_table_add(struct plx_cli_table *table, const char *format, ...)
{
    if (table->cell_count == table->cell_room) {
        size_t room = table->cell_room != 0 ? 2 * table->cell_room : 64;
        char **cells = realloc(table->cells, room * sizeof(*cells));
        if (cells == NULL) {
            table->failed = true;
            return;
        }
        table->cells = cells;
        table->cell_room = room;
    }
    va_list arguments;
    va_start(arguments, format);
    if (vasprintf(&table->cells[table->cell_count], format, arguments) < 0)
        table->failed = true;
    else
        table->cell_count++;
    va_end(arguments);
}

static void put_spaces(FILE *stream, size_t count)
{
    for (; count > 0; count--)
        fputc(' ', stream);
}

/* Prints words from column `left` on, and on a new line where one would pass column `right`. */
static void put_wrapped(FILE *stream, const char *text, size_t left, size_t right)
{
    size_t column = left;
    while (*text != '\0') {
        size_t length = strcspn(text, " ");
        char word[512];
        snprintf(word, sizeof(word), "%.*s", (int)(length < 511 ? length : 511), text);
        size_t width = text_width(word);
        if (column > left && column + 1 + width > right) {
            fputc('\n', stream);
            put_spaces(stream, left);
            column = left;
        } else if (column > left) {
            fputc(' ', stream);
            column++;
        }
        fwrite(text, 1, length, stream);
        column += width;
        text += length;
        text += *text == ' ';
    }
}

/* A last column narrower than this is put on lines of its own instead. */
#define WRAP_COLUMNS 24

/* Prints the last cell of a row, from column `left` on, where it fits, or else wrapped. */
static void put_last(const struct plx_cli_table *table, const char *cell, size_t width,
                     FILE *stream, size_t indent, size_t left)
{
    size_t separator = left > indent ? 2 : 0;
    if (table->width == 0 || left + separator + width <= table->width) {
        put_spaces(stream, separator);
        if (table->align[table->columns - 1] == 'r')
            put_spaces(stream, width - text_width(cell));
        fputs(cell, stream);
    } else if (left + separator + WRAP_COLUMNS <= table->width) {
        put_spaces(stream, separator);
        put_wrapped(stream, cell, left + separator, table->width);
    } else {
        fputc('\n', stream);
        put_spaces(stream, indent + 4);
        put_wrapped(stream, cell, indent + 4, table->width);
    }
}

static void put_row(const struct plx_cli_table *table, char *const *cells, const size_t *widths,
                    FILE *stream, size_t indent)
{
    size_t left = indent;
    unsigned last = table->columns - 1;
    put_spaces(stream, indent);
    for (unsigned i = 0; i < last; i++) {
        size_t separator = i != 0 ? 2 : 0;
        size_t pad = widths[i] - text_width(cells[i]);
        put_spaces(stream, separator + (table->align[i] == 'r' ? pad : 0));
        fputs(cells[i], stream);
        put_spaces(stream, table->align[i] == 'l' ? pad : 0);
        left += separator + widths[i];
    }
    put_last(table, cells[last], widths[last], stream, indent, left);
    fputc('\n', stream);
}

int plx_cli_table_print(const struct plx_cli_table *table, FILE *stream, unsigned indent)
{
    size_t widths[PLX_CLI_COLUMNS_MAX] = {0};
    if (table->failed)
        return -ENOMEM;
    PLX_ASSERT(table->cell_count % table->columns == 0);
    for (size_t i = 0; i < table->cell_count; i++) {
        size_t width = text_width(table->cells[i]);
        if (width > widths[i % table->columns])
            widths[i % table->columns] = width;
    }
    for (size_t i = 0; i < table->cell_count; i += table->columns)
        put_row(table, &table->cells[i], widths, stream, indent);
    return 0;
}

void plx_cli_table_fini(struct plx_cli_table *table)
{
    for (size_t i = 0; i < table->cell_count; i++)
        free(table->cells[i]);
    free(table->cells);
    memset(table, 0, sizeof(*table));
}

const char *plx_cli_format_bytes(uint64_t bytes, char text[PLX_CLI_NUMBER_BYTES])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    unsigned unit = 0;
    double value = (double)bytes;
    for (; value >= 1024 && unit < 6; unit++)
        value /= 1024;
    bool is_whole = value == (double)(uint64_t)value;
    snprintf(text, PLX_CLI_NUMBER_BYTES, is_whole ? "%.0f %s" : "%.1f %s", value, units[unit]);
    return text;
}

const char *plx_cli_format_ns(uint64_t ns, char text[PLX_CLI_NUMBER_BYTES])
{
    static const char *const units[] = {"ns", "us", "ms", "s"};
    unsigned unit = 0;
    double value = (double)ns;
    /* What would round to a thousand belongs to the next unit. */
    for (; value >= 999.95 && unit < 3; unit++)
        value /= 1000;
    bool is_whole = value == (double)(uint64_t)value;
    int digits = is_whole ? 0 : value < 10 ? 2 : 1;
    snprintf(text, PLX_CLI_NUMBER_BYTES, "%.*f %s", digits, value, units[unit]);
    return text;
}

const char *plx_cli_format_count(double count, char text[PLX_CLI_NUMBER_BYTES])
{
    static const char *const units[] = {"", " k", " M", " G", " T"};
    unsigned unit = 0;
    for (; count >= 9999.5 && unit < 4; unit++)
        count /= 1000;
    snprintf(text, PLX_CLI_NUMBER_BYTES, unit == 0 ? "%.0f%s" : "%.1f%s", count, units[unit]);
    return text;
}

/* --- progress -------------------------------------------------------------------------------- */

static bool progress_is_shown;

void plx_cli_progress(const char *format, ...)
{
    static struct timespec last;
    struct timespec now;
    if (isatty(STDERR_FILENO) != 1)
        return;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t since_ms =
        (int64_t)(now.tv_sec - last.tv_sec) * 1000 + (now.tv_nsec - last.tv_nsec) / 1000000;
    if (progress_is_shown && since_ms < 100)
        return;
    last = now;
    progress_is_shown = true;
    va_list arguments;
    va_start(arguments, format);
    fputs("\r\033[K", stderr);
    vfprintf(stderr, format, arguments);
    fflush(stderr);
    va_end(arguments);
}

void plx_cli_progress_clear(void)
{
    if (!progress_is_shown)
        return;
    fputs("\r\033[K", stderr);
    fflush(stderr);
    progress_is_shown = false;
}
