#include <errno.h>
#include <netinet/udp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/net/batch.h"

#define SOCK_BACKLOG 1024

static int sock_set(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

static int sock_prepare(int fd, int family, unsigned int flags)
{
    int r = 0;

    if (family == AF_INET6)
        r = sock_set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    if (r == 0 && (flags & SOCK_REUSEADDR))
        r = sock_set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (r == 0 && (flags & SOCK_REUSEPORT))
        r = sock_set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    return r;
}

int sock_bind(const struct addr *addr, int sock_type, unsigned int flags)
{
    struct sockaddr_storage sa;
    socklen_t len = addr_to_sockaddr(addr, &sa);
    int fd, r;

    if (addr->family == ADDR_NONE)
        return -EAFNOSUPPORT;
    fd = socket(sa.ss_family, sock_type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    r = sock_prepare(fd, sa.ss_family, flags);
    if (r == 0 && bind(fd, (const struct sockaddr *)&sa, len) < 0)
        r = -errno;
    if (r < 0) {
        close(fd);
        return r;
    }
    return fd;
}

int sock_listen(const struct addr *addr, unsigned int flags)
{
    int fd = sock_bind(addr, SOCK_STREAM, flags);
    int r;

    if (fd < 0)
        return fd;
    if (listen(fd, SOCK_BACKLOG) < 0) {
        r = -errno;
        close(fd);
        return r;
    }
    return fd;
}

int sock_connect(const struct addr *remote, int sock_type)
{
    struct sockaddr_storage sa;
    socklen_t len = addr_to_sockaddr(remote, &sa);
    int fd, r = 0;

    if (remote->family == ADDR_NONE)
        return -EAFNOSUPPORT;
    fd = socket(sa.ss_family, sock_type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    /* EINTR: the attempt goes on all the same (connect(2)). */
    if (connect(fd, (const struct sockaddr *)&sa, len) < 0 && errno != EINPROGRESS &&
        errno != EINTR)
        r = -errno;
    if (r < 0) {
        close(fd);
        return r;
    }
    return fd;
}

int sock_local_addr(int fd, struct addr *ret)
{
    struct sockaddr_storage sa = {0};
    socklen_t len = sizeof(sa);

    if (getsockname(fd, (struct sockaddr *)&sa, &len) < 0)
        return -errno;
    *ret = addr_from_sockaddr((const struct sockaddr *)&sa);
    return 0;
}

/* The FORCE variants pass net.core.[rw]mem_max, whose default (208 KiB) a single video key frame
 * to a few listeners fills; they need CAP_NET_ADMIN, which a relay usually does not have. */
static void sock_set_buffer(int fd, int force_option, int option, int bytes)
{
    if (bytes > 0 && sock_set(fd, SOL_SOCKET, force_option, bytes) < 0)
        (void)sock_set(fd, SOL_SOCKET, option, bytes);
}

void sock_tune_udp(int fd, int rcvbuf, int sndbuf)
{
    (void)sock_set(fd, SOL_UDP, UDP_GRO, 1); /* Linux 5.0 */
    sock_set_buffer(fd, SO_RCVBUFFORCE, SO_RCVBUF, rcvbuf);
    sock_set_buffer(fd, SO_SNDBUFFORCE, SO_SNDBUF, sndbuf);
}

void sock_set_df(int fd, enum addr_family family, bool df)
{
#ifdef IP_MTU_DISCOVER /* elsewhere UDP goes without DF */
    if (family == ADDR_IPV6)
        (void)sock_set(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER,
                       df ? IPV6_PMTUDISC_DO : IPV6_PMTUDISC_DONT);
    else
        (void)sock_set(fd, IPPROTO_IP, IP_MTU_DISCOVER, df ? IP_PMTUDISC_DO : IP_PMTUDISC_DONT);
#endif
}

int sock_want_pktinfo(int fd, enum addr_family family)
{
    if (family == ADDR_IPV6)
        return sock_set(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
    return sock_set(fd, IPPROTO_IP, IP_PKTINFO, 1);
}

int sock_want_origdst(int fd, enum addr_family family)
{
    if (family == ADDR_IPV6)
        return sock_set(fd, IPPROTO_IPV6, IPV6_RECVORIGDSTADDR, 1);
    return sock_set(fd, IPPROTO_IP, IP_RECVORIGDSTADDR, 1);
}

int sock_route_source(const struct addr *remote, struct addr *ret)
{
    struct sockaddr_storage sa;
    socklen_t len = addr_to_sockaddr(remote, &sa);
    int fd, r = 0;

    if (remote->family == ADDR_NONE)
        return -EAFNOSUPPORT;
    /* connect(2) on a UDP socket only looks the route up; port 0 would do, but some policy rules
     * match on ports and a real one meets them. */
    fd = socket(sa.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (const struct sockaddr *)&sa, len) < 0)
        r = -errno;
    else
        r = sock_local_addr(fd, ret);
    if (r == 0)
        ret->port = 0;
    close(fd);
    return r;
}
