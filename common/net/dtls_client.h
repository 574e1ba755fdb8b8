/*
 * common/net/dtls_client.h - one DTLS 1.2 session as the client, without a socket
 *
 * The owner hands in the datagrams that came from the server and is handed what is
 * to be sent, as with dtls.h. The handshake is retransmitted from a timer of its own
 * on `base` and given up after DTLS_CLIENT_HANDSHAKE_MS.
 *
 * Events are called from dtls_client_input() and from the timer, never from within
 * dtls_client_send(); the owner may free the client in any of them.
 *
 * Limits:  what verifies, once there are keys, is the server's word. During the
 *          handshake a stranger who can forge the server's address can break it
 *          (-EPROTO); nothing that he sends opens it.
 * Threads: the base's.
 */
#pragma once

#include <event2/event.h>
#include <openssl/ssl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct dtls_client;

#define DTLS_CLIENT_HANDSHAKE_MS 10000

struct dtls_client_events {
    /* One datagram for the server; `data` dies with the call. Must not call back into the client.
     */
    void (*send)(void *user, const uint8_t *data, size_t len);
    void (*on_open)(void *user);
    /* `data` stays as it is until flush() is called or the client is freed, so that it may be
     * queued by reference. */
    void (*on_message)(void *user, const uint8_t *data, size_t len);
    /* 0 close_notify, -EPROTO fatal alert or error, -EACCES the certificate is not the server's
     * (see tls_client_why()), -ETIMEDOUT no handshake. Once; only dtls_client_free() may follow. */
    void (*on_closed)(void *user, int reason);
    /* The buffers behind on_message()'s data are about to be used again. May be NULL. */
    void (*flush)(void *user);
};

/* Takes `ssl` (tls_client_ssl(), DTLS), also on failure. dtls_client_start() says the first word.
 * Return: NULL when memory is short. */
struct dtls_client *dtls_client_new(struct event_base *base, SSL *ssl,
                                    const struct dtls_client_events *events, void *user);
void dtls_client_start(struct dtls_client *c);
/* Without a word; dtls_client_say_goodbye() first sends close_notify. NULL is fine. */
void dtls_client_free(struct dtls_client *c);
void dtls_client_say_goodbye(struct dtls_client *c);

/* Other times than the defaults, before dtls_client_start(): the whole handshake, and its first
 * retransmission (then doubling). */
void dtls_client_set_times(struct dtls_client *c, unsigned int handshake_ms,
                           unsigned int retransmit_ms);

/* One datagram from the server. */
void dtls_client_input(struct dtls_client *c, const uint8_t *data, size_t len);
/* One message, gathered. Return: 0; -EMSGSIZE over DTLS_MESSAGE_MAX (dtls.h); -EPIPE before
 * on_open() or after the end. */
int dtls_client_send(struct dtls_client *c, const struct iovec *iov, int n_iov);

const SSL *dtls_client_ssl(const struct dtls_client *c);
