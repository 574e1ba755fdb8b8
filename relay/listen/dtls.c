/*
 * relay/listen/dtls.c - the DTLS sessions behind one UDP listener
 *
 * common/net/dtls.h does the protocol; here a session that has finished its
 * handshake becomes a client. The cookie exchange has proved its address.
 */
#include "common/net/dtls.h"

#include <errno.h>
#include <stdlib.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/net/iov.h"
#include "relay/listen/listen.h"

struct dtls_front {
    const struct listen_env *env;
    struct udp_listener *listener;
    struct dtls_server *server;
};

struct dtls_client {
    struct client client;
    struct dtls_front *front;
    struct dtls_session *session;
};

static struct dtls_client *dtls_client_of(struct client *client)
{
    return (struct dtls_client *)(void *)client;
}

/* ---- client ops ---- */

static void dtls_client_send(struct client *client, const void *header, size_t header_len,
                             const void *payload, size_t payload_len, size_t n_padding)
{
    struct dtls_client *c = dtls_client_of(client);
    struct iovec iov[IOV_MESSAGE];

    iov_message(iov, header, header_len, payload, payload_len, n_padding);
    if (dtls_session_send(c->session, iov, IOV_MESSAGE) < 0)
        counter_add(&c->front->env->counters->drop_send, 1);
}

static void dtls_client_send_copy(struct client *client, const void *data, size_t len)
{
    dtls_client_send(client, data, len, NULL, 0, 0);
}

static struct client *dtls_client_keep(struct client *client)
{
    dtls_session_hold(dtls_client_of(client)->session, true);
    return client;
}

static void dtls_client_release(struct client *client)
{
    dtls_session_hold(dtls_client_of(client)->session, false);
}

static const struct client_ops dtls_client_ops = {
    .send = dtls_client_send,
    .send_copy = dtls_client_send_copy,
    .keep = dtls_client_keep,
    .release = dtls_client_release,
};

/* ---- session events ---- */

static void dtls_on_send(void *user, void *listener, const struct addr *to, const struct addr *from,
                         const uint8_t *data, size_t len)
{
    udp_listener_send(listener, to, from, data, len);
}

/* A session is memory held for anybody who shows an address, as a connection is, and counts with
 * them. Return: false when the relay has as many as it may. */
static bool dtls_take_place(const struct listen_env *env)
{
    if (atomic_fetch_add(env->n_connections, 1) < (*env->settings)->conf->max_connections)
        return true;
    atomic_fetch_sub(env->n_connections, 1);
    log_limited(LOG_LEVEL_WARNING, "max-connections reached: a DTLS session was refused");
    return false;
}

static void dtls_on_open(void *user, struct dtls_session *session)
{
    struct dtls_front *d = user;
    struct dtls_client *c;

    if (!dtls_take_place(d->env)) {
        dtls_session_close(session);
        return;
    }
    c = calloc(1, sizeof(*c));
    if (!c) {
        atomic_fetch_sub(d->env->n_connections, 1);
        dtls_session_close(session);
        return;
    }
    c->front = d;
    c->session = session;
    c->client = (struct client){
        .ops = &dtls_client_ops,
        .remote = *dtls_session_remote(session),
        .local = *dtls_session_local(session),
        .transport = TRANSPORT_DTLS,
    };
    dtls_session_set_user(session, c);
    counter_add(&d->env->counters->dtls_sessions, 1);
    counter_add(&d->env->counters->tls_handshakes, 1);
}

static void dtls_on_message(void *user, struct dtls_session *session, const uint8_t *data,
                            size_t len)
{
    struct dtls_front *d = user;
    struct dtls_client *c = dtls_session_user(session);

    (void)turn_on_message(d->env->turn, &c->client, data, len, clock_now_ns());
}

static void dtls_on_closed(void *user, struct dtls_session *session, int reason)
{
    struct dtls_front *d = user;
    struct dtls_client *c = dtls_session_user(session);

    turn_on_closed(d->env->turn, &c->client);
    counter_sub(&d->env->counters->dtls_sessions, 1);
    atomic_fetch_sub(d->env->n_connections, 1);
    free(c);
}

static void dtls_on_flush(void *user)
{
    struct dtls_front *d = user;

    tx_flush(d->env->tx);
}

static const struct dtls_events dtls_front_events = {
    .send = dtls_on_send,
    .on_open = dtls_on_open,
    .on_message = dtls_on_message,
    .on_closed = dtls_on_closed,
    .flush = dtls_on_flush,
};

int dtls_front_new(struct listen_set *set, struct udp_listener *l, struct dtls_front **ret)
{
    struct dtls_front *d = calloc(1, sizeof(*d));

    if (!d)
        return -ENOMEM;
    d->env = listen_set_env(set);
    d->listener = l;
    d->server = dtls_server_new(d->env->base, (*d->env->settings)->tls->dtls, d->env->cookie_secret,
                                NULL, &dtls_front_events, d);
    if (!d->server) {
        free(d);
        return -ENOMEM;
    }
    *ret = d;
    return 0;
}

void dtls_front_free(struct dtls_front *d)
{
    if (!d)
        return;
    dtls_server_free(d->server);
    tx_flush(d->env->tx);
    free(d);
}

void dtls_front_input(struct dtls_front *d, const struct rx_packet *p, uint64_t now_ns)
{
    dtls_server_input(d->server, d->listener, &p->from, &p->to, p->data, p->len, now_ns);
}

void dtls_front_reloaded(struct dtls_front *d)
{
    dtls_server_set_ctx(d->server, (*d->env->settings)->tls->dtls);
}
