/*
 * common/net/dtls_wire.h - OpenSSL's DTLS without a socket
 *
 * What server sessions (dtls.c) and a client (dtls_client.c) have in common: a BIO
 * without memory (reading takes the datagram being handled, once; writing calls
 * send()), and where decrypted messages stay until the owner's flush.
 *
 * Owner: whoever embeds these; a wire outlives its SSL. Threads: the owner's.
 */
#pragma once

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/time.h>
#include <sys/uio.h>

#include "common/net/dtls.h"
#include "common/net/dtls_hello.h"

/* Header, record, and what a cipher may add (RFC 5246, section 6.2.3). */
#define DTLS_DATAGRAM_MAX (DTLS_RECORD_HEADER + DTLS_MESSAGE_MAX + 2048)

/* Messages stay here until the owner's flush: room for a GRO train of them beside a full one. */
#define DTLS_PLAIN_MAX (6 * DTLS_MESSAGE_MAX)

/* The datagram being handled; `data` is NULL once OpenSSL took it. */
struct dtls_datagram {
    const uint8_t *data;
    size_t len;
};

struct dtls_wire {
    struct dtls_datagram *input; /* the sessions of a server share one */
    void (*send)(struct dtls_wire *wire, const uint8_t *data, size_t len);
};

struct dtls_plain {
    size_t len;
    uint8_t data[DTLS_PLAIN_MAX];
};

/* Gives `ssl` its BIO and the handshake's MTU. Return: 0 or -ENOMEM. */
int dtls_wire_attach(struct dtls_wire *wire, SSL *ssl);

/* Whether OpenSSL may see a datagram. An encrypted record shorter than what its cipher adds cannot
 * verify, and OpenSSL takes it for an error of its own instead of passing over it (3.0.19: anybody
 * could end a session with 21 bytes). */
bool dtls_wire_takes(const SSL *ssl, const uint8_t *data, size_t len);

/* DTLS_MESSAGE_MAX bytes for the next message that nothing queued refers to. `flush` may be NULL.
 */
uint8_t *dtls_plain_space(struct dtls_plain *plain, void (*flush)(void *user), void *user);

/* One message, gathered in `out`. Return: 0, -EMSGSIZE, or -EPIPE when OpenSSL fails. */
int dtls_wire_write(SSL *ssl, uint8_t out[DTLS_MESSAGE_MAX], const struct iovec *iov, int n_iov);

static inline struct timeval dtls_timeval(uint64_t ms)
{
    return (struct timeval){.tv_sec = (time_t)(ms / 1000), .tv_usec = (int)(ms % 1000 * 1000)};
}
