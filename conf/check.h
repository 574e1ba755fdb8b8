/*
 * conf/check.h - what only the whole configuration can get wrong
 */
#pragma once

#include <stdbool.h>

#include "conf/conf.h"
#include "conf/option.h"
#include "conf/report.h"

/* Where each option was given. One that was given wrongly is left out of the checks, so that one
 * mistake is not reported twice. */
struct conf_lines {
    unsigned int role;            /* one bit of enum role */
    unsigned int line[N_OPTIONS]; /* 0: not given */
    bool bad[N_OPTIONS];
    bool bad_user; /* some line of [users] was wrong */
};

void conf_check(const struct conf *conf, const struct conf_lines *lines, struct report *report);
