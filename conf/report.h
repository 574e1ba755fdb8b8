/*
 * conf/report.h - what is wrong with a configuration, one line each to stderr
 */
#pragma once

struct report {
    const char *name; /* of the file */
    unsigned int n_errors;
};

/* "name:line: ...", or "name: ..." when `line` is 0. */
__attribute__((format(printf, 3, 4))) void report_error(struct report *report, unsigned int line,
                                                        const char *format, ...);
/* As report_error(), with "warning: " in front of the text; it does not count. */
__attribute__((format(printf, 3, 4))) void
report_warning(const struct report *report, unsigned int line, const char *format, ...);
