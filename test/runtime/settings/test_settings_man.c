/* SPDX-License-Identifier: MIT */
/* The manual page lists every setting, in the table's order, with its range and default. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/settings/settings.h"

/* Where the source tree lies, seen from where the tests are run. */
#ifndef PLX_TEST_SOURCE_DIR
#define PLX_TEST_SOURCE_DIR "."
#endif

#define PAGE PLX_TEST_SOURCE_DIR "/man/pollux-settings.7"
#define ITEM ".It Ev "

static bool read_line(FILE *page, char *line, size_t bytes)
{
    if (fgets(line, (int)bytes, page) == NULL)
        return false;
    line[strcspn(line, "\n")] = '\0';
    return true;
}

static void man_page_agrees_with_the_table(void **state)
{
    (void)state;
    char line[512];
    char wanted[512];
    int id = 0;
    FILE *page = fopen(PAGE, "r");
    if (page == NULL)
        fail_msg("cannot open " PAGE);
    while (read_line(page, line, sizeof(line))) {
        if (strncmp(line, ITEM, strlen(ITEM)) != 0)
            continue;
        if (id == PLX_SETTING_COUNT)
            fail_msg("%s is not in the table", line + strlen(ITEM));
        const struct plx_setting *row = plx_setting_describe((enum plx_setting_id)id++);
        assert_string_equal(line + strlen(ITEM), row->variable);
        snprintf(wanted, sizeof(wanted), "Expects %s; default %s.", row->expected,
                 row->default_text[0] != '\0' ? row->default_text : "empty");
        assert_true(read_line(page, line, sizeof(line)));
        assert_string_equal(line, wanted);
        /* The line after that begins the text about it. */
        assert_true(read_line(page, line, sizeof(line)));
        assert_true(line[0] != '\0' && line[0] != '.');
    }
    fclose(page);
    if (id < PLX_SETTING_COUNT)
        fail_msg(PAGE " lacks %s", plx_setting_describe((enum plx_setting_id)id)->variable);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(man_page_agrees_with_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
