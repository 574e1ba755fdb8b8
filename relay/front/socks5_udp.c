/*
 * UDP ASSOCIATE: a socket for one app, an association of the exit's behind it
 *
 * The socket is bound to the address at which the app reached us over TCP, which
 * is therefore an address that it can send to; nobody else's datagrams pass it.
 * The app is the IP address of its TCP connection and one port: the one it said it
 * would use or, without that, the one of its first datagram. (A DST.ADDR that is
 * not its own address says nothing: it comes from apps that put their destination
 * there, or that are behind a NAT.)
 *
 * The exit may lose the association, with the relay's restart for one. It is then
 * opened again, with growing pauses, while the app's connection stays and
 * datagrams are dropped: an app that was told nothing goes on when the network
 * does. The relayed address is then another one, as behind any NAT.
 *
 * No heap on a datagram's way, a name's first ones excepted.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/hash.h"
#include "common/base/log.h"
#include "common/net/batch.h"
#include "relay/front/socks5_impl.h"

#define UDP_BATCHES_PER_TURN 4
#define UDP_BUFFER           (1 << 20) /* what the kernel may keep of an app's datagrams */
#define UDP_VERDICTS         64        /* peers lately asked about; a power of two */
#define UDP_REOPEN_S_MAX     32

struct verdict {
    struct addr ip; /* ADDR_NONE: empty */
    bool allowed;
};

struct socks5_udp {
    struct socks5_conn *conn;
    uint64_t id;
    int fd;
    struct event readable;
    struct addr bound;  /* BND.ADDR, BND.PORT */
    struct addr source; /* the app's; port 0: not known yet */
    struct assoc *assoc;
    bool is_open;      /* on_open() has said so, on_lost() not */
    bool is_announced; /* the app has its reply */
    bool has_v4, has_v6;
    uint64_t made_ns;
    struct flow_count count;
    unsigned int n_failed;
    uint64_t reopen_ns; /* 0: not due */
    struct verdict verdicts[UDP_VERDICTS];
    struct socks5_names *names; /* NULL until the app sends to one */
};

static struct socks5_params *udp_params(const struct socks5_udp *udp)
{
    return &udp->conn->socks->params;
}

struct socks5 *socks5_udp_socks(const struct socks5_udp *udp)
{
    return udp->conn->socks;
}

bool socks5_udp_has(const struct socks5_udp *udp, uint8_t family)
{
    return (family == ADDR_IPV4 && udp->has_v4) || (family == ADDR_IPV6 && udp->has_v6);
}

/* ---- from the app ---- */

static bool udp_is_allowed(struct socks5_udp *udp, const struct addr *peer)
{
    struct verdict *v = &udp->verdicts[addr_ip_hash(peer) % UDP_VERDICTS];

    if (!addr_ip_equal(&v->ip, peer)) {
        v->ip = *peer;
        v->ip.port = 0;
        v->allowed = exit_may_send(udp_params(udp)->exit->ops->permit(udp->assoc, &v->ip));
    }
    return v->allowed;
}

void socks5_udp_send(struct socks5_udp *udp, const struct addr *peer, const uint8_t *data,
                     size_t len)
{
    struct counters *counters = udp_params(udp)->counters;

    if (!udp->is_open) {
        counter_add(&counters->drop_down, 1);
    } else if (!socks5_udp_has(udp, peer->family) || peer->port == 0) {
        counter_add(&counters->drop_send, 1);
    } else if (!udp_is_allowed(udp, peer)) {
        counter_add(&counters->drop_denied, 1);
    } else {
        counter_add(&counters->up_packets, 1);
        counter_add(&counters->up_bytes, len);
        udp->count.up_packets++;
        udp->count.up_bytes += len;
        udp_params(udp)->exit->ops->send(udp->assoc, peer, data, len, false);
    }
}

static void udp_send_to_name(struct socks5_udp *udp, const struct socks5_datagram *d,
                             uint64_t now_ns)
{
    if (!udp->is_open) {
        counter_add(&udp_params(udp)->counters->drop_down, 1);
        return;
    }
    if (!udp->names)
        udp->names = socks5_names_new(udp);
    if (udp->names)
        socks5_names_send(udp->names, d, now_ns);
    else
        counter_add(&udp_params(udp)->counters->drop_send, 1);
}

/* Only from the host at the other end of the TCP connection, and from one port of it. */
static bool udp_is_app(struct socks5_udp *udp, const struct addr *from)
{
    if (!addr_ip_equal(from, &udp->source))
        return false;
    return udp->source.port == 0 || udp->source.port == from->port;
}

static void udp_on_packet(struct socks5_udp *udp, const struct rx_packet *packet, uint64_t now_ns)
{
    struct counters *counters = udp_params(udp)->counters;
    struct socks5_datagram d;

    if (!udp_is_app(udp, &packet->from)) {
        counter_add(&counters->drop_socks_source, 1);
        return;
    }
    if (!socks5_read_datagram(packet->data, packet->len, &d)) {
        counter_add(&counters->drop_malformed, 1);
        return;
    }
    /* What the app itself sent well-formed says which port is its: a stray datagram does not. */
    udp->source.port = packet->from.port;
    if (d.fragment != 0)
        counter_add(&counters->drop_socks_fragment, 1);
    else if (d.target.addr.family == ADDR_NONE)
        udp_send_to_name(udp, &d, now_ns);
    else
        socks5_udp_send(udp, &d.target.addr, d.payload, d.payload_len);
}

static void udp_on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct socks5_udp *udp = arg;
    struct socks5_params *p = udp_params(udp);
    uint64_t now_ns = clock_now_ns();
    int n = RX_BATCH_MESSAGES;
    struct rx_packet packet;

    for (int i = 0; i < UDP_BATCHES_PER_TURN && n == RX_BATCH_MESSAGES; i++) {
        n = rx_batch_recv(p->rx, udp->fd);
        if (n <= 0)
            break;
        counter_add(&p->counters->rx_calls, 1);
        while (rx_batch_next(p->rx, &packet))
            udp_on_packet(udp, &packet, now_ns);
        tx_flush(p->tx);
    }
}

/* ---- from the exit ---- */

static void udp_on_datagram(void *user, const struct addr *peer, const uint8_t *data, size_t len,
                            uint64_t now_ns)
{
    struct socks5_udp *udp = user;
    struct counters *counters = udp_params(udp)->counters;
    uint8_t header[SOCKS5_HEADER_MAX];
    size_t header_len;

    if (udp->source.port == 0) { /* there is nobody to send it to yet */
        counter_add(&counters->drop_send, 1);
        return;
    }
    header_len = socks5_put_header(header, peer);
    counter_add(&counters->down_packets, 1);
    counter_add(&counters->down_bytes, len);
    udp->count.down_packets++;
    udp->count.down_bytes += len;
    tx_push(udp_params(udp)->tx, udp->fd, &udp->source, NULL, header, header_len, data, len);
}

static void udp_on_icmp(void *user, const struct assoc_icmp *icmp, uint64_t now_ns)
{
    /* SOCKS has no way to tell. */
}

static void udp_close(struct socks5_udp *udp)
{
    struct assoc *assoc = udp->assoc;

    udp->assoc = NULL;
    udp->is_open = udp->has_v4 = udp->has_v6 = false;
    if (assoc)
        udp_params(udp)->exit->ops->close(assoc);
}

/* One, two, four... seconds from now, give or take a quarter: all associations of a relay that
 * restarts were lost in the same moment. */
static void udp_reopen_later(struct socks5_udp *udp)
{
    uint64_t now_ns = clock_now_ns(), pause_ns = NS_PER_S;
    const void *seed[] = {udp, (void *)(uintptr_t)now_ns};

    for (unsigned int i = 0; i < udp->n_failed && pause_ns < UDP_REOPEN_S_MAX * NS_PER_S; i++)
        pause_ns *= 2;
    udp->n_failed++;
    udp->reopen_ns = now_ns + pause_ns * 3 / 4 + hash_bytes(seed, sizeof(seed)) % (pause_ns / 2);
}

/* The exit could not open one. `udp` may be gone after it. */
static void udp_failed(struct socks5_udp *udp, enum exit_result why)
{
    udp_close(udp);
    if (!udp->is_announced)
        socks5_fail(udp->conn, socks5_rep_of(why));
    else if (why == EXIT_E_FORBIDDEN || why == EXIT_E_FAMILY)
        socks5_end(udp->conn); /* waiting does not change that */
    else
        udp_reopen_later(udp);
}

static void udp_on_open(void *user, const struct assoc_opened *opened)
{
    struct socks5_udp *udp = user;
    struct socks5_conn *c = udp->conn;

    if (opened->result != EXIT_OK) {
        udp_failed(udp, opened->result);
        return;
    }
    udp->has_v4 = opened->relayed_v4.family != ADDR_NONE;
    udp->has_v6 = opened->relayed_v6.family != ADDR_NONE || opened->v6_may_follow;
    udp->is_open = true;
    udp->n_failed = 0;
    memset(udp->verdicts, 0, sizeof(udp->verdicts));
    if (udp->is_announced)
        return;
    udp->is_announced = true;
    c->state = SOCKS5_ASSOCIATED;
    c->deadline_ns = 0;
    socks5_reply(c, SOCKS5_SUCCEEDED, &udp->bound);
}

/* May come while a datagram is being sent: what has its reply is closed, and nothing freed. */
static void udp_on_lost(void *user, enum exit_result why)
{
    struct socks5_udp *udp = user;

    if (!udp->is_announced) {
        udp_failed(udp, why);
        return;
    }
    log_limited(LOG_LEVEL_WARNING, "socks5: an association was lost and will be opened again");
    udp_close(udp);
    udp_reopen_later(udp);
}

static const struct assoc_events udp_events = {
    .on_open = udp_on_open,
    .on_datagram = udp_on_datagram,
    .on_icmp = udp_on_icmp,
    .on_lost = udp_on_lost,
};

/* `udp` may be gone after it. */
static void udp_open(struct socks5_udp *udp)
{
    const struct assoc_want want = {.v4 = true, .v6 = true, .local = udp->conn->local};
    struct exit *exit = udp_params(udp)->exit;

    udp->reopen_ns = 0;
    if (exit->ops->open(exit, &want, &udp_events, udp, &udp->assoc) < 0)
        udp_failed(udp, EXIT_E_CAPACITY);
}

void socks5_udp_sweep(struct socks5_udp *udp, uint64_t now_ns)
{
    if (udp->reopen_ns > 0 && udp->reopen_ns <= now_ns)
        udp_open(udp);
}

/* ---- stats ---- */

void socks5_udp_describe(const struct socks5_udp *udp, struct flow_view *flow)
{
    flow->id = udp->id;
    flow->made_ns = udp->made_ns;
    flow->front = "socks5";
    flow->transport = "udp";
    flow->count = udp->count;
    flow->client = udp->source;
}

/* ---- life ---- */

void socks5_udp_free(struct socks5_udp *udp)
{
    struct socks5 *s;

    if (!udp)
        return;
    s = udp->conn->socks;
    /* Datagrams may be queued for the socket that is closed here. */
    tx_flush(s->params.tx);
    udp_close(udp);
    socks5_names_free(udp->names);
    if (udp->fd >= 0) {
        event_del(&udp->readable);
        close(udp->fd);
    }
    s->n_assocs--;
    counter_sub(&s->params.counters->socks_associations, 1);
    free(udp);
}

static int udp_bind(struct socks5_udp *udp)
{
    struct addr local = udp->conn->local;
    int r;

    local.port = 0;
    udp->fd = sock_bind(&local, SOCK_DGRAM, 0);
    if (udp->fd < 0)
        return udp->fd;
    event_assign(&udp->readable, udp_params(udp)->base, udp->fd, EV_READ | EV_PERSIST,
                 udp_on_readable, udp);
    sock_tune_udp(udp->fd, UDP_BUFFER, UDP_BUFFER);
    r = sock_local_addr(udp->fd, &udp->bound);
    if (r < 0)
        return r;
    return event_add(&udp->readable, NULL) < 0 ? -ENOMEM : 0;
}

/* The app's source as far as it is known now: the address is never the request's to say. */
static struct addr udp_source(const struct socks5_conn *c, const struct socks5_target *said)
{
    struct addr source = c->remote;
    bool is_own = addr_is_any(&said->addr) || addr_ip_equal(&said->addr, &c->remote);

    source.port = said->addr.family != ADDR_NONE && is_own ? said->addr.port : 0;
    return source;
}

static struct socks5_udp *udp_new(struct socks5_conn *c, const struct socks5_target *said)
{
    struct socks5 *s = c->socks;
    struct socks5_udp *udp;

    if (s->n_assocs >= SOCKS5_ASSOCS_MAX) {
        log_limited(LOG_LEVEL_WARNING, "socks5: too many associations: one was refused");
        counter_add(&s->params.counters->socks_refused, 1);
        return NULL;
    }
    udp = calloc(1, sizeof(*udp));
    if (!udp)
        return NULL;
    udp->conn = c;
    udp->made_ns = clock_now_ns();
    udp->id = ++s->last_id;
    udp->fd = -1;
    udp->source = udp_source(c, said);
    s->n_assocs++;
    counter_add(&s->params.counters->socks_associations, 1);
    return udp;
}

void socks5_udp_start(struct socks5_conn *c, const struct socks5_target *target)
{
    int r;

    c->udp = udp_new(c, target);
    if (!c->udp) {
        socks5_fail(c, SOCKS5_FAILED);
        return;
    }
    r = udp_bind(c->udp);
    if (r < 0) {
        log_limited(LOG_LEVEL_WARNING, "socks5: no socket for an association: %s", strerror(-r));
        socks5_fail(c, SOCKS5_FAILED);
        return;
    }
    udp_open(c->udp);
}
