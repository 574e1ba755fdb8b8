/*
 * What a client's cookie is: nothing is kept of who was sent one, it is computed
 * again when it comes back.
 */
#include <openssl/params.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/cursor.h"
#include "common/net/dtls_impl.h"

#define DTLS_COOKIE_LEN       32
#define DTLS_COOKIE_WINDOW_NS (30 * NS_PER_S)

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

EVP_MAC_CTX *dtls_cookie_mac(const uint8_t secret[DTLS_COOKIE_SECRET_LEN])
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
