#include <openssl/err.h>

#include "common/net/tls_client.h"
#include "tests/net/certs.h"
#include "tests/net/support.h"

#define NAME "relay.test"

static char error[256];

/* One CA that the client trusts, one server that it vouches for, one that nobody does. */
static struct {
    struct cert ca, good, alone;
    struct tls_client *client;
    unsigned char good_pin[32], alone_pin[32];
} t;

static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

static void setup(void)
{
    const struct cert_want ca = {.cn = "test CA", .is_ca = true};
    const struct cert_want good = {.cn = "x", .san = "DNS:" NAME, .from = &t.ca};
    const struct cert_want alone = {.cn = NAME, .san = "DNS:" NAME};

    memset(&t, 0, sizeof(t));
    t.ca = cert_make(&ca);
    t.good = cert_make(&good);
    t.alone = cert_make(&alone);
    cert_pin(&t.good, t.good_pin);
    cert_pin(&t.alone, t.alone_pin);
    t.client = cert_client(&t.ca);
}

static void teardown(void)
{
    tls_client_free(t.client);
    cert_free(&t.ca);
    cert_free(&t.good);
    cert_free(&t.alone);
    ERR_clear_error();
}

/* ---- a handshake in memory ---- */

struct meeting {
    SSL *client, *server;
    bool ok;          /* both ends are through */
    bool client_done; /* ours is */
    int alert;        /* the last one the server received */
    char sni[64];     /* what the server was asked for */
};

static struct meeting m;

static void on_server_info(const SSL *ssl, int where, int value)
{
    if ((where & (SSL_CB_READ | SSL_CB_ALERT)) == (SSL_CB_READ | SSL_CB_ALERT))
        m.alert = value & 0xff;
}

static int on_sni(SSL *ssl, int *alert, void *arg)
{
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

    snprintf(m.sni, sizeof(m.sni), "%s", name ? name : "");
    return SSL_TLSEXT_ERR_OK;
}

static void meet_ctx(SSL_CTX *server_ctx, SSL *client)
{
    BIO *client_bio, *server_bio;
    int c = 0, s = 0;

    m = (struct meeting){.client = client, .server = SSL_new(server_ctx)};
    SSL_CTX_set_tlsext_servername_callback(server_ctx, on_sni);
    ck_assert_ptr_nonnull(client);
    ck_assert_int_eq(BIO_new_bio_pair(&client_bio, 0, &server_bio, 0), 1);
    SSL_set_bio(m.client, client_bio, client_bio);
    SSL_set_bio(m.server, server_bio, server_bio);
    SSL_set_accept_state(m.server);
    SSL_set_info_callback(m.server, on_server_info);
    for (int i = 0; i < 10; i++) {
        ERR_clear_error();
        c = SSL_do_handshake(m.client);
        s = SSL_do_handshake(m.server);
    }
    m.client_done = c == 1;
    m.ok = c == 1 && s == 1;
    ERR_clear_error();
}

static void meet_version(const struct cert *server, int version, SSL *client)
{
    SSL_CTX *ctx = cert_server(server, TLS_server_method());

    SSL_CTX_set_security_level(ctx, 0);
    SSL_CTX_set_min_proto_version(ctx, version);
    SSL_CTX_set_max_proto_version(ctx, version);
    meet_ctx(ctx, client);
    SSL_CTX_free(ctx);
}

static void part(void)
{
    SSL_free(m.client);
    SSL_free(m.server);
    m = (struct meeting){0};
}

static SSL *by_name(const char *name)
{
    return tls_client_ssl(t.client, false, name, NULL, 0);
}

static SSL *by_pin(unsigned char (*pins)[32], size_t n)
{
    return tls_client_ssl(t.client, false, NAME, (const unsigned char(*)[32])pins, n);
}

/* The client would not talk to this server, and the server got not one byte of data from it. */
static void refused(const char *why)
{
    char byte;

    ck_assert(!m.client_done);
    ck_assert_int_le(SSL_write(m.client, "secret", 6), 0);
    ck_assert_int_le(SSL_read(m.server, &byte, 1), 0);
    ck_assert_int_ne(m.alert, 0);
    ck_assert_ptr_nonnull(tls_client_why(m.client));
    ck_assert_msg(strstr(tls_client_why(m.client), why) != NULL, "%s", tls_client_why(m.client));
    part();
}

static void accepted(void)
{
    char back[8] = "";

    ck_assert(m.ok);
    ck_assert_ptr_null(tls_client_why(m.client));
    ck_assert_int_eq(SSL_write(m.client, "hello", 5), 5);
    ck_assert_int_eq(SSL_read(m.server, back, sizeof(back)), 5);
    ck_assert_str_eq(back, "hello");
    part();
}

/* A server vouched for by the CA, with such a certificate. */
static void meet_want(struct cert_want want, int version, SSL *client)
{
    struct cert c;

    want.from = &t.ca;
    c = cert_make(&want);
    meet_version(&c, version, client);
    cert_free(&c);
}

/* ---- by name ---- */

START_TEST(server_of_that_name_by_a_trusted_ca_is_accepted)
{
    meet_version(&t.good, versions[_i], by_name(NAME));
    ck_assert_str_eq(m.sni, NAME);
    accepted();
    meet_version(&t.good, versions[_i], by_name("RELAY.test."));
    accepted();
}
END_TEST

START_TEST(server_of_another_name_is_refused)
{
    meet_version(&t.good, versions[_i], by_name("other.test"));
    refused("ostname mismatch");
    meet_version(&t.good, versions[_i], by_name("relay.test.evil.test"));
    refused("ostname mismatch");
    meet_version(&t.good, versions[_i], by_name("a.relay.test"));
    refused("ostname mismatch");
}
END_TEST

START_TEST(self_signed_server_without_a_pin_is_refused)
{
    meet_version(&t.alone, versions[_i], by_name(NAME));
    refused("self-signed");
}
END_TEST

START_TEST(expired_and_future_certificates_are_refused)
{
    const struct cert_want old = {.cn = "x", .san = "DNS:" NAME, .start_s = -7200, .end_s = -3600};
    const struct cert_want young = {.cn = "x", .san = "DNS:" NAME, .start_s = 3600, .end_s = 7200};

    meet_want(old, versions[_i], by_name(NAME));
    refused("expired");
    meet_want(young, versions[_i], by_name(NAME));
    refused("not yet valid");
}
END_TEST

START_TEST(ip_literal_is_looked_for_among_the_ip_names)
{
    const struct cert_want v4 = {.cn = "x", .san = "IP:192.0.2.1"};
    const struct cert_want v6 = {.cn = "x", .san = "IP:2001:db8::7"};
    const struct cert_want text = {.cn = "192.0.2.1", .san = "DNS:192.0.2.1"};

    meet_want(v4, versions[_i], by_name("192.0.2.1"));
    ck_assert_str_eq(m.sni, ""); /* RFC 6066, section 3 */
    accepted();
    meet_want(v4, versions[_i], by_name("::ffff:192.0.2.1"));
    accepted();
    meet_want(v6, versions[_i], by_name("2001:DB8:0::7"));
    accepted();
    meet_want(v4, versions[_i], by_name("192.0.2.2"));
    refused("IP address mismatch");
    meet_want(text, versions[_i], by_name("192.0.2.1"));
    refused("IP address mismatch");
}
END_TEST

START_TEST(wildcard_stands_for_one_whole_label_and_the_common_name_for_nothing)
{
    const struct cert_want star = {.cn = "x", .san = "DNS:*.relay.test"};
    const struct cert_want part_star = {.cn = "x", .san = "DNS:a*.relay.test"};
    const struct cert_want cn = {.cn = NAME};

    meet_want(star, versions[_i], by_name("a1.relay.test"));
    accepted();
    meet_want(star, versions[_i], by_name("a.b.relay.test"));
    refused("ostname mismatch");
    meet_want(part_star, versions[_i], by_name("a1.relay.test"));
    refused("ostname mismatch");
    meet_want(cn, versions[_i], by_name(NAME));
    refused("ostname mismatch");
}
END_TEST

START_TEST(name_that_cannot_be_one_is_nobodys)
{
    const char *names[] = {"", ".", ".relay.test", ".test"};
    const struct cert_want star = {.cn = "x", .san = "DNS:*.relay.test,DNS:a.relay.test,DNS:" NAME};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        meet_want(star, versions[_i], by_name(names[i]));
        refused("ostname mismatch");
    }
}
END_TEST

/* ---- by pin ---- */

START_TEST(right_pin_is_enough_whatever_else_the_certificate_says)
{
    const struct cert_want odd = {.cn = "?", .start_s = -7200, .end_s = -3600};
    struct cert c = cert_make(&odd);
    unsigned char pins[2][32];

    memset(pins[0], 7, 32);
    cert_pin(&c, pins[1]);
    meet_version(&c, versions[_i], by_pin(pins, 2));
    ck_assert_str_eq(m.sni, NAME);
    accepted();
    meet_version(&c, versions[_i], by_name(NAME));
    refused("self-signed");
    cert_free(&c);
}
END_TEST

START_TEST(wrong_pin_is_refused_though_a_ca_vouches_for_the_name)
{
    unsigned char pins[2][32];

    memcpy(pins[0], t.alone_pin, 32);
    memcpy(pins[1], t.good_pin, 32);
    pins[1][31] ^= 1;
    meet_version(&t.good, versions[_i], by_pin(pins, 2));
    refused("does not have the pinned key");
}
END_TEST

START_TEST(pin_of_the_issuer_is_not_the_servers)
{
    unsigned char pins[1][32];
    SSL_CTX *ctx = cert_server(&t.good, TLS_server_method());

    cert_pin(&t.ca, pins[0]);
    ck_assert_int_eq(SSL_CTX_add1_chain_cert(ctx, t.ca.x509), 1);
    meet_ctx(ctx, by_pin(pins, 1));
    refused("does not have the pinned key");
    SSL_CTX_free(ctx);
}
END_TEST

START_TEST(pin_that_our_server_prints_is_the_pin_of_our_server)
{
    struct tls_server *server = test_tls_server();
    unsigned char pins[1][32];

    ck_assert(pin_parse(server->pin, pins[0]));
    meet_ctx(server->tls, by_pin(pins, 1));
    accepted();
    tls_server_free(server);
}
END_TEST

/* ---- the rest of the policy ---- */

START_TEST(no_tls_below_1_2)
{
    meet_version(&t.good, TLS1_1_VERSION, by_name(NAME));
    ck_assert(!m.client_done);
    ck_assert_ptr_null(tls_client_why(m.client)); /* no certificate was ever looked at */
    part();
}
END_TEST

static int on_alpn(SSL *ssl, const unsigned char **ret, unsigned char *ret_len,
                   const unsigned char *in, unsigned int in_len, void *arg)
{
    *(bool *)arg = in_len == 10 && memcmp(in, "\x09stun.turn", 10) == 0;
    *ret = in + 1;
    *ret_len = in[0];
    return SSL_TLSEXT_ERR_OK;
}

START_TEST(stun_turn_is_what_is_asked_for)
{
    SSL_CTX *ctx = cert_server(&t.good, TLS_server_method());
    bool asked = false;

    SSL_CTX_set_alpn_select_cb(ctx, on_alpn, &asked);
    meet_ctx(ctx, by_name(NAME));
    ck_assert(asked);
    accepted();
    SSL_CTX_free(ctx);
}
END_TEST

/* A ticket would tell the network that the same client has come back. */
START_TEST(nothing_is_kept_to_resume_with)
{
    SSL_CTX *ctx = cert_server(&t.good, TLS_server_method());
    char byte;

    meet_ctx(ctx, by_name(NAME));
    ck_assert(m.ok);
    ck_assert_int_eq(SSL_write(m.server, "x", 1), 1);
    ck_assert_int_eq(SSL_read(m.client, &byte, 1), 1); /* tickets come before it */
    ck_assert_int_eq(SSL_CTX_sess_number(SSL_get_SSL_CTX(m.client)), 0);
    part();
    SSL_CTX_free(ctx);
}
END_TEST

START_TEST(ca_file_that_cannot_be_used_is_named)
{
    struct tls_client *client = NULL;

    ck_assert_int_eq(tls_client_new("/nonexistent/ca.pem", &client, error, sizeof(error)), -1);
    ck_assert_ptr_nonnull(strstr(error, "/nonexistent/ca.pem: No such file"));
    ck_assert_ptr_null(client);
    ck_assert_int_eq(tls_client_new("/dev/null", &client, error, sizeof(error)), -1);
    ck_assert_ptr_nonnull(strstr(error, "/dev/null"));
}
END_TEST

START_TEST(without_a_ca_file_the_systems_authorities_count_and_ours_does_not)
{
    struct tls_client *client = NULL;

    ck_assert_int_eq(tls_client_new(NULL, &client, error, sizeof(error)), 0);
    meet_version(&t.good, TLS1_3_VERSION, tls_client_ssl(client, false, NAME, NULL, 0));
    tls_client_free(client); /* the SSL goes on without it */
    refused("certificate");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tls_client");
    TCase *tc = tcase_create("tls_client");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, server_of_that_name_by_a_trusted_ca_is_accepted, 0, 2);
    tcase_add_loop_test(tc, server_of_another_name_is_refused, 0, 2);
    tcase_add_loop_test(tc, self_signed_server_without_a_pin_is_refused, 0, 2);
    tcase_add_loop_test(tc, expired_and_future_certificates_are_refused, 0, 2);
    tcase_add_loop_test(tc, ip_literal_is_looked_for_among_the_ip_names, 0, 2);
    tcase_add_loop_test(tc, wildcard_stands_for_one_whole_label_and_the_common_name_for_nothing, 0,
                        2);
    tcase_add_loop_test(tc, name_that_cannot_be_one_is_nobodys, 0, 2);
    tcase_add_loop_test(tc, right_pin_is_enough_whatever_else_the_certificate_says, 0, 2);
    tcase_add_loop_test(tc, wrong_pin_is_refused_though_a_ca_vouches_for_the_name, 0, 2);
    tcase_add_test(tc, pin_of_the_issuer_is_not_the_servers);
    tcase_add_test(tc, pin_that_our_server_prints_is_the_pin_of_our_server);
    tcase_add_test(tc, no_tls_below_1_2);
    tcase_add_test(tc, stun_turn_is_what_is_asked_for);
    tcase_add_test(tc, nothing_is_kept_to_resume_with);
    tcase_add_test(tc, ca_file_that_cannot_be_used_is_named);
    tcase_add_test(tc, without_a_ca_file_the_systems_authorities_count_and_ours_does_not);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
