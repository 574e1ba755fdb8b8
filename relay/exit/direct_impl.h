/*
 * relay/exit/direct_impl.h - shared by direct.c (what a session asks for),
 * direct_udp.c, direct_tcp.c and direct_bind.c; nobody else includes it
 */
#pragma once

#include <event2/event_struct.h>

#include "common/base/clock.h"
#include "common/base/list.h"
#include "relay/exit/direct.h"

struct direct_exit {
    struct exit exit; /* first: a struct exit of ours is a struct direct_exit */
    struct direct_params params;
    const struct acl *acl;
    struct addr relay_v4, relay_v6;   /* ADDR_NONE: the address the client reached */
    struct addr listen_v4, listen_v6; /* the first listener bound to one address; or ADDR_NONE */
    struct addr public_v4, public_v6; /* ADDR_NONE: peers see the bound address */
    struct port_range range;
    struct port_rng rng;
    unsigned int
        generation; /* of the configuration: verdicts remembered from an older one are void */
    unsigned int n_assocs;
    struct event sweep; /* of reserved ports; pending while some may be parked */
};

/* One family's socket of an association. */
struct leg {
    struct assoc *assoc;
    int fd;              /* -1: this family is not open */
    bool df;             /* the socket sets DF now */
    uint8_t n_turns;     /* read events, modulo DIRECT_ERRORS_EVERY */
    struct addr bound;   /* where the socket is */
    struct addr shown;   /* the public address, if it is another one; else ADDR_NONE */
    struct addr df_peer; /* destination of the last datagram with DF; ADDR_NONE before */
    struct addr judged;  /* the peer address looked at last: whether it is one of ours */
    bool judged_own;
    unsigned int judged_generation;
    struct event event;
};

struct direct_tcp {
    struct list connects; /* struct direct_connect */
    unsigned int n_connects;
    struct event resume; /* accepts again after the machine ran out of something */
};

struct assoc {
    struct direct_exit *exit;
    const struct assoc_events *events;
    void *user;
    struct leg legs[2];     /* IPv4, IPv6 */
    struct direct_tcp *tcp; /* NULL for UDP */
    unsigned int n_busy;    /* callbacks of ours on the stack: the memory must outlive them */
    bool is_closed;
};

static inline uint64_t direct_now(const struct direct_exit *x)
{
    return x->params.now ? x->params.now() : clock_now_ns();
}

static inline struct leg *direct_leg(struct assoc *a, uint8_t family)
{
    struct leg *leg = &a->legs[family == ADDR_IPV6];

    return family != ADDR_NONE && leg->fd >= 0 ? leg : NULL;
}

static inline struct port_space direct_space(const struct leg *leg)
{
    return (struct port_space){.family = leg->bound.family, .tcp = leg->assoc->tcp != NULL};
}

/* The address a peer is reached at from `leg`, and the one it is known by: ours behind a 1:1 NAT
 * have two. */
static inline struct addr direct_to_wire(const struct leg *leg, const struct addr *peer)
{
    struct addr to = leg->bound;

    if (leg->shown.family == ADDR_NONE || !addr_ip_equal(peer, &leg->shown))
        return *peer;
    to.port = peer->port;
    return to;
}

static inline struct addr direct_from_wire(const struct leg *leg, const struct addr *peer)
{
    struct addr from = leg->shown;

    if (leg->shown.family == ADDR_NONE || !addr_ip_equal(peer, &leg->bound))
        return *peer;
    from.port = peer->port;
    return from;
}

/* Brackets around calls of a->events. After direct_leave() `a` may be gone. */
void direct_enter(struct assoc *a);
void direct_leave(struct assoc *a);

/* ---- direct_bind.c ---- */

/* Binds `leg` for `want` to a relayed port of `family` and, for EVEN-PORT with the R bit, parks the
 * next one under a token in `opened`. */
enum exit_result direct_bind(struct leg *leg, enum addr_family family,
                             const struct assoc_want *want, struct assoc_opened *opened);
/* Takes the reserved socket of want->token into the leg of its family. */
enum exit_result direct_bind_reserved(struct assoc *a, const struct assoc_want *want,
                                      struct leg **ret_leg);

/* ---- direct_udp.c ---- */

/* Prepares a relayed UDP socket. */
void direct_udp_setup(int fd, enum addr_family family);
void direct_udp_on_event(evutil_socket_t fd, short what, void *arg);
void direct_udp_send(struct assoc *a, const struct addr *peer, const uint8_t *data, size_t len,
                     bool dont_fragment);

/* ---- direct_tcp.c ---- */

/* Return: 0 or -ENOMEM. */
int direct_tcp_init(struct assoc *a);
void direct_tcp_free(struct assoc *a);
/* A listening socket from which connections can also be made. Return: descriptor or -errno. */
int direct_tcp_listen(const struct addr *addr);
void direct_tcp_on_event(evutil_socket_t listener, short what, void *arg);
enum exit_result direct_tcp_connect(struct assoc *a, const struct addr *peer, uint32_t connect_id);
