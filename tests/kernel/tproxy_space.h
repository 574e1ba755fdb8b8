/*
 * tests/kernel/tproxy_space.h - a test program in a network namespace of its own, with rules that
 * hand every TCP and UDP packet that is not for itself to four catching sockets
 *
 * The same rules as the sealed namespace's in essence, made with ip(8) and nft(8), so that a test
 * does not lean on what it is to judge. App and gate are both the test program.
 */
#pragma once

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/net/batch.h"
#include "relay/keeper.h"

#define SPACE_NEAR_V4 "192.0.2.2"
#define SPACE_NEAR_V6 "2001:db8:1::2"
#define SPACE_PORT    1

static inline bool space_write(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

    if (fd >= 0)
        close(fd);
    return ok;
}

static const char space_script[] =
    "exec 2>&1\n"
    "for i in ip nft; do command -v $i > /dev/null || { echo \"no $i here\"; exit 77; }; done\n"
    "set -e\n"
    "ip link set lo up\n"
    "ip link add near type veth peer name far\n"
    "for i in near far; do echo 1 > /proc/sys/net/ipv6/conf/$i/disable_ipv6 || :; done\n"
    "echo 0 > /proc/sys/net/ipv6/conf/near/disable_ipv6\n"
    "ip link set near mtu 1280 up; ip link set far mtu 1280 up\n"
    "ip addr add " SPACE_NEAR_V4 "/30 dev near\n"
    "ip -6 addr add " SPACE_NEAR_V6 "/64 dev near nodad\n"
    "ip route add default via 192.0.2.1\n"
    "ip -6 route add default via 2001:db8:1::1\n"
    "for f in -4 -6; do ip $f rule add fwmark 1 lookup 100\n"
    "ip $f route add local default dev lo table 100; done\n"
    "nft -f - <<EOF\n"
    "table inet t {\n"
    " chain out { type route hook output priority mangle;\n"
    "  ip daddr { 127.0.0.0/8, " SPACE_NEAR_V4 " } return\n"
    "  ip6 daddr { ::1, " SPACE_NEAR_V6 " } return\n"
    "  meta l4proto { tcp, udp } meta mark set 1\n }\n"
    " chain pre { type filter hook prerouting priority mangle;\n"
    "  ip daddr { 127.0.0.0/8, " SPACE_NEAR_V4 " } return\n"
    "  ip6 daddr { ::1, " SPACE_NEAR_V6 " } return\n"
    "  iif lo meta nfproto ipv4 meta l4proto { tcp, udp } tproxy ip to 127.0.0.1:1 meta mark set 1 "
    "accept\n"
    "  iif lo meta nfproto ipv6 meta l4proto { tcp, udp } tproxy ip6 to [::1]:1 meta mark set 1 "
    "accept\n }\n"
    "}\n"
    "EOF\n";

/* Return: NULL, or why there can be no such namespace here. What fails although the kernel can do
 * it ends the program: a skipped test must not hide it. */
static inline const char *space_enter(void)
{
    static char why[256];
    char map[64];
    int status;
    size_t n;
    FILE *p;

    snprintf(map, sizeof(map), "0 %u 1", (unsigned int)geteuid());
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
        return "no user namespaces for this user";
    if (!space_write("/proc/self/setgroups", "deny") || !space_write("/proc/self/uid_map", map))
        return "no user mapping in a user namespace";
    snprintf(map, sizeof(map), "0 %u 1", (unsigned int)getegid());
    (void)space_write("/proc/self/gid_map", map);
    p = popen(space_script, "r");
    n = p ? fread(why, 1, sizeof(why) - 1, p) : 0;
    why[n] = '\0';
    why[strcspn(why, "\n")] = '\0';
    status = p ? pclose(p) : -1;
    if (status == 0)
        return NULL;
    if ((WIFEXITED(status) && WEXITSTATUS(status) == 77) ||
        strstr(why, "Could not process rule: No such file"))
        return why;
    printf("Bail out! %s\n", why);
    exit(EXIT_FAILURE);
}

/* For main(): a test that cannot be run says so. */
static inline int space_skip(const char *why)
{
    printf("TAP version 13\n1..0 # SKIP %s\n", why);
    return EXIT_SUCCESS;
}

/* A socket bound to an address that is nobody's here. Return: the descriptor or -errno. */
static inline int space_transparent(const struct addr *addr, int type)
{
    struct sockaddr_storage sa;
    socklen_t len = addr_to_sockaddr(addr, &sa);
    int fd = socket(sa.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1, r = 0;
    bool is_v6 = addr->family == ADDR_IPV6;

    if (fd < 0)
        return -errno;
    if (is_v6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    if (setsockopt(fd, is_v6 ? IPPROTO_IPV6 : IPPROTO_IP, is_v6 ? IPV6_TRANSPARENT : IP_TRANSPARENT,
                   &on, sizeof(on)) < 0 ||
        bind(fd, (const struct sockaddr *)&sa, len) < 0)
        r = -errno;
    if (r == 0 && type == SOCK_STREAM && listen(fd, 64) < 0)
        r = -errno;
    if (r < 0) {
        close(fd);
        return r;
    }
    return fd;
}

static inline void space_catch(int fds[KEEPER_LINK])
{
    static const char *const ips[] = {"127.0.0.1", "::1", "127.0.0.1", "::1"};

    for (int i = 0; i < KEEPER_LINK; i++) {
        struct addr addr;

        ck_assert(addr_parse_ip(ips[i], SPACE_PORT, &addr));
        fds[i] = space_transparent(&addr, i < KEEPER_UDP4 ? SOCK_STREAM : SOCK_DGRAM);
        ck_assert_int_ge(fds[i], 0);
        if (i >= KEEPER_UDP4)
            ck_assert_int_eq(sock_want_origdst(fds[i], (enum addr_family)addr.family), 0);
    }
}

static inline struct addr space_at(const char *text)
{
    struct addr addr = {0};

    ck_assert(addr_parse(text, &addr));
    return addr;
}

static inline bool space_wait(int fd, short events)
{
    struct pollfd p = {.fd = fd, .events = events};

    return poll(&p, 1, 5000) == 1;
}
