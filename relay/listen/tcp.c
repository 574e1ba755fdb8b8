/*
 * relay/listen/tcp.c - TCP and TLS connections of clients
 *
 * A connection is cut into messages by wire_frame_len(). It ends when bytes come
 * that are no message, when the client leaves, or when it has been idle without
 * an allocation for a minute. ConnectionBind turns it into a relayed byte stream:
 * turn/ takes the stream and this client is gone (RFC 6062).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/list.h"
#include "common/base/log.h"
#include "common/net/iov.h"
#include "common/wire/channel.h"
#include "relay/listen/listen.h"

#define TCP_ACCEPTS_PER_EVENT 64
#define TCP_IDLE_S            60
#define TCP_PENDING_MAX       (256 * 1024) /* bytes a slow client may have waiting */

struct tcp_client {
    struct client client;
    struct tcp_listener *listener;
    struct stream *stream; /* NULL once taken */
    struct list link;      /* listener->clients */
    uint64_t last_ns;
    bool had_alloc;
    bool handshaken; /* TLS: the handshake was completed */
};

struct tcp_listener {
    const struct listen_env *env;
    struct addr addr;
    unsigned int protocols;
    int fd;
    struct event *event;
    struct event *retry; /* accepting is paused while descriptors are short */
    struct list clients;
};

static struct tcp_client *tcp_client_of(struct client *client)
{
    return (struct tcp_client *)(void *)client;
}

static void tcp_client_free(struct tcp_client *c)
{
    const struct listen_env *env = c->listener->env;

    list_remove(&c->link);
    stream_free(c->stream);
    atomic_fetch_sub(env->n_connections, 1);
    counter_sub(&env->counters->connections, 1);
    free(c);
}

/* ---- client ops ---- */

static void tcp_client_send(struct client *client, const void *header, size_t header_len,
                            const void *payload, size_t payload_len, size_t n_padding)
{
    struct tcp_client *c = tcp_client_of(client);
    struct iovec iov[IOV_MESSAGE];

    iov_message(iov, header, header_len, payload, payload_len, n_padding);
    if (c->stream && stream_send(c->stream, iov, IOV_MESSAGE) < 0)
        counter_add(&c->listener->env->counters->drop_backlog, 1);
}

static void tcp_client_send_copy(struct client *client, const void *data, size_t len)
{
    tcp_client_send(client, data, len, NULL, 0, 0);
}

static struct client *tcp_client_keep(struct client *client)
{
    tcp_client_of(client)->had_alloc = true;
    return client;
}

static void tcp_client_release(struct client *client)
{
    tcp_client_of(client)->last_ns = clock_now_ns();
}

static void tcp_client_close(struct client *client)
{
    struct tcp_client *c = tcp_client_of(client);

    if (c->stream)
        stream_close(c->stream, 0);
}

static struct stream *tcp_client_take_stream(struct client *client)
{
    struct tcp_client *c = tcp_client_of(client);
    struct stream *stream = c->stream;

    c->stream = NULL;
    return stream;
}

static const struct client_ops tcp_client_ops = {
    .send = tcp_client_send,
    .send_copy = tcp_client_send_copy,
    .keep = tcp_client_keep,
    .release = tcp_client_release,
    .close = tcp_client_close,
    .take_stream = tcp_client_take_stream,
};

/* ---- input ---- */

static ptrdiff_t tcp_on_bytes(void *user, const uint8_t *data, size_t len)
{
    struct tcp_client *c = user;
    const struct listen_env *env = c->listener->env;
    size_t used = 0;
    int r = 0;

    c->last_ns = clock_now_ns();
    while (c->stream && used < len) {
        ptrdiff_t n = wire_frame_len(data + used, len - used);

        /* Text of another protocol can look like ChannelData with a long body to wait for; nobody
         * has a channel before the first allocation. */
        if (n < 0 || (wire_kind_of(data[used]) == WIRE_CHANNEL && !c->had_alloc)) {
            r = -EPROTO;
            break;
        }
        if (n == 0 || (size_t)n > len - used)
            break;
        r = turn_on_message(env->turn, &c->client, data + used, (size_t)n, c->last_ns);
        if (r < 0)
            break;
        used += (size_t)n;
    }
    /* What was queued refers to `data`. */
    tx_flush(env->tx);
    if (!c->stream) {
        tcp_client_free(c);
        return (ptrdiff_t)used;
    }
    return r < 0 ? r : (ptrdiff_t)used;
}

static void tcp_on_open(void *user)
{
    struct tcp_client *c = user;

    if (stream_is_tls(c->stream)) {
        c->client.transport = TRANSPORT_TLS;
        c->handshaken = true;
        counter_add(&c->listener->env->counters->tls_handshakes, 1);
    }
}

static void tcp_on_closed(void *user, int reason)
{
    struct tcp_client *c = user;

    if (stream_is_tls(c->stream) && !c->handshaken)
        counter_add(&c->listener->env->counters->tls_failures, 1);
    turn_on_closed(c->listener->env->turn, &c->client);
    tcp_client_free(c);
}

static const struct stream_events tcp_client_events = {
    .on_bytes = tcp_on_bytes,
    .on_open = tcp_on_open,
    .on_closed = tcp_on_closed,
};

/* ---- accepting ---- */

static bool tcp_may_connect(const struct listen_env *env)
{
    if (atomic_fetch_add(env->n_connections, 1) < (*env->settings)->conf->max_connections)
        return true;
    log_limited(LOG_LEVEL_WARNING, "max-connections reached: a connection was refused");
    atomic_fetch_sub(env->n_connections, 1);
    return false;
}

/* `c` is zeroed memory, and has its place among the connections. */
static void tcp_client_start(struct tcp_client *c, struct tcp_listener *l, struct stream *stream,
                             enum transport transport, const struct addr *remote,
                             const struct addr *local)
{
    c->stream = stream;
    c->listener = l;
    c->last_ns = clock_now_ns();
    c->client = (struct client){
        .ops = &tcp_client_ops, .remote = *remote, .local = *local, .transport = transport};
    list_append(&l->clients, &c->link);
    counter_add(&l->env->counters->connections, 1);
    stream_set_events(stream, &tcp_client_events, c);
}

static void tcp_client_new(struct tcp_listener *l, int fd)
{
    const struct listen_env *env = l->env;
    bool tls = l->protocols & LISTEN_TLS;
    bool both = tls && (l->protocols & LISTEN_TCP);
    struct stream *stream = NULL;
    struct addr remote, local;
    struct tcp_client *c;

    if (!tcp_may_connect(env)) {
        close(fd);
        return;
    }
    c = calloc(1, sizeof(*c));
    if (!c)
        close(fd);
    else
        stream = stream_accept(env->pool, fd, tls ? (*env->settings)->tls->tls : NULL, both,
                               TCP_PENDING_MAX);
    if (!stream) {
        atomic_fetch_sub(env->n_connections, 1);
        free(c);
        return;
    }
    remote = stream_remote(stream);
    local = stream_local(stream);
    tcp_client_start(c, l, stream, tls && !both ? TRANSPORT_TLS : TRANSPORT_TCP, &remote, &local);
}

bool tcp_listener_adopt(struct tcp_listener *l, struct stream *stream, const struct addr *remote)
{
    struct tcp_client *c;

    if (!tcp_may_connect(l->env))
        return false;
    c = calloc(1, sizeof(*c));
    if (!c) {
        atomic_fetch_sub(l->env->n_connections, 1);
        return false;
    }
    tcp_client_start(c, l, stream, TRANSPORT_TCP, remote, &l->addr);
    return true;
}

static void tcp_on_acceptable(evutil_socket_t fd, short what, void *arg)
{
    static const struct timeval pause = {.tv_usec = 200000};
    struct tcp_listener *l = arg;

    for (int i = 0; i < TCP_ACCEPTS_PER_EVENT; i++) {
        int client = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (client >= 0) {
            tcp_client_new(l, client);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            /* The connection stays in the queue: without a pause the loop would spin on it. */
            log_limited(LOG_LEVEL_WARNING, "cannot accept a connection: %s", strerror(errno));
            event_del(l->event);
            event_add(l->retry, &pause);
        }
        if (errno != ECONNABORTED && errno != EINTR)
            break;
    }
}

static void tcp_on_retry(evutil_socket_t fd, short what, void *arg)
{
    struct tcp_listener *l = arg;

    event_add(l->event, NULL);
}

int tcp_listener_new(struct listen_set *set, const struct conf_listen *listen,
                     struct tcp_listener **ret)
{
    struct tcp_listener *l = calloc(1, sizeof(*l));
    int r;

    if (!l)
        return -ENOMEM;
    l->env = listen_set_env(set);
    l->protocols = listen->protocols;
    list_init(&l->clients);
    l->fd = sock_listen(&listen->addr, SOCK_REUSEPORT | SOCK_REUSEADDR);
    r = l->fd < 0 ? l->fd : sock_local_addr(l->fd, &l->addr);
    if (r == 0) {
        l->event = event_new(l->env->base, l->fd, EV_READ | EV_PERSIST, tcp_on_acceptable, l);
        l->retry = evtimer_new(l->env->base, tcp_on_retry, l);
        if (!l->event || !l->retry || event_add(l->event, NULL) < 0)
            r = -ENOMEM;
    }
    if (r < 0) {
        tcp_listener_free(l);
        return r;
    }
    *ret = l;
    return 0;
}

void tcp_listener_free(struct tcp_listener *l)
{
    struct list *it, *tmp;

    if (!l)
        return;
    list_for_each_safe (it, tmp, &l->clients)
        tcp_client_free(list_entry(it, struct tcp_client, link));
    if (l->event)
        event_free(l->event);
    if (l->retry)
        event_free(l->retry);
    if (l->fd >= 0)
        close(l->fd);
    free(l);
}

struct addr tcp_listener_addr(const struct tcp_listener *l)
{
    return l->addr;
}

void tcp_listener_sweep(struct tcp_listener *l, uint64_t now_ns)
{
    struct list *it, *tmp;

    list_for_each_safe (it, tmp, &l->clients) {
        struct tcp_client *c = list_entry(it, struct tcp_client, link);

        if (!c->client.alloc && now_ns > c->last_ns + TCP_IDLE_S * NS_PER_S)
            stream_close(c->stream, -ETIMEDOUT);
    }
}
