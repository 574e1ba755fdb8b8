/*
 * relay/front/socks5.h - a SOCKS5 proxy (RFC 1928, 1929) whose far side is an exit
 *
 * CONNECT, BIND and UDP ASSOCIATE; IPv4, IPv6 and names (IP literals in a name's
 * clothes too: browsers send all addresses that way). Names are resolved by the exit.
 * Nothing here opens a socket towards anything but the app.
 *
 * Flow:    app -> socks5.c (negotiation) -> exit.h's dial(), open() -> relay.
 * Owner:   local.c makes one for its listener; it owns the apps' connections.
 * Threads: the worker's.
 * Limits:  connections, half-open ones, bytes kept per direction of a stream,
 *          associations, names being resolved for datagrams.
 */
#pragma once

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/net/addr.h"
#include "conf/conf.h"
#include "relay/exit.h"
#include "relay/stats/counters.h"
#include "relay/stats/flows.h"

struct rx_batch;
struct socks5;
struct stream;
struct stream_pool;
struct tx_queue;

struct socks5_params {
    struct event_base *base;
    struct rx_batch *rx;
    struct tx_queue *tx;
    struct stream_pool *pool;
    struct exit *exit;
    struct counters *counters;
    /* CONNECT to an address of this machine's own loopback: if the port is one that this process
     * serves (the loopback TURN server), takes the stream over as if the app had connected there,
     * and answers true; the reply has been sent already. `name` is what the app asked for, an IP
     * literal or a host name. is_ours() asks first whether it would. Both may be NULL. */
    bool (*is_ours)(void *arg, const char *name, uint16_t port);
    bool (*join)(void *arg, struct stream *stream, const struct addr *app);
    void *arg;
    unsigned int attempt_delay_ms; /* between addresses of one name; 0: RFC 8305's 250 ms */
};

/* Binds `listen` (loopback, or conf->n_user > 0: whoever loads the configuration has checked it).
 * `conf` is borrowed until socks5_set_conf(). Return: 0 and *ret, or -errno. */
int socks5_new(const struct socks5_params *params, const struct conf *conf,
               const struct addr *listen, struct socks5 **ret);
/* Ends every connection and association. */
void socks5_free(struct socks5 *s);

void socks5_set_conf(struct socks5 *s, const struct conf *conf);
/* Ends what has been idle or half-open for too long; called about once a second. */
void socks5_sweep(struct socks5 *s, uint64_t now_ns);

struct addr socks5_addr(const struct socks5 *s);
/* Adds the UDP associations, newest first. */
void socks5_flows(const struct socks5 *s, struct flow_list *list);
