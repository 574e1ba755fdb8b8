/*
 * States: OPENING -> OPEN (link_opened()) -> CLOSED (link_closed(), or the stream
 * was taken). A link without events yet moves all the same, and tells how it ended
 * once it has an owner.
 *
 * Events come from three places, all of them the loop's: the socket, the stream or
 * DTLS session behind it, and the timer here, which opens UDP links and ends streams
 * that do not connect. Whoever calls one touches nothing of the link afterwards, or
 * asks the guard first. Each ends with a tx_flush(): what the owner queued in there
 * goes out now.
 */
#include "relay/exit/upstream/link.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/net/tls_client.h"
#include "common/wire/channel.h"
#include "common/wire/stun.h"
#include "relay/exit/upstream/link_impl.h"

/* ---- for the kinds ---- */

/* The end: everything is given back, and whoever is handling input hears of it. */
static void link_release(struct link *l)
{
    l->state = LINK_CLOSED;
    if (l->guard)
        l->guard->gone = true;
    l->guard = NULL;
    event_del(&l->timer);
    /* What is queued names sockets by number and may lie in buffers that go now. */
    tx_flush(l->env.tx);
    l->ops->release(l);
}

static void link_tell_closed(struct link *l)
{
    char why[LINK_WHY_LEN];
    struct tx_queue *tx = l->env.tx;

    l->closed_due = !l->events;
    if (!l->events)
        return;
    memcpy(why, l->why, sizeof(why)); /* it outlives a link that is freed in there */
    l->events->on_closed(l->user, l->reason, why);
    tx_flush(tx);
}

static const char *link_reason_text(int reason, const SSL *ssl)
{
    const char *why = ssl ? tls_client_why(ssl) : NULL;

    if (why)
        return why;
    switch (reason) {
    case 0:
        return "the relay closed the connection";
    case -EPROTO:
        return ssl ? "the relay and we do not agree on TLS" : "the relay does not speak TURN";
    case -ETIMEDOUT:
        return "the relay does not answer";
    case -EADDRNOTAVAIL:
        return "this machine has another address now";
    default:
        return strerror(-reason);
    }
}

void link_opened(struct link *l)
{
    struct tx_queue *tx = l->env.tx;
    const SSL *ssl = l->ops->ssl ? l->ops->ssl(l) : NULL;

    event_del(&l->timer);
    l->state = LINK_OPEN;
    l->certificate_end_s = ssl ? tls_client_not_after_s(ssl) : 0;
    if (l->events)
        l->events->on_open(l->user);
    tx_flush(tx);
}

void link_closed(struct link *l, int reason, const SSL *ssl)
{
    l->reason = reason;
    snprintf(l->why, sizeof(l->why), "%s", link_reason_text(reason, ssl));
    link_release(l);
    link_tell_closed(l);
}

void link_deliver(struct link *l, const uint8_t *data, size_t len, uint64_t now_ns)
{
    enum wire_kind kind = len > 0 ? wire_kind_of(data[0]) : WIRE_OTHER;

    if (l->events && l->state == LINK_OPEN && (kind == WIRE_STUN || kind == WIRE_CHANNEL))
        l->events->on_message(l->user, data, len, now_ns);
}

static void link_on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct link *l = arg;

    if (l->state == LINK_CLOSED)
        link_tell_closed(l);
    else if (l->kind == LINK_UDP)
        link_opened(l);
    else
        link_closed(l, -ETIMEDOUT, NULL);
}

void link_init(struct link *l, const struct link_ops *ops, const struct link_env *env,
               enum link_kind kind)
{
    l->ops = ops;
    l->env = *env;
    l->kind = kind;
    evtimer_assign(&l->timer, env->base, link_on_timer, l);
}

int link_set_timer(struct link *l, unsigned int ms)
{
    struct timeval tv = {.tv_sec = (time_t)(ms / 1000), .tv_usec = (int)(ms % 1000 * 1000)};

    return evtimer_add(&l->timer, &tv) < 0 ? -ENOMEM : 0;
}

/* ---- the owner's side ---- */

int link_new(const struct link_env *env, const struct link_to *to, const struct link_events *events,
             void *user, struct link **ret)
{
    static link_new_kind *const new_kind[N_LINK_KINDS] = {
        [LINK_UDP] = link_udp_new,
        [LINK_DTLS] = link_dtls_new,
        [LINK_TCP] = link_stream_new,
        [LINK_TLS] = link_stream_new,
    };
    struct link *l;
    int r;

    if (!env->tls && (to->kind == LINK_DTLS || to->kind == LINK_TLS))
        return -EINVAL;
    r = new_kind[to->kind](env, to, &l);
    if (r < 0)
        return r;
    l->events = events;
    l->user = user;
    *ret = l;
    return 0;
}

void link_set_events(struct link *l, const struct link_events *events, void *user)
{
    l->events = events;
    l->user = user;
    if (l->closed_due)
        (void)link_set_timer(l, 0);
}

void link_free(struct link *l)
{
    if (!l)
        return;
    if (l->state != LINK_CLOSED)
        link_release(l);
    event_del(&l->timer);
    free(l);
}

/* Attributes are padded in every STUN message; ChannelData is on streams only (RFC 8656, section
 * 12.5). */
static size_t link_padding(const struct link *l, uint8_t first, size_t len)
{
    if (wire_kind_of(first) == WIRE_CHANNEL && !link_kind_is_stream(l->kind))
        return 0;
    return stun_padding(len);
}

void link_send(struct link *l, const void *header, size_t header_len, const void *payload,
               size_t payload_len)
{
    assert(header_len > 0 && header_len <= TX_HEADER_MAX);
    if (l->state != LINK_OPEN)
        return;
    l->ops->send(l, header, header_len, payload, payload_len,
                 link_padding(l, *(const uint8_t *)header, header_len + payload_len));
}

int link_send_copy(struct link *l, const void *data, size_t len)
{
    if (l->state != LINK_OPEN)
        return -ENOTCONN;
    return l->ops->send_copy(l, data, len);
}

enum link_kind link_kind(const struct link *l)
{
    return l->kind;
}

bool link_is_open(const struct link *l)
{
    return l->state == LINK_OPEN;
}

struct addr link_local(const struct link *l)
{
    return l->state == LINK_CLOSED ? (struct addr){0} : l->ops->local(l);
}

void link_fail(struct link *l, int reason)
{
    if (l->state != LINK_CLOSED)
        link_closed(l, reason, NULL);
}

uint64_t link_certificate_end_s(const struct link *l)
{
    return l->state == LINK_OPEN ? l->certificate_end_s : 0;
}

struct stream *link_take_stream(struct link *l)
{
    struct stream *stream;

    if (l->state != LINK_OPEN || !l->ops->take_stream)
        return NULL;
    stream = l->ops->take_stream(l);
    link_release(l);
    return stream;
}
