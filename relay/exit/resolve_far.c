/*
 * Asking through an exit: one UDP association for all queries, opened when there is
 * something to ask and closed when there has been nothing for a while
 *
 * What c-ares of Debian 12 (1.18.1) does of its own: all of its configuration is given,
 * so ares_init_options() reads neither resolv.conf nor its kin, and opens /dev/urandom
 * only. NOALIASES keeps it from $HOSTALIASES, lookups "b" from /etc/hosts, NOSORT
 * (resolve_ask.c) from sockets for sorting. tests/exit/test_resolve.c holds it to that.
 */
#include "relay/exit/resolve_far.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define IDLE_NS (30 * NS_PER_S)
/* A query: header, name, type and class, EDNS. */
#define PACKET_MAX  320
#define PACKETS_MAX 1024
/* The exit refers to a datagram until the worker's next flush, which ends its turn. */
#define PACKET_NS (1 * NS_PER_S)
/* What servers answer without fragments (DNS flag day 2020), and well within a relay's path. */
#define EDNS_SIZE 1232

struct far_packet {
    struct list link; /* resolve_far.packets */
    uint64_t sent_ns;
    uint8_t data[PACKET_MAX];
};

static void far_tick_start(struct resolve_far *f)
{
    static const struct timeval second = {.tv_sec = 1};

    if (!evtimer_pending(&f->tick, NULL))
        evtimer_add(&f->tick, &second);
}

static void far_close(struct resolve_far *f)
{
    if (f->assoc)
        f->r->exit->ops->close(f->assoc);
    f->assoc = NULL;
    f->state = FAR_CLOSED;
}

static void far_failed(struct resolve_far *f, enum exit_result why, bool was_open)
{
    f->state = FAR_FAILED;
    f->why = why;
    f->was_open = was_open;
    resolve_raise(f->r);
}

static void far_on_open(void *user, const struct assoc_opened *opened)
{
    struct resolve_far *f = user;

    if (opened->result != EXIT_OK) {
        far_failed(f, opened->result, false);
        return;
    }
    f->has_v4 = opened->relayed_v4.family != ADDR_NONE;
    f->has_v6 = opened->relayed_v6.family != ADDR_NONE;
    f->state = FAR_OPEN;
    resolve_raise(f->r);
}

static void far_on_lost(void *user, enum exit_result why)
{
    struct resolve_far *f = user;

    far_failed(f, why, f->state == FAR_OPEN);
}

static void far_on_datagram(void *user, const struct addr *peer, const uint8_t *data, size_t len,
                            uint64_t now_ns)
{
    far_sock_datagram(user, peer, data, len);
}

/* Destination unreachable; anything else is none of our business. */
static void far_on_icmp(void *user, const struct assoc_icmp *icmp, uint64_t now_ns)
{
    if (icmp->type == (icmp->peer.family == ADDR_IPV4 ? 3 : 1))
        far_sock_unreachable(user, &icmp->peer);
}

static const struct assoc_events far_events = {
    .on_open = far_on_open,
    .on_datagram = far_on_datagram,
    .on_icmp = far_on_icmp,
    .on_lost = far_on_lost,
};

static int far_open(struct resolve_far *f)
{
    struct assoc_want want = {0};

    for (size_t i = 0; i < f->n_servers; i++) {
        want.v4 = want.v4 || f->servers[i].family == ADDR_IPV4;
        want.v6 = want.v6 || f->servers[i].family == ADDR_IPV6;
    }
    f->state = FAR_OPENING;
    f->used_ns = f->r->now();
    if (f->r->exit->ops->open(f->r->exit, &want, &far_events, f, &f->assoc) < 0) {
        f->state = FAR_CLOSED;
        return EXIT_E_CAPACITY;
    }
    far_tick_start(f);
    return 0;
}

int resolve_far_ready(struct resolve_far *f)
{
    int r = f->state == FAR_CLOSED ? far_open(f) : 0;

    if (r != 0)
        return r;
    return f->state == FAR_OPEN ? 0 : -EAGAIN;
}

void resolve_far_reset(struct resolve_far *f)
{
    far_close(f);
}

/* ---- sending ---- */

static bool far_may_send(struct resolve_far *f, const struct addr *server)
{
    if (f->state != FAR_OPEN || !(server->family == ADDR_IPV4 ? f->has_v4 : f->has_v6))
        return false;
    return exit_may_send(f->r->exit->ops->permit(f->assoc, server));
}

int far_send(struct resolve_far *f, const struct addr *server, const void *data, size_t len)
{
    struct far_packet *packet;

    if (len > PACKET_MAX || f->n_packets == PACKETS_MAX)
        return -ENOBUFS;
    if (!far_may_send(f, server))
        return -ENETUNREACH;
    packet = malloc(sizeof(*packet));
    if (!packet)
        return -ENOMEM;
    f->used_ns = packet->sent_ns = f->r->now();
    memcpy(packet->data, data, len);
    list_append(&f->packets, &packet->link);
    f->n_packets++;
    f->r->exit->ops->send(f->assoc, server, packet->data, len, false);
    return 0;
}

static void far_packets_free(struct resolve_far *f, uint64_t now_ns)
{
    struct list *it, *tmp;

    list_for_each_safe (it, tmp, &f->packets) {
        struct far_packet *packet = list_entry(it, struct far_packet, link);

        if (now_ns - packet->sent_ns < PACKET_NS)
            return;
        list_remove(&packet->link);
        f->n_packets--;
        free(packet);
    }
}

static void far_on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct resolve_far *f = arg;
    uint64_t now_ns = f->r->now();

    far_packets_free(f, now_ns);
    if (f->state == FAR_OPEN && list_empty(&f->r->queries) && now_ns - f->used_ns >= IDLE_NS)
        far_close(f);
    if (f->assoc || f->n_packets > 0)
        far_tick_start(f);
}

void resolve_far_work(struct resolve_far *f)
{
    if (f->state == FAR_FAILED) {
        bool alone = f->was_open && f->why != EXIT_E_DOWN;
        enum exit_result why = f->why == EXIT_E_CAPACITY ? f->why : EXIT_E_DOWN;

        far_close(f);
        /* An association that worked may be lost alone: the relay forgot it, and gives another. */
        resolve_again(f->r, alone ? EXIT_OK : why);
    }
    far_sock_work(f);
}

/* ---- life ---- */

static int far_set_servers(struct resolve_far *f)
{
    struct ares_addr_port_node nodes[RESOLVE_SERVERS_MAX] = {0};

    for (size_t i = 0; i < f->n_servers; i++) {
        const struct addr *server = &f->servers[i];

        nodes[i].family = server->family == ADDR_IPV4 ? AF_INET : AF_INET6;
        memcpy(&nodes[i].addr, server->ip, addr_ip_len(server));
        nodes[i].udp_port = nodes[i].tcp_port = server->port;
        nodes[i].next = i + 1 < f->n_servers ? &nodes[i + 1] : NULL;
    }
    return ares_set_servers_ports(f->r->channel, nodes) == ARES_SUCCESS ? 0 : -ENOMEM;
}

/* Every option that ares_init_options() would look for elsewhere. No servers at first: should
 * setting ours fail, nobody is asked anything. */
static int far_channel(struct resolve_far *f)
{
    char lookups[] = "b";
    struct ares_options options = {
        .flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES | ARES_FLAG_EDNS,
        .timeout = RESOLVE_TRY_MS,
        .tries = RESOLVE_TRIES,
        .ndots = 1,
        .udp_port = 53,
        .tcp_port = 53,
        .lookups = lookups,
        .ednspsz = EDNS_SIZE,
        .sock_state_cb = far_sock_on_state,
        .sock_state_cb_data = f,
    };
    int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_NDOTS |
               ARES_OPT_UDP_PORT | ARES_OPT_TCP_PORT | ARES_OPT_LOOKUPS | ARES_OPT_EDNSPSZ |
               ARES_OPT_SOCK_STATE_CB | ARES_OPT_SERVERS | ARES_OPT_DOMAINS | ARES_OPT_SORTLIST |
               ARES_OPT_NOROTATE;
    int r = resolve_seed();

    if (r < 0)
        return r;
    if (ares_init_options(&f->r->channel, &options, mask) != ARES_SUCCESS)
        return -ENOMEM;
    ares_set_socket_functions(f->r->channel, &far_sock_functions, f);
    return far_set_servers(f);
}

int resolve_far_set_servers(struct resolve_far *f, const struct addr *servers, size_t n)
{
    if (n == 0 || n > RESOLVE_SERVERS_MAX)
        return -EINVAL;
    f->n_servers = n;
    memcpy(f->servers, servers, n * sizeof(*servers));
    /* c-ares takes no other servers while anything is asked of the old ones. */
    resolver_restart(f->r);
    return far_set_servers(f);
}

int resolve_far_new(struct resolver *r, const struct resolver_params *params)
{
    struct resolve_far *f;

    if (params->n_servers == 0 || params->n_servers > RESOLVE_SERVERS_MAX)
        return -EINVAL;
    f = calloc(1, sizeof(*f));
    if (!f)
        return -ENOMEM;
    f->r = r;
    r->far = f;
    f->n_servers = params->n_servers;
    memcpy(f->servers, params->servers, params->n_servers * sizeof(*params->servers));
    list_init(&f->packets);
    evtimer_assign(&f->tick, r->base, far_on_tick, f);
    far_sock_init(f);
    return far_channel(f);
}

void resolve_far_free(struct resolve_far *f)
{
    struct list *it, *tmp;

    if (!f)
        return;
    far_close(f);
    far_sock_deinit(f);
    list_for_each_safe (it, tmp, &f->packets)
        free(list_entry(it, struct far_packet, link));
    event_del(&f->tick);
    free(f);
}
