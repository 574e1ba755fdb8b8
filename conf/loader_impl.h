/*
 * conf/loader_impl.h - what the loader's two files share
 *
 * loader.c has the lines, sections and options; loader_users.c the users.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "conf/check.h"
#include "conf/conf.h"
#include "conf/option.h"
#include "conf/report.h"

/* Besides enum section_id. */
#define IN_NO_SECTION      (-1) /* before the first */
#define IN_UNKNOWN_SECTION (-2) /* reported; its lines are passed over */

struct user_line {
    const char *file;
    unsigned int line;
};

struct loader {
    FILE *in;
    unsigned int role;  /* one bit of enum role */
    bool in_users_file; /* the second file: [users] and nothing else */
    struct report report;
    struct conf *conf;
    int failed; /* -errno: memory is short, or the file cannot be read */

    char *line; /* getline's */
    size_t line_cap;
    char *text; /* in `line`, trimmed */
    unsigned int line_no;
    bool waits; /* inih has the line and has not called back */

    int section;
    int open_list; /* the option whose list ended in a comma, or -1 */
    unsigned int open_list_line;
    bool is_more; /* the line belongs to that list */

    struct conf_lines lines;
    struct user_line *user_line; /* one per user */
};

/* A line of [users]; `value` is unwrapped in place. */
void loader_on_user(struct loader *l, const char *name, char *value);

/* After the last line of the last file: each name stands once. */
void loader_check_user_names(struct loader *l);
