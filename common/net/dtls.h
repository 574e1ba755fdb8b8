/*
 * common/net/dtls.h - DTLS 1.2 server sessions of many clients on shared UDP sockets
 *
 * No socket I/O of its own: the owner hands in what it received and is handed
 * what is to be sent, so that DTLS datagrams travel in the same batches as all
 * others (common/net/batch.h).
 *
 * Flow:    dtls_server_input() for each datagram. A ClientHello without a valid
 *          cookie is answered with a HelloVerifyRequest and forgotten; anything
 *          else from a stranger is dropped before OpenSSL sees it. A valid cookie
 *          makes a session: handshake -> on_open() -> on_message()... -> on_closed().
 * Cookies: HMAC over the client's address and port, our address and the current
 *          half-minute, with a secret of the whole process: it does not matter
 *          which worker the kernel picks for which datagram of the exchange.
 * Replacement: a new handshake from the 5-tuple of a running session replaces it
 *          only after the cookie exchange (RFC 6347, section 4.2.8), and not at
 *          all when it is the same ClientHello again (a late duplicate).
 * Limits:  sessions, half-open sessions (the oldest gives way), 15 s for a
 *          handshake, an idle time for sessions that nobody holds.
 * Owner:   the server owns its sessions until dtls_session_close().
 * Threads: one worker owns a server. The SSL_CTX is shared and not changed.
 */
#pragma once

#include <event2/event.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "common/net/addr.h"

struct dtls_server;
struct dtls_session;

#define DTLS_COOKIE_SECRET_LEN 32
/* No datagram of a handshake is larger; it passes every path that WebRTC media passes. */
#define DTLS_HANDSHAKE_MTU 1200
/* The largest message: one record (RFC 6347, section 4.1; RFC 5246, section 6.2.1). */
#define DTLS_MESSAGE_MAX 16384

struct dtls_events {
    /* One datagram to `to`, from the local address `from` of `listener`. `data` dies with the
     * call. Must not call back into the server. */
    void (*send)(void *user, void *listener, const struct addr *to, const struct addr *from,
                 const uint8_t *data, size_t len);
    /* The handshake is done. */
    void (*on_open)(void *user, struct dtls_session *session);
    /* `data` stays as it is until flush(), so that it may be queued by reference. */
    void (*on_message)(void *user, struct dtls_session *session, const uint8_t *data, size_t len);
    /* An open session has ended, and not by dtls_session_close(): 0 close_notify, -ETIMEDOUT idle,
     * -ECONNRESET replaced by a new handshake, -EPROTO fatal alert or error, -ESHUTDOWN the server
     * is being freed. The session is gone after the call. */
    void (*on_closed)(void *user, struct dtls_session *session, int reason);
    /* The buffers behind on_message()'s data are about to be used again: send what refers to them
     * (tx_flush()). May be NULL when on_message() never keeps a reference. */
    void (*flush)(void *user);
};

struct dtls_limits {
    size_t max_sessions;   /* half-open ones included; beyond it newcomers are dropped */
    size_t max_handshakes; /* half-open; beyond it the oldest of them is dropped */
    unsigned int handshake_ms;
    unsigned int retransmit_ms; /* first handshake retransmission, then doubling */
    unsigned int idle_ms;       /* nothing received for so long and not held: closed; 0 never */
};

#define DTLS_LIMITS_DEFAULT                                                                        \
    {                                                                                              \
        .max_sessions = 65536, .max_handshakes = 1024, .handshake_ms = 15000,                      \
        .retransmit_ms = 1000, .idle_ms = 60000                                                    \
    }

/* Sets the cookie callbacks and options that the rest relies on; tls_server_new() has done it for
 * its contexts. Before the context is shared by threads. */
void dtls_ctx_init(SSL_CTX *ctx);

/* Takes a reference on `ctx` (dtls_ctx_init() was called on it). `limits` NULL: the defaults.
 * Return: NULL when memory is short. */
struct dtls_server *dtls_server_new(struct event_base *base, SSL_CTX *ctx,
                                    const uint8_t cookie_secret[DTLS_COOKIE_SECRET_LEN],
                                    const struct dtls_limits *limits,
                                    const struct dtls_events *events, void *user);
/* Says close_notify and on_closed(-ESHUTDOWN) for each open session. Not from within an event. */
void dtls_server_free(struct dtls_server *server);

/* For new sessions; running ones keep the context they started with. */
void dtls_server_set_ctx(struct dtls_server *server, SSL_CTX *ctx);

/* One datagram that `listener` (opaque, handed back to send()) received. `to` is the local address
 * it reached. Sessions are told apart by (from, to). `now_ns` is clock_now_ns(), which the timers
 * of the server read too. */
void dtls_server_input(struct dtls_server *server, void *listener, const struct addr *from,
                       const struct addr *to, const uint8_t *data, size_t len, uint64_t now_ns);

size_t dtls_server_n_sessions(const struct dtls_server *server);
size_t dtls_server_n_handshakes(const struct dtls_server *server);

/* One message, gathered. Return: 0; -EMSGSIZE over DTLS_MESSAGE_MAX; -EPIPE when the session is
 * ending. A datagram may always be lost on the way. */
int dtls_session_send(struct dtls_session *session, const struct iovec *iov, int n_iov);

/* Says close_notify and forgets the session; no event follows. Fine from within its events. */
void dtls_session_close(struct dtls_session *session);

/* A held session (one with an allocation) is never idle; holding is not counted. */
void dtls_session_hold(struct dtls_session *session, bool hold);

void dtls_session_set_user(struct dtls_session *session, void *user);
void *dtls_session_user(const struct dtls_session *session);
const struct addr *dtls_session_remote(const struct dtls_session *session);
const struct addr *dtls_session_local(const struct dtls_session *session);
void *dtls_session_listener(const struct dtls_session *session);
