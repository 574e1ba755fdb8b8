#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/net/batch.h"
#include "relay/seal/keeper_impl.h"
#include "relay/seal/place.h"

#define KEEPER_BACKLOG 512

void keeper_close_all(const int *fds, size_t n)
{
    for (size_t i = 0; i < n; i++)
        close(fds[i]);
}

static int keeper_set(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

static int keeper_set_transparent(int fd, enum addr_family family)
{
    return family == ADDR_IPV6 ? keeper_set(fd, IPPROTO_IPV6, IPV6_TRANSPARENT, 1)
                               : keeper_set(fd, IPPROTO_IP, IP_TRANSPARENT, 1);
}

static int keeper_prepare(int fd, enum addr_family family, int type)
{
    int r = keeper_set_transparent(fd, family);

    if (r < 0)
        return r;
    if (type == SOCK_STREAM)
        return listen(fd, KEEPER_BACKLOG) < 0 ? -errno : 0;
    return family == ADDR_IPV6 ? keeper_set(fd, IPPROTO_IPV6, IPV6_RECVORIGDSTADDR, 1)
                               : keeper_set(fd, IPPROTO_IP, IP_RECVORIGDSTADDR, 1);
}

/* Return: the socket or -errno. */
static int keeper_catching(const char *ip, int type)
{
    struct addr addr;
    int fd, r;

    if (!addr_parse_ip(ip, PLACE_PORT, &addr))
        return -EINVAL;
    fd = sock_bind(&addr, type, 0);
    if (fd < 0)
        return fd;
    r = keeper_prepare(fd, (enum addr_family)addr.family, type);
    if (r < 0) {
        close(fd);
        return r;
    }
    return fd;
}

/* bind(2) to an address that is not of this machine: after the option, so not by sock_bind(). */
int keeper_peer_socket(const struct addr *peer)
{
    struct sockaddr_storage sa;
    socklen_t len = addr_to_sockaddr(peer, &sa);
    int fd = socket(sa.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), r;

    if (fd < 0)
        return -errno;
    r = keeper_set_transparent(fd, (enum addr_family)peer->family);
    if (r == 0 && bind(fd, (const struct sockaddr *)&sa, len) < 0)
        r = -errno;
    if (r < 0) {
        close(fd);
        return r;
    }
    return fd;
}

int keeper_raw_socket(const struct addr *family)
{
    int fd = socket(family->family == ADDR_IPV6 ? AF_INET6 : AF_INET,
                    SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_RAW);

    return fd < 0 ? -errno : fd;
}

int keeper_catch_all(int ret[KEEPER_LINK], char why[SEAL_WHY_LEN])
{
    static const struct {
        const char *ip;
        int type;
    } wanted[KEEPER_LINK] = {
        [KEEPER_TCP4] = {"127.0.0.1", SOCK_STREAM},
        [KEEPER_TCP6] = {"::1", SOCK_STREAM},
        [KEEPER_UDP4] = {"127.0.0.1", SOCK_DGRAM},
        [KEEPER_UDP6] = {"::1", SOCK_DGRAM},
    };

    for (int i = 0; i < KEEPER_LINK; i++) {
        ret[i] = keeper_catching(wanted[i].ip, wanted[i].type);
        if (ret[i] >= 0)
            continue;
        keeper_close_all(ret, (size_t)i);
        return seal_fail(why, "no transparent socket inside: %s", strerror(-ret[i]));
    }
    return 0;
}
