/*
 * Resumption is off altogether (no cache, no tickets): a ticket key would have
 * to be shared by the workers and rotated, and a TURN session lasts so long that
 * one full handshake does not matter. To a client, a ticket would also be a name
 * by which the network recognises it.
 */
#include "common/net/tls_ctx.h"

#include <openssl/err.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* Forward secrecy and AEAD only; TLS 1.3 has nothing else anyway. Which of them is the client's
 * choice: it knows whether its processor does AES. */
#define TLS_CIPHERS                                                                                \
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"                                   \
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"                                   \
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384"

/* An end-of-file without close_notify is how most TURN clients leave, and messages are framed: it
 * counts as the end, as on plain TCP. */
#define TLS_OPTIONS                                                                                \
    (SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET |                          \
     SSL_OP_IGNORE_UNEXPECTED_EOF)

int tls_fail(const struct tls_error *e, const char *what, const char *file)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason;

    /* OpenSSL wraps errno: the first error of the queue has it, e.g. a file not readable. */
    if (ERR_GET_LIB(ERR_peek_error()) == ERR_LIB_SYS)
        reason = strerror(ERR_GET_REASON(ERR_peek_error()));
    else
        reason = code ? ERR_reason_error_string(code) : NULL;
    snprintf(e->text, e->len, "%s %s: %s", what, file, reason ? reason : "unknown error");
    ERR_clear_error();
    return -1;
}

SSL_CTX *tls_ctx_new(const SSL_METHOD *method, int min_version)
{
    SSL_CTX *ctx = SSL_CTX_new(method);

    if (!ctx)
        return NULL;
    /* Said here, so that the system's openssl.cnf can neither loosen nor break it. */
    SSL_CTX_set_security_level(ctx, 2);
    if (SSL_CTX_set_min_proto_version(ctx, min_version) != 1 ||
        SSL_CTX_set_max_proto_version(ctx, 0) != 1 ||
        SSL_CTX_set_cipher_list(ctx, TLS_CIPHERS) != 1) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    SSL_CTX_set_options(ctx, TLS_OPTIONS);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    return ctx;
}

int tls_not_after_s(const X509 *cert, uint64_t *ret)
{
    struct tm tm;
    time_t end;

    if (ASN1_TIME_to_tm(X509_get0_notAfter(cert), &tm) != 1)
        return -1;
    end = timegm(&tm);
    *ret = end > 0 ? (uint64_t)end : 0;
    return 0;
}

int tls_spki_digest(const X509 *cert, unsigned char ret[TLS_PIN_LEN])
{
    unsigned char *der = NULL;
    int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);
    int ok = len > 0 && EVP_Digest(der, (size_t)len, ret, NULL, EVP_sha256(), NULL) == 1;

    OPENSSL_free(der);
    return ok ? 0 : -1;
}

void tls_pin_format(const unsigned char digest[TLS_PIN_LEN], char ret[TLS_PIN_TEXT_LEN])
{
    unsigned char base64[64];

    EVP_EncodeBlock(base64, digest, TLS_PIN_LEN);
    snprintf(ret, TLS_PIN_TEXT_LEN, "sha256/%.44s", (const char *)base64);
}
