/* stream_connecting_tls(): a stream as the TLS client, on loopback TCP. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <sys/socket.h>

#include "common/net/stream_impl.h"
#include "common/net/tls_client.h"
#include "tests/net/certs.h"
#include "tests/net/support.h"

#define LIMIT (64 * 1024)
#define NAME  "relay.test"

static struct {
    struct event_base *base;
    struct stream_pool *pool;
    struct cert cert;
    SSL_CTX *server_ctx; /* OpenSSL's defaults: it sends tickets */
    struct tls_client *trust;
    unsigned char pin[1][32];
    struct stream *s;
    int listener, peer;
    SSL *server;

    bool in_call;
    int n_opened, n_closed, n_calls, reason;
    bool closed, free_on_open, free_on_closed;
    char why[128];
    uint8_t got[4096];
    size_t got_len;
} b;

static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

static void free_stream(void)
{
    stream_free(b.s);
    b.s = NULL;
}

static ptrdiff_t on_bytes(void *user, const uint8_t *data, size_t len)
{
    ck_assert(!b.in_call);
    ck_assert_int_eq(b.n_opened, 1);
    ck_assert_uint_gt(len, 0);
    b.n_calls++;
    ck_assert_uint_le(b.got_len + len, sizeof(b.got));
    memcpy(b.got + b.got_len, data, len);
    b.got_len += len;
    return (ptrdiff_t)len;
}

static void on_open(void *user)
{
    ck_assert(!b.in_call);
    b.n_opened++;
    if (b.free_on_open)
        free_stream();
}

static void on_closed(void *user, int reason)
{
    const char *why = stream_ssl(b.s) ? tls_client_why(stream_ssl(b.s)) : NULL;

    ck_assert(!b.in_call);
    b.n_closed++;
    b.closed = true;
    b.reason = reason;
    snprintf(b.why, sizeof(b.why), "%s", why ? why : "");
    if (b.free_on_closed)
        free_stream();
}

static const struct stream_events events = {
    .on_bytes = on_bytes,
    .on_open = on_open,
    .on_closed = on_closed,
};

static void setup(void)
{
    const struct cert_want want = {.cn = "x", .san = "DNS:" NAME};

    memset(&b, 0, sizeof(b));
    b.listener = b.peer = -1;
    b.base = event_base_new();
    b.pool = stream_pool_new(b.base);
    b.cert = cert_make(&want);
    cert_pin(&b.cert, b.pin[0]);
    b.server_ctx = cert_server(&b.cert, TLS_server_method());
    b.trust = cert_client(NULL);
}

static void teardown(void)
{
    free_stream();
    SSL_free(b.server);
    if (b.peer >= 0)
        close(b.peer);
    if (b.listener >= 0)
        close(b.listener);
    tls_client_free(b.trust);
    SSL_CTX_free(b.server_ctx);
    cert_free(&b.cert);
    stream_pool_free(b.pool);
    event_base_free(b.base);
    ERR_clear_error();
}

static void listen_at(struct sockaddr_in *ret)
{
    socklen_t len = sizeof(*ret);

    *ret = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    b.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(b.listener, (struct sockaddr *)ret, len), 0);
    ck_assert_int_eq(listen(b.listener, 5), 0);
    ck_assert_int_eq(getsockname(b.listener, (struct sockaddr *)ret, &len), 0);
}

/* Our stream, with the pin of the server or another one; the server has not answered yet. */
static void connect_with(const unsigned char (*pins)[32], size_t n_pins)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in at;
    int on = 1, r;

    listen_at(&at);
    r = connect(fd, (struct sockaddr *)&at, sizeof(at));
    ck_assert(r == 0 || errno == EINPROGRESS);
    b.s = stream_connecting_tls(b.pool, fd, tls_client_ssl(b.trust, false, NAME, pins, n_pins),
                                LIMIT);
    ck_assert_ptr_nonnull(b.s);
    stream_set_events(b.s, &events, &b);
    b.peer = accept(b.listener, NULL, NULL);
    ck_assert_int_ge(b.peer, 0);
    fcntl(b.peer, F_SETFL, O_NONBLOCK);
    /* Or the server's second small write would wait for the ACK of its first. */
    setsockopt(b.peer, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static void connect_pinned(void)
{
    connect_with((const unsigned char(*)[32])b.pin, 1);
}

static void turns(int n)
{
    while (n-- > 0)
        event_base_loop(b.base, EVLOOP_NONBLOCK);
}

static bool handshake(int version)
{
    b.server = SSL_new(b.server_ctx);
    SSL_set_fd(b.server, b.peer);
    SSL_set_accept_state(b.server);
    SSL_set_min_proto_version(b.server, version);
    SSL_set_max_proto_version(b.server, version);
    for (int i = 0; i < 50; i++) {
        int r;

        turns(2);
        ERR_clear_error();
        r = SSL_do_handshake(b.server);
        if (r == 1 && b.n_opened > 0)
            return true;
    }
    ERR_clear_error();
    return false;
}

static int say(const char *text)
{
    struct iovec iov = {(void *)(uintptr_t)text, strlen(text)};
    int r;

    b.in_call = true;
    r = stream_send(b.s, &iov, 1);
    b.in_call = false;
    return r;
}

static void server_reads(const char *expected)
{
    char buf[256] = "";
    size_t len = 0;

    for (int i = 0; i < 50 && len < strlen(expected); i++) {
        int n = SSL_read(b.server, buf + len, (int)(sizeof(buf) - 1 - len));

        if (n > 0)
            len += (size_t)n;
        turns(1);
    }
    ck_assert_str_eq(buf, expected);
}

static void server_says(const char *text)
{
    size_t before = b.got_len;

    ck_assert_int_eq(SSL_write(b.server, text, (int)strlen(text)), (int)strlen(text));
    for (int i = 0; i < 50 && b.got_len < before + strlen(text); i++)
        turns(1);
    ck_assert_uint_eq(b.got_len, before + strlen(text));
    ck_assert_int_eq(memcmp(b.got + before, text, strlen(text)), 0);
}

START_TEST(tls_opens_and_sends_what_was_queued_before)
{
    connect_pinned();
    ck_assert_int_eq(say("early"), 0);
    turns(3);
    ck_assert_int_eq(b.n_opened, 0);
    ck_assert(stream_is_tls(b.s));
    ck_assert(handshake(versions[_i]));
    ck_assert_int_eq(SSL_version(stream_ssl(b.s)), versions[_i]);
    server_reads("early");
    ck_assert_int_eq(say("later"), 0);
    server_reads("later");
    server_says("and back");
    ck_assert(!event_pending(&b.s->on_timer, EV_TIMEOUT, NULL));
}
END_TEST

/* Messages of the handshake come when it is long over: tickets and new keys (RFC 8446, section
 * 4.6). */
START_TEST(tickets_and_new_keys_are_no_messages_and_no_end)
{
    connect_pinned();
    ck_assert(handshake(TLS1_3_VERSION));
    turns(5);
    ck_assert_int_eq(b.n_calls, 0);
    ck_assert_int_eq(SSL_new_session_ticket(b.server), 1);
    ck_assert_int_eq(SSL_do_handshake(b.server), 1);
    turns(5);
    ck_assert_int_eq(b.n_calls, 0);
    server_says("one");
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(SSL_key_update(b.server, SSL_KEY_UPDATE_REQUESTED), 1);
        ck_assert_int_eq(SSL_do_handshake(b.server), 1);
        turns(3);
        server_says("two");
        ck_assert_int_eq(say("three"), 0);
        server_reads("three");
    }
    ck_assert_int_eq(b.n_closed, 0);
}
END_TEST

START_TEST(wrong_pin_closes_with_eacces_and_sends_nothing_of_what_was_queued)
{
    static const unsigned char other[1][32] = {{1}};
    char byte;

    connect_with(other, 1);
    ck_assert_int_eq(say("secret"), 0);
    ck_assert(!handshake(versions[_i]));
    ck_assert_int_le(SSL_read(b.server, &byte, 1), 0);
    ERR_clear_error();
    close(b.peer);
    b.peer = -1;
    ck_assert(run_until(b.base, &b.closed, 1000));
    ck_assert_int_eq(b.reason, -EACCES);
    ck_assert_int_eq(b.n_opened, 0);
    ck_assert_str_eq(b.why, "the server's certificate does not have the pinned key");
    ck_assert_ptr_nonnull(tls_client_why(stream_ssl(b.s))); /* until it is freed */
}
END_TEST

START_TEST(self_signed_server_without_a_pin_closes_with_eacces)
{
    connect_with(NULL, 0);
    ck_assert(!handshake(versions[_i]));
    close(b.peer);
    b.peer = -1;
    ck_assert(run_until(b.base, &b.closed, 1000));
    ck_assert_int_eq(b.reason, -EACCES);
    ck_assert_ptr_nonnull(strstr(b.why, "self-signed"));
}
END_TEST

START_TEST(alert_about_the_certificate_reaches_the_server)
{
    static const unsigned char other[1][32] = {{1}};
    int reason = 0;

    connect_with(other, 1);
    b.server = SSL_new(b.server_ctx);
    SSL_set_fd(b.server, b.peer);
    SSL_set_accept_state(b.server);
    for (int i = 0; i < 50 && reason == 0; i++) {
        turns(2);
        ERR_clear_error();
        if (SSL_do_handshake(b.server) < 0)
            reason = ERR_GET_REASON(ERR_peek_error());
    }
    ck_assert_int_gt(reason, SSL_AD_REASON_OFFSET); /* an alert, not an end */
    /* Closed at once, unread input would reset the connection and the alert with it. */
    ck_assert_int_eq(b.n_closed, 0);
    shutdown(b.peer, SHUT_RDWR);
    ck_assert(run_until(b.base, &b.closed, 1000));
}
END_TEST

START_TEST(refused_connect_closes_with_the_reason)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in at;

    listen_at(&at);
    close(b.listener);
    b.listener = -1;
    (void)connect(fd, (struct sockaddr *)&at, sizeof(at));
    b.s = stream_connecting_tls(b.pool, fd, tls_client_ssl(b.trust, false, NAME, NULL, 0), LIMIT);
    stream_set_events(b.s, &events, &b);
    ck_assert(run_until(b.base, &b.closed, 1000));
    ck_assert_int_eq(b.reason, -ECONNREFUSED);
    ck_assert_str_eq(b.why, "");
}
END_TEST

START_TEST(server_that_does_not_speak_tls_closes_with_eproto)
{
    connect_pinned();
    turns(3);
    ck_assert_int_gt(send(b.peer, "HTTP/1.1 400 Bad Request\r\n\r\n", 28, MSG_NOSIGNAL), 0);
    turns(3);
    shutdown(b.peer, SHUT_WR);
    ck_assert(run_until(b.base, &b.closed, 1000));
    ck_assert_int_eq(b.reason, -EPROTO);
    ck_assert_str_eq(b.why, "");
}
END_TEST

START_TEST(server_that_leaves_within_the_handshake_closes_with_econnreset)
{
    connect_pinned();
    turns(3);
    shutdown(b.peer, SHUT_WR);
    ck_assert(run_until(b.base, &b.closed, 1000));
    ck_assert_int_eq(b.reason, -ECONNRESET);
}
END_TEST

START_TEST(silent_server_has_ten_seconds)
{
    struct timeval at, now;

    connect_pinned();
    turns(3);
    ck_assert(event_pending(&b.s->on_timer, EV_TIMEOUT, &at));
    gettimeofday(&now, NULL);
    ck_assert_int_le(at.tv_sec - now.tv_sec, 11);
    event_active(&b.s->on_timer, EV_TIMEOUT, 0);
    turns(1);
    ck_assert_int_eq(b.n_closed, 1);
    ck_assert_int_eq(b.reason, -ETIMEDOUT);
}
END_TEST

START_TEST(freeing_in_any_state_leaves_nothing_behind)
{
    if (_i == 0) {
        connect_pinned();
    } else if (_i == 1) {
        connect_pinned();
        turns(3);
        ck_assert_int_eq(b.s->state, STREAM_HANDSHAKE);
    } else if (_i == 2) {
        b.free_on_open = true;
        connect_pinned();
        handshake(TLS1_3_VERSION);
        ck_assert_int_eq(b.n_opened, 1);
    } else {
        b.free_on_closed = true;
        connect_with(NULL, 0);
        handshake(TLS1_3_VERSION);
        shutdown(b.peer, SHUT_RDWR);
        ck_assert(run_until(b.base, &b.closed, 1000));
    }
    free_stream();
    turns(3);
    ck_assert_int_eq(b.n_closed, _i == 3);
}
END_TEST

START_TEST(close_before_the_connect_is_done_tells_once)
{
    connect_pinned();
    stream_close(b.s, -ECANCELED);
    ck_assert(run_until(b.base, &b.closed, 1000));
    ck_assert_int_eq(b.reason, -ECANCELED);
    ck_assert_int_eq(b.n_opened, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("stream_client");
    TCase *tc = tcase_create("stream_client");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 30);
    tcase_add_loop_test(tc, tls_opens_and_sends_what_was_queued_before, 0, 2);
    tcase_add_test(tc, tickets_and_new_keys_are_no_messages_and_no_end);
    tcase_add_loop_test(tc, wrong_pin_closes_with_eacces_and_sends_nothing_of_what_was_queued, 0,
                        2);
    tcase_add_loop_test(tc, self_signed_server_without_a_pin_closes_with_eacces, 0, 2);
    tcase_add_test(tc, alert_about_the_certificate_reaches_the_server);
    tcase_add_test(tc, refused_connect_closes_with_the_reason);
    tcase_add_test(tc, server_that_does_not_speak_tls_closes_with_eproto);
    tcase_add_test(tc, server_that_leaves_within_the_handshake_closes_with_econnreset);
    tcase_add_test(tc, silent_server_has_ten_seconds);
    tcase_add_loop_test(tc, freeing_in_any_state_leaves_nothing_behind, 0, 4);
    tcase_add_test(tc, close_before_the_connect_is_done_tells_once);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
