/*
 * relay/keeper.h - seam: what a gate asks of the process inside a sealed namespace
 *
 * `callveil run` makes a namespace whose only inhabitants are the app and the keeper, a
 * small process of ours with the capabilities that the app has not. The gate (front/gate)
 * runs outside, in `callveil local`, and holds the namespace's two kinds of catching
 * sockets. To answer an app in the name of a peer it needs sockets that can only be made
 * inside: it asks the keeper, who makes one and passes the descriptor (SCM_RIGHTS). No
 * packet crosses this connection.
 *
 * Two connections, both unix SOCK_SEQPACKET, one message each way per line below:
 *
 *   run -> local    attach   struct keeper_attach + the descriptors it names
 *   local -> run    attached struct keeper_attached (refused: with why); then silence: the
 *                            gate lives until either side closes
 *   gate -> keeper  want     struct keeper_want
 *   keeper -> gate  made     struct keeper_made + the descriptor when status is 0
 *
 * All fields are of this machine's byte order: both ends are this program, on one
 * machine, and messages of any other length or version are refused.
 */
#pragma once

#include <stdint.h>

#include "common/net/addr.h"

#define KEEPER_VERSION 2

/* Descriptors of an attach, in this order. The four catching sockets are non-blocking, transparent
 * (IP_TRANSPARENT) and bound to the tproxy port on loopback; the UDP ones report the original
 * destination (IP_RECVORIGDSTADDR, IPV6_RECVORIGDSTADDR), the TCP ones listen. */
enum keeper_fd {
    KEEPER_TCP4,
    KEEPER_TCP6,
    KEEPER_UDP4,
    KEEPER_UDP6,
    KEEPER_LINK, /* the gate's end of its connection with the keeper */
    KEEPER_N_FDS,
};

struct keeper_attach {
    uint32_t version;
    uint32_t zero;
    struct addr near_v4, near_v6; /* the app's own addresses inside: nothing is caught for these */
    struct addr router_v4, router_v6; /* the gate's own; what its resolv.conf names */
};

/* Of the router's address, which is the gate's: the same in every seal. */
#define ROUTER_PAGE_PORT 9642
#define ROUTER_TURN_PORT 3478 /* by UDP: STUN */

#define KEEPER_TOKEN_LEN 32

struct keeper_attached {
    uint32_t version;
    int32_t status;                        /* 0, or -errno: refused */
    uint32_t is_ready;                     /* whether a relay carries traffic by now */
    char page_token[KEEPER_TOKEN_LEN + 4]; /* of the stats page inside; empty: there is none */
};

enum keeper_kind {
    /* A UDP socket bound to `addr`, transparent, non-blocking, never connected (tproxy would take
     * it for the app's flow): sends as that peer. -EADDRINUSE where the app has bound the same port
     * to all addresses, as SIP clients do with 5060. */
    KEEPER_UDP = 1,
    /* socket(AF_INET or AF_INET6 by addr.family, SOCK_RAW, IPPROTO_RAW), non-blocking: sends whole
     * IP packets, which is how an app learns that something is unreachable (ICMP), and how a peer's
     * datagram gets to it while there is no KEEPER_UDP for that peer. Asked for once per family. */
    KEEPER_RAW,
};

struct keeper_want {
    uint32_t version;
    uint32_t kind; /* enum keeper_kind */
    uint32_t id;   /* comes back */
    uint32_t zero;
    struct addr addr;
};

struct keeper_made {
    uint32_t version;
    uint32_t id;
    int32_t status; /* 0 and a descriptor, or -errno and none */
    uint32_t zero;
};
