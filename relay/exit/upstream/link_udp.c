/*
 * The socket is connected: the kernel drops what strangers send, needs no route
 * look-up per datagram, and reports ICMP errors.
 *
 * Anybody on the way may send an ICMP error, so one of them ends nothing that works:
 * only a link on which nothing was ever heard believes the first. A link that works
 * believes them once they have kept coming for LINK_REFUSED_NS with not one datagram
 * in between, which is how a relay that was stopped looks long before any request
 * has timed out.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "relay/exit/upstream/link_impl.h"

#define LINK_BATCHES_PER_TURN 4
#define LINK_UDP_BUFFER       (1 << 20) /* bursts of a video's key frame */
#define LINK_REFUSED_NS       (3 * NS_PER_S)
#define LINK_REFUSED_MIN      3

static struct link_udp *link_udp_of(const struct link *l)
{
    return (struct link_udp *)(void *)(uintptr_t)l;
}

/* ---- input ---- */

static void link_udp_refused(struct link_udp *u, int err, uint64_t now_ns)
{
    if (err != -ECONNREFUSED && err != -EHOSTUNREACH && err != -ENETUNREACH)
        return;
    if (u->n_refusals++ == 0)
        u->refused_ns = now_ns;
    if (!u->heard ||
        (u->n_refusals >= LINK_REFUSED_MIN && now_ns - u->refused_ns >= LINK_REFUSED_NS))
        link_closed(&u->link, err, NULL);
}

static void link_udp_deliver(struct link_udp *u, const struct link_guard *guard, uint64_t now_ns)
{
    struct rx_batch *rx = u->link.env.rx;
    struct tx_queue *tx = u->link.env.tx;
    struct rx_packet packet;

    u->heard = true;
    u->n_refusals = 0;
    while (!guard->gone && rx_batch_next(rx, &packet))
        u->on_datagram(u, packet.data, packet.len, now_ns);
    tx_flush(tx);
}

static void link_udp_on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct link_udp *u = arg;
    struct link_guard guard = {false};
    uint64_t now_ns = clock_now_ns();
    int n = RX_BATCH_MESSAGES;

    u->link.guard = &guard;
    for (int i = 0; i < LINK_BATCHES_PER_TURN && n == RX_BATCH_MESSAGES && !guard.gone; i++) {
        n = rx_batch_recv(u->link.env.rx, fd);
        if (n > 0)
            link_udp_deliver(u, &guard, now_ns);
        else if (n < 0)
            link_udp_refused(u, n, now_ns);
    }
    if (!guard.gone)
        u->link.guard = NULL;
}

/* ---- the socket ---- */

int link_udp_init(struct link_udp *u, const struct link_ops *ops, const struct link_env *env,
                  const struct link_to *to)
{
    u->fd = sock_connect(&to->server, SOCK_DGRAM);
    if (u->fd < 0)
        return u->fd;
    sock_tune_udp(u->fd, LINK_UDP_BUFFER, LINK_UDP_BUFFER);
    sock_set_df(u->fd, to->server.family, false);
    link_init(&u->link, ops, env, to->kind);
    if (event_assign(&u->event, env->base, u->fd, EV_READ | EV_PERSIST, link_udp_on_readable, u) <
            0 ||
        event_add(&u->event, NULL) < 0) {
        close(u->fd);
        return -ENOMEM;
    }
    return 0;
}

void link_udp_release(struct link *l)
{
    struct link_udp *u = link_udp_of(l);

    event_del(&u->event);
    close(u->fd);
    u->fd = -1;
}

struct addr link_udp_local(const struct link *l)
{
    struct addr local = {0};

    (void)sock_local_addr(link_udp_of(l)->fd, &local);
    return local;
}

/* ---- LINK_UDP ---- */

static void link_udp_on_datagram(struct link_udp *u, const uint8_t *data, size_t len,
                                 uint64_t now_ns)
{
    link_deliver(&u->link, data, len, now_ns);
}

static void link_udp_send(struct link *l, const void *header, size_t header_len,
                          const void *payload, size_t payload_len, size_t n_padding)
{
    tx_push_padded(l->env.tx, link_udp_of(l)->fd, NULL, NULL, header, header_len, payload,
                   payload_len, n_padding);
}

static int link_udp_send_copy(struct link *l, const void *data, size_t len)
{
    tx_push_copy(l->env.tx, link_udp_of(l)->fd, NULL, NULL, data, len);
    return 0;
}

static const struct link_ops link_udp_ops = {
    .send = link_udp_send,
    .send_copy = link_udp_send_copy,
    .local = link_udp_local,
    .release = link_udp_release,
};

int link_udp_new(const struct link_env *env, const struct link_to *to, struct link **ret)
{
    struct link_udp *u = calloc(1, sizeof(*u));
    int r;

    if (!u)
        return -ENOMEM;
    r = link_udp_init(u, &link_udp_ops, env, to);
    if (r < 0) {
        free(u);
        return r;
    }
    u->on_datagram = link_udp_on_datagram;
    r = link_set_timer(&u->link, 0);
    if (r < 0) {
        link_free(&u->link);
        return r;
    }
    *ret = &u->link;
    return 0;
}
