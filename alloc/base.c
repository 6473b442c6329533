/* SPDX-License-Identifier: MIT */
#include "alloc/base.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void plx__assert_fail(const char *expression, const char *file, int line)
{
    fprintf(stderr, "pollux: assertion failed: %s (%s:%d)\n", expression, file, line);
    abort();
}

int plx_diag_set(struct plx_diag *diag, int code, const char *what, const char *format, ...)
{
    if (diag == NULL)
        return code;

    diag->code = code;
    snprintf(diag->what, sizeof(diag->what), "%s", what != NULL ? what : "");

    va_list arguments;
    va_start(arguments, format);
    vsnprintf(diag->text, sizeof(diag->text), format, arguments);
    va_end(arguments);
    return code;
}

void plx_text_line(plx_text_fn sink, void *ctx, const char *format, ...)
{
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    sink(line, ctx);
}
