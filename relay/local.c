#include "relay/local.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/net/batch.h"
#include "common/net/stream.h"
#include "relay/attach.h"
#include "relay/exit/upstream/upstream.h"
#include "relay/front/socks5.h"
#include "relay/guard/quota.h"
#include "relay/guard/rate.h"
#include "relay/listen/listen.h"
#include "relay/listeners.h"
#include "relay/local_stats.h"
#include "relay/mirror.h"
#include "relay/settings.h"
#include "relay/stats/http.h"
#include "relay/turn/turn.h"

#define LOCAL_TURN_USER    "callveil"
#define LOCAL_PASSWORD_LEN 32
#define LOCAL_READY        2 /* of each: two pages, or two connections, that begin at once */

struct local {
    struct event_base *base;
    struct conf *conf;
    struct counters counters;
    struct tx_stats tx_stats, tx_counted;
    struct rx_batch *rx;
    struct tx_queue *tx;
    struct stream_pool *pool;
    struct exit *exit;
    struct socks5 *socks5;
    struct attach *attach;
    struct event *sweep;
    struct stats_http *http;
    /* the TURN front, a relay's own with a configuration that is made here */
    char password[LOCAL_PASSWORD_LEN + 1];
    char page_token[LOCAL_PASSWORD_LEN + 1]; /* of the stats page, see http.h */
    struct mirror *mirror;
    struct flow_list *flows; /* scratch of the stats */
    uint8_t nonce_secret[AUTH_SECRET_LEN], cookie_secret[32];
    struct addr turn_addr;
    struct settings *settings;
    struct quota *quota;
    struct rate *rate;
    struct turn *turn;
    struct listen_set *listen;
    atomic_uint n_connections;
    struct addr shown_v4, shown_v6; /* what Binding answers show in place of the app's address */
};

/* ---- the TURN front ---- */

static void local_write_hex(char *text, const uint8_t bytes[LOCAL_PASSWORD_LEN / 2])
{
    for (size_t i = 0; i < LOCAL_PASSWORD_LEN / 2; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
}

static int local_draw_secrets(struct local *l)
{
    uint8_t bytes[LOCAL_PASSWORD_LEN / 2];

    if (RAND_bytes(bytes, sizeof(bytes)) != 1 ||
        RAND_bytes(l->nonce_secret, sizeof(l->nonce_secret)) != 1 ||
        RAND_bytes(l->cookie_secret, sizeof(l->cookie_secret)) != 1)
        return -1;
    local_write_hex(l->password, bytes);
    if (RAND_bytes(bytes, sizeof(bytes)) != 1)
        return -1;
    local_write_hex(l->page_token, bytes);
    OPENSSL_cleanse(bytes, sizeof(bytes));
    return 0;
}

/* Its realm and user are of no consequence to the relay: two systems, two credentials. Nobody but
 * this machine can ask, so strangers need no limit; what they take is the relay's to count. */
static struct settings *local_turn_settings(const struct local *l)
{
    char listen[ADDR_STRLEN], v4[ADDR_STRLEN] = "", v6[ADDR_STRLEN] = "", text[1024];
    bool has_v4 = l->shown_v4.family != ADDR_NONE, has_v6 = l->shown_v6.family != ADDR_NONE;
    struct settings *settings;
    struct conf *conf;

    addr_format(&l->turn_addr, listen, sizeof(listen));
    if (has_v4)
        addr_format_ip(&l->shown_v4, v4, sizeof(v4));
    if (has_v6)
        addr_format_ip(&l->shown_v6, v6, sizeof(v6));
    snprintf(text, sizeof(text),
             "[relay]\n"
             "listen = udp://%s, tcp://%s\n"
             "%s%s%s%s\n"
             "[users]\n" LOCAL_TURN_USER " = %s\n"
             "[limits]\n"
             "max-allocations-per-user = 10000\n"
             "unauthenticated-rate = 0\n"
             "[stats]\n"
             "listen = off\n",
             listen, listen, has_v4 || has_v6 ? "public-address = " : "", v4,
             has_v4 && has_v6 ? ", " : "", v6, l->password);
    conf = conf_load_text(text, "loopback TURN", "relay");
    OPENSSL_cleanse(text, sizeof(text));
    if (!conf)
        return NULL;
    conf->log_level = l->conf->log_level;
    conf->log_addresses = l->conf->log_addresses;
    settings = settings_new(conf, l->nonce_secret);
    return settings;
}

static bool local_apply_turn_settings(struct local *l)
{
    struct settings *fresh = local_turn_settings(l), *old = l->settings;

    if (!fresh)
        return false;
    l->settings = fresh;
    turn_set_settings(l->turn, fresh->conf, fresh->auth);
    settings_unref(old);
    return true;
}

/* One thread, one worker: a data connection never belongs to another one. */
static void local_hand_over(void *arg, unsigned int to, const struct turn_bind *bind)
{
    stream_free(bind->stream);
}

/* UDP and TCP share a port, so it cannot be left to either. Return: 0 or -errno. */
static int local_choose_port(struct addr *addr)
{
    int fd = sock_bind(addr, SOCK_DGRAM, 0);
    int r = fd < 0 ? fd : sock_local_addr(fd, addr);

    if (fd >= 0)
        close(fd);
    return r;
}

/* Return: 0 or the exit status. */
static int local_init_turn(struct local *l)
{
    const struct turn_params params = {
        .n_workers = 1,
        .exit = l->exit,
        .quota = l->quota,
        .rate = l->rate,
        .counters = &l->counters,
        .hand_over = local_hand_over,
    };
    struct listen_env env = {
        .base = l->base,
        .rx = l->rx,
        .tx = l->tx,
        .pool = l->pool,
        .counters = &l->counters,
        .settings = &l->settings,
        .n_connections = &l->n_connections,
        .cookie_secret = l->cookie_secret,
    };
    struct conf *conf;
    size_t failed;
    int r;

    if (l->conf->turn.family == ADDR_NONE)
        return 0;
    l->turn_addr = l->conf->turn;
    if (l->turn_addr.port == 0 && local_choose_port(&l->turn_addr) < 0)
        return 1;
    l->turn = env.turn = turn_new(&params);
    if (!l->turn || !local_apply_turn_settings(l))
        return 1;
    conf = l->settings->conf;
    r = listeners_settle(conf);
    if (r != 0)
        return r;
    r = listen_set_new(&env, conf->listen, conf->n_listen, &l->listen, &failed);
    if (r < 0)
        listeners_log_failure(&conf->listen[failed], r);
    return r < 0;
}

/* ---- SOCKS5 ---- */

/* An app that sends even loopback through the proxy, as browsers can be told to, means us. */
static bool local_is_ours(void *arg, const char *name, uint16_t port)
{
    const struct local *l = arg;
    struct addr addr;

    if (l->turn_addr.family == ADDR_NONE || port != l->turn_addr.port)
        return false;
    return strcasecmp(name, "localhost") == 0 ||
           (addr_parse_ip(name, port, &addr) && addr_is_loopback(&addr));
}

static bool local_join(void *arg, struct stream *stream, const struct addr *app)
{
    struct local *l = arg;

    return listen_set_adopt(l->listen, stream, app, &l->turn_addr);
}

static int local_init_socks5(struct local *l)
{
    const struct socks5_params params = {
        .base = l->base,
        .rx = l->rx,
        .tx = l->tx,
        .pool = l->pool,
        .exit = l->exit,
        .counters = &l->counters,
        .is_ours = local_is_ours,
        .join = local_join,
        .arg = l,
    };
    char text[ADDR_STRLEN];
    int r;

    if (l->conf->socks5.family == ADDR_NONE)
        return 0;
    r = socks5_new(&params, l->conf, &l->conf->socks5, &l->socks5);
    if (r == 0)
        return 0;
    log_error("cannot listen on socks5://%s: %s", addr_format(&l->conf->socks5, text, sizeof(text)),
              strerror(-r));
    return 1;
}

/* ---- sealed apps ---- */

static bool local_ready(void *arg)
{
    return local_is_ready(arg);
}

static struct attach_params local_attach_params(struct local *l)
{
    return (struct attach_params){
        .gate = {.base = l->base,
                 .rx = l->rx,
                 .tx = l->tx,
                 .pool = l->pool,
                 .exit = l->exit,
                 .counters = &l->counters,
                 .dns = l->conf->dns,
                 .n_dns = l->conf->n_dns},
        .is_ready = local_ready,
        .arg = l,
    };
}

void local_offer(struct local *l)
{
    const struct attach_params params = local_attach_params(l);
    int r = -ENOMEM;

    l->attach = attach_new(&params);
    if (l->attach)
        r = attach_listen(l->attach);
    if (r == -EADDRINUSE)
        log_warn("another \"callveil local\" of this user serves \"callveil run\" already");
    else if (r < 0)
        log_warn("\"callveil run\" cannot use this proxy, and starts its own: %s", strerror(-r));
}

int local_adopt(struct local *l, int fd, void (*on_ended)(void *arg), void *arg)
{
    struct attach_params params = local_attach_params(l);

    params.on_run_ended = on_ended;
    params.on_run_ended_arg = arg;
    l->attach = attach_new(&params);
    if (!l->attach) {
        close(fd);
        return -ENOMEM;
    }
    return attach_adopt(l->attach, fd);
}

/* ---- the way out ---- */

static void local_on_state(void *arg)
{
    struct local *l = arg;
    struct upstream_status status;

    upstream_exit_status(l->exit, false, &status);
    if (status.state != UPSTREAM_READY)
        return;
    if (addr_ip_equal(&l->shown_v4, &status.relayed_v4) &&
        addr_ip_equal(&l->shown_v6, &status.relayed_v6))
        return;
    l->shown_v4 = status.relayed_v4;
    l->shown_v6 = status.relayed_v6;
    if (l->turn && !local_apply_turn_settings(l))
        log_error("out of memory: the loopback TURN server keeps its old settings");
}

static int local_init_exit(struct local *l)
{
    const struct upstream_params params = {
        .base = l->base,
        .rx = l->rx,
        .tx = l->tx,
        .pool = l->pool,
        .counters = &l->counters,
        .n_ready_sessions = LOCAL_READY,
        .n_ready_trunks = LOCAL_READY,
        .n_ready_links = LOCAL_READY,
        .on_state = local_on_state,
        .arg = l,
    };

    l->exit = upstream_exit_new(&params);
    return l->exit ? 0 : 1;
}

/* ---- stats ---- */

static void local_sum(void *arg, struct counters *ret)
{
    const struct local *l = arg;

    memset(ret, 0, sizeof(*ret));
    counters_sum(ret, &l->counters);
}

static struct local_view local_view(const struct local *l)
{
    return (struct local_view){
        .exit = l->exit,
        .socks5 = local_socks5_addr(l),
        .turn = l->turn_addr,
        .turn_user = LOCAL_TURN_USER,
        .turn_password = l->password,
        .flows = l->flows,
        .mirror = l->mirror,
    };
}

static void local_describe(void *arg, json_t *root)
{
    const struct local *l = arg;
    const struct local_view view = local_view(l);

    l->flows->n = l->flows->n_all = 0;
    if (l->turn)
        turn_flows(l->turn, l->flows);
    if (l->socks5)
        socks5_flows(l->socks5, l->flows);
    local_stats_describe(&view, root);
}

static void local_describe_secrets(void *arg, json_t *root)
{
    const struct local_view view = local_view(arg);

    local_stats_describe_secrets(&view, root);
}

static void local_state(void *arg, struct stats_state *ret)
{
    const struct local *l = arg;

    local_stats_state(l->exit, ret);
}

static int local_init_stats(struct local *l)
{
    const struct stats_source source = {
        .role = STATS_local,
        .arg = l,
        .state = local_state,
        .sum = local_sum,
        .describe = local_describe,
        .describe_secrets = local_describe_secrets,
        .page_token = l->page_token,
        .ready = local_ready,
    };

    if (l->conf->stats_listen.family == ADDR_NONE)
        return 0;
    l->mirror = mirror_new(l->base);
    l->flows = calloc(1, sizeof(*l->flows));
    if (!l->mirror || !l->flows)
        return 1;
    return stats_http_new(l->base, &l->conf->stats_listen, l->conf->stats_token, &source,
                          &l->http) < 0;
}

/* ---- life ---- */

static void local_on_sweep(evutil_socket_t fd, short what, void *arg)
{
    struct local *l = arg;
    uint64_t now_ns = clock_now_ns();

    if (l->turn) {
        turn_sweep(l->turn, now_ns);
        listen_set_sweep(l->listen, now_ns);
    }
    if (l->socks5)
        socks5_sweep(l->socks5, now_ns);
    if (l->attach)
        attach_sweep(l->attach, now_ns);
    tx_flush(l->tx);
    counter_add(&l->counters.tx_calls, l->tx_stats.n_calls - l->tx_counted.n_calls);
    counter_add(&l->counters.drop_send, l->tx_stats.n_dropped - l->tx_counted.n_dropped);
    l->tx_counted = l->tx_stats;
}

static int local_init_base(struct local *l)
{
    static const struct timeval second = {.tv_sec = 1};

    l->rx = rx_batch_new();
    l->tx = tx_queue_new(&l->tx_stats);
    l->pool = stream_pool_new(l->base);
    l->quota = quota_new();
    l->rate = rate_new();
    l->sweep = event_new(l->base, -1, EV_PERSIST, local_on_sweep, l);
    if (!l->rx || !l->tx || !l->pool || !l->quota || !l->rate || !l->sweep ||
        event_add(l->sweep, &second) < 0 || local_draw_secrets(l) < 0)
        return 1;
    return 0;
}

static void local_announce(const struct local *l)
{
    struct addr socks5 = local_socks5_addr(l);
    char text[ADDR_STRLEN];

    if (socks5.family != ADDR_NONE)
        log_info("SOCKS5 at %s", addr_format(&socks5, text, sizeof(text)));
    if (l->turn_addr.family != ADDR_NONE)
        log_info("loopback TURN at %s: username %s credential %s",
                 addr_format(&l->turn_addr, text, sizeof(text)), LOCAL_TURN_USER, l->password);
    if (l->http) {
        struct addr page = stats_http_addr(l->http);

        if (addr_is_any(&page))
            addr_parse_ip(page.family == ADDR_IPV6 ? "::1" : "127.0.0.1", page.port, &page);
        log_info("stats page at http://%s/#%s", addr_format(&page, text, sizeof(text)),
                 l->page_token);
    }
}

int local_start(struct conf *conf, struct event_base *base, struct local **ret)
{
    struct local *l = calloc(1, sizeof(*l));
    int status = 1;

    if (!l) {
        conf_free(conf);
        return status;
    }
    l->base = base;
    l->conf = conf;
    log_init(conf->log_level, conf->log_addresses);
    status = local_init_base(l);
    if (status == 0)
        status = local_init_exit(l);
    if (status == 0)
        status = local_init_turn(l);
    if (status == 0)
        status = local_init_socks5(l);
    if (status == 0)
        status = local_init_stats(l);
    /* Last: what it finds is for fronts that are there. */
    if (status == 0 && upstream_exit_set_conf(l->exit, conf) < 0)
        status = 2;
    if (status != 0) {
        local_free(l);
        return status;
    }
    local_announce(l);
    *ret = l;
    return 0;
}

int local_reload(struct local *l, struct conf *conf)
{
    struct conf *old = l->conf;

    if (!addr_equal(&old->socks5, &conf->socks5) || !addr_equal(&old->turn, &conf->turn) ||
        !addr_equal(&old->stats_listen, &conf->stats_listen))
        log_warn("where to listen has changed: that takes effect at the next start");
    if (upstream_exit_set_conf(l->exit, conf) < 0) {
        conf_free(conf);
        return -1;
    }
    log_init(conf->log_level, conf->log_addresses);
    l->conf = conf;
    if (l->socks5)
        socks5_set_conf(l->socks5, conf);
    if (l->attach)
        attach_set_dns(l->attach, conf->dns, conf->n_dns);
    tx_flush(l->tx);
    conf_free(old);
    return 0;
}

void local_free(struct local *l)
{
    if (!l)
        return;
    stats_http_free(l->http);
    mirror_free(l->mirror);
    free(l->flows);
    socks5_free(l->socks5);
    attach_free(l->attach);
    /* Allocations first: they hold clients of the listeners. */
    if (l->turn)
        turn_free(l->turn);
    listen_set_free(l->listen);
    upstream_exit_free(l->exit);
    stream_pool_free(l->pool);
    if (l->sweep)
        event_free(l->sweep);
    tx_queue_free(l->tx);
    rx_batch_free(l->rx);
    rate_free(l->rate);
    quota_free(l->quota);
    settings_unref(l->settings);
    conf_free(l->conf);
    OPENSSL_cleanse(l, sizeof(*l));
    free(l);
}

/* ---- questions ---- */

struct addr local_socks5_addr(const struct local *l)
{
    return l->socks5 ? socks5_addr(l->socks5) : (struct addr){0};
}

struct addr local_turn_addr(const struct local *l)
{
    return l->turn_addr;
}

const char *local_turn_user(const struct local *l)
{
    return LOCAL_TURN_USER;
}

const char *local_turn_password(const struct local *l)
{
    return l->password;
}

bool local_is_ready(const struct local *l)
{
    struct upstream_status datagrams, streams;

    upstream_exit_status(l->exit, false, &datagrams);
    upstream_exit_status(l->exit, true, &streams);
    return datagrams.state == UPSTREAM_READY &&
           (streams.state == UPSTREAM_READY || streams.state == UPSTREAM_OFF);
}
