#include "relay/relay.h"

#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/net/batch.h"
#include "relay/guard/special.h"
#include "relay/listeners.h"
#include "relay/settings.h"
#include "relay/stats/http.h"
#include "relay/worker.h"

#define RELAY_FLOWS_WAIT_MS 100

struct relay {
    struct worker_shared shared;
    struct settings *settings;
    struct conf_listen *listen; /* as bound: the workers' common list */
    size_t n_listen;
    uint8_t nonce_secret[AUTH_SECRET_LEN];
    bool draining;
    struct stats_http *http;
    bool stats_https;
};

/* ---- what peers will see ---- */

static const enum addr_family families[] = {ADDR_IPV4, ADDR_IPV6};

/* 198.51.100.1 and 2001:db8::1 are nobody's: only the routing table is asked. */
static struct addr relay_default_address(enum addr_family family)
{
    struct addr far, found = {0};

    addr_parse_ip(family == ADDR_IPV6 ? "2001:db8::1" : "198.51.100.1", 9, &far);
    if (sock_route_source(&far, &found) < 0)
        return (struct addr){0};
    return found;
}

/* The address of a family that peers see, or ADDR_NONE; a listener's own when it is specific. */
static struct addr relay_seen_address(const struct conf *conf, enum addr_family family)
{
    const struct addr *public = family == ADDR_IPV6 ? &conf->public_v6 : &conf->public_v4;
    const struct addr *bound = family == ADDR_IPV6 ? &conf->relay_v6 : &conf->relay_v4;

    if (public->family != ADDR_NONE)
        return *public;
    if (bound->family != ADDR_NONE)
        return *bound;
    for (size_t i = 0; i < conf->n_listen; i++)
        if (conf->listen[i].addr.family == family && !addr_is_any(&conf->listen[i].addr))
            return conf->listen[i].addr;
    return relay_default_address(family);
}

/* Return: false when peers would be told an address that cannot be one. */
static bool relay_announce(const struct settings *s)
{
    char text[ADDR_STRLEN];
    unsigned int n = 0;

    for (size_t i = 0; i < 2; i++) {
        struct addr seen = relay_seen_address(s->conf, families[i]);

        if (seen.family == ADDR_NONE)
            continue;
        if (addr_is_any(&seen))
            return false;
        n++;
        log_info("peers will see %s", addr_format_ip(&seen, text, sizeof(text)));
        if (special_contains(&seen) && !addr_is_loopback(&seen))
            log_warn("peers on the Internet cannot reach %s: behind a NAT, set public-address",
                     text);
    }
    return n > 0;
}

/* ---- stats ---- */

/* Gauges that no worker keeps: the port table is the process's. */
static void relay_count_ports(struct relay *r, struct counters *ret)
{
    const struct conf *conf = r->settings->conf;
    const struct port_range range = {conf->port_min, conf->port_max};
    uint64_t now_ns = clock_now_ns();
    struct ports_count v4 =
        ports_count(r->shared.ports, (struct port_space){.family = ADDR_IPV4}, range, now_ns);
    struct ports_count v6 =
        ports_count(r->shared.ports, (struct port_space){.family = ADDR_IPV6}, range, now_ns);

    ret->ports_udp4_in_use = v4.in_use;
    ret->ports_udp4_resting = v4.resting;
    ret->ports_udp4_free = v4.free;
    ret->ports_udp6_in_use = v6.in_use;
    ret->ports_udp6_resting = v6.resting;
    ret->ports_udp6_free = v6.free;
}

static void relay_sum(void *arg, struct counters *ret)
{
    struct relay *r = arg;

    memset(ret, 0, sizeof(*ret));
    for (unsigned int i = 0; i < r->shared.n_workers; i++)
        counters_sum(ret, worker_counters(r->shared.workers[i]));
    relay_count_ports(r, ret);
}

static void relay_describe_user(void *arg, const char *user, size_t len, unsigned int n)
{
    json_t *users = arg;
    json_t *name = json_stringn(user, len);

    /* A name that is not UTF-8 has no place in JSON; it is counted under its absence. */
    json_array_append_new(
        users, json_pack("{s:o, s:i}", "name", name ? name : json_null(), "allocations", (int)n));
}

/* The workers answer from their loops, in a moment; who does not is left out. */
static void relay_describe_flows(struct relay *r, json_t *root)
{
    struct flow_list *list = calloc(1, sizeof(*list));
    struct timespec until;

    if (!list)
        return;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += RELAY_FLOWS_WAIT_MS * (long)NS_PER_MS;
    if (until.tv_nsec >= (long)NS_PER_S) {
        until.tv_sec++;
        until.tv_nsec -= (long)NS_PER_S;
    }
    for (unsigned int i = 0; i < r->shared.n_workers; i++)
        worker_ask_flows(r->shared.workers[i]);
    for (unsigned int i = 0; i < r->shared.n_workers; i++)
        if (!worker_flows(r->shared.workers[i], &until, list))
            log_limited(LOG_LEVEL_WARNING, "stats: worker %u does not answer", i);
    list->n_all = quota_total(r->shared.quota);
    flows_describe(list, clock_now_ns(), root);
    free(list);
}

static json_t *relay_describe_limits(const struct conf *conf)
{
    return json_pack("{s:I, s:I, s:I}", "allocations", (json_int_t)conf->max_allocations,
                     "allocations_per_user", (json_int_t)conf->max_allocations_per_user,
                     "bandwidth_per_allocation", (json_int_t)conf->max_bandwidth_per_allocation);
}

static json_t *relay_describe_listeners(const struct relay *r)
{
    json_t *listen = json_array();

    for (size_t i = 0; i < r->n_listen; i++) {
        char at[ADDR_STRLEN], text[ADDR_STRLEN + 16];

        snprintf(text, sizeof(text), "%s://%s", listeners_scheme(r->listen[i].protocols),
                 addr_format(&r->listen[i].addr, at, sizeof(at)));
        json_array_append_new(listen, json_string(text));
    }
    return listen;
}

static void relay_describe(void *arg, const struct stats_reader *reader, json_t *root)
{
    struct relay *r = arg;
    const struct conf *conf = r->settings->conf;
    json_t *users = json_array(), *seen = json_array();

    for (size_t i = 0; i < 2; i++) {
        struct addr a = relay_seen_address(conf, families[i]);
        char text[ADDR_STRLEN];

        if (a.family != ADDR_NONE)
            json_array_append_new(seen, json_string(addr_format_ip(&a, text, sizeof(text))));
    }
    quota_each(r->shared.quota, relay_describe_user, users);
    json_object_set_new(root, "role", json_string("relay"));
    json_object_set_new(root, "draining", json_boolean(r->draining));
    json_object_set_new(root, "hide_client_address", json_boolean(conf->hide_client_address));
    json_object_set_new(root, "workers", json_integer(r->shared.n_workers));
    json_object_set_new(root, "peers_see", seen);
    json_object_set_new(root, "users", users);
    json_object_set_new(root, "limits", relay_describe_limits(conf));
    json_object_set_new(root, "listen", relay_describe_listeners(r));
    relay_describe_flows(r, root);
    if (r->settings->tls)
        json_object_set_new(root, "certificate_not_after",
                            json_integer((json_int_t)r->settings->tls->not_after_s));
}

static void relay_state(void *arg, struct stats_state *ret)
{
    const struct relay *r = arg;

    if (r->settings->tls)
        ret->certificate_not_after_s = r->settings->tls->not_after_s;
}

static bool relay_ready(void *arg)
{
    struct relay *r = arg;

    return !r->draining;
}

/* ---- start ---- */

static bool relay_init_shared(struct relay *r, const struct conf *conf)
{
    r->shared.quota = quota_new();
    r->shared.rate = rate_new();
    r->shared.ports = ports_new();
    r->shared.workers = calloc(conf->workers, sizeof(struct worker *));
    r->shared.roams = calloc(conf->workers, sizeof(struct roam *));
    r->listen = calloc(conf->n_listen, sizeof(*r->listen));
    if (!r->shared.quota || !r->shared.rate || !r->shared.ports || !r->shared.workers ||
        !r->shared.roams || !r->listen)
        return false;
    r->n_listen = conf->n_listen;
    memcpy(r->listen, conf->listen, conf->n_listen * sizeof(*r->listen));
    return RAND_bytes(r->shared.cookie_secret, sizeof(r->shared.cookie_secret)) == 1;
}

/* Return: 0 or the exit status. */
static int relay_init_workers(struct relay *r)
{
    unsigned int n = r->settings->conf->workers;
    char text[ADDR_STRLEN];
    size_t failed = 0;

    /* CONNECTION-IDs and hand-overs need the final number from the start. */
    r->shared.n_workers = n;
    for (unsigned int i = 0; i < n; i++) {
        int e = worker_new(&r->shared, i, r->settings, r->listen, r->n_listen,
                           &r->shared.workers[i], &failed);

        if (e < 0) {
            listeners_log_failure(&r->listen[failed], e);
            return 1;
        }
    }
    for (size_t i = 0; i < r->n_listen; i++)
        log_info("listening on %s://%s", listeners_scheme(r->listen[i].protocols),
                 addr_format(&r->listen[i].addr, text, sizeof(text)));
    for (unsigned int i = 0; i < n; i++) {
        if (worker_start(r->shared.workers[i]) < 0) {
            log_error("cannot start a worker thread");
            return 1;
        }
    }
    return 0;
}

/* Where it listens, and so whether that is HTTPS, waits for the next start; the certificate does
 * not. A configuration that has none any more leaves the old one in use. */
static void relay_renew_stats(struct relay *r)
{
    if (r->http && r->stats_https && r->settings->tls)
        stats_http_set_tls(r->http, r->settings->tls);
}

static int relay_init_stats(struct relay *r, struct event_base *base)
{
    const struct conf *conf = r->settings->conf;
    const struct stats_source source = {
        .role = STATS_relay,
        .arg = r,
        .state = relay_state,
        .sum = relay_sum,
        .describe = relay_describe,
        .ready = relay_ready,
    };

    if (conf->stats_listen.family == ADDR_NONE)
        return 0;
    if (stats_http_new(base, &conf->stats_listen, conf->stats_token, &source, &r->http) < 0)
        return 1;
    r->stats_https = conf_stats_is_https(conf);
    relay_renew_stats(r);
    return 0;
}

int relay_start(struct conf *conf, struct event_base *base, struct relay **ret)
{
    struct relay *r = calloc(1, sizeof(*r));
    int status = 1;

    if (!r) {
        conf_free(conf);
        return status;
    }
    log_init(conf->log_level, conf->log_addresses);
    status = listeners_settle(conf);
    if (status != 0) {
        conf_free(conf);
        goto out;
    }
    if (RAND_bytes(r->nonce_secret, sizeof(r->nonce_secret)) != 1) {
        log_error("the system has no random numbers");
        conf_free(conf);
        status = 1;
        goto out;
    }
    status = 2; /* what fails here is the configuration's: its certificate, its addresses */
    r->settings = settings_new(conf, r->nonce_secret);
    if (!r->settings)
        goto out;
    if (!relay_announce(r->settings)) {
        log_error("no address is known that peers could see: set public-address or relay-address");
        goto out;
    }
    status = 1;
    if (!relay_init_shared(r, conf)) {
        log_error("out of memory");
        goto out;
    }
    status = relay_init_workers(r);
    if (status == 0)
        status = relay_init_stats(r, base);
    if (status == 0) {
        *ret = r;
        return 0;
    }
out:
    relay_free(r);
    return status;
}

/* ---- while running ---- */

static bool relay_text_equal(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

int relay_reload(struct relay *r, struct conf *conf)
{
    const struct conf *old = r->settings->conf;
    struct settings *fresh;

    if (old->workers != conf->workers || old->port_min != conf->port_min ||
        old->port_max != conf->port_max)
        log_warn("workers or ports have changed: that takes effect at the next start");
    if (!addr_equal(&old->stats_listen, &conf->stats_listen) ||
        !relay_text_equal(old->stats_token, conf->stats_token) || old->stats_tls != conf->stats_tls)
        log_warn("[stats] has changed: that takes effect at the next start");
    if (listeners_keep(conf, r->listen, r->n_listen) < 0) {
        conf_free(conf);
        return -1;
    }
    fresh = settings_new(conf, r->nonce_secret);
    if (!fresh)
        return -1;
    log_init(conf->log_level, conf->log_addresses);
    for (unsigned int i = 0; i < r->shared.n_workers; i++)
        worker_reload(r->shared.workers[i], fresh);
    settings_unref(r->settings);
    r->settings = fresh;
    relay_renew_stats(r);
    return 0;
}

void relay_drain(struct relay *r)
{
    if (!r->draining)
        for (unsigned int i = 0; i < r->shared.n_workers; i++)
            worker_drain(r->shared.workers[i]);
    r->draining = true;
}

unsigned int relay_n_allocations(struct relay *r)
{
    return quota_total(r->shared.quota);
}

struct addr relay_listen_addr(const struct relay *r, size_t i)
{
    return r->listen[i].addr;
}

const char *relay_pin(const struct relay *r)
{
    return r->settings->tls ? r->settings->tls->pin : NULL;
}

void relay_free(struct relay *r)
{
    if (!r)
        return;
    stats_http_free(r->http);
    for (unsigned int i = 0; i < r->shared.n_workers; i++)
        worker_stop(r->shared.workers[i]);
    for (unsigned int i = 0; i < r->shared.n_workers; i++)
        worker_free(r->shared.workers[i]);
    free(r->shared.workers);
    free(r->shared.roams);
    ports_free(r->shared.ports);
    rate_free(r->shared.rate);
    quota_free(r->shared.quota);
    settings_unref(r->settings);
    free(r->listen);
    free(r);
}
