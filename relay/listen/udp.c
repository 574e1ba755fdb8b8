/*
 * relay/listen/udp.c - one UDP socket, many clients
 *
 * A sender is nobody until it has an allocation: its client is made on the stack
 * for each datagram. Kept clients are found by 5-tuple, one lookup per datagram.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/hash.h"
#include "common/base/log.h"
#include "common/wire/channel.h"
#include "relay/listen/listen.h"

#define UDP_BATCHES_PER_EVENT 8 /* then others get their turn */
#define UDP_BUFFER_BYTES      (4 * 1024 * 1024)

struct udp_client {
    struct client client;
    struct udp_listener *listener;
    struct hash_node node; /* listener->clients, once kept */
};

struct udp_listener {
    struct listen_set *set;
    const struct listen_env *env;
    struct addr addr;
    bool wildcard;
    bool plain; /* STUN and ChannelData are served, not only DTLS */
    int fd;
    struct event *event;
    struct hash_table clients;
    struct dtls_front *dtls; /* NULL unless DTLS is served */
};

static uint64_t udp_client_hash(const struct addr *remote, const struct addr *local)
{
    struct addr key[2] = {*remote, *local};

    return hash_bytes(key, sizeof(key));
}

static struct udp_client *udp_client_find(const struct udp_listener *l, const struct addr *remote,
                                          const struct addr *local)
{
    uint64_t hash = udp_client_hash(remote, local);

    for (struct hash_node *n = hash_first(&l->clients, hash); n; n = hash_next(n, hash)) {
        struct udp_client *c = hash_entry(n, struct udp_client, node);

        if (addr_equal(&c->client.remote, remote) && addr_equal(&c->client.local, local))
            return c;
    }
    return NULL;
}

/* ---- client ops ---- */

static struct udp_client *udp_client_of(struct client *client)
{
    return (struct udp_client *)(void *)client;
}

static void udp_client_send(struct client *client, const void *header, size_t header_len,
                            const void *payload, size_t payload_len, size_t n_padding)
{
    struct udp_listener *l = udp_client_of(client)->listener;

    tx_push_padded(l->env->tx, l->fd, &client->remote, l->wildcard ? &client->local : NULL, header,
                   header_len, payload, payload_len, n_padding);
}

static void udp_client_send_copy(struct client *client, const void *data, size_t len)
{
    udp_listener_send(udp_client_of(client)->listener, &client->remote, &client->local, data, len);
}

/* RFC 5780: the discovery grid holds specific addresses only, so each is a listener of its own. */
static bool udp_client_send_copy_from(struct client *client, bool other_ip, bool other_port,
                                      uint16_t to_port, const void *data, size_t len)
{
    struct udp_listener *l = udp_client_of(client)->listener;
    const struct conf *conf = (*l->env->settings)->conf;
    struct addr to = client->remote;

    to.port = to_port;
    for (size_t i = 0; i < conf->n_listen; i++) {
        const struct addr *a = &conf->listen[i].addr;
        struct udp_listener *from;

        if (a->family != l->addr.family || addr_ip_equal(a, &l->addr) == other_ip ||
            (a->port == l->addr.port) == other_port)
            continue;
        from = listen_set_find_udp(l->set, a);
        if (from) {
            udp_listener_send(from, &to, &from->addr, data, len);
            return true;
        }
    }
    return false;
}

static struct client *udp_client_keep(struct client *client)
{
    const struct udp_client *from = udp_client_of(client);
    struct udp_client *c;

    if (client->alloc)
        return client;
    c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    c->client = from->client;
    c->listener = from->listener;
    hash_insert(&c->listener->clients, &c->node, udp_client_hash(&client->remote, &client->local));
    return &c->client;
}

static void udp_client_release(struct client *client)
{
    struct udp_client *c = udp_client_of(client);

    hash_remove(&c->listener->clients, &c->node);
    free(c);
}

static const struct client_ops udp_client_ops = {
    .send = udp_client_send,
    .send_copy = udp_client_send_copy,
    .send_copy_from = udp_client_send_copy_from,
    .keep = udp_client_keep,
    .release = udp_client_release,
};

/* ---- input ---- */

static void udp_on_packet(struct udp_listener *l, struct rx_packet *p, uint64_t now_ns)
{
    struct udp_client stranger, *known;

    if (p->len == 0 || p->from.port == 0)
        return;
    if (l->wildcard)
        p->to.port = l->addr.port;
    else
        p->to = l->addr;
    if (l->dtls && wire_kind_of(p->data[0]) == WIRE_DTLS) {
        dtls_front_input(l->dtls, p, now_ns);
        return;
    }
    if (!l->plain)
        return;
    known = udp_client_find(l, &p->from, &p->to);
    if (!known) {
        stranger = (struct udp_client){
            .client = {.ops = &udp_client_ops,
                       .remote = p->from,
                       .local = p->to,
                       .transport = TRANSPORT_UDP},
            .listener = l,
        };
        known = &stranger;
    }
    (void)turn_on_message(l->env->turn, &known->client, p->data, p->len, now_ns);
}

static void udp_on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct udp_listener *l = arg;
    uint64_t now_ns = clock_now_ns();
    struct rx_packet p;

    for (int i = 0; i < UDP_BATCHES_PER_EVENT; i++) {
        int n = rx_batch_recv(l->env->rx, fd);

        if (n < 0)
            continue; /* an ICMP error of an earlier answer: taking it has cleared it */
        if (n == 0)
            break;
        counter_add(&l->env->counters->rx_calls, 1);
        while (rx_batch_next(l->env->rx, &p))
            udp_on_packet(l, &p, now_ns);
        tx_flush(l->env->tx);
    }
}

/* ---- the listener ---- */

void udp_listener_send(struct udp_listener *l, const struct addr *to, const struct addr *from,
                       const void *data, size_t len)
{
    tx_push_copy(l->env->tx, l->fd, to, l->wildcard ? from : NULL, data, len);
}

struct addr udp_listener_addr(const struct udp_listener *l)
{
    return l->addr;
}

void udp_listener_reloaded(struct udp_listener *l)
{
    if (l->dtls)
        dtls_front_reloaded(l->dtls);
}

static int udp_listener_bind(struct udp_listener *l, const struct conf_listen *listen)
{
    int r;

    l->fd = sock_bind(&listen->addr, SOCK_DGRAM, SOCK_REUSEPORT);
    if (l->fd < 0)
        return l->fd;
    sock_tune_udp(l->fd, UDP_BUFFER_BYTES, UDP_BUFFER_BYTES);
    r = sock_local_addr(l->fd, &l->addr);
    l->wildcard = addr_is_any(&l->addr);
    if (r == 0 && l->wildcard)
        r = sock_want_pktinfo(l->fd, (enum addr_family)l->addr.family);
    return r;
}

int udp_listener_new(struct listen_set *set, const struct conf_listen *listen,
                     struct udp_listener **ret)
{
    struct udp_listener *l = calloc(1, sizeof(*l));
    int r;

    if (!l)
        return -ENOMEM;
    l->set = set;
    l->env = listen_set_env(set);
    l->plain = listen->protocols & LISTEN_UDP;
    l->fd = -1;
    r = hash_init(&l->clients, 64);
    if (r == 0)
        r = udp_listener_bind(l, listen);
    if (r == 0 && (listen->protocols & LISTEN_DTLS))
        r = dtls_front_new(set, l, &l->dtls);
    if (r < 0) {
        udp_listener_free(l);
        return r;
    }
    l->event = event_new(l->env->base, l->fd, EV_READ | EV_PERSIST, udp_on_readable, l);
    if (!l->event || event_add(l->event, NULL) < 0) {
        udp_listener_free(l);
        return -ENOMEM;
    }
    *ret = l;
    return 0;
}

void udp_listener_free(struct udp_listener *l)
{
    if (!l)
        return;
    if (l->event)
        event_free(l->event);
    dtls_front_free(l->dtls);
    if (l->fd >= 0)
        close(l->fd);
    hash_deinit(&l->clients);
    free(l);
}
