/*
 * relay/exit/upstream/link.h - messages to and from one relay, over one transport
 *
 * A link is a UDP socket, a DTLS session, a TCP or a TLS connection to a TURN server.
 * Whole messages (STUN or ChannelData) go in and come out; what stands above it does
 * not know which it is, except where an RFC makes a difference (retransmission,
 * padding, RFC 6062).
 *
 * States: OPENING -> OPEN -> CLOSED. on_open() once, unless on_closed() comes instead;
 * nothing after on_closed(). A UDP link opens on the next turn of the loop: only an
 * answer shows that anybody is there. Nothing is called back from within a call of the
 * owner's, and the owner may free the link in any event.
 *
 * Owner:   whoever made it. Threads: the worker's of `env`.
 */
#pragma once

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/net/addr.h"

struct link;
struct link_env;
struct rx_batch;
struct stream;
struct stream_pool;
struct tls_client;
struct tx_queue;

enum link_kind {
    LINK_UDP,
    LINK_DTLS,
    LINK_TCP,
    LINK_TLS,
    N_LINK_KINDS,
};

/* What the worker lends; outlives every link. */
struct link_env {
    struct event_base *base;
    struct rx_batch *rx;
    struct tx_queue *tx;
    struct stream_pool *pool;
    struct tls_client *tls; /* NULL when no server is asked for by DTLS or TLS */
};

/* Where to, and who must be there. Borrowed during link_new() only. */
struct link_to {
    enum link_kind kind;
    struct addr server;
    const char *name;                /* host name or IP literal: SNI and certificate */
    const unsigned char (*pins)[32]; /* tls_client.h */
    size_t n_pins;
};

struct link_events {
    void (*on_open)(void *user);
    /* One whole message. `data` stays as it is until the worker's next tx_flush(), which
     * link_free() is too. */
    void (*on_message)(void *user, const uint8_t *data, size_t len, uint64_t now_ns);
    /* -errno (-ECONNREFUSED, -ETIMEDOUT, -EACCES: the certificate is not the server's, ...) or 0;
     * `why` is one line for a log and the stats page, and dies with the call. */
    void (*on_closed)(void *user, int reason, const char *why);
    /* Output that had to wait has gone (streams only); may be NULL. */
    void (*on_drained)(void *user);
};

/* `events` NULL: set before long (an end is told then; messages are not kept).
 * Return: 0 and *ret, with events to come; or -errno. */
int link_new(const struct link_env *env, const struct link_to *to, const struct link_events *events,
             void *user, struct link **ret);
/* Whose events they are from now on. */
void link_set_events(struct link *l, const struct link_events *events, void *user);
/* Without waiting for what is pending; a DTLS session says close_notify. NULL is fine. */
void link_free(struct link *l);

/* One message: `header` (1 to TX_HEADER_MAX bytes, batch.h) and payload; the link adds the padding,
 * of ChannelData on a stream and of a STUN message's last attribute anywhere. `payload` is
 * referenced until the worker's next tx_flush(), with which UDP and DTLS links send (each of the
 * events above ends with one). What cannot go is dropped, as datagrams are; so is everything
 * before on_open(). */
void link_send(struct link *l, const void *header, size_t header_len, const void *payload,
               size_t payload_len);
/* One whole message that may be on the caller's stack. Return: 0, or -errno when it was not taken.
 */
int link_send_copy(struct link *l, const void *data, size_t len);

enum link_kind link_kind(const struct link *l);
static inline bool link_kind_is_stream(enum link_kind kind)
{
    return kind == LINK_TCP || kind == LINK_TLS;
}
bool link_is_open(const struct link *l);
/* Our own address as the socket has it; none when CLOSED. */
struct addr link_local(const struct link *l);
/* It cannot work any more, for this reason (-errno): on_closed() follows at once. From the loop,
 * and not from within an event of the link's. */
void link_fail(struct link *l, int reason);

/* The end of the certificate that the relay has shown, seconds since 1970; 0: none, or not OPEN. */
uint64_t link_certificate_end_s(const struct link *l);

/* Hands the byte stream over (RFC 6062, section 4.4), with all bytes behind the message being
 * handled; from within on_message() only. The link is closed without an event and still to be
 * freed. NULL for datagram links. */
struct stream *link_take_stream(struct link *l);
