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
#include "relay/door.h"
#include "relay/exit/upstream/upstream.h"
#include "relay/front/socks5.h"
#include "relay/local_stats.h"
#include "relay/loopback.h"
#include "relay/mirror.h"
#include "relay/seal/place.h"
#include "relay/secret.h"
#include "relay/stats/http.h"

#define LOCAL_SERVICES_MAX 256
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
    unsigned int n_services; /* streams of sealed apps that we serve ourselves */
    struct event *sweep;
    struct stats_http *http;
    struct door *door; /* of sealed apps to a page of theirs; NULL: there is none */
    struct stats_http *inside;
    struct loopback *loopback;                                     /* NULL: turn = off */
    char page_token[SECRET_LEN + 1], inside_token[SECRET_LEN + 1]; /* of the stats pages */
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

static struct local_view local_view(const struct local *l, bool is_inside)
{
    struct local_view view = {
        .exit = l->exit,
        .socks5 = local_socks5_addr(l),
        .turn = local_turn_addr(l),
        .turn_user = local_turn_user(l),
        .turn_password = local_turn_password(l),
        .flows = l->flows,
        .mirror = l->mirror,
    };

    if (!is_inside)
        return view;
    addr_parse_ip(PLACE_ROUTER_V4, ROUTER_TURN_PORT, &view.stun);
    if (l->loopback)
        view.turn = view.stun;
    return view;
}

static void local_describe(void *arg, const struct stats_reader *reader, json_t *root)
{
    const struct local *l = arg;
    const struct local_view view = local_view(l, reader->is_inside);

    l->flows->n = l->flows->n_all = 0;
    if (l->attach)
        attach_flows(l->attach, l->flows);
    if (l->loopback)
        loopback_flows(l->loopback, l->flows);
    if (l->socks5)
        socks5_flows(l->socks5, l->flows);
    local_stats_describe(&view, reader, root);
}

static void local_state(void *arg, struct stats_state *ret)
{
    const struct local *l = arg;

    local_stats_state(l->exit, ret);
}

static bool local_ready(void *arg)
{
    return local_is_ready(arg);
}

static struct stats_source local_source(struct local *l)
{
    return (struct stats_source){
        .role = STATS_local,
        .arg = l,
        .state = local_state,
        .sum = local_sum,
        .describe = local_describe,
        .page_token = l->page_token,
        .ready = local_ready,
    };
}

static int local_init_stats(struct local *l)
{
    const struct stats_source source = local_source(l);

    l->mirror = mirror_new(l->base);
    l->flows = calloc(1, sizeof(*l->flows));
    if (!l->mirror || !l->flows || !secret_draw(l->page_token) || !secret_draw(l->inside_token))
        return 1;
    if (l->conf->stats_listen.family == ADDR_NONE)
        return 0;
    return stats_http_new(l->base, &l->conf->stats_listen, l->conf->stats_token, &source,
                          &l->http) < 0;
}

/* ---- sealed apps ---- */

static void local_on_service_ended(void *arg)
{
    struct local *l = arg;

    l->n_services--;
}

/* What the router of a seal serves. */
static bool local_on_service(void *arg, struct stream *app, uint16_t port)
{
    struct local *l = arg;
    struct addr from = stream_remote(app);
    bool taken = false;

    if (l->n_services == LOCAL_SERVICES_MAX)
        return false;
    if (port == ROUTER_TURN_PORT && l->loopback)
        taken = loopback_adopt(l->loopback, app, &from);
    else if (port == ROUTER_PAGE_PORT && l->door)
        taken = door_enter(l->door, app);
    if (!taken)
        return false;
    l->n_services++;
    stream_set_farewell(app, local_on_service_ended, l);
    return true;
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
                 .n_dns = l->conf->n_dns,
                 .on_service = local_on_service,
                 .service_arg = l},
        .is_ready = local_ready,
        .arg = l,
        .page_token = l->inside ? l->inside_token : NULL,
    };
}

/* Seals work without it. */
static void local_open_door(struct local *l)
{
    const struct stats_source source = local_source(l);
    struct addr hosts[2];

    addr_parse_ip(PLACE_ROUTER_V4, ROUTER_PAGE_PORT, &hosts[0]);
    addr_parse_ip(PLACE_ROUTER_V6, ROUTER_PAGE_PORT, &hosts[1]);
    l->door = door_new(l->pool);
    if (l->door && stats_http_new_inside(l->base, door_take_listener(l->door), hosts,
                                         l->inside_token, &source, &l->inside) == 0)
        return;
    log_warn("no stats page for sealed apps");
    door_free(l->door);
    l->door = NULL;
}

void local_offer(struct local *l)
{
    struct attach_params params;
    int r = -ENOMEM;

    if (l->conf->stats_listen.family != ADDR_NONE)
        local_open_door(l);
    params = local_attach_params(l);
    l->attach = attach_new(&params);
    if (l->attach)
        r = attach_listen(l->attach);
    if (r == -EADDRINUSE)
        log_warn("another \"callveil local\" of this user serves \"callveil run\" already");
    else if (r < 0)
        log_warn("\"callveil run\" cannot use this proxy, and starts its own: %s", strerror(-r));
}

int local_adopt(struct local *l, int fd, bool has_page, void (*on_ended)(void *arg), void *arg)
{
    struct attach_params params;

    if (has_page)
        local_open_door(l);
    params = local_attach_params(l);
    params.on_run_ended = on_ended;
    params.on_run_ended_arg = arg;
    l->attach = attach_new(&params);
    if (!l->attach) {
        close(fd);
        return -ENOMEM;
    }
    return attach_adopt(l->attach, fd);
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
    return !l->rx || !l->tx || !l->pool || !l->sweep || event_add(l->sweep, &second) < 0;
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
    stats_http_free(l->inside);
    mirror_free(l->mirror);
    free(l->flows);
    socks5_free(l->socks5);
    attach_free(l->attach);
    door_free(l->door);
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
