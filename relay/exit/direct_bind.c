/*
 * Where a relayed socket is bound: which address, and which port of the range
 */
#include <errno.h>
#include <unistd.h>

#include "common/base/log.h"
#include "relay/exit/direct_impl.h"

/* Ports that another process holds, tried for one request. They rest like used ones, so the next
 * request starts with others. */
#define DIRECT_BIND_TRIES 256

static bool direct_is_link_local(const struct addr *addr)
{
    return addr->family == ADDR_IPV6 && addr->ip[0] == 0xfe && (addr->ip[1] & 0xc0) == 0x80;
}

/* A wildcard is no address to tell peers, and a link-local one cannot be bound without a scope,
 * which struct addr does not have. */
static bool direct_is_specific(const struct addr *addr, enum addr_family family)
{
    return addr->family == family && !addr_is_any(addr) && !direct_is_link_local(addr);
}

/* The source address of packets to the Internet. The destination is a root name server's, as
 * global as an address can be; nothing is sent. Loopback is refused: peers could not reach it. */
static bool direct_route_source(enum addr_family family, struct addr *ret)
{
    static const char *const global[] = {"192.33.4.12", "2001:500:2::c"};
    struct addr to;

    return addr_parse_ip(global[family == ADDR_IPV6], 53, &to) &&
           sock_route_source(&to, ret) == 0 && direct_is_specific(ret, family) &&
           !addr_is_loopback(ret);
}

/* The configured relay-address, else the address the client reached. A client that came by the
 * other family gets the address we serve this one on, if that is a specific one of the same reach
 * (a client from outside has no use for ::1), else the one this machine uses towards the Internet.
 */
static bool direct_local_addr(const struct direct_exit *x, enum addr_family family,
                              const struct addr *reached, struct addr *ret)
{
    const struct addr *configured = family == ADDR_IPV6 ? &x->relay_v6 : &x->relay_v4;
    const struct addr *served = family == ADDR_IPV6 ? &x->listen_v6 : &x->listen_v4;

    if (direct_is_specific(configured, family))
        *ret = *configured;
    else if (direct_is_specific(reached, family))
        *ret = *reached;
    else if (direct_is_specific(served, family) &&
             addr_is_loopback(served) == addr_is_loopback(reached))
        *ret = *served;
    else
        return direct_route_source(family, ret);
    return true;
}

static int direct_bind_socket(const struct addr *addr, bool tcp)
{
    int fd;

    if (tcp)
        return direct_tcp_listen(addr);
    fd = sock_bind(addr, SOCK_DGRAM, 0);
    if (fd >= 0)
        direct_udp_setup(fd, addr->family);
    return fd;
}

/* Both or none; the ports stay taken either way. Return: 0, or -errno and the port it is about. */
static int direct_bind_pair(struct leg *leg, struct addr *ret_bad, int *ret_sibling)
{
    struct addr next = leg->bound;
    int fd;

    *ret_bad = leg->bound;
    fd = direct_bind_socket(&leg->bound, false);
    if (fd < 0)
        return fd;
    next.port++;
    *ret_bad = next;
    *ret_sibling = direct_bind_socket(&next, false);
    if (*ret_sibling < 0) {
        close(fd);
        return *ret_sibling;
    }
    leg->fd = fd;
    return 0;
}

/* Gives back what a failed attempt had taken. A port that turned out to be another process's rests,
 * so that it is not tried again and again. */
static void direct_bind_undo(struct leg *leg, bool is_pair, const struct addr *bad, int r,
                             uint64_t now_ns)
{
    struct ports *ports = leg->assoc->exit->params.ports;

    for (uint16_t i = 0; i < 1 + is_pair; i++) {
        uint16_t port = (uint16_t)(leg->bound.port + i);

        if (r == -EADDRINUSE && port == bad->port)
            ports_release(ports, direct_space(leg), port, now_ns);
        else
            ports_cancel(ports, direct_space(leg), port);
    }
}

static enum exit_result direct_bind_failed(int r)
{
    if (r == PORTS_E_NONE)
        log_limited(LOG_LEVEL_WARNING, "relay: no relayed port is free");
    else
        log_limited(LOG_LEVEL_WARNING, "relay: cannot bind a relayed port (error %d)", -r);
    if (r == -EADDRNOTAVAIL || r == -EAFNOSUPPORT)
        return EXIT_E_FAMILY;
    return EXIT_E_CAPACITY;
}

static enum exit_result direct_park(struct leg *leg, int sibling, uint64_t now_ns,
                                    struct assoc_opened *opened)
{
    static const struct timeval sweep = {.tv_sec = PORTS_RESERVE_S + 1};
    struct direct_exit *x = leg->assoc->exit;
    struct ports_reserved reserved = {.fd = sibling, .bound = leg->bound};

    reserved.bound.port++;
    if (ports_park(x->params.ports, &x->rng, &reserved, now_ns, opened->token) != 0) {
        close(sibling);
        ports_cancel(x->params.ports, direct_space(leg), reserved.bound.port);
        return EXIT_E_CAPACITY;
    }
    opened->has_token = true;
    if (!evtimer_pending(&x->sweep, NULL))
        evtimer_add(&x->sweep, &sweep);
    return EXIT_OK;
}

enum exit_result direct_bind(struct leg *leg, enum addr_family family,
                             const struct assoc_want *want, struct assoc_opened *opened)
{
    struct direct_exit *x = leg->assoc->exit;
    bool is_pair = want->even_port && want->reserve && !want->tcp && !opened->has_token;
    enum ports_shape shape = is_pair ? PORTS_PAIR : want->even_port ? PORTS_EVEN : PORTS_ANY;
    uint64_t now_ns = direct_now(x);
    struct ports_scan scan;
    struct addr bad;
    int r, sibling = -1;

    if (!direct_local_addr(x, family, &want->local, &leg->bound))
        return EXIT_E_FAMILY;
    ports_scan_init(&scan, x->params.ports, &x->rng, direct_space(leg), x->range, shape);
    for (int i = 0; i < DIRECT_BIND_TRIES; i++) {
        r = ports_scan_next(&scan, now_ns, &leg->bound.port);
        if (r != 0)
            break;
        bad = leg->bound;
        if (is_pair)
            r = direct_bind_pair(leg, &bad, &sibling);
        else
            r = leg->fd = direct_bind_socket(&leg->bound, want->tcp);
        if (r >= 0)
            return is_pair ? direct_park(leg, sibling, now_ns, opened) : EXIT_OK;
        leg->fd = -1;
        direct_bind_undo(leg, is_pair, &bad, r, now_ns);
        if (r != -EADDRINUSE)
            break;
    }
    return direct_bind_failed(r);
}

enum exit_result direct_bind_reserved(struct assoc *a, const struct assoc_want *want,
                                      struct leg **ret_leg)
{
    struct direct_exit *x = a->exit;
    struct ports_reserved reserved;
    struct leg *leg;

    if (a->tcp || ports_claim(x->params.ports, want->token, direct_now(x), &reserved) != 0)
        return EXIT_E_TOKEN;
    leg = &a->legs[reserved.bound.family == ADDR_IPV6];
    leg->fd = reserved.fd;
    leg->bound = reserved.bound;
    *ret_leg = leg;
    return EXIT_OK;
}
