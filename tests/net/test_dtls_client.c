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

    ck_assert(tls_pin_parse(b.tls->pin, pins[0]));
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

/* ---- the handshake ---- */

START_TEST(handshake_then_messages_both_ways)
{
    ck_assert_int_eq(say("early", 5), -EPIPE);
    start();
    ck_assert_int_eq(say("early", 5), -EPIPE);
    ck_assert(settle(1000));
    ck_assert_str_eq(SSL_get_version(dtls_client_ssl(b.client)), "DTLSv1.2");
    echo_works();
    echo_works();
}
END_TEST

START_TEST(no_datagram_of_the_handshake_is_over_the_mtu)
{
    struct cert_want ca = {.cn = "a long way up", .is_ca = true}, leaf = {.cn = "x"};
    struct cert issuer = cert_make(&ca), server;
    SSL_CTX *ctx;
    char san[2200] = "DNS:" NAME;

    for (int i = 0; i < 80; i++) /* a certificate of two datagrams */
        snprintf(san + strlen(san), sizeof(san) - strlen(san), ",DNS:name-%d.relay.test", i);
    leaf.san = san;
    leaf.from = &issuer;
    server = cert_make(&leaf);
    ctx = cert_server(&server, DTLS_server_method());
    dtls_ctx_init(ctx);
    server_new(ctx);
    client_use(&issuer, NAME, NULL, 0);
    start();
    ck_assert(settle(1000));
    ck_assert_uint_le(b.to_client.max_len, DTLS_HANDSHAKE_MTU);
    ck_assert_uint_le(b.to_server.max_len, DTLS_HANDSHAKE_MTU);
    echo_works();
    SSL_CTX_free(ctx);
    cert_free(&server);
    cert_free(&issuer);
}
END_TEST

START_TEST(handshake_survives_loss_doubles_and_reordering)
{
    srand(100 + (unsigned int)_i);
    b.to_server.loss_percent = b.to_client.loss_percent = 25;
    b.to_server.twice_percent = b.to_client.twice_percent = 25;
    b.to_server.shuffled = b.to_client.shuffled = true;
    dtls_client_set_times(b.client, 20000, RETRANSMIT_MS);
    start();
    ck_assert(settle(15000));
    b.to_server = (struct wire){.n_sent = b.to_server.n_sent};
    b.to_client = (struct wire){0};
    /* The server may still be waiting for our last words: its retransmissions bring them. */
    for (int i = 0; i < 2000 && !b.session; i++) {
        deliver();
        event_base_loop(b.base, EVLOOP_NONBLOCK);
        usleep(500);
    }
    ck_assert_ptr_nonnull(b.session);
    wire_clear(&b.to_client);
    echo_works();
    ck_assert_int_eq(b.n_closed, 0);
}
END_TEST

START_TEST(silence_is_retransmitted_into_and_then_given_up)
{
    dtls_client_set_times(b.client, 400, RETRANSMIT_MS);
    b.to_server.loss_percent = 100;
    start();
    closed_within(1000, -ETIMEDOUT);
    /* 0, 40, 120 and 280 ms; one fewer on a busy machine. */
    ck_assert_uint_ge(b.to_server.n_sent, 3);
    ck_assert_uint_le(b.to_server.n_sent, 5);
    ck_assert_int_eq(b.n_open, 0);
    ck_assert_int_eq(say("late", 4), -EPIPE);
}
END_TEST

/* ---- who is there ---- */

START_TEST(wrong_pin_ends_with_eacces_and_nothing_was_said)
{
    unsigned char pins[1][32] = {{1, 2, 3}};

    client_use(NULL, NAME, pins, 1);
    start();
    closed_within(1000, -EACCES);
    ck_assert_str_eq(b.why, "the server's certificate does not have the pinned key");
    ck_assert_int_eq(b.n_open, 0);
    ck_assert_int_eq(say("secret", 6), -EPIPE);
    deliver();
    ck_assert_int_eq(b.server_messages, 0);
    ck_assert_ptr_null(b.session); /* the server never got our Finished */
}
END_TEST

START_TEST(self_signed_server_without_a_pin_is_refused)
{
    client_use(NULL, NAME, NULL, 0);
    start();
    closed_within(1000, -EACCES);
    ck_assert_ptr_nonnull(strstr(b.why, "self-signed"));
    ck_assert_int_eq(b.n_open, 0);
}
END_TEST

START_TEST(ca_and_name_decide_without_a_pin)
{
    static const struct {
        const char *name;
        long start_s, end_s;
        int reason;
        const char *why;
    } rows[] = {
        {NAME, 0, 0, 0, ""},
        {"other.test", 0, 0, -EACCES, "mismatch"},
        {"192.0.2.1", 0, 0, -EACCES, "mismatch"},
        {NAME, -7200, -3600, -EACCES, "expired"},
    };
    struct cert_want ca = {.cn = "CA", .is_ca = true}, leaf = {.cn = "x", .san = "DNS:" NAME};
    struct cert issuer = cert_make(&ca), server;
    SSL_CTX *ctx;

    leaf.from = &issuer;
    leaf.start_s = rows[_i].start_s;
    leaf.end_s = rows[_i].end_s;
    server = cert_make(&leaf);
    ctx = cert_server(&server, DTLS_server_method());
    dtls_ctx_init(ctx);
    server_new(ctx);
    client_use(&issuer, rows[_i].name, NULL, 0);
    start();
    if (rows[_i].reason == 0) {
        ck_assert(settle(1000));
        echo_works();
    } else {
        closed_within(1000, rows[_i].reason);
        ck_assert_ptr_nonnull(strstr(b.why, rows[_i].why));
    }
    SSL_CTX_free(ctx);
    cert_free(&server);
    cert_free(&issuer);
}
END_TEST

/* ---- strangers ---- */

static void random_bytes(uint8_t *ret, size_t len)
{
    for (size_t i = 0; i < len; i++)
        ret[i] = (uint8_t)rand();
}

/* Anything, or shaped like a record of `epoch` to epoch + 2. */
static void noise(unsigned int i, uint8_t epoch)
{
    uint8_t data[1500];
    size_t len = (size_t)rand() % sizeof(data);

    random_bytes(data, sizeof(data));
    if (i % 2 && len > 13) {
        data[0] = (uint8_t)(20 + rand() % 4);
        data[1] = 254;
        data[2] = 253;
        data[3] = 0;
        data[4] = (uint8_t)(epoch + rand() % 3);
        data[11] = (uint8_t)((len - 13) >> 8);
        data[12] = (uint8_t)(len - 13);
    }
    client_input(data, len);
}

START_TEST(datagrams_that_are_no_records_do_not_disturb_the_handshake)
{
    uint8_t data[1500];

    start();
    for (unsigned int i = 0; i < 2000; i++) {
        random_bytes(data, sizeof(data));
        data[1] = (uint8_t)(data[1] == 254 ? 1 : data[1]);
        client_input(data, (size_t)rand() % sizeof(data));
        if (i % 500 == 499) {
            struct datagram *d = wire_get(&b.to_server);

            if (d)
                dtls_server_input(b.server, &b, &b.client_addr, &b.server_addr, d->data, d->len,
                                  clock_now_ns());
            free(d);
            d = wire_get(&b.to_client);
            if (d)
                client_input(d->data, d->len);
            free(d);
        }
    }
    ck_assert(settle(1000));
    echo_works();
}
END_TEST

START_TEST(garbage_does_not_end_an_open_session)
{
    start();
    ck_assert(settle(1000));
    for (unsigned int i = 0; i < 20000; i++)
        noise(i, 0);
    ck_assert_int_eq(b.n_closed, 0);
    ck_assert_int_eq(b.n_messages, 0);
    wire_clear(&b.to_server); /* what they made us repeat */
    echo_works();
}
END_TEST

START_TEST(forged_alert_does_not_end_the_handshake)
{
    static const uint8_t alerts[][15] = {
        {21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40}, /* fatal, handshake_failure */
        {21, 254, 255, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 1, 0},  /* close_notify */
    };

    start();
    client_input(alerts[_i], 15);
    ck_assert(settle(1000));
    echo_works();
    client_input(alerts[_i], 15);
    event_base_loop(b.base, EVLOOP_NONBLOCK);
    ck_assert_int_eq(b.n_closed, 0);
    echo_works();
}
END_TEST

START_TEST(alert_that_is_followed_by_silence_ends_the_handshake_early)
{
    static const uint8_t alert[] = {21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40};
    uint64_t start_ns = clock_now_ns();

    b.to_server.loss_percent = 100;
    dtls_client_set_times(b.client, 20000, RETRANSMIT_MS);
    start();
    client_input(alert, sizeof(alert));
    closed_within(5000, -EPROTO);
    ck_assert_uint_ge(clock_now_ns() - start_ns, 900 * NS_PER_MS);
}
END_TEST

START_TEST(recorded_record_is_delivered_once)
{
    struct datagram *d;

    start();
    ck_assert(settle(1000));
    ck_assert_int_eq(say("once", 4), 0);
    d = wire_get(&b.to_server);
    dtls_server_input(b.server, &b, &b.client_addr, &b.server_addr, d->data, d->len,
                      clock_now_ns());
    free(d);
    d = wire_get(&b.to_client);
    for (int i = 0; i < 3; i++)
        client_input(d->data, d->len);
    free(d);
    ck_assert_int_eq(b.n_messages, 1);
}
END_TEST

/* ---- messages ---- */

START_TEST(several_records_in_one_datagram_are_several_messages)
{
    struct iovec iov = {(void *)(uintptr_t) "abcde", 5};
    struct datagram *one, *two;

    start();
    ck_assert(settle(1000));
    deliver();
    dtls_session_send(b.session, &iov, 1);
    dtls_session_send(b.session, &iov, 1);
    one = wire_get(&b.to_client);
    two = wire_get(&b.to_client);
    memcpy(one->data + one->len, two->data, two->len);
    client_input(one->data, one->len + two->len);
    ck_assert_int_eq(b.n_messages, 2);
    free(one);
    free(two);
}
END_TEST

START_TEST(message_that_comes_before_the_last_words_of_the_handshake_is_not_lost)
{
    struct iovec iov = {(void *)(uintptr_t) "first", 5};
    struct datagram *d;

    start();
    while (!b.session) { /* the server is through; its Finished is on the wire */
        while ((d = wire_get(&b.to_server))) {
            dtls_server_input(b.server, &b, &b.client_addr, &b.server_addr, d->data, d->len,
                              clock_now_ns());
            free(d);
        }
        if (!b.session && (d = wire_get(&b.to_client))) {
            client_input(d->data, d->len);
            free(d);
        }
    }
    b.to_client.shuffled = true;
    dtls_session_send(b.session, &iov, 1);
    d = b.to_client.queue[b.to_client.n - 1]; /* and overtakes it */
    for (size_t i = b.to_client.n - 1; i > 0; i--)
        b.to_client.queue[i] = b.to_client.queue[i - 1];
    b.to_client.queue[0] = d;
    ck_assert_int_eq(b.n_open, 0);
    ck_assert(settle(1000));
    ck_assert_int_eq(b.n_messages, 1);
}
END_TEST

START_TEST(largest_message_passes_and_a_larger_one_is_refused)
{
    static uint8_t data[DTLS_MESSAGE_MAX + 1];

    random_bytes(data, sizeof(data));
    start();
    ck_assert(settle(1000));
    ck_assert_int_eq(say(data, DTLS_MESSAGE_MAX), 0);
    deliver();
    deliver();
    ck_assert_uint_eq(b.message_len, DTLS_MESSAGE_MAX);
    ck_assert_int_eq(memcmp(b.message, data, DTLS_MESSAGE_MAX), 0);
    ck_assert_int_eq(say(data, DTLS_MESSAGE_MAX + 1), -EMSGSIZE);
    echo_works();
}
END_TEST

START_TEST(messages_stay_until_flush)
{
    const uint8_t *first;

    start();
    ck_assert(settle(1000));
    echo_works();
    first = b.last_data;
    while (b.n_flushes == 0) {
        ck_assert_int_eq(memcmp(first, "hello", 5), 0);
        ck_assert_int_eq(say(b.message, 1200), 0);
        deliver();
        deliver();
    }
    ck_assert_int_gt(b.n_messages, 10);
}
END_TEST

/* ---- the end ---- */

START_TEST(close_notify_of_the_server_is_an_orderly_end_and_answered)
{
    start();
    ck_assert(settle(1000));
    deliver();
    dtls_session_close(b.session);
    b.session = NULL;
    closed_within(500, 0);
    ck_assert_uint_eq(b.to_server.n, 1); /* our own close_notify (RFC 5246, section 7.2.1) */
    ck_assert_int_eq(say("late", 4), -EPIPE);
}
END_TEST

START_TEST(goodbye_reaches_the_server)
{
    start();
    ck_assert(settle(1000));
    deliver();
    dtls_client_say_goodbye(b.client);
    client_free();
    deliver();
    ck_assert_int_eq(b.server_closed, 1);
    ck_assert_int_eq(b.server_reason, 0);
}
END_TEST

START_TEST(goodbye_before_the_handshake_says_nothing)
{
    unsigned int n_sent;

    dtls_client_say_goodbye(b.client);
    ck_assert_uint_eq(b.to_server.n_sent, 0);
    start();
    n_sent = b.to_server.n_sent;
    dtls_client_say_goodbye(b.client);
    ck_assert_uint_eq(b.to_server.n_sent, n_sent);
}
END_TEST

START_TEST(client_may_be_freed_within_its_events)
{
    b.free_on_open = _i == 0;
    b.free_on_message = _i == 1;
    b.free_on_closed = _i == 2;
    if (_i == 3) {
        b.free_on_closed = true;
        b.to_server.loss_percent = 100;
        dtls_client_set_times(b.client, 100, RETRANSMIT_MS);
    }
    start();
    settle(1000);
    deliver();
    if (_i == 1) {
        say("hello", 5);
        say("hello", 5);
        deliver();
        deliver();
    } else if (_i == 2) {
        dtls_session_close(b.session);
        deliver();
    }
    ck_assert_ptr_null(b.client);
    ck_assert_int_le(b.n_messages, 1);
}
END_TEST

START_TEST(freeing_in_any_state_leaves_nothing_behind)
{
    if (_i > 0)
        start();
    for (int i = 1; i < _i; i++) {
        struct datagram *d = wire_get(&b.to_server);

        if (d)
            dtls_server_input(b.server, &b, &b.client_addr, &b.server_addr, d->data, d->len,
                              clock_now_ns());
        free(d);
        if ((d = wire_get(&b.to_client)))
            client_input(d->data, d->len);
        free(d);
    }
    client_free();
    run_for(b.base, 3 * RETRANSMIT_MS);
    ck_assert_int_eq(b.n_closed, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dtls_client");
    TCase *tc = tcase_create("dtls_client");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, handshake_then_messages_both_ways);
    tcase_add_test(tc, no_datagram_of_the_handshake_is_over_the_mtu);
    tcase_add_loop_test(tc, handshake_survives_loss_doubles_and_reordering, 0, 12);
    tcase_add_test(tc, silence_is_retransmitted_into_and_then_given_up);
    tcase_add_test(tc, wrong_pin_ends_with_eacces_and_nothing_was_said);
    tcase_add_test(tc, self_signed_server_without_a_pin_is_refused);
    tcase_add_loop_test(tc, ca_and_name_decide_without_a_pin, 0, 4);
    tcase_add_test(tc, datagrams_that_are_no_records_do_not_disturb_the_handshake);
    tcase_add_test(tc, garbage_does_not_end_an_open_session);
    tcase_add_loop_test(tc, forged_alert_does_not_end_the_handshake, 0, 2);
    tcase_add_test(tc, alert_that_is_followed_by_silence_ends_the_handshake_early);
    tcase_add_test(tc, recorded_record_is_delivered_once);
    tcase_add_test(tc, several_records_in_one_datagram_are_several_messages);
    tcase_add_test(tc, message_that_comes_before_the_last_words_of_the_handshake_is_not_lost);
    tcase_add_test(tc, largest_message_passes_and_a_larger_one_is_refused);
    tcase_add_test(tc, messages_stay_until_flush);
    tcase_add_test(tc, close_notify_of_the_server_is_an_orderly_end_and_answered);
    tcase_add_test(tc, goodbye_reaches_the_server);
    tcase_add_test(tc, goodbye_before_the_handshake_says_nothing);
    tcase_add_loop_test(tc, client_may_be_freed_within_its_events, 0, 4);
    tcase_add_loop_test(tc, freeing_in_any_state_leaves_nothing_behind, 0, 5);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
