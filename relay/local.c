#include "relay/local.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/net/batch.h"
#include "common/net/stream.h"
#include "relay/attach.h"
#include "relay/exit/upstream/upstream.h"
#include "relay/front/socks5.h"
#include "relay/local_stats.h"
#include "relay/loopback.h"
#include "relay/mirror.h"
#include "relay/secret.h"
#include "relay/stats/http.h"

#define LOCAL_READY 2 /* of each: two pages, or two connections, that begin at once */

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
    struct loopback *loopback;       /* NULL: turn = off */
    char page_token[SECRET_LEN + 1]; /* of the stats page, see http.h */
    struct mirror *mirror;
    struct flow_list *flows; /* scratch of the stats */
};

/* ---- the TURN front ---- */

/* Return: 0 or the exit status. */
static int local_init_turn(struct local *l)
{
    const struct loopback_params params = {
        .base = l->base,
        .rx = l->rx,
        .tx = l->tx,
        .pool = l->pool,
        .exit = l->exit,
        .counters = &l->counters,
    };

    if (l->conf->turn.family == ADDR_NONE)
        return 0;
    return loopback_new(&params, &l->conf->turn, &l->loopback);
}

/* ---- SOCKS5 ---- */

/* An app that sends even loopback through the proxy, as browsers can be told to, means us. */
static bool local_is_ours(void *arg, const char *name, uint16_t port)
{
    const struct local *l = arg;
    struct addr addr;

    if (!l->loopback || port != loopback_addr(l->loopback).port)
        return false;
    return strcasecmp(name, "localhost") == 0 ||
           (addr_parse_ip(name, port, &addr) && addr_is_loopback(&addr));
}

static bool local_join(void *arg, struct stream *stream, const struct addr *app)
{
    struct local *l = arg;

    return loopback_adopt(l->loopback, stream, app);
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
    if (status.state == UPSTREAM_READY && l->loopback)
        loopback_show(l->loopback, &status.relayed_v4, &status.relayed_v6);
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
        .turn = local_turn_addr(l),
        .turn_user = local_turn_user(l),
        .turn_password = local_turn_password(l),
        .flows = l->flows,
        .mirror = l->mirror,
    };
}

static void local_describe(void *arg, json_t *root)
{
    const struct local *l = arg;
    const struct local_view view = local_view(l);

    l->flows->n = l->flows->n_all = 0;
    if (l->loopback)
        loopback_flows(l->loopback, l->flows);
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

    if (l->loopback)
        loopback_sweep(l->loopback, now_ns);
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
    l->sweep = event_new(l->base, -1, EV_PERSIST, local_on_sweep, l);
    return !l->rx || !l->tx || !l->pool || !l->sweep || event_add(l->sweep, &second) < 0 ||
           !secret_draw(l->page_token);
}

static void local_announce(const struct local *l)
{
    struct addr socks5 = local_socks5_addr(l), turn = local_turn_addr(l);
    char text[ADDR_STRLEN];

    if (socks5.family != ADDR_NONE)
        log_info("SOCKS5 at %s", addr_format(&socks5, text, sizeof(text)));
    if (turn.family != ADDR_NONE)
        log_info("loopback TURN at %s: username %s credential %s",
                 addr_format(&turn, text, sizeof(text)), local_turn_user(l),
                 local_turn_password(l));
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
    loopback_free(l->loopback);
    upstream_exit_free(l->exit);
    stream_pool_free(l->pool);
    if (l->sweep)
        event_free(l->sweep);
    tx_queue_free(l->tx);
    rx_batch_free(l->rx);
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
    return l->loopback ? loopback_addr(l->loopback) : (struct addr){0};
}

const char *local_turn_user(const struct local *l)
{
    return LOOPBACK_USER;
}

const char *local_turn_password(const struct local *l)
{
    return l->loopback ? loopback_password(l->loopback) : "";
}

bool local_is_ready(const struct local *l)
{
    struct upstream_status datagrams, streams;

    upstream_exit_status(l->exit, false, &datagrams);
    upstream_exit_status(l->exit, true, &streams);
    return datagrams.state == UPSTREAM_READY &&
           (streams.state == UPSTREAM_READY || streams.state == UPSTREAM_OFF);
}
