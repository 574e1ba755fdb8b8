#include "relay/guard/special.h"

#include <string.h>

const char *const special_ranges[] = {
    /* IANA IPv4 Special-Purpose Address Registry, and multicast */
    "0.0.0.0/8",        /* "this network", RFC 791; Linux takes 0.0.0.0 for loopback */
    "10.0.0.0/8",       /* private, RFC 1918 */
    "100.64.0.0/10",    /* carrier-grade NAT, RFC 6598; Alibaba's metadata */
    "127.0.0.0/8",      /* loopback */
    "169.254.0.0/16",   /* link-local, RFC 3927; everybody's metadata */
    "172.16.0.0/12",    /* private */
    "192.0.0.0/24",     /* IETF protocol assignments; Oracle's metadata */
    "192.0.2.0/24",     /* documentation, RFC 5737 */
    "192.31.196.0/24",  /* AS112, RFC 7535 */
    "192.52.193.0/24",  /* AMT, RFC 7450 */
    "192.88.99.0/24",   /* 6to4 relay anycast, RFC 7526 */
    "192.168.0.0/16",   /* private */
    "192.175.48.0/24",  /* AS112, RFC 7534 */
    "198.18.0.0/15",    /* benchmarks, RFC 2544 */
    "198.51.100.0/24",  /* documentation */
    "203.0.113.0/24",   /* documentation */
    "224.0.0.0/4",      /* multicast */
    "240.0.0.0/4",      /* reserved, and the broadcast address */
    "168.63.129.16/32", /* Azure's WireServer: public by number, the host's by routing */

    /* IANA IPv6 Special-Purpose Address Registry, multicast and site-local */
    "::/128",            /* unspecified */
    "::1/128",           /* loopback */
    "::/96",             /* IPv4-compatible, RFC 4291 section 2.5.5.1 */
    "::ffff:0:0:0/96",   /* IPv4-translated, RFC 2765 */
    "64:ff9b::/96",      /* NAT64, RFC 6052 */
    "64:ff9b:1::/48",    /* local-use NAT64, RFC 8215 */
    "100::/64",          /* discard-only, RFC 6666 */
    "100:0:0:1::/64",    /* dummy prefix, RFC 9780 */
    "2001::/23",         /* IETF protocol assignments: Teredo, ORCHID, benchmarks */
    "2001:db8::/32",     /* documentation, RFC 3849 */
    "2002::/16",         /* 6to4, RFC 3056 */
    "2620:4f:8000::/48", /* AS112, RFC 7534 */
    "3fff::/20",         /* documentation, RFC 9637 */
    "5f00::/16",         /* segment routing SIDs, RFC 9602 */
    "fc00::/7",          /* unique local, RFC 4193; AWS's and Google's metadata */
    "fe80::/10",         /* link-local */
    "fec0::/10",         /* site-local, RFC 3879: deprecated, still routed by some */
    "ff00::/8",          /* multicast */

    /* Global unicast addresses come from 2000::/3 only (RFC 4291 section 2.4 and IANA's IPv6
     * address space). What answers outside of it is a private mesh this machine happens to be
     * part of (Yggdrasil lives in 200::/7). The ranges above are longer prefixes, so what opens
     * one of them does not have to be longer than these. */
    "::/3",
    "4000::/2",
    "8000::/1",
    NULL,
};

bool special_contains(const struct addr *addr)
{
    struct addr_range range;

    for (const char *const *text = special_ranges; *text; text++)
        if (addr_range_parse(*text, &range) && addr_range_contains(&range, addr))
            return true;
    return false;
}

static bool special_has_prefix(const struct addr *v6, const uint8_t *prefix, size_t len)
{
    return memcmp(v6->ip, prefix, len) == 0;
}

static struct addr special_v4(const struct addr *v6, size_t a, size_t b, size_t c, size_t d)
{
    const uint8_t ip[4] = {v6->ip[a], v6->ip[b], v6->ip[c], v6->ip[d]};

    return addr_make(ADDR_IPV4, ip, v6->port);
}

/*
 * 64:ff9b:1::/48 is there to be cut up (RFC 8215): the operator's own prefix in it
 * may have any of four lengths, each with another place for the IPv4 address (RFC
 * 6052 section 2.2; octet 8 is always skipped). A prefix opened with `allow` is at
 * most as long as the translator's, so shorter forms are out. The others must all
 * pass, except that padding reads as 0.x.y.z, which no translator delivers: it
 * counts only when nothing else is there.
 */
static size_t special_local_nat64(const struct addr *v6, unsigned int prefix_bits,
                                  struct addr *ret_v4)
{
    static const struct {
        uint8_t bits, at[4];
    } forms[] = {
        {48, {6, 7, 9, 10}},
        {56, {7, 9, 10, 11}},
        {64, {9, 10, 11, 12}},
        {96, {12, 13, 14, 15}},
    };
    size_t n = 0;

    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        const uint8_t *at = forms[i].at;

        if (forms[i].bits >= prefix_bits && v6->ip[at[0]] != 0)
            ret_v4[n++] = special_v4(v6, at[0], at[1], at[2], at[3]);
    }
    if (n == 0)
        ret_v4[n++] = special_v4(v6, 12, 13, 14, 15);
    return n;
}

/* RFC 4380 section 4: the server in the clear, the client's address with every bit turned. */
static size_t special_teredo(const struct addr *v6, struct addr *ret_v4)
{
    uint8_t client[4];

    for (size_t i = 0; i < sizeof(client); i++)
        client[i] = v6->ip[12 + i] ^ 0xff;
    ret_v4[0] = special_v4(v6, 4, 5, 6, 7);
    ret_v4[1] = addr_make(ADDR_IPV4, client, v6->port);
    return 2;
}

/* RFC 5214 section 6.1: 0000:5efe or 0200:5efe before the IPv4 address, under any prefix. */
static bool special_is_isatap(const struct addr *v6)
{
    return (v6->ip[8] & ~0x02) == 0 && v6->ip[9] == 0 && v6->ip[10] == 0x5e && v6->ip[11] == 0xfe;
}

size_t special_embedded(const struct addr *v6, unsigned int prefix_bits,
                        struct addr ret_v4[SPECIAL_EMBEDDED_MAX])
{
    static const uint8_t zero[12];
    static const uint8_t translated[12] = {[8] = 0xff, [9] = 0xff};
    static const uint8_t nat64[12] = {0x00, 0x64, 0xff, 0x9b};
    static const uint8_t local_nat64[6] = {0x00, 0x64, 0xff, 0x9b, 0x00, 0x01};
    static const uint8_t teredo[4] = {0x20, 0x01};
    size_t n = 0;

    if (v6->family != ADDR_IPV6)
        return 0;
    /* :: and ::1 share the IPv4-compatible prefix and embed nothing. */
    if ((special_has_prefix(v6, zero, sizeof(zero)) && !addr_is_any(v6) && !addr_is_loopback(v6)) ||
        special_has_prefix(v6, translated, sizeof(translated)) ||
        special_has_prefix(v6, nat64, sizeof(nat64)))
        ret_v4[n++] = special_v4(v6, 12, 13, 14, 15);
    else if (special_has_prefix(v6, local_nat64, sizeof(local_nat64)))
        n += special_local_nat64(v6, prefix_bits, ret_v4);
    else if (v6->ip[0] == 0x20 && v6->ip[1] == 0x02) /* 6to4, RFC 3056 section 2 */
        ret_v4[n++] = special_v4(v6, 2, 3, 4, 5);
    else if (special_has_prefix(v6, teredo, sizeof(teredo)))
        n += special_teredo(v6, ret_v4);
    if (special_is_isatap(v6))
        ret_v4[n++] = special_v4(v6, 12, 13, 14, 15);
    return n;
}
