/*
 * relay/top/role.h - which role `callveil stats` and `callveil top` are about
 */
#pragma once

#include "conf/conf.h"

struct top_role {
    const char *name; /* "relay" or "local" */
    struct conf *conf;
};

/* Reads "-c FILE" and "--role ROLE" and the configuration they stand for: without a file, the
 * role's default one; without a role, that of the file; with neither, the local proxy's if there is
 * one, else the relay's. Return: 0, or the exit status after a line on stderr; `ret` has to be
 * given to top_role_deinit() in any case. */
int top_role_read(const char *command, int argc, char **argv, struct top_role *ret);
void top_role_deinit(struct top_role *role);
