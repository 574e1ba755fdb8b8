/*
 * The listener, and the life of its connections
 *
 * An app that opens a connection and says nothing has half a minute; afterwards a
 * connection lasts as long as what it asked for. Joined streams and associations
 * have no limit in time: calls and long polls are quiet for hours.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/net/batch.h"
#include "relay/front/socks5_impl.h"

#define SOCKS5_ACCEPTS_PER_EVENT 64

void socks5_conn_free(struct socks5_conn *c)
{
    struct socks5 *s = c->socks;

    socks5_connect_free(c->connect);
    socks5_bind_free(c->bind);
    socks5_udp_free(c->udp);
    splice_deinit(&c->pair);
    stream_free(c->app);
    list_remove(&c->link);
    s->n_conns--;
    counter_sub(&s->params.counters->socks_connections, 1);
    free(c);
}

struct socks5_conn *socks5_take(struct socks5 *s, struct stream *stream)
{
    struct socks5_conn *c = NULL;

    if (s->n_conns < SOCKS5_CONNS_MAX)
        c = calloc(1, sizeof(*c));
    if (!c) {
        log_limited(LOG_LEVEL_WARNING, "socks5: too many connections: one was refused");
        counter_add(&s->params.counters->socks_refused, 1);
        stream_free(stream);
        return NULL;
    }
    c->socks = s;
    c->app = stream;
    c->remote = stream_remote(stream);
    c->local = stream_local(stream);
    c->deadline_ns = clock_now_ns() + SOCKS5_HALF_OPEN_S * NS_PER_S;
    list_append(&s->conns, &c->link);
    s->n_conns++;
    counter_add(&s->params.counters->socks_connections, 1);
    stream_set_events(stream, &socks5_app_events, c);
    return c;
}

static void socks5_on_acceptable(evutil_socket_t fd, short what, void *arg)
{
    static const struct timeval pause = {.tv_usec = 200000};
    struct socks5 *s = arg;

    for (int i = 0; i < SOCKS5_ACCEPTS_PER_EVENT; i++) {
        int app = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        struct stream *stream;

        if (app >= 0) {
            stream = stream_accept(s->params.pool, app, NULL, false, SOCKS5_PENDING_MAX);
            if (stream)
                socks5_take(s, stream);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            /* The connection stays in the queue: without a pause the loop would spin on it. */
            log_limited(LOG_LEVEL_WARNING, "socks5: cannot accept a connection: %s",
                        strerror(errno));
            event_del(s->event);
            event_add(s->retry, &pause);
        }
        if (errno != ECONNABORTED && errno != EINTR)
            break;
    }
}

static void socks5_on_retry(evutil_socket_t fd, short what, void *arg)
{
    struct socks5 *s = arg;

    event_add(s->event, NULL);
}

static int socks5_listen(struct socks5 *s, const struct addr *listen)
{
    int r;

    s->fd = sock_listen(listen, SOCK_REUSEADDR);
    r = s->fd < 0 ? s->fd : sock_local_addr(s->fd, &s->addr);
    if (r < 0)
        return r;
    s->event = event_new(s->params.base, s->fd, EV_READ | EV_PERSIST, socks5_on_acceptable, s);
    s->retry = evtimer_new(s->params.base, socks5_on_retry, s);
    if (!s->event || !s->retry || event_add(s->event, NULL) < 0)
        return -ENOMEM;
    return 0;
}

int socks5_new(const struct socks5_params *params, const struct conf *conf,
               const struct addr *listen, struct socks5 **ret)
{
    struct socks5 *s = calloc(1, sizeof(*s));
    int r;

    if (!s)
        return -ENOMEM;
    s->params = *params;
    s->fd = -1;
    list_init(&s->conns);
    r = socks5_listen(s, listen);
    if (r < 0) {
        socks5_free(s);
        return r;
    }
    socks5_set_conf(s, conf);
    *ret = s;
    return 0;
}

/* What is cut short must not look complete, to the app or to its peer. */
static void socks5_cut(struct socks5_conn *c)
{
    for (int i = 0; i < 2; i++)
        if (c->state == SOCKS5_JOINED && c->pair.ends[i].stream)
            stream_abort(c->pair.ends[i].stream, -ECONNABORTED);
    socks5_conn_free(c);
}

void socks5_free(struct socks5 *s)
{
    struct list *it, *tmp;

    if (!s)
        return;
    list_for_each_safe (it, tmp, &s->conns)
        socks5_cut(list_entry(it, struct socks5_conn, link));
    if (s->event)
        event_free(s->event);
    if (s->retry)
        event_free(s->retry);
    if (s->fd >= 0)
        close(s->fd);
    free(s);
}

void socks5_set_conf(struct socks5 *s, const struct conf *conf)
{
    size_t n_keys_only = 0;

    s->conf = conf;
    for (size_t i = 0; i < conf->n_user; i++)
        n_keys_only += !conf->user[i].password;
    if (n_keys_only > 0)
        log_warn("socks5: %zu of the users cannot log in: only a key is stored for them, "
                 "and SOCKS sends the password",
                 n_keys_only);
}

/* Return: false when the conn is gone. */
static bool socks5_time_is_up(struct socks5_conn *c)
{
    if (c->state == SOCKS5_CLOSING || c->state < SOCKS5_WORKING) {
        socks5_conn_free(c);
        return false;
    }
    socks5_fail(c, SOCKS5_TTL_EXPIRED);
    return true;
}

void socks5_sweep(struct socks5 *s, uint64_t now_ns)
{
    struct list *it, *tmp;

    list_for_each_safe (it, tmp, &s->conns) {
        struct socks5_conn *c = list_entry(it, struct socks5_conn, link);

        if (c->deadline_ns > 0 && c->deadline_ns <= now_ns && !socks5_time_is_up(c))
            continue;
        if (c->udp)
            socks5_udp_sweep(c->udp, now_ns);
    }
}

struct addr socks5_addr(const struct socks5 *s)
{
    return s->addr;
}

void socks5_flows(const struct socks5 *s, struct flow_list *list)
{
    struct list *it;

    for (it = s->conns.prev; it != &s->conns; it = it->prev) {
        const struct socks5_conn *c = list_entry(it, struct socks5_conn, link);
        struct flow_view *flow = c->udp && c->state == SOCKS5_ASSOCIATED ? flows_add(list) : NULL;

        if (flow)
            socks5_udp_describe(c->udp, flow);
    }
}
