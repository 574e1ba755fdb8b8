#include "relay/settings.h"

#include <stdlib.h>

#include "common/base/log.h"

static int settings_load_certificate(const struct conf *conf, struct tls_server **ret,
                                     char *ret_error, size_t len)
{
    char name[ADDR_STRLEN] = "callveil";

    if (conf->public_v4.family != ADDR_NONE)
        addr_format_ip(&conf->public_v4, name, sizeof(name));
    return tls_server_new(conf->certificate, conf->private_key, name, ret, ret_error, len);
}

int settings_tls_new(const struct conf *conf, struct tls_server **ret, char *ret_error, size_t len)
{
    unsigned int protocols = 0;

    *ret = NULL;
    for (size_t i = 0; i < conf->n_listen; i++)
        protocols |= conf->listen[i].protocols;
    if (!(protocols & (LISTEN_TLS | LISTEN_DTLS)))
        return 0;
    return settings_load_certificate(conf, ret, ret_error, len);
}

static bool settings_load_tls(struct settings *s)
{
    char error[256];

    int r = settings_tls_new(s->conf, &s->tls, error, sizeof(error));

    if (r == 0 && !s->tls && conf_stats_is_https(s->conf))
        r = settings_load_certificate(s->conf, &s->tls, error, sizeof(error));
    if (r < 0)
        log_error("%s", error);
    return r == 0;
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
