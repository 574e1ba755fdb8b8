/*
 * relay/seal/outside.h - the `callveil local` that a sealed app's traffic leaves by
 *
 * The one that this user has running (relay/rendezvous.h); or, when there is none or a
 * configuration is named, one of our own: a child with an event loop of its own and no
 * front but this app's gate, which ends with us.
 */
#pragma once

#include <sys/types.h>

#include "relay/keeper.h"
#include "relay/seal/why.h"

struct outside {
    int fd;                                /* the connection; its end is the gate's */
    pid_t own;                             /* our own proxy; -1: somebody else's */
    char page_token[KEEPER_TOKEN_LEN + 1]; /* once attached; empty: there is no page inside */
};

struct outside_want {
    const char *file; /* of -c; NULL: the one that runs, else the default configuration */
    int log_level;    /* of our own proxy; -1: warnings and errors */
};

/* Before any thread or namespace is made. Return: 0, or -1 and why. */
int outside_open(const struct outside_want *want, struct outside *ret, char why[SEAL_WHY_LEN]);
/* Passes the namespace's sockets and waits until there is a gate. Return: 0; -1 and why; or an exit
 * status, when our own proxy has said why on stderr and ended with it. */
int outside_attach(struct outside *o, const struct keeper_attach *attach,
                   const int fds[KEEPER_N_FDS], char why[SEAL_WHY_LEN]);
/* The same for the proxy that this user has started since the one before ended, without waiting:
 * the answer is outside_hear()'s. Return: 0, or -errno. */
int outside_reopen(struct outside *o);
int outside_ask(struct outside *o, const struct keeper_attach *attach, const int fds[KEEPER_N_FDS]);
/* The connection is readable. Return: 0, there is a gate; or -errno, there will be none. */
int outside_hear(struct outside *o);
/* Where the app finds the stats page, on stderr; nothing when there is none. */
void outside_tell_page(const struct outside *o);
/* Ends the gate. */
void outside_disconnect(struct outside *o);
/* The same, and ends our own proxy. */
void outside_close(struct outside *o);
