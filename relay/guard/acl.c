#include "relay/guard/acl.h"

#include <assert.h>
#include <errno.h>
#include <ifaddrs.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "relay/guard/special.h"

/*
 * The rules of acl.h over three small arrays, all made at acl_new():
 *
 *   own       addresses that end on this machine: its interfaces', those listened or
 *             relayed on (perhaps not up yet). Loopback and the unspecified address,
 *             which Linux connects to loopback, are own without being listed.
 *   listener  where this process listens.
 *   rule      ranges, the one that decides first: longest prefix, then `deny`,
 *             `allow`, built-in. A linear walk: it is asked once per permission, and
 *             per datagram only for peers on this very machine.
 */

struct acl_listener {
    struct addr addr;
    bool udp, tcp;
    bool turn; /* or the stats endpoint's */
};

struct acl_rule {
    struct addr_range range;
    enum acl_verdict verdict;
};

struct acl_relayed {
    struct addr public_addr; /* ADDR_NONE: not set */
    struct addr relay_addr;  /* ADDR_NONE: the address the client reached */
};

struct acl {
    struct addr *own;
    size_t n_own;
    struct acl_listener *listener;
    size_t n_listener;
    struct acl_rule *rule;
    size_t n_rule;
    struct acl_relayed relayed_v4, relayed_v6;
    uint16_t port_min, port_max;
    bool local_only; /* every TURN listener is on loopback */
};

static void acl_add_own(struct acl *acl, const struct addr *addr)
{
    if (addr->family != ADDR_NONE && !addr_is_any(addr))
        acl->own[acl->n_own++] = addr_make(addr->family, addr->ip, 0);
}

static void acl_add_listener(struct acl *acl, const struct acl_listener *listener)
{
    if (listener->addr.family == ADDR_NONE)
        return;
    acl->listener[acl->n_listener++] = *listener;
    acl_add_own(acl, &listener->addr);
}

static void acl_add_rule(struct acl *acl, const struct addr_range *range, enum acl_verdict verdict)
{
    acl->rule[acl->n_rule++] = (struct acl_rule){*range, verdict};
}

static int acl_rank(enum acl_verdict verdict)
{
    return verdict == ACL_DENY_CONFIG ? 0 : verdict == ACL_ALLOW ? 1 : 2;
}

static int acl_compare_rules(const void *a, const void *b)
{
    const struct acl_rule *left = a, *right = b;

    if (left->range.bits != right->range.bits)
        return right->range.bits - left->range.bits;
    return acl_rank(left->verdict) - acl_rank(right->verdict);
}

static void acl_fill_rules(struct acl *acl, const struct conf *conf)
{
    for (const char *const *text = special_ranges; *text; text++) {
        struct addr_range range;
        bool parsed = addr_range_parse(*text, &range);

        assert(parsed);
        acl_add_rule(acl, &range, ACL_DENY_SPECIAL);
    }
    for (size_t i = 0; i < conf->n_allow; i++)
        acl_add_rule(acl, &conf->allow[i], ACL_ALLOW);
    for (size_t i = 0; i < conf->n_deny; i++)
        acl_add_rule(acl, &conf->deny[i], ACL_DENY_CONFIG);
    qsort(acl->rule, acl->n_rule, sizeof(*acl->rule), acl_compare_rules);
}

static void acl_fill_own(struct acl *acl, const struct conf *conf, const struct addr *addrs,
                         size_t n_addrs)
{
    for (size_t i = 0; i < n_addrs; i++)
        acl_add_own(acl, &addrs[i]);
    acl_add_own(acl, &conf->public_v4);
    acl_add_own(acl, &conf->public_v6);
    acl_add_own(acl, &conf->relay_v4);
    acl_add_own(acl, &conf->relay_v6);
}

static void acl_fill_listeners(struct acl *acl, const struct conf *conf)
{
    struct acl_listener listener = {.turn = true};

    acl->local_only = conf->n_listen > 0;
    for (size_t i = 0; i < conf->n_listen; i++) {
        listener.addr = conf->listen[i].addr;
        listener.udp = conf->listen[i].protocols & (LISTEN_UDP | LISTEN_DTLS);
        listener.tcp = conf->listen[i].protocols & (LISTEN_TCP | LISTEN_TLS);
        acl_add_listener(acl, &listener);
        if (!addr_is_loopback(&listener.addr))
            acl->local_only = false;
    }
    listener = (struct acl_listener){.addr = conf->stats_listen, .tcp = true};
    acl_add_listener(acl, &listener);
}

/* 0.0.0.0 as relay-address says no more than leaving it out. */
static struct addr acl_specific(const struct addr *addr)
{
    return addr_is_any(addr) ? (struct addr){0} : *addr;
}

struct acl *acl_new_with(const struct conf *conf, const struct addr *addrs, size_t n_addrs)
{
    struct acl *acl = calloc(1, sizeof(*acl));
    size_t n_special = 0;

    if (!acl)
        return NULL;
    while (special_ranges[n_special])
        n_special++;
    acl->own = calloc(n_addrs + 4 + conf->n_listen + 1, sizeof(*acl->own));
    acl->listener = calloc(conf->n_listen + 1, sizeof(*acl->listener));
    acl->rule = calloc(n_special + conf->n_allow + conf->n_deny, sizeof(*acl->rule));
    if (!acl->own || !acl->listener || !acl->rule) {
        acl_free(acl);
        return NULL;
    }
    acl->relayed_v4.public_addr = acl_specific(&conf->public_v4);
    acl->relayed_v4.relay_addr = acl_specific(&conf->relay_v4);
    acl->relayed_v6.public_addr = acl_specific(&conf->public_v6);
    acl->relayed_v6.relay_addr = acl_specific(&conf->relay_v6);
    acl->port_min = conf->port_min;
    acl->port_max = conf->port_max;
    acl_fill_own(acl, conf, addrs, n_addrs);
    acl_fill_listeners(acl, conf);
    acl_fill_rules(acl, conf);
    return acl;
}

struct acl *acl_new(const struct conf *conf)
{
    struct ifaddrs *list;
    struct addr *addrs;
    struct acl *acl = NULL;
    size_t n = 0;

    /* Without the list an address of ours would pass for a stranger's. */
    if (getifaddrs(&list) < 0) {
        log_error("cannot list this machine's addresses: %s", strerror(errno));
        return NULL;
    }
    for (struct ifaddrs *i = list; i; i = i->ifa_next)
        n++;
    addrs = calloc(n + 1, sizeof(*addrs));
    if (!addrs)
        goto out;
    n = 0;
    for (struct ifaddrs *i = list; i; i = i->ifa_next)
        if (i->ifa_addr)
            addrs[n++] = addr_from_sockaddr(i->ifa_addr);
    acl = acl_new_with(conf, addrs, n);
out:
    free(addrs);
    freeifaddrs(list);
    return acl;
}

void acl_free(struct acl *acl)
{
    if (!acl)
        return;
    free(acl->own);
    free(acl->listener);
    free(acl->rule);
    free(acl);
}

static bool acl_is_listed(const struct acl *acl, const struct addr *ip)
{
    for (size_t i = 0; i < acl->n_own; i++)
        if (addr_ip_equal(&acl->own[i], ip))
            return true;
    return false;
}

static bool acl_is_own_ip(const struct acl *acl, const struct addr *ip)
{
    return addr_is_loopback(ip) || addr_is_any(ip) || acl_is_listed(acl, ip);
}

/*
 * Rule 1. A wildcard takes what arrives on any address of ours; the IPv6 wildcard
 * may take IPv4 as well (IPV6_V6ONLY). The public address leads to whichever
 * listener the NAT in front of us maps it to, and the unspecified one to loopback,
 * so that for these the port alone decides.
 */
static bool acl_is_listener(const struct acl *acl, const struct addr *peer, bool tcp)
{
    bool own = acl_is_own_ip(acl, peer);
    bool anywhere = addr_is_any(peer) || addr_ip_equal(peer, &acl->relayed_v4.public_addr) ||
                    addr_ip_equal(peer, &acl->relayed_v6.public_addr);

    for (size_t i = 0; i < acl->n_listener; i++) {
        const struct acl_listener *listener = &acl->listener[i];
        bool wildcard = addr_is_any(&listener->addr) &&
                        (listener->addr.family == ADDR_IPV6 || peer->family == ADDR_IPV4);

        if (peer->port == 0 || listener->addr.port != peer->port ||
            !(tcp ? listener->tcp : listener->udp))
            continue;
        if (anywhere || (wildcard && own) || addr_ip_equal(&listener->addr, peer))
            return true;
    }
    return false;
}

static bool acl_is_link_local_v6(const struct addr *ip)
{
    return ip->family == ADDR_IPV6 && ip->ip[0] == 0xfe && (ip->ip[1] & 0xc0) == 0x80;
}

/*
 * Whether relayed sockets may be bound to this address. Loopback is only when the
 * relay serves nobody but this machine: with one listener behind a local proxy and
 * another open to the world, it would open everybody's loopback ports in the range.
 */
static bool acl_is_relayed_ip(const struct acl *acl, const struct addr *ip)
{
    const struct acl_relayed *relayed =
        ip->family == ADDR_IPV4 ? &acl->relayed_v4 : &acl->relayed_v6;

    if (addr_ip_equal(ip, &relayed->public_addr))
        return true;
    if (relayed->relay_addr.family != ADDR_NONE)
        return addr_ip_equal(ip, &relayed->relay_addr);
    if (acl_is_link_local_v6(ip))
        return false;
    if (!addr_is_loopback(ip))
        return acl_is_listed(acl, ip);
    for (size_t i = 0; i < acl->n_listener && acl->local_only; i++)
        if (acl->listener[i].turn && addr_ip_equal(ip, &acl->listener[i].addr))
            return true;
    return false;
}

static const struct acl_rule *acl_find_rule(const struct acl *acl, const struct addr *ip)
{
    for (size_t i = 0; i < acl->n_rule; i++)
        if (addr_range_contains(&acl->rule[i].range, ip))
            return &acl->rule[i];
    return NULL;
}

/* The rules on one address as it is written. `ret_embeds` is whether what it embeds has a say too:
 * not when the packet ends here, at a relayed socket of ours. `ret_bits`: see special.h. */
static enum acl_verdict acl_check_one(const struct acl *acl, const struct addr *peer, bool tcp,
                                      bool *ret_embeds, unsigned int *ret_bits)
{
    const struct acl_rule *rule;

    *ret_embeds = true;
    *ret_bits = 0;
    if (acl_is_listener(acl, peer, tcp))
        return ACL_DENY_LISTENER;
    if (acl_is_relayed_ip(acl, peer) &&
        (peer->port == 0 || (peer->port >= acl->port_min && peer->port <= acl->port_max))) {
        *ret_embeds = false;
        return ACL_ALLOW;
    }
    rule = acl_find_rule(acl, peer);
    if (rule && rule->verdict == ACL_ALLOW)
        *ret_bits = rule->range.bits;
    if (rule)
        return rule->verdict;
    return acl_is_own_ip(acl, peer) ? ACL_DENY_OWN : ACL_ALLOW;
}

enum acl_verdict acl_check(const struct acl *acl, const struct addr *peer, bool tcp)
{
    struct addr embedded[SPECIAL_EMBEDDED_MAX];
    struct addr normal;
    enum acl_verdict verdict;
    unsigned int bits;
    bool embeds;
    size_t n;

    if (peer->family != ADDR_IPV4 && peer->family != ADDR_IPV6)
        return ACL_DENY_SPECIAL;
    /* Callers promise the normal form. This is the one place where being wrong about it would
     * open the machine (CVE-2026-27624), so it is made sure of. */
    normal = addr_make(peer->family, peer->ip, peer->port);
    verdict = acl_check_one(acl, &normal, tcp, &embeds, &bits);
    if (verdict != ACL_ALLOW || !embeds)
        return verdict;
    n = special_embedded(&normal, bits, embedded);
    for (size_t i = 0; i < n && verdict == ACL_ALLOW; i++)
        verdict = acl_check_one(acl, &embedded[i], tcp, &embeds, &bits);
    return verdict;
}

bool acl_is_own(const struct acl *acl, const struct addr *ip)
{
    struct addr embedded[SPECIAL_EMBEDDED_MAX];
    struct addr normal = addr_make(ip->family, ip->ip, 0);
    size_t n = special_embedded(&normal, 0, embedded);

    if (acl_is_own_ip(acl, &normal))
        return true;
    /* A NAT64 leads back to us, port and all. */
    for (size_t i = 0; i < n; i++)
        if (acl_is_own_ip(acl, &embedded[i]))
            return true;
    return false;
}

const char *acl_verdict_name(enum acl_verdict verdict)
{
    switch (verdict) {
    case ACL_ALLOW:
        return "allowed";
    case ACL_DENY_LISTENER:
        return "a listener of this relay";
    case ACL_DENY_OWN:
        return "an address of this machine";
    case ACL_DENY_SPECIAL:
        return "a special-purpose address";
    case ACL_DENY_CONFIG:
        return "refused by [peers] deny";
    }
    return "unknown";
}
