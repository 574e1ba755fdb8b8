/*
 * OpenSSL's two questions to its surroundings: where datagrams come from and go
 * to (a BIO without memory), and what a client's cookie is.
 */
#include <openssl/params.h>
#include <pthread.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/cursor.h"
#include "common/net/dtls_impl.h"

#define DTLS_COOKIE_LEN       32
#define DTLS_COOKIE_WINDOW_NS (30 * NS_PER_S)

/* ---- the BIO: one datagram in, datagrams out ---- */

static int dtls_bio_read(BIO *bio, char *buf, int cap)
{
    struct dtls_session *s = BIO_get_data(bio);
    struct dtls_server *server = s->server;
    size_t len = server->input_len;

    BIO_clear_retry_flags(bio);
    if (!server->input || cap < 0 || len > (size_t)cap) {
        BIO_set_retry_read(bio);
        return -1;
    }
    memcpy(buf, server->input, len);
    server->input = NULL;
    return (int)len;
}

static int dtls_bio_write(BIO *bio, const char *data, int len)
{
    struct dtls_session *s = BIO_get_data(bio);
    struct dtls_server *server = s->server;

    BIO_clear_retry_flags(bio);
    server->events->send(server->user, s->listener, &s->key.remote, &s->key.local,
                         (const uint8_t *)data, (size_t)len);
    return len;
}

static long dtls_bio_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
    switch (cmd) {
    case BIO_CTRL_FLUSH:
    case BIO_CTRL_DUP:
        return 1;
    default:
        /* No peer address, no MTU, no timeouts: OpenSSL takes 0 for "unknown". */
        return 0;
    }
}

static int dtls_bio_create(BIO *bio)
{
    BIO_set_init(bio, 1);
    return 1;
}

static BIO_METHOD *dtls_bio_method;
static pthread_once_t dtls_bio_once = PTHREAD_ONCE_INIT;

static void dtls_make_bio_method(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "callveil datagram");

    if (!m)
        return;
    BIO_meth_set_read(m, dtls_bio_read);
    BIO_meth_set_write(m, dtls_bio_write);
    BIO_meth_set_ctrl(m, dtls_bio_ctrl);
    BIO_meth_set_create(m, dtls_bio_create);
    dtls_bio_method = m;
}

BIO *dtls_link_bio(struct dtls_session *s)
{
    BIO *bio;

    pthread_once(&dtls_bio_once, dtls_make_bio_method);
    bio = dtls_bio_method ? BIO_new(dtls_bio_method) : NULL;
    if (bio)
        BIO_set_data(bio, s);
    return bio;
}

/* ---- cookies ---- */

static bool dtls_make_cookie(const struct dtls_session *s, uint64_t window,
                             uint8_t ret[DTLS_COOKIE_LEN])
{
    EVP_MAC_CTX *mac = s->server->mac;
    uint8_t window_bytes[8];
    size_t len;

    put_u32(window_bytes, (uint32_t)(window >> 32));
    put_u32(window_bytes + 4, (uint32_t)window);
    return EVP_MAC_init(mac, NULL, 0, NULL) == 1 &&
           EVP_MAC_update(mac, window_bytes, sizeof(window_bytes)) == 1 &&
           EVP_MAC_update(mac, (const uint8_t *)&s->key, sizeof(s->key)) == 1 &&
           EVP_MAC_final(mac, ret, &len, DTLS_COOKIE_LEN) == 1 && len == DTLS_COOKIE_LEN;
}

static int dtls_on_make_cookie(SSL *ssl, unsigned char *ret_cookie, unsigned int *ret_len)
{
    const struct dtls_session *s = SSL_get_app_data(ssl);

    if (!dtls_make_cookie(s, s->server->now_ns / DTLS_COOKIE_WINDOW_NS, ret_cookie))
        return 0;
    *ret_len = DTLS_COOKIE_LEN;
    return 1;
}

static int dtls_on_verify_cookie(SSL *ssl, const unsigned char *cookie, unsigned int len)
{
    const struct dtls_session *s = SSL_get_app_data(ssl);
    uint64_t window = s->server->now_ns / DTLS_COOKIE_WINDOW_NS;
    uint8_t expected[DTLS_COOKIE_LEN];

    /* OpenSSL asks again when it handles the message that DTLSv1_listen() let through. */
    if (s->state != DTLS_SPARE)
        return 1;
    if (len != DTLS_COOKIE_LEN)
        return 0;
    for (uint64_t age = 0; age <= 1 && age <= window; age++)
        if (dtls_make_cookie(s, window - age, expected) &&
            CRYPTO_memcmp(expected, cookie, DTLS_COOKIE_LEN) == 0)
            return 1;
    return 0;
}

void dtls_ctx_init(SSL_CTX *ctx)
{
    SSL_CTX_set_options(ctx, SSL_OP_NO_QUERY_MTU);
    SSL_CTX_set_cookie_generate_cb(ctx, dtls_on_make_cookie);
    SSL_CTX_set_cookie_verify_cb(ctx, dtls_on_verify_cookie);
}

EVP_MAC_CTX *dtls_link_mac(const uint8_t secret[DTLS_COOKIE_SECRET_LEN])
{
    EVP_MAC *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    EVP_MAC_CTX *mac = hmac ? EVP_MAC_CTX_new(hmac) : NULL;
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string("digest", digest, 0),
                           OSSL_PARAM_construct_end()};

    EVP_MAC_free(hmac);
    if (mac && EVP_MAC_init(mac, secret, DTLS_COOKIE_SECRET_LEN, params) == 1)
        return mac;
    EVP_MAC_CTX_free(mac);
    return NULL;
}
