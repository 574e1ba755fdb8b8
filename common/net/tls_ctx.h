/*
 * common/net/tls_ctx.h - what the TLS and DTLS files share; nobody else's
 *
 * One policy for both ends: versions, ciphers, no resumption, what a missing
 * close_notify means, and what a pin is the digest of.
 */
#pragma once

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stddef.h>
#include <stdint.h>

#define TLS_PIN_LEN 32 /* SHA-256 */

/* Before a call whose SSL_get_error() counts. ERR_clear_error() alone wipes all sixteen slots each
 * time; on a datagram's way that was a twentieth of everything. */
static inline void tls_forget_errors(void)
{
    if (ERR_peek_error() != 0)
        ERR_clear_error();
}

struct tls_error {
    char *text;
    size_t len;
};

/* "<what> <file>: <OpenSSL's or the system's reason>"; empties OpenSSL's error queue. Return: -1.
 */
int tls_fail(const struct tls_error *e, const char *what, const char *file);

/* A context without certificates. Return: NULL when memory is short. */
SSL_CTX *tls_ctx_new(const SSL_METHOD *method, int min_version);

/* The certificate's end, seconds since 1970; 0: before that. Return: 0 or -1. */
int tls_not_after_s(const X509 *cert, uint64_t *ret);

/* The SHA-256 of the certificate's SubjectPublicKeyInfo (RFC 7469, section 2.4). Return: 0 or -1.
 */
int tls_spki_digest(const X509 *cert, unsigned char ret[TLS_PIN_LEN]);
/* "sha256/" + base64. */
#define TLS_PIN_TEXT_LEN 52
void tls_pin_format(const unsigned char digest[TLS_PIN_LEN], char ret[TLS_PIN_TEXT_LEN]);
