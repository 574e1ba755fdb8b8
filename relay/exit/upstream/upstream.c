#include "relay/exit/upstream/upstream.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "common/net/batch.h"
#include "common/net/tls_client.h"
#include "relay/exit/upstream/upstream_impl.h"

#define UPSTREAM_SWEEP_NS NS_PER_S

/* ---- the ticker: one timer for all sessions ---- */

static void upstream_arm(struct upstream *x, uint64_t at_ns, uint64_t now_ns)
{
    uint64_t left_us = at_ns > now_ns ? (at_ns - now_ns) / NS_PER_US + 1 : 0;
    struct timeval tv = {.tv_sec = (time_t)(left_us / 1000000),
                         .tv_usec = (suseconds_t)(left_us % 1000000)};

    x->due_ns = at_ns;
    event_add(&x->ticker, &tv);
}

static void upstream_on_wake(void *arg, uint64_t at_ns)
{
    struct upstream *x = arg;

    if (at_ns < x->due_ns)
        upstream_arm(x, at_ns, clock_now_ns());
}

struct session_waker upstream_waker(struct upstream *x)
{
    return (struct session_waker){
        .wake = upstream_on_wake, .arg = x, .counters = x->params.counters};
}

/* The next one that this turn has not visited: ticking one may free any other. */
static struct carrier *upstream_next_carrier(struct upstream *x)
{
    struct list *it, *tmp;

    list_for_each_safe (it, tmp, &x->carriers) {
        struct carrier *c = list_entry(it, struct carrier, link);

        if (c->turn == x->turn)
            return NULL; /* visited ones stand at the end */
        return c;
    }
    return NULL;
}

static struct link *carrier_link(const struct carrier *c)
{
    if (c->session)
        return session_link(c->session);
    return c->bind ? data_bind_link(c->bind) : NULL;
}

static void upstream_tick_carriers(struct upstream *x, uint64_t now_ns)
{
    struct carrier *c;

    x->turn++;
    way_begin_tick(x, now_ns);
    while ((c = upstream_next_carrier(x))) {
        c->turn = x->turn;
        list_remove(&c->link);
        list_append(&x->carriers, &c->link);
        if (way_fails(x, carrier_link(c)))
            continue;
        if (c->session)
            session_tick(c->session, now_ns);
        else if (c->bind)
            data_bind_tick(c->bind, now_ns);
    }
}

void upstream_probe_all(struct upstream *x)
{
    uint64_t now_ns = clock_now_ns();
    struct list *it, *tmp;

    list_for_each_safe (it, tmp, &x->carriers) {
        const struct carrier *c = list_entry(it, struct carrier, link);

        if (c->session)
            session_probe(c->session, now_ns);
    }
}

static uint64_t upstream_next_due(struct upstream *x, uint64_t now_ns)
{
    uint64_t due_ns = now_ns + UPSTREAM_SWEEP_NS;
    struct list *it, *tmp;

    due_ns = x->datagrams.at_ns < due_ns ? x->datagrams.at_ns : due_ns;
    due_ns = x->streams.at_ns < due_ns ? x->streams.at_ns : due_ns;
    list_for_each_safe (it, tmp, &x->carriers) {
        const struct carrier *c = list_entry(it, struct carrier, link);
        uint64_t at_ns = c->session ? session_due_ns(c->session)
                         : c->bind  ? data_bind_due_ns(c->bind)
                                    : due_ns;

        due_ns = at_ns < due_ns ? at_ns : due_ns;
    }
    /* A millisecond at least: whatever says "now" again and again must not stop the loop. */
    return due_ns > now_ns + NS_PER_MS ? due_ns : now_ns + NS_PER_MS;
}

void upstream_tick(struct upstream *x, uint64_t now_ns)
{
    x->due_ns = 0; /* nothing that wakes us meanwhile arms the timer */
    upstream_tick_carriers(x, now_ns);
    find_tick(&x->datagrams, now_ns);
    find_tick(&x->streams, now_ns);
    trunk_sweep(x, now_ns);
    ready_fill(x, now_ns);
    assoc_pump(x, now_ns);
    dial_pump(x, now_ns);
    way_end_tick(x);
    tx_flush(x->params.tx);
    upstream_arm(x, upstream_next_due(x, now_ns), now_ns);
}

static void upstream_on_ticker(evutil_socket_t fd, short what, void *arg)
{
    upstream_tick(arg, clock_now_ns());
}

/* ---- the pump ---- */

void upstream_wake(struct upstream *x)
{
    static const struct timeval now = {0};

    if (!evtimer_pending(&x->pump, NULL))
        evtimer_add(&x->pump, &now);
}

static void upstream_on_pump(evutil_socket_t fd, short what, void *arg)
{
    struct upstream *x = arg;
    uint64_t now_ns = clock_now_ns();

    assoc_pump(x, now_ns);
    dial_pump(x, now_ns);
    ready_fill(x, now_ns);
    tx_flush(x->params.tx);
}

void upstream_state_changed(struct upstream *x)
{
    if (x->far)
        resolver_restart(x->far);
    if (x->params.on_state)
        x->params.on_state(x->params.arg);
}

enum exit_result upstream_result(const struct session_ended *ended)
{
    switch (ended->code) {
    case 403:
        return EXIT_E_FORBIDDEN;
    case 440:
        return EXIT_E_FAMILY;
    case 486:
    case 508:
        return EXIT_E_CAPACITY;
    default:
        return EXIT_E_DOWN;
    }
}

/* ---- ops ---- */

static int upstream_resolve(struct exit *e, const char *name, exit_on_resolved *on_resolved,
                            void *user, struct lookup **ret)
{
    return resolver_lookup(upstream_of(e)->far, name, on_resolved, user, ret);
}

static const struct exit_ops upstream_ops = {
    .open = assoc_open,
    .close = assoc_close,
    .permit = assoc_permit,
    .send = assoc_send,
    .connect = assoc_connect,
    .dial = dial_start,
    .hang_up = dial_hang_up,
    .resolve = upstream_resolve,
    .forget = resolver_forget,
};

/* ---- life ---- */

struct exit *upstream_exit_new(const struct upstream_params *params)
{
    const struct resolver_params near = {.base = params->base};
    struct upstream *x = calloc(1, sizeof(*x));

    if (!x)
        return NULL;
    x->exit.ops = &upstream_ops;
    x->params = *params;
    x->env = (struct link_env){
        .base = params->base, .rx = params->rx, .tx = params->tx, .pool = params->pool};
    list_init(&x->carriers);
    list_init(&x->ready_links);
    list_init(&x->ready_sessions);
    list_init(&x->assocs);
    list_init(&x->trunks);
    list_init(&x->dials);
    find_init(&x->datagrams, x, false);
    find_init(&x->streams, x, true);
    evtimer_assign(&x->ticker, params->base, upstream_on_ticker, x);
    evtimer_assign(&x->pump, params->base, upstream_on_pump, x);
    if (resolver_new(&near, &x->near) < 0) {
        free(x);
        return NULL;
    }
    return &x->exit;
}

static void upstream_free_creds(struct cred *creds, size_t n)
{
    for (size_t i = 0; i < n; i++)
        cred_deinit(&creds[i]);
    free(creds);
}

/* Everything that was made with the old configuration; the fronts hear of it. */
static void upstream_end(struct upstream *x)
{
    assoc_lose_all(x, EXIT_E_DOWN);
    trunk_free_all(x);
    dial_end_all(x, EXIT_E_DOWN);
    ready_clear(x);
}

void upstream_exit_free(struct exit *e)
{
    struct upstream *x = upstream_of(e);

    if (!e)
        return;
    /* It holds an association of ours, and its lookups may be ours. */
    resolver_free(x->far);
    x->far = NULL;
    x->params.on_state = NULL;
    assert(list_empty(&x->dials));
    find_deinit(&x->datagrams);
    find_deinit(&x->streams);
    upstream_end(x);
    assert(list_empty(&x->assocs) && list_empty(&x->carriers));
    tx_flush(x->params.tx); /* Refresh with lifetime 0 */
    resolver_free(x->near);
    event_del(&x->ticker);
    event_del(&x->pump);
    upstream_free_creds(x->creds, x->n_creds);
    tls_client_free(x->tls);
    free(x);
}

/* ---- configuration ---- */

static bool text_equal(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool upstream_is_same(const struct conf *a, const struct conf *b)
{
    bool same = a->n_url == b->n_url && a->n_pin == b->n_pin && a->n_dns == b->n_dns &&
                text_equal(a->upstream_user, b->upstream_user) &&
                text_equal(a->upstream_password, b->upstream_password) &&
                text_equal(a->ca_file, b->ca_file);

    for (size_t i = 0; same && i < a->n_url; i++)
        same = text_equal(a->url[i].host, b->url[i].host) && a->url[i].port == b->url[i].port &&
               a->url[i].protocol == b->url[i].protocol;
    for (size_t i = 0; same && i < a->n_pin; i++)
        same = memcmp(a->pin[i], b->pin[i], sizeof(a->pin[i])) == 0;
    for (size_t i = 0; same && i < a->n_dns; i++)
        same = addr_equal(&a->dns[i], &b->dns[i]);
    return same;
}

/* Return: NULL after a line in the log. */
static struct cred *upstream_make_creds(const struct conf *conf)
{
    struct cred *creds = calloc(conf->n_url, sizeof(*creds));
    size_t n = 0;

    while (creds && n < conf->n_url &&
           cred_init(&creds[n], conf->upstream_user, conf->upstream_password) == 0)
        n++;
    if (creds && n == conf->n_url)
        return creds;
    log_error("out of memory");
    upstream_free_creds(creds, n);
    return NULL;
}

/* Return: 0, or -errno after a line in the log. */
static int upstream_set_dns(struct upstream *x, const struct conf *conf)
{
    const struct resolver_params far = {
        .base = x->params.base, .exit = &x->exit, .servers = conf->dns, .n_servers = conf->n_dns};
    int r =
        x->far ? resolver_set_servers(x->far, conf->dns, conf->n_dns) : resolver_new(&far, &x->far);

    if (r < 0)
        log_error("cannot set up DNS: %s", strerror(-r));
    return r;
}

int upstream_exit_set_conf(struct exit *e, const struct conf *conf)
{
    struct upstream *x = upstream_of(e);
    struct cred *creds, *old_creds = x->creds;
    struct tls_client *tls, *old_tls = x->tls;
    size_t n_old = x->n_creds;
    char error[256];
    int r;

    if (x->conf && upstream_is_same(x->conf, conf)) {
        x->conf = conf;
        return 0;
    }
    if (tls_client_new(conf->ca_file, &tls, error, sizeof(error)) < 0) {
        log_error("%s", error);
        return -EINVAL;
    }
    creds = upstream_make_creds(conf);
    r = creds ? upstream_set_dns(x, conf) : -ENOMEM;
    if (r < 0) {
        upstream_free_creds(creds, creds ? conf->n_url : 0);
        tls_client_free(tls);
        return r;
    }
    find_deinit(&x->datagrams);
    find_deinit(&x->streams);
    x->creds = creds;
    x->n_creds = conf->n_url;
    x->tls = x->env.tls = tls;
    x->conf = conf;
    /* Before the end of the old: a front that hears of it may want another one at once. */
    find_start(&x->datagrams);
    find_start(&x->streams);
    upstream_end(x);
    upstream_free_creds(old_creds, n_old);
    tls_client_free(old_tls);
    upstream_arm(x, clock_now_ns() + UPSTREAM_SWEEP_NS, clock_now_ns());
    return 0;
}

/* ---- questions ---- */

/* A relay that has a new certificate shows it to those who connect anew, and ends later with it:
 * the latest end is that of the newest. */
static void upstream_note_certificate(const struct link *link, struct upstream_status *ret)
{
    uint64_t end_s = link_certificate_end_s(link);

    if (end_s > ret->certificate_end_s)
        ret->certificate_end_s = end_s;
}

/* Of the allocations that are there now: what peers see. One may have but a family. */
static void upstream_example(const struct upstream *x, const struct find *f,
                             struct upstream_status *ret)
{
    struct list *it, *tmp;

    list_for_each_safe (it, tmp, &x->carriers) {
        const struct carrier *c = list_entry(it, struct carrier, link);

        if (!c->session || c->target != f->current || !session_is_live(c->session))
            continue;
        if (ret->relayed_v4.family == ADDR_NONE)
            ret->relayed_v4 = session_opened(c->session)->relayed_v4;
        if (ret->relayed_v6.family == ADDR_NONE)
            ret->relayed_v6 = session_opened(c->session)->relayed_v6;
        if (ret->rtt_us == 0)
            ret->rtt_us = session_rtt_us(c->session);
        upstream_note_certificate(session_link(c->session), ret);
    }
}

void upstream_exit_status(struct exit *e, bool streams, struct upstream_status *ret)
{
    struct upstream *x = upstream_of(e);
    const struct find *f = streams ? &x->streams : &x->datagrams;

    *ret = (struct upstream_status){.state = f->state,
                                    .since_ns = f->since_ns,
                                    .without_ns = f->without_ns,
                                    .retry_at_ns = f->retry_at_ns};
    memcpy(ret->why, f->why, sizeof(ret->why));
    if (f->state != UPSTREAM_READY)
        return;
    ret->kind = f->current->kind;
    ret->server = f->current->server;
    ret->host = x->conf->url[f->current->url].host;
    upstream_example(x, f, ret);
    ret->is_pinned = ret->certificate_end_s > 0 && x->conf->n_pin > 0;
}
