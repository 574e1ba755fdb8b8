/*
 * common/net/dtls_impl.h - what dtls.c and dtls_cookie.c share; nobody else's
 */
#pragma once

#include <openssl/evp.h>

#include "common/base/hash.h"
#include "common/base/list.h"
#include "common/net/dtls.h"
#include "common/net/dtls_hello.h"
#include "common/net/dtls_wire.h"

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
    struct dtls_wire wire;
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

    struct dtls_datagram input;
    struct dtls_plain plain;
    uint8_t out[DTLS_MESSAGE_MAX];
};

/* What cookies are made with. NULL when memory is short. */
EVP_MAC_CTX *dtls_cookie_mac(const uint8_t secret[DTLS_COOKIE_SECRET_LEN]);
