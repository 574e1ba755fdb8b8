/*
 * relay/exit/resolve_impl.h - what the resolver's files share; nobody else includes it
 *
 * The rooms:
 *   resolve.c       names, lookups, queries: who waits for what, and telling them
 *   resolve_ask.c   c-ares: its channel, its clock, what its answers mean
 *   resolve_far.c   c-ares' sockets through an exit
 *   resolve_near.c  c-ares' sockets on this machine, and its configuration
 *
 * c-ares is not re-entrant: a call from within one of its callbacks, or from a datagram
 * that comes while it sends, would free under its feet. So it is entered from events
 * only (resolve_enter() says whether it may be), its callbacks only note what they
 * heard, and everything else is done from the `work` event.
 */
#pragma once

#include <ares.h>
#include <event2/event_struct.h>
#include <stdbool.h>

#include "common/base/clock.h"
#include "common/base/hash.h"
#include "common/base/list.h"
#include "relay/exit/resolve.h"
#include "relay/exit/resolve_cache.h"
#include "relay/exit/resolve_name.h"

#define RESOLVE_TRY_MS   1500 /* doubles with each round over the servers */
#define RESOLVE_TRIES    3
#define RESOLVE_TOTAL_MS 12000 /* an app waits for its connection behind this */
/* Addresses of one family wait this long for the other's (RFC 8305, section 3 has 50 ms, but our
 * way is a relayed one and its answers come further apart). */
#define RESOLVE_OTHER_MS 250

struct query;
struct resolve_far;
struct resolve_near;

struct resolver {
    struct event_base *base;
    struct exit *exit;
    uint64_t (*now)(void);
    ares_channel channel;
    bool restart_due;   /* asked for while inside */
    bool is_inside;     /* c-ares is being called */
    bool is_cancelling; /* callbacks come for queries that will be asked again */
    struct event timer; /* c-ares' next timeout */
    struct event work;  /* something waits to be done outside of c-ares */
    struct hash_table table;
    struct list queries;   /* those in `table` */
    struct list abandoned; /* those that c-ares has, and nobody else */
    size_t n_queries;      /* in both */
    struct list ready;     /* lookups with their answer */
    size_t n_lookups;
    struct resolve_cache cache;
    bool is_telling, is_freed; /* resolver_free() may come from a callback */
    struct resolve_far *far;
    struct resolve_near *near;
};

/* One name being asked for. In the table until it is answered or its time is up; c-ares cannot be
 * told to give up one query, so it may have to live on (abandoned) until c-ares lets go. */
struct query {
    struct resolver *r;
    struct hash_node node;
    struct list link;        /* resolver.queries or .abandoned */
    struct list lookups;     /* who waits */
    struct event timer;      /* RESOLVE_TOTAL_MS, or RESOLVE_OTHER_MS once there is something */
    bool is_listed;          /* in the table */
    bool is_waiting;         /* to be asked */
    bool is_early;           /* told what there was before the other family's answer came */
    unsigned int n_asked;    /* answers c-ares owes us */
    unsigned int n_restarts; /* how often its way out broke */
    bool no_name, failed;    /* NXDOMAIN was said; a question had no answer */
    uint32_t ttl_s;
    size_t n_found;
    struct addr found[RESOLVE_ADDRS_MAX]; /* as they came */
    char name[RESOLVE_NAME_MAX + 1];
};

/* ---- resolve.c ---- */

void resolve_raise(struct resolver *r);
/* c-ares owes this query nothing more. */
void resolve_query_complete(struct query *q);
/* Addresses of one family are there. */
void resolve_query_expect_other(struct query *q);
/* Every query that is being asked is asked anew, or fails with `why` when that is not EXIT_OK. */
void resolve_again(struct resolver *r, enum exit_result why);

/* ---- resolve_ask.c ---- */

/* Before a channel is made: its ids start from /dev/urandom, but where that cannot be opened, from
 * rand(), which is the same in every process. Return: 0, or -EIO. */
int resolve_seed(void);
/* Around calls of c-ares. Return: false when it must not be called now. */
bool resolve_enter(struct resolver *r);
void resolve_leave(struct resolver *r);
void resolve_ask(struct query *q);
/* All of c-ares' queries end now. */
void resolve_cancel(struct resolver *r);
void resolve_timer_init(struct resolver *r);

/* ---- resolve_far.c ---- */

/* Makes resolver.channel as well. Return: 0, or -errno. */
int resolve_far_new(struct resolver *r, const struct resolver_params *params);
/* After the channel. NULL is fine. */
void resolve_far_free(struct resolve_far *f);
/* Opens the way out. Return: 0: queries may be asked; -EAGAIN: not yet, resolve_raise() will be
 * called; or an exit_result. */
int resolve_far_ready(struct resolve_far *f);
/* Outside of c-ares: lost associations, closed streams, output. */
void resolve_far_work(struct resolve_far *f);
/* The next query goes another way. */
int resolve_far_set_servers(struct resolve_far *f, const struct addr *servers, size_t n);
void resolve_far_reset(struct resolve_far *f);

/* ---- resolve_near.c ---- */

/* Makes resolver.channel as well. Return: 0, or -errno. */
int resolve_near_new(struct resolver *r);
/* After the channel. NULL is fine. */
void resolve_near_free(struct resolve_near *n);
/* Before a query: a channel of the configuration as it is now, once c-ares has none of ours. */
void resolve_near_refresh(struct resolve_near *n, bool force);
