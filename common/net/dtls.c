/*
 * Theory of operation
 *
 * OpenSSL's DTLSv1_listen() does the cookie exchange on an SSL that is either
 * wiped for the next stranger or, once a cookie was right, becomes a session. So
 * the server keeps one spare session at hand: strangers' ClientHellos go through
 * the spare, whose address fields are set for each. When a cookie is right the
 * spare enters the table and the next stranger gets a new one. A flood without
 * cookies therefore leaves nothing behind, whatever its size.
 *
 * An idle session costs 45 KB, most of it OpenSSL's record buffers: for DTLS
 * SSL_MODE_RELEASE_BUFFERS does nothing, and after SSL_free_buffers() the next
 * SSL_write() crashes (OpenSSL 3.0.22: the write buffer is not made again).
 *
 * States: SPARE (not in the table, in no list; any ClientHello may overwrite it)
 *   -> HANDSHAKE (in the table and server->handshakes, has a timer)
 *   -> OPEN (in the table; in server->idle, in order of last input, unless held)
 *   -> gone. on_open() was called if and only if the state reached OPEN.
 */
#include "common/net/dtls.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/net/dtls_impl.h"
#include "common/net/tls_ctx.h"

static void dtls_on_timer(evutil_socket_t fd, short what, void *arg);
static void dtls_on_idle_timer(evutil_socket_t fd, short what, void *arg);

/* ---- sessions ---- */

static unsigned int dtls_on_set_timer(SSL *ssl, unsigned int previous_us)
{
    const struct dtls_session *s = SSL_get_app_data(ssl);

    if (previous_us == 0)
        return s->server->limits.retransmit_ms * 1000;
    return previous_us < 30000000 ? previous_us * 2 : 60000000;
}

static void dtls_session_free(struct dtls_session *s)
{
    if (!s)
        return;
    if (s->guard)
        s->guard->gone = true;
    if (s->state != DTLS_SPARE)
        hash_remove(&s->server->table, &s->node);
    if (s->state == DTLS_HANDSHAKE)
        s->server->n_handshakes--;
    list_remove(&s->list);
    if (s->timer)
        event_free(s->timer);
    SSL_free(s->ssl);
    free(s);
}

static void dtls_session_on_send(struct dtls_wire *wire, const uint8_t *data, size_t len)
{
    struct dtls_session *s = list_entry(wire, struct dtls_session, wire);

    s->server->events->send(s->server->user, s->listener, &s->key.remote, &s->key.local, data, len);
}

static struct dtls_session *dtls_session_new(struct dtls_server *server)
{
    struct dtls_session *s = calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    s->wire = (struct dtls_wire){.input = &server->input, .send = dtls_session_on_send};
    s->server = server;
    list_init(&s->list);
    s->ssl = SSL_new(server->ctx);
    if (!s->ssl || dtls_wire_attach(&s->wire, s->ssl) < 0) {
        dtls_session_free(s);
        return NULL;
    }
    SSL_set_app_data(s->ssl, s);
    SSL_set_accept_state(s->ssl);
    DTLS_set_timer_cb(s->ssl, dtls_on_set_timer);
    return s;
}

static struct dtls_session *dtls_find(const struct dtls_server *server, const struct dtls_key *key)
{
    uint64_t hash = hash_bytes(key, sizeof(*key));
    struct hash_node *node = hash_first(&server->table, hash);

    while (node) {
        struct dtls_session *s = hash_entry(node, struct dtls_session, node);

        if (memcmp(&s->key, key, sizeof(*key)) == 0)
            return s;
        node = hash_next(node, hash);
    }
    return NULL;
}

/* Ends a session that the owner did not close; only open ones were ever known to it. */
static void dtls_session_end(struct dtls_session *s, int reason)
{
    /* The analyzer does not see that freeing a session takes it off the list it is found by. */
    struct dtls_server *server = s->server; /* NOLINT(clang-analyzer-unix.Malloc) */
    struct dtls_guard guard = {false};

    if (s->state == DTLS_OPEN) {
        s->guard = &guard;
        server->events->on_closed(server->user, s, reason);
        if (guard.gone)
            return;
        s->guard = NULL;
        ERR_clear_error();
        /* Not after a fatal error (RFC 5246, section 7.2.2), nor to a client that has forgotten the
         * old keys. */
        if (reason != -EPROTO && reason != -ECONNRESET)
            SSL_shutdown(s->ssl);
    }
    dtls_session_free(s);
    ERR_clear_error();
}

static int dtls_session_enter_table(struct dtls_session *s)
{
    struct dtls_server *server = s->server;
    struct timeval tv = dtls_timeval(server->limits.retransmit_ms);

    s->timer = evtimer_new(server->base, dtls_on_timer, s);
    if (!s->timer || evtimer_add(s->timer, &tv) < 0)
        return -ENOMEM;
    s->state = DTLS_HANDSHAKE;
    s->deadline_ns = server->now_ns + server->limits.handshake_ms * NS_PER_MS;
    hash_insert(&server->table, &s->node, hash_bytes(&s->key, sizeof(s->key)));
    list_append(&server->handshakes, &s->list);
    server->n_handshakes++;
    return 0;
}

static void dtls_session_touch(struct dtls_session *s)
{
    struct dtls_server *server = s->server;

    s->last_input_ns = server->now_ns;
    if (s->state != DTLS_OPEN || s->held)
        return;
    list_remove(&s->list);
    list_append(&server->idle, &s->list);
    if (server->limits.idle_ms > 0 && !evtimer_pending(server->idle_timer, NULL)) {
        struct timeval tv = dtls_timeval(server->limits.idle_ms);

        evtimer_add(server->idle_timer, &tv);
    }
}

/* The next retransmission or the deadline, whichever comes first. */
static void dtls_session_arm(struct dtls_session *s)
{
    uint64_t now_ns = s->server->now_ns;
    uint64_t left_ms = s->deadline_ns > now_ns ? (s->deadline_ns - now_ns) / NS_PER_MS : 0;
    struct timeval retransmit, deadline = dtls_timeval(left_ms + 1);

    if (DTLSv1_get_timeout(s->ssl, &retransmit) == 1 && evutil_timercmp(&retransmit, &deadline, <))
        deadline = retransmit;
    evtimer_add(s->timer, &deadline);
}

static void dtls_session_opened(struct dtls_session *s)
{
    struct dtls_server *server = s->server;

    event_free(s->timer);
    s->timer = NULL;
    s->state = DTLS_OPEN;
    server->n_handshakes--;
    list_remove(&s->list);
    dtls_session_touch(s);
    server->events->on_open(server->user, s);
}

/* Return: whether the handshake is done and the session still there. */
static bool dtls_session_handshake(struct dtls_session *s)
{
    struct dtls_guard guard = {false};
    int r, why;

    ERR_clear_error();
    r = SSL_do_handshake(s->ssl);
    if (r != 1) {
        why = SSL_get_error(s->ssl, r);
        if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE)
            dtls_session_arm(s);
        else
            dtls_session_end(s, -EPROTO);
        return false;
    }
    s->guard = &guard;
    dtls_session_opened(s);
    if (guard.gone)
        return false;
    s->guard = NULL;
    return true;
}

/* All messages of the datagram. A record that does not verify is skipped by OpenSSL in silence
 * (RFC 6347, section 4.1.2.7). */
static void dtls_session_read(struct dtls_session *s)
{
    struct dtls_server *server = s->server;
    struct dtls_guard guard = {false};

    for (;;) {
        uint8_t *data = dtls_plain_space(&server->plain, server->events->flush, server->user);
        int n, why;

        tls_forget_errors();
        n = SSL_read(s->ssl, data, DTLS_MESSAGE_MAX);
        if (n <= 0) {
            why = SSL_get_error(s->ssl, n);
            if (why == SSL_ERROR_ZERO_RETURN)
                dtls_session_end(s, 0);
            else if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE)
                dtls_session_end(s, -EPROTO);
            return;
        }
        server->plain.len += (size_t)n;
        dtls_session_touch(s); /* only what verified counts: others cannot keep a session alive */
        s->guard = &guard;
        server->events->on_message(server->user, s, data, (size_t)n);
        if (guard.gone)
            return;
        s->guard = NULL;
    }
}

static void dtls_session_input(struct dtls_session *s)
{
    if (s->state == DTLS_HANDSHAKE && !dtls_session_handshake(s))
        return;
    dtls_session_read(s);
}

/* ---- strangers ---- */

/* Whether there is room for one more; a half-open session may have to go for it. */
static bool dtls_server_make_room(struct dtls_server *server)
{
    if (server->table.n_entries >= server->limits.max_sessions)
        return false;
    if (server->n_handshakes >= server->limits.max_handshakes) {
        if (list_empty(&server->handshakes))
            return false;
        dtls_session_end(list_entry(server->handshakes.next, struct dtls_session, list), -EPROTO);
    }
    return true;
}

/* The spare's cookie was right: it takes the place of `old` (or NULL) and goes on. */
static void dtls_server_adopt(struct dtls_server *server, struct dtls_session *old,
                              const uint8_t *client_random)
{
    struct dtls_session *s = server->spare;

    server->spare = NULL;
    if (old)
        dtls_session_end(old, -ECONNRESET);
    else if (!dtls_server_make_room(server)) {
        dtls_session_free(s);
        return;
    }
    memcpy(s->client_random, client_random, sizeof(s->client_random));
    if (dtls_session_enter_table(s) < 0) {
        dtls_session_free(s);
        return;
    }
    dtls_session_input(s);
}

static void dtls_server_listen(struct dtls_server *server, void *listener,
                               const struct dtls_key *key, struct dtls_session *old,
                               const uint8_t *client_random)
{
    BIO_ADDR *ignored = BIO_ADDR_new();
    int r = 0;

    if (!server->spare)
        server->spare = dtls_session_new(server);
    if (server->spare && ignored) {
        server->spare->key = *key;
        server->spare->listener = listener;
        ERR_clear_error();
        r = DTLSv1_listen(server->spare->ssl, ignored);
        if (r < 0) { /* after a fatal error nothing is promised about the SSL */
            dtls_session_free(server->spare);
            server->spare = NULL;
        }
    }
    BIO_ADDR_free(ignored);
    if (r > 0)
        dtls_server_adopt(server, old, client_random);
    ERR_clear_error();
}

void dtls_server_input(struct dtls_server *server, void *listener, const struct addr *from,
                       const struct addr *to, const uint8_t *data, size_t len, uint64_t now_ns)
{
    struct dtls_key key = {.remote = *from, .local = *to};
    struct dtls_session *s = dtls_find(server, &key);
    uint8_t client_random[DTLS_RANDOM_LEN];
    bool is_hello;

    if (len < DTLS_RECORD_HEADER || len > DTLS_DATAGRAM_MAX)
        return;
    server->now_ns = now_ns;
    server->input = (struct dtls_datagram){data, len};
    is_hello = dtls_hello_random(data, len, client_random);
    if (s && (!is_hello || memcmp(client_random, s->client_random, DTLS_RANDOM_LEN) == 0)) {
        s->listener = listener;
        if (dtls_wire_takes(s->ssl, data, len))
            dtls_session_input(s);
    } else if (is_hello) {
        dtls_server_listen(server, listener, &key, s, client_random);
    }
    server->input.data = NULL;
}

/* ---- timers ---- */

static void dtls_on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct dtls_session *s = arg;
    struct dtls_server *server = s->server;

    server->now_ns = clock_now_ns();
    ERR_clear_error();
    if (server->now_ns >= s->deadline_ns || DTLSv1_handle_timeout(s->ssl) < 0)
        dtls_session_end(s, -ETIMEDOUT);
    else
        dtls_session_arm(s);
    ERR_clear_error();
}

static void dtls_on_idle_timer(evutil_socket_t fd, short what, void *arg)
{
    struct dtls_server *server = arg;
    uint64_t idle_ns = server->limits.idle_ms * NS_PER_MS, now_ns = clock_now_ns();

    server->now_ns = now_ns;
    while (!list_empty(&server->idle)) {
        struct dtls_session *s = list_entry(server->idle.next, struct dtls_session, list);
        struct timeval tv;

        /* As in dtls_session_end(): the sessions before this one are off the list. */
        if (s->last_input_ns + idle_ns > now_ns) { /* NOLINT(clang-analyzer-unix.Malloc) */
            tv = dtls_timeval((s->last_input_ns + idle_ns - now_ns) / NS_PER_MS + 1);
            evtimer_add(server->idle_timer, &tv);
            return;
        }
        dtls_session_end(s, -ETIMEDOUT);
    }
}

/* ---- the owner's side ---- */

struct dtls_server *dtls_server_new(struct event_base *base, SSL_CTX *ctx,
                                    const uint8_t cookie_secret[DTLS_COOKIE_SECRET_LEN],
                                    const struct dtls_limits *limits,
                                    const struct dtls_events *events, void *user)
{
    static const struct dtls_limits defaults = DTLS_LIMITS_DEFAULT;
    struct dtls_server *server = calloc(1, sizeof(*server));

    if (!server)
        return NULL;
    SSL_CTX_up_ref(ctx);
    server->ctx = ctx;
    server->base = base;
    server->limits = limits ? *limits : defaults;
    server->events = events;
    server->user = user;
    list_init(&server->handshakes);
    list_init(&server->idle);
    server->idle_timer = evtimer_new(base, dtls_on_idle_timer, server);
    server->mac = dtls_cookie_mac(cookie_secret);
    if (!server->idle_timer || !server->mac || hash_init(&server->table, 64) < 0) {
        dtls_server_free(server);
        return NULL;
    }
    return server;
}

void dtls_server_free(struct dtls_server *server)
{
    if (!server)
        return;
    for (size_t i = 0; i < server->table.n_buckets; i++)
        while (server->table.buckets[i])
            dtls_session_end(hash_entry(server->table.buckets[i], struct dtls_session, node),
                             -ESHUTDOWN);
    dtls_session_free(server->spare);
    hash_deinit(&server->table);
    if (server->idle_timer)
        event_free(server->idle_timer);
    EVP_MAC_CTX_free(server->mac);
    SSL_CTX_free(server->ctx);
    free(server);
}

void dtls_server_set_ctx(struct dtls_server *server, SSL_CTX *ctx)
{
    SSL_CTX_up_ref(ctx);
    SSL_CTX_free(server->ctx);
    server->ctx = ctx;
    dtls_session_free(server->spare);
    server->spare = NULL;
}

size_t dtls_server_n_sessions(const struct dtls_server *server)
{
    return server->table.n_entries;
}

size_t dtls_server_n_handshakes(const struct dtls_server *server)
{
    return server->n_handshakes;
}

int dtls_session_send(struct dtls_session *s, const struct iovec *iov, int n_iov)
{
    return dtls_wire_write(s->ssl, s->server->out, iov, n_iov);
}

void dtls_session_close(struct dtls_session *s)
{
    ERR_clear_error();
    SSL_shutdown(s->ssl);
    dtls_session_free(s);
    ERR_clear_error();
}

void dtls_session_hold(struct dtls_session *s, bool hold)
{
    if (s->held == hold)
        return;
    s->held = hold;
    list_remove(&s->list);
    if (!hold)
        dtls_session_touch(s);
}

void dtls_session_set_user(struct dtls_session *s, void *user)
{
    s->user = user;
}

void *dtls_session_user(const struct dtls_session *s)
{
    return s->user;
}

const struct addr *dtls_session_remote(const struct dtls_session *s)
{
    return &s->key.remote;
}

const struct addr *dtls_session_local(const struct dtls_session *s)
{
    return &s->key.local;
}

void *dtls_session_listener(const struct dtls_session *s)
{
    return s->listener;
}
