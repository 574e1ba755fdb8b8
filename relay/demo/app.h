/*
 * relay/demo/app.h - an app behind the SOCKS5 port, and the ordinary peer it talks to
 *
 * Two exchanges: datagrams by UDP ASSOCIATE to a peer that returns them, and a stream by
 * CONNECT to the peer's *name*, which a name server of the demo knows. Peer and name
 * server are plain sockets that know nothing of relays; what they saw is reported.
 *
 * Calls block, each for a few seconds at most. IPv4 only (link.h says why).
 */
#pragma once

#include <stdint.h>

#include "common/net/addr.h"

#define DEMO_APP_PACKETS 50
#define DEMO_APP_BYTES   (256 * 1024)
#define DEMO_PEER_NAME   "peer.demo.example"

struct demo_app {
    /* set by the caller */
    struct addr own;    /* the app's, with port 0 */
    struct addr socks5; /* the proxy's */

    int peer_udp, peer_tcp, dns; /* the other side's sockets */
    struct addr peer_udp_addr, peer_tcp_addr, dns_addr;

    unsigned int n_sent, n_echoed;
    uint32_t rtt_us; /* median */
    size_t n_bytes;  /* that came back over the stream as sent */
    struct addr udp_seen, tcp_seen,
        dns_seen;  /* where the peer and the name server saw it come from */
    char why[160]; /* after a failure */
};

/* Opens the peer's and the name server's sockets on these addresses. Return: 0 or -1 and app->why.
 */
int demo_app_open(struct demo_app *app, const struct addr *peer, const struct addr *dns);
void demo_app_close(struct demo_app *app);

/* Return: 0, or -1 and app->why. */
int demo_app_datagrams(struct demo_app *app);
int demo_app_stream(struct demo_app *app);
