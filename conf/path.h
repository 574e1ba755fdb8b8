/*
 * conf/path.h - where configurations are when no -c says so
 */
#pragma once

#include <stddef.h>

#define CONF_RELAY_FILE "/etc/callveil/relay.conf"

/* $XDG_CONFIG_HOME/callveil/local.conf; without that variable (or with a relative one, which the
 * XDG Base Directory Specification has ignored) ~/.config/callveil/local.conf.
 * Return: the path, the caller's to free; NULL when there is no home directory or no memory. */
char *conf_local_file(void);
