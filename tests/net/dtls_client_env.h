/*
 * tests/net/dtls_client_env.h - a DTLS client and our server, with a bad wire between them
 */
#pragma once

#include <errno.h>
#include <openssl/err.h>

#include "common/net/dtls.h"
#include "common/net/dtls_client.h"
#include "common/net/tls_client.h"
#include "tests/net/certs.h"
#include "tests/net/support.h"

#define NAME          "relay.test"
#define WIRE_MAX      256
#define RETRANSMIT_MS 40

/* ---- a wire that loses, doubles and reorders ---- */

struct datagram {
    size_t len;
    uint8_t data[20000];
};

struct wire {
    struct datagram *queue[WIRE_MAX];
    size_t n;
    unsigned int n_sent;
    unsigned int loss_percent, twice_percent; /* of the datagrams put in */
    bool shuffled;
    size_t max_len;
};

static void wire_add(struct wire *w, const uint8_t *data, size_t len)
{
    struct datagram *d = malloc(sizeof(*d));
    size_t at = w->shuffled ? (size_t)rand() % (w->n + 1) : w->n;

    ck_assert_uint_le(len, sizeof(d->data));
    ck_assert_uint_lt(w->n, WIRE_MAX);
    d->len = len;
    memcpy(d->data, data, len);
    memmove(w->queue + at + 1, w->queue + at, (w->n - at) * sizeof(w->queue[0]));
    w->queue[at] = d;
    w->n++;
}

static void wire_put(struct wire *w, const uint8_t *data, size_t len)
{
    unsigned int percent = (unsigned int)rand() % 100;

    w->n_sent++;
    w->max_len = len > w->max_len ? len : w->max_len;
    if (percent < w->loss_percent)
        return;
    wire_add(w, data, len);
    if (percent >= 100 - w->twice_percent)
        wire_add(w, data, len);
}

/* The caller frees it. */
static struct datagram *wire_get(struct wire *w)
{
    struct datagram *d = w->n > 0 ? w->queue[0] : NULL;

    if (d)
        memmove(w->queue, w->queue + 1, --w->n * sizeof(w->queue[0]));
    return d;
}

static void wire_clear(struct wire *w)
{
    struct datagram *d;

    while ((d = wire_get(w)))
        free(d);
}

/* ---- everything a test needs ---- */

static struct {
    struct event_base *base;
    struct tls_server *tls;
    SSL_CTX *server_ctx; /* NULL: tls->dtls */
    struct dtls_server *server;
    struct dtls_session *session;
    struct addr client_addr, server_addr;
    int server_messages, server_closed, server_reason;
    bool server_echo;

    struct tls_client *trust;
    struct dtls_client *client;
    struct wire to_server, to_client;
    bool in_call;
    int n_open, n_messages, n_closed, n_flushes, reason;
    bool free_on_open, free_on_message, free_on_closed;
    char why[128];
    const uint8_t *last_data;
    uint8_t message[20000];
    size_t message_len;
} b;

static void server_on_send(void *user, void *listener, const struct addr *to,
                           const struct addr *from, const uint8_t *data, size_t len)
{
    wire_put(&b.to_client, data, len);
}

static void server_on_open(void *user, struct dtls_session *session)
{
    b.session = session;
}

static void server_on_message(void *user, struct dtls_session *session, const uint8_t *data,
                              size_t len)
{
    struct iovec iov = {(void *)(uintptr_t)data, len};

    b.server_messages++;
    if (b.server_echo)
        ck_assert_int_eq(dtls_session_send(session, &iov, 1), 0);
}

static void server_on_closed(void *user, struct dtls_session *session, int reason)
{
    b.server_closed++;
    b.server_reason = reason;
    b.session = NULL;
}

static const struct dtls_events server_events = {
    .send = server_on_send,
    .on_open = server_on_open,
    .on_message = server_on_message,
    .on_closed = server_on_closed,
};

static void client_free(void)
{
    dtls_client_free(b.client);
    b.client = NULL;
}

static void on_send(void *user, const uint8_t *data, size_t len)
{
    ck_assert_ptr_eq(user, &b);
    wire_put(&b.to_server, data, len);
}

static void on_open(void *user)
{
    ck_assert(!b.in_call);
    b.n_open++;
    if (b.free_on_open)
        client_free();
}

static void on_message(void *user, const uint8_t *data, size_t len)
{
    ck_assert(!b.in_call);
    ck_assert_int_eq(b.n_open, 1);
    ck_assert_int_eq(b.n_closed, 0);
    b.n_messages++;
    b.last_data = data;
    memcpy(b.message, data, len);
    b.message_len = len;
    if (b.free_on_message)
        client_free();
}

static void on_closed(void *user, int reason)
{
    const char *why = tls_client_why(dtls_client_ssl(b.client));

    ck_assert(!b.in_call);
    b.n_closed++;
    b.reason = reason;
    snprintf(b.why, sizeof(b.why), "%s", why ? why : "");
    if (b.free_on_closed)
        client_free();
}

static void on_flush(void *user)
{
    b.n_flushes++;
}

static const struct dtls_client_events events = {
    .send = on_send,
    .on_open = on_open,
    .on_message = on_message,
    .on_closed = on_closed,
    .flush = on_flush,
};

static void server_new(SSL_CTX *ctx)
{
    static const uint8_t secret[DTLS_COOKIE_SECRET_LEN] = "a secret of thirty-two byteslong";
    static const struct dtls_limits limits = {.max_sessions = 10,
                                              .max_handshakes = 10,
                                              .handshake_ms = 5000,
                                              .retransmit_ms = RETRANSMIT_MS};

    dtls_server_free(b.server);
    b.server = dtls_server_new(b.base, ctx, secret, &limits, &server_events, &b);
    ck_assert_ptr_nonnull(b.server);
}

/* A client that trusts `ca` (NULL: nobody) for `name`, or who has the pins. */
static void client_use(const struct cert *ca, const char *name, unsigned char (*pins)[32],
                       size_t n_pins)
{
    SSL *ssl;

    client_free();
    tls_client_free(b.trust);
    b.trust = cert_client(ca);
    ssl = tls_client_ssl(b.trust, true, name, (const unsigned char(*)[32])pins, n_pins);
    b.client = dtls_client_new(b.base, ssl, &events, &b);
    ck_assert_ptr_nonnull(b.client);
    dtls_client_set_times(b.client, 3000, RETRANSMIT_MS);
}

static void client_use_pin(void)
{
    unsigned char pins[1][32];

    ck_assert(pin_parse(b.tls->pin, pins[0]));
    client_use(NULL, NAME, pins, 1);
}

static void setup(void)
{
    memset(&b, 0, sizeof(b));
    srand(1);
    b.base = event_base_new();
    b.tls = test_tls_server();
    b.client_addr = addr_make_v4(0xc0000201, 40000);
    b.server_addr = addr_make_v4(0xc6336401, 5349);
    b.server_echo = true;
    server_new(b.tls->dtls);
    client_use_pin();
}

static void teardown(void)
{
    client_free();
    tls_client_free(b.trust);
    dtls_server_free(b.server);
    wire_clear(&b.to_server);
    wire_clear(&b.to_client);
    tls_server_free(b.tls);
    event_base_free(b.base);
    ERR_clear_error();
}

/* An exact-size copy: ASan sees every byte read beyond it. */
static void client_input(const uint8_t *data, size_t len)
{
    uint8_t *copy = malloc(len ? len : 1);

    memcpy(copy, data, len);
    if (b.client)
        dtls_client_input(b.client, copy, len);
    free(copy);
}

static void deliver(void)
{
    struct datagram *d;

    while ((d = wire_get(&b.to_server))) {
        dtls_server_input(b.server, &b, &b.client_addr, &b.server_addr, d->data, d->len,
                          clock_now_ns());
        free(d);
    }
    while ((d = wire_get(&b.to_client))) {
        client_input(d->data, d->len);
        free(d);
    }
}

/* Turns the loop and the wires until the client is open or closed. Return: whether open. */
static bool settle(unsigned int ms)
{
    uint64_t end_ns = clock_now_ns() + ms * NS_PER_MS;

    while (b.n_open == 0 && b.n_closed == 0 && clock_now_ns() < end_ns) {
        deliver();
        event_base_loop(b.base, EVLOOP_NONBLOCK);
        if (b.to_server.n + b.to_client.n == 0)
            usleep(200);
    }
    return b.n_open == 1 && b.n_closed == 0;
}

static void start(void)
{
    b.in_call = true;
    dtls_client_start(b.client);
    b.in_call = false;
}

static int say(const void *data, size_t len)
{
    struct iovec iov[2] = {{(void *)(uintptr_t)data, len / 2},
                           {(void *)((uintptr_t)data + len / 2), len - len / 2}};
    int r;

    b.in_call = true;
    r = dtls_client_send(b.client, iov, 2);
    b.in_call = false;
    return r;
}

static void echo_works(void)
{
    int before = b.n_messages;

    ck_assert_int_eq(say("hello", 5), 0);
    deliver();
    deliver();
    ck_assert_int_eq(b.n_messages, before + 1);
    ck_assert_uint_eq(b.message_len, 5);
    ck_assert_int_eq(memcmp(b.message, "hello", 5), 0);
}

static void closed_within(unsigned int ms, int reason)
{
    uint64_t end_ns = clock_now_ns() + ms * NS_PER_MS;

    while (b.n_closed == 0 && clock_now_ns() < end_ns) {
        deliver();
        event_base_loop(b.base, EVLOOP_NONBLOCK);
        usleep(200);
    }
    ck_assert_int_eq(b.n_closed, 1);
    ck_assert_int_eq(b.reason, reason);
}
