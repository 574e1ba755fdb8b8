/*
 * relay/exit.h - seam: open, send, connect, close towards the far side
 *
 * An exit is one way out: exit/direct.c uses sockets of this machine, exit/upstream/
 * is a TURN client to another relay. A session (an allocation, a SOCKS association)
 * asks for an association and gets its *relayed address*, the one peers see. A
 * session that wants no more than a stream to somewhere dials, and one that has a
 * name has it resolved at the far side.
 *
 * Everything that may take a round trip answers through assoc_events; an exit that
 * knows the answer at once calls back before the call returns, so set your state
 * first. (dial() and resolve() never do.) After close() no event comes.
 *
 * Owner:   the exit owns an assoc from open() to close(). A stream handed to
 *          on_connected()/on_accepted() belongs to the session from then on.
 * Threads: an exit object belongs to one worker.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/net/addr.h"

struct assoc;
struct dial;
struct exit;
struct lookup;
struct stream;

/* Documented answers of an exit; 0 is success. */
enum exit_result {
    EXIT_OK = 0,
    EXIT_E_FAMILY = 1,      /* no address of that family here (-> 440) */
    EXIT_E_CAPACITY = 2,    /* no port, descriptor or memory left (-> 508) */
    EXIT_E_FORBIDDEN = 3,   /* policy refuses this peer (-> 403) */
    EXIT_E_TOKEN = 4,       /* the reservation token is unknown or has expired (-> 508) */
    EXIT_E_UNREACHABLE = 5, /* connect: no route to the host (-> 447) */
    EXIT_E_TIMEOUT = 6,     /* connect, resolve: no answer in time (-> 447) */
    EXIT_E_DUPLICATE = 7,   /* connect: that 5-tuple exists already (-> 446) */
    EXIT_E_DOWN = 8,        /* the way out is gone (upstream lost) */
    EXIT_E_REFUSED = 9,     /* connect: the peer refused (-> 447) */
    EXIT_E_NAME = 10,       /* resolve: there is no such name, or it has no address */
    EXIT_PENDING = 11,      /* permit: the far side is being asked, on_permitted() will tell */
};

/* Of permit(): whether datagrams may be sent. */
static inline bool exit_may_send(enum exit_result result)
{
    return result == EXIT_OK || result == EXIT_PENDING;
}

struct assoc_want {
    bool tcp;          /* a TCP association (RFC 6062): IPv4 or IPv6, not both */
    bool v4, v6;       /* families wanted; with both, one of them may fail (see on_open) */
    bool even_port;    /* EVEN-PORT */
    bool reserve;      /* and reserve the next higher port (R bit) */
    bool has_token;    /* take the reserved socket instead of choosing a port */
    uint8_t token[8];  /* RESERVATION-TOKEN */
    struct addr local; /* the address the client reached: the default relayed address */
};

struct assoc_opened {
    enum exit_result result;               /* EXIT_OK when at least one family was opened */
    enum exit_result result_v4, result_v6; /* of each family that was asked for */
    struct addr relayed_v4, relayed_v6; /* what peers see (public-address applied) or ADDR_NONE */
    /* There is no relayed IPv6 address, but a datagram to an IPv6 peer may have one made: for
     * sessions that need not know it. */
    bool v6_may_follow;
    bool has_token;
    uint8_t token[8]; /* for the reserved port */
};

/* What the far side reported about a datagram we sent (RFC 8656, section 11.5). */
struct assoc_icmp {
    struct addr peer;
    uint8_t type, code; /* as received: ICMPv4 or ICMPv6 by the peer's family */
    uint32_t data;      /* next-hop MTU for "too big", else 0 */
};

struct assoc_events {
    void (*on_open)(void *user, const struct assoc_opened *opened);
    /* A batch of datagrams is being delivered; `data` stays until the worker's next flush. */
    void (*on_datagram)(void *user, const struct addr *peer, const uint8_t *data, size_t len,
                        uint64_t now_ns);
    void (*on_icmp)(void *user, const struct assoc_icmp *icmp, uint64_t now_ns);
    /* The far side's answer to a permit() that was EXIT_PENDING; `peer` has no port. It may come
     * for peers that were not asked about, too. NULL where nobody waits for it. */
    void (*on_permitted)(void *user, const struct addr *peer, enum exit_result result);
    /* Answer to connect(); `stream` is NULL unless result is EXIT_OK, else the session's. */
    void (*on_connected)(void *user, uint32_t connect_id, enum exit_result result,
                         struct stream *stream);
    /* A peer connected to the relayed address of a TCP association; the session owns `stream`. */
    void (*on_accepted)(void *user, const struct addr *peer, struct stream *stream);
    /* The association is lost; close() it. Never called by the direct exit. */
    void (*on_lost)(void *user, enum exit_result why);
};

/* The answer to dial(), once. `stream` is NULL unless result is EXIT_OK, else the session's (set
 * its events before the call returns); `relayed` is where the peer sees it come from, or
 * ADDR_NONE. The dial is gone. */
typedef void exit_on_dialed(void *user, enum exit_result result, struct stream *stream,
                            const struct addr *relayed);

/* The answer to resolve(), once: `n` addresses (at least one with EXIT_OK, else none; port 0) in
 * the order to be tried; they die with the call. The lookup is gone. */
typedef void exit_on_resolved(void *user, enum exit_result result, const struct addr *addrs,
                              size_t n);

struct exit_ops {
    /* Return: 0 and *ret_assoc, and on_open() is or will be called once; or -ENOMEM. *ret_assoc is
     * written before any event, and not after one: the session may be gone by then. On a failed
     * open the assoc still has to be closed. */
    int (*open)(struct exit *e, const struct assoc_want *want, const struct assoc_events *events,
                void *user, struct assoc **ret_assoc);
    void (*close)(struct assoc *a);

    /* May this peer be reached? Asked once per permission, channel and connection, before the
     * session lets traffic pass; `port` 0 in `peer` means any port. EXIT_OK, EXIT_E_FORBIDDEN, or
     * EXIT_PENDING: sending may begin (a few datagrams wait), but a peer's will not arrive yet. */
    enum exit_result (*permit)(struct assoc *a, const struct addr *peer);

    /* One datagram to a permitted peer. `data` is referenced until the worker's next flush.
     * `dont_fragment`: set DF (IPv4). What cannot be sent is dropped. The exit drops what is
     * bound for our own listeners, whatever the permission says. */
    void (*send)(struct assoc *a, const struct addr *peer, const uint8_t *data, size_t len,
                 bool dont_fragment);

    /* From the relayed address of a TCP association to `peer`, on_connected(connect_id) answers.
     * Return: EXIT_OK when under way, or the immediate refusal (no event then). */
    enum exit_result (*connect)(struct assoc *a, const struct addr *peer, uint32_t connect_id);

    /* A stream to `peer` from whichever relayed address there is: for sessions that have no
     * association. NULL where the exit has no such thing (direct).
     * Return: 0 and *ret, and on_dialed() will be called once, later; or -ENOMEM. */
    int (*dial)(struct exit *e, const struct addr *peer, exit_on_dialed *on_dialed, void *user,
                struct dial **ret);
    /* Gives up; on_dialed() is not called. */
    void (*hang_up)(struct dial *d);

    /* The addresses of `name` (at most 255 bytes, copied), asked for at the far side and never by
     * this machine's resolver. NULL where the exit has no such thing.
     * Return: 0 and *ret, and on_resolved() will be called once, later; or -ENOMEM. */
    int (*resolve)(struct exit *e, const char *name, exit_on_resolved *on_resolved, void *user,
                   struct lookup **ret);
    /* Gives up; on_resolved() is not called. */
    void (*forget)(struct lookup *l);
};

struct exit {
    const struct exit_ops *ops;
};
