/*
 * relay/listeners.h - the list of listeners, settled before anything is made from it
 *
 * The access rules, the relayed addresses and every worker go by this list, so it
 * must say what is really listened on, at start and after a reload.
 */
#pragma once

#include <stddef.h>

#include "conf/conf.h"

/* Tries every listener for a moment and logs what is wrong. Ports of 0 become free ones; [::] is
 * dropped on a machine without IPv6, where the default configuration must work too.
 * Return: 0 or the exit status. */
int listeners_settle(struct conf *conf);

/* Puts the running listeners into a configuration that was read again: they only change at a start,
 * and a line says so when they should. Return: 0, or -ENOMEM (logged). */
int listeners_keep(struct conf *conf, const struct conf_listen *running, size_t n_running);

/* "udp", "tcp+tls", ... of a mask of protocols. */
const char *listeners_scheme(unsigned int protocols);
void listeners_log_failure(const struct conf_listen *l, int error);
