#include "conf/report.h"

#include <stdarg.h>
#include <stdio.h>

void report_error(struct report *report, unsigned int line, const char *format, ...)
{
    char text[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (line > 0)
        fprintf(stderr, "%s:%u: %s\n", report->name, line, text);
    else
        fprintf(stderr, "%s: %s\n", report->name, text);
    report->n_errors++;
}
