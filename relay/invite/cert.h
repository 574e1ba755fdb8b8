/*
 * relay/invite/cert.h - would a client that was told nothing accept the certificate?
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/net/tls.h"

/* Whether the system's authorities vouch for the certificate under this name or IP literal, as
 * common/net/tls_client.h asks. Otherwise `why`, of `len` bytes, says what is wrong. */
bool cert_is_vouched_for(const struct tls_server *tls, const char *host, char *why, size_t len);

/* The first host name that the certificate is for. Return: the caller's to free, or NULL when there
 * is none (wildcards are none). */
char *cert_host(const struct tls_server *tls);
