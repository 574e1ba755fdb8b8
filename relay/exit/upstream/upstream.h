/*
 * relay/exit/upstream/upstream.h - the way out through a TURN relay
 *
 * Implements relay/exit.h as a client of a relay (ours, or any standard one). No other
 * path leads out of here: what the relay does not carry is an error or silence.
 *
 *   find.c     which of the configured relays and transports works now
 *   session.c  one allocation on it; link.c, one transport; cred.c, who we are
 *   assoc.c    what a front opened: UDP associations, TCP ones (SOCKS BIND)
 *   trunk.c    TCP allocations shared by the streams that were dialled (dial.c)
 *   share.c    who gets what when the relay gives no more
 *   ready.c    what is made ahead: an allocation, trunks, connections, so that a front
 *              does not wait for handshakes
 *
 * Owner:   local.c makes one, and frees it after the fronts.
 * Threads: the worker's.
 */
#pragma once

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/net/addr.h"
#include "conf/conf.h"
#include "relay/exit.h"
#include "relay/exit/upstream/link.h"
#include "relay/stats/counters.h"

/* All borrowed, and kept alive by the caller longer than the exit. */
struct upstream_params {
    struct event_base *base;
    struct rx_batch *rx;
    struct tx_queue *tx;
    struct stream_pool *pool;
    struct counters *counters;
    /* How much is made ahead; all 0 for `check`, which wants to see each step. */
    unsigned int n_ready_sessions, n_ready_trunks, n_ready_links;
    /* The state has changed (upstream_exit_status() tells to what); may be NULL. */
    void (*on_state)(void *arg);
    void *arg;
};

/* Return: NULL when memory is short. upstream_exit_set_conf() must follow. */
struct exit *upstream_exit_new(const struct upstream_params *params);
/* Ends every session. Associations must be closed and dials hung up. */
void upstream_exit_free(struct exit *e);

/* At the start and after a reload: where to go, and as whom; `conf` is borrowed until the next
 * call. When [upstream] differs from before, everything that was open is lost and found again under
 * the new one. Return: 0, or -errno after a line in the log (a CA file that cannot be read,
 * memory): then nothing has changed. */
int upstream_exit_set_conf(struct exit *e, const struct conf *conf);

enum upstream_state {
    UPSTREAM_CONNECTING, /* looking for a relay that answers */
    UPSTREAM_READY,
    UPSTREAM_DOWN, /* none did; waiting to try again */
    /* Streams only: no url has a transport that could carry them, or the relay has no RFC 6062. */
    UPSTREAM_OFF,
};

/* One for datagrams, one for streams (RFC 6062), which need TCP or TLS to the relay. */
struct upstream_status {
    enum upstream_state state;
    uint64_t since_ns;                  /* when the state was entered */
    uint64_t without_ns;                /* not READY: since when; tries do not move it */
    uint64_t retry_at_ns;               /* DOWN: the next attempt */
    enum link_kind kind;                /* READY */
    struct addr server;                 /* READY */
    struct addr relayed_v4, relayed_v6; /* READY: what peers see (the ports are examples) */
    const char *host;                   /* READY: of the url */
    uint32_t rtt_us;                    /* 0: not measured */
    uint64_t certificate_end_s;         /* READY: of the relay's, seconds since 1970; 0: none */
    bool is_pinned;                     /* the configuration has its key: dates do not matter */
    char why[160];                      /* DOWN, OFF: of the last failure; no addresses in it */
};

void upstream_exit_status(struct exit *e, bool streams, struct upstream_status *ret);
