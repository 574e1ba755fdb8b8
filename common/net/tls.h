/*
 * common/net/tls.h - certificates and OpenSSL contexts
 *
 * One struct tls_server holds the contexts for TLS (1.2, 1.3), DTLS (1.2) and HTTPS
 * of one certificate. It is immutable and reference counted: a reload builds a new
 * one, streams that started with the old one keep it through their SSL.
 *
 * ALPN: stun.turn and stun.nat-discovery are accepted (RFC 7443); a client that
 * offers protocols, but neither of these, gets the no_application_protocol
 * alert; a client that offers none is welcome. HTTPS takes http/1.1 instead, and a
 * client that offers something else only is answered without ALPN.
 */
#pragma once

#include <openssl/ssl.h>
#include <stddef.h>
#include <stdint.h>

#include "common/net/addr.h"

struct tls_server {
    SSL_CTX *tls;
    SSL_CTX *dtls;
    SSL_CTX *http;        /* the stats endpoint's */
    uint64_t not_after_s; /* the certificate's end, seconds since 1970 */
    char pin[64];         /* "sha256/" + base64 of the certificate's SPKI digest */
    unsigned int n_refs;  /* tls.c's; atomic */
};

/* Loads the PEM chain and key. When *neither* file exists, makes a self-signed P-256 certificate
 * for `name` (10 years) and stores both, the key 0600: a first start needs no openssl(1).
 * Return: 0, or -1 with a one-line reason in `ret_error` (of `error_len` bytes). */
int tls_server_new(const char *cert_file, const char *key_file, const char *name,
                   struct tls_server **ret, char *ret_error, size_t error_len);
/* One more holder: each worker drops its own when it has swapped to a newer one. Return: `t`. */
struct tls_server *tls_server_ref(struct tls_server *t);
/* Drops one reference, the last one frees. NULL is fine. */
void tls_server_free(struct tls_server *t);
