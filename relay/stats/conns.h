/*
 * relay/stats/conns.h - connections to the stats endpoint, bounded in number and time
 *
 * evhttp 2.1 accepts without limit and times each read, not the connection: a
 * byte every few seconds holds a descriptor for ever. Here a connection lives
 * STATS_CONN_TIME_MS at most, and when all places are taken the oldest one goes:
 * whoever comes last is served, however many others sit there.
 *
 * Owner:   struct stats_http embeds it; deinit after evhttp_free().
 * Threads: that of the event_base.
 */
#pragma once

#include <event2/bufferevent.h>
#include <event2/event.h>
#include <openssl/ssl.h>
#include <stdint.h>

#define STATS_CONN_MAX     64
#define STATS_CONN_TIME_MS 8000

struct stats_conn {
    struct bufferevent *bev; /* NULL: a free place */
    uint64_t since_ns;
};

struct stats_conns {
    struct stats_conn conn[STATS_CONN_MAX];
    struct event *sweep;
    unsigned int time_ms;
    SSL_CTX *tls; /* NULL: plain; a reference */
};

/* `time_ms`: STATS_CONN_TIME_MS, less in tests. Return: 0 or -ENOMEM. */
int stats_conns_init(struct stats_conns *conns, struct event_base *base, unsigned int time_ms);
void stats_conns_deinit(struct stats_conns *conns);

/* From the next connection on, TLS with this context; NULL: none. A handshake is a connection like
 * any other: of the same number, ended by the same clock. */
void stats_conns_set_tls(struct stats_conns *conns, SSL_CTX *tls);

/* For evhttp_set_bevcb(), with the struct stats_conns as `arg`. */
struct bufferevent *stats_conns_on_accept(struct event_base *base, void *arg);
