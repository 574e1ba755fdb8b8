#include <errno.h>
#include <openssl/err.h>

#include "common/net/dtls.h"
#include "tests/net/support.h"

/* ---- a wire between one server and one client, with loss ---- */

#define WIRE_MAX 256

struct datagram {
    size_t len;
    uint8_t data[20000];
};

struct wire {
    struct datagram *queue[WIRE_MAX];
    size_t head, tail;
    size_t n_sent; /* datagrams that were put in, lost ones too */
    size_t n_lost;
    uint64_t losses; /* bit n: the n-th datagram is lost */
    size_t max_len;
};

static void wire_put(struct wire *w, const uint8_t *data, size_t len)
{
    bool lost = w->n_sent < 64 && (w->losses >> w->n_sent & 1);
    struct datagram *d;

    w->n_sent++;
    if (len > w->max_len)
        w->max_len = len;
    if (lost) {
        w->n_lost++;
        return;
    }
    ck_assert_uint_le(len, sizeof(d->data));
    ck_assert_uint_lt(w->tail - w->head, WIRE_MAX);
    d = malloc(sizeof(*d));
    d->len = len;
    memcpy(d->data, data, len);
    w->queue[w->tail++ % WIRE_MAX] = d;
}

static struct datagram *wire_get(struct wire *w)
{
    return w->head < w->tail ? w->queue[w->head++ % WIRE_MAX] : NULL;
}

static void wire_clear(struct wire *w)
{
    struct datagram *d;

    while ((d = wire_get(w)))
        free(d);
}

/* ---- everything a test needs ---- */

struct bench {
    struct event_base *base;
    struct tls_server *tls;
    struct dtls_server *server;
    struct wire to_server, to_client;
    struct addr client_addr, server_addr;
    int listener; /* only its address matters */
    SSL_CTX *client_ctx;
    SSL *client;
    bool client_open;

    struct dtls_session *session; /* the last one opened */
    int n_opened, n_closed, last_reason, n_messages, n_flushes;
    bool echo, close_on_message, close_on_open;
    uint8_t message[20000];
    size_t message_len;
    size_t n_sent;      /* by the server to anyone */
    bool discard_sends; /* floods: count only */
};

static struct bench b;
static BIO_METHOD *client_bio_method;

static void on_send(void *user, void *listener, const struct addr *to, const struct addr *from,
                    const uint8_t *data, size_t len)
{
    ck_assert_ptr_eq(user, &b);
    ck_assert_ptr_eq(listener, &b.listener);
    ck_assert(addr_equal(from, &b.server_addr));
    b.n_sent++;
    if (b.discard_sends)
        return;
    ck_assert(addr_equal(to, &b.client_addr));
    wire_put(&b.to_client, data, len);
}

static void on_open(void *user, struct dtls_session *session)
{
    b.n_opened++;
    b.session = session;
    if (b.close_on_open)
        dtls_session_close(session);
}

static void on_message(void *user, struct dtls_session *session, const uint8_t *data, size_t len)
{
    struct iovec iov[2] = {{(void *)(uintptr_t)data, len / 2},
                           {(void *)(uintptr_t)(data + len / 2), len - len / 2}};

    ck_assert_ptr_eq(session, b.session);
    b.n_messages++;
    memcpy(b.message, data, len);
    b.message_len = len;
    if (b.echo)
        ck_assert_int_eq(dtls_session_send(session, iov, 2), 0);
    if (b.close_on_message)
        dtls_session_close(session);
}

static void on_closed(void *user, struct dtls_session *session, int reason)
{
    b.n_closed++;
    b.last_reason = reason;
    if (session == b.session)
        b.session = NULL;
}

static void on_flush(void *user)
{
    b.n_flushes++;
}

static const struct dtls_events events = {
    .send = on_send,
    .on_open = on_open,
    .on_message = on_message,
    .on_closed = on_closed,
    .flush = on_flush,
};

static int client_bio_read(BIO *bio, char *buf, int cap)
{
    struct datagram *d = wire_get(&b.to_client);
    int len;

    BIO_clear_retry_flags(bio);
    if (!d) {
        BIO_set_retry_read(bio);
        return -1;
    }
    len = (int)d->len;
    ck_assert_int_le(len, cap);
    memcpy(buf, d->data, d->len);
    free(d);
    return len;
}

static int client_bio_write(BIO *bio, const char *data, int len)
{
    BIO_clear_retry_flags(bio);
    wire_put(&b.to_server, (const uint8_t *)data, (size_t)len);
    return len;
}

static long client_bio_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
    return cmd == BIO_CTRL_FLUSH || cmd == BIO_CTRL_DUP;
}

static unsigned int client_timer(SSL *ssl, unsigned int previous_us)
{
    return 60000;
}

static void client_new(void)
{
    BIO *bio = BIO_new(client_bio_method);

    BIO_set_init(bio, 1);
    b.client = SSL_new(b.client_ctx);
    SSL_set_bio(b.client, bio, bio);
    SSL_set_connect_state(b.client);
    SSL_set_options(b.client, SSL_OP_NO_QUERY_MTU);
    SSL_set_mtu(b.client, 1200);
    DTLS_set_timer_cb(b.client, client_timer);
    b.client_open = false;
}

static void client_free(void)
{
    SSL_free(b.client);
    b.client = NULL;
}

static void server_new(const struct dtls_limits *limits)
{
    static const uint8_t secret[DTLS_COOKIE_SECRET_LEN] = "a secret of thirty-two byteslong";

    dtls_server_free(b.server);
    b.server = dtls_server_new(b.base, b.tls->dtls, secret, limits, &events, &b);
    ck_assert_ptr_nonnull(b.server);
}

static const struct dtls_limits test_limits = {.max_sessions = 100,
                                               .max_handshakes = 10,
                                               .handshake_ms = 5000,
                                               .retransmit_ms = 60,
                                               .idle_ms = 60000};

static void setup(void)
{
    memset(&b, 0, sizeof(b));
    b.base = event_base_new();
    b.tls = test_tls_server();
    b.client_addr = addr_make_v4(0xc0000201, 40000);
    b.server_addr = addr_make_v4(0xc6336401, 5349);
    client_bio_method = BIO_meth_new(BIO_TYPE_SOURCE_SINK | 100, "test datagram");
    BIO_meth_set_read(client_bio_method, client_bio_read);
    BIO_meth_set_write(client_bio_method, client_bio_write);
    BIO_meth_set_ctrl(client_bio_method, client_bio_ctrl);
    b.client_ctx = SSL_CTX_new(DTLS_client_method());
    server_new(&test_limits);
    client_new();
}

static void teardown(void)
{
    client_free();
    dtls_server_free(b.server);
    wire_clear(&b.to_server);
    wire_clear(&b.to_client);
    SSL_CTX_free(b.client_ctx);
    BIO_meth_free(client_bio_method);
    tls_server_free(b.tls);
    event_base_free(b.base);
    ERR_clear_error();
}

static void input_from(const struct addr *from, const uint8_t *data, size_t len)
{
    /* An exact-size copy: ASan sees every byte read beyond it. */
    uint8_t *copy = malloc(len ? len : 1);

    memcpy(copy, data, len);
    dtls_server_input(b.server, &b.listener, from, &b.server_addr, copy, len, clock_now_ns());
    free(copy);
}

static void deliver_to_server(void)
{
    struct datagram *d;

    while ((d = wire_get(&b.to_server))) {
        input_from(&b.client_addr, d->data, d->len);
        free(d);
    }
}

/* One round: the client thinks, the server thinks, timers tick. */
static void step(void)
{
    uint8_t buf[16384];

    ERR_clear_error();
    if (!b.client_open)
        b.client_open = SSL_do_handshake(b.client) == 1;
    DTLSv1_handle_timeout(b.client);
    deliver_to_server();
    event_base_loop(b.base, EVLOOP_NONBLOCK);
    if (b.client_open && SSL_peek(b.client, buf, sizeof(buf)) < 0)
        ERR_clear_error(); /* pulls in retransmissions without taking messages */
}

static bool handshake_within(unsigned int ms)
{
    uint64_t end_ns = clock_now_ns() + ms * NS_PER_MS;

    while (clock_now_ns() < end_ns) {
        step();
        if (b.client_open && b.session)
            return true;
        usleep(500);
    }
    return false;
}

static void client_says(const void *data, int len)
{
    ck_assert_int_eq(SSL_write(b.client, data, len), len);
    deliver_to_server();
}

static void echo_works(void)
{
    char back[16] = "";
    int before = b.n_messages;

    b.echo = true;
    client_says("hello", 5);
    ck_assert_int_eq(b.n_messages, before + 1);
    ck_assert_int_eq(SSL_read(b.client, back, sizeof(back)), 5);
    ck_assert_str_eq(back, "hello");
    b.echo = false;
}

/* The client's first ClientHello, which carries no cookie. */
static struct datagram *first_hello(void)
{
    SSL_do_handshake(b.client);
    ERR_clear_error();
    return wire_get(&b.to_server);
}

/* ---- tests ---- */

START_TEST(handshake_then_messages_both_ways)
{
    ck_assert(handshake_within(1000));
    ck_assert_int_eq(b.n_opened, 1);
    ck_assert_int_eq(SSL_version(b.client), DTLS1_2_VERSION);
    ck_assert(addr_equal(dtls_session_remote(b.session), &b.client_addr));
    ck_assert(addr_equal(dtls_session_local(b.session), &b.server_addr));
    ck_assert_ptr_eq(dtls_session_listener(b.session), &b.listener);
    ck_assert_uint_eq(dtls_server_n_sessions(b.server), 1);
    ck_assert_uint_eq(dtls_server_n_handshakes(b.server), 0);
    echo_works();
}
END_TEST

START_TEST(long_certificate_chain_is_cut_to_the_mtu)
{
    X509 *cert = SSL_CTX_get0_certificate(b.tls->dtls);

    for (int i = 0; i < 8; i++) /* as issuers it is nonsense, but it has their size */
        ck_assert_int_eq(SSL_CTX_add1_chain_cert(b.tls->dtls, cert), 1);
    client_free();
    server_new(&test_limits);
    client_new();
    ck_assert(handshake_within(1000));
    ck_assert_uint_gt(b.to_client.max_len, 1100);
    ck_assert_uint_le(b.to_client.max_len, DTLS_HANDSHAKE_MTU);
    echo_works();
}
END_TEST

START_TEST(handshake_survives_the_loss_of_any_datagram_of_the_client)
{
    b.to_server.losses = 1ull << _i;
    ck_assert(handshake_within(3000));
    ck_assert_uint_eq(b.to_server.n_lost, 1);
    echo_works();
}
END_TEST

START_TEST(handshake_survives_the_loss_of_any_datagram_of_the_server)
{
    b.to_client.losses = 1ull << _i;
    ck_assert(handshake_within(3000));
    ck_assert_uint_eq(b.to_client.n_lost, 1);
    echo_works();
}
END_TEST

START_TEST(handshake_survives_a_third_of_all_datagrams_lost)
{
    b.to_server.losses = 0x24a1891440c29209; /* no pattern: a flight has 1 to 4 datagrams */
    b.to_client.losses = 0x9204512a08c44492;
    ck_assert(handshake_within(4500));
    echo_works();
}
END_TEST

START_TEST(hellos_without_cookie_leave_nothing_behind)
{
    struct datagram *hello = first_hello();

    b.discard_sends = true;
    for (uint32_t i = 0; i < 1000; i++) {
        struct addr from = addr_make_v4(0x0a000000 + i, 1234);

        input_from(&from, hello->data, hello->len);
    }
    ck_assert_uint_eq(b.n_sent, 1000); /* each got its HelloVerifyRequest */
    ck_assert_uint_eq(dtls_server_n_sessions(b.server), 0);
    ck_assert_uint_eq(dtls_server_n_handshakes(b.server), 0);
    free(hello);
}
END_TEST

START_TEST(answer_to_a_stranger_is_a_hello_verify_request_and_smaller_than_the_question)
{
    struct datagram *hello = first_hello(), *answer;

    input_from(&b.client_addr, hello->data, hello->len);
    answer = wire_get(&b.to_client);
    ck_assert_ptr_nonnull(answer);
    ck_assert_uint_le(answer->len, hello->len);
    ck_assert_uint_eq(answer->data[0], 22);
    ck_assert_uint_eq(answer->data[13], 3); /* hello_verify_request */
    free(answer);
    free(hello);
}
END_TEST

START_TEST(cookie_of_one_address_is_worth_nothing_at_another)
{
    struct addr other = addr_make_v4(0xc0000202, 40000);
    struct addr other_port = addr_make_v4(0xc0000201, 40001);
    struct datagram *hello;

    step(); /* ClientHello out, HelloVerifyRequest back */
    hello = first_hello();
    ck_assert_uint_eq(dtls_server_n_sessions(b.server), 0);
    b.discard_sends = true;
    input_from(&other, hello->data, hello->len);
    input_from(&other_port, hello->data, hello->len);
    ck_assert_uint_eq(dtls_server_n_sessions(b.server), 0);
    b.discard_sends = false;
    input_from(&b.client_addr, hello->data, hello->len);
    ck_assert_uint_eq(dtls_server_n_sessions(b.server), 1);
    free(hello);
}
END_TEST

START_TEST(cookie_from_another_worker_is_accepted)
{
    step();
    server_new(&test_limits); /* same secret, nothing else in common */
    ck_assert(handshake_within(1000));
    ck_assert_uint_eq(b.to_server.n_sent, 3); /* one cookie exchange, one key exchange */
}
END_TEST

START_TEST(old_cookie_is_refused)
{
    struct datagram *hello;

    step();
    hello = first_hello();
    dtls_server_input(b.server, &b.listener, &b.client_addr, &b.server_addr, hello->data,
                      hello->len, clock_now_ns() + 61 * NS_PER_S);
    ck_assert_uint_eq(dtls_server_n_sessions(b.server), 0);
    free(hello);
}
END_TEST

START_TEST(stranger_with_anything_but_a_client_hello_gets_silence)
{
    struct datagram *hello = first_hello();
    uint8_t copy[2000];

    /* Content type, version, epoch, message type, fragment offset. */
    static const struct {
        size_t at;
        uint8_t value;
    } changes[] = {{0, 23}, {0, 21}, {0, 20}, {1, 3}, {4, 1}, {13, 2}, {13, 16}, {19, 1}, {21, 1}};

    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        memcpy(copy, hello->data, hello->len);
        copy[changes[i].at] = changes[i].value;
        input_from(&b.client_addr, copy, hello->len);
    }
    for (size_t len = 0; len < 60; len++)
        input_from(&b.client_addr, hello->data, len);
    ck_assert_uint_eq(b.n_sent, 0);
    ck_assert_uint_eq(dtls_server_n_sessions(b.server), 0);
    free(hello);
}
END_TEST

START_TEST(garbage_hellos_do_not_spoil_the_next_clients_handshake)
{
    struct datagram *hello = first_hello();

    srand(1);
    b.discard_sends = true;
    for (int i = 0; i < 3000; i++) {
        uint8_t copy[2000];
        size_t at = 13 + (size_t)rand() % (hello->len - 13);

        memcpy(copy, hello->data, hello->len);
        copy[at] = (uint8_t)rand();
        copy[59 + (size_t)rand() % 10] = (uint8_t)rand(); /* session id and cookie lengths */
        input_from(&b.client_addr, copy, hello->len);
    }
    ck_assert_uint_eq(dtls_server_n_sessions(b.server), 0);
    b.discard_sends = false;
    client_free();
    client_new();
    ck_assert(handshake_within(1000));
    echo_works();
    free(hello);
}
END_TEST

START_TEST(random_and_damaged_records_do_not_kill_a_session)
{
    uint8_t noise[1500];

    ck_assert(handshake_within(1000));
    srand(2);
    for (int i = 0; i < 5000; i++) {
        size_t len = (size_t)rand() % sizeof(noise);

        for (size_t j = 0; j < len; j++)
            noise[j] = (uint8_t)rand();
        if (i % 2 && len > 13) { /* shaped like records of this session */
            noise[0] = (uint8_t)(20 + rand() % 4);
            noise[1] = 254;
            noise[2] = 253;
            noise[3] = 0;
            noise[4] = (uint8_t)(rand() % 3);
            noise[11] = (uint8_t)((len - 13) >> 8);
            noise[12] = (uint8_t)(len - 13);
        }
        input_from(&b.client_addr, noise, len);
    }
    ck_assert_int_eq(b.n_closed, 0);
    ck_assert_int_eq(b.n_messages, 0);
    wire_clear(&b.to_client);
    echo_works();
}
END_TEST

START_TEST(replayed_record_is_delivered_once)
{
    struct datagram *d;

    ck_assert(handshake_within(1000));
    ck_assert_int_eq(SSL_write(b.client, "once", 4), 4);
    d = wire_get(&b.to_server);
    for (int i = 0; i < 3; i++)
        input_from(&b.client_addr, d->data, d->len);
    ck_assert_int_eq(b.n_messages, 1);
    free(d);
}
END_TEST

START_TEST(several_records_in_one_datagram_are_several_messages)
{
    struct datagram *one, *two;

    ck_assert(handshake_within(1000));
    ck_assert_int_eq(SSL_write(b.client, "one", 3), 3);
    ck_assert_int_eq(SSL_write(b.client, "second", 6), 6);
    one = wire_get(&b.to_server);
    two = wire_get(&b.to_server);
    memcpy(one->data + one->len, two->data, two->len);
    input_from(&b.client_addr, one->data, one->len + two->len);
    ck_assert_int_eq(b.n_messages, 2);
    ck_assert_uint_eq(b.message_len, 6);
    free(one);
    free(two);
}
END_TEST

START_TEST(largest_message_passes_and_a_larger_one_is_refused)
{
    static uint8_t big[DTLS_MESSAGE_MAX + 1];
    struct iovec iov = {big, DTLS_MESSAGE_MAX};
    static uint8_t back[DTLS_MESSAGE_MAX];

    ck_assert(handshake_within(1000));
    memset(big, 'x', sizeof(big));
    client_says(big, DTLS_MESSAGE_MAX);
    ck_assert_uint_eq(b.message_len, DTLS_MESSAGE_MAX);
    ck_assert_int_eq(dtls_session_send(b.session, &iov, 1), 0);
    ck_assert_int_eq(SSL_read(b.client, back, sizeof(back)), DTLS_MESSAGE_MAX);
    iov.iov_len = DTLS_MESSAGE_MAX + 1;
    ck_assert_int_eq(dtls_session_send(b.session, &iov, 1), -EMSGSIZE);
}
END_TEST

START_TEST(oversized_datagram_is_dropped)
{
    static uint8_t big[65507] = {22, 254, 253};

    input_from(&b.client_addr, big, sizeof(big));
    ck_assert(handshake_within(1000));
    big[0] = 23;
    big[4] = 1;
    input_from(&b.client_addr, big, sizeof(big));
    ck_assert_int_eq(b.n_messages, 0);
    echo_works();
}
END_TEST

START_TEST(flush_is_asked_for_before_message_memory_is_reused)
{
    static uint8_t big[DTLS_MESSAGE_MAX];

    ck_assert(handshake_within(1000));
    for (int i = 0; i < 20; i++)
        client_says(big, sizeof(big));
    ck_assert_int_eq(b.n_messages, 20);
    ck_assert_int_ge(b.n_flushes, 3);
}
END_TEST

START_TEST(new_handshake_from_the_same_address_replaces_the_session_after_the_cookie)
{
    struct dtls_session *first;

    ck_assert(handshake_within(1000));
    first = b.session;
    client_free();
    client_new();
    step(); /* ClientHello without cookie, HelloVerifyRequest */
    ck_assert_ptr_eq(b.session, first);
    ck_assert_int_eq(b.n_closed, 0);
    ck_assert_uint_eq(dtls_server_n_sessions(b.server), 1);
    b.session = NULL;
    ck_assert(handshake_within(1000));
    ck_assert_int_eq(b.n_closed, 1);
    ck_assert_int_eq(b.last_reason, -ECONNRESET);
    ck_assert_int_eq(b.n_opened, 2);
    ck_assert_uint_eq(dtls_server_n_sessions(b.server), 1);
    echo_works();
}
END_TEST

START_TEST(late_duplicate_of_the_sessions_own_hello_changes_nothing)
{
    struct datagram *hello;

    step();
    hello = first_hello(); /* the one with the cookie */
    input_from(&b.client_addr, hello->data, hello->len);
    ck_assert(handshake_within(1000));
    input_from(&b.client_addr, hello->data, hello->len);
    ck_assert_int_eq(b.n_closed, 0);
    ck_assert_int_eq(b.n_opened, 1);
    echo_works();
    free(hello);
}
END_TEST

START_TEST(close_notify_of_the_client_closes)
{
    ck_assert(handshake_within(1000));
    SSL_shutdown(b.client);
    deliver_to_server();
    ck_assert_int_eq(b.n_closed, 1);
    ck_assert_int_eq(b.last_reason, 0);
    ck_assert_uint_eq(dtls_server_n_sessions(b.server), 0);
}
END_TEST

START_TEST(closing_tells_the_client_and_no_event_follows)
{
    char byte;
    int r;

    ck_assert(handshake_within(1000));
    dtls_session_close(b.session);
    b.session = NULL;
    r = SSL_read(b.client, &byte, 1);
    ck_assert_int_eq(SSL_get_error(b.client, r), SSL_ERROR_ZERO_RETURN);
    ck_assert_int_eq(b.n_closed, 0);
    ck_assert_uint_eq(dtls_server_n_sessions(b.server), 0);
}
END_TEST

START_TEST(session_may_be_closed_within_its_events)
{
    b.close_on_message = true;
    ck_assert(handshake_within(1000));
    client_says("bye", 3);
    ck_assert_uint_eq(dtls_server_n_sessions(b.server), 0);
    b.close_on_open = true;
    b.session = NULL;
    client_free();
    client_new();
    ck_assert(handshake_within(1000));
    ck_assert_uint_eq(dtls_server_n_sessions(b.server), 0);
    ck_assert_int_eq(b.n_closed, 0);
}
END_TEST

START_TEST(handshake_that_stalls_is_dropped_in_silence)
{
    struct dtls_limits limits = test_limits;
    struct datagram *hello;

    limits.handshake_ms = 400;
    server_new(&limits);
    step();
    hello = first_hello();
    input_from(&b.client_addr, hello->data, hello->len);
    ck_assert_uint_eq(dtls_server_n_handshakes(b.server), 1);
    run_for(b.base, 700);
    ck_assert_uint_eq(dtls_server_n_handshakes(b.server), 0);
    ck_assert_uint_eq(dtls_server_n_sessions(b.server), 0);
    ck_assert_int_eq(b.n_closed, 0);
    ck_assert_uint_gt(b.n_sent, 2); /* it did retransmit */
    free(hello);
}
END_TEST

/* A ClientHello with a good cookie from each of `n` ports. */
static void open_halfway(int n)
{
    struct addr home = b.client_addr;

    for (int i = 0; i < n; i++) {
        struct datagram *hello;

        b.client_addr.port = (uint16_t)(41000 + i);
        client_free();
        client_new();
        step();
        hello = first_hello();
        input_from(&b.client_addr, hello->data, hello->len);
        free(hello);
        wire_clear(&b.to_client);
    }
    b.client_addr = home;
    client_free();
    client_new();
}

START_TEST(half_open_sessions_are_bounded_and_the_oldest_gives_way)
{
    open_halfway(25);
    ck_assert_uint_eq(dtls_server_n_handshakes(b.server), test_limits.max_handshakes);
    ck_assert(handshake_within(1000));
    b.discard_sends = true; /* retransmissions to the others */
}
END_TEST

START_TEST(sessions_are_bounded)
{
    struct dtls_limits limits = test_limits;

    limits.max_sessions = 3;
    server_new(&limits);
    open_halfway(5);
    ck_assert_uint_eq(dtls_server_n_sessions(b.server), 3);
    b.discard_sends = true;
}
END_TEST

START_TEST(idle_session_is_closed_unless_held)
{
    struct dtls_limits limits = test_limits;

    limits.idle_ms = 400;
    server_new(&limits);
    ck_assert(handshake_within(1000));
    dtls_session_hold(b.session, true);
    run_for(b.base, 900);
    ck_assert_int_eq(b.n_closed, 0);
    dtls_session_hold(b.session, false);
    run_for(b.base, 900);
    ck_assert_int_eq(b.n_closed, 1);
    ck_assert_int_eq(b.last_reason, -ETIMEDOUT);
}
END_TEST

START_TEST(new_context_serves_new_sessions_and_old_ones_go_on)
{
    struct tls_server *newer = test_tls_server();

    ck_assert(handshake_within(1000));
    dtls_server_set_ctx(b.server, newer->dtls);
    tls_server_free(b.tls);
    b.tls = newer;
    echo_works();
    client_free();
    client_new();
    b.session = NULL;
    ck_assert(handshake_within(1000));
    ck_assert_int_eq(
        X509_cmp(SSL_get0_peer_certificate(b.client), SSL_CTX_get0_certificate(newer->dtls)), 0);
}
END_TEST

START_TEST(freeing_the_server_closes_what_is_open)
{
    ck_assert(handshake_within(1000));
    dtls_server_free(b.server);
    b.server = NULL;
    ck_assert_int_eq(b.n_closed, 1);
    ck_assert_int_eq(b.last_reason, -ESHUTDOWN);
}
END_TEST

START_TEST(dtls_1_0_and_wrong_alpn_are_refused)
{
    SSL_CTX_set_security_level(b.client_ctx, 0);
    ck_assert_int_eq(SSL_set_alpn_protos(b.client, (const unsigned char *)"\x02h2", 3), 0);
    ck_assert(!handshake_within(200));
    wire_clear(&b.to_client);
    SSL_CTX_set_max_proto_version(b.client_ctx, DTLS1_VERSION);
    client_free();
    client_new();
    ck_assert(!handshake_within(200));
    ck_assert_int_eq(b.n_opened, 0);
    wire_clear(&b.to_client);
    SSL_CTX_set_max_proto_version(b.client_ctx, 0);
    client_free();
    client_new();
    ck_assert_int_eq(SSL_set_alpn_protos(b.client, (const unsigned char *)"\x09stun.turn", 10), 0);
    ck_assert(handshake_within(1000));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("net/dtls");
    TCase *tc = tcase_create("dtls");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, handshake_then_messages_both_ways);
    tcase_add_test(tc, long_certificate_chain_is_cut_to_the_mtu);
    tcase_add_loop_test(tc, handshake_survives_the_loss_of_any_datagram_of_the_client, 0, 3);
    tcase_add_loop_test(tc, handshake_survives_the_loss_of_any_datagram_of_the_server, 0, 3);
    tcase_add_test(tc, handshake_survives_a_third_of_all_datagrams_lost);
    tcase_add_test(tc, hellos_without_cookie_leave_nothing_behind);
    tcase_add_test(tc,
                   answer_to_a_stranger_is_a_hello_verify_request_and_smaller_than_the_question);
    tcase_add_test(tc, cookie_of_one_address_is_worth_nothing_at_another);
    tcase_add_test(tc, cookie_from_another_worker_is_accepted);
    tcase_add_test(tc, old_cookie_is_refused);
    tcase_add_test(tc, stranger_with_anything_but_a_client_hello_gets_silence);
    tcase_add_test(tc, garbage_hellos_do_not_spoil_the_next_clients_handshake);
    tcase_add_test(tc, random_and_damaged_records_do_not_kill_a_session);
    tcase_add_test(tc, replayed_record_is_delivered_once);
    tcase_add_test(tc, several_records_in_one_datagram_are_several_messages);
    tcase_add_test(tc, largest_message_passes_and_a_larger_one_is_refused);
    tcase_add_test(tc, oversized_datagram_is_dropped);
    tcase_add_test(tc, flush_is_asked_for_before_message_memory_is_reused);
    tcase_add_test(tc, new_handshake_from_the_same_address_replaces_the_session_after_the_cookie);
    tcase_add_test(tc, late_duplicate_of_the_sessions_own_hello_changes_nothing);
    tcase_add_test(tc, close_notify_of_the_client_closes);
    tcase_add_test(tc, closing_tells_the_client_and_no_event_follows);
    tcase_add_test(tc, session_may_be_closed_within_its_events);
    tcase_add_test(tc, handshake_that_stalls_is_dropped_in_silence);
    tcase_add_test(tc, half_open_sessions_are_bounded_and_the_oldest_gives_way);
    tcase_add_test(tc, sessions_are_bounded);
    tcase_add_test(tc, idle_session_is_closed_unless_held);
    tcase_add_test(tc, new_context_serves_new_sessions_and_old_ones_go_on);
    tcase_add_test(tc, freeing_the_server_closes_what_is_open);
    tcase_add_test(tc, dtls_1_0_and_wrong_alpn_are_refused);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
