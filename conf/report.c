#include "conf/report.h"

#include <stdarg.h>
#include <stdio.h>

static void report(const struct report *r, unsigned int line, const char *kind, const char *format,
                   va_list args)
{
    char text[1024];

    vsnprintf(text, sizeof(text), format, args);
    if (line > 0)
        fprintf(stderr, "%s:%u: %s%s\n", r->name, line, kind, text);
    else
        fprintf(stderr, "%s: %s%s\n", r->name, kind, text);
}

void report_error(struct report *r, unsigned int line, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    report(r, line, "", format, args);
    va_end(args);
    r->n_errors++;
}

void report_warning(const struct report *r, unsigned int line, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    report(r, line, "warning: ", format, args);
    va_end(args);
}
