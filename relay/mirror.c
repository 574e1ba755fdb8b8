#include "relay/mirror.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/net/batch.h"
#include "common/wire/stun.h"

#define MIRROR_REQUEST_MAX 548 /* RFC 8489, section 6.1: what any path carries */
#define MIRROR_PER_TURN    16
#define MIRROR_FAMILIES    2

struct mirror_socket {
    struct event *event; /* NULL: not open */
    int fd;
    struct addr bound;
};

struct mirror {
    struct event_base *base;
    struct mirror_socket sockets[MIRROR_FAMILIES];
};

static bool mirror_is_ours(const struct ifaddrs *it)
{
    const struct sockaddr_in6 *sa6 = (const void *)it->ifa_addr;
    struct addr addr;

    if (!it->ifa_addr || !(it->ifa_flags & IFF_UP))
        return false;
    addr = addr_from_sockaddr(it->ifa_addr);
    if (addr.family == ADDR_NONE || addr_is_loopback(&addr))
        return false;
    return it->ifa_addr->sa_family != AF_INET6 || !IN6_IS_ADDR_LINKLOCAL(&sa6->sin6_addr);
}

size_t mirror_own_addresses(struct addr *ret, size_t max)
{
    struct ifaddrs *all, *it;
    size_t n = 0;

    if (getifaddrs(&all) < 0)
        return 0;
    for (it = all; it && n < max; it = it->ifa_next) {
        if (!mirror_is_ours(it))
            continue;
        ret[n] = addr_from_sockaddr(it->ifa_addr);
        ret[n++].port = 0;
    }
    freeifaddrs(all);
    return n;
}

/* ---- answering ---- */

static void mirror_answer(const struct mirror_socket *s, const uint8_t *request, size_t len,
                          const struct addr *from)
{
    uint8_t answer[STUN_BINDING_ANSWER_MAX];
    struct sockaddr_storage sa;
    socklen_t sa_len = addr_to_sockaddr(from, &sa);

    if (!addr_ip_equal(from, &s->bound))
        return;
    len = stun_answer_binding(answer, request, len, from);
    if (len > 0 && sendto(s->fd, answer, len, MSG_DONTWAIT, (struct sockaddr *)&sa, sa_len) < 0)
        return; /* asked again */
}

static void mirror_on_readable(evutil_socket_t fd, short what, void *arg)
{
    const struct mirror_socket *s = arg;
    uint8_t request[MIRROR_REQUEST_MAX];

    for (int i = 0; i < MIRROR_PER_TURN; i++) {
        struct sockaddr_storage sa;
        socklen_t sa_len = sizeof(sa);
        ssize_t n =
            recvfrom(fd, request, sizeof(request), MSG_DONTWAIT, (struct sockaddr *)&sa, &sa_len);
        struct addr from;

        if (n < 0)
            return;
        from = addr_from_sockaddr((const struct sockaddr *)&sa);
        mirror_answer(s, request, (size_t)n, &from);
    }
}

/* ---- sockets ---- */

static void mirror_close(struct mirror_socket *s)
{
    if (!s->event)
        return;
    event_free(s->event);
    close(s->fd);
    *s = (struct mirror_socket){.fd = -1};
}

/* What cannot be bound (an address that is not usable yet) is tried again at the next look. */
static void mirror_open(struct mirror *m, struct mirror_socket *s, const struct addr *at)
{
    int fd = sock_bind(at, SOCK_DGRAM, 0);

    if (fd < 0)
        return;
    s->fd = fd;
    s->event = event_new(m->base, fd, EV_READ | EV_PERSIST, mirror_on_readable, s);
    if (s->event && sock_local_addr(fd, &s->bound) == 0 && event_add(s->event, NULL) == 0)
        return;
    if (s->event)
        event_free(s->event);
    close(fd);
    *s = (struct mirror_socket){.fd = -1};
}

static struct mirror_socket *mirror_socket(struct mirror *m, enum addr_family family)
{
    return &m->sockets[family == ADDR_IPV6];
}

static bool mirror_still_has(const struct mirror_socket *s, const struct addr *own, size_t n)
{
    for (size_t i = 0; s->event && i < n; i++)
        if (addr_ip_equal(&own[i], &s->bound))
            return true;
    return false;
}

void mirror_look(struct mirror *m, const struct addr *own, size_t n)
{
    for (size_t i = 0; i < MIRROR_FAMILIES; i++)
        if (!mirror_still_has(&m->sockets[i], own, n))
            mirror_close(&m->sockets[i]);
    for (size_t i = 0; i < n; i++) {
        struct mirror_socket *s = mirror_socket(m, own[i].family);

        if (!s->event)
            mirror_open(m, s, &own[i]);
    }
}

struct addr mirror_addr(const struct mirror *m, enum addr_family family)
{
    return m->sockets[family == ADDR_IPV6].bound;
}

struct mirror *mirror_new(struct event_base *base)
{
    struct mirror *m = calloc(1, sizeof(*m));

    if (m)
        m->base = base;
    return m;
}

void mirror_free(struct mirror *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < MIRROR_FAMILIES; i++)
        mirror_close(&m->sockets[i]);
    free(m);
}
