/*
 * By rtnetlink, one request and its answer at a time (rtnetlink(7)). Nothing else is in this
 * namespace, so nothing has to be looked for or cleaned up.
 */
#include "relay/seal/link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <libmnl/libmnl.h>
#include <linux/fib_rules.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "relay/seal/place.h"
#include "relay/seal/space.h"

#define LINK_LO        1 /* loopback's index, in every namespace */
#define LINK_RULE_PREF 100

struct link {
    struct mnl_socket *socket;
    uint32_t seq;
    unsigned int near, far;
    union {
        char bytes[8192]; /* MNL_SOCKET_BUFFER_SIZE is not a constant */
        struct nlmsghdr header;
    } buffer;
};

/* ---- one request ---- */

static struct nlmsghdr *link_request(struct link *l, uint16_t type, uint16_t flags)
{
    struct nlmsghdr *h = mnl_nlmsg_put_header(l->buffer.bytes);

    h->nlmsg_type = type;
    h->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
    h->nlmsg_seq = ++l->seq;
    return h;
}

/* Return: 0 or -errno. */
static int link_ask(struct link *l, const struct nlmsghdr *request)
{
    ssize_t n;

    if (mnl_socket_sendto(l->socket, request, request->nlmsg_len) < 0)
        return -errno;
    n = mnl_socket_recvfrom(l->socket, l->buffer.bytes, sizeof(l->buffer.bytes));
    if (n < 0)
        return -errno;
    if (mnl_cb_run(l->buffer.bytes, (size_t)n, l->seq, mnl_socket_get_portid(l->socket), NULL,
                   NULL) < 0)
        return -errno;
    return 0;
}

static void link_put_ip(struct nlmsghdr *h, uint16_t type, int family, const char *text)
{
    uint8_t ip[16];

    if (inet_pton(family, text, ip) == 1)
        mnl_attr_put(h, type, family == AF_INET ? 4 : 16, ip);
}

/* ---- interfaces ---- */

static int link_add_pair(struct link *l)
{
    struct nlmsghdr *h = link_request(l, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
    struct nlattr *info, *data, *peer;

    mnl_nlmsg_put_extra_header(h, sizeof(struct ifinfomsg));
    mnl_attr_put_strz(h, IFLA_IFNAME, PLACE_NEAR);
    mnl_attr_put_u32(h, IFLA_MTU, PLACE_MTU);
    info = mnl_attr_nest_start(h, IFLA_LINKINFO);
    mnl_attr_put_str(h, IFLA_INFO_KIND, "veth");
    data = mnl_attr_nest_start(h, IFLA_INFO_DATA);
    peer = mnl_attr_nest_start(h, VETH_INFO_PEER);
    mnl_nlmsg_put_extra_header(h, sizeof(struct ifinfomsg));
    mnl_attr_put_strz(h, IFLA_IFNAME, PLACE_FAR);
    mnl_attr_put_u32(h, IFLA_MTU, PLACE_MTU);
    mnl_attr_nest_end(h, peer);
    mnl_attr_nest_end(h, data);
    mnl_attr_nest_end(h, info);
    return link_ask(l, h);
}

/* No address made of the interface's own: a link-local one would be looked for, told to programs,
 * and be nobody's. */
static int link_no_own_v6(struct link *l, unsigned int index)
{
    struct nlmsghdr *h = link_request(l, RTM_NEWLINK, 0);
    struct ifinfomsg *ifi = mnl_nlmsg_put_extra_header(h, sizeof(*ifi));
    struct nlattr *spec, *v6;

    ifi->ifi_index = (int)index;
    spec = mnl_attr_nest_start(h, IFLA_AF_SPEC);
    v6 = mnl_attr_nest_start(h, AF_INET6);
    mnl_attr_put_u8(h, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
    mnl_attr_nest_end(h, v6);
    mnl_attr_nest_end(h, spec);
    return link_ask(l, h);
}

static int link_up(struct link *l, unsigned int index)
{
    struct nlmsghdr *h = link_request(l, RTM_NEWLINK, 0);
    struct ifinfomsg *ifi = mnl_nlmsg_put_extra_header(h, sizeof(*ifi));

    ifi->ifi_index = (int)index;
    ifi->ifi_flags = ifi->ifi_change = IFF_UP;
    return link_ask(l, h);
}

/* ---- addresses and routes ---- */

/* NODAD: the address is used at once, nobody else can have it. */
static int link_add_address(struct link *l, int family, const char *ip, uint8_t bits)
{
    struct nlmsghdr *h = link_request(l, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
    struct ifaddrmsg *ifa = mnl_nlmsg_put_extra_header(h, sizeof(*ifa));

    ifa->ifa_family = (uint8_t)family;
    ifa->ifa_prefixlen = bits;
    ifa->ifa_flags = IFA_F_PERMANENT | (family == AF_INET6 ? IFA_F_NODAD : 0);
    ifa->ifa_scope = RT_SCOPE_UNIVERSE;
    ifa->ifa_index = l->near;
    link_put_ip(h, IFA_LOCAL, family, ip);
    link_put_ip(h, IFA_ADDRESS, family, ip);
    return link_ask(l, h);
}

static struct nlmsghdr *link_route(struct link *l, int family, uint8_t table, uint8_t type,
                                   uint8_t scope)
{
    struct nlmsghdr *h = link_request(l, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL);
    struct rtmsg *rt = mnl_nlmsg_put_extra_header(h, sizeof(*rt));

    rt->rtm_family = (uint8_t)family;
    rt->rtm_table = table;
    rt->rtm_protocol = RTPROT_BOOT;
    rt->rtm_type = type;
    rt->rtm_scope = scope;
    return h;
}

/* What programs see: a machine with a router. */
static int link_add_default(struct link *l, int family, const char *router)
{
    struct nlmsghdr *h = link_route(l, family, RT_TABLE_MAIN, RTN_UNICAST, RT_SCOPE_UNIVERSE);

    link_put_ip(h, RTA_GATEWAY, family, router);
    mnl_attr_put_u32(h, RTA_OIF, l->near);
    return link_ask(l, h);
}

/* Where marked packets go: every address is this machine's own, on loopback. */
static int link_add_turn(struct link *l, int family)
{
    struct nlmsghdr *h = link_route(l, family, PLACE_TABLE, RTN_LOCAL, RT_SCOPE_HOST);
    struct fib_rule_hdr *rule;
    int r;

    mnl_attr_put_u32(h, RTA_OIF, LINK_LO);
    r = link_ask(l, h);
    if (r < 0)
        return r;
    h = link_request(l, RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL);
    rule = mnl_nlmsg_put_extra_header(h, sizeof(*rule));
    rule->family = (uint8_t)family;
    rule->table = PLACE_TABLE;
    rule->action = FR_ACT_TO_TBL;
    mnl_attr_put_u32(h, FRA_PRIORITY, LINK_RULE_PREF);
    mnl_attr_put_u32(h, FRA_FWMARK, PLACE_MARK);
    return link_ask(l, h);
}

/* ---- the whole ---- */

/* A new namespace has IPv4's settings from the machine's own, and under a strict rp_filter or with
 * IPv6 disabled what is turned round would be thrown away. Where /proc/sys cannot be written the
 * settings are the defaults in all likelihood, and if not, the next steps fail. */
static void link_set(const char *path, const char *value)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    if (fd < 0)
        return;
    if (write(fd, value, strlen(value)) < 0) {
        /* see above */
    }
    close(fd);
}

static void link_settings(void)
{
    link_set("/proc/sys/net/ipv4/conf/all/rp_filter", "0");
    link_set("/proc/sys/net/ipv4/conf/default/rp_filter", "0");
    link_set("/proc/sys/net/ipv4/conf/lo/rp_filter", "0");
    link_set("/proc/sys/net/ipv4/ip_forward", "0");
    link_set("/proc/sys/net/ipv6/conf/all/forwarding", "0");
    link_set("/proc/sys/net/ipv6/conf/all/disable_ipv6", "0");
    link_set("/proc/sys/net/ipv6/conf/default/disable_ipv6", "0");
    link_set("/proc/sys/net/ipv6/conf/default/accept_ra", "0");
}

static int link_make_family(struct link *l, int family, char why[SEAL_WHY_LEN])
{
    bool v4 = family == AF_INET;
    const char *name = v4 ? "IPv4" : "IPv6";
    int r = link_add_address(l, family, v4 ? PLACE_NEAR_V4 : PLACE_NEAR_V6,
                             v4 ? PLACE_BITS_V4 : PLACE_BITS_V6);

    if (r < 0)
        return seal_fail(why, "no %s address inside: %s", name, strerror(-r));
    r = link_add_default(l, family, v4 ? PLACE_ROUTER_V4 : PLACE_ROUTER_V6);
    if (r < 0)
        return seal_fail(why, "no %s route inside: %s", name, strerror(-r));
    r = link_add_turn(l, family);
    if (r < 0)
        return seal_fail(why,
                         "no %s policy routing: %s; the kernel needs CONFIG_IP_MULTIPLE_TABLES and "
                         "CONFIG_IPV6_MULTIPLE_TABLES",
                         name, strerror(-r));
    return 0;
}

static int link_make_pair(struct link *l, char why[SEAL_WHY_LEN])
{
    int r = link_add_pair(l);

    if (r == -EPERM || r == -EACCES)
        return space_explain(-r, why);
    if (r < 0)
        return seal_fail(why,
                         "no veth interface: %s; try \"modprobe veth\" as root, or a kernel "
                         "with CONFIG_VETH",
                         strerror(-r));
    l->near = if_nametoindex(PLACE_NEAR);
    l->far = if_nametoindex(PLACE_FAR);
    r = link_no_own_v6(l, l->near);
    if (r == 0)
        r = link_no_own_v6(l, l->far);
    if (r < 0)
        return seal_fail(why,
                         "no IPv6 inside: %s; where it is not wanted, start the kernel without "
                         "\"ipv6.disable=1\" and set the sysctl net.ipv6.conf.all.disable_ipv6=1",
                         strerror(-r));
    r = link_up(l, LINK_LO);
    if (r == 0)
        r = link_up(l, l->far);
    if (r == 0)
        r = link_up(l, l->near);
    if (r < 0)
        return seal_fail(why, "an interface inside does not come up: %s", strerror(-r));
    return 0;
}

int link_make(char why[SEAL_WHY_LEN])
{
    struct link *l = calloc(1, sizeof(*l));
    int r = -1;

    if (!l)
        return seal_fail(why, "out of memory");
    l->socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
    if (!l->socket || mnl_socket_bind(l->socket, 0, MNL_SOCKET_AUTOPID) < 0) {
        seal_fail(why, "no netlink socket: %s", strerror(errno));
        goto out;
    }
    link_settings();
    r = link_make_pair(l, why);
    if (r == 0)
        r = link_make_family(l, AF_INET, why);
    if (r == 0)
        r = link_make_family(l, AF_INET6, why);
out:
    if (l->socket)
        mnl_socket_close(l->socket);
    free(l);
    return r;
}
