#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "tests/net/support.h"

#define ALPN(text) ((const unsigned char *)(text)), (sizeof(text) - 1)

static char error[256];

/* Both sides in memory until neither has anything to say. */
struct handshake {
    SSL *client, *server;
    bool ok;
    int alert; /* the last one the client received */
};

static void on_client_info(const SSL *ssl, int where, int value)
{
    if ((where & (SSL_CB_READ | SSL_CB_ALERT)) == (SSL_CB_READ | SSL_CB_ALERT))
        *(int *)SSL_get_app_data(ssl) = value & 0xff;
}

static struct handshake handshake(SSL_CTX *server_ctx, SSL_CTX *client_ctx,
                                  const unsigned char *alpn, size_t alpn_len)
{
    struct handshake h = {.client = SSL_new(client_ctx), .server = SSL_new(server_ctx)};
    BIO *client_bio, *server_bio;
    int c = 0, s = 0;

    ck_assert_int_eq(BIO_new_bio_pair(&client_bio, 0, &server_bio, 0), 1);
    SSL_set_bio(h.client, client_bio, client_bio);
    SSL_set_bio(h.server, server_bio, server_bio);
    SSL_set_connect_state(h.client);
    SSL_set_accept_state(h.server);
    SSL_set_app_data(h.client, &h.alert);
    SSL_set_info_callback(h.client, on_client_info);
    if (alpn)
        ck_assert_int_eq(SSL_set_alpn_protos(h.client, alpn, (unsigned int)alpn_len), 0);
    for (int i = 0; i < 10; i++) {
        c = SSL_do_handshake(h.client);
        s = SSL_do_handshake(h.server);
    }
    h.ok = c == 1 && s == 1;
    SSL_set_info_callback(h.client, NULL);
    ERR_clear_error();
    return h;
}

static void handshake_free(struct handshake *h)
{
    SSL_free(h->client);
    SSL_free(h->server);
}

static SSL_CTX *client_ctx(int min_version, int max_version)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

    /* Level 0, or the client would refuse TLS 1.1 itself. */
    SSL_CTX_set_security_level(ctx, 0);
    SSL_CTX_set_min_proto_version(ctx, min_version);
    SSL_CTX_set_max_proto_version(ctx, max_version);
    return ctx;
}

static void write_file(const char *file, const char *text)
{
    FILE *f = fopen(file, "w");

    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
}

static void file_mode_is(const char *file, mode_t mode)
{
    struct stat st;

    ck_assert_int_eq(stat(file, &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, mode);
}

START_TEST(first_start_makes_a_p256_certificate_and_the_second_loads_the_same)
{
    struct temp_pair files;
    struct tls_server *first, *second;
    char name[32] = "";
    EVP_PKEY *key;
    X509 *cert;

    temp_pair_make(&files);
    ck_assert_int_eq(
        tls_server_new(files.cert, files.key, "relay.example", &first, error, sizeof(error)), 0);
    file_mode_is(files.key, 0600);
    file_mode_is(files.cert, 0644);
    cert = SSL_CTX_get0_certificate(first->tls);
    key = SSL_CTX_get0_privatekey(first->tls);
    ck_assert_int_eq(EVP_PKEY_get_group_name(key, name, sizeof(name), NULL), 1);
    ck_assert_str_eq(name, "prime256v1");
    ck_assert_int_eq(X509_check_host(cert, "relay.example", 0, 0, NULL), 1);
    ck_assert_int_eq(X509_check_host(cert, "other.example", 0, 0, NULL), 0);
    ck_assert_int_eq(X509_verify(cert, key), 1);
    ck_assert_int_eq(
        tls_server_new(files.cert, files.key, "relay.example", &second, error, sizeof(error)), 0);
    ck_assert_str_eq(first->pin, second->pin);
    tls_server_free(first);
    tls_server_free(second);
    temp_pair_remove(&files);
}
END_TEST

START_TEST(certificate_for_an_ip_literal_names_the_ip)
{
    struct temp_pair files;
    struct tls_server *t;

    temp_pair_make(&files);
    ck_assert_int_eq(tls_server_new(files.cert, files.key, "2001:db8::7", &t, error, sizeof(error)),
                     0);
    ck_assert_int_eq(X509_check_ip_asc(SSL_CTX_get0_certificate(t->tls), "2001:db8::7", 0), 1);
    tls_server_free(t);
    temp_pair_remove(&files);
}
END_TEST

START_TEST(pin_and_end_are_the_certificates_own)
{
    struct tls_server *t = test_tls_server();
    X509 *cert = SSL_CTX_get0_certificate(t->tls);
    unsigned char *der = NULL, digest[32], base64[64];
    uint64_t ten_years = 3650ull * 24 * 60 * 60, now = clock_real_s();
    char expected[80];
    int len = i2d_PUBKEY(X509_get0_pubkey(cert), &der);

    ck_assert_int_gt(len, 0);
    ck_assert_int_eq(EVP_Digest(der, (size_t)len, digest, NULL, EVP_sha256(), NULL), 1);
    EVP_EncodeBlock(base64, digest, sizeof(digest));
    snprintf(expected, sizeof(expected), "sha256/%s", (char *)base64);
    ck_assert_str_eq(t->pin, expected);
    ck_assert_uint_le(t->not_after_s, now + ten_years);
    ck_assert_uint_ge(t->not_after_s, now + ten_years - 60);
    OPENSSL_free(der);
    tls_server_free(t);
}
END_TEST

START_TEST(half_a_pair_is_an_error_that_names_the_missing_file)
{
    struct temp_pair files;
    struct tls_server *t = NULL;

    temp_pair_make(&files);
    write_file(files.cert, "x");
    ck_assert_int_eq(tls_server_new(files.cert, files.key, "x", &t, error, sizeof(error)), -1);
    ck_assert_ptr_nonnull(strstr(error, "key.pem is missing"));
    ck_assert_int_ne(access(files.key, F_OK), 0);
    unlink(files.cert);
    write_file(files.key, "x");
    ck_assert_int_eq(tls_server_new(files.cert, files.key, "x", &t, error, sizeof(error)), -1);
    ck_assert_ptr_nonnull(strstr(error, "cert.pem is missing"));
    ck_assert_ptr_null(t);
    temp_pair_remove(&files);
}
END_TEST

START_TEST(key_of_another_certificate_is_refused)
{
    struct temp_pair a, b;
    struct tls_server *t;

    temp_pair_make(&a);
    temp_pair_make(&b);
    ck_assert_int_eq(tls_server_new(a.cert, a.key, "a", &t, error, sizeof(error)), 0);
    tls_server_free(t);
    ck_assert_int_eq(tls_server_new(b.cert, b.key, "b", &t, error, sizeof(error)), 0);
    tls_server_free(t);
    ck_assert_int_eq(tls_server_new(a.cert, b.key, "a", &t, error, sizeof(error)), -1);
    ck_assert_ptr_nonnull(strstr(error, "does not belong to certificate"));
    ck_assert_ptr_null(strchr(error, '\n'));
    temp_pair_remove(&a);
    temp_pair_remove(&b);
}
END_TEST

START_TEST(garbage_and_encrypted_keys_are_refused_with_the_file_name)
{
    struct temp_pair files;
    struct tls_server *t;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    FILE *f;

    temp_pair_make(&files);
    ck_assert_int_eq(tls_server_new(files.cert, files.key, "a", &t, error, sizeof(error)), 0);
    tls_server_free(t);
    /* No terminal may be asked: with one, this test would hang. */
    f = fopen(files.key, "w");
    ck_assert_int_eq(PEM_write_PKCS8PrivateKey(f, key, EVP_aes_128_cbc(), "secret", 6, NULL, NULL),
                     1);
    fclose(f);
    ck_assert_int_eq(tls_server_new(files.cert, files.key, "a", &t, error, sizeof(error)), -1);
    ck_assert_ptr_nonnull(strstr(error, files.key));
    write_file(files.cert, "no certificate");
    ck_assert_int_eq(tls_server_new(files.cert, files.key, "a", &t, error, sizeof(error)), -1);
    ck_assert_ptr_nonnull(strstr(error, files.cert));
    EVP_PKEY_free(key);
    temp_pair_remove(&files);
}
END_TEST

START_TEST(unwritable_directory_is_an_error_with_the_reason)
{
    struct tls_server *t;

    ck_assert_int_eq(tls_server_new("/nonexistent/callveil/cert.pem",
                                    "/nonexistent/callveil/key.pem", "a", &t, error, sizeof(error)),
                     -1);
    ck_assert_ptr_nonnull(strstr(error, "No such file or directory"));
}
END_TEST

START_TEST(tls_1_2_and_1_3_are_spoken_and_1_1_is_not)
{
    static const int versions[] = {TLS1_1_VERSION, TLS1_2_VERSION, TLS1_3_VERSION};
    struct tls_server *t = test_tls_server();

    for (int i = 0; i < 3; i++) {
        SSL_CTX *ctx = client_ctx(versions[i], versions[i]);
        struct handshake h = handshake(t->tls, ctx, NULL, 0);

        ck_assert_int_eq(h.ok, versions[i] != TLS1_1_VERSION);
        if (h.ok)
            ck_assert_int_eq(SSL_version(h.client), versions[i]);
        else
            ck_assert_int_eq(h.alert, SSL_AD_PROTOCOL_VERSION);
        handshake_free(&h);
        SSL_CTX_free(ctx);
    }
    tls_server_free(t);
}
END_TEST

START_TEST(ciphers_without_forward_secrecy_or_aead_are_refused)
{
    static const char *const ciphers[] = {"AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA256",
                                          "ECDHE-ECDSA-AES128-GCM-SHA256"};
    struct tls_server *t = test_tls_server();

    for (int i = 0; i < 3; i++) {
        SSL_CTX *ctx = client_ctx(TLS1_2_VERSION, TLS1_2_VERSION);
        struct handshake h;

        ck_assert_int_eq(SSL_CTX_set_cipher_list(ctx, ciphers[i]), 1);
        h = handshake(t->tls, ctx, NULL, 0);
        ck_assert_int_eq(h.ok, i == 2);
        handshake_free(&h);
        SSL_CTX_free(ctx);
    }
    tls_server_free(t);
}
END_TEST

START_TEST(alpn_takes_ours_refuses_others_and_does_without)
{
    static const struct {
        const unsigned char *offer;
        size_t offer_len;
        const char *chosen; /* NULL: the alert */
    } cases[] = {
        {ALPN("\x09stun.turn"), "stun.turn"},
        {ALPN("\x02h2\x12stun.nat-discovery"), "stun.nat-discovery"},
        {ALPN("\x12stun.nat-discovery\x09stun.turn"), "stun.turn"},
        {ALPN("\x02h2\x08http/1.1"), NULL},
        {ALPN("\x08stun.tur"), NULL},
        {NULL, 0, ""},
    };
    struct tls_server *t = test_tls_server();
    SSL_CTX *ctx = client_ctx(TLS1_2_VERSION, TLS1_3_VERSION);

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct handshake h = handshake(t->tls, ctx, cases[i].offer, cases[i].offer_len);
        const unsigned char *got;
        unsigned int len;

        ck_assert_int_eq(h.ok, cases[i].chosen != NULL);
        if (h.ok) {
            SSL_get0_alpn_selected(h.client, &got, &len);
            ck_assert_uint_eq(len, strlen(cases[i].chosen));
            ck_assert(len == 0 || memcmp(got, cases[i].chosen, len) == 0);
        } else {
            ck_assert_int_eq(h.alert, SSL_AD_NO_APPLICATION_PROTOCOL);
        }
        handshake_free(&h);
    }
    SSL_CTX_free(ctx);
    tls_server_free(t);
}
END_TEST

START_TEST(no_ticket_and_no_session_is_handed_out)
{
    struct tls_server *t = test_tls_server();

    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        SSL_CTX *ctx = client_ctx(version, version);
        struct handshake h = handshake(t->tls, ctx, NULL, 0);
        char byte;

        ck_assert(h.ok);
        ck_assert_int_le(SSL_read(h.client, &byte, 1), 0); /* a TLS 1.3 ticket would come here */
        ck_assert_int_eq(SSL_SESSION_is_resumable(SSL_get_session(h.client)), 0);
        handshake_free(&h);
        SSL_CTX_free(ctx);
    }
    tls_server_free(t);
}
END_TEST

START_TEST(renegotiation_is_refused)
{
    struct tls_server *t = test_tls_server();
    SSL_CTX *ctx = client_ctx(TLS1_2_VERSION, TLS1_2_VERSION);
    struct handshake h = handshake(t->tls, ctx, NULL, 0);
    char byte;

    ck_assert(h.ok);
    ck_assert_int_eq(SSL_renegotiate(h.client), 1);
    ck_assert_int_le(SSL_do_handshake(h.client), 0);
    ck_assert_int_le(SSL_read(h.server, &byte, 1), 0);
    ck_assert_int_le(SSL_do_handshake(h.client), 0);
    ck_assert_int_eq(ERR_GET_REASON(ERR_peek_error()), SSL_R_NO_RENEGOTIATION);
    ERR_clear_error();
    handshake_free(&h);
    SSL_CTX_free(ctx);
    tls_server_free(t);
}
END_TEST

START_TEST(server_lives_until_the_last_reference_goes)
{
    struct tls_server *t = test_tls_server();

    ck_assert_ptr_eq(tls_server_ref(t), t);
    tls_server_free(t);
    ck_assert_ptr_nonnull(SSL_CTX_get0_certificate(t->dtls));
    tls_server_free(t);
    tls_server_free(NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("net/tls");
    TCase *tc = tcase_create("tls");

    tcase_add_test(tc, first_start_makes_a_p256_certificate_and_the_second_loads_the_same);
    tcase_add_test(tc, certificate_for_an_ip_literal_names_the_ip);
    tcase_add_test(tc, pin_and_end_are_the_certificates_own);
    tcase_add_test(tc, half_a_pair_is_an_error_that_names_the_missing_file);
    tcase_add_test(tc, key_of_another_certificate_is_refused);
    tcase_add_test(tc, garbage_and_encrypted_keys_are_refused_with_the_file_name);
    tcase_add_test(tc, unwritable_directory_is_an_error_with_the_reason);
    tcase_add_test(tc, tls_1_2_and_1_3_are_spoken_and_1_1_is_not);
    tcase_add_test(tc, ciphers_without_forward_secrecy_or_aead_are_refused);
    tcase_add_test(tc, alpn_takes_ours_refuses_others_and_does_without);
    tcase_add_test(tc, no_ticket_and_no_session_is_handed_out);
    tcase_add_test(tc, renegotiation_is_refused);
    tcase_add_test(tc, server_lives_until_the_last_reference_goes);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
