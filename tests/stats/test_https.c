/*
 * The stats endpoint over TLS: whom it answers, and who may not.
 */
#include <openssl/ssl.h>
#include <sys/stat.h>

#include "tests/stats/http_fixture.h"
#include "tests/support/suite.h"

#define NAME "stats.test" /* in the certificate */

static char folder[64], cert_file[96], key_file[96];
static struct tls_server *tls;
static SSL_CTX *client_ctx;

static struct tls_server *make_certificate(const char *name)
{
    struct tls_server *made;
    char error[256];

    unlink(cert_file);
    unlink(key_file);
    ck_assert_msg(tls_server_new(cert_file, key_file, name, &made, error, sizeof(error)) == 0, "%s",
                  error);
    return made;
}

static void setup_tls(void)
{
    setup();
    snprintf(folder, sizeof(folder), "/tmp/callveil-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(cert_file, sizeof(cert_file), "%s/cert.pem", folder);
    snprintf(key_file, sizeof(key_file), "%s/key.pem", folder);
    tls = make_certificate(NAME);
    stats_http_set_tls(http, tls);
    client_ctx = SSL_CTX_new(TLS_client_method());
}

static void teardown_tls(void)
{
    SSL_CTX_free(client_ctx);
    tls_server_free(tls);
    unlink(cert_file);
    unlink(key_file);
    rmdir(folder);
    teardown();
}

/* ---- a client ---- */

/* Whether the call is to be made again; the server's turn in between. */
static bool again(SSL *ssl, int r, uint64_t until)
{
    int error = SSL_get_error(ssl, r);

    if (r > 0 || (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE))
        return false;
    ck_assert_msg(clock_now_ns() < until, "nothing happens");
    pump(SSL_get_fd(ssl));
    return true;
}

/* Return: an SSL after its handshake, or NULL when there was none. */
static SSL *open_tls(const char *alpn)
{
    uint64_t until = clock_now_ns() + 3 * NS_PER_S;
    SSL *ssl = SSL_new(client_ctx);
    int fd = connect_to("127.0.0.1"), r;

    evutil_make_socket_nonblocking(fd);
    SSL_set_fd(ssl, fd);
    if (alpn)
        SSL_set_alpn_protos(ssl, (const unsigned char *)alpn, (unsigned int)strlen(alpn));
    do {
        r = SSL_connect(ssl);
    } while (again(ssl, r, until));
    if (r == 1)
        return ssl;
    close(fd);
    SSL_free(ssl);
    return NULL;
}

static void close_tls(SSL *ssl)
{
    close(SSL_get_fd(ssl));
    SSL_free(ssl);
}

static const char *get_tls(const char *path, const char *host)
{
    uint64_t until = clock_now_ns() + 3 * NS_PER_S;
    SSL *ssl = open_tls(NULL);
    char request[512];
    size_t len = 0;
    int r;

    ck_assert_ptr_nonnull(ssl);
    snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, host);
    ck_assert_int_eq(SSL_write(ssl, request, (int)strlen(request)), (int)strlen(request));
    do {
        r = SSL_read(ssl, reply + len, (int)(sizeof(reply) - 1 - len));
        len += r > 0 ? (size_t)r : 0;
    } while (r > 0 || again(ssl, r, until));
    reply[len] = '\0';
    close_tls(ssl);
    return reply;
}

static const char *own_host(const char *name)
{
    static char host[128];

    snprintf(host, sizeof(host), "%s:%u", name, port());
    return host;
}

/* ---- tests ---- */

START_TEST(it_answers_over_tls)
{
    expect_status(get_tls("/stats.json", own_host("127.0.0.1")), 200);
    ck_assert_ptr_nonnull(strstr(reply, "4711"));
    expect_status(get_tls("/metrics", own_host("localhost")), 200);
    ck_assert_ptr_nonnull(strstr(reply, "\ncallveil_requests_total 4711\n"));
}
END_TEST

START_TEST(a_name_in_the_certificate_is_ours_and_no_other)
{
    static const char *const others[] = {"evil.test",  "stats.test.evil.test", "x.stats.test",
                                         "stats.test", "stats.test:1",         ":443",
                                         "",           "stats.test:"};

    expect_status(get_tls("/healthz", own_host(NAME)), 200);
    expect_status(get_tls("/healthz", own_host("STATS.test")), 200);
    for (size_t i = 0; i < 3; i++)
        expect_status(get_tls("/healthz", own_host(others[i])), 421);
    for (size_t i = 3; i < sizeof(others) / sizeof(others[0]); i++)
        expect_status(get_tls("/healthz", others[i]), 421);
    stats_http_set_tls(http, NULL);
    expect_status(get_host(own_host(NAME)), 421); /* without TLS nobody has proven it */
}
END_TEST

START_TEST(who_speaks_plainly_is_told_nothing)
{
    get("/healthz");
    ck_assert_ptr_null(strstr(reply, "HTTP/"));
}
END_TEST

START_TEST(it_agrees_on_http_1_1_and_on_nothing_else)
{
    const unsigned char *chosen;
    unsigned int len;
    SSL *ssl = open_tls("\x02h2\x08http/1.1");

    ck_assert_ptr_nonnull(ssl);
    SSL_get0_alpn_selected(ssl, &chosen, &len);
    ck_assert_uint_eq(len, 8);
    ck_assert_int_eq(memcmp(chosen, "http/1.1", 8), 0);
    close_tls(ssl);
    ssl = open_tls("\x02h2");
    ck_assert_ptr_nonnull(ssl);
    SSL_get0_alpn_selected(ssl, &chosen, &len);
    ck_assert_uint_eq(len, 0);
    close_tls(ssl);
}
END_TEST

START_TEST(nothing_older_than_tls_1_2_is_spoken)
{
    SSL_CTX_set_security_level(client_ctx, 0);
    SSL_CTX_set_min_proto_version(client_ctx, TLS1_VERSION);
    SSL_CTX_set_max_proto_version(client_ctx, TLS1_1_VERSION);
    ck_assert_ptr_null(open_tls(NULL));
}
END_TEST

START_TEST(a_new_certificate_is_for_the_next_connection)
{
    struct tls_server *fresh;
    SSL *ssl = open_tls(NULL);
    X509 *before = SSL_get1_peer_certificate(ssl), *after;

    close_tls(ssl);
    fresh = make_certificate("other.test");
    stats_http_set_tls(http, fresh);
    tls_server_free(fresh); /* it has its own hold */
    ssl = open_tls(NULL);
    ck_assert_ptr_nonnull(ssl);
    after = SSL_get1_peer_certificate(ssl);
    ck_assert_int_ne(X509_cmp(before, after), 0);
    X509_free(before);
    X509_free(after);
    close_tls(ssl);
    expect_status(get_tls("/healthz", own_host("other.test")), 200);
    expect_status(get_tls("/healthz", own_host(NAME)), 421);
}
END_TEST

START_TEST(handshakes_that_never_end_are_bounded_and_in_nobodys_way)
{
    int fds[STATS_CONN_MAX + 10];
    unsigned int n_open = 0;
    char byte;

    for (size_t i = 0; i < STATS_CONN_MAX + 10; i++) {
        fds[i] = connect_to("127.0.0.1");
        say(fds[i], "\x16\x03\x01", i % 4); /* the beginning of one, or silence */
        for (int turns = 0; turns < 3; turns++)
            pump(-1);
    }
    expect_status(get_tls("/healthz", own_host("127.0.0.1")), 200);
    for (size_t i = 0; i < STATS_CONN_MAX + 10; i++) {
        n_open += recv(fds[i], &byte, 1, MSG_DONTWAIT | MSG_PEEK) < 0 && errno == EAGAIN;
        close(fds[i]);
    }
    ck_assert_uint_lt(n_open, STATS_CONN_MAX);
    ck_assert_uint_gt(n_open, STATS_CONN_MAX / 2);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("stats/https");
    TCase *tc = tcase_create("https");

    signal(SIGPIPE, SIG_IGN);

    tcase_add_checked_fixture(tc, setup_tls, teardown_tls);
    tcase_add_test(tc, it_answers_over_tls);
    tcase_add_test(tc, a_name_in_the_certificate_is_ours_and_no_other);
    tcase_add_test(tc, who_speaks_plainly_is_told_nothing);
    tcase_add_test(tc, it_agrees_on_http_1_1_and_on_nothing_else);
    tcase_add_test(tc, nothing_older_than_tls_1_2_is_spoken);
    tcase_add_test(tc, a_new_certificate_is_for_the_next_connection);
    tcase_add_test(tc, handshakes_that_never_end_are_bounded_and_in_nobodys_way);
    suite_add_tcase(s, tc);
    return suite_run(s);
}
