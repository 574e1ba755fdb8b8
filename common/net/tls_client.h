/*
 * common/net/tls_client.h - the client's side of TLS and DTLS: whom do we talk to?
 *
 * A server proves who it is in one of two ways, and never in neither:
 *   pin   the SHA-256 of its SubjectPublicKeyInfo is one of the pins (RFC 7469,
 *         section 2.4); chain, name and dates do not matter then: the pin came with
 *         the invite, and a self-signed certificate is as good as any;
 *   name  a chain to a trusted CA, for the host name or IP literal that was asked for
 *         (RFC 6125).
 * TLS 1.2 and 1.3, DTLS 1.2; ALPN "stun.turn" (RFC 7443).
 *
 * Threads: const after tls_client_new(); reference counted by OpenSSL's own objects.
 */
#pragma once

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tls_client;

/* `ca_file`: PEM, or NULL for the system's. Return: 0, or -1 with a one-line reason in `ret_error`.
 */
int tls_client_new(const char *ca_file, struct tls_client **ret, char *ret_error, size_t error_len);
void tls_client_free(struct tls_client *t); /* NULL is fine */

/* An SSL on the verge of its handshake as a client (no BIO yet). `name` is a host name or an IP
 * literal without brackets: SNI for a host name, and what is verified unless `n_pins` > 0.
 * Copies what it keeps. Return: NULL when memory is short. */
SSL *tls_client_ssl(struct tls_client *t, bool dtls, const char *name,
                    const unsigned char (*pins)[32], size_t n_pins);

/* Why the handshake of such an SSL failed at the certificate, one line for a log ("the server's
 * certificate does not have the pinned key", "certificate has expired", ...). Return: NULL when the
 * certificate was not what failed. */
const char *tls_client_why(const SSL *ssl);

/* The end of the certificate that the server has shown, seconds since 1970; 0: none yet. */
uint64_t tls_client_not_after_s(const SSL *ssl);
