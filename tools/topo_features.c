/* SPDX-License-Identifier: MIT */
#include "tools/topo_features.h"

#include <errno.h>
#include <string.h>
#include <sys/utsname.h>

#include "runtime/io/features.h"
#include "tools/cli.h"

static const char *asked_word(enum plx_feature_asked asked)
{
    switch (asked) {
    case PLX_FEATURE_ASKED:
        return "yes";
    case PLX_FEATURE_NOT_ASKED:
        return "no";
    default:
        return "not used";
    }
}

/* --- text ------------------------------------------------------------------------------------ */

static void add_row(const struct plx_feature *feature, void *ctx)
{
    struct plx_cli_table *table = ctx;
    plx_cli_table_add(table, "%s", feature->name);
    plx_cli_table_add(table, "%s", feature->since);
    plx_cli_table_add(table, "%s", asked_word(feature->asked));
    plx_cli_table_add(table, "%s", feature->got == 0 ? "yes" : "no");
    if (feature->got != 0)
        plx_cli_table_add(table, "%s; %s instead", strerror(-feature->got), feature->instead);
    else if (feature->asked == PLX_FEATURE_NOT_ASKED)
        plx_cli_table_add(table, "%s", feature->unasked);
    else if (feature->asked == PLX_FEATURE_UNUSED)
        plx_cli_table_add(table, "%s instead", feature->instead);
    else
        plx_cli_table_add(table, "-");
}

static int print_text(const struct plx_settings *settings)
{
    static const char *const headings[] = {"feature", "since", "asked", "got",
                                           "why not, and what instead"};
    struct plx_cli_table table;
    struct plx_diag diag;
    struct utsname host;
    plx_cli_table_init(&table, "lrlll", stdout);
    for (size_t i = 0; i < sizeof(headings) / sizeof(*headings); i++)
        plx_cli_table_add(&table, "%s", headings[i]);
    int refused = plx_features_probe(settings, add_row, &table, &diag);
    printf("io_uring of Linux %s: ", uname(&host) == 0 ? host.release : "of unknown version");
    if (refused == 0)
        printf("each feature asked for once, on a ring of its own\n");
    else
        printf("refused, by %s; kernel.io_uring_disabled or a seccomp profile may do that\n",
               diag.text);
    int result = plx_cli_table_print(&table, stdout, 2);
    plx_cli_table_fini(&table);
    return result;
}

/* --- JSON ------------------------------------------------------------------------------------ */

json_t *plx_topo_append(json_t *array, json_t *item)
{
    if (array != NULL && json_array_append_new(array, item) == 0)
        return array;
    json_decref(array);
    return NULL;
}

static void add_object(const struct plx_feature *feature, void *ctx)
{
    json_t **rows = ctx;
    const char *error = feature->got != 0 ? strerror(-feature->got) : NULL;
    *rows = plx_topo_append(*rows,
                            json_pack("{s:s,s:s,s:s,s:b,s:s?,s:s,s:s?}", "name", feature->name,
                                      "since", feature->since, "asked", asked_word(feature->asked),
                                      "got", feature->got == 0, "error", error, "instead",
                                      feature->instead, "unasked", feature->unasked));
}

json_t *plx_topo_features_to_json(const struct plx_settings *settings)
{
    json_t *rows = json_array();
    struct plx_diag diag;
    struct utsname host;
    int refused = plx_features_probe(settings, add_object, &rows, &diag);
    return json_pack("{s:s?,s:s?,s:o}", "kernel", uname(&host) == 0 ? host.release : NULL,
                     "refused", refused != 0 ? diag.text : NULL, "rows", rows);
}

static int print_json(const struct plx_settings *settings)
{
    json_t *all =
        json_pack("{s:i,s:o}", "schema", 1, "features", plx_topo_features_to_json(settings));
    int status = all != NULL ? json_dumpf(all, stdout, JSON_INDENT(2)) : -1;
    json_decref(all);
    if (status == 0)
        putchar('\n');
    return status == 0 ? 0 : -ENOMEM;
}

int plx_topo_features(const char *name, const struct plx_settings *settings, bool json)
{
    int result = json ? print_json(settings) : print_text(settings);
    if (result == 0)
        return PLX_EXIT_OK;
    plx_cli_error(name, "%s", strerror(-result));
    return PLX_EXIT_FAILED;
}
