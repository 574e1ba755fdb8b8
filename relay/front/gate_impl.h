/*
 * relay/front/gate_impl.h - shared by the rooms of the gate; nobody else's
 *
 * gate.c: the catching sockets and the gate's life. gate_tcp.c: one flow per connection.
 * gate_udp.c: one association per source port of the app. gate_dns.c: port 53.
 * gate_keeper.c: the connection with the keeper, and the sockets that speak as peers.
 * gate_raw.c: packets that no such socket can send.
 */
#pragma once

#include <event2/event_struct.h>

#include "common/base/hash.h"
#include "common/base/list.h"
#include "common/net/batch.h"
#include "common/net/splice.h"
#include "common/net/stream.h"
#include "relay/front/gate.h"

#define GATE_FLOWS_MAX   4096
#define GATE_ASSOCS_MAX  1024
#define GATE_PEERS_MAX   512
#define GATE_QUERIES_MAX 256
#define GATE_WAITING_MAX 8 /* datagrams of one source while its association is opened */
#define GATE_PENDING_MAX 65536

/* RFC 4787, REQ-5: five minutes are recommended, two are the least, and for the well-known ports of
 * applications whose way is known it may be less: a browser takes a new source for each QUIC
 * connection (443), which is over after half a minute without traffic, and each is an allocation
 * that the relay counts. The least is what a mapping gets when there is no room for another one. */
#define GATE_IDLE_S             300
#define GATE_IDLE_LEAST_S       120
#define GATE_IDLE_KNOWN_S       60
#define GATE_IDLE_KNOWN_LEAST_S 30
#define GATE_KNOWN_PORTS        1024

#define GATE_PEER_IDLE_S 120
#define GATE_DNS_IDLE_S  60
#define GATE_RETRY_S     1 /* after an association that could not be opened */
#define GATE_DNS_PORT    53

struct gate_catch {
    struct gate *gate;
    int fd;
    struct event readable;
};

/* One source address and port of the app. */
struct gate_assoc;
/* A peer's address, and the socket that sends as that peer. */
struct gate_peer;
struct gate_dns;

struct gate_keeper {
    int fd; /* -1: gone */
    struct event readable;
    struct hash_table by_addr;
    struct list peers; /* least recently used first */
    unsigned int n_peers;
    uint32_t last_id;
    int raw_v4, raw_v6; /* -1: not made yet */
    uint32_t raw_v4_id, raw_v6_id;
};

struct gate {
    struct gate_params params;
    struct addr near[2], router[2]; /* of the namespace: nothing is relayed for these */
    struct gate_catch tcp[2], udp[2];
    struct event accept_again; /* accepting is paused while descriptors are short */
    struct list flows;
    unsigned int n_flows;
    struct hash_table by_source;
    struct list assocs; /* the one that sent longest ago first */
    unsigned int n_assocs;
    struct gate_keeper keeper;
    struct gate_dns *dns;
};

/* ---- gate.c ---- */

/* Whether an address is one that nobody outside can have: loopback, the namespace's own, multicast
 * and broadcast, none at all. */
bool gate_is_inside(const struct gate *g, const struct addr *addr);
bool gate_is_multicast(const struct addr *addr);
bool gate_is_router(const struct gate *g, const struct addr *addr);

/* ---- gate_tcp.c ---- */

/* Takes an accepted socket: its own address is where the app wanted to. */
void gate_tcp_accept(struct gate *g, int fd);
/* Takes the app's stream to `to`. */
void gate_tcp_take(struct gate *g, struct stream *app, const struct addr *to);
void gate_tcp_free_all(struct gate *g);

/* ---- gate_udp.c ---- */

/* A datagram of the app; its payload stays until the worker's next flush. */
void gate_udp_send(struct gate *g, const struct rx_packet *packet, uint64_t now_ns);
void gate_udp_sweep(struct gate *g, uint64_t now_ns);
void gate_udp_flows(const struct gate *g, struct flow_list *list);
void gate_udp_free_all(struct gate *g);

/* ---- gate_dns.c ---- */

int gate_dns_new(struct gate *g, struct gate_dns **ret);
void gate_dns_free(struct gate_dns *dns);
/* The first name server, for a query by TCP; ADDR_NONE when there is none. */
struct addr gate_dns_server(const struct gate_dns *dns);
void gate_dns_ask(struct gate_dns *dns, const struct rx_packet *packet, uint64_t now_ns);
void gate_dns_sweep(struct gate_dns *dns, uint64_t now_ns);

/* ---- gate_keeper.c ---- */

/* Takes `fd`, also on failure. Return: 0 or -errno. */
int gate_keeper_init(struct gate *g, int fd);
void gate_keeper_deinit(struct gate *g);
/* A datagram from `from` to the app at `to`: up to GATE_HEADER_MAX bytes that are copied, and a
 * payload that stays until the worker's next flush. */
#define GATE_HEADER_MAX 16
void gate_answer(struct gate *g, const struct addr *from, const struct addr *to, const void *header,
                 size_t header_len, const uint8_t *data, size_t len, uint64_t now_ns);
void gate_keeper_sweep(struct gate *g, uint64_t now_ns);

/* ---- gate_raw.c ---- */

/* gate_answer() by a whole packet. */
void gate_raw_answer(struct gate *g, const struct addr *from, const struct addr *to,
                     const void *header, size_t header_len, const uint8_t *data, size_t len);
/* Tells the app that its datagram of `len` bytes to `peer` did not arrive: port unreachable, for
 * that is what connected sockets hear of (ECONNREFUSED). */
void gate_refuse(struct gate *g, const struct addr *app, const struct addr *peer, size_t len);
/* The same for what ICMP said far away. */
void gate_raw_icmp(struct gate *g, const struct addr *app, const struct assoc_icmp *icmp);
