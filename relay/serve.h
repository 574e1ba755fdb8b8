/*
 * relay/serve.h - a role in the foreground: options, signals, and the wait for the end
 *
 *   SIGTERM, SIGINT  end now          SIGHUP   reload the configuration and what it names
 *   SIGUSR1          drain, where the role can: ends with the last call
 *
 * Files that the configuration names (certificates, the users file) are also looked at
 * every SERVE_WATCH_S: renewal tools and `callveil invite` need not know whom to signal.
 */
#pragma once

#include <event2/event.h>

#include "conf/conf.h"

#define SERVE_FILES_MAX 4
#define SERVE_WATCH_S   2

struct serve_role {
    const char *name; /* of the command, and of the configuration's kind */
    /* Takes `conf`. Return: 0 and *ret, or the exit status after a line in the log. */
    int (*start)(struct conf *conf, struct event_base *base, void **ret);
    /* Takes `conf`. Return: 0, or -1 with the reason logged and the old one in force. */
    int (*reload)(void *role, struct conf *conf);
    void (*free)(void *role);
    /* Both NULL where there is no draining. */
    void (*drain)(void *role);
    unsigned int (*n_left)(void *role);
    /* Names of watched files, NULL for one that is not set. */
    void (*files)(const struct conf *conf, const char *ret[SERVE_FILES_MAX]);
};

/* Options: -c FILE (default `file`), --log-level LEVEL. Return: the exit status. */
int serve_command(const struct serve_role *role, const char *file, int argc, char **argv);
