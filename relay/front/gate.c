/*
 * The catching sockets, and the gate's life
 *
 * All that comes in here was sent by the app, to anywhere: the four sockets sit where
 * tproxy brings the namespace's packets, and the namespace has no other way.
 */
#include "relay/front/gate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "relay/front/gate_impl.h"

#define GATE_ACCEPTS_PER_EVENT 64
#define GATE_BATCHES_PER_TURN  4
#define GATE_BUFFER            (1 << 20) /* what the kernel may keep of the app's datagrams */

bool gate_is_multicast(const struct addr *addr)
{
    if (addr->family == ADDR_IPV6)
        return addr->ip[0] == 0xff;
    return addr->ip[0] >= 224; /* class E and the broadcast, too */
}

static bool gate_is_one_of(const struct addr own[2], const struct addr *addr)
{
    return addr->family != ADDR_NONE &&
           (addr_ip_equal(addr, &own[0]) || addr_ip_equal(addr, &own[1]));
}

bool gate_is_router(const struct gate *g, const struct addr *addr)
{
    return gate_is_one_of(g->router, addr);
}

bool gate_is_inside(const struct gate *g, const struct addr *addr)
{
    return gate_is_one_of(g->near, addr) || gate_is_router(g, addr) || addr->family == ADDR_NONE ||
           addr_is_any(addr) || addr_is_loopback(addr) || gate_is_multicast(addr);
}

static void gate_on_acceptable(evutil_socket_t fd, short what, void *arg)
{
    static const struct timeval pause = {.tv_usec = 200000};
    struct gate_catch *c = arg;
    struct gate *g = c->gate;

    for (int i = 0; i < GATE_ACCEPTS_PER_EVENT; i++) {
        int app = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (app >= 0) {
            gate_tcp_accept(g, app);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            /* The connection stays in the queue: without a pause the loop would spin on it. */
            log_limited(LOG_LEVEL_WARNING, "gate: cannot accept a connection: %s", strerror(errno));
            event_del(&c->readable);
            event_add(&g->accept_again, &pause);
        }
        if (errno != ECONNABORTED && errno != EINTR)
            break;
    }
}

static void gate_on_accept_again(evutil_socket_t fd, short what, void *arg)
{
    struct gate *g = arg;

    for (int i = 0; i < 2; i++)
        event_add(&g->tcp[i].readable, NULL);
}

static void gate_on_datagrams(evutil_socket_t fd, short what, void *arg)
{
    struct gate_catch *c = arg;
    struct gate *g = c->gate;
    uint64_t now_ns = clock_now_ns();
    int n = RX_BATCH_MESSAGES;
    struct rx_packet packet;

    for (int i = 0; i < GATE_BATCHES_PER_TURN && n == RX_BATCH_MESSAGES; i++) {
        n = rx_batch_recv(g->params.rx, fd);
        if (n <= 0)
            break;
        counter_add(&g->params.counters->rx_calls, 1);
        while (rx_batch_next(g->params.rx, &packet))
            gate_udp_send(g, &packet, now_ns);
        tx_flush(g->params.tx);
    }
}

/* ---- life ---- */

static int gate_watch(struct gate *g, struct gate_catch *c, event_callback_fn on_readable)
{
    /* Whatever its maker thought of: one accept(2) that waits would stop all of us. */
    (void)evutil_make_socket_nonblocking(c->fd);
    event_assign(&c->readable, g->params.base, c->fd, EV_READ | EV_PERSIST, on_readable, c);
    return event_add(&c->readable, NULL) < 0 ? -ENOMEM : 0;
}

static int gate_watch_all(struct gate *g)
{
    int r = 0;

    evtimer_assign(&g->accept_again, g->params.base, gate_on_accept_again, g);
    for (int i = 0; i < 2 && r == 0; i++) {
        sock_tune_udp(g->udp[i].fd, GATE_BUFFER, GATE_BUFFER);
        r = gate_watch(g, &g->tcp[i], gate_on_acceptable);
        if (r == 0)
            r = gate_watch(g, &g->udp[i], gate_on_datagrams);
    }
    return r;
}

static void gate_init(struct gate *g, const struct gate_params *params,
                      const struct keeper_attach *attach, const int fds[KEEPER_N_FDS])
{
    g->params = *params;
    g->near[0] = attach->near_v4;
    g->near[1] = attach->near_v6;
    g->router[0] = attach->router_v4;
    g->router[1] = attach->router_v6;
    list_init(&g->flows);
    list_init(&g->assocs);
    g->tcp[0] = (struct gate_catch){.gate = g, .fd = fds[KEEPER_TCP4]};
    g->tcp[1] = (struct gate_catch){.gate = g, .fd = fds[KEEPER_TCP6]};
    g->udp[0] = (struct gate_catch){.gate = g, .fd = fds[KEEPER_UDP4]};
    g->udp[1] = (struct gate_catch){.gate = g, .fd = fds[KEEPER_UDP6]};
}

int gate_new(const struct gate_params *params, const struct keeper_attach *attach,
             const int fds[KEEPER_N_FDS], struct gate **ret)
{
    struct gate *g = calloc(1, sizeof(*g));
    int r;

    if (!g) {
        for (int i = 0; i < KEEPER_N_FDS; i++)
            close(fds[i]);
        return -ENOMEM;
    }
    gate_init(g, params, attach, fds);
    r = gate_keeper_init(g, fds[KEEPER_LINK]);
    if (r == 0)
        r = hash_init(&g->by_source, 64);
    if (r == 0)
        r = gate_dns_new(g, &g->dns);
    if (r == 0)
        r = gate_watch_all(g);
    if (r < 0) {
        gate_free(g);
        return r;
    }
    *ret = g;
    return 0;
}

static void gate_catch_close(struct gate_catch *c)
{
    if (event_initialized(&c->readable))
        event_del(&c->readable);
    close(c->fd);
}

void gate_free(struct gate *g)
{
    if (!g)
        return;
    gate_tcp_free_all(g);
    gate_udp_free_all(g);
    gate_dns_free(g->dns);
    hash_deinit(&g->by_source);
    /* Answers may be queued for the sockets that are closed here. */
    tx_flush(g->params.tx);
    gate_keeper_deinit(g);
    if (event_initialized(&g->accept_again))
        event_del(&g->accept_again);
    for (int i = 0; i < 2; i++) {
        gate_catch_close(&g->tcp[i]);
        gate_catch_close(&g->udp[i]);
    }
    free(g);
}

void gate_sweep(struct gate *g, uint64_t now_ns)
{
    gate_udp_sweep(g, now_ns);
    gate_dns_sweep(g->dns, now_ns);
    gate_keeper_sweep(g, now_ns);
    tx_flush(g->params.tx);
}

void gate_flows(const struct gate *g, struct flow_list *list)
{
    gate_udp_flows(g, list);
}
