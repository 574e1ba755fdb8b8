#include <errno.h>
#include <stdlib.h>

#include "common/net/dtls_client.h"
#include "common/net/iov.h"
#include "common/net/tls_client.h"
#include "relay/exit/upstream/link_impl.h"

struct link_dtls {
    struct link_udp udp; /* first: a struct link of ours is a struct link_dtls */
    struct dtls_client *dtls;
    uint64_t now_ns; /* of the datagram being handled */
};

static struct link_dtls *link_dtls_of(const struct link *l)
{
    return (struct link_dtls *)(void *)(uintptr_t)l;
}

/* ---- from the session ---- */

static void link_dtls_on_send(void *user, const uint8_t *data, size_t len)
{
    struct link_dtls *d = user;
    struct link *l = &d->udp.link;

    tx_push_copy(l->env.tx, d->udp.fd, NULL, NULL, data, len);
    /* A handshake is moved by its own timer too, behind which nobody flushes. */
    if (l->state == LINK_OPENING)
        tx_flush(l->env.tx);
}

static void link_dtls_on_open(void *user)
{
    struct link_dtls *d = user;

    link_opened(&d->udp.link);
}

static void link_dtls_on_message(void *user, const uint8_t *data, size_t len)
{
    struct link_dtls *d = user;

    link_deliver(&d->udp.link, data, len, d->now_ns);
}

static void link_dtls_on_closed(void *user, int reason)
{
    struct link_dtls *d = user;

    link_closed(&d->udp.link, reason, dtls_client_ssl(d->dtls));
}

static void link_dtls_on_flush(void *user)
{
    const struct link_dtls *d = user;

    tx_flush(d->udp.link.env.tx);
}

static const struct dtls_client_events link_dtls_events = {
    .send = link_dtls_on_send,
    .on_open = link_dtls_on_open,
    .on_message = link_dtls_on_message,
    .on_closed = link_dtls_on_closed,
    .flush = link_dtls_on_flush,
};

static void link_dtls_on_datagram(struct link_udp *u, const uint8_t *data, size_t len,
                                  uint64_t now_ns)
{
    struct link_dtls *d = link_dtls_of(&u->link);

    d->now_ns = now_ns;
    dtls_client_input(d->dtls, data, len);
}

/* ---- link ops ---- */

static void link_dtls_send(struct link *l, const void *header, size_t header_len,
                           const void *payload, size_t payload_len, size_t n_padding)
{
    struct iovec iov[IOV_MESSAGE];

    iov_message(iov, header, header_len, payload, payload_len, n_padding);
    (void)dtls_client_send(link_dtls_of(l)->dtls, iov, IOV_MESSAGE);
}

static int link_dtls_send_copy(struct link *l, const void *data, size_t len)
{
    const struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};

    return dtls_client_send(link_dtls_of(l)->dtls, &iov, 1);
}

static const SSL *link_dtls_ssl(const struct link *l)
{
    return dtls_client_ssl(link_dtls_of(l)->dtls);
}

static void link_dtls_release(struct link *l)
{
    struct link_dtls *d = link_dtls_of(l);

    if (d->dtls) {
        dtls_client_say_goodbye(d->dtls);
        tx_flush(l->env.tx);
    }
    dtls_client_free(d->dtls);
    d->dtls = NULL;
    link_udp_release(l);
}

static const struct link_ops link_dtls_ops = {
    .send = link_dtls_send,
    .send_copy = link_dtls_send_copy,
    .local = link_udp_local,
    .ssl = link_dtls_ssl,
    .release = link_dtls_release,
};

int link_dtls_new(const struct link_env *env, const struct link_to *to, struct link **ret)
{
    struct link_dtls *d = calloc(1, sizeof(*d));
    SSL *ssl;
    int r;

    if (!d)
        return -ENOMEM;
    r = link_udp_init(&d->udp, &link_dtls_ops, env, to);
    if (r < 0) {
        free(d);
        return r;
    }
    d->udp.on_datagram = link_dtls_on_datagram;
    ssl = tls_client_ssl(env->tls, true, to->name, to->pins, to->n_pins);
    d->dtls = ssl ? dtls_client_new(env->base, ssl, &link_dtls_events, d) : NULL;
    if (!d->dtls) {
        link_free(&d->udp.link);
        return -ENOMEM;
    }
    dtls_client_start(d->dtls);
    *ret = &d->udp.link;
    return 0;
}
