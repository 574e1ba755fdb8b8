/*
 * relay/invite/local_conf.h - a link as local.conf
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "conf/invite_link.h"

#define LOCAL_CONF_E_EXISTS 1

/* Return: the configuration's text, the caller's to wipe and free; NULL when memory is short. */
char *local_conf_text(const struct invite_link *link);

/* Makes the folders above `path` that do not exist, for their owner alone. Return: 0 or -errno. */
int local_conf_make_folders(const char *path);

/* Writes a file for its owner alone. One that exists is kept as `path`.old with `force`, else left
 * as it is. Return: 0, -errno or LOCAL_CONF_E_EXISTS. */
int local_conf_write(const char *path, const char *text, bool force);
