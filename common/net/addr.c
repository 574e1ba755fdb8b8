#include "common/net/addr.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/hash.h"
#include "common/base/log.h"

static const uint8_t addr_mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

struct addr addr_make(enum addr_family family, const uint8_t *ip, uint16_t port)
{
    struct addr a = {.port = port, .family = (uint8_t)family};

    if (family == ADDR_IPV6 && memcmp(ip, addr_mapped_prefix, sizeof(addr_mapped_prefix)) == 0) {
        a.family = ADDR_IPV4;
        memcpy(a.ip, ip + sizeof(addr_mapped_prefix), 4);
    } else if (family != ADDR_NONE) {
        memcpy(a.ip, ip, family == ADDR_IPV4 ? 4 : 16);
    }
    return a;
}

struct addr addr_make_v4(uint32_t ip_host_order, uint16_t port)
{
    uint32_t ip = htonl(ip_host_order);

    return addr_make(ADDR_IPV4, (const uint8_t *)&ip, port);
}

struct addr addr_from_sockaddr(const struct sockaddr *sa)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;

    if (sa->sa_family == AF_INET) {
        memcpy(&v4, sa, sizeof(v4));
        return addr_make(ADDR_IPV4, (const uint8_t *)&v4.sin_addr, ntohs(v4.sin_port));
    }
    if (sa->sa_family == AF_INET6) {
        memcpy(&v6, sa, sizeof(v6));
        return addr_make(ADDR_IPV6, v6.sin6_addr.s6_addr, ntohs(v6.sin6_port));
    }
    return (struct addr){0};
}

socklen_t addr_to_sockaddr(const struct addr *addr, struct sockaddr_storage *ret_sa)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(addr->port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(addr->port)};

    if (addr->family == ADDR_IPV6) {
        memcpy(v6.sin6_addr.s6_addr, addr->ip, 16);
        memcpy(ret_sa, &v6, sizeof(v6));
        return sizeof(v6);
    }
    memcpy(&v4.sin_addr, addr->ip, 4);
    memcpy(ret_sa, &v4, sizeof(v4));
    return sizeof(v4);
}

bool addr_parse_ip(const char *text, uint16_t port, struct addr *ret)
{
    char bare[INET6_ADDRSTRLEN];
    size_t len = strlen(text);
    uint8_t ip[16];

    if (inet_pton(AF_INET, text, ip) == 1) {
        *ret = addr_make(ADDR_IPV4, ip, port);
        return true;
    }
    if (len >= 2 && text[0] == '[' && text[len - 1] == ']' && len - 2 < sizeof(bare)) {
        memcpy(bare, text + 1, len - 2);
        bare[len - 2] = '\0';
        text = bare;
    }
    if (inet_pton(AF_INET6, text, ip) != 1)
        return false;
    *ret = addr_make(ADDR_IPV6, ip, port);
    return true;
}

static bool addr_parse_number(const char *text, unsigned long max, unsigned long *ret)
{
    size_t len = strlen(text);

    if (len == 0 || len > 5 || strspn(text, "0123456789") != len)
        return false;
    *ret = strtoul(text, NULL, 10);
    return *ret <= max;
}

bool addr_parse(const char *text, struct addr *ret)
{
    const char *colon = strrchr(text, ':');
    char host[INET6_ADDRSTRLEN + 2];
    unsigned long port;
    size_t len;

    if (!colon || !addr_parse_number(colon + 1, UINT16_MAX, &port))
        return false;
    len = (size_t)(colon - text);
    if (len == 0 || len >= sizeof(host))
        return false;
    memcpy(host, text, len);
    host[len] = '\0';
    /* "2001:db8::1:80" would be read two ways; IPv6 with a port needs its brackets. */
    if (host[0] != '[' && strchr(host, ':'))
        return false;
    return addr_parse_ip(host, (uint16_t)port, ret);
}

char *addr_format_ip(const struct addr *addr, char *buf, size_t cap)
{
    int family = addr->family == ADDR_IPV6 ? AF_INET6 : AF_INET;

    if (addr->family == ADDR_NONE || !inet_ntop(family, addr->ip, buf, (socklen_t)cap))
        snprintf(buf, cap, "-");
    return buf;
}

char *addr_format(const struct addr *addr, char *buf, size_t cap)
{
    char ip[INET6_ADDRSTRLEN];

    if (addr->family == ADDR_NONE)
        snprintf(buf, cap, "-");
    else
        snprintf(buf, cap, addr->family == ADDR_IPV6 ? "[%s]:%u" : "%s:%u",
                 addr_format_ip(addr, ip, sizeof(ip)), addr->port);
    return buf;
}

const char *addr_logged(const struct addr *addr, char *buf)
{
    if (log_shows_addresses())
        addr_format(addr, buf, ADDR_STRLEN);
    else
        snprintf(buf, ADDR_STRLEN, "(address hidden)");
    return buf;
}

bool addr_equal(const struct addr *a, const struct addr *b)
{
    return memcmp(a, b, sizeof(*a)) == 0;
}

bool addr_ip_equal(const struct addr *a, const struct addr *b)
{
    return a->family == b->family && memcmp(a->ip, b->ip, sizeof(a->ip)) == 0;
}

uint64_t addr_hash(const struct addr *addr)
{
    return hash_bytes(addr, sizeof(*addr));
}

uint64_t addr_ip_hash(const struct addr *addr)
{
    return hash_bytes(addr->ip, sizeof(addr->ip));
}

size_t addr_ip_len(const struct addr *addr)
{
    return addr->family == ADDR_IPV6 ? 16 : addr->family == ADDR_IPV4 ? 4 : 0;
}

bool addr_is_any(const struct addr *addr)
{
    static const uint8_t any[16];

    return memcmp(addr->ip, any, sizeof(any)) == 0;
}

bool addr_is_loopback(const struct addr *addr)
{
    static const uint8_t one[16] = {[15] = 1};

    if (addr->family == ADDR_IPV4)
        return addr->ip[0] == 127;
    return addr->family == ADDR_IPV6 && memcmp(addr->ip, one, sizeof(one)) == 0;
}

static bool addr_bit(const uint8_t *ip, unsigned int i)
{
    return (ip[i / 8] >> (7 - i % 8)) & 1;
}

bool addr_range_parse(const char *text, struct addr_range *ret)
{
    const char *slash = strchr(text, '/');
    char host[INET6_ADDRSTRLEN + 2];
    struct addr_range range = {0};
    size_t len = slash ? (size_t)(slash - text) : strlen(text);
    unsigned long bits;

    if (len >= sizeof(host))
        return false;
    memcpy(host, text, len);
    host[len] = '\0';
    if (!addr_parse_ip(host, 0, &range.base))
        return false;
    /* A prefix length counts bits of the notation it stands in, and "::ffff:10.0.0.0/8" has no
     * IPv4 range for a meaning. */
    if (slash && range.base.family == ADDR_IPV4 && strchr(host, ':'))
        return false;
    bits = addr_ip_len(&range.base) * 8;
    if (slash && !addr_parse_number(slash + 1, bits, &bits))
        return false;
    range.bits = (uint8_t)bits;
    for (unsigned int i = range.bits; i < addr_ip_len(&range.base) * 8; i++)
        if (addr_bit(range.base.ip, i))
            return false;
    *ret = range;
    return true;
}

bool addr_range_contains(const struct addr_range *range, const struct addr *addr)
{
    size_t n_bytes = range->bits / 8;

    if (range->base.family != addr->family || memcmp(range->base.ip, addr->ip, n_bytes) != 0)
        return false;
    for (unsigned int i = (unsigned int)n_bytes * 8; i < range->bits; i++)
        if (addr_bit(range->base.ip, i) != addr_bit(addr->ip, i))
            return false;
    return true;
}
