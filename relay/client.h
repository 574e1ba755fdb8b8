/*
 * relay/client.h - seam: what turn/ asks of whoever brought the bytes in
 *
 * listen/ makes a client for each flow (5-tuple) and feeds whole messages to
 * turn_on_message(). turn/ answers through the client's ops and never knows
 * which transport it is, except where an RFC makes a difference.
 *
 * Flow:   UDP listeners keep nothing about a sender: the client they pass is on
 *         their stack. When an allocation is made, turn/ calls keep() and gets the
 *         client that will live as long as the allocation; streams and DTLS
 *         sessions exist already and return themselves.
 * Owner:  listen/. turn/ drops its hold with release(); a client whose transport
 *         dies first tells turn_on_closed() and is gone after that call.
 * Threads: the worker that made it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/net/addr.h"

enum transport {
    TRANSPORT_UDP,
    TRANSPORT_TCP,
    TRANSPORT_TLS,
    TRANSPORT_DTLS,
    N_TRANSPORTS,
};

struct client;
struct alloc;
struct stream;
struct visitor;

struct client_ops {
    /* Sends header + payload as one message; a stream adds ChannelData's or DATA's padding, which
     * the caller counts in `n_padding` (0..3 zero bytes behind the payload; ignored nowhere).
     * `header` may be on the caller's stack. `payload` is referenced until the worker's next
     * flush (common/net/batch.h) and must belong to the batch being handled. */
    void (*send)(struct client *c, const void *header, size_t header_len, const void *payload,
                 size_t payload_len, size_t n_padding);
    /* Sends one message that may be on the caller's stack. */
    void (*send_copy)(struct client *c, const void *data, size_t len);
    /* As send_copy(), from the listener on the other address and/or port (RFC 5780,
     * CHANGE-REQUEST). NULL where it cannot be done. Return: false when there is none. */
    bool (*send_copy_from)(struct client *c, bool other_ip, bool other_port, uint16_t to_port,
                           const void *data, size_t len);
    struct client *(*keep)(struct client *c); /* NULL when memory is short */
    void (*release)(struct client *c);
    /* Ends the transport after what was sent has gone; NULL for UDP. */
    void (*close)(struct client *c);
    /* Hands the byte stream over, with all bytes behind the message being handled; the client is
     * gone after the message. NULL for datagram transports. */
    struct stream *(*take_stream)(struct client *c);
};

struct client {
    const struct client_ops *ops;
    struct addr remote;   /* the client's address as we see it: never in an answer when hidden */
    struct addr local;    /* the address of ours that it reached; never a wildcard */
    uint64_t id;          /* for log lines; 0 until kept */
    struct alloc *alloc;  /* turn/'s; NULL without an allocation */
    struct visitor *away; /* roam.h's; set: another worker has its allocation */
    uint8_t transport;    /* enum transport */
};

static inline bool client_is_stream(const struct client *c)
{
    return c->transport == TRANSPORT_TCP || c->transport == TRANSPORT_TLS;
}
