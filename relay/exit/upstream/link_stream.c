#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/net/iov.h"
#include "common/net/stream.h"
#include "common/net/tls_client.h"
#include "common/wire/channel.h"
#include "relay/exit/upstream/link_impl.h"

#define LINK_CONNECT_MS  10000        /* TCP and TLS handshake together */
#define LINK_PENDING_MAX (256 * 1024) /* bytes that a slow uplink may have waiting */

struct link_stream {
    struct link link;
    struct stream *stream; /* NULL once taken or released */
};

static struct link_stream *link_stream_of(const struct link *l)
{
    return (struct link_stream *)(void *)(uintptr_t)l;
}

/* ---- from the stream ---- */

static ptrdiff_t link_stream_on_bytes(void *user, const uint8_t *data, size_t len)
{
    struct link_stream *ls = user;
    struct link *l = &ls->link;
    struct tx_queue *tx = l->env.tx;
    struct link_guard guard = {false};
    uint64_t now_ns = clock_now_ns();
    size_t used = 0;

    l->guard = &guard;
    while (!guard.gone && used < len) {
        ptrdiff_t n = wire_frame_len(data + used, len - used);

        if (n < 0)
            link_closed(l, -EPROTO, NULL);
        if (n <= 0 || (size_t)n > len - used)
            break;
        used += (size_t)n; /* first: whoever takes the stream gets what is behind */
        link_deliver(l, data + used - n, (size_t)n, now_ns);
    }
    tx_flush(tx); /* what was queued refers to `data` */
    if (!guard.gone)
        l->guard = NULL;
    return (ptrdiff_t)used;
}

static void link_stream_on_open(void *user)
{
    struct link_stream *ls = user;

    link_opened(&ls->link);
}

static void link_stream_on_drained(void *user)
{
    struct link_stream *ls = user;
    struct tx_queue *tx = ls->link.env.tx;

    if (ls->link.state == LINK_OPEN && ls->link.events && ls->link.events->on_drained)
        ls->link.events->on_drained(ls->link.user);
    tx_flush(tx);
}

static void link_stream_on_closed(void *user, int reason)
{
    struct link_stream *ls = user;

    link_closed(&ls->link, reason, stream_ssl(ls->stream));
}

static const struct stream_events link_stream_events = {
    .on_bytes = link_stream_on_bytes,
    .on_open = link_stream_on_open,
    .on_drained = link_stream_on_drained,
    .on_closed = link_stream_on_closed,
};

/* ---- link ops ---- */

static void link_stream_send(struct link *l, const void *header, size_t header_len,
                             const void *payload, size_t payload_len, size_t n_padding)
{
    struct iovec iov[IOV_MESSAGE];

    iov_message(iov, header, header_len, payload, payload_len, n_padding);
    (void)stream_send(link_stream_of(l)->stream, iov, IOV_MESSAGE);
}

static int link_stream_send_copy(struct link *l, const void *data, size_t len)
{
    const struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};

    return stream_send(link_stream_of(l)->stream, &iov, 1);
}

static struct addr link_stream_local(const struct link *l)
{
    return stream_local(link_stream_of(l)->stream);
}

static const SSL *link_stream_ssl(const struct link *l)
{
    return stream_ssl(link_stream_of(l)->stream);
}

static struct stream *link_stream_take(struct link *l)
{
    struct link_stream *ls = link_stream_of(l);
    struct stream *stream = ls->stream;

    ls->stream = NULL;
    return stream;
}

static void link_stream_release(struct link *l)
{
    struct link_stream *ls = link_stream_of(l);

    stream_free(ls->stream);
    ls->stream = NULL;
}

static const struct link_ops link_stream_ops = {
    .send = link_stream_send,
    .send_copy = link_stream_send_copy,
    .local = link_stream_local,
    .ssl = link_stream_ssl,
    .take_stream = link_stream_take,
    .release = link_stream_release,
};

/* ---- making one ---- */

static struct stream *link_stream_connect(const struct link_env *env, const struct link_to *to,
                                          int fd)
{
    SSL *ssl;

    if (to->kind == LINK_TCP)
        return stream_connecting(env->pool, fd, LINK_PENDING_MAX);
    ssl = tls_client_ssl(env->tls, false, to->name, to->pins, to->n_pins);
    if (!ssl) {
        close(fd);
        return NULL;
    }
    return stream_connecting_tls(env->pool, fd, ssl, LINK_PENDING_MAX);
}

int link_stream_new(const struct link_env *env, const struct link_to *to, struct link **ret)
{
    int fd = sock_connect(&to->server, SOCK_STREAM);
    struct link_stream *ls;

    if (fd < 0)
        return fd;
    ls = calloc(1, sizeof(*ls));
    if (!ls) {
        close(fd);
        return -ENOMEM;
    }
    link_init(&ls->link, &link_stream_ops, env, to->kind);
    ls->stream = link_stream_connect(env, to, fd);
    if (!ls->stream || link_set_timer(&ls->link, LINK_CONNECT_MS) < 0) {
        link_free(&ls->link);
        return -ENOMEM;
    }
    stream_set_events(ls->stream, &link_stream_events, ls);
    *ret = &ls->link;
    return 0;
}
