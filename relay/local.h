/*
 * relay/local.h - the local role: fronts for apps, and one way out
 *
 * SOCKS5, a TURN server on loopback, and the gates of sealed apps, all on the upstream exit:
 * listen/ -> turn/ -> exit/upstream, front/socks5 -> exit/upstream, front/gate ->
 * exit/upstream. There is no other exit here, and so no
 * other path: when the relay cannot be reached, apps get errors.
 *
 * Everything runs on the event_base that is handed in: one person's traffic is one
 * core's work, and nothing has to be locked.
 *
 * Threads: the base's makes all calls.
 */
#pragma once

#include <event2/event.h>
#include <stdbool.h>

#include "common/net/addr.h"
#include "conf/conf.h"

struct local;

/* Takes `conf` (role "local"), also on failure. Return: 0 and *ret, or the exit status after a line
 * in the log (2: configuration, 1: anything else). The relay need not answer yet. */
int local_start(struct conf *conf, struct event_base *base, struct local **ret);

/* Lets `callveil run` of this user attach (relay/rendezvous.h). Where that cannot be, a line in the
 * log says why, and runs start a proxy of their own. */
void local_offer(struct local *local);
/* Takes a connected socket whose other end is a `callveil run`; `has_page`: its app has a stats
 * page. `on_ended` is called when it is gone, and may not free anything. In place of local_offer().
 * Return: 0 or -errno. */
int local_adopt(struct local *local, int fd, bool has_page, void (*on_ended)(void *arg), void *arg);

/* Swaps a configuration in (taken). Where the fronts and the stats listen changes at a start only.
 * Return: 0, or -1 with the reason logged and the old one in force. */
int local_reload(struct local *local, struct conf *conf);

/* Ends every association and stream. NULL is fine. */
void local_free(struct local *local);

/* Where the fronts listen (a port of 0 is resolved); ADDR_NONE: off. */
struct addr local_socks5_addr(const struct local *local);
struct addr local_turn_addr(const struct local *local);
/* The loopback TURN server's credential, made at this start. */
const char *local_turn_user(const struct local *local);
const char *local_turn_password(const struct local *local);
/* Whether a relay carries datagrams, and streams if any url could. */
bool local_is_ready(const struct local *local);

/* `callveil local`: argv[0] is "local". Return: the exit status. */
int local_command(int argc, char **argv);
