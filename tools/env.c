/* SPDX-License-Identifier: MIT */
/*
 * pollux env: the settings in effect, where each value comes from, and what may be set.
 */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "tools/cli.h"
#include "tools/commands.h"

static const char name[] = "pollux env";

struct env_options {
    bool json;
    bool defaults;
};

/* The settings that were asked for by name, or all of them. */
struct chosen {
    enum plx_setting_id ids[PLX_SETTING_COUNT];
    size_t count;
};

static void choose(struct chosen *chosen, enum plx_setting_id id)
{
    for (size_t i = 0; i < chosen->count; i++) {
        if (chosen->ids[i] == id)
            return;
    }
    chosen->ids[chosen->count++] = id;
}

/* Returns -1 to go on, or the exit status after an error was told. */
static int choose_by_names(struct chosen *chosen, char *const *names, int count)
{
    chosen->count = 0;
    for (int i = 0; i < count; i++) {
        int id = plx_setting_find(names[i]);
        if (id < 0) {
            /* Setting it is how the library is asked for the nearest name. */
            struct plx_settings scratch;
            struct plx_diag diag;
            plx_settings_init(&scratch);
            if (plx_settings_set(&scratch, names[i], "", &diag) < 0)
                plx_cli_diag(name, &diag);
            return PLX_EXIT_USAGE;
        }
        choose(chosen, (enum plx_setting_id)id);
    }
    for (int id = 0; count == 0 && id < PLX_SETTING_COUNT; id++)
        choose(chosen, (enum plx_setting_id)id);
    return -1;
}

/* An empty list would leave a hole in the table. */
static const char *shown(const char *text)
{
    return text[0] != '\0' ? text : "-";
}

static int print_table(const struct plx_settings *settings, const struct chosen *chosen)
{
    static const char *const headings[] = {"variable", "value",    "source",
                                           "default",  "expected", "meaning"};
    char *value = malloc(PLX_SETTING_TEXT_BYTES);
    struct plx_cli_table table;
    int status = value != NULL ? 0 : -ENOMEM;

    plx_cli_table_init(&table, "llllll", stdout);
    for (size_t i = 0; i < sizeof(headings) / sizeof(headings[0]); i++)
        plx_cli_table_add(&table, "%s", headings[i]);
    for (size_t i = 0; i < chosen->count && status >= 0; i++) {
        enum plx_setting_id id = chosen->ids[i];
        const struct plx_setting *row = plx_setting_describe(id);
        status = plx_settings_format(settings, id, value, PLX_SETTING_TEXT_BYTES);
        if (status < 0)
            break;
        plx_cli_table_add(&table, "%s", row->variable);
        plx_cli_table_add(&table, "%s", shown(value));
        plx_cli_table_add(&table, "%s", plx_setting_source_name(settings->source[id]));
        plx_cli_table_add(&table, "%s", shown(row->default_text));
        plx_cli_table_add(&table, "%s", row->expected);
        plx_cli_table_add(&table, "%s", row->doc);
    }
    if (status >= 0)
        status = plx_cli_table_print(&table, stdout, 0);
    plx_cli_table_fini(&table);
    free(value);
    return status;
}

/* --- JSON ------------------------------------------------------------------------------------ */

struct text {
    char *bytes;
    size_t length;
    bool failed;
};

static void append_line(const char *line, void *ctx)
{
    struct text *text = ctx;
    size_t length = strlen(line);
    char *bytes = realloc(text->bytes, text->length + length + 2);
    if (bytes == NULL) {
        text->failed = true;
        return;
    }
    memcpy(bytes + text->length, line, length);
    memcpy(bytes + text->length + length, "\n", 2);
    text->bytes = bytes;
    text->length += length + 1;
}

/* The members of `all` that were chosen, in the order asked for. NULL: out of memory. */
static json_t *pick(const json_t *all, const struct chosen *chosen)
{
    json_t *picked = json_object();
    for (size_t i = 0; i < chosen->count && picked != NULL; i++) {
        const char *key = plx_setting_describe(chosen->ids[i])->key;
        if (json_object_set(picked, key, json_object_get(all, key)) < 0) {
            json_decref(picked);
            picked = NULL;
        }
    }
    return picked;
}

static int print_json(const struct plx_settings *settings, const struct chosen *chosen)
{
    struct text text = {0};
    json_t *all = NULL;
    json_t *picked = NULL;
    int status = -ENOMEM;

    plx_settings_explain_json(settings, append_line, &text);
    if (!text.failed && text.bytes != NULL)
        all = json_loads(text.bytes, 0, NULL);
    if (all != NULL)
        picked = pick(all, chosen);
    if (picked != NULL && json_dumpf(picked, stdout, JSON_INDENT(2)) == 0)
        status = 0;
    if (status == 0)
        putchar('\n');
    json_decref(picked);
    json_decref(all);
    free(text.bytes);
    return status;
}

int plx_cmd_env(int argc, char **argv)
{
    struct env_options asked = {0};
    const struct plx_cli_option options[] = {
        {.name = "json", .help = "print JSON", .kind = PLX_CLI_FLAG, .into = &asked.json},
        {.name = "defaults",
         .help = "the defaults alone; the environment is not read",
         .kind = PLX_CLI_FLAG,
         .into = &asked.defaults},
        {0},
    };
    const struct plx_cli_command command = {
        .name = name,
        .arguments = "[NAME...]",
        .summary = "Prints the settings in effect, who gave each, its default and what may be "
                   "set.\nWith names (POLLUX_SQPOLL, sqpoll), those alone.",
        .options = options,
        .details = "A POLLUX_ variable that is no setting is named on standard error; with\n"
                   "POLLUX_STRICT=1 it is an error. Exit: 0 all well, 2 a setting or the command "
                   "line is wrong.",
        .examples = "pollux env\npollux env sqpoll arena_size\nPOLLUX_SQPOLL=off pollux env --json",
    };
    int arguments;
    struct chosen chosen;
    struct plx_settings settings;

    int status = plx_cli_parse(&command, argc, argv, &arguments);
    if (status < 0)
        status = choose_by_names(&chosen, argv + 1, arguments);
    if (status >= 0)
        return status;

    plx_settings_init(&settings);
    if (!asked.defaults) {
        status = plx_cli_settings(name, &settings);
        if (status >= 0)
            return status;
    }
    status = asked.json ? print_json(&settings, &chosen) : print_table(&settings, &chosen);
    if (status < 0) {
        plx_cli_error(name, "%s", strerror(-status));
        return PLX_EXIT_FAILED;
    }
    return PLX_EXIT_OK;
}
