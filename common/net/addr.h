/*
 * common/net/addr.h - a transport address in ONE normal form
 *
 * An IPv4-mapped IPv6 address (::ffff:a.b.c.d) *is* its IPv4 address here: every
 * way of making a struct addr normalises, so that no access rule can be walked
 * past by writing an address differently. Two equal addresses are equal bytes.
 */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum addr_family {
    ADDR_NONE = 0,
    ADDR_IPV4 = 4,
    ADDR_IPV6 = 6,
};

struct addr {
    uint8_t ip[16]; /* network order; IPv4 uses the first four bytes, the rest are zero */
    uint16_t port;  /* host order */
    uint8_t family; /* enum addr_family */
    uint8_t zero;   /* keeps the bytes comparable */
};

#define ADDR_STRLEN 64

/* `ip` holds 4 or 16 bytes in network order, by `family`; normalises. */
struct addr addr_make(enum addr_family family, const uint8_t *ip, uint16_t port);
struct addr addr_make_v4(uint32_t ip_host_order, uint16_t port);

/* ADDR_NONE for any other socket family. */
struct addr addr_from_sockaddr(const struct sockaddr *sa);

/* An IPv4 address becomes a sockaddr_in, IPv6 a sockaddr_in6. Return: its length. */
socklen_t addr_to_sockaddr(const struct addr *addr, struct sockaddr_storage *ret_sa);

/* Parses an IP literal without port ("192.0.2.1", "2001:db8::1", "[2001:db8::1]").
 * Return: true and `*ret` (with `port`), or false and `*ret` untouched. */
bool addr_parse_ip(const char *text, uint16_t port, struct addr *ret);

/* Parses "192.0.2.1:80" or "[2001:db8::1]:80"; the port is required, 0-65535. */
bool addr_parse(const char *text, struct addr *ret);

/* "192.0.2.1:80", "[2001:db8::1]:80", "-" for ADDR_NONE; addr_format_ip leaves the port out and
 * prints no brackets. Return: `buf`. */
char *addr_format(const struct addr *addr, char *buf, size_t cap);
char *addr_format_ip(const struct addr *addr, char *buf, size_t cap);

/* For a log line: addr_format(), or "(address hidden)" unless log-addresses. `buf` of ADDR_STRLEN.
 * Return: `buf`. */
const char *addr_logged(const struct addr *addr, char *buf);

bool addr_equal(const struct addr *a, const struct addr *b);
bool addr_ip_equal(const struct addr *a, const struct addr *b);
uint64_t addr_hash(const struct addr *addr);
uint64_t addr_ip_hash(const struct addr *addr);

/* 4 or 16; 0 for ADDR_NONE. */
size_t addr_ip_len(const struct addr *addr);
bool addr_is_any(const struct addr *addr);
bool addr_is_loopback(const struct addr *addr);

/* An IP range: the first `bits` bits of `base`. */
struct addr_range {
    struct addr base;
    uint8_t bits;
};

/* "10.0.0.0/8", "2001:db8::/32" or a single address. Bits set beyond the prefix are an error, as
 * are prefixes over 32/128: a mistyped rule must not silently mean something else. */
bool addr_range_parse(const char *text, struct addr_range *ret);
bool addr_range_contains(const struct addr_range *range, const struct addr *addr);
