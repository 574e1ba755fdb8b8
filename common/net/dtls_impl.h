/*
 * common/net/dtls_impl.h - what dtls.c and dtls_link.c share; nobody else's
 */
#pragma once

#include <openssl/evp.h>

#include "common/base/hash.h"
#include "common/base/list.h"
#include "common/net/dtls.h"
#include "common/net/dtls_hello.h"

/* Messages stay here until the owner's flush: room for a GRO train of them beside a full one. */
#define DTLS_PLAIN_MAX (6 * DTLS_MESSAGE_MAX)

enum dtls_state {
    DTLS_SPARE,
    DTLS_HANDSHAKE,
    DTLS_OPEN,
};

struct dtls_key {
    struct addr remote, local;
};

/* Set on the stack of whoever calls an event: it tells that the session was closed in there. */
struct dtls_guard {
    bool gone;
};

struct dtls_session {
    struct dtls_server *server;
    SSL *ssl;
    void *listener, *user;
    struct dtls_key key;
    uint8_t client_random[DTLS_RANDOM_LEN];
    enum dtls_state state;
    bool held;
    struct hash_node node;
    struct list list; /* server->handshakes or server->idle */
    struct dtls_guard *guard;
    struct event *timer; /* HANDSHAKE only */
    uint64_t deadline_ns;
    uint64_t last_input_ns;
};

struct dtls_server {
    struct event_base *base;
    SSL_CTX *ctx;
    EVP_MAC_CTX *mac; /* keyed with the cookie secret */
    struct dtls_limits limits;
    const struct dtls_events *events;
    void *user;
    struct hash_table table;
    struct list handshakes, idle;
    size_t n_handshakes;
    struct dtls_session *spare;
    struct event *idle_timer;
    uint64_t now_ns;

    const uint8_t *input; /* the datagram being handled; NULL once OpenSSL took it */
    size_t input_len;

    size_t plain_len;
    uint8_t plain[DTLS_PLAIN_MAX];
    uint8_t out[DTLS_MESSAGE_MAX];
};

/* A BIO that reads the server's current datagram and writes by events->send(). NULL when memory is
 * short. */
BIO *dtls_link_bio(struct dtls_session *s);
/* What cookies are made with. NULL when memory is short. */
EVP_MAC_CTX *dtls_link_mac(const uint8_t secret[DTLS_COOKIE_SECRET_LEN]);
