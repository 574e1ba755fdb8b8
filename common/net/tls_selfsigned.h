/*
 * common/net/tls_selfsigned.h - a first start without openssl(1)
 *
 * Makes a P-256 key and a self-signed certificate for it. Clients do not trust
 * such a certificate by a chain: the invite carries its pin (tls.h).
 */
#pragma once

#include <stddef.h>

/* Stores both as PEM, the key 0600, each complete or not at all (temporary file, rename); if the
 * second cannot be stored the first is removed again. `name` is a host name or an IP literal.
 * Return: 0, or -1 with a one-line reason in `ret_error`. */
int tls_selfsigned_store(const char *cert_file, const char *key_file, const char *name,
                         char *ret_error, size_t error_len);
