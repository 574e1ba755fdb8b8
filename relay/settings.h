/*
 * relay/settings.h - everything made from one configuration file
 *
 * Const after settings_new(), shared by all workers, reference counted: a reload
 * makes a new one, posts it to every worker, and the last worker that lets go of
 * the old one frees it.
 */
#pragma once

#include <stdatomic.h>

#include "common/net/tls.h"
#include "conf/conf.h"
#include "relay/guard/acl.h"
#include "relay/turn/auth.h"

struct settings {
    atomic_uint refs;
    struct conf *conf;
    struct acl *acl;
    struct auth *auth;
    struct tls_server *tls; /* NULL without TLS and DTLS listeners, and HTTPS of the stats */
};

/* Takes `conf`, also on failure. Return: NULL after logging why. */
struct settings *settings_new(struct conf *conf, const uint8_t nonce_secret[AUTH_SECRET_LEN]);
/* The certificate that the configuration names, made if it is to be made on first use; *ret is NULL
 * when no listener needs one. Return: 0, or -1 with a one-line reason in `ret_error`. */
int settings_tls_new(const struct conf *conf, struct tls_server **ret, char *ret_error, size_t len);
struct settings *settings_ref(struct settings *s);
void settings_unref(struct settings *s); /* NULL is fine */
