/*
 * relay/exit/resolve.h - host names to addresses, asked at the far side or here
 *
 * One resolver, two places to ask from:
 *   far   with an exit: every query travels through the exit's relay, by UDP and, for
 *         truncated answers, by TCP, to the configured servers. No packet and no system
 *         call of it names anything to this machine's network or resolver; /etc/hosts
 *         and /etc/resolv.conf are not read.
 *   near  without an exit: the machine's own resolver, for the relay's own host name and
 *         nothing else.
 * c-ares does DNS; far, its sockets are ours. Answers are cached by their TTL, bounded;
 * that there is no such name for a minute, and that asking failed not at all.
 *
 * Results: EXIT_E_NAME no such name, or none that may be asked for (far: single labels,
 * .onion, .local, .localhost, .internal, what ends in a number); EXIT_E_TIMEOUT the
 * servers are silent or refuse; EXIT_E_DOWN there is no way out; EXIT_E_CAPACITY.
 *
 * Threads: the worker's. Limits: RESOLVE_CACHE_MAX names, RESOLVE_PENDING_MAX lookups.
 */
#pragma once

#include <event2/event.h>
#include <stdint.h>

#include "common/net/addr.h"
#include "relay/exit.h"

struct resolver;

#define RESOLVE_CACHE_MAX   1024
#define RESOLVE_PENDING_MAX 256
#define RESOLVE_ADDRS_MAX   16
#define RESOLVE_SERVERS_MAX 8

struct resolver_params {
    struct event_base *base;
    struct exit *exit;          /* NULL: near */
    const struct addr *servers; /* far: address and port of each DNS server, 1 to 8; copied */
    size_t n_servers;
    uint64_t (*now)(void); /* NULL: clock_now_ns() */
};

/* Return: 0 and *ret, or -errno. */
int resolver_new(const struct resolver_params *params, struct resolver **ret);
/* Lookups under way are forgotten: no event comes. Before the exit is freed. */
void resolver_free(struct resolver *r);

/* As exit_ops.resolve and .forget (relay/exit.h): answered once, later, never within the call, also
 * from the cache. An IP literal is its own answer. Lookups of one name share one query. */
int resolver_lookup(struct resolver *r, const char *name, exit_on_resolved *on_resolved, void *user,
                    struct lookup **ret);
void resolver_forget(struct lookup *l);

/* far: other servers from now on; pending queries start over with them. Return: 0 or -errno. */
int resolver_set_servers(struct resolver *r, const struct addr *servers, size_t n);

/* The way out is there again, or is another one: pending queries start over, failures are
 * forgotten; answers stay. */
void resolver_restart(struct resolver *r);
