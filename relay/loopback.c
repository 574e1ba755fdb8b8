#include "relay/loopback.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/log.h"
#include "common/net/batch.h"
#include "common/net/stream.h"
#include "relay/guard/quota.h"
#include "relay/guard/rate.h"
#include "relay/listen/listen.h"
#include "relay/listeners.h"
#include "relay/secret.h"
#include "relay/settings.h"
#include "relay/turn/turn.h"

struct loopback {
    struct loopback_params params;
    char password[SECRET_LEN + 1];
    uint8_t nonce_secret[AUTH_SECRET_LEN], cookie_secret[32];
    struct addr addr;
    struct addr shown_v4, shown_v6;
    struct settings *settings;
    struct quota *quota;
    struct rate *rate;
    struct turn *turn;
    struct listen_set *listen;
    atomic_uint n_connections;
};

/* ---- its configuration ---- */

/* Its realm and user are of no consequence to the relay: two systems, two credentials. Nobody but
 * this machine can ask, so strangers need no limit; what they take is the relay's to count. */
static struct settings *loopback_settings(const struct loopback *t)
{
    char listen[ADDR_STRLEN], v4[ADDR_STRLEN] = "", v6[ADDR_STRLEN] = "", text[1024];
    bool has_v4 = t->shown_v4.family != ADDR_NONE, has_v6 = t->shown_v6.family != ADDR_NONE;
    struct conf *conf;

    addr_format(&t->addr, listen, sizeof(listen));
    if (has_v4)
        addr_format_ip(&t->shown_v4, v4, sizeof(v4));
    if (has_v6)
        addr_format_ip(&t->shown_v6, v6, sizeof(v6));
    snprintf(text, sizeof(text),
             "[relay]\n"
             "listen = udp://%s, tcp://%s\n"
             "mobility = no\n"
             "%s%s%s%s\n"
             "[users]\n" LOOPBACK_USER " = %s\n"
             "[limits]\n"
             "max-allocations-per-user = 10000\n"
             "unauthenticated-rate = 0\n"
             "[stats]\n"
             "listen = off\n",
             listen, listen, has_v4 || has_v6 ? "public-address = " : "", v4,
             has_v4 && has_v6 ? ", " : "", v6, t->password);
    conf = conf_load_text(text, "loopback TURN", "relay");
    OPENSSL_cleanse(text, sizeof(text));
    return conf ? settings_new(conf, t->nonce_secret) : NULL;
}

static bool loopback_apply_settings(struct loopback *t)
{
    struct settings *fresh = loopback_settings(t), *old = t->settings;

    if (!fresh)
        return false;
    t->settings = fresh;
    turn_set_settings(t->turn, fresh->conf, fresh->auth);
    settings_unref(old);
    return true;
}

void loopback_show(struct loopback *t, const struct addr *v4, const struct addr *v6)
{
    if (addr_ip_equal(&t->shown_v4, v4) && addr_ip_equal(&t->shown_v6, v6))
        return;
    t->shown_v4 = *v4;
    t->shown_v6 = *v6;
    if (!loopback_apply_settings(t))
        log_error("out of memory: the loopback TURN server keeps its old settings");
}

/* ---- life ---- */

/* One thread, one worker: a data connection never belongs to another one. */
static void loopback_hand_over(void *arg, unsigned int to, const struct turn_bind *bind)
{
    stream_free(bind->stream);
}

/* UDP and TCP share a port, so it cannot be left to either. Return: 0 or -errno. */
static int loopback_choose_port(struct addr *addr)
{
    int fd = sock_bind(addr, SOCK_DGRAM, 0);
    int r = fd < 0 ? fd : sock_local_addr(fd, addr);

    if (fd >= 0)
        close(fd);
    return r;
}

static int loopback_listen(struct loopback *t)
{
    struct listen_env env = {
        .base = t->params.base,
        .rx = t->params.rx,
        .tx = t->params.tx,
        .pool = t->params.pool,
        .counters = t->params.counters,
        .settings = &t->settings,
        .n_connections = &t->n_connections,
        .cookie_secret = t->cookie_secret,
        .turn = t->turn,
    };
    struct conf *conf = t->settings->conf;
    size_t failed;
    int r = listeners_settle(conf);

    if (r != 0)
        return r;
    r = listen_set_new(&env, conf->listen, conf->n_listen, &t->listen, &failed);
    if (r < 0)
        listeners_log_failure(&conf->listen[failed], r);
    return r < 0;
}

/* Return: 0 or the exit status. */
static int loopback_init(struct loopback *t)
{
    struct turn_params params = {
        .n_workers = 1,
        .exit = t->params.exit,
        .counters = t->params.counters,
        .hand_over = loopback_hand_over,
    };

    if (!secret_draw(t->password) || RAND_bytes(t->nonce_secret, sizeof(t->nonce_secret)) != 1 ||
        RAND_bytes(t->cookie_secret, sizeof(t->cookie_secret)) != 1)
        return 1;
    if (t->addr.port == 0 && loopback_choose_port(&t->addr) < 0)
        return 1;
    params.quota = t->quota = quota_new();
    params.rate = t->rate = rate_new();
    if (t->quota && t->rate)
        t->turn = turn_new(&params);
    if (!t->turn || !loopback_apply_settings(t))
        return 1;
    return loopback_listen(t);
}

int loopback_new(const struct loopback_params *params, const struct addr *addr,
                 struct loopback **ret)
{
    struct loopback *t = calloc(1, sizeof(*t));
    int status;

    if (!t)
        return 1;
    t->params = *params;
    t->addr = *addr;
    status = loopback_init(t);
    if (status != 0) {
        loopback_free(t);
        return status;
    }
    *ret = t;
    return 0;
}

void loopback_free(struct loopback *t)
{
    if (!t)
        return;
    /* Allocations first: they hold clients of the listeners. */
    if (t->turn)
        turn_free(t->turn);
    listen_set_free(t->listen);
    rate_free(t->rate);
    quota_free(t->quota);
    settings_unref(t->settings);
    OPENSSL_cleanse(t, sizeof(*t));
    free(t);
}

bool loopback_adopt(struct loopback *t, struct stream *stream, const struct addr *app)
{
    return listen_set_adopt(t->listen, stream, app, &t->addr);
}

void loopback_sweep(struct loopback *t, uint64_t now_ns)
{
    turn_sweep(t->turn, now_ns);
    listen_set_sweep(t->listen, now_ns);
}

struct addr loopback_addr(const struct loopback *t)
{
    return t->addr;
}

const char *loopback_password(const struct loopback *t)
{
    return t->password;
}

void loopback_flows(const struct loopback *t, struct flow_list *list)
{
    turn_flows(t->turn, list);
}
