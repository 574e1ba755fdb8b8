/*
 * relay/front/gate.h - every TCP and UDP flow of a sealed namespace, through an exit
 *
 * The namespace's rules bring each packet that is not for itself to four catching
 * sockets (relay/keeper.h). For TCP the accepted socket's own address is the true
 * destination: the gate dials it and joins the two streams. For UDP the original
 * destination comes with each datagram: all flows of one source address and port share
 * one association of the exit (endpoint-independent mapping, RFC 4787, so that ICE works
 * as if the app ran on the relay), and what a peer sends goes back from a transparent
 * socket bound to the peer's address, made by the keeper and kept in a bounded cache.
 *
 * Port 53, UDP and TCP, to any address is DNS: questions of every type are relayed, through
 * the exit, to the configured servers; names that only mean something on one machine or
 * network get NXDOMAIN (UDP). What cannot be relayed is refused at once (RST, ICMP unreachable),
 * never swallowed: a swallowed STUN request costs a browser 40 s.
 *
 * The address that the app takes for its router is ours. By TCP it has what on_service() serves;
 * by UDP it is a STUN server, which tells a port of the app where peers see it.
 *
 * Owner:   local.c makes one for each `callveil run` that attaches.
 * Threads: the worker's. Limits: flows, associations, peers' sockets, bytes per stream.
 */
#pragma once

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/net/addr.h"
#include "relay/exit.h"
#include "relay/keeper.h"
#include "relay/stats/counters.h"

struct flow_list;
struct gate;
struct rx_batch;
struct stream;
struct stream_pool;
struct tx_queue;

#define GATE_DNS_MAX 4

struct gate_params {
    struct event_base *base;
    struct rx_batch *rx;
    struct tx_queue *tx;
    struct stream_pool *pool;
    struct exit *exit;
    struct counters *counters;
    const struct addr *dns; /* name servers, asked through the exit; copied, GATE_DNS_MAX at most */
    size_t n_dns;
    /* The keeper is gone, and with it the namespace: gate_free() it, then or later. */
    void (*on_ended)(void *arg);
    void *arg;
    /* Takes the app's stream to a port of the router. Return: false when nothing is served there;
     * then it is reset. NULL: nothing is. */
    bool (*on_service)(void *arg, struct stream *app, uint16_t port);
    void *service_arg;
};

/* Takes the descriptors (KEEPER_N_FDS of them), also on failure. Return: 0 and *ret, or -errno. */
int gate_new(const struct gate_params *params, const struct keeper_attach *attach,
             const int fds[KEEPER_N_FDS], struct gate **ret);
/* Ends every flow. NULL is fine. */
void gate_free(struct gate *g);
/* Ends what has been idle for too long (RFC 4787: UDP after five minutes); about once a second. */
void gate_sweep(struct gate *g, uint64_t now_ns);
/* Adds the app's UDP ports that have an association. */
void gate_flows(const struct gate *g, struct flow_list *list);
