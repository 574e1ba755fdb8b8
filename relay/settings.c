#include "relay/settings.h"

#include <stdlib.h>

#include "common/base/log.h"

static bool settings_load_tls(struct settings *s)
{
    const struct conf *conf = s->conf;
    char name[ADDR_STRLEN] = "callveil", error[256];
    unsigned int protocols = 0;

    for (size_t i = 0; i < conf->n_listen; i++)
        protocols |= conf->listen[i].protocols;
    if (!(protocols & (LISTEN_TLS | LISTEN_DTLS)))
        return true;
    if (conf->public_v4.family != ADDR_NONE)
        addr_format_ip(&conf->public_v4, name, sizeof(name));
    if (tls_server_new(conf->certificate, conf->private_key, name, &s->tls, error, sizeof(error)) ==
        0)
        return true;
    log_error("%s", error);
    return false;
}

struct settings *settings_new(struct conf *conf, const uint8_t nonce_secret[AUTH_SECRET_LEN])
{
    struct settings *s = calloc(1, sizeof(*s));

    if (!s) {
        conf_free(conf);
        return NULL;
    }
    atomic_init(&s->refs, 1);
    s->conf = conf;
    s->acl = acl_new(conf);
    s->auth = auth_new(conf, nonce_secret);
    if (!s->acl || !s->auth) {
        log_error("out of memory");
    } else if (settings_load_tls(s)) {
        return s;
    }
    settings_unref(s);
    return NULL;
}

struct settings *settings_ref(struct settings *s)
{
    atomic_fetch_add(&s->refs, 1);
    return s;
}

void settings_unref(struct settings *s)
{
    if (!s || atomic_fetch_sub(&s->refs, 1) > 1)
        return;
    tls_server_free(s->tls);
    auth_free(s->auth);
    acl_free(s->acl);
    conf_free(s->conf);
    free(s);
}
